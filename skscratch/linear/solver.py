"""Linear support vector machines, all problems at once, by a truncated Newton method.

Minimised over the coefficients ``W`` (one row per score; the last column belongs to the constant
feature ``intercept_scaling`` and is regularised like the others, as in LIBLINEAR)::

    0.5 ||W||^2 + sum_i cost_i * loss_i(z_i),      z_i = W x_i

Where a loss has corners (its width is 0, see `losses`), Newton's method meets the smooth
``max <p, s> - (width / 2) ||p - center||^2`` instead, with a width that shrinks and a center that
follows the dual point (the proximal point method: thanks to the center the corners are met exactly
while the width is still comfortable). The maximiser is one projection,
``p = project(center + s / width)``. It is the slope; its face of ``A`` gives the curvature; and it
is feasible in the dual, so that the gradient ``G`` also gives the duality gap of the *true*
problem::

    gap = 0.5 ||G||^2 + sum_i cost_i * (loss(s_i) + conjugate(p_i) - <p_i, s_i>)

Every term is nonnegative and nothing large cancels, so the gap can be trusted down to rounding.
Where float32 has not the digits for it, the last steps are taken in float64, with X cast a piece at
a time, and the coefficients are rounded with care.

Other ways were measured. For the losses with corners, smoothing alone, with a width that shrinks
and no center, took two to twelve times the processor time on latent features and pixels of MNIST:
its last digits need widths at which the Hessian breaks down. Within a step, factors of the Hessian
(in the space of its rows once few of them count) beat conjugate gradients everywhere but far from
the solution, where a step needs two to ten iterations; near it, it needs fifty and more.
Coordinate ascent in the dual is what LIBLINEAR does; it wants a compiled loop.

References
----------
S. S. Keerthi and D. DeCoste, "A modified finite Newton method for fast solution of large scale
linear SVMs", JMLR 6, 2005. Y. Yan and Q. Li, "An efficient augmented Lagrangian method for support
vector machine", Optimization Methods and Software 35, 2020. K. Crammer and Y. Singer, "On the
algorithmic implementation of multiclass kernel-based vector machines", JMLR 2, 2001.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skscratch.linear.losses import LinearLoss
from skscratch.linear.products import (
    Features,
    Run,
    conjugate_gradients,
    inner,
    per_problem,
    run_alone,
    solve_definite,
    solve_few_rows,
    solve_few_turned_rows,
)

__all__ = ["LinearSolution", "NotFiniteError", "solve"]

Array = NDArray[Any]

# Systems of more unknowns than this are never built.
EXPLICIT_SIZE = 1024
# The same where many columns share them.
MOST_TANGENTS = 2048
# Iterations are tried where building a system would cost more than so many of them, ...
FEW_STEPS = 10
# ... at so many multiplications for each entry of X: two products, bound by memory.
PRODUCT_COST = 12.0
# Explicit Hessians are kept from step to step while all of them together are no larger.
KEPT_ENTRIES = 2**26
# Directions are shared among the threads where a Gram matrix takes so many multiplications: below,
# handing over costs more than it saves.
SHARED_GRAM = 2**27
# Data with fewer multiplications per product than this are solved to the last digits: the further
# steps take milliseconds, and integer weights then equal repeated rows to many digits.
POLISHED_WORK = 2e7
# Many rows are first solved on every fourth row, which leaves few steps to take on all of them.
SAMPLING = 4
SAMPLED_ROWS = 8192
SAMPLED_ROWS_PER_FEATURE = 64
# Give up on a problem whose best gap has not fallen by a tenth in so many steps: more of them far
# from the solution, where the gap may rest while the width shrinks.
PATIENCE = 12
FAR_PATIENCE = 60
FAR = 1e-3
POLISHING_PATIENCE = 2
# A smoothed problem is solved once its own gap is below this share of the true one.
SOLVED_SHARE = 1.0
SHRINK = 0.5
# Without corners, Newton's method needs few steps, or, on data that can be separated, hundreds:
# then it starts again from a much smoother problem.
STALLED = 20
WIDENING = 4.0**8
FAST_SHRINK = 0.25
# The first width as a share of the mean of ``cost_i ||x_i||^2``, the curvature of the dual; and the
# same for one that stays near a given start.
WIDTH_SHARE = 0.1
STARTED_SHARE = 1e-3
SAMPLED_TOL = 0.03
SAMPLED_STEPS = 15
# A solution that is rounded is also tried this many units of rounding longer.
ROUNDINGS = (0, 1, 4, 16, 64, 256)
TINY = float(np.finfo(np.float64).tiny)

TOO_LARGE = "The objective is not finite: X, the costs or the start hold values too large for {}."


class NotFiniteError(ValueError):
    """The objective is not finite."""


@dataclass(frozen=True)
class LinearSolution:
    """Coefficients with their certificate.

    ``objective`` and ``dual_gap`` are sums over the problems; no coefficients whatever reach an
    objective below ``objective - dual_gap``. Not ``converged`` means that some problem's gap still
    exceeds ``tol`` times its objective: out of steps, or out of digits.
    """

    coef: Array
    intercept: Array
    objective: float
    dual_gap: float
    n_iter: int
    converged: bool


# ---- Newton's method -----------------------------------------------------------------------------


@dataclass
class _Point:
    """What is known at the current coefficients: dual point, gradient, objective and gap."""

    p: Array
    G: Array
    primal: Array
    smooth_gap: Array
    corner_gap: Array

    @property
    def gap(self) -> Array:
        gap: Array = self.smooth_gap + self.corner_gap
        return gap

    def take(self, problems: Array) -> _Point:
        return _Point(*(values[problems] for values in vars(self).values()))

    def put(self, problems: Array, part: _Point) -> None:
        for values, new in zip(vars(self).values(), vars(part).values(), strict=True):
            values[problems] = new


@dataclass
class _Problems:
    """The unfinished problems: coefficients, slacks, and the smoothing of the corners."""

    features: Features
    loss: LinearLoss
    cost: Array
    W: Array
    S: Array
    width: Array
    center: Array | None
    grams: list[tuple[Array, Array] | None]

    @classmethod
    def start(
        cls,
        features: Features,
        loss: LinearLoss,
        cost: Array,
        W: Array,
        width: float,
        center: Array | None = None,
    ) -> _Problems:
        S = loss.slacks(features.scores(W))
        widths = np.full((len(W), 1, 1), width, W.dtype)
        return cls(features, loss, cost, W, S, widths, center, [None] * len(W))

    def take(self, problems: Array) -> _Problems:
        return replace(
            self,
            loss=self.loss.take_problems(problems),
            cost=self.cost if len(self.cost) == 1 else self.cost[problems],
            W=self.W[problems],
            S=self.S[problems],
            width=self.width[problems],
            center=None if self.center is None else self.center[problems],
            grams=[self.grams[k] for k in problems],
        )

    def dual_point(self, S: Array) -> Array:
        V = S / self.width
        if self.center is not None:
            V += self.center
        return self.loss.project(V)

    def total(self, per_row: Array) -> Array:
        """Return the sum over the rows, weighted by their costs: (problems,)."""
        per_row = per_row * self.cost[:, 0]
        total: Array = per_row.sum(axis=1, dtype=np.float64)
        return total

    def objective(self) -> Array:
        value: Array = 0.5 * inner(self.W, self.W) + self.total(self.loss.value(self.S))
        return value

    def evaluate(self) -> _Point:
        p = self.dual_point(self.S)
        G = self.W + self.features.gather(self.loss.slack_changes_transposed(p * self.cost))
        corner_gap = self.total(self.loss.excess(self.S, p))
        point = _Point(p, G, self.objective(), 0.5 * inner(G, G), corner_gap)
        if not np.isfinite(point.primal + point.gap).all():
            raise NotFiniteError(TOO_LARGE.format(self.W.dtype))
        return point

    def tighten_smoothing(self, point: _Point) -> _Point:
        """Where the smoothed problem is solved, let center and width follow; return the point."""
        own = self.loss.own_width
        solved = point.smooth_gap <= SOLVED_SHARE * point.corner_gap
        solved &= self.width[:, 0, 0] > own
        if not solved.any():
            return point
        if own > 0.0:
            self.width[solved] = np.maximum(self.width[solved] * FAST_SHRINK, own)
        else:
            if self.center is None:
                self.center = np.zeros_like(self.S)
            self.center[solved] = point.p[solved]
            self.width[solved] *= SHRINK
        moved = np.flatnonzero(solved)
        point.put(moved, self.take(moved).evaluate())
        return point

    def restart_smoother(self) -> _Point:
        """Meet a smoother problem first, with a width from which it shrinks again."""
        self.width[:] *= WIDENING
        return self.evaluate()

    def newton_step(self, point: _Point, goal: float) -> None:
        residual = np.sqrt(2.0 * point.smooth_gap)
        share = np.sqrt(point.gap / point.primal.clip(min=TINY))
        floor = np.sqrt(0.2 * goal * point.primal)
        P = self.direction(point, np.maximum(np.minimum(0.1, share) * residual, floor))
        if not np.isfinite(P).all():
            raise NotFiniteError(TOO_LARGE.format(self.W.dtype))
        self.step(P, inner(point.G, P))

    # -- direction ---------------------------------------------------------------------------------

    def direction(self, point: _Point, residual: Array) -> Array:
        """Return ``-H^{-1} G`` up to a remainder of norm ``residual``, H the Hessian."""
        face = self.loss.face(point.p)
        if self.W.shape[1] == 1:
            return self._separate_directions(point, face, residual)
        return self._joint_direction(point, face, residual)

    def _separate_directions(self, point: _Point, face: Array, residual: Array) -> Array:
        """Solve each problem in the space of its rows or of its features, or by iterations."""
        n_features = self.W.shape[-1]
        active = (face * self.cost)[:, 0]
        P = np.empty_like(self.W)
        sizes = np.count_nonzero(active, axis=1)
        by_rows = [k for k, size in enumerate(sizes) if size <= min(n_features, EXPLICIT_SIZE)]
        others = [k for k in range(len(P)) if k not in by_rows]
        explicit = [k for k in others if self._is_explicit(k, active[k])]
        iterative = np.array([k for k in others if k not in explicit], np.intp)

        def solve_rows(k: int) -> None:
            rows = np.flatnonzero(active[k])
            B = self.features.scaled_rows(rows, np.sqrt(active[k, rows] / self.width[k, 0]))
            P[k, 0] = solve_few_rows(B, -point.G[k, 0])

        def solve_features(k: int) -> None:
            P[k, 0] = solve_definite(self._hessian(k, active[k]), -point.G[k, 0])

        worth_sharing = self.features.n_stored * n_features >= SHARED_GRAM
        run = self.features.run if worth_sharing else run_alone
        run([partial(solve_rows, k) for k in by_rows])
        if len(iterative):
            P[iterative], unfinished = self._iterative_directions(iterative, point, face, residual)
            if n_features <= EXPLICIT_SIZE:
                explicit += [int(k) for k in iterative[unfinished]]
        # Those without a Gram matrix look for a neighbour's, and must come one after the other.
        alone = [k for k in explicit if self.grams[k] is None]
        for k in alone:
            solve_features(k)
        run([partial(solve_features, k) for k in explicit if k not in alone])
        return P

    def _is_explicit(self, k: int, active: Array) -> bool:
        """Whether the Hessian of problem ``k`` costs less than a few iterations."""
        n_features = self.W.shape[-1]
        if n_features > EXPLICIT_SIZE:
            return False
        _, n_rows = self._nearest_gram(k, active)
        explicit = float((n_rows + n_features / 3.0) * n_features**2)
        return explicit <= FEW_STEPS * PRODUCT_COST * self.features.n_stored

    def _nearest_gram(self, k: int, active: Array) -> tuple[tuple[Array, Array] | None, int]:
        """Return the sum to bring up to date, or None, and how many rows that takes to read.

        From step to step few rows change, and at first those of a neighbour are nearest: at
        ``W = 0`` every row counts in every problem.
        """
        kept = self.grams[k] or self.grams[k - 1]
        afresh = int(np.count_nonzero(active))
        changed = afresh if kept is None else int(np.count_nonzero(active != kept[0]))
        return (kept, changed) if 2 * changed < afresh else (None, afresh)

    def _hessian(self, k: int, active: Array) -> Array:
        """Return ``I + sum_i active_i / width x_i x_i^T`` of problem ``k``."""
        kept, _ = self._nearest_gram(k, active)
        if kept is None:
            total = self.features.weighted_gram(active)
        else:
            change = active - kept[0]
            total = kept[1] + self.features.weighted_gram(change)
            total -= self.features.weighted_gram(-change)
        if total.size * len(self.grams) <= KEPT_ENTRIES:
            self.grams[k] = active, total
        hessian: Array = total / self.width[k, 0]
        hessian.flat[:: len(hessian) + 1] += 1.0
        return hessian

    def _joint_direction(self, point: _Point, face: Array, residual: Array) -> Array:
        """Solve the problem of many columns likewise; its Hessian couples all of them."""
        weight = (self.cost / self.width)[0, 0]
        Q, rows = self.loss.tangents(face & (weight > 0.0))
        if len(rows) <= (self.W.size if self.W.size <= EXPLICIT_SIZE else MOST_TANGENTS):
            few, place = np.unique(rows, return_inverse=True)
            B = self.features.scaled_rows(few, np.sqrt(weight[few]))
            return solve_few_turned_rows(B, Q, place, -point.G[0])[None]
        if self.W.size <= EXPLICIT_SIZE:
            hessian = self._joint_hessian(face, weight)
            return solve_definite(hessian, -point.G.ravel()).reshape(self.W.shape)
        P, _ = self._iterative_directions(np.array([0]), point, face, residual)
        return P

    def _joint_hessian(self, face: Array, weight: Array) -> Array:
        """Build the Hessian of one problem of many columns block by block."""
        n_columns, n_features = self.W.shape[1:]
        counts = np.flatnonzero(face.any(axis=(0, 1)) & (weight > 0.0))
        hessian = np.zeros((n_columns, n_features, n_columns, n_features), self.W.dtype)
        for rows in self.features.blocks(counts):
            X = self.features.scaled_rows(rows, np.ones(len(rows), self.W.dtype))
            for j in range(n_columns):
                # The part along the face sums to zero over the columns, or is zero: turning it
                # into slacks and back changes nothing.
                unit = np.zeros((1, n_columns, len(rows)), self.W.dtype)
                unit[:, j] = 1.0
                part = self.loss.along(unit, face[..., rows]) * weight[rows]
                for k in range(j + 1):
                    hessian[j, :, k] += X.T @ (part[0, k, :, None] * X)
        for j in range(n_columns):
            for k in range(j):
                hessian[k, :, j] = hessian[j, :, k]
        flat = hessian.reshape(self.W.size, self.W.size)
        flat.flat[:: len(flat) + 1] += 1.0
        return flat

    def _iterative_directions(
        self, problems: Array, point: _Point, face: Array, residual: Array
    ) -> tuple[Array, Array]:
        """Solve these problems by conjugate gradients; say which ones need further steps."""
        features, loss = self.features, self.loss.take_problems(problems)
        weight = np.broadcast_to(self.cost / self.width, (len(self.W), 1, self.S.shape[-1]))
        face, weight = face[problems], weight[problems]
        # The mean of the curvature over the rows, times that of all features alike.
        share = (face * weight).mean(axis=-1, keepdims=True)
        curved = np.any(face & (weight > 0.0), axis=(0, 1))
        if 2 * np.count_nonzero(curved) < len(curved):
            rows = np.flatnonzero(curved)
            features, loss = features.take(rows), loss.take_rows(rows)
            face, weight = face[..., rows], weight[..., rows]

        def curvature(P: Array, live: Array) -> Array:
            part = loss.take_problems(live)
            U = part.along(part.slack_changes(features.scores(P)), face[live])
            U *= weight[live]
            return P + features.gather(part.slack_changes_transposed(U))

        precondition = self.features.preconditioner(share, EXPLICIT_SIZE)
        # In exact arithmetic as many steps as unknowns suffice; rounding asks for a few more.
        few = self.W.shape[1] == 1 and self.W.shape[2] <= EXPLICIT_SIZE
        max_steps = FEW_STEPS if few else 2 * self.W[0].size + 10
        return conjugate_gradients(
            curvature, point.G[problems], precondition, residual[problems], max_steps
        )

    # -- step --------------------------------------------------------------------------------------

    def step(self, P: Array, slope: Array) -> None:
        """Move along ``P``, where the objective falls at first by ``-slope``, to its minimum."""
        U = self.loss.slack_changes(self.features.scores(P))
        t = per_problem(self._line_search(P, U, slope), self.W.dtype)
        self.W = self.W + t * P
        U *= t
        self.S += U

    def _line_search(self, P: Array, U: Array, first_slope: Array) -> Array:
        """Find the root of the slope along ``P``, increasing and piecewise linear in ``t``."""
        W_P, P_P = inner(self.W, P), inner(P, P)
        t = np.where(first_slope < 0.0, 1.0, 0.0)
        low, high = np.zeros_like(t), np.full_like(t, np.inf)
        live = np.flatnonzero(t)
        for _ in range(40):
            if live.size == 0:
                break
            part, u, at = self.take(live), U[live], t[live]
            p = part.dual_point(part.S + per_problem(at, u.dtype) * u)
            weighted = u * part.cost
            slope = W_P[live] + at * P_P[live] + np.vecdot(p, weighted).sum(axis=1)
            curve = part.loss.along(u.copy(), part.loss.face(p)) / part.width
            curvature = P_P[live] + np.vecdot(curve, weighted).sum(axis=1)
            low[live] = np.where(slope < 0.0, at, low[live])
            high[live] = np.where(slope < 0.0, high[live], at)
            newton = at - slope / curvature
            middle = np.where(np.isinf(high[live]), 2.0 * at, 0.5 * (low[live] + high[live]))
            inside = (newton > low[live]) & (newton < high[live])
            unfinished = np.abs(slope) > 0.1 * np.abs(first_slope[live])
            t[live] = np.where(unfinished, np.where(inside, newton, middle), at)
            live = live[unfinished]
        return t


# ---- the solver ----------------------------------------------------------------------------------


class _Best:
    """The best coefficients, dual point and gap of every problem, finished or not."""

    def __init__(self, W: Array, S: Array) -> None:
        self.W = W.copy()
        self.p = np.zeros_like(S)
        self.primal = np.full(len(W), np.inf)
        self.dual = np.full(len(W), -np.inf)
        self.point_gap = np.full(len(W), np.inf)
        self.idle = np.zeros(len(W), np.intp)
        self._milestone = np.full(len(W), np.inf)

    @property
    def gap(self) -> Array:
        # The best primal and the best dual may stem from different points, but their difference
        # means something only above the rounding of the two.
        difference = np.maximum(self.primal - self.dual, 4 * _epsilon(self.W) * self.primal)
        gap: Array = np.minimum(self.point_gap, difference)
        return gap

    @property
    def certified_gap(self) -> Array:
        """The gap, as far as rounding allows to know it."""
        certified: Array = np.maximum(self.gap, 4 * _epsilon(self.W) * self.primal)
        return certified

    def record(self, problems: Array, W: Array, point: _Point) -> None:
        better = point.primal < self.primal[problems]
        self.W[problems[better]] = W[better]
        self.primal[problems] = np.minimum(self.primal[problems], point.primal)
        better = point.primal - point.gap > self.dual[problems]
        self.p[problems[better]] = point.p[better]
        self.dual[problems] = np.maximum(self.dual[problems], point.primal - point.gap)
        self.point_gap[problems] = np.minimum(self.point_gap[problems], point.gap)
        gap = self.gap[problems]
        moved = gap < 0.9 * self._milestone[problems]
        self._milestone[problems[moved]] = gap[moved]
        self.idle[problems] = np.where(moved, 0, self.idle[problems] + 1)

    def certify(self, point: _Point) -> None:
        """Replace the primal values by those of a point with fresh slacks."""
        self.primal = point.primal
        self.dual = np.maximum(self.dual, point.primal - point.gap)
        self.point_gap = point.gap

    def converged(self, tol: float) -> bool:
        return bool(np.all(self.certified_gap <= tol * self.primal))

    def solution(
        self, dtype: np.dtype[Any], bias: float | None, tol: float, n_iter: int
    ) -> LinearSolution:
        W = self.W.reshape(-1, self.W.shape[-1]).astype(dtype, copy=False)
        return LinearSolution(
            coef=W.copy() if bias is None else W[:, :-1].copy(),
            intercept=np.zeros(len(W), W.dtype) if bias is None else bias * W[:, -1],
            objective=float(self.primal.sum()),
            dual_gap=float(self.certified_gap.sum()),
            n_iter=n_iter,
            converged=self.converged(tol),
        )


def _epsilon(W: Array) -> float:
    return float(np.finfo(W.dtype).eps)


def _minimise(
    problems: _Problems,
    tol: float,
    goal: float,
    max_iter: int,
    on_round: Callable[[int, _Best], bool | None] = lambda n_iter, best: False,
) -> tuple[_Best, int, float]:
    """Take Newton steps until each problem's gap is below ``goal``, or can fall no further.

    Return the best points, the rounds taken, and the narrowest width.
    """
    best = _Best(problems.W, problems.S)
    unfinished = np.arange(len(problems.W))
    n_iter, width = 0, float(problems.width.min())
    has_corners = problems.loss.own_width == 0.0
    while n_iter < max_iter:
        n_iter += 1
        point = problems.evaluate()
        best.record(unfinished, problems.W, point)
        if on_round(n_iter, best) or n_iter == max_iter:
            break
        allowed = best.gap[unfinished] / best.primal[unfinished].clip(min=TINY)
        polishing = (allowed <= tol) & (not has_corners)
        patience = np.where(allowed > FAR, FAR_PATIENCE, PATIENCE)
        patience[polishing] = POLISHING_PATIENCE
        remain = np.flatnonzero((allowed > goal) & (best.idle[unfinished] < patience))
        if not len(remain):
            break
        if len(remain) < len(unfinished):
            unfinished = unfinished[remain]
            problems, point = problems.take(remain), point.take(remain)
        stalls = n_iter == STALLED and not has_corners
        point = problems.restart_smoother() if stalls else problems.tighten_smoothing(point)
        width = min(width, float(problems.width.min()))
        problems.newton_step(point, goal)
    return best, n_iter, width


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
    on_iteration: Callable[[int, float, float, Callable[[], LinearSolution]], bool | None]
    | None = None,
    run: Run = run_alone,
) -> LinearSolution:
    """Minimise ``0.5 ||W||^2 + sum_i cost_i * loss_i(W x_i)`` until the gap is small.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n_rows, n_features)
        float32 or float64; everything is computed in its dtype, as far as it has the digits.
        Where it does not, the last steps go in float64, X being cast a piece at a time.
    loss : LinearLoss
        A loss with the targets of the rows.
    cost : ndarray of shape (n_rows,) or (n_problems, n_rows)
        ``C`` times the weight of the row times that of its class; not negative. One-versus-rest
        with balanced class weights needs the second shape.
    fit_intercept, intercept_scaling : bool, float
        The intercept is ``intercept_scaling`` times a coefficient regularised like the others.
    tol : float
        Each problem is solved until its duality gap is below ``tol`` times its objective.
    max_iter : int
        Largest number of Newton iterations.
    start : (coef, intercept), optional
        Where to start, in the shapes of the solution.
    on_iteration : callable, optional
        Called as ``on_iteration(n_iter, objective, dual_gap, solution)`` in every iteration, where
        ``solution()`` is the best solution so far. Returning True stops.
    run : callable, optional
        Runs a list of functions without arguments, on several threads if it likes. The result has
        the same bits in any case.

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
    bias = float(intercept_scaling) if fit_intercept else None
    loss = loss.cast(X.dtype)
    costs = np.atleast_2d(np.asarray(cost, X.dtype))[:, None]
    n_rows, n_features = Features(X, bias, X.dtype).shape
    n_problems, n_columns = loss.shape
    if loss.n_rows != n_rows or costs.shape not in {(1, 1, n_rows), (n_problems, 1, n_rows)}:
        raise ValueError(
            f"X has {n_rows} rows, the loss {loss.n_rows} in {n_problems} problems, and cost the "
            f"shape {np.shape(cost)}; cost must be (n_rows,) or (n_problems, n_rows)."
        )
    W = np.zeros((n_problems, n_columns, n_features), X.dtype)
    if start is not None:
        flat = W.reshape(-1, n_features)
        flat[:, : X.shape[1]] = start[0]
        if bias is not None:
            flat[:, -1] = np.asarray(start[1]) / bias

    stopped = False

    def report(n_iter: int, best: _Best) -> bool:
        nonlocal stopped
        if on_iteration is not None:
            objective, gap = float(best.primal.sum()), float(best.certified_gap.sum())
            stopped = bool(
                on_iteration(
                    n_iter, objective, gap, lambda: best.solution(X.dtype, bias, tol, n_iter)
                )
            )
        return stopped

    goal = tol
    if X.dtype == np.float64 and n_rows * n_features * n_problems * n_columns <= POLISHED_WORK:
        goal = min(tol, loss.polished)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        features = Features(X, bias, X.dtype, run)
        if not np.isfinite(features.square_sums).all():
            raise NotFiniteError(TOO_LARGE.format(X.dtype))
        share = WIDTH_SHARE if start is None else STARTED_SHARE
        width = _first_width(features, loss, costs, share)
        if start is None:
            W, width = _sampled_start(features, loss, costs, W, width)
        problems = _Problems.start(features, loss, costs, W, width)
        best, n_iter, width = _minimise(problems, tol, goal, max_iter, report)
        _certify(best, features, loss, costs, width)
        # Its room may be needed for what follows.
        del problems
        if X.dtype != np.float64 and not (best.converged(tol) or stopped or n_iter == max_iter):
            best, n_iter = _in_double(
                features, loss, cost, best, width, tol, (n_iter, max_iter), report
            )
    return best.solution(X.dtype, bias, tol, n_iter)


def _certify(best: _Best, features: Features, loss: LinearLoss, cost: Array, width: float) -> None:
    """Draw the certificate from fresh slacks: those at hand were updated step by step."""
    best.certify(_Problems.start(features, loss, cost, best.W, width).evaluate())


def _in_double(
    features: Features,
    loss: LinearLoss,
    cost: Array,
    best: _Best,
    width: float,
    tol: float,
    steps: tuple[int, int],
    on_round: Callable[[int, _Best], bool | None],
) -> tuple[_Best, int]:
    """Go on in double precision: where corners are met, the last steps need its digits.

    The gap reported in an iteration is that of the coefficients before they are rounded: a
    bound that was computed in single precision is none here.
    """
    single, double = features.precision, np.dtype(np.float64)
    features, loss = replace(features, precision=double), loss.cast(double)
    costs = np.atleast_2d(np.asarray(cost, double))[:, None]
    W = best.W.astype(double)
    # Without corners nothing is smoothed, and no center is followed.
    center = best.p.astype(double) if loss.own_width == 0.0 else None
    problems = _Problems.start(features, loss, costs, W, width, center)
    taken, max_iter = steps
    best, n_iter, width = _minimise(
        problems, tol, tol, max_iter - taken, lambda n, best: on_round(taken + n, best)
    )
    best.W = _rounded(features, loss, costs, best.W, single)
    _certify(best, features, loss, costs, width)
    return best, taken + n_iter


def _rounded(
    features: Features, loss: LinearLoss, cost: Array, W: Array, dtype: np.dtype[Any]
) -> Array:
    """Return coefficients that `dtype` can hold, the best of some that are a little longer.

    Rows without loss often lie at the very margin. Rounding pushes them within, where each costs;
    slightly longer coefficients keep them out.
    """
    lowest, best = np.full(len(W), np.inf), W
    for longer in ROUNDINGS:
        some = (W * (1.0 + longer * float(np.finfo(dtype).eps))).astype(dtype).astype(W.dtype)
        objective = _Problems.start(features, loss, cost, some, 1.0).objective()
        better = objective < lowest
        lowest = np.where(better, objective, lowest)
        best = np.where(better[:, None, None], some, best)
    return best


def _first_width(features: Features, loss: LinearLoss, cost: Array, share: float) -> float:
    """Return the width to start with: for losses with corners, in proportion to the data."""
    if loss.own_width > 0.0:
        return loss.own_width
    mean_cost = float(cost.sum(dtype=np.float64)) / max(1, int(np.count_nonzero(cost)))
    length = float(features.square_sums.sum(dtype=np.float64)) / features.shape[0]
    # Where nothing costs anything, any width will do.
    return share * mean_cost * length or 1.0


def _sampled_start(
    features: Features, loss: LinearLoss, cost: Array, W: Array, width: float
) -> tuple[Array, float]:
    """Solve roughly on every fourth row, where steps are four times as cheap."""
    n_rows, n_features = features.shape
    enough = max(SAMPLED_ROWS, SAMPLED_ROWS_PER_FEATURE * n_features)
    if n_rows < enough or not features.is_dense:
        return W, width
    rows = slice(None, None, SAMPLING)
    sample = features.take(rows), loss.take_rows(rows), SAMPLING * cost[..., rows]
    W, width = _sampled_start(*sample, W, width)
    problems = _Problems.start(*sample, W, width)
    best, _, width = _minimise(
        problems, SAMPLED_TOL, SAMPLED_TOL, SAMPLED_STEPS, lambda n_iter, best: False
    )
    return best.W, width
