"""What the methods of minimisation share: the task, and the count of its iterations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from skscratch.linear.arrays import Array
from skscratch.linear.best import Best
from skscratch.linear.losses import LinearLoss
from skscratch.linear.problems import Point, Problems
from skscratch.linear.products import Features

__all__ = ["Iterations", "Task"]


class Iterations:
    """Counts iterations; they end at ``max_iter``, or when ``on_iteration`` returns True.

    ``on_iteration`` gets their number and the best points so far.
    """

    def __init__(
        self, max_iter: int, on_iteration: Callable[[int, Best], bool | None] | None = None
    ) -> None:
        self.n_iter, self.max_iter, self.on_iteration = 0, max_iter, on_iteration
        self.stopped = False

    @property
    def ended(self) -> bool:
        """Whether there are no further iterations."""
        return self.stopped or self.n_iter >= self.max_iter

    def count(self, best: Best) -> bool:
        """Count an iteration that has reached ``best``; return whether it was the last one."""
        self.n_iter += 1
        if self.on_iteration is not None:
            self.stopped = bool(self.on_iteration(self.n_iter, best))
        return self.ended


@dataclass(frozen=True)
class Task:
    """Problems, and how far to minimise them.

    Each problem's gap must fall below ``goal`` times its objective, or have stopped falling.
    ``goal`` is at most ``tol``, which is what the user asks for.
    """

    features: Features
    loss: LinearLoss
    cost: Array
    tol: float
    goal: float
    iterations: Iterations

    def start(self, W: Array, width: float, center: Array | None = None) -> Problems:
        """Return the problems at these coefficients, with slacks computed from scratch."""
        return Problems.start(self.features, self.loss, self.cost, W, width, center)

    def evaluate(self, W: Array, p: Array) -> Point:
        """Return objective and gap of coefficients with any dual point, from scratch."""
        # The widest smoothing keeps the dual point at its center.
        return self.start(W, np.inf, p).evaluate()

    def cast(self, dtype: Any) -> Task:
        """Return the task in another precision; X is cast a piece at a time."""
        return replace(
            self,
            features=replace(self.features, precision=np.dtype(dtype)),
            loss=self.loss.cast(dtype),
            cost=self.cost.astype(dtype),
        )
