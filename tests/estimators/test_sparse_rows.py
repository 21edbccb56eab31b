"""Networks on sparse rows: any format, the results of dense rows, memory of the entries."""

import tracemalloc

import numpy as np
import pytest
from scipy import sparse
from sklearn import config_context
from sklearn.base import clone

from skscratch import AutoencoderTransformer, MLPClassifier, MLPRegressor
from skscratch.core.rows import as_rows
from skscratch.estimators._base import _block_rows
from tests.core.test_sparse_rows import FORMS, in_form, peak, thin, wide

OPTIONS = {"hidden_layer_sizes": (5,), "max_iter": 3, "random_state": 0, "tol": 0.0}
ESTIMATORS = {
    "classifier": MLPClassifier(**OPTIONS),
    "classifier, no hidden layer": MLPClassifier(**(OPTIONS | {"hidden_layer_sizes": ()})),
    "classifier, lbfgs": MLPClassifier(**OPTIONS, solver="lbfgs"),
    "classifier, early stopping": MLPClassifier(**OPTIONS, early_stopping=True),
    "classifier, noise": MLPClassifier(**OPTIONS, noise="masking"),
    "classifier, layer norm, dropout": MLPClassifier(**OPTIONS, layer_norm=True, dropout=0.3),
    "regressor": MLPRegressor(**OPTIONS),
    "regressor, clipped": MLPRegressor(**OPTIONS, loss="absolute_error", max_gradient_norm=0.1),
    "encoder": AutoencoderTransformer(2, **OPTIONS),
    "encoder, not tied": AutoencoderTransformer(2, **OPTIONS, tied_weights=False),
    "encoder, no hidden layer": AutoencoderTransformer(2, **(OPTIONS | {"hidden_layer_sizes": ()})),
    "encoder, noise": AutoencoderTransformer(2, **OPTIONS, noise="gaussian"),
    "encoder, contraction": AutoencoderTransformer(2, **OPTIONS, contraction=0.1),
    "encoder, early stopping": AutoencoderTransformer(2, **OPTIONS, early_stopping=True),
    "encoder, variational": AutoencoderTransformer(2, **OPTIONS, beta=1.0, loss="auto"),
    "encoder, sparsity": AutoencoderTransformer(2, **OPTIONS, sparsity=0.1, dropout=0.1),
}
EACH = pytest.mark.parametrize("name", ESTIMATORS)
pytestmark = pytest.mark.filterwarnings("ignore:.*(converge|validation set|scales|offset)")


def data(name):
    X = np.abs(thin(60, 8))
    y = np.arange(60) % 3
    return X, y


def results(model, X, y):
    """Return everything that a fitted model computes from rows."""
    names = ["predict_proba", "predict", "reconstruct", "score_samples"]
    names += ["transform"] if len(model.coefs_) > 1 else []
    found = [getattr(model, name)(X) for name in names if hasattr(model, name)]
    score = model.score(X) if hasattr(model, "reconstruct") else model.score(X, y)
    return [*found, score, *model.coefs_, *model.intercepts_]


def trained(estimator, X, y):
    model = clone(estimator).fit(X, y)
    losses = [record["loss"] for record in model.history_]
    found = [losses, *results(model, X, y)]
    if hasattr(model, "partial_fit"):
        found += results(model.partial_fit(X, y), X, y)
    return found


@EACH
def test_losses_predictions_and_scores_are_those_of_dense_rows(name):
    X, y = data(name)
    for one, other in zip(
        trained(ESTIMATORS[name], sparse.csr_array(X), y),
        trained(ESTIMATORS[name], X, y),
        strict=True,
    ):
        np.testing.assert_allclose(one, other, rtol=1e-7, atol=1e-10)


def read_only_with_duplicates(X):
    """Return CSR rows whose entries are halves of entries of X, backwards, in read-only arrays."""
    X = sparse.coo_array(X)
    order = np.lexsort((-X.col, X.row)).repeat(2)
    ends = np.cumsum(2 * np.bincount(X.row, minlength=X.shape[0]))
    given = sparse.csr_array(X.shape)
    given.data, given.indices = X.data[order] / 2, X.col[order]
    given.indptr = np.append(0, ends).astype(given.indices.dtype)
    for array in (given.data, given.indices, given.indptr):
        array.setflags(write=False)
    assert not given.has_canonical_format
    return given


@EACH
def test_read_only_rows_with_duplicates(name):
    X, y = data(name)
    given = read_only_with_duplicates(X)
    for one, other in zip(
        trained(ESTIMATORS[name], given, y),
        trained(ESTIMATORS[name], sparse.csr_array(X), y),
        strict=True,
    ):
        np.testing.assert_allclose(one, other, rtol=1e-7, atol=1e-10)


@EACH
def test_single_precision(name):
    X, y = data(name)
    X = X.astype(np.float32)
    model = clone(ESTIMATORS[name]).fit(sparse.csr_array(X), y)
    assert {coef.dtype for coef in model.coefs_} == {np.dtype(np.float32)}
    dense = clone(ESTIMATORS[name]).fit(X, y)
    for one, other in zip(results(model, X, y), results(dense, X, y), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["classifier", "classifier, lbfgs", "regressor", "encoder"])
def test_the_format_changes_no_bit_and_x_is_not_changed(name, form):
    X, y = data(name)
    expected = trained(ESTIMATORS[name], sparse.csr_array(X), y)
    given = in_form(X, form)
    names = ("data", "row", "col") if given.format == "coo" else ("data", "indices", "indptr")
    before = [(getattr(given, n).dtype, getattr(given, n).tobytes()) for n in names]
    for one, other in zip(trained(ESTIMATORS[name], given, y), expected, strict=True):
        np.testing.assert_array_equal(one, other)
    assert [(getattr(given, n).dtype, getattr(given, n).tobytes()) for n in names] == before


@EACH
@pytest.mark.parametrize("n_jobs", [2, 3])
def test_threads_change_no_bit(name, n_jobs):
    X, y = data(name)
    X = sparse.csr_array(X)
    one = trained(clone(ESTIMATORS[name]).set_params(n_jobs=1), X, y)
    other = trained(clone(ESTIMATORS[name]).set_params(n_jobs=n_jobs), X, y)
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", ["classifier", "encoder"])
def test_validation_rows_may_be_sparse(name):
    X, y = data(name)
    curves = []
    for rows in (X, sparse.csr_array(X)):
        options = {"X_val": rows[40:]} | ({"y_val": y[40:]} if name == "classifier" else {})
        model = clone(ESTIMATORS[name]).fit(rows[:40], y[:40], **options)
        curves.append(model.validation_loss_curve_)
    np.testing.assert_allclose(curves[0], curves[1], rtol=1e-10)


# Memory

SMALL = {"max_iter": 1, "random_state": 0, "tol": 0.0}
WIDE = {
    "classifier": MLPClassifier((8,), **SMALL),
    "classifier, early stopping": MLPClassifier((8,), **SMALL, early_stopping=True),
    "regressor": MLPRegressor(hidden_layer_sizes=(8,), **SMALL),
}


@pytest.mark.parametrize("name", WIDE)
def test_fitting_takes_the_memory_of_the_parameters(name):
    X = wide(400, 100_000)
    y = np.arange(400) % 2
    model = clone(WIDE[name])
    used = peak(lambda: model.fit(X, y))
    # Parameters, their gradient, two moments of Adam, those of the last epoch, the best ones, and
    # what threads need for a step.
    size = model.network_.params.nbytes
    assert used < 7.5 * size + 4e6 < 400 * 100_000 * 8 / 5
    assert peak(lambda: model.predict(X)) < 4e6
    assert peak(lambda: model.score(X, y)) < 4e6


def test_an_autoencoder_takes_the_memory_of_its_weights():
    X = wide(1000, 20_000, 40)
    model = AutoencoderTransformer(16, max_iter=1, random_state=0)
    used = {"fit": peak(lambda: model.fit(X))}
    for name in ("transform", "score", "score_samples"):
        used[name] = peak(lambda name=name: getattr(model, name)(X))
    limit = 5 * model.network_.params.nbytes + 100 * 2**20
    assert max(used.values()) <= limit
    assert used["transform"] < 50 * 2**20
    # Made dense, the rows would have 160 MB.
    assert used["score"] < 100 * 2**20


def test_blocks_of_wide_sparse_rows_are_not_small():
    X = wide(10, 100_000)
    network = MLPClassifier((8,), **SMALL).fit(X, np.arange(10) % 2).network_
    assert _block_rows(network, as_rows(X)) > 1000
    assert _block_rows(network, as_rows(X.toarray())) < 100


def test_scores_respect_the_working_memory():
    X = wide(1000, 20_000, 40)
    model = AutoencoderTransformer(2, (4,), max_iter=1, random_state=0, n_jobs=2).fit(X)
    expected = model.score_samples(X)
    with config_context(working_memory=8):
        tracemalloc.start()
        try:
            scores = model.score_samples(X)
            used = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    np.testing.assert_allclose(scores, expected, rtol=1e-10)
    assert used < 8 * 2**20
