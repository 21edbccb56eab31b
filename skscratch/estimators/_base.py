"""What all network estimators share: validate, build, train, keep.

A subclass says how its data are checked, which layers it has and what its objective is. The
parameters of training, resuming, early stopping, callbacks and threads are handled here, once.
"""

from __future__ import annotations

import copy
import warnings
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, ClassVar, NamedTuple

import numpy as np
from sklearn import get_config
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import get_tags

from skscratch.core.evaluate import evaluate
from skscratch.core.functions import Array
from skscratch.core.layers import (
    Corruption,
    Layer,
    Noise,
)
from skscratch.core.losses import Loss
from skscratch.core.network import PREDICT_ROWS, Network, Stack
from skscratch.core.objective import Objective
from skscratch.core.optimizers import AdamW, Optimizer
from skscratch.core.rows import Rows, RowSubset
from skscratch.core.schedules import Constant, Cosine, OneCycle, Schedule
from skscratch.core.training import (
    DivergenceError,
    Patience,
    TrainingRun,
    TrainingState,
    start,
    train,
)
from skscratch.core.workers import MOST_SHARDS, predict
from skscratch.estimators._parameters import NamesOf, recipe_of
from skscratch.estimators._sklearn import (
    CallbackSupportMixin,
    FitTasks,
    Interval,
    Options,
    RandomDraws,
    as_rows,
    begin_training,
    check_rows,
    content_digest,
    copy_of,
    fitted_property,
    network_dtype,
    thread_count,
)

# The first sentences are scikit-learn's.
NOT_FINITE = (
    "Solver produced non-finite parameter weights. The input data may contain large values and "
    "need to be preprocessed. Scale X (StandardScaler, MinMaxScaler)"
)
# What is recorded of each epoch.
HISTORY = ("loss", "validation_loss", "validation_score", "learning_rate", "gradient_norm")
# Why training stopped, in `stop_reason_`, by the core's word.
STOP_REASONS = {
    None: "max_iter",
    "patience": "n_iter_no_change",
    "on_epoch": "callback",
    "interrupted": "interrupted",
    "diverged": "diverged",
}
# Schedules that run towards an end.
ENDING = Cosine | OneCycle


class Names(NamedTuple):
    """What the user calls the data."""

    X: str
    y: str
    weight: str


TRAINING = Names("X", "y", "sample_weight")
VALIDATION = Names("X_val", "y_val", "sample_weight_val")


@dataclass
class FitData:
    """Validated data in the two forms that fitting needs: as the user sees them, and as rows.

    `encoded` is what the network is to put out; None stands for X itself. `chosen` are the numbers
    of the rows of X that are meant, where not all are.
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
        """Return the rows of X that are meant, as the user would see them."""
        return self.X if self.chosen is None else self.X[self.chosen]

    def subset(self, rows: Array) -> FitData:
        """Return some of the rows, without a copy of X."""
        columns = (self.y, self.weight, self.encoded)
        y, weight, encoded = (None if c is None else c[rows] for c in columns)
        return FitData(self.X, y, weight, encoded, rows)


class NetworkEstimator(CallbackSupportMixin, BaseEstimator):
    """Base of the estimators that train a network."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "power_t": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
        "tol": [Interval(Real, 0, None, closed="left")],
        "verbose": ["verbose"],
        "warm_start": ["boolean"],
        "momentum": [Interval(Real, 0, 1, closed="both")],
        "nesterovs_momentum": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "beta_1": [Interval(Real, 0, 1, closed="left")],
        "beta_2": [Interval(Real, 0, 1, closed="left")],
        "epsilon": [Interval(Real, 0, None, closed="neither")],
        "n_iter_no_change": [
            Interval(Integral, 1, None, closed="left"),
            Options(Real, {np.inf}),
        ],
        # A function is given as it is.
        "noise": [NamesOf(Noise, without=frozenset({"corruption"})), callable, None],
        "noise_level": [Interval(Real, 0, None, closed="left")],
        "n_jobs": [Integral, None],
    }

    network_: Network
    _training_state: TrainingState | None
    _trained_by: Optimizer
    _fitted_loss: Loss
    _monitored: tuple[Any, ...]

    # What a subclass says of itself.

    @abstractmethod
    def _check_data(
        self, X: Any, y: Any, sample_weight: Any, *, reset: bool, training: bool
    ) -> FitData:
        """Validate and encode training data, or else validation data.

        `reset` forgets what earlier data looked like: number and names of features.
        """

    @abstractmethod
    def _layers(self, n_in: int) -> tuple[list[Layer], dict[int, int]]:
        """Return the layers of the network, and which of them share weights."""

    @abstractmethod
    def _objective(self, network: Network) -> Objective:
        """Return what training makes small."""

    def _score_outputs(self, data: FitData, network: Network) -> float:
        """Score a validation set for early stopping, higher is better."""
        return -self._validation_loss(data, network)

    def _stratify(self, data: FitData) -> Any:
        """Return the labels by which the early-stopping split is stratified, or None."""
        return None

    def _make_optimizer(self) -> Optimizer:
        optimizer: Optimizer = recipe_of(self, Optimizer, "solver")
        return optimizer

    def _schedule(self, *, endless: bool) -> Schedule:
        schedule: Schedule = recipe_of(
            self, Schedule, "learning_rate", initial=float(self.learning_rate_init)
        )
        # The number of partial_fit calls is unknown: a schedule that runs towards an end would have
        # the network stop learning half-way.
        if endless and isinstance(schedule, ENDING):
            return Constant(schedule.initial)
        return schedule

    def _patience(self) -> Patience | None:
        # A validation set that is given for its curve does not end training early.
        return Patience(
            self.tol, self.n_iter_no_change, monitor="score" if self.early_stopping else "loss"
        )

    def _l2(self) -> float:
        # AdamW decays the weights itself.
        return 0.0 if isinstance(self._make_optimizer(), AdamW) else self.alpha

    def _noise_layers(self) -> list[Layer]:
        """Return what disturbs the input in training."""
        if self.noise is None:
            return []
        if isinstance(self.noise, Noise):
            return [self.noise]
        if callable(self.noise):
            return [Corruption(self.noise)]
        if self.noise in ("masking", "salt_and_pepper") and self.noise_level > 1:
            raise ValueError(
                f"noise_level is a share of the entries for noise={self.noise!r}: it must be at "
                f"most 1, got {self.noise_level}."
            )
        return [recipe_of(self, Noise, "noise")]

    def _max_norm(self) -> float | None:
        return None

    def _scoring(self) -> Any:
        """Return what a validation set is judged by."""
        return "loss"

    def _max_epochs(self, steps_per_epoch: int) -> int:
        return int(self.max_iter)

    def _rows_in_batch(self, n: int) -> int:
        return min(200, n) if self.batch_size == "auto" else min(self.batch_size, n)

    # The one way from data to a trained network.

    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        validation: tuple[Any, Any, Any] | None = None,
        *,
        incremental: bool = False,
    ) -> Any:
        first = not hasattr(self, "network_") or not (self.warm_start or incremental)
        data = self._check_data(X, y, sample_weight, reset=first, training=True)
        rng = RandomDraws(self.random_state)
        network = self._network(data, rng) if first else self._fitted_network()
        held_out = self._held_out(validation)
        if self.early_stopping and self.solver != "lbfgs" and held_out is None:
            data, held_out = self._split(data, rng)
        for part, name in ((data, "training"), (held_out, "validation")):
            if part is not None and part.weight is not None and not part.weight.any():
                raise ValueError(
                    f"All {name} rows have weight 0: nothing can be learned from them or judged by "
                    "them. Give them sample_weight or class_weight above 0."
                )
        if first:
            self._start_history()
        objective = self._objective(network)
        _check_penalty(objective, data)
        self._fitted_loss = objective.loss
        state = self._state(objective, rng, held_out, first=first, incremental=incremental)
        self._optimise(objective, data, held_out, state, incremental=incremental)
        return self

    def _network(self, data: FitData, rng: RandomDraws) -> Network:
        n_in = data.rows.shape[1]
        layers, ties = self._layers(n_in)
        return Network(layers, n_in, network_dtype(data.X), rng=rng, ties=ties)

    def _fitted_network(self) -> Network:
        """Return a copy of the network to go on with, if the parameters still describe it.

        What acts in training only, such as noise, may have changed.
        """
        before = self.network_
        layers, ties = self._layers(before.n_in)
        network = Network(layers, before.n_in, before.dtype, rng=None, ties=ties)
        same_layers = _lasting(layers) == _lasting(before.layers)
        same_loss = self._objective(network).loss == self._fitted_loss
        if not (same_layers and same_loss and network.n_params == before.n_params):
            raise ValueError(
                "Parameters that shape the network or its loss were changed since it was fitted, "
                "so it cannot be trained further. Set them back, or call fit with warm_start=False."
            )
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

        Classes are held out in proportion, as far as their sizes allow; a class of one row cannot
        be divided and stays in training.
        """
        n = data.rows.shape[0]
        if not self.validation_fraction:
            raise ValueError(
                "validation_fraction must be above 0 with early_stopping=True, which holds out "
                "that share of the rows. Or give validation data as X_val."
            )
        labels = self._stratify(data)
        alone, n_classes = np.zeros(n, bool), 0
        if labels is not None:
            _, class_of_row, sizes = np.unique(
                np.ravel(labels), return_inverse=True, return_counts=True
            )
            alone = sizes[class_of_row] < 2
            n_classes = int(np.count_nonzero(sizes > 1))
        # There have to be enough rows for one of each class.
        most = n - int(alone.sum()) - max(1, n_classes)
        if most < 2 <= n - 1:
            labels, alone, n_classes, most = None, np.zeros(n, bool), 0, n - 1
        if most < 2:
            raise ValueError(
                f"The validation set is too small: early_stopping=True holds out at least two rows "
                f"for it, which leaves none of n_samples={n} to train on."
            )
        n_held = min(most, max(2, n_classes, int(np.ceil(self.validation_fraction * n))))
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
        self.loss_curve_: list[float] = []
        self._history: dict[str, list[float | None]] = {name: [] for name in HISTORY}
        self.validation_loss_curve_: list[float] | None = None
        self._training_state = None

    def _state(
        self,
        objective: Objective,
        rng: RandomDraws,
        held_out: FitData | None,
        *,
        first: bool,
        incremental: bool,
    ) -> TrainingState:
        """Return a new state of training, or a copy of the last one where training goes on."""
        optimizer = self._make_optimizer()
        before = None if first else self._training_state
        if before is not None and incremental and self._trained_by == optimizer:
            state = copy.deepcopy(before)
        else:
            state = start(objective, optimizer, rng)
            if before is not None:
                state.clock.samples = before.clock.samples
                state.best_loss, state.n_stale = before.best_loss, before.n_stale
                state.best_score = before.best_score
                state.best_params = copy.deepcopy(before.best_params)
        # Scores can be compared on the same rows only, and where each is that of the network at
        # hand: parameters may have been assigned since.
        monitored = (self.early_stopping, *self._judge(held_out))
        best = state.best_params
        same = before is not None and self._monitored == monitored
        if not same or (best is not None and not np.array_equal(best, objective.network.params)):
            state.best_score, state.best_params, state.n_stale = -np.inf, None, 0
        self._trained_by, self._monitored = optimizer, monitored
        return state

    def _judge(self, held_out: FitData | None) -> tuple[Any, ...]:
        """Identify what networks are judged by: the validation rows, by content, and the score."""
        if held_out is None:
            return ()
        digest = content_digest(held_out.selected_rows(), held_out.encoded, held_out.weight)
        return self._scoring(), digest

    def _optimise(
        self,
        objective: Objective,
        data: FitData,
        held_out: FitData | None,
        state: TrainingState,
        *,
        incremental: bool,
    ) -> None:
        """Train by mini-batches, and store the fitted attributes."""
        network, n = objective.network, data.rows.shape[0]
        interrupts = begin_training()
        batch_size = self._rows_in_batch(n)
        steps_per_epoch = -(-n // batch_size)
        max_epochs = 1 if incremental else self._max_epochs(steps_per_epoch)
        state.clock.n_steps = max_epochs * steps_per_epoch
        epochs = _Epochs(self, network, data, held_out, max_epochs)
        run = self._train(
            objective,
            data.rows,
            data.target,
            optimizer=self._trained_by,
            schedule=self._schedule(endless=incremental),
            batch_size=batch_size,
            max_epochs=max_epochs,
            weight=data.weight,
            shuffle=self.shuffle,
            validate=epochs.validate if held_out is not None else None,
            keep_best=held_out is not None,
            max_norm=self._max_norm(),
            patience=self._patience(),
            before_epoch=epochs.tasks.begin,
            on_epoch=epochs.after,
            n_threads=thread_count(self.n_jobs),
            state=state,
            interrupts=interrupts,
        )
        if run.stopped == "interrupted":
            epochs.go_back(run)
            # The random stream was left somewhere within an epoch.
            state.rng = RandomDraws(self.random_state)
            state.shard_rngs = state.rng.spawn(len(state.shard_rngs))
        if self.verbose and not incremental:
            print(self._why_stopped(run))
        self.__dict__.update(epochs.attributes(), network_=network, _training_state=state)
        self.t_ += n * run.n_epochs
        self.stop_reason_ = STOP_REASONS[run.stopped]
        epochs.tasks.finish()
        if run.stopped == "diverged":
            warnings.warn(
                f"Training diverged in epoch {run.n_epochs}: the loss is not finite. The "
                "parameters of the best epoch before are kept. Scale the data (StandardScaler, "
                "MinMaxScaler), or choose a smaller learning_rate_init.",
                ConvergenceWarning,
                stacklevel=2,
            )
        self._after_training(run, data)

    def _train(self, *data: Any, **options: Any) -> TrainingRun:
        """Train; if training diverges, add advice to the error."""
        try:
            return train(*data, **options)
        except DivergenceError as error:
            raise DivergenceError(
                f"{error} {NOT_FINITE}, or choose a smaller learning_rate_init."
            ) from None

    def _no_improvement(self) -> str:
        """Say in scikit-learn's words that training no longer gets anywhere."""
        what = "Validation score" if self.early_stopping else "Training loss"
        return (
            f"{what} did not improve more than tol={self.tol:f} for {self.n_iter_no_change} "
            "consecutive epochs."
        )

    def _why_stopped(self, run: TrainingRun) -> str:
        """Return a sentence about what ended training."""
        reasons = {
            "patience": f"{self._no_improvement()} Stopping.",
            "on_epoch": "A callback ended training.",
            "interrupted": "Training interrupted by user.",
            "diverged": "The loss is not finite. Stopping.",
        }
        if run.stopped is None:
            return f"Maximum iterations ({run.n_epochs}) reached."
        return reasons[run.stopped]

    def _after_training(self, run: TrainingRun, data: FitData) -> None:
        """Set the further fitted attributes of an estimator."""

    def _validation_loss(self, data: FitData, network: Network) -> float:
        return evaluate(
            self._objective(network),
            data.rows,
            data.target,
            data.weight,
            n_threads=thread_count(self.n_jobs),
            block_rows=_block_rows(network),
        )

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
        """Hand the outputs of a network to `write`, block by block and on several threads."""
        with np.errstate(over="ignore", invalid="ignore"):
            predict(
                stack,
                rows.shape[0],
                rows.take,
                write,
                thread_count(self.n_jobs),
                _block_rows(stack),
            )

    def _predicted(
        self, stack: Stack, X: Any, link: Callable[[Array], Array] | None = None
    ) -> Array:
        """Return outputs for rows that a user wants to know about: finite, or a ValueError."""
        outputs = self._outputs(stack, X, link)
        self._check_outputs(outputs)
        return outputs

    def _check_outputs(self, outputs: Array) -> None:
        """Raise a ValueError if rows led to values that are not finite."""
        if not np.isfinite(outputs).all():
            raise ValueError(
                f"X holds values too large for a network of {self.network_.dtype}: its outputs are "
                "not finite. Scale X as in training."
            )

    def _check_new(self, X: Any) -> Any:
        """Validate rows to predict for."""
        return check_rows(self, X, reset=False)

    # A network's weights, as scikit-learn shows them.

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
    def history_(self) -> list[dict[str, Any]]:
        """A record for each epoch (iteration, with solver='lbfgs') of all fits that went on."""
        columns = self._history.values()
        return [
            {"epoch": k, **dict(zip(HISTORY, values, strict=True))}
            for k, values in enumerate(zip(*columns, strict=True), 1)
        ]

    def _assign(self, name: str, values: Sequence[Array]) -> None:
        """Set weights or biases, in a network of its own: a copy may share the present one."""
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
    """A list of views into a network's parameters: to assign an entry is to set its values."""

    def __init__(self, name: str, views: Sequence[Array]) -> None:
        super().__init__(views)
        self.name = name

    def __setitem__(self, place: Any, value: Any) -> None:
        chosen = self[place]
        views, values = (chosen, list(value)) if isinstance(place, slice) else ([chosen], [value])
        shapes, given = [v.shape for v in views], [np.shape(v) for v in values]
        if shapes != given:
            raise ValueError(f"{self.name} must have the shapes {shapes}, got {given}.")
        for view, new in zip(views, values, strict=True):
            view[...] = new

    # A copy holds plain arrays: where they are views of a network, it is another one.
    def __reduce__(self) -> tuple[Any, ...]:
        return list, (list(self),)


class _Epochs:
    """What happens between the epochs of one fit: validation, history, printing, callbacks."""

    def __init__(
        self,
        estimator: NetworkEstimator,
        network: Network,
        data: FitData,
        held_out: FitData | None,
        max_epochs: int,
    ) -> None:
        self.estimator, self.network, self.held_out = estimator, network, held_out
        # 'lbfgs' leaves no curve to go on with.
        self.losses = list(getattr(estimator, "loss_curve_", []))
        self.history_before = estimator._history
        self.run: TrainingRun | None = None
        self.held_out_losses = list(estimator.validation_loss_curve_ or [])
        self.n_before, self.n_validated_before = len(self.losses), len(self.held_out_losses)
        self.scores: list[float] = []
        self.n_iter = self.n_plateaus = 0
        metadata = None if data.weight is None else {"sample_weight": data.weight}
        self.tasks = FitTasks(
            estimator,
            max_epochs,
            "epoch",
            {"X": data.selected_rows, "y": data.y, "metadata": metadata},
            lambda: {**self.attributes(), "network_": network.copy()},
        )

    def validate(self) -> float:
        assert self.held_out is not None
        loss = self.estimator._validation_loss(self.held_out, self.network)
        self.held_out_losses.append(loss)
        if not np.isfinite(loss):
            return np.nan
        return self.estimator._score_outputs(self.held_out, self.network)

    def after(self, run: TrainingRun) -> bool:
        self.losses.append(run.losses[-1])
        self.n_iter = len(run.losses)
        self.scores = run.scores
        self.run = run
        if self.estimator.verbose:
            print(f"Iteration {self.n_iter}, loss = {self.losses[-1]:.8f}")
            if run.scores:
                print(f"Validation score: {run.scores[-1]:f}")
            clock = run.state.clock
            if clock.plateaus > self.n_plateaus:
                rate = self.estimator._schedule(endless=False).rate(clock)
                print(f"{self.estimator._no_improvement()} Setting learning rate to {rate:f}")
            self.n_plateaus = clock.plateaus
        return self.tasks.end()

    def history(self) -> dict[str, list[float | None]]:
        """Return the records of earlier fits that went on, and of this one, by column."""
        run = self.run
        if run is None:
            return self.history_before
        nothing: list[None] = [None] * run.n_epochs
        held_out: list[float | None] = [*self.held_out_losses[self.n_validated_before :]]
        # An epoch that diverges is not validated.
        held_out += nothing[len(held_out) :]
        columns = (
            run.losses,
            held_out if run.scores else nothing,
            run.scores or nothing,
            run.rates,
            run.norms,
        )
        return {
            name: [*self.history_before[name], *column]
            for name, column in zip(HISTORY, columns, strict=True)
        }

    def go_back(self, run: TrainingRun) -> None:
        """Let the history end where an interrupted run ends."""
        n_before = self.n_before
        self.losses[n_before:] = run.losses
        del self.held_out_losses[self.n_validated_before + len(run.scores) :]
        self.n_iter = run.n_epochs
        self.run = run

    def attributes(self) -> dict[str, Any]:
        """Fitted attributes as they stand after the last epoch."""
        return {
            # Interrupted before its first step, a fit has looked at the data nevertheless.
            "n_iter_": max(1, self.n_iter),
            "loss_curve_": list(self.losses),
            "loss_": self.losses[-1] if self.losses else np.inf,
            "_history": self.history(),
            "validation_loss_curve_": list(self.held_out_losses) if self.held_out else None,
        }


def _lasting(layers: Sequence[Layer]) -> list[Layer]:
    """Return the layers that act in prediction too."""
    return [layer for layer in layers if not layer.only_in_training]


def _block_rows(stack: Stack) -> int:
    """Return how many rows to predict for at a time, within scikit-learn's `working_memory`.

    All threads that there may be have to share it; their present number must not decide how rows
    are cut, or it would change bits.
    """
    # Each layer may need its outputs and as much again to compute them.
    bytes_of_row = 2 * sum(stack.widths) * stack.dtype.itemsize * MOST_SHARDS
    return max(1, min(PREDICT_ROWS, int(get_config()["working_memory"] * 2**20) // bytes_of_row))


def _check_penalty(objective: Objective, data: FitData) -> None:
    """Raise a ValueError where the penalty, divided by the weights, would overflow."""
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
    """Return layer widths as a list; anything but positive whole numbers is a ValueError."""
    values = list(sizes) if np.iterable(sizes) else [sizes]
    for size in values:
        if isinstance(size, bool) or not isinstance(size, Integral) or size <= 0:
            raise ValueError(
                f"{name} must be > 0 and whole numbers, one for each layer; got {values}."
            )
    return [int(size) for size in values]
