"""The objective on any part of the data: its value, and the parts of its gradient.

Mini-batches, L-BFGS and validation all use the same `Evaluator`. A batch is cut into shards by its
size, that of the network and the entries stored in sparse rows; the shards' gradients are added in
their order. Threads therefore change no bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from scipy import sparse

from skscratch.core.functions import Array
from skscratch.core.network import Workspace
from skscratch.core.objective import Evaluation, Objective
from skscratch.core.rows import Index, Rows, as_columns, as_rows, is_sparse, within
from skscratch.core.workers import Workers, shards

# Rows that pass through the network at a time, which bounds the memory of a full batch.
BLOCK_ROWS = 1024
# Every block of sparse rows is followed by a pass over the gradient, which may be larger than all
# that the block needs: such blocks are as large as their memory in bytes allows.
SPARSE_BLOCK_BYTES = 1 << 26
MIN_SPARSE_BLOCK_ROWS = 32
# Time of a multiplication with an entry of sparse rows, relative to one within a dense product.
SPARSE_COST = 4
# Dividing by a denormal number could overflow.
SMALLEST_TOTAL = float(np.finfo(np.float64).tiny)


class Evaluator:
    """Evaluates an objective on rows of given data.

    With T threads it keeps T + 1 gradients in memory, or fewer if there are fewer shards: shards
    run in groups of T, and each group is added to the sum before the next one.

    Parameters
    ----------
    objective : Objective
        The objective to evaluate.
    X, target : ndarray, sparse matrix or Rows
        The data; the same object twice for an autoencoder.
    weight : ndarray of shape (n,) or (n, n_out), optional
        Weights of the rows, or of each of their outputs.
    batch_size : int
        Largest number of rows per call.
    workers : Workers
        The threads.
    rngs : sequence of Generator, optional
        A source of random numbers for each shard, so that the noise does not depend on threads.
    gradient : bool, default=True
        If False, compute the loss as in prediction: no noise, no penalty, no gradient.
    block_rows : int, optional
        Rows that pass through the network at a time; by default 1024, or for sparse rows as many
        as fit a constant amount of memory.
    """

    def __init__(
        self,
        objective: Objective,
        X: Any,
        target: Any,
        weight: Array | None,
        batch_size: int,
        workers: Workers,
        rngs: Sequence[np.random.Generator] | None = None,
        *,
        gradient: bool = True,
        block_rows: int | None = None,
    ) -> None:
        self.X, self.target = check_data(objective, X, target)
        self.objective, self.workers, self.rngs = objective, workers, rngs
        self.n_rows = self.X.shape[0]
        self.weight = as_columns(weight, self.n_rows)
        self.gradient = gradient
        #: Number of entries stored for a row on average; None for dense rows.
        self._row_entries: float | None = None
        if is_sparse(self.X) and objective.network.takes_sparse(train=gradient):
            self._row_entries = self.X.n_stored(slice(0, self.n_rows)) / self.n_rows
        self.block_rows = self._default_block() if block_rows is None else block_rows
        self._first_rng = rngs[0] if rngs else None
        self._cuts: dict[int, list[slice]] = {}
        self._shards: list[_Shard] = []
        self._longest = 0
        for n in (batch_size, self.n_rows % batch_size):
            if n:
                self._prepare(n)

    def _default_block(self) -> int:
        if self._row_entries is None:
            return BLOCK_ROWS
        network = self.objective.network
        # Each layer's output, and its gradient.
        of_row = 2 * sum(network.widths[1:]) * network.dtype.itemsize
        return max(MIN_SPARSE_BLOCK_ROWS, SPARSE_BLOCK_BYTES // of_row)

    def _prepare(self, n: int) -> list[slice]:
        """Cut a batch of n rows, and make the workspaces it needs."""
        cuts = self._cuts[n] = self._cut(n)
        # One more than threads: the first one's gradient becomes the sum of all groups.
        n_shards = min(len(cuts), self.workers.n_threads + self.gradient)
        longest = max(cut.stop - cut.start for cut in cuts)
        # Shards of a smaller batch may be longer, because there are fewer of them.
        if longest > self._longest or n_shards > len(self._shards):
            self._longest = max(longest, self._longest)
            self._make_shards(max(n_shards, len(self._shards)))
        return cuts

    def _make_shards(self, n: int) -> None:
        whole = self.objective.network.whole_batch
        block = self._longest if whole else min(self._longest, self.block_rows)
        self._shards = []
        for k in range(n):
            # The last one never runs at the same time as the first one.
            share = self._shards[0] if k == self.workers.n_threads else None
            self._shards.append(_Shard(self, block, several=self._longest > block, share=share))
        self._parts = [shard.grad for shard in self._shards] if self.gradient else []
        self._first_part = self._parts[:1]

    def _cut(self, n: int) -> list[slice]:
        """Return how a batch of n rows is cut."""
        network, size = self.objective.network, self.block_rows
        if not self.gradient:
            return [slice(start, min(start + size, n)) for start in range(0, n, size)]
        if network.whole_batch:
            return [slice(0, n)]
        return shards(n, network.n_params, None if self._row_entries is None else self._work(n))

    def _work(self, n: int) -> float:
        """Return the multiplications for n sparse rows, as many as take the time in dense ones."""
        network = self.objective.network
        assert self._row_entries is not None
        n_in, width = network.widths[:2]
        n_dense = network.n_params
        if 0 not in network.ties.values():
            n_dense -= n_in * width
        return n * (n_dense + SPARSE_COST * self._row_entries * width)

    def __call__(self, rows: Index, n: int) -> Evaluation:
        """Evaluate the objective on these n rows; if they have no weight, the total is 0.

        The gradients in the result are overwritten by the next call.
        """
        weight, total = None, float(n)
        if self.weight is not None:
            weight = self.weight[rows]
            total = self.objective.total(n, weight)
            if total < SMALLEST_TOTAL:
                return Evaluation(0.0, 0.0, [])
        cuts = self._cuts.get(n)
        if cuts is None:
            cuts = self._prepare(n)
        if len(cuts) == 1:
            value = self._shards[0](rows, cuts[0], weight, total, self._first_rng)
            parts = self._first_part
        else:
            values = [0.0] * len(cuts)
            run = self._run_groups if self.gradient else self._run_all
            parts = run(rows, cuts, weight, total, values)
            value = sum(values)
        if self.gradient:
            value += self.objective.penalty(total)
        return Evaluation(value, total, parts)

    def take_ahead(self, rows: Index, n: int) -> None:
        """Let an idle thread take the rows of the next call, for all shards."""
        cuts = self._cuts.get(n, [])
        if 1 < len(cuts) <= self.workers.n_threads and not self._shards[0].several:

            def take() -> None:
                for shard, place in zip(self._shards, cuts, strict=False):
                    shard.take(rows, place.start, place.stop)

            self.workers.run_ahead(take)

    def _run_groups(
        self,
        rows: Index,
        cuts: list[slice],
        weight: Array | None,
        total: float,
        values: list[float],
    ) -> list[Array]:
        """Evaluate as many shards at a time as there are threads; return gradients to add."""

        def evaluate(k: int, shard: _Shard) -> None:
            rng = self.rngs[k] if self.rngs else None
            values[k] = shard(rows, cuts[k], weight, total, rng)

        size = self.workers.n_threads
        total_gradient = self._parts[0]
        used = self._shards[:size]
        for first in range(0, len(cuts), size):
            if first > 0:
                # Added in the order of the shards, for any number of threads.
                for shard in used[1:] if first == size else used:
                    total_gradient += shard.grad
                used = self._shards[1 : size + 1]
            used = used[: len(cuts) - first]
            self.workers.run([partial(evaluate, first + k, sh) for k, sh in enumerate(used)])
        last = [shard.grad for shard in used]
        return last if used[0] is self._shards[0] else [total_gradient, *last]

    def _run_all(
        self,
        rows: Index,
        cuts: list[slice],
        weight: Array | None,
        total: float,
        values: list[float],
    ) -> list[Array]:
        """Compute the values of all blocks, without gradients."""

        def evaluate(first: int) -> None:
            shard = self._shards[first]
            for k in range(first, len(cuts), len(self._shards)):
                values[k] = shard(rows, cuts[k], weight, total, None)

        self.workers.run([partial(evaluate, k) for k in range(len(self._shards))])
        return []


class _LastRows:
    """The rows taken last, and their index: a full batch is taken only once."""

    __slots__ = ("rows", "start", "t", "x")

    rows: Index | None
    x: Any
    t: Any

    def __init__(self) -> None:
        self.rows, self.start = None, -1


class _Shard:
    """Evaluates one shard of a batch at a time, in its own workspace."""

    def __init__(
        self, evaluator: Evaluator, rows: int, *, several: bool, share: _Shard | None
    ) -> None:
        objective, gradient = evaluator.objective, evaluator.gradient
        network = objective.network
        self.X, self.target, self.rows, self.several = evaluator.X, evaluator.target, rows, several
        self.term = objective.data_term if gradient else objective.value
        shared, sparse_rows = None if share is None else share.ws, is_sparse(self.X)
        self.ws: Workspace = Workspace(
            network, rows, train=gradient, share=shared, sparse_rows=sparse_rows
        )
        if gradient:
            # The gradients of several blocks are added up in a separate array.
            self.grad = np.zeros_like(network.params) if several else self.ws.grad
        self._last: _LastRows = _LastRows() if share is None else share._last

    def __call__(
        self,
        rows: Index,
        place: slice,
        weight: Array | None,
        total: float,
        rng: np.random.Generator | None,
    ) -> float:
        if rng is not self.ws.rng:
            self.ws.use_rng(rng)
        start, stop = place.start, place.stop
        value = self._block(rows, start, min(stop, start + self.rows), weight, total)
        if self.several:
            self.grad[:] = self.ws.grad
            for begin in range(start + self.rows, stop, self.rows):
                value += self._block(rows, begin, min(stop, begin + self.rows), weight, total)
                self.grad += self.ws.grad
        return value

    def take(self, rows: Index, start: int, stop: int) -> None:
        """Take these rows and their targets."""
        last = self._last
        last.rows = None
        last.x, last.t = self._take(within(rows, start, stop), stop - start)
        last.rows, last.start = rows, start

    def _block(
        self, rows: Index, start: int, stop: int, weight: Array | None, total: float
    ) -> float:
        last = self._last
        if last.rows is not rows or last.start != start:
            self.take(rows, start, stop)
        if weight is not None:
            weight = weight[start:stop]
        return self.term(last.x, last.t, self.ws, weight, total)

    def _take(self, rows: Index, n: int) -> tuple[Any, Any]:
        """Take n rows and their targets, which for an autoencoder are the rows themselves."""
        x = self.ws.take(self.X, rows, n)
        if self.target is self.X:
            return x, x
        if is_sparse(self.target):
            # The loss makes them dense a few rows at a time.
            return x, self.target.take_sparse(rows, self.ws.stack.dtype)
        return x, self.target.take(rows, self.ws.buffer("target", n, self.target.shape[1]))


def evaluate(
    objective: Objective,
    X: Any,
    target: Any,
    weight: Array | None = None,
    n_threads: int = 1,
    block_rows: int | None = None,
) -> float:
    """Return the mean loss over some rows, without noise, penalty or gradient.

    Each thread passes `block_rows` rows through the network at a time.
    """
    n = X.shape[0]
    with np.errstate(over="ignore", invalid="ignore"), Workers(n_threads) as workers:
        whole = Evaluator(
            objective, X, target, weight, n, workers, gradient=False, block_rows=block_rows
        )
        return whole(slice(0, n), n).value


def check_data(objective: Objective, X: Any, target: Any) -> tuple[Rows, Rows]:
    """Return X and targets as rows; raise a ValueError if they do not fit the objective."""
    network = objective.network
    rows = as_rows(X)
    targets = rows if target is X else as_rows(target)
    for name, data, width in (("X", rows, network.n_in), ("target", targets, network.n_out)):
        if len(data.shape) != 2 or data.shape[1] != width:
            raise ValueError(f"{name} must have shape (n, {width}), got {data.shape}.")
    if rows.shape[0] != targets.shape[0] or rows.shape[0] < 1:
        raise ValueError(f"X has {rows.shape[0]} rows, target {targets.shape[0]}.")
    # Targets of other kinds would have to be taken row by row.
    if isinstance(target, np.ndarray) or sparse.issparse(target):
        objective.loss.check_targets(target)
    return rows, targets
