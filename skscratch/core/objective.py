"""An objective combines a network, a loss and a penalty.

    (scale · Σ weight_i loss_i  +  penalty) / Σ weight_i

Mini-batch training, L-BFGS and the gradient check all call it, so they cannot disagree. It is the
only place that divides by the sum of the weights or adds a penalty to a gradient.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from skscratch.core.functions import Array
from skscratch.core.losses import Loss, LossBuffers
from skscratch.core.network import Network, Workspace
from skscratch.core.rows import SparseRows

PENALTY_BLOCK = 1 << 15
# Entries of sparse targets that are made dense at a time.
TARGET_ENTRIES = 1 << 16


@dataclass(slots=True)
class Evaluation:
    """The result of an evaluation.

    Parameters
    ----------
    value : float
        The objective on the rows, penalties included.
    total : float
        Sum of the weights of the rows; 0 if there is nothing to learn from them.
    parts : list of ndarray
        Gradients of the loss, to be added in this order; empty if none was requested.
    """

    value: float
    total: float
    parts: list[Array]


@dataclass(frozen=True, eq=False)
class Objective:
    """The function that training minimises.

    Parameters
    ----------
    network : Network
        The network whose parameters are trained.
    loss : Loss
        Summed over the outputs of a row.
    l2 : float, default=0.0
        The penalty ``l2 / 2 · ‖weights‖²``; biases are not penalised.
    scale : float, default=1.0
        A constant factor on the loss: ``1 / network.n_out`` makes it a mean over the outputs.
    share_l2 : bool, default=True
        Divide the penalty by the sum of the weights of the batch's rows, as scikit-learn's networks
        do with ``alpha``. If False, it counts in full in every batch.
    """

    network: Network
    loss: Loss
    l2: float = 0.0
    scale: float = 1.0
    share_l2: bool = True

    def value_and_grad(
        self,
        X: Any,
        target: Any,
        ws: Workspace,
        weight: Array | None = None,
        total: float | None = None,
    ) -> float:
        """Return the objective on some rows; its gradient is then in ``ws.grad``.

        X and target are arrays or sparse matrices; for a sparse X the workspace is made with
        ``sparse_rows=True``. `weight` has shape (n, 1), or (n, n_out) if the outputs of a row
        differ in weight; `total` is the divisor, by default its sum. A ValueError names an argument
        of the wrong shape.
        """
        self._check(X, target, ws, weight)
        n = X.shape[0]
        if sparse.issparse(target):
            target = SparseRows(target).take_sparse(slice(0, n), self.network.dtype)
        if sparse.issparse(X):
            X = ws.take(SparseRows(X), slice(0, n), n)
        elif ws.sparse:
            raise ValueError("X must be sparse, because the workspace was made for sparse rows.")
        total = self.total(n, weight) if total is None else total
        value = self.data_term(X, target, ws, weight, total) + self.penalty(total)
        self.gradient(Evaluation(value, total, [ws.grad]))
        return value

    def gradient(
        self, evaluation: Evaluation, where: slice | None = None, scratch: Array | None = None
    ) -> Array:
        """Add up the parts of a gradient and the penalty's, for all parameters or a slice.

        The sum overwrites the first part. `scratch` has the length of the slice.
        """
        parts = evaluation.parts
        if where is None:
            where = slice(0, self.network.n_params)
        elif where.stop - where.start < self.network.n_params:
            parts = [part[where] for part in parts]
        g = parts[0]
        for other in parts[1:]:
            g += other
        if not self.l2:
            return g
        n_penalised = min(where.stop, self.network.n_weights) - where.start
        if n_penalised > 0:
            penalised = slice(where.start, where.start + n_penalised)
            self._add_penalty(g, penalised, evaluation.total, scratch)
        return g

    def _check(self, X: Any, target: Any, ws: Workspace, weight: Array | None) -> None:
        network = self.network
        if not ws.train or ws.stack is not network:
            raise ValueError(
                "A gradient needs a workspace for training this network: "
                "network.workspace(rows, train=True)."
            )
        allowed = {"X": {network.n_in}, "target": {network.n_out}, "weight": {1, network.n_out}}
        for name, data in {"X": X, "target": target, "weight": weight}.items():
            if data is None:
                continue
            widths = sorted(allowed[name])
            n = X.shape[0]
            if data.ndim != 2 or data.shape[0] != n or data.shape[1] not in widths:
                expected = " or ".join(f"({n}, {width})" for width in widths)
                raise ValueError(f"{name} must have shape {expected}, got {data.shape}.")
        self.loss.check_targets(target)

    @staticmethod
    def total(n: int, weight: Array | None) -> float:
        """Return the sum of the weights of n rows, by default 1 each."""
        return float(n) if weight is None else float(weight.sum(dtype=np.float64))

    def data_term(
        self, X: Any, target: Any, ws: Workspace, weight: Array | None, total: float
    ) -> float:
        """Return the loss without the penalty, and write its gradient to ``ws.grad``.

        The terms of disjoint rows add up if `total` is that of all of them. Sparse rows and targets
        are CSR arrays.
        """
        n = X.shape[0]
        scale = self._row_scale(ws, n, weight, self.scale / total)
        raw = self.network.forward(X, ws)
        value = self._loss(raw, target, scale, ws)
        for i in ws.penalised_layers:
            frame = ws.frames(n)[i]
            frame.scale = self._row_scale(ws, n, weight, 1 / total)
            value += self.network.layers[i].penalty(frame)
        self.network.backward(ws)
        return value

    def value(
        self, X: Any, target: Any, ws: Workspace, weight: Array | None, total: float
    ) -> float:
        """Return the loss without any penalty and without a gradient."""
        n = X.shape[0]
        if target.shape != (expected := (n, self.network.n_out)):
            raise ValueError(f"target must have shape {expected}, got {target.shape}.")
        scale = self._row_scale(ws, n, weight, self.scale / total)
        raw = self.network.forward(X, ws)
        return self._loss(raw, target, scale, ws)

    def _loss(self, raw: Array, target: Any, scale: Array | float, ws: Workspace) -> float:
        """Return the loss of raw outputs, and write its gradient to the workspace."""
        if isinstance(target, np.ndarray):
            return self.loss.value_and_grad(raw, target, scale, self._buffers(ws, len(raw)))
        value = 0.0
        for rows, dense, buffers in self._pieces(target, ws):
            part = scale if isinstance(scale, float) else scale[rows]
            value += self.loss.value_and_grad(raw[rows], dense, part, buffers)
        return value

    def _pieces(self, target: Any, ws: Workspace) -> Iterator[tuple[slice, Array, LossBuffers]]:
        """Make sparse targets dense a few rows at a time, with buffers for these rows."""
        n, width = target.shape
        longest = min(ws.rows, max(1, TARGET_ENTRIES // width))

        for start in range(0, n, longest):
            rows = slice(start, min(start + longest, n))
            buffers = self._piece_buffers(ws, rows.stop - start, longest)
            if ws.train:
                buffers.grad = ws.frames(n)[-1].dy[rows]
            dense = ws.buffer("target", rows.stop - start, width, longest)
            yield rows, target[rows].toarray(out=dense), buffers

    def _piece_buffers(self, ws: Workspace, rows: int, longest: int) -> LossBuffers:
        """Return buffers for a piece of sparse targets; in training, the gradient's is not used."""
        key = "piece", rows
        buffers: LossBuffers | None = ws.loss_buffers.get(key)
        if buffers is None:
            width = self.network.n_out
            value = ws.buffer("loss value", rows, width, longest)
            buffers = ws.loss_buffers[key] = LossBuffers.over(
                grad=value if ws.train else ws.buffer("loss grad", rows, width, longest),
                value=value,
                scratch=ws.buffer("loss scratch", rows, width, longest),
                column=ws.buffer("column", rows, 1, longest),
            )
        return buffers

    @staticmethod
    def _row_scale(ws: Workspace, rows: int, weight: Array | None, factor: float) -> Array | float:
        if weight is None:
            return factor
        scale = ws.buffer("row scale", rows, weight.shape[1])
        # In float64, so that neither small weights become 0 nor large factors overflow.
        np.multiply(weight, factor, out=scale, casting="same_kind")
        return scale

    def _buffers(self, ws: Workspace, rows: int) -> LossBuffers:
        buffers: LossBuffers | None = ws.loss_buffers.get(rows)
        if buffers is None:
            width = self.network.n_out
            buffers = ws.loss_buffers[rows] = LossBuffers.over(
                grad=ws.frames(rows)[-1].dy if ws.train else ws.buffer("loss grad", rows, width),
                value=ws.buffer("loss value", rows, width),
                scratch=ws.buffer("loss scratch", rows, width),
                column=ws.buffer("column", rows, 1),
            )
        return buffers

    def penalty(self, total: float) -> float:
        """Return the penalty for a batch whose weights sum to `total`."""
        if not self.l2:
            return 0.0
        weights = self.network.weights
        return 0.5 * self._l2_of(total) * float(np.dot(weights, weights))

    def _add_penalty(self, grad: Array, place: slice, total: float, scratch: Array | None) -> None:
        """Add the penalty's gradient to `grad`, the gradient of one slice of the weights."""
        factor = self._l2_of(total)
        weights = self.network.params[place]
        if scratch is None:
            scratch = np.empty(min(PENALTY_BLOCK, len(weights)), weights.dtype)
        for start in range(0, len(weights), len(scratch)):
            block = weights[start : start + len(scratch)]
            product = np.multiply(block, factor, out=scratch[: len(block)])
            grad[start : start + len(block)] += product

    def _l2_of(self, total: float) -> float:
        return self.l2 / total if self.share_l2 else self.l2
