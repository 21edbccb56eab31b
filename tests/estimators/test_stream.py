"""`LinearSVM.partial_fit`: sparse and dense rows, lazy updates, penalty, memory."""

import copy
import tracemalloc
import warnings

import numpy as np
import pytest
from scipy import sparse
from sklearn.datasets import load_digits, load_iris
from sklearn.linear_model import SGDClassifier
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from skscratch import LinearSVM
from skscratch.estimators import _stream
from skscratch.estimators._data import with_constant
from tests.core.test_sparse_rows import FORMS, in_form, thin

KINDS = pytest.mark.parametrize(
    "options",
    [
        {},
        {"average": True},
        {"loss": "hinge"},
        {"multi_class": "crammer_singer"},
        {"fit_intercept": False, "C": 1e-2},
        {"intercept_scaling": 3.0, "class_weight": {0: 3.0, 2: 0.1}},
    ],
    ids=str,
)


def stream(model, X, y, n_calls=5):
    for rows in np.array_split(np.arange(len(y)), n_calls):
        model.partial_fit(X[rows], y[rows], classes=np.unique(y))
    return model


def texts(n=600, n_features=5000, n_classes=3, seed=0):
    """Return rows of 25 common words and 5 of the class's own."""
    rng = np.random.default_rng(seed)
    y = rng.integers(n_classes, size=n)
    common = rng.zipf(1.3, size=(n, 25)) % (n_features // 2)
    own = n_features // 2 + y[:, None] * 100 + rng.integers(100, size=(n, 5))
    words = np.hstack([common, own])
    X = sparse.csr_array(
        (np.ones(words.size), (np.repeat(np.arange(n), 30), words.ravel())), (n, n_features)
    )
    X.sum_duplicates()
    X.data = np.sqrt(X.data) / 6
    return X, y


@pytest.mark.parametrize("thin_rows", [True, False])
@KINDS
def test_sparse_rows_give_the_result_of_dense_ones(options, thin_rows, monkeypatch):
    if thin_rows:
        monkeypatch.setattr(_stream, "STEP_ROWS_THIN", 8)
        monkeypatch.setattr(_stream, "THIN", 1.1)
    X, y = texts(200, 1000)
    dense = stream(LinearSVM(random_state=0, **options), X.toarray(), y)
    other = stream(LinearSVM(random_state=0, **options), X, y)
    np.testing.assert_allclose(other.coef_, dense.coef_, rtol=1e-9, atol=1e-13)
    np.testing.assert_allclose(other.intercept_, dense.intercept_, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("form", FORMS)
def test_the_format_changes_no_bit_and_x_is_not_changed(form):
    X, y = thin(60, 8), np.arange(60) % 3
    expected = LinearSVM(random_state=0).partial_fit(sparse.csr_array(X), y, classes=[0, 1, 2])
    given = in_form(X, form)
    names = ("data", "row", "col") if given.format == "coo" else ("data", "indices", "indptr")
    before = [(getattr(given, name).dtype, getattr(given, name).tobytes()) for name in names]
    model = LinearSVM(random_state=0).partial_fit(given, y, classes=[0, 1, 2])
    np.testing.assert_array_equal(model.coef_, expected.coef_)
    np.testing.assert_array_equal(model.predict(given), expected.predict(X))
    assert [(getattr(given, n).dtype, getattr(given, n).tobytes()) for n in names] == before


def test_stored_zeros_do_not_count(monkeypatch):
    monkeypatch.setattr(_stream, "STEP_ROWS_THIN", 8)
    X, y = texts(200, 1000)
    stored = X.copy()
    stored.data[::3] = 0
    removed = stored.copy()
    removed.eliminate_zeros()
    # A strong penalty shows which steps a weight has missed.
    one, two = (stream(LinearSVM(C=1e-3, random_state=0), rows, y) for rows in (stored, removed))
    np.testing.assert_allclose(one.coef_, two.coef_, rtol=1e-9, atol=1e-13)


@KINDS
def test_one_step_is_the_formula(options):
    """A call of one step, written out for all features."""
    X, y = thin(16, 6), np.arange(16) % 2
    model = LinearSVM(random_state=0, **options).partial_fit(X, y, classes=[0, 1])
    scale = model.intercept_scaling if model.fit_intercept else 0.0
    A = np.c_[X, np.full(16, scale)]
    sign = np.where(y == 1, 1.0, -1.0)
    # Classes without a weight have the weight 1.
    weight = np.where(y == 0, (model.class_weight or {}).get(0, 1.0), 1.0)
    # All scores are 0, so that every row violates the margin by 1.
    squared = model.loss == "squared_hinge" and model.multi_class == "ovr"
    g = A.T @ (-sign * weight * (2 if squared else 1))
    rate = 3.0 if squared else 5.0
    rate *= weight.sum() / (weight @ np.abs(A).sum(axis=1))
    if model.multi_class == "crammer_singer":
        # Two opposite weight vectors take the step; the model holds their difference.
        rate *= 2
    with np.errstate(divide="ignore", invalid="ignore"):
        r = np.where(g != 0, rate / np.abs(g), 0.0)
    w = -r * g
    np.testing.assert_allclose(model.coef_[0], w[:-1], rtol=1e-12)
    np.testing.assert_allclose(model.intercept_, w[-1:] * scale, rtol=1e-12)


def test_features_that_do_not_occur_are_decayed_all_the_same():
    X, y = texts(200, 1000)
    model = stream(LinearSVM(random_state=0, C=0.01), X, y)
    before = model.coef_.copy()
    silent = np.ones(1000, bool)
    silent[X[:50].indices] = False
    model.partial_fit(X[:50], y[:50])
    changed = silent & (before != 0).any(axis=0)
    assert changed.sum() > 50
    ratio = model.coef_[:, changed] / np.where(before[:, changed] == 0, np.nan, before[:, changed])
    assert np.nanmax(ratio) < 1
    assert np.nanmin(ratio) > 0


def test_the_mean_over_the_steps():
    """The mean of the weights after each step, of which late ones count more."""
    X, y = load_iris(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    last, mean = [], None
    plain, averaged = LinearSVM(random_state=0), LinearSVM(random_state=0, average=True)
    # One step a call.
    for k in range(9):
        rows = slice(16 * k, 16 * k + 16)
        plain.partial_fit(X[rows], y[rows], classes=[0, 1, 2])
        averaged.partial_fit(X[rows], y[rows], classes=[0, 1, 2])
        last.append(plain.coef_)
        share = 4 / (len(last) + 3)
        mean = last[-1] if mean is None else mean + share * (last[-1] - mean)
    np.testing.assert_allclose(averaged.coef_, mean, rtol=1e-9)


def test_words_that_are_rarely_seen_are_learnt_in_one_pass():
    X, y = texts(3000, 20_000, 4)
    order = np.random.default_rng(0).permutation(3000)
    X, y = X[order], y[order]
    model = stream(LinearSVM(random_state=0), X[:2000], y[:2000], 10)
    assert model.score(X[2000:], y[2000:]) > 0.97


@pytest.mark.parametrize("scaler", [StandardScaler(), MinMaxScaler()], ids=str)
@pytest.mark.parametrize("n_calls", [1, 20])
def test_one_pass_over_a_table_is_as_good_as_scikit_learns(n_calls, scaler):
    X, y = load_digits(return_X_y=True)
    X = scaler.fit_transform(X)
    ours, theirs = [], []
    for seed in range(4):
        order = np.random.default_rng(seed).permutation(len(y))
        train, test = order[:1200], order[1200:]
        for model, scores in ((LinearSVM(), ours), (SGDClassifier(), theirs)):
            model.set_params(random_state=seed)
            fitted = stream(model, X[train], y[train], n_calls)
            scores.append(fitted.score(X[test], y[test]))
    assert np.mean(ours) >= np.mean(theirs) - 0.01


@pytest.mark.parametrize("factor", [1 / 8, 8.0])
@pytest.mark.parametrize("loss", ["hinge", "squared_hinge"])
def test_scaling_x_equals_scaling_c(loss, factor):
    X, y = texts(200, 1000)
    options = {"loss": loss, "fit_intercept": False, "random_state": 0}
    plain = stream(LinearSVM(**options), X, y)
    scaled = stream(LinearSVM(C=1 / factor**2, **options), X * factor, y)
    # Powers of two are exact.
    np.testing.assert_array_equal(scaled.coef_ * factor, plain.coef_)


def test_a_row_counts_as_much_in_any_call(monkeypatch):
    X, y = load_iris(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    options = {"class_weight": {0: 30.0, 1: 0.1}, "random_state": 0}
    begun = LinearSVM(**options)
    for _ in range(20):
        begun.partial_fit(X, y, classes=[0, 1, 2])
    run, found = _stream._Call.run, []

    def recorded(call, target, scale):
        found.append((target, scale))
        run(call, target, scale)

    monkeypatch.setattr(_stream._Call, "run", recorded)
    copy.deepcopy(begun).partial_fit(X, y)
    for label in range(3):
        begun.partial_fit(X[y == label], y[y == label])
    weights = [{}, {}]
    for call, (target, scale) in enumerate(found):
        for row, of_row in zip(target, scale, strict=True):
            weights[call > 0][int(row.argmax())] = of_row
    assert len(found) == 4
    for label in range(3):
        np.testing.assert_allclose(weights[1][label], weights[0][label], rtol=0.1)


@pytest.mark.parametrize("factor", [2.0**-400, 2.0**-140, 2.0**400])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@KINDS
def test_a_factor_of_all_weights_is_one_of_c(options, dtype, factor):
    X, y = texts(200, 1000)
    X = X.astype(dtype)
    options = {"C": 1.0, "random_state": 0} | options
    plain = stream(LinearSVM(**options), X, y)
    scaled = LinearSVM(**(options | {"C": options["C"] / factor}))
    for rows in np.array_split(np.arange(200), 5):
        weight = np.full(len(rows), factor)
        scaled.partial_fit(X[rows], y[rows], sample_weight=weight, classes=[0, 1, 2])
    assert plain.coef_.any()
    # Powers of two are exact.
    np.testing.assert_array_equal(scaled.coef_, plain.coef_)
    np.testing.assert_array_equal(scaled.intercept_, plain.intercept_)


@pytest.mark.parametrize("factor", [1e-300, 1e300])
def test_weights_of_any_size_give_a_finite_result(factor):
    X, y = texts(200, 1000)
    weight = np.full(200, factor)
    model = LinearSVM(random_state=0)
    for _ in range(2):
        model.partial_fit(X, y, sample_weight=weight, classes=[0, 1, 2])
    assert np.isfinite(model.coef_).all()
    assert model.coef_.any()


def test_the_mean_does_not_change_the_steps():
    X, y = load_iris(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    plain, averaged = LinearSVM(random_state=0), LinearSVM(random_state=0, average=True)
    for scaling in (1.0, 1.0, 8.0, 0.5):
        for model in (plain, averaged):
            model.set_params(intercept_scaling=scaling).partial_fit(X, y, classes=[0, 1, 2])
        W, b = averaged._state.weights
        np.testing.assert_allclose(W.T, plain.coef_, rtol=1e-9)
        np.testing.assert_allclose(b, plain.intercept_, rtol=1e-9)


def test_the_rates_do_not_depend_on_the_value_of_the_constant_feature():
    X, y = thin(16, 6), np.arange(16) % 2
    # In the first step all scores are 0, and the gradients are those of the losses.
    squares = [
        LinearSVM(random_state=0, intercept_scaling=scaling)
        .partial_fit(X, y + (X[:, 0] > 0), classes=[0, 1, 2])
        ._state.squares
        for scaling in (1.0, 50.0)
    ]
    assert squares[0][-1] > 0
    np.testing.assert_allclose(squares[1], squares[0], rtol=1e-12)


@pytest.mark.parametrize("given", ["a RandomState", "None"])
def test_models_that_share_a_generator_see_the_rows_in_different_orders(given):
    X, y = load_iris(return_X_y=True)
    shared = np.random.RandomState(0) if given == "a RandomState" else None
    models = [LinearSVM(random_state=shared) for _ in range(3)]
    for model in models:
        model.partial_fit(X, y, classes=[0, 1, 2])
    assert len({model.coef_.tobytes() for model in models}) == 3
    # After the first call, a model draws from a copy.
    generator = np.random.mtrand._rand if shared is None else shared
    before = generator.get_state()[1].tobytes(), generator.get_state()[2]
    twin = copy.deepcopy(models[0])
    models[0].partial_fit(X, y)
    assert before == (generator.get_state()[1].tobytes(), generator.get_state()[2])
    generator.random_sample()
    np.testing.assert_array_equal(twin.partial_fit(X, y).coef_, models[0].coef_)


@pytest.mark.parametrize("solver", ["auto", "sgd"])
@pytest.mark.parametrize("known", [True, False], ids=["fit", "assigned"])
@pytest.mark.parametrize("as_given", [np.asarray, sparse.csr_array], ids=["dense", "sparse"])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_partial_fit_goes_on_from_a_solution(as_given, known, solver):
    X, y = load_digits(return_X_y=True)
    X = as_given(MinMaxScaler().fit_transform(X))
    train, new, test = np.split(np.random.default_rng(0).permutation(len(y)), [1000, 1100])
    model = LinearSVM(solver=solver, tol=1e-2, random_state=0).fit(X[train], y[train])
    before = model.coef_, model.score(X[test], y[test])
    if not known:
        model._state = None
    model.partial_fit(X[new], y[new])
    far = np.linalg.norm(before[0])
    assert 0 < np.linalg.norm(model.coef_ - before[0]) < far / 5
    assert model.score(X[test], y[test]) > before[1] - 0.01
    for few in (new[:1], new[:5]):
        model.fit(X[train], y[train])
        if not known:
            model._state = None
        model.partial_fit(X[few], y[few])
        assert np.linalg.norm(model.coef_ - before[0]) < far / 20


@pytest.mark.parametrize("options", [{}, {"class_weight": {0: 9.0}}, {"loss": "hinge"}], ids=str)
def test_a_sample_of_dense_rows_leaves_about_the_same_state(options, monkeypatch):
    monkeypatch.setattr(_stream, "SAMPLE_ROWS", 200)
    X = np.random.default_rng(0).normal(size=(1000, 4)) * [0.1, 1, 2, 30]
    y = np.arange(1000) // 334
    one, two = (
        LinearSVM(tol=0.5, **options).fit(rows, y)._state for rows in (X, sparse.csr_array(X))
    )
    for name in ("squares", "unit", "totals", "norms"):
        np.testing.assert_allclose(getattr(one, name), getattr(two, name), rtol=0.3)


@pytest.mark.parametrize("bits", [32, 64])
def test_the_constant_column_of_sparse_rows(bits):
    X = in_form(thin(20, 6), f"csr_array_{bits}")
    found = with_constant(X, 2.5)
    assert found.has_canonical_format
    np.testing.assert_array_equal(found.toarray(), np.c_[thin(20, 6), np.full(20, 2.5)])


def test_memory_is_that_of_the_coefficients():
    rng = np.random.default_rng(0)
    n, n_features, n_classes = 300, 2**17, 10
    places = np.repeat(np.arange(n), 40), rng.integers(n_features, size=n * 40)
    X = sparse.csr_array((np.ones(n * 40), places), (n, n_features))
    y = np.arange(n) % n_classes
    model = LinearSVM(random_state=0)
    tracemalloc.start()
    try:
        for _ in range(3):
            model.partial_fit(X, y, classes=np.arange(n_classes))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # The coefficients before and after, and the rates of the features.
    assert peak < 3 * model.coef_.nbytes
    assert not hasattr(model, "dual_gap_")


def test_sgd_keeps_sparse_rows_sparse():
    X, y = texts(300, 2000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        options = {"solver": "sgd", "max_iter": 3, "intercept_scaling": 2.0, "random_state": 0}
        one, two = (LinearSVM(**options).fit(rows, y) for rows in (X, X.toarray()))
    np.testing.assert_allclose(one.coef_, two.coef_, rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(one.intercept_, two.intercept_, rtol=1e-6, atol=1e-12)
