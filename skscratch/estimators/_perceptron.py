"""What multi-layer perceptrons for classification and regression share."""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from scipy.optimize import OptimizeResult, minimize
from sklearn.base import (
    TransformerMixin,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import check_scoring

from skscratch.core.activations import Activation, Sigmoid
from skscratch.core.evaluate import Evaluator
from skscratch.core.functions import Array
from skscratch.core.initializers import GlorotUniform
from skscratch.core.interrupts import Interrupts
from skscratch.core.layers import Dense, Dropout, Layer, LayerNorm
from skscratch.core.losses import Loss, SquaredError
from skscratch.core.network import Network, Stack
from skscratch.core.objective import Objective
from skscratch.core.optimizers import SGD, Optimizer
from skscratch.core.schedules import Constant, Schedule
from skscratch.core.training import DivergenceError, TrainingRun, TrainingState
from skscratch.core.workers import Workers
from skscratch.estimators._base import (
    ENDING,
    HISTORY,
    NOT_FINITE,
    FitData,
    NetworkEstimator,
    layer_sizes,
)
from skscratch.estimators._parameters import NamesOf
from skscratch.estimators._sklearn import (
    FitTasks,
    Interval,
    ModelReaderMixin,
    RandomDraws,
    StrOptions,
    UnavailableError,
    accepts,
    begin_training,
    check_is_fitted,
    check_optimize_result,
    fitted_property,
    reads_model,
    thread_count,
    wants_dataframe,
)

# The schedules of solver='sgd'.
SCIKIT_LEARNS_SCHEDULES = ("constant", "invscaling", "adaptive")


def has_partial_fit(estimator: Any) -> None:
    if estimator.solver == "lbfgs":
        raise UnavailableError(
            "partial_fit is only available for stochastic optimizers. lbfgs is not stochastic."
        )
    if estimator.early_stopping:
        raise UnavailableError("partial_fit does not support early_stopping=True.")
    if getattr(estimator, "class_weight", None) == "balanced":
        raise UnavailableError(
            "class_weight='balanced' needs all labels at once, which partial_fit never sees. Give "
            "the weights as a dict."
        )


@dataclass(eq=False, repr=False, kw_only=True)
class MultilayerPerceptron(ModelReaderMixin, TransformerMixin, NetworkEstimator):
    """Base class of the MLP classifier and regressor, with the parameters that they share.

    The dataclass generates the constructor, so each parameter and its default are declared once.
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **NetworkEstimator._parameter_constraints,
        "activation": [NamesOf(Activation), Activation, list, tuple],
        "solver": [NamesOf(Optimizer, "lbfgs")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "learning_rate": [NamesOf(Schedule)],
        "max_fun": [Interval(Integral, 1, None, closed="left")],
        "dropout": [Interval(Real, 0, 1, closed="left"), list, tuple],
        "layer_norm": ["boolean"],
        "max_gradient_norm": [Interval(Real, 0, None, closed="neither"), None],
        "scoring": [str, callable, None],
        "pretrained": [Stack, None],
    }

    if TYPE_CHECKING:
        # Annotated in the body, they would become parameters.
        n_outputs_: int
        best_loss_: float | None
        best_validation_score_: float | None

    solver: Any = "adam"
    alpha: Any = 0.0001
    batch_size: Any = "auto"
    learning_rate: Any = "constant"
    learning_rate_init: Any = 0.001
    power_t: Any = 0.5
    max_iter: Any = 200
    shuffle: Any = True
    random_state: Any = None
    tol: Any = 1e-4
    verbose: Any = False
    warm_start: Any = False
    momentum: Any = 0.9
    nesterovs_momentum: Any = True
    early_stopping: Any = False
    validation_fraction: Any = 0.1
    beta_1: Any = 0.9
    beta_2: Any = 0.999
    epsilon: Any = 1e-8
    n_iter_no_change: Any = 10
    max_fun: Any = 15000
    noise: Any = None
    noise_level: Any = 0.3
    dropout: Any = 0.0
    layer_norm: Any = False
    max_gradient_norm: Any = None
    scoring: Any = None
    pretrained: Any = None
    n_jobs: Any = None

    # Hooks of the base.

    def _loss(self) -> Loss:
        raise NotImplementedError

    def _layers(self, n_in: int) -> tuple[list[Layer], dict[int, int]]:
        layers = [*self._noise_layers(), *[layer for layer, _ in self._pretrained_layers()]]
        widths = layer_sizes(self.hidden_layer_sizes)
        activations = _one_each(self.activation, len(widths), "activation", (str, Activation))
        rates = _one_each(self.dropout, len(widths), "dropout", (Real,))
        for width, activation, rate in zip(widths, activations, rates, strict=True):
            layers += self._hidden_layer(width, Activation.resolve(activation), float(rate))
        initial = _initial(activations[-1] if activations else "identity")
        return [*layers, Dense(self.n_outputs_, initial, initial)], {}

    def _hidden_layer(self, width: int, activation: Activation, rate: float) -> list[Layer]:
        if not 0 <= rate < 1:
            raise ValueError(f"dropout must be at least 0 and less than 1, got {rate}.")
        initial = _initial(activation)
        layers: list[Layer] = [Dense(width, initial, initial)]
        if self.layer_norm:
            layers.append(LayerNorm())
        layers.append(activation)
        if rate:
            layers.append(Dropout(rate))
        return layers

    def _network(self, data: FitData, rng: RandomDraws) -> Network:
        network = super()._network(data, rng)
        if self.pretrained is None:
            return network
        if self.pretrained.n_in != network.n_in:
            raise ValueError(
                f"The pretrained layers take {self.pretrained.n_in} features, but X has "
                f"{network.n_in}."
            )
        views = network.views[len(self._noise_layers()) :]
        for mine, (_, given) in zip(views, self._pretrained_layers(), strict=False):
            for name, values in vars(given).items():
                getattr(mine, name)[...] = values
        return network

    def _pretrained_layers(self) -> list[tuple[Layer, Any]]:
        """Return the given layers with their parameters, less what served their own training."""
        if self.pretrained is None:
            return []
        given = self.pretrained
        layers = zip(given.layers, given.widths, strict=False)
        kept = [layer.for_inference(n_in) for layer, n_in in layers]
        pairs = zip(kept, given.views, strict=True)
        return [(layer, view) for layer, view in pairs if layer is not None]

    def _scoring(self) -> Any:
        return self.scoring

    def _objective(self, network: Network) -> Objective:
        loss = self._loss()
        # scikit-learn's squared error is half of it.
        scale = 0.5 if isinstance(loss, SquaredError) else 1.0
        return Objective(network, loss, l2=self._l2(), scale=scale)

    def _make_optimizer(self) -> Optimizer:
        return SGD() if self.solver == "lbfgs" else super()._make_optimizer()

    def _schedule(self, *, endless: bool) -> Schedule:
        # As in scikit-learn, its own schedules are used by sgd only.
        if self.learning_rate in SCIKIT_LEARNS_SCHEDULES and not isinstance(
            self._make_optimizer(), SGD
        ):
            return Constant(float(self.learning_rate_init))
        return super()._schedule(endless=endless)

    def _rows_in_batch(self, n: int) -> int:
        if self.batch_size != "auto" and self.batch_size > n:
            warnings.warn(
                "Got `batch_size` less than 1 or larger than sample size. It is going to be "
                f"clipped to the {n} rows there are.",
                stacklevel=2,
            )
        return super()._rows_in_batch(n)

    def _max_norm(self) -> float | None:
        return None if self.max_gradient_norm is None else float(self.max_gradient_norm)

    def _start_history(self) -> None:
        super()._start_history()
        self.validation_scores_: list[float] | None = [] if self.early_stopping else None

    def _default_score(self, data: FitData, network: Network) -> float:
        """Score as the method `score` does, for data that are validated and encoded."""
        raise NotImplementedError

    def _score_outputs(self, data: FitData, network: Network) -> float:
        if self.scoring is None:
            return self._default_score(data, network)
        if self.scoring == "loss":
            return -self._validation_loss(data, network)
        # A copy with the network as it stands; the rows are checked and have no names any more.
        fitted = copy.copy(self)
        fitted.__dict__.pop("feature_names_in_", None)
        fitted.network_ = network
        scorer, weight = check_scoring(fitted, self.scoring), {}
        # A custom scorer may take no weights.
        knows_weights = isinstance(self.scoring, str) or accepts(scorer, "sample_weight")
        if data.weight is not None and knows_weights:
            weight = {"sample_weight": data.weight}
        return float(scorer(fitted, data.selected_rows(), data.y, **weight))

    def _optimise(
        self,
        objective: Objective,
        data: FitData,
        held_out: FitData | None,
        state: TrainingState,
        *,
        incremental: bool,
    ) -> None:
        if self.scoring not in (None, "loss"):
            check_scoring(self, self.scoring)
        if self.solver == "lbfgs":
            self._optimise_lbfgs(objective, data, held_out, state)
        else:
            super()._optimise(objective, data, held_out, state, incremental=incremental)
            reached_the_end = not incremental and self.stop_reason_ == "max_iter"
            # A schedule that ends there was meant to.
            if reached_the_end and not isinstance(self._schedule(endless=False), ENDING):
                warnings.warn(
                    f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) reached and the "
                    "optimization hasn't converged yet.",
                    ConvergenceWarning,
                    stacklevel=2,
                )

    def _after_training(self, run: TrainingRun, data: FitData) -> None:
        if run.scores:
            self.validation_scores_ = [*(self.validation_scores_ or []), *run.scores]
            self.best_validation_score_, self.best_loss_ = run.state.best_score, None
        else:
            self.best_validation_score_, self.best_loss_ = None, run.state.best_loss

    def _optimise_lbfgs(
        self,
        objective: Objective,
        data: FitData,
        held_out: FitData | None,
        state: TrainingState,
    ) -> None:
        network, n = objective.network, data.rows.shape[0]
        if any(layer.only_in_training for layer in network.layers):
            raise ValueError(
                "solver='lbfgs' needs the same objective at every call, which dropout and noise do "
                "not give. Choose solver='adam', or dropout=0 and noise=None."
            )
        tasks = FitTasks(
            self,
            self.max_iter,
            "lbfgs-iter",
            {"X": data.selected_rows, "y": data.y, "metadata": None},
            lambda: {"network_": network.copy(), "n_iter_": 0},
        )
        iterations = _Iterations(self, objective, held_out, state, tasks, begin_training())
        with (
            np.errstate(over="ignore", invalid="ignore"),
            Workers(thread_count(self.n_jobs)) as workers,
        ):
            evaluate = Evaluator(objective, data.rows, data.target, data.weight, n, workers)
            result = iterations.minimise(evaluate, n)
        network.params[:] = result.x
        if held_out is not None and state.best_params is not None:
            network.params[:] = state.best_params
        stopped = iterations.stopped
        if not (np.isfinite(network.params).all() and (stopped or np.isfinite(result.fun))):
            raise DivergenceError(f"{NOT_FINITE}.")
        if self.verbose:
            print(f"L-BFGS: {result.message}")
        n_iter = result.nit if stopped else check_optimize_result("lbfgs", result, self.max_iter)
        # Started at the optimum, L-BFGS takes no step; looking at it counts as one.
        self.n_iter_ = max(1, n_iter)
        self.network_, self._training_state = network, state
        # One value an iteration is for curves; lbfgs takes as many looks as it likes.
        self.__dict__.pop("loss_curve_", None)
        losses, scores = iterations.losses, iterations.scores
        self.loss_, self.best_loss_ = result.fun, None if scores else result.fun
        self.validation_loss_curve_ = losses or None
        self.validation_scores_ = scores or None
        self._history = iterations.history()
        self.stop_reason_ = iterations.stop_reason(result)
        self.best_validation_score_ = state.best_score if scores else None
        tasks.finish()

    # Fitted attributes that are read off the network.

    @fitted_property
    def n_layers_(self) -> int:
        """Number of layers of units, input and output included."""
        return len(self.coefs_) + 1

    @fitted_property
    def out_activation_(self) -> str:
        """Name of the function that turns raw outputs into predictions."""
        return self._fitted_loss.link

    @property
    def _hidden_ends(self) -> list[int]:
        """Where each hidden layer ends among the network's layers, pretrained ones included."""
        dense = [i for i, layer in enumerate(self.network_.layers) if isinstance(layer, Dense)]
        return dense[1:]

    @property
    def _n_features_out(self) -> int:
        if not self._hidden_ends:
            raise ValueError("There are 0 hidden layers, and so no features to name.")
        return self.network_.widths[self._hidden_ends[-1]]

    @reads_model
    def transform(self, X: Any, layer: int = -1) -> Array:
        """Compute the features that a hidden layer makes of rows.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.
        layer : int, default=-1
            Which hidden layer: 0 the first, -1 the last.

        Returns
        -------
        ndarray of shape (n_samples, width of the layer)
            The layer's outputs, behind its activation.
        """
        check_is_fitted(self)
        ends = self._hidden_ends
        if not isinstance(layer, Integral) or not -len(ends) <= layer < len(ends):
            raise ValueError(
                f"There are {len(ends)} hidden layers, so there is no layer {layer!r}."
            )
        if ends[layer] != ends[-1] and wants_dataframe(self):
            raise ValueError(
                "set_output names the columns of the last hidden layer only. For another layer, "
                "call set_output(transform='default') first."
            )
        return self._predicted(self.network_.part(0, ends[layer]), self._check_new(X))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


class _Iterations:
    """What happens in each iteration of L-BFGS: validation, history, callbacks and Ctrl-C."""

    def __init__(
        self,
        estimator: MultilayerPerceptron,
        objective: Objective,
        held_out: FitData | None,
        state: TrainingState,
        tasks: FitTasks,
        interrupts: Interrupts,
    ) -> None:
        self.estimator, self.network, self.held_out = estimator, objective.network, held_out
        self.state, self.tasks, self.interrupts = state, tasks, interrupts
        self.losses: list[float] = []
        self.scores: list[float] = []
        self.values: list[float] = []
        self.stopped = False
        self.value = np.inf
        #: How many iterations were whole, the objective then, and the parameters.
        self.last = 0, np.inf, objective.network.params.copy()

    def minimise(self, evaluate: Evaluator, n: int) -> OptimizeResult:
        """Run SciPy's L-BFGS-B on all n rows; Ctrl-C ends it after the last whole iteration."""
        network, estimator, everything = self.network, self.estimator, slice(0, n)
        # An attribute, so that it can be deleted: SciPy before 1.14 keeps the function below, but
        # shall not keep the data, until the garbage collector comes.
        self.evaluate = evaluate

        def value_and_grad(params: Array) -> tuple[float, Array]:
            if self.interrupts.requested:
                raise KeyboardInterrupt
            network.params[:] = params
            result = self.evaluate(everything, n)
            self.value = result.value
            if np.isinf(self.last[1]):
                self.last = 0, self.value, self.last[2]
            return self.value, self.evaluate.objective.gradient(result).astype(np.float64)

        try:
            return minimize(
                value_and_grad,
                network.params.astype(np.float64),
                method="L-BFGS-B",
                jac=True,
                callback=self.end,
                options={
                    "maxfun": estimator.max_fun,
                    "maxiter": estimator.max_iter,
                    "gtol": estimator.tol,
                },
            )
        except KeyboardInterrupt:
            self.interrupts.requested = self.stopped = True
            n_iter, value, params = self.last
            for column in (self.losses, self.scores, self.values):
                del column[n_iter:]
            message = "Training interrupted by user."
            return OptimizeResult(nit=n_iter, fun=value, x=params, message=message)
        finally:
            del self.evaluate

    def end(self, params: Array) -> None:
        """End an iteration."""
        self.tasks.begin()
        self.network.params[:] = params
        if self.held_out is not None:
            self.losses.append(self.estimator._validation_loss(self.held_out, self.network))
            self.scores.append(self.estimator._score_outputs(self.held_out, self.network))
            if self.scores[-1] > self.state.best_score:
                self.state.best_score = self.scores[-1]
                self.state.best_params = self.network.params.copy()
        self.last = self.last[0] + 1, self.value, self.network.params.copy()
        self.values.append(self.value)
        if self.estimator.verbose:
            print(f"Iteration {self.last[0]}, loss = {self.value:.8f}")
        self.stopped = self.tasks.end()
        if self.stopped:
            raise StopIteration

    def history(self) -> dict[str, list[Any]]:
        """Return what was recorded of each iteration, by column."""
        n = len(self.values)
        nothing: list[None] = [None] * n
        columns = (
            self.values,
            self.losses or nothing,
            self.scores or nothing,
            nothing,
            nothing,
        )
        return {name: list(column) for name, column in zip(HISTORY, columns, strict=True)}

    def stop_reason(self, result: OptimizeResult) -> str:
        """Return why the iterations ended."""
        if self.interrupts.requested:
            return "interrupted"
        if self.stopped:
            return "callback"
        return "converged" if result.success else "max_iter"


def _initial(activation: str | Activation) -> GlorotUniform:
    """Return scikit-learn's initial values: Glorot's, narrower for the logistic function."""
    return GlorotUniform(3**-0.5 if isinstance(Activation.resolve(activation), Sigmoid) else 1.0)


def _one_each(value: Any, n: int, name: str, kinds: tuple[type, ...]) -> list[Any]:
    """Return one value for each hidden layer, where one for all or a list is accepted."""
    values = list(value) if isinstance(value, list | tuple) else [value] * n
    if len(values) != n or not all(isinstance(v, kinds) for v in values):
        raise ValueError(
            f"{name} must be one value for all hidden layers, or a list of one for each of the "
            f"{n} in hidden_layer_sizes; got {value!r}."
        )
    return values
