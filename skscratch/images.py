"""Warping images, as noise for a denoising autoencoder or for training a classifier."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["RandomWarp"]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class RandomWarp:
    """Rotate, scale, shear and shift each image slightly and at random.

    An instance is a function of rows and a random generator, as the parameter `noise` of the
    networks accepts it. Pixels are interpolated linearly; those from outside the image are 0.

    Parameters
    ----------
    shape : tuple of int
        Height and width of the images; a row is an image, line by line.
    rotation : float, default=10.0
        Largest rotation, in degrees.
    shift : float, default=2.0
        Largest shift in each direction, in pixels.
    scale : float, default=0.1
        Largest change of size: 0.1 means from 10 % smaller to 10 % larger.
    shear : float, default=0.1
        Largest shift of a line, relative to its distance from the centre.
    noise : float, default=0.0
        Standard deviation of Gaussian noise that is added at the end.

    Raises
    ------
    ValueError
        If rows do not have height times width columns.

    See Also
    --------
    skscratch.AutoencoderTransformer : Its parameter `noise` accepts an instance.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_digits
    >>> from skscratch import AutoencoderTransformer
    >>> from skscratch.images import RandomWarp
    >>> X = load_digits().data / 16
    >>> warp = RandomWarp((8, 8), shift=0.5)
    >>> warp(X[:3], np.random.default_rng(0)).shape
    (3, 64)
    >>> encoder = AutoencoderTransformer(8, noise=warp, max_iter=5, random_state=0).fit(X)
    """

    shape: tuple[int, int]
    rotation: float = 10.0
    shift: float = 2.0
    scale: float = 0.1
    shear: float = 0.1
    noise: float = 0.0

    def __call__(self, X: Array, rng: np.random.Generator) -> Array:
        """Warp each row.

        Parameters
        ----------
        X : ndarray of shape (n_images, height * width)
            Images.
        rng : numpy.random.Generator
            Source of the random numbers.

        Returns
        -------
        ndarray of shape (n_images, height * width)
            The warped images, of the same dtype.
        """
        height, width = self.shape
        if X.shape[1] != height * width:
            raise ValueError(
                f"Images of {height} × {width} have {height * width} columns, but X has "
                f"{X.shape[1]}."
            )
        warped = self._interpolate(X, *self._sources(len(X), X.dtype, rng))
        if self.noise:
            warped += self.noise * rng.standard_normal(warped.shape, dtype=X.dtype)
        return warped

    def _sources(self, n: int, dtype: Any, rng: np.random.Generator) -> tuple[Array, Array]:
        """Return the source of each pixel in its image: line and column, with fractions."""
        height, width = self.shape
        draws = rng.uniform(-1, 1, size=(6, n, 1))
        angle = np.deg2rad(self.rotation) * draws[0]
        shear, shift = self.shear * draws[3], self.shift * draws[4:]
        tall, wide = 1 + self.scale * draws[1:3]
        cos, sin = np.cos(angle), np.sin(angle)
        # Coordinates relative to the centre, and an affine map of them for each image.
        lines, columns = (
            (axis.ravel() - (length - 1) / 2).astype(dtype)
            for axis, length in zip(np.indices(self.shape), self.shape, strict=True)
        )
        parts = (
            cos * tall,
            sin * wide + shear,
            shift[0] + (height - 1) / 2,
            -sin * tall,
            cos * wide,
            shift[1] + (width - 1) / 2,
        )
        a, b, c, d, e, f = (part.astype(dtype) for part in parts)
        return a * lines + b * columns + c, d * lines + e * columns + f

    def _interpolate(self, X: Array, line: Array, column: Array) -> Array:
        height, width = self.shape
        n = len(X)
        # A frame of zeros around each image, so that every pixel has its four neighbours.
        framed = np.zeros((n, height + 2, width + 2), X.dtype)
        framed[:, 1:-1, 1:-1] = X.reshape(n, height, width)
        pixels = framed.ravel()
        np.clip(line, -1, height - 1e-3, out=line)
        np.clip(column, -1, width - 1e-3, out=column)
        top, left = np.floor(line), np.floor(column)
        down, right = line - top, column - left
        stride = width + 2
        corner = (top.astype(np.intp) + 1) * stride + left.astype(np.intp) + 1
        corner += np.arange(n)[:, np.newaxis] * ((height + 2) * stride)
        upper = _between(pixels[corner], pixels[corner + 1], right)
        corner += stride
        return _between(upper, _between(pixels[corner], pixels[corner + 1], right), down)


def _between(a: Array, b: Array, share: Array) -> Array:
    """Interpolate linearly from a, where the share is 0, to b, where it is 1."""
    return np.asarray(a + share * (b - a))
