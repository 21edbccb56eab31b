"""The pictures of the comparison. Each function draws one and returns the figure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from skscratch.core import Network
from skscratch.datasets import Images
from skscratch.experiments.pictures import blank, draw_confusion

Array = npt.NDArray[Any]
Figures = Mapping[str, Any]

# Colours for colour-blind readers, and line styles for black-and-white print.
LOOKS: dict[str, dict[str, Any]] = {
    "ours": {"color": "#0072B2", "linestyle": "-", "label": "skscratch"},
    "keras": {"color": "#D55E00", "linestyle": "--", "label": "Keras"},
    "best": {"color": "#117733", "linestyle": ":", "label": "skscratch, best setting"},
}
ROWS = {
    "original": "original",
    "keras": "Keras",
    "ours": "skscratch,\nsame settings",
    "best": "skscratch,\nbest settings",
}


def all_pictures(
    metrics: Figures, images: Images, networks: Mapping[str, Network]
) -> dict[str, Callable[[], Figure]]:
    """Return a function for each picture of the report, by the name of its file."""
    drawings: dict[str, Callable[[], Figure]] = {}
    if "xor" in metrics:
        drawings["xor_curves.png"] = partial(xor_curves, metrics["xor"])
    for name, run in metrics.get("autoencoder", {}).items():
        if "keras" in run:
            drawings[f"{name}_curves.png"] = partial(training_curves, run)
    if networks:
        drawings["reconstructions.png"] = partial(reconstructions, images, networks)
    for name, result in metrics.get("latent", {}).items():
        if name.endswith("_best"):
            drawings[f"{name}_confusion.png"] = partial(confusion, result, images)
    return drawings


def _pair(title: str, ylabel: str) -> tuple[Figure, Any, Any]:
    """Make two panels that share their losses: over epochs, and over seconds."""
    figure = blank(9, 3.8)
    left, right = figure.subplots(1, 2, sharey=True)
    left.set(xlabel="epoch", ylabel=ylabel, yscale="log", title="over epochs")
    right.set(xlabel="seconds of training", title="over time")
    for ax in (left, right):
        ax.grid(alpha=0.3, which="both")
    figure.suptitle(title)
    return figure, left, right


def xor_curves(xor: Figures) -> Figure:
    """Draw the losses of the exclusive or in both libraries."""
    figure, left, right = _pair("Exclusive or", "mean squared error")
    for side, look in LOOKS.items():
        losses = xor["curves"][side]
        epochs = xor["stride"] * np.arange(1, len(losses) + 1)
        left.plot(epochs, losses, **look)
        right.plot(epochs * xor[side][-1]["seconds"] / epochs[-1], losses, **look)
    # One library may be a hundred times as fast: both shall be seen.
    right.set_xscale("log")
    left.legend()
    return figure


def training_curves(run: Figures) -> Figure:
    """Draw the losses of an autoencoder in both libraries."""
    widths = "–".join(map(str, run["widths"][: len(run["widths"]) // 2 + 1]))
    figure, left, right = _pair(f"Autoencoder {widths}, {run['n_train']:,} images", "training loss")
    for side in ("ours", "keras"):
        losses, seconds = run[side]["losses"], run[side]["seconds"]
        look = LOOKS[side] | ({"marker": "o"} if len(losses) == 1 else {})
        left.plot(np.arange(1, len(losses) + 1), losses, **look)
        right.plot(seconds, losses, **look)
    left.locator_params(axis="x", integer=True)
    right.set_xlim(left=0)
    left.legend()
    return figure


def reconstructions(images: Images, networks: Mapping[str, Network]) -> Figure:
    """Draw the first test image of each class, and what each autoencoder makes of it."""
    _, first = np.unique(images.y_test, return_index=True)
    X = images.X_test[first]
    height, width = images.image_shape
    rows = {"original": X} | {side: networks[side](X) for side in ("keras", "ours", "best")}
    figure = blank(max(4.0, 0.8 * len(first) + 1.6), 0.8 * len(rows) + 0.5)
    ax = figure.subplots()
    # A white frame between the images, so that grey ones do not run into each other.
    gap = ((1, 0), (1, 0))
    lines = [
        np.hstack([np.pad(image.reshape(height, width), gap) for image in some])
        for some in rows.values()
    ]
    ax.imshow(np.vstack(lines), cmap="gray_r", vmin=0, vmax=1)
    middles = (height + 1) * (np.arange(len(rows)) + 0.5)
    ax.set_yticks(middles, [ROWS[name] for name in rows], fontsize=9)
    ax.set_xticks([])
    ax.tick_params(length=0)
    for spine in ax.spines.values():
        spine.set_visible(False)
    ax.set_title("Test images, and what is rebuilt from their latent features")
    return figure


def confusion(classified: Figures, images: Images) -> Figure:
    """Draw the confusion matrix of the linear SVM."""
    matrix = np.array(classified["confusion"])
    title = f"Linear SVM on latent features: {matrix.sum():,} test images"
    return draw_confusion(matrix, np.unique(images.y_test), title)
