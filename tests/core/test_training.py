import pickle
import threading
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from skscratch.core import (
    SGD,
    ActivityPenalty,
    Adam,
    AdamW,
    Adaptive,
    Constant,
    Contraction,
    Dense,
    DivergenceError,
    Dropout,
    GaussianNoise,
    KLPenalty,
    Layer,
    Loss,
    Network,
    Objective,
    Optimizer,
    Patience,
    PerturbedCopies,
    ReLU,
    Role,
    Schedule,
    Sigmoid,
    SquaredError,
    Tanh,
    Variational,
    train,
    training,
)
from skscratch.core.evaluate import BLOCK_ROWS, Evaluator, evaluate
from skscratch.core.objective import Evaluation
from skscratch.core.rows import ArrayRows
from skscratch.core.update import Step
from skscratch.core.workers import Workers, shards
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
)

# A network whose batches are cut into shards, and whose update is shared between threads.
LARGE = [Dense(360), ReLU(), Dropout(0.2), Dense(380), Tanh(), Dense(N_OUT)]


def fit(loss="squared_error", *, seed=0, layers=None, dtype=np.float32, n=200, **options):
    """Train for a few epochs; return the bytes of the parameters, and the losses."""
    net = network(*(layers or [Dense(20), ReLU(), Dropout(0.2), Dense(N_OUT)]), dtype=dtype)
    options = {"batch_size": 64, "max_epochs": 4, "optimizer": Adam(), "rng": seed} | options
    run = train(
        objective(net, loss), rows(n, dtype=dtype), target_for(loss, n, dtype=dtype), **options
    )
    return net.params.copy(), run


def same(a, b):
    np.testing.assert_array_equal(a[0], b[0])
    assert a[1].losses == b[1].losses


# Determinism


@pytest.mark.parametrize("loss", Loss.members())
def test_threads_do_not_change_a_bit(loss):
    weight = np.arange(200) % 5
    one = fit(loss, layers=LARGE, n_threads=1, weight=weight)
    assert len(shards(64, one[0].size)) > 1
    for n_threads in (2, 3):
        same(one, fit(loss, layers=LARGE, n_threads=n_threads, weight=weight))


# Cut into shards, but with an update that one thread takes, while the other one takes rows.
MEDIUM = [Dense(265), ReLU(), Dropout(0.2), Dense(265), Tanh(), Dense(N_OUT)]


@pytest.mark.parametrize("weight", [None, np.arange(200) // 64 % 2])
def test_rows_that_are_taken_ahead_do_not_change_a_bit(weight, monkeypatch):
    ahead, real = [], Workers.run_ahead

    def run_ahead(workers, job):
        ahead.append(workers.n_threads)
        real(workers, job)

    monkeypatch.setattr(Workers, "run_ahead", run_ahead)
    one = fit(layers=MEDIUM, n_threads=1, weight=weight)
    assert ahead == []
    for n_threads in (2, 3):
        same(one, fit(layers=MEDIUM, n_threads=n_threads, weight=weight))
    # Three batches of an epoch follow another one; the last one is a single shard.
    assert ahead == [2] * 2 * 4 + [3] * 2 * 4


def test_an_error_of_rows_that_are_taken_ahead_is_raised():
    class Breaks(ArrayRows):
        def take(self, chosen, out):
            if threading.current_thread() is not threading.main_thread() and len(taken) > 1:
                raise OSError("the disk is gone")
            taken.append(len(chosen))
            return super().take(chosen, out)

    taken: list[int] = []
    net = network(*MEDIUM, dtype=np.float32)
    X = Breaks(rows(200, dtype=np.float32))
    with pytest.raises(OSError, match="the disk is gone"):
        train(
            objective(net), X, target_for("squared_error", 200), batch_size=64, rng=0, n_threads=2
        )


@pytest.mark.parametrize("name", KEEPS_WIDTH)
def test_threads_do_not_change_a_bit_of_any_layer(name):
    layers = [Layer.named(name), Dense(360), Layer.named(name), Dense(380), Dense(N_OUT)]
    same(fit(layers=layers, n_threads=1), fit(layers=layers, n_threads=2))


@pytest.mark.parametrize("name", PLACED | AT_THE_START)
def test_threads_do_not_change_a_bit_of_restricted_layers(name):
    layers = [*(PLACED | AT_THE_START)[name], Dense(360), Tanh(), Dense(380), Dense(N_OUT)]
    same(fit(layers=layers, n_threads=1), fit(layers=layers, n_threads=2))


@pytest.mark.parametrize("name", Optimizer.members())
def test_threads_do_not_change_a_bit_of_any_optimizer(name):
    optimizer = Optimizer.named(name)
    options = {"layers": LARGE, "optimizer": optimizer}
    same(fit(n_threads=1, **options), fit(n_threads=2, **options))


def test_shards_longer_than_a_block_of_rows_are_added_up():
    net = network(Dense(60), Tanh(), Dense(N_OUT))
    goal, n = objective(net, l2=0.2), 10_000
    X, y = rows(n), target_for("squared_error", n)
    assert max(part.stop - part.start for part in shards(n, net.n_params)) > BLOCK_ROWS
    ws = net.workspace(n, train=True)
    value = goal.value_and_grad(X, y, ws)
    with Workers(2) as workers:
        result = Evaluator(goal, ArrayRows(X), ArrayRows(y), None, n, workers)(slice(0, n), n)
        np.testing.assert_allclose(result.value, value, rtol=1e-12)
        np.testing.assert_allclose(goal.gradient(result), ws.grad, atol=1e-12)


RANDOM = {"dropout", "masking", "gaussian", "salt_and_pepper", "variational", "perturbed_copies"}


def cut_everywhere(goal, X, y, weight):
    """Return value and gradient of the loss, computed in several numbers of pieces."""
    total = goal.total(len(X), weight)
    for n_pieces in (1, 2, 5, 8):
        value, grad = 0.0, np.zeros(goal.network.n_params)
        for piece in np.array_split(np.arange(len(X)), n_pieces):
            ws = goal.network.workspace(len(piece), train=True)
            value += goal.data_term(X[piece], y[piece], ws, weight[piece], total)
            grad += ws.grad
        yield value, grad


@pytest.mark.parametrize("loss", Loss.members())
def test_cutting_a_batch_does_not_change_a_loss(loss):
    net = network(Dense(6), Tanh(), Dense(N_OUT))
    weight = np.arange(40)[:, np.newaxis] % 3.0
    first, *others = cut_everywhere(objective(net, loss), rows(40), target_for(loss, 40), weight)
    for value, grad in others:
        np.testing.assert_allclose(value, first[0], rtol=1e-12)
        np.testing.assert_allclose(grad, first[1], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", [name for name in KEEPS_WIDTH if name not in RANDOM])
def test_cutting_a_batch_does_not_change_a_layer_unless_it_needs_the_whole_batch(name):
    layer = Layer.named(name)
    net = network(dense(6), Sigmoid(), layer, dense(N_OUT))
    weight = np.arange(40)[:, np.newaxis] % 3.0
    y = target_for("squared_error", 40)
    first, *others = cut_everywhere(objective(net), rows(40), y, weight)
    same = all(
        np.isclose(value, first[0], rtol=1e-12)
        and np.allclose(grad, first[1], rtol=1e-12, atol=1e-12)
        for value, grad in others
    )
    assert same is not layer.whole_batch


@pytest.mark.parametrize("n", [50, 3000])
@pytest.mark.parametrize("n_threads", [1, 2])
def test_a_penalty_on_the_mean_activity_uses_the_whole_batch(n, n_threads):
    net = network(dense(400), Sigmoid(), KLPenalty(0.3, 0.1), dense(N_OUT))
    X, y, weight = rows(n), target_for("squared_error", n), np.arange(n) % 4.0
    with Workers(n_threads) as workers:
        result = Evaluator(objective(net), X, y, weight, n, workers)(slice(0, n), n)
    a = np.average(1 / (1 + np.exp(-(X @ net.views[0].W + net.views[0].b))), 0, weight)
    divergence = 0.1 * np.log(0.1 / a) + 0.9 * np.log(0.9 / (1 - a))
    errors = ((net(X) - y) ** 2).sum(axis=1)
    expected = np.average(errors, weights=weight) + 0.3 * divergence.sum()
    np.testing.assert_allclose(result.value, expected, rtol=1e-10)


class TwoRates(Dense):
    """Dense with other roles for its parameters."""

    rate: float = 1.0

    def params(self, n_in):
        W, b = super().params(n_in)
        role = Role(penalised=True, rate=self.rate)
        return replace(W, role=role), b


@pytest.mark.parametrize("optimizer", [SGD(0.9), Adam(), AdamW()], ids=repr)
def test_a_role_scales_the_learning_rate_of_its_parameters(optimizer):
    def trained(rate, lr):
        net = network(Dense(4), Tanh(), TwoRates(N_OUT, rate=rate))
        before = net.copy()
        train(
            objective(net), rows(40), target_for("squared_error", 40), optimizer=optimizer,
            schedule=Constant(lr), batch_size=40, max_epochs=1, rng=0,
        )  # fmt: skip
        return before, net

    before, frozen = trained(0.0, 0.01)
    _, half = trained(0.5, 0.01)
    _, all_of_half = trained(1.0, 0.005)
    _, whole = trained(1.0, 0.01)
    assert_same_bits = np.testing.assert_array_equal
    assert_same_bits(frozen.views[2].W, before.views[2].W)
    assert_same_bits(half.views[2].W, all_of_half.views[2].W)
    for net in (frozen, half):
        assert_same_bits(net.views[0].W, whole.views[0].W)
        assert_same_bits(net.views[2].b, whole.views[2].b)


def test_frozen_parameters_do_not_count_in_the_norm_of_the_gradient():
    net = network(Dense(4), Tanh(), TwoRates(N_OUT, rate=0.0))
    X, y, ws = rows(), target_for("squared_error"), net.workspace(7, train=True)
    objective(net).value_and_grad(X, y, ws)
    trained = [ws.grad_views[0].W, ws.grad_views[0].b, ws.grad_views[2].b]
    expected = np.sqrt(sum((part**2).sum() for part in trained))
    run = train(objective(net), X, y, batch_size=7, max_epochs=1, max_norm=1e-3, optimizer=SGD())
    np.testing.assert_allclose(run.norms, [expected], rtol=1e-12)


@pytest.mark.parametrize("n_threads", [1, 2])
def test_only_weights_decay(n_threads):
    net = network(Dense(400), Tanh(), Dense(400), Dense(N_OUT))
    for view in net.views:
        if hasattr(view, "b"):
            view.b[:] = 1
    before = net.copy()
    with Workers(n_threads) as workers:
        optimizer = AdamW(weight_decay=0.1)
        state = optimizer.start(net.params)
        step = Step(objective(net), optimizer, state, workers)
        nothing = Evaluation(0.0, 9.0, [np.zeros_like(net.params)])
        step(nothing, 0.5)
    np.testing.assert_allclose(net.weights, before.weights * 0.95, rtol=1e-12)
    np.testing.assert_array_equal(net.params[net.n_weights :], before.params[net.n_weights :])


def test_equal_seeds_give_the_same_bits_and_other_seeds_do_not():
    same(fit(seed=1), fit(seed=1))
    assert not np.array_equal(fit(seed=1)[0], fit(seed=2)[0])


@pytest.mark.parametrize(
    "optimizer", [SGD(), SGD(0.9, True), *map(Optimizer.named, Optimizer.members())], ids=repr
)
@pytest.mark.parametrize("schedule", Schedule.members())
def test_k_runs_of_one_epoch_equal_one_run_of_k_epochs(optimizer, schedule):
    schedule = Schedule.named(schedule, initial=0.01)
    whole = fit(optimizer=optimizer, schedule=schedule, patience=Patience(0.05, 1))

    net = network(Dense(20), ReLU(), Dropout(0.2), Dense(N_OUT), dtype=np.float32)
    target = objective(net)
    X, y = rows(200, dtype=np.float32), target_for("squared_error", 200, dtype=np.float32)
    state = training.start(target, optimizer, 0)
    state.clock.n_steps = 4 * 4
    losses = []
    for _ in range(whole[1].n_epochs):
        # Interrupted, stored and resumed.
        state = pickle.loads(pickle.dumps(state))
        run = train(
            target,
            X,
            y,
            optimizer=optimizer,
            schedule=schedule,
            batch_size=64,
            max_epochs=1,
            patience=Patience(0.05, 1),
            state=state,
        )
        losses += run.losses
    np.testing.assert_array_equal(net.params, whole[0])
    assert losses == whole[1].losses


# Weights


def test_integer_weights_equal_repeated_rows():
    weight = np.arange(60) % 4
    again = np.repeat(np.arange(60), weight)

    def params(X, y, weight):
        net = network(Dense(6), Tanh(), Dense(N_OUT))
        train(
            objective(net, l2=0.1), X, y, weight=weight, batch_size=1000, max_epochs=30, rng=0,
            optimizer=Adam(), schedule=Constant(0.01),
        )  # fmt: skip
        return net.params

    X, y = rows(60), target_for("squared_error", 60)
    np.testing.assert_allclose(params(X, y, weight), params(X[again], y[again], None), atol=1e-9)


def test_a_batch_of_weight_0_changes_nothing():
    def trained(X, y, weight):
        net = network(Dense(N_OUT))
        options = {"batch_size": 5, "shuffle": False, "max_epochs": 3, "optimizer": Adam()}
        run = train(objective(net, l2=0.1), X, y, weight=weight, **options)
        return net.params, run.state.optimizer.t

    X, y = rows(12), target_for("squared_error", 12)
    some, n_steps = trained(X, y, np.r_[np.zeros(5), np.ones(5), np.zeros(2)])
    alone, _ = trained(X[5:10], y[5:10], None)
    assert n_steps == 3
    np.testing.assert_array_equal(some, alone)


# Memory and dtype of a step


PLAIN = [GaussianNoise(), dense(256), ReLU(), Dropout(0.1), dense(64), Sigmoid()]
REGULARISED = [
    *[PerturbedCopies(), dense(256), ReLU(), dense(256), Contraction(), Variational(), Sigmoid()],
    *[KLPenalty(), ActivityPenalty(), dense(64)],
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("layers", [PLAIN, REGULARISED], ids=["plain", "regularised"])
@pytest.mark.parametrize("optimizer", Optimizer.members())
def test_a_step_allocates_nothing_of_the_size_of_batch_or_parameters(dtype, layers, optimizer):
    net = Network(layers, 64, dtype)
    X = rows(2048, 64, dtype=dtype)
    peaks = []

    def before_epoch():
        tracemalloc.reset_peak()
        peaks.append(-tracemalloc.get_traced_memory()[0])

    def on_epoch(run):
        peaks[-1] += tracemalloc.get_traced_memory()[1]

    tracemalloc.start()
    try:
        train(
            Objective(net, SquaredError(), l2=0.1),
            X,
            X,
            optimizer=Optimizer.named(optimizer),
            schedule=Constant(1e-4),
            batch_size=1024,
            max_epochs=3,
            weight=np.ones(2048),
            rng=0,
            before_epoch=before_epoch,
            on_epoch=on_epoch,
        )
    finally:
        tracemalloc.stop()
    # Buffers are allocated in the first epoch. Each epoch draws the order of the rows (8 bytes a
    # row). To cast booleans or to gather strided columns, NumPy allocates up to two buffers of 8192
    # entries.
    allowed = 2048 * 8 + 2 * 8192 * (X.itemsize + 1)
    assert max(peaks[1:]) < allowed < min(1024 * 64 * X.itemsize, net.params.nbytes)


def test_a_float32_step_computes_in_float32():
    everything = [layer for placed in PLACED.values() for layer in placed]
    everything += map(Layer.named, KEEPS_WIDTH)
    net = Network([dense(8), *everything, dense(N_OUT)], 5, np.float32)
    for loss in Loss.members():
        target = objective(net, loss, l2=0.1)
        X, y = rows(dtype=np.float32), target_for(loss, dtype=np.float32)
        ws = net.workspace(7, train=True, rng=np.random.default_rng(0))
        target.value_and_grad(X, y, ws, np.ones((7, 1), np.float32))
        assert {array.dtype for array in ws._pool.values()} == {np.dtype(np.float32)}
        assert ws.grad.dtype == np.float32


# Memory orders and dtypes of the data


def test_any_memory_order_and_dtype_gives_the_same_rows():
    X = (rows(40) * 10).astype(np.uint8)
    expected = X.astype(np.float32)[[3, 1, 38]]
    read_only = X.astype(np.float32)
    read_only.flags.writeable = False
    for data in (X, np.asfortranarray(X, np.float32), read_only, X.astype(float)[:, :]):
        out = np.empty((3, 5), np.float32)
        got = ArrayRows(data).take(np.array([3, 1, 38]), out)
        np.testing.assert_array_equal(got, expected)
        assert got.dtype == np.float32
        assert ArrayRows(data).take(slice(1, 3), out[:2]).dtype == np.float32


def test_slices_are_views_if_dtype_and_order_match():
    X = rows(40)
    assert np.shares_memory(ArrayRows(X).take(slice(2, 9), np.empty((7, 5))), X)


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (rows(5), target_for("squared_error", 6), "X has 5 rows, target 6"),
        (rows(5, 4), target_for("squared_error", 5), r"X must have shape \(n, 5\)"),
        (rows(5), rows(5, 2), r"target must have shape \(n, 3\)"),
        (rows(0), rows(0, 3), "X has 0 rows"),
    ],
)
def test_data_of_inconsistent_shapes(X, y, message):
    with pytest.raises(ValueError, match=message):
        train(objective(network(Dense(N_OUT))), X, y)


# Early stopping, best parameters, divergence


def test_the_return_value_reports_why_training_stopped():
    assert fit(patience=Patience(1e9, 1), max_epochs=50)[1].n_epochs == 3
    assert fit(patience=Patience(1e9, 1), max_epochs=50)[1].stopped == "patience"
    assert fit(patience=Patience(1e9, np.inf))[1].stopped is None


def test_adaptive_lowers_the_rate_before_it_stops():
    run = fit(patience=Patience(1e9, 1), schedule=Adaptive(1e-3), max_epochs=200)[1]
    assert run.stopped == "patience"
    assert run.state.clock.plateaus == 5


def test_on_epoch_stops():
    seen = []
    run = fit(on_epoch=lambda run: seen.append(run.n_epochs) or run.n_epochs == 2, max_epochs=9)[1]
    assert seen == [1, 2]
    assert run.stopped == "on_epoch"


def test_the_best_parameters_are_kept():
    scores, kept = iter([0.1, 0.9, 0.5]), []
    net = network(Dense(N_OUT))

    def validate():
        kept.append(net.params.copy())
        return next(scores)

    run = train(
        objective(net),
        rows(),
        target_for("squared_error"),
        validate=validate,
        keep_best=True,
        max_epochs=3,
    )
    assert run.scores == [0.1, 0.9, 0.5]
    np.testing.assert_array_equal(net.params, kept[1])


@pytest.mark.parametrize("rate", [1e3, 1e30])
def test_divergence_names_the_epoch(rate):
    with pytest.raises(DivergenceError, match=r"diverged in epoch \d+"):
        fit(optimizer=SGD(), schedule=Constant(rate), max_epochs=200)


def test_the_loss_falls_for_every_optimizer():
    for name in Optimizer.members():
        run = fit(optimizer=Optimizer.named(name), schedule=Constant(3e-3), max_epochs=30)[1]
        assert run.losses[-1] < run.losses[0]


def test_the_reported_loss_is_the_loss_that_is_minimised():
    net = network(Dense(N_OUT))
    goal = objective(net, l2=0.5, scale=0.3)
    ws = net.workspace(7, train=True)
    expected = goal.value_and_grad(rows(), target_for("squared_error"), ws)
    run = train(goal, rows(), target_for("squared_error"), batch_size=7, max_epochs=1)
    np.testing.assert_allclose(run.losses, [expected], rtol=1e-12)


@pytest.mark.parametrize("max_norm", [None, 0.01])
def test_threads_share_the_parameters_without_changing_a_bit(max_norm, monkeypatch):
    sizes = {}
    gradient = Objective.gradient

    def recorded(self, evaluation, where, scratch):
        sizes.setdefault(threading.get_ident(), set()).add(where.stop - where.start)
        return gradient(self, evaluation, where, scratch)

    monkeypatch.setattr(Objective, "gradient", recorded)
    one = fit(layers=LARGE, n_threads=1, max_norm=max_norm)
    sizes.clear()
    same(one, fit(layers=LARGE, n_threads=3, max_norm=max_norm))
    assert len(sizes) == 3
    # All blocks but the last have the same length.
    assert len(set.union(*sizes.values())) <= 2


@pytest.mark.parametrize("norm", [0.01, 0.1, 1e6])
def test_a_gradient_longer_than_max_norm_is_shortened_to_it(norm):
    net, X, y = network(Dense(N_OUT)), rows(), target_for("squared_error")
    goal, before, ws = objective(net), net.params.copy(), net.workspace(len(X), train=True)
    goal.value_and_grad(X, y, ws)
    length = np.linalg.norm(ws.grad)
    train(
        goal, X, y, batch_size=len(X), max_epochs=1, max_norm=norm, optimizer=SGD(),
        schedule=Constant(0.5),
    )  # fmt: skip
    expected = before - 0.5 * ws.grad * min(1, norm / length)
    np.testing.assert_allclose(net.params, expected, rtol=1e-12)


@pytest.mark.parametrize("n_threads", [1, 2])
def test_evaluate_is_the_mean_loss(n_threads):
    net, weight = network(Dense(N_OUT), Sigmoid()), np.arange(50) % 3
    X, y = rows(50), target_for("squared_error", 50)
    expected = np.average(((net(X) - y) ** 2).sum(axis=1), weights=weight)
    value = evaluate(objective(net, l2=1.0), X, y, weight, n_threads, block_rows=16)
    np.testing.assert_allclose(value, expected, rtol=1e-12)


def test_full_gradient_is_that_of_the_objective():
    net = network(Dense(6), Tanh(), Dense(N_OUT))
    goal = objective(net, "binary_log_loss", l2=0.2)
    X, y = rows(30), target_for("binary_log_loss", 30)
    ws = net.workspace(30, train=True)
    value = goal.value_and_grad(X, y, ws)
    with Workers(2) as workers:
        result = Evaluator(goal, ArrayRows(X), ArrayRows(y), None, 30, workers)(slice(0, 30), 30)
        np.testing.assert_allclose(result.value, value, rtol=1e-12)
        np.testing.assert_allclose(goal.gradient(result), ws.grad, atol=1e-14)


# Inconsistent arguments


def test_a_gradient_needs_a_workspace_for_training():
    net = network(Dense(N_OUT))
    goal, y = objective(net), target_for("squared_error")
    other = network(Dense(N_OUT))
    for ws in (net.workspace(7), other.workspace(7, train=True)):
        with pytest.raises(ValueError, match="workspace for training this network"):
            goal.value_and_grad(rows(), y, ws)


@pytest.mark.parametrize(
    ("name", "X", "y", "weight"),
    [
        ("target", rows(), np.ones(N_OUT), None),
        ("target", rows(), np.ones((1, N_OUT)), None),
        ("target", rows(), np.ones((7, 1)), None),
        ("X", rows(7, 4), np.ones((7, N_OUT)), None),
        ("weight", rows(), np.ones((7, N_OUT)), np.ones(7)),
        ("weight", rows(), np.ones((7, N_OUT)), np.ones((7, 2))),
    ],
)
def test_shapes_that_would_be_broadcast_are_refused(name, X, y, weight):
    net = network(Dense(N_OUT))
    with pytest.raises(ValueError, match=rf"^{name} must have shape \(7, "):
        objective(net).value_and_grad(X, y, net.workspace(7, train=True), weight)


def test_a_value_without_gradient_needs_targets_of_the_right_shape_too():
    net = network(Dense(N_OUT))
    with pytest.raises(ValueError, match=r"target must have shape \(7, 3\), got \(3,\)"):
        objective(net).value(rows(), np.ones(N_OUT), net.workspace(7), None, 7.0)


@pytest.mark.parametrize(
    "weight", [np.ones((3, 6)), np.ones(6), np.full(7, -1.0), np.full(7, np.nan)], ids=str
)
def test_weights_of_another_number_of_rows_or_below_0_are_refused(weight):
    goal, y = objective(network(Dense(N_OUT))), target_for("squared_error")
    for call in (train, evaluate):
        with pytest.raises(ValueError, match="weight must be at least 0 and have 7 rows"):
            call(goal, rows(), y, weight=weight)


@pytest.mark.parametrize("call", ["value_and_grad", "train", "evaluate"])
def test_targets_outside_the_range_of_the_loss_are_refused(call):
    net = network(Dense(N_OUT))
    goal, y = objective(net, "binary_log_loss"), np.full((7, N_OUT), 5.0)
    calls = {
        "value_and_grad": lambda: goal.value_and_grad(rows(), y, net.workspace(7, train=True)),
        "train": lambda: train(goal, rows(), y),
        "evaluate": lambda: evaluate(goal, rows(), y),
    }
    with pytest.raises(ValueError, match="targets from 0 to 1, but they range from 5 to 5"):
        calls[call]()


@pytest.mark.parametrize("l2", [0.0, 0.1])
def test_a_network_without_parameters_is_evaluated_and_trained(l2):
    net = network(Tanh(), n_in=N_OUT)
    X, y = rows(7, N_OUT), target_for("squared_error")
    goal = objective(net, l2=l2)
    expected = ((np.tanh(X) - y) ** 2).sum(axis=1).mean()
    value = goal.value_and_grad(X, y, net.workspace(7, train=True))
    np.testing.assert_allclose([value, evaluate(goal, X, y)], expected)
    for optimizer in Optimizer.members():
        run = train(goal, X, y, optimizer=Optimizer.named(optimizer), max_epochs=2, batch_size=7)
        np.testing.assert_allclose(run.losses, expected)


OTHER_STATES = [
    (SGD(), Adam()),
    (Adam(), SGD()),
    (SGD(0.9), SGD()),
    (Optimizer.named("rmsprop"), SGD(0.9)),
]


@pytest.mark.parametrize(("before", "after"), OTHER_STATES, ids=repr)
def test_a_state_of_another_optimizer_is_refused(before, after):
    state = fit(optimizer=before)[1].state
    with pytest.raises(ValueError, match="was made by .*Choose the same optimizer, or state=None"):
        fit(optimizer=after, state=state)


def test_a_state_of_another_network_is_refused():
    state = fit(optimizer=Adam(), layers=[Dense(N_OUT)])[1].state
    with pytest.raises(ValueError, match="belongs to other parameters"):
        fit(optimizer=Adam(), state=state)


def test_hyperparameters_may_change_between_runs():
    state = fit(optimizer=Adam())[1].state
    assert np.isfinite(fit(optimizer=Adam(0.5), state=state)[0]).all()


def test_patience_watches_the_score_or_the_loss():
    def run(monitor, **options):
        # Scores get worse in every epoch, losses better.
        scores = iter(range(0, -99, -1))
        patience = Patience(1e-9, 3, monitor)
        return fit(validate=lambda: next(scores), patience=patience, max_epochs=9, **options)[1]

    assert run("score").n_epochs == 5
    assert run("loss").n_epochs == 9
    assert run("loss").losses == fit(max_epochs=9)[1].losses
    assert run("loss", keep_best=True).state.best_score == 0


def test_a_score_of_nan_is_not_an_improvement():
    run = fit(validate=lambda: np.nan, patience=Patience(0.0, 2), max_epochs=9)[1]
    assert run.stopped == "patience"
    assert run.n_epochs == 3


def test_a_batch_whose_weight_is_too_small_to_divide_by_changes_nothing():
    def trained(X, y, weight):
        net = network(Dense(N_OUT))
        train(objective(net), X, y, weight=weight, batch_size=5, shuffle=False, max_epochs=3)
        return net.params

    X, y = rows(10), target_for("squared_error", 10)
    some = trained(X, y, np.r_[np.full(5, 1e-310), np.ones(5)])
    np.testing.assert_array_equal(some, trained(X[5:], y[5:], None))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("factor", [1e-300, 1e-46, 1e300])
def test_only_relative_weights_matter(dtype, factor):
    weight = np.arange(200) % 5
    one, scaled = (fit(weight=w, dtype=dtype) for w in (weight, weight * factor))
    np.testing.assert_allclose(one[0], scaled[0], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(one[1].losses, scaled[1].losses, rtol=1e-4)


def test_evaluation_in_blocks_of_any_size_has_the_same_bits_for_any_number_of_threads():
    net, X = network(Dense(N_OUT), Sigmoid()), rows(50)
    y = target_for("squared_error", 50)
    whole = evaluate(objective(net), X, y)
    for block_rows in (1, 7, 50, 1000):
        values = {
            evaluate(objective(net), X, y, n_threads=t, block_rows=block_rows) for t in (1, 2, 3)
        }
        assert len(values) == 1
        np.testing.assert_allclose(values.pop(), whole, rtol=1e-12)


@pytest.mark.parametrize("n_threads", [1, 2, 3])
@pytest.mark.parametrize(("batch_size", "width"), [(200, 480), (512, 1000), (384, 1000)])
def test_every_row_of_a_batch_of_any_size_is_read(batch_size, width, n_threads):
    net = Network([Dense(width), Tanh(), Dense(N_OUT)], 50, rng=0)
    goal = objective(net)
    X, target = rows(n=batch_size, width=50, seed=1), target_for("squared_error", n=batch_size)
    ws = net.workspace(batch_size, train=True)
    with Workers(n_threads) as workers:
        evaluator = Evaluator(goal, X, target, None, batch_size, workers)
        # A smaller batch may be cut into fewer and longer shards.
        for n in range(batch_size, 0, -7):
            result = evaluator(slice(0, n), n)
            value = goal.value_and_grad(X[:n], target[:n], ws)
            assert result.value == pytest.approx(value, rel=1e-12)
            gradient = goal.gradient(result)
            np.testing.assert_allclose(gradient, ws.grad, rtol=1e-9, atol=1e-12)
