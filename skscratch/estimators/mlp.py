"""Multi-layer perceptrons with scikit-learn's interface: change the import line, keep the rest."""

from __future__ import annotations

import copy
import warnings
from itertools import pairwise
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from scipy.optimize import OptimizeResult, minimize
from sklearn.base import (
    ClassifierMixin,
    ClassNamePrefixFeaturesOutMixin,
    RegressorMixin,
    TransformerMixin,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score, check_scoring, d2_pinball_score, r2_score
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import type_of_target, unique_labels
from sklearn.utils.validation import column_or_1d

from skscratch.core.activations import Activation, Sigmoid
from skscratch.core.evaluate import Evaluator
from skscratch.core.functions import Array
from skscratch.core.initializers import GlorotUniform
from skscratch.core.interrupts import Interrupts
from skscratch.core.layers import Dense, Dropout, Layer, LayerNorm
from skscratch.core.losses import Loss, Pinball, SquaredError
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
    TRAINING,
    VALIDATION,
    FitData,
    NetworkEstimator,
    layer_sizes,
)
from skscratch.estimators._parameters import NamesOf, recipe_of
from skscratch.estimators._sklearn import (
    FitTasks,
    Interval,
    ModelReaderMixin,
    RandomDraws,
    StrOptions,
    UnavailableError,
    accepts,
    all_or_nothing,
    available_if,
    begin_training,
    check_is_fitted,
    check_optimize_result,
    check_rows,
    check_weight,
    fitted_property,
    is_first_partial_fit,
    network_dtype,
    reads_model,
    thread_count,
    wants_dataframe,
)
from skscratch.estimators._targets import ClassTargets, check_labels, class_weights

# Losses of class targets, which a regression has not.
OF_CLASSES = frozenset({"log_loss", "hinge", "squared_hinge", "multiclass_hinge"})
# Those of solver='sgd'.
SCIKIT_LEARNS_SCHEDULES = ("constant", "invscaling", "adaptive")


def _has_partial_fit(estimator: Any) -> None:
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


class _MultilayerPerceptron(ModelReaderMixin, TransformerMixin, NetworkEstimator):
    """What classifier and regressor share."""

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

    n_outputs_: int
    best_loss_: float | None
    best_validation_score_: float | None

    def __init__(
        self,
        hidden_layer_sizes,
        activation,
        solver,
        alpha,
        batch_size,
        learning_rate,
        learning_rate_init,
        power_t,
        max_iter,
        shuffle,
        random_state,
        tol,
        verbose,
        warm_start,
        momentum,
        nesterovs_momentum,
        early_stopping,
        validation_fraction,
        beta_1,
        beta_2,
        epsilon,
        n_iter_no_change,
        max_fun,
        noise,
        noise_level,
        dropout,
        layer_norm,
        max_gradient_norm,
        scoring,
        pretrained,
        n_jobs,
    ):
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.noise = noise
        self.noise_level = noise_level
        self.dropout = dropout
        self.layer_norm = layer_norm
        self.max_gradient_norm = max_gradient_norm
        self.scoring = scoring
        self.pretrained = pretrained
        self.n_jobs = n_jobs

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
            reached_the_end = self.n_iter_ == self.max_iter and not self._stopped
            # A schedule that ends there was meant to.
            ends = isinstance(self._schedule(endless=False), ENDING)
            if not incremental and reached_the_end and not ends:
                warnings.warn(
                    f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) reached and the "
                    "optimization hasn't converged yet.",
                    ConvergenceWarning,
                    stacklevel=2,
                )

    def _after_training(self, run: TrainingRun, data: FitData) -> None:
        self._stopped = run.stopped
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
            raise DivergenceError(NOT_FINITE)
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
        self._history = {name: list(column) for name, column in iterations.history().items()}
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
        estimator: _MultilayerPerceptron,
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

        def value_and_grad(params: Array) -> tuple[float, Array]:
            if self.interrupts.requested:
                raise KeyboardInterrupt
            network.params[:] = params
            result = evaluate(everything, n)
            self.value = result.value
            if np.isinf(self.last[1]):
                self.last = 0, self.value, self.last[2]
            return self.value, evaluate.objective.gradient(result).astype(np.float64)

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
        return dict(zip(HISTORY, columns, strict=True))

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


class MLPClassifier(ClassifierMixin, ClassNamePrefixFeaturesOutMixin, _MultilayerPerceptron):
    """Multi-layer perceptron classifier.

    It has the parameters, attributes and methods of scikit-learn's class of the same name, with
    the same meaning, and for the same `random_state` the same network; the parameters from
    `class_weight` on are further ones. It minimises the mean log loss plus
    ``alpha / 2 · ‖weights‖² / n`` over each batch of n rows (of total weight n, where rows have
    weights).

    Parameters
    ----------
    hidden_layer_sizes : array-like of int, default=(100,)
        Width of each hidden layer.
    activation : str, Activation or list, default='relu'
        Activation of the hidden layers: scikit-learn's 'identity', 'logistic', 'tanh' and 'relu',
        any other that `skscratch.core.Activation` knows, or a list with one for each layer.
    solver : {'lbfgs', 'sgd', 'adam', 'adamw', 'rmsprop'}, str or Optimizer, default='adam'
        'lbfgs' is SciPy's L-BFGS-B on all rows at once; the others take mini-batches: a name, that
        of your own optimizer too, or an instance.
    alpha : float, default=0.0001
        Strength of the L2 penalty on the weights; with 'adamw' the decoupled weight decay.
    batch_size : int or 'auto', default='auto'
        Rows in a mini-batch; 'auto' is ``min(200, n_samples)``.
    learning_rate : {'constant', 'invscaling', 'adaptive', 'cosine', 'one_cycle'} or Schedule, \
default='constant'
        How the learning rate changes. 'invscaling' and 'adaptive' are only used by 'sgd'; 'cosine'
        and 'one_cycle' end at 0 after `max_iter` epochs.
    learning_rate_init : float, default=0.001
        Initial learning rate. Not used by 'lbfgs'. Only used when `learning_rate` is a name.
    power_t : float, default=0.5
        Exponent of 'invscaling'. Only used by it.
    max_iter : int, default=200
        Largest number of epochs, or of iterations of 'lbfgs'.
    shuffle : bool, default=True
        Draw a new order of the rows in each epoch. Not used by 'lbfgs'.
    random_state : int, RandomState instance or None, default=None
        Decides the initial weights, the order of the rows and the split of early stopping. The
        same int gives the same bits, whatever `n_jobs` is.
    tol : float, default=1e-4
        An epoch counts as an improvement from this much on; for 'lbfgs', the gradient norm to
        stop at.
    verbose : bool, default=False
        Print the loss of each epoch, and why training ended.
    warm_start : bool, default=False
        Go on from the weights of the previous fit.
    momentum : float, default=0.9
        Momentum, in [0, 1]. Only used by 'sgd'.
    nesterovs_momentum : bool, default=True
        Use Nesterov's momentum. Only used by 'sgd'.
    early_stopping : bool, default=False
        Hold out a part of the rows, stop when their score (see `scoring`) no longer improves, and
        keep the best weights. Without `X_val`, classes are held out in proportion; a class of one
        row stays in training. Not used by 'lbfgs'.
    validation_fraction : float, default=0.1
        Share of the rows to hold out, above 0. Only used with `early_stopping` and without `X_val`.
    beta_1, beta_2 : float, default=0.9 and 0.999
        Decay rates of the moments, in [0, 1). Only used by 'adam' and 'adamw'.
    epsilon : float, default=1e-8
        Keeps 'adam', 'adamw' and 'rmsprop' from dividing by zero. Only used by these.
    n_iter_no_change : int, default=10
        Epochs without improvement before training stops. Not used by 'lbfgs'.
    max_fun : int, default=15000
        Largest number of evaluations. Only used by 'lbfgs'.
    class_weight : dict, 'balanced' or None, default=None
        Weight of each class, multiplied with the weights of its rows. Classes that a dict does not
        name weigh 1, and classes without rows do not count.
    label_smoothing : float, default=0.0
        Share by which the targets move towards even odds, in [0, 1).
    noise : {'gaussian', 'masking', 'salt_and_pepper'}, Noise, callable or None, default=None
        Disturb the input in training. A function gets a block of rows and a
        `numpy.random.Generator`, and returns as many rows of the same width, such as warped
        images. Not for 'lbfgs'.
    noise_level : float, default=0.3
        Standard deviation of 'gaussian' noise; or the share of the entries that 'masking' sets
        to 0, and 'salt_and_pepper' to 0 or 1, at most 1. Only used when `noise` is a name.
    dropout : float or list of float, default=0.0
        Share of a hidden layer's outputs that is dropped in training; one for all, or one each.
    layer_norm : bool, default=False
        Normalise each row of a hidden layer before its activation. It needs no other row, so it is
        exact however a batch is cut into shards, which batch normalisation is not.
    max_gradient_norm : float or None, default=None
        Shorten longer gradients to this norm. Not used by 'lbfgs'.
    scoring : str, callable or None, default=None
        What early stopping and a validation set are judged by: 'loss', one of scikit-learn's
        scorers, or None for the method `score`. Only used with `early_stopping` or `X_val`.
    pretrained : Network, Part or None, default=None
        Trained layers to begin with, such as an autoencoder's `encoder_`. They come before the
        layers of `hidden_layer_sizes`, start from their weights and are trained on.
    n_jobs : int or None, default=None
        Number of threads: None as many as BLAS may use, -1 all cores.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels.
    network_ : skscratch.core.Network
        The trained network.
    coefs_, intercepts_ : list of ndarray
        Weight matrices, shape (n_in, n_out), and bias vectors: views into the network. Values that
        are assigned, to an entry or to all, are copied into the network.
    loss_ : float
        Loss of the last epoch.
    best_loss_ : float or None
        Lowest loss of an epoch; None where validation rows are judged instead.
    stop_reason_ : str
        Why training ended: 'max_iter', 'n_iter_no_change' (no improvement), 'converged' (only with
        'lbfgs'), 'callback', 'interrupted' (Ctrl-C) or 'diverged' (the best epoch before is kept).
    history_ : list of dict
        A record for each epoch (iteration, with 'lbfgs'): `epoch`, `loss`, `validation_loss`,
        `validation_score`, `learning_rate` and `gradient_norm` (of its last step; the norm only
        with `max_gradient_norm`). What does not apply is None.
    loss_curve_ : list of float
        Loss of each epoch. Not set by 'lbfgs'.
    validation_loss_curve_ : list of float or None
        Loss on the validation rows after each epoch, where there are any.
    validation_scores_ : list of float or None
        Score of the validation rows after each epoch (see `scoring`), where there are any.
    best_validation_score_ : float or None
        The best of them.
    t_ : int
        Number of rows seen in training.
    n_iter_ : int
        Number of epochs or iterations of the last fit.
    n_layers_ : int
        Number of layers, input and output included.
    n_outputs_ : int
        Width of the output layer.
    out_activation_ : str
        Function behind the output layer: 'softmax' or 'logistic'.
    n_features_in_ : int
        Number of features.

    Raises
    ------
    ValueError
        For bad input, with what is accepted; and when training diverges, with the epoch. The
        estimator is then as it was before.

    References
    ----------
    Kingma, D. P. and Ba, J. (2015). Adam: a method for stochastic optimization. ICLR.

    Glorot, X. and Bengio, Y. (2010). Understanding the difficulty of training deep feedforward
    neural networks. AISTATS.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skscratch import MLPClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> model = make_pipeline(StandardScaler(), MLPClassifier(solver="lbfgs", random_state=0))
    >>> model.fit(X, y).score(X, y)
    1.0

    What scikit-learn's class has not: weights of classes, dropout, normalised layers, smooth
    labels, a given validation set, and the features of a hidden layer.

    >>> model = MLPClassifier((20, 8), activation=["silu", "tanh"], dropout=[0.2, 0.0],
    ...                       layer_norm=True, class_weight="balanced", label_smoothing=0.1,
    ...                       solver="adamw", learning_rate="cosine", max_gradient_norm=1.0,
    ...                       learning_rate_init=0.02, max_iter=50, n_iter_no_change=50,
    ...                       scoring="loss", random_state=0)
    >>> model.fit(X[::2], y[::2], X_val=X[1::2], y_val=y[1::2]).transform(X).shape
    (150, 8)
    >>> len(model.validation_loss_curve_)
    50

    A network that begins with an autoencoder's encoder:

    >>> from skscratch import AutoencoderTransformer
    >>> encoder = AutoencoderTransformer(2, hidden_layer_sizes=(8,), random_state=0).fit(X)
    >>> model = MLPClassifier((), pretrained=encoder.encoder_, solver="lbfgs", alpha=1.0,
    ...                       max_iter=2000, random_state=0)
    >>> bool(model.fit(X, y).score(X, y) > 0.9)
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **_MultilayerPerceptron._parameter_constraints,
        "class_weight": [dict, StrOptions({"balanced"}), None],
        "label_smoothing": [Interval(Real, 0, 1, closed="left")],
    }

    def __init__(
        self,
        hidden_layer_sizes=(100,),
        activation="relu",
        *,
        solver="adam",
        alpha=0.0001,
        batch_size="auto",
        learning_rate="constant",
        learning_rate_init=0.001,
        power_t=0.5,
        max_iter=200,
        shuffle=True,
        random_state=None,
        tol=1e-4,
        verbose=False,
        warm_start=False,
        momentum=0.9,
        nesterovs_momentum=True,
        early_stopping=False,
        validation_fraction=0.1,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-8,
        n_iter_no_change=10,
        max_fun=15000,
        class_weight=None,
        label_smoothing=0.0,
        noise=None,
        noise_level=0.3,
        dropout=0.0,
        layer_norm=False,
        max_gradient_norm=None,
        scoring=None,
        pretrained=None,
        n_jobs=None,
    ):
        super().__init__(
            hidden_layer_sizes=hidden_layer_sizes,
            activation=activation,
            solver=solver,
            alpha=alpha,
            batch_size=batch_size,
            learning_rate=learning_rate,
            learning_rate_init=learning_rate_init,
            power_t=power_t,
            max_iter=max_iter,
            shuffle=shuffle,
            random_state=random_state,
            tol=tol,
            verbose=verbose,
            warm_start=warm_start,
            momentum=momentum,
            nesterovs_momentum=nesterovs_momentum,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            beta_1=beta_1,
            beta_2=beta_2,
            epsilon=epsilon,
            n_iter_no_change=n_iter_no_change,
            max_fun=max_fun,
            noise=noise,
            noise_level=noise_level,
            dropout=dropout,
            layer_norm=layer_norm,
            max_gradient_norm=max_gradient_norm,
            scoring=scoring,
            pretrained=pretrained,
            n_jobs=n_jobs,
        )
        self.class_weight = class_weight
        self.label_smoothing = label_smoothing

    # Which targets to encode; None until the labels of a fit are known.
    _targets: ClassTargets | None = None

    def _loss(self) -> Loss:
        assert self._targets is not None
        return self._targets.loss

    def _check_data(
        self, X: Any, y: Any, sample_weight: Any, *, reset: bool, training: bool
    ) -> FitData:
        names = TRAINING if training else VALIDATION
        X, y = check_rows(self, X, y=y, reset=reset, names=names, multi_output=True)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        check_labels(y, names.y)
        if self._targets is None:
            self._targets = ClassTargets(y)
            self.classes_ = self._targets.classes
        else:
            self._check_classes(unique_labels(y), names.y, fitting=training)
        weight = check_weight(sample_weight, X, names.weight)
        target = self._targets.encode(y, network_dtype(X))
        self.n_outputs_ = target.shape[1]
        return FitData(X, y, self._weigh_classes(y, weight, X, training), self._smooth(target))

    def _smooth(self, target: Array) -> Array:
        """Move the targets towards even odds by the share `label_smoothing`."""
        if not self.label_smoothing:
            return target
        assert self._targets is not None
        n_choices = target.shape[1] if self._targets.exclusive else 2
        smooth: Array = target * (1 - self.label_smoothing) + self.label_smoothing / n_choices
        return smooth

    def _weigh_classes(
        self, y: Array, weight: Array | None, X: Any, training: bool
    ) -> Array | None:
        """Multiply the rows' weights with those of their classes."""
        if self.class_weight is None:
            return weight
        if y.ndim != 1:
            if self.class_weight != "balanced":
                raise ValueError(
                    "A dict as class_weight needs rows of one class each, but y is a label "
                    "indicator matrix. Use 'balanced' or sample_weight."
                )
            of_row = compute_sample_weight("balanced", y)
        else:
            if training:
                self._weight_of_class = class_weights(self.class_weight, self.classes_, y, weight)
            of_row = self._weight_of_class[np.searchsorted(self.classes_, y)]
        product = of_row if weight is None else weight * of_row
        return check_weight(product, X, "sample_weight times class_weight")

    def _check_classes(self, classes: Array, name: str, *, fitting: bool) -> None:
        if fitting and self.warm_start and set(classes) != set(self.classes_):
            raise ValueError(
                "warm_start can only be used where `y` has the same classes as in the previous "
                f"call to fit. Previously got {self.classes_}, `y` has {classes}"
            )
        if len(np.setdiff1d(classes, self.classes_, assume_unique=True)):
            raise ValueError(
                f"`{name}` has classes not in `self.classes_`. "
                f"`self.classes_` has {self.classes_}. '{name}' has {classes}."
            )

    def _stratify(self, data: FitData) -> Any:
        if data.y.ndim != 1:
            return None
        # Two classes as truth values, which is how scikit-learn's messages name them.
        return data.y if self.n_outputs_ > 1 else (data.y == self.classes_[-1])[:, None]

    def _default_score(self, data: FitData, network: Network) -> float:
        assert self._targets is not None
        predicted = self._targets.decode(
            self._outputs(network, data.selected_rows(), self._fitted_loss.predict)
        )
        return float(accuracy_score(data.y, predicted, sample_weight=data.weight))

    @all_or_nothing
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> MLPClassifier:
        """Fit the network.

        Ctrl-C ends training with a warning and keeps what was learned in whole epochs.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training data; float32 is computed in float32. Sparse rows are made dense batch by
            batch only.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Labels, or a label indicator matrix of 0 and 1.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows, at least 0. Weight 2 means the same as the row twice.
        X_val : {array-like, sparse matrix} of shape (n_validation_samples, n_features), \
default=None
            Validation data. After each epoch `validation_loss_curve_` and `validation_scores_`
            grow, and in the end the parameters of the best epoch are kept. They do not end training
            early unless `early_stopping` is True.
        y_val : array-like of shape (n_validation_samples,) or (n_validation_samples, n_outputs), \
default=None
            Targets of `X_val`.
        sample_weight_val : array-like of shape (n_validation_samples,), default=None
            Weights of the validation rows.

        Returns
        -------
        MLPClassifier
            The fitted estimator.
        """
        if not (self.warm_start and hasattr(self, "network_")):
            self._targets = None
        return self._fit(X, y, sample_weight, (X_val, y_val, sample_weight_val))

    @available_if(_has_partial_fit)
    @all_or_nothing
    def partial_fit(
        self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None
    ) -> MLPClassifier:
        """Train for one epoch over the given rows, going on from where training stands.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training data.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.
        classes : array-like of shape (n_classes,), default=None
            Classes across all calls to partial_fit. Needed in the first call.

        Returns
        -------
        MLPClassifier
            The fitted estimator.
        """
        if is_first_partial_fit(self, classes):
            multilabel = type_of_target(y).startswith("multilabel")
            self._targets = ClassTargets(y if multilabel else classes)
        return self._fit(X, y, sample_weight, incremental=True)

    @reads_model
    def predict(self, X: Any) -> Array:
        """Predict labels.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows to classify.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
            Labels.
        """
        check_is_fitted(self)
        assert self._targets is not None
        return self._targets.decode(
            self._predicted(self.network_, self._check_new(X), self._fitted_loss.predict)
        )

    @reads_model
    def predict_proba(self, X: Any) -> Array:
        """Predict the probability of each class.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows to classify.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Probabilities, classes in the order of `classes_`.
        """
        check_is_fitted(self)
        assert self._targets is not None
        return self._targets.complete(
            self._predicted(self.network_, self._check_new(X), self._fitted_loss.predict)
        )

    @reads_model
    def predict_log_proba(self, X: Any) -> Array:
        """Predict the logarithm of the probability of each class.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows to classify.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            ``log(predict_proba(X))``.
        """
        probabilities = self.predict_proba(X)
        # A probability that rounds to 0 has the logarithm -inf, which is no mistake.
        with np.errstate(divide="ignore"):
            return np.log(probabilities, out=probabilities)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class MLPRegressor(RegressorMixin, ClassNamePrefixFeaturesOutMixin, _MultilayerPerceptron):
    """Multi-layer perceptron regressor.

    It has the parameters, attributes and methods of scikit-learn's class of the same name, with
    the same meaning, and for the same `random_state` the same network; the parameters from
    `quantile` on are further ones. It minimises the mean loss, summed over the outputs, plus
    ``alpha / 2 · ‖weights‖² / n`` over each batch of n rows.

    Parameters
    ----------
    loss : {'squared_error', 'poisson', 'absolute_error', 'huber', 'pinball'}, str or Loss, \
default='squared_error'
        Half the squared error; half the Poisson deviance of targets that are at least 0, where the
        outputs are logarithms; the absolute error, for the median; Huber's mixture of both; the
        pinball loss, for quantiles; the name of your own, or an instance.
    hidden_layer_sizes : array-like of int, default=(100,)
        Width of each hidden layer.
    activation : str, Activation or list, default='relu'
        Activation of the hidden layers: scikit-learn's 'identity', 'logistic', 'tanh' and 'relu',
        any other that `skscratch.core.Activation` knows, or a list with one for each layer.
    solver : {'lbfgs', 'sgd', 'adam', 'adamw', 'rmsprop'}, str or Optimizer, default='adam'
        'lbfgs' is SciPy's L-BFGS-B on all rows at once; the others take mini-batches: a name, that
        of your own optimizer too, or an instance.
    alpha : float, default=0.0001
        Strength of the L2 penalty on the weights; with 'adamw' the decoupled weight decay.
    batch_size : int or 'auto', default='auto'
        Rows in a mini-batch; 'auto' is ``min(200, n_samples)``.
    learning_rate : {'constant', 'invscaling', 'adaptive', 'cosine', 'one_cycle'} or Schedule, \
default='constant'
        How the learning rate changes. 'invscaling' and 'adaptive' are only used by 'sgd'; 'cosine'
        and 'one_cycle' end at 0 after `max_iter` epochs.
    learning_rate_init : float, default=0.001
        Initial learning rate. Not used by 'lbfgs'. Only used when `learning_rate` is a name.
    power_t : float, default=0.5
        Exponent of 'invscaling'. Only used by it.
    max_iter : int, default=200
        Largest number of epochs, or of iterations of 'lbfgs'.
    shuffle : bool, default=True
        Draw a new order of the rows in each epoch. Not used by 'lbfgs'.
    random_state : int, RandomState instance or None, default=None
        Decides the initial weights, the order of the rows and the split of early stopping. The
        same int gives the same bits, whatever `n_jobs` is.
    tol : float, default=1e-4
        An epoch counts as an improvement from this much on; for 'lbfgs', the gradient norm to
        stop at.
    verbose : bool, default=False
        Print the loss of each epoch, and why training ended.
    warm_start : bool, default=False
        Go on from the weights of the previous fit.
    momentum : float, default=0.9
        Momentum, in [0, 1]. Only used by 'sgd'.
    nesterovs_momentum : bool, default=True
        Use Nesterov's momentum. Only used by 'sgd'.
    early_stopping : bool, default=False
        Hold out a part of the rows, stop when their score (see `scoring`) no longer improves, and
        keep the best weights. Not used by 'lbfgs'.
    validation_fraction : float, default=0.1
        Share of the rows to hold out, above 0. Only used with `early_stopping` and without `X_val`.
    beta_1, beta_2 : float, default=0.9 and 0.999
        Decay rates of the moments, in [0, 1). Only used by 'adam' and 'adamw'.
    epsilon : float, default=1e-8
        Keeps 'adam', 'adamw' and 'rmsprop' from dividing by zero. Only used by these.
    n_iter_no_change : int, default=10
        Epochs without improvement before training stops. Not used by 'lbfgs'.
    max_fun : int, default=15000
        Largest number of evaluations. Only used by 'lbfgs'.
    quantile : float or list of float, default=0.5
        Which quantiles to predict; those of a list never cross. Only used by 'pinball'.
    huber_delta : float, default=1.0
        Errors above this count linearly. Only used by 'huber'.
    noise : {'gaussian', 'masking', 'salt_and_pepper'}, Noise, callable or None, default=None
        Disturb the input in training. A function gets a block of rows and a
        `numpy.random.Generator`, and returns as many rows of the same width, such as warped
        images. Not for 'lbfgs'.
    noise_level : float, default=0.3
        Standard deviation of 'gaussian' noise; or the share of the entries that 'masking' sets
        to 0, and 'salt_and_pepper' to 0 or 1, at most 1. Only used when `noise` is a name.
    dropout : float or list of float, default=0.0
        Share of a hidden layer's outputs that is dropped in training; one for all, or one each.
    layer_norm : bool, default=False
        Normalise each row of a hidden layer before its activation. It needs no other row, so it is
        exact however a batch is cut into shards, which batch normalisation is not.
    max_gradient_norm : float or None, default=None
        Shorten longer gradients to this norm. Not used by 'lbfgs'.
    scoring : str, callable or None, default=None
        What early stopping and a validation set are judged by: 'loss', one of scikit-learn's
        scorers, or None for the method `score`. Only used with `early_stopping` or `X_val`.
    pretrained : Network, Part or None, default=None
        Trained layers to begin with, such as an autoencoder's `encoder_`. They come before the
        layers of `hidden_layer_sizes`, start from their weights and are trained on.
    n_jobs : int or None, default=None
        Number of threads: None as many as BLAS may use, -1 all cores.

    Attributes
    ----------
    network_ : skscratch.core.Network
        The trained network.
    coefs_, intercepts_ : list of ndarray
        Weight matrices, shape (n_in, n_out), and bias vectors: views into the network. Values that
        are assigned, to an entry or to all, are copied into the network.
    loss_ : float
        Loss of the last epoch.
    best_loss_ : float or None
        Lowest loss of an epoch; None where validation rows are judged instead.
    stop_reason_ : str
        Why training ended: 'max_iter', 'n_iter_no_change' (no improvement), 'converged' (only with
        'lbfgs'), 'callback', 'interrupted' (Ctrl-C) or 'diverged' (the best epoch before is kept).
    history_ : list of dict
        A record for each epoch (iteration, with 'lbfgs'): `epoch`, `loss`, `validation_loss`,
        `validation_score`, `learning_rate` and `gradient_norm` (of its last step; the norm only
        with `max_gradient_norm`). What does not apply is None.
    loss_curve_ : list of float
        Loss of each epoch. Not set by 'lbfgs'.
    validation_loss_curve_ : list of float or None
        Loss on the validation rows after each epoch, where there are any.
    validation_scores_ : list of float or None
        Score of the validation rows after each epoch (see `scoring`), where there are any.
    best_validation_score_ : float or None
        The best of them.
    t_ : int
        Number of rows seen in training.
    n_iter_ : int
        Number of epochs or iterations of the last fit.
    n_layers_ : int
        Number of layers, input and output included.
    n_outputs_ : int
        Number of targets.
    out_activation_ : str
        Function behind the output layer: 'identity' or 'exp'.
    n_features_in_ : int
        Number of features.

    Raises
    ------
    ValueError
        For bad input, with what is accepted; and when training diverges, with the epoch. The
        estimator is then as it was before.

    References
    ----------
    Kingma, D. P. and Ba, J. (2015). Adam: a method for stochastic optimization. ICLR.

    Examples
    --------
    >>> import numpy as np
    >>> from skscratch import MLPRegressor
    >>> X = np.linspace(-1, 1, 200).reshape(-1, 1)
    >>> model = MLPRegressor(
    ...     hidden_layer_sizes=20, activation="tanh", solver="lbfgs", random_state=0
    ... )
    >>> bool(model.fit(X, np.sin(3 * X.ravel())).score(X, np.sin(3 * X.ravel())) > 0.999)
    True

    A loss that outliers do not pull:

    >>> model = MLPRegressor("huber", 20, huber_delta=0.1, learning_rate="cosine",
    ...                      learning_rate_init=0.01, random_state=0)
    >>> line = X.ravel() + np.where(np.arange(200) % 10, 0, 5)
    >>> bool(abs(model.fit(X, line).predict(X) - X.ravel()).mean() < 0.1)
    True

    Several quantiles of noisy data, which never cross:

    >>> noisy = X.ravel() + np.random.default_rng(0).normal(size=200)
    >>> model = MLPRegressor("pinball", 20, quantile=[0.1, 0.5, 0.9], solver="adamw",
    ...                      learning_rate_init=0.01, max_iter=500, random_state=0)
    >>> low, middle, high = model.fit(X, noisy).predict(X).T
    >>> bool((low < middle).all() and (middle < high).all())
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **_MultilayerPerceptron._parameter_constraints,
        "loss": [NamesOf(Loss, without=OF_CLASSES)],
        "quantile": [Interval(Real, 0, 1, closed="neither"), list, tuple],
        "huber_delta": [Interval(Real, 0, None, closed="neither")],
    }

    def __init__(
        self,
        loss="squared_error",
        hidden_layer_sizes=(100,),
        activation="relu",
        *,
        solver="adam",
        alpha=0.0001,
        batch_size="auto",
        learning_rate="constant",
        learning_rate_init=0.001,
        power_t=0.5,
        max_iter=200,
        shuffle=True,
        random_state=None,
        tol=1e-4,
        verbose=False,
        warm_start=False,
        momentum=0.9,
        nesterovs_momentum=True,
        early_stopping=False,
        validation_fraction=0.1,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-8,
        n_iter_no_change=10,
        max_fun=15000,
        quantile=0.5,
        huber_delta=1.0,
        noise=None,
        noise_level=0.3,
        dropout=0.0,
        layer_norm=False,
        max_gradient_norm=None,
        scoring=None,
        pretrained=None,
        n_jobs=None,
    ):
        super().__init__(
            hidden_layer_sizes=hidden_layer_sizes,
            activation=activation,
            solver=solver,
            alpha=alpha,
            batch_size=batch_size,
            learning_rate=learning_rate,
            learning_rate_init=learning_rate_init,
            power_t=power_t,
            max_iter=max_iter,
            shuffle=shuffle,
            random_state=random_state,
            tol=tol,
            verbose=verbose,
            warm_start=warm_start,
            momentum=momentum,
            nesterovs_momentum=nesterovs_momentum,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            beta_1=beta_1,
            beta_2=beta_2,
            epsilon=epsilon,
            n_iter_no_change=n_iter_no_change,
            max_fun=max_fun,
            noise=noise,
            noise_level=noise_level,
            dropout=dropout,
            layer_norm=layer_norm,
            max_gradient_norm=max_gradient_norm,
            scoring=scoring,
            pretrained=pretrained,
            n_jobs=n_jobs,
        )
        self.loss = loss
        self.quantile = quantile
        self.huber_delta = huber_delta

    def _loss(self) -> Loss:
        if self.loss == "pinball":
            return Pinball(self._quantiles())
        loss: Loss = recipe_of(self, Loss, "loss")
        return loss

    def _quantiles(self) -> tuple[float, ...]:
        values = self.quantile if isinstance(self.quantile, list | tuple) else [self.quantile]
        quantiles = tuple(float(value) for value in values)
        rising = all(low < high for low, high in pairwise(quantiles))
        if not quantiles or not rising or quantiles[0] <= 0 or quantiles[-1] >= 1:
            raise ValueError(
                "quantile must be a number between 0 and 1, or a list of them that rises; got "
                f"{self.quantile!r}."
            )
        return quantiles

    def _check_data(
        self, X: Any, y: Any, sample_weight: Any, *, reset: bool, training: bool
    ) -> FitData:
        names = TRAINING if training else VALIDATION
        X, y = check_rows(self, X, y=y, reset=reset, names=names, multi_output=True, y_numeric=True)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        target = np.ascontiguousarray(y, dtype=network_dtype(X)).reshape(len(y), -1)
        if not np.isfinite(target).all():
            raise ValueError(f"{names.y} contains NaN, None or infinity.")
        try:
            self._loss().check_targets(target)
        except ValueError as error:
            raise ValueError(f"{names.y}: {error}") from None
        if self.loss == "pinball" and len(self._quantiles()) > 1:
            if target.shape[1] > 1:
                raise ValueError(
                    "Several quantiles are predicted for one target only, but y has "
                    f"{target.shape[1]} columns."
                )
            target = np.repeat(target, len(self._quantiles()), axis=1)
        if not reset and target.shape[1] != self.n_outputs_:
            raise ValueError(
                f"{names.y} has {target.shape[1]} outputs, but the network has {self.n_outputs_}."
            )
        self.n_outputs_ = target.shape[1]
        weight = check_weight(sample_weight, X, names.weight)
        return FitData(X, y, weight, target)

    def _default_score(self, data: FitData, network: Network) -> float:
        predicted = self._outputs(network, data.selected_rows(), self._fitted_loss.predict)
        if not np.isfinite(predicted).all():
            return float("nan")
        return self._score_of(data.y, predicted, data.weight)

    def _score_of(self, y: Any, predicted: Array, weight: Any) -> float:
        loss = self._fitted_loss
        if isinstance(loss, Pinball) and len(loss.quantiles) > 1:
            scores = [
                d2_pinball_score(y, column, sample_weight=weight, alpha=quantile)
                for column, quantile in zip(predicted.T, loss.quantiles, strict=True)
            ]
            return float(np.mean(scores))
        return float(r2_score(y, predicted, sample_weight=weight))

    @reads_model
    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Score predictions, higher is better and 1 is best.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows to predict for.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.

        Returns
        -------
        float
            R²; for several quantiles the mean of their D² (the share of the pinball loss that is
            explained).
        """
        predicted = self.predict(X)
        return self._score_of(y, predicted.reshape(len(predicted), -1), sample_weight)

    @all_or_nothing
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> MLPRegressor:
        """Fit the network.

        Ctrl-C ends training with a warning and keeps what was learned in whole epochs.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training data; float32 is computed in float32. Sparse rows are made dense batch by
            batch only.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows, at least 0. Weight 2 means the same as the row twice.
        X_val : {array-like, sparse matrix} of shape (n_validation_samples, n_features), \
default=None
            Validation data. After each epoch `validation_loss_curve_` and `validation_scores_`
            grow, and in the end the parameters of the best epoch are kept. They do not end training
            early unless `early_stopping` is True.
        y_val : array-like of shape (n_validation_samples,) or (n_validation_samples, n_outputs), \
default=None
            Targets of `X_val`.
        sample_weight_val : array-like of shape (n_validation_samples,), default=None
            Weights of the validation rows.

        Returns
        -------
        MLPRegressor
            The fitted estimator.
        """
        return self._fit(X, y, sample_weight, (X_val, y_val, sample_weight_val))

    @available_if(_has_partial_fit)
    @all_or_nothing
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> MLPRegressor:
        """Train for one epoch over the given rows, going on from where training stands.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training data.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.

        Returns
        -------
        MLPRegressor
            The fitted estimator.
        """
        return self._fit(X, y, sample_weight, incremental=True)

    @reads_model
    def predict(self, X: Any) -> Array:
        """Predict targets.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows to predict for.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
            Predicted targets; for several quantiles one column each.
        """
        check_is_fitted(self)
        predicted = self._predicted(self.network_, self._check_new(X), self._fitted_loss.predict)
        return predicted.ravel() if predicted.shape[1] == 1 else predicted
