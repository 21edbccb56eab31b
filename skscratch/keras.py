"""Convert networks to Keras and back, with the same weights and the same predictions.

Convert a network to Keras to serve it, prune it or continue training it; convert one from Keras to
use it without TensorFlow. Keras is imported only when one of the two functions is called.

Both sides support plain chains of layers on rows. Anything that only one of them supports raises an
error that names it, so that a converted model never computes something else.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted

from skscratch.core import (
    ELU,
    GELU,
    Activation,
    ActivityPenalty,
    Dense,
    Dropout,
    GaussianNoise,
    Identity,
    Layer,
    LayerNorm,
    LeakyReLU,
    Network,
    Part,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    TakeColumns,
    Tanh,
)
from skscratch.estimators.autoencoder import AutoencoderTransformer
from skscratch.estimators.mlp_classifier import MLPClassifier
from skscratch.estimators.mlp_regressor import MLPRegressor

__all__ = ["from_keras", "to_keras"]

Array = npt.NDArray[Any]
Estimator = MLPClassifier | MLPRegressor | AutoencoderTransformer
# A layer and the values of its parameters.
Entry = tuple[Layer, dict[str, Array]]

# Activations without parameters -> Keras' functions.
FUNCTIONS: dict[type[Activation], str] = {
    Identity: "linear",
    Sigmoid: "sigmoid",
    Tanh: "tanh",
    ReLU: "relu",
    Softmax: "softmax",
    SiLU: "silu",
    Softplus: "softplus",
}
# Layer -> its counterpart in keras.layers, and the arguments to build it with.
COUNTERPARTS: dict[type[Layer], tuple[str, Callable[[Any], dict[str, Any]]]] = {
    Dense: ("Dense", lambda d: {"units": d.width, "use_bias": d.bias is not None}),
    LayerNorm: ("LayerNormalization", lambda n: {"epsilon": n.epsilon}),
    Dropout: ("Dropout", lambda d: {"rate": d.rate}),
    GaussianNoise: ("GaussianNoise", lambda n: {"stddev": n.level}),
    ActivityPenalty: ("ActivityRegularization", lambda a: {"l1": a.l1}),
    LeakyReLU: ("LeakyReLU", lambda a: {"negative_slope": a.slope}),
    ELU: ("ELU", lambda a: {"alpha": a.alpha}),
    **{kind: ("Activation", lambda a: {"activation": FUNCTIONS[type(a)]}) for kind in FUNCTIONS},
}
# Inverse links of losses -> Keras' names.
LINKS = {
    "identity": "linear",
    "logistic": "sigmoid",
    "softmax": "softmax",
    "exp": "exponential",
}


def to_keras(model: Any, *, for_training: bool = True) -> Any:
    """Build the Keras model that computes the same as a network of skscratch.

    Parameters
    ----------
    model : MLPClassifier, MLPRegressor, AutoencoderTransformer, Network or Part
        A fitted estimator, or a network of the core. An autoencoder becomes a model of two, which
        ``get_layer("encoder")`` and ``get_layer("decoder")`` return; its `encoder_` alone is a
        Part.
    for_training : bool, default=True
        Keep layers that act only in training: noise, dropout and penalties on activities. If False,
        these are left out, and a variational encoder returns its means. The predictions are the
        same.

    Returns
    -------
    keras.Model
        A functional model in the network's dtype, not compiled. Its outputs are those of
        `predict_proba` (for two classes, the column of the second), `predict` or `reconstruct`.

    Raises
    ------
    ValueError
        If a layer has no counterpart in Keras: the message names it and the supported ones; or if
        the loss has several quantiles, whose outputs Keras cannot order.
    TypeError
        If `model` is of another class.
    ModuleNotFoundError
        If Keras or its backend is not installed.

    Warns
    -----
    UserWarning
        If weights are tied and the model is for training: each Keras layer has its own copy, and
        training makes them differ.

    See Also
    --------
    from_keras : The reverse conversion.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from skscratch import MLPClassifier
    >>> from skscratch.keras import to_keras
    >>> X, y = load_iris(return_X_y=True)
    >>> classifier = MLPClassifier((8,), solver="lbfgs", max_iter=1000, random_state=0).fit(X, y)
    >>> model = to_keras(classifier)
    >>> np.abs(model(X).numpy() - classifier.predict_proba(X)).max() < 1e-6
    np.True_
    """
    keras = _import_keras()
    if isinstance(model, Network | Part):
        _warn_of_ties(model, for_training)
        return _model(keras, model, [], for_training)
    if not isinstance(model, Estimator):
        raise TypeError(f"Expected {_expected()}, Network or Part, got {model!r}.")
    check_is_fitted(model)
    _warn_of_ties(model.network_, for_training)
    if isinstance(model, AutoencoderTransformer):
        # The decoder includes the inverse link of the loss.
        halves = {"encoder": model.encoder_, "decoder": model.decoder_}
        inputs = x = _input(keras, model.network_)
        for name, half in halves.items():
            x = _model(keras, half, [], for_training, name)(x)
        return keras.Model(inputs, x, name="autoencoder")
    return _model(keras, model.network_, _link(model), for_training)


def from_keras(model: Any, estimator: Any = None, classes: Any = None) -> Any:
    """Build a network of skscratch, or a fitted estimator, that computes the same as a Keras model.

    Parameters
    ----------
    model : keras.Model
        A sequential or functional model that is a single chain of these layers, or of models made
        of them: Dense, Dropout, GaussianNoise, LayerNormalization, ActivityRegularization,
        Activation, ReLU, LeakyReLU, ELU, Softmax, and Flatten at the beginning. Activations are
        linear, sigmoid, tanh, relu, softmax, leaky_relu, elu, silu, softplus, and
        ``keras.ops.gelu(x, approximate=True)``.
    estimator : MLPClassifier, MLPRegressor or AutoencoderTransformer, default=None
        The estimator to build, which is copied. Its training parameters are kept, and those of the
        network are taken from the model. None returns just the network.
    classes : array-like of shape (n_classes,), default=None
        The labels of a classifier, in the order of the model's outputs; None counts from 0.
        Several logistic outputs are labels that may occur together, and have no `classes`.

    Returns
    -------
    Network, MLPClassifier, MLPRegressor or AutoencoderTransformer
        A network, to be called with rows or passed as `pretrained` to another estimator; or an
        estimator that predicts. It can be trained further, with ``warm_start=True`` or
        ``partial_fit``, by a new optimizer. Attributes that describe training are missing.

    Raises
    ------
    ValueError
        If the model has no counterpart: the message names the layer and what is accepted; or if the
        estimator cannot have such a network.
    TypeError
        If `model` or `estimator` is of another class.
    ModuleNotFoundError
        If Keras or its backend is not installed.

    See Also
    --------
    to_keras : The reverse conversion.

    Notes
    -----
    Regularizers, constraints and initializers of Keras layers only affect training and are not
    converted.

    Examples
    --------
    >>> import keras
    >>> import numpy as np
    >>> from skscratch import MLPClassifier
    >>> from skscratch.keras import from_keras
    >>> model = keras.Sequential(
    ...     [
    ...         keras.Input((4,)),
    ...         keras.layers.Dense(8, activation="relu"),
    ...         keras.layers.Dense(3, activation="softmax"),
    ...     ]
    ... )
    >>> network = from_keras(model)
    >>> network.widths
    (4, 8, 8, 3, 3)
    >>> classifier = from_keras(model, MLPClassifier(), classes=["ash", "elm", "oak"])
    >>> classifier.hidden_layer_sizes, classifier.classes_.tolist()
    ((8,), ['ash', 'elm', 'oak'])
    >>> rows = np.eye(4, dtype="float32")
    >>> np.abs(classifier.predict_proba(rows) - model(rows).numpy()).max() < 1e-6
    np.True_
    """
    keras = _import_keras()
    if not isinstance(model, keras.Model):
        raise TypeError(f"Expected a keras.Model, got {model!r}.")
    if estimator is not None and not isinstance(estimator, Estimator):
        raise TypeError(f"Expected {_expected()} or None, got {estimator!r}.")
    operations = list(_chain(keras, model))
    n_in = int(np.prod(_input_shape(model)))
    if operations and type(operations[0]) is keras.layers.Flatten:
        del operations[0]
    elif len(_input_shape(model)) != 1:
        raise ValueError(
            f"The model's input has shape {model.input_shape}. Accepted are rows of features, "
            "shape (None, n), or any shape that the first layer flattens."
        )
    entries = [entry for operation in operations for entry in _read(keras, operation)]
    dtype = _dtype(operations)
    network = Network([layer for layer, _ in entries] or [Identity()], n_in, dtype, rng=None)
    _fill(network, entries)
    if estimator is None:
        return network
    parameters = clone(estimator).get_params(deep=False)
    if isinstance(estimator, MLPClassifier):
        parameters["classes"] = classes
    return type(estimator).from_network(network, **parameters)


def _import_keras() -> Any:
    try:
        import keras
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{error.name} is missing, which Keras models need. To install it: "
            'pip install "skscratch[keras]"',
            name=error.name,
        ) from error
    return keras


def _expected() -> str:
    return "MLPClassifier, MLPRegressor, AutoencoderTransformer"


# To Keras.


def _input(keras: Any, stack: Network | Part) -> Any:
    return keras.Input((stack.n_in,), dtype=stack.dtype.name)


def _model(
    keras: Any, stack: Network | Part, link: list[str], for_training: bool, name: str | None = None
) -> Any:
    """Build the model of these layers, followed by Keras activations."""
    dtype = stack.dtype.name
    inputs = x = _input(keras, stack)
    for layer, view, n_in in zip(stack.layers, stack.views, stack.widths, strict=False):
        kept = layer if for_training else layer.for_inference(n_in)
        if isinstance(kept, GELU):
            # Keras' layer has only the other form of this activation.
            x = keras.ops.gelu(x, approximate=True)
        elif isinstance(kept, TakeColumns):
            x = x[:, : kept.width]
        elif kept is not None:
            counterpart = _counterpart(keras, kept, n_in, dtype)
            x = counterpart(x)
            counterpart.set_weights([getattr(view, param.name) for param in kept.params(n_in)])
    for activation in link:
        x = keras.layers.Activation(activation, dtype=dtype)(x)
    return keras.Model(inputs, x, name=name)


def _counterpart(keras: Any, layer: Layer, n_in: int, dtype: str) -> Any:
    if type(layer) not in COUNTERPARTS:
        known = ", ".join(sorted(kind.__name__ for kind in (*COUNTERPARTS, GELU, TakeColumns)))
        convertible = layer.for_inference(n_in) != layer
        advice = " For prediction it has: for_training=False." if convertible else ""
        raise ValueError(f"Keras has no counterpart of {layer!r}.{advice} Accepted are {known}.")
    name, arguments = COUNTERPARTS[type(layer)]
    return getattr(keras.layers, name)(**arguments(layer), dtype=dtype)


def _link(model: MLPClassifier | MLPRegressor) -> list[str]:
    link = model.out_activation_
    if link not in LINKS:
        raise ValueError(
            f"{model!r} turns outputs into predictions by {link!r}, for which Keras has no layer. "
            f"Accepted are {', '.join(LINKS)}."
        )
    return [LINKS[link]] if link != "identity" else []


def _warn_of_ties(stack: Network | Part, for_training: bool) -> None:
    if for_training and stack.ties:
        warnings.warn(
            "Layers with tied weights get a copy each, and training in Keras makes the copies "
            "differ. for_training=False builds the model for prediction, without this warning.",
            UserWarning,
            stacklevel=3,
        )


# From Keras.


def _chain(keras: Any, model: Any) -> Iterator[Any]:
    """Yield the layers of a model in order, including those of models inside it."""
    if isinstance(model, keras.Sequential):
        if not model.built:
            raise ValueError(
                f"The model {model.name!r} is not built: start it with keras.Input, or call it "
                "with rows once."
            )
        operations = model.layers
    elif hasattr(model, "operations"):
        operations = model.operations
        _refuse_branches(model)
    else:
        raise ValueError(
            f"The model {model.name!r} computes with custom code. Accepted are sequential and "
            "functional models."
        )
    for operation in operations:
        if isinstance(operation, keras.Model):
            yield from _chain(keras, operation)
        elif not isinstance(operation, keras.layers.InputLayer):
            yield operation


def _refuse_branches(model: Any) -> None:
    # Accepted layers have one input each, so these are the only two ways to branch.
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise ValueError(
            f"The model {model.name!r} has {len(model.inputs)} inputs and {len(model.outputs)} "
            "outputs. Accepted is one of each."
        )
    for layer in model.get_config()["layers"]:
        if len(layer["inbound_nodes"]) > 1:
            raise ValueError(
                f"The model {model.name!r} applies its layer {layer['name']!r} more than once. "
                "Accepted is a chain of different layers."
            )


def _input_shape(model: Any) -> tuple[int, ...]:
    (tensor,) = model.inputs
    return tuple(tensor.shape[1:])


def _dtype(operations: Sequence[Any]) -> str:
    """Return the dtype in which all layers compute."""
    names = {op.compute_dtype for op in operations if hasattr(op, "compute_dtype")}
    if not names <= {"float32", "float64"} or len(names) > 1:
        raise ValueError(
            f"The model computes in {' and '.join(sorted(names))}. Accepted is either float32 or "
            "float64."
        )
    return names.pop() if names else "float32"


def _read(keras: Any, operation: Any) -> list[Entry]:
    """Return the layers, with the values of their parameters, that correspond to a Keras layer."""
    layers = keras.layers
    readers: dict[Any, Callable[[Any], list[Entry] | None]] = {
        layers.Dense: lambda op: [_dense(op), *_activation(keras, op.activation, op)],
        layers.LayerNormalization: _layer_norm,
        layers.Dropout: lambda op: [(Dropout(op.rate), {})] if op.noise_shape is None else None,
        layers.GaussianNoise: lambda op: [(GaussianNoise(op.stddev), {})],
        layers.ActivityRegularization: (
            lambda op: [(ActivityPenalty(float(op.l1)), {})] if not op.l2 else None
        ),
        layers.Activation: lambda op: _activation(keras, op.activation, op),
        layers.ReLU: _relu,
        layers.LeakyReLU: _leaky_relu,
        layers.ELU: lambda op: [(ELU(float(op.alpha)), {})],
        layers.Softmax: lambda op: [(Softmax(), {})] if op.axis in (-1, 1) else None,
    }
    # The operation of keras.ops.gelu in a functional model has no public class.
    if type(operation).__name__ == "Gelu" and operation.approximate:
        return [(GELU(), {})]
    read = readers.get(type(operation))
    entries = None if read is None else read(operation)
    if entries is None:
        known = ", ".join(sorted(kind.__name__ for kind in readers))
        raise ValueError(
            f"The layer {operation.name!r}, a {type(operation).__name__}, has no counterpart here. "
            f"Accepted are, in their usual form along the last axis, {known}, "
            "keras.ops.gelu(x, approximate=True), and Flatten at the beginning."
        )
    return entries


def _dense(op: Any) -> Entry:
    if not op.use_bias:
        return Dense(op.units, bias=None), {"W": op.kernel.numpy()}
    return Dense(op.units), {"W": op.kernel.numpy(), "b": op.bias.numpy()}


def _layer_norm(op: Any) -> list[Entry] | None:
    last_axis = tuple(np.atleast_1d(op.axis)) in {(-1,), (1,)}
    if not (last_axis and op.center and op.scale) or getattr(op, "rms_scaling", False):
        return None
    values = {"gamma": op.gamma.numpy(), "beta": op.beta.numpy()}
    return [(LayerNorm(float(op.epsilon)), values)]


def _relu(op: Any) -> list[Entry] | None:
    if op.max_value is not None or op.threshold:
        return None
    return _leaky_relu(op) if op.negative_slope else [(ReLU(), {})]


def _leaky_relu(op: Any) -> list[Entry] | None:
    slope = float(op.negative_slope)
    # Ours is max(x, slope x), which is a different function for slopes above 1.
    return [(LeakyReLU(slope), {})] if slope <= 1 else None


def _activation(keras: Any, function: Any, op: Any) -> list[Entry]:
    known: dict[Any, Activation] = {
        getattr(keras.activations, name): kind() for kind, name in FUNCTIONS.items()
    }
    # The default slope of Keras' function.
    known[keras.activations.leaky_relu] = LeakyReLU(0.2)
    known[keras.activations.elu] = ELU()
    if function not in known:
        name = getattr(function, "__name__", repr(function))
        names = ", ".join(sorted(of.__name__ for of in known))
        advice = (
            " Only the tanh form of gelu is accepted: keras.ops.gelu(x, approximate=True)."
            if function is keras.activations.gelu
            else ""
        )
        raise ValueError(
            f"The activation {name!r} of layer {op.name!r} has no counterpart here.{advice} "
            f"Accepted are {names}."
        )
    activation = known[function]
    return [] if isinstance(activation, Identity) else [(activation, {})]


def _fill(network: Network, entries: list[Entry]) -> None:
    for view, (_, values) in zip(network.views, entries, strict=False):
        for name, value in values.items():
            getattr(view, name)[...] = value
