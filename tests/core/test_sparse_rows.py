"""Sparse rows: the results of dense ones, at the cost of their entries."""

import tracemalloc

import numpy as np
import pytest
from scipy import sparse

from skscratch.core import (
    Adam,
    AppendConstant,
    Constant,
    Dense,
    Dropout,
    GaussianNoise,
    Layer,
    Loss,
    Network,
    Objective,
    Ones,
    Param,
    Tanh,
    check_layer,
    gradient_check,
    minimise_lbfgs,
    train,
)
from skscratch.core import evaluate as evaluation
from skscratch.core import objective as objectives
from skscratch.core.evaluate import Evaluator, evaluate
from skscratch.core.rows import RowSubset, SparseRows, add_transposed_product
from skscratch.core.workers import Workers, predict
from tests.core.common import N_IN, N_OUT, dense, network, objective, rows, target_for, weights

FORMS = [
    f"{form}_{kind}_{bits}"
    for form in ("csr", "csc", "coo")
    for kind in ("matrix", "array")
    for bits in (32, 64)
]


def thin(n=40, width=N_IN, seed=0, share=0.4):
    """Return dense rows, most entries 0, with an empty row and an empty column."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, width)) * (rng.random((n, width)) < share)
    X[1], X[:, 2] = 0, 0
    return X


def in_form(X, form):
    kind, bits = form.rsplit("_", 1)
    X = getattr(sparse, kind)(X)
    if X.format == "coo":
        row, column = (index.astype(f"i{int(bits) // 8}") for index in (X.row, X.col))
        return type(X)((X.data, (row, column)), X.shape)
    for name in ("indices", "indptr"):
        setattr(X, name, getattr(X, name).astype(f"i{int(bits) // 8}"))
    return X


def wide(n=300, n_in=50_000, per_row=10, seed=0):
    rng = np.random.default_rng(seed)
    places = np.repeat(np.arange(n), per_row), rng.integers(n_in, size=n * per_row)
    return sparse.csr_array((np.ones(n * per_row), places), (n, n_in))


def peak(call):
    """Return the largest number of bytes that a call holds at a time."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


# Products


@pytest.mark.parametrize("width", [1, 3])
@pytest.mark.parametrize("piece", [1, 4, 1 << 17])
def test_the_transposed_product_is_added_to_what_is_there(width, piece, monkeypatch):
    monkeypatch.setattr("skscratch.core.rows.PRODUCT_ENTRIES", piece)
    X, dy = thin(), rows(40, width)
    out = rows(N_IN, width, seed=1)
    expected = out + X.T @ dy
    add_transposed_product(sparse.csr_array(X), dy, out)
    np.testing.assert_allclose(out, expected, rtol=1e-12)


def test_the_transposed_product_leaves_other_rows_alone():
    out = np.full((N_IN, 2), np.nan)
    add_transposed_product(sparse.csr_array(thin()[:, [0, 0, 2, 2, 2]]), rows(40, 2), out)
    assert np.isnan(out).all()
    out[:] = 0
    add_transposed_product(sparse.csr_array((40, N_IN)), rows(40, 2), out)
    assert not out.any()


# Rows


@pytest.mark.parametrize("form", FORMS)
def test_rows_are_taken_from_any_format(form):
    X = thin()
    taken = SparseRows(in_form(X, form))
    chosen = np.array([7, 1, 7])
    subset = RowSubset(taken, np.arange(39, -1, -1))
    for source, index, expected in (
        (taken, slice(3, 9), X[3:9]),
        (taken, chosen, X[chosen]),
        (subset, slice(0, 2), X[:-3:-1]),
        (subset, chosen, X[::-1][chosen]),
    ):
        got = source.take_sparse(index, np.dtype(np.float32))
        assert got.dtype == np.float32
        np.testing.assert_array_equal(got.toarray(), expected.astype(np.float32))
        np.testing.assert_array_equal(source.take(index, np.full(got.shape, 9.0)), expected)
        assert source.n_stored(index) == np.count_nonzero(expected)


def test_a_slice_of_sparse_rows_is_a_view():
    X = sparse.csr_matrix(thin())
    taken = SparseRows(X).take_sparse(slice(2, 4), X.dtype)
    assert np.shares_memory(taken.data, X.data)


# Sparse and dense rows


@pytest.mark.parametrize("form", FORMS)
def test_loss_gradient_and_prediction_are_those_of_dense_rows(form):
    net, X = network(dense(4), Tanh(), dense(N_OUT)), thin()
    target, weight = rows(40, N_OUT), weights(40)[:, np.newaxis]
    goal, given = objective(net, l2=0.1), in_form(X, form)
    expected, got = net.workspace(40, train=True), net.workspace(40, train=True, sparse_rows=True)
    value = goal.value_and_grad(X, target, expected, weight)
    assert goal.value_and_grad(given, target, got, weight) == pytest.approx(value, rel=1e-12)
    np.testing.assert_allclose(got.grad, expected.grad, rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(net(given), net(X), rtol=1e-12)
    assert evaluate(goal, given, target) == pytest.approx(evaluate(goal, X, target), rel=1e-12)


@pytest.mark.parametrize("piece", [1, 3 * N_IN, 1 << 16])
@pytest.mark.parametrize("name", Loss.members())
def test_sparse_targets_are_made_dense_piece_by_piece(name, piece, monkeypatch):
    monkeypatch.setattr(objectives, "TARGET_ENTRIES", piece)
    target = target_for(name, 40, N_IN) * (np.random.default_rng(1).random((40, N_IN)) < 0.5)
    if Loss.named(name).targets == "one-hot":
        target = target_for(name, 40, N_IN)
    net = network(dense(3), dense(N_IN), seed=3)
    goal = objective(net, name)
    X, weight = thin(), np.arange(40.0 * N_IN).reshape(40, N_IN) % 4
    for w in (None, weights(40)[:, np.newaxis], weight):
        one, two = net.workspace(40, train=True), net.workspace(40, train=True)
        value = goal.value_and_grad(X, target, one, w)
        found = goal.value_and_grad(X, sparse.csr_array(target), two, w)
        assert found == pytest.approx(value, rel=1e-12)
        np.testing.assert_allclose(two.grad, one.grad, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("form", [*FORMS, "lil_array_32", "dok_array_32", "dia_array_32"])
def test_sparse_targets_out_of_range_are_refused_and_others_not_changed(form):
    net = network(dense(3), dense(N_IN), seed=3)
    goal, target = objective(net, "binary_log_loss"), np.abs(thin()).clip(0, 1)
    if form in FORMS:
        given = in_form(target, form)
    else:
        given = getattr(sparse, form.removesuffix("_32"))(target)
    outside = type(given)(5 * given)
    for call in (
        lambda t: train(goal, thin(), t, max_epochs=1),
        lambda t: train(goal, t, t, max_epochs=1),
        lambda t: evaluate(goal, thin(), t),
        lambda t: goal.value_and_grad(thin(), t, net.workspace(40, train=True)),
    ):
        call(given)
        with pytest.raises(ValueError, match="requires targets from 0 to 1"):
            call(outside)
    np.testing.assert_array_equal(given.toarray(), target)


def test_sparse_targets_are_never_dense_as_a_whole():
    n, width = 1000, 20_000
    target = sparse.random(n, width, 1e-4, format="csr", random_state=0)
    goal = objective(Network([Dense(2), Dense(width)], N_IN))
    X = rows(n, N_IN)
    # The raw outputs and their gradients have this size.
    size = 8 * n * width
    dense_target = peak(lambda: evaluate(goal, X, target.toarray()))
    assert peak(lambda: evaluate(goal, X, target)) < dense_target - 2 * size


def test_targets_with_duplicates_count_as_their_sums():
    net = network(dense(N_IN))
    # In each row, 0.9 - 0.1 · 5 in one column.
    places = np.repeat(np.arange(40), 6), np.full(240, 3)
    data = np.tile([0.9, *[-0.1] * 5], 40)
    target = sparse.csr_matrix((40, N_IN))
    target.data, target.indices = data, places[1].astype(np.int32)
    target.indptr = np.arange(0, 241, 6, dtype=np.int32)
    for array in (target.data, target.indices, target.indptr):
        array.setflags(write=False)
    assert not target.has_canonical_format
    goal = objective(net, "binary_log_loss")
    one, two = (net.workspace(40, train=True) for _ in range(2))
    value = goal.value_and_grad(thin(), target, one)
    assert value == pytest.approx(goal.value_and_grad(thin(), target.toarray(), two), rel=1e-12)
    train(goal, thin(), target, max_epochs=1)
    np.testing.assert_array_equal(target.data, data)
    target.data = 10 * data
    with pytest.raises(ValueError, match="range from 0 to 4"):
        evaluate(goal, thin(), target)


TIED = {
    "one": (lambda: network(dense(3), Tanh(), dense(N_IN), ties={2: 0}), 0),
    "two layers": (
        lambda: network(
            dense(4), Tanh(), dense(3), Tanh(), dense(4), dense(N_IN), ties={5: 0, 4: 2}
        ),
        1,
    ),
    "twice": (lambda: network(*map(dense, (3, N_IN, 3, N_IN)), ties={1: 0, 3: 0}), 2),
}


@pytest.mark.parametrize("name", TIED)
def test_tied_weights(name):
    make, n_separate = TIED[name]
    net, X = make(), thin(8)
    given = sparse.csr_array(X)
    assert gradient_check(objective(net), given, given) < 1e-7
    one, two = net.workspace(8, train=True), net.workspace(8, train=True, sparse_rows=True)
    for _ in range(2):
        value = objective(net).value_and_grad(X, X, one)
        assert objective(net).value_and_grad(given, given, two) == pytest.approx(value, rel=1e-12)
    np.testing.assert_allclose(two.grad, one.grad, rtol=1e-10, atol=1e-14)
    # A tied gradient of its own is as large as the weights.
    assert len(two.tied_gradients) == n_separate


BEFORE = {
    "nothing": [],
    "noise": [GaussianNoise(0.1)],
    "dropout": [Dropout(0.2)],
    "constant": [AppendConstant(2.0)],
}


@pytest.mark.parametrize("before", BEFORE.values(), ids=BEFORE)
@pytest.mark.parametrize("n_threads", [1, 3])
def test_training_is_that_of_dense_rows(before, n_threads):
    X, target = thin(), rows(40, N_OUT)
    nets = [network(*before, dense(4), Tanh(), dense(N_OUT)) for _ in range(2)]
    runs = [
        train(
            objective(net, l2=0.1), data, target, optimizer=Adam(), schedule=Constant(0.01),
            batch_size=16, max_epochs=3, rng=0, weight=weights(40), n_threads=n_threads,
        )
        for net, data in zip(nets, (X, sparse.csr_array(X)), strict=True)
    ]  # fmt: skip
    np.testing.assert_allclose(runs[0].losses, runs[1].losses, rtol=1e-12)
    np.testing.assert_allclose(nets[0].params, nets[1].params, rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("block", [1, 100])
def test_lbfgs_is_that_of_dense_rows(block, monkeypatch):
    monkeypatch.setattr(evaluation, "MIN_SPARSE_BLOCK_ROWS", block)
    monkeypatch.setattr(evaluation, "SPARSE_BLOCK_BYTES", 1)
    X, target = thin(), rows(40, N_OUT)
    nets = [network(dense(4), Tanh(), dense(N_OUT)) for _ in range(2)]
    for net, data in zip(nets, (X, sparse.csr_array(X)), strict=True):
        minimise_lbfgs(objective(net, l2=0.1), data, target, max_epochs=5)
    np.testing.assert_allclose(nets[0].params, nets[1].params, rtol=1e-6)


def test_a_sparse_workspace_needs_sparse_rows():
    net = network(dense(N_OUT))
    ws = net.workspace(40, train=True, sparse_rows=True)
    with pytest.raises(ValueError, match="X must be sparse"):
        objective(net).value_and_grad(thin(), rows(40, N_OUT), ws)
    # The other way round, rows are made dense.
    X, target = sparse.csr_array(thin()), rows(40, N_OUT)
    values = [
        objective(net).value_and_grad(X, target, net.workspace(40, train=True, sparse_rows=s))
        for s in (True, False)
    ]
    assert values[0] == pytest.approx(values[1], rel=1e-12)


# Layers


class Shifted(Layer):
    """y = x + b, which makes any row dense."""

    def params(self, n_in):
        return (Param("b", (n_in,), Ones()),)

    def forward(self, p, f):
        assert isinstance(f.x, np.ndarray)
        np.add(f.x, p.b, out=f.y)

    def backward(self, p, g, f):
        f.dy.sum(axis=0, out=g.b)
        if f.dx is not None:
            f.dx[...] = f.dy


class Overwrites(Shifted, sparse_rows=True):
    def forward(self, p, f):
        f.y[...] = f.x if isinstance(f.x, np.ndarray) else f.x.toarray()
        f.y += p.b


class Fails(Overwrites, sparse_rows=True):
    def forward(self, p, f):
        super().forward(p, f)
        if not isinstance(f.x, np.ndarray):
            f.y *= 2


def test_a_layer_that_declares_nothing_is_given_dense_rows():
    assert not Layer.sparse_rows
    check_layer(Shifted())


def test_a_layer_that_overrides_a_function_no_longer_declares_sparse_rows():
    class Other(Dense):
        def forward(self, p, f):
            super().forward(p, f)

    assert Dense.sparse_rows
    assert not Other.sparse_rows


@pytest.mark.parametrize(
    ("layer", "fault"),
    [
        (Fails(), "its loss differs between sparse and dense rows"),
        (Overwrites(), "backward does not add to g.b for sparse rows"),
    ],
)
def test_false_declarations_are_found(layer, fault):
    with pytest.raises(AssertionError, match=fault):
        check_layer(layer)


def test_layers_that_only_train_are_skipped_in_prediction():
    layers = [Dropout(0.5), GaussianNoise(), dense(4), Tanh(), dense(N_OUT)]
    net, X = network(*layers), thin()
    assert not net.takes_sparse(train=True)
    assert net.takes_sparse(train=False)
    plain = network(*layers[2:])
    plain.params[:] = net.params
    np.testing.assert_array_equal(net(X), plain(X))
    np.testing.assert_allclose(net(sparse.csr_array(X)), plain(X), rtol=1e-12)
    # Nothing else is left: the rows are copied.
    part = net.part(0, 2)
    np.testing.assert_array_equal(part(sparse.csr_array(X)), X)
    assert not np.shares_memory(part(X), X)


# Threads


def test_threads_change_no_bit():
    X = sparse.csr_array(thin(2000, 200, share=0.2))
    target = rows(2000, N_OUT)
    results = []
    for n_threads in (1, 2, 3):
        net = network(dense(50), Tanh(), dense(N_OUT), n_in=200)
        with Workers(1) as workers:
            evaluator = Evaluator(objective(net), X, target, None, 1000, workers)
        assert len(evaluator._cut(1000)) > 2
        train(objective(net), X, target, batch_size=1000, max_epochs=2, rng=0, n_threads=n_threads)
        out = np.empty((2000, N_OUT))
        predict(net, SparseRows(X), out.__setitem__, n_threads, 100)
        results.append((net.params.tobytes(), out.tobytes()))
    assert len(set(results)) == 1


# Cost


def test_few_entries_make_one_gradient():
    X = wide()
    net = Network([Dense(20), Tanh(), Dense(3)], X.shape[1])
    goal, target = objective(net), rows(300, 3)
    with Workers(4) as workers:
        one = Evaluator(goal, X, target, None, 200, workers)(slice(0, 200), 200)
        several = Evaluator(goal, X.toarray(), target, None, 200, workers)(slice(0, 200), 200)
    assert len(one.parts) == 1
    assert len(several.parts) > 1


COSTS = {
    "training": lambda goal, X, target: train(
        goal, X, target, optimizer=Adam(), schedule=Constant(0.01), max_epochs=1, n_threads=2
    ),
    "evaluation": lambda goal, X, target: evaluate(goal, X, target, n_threads=2),
    "gradient": lambda goal, X, target: goal.value_and_grad(
        X, target, goal.network.workspace(X.shape[0], train=True, sparse_rows=True)
    ),
    "prediction": lambda goal, X, target: goal.network(X),
    "prediction behind noise": lambda goal, X, target: Network(
        [GaussianNoise(), *goal.network.layers], X.shape[1], rng=None
    )(X),
}
# Sizes of the parameters that may be held at a time: in training the gradient, two moments of Adam
# and what the threads need for a step, in the last case the other network's own.
GRADIENTS = {"training": 4.5, "gradient": 1.5, "prediction behind noise": 1.5}


@pytest.mark.parametrize("name", COSTS)
def test_memory_is_that_of_the_parameters_and_entries(name):
    X = wide()
    goal = Objective(Network([Dense(8), Tanh(), Dense(3)], X.shape[1]), Loss.named("squared_error"))
    size = goal.network.params.nbytes
    X_dense = X.shape[0] * X.shape[1] * 8
    used = peak(lambda: COSTS[name](goal, X, rows(300, 3)))
    assert used < GRADIENTS.get(name, 0) * size + 3e6 < X_dense / 5
