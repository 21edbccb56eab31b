"""Find the parameters with which an estimator would build given layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from skscratch.core.activations import Activation, Identity, Sigmoid, Softmax
from skscratch.core.functions import Array
from skscratch.core.initializers import Zeros
from skscratch.core.layers import (
    ActivityPenalty,
    Dense,
    Dropout,
    GaussianNoise,
    Layer,
    LayerNorm,
    Noise,
)
from skscratch.core.losses import Loss
from skscratch.core.network import Network, Stack


def check_stack(network: Any) -> None:
    """Raise a TypeError unless it is a network or a part of one."""
    if not isinstance(network, Stack):
        raise TypeError(f"network must be a Network or a Part of one, got {network!r}.")


def perceptron_parameters(network: Stack) -> dict[str, Any]:
    """Infer the parameters of an MLP; the caller checks that they describe the network."""
    first, *dense = _blocks(network)
    hidden = dense[:-1]
    return {
        **_noise_parameters(first),
        "hidden_layer_sizes": tuple(_width(block) for block in hidden),
        "activation": _one_or_each([_named(_activation_of(block)) for block in hidden], "relu"),
        "dropout": _one_or_each([_dropout_of(block) for block in hidden], 0.0),
        "layer_norm": any(isinstance(layer, LayerNorm) for layer in network.layers),
        "pretrained": None,
    }


def autoencoder_parameters(network: Stack) -> dict[str, Any]:
    """Infer the parameters of an autoencoder; its narrowest layer is the latent one."""
    first, *dense = _blocks(network)
    widths = [_width(block) for block in dense]
    if len(widths) < 2:
        raise ValueError(
            f"An autoencoder needs at least two dense layers, but the network has {len(widths)}."
        )
    middle = int(np.argmin(widths[:-1]))
    hidden = [*dense[:middle], *dense[middle + 1 : -1]]
    penalties = [layer.l1 for layer in network.layers if isinstance(layer, ActivityPenalty)]
    return {
        **_noise_parameters(first),
        "n_components": widths[middle],
        "hidden_layer_sizes": tuple(widths[:middle]),
        "decoder_layer_sizes": tuple(widths[middle + 1 : -1]),
        "activation": _named(_activation_of(hidden[0])) if hidden else "relu",
        "latent_activation": _named(_activation_of(dense[middle])),
        "output_activation": _named(_activation_of(dense[-1])),
        "dropout": _dropout_of(hidden[0]) if hidden else 0.0,
        # The estimator divides its penalties by the number of features.
        "sparsity": penalties[0] * network.n_in if penalties else 0.0,
        "sparsity_target": None,
        "contraction": 0.0,
        "beta": 0.0,
        # Other ties become copies.
        "tied_weights": network.ties == _mirrored(network),
    }


def _noise_parameters(first: list[Layer]) -> dict[str, Any]:
    noise = next((layer for layer in first if isinstance(layer, Noise)), None)
    if isinstance(noise, GaussianNoise):
        return {"noise": "gaussian", "noise_level": noise.level}
    return {"noise": noise}


def _mirrored(network: Stack) -> dict[int, int]:
    """Return the ties of an autoencoder in which each layer of the decoder has one."""
    dense = [i for i, layer in enumerate(network.layers) if isinstance(layer, Dense)]
    half = len(dense) // 2
    return dict(zip(dense[half:], reversed(dense[:half]), strict=False))


def _blocks(network: Stack) -> list[list[Layer]]:
    """Cut the layers before each dense one; the first block holds those before all of them."""
    blocks: list[list[Layer]] = [[]]
    for layer in network.layers:
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
    """Return the name of an activation, or the activation itself if the name means another one."""
    return activation.name if activation == type(activation)() else activation


def _one_or_each(values: list[Any], default: Any) -> Any:
    """Return the parameter for all hidden layers: a single value if they agree."""
    if any(value != values[0] for value in values):
        return values
    return values[0] if values else default


def classifier_outputs(network: Stack, classes: Any) -> tuple[Stack, Array]:
    """Return the network with the outputs of an MLPClassifier, and a label for each class.

    It has one logistic output for two classes, and a softmax over the sorted labels for more.
    Labels that may occur together are returned as an indicator matrix.
    """
    dense, activation = [None, None, *network.layers][-2:]
    if not (isinstance(dense, Dense) and isinstance(activation, Sigmoid | Softmax)):
        raise ValueError(
            "A classifier's network must end in Dense followed by Softmax or Sigmoid. Where it "
            "returns raw outputs, add that activation."
        )
    n_out = dense.width
    if isinstance(activation, Sigmoid) and n_out > 1:
        if classes is not None:
            raise ValueError("Labels that may occur together are columns: they have no classes.")
        return network, np.eye(n_out, dtype=int)
    n_classes = max(2, n_out)
    labels = np.arange(n_classes) if classes is None else np.asarray(classes)
    if labels.shape != (n_classes,) or len(np.unique(labels)) < n_classes:
        raise ValueError(f"The network has {n_classes} classes, but classes is {classes!r}.")
    order = np.argsort(labels)
    columns = np.eye(n_out, dtype=network.dtype)
    if n_out == 1:
        mix = columns * (order[1] - order[0])
    elif n_out == 2:
        mix = columns[:, order[1:]] - columns[:, order[:1]]
    else:
        mix = columns[:, order]
    last = activation if n_out > 2 else Sigmoid()
    layers = [*network.layers[:-2], replace(dense, width=mix.shape[1]), last]
    mixed = Network(layers, network.n_in, network.dtype, rng=None)
    head = len(layers) - 2
    for i, (view, given) in enumerate(zip(mixed.views, network.views, strict=True)):
        for name, value in vars(given).items():
            getattr(view, name)[...] = value @ mix.astype(value.dtype) if i == head else value
    return mixed, labels


def fill(network: Network, given: Stack, loss: Loss, estimator: Any) -> None:
    """Copy the parameters of a given network to the one that an estimator has built.

    The given network ends with the inverse link of the loss, which is no layer of the other.
    Raise a ValueError unless they are otherwise the same.
    """
    link = [] if loss.link == "identity" else [Activation.named(loss.link)]
    nearest, actual = _shape([*network.layers, *link]), _shape(given.layers)
    if nearest != actual:
        raise ValueError(
            f"No parameters of {type(estimator).__name__} with {loss!r} describe the network: its "
            f"layers are {actual}, the nearest are {nearest}."
        )
    pairs = zip(_with_parameters(network), _with_parameters(given), strict=True)
    for view, values in pairs:
        for name, value in values.items():
            view[name][...] = value


def _with_parameters(network: Stack) -> list[dict[str, Array]]:
    return [vars(view) for view in network.views if vars(view)]


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
