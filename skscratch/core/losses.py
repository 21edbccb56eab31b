"""Losses: how far a network's raw outputs are from the targets.

A loss is a link and a pointwise formula. The formula takes *raw* outputs, before any logistic or
softmax, so that it stays exact where a probability would round to 0 or 1; `predict` applies the
inverse link. The base class applies weights and sums, in the same way for all losses.

Every loss is a sum over a row's outputs. The `Objective` divides by the sum of the weights.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from numbers import Real
from typing import Any, ClassVar, Self

import numpy as np

from skscratch.core.functions import Array, logistic, positive, softmax, softplus
from skscratch.core.named import Named
from skscratch.core.rows import value_range

# The interval of each kind of target.
INTERVALS = {
    "real": (-math.inf, math.inf),
    "share": (0.0, 1.0),
    "one-hot": (0.0, 1.0),
    "sign": (-1.0, 1.0),
    "count": (0.0, math.inf),
}
# Smallest probability, mean or step in a baseline, so that its logarithm is finite.
SMALLEST_SHARE = 1e-6
# Enough to halve an interval down to rounding errors.
BISECTIONS = 64
# Tolerance of comparisons, in units of rounding.
ROUNDINGS = 8


@dataclass(eq=False, slots=True)
class LossBuffers:
    """The workspace's arrays that a loss may write to, for one block of rows.

    `factor` is 0-d, `sums` has one entry per column; `ones` holds a 1 per row, `units` a 1 per
    column.
    """

    grad: Array
    value: Array
    scratch: Array
    column: Array
    factor: Array
    sums: Array
    ones: Array
    units: Array

    @classmethod
    def over(cls, grad: Array, value: Array, scratch: Array, column: Array) -> Self:
        """Add the arrays that are too small to be worth sharing between layers."""
        (rows, width), dtype = value.shape, value.dtype
        return cls(
            grad,
            value,
            scratch,
            column,
            factor=np.empty((), dtype),
            sums=np.empty(width, dtype),
            ones=np.ones(rows, dtype),
            units=np.ones(width, dtype),
        )

    def row_sums(self, x: Array) -> Array:
        """Return the row sums of `x`, in `column`, by a product: five times faster than a sum."""
        x.dot(self.units, out=self.column[:, 0])
        return self.column

    def total(self) -> float:
        """Return the sum of `value`, by products: three times faster than NumPy's sum."""
        self.ones.dot(self.value, out=self.sums)
        return float(self.sums.dot(self.units))


class Loss(Named, family="loss"):
    """A weighted loss of raw outputs, computed in the caller's buffers.

    `targets` is the kind of target: ``"real"`` numbers, a ``"share"`` in [0, 1], a ``"one-hot"``
    row, a ``"sign"`` of ±1 or a ``"count"``. `factor` is a constant of the derivative, multiplied
    in together with the scale.
    """

    link: ClassVar[str] = "identity"
    targets: ClassVar[str] = "real"
    factor: ClassVar[float] = 1.0

    @property
    def interval(self) -> tuple[float, float]:
        """The smallest and the largest target that the loss accepts."""
        return INTERVALS[self.targets]

    def allows(self, low: float, high: float, dtype: np.dtype[Any]) -> bool:
        """Return whether targets from `low` to `high` lie in the interval.

        Scaled targets may lie a few units of rounding outside: these count as inside.
        """
        slack = ROUNDINGS * float(np.finfo(dtype if dtype.kind == "f" else np.float64).eps)
        return self.interval[0] - slack <= low and high <= self.interval[1] + slack

    def check_targets(self, target: Any) -> None:
        """Raise a ValueError if a target lies outside the interval.

        Targets are an array or a sparse matrix.
        """
        if self.interval == INTERVALS["real"] or 0 in target.shape:
            return
        low, high = value_range(target)
        if not self.allows(low, high, target.dtype):
            raise ValueError(
                f"The loss {self.name!r} requires targets from {self.interval[0]:g} to "
                f"{self.interval[1]:g}, but they range from {low:g} to {high:g}."
            )

    def pointwise(self, raw: Array, target: Array, b: LossBuffers) -> None:
        """Fill ``b.value`` with the losses and ``b.grad`` with their derivatives over `factor`."""
        raise NotImplementedError

    def value_and_grad(
        self, raw: Array, target: Array, scale: Array | float, b: LossBuffers
    ) -> float:
        """Return Σ scale · loss over all rows, and write its gradient to ``b.grad``.

        `scale` is a number, a column with one entry per row, or an array with one per output.
        """
        self.pointwise(raw, target, b)
        if isinstance(scale, float):
            b.factor[()] = scale * self.factor
            np.multiply(b.grad, b.factor, out=b.grad)
            return b.total() * scale
        np.multiply(b.grad, scale, out=b.grad)
        b.grad *= self.factor
        np.multiply(b.value, scale, out=b.value)
        return b.total()

    def of_rows(self, raw: Array, target: Array) -> Array:
        """Return the loss of each row, shape (n,), as a new array."""
        column = np.empty((len(raw), 1), raw.dtype)
        grad, value, scratch = (np.empty_like(raw) for _ in range(3))
        b = LossBuffers.over(grad, value, scratch, column)
        self.pointwise(raw, target, b)
        per_row: Array = np.add.reduce(b.value, axis=1)
        return per_row

    def predict(self, raw: Array) -> Array:
        """Apply the inverse link, which maps raw outputs to the scale of the targets."""
        return raw

    def baseline(self, target: Array, weight: Array | None = None) -> Array:
        """Return raw outputs to start from, shape (n_out,): the best ones that ignore the rows.

        `weight` has shape (n,). The default is 0.
        """
        return np.zeros(target.shape[1], _float_type(target))


def _mean(target: Array, weight: Array | None) -> Array:
    return np.asarray(np.average(target, axis=0, weights=weight), _float_type(target))


def _quantile(target: Array, weight: Array | None, q: float) -> Array:
    """Return each column's smallest target that a fraction `q` of the weight does not exceed."""
    order = np.argsort(target, axis=0, kind="stable")
    weight = np.ones(len(target)) if weight is None else weight.astype(np.float64)
    shares = np.add.accumulate(weight[order], axis=0)
    reached = shares >= q * shares[-1] * (1 - ROUNDINGS * np.finfo(np.float64).eps)
    place = np.take_along_axis(order, reached.argmax(axis=0)[np.newaxis], axis=0)
    quantile: Array = np.take_along_axis(target, place, axis=0)[0].astype(_float_type(target))
    return quantile


def _float_type(target: Array) -> np.dtype[Any]:
    return np.dtype(np.float32 if target.dtype == np.float32 else np.float64)


class SquaredError(Loss, name="squared_error"):
    """(p - t)²."""

    factor: ClassVar[float] = 2.0

    def pointwise(self, raw: Array, target: Array, b: LossBuffers) -> None:
        np.subtract(raw, target, out=b.grad)
        np.multiply(b.grad, b.grad, out=b.value)

    def baseline(self, target: Array, weight: Array | None = None) -> Array:
        return _mean(target, weight)


class AbsoluteError(Loss, name="absolute_error"):
    """|p - t|, with derivative 0 where they are equal."""

    def pointwise(self, raw: Array, target: Array, b: LossBuffers) -> None:
        np.subtract(raw, target, out=b.grad)
        np.abs(b.grad, out=b.value)
        np.sign(b.grad, out=b.grad)

    def baseline(self, target: Array, weight: Array | None = None) -> Array:
        return _quantile(target, weight, 0.5)


class Huber(Loss, name="huber"):
    """d²/2 where |d| = |p - t| ≤ delta, else delta (|d| - delta/2) (Huber, 1964)."""

    delta: float = 1.0

    def check_init(self) -> None:
        self.check_range("delta", 0, closed="neither")

    def pointwise(self, raw: Array, target: Array, b: LossBuffers) -> None:
        # With c = d clipped to ±delta, both branches are c (d - c/2), and the derivative is c.
        np.subtract(raw, target, out=b.value)
        # NumPy's clip with Python numbers is many times slower than this.
        b.scratch.fill(self.delta)
        np.minimum(b.value, b.scratch, out=b.grad)
        np.negative(b.scratch, out=b.scratch)
        np.maximum(b.grad, b.scratch, out=b.grad)
        np.multiply(b.grad, 0.5, out=b.scratch)
        b.value -= b.scratch
        b.value *= b.grad

    def baseline(self, target: Array, weight: Array | None = None) -> Array:
        # By bisection: the derivative, the mean of the clipped differences, rises with the output.
        # At the median plus delta it is not negative, since half of the weight contributes delta.
        median = _quantile(target, weight, 0.5)
        low, high = median - self.delta, median + self.delta
        for _ in range(BISECTIONS):
            middle = low + (high - low) / 2
            rising = _mean(np.clip(middle - target, -self.delta, self.delta), weight) > 0
            low, high = np.where(rising, low, middle), np.where(rising, middle, high)
        return low


class Pinball(Loss, name="pinball"):
    """q d where d = t - p ≥ 0, else (q - 1) d, for each quantile q (Koenker & Bassett, 1978).

    Several quantiles of one target are outputs of one network: ``p_1 = r_1`` and
    ``p_k = p_(k-1) + log(1 + exp(r_k))``, so that they can never cross. `quantiles` must be
    increasing; the target is repeated for each.
    """

    quantiles: tuple[float, ...] = (0.5,)

    @property
    def link(self) -> str:  # type: ignore[override]
        """The name of the inverse link: several quantiles are cumulative sums."""
        return "identity" if len(self.quantiles) == 1 else "cumulative_softplus"

    def check_init(self) -> None:
        q = self.quantiles
        numbers = isinstance(q, tuple) and q and all(isinstance(x, Real) for x in q)
        if not numbers or any(b <= a for a, b in itertools.pairwise((0, *q, 1))):
            raise ValueError(
                "quantiles of 'pinball' must be a tuple of increasing numbers in (0, 1), got "
                f"{q!r}."
            )

    def predict(self, raw: Array) -> Array:
        p = raw.copy()
        if p.shape[1] > 1:
            steps = np.ascontiguousarray(raw[:, 1:])
            softplus(steps, out=steps, scratch=np.empty_like(steps))
            p[:, 1:] = steps
        return np.add.accumulate(p, axis=1, out=p)

    def pointwise(self, raw: Array, target: Array, b: LossBuffers) -> None:
        several = len(self.quantiles) > 1
        if several:
            softplus(raw, out=b.value, scratch=b.scratch)
            b.value[:, 0] = raw[:, 0]
            np.add.accumulate(b.value, axis=1, out=b.value)
            np.subtract(b.value, target, out=b.value)
        else:
            np.subtract(raw, target, out=b.value)
        # With e = p - t the slope is 1 - q above the target and -q below it.
        np.greater(b.value, 0, out=b.grad)
        b.grad -= np.array(self.quantiles, raw.dtype)
        b.value *= b.grad
        if several:
            # Each raw output moves its own quantile and all above it.
            b.grad[:, ::-1].cumsum(axis=1, out=b.grad[:, ::-1])
            logistic(raw, out=b.scratch)
            b.scratch[:, 0] = 1
            b.grad *= b.scratch

    def baseline(self, target: Array, weight: Array | None = None) -> Array:
        if len(self.quantiles) == 1:
            return _quantile(target, weight, self.quantiles[0])
        p = np.array([_quantile(target[:, :1], weight, q)[0] for q in self.quantiles])
        # The inverse of predict: log(exp(step) - 1), for steps above 0.
        steps = np.maximum(np.diff(p), SMALLEST_SHARE)
        raw = [p[0], *(steps + np.log(-np.expm1(-steps)))]
        return np.array(raw, _float_type(target))


class BinaryLogLoss(Loss, name="binary_log_loss"):
    """log(1 + exp(r)) - t r: cross-entropy of t in [0, 1] and p = 1 / (1 + exp(-r))."""

    link: ClassVar[str] = "logistic"
    targets: ClassVar[str] = "share"

    def pointwise(self, raw: Array, target: Array, b: LossBuffers) -> None:
        softplus(raw, out=b.value, scratch=b.scratch)
        # p = exp(r - log(1 + exp(r))) takes two passes, the logistic four.
        np.subtract(raw, b.value, out=b.grad)
        np.exp(b.grad, out=b.grad)
        b.grad -= target
        np.multiply(target, raw, out=b.scratch)
        b.value -= b.scratch

    def predict(self, raw: Array) -> Array:
        p = np.empty_like(raw)
        logistic(raw, out=p)
        # Rounding must not turn a probability into certainty.
        limits = np.finfo(raw.dtype)
        return np.clip(p, limits.tiny, 1 - limits.epsneg, out=p)

    def baseline(self, target: Array, weight: Array | None = None) -> Array:
        p = np.clip(_mean(target, weight), SMALLEST_SHARE, 1 - SMALLEST_SHARE)
        logit: Array = np.log(p / (1 - p))
        return logit


class LogLoss(Loss, name="log_loss"):
    """-Σ t log p, p = softmax(r): cross-entropy; the targets of a row sum to 1 (one-hot, say)."""

    link: ClassVar[str] = "softmax"
    targets: ClassVar[str] = "one-hot"

    def pointwise(self, raw: Array, target: Array, b: LossBuffers) -> None:
        # -t log p = t (log Σ exp(r - m) - (r - m)), m the row's maximum.
        np.maximum.reduce(raw, axis=1, keepdims=True, out=b.column)
        np.subtract(raw, b.column, out=b.value)
        np.exp(b.value, out=b.grad)
        b.grad /= b.row_sums(b.grad)
        b.grad -= target
        np.log(b.column, out=b.column)
        np.subtract(b.column, b.value, out=b.value)
        b.value *= target

    def predict(self, raw: Array) -> Array:
        p = np.empty_like(raw)
        softmax(raw, out=p, column=np.empty((len(raw), 1), raw.dtype))
        return p

    def baseline(self, target: Array, weight: Array | None = None) -> Array:
        log_p = np.log(np.maximum(_mean(target, weight), SMALLEST_SHARE))
        centred: Array = log_p - log_p.mean()
        return centred


class Hinge(Loss, name="hinge"):
    """max(0, 1 - t r) for t = ±1: a linear support vector machine, one against the rest."""

    targets: ClassVar[str] = "sign"

    def pointwise(self, raw: Array, target: Array, b: LossBuffers) -> None:
        np.multiply(raw, target, out=b.value)
        np.subtract(1, b.value, out=b.value)
        positive(b.value, out=b.value, scratch=b.scratch)
        np.greater(b.value, 0, out=b.grad)
        b.grad *= target
        np.negative(b.grad, out=b.grad)

    def baseline(self, target: Array, weight: Array | None = None) -> Array:
        return np.sign(_mean(target, weight))


class SquaredHinge(Loss, name="squared_hinge"):
    """max(0, 1 - t r)² for t = ±1."""

    targets: ClassVar[str] = "sign"
    factor: ClassVar[float] = -2.0

    def pointwise(self, raw: Array, target: Array, b: LossBuffers) -> None:
        np.multiply(raw, target, out=b.value)
        np.subtract(1, b.value, out=b.value)
        positive(b.value, out=b.value, scratch=b.scratch)
        np.multiply(b.value, target, out=b.grad)
        np.multiply(b.value, b.value, out=b.value)

    def baseline(self, target: Array, weight: Array | None = None) -> Array:
        return _mean(target, weight)


class MulticlassHinge(Loss, name="multiclass_hinge"):
    """max over k of (r_k + [k ≠ y]) - r_y for one-hot targets (Crammer & Singer, 2001)."""

    targets: ClassVar[str] = "one-hot"

    def pointwise(self, raw: Array, target: Array, b: LossBuffers) -> None:
        np.subtract(raw, target, out=b.scratch)
        b.scratch += 1
        np.maximum.reduce(b.scratch, axis=1, keepdims=True, out=b.column)
        # The row's loss is stored at the target's output; the other entries are 0.
        np.subtract(b.column, raw, out=b.value)
        b.value *= target
        # Ties share the gradient equally, which gives a subgradient of the maximum.
        np.equal(b.scratch, b.column, out=b.grad)
        b.grad /= b.row_sums(b.grad)
        b.grad -= target

    def baseline(self, target: Array, weight: Array | None = None) -> Array:
        # A class with more than half of the weight is predicted, at the margin.
        return np.asarray(_mean(target, weight) > 0.5, _float_type(target))


class Poisson(Loss, name="poisson"):
    """t log(t / p) - t + p, p = exp(r): half the Poisson deviance of counts t ≥ 0."""

    link: ClassVar[str] = "exp"
    targets: ClassVar[str] = "count"

    def pointwise(self, raw: Array, target: Array, b: LossBuffers) -> None:
        np.exp(raw, out=b.grad)
        # t log t is 0 at t = 0; log(max(t, tiny)) keeps it so without a mask.
        b.value.fill(np.finfo(raw.dtype).tiny)
        np.maximum(target, b.value, out=b.value)
        np.log(b.value, out=b.value)
        b.value -= raw
        b.value -= 1
        b.value *= target
        b.value += b.grad
        b.grad -= target

    def predict(self, raw: Array) -> Array:
        return np.exp(raw)

    def baseline(self, target: Array, weight: Array | None = None) -> Array:
        return np.log(np.maximum(_mean(target, weight), SMALLEST_SHARE))
