"""Solvers of linear systems: Cholesky, Woodbury's identity and conjugate gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.linalg import lapack

from skscratch.linear.arrays import Array, inner, per_problem, rounding_unit
from skscratch.linear.products import as_dense

__all__ = ["conjugate_gradients", "solve_definite", "solve_few_kronecker_rows", "solve_few_rows"]

# LAPACK itself, factorisation and solution in one call: on small systems SciPy's wrappers take
# longer than LAPACK does.
POSV = {"f": lapack.sposv, "d": lapack.dposv}


def solve_definite(A: Array, b: Array) -> Array:
    """Solve ``A x = b`` for a positive definite ``A``, which is overwritten."""
    if not len(A):
        return b
    # Scaling to a unit diagonal limits rounding errors where columns differ in size.
    scale = 1.0 / np.sqrt(A.diagonal())
    A *= scale
    A *= scale[:, None]
    if not np.isfinite(A.sum()):
        return np.full_like(b, np.nan)
    jitter = 0.0
    while True:
        # This overwrites the triangle of A below the diagonal.
        _, x, not_definite = POSV[A.dtype.char](A.T, scale * b, overwrite_a=1)
        if not not_definite:
            solution: Array = x * scale
            return solution
        # Rounding has made A indefinite; a small multiple of the identity repairs that.
        above = np.triu(A, 1)
        A = above + above.T
        jitter = 10.0 * jitter or len(A) * rounding_unit(A.dtype)
        A.flat[:: len(A) + 1] = 1.0 + jitter


def solve_few_rows(B: Any, b: Array) -> Array:
    """Solve ``(I + B^T B) x = b`` in the space of the rows (Woodbury's identity)."""
    small = as_dense(B @ B.T)
    small.flat[:: len(small) + 1] += 1.0
    x: Array = b - B.T @ solve_definite(small, B @ b)
    return x


def solve_few_kronecker_rows(B: Any, Q: Array, rows: Array, b: Array) -> Array:
    """Solve ``(I + A^T A) vec(x) = vec(b)`` in the space of the rows of ``A``.

    Row d of ``A`` is the Kronecker product of ``Q[d]`` and ``B[rows[d]]``; ``x`` and ``b`` are
    (columns, features).
    """
    small = as_dense(B @ B.T)[np.ix_(rows, rows)]
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

    ``curvature`` and ``precondition`` get an array for some of the problems and their numbers.
    Return the solutions and the numbers of the problems for which ``max_steps`` did not suffice.
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
