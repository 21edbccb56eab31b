"""Tests of all estimators that train a network."""

import copy
import gc
import pickle
import tracemalloc
import warnings
import weakref
from contextlib import suppress

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from skscratch import AutoencoderTransformer, MLPClassifier, MLPRegressor
from skscratch.core import (
    SGD,
    Adam,
    AdamW,
    Adaptive,
    Averaged,
    Dense,
    LogLoss,
    Network,
    Pinball,
)

# Wide enough for several shards.
WIDE = {"hidden_layer_sizes": (120, 90), "batch_size": 128, "random_state": 0, "max_iter": 3}
NETWORKS = [AutoencoderTransformer(**WIDE), MLPClassifier(**WIDE), MLPRegressor(**WIDE)]
EACH = pytest.mark.parametrize("estimator", NETWORKS, ids=lambda e: type(e).__name__)
pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:Got `batch_size` less than 1:UserWarning"),
]


def data(n=500, width=200, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.random((n, width)).astype(dtype)
    return X, (X[:, :3].sum(axis=1) * 2).astype(int) % 3


def outputs(estimator, X):
    for name in ("predict_proba", "predict", "transform"):
        if hasattr(estimator, name):
            return getattr(estimator, name)(X)
    raise AssertionError


def params(estimator):
    return estimator.network_.params


@EACH
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_number_of_threads_does_not_change_a_bit(estimator, dtype):
    X, y = data(dtype=dtype)
    weight = np.arange(len(X)) % 3
    fitted = [
        clone(estimator).set_params(n_jobs=n_jobs).fit(X, y, sample_weight=weight)
        for n_jobs in (1, 2, 3)
    ]
    for other in fitted[1:]:
        np.testing.assert_array_equal(params(fitted[0]), params(other))
        np.testing.assert_array_equal(outputs(fitted[0], X), outputs(other, X))
        assert fitted[0].loss_curve_ == other.loss_curve_


@EACH
def test_the_number_of_blas_threads_does_not_change_a_bit(estimator):
    X, y = data(dtype=np.float32)
    fitted = []
    for limit in (1, 2):
        with threadpool_limits(limit, user_api="blas"):
            fitted.append(clone(estimator).fit(X, y))
    np.testing.assert_array_equal(params(fitted[0]), params(fitted[1]))


@pytest.mark.parametrize(
    "estimator",
    [*NETWORKS, MLPClassifier((9,), solver="lbfgs", max_iter=3)],
    ids=lambda e: f"{type(e).__name__}-{e.solver}",
)
def test_the_data_are_freed_when_fit_returns(estimator):
    # At once, not when the garbage collector runs: memory would pile up in a loop over files.
    X, y = data()
    gone = weakref.ref(X)
    gc.collect()
    gc.disable()
    try:
        fitted = clone(estimator).fit(X, y)
        outputs(fitted, X)
        del X
        assert gone() is None
    finally:
        gc.enable()


@EACH
def test_equal_seeds_give_equal_results_and_other_seeds_do_not(estimator):
    X, y = data()
    one, two = clone(estimator).fit(X, y), clone(estimator).fit(X, y)
    np.testing.assert_array_equal(params(one), params(two))
    other = clone(estimator).set_params(random_state=1).fit(X, y)
    assert not np.array_equal(params(one), params(other))


@EACH
@pytest.mark.parametrize("twin_of", [lambda e: pickle.loads(pickle.dumps(e)), copy.deepcopy])
def test_a_pickled_estimator_is_equal_and_continues_equally(estimator, twin_of):
    X, y = data()
    options = {} if not isinstance(estimator, MLPClassifier) else {"classes": np.unique(y)}
    fitted = clone(estimator).partial_fit(X, y, **options)
    twin = twin_of(fitted)
    np.testing.assert_array_equal(outputs(fitted, X), outputs(twin, X))
    fitted.partial_fit(X, y)
    twin.partial_fit(X, y)
    np.testing.assert_array_equal(params(fitted), params(twin))


@EACH
@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_k_calls_of_partial_fit_equal_one_fit_of_k_epochs(estimator, solver):
    X, y = data(dtype=np.float32)
    estimator = clone(estimator).set_params(solver=solver, learning_rate="constant")
    whole = clone(estimator).set_params(max_iter=4).fit(X, y)
    options = {} if not isinstance(estimator, MLPClassifier) else {"classes": np.unique(y)}
    steps = clone(estimator)
    for _ in range(4):
        steps.partial_fit(X, y, **options)
    np.testing.assert_array_equal(params(whole), params(steps))
    assert whole.loss_curve_ == steps.loss_curve_
    assert whole.t_ == steps.t_


@EACH
def test_computes_in_the_dtype_of_the_rows(estimator):
    for dtype in (np.float32, np.float64):
        X, y = data(dtype=dtype)
        fitted = clone(estimator).fit(X, y)
        assert params(fitted).dtype == dtype
        if not isinstance(estimator, MLPRegressor):
            assert outputs(fitted, X).dtype == dtype
        assert all(W.dtype == dtype for W in fitted.coefs_ + fitted.intercepts_)


@EACH
def test_small_integers_are_cast_batch_by_batch_to_the_same_result(estimator):
    X, y = data()
    bytes_ = (X * 255).astype(np.uint8)
    one = clone(estimator).fit(bytes_, y)
    two = clone(estimator).fit(bytes_.astype(np.float64), y)
    np.testing.assert_array_equal(params(one), params(two))
    np.testing.assert_array_equal(outputs(one, bytes_), outputs(two, bytes_.astype(float)))


@EACH
def test_sparse_rows_give_the_result_of_dense_ones(estimator):
    X, y = data()
    X[X < 0.7] = 0
    one = clone(estimator).fit(X, y)
    for form in (sparse.csr_matrix, sparse.csc_array):
        two = clone(estimator).fit(form(X), y)
        np.testing.assert_allclose(params(one), params(two), rtol=1e-7, atol=1e-10)
        np.testing.assert_allclose(outputs(one, X), outputs(two, form(X)), rtol=1e-7)


@EACH
def test_training_from_a_read_only_memory_map(estimator, tmp_path):
    X, y = data(dtype=np.float32)
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    np.testing.assert_array_equal(
        params(clone(estimator).fit(mapped, y)), params(clone(estimator).fit(X, y))
    )


@EACH
@pytest.mark.parametrize("early_stopping", [False, True])
def test_training_and_prediction_never_copy_the_whole_data(estimator, early_stopping, tmp_path):
    mapped = np.lib.format.open_memmap(tmp_path / "X.npy", "w+", np.float32, (80_000, 200))
    mapped[:] = np.random.default_rng(0).random(mapped.shape, dtype=np.float32)
    mapped.flags.writeable = False
    y = np.arange(80_000) % 2
    tracemalloc.start()
    try:
        fitted = clone(estimator).set_params(max_iter=1, n_jobs=2)
        fitted.set_params(early_stopping=early_stopping).fit(mapped, y)
        outputs(fitted, mapped)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 0.5 * mapped.nbytes


@EACH
def test_prediction_respects_working_memory(estimator):
    # Few features, many units: most memory is taken by the outputs of the layers.
    X, y = data(1000, 5, dtype=np.float32)
    fitted = clone(estimator).set_params(hidden_layer_sizes=(4000,), max_iter=1, n_jobs=1)
    fitted.fit(X, y)
    peaks = []
    for memory in (1, 1024):
        tracemalloc.start()
        try:
            with sklearn.config_context(working_memory=memory):
                outputs(fitted, X)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert peaks[0] < 2**20 < peaks[1]


@EACH
def test_views_show_the_trained_parameters(estimator):
    X, y = data()
    fitted = clone(estimator).fit(X, y)
    own = {W.__array_interface__["data"][0]: W.size for W in fitted.coefs_ + fitted.intercepts_}
    # Tied weights appear twice.
    assert sum(own.values()) == params(fitted).size
    assert all(np.shares_memory(W, params(fitted)) for W in fitted.coefs_)


@EACH
def test_warm_start_continues(estimator):
    X, y = data()
    warm = clone(estimator).set_params(warm_start=True).fit(X, y)
    first = warm.loss_
    before = params(warm).copy()
    warm.fit(X, y)
    assert warm.loss_ < first
    assert len(warm.loss_curve_) == 2 * WIDE["max_iter"]
    assert warm.t_ == 2 * WIDE["max_iter"] * len(X)
    cold = clone(estimator).fit(X, y).fit(X, y)
    np.testing.assert_array_equal(params(cold), before)


@EACH
def test_warm_start_with_another_shape_is_refused(estimator):
    X, y = data()
    warm = clone(estimator).set_params(warm_start=True).fit(X, y)
    with pytest.raises(ValueError, match="changed since it was fitted"):
        warm.set_params(hidden_layer_sizes=(7,)).fit(X, y)


@EACH
def test_early_stopping_keeps_the_best(estimator):
    X, y = data()
    fitted = clone(estimator).set_params(
        early_stopping=True, max_iter=30, n_iter_no_change=3, learning_rate_init=0.02
    )
    fitted.fit(X, y)
    assert len(fitted.validation_loss_curve_) == fitted.n_iter_ == len(fitted.loss_curve_)
    assert fitted.t_ == fitted.n_iter_ * 450


@EACH
def test_verbose_prints_each_epoch(estimator, capsys):
    X, y = data()
    clone(estimator).set_params(verbose=True).fit(X, y)
    assert capsys.readouterr().out.count("Iteration ") == WIDE["max_iter"]


# Callbacks


class Recorder:
    """A callback that records, and stops after some epochs."""

    def __init__(self, stop_after=99):
        self.seen, self.stop_after = [], stop_after

    def setup(self, estimator, context):
        self.seen.append("setup")

    def on_fit_task_begin(self, estimator, context):
        self.seen.append(f"begin {context.task_name}")

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None, X=None):
        self.seen.append(f"end {context.task_name}")
        self.last = outputs(fitted_estimator, X)
        self.n_iter = fitted_estimator.n_iter_
        return self.seen.count("end epoch") >= self.stop_after

    def teardown(self, estimator, context):
        self.seen.append("teardown")


@EACH
def test_callbacks_see_every_epoch_and_can_stop(estimator):
    X, y = data()
    recorder = Recorder(stop_after=2)
    fitted = clone(estimator).set_callbacks(recorder).fit(X, y)
    epoch = ["begin epoch", "end epoch"]
    assert recorder.seen == ["setup", "begin fit", *epoch, *epoch, "end fit", "teardown"]
    assert fitted.n_iter_ == recorder.n_iter == 2
    np.testing.assert_array_equal(recorder.last, outputs(fitted, X))


@EACH
def test_callbacks_do_not_change_the_result(estimator):
    X, y = data()
    with_callback = clone(estimator).set_callbacks(Recorder()).fit(X, y)
    np.testing.assert_array_equal(params(with_callback), params(clone(estimator).fit(X, y)))


@EACH
def test_a_failing_callback_leaves_no_trace(estimator):
    class Failing(Recorder):
        def on_fit_task_begin(self, estimator, context):
            raise RuntimeError("on purpose")

    X, y = data()
    fitted = clone(estimator).fit(X, y).set_callbacks(Failing())
    before = dict(vars(fitted))
    with pytest.raises(RuntimeError, match="on purpose"):
        fitted.fit(X, y)
    assert vars(fitted) == before


# Errors


def nan_in(X):
    X = X.copy()
    X[3, 2] = np.nan
    return X


BAD_DATA = {
    "nan": (lambda X, y, w: (nan_in(X), y, w), "contains NaN"),
    "infinity": (lambda X, y, w: (np.where(X[1, 1] == X, np.inf, X), y, w), "infinity"),
    "one dimension": (lambda X, y, w: (X[:, 0], y, w), "Expected 2D array"),
    "no rows": (lambda X, y, w: (X[:0], y[:0], None), "minimum of 1 is required"),
    "text": (lambda X, y, w: (X.astype(str) + "a", y, w), "X must hold numbers, but it holds text"),
    "negative weight": (lambda X, y, w: (X, y, w - 1), "Negative values"),
    "zero weights": (lambda X, y, w: (X, y, 0 * w), "at least one non-zero"),
    "nan weight": (lambda X, y, w: (X, y, w * np.nan), "contains NaN"),
    "too few weights": (lambda X, y, w: (X, y, w[1:]), "sample_weight.shape"),
}


@EACH
@pytest.mark.parametrize("kind", BAD_DATA)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_invalid_data_is_refused_and_changes_nothing(estimator, kind, method):
    X, y = data()
    fitted = clone(estimator).fit(X, y)
    before, kept = dict(vars(fitted)), params(fitted).copy()
    spoil, message = BAD_DATA[kind]
    bad_X, bad_y, weight = spoil(X, y, (np.arange(len(X)) % 3).astype(float))
    with pytest.raises(ValueError, match=message):
        getattr(fitted, method)(bad_X, bad_y, sample_weight=weight)
    assert vars(fitted) == before
    np.testing.assert_array_equal(params(fitted), kept)


@EACH
def test_divergence_stops_and_changes_nothing(estimator):
    X, y = data()
    fitted = clone(estimator).fit(X, y)
    before = dict(vars(fitted))
    diverging = {"solver": "sgd", "learning_rate_init": 1e25, "max_iter": 50}
    if isinstance(estimator, AutoencoderTransformer):
        diverging["output_activation"] = "identity"
    fitted.set_params(**diverging)
    with pytest.raises(ValueError, match=r"diverged in epoch \d+.*learning_rate_init"):
        fitted.fit(X * 1e10, y)
    changed = {k for k, v in vars(fitted).items() if v is not before[k]}
    assert changed <= set(diverging)


@EACH
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("hidden_layer_sizes", (10, 0)),
        ("hidden_layer_sizes", (10, 2.5)),
        ("hidden_layer_sizes", -3),
        ("learning_rate_init", 0),
        ("max_iter", 0),
        ("activation", "rleu"),
        ("solver", "adm"),
        ("alpha", -1.0),
        ("batch_size", 0),
        ("n_jobs", "two"),
        ("tol", -1),
        ("momentum", 1.5),
        ("validation_fraction", 1.0),
    ],
)
def test_bad_parameters(estimator, name, value):
    X, y = data(20)
    bad = clone(estimator).set_params(**{name: value})
    with pytest.raises(ValueError, match=name):
        bad.fit(X, y)
    assert not hasattr(bad, "network_")


@EACH
def test_too_few_rows_for_early_stopping(estimator):
    X, y = data(2)
    with pytest.raises(ValueError, match=r"validation set is too small.*n_samples=2"):
        clone(estimator).set_params(early_stopping=True).fit(X, y)


# Effect of every parameter

SHARED = {
    "noise": ({}, {"noise": "masking"}),
    "noise_level": (
        {"noise": "masking", "noise_level": 0.1},
        {"noise": "masking", "noise_level": 0.2},
    ),
    "hidden_layer_sizes": ({}, {"hidden_layer_sizes": (7,)}),
    "activation": ({}, {"activation": "tanh"}),
    "solver": ({}, {"solver": "sgd"}),
    "alpha": ({}, {"alpha": 10.0}),
    "batch_size": ({}, {"batch_size": 50}),
    "learning_rate": ({"solver": "sgd"}, {"solver": "sgd", "learning_rate": "invscaling"}),
    "learning_rate_init": ({}, {"learning_rate_init": 0.01}),
    "power_t": (
        {"solver": "sgd", "learning_rate": "invscaling"},
        {"solver": "sgd", "learning_rate": "invscaling", "power_t": 0.1},
    ),
    "max_iter": ({}, {"max_iter": 2}),
    "shuffle": ({}, {"shuffle": False}),
    "random_state": ({}, {"random_state": 5}),
    "tol": (
        {"early_stopping": True, "max_iter": 12, "n_iter_no_change": 5, "tol": 0.0},
        {"early_stopping": True, "max_iter": 12, "n_iter_no_change": 5, "tol": 1e3},
    ),
    "momentum": ({"solver": "sgd"}, {"solver": "sgd", "momentum": 0.1}),
    "nesterovs_momentum": ({"solver": "sgd"}, {"solver": "sgd", "nesterovs_momentum": False}),
    "early_stopping": ({}, {"early_stopping": True}),
    "validation_fraction": (
        {"early_stopping": True},
        {"early_stopping": True, "validation_fraction": 0.3},
    ),
    "beta_1": ({}, {"beta_1": 0.5}),
    "beta_2": ({}, {"beta_2": 0.5}),
    "epsilon": ({}, {"epsilon": 0.1}),
    "n_iter_no_change": (
        {"early_stopping": True, "max_iter": 8, "tol": 1e3},
        {"early_stopping": True, "max_iter": 8, "tol": 1e3, "n_iter_no_change": 2},
    ),
}
LOGISTIC = {"latent_activation": "logistic", "sparsity": 0.1}
OWN = {
    AutoencoderTransformer: {
        "n_components": ({}, {"n_components": 5}),
        "decoder_layer_sizes": ({}, {"decoder_layer_sizes": (11,)}),
        "latent_activation": ({}, {"latent_activation": "tanh"}),
        "output_activation": ({}, {"output_activation": "identity"}),
        "loss": ({}, {"loss": "absolute_error"}),
        "sparsity": ({}, {"sparsity": 0.1}),
        "sparsity_target": (LOGISTIC, LOGISTIC | {"sparsity_target": 0.1}),
        "contraction": ({}, {"contraction": 0.1}),
        "dropout": ({}, {"dropout": 0.2}),
        "beta": ({"beta": 0.1}, {"beta": 1.0}),
        "tied_weights": ({}, {"tied_weights": False}),
        "initializer": ({}, {"initializer": "he_normal"}),
    },
    MLPClassifier: {
        "class_weight": ({}, {"class_weight": {0: 2.0, 1: 1.0, 2: 1.0}}),
        "label_smoothing": ({}, {"label_smoothing": 0.1}),
    },
    MLPRegressor: {
        "loss": ({}, {"loss": "poisson"}),
        "quantile": ({"loss": "pinball"}, {"loss": "pinball", "quantile": 0.9}),
        "huber_delta": ({"loss": "huber"}, {"loss": "huber", "huber_delta": 0.1}),
    },
}
EARLY = {"early_stopping": True, "max_iter": 12, "n_iter_no_change": 3, "tol": 0.0}
MLP = {
    "max_fun": ({"solver": "lbfgs"}, {"solver": "lbfgs", "max_fun": 2}),
    "dropout": ({}, {"dropout": 0.2}),
    "layer_norm": ({}, {"layer_norm": True}),
    "max_gradient_norm": ({}, {"max_gradient_norm": 1e-3}),
    "scoring": (EARLY, EARLY | {"scoring": lambda estimator, X, y: estimator.n_features_in_}),
    "pretrained": ({}, {"pretrained": Network([Dense(9)], 30)}),
}
OWN[MLPClassifier] |= MLP
OWN[MLPRegressor] |= MLP
# These change the output, the attributes or the speed, but not the result of one fit; each has a
# separate test above.
ELSEWHERE = {"verbose", "warm_start", "n_jobs"}
CASES = [
    pytest.param(type(e), *(OWN[type(e)] | SHARED)[name], id=f"{type(e).__name__}-{name}")
    for e in NETWORKS
    for name in e.get_params()
    if name not in ELSEWHERE
]


@pytest.mark.parametrize(("kind", "one", "other"), CASES)
def test_every_parameter_changes_something(kind, one, other):
    X, y = data(200, 30)
    base = {"max_iter": 3, "random_state": 0, "hidden_layer_sizes": (12,), "batch_size": 64}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted = [kind(**(base | options)).fit(X, y) for options in (one, other)]
    a, b = map(params, fitted)
    same_epochs = fitted[0].n_iter_ == fitted[1].n_iter_
    assert a.shape != b.shape or not np.array_equal(a, b) or not same_epochs


# Validation sets


def validated(estimator, X, y, X_val, y_val):
    """Fit with a validation set; an autoencoder gets no labels."""
    options = {} if isinstance(estimator, AutoencoderTransformer) else {"y_val": y_val}
    return estimator.fit(X, y, X_val=X_val, **options)


@EACH
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_another_validation_set_starts_a_new_best(estimator, solver):
    if solver == "lbfgs" and isinstance(estimator, AutoencoderTransformer):
        pytest.skip("has no lbfgs")
    X, y = data()
    model = clone(estimator).set_params(solver=solver, warm_start=True, max_iter=20)
    # A validation set with an easy perfect score, and one for which it is impossible.
    easy = np.zeros((20, X.shape[1])), np.full(20, y[0])
    hard = X[:50], np.roll(y[:50], 7)
    first = params(validated(model, X, y, *easy)).copy()
    validated(model, X, y, *hard)
    assert not np.array_equal(params(model), first)


@EACH
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_equal_validation_rows_keep_the_best_score(estimator, solver):
    if solver == "lbfgs" and isinstance(estimator, AutoencoderTransformer):
        pytest.skip("has no lbfgs")
    X, y = data()
    model = clone(estimator).set_params(solver=solver, warm_start=True, max_iter=1)
    if hasattr(model, "scoring"):
        model.set_params(scoring="loss")
    best, scores = None, []
    for _ in range(6):
        # Equal rows in other objects, and steps so long that some of them increase the loss.
        model.set_params(learning_rate_init=0.05)
        validated(model, X, y, X[:50].copy(), y[:50].copy())
        state = model._training_state
        scores.append(state.best_score)
        if best is not None and state.best_score == scores[-2]:
            np.testing.assert_array_equal(params(model), best)
        best = params(model).copy()
    assert scores == sorted(scores)
    changed = X[:50].copy()
    changed[3, 4] += 1e-9
    validated(model, X, y, changed, y[:50])
    assert model._training_state.best_score != scores[-1]


OTHER_VALIDATION = {
    "rows": lambda X, y: {"X_val": X[50:100]},
    "dtype": lambda X, y: {"X_val": X[:50].astype(np.float32)},
    "shape": lambda X, y: {"X_val": X[:49], "y_val": y[:49]},
    "labels": lambda X, y: {"y_val": np.roll(y[:50], 1)},
    "weights": lambda X, y: {"sample_weight_val": 1.0 + np.arange(50)},
    "score": lambda X, y: {"scoring": "loss"},
}


@EACH
@pytest.mark.parametrize("what", OTHER_VALIDATION)
def test_validation_data_and_scoring_are_compared_by_content(estimator, what):
    X, y = data()
    validation = {"X_val": X[:50], "y_val": y[:50], "sample_weight_val": np.arange(50) % 2.0}
    other = OTHER_VALIDATION[what](X, y)
    if isinstance(estimator, AutoencoderTransformer):
        if what in {"labels", "score"}:
            pytest.skip("has neither")
        del validation["y_val"]
        other.pop("y_val", None)
    if what == "shape":
        validation["sample_weight_val"] = None
    # The rate is too low to learn anything, so the new best score depends on the rows alone.
    model = clone(estimator).set_params(warm_start=True, max_iter=1)
    model.fit(X, y, **validation)
    model._training_state.best_score = np.inf
    model.fit(X, y, **{name: copy.copy(value) for name, value in validation.items()})
    assert model._training_state.best_score == np.inf
    if "scoring" in other:
        model.set_params(scoring=other.pop("scoring"))
    model.fit(X, y, **validation | other)
    assert model._training_state.best_score < np.inf


@EACH
def test_replaced_parameters_reset_the_best_score(estimator):
    X, y = data()
    model = validated(clone(estimator).set_params(warm_start=True), X, y, X[:50], y[:50])
    model.coefs_ = [np.zeros_like(W) for W in model.coefs_]
    before = params(model).copy()
    model.set_params(max_iter=1, learning_rate_init=1e-12)
    validated(model, X, y, X[:50], y[:50])
    np.testing.assert_allclose(params(model), before, atol=1e-9)


@EACH
def test_a_validation_set_does_not_stop_training_without_early_stopping(estimator):
    X, y = data()
    model = clone(estimator).set_params(max_iter=30, n_iter_no_change=2, tol=0.0)
    noise = np.random.default_rng(1).random(X.shape), np.roll(y, 7)
    alone = clone(model).fit(X, y)
    watched = validated(clone(model), X, y, *noise)
    assert watched.n_iter_ == alone.n_iter_
    assert watched.loss_curve_ == alone.loss_curve_
    early = clone(model).set_params(early_stopping=True, learning_rate_init=0.02, tol=1e3)
    assert validated(early, X, y, *noise).n_iter_ == 4


@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_training_rows_of_total_weight_0_are_refused(kind):
    X, y = data(40, 3)
    held = []

    class Watched(kind):
        def _split(self, data, rng):
            held[:] = super()._split(data, rng)
            return held

    options = {"early_stopping": True, "max_iter": 2, "random_state": 0}
    model = Watched(hidden_layer_sizes=5, **options).fit(X, y, sample_weight=np.arange(40) + 1.0)
    train = np.isin(np.arange(40) + 1.0, held[0].weight)
    with pytest.raises(ValueError, match="All training rows have weight 0"):
        model.fit(X, y, sample_weight=np.where(train, 0.0, 1.0 + np.arange(40)))
    with pytest.raises(ValueError, match="All validation rows have weight 0"):
        model.fit(X, y, sample_weight=np.where(train, 1.0 + np.arange(40), 0.0))


# Weights and memory


@EACH
@pytest.mark.parametrize("memory", [1, 4])
def test_the_number_of_threads_changes_no_bit_with_any_working_memory(estimator, memory):
    # The last digits of a product of this size depend on how it is cut.
    X, y = data(1500, 40)
    fitted = clone(estimator).set_params(hidden_layer_sizes=(300, 300), max_iter=2).fit(X, y)
    with sklearn.config_context(working_memory=memory):
        results = []
        for n_jobs in (1, 2, 3, 8):
            fitted.set_params(n_jobs=n_jobs)
            results.append([outputs(fitted, X), fitted.score(X, y)])
            early = clone(fitted).set_params(early_stopping=True).fit(X, y)
            results[-1] += [np.array(early.validation_loss_curve_), params(early)]
            if isinstance(estimator, AutoencoderTransformer):
                results[-1] += [fitted.score_samples(X), fitted.reconstruct(X)]
    for others in results[1:]:
        for one, other in zip(results[0], others, strict=True):
            np.testing.assert_array_equal(one, other)


@EACH
def test_weights_that_cannot_be_summed_are_refused(estimator):
    X, y = data(50, 4)
    for weight in (np.full(50, 1e308), np.full(50, 5e-324)):
        with pytest.raises(ValueError, match="sample_weight must have a sum that is neither"):
            clone(estimator).fit(X, y, sample_weight=weight)
    options = {} if isinstance(estimator, AutoencoderTransformer) else {"y_val": y}
    with pytest.raises(ValueError, match="sample_weight_val must have a sum"):
        clone(estimator).fit(X, y, X_val=X, sample_weight_val=np.full(50, 1e308), **options)


@EACH
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_small_weights_do_not_underflow(estimator, dtype):
    X, y = data(50, 4, dtype=dtype)
    weight = 1.0 + np.arange(50) % 3
    model = clone(estimator).set_params(hidden_layer_sizes=(5,), alpha=0.0)
    one = clone(model).fit(X, y, sample_weight=weight)
    for factor in (1e-47, 1e-200):
        other = clone(model).fit(X, y, sample_weight=weight * factor)
        np.testing.assert_allclose(params(one), params(other), rtol=1e-3, atol=1e-6)


# Assigned parameters


@EACH
def test_assigned_weights_and_biases_take_effect(estimator):
    X, y = data(60, 5)
    model = clone(estimator).fit(X, y)
    fresh = clone(estimator).set_params(random_state=1).fit(X, y)
    sharing = copy.copy(model)
    before = outputs(model, X)
    model.coefs_, model.intercepts_ = fresh.coefs_, fresh.intercepts_
    np.testing.assert_array_equal(outputs(model, X), outputs(fresh, X))
    np.testing.assert_array_equal(outputs(sharing, X), before)
    # One at a time; lists and any dtype are accepted.
    for k, (W, b) in enumerate(zip(sharing.coefs_, sharing.intercepts_, strict=True)):
        model.coefs_[k], model.intercepts_[k] = W.tolist(), b.astype(np.float32)
        model.intercepts_[k] = b
    np.testing.assert_array_equal(outputs(model, X), before)
    model.coefs_[1:] = fresh.coefs_[1:]
    model.coefs_[0] *= 0
    assert not model.coefs_[0].any()
    np.testing.assert_array_equal(model.coefs_[1], fresh.coefs_[1])
    model.partial_fit(X, y)


@EACH
def test_assigned_weights_of_another_shape_are_refused(estimator):
    X, y = data(60, 5)
    model = clone(estimator).fit(X, y)
    kept = params(model).copy()
    for wrong in (model.coefs_[:-1], [W.T for W in model.coefs_], [np.zeros(3)] * 9):
        with pytest.raises(ValueError, match=r"coefs_ must have the shapes \[\("):
            model.coefs_ = wrong
    with pytest.raises(ValueError, match=r"intercepts_ must have the shapes"):
        model.intercepts_[0] = np.zeros(1)
    np.testing.assert_array_equal(params(model), kept)


def test_federated_averaging_of_networks():
    X, y = data(300, 10)
    parts = [MLPClassifier(8, random_state=0) for _ in range(3)]
    whole = MLPClassifier(8, random_state=0)
    for _ in range(5):
        for k, part in enumerate(parts):
            part.partial_fit(X[k::3], y[k::3], classes=np.unique(y))
        whole.partial_fit(X[:1], y[:1], classes=np.unique(y))
        means = [
            [np.mean(arrays, axis=0) for arrays in zip(*layers, strict=True)]
            for layers in ([p.coefs_ for p in parts], [p.intercepts_ for p in parts])
        ]
        for model in (*parts, whole):
            model.coefs_, model.intercepts_ = means
    for part in parts:
        np.testing.assert_array_equal(params(part), params(whole))


# Data that are not numbers, or too large


NON_NUMERIC = {
    "dates": (np.datetime64("2024-01-01") + np.arange(60)).reshape(-1, 1),
    "durations": np.arange(60).reshape(-1, 1).astype("m8[us]"),
    "text": np.arange(60).reshape(-1, 1).astype(str),
}
FORMS = {
    "array": lambda a: a,
    "objects": lambda a: a.astype(object),
    "list": lambda a: a.tolist(),
    "pandas": pd.DataFrame,
    "pandas, mixed": lambda a: pd.DataFrame({"a": np.arange(len(a)), "b": a[:, 0]}),
    "polars": lambda a: pl.DataFrame({"a": a[:, 0]}),
}


@EACH
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("what", NON_NUMERIC)
def test_non_numeric_rows_are_refused(estimator, what, form):
    X, y = data(60, 1)
    non_numeric = FORMS[form](NON_NUMERIC[what])
    model = clone(estimator).set_params(hidden_layer_sizes=(5,))
    with pytest.raises(ValueError, match=f"^X must hold numbers, but it holds {what}"):
        model.fit(non_numeric, y)
    model.fit(X, y)
    options = {} if isinstance(estimator, AutoencoderTransformer) else {"y_val": y}
    with pytest.raises(ValueError, match=f"^X_val must hold numbers, but it holds {what}"):
        model.fit(X, y, X_val=non_numeric, **options)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("what", NON_NUMERIC)
def test_non_numeric_targets_are_refused(what, form):
    X, y = data(60, 3)
    targets = FORMS[form](NON_NUMERIC[what])
    model = MLPRegressor(hidden_layer_sizes=5, max_iter=2)
    with pytest.raises(ValueError, match=f"^y must hold numbers, but it holds {what}"):
        model.fit(X, targets)
    with pytest.raises(ValueError, match=f"^y_val must hold numbers, but it holds {what}"):
        model.fit(X, y, X_val=X, y_val=targets)


def test_a_series_of_dates_is_refused_and_numeric_objects_are_accepted():
    X, y = data(60, 3)
    model = MLPRegressor(hidden_layer_sizes=5, max_iter=2, random_state=0)
    for dates in (
        pd.Series(pd.date_range("2024-01-01", periods=60)),
        pd.Series(pd.date_range("2024-01-01", periods=60, tz="UTC")),
        pd.date_range("2024-01-01", periods=60),
    ):
        with pytest.raises(ValueError, match="y must hold numbers, but it holds dates"):
            model.fit(X, dates)
    expected = params(model.fit(X, y)).copy()
    for numbers in (y.astype(object), y.tolist(), pd.Series(y, dtype="Int64"), pl.Series(y)):
        np.testing.assert_array_equal(params(model.fit(X.astype(object), numbers)), expected)


@EACH
def test_rows_too_large_for_the_network_raise_instead_of_giving_nan(estimator):
    X, y = data(60, 4, dtype=np.float32)
    fitted = clone(estimator).fit(X - 0.5, y)
    methods = ("predict", "predict_proba", "transform", "reconstruct", "score_samples")
    for method in filter(lambda name: hasattr(fitted, name), methods):
        huge = np.full((3, 4), 3e38, np.float32) * np.array([[1], [-1], [1]], np.float32)
        try:
            answer = getattr(fitted, method)(huge)
        except ValueError as error:
            assert "X holds values too large for a network of float32" in str(error)
        else:
            assert np.isfinite(answer).all()


# Sparse input is not modified


def unsorted_with_duplicates(seed=0):
    rng = np.random.default_rng(seed)
    columns = np.tile([3, 2, 1, 0, 0], 60).astype(np.int32)
    return sparse.csr_matrix(
        (rng.random(300), columns, np.arange(0, 301, 5, dtype=np.int32)), (60, 4)
    )


@EACH
def test_sparse_input_is_never_changed(estimator):
    y = np.arange(60) % 3
    model = clone(estimator).set_params(hidden_layer_sizes=(5,))
    expected = clone(model).fit(unsorted_with_duplicates().toarray(), y)
    X = unsorted_with_duplicates()
    parts = X.data, X.indices, X.indptr
    kept = [part.copy() for part in parts]
    for part in parts:
        part.flags.writeable = False
    fitted = validated(clone(model), X, y, X, y)
    fitted.partial_fit(X, y)
    outputs(fitted, X)
    for part, before in zip((X.data, X.indices, X.indptr), kept, strict=True):
        np.testing.assert_array_equal(part, before)
    np.testing.assert_allclose(params(clone(model).fit(X, y)), params(expected), rtol=1e-9)


# verbose


def printed(capsys, estimator, X, y):
    estimator.set_params(verbose=True).fit(X, y)
    return capsys.readouterr().out.splitlines()


@EACH
def test_verbose_prints_why_training_ended(estimator, capsys):
    X, y = data()
    early = {"early_stopping": True, "tol": 1e3, "n_iter_no_change": 1}
    lines = printed(capsys, clone(estimator).set_params(max_iter=9, **early), X, y)
    assert lines[-1] == (
        "Validation score did not improve more than tol=1000.000000 for 1 consecutive epochs. "
        "Stopping."
    )
    assert printed(capsys, clone(estimator), X, y)[-1] == "Maximum iterations (3) reached."
    stopped = clone(estimator).set_callbacks(Recorder(stop_after=2))
    assert printed(capsys, stopped, X, y)[-1] == "A callback ended training."


@EACH
def test_verbose_prints_each_new_learning_rate(estimator, capsys):
    X, y = data()
    adaptive = {"solver": "sgd", "learning_rate": "adaptive", "learning_rate_init": 0.01}
    options = adaptive | {"tol": 1e3, "n_iter_no_change": 1, "max_iter": 30, "verbose": True}
    lines = printed(capsys, clone(estimator).set_params(**options), X, y)
    lowered = [line for line in lines if line.startswith("Training loss did not improve")]
    rates = [line.partition("Setting learning rate to ")[2] for line in lowered[:-1]]
    assert [float(rate) for rate in rates] == [0.002, 0.0004, 8e-5, 1.6e-5, 3e-6, 1e-6]
    assert lowered[-1].endswith("for 1 consecutive epochs. Stopping.")


def test_verbose_prints_each_iteration_of_lbfgs(capsys):
    X, y = data(60, 5)
    lines = printed(capsys, MLPClassifier(5, solver="lbfgs", max_iter=3, random_state=0), X, y)
    assert [line.partition(",")[0] for line in lines[:3]] == [f"Iteration {k}" for k in (1, 2, 3)]
    assert lines[3].startswith("L-BFGS: STOP")


# Names of arguments in messages


def spoilt(array, value=np.nan):
    array = np.array(array, dtype=float)
    array.flat[0] = value
    return array


WRONG = {
    "X": lambda X, y: ({"X": spoilt(X)}, "X"),
    "X infinite": lambda X, y: ({"X": spoilt(X, np.inf)}, "X"),
    "X short": lambda X, y: ({"X": X[1:]}, "X"),
    "y short": lambda X, y: ({"y": y[1:]}, "y"),
    "sample_weight": lambda X, y: ({"sample_weight": spoilt(np.ones(len(X)))}, "sample_weight"),
    "sample_weight short": lambda X, y: ({"sample_weight": np.ones(3)}, "sample_weight"),
    "sample_weight negative": lambda X, y: ({"sample_weight": -np.ones(len(X))}, "sample_weight"),
    "sample_weight zero": lambda X, y: ({"sample_weight": np.zeros(len(X))}, "sample_weight"),
    "sample_weight 2d": lambda X, y: ({"sample_weight": np.ones((len(X), 2))}, "sample_weight"),
    "X_val": lambda X, y: ({"X_val": spoilt(X), "y_val": y}, "X_val"),
    "X_val narrow": lambda X, y: ({"X_val": X[:, 1:], "y_val": y}, "X_val"),
    "X_val 1d": lambda X, y: ({"X_val": X[:, 0], "y_val": y}, "X_val"),
    "X_val empty": lambda X, y: ({"X_val": X[:0], "y_val": y[:0]}, "X_val"),
    "y_val missing": lambda X, y: ({"X_val": X}, "y_val"),
    "y_val short": lambda X, y: ({"X_val": X, "y_val": y[1:]}, "y_val"),
    "X_val missing": lambda X, y: ({"y_val": y}, "X_val"),
    "sample_weight_val": lambda X, y: (
        {"X_val": X, "y_val": y, "sample_weight_val": spoilt(np.ones(len(X)))},
        "sample_weight_val",
    ),
    "sample_weight_val short": lambda X, y: (
        {"X_val": X, "y_val": y, "sample_weight_val": np.ones(3)},
        "sample_weight_val",
    ),
}


@EACH
@pytest.mark.parametrize("what", WRONG)
def test_a_message_names_the_argument(estimator, what):
    X, y = data(60, 5)
    arguments, name = WRONG[what](X, y)
    if isinstance(estimator, AutoencoderTransformer):
        if what in {"X short", "y short", "y_val missing", "y_val short", "X_val missing"}:
            pytest.skip("ignores y and has no y_val")
        arguments.pop("y_val", None)
    with pytest.raises(ValueError, match=rf"(?<![\w_]){name}(?![\w_])"):
        clone(estimator).fit(**({"X": X, "y": y} | arguments))


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (AutoencoderTransformer, ["encoder_", "decoder_", "coefs_", "intercepts_"]),
        (MLPClassifier, ["coefs_", "intercepts_", "n_layers_", "out_activation_"]),
        (MLPRegressor, ["coefs_", "intercepts_", "n_layers_", "out_activation_"]),
    ],
)
def test_attributes_before_fit_raise_a_clear_error(kind, names):
    for name in names:
        message = f"This {kind.__name__} is not fitted, so it has no attribute '{name}'"
        with pytest.raises(AttributeError, match=message):
            getattr(kind(), name)


@EACH
def test_a_validation_fraction_of_0_is_refused(estimator):
    X, y = data(60, 5)
    model = clone(estimator).set_params(early_stopping=True, validation_fraction=0.0)
    with pytest.raises(ValueError, match="validation_fraction must be above 0"):
        model.fit(X, y)
    validated(model, X, y, X, y)


@pytest.mark.parametrize("schedule", ["adaptive", "invscaling"])
def test_schedules_of_sgd_need_sgd_in_the_autoencoder(schedule):
    X, _ = data(60, 5)
    model = AutoencoderTransformer(2, (5,), learning_rate=schedule, max_iter=2)
    with pytest.raises(ValueError, match=f"learning_rate='{schedule}' needs solver='sgd'"):
        model.fit(X)
    model.set_params(solver="sgd", learning_rate_init=0.01).fit(X)


@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_weights_too_small_for_the_penalty_are_named(kind, solver):
    X, y = data(50, 4, dtype=np.float32)
    model = kind(hidden_layer_sizes=(5,), solver=solver, max_iter=3)
    with pytest.raises(ValueError, match="sample_weight is so small .* alpha=0.0001"):
        model.fit(X, y, sample_weight=np.full(50, 1e-46))


def test_missing_targets_are_refused():
    X, y = data(50, 4)
    missing = np.array([None] * 50, dtype=object)
    model = MLPRegressor(hidden_layer_sizes=5, max_iter=3)
    with pytest.raises(ValueError, match="y contains NaN"):
        model.fit(X, missing)
    with pytest.raises(ValueError, match="y_val contains NaN"):
        model.fit(X, y, X_val=X, y_val=missing)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.linspace(0, 1, 30), "y: Unknown label type: continuous"),
        (np.arange(60).reshape(30, 2) % 3, "y has several columns of classes"),
        (np.ones((30, 2, 2)), "X or y: Found array with dim 3"),
        (np.ones(30) * 1j, "X or y: Complex data"),
        (np.ones(29), "X and y must have the same number of rows"),
    ],
    ids=str,
)
def test_invalid_labels_are_named(y, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        MLPClassifier().fit(np.ones((30, 2)), y)


@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor, AutoencoderTransformer])
def test_invalid_rows_are_named(kind):
    for X in (np.ones((0, 2)), np.ones((30, 2)) * 1j, np.ones((30, 2, 2)), np.ones(30)):
        with pytest.raises(ValueError, match=r"^(Expected 2D array.*)?X: (Found|Complex|Expected)"):
            kind().fit(X, np.arange(len(X)) % 2)


def test_huge_values_in_an_autoencoder_raise_a_single_error():
    # Warnings are errors here.
    with pytest.raises(ValueError, match="Training diverged"):
        AutoencoderTransformer(2).fit(np.random.default_rng(0).normal(size=(40, 3)) * 1e200)


# stop_reason_ and history_


def last_epoch(n):
    class Stop:
        """A callback that ends training after n epochs."""

        def setup(self, estimator, context):
            pass

        def on_fit_task_begin(self, estimator, context):
            pass

        def on_fit_task_end(self, estimator, context, **kwargs):
            return context.task_name == "epoch" and context.task_id + 1 >= n

        def teardown(self, estimator, context):
            pass

    return Stop()


@EACH
def test_the_reason_why_training_ended_is_public(estimator):
    X, y = data()
    assert clone(estimator).fit(X, y).stop_reason_ == "max_iter"
    early = clone(estimator).set_params(early_stopping=True, tol=1e9, n_iter_no_change=1)
    assert early.fit(X, y).stop_reason_ == "n_iter_no_change"
    called = clone(estimator)
    called.set_callbacks(last_epoch(2))
    assert called.fit(X, y).stop_reason_ == "callback"
    assert called.n_iter_ == 2


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_the_reason_why_lbfgs_ended_is_public():
    X, y = data()
    options = {"solver": "lbfgs", "hidden_layer_sizes": (3,), "random_state": 0}
    assert MLPClassifier(max_iter=2, **options).fit(X, y).stop_reason_ == "max_iter"
    assert MLPClassifier(max_iter=5000, tol=1e-2, **options).fit(X, y).stop_reason_ == "converged"
    with pytest.warns(ConvergenceWarning, match="lbfgs failed to converge .*max_fun was reached"):
        few = MLPClassifier(max_fun=3, **options).fit(X, y)
    assert few.stop_reason_ == "max_fun"


@EACH
def test_every_network_can_predict_with_the_mean_of_its_steps(estimator):
    X, y = data()
    alone, averaged, steps = (clone(estimator) for _ in range(3))
    alone.fit(X, y)
    averaged.set_params(solver=Averaged(Adam())).fit(X, y)
    assert np.isfinite(params(averaged)).all()
    assert not np.array_equal(params(alone), params(averaged))
    steps.set_params(solver=Averaged(Adam()), learning_rate="constant")
    whole = clone(steps).fit(X, y)
    classes = {"classes": [0, 1, 2]} if hasattr(whole, "classes_") else {}
    for _ in range(whole.n_iter_):
        steps.partial_fit(X, y, **classes)
    np.testing.assert_array_equal(params(steps), params(whole))


def test_averaged_decay_replaces_the_penalty_as_the_decay_alone_does():
    X, y = data()
    model = MLPClassifier(**WIDE, alpha=0.5)
    decays = clone(model).set_params(solver=Averaged(AdamW(weight_decay=0.0))).fit(X, y)
    none = clone(model).set_params(solver=Averaged(Adam()), alpha=0.0).fit(X, y)
    np.testing.assert_array_equal(params(decays), params(none))


@EACH
def test_history_has_a_record_for_each_epoch_and_the_curves_agree(estimator):
    X, y = data()
    fitted = clone(estimator).set_params(warm_start=True)
    targets = {} if isinstance(fitted, AutoencoderTransformer) else {"y_val": y[:9]}
    fitted.fit(X, y, X_val=X[:9], **targets)
    fitted.fit(X, y)
    n = fitted.n_iter_
    history = fitted.history_
    assert [record["epoch"] for record in history] == list(range(1, 2 * n + 1))
    assert [record["loss"] for record in history] == fitted.loss_curve_
    assert all(record["validation_loss"] is not None for record in history[:n])
    assert all(record["validation_loss"] is None for record in history[n:])
    assert all(record["learning_rate"] > 0 for record in history)
    assert all(record["gradient_norm"] is None for record in history)


def test_history_has_the_norm_of_gradients_that_may_be_shortened():
    X, y = data()
    fitted = MLPClassifier(**WIDE, max_gradient_norm=1e-3).fit(X, y)
    assert all(record["gradient_norm"] > 1e-3 for record in fitted.history_)


def test_history_of_lbfgs_falls():
    X, y = data()
    fitted = MLPClassifier((3,), solver="lbfgs", max_iter=500, random_state=0).fit(X, y)
    losses = [record["loss"] for record in fitted.history_]
    assert len(losses) == fitted.n_iter_
    assert losses[-1] == pytest.approx(fitted.loss_)
    assert losses[-1] < losses[0]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_history_of_a_fit_that_diverges_ends_with_that_epoch():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 5))
    options = {"hidden_layer_sizes": (5,), "solver": "sgd", "learning_rate_init": 100.0}
    fitted = MLPRegressor(max_iter=30, random_state=0, **options)
    fitted.fit(X, X[:, 0], X_val=X[:50], y_val=X[:50, 0])
    assert fitted.stop_reason_ == "diverged"
    *before, last = fitted.history_
    assert last["epoch"] == fitted.n_iter_
    assert last["validation_loss"] is None
    assert not np.isfinite(last["loss"])
    assert all(record["validation_loss"] is not None for record in before)


# Training that continues


def test_a_warm_start_refuses_another_loss_or_output():
    X, _ = data()
    model = AutoencoderTransformer(2, (5,), max_iter=2, warm_start=True, random_state=0).fit(X)
    for changed in ({"loss": "absolute_error"}, {"output_activation": "tanh"}):
        other = clone(model).fit(X).set_params(**changed)
        with pytest.raises(ValueError, match="Parameters that define the network"):
            other.fit(X)
    model.set_params(loss="binary_log_loss", output_activation="identity")
    with pytest.raises(ValueError, match="needs output_activation"):
        model.fit(X)
    # The choice of 'auto' holds for other data.
    model.set_params(loss="squared_error", output_activation="auto")
    with pytest.warns(UserWarning, match="leaves that interval"):
        model.fit(3 * X)
    assert model.output_activation_ == "logistic"


@pytest.mark.parametrize("solver", [SGD(), Averaged(SGD())], ids=repr)
@EACH
def test_an_adaptive_schedule_lowers_the_rate(estimator, solver):
    X, y = data()
    model = clone(estimator).set_params(
        solver=solver, max_iter=9, tol=1e9, n_iter_no_change=1, learning_rate_init=0.01
    )
    for schedule in ("adaptive", Adaptive(0.01)):
        rates = [
            r["learning_rate"] for r in model.set_params(learning_rate=schedule).fit(X, y).history_
        ]
        assert rates[0] == 0.01
        assert rates[-1] < 0.005


def test_curves_of_validation_end_where_there_is_none():
    X, y = data()
    model = MLPClassifier(**WIDE, warm_start=True).fit(X, y, X_val=X, y_val=y)
    assert len(model.validation_loss_curve_) == len(model.validation_scores_) == 3
    model.fit(X, y)
    assert model.validation_loss_curve_ is None
    assert model.validation_scores_ is None
    assert model.best_validation_score_ is None


def test_a_function_that_scored_is_not_kept():
    X, y = data()
    model = MLPClassifier(**WIDE, scoring=lambda model, X, y: 0.0).fit(X, y, X_val=X, y_val=y)
    copied = pickle.loads(pickle.dumps(model.set_params(scoring=None)))
    np.testing.assert_array_equal(params(copied), params(model))


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_data_are_freed_after_an_error(solver):
    X, y = data()
    X = X.copy()

    def fail(model, X, y):
        raise RuntimeError("from the scorer")

    model = MLPClassifier(**WIDE, solver=solver, scoring=fail)
    gc.collect()
    gc.disable()
    try:
        with suppress(RuntimeError):
            model.fit(X, y, X_val=X[:9], y_val=y[:9])
        reference = weakref.ref(X)
        del X
        assert reference() is None
    finally:
        gc.enable()


def test_losses_that_do_not_fit_are_refused_as_instances_too():
    X, y = data()
    with pytest.raises(ValueError, match="is for classes"):
        MLPRegressor(LogLoss(), **WIDE).fit(X, y)
    with pytest.raises(ValueError, match="cumulative_softplus"):
        AutoencoderTransformer(loss=Pinball((0.1, 0.9))).fit(X)
    by_name = MLPRegressor("pinball", quantile=[0.1, 0.9], **WIDE).fit(X, y)
    by_instance = MLPRegressor(Pinball((0.1, 0.9)), **WIDE).fit(X, y)
    np.testing.assert_array_equal(params(by_name), params(by_instance))
