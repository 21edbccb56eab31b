"""From gradients to new parameters, block by block: sum, penalty and update while in the cache."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from skscratch.core.functions import Array
from skscratch.core.network import Network
from skscratch.core.objective import Evaluation, Objective
from skscratch.core.optimizers import Optimizer, OptimizerState
from skscratch.core.workers import Workers

# Parameters that the optimizer handles at a time. A single thread keeps a block in its cache;
# several threads must make few, large calls, or they compete for the interpreter lock, and share
# the work only if that pays for the hand-over.
BLOCK_ALONE = 1 << 15
BLOCK_SHARED = 1 << 20
MIN_SHARED = 1 << 17


class Step:
    """Lets an optimizer change the parameters of an objective's network.

    Parameters
    ----------
    objective : Objective
        Its network's parameters are changed, and its penalty is added to the gradient.
    optimizer : Optimizer
        How a gradient becomes a change.
    state : OptimizerState
        The optimizer's state.
    workers : Workers
        The threads; the result does not depend on them.
    max_norm : float, optional
        Clip the gradient to this norm (Pascanu et al., 2013).

    Attributes
    ----------
    under_way : bool
        Whether a step has begun and not ended: then some parameters are new and some are not.
    is_shared : bool
        Whether several threads share the work of a step.
    norm : float or None
        Norm of the last step's gradient before clipping; None without `max_norm`.
    """

    def __init__(
        self,
        objective: Objective,
        optimizer: Optimizer,
        state: OptimizerState,
        workers: Workers,
        max_norm: float | None = None,
    ) -> None:
        self.objective, self.optimizer, self.state = objective, optimizer, state
        self.workers, self.max_norm = workers, max_norm
        self.under_way = False
        self.norm: float | None = None
        n, dtype = objective.network.n_params, objective.network.dtype
        self.is_shared = workers.n_threads > 1 and n > MIN_SHARED
        size = max(1, min(n, BLOCK_ALONE))
        if self.is_shared:
            # Equal blocks, as many for each thread, so that the threads finish together.
            size = -(-n // (workers.n_threads * -(-n // (workers.n_threads * BLOCK_SHARED))))
        self._segments = _segments(objective.network, optimizer)
        self._blocks: list[_Block] = []
        params, n_threads = objective.network.params, workers.n_threads if self.is_shared else 1
        for segment in self._segments:
            for place in _cut(segment, size):
                # Job k always goes to thread k modulo their number, and blocks are jobs.
                thread = len(self._blocks) % n_threads
                self._blocks.append(_Block(segment, place, params, state, thread))
        self._size = max([size, *(block.n_scratch for block in self._blocks)])
        self._scratch: dict[int, Array] = {}
        if not self.is_shared:
            scratch = np.empty(self._size, dtype)
            for block in self._blocks:
                block.scratch = scratch[: block.n_scratch]
        rates = {block.rate: np.zeros((), dtype) for block in self._blocks}
        self._lr = list(rates.items())
        for block in self._blocks:
            block.lr = rates[block.rate]

    def __call__(self, evaluation: Evaluation, lr: float) -> None:
        """Take one step along the gradients of an evaluation, which are overwritten."""
        self.under_way = True
        for rate, array in self._lr:
            array[()] = lr * rate
        self.state.t += 1
        if self.max_norm is None:
            self._run(self._sum_and_update, evaluation)
        else:
            # The norm needs all blocks before the first one takes its step.
            self._run(self._sum_only, evaluation)
            self.norm = self._norm(evaluation.parts[0])
            clip = self.max_norm / max(self.max_norm, self.norm)
            self._run(partial(self._clip_and_update, clip), evaluation)
        self.under_way = False

    def _run(self, do: Callable[[Evaluation, _Block, Array], None], evaluation: Evaluation) -> None:
        if self.is_shared:
            self.workers.run(
                [
                    partial(do, evaluation, block, self._scratch_for(evaluation, block))
                    for block in self._blocks
                ]
            )
        else:
            # One block after the other, all in the same memory.
            for block in self._blocks:
                do(evaluation, block, block.scratch)

    def _scratch_for(self, evaluation: Evaluation, block: _Block) -> Array:
        """Return memory for a block that runs at the same time as others."""
        if len(evaluation.parts) > 1 and not block.whole:
            # Large blocks do not fit the cache anyway: reuse a part that has been added.
            return evaluation.parts[1][block.place]
        scratch = self._scratch.get(block.thread)
        if scratch is None:
            scratch = self._scratch[block.thread] = np.empty(self._size, block.params.dtype)
        return scratch[: block.n_scratch]

    def _sum_only(self, evaluation: Evaluation, block: _Block, scratch: Array) -> None:
        self.objective.gradient(evaluation, block.place, scratch)

    def _sum_and_update(self, evaluation: Evaluation, block: _Block, scratch: Array) -> None:
        g = self.objective.gradient(evaluation, block.place, scratch)
        if block.whole:
            g = g.reshape(block.params.shape)
        block.update(block.params, g, block.slots, scratch, block.lr, self.state.t)

    def _clip_and_update(
        self, clip: float, evaluation: Evaluation, block: _Block, scratch: Array
    ) -> None:
        g = evaluation.parts[0][block.place].reshape(block.params.shape)
        if clip < 1:
            g *= clip
        block.update(block.params, g, block.slots, scratch, block.lr, self.state.t)

    def _norm(self, gradient: Array) -> float:
        """Return the norm of the gradient, summed in an order that threads do not change."""
        parts = [
            gradient[start : min(start + BLOCK_ALONE, segment.place.stop)]
            for segment in self._segments
            for start in range(segment.place.start, segment.place.stop, BLOCK_ALONE)
        ]
        return math.sqrt(sum([float(np.dot(part, part)) for part in parts]))


class _Segment(NamedTuple):
    """Parameters that an optimizer treats alike; with a `shape`, one matrix that is kept whole."""

    place: slice
    optimizer: Optimizer
    rate: float
    shape: tuple[int, ...] | None = None


class _Block:
    """A part of a segment, and the same part of the optimizer's arrays."""

    __slots__ = (
        *("lr", "n_scratch", "params", "place", "rate"),
        *("scratch", "slots", "thread", "update", "whole"),
    )

    lr: Array
    scratch: Array

    def __init__(
        self, segment: _Segment, place: slice, params: Array, state: OptimizerState, thread: int
    ) -> None:
        self.place, self.thread, self.rate = place, thread, segment.rate
        self.whole = segment.shape is not None
        shape = segment.shape or (place.stop - place.start,)
        self.params = params[place].reshape(shape)
        self.slots = tuple(slot[place].reshape(shape) for slot in state.slots)
        self.n_scratch = self.params.size
        self.update: Callable[..., None] = segment.optimizer.update
        if self.whole:
            self.update = segment.optimizer.update_matrix
            self.n_scratch = max(self.n_scratch, segment.optimizer.matrix_scratch(shape))


def _cut(segment: _Segment, size: int) -> list[slice]:
    """Return the blocks of a segment; a matrix is one block."""
    place = segment.place
    if segment.shape is not None:
        return [place]
    starts = range(place.start, place.stop, size)
    return [slice(start, min(start + size, place.stop)) for start in starts]


def _segments(network: Network, optimizer: Optimizer) -> list[_Segment]:
    """Cut the parameters where the optimizer sees a difference, and nowhere else.

    Frozen parameters are left out.
    """
    segments: list[_Segment] = []
    matrices = network.hidden_matrices if optimizer.matrices else []
    for place, shape, role in matrices:
        if role.rate:
            segments.append(_Segment(place, optimizer, role.rate, shape))
    for whole, role in network.roles:
        handler = optimizer.for_role(role.penalised)
        for place in _without(whole, [place for place, _, _ in matrices]):
            before = segments[-1] if segments else None
            if not role.rate:
                continue
            if (
                before
                and before.shape is None
                and before.place.stop == place.start
                and before[1:3] == (handler, role.rate)
            ):
                segments[-1] = before._replace(place=slice(before.place.start, place.stop))
            else:
                segments.append(_Segment(place, handler, role.rate))
    return segments


def _without(whole: slice, parts: list[slice]) -> list[slice]:
    """Return what is left of a segment without some parts, which are in order."""
    rest, start = [], whole.start
    for part in parts:
        if whole.start <= part.start < whole.stop:
            rest.append(slice(start, part.start))
            start = part.stop
    rest.append(slice(start, whole.stop))
    return [piece for piece in rest if piece.start < piece.stop]
