"""Check gradients against finite differences, including those of custom layers and losses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import sparse

from skscratch.core.functions import Array
from skscratch.core.objective import Objective

STEPS = (1e-3, 1e-2, 1e-4, 1e-5)
GOOD_ENOUGH = 1e-10


def gradient_check(
    objective: Objective, X: Any, target: Any, weight: Array | None = None, seed: int = 0
) -> float:
    """Return the largest relative error of backward's gradient, over all parameters.

    Each derivative is compared with the central difference of fourth order,
    ``(8 (f(h) - f(-h)) - (f(2h) - f(-2h))) / 12h``, at several steps h, and the closest agreement
    counts: round-off spoils small steps and a kink nearby spoils large ones, but a wrong gradient
    agrees at none. The error is relative to the derivative itself, or to a thousandth of the
    largest one if that is more. A noise layer draws the same noise at every evaluation.

    Parameters
    ----------
    objective : Objective
        The objective of a float64 network.
    X, target : {ndarray, sparse matrix} of shape (n, n_in) and (n, n_out)
        Rows to evaluate it on.
    weight : ndarray of shape (n,) or (n, n_out), optional
        Weights of the rows, or of each of their outputs.
    seed : int, default=0
        Seed of the noise layers.

    Returns
    -------
    float
        About 1e-10 for a correct gradient; 1e-3 or more for a wrong one.

    Examples
    --------
    >>> import numpy as np
    >>> from skscratch.core import Dense, Network, Objective, SquaredError, Tanh, gradient_check
    >>> network = Network([Dense(3), Tanh(), Dense(1)], n_in=2)
    >>> X, target = np.eye(2), np.ones((2, 1))
    >>> gradient_check(Objective(network, SquaredError()), X, target) < 1e-8
    True
    """
    network = objective.network
    if network.dtype != np.float64:
        raise ValueError(f"A gradient check needs float64, but the network is {network.dtype}.")
    if weight is not None:
        weight = np.asarray(weight, dtype=network.dtype).reshape(X.shape[0], -1)
    rng = np.random.default_rng(seed)
    ws = network.workspace(X.shape[0], train=True, rng=rng, sparse_rows=sparse.issparse(X))
    noise = rng.bit_generator.state

    def value() -> float:
        rng.bit_generator.state = noise
        return objective.value_and_grad(X, target, ws, weight)

    value()
    grad = ws.grad.copy()
    floor = 1e-3 * float(np.abs(grad).max(initial=np.finfo(float).tiny))
    worst = 0.0
    for i in range(network.n_params):
        error = np.inf
        for h in STEPS:
            error = min(error, _error(network.params, i, float(grad[i]), h, value, floor))
            if error <= GOOD_ENOUGH:
                break
        worst = max(worst, error)
    return worst


def _error(
    params: Array, i: int, derivative: float, h: float, value: Callable[[], float], floor: float
) -> float:
    original = float(params[i])
    values = []
    for step in (-2, -1, 1, 2):
        params[i] = original + step * h
        values.append(value())
    params[i] = original
    difference = (8 * (values[2] - values[1]) - (values[3] - values[0])) / (12 * h)
    return abs(difference - derivative) / max(abs(difference), abs(derivative), floor)
