import numpy as np
import pytest
from scipy import sparse

from skscratch.core.blas import single_threaded_blas
from skscratch.linear import NotFiniteError, solve_l1


@pytest.fixture(autouse=True)
def one_thread():
    """Products this small are much slower on several threads if other programs are running."""
    with single_threaded_blas:
        yield


def problem(n_rows=120, n_features=40, n_problems=3, seed=0):
    """Correlated columns of different scales, and noisy labels."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_rows, n_features)) + rng.normal(size=(n_rows, 1))
    X *= np.geomspace(0.1, 10, n_features)
    scores = X[:, :5] @ rng.normal(size=(5, n_problems)) / X[:, :5].std()
    return X, np.where(scores + rng.normal(size=scores.shape) > 0, 1.0, -1.0).T, rng


def with_constant(X, bias=1.0):
    return np.c_[X, np.full(len(X), bias)]


def coefficients(solution, bias=1.0):
    return np.c_[solution.coef, solution.intercept / bias].astype(np.float64)


def gradients(X, signs, cost, W):
    slack = np.maximum(0, 1 - signs * (W @ X.T))
    return -2 * (signs * cost * slack) @ X


def objectives(X, signs, cost, W):
    slack = np.maximum(0, 1 - signs * (W @ X.T))
    return np.abs(W).sum(axis=1) + (cost * slack**2).sum(axis=1)


SHAPES = [(120, 40), (40, 120), (100, 300), (30, 6)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("C", [0.01, 1.0])
@pytest.mark.parametrize("bias", [1.0, 5.0])
def test_the_optimality_conditions_hold(shape, C, bias):
    X, signs, rng = problem(*shape)
    cost = C * rng.uniform(0, 2, size=signs.shape)
    solution = solve_l1(X, signs, cost, intercept_scaling=bias)
    W = coefficients(solution, bias)
    g = gradients(with_constant(X, bias), signs, cost, W)
    assert (np.abs(g)[W == 0] <= 1 + 1e-6).all()
    np.testing.assert_allclose(g[W != 0], -np.sign(W[W != 0]), atol=1e-6)
    assert (W == 0).any()
    assert solution.converged
    assert solution.dual_gap <= 1e-5 * solution.objective
    reached = objectives(with_constant(X, bias), signs, cost, W).sum()
    np.testing.assert_allclose(solution.objective, reached, rtol=1e-10)


def test_the_gap_bounds_the_distance_to_the_optimum_in_every_iteration():
    X, signs, _ = problem()
    cost = np.ones(len(X))
    best = solve_l1(X, signs, cost, tol=1e-9)
    seen = []

    def on_iteration(n_iter, solution):
        current = solution()
        seen.append((current.objective, current.dual_gap))
        W = coefficients(current)
        reached = objectives(with_constant(X), signs, cost, W).sum()
        np.testing.assert_allclose(current.objective, reached, rtol=1e-10)

    solve_l1(X, signs, cost, on_iteration=on_iteration)
    assert len(seen) > 3
    assert all(objective - best.objective <= gap + 1e-9 for objective, gap in seen)


def test_a_callback_can_stop():
    X, signs, _ = problem()
    stopped = solve_l1(X, signs, np.ones(len(X)), on_iteration=lambda n, solution: n == 3)
    assert stopped.n_iter == 3
    assert not stopped.converged


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("form", [sparse.csr_array, sparse.csr_matrix])
@pytest.mark.parametrize("zeros", [0.8, 0.95])
def test_sparse_columns_give_the_solution_of_dense_ones(shape, form, zeros):
    X, signs, rng = problem(*shape)
    X[rng.uniform(size=X.shape) < zeros] = 0.0
    for fit_intercept in (True, False):
        dense = solve_l1(X, signs, np.ones(len(X)), fit_intercept=fit_intercept)
        other = solve_l1(form(X), signs, np.ones(len(X)), fit_intercept=fit_intercept)
        np.testing.assert_allclose(other.coef, dense.coef, atol=1e-6)
        np.testing.assert_array_equal(other.coef == 0, dense.coef == 0)
        np.testing.assert_allclose(other.intercept, dense.intercept, atol=1e-6)
        assert fit_intercept or not dense.intercept.any()


def test_single_precision_is_accurate():
    X, signs, _ = problem()
    double = solve_l1(X, signs, np.ones(len(X)))
    single = solve_l1(X.astype(np.float32), signs, np.ones(len(X)))
    assert single.coef.dtype == single.intercept.dtype == np.float32
    assert single.converged
    np.testing.assert_allclose(single.coef, double.coef, atol=1e-4)
    W = coefficients(single)
    rows = with_constant(X.astype(np.float32).astype(np.float64))
    reached = objectives(rows, signs, np.ones(len(X)), W).sum()
    # The certificate is that of the rounded coefficients.
    np.testing.assert_allclose(single.objective, reached, rtol=1e-10)


def test_a_start_changes_the_way_and_not_the_solution():
    X, signs, rng = problem()
    X[:, 7] = 0.0
    cold = solve_l1(X, signs, np.ones(len(X)), tol=1e-8)
    far = rng.normal(size=cold.coef.shape), rng.normal(size=len(signs))
    for start in ((cold.coef, cold.intercept), far):
        warm = solve_l1(X, signs, np.ones(len(X)), start=start, tol=1e-8)
        np.testing.assert_allclose(warm.coef, cold.coef, atol=1e-6)
        assert not warm.coef[:, 7].any()
    assert solve_l1(X, signs, np.ones(len(X)), start=(cold.coef, cold.intercept)).n_iter <= 2


def test_equal_columns_and_equal_rows():
    X, signs, _ = problem(60, 20)
    plain = solve_l1(X, signs, np.ones(60))
    twice = solve_l1(np.hstack([X, X]), signs, np.ones(60))
    np.testing.assert_allclose(twice.objective, plain.objective, rtol=1e-7)
    np.testing.assert_allclose(twice.coef[:, :20] + twice.coef[:, 20:], plain.coef, atol=1e-5)
    rows = solve_l1(np.vstack([X, X]), np.hstack([signs, signs]), np.full(120, 0.5))
    np.testing.assert_allclose(rows.coef, plain.coef, atol=1e-6)


def test_low_costs_leave_nothing_but_zeros():
    X, signs, _ = problem()
    steepest = np.abs(gradients(with_constant(X), signs, 1.0, np.zeros((3, 41)))).max()
    assert not solve_l1(X, signs, np.full(len(X), 0.999 / steepest)).coef.any()
    nonzero = solve_l1(X, signs, np.full(len(X), 1.001 / steepest))
    assert np.count_nonzero(coefficients(nonzero)) == 1
    none = solve_l1(X, signs, np.zeros(len(X)))
    assert none.converged
    assert not none.coef.any()


def test_separable_rows_of_high_cost():
    X, _, _ = problem(100, 60)
    signs = np.sign(X[:, :5].sum(axis=1))[None]
    solution = solve_l1(X, signs, np.full(100, 1e3))
    assert solution.converged
    # Newton's method alone needs three times as many.
    assert solution.n_iter < 25
    margins = signs * (X @ solution.coef.T + solution.intercept).T
    assert margins.min() > 0.99


def test_invalid_data_are_refused():
    X, signs, _ = problem()
    with pytest.raises(ValueError, match="cost must be"):
        solve_l1(X, signs, np.ones(7))
    with pytest.raises(ValueError, match="X has 119 rows"):
        solve_l1(X[1:], signs, np.ones(len(X)))
    for rows in (X, sparse.csr_array(X)):
        with pytest.raises(NotFiniteError, match="values too large"):
            solve_l1(rows * 1e200, signs, np.ones(len(X)))
