"""Dense rows of many features: their coordinates in an orthonormal basis of their span.

A solution is a combination of the rows, so that n rows of any number of features are a problem of
at most n features. With ``X X^T = L L^T``, the rows of the Cholesky factor ``L`` have the same
inner products as those of X.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.linalg import lapack, solve_triangular

from skscratch.linear.arrays import Array

__all__ = ["RowBasis", "is_for_basis"]

# More rows than this are not worth it: the factor takes a third of their number cubed.
MAX_ROWS = 2048
# The features must outnumber the rows by this factor.
MIN_RATIO = 2


def is_for_basis(X: Any) -> bool:
    """Return whether X has few dense rows of many features, in float64."""
    if not isinstance(X, np.ndarray) or X.dtype != np.float64:
        return False
    return len(X) <= MAX_ROWS and X.shape[1] >= MIN_RATIO * len(X)


class RowBasis:
    """Coordinates of the rows of X in an orthonormal basis of their span.

    ``rows`` are the coordinates, of shape (n_rows, rank). The basis is never formed: it spans the
    ``rank`` rows that the factorisation chose as pivots.
    """

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
