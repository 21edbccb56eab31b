import numpy as np
import pytest

from skscratch.core import (
    SGD,
    Adam,
    AdamW,
    Averaged,
    Constant,
    Dense,
    Network,
    Objective,
    Optimizer,
    RMSprop,
    SquaredError,
    Tanh,
    train,
)
from skscratch.core.optimizers import FLUSH_EVERY

W = np.array([1.0, -2.0, 0.5])
GRADIENTS = [[0.3, -0.1, 2.0], [-0.2, 0.4, 1.0], [0.1, 0.1, -3.0]]
OPTIMIZERS = pytest.mark.parametrize("name", Optimizer.members())


# Keras 3.15.1 on TensorFlow 2.21.0, float64 variables, learning rate 0.1. Keras keeps the
# constants in float32, hence the tolerance.
@pytest.mark.parametrize(
    ("optimizer", "expected"),
    [
        (SGD(), [0.98, -2.04, 0.5]),
        (SGD(momentum=0.9), [0.9467000015258789, -2.0588999997138977, 0.06800001573562608]),
        (
            SGD(momentum=0.9, nesterov=True),
            [0.932030002644062, -2.093009998338222, 0.1112000244617457],
        ),
        (RMSprop(0.9, 1e-7), [0.7738834162098367, -2.0700223814320293, 0.2980422847195344]),
        (Adam(), [0.8576981461734636, -2.0130450062635026, 0.31498097814237624]),
        (
            AdamW(weight_decay=0.01),
            [0.854915495634446, -2.0071949524936534, 0.3137755936330644],
        ),
    ],
    ids=repr,
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_three_steps_equal_those_of_keras(optimizer, expected, dtype):
    w = W.astype(dtype)
    state = optimizer.start(w)
    for gradient in GRADIENTS:
        optimizer.step(w, np.array(gradient, dtype), 0.1, state)
    assert w.dtype == dtype
    assert state.t == 3
    np.testing.assert_allclose(w, expected, rtol=1e-5)


@pytest.mark.parametrize("epsilon", [1e-8, 0.3])
def test_adam_follows_its_formula(epsilon):
    # Kingma and Ba (2015), the more efficient form at the end of section 2.
    optimizer, w, by_hand = Adam(0.8, 0.95, epsilon), W.copy(), W.copy()
    state, m, v = optimizer.start(w), np.zeros(3), np.zeros(3)
    for t, g in enumerate(np.array(GRADIENTS), 1):
        optimizer.step(w, g.copy(), 0.1, state)
        m, v = 0.8 * m + 0.2 * g, 0.95 * v + 0.05 * g**2
        by_hand -= 0.1 * np.sqrt(1 - 0.95**t) / (1 - 0.8**t) * m / (np.sqrt(v) + epsilon)
    np.testing.assert_allclose(w, by_hand, rtol=1e-13)


@OPTIMIZERS
@pytest.mark.parametrize("cut", [1, 7, 50])
def test_updating_in_blocks_gives_the_same_bits(name, cut):
    optimizer = Optimizer.named(name)
    rng = np.random.default_rng(0)
    whole = rng.normal(size=100)
    blocks = whole.copy()
    state, other = optimizer.start(whole), optimizer.start(blocks)
    for t in range(1, 5):
        gradient = rng.normal(size=100)
        copy = gradient.copy()
        optimizer.step(whole, gradient, 0.01, state)
        for place in (slice(0, cut), slice(cut, 100)):
            slots = [slot[place] for slot in other.slots]
            scratch = np.empty_like(blocks[place])
            optimizer.update(blocks[place], copy[place], slots, scratch, 0.01, t)
    np.testing.assert_array_equal(whole, blocks)


@pytest.mark.parametrize("power", [0.0, 3.0])
@pytest.mark.parametrize("inner", [SGD(0.9), Adam(), AdamW(), RMSprop()], ids=repr)
def test_averaged_equals_the_mean_computed_by_hand(inner, power):
    alone, mean = W.copy(), None
    averaged, w = Averaged(inner, power), W.copy()
    states = inner.start(alone), averaged.start(w)
    for t, gradient in enumerate(np.array(GRADIENTS * 5), 1):
        inner.step(alone, gradient.copy(), 0.1, states[0])
        averaged.step(w, gradient.copy(), 0.1, states[1])
        share = (1 + power) / (t + power)
        mean = alone.copy() if t == 1 else (1 - share) * mean + share * alone
    np.testing.assert_array_equal(w, alone)
    averaged.end_epoch(w, states[1])
    np.testing.assert_allclose(w, mean, rtol=1e-13)


def test_training_averages_all_steps_over_all_runs():
    X, y = np.random.default_rng(0).normal(size=(2, 40, 3))
    steps, networks = [], [Network([Dense(4), Tanh(), Dense(3)], 3, rng=1) for _ in range(4)]
    objectives = [Objective(network, SquaredError()) for network in networks]
    options = {"schedule": Constant(0.01), "batch_size": 10}

    class Recorded(Adam):
        def update(self, w, *others):
            super().update(w, *others)
            steps.append(w.copy())

    train(objectives[0], X, y, optimizer=Recorded(), max_epochs=6, rng=0, **options)
    train(objectives[1], X, y, optimizer=Averaged(), max_epochs=6, rng=0, **options)
    np.testing.assert_allclose(networks[1].params, np.mean(steps, axis=0), rtol=1e-12)
    # In pieces the bits are the same.
    state = None
    for _ in range(3):
        state = train(
            objectives[2], X, y, optimizer=Averaged(), max_epochs=2, rng=0, state=state, **options
        ).state
    np.testing.assert_array_equal(networks[2].params, networks[1].params)
    # Parameters that were assigned in between count, and the mean starts from them.
    networks[2].params[:] = 0.5
    train(objectives[2], X, y, optimizer=Averaged(), max_epochs=1, rng=0, state=state, **options)
    assert np.abs(networks[2].params - 0.5).max() < 0.1


def test_averaged_keeps_the_declarations_of_its_optimizer():
    w = W.copy()
    with pytest.raises(ValueError, match="made by Averaged"):
        Averaged(RMSprop()).check_state(Averaged(Adam()).start(w), w)
    Averaged(Adam(0.8)).check_state(Averaged(Adam()).start(w), w)
    with pytest.raises(ValueError, match="must be an Optimizer"):
        Averaged("adam")


@OPTIMIZERS
def test_a_quadratic_decreases(name):
    optimizer, w = Optimizer.named(name), W.copy()
    state = optimizer.start(w)
    for _ in range(300):
        optimizer.step(w, 2 * w, 0.02, state)
    assert (w**2).sum() < 0.01


@pytest.mark.parametrize("optimizer", [SGD(0.9), RMSprop(), Adam(), AdamW()], ids=repr)
def test_slots_never_become_denormal(optimizer):
    w = np.ones(4, np.float32)
    state = optimizer.start(w)
    optimizer.step(w, np.full(4, 1e-3, np.float32), 1e-3, state)
    for _ in range(20 * FLUSH_EVERY):
        optimizer.step(w, np.zeros(4, np.float32), 1e-3, state)
        for slot in state.slots:
            assert (np.abs(slot[slot != 0]) >= np.finfo(np.float32).tiny).all()
