"""L-BFGS on all rows at once, by SciPy, with the history and the stopping rules of `train`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import OptimizeResult, minimize

from skscratch.core.evaluate import Evaluator
from skscratch.core.functions import Array
from skscratch.core.interrupts import Interrupts
from skscratch.core.objective import Objective
from skscratch.core.optimizers import SGD
from skscratch.core.training import DivergenceError, TrainingRun, TrainingState, start
from skscratch.core.workers import Workers


@dataclass(frozen=True)
class LBFGS:
    """Limits of `minimise_lbfgs`: number of evaluations, and the gradient's largest entry."""

    max_evaluations: int = 15_000
    tol: float = 1e-4


def minimise_lbfgs(
    objective: Objective,
    X: Any,
    target: Any,
    limits: LBFGS | None = None,
    *,
    max_epochs: int = 200,
    weight: Array | None = None,
    validate: Callable[[], float] | None = None,
    keep_best: bool = False,
    before_epoch: Callable[[], None] | None = None,
    on_epoch: Callable[[TrainingRun], bool | None] | None = None,
    n_threads: int = 1,
    state: TrainingState | None = None,
    interrupts: Interrupts | None = None,
) -> TrainingRun:
    """Train the objective's network in place, by L-BFGS (Liu & Nocedal, 1989).

    An iteration counts as an epoch, though it may evaluate the objective several times. So does
    the first evaluation if it is the only one.

    Parameters
    ----------
    objective : Objective
        The function to minimise. It must be the same at every call, so no layer may draw random
        numbers.
    X, target : ndarray, sparse matrix or Rows of shape (n, n_in) and (n, n_out)
        Training data. Passing the same object twice trains an autoencoder.
    limits : LBFGS, optional
        When to stop.
    max_epochs : int, default=200
        Largest number of iterations.
    weight : ndarray of shape (n,) or (n, n_out), optional
        Weights of the rows, or of each of their outputs.
    validate : callable, optional
        Returns a score after each iteration, higher is better.
    keep_best : bool, default=False
        Leave the network with the parameters of the best score.
    before_epoch, on_epoch : callable, optional
        Called after each iteration, before and after it is recorded; `on_epoch` is given the run so
        far, and stops it by returning True.
    n_threads : int, default=1
        Threads to use. The result has the same bits for any number.
    state : TrainingState, optional
        Its best score is the one to beat.
    interrupts : Interrupts, optional
        Let Ctrl-C end the training with the parameters of the last complete iteration.

    Returns
    -------
    TrainingRun
        `stopped` is ``"converged"``, ``"max_evaluations"``, ``"line_search"`` (which found no
        smaller value), ``"on_epoch"``, ``"interrupted"`` or None (all iterations were run).

    Raises
    ------
    ValueError
        X, target and network do not fit together.
    DivergenceError
        The objective or the parameters are not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from skscratch.core import Dense, Network, Objective, SquaredError, minimise_lbfgs
    >>> X = np.arange(5.0).reshape(-1, 1)
    >>> network = Network([Dense(1)], n_in=1, rng=0)
    >>> minimise_lbfgs(Objective(network, SquaredError()), X, 2 * X + 1).stopped
    'converged'
    >>> network(np.array([[10.0]])).round(3).tolist()
    [[21.0]]
    """
    run = TrainingRun(start(objective, SGD(), None) if state is None else state)
    params = objective.network.params
    if max_epochs < 1:
        return run
    iterations = _Iterations(run, params, validate, keep_best, before_epoch, on_epoch)
    with np.errstate(over="ignore", invalid="ignore"), Workers(n_threads) as workers:
        evaluator = Evaluator(objective, X, target, weight, X.shape[0], workers)
        try:
            iterations.run_all(evaluator, limits or LBFGS(), max_epochs, interrupts)
        except KeyboardInterrupt:
            if interrupts is None:
                raise
            interrupts.requested, run.stopped = True, "interrupted"
            iterations.restore()
    if keep_best and run.state.best_params is not None:
        params[:] = run.state.best_params
    if not np.isfinite(params).all():
        raise _divergence()
    return run


class _Iterations:
    """Runs L-BFGS and, after each iteration, validates, records and decides whether to stop."""

    def __init__(
        self,
        run: TrainingRun,
        params: Array,
        validate: Callable[[], float] | None,
        keep_best: bool,
        before_epoch: Callable[[], None] | None,
        on_epoch: Callable[[TrainingRun], bool | None] | None,
    ) -> None:
        self.run, self.params, self.validate, self.keep_best = run, params, validate, keep_best
        self.before_epoch, self.on_epoch = before_epoch, on_epoch
        self.value = math.inf
        #: Number of complete iterations, and the parameters after them.
        self.last = 0, params.copy()
        self._spare = np.empty_like(params)
        self._failure: StopIteration | None = None

    def run_all(
        self,
        evaluator: Evaluator,
        limits: LBFGS,
        max_epochs: int,
        interrupts: Interrupts | None,
    ) -> None:
        """Run SciPy's L-BFGS-B on all rows, and record in the run why it stopped."""
        run = self.run
        # One object for all calls, by which the evaluator recognises the rows it has taken.
        self._everything = slice(0, evaluator.n_rows)
        self.evaluator, self._interrupts = evaluator, interrupts
        # A list, which can be cleared: SciPy before 1.14 keeps its function until the garbage
        # collector runs, and must not keep the data with it.
        functions = [self._value_and_grad]

        def value_and_grad(params: Array) -> tuple[float, Array]:
            return functions[0](params)

        options = {"maxfun": limits.max_evaluations, "maxiter": max_epochs, "gtol": limits.tol}
        try:
            result = minimize(
                value_and_grad,
                self.params.astype(np.float64),
                method="L-BFGS-B",
                jac=True,
                callback=self._after,
                options=options,
            )
        finally:
            functions.clear()
        if self._failure is not None:
            # SciPy takes any StopIteration for a request to stop, but this one is an error.
            raise self._failure
        if run.stopped is None and not math.isfinite(result.fun):
            raise _divergence()
        if not run.n_epochs:
            self.end(result.x)
        self.params[:] = result.x
        if run.stopped is None:
            run.stopped, run.message = _stop_reason(result, max_epochs), result.message

    def _value_and_grad(self, params: Array) -> tuple[float, Array]:
        if self._interrupts is not None and self._interrupts.requested:
            raise KeyboardInterrupt
        self.params[:] = params
        evaluator = self.evaluator
        result = evaluator(self._everything, evaluator.n_rows)
        self.value = result.value
        if not result.total:
            return 0.0, np.zeros(len(params))
        return result.value, evaluator.objective.gradient(result).astype(np.float64)

    def _after(self, params: Array) -> None:
        try:
            self.end(params)
        except StopIteration as error:
            self._failure = error
        if self._failure is not None or self.run.stopped is not None:
            raise StopIteration

    def end(self, params: Array) -> None:
        """Record an iteration, and the reason to stop if `on_epoch` asks for it."""
        run, state = self.run, self.run.state
        if self.before_epoch is not None:
            self.before_epoch()
        self.params[:] = params
        run.losses.append(self.value)
        run.rates.append(None)
        run.norms.append(None)
        state.best_loss = min(state.best_loss, self.value)
        if self.validate is not None:
            run.scores.append(self.validate())
            state.record_score(run.scores[-1], self.params if self.keep_best else None)
        np.copyto(self._spare, self.params)
        self.last, self._spare = (self.last[0] + 1, self._spare), self.last[1]
        if self.on_epoch is not None and self.on_epoch(run):
            run.stopped = "on_epoch"

    def restore(self) -> None:
        """Restore the parameters and the history of the last complete iteration."""
        n_complete, params = self.last
        self.params[:] = params
        self.run.cut(n_complete)


def _divergence() -> DivergenceError:
    return DivergenceError("L-BFGS has reached values that are not finite.")


def _stop_reason(result: OptimizeResult, max_epochs: int) -> str | None:
    if result.success:
        return "converged"
    if result.status != 1:
        return "line_search"
    return None if result.nit >= max_epochs else "max_evaluations"
