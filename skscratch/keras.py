"""To Keras and back, with the same weights and the same predictions.

Convert a network to Keras to serve it, prune it or go on training it; convert one from Keras to use
it without TensorFlow. Keras is imported when one of the two functions is called, not before.

What both sides have in common is a plain chain of layers on rows. What only one of them has is
refused by name, so that a converted model never computes something else.
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
Given = tuple[Layer, dict[str, Array]]

# Activations that are one function of Keras, without a choice.
FUNCTIONS: dict[type[Activation], str] = {
    Identity: "linear",
    Sigmoid: "sigmoid",
    Tanh: "tanh",
    ReLU: "relu",
    Softmax: "softmax",
    SiLU: "silu",
    Softplus: "softplus",
}
# The class of keras.layers that is a layer's counterpart, and what to build it with.
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
# Keras' names of what a loss does to raw outputs.
LINKS = {"logistic": "sigmoid", "softmax": "softmax", "exp": "exponential"}


def to_keras(model: Any, *, for_training: bool = True) -> Any:
    """Build the Keras model that computes what a network of ours computes.

    Parameters
    ----------
    model : MLPClassifier, MLPRegressor, AutoencoderTransformer, Network or Part
        A fitted estimator, or a network of the core. An autoencoder becomes one model of two,
        which ``get_layer("encoder")`` and ``get_layer("decoder")`` return; its `encoder_` alone is
        a Part.
    for_training : bool, default=True
        Keep what matters in training only: noise, dropout and penalties on activities. If False
        these are left out, and a variational encoder returns its means. The predictions are the
        same.

    Returns
    -------
    keras.Model
        A functional model in the network's dtype, not compiled. Its outputs are what
        `predict_proba` returns (for two classes, the column of the second), or `predict`, or
        `reconstruct`.

    Raises
    ------
    ValueError
        If a layer has no counterpart in Keras, named with those that have; or if the loss is one of
        several quantiles, whose outputs Keras cannot order.
    TypeError
        If `model` is of another class.
    ModuleNotFoundError
        If Keras or its backend is not installed.

    Warns
    -----
    UserWarning
        If weights are tied and the model is for training: each layer of Keras has a copy of its
        own, and training makes them differ.

    See Also
    --------
    from_keras : The way back.

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
        # The decoder brings its loss's link along.
        halves = {"encoder": model.encoder_, "decoder": model.decoder_}
        inputs = x = _input(keras, model.network_)
        for name, half in halves.items():
            x = _model(keras, half, [], for_training, name)(x)
        return keras.Model(inputs, x, name="autoencoder")
    return _model(keras, model.network_, _link(model._fitted_loss), for_training)


def from_keras(model: Any, estimator: Any = None, classes: Any = None) -> Any:
    """Build a network of ours, or a fitted estimator, that computes what a Keras model computes.

    Parameters
    ----------
    model : keras.Model
        A sequential or functional model that is one chain of these layers, models of them
        included: Dense, Dropout, GaussianNoise, LayerNormalization, ActivityRegularization,
        Activation, ReLU, LeakyReLU, ELU, Softmax, and Flatten at the beginning. Activations are
        linear, sigmoid, tanh, relu, softmax, leaky_relu, elu, silu, softplus, and
        ``keras.ops.gelu(x, approximate=True)``.
    estimator : MLPClassifier, MLPRegressor or AutoencoderTransformer, default=None
        What to make of it; it is copied. Its parameters of training are kept, and those that shape
        the network are read off the model. None returns the bare network.
    classes : array-like of shape (n_classes,), default=None
        The labels of a classifier, in the order of the model's outputs; None counts from 0.
        Several logistic outputs are labels that may occur together, and have no `classes`.

    Returns
    -------
    Network, MLPClassifier, MLPRegressor or AutoencoderTransformer
        A network, to be called with rows, or to be trained on as `pretrained` of another
        estimator; or an estimator that predicts. It can be trained further, with
        ``warm_start=True`` or ``partial_fit``, by a fresh optimizer. Attributes that tell how
        training went are missing.

    Raises
    ------
    ValueError
        If the model has no counterpart, naming the layer and what is accepted; or if the
        estimator cannot have such a network.
    TypeError
        If `model` or `estimator` is of another class.
    ModuleNotFoundError
        If Keras or its backend is not installed.

    See Also
    --------
    to_keras : The other way.

    Notes
    -----
    Regularizers, constraints and initializers of Keras layers belong to their training, and are not
    taken along.

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
    given = [entry for operation in operations for entry in _read(keras, operation)]
    dtype = _dtype(operations)
    if estimator is None:
        network = Network([layer for layer, _ in given] or [Identity()], n_in, dtype, rng=None)
        return _filled(network, given)
    return _fitted(clone(estimator), given, n_in, dtype, classes)


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


# From here to Keras.


def _input(keras: Any, stack: Network | Part) -> Any:
    return keras.Input((stack.n_in,), dtype=stack.dtype.name)


def _model(
    keras: Any, stack: Network | Part, then: list[str], for_training: bool, name: str | None = None
) -> Any:
    """Build the model of some layers, and of Keras' own activations behind them."""
    dtype = stack.dtype.name
    inputs = x = _input(keras, stack)
    for layer, view, n_in in zip(stack.layers, stack.views, stack.widths, strict=False):
        kept = layer if for_training else layer.for_inference(n_in)
        if isinstance(kept, GELU):
            # Keras' layer knows this activation in its other form only.
            x = keras.ops.gelu(x, approximate=True)
        elif isinstance(kept, TakeColumns):
            x = x[:, : kept.width]
        elif kept is not None:
            twin = _counterpart(keras, kept, n_in, dtype)
            x = twin(x)
            twin.set_weights([getattr(view, param.name) for param in kept.params(n_in)])
    for activation in then:
        x = keras.layers.Activation(activation, dtype=dtype)(x)
    return keras.Model(inputs, x, name=name)


def _counterpart(keras: Any, layer: Layer, n_in: int, dtype: str) -> Any:
    if type(layer) not in COUNTERPARTS:
        known = ", ".join(sorted(kind.__name__ for kind in (*COUNTERPARTS, GELU, TakeColumns)))
        passing = layer.for_inference(n_in) != layer
        advice = " For prediction it has: for_training=False." if passing else ""
        raise ValueError(f"Keras has no counterpart of {layer!r}.{advice} Accepted are {known}.")
    name, arguments = COUNTERPARTS[type(layer)]
    return getattr(keras.layers, name)(**arguments(layer), dtype=dtype)


def _link(loss: Loss) -> list[str]:
    if isinstance(loss, Pinball) and len(loss.quantiles) > 1:
        raise ValueError(
            f"The outputs of {loss!r} are put in order by sums, for which Keras has no layer. "
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
            "Layers with tied weights get a copy each, which training in Keras makes differ. "
            "for_training=False builds the model for prediction, without this warning.",
            UserWarning,
            stacklevel=3,
        )


# From Keras to here.


def _chain(keras: Any, model: Any) -> Iterator[Any]:
    """Yield the layers of a model one after another, those of models inside it included."""
    if isinstance(model, keras.Sequential):
        if not model.built:
            raise ValueError(
                f"The model {model.name!r} is not built: begin it with keras.Input, or call it "
                "with rows once."
            )
        operations = model.layers
    elif hasattr(model, "operations"):
        operations = model.operations
        _refuse_branches(model)
    else:
        raise ValueError(
            f"The model {model.name!r} computes by code of its own. Accepted are sequential and "
            "functional models."
        )
    for operation in operations:
        if isinstance(operation, keras.Model):
            yield from _chain(keras, operation)
        elif not isinstance(operation, keras.layers.InputLayer):
            yield operation


def _refuse_branches(model: Any) -> None:
    # Layers that are accepted have one input each, so only these two leave the chain.
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
    """Return the one dtype in which all layers compute."""
    names = {op.compute_dtype for op in operations if hasattr(op, "compute_dtype")}
    if not names <= {"float32", "float64"} or len(names) > 1:
        raise ValueError(
            f"The model computes in {' and '.join(sorted(names))}. Accepted is one of float32 "
            "and float64."
        )
    return names.pop() if names else "float32"


def _read(keras: Any, operation: Any) -> list[Given]:
    """Return our layers, with the values of their parameters, for one of Keras."""
    layers = keras.layers
    readers: dict[Any, Callable[[Any], list[Given] | None]] = {
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
    # The class of what keras.ops.gelu leaves in a functional model has no public name.
    if type(operation).__name__ == "Gelu" and operation.approximate:
        return [(GELU(), {})]
    read = readers.get(type(operation))
    given = None if read is None else read(operation)
    if given is None:
        known = ", ".join(sorted(kind.__name__ for kind in readers))
        raise ValueError(
            f"The layer {operation.name!r}, a {type(operation).__name__}, has no counterpart here. "
            f"Accepted are, in their usual form along the last axis, {known}, "
            "keras.ops.gelu(x, approximate=True), and Flatten at the beginning."
        )
    return given


def _dense(op: Any) -> Given:
    if not op.use_bias:
        return Dense(op.units, bias=None), {"W": op.kernel.numpy()}
    return Dense(op.units), {"W": op.kernel.numpy(), "b": op.bias.numpy()}


def _layer_norm(op: Any) -> list[Given] | None:
    last_axis = tuple(np.atleast_1d(op.axis)) in {(-1,), (1,)}
    if not (last_axis and op.center and op.scale) or getattr(op, "rms_scaling", False):
        return None
    values = {"gamma": op.gamma.numpy(), "beta": op.beta.numpy()}
    return [(LayerNorm(float(op.epsilon)), values)]


def _relu(op: Any) -> list[Given] | None:
    if op.max_value is not None or op.threshold:
        return None
    return _leaky_relu(op) if op.negative_slope else [(ReLU(), {})]


def _leaky_relu(op: Any) -> list[Given] | None:
    slope = float(op.negative_slope)
    # Ours is max(x, slope x), which is another function where the slope is more than 1.
    return [(LeakyReLU(slope), {})] if slope <= 1 else None


def _activation(keras: Any, function: Any, op: Any) -> list[Given]:
    known: dict[Any, Activation] = {
        getattr(keras.activations, name): kind() for kind, name in FUNCTIONS.items()
    }
    # Keras' own slope, where its function is named without one.
    known[keras.activations.leaky_relu] = LeakyReLU(0.2)
    known[keras.activations.elu] = ELU()
    if function not in known:
        name = getattr(function, "__name__", repr(function))
        names = ", ".join(sorted(of.__name__ for of in known))
        advice = (
            " Of gelu the form by tanh is, as keras.ops.gelu(x, approximate=True)."
            if function is keras.activations.gelu
            else ""
        )
        raise ValueError(
            f"The activation {name!r} of layer {op.name!r} has no counterpart here.{advice} "
            f"Accepted are {names}."
        )
    activation = known[function]
    return [] if isinstance(activation, Identity) else [(activation, {})]


def _filled(network: Network, given: list[Given]) -> Network:
    """Write the given values into a network with the same parameters in the same order."""
    views = [view for view in network.views if vars(view)]
    values = [values for layer, values in given if layer.params(1)]
    for view, of_layer in zip(views, values, strict=True):
        for name, array in of_layer.items():
            getattr(view, name)[...] = array
    return network


# A fitted estimator from a chain of layers.


def _fitted(
    estimator: Estimator, given: list[Given], n_in: int, dtype: str, classes: Any
) -> Estimator:
    """Give an estimator the parameters and the network that it would have after a fit."""
    y: Any = None
    if isinstance(estimator, MLPClassifier):
        given, y = _outputs_and_labels(given, classes)
    layers = [layer for layer, _ in given]
    if isinstance(estimator, AutoencoderTransformer):
        if estimator.tied_weights is True:
            raise ValueError("tied_weights=True ties weights, which a Keras model does not.")
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
    needed, there = _shape([*network.layers, *link]), _shape(layers)
    if needed != there:
        raise ValueError(
            f"No parameters of {type(estimator).__name__} with {loss!r} describe the model: its "
            f"layers are {there}, the nearest are {needed}. Without an estimator, from_keras "
            "returns it as a network."
        )
    estimator._start_history()
    estimator.network_ = _filled(network, given)
    estimator._fitted_loss = loss
    return estimator


def _outputs_and_labels(given: list[Given], classes: Any) -> tuple[list[Given], Array]:
    """Return the layers with the outputs that MLPClassifier has, and labels, one row for each.

    It knows two classes by one logistic output, and more by a softmax over the sorted labels.
    """
    dense, activation = [None, None, *(layer for layer, _ in given)][-2:]
    if not (isinstance(dense, Dense) and isinstance(activation, Sigmoid | Softmax)):
        raise ValueError(
            "A classifier's model ends in Dense with sigmoid or softmax behind it. Where it puts "
            "out logits, add keras.layers.Softmax() or keras.layers.Activation('sigmoid')."
        )
    n_out = dense.width
    together = isinstance(activation, Sigmoid) and n_out > 1
    if together and classes is not None:
        raise ValueError("Labels that may occur together are columns: they have no classes.")
    if together:
        return given, np.eye(n_out, dtype=int)
    n_classes = max(2, n_out)
    labels = np.arange(n_classes) if classes is None else np.asarray(classes)
    order = np.argsort(labels)
    if labels.shape != (n_classes,) or len(np.unique(labels)) < n_classes:
        raise ValueError(f"The model tells {n_classes} classes apart, but classes is {classes!r}.")
    columns = np.eye(n_out)
    if n_out == 1:
        mix = columns * (order[1] - order[0])
    elif n_out == 2:
        mix = columns[:, order[1:]] - columns[:, order[:1]]
    else:
        mix = columns[:, order]
    mixed = {name: array @ mix.astype(array.dtype) for name, array in given[-2][1].items()}
    last = activation if n_out > 2 else Sigmoid()
    head = dataclasses.replace(dense, width=mix.shape[1])
    return [*given[:-2], (head, mixed), (last, {})], labels


def _perceptron_parameters(layers: list[Layer]) -> dict[str, Any]:
    """Read the parameters of an MLP off its layers; what they do not fit shows itself later."""
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
    """Read the parameters of an autoencoder off its layers, the narrowest being the latent one."""
    first, *dense = _blocks(layers)
    widths = [_width(block) for block in dense]
    if len(widths) < 2:
        raise ValueError(f"An autoencoder has two dense layers or more, the model {len(widths)}.")
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
        # The estimator shares its penalties out over the features.
        "sparsity": penalties[0] * n_in if penalties else 0.0,
        "sparsity_target": None,
        "contraction": 0.0,
        "beta": 0.0,
        # A Keras model shares no weights.
        "tied_weights": False,
    }


def _noise_parameters(first: list[Layer]) -> dict[str, Any]:
    levels = [layer.level for layer in first if isinstance(layer, GaussianNoise)]
    return {"noise": "gaussian", "noise_level": levels[0]} if levels else {"noise": None}


def _blocks(layers: list[Layer]) -> list[list[Layer]]:
    """Cut layers before each dense one; the first block is what comes before them all."""
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
    """Return what to write for all hidden layers: one value where they agree."""
    if any(value != values[0] for value in values):
        return values
    return values[0] if values else default


def _shape(layers: Sequence[Layer]) -> list[Layer]:
    """Return layers without what makes no difference to the outputs."""
    return [_plain(layer) for layer in layers if not isinstance(layer, Identity)]


def _plain(layer: Layer) -> Layer:
    if isinstance(layer, Dense):
        return Dense(layer.width, bias=None if layer.bias is None else Zeros())
    if isinstance(layer, ActivityPenalty):
        # Divided and multiplied again, a weight may differ in its last bit.
        return ActivityPenalty(float(np.float32(layer.l1)))
    return layer
