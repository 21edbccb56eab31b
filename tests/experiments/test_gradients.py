import pytest

from skscratch.core import Activation, Layer, Loss, Tanh
from skscratch.experiments import check_gradients
from skscratch.experiments.gradients import PLACED


@pytest.fixture(scope="module")
def result():
    return check_gradients()


def test_every_gradient_is_right(result):
    assert result.passed
    assert result.largest < 1e-8


def test_every_member_is_checked_with_and_without_weights(result):
    for weighted in (False, True):
        names = {(c.kind, c.name) for c in result.checks if c.weighted is weighted}
        assert {name for kind, name in names if kind == "loss"} == set(Loss.members())
        assert {name for kind, name in names if kind == "activation"} == set(Activation.members())
        layers = set(Layer.members()) - set(Activation.members())
        assert {name for kind, name in names if kind == "layer"} == layers


def test_every_pair_of_layers_is_checked_with_and_without_weights(result):
    anywhere = len(Layer.members()) - len(PLACED)
    for weighted in (False, True):
        pairs = [c for c in result.checks if c.kind == "pair" and c.weighted is weighted]
        assert len(pairs) == len({c.name for c in pairs}) == anywhere**2


def test_a_wrong_gradient_is_found(monkeypatch):
    def backward(self, p, g, f):
        f.dx[...] = 1.01 * f.dy

    monkeypatch.setattr(Tanh, "backward", backward)
    seen = []
    result = check_gradients(pairs=False, on_check=seen.append)
    assert not result.passed
    assert seen == list(result.checks)
    wrong = {check.name for check in result.checks if check.error > 1e-3}
    assert wrong == {"tanh", *Loss.members()}, "the losses stand behind a tanh"
