"""Base class of the multi-layer perceptrons for classification and regression."""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass, field, replace
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, ClassVar

from sklearn.base import TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import check_scoring
from sklearn.utils.validation import check_is_fitted

from skscratch.core.activations import Activation, Sigmoid
from skscratch.core.functions import Array
from skscratch.core.initializers import GlorotUniform
from skscratch.core.layers import Dense, Dropout, Layer, LayerNorm
from skscratch.core.lbfgs import LBFGS
from skscratch.core.losses import Loss, SquaredError
from skscratch.core.network import Network, Stack
from skscratch.core.optimizers import Optimizer
from skscratch.core.schedules import Constant
from skscratch.core.training import TrainingRun, TrainingState
from skscratch.estimators._available import accepts
from skscratch.estimators._base import Fit, FitData, NetworkEstimator, layer_sizes
from skscratch.estimators._from_network import perceptron_parameters
from skscratch.estimators._parameters import RegisteredNames, TrainingParameters, is_sgd
from skscratch.estimators._plan import FINITE_SCHEDULES, Architecture, Training
from skscratch.estimators._sklearn import Interval, wants_dataframe
from skscratch.estimators._state import ModelReaderMixin, fitted_property, reads_model

# The schedules of solver='sgd'.
SCIKIT_LEARNS_SCHEDULES = ("constant", "invscaling", "adaptive")
# Values of `stop_reason_` that cause a warning, explained.
STOPPED_EARLY = {
    "max_iter": "max_iter was reached",
    "max_fun": "max_fun was reached",
    "line_search": "no step reduces the loss",
}


@dataclass(eq=False, repr=False, kw_only=True)
class MultilayerPerceptron(ModelReaderMixin, TransformerMixin, NetworkEstimator):
    """Base class of the MLP classifier and regressor, with the parameters that they share.

    The dataclass generates the constructor, so each parameter and its default are declared once.
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **TrainingParameters._parameter_constraints,
        "activation": [RegisteredNames(Activation), Activation, list, tuple],
        "solver": [RegisteredNames(Optimizer, "lbfgs")],
        "max_fun": [Interval(Integral, 1, None, closed="left")],
        "dropout": [Interval(Real, 0, 1, closed="left"), list, tuple],
        "layer_norm": ["boolean"],
        "max_gradient_norm": [Interval(Real, 0, None, closed="neither"), None],
        "scoring": [str, callable, None],
        "pretrained": [Stack, None],
    }

    if TYPE_CHECKING:
        # Annotated outside of this block, they would become parameters.
        n_outputs_: int = field(init=False)
        best_loss_: float | None = field(init=False)
        best_validation_score_: float | None = field(init=False)

    max_fun: Any = 15000
    dropout: Any = 0.0
    layer_norm: Any = False
    max_gradient_norm: Any = None
    scoring: Any = None
    pretrained: Any = None

    # Hooks of the base.

    def _loss(self) -> Loss:
        raise NotImplementedError

    @classmethod
    def _parameters_of(cls, network: Stack) -> dict[str, Any]:
        return perceptron_parameters(network)

    def _architecture(self, data: FitData) -> Architecture:
        pretrained = self._pretrained_layers(data.rows.shape[1])
        layers = [*self._noise_layers(), *[layer for layer, _ in pretrained]]
        initial = {len(self._noise_layers()) + k: vars(p) for k, (_, p) in enumerate(pretrained)}
        widths = layer_sizes(self.hidden_layer_sizes)
        activations = _one_each(self.activation, len(widths), "activation", (str, Activation))
        rates = _one_each(self.dropout, len(widths), "dropout", (Real,))
        for width, activation, rate in zip(widths, activations, rates, strict=True):
            layers += self._hidden_layer(width, Activation.resolve(activation), float(rate))
        last = _initial(activations[-1] if activations else "identity")
        layers.append(Dense(self.n_outputs_, last, last))
        loss = self._loss()
        # scikit-learn's squared error is half of it.
        scale = 0.5 if isinstance(loss, SquaredError) else 1.0
        return Architecture(layers, loss, scale, initial=initial)

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

    def _pretrained_layers(self, n_in: int) -> list[tuple[Layer, Any]]:
        """Return the pretrained layers as used in prediction, with their parameters."""
        stack = self.pretrained
        if stack is None:
            return []
        if stack.n_in != n_in:
            raise ValueError(f"The pretrained layers take {stack.n_in} features, but X has {n_in}.")
        layers = zip(stack.layers, stack.widths, strict=False)
        kept = [layer.for_inference(width) for layer, width in layers]
        pairs = zip(kept, stack.views, strict=True)
        return [(layer, view) for layer, view in pairs if layer is not None]

    def _training(self, data: FitData, architecture: Architecture) -> Training:
        if self.scoring not in (None, "loss"):
            check_scoring(self, self.scoring)
        if self.solver == "lbfgs":
            return self._training_by_lbfgs(architecture)
        n = data.rows.shape[0]
        if self.batch_size != "auto" and self.batch_size > n:
            warnings.warn(
                "Got `batch_size` less than 1 or larger than sample size. It is going to be "
                f"clipped to the {n} rows there are.",
                stacklevel=2,
            )
        training = super()._training(data, architecture)
        schedule = training.schedule
        # As in scikit-learn, its own schedules are used by sgd only.
        if self.learning_rate in SCIKIT_LEARNS_SCHEDULES and not is_sgd(training.optimizer):
            schedule = Constant(float(self.learning_rate_init))
        max_norm = self.max_gradient_norm
        return replace(
            training,
            schedule=schedule,
            max_norm=None if max_norm is None else float(max_norm),
            monitor=self.scoring,
        )

    def _training_by_lbfgs(self, architecture: Architecture) -> Training:
        if any(layer.only_in_training for layer in architecture.layers):
            raise ValueError(
                "solver='lbfgs' needs a deterministic objective, which dropout and noise rule out. "
                "Choose solver='adam', or dropout=0 and noise=None."
            )
        return Training(
            LBFGS(self.max_fun, self.tol),
            max_epochs=self.max_iter,
            l2=self.alpha,
            monitor=self.scoring,
        )

    def _default_score(self, data: FitData, network: Network) -> float:
        """Return the value of the method `score`, for validated and encoded data."""
        raise NotImplementedError

    def _score_outputs(self, data: FitData, network: Network, loss: float) -> float:
        if self.scoring is None:
            return self._default_score(data, network)
        if self.scoring == "loss":
            return -loss
        # A copy with the current network; validated rows no longer have names.
        fitted = copy.copy(self)
        fitted.__dict__.pop("feature_names_in_", None)
        fitted.network_ = network
        scorer, weight = check_scoring(fitted, self.scoring), {}
        # A custom scorer may take no weights.
        takes_weights = isinstance(self.scoring, str) or accepts(scorer, "sample_weight")
        if data.weight is not None and takes_weights:
            weight = {"sample_weight": data.weight}
        return float(scorer(fitted, data.selected_rows(), data.y, **weight))

    def _train(self, fit: Fit, state: TrainingState, *, incremental: bool) -> None:
        super()._train(fit, state, incremental=incremental)
        if incremental or self.stop_reason_ not in STOPPED_EARLY:
            return
        if isinstance(fit.training.optimizer, LBFGS):
            message = (
                f"lbfgs failed to converge after {self.n_iter_} iterations "
                f"({STOPPED_EARLY[self.stop_reason_]}). Scale the data (StandardScaler, "
                "MinMaxScaler), or raise max_iter or max_fun."
            )
        # A finite schedule is meant to end there.
        elif isinstance(fit.training.schedule, FINITE_SCHEDULES):
            return
        else:
            message = (
                f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) reached and the "
                "optimization hasn't converged yet."
            )
        warnings.warn(message, ConvergenceWarning, stacklevel=2)

    def _set_best(self, run: TrainingRun) -> None:
        best = run.state
        self.best_validation_score_ = best.best_score if run.scores else None
        self.best_loss_ = None if run.scores else best.best_loss

    @fitted_property
    def validation_scores_(self) -> list[float] | None:
        """Score of the validation rows after each epoch (see `scoring`), if there are any."""
        return self._recorded("validation_score")

    # Fitted attributes derived from the network.

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
        """End of each hidden layer among the network's layers, pretrained ones included."""
        dense = [i for i, layer in enumerate(self.network_.layers) if isinstance(layer, Dense)]
        return dense[1:]

    @property
    def _n_features_out(self) -> int:
        if not self._hidden_ends:
            raise ValueError("There are 0 hidden layers, so there are no features to name.")
        return self.network_.widths[self._hidden_ends[-1]]

    @reads_model
    def transform(self, X: Any, layer: int = -1) -> Array:
        """Compute the outputs of a hidden layer.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.
        layer : int, default=-1
            Index of the hidden layer; -1 is the last.

        Returns
        -------
        ndarray of shape (n_samples, width of the layer)
            The layer's outputs, after its activation.
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


def _initial(activation: str | Activation) -> GlorotUniform:
    """Return scikit-learn's initial values: Glorot's, narrower for the logistic function."""
    return GlorotUniform(3**-0.5 if isinstance(Activation.resolve(activation), Sigmoid) else 1.0)


def _one_each(value: Any, n: int, name: str, kinds: tuple[type, ...]) -> list[Any]:
    """Return one value per hidden layer, given one for all or a list."""
    values = list(value) if isinstance(value, list | tuple) else [value] * n
    if len(values) != n or not all(isinstance(v, kinds) for v in values):
        raise ValueError(
            f"{name} must be one value for all hidden layers, or a list with one for each of the "
            f"{n} in hidden_layer_sizes; got {value!r}."
        )
    return values
