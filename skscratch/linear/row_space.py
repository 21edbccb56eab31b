"""Rows of many features: steps in the space of the rows.

The coefficients of the features are a combination of the rows, ``X^T a``, so that an iteration can
work with ``a`` and ``K a``, ``K = X X^T``, which have one entry per row and not one per feature.
The coefficient ``beta`` of the constant feature is a variable of its own: it moves all scores ``z =
K a + bias beta`` at once, and a small error in it outweighs all others. The dual point in the scale
of the scores is ``q = cost * p * y``; with ``e = q - a``, the negative gradient of the smoothed
objective (see `problems`) is ``X^T e``, and ``bias sum(q) - beta`` for the constant feature.

If the rows are nearly orthogonal, the slack of a row depends above all on its own entry of ``a``.
Whether a row will have a loss is then better judged from the slack without that part. So a diagonal
matrix ``A``, as large as ``K - A`` remains semidefinite, is moved from ``K`` to the loss, whose
width grows by ``cost * A``. The minimum is the same. Words that only one row has are such a part.

An iteration finds an approximate Newton direction by conjugate gradients. They are preconditioned
with a ``K'`` close to ``K`` but easy to invert: exact for the constant and the most frequent
features, and diagonal for the others, which few rows have in common. On dense rows, the last steps,
in float64, solve the system itself. An iteration then minimises the smoothed objective in the space
of that direction, of steepest descent, of the constant feature, and of the last step. Nothing reads
X but the products with ``K``, which several problems share.

References
----------
M. Hintermueller, K. Ito and K. Kunisch, "The primal-dual active set strategy as a semismooth Newton
method", SIAM Journal on Optimization 13, 2002, where the diagonal part has the same role.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from itertools import count, pairwise
from typing import Any

import numpy as np
from scipy import sparse
from scipy.linalg import eigvalsh_tridiagonal, lapack

from skscratch.linear.arrays import Array, rounding_unit
from skscratch.linear.best import Best
from skscratch.linear.losses import LinearLoss
from skscratch.linear.problems import (
    FAST_SHRINK,
    SOLVED_RATIO,
    TINY,
    TOO_LARGE,
    NotFiniteError,
    Point,
    Problems,
)
from skscratch.linear.products import (
    Features,
    Run,
    blocks_of_entries,
    count_places,
    run_serially,
    square_sums,
    transposed_view,
    view_of_rows,
)
from skscratch.linear.systems import solve_definite
from skscratch.linear.task import Task

__all__ = [
    "DenseRowSpace",
    "SparseRowSpace",
    "coefficients",
    "combination",
    "is_for_row_space",
    "minimise_in_row_space",
    "start_in_row_space",
]

# Features that are stored densely: the most frequent ones, if this share of the rows has them.
FREQUENT = 32
FREQUENT_SHARE = 0.02
# Rows of them that are weighted at a time.
BLOCK_ROWS = 1024
# Problems that share products: a product for ten costs much less than ten products.
GROUP_SIZE = 10
# X is cut into pieces of at least this many entries, and at most this many pieces, for the threads.
PIECE_ENTRIES = 2**17
MAX_PIECES = 4
MAX_TRIALS = 8
MAX_SHORT_TRIALS = 50
# A step is short enough if the slope at its end is at most this share of the first one.
SLOPE_SHARE = 0.1
# Conjugate gradients end once the residual has fallen to this share, ...
INNER_SHARE = 0.2
# ... or this multiple of what the last step needs, but not more than this share, ...
NEEDED_SHARE = 0.3
LOOSE_SHARE = 0.5
# ... or after this many steps.
INNER_STEPS = 30
# The search ends once a step is this small against the whole.
SMALL_STEP = 0.02
# Each time, widths shrink to the first share, and not below the second one of the first width. In
# float32, the steps are rough, and narrow widths cost digits: the center does the rest there.
SHRINK = {"f": (0.85, 0.03), "d": (0.5, 1e-4)}
# If a smoothed problem is solved to this multiple of the true loss's Fenchel gap, the next one may
# be far narrower.
EXACT_RATIO = 1e-4
# The smallest eigenvalue is estimated by this many Lanczos steps, from above. It is only good
# enough if it is well above 0, and then this share of it is safe.
LANCZOS_STEPS = 15
CLEARLY_POSITIVE = 0.3
SAFE_SHARE = 0.75
# A loss whose own width is this share of the dual curvature is smooth enough for Newton's method.
SMOOTH_SHARE = 0.1
# The product with the combinations is updated, and computed afresh after this many steps.
FRESH_STEPS = 5
TINY_SINGLE = float(np.finfo(np.float32).tiny)
# With fewer features, Hessians are built instead.
MIN_FEATURES = 1024
# The product of this many dense rows with each other takes no longer than a few Hessians.
MAX_DENSE_ROWS = 4096
# Systems of dense rows in float64 are factorised if they are not larger than this, nor than this
# share of K.
EXACT_ROWS = 2048
EXACT_SHARE = 0.4
# Rounding the slacks may hide a gap below this many units times the sum of the costs.
HIDDEN_UNITS = 4

# A change of a combination, the product of K with it, and a change of the coefficient beta.
Direction = tuple[Array, Array, float]

POTRF = {"f": lapack.spotrf, "d": lapack.dpotrf}
POTRS = {"f": lapack.spotrs, "d": lapack.dpotrs}


class RowSpace(ABC):
    """``K = X X^T``, without the constant feature.

    ``frequent`` holds the most frequent features of all rows, and the constant one last.
    ``diagonal`` is the diagonal of ``K`` without them, ``alone`` the part that comes from features
    of one row only, and ``moved`` the part that is moved to the loss. The center follows the dual
    point once the smooth gap is at most ``solved_ratio`` times the Fenchel gap.
    """

    solved_ratio = SOLVED_RATIO
    frequent: Array
    diagonal: Array
    alone: Array
    moved: Array
    run: Run

    def __init__(self, features: Features) -> None:
        self.bias = features.bias or 0.0

    def _n_pieces(self, features: Features, n_entries: int) -> int:
        """Return in how many pieces to cut a product, and use threads only if there are several.

        It depends on sizes alone, so that the number of threads changes no bit.
        """
        n_pieces = max(1, min(MAX_PIECES, n_entries // PIECE_ENTRIES))
        self.run = features.run if n_pieces > 1 else run_serially
        return n_pieces

    @abstractmethod
    def __call__(self, V: Array) -> Array:
        """Return ``V K`` for one vector per row of ``V``, with one entry per row of X."""

    def move_more(self) -> None:
        """Add a part of the shared features' diagonal to `moved`, if the rest stays semidefinite.

        How much is estimated by Lanczos's method.
        """
        shared = self.diagonal - self.alone
        scale = np.where(shared > 0.0, 1.0 / np.sqrt(np.where(shared > 0.0, shared, 1.0)), 0.0)
        has_shared = scale > 0.0
        if not has_shared.any():
            return
        basis = [np.random.default_rng(0).choice([-1.0, 1.0], len(scale)).astype(scale.dtype)]
        basis[0] *= has_shared / np.sqrt(np.count_nonzero(has_shared))
        diagonal: list[float] = []
        off_diagonal: list[float] = []
        for step in range(LANCZOS_STEPS):
            v = scale * basis[-1]
            product = scale * (self(v[None])[0] - self.alone * v)
            if step:
                product -= off_diagonal[-1] * basis[-2]
            diagonal.append(float(product @ basis[-1]))
            product -= diagonal[-1] * basis[-1]
            off_diagonal.append(float(np.sqrt(product @ product)))
            if not off_diagonal[-1] > 0.0:
                break
            basis.append(product / off_diagonal[-1])
        least = eigvalsh_tridiagonal(diagonal, off_diagonal[: len(diagonal) - 1])[0]
        if least > CLEARLY_POSITIVE:
            self.moved = self.alone + self.alone.dtype.type(SAFE_SHARE * least) * shared


class SparseRowSpace(RowSpace):
    """``K`` of sparse rows, which is never formed.

    A feature that only one row has changes a single diagonal entry of ``K``, so those of a row are
    summed up in ``alone``. All others are in ``pieces``, sorted by how many rows have them: the
    coefficients that a product needs most often then lie next to each other.
    """

    def __init__(self, features: Features) -> None:
        super().__init__(features)
        count = count_places(features.X.indices[: features.X.nnz], features.X.shape[1])
        order = np.argsort(-count, kind="stable")[: int(np.count_nonzero(count))]
        count = count[order]
        # The features as rows, the most frequent ones first.
        T = _with_columns(features.X.astype(features.precision, copy=False), order).tocsc().T
        n_rows = T.shape[1]
        n_shared = int(np.count_nonzero(count > 1))
        is_frequent = count[:FREQUENT] >= max(2.0, FREQUENT_SHARE * n_rows)
        n_frequent = int(np.count_nonzero(is_frequent))
        self.frequent = np.zeros((n_rows, n_frequent + 1), T.dtype, order="F")
        for k in range(n_frequent):
            entries = slice(T.indptr[k], T.indptr[k + 1])
            self.frequent[T.indices[entries], k] = T.data[entries]
        self.frequent[:, -1] = self.bias
        self._dense = self.frequent[:, :n_frequent]
        rest, alone = view_of_rows(T, slice(n_frequent, n_shared)), slice(T.indptr[n_shared], None)
        self.alone = square_sums(T.indices[alone], T.data[alone], n_rows).astype(T.dtype)
        self.diagonal = square_sums(rest.indices, rest.data, n_rows).astype(T.dtype)
        self.diagonal += self.alone
        self.moved = self.alone
        n_pieces = self._n_pieces(features, rest.nnz)
        ends = np.searchsorted(rest.indptr, np.arange(1, n_pieces) * (rest.nnz / n_pieces))
        cuts = zip([0, *ends], [*ends, rest.shape[0]], strict=True)
        pieces = [view_of_rows(rest, slice(*cut)) for cut in cuts]
        self.pieces = [(transposed_view(piece), piece) for piece in pieces]

    def __call__(self, V: Array) -> Array:
        """Return ``V K``, by two products with X."""
        stacked = np.ascontiguousarray(V.T)
        parts: list[Any] = [None] * len(self.pieces)

        def multiply(k: int, piece: Any, transposed: Any) -> None:
            parts[k] = piece @ (transposed @ stacked)

        self.run([partial(multiply, k, *piece) for k, piece in enumerate(self.pieces)])
        product = self._dense @ (self._dense.T @ stacked)
        for part in parts:
            product += part
        result = np.ascontiguousarray(product.T)
        result += self.alone * V
        return result


class DenseRowSpace(RowSpace):
    """``K`` of dense rows, of which there are fewer than features."""

    def __init__(self, features: Features) -> None:
        super().__init__(features)
        X = features.X.astype(features.precision, copy=False)
        n_rows = len(X)
        self.frequent = np.full((n_rows, 1), self.bias, X.dtype)
        self.K = X @ X.T
        if self.K.dtype == np.float64:
            # With exact systems, this takes a step or two. After inexact steps, the center would
            # lead away from the solution.
            self.solved_ratio = EXACT_RATIO
        self.diagonal = self.K.diagonal().copy()
        self.alone = np.zeros_like(self.diagonal)
        self.moved = self.alone
        n_pieces = self._n_pieces(features, self.K.size)
        ends = [n_rows * k // n_pieces for k in range(n_pieces + 1)]
        self.cuts = [slice(*cut) for cut in pairwise(ends)]

    def __call__(self, V: Array) -> Array:
        """Return ``V K``."""
        product = np.empty_like(V)

        def multiply(cut: slice) -> None:
            product[:, cut] = V @ self.K[cut].T

        self.run([partial(multiply, cut) for cut in self.cuts])
        return product

    def is_exact(self, curved: Array) -> bool:
        """Return whether to factorise the system of these rows.

        Single precision only comes near, for which conjugate gradients are faster.
        """
        n_rows = int(np.count_nonzero(curved))
        fits = n_rows <= EXACT_ROWS and n_rows**2 <= EXACT_SHARE * self.K.size
        return fits and self.K.dtype == np.float64

    def solve(self, curved: Array, ridge: Array, r: Array) -> Array:
        """Solve ``(ridge + K + bias^2) x = r`` on the curved rows; the others get 0."""
        rows = np.flatnonzero(curved)
        system = self.K[np.ix_(rows, rows)]
        system += self.bias**2
        system.flat[:: len(system) + 1] += ridge[rows]
        x = np.zeros_like(r)
        x[rows] = solve_definite(system, r[rows])
        return x


def _with_columns(X: Any, order: Array) -> Any:
    """Return a CSR matrix with these columns, in this order; the others must be empty."""
    places = np.zeros(X.shape[1], X.indices.dtype)
    places[order] = np.arange(len(order))
    indices = np.empty_like(X.indices[: X.nnz])
    for block in blocks_of_entries(X.nnz):
        indices[block] = places[X.indices[block]]
    return sparse.csr_array((X.data[: X.nnz], indices, X.indptr), (X.shape[0], len(order)))


class _Inverse:
    """``(ridge + K')^{-1}`` on the curved rows of one problem, by Woodbury's identity."""

    def __init__(self, space: RowSpace, curved: Array, ridge: Array, width: float) -> None:
        self.curved, self.width = curved.copy(), width
        weight = curved / (ridge + space.diagonal)
        n_frequent = space.frequent.shape[1]
        gram = np.zeros((n_frequent, n_frequent), space.frequent.dtype)
        # Blocks that stay in the cache.
        for first in range(0, len(weight), BLOCK_ROWS):
            rows = slice(first, first + BLOCK_ROWS)
            F = space.frequent[rows].T
            gram += (F * weight[rows]) @ F.T
        gram.flat[:: len(gram) + 1] += 1.0
        self.factor, _ = POTRF[gram.dtype.char](gram.T, lower=1)

    def serves(self, curved: Array, width: float) -> bool:
        """Return whether it is the inverse for these curved rows."""
        return self.width == width and np.array_equal(curved, self.curved)

    def frequent_part(self, b: Array) -> Array:
        """Solve the system of the frequent features."""
        x: Array = POTRS[self.factor.dtype.char](self.factor, b, lower=1)[0]
        return x


def is_for_row_space(X: Any, loss: LinearLoss) -> bool:
    """Return whether X has rows of many features, and the problems have one column each."""
    n_rows, n_features = X.shape
    if isinstance(X, np.ndarray) and (n_rows > MAX_DENSE_ROWS or n_features < n_rows):
        return False
    return n_features >= MIN_FEATURES and loss.shape[1] == 1


def combination(problems: Problems) -> Array:
    """Return the combinations of rows that belong to the dual point of some problems.

    They have the shape (n_problems, 1, n_rows + 1); the last entry is the coefficient of the
    constant feature. At a minimum without corners they give the same coefficients.
    """
    p = problems.dual_point(problems.S)
    a = -problems.loss.slack_changes_transposed(p * problems.cost)[:, 0]
    beta = problems.W[:, 0, -1:] if problems.features.bias is not None else np.zeros_like(a[:, :1])
    return np.concatenate([a, beta], axis=1)[:, None]


def coefficients(features: Features, A: Array) -> Array:
    """Return the coefficients of the features that belong to combinations of the rows."""
    W = features.scores_transposed(np.ascontiguousarray(A[..., :-1]))
    if features.bias is not None:
        W[..., -1] = A[..., -1]
    return W


def start_in_row_space(features: Features, A: Array) -> Best:
    """Return a record that starts with these combinations and expands to coefficients."""
    return Best(A, A[..., :-1], partial(coefficients, features))


def minimise_in_row_space(task: Task, best: Best, width: Array) -> None:
    """Iterate until the task is done.

    Go on from the combinations of rows in ``best`` and keep the best ones there, and from the
    widths, of shape (n_problems, 1), which are updated.
    """
    features, loss, cost = task.features, task.loss, task.cost
    space = DenseRowSpace(features) if features.is_dense else SparseRowSpace(features)
    if not np.isfinite(space.diagonal).all():
        raise NotFiniteError(TOO_LARGE.format(features.precision))
    curvature = cost.max(axis=2) * space.diagonal.mean()
    is_smooth = np.broadcast_to(loss.own_width >= SMOOTH_SHARE * curvature, width.shape)
    if loss.own_width == 0.0:
        is_smooth = np.zeros_like(is_smooth)
    if not is_smooth.all():
        space.move_more()
    open_problems = best.above(task.goal)
    groups = [
        _Group(space, loss, cost, best, width, is_smooth, numbers)
        for numbers in np.array_split(open_problems, -(-len(open_problems) // GROUP_SIZE))
    ]
    run, run_products = features.run, space.run
    # While there are several groups, each thread has its own groups; after that, its own pieces.
    space.run = run_serially if len(groups) > 1 else run_products
    run([group.evaluate for group in groups])
    while not task.iterations.ended:
        for group in groups:
            best.record(group.numbers, group.combination, group.point)
        if task.iterations.count(best):
            break
        for group in groups:
            remain = best.unfinished(group.numbers, task.goal, group.precise_gap(task.tol))
            group.take(remain)
        groups = [group for group in groups if len(group.numbers)]
        if not groups:
            break
        space.run = run_serially if len(groups) > 1 else run_products
        run([partial(group.advance, task.goal) for group in groups])
        for group in groups:
            width[group.numbers] = loss.own_width + group.width


class _Group:
    """Problems that share their products with ``K``.

    Arrays have one row for each problem and one column for each row of X. `numbers` are those of
    the problems that are not finished. ``inner_slack`` is the slack of ``(K - A) a``, and
    ``total_width`` the width of the loss that contains ``A``.
    """

    def __init__(
        self,
        space: RowSpace,
        loss: LinearLoss,
        cost: Array,
        best: Best,
        width: Array,
        is_smooth: Array,
        numbers: Array,
    ) -> None:
        self.space, self.numbers = space, numbers
        self.loss = loss.take_problems(numbers)
        self.cost = cost[numbers if len(cost) > 1 else slice(None), 0]
        self.a, self.beta = best.W[numbers, 0, :-1], best.W[numbers, 0, -1]
        self.Ka = space(self.a) if self.a.any() else np.zeros_like(self.a)
        self.n_steps = 0
        # The loss's own width is not part of it.
        self.width = np.maximum(width[numbers] - loss.own_width, 0.0).astype(self.a.dtype)
        self.shrink, least_share = SHRINK[self.a.dtype.char]
        self.least_width = least_share * self.width
        # If the loss is smooth enough, the width soon becomes 0, and the center stays at 0.
        self.is_smooth = is_smooth[numbers]
        self.center = np.where(self.is_smooth, 0.0, best.p[numbers, 0])
        self.last: list[Direction | None] = [None] * len(numbers)
        self.inverses: list[_Inverse | None] = [None] * len(numbers)

    def evaluate(self) -> None:
        """Compute the dual points, gradients and gaps of all problems."""
        self._evaluate(np.arange(len(self.numbers)))

    @property
    def combination(self) -> Array:
        """Combinations of rows with the coefficient of the constant feature."""
        return np.concatenate([self.a, self.beta[:, None]], axis=1)[:, None]

    @property
    def point(self) -> Point:
        """Dual points, objectives and gaps; the gradient is not known in the space of features."""
        return Point(
            self.p[:, None], self.e[:, None], self.primal, self.smooth_gap, self.fenchel_gap
        )

    def precise_gap(self, tol: float) -> Any:
        """Return the relative gap below which to give up soon if it no longer falls.

        On dense rows, exact steps in float64 follow. So once the gap may be hidden by rounding, it
        is not worth waiting: a row at a corner has a small loss, or none, after the subtraction of
        numbers near 1.
        """
        if self.loss.own_width > 0.0:
            return tol
        if not isinstance(self.space, DenseRowSpace):
            return 0.0
        hidden = HIDDEN_UNITS * rounding_unit(self.a.dtype) * self.cost.sum(axis=1, dtype=float)
        relative: Array = hidden / np.maximum(self.primal, TINY)
        return relative

    def take(self, problems: Array) -> None:
        """Keep these problems only."""
        if len(problems) == len(self.numbers):
            return
        self.loss = self.loss.take_problems(problems)
        for name, values in vars(self).items():
            if isinstance(values, np.ndarray) and (name != "cost" or len(values) > 1):
                setattr(self, name, values[problems])
            elif isinstance(values, list):
                setattr(self, name, [values[k] for k in problems])

    def _evaluate(self, problems: Array) -> None:
        """Compute dual points, gradients and gaps of these problems, or of all."""
        whole = len(problems) == len(self.numbers)
        loss = self.loss if whole else self.loss.take_problems(problems)
        where: Any = slice(None) if whole else problems
        cost = self.cost if len(self.cost) == 1 else self.cost[where]
        a, Ka, center, width = self.a[where], self.Ka[where], self.center[where], self.width[where]
        beta, bias = self.beta[where], self.space.bias
        z = Ka + (bias * beta)[:, None]
        slack = loss.slacks(z[:, None].copy())
        moved = self.space.moved
        inner_slack = loss.slacks((z - moved * a)[:, None])
        total_width = loss.own_width + width + cost * moved
        p = loss.project((center[:, None] * width[:, None] + inner_slack) / total_width[:, None])
        curved = loss.face(p)[:, 0] & (cost > 0.0)
        e = -loss.slack_changes_transposed(p * cost[:, None])[:, 0] - a
        Ke = self.space(e)
        beta_descent = bias * (e + a).sum(axis=1) - beta
        smooth_gap = 0.5 * (_dots(e, Ke) + beta_descent**2)
        primal = 0.5 * (_dots(a, Ka) + beta**2) + _dots(loss.value(slack), cost)
        fenchel_gap = _dots(loss.fenchel_gap(slack, p), cost)
        if not np.isfinite(primal + smooth_gap + fenchel_gap).all():
            raise NotFiniteError(TOO_LARGE.format(a.dtype))
        found = {
            "inner_slack": inner_slack[:, 0],
            "total_width": total_width,
            "p": p[:, 0],
            "curved": curved,
            "e": e,
            "Ke": Ke,
            "beta_descent": beta_descent,
            "primal": primal,
            "smooth_gap": smooth_gap,
            "fenchel_gap": fenchel_gap,
        }
        if whole:
            vars(self).update(found)
        else:
            for name, values in found.items():
                getattr(self, name)[problems] = values

    inner_slack: Array
    total_width: Array
    p: Array
    curved: Array
    e: Array
    Ke: Array
    beta_descent: Array
    primal: Array
    smooth_gap: Array
    fenchel_gap: Array

    def advance(self, goal: float) -> None:
        """Take one step with every problem."""
        self._move_centers()
        directions = self._newton_directions(goal)
        self.space.run([partial(self._step, k, newton) for k, newton in enumerate(directions)])
        self.n_steps += 1
        if self.n_steps % FRESH_STEPS == 0:
            self.Ka = self.space(self.a)
        # One step suffices for each width.
        fast = self.width * FAST_SHRINK
        fast[fast < self.loss.own_width] = 0.0
        self.width = np.where(self.is_smooth, fast, self.width)
        self.evaluate()

    def _step(self, k: int, newton: Direction) -> None:
        """Move one problem to the minimum in the space of its directions."""
        zeros = np.zeros_like(newton[0])
        steepest = self.e[k], self.Ke[k], self.beta_descent[k]
        directions = [newton, steepest, (zeros, zeros, 1.0)]
        last = self.last[k]
        if last is not None:
            directions.append(last)
        D, KD, T = (np.array(part, self.a.dtype) for part in zip(*directions, strict=True))
        # Directions of length 1, so that none is lost to rounding.
        squares = np.vecdot(D, KD) + T**2
        usable = squares > np.finfo(D.dtype).tiny
        length = np.sqrt(squares[usable])
        D, KD, T = (V[usable] / length.reshape(-1, *[1] * (V.ndim - 1)) for V in (D, KD, T))
        x = self._search(k, D, KD, T)
        step = self.last[k] = x @ D, x @ KD, float(x @ T)
        self.a[k] += step[0]
        self.Ka[k] += step[1]
        self.beta[k] += step[2]

    def _move_centers(self) -> None:
        """Update width and center of each smoothed problem that is solved; see `problems`."""
        is_solved = self.smooth_gap <= self.space.solved_ratio * self.fenchel_gap
        solved = np.flatnonzero(is_solved & ~self.is_smooth[:, 0])
        if not len(solved):
            return
        self.center[solved] = self.p[solved]
        width = self.width[solved]
        is_exact = self.smooth_gap[solved] <= EXACT_RATIO * self.fenchel_gap[solved]
        shrunk = width * np.where(is_exact, FAST_SHRINK, self.shrink)[:, None]
        least = np.minimum(width, self.least_width[solved])
        self.width[solved] = np.maximum(shrunk, least).astype(width.dtype)
        for k in solved:
            self.last[k] = None
        self._evaluate(solved)

    def _newton_directions(self, goal: float) -> list[Direction]:
        """Solve the Newton system of each problem, exactly or roughly.

        With the constant feature as a column of X, with ``c`` for the part of ``beta`` that is not
        ``bias sum(a)``, and with the curvature ``D = cost / total_width`` of the loss, it is ``(I +
        D (K - A)) s = e + D bias c``. Therefore ``s = e`` on the rows without curvature, and on the
        others the system is symmetric: ``(D^{-1} - A + K) s = D^{-1} e - K e_0 + bias c``, where
        ``e_0`` is ``e`` on the rows without curvature. Its residual at ``s = e`` is ``r``.
        """
        space, curved, bias = self.space, self.curved, self.space.bias
        with np.errstate(divide="ignore"):
            ridge = np.broadcast_to((self.loss.own_width + self.width) / self.cost, self.a.shape)
        ridge = np.where(curved, ridge, 1.0)
        s, Ks = self.e.copy(), self.Ke.copy()
        shift = self.beta - bias * self.a.sum(axis=1)
        constant = bias * shift - bias**2 * s.sum(axis=1)
        r = np.where(curved, space.moved * self.e - Ks + constant[:, None], 0.0)
        if isinstance(space, DenseRowSpace) and all(map(space.is_exact, curved)):
            change = np.empty_like(r)

            def solve(k: int) -> None:
                change[k] = space.solve(curved[k], ridge[k], r[k])

            space.run([partial(solve, k) for k in range(len(curved))])
            s += change
            Ks += space(change)
        else:
            self._conjugate_gradients(ridge, r, s, Ks, shift, goal)
        return list(zip(s, Ks, bias * s.sum(axis=1) - shift, strict=True))

    def _conjugate_gradients(
        self, ridge: Array, r: Array, s: Array, Ks: Array, shift: Array, goal: float
    ) -> None:
        """Update ``s``, ``Ks`` and the residual ``r`` until the systems are solved roughly.

        They are preconditioned with ``D^{-1} - A + K'``; see `_newton_directions`.
        """
        space, curved, bias = self.space, self.curved, self.space.bias
        diagonal = ridge + space.diagonal

        def invert(k: int) -> None:
            width, before = float(self.width[k, 0]), self.inverses[k]
            if before is None or not before.serves(curved[k], width):
                self.inverses[k] = _Inverse(space, curved[k], ridge[k], width)

        space.run([partial(invert, k) for k in range(len(curved))])

        def precondition(r: Array, live: Any) -> Array:
            x: Array = r / diagonal[live]
            y = x @ space.frequent
            for i, k in enumerate(numbers[live]):
                y[i] = self.inverses[k].frequent_part(y[i])
            correction = y @ space.frequent.T
            correction /= diagonal[live]
            correction *= curved[live]
            x -= correction
            return x

        numbers = np.arange(len(curved))
        # A slice copies nothing.
        live: Any = slice(None)
        z = precondition(r, live)
        p = z.copy()
        rho = np.vecdot(r, z)
        # No more exact than the last step needs.
        needed = np.sqrt(goal * self.primal / np.maximum(self.point.gap, TINY))
        enough = np.clip(NEEDED_SHARE * needed, INNER_SHARE, LOOSE_SHARE) ** 2
        for _ in range(INNER_STEPS):
            direction = p[live]
            Kp = space(direction)
            h = ridge[live] * direction
            h += Kp
            h += bias**2 * direction.sum(axis=1, keepdims=True)
            h *= curved[live]
            length = (rho[live] / np.maximum(np.vecdot(direction, h), TINY_SINGLE))[:, None]
            s[live] += length * direction
            Ks[live] += length * Kp
            r[live] -= length * h
            z = precondition(r[live], live)
            new = np.vecdot(r[live], z)
            ratio = new / np.maximum(rho[live], TINY_SINGLE)
            p[live] = z + ratio[:, None] * direction
            rho[live] = new
            t = bias * s[live].sum(axis=1) - shift[live]
            decrement = np.vecdot(s[live], self.Ke[live]) + t * self.beta_descent[live]
            going_on = new > enough[live] * decrement
            if not going_on.all():
                live = numbers[live][going_on]
            if not going_on.any():
                break

    def _search(self, k: int, D: Array, KD: Array, T: Array) -> Array:
        """Minimise the smoothed objective in the space of these directions; return the steps.

        The objective is piecewise quadratic there. Newton's method finds its minimum in a few
        steps; one that overshoots is shortened.
        """
        loss = self.loss.take_problems(np.array([k]))
        moved = self.space.moved
        cost, width = self.cost[k if len(self.cost) > 1 else 0], self.total_width[k]
        start = (self.center[k] * self.width[k, 0] + self.inner_slack[k]) / width
        KD = KD - moved * D
        U = loss.slack_changes((KD + self.space.bias * T[:, None])[None])[0]
        linear = D @ (self.Ka[k] - moved * self.a[k]) + T * self.beta[k]
        quadratic = D @ KD.T + np.outer(T, T)
        weighted, scaled = U * cost, U / width

        def dual_point(t: Array) -> Array:
            return loss.project((start + t @ scaled)[None, None])

        def derivatives(t: Array) -> tuple[Array, Array]:
            p = dual_point(t)
            slope = linear + quadratic @ t + weighted @ p[0, 0]
            curvature = quadratic + (weighted * loss.face(p)[0, 0]) @ scaled.T
            if not np.isfinite(slope).all() or not np.isfinite(curvature).all():
                raise NotFiniteError(TOO_LARGE.format(U.dtype))
            return slope, curvature

        def slope_along(first: Array, step: Array, share: float) -> float:
            t = first + share * step
            return float(step @ (linear + quadratic @ t + weighted @ dual_point(t)[0, 0]))

        t = np.zeros(len(D), D.dtype)
        slope, curvature = derivatives(t)
        for _ in range(MAX_TRIALS):
            step = -_least_squares(curvature, slope)
            before = float(step @ slope)
            if not before < 0.0:
                break
            along = partial(slope_along, t, step)
            step *= _share_of_step(along, before)
            t = t + step
            slope, curvature = derivatives(t)
            if np.abs(step).max() <= SMALL_STEP * np.abs(t).max():
                break
        return t


def _share_of_step(slope_at: Callable[[float], float], first: float) -> float:
    """Return 1, or a smaller share of a step at whose end the objective no longer increases.

    The slope along the step increases from ``first < 0``; its root is bracketed.
    """
    low, high, share = 0.0, 1.0, 1.0
    slope = high_slope = slope_at(share)
    low_slope = first
    for n_trials in count(1):
        if abs(slope) <= SLOPE_SHARE * -first or (slope < 0.0 and share == 1.0):
            break
        # A corner may be close: without any step, the next direction would be the same.
        if n_trials > (MAX_TRIALS if low > 0.0 else MAX_SHORT_TRIALS):
            break
        if slope > 0.0:
            high, high_slope = share, slope
        else:
            low, low_slope = share, slope
        secant = low + (high - low) * low_slope / (low_slope - high_slope)
        # Halfway between the secant and the middle, as the slope is far from linear.
        share = 0.5 * (secant + 0.5 * (low + high))
        slope = slope_at(share)
    return share if slope <= SLOPE_SHARE * -first else low


def _least_squares(A: Array, b: Array) -> Array:
    """Solve ``A x = b`` for a small semidefinite ``A``: directions may coincide."""
    values, vectors = np.linalg.eigh(A)
    kept = values > len(b) * rounding_unit(A.dtype) * values[-1]
    x: Array = vectors[:, kept] @ ((b @ vectors[:, kept]) / values[kept])
    return x


def _dots(A: Array, B: Array) -> Array:
    """Return the inner product of each pair of rows, accumulated in float64."""
    products: Array = np.einsum("ij,ij->i", A, np.broadcast_to(B, A.shape), dtype=np.float64)
    return products
