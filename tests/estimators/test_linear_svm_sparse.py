"""`LinearSVM` on sparse rows: the results of dense ones, and arrays that stay as they are."""

import hashlib
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator

from skscratch import LinearSVM
from skscratch.core.blas import single_threaded_blas
from skscratch.persistence import load as load_model
from skscratch.persistence import save


@pytest.fixture(autouse=True)
def one_thread():
    """Products this small are much slower on several threads if other programs are running."""
    with single_threaded_blas:
        yield


def few_features(n_classes=3):
    """Return 90 rows of 8 features, of which some are 0."""
    rng = np.random.default_rng(0)
    y = rng.integers(n_classes, size=90)
    X = rng.normal(size=(90, 8)) * (rng.uniform(size=(90, 8)) < 0.5)
    X[np.arange(90), y] += rng.uniform(0.5, 2.0, size=90)
    return X, y


def many_features(n_classes=3):
    """Return 80 rows of 1,500 features, most of them 0, and some features 0 in all rows."""
    rng = np.random.default_rng(1)
    y = rng.integers(n_classes, size=80)
    X = np.zeros((80, 1500))
    # From one row to the next, some features are common and others are rare.
    X[np.arange(80)[:, None], rng.zipf(1.4, size=(80, 30)) % 1400] = 1.0
    X[np.arange(80)[:, None], 1400 + 10 * y[:, None] + rng.integers(15, size=(80, 4))] = 1.5
    return X / np.linalg.norm(X, axis=1)[:, None], y


DATA = pytest.mark.parametrize("data", [few_features, many_features])
DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])
KINDS = pytest.mark.parametrize(
    "kind",
    [{}, {"loss": "hinge"}, {"multi_class": "crammer_singer"}, {"penalty": "l1"}],
    ids=str,
)
FORMATS = [f"{name}_{kind}" for name in ("csr", "csc", "coo") for kind in ("matrix", "array")]


def in_format(X, name, index):
    """Return X in a sparse format, with indices of this dtype."""
    made = getattr(sparse, name)(X)
    if made.format == "coo":
        made.coords = tuple(axis.astype(index) for axis in made.coords)
    else:
        made.indices, made.indptr = made.indices.astype(index), made.indptr.astype(index)
    assert {array.dtype for array in arrays_of(made)[1:]} == {np.dtype(index)}
    return made


def arrays_of(X):
    """Return the arrays that hold a sparse matrix, its values first."""
    return [X.data, *X.coords] if X.format == "coo" else [X.data, X.indices, X.indptr]


def model_of(kind, dtype, **options):
    # In float32, a smaller gap is out of reach for some of them.
    tol = 1e-9 if dtype == np.float64 else 1e-6
    return LinearSVM(**kind, tol=tol, random_state=0, **options)


def assert_same_model(found, expected, X, dtype):
    """The distance of two coefficient vectors is bounded by the root of their gaps."""
    atol = 1e-4 if dtype == np.float64 else 4e-3
    assert found.coef_.dtype == expected.coef_.dtype == dtype
    assert_allclose(found.coef_, expected.coef_, rtol=0, atol=atol)
    assert_allclose(found.intercept_, expected.intercept_, rtol=0, atol=atol)
    assert_allclose(found.objective_, expected.objective_, rtol=3 * expected.tol)
    scores = expected.decision_function(X)
    assert_allclose(found.decision_function(X), scores, rtol=0, atol=4 * atol)
    if found.penalty == "l1":
        assert_array_equal(found.coef_ == 0, expected.coef_ == 0)


@DATA
@DTYPES
@KINDS
def test_formats_and_indices_give_the_result_of_dense_rows(data, dtype, kind):
    X, y = data()
    X = X.astype(dtype)
    weight = np.random.default_rng(2).integers(0, 4, size=len(y))
    model = model_of(kind, dtype, class_weight={0: 2.0, 1: 0.5})
    dense = clone(model).fit(X, y, sample_weight=weight)
    first = clone(model).fit(sparse.csr_array(X), y, sample_weight=weight)
    assert_same_model(first, dense, X, dtype)
    scores = first.decision_function(X)
    for name in FORMATS:
        for index in [np.int32, np.int64] if dtype == np.float64 else [np.int64]:
            rows = in_format(X, name, index)
            found = clone(model).fit(rows, y, sample_weight=weight)
            # All of them are the same rows in CSR.
            assert_array_equal(found.coef_, first.coef_)
            assert_array_equal(found.intercept_, first.intercept_)
            # Products of other formats are summed in another order.
            atol = 100 * np.finfo(dtype).eps
            assert_allclose(found.decision_function(rows), scores, rtol=0, atol=atol)


@DATA
@KINDS
@pytest.mark.parametrize("n_classes", [2, 3])
def test_weights_on_sparse_rows_are_those_on_dense_rows(data, kind, n_classes):
    X, y = data(n_classes)
    rows = sparse.csr_array(X)
    sample = np.random.default_rng(2).integers(0, 4, size=len(y))
    plain = model_of(kind, X.dtype).fit(rows, y)
    for class_weight, weight in ((None, sample), ({0: 3.0}, None), ("balanced", sample)):
        model = model_of(kind, X.dtype, class_weight=class_weight)
        found = clone(model).fit(rows, y, sample_weight=weight)
        assert_same_model(found, model.fit(X, y, sample_weight=weight), X, X.dtype)
        assert np.abs(found.coef_ - plain.coef_).max() > 1e-2


@DATA
@KINDS
@pytest.mark.parametrize("sparsified", [False, True])
def test_a_warm_start_on_sparse_rows_ends_at_the_result_of_dense_rows(data, kind, sparsified):
    X, y = data()
    cold = model_of(kind, X.dtype).fit(X, y)
    model = model_of(kind, X.dtype, warm_start=True, C=0.5).fit(sparse.csr_array(X), y)
    assert np.abs(model.coef_ - cold.coef_).max() > 1e-2
    if sparsified:
        model.sparsify()
    model.set_params(C=1.0).fit(sparse.csc_array(X), y)
    assert_same_model(model, cold, X, X.dtype)


@DATA
def test_stochastic_gradients_on_sparse_rows_are_those_of_dense_rows(data):
    X, y = data()
    for kind in ({}, {"loss": "hinge"}, {"multi_class": "crammer_singer"}):
        dense, rows = (LinearSVM(**kind, random_state=0) for _ in range(2))
        for name in ("csr_array", "csc_matrix", "coo_array"):
            dense.partial_fit(X, y, classes=[0, 1, 2])
            rows.partial_fit(in_format(X, name, np.int64), y, classes=[0, 1, 2])
            assert_allclose(rows.coef_, dense.coef_, rtol=0, atol=1e-9)


def digest(X):
    """Return a digest of the arrays that hold X, with their dtypes."""
    return [(a.dtype, hashlib.sha256(a.tobytes()).hexdigest()) for a in arrays_of(X)]


def unsorted(X, name):
    """Return X in a sparse format, its entries in reverse order and some of them in two parts."""
    made = sparse.coo_array(X)
    data, row, col = (
        np.concatenate([values, values[:20]])[::-1] for values in (made.data, made.row, made.col)
    )
    data[:20] /= 2
    data[-20:] /= 2
    if name.startswith("coo"):
        return getattr(sparse, name)((data, (row, col)), shape=X.shape)
    major, minor = (row, col) if name.startswith("csr") else (col, row)
    order = np.argsort(major, kind="stable")
    starts = np.searchsorted(major[order], np.arange(X.shape[name.startswith("csc")] + 1))
    return getattr(sparse, name)((data[order], minor[order], starts), shape=X.shape)


@DATA
@pytest.mark.parametrize("name", FORMATS)
def test_sparse_rows_are_left_as_they_are(data, name, tmp_path):
    dense, y = data()
    index = np.int64 if name.endswith("array") else np.int32
    for X in (in_format(dense, name, index), unsorted(dense, name)):
        assert_allclose(X.toarray(), dense)
        before = digest(X)
        for array in arrays_of(X):
            array.setflags(write=False)

        def unchanged(result, X=X, before=before):
            assert digest(X) == before
            return result

        for kind in ({}, {"loss": "hinge"}, {"multi_class": "crammer_singer"}, {"penalty": "l1"}):
            model = unchanged(LinearSVM(**kind, warm_start=True).fit(X, y))
            for method in (model.predict, model.decision_function):
                unchanged(method(X))
            unchanged(model.score(X, y))
        stream = LinearSVM(random_state=0)
        for _ in range(2):
            unchanged(stream.partial_fit(X, y, classes=[0, 1, 2]))
        calibrated = unchanged(CalibratedClassifierCV(LinearSVM(), cv=2).fit(X, y))
        unchanged(calibrated.predict_proba(X))
        # The model with the penalty l1 is the last one.
        scores = model.decision_function(X)
        model.sparsify()
        assert sparse.issparse(model.coef_)
        assert_allclose(unchanged(model.decision_function(X)), scores, atol=1e-12)
        save(model, tmp_path / "model")
        loaded = load_model(tmp_path / "model")
        assert_allclose(unchanged(loaded.decision_function(X)), scores, atol=1e-12)
        assert_array_equal(unchanged(loaded.predict(X)), model.predict(X))
        coef = loaded.coef_.toarray()
        unchanged(loaded.fit(X, y))
        assert_allclose(loaded.coef_, coef, rtol=0, atol=1e-5)


@DATA
def test_calibration_on_sparse_rows_is_that_of_dense_rows(data):
    X, y = data()
    for kind in ({"loss": "hinge"}, {"penalty": "l1"}):
        model = CalibratedClassifierCV(LinearSVM(**kind, tol=1e-9), cv=2)
        dense, rows = clone(model).fit(X, y), clone(model).fit(sparse.coo_array(X), y)
        assert_allclose(rows.predict_proba(X), dense.predict_proba(X), rtol=0, atol=1e-3)


def test_invalid_sparse_rows_are_refused():
    X, y = few_features()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rows = sparse.csr_array(X)
        rows.data[3] = np.nan
        with pytest.raises(ValueError, match="contains NaN"):
            LinearSVM().fit(rows, y)
        rows.data[3] = 1e300
        for kind in ({}, {"loss": "hinge"}, {"penalty": "l1"}):
            with pytest.raises(ValueError, match="too large for float64. Scale the columns"):
                LinearSVM(**kind).fit(rows, y)


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_array], ids=["dense", "sparse"])
def test_float32_values_are_refused_alike_in_dense_and_sparse_rows(make):
    X = (1e20 * np.random.default_rng(0).normal(size=(100, 4))).astype(np.float32)
    with pytest.raises(ValueError, match="values too large for float32"):
        LinearSVM().fit(make(X), X[:, 0] > 0)


def test_weights_too_small_for_float32_are_named():
    X = np.random.default_rng(0).normal(size=(300, 900)).astype(np.float32)
    with pytest.raises(ValueError, match=r"C times sample_weight times class_weight .* too small"):
        LinearSVM(C=1e-42).fit(X, X[:, 0] > 0)


def test_a_model_can_be_calibrated_after_its_weights_are_sparse():
    rng = np.random.default_rng(0)
    X, y = sparse.csr_array(rng.normal(size=(90, 5))), np.arange(90) % 3
    model = LinearSVM().fit(X, y)
    of_dense = CalibratedClassifierCV(FrozenEstimator(model)).fit(X, y).predict_proba(X)
    model.sparsify()
    of_sparse = CalibratedClassifierCV(FrozenEstimator(model)).fit(X, y).predict_proba(X)
    assert_allclose(of_sparse, of_dense, rtol=1e-10)
