"""The losses of linear machines, in the dual form that the Newton solver needs.

Every loss is a maximum over a simple set ``A`` of dual points. It is a function of *slacks* ``s``,
which are affine in the scores and positive where the margin is violated::

    loss(s) = max_{p in A} <p, s> - (width / 2) ||p||^2

with ``A = [0, inf)`` and width 1/2 for the squared hinge, ``A = [0, 1]`` and width 0 for the hinge,
the simplex and width 0 for the joint hinge of Crammer and Singer.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np

from skscratch.linear.arrays import Array

__all__ = ["CrammerSinger", "DualHinge", "DualSquaredHinge", "LinearLoss"]


@dataclass(frozen=True)
class LinearLoss(ABC):
    """A loss with its targets: ``max_{p in A} <p, s> - (width / 2) ||p||^2``.

    ``slacks`` maps scores to ``s``, ``slack_changes`` is its linear part and
    ``slack_changes_transposed`` the transpose of that; ``project``, ``face``, ``face_component``
    and ``tangents`` describe the set ``A``. All arrays are (problems, columns, rows). The methods
    from ``slacks`` to ``project``, and ``face_component``, may overwrite their first argument.
    """

    targets: Array

    #: The width of the loss itself; if it is 0, the loss has corners.
    own_width: ClassVar[float] = 0.0
    #: The relative gap to which small data are solved.
    polished_gap: ClassVar[float] = 1e-14

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """Number of problems, and of columns of each."""

    @property
    def n_rows(self) -> int:
        """Number of rows that have targets."""
        return int(self.targets.shape[-1])

    def take_rows(self, rows: Array | slice) -> Self:
        """Return the loss of these rows."""
        return replace(self, targets=np.ascontiguousarray(self.targets[..., rows]))

    @abstractmethod
    def take_problems(self, problems: Array) -> Self:
        """Return the loss of these problems."""

    @abstractmethod
    def cast(self, dtype: np.dtype[Any]) -> Self:
        """Return the loss with targets that keep the dtype of arrays combined with them."""

    @abstractmethod
    def slacks(self, Z: Array) -> Array:
        """Return ``s``; the loss of a row without a positive slack is 0."""

    @abstractmethod
    def slack_changes(self, Z: Array) -> Array:
        """Return the change of the slacks if the scores change by ``Z``."""

    @abstractmethod
    def slack_changes_transposed(self, R: Array) -> Array:
        """Return the transpose of ``slack_changes`` applied to ``R``."""

    @abstractmethod
    def project(self, V: Array) -> Array:
        """Return the point of ``A`` nearest to ``V``."""

    @abstractmethod
    def face(self, p: Array) -> Array:
        """Return the face of ``A`` that ``p = project(V)`` lies on.

        It is a mask: True for the entries that change if ``V`` changes a little.
        """

    @abstractmethod
    def face_component(self, U: Array, face: Array) -> Array:
        """Return the component of ``U`` along the face: the derivative of ``project``."""

    @abstractmethod
    def tangents(self, face: Array) -> tuple[Array, Array]:
        """Return ``Q, rows``: an orthonormal basis of the faces of the first problem.

        Its d-th direction changes row ``rows[d]`` by ``Q[d]``, one number for each column.
        """

    @abstractmethod
    def value(self, S: Array) -> Array:
        """Return the loss of each row, (problems, rows)."""

    @abstractmethod
    def fenchel_gap(self, S: Array, p: Array) -> Array:
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
        S = self.slack_changes(Z)
        S += 1.0
        return S

    def slack_changes(self, Z: Array) -> Array:
        Z *= self.targets[:, None]
        return np.negative(Z, out=Z)

    def slack_changes_transposed(self, R: Array) -> Array:
        return self.slack_changes(R)

    def face_component(self, U: Array, face: Array) -> Array:
        U *= face
        return U

    def tangents(self, face: Array) -> tuple[Array, Array]:
        rows = np.flatnonzero(face[0, 0])
        return np.ones((len(rows), 1), self.targets.dtype), rows


class DualSquaredHinge(_OneVersusRest):
    """``max(0, 1 - y z)^2``, which is ``max_{p >= 0} p s - p^2 / 4``; targets (problems, rows)."""

    own_width = 0.5
    polished_gap = 1e-22

    def project(self, V: Array) -> Array:
        return np.maximum(V, 0.0, out=V)

    def face(self, p: Array) -> Array:
        return np.greater(p, 0.0)

    def value(self, S: Array) -> Array:
        loss = np.maximum(S[:, 0], 0.0)
        loss *= loss
        return loss

    def fenchel_gap(self, S: Array, p: Array) -> Array:
        # (s - p / 2)^2 above the corner and p^2 / 4 + p |s| below it.
        above = np.maximum(S[:, 0], 0.0)
        gap: Array = (above - 0.5 * p[:, 0]) ** 2
        gap += p[:, 0] * (above - S[:, 0])
        return gap


class DualHinge(_OneVersusRest):
    """``max(0, 1 - y z)``, which is ``max_{0 <= p <= 1} p s``; targets (problems, rows)."""

    def project(self, V: Array) -> Array:
        # The method: `np.clip` takes twice its time on a short array.
        return V.clip(0.0, 1.0, out=V)

    def face(self, p: Array) -> Array:
        return np.greater(p, 0.0) & np.less(p, 1.0)

    def value(self, S: Array) -> Array:
        return np.maximum(S[:, 0], 0.0)

    def fenchel_gap(self, S: Array, p: Array) -> Array:
        S = S[:, 0]
        gap = np.maximum(S, 0.0)
        gap -= S * p[:, 0]
        return gap


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
        S = self.slack_changes(Z)
        S += 1.0
        S[self._at_target] = 0.0
        return S

    def slack_changes(self, Z: Array) -> Array:
        Z -= Z[self._at_target]
        return Z

    def slack_changes_transposed(self, R: Array) -> Array:
        R[self._at_target] -= R.sum(axis=1)[0]
        return R

    def project(self, V: Array) -> Array:
        """Return ``max(V - shift, 0)`` of sum 1, by Newton's method on the shift.

        The sum is convex and decreasing in the shift. Started below the root, the shift therefore
        grows towards it, and has reached it once no further entry leaves the support.
        """
        shift = V.max(axis=1, keepdims=True) - 1.0
        for _ in range(V.shape[1] + 1):
            support = np.greater(V, shift)
            size = support.sum(axis=1, keepdims=True, dtype=V.dtype)
            total = np.add.reduce(V, axis=1, keepdims=True, where=support)
            previous, shift = shift, (total - 1.0) / size
            if not np.any(shift > previous):
                break
        V -= shift
        return np.maximum(V, 0.0, out=V)

    def face(self, p: Array) -> Array:
        support = np.greater(p, 0.0)
        support &= support.sum(axis=1, keepdims=True) > 1
        return support

    def face_component(self, U: Array, face: Array) -> Array:
        size = face.sum(axis=1, keepdims=True, dtype=U.dtype)
        U *= face
        U -= face * (U.sum(axis=1, keepdims=True) / np.maximum(size, 1.0))
        return U

    def tangents(self, face: Array) -> tuple[Array, Array]:
        """Return ``(1, ..., 1, -j, 0, ...) / sqrt(j (j + 1))`` on each support, j = 1, 2, ..."""
        rank = np.cumsum(face[0], axis=0) - 1
        columns, rows = np.nonzero(face[0] & (rank > 0))
        j = rank[columns, rows]
        Q = (face[0][:, rows] & (rank[:, rows] < j)).T.astype(np.float64)
        Q[np.arange(len(rows)), columns] = -j
        Q /= np.sqrt(j * (j + 1.0))[:, None]
        return Q, rows

    def value(self, S: Array) -> Array:
        largest: Array = S.max(axis=1)
        return largest

    def fenchel_gap(self, S: Array, p: Array) -> Array:
        # As a sum over the distances to the largest slack, it has no negative terms to cancel.
        gap: Array = np.einsum("pcr,pcr->pr", p, S.max(axis=1, keepdims=True) - S)
        return gap
