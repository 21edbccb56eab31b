"""A fit that can be saved between two epochs, and completed by another process."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from skscratch.core.optimizers import checksum_of
from skscratch.core.training import TrainingRun, TrainingState
from skscratch.estimators._data import content_digest
from skscratch.estimators._random import RandomDraws

__all__ = [
    "RESUMED",
    "RUNNING",
    "SAVED",
    "DataDigests",
    "SavedFit",
    "needs_training_state",
    "saved_state",
]

# Attributes of an estimator: the fit under way, the fit that was saved with it, and the one that
# the next `fit` completes.
RUNNING, SAVED, RESUMED = "_running_fit", "_saved_fit", "_resumed_fit"
# What differs -> the data of the call.
KINDS = ("shape", "dtype", "content")
# The columns of a run.
COLUMNS = ("losses", "scores", "rates", "norms")


class DataDigests(dict[str, tuple[str, str, str] | None]):
    """Shape, dtype and a digest of each argument of a fit; None if it was not given."""

    @classmethod
    def of(cls, **data: Any) -> DataDigests:
        """Return the digests of some arguments."""
        return cls({name: _digest(value) for name, value in data.items()})

    def check(self, given: DataDigests) -> None:
        """Raise a ValueError that names the argument if other data are given."""
        for name, saved in self.items():
            now = given[name]
            if saved is None or now is None:
                if saved is not now:
                    there, here = ("", "no ") if now is None else ("no ", "")
                    raise ValueError(
                        f"The saved fit had {there}{name}, but the call has {here}{name}. Resuming "
                        "needs the data of the fit."
                    )
                continue
            for kind, before, after in zip(KINDS, saved, now, strict=True):
                if before != after:
                    change = "" if kind == "content" else f" ({after} instead of {before})"
                    raise ValueError(
                        f"{name} is not that of the saved fit: its {kind} differs{change}. "
                        "Resuming needs the data of the fit."
                    )


def _digest(value: Any) -> tuple[str, str, str] | None:
    if value is None:
        return None
    if value.dtype.kind == "O":
        # The bytes of objects are addresses.
        value = np.asarray(value).astype(str)
    return str(value.shape), str(value.dtype), content_digest(value)


@dataclass
class SavedFit:
    """A fit between two epochs: all that its attributes do not hold.

    Parameters
    ----------
    rng : RandomDraws
        The random numbers as they were before the fit.
    first : bool
        Whether the fit began with a new network.
    n_before : int
        Epochs of earlier fits in the history.
    digests : dict
        Shape, dtype and digest of the data.
    run : dict of str to list
        Losses, scores, learning rates and norms of the epochs so far.
    stopped : str or None
        Why the last epoch was the last one, if it was.
    held_out_losses : list of float
        Losses of the validation set.
    every : int
        Epochs from one file to the next.
    """

    rng: RandomDraws
    first: bool
    n_before: int
    digests: dict[str, Any]
    run: dict[str, list[Any]] = field(default_factory=dict)
    stopped: str | None = None
    held_out_losses: list[float] = field(default_factory=list)
    every: int = 1

    def after(self, run: TrainingRun, held_out_losses: list[float], every: int) -> SavedFit:
        """Return the same fit after some epochs."""
        columns = {name: getattr(run, name) for name in COLUMNS}
        return replace(
            self, run=columns, stopped=run.stopped, held_out_losses=held_out_losses, every=every
        )

    @property
    def n_epochs(self) -> int:
        """Number of epochs of the fit so far."""
        return len(self.run["losses"])

    def run_to_complete(self, state: TrainingState) -> TrainingRun:
        """Return the run so far."""
        run = TrainingRun(state, stopped=self.stopped)
        for name in COLUMNS:
            setattr(run, name, [*self.run[name]])
        return run


def saved_state(state: TrainingState, params: Any) -> TrainingState:
    """Return a state to save, with the parameters that belong to it."""
    optimizer = state.optimizer
    checksum = checksum_of(params) if optimizer.optimizer.swaps else None
    return replace(
        state,
        optimizer=replace(optimizer, scratch=None, checksum=checksum),
        shard_rngs=list(state.shard_rngs),
    )


def needs_training_state(callbacks: Any) -> bool:
    """Return whether one of the callbacks saves a fit."""
    return any(getattr(callback, "needs_training_state", False) for callback in callbacks)
