"""Training data that are read a few rows at a time."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from skscratch.core.functions import Array

Index = slice | NDArray[np.intp]


class Rows(Protocol):
    """Training data that are read a few rows at a time.

    The same rows must have the same values at every call: a full batch is taken only once.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of rows and of columns."""

    def take(self, rows: Index, out: Array) -> Array:
        """Return these rows, dense and in the dtype of `out`; using its memory is optional."""


class ArrayRows:
    """The rows of an array of any dtype, read-only and memory-mapped ones included."""

    def __init__(self, array: Array) -> None:
        self.array = array
        self.shape = array.shape
        # For arrays of another memory order NumPy's take copies the whole array at every call.
        self._contiguous = bool(array.flags.c_contiguous)

    def take(self, rows: Index, out: Array) -> Array:
        """Return these rows: a view if possible, else a copy in `out`."""
        if self.array.dtype != out.dtype or not self._contiguous:
            out[...] = self.array[rows]
            return out
        if isinstance(rows, slice):
            return self.array[rows]
        # Without mode="clip", take buffers the output.
        return np.take(self.array, rows, axis=0, out=out, mode="clip")


class RowSubset:
    """The rows of these numbers; nothing is copied until it is taken."""

    def __init__(self, rows: Rows, chosen: NDArray[np.intp]) -> None:
        self.rows, self.chosen = rows, chosen
        self.shape = (len(chosen), *rows.shape[1:])

    def take(self, rows: Index, out: Array) -> Array:
        """Return these rows of the subset."""
        return self.rows.take(self.chosen[rows], out)


def as_rows(data: Array | Rows) -> Rows:
    """Return `data` as rows to take from."""
    return ArrayRows(data) if isinstance(data, np.ndarray) else data


def as_columns(weight: Array | None, n: int) -> Array | None:
    """Return weights as one or more columns of float64, so that small ones do not become 0."""
    if weight is None:
        return None
    columns = np.asarray(weight, dtype=np.float64)
    if columns.ndim not in (1, 2) or len(columns) != n or not columns.min() >= 0:
        raise ValueError(
            f"weight must be at least 0 and have {n} rows, got an array of shape {columns.shape}."
        )
    return columns.reshape(n, -1)


def within(rows: Index, start: int, stop: int) -> Index:
    """Return the part of an index from `start` to `stop`."""
    if isinstance(rows, slice):
        return slice(rows.start + start, rows.start + stop)
    return rows[start:stop]
