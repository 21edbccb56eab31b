"""The checks for custom parts: correct ones pass, and the error of each wrong one is named."""

import numpy as np
import pytest

from skscratch.core import (
    Activation,
    Contraction,
    Corruption,
    Dense,
    Elementwise,
    Layer,
    Loss,
    Optimizer,
    PerturbedCopies,
    Pinball,
    Tanh,
    check_layer,
    check_loss,
    check_optimizer,
)
from skscratch.core.initializers import FanInUniform
from tests.mish import DeclaredMish, PureMish, UndeclaredMish

SPECIAL = {
    "dense": (Dense(4, bias=FanInUniform()), {}),
    "contraction": (Contraction(0.5), {"before": [PerturbedCopies(), Dense(4), Tanh()]}),
    "perturbed_copies": (PerturbedCopies(), {"behind": [Dense(4), Tanh(), Contraction(0.3)]}),
}


@pytest.mark.parametrize(
    "name", [n for n, kind in Layer.members().items() if not issubclass(kind, Corruption)]
)
def test_every_layer_passes(name):
    layer, options = SPECIAL.get(name, (None, {}))
    check_layer(layer or Layer.named(name), pairs=name == "tanh", **options)


@pytest.mark.parametrize("name", Loss.members())
def test_every_loss_passes(name):
    check_loss(Loss.named(name))


def test_several_quantiles_pass():
    check_loss(Pinball((0.1, 0.5, 0.9)))


@pytest.mark.parametrize("name", Optimizer.members())
def test_every_optimizer_passes(name):
    check_optimizer(Optimizer.named(name))


@pytest.mark.parametrize("kind", [PureMish, UndeclaredMish, DeclaredMish])
def test_mish_passes_in_all_forms(kind):
    check_layer(kind())


class ReadsX(UndeclaredMish, backward_reads="y"):
    pass


class ReadsY(Activation, backward_reads=""):
    def forward(self, p, f):
        np.tanh(f.x, out=f.y)

    def backward(self, p, g, f):
        np.multiply(f.dy, 1 - f.y**2, out=f.dx)


class ReadsDyLate(Activation, backward_reads="y", in_place=True):
    def forward(self, p, f):
        np.tanh(f.x, out=f.y)

    def backward(self, p, g, f):
        np.multiply(f.y, f.y, out=f.dx)
        np.multiply(f.dx, f.dy, out=f.dx)
        np.subtract(f.dy, f.dx, out=f.dx)


class ReadsXLate(Activation, backward_reads="", in_place=True, cached=1):
    def forward(self, p, f):
        np.multiply(f.x, f.x, out=f.y)
        f.cached[0][:] = f.x
        f.y *= f.x

    def backward(self, p, g, f):
        np.multiply(f.dy, 3 * f.cached[0] ** 2, out=f.dx)


class WritesX(Activation):
    def forward(self, p, f):
        np.tanh(f.x, out=f.x)
        f.y[:] = f.x

    def backward(self, p, g, f):
        np.multiply(f.dy, 1 - f.y**2, out=f.dx)


class KeepsScratch(Activation, scratch=1):
    def forward(self, p, f):
        f.scratch[0][:] = f.x
        f.y[:] = f.x**2

    def backward(self, p, g, f):
        np.multiply(f.dy, 2 * f.scratch[0], out=f.dx)


class KeepsState(Activation):
    def forward(self, p, f):
        object.__setattr__(self, "x", f.x.copy())
        f.y[:] = f.x**2

    def backward(self, p, g, f):
        np.multiply(f.dy, 2 * self.x, out=f.dx)


class WrongSlope(Elementwise):
    def f(self, x):
        return x**3

    def slope(self, x, y):
        return 3.01 * x**2


class DrawsInPrediction(Activation):
    def forward(self, p, f):
        np.add(f.x, f.rng.normal(size=f.x.shape), out=f.y)

    def backward(self, p, g, f):
        f.dx[:] = f.dy


class LooksAtTheBatch(Elementwise):
    def f(self, x):
        return x - x.mean()

    def slope(self, x, y):
        return np.ones_like(x)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (ReadsX, "backward reads f.x, which backward_reads='y' does not declare"),
        (ReadsY, "backward reads f.y, which backward_reads='' does not declare"),
        (ReadsDyLate, "backward reads f.dy after it wrote f.dx"),
        (ReadsXLate, "forward reads f.x after it wrote f.y"),
        (WritesX, "forward changes f.x"),
        (KeepsScratch, "reads scratch"),
        (KeepsState, "keeps state|different hash|wrong"),
        (WrongSlope, "the gradient is wrong by"),
        (DrawsInPrediction, "draws random numbers in prediction"),
        (LooksAtTheBatch, "single rows are predicted differently"),
    ],
)
def test_an_incorrect_layer_is_named(kind, message):
    with pytest.raises(AssertionError, match=rf"{kind.__name__}\(.*\): .*({message})"):
        check_layer(kind())


def test_declarations_with_a_typo_are_refused_when_the_class_is_made():
    with pytest.raises(TypeError, match="unknown class keyword 'backwards_reads'"):

        class Typo(Elementwise, backwards_reads="x"):
            pass

    with pytest.raises(TypeError, match="'in_place' is declared by a class keyword"):

        class Body(Elementwise):
            in_place: bool = True

    with pytest.raises(TypeError, match="backward_reads must be"):

        class Other(Elementwise, backward_reads="z"):
            pass

    with pytest.raises(TypeError, match="must define forward and backward"):

        class Half(Activation, name="half"):
            def forward(self, p, f):
                pass

    assert "half" not in Layer.members()
    with pytest.raises(TypeError, match="the default of 'table' must be None, a number"):

        class Table(Elementwise):
            table: frozenset = frozenset((1, 2))


class LessThanItsGradient(Loss):
    def pointwise(self, raw, target, b):
        np.subtract(raw, target, out=b.grad)
        np.multiply(b.grad, b.grad, out=b.value)


class ReadsScratch(Loss):
    def pointwise(self, raw, target, b):
        np.subtract(raw, target, out=b.grad)
        b.scratch += 1
        np.multiply(b.grad, b.grad, out=b.value)
        b.value *= 0.5
        b.value += b.scratch


class WritesRaw(Loss):
    def pointwise(self, raw, target, b):
        raw -= target
        b.grad[:] = raw
        b.value[:] = raw**2 / 2


class Mean(Loss):
    def pointwise(self, raw, target, b):
        np.subtract(raw, target, out=b.grad)
        b.grad /= len(raw)
        b.value[:] = (raw - target) ** 2 / 2 / len(raw)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (LessThanItsGradient, "the gradient is wrong by"),
        (ReadsScratch, "reads scratch"),
        (WritesRaw, "changes raw outputs"),
        (Mean, "evaluating single rows changes"),
    ],
)
def test_an_incorrect_loss_is_named(kind, message):
    with pytest.raises(AssertionError, match=rf"{kind.__name__}\(\): .*{message}"):
        check_loss(kind())


class Climbs(Optimizer):
    def update(self, w, g, slots, scratch, lr, t):
        w += lr * g


class DependsOnTheCut(Optimizer):
    def update(self, w, g, slots, scratch, lr, t):
        w -= lr * g / max(1.0, np.linalg.norm(g))


class MovesAlways(Optimizer):
    def update(self, w, g, slots, scratch, lr, t):
        w -= lr * g + 1e-3 * w


class LeavesFloat32(Optimizer):
    n_slots = 1

    def start(self, params):
        state = super().start(params)
        state.slots = (np.zeros(len(params)),)
        return state

    def update(self, w, g, slots, scratch, lr, t):
        w -= lr * g


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Climbs, "500 steps on"),
        (DependsOnTheCut, "steps on two parts"),
        (MovesAlways, "a step of length 0"),
        (LeavesFloat32, "slots whose shape or dtype"),
    ],
)
def test_an_incorrect_optimizer_is_named(kind, message):
    with pytest.raises(AssertionError, match=rf"{kind.__name__}\(\): .*{message}"):
        check_optimizer(kind())
