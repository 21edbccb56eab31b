"""Linear support vector machines with few nonzero coefficients, by a projected Newton method.

The objective is minimised over the coefficients ``w`` of each problem; the last one belongs to the
constant feature ``intercept_scaling`` and is penalised like the others, as in LIBLINEAR::

    ||w||_1 + sum_i cost_i * max(0, s_i)^2,      s_i = 1 - y_i (x_i . w)

A round computes the gradient ``g`` of the losses in all columns and, from it, the duality gap. It
then minimises the objective over a working set: the columns of nonzero coefficients, and those with
the largest gradients. As long as coefficients keep their signs, the penalty is linear and the
losses are piecewise quadratic. A Newton step solves::

    (H + damping * diag(H)) d = -(g + sign(w)),      H = sum_{i: s_i > 0} 2 cost_i x_i x_i^T

over the nonzero coefficients and those zeros with ``|g_j| > 1``, which take the sign of ``-g_j``. A
coefficient that would change its sign becomes exactly zero. The damping rises where a step is too
long and falls where it is not; at the solution it vanishes, and the steps become exact. All sums
are accumulated in float64. A problem that advances slowly, because few columns separate the rows
and their cost is high, is solved by an interior-point method; Newton's method polishes the result.

With ``p_i = 2 cost_i max(0, s_i)``, shortened until ``|sum_i y_i p_i x_i| <= 1`` in every column,
no coefficients reach an objective below ``sum_i p_i - p_i^2 / (4 cost_i)``.

Alternatives that were considered: coordinate descent, as in LIBLINEAR, needs a compiled loop.
Minimising a quadratic model exactly, signs included, before every move of the rows takes fewer
steps on a few columns; with thousands of nonzero coefficients, each took a hundred times as long.
A path of rising costs saved nothing on text and on tables; on dense rows of thousands of correlated
columns, at costs that separate them, it would halve the time. Without the interior-point method,
problems of hundreds of separable columns take five times as many rounds.

References
----------
G. Andrew and J. Gao, "Scalable training of L1-regularized log-linear models", ICML 2007.
D. P. Bertsekas, "Projected Newton methods for optimization problems with simple constraints", SIAM
Journal on Control and Optimization 20, 1982. G.-X. Yuan, C.-H. Ho and C.-J. Lin, "An improved
GLMNET for L1-regularized logistic regression", JMLR 13, 2012. S. Mehrotra, "On the implementation
of a primal-dual interior point method", SIAM Journal on Optimization 2, 1992.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import numpy as np
from scipy import sparse
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from skscratch.linear.arrays import Array, rounding_unit
from skscratch.linear.best import LinearSolution, OnIteration
from skscratch.linear.problems import TINY, TOO_LARGE, NotFiniteError
from skscratch.linear.products import SPARSE_COLUMNS, Run, run_serially

__all__ = ["solve_l1"]

# Entries of X that one thread multiplies at a time, and that are cast to float64 at a time.
PIECE_ENTRIES = 2**21
# With at most this many columns, all of them belong to the working set, and steps are found by
# Cholesky's method; otherwise, by conjugate gradients. The working set then holds at most this many
# zeros, or as many as there are nonzero coefficients, if those are more, and only zeros with
# gradients above this.
ALL_COLUMNS = 256
NEW_COLUMNS = 128
LIKELY = 0.9
# Sparse columns with a larger share of nonzero entries are multiplied as dense ones.
DENSE_SHARE = 0.1
# A round ends when the violation of the optimality conditions has fallen to this share of what it
# was at its start, or less once that is small, or after this many steps.
ROUND_SHARE = 0.1
ROUND_STEPS = 12
# Conjugate gradients end when the residual has fallen to this share, or less near the solution.
RESIDUAL_SHARE = 0.1
CONJUGATE_STEPS = 500
# Damping, as a multiple of the curvature of each column: the first, the least and the largest one.
# It is needed where columns are equal, or more than the rows. It is multiplied by the first factor
# after a full step; a shorter or a failed one raises it.
DAMPING, LEAST_DAMPING, MOST_DAMPING = 1e-2, 1e-9, 1e6
DAMPING_FALLS, DAMPING_RISES = 0.1, 4.0
# Where few rows or none give a column curvature, it is at least this share of that of all rows.
CURVATURE_SHARE = 3e-2
HALVINGS = 10
# The optimality conditions must hold to this share of the tolerance of the gap. The gap alone would
# let small coefficients remain that are zero at the optimum.
VIOLATION_SHARE = 0.05
# A round does not aim lower than this share.
LEAST_SHARE = 0.015
# After this many rounds that failed to reduce the violation as far as they should, a problem is
# solved by an interior-point method, unless its working set has more columns than this.
SLOW_ROUNDS = 5
INTERIOR_COLUMNS = 512
INTERIOR_STEPS = 60
# It ends when the gap is at most this share of the objective, and its constraints hold to this.
INTERIOR_TOL = 1e-7
INTERIOR_RESIDUAL = 1e-6
NEGLIGIBLE = 1e-12
# Give up on a problem after this many rounds in which neither its lowest gap has fallen by a tenth
# nor its lowest violation by half; the second number applies once the gap is small enough.
PATIENCE = 60
POLISHING_PATIENCE = 6


class _Columns(Protocol):
    """The columns of X, and one more with the constant ``bias`` unless that is None."""

    shape: tuple[int, int]

    def scores(self, W: Array) -> Array:
        """Return (problems, rows) for coefficients (problems, columns)."""

    def scores_transposed(self, R: Array) -> Array:
        """Return (problems, columns) for (problems, rows)."""

    def square_sums(self, weight: Array) -> Array:
        """Return ``sum_i weight_i x_ij^2``, (problems, columns) for weights (problems, rows)."""

    def gram(self, weight: Array) -> Array:
        """Return ``sum_i weight_i x_i x_i^T`` over the rows of positive weight."""

    def scaled(self, weight: Array, columns: Array) -> Any:
        """Return the rows of positive weight, each times the root of its weight."""

    def select(self, columns: Array) -> _Columns:
        """Return these columns, sorted; their products run in the calling thread."""


class _DenseColumns:
    """Columns of an array, which is cast to float64 a piece at a time."""

    def __init__(self, X: Array, bias: float | None, run: Run) -> None:
        self.X, self.bias, self.run = X, bias, run
        self.shape = (X.shape[0], X.shape[1] + (bias is not None))
        size = max(1, PIECE_ENTRIES // max(1, X.shape[1]))
        # The cut depends on sizes alone, so that the number of threads changes no bit.
        self.pieces = [slice(k, min(k + size, len(X))) for k in range(0, len(X), size)]
        self.size = size

    def scores(self, W: Array) -> Array:
        Z = np.empty((len(W), self.shape[0]))
        transposed = np.ascontiguousarray(W[:, : self.X.shape[1]].T)

        def multiply(piece: slice) -> None:
            Z[:, piece] = (self.X[piece].astype(np.float64, copy=False) @ transposed).T

        self.run([partial(multiply, piece) for piece in self.pieces])
        if self.bias is not None:
            Z += self.bias * W[:, -1:]
        return Z

    def scores_transposed(self, R: Array) -> Array:
        parts: list[Any] = [None] * len(self.pieces)

        def multiply(k: int, piece: slice) -> None:
            parts[k] = R[:, piece] @ self.X[piece].astype(np.float64, copy=False)

        self.run([partial(multiply, k, piece) for k, piece in enumerate(self.pieces)])
        G: Array = sum(parts[1:], start=parts[0])
        if self.bias is not None:
            G = np.column_stack([G, self.bias * R.sum(axis=1)])
        return G

    def square_sums(self, weight: Array) -> Array:
        sums = np.zeros((len(weight), self.X.shape[1]))
        for piece in self.pieces:
            sums += weight[:, piece] @ np.square(self.X[piece], dtype=np.float64)
        if self.bias is None:
            return sums
        return np.column_stack([sums, self.bias**2 * weight.sum(axis=1)])

    def gram(self, weight: Array) -> Array:
        total = np.zeros((self.shape[1], self.shape[1]))
        rows = np.flatnonzero(weight)
        columns = np.arange(self.shape[1])
        for first in range(0, len(rows), self.size):
            B = self._take(rows[first : first + self.size], columns)
            B *= np.sqrt(weight[rows[first : first + self.size]])[:, None]
            total += B.T @ B
        return total

    def scaled(self, weight: Array, columns: Array) -> Array:
        rows = np.flatnonzero(weight)
        B = self._take(rows, columns)
        B *= np.sqrt(weight[rows])[:, None]
        return B

    def _take(self, rows: Array, columns: Array) -> Array:
        """Return a copy of these rows and columns, in float64."""
        n_features = self.X.shape[1]
        B = np.empty((len(rows), len(columns)))
        # Columns are sorted, so the constant one is the last.
        stored = columns[columns < n_features]
        B[:, len(stored) :] = self.bias or 0.0
        all_columns = len(stored) == n_features
        B[:, : len(stored)] = self.X[rows] if all_columns else self.X[np.ix_(rows, stored)]
        return B

    def select(self, columns: Array) -> _DenseColumns:
        stored = columns[columns < self.X.shape[1]]
        X = self.X if len(stored) == self.X.shape[1] else self.X[:, stored].astype(np.float64)
        return _DenseColumns(X, self.bias if len(stored) < len(columns) else None, run_serially)


class _SparseColumns:
    """Columns of a sparse matrix, in float64."""

    def __init__(self, X: Any) -> None:
        self.X = X
        self.shape = X.shape

    def scores(self, W: Array) -> Array:
        scores: Array = np.ascontiguousarray((self.X @ W.T).T)
        return scores

    def scores_transposed(self, R: Array) -> Array:
        G = np.empty((len(R), self.shape[1]))
        # The product is in another order, and copied.
        for first in range(0, len(R), SPARSE_COLUMNS):
            some = slice(first, first + SPARSE_COLUMNS)
            G[some] = (self.X.T @ R[some].T).T
        return G

    def square_sums(self, weight: Array) -> Array:
        return np.ascontiguousarray((self.X.power(2).T @ weight.T).T)

    def gram(self, weight: Array) -> Array:
        B = self.scaled(weight, np.arange(self.shape[1]))
        if B.nnz > DENSE_SHARE * B.shape[0] * B.shape[1]:
            dense = B.toarray()
            return np.asarray(dense.T @ dense)
        return np.asarray((B.T @ B).toarray())

    def scaled(self, weight: Array, columns: Array) -> Any:
        rows = np.flatnonzero(weight)
        B = self.X[rows]
        if len(columns) < self.shape[1]:
            B = B[:, columns]
        B.data *= np.repeat(np.sqrt(weight[rows]), np.diff(B.indptr))
        return B

    def select(self, columns: Array) -> _SparseColumns:
        return _SparseColumns(sparse.csr_array(self.X[:, columns]))


def _columns(X: Any, bias: float | None, run: Run) -> _Columns:
    """Return the columns of X, with a constant one unless its ``bias`` is None."""
    if isinstance(X, np.ndarray):
        return _DenseColumns(X, bias, run)
    if bias is not None:
        X = sparse.hstack([X, np.full((X.shape[0], 1), bias)])
    return _SparseColumns(sparse.csc_array(X, dtype=np.float64))


def _violation(g: Array, w: Array) -> float:
    """Return the largest distance from 0 to the subdifferential, over the coordinates."""
    at_zero = np.abs(g) - 1.0
    missed = np.where(w == 0.0, at_zero, np.abs(g + np.sign(w)))
    return max(float(missed.max()), 0.0)


def _conjugate_gradients(B: Any, right: Array, least: Array, damping: float, share: float) -> Array:
    """Solve ``(B^T B + damping * diagonal) d = right`` until ``share`` of the residual remains.

    The diagonal is that of ``B^T B``, or ``least`` where that is more.
    """
    transposed = B.T
    if isinstance(B, np.ndarray):
        diagonal = np.einsum("ij,ij->j", B, B)
    else:
        diagonal = np.bincount(B.indices, np.square(B.data), len(right))
    diagonal = np.maximum(diagonal, least)
    shift = damping * diagonal
    scale = diagonal + shift
    d, residual = np.zeros_like(right), right.copy()
    direction = residual / scale
    squared = float(residual @ direction)
    goal = share * share * squared
    for _ in range(CONJUGATE_STEPS):
        product = transposed @ (B @ direction) + shift * direction
        length = squared / float(direction @ product)
        d += length * direction
        residual -= length * product
        preconditioned = residual / scale
        before, squared = squared, float(residual @ preconditioned)
        if squared <= goal:
            break
        direction = preconditioned + (squared / before) * direction
    return d


class _InteriorPoint:
    """Mehrotra's predictor-corrector method for one problem.

    It needs few iterations even if the rows are separable and their cost is high, where rows leave
    the margin in every Newton step. The coefficients are ``a - b``; both parts are positive, with
    the multipliers ``alpha`` and ``beta``. ``q`` is by how much the margin of a row exceeds what
    its multiplier ``p`` allows. The products of the pairs are reduced to 0 together.
    """

    def __init__(self, columns: _Columns, signs: Array, cost: Array) -> None:
        self.columns, self.signs = columns, signs
        # Rows without cost get a negligible one.
        self.cost = np.maximum(cost, NEGLIGIBLE * float(cost.max()))
        self.bend = 0.5 / self.cost
        along = self.transposed(np.ones(len(signs)))
        self.p = np.full(len(signs), 0.5 / max(float(np.abs(along).max()), TINY))
        self.q = np.ones(len(signs))
        along = self.transposed(self.p)
        self.alpha, self.beta = 1.0 - along, 1.0 + along
        self.a, self.b = self.p[0] / self.alpha, self.p[0] / self.beta

    def margins(self, change: Array) -> Array:
        """Return the margins of all rows for these coefficients."""
        margins: Array = self.signs * self.columns.scores(change[None])[0]
        return margins

    def transposed(self, p: Array) -> Array:
        """Return the transpose of `margins` applied to ``p``."""
        along: Array = self.columns.scores_transposed((self.signs * p)[None])[0]
        return along

    def minimise(self) -> Array:
        """Return nearly optimal coefficients; those that seem to be zero are."""
        best, lowest = np.zeros(self.columns.shape[1]), np.inf
        for _ in range(INTERIOR_STEPS):
            along, margin = self.transposed(self.p), self.margins(self.a - self.b)
            slack = np.maximum(1.0 - margin, 0.0)
            objective = float((self.a + self.b).sum() + self.cost @ (slack * slack))
            if objective < lowest:
                best, lowest = self.coefficients(), objective
            self.r_alpha = 1.0 - along - self.alpha
            self.r_beta = 1.0 + along - self.beta
            self.r_q = margin + self.bend * self.p - 1.0 - self.q
            residuals = (self.r_alpha, self.r_beta, self.r_q)
            feasible = max(float(np.abs(r).max()) for r in residuals) < INTERIOR_RESIDUAL
            if feasible and self.products() <= INTERIOR_TOL * objective:
                break
            if not self.step():
                break
        return best

    def coefficients(self) -> Array:
        """Return the coefficients; those with both parts much below the multipliers are zero."""
        w: Array = self.a - self.b
        scale = max(float(np.abs(w).max()), TINY)
        w[(self.a < scale * self.alpha) & (self.b < scale * self.beta)] = 0.0
        return w

    def products(self) -> float:
        """Return the sum of the products of all pairs."""
        return float(self.a @ self.alpha + self.b @ self.beta + self.p @ self.q)

    def step(self) -> bool:
        """Take a step, and return whether that was possible."""
        a, b, p, alpha, beta, q = self.values
        self.D = 1.0 / (q / p + self.bend)
        # Scaled by the square root of the parts, so that coefficients near 0 do no harm.
        self.root = np.sqrt(a / alpha + b / beta)
        H = self.columns.gram(self.D)
        H *= self.root[:, None] * self.root
        H[np.diag_indices(len(H))] += 1.0
        try:
            self.factor = cho_factor(H, lower=True, overwrite_a=True, check_finite=False)
        except LinAlgError:
            return False
        n_products, total = 2 * len(a) + len(p), self.products()
        steps = self.newton(-a * alpha, -b * beta, -p * q)
        t = min(1.0, _longest_step(self.values, steps))
        ends = [value + t * step for value, step in zip(self.values, steps, strict=True)]
        reached = sum(float(ends[k] @ ends[k + 3]) for k in range(3))
        aim = total / n_products * (reached / total) ** 3
        da, db, dp, d_alpha, d_beta, dq = steps
        steps = self.newton(
            aim - a * alpha - da * d_alpha, aim - b * beta - db * d_beta, aim - p * q - dp * dq
        )
        t = min(1.0, 0.99 * _longest_step(self.values, steps))
        ends = [value + t * step for value, step in zip(self.values, steps, strict=True)]
        if not all(np.isfinite(end).all() for end in ends):
            return False
        self.a, self.b, self.p, self.alpha, self.beta, self.q = ends
        return True

    @property
    def values(self) -> list[Array]:
        """All variables: the first three are paired with the last three."""
        return [self.a, self.b, self.p, self.alpha, self.beta, self.q]

    def newton(self, c_a: Array, c_b: Array, c_p: Array) -> list[Array]:
        """Return the Newton step that changes the products of the pairs by these numbers."""
        a, b, p, alpha, beta, q = self.values
        h = (c_a - a * self.r_alpha) / alpha - (c_b - b * self.r_beta) / beta
        rest = c_p / p - self.r_q
        right = h / self.root + self.root * self.transposed(self.D * rest)
        dw = self.root * cho_solve(self.factor, right, check_finite=False)
        dp = self.D * (rest - self.margins(dw))
        along = self.transposed(dp)
        d_alpha, d_beta = self.r_alpha - along, self.r_beta + along
        da: Array = (c_a - a * d_alpha) / alpha
        db: Array = (c_b - b * d_beta) / beta
        return [da, db, dp, d_alpha, d_beta, (c_p - q * dp) / p]


def _longest_step(values: list[Array], steps: list[Array]) -> float:
    """Return the longest step, at most 1.01, that keeps all values positive."""
    longest = 1.01
    for value, step in zip(values, steps, strict=True):
        falls = step < 0.0
        if falls.any():
            longest = min(longest, float((-value[falls] / step[falls]).min()))
    return longest


class _Problem:
    """One problem: coefficients, their certificate, and the steps from them."""

    def __init__(
        self,
        columns: _Columns,
        signs: Array,
        cost: Array,
        curvature: Array,
        w: Array,
        scores: Array,
    ) -> None:
        self.columns, self.signs, self.cost, self.w = columns, signs, cost, w
        #: The curvature of each column if all rows are active.
        self.most_curvature = curvature
        self.slack = self.slack_of(scores)
        self.damping, self.n_slow = DAMPING, 0
        self.objective = self.gap = self.violation = np.inf
        self.dual = -np.inf
        self.idle, self.lowest_gap, self.lowest_violation = 0, np.inf, np.inf
        # The rows that the curvature of all columns was summed over.
        self.summed = np.zeros(len(signs), bool)
        self.H: Any = 0.0

    def slack_of(self, scores: Array) -> Array:
        """Return the slacks for these scores."""
        slack: Array = 1.0 - self.signs * scores
        return slack

    def value(self, w: Array, slack: Array) -> float:
        """Return the objective."""
        positive = np.maximum(slack, 0.0)
        return float(np.abs(w).sum() + self.cost @ (positive * positive))

    def residual(self) -> Array:
        """Return the derivatives of the losses by the scores."""
        residual: Array = -2.0 * self.signs * self.cost * np.maximum(self.slack, 0.0)
        return residual

    def evaluate(self, g: Array) -> None:
        """Compute objective, gap and violation at the coefficients, with the gradient ``g``."""
        positive = np.maximum(self.slack, 0.0)
        loss = float(self.cost @ (positive * positive))
        self.objective = float(np.abs(self.w).sum()) + loss
        if not (np.isfinite(self.objective) and np.isfinite(g).all()):
            raise NotFiniteError(TOO_LARGE.format(np.dtype(np.float64)))
        total = 2.0 * float(self.cost @ positive)
        steepest = float(np.abs(g).max())
        # The best multiple of the dual point that is feasible.
        share = min(1.0 / max(steepest, TINY), 0.5 * total / max(loss, TINY))
        self.dual = max(self.dual, share * total - share * share * loss)
        # The difference of the two is no better than their rounding.
        rounding = 4 * rounding_unit(np.dtype(np.float64)) * self.objective
        self.gap = max(self.objective - self.dual, rounding)
        self.violation = _violation(g, self.w)
        improved = self.gap < 0.9 * self.lowest_gap or self.violation < 0.5 * self.lowest_violation
        self.idle = 0 if improved else self.idle + 1
        self.lowest_gap = min(self.lowest_gap, self.gap)
        self.lowest_violation = min(self.lowest_violation, self.violation)

    def finished(self, tol: float) -> bool:
        """Return whether the problem is solved or cannot be solved any better."""
        # The gap is no better than its rounding.
        enough = self.gap <= max(tol, 4 * rounding_unit(np.dtype(np.float64))) * self.objective
        solved = enough and self.violation <= VIOLATION_SHARE * tol
        return solved or self.idle >= (POLISHING_PATIENCE if enough else PATIENCE)

    def working_set(self, g: Array) -> Array:
        """Return the nonzero columns and those likely to become so, given the gradient."""
        if len(g) <= ALL_COLUMNS:
            return np.arange(len(g))
        chosen = self.w != 0.0
        n_new = max(NEW_COLUMNS, int(np.count_nonzero(chosen)))
        candidates = np.flatnonzero(~chosen & (np.abs(g) > LIKELY))
        if len(candidates) > n_new:
            largest = np.argpartition(-np.abs(g[candidates]), n_new)[:n_new]
            candidates = candidates[largest]
        chosen[candidates] = True
        return np.flatnonzero(chosen)

    def advance(self, g: Array, tol: float) -> None:
        """Minimise over the working set, given the gradient."""
        A = self.working_set(g)
        columns, w, gradient = self.columns.select(A), self.w[A], g[A]
        if self.n_slow >= SLOW_ROUNDS and len(A) <= INTERIOR_COLUMNS:
            self.n_slow = 0
            w = self.solve_by_interior_point(columns, w)
            gradient = columns.scores_transposed(self.residual()[None])[0]
        violation = _violation(gradient, w)
        goal = max(ROUND_SHARE * min(1.0, violation) * violation, LEAST_SHARE * tol)
        least = np.maximum(CURVATURE_SHARE * self.most_curvature[A], TINY)
        n_steps = 0
        while violation > goal and n_steps < ROUND_STEPS:
            n_steps += 1
            orthant = np.where(w == 0.0, -np.sign(gradient), np.sign(w))
            free = np.flatnonzero((w != 0.0) | (np.abs(gradient) > 1.0))
            right = -(gradient + orthant)[free]
            share = min(RESIDUAL_SHARE, violation)
            step = self.newton_step(columns, free, right, least[free], share)
            if step is None:
                self.raise_damping(DAMPING_RISES)
                self.summed = np.zeros_like(self.summed)
                continue
            d = np.zeros_like(w)
            d[free] = step
            w = self.move(columns, w, d, orthant)
            gradient = columns.scores_transposed(self.residual()[None])[0]
            violation = _violation(gradient, w)
        self.n_slow += violation > goal
        self.w = np.zeros_like(self.w)
        self.w[A] = w
        # From scratch: the updates of these steps have accumulated rounding errors.
        self.slack = self.slack_of(columns.scores(w[None])[0])

    def solve_by_interior_point(self, columns: _Columns, w: Array) -> Array:
        """Return the solution of an interior-point method, or ``w`` if that is better."""
        found = _InteriorPoint(columns, self.signs, self.cost).minimise()
        slack = self.slack_of(columns.scores(found[None])[0])
        if not self.value(found, slack) < self.value(w, self.slack):
            return w
        self.slack, self.damping = slack, DAMPING
        return found

    def newton_step(
        self, columns: _Columns, free: Array, right: Array, least: Array, share: float
    ) -> Array | None:
        """Return the damped step in the free columns, or None if rounding prevents it."""
        active = (self.slack > 0.0) & (self.cost > 0.0)
        if len(self.w) > ALL_COLUMNS:
            weight = np.where(active, 2.0 * self.cost, 0.0)
            B = columns.scaled(weight, free)
            return _conjugate_gradients(B, right, least, self.damping, share)
        self.sum_curvature(columns, active)
        H = self.H[np.ix_(free, free)]
        H[np.diag_indices(len(H))] += self.damping * np.maximum(np.diagonal(H), least)
        try:
            factor = cho_factor(H, lower=True, overwrite_a=True, check_finite=False)
        except LinAlgError:
            return None
        step: Array = cho_solve(factor, right, check_finite=False)
        return step

    def sum_curvature(self, columns: _Columns, active: Array) -> None:
        """Sum the curvature of all columns over the active rows, from the last sum if possible."""
        added, removed = active & ~self.summed, self.summed & ~active
        if 2 * (np.count_nonzero(added) + np.count_nonzero(removed)) >= np.count_nonzero(active):
            self.H = columns.gram(np.where(active, 2.0 * self.cost, 0.0))
        else:
            self.H += columns.gram(np.where(added, 2.0 * self.cost, 0.0))
            self.H -= columns.gram(np.where(removed, 2.0 * self.cost, 0.0))
        self.summed = active

    def move(self, columns: _Columns, w: Array, d: Array, orthant: Array) -> Array:
        """Return the coefficients after the step ``d``, or a part of it, in the orthant."""
        before = np.maximum(self.slack, 0.0)
        for k in range(HALVINGS):
            moved = w + 0.5**k * d
            moved[moved * orthant < 0.0] = 0.0
            change = moved - w
            rise = -self.signs * columns.scores(change[None])[0]
            slack = self.slack + rise
            after = np.maximum(slack, 0.0)
            # The difference of two objectives would be lost in their rounding.
            rise = np.where((before > 0.0) & (after > 0.0), rise, after - before)
            loss = float((self.cost * (before + after)) @ rise)
            if float(orthant @ change) + loss <= 0.0:
                self.slack = slack
                if k == 0:
                    self.damping = max(DAMPING_FALLS * self.damping, LEAST_DAMPING)
                else:
                    self.raise_damping(DAMPING_RISES * 2.0 ** (0.5 * k))
                return moved
        self.raise_damping(DAMPING_RISES * 2.0 ** (0.5 * HALVINGS))
        # Sum the curvature again: accumulated rounding errors may be what made the step fail.
        self.summed = np.zeros_like(self.summed)
        return w

    def raise_damping(self, factor: float) -> None:
        """Multiply the damping by this factor, up to its limit."""
        self.damping = min(factor * self.damping, MOST_DAMPING)


def solve_l1(
    X: Any,
    signs: Array,
    cost: Array,
    *,
    fit_intercept: bool = True,
    intercept_scaling: float = 1.0,
    tol: float = 1e-5,
    max_iter: int = 1000,
    start: tuple[Array, Array] | None = None,
    on_iteration: OnIteration | None = None,
    run: Run = run_serially,
) -> LinearSolution:
    """Minimise ``||w||_1 + sum_i cost_i * max(0, 1 - y_i (x_i . w))^2`` for each problem.

    Parameters
    ----------
    X : ndarray or sparse matrix of shape (n_rows, n_features)
        float32 or float64. Coefficients have its dtype; sums are accumulated in float64.
    signs : ndarray of shape (n_problems, n_rows)
        The targets ``y``, 1 or -1.
    cost : ndarray of shape (n_rows,) or (n_problems, n_rows)
        ``C`` times the weight of the row times that of its class; not negative.
    fit_intercept, intercept_scaling : bool, float
        The intercept is ``intercept_scaling`` times a coefficient penalised like the others.
    tol : float
        Each problem is solved until its duality gap is below ``tol`` times its objective, and the
        optimality conditions below hold to a twentieth of ``tol``. If rounding prevents the second,
        or ``max_iter`` is reached, the first alone makes a problem count as converged.
    max_iter : int
        Maximum number of rounds. Each computes the gap and takes up to twelve Newton steps.
    start : (coef, intercept), optional
        Where to start, in the shapes of the solution.
    on_iteration : callable, optional
        Called as ``on_iteration(n_iter, solution)`` in every iteration, where ``solution()`` is the
        solution so far. Returning True stops.
    run : callable, optional
        Runs a list of functions without arguments, possibly on several threads. The result has the
        same bits in any case.

    Returns
    -------
    LinearSolution
        With the gradient ``g`` of the losses, and up to the limits above, ``|g_j| <= 1 + tol / 20``
        where ``w_j = 0``, and ``|g_j + sign(w_j)| <= tol / 20`` elsewhere. If X is float32, this is
        true before the coefficients are rounded to float32; rounding changes ``g_j`` by up to about
        ``6e-8 * sum_k |H_jk w_k|``, where ``H`` is the sum of ``2 cost_i x_i x_i^T`` over the rows
        with losses. Zeros stay exactly zero. The objective and the gap are those of the rounded
        coefficients.

    Raises
    ------
    ValueError
        If shapes disagree.
    NotFiniteError
        If the objective is not finite.
    """
    n_problems, n_rows = signs.shape
    costs = np.asarray(cost, np.float64)
    if X.shape[0] != n_rows or costs.shape not in {(n_rows,), (n_problems, n_rows)}:
        raise ValueError(
            f"X has {X.shape[0]} rows, signs the shape {signs.shape}, and cost {costs.shape}; cost "
            "must be (n_rows,) or (n_problems, n_rows)."
        )
    is_own = costs.ndim == 2
    costs = np.broadcast_to(costs, signs.shape)
    bias = float(intercept_scaling) if fit_intercept else None
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        columns = _columns(X, bias, run)
        # Only once if the costs of all problems are the same.
        curvatures = 2.0 * columns.square_sums(costs if is_own else costs[:1])
        curvatures = np.broadcast_to(curvatures, (n_problems, columns.shape[1]))
        if not np.isfinite(curvatures).all():
            raise NotFiniteError(TOO_LARGE.format(np.dtype(np.float64)))
        W = np.zeros((n_problems, columns.shape[1]))
        if start is not None:
            W[:, : X.shape[1]] = start[0]
            if bias is not None:
                W[:, -1] = np.asarray(start[1]) / bias
            # No loss depends on these.
            W[curvatures == 0.0] = 0.0
        problems = [
            _Problem(columns, *rest)
            for rest in zip(signs, costs, curvatures, W, columns.scores(W), strict=True)
        ]
        # The problems replace their parts of it.
        del W

        def solution(n_iter: int) -> LinearSolution:
            return _solution(problems, X, bias, tol, n_iter)

        return solution(_iterate(problems, tol, max_iter, on_iteration, solution, run))


def _iterate(
    problems: list[_Problem],
    tol: float,
    max_iter: int,
    on_iteration: OnIteration | None,
    solution: Callable[[int], LinearSolution],
    run: Run,
) -> int:
    """Minimise all problems, round by round; return the number of rounds.

    Without rounds, the start is certified.
    """
    columns, n_iter, unfinished = problems[0].columns, 0, problems
    while True:
        n_iter = min(n_iter + 1, max_iter)
        G = columns.scores_transposed(np.array([problem.residual() for problem in unfinished]))
        for problem, g in zip(unfinished, G, strict=True):
            problem.evaluate(g)
        stop = n_iter > 0 and on_iteration and on_iteration(n_iter, partial(solution, n_iter))
        if stop or n_iter == max_iter:
            break
        live = [k for k, problem in enumerate(unfinished) if not problem.finished(tol)]
        if not live:
            break
        unfinished = [unfinished[k] for k in live]
        jobs = zip(unfinished, live, strict=True)
        run([partial(problem.advance, G[k], tol) for problem, k in jobs])
        # Before the next ones are computed: they are as large as the coefficients.
        del G
    return n_iter


def _solution(
    problems: list[_Problem], X: Any, bias: float | None, tol: float, n_iter: int
) -> LinearSolution:
    """Return the coefficients in the dtype of X, with their certificate."""
    W = np.array([problem.w for problem in problems])
    rounded = W.astype(X.dtype, copy=False)
    objectives, gaps = np.array([(problem.objective, problem.gap) for problem in problems]).T
    if X.dtype != np.float64:
        columns = problems[0].columns
        scores = columns.scores(rounded.astype(np.float64))
        for k, problem in enumerate(problems):
            objectives[k] = problem.value(
                rounded[k].astype(np.float64), problem.slack_of(scores[k])
            )
            gaps[k] = max(objectives[k] - problem.dual, 0.0)
    return LinearSolution(
        coef=rounded if bias is None else rounded[:, :-1].copy(),
        intercept=np.zeros(len(W), X.dtype) if bias is None else bias * rounded[:, -1],
        objective=float(objectives.sum()),
        dual_gap=float(gaps.sum()),
        n_iter=n_iter,
        converged=bool(np.all(gaps <= tol * objectives)),
    )
