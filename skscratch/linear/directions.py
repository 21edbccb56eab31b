"""Newton directions: ``-H^{-1} G``, up to a remainder, for all problems together.

Each Hessian ``I + sum_i weight_i x_i x_i^T`` is factorised in the space of its rows or of its
features, whichever is smaller, or the system is solved by preconditioned conjugate gradients if
both are large. Factorising is faster except far from the solution, where conjugate gradients need
two to ten iterations per step; close to it they need fifty or more.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from skscratch.linear.arrays import Array
from skscratch.linear.problems import Point, Problems
from skscratch.linear.products import Features, run_serially
from skscratch.linear.systems import (
    conjugate_gradients,
    solve_definite,
    solve_few_kronecker_rows,
    solve_few_rows,
)

__all__ = ["Directions"]

# Systems with more unknowns than this are never built ...
EXPLICIT_SIZE = 1024
# ... or, if the problems are separate, than this.
SEPARATE_SIZE = 2560
# ... or than this in the space of the rows, if one system serves many columns.
EXPLICIT_JOINT_SIZE = 2048
# Conjugate gradients are tried first if building a system costs more than this many iterations, ...
FEW_STEPS = 10
# ... each of this many multiplications per entry of X: two products, bound by memory.
PRODUCT_COST = 12.0
# Gram matrices are kept from step to step if together they have at most this many entries.
KEPT_ENTRIES = 2**26
# Threads share the problems if a Gram matrix takes at least this many multiplications; below that,
# handing work over costs more than it saves.
SHARED_GRAM = 2**27


class Directions:
    """Computes the Newton directions, and keeps Gram matrices from one step to the next.

    ``grams`` holds for each problem the weights of the rows and their ``sum_i weight_i x_i x_i^T``:
    few weights change in a step, so the sum is brought up to date.
    """

    def __init__(self, grams: list[tuple[Array, Array] | None]) -> None:
        self.grams = grams

    @classmethod
    def start(cls, n_problems: int) -> Directions:
        """Begin without any Gram matrix."""
        return cls([None] * n_problems)

    def take(self, problems: Array) -> Directions:
        """Return the directions of these problems, with their Gram matrices."""
        return Directions([self.grams[k] for k in problems])

    def __call__(self, problems: Problems, point: Point, residual: Array) -> Array:
        """Return ``-H^{-1} G`` up to a remainder of norm ``residual``, H the Hessian."""
        face = problems.loss.face(point.p)
        if problems.W.shape[1] == 1:
            return self._separate_directions(problems, point, face, residual)
        return _joint_direction(problems, point, face, residual)

    def _separate_directions(
        self, problems: Problems, point: Point, face: Array, residual: Array
    ) -> Array:
        """Solve each problem in the space of its rows or of its features, or by iterations."""
        features, width = problems.features, problems.width
        n_features = problems.W.shape[-1]
        active = (face * problems.cost)[:, 0]
        P = np.empty_like(problems.W)
        sizes = np.count_nonzero(active, axis=1)
        by_rows = [k for k, size in enumerate(sizes) if size <= min(n_features, SEPARATE_SIZE)]
        others = [k for k in range(len(P)) if k not in by_rows]
        explicit = [k for k in others if self._is_explicit(k, active[k], features)]
        iterative = np.array([k for k in others if k not in explicit], np.intp)

        def solve_rows(k: int) -> None:
            rows = np.flatnonzero(active[k])
            B = features.scaled_rows(rows, np.sqrt(active[k, rows] / width[k, 0]))
            P[k, 0] = solve_few_rows(B, -point.G[k, 0])

        def solve_features(k: int) -> None:
            hessian = self._gram(k, active[k], features) / width[k, 0]
            hessian.flat[:: len(hessian) + 1] += 1.0
            P[k, 0] = solve_definite(hessian, -point.G[k, 0])

        worth_sharing = features.n_stored * n_features >= SHARED_GRAM
        run = features.run if worth_sharing else run_serially
        run([partial(solve_rows, k) for k in by_rows])
        if len(iterative):
            P[iterative], unfinished = _iterative_directions(
                iterative, problems, point, face, residual
            )
            if n_features <= SEPARATE_SIZE:
                explicit += [int(k) for k in iterative[unfinished]]
        # A problem without a Gram matrix may use its neighbour's, so these must be solved in order.
        first_time = [k for k in explicit if self.grams[k] is None]
        for k in first_time:
            solve_features(k)
        run([partial(solve_features, k) for k in explicit if k not in first_time])
        return P

    def _is_explicit(self, k: int, active: Array, features: Features) -> bool:
        """Return whether the Hessian of problem ``k`` costs less than a few iterations."""
        n_features = features.shape[1]
        if n_features > SEPARATE_SIZE:
            return False
        _, n_rows = self._nearest_gram(k, active)
        multiplications = float((n_rows + n_features / 3.0) * n_features**2)
        return multiplications <= FEW_STEPS * PRODUCT_COST * features.n_stored

    def _nearest_gram(self, k: int, active: Array) -> tuple[tuple[Array, Array] | None, int]:
        """Return the Gram matrix to bring up to date, or None, and the number of rows to read.

        At first it is the neighbour's: at ``W = 0`` every row is active in every problem.
        """
        kept = self.grams[k] or self.grams[k - 1]
        n_active = int(np.count_nonzero(active))
        n_changed = n_active if kept is None else int(np.count_nonzero(active != kept[0]))
        return (kept, n_changed) if 2 * n_changed < n_active else (None, n_active)

    def _gram(self, k: int, active: Array, features: Features) -> Array:
        """Return ``sum_i active_i x_i x_i^T`` of problem ``k``."""
        kept, _ = self._nearest_gram(k, active)
        if kept is None:
            gram = features.weighted_gram(active)
        else:
            change = active - kept[0]
            gram = kept[1] + features.weighted_gram(change)
            gram -= features.weighted_gram(-change)
            # What remains of a column that no active row has is rounding, of any sign.
            gram.flat[:: len(gram) + 1] = np.maximum(gram.diagonal(), 0.0)
        if gram.size * len(self.grams) <= KEPT_ENTRIES:
            self.grams[k] = active, gram
        return gram


def _joint_direction(problems: Problems, point: Point, face: Array, residual: Array) -> Array:
    """Return the direction of one problem of many columns, which its Hessian couples."""
    W, loss = problems.W, problems.loss
    weight = (problems.cost / problems.width)[0, 0]
    Q, rows = loss.tangents(face & (weight > 0.0))
    if len(rows) <= (W.size if W.size <= EXPLICIT_SIZE else EXPLICIT_JOINT_SIZE):
        distinct, place = np.unique(rows, return_inverse=True)
        B = problems.features.scaled_rows(distinct, np.sqrt(weight[distinct]))
        return solve_few_kronecker_rows(B, Q, place, -point.G[0])[None]
    if W.size <= EXPLICIT_SIZE:
        hessian = _joint_hessian(problems, face, weight)
        return solve_definite(hessian, -point.G.ravel()).reshape(W.shape)
    P, _ = _iterative_directions(np.array([0]), problems, point, face, residual)
    return P


def _joint_hessian(problems: Problems, face: Array, weight: Array) -> Array:
    """Build the Hessian of one problem of many columns block by block."""
    features, W = problems.features, problems.W
    n_columns, n_features = W.shape[1:]
    active = np.flatnonzero(face.any(axis=(0, 1)) & (weight > 0.0))
    hessian = np.zeros((n_columns, n_features, n_columns, n_features), W.dtype)
    for rows in features.blocks(active):
        X = features.scaled_rows(rows, np.ones(len(rows), W.dtype))
        for j in range(n_columns):
            # The component along the face sums to zero over the columns, or is zero, so
            # `slack_changes` and its transpose would leave it as it is.
            unit = np.zeros((1, n_columns, len(rows)), W.dtype)
            unit[:, j] = 1.0
            part = problems.loss.face_component(unit, face[..., rows]) * weight[rows]
            for k in range(j + 1):
                hessian[j, :, k] += X.T @ (part[0, k, :, None] * X)
    for j in range(n_columns):
        for k in range(j):
            hessian[k, :, j] = hessian[j, :, k]
    flat = hessian.reshape(W.size, W.size)
    flat.flat[:: len(flat) + 1] += 1.0
    return flat


def _iterative_directions(
    numbers: Array, problems: Problems, point: Point, face: Array, residual: Array
) -> tuple[Array, Array]:
    """Solve the problems of these numbers by conjugate gradients.

    Return the directions, and which of them need further steps.
    """
    W, features = problems.W, problems.features
    loss = problems.loss.take_problems(numbers)
    weight = np.broadcast_to(problems.cost / problems.width, (len(W), 1, problems.S.shape[-1]))
    face, weight = face[numbers], weight[numbers]
    # The preconditioner gives all rows the same curvature: their mean.
    mean_weight = (face * weight).mean(axis=-1, keepdims=True)
    precondition = _preconditioner(features, mean_weight)
    curved = np.any(face & (weight > 0.0), axis=(0, 1))
    if 2 * np.count_nonzero(curved) < len(curved):
        rows = np.flatnonzero(curved)
        features, loss = features.take(rows), loss.take_rows(rows)
        face, weight = face[..., rows], weight[..., rows]

    def curvature(P: Array, live: Array) -> Array:
        part = loss.take_problems(live)
        U = part.face_component(part.slack_changes(features.scores(P)), face[live])
        U *= weight[live]
        return P + features.scores_transposed(part.slack_changes_transposed(U))

    # If few steps do not suffice, such a system is built. The others must be solved here: exact
    # arithmetic takes at most as many steps as there are unknowns, rounding a few more.
    can_be_built = W.shape[1] == 1 and W.shape[2] <= SEPARATE_SIZE
    max_steps = FEW_STEPS if can_be_built else 2 * W[0].size + 10
    return conjugate_gradients(
        curvature, point.G[numbers], precondition, residual[numbers], max_steps
    )


def _preconditioner(features: Features, weight: Array) -> Callable[[Array, Array], Array]:
    """Return a division by ``I + weight X^T X``, or by its diagonal if X has many columns."""
    if features.shape[1] > EXPLICIT_SIZE:
        diagonal = 1.0 + weight * features.square_sums
        return lambda R, live: R / diagonal[live]
    values, vectors = features.spectrum
    eigenvalues = 1.0 + weight * values
    return lambda R, live: (R @ vectors / eigenvalues[live]) @ vectors.T
