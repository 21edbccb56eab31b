"""From gradients to new parameters, block by block: sum, penalty and update while in the cache."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

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
        self._shared = workers.n_threads > 1 and n > MIN_SHARED
        size = max(1, min(n, BLOCK_ALONE))
        if self._shared:
            # Equal blocks, as many for each thread, so that the threads finish together.
            size = -(-n // (workers.n_threads * -(-n // (workers.n_threads * BLOCK_SHARED))))
        self._size = size
        self._scratch: dict[int, Array] = {}
        params = objective.network.params
        self._segments = _segments(objective.network, optimizer)
        self._blocks: list[_Block] = []
        for place, handler, rate in self._segments:
            for start in range(place.start, place.stop, size):
                where = slice(start, min(start + size, place.stop))
                self._blocks.append(
                    _Block(
                        where,
                        params[where],
                        tuple(slot[where] for slot in state.slots),
                        # Blocks of one number run on one thread, so they can share a scratch array.
                        len(self._blocks) % workers.n_threads if self._shared else 0,
                        handler,
                        rate,
                    )
                )
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

    def _run(self, do: Callable[[Evaluation, _Block], None], evaluation: Evaluation) -> None:
        if self._shared:
            self.workers.run([partial(do, evaluation, block) for block in self._blocks])
        else:
            for block in self._blocks:
                do(evaluation, block)

    def _scratch_for(self, evaluation: Evaluation, block: _Block) -> Array:
        if self._shared and len(evaluation.parts) > 1:
            # Large blocks do not fit the cache anyway: reuse a part that has been added.
            return evaluation.parts[1][block.place]
        scratch = self._scratch.get(block.thread)
        if scratch is None:
            scratch = self._scratch[block.thread] = np.empty(self._size, block.params.dtype)
        return scratch[: len(block.params)]

    def _sum_only(self, evaluation: Evaluation, block: _Block) -> None:
        scratch = self._scratch_for(evaluation, block)
        self.objective.gradient(evaluation, block.place, scratch)

    def _update(self, block: _Block, g: Array, scratch: Array) -> None:
        block.optimizer.update(block.params, g, block.slots, scratch, block.lr, self.state.t)

    def _sum_and_update(self, evaluation: Evaluation, block: _Block) -> None:
        scratch = self._scratch_for(evaluation, block)
        g = self.objective.gradient(evaluation, block.place, scratch)
        self._update(block, g, scratch)

    def _clip_and_update(self, clip: float, evaluation: Evaluation, block: _Block) -> None:
        g = evaluation.parts[0][block.place]
        if clip < 1:
            g *= clip
        self._update(block, g, self._scratch_for(evaluation, block))

    def _norm(self, gradient: Array) -> float:
        """Return the norm of the gradient, summed in an order that threads do not change."""
        parts = [
            gradient[start : min(start + BLOCK_ALONE, place.stop)]
            for place, _, _ in self._segments
            for start in range(place.start, place.stop, BLOCK_ALONE)
        ]
        return math.sqrt(sum([float(np.dot(part, part)) for part in parts]))


@dataclass(slots=True, eq=False)
class _Block:
    """A slice of the parameters, and the same slice of the optimizer's arrays."""

    place: slice
    params: Array
    slots: tuple[Array, ...]
    thread: int
    optimizer: Optimizer
    rate: float
    lr: Array = field(init=False)


def _segments(network: Network, optimizer: Optimizer) -> list[tuple[slice, Optimizer, float]]:
    """Cut the parameters only between roles that the optimizer treats differently.

    Frozen parameters are left out.
    """
    segments: list[tuple[slice, Optimizer, float]] = []
    for place, role in network.roles:
        handler = optimizer.for_role(role.penalised)
        before = segments[-1] if segments else None
        if not role.rate:
            continue
        if before and before[0].stop == place.start and before[1:] == (handler, role.rate):
            segments[-1] = (slice(before[0].start, place.stop), handler, role.rate)
        else:
            segments.append((place, handler, role.rate))
    return segments
