"""Plots of fitted estimators, designed like scikit-learn's displays.

``from_estimator`` computes and draws; ``plot`` draws the computed data, can be called repeatedly,
and keeps the result (``ax_``, ``figure_``). Nothing is computed twice, and matplotlib is imported
only when something is drawn, so that a server without a screen can import this module.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.decomposition import PCA
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import check_is_fitted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PathCollection
    from matplotlib.colorbar import Colorbar
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage
    from matplotlib.legend import Legend
    from matplotlib.lines import Line2D

__all__ = ["LatentSpaceDisplay", "LossCurveDisplay", "ReconstructionDisplay"]

Array = npt.NDArray[Any]

# Paul Tol's "muted" colours and a grey: most colour-blind readers can distinguish them.
COLOURS = (
    "#332288",
    "#88CCEE",
    "#44AA99",
    "#117733",
    "#999933",
    "#DDCC77",
    "#CC6677",
    "#882255",
    "#AA4499",
    "#777777",
)
# Each class also has a marker, so that readers need not rely on colour alone. The numbers of
# colours and of markers have no common divisor, so 110 classes all look different.
MARKERS = ("o", "s", "^", "v", "d", "P", "X", "<", ">", "*", "p")
# Two colours that remain distinct in every kind of colour blindness, and in grey.
TRAINING, VALIDATION = "#0072B2", "#D55E00"


def _axes(ax: Axes | None, figsize: tuple[float, float] | None = None) -> tuple[Axes, Figure]:
    """Return the axes to draw on, by default new ones, and their figure."""
    if ax is None:
        try:
            from matplotlib import pyplot
        except ModuleNotFoundError as error:
            raise ImportError(
                "Displays need matplotlib, which is not installed: pip install 'skscratch[plot]'"
            ) from error

        _, ax = pyplot.subplots(figsize=figsize, layout="constrained")
    figure = ax.get_figure(root=True)
    assert figure is not None, "axes without a figure cannot be drawn on"
    return ax, figure


class LossCurveDisplay:
    """The loss of each epoch, on the training rows and on the validation rows.

    Make it with :meth:`from_estimator`.

    Parameters
    ----------
    loss_curve : sequence of float
        Loss of each epoch on the training rows.
    validation_loss_curve : sequence of float or None, default=None
        Loss of each epoch on the validation rows.
    estimator_name : str or None, default=None
        Name of the estimator in the title.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Axes of the curves.
    figure_ : matplotlib.figure.Figure
        Figure of the axes.
    line_ : matplotlib.lines.Line2D
        The training curve.
    validation_line_ : matplotlib.lines.Line2D or None
        The validation curve.

    See Also
    --------
    ReconstructionDisplay : Originals above their reconstructions.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("Agg")
    >>> from sklearn.datasets import load_digits
    >>> from skscratch import AutoencoderTransformer
    >>> from skscratch.display import LossCurveDisplay
    >>> X = load_digits().data[:200] / 16
    >>> encoder = AutoencoderTransformer(n_components=4, max_iter=3, random_state=0)
    >>> display = LossCurveDisplay.from_estimator(encoder.fit(X[:150], X_val=X[150:]))
    >>> display.ax_.get_xlabel()
    'epoch'
    >>> len(display.line_.get_ydata())
    3
    >>> matplotlib.pyplot.close(display.figure_)
    """

    ax_: Axes
    figure_: Figure
    line_: Line2D
    validation_line_: Line2D | None

    def __init__(
        self,
        loss_curve: Sequence[float],
        validation_loss_curve: Sequence[float] | None = None,
        *,
        estimator_name: str | None = None,
    ) -> None:
        self.loss_curve = loss_curve
        self.validation_loss_curve = validation_loss_curve
        self.estimator_name = estimator_name

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        log_scale: bool = False,
        name: str | None = None,
        ax: Axes | None = None,
        **line_kwargs: Any,
    ) -> Self:
        """Draw the loss curves of a fitted estimator.

        Parameters
        ----------
        estimator : estimator instance
            A fitted estimator with ``loss_curve_``, and ``validation_loss_curve_`` if it has one.
        log_scale : bool, default=False
            Draw the loss on a logarithmic scale.
        name : str or None, default=None
            Name of the estimator in the title; None means the name of its class.
        ax : matplotlib.axes.Axes or None, default=None
            Axes to draw on; None creates a new figure.
        **line_kwargs : dict
            Further arguments for :meth:`matplotlib.axes.Axes.plot`.

        Returns
        -------
        LossCurveDisplay
            The display, drawn.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        ValueError
            If it has no loss curve.
        """
        check_is_fitted(estimator)
        kind = type(estimator).__name__
        loss_curve = getattr(estimator, "loss_curve_", None)
        if not loss_curve:
            raise ValueError(
                f"This {kind} has no loss curve. The neural networks of this package store one in "
                "`loss_curve_`, unless they were fitted with solver='lbfgs'."
            )
        validation = getattr(estimator, "validation_loss_curve_", None)
        display = cls(list(loss_curve), validation and list(validation), estimator_name=kind)
        return display.plot(ax, log_scale=log_scale, name=name, **line_kwargs)

    def plot(
        self,
        ax: Axes | None = None,
        *,
        log_scale: bool = False,
        name: str | None = None,
        **line_kwargs: Any,
    ) -> Self:
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib.axes.Axes or None, default=None
            Axes to draw on; None creates a new figure.
        log_scale : bool, default=False
            Draw the loss on a logarithmic scale.
        name : str or None, default=None
            Name of the estimator in the title; None means `estimator_name`.
        **line_kwargs : dict
            Further arguments for :meth:`matplotlib.axes.Axes.plot`, for both lines.

        Returns
        -------
        LossCurveDisplay
            The display itself.
        """
        self.ax_, self.figure_ = _axes(ax)
        # A curve of one epoch is a point, which a line without markers does not show.
        style = {"marker": "o" if len(self.loss_curve) == 1 else None, **line_kwargs}
        self.line_ = self._line(self.loss_curve, "training", **{"color": TRAINING, **style})
        self.validation_line_ = None
        if self.validation_loss_curve is not None:
            curve = self.validation_loss_curve
            dashed = {"color": VALIDATION, "linestyle": "--", **style}
            self.validation_line_ = self._line(curve, "validation", **dashed)
        self.ax_.set(xlabel="epoch", ylabel="loss")
        # Epochs are integers, so their ticks should be.
        self.ax_.locator_params(axis="x", integer=True)
        name = self.estimator_name if name is None else name
        if name:
            self.ax_.set_title(f"Loss of {name}")
        if log_scale:
            self.ax_.set_yscale("log")
        self.ax_.grid(alpha=0.3)
        self.ax_.legend()
        return self

    def _line(self, curve: Sequence[float], label: str, **kwargs: Any) -> Line2D:
        epochs = np.arange(1, len(curve) + 1)
        (line,) = self.ax_.plot(epochs, curve, **{"label": label, **kwargs})
        return line


class ReconstructionDisplay:
    """Original images above their reconstructions by an autoencoder.

    Make it with :meth:`from_estimator`. All images are drawn as one, so it fits on any axes.

    Parameters
    ----------
    originals : ndarray of shape (n_images, n_pixels)
        The images, one flat row each.
    reconstructions : ndarray of shape (n_images, n_pixels)
        Their reconstructions.
    image_shape : tuple of (int, int)
        Rows and columns of one image.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Axes of the images.
    figure_ : matplotlib.figure.Figure
        Figure of the axes.
    image_ : matplotlib.image.AxesImage
        The drawing of all images.

    See Also
    --------
    LossCurveDisplay : The loss of each epoch.

    Examples
    --------
    It works for any estimator with ``transform`` and ``inverse_transform``, such as PCA.

    >>> import matplotlib
    >>> matplotlib.use("Agg")
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.decomposition import PCA
    >>> from skscratch.display import ReconstructionDisplay
    >>> X = load_digits().data
    >>> display = ReconstructionDisplay.from_estimator(PCA(8).fit(X), X, n_images=3)
    >>> display.image_shape
    (8, 8)
    >>> [label.get_text() for label in display.ax_.get_yticklabels()]
    ['original', 'reconstruction']
    >>> matplotlib.pyplot.close(display.figure_)
    """

    ax_: Axes
    figure_: Figure
    image_: AxesImage

    def __init__(
        self, originals: Array, reconstructions: Array, *, image_shape: tuple[int, int]
    ) -> None:
        self.originals = originals
        self.reconstructions = reconstructions
        self.image_shape = image_shape

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        n_images: int = 10,
        image_shape: tuple[int, int] | None = None,
        ax: Axes | None = None,
        **image_kwargs: Any,
    ) -> Self:
        """Reconstruct the first rows of X and draw them below the originals.

        Parameters
        ----------
        estimator : estimator instance
            A fitted estimator with ``transform`` and ``inverse_transform``.
        X : array-like of shape (n_samples, n_pixels)
            Images, one flat row each.
        n_images : int, default=10
            Largest number of rows to draw.
        image_shape : tuple of (int, int) or None, default=None
            Rows and columns of one image; None means a square.
        ax : matplotlib.axes.Axes or None, default=None
            Axes to draw on; None creates a new figure.
        **image_kwargs : dict
            Further arguments for :meth:`matplotlib.axes.Axes.imshow`.

        Returns
        -------
        ReconstructionDisplay
            The display, drawn.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        ValueError
            If `image_shape` has the wrong number of pixels, or is None and the pixels do not form a
            square; if `n_images` is less than 1; if X is not two-dimensional or has no rows.
        TypeError
            If the estimator cannot reconstruct.
        """
        if not (hasattr(estimator, "transform") and hasattr(estimator, "inverse_transform")):
            raise TypeError(
                f"{type(estimator).__name__} cannot reconstruct: it needs `transform` and "
                "`inverse_transform`, as AutoencoderTransformer and PCA have."
            )
        if n_images < 1:
            raise ValueError(f"n_images must be at least 1, got {n_images}.")
        rows = _dense_rows(X)[:n_images]
        shape = _image_shape(rows.shape[1], image_shape)
        check_is_fitted(estimator)
        rebuilt = np.asarray(estimator.inverse_transform(estimator.transform(rows)))
        return cls(rows, rebuilt, image_shape=shape).plot(ax, **image_kwargs)

    def plot(self, ax: Axes | None = None, **image_kwargs: Any) -> Self:
        """Draw the images.

        Parameters
        ----------
        ax : matplotlib.axes.Axes or None, default=None
            Axes to draw on; None creates a new figure.
        **image_kwargs : dict
            Further arguments for :meth:`matplotlib.axes.Axes.imshow`. By default, both rows share
            the grey scale of the originals.

        Returns
        -------
        ReconstructionDisplay
            The display itself.
        """
        n, height = len(self.originals), self.image_shape[0]
        self.ax_, self.figure_ = _axes(ax, (max(3.0, 0.8 * n + 1.2), 2.2))
        scale = {"vmin": self.originals.min(), "vmax": self.originals.max()}
        self.image_ = self.ax_.imshow(self._mosaic(), **{"cmap": "gray_r", **scale, **image_kwargs})
        middle = (height - 1) / 2
        labels = ["original", "reconstruction"]
        self.ax_.set_yticks([middle, middle + height + 1], labels=labels)
        self.ax_.set_xticks([])
        self.ax_.tick_params(length=0)
        self.ax_.spines[:].set_visible(False)
        return self

    def _mosaic(self) -> Array:
        """Put all images into one array; the gaps between them are NaN, which is not drawn."""
        n, (height, width) = len(self.originals), self.image_shape
        mosaic = np.full((2 * height + 1, n * (width + 1) - 1), np.nan)
        for top, images in ((0, self.originals), (height + 1, self.reconstructions)):
            for k, image in enumerate(images):
                left = k * (width + 1)
                mosaic[top : top + height, left : left + width] = image.reshape(height, width)
        return mosaic


class LatentSpaceDisplay:
    """Rows in the latent space of an encoder, in two dimensions, coloured by class.

    Make it with :meth:`from_estimator`. If there are more than two latent features, their first two
    principal components are drawn, and the axis labels state how much variance these explain.

    Parameters
    ----------
    coordinates : ndarray of shape (n_samples, 2)
        The points to draw.
    y : ndarray of shape (n_samples,) or None, default=None
        Labels, or numbers for a colour bar.
    axis_names : tuple of (str, str), default=("latent feature 1", "latent feature 2")
        Labels of the axes.
    explained_variance_ratio : tuple of (float, float) or None, default=None
        Fraction of the latent features' variance along each axis, if they were projected.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Axes of the points.
    figure_ : matplotlib.figure.Figure
        Figure of the axes.
    points_ : list of matplotlib.collections.PathCollection
        The points, one collection for each class in the order of the classes.
    legend_ : matplotlib.legend.Legend or None
        The legend, if `y` holds labels.
    colorbar_ : matplotlib.colorbar.Colorbar or None
        The colour bar, if `y` holds numbers.

    See Also
    --------
    sklearn.decomposition.PCA : The projection.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("Agg")
    >>> from sklearn.datasets import load_digits
    >>> from skscratch import AutoencoderTransformer
    >>> from skscratch.display import LatentSpaceDisplay
    >>> X, y = load_digits(return_X_y=True)
    >>> encoder = AutoencoderTransformer(n_components=2, max_iter=3, random_state=0).fit(X / 16)
    >>> display = LatentSpaceDisplay.from_estimator(encoder, X / 16, y)
    >>> display.ax_.get_xlabel()
    'latent feature 1'
    >>> len(display.points_)
    10
    >>> matplotlib.pyplot.close(display.figure_)
    """

    ax_: Axes
    figure_: Figure
    points_: list[PathCollection]
    legend_: Legend | None
    colorbar_: Colorbar | None

    def __init__(
        self,
        coordinates: Array,
        y: Array | None = None,
        *,
        axis_names: tuple[str, str] = ("latent feature 1", "latent feature 2"),
        explained_variance_ratio: tuple[float, float] | None = None,
    ) -> None:
        self.coordinates = coordinates
        self.y = y
        self.axis_names = axis_names
        self.explained_variance_ratio = explained_variance_ratio

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any = None,
        *,
        ax: Axes | None = None,
        **scatter_kwargs: Any,
    ) -> Self:
        """Transform X and draw the result.

        Parameters
        ----------
        estimator : estimator instance
            A fitted estimator with ``transform``.
        X : array-like of shape (n_samples, n_features)
            Rows to encode.
        y : array-like of shape (n_samples,) or None, default=None
            Labels or numbers that determine the colours of the points.
        ax : matplotlib.axes.Axes or None, default=None
            Axes to draw on; None creates a new figure.
        **scatter_kwargs : dict
            Further arguments for :meth:`matplotlib.axes.Axes.scatter`.

        Returns
        -------
        LatentSpaceDisplay
            The display, drawn.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        ValueError
            If there is only one latent feature, or only one row for several, or if the lengths of
            `y` and X differ.
        TypeError
            If the estimator has no ``transform``.
        """
        if not hasattr(estimator, "transform"):
            raise TypeError(
                f"{type(estimator).__name__} has no latent space to draw: it needs `transform`."
            )
        check_is_fitted(estimator)
        latent = np.asarray(estimator.transform(X))
        if latent.ndim != 2 or latent.shape[1] < 2:
            raise ValueError(
                "A view in two dimensions needs at least 2 latent features, but transform returns "
                f"an array of shape {latent.shape}. Draw a single feature as a histogram."
            )
        labels = None if y is None else np.asarray(y)
        if labels is not None and labels.shape != (len(latent),):
            raise ValueError(
                f"y must hold one label for each of the {len(latent)} rows, but its shape is "
                f"{labels.shape}."
            )
        return cls._of_latent(latent, labels).plot(ax, **scatter_kwargs)

    @classmethod
    def _of_latent(cls, latent: Array, y: Array | None) -> Self:
        if latent.shape[1] == 2:
            return cls(latent, y)
        if len(latent) < 2:
            raise ValueError("A projection to two dimensions needs at least 2 rows, got 1.")
        pca = PCA(2, svd_solver="full")
        # If all latent features are constant, the ratios are 0 / 0.
        with np.errstate(invalid="ignore"):
            coordinates = pca.fit_transform(latent.astype(np.float64))
        first, second = np.nan_to_num(pca.explained_variance_ratio_)
        names = (
            f"principal component 1 ({first:.0%} of the latent variance)",
            f"principal component 2 ({second:.0%})",
        )
        ratio = (float(first), float(second))
        return cls(coordinates, y, axis_names=names, explained_variance_ratio=ratio)

    def plot(self, ax: Axes | None = None, **scatter_kwargs: Any) -> Self:
        """Draw the points.

        Parameters
        ----------
        ax : matplotlib.axes.Axes or None, default=None
            Axes to draw on; None creates a new figure.
        **scatter_kwargs : dict
            Further arguments for :meth:`matplotlib.axes.Axes.scatter`.

        Returns
        -------
        LatentSpaceDisplay
            The display itself.
        """
        self.ax_, self.figure_ = _axes(ax, (7.0, 5.5))
        self.legend_, self.colorbar_ = None, None
        style = {"s": 12.0, "alpha": 0.8, "linewidths": 0.0, **scatter_kwargs}
        if self.y is None:
            self.points_ = [self._scatter(slice(None), **{"color": TRAINING, **style})]
        elif type_of_target(self.y).startswith("continuous"):
            self.points_ = [self._scatter(slice(None), **{"c": self.y, "cmap": "cividis", **style})]
            self.colorbar_ = self.figure_.colorbar(self.points_[0], ax=self.ax_, label="y")
        else:
            self._plot_classes(self.y, style)
        self.ax_.set(xlabel=self.axis_names[0], ylabel=self.axis_names[1])
        return self

    def _plot_classes(self, y: Array, style: dict[str, Any]) -> None:
        self.points_ = []
        for k, label in enumerate(np.unique(y)):
            look = {"color": COLOURS[k % len(COLOURS)], "marker": MARKERS[k % len(MARKERS)]}
            self.points_.append(self._scatter(y == label, **{"label": str(label), **look, **style}))
        # Outside the axes, because points may lie in every corner.
        self.legend_ = self.ax_.legend(
            title="class",
            loc="upper left",
            bbox_to_anchor=(1.01, 1.0),
            borderaxespad=0.0,
            markerscale=2.0,
            ncols=math.ceil(len(self.points_) / 20),
        )

    def _scatter(self, rows: Any, **kwargs: Any) -> PathCollection:
        x, y = self.coordinates[rows].T
        return self.ax_.scatter(x, y, **kwargs)


def _dense_rows(X: Any) -> Array:
    """Return X as rows of pixels; raise a ValueError if it is not two-dimensional, or empty."""
    rows = X.toarray() if hasattr(X, "toarray") else np.asarray(X)
    if rows.ndim != 2 or len(rows) == 0:
        raise ValueError(
            f"X must hold at least one image as a flat row, but its shape is {rows.shape}."
        )
    return rows


def _image_shape(n_pixels: int, image_shape: tuple[int, int] | None) -> tuple[int, int]:
    """Return the shape of an image with this number of pixels, by default a square."""
    if image_shape is None:
        side = math.isqrt(n_pixels)
        if side * side != n_pixels:
            raise ValueError(
                f"The images have {n_pixels} pixels, which do not form a square. Pass "
                "image_shape=(rows, columns)."
            )
        return side, side
    shape = tuple(int(side) for side in image_shape)
    if len(shape) != 2 or min(shape) < 1 or shape[0] * shape[1] != n_pixels:
        raise ValueError(
            f"image_shape must be two numbers whose product is {n_pixels}, the number of pixels; "
            f"got {image_shape!r}."
        )
    return shape[0], shape[1]
