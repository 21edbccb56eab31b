"""Linear support vector machines, all problems at once, by a truncated Newton method.

Minimised over the coefficients ``W`` (one row per score; the last column belongs to the constant
feature ``intercept_scaling`` and is regularised like the others, as in LIBLINEAR)::

    0.5 ||W||^2 + sum_i cost_i * loss_i(z_i),      z_i = W x_i

Every loss here is a maximum over a simple set ``A`` of dual points, read on *slacks* ``s``, which
are linear in the scores up to a constant and positive where the margin is violated::

    loss(s) = max_{p in A} <p, s> - (width / 2) ||p||^2

with ``A = [0, inf)`` and width 1/2 for the squared hinge, ``A = [0, 1]`` and width 0 for the hinge,
the simplex and width 0 for the joint hinge of Crammer and Singer. Where the width is 0 the loss
has corners. Newton's method then meets the smooth ``max <p, s> - (width / 2) ||p - center||^2``
instead, with a width that shrinks and a center that follows the dual point (the proximal point
method: thanks to the center the corners are met exactly while the width is still comfortable).
The maximiser is one projection, ``p = project(center + s / width)``. It is the slope; its face of
``A`` gives the curvature; and it is feasible in the dual, so that the gradient ``G`` also gives the
duality gap of the *true* problem::

    gap = 0.5 ||G||^2 + sum_i cost_i * (loss(s_i) + conjugate(p_i) - <p_i, s_i>)

Every term is nonnegative and nothing large cancels, so the gap can be trusted down to rounding.

Arrays over the rows of X are laid out as (problems, columns, rows): one-versus-rest is many
problems of one column each, the joint machine is one problem of many columns.

References
----------
S. S. Keerthi and D. DeCoste, "A modified finite Newton method for fast solution of large scale
linear SVMs", JMLR 6, 2005. Y. Yan and Q. Li, "An efficient augmented Lagrangian method for support
vector machine", Optimization Methods and Software 35, 2020. K. Crammer and Y. Singer, "On the
algorithmic implementation of multiclass kernel-based vector machines", JMLR 2, 2001.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

__all__ = ["CrammerSinger", "Hinge", "LinearLoss", "LinearSolution", "SquaredHinge", "solve"]

Array = NDArray[Any]

# With more features (and rows) an explicit Hessian costs more than conjugate gradients.
EXPLICIT_SIZE = 1024
# Explicit Hessians are kept from step to step while all of them together are no larger.
KEPT_ENTRIES = 2**26
# Rows gathered at a time for an explicit Hessian: large enough for BLAS, small enough to copy.
BLOCK_ROWS = 8192
# Data with fewer multiplications per product than this are solved to the last digits: the further
# steps take milliseconds, and integer weights then equal repeated rows to many digits.
POLISHED_WORK = 2e7
# Many rows are first solved on every fourth row, which leaves few steps to take on all of them.
SAMPLING = 4
SAMPLED_ROWS = 8192
SAMPLED_ROWS_PER_FEATURE = 64
# Give up on a problem whose best gap has not fallen by a tenth in so many steps.
PATIENCE = 12
POLISHING_PATIENCE = 2
# A smoothed problem is solved once its own gap is below this share of the true one.
SOLVED_SHARE = 1.0
SHRINK = 0.5
# A width that stays near a given start.
STARTED_WIDTH = 0.1
SAMPLED_TOL = 0.03
SAMPLED_STEPS = 15
TINY = float(np.finfo(np.float64).tiny)

TOO_LARGE = (
    "The SVM's objective is not finite: X, the costs or the start hold values too large for {}. "
    "Scale the columns of X (StandardScaler, MaxAbsScaler) or lower C."
)


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


# ---- losses --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LinearLoss(ABC):
    """A loss with its targets: ``max_{p in A} <p, s> - (width / 2) ||p||^2``.

    ``slacks`` maps scores to ``s``, ``turn`` is its linear part and ``turn_back`` the transpose of
    that; ``project``, ``face`` and ``along`` describe the set ``A``. All arrays are (problems,
    columns, rows), and the methods may overwrite their first argument, ``face`` excepted.
    """

    targets: Array

    #: The width that Newton's method starts with.
    width: ClassVar[float] = 10.0
    #: Without corners, the width is part of the loss and never shrinks.
    has_corners: ClassVar[bool] = True
    #: The relative gap at which small data are solved to the last digits.
    polished: ClassVar[float] = 1e-14

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """Problems, and columns of each."""

    @property
    def n_rows(self) -> int:
        """Rows of X that the targets belong to."""
        return int(self.targets.shape[-1])

    def take_rows(self, rows: Array | slice) -> Self:
        """Return the loss on these rows alone."""
        return replace(self, targets=np.ascontiguousarray(self.targets[..., rows]))

    @abstractmethod
    def take_problems(self, problems: Array) -> Self:
        """Return the loss of these problems alone."""

    @abstractmethod
    def cast(self, dtype: np.dtype[Any]) -> Self:
        """Return the loss with targets that leave this dtype alone."""

    @abstractmethod
    def slacks(self, Z: Array) -> Array:
        """Return ``s``, such that the loss is 0 where no slack is positive."""

    @abstractmethod
    def turn(self, Z: Array) -> Array:
        """Return the change of the slacks with the scores."""

    @abstractmethod
    def turn_back(self, R: Array) -> Array:
        """Return the transpose of ``turn`` applied to ``R``."""

    @abstractmethod
    def project(self, V: Array) -> Array:
        """Return the point of ``A`` nearest to ``V``."""

    @abstractmethod
    def face(self, p: Array) -> Array:
        """Return where ``p`` follows ``V``: True inside the face of ``A`` that ``p`` lies on."""

    @abstractmethod
    def along(self, U: Array, face: Array) -> Array:
        """Return the part of ``U`` along the face: the derivative of the projection."""

    @abstractmethod
    def value(self, S: Array) -> Array:
        """Return the loss of each row, (problems, rows)."""

    @abstractmethod
    def excess(self, S: Array, p: Array) -> Array:
        """Return ``loss(s) + conjugate(p) - <p, s> >= 0`` of each row, (problems, rows)."""


class _OneVersusRest(LinearLoss):
    """Independent problems with targets in {-1, +1}; slack ``s = 1 - y z``."""

    @property
    def shape(self) -> tuple[int, int]:
        return int(self.targets.shape[0]), 1

    def take_problems(self, problems: Array) -> Self:
        return replace(self, targets=self.targets[problems])

    def cast(self, dtype: np.dtype[Any]) -> Self:
        return replace(self, targets=np.ascontiguousarray(self.targets, dtype))

    def slacks(self, Z: Array) -> Array:
        S = self.turn(Z)
        S += 1.0
        return S

    def turn(self, Z: Array) -> Array:
        Z *= self.targets[:, None]
        return np.negative(Z, out=Z)

    def turn_back(self, R: Array) -> Array:
        return self.turn(R)

    def along(self, U: Array, face: Array) -> Array:
        U *= face
        return U


class SquaredHinge(_OneVersusRest):
    """``max(0, 1 - y z)^2``, which is ``max_{p >= 0} p s - p^2 / 4``; targets (problems, rows)."""

    width = 0.5
    has_corners = False
    polished = 1e-22

    def project(self, V: Array) -> Array:
        return np.maximum(V, 0.0, out=V)

    def face(self, p: Array) -> Array:
        return np.greater(p, 0.0)

    def value(self, S: Array) -> Array:
        loss = np.maximum(S[:, 0], 0.0)
        loss *= loss
        return loss

    def excess(self, S: Array, p: Array) -> Array:
        return np.zeros((len(S), 1), S.dtype)


class Hinge(_OneVersusRest):
    """``max(0, 1 - y z)``, which is ``max_{0 <= p <= 1} p s``; targets (problems, rows)."""

    def project(self, V: Array) -> Array:
        np.clip(V, 0.0, 1.0, out=V)
        return V

    def face(self, p: Array) -> Array:
        return np.greater(p, 0.0) & np.less(p, 1.0)

    def value(self, S: Array) -> Array:
        return np.maximum(S[:, 0], 0.0)

    def excess(self, S: Array, p: Array) -> Array:
        # (1 - p) s above the corner and p |s| below it.
        excess: Array = np.maximum(S[:, 0] * (1.0 - p[:, 0]), -S[:, 0] * p[:, 0])
        return excess


@dataclass(frozen=True)
class CrammerSinger(LinearLoss):
    """``max_k (z_k + [k != y]) - z_y``, a maximum over the simplex; targets are class numbers.

    The slacks ``s_k = z_k + [k != y] - z_y`` are 0 at the target, so the loss is their maximum.
    """

    n_classes: int

    @property
    def shape(self) -> tuple[int, int]:
        return 1, self.n_classes

    def take_problems(self, problems: Array) -> Self:
        return self

    def cast(self, dtype: np.dtype[Any]) -> Self:
        return replace(self, targets=np.asarray(self.targets, np.intp))

    @property
    def _at_target(self) -> tuple[int, Array, Array]:
        return 0, self.targets, np.arange(self.n_rows)

    def slacks(self, Z: Array) -> Array:
        S = self.turn(Z)
        S += 1.0
        S[self._at_target] = 0.0
        return S

    def turn(self, Z: Array) -> Array:
        Z -= Z[self._at_target]
        return Z

    def turn_back(self, R: Array) -> Array:
        R[self._at_target] -= R.sum(axis=1)[0]
        return R

    def project(self, V: Array) -> Array:
        """Return ``max(V - shift, 0)`` of sum 1, by Newton's method on the shift.

        The sum is convex and falls in the shift, so that from below the shift grows towards the
        root, and reaches it once no further entry leaves the support.
        """
        shift = V.max(axis=1, keepdims=True) - 1.0
        for _ in range(V.shape[1] + 1):
            support = np.greater(V, shift)
            size = support.sum(axis=1, keepdims=True, dtype=V.dtype)
            total = np.add.reduce(V, axis=1, keepdims=True, where=support)
            last, shift = shift, (total - 1.0) / size
            if not np.any(shift > last):
                break
        V -= shift
        return np.maximum(V, 0.0, out=V)

    def face(self, p: Array) -> Array:
        support = np.greater(p, 0.0)
        support &= support.sum(axis=1, keepdims=True) > 1
        return support

    def along(self, U: Array, face: Array) -> Array:
        size = face.sum(axis=1, keepdims=True, dtype=U.dtype)
        U *= face
        U -= face * (U.sum(axis=1, keepdims=True) / np.maximum(size, 1.0))
        return U

    def value(self, S: Array) -> Array:
        largest: Array = S.max(axis=1)
        return largest

    def excess(self, S: Array, p: Array) -> Array:
        # Summed over the distances to the largest slack, each term is nonnegative.
        excess: Array = np.einsum("pcr,pcr->pr", p, S.max(axis=1, keepdims=True) - S)
        return excess


# ---- products with X -----------------------------------------------------------------------------


@dataclass(frozen=True)
class _Features:
    """X with one further column that holds the constant ``bias`` (or nothing where it is None).

    The column is never stored. ``X`` may be a CSR matrix.
    """

    X: Any
    bias: float | None

    @property
    def shape(self) -> tuple[int, int]:
        n_rows, n_features = self.X.shape
        return int(n_rows), int(n_features) + (self.bias is not None)

    @property
    def is_dense(self) -> bool:
        return isinstance(self.X, np.ndarray)

    def take(self, rows: Array | slice) -> _Features:
        return _Features(self.X[rows], self.bias)

    def scores(self, W: Array) -> Array:
        """Return (problems, columns, rows) for coefficients (problems, columns, features)."""
        flat = W.reshape(-1, W.shape[-1])
        n_features = self.X.shape[1]
        Z = np.ascontiguousarray((self.X @ np.ascontiguousarray(flat[:, :n_features].T)).T)
        if self.bias is not None:
            Z += self.bias * flat[:, n_features:]
        return Z.reshape(*W.shape[:-1], self.X.shape[0])

    def gather(self, R: Array) -> Array:
        """Return the transpose of ``scores`` applied to ``R``."""
        flat = R.reshape(R.shape[0] * R.shape[1], R.shape[2])
        W = (self.X.T @ np.ascontiguousarray(flat.T)).T
        if self.bias is not None:
            W = np.concatenate([W, self.bias * flat.sum(axis=1, keepdims=True)], axis=1)
        return np.asarray(W).reshape(*R.shape[:-1], self.shape[1])

    def square_sums(self) -> Array:
        """Return the sum of the squares of each column."""
        if self.is_dense:
            sums = np.einsum("ij,ij->j", self.X, self.X)
        else:
            sums = np.asarray(self.X.multiply(self.X).sum(axis=0)).ravel()
        if self.bias is not None:
            sums = np.append(sums, self.bias**2 * self.X.shape[0])
        return np.asarray(sums, self.X.dtype)

    def weighted_rows(self, rows: Array, root: Array) -> Array:
        """Return these rows, dense, each times its ``root``."""
        scaled = np.empty((len(rows), self.shape[1]), self.X.dtype)
        scaled[:, : self.X.shape[1]] = self.X[rows]
        if self.bias is not None:
            scaled[:, -1] = self.bias
        scaled *= root[:, None]
        return scaled

    def weighted_gram(self, weight: Array) -> Array:
        """Return ``sum_i weight_i x_i x_i^T``, reading only the rows of positive weight."""
        n_features = self.shape[1]
        gram = np.zeros((n_features, n_features), self.X.dtype)
        rows = np.flatnonzero(weight > 0.0)
        for first in range(0, len(rows), BLOCK_ROWS):
            block = rows[first : first + BLOCK_ROWS]
            scaled = self.weighted_rows(block, np.sqrt(weight[block]))
            gram += scaled.T @ scaled
        return gram


# ---- Newton's method -----------------------------------------------------------------------------


def _inner(A: Array, B: Array) -> Array:
    """Return the inner product of each problem, accumulated in float64: (problems,)."""
    inner: Array = np.einsum("pcf,pcf->p", A, B, dtype=np.float64)
    return inner


def _per_problem(values: Array, dtype: np.dtype[Any]) -> Array:
    """Return one value for each problem, shaped to meet (problems, columns, rows)."""
    return np.asarray(values, dtype)[:, None, None]


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
        return _Point(
            self.p[problems],
            self.G[problems],
            self.primal[problems],
            self.smooth_gap[problems],
            self.corner_gap[problems],
        )


@dataclass
class _Problems:
    """The unfinished problems: coefficients, slacks, and the smoothing of the corners."""

    features: _Features
    loss: LinearLoss
    cost: Array
    W: Array
    S: Array
    width: Array
    center: Array | None
    grams: list[tuple[Array, Array] | None]

    @classmethod
    def start(
        cls, features: _Features, loss: LinearLoss, cost: Array, W: Array, width: float
    ) -> _Problems:
        S = loss.slacks(features.scores(W))
        widths = np.full((len(W), 1, 1), width, W.dtype)
        return cls(features, loss, cost, W, S, widths, None, [None] * len(W))

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

    def evaluate(self) -> _Point:
        p = self.dual_point(self.S)
        G = self.W + self.features.gather(self.loss.turn_back(p * self.cost))
        primal = 0.5 * _inner(self.W, self.W) + self.total(self.loss.value(self.S))
        corner_gap = self.total(self.loss.excess(self.S, p))
        point = _Point(p, G, primal, 0.5 * _inner(G, G), corner_gap)
        if not np.isfinite(point.primal + point.gap).all():
            raise ValueError(TOO_LARGE.format(self.W.dtype))
        return point

    def follow(self, point: _Point) -> _Point:
        """Where the smoothed problem is solved, let center and width follow; return the point."""
        solved = point.smooth_gap <= SOLVED_SHARE * point.corner_gap
        if not solved.any():
            return point
        if self.center is None:
            self.center = np.zeros_like(self.S)
        self.center[solved] = point.p[solved]
        self.width[solved] *= SHRINK
        return self.evaluate()

    def newton_step(self, point: _Point, goal: float) -> None:
        residual = np.sqrt(2.0 * point.smooth_gap)
        share = np.sqrt(point.gap / point.primal.clip(min=TINY))
        floor = np.sqrt(0.2 * goal * point.primal)
        P = self.direction(point, np.maximum(np.minimum(0.1, share) * residual, floor))
        if not np.isfinite(P).all():
            raise ValueError(TOO_LARGE.format(self.W.dtype))
        self.step(P, _inner(point.G, P))

    # -- direction ---------------------------------------------------------------------------------

    def direction(self, point: _Point, residual: Array) -> Array:
        """Return ``-H^{-1} G`` up to a remainder of norm ``residual``, H the Hessian."""
        one_column = self.W.shape[1] == 1
        size = min(self.W.shape[-1], self.S.shape[-1])
        if one_column and self.features.is_dense and size <= EXPLICIT_SIZE:
            return self._explicit_direction(point)
        if not one_column and self.features.is_dense and self.W.size <= EXPLICIT_SIZE:
            return self._joint_direction(point)
        return self._iterative_direction(point, residual)

    def _explicit_direction(self, point: _Point) -> Array:
        weight = self.loss.face(point.p) * (self.cost / self.width)
        P = np.empty_like(self.W)
        for k in range(len(self.W)):
            rows = np.flatnonzero(weight[k, 0])
            if len(rows) < self.W.shape[-1]:
                B = self.features.weighted_rows(rows, np.sqrt(weight[k, 0, rows]))
                P[k, 0] = _solve_few_rows(B, -point.G[k, 0])
            else:
                P[k, 0] = _solve_scaled(self._hessian(k, weight[k, 0]), -point.G[k, 0])
        return P

    def _hessian(self, k: int, weight: Array) -> Array:
        """Return ``I + sum_i weight_i x_i x_i^T`` of problem ``k``.

        From step to step few weights change, and their rows are all that is read: the last sum of
        this problem is brought up to date, or at first that of its neighbour, since at ``W = 0``
        every row counts in every problem.
        """
        gram = self.grams[k] or self.grams[k - 1]
        if gram is None or 2 * np.count_nonzero(weight != gram[0]) > np.count_nonzero(weight):
            total = self.features.weighted_gram(weight)
        else:
            change = weight - gram[0]
            total = gram[1] + self.features.weighted_gram(change)
            total -= self.features.weighted_gram(-change)
        if total.size * len(self.grams) <= KEPT_ENTRIES:
            self.grams[k] = weight, total
        hessian: Array = total + np.eye(len(total), dtype=total.dtype)
        return hessian

    def _joint_direction(self, point: _Point) -> Array:
        """Solve with the Hessian of one problem of many columns, built block by block."""
        n_columns, n_features = self.W.shape[1:]
        face = self.loss.face(point.p)
        weight = self.cost / self.width
        rows = np.flatnonzero(np.any(face & (weight > 0.0), axis=(0, 1)))
        face, weight = face[..., rows], weight[..., rows]
        X = self.features.weighted_rows(rows, np.ones(len(rows), self.W.dtype))
        hessian = np.empty((n_columns, n_features, n_columns, n_features), X.dtype)
        for j in range(n_columns):
            # The part along the face sums to zero over the columns, or is zero: turning it into
            # slacks and back changes nothing.
            unit = np.zeros(face.shape, X.dtype)
            unit[:, j] = 1.0
            part = self.loss.along(unit, face) * weight
            for k in range(j + 1):
                hessian[j, :, k] = X.T @ (part[0, k, :, None] * X)
                hessian[k, :, j] = hessian[j, :, k]
        flat = hessian.reshape(self.W.size, self.W.size)
        flat.flat[:: len(flat) + 1] += 1.0
        return _solve_scaled(flat, -point.G.ravel()).reshape(self.W.shape)

    def _iterative_direction(self, point: _Point, residual: Array) -> Array:
        face = self.loss.face(point.p)
        features, loss, weight = self.features, self.loss, self.cost / self.width
        curved = np.any(face & (weight > 0.0), axis=(0, 1))
        if 2 * np.count_nonzero(curved) < len(curved):
            rows = np.flatnonzero(curved)
            features, loss = features.take(rows), loss.take_rows(rows)
            face, weight = face[..., rows], weight[..., rows]

        def curvature(P: Array, live: Array) -> Array:
            part = loss.take_problems(live)
            U = part.along(part.turn(features.scores(P)), face[live])
            U *= weight[live]
            return P + features.gather(part.turn_back(U))

        share = (weight * face).sum(axis=(1, 2)) / max(face[0].size, 1)
        diagonal = 1.0 + share[:, None, None] * features.square_sums()
        return _conjugate_gradients(curvature, point.G, diagonal, residual)

    # -- step --------------------------------------------------------------------------------------

    def step(self, P: Array, slope: Array) -> None:
        """Move along ``P``, where the objective falls at first by ``-slope``, to its minimum."""
        U = self.loss.turn(self.features.scores(P))
        t = _per_problem(self._line_search(P, U, slope), self.W.dtype)
        self.W = self.W + t * P
        U *= t
        self.S += U

    def _line_search(self, P: Array, U: Array, first_slope: Array) -> Array:
        """Find the root of the slope along ``P``, increasing and piecewise linear in ``t``."""
        W_P, P_P = _inner(self.W, P), _inner(P, P)
        t = np.where(first_slope < 0.0, 1.0, 0.0)
        low, high = np.zeros_like(t), np.full_like(t, np.inf)
        live = np.flatnonzero(t)
        for _ in range(40):
            if live.size == 0:
                break
            part, u, at = self.take(live), U[live], t[live]
            p = part.dual_point(part.S + _per_problem(at, u.dtype) * u)
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


def _solve_scaled(A: Array, b: Array) -> Array:
    """Solve ``A x = b`` for a positive definite ``A``, which is overwritten."""
    # Scaling to a unit diagonal spares the digits where columns differ in size.
    scale = 1.0 / np.sqrt(A.diagonal())
    A *= scale
    A *= scale[:, None]
    x: Array = np.linalg.solve(A, scale * b) * scale
    return x


def _solve_few_rows(B: Array, b: Array) -> Array:
    """Solve ``(I + B^T B) x = b`` in the space of the rows (Woodbury's identity)."""
    small = B @ B.T
    small.flat[:: len(small) + 1] += 1.0
    x: Array = b - B.T @ _solve_scaled(small, B @ b)
    return x


def _conjugate_gradients(
    curvature: Callable[[Array, Array], Array], G: Array, diagonal: Array, residual: Array
) -> Array:
    """Solve ``curvature(P) = -G`` for all problems together, each to its own residual norm."""
    dtype = G.dtype
    P = np.zeros_like(G)
    R = -G
    Q = R / diagonal
    D = Q.copy()
    rho = _inner(R, Q)
    live = np.flatnonzero(_inner(R, R) > residual**2)
    # In exact arithmetic as many steps as unknowns suffice; rounding asks for a few more.
    for _ in range(2 * G[0].size + 10):
        if live.size == 0:
            break
        H = curvature(D[live], live)
        length = _per_problem(rho[live] / _inner(D[live], H), dtype)
        P[live] += length * D[live]
        R[live] -= length * H
        Q[live] = R[live] / diagonal[live]
        last = rho[live]
        rho[live] = _inner(R[live], Q[live])
        D[live] = Q[live] + _per_problem(rho[live] / last, dtype) * D[live]
        live = live[_inner(R[live], R[live]) > residual[live] ** 2]
    return P


# ---- the solver ----------------------------------------------------------------------------------


class _Best:
    """The best coefficients and the best gap of every problem, finished or not."""

    def __init__(self, W: Array) -> None:
        self.W = W.copy()
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
        """The gap, as far as the rounding of the objective lets anyone know it."""
        certified: Array = np.maximum(self.gap, 4 * _epsilon(self.W) * self.primal)
        return certified

    def record(self, problems: Array, W: Array, point: _Point) -> None:
        better = point.primal < self.primal[problems]
        self.W[problems[better]] = W[better]
        self.primal[problems] = np.minimum(self.primal[problems], point.primal)
        self.dual[problems] = np.maximum(self.dual[problems], point.primal - point.gap)
        self.point_gap[problems] = np.minimum(self.point_gap[problems], point.gap)
        gap = self.gap[problems]
        moved = gap < 0.9 * self._milestone[problems]
        self._milestone[problems[moved]] = gap[moved]
        self.idle[problems] = np.where(moved, 0, self.idle[problems] + 1)

    def certify(self, point: _Point) -> None:
        """Replace the primal values by those of a fresh evaluation at ``W``."""
        self.primal = point.primal
        self.dual = np.maximum(self.dual, point.primal - point.gap)
        self.point_gap = np.minimum(self.point_gap, point.gap)

    def solution(self, bias: float | None, tol: float, n_iter: int) -> LinearSolution:
        W = self.W.reshape(-1, self.W.shape[-1])
        return LinearSolution(
            coef=W.copy() if bias is None else W[:, :-1].copy(),
            intercept=np.zeros(len(W), W.dtype) if bias is None else bias * W[:, -1],
            objective=float(self.primal.sum()),
            dual_gap=float(self.certified_gap.sum()),
            n_iter=n_iter,
            converged=bool(np.all(self.certified_gap <= tol * self.primal)),
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
    best = _Best(problems.W)
    unfinished = np.arange(len(problems.W))
    n_iter, width = 0, float(problems.width.min())
    while n_iter < max_iter:
        n_iter += 1
        point = problems.evaluate()
        best.record(unfinished, problems.W, point)
        if on_round(n_iter, best) or n_iter == max_iter:
            break
        allowed = best.gap[unfinished] / best.primal[unfinished].clip(min=TINY)
        polishing = (allowed <= tol) & (not problems.loss.has_corners)
        patience = np.where(polishing, POLISHING_PATIENCE, PATIENCE)
        remain = np.flatnonzero((allowed > goal) & (best.idle[unfinished] < patience))
        if not len(remain):
            break
        if len(remain) < len(unfinished):
            unfinished = unfinished[remain]
            problems, point = problems.take(remain), point.take(remain)
        if problems.loss.has_corners:
            point = problems.follow(point)
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
) -> LinearSolution:
    """Minimise ``0.5 ||W||^2 + sum_i cost_i * loss_i(W x_i)`` until the gap is small.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n_rows, n_features)
        float32 or float64; everything is computed in its dtype.
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

    Returns
    -------
    LinearSolution

    Raises
    ------
    ValueError
        If shapes disagree or the objective is not finite.
    """
    bias = float(intercept_scaling) if fit_intercept else None
    features = _Features(X, bias)
    loss = loss.cast(X.dtype)
    costs = np.atleast_2d(np.asarray(cost, X.dtype))[:, None]
    n_rows, n_features = features.shape
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

    def report(n_iter: int, best: _Best) -> bool | None:
        if on_iteration is None:
            return False
        objective, gap = float(best.primal.sum()), float(best.certified_gap.sum())
        return on_iteration(n_iter, objective, gap, lambda: best.solution(bias, tol, n_iter))

    goal = tol
    if X.dtype == np.float64 and n_rows * n_features * n_problems * n_columns <= POLISHED_WORK:
        goal = min(tol, loss.polished)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        width = loss.width if start is None or not loss.has_corners else STARTED_WIDTH
        if start is None:
            W, width = _sampled_start(features, loss, costs, W)
        problems = _Problems.start(features, loss, costs, W, width)
        best, n_iter, width = _minimise(problems, tol, goal, max_iter, report)
        # The slacks were updated step by step; the certificate is drawn from fresh ones.
        fresh = _Problems.start(features, loss, costs, best.W, width)
        best.certify(fresh.evaluate())
    return best.solution(bias, tol, n_iter)


def _sampled_start(
    features: _Features, loss: LinearLoss, cost: Array, W: Array
) -> tuple[Array, float]:
    """Solve roughly on every fourth row, where steps are four times as cheap."""
    n_rows, n_features = features.shape
    enough = max(SAMPLED_ROWS, SAMPLED_ROWS_PER_FEATURE * n_features)
    if n_rows < enough or not features.is_dense:
        return W, loss.width
    rows = slice(None, None, SAMPLING)
    sample = features.take(rows), loss.take_rows(rows), SAMPLING * cost[..., rows]
    W, width = _sampled_start(*sample, W)
    problems = _Problems.start(*sample, W, width)
    best, _, width = _minimise(
        problems, SAMPLED_TOL, SAMPLED_TOL, SAMPLED_STEPS, lambda n_iter, best: False
    )
    return best.W, width
