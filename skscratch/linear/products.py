"""Products with X, dense or CSR, and with a constant column that is never stored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Generic, TypeVar

import numpy as np
from scipy import sparse

from skscratch.linear.arrays import Array

__all__ = [
    "Features",
    "Run",
    "as_dense",
    "blocks_of_entries",
    "count_places",
    "run_serially",
    "square_sums",
    "transposed_view",
    "view_of_rows",
]

# Rows gathered at a time for a Gram matrix: large enough for BLAS, small enough to copy.
BLOCK_ROWS = 8192
# Entries of X that one thread multiplies at a time, casting them first if the dtypes differ. Sparse
# rows are multiplied with fewer coefficients at a time, but each entry takes longer.
PIECE_ENTRIES = 2**21
SPARSE_PIECE_ENTRIES = 2**18
# Entries of sparse rows that are copied at a time, at least.
SUMMED_ENTRIES = 2**14
# Sparse rows are made dense in blocks of at most this many entries.
DENSE_ENTRIES = 2**20
# Sparse rows are multiplied with this many coefficients at a time: the work is then shared without
# a copy of all coefficients for each thread.
SPARSE_COLUMNS = 5
# Rows per feature from which the spectrum is estimated: a preconditioner need not be exact.
SPECTRUM_ROWS = 8

Job = Callable[[], Any]
Run = Callable[[Sequence[Job]], Any]


def run_serially(jobs: Sequence[Job]) -> None:
    """Run jobs one after the other."""
    for job in jobs:
        job()


Value = TypeVar("Value")


class computed_once(Generic[Value]):  # noqa: N801  a decorator, named like functools' own
    """Like `functools.cached_property`, without a lock.

    Before Python 3.12, `cached_property` has one lock for all instances: threads would wait for
    each other, and a child process forked while the lock is held would wait forever.
    """

    def __init__(self, compute: Callable[[Any], Value]) -> None:
        self.compute, self.name = compute, compute.__name__
        self.__doc__ = compute.__doc__

    def __get__(self, owner: Any, kind: type) -> Value:
        value = vars(owner)[self.name] = self.compute(owner)
        return value


@dataclass(frozen=True)
class Features:
    """X with one more column that holds the constant ``bias``, or X alone if that is None.

    The column is never stored. ``X`` is an array or a CSR matrix. Results have the dtype
    ``precision``; if X has another, an array is cast piece by piece and never as a whole.
    """

    X: Any
    bias: float | None
    precision: np.dtype[Any]
    run: Run = run_serially

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and of columns, the constant one included."""
        n_rows, n_features = self.X.shape
        return int(n_rows), int(n_features) + (self.bias is not None)

    @property
    def is_dense(self) -> bool:
        """Whether X is an array."""
        return isinstance(self.X, np.ndarray)

    @property
    def n_stored(self) -> int:
        """Number of entries that a product with X reads."""
        return int(self.X.size) if self.is_dense else int(self.X.nnz)

    def take(self, rows: Array | slice) -> Features:
        """Return the features of these rows."""
        return replace(self, X=self.X[rows])

    @computed_once
    def pieces(self) -> list[tuple[slice, Any]]:
        """Views of X that one thread multiplies at a time, each with its rows.

        The cut depends on sizes alone, so that the number of threads changes no bit of a result.
        """
        n_rows = self.X.shape[0]
        n_entries = PIECE_ENTRIES if self.is_dense else SPARSE_PIECE_ENTRIES
        size = max(1, n_entries * n_rows // max(1, self.n_stored))
        cuts = [slice(first, min(first + size, n_rows)) for first in range(0, n_rows, size)]
        view = self.X.__getitem__ if self.is_dense else partial(view_of_rows, self.X)
        return [(cut, view(cut)) for cut in cuts]

    def scores(self, W: Array) -> Array:
        """Return (problems, columns, rows) for coefficients (problems, columns, features)."""
        flat = W.reshape(-1, W.shape[-1])
        n_features = self.X.shape[1]
        Z = np.empty((len(flat), self.X.shape[0]), W.dtype)
        for some in self._groups_of_columns(len(flat)):
            transposed = np.ascontiguousarray(flat[some, :n_features].T)

            def multiply(cut: slice, piece: Any) -> None:
                Z[some, cut] = (self._cast(piece) @ transposed).T  # noqa: B023  used at once

            self.run([partial(multiply, *piece) for piece in self.pieces])
        if self.bias is not None:
            Z += self.bias * flat[:, n_features:]
        return Z.reshape(*W.shape[:-1], self.X.shape[0])

    def _groups_of_columns(self, n_columns: int) -> list[slice]:
        """Return which coefficients to multiply at a time; they are copied for it."""
        size = n_columns if self.is_dense else SPARSE_COLUMNS
        return [slice(first, first + size) for first in range(0, n_columns, size)]

    def scores_transposed(self, R: Array) -> Array:
        """Return the transpose of ``scores`` applied to ``R`` (problems, columns, rows)."""
        flat = R.reshape(R.shape[0] * R.shape[1], R.shape[2])
        n_features = self.X.shape[1]
        W = np.empty((len(flat), self.shape[1]), R.dtype)
        if self.is_dense:
            W[:, :n_features] = self._multiply_transposed(flat)
        else:
            X = self._cast(self.X)

            def multiply(some: slice) -> None:
                W[some, :n_features] = flat[some] @ X

            self.run([partial(multiply, some) for some in self._groups_of_columns(len(flat))])
        if self.bias is not None:
            W[:, n_features] = self.bias * flat.sum(axis=1)
        return W.reshape(*R.shape[:-1], self.shape[1])

    def _multiply_transposed(self, flat: Array) -> Array:
        """Return ``flat @ X`` as a sum over the pieces of an array."""
        parts: list[Any] = [None] * len(self.pieces)

        def multiply(k: int, cut: slice, piece: Any) -> None:
            parts[k] = flat[:, cut] @ self._cast(piece)

        self.run([partial(multiply, k, *piece) for k, piece in enumerate(self.pieces)])
        return np.asarray(sum(parts[1:], start=parts[0]))

    def _cast(self, rows_of_X: Any) -> Any:
        return rows_of_X.astype(self.precision, copy=False)

    @computed_once
    def square_sums(self) -> Array:
        """Sum of the squares of each column."""
        if self.is_dense:
            sums = np.einsum("ij,ij->j", self.X, self.X, dtype=self.precision)
        else:
            sums = square_sums(self.X.indices[: self.X.nnz], self.X.data, self.X.shape[1])
        if self.bias is not None:
            sums = np.append(sums, self.bias**2 * self.X.shape[0])
        return np.asarray(sums, self.precision)

    @computed_once
    def spectrum(self) -> tuple[Array, Array]:
        """Eigenvalues and eigenvectors of ``X^T X``, estimated from a sample of the rows."""
        n_rows, n_features = self.shape
        sample = self.take(slice(None, None, max(1, n_rows // (SPECTRUM_ROWS * n_features))))
        weight = n_rows / sample.shape[0]
        values, vectors = np.linalg.eigh(
            sample.weighted_gram(np.full(sample.shape[0], weight, self.precision))
        )
        return np.maximum(values, 0.0), vectors

    def rows(self) -> Array:
        """Return all rows, constant column included, as a new array."""
        rows = np.empty(self.shape, self.precision)
        rows[:, : self.X.shape[1]] = as_dense(self.X)
        rows[:, self.X.shape[1] :] = self.bias
        return rows

    def scaled_rows(self, rows: Array, scale: Array) -> Any:
        """Return these rows, constant column included, each times its ``scale``.

        A small set of sparse rows becomes dense: BLAS is many times faster than sparse products.
        """
        B = self._cast(self.X[rows])
        if not self.is_dense and B.shape[0] * B.shape[1] <= DENSE_ENTRIES:
            B = B.toarray()
        if isinstance(B, np.ndarray):
            if self.bias is not None:
                B = np.column_stack([B, np.full(len(rows), self.bias, B.dtype)])
            B *= scale[:, None]
            return B
        if self.bias is not None:
            constant = np.full((len(rows), 1), self.bias, B.dtype)
            B = sparse.hstack([B, sparse.csr_array(constant)], format="csr")
        B.data *= np.repeat(scale, np.diff(B.indptr))
        return B

    def blocks(self, rows: Array) -> list[Array]:
        """Cut row numbers into blocks of rows that are small enough to be made dense."""
        size = BLOCK_ROWS if self.is_dense else max(1, DENSE_ENTRIES // self.shape[1])
        return [rows[first : first + size] for first in range(0, len(rows), size)]

    def weighted_gram(self, weight: Array) -> Array:
        """Return ``sum_i weight_i x_i x_i^T`` over the rows of positive weight."""
        n_features = self.shape[1]
        gram = np.zeros((n_features, n_features), self.precision)
        for block in self.blocks(np.flatnonzero(weight > 0.0)):
            B = self.scaled_rows(block, np.sqrt(weight[block]))
            gram += as_dense(B.T @ B)
        return gram


def blocks_of_entries(n_entries: int, n_places: int = 0) -> list[slice]:
    """Cut the entries of sparse rows into blocks whose copies are small.

    A block that also takes the time of ``n_places`` entries has at least as many.
    """
    size = max(SUMMED_ENTRIES, n_places)
    return [slice(first, min(first + size, n_entries)) for first in range(0, n_entries, size)]


def count_places(places: Array, n_places: int) -> Array:
    """Return how many entries have each place."""
    count = np.zeros(n_places, np.intp)
    for block in blocks_of_entries(len(places), n_places):
        count += np.bincount(places[block], minlength=n_places)
    return count


def square_sums(places: Array, values: Array, n_places: int) -> Array:
    """Return the sum of the squares of the values in each place."""
    sums = np.zeros(n_places)
    for block in blocks_of_entries(len(places), n_places):
        squares = np.square(values[block], dtype=np.float64)
        sums += np.bincount(places[block], weights=squares, minlength=n_places)
    return sums


def view_of_rows(X: Any, rows: slice) -> Any:
    """Return rows of a CSR matrix without copying their entries."""
    first, last = X.indptr[rows.start], X.indptr[rows.stop]
    # The constructor would copy views that cover less than half of their array.
    view = sparse.csr_array((rows.stop - rows.start, X.shape[1]), dtype=X.dtype)
    view.data, view.indices = X.data[first:last], X.indices[first:last]
    view.indptr = X.indptr[rows.start : rows.stop + 1] - first
    return view


def transposed_view(X: Any) -> Any:
    """Return the transpose of a CSR matrix without copying its entries; see `view_of_rows`."""
    view = sparse.csc_array(X.shape[::-1], dtype=X.dtype)
    view.data, view.indices, view.indptr = X.data, X.indices, X.indptr
    return view


def as_dense(A: Any) -> Array:
    """Return an array as it is and a sparse matrix as an array."""
    dense: Array = A if isinstance(A, np.ndarray) else A.toarray()
    return dense
