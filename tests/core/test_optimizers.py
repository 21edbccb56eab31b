from dataclasses import replace

import numpy as np
import pytest

from skscratch.core import (
    SGD,
    Adam,
    AdamW,
    Averaged,
    Constant,
    Dense,
    LayerNorm,
    Muon,
    Network,
    Objective,
    Optimizer,
    RMSprop,
    Role,
    SquaredError,
    Tanh,
    train,
)
from skscratch.core.interrupts import Interrupts
from skscratch.core.optimizers import FLUSH_EVERY, orthogonalise

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
    averaged.swap(w, states[1])
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
    # From parameters that were assigned in between, the optimizer starts again.
    for network in networks[2:]:
        network.params[:] = 0.5
    options |= {"optimizer": Averaged(), "max_epochs": 2, "shuffle": False}
    train(objectives[2], X, y, state=state, **options)
    train(objectives[3], X, y, rng=0, **options)
    np.testing.assert_array_equal(networks[2].params, networks[3].params)


def test_averaged_keeps_the_declarations_of_its_optimizer():
    w = W.copy()
    with pytest.raises(ValueError, match="made by Averaged"):
        Averaged(RMSprop()).check_state(Averaged(Adam()).start(w), w)
    Averaged(Adam(0.8)).check_state(Averaged(Adam()).start(w), w)
    with pytest.raises(ValueError, match="must be an Optimizer"):
        Averaged("adam")
    with pytest.raises(ValueError, match="cannot average"):
        Averaged(Averaged())


def test_averaged_starts_as_its_optimizer_does():
    class FromOnes(SGD):
        n_slots = 1

        def slots_used(self):
            return 1

        def start(self, params):
            state = super().start(params)
            state.slots[0][:] = 1
            return state

        def update(self, w, g, slots, scratch, lr, t):
            w -= lr * slots[0] * g

    w = W.copy()
    state = Averaged(FromOnes()).start(w)
    Averaged(FromOnes()).step(w, np.ones(3), 0.5, state)
    np.testing.assert_array_equal(w, W - 0.5)


@pytest.mark.parametrize("batch_size", [10, 40])
def test_ctrl_c_leaves_the_mean_of_the_steps(batch_size):
    X, y = np.random.default_rng(0).normal(size=(2, 40, 3))
    options = {"optimizer": Averaged(SGD()), "schedule": Constant(0.1), "batch_size": batch_size}
    whole, stopped = (Network([Dense(3)], 3, rng=1) for _ in range(2))
    train(Objective(whole, SquaredError()), X, y, max_epochs=4, rng=0, **options)
    interrupts = Interrupts()

    def press(run):
        interrupts.requested = run.n_epochs == 4

    goal = Objective(stopped, SquaredError())
    run = train(goal, X, y, max_epochs=9, rng=0, on_epoch=press, interrupts=interrupts, **options)
    assert (run.stopped, run.n_epochs) == ("interrupted", 4)
    np.testing.assert_array_equal(stopped.params, whole.params)
    # The optimizer starts again, from the mean.
    state = run.state
    before = stopped.params.copy()
    interrupts.requested = True
    train(goal, X, y, max_epochs=1, state=state, interrupts=interrupts, **options)
    np.testing.assert_array_equal(stopped.params, before)


# Keras 3.15.1 on TensorFlow 2.21.0, float64: Muon(0.1, weight_decay=0.1, rms_rate=None,
# momentum=0.9), which scales by nothing; the third gradient has the entries cos(3 k), and so on.
@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        (
            (3, 2),
            [
                [0.05013059045119396, 0.4709808593335295],
                [0.7631803097313723, 1.0349389133834375],
                [1.301573598796597, 1.5681514671415695],
            ],
        ),
        (
            (2, 4),
            [
                [0.05052535521186809, 0.4553138939015038, 0.7679716242704466, 1.01944637488152],
                [1.2595875945807526, 1.4823942358997138, 1.4816800449873984, 1.8780666380362603],
            ],
        ),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_three_steps_of_muon_are_those_of_keras(shape, expected, dtype):
    n = np.prod(shape)
    scale = max(1.0, shape[1] / shape[0]) ** 0.5
    muon = Muon(momentum=0.9, rate=1 / scale, weight_decay=0.1 * scale)
    W = np.arange(1, 1 + n, dtype=dtype).reshape(shape) / 4
    M, scratch = np.zeros_like(W), np.full(muon.matrix_scratch(shape), np.nan, dtype)
    for t in (1, 2, 3):
        G = np.cos(np.arange(n) * float(t)).reshape(shape).astype(dtype)
        muon.update_matrix(W, G, [M, M], scratch, np.array(0.1, dtype), t)
    assert W.dtype == dtype
    np.testing.assert_allclose(W, expected, rtol=1e-5)


@pytest.mark.parametrize("shape", [(30, 5), (5, 30), (12, 12)])
def test_an_orthogonalised_matrix_has_singular_values_near_1(shape):
    X = np.random.default_rng(0).normal(size=shape)
    U, values, Vt = np.linalg.svd(X, full_matrices=False)
    orthogonalise(X, np.full(2 * X.size + 2 * min(shape) ** 2, np.nan))
    # The same singular vectors; the iteration leaves values between 0.7 and 1.2, where they were
    # not tiny.
    inner = U.T @ X @ Vt.T
    np.testing.assert_allclose(inner, np.diag(np.diag(inner)), atol=1e-10)
    large = values > 0.05 * np.linalg.norm(values)
    assert ((np.diag(inner)[large] > 0.6) & (np.diag(inner)[large] < 1.25)).all()


def test_muon_takes_hidden_matrices_whole_and_leaves_all_else_to_adamw():
    taken = []

    class Recorded(Muon):
        def update_matrix(self, W, *others):
            taken.append(W.shape)
            super().update_matrix(W, *others)

    X, y = np.random.default_rng(0).normal(size=(2, 40, 6))
    layers = [Dense(8), LayerNorm(), Tanh(), Dense(5), Tanh(), Dense(6)]
    networks = [Network(layers, 6, rng=1) for _ in range(2)]
    options = {"schedule": Constant(1e-3), "batch_size": 40, "max_epochs": 1, "rng": 0}
    train(Objective(networks[0], SquaredError()), X, y, optimizer=Recorded(), **options)
    train(Objective(networks[1], SquaredError()), X, y, optimizer=AdamW(), **options)
    assert taken == [(6, 8), (8, 5)]
    for i, (mine, other) in enumerate(zip(*(net.views for net in networks), strict=True)):
        for name in vars(mine):
            same = np.array_equal(getattr(mine, name), getattr(other, name))
            assert same == (not (name == "W" and i < 5))


@pytest.mark.parametrize("optimizer", [Muon(), Averaged(Muon())], ids=repr)
@pytest.mark.parametrize("max_norm", [None, 0.1])
def test_threads_do_not_change_steps_on_matrices(optimizer, max_norm):
    X = np.random.default_rng(0).normal(size=(300, 40))
    found = []
    for n_threads in (1, 2, 3):
        network = Network([Dense(400), Tanh(), Dense(300), Tanh(), Dense(40)], 40, rng=1)
        train(
            Objective(network, SquaredError(), l2=0.1),
            X,
            X,
            optimizer=optimizer,
            schedule=Constant(1e-3),
            max_norm=max_norm,
            max_epochs=2,
            rng=0,
            n_threads=n_threads,
        )
        found.append(network.params)
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


def test_a_frozen_matrix_stays_and_tied_ones_are_one():
    class Frozen(Dense):
        def params(self, n_in):
            return tuple(replace(param, role=Role(rate=0.0)) for param in super().params(n_in))

    X = np.random.default_rng(0).normal(size=(50, 6))
    network = Network([Frozen(8), Tanh(), Dense(3), Tanh(), Dense(8), Tanh(), Dense(6)], 6, rng=1)
    tied = Network([Dense(8), Tanh(), Dense(6)], 6, rng=1, ties={2: 0})
    before = network.views[0].W.copy()
    for net in (network, tied):
        loss = train(
            Objective(net, SquaredError()), X, X, optimizer=Muon(), schedule=Constant(1e-3), rng=0
        ).losses
        assert loss[-1] < loss[0]
    np.testing.assert_array_equal(network.views[0].W, before)
    np.testing.assert_array_equal(tied.views[2].W, tied.views[0].W.T)
    assert [shape for _, shape, _ in tied.hidden_matrices] == [(6, 8)]


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
