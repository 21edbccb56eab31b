"""Rows that have fewer coordinates than features."""

import warnings

import numpy as np
import pytest
import scipy.sparse
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from skscratch import LinearSVM, linear
from skscratch.linear import CrammerSinger, DualHinge, DualSquaredHinge, basis


def rows(n=40, width=300, copies=1):
    rng = np.random.default_rng(0)
    y = np.tile(np.arange(n) % 3, copies)
    X = rng.normal(size=(n, width))
    X[np.arange(n), np.arange(n) % 3] += 2.0
    return np.tile(X, (copies, 1)), y


def loss_of(name, y):
    if name == "crammer_singer":
        return CrammerSinger(y, 3)
    signs = np.where(y == np.arange(3)[:, None], 1, -1)
    return {"squared_hinge": DualSquaredHinge, "hinge": DualHinge}[name](signs)


@pytest.mark.parametrize("copies", [1, 2])
def test_coordinates_keep_inner_products_and_scores(copies):
    X, _ = rows(copies=copies)
    found = basis.RowBasis(X)
    assert found.rank == 40
    assert_allclose(found.rows @ found.rows.T, X @ X.T, atol=1e-9)
    coef = np.random.default_rng(1).normal(size=(2, 300))
    assert_allclose(found.rows @ found.coordinates(coef).T, X @ coef.T, atol=1e-9)
    coordinates = np.random.default_rng(2).normal(size=(2, 40))
    assert_allclose(X @ found.coefficients(coordinates).T, found.rows @ coordinates.T, atol=1e-9)
    back = found.coordinates(found.coefficients(coordinates))
    assert_allclose(back, coordinates, atol=1e-9)


@pytest.mark.parametrize("name", ["squared_hinge", "hinge", "crammer_singer"])
@pytest.mark.parametrize("copies", [1, 2])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_the_solution_is_that_of_the_features(name, copies, fit_intercept, monkeypatch):
    X, y = rows(copies=copies)
    cost = np.linspace(0, 2, len(y))
    options = {"fit_intercept": fit_intercept, "tol": 1e-8}
    found = linear.solve(X, loss_of(name, y), cost, **options)
    monkeypatch.setattr(basis, "MAX_ROWS", 0)
    plain = linear.solve(X, loss_of(name, y), cost, **options)
    assert found.coef.shape == plain.coef.shape
    assert_allclose(found.objective, plain.objective, rtol=1e-8)
    assert_allclose(found.coef, plain.coef, atol=1e-5)
    assert_allclose(found.intercept, plain.intercept, atol=1e-5)
    start = plain.coef, plain.intercept
    monkeypatch.undo()
    again = linear.solve(X, loss_of(name, y), cost, start=start, max_iter=0, **options)
    assert_allclose(again.objective, plain.objective, rtol=1e-7)


@pytest.mark.parametrize("loss", [DualSquaredHinge, DualHinge])
def test_sparse_rows_do_not_need_the_features_that_no_row_has(loss):
    X, y = rows()
    sign = np.where(y == 0, 1, -1)[None]
    used = np.random.default_rng(3).permutation(5000)[:300]
    wide = scipy.sparse.csr_array((X.ravel(), np.tile(used, 40), 300 * np.arange(41)), (40, 5000))
    assert basis.fewer_coordinates(wide).rows.shape == (40, 300)
    found = linear.solve(wide, loss(sign), np.ones(40), tol=1e-8)
    plain = linear.solve(X, loss(sign), np.ones(40), tol=1e-8)
    assert_allclose(found.coef[:, used], plain.coef, atol=1e-6)
    assert np.count_nonzero(found.coef) <= 300
    start = found.coef, found.intercept
    again = linear.solve(wide, loss(sign), np.ones(40), start=start, max_iter=1)
    assert_allclose(again.objective, found.objective, rtol=1e-7)


def test_rows_of_zeros():
    found = linear.solve(np.zeros((4, 20)), loss_of("hinge", np.array([0, 1, 2, 0])), np.ones(4))
    assert found.converged
    assert not found.coef.any()


def test_callbacks_get_coefficients_of_the_features():
    X, y = rows()
    shapes = []

    def see(n_iter, solution):
        shapes.append(solution().coef.shape)

    linear.solve(X, loss_of("squared_hinge", y), np.ones(len(y)), on_iteration=see)
    assert set(shapes) == {(3, 300)}


def test_a_certificate_is_for_coefficients_outside_the_span_too():
    X, y = rows()
    coef = np.random.default_rng(3).normal(size=(3, 300))
    loss, cost, start = loss_of("hinge", y), np.ones(len(y)), (coef, np.zeros(3))
    found = linear.solve(X, loss, cost, start=start, max_iter=0)
    signs = np.where(y == np.arange(3)[:, None], 1, -1)
    value = 0.5 * np.sum(coef**2) + np.maximum(0, 1 - signs * (coef @ X.T)).sum()
    assert_allclose(found.objective, value, rtol=1e-12)


@pytest.mark.parametrize("outlier", ["column", "row"])
@pytest.mark.parametrize("multi_class", ["ovr", "crammer_singer"])
def test_the_certificate_holds_however_large_an_outlier_is(outlier, multi_class):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(170, 800)), np.arange(170) % 3
    if outlier == "column":
        X[:, 0] += 1.7e9
    else:
        X[0] *= 1e9
    assert basis.fewer_coordinates(X) is not None
    machine = LinearSVM(C=0.01, multi_class=multi_class, max_iter=300)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        machine.fit(X, y)
        of_sparse = clone(machine).fit(scipy.sparse.csr_array(X), y)
    # Both bound the same minimum.
    assert machine.objective_ - machine.dual_gap_ <= of_sparse.objective_ * (1 + 1e-9)
    assert of_sparse.objective_ - of_sparse.dual_gap_ <= machine.objective_ * (1 + 1e-9)
    Y = np.where(y == np.arange(3)[:, None], 1, -1)
    scores = machine.decision_function(X).T
    if multi_class == "ovr":
        loss = np.square(np.maximum(1 - Y * scores, 0)).sum()
    else:
        own = scores[y, np.arange(len(y))]
        loss = (scores - own + (Y < 0)).max(axis=0).sum()
    penalty = 0.5 * (np.square(machine.coef_).sum() + np.square(machine.intercept_).sum())
    assert_allclose(machine.objective_, penalty + 0.01 * loss, rtol=1e-9)
