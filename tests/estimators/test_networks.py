"""Laws that all estimators with a network keep."""

import copy
import gc
import pickle
import tracemalloc
import warnings
import weakref

import numpy as np
import pytest
import sklearn
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from skscratch import AutoencoderTransformer, MLPClassifier, MLPRegressor
from skscratch.core import Dense, Network, Workspace

# Wide enough to be cut into shards.
WIDE = {"hidden_layer_sizes": (120, 90), "batch_size": 128, "random_state": 0, "max_iter": 3}
NETWORKS = [AutoencoderTransformer(**WIDE), MLPClassifier(**WIDE), MLPRegressor(**WIDE)]
EACH = pytest.mark.parametrize("estimator", NETWORKS, ids=lambda e: type(e).__name__)
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


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
def test_the_data_are_let_go_when_the_fit_is_over(estimator):
    # Not only when the garbage collector comes: a loop over a large file would pile it up.
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
def test_two_runs_are_equal_and_another_seed_is_not(estimator):
    X, y = data()
    one, two = clone(estimator).fit(X, y), clone(estimator).fit(X, y)
    np.testing.assert_array_equal(params(one), params(two))
    other = clone(estimator).set_params(random_state=1).fit(X, y)
    assert not np.array_equal(params(one), params(other))


@EACH
@pytest.mark.parametrize("twin_of", [lambda e: pickle.loads(pickle.dumps(e)), copy.deepcopy])
def test_a_pickled_estimator_is_equal_and_goes_on_equally(estimator, twin_of):
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
def test_k_calls_of_partial_fit_are_one_fit_of_k_epochs(estimator, solver):
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
        np.testing.assert_array_equal(params(one), params(two))
        np.testing.assert_array_equal(outputs(one, X), outputs(two, form(X)))


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
def test_training_and_prediction_copy_no_whole_of_the_data(estimator, early_stopping, tmp_path):
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
def test_prediction_keeps_to_the_working_memory(estimator, monkeypatch):
    X, y = data()
    fitted = clone(estimator).fit(X, y)
    expected, sizes = outputs(fitted, X), []
    opened = Workspace.__init__

    def spy(self, stack, rows, **options):
        sizes.append(rows)
        opened(self, stack, rows, **options)

    monkeypatch.setattr(Workspace, "__init__", spy)
    with sklearn.config_context(working_memory=0.1):
        np.testing.assert_allclose(outputs(fitted, X), expected, rtol=1e-9)
    assert max(sizes) < 30


@EACH
def test_views_show_the_trained_parameters(estimator):
    X, y = data()
    fitted = clone(estimator).fit(X, y)
    assert sum(W.size for W in fitted.coefs_ + fitted.intercepts_) == params(fitted).size
    assert all(np.shares_memory(W, params(fitted)) for W in fitted.coefs_)


@EACH
def test_warm_start_goes_on(estimator):
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


# What goes wrong


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
def test_bad_data_is_refused_and_changes_nothing(estimator, kind, method):
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
    with pytest.raises(ValueError, match=r"diverged in epoch \d+.*learning rate"):
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


# No parameter is accepted and ignored

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
        "tied_weights": ({}, {"tied_weights": True}),
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
# These change what is seen, kept or how fast, by promise not the result of one fit: each has a
# test of its own above.
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
