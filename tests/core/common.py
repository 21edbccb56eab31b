"""Networks, rows and targets for the tests of the core."""

import numpy as np

from skscratch.core import (
    AppendConstant,
    Contraction,
    Corruption,
    Dense,
    FanInUniform,
    Layer,
    Loss,
    Network,
    Objective,
    PerturbedCopies,
    TakeColumns,
    Tanh,
    Variational,
)

N_IN, N_OUT, ROWS = 5, 3, 7


def dense(width):
    # Nonzero biases keep relu away from its kink.
    return Dense(width, bias=FanInUniform())


def network(*layers, n_in=N_IN, dtype=np.float64, seed=1, **options):
    return Network(layers, n_in, dtype, rng=seed, **options)


def rows(n=ROWS, width=N_IN, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).normal(size=(n, width)).astype(dtype)


def target_for(loss, n=ROWS, width=N_OUT, seed=0, dtype=np.float64):
    """Return targets in the range of the loss."""
    rng = np.random.default_rng(seed)
    one_hot = np.eye(width)[rng.integers(width, size=n)]
    kinds = {
        "real": rng.normal(size=(n, width)),
        "share": rng.random((n, width)),
        "one-hot": one_hot,
        "sign": 2 * one_hot - 1,
        "count": rng.poisson(2.0, size=(n, width)),
    }
    return kinds[Loss.named(loss).targets].astype(dtype)


def weights(n=ROWS, dtype=np.float64):
    """Return weights, some of them 0."""
    return np.arange(n, dtype=dtype) % 4


def objective(net, loss="squared_error", **options):
    return Objective(net, Loss.named(loss), **options)


# Layers that are valid only in certain positions, each with layers that put it in one.
PLACED = {
    "dense": [dense(N_OUT)],
    "append_constant": [AppendConstant(2.0)],
    "take_columns": [TakeColumns(2)],
    "variational": [dense(4), Variational()],
    "perturbed_copies": [PerturbedCopies(), dense(4), Tanh(), Contraction()],
    "contraction": [dense(4), PerturbedCopies(), Tanh(), dense(3), Contraction(0.5)],
}
AT_THE_START = {"corruption": [Corruption(lambda x, rng: x * rng.uniform(0.5, 1.5, x.shape))]}
# All other layers may be anywhere, and their output is as wide as their input.
KEEPS_WIDTH = [name for name in Layer.members() if name not in PLACED | AT_THE_START]
