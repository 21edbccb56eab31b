"""The pictures of the report. Each function draws one and returns the figure.

Figures are made without pyplot, so that nothing depends on a screen and none stays open.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from sklearn.metrics import ConfusionMatrixDisplay

from skscratch.datasets import Images, load_xor
from skscratch.display import LatentSpaceDisplay, LossCurveDisplay, ReconstructionDisplay
from skscratch.experiments.autoencoder import AutoencoderResult
from skscratch.experiments.latent import LatentResult, hardest_mistakes
from skscratch.experiments.progress import Progress
from skscratch.experiments.settings import Settings
from skscratch.experiments.xor import XorResult

Array = npt.NDArray[Any]

DOTS_PER_INCH = 120
RIGHT, WRONG = "#0072B2", "#B24000"
GALLERY_COLUMNS, GALLERY_ROWS = 8, 2


def all_pictures(
    images: Images,
    settings: Settings,
    xor: XorResult,
    autoencoder: AutoencoderResult,
    reconstruction: AutoencoderResult | None,
    latent: LatentResult,
) -> dict[str, Callable[[], Figure]]:
    """Return a function for each picture of the report, by the name of its file.

    Parameters
    ----------
    images : Images
        Training and test images.
    settings : Settings
        The choices of the run.
    xor : XorResult
        The exclusive or.
    autoencoder, reconstruction : AutoencoderResult
        The autoencoder whose features are classified, and the one for reconstructions if there is
        one.
    latent : LatentResult
        The classifiers.

    Returns
    -------
    dict
        File name -> function without arguments that draws the picture.
    """
    drawings = {
        "xor_loss.png": lambda: xor_loss(xor),
        "xor_boundary.png": lambda: xor_boundary(xor),
        "autoencoder_loss.png": lambda: autoencoder_loss(autoencoder),
        "reconstructions.png": lambda: reconstructions(autoencoder, images),
        "latent.png": lambda: latent_space(autoencoder, images, settings.n_latent),
        "confusion.png": lambda: confusion(latent, images),
        "predictions.png": lambda: predictions(latent, images),
    }
    if reconstruction is not None:
        drawings["reconstruction_loss.png"] = lambda: autoencoder_loss(
            reconstruction, "Second autoencoder"
        )
        drawings["reconstruction_images.png"] = lambda: reconstructions(reconstruction, images)
    return drawings


def save_pictures(
    drawings: Mapping[str, Callable[[], Figure]], folder: Path, progress: Progress
) -> None:
    """Draw all pictures and save them.

    Parameters
    ----------
    drawings : mapping
        File name -> function without arguments that draws the picture.
    folder : pathlib.Path
        Where the files go.
    progress : Progress
        Progress reporter.
    """
    with progress.stage("Pictures", len(drawings)) as step:
        for name, draw in drawings.items():
            draw().savefig(folder / name)
            step()


def blank(width: float, height: float) -> Figure:
    """Return an empty figure.

    Parameters
    ----------
    width, height : float
        Its size in inches.

    Returns
    -------
    matplotlib.figure.Figure
        The figure.
    """
    return Figure(figsize=(width, height), dpi=DOTS_PER_INCH, layout="constrained")


def xor_loss(result: XorResult) -> Figure:
    """Draw the loss of each epoch.

    Parameters
    ----------
    result : XorResult
        What was trained.

    Returns
    -------
    matplotlib.figure.Figure
        The picture.
    """
    figure = blank(6, 4)
    ax = figure.subplots()
    LossCurveDisplay(result.loss_curve).plot(ax, log_scale=True)
    ax.set(title="Exclusive or: training loss", ylabel="mean squared error")
    return figure


def xor_boundary(result: XorResult) -> Figure:
    """Draw the network's output over the plane, and the four points.

    Parameters
    ----------
    result : XorResult
        What was trained.

    Returns
    -------
    matplotlib.figure.Figure
        The picture.
    """
    figure = blank(5.6, 4.6)
    ax = figure.subplots()
    side, ticks = np.linspace(-0.5, 1.5, 201), np.linspace(-0.5, 1.5, 5)
    plane = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    output = result.network(plane).reshape(len(side), len(side))
    filled = ax.contourf(side, side, output, np.linspace(0, 1, 21), cmap="cividis")
    ax.contour(side, side, output, [0.5], colors="white", linewidths=2)
    X, y = load_xor()
    for value, marker in ((0.0, "o"), (1.0, "s")):
        points = X[y.ravel() == value]
        look: dict[str, Any] = {"c": "white", "edgecolors": "black", "s": 90, "zorder": 3}
        ax.scatter(*points.T, marker=marker, label=f"target {value:.0f}", **look)
    figure.colorbar(filled, ax=ax, label="output of the network", ticks=np.linspace(0, 1, 6))
    ax.set(
        title="Exclusive or: decision boundary (white)",
        xlabel="first input",
        ylabel="second input",
        aspect="equal",
        xticks=ticks,
        yticks=ticks,
    )
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2, frameon=False)
    return figure


def autoencoder_loss(result: AutoencoderResult, name: str = "Autoencoder") -> Figure:
    """Draw the losses of each epoch, on the training images and on those held out.

    Parameters
    ----------
    result : AutoencoderResult
        What was trained.
    name : str, default="Autoencoder"
        What it is called in the title.

    Returns
    -------
    matplotlib.figure.Figure
        The picture.
    """
    figure = blank(6, 4)
    ax = figure.subplots()
    LossCurveDisplay.from_estimator(result.encoder, ax=ax, log_scale=True)
    loss = str(result.encoder.loss).replace("_", " ")
    ax.set(title=f"{name}: reconstruction loss", ylabel=f"{loss}, mean over pixels")
    return figure


def reconstructions(result: AutoencoderResult, images: Images) -> Figure:
    """Draw the first test image of each class above its reconstruction.

    Parameters
    ----------
    result : AutoencoderResult
        What was trained.
    images : Images
        Training and test images.

    Returns
    -------
    matplotlib.figure.Figure
        The picture.
    """
    _, first = np.unique(images.y_test, return_index=True)
    figure = blank(max(4.0, 0.8 * len(first) + 1.2), 2.3)
    ax = figure.subplots()
    ReconstructionDisplay.from_estimator(
        result.encoder,
        images.X_test[first],
        n_images=len(first),
        image_shape=images.image_shape,
        ax=ax,
    )
    ax.set_title(
        f"Test images of {images.X_test.shape[1]} pixels, "
        f"each rebuilt from {result.encoder.n_components} numbers"
    )
    return figure


def latent_space(result: AutoencoderResult, images: Images, n_images: int) -> Figure:
    """Draw test images as points in the latent space.

    Parameters
    ----------
    result : AutoencoderResult
        What was trained.
    images : Images
        Training and test images.
    n_images : int
        How many to draw at most.

    Returns
    -------
    matplotlib.figure.Figure
        The picture.
    """
    figure = blank(7, 5.5)
    ax = figure.subplots()
    X, y = images.X_test[:n_images], images.y_test[:n_images]
    LatentSpaceDisplay.from_estimator(result.encoder, X, y, ax=ax)
    ax.set_title(f"Latent features of {len(X):,} test images")
    return figure


def confusion(result: LatentResult, images: Images) -> Figure:
    """Draw the confusion matrix of the linear SVM on the test images.

    Parameters
    ----------
    result : LatentResult
        What was trained.
    images : Images
        Training and test images.

    Returns
    -------
    matplotlib.figure.Figure
        The picture.
    """
    labels = np.unique([images.y_test, result.predicted])
    title = f"Linear SVM on latent features: {len(images.y_test):,} test images"
    return draw_confusion(result.confusion, labels, title)


def draw_confusion(matrix: Array, labels: Array, title: str) -> Figure:
    """Draw a confusion matrix.

    Parameters
    ----------
    matrix : ndarray of shape (n_classes, n_classes)
        Images by true and predicted class.
    labels : ndarray of shape (n_classes,)
        The classes.
    title : str
        What stands above.

    Returns
    -------
    matplotlib.figure.Figure
        The picture.
    """
    figure = blank(6.2, 5.8)
    ax = figure.subplots()
    display = ConfusionMatrixDisplay(matrix, display_labels=labels)
    display.plot(ax=ax, cmap="Blues", colorbar=False)
    # Right answers are so many more that on a linear scale all mistakes would look white.
    display.im_.set_norm("symlog")
    _recolour(display)
    ax.set(title=title, xlabel="predicted class", ylabel="true class")
    return figure


def _recolour(display: ConfusionMatrixDisplay) -> None:
    """Give each number black or white ink, whichever stands out from its cell."""
    colours = display.im_.to_rgba(display.confusion_matrix)
    for place, text in np.ndenumerate(display.text_):
        red, green, blue, _ = colours[place]
        text.set_color("black" if 0.3 * red + 0.6 * green + 0.1 * blue > 0.5 else "white")
        text.set_fontsize(9)


def predictions(result: LatentResult, images: Images) -> Figure:
    """Draw some right predictions, and the mistakes that the SVM was surest of.

    Parameters
    ----------
    result : LatentResult
        What was trained.
    images : Images
        Training and test images.

    Returns
    -------
    matplotlib.figure.Figure
        The picture.
    """
    n = GALLERY_COLUMNS * GALLERY_ROWS
    right = np.flatnonzero(result.predicted == images.y_test)[:n]
    wrong = hardest_mistakes(result, images, n)
    figure = blank(GALLERY_COLUMNS * 1.05, 2 * GALLERY_ROWS * 1.35 + 0.8)
    upper, lower = np.asarray(figure.subfigures(2, 1, hspace=0.04))
    _gallery(upper, "Right predictions", right, result, images, RIGHT)
    _gallery(lower, "Mistakes, the most confident first", wrong, result, images, WRONG)
    return figure


def _gallery(
    figure: Any, title: str, rows: Array, result: LatentResult, images: Images, colour: str
) -> None:
    figure.suptitle(title, fontweight="bold")
    grid = figure.subplots(GALLERY_ROWS, GALLERY_COLUMNS)
    for ax in grid.flat:
        ax.set_axis_off()
    # There may be fewer images than places: a good classifier makes few mistakes.
    for ax, row in zip(grid.flat, rows, strict=False):
        ax.imshow(images.X_test[row].reshape(images.image_shape), cmap="gray_r", vmin=0, vmax=1)
        true, predicted = images.y_test[row], result.predicted[row]
        text = f"{predicted}" if true == predicted else f"says {predicted}, is {true}"
        ax.set_title(text, color=colour, fontsize=9, pad=3)
