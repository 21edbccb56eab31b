"""The autoencoder: how well a few numbers keep an image.

It never sees the test images: its best epoch is chosen on images that are held out from the
training part. Principal components, as many as there are latent features, stand beside it as the
best that a linear encoder can do.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split

from skscratch import AutoencoderTransformer
from skscratch.datasets import Images
from skscratch.experiments.progress import Stage, report_epochs

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class AutoencoderResult:
    """A trained autoencoder and its mean squared errors, over all pixels of images in [0, 1].

    Parameters
    ----------
    encoder : AutoencoderTransformer
        The fitted autoencoder.
    n_train, n_validation : int
        Images it was trained on, and images held out.
    seconds : float
        Time of the training.
    train_mse, test_mse : float
        Error on all training images, those held out included, and on the test images.
    pca_test_mse : float
        Error on the test images of as many principal components.
    """

    encoder: AutoencoderTransformer = field(repr=False)
    n_train: int
    n_validation: int
    seconds: float
    train_mse: float
    test_mse: float
    pca_test_mse: float


def run_autoencoder(
    images: Images,
    parameters: Mapping[str, Any],
    *,
    n_validation: int,
    seed: int = 0,
    n_jobs: int | None = None,
    on_epoch: Stage | None = None,
) -> AutoencoderResult:
    """Train an autoencoder and measure it on the test images.

    Parameters
    ----------
    images : Images
        Training and test images.
    parameters : mapping
        Parameters of the AutoencoderTransformer.
    n_validation : int
        Training images to hold out for choosing the best epoch.
    seed : int, default=0
        Seed of the split and of the training.
    n_jobs : int or None, default=None
        Threads, as the estimator understands it.
    on_epoch : Stage or None, default=None
        Called after each epoch, with a line of text, if scikit-learn has callbacks (1.9 or newer).

    Returns
    -------
    AutoencoderResult
        The autoencoder and its figures.

    Raises
    ------
    ValueError
        If fewer images than classes are held out, or all of them.

    Examples
    --------
    >>> from skscratch.datasets import load_digits
    >>> from skscratch.experiments import run_autoencoder
    >>> parameters = {"n_components": 8, "hidden_layer_sizes": (), "max_iter": 5}
    >>> result = run_autoencoder(load_digits(), parameters, n_validation=100)
    >>> result.n_train, result.n_validation
    (1337, 100)
    """
    X, X_val = train_test_split(
        images.X_train, test_size=n_validation, stratify=images.y_train, random_state=seed
    )
    encoder = AutoencoderTransformer(**parameters, random_state=seed, n_jobs=n_jobs)
    if on_epoch is not None:
        report_epochs(encoder, on_epoch)
    started = time.perf_counter()
    encoder.fit(X, X_val=X_val)
    seconds = time.perf_counter() - started
    encoder.set_callbacks()
    return summarise(encoder, images, n_validation=n_validation, seconds=seconds)


def summarise(
    encoder: AutoencoderTransformer, images: Images, *, n_validation: int, seconds: float
) -> AutoencoderResult:
    """Measure a trained autoencoder on all images.

    Parameters
    ----------
    encoder : AutoencoderTransformer
        The fitted autoencoder.
    images : Images
        Training and test images.
    n_validation : int
        How many training images were held out.
    seconds : float
        How long it was trained.

    Returns
    -------
    AutoencoderResult
        The autoencoder and its figures.
    """
    n_components = min(encoder.n_components, *images.X_train.shape)
    pca = PCA(n_components, svd_solver="covariance_eigh").fit(images.X_train)
    return AutoencoderResult(
        encoder,
        n_train=len(images.X_train) - n_validation,
        n_validation=n_validation,
        seconds=seconds,
        train_mse=mean_squared_error(images.X_train, encoder.reconstruct(images.X_train)),
        test_mse=mean_squared_error(images.X_test, encoder.reconstruct(images.X_test)),
        pca_test_mse=mean_squared_error(
            images.X_test, pca.inverse_transform(pca.transform(images.X_test))
        ),
    )


def mean_squared_error(images: Array, reconstructions: Array) -> float:
    """Return the mean over all images and pixels, added up in double precision.

    Parameters
    ----------
    images, reconstructions : ndarray of shape (n_images, n_pixels)
        What to compare.

    Returns
    -------
    float
        The mean of the squared differences.
    """
    difference = np.subtract(images, reconstructions)
    return float(np.square(difference).mean(dtype=np.float64))
