"""Coordinates of the rows, for when fewer of them than features suffice.

A solution is a combination of the rows. So n dense rows of any number of features are a problem of
at most n features: with ``X X^T = L L^T``, the rows of the Cholesky factor ``L`` have the same
inner products as those of X. Sparse rows do not need the features that no row has.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from scipy.linalg import lapack, solve_triangular

from skscratch.linear.arrays import Array
from skscratch.linear.products import count_places

__all__ = ["Coordinates", "fewer_coordinates"]

# More rows than this are not worth it: the factor takes a third of their number cubed.
MAX_ROWS = 2048
# Features must outnumber the coordinates by this factor.
MIN_RATIO = 2


class Coordinates(Protocol):
    """Coordinates of the rows, and of coefficients.

    ``rows`` are the coordinates of the rows, of shape (n_rows, n_coordinates), and ``exact`` tells
    whether they are free of rounding errors.
    """

    rows: Any
    exact: bool

    def coordinates(self, coef: Array) -> Array:
        """Return the part of coefficients that lies in the span of the rows, in coordinates."""

    def coefficients(self, coordinates: Array) -> Array:
        """Return coefficients of features."""


def fewer_coordinates(X: Any) -> Coordinates | None:
    """Return coordinates that are worth it, or None."""
    n_rows, n_features = X.shape
    if not isinstance(X, np.ndarray):
        used = np.flatnonzero(count_places(X.indices[: X.nnz], n_features))
        return UsedFeatures(X, used) if 0 < MIN_RATIO * len(used) <= n_features else None
    if X.dtype != np.float64 or n_rows > MAX_ROWS or n_features < MIN_RATIO * n_rows:
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        basis = RowBasis(X)
    return basis if basis.rank else None


class UsedFeatures:
    """The features that some row has; in the others all coordinates would be 0."""

    exact = True

    def __init__(self, X: Any, used: Array) -> None:
        self._used, self._n_features = used, X.shape[1]
        places = np.zeros(X.shape[1], X.indices.dtype)
        places[used] = np.arange(len(used))
        self.rows = type(X)(
            (X.data[: X.nnz], places[X.indices[: X.nnz]], X.indptr), (X.shape[0], len(used))
        )

    def coordinates(self, coef: Array) -> Array:
        """Return the coefficients of these features."""
        return coef[:, self._used]

    def coefficients(self, coordinates: Array) -> Array:
        """Return coefficients of all features."""
        coef = np.zeros((len(coordinates), self._n_features), coordinates.dtype)
        coef[:, self._used] = coordinates
        return coef


class RowBasis:
    """Coordinates of the rows of X in an orthonormal basis of their span.

    The basis is never formed: it spans the ``rank`` rows that the factorisation chose as pivots.
    ``rank`` is 0 if X holds too large values. Inner products lose what is small against the longest
    row, or against the largest column.
    """

    exact = False

    def __init__(self, X: Array) -> None:
        gram = X @ X.T
        self.rank = 0
        if not np.isfinite(gram).all():
            return
        factor, pivots, self.rank, _ = lapack.dpstrf(gram, lower=1)
        pivots -= 1
        lower = np.tril(factor)[:, : self.rank]
        self.rows = np.empty_like(lower, order="C")
        self.rows[pivots] = lower
        self._corner = lower[: self.rank]
        self._chosen = X[pivots[: self.rank]]

    def coordinates(self, coef: Array) -> Array:
        """Return the part of coefficients that lies in the span, in coordinates."""
        return self._solve(self._chosen @ coef.T, transposed=False).T

    def coefficients(self, coordinates: Array) -> Array:
        """Return coefficients of features."""
        combination = self._solve(coordinates.T, transposed=True)
        coef: Array = combination.T @ self._chosen
        return coef

    def _solve(self, b: Array, *, transposed: bool) -> Array:
        x: Array = solve_triangular(self._corner, b, trans=int(transposed), lower=True)
        return x
