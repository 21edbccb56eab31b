"""Linear support vector machines by Newton's method.

The objective is minimised over the coefficients ``W`` (one row per score; the last column belongs
to the constant feature ``intercept_scaling`` and is regularised like the others, as in LIBLINEAR)::

    0.5 ||W||^2 + sum_i cost_i * loss_i(z_i),      z_i = W x_i

A loss with corners is replaced by smoother ones that approach it (see `problems`). An iteration is
one Newton step: the gap is computed, the smoothing tightened if that is due, a direction computed
(see `directions`) and followed to the minimum along it (see `line_search`).

All problems take their steps together, with a few large products. Small data are solved one problem
at a time (see `small`), and rows of many features in the space of the rows (see `row_space`), or in
fewer coordinates (see `basis`).

If float32 lacks the digits to reach the tolerance, the last steps are taken in float64, with dense
rows cast a piece at a time, and the coefficients are rounded so that the objective increases least.

Alternatives that were measured: smoothing the corners with a width that shrinks and no center took
two to twelve times the processor time on latent features and pixels of MNIST, because its last
digits need widths at which the Hessian breaks down. Coordinate ascent in the dual, as in LIBLINEAR,
needs a compiled loop.

References
----------
S. S. Keerthi and D. DeCoste, "A modified finite Newton method for fast solution of large scale
linear SVMs", JMLR 6, 2005. Y. Yan and Q. Li, "An efficient augmented Lagrangian method for support
vector machine", Optimization Methods and Software 35, 2020. K. Crammer and Y. Singer, "On the
algorithmic implementation of multiclass kernel-based vector machines", JMLR 2, 2001.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from skscratch.linear.arrays import Array, inner, per_problem, rounding_unit
from skscratch.linear.basis import Coordinates, fewer_coordinates
from skscratch.linear.best import Best, LinearSolution, OnIteration
from skscratch.linear.directions import Directions
from skscratch.linear.line_search import step_lengths
from skscratch.linear.losses import LinearLoss
from skscratch.linear.problems import STALLED, TINY, TOO_LARGE, NotFiniteError, Point, Problems
from skscratch.linear.products import Features, Run, run_serially
from skscratch.linear.row_space import (
    coefficients,
    combination,
    is_for_row_space,
    minimise_in_row_space,
    start_in_row_space,
)
from skscratch.linear.small import is_small, minimise_small
from skscratch.linear.task import Iterations, Task

__all__ = ["LinearSolution", "solve"]

# Float64 data with fewer multiplications per product and factorisation than this are solved to
# `polished_gap`: the further steps take milliseconds, and integer weights then equal repeated rows
# to many digits.
POLISHED_WORK = 2e7
# If there are many rows, every fourth of them is solved first, which saves most of the steps on all
# of them.
SAMPLING = 4
SAMPLED_ROWS = 8192
SAMPLED_ROWS_PER_FEATURE = 64
SAMPLED_TOL = 0.03
SAMPLED_STEPS = 15
# The first width as a share of the mean of ``cost_i ||x_i||^2``, the curvature of the dual; a
# smaller one keeps the first steps near a given start.
WIDTH_SHARE = 0.1
STARTED_SHARE = 1e-3
# Single precision leaves a margin for its rounding.
ROUGH_SHARE = 0.9
# Rounded coefficients are also tried this many units of rounding longer.
STRETCHES = (0, 1, 4, 16, 64, 256)


def _minimise(task: Task, W: Array, width: float) -> tuple[Best, float]:
    """Iterate until the task is done.

    Return the best points, and a width to go on from.
    """
    features, loss, center = task.features, task.loss, None
    if task.iterations.ended:
        pass
    elif is_small(features.X, loss):
        best, stalls = minimise_small(task, W, width)
        if not stalls:
            return best, width
        W = best.W
    elif is_for_row_space(features.X, loss):
        best, width = _minimise_wide(task, W, width)
        # Single precision that does not suffice there does not suffice below either.
        is_single = features.precision == np.float32
        if task.iterations.ended or best.converged(task.tol) or is_single:
            return best, width
        # Directions from more exact systems succeed where the rough ones stall.
        W, center = best.W, _center(loss, best)
    return _take_newton_steps(task, task.start(W, width, center))


def _minimise_wide(task: Task, W: Array, width: float) -> tuple[Best, float]:
    """Iterate as `_minimise` does, in the space of the rows.

    The products are bound by memory, so float64 data are solved in float32 first.
    """
    features, loss = task.features, task.loss
    given = None
    widths = np.full((len(W), 1), width, W.dtype)
    if W.any():
        problems = task.start(W, width)
        given = Best(W, problems.S)
        given.record(np.arange(len(W)), W, problems.evaluate())
        if given.converged(max(task.goal, 4 * rounding_unit(W.dtype))):
            given.is_certified = True
            task.iterations.count(given)
            return given, width
        A = combination(problems)
    else:
        # Few rows then change sides in a step, however close to orthogonal they are.
        curvatures = [_dual_curvature(features, costs) or 1.0 for costs in task.cost]
        widths[:] = np.maximum(loss.own_width, np.array(curvatures)[:, None])
        A = np.zeros((len(W), 1, features.shape[0] + 1), features.precision)
    best = start_in_row_space(features, A)
    if features.precision == np.float64 and task.goal == task.tol:
        single = np.dtype(np.float32)
        rough_task = replace(task.cast(single), goal=ROUGH_SHARE * task.goal)
        rough = start_in_row_space(rough_task.features, A.astype(single))
        rough_widths = widths.copy()
        try:
            minimise_in_row_space(rough_task, rough, rough_widths)
        except NotFiniteError:
            # These data need the range of float64.
            pass
        else:
            widths = rough_widths
            best = start_in_row_space(features, rough.W.astype(W.dtype))
            best.p = rough.p.astype(W.dtype)
            W = coefficients(features, best.W)
            best.record(np.arange(len(W)), best.W, task.evaluate(W, best.p))
            if task.iterations.ended or best.converged(task.tol):
                best.expand(W)
    if not (task.iterations.ended or best.converged(task.tol)):
        minimise_in_row_space(task, best, widths)
        best.expand()
        best.certify(task.evaluate(best.W, best.p))
        best.dual = best.primal - best.point_gap
    best.expand()
    if given is not None:
        best.merge(given)
    best.is_certified = True
    return best, float(widths.max())


def _center(loss: LinearLoss, best: Best, dtype: Any = None) -> Array | None:
    """Return the center to go on from; without corners there is none."""
    return None if loss.own_width > 0.0 else best.p.astype(dtype or best.p.dtype)


def _take_newton_steps(task: Task, problems: Problems) -> tuple[Best, float]:
    """Take Newton steps with all problems; see `_minimise`."""
    best = Best(problems.W, problems.S)
    directions = Directions.start(len(problems.W))
    unfinished = np.arange(len(problems.W))
    n_steps, width = 0, float(problems.width.min())
    has_corners = problems.loss.own_width == 0.0
    while not task.iterations.ended:
        n_steps += 1
        point = problems.evaluate()
        best.record(unfinished, problems.W, point)
        if task.iterations.count(best):
            break
        remain = best.unfinished(unfinished, task.goal, 0.0 if has_corners else task.tol)
        if not len(remain):
            break
        if len(remain) < len(unfinished):
            unfinished = unfinished[remain]
            problems, point = problems.take(remain), point.take(remain)
            directions = directions.take(remain)
        stalls = n_steps == STALLED and not has_corners
        point = problems.restart_smoother() if stalls else problems.tighten_smoothing(point)
        width = min(width, float(problems.width.min()))
        _newton_step(problems, point, directions, task.goal)
    return best, width


def _newton_step(problems: Problems, point: Point, directions: Directions, goal: float) -> None:
    """Move to the minimum along the Newton direction.

    The direction is exact enough for superlinear convergence, and no more exact than ``goal``
    requires.
    """
    residual = np.sqrt(2.0 * point.smooth_gap)
    share = np.sqrt(point.gap / point.primal.clip(min=TINY))
    floor = np.sqrt(0.2 * goal * point.primal)
    P = directions(problems, point, np.maximum(np.minimum(0.1, share) * residual, floor))
    if not np.isfinite(P).all():
        raise NotFiniteError(TOO_LARGE.format(problems.W.dtype))
    U = problems.loss.slack_changes(problems.features.scores(P))
    t = step_lengths(problems, P, U, inner(point.G, P))
    problems.move(P, U, per_problem(t, P.dtype))


def solve(
    X: Any,
    loss: LinearLoss,
    cost: Array,
    *,
    fit_intercept: bool = True,
    intercept_scaling: float = 1.0,
    tol: float = 1e-5,
    max_iter: int = 1000,
    start: tuple[Array, Array] | None = None,
    on_iteration: OnIteration | None = None,
    run: Run = run_serially,
) -> LinearSolution:
    """Minimise ``0.5 ||W||^2 + sum_i cost_i * loss_i(W x_i)`` until the gap is small.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n_rows, n_features)
        A CSR matrix must not hold an entry twice. float32 or float64, which is also the dtype of
        the solution. float64 rows of many features are solved in float32 first, and certified in
        float64. If float32 lacks the digits to reach ``tol``, the last iterations use float64,
        casting dense rows a piece at a time.
    loss : LinearLoss
        A loss with the targets of the rows.
    cost : ndarray of shape (n_rows,) or (n_problems, n_rows)
        ``C`` times the weight of the row times that of its class; not negative. Use the second
        shape if the cost of a row depends on the problem.
    fit_intercept, intercept_scaling : bool, float
        The intercept is ``intercept_scaling`` times a coefficient regularised like the others.
    tol : float
        Each problem is solved until its duality gap is below ``tol`` times its objective.
    max_iter : int
        Maximum number of Newton iterations.
    start : (coef, intercept), optional
        Where to start, in the shapes of the solution.
    on_iteration : callable, optional
        Called as ``on_iteration(n_iter, solution)`` in every iteration, where ``solution()`` is the
        best solution so far. Returning True stops.
    run : callable, optional
        Runs a list of functions without arguments, possibly on several threads. The result has the
        same bits in any case.

    Returns
    -------
    LinearSolution

    Raises
    ------
    ValueError
        If shapes disagree.
    NotFiniteError
        If the objective is not finite.
    """
    options: dict[str, Any] = {
        "fit_intercept": fit_intercept,
        "intercept_scaling": intercept_scaling,
        "tol": tol,
        "max_iter": max_iter,
    }
    # A certificate alone is for given coefficients, which need not lie in the span of the rows.
    basis = None
    is_wide = isinstance(X, np.ndarray) and is_for_row_space(X, loss)
    if max_iter > 0 and not (is_wide or is_small(X, loss)):
        basis = fewer_coordinates(X)
    if basis is None:
        return _solve(X, loss, cost, start, on_iteration, run, **options)[0]
    return _solve_in_basis(X, basis, loss, cost, start, on_iteration, run, options)


def _solve_in_basis(
    X: Any,
    basis: Coordinates,
    loss: LinearLoss,
    cost: Array,
    start: tuple[Array, Array] | None,
    on_iteration: OnIteration | None,
    run: Run,
    options: dict[str, Any],
) -> LinearSolution:
    """Solve with the coordinates of the rows for features: these are fewer.

    If the coordinates are not exact, the result is certified with X, and improved with X if that
    fails.
    """

    def in_features(solution: LinearSolution) -> LinearSolution:
        return replace(solution, coef=basis.coefficients(solution.coef))

    def report(n_iter: int, solution: Callable[[], LinearSolution]) -> bool | None:
        assert on_iteration is not None
        return on_iteration(n_iter, lambda: in_features(solution()))

    started = None if start is None else (basis.coordinates(start[0]), start[1])
    reported = None if on_iteration is None else report
    found, p, ended = _solve(basis.rows, loss, cost, started, reported, run, **options)
    found = in_features(found)
    if basis.exact:
        return found
    before = found.coef, found.intercept
    task, W = _task(X, loss, cost, before, None, run, **options)
    best = Best(W, p)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        best.certify(task.evaluate(W, p))
    tol, n_iter = options["tol"], found.n_iter
    if ended or best.converged(tol):
        return best.solution(X.dtype, task.features.bias, tol, n_iter)

    def report_more(n_more: int, solution: Callable[[], LinearSolution]) -> bool | None:
        assert on_iteration is not None
        return on_iteration(n_iter + n_more, solution)

    options = {**options, "max_iter": options["max_iter"] - n_iter}
    reported_more = None if on_iteration is None else report_more
    more, _, _ = _solve(X, loss, cost, before, reported_more, run, **options)
    return replace(more, n_iter=n_iter + more.n_iter)


def _task(
    X: Any,
    loss: LinearLoss,
    cost: Array,
    start: tuple[Array, Array] | None,
    on_iteration: OnIteration | None,
    run: Run,
    *,
    fit_intercept: bool,
    intercept_scaling: float,
    tol: float,
    max_iter: int,
) -> tuple[Task, Array]:
    """Return the task, and the coefficients to start from; see `solve`."""
    bias = float(intercept_scaling) if fit_intercept else None
    small = max_iter > 0 and is_small(X, loss)
    precision = np.dtype(np.float64) if small else X.dtype
    loss = loss.cast(precision)
    costs = np.atleast_2d(np.asarray(cost, precision))[:, None]
    features = Features(X, bias, precision, run)
    n_rows, n_features = features.shape
    n_problems, n_columns = loss.shape
    if loss.n_rows != n_rows or costs.shape not in {(1, 1, n_rows), (n_problems, 1, n_rows)}:
        raise ValueError(
            f"X has {n_rows} rows, the loss {loss.n_rows} in {n_problems} problems, and cost the "
            f"shape {np.shape(cost)}; cost must be (n_rows,) or (n_problems, n_rows)."
        )
    W = np.zeros((n_problems, n_columns, n_features), precision)
    if start is not None:
        flat = W.reshape(-1, n_features)
        flat[:, : X.shape[1]] = start[0]
        if bias is not None:
            flat[:, -1] = np.asarray(start[1]) / bias

    def report(n_iter: int, best: Best) -> bool | None:
        assert on_iteration is not None
        return on_iteration(n_iter, lambda: best.solution(X.dtype, bias, tol, n_iter))

    goal = tol
    product = n_rows * n_features * n_problems * n_columns
    if precision == np.float64 and max(product, min(n_rows, n_features) ** 3) <= POLISHED_WORK:
        goal = min(tol, loss.polished_gap)
    iterations = Iterations(max_iter, None if on_iteration is None else report)
    return Task(features, loss, costs, tol, goal, iterations), W


def _solve(
    X: Any,
    loss: LinearLoss,
    cost: Array,
    start: tuple[Array, Array] | None,
    on_iteration: OnIteration | None,
    run: Run,
    **options: Any,
) -> tuple[LinearSolution, Array, bool]:
    """Solve without a change of the basis; see `solve`.

    Return also the dual point, and whether the iterations have ended early.
    """
    task, W = _task(X, loss, cost, start, on_iteration, run, **options)
    features, precision = task.features, task.features.precision
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        # Small float32 rows, too, are refused where larger ones would be.
        if not np.isfinite(features.square_sums.astype(X.dtype)).all():
            raise NotFiniteError(TOO_LARGE.format(X.dtype))
        width = _initial_width(task, WIDTH_SHARE if start is None else STARTED_SHARE)
        if start is None and not is_small(X, task.loss):
            W, width = _sampled_start(task, W, width)
        best, width = _minimise(task, W, width)
        _certify(best, task, width)
        if precision != X.dtype:
            best.W = _rounded(task, best.W, X.dtype)
            best.certify(task.start(best.W, width).evaluate())
        elif X.dtype != np.float64 and not (best.converged(task.tol) or task.iterations.ended):
            best = _continue_in_double(task, best, width)
    iterations = task.iterations
    solution = best.solution(X.dtype, features.bias, task.tol, iterations.n_iter)
    return solution, best.p, iterations.ended


def _certify(best: Best, task: Task, width: float) -> None:
    """Compute the certificate from fresh slacks: the current ones were updated step by step."""
    if not best.is_certified:
        best.certify(task.start(best.W, width).evaluate())


def _continue_in_double(task: Task, best: Best, width: float) -> Best:
    """Continue in double precision: the last steps towards a corner need its digits.

    The gap reported in an iteration is that of the coefficients before they are rounded. Gaps that
    were computed in single precision are not valid bounds in double precision, so `best` is reset.
    """
    single, double = task.features.precision, np.dtype(np.float64)
    task = replace(task.cast(double), goal=task.tol)
    # Few steps are left, which must be exact.
    problems = task.start(best.W.astype(double), width, _center(task.loss, best, double))
    best, width = _take_newton_steps(task, problems)
    best.W = _rounded(task, best.W, single)
    _certify(best, task, width)
    return best


def _rounded(task: Task, W: Array, dtype: np.dtype[Any]) -> Array:
    """Round ``W`` to ``dtype``, and return the best of several slightly stretched versions of it.

    Many rows without loss lie exactly on the margin. Rounding would push half of them across it and
    add their losses; slightly longer coefficients avoid that.
    """
    lowest, best = np.full(len(W), np.inf), W
    for stretch in STRETCHES:
        rounded = (W * (1.0 + stretch * rounding_unit(dtype))).astype(dtype).astype(W.dtype)
        objective = task.start(rounded, 1.0).objective()
        better = objective < lowest
        lowest = np.where(better, objective, lowest)
        best = np.where(better[:, None, None], rounded, best)
    return best


def _initial_width(task: Task, share: float) -> float:
    """Return the loss's own width or, if it has corners, one in proportion to the data."""
    if task.loss.own_width > 0.0:
        return task.loss.own_width
    # If all costs are 0, any width will do.
    return share * _dual_curvature(task.features, task.cost) or 1.0


def _dual_curvature(features: Features, cost: Array) -> float:
    """Return the mean of ``cost_i ||x_i||^2``."""
    mean_cost = float(cost.sum(dtype=np.float64)) / max(1, int(np.count_nonzero(cost)))
    return mean_cost * float(features.square_sums.sum(dtype=np.float64)) / features.shape[0]


def _sampled_start(task: Task, W: Array, width: float) -> tuple[Array, float]:
    """Return coefficients and width to start from: a rough solution on a fourth of the rows."""
    n_rows, n_features = task.features.shape
    enough = max(SAMPLED_ROWS, SAMPLED_ROWS_PER_FEATURE * n_features)
    if n_rows < enough or not task.features.is_dense:
        return W, width
    rows = slice(None, None, SAMPLING)
    sample = Task(
        task.features.take(rows),
        task.loss.take_rows(rows),
        SAMPLING * task.cost[..., rows],
        tol=SAMPLED_TOL,
        goal=SAMPLED_TOL,
        iterations=Iterations(SAMPLED_STEPS),
    )
    W, width = _sampled_start(sample, W, width)
    best, width = _minimise(sample, W, width)
    return best.W, width
