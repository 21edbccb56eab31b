"""The arrays of this package: shapes (problems, columns, rows) or (problems, columns, features).

One-versus-rest is many problems of one column each; the joint machine of Crammer and Singer is one
problem of many columns.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Array", "inner", "per_problem", "rounding_unit"]

Array = NDArray[Any]


def inner(A: Array, B: Array) -> Array:
    """Return the inner product of each problem, accumulated in float64: (problems,)."""
    product: Array = np.einsum("pcf,pcf->p", A, B, dtype=np.float64)
    return product


def per_problem(values: Array, dtype: np.dtype[Any]) -> Array:
    """Return one value for each problem, shaped to broadcast: (problems, 1, 1)."""
    return np.asarray(values, dtype)[:, None, None]


def rounding_unit(dtype: np.dtype[Any]) -> float:
    """Return the distance from 1 to the next number of this dtype."""
    return float(np.finfo(dtype).eps)
