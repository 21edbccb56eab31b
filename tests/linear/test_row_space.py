"""Rows of many features, which are solved in the space of the rows."""

import hashlib

import numpy as np
import pytest
import scipy.sparse
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.svm import LinearSVC

from skscratch import LinearSVM, linear
from skscratch.core.workers import Workers
from skscratch.linear import DualHinge, DualSquaredHinge, row_space
from skscratch.linear.products import Features

LOSSES = {"squared_hinge": DualSquaredHinge, "hinge": DualHinge}


def text(n_rows=150, n_words=2000, n_classes=3, dtype=np.float64, seed=0):
    """Return rows like those of TF-IDF: of length 1, with frequent, rare and unique words."""
    rng = np.random.default_rng(seed)
    y = rng.integers(n_classes, size=n_rows)
    words = rng.zipf(1.3, size=(n_rows, 40)) % (n_words - 100)
    own = n_words - 100 + y[:, None] * 15 + rng.integers(25, size=(n_rows, 3))
    columns = np.hstack([words, own])
    place = np.repeat(np.arange(n_rows), columns.shape[1]), columns.ravel()
    X = scipy.sparse.csr_array((np.ones(columns.size), place), (n_rows, n_words))
    X.data = 1 + np.log(X.data)
    X = X.multiply(1 / np.sqrt(X.multiply(X).sum(axis=1))[:, None])
    X = scipy.sparse.csr_array(X, dtype=dtype)
    X.indices, X.indptr = X.indices.astype(np.int32), X.indptr.astype(np.int32)
    return X, y


def signs(y):
    return np.where(y == np.unique(y)[:, None], 1, -1)


@pytest.mark.parametrize("bias", [None, 0.7])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("index", [np.int32, np.int64])
def test_a_product_is_that_with_the_inner_products_of_rows(bias, dtype, index):
    X, _ = text(dtype=dtype)
    X.indices, X.indptr = X.indices.astype(index), X.indptr.astype(index)
    features = Features(X, bias, X.dtype)
    V = np.random.default_rng(1).normal(size=(3, X.shape[0])).astype(dtype)
    found = row_space.SparseRowSpace(features)(V)
    # The constant feature is left out of products.
    assert found.dtype == dtype
    assert_allclose(found, V @ X.toarray() @ X.toarray().T, rtol=0, atol=1e3 * np.finfo(dtype).eps)


@pytest.mark.parametrize("only", ["frequent words", "words of one row", "nothing"])
def test_rows_without_rare_words_or_without_words(only):
    X, y = text()
    count = np.diff(X.tocsc().indptr)
    mask = {
        "frequent words": count > 60,
        "words of one row": count == 1,
        "nothing": np.zeros(len(count), bool),
    }
    X = scipy.sparse.csr_array(X.multiply(mask[only]))
    X.eliminate_zeros()
    found = linear.solve(X, DualSquaredHinge(signs(y)), np.ones(len(y)))
    dense = linear.solve(X.toarray(), DualSquaredHinge(signs(y)), np.ones(len(y)))
    assert found.converged
    assert_allclose(found.coef, dense.coef, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("container", ["csr_array", "csr_matrix", "csc_array", "coo_matrix"])
def test_sparse_rows_give_the_result_of_dense_rows(name, container):
    X, y = text()
    weight = np.random.default_rng(2).integers(0, 4, size=len(y))
    options = {"loss": name, "class_weight": {0: 2.0, 1: 0.5}, "tol": 1e-9}
    dense = LinearSVM(**options).fit(X.toarray(), y, sample_weight=weight)
    sparse = LinearSVM(**options).fit(getattr(scipy.sparse, container)(X), y, sample_weight=weight)
    assert_allclose(sparse.objective_, dense.objective_, rtol=1e-8)
    assert_allclose(sparse.coef_, dense.coef_, rtol=0, atol=1e-4)
    assert_allclose(sparse.decision_function(X), dense.decision_function(X), atol=1e-4)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_objective_is_at_most_liblinears(name, dtype):
    X, y = text(n_rows=600, n_words=5000, dtype=dtype)
    ours = LinearSVM(loss=name).fit(X, y)
    theirs = LinearSVC(loss=name, random_state=0, max_iter=100_000).fit(X, y)

    def objective(model):
        slack = np.maximum(1 - signs(y).T * (X @ model.coef_.T + model.intercept_), 0)
        penalty = np.sum(model.coef_.astype(float) ** 2) + np.sum(model.intercept_**2.0)
        return 0.5 * penalty + np.sum(slack**2 if name == "squared_hinge" else slack)

    assert ours.dual_gap_ <= ours.tol * ours.objective_
    assert_allclose(ours.objective_, objective(ours), rtol=1e-5)
    assert objective(ours) <= objective(theirs) * (1 + 1e-5)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("make", [lambda X: X, lambda X: X.toarray()], ids=["sparse", "dense"])
def test_threads_do_not_change_bits(make, name, monkeypatch):
    monkeypatch.setattr(row_space, "PIECE_ENTRIES", 1000)
    X, y = text()
    X = make(X)
    results = []
    for n_threads in (1, 2, 3):
        with Workers(n_threads) as workers:
            loss = LOSSES[name](signs(y))
            results.append(linear.solve(X, loss, np.ones(len(y)), run=workers.run).coef)
    for coef in results[1:]:
        assert_array_equal(coef, results[0])


@pytest.mark.parametrize("name", LOSSES)
def test_groups_of_problems_do_not_change_the_solution(name, monkeypatch):
    X, y = text(n_classes=5)
    whole = linear.solve(X, LOSSES[name](signs(y)), np.ones(len(y)))
    monkeypatch.setattr(row_space, "GROUP_SIZE", 2)
    parts = linear.solve(X, LOSSES[name](signs(y)), np.ones(len(y)))
    assert parts.converged
    assert_allclose(parts.objective, whole.objective, rtol=1e-5)


def test_a_warm_start_from_the_solution_needs_few_steps():
    X, y = text(n_rows=12_000, n_words=3000)
    model = LinearSVM(warm_start=True).fit(X, y)
    steps = model.n_iter_
    objective = model.objective_
    model.fit(X, y)
    assert model.n_iter_ < steps / 2
    assert_allclose(model.objective_, objective, rtol=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_rows_are_left_unchanged(name):
    X, y = text()

    def digest():
        return [hashlib.sha256(a.tobytes()).hexdigest() for a in (X.data, X.indices, X.indptr)]

    before = digest()
    LinearSVM(loss=name).fit(X, y).predict(X)
    assert digest() == before


def test_values_beyond_float32_are_solved_in_float64():
    X, y = text(n_rows=12_000, n_words=3000)
    found = linear.solve(
        X * 1e30, DualSquaredHinge(signs(y)), np.full(len(y), 1e-60), fit_intercept=False
    )
    expected = linear.solve(X, DualSquaredHinge(signs(y)), np.ones(len(y)), fit_intercept=False)
    assert found.converged
    assert_allclose(found.objective * 1e60, expected.objective, rtol=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_where_steps_stall_the_problem_is_solved_otherwise(name, monkeypatch):
    X, y = text()
    expected = linear.solve(X, LOSSES[name](signs(y)), np.ones(len(y)))
    monkeypatch.setattr(row_space._Group, "advance", lambda group, goal: None)
    found = linear.solve(X, LOSSES[name](signs(y)), np.ones(len(y)))
    assert found.converged
    assert_allclose(found.objective, expected.objective, rtol=1e-5)


def test_all_rows_may_lie_in_a_corner_at_the_start():
    X, y = text(n_rows=2000, n_words=6000, n_classes=2)
    found = linear.solve(X, DualHinge(np.where(y == 1, 1, -1)[None]), np.ones(len(y)))
    assert found.converged
    # Steps that overshoot there took hundreds.
    assert found.n_iter < 60


def nearly_orthogonal(n_rows=400, n_words=8000, seed=0):
    """Return long rows that have few words in common."""
    rng = np.random.default_rng(seed)
    columns = rng.integers(n_words, size=(n_rows, 40))
    place = np.repeat(np.arange(n_rows), columns.shape[1]), columns.ravel()
    return scipy.sparse.csr_array((np.ones(columns.size), place), (n_rows, n_words))


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_nearly_orthogonal_rows_converge_in_few_steps(name, fit_intercept):
    X = nearly_orthogonal()
    y = np.random.default_rng(1).integers(3, size=X.shape[0])
    found = LinearSVM(loss=name, fit_intercept=fit_intercept).fit(X, y)
    assert found.dual_gap_ <= found.tol * found.objective_
    # Without a part of the diagonal in the loss, they took hundreds.
    assert found.n_iter_ < 60


@pytest.mark.parametrize("make", [lambda: text()[0], nearly_orthogonal])
def test_inner_products_without_the_moved_part_are_semidefinite(make):
    X = make()
    space = row_space.SparseRowSpace(Features(X, None, X.dtype))
    space.move_more()
    inner_products = (X @ X.T).toarray()
    least = np.linalg.eigvalsh(inner_products - np.diag(space.moved))[0]
    assert space.moved.max() > 0.0
    assert least > -1e-8
    if make is nearly_orthogonal:
        assert space.moved.mean() > 0.2 * np.diag(inner_products).mean()


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_rows", [100, 1000])
def test_wide_dense_rows_reach_the_objective_of_liblinear(name, dtype, n_rows):
    rng = np.random.default_rng(3)
    y = rng.integers(2, size=n_rows)
    X = rng.normal(size=(n_rows, 1200)).astype(dtype)
    X[:, 0] += y
    assert row_space.is_for_row_space(X, LOSSES[name](signs(y)))
    before = X.copy()
    ours = LinearSVM(loss=name, C=0.01).fit(X, y)
    theirs = LinearSVC(loss=name, C=0.01, random_state=0, max_iter=20_000).fit(X, y)
    slack = np.maximum(1 - (2 * y - 1) * theirs.decision_function(X).astype(float), 0)
    loss = np.sum(slack**2 if name == "squared_hinge" else slack)
    weights = np.append(theirs.coef_, theirs.intercept_).astype(float)
    objective = 0.5 * weights @ weights + 0.01 * loss
    assert ours.dual_gap_ <= ours.tol * ours.objective_
    assert ours.objective_ <= objective * (1 + 1e-5)
    assert ours.objective_ - ours.dual_gap_ <= objective
    assert_array_equal(X, before)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("make", [lambda X: X, scipy.sparse.csr_array], ids=["dense", "sparse"])
def test_problems_of_different_costs_are_as_quick_as_alone(make, name):
    rng = np.random.default_rng(0)
    X = make(rng.normal(size=(60, 1200)))
    targets = np.sign(rng.normal(size=(3, 60)))
    costs = np.repeat([[1e-3], [1.0], [100.0]], 60, axis=1)
    found = linear.solve(X, LOSSES[name](targets), costs)
    alone = [linear.solve(X, LOSSES[name](targets[k : k + 1]), costs[k : k + 1]) for k in range(3)]
    assert found.converged
    assert_allclose(found.objective, sum(each.objective for each in alone), rtol=1e-5)
    assert found.n_iter <= 1.5 * max(each.n_iter for each in alone)


def test_a_row_without_words_does_not_hide_that_the_others_are_orthogonal():
    X = scipy.sparse.lil_array(nearly_orthogonal())
    X[[3]] = 0.0
    X = scipy.sparse.csr_array(X)
    space = row_space.SparseRowSpace(Features(X, None, X.dtype))
    space.move_more()
    assert np.mean(space.moved - space.alone) > 5.0


def test_a_factorised_system_is_solved_on_its_rows():
    rng = np.random.default_rng(0)
    X, ridge, r = rng.normal(size=(50, 80)), rng.uniform(1, 2, size=50), rng.normal(size=50)
    space = row_space.DenseRowSpace(Features(X, 0.7, X.dtype))
    curved = np.arange(50) % 3 > 0
    assert space.is_exact(curved & (np.arange(50) < 30))
    assert not space.is_exact(np.ones(50, bool))
    x = space.solve(curved, ridge, np.where(curved, r, 0.0))
    with_constant = np.column_stack([X, np.full(50, 0.7)])
    residual = r - ridge * x - with_constant @ (with_constant.T @ x)
    assert_allclose(x[~curved], 0.0)
    assert_allclose(residual[curved], 0.0, atol=1e-10)


@pytest.mark.parametrize("seed", range(4))
def test_the_last_steps_on_dense_rows_are_few(seed, monkeypatch):
    steps = []
    advance = row_space._Group.advance
    monkeypatch.setattr(
        row_space._Group,
        "advance",
        lambda group, goal: steps.append(group.a.dtype.char) or advance(group, goal),
    )
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(1100, 1100)), rng.integers(2, size=1100)
    X[np.arange(1100), y] += 1.5
    machine = LinearSVM(loss="hinge").fit(X, y)
    assert machine.dual_gap_ <= machine.tol * machine.objective_
    assert steps.count("f") <= 60
    assert 1 <= steps.count("d") <= 6


@pytest.mark.parametrize("corner", [0.3, 1e-3, 1e-9])
def test_a_step_ends_beside_a_corner_however_close(corner):
    def slope(share):
        return -1.0 + 1e3 * max(0.0, share - corner) / corner

    share = row_space._share_of_step(slope, -1.0)
    assert share > 0.0
    assert slope(share) <= row_space.SLOPE_SHARE
