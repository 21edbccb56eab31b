"""Small one-versus-rest problems, one at a time, with few calls a step.

The method is that of `solver`. On a few hundred rows, a call of NumPy takes longer than its
arithmetic, so that what saves arithmetic on many rows and problems would cost ten times the step
itself. The data become float64, which has the digits for all steps.
"""

from __future__ import annotations

from math import inf, isfinite, sqrt
from typing import Any

import numpy as np
from scipy.linalg import lapack

from skscratch.linear.arrays import Array
from skscratch.linear.best import IMPROVED, Best, patience
from skscratch.linear.line_search import MAX_TRIALS, SLOPE_SHARE
from skscratch.linear.losses import LinearLoss
from skscratch.linear.problems import SOLVED_RATIO, STALLED, TINY, TOO_LARGE, NotFiniteError
from skscratch.linear.systems import solve_definite
from skscratch.linear.task import Task

__all__ = ["is_small", "minimise_small"]

# Rows with at most this many entries. With more, large calls do the same work faster.
SMALL_ENTRIES = 2**17
# Widths shrink faster than on large data, where steps are less exact. This saves a tenth of the
# steps.
SHRINK = 0.35
EPSILON = float(np.finfo(np.float64).eps)


def is_small(X: Any, loss: LinearLoss) -> bool:
    """Return whether these problems are solved here."""
    return loss.shape[1] == 1 and X.shape[0] * (X.shape[1] + 1) <= SMALL_ENTRIES


def minimise_small(task: Task, W: Array, width: float) -> tuple[Best, bool]:
    """Take a step with every unfinished problem in each iteration; all arrays are float64.

    Return the best points, and whether a loss without corners has not converged in `STALLED`
    iterations: further steps like these might be hundreds.
    """
    rows, loss, cost = task.features.rows(), task.loss, task.cost
    best = Best(W, np.empty((*W.shape[:2], len(rows))))
    problems = [
        _SmallProblem(
            rows, loss.take_problems(np.array([k])), cost[k % len(cost), 0], W[k, 0], width
        )
        for k in range(len(W))
    ]
    unfinished = list(enumerate(problems))
    n_steps = 0
    while True:
        for k, problem in unfinished:
            problem.store(best, k)
        if task.iterations.count(best):
            break
        unfinished = [(k, problem) for k, problem in unfinished if not problem.ends(task)]
        if not unfinished or (n_steps == STALLED and loss.own_width > 0.0):
            break
        n_steps += 1
        for _, problem in unfinished:
            problem.step()
    best.is_certified = True
    return best, n_steps == STALLED and bool(unfinished)


class _SmallProblem:
    """One problem of one column: its coefficients, its dual point, and the best of both so far."""

    def __init__(self, rows: Array, loss: LinearLoss, cost: Array, w: Array, width: float) -> None:
        # With the rows times these signs, the slacks are 1 + A w.
        signs = loss.slack_changes(np.ones((1, 1, len(rows))))[0, 0]
        self.A = rows * signs[:, None]
        self.B = self.A if (cost == 1.0).all() else self.A * np.sqrt(cost)[:, None]
        self.loss, self.cost, self.width = loss, cost, width
        self.has_corners = loss.own_width == 0.0
        self.center: Array | None = None
        self.gram: tuple[Array, Array] | None = None
        self.primal, self.dual, self.point_gap = inf, -inf, inf
        self.milestone, self.idle = inf, 0
        self._move(w)

    @property
    def gap(self) -> float:
        """Duality gap of the best points."""
        rounding = 4.0 * EPSILON * self.primal
        return min(self.point_gap, max(self.primal - self.dual, rounding))

    def store(self, best: Best, k: int) -> None:
        """Record this problem's best points under its number."""
        best.W[k, 0], best.p[k, 0] = self.best_w, self.best_p
        best.primal[k], best.dual[k] = self.primal, self.dual
        best.point_gap[k] = self.point_gap

    def ends(self, task: Task) -> bool:
        """Return whether the gap is below the goal or has stopped falling; see `Best`."""
        gap = self.gap
        self.idle += 1
        if gap < IMPROVED * self.milestone:
            self.milestone, self.idle = gap, 0
        relative_gap = gap / max(self.primal, TINY)
        allowed = patience(relative_gap, 0.0 if self.has_corners else task.tol)
        return relative_gap <= task.goal or self.idle >= allowed

    def step(self) -> None:
        """Move to the minimum along the Newton direction; then tighten the smoothing if due."""
        direction = self._direction()
        self._move(self.w + self._step_length(direction) * direction)
        if self.has_corners and self.smooth_gap <= SOLVED_RATIO * self.fenchel_gap:
            self.center = self.p
            self.width *= SHRINK
            self._evaluate()

    def _move(self, w: Array) -> None:
        """Move to these coefficients, with slacks computed from scratch."""
        self.w, self.s = w, self.A @ w
        self.s += 1.0
        self.value = float(0.5 * w.dot(w) + self.cost.dot(self.loss.value(self.s[None, None])[0]))
        if self.value < self.primal:
            self.primal, self.best_w = self.value, w
        self._evaluate()

    def _evaluate(self) -> None:
        """Compute dual point, gradient and gap."""
        self.p = p = self._dual_point(self.s)
        self.gradient = self.w + (self.cost * p) @ self.A
        self.smooth_gap = gap = 0.5 * float(self.gradient.dot(self.gradient))
        # A loss without corners is not smoothed here: its own dual point has no other gap.
        if self.has_corners:
            fenchel_gaps = self.loss.fenchel_gap(self.s[None, None], p[None, None])[0]
            self.fenchel_gap = float(self.cost.dot(fenchel_gaps))
            gap += self.fenchel_gap
        if not isfinite(self.value + gap):
            raise NotFiniteError(TOO_LARGE.format(p.dtype))
        if self.value - gap > self.dual:
            self.dual, self.best_p = self.value - gap, p
        self.point_gap = min(self.point_gap, gap)

    def _dual_point(self, s: Array) -> Array:
        v = s / self.width
        if self.center is not None:
            v += self.center
        return self.loss.project(v)

    def _direction(self) -> Array:
        """Solve the Newton system in the space of its rows or of its features."""
        face = self.loss.face(self.p)
        rows = face.nonzero()[0]
        if len(rows) > len(self.w):
            return _solve_near_identity(self._gram(face, rows) / self.width, -self.gradient)
        B = self.B.take(rows, axis=0)
        B *= 1.0 / sqrt(self.width)
        inner = _solve_near_identity(B @ B.T, B @ self.gradient)
        direction: Array = B.T @ inner - self.gradient
        return direction

    def _gram(self, face: Array, rows: Array) -> Array:
        """Return ``sum_i cost_i a_i a_i^T`` over the rows of the face: few change in a step."""
        if self.gram is None:
            changed = rows
        else:
            last_face, gram = self.gram
            changed = (face ^ last_face).nonzero()[0]
        if 2 * len(changed) < len(rows):
            B = self.B.take(changed, axis=0)
            gram = gram + (B.T * np.where(face[changed], 1.0, -1.0)) @ B
        else:
            B = self.B if len(rows) == len(face) else self.B.take(rows, axis=0)
            gram = np.asarray(B.T @ B)
        self.gram = face, gram
        return gram

    def _step_length(self, direction: Array) -> float:
        """Return the step to the minimum along ``direction``; see `line_search.step_lengths`."""
        u = self.A @ direction
        weighted = u * self.cost
        first, quadratic = float(self.gradient.dot(direction)), float(direction.dot(direction))
        if not isfinite(first + quadratic):
            raise NotFiniteError(TOO_LARGE.format(direction.dtype))
        if first >= 0.0:
            return 0.0
        linear = float(self.w.dot(direction))
        low, high, t = 0.0, inf, 1.0
        for _ in range(MAX_TRIALS):
            p = self._dual_point(self.s + t * u)
            slope = linear + t * quadratic + float(p.dot(weighted))
            if abs(slope) <= -SLOPE_SHARE * first:
                break
            curved = self.loss.face(p) * u
            curvature = quadratic + float(curved.dot(weighted)) / self.width
            if slope < 0.0:
                low = t
            else:
                high = t
            newton = t - slope / curvature
            middle = 2.0 * t if high == inf else 0.5 * (low + high)
            t = newton if low < newton < high else middle
        return t


def _solve_near_identity(A: Array, b: Array) -> Array:
    """Solve ``(I + A) x = b`` for a semidefinite ``A``, which is overwritten."""
    if not len(A):
        return b
    A.flat[:: len(A) + 1] += 1.0
    _, x, not_definite = lapack.dposv(A.T, b)
    solution: Array = solve_definite(A, b) if not_definite else x
    return solution
