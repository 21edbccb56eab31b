"""Ctrl-C during a fit of any estimator, at any moment."""

import _thread
import random
import signal
import threading

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV

from skscratch import AutoencoderTransformer, LinearSVM, MLPClassifier, MLPRegressor
from skscratch.estimators._random import RandomDraws

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:Training interrupted by user:UserWarning"),
]
X, y = load_digits(return_X_y=True)
X = X / 16
ENDLESS = {"max_iter": 10**6, "random_state": 0}
# Wide enough for several shards, and a rate at which they keep learning.
WIDE = ENDLESS | {"hidden_layer_sizes": (200, 100), "learning_rate_init": 1e-5, "tol": 0.0}
PATIENT = WIDE | {"n_iter_no_change": np.inf}
ESTIMATORS = {
    "adam": MLPClassifier(**PATIENT),
    "sgd": MLPClassifier(solver="sgd", learning_rate="invscaling", **PATIENT),
    "rmsprop": MLPRegressor(solver="rmsprop", **PATIENT),
    "adamw, dropout": MLPClassifier(solver="adamw", dropout=0.1, **PATIENT),
    "full batch": MLPClassifier(batch_size=len(X), **PATIENT),
    "lbfgs": MLPClassifier(solver="lbfgs", alpha=1e-9, **WIDE | {"max_fun": 10**9}),
    "one cycle, noise": AutoencoderTransformer(8, noise="masking", **WIDE),
    "svm, sgd": LinearSVM(solver="sgd", tol=1e-300, **ENDLESS),
    "svm, newton": LinearSVM(loss="hinge", C=1e5, tol=1e-300, **ENDLESS),
}
LATEST = 0.3


@pytest.fixture(autouse=True)
def _ctrl_c_is_not_ignored():
    # In a process that was started in the background, Ctrl-C is ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def parameters(model):
    return [model.coef_, model.intercept_] if isinstance(model, LinearSVM) else model.coefs_


class StopAfter:
    """A callback that ends a fit after some epochs."""

    def __init__(self, n_iter):
        self.n_iter, self.n_seen = n_iter, 0

    def setup(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context):
        self.n_seen += context.task_name != "fit"
        return self.n_seen >= self.n_iter

    def teardown(self, estimator, context):
        pass


def interrupted(model, seconds, press=_thread.interrupt_main):
    """Press Ctrl-C some time after `fit` began; return None if training had not begun by then."""
    timer = threading.Timer(seconds, press)
    try:
        timer.start()
        return model.fit(X, y)
    except KeyboardInterrupt:
        return None
    finally:
        # On a fast machine, fit may have ended before; then Ctrl-C is not pressed.
        timer.cancel()
        timer.join()


@pytest.fixture
def pressed_before_the_first_step(monkeypatch):
    """Press Ctrl-C when training has begun, before its first step."""
    from skscratch.estimators import _base, linear_svm

    def begin():
        interrupts = begin_training()
        signal.raise_signal(signal.SIGINT)
        return interrupts

    begin_training = _base.begin_training
    for module in (_base, linear_svm):
        monkeypatch.setattr(module, "begin_training", begin)


def check_an_interrupt(name, seconds, n_jobs):
    model = clone(ESTIMATORS[name]).set_params(n_jobs=n_jobs)
    before = threading.enumerate()
    fitted = interrupted(model, seconds)
    assert threading.enumerate() == before
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if fitted is None:
        assert not [attribute for attribute in vars(model) if attribute.endswith("_")]
        return False
    whole = clone(model).set_params(n_jobs=1).set_callbacks(StopAfter(model.n_iter_)).fit(X, y)
    assert whole.n_iter_ == model.n_iter_
    if model.n_iter_ > 1:
        for mine, its in zip(parameters(model), parameters(whole), strict=True):
            np.testing.assert_array_equal(mine, its)
        if hasattr(model, "loss_curve_"):
            assert model.loss_curve_ == whole.loss_curve_
            assert model.t_ == whole.t_
    # The next fit works.
    if not isinstance(model, LinearSVM):
        model.set_params(max_iter=2, learning_rate="constant").fit(X, y)
        assert model.n_iter_ <= 2
    assert np.isfinite(parameters(model)[0]).all()
    return True


@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_an_interrupted_fit_equals_a_shorter_one(name, n_jobs):
    draw = random.Random(0)
    kept = [check_an_interrupt(name, draw.uniform(0.05, LATEST), n_jobs) for _ in range(3)]
    assert any(kept)


@pytest.mark.slow
@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_an_interrupted_fit_equals_a_shorter_one_at_fifty_moments(name, n_jobs):
    draw = random.Random(1)
    kept = [check_an_interrupt(name, draw.uniform(0, LATEST), n_jobs) for _ in range(50)]
    print(f"{name}, {n_jobs} threads: {sum(kept)} of {len(kept)} after training had begun")


@pytest.mark.usefixtures("pressed_before_the_first_step")
@pytest.mark.parametrize("name", ESTIMATORS)
def test_an_interrupt_warns_in_scikit_learns_words(name):
    with pytest.warns(UserWarning, match=r"^Training interrupted by user\.$"):
        assert clone(ESTIMATORS[name]).fit(X, y) is not None


@pytest.mark.usefixtures("pressed_before_the_first_step")
@pytest.mark.parametrize("name", ESTIMATORS)
def test_an_interrupt_of_the_first_step_counts_as_an_epoch(name):
    model = clone(ESTIMATORS[name]).fit(X, y)
    assert model.n_iter_ == 1
    if hasattr(model, "_training_state") and model.solver != "lbfgs":
        # The second fit does not depend on the state of the random stream after the first.
        draws = RandomDraws(0)
        np.testing.assert_array_equal(
            model._training_state.rng.permutation(50), draws.permutation(50)
        )
    assert model.predict(X).shape[0] == len(X) if hasattr(model, "predict") else True


def test_an_interrupt_keeps_the_best_epoch_of_a_validation_set():
    model = clone(ESTIMATORS["adam"]).set_params(learning_rate_init=0.01, scoring="loss")
    threading.Timer(1.0, _thread.interrupt_main).start()
    model.fit(X[:1000], y[:1000], X_val=X[1000:], y_val=y[1000:])
    assert len(model.validation_scores_) == model.n_iter_ == len(model.loss_curve_)
    best = int(np.argmax(model.validation_scores_)) + 1
    twin = clone(model).set_callbacks(StopAfter(best)).fit(X[:1000], y[:1000])
    for mine, its in zip(model.coefs_, twin.coefs_, strict=True):
        np.testing.assert_array_equal(mine, its)


@pytest.mark.parametrize(
    "model",
    [MLPClassifier(WIDE["hidden_layer_sizes"], random_state=0), LinearSVM(random_state=0)],
    ids=["network", "svm"],
)
def test_an_interrupted_partial_fit_raises_and_changes_nothing(model):
    model = clone(model).partial_fit(X, y, classes=range(10))
    many, their = np.tile(X, (60, 1)), np.tile(y, 60)
    before, kept = dict(vars(model)), [array.copy() for array in parameters(model)]
    timer = threading.Timer(0.1, _thread.interrupt_main)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        model.partial_fit(many, their)
    assert vars(model) == before
    for now, then in zip(parameters(model), kept, strict=True):
        np.testing.assert_array_equal(now, then)
    twin = clone(model).partial_fit(X, y, classes=range(10)).partial_fit(X, y)
    model.partial_fit(X, y)
    for mine, its in zip(parameters(model), parameters(twin), strict=True):
        np.testing.assert_array_equal(mine, its)


def test_training_can_continue_after_an_interrupt():
    model = clone(ESTIMATORS["adam"]).set_params(warm_start=True)
    while interrupted(model, 0.3) is None:
        pass
    n_epochs = model.n_iter_
    twin = clone(model).set_callbacks(StopAfter(n_epochs)).fit(X, y)
    # With a fresh optimizer, as if the solver had been changed in between.
    model.set_params(max_iter=2).fit(X, y)
    twin.set_callbacks().set_params(max_iter=2).fit(X, y)
    assert len(model.loss_curve_) == n_epochs + 2
    for mine, its in zip(model.coefs_, twin.coefs_, strict=True):
        np.testing.assert_array_equal(mine, its)


def test_a_search_continues_with_the_next_candidate():
    model = MLPClassifier(**PATIENT | {"hidden_layer_sizes": (5,)})
    search = GridSearchCV(model, {"max_iter": [10**6, 2]}, cv=2, refit=False)
    presses = [threading.Timer(seconds, _thread.interrupt_main) for seconds in (0.5, 1.0)]
    for press in presses:
        press.start()
    search.fit(X, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_a_late_interrupt_keeps_the_finished_fit():
    class Late(AutoencoderTransformer):
        def _after_training(self, run, data):
            signal.raise_signal(signal.SIGINT)
            super()._after_training(run, data)

    model = Late(2, max_iter=3, random_state=0)
    with pytest.warns(UserWarning, match="interrupted"):
        model.fit(X)
    whole = AutoencoderTransformer(2, max_iter=3, random_state=0).fit(X)
    assert model.n_iter_ == 3
    np.testing.assert_array_equal(model.network_.params, whole.network_.params)
    assert model.reconstruction_error_ == whole.reconstruction_error_


def test_an_interrupt_during_validation_of_the_data_raises():
    class Early(MLPClassifier):
        def _check_data(self, *data, **how):
            signal.raise_signal(signal.SIGINT)
            return super()._check_data(*data, **how)

    model = Early(5, max_iter=3)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y)
    assert not hasattr(model, "network_")
