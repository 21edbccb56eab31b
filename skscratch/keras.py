"""Convert networks to Keras and back, with the same weights and the same predictions.

Convert a network to Keras to serve it, prune it or continue training it; convert one from Keras to
use it without TensorFlow. Keras is imported only when one of the two functions is called.

Both sides support plain chains of layers on rows. Anything that only one of them supports raises an
error that names it, so that a converted model never computes something else.
"""

from __future__ import annotations

import dataclasses
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
    Loss,
    Network,
    Part,
    Pinball,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    TakeColumns,
    Tanh,
    Zeros,
)
from skscratch.estimators._random import RandomDraws
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
LINKS = {"logistic": "sigmoid", "softmax": "softmax", "exp": "exponential"}


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
    return _model(keras, model.network_, _link(model._fitted_loss), for_training)


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
    if estimator is None:
        network = Network([layer for layer, _ in entries] or [Identity()], n_in, dtype, rng=None)
        return _filled(network, entries)
    return _fitted(clone(estimator), entries, n_in, dtype, classes)


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


def _link(loss: Loss) -> list[str]:
    if isinstance(loss, Pinball) and len(loss.quantiles) > 1:
        raise ValueError(
            f"The outputs of {loss!r} are cumulative sums, for which Keras has no layer. "
            "Accepted is one quantile."
        )
    return [LINKS[loss.link]] if loss.link in LINKS else []


def _warn_of_ties(stack: Network | Part, for_training: bool) -> None:
    if isinstance(stack, Network):
        ties, layers = stack.ties, range(len(stack.layers))
    else:
        ties, layers = stack.network.ties, range(stack.start, stack.stop)
    if for_training and any(i in layers and j in layers for i, j in ties.items()):
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


def _filled(network: Network, entries: list[Entry]) -> Network:
    """Write the values into a network with the same parameters in the same order."""
    views = [view for view in network.views if vars(view)]
    values = [values for layer, values in entries if layer.params(1)]
    for view, of_layer in zip(views, values, strict=True):
        for name, array in of_layer.items():
            getattr(view, name)[...] = array
    return network


# A fitted estimator from a chain of layers.


def _fitted(
    estimator: Estimator, entries: list[Entry], n_in: int, dtype: str, classes: Any
) -> Estimator:
    """Give an estimator the parameters and the network that it would have after a fit."""
    y: Any = None
    if isinstance(estimator, MLPClassifier):
        entries, y = _outputs_and_labels(entries, classes)
    layers = [layer for layer, _ in entries]
    if isinstance(estimator, AutoencoderTransformer):
        if estimator.tied_weights is True:
            raise ValueError("tied_weights=True does not fit a Keras model, whose weights differ.")
        estimator.set_params(**_autoencoder_parameters(layers, n_in))
    else:
        estimator.set_params(**_perceptron_parameters(layers), pretrained=None)
    if isinstance(estimator, MLPRegressor):
        _link(estimator._loss())
        n_out = Network(layers or [Identity()], n_in, rng=None).n_out
        y = np.zeros(2 if n_out == 1 else (2, n_out), dtype)
    X: Array = np.zeros((2 if y is None else len(y), n_in), dtype)
    data = estimator._check_data(X, y, None, reset=True, training=True)
    architecture = estimator._architecture(data)
    network, loss = architecture.network(n_in, dtype, RandomDraws(0)), architecture.loss
    link = [Activation.named(loss.link)] if loss.link in Activation.members() else []
    nearest, actual = _shape([*network.layers, *link]), _shape(layers)
    if nearest != actual:
        raise ValueError(
            f"No parameters of {type(estimator).__name__} with {loss!r} describe the model: its "
            f"layers are {actual}, the nearest are {nearest}. Without an estimator, from_keras "
            "returns it as a network."
        )
    estimator._start_history()
    estimator.network_ = _filled(network, entries)
    estimator._fitted_loss = loss
    return estimator


def _outputs_and_labels(entries: list[Entry], classes: Any) -> tuple[list[Entry], Array]:
    """Return the layers with the outputs of an MLPClassifier, and labels, one row for each.

    It has one logistic output for two classes, and a softmax over the sorted labels for more.
    """
    dense, activation = [None, None, *(layer for layer, _ in entries)][-2:]
    if not (isinstance(dense, Dense) and isinstance(activation, Sigmoid | Softmax)):
        raise ValueError(
            "A classifier's model must end in Dense followed by sigmoid or softmax. If it returns "
            "logits, add keras.layers.Softmax() or keras.layers.Activation('sigmoid')."
        )
    n_out = dense.width
    multilabel = isinstance(activation, Sigmoid) and n_out > 1
    if multilabel and classes is not None:
        raise ValueError("Labels that may occur together are columns: they have no classes.")
    if multilabel:
        return entries, np.eye(n_out, dtype=int)
    n_classes = max(2, n_out)
    labels = np.arange(n_classes) if classes is None else np.asarray(classes)
    order = np.argsort(labels)
    if labels.shape != (n_classes,) or len(np.unique(labels)) < n_classes:
        raise ValueError(f"The model has {n_classes} classes, but classes is {classes!r}.")
    columns = np.eye(n_out)
    if n_out == 1:
        mix = columns * (order[1] - order[0])
    elif n_out == 2:
        mix = columns[:, order[1:]] - columns[:, order[:1]]
    else:
        mix = columns[:, order]
    mixed = {name: array @ mix.astype(array.dtype) for name, array in entries[-2][1].items()}
    last = activation if n_out > 2 else Sigmoid()
    head = dataclasses.replace(dense, width=mix.shape[1])
    return [*entries[:-2], (head, mixed), (last, {})], labels


def _perceptron_parameters(layers: list[Layer]) -> dict[str, Any]:
    """Infer the parameters of an MLP from its layers; the caller checks that they match."""
    first, *dense = _blocks(layers)
    hidden = dense[:-1]
    return {
        **_noise_parameters(first),
        "hidden_layer_sizes": tuple(_width(block) for block in hidden),
        "activation": _one_or_each([_named(_activation_of(block)) for block in hidden], "relu"),
        "dropout": _one_or_each([_dropout_of(block) for block in hidden], 0.0),
        "layer_norm": any(isinstance(layer, LayerNorm) for layer in layers),
    }


def _autoencoder_parameters(layers: list[Layer], n_in: int) -> dict[str, Any]:
    """Infer the parameters of an autoencoder from its layers; the narrowest is the latent one."""
    first, *dense = _blocks(layers)
    widths = [_width(block) for block in dense]
    if len(widths) < 2:
        raise ValueError(
            f"An autoencoder needs at least two dense layers, but the model has {len(widths)}."
        )
    middle = int(np.argmin(widths[:-1]))
    hidden = [*dense[:middle], *dense[middle + 1 : -1]]
    penalties = [layer.l1 for layer in layers if isinstance(layer, ActivityPenalty)]
    return {
        **_noise_parameters(first),
        "n_components": widths[middle],
        "hidden_layer_sizes": tuple(widths[:middle]),
        "decoder_layer_sizes": tuple(widths[middle + 1 : -1]),
        "activation": _activation_of(hidden[0]).name if hidden else "relu",
        "latent_activation": _activation_of(dense[middle]).name,
        "output_activation": _activation_of(dense[-1]).name,
        "dropout": _dropout_of(hidden[0]) if hidden else 0.0,
        # The estimator divides its penalties by the number of features.
        "sparsity": penalties[0] * n_in if penalties else 0.0,
        "sparsity_target": None,
        "contraction": 0.0,
        "beta": 0.0,
        # Keras layers do not share weights.
        "tied_weights": False,
    }


def _noise_parameters(first: list[Layer]) -> dict[str, Any]:
    levels = [layer.level for layer in first if isinstance(layer, GaussianNoise)]
    return {"noise": "gaussian", "noise_level": levels[0]} if levels else {"noise": None}


def _blocks(layers: list[Layer]) -> list[list[Layer]]:
    """Cut the layers before each dense one; the first block holds those before all of them."""
    blocks: list[list[Layer]] = [[]]
    for layer in layers:
        if isinstance(layer, Dense):
            blocks.append([])
        blocks[-1].append(layer)
    return blocks


def _width(block: list[Layer]) -> int:
    return block[0].n_out(0)


def _activation_of(block: list[Layer]) -> Activation:
    return next((layer for layer in block if isinstance(layer, Activation)), Identity())


def _dropout_of(block: list[Layer]) -> float:
    return next((layer.rate for layer in block if isinstance(layer, Dropout)), 0.0)


def _named(activation: Activation) -> str | Activation:
    return activation.name if activation == type(activation)() else activation


def _one_or_each(values: list[Any], default: Any) -> Any:
    """Return the parameter for all hidden layers: a single value if they agree."""
    if any(value != values[0] for value in values):
        return values
    return values[0] if values else default


def _shape(layers: Sequence[Layer]) -> list[Layer]:
    """Return the layers without details that do not affect the outputs."""
    return [_plain(layer) for layer in layers if not isinstance(layer, Identity)]


def _plain(layer: Layer) -> Layer:
    if isinstance(layer, Dense):
        return Dense(layer.width, bias=None if layer.bias is None else Zeros())
    if isinstance(layer, ActivityPenalty):
        # After division and multiplication, a weight may differ in its last bit.
        return ActivityPenalty(float(np.float32(layer.l1)))
    return layer
