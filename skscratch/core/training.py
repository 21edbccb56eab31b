"""Mini-batch training: batches, the loop, its history, stopping and resuming.

`_run_epochs` runs epochs until a stopping rule applies, `_Epoch` runs batches, and each batch is an
evaluation and a step. Stopping is a return value. The returned `TrainingState` holds all that is
needed to resume later, bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from skscratch.core.evaluate import Evaluator
from skscratch.core.functions import Array
from skscratch.core.initializers import RandomSource
from skscratch.core.interrupts import Interrupts
from skscratch.core.objective import Objective
from skscratch.core.optimizers import SGD, Optimizer, OptimizerState, checksum_of
from skscratch.core.rows import Index
from skscratch.core.schedules import Clock, Constant, Schedule
from skscratch.core.update import Step
from skscratch.core.workers import MAX_SHARDS, Workers

RUN_COLUMNS = ("losses", "scores", "rates", "norms")


class DivergenceError(ValueError):
    """Training has reached values that are not finite."""


@dataclass(frozen=True)
class Patience:
    """Stop after more than `n_epochs` epochs in a row without an improvement by `tol`.

    `monitor` is the quantity that must improve: ``"score"``, the validation score if there is one,
    or ``"loss"``, always the training loss.
    """

    tol: float = 1e-4
    n_epochs: float = 10
    monitor: Literal["score", "loss"] = "score"


@dataclass
class TrainingState:
    """The state of training between steps, apart from the parameters.

    `best_params` are those of the epoch with the `best_score`.
    """

    optimizer: OptimizerState
    rng: RandomSource
    shard_rngs: Sequence[np.random.Generator]
    clock: Clock
    best_loss: float = np.inf
    best_score: float = -np.inf
    n_stale: int = 0
    best_params: Array | None = None

    def record_score(self, score: float, params: Array | None) -> None:
        """Keep a score that is the best so far, and a copy of the parameters if they are given."""
        if score > self.best_score:
            self.best_score = score
            if params is not None:
                self.best_params = _copied(params, self.best_params)


@dataclass
class TrainingRun:
    """The history of training: one loss per epoch, and one score per epoch if `validate` is given.

    `rates` are the learning rates of the last step of each epoch, `norms` the norms of its gradient
    before clipping (None without `max_norm`). L-BFGS has neither: they are None.

    `stopped` is ``"patience"``, ``"on_epoch"``, ``"interrupted"`` or ``"diverged"`` (with the best
    parameters kept), or None if all epochs were run. `message` is SciPy's when L-BFGS ends.
    """

    state: TrainingState
    losses: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    rates: list[float | None] = field(default_factory=list)
    norms: list[float | None] = field(default_factory=list)
    stopped: str | None = None
    message: str = ""

    @property
    def n_epochs(self) -> int:
        """Number of epochs run."""
        return len(self.losses)

    def columns(self) -> dict[str, list[Any]]:
        """Return the columns of the history by name."""
        return {name: getattr(self, name) for name in RUN_COLUMNS}

    def cut(self, n_epochs: int) -> None:
        """Forget what happened after so many epochs."""
        for column in self.columns().values():
            del column[n_epochs:]


def train(
    objective: Objective,
    X: Any,
    target: Any,
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
    run: TrainingRun | None = None,
    interrupts: Interrupts | None = None,
) -> TrainingRun:
    """Train the objective's network in place.

    Parameters
    ----------
    objective : Objective
        The function to minimise.
    X, target : ndarray, sparse matrix or Rows of shape (n, n_in) and (n, n_out)
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
        Weights of the rows, or of each of their outputs. A batch whose weights are all 0 changes
        nothing.
    shuffle : bool, default=True
        Draw a new order of the rows every epoch.
    validate : callable, optional
        Returns a score after each epoch, higher is better.
    keep_best : bool, default=False
        Leave the network with the parameters of the best score.
    max_norm : float, optional
        Clip the gradient to this norm (Pascanu et al., 2013).
    patience : Patience, optional
        When to stop early.
    before_epoch, on_epoch : callable, optional
        Called before each epoch, and after it with the run so far; returning True then stops.
    n_threads : int, default=1
        Threads to use. The result has the same bits for any number.
    state : TrainingState, optional
        Resume from an earlier run's state. k runs of one epoch give the same bits as one run of k.
    run : TrainingRun, optional
        Complete an earlier run that was ended between two epochs: its epochs count. The result has
        the bits of an uninterrupted one.
    interrupts : Interrupts, optional
        Let Ctrl-C end the training with the parameters of the last complete epoch or, within the
        first epoch, of the last complete step. The state's optimizer is then reset. Without
        `interrupts`, KeyboardInterrupt is raised.

    Returns
    -------
    TrainingRun
        Losses, scores, why it stopped, and the state to resume from.

    Raises
    ------
    ValueError
        X, target and network do not fit together, targets lie outside the loss's interval, or
        `state` was made by another optimizer or for another network.
    DivergenceError
        A loss or a parameter is no longer finite, and no best parameters were kept; the message
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
    n = X.shape[0]
    batch_size = max(1, min(batch_size, n))
    params = objective.network.params
    state = state if run is None else run.state
    if state is None:
        state = start(objective, optimizer, rng)
        state.clock.n_steps = max_epochs * -(-n // batch_size)
    else:
        _check_state(state, optimizer, params)

    run = run or TrainingRun(state)
    with np.errstate(over="ignore", invalid="ignore"), Workers(n_threads) as workers:
        evaluate = Evaluator(objective, X, target, weight, batch_size, workers, state.shard_rngs)
        step = Step(objective, optimizer, state.optimizer, workers, max_norm)
        batches = _Batches(n, batch_size, shuffle)
        epoch = _Epoch(evaluate, step, schedule, state, batches, interrupts, run.n_epochs)

        def judge() -> str | None:
            run.losses.append(epoch.loss)
            run.rates.append(epoch.rate)
            run.norms.append(step.norm)
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
            if interrupts is None or not epoch.can_restore:
                raise
            run.stopped, interrupts.requested = "interrupted", True
        _finish(run, epoch, keep_best)
    return run


def _finish(run: TrainingRun, epoch: _Epoch, keep_best: bool) -> None:
    """Leave the network with the parameters, and the state with what belongs to them."""
    state, optimizer, params = run.state, epoch.step.optimizer, epoch.params
    if run.stopped == "interrupted":
        epoch.restore(run)
        state.optimizer = optimizer.start(params)
    state.optimizer.checksum = checksum_of(params) if optimizer.swaps else None
    if keep_best and state.best_params is not None:
        params[:] = state.best_params
    if not math.isfinite(float(np.add.reduce(params))):
        raise _divergence(state.clock)


def _run_epochs(
    run: TrainingRun,
    epoch: _Epoch,
    max_epochs: int,
    before_epoch: Callable[[], None] | None,
    judge: Callable[[], str | None],
    on_epoch: Callable[[TrainingRun], bool | None] | None,
) -> None:
    """Run epochs until a stopping rule applies; record the reason in the run."""
    run_epoch = epoch.run_swapped if epoch.swaps else epoch.run
    while len(run.losses) < max_epochs and run.stopped is None:
        if before_epoch is not None:
            before_epoch()
        if not run_epoch():
            run.stopped = "interrupted"
            return
        run.stopped = judge()
        epoch.complete()
        if on_epoch is not None and on_epoch(run) and run.stopped is None:
            run.stopped = "on_epoch"


def start(
    objective: Objective, optimizer: Optimizer, rng: RandomSource | int | None
) -> TrainingState:
    """Return the state before the first step."""
    if rng is None or isinstance(rng, int):
        rng = np.random.default_rng(rng)
    return TrainingState(
        optimizer=optimizer.start(objective.network.params),
        rng=rng,
        # A stream per shard, so that its noise does not depend on which thread runs it, or when.
        shard_rngs=rng.spawn(MAX_SHARDS),
        clock=Clock(),
    )


def _check_state(state: TrainingState, optimizer: Optimizer, params: Array) -> None:
    """Check that training can resume from a state, and replace what no longer applies in it."""
    optimizer.check_state(state.optimizer, params)
    checksum = state.optimizer.checksum
    if checksum is not None and checksum != checksum_of(params):
        # Other parameters were assigned: the mean of the steps to them is unknown.
        state.optimizer = optimizer.start(params)


class _Epoch:
    """Runs the epochs, and saves the parameters to restore after an interruption.

    `loss` is the mean of the batches' losses, weighted by their rows.
    """

    def __init__(
        self,
        evaluate: Evaluator,
        step: Step,
        schedule: Schedule,
        state: TrainingState,
        batches: _Batches,
        interrupts: Interrupts | None,
        n_complete: int,
    ) -> None:
        self.evaluate, self.step, self.schedule, self.state = evaluate, step, schedule, state
        self.batches, self.interrupts = batches, interrupts
        self.loss, self.n_rows, self.n_complete = 0.0, 0, n_complete
        self.rate = 0.0
        #: Number of complete epochs when parameters were last saved, and those parameters.
        self._saved: tuple[int, Array] | None = None
        self.swaps = step.optimizer.swaps
        # If Ctrl-C only sets a flag, an epoch of one step cannot be interrupted halfway.
        self._saves_epochs = interrupts is not None and (
            batches.n_steps > 1 or interrupts.may_raise or self.swaps
        )
        self._saves_steps = interrupts is not None and interrupts.may_raise
        # Two buffers if saving itself may be interrupted.
        n_buffers = int(self._saves_epochs) + int(self._saves_steps)
        params = self.params = step.objective.network.params
        self._buffers = [np.empty_like(params) for _ in range(n_buffers)]
        if n_complete and self._saves_epochs:
            self._save()

    def run(self) -> bool:
        """Pass once over all rows; return False if Ctrl-C was pressed meanwhile."""
        clock, interrupts = self.state.clock, self.interrupts
        total = 0.0
        self.n_rows = 0
        batches = self.batches.draw(self.state.rng)
        for k, (rows, size) in enumerate(batches, 1):
            if interrupts is not None and interrupts.requested:
                return False
            result = self.evaluate(rows, size)
            if k < len(batches) and not self.step.is_shared:
                # The other threads are idle until the step is taken.
                self.evaluate.take_ahead(*batches[k])
            total += result.value * size
            if result.total > 0:
                self.rate = self.schedule.rate(clock)
                self.step(result, self.rate)
            clock.step += 1
            self.n_rows += size
            self.loss = total / self.n_rows
            if self._saves_steps and not self.n_complete:
                self._save_step()
        clock.epoch += 1
        clock.samples += self.batches.n
        return True

    def run_swapped(self) -> bool:
        """Do as `run`, for an optimizer that does not step from the parameters to predict with."""
        self._swap()
        completed = self.run()
        self._swap()
        return completed

    def complete(self) -> None:
        """Count the epoch, which has been judged, as complete."""
        self.n_complete += 1
        self.n_rows = 0
        if self._saves_epochs:
            self._save()

    def _swap(self) -> None:
        self.step.optimizer.swap(self.params, self.step.state)

    def _save_step(self) -> None:
        if self.swaps:
            self._swap()
        self._save()
        if self.swaps:
            self._swap()

    def _save(self) -> None:
        buffer = self._buffers.pop(0)
        np.copyto(buffer, self.params)
        self._saved = self.n_complete, buffer
        self._buffers.append(buffer)

    @property
    def can_restore(self) -> bool:
        """Whether the parameters after a complete step are known."""
        return self._saved is not None or not self.step.under_way

    def restore(self, run: TrainingRun) -> None:
        """Restore network and history to the last complete epoch, or step."""
        n_complete = self.n_complete
        if self._saved is not None:
            n_complete, params = self._saved
            np.copyto(self.params, params)
        run.cut(n_complete)
        if not n_complete and self.n_rows and math.isfinite(self.loss):
            # The mean over the steps that were taken.
            run.losses.append(self.loss)
            run.rates.append(self.rate)
            run.norms.append(self.step.norm)


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

    def draw(self, rng: RandomSource) -> list[tuple[Index, int]]:
        if not self.shuffled:
            return self.in_place
        order = rng.permutation(self.n)
        return [(order[rows], size) for rows, size in self.in_place]


def _divergence(clock: Clock) -> DivergenceError:
    return DivergenceError(
        f"Training diverged in epoch {clock.epoch}: a loss or a parameter is not finite."
    )


def _stop_reason(
    run: TrainingRun,
    params: Array,
    schedule: Schedule,
    patience: Patience | None,
    keep_best: bool,
) -> str | None:
    """Compare the last epoch with the best one; return the reason to stop, or None."""
    state, loss = run.state, run.losses[-1]
    improves = patience is None or loss <= state.best_loss - patience.tol
    state.best_loss = min(state.best_loss, loss)
    if run.scores:
        score = run.scores[-1]
        if patience is not None and patience.monitor == "score":
            # A score that is NaN is not an improvement.
            improves = score >= state.best_score + patience.tol
        state.record_score(score, params if keep_best else None)
    state.n_stale = 0 if improves else state.n_stale + 1
    if patience is None or state.n_stale <= patience.n_epochs:
        return None
    if schedule.lowers_on_plateau(state.clock):
        state.clock.plateaus += 1
        state.n_stale = 0
        return None
    return "patience"


def _copied(params: Array, buffer: Array | None) -> Array:
    """Return a copy of the parameters, in the buffer if there is one."""
    if buffer is None:
        return params.copy()
    np.copyto(buffer, params)
    return buffer
