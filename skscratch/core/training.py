"""Mini-batch training: batches, the loop, its history, stopping and resuming.

The loop is three short steps. `train` runs epochs until something says stop, `_epoch` runs batches,
`BatchGradient` and `ParameterUpdate` make up one training step. Stopping is a return value. What is
needed to go on later, bit for bit, is in the returned `TrainingState`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from skscratch.core.functions import Array
from skscratch.core.initializers import RandomSource
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
    """Stop after more than `n_epochs` epochs in a row without an improvement by `tol`."""

    tol: float = 1e-4
    n_epochs: float = 10


@dataclass
class TrainingState:
    """All that training carries from step to step, besides the parameters."""

    optimizer: OptimizerState
    rng: RandomSource
    shard_rngs: list[np.random.Generator]
    clock: Clock
    best: float = -np.inf
    n_stale: int = 0
    best_params: Array | None = None


@dataclass
class TrainingRun:
    """What happened: one loss an epoch, one score an epoch if there was somebody to give it.

    `stopped` is ``"patience"``, ``"on_epoch"`` or ``"diverged"`` (with the best parameters kept),
    or None when all epochs were run.
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
        self.weight = _columns(weight, X.shape[0], objective.network.dtype)
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

    def value(self, rows: Index, n: int) -> float:
        """Return the objective on these `n` rows."""
        if n != self._n:
            self._share_out(n)
        self.rows, self.row_weight, self.total = rows, None, self._total_unweighted
        if self.weight is not None:
            self.row_weight = self.weight[rows]
            self.total = self.objective.total(n, self.row_weight)
            if self.total <= 0:
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


def _columns(weight: Array | None, n: int, dtype: np.dtype[Any]) -> Array | None:
    """Return weights as one or more columns in the network's dtype."""
    return None if weight is None else np.asarray(weight, dtype=dtype).reshape(n, -1)


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
        n = objective.network.n_params
        shared = workers.n_threads > 1 and n > FEWEST_SHARED
        size = min(n, BLOCK_ALONE)
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
        self.lr[()] = lr
        self.state.t += 1
        if self.max_norm is None:
            self._run(self._both)
        else:
            # The norm needs all blocks before the first one takes its step.
            self._run(self._gather)
            self.clip = self.max_norm / max(self.max_norm, self._norm())
            self._run(self._step)

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
        Returns a score after each epoch, higher is better. It takes the place of the loss in
        `patience`.
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

    Returns
    -------
    TrainingRun
        Losses, scores, why it stopped, and the state to go on from.

    Raises
    ------
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
    if state is None:
        state = start(objective, optimizer, rng)
        state.clock.n_steps = max_epochs * -(-n // batch_size)

    run = TrainingRun(state)
    with np.errstate(over="ignore", invalid="ignore"), Workers(n_threads) as workers:
        batch = BatchGradient(
            objective, rows, targets, weight, batch_size, workers, state.shard_rngs
        )
        update = ParameterUpdate(objective, optimizer, state.optimizer, batch, workers, max_norm)
        batches = _Batches(n, batch_size, shuffle)
        while len(run.losses) < max_epochs and run.stopped is None:
            if before_epoch is not None:
                before_epoch()
            loss = _epoch(batch, update, schedule, state, batches)
            run.losses.append(loss)
            if not (math.isfinite(loss) or (keep_best and state.best_params is not None)):
                raise _divergence(state.clock)
            if validate is not None:
                run.scores.append(validate() if math.isfinite(loss) else math.nan)
            if not math.isfinite(loss):
                run.stopped = "diverged"
            else:
                run.stopped = _verdict(run, objective, schedule, patience, keep_best)
            if on_epoch is not None and on_epoch(run) and run.stopped is None:
                run.stopped = "on_epoch"
        batch.close()
        update.close()
        if keep_best and state.best_params is not None:
            objective.network.params[:] = state.best_params
        if not math.isfinite(float(np.add.reduce(objective.network.params))):
            raise _divergence(state.clock)
    return run


def evaluate(
    objective: Objective,
    X: Array | Rows,
    target: Array | Rows,
    weight: Array | None = None,
    n_threads: int = 1,
) -> float:
    """Return the mean loss over some rows, without noise, penalty or gradient."""
    rows, targets = _checked(objective, X, target)
    n = rows.shape[0]
    network = objective.network
    weight = _columns(weight, n, network.dtype)
    total = objective.total(n, weight)
    blocks = [slice(a, min(a + BLOCK_ROWS, n)) for a in range(0, n, BLOCK_ROWS)]
    values = [0.0] * len(blocks)
    n_threads = min(n_threads, len(blocks))

    def job(first: int) -> None:
        ws = Workspace(network, min(BLOCK_ROWS, n))
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
    return rows, targets


def _epoch(
    batch: BatchGradient,
    update: ParameterUpdate,
    schedule: Schedule,
    state: TrainingState,
    batches: _Batches,
) -> float:
    """Pass once over all rows; return the mean of the batches' losses, weighted by their rows."""
    clock, loss = state.clock, 0.0
    for rows, size in batches.drawn(state.rng):
        loss += batch.value(rows, size) * size
        if batch.total > 0:
            update.step(schedule.rate(clock))
        clock.step += 1
    clock.epoch += 1
    clock.samples += batches.n
    return loss / batches.n


class _Batches:
    """The batches of an epoch: which rows, and how many."""

    def __init__(self, n: int, batch_size: int, shuffle: bool) -> None:
        self.n = n
        # The order of the rows within one full batch makes no difference: leave them in place.
        self.shuffled = shuffle and batch_size < n
        ends = [*range(batch_size, n, batch_size), n]
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
        "to be preprocessed. Scale it (StandardScaler, MinMaxScaler), or choose a smaller learning "
        "rate."
    )


def _verdict(
    run: TrainingRun,
    objective: Objective,
    schedule: Schedule,
    patience: Patience | None,
    keep_best: bool,
) -> str | None:
    """Compare the last epoch with the best one, and say why to stop, or None."""
    state = run.state
    score = run.scores[-1] if run.scores else -run.losses[-1]
    tol = patience.tol if patience else 0.0
    state.n_stale = state.n_stale + 1 if score < state.best + tol else 0
    if score > state.best:
        state.best = score
        if keep_best:
            state.best_params = _kept(state.best_params, objective.network.params)
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
