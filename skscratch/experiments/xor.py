"""The exclusive or: the smallest problem that needs a hidden layer.

Two inputs, four hidden units (tanh), one output (logistic), mean squared error, gradient descent
without momentum. One run proves little here, because four hidden units can get stuck. So the same
network is also trained from many seeds, and the report says how many of them solve the problem.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from skscratch.core import (
    SGD,
    Constant,
    Dense,
    GlorotUniform,
    Network,
    Objective,
    Sigmoid,
    SquaredError,
    Tanh,
    TrainingRun,
    Zeros,
    train,
)
from skscratch.datasets import load_xor

LEARNING_RATE = 2.0
MAX_EPOCHS = 10_000
# Training ends here. All four outputs are then within 0.02 of their targets.
TARGET_LOSS = 1e-4
# For counting seeds: no output can be on the wrong side of 1/2 once the mean is below 1/16.
SOLVED_LOSS = 1e-2

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class XorResult:
    """The trained network, its outputs for the four points, and how many other seeds succeed.

    Parameters
    ----------
    network : skscratch.core.Network
        The trained network.
    loss_curve : tuple of float
        Mean squared error of each epoch.
    seconds : float
        Time of the training.
    outputs : tuple of float
        Outputs for (0, 0), (0, 1), (1, 0) and (1, 1).
    solved : bool
        Whether all four are on the right side of 1/2.
    n_solved, n_seeds : int
        How many of how many networks of other seeds solve it.
    """

    network: Network = field(repr=False)
    loss_curve: tuple[float, ...] = field(repr=False)
    seconds: float
    outputs: tuple[float, ...]
    solved: bool
    n_solved: int
    n_seeds: int

    @property
    def n_epochs(self) -> int:
        """Number of epochs trained."""
        return len(self.loss_curve)


def make_network(seed: int) -> Network:
    """Build the network with fresh weights.

    Parameters
    ----------
    seed : int
        Seed of the initial weights.

    Returns
    -------
    skscratch.core.Network
        Two inputs, four hidden units, one output.
    """
    weights, bias = GlorotUniform(), Zeros()
    layers = [Dense(4, weights, bias), Tanh(), Dense(1, weights, bias), Sigmoid()]
    return Network(layers, n_in=2, rng=seed)


def train_network(network: Network, *, max_epochs: int, target_loss: float) -> TrainingRun:
    """Train a network on the four points until its loss is small enough.

    Parameters
    ----------
    network : skscratch.core.Network
        What to train, in place.
    max_epochs : int
        Epochs after which to stop at the latest.
    target_loss : float
        Mean squared error at which to stop.

    Returns
    -------
    skscratch.core.TrainingRun
        The losses.
    """
    X, y = load_xor()
    return train(
        Objective(network, SquaredError()),
        X,
        y,
        optimizer=SGD(),
        schedule=Constant(LEARNING_RATE),
        batch_size=len(X),
        max_epochs=max_epochs,
        # All four points are one batch, whatever their order.
        shuffle=False,
        on_epoch=lambda run: run.losses[-1] < target_loss,
    )


def is_solved(network: Network) -> bool:
    """Return whether all four points are on the right side of 1/2.

    Parameters
    ----------
    network : skscratch.core.Network
        The network to ask.

    Returns
    -------
    bool
        True if it has learned the exclusive or.
    """
    X, y = load_xor()
    return bool(((network(X) > 0.5) == (y > 0.5)).all())


def run_xor(
    *,
    seed: int = 0,
    n_seeds: int = 100,
    max_epochs: int = MAX_EPOCHS,
    on_seed: Callable[[int], None] | None = None,
) -> XorResult:
    """Train the network from one seed to the end, and from many seeds until they solve it.

    Parameters
    ----------
    seed : int, default=0
        Seed of the network that is returned.
    n_seeds : int, default=100
        How many networks to count, of the seeds 0, 1, 2 and so on.
    max_epochs : int, default=10000
        Epochs after which a network counts as stuck.
    on_seed : callable, default=None
        Called with each seed that is done.

    Returns
    -------
    XorResult
        Network, curve and counts.

    Examples
    --------
    >>> from skscratch.experiments import run_xor
    >>> result = run_xor(n_seeds=3)
    >>> [round(output) for output in result.outputs], result.n_solved
    ([0, 1, 1, 0], 3)
    """
    network = make_network(seed)
    started = time.perf_counter()
    run = train_network(network, max_epochs=max_epochs, target_loss=TARGET_LOSS)
    seconds = time.perf_counter() - started
    n_solved = 0
    for other in range(n_seeds):
        candidate = make_network(other)
        train_network(candidate, max_epochs=max_epochs, target_loss=SOLVED_LOSS)
        n_solved += is_solved(candidate)
        if on_seed is not None:
            on_seed(other)
    return summarise(network, tuple(run.losses), seconds, n_solved, n_seeds)


def summarise(
    network: Network, loss_curve: tuple[float, ...], seconds: float, n_solved: int, n_seeds: int
) -> XorResult:
    """Ask a trained network for its outputs, and put everything together.

    Parameters
    ----------
    network : skscratch.core.Network
        The trained network.
    loss_curve : tuple of float
        Loss of each epoch.
    seconds : float
        How long it was trained.
    n_solved, n_seeds : int
        How many of how many other networks solved the problem.

    Returns
    -------
    XorResult
        The result.
    """
    X, _ = load_xor()
    outputs = tuple(network(X).ravel().tolist())
    return XorResult(network, loss_curve, seconds, outputs, is_solved(network), n_solved, n_seeds)
