"""The best points found so far, their certificate, and when to stop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from skscratch.linear.arrays import Array, rounding_unit
from skscratch.linear.problems import TINY, Point

__all__ = ["IMPROVED", "Best", "LinearSolution", "OnIteration", "patience"]

# Give up on a problem whose best gap has not fallen by a tenth in this many iterations. Far from
# the solution, where the gap may stagnate while the width shrinks, allow more of them.
PATIENCE = 12
FAR_PATIENCE = 60
FAR = 1e-3
POLISHING_PATIENCE = 2
IMPROVED = 0.9


def patience(relative_gap: float, precise: float) -> int:
    """Return how many iterations may pass in which the best gap does not fall by a tenth.

    They are few if the gap is ``precise`` or less.
    """
    if relative_gap <= precise:
        return POLISHING_PATIENCE
    return FAR_PATIENCE if relative_gap > FAR else PATIENCE


@dataclass(frozen=True)
class LinearSolution:
    """Coefficients with their certificate.

    ``objective`` and ``dual_gap`` are sums over the problems; no coefficients reach an objective
    below ``objective - dual_gap``. ``converged`` is False if some problem's gap still exceeds
    ``tol`` times its objective, because iterations or digits ran out.
    """

    coef: Array
    intercept: Array
    objective: float
    dual_gap: float
    n_iter: int
    converged: bool


# Called with the number of the iteration and a function that returns the solution so far. Returning
# True stops.
OnIteration = Callable[[int, Callable[[], LinearSolution]], bool | None]


class Best:
    """The best coefficients, dual point and gap of every problem, finished or not.

    `W` may be in another form, which `expand` turns into coefficients.
    """

    def __init__(self, W: Array, S: Array, expand: Callable[[Array], Array] = lambda W: W) -> None:
        self.W, self._expand = W.copy(), expand
        self.p = np.zeros_like(S)
        self.primal = np.full(len(W), np.inf)
        self.dual = np.full(len(W), -np.inf)
        self.point_gap = np.full(len(W), np.inf)
        self.idle = np.zeros(len(W), np.intp)
        #: Whether the values come from slacks that were computed from scratch.
        self.is_certified = False
        self._milestone = np.full(len(W), np.inf)

    def expand(self, W: Array | None = None) -> None:
        """Turn `W` into coefficients, or replace it by these."""
        self.W, self._expand = self._expand(self.W) if W is None else W, lambda W: W

    @property
    def gap(self) -> Array:
        """Duality gap of each problem."""
        # The best primal and the best dual value may belong to different points. Their difference
        # cancels, so it is only good down to their rounding errors, unlike the gap of one point.
        difference = np.maximum(self.primal - self.dual, self._rounding_error)
        gap: Array = np.minimum(self.point_gap, difference)
        return gap

    @property
    def certified_gap(self) -> Array:
        """The gap, as far as rounding allows."""
        certified: Array = np.maximum(self.gap, self._rounding_error)
        return certified

    @property
    def _rounding_error(self) -> Array:
        error: Array = 4 * rounding_unit(self.W.dtype) * self.primal
        return error

    def record(self, numbers: Array, W: Array, point: Point) -> None:
        """Compare the problems of these numbers, at ``W``, with their best points so far."""
        better = point.primal < self.primal[numbers]
        self.W[numbers[better]] = W[better]
        self.primal[numbers] = np.minimum(self.primal[numbers], point.primal)
        better = point.primal - point.gap > self.dual[numbers]
        self.p[numbers[better]] = point.p[better]
        self.dual[numbers] = np.maximum(self.dual[numbers], point.primal - point.gap)
        self.point_gap[numbers] = np.minimum(self.point_gap[numbers], point.gap)
        gap = self.gap[numbers]
        improved = gap < IMPROVED * self._milestone[numbers]
        self._milestone[numbers[improved]] = gap[improved]
        self.idle[numbers] = np.where(improved, 0, self.idle[numbers] + 1)

    def unfinished(self, numbers: Array, goal: float, precise: Any) -> Array:
        """Return which of these problems need more iterations, as positions in `numbers`.

        A gap must fall below ``goal`` times the objective, or at least keep falling; see `patience`
        for ``precise``, which may be one for each problem.
        """
        relative_gap = self.gap[numbers] / self.primal[numbers].clip(min=TINY)
        precise = np.broadcast_to(precise, numbers.shape)
        states = zip(relative_gap, precise, self.idle[numbers], strict=True)
        return np.array(
            [
                k
                for k, (gap, enough, idle) in enumerate(states)
                if gap > goal and idle < patience(gap, enough)
            ],
            np.intp,
        )

    def merge(self, other: Best) -> None:
        """Take over what is better in the record of other coefficients of the same problems."""
        better = other.primal < self.primal
        self.W[better], self.primal[better] = other.W[better], other.primal[better]
        better = other.dual > self.dual
        self.p[better], self.dual[better] = other.p[better], other.dual[better]
        self.point_gap = np.minimum(self.point_gap, other.point_gap)

    def above(self, goal: float) -> Array:
        """Return which problems' gaps are not known to be below ``goal`` times the objective."""
        return np.flatnonzero(~self._is_below(goal, self.certified_gap))

    def _is_below(self, goal: float, certified_gap: Array) -> Array:
        is_below: Array = np.isfinite(self.primal) & (certified_gap <= goal * self.primal)
        return is_below

    def certify(self, point: Point) -> None:
        """Replace the primal values by those of a point whose slacks were computed from scratch."""
        self.primal = point.primal
        self.dual = np.maximum(self.dual, point.primal - point.gap)
        self.point_gap = point.gap

    def converged(self, tol: float) -> bool:
        """Return whether every problem's gap is at most ``tol`` times its objective."""
        return not len(self.above(tol))

    def solution(
        self, dtype: np.dtype[Any], bias: float | None, tol: float, n_iter: int
    ) -> LinearSolution:
        """Return the best coefficients, with separate intercepts."""
        gap = self.certified_gap
        W = self._expand(self.W)
        W = W.reshape(-1, W.shape[-1]).astype(dtype, copy=False)
        return LinearSolution(
            coef=W.copy() if bias is None else W[:, :-1].copy(),
            intercept=np.zeros(len(W), W.dtype) if bias is None else bias * W[:, -1],
            objective=float(self.primal.sum()),
            dual_gap=float(gap.sum()),
            n_iter=n_iter,
            converged=bool(self._is_below(tol, gap).all()),
        )
