"""Small problems, which are solved one at a time: the laws that hold for the larger ones."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

from skscratch import linear
from skscratch.linear.small import SMALL_ENTRIES, is_small

LOSSES = ["squared_hinge", "hinge"]
# Many rows, few rows, and rows of which few have losses.
SHAPES = [(240, 6), (30, 100), (200, 60)]


def loss_of(name, y):
    kind = {"squared_hinge": linear.DualSquaredHinge, "hinge": linear.DualHinge}[name]
    return kind(np.where(y == np.arange(3)[:, None], 1, -1))


def rows(shape, dtype=np.float64):
    rng = np.random.default_rng(5)
    X = rng.normal(size=shape)
    y = np.argmax(X[:, :3] + rng.normal(scale=0.7, size=(len(X), 3)), axis=1)
    return X.astype(dtype), y


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_many_copies_of_the_rows_at_lower_cost_have_the_same_solution(shape, loss, fit_intercept):
    X, y = rows(shape)
    cost = np.random.default_rng(6).uniform(0.2, 3.0, size=(3, len(X)))
    cost[:, ::9] = 0.0
    copies = SMALL_ENTRIES // X.size + 1
    many = np.repeat(X, copies, axis=0)
    assert is_small(X, loss_of(loss, y))
    assert not is_small(many, loss_of(loss, y))
    options = {"fit_intercept": fit_intercept, "tol": 1e-9}
    found = linear.solve(X, loss_of(loss, y), cost, **options)
    other = linear.solve(
        many,
        loss_of(loss, np.repeat(y, copies)),
        np.repeat(cost, copies, axis=1) / copies,
        **options,
    )
    assert found.converged
    assert_allclose(found.objective, other.objective, rtol=1e-8)
    assert_allclose(found.coef, other.coef, atol=2e-4 if loss == "hinge" else 1e-6)
    assert_allclose(found.intercept, other.intercept, atol=2e-4 if loss == "hinge" else 1e-6)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_gap_of_float64_is_polished_and_that_of_float32_holds_for_rounded_coefficients(
    shape, loss
):
    X, y = rows(shape)
    found = linear.solve(X, loss_of(loss, y), np.ones(len(X)))
    assert found.dual_gap <= 1e-13 * found.objective
    single = linear.solve(X.astype(np.float32), loss_of(loss, y), np.ones(len(X)))
    assert single.converged
    assert single.coef.dtype == single.intercept.dtype == np.float32
    W = np.column_stack([single.coef, single.intercept]).astype(np.float64)
    signs = np.where(y == np.arange(3)[:, None], 1.0, -1.0)
    slack = np.maximum(0.0, 1.0 - signs * (W[:, :-1] @ X.astype(np.float32).T + W[:, -1:]))
    value = 0.5 * np.sum(W**2) + np.sum(slack**2 if loss == "squared_hinge" else slack)
    assert_allclose(single.objective, value, rtol=1e-12)
    assert_allclose(single.objective, found.objective, rtol=1e-5)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("form", [sparse.csr_matrix, sparse.csr_array])
def test_sparse_rows_give_the_same_bits(loss, form):
    X, y = rows((120, 8))
    X[np.abs(X) < 1.0] = 0.0
    dense = linear.solve(X, loss_of(loss, y), np.ones(len(X)))
    other = linear.solve(form(X), loss_of(loss, y), np.ones(len(X)))
    assert_array_equal(dense.coef, other.coef)
    assert_array_equal(dense.intercept, other.intercept)


@pytest.mark.parametrize("loss", LOSSES)
def test_problems_have_the_bits_of_each_alone(loss):
    X, y = rows((150, 7))
    cost = np.ones(len(X))
    together = linear.solve(X, loss_of(loss, y), cost)
    for k in range(3):
        alone = linear.solve(X, loss_of(loss, y).take_problems(np.array([k])), cost)
        assert_array_equal(alone.coef[0], together.coef[k])


@pytest.mark.parametrize("loss", LOSSES)
def test_a_solution_as_start_needs_few_iterations(loss):
    X, y = rows((150, 7))
    first = linear.solve(X, loss_of(loss, y), np.ones(len(X)))
    seen = []

    def see(n_iter, solution):
        seen.append(solution().dual_gap / first.objective)

    start = (first.coef, first.intercept)
    again = linear.solve(X, loss_of(loss, y), np.ones(len(X)), start=start, on_iteration=see)
    assert again.n_iter <= (1 if loss == "squared_hinge" else 25)
    assert_allclose(again.objective, first.objective, rtol=1e-13)
    assert seen[-1] <= 1e-13


def test_separable_data_of_high_cost_are_solved_although_newtons_method_stalls():
    rng = np.random.default_rng(0)
    X = np.exp(rng.normal(scale=3.0, size=(400, 12)))
    y = (X @ rng.normal(size=12) > 0).astype(int)
    steps = []
    found = linear.solve(
        X,
        loss_of("squared_hinge", y),
        np.full(len(X), 1e6),
        on_iteration=lambda n_iter, solution: steps.append(n_iter),
    )
    assert len(steps) > 21
    assert steps == list(range(1, len(steps) + 1))
    assert found.converged
    assert found.n_iter == len(steps)
