"""Mini-batch training: batches, the loop, its history, stopping and resuming.

The loop is three short steps. `_run_epochs` runs epochs until one is judged to be the last,
`_Epoch` runs batches, `BatchGradient` and `ParameterUpdate` make up one step. Stopping is a return
value. What is needed to go on later, bit for bit, is in the returned `TrainingState`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from skscratch.core.functions import Array
from skscratch.core.initializers import RandomSource
from skscratch.core.interrupts import Interrupts
from skscratch.core.network import Workspace
from skscratch.core.objective import Objective
from skscratch.core.optimizers import SGD, Optimizer, OptimizerState
from skscratch.core.schedules import Clock, Constant, Schedule
from skscratch.core.workers import MOST_SHARDS, Job, Workers, shards

# Rows that one worker passes through the network at a time, so that a full batch of any size needs
# no more room than this.
BLOCK_ROWS = 1024
# Parameters that the optimizer handles at a time. Alone, a thread keeps a block in its cache;
# several threads must do few, large calls, or the interpreter lock goes back and forth, and they
# share what is worth the hand-over.
BLOCK_ALONE = 1 << 15
BLOCK_SHARED = 1 << 20
FEWEST_SHARED = 1 << 17

# Dividing by a denormal number could overflow.
SMALLEST_TOTAL = float(np.finfo(np.float64).tiny)

Index = slice | NDArray[np.intp]


class DivergenceError(ValueError):
    """Training has reached values that are not finite."""


class Rows(Protocol):
    """Training data, asked for some rows at a time: an array, or anything that acts like one.

    The same rows have the same values whenever they are asked for, so a full batch is taken once.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of rows and of columns."""

    def take(self, rows: Index, out: Array) -> Array:
        """Return these rows, dense and in the dtype of `out`; using its memory is optional."""


class ArrayRows:
    """The rows of an array of any dtype, read-only and memory-mapped ones included."""

    def __init__(self, array: Array) -> None:
        self.array = array
        self.shape = array.shape
        # For arrays of another memory order NumPy's take copies the whole array at every call.
        self._ready = bool(array.flags.c_contiguous)

    def take(self, rows: Index, out: Array) -> Array:
        """Return these rows: a view of them where that is possible, else a copy in `out`."""
        if self.array.dtype != out.dtype or not self._ready:
            out[...] = self.array[rows]
            return out
        if isinstance(rows, slice):
            return self.array[rows]
        # Without mode="clip", take buffers the output.
        return np.take(self.array, rows, axis=0, out=out, mode="clip")


class SomeRows:
    """Some rows of others, by their numbers: nothing is copied before it is taken."""

    def __init__(self, rows: Rows, chosen: NDArray[np.intp]) -> None:
        self.rows, self.chosen = rows, chosen
        self.shape = (len(chosen), *rows.shape[1:])

    def take(self, rows: Index, out: Array) -> Array:
        """Return these of the chosen rows."""
        return self.rows.take(self.chosen[rows], out)


def as_rows(data: Array | Rows) -> Rows:
    """Return `data` as rows to take from."""
    return ArrayRows(data) if isinstance(data, np.ndarray) else data


@dataclass(frozen=True)
class Patience:
    """Stop after more than `n_epochs` epochs in a row without an improvement by `tol`.

    `monitor` says of what: ``"score"``, the validation score where there is one, or ``"loss"``, the
    training loss in any case.
    """

    tol: float = 1e-4
    n_epochs: float = 10
    monitor: Literal["score", "loss"] = "score"


@dataclass
class TrainingState:
    """All that training carries from step to step, besides the parameters.

    `best_params` are those of the epoch with the `best_score`.
    """

    optimizer: OptimizerState
    rng: RandomSource
    shard_rngs: list[np.random.Generator]
    clock: Clock
    best_loss: float = np.inf
    best_score: float = -np.inf
    n_stale: int = 0
    best_params: Array | None = None


@dataclass
class TrainingRun:
    """What happened: one loss an epoch, one score an epoch if there was somebody to give it.

    `stopped` is ``"patience"``, ``"on_epoch"``, ``"interrupted"`` or ``"diverged"`` (with the best
    parameters kept), or None when all epochs were run.
    """

    state: TrainingState
    losses: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    stopped: str | None = None

    @property
    def n_epochs(self) -> int:
        """Number of epochs run."""
        return len(self.losses)


class BatchGradient:
    """The objective on a batch, its shards shared out among the workers.

    After `value`, the gradients of the shards stand in `grads`, to be added in this order.
    """

    def __init__(
        self,
        objective: Objective,
        X: Rows,
        target: Rows,
        weight: Array | None,
        batch_size: int,
        workers: Workers,
        rngs: list[np.random.Generator] | None = None,
    ) -> None:
        self.objective, self.X, self.target = objective, X, target
        self.weight = _columns(weight, X.shape[0])
        self.workers = workers
        cut = shards(batch_size, objective.network.n_params)
        rows = max(s.stop - s.start for s in cut)
        self.shards = [
            _Shard(self, min(rows, BLOCK_ROWS), rows > BLOCK_ROWS, rngs[k] if rngs else None)
            for k in range(len(cut))
        ]
        self.rows: Index = slice(0)
        self.total = 1.0
        self._share_out(batch_size)

    def _share_out(self, n: int) -> None:
        """Give each shard its place in a batch of `n` rows."""
        cut = shards(n, self.objective.network.n_params)
        self._n, self._used = n, self.shards[: len(cut)]
        self._total_unweighted = self.objective.total(n, None)
        for shard, place in zip(self._used, cut, strict=True):
            shard.place = place
        self._jobs = [shard.run for shard in self._used]
        self.grads = [shard.grad for shard in self._used]

    @property
    def weighs_nothing(self) -> bool:
        """Whether the rows of the last value have no weight that one could divide by."""
        return self.total < SMALLEST_TOTAL

    def value(self, rows: Index, n: int) -> float:
        """Return the objective on these `n` rows, or 0 where they weigh nothing."""
        if n != self._n:
            self._share_out(n)
        self.rows, self.row_weight, self.total = rows, None, self._total_unweighted
        if self.weight is not None:
            self.row_weight = self.weight[rows]
            self.total = self.objective.total(n, self.row_weight)
            if self.weighs_nothing:
                return 0.0
        self.workers.run(self._jobs)
        value = self.objective.penalty(self.total)
        for shard in self._used:
            value += shard.value
        return value

    def close(self) -> None:
        """Forget the shards, which refer back: else the rows wait for the garbage collector."""
        self.shards, self._used, self._jobs = [], [], []

    def gradient(self) -> Array:
        """Add up the gradient that belongs to the last value, in the first shard's memory."""
        total, *others = self.grads
        for other in others:
            total += other
        weights = slice(0, self.objective.network.n_weights)
        if self.objective.l2:
            self.objective.add_penalty_grad(total, weights, self.total)
        return total


def _columns(weight: Array | None, n: int) -> Array | None:
    """Return weights as one or more columns of float64, so that small ones do not become 0."""
    if weight is None:
        return None
    columns = np.asarray(weight, dtype=np.float64)
    if columns.ndim not in (1, 2) or len(columns) != n or not columns.min() >= 0:
        raise ValueError(
            f"weight must be at least 0 and have {n} rows, got the shape {columns.shape}."
        )
    return columns.reshape(n, -1)


class _Shard:
    """A part of every batch, with a workspace of its own."""

    def __init__(
        self, batch: BatchGradient, rows: int, several: bool, rng: np.random.Generator | None
    ) -> None:
        network = batch.objective.network
        self.batch, self.rows = batch, rows
        self.ws = Workspace(network, rows, train=True, rng=rng)
        # A shard of several blocks adds their gradients up elsewhere.
        self.grad = np.zeros_like(network.params) if several else self.ws.grad
        self.place = slice(0)
        self.value = 0.0
        self._taken: tuple[Index, int] | None = None

    def run(self) -> None:
        start, stop = self.place.start, self.place.stop
        self.value = self._block(start, min(stop, start + self.rows))
        if self.grad is self.ws.grad:
            return
        self.grad[:] = self.ws.grad
        for begin in range(start + self.rows, stop, self.rows):
            self.value += self._block(begin, min(stop, begin + self.rows))
            self.grad += self.ws.grad

    def _block(self, start: int, stop: int) -> float:
        batch = self.batch
        if self._taken is None or self._taken[0] is not batch.rows or self._taken[1] != start:
            self._taken = batch.rows, start
            rows = _within(batch.rows, start, stop)
            self.x, self.target = _take(batch.X, batch.target, rows, stop - start, self.ws)
        weight = None if batch.row_weight is None else batch.row_weight[start:stop]
        return batch.objective.data_term(self.x, self.target, self.ws, weight, batch.total)


def _take(X: Rows, target: Rows, rows: Index, n: int, ws: Workspace) -> tuple[Array, Array]:
    """Take n rows and their targets; the rows of an autoencoder, its own targets, only once."""
    x = X.take(rows, ws.buffer("rows", n, X.shape[1]))
    if target is X:
        return x, x
    return x, target.take(rows, ws.buffer("target", n, target.shape[1]))


def _within(rows: Index, start: int, stop: int) -> Index:
    if isinstance(rows, slice):
        return slice(rows.start + start, rows.start + stop)
    return rows[start:stop]


class ParameterUpdate:
    """Add up the shards' gradients and let the optimizer change the parameters, block by block."""

    def __init__(
        self,
        objective: Objective,
        optimizer: Optimizer,
        state: OptimizerState,
        batch: BatchGradient,
        workers: Workers,
        max_norm: float | None = None,
    ) -> None:
        self.objective, self.optimizer, self.state = objective, optimizer, state
        self.batch, self.workers, self.max_norm = batch, workers, max_norm
        #: Whether a step has begun and not ended: then some parameters are new and some are not.
        self.under_way = False
        n = objective.network.n_params
        shared = workers.n_threads > 1 and n > FEWEST_SHARED
        size = max(1, min(n, BLOCK_ALONE))
        if shared:
            # As many for each thread, and all of one size: nobody waits for the other's last one.
            size = -(-n // (workers.n_threads * -(-n // (workers.n_threads * BLOCK_SHARED))))
        blocks = [_Block(self, slice(a, min(a + size, n))) for a in range(0, n, size)]
        scratch = [np.empty(size, objective.network.dtype) for _ in range(workers.n_threads)]
        for k, block in enumerate(blocks):
            block.scratch = scratch[k % workers.n_threads if shared else 0][: len(block.w)]
        self._gather = [block.gather for block in blocks]
        self._step = [block.step for block in blocks]
        self._both = [block.run for block in blocks]
        self._shared = shared
        self.lr, self.clip = np.zeros((), objective.network.dtype), 1.0

    def close(self) -> None:
        """Forget the blocks, which refer back."""
        self._gather, self._step, self._both = [], [], []

    def step(self, lr: float) -> None:
        """Take one step along the gradients that the batch has just left."""
        self.under_way = True
        self.lr[()] = lr
        self.state.t += 1
        if self.max_norm is None:
            self._run(self._both)
        else:
            # The norm needs all blocks before the first one takes its step.
            self._run(self._gather)
            self.clip = self.max_norm / max(self.max_norm, self._norm())
            self._run(self._step)
        self.under_way = False

    def _run(self, jobs: list[Job]) -> None:
        if self._shared:
            self.workers.run(jobs)
        else:
            for job in jobs:
                job()

    def _norm(self) -> float:
        """Norm of the gathered gradient, summed in an order that threads do not change."""
        g = self.batch.grads[0]
        parts = [g[a : a + BLOCK_ALONE] for a in range(0, len(g), BLOCK_ALONE)]
        return math.sqrt(sum([float(np.dot(part, part)) for part in parts]))


class _Block:
    """A stretch of the parameter vector, with the same stretch of everything that goes with it."""

    scratch: Array

    def __init__(self, update: ParameterUpdate, place: slice) -> None:
        network, self.update, self.place = update.objective.network, update, place
        self.w = network.params[place]
        self.slots = tuple(slot[place] for slot in update.state.slots)
        self.grads = [shard.grad[place] for shard in update.batch.shards]
        self.penalised = slice(place.start, min(place.stop, network.n_weights))

    def run(self) -> None:
        self.gather()
        self.step()

    def gather(self) -> None:
        """Add up the shards' gradients and the penalty's."""
        batch, objective = self.update.batch, self.update.objective
        g = self.grads[0]
        for other in self.grads[1 : len(batch.grads)]:
            g += other
        if objective.l2 and self.penalised.stop > self.penalised.start:
            objective.add_penalty_grad(g, self.penalised, batch.total, self.scratch)

    def step(self) -> None:
        """Let the optimizer change the parameters."""
        update, g = self.update, self.grads[0]
        if update.clip < 1:
            g *= update.clip
        update.optimizer.update(self.w, g, self.slots, self.scratch, update.lr, update.state.t)


def train(
    objective: Objective,
    X: Array | Rows,
    target: Array | Rows,
    *,
    optimizer: Optimizer | None = None,
    schedule: Schedule | None = None,
    batch_size: int = 200,
    max_epochs: int = 200,
    rng: RandomSource | int | None = None,
    weight: Array | None = None,
    shuffle: bool = True,
    validate: Callable[[], float] | None = None,
    keep_best: bool = False,
    max_norm: float | None = None,
    patience: Patience | None = None,
    before_epoch: Callable[[], None] | None = None,
    on_epoch: Callable[[TrainingRun], bool | None] | None = None,
    n_threads: int = 1,
    state: TrainingState | None = None,
    interrupts: Interrupts | None = None,
) -> TrainingRun:
    """Train the objective's network in place.

    Parameters
    ----------
    objective : Objective
        What to make small.
    X, target : ndarray of shape (n, n_in) and (n, n_out), or Rows
        Training data. Passing the same object twice trains an autoencoder.
    optimizer : Optimizer, default=SGD()
        How a gradient changes the parameters.
    schedule : Schedule, default=Constant(0.1)
        The learning rate over time.
    batch_size, max_epochs : int
        Rows in a batch; passes over the rows.
    rng : Generator, RandomSource or int, default=None
        Draws the order of the rows, and the noise. Not used when resuming from `state`.
    weight : ndarray of shape (n,) or (n, n_out), optional
        Weights of the rows, or of each output of them. A batch whose weights are all 0 changes
        nothing.
    shuffle : bool, default=True
        Draw a new order of the rows every epoch.
    validate : callable, optional
        Returns a score after each epoch, higher is better.
    keep_best : bool, default=False
        Leave the network with the parameters of the best score.
    max_norm : float, optional
        Shorten a gradient to this norm where it is longer (Pascanu et al., 2013).
    patience : Patience, optional
        When to stop early.
    before_epoch, on_epoch : callable, optional
        Called before each epoch, and after it with the run so far, where True stops.
    n_threads : int, default=1
        Threads to use. The result has the same bits for any number.
    state : TrainingState, optional
        Go on from an earlier run's state. k runs of one epoch give the bits of one run of k.
    interrupts : Interrupts, optional
        Let Ctrl-C end the training with the parameters of the last whole epoch, or, within the
        first epoch, of the last whole step. The optimizer of the state then starts afresh. Without
        it, KeyboardInterrupt is raised.

    Returns
    -------
    TrainingRun
        Losses, scores, why it stopped, and the state to go on from.

    Raises
    ------
    ValueError
        X, target and network do not fit together, targets lie outside the loss's interval, or
        `state` was made by another optimizer or for another network.
    DivergenceError
        A loss or a parameter is not finite any more, and no best parameters were kept; the message
        names the epoch.

    Examples
    --------
    >>> import numpy as np
    >>> from skscratch.core import Dense, Network, Objective, Sigmoid, SquaredError, Tanh, train
    >>> from skscratch.core import Constant
    >>> X, y = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]]), np.array([[0.0], [1], [1], [0]])
    >>> network = Network([Dense(4), Tanh(), Dense(1), Sigmoid()], n_in=2, rng=1)
    >>> run = train(
    ...     Objective(network, SquaredError()), X, y, schedule=Constant(0.5), max_epochs=5000, rng=0
    ... )
    >>> network(X).round().ravel().tolist()
    [0.0, 1.0, 1.0, 0.0]
    """
    optimizer = SGD() if optimizer is None else optimizer
    schedule = Constant(0.1) if schedule is None else schedule
    rows, targets = _checked(objective, X, target)
    n = rows.shape[0]
    batch_size = max(1, min(batch_size, n))
    params = objective.network.params
    if state is None:
        state = start(objective, optimizer, rng)
        state.clock.n_steps = max_epochs * -(-n // batch_size)
    else:
        optimizer.check_state(state.optimizer, params)

    run = TrainingRun(state)
    with np.errstate(over="ignore", invalid="ignore"), Workers(n_threads) as workers:
        batch = BatchGradient(
            objective, rows, targets, weight, batch_size, workers, state.shard_rngs
        )
        update = ParameterUpdate(objective, optimizer, state.optimizer, batch, workers, max_norm)
        epoch = _Epoch(batch, update, schedule, state, _Batches(n, batch_size, shuffle), interrupts)

        def judge() -> str | None:
            run.losses.append(epoch.loss)
            finite = math.isfinite(epoch.loss)
            if not (finite or (keep_best and state.best_params is not None)):
                raise _divergence(state.clock)
            if validate is not None:
                run.scores.append(validate() if finite else math.nan)
            return (
                _stop_reason(run, params, schedule, patience, keep_best) if finite else "diverged"
            )

        try:
            _run_epochs(run, epoch, max_epochs, before_epoch, judge, on_epoch)
        except KeyboardInterrupt:
            if interrupts is None or not epoch.can_go_back:
                raise
            run.stopped, interrupts.requested = "interrupted", True
        if run.stopped == "interrupted":
            epoch.go_back(run)
            state.optimizer = optimizer.start(params)
        batch.close()
        update.close()
        if keep_best and state.best_params is not None:
            params[:] = state.best_params
        if not math.isfinite(float(np.add.reduce(params))):
            raise _divergence(state.clock)
    return run


def _run_epochs(
    run: TrainingRun,
    epoch: _Epoch,
    max_epochs: int,
    before_epoch: Callable[[], None] | None,
    judge: Callable[[], str | None],
    on_epoch: Callable[[TrainingRun], bool | None] | None,
) -> None:
    """Run epochs until one is judged to be the last; leave the reason in the run."""
    while len(run.losses) < max_epochs and run.stopped is None:
        if before_epoch is not None:
            before_epoch()
        if not epoch.run():
            run.stopped = "interrupted"
            return
        run.stopped = judge()
        epoch.keep()
        if on_epoch is not None and on_epoch(run) and run.stopped is None:
            run.stopped = "on_epoch"


def evaluate(
    objective: Objective,
    X: Array | Rows,
    target: Array | Rows,
    weight: Array | None = None,
    n_threads: int = 1,
    block_rows: int = BLOCK_ROWS,
) -> float:
    """Return the mean loss over some rows, without noise, penalty or gradient.

    Each thread passes `block_rows` rows through the network at a time.
    """
    rows, targets = _checked(objective, X, target)
    n = rows.shape[0]
    network = objective.network
    weight = _columns(weight, n)
    total = objective.total(n, weight)
    block_rows = min(block_rows, n)
    blocks = [slice(a, min(a + block_rows, n)) for a in range(0, n, block_rows)]
    values = [0.0] * len(blocks)
    n_threads = min(n_threads, len(blocks))

    def job(first: int) -> None:
        ws = Workspace(network, block_rows)
        for k in range(first, len(blocks), n_threads):
            block = blocks[k]
            size = block.stop - block.start
            x, t = _take(rows, targets, block, size, ws)
            some = None if weight is None else weight[block]
            values[k] = objective.value(x, t, ws, some, total)

    with np.errstate(over="ignore", invalid="ignore"), Workers(n_threads) as workers:
        workers.run([partial(job, k) for k in range(n_threads)])
    return sum(values)


def start(
    objective: Objective, optimizer: Optimizer, rng: RandomSource | int | None
) -> TrainingState:
    """Make the state of a training that has not begun."""
    if rng is None or isinstance(rng, int):
        rng = np.random.default_rng(rng)
    return TrainingState(
        optimizer=optimizer.start(objective.network.params),
        rng=rng,
        # A stream for each shard, so that its noise does not depend on who runs it, or when.
        shard_rngs=rng.spawn(MOST_SHARDS),
        clock=Clock(),
    )


def _checked(objective: Objective, X: Array | Rows, target: Array | Rows) -> tuple[Rows, Rows]:
    network = objective.network
    rows = as_rows(X)
    targets = rows if target is X else as_rows(target)
    for name, data, width in (("X", rows, network.n_in), ("target", targets, network.n_out)):
        if len(data.shape) != 2 or data.shape[1] != width:
            raise ValueError(f"{name} must have shape (n, {width}), got {data.shape}.")
    if rows.shape[0] != targets.shape[0] or rows.shape[0] < 1:
        raise ValueError(f"X has {rows.shape[0]} rows, target {targets.shape[0]}.")
    # Other rows than those of an array are taken as they come.
    if isinstance(target, np.ndarray):
        objective.loss.check_targets(target)
    return rows, targets


class _Epoch:
    """One pass over all rows after the other, and the parameters to go back to when interrupted.

    `loss` is the mean of the batches' losses, weighted by their rows.
    """

    def __init__(
        self,
        batch: BatchGradient,
        update: ParameterUpdate,
        schedule: Schedule,
        state: TrainingState,
        batches: _Batches,
        interrupts: Interrupts | None,
    ) -> None:
        self.batch, self.update, self.schedule, self.state = batch, update, schedule, state
        self.batches, self.interrupts = batches, interrupts
        self.loss, self.n_rows, self.n_whole = 0.0, 0, 0
        #: After how many whole epochs parameters were last kept, and those parameters.
        self._kept: tuple[int, Array] | None = None
        # Where Ctrl-C only sets a flag, nothing is lost between epochs of one step.
        self._keeps = interrupts is not None and (batches.n_steps > 1 or interrupts.may_raise)
        self._keeps_steps = interrupts is not None and interrupts.may_raise
        # A second room where keeping itself may be interrupted.
        n_rooms = int(self._keeps) + int(self._keeps_steps)
        params = update.objective.network.params
        self._rooms = [np.empty_like(params) for _ in range(n_rooms)]

    def run(self) -> bool:
        """Pass once over all rows; return False if Ctrl-C was pressed meanwhile."""
        clock, batch, interrupts = self.state.clock, self.batch, self.interrupts
        total = 0.0
        self.n_rows = 0
        for rows, size in self.batches.drawn(self.state.rng):
            if interrupts is not None and interrupts.requested:
                return False
            total += batch.value(rows, size) * size
            if not batch.weighs_nothing:
                self.update.step(self.schedule.rate(clock))
            clock.step += 1
            self.n_rows += size
            self.loss = total / self.n_rows
            if self._keeps_steps and not self.n_whole:
                self._keep()
        clock.epoch += 1
        clock.samples += self.batches.n
        return True

    def keep(self) -> None:
        """Note that the epoch is over, and what followed it too."""
        self.n_whole += 1
        self.n_rows = 0
        if self._keeps:
            self._keep()

    def _keep(self) -> None:
        room = self._rooms.pop(0)
        np.copyto(room, self.update.objective.network.params)
        self._kept = self.n_whole, room
        self._rooms.append(room)

    @property
    def can_go_back(self) -> bool:
        """Whether the parameters of a whole step can be told from the present ones."""
        return self._kept is not None or not self.update.under_way

    def go_back(self, run: TrainingRun) -> None:
        """Let network and history be what they were after the last whole epoch, or step."""
        n_whole = self.n_whole
        if self._kept is not None:
            n_whole, params = self._kept
            np.copyto(self.update.objective.network.params, params)
        del run.losses[n_whole:], run.scores[n_whole:]
        if not n_whole and self.n_rows and math.isfinite(self.loss):
            # The mean over the steps that were taken.
            run.losses.append(self.loss)


class _Batches:
    """The batches of an epoch: which rows, and how many."""

    def __init__(self, n: int, batch_size: int, shuffle: bool) -> None:
        self.n = n
        # The order of the rows within one full batch makes no difference: leave them in place.
        self.shuffled = shuffle and batch_size < n
        ends = [*range(batch_size, n, batch_size), n]
        self.n_steps = len(ends)
        self.in_place: list[tuple[Index, int]] = [
            (slice(end - size, end), size)
            for end, size in zip(ends, np.diff(ends, prepend=0).tolist(), strict=True)
        ]

    def drawn(self, rng: RandomSource) -> list[tuple[Index, int]]:
        if not self.shuffled:
            return self.in_place
        order = rng.permutation(self.n)
        return [(order[rows], size) for rows, size in self.in_place]


def _divergence(clock: Clock) -> DivergenceError:
    return DivergenceError(
        f"Training diverged in epoch {clock.epoch}: a loss or a parameter is not finite. Solver "
        "produced non-finite parameter weights. The input data may contain large values and need "
        "to be preprocessed. Scale X (StandardScaler, MinMaxScaler), or choose a smaller learning "
        "rate."
    )


def _stop_reason(
    run: TrainingRun,
    params: Array,
    schedule: Schedule,
    patience: Patience | None,
    keep_best: bool,
) -> str | None:
    """Compare the last epoch with the best one, and say why to stop, or None."""
    state, loss = run.state, run.losses[-1]
    improves = patience is None or loss <= state.best_loss - patience.tol
    state.best_loss = min(state.best_loss, loss)
    if run.scores:
        score = run.scores[-1]
        if patience is not None and patience.monitor == "score":
            # A score that is not a number is no improvement.
            improves = score >= state.best_score + patience.tol
        if score > state.best_score:
            state.best_score = score
            if keep_best:
                state.best_params = _kept(state.best_params, params)
    state.n_stale = 0 if improves else state.n_stale + 1
    if patience is None or state.n_stale <= patience.n_epochs:
        return None
    if schedule.lowers_on_plateau(state.clock):
        state.clock.plateaus += 1
        state.n_stale = 0
        return None
    return "patience"


def _kept(place: Array | None, params: Array) -> Array:
    if place is None:
        return params.copy()
    np.copyto(place, params)
    return place
