"""What Newton's method for linear machines asks of linear algebra.

Products with X, dense or CSR, with a constant column that is never stored; solving with
``I + sum_i weight_i x_i x_i^T`` through whichever is smaller, the rows that count or the features;
and conjugate gradients for many problems at once where both are large.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.linalg import lapack

__all__ = [
    "Features",
    "conjugate_gradients",
    "inner",
    "per_problem",
    "run_alone",
    "solve_definite",
    "solve_few_rows",
    "solve_few_turned_rows",
]

Array = NDArray[Any]

# Rows gathered at a time for a Gram matrix: large enough for BLAS, small enough to copy.
BLOCK_ROWS = 8192
# Entries of X that one thread multiplies at a time, or casts where it computes in another dtype.
PIECE_ENTRIES = 2**21
# Sparse rows are made dense at most so many entries at a time.
DENSE_ENTRIES = 2**20
# Cholesky's factors and the solution in one call.
POSV = {"f": lapack.sposv, "d": lapack.dposv}
# Rows for each feature that the spectrum is taken from: a preconditioner need not be exact.
SPECTRUM_ROWS = 8


Job = Callable[[], Any]
Run = Callable[[Sequence[Job]], Any]


def run_alone(jobs: Sequence[Job]) -> None:
    """Run jobs one after the other."""
    for job in jobs:
        job()


def inner(A: Array, B: Array) -> Array:
    """Return the inner product of each problem, accumulated in float64: (problems,)."""
    product: Array = np.einsum("pcf,pcf->p", A, B, dtype=np.float64)
    return product


def per_problem(values: Array, dtype: np.dtype[Any]) -> Array:
    """Return one value for each problem, shaped to meet (problems, columns, rows)."""
    return np.asarray(values, dtype)[:, None, None]


Value = TypeVar("Value")


class computed_once(Generic[Value]):  # noqa: N801  a decorator, named like functools' own
    """Like `functools.cached_property`, without a lock.

    Before Python 3.12 that has one for all objects: threads would wait for each other, and a child
    that is forked meanwhile would wait for ever.
    """

    def __init__(self, compute: Callable[[Any], Value]) -> None:
        self.compute, self.name = compute, compute.__name__
        self.__doc__ = compute.__doc__

    def __get__(self, owner: Any, kind: type) -> Value:
        value = vars(owner)[self.name] = self.compute(owner)
        return value


@dataclass(frozen=True)
class Features:
    """X with one further column that holds the constant ``bias`` (or nothing where it is None).

    The column is never stored. ``X`` may be a CSR matrix. What is computed has the dtype
    ``precision``; where that is not X's own, X is cast piece by piece and never as a whole.
    """

    X: Any
    bias: float | None
    precision: np.dtype[Any]
    run: Run = run_alone

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns, the constant one included."""
        n_rows, n_features = self.X.shape
        return int(n_rows), int(n_features) + (self.bias is not None)

    @property
    def is_dense(self) -> bool:
        """Whether X is an array."""
        return isinstance(self.X, np.ndarray)

    @property
    def n_stored(self) -> int:
        """Entries that a product with X reads."""
        return int(self.X.size) if self.is_dense else int(self.X.nnz)

    def take(self, rows: Array | slice) -> Features:
        """Return these rows alone."""
        return replace(self, X=self.X[rows])

    @computed_once
    def pieces(self) -> list[tuple[slice, Any]]:
        """Cut X into views that one thread multiplies at a time.

        The cut looks at nothing but sizes, so that threads change no bit of a result.
        """
        n_rows = self.X.shape[0]
        size = max(1, PIECE_ENTRIES * n_rows // max(1, self.n_stored))
        cuts = [slice(first, min(first + size, n_rows)) for first in range(0, n_rows, size)]
        view = self.X.__getitem__ if self.is_dense else partial(_view_of_rows, self.X)
        return [(cut, view(cut)) for cut in cuts]

    def scores(self, W: Array) -> Array:
        """Return (problems, columns, rows) for coefficients (problems, columns, features)."""
        flat = W.reshape(-1, W.shape[-1])
        n_features = self.X.shape[1]
        transposed = np.ascontiguousarray(flat[:, :n_features].T)
        Z = np.empty((len(flat), self.X.shape[0]), W.dtype)

        def multiply(cut: slice, piece: Any) -> None:
            Z[:, cut] = (self._cast(piece) @ transposed).T

        self.run([partial(multiply, *piece) for piece in self.pieces])
        if self.bias is not None:
            Z += self.bias * flat[:, n_features:]
        return Z.reshape(*W.shape[:-1], self.X.shape[0])

    def gather(self, R: Array) -> Array:
        """Return the transpose of ``scores`` applied to ``R``."""
        flat = R.reshape(R.shape[0] * R.shape[1], R.shape[2])
        parts: list[Any] = [None] * len(self.pieces)

        def multiply(k: int, cut: slice, piece: Any) -> None:
            parts[k] = flat[:, cut] @ self._cast(piece)

        self.run([partial(multiply, k, *piece) for k, piece in enumerate(self.pieces)])
        W = np.asarray(sum(parts[1:], start=parts[0]))
        if self.bias is not None:
            W = np.concatenate([W, self.bias * flat.sum(axis=1, keepdims=True)], axis=1)
        return W.reshape(*R.shape[:-1], self.shape[1])

    def _cast(self, some: Any) -> Any:
        return some.astype(self.precision, copy=False)

    @computed_once
    def square_sums(self) -> Array:
        """Return the sum of the squares of each column."""
        if self.is_dense:
            sums = np.einsum("ij,ij->j", self.X, self.X)
        else:
            sums = np.asarray(self.X.multiply(self.X).sum(axis=0)).ravel()
        if self.bias is not None:
            sums = np.append(sums, self.bias**2 * self.X.shape[0])
        return np.asarray(sums, self.precision)

    @computed_once
    def spectrum(self) -> tuple[Array, Array]:
        """Eigenvalues and eigenvectors of ``X^T X``, estimated on some of the rows."""
        n_rows, n_features = self.shape
        some = self.take(slice(None, None, max(1, n_rows // (SPECTRUM_ROWS * n_features))))
        share = n_rows / some.shape[0]
        values, vectors = np.linalg.eigh(
            some.weighted_gram(np.full(some.shape[0], share, self.precision))
        )
        return np.maximum(values, 0.0), vectors

    def preconditioner(self, share: Array, most: int) -> Callable[[Array, Array], Array]:
        """Return how to divide by ``I + share X^T X``, the curvature if all rows counted alike.

        With more than ``most`` features, only its diagonal is used.
        """
        if self.shape[1] > most:
            diagonal = 1.0 + share * self.square_sums
            return lambda R, live: R / diagonal[live]
        values, vectors = self.spectrum
        eigenvalues = 1.0 + share * values
        return lambda R, live: (R @ vectors / eigenvalues[live]) @ vectors.T

    def scaled_rows(self, rows: Array, root: Array) -> Any:
        """Return these rows, constant column included, each times its ``root``.

        Few sparse rows become dense, since BLAS is many times faster than sparse products.
        """
        some = self._cast(self.X[rows])
        if not self.is_dense and some.shape[0] * some.shape[1] <= DENSE_ENTRIES:
            some = some.toarray()
        if isinstance(some, np.ndarray):
            if self.bias is not None:
                some = np.column_stack([some, np.full(len(rows), self.bias, some.dtype)])
            some *= root[:, None]
            return some
        if self.bias is not None:
            constant = np.full((len(rows), 1), self.bias, some.dtype)
            some = sparse.hstack([some, sparse.csr_array(constant)], format="csr")
        some.data *= np.repeat(root, np.diff(some.indptr))
        return some

    def blocks(self, rows: Array) -> list[Array]:
        """Cut the numbers of rows so that each block of rows may be made dense."""
        size = BLOCK_ROWS if self.is_dense else max(1, DENSE_ENTRIES // self.shape[1])
        return [rows[first : first + size] for first in range(0, len(rows), size)]

    def weighted_gram(self, weight: Array) -> Array:
        """Return ``sum_i weight_i x_i x_i^T``, reading only the rows of positive weight."""
        n_features = self.shape[1]
        gram = np.zeros((n_features, n_features), self.precision)
        for block in self.blocks(np.flatnonzero(weight > 0.0)):
            B = self.scaled_rows(block, np.sqrt(weight[block]))
            gram += _dense(B.T @ B)
        return gram


def _view_of_rows(X: Any, rows: slice) -> Any:
    """Return rows of a CSR matrix without copying their entries."""
    first, last = X.indptr[rows.start], X.indptr[rows.stop]
    # Given to the constructor, views of less than half of an array would be copied.
    view = sparse.csr_array((rows.stop - rows.start, X.shape[1]), dtype=X.dtype)
    view.data, view.indices = X.data[first:last], X.indices[first:last]
    view.indptr = X.indptr[rows.start : rows.stop + 1] - first
    return view


def _dense(A: Any) -> Array:
    dense: Array = A if isinstance(A, np.ndarray) else A.toarray()
    return dense


def solve_definite(A: Array, b: Array) -> Array:
    """Solve ``A x = b`` for a positive definite ``A``, which is overwritten."""
    if not len(A):
        return b
    # Scaling to a unit diagonal limits rounding errors where columns differ in size.
    scale = 1.0 / np.sqrt(A.diagonal())
    A *= scale
    A *= scale[:, None]
    if not np.isfinite(A).all():
        return np.full_like(b, np.nan)
    jitter = 0.0
    while True:
        # LAPACK itself: for small systems SciPy's functions around it take longer than it does.
        _, x, not_definite = POSV[A.dtype.char](A.T, scale * b)
        if not not_definite:
            solution: Array = x * scale
            return solution
        # Rounding has left A indefinite: with so much more of the identity it is not.
        jitter = 10.0 * jitter or len(A) * float(np.finfo(A.dtype).eps)
        A.flat[:: len(A) + 1] += jitter


def solve_few_rows(B: Any, b: Array) -> Array:
    """Solve ``(I + B^T B) x = b`` in the space of the rows (Woodbury's identity)."""
    small = _dense(B @ B.T)
    small.flat[:: len(small) + 1] += 1.0
    x: Array = b - B.T @ solve_definite(small, B @ b)
    return x


def solve_few_turned_rows(B: Any, Q: Array, rows: Array, b: Array) -> Array:
    """Solve ``(I + A^T A) x = b`` for the rows ``Q_d (x) B_rows[d]`` of A; x and b are matrices."""
    small = _dense(B @ B.T)[np.ix_(rows, rows)]
    Q = Q.astype(small.dtype)
    small *= Q @ Q.T
    small.flat[:: len(small) + 1] += 1.0
    y = solve_definite(small, np.einsum("dc,dc->d", Q, (B @ b.T)[rows]))
    back = np.zeros((B.shape[0], len(b)), b.dtype)
    np.add.at(back, rows, y[:, None] * Q)
    x: Array = b - (B.T @ back).T
    return x


def conjugate_gradients(
    curvature: Callable[[Array, Array], Array],
    G: Array,
    precondition: Callable[[Array, Array], Array],
    residual: Array,
    max_steps: int,
) -> tuple[Array, Array]:
    """Solve ``curvature(P) = -G`` for all problems together, each to its own residual norm.

    Return the solutions, and the problems that ``max_steps`` were too few for.
    """
    dtype = G.dtype
    P = np.zeros_like(G)
    R = -G
    everything = np.arange(len(G))
    Q = precondition(R, everything)
    D = Q.copy()
    rho = inner(R, Q)
    live = everything[inner(R, R) > residual**2]
    for _ in range(max_steps):
        if live.size == 0:
            break
        H = curvature(D[live], live)
        length = per_problem(rho[live] / inner(D[live], H), dtype)
        P[live] += length * D[live]
        R[live] -= length * H
        Q[live] = precondition(R[live], live)
        last = rho[live]
        rho[live] = inner(R[live], Q[live])
        D[live] = Q[live] + per_problem(rho[live] / last, dtype) * D[live]
        live = live[inner(R[live], R[live]) > residual[live] ** 2]
    return P, live
