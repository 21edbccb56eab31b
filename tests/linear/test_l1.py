import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import sparse
from sklearn.datasets import make_classification
from sklearn.exceptions import ConvergenceWarning

from skscratch import LinearSVM
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


def assert_optimal(X, signs, cost, W, atol=1e-6):
    """Zero is a subgradient of the objective."""
    g = gradients(X, signs, cost, W)
    assert (np.abs(g)[W == 0] <= 1 + atol).all()
    np.testing.assert_allclose(g[W != 0], -np.sign(W[W != 0]), rtol=0, atol=atol)


def text(n_rows=300, n_words=1500, n_problems=2, seed=0):
    """Sparse rows of length 1 with frequent and rare words; a few of them decide the labels."""
    rng = np.random.default_rng(seed)
    words = rng.zipf(1.3, size=(n_rows, 30)) % n_words
    place = np.repeat(np.arange(n_rows), words.shape[1]), words.ravel()
    X = sparse.csr_array((np.ones(words.size), place), (n_rows, n_words))
    X.data = 1 + np.log(X.data)
    X = sparse.csr_array(X.multiply(1 / np.sqrt(X.multiply(X).sum(axis=1))[:, None]))
    scores = X[:, :60] @ rng.normal(size=(60, n_problems))
    return X, np.where(scores > np.median(scores, axis=0), 1.0, -1.0).T


def categories(n_rows=300, n_columns=20, seed=0):
    """One-hot columns, which sum to one, and labels that a few of them decide."""
    rng = np.random.default_rng(seed)
    values = rng.integers(5, size=(n_rows, n_columns))
    X = (values[:, :, None] == np.arange(5)).reshape(n_rows, -1).astype(float)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    scores = X[:, :20] @ rng.normal(size=20) + rng.normal(size=n_rows)
    return X, np.where(scores > 0, 1.0, -1.0)[None]


SHAPES = [(120, 40), (40, 120), (100, 300), (30, 6)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("C", [0.01, 1.0])
@pytest.mark.parametrize("bias", [1.0, 5.0])
def test_the_optimality_conditions_hold(shape, C, bias):
    X, signs, rng = problem(*shape)
    cost = C * rng.uniform(0, 2, size=signs.shape)
    solution = solve_l1(X, signs, cost, intercept_scaling=bias)
    W = coefficients(solution, bias)
    assert_optimal(with_constant(X, bias), signs, cost, W)
    assert (W == 0).any()
    assert solution.converged
    # Unless a coefficient stops where its sign would change, hundreds of rounds are necessary.
    assert solution.n_iter < 20
    assert solution.dual_gap <= 1e-5 * solution.objective
    reached = objectives(with_constant(X, bias), signs, cost, W).sum()
    np.testing.assert_allclose(solution.objective, reached, rtol=1e-10)


@pytest.mark.parametrize("make", [text, categories])
@pytest.mark.parametrize("C", [0.3, 3.0, 100.0])
def test_the_optimality_conditions_hold_for_words_and_categories(make, C):
    X, signs = make()
    solution = solve_l1(X, signs, np.full(X.shape[0], C))
    W = coefficients(solution)
    dense = with_constant(X.toarray() if sparse.issparse(X) else X)
    assert_optimal(dense, signs, C, W)
    assert (W == 0).mean() > 0.05
    assert solution.converged
    assert solution.n_iter < 40


@pytest.mark.parametrize("make", [text, categories])
@pytest.mark.parametrize("C", [0.3, 3.0])
def test_single_precision_meets_the_optimality_conditions_up_to_rounding(make, C):
    X, signs = make()
    X = X.astype(np.float32)
    solution = solve_l1(X, signs, np.full(X.shape[0], C))
    assert solution.coef.dtype == np.float32
    W = coefficients(solution)
    rows = with_constant(X.toarray() if sparse.issparse(X) else X).astype(np.float64)
    double = coefficients(solve_l1(rows[:, :-1], signs, np.full(len(rows), C)))
    np.testing.assert_array_equal(W == 0, double == 0)
    active = signs * (W @ rows.T) < 1
    bound = max(
        (np.abs(2 * C * rows[a].T @ rows[a]) @ np.abs(w)).max()
        for a, w in zip(active, W, strict=True)
    )
    assert_optimal(rows, signs, C, W, atol=1e-6 + 7e-8 * bound)


@pytest.mark.parametrize("make", [text, categories])
def test_integer_costs_equal_repeated_rows(make):
    X, signs = make()
    times = np.random.default_rng(3).integers(0, 4, size=X.shape[0])
    weighted = solve_l1(X, signs, 0.5 * times)
    index = np.repeat(np.arange(X.shape[0]), times)
    repeated = solve_l1(X[index], signs[:, index], np.full(len(index), 0.5))
    np.testing.assert_allclose(weighted.objective, repeated.objective, rtol=1e-9)
    np.testing.assert_allclose(weighted.coef, repeated.coef, atol=1e-5)
    np.testing.assert_array_equal(weighted.coef == 0, repeated.coef == 0)


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


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_callback_can_stop(dtype):
    X, signs, _ = problem()
    X = X.astype(dtype)
    stopped = solve_l1(X, signs, np.ones(len(X)), on_iteration=lambda n, solution: n == 3)
    assert stopped.n_iter == 3
    assert not stopped.converged
    rows = with_constant(X).astype(np.float64)
    reached = objectives(rows, signs, np.ones(len(X)), coefficients(stopped)).sum()
    np.testing.assert_allclose(stopped.objective, reached, rtol=1e-10)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("form", [sparse.csr_array, sparse.csr_matrix, sparse.csc_array])
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
    X, _ = categories(600, 30)
    signs = np.sign(X @ np.random.default_rng(0).normal(size=X.shape[1]))[None]
    cost = np.random.default_rng(1).uniform(0, 2e3, size=600)
    cost[:50] = 0.0
    solution = solve_l1(X, signs, cost)
    assert solution.converged
    # Without the interior-point method, it takes three times as many.
    assert solution.n_iter < 20
    assert_optimal(with_constant(X), signs, cost, coefficients(solution))


def test_invalid_data_are_refused():
    X, signs, _ = problem()
    with pytest.raises(ValueError, match="cost must be"):
        solve_l1(X, signs, np.ones(7))
    with pytest.raises(ValueError, match="X has 119 rows"):
        solve_l1(X[1:], signs, np.ones(len(X)))
    for rows in (X, sparse.csr_array(X)):
        with pytest.raises(NotFiniteError, match="values too large"):
            solve_l1(rows * 1e200, signs, np.ones(len(X)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_without_iterations_the_start_is_certified(dtype):
    X, y = make_classification(40, 6, random_state=0)
    signs, cost = np.where(y == 1, 1.0, -1.0)[None], np.full(40, 0.3)
    found = solve_l1(X.astype(dtype), signs, cost, max_iter=0)
    assert found.n_iter == 0
    assert not found.converged
    assert_allclose(found.objective, 40 * 0.3)
    assert 0 < found.dual_gap <= found.objective


def test_float32_rows_give_float32_scores_without_intercept():
    X, y = make_classification(40, 6, random_state=0)
    machine = LinearSVM(penalty="l1", fit_intercept=False).fit(X.astype(np.float32), y)
    assert machine.intercept_.dtype == np.float32
    assert machine.decision_function(X.astype(np.float32)).dtype == np.float32


def test_a_tolerance_below_rounding_does_not_break_where_all_are_zero():
    X, y = make_classification(60, 300, random_state=0)
    machine = LinearSVM(penalty="l1", C=1e-6, tol=1e-16)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        machine.fit(X, y)
    assert not machine.coef_.any()
