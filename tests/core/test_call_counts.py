"""Causes of slow training steps, counted instead of timed: NumPy calls and float64 operands."""

import numpy as np
import pytest

from skscratch.core import (
    SGD,
    Dense,
    Layer,
    Loss,
    Network,
    Objective,
    Optimizer,
    Sigmoid,
    SquaredError,
    Tanh,
    train,
)
from tests.core.common import KEEPS_WIDTH, N_OUT, PLACED, dense, rows, target_for

XOR = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32), np.array([[0], [1], [1], [0]])


class Watched(np.ndarray):
    """An array that records the NumPy calls in which it takes part."""

    calls: list[tuple[str, list[np.dtype]]]

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **options):
        self.record(ufunc.__name__, *inputs, *(out or ()))
        if out is not None:
            options["out"] = tuple(map(plain, out))
        result = getattr(ufunc, method)(*map(plain, inputs), **options)
        return result if out is None else out[0]

    def dot(self, other, out=None):
        self.record("dot", self, other, out)
        return plain(self).dot(plain(other), out=plain(out))

    @classmethod
    def record(cls, name, *operands):
        # Python numbers adapt to the dtype of an array, NumPy's do not. Weights, one for each row,
        # are float64 on purpose.
        arrays = [x for x in operands if isinstance(x, np.ndarray | np.generic)]
        cls.calls.append((name, [x.dtype for x in arrays if x.shape[1:] != (1,)]))


def plain(x):
    return x.view(np.ndarray) if isinstance(x, Watched) else x


@pytest.fixture
def calls(monkeypatch):
    """Let NumPy create only watched arrays, and return the list of recorded calls."""
    for name in ("empty", "zeros", "ones", "zeros_like", "empty_like"):
        make = getattr(np, name)
        monkeypatch.setattr(
            np, name, lambda *given, _make=make, **options: _make(*given, **options).view(Watched)
        )
    Watched.calls = []
    return Watched.calls


def test_a_step_of_a_tiny_network_has_little_overhead(calls):
    X, y = (array.astype(np.float32).view(Watched) for array in XOR)
    counts = []
    train(
        Objective(Network([Dense(4), Tanh(), Dense(1), Sigmoid()], 2, np.float32), SquaredError()),
        X,
        y,
        optimizer=SGD(),
        max_epochs=3,
        on_epoch=lambda run: counts.append(len(calls)),
    )
    # A call costs as much as the arithmetic of such a network. A step needs about 27 of them:
    # forward 9, loss 5, backward 11, parameters 2.
    assert max(np.diff(counts)) <= 36


def train_watched(layers, loss, **options):
    X, y = rows(dtype=np.float32).view(Watched), target_for(loss, dtype=np.float32).view(Watched)
    objective = Objective(Network(layers, 5, np.float32), Loss.named(loss), l2=0.1)
    train(objective, X, y, max_epochs=2, rng=0, **options)


@pytest.mark.parametrize("loss", Loss.members())
def test_losses_compute_in_float32(calls, loss):
    train_watched([dense(N_OUT)], loss)
    assert_float32(calls)


@pytest.mark.parametrize("optimizer", Optimizer.members())
def test_optimizers_compute_in_float32(calls, optimizer):
    train_watched([dense(N_OUT)], "squared_error", optimizer=Optimizer.named(optimizer))
    assert_float32(calls)


@pytest.mark.parametrize("name", [*PLACED, *KEEPS_WIDTH])
@pytest.mark.parametrize("weight", [None, np.ones(7, np.float32)], ids=["alone", "weighted"])
def test_layers_compute_in_float32(calls, name, weight):
    layers = PLACED.get(name) or [Layer.named(name)]
    train_watched([dense(5), *layers, dense(N_OUT)], "squared_error", weight=weight)
    assert_float32(calls)


def assert_float32(calls):
    assert calls
    wide = [name for name, dtypes in calls if np.dtype(np.float64) in dtypes]
    assert not wide
