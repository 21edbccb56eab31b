"""The exclusive or by gradient descent on all four points at once, in skscratch and in Keras."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.keras_models import compile_model
from benchmarks.reports.autoencoders import warm_up
from skscratch.core import Constant, Network, Objective, SquaredError, train
from skscratch.datasets import load_xor
from skscratch.experiments.autoencoder import mean_squared_error
from skscratch.keras import to_keras

# Steps that Keras runs in one call, without going back to Python; and epochs to a point of a curve.
STRIDE = 500

Advance = Callable[[int], list[float]]
Outputs = Callable[[], npt.NDArray[Any]]


@dataclass(frozen=True)
class XorReading:
    """Time of the training so far, loss, and outputs for (0, 0), (0, 1), (1, 0) and (1, 1)."""

    epochs: int
    seconds: float
    loss: float
    outputs: tuple[float, ...]

    @property
    def largest_error(self) -> float:
        """The largest distance of an output from its target."""
        _, y = load_xor()
        return float(np.abs(np.array(self.outputs) - y.ravel()).max())


@dataclass(frozen=True)
class XorRun:
    """A training: readings in order, and the mean losses of `stride` epochs each."""

    readings: tuple[XorReading, ...]
    stride: int
    curve: tuple[float, ...] = field(repr=False)


def run_xor_on(side: str, network: Network, rate: float, epochs: Sequence[int]) -> XorRun:
    """Train in skscratch ("ours", in place) or in Keras ("keras"), read after rising `epochs`."""
    stride = math.gcd(*epochs, STRIDE)
    advance, outputs = (
        _in_skscratch(network, rate) if side == "ours" else _in_keras(network, rate, stride)
    )
    _, y = load_xor()
    readings: list[XorReading] = []
    losses: list[float] = []
    seconds, done = 0.0, 0
    for mark in epochs:
        started = time.perf_counter()
        losses += advance(mark - done)
        seconds += time.perf_counter() - started
        done, now = mark, outputs()
        loss = mean_squared_error(now, y)
        readings.append(XorReading(mark, seconds, loss, tuple(now.ravel().tolist())))
    # Keras returns means over the stride, skscratch a loss for each epoch.
    curve = np.reshape(losses, (done // stride, -1)).mean(axis=1)
    return XorRun(tuple(readings), stride, tuple(curve.tolist()))


def _in_skscratch(network: Network, rate: float) -> tuple[Advance, Outputs]:
    X, y = load_xor()
    objective, state = Objective(network, SquaredError()), None

    def advance(n_epochs: int) -> list[float]:
        nonlocal state
        run = train(
            objective,
            X,
            y,
            schedule=Constant(rate),
            batch_size=len(X),
            max_epochs=n_epochs,
            state=state,
        )
        state = run.state
        return run.losses

    return advance, lambda: network(X)


def _keras_model(network: Network, rate: float, **options: Any) -> Any:
    model = to_keras(network)
    compile_model(model, "sgd", rate, "mse", **options)
    return model


def _in_keras(network: Network, rate: float, stride: int) -> tuple[Advance, Outputs]:
    import tensorflow as tf

    model = _keras_model(network, rate, steps_per_execution=stride)
    X, y = (tf.constant(array) for array in load_xor())
    batches = tf.data.Dataset.from_tensors((X, y)).repeat()
    warm_up(model, batches, stride)

    def advance(n_epochs: int) -> list[float]:
        history = model.fit(
            batches,
            steps_per_epoch=stride,
            epochs=n_epochs // stride,
            shuffle=False,
            verbose=0,
        )
        return list(history.history["loss"])

    return advance, lambda: model(X).numpy()


def plain_keras_epoch(network: Network, rate: float, n_epochs: int) -> float:
    """Time an epoch by the plain call of ``fit`` on arrays, in seconds."""
    model = _keras_model(network, rate)
    X, y = load_xor()
    model.fit(X, y, batch_size=len(X), verbose=0)
    started = time.perf_counter()
    model.fit(X, y, batch_size=len(X), epochs=n_epochs, verbose=0)
    return (time.perf_counter() - started) / n_epochs
