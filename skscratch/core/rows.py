"""Training data that are read a few rows at a time."""

from __future__ import annotations

from typing import Any, Protocol, TypeGuard

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from skscratch.core.functions import Array

Index = slice | NDArray[np.intp]
# Entries of a product of sparse rows that are computed at a time.
PRODUCT_ENTRIES = 1 << 17


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


class SparseRows:
    """The rows of a sparse matrix, which is kept in the CSR format."""

    def __init__(self, matrix: Any) -> None:
        self.matrix = sparse.csr_array(matrix)
        self.shape: tuple[int, ...] = self.matrix.shape

    def take(self, rows: Index, out: Array) -> Array:
        """Return these rows as a dense array, in `out`."""
        self.take_sparse(rows, out.dtype).toarray(out=out)
        return out

    def take_sparse(self, rows: Index, dtype: np.dtype[Any]) -> Any:
        """Return these rows as a CSR array of a dtype, without copying the entries of a slice."""
        taken = self._view(rows) if isinstance(rows, slice) else self.matrix[rows]
        return taken.astype(dtype, copy=False)

    def n_stored(self, rows: Index) -> int:
        """Return the number of entries that are stored for these rows."""
        return int(np.diff(self.matrix.indptr)[rows].sum())

    def _view(self, rows: slice) -> Any:
        X = self.matrix
        start, stop = rows.start, min(rows.stop, X.shape[0])
        first, last = X.indptr[start], X.indptr[stop]
        # The constructor would copy views that cover less than half of their array.
        view = sparse.csr_array((stop - start, X.shape[1]), dtype=X.dtype)
        view.data, view.indices = X.data[first:last], X.indices[first:last]
        view.indptr = X.indptr[start : stop + 1] - first
        return view


class RowSubset:
    """The rows of these numbers; nothing is copied until it is taken."""

    def __init__(self, rows: Rows, chosen: NDArray[np.intp]) -> None:
        self.rows, self.chosen = rows, chosen
        self.shape = (len(chosen), *rows.shape[1:])

    def take(self, rows: Index, out: Array) -> Array:
        """Return these rows of the subset."""
        return self.rows.take(self.chosen[rows], out)

    def take_sparse(self, rows: Index, dtype: np.dtype[Any]) -> Any:
        """Return these rows of a subset of sparse rows as a CSR array."""
        assert is_sparse(self.rows)
        return self.rows.take_sparse(self.chosen[rows], dtype)

    def n_stored(self, rows: Index) -> int:
        """Return the number of entries that are stored for these rows."""
        assert is_sparse(self.rows)
        return self.rows.n_stored(self.chosen[rows])


def is_sparse(rows: Rows) -> TypeGuard[SparseRows | RowSubset]:
    """Return whether rows can be taken without making them dense."""
    return isinstance(rows, SparseRows) or (isinstance(rows, RowSubset) and is_sparse(rows.rows))


def as_rows(data: Any) -> Rows:
    """Return an array, a sparse matrix or rows as rows to take from."""
    if isinstance(data, np.ndarray):
        return ArrayRows(data)
    rows: Rows = SparseRows(data) if sparse.issparse(data) else data
    return rows


def canonical(X: Any) -> Any:
    """Return sparse rows sorted and without duplicates, copied if necessary; others as they are.

    SciPy would sort and add up in place, in the caller's arrays.
    """
    if not sparse.issparse(X) or X.has_canonical_format:
        return X
    X = X.copy()
    X.sum_duplicates()
    return X


def value_range(X: Any) -> tuple[float, float]:
    """Return the smallest and the largest value of X, the zeros of sparse rows included."""
    if not sparse.issparse(X):
        return float(X.min()), float(X.max())
    X = canonical(sparse.csr_array(X))
    ends = [float(end(X.data)) for end in (np.min, np.max) if X.nnz]
    if X.nnz < X.shape[0] * X.shape[1]:
        ends.append(0.0)
    return min(ends), max(ends)


def add_transposed_product(x: Any, dy: Array, out: Array) -> None:
    """Add xᵀ dy to `out` for sparse x, at the cost of its entries: other rows are not touched.

    `out` has a row for each column of x, and may be much larger than x and dy together.
    """
    columns = x.tocsc()
    used = np.flatnonzero(np.diff(columns.indptr))
    n = max(1, PRODUCT_ENTRIES // dy.shape[1])
    for place in range(0, len(used), n):
        some = used[place : place + n]
        first, last = columns.indptr[some[0]], columns.indptr[some[-1] + 1]
        starts = np.append(columns.indptr[some], last) - first
        part = sparse.csr_array(
            (columns.data[first:last], columns.indices[first:last], starts),
            shape=(len(some), x.shape[0]),
        )
        out[some] += part @ dy


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
