"""What makes a step slow, counted instead of timed: calls of NumPy, and a wider dtype."""

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
    """An array that writes down what NumPy is asked to compute with it."""

    calls: list[tuple[str, list[np.dtype]]]

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **options):
        self.write_down(ufunc.__name__, *inputs, *(out or ()))
        if out is not None:
            options["out"] = tuple(map(plain, out))
        result = getattr(ufunc, method)(*map(plain, inputs), **options)
        return result if out is None else out[0]

    def dot(self, other, out=None):
        self.write_down("dot", self, other, out)
        return plain(self).dot(plain(other), out=plain(out))

    @classmethod
    def write_down(cls, name, *operands):
        # A number of Python's own adapts to the array; one of NumPy's does not. Weights, one for
        # each row, are float64 on purpose.
        arrays = [x for x in operands if isinstance(x, np.ndarray | np.generic)]
        cls.calls.append((name, [x.dtype for x in arrays if x.shape[1:] != (1,)]))


def plain(x):
    return x.view(np.ndarray) if isinstance(x, Watched) else x


@pytest.fixture
def calls(monkeypatch):
    """Let NumPy make watched arrays only, and return what is written down."""
    for name in ("empty", "zeros", "ones", "zeros_like", "empty_like"):
        make = getattr(np, name)
        monkeypatch.setattr(
            np, name, lambda *given, _make=make, **options: _make(*given, **options).view(Watched)
        )
    Watched.calls = []
    return Watched.calls


def test_a_step_of_a_tiny_network_is_few_calls_of_numpy(calls):
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
    # Each costs as much as the arithmetic of such a network. Forward 2 + 1 + 2 + 4, the loss 5,
    # backward 3 + 3 + 3 + 2 and the parameters 2 are 27.
    assert max(np.diff(counts)) <= 32


def train_watched(layers, loss, **options):
    X, y = rows(dtype=np.float32).view(Watched), target_for(loss, dtype=np.float32).view(Watched)
    objective = Objective(Network(layers, 5, np.float32), Loss.named(loss), l2=0.1)
    train(objective, X, y, max_epochs=2, rng=0, **options)


@pytest.mark.parametrize("loss", Loss.members())
def test_no_loss_meets_a_float64(calls, loss):
    train_watched([dense(N_OUT)], loss)
    assert_narrow(calls)


@pytest.mark.parametrize("optimizer", Optimizer.members())
def test_no_optimizer_meets_a_float64(calls, optimizer):
    train_watched([dense(N_OUT)], "squared_error", optimizer=Optimizer.named(optimizer))
    assert_narrow(calls)


@pytest.mark.parametrize("name", [*PLACED, *KEEPS_WIDTH])
@pytest.mark.parametrize("weight", [None, np.ones(7, np.float32)], ids=["alone", "weighted"])
def test_no_layer_meets_a_float64(calls, name, weight):
    layers = PLACED.get(name) or [Layer.named(name)]
    train_watched([dense(5), *layers, dense(N_OUT)], "squared_error", weight=weight)
    assert_narrow(calls)


def assert_narrow(calls):
    assert calls
    wide = [name for name, dtypes in calls if np.dtype(np.float64) in dtypes]
    assert not wide
