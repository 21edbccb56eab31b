"""Training of a linear SVM on data that arrive in pieces, each row seen once.

AdaGrad (Duchi et al., 2011): each feature has a learning rate of its own, which falls with the sum
of its squared gradients, so that a word that is rarely seen still learns fast. A step changes only
the weights of the features that occur in its rows.
"""

from __future__ import annotations

import copy
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from scipy import sparse

from skscratch.core.functions import Array
from skscratch.core.losses import Loss, LossBuffers
from skscratch.core.optimizers import checksum_of
from skscratch.estimators._data import with_constant

__all__ = ["Stream", "StreamProblem", "WeightsNotFiniteError"]

# Rows of a step: few, because each row is seen only once. Rows that share few features hardly
# affect each other, and larger steps cost less a row.
STEP_ROWS, STEP_ROWS_THIN = 16, 128
# Rows with fewer non-zero entries than this share are thin.
THIN = 0.05
# Dense rows, about, from which the state after other training is estimated.
SAMPLE_ROWS = 4096
# Weights that are decayed at a time.
BLOCK_ENTRIES = 1 << 16
# In the mean of the weights, late steps count more (Shamir & Zhang, 2013).
AVERAGE_POWER = 3


class WeightsNotFiniteError(ValueError):
    """Training has reached weights that are not finite."""


@dataclass
class Stream:
    """What a call continues from. It is never modified: a call works on a copy.

    Parameters
    ----------
    squares : ndarray of shape (n_features + 1,)
        Sums of the squared gradients of each feature, averaged over the problems; the last one is
        that of a constant feature of value 1.
    unit : float
        Weight of a row that counts as 1 in all sums here; 0 before the first call.
    totals : ndarray of shape (1,) or (n_problems,)
        Sums of the weights of the rows so far, in each problem if these differ.
    norms : float
        Sum over the rows so far of their weights times their sums of absolute values.
    kind : tuple or None
        What must stay the same from call to call.
    rng : Any
        Draws the order of the rows; None before the first call.
    step : int
        Number of steps.
    weights : tuple of ndarray or None
        Weights and intercepts to continue from, if the solution is their mean over the steps.
    mean_checksums : tuple of int
        Checksums of that mean, which may have been replaced by an assigned solution.
    """

    squares: Array
    unit: float = 0.0
    totals: Array = field(default_factory=lambda: np.zeros(1))
    norms: float = 0.0
    kind: tuple[Any, ...] | None = None
    rng: Any = None
    step: int = 0
    weights: tuple[Array, Array] | None = None
    mean_checksums: tuple[int, ...] = ()

    @classmethod
    def after(cls, X: Any, cost: Array, slope: float, n_rows: int = 0) -> Self:
        """Return the state after other training on some rows, as if each had been a step.

        `cost` is that of `StreamProblem.learn`, `slope` that of the loss at a score of 0. If there
        are fewer rows than `n_rows`, they stand for that many.
        """
        unit = _unit(cost)
        cost = cost / unit
        n_rows = max(n_rows, len(cost))
        if isinstance(X, np.ndarray):
            # In dense rows, every feature occurs often enough.
            every = max(1, len(X) // SAMPLE_ROWS)
            X, cost = X[::every], cost[::every]
        # The number of rows that each one stands for.
        times = n_rows / len(cost)
        totals = times * cost.sum(axis=0)
        scale = _mean_of_problems(np.square(slope * _balanced(totals) * cost))
        squares = times * np.append(_sums_of_squares(X, scale), scale.sum())
        norms = times * float(_mean_of_problems(cost) @ _absolute_sums(X))
        return cls(squares, unit, totals, norms)

    @property
    def weight(self) -> float:
        """Sum of the weights of the rows so far, on average over the problems."""
        return float(self.totals.sum()) / len(self.totals)


@dataclass
class StreamProblem:
    """A linear SVM to train on one piece of the data.

    Parameters
    ----------
    loss : Loss
        The loss of a row's scores.
    rate : float
        The change of a score in the first step, about.
    C : float
        Weight of the losses relative to the penalty.
    constant : float
        Value of the constant feature; 0 without an intercept.
    average : bool
        Whether the solution is the mean of the weights over the steps.
    stop : callable
        Returns whether to stop at once.
    """

    loss: Loss
    rate: float
    C: float
    constant: float
    average: bool
    stop: Callable[[], bool]

    def learn(
        self,
        stream: Stream,
        rng: Any,
        solution: tuple[Array, Array],
        X: Any,
        target: Array,
        cost: Array,
    ) -> tuple[Stream, tuple[Array, Array]]:
        """Pass once over some rows; return the new state and solution, (weights, intercepts).

        `solution` has shapes (n_features, n_problems) and (n_problems,), `cost` has shape (n, 1),
        or (n, n_problems) if the rows differ in weight from problem to problem. It is not 0 in all
        rows. `rng` draws their order; after the first call, it is a copy of the state's own.
        """
        new = copy.copy(stream)
        constant = self.constant or 1.0
        if stream.weights is not None and stream.mean_checksums != _checksums(*solution):
            # Another solution was assigned: its mean begins here.
            new.step, new.weights = 0, None
        # In the call, intercepts are weights of the constant feature.
        mean = solution[0], solution[1] / constant
        weights = mean if new.weights is None else (new.weights[0], new.weights[1] / constant)
        before = new.step, weights
        new.squares = stream.squares.copy()
        new.squares[-1] *= constant**2
        new.unit = stream.unit or _unit(cost)
        cost = cost / new.unit
        of_row = _mean_of_problems(cost)
        new.totals = stream.totals + cost.sum(axis=0)
        new.norms += float(of_row @ _absolute_sums(X))
        size = _step_rows(X)
        new.step += -(-X.shape[0] // size)
        order = rng.permutation(X.shape[0])
        # The caller's own generator may be used elsewhere before the next call.
        new.rng = copy.deepcopy(rng) if stream.rng is None else rng
        # All problems learn equally fast, whatever the weights of their rows. The totals are those
        # of the whole stream: a row counts as much in any company.
        rates = _balanced(new.totals)
        call = _Call(self, before, new, mean, rates, float(of_row.sum()), X, order, size)
        call.run(target[order], (cost * rates)[order].astype(X.dtype))
        if not (np.isfinite(new.squares).all() and np.isfinite(call.V).all()):
            raise WeightsNotFiniteError
        new.squares[-1] /= constant**2
        found = call.means[0], call.means[1] * constant
        if self.average:
            new.weights, new.mean_checksums = (call.W, call.b * constant), _checksums(*found)
        return new, found


class _Call:
    """One pass over the rows of a call.

    The weights of the features that occur in it, and last that of the constant feature, are
    collected in V, so that they stay in the cache.
    """

    def __init__(
        self,
        problem: StreamProblem,
        before: tuple[int, tuple[Array, Array]],
        after: Stream,
        solution: tuple[Array, Array],
        rates: Array,
        total: float,
        X: Any,
        order: Array,
        size: int,
    ) -> None:
        self.problem, self.squares = problem, after.squares
        (self.first, (weights, self.b)), self.last = before, after.step
        dtype = X.dtype
        norms = after.norms + after.weight * problem.constant
        self.rate = problem.rate * after.weight / norms if norms else 0.0
        #: Strength of the penalty in a step.
        share = total / (after.weight * (self.last - self.first))
        self.decay = rates * min(share / problem.C / after.unit, sys.float_info.max)
        steps = _DenseSteps if isinstance(X, np.ndarray) else _SparseSteps
        self.steps = steps(X, order, problem.constant, size)
        self.places = np.append(self.steps.features, X.shape[1])
        self.V = self._collected(weights, self.b, dtype)
        self.W = self._decayed(weights, dtype)
        #: Weights and intercepts to predict with.
        self.means: tuple[Array, Array] = solution
        # M: the rows of `means` that V holds of the weights.
        self.M = self._collected(*solution, dtype) if problem.average else None
        # The step at which each weight in V was changed last.
        self.changed = np.full(len(self.places), self.first)

    def _collected(self, weights: Array, intercept: Array, dtype: Any) -> Array:
        features = self.steps.features
        V = np.empty((len(features) + 1, weights.shape[1]), dtype)
        V[:-1], V[-1] = weights[features], intercept
        return V

    def _decayed(self, weights: Array, dtype: Any) -> Array:
        """Return all weights, decayed as if no feature occurred, block by block."""
        W = np.empty(weights.shape, dtype)
        size = max(1, BLOCK_ENTRIES // weights.shape[1])
        for start in range(0, len(weights), size):
            block = slice(start, start + size)
            factor = self._factor(self._rates(self.squares[:-1][block]), self.last - self.first)
            np.multiply(weights[block], factor, out=W[block], casting="same_kind")
        return W

    def _factor(self, rates: Array, n_steps: Any) -> Array:
        """Return by what the penalty multiplies weights in some steps: (features, 1 or problems).

        The steps that a weight has missed are one proximal step of the penalty.
        """
        factor = (rates * n_steps)[:, np.newaxis] * self.decay
        factor += 1
        return np.divide(1, factor, out=factor)

    def _rates(self, squares: Array) -> Array:
        rates = np.sqrt(squares)
        # Weights without a gradient have no rate yet.
        return np.divide(self.rate, rates, out=rates, where=squares > 0)

    def run(self, target: Array, scale: Array) -> None:
        """Take all steps."""
        problem, V, changed = self.problem, self.V, self.changed
        squares = self.squares[self.places]
        rates = self._rates(squares)
        width, size = V.shape[1], self.steps.size
        mean_of_problems = np.full(width, 1 / width)
        buffers = {
            n: LossBuffers.over(*(np.empty((n, m), V.dtype) for m in (width, width, width, 1)))
            for n in {min(size, len(target)), len(target) % size}
            if n
        }
        step = self.first
        for rows, used, x in self.steps:
            if problem.stop():
                return
            step += 1
            since = changed[used]
            v = V.take(used, axis=0)
            v *= self._factor(rates[used], step - since)
            if self.M is not None:
                self._catch_up(used, v, since, step - 1)
            b = buffers[rows.stop - rows.start]
            problem.loss.value_and_grad(x.dot(v), target[rows], scale[rows], b)
            g = x.T.dot(b.grad)
            sums = squares[used]
            sums += np.multiply(g, g, dtype=np.float64).dot(mean_of_problems)
            of_used = self._rates(sums)
            g *= of_used[:, np.newaxis]
            v -= g
            V[used], squares[used], rates[used], changed[used] = v, sums, of_used, step
            if self.M is not None:
                self._catch_up(used, v, step - 1, step)
        V *= self._factor(rates, self.last - changed)
        self.squares[self.places] = squares
        features = self.steps.features
        self.W[features], self.b = V[:-1], V[-1].copy()
        if self.M is None:
            self.means = self.W, self.b
            return
        self._catch_up(slice(None), V, changed, self.last)
        mean = self.means[0].astype(V.dtype)
        mean -= self.W
        mean *= self._kept(self.first, self.last)
        mean += self.W
        mean[features], self.means = self.M[:-1], (mean, self.M[-1].copy())

    def _catch_up(self, used: Any, v: Array, since: Any, until: int) -> None:
        """Add weights to their mean for the steps in which they did not change."""
        assert self.M is not None
        kept = np.reshape(self._kept(since, until), (-1, 1)).astype(v.dtype)
        self.M[used] = v + (self.M[used] - v) * kept

    def _kept(self, since: Any, until: int) -> Any:
        """Return what steps u leave of a mean: the product of (u - 1) / (u + power)."""
        kept = 1.0
        for k in range(AVERAGE_POWER + 1):
            kept = kept * ((since + k) / max(1, until + k))
        return kept


StepRows = tuple[slice, Array, Any]


class _DenseSteps:
    """The rows of each step, without the features that are 0 in all of them.

    A last column holds the constant feature; it is left out if it is 0.
    """

    def __init__(self, X: Array, order: Array, constant: float, size: int) -> None:
        self.X, self.order, self.size = X, order, size
        n_features = X.shape[1]
        self.features = np.arange(n_features)
        self._buffer = np.full((size, n_features + 1), constant, X.dtype)

    def __iter__(self) -> Iterator[StepRows]:
        n_rows = len(self.order)
        for start in range(0, n_rows, self.size):
            rows = slice(start, min(start + self.size, n_rows))
            x = self._buffer[: rows.stop - start]
            x[:, :-1] = self.X[self.order[rows]]
            used = np.flatnonzero(x.any(axis=0))
            yield rows, used, x if len(used) == x.shape[1] else x[:, used]


class _SparseSteps:
    """The same for sparse rows, among the features that occur at all."""

    def __init__(self, X: Any, order: Array, constant: float, size: int) -> None:
        n_features, self.size = X.shape[1], size
        X = with_constant(X[order], constant)
        X.eliminate_zeros()
        occurs = np.zeros(n_features + 1, bool)
        occurs[X.indices] = True
        occurs[-1] = True
        places = np.flatnonzero(occurs)
        self.features = places[:-1]
        place = np.empty(n_features + 1, X.indices.dtype)
        place[places] = np.arange(len(places))
        self.X, self.columns = X, place[X.indices]

    def __iter__(self) -> Iterator[StepRows]:
        X, width = self.X, len(self.features) + 1
        occurs, place = np.zeros(width, bool), np.empty(width, self.columns.dtype)
        for start in range(0, X.shape[0], self.size):
            rows = slice(start, min(start + self.size, X.shape[0]))
            ends = X.indptr[start : rows.stop + 1]
            entries = slice(ends[0], ends[-1])
            columns = self.columns[entries]
            occurs[columns] = True
            used = np.flatnonzero(occurs)
            occurs[columns] = False
            place[used] = np.arange(len(used))
            shape = (rows.stop - rows.start, len(used))
            yield (
                rows,
                used,
                sparse.csr_array((X.data[entries], place[columns], ends - ends[0]), shape),
            )


def _step_rows(X: Any) -> int:
    n_entries = np.count_nonzero(X if isinstance(X, np.ndarray) else X.data)
    return STEP_ROWS_THIN if n_entries < THIN * X.shape[0] * X.shape[1] else STEP_ROWS


def _absolute_sums(X: Any) -> Array:
    """Return the sum of absolute values of each row."""
    if not isinstance(X, np.ndarray):
        return np.asarray(abs(X).sum(axis=1), np.float64).ravel()
    size = max(1, BLOCK_ENTRIES // X.shape[1])
    blocks = [X[start : start + size] for start in range(0, len(X), size)]
    return np.concatenate([np.abs(block).sum(axis=1, dtype=np.float64) for block in blocks])


def _sums_of_squares(X: Any, scale: Array) -> Array:
    """Return for each column the sum of its squares, each times the scale of its row."""
    sums = np.zeros(X.shape[1])
    n_entries = X.size if isinstance(X, np.ndarray) else X.nnz
    size = max(1, BLOCK_ENTRIES * X.shape[0] // max(1, n_entries))
    for start in range(0, X.shape[0], size):
        rows = slice(start, start + size)
        block = X[rows].astype(np.float64)
        entries = block if isinstance(block, np.ndarray) else block.data
        np.square(entries, out=entries)
        sums += scale[rows] @ block
    return sums


def _balanced(totals: Array) -> Array:
    """Return a factor for each problem that gives all of them the same weight."""
    if len(totals) == 1:
        return np.ones(1)
    smallest = np.finfo(float).tiny
    return np.where(totals > 0, totals.mean() / np.maximum(totals, smallest), 1.0)


def _mean_of_problems(cost: Array) -> Array:
    """Return the mean over the problems of what was computed for each row."""
    return cost[:, 0] if cost.shape[1] == 1 else cost.mean(axis=1)


def _unit(cost: Array) -> float:
    """Return the power of two next to the largest weight, by which a division is exact."""
    return math.ldexp(0.5, math.frexp(float(cost.max()))[1])


def _checksums(*arrays: Array) -> tuple[int, ...]:
    return tuple(checksum_of(np.ascontiguousarray(array)) for array in arrays)
