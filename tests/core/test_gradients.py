"""The gradient of everything registered equals its finite difference."""

import itertools

import numpy as np
import pytest

from skscratch.core import (
    Activation,
    AppendConstant,
    Contraction,
    Dense,
    KLPenalty,
    Layer,
    Loss,
    Objective,
    PerturbedCopies,
    Sigmoid,
    SquaredError,
    Tanh,
    gradient_check,
)
from tests.core.common import (
    AT_THE_START,
    KEEPS_WIDTH,
    N_OUT,
    PLACED,
    dense,
    network,
    objective,
    rows,
    target_for,
    weights,
)

TOLERANCE = 1e-8
WEIGHTS = pytest.mark.parametrize("weight", [None, weights()], ids=["plain", "weighted"])


def error(net, loss="squared_error", weight=None, **options):
    return gradient_check(objective(net, loss, **options), rows(), target_for(loss), weight)


@WEIGHTS
@pytest.mark.parametrize("loss", Loss.members())
def test_losses(loss, weight):
    assert error(network(dense(4), Tanh(), dense(N_OUT)), loss, weight) < TOLERANCE


@WEIGHTS
@pytest.mark.parametrize("name", KEEPS_WIDTH)
def test_layers_inside_and_at_the_end(name, weight):
    layer = Layer.named(name)
    assert error(network(dense(4), layer, dense(N_OUT)), weight=weight) < TOLERANCE
    assert error(network(dense(4), Tanh(), dense(N_OUT), layer), weight=weight) < TOLERANCE


@WEIGHTS
@pytest.mark.parametrize("name", PLACED)
def test_layers_restricted_to_certain_positions(name, weight):
    net = network(dense(4), Tanh(), *PLACED[name], dense(N_OUT))
    assert error(net, "binary_log_loss", weight=weight) < TOLERANCE


@WEIGHTS
@pytest.mark.parametrize("name", PLACED | AT_THE_START)
def test_restricted_layers_at_the_start(name, weight):
    layers = (PLACED | AT_THE_START)[name]
    assert error(network(*layers, dense(4), Tanh(), dense(N_OUT)), weight=weight) < TOLERANCE


def test_a_corruption_after_layers_with_parameters_is_refused():
    net = network(dense(4), *AT_THE_START["corruption"], dense(N_OUT))
    with pytest.raises(ValueError, match="must precede all layers with parameters"):
        error(net)


@WEIGHTS
@pytest.mark.parametrize("name", [n for n in KEEPS_WIDTH if not Layer.named(n).adds_penalty])
def test_layers_between_perturbed_copies(name, weight):
    among = [PerturbedCopies(0.1), dense(4), Layer.named(name), Contraction(0.3, 0.1)]
    assert error(network(*among, dense(N_OUT)), weight=weight) < TOLERANCE


@WEIGHTS
def test_mean_activities_in_their_range(weight):
    sparse = [Sigmoid(), KLPenalty(0.5, 0.2), dense(N_OUT)]
    assert error(network(dense(4), *sparse), weight=weight) < TOLERANCE


@WEIGHTS
@pytest.mark.parametrize("pair", list(itertools.product(KEEPS_WIDTH, repeat=2)), ids="-".join)
def test_pairs_of_layers(pair, weight):
    # A layer that works in place could overwrite values that the layer before it still needs.
    first, second = map(Layer.named, pair)
    assert error(network(dense(4), first, second, dense(N_OUT)), weight=weight) < TOLERANCE


@pytest.mark.parametrize("name", Activation.members())
def test_layers_at_the_start(name):
    assert error(network(Activation.named(name), dense(4), dense(N_OUT))) < TOLERANCE


def test_constant_column():
    net = network(AppendConstant(2.0), Dense(4, bias=None), Tanh(), AppendConstant(), Dense(N_OUT))
    assert error(net) < TOLERANCE


@pytest.mark.parametrize("share_l2", [True, False])
def test_penalty(share_l2):
    net = network(dense(4), Tanh(), dense(N_OUT))
    assert error(net, weight=weights(), l2=0.3, share_l2=share_l2, scale=0.5) < TOLERANCE


def test_shared_weights():
    net = network(dense(4), Tanh(), dense(2), dense(4), Tanh(), dense(5), ties={3: 2, 5: 0})
    assert gradient_check(Objective(net, SquaredError()), rows(), rows(seed=1)) < TOLERANCE
    assert net.n_weights == 5 * 4 + 4 * 2


class WrongBackward(Tanh):
    def backward(self, p, g, f):
        super().backward(p, g, f)
        f.dx *= 1.001


def test_a_wrong_gradient_is_found():
    assert error(network(dense(4), WrongBackward(), dense(N_OUT))) > 1e-4


def test_float32_is_refused():
    net = network(dense(N_OUT), dtype=np.float32)
    with pytest.raises(ValueError, match="needs float64"):
        gradient_check(objective(net), rows(dtype=np.float32), target_for("squared_error"))


def test_parameters_are_left_as_they_were():
    net = network(dense(4), Tanh(), dense(N_OUT))
    before = net.params.copy()
    error(net)
    np.testing.assert_array_equal(net.params, before)
