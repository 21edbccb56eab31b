"""The problems that are solved side by side, and the smoothing of their corners.

A loss with corners (its own width is 0, see `losses`) is replaced by the smooth
``max_{p in A} <p, s> - (width / 2) ||p - center||^2``, with a width that shrinks and a center that
follows the dual point. This is the proximal point method: thanks to the center, the corners are met
exactly while the width is still large.

The maximiser is one projection, ``p = project(center + s / width)``. It is the slope of the smooth
loss, and its face of ``A`` gives the curvature. It is also feasible in the dual, so that the
gradient ``G`` gives the duality gap of the *true* problem::

    gap = 0.5 ||G||^2 + sum_i cost_i * (loss(s_i) + conjugate(p_i) - <p_i, s_i>)

Every term is nonnegative and nothing large cancels, so the gap can be trusted down to rounding.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from skscratch.linear.arrays import Array, inner
from skscratch.linear.losses import LinearLoss
from skscratch.linear.products import Features

__all__ = ["TINY", "TOO_LARGE", "NotFiniteError", "Point", "Problems"]

# A smoothed problem counts as solved once its own gap is at most this multiple of the true loss's
# Fenchel gap.
SOLVED_RATIO = 1.0
SHRINK = 0.5
# Losses without corners reach their own width faster after `restart_smoother`, which multiplies it.
FAST_SHRINK = 0.25
WIDENING = 4.0**8
# Without corners, Newton's method needs few iterations, except on separable data, where it may need
# hundreds: after this many, it restarts from a much smoother problem.
STALLED = 20
TINY = float(np.finfo(np.float64).tiny)

TOO_LARGE = "The objective is not finite: X, the costs or the start hold values too large for {}."


class NotFiniteError(ValueError):
    """The objective is not finite."""


@dataclass
class Point:
    """Dual point, gradient, objective and gap at the current coefficients.

    The gap is the sum of ``smooth_gap``, which is 0 where the smoothed problem is solved, and
    ``fenchel_gap``, which measures how far the smoothed loss is from the true one.
    """

    p: Array
    G: Array
    primal: Array
    smooth_gap: Array
    fenchel_gap: Array

    @property
    def gap(self) -> Array:
        """Duality gap of each problem."""
        gap: Array = self.smooth_gap + self.fenchel_gap
        return gap

    def take(self, problems: Array) -> Point:
        """Return the point of these problems."""
        return Point(*(values[problems] for values in vars(self).values()))

    def put(self, problems: Array, part: Point) -> None:
        """Replace the point of these problems."""
        for values, new in zip(vars(self).values(), vars(part).values(), strict=True):
            values[problems] = new


@dataclass
class Problems:
    """Coefficients, slacks and smoothing of the problems that are not finished."""

    features: Features
    loss: LinearLoss
    cost: Array
    W: Array
    S: Array
    width: Array
    center: Array | None

    @classmethod
    def start(
        cls,
        features: Features,
        loss: LinearLoss,
        cost: Array,
        W: Array,
        width: float,
        center: Array | None = None,
    ) -> Problems:
        """Compute the slacks of ``W`` from scratch."""
        S = loss.slacks(features.scores(W))
        return cls(features, loss, cost, W, S, np.full((len(W), 1, 1), width, W.dtype), center)

    def take(self, problems: Array) -> Problems:
        """Return a copy that holds these problems."""
        return replace(
            self,
            loss=self.loss.take_problems(problems),
            cost=self.cost if len(self.cost) == 1 else self.cost[problems],
            W=self.W[problems],
            S=self.S[problems],
            width=self.width[problems],
            center=None if self.center is None else self.center[problems],
        )

    def dual_point(self, S: Array) -> Array:
        """Return ``project(center + S / width)``."""
        V = S / self.width
        if self.center is not None:
            V += self.center
        return self.loss.project(V)

    def objective(self) -> Array:
        """Return the true objective of each problem, without smoothing."""
        value: Array = 0.5 * inner(self.W, self.W) + self._total(self.loss.value(self.S))
        return value

    def evaluate(self) -> Point:
        """Return dual point, gradient, objective and gap."""
        p = self.dual_point(self.S)
        R = self.loss.slack_changes_transposed(p * self.cost)
        G = self.features.scores_transposed(R)
        G += self.W
        fenchel_gap = self._total(self.loss.fenchel_gap(self.S, p))
        point = Point(p, G, self.objective(), 0.5 * inner(G, G), fenchel_gap)
        if not np.isfinite(point.primal + point.gap).all():
            raise NotFiniteError(TOO_LARGE.format(self.W.dtype))
        return point

    def _total(self, per_row: Array) -> Array:
        """Return the sum over the rows, weighted by their costs: (problems,)."""
        per_row = per_row * self.cost[:, 0]
        total: Array = per_row.sum(axis=1, dtype=np.float64)
        return total

    def tighten_smoothing(self, point: Point) -> Point:
        """Update width and center of each smoothed problem that is solved; return the new point."""
        own = self.loss.own_width
        solved = point.smooth_gap <= SOLVED_RATIO * point.fenchel_gap
        solved &= self.width[:, 0, 0] > own
        if not solved.any():
            return point
        if own > 0.0:
            self.width[solved] = np.maximum(self.width[solved] * FAST_SHRINK, own)
        else:
            if self.center is None:
                self.center = np.zeros_like(self.S)
            self.center[solved] = point.p[solved]
            self.width[solved] *= SHRINK
        changed = np.flatnonzero(solved)
        point.put(changed, self.take(changed).evaluate())
        return point

    def restart_smoother(self) -> Point:
        """Continue from much smoother problems, whose width shrinks again; return the new point."""
        self.width[:] *= WIDENING
        return self.evaluate()

    def move(self, P: Array, U: Array, t: Array) -> None:
        """Add ``t P`` to the coefficients and ``t U`` to the slacks; ``U`` is overwritten."""
        self.W = self.W + t * P
        U *= t
        self.S += U
