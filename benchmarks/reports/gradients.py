"""The gradient check as the reports give it: differences themselves, on their own networks."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from skscratch.core import Network, Objective, ReLU, Sigmoid, SquaredError, Tanh
from skscratch.datasets import load_xor
from skscratch.experiments.gradients import N_ROWS, dense

Array = npt.NDArray[Any]


def largest_difference(seed: int = 0) -> float:
    """Return the largest difference between a derivative and its central difference.

    The networks are that of the exclusive or, and an autoencoder of ReLU and a logistic output.
    """
    rng = np.random.default_rng(seed)
    X, y = load_xor()
    pixels = rng.uniform(size=(N_ROWS, 8))
    xor = Network([dense(4), Tanh(), dense(1), Sigmoid()], n_in=2, rng=rng)
    layers = [dense(6), ReLU(), dense(3), dense(6), ReLU(), dense(8), Sigmoid()]
    autoencoder = Network(layers, n_in=8, rng=rng)
    return max(
        _difference(Objective(xor, SquaredError()), X, y),
        _difference(Objective(autoencoder, SquaredError(), scale=1 / 8), pixels, pixels),
    )


def _difference(objective: Objective, X: Array, target: Array) -> float:
    network = objective.network
    workspace = network.workspace(len(X), train=True)

    def value() -> float:
        return objective.value_and_grad(X, target, workspace)

    value()
    gradient, params = workspace.grad.copy(), network.params
    worst = 0.0
    for i, kept in enumerate(params.copy()):
        found = []
        # Round-off spoils small steps and curvature large ones: the closest agreement counts.
        for step in (1e-2, 3e-3, 1e-3):
            at = []
            for shift in (-2, -1, 1, 2):
                params[i] = kept + shift * step
                at.append(value())
            found.append((8 * (at[2] - at[1]) - (at[3] - at[0])) / (12 * step))
        params[i] = kept
        worst = max(worst, min(abs(numeric - gradient[i]) for numeric in found))
    return float(worst)
