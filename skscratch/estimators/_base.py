"""Base class of the estimators that train a network.

A subclass validates its data and derives an `Architecture` from them. The parameters of training,
resuming, early stopping, callbacks and threads are handled here, once.
"""

from __future__ import annotations

import copy
import os
import threading
import warnings
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from numbers import Integral
from typing import Any, NamedTuple, Self

import numpy as np
from sklearn import get_config
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import get_tags

from skscratch.core.evaluate import evaluate
from skscratch.core.functions import Array
from skscratch.core.interrupts import Interrupts
from skscratch.core.layers import Corruption, Layer, Noise
from skscratch.core.lbfgs import LBFGS, minimise_lbfgs
from skscratch.core.losses import Loss
from skscratch.core.network import PREDICT_ROWS, Network, Stack
from skscratch.core.objective import Objective
from skscratch.core.optimizers import SGD, Optimizer
from skscratch.core.rows import Rows, RowSubset, as_rows, is_sparse
from skscratch.core.schedules import Schedule
from skscratch.core.training import (
    DivergenceError,
    Patience,
    TrainingRun,
    TrainingState,
    start,
    train,
)
from skscratch.core.workers import MAX_SHARDS, predict
from skscratch.estimators._available import UnavailableError, check_streamed_weights, name_of
from skscratch.estimators._checkpoint import (
    RESUMED,
    RUNNING,
    SAVED,
    SavedFit,
    copy_to_save,
    description,
    fit_to_save,
    saved_state,
    with_data,
)
from skscratch.estimators._data import check_rows, content_digest, network_dtype
from skscratch.estimators._from_network import check_stack, fill
from skscratch.estimators._parameters import TrainingParameters, recipe_of
from skscratch.estimators._plan import Architecture, Training
from skscratch.estimators._random import CopiedGenerators, RandomDraws
from skscratch.estimators._sklearn import (
    CallbackSupportMixin,
    FitTasks,
)
from skscratch.estimators._state import begin_training, copy_of, fitted_property
from skscratch.estimators._threads import thread_count

# The first sentences are scikit-learn's.
NOT_FINITE = (
    "Solver produced non-finite parameter weights. The input data may contain large values and "
    "need to be preprocessed. Scale X (StandardScaler, MinMaxScaler)"
)
SMALLER_RATE = ", or choose a smaller learning_rate_init"
# Values recorded for each epoch.
HISTORY = ("loss", "validation_loss", "validation_score", "learning_rate", "gradient_norm")
HISTORY_LOCK = threading.Lock()
if hasattr(os, "register_at_fork"):
    # A lock that another thread holds would never be released in the child.
    os.register_at_fork(
        before=HISTORY_LOCK.acquire,
        after_in_parent=HISTORY_LOCK.release,
        after_in_child=HISTORY_LOCK.release,
    )
# Sparse rows to predict for at a time, and bytes for them with the largest number of threads. They
# need less memory than dense ones, but each block has a cost.
SPARSE_PREDICT_ROWS, SPARSE_MEMORY = 2048, 1 << 29
# The core's reason to stop -> `stop_reason_`.
STOP_REASONS = {
    None: "max_iter",
    "patience": "n_iter_no_change",
    "on_epoch": "callback",
    "interrupted": "interrupted",
    "diverged": "diverged",
    "converged": "converged",
    "max_evaluations": "max_fun",
    "line_search": "line_search",
}


class Names(NamedTuple):
    """The user's names of the data."""

    X: str
    y: str
    weight: str


TRAINING = Names("X", "y", "sample_weight")
VALIDATION = Names("X_val", "y_val", "sample_weight_val")


@dataclass
class FitData:
    """Validated data in the two forms that fitting needs: the user's, and as rows.

    `encoded` are the targets of the network, None for X itself. `chosen` are the numbers of the
    selected rows of X, None for all.
    """

    X: Any
    y: Any
    weight: Array | None
    encoded: Array | None
    chosen: Array | None = None

    def __post_init__(self) -> None:
        self.rows: Rows = as_rows(self.X)
        if self.chosen is not None:
            self.rows = RowSubset(self.rows, self.chosen)
        self.target: Rows = self.rows if self.encoded is None else as_rows(self.encoded)

    def selected_rows(self) -> Any:
        """Return the selected rows of X, in the user's form."""
        return self.X if self.chosen is None else self.X[self.chosen]

    def subset(self, rows: Array) -> FitData:
        """Return these rows, without a copy of X."""
        columns = (self.y, self.weight, self.encoded)
        y, weight, encoded = (None if c is None else c[rows] for c in columns)
        return FitData(self.X, y, weight, encoded, rows)


class NetworkEstimator(TrainingParameters, CallbackSupportMixin, BaseEstimator):
    """Base of the estimators that train a network."""

    network_: Network
    _training_state: TrainingState | None
    _fitted_loss: Loss
    _monitored: tuple[Any, ...]
    # The columns may be longer: copies of an estimator share them, and each call appends to them.
    _history: dict[str, list[float | None]]
    _n_recorded: int

    # Hooks of subclasses.

    @classmethod
    @abstractmethod
    def _parameters_of(cls, network: Stack) -> dict[str, Any]:
        """Return the parameters that describe a given network as far as they can."""

    @abstractmethod
    def _check_data(
        self, X: Any, y: Any, sample_weight: Any, *, reset: bool, training: bool
    ) -> FitData:
        """Validate and encode training data, or validation data.

        `reset` discards the number and names of the features of earlier data.
        """

    @abstractmethod
    def _architecture(self, data: FitData) -> Architecture:
        """Return the network to build and its loss, for validated data."""

    def _training(self, data: FitData, architecture: Architecture) -> Training:
        """Return how to train on validated data, without the rows held out."""
        n = data.rows.shape[0]
        optimizer: Optimizer = recipe_of(self, Optimizer, "solver")
        return Training(
            optimizer=optimizer,
            schedule=recipe_of(
                self, Schedule, "learning_rate", initial=float(self.learning_rate_init)
            ),
            batch_size=min(200 if self.batch_size == "auto" else self.batch_size, n),
            max_epochs=self.max_iter,
            # A validation set given only for its curve does not end training early.
            patience=Patience(
                self.tol, self.n_iter_no_change, monitor="score" if self.early_stopping else "loss"
            ),
            l2=0.0 if optimizer.decays_weights else self.alpha,
        )

    def _score_outputs(self, data: FitData, network: Network, loss: float) -> float:
        """Score a validation set whose loss is given, higher is better."""
        return -loss

    def _stratify(self, data: FitData) -> Any:
        """Return the labels that stratify the early-stopping split, or None."""
        return None

    def _set_best(self, run: TrainingRun) -> None:
        """Set the attributes of the best epoch."""

    def _after_training(self, run: TrainingRun, data: FitData) -> None:
        """Set the further fitted attributes of an estimator."""

    def _noise_layers(self) -> list[Layer]:
        """Return the layers that add noise to the input in training."""
        if self.noise is None:
            return []
        if isinstance(self.noise, Noise):
            return [self.noise]
        if callable(self.noise):
            return [Corruption(self.noise)]
        if self.noise in ("masking", "salt_and_pepper") and self.noise_level > 1:
            raise ValueError(
                f"noise_level is a fraction of the entries if noise={self.noise!r}: it must be at "
                f"most 1, got {self.noise_level}."
            )
        return [recipe_of(self, Noise, "noise")]

    # From a network to an estimator.

    @classmethod
    def _from_network(cls, network: Any, parameters: dict[str, Any], y: Any = None) -> Self:
        """Return an estimator fitted to targets like `y`, with this network."""
        check_stack(network)
        estimator = cls(**{**parameters, **cls._parameters_of(network)})
        estimator._validate_params()
        X: Array = np.zeros((2 if y is None else len(y), network.n_in), network.dtype)
        data = estimator._check_data(X, y, None, reset=True, training=True)
        architecture = estimator._architecture(data)
        estimator.network_ = architecture.network(network.n_in, network.dtype, None)
        estimator._fitted_loss = architecture.loss
        fill(estimator.network_, network, architecture.loss, estimator)
        estimator._start_history()
        return estimator

    # From data to a trained network.

    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        validation: tuple[Any, Any, Any] | None = None,
        *,
        incremental: bool = False,
    ) -> Any:
        resumed: SavedFit | None = self.__dict__.pop(RESUMED, None)
        self.__dict__.pop(SAVED, None)
        first = not hasattr(self, "network_") or not (self.warm_start or incremental)
        rng = RandomDraws(self.random_state)
        if resumed is not None:
            first, rng = resumed.first, resumed.rng
            reached = self._reached()
        data = self._check_data(X, y, sample_weight, reset=first, training=True)
        before = {} if first else {"n_before": self._n_recorded, "rows_before": self.t_}
        saved = None if incremental else fit_to_save(self, rng, resumed, first=first, **before)
        architecture = self._architecture(data)
        if first:
            network = architecture.network(data.rows.shape[1], network_dtype(data.X), rng)
            self._start_history()
        else:
            network = self._fitted_network(architecture)
        held_out = self._held_out(validation)
        saved = with_data(saved, resumed, partial(self._descriptions, data, held_out))
        if self.early_stopping and self.solver != "lbfgs" and held_out is None:
            data, held_out = self._split(data, rng)
        _check_weights(data, held_out)
        training = self._training(data, architecture)
        if incremental:
            training = training.of_one_call()
        objective = architecture.objective(network, training.l2)
        _check_penalty(objective, data)
        self._fitted_loss = objective.loss
        fit = Fit(self, training, objective, data, held_out, saved)
        state = self._state(fit, rng, first=first, incremental=incremental)
        if resumed is not None:
            state = fit.resume(resumed, reached)
        self._train(fit, state, incremental=incremental)
        return self

    def _check_saves_fits(self) -> None:
        """Raise a ValueError if a fit cannot be saved between two epochs."""
        if self.solver == "lbfgs":
            raise ValueError(
                "A fit by solver='lbfgs' cannot be saved: SciPy keeps the state of L-BFGS to "
                "itself. Choose another solver, or several short fits with warm_start=True."
            )

    def _descriptions(self, data: FitData, held_out: FitData | None) -> dict[str, Any]:
        """Describe the arguments of a fit, by the user's names."""
        columns, classes = (getattr(self, name, None) for name in ("feature_names_in_", "classes_"))
        found: dict[str, Any] = {}
        for part, names in ((data, TRAINING), (held_out, VALIDATION)):
            X, y, weight = (None,) * 3 if part is None else (part.X, part.encoded, part.weight)
            found[names.X] = description(X, columns=columns)
            found[names.y] = description(y, classes=classes)
            found[names.weight] = description(weight)
        return found

    def _reached(self) -> dict[str, Any]:
        """Return what a saved fit has reached."""
        names = ("network_", "_training_state", "_history", "_n_recorded")
        return {name: getattr(self, name) for name in names}

    def _fitted_network(self, architecture: Architecture) -> Network:
        """Return a copy of the network to train further, if the parameters still describe it."""
        before = self.network_
        if architecture != Architecture(before.layers, self._fitted_loss, ties=before.ties):
            raise ValueError(
                "Parameters that define the network or its loss were changed since it was fitted, "
                "so it cannot be trained further. Restore them, or use warm_start=False."
            )
        # Layers that act only in training, such as noise, may have changed.
        network = replace(architecture, initial={}).network(before.n_in, before.dtype, None)
        network.params[:] = before.params
        return network

    def _held_out(self, validation: tuple[Any, Any, Any] | None) -> FitData | None:
        X_val, y_val, weight = validation or (None, None, None)
        if X_val is None:
            if y_val is not None or weight is not None:
                raise ValueError("y_val and sample_weight_val need X_val, which is missing.")
            return None
        if y_val is None and get_tags(self).target_tags.required:
            raise ValueError("X_val needs y_val, which is missing.")
        return self._check_data(X_val, y_val, weight, reset=False, training=False)

    def _split(self, data: FitData, rng: RandomDraws) -> tuple[FitData, FitData]:
        """Hold out a part of the training data for early stopping.

        The split is stratified by class as far as possible; a class with a single row stays in
        training.
        """
        n = data.rows.shape[0]
        if not self.validation_fraction:
            raise ValueError(
                "validation_fraction must be above 0 with early_stopping=True, which holds out "
                "that fraction of the rows, unless validation data are passed as X_val."
            )
        labels = self._stratify(data)
        alone, n_classes = np.zeros(n, bool), 0
        if labels is not None:
            _, class_of_row, sizes = np.unique(
                np.ravel(labels), return_inverse=True, return_counts=True
            )
            alone = sizes[class_of_row] < 2
            n_classes = int(np.count_nonzero(sizes > 1))
        # Enough rows must remain for one of each class.
        max_held = n - int(alone.sum()) - max(1, n_classes)
        if max_held < 2 <= n - 1:
            labels, alone, n_classes, max_held = None, np.zeros(n, bool), 0, n - 1
        if max_held < 2:
            raise ValueError(
                f"The validation set is too small: early_stopping=True holds out at least two rows "
                f"for it, which leaves none of n_samples={n} to train on."
            )
        n_held = min(max_held, max(2, n_classes, int(np.ceil(self.validation_fraction * n))))
        candidates = np.flatnonzero(~alone)
        train_rows, held_rows = train_test_split(
            candidates,
            test_size=n_held,
            random_state=rng.state,
            stratify=None if labels is None else labels[candidates],
        )
        train_rows = np.concatenate([train_rows, np.flatnonzero(alone)])
        return data.subset(train_rows), data.subset(held_rows)

    def _start_history(self) -> None:
        self.t_ = 0
        self._history = {name: [] for name in HISTORY}
        self._n_recorded = 0
        self._training_state = None

    def _state(
        self, fit: Fit, rng: RandomDraws, *, first: bool, incremental: bool
    ) -> TrainingState:
        """Return a new state of training, or a copy of the last one if training continues."""
        # L-BFGS keeps nothing from one fit to the next.
        optimizer = SGD() if isinstance(fit.training.optimizer, LBFGS) else fit.training.optimizer
        before = None if first else self._training_state
        if before is not None and incremental and before.optimizer.optimizer == optimizer:
            state = _copy_of_state(before)
        else:
            state = start(fit.objective, optimizer, rng)
            if before is not None:
                state.clock.samples = before.clock.samples
                state.best_loss, state.n_stale = before.best_loss, before.n_stale
                state.best_score = before.best_score
                state.best_params = _copy_of(before.best_params)
        # Scores are comparable only on the same rows, and only if the best parameters are still the
        # network's: others may have been assigned since.
        monitored = (self.early_stopping, *fit.monitored())
        best = state.best_params
        same = before is not None and self._monitored == monitored
        if not same or (best is not None and not np.array_equal(best, fit.network.params)):
            state.best_score, state.best_params, state.n_stale = -np.inf, None, 0
        self._monitored = monitored
        return state

    def _train(self, fit: Fit, state: TrainingState, *, incremental: bool) -> None:
        """Train, and store the fitted attributes."""
        interrupts = begin_training()
        try:
            run = fit.run_all(state, interrupts)
            if run.stopped == "interrupted":
                fit.restore(run)
                # The random stream stopped in the middle of an epoch.
                state.rng = RandomDraws(self.random_state)
                state.shard_rngs = state.rng.spawn(len(state.shard_rngs))
            if self.verbose and not incremental:
                print(fit.why_stopped(run))
            state.shard_rngs = list(state.shard_rngs)
            self.__dict__.update(fit.attributes(), network_=fit.network, _training_state=state)
            if not isinstance(fit.training.optimizer, LBFGS):
                self.t_ += fit.data.rows.shape[0] * run.n_epochs
            self.stop_reason_ = STOP_REASONS[run.stopped]
            fit.finish()
        except DivergenceError as error:
            # L-BFGS has no learning rate.
            advice = "" if isinstance(fit.training.optimizer, LBFGS) else SMALLER_RATE
            raise DivergenceError(f"{error} {NOT_FINITE}{advice}.") from None
        finally:
            fit.release()
        if run.stopped == "diverged":
            warnings.warn(
                f"Training diverged in epoch {run.n_epochs}: the loss is not finite. The "
                "parameters of the best earlier epoch are kept. Scale the data (StandardScaler, "
                f"MinMaxScaler){SMALLER_RATE}.",
                ConvergenceWarning,
                stacklevel=2,
            )
        self._set_best(run)
        self._after_training(run, fit.data)

    def _outputs(self, stack: Stack, X: Any, link: Callable[[Array], Array] | None = None) -> Array:
        """Return the outputs of a network for validated rows, block by block.

        `link` is applied to each block of outputs, such as a loss's inverse link.
        """
        rows = as_rows(X)
        out = np.empty((rows.shape[0], stack.n_out), stack.dtype)

        def write(block: slice, outputs: Array) -> None:
            out[block] = outputs if link is None else link(outputs)

        self._pass_through(stack, rows, write)
        return out

    def _pass_through(
        self, stack: Stack, rows: Rows, write: Callable[[slice, Array], None]
    ) -> None:
        """Pass the outputs of a network to `write`, block by block and on several threads."""
        block_rows = _block_rows(stack, rows)
        n_threads = 1 if rows.shape[0] <= block_rows else thread_count(self.n_jobs)
        with np.errstate(over="ignore", invalid="ignore"):
            predict(stack, rows, write, n_threads, block_rows)

    def _predicted(
        self, stack: Stack, X: Any, link: Callable[[Array], Array] | None = None
    ) -> Array:
        """Return outputs for the user's rows; raise a ValueError if they are not finite."""
        outputs = self._outputs(stack, X, link)
        self._check_outputs(outputs)
        return outputs

    def _check_outputs(self, outputs: Array) -> None:
        """Raise a ValueError if outputs are not finite."""
        if not np.isfinite(outputs).all():
            raise ValueError(
                f"X holds values too large for a network of {self.network_.dtype}: its outputs are "
                "not finite. Scale X as in training."
            )

    def _check_new(self, X: Any) -> Any:
        """Validate rows to predict for."""
        return check_rows(self, X, reset=False)

    # Fitted attributes, under scikit-learn's names.

    @fitted_property
    def coefs_(self) -> list[Array]:
        """Weight matrices of the dense layers, views of shape (n_in, n_out)."""
        return ParameterViews("coefs_", [v.W for v in self.network_.views if hasattr(v, "W")])

    @coefs_.setter
    def coefs_(self, values: Sequence[Array]) -> None:
        self._assign("coefs_", values)

    @fitted_property
    def intercepts_(self) -> list[Array]:
        """Bias vectors of the dense layers, views of shape (n_out,)."""
        return ParameterViews("intercepts_", [v.b for v in self.network_.views if hasattr(v, "b")])

    @intercepts_.setter
    def intercepts_(self, values: Sequence[Array]) -> None:
        self._assign("intercepts_", values)

    @fitted_property
    def loss_curve_(self) -> list[float | None]:
        """Loss of each epoch. L-BFGS has none: it may evaluate the loss several times a step."""
        rates = self._column("learning_rate")
        if rates[-1:] == [None]:
            raise AttributeError(
                "There is no loss_curve_ after solver='lbfgs'; history_ contains the losses."
            )
        losses = zip(self._column("loss"), rates, strict=True)
        return [loss for loss, rate in losses if rate is not None]

    @fitted_property
    def validation_loss_curve_(self) -> list[float] | None:
        """Loss on the validation rows after each epoch, if there are any."""
        return self._recorded("validation_loss")

    def _column(self, name: str) -> list[float | None]:
        return self._history[name][: self._n_recorded]

    def _recorded(self, column: str) -> list[float] | None:
        """Return the values of a column of the history, or None if the last fit had none."""
        if self._column("validation_score")[-1:] in ([], [None]):
            return None
        return [value for value in self._column(column) if value is not None]

    def _last_record(self) -> dict[str, Any]:
        """Return the last record of `history_`, without the others."""
        last = self._n_recorded - 1
        columns = {name: self._history[name][last] for name in HISTORY}
        return {"epoch": self._n_recorded, **columns}

    @fitted_property
    def history_(self) -> list[dict[str, Any]]:
        """A record for each epoch (iteration, with 'lbfgs') of this fit and those it continues."""
        columns = map(self._column, HISTORY)
        return [
            {"epoch": k, **dict(zip(HISTORY, values, strict=True))}
            for k, values in enumerate(zip(*columns, strict=True), 1)
        ]

    def _assign(self, name: str, values: Sequence[Array]) -> None:
        """Set weights or biases in a new network, as copies of the estimator may share this one."""
        changed = copy_of(self)
        changed.network_ = self.network_.copy()
        getattr(changed, name)[:] = values
        self.network_ = changed.network_

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "network_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


class ParameterViews(list[Array]):
    """A list of views into a network's parameters: assigning an entry sets its values."""

    def __init__(self, name: str, views: Sequence[Array]) -> None:
        super().__init__(views)
        self.name = name

    def __setitem__(self, place: Any, value: Any) -> None:
        old = self[place]
        views, values = (old, list(value)) if isinstance(place, slice) else ([old], [value])
        shapes, new_shapes = [v.shape for v in views], [np.shape(v) for v in values]
        if shapes != new_shapes:
            raise ValueError(f"{self.name} must have the shapes {shapes}, got {new_shapes}.")
        for view, new in zip(views, values, strict=True):
            view[...] = new

    # A copy holds plain arrays, as its entries no longer belong to the network.
    def __reduce__(self) -> tuple[Any, ...]:
        return list, (list(self),)


class Fit:
    """One fit: training, and between its epochs validation, history, printing and callbacks."""

    def __init__(
        self,
        estimator: NetworkEstimator,
        training: Training,
        objective: Objective,
        data: FitData,
        held_out: FitData | None,
        saved: SavedFit | None = None,
    ) -> None:
        self.estimator, self.training, self.objective = estimator, training, objective
        self.saved = saved
        self.network, self.data, self.held_out = objective.network, data, held_out
        self.columns, self.n_before = estimator._history, estimator._n_recorded
        self.n_recorded = self.n_before
        self.tasks: FitTasks | None = None
        self.held_out_losses: list[float] = []
        self.run: TrainingRun | None = None
        self.n_plateaus = 0

    def monitored(self) -> tuple[Any, ...]:
        """Identify what the score depends on: the validation rows, by content, and the scorer."""
        data = self.held_out
        if data is None:
            return ()
        digest = content_digest(data.selected_rows(), data.encoded, data.weight)
        return name_of(self.training.monitor), digest

    def resume(self, saved: SavedFit, reached: dict[str, Any]) -> TrainingState:
        """Go on from a saved fit; return its state of training."""
        state: TrainingState = reached["_training_state"]
        self.network.params[:] = reached["network_"].params
        self.estimator.t_ = saved.rows_before
        self.columns, self.n_recorded = reached["_history"], reached["_n_recorded"]
        self.n_before, self.held_out_losses = saved.n_before, [*saved.held_out_losses]
        self.run, self.n_plateaus = saved.run_to_complete(state), state.clock.plateaus
        return state

    def snapshot(self, every: int) -> NetworkEstimator:
        """Return the estimator as it is between two epochs, to be written to a file."""
        assert self.saved is not None
        assert self.run is not None
        fitted: NetworkEstimator = copy_to_save(self.estimator)
        state = saved_state(self.run.state, self.network.params)
        saved = self.saved.after(self.run, every, held_out_losses=self.held_out_losses)
        reached = {"network_": self.network, "_training_state": state, SAVED: saved}
        fitted.__dict__.update({**self.attributes(), **reached})
        fitted.t_ += self.data.rows.shape[0] * self.run.n_epochs
        fitted.stop_reason_ = STOP_REASONS[self.run.stopped or "interrupted"]
        fitted._set_best(self.run)
        return fitted

    def run_all(self, state: TrainingState, interrupts: Interrupts) -> TrainingRun:
        """Train for all epochs, or until a stopping rule applies."""
        training, data = self.training, self.data
        lbfgs = isinstance(training.optimizer, LBFGS)
        metadata = None if data.weight is None else {"sample_weight": data.weight}
        tasks = self.tasks = FitTasks(
            self.estimator,
            training.max_epochs,
            "lbfgs-iter" if lbfgs else "epoch",
            {"X": data.selected_rows, "y": data.y, "metadata": metadata},
            lambda: {**self.attributes(), "network_": self.network.copy()},
        )
        options: dict[str, Any] = {
            "max_epochs": training.max_epochs,
            "weight": data.weight,
            "validate": None if self.held_out is None else self.validate,
            "keep_best": self.held_out is not None,
            "before_epoch": tasks.begin,
            "on_epoch": self.after,
            "n_threads": thread_count(self.estimator.n_jobs),
            "state": state,
            "interrupts": interrupts,
        }
        if self.saved is not None:
            self.estimator.__dict__[RUNNING] = self
        rows, target = data.rows, data.target
        if isinstance(training.optimizer, LBFGS):
            return minimise_lbfgs(self.objective, rows, target, training.optimizer, **options)
        state.clock.n_steps = training.max_epochs * -(-rows.shape[0] // training.batch_size)
        return train(
            self.objective,
            rows,
            target,
            optimizer=training.optimizer,
            schedule=training.schedule,
            batch_size=training.batch_size,
            shuffle=self.estimator.shuffle,
            max_norm=training.max_norm,
            patience=training.patience,
            run=self.run,
            **options,
        )

    def validate(self) -> float:
        """Return the score of the validation set."""
        data = self.held_out
        assert data is not None
        loss = evaluate(
            self.objective,
            data.rows,
            data.target,
            data.weight,
            n_threads=thread_count(self.estimator.n_jobs),
            block_rows=_block_rows(self.network, data.rows),
        )
        self.held_out_losses.append(loss)
        if not np.isfinite(loss):
            return np.nan
        return self.estimator._score_outputs(data, self.network, loss)

    def after(self, run: TrainingRun) -> bool:
        """Print the epoch and run the callbacks; return whether one of them stops training."""
        self.run = run
        if self.estimator.verbose:
            print(f"Iteration {run.n_epochs}, loss = {run.losses[-1]:.8f}")
            if run.scores:
                print(f"Validation score: {run.scores[-1]:f}")
            clock = run.state.clock
            if clock.plateaus > self.n_plateaus:
                rate = self.training.schedule.rate(clock)
                print(f"{self._no_improvement()} Setting learning rate to {rate:f}")
            self.n_plateaus = clock.plateaus
        assert self.tasks is not None
        return self.tasks.end()

    def finish(self) -> None:
        """Tell the callbacks that the fit is over."""
        assert self.tasks is not None
        self.tasks.finish()

    def release(self) -> None:
        """Release the data, which the callbacks' view of the fit refers to."""
        self.estimator.__dict__.pop(RUNNING, None)
        if self.tasks is not None:
            self.tasks.release()

    def restore(self, run: TrainingRun) -> None:
        """Cut the history to that of an interrupted run."""
        del self.held_out_losses[len(run.scores) :]
        self.run = run

    def why_stopped(self, run: TrainingRun) -> str:
        """Return a sentence on why training ended."""
        if run.message:
            return f"L-BFGS: {run.message}"
        if run.stopped == "patience":
            return f"{self._no_improvement()} Stopping."
        return {
            None: f"Maximum iterations ({run.n_epochs}) reached.",
            "on_epoch": "A callback ended training.",
            "interrupted": "Training interrupted by user.",
            "diverged": "The loss is not finite. Stopping.",
        }[run.stopped]

    def _no_improvement(self) -> str:
        """Return scikit-learn's sentence about a loss or score that no longer improves."""
        patience = self.training.patience
        assert patience is not None
        what = "Validation score" if patience.monitor == "score" else "Training loss"
        return (
            f"{what} did not improve more than tol={patience.tol:f} for {patience.n_epochs} "
            "consecutive epochs."
        )

    def attributes(self) -> dict[str, Any]:
        """Return the fitted attributes after the last epoch."""
        if self.run is not None:
            self._record(self.run)
        last = self.columns["loss"][self.n_recorded - 1 : self.n_recorded]
        return {
            # scikit-learn requires at least 1, even if a fit was interrupted before its first step.
            "n_iter_": max(1, 0 if self.run is None else self.run.n_epochs),
            "loss_": last[0] if last else np.inf,
            "_history": self.columns,
            "_n_recorded": self.n_recorded,
        }

    def _record(self, run: TrainingRun) -> None:
        """Append the epochs that are not in the history yet, after those of earlier fits.

        A copy of all columns in each of a million calls would take longer than the calls.
        """
        missing: list[None] = [None] * run.n_epochs
        held_out: list[float | None] = [*self.held_out_losses]
        # An epoch that diverges is not validated.
        held_out += missing[len(held_out) :]
        columns = (run.losses, held_out, run.scores or missing, run.rates, run.norms)
        n_known = min(self.n_recorded - self.n_before, run.n_epochs)
        with HISTORY_LOCK:
            end = self.n_before + n_known
            if len(self.columns["loss"]) != end:
                # A copy of the estimator has gone on, or epochs were forgotten.
                self.columns = {name: column[:end] for name, column in self.columns.items()}
            for name, column in zip(HISTORY, columns, strict=True):
                self.columns[name] += column[n_known:]
        self.n_recorded = self.n_before + run.n_epochs


def has_partial_fit(estimator: Any) -> None:
    """Raise an UnavailableError if the parameters of a network estimator rule out `partial_fit`."""
    if estimator.solver == "lbfgs":
        raise UnavailableError(
            "partial_fit is only available for stochastic optimizers. lbfgs is not stochastic."
        )
    if estimator.early_stopping:
        raise UnavailableError("partial_fit does not support early_stopping=True.")
    check_streamed_weights(estimator)


def _check_weights(data: FitData, held_out: FitData | None) -> None:
    for part, name in ((data, "training"), (held_out, "validation")):
        if part is not None and part.weight is not None and not part.weight.any():
            raise ValueError(
                f"All {name} rows have weight 0. At least one needs a sample_weight and a "
                "class_weight above 0."
            )


def _copy_of_state(state: TrainingState) -> TrainingState:
    """Return a copy to train on with; the generators in it are copied when they are used."""
    assert isinstance(state.rng, RandomDraws)
    kept = tuple(slot.copy() for slot in state.optimizer.slots)
    return replace(
        state,
        optimizer=replace(state.optimizer, slots=kept, scratch=None),
        rng=state.rng.copy(),
        shard_rngs=CopiedGenerators(state.shard_rngs),
        clock=copy.copy(state.clock),
        best_params=_copy_of(state.best_params),
    )


def _copy_of(params: Array | None) -> Array | None:
    return None if params is None else params.copy()


def _block_rows(stack: Stack, rows: Rows) -> int:
    """Return how many rows to predict for at a time, within scikit-learn's `working_memory`.

    It is divided by the largest number of threads: if the actual number decided how rows are cut,
    it would change bits.
    """
    n_rows, memory = PREDICT_ROWS, int(get_config()["working_memory"] * 2**20)
    # Each layer may need its outputs and the same memory again to compute them.
    width = 2 * sum(stack.widths)
    if is_sparse(rows) and stack.takes_sparse(train=False):
        # Nothing has the width of the rows, which may be large. Wide outputs are processed further.
        width += 2 * stack.n_out - 2 * stack.n_in
        n_rows, memory = SPARSE_PREDICT_ROWS, min(memory, SPARSE_MEMORY)
    return max(1, min(n_rows, memory // (width * stack.dtype.itemsize * MAX_SHARDS)))


def _check_penalty(objective: Objective, data: FitData) -> None:
    """Raise a ValueError if the penalty, divided by the weights, would overflow."""
    if data.weight is None:
        return
    mean = float(data.weight.mean())
    if objective.l2 > mean * float(np.finfo(objective.network.dtype).max):
        raise ValueError(
            f"sample_weight is so small (mean {mean:g}) that alpha={objective.l2:g}, which is "
            f"divided by its sum, overflows {objective.network.dtype}. Multiply the weights by a "
            "constant, or choose alpha=0."
        )


def layer_sizes(sizes: Any, name: str = "hidden_layer_sizes") -> list[int]:
    """Return layer widths as a list; raise a ValueError unless they are positive integers."""
    values = list(sizes) if np.iterable(sizes) else [sizes]
    for size in values:
        if isinstance(size, bool) or not isinstance(size, Integral) or size <= 0:
            raise ValueError(f"{name} must be > 0 and integers, one for each layer; got {values}.")
    return [int(size) for size in values]
