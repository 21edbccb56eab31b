"""Properties that hold for unusual but valid input.

Every estimator gives a finite result, or raises or warns with the name of an argument. Input is
never changed, an error changes nothing, and equal estimators give equal bits.
"""

import re
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from skscratch import AutoencoderTransformer, LinearSVM, MLPClassifier, MLPRegressor

N_EXAMPLES = 300
ESTIMATORS = {
    "classifier": MLPClassifier((4,), max_iter=3, random_state=0),
    "regressor": MLPRegressor(hidden_layer_sizes=(4,), max_iter=3, random_state=0),
    "autoencoder": AutoencoderTransformer(2, (4,), max_iter=3, random_state=0),
    "svm": LinearSVM(max_iter=20, random_state=0),
}
OPTIONS = {
    "classifier": st.sampled_from(
        [
            {},
            {"solver": "sgd"},
            {"solver": "lbfgs"},
            {"solver": "adamw", "dropout": 0.2, "layer_norm": True},
            {"early_stopping": True},
            {"class_weight": "balanced", "label_smoothing": 0.1},
            {"class_weight": {0: 3.0, 1: 0.5}},
        ]
    ),
    "regressor": st.sampled_from(
        [
            {},
            {"loss": "huber", "solver": "rmsprop"},
            {"loss": "absolute_error", "solver": "lbfgs"},
            {"loss": "pinball", "quantile": [0.1, 0.9]},
            {"loss": "poisson"},
            {"early_stopping": True, "activation": "silu"},
        ]
    ),
    "autoencoder": st.sampled_from(
        [
            {},
            {"loss": "auto"},
            {"noise": "masking", "loss": "huber"},
            {"beta": 0.5, "loss": "absolute_error"},
            {"tied_weights": True, "solver": "sgd", "learning_rate": "adaptive"},
            {"latent_activation": "logistic", "sparsity": 0.1, "sparsity_target": 0.1},
            {"contraction": 0.1, "early_stopping": True},
        ]
    ),
    "svm": st.sampled_from(
        [
            {},
            {"loss": "hinge"},
            {"solver": "sgd"},
            {"solver": "sgd", "average": True, "loss": "hinge"},
            {"multi_class": "crammer_singer"},
            {"class_weight": "balanced"},
            {"class_weight": {0: 3.0, 1: 0.5}, "fit_intercept": False},
        ]
    ),
}
# The arguments that a message may name, besides those of the constructor.
ARGUMENTS = {"X", "y", "sample_weight", "X_val", "y_val", "sample_weight_val"}
FORMS = ["C", "F", "strided", "reversed", "read-only", "csr", "csc", "coo", "csr with duplicates"]
DTYPES = ["f8", "f4", "f2", ">f8", "i4", "u1", "?"]
SCALES = [1.0, 1e-300, 1e-30, 1e-5, 1e5, 1e30, 1e300]


def in_form(X, form):
    """Return the same rows in another memory order or sparse format."""
    if form == "F":
        return np.asfortranarray(X)
    if form == "strided":
        return np.repeat(np.repeat(X, 2, axis=0), 3, axis=1)[::2, ::3]
    if form == "reversed":
        return np.ascontiguousarray(X[::-1, ::-1])[::-1, ::-1]
    if form == "read-only":
        X = X.copy()
        X.flags.writeable = False
        return X
    if form == "csr with duplicates":
        twice = sparse.csr_matrix(X)
        twice.data, twice.indices = np.repeat(twice.data, 2), np.repeat(twice.indices, 2)
        twice.indptr = twice.indptr * 2
        return twice
    return X if form == "C" else sparse.coo_matrix(X).asformat(form)


@st.composite
def problems(draw):
    """Draw rows, labels and weights."""
    n_rows, n_columns = draw(st.integers(1, 30)), draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    X = rng.normal(size=(n_rows, n_columns))
    if draw(st.booleans()):
        X = np.abs(X) / np.abs(X).max()
    for column in draw(st.sets(st.integers(0, n_columns - 1))):
        X[:, column] = X[0, column]
    X[rng.random(X.shape) < draw(st.sampled_from([0.0, 0.0, 0.5, 1.0]))] = 0
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    form = draw(st.sampled_from(FORMS))
    if form.startswith(("cs", "coo")) and dtype.str in ("<f2", ">f8"):
        # SciPy has no sparse matrices of these dtypes.
        dtype = np.dtype("f8")
    if dtype.kind == "f":
        scale = draw(st.sampled_from(SCALES))
        if draw(st.booleans()):
            scale = scale ** (rng.random(n_columns) < 0.5)
        X = np.clip(X * scale, np.finfo(dtype).min, np.finfo(dtype).max)
    else:
        X = np.abs(X) * 3
    X = X.astype(dtype)
    y = np.arange(n_rows) % draw(st.integers(1, 4))
    weight = draw(st.sampled_from([None, "ones", "some", "none of a class", "tiny", "huge"]))
    weights = {
        None: None,
        "ones": np.ones(n_rows),
        "some": rng.integers(0, 3, n_rows).astype(float),
        "none of a class": (y > 0).astype(float),
        "tiny": np.full(n_rows, 1e-300),
        "huge": np.full(n_rows, 1e300),
    }
    return in_form(X, form), y, weights[weight]


def snapshot(data):
    if data is None:
        return ()
    parts = (data,)
    if sparse.issparse(data):
        names = ("data", "row", "col") if data.format == "coo" else ("data", "indices", "indptr")
        parts = tuple(getattr(data, name) for name in names)
    return [(part.dtype, part.shape, part.tobytes()) for part in parts]


def results(model, X):
    """Return all predictions of a fitted estimator."""
    methods = ("predict", "predict_proba", "decision_function", "transform", "score_samples")
    return [getattr(model, name)(X) for name in methods if hasattr(model, name)]


def names_an_argument(text, model):
    names = ARGUMENTS | set(model.get_params())
    return re.search(rf"(?<![\w])({'|'.join(map(re.escape, names))})(?![\w])", text) is not None


def check_properties(name, options, problem):
    X, y, weight = problem
    model = clone(ESTIMATORS[name]).set_params(**options)
    before = [snapshot(data) for data in problem]
    with warnings.catch_warnings(record=True) as caught, np.errstate(all="ignore"):
        warnings.simplefilter("always")
        try:
            model.fit(X, y, sample_weight=weight)
            answers = results(model, X)
        except ValueError as error:
            assert names_an_argument(str(error), model), str(error)
            answers = None
            if not hasattr(model, "n_features_in_"):
                assert vars(model) == vars(clone(model)), "an error has left something behind"
        if answers is not None:
            for answer in answers:
                assert np.isfinite(answer).all(), "not finite"
            twin = clone(model).fit(X, y, sample_weight=weight)
            for one, other in zip(answers, results(twin, X), strict=True):
                np.testing.assert_array_equal(one, other)
            for one, other in zip(answers, results(model, X), strict=True):
                np.testing.assert_array_equal(one, other)
    for warning in caught:
        if issubclass(warning.category, ConvergenceWarning):
            continue
        text = str(warning.message)
        assert issubclass(warning.category, UserWarning), text
        assert names_an_argument(text, model), text
    assert [snapshot(data) for data in problem] == before


QUIET = {"deadline": None, "suppress_health_check": list(HealthCheck)}


@pytest.mark.parametrize("name", ESTIMATORS)
def test_unusual_input(name):
    @settings(max_examples=N_EXAMPLES, **QUIET)
    @given(OPTIONS[name], problems())
    def check(options, problem):
        check_properties(name, options, problem)

    check()


@pytest.mark.slow
@pytest.mark.parametrize("name", ESTIMATORS)
def test_much_unusual_input(name):
    @settings(max_examples=5000, **QUIET)
    @given(OPTIONS[name], problems())
    def check(options, problem):
        check_properties(name, options, problem)

    check()
