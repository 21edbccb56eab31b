"""The solver for linear machines: objective, gap, data types, hard problems."""

import warnings

import numpy as np
import pytest
import scipy.sparse
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import (
    load_breast_cancer,
    load_digits,
    load_iris,
    load_wine,
    make_blobs,
    make_classification,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from skscratch import linear
from skscratch.core.workers import Workers
from skscratch.linear import (
    CrammerSinger,
    DualHinge,
    DualSquaredHinge,
    LinearSolution,
)


def solve(X, loss, cost, *, n_threads=1, **options):
    """Solve with single-threaded BLAS, as the estimator does."""
    with Workers(n_threads) as workers:
        return linear.solve(X, loss, cost, **({"run": workers.run} | options))


def iris():
    return load_iris(return_X_y=True)


def wine_badly_scaled():
    return load_wine(return_X_y=True)


def cancer():
    X, y = load_breast_cancer(return_X_y=True)
    return StandardScaler().fit_transform(X), y


def digits():
    X, y = load_digits(n_class=5, return_X_y=True)
    return X[:150] / 16.0, y[:150]


def wide():
    X, y = digits()
    return np.random.default_rng(0).normal(size=(25, 60)) + X[:25, :60], y[:25]


DATA = [iris, wine_badly_scaled, cancer, digits, wide]
LOSSES = ["squared_hinge", "hinge", "crammer_singer"]


def signs(y):
    classes = np.unique(y)
    if len(classes) == 2:
        return np.where(y == classes[1], 1, -1)[None]
    return np.where(y == classes[:, None], 1, -1)


def make_loss(name, y):
    if name == "crammer_singer":
        classes, codes = np.unique(y, return_inverse=True)
        return CrammerSinger(codes, len(classes))
    return {"hinge": DualHinge, "squared_hinge": DualSquaredHinge}[name](signs(y))


def objective(X, y, name, cost, coef, intercept, scaling=1.0):
    """Compute the objective plainly, in float64."""
    X = X.astype(np.float64)
    coef, intercept = (np.asarray(a, np.float64) for a in (coef, intercept))
    Z = coef @ X.T + intercept[:, None]
    penalty = 0.5 * np.sum(coef**2) + 0.5 * np.sum((intercept / scaling) ** 2)
    if name == "crammer_singer":
        codes = np.unique(y, return_inverse=True)[1]
        rows = np.arange(len(y))
        margin = Z + 1.0
        margin[codes, rows] -= 1.0
        return penalty + np.sum(cost * (margin.max(axis=0) - Z[codes, rows]))
    loss = np.maximum(0.0, 1.0 - signs(y) * Z)
    return penalty + np.sum(cost * (loss**2 if name == "squared_hinge" else loss))


def liblinear(X, y, name, C=1.0, weight=None):
    words = {
        "squared_hinge": {"dual": False},
        "hinge": {"loss": "hinge", "dual": True},
        "crammer_singer": {"multi_class": "crammer_singer"},
    }[name]
    model = LinearSVC(C=C, tol=1e-10, max_iter=300_000, random_state=0, **words)
    return model.fit(X, y, sample_weight=weight)


# LIBLINEAR's dual methods do not reach 1e-6 on unscaled wine in reasonable time.
SLOW_FOR_LIBLINEAR = {
    (wine_badly_scaled, "hinge"),
    (wine_badly_scaled, "crammer_singer"),
}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("data", DATA)
def test_the_objective_equals_liblinears(data, name):
    X, y = data()
    if data is cancer and name == "crammer_singer":
        pytest.skip("scikit-learn keeps one coefficient row of two: the objective is lost")
    C = 0.1
    if (data, name) in SLOW_FOR_LIBLINEAR:
        X = X / X.max(axis=0)
    cost = np.full(len(y), C)
    ours = solve(X, make_loss(name, y), cost, tol=1e-7)
    theirs = liblinear(X, y, name, C)
    expected = objective(X, y, name, cost, theirs.coef_, theirs.intercept_)
    assert ours.converged
    assert_allclose(
        ours.objective, objective(X, y, name, cost, ours.coef, ours.intercept), rtol=1e-10
    )
    assert_allclose(ours.objective, expected, rtol=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_the_objective_equals_liblinears_with_weights(name):
    X, y = iris()
    cost = np.random.default_rng(1).integers(0, 4, len(y)) * 0.7
    ours = solve(X, make_loss(name, y), cost, tol=1e-7)
    theirs = liblinear(X, y, name, weight=cost)
    expected = objective(X, y, name, cost, theirs.coef_, theirs.intercept_)
    assert_allclose(ours.objective, expected, rtol=1e-6)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("tol", [1e-1, 1e-3])
def test_gap_bounds_the_suboptimality(name, tol):
    X, y = digits()
    cost, loss = np.ones(len(y)), make_loss(name, y)
    best = solve(X, loss, cost, tol=1e-9)
    gaps = []

    def check(n_iter, solution):
        value, gap = solution().objective, solution().dual_gap
        gaps.append(gap)
        assert gap >= 0.0
        assert value - gap <= best.objective * (1 + 1e-12) <= value * (1 + 2e-12)

    rough = solve(X, loss, cost, tol=tol, on_iteration=check)
    assert rough.n_iter == len(gaps)
    assert rough.objective - rough.dual_gap <= best.objective * (1 + 1e-12)
    assert best.dual_gap <= 1e-9 * best.objective


def test_the_gap_is_valid_in_float32():
    X, y = cancer()
    exact = solve(X, make_loss("squared_hinge", y), np.ones(len(y)))
    # A tolerance below the precision of float32: the solver stops and does not report convergence.
    rough = solve(X.astype(np.float32), make_loss("squared_hinge", y), np.ones(len(y)), tol=1e-15)
    assert not rough.converged
    assert rough.n_iter < 100
    assert 0.0 < rough.dual_gap <= 1e-4 * rough.objective
    assert_allclose(rough.objective, exact.objective, rtol=1e-5)


def test_single_precision_continues_in_double_if_necessary():
    X, y = cancer()
    X, cost = X.astype(np.float32), np.ones(len(y))
    for name in LOSSES:
        exact = solve(X.astype(np.float64), make_loss(name, y), cost, tol=1e-9)
        found = solve(X, make_loss(name, y), cost, tol=1e-6)
        assert found.converged
        assert found.n_iter < 60
        reached = objective(X, y, name, cost, found.coef, found.intercept)
        assert_allclose(reached, exact.objective, rtol=1e-6)


def test_a_callback_can_stop_in_any_iteration():
    X, y = load_breast_cancer(return_X_y=True)
    X, loss, cost = X.astype(np.float32), make_loss("hinge", y), np.ones(len(y))
    whole = solve(X, loss, cost)
    for last in range(1, whole.n_iter + 1):
        found = solve(X, loss, cost, on_iteration=lambda n, solution, last=last: n == last)
        assert found.n_iter == last
        assert found.coef.dtype == np.float32
        limited = solve(X, loss, cost, max_iter=last)
        assert limited.n_iter == last


@pytest.mark.parametrize("make", [scipy.sparse.csr_array, scipy.sparse.csr_matrix])
def test_a_joint_problem_of_many_sparse_rows(make):
    X = scipy.sparse.random(5000, 300, density=0.02, random_state=0, format="csr")
    y = (X[:, :150].sum(axis=1) > X[:, 150:].sum(axis=1)).astype(int).ravel()
    y = np.asarray(y).ravel() + (X[:, 0].toarray().ravel() > 0)
    loss, cost = make_loss("crammer_singer", y), np.ones(len(y))
    found = solve(make(X), loss, cost, fit_intercept=False)
    dense = solve(X.toarray(), loss, cost, fit_intercept=False)
    assert_allclose(found.objective, dense.objective, rtol=1e-5)


def test_gradient_vanishes():
    X, y = digits()
    cost = np.random.default_rng(2).uniform(0.5, 2.0, len(y))
    found = solve(X, make_loss("squared_hinge", y), cost)
    rng = np.random.default_rng(3)
    for _ in range(10):
        dW, db = rng.normal(size=found.coef.shape), rng.normal(size=len(found.coef))
        up, down = (
            objective(X, y, "squared_hinge", cost, found.coef + t * dW, found.intercept + t * db)
            for t in (1e-4, -1e-4)
        )
        assert abs(up - down) / 2e-4 < 1e-5
        assert min(up, down) > found.objective


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("sparse", [False, True])
def test_integer_weights_equal_repeated_rows(name, sparse):
    X, y = iris()
    weight = np.random.default_rng(4).integers(0, 4, len(y))
    make = scipy.sparse.csr_matrix if sparse else np.asarray
    weighted = solve(make(X), make_loss(name, y), weight.astype(float))
    X, y = X.repeat(weight, axis=0), y.repeat(weight)
    repeated = solve(make(X), make_loss(name, y), np.ones(len(y)))
    assert_allclose(weighted.coef, repeated.coef, rtol=1e-7, atol=1e-9)
    assert_allclose(weighted.intercept, repeated.intercept, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", LOSSES)
def test_rows_without_cost_are_ignored(name):
    X, y = iris()
    cost = np.ones(len(y))
    cost[::7] = 0.0
    wild = X.copy()
    wild[::7] *= 1000.0
    kept = solve(X[cost > 0], make_loss(name, y[cost > 0]), cost[cost > 0])
    found = solve(wild, make_loss(name, y), cost)
    assert_allclose(found.coef, kept.coef, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", ["hinge", "squared_hinge"])
def test_problems_are_independent(name):
    X, y = digits()
    targets = signs(y)
    cost = np.random.default_rng(5).uniform(0.5, 2.0, targets.shape)
    kind = type(make_loss(name, y))
    together = solve(X, kind(targets), cost)
    alone = [solve(X, kind(t[None]), c[None]) for t, c in zip(targets, cost, strict=True)]
    assert_allclose(together.coef, np.vstack([a.coef for a in alone]), rtol=1e-7, atol=1e-9)
    assert_allclose(together.objective, sum(a.objective for a in alone), rtol=1e-10)
    shared = solve(X, kind(targets), np.full(len(y), 0.5))
    spelled = solve(X, kind(targets), np.full(targets.shape, 0.5))
    assert_array_equal(shared.coef, spelled.coef)


@pytest.mark.parametrize("name", LOSSES)
def test_float32_is_preserved(name):
    X, y = cancer() if name == "hinge" else digits()
    X = X.astype(np.float32)
    cost = np.ones(len(y))
    single = solve(X, make_loss(name, y), cost)
    double = solve(X.astype(np.float64), make_loss(name, y), cost)
    assert single.coef.dtype == single.intercept.dtype == np.float32
    assert double.coef.dtype == double.intercept.dtype == np.float64
    assert type(single.objective) is type(single.dual_gap) is float
    assert_allclose(single.objective, double.objective, rtol=2e-5)
    assert_allclose(
        single.objective, objective(X, y, name, cost, single.coef, single.intercept), rtol=1e-5
    )


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("container", [scipy.sparse.csr_matrix, scipy.sparse.csr_array])
def test_sparse_rows_give_the_result_of_dense_rows(name, container):
    X, y = digits()
    cost = np.full(len(y), 0.3)
    dense = solve(X, make_loss(name, y), cost)
    sparse = solve(container(X), make_loss(name, y), cost)
    assert_allclose(sparse.coef, dense.coef, rtol=1e-6, atol=1e-8)
    assert type(sparse.coef) is np.ndarray


@pytest.mark.parametrize("name", LOSSES)
def test_intercept(name):
    X, y = iris()
    cost = np.ones(len(y))
    none = solve(X, make_loss(name, y), cost, fit_intercept=False)
    assert_array_equal(none.intercept, 0.0)
    column = np.column_stack([X, np.full(len(X), 3.0)])
    explicit = solve(column, make_loss(name, y), cost, fit_intercept=False)
    implicit = solve(X, make_loss(name, y), cost, intercept_scaling=3.0)
    assert_allclose(implicit.coef, explicit.coef[:, :-1], rtol=1e-6, atol=1e-8)
    assert_allclose(implicit.intercept, 3.0 * explicit.coef[:, -1], rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize(
    "X",
    [
        np.arange(6.0)[:, None],
        np.zeros((6, 3)),
        np.ones((6, 3)),
        np.column_stack([np.arange(6.0), np.full(6, 5.0), np.zeros(6)]),
        np.random.default_rng(0).normal(size=(6, 40)),
        np.asfortranarray(np.random.default_rng(0).normal(size=(6, 4))),
    ],
    ids=["one feature", "zeros", "ones", "constant columns", "wide", "Fortran order"],
)
def test_degenerate_data(X, name):
    y = np.array([0, 0, 1, 1, 2, 2])
    found = solve(X, make_loss(name, y), np.ones(6))
    assert found.converged
    assert found.coef.shape == (3, X.shape[1])
    nothing = solve(X, make_loss(name, y), np.zeros(6))
    assert nothing.converged
    assert nothing.objective == nothing.dual_gap == 0.0


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize(("dtype", "huge"), [(np.float32, 1e30), (np.float64, 1e200)])
def test_huge_values_are_refused(dtype, huge, name):
    X, y = iris()
    with pytest.raises(ValueError, match=r"not finite"):
        solve((X * huge).astype(dtype), make_loss(name, y), np.ones(len(y)))


def test_shapes_are_checked():
    X, y = iris()
    with pytest.raises(ValueError, match="150 rows"):
        solve(X, make_loss("hinge", y), np.ones(149))
    with pytest.raises(ValueError, match="150 rows"):
        solve(X, make_loss("hinge", y[:100]), np.ones(150))


@pytest.mark.parametrize("name", LOSSES)
def test_on_iteration_stops(name):
    X, y = digits()
    seen = []

    def stop(n_iter, solution):
        seen.append(solution())
        assert isinstance(seen[-1], LinearSolution)
        return n_iter == 3

    found = solve(X, make_loss(name, y), np.ones(len(y)), on_iteration=stop)
    assert found.n_iter == len(seen) == 3
    assert not found.converged
    assert_allclose(found.objective, seen[-1].objective)
    values = [s.objective for s in seen]
    assert values == sorted(values, reverse=True)
    limited = solve(X, make_loss(name, y), np.ones(len(y)), max_iter=3)
    assert_array_equal(limited.coef, found.coef)


@pytest.mark.parametrize("name", LOSSES)
def test_starting_at_the_solution(name):
    X, y = digits()
    cost, loss = np.ones(len(y)), make_loss(name, y)
    cold = solve(X, loss, cost)
    warm = solve(X, loss, cost, start=(cold.coef, cold.intercept))
    assert warm.n_iter < cold.n_iter
    assert_allclose(warm.objective, cold.objective, rtol=1e-9)


@pytest.mark.parametrize("name", LOSSES)
def test_inputs_are_not_modified(name):
    X, y = iris()
    loss, cost = make_loss(name, y), np.ones(len(y))
    start = np.ones((3, 4)), np.ones(3)
    arrays = [X, loss.targets, cost, *start]
    before = [a.copy() for a in arrays]
    for a in arrays:
        a.setflags(write=False)
    solve(X, loss, cost, start=start)
    for a, b in zip(arrays, before, strict=True):
        assert_array_equal(a, b)


def test_a_sampled_start_does_not_change_the_solution():
    rng = np.random.default_rng(6)
    X = rng.normal(size=(9000, 5))
    y = (X @ rng.normal(size=5) + rng.normal(size=9000) > 0).astype(int)
    cost = np.ones(9000)
    for name in ("squared_hinge", "hinge"):
        loss = make_loss(name, y)
        sampled = solve(X, loss, cost)
        plain = solve(X, loss, cost, start=(np.zeros((1, 5)), np.zeros(1)))
        assert sampled.converged
        assert_allclose(sampled.objective, plain.objective, rtol=1e-8)


# Ten problems that are hard for different reasons


def noisy():
    return make_classification(2000, 20, n_informative=10, flip_y=0.3, random_state=0)


def three_classes(**how):
    return make_classification(1000, 20, n_informative=8, n_classes=3, random_state=0, **how)


def scaled_wine():
    X, y = wine_badly_scaled()
    return StandardScaler().fit_transform(X), y


def separable():
    X, y = make_blobs(250, 100, centers=10, cluster_std=15.0, random_state=1)
    return X, np.minimum(y, 2)


def columns_of_all_sizes():
    X, y = three_classes()
    return X * np.logspace(-3, 3, 20), y


def words():
    rng = np.random.default_rng(0)
    X = scipy.sparse.random(20_000, 50_000, density=1e-3, random_state=rng, format="csr")
    return X, (X @ rng.normal(size=50_000) > 0).astype(int)


EVEN, UNEVEN = np.ones(1), np.where(np.arange(1000) % 3, np.linspace(0, 1000, 1000), 0.0)
TEN = {
    "iris": (iris, 1.0, EVEN),
    "cancer, not scaled": (lambda: load_breast_cancer(return_X_y=True), 1.0, EVEN),
    "large C": (scaled_wine, 1e4, EVEN),
    "separable": (separable, 1.0, EVEN),
    "tiny C": (noisy, 1e-4, EVEN),
    "many errors, large C": (noisy, 1e4, EVEN),
    "more features than rows": (wide, 10.0, EVEN),
    "a rare class": (lambda: three_classes(weights=[0.9, 0.09, 0.01]), 1.0, EVEN),
    "columns of all sizes": (columns_of_all_sizes, 1.0, EVEN),
    "weights from 0 to 1,000": (three_classes, 0.1, UNEVEN),
}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("problem", TEN)
def test_ten_problems_are_solved_to_six_digits(problem, name):
    data, C, weight = TEN[problem]
    X, y = data()
    cost = C * np.broadcast_to(weight, len(y))
    loss = make_loss(name, y)
    found, best = solve(X, loss, cost, tol=1e-6), solve(X, loss, cost, tol=1e-10)
    lowest = best.objective
    if name == "squared_hinge":
        # LIBLINEAR's Newton method; its dual methods take minutes on some of these.
        theirs = LinearSVC(C=C, dual=False, tol=1e-10, max_iter=1000)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            theirs.fit(X, y, np.broadcast_to(weight, len(y)))
        reached = objective(X, y, name, cost, theirs.coef_, theirs.intercept_)
        lowest = min(lowest, reached)
    value = objective(X, y, name, cost, found.coef, found.intercept)
    assert_allclose(value, found.objective, rtol=1e-7)
    assert value <= lowest * (1 + 1e-6)
    assert found.converged


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("problem", TEN)
def test_ten_problems_in_single_precision(problem, name):
    data, C, weight = TEN[problem]
    X, y = data()
    cost = C * np.broadcast_to(weight, len(y))
    loss = make_loss(name, y)
    single = solve(X.astype(np.float32), loss, cost)
    double = solve(X.astype(np.float32).astype(np.float64), loss, cost, tol=1e-7)
    assert single.coef.dtype == np.float32
    # The value of the coefficients as they are returned, after rounding.
    value = objective(X.astype(np.float32), y, name, cost, single.coef, single.intercept)
    assert value <= double.objective * (1 + 1e-4)
    assert_allclose(value, single.objective, rtol=1e-5)
    assert single.objective - single.dual_gap <= double.objective * (1 + 1e-6)
    assert single.converged


@pytest.mark.parametrize("name", LOSSES)
def test_a_large_sparse_problem(name):
    X, y = words()
    loss, cost = make_loss(name, y), np.ones(len(y))
    found = solve(X, loss, cost, tol=1e-6)
    assert found.converged
    single = solve(X.astype(np.float32), loss, cost)
    assert single.converged
    assert_allclose(single.objective, found.objective, rtol=1e-4)
    if name == "squared_hinge":
        theirs = LinearSVC(dual=False, tol=1e-6, max_iter=100).fit(X, y)
        reached = objective(X, y, name, cost, theirs.coef_, theirs.intercept_)
        assert found.objective <= reached * (1 + 1e-6)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("make", [np.asarray, scipy.sparse.csr_array, scipy.sparse.csr_matrix])
def test_the_number_of_threads_does_not_change_a_bit(name, dtype, make):
    # Large enough to be cut into pieces, and for directions on several threads.
    rng = np.random.default_rng(8)
    X = rng.normal(size=(6000, 400)).astype(dtype)
    y = (X[:, 0] > 0) + 2 * (X[:, 1] > 0)
    X = make(X)
    cost = np.ones(len(y))
    one, two = (
        solve(X, make_loss(name, y), cost, max_iter=4, n_threads=n_threads) for n_threads in (1, 2)
    )
    assert_array_equal(one.coef, two.coef)
    assert one.dual_gap == two.dual_gap


@pytest.mark.parametrize(("shape", "shared"), [((3000, 60), False), ((6000, 400), True)])
def test_directions_of_small_problems_stay_on_one_thread(shape, shared):
    given = []

    def run(jobs):
        given.append(len(jobs))
        for job in jobs:
            job()

    X = np.random.default_rng(8).normal(size=shape)
    y = np.arange(len(X)) % 3
    solve(X, make_loss("squared_hinge", y), np.ones(len(X)), max_iter=3, run=run)
    assert (max(given) > 1) is shared


@pytest.mark.parametrize("n_features", [5, 40])
@pytest.mark.parametrize("sparse", [False, True])
def test_conjugate_gradients_reach_the_direct_solution(n_features, sparse):
    # With so many columns, systems are solved by conjugate gradients instead of factorised.
    rng = np.random.default_rng(9)
    X = rng.normal(size=(3000, n_features)) * (rng.random((3000, n_features)) < 0.2)
    y = (X[:, :3].sum(axis=1) + 0.1 * rng.normal(size=3000) > 0).astype(int)
    wide = np.hstack([X, np.zeros((3000, 1100))])
    if sparse:
        X, wide = scipy.sparse.csr_array(X), scipy.sparse.csr_array(wide)
    for name in LOSSES:
        direct = solve(X, make_loss(name, y), np.ones(3000), tol=1e-9)
        iterated = solve(wide, make_loss(name, y), np.ones(3000), tol=1e-6)
        assert_allclose(iterated.objective, direct.objective, rtol=1e-6)
        assert not iterated.coef[..., n_features:].any()


def test_single_precision_that_lacks_digits_goes_on_in_double():
    rng = np.random.default_rng(9)
    X = rng.normal(size=(3000, 60)).astype(np.float32)
    y = (X[:, 0] + rng.normal(size=len(X)) > 0).astype(int)
    loss, seen = make_loss("hinge", y), []
    found = solve(X, loss, np.ones(len(X)), tol=1e-7, on_iteration=lambda n, _: seen.append(n))
    assert found.converged
    assert found.n_iter == len(seen)
    assert found.coef.dtype == np.float32
    double = solve(X.astype(np.float64), loss, np.ones(len(X)), tol=1e-9)
    assert_allclose(found.objective, double.objective, rtol=2e-7)
