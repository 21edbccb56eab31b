"""A fit that can be saved between two epochs, and completed by another process."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy import sparse

from skscratch.core.functions import Array
from skscratch.core.optimizers import checksum_of
from skscratch.core.training import RUN_COLUMNS, TrainingRun, TrainingState
from skscratch.estimators._data import content_digest
from skscratch.estimators._random import RandomDraws
from skscratch.estimators._sklearn import CALLBACK_PREFIXES, CALLBACKS
from skscratch.estimators._state import copy_of

__all__ = [
    "RESUMED",
    "RUNNING",
    "SAVED",
    "SavedFit",
    "copy_to_save",
    "description",
    "fit_to_save",
    "saved_state",
    "with_data",
]

# Attributes of an estimator: the fit under way, the fit that was saved with it, and the one that
# the next `fit` completes.
RUNNING, SAVED, RESUMED = "_running_fit", "_saved_fit", "_resumed_fit"
CONTENT = "content"

# Argument of a fit -> what there is to know about it -> its value. None: it was not given.
Descriptions = dict[str, dict[str, str] | None]


def description(data: Any, **names: Any) -> dict[str, str] | None:
    """Return format, shape, dtype, names and a digest of data, or None if there are none.

    `names` are those of columns or classes; None if there are none.
    """
    if data is None:
        return None
    found = {"shape": str(data.shape), "dtype": str(data.dtype)}
    if sparse.issparse(data):
        found["format"] = "sparse"
        indices = (part.astype(np.int64) for part in (data.indices, data.indptr))
        content = content_digest(data.data, *indices)
    else:
        found["format"] = "dense"
        content = content_digest(data)
    for kind, values in names.items():
        found[kind] = "none" if values is None else str(np.asarray(values).astype(str).tolist())
    return found | {CONTENT: content}


def check_same_data(saved: Descriptions, given: Descriptions) -> None:
    """Raise a ValueError that names the argument if other data are given than were saved."""
    for name, before in saved.items():
        now = given[name]
        if before is None or now is None:
            if before is not now:
                there, here = ("", "no ") if now is None else ("no ", "")
                raise ValueError(
                    f"The saved fit had {there}{name}, but the call has {here}{name}. A fit can "
                    "only be completed with its own data."
                )
            continue
        for kind, value in before.items():
            if now[kind] != value:
                change = "" if kind == CONTENT else f" ({now[kind]} instead of {value})"
                raise ValueError(
                    f"{name} is not that of the saved fit: its {kind} differs{change}. A fit can "
                    "only be completed with its own data."
                )


@dataclass
class SavedFit:
    """A fit between two epochs: all that the estimator's attributes do not hold.

    Parameters
    ----------
    rng : RandomDraws
        The random numbers as they were before the fit.
    first : bool
        Whether the fit began with a new network.
    n_before, rows_before : int
        Epochs of earlier fits in the history, and rows that they have seen.
    data : dict
        Description of each argument.
    run : dict of str to list
        Losses, scores, learning rates and norms of the epochs so far.
    stopped : str or None
        Why the last epoch was the last one, if it was.
    held_out_losses : list of float
        Losses of the validation set.
    every : int
        Epochs from one file to the next.
    params : ndarray or None
        Parameters of the network, if the estimator does not keep it.
    state : TrainingState or None
        Its state of training.
    """

    rng: RandomDraws
    first: bool
    n_before: int
    rows_before: int
    data: Descriptions = field(default_factory=dict)
    run: dict[str, list[Any]] = field(default_factory=dict)
    stopped: str | None = None
    held_out_losses: list[float] = field(default_factory=list)
    every: int = 1
    params: Array | None = None
    state: TrainingState | None = None

    def after(self, run: TrainingRun, every: int, **changes: Any) -> SavedFit:
        """Return the same fit after some epochs."""
        columns = dict(run.columns())
        return replace(self, run=columns, stopped=run.stopped, every=every, **changes)

    @property
    def n_epochs(self) -> int:
        """Number of epochs of the fit so far."""
        return len(self.run["losses"])

    def run_to_complete(self, state: TrainingState) -> TrainingRun:
        """Return the run so far."""
        run = TrainingRun(state, stopped=self.stopped)
        for name, column in run.columns().items():
            column.extend(self.run[name])
        return run

    def check(self) -> None:
        """Raise a ValueError unless all values are of the kinds that a fit saves."""
        columns = [*self.run.values(), self.held_out_losses]
        if not (
            isinstance(self.rng, RandomDraws)
            and isinstance(self.first, bool)
            and all(
                isinstance(number, int) and number >= 0
                for number in (self.n_before, self.rows_before, self.every)
            )
            and self.run.keys() == set(RUN_COLUMNS)
            and all(isinstance(column, list) for column in columns)
            and len({len(self.run[name]) for name in ("losses", "rates", "norms")}) == 1
        ):
            raise ValueError("The saved fit is damaged.")


def copy_to_save(estimator: Any) -> Any:
    """Return a copy of an estimator under training, without what belongs to this process."""
    copied = copy_of(estimator)
    for name in list(vars(copied)):
        if name.startswith((RUNNING, *CALLBACK_PREFIXES)):
            del copied.__dict__[name]
    return copied


def saved_state(state: TrainingState, params: Any) -> TrainingState:
    """Return a state to save, with the checksum of the parameters that belong to it."""
    optimizer = state.optimizer
    checksum = checksum_of(params) if optimizer.optimizer.swaps else None
    return replace(
        state,
        optimizer=replace(optimizer, scratch=None, checksum=checksum),
        shard_rngs=list(state.shard_rngs),
    )


def fit_to_save(
    estimator: Any,
    rng: RandomDraws,
    resumed: SavedFit | None,
    *,
    first: bool,
    n_before: int = 0,
    rows_before: int = 0,
) -> SavedFit | None:
    """Return what has to be saved of a fit before its first draw; None if no callback saves it."""
    callbacks = getattr(estimator, CALLBACKS, [])
    if not any(getattr(callback, "needs_training_state", False) for callback in callbacks):
        return None
    saved = resumed or SavedFit(rng, first, n_before, rows_before)
    return replace(saved, rng=copy.deepcopy(rng))


def with_data(
    saved: SavedFit | None, resumed: SavedFit | None, describe: Callable[[], Descriptions]
) -> SavedFit | None:
    """Add the data to what is saved of a fit, once they are those of the fit that is resumed."""
    if saved is None and resumed is None:
        return None
    data = describe()
    if resumed is not None:
        check_same_data(resumed.data, data)
    return None if saved is None else replace(saved, data=data)
