"""A process that is forked while other threads fit and predict."""

import multiprocessing
import os
import signal
import threading
import time

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from threadpoolctl import ThreadpoolController, threadpool_limits

from skscratch import AutoencoderTransformer, LinearSVM, MLPClassifier
from skscratch.linear.products import Features

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    # From Python 3.12 on, forking a process with threads gives a warning.
    pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork.*:DeprecationWarning"),
]
X, y = load_digits(return_X_y=True)
X = X / 16
MODELS = {
    "network": MLPClassifier((300, 100), max_iter=2, random_state=0, n_jobs=2),
    "autoencoder": AutoencoderTransformer(8, max_iter=2, random_state=0, n_jobs=2),
    "svm": LinearSVM(random_state=0, n_jobs=2),
}
ALLOWED = 60


def outputs(model):
    return model.transform(X) if hasattr(model, "transform") else model.decision_function(X)


def blas_threads():
    found = ThreadpoolController().select(user_api="blas").lib_controllers
    return [library.num_threads for library in found]


def check_in_child(model, expected, expected_threads):
    """Predict and fit as in the parent; return an exit code, which is 0 if all is right."""
    if blas_threads() != expected_threads:
        return 2
    if not np.array_equal(outputs(model), expected):
        return 3
    if not np.array_equal(outputs(model.fit(X, y)), expected):
        return 4
    return 0 if blas_threads() == expected_threads else 5


class Busy:
    """A context in which two threads fit and predict."""

    def __init__(self, name):
        self.name, self.stop = name, threading.Event()
        self.threads = [threading.Thread(target=work) for work in (self.fit, self.predict)]

    def fit(self):
        while not self.stop.is_set():
            clone(MODELS[self.name]).fit(X, y)

    def predict(self):
        model = clone(MODELS[self.name]).fit(X, y)
        while not self.stop.is_set():
            outputs(model)

    def __enter__(self):
        for thread in self.threads:
            thread.start()

    def __exit__(self, *exception):
        self.stop.set()
        for thread in self.threads:
            thread.join()


def forked(check):
    """Run a check in a forked child; return its exit code, or "hangs"."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = check()
        finally:
            os._exit(code)
    end = time.monotonic() + ALLOWED
    while time.monotonic() < end:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return "hangs"


def check_children(name, n_children):
    with threadpool_limits(2, user_api="blas"):
        model = MODELS[name].fit(X, y)
        expected, threads = outputs(model), blas_threads()
        with Busy(name):
            codes = []
            for _ in range(n_children):
                time.sleep(0.003)
                codes.append(forked(lambda: check_in_child(model, expected, threads)))
    assert codes == [0] * n_children


@pytest.mark.parametrize("name", MODELS)
def test_forked_children_predict_and_fit(name):
    check_children(name, 5)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_two_hundred_forked_children_predict_and_fit(name):
    check_children(name, 200)


def in_process(name, expected, threads):
    raise SystemExit(check_in_child(MODELS[name], expected, threads))


def check_processes(name, n_processes):
    context = multiprocessing.get_context("fork")
    with threadpool_limits(2, user_api="blas"):
        expected, threads = outputs(MODELS[name].fit(X, y)), blas_threads()
        with Busy(name):
            for _ in range(n_processes):
                process = context.Process(target=in_process, args=(name, expected, threads))
                process.start()
                process.join(ALLOWED)
                assert process.exitcode == 0


@pytest.mark.parametrize("name", MODELS)
def test_processes_started_by_fork_predict_and_fit(name):
    check_processes(name, 3)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_two_hundred_processes_started_by_fork_predict_and_fit(name):
    check_processes(name, 200)


def test_a_child_does_not_wait_for_a_computation_of_another_thread():
    started, go_on = threading.Event(), threading.Event()

    class Slow(Features):
        def weighted_gram(self, weight):
            started.set()
            go_on.wait()
            return super().weighted_gram(weight)

    def features(kind):
        return kind(X, 1.0, X.dtype)

    thread = threading.Thread(target=lambda: features(Slow).spectrum)
    thread.start()
    started.wait()
    try:
        code = forked(lambda: int(len(features(Features).spectrum[0]) != X.shape[1] + 1))
    finally:
        go_on.set()
        thread.join()
    assert code == 0


def test_a_child_forked_in_a_callback_has_the_original_number_of_threads():
    # The thread that forks is the one that limits BLAS during fit.
    codes = []

    class Forking:
        def setup(self, estimator, context):
            pass

        def on_fit_task_begin(self, estimator, context):
            pass

        def on_fit_task_end(self, estimator, context):
            if context.task_name == "epoch":
                assert blas_threads() == [1] * len(threads)
                codes.append(forked(lambda: check_in_child(model, expected, threads)))

        def teardown(self, estimator, context):
            pass

    with threadpool_limits(2, user_api="blas"):
        model = MODELS["network"].fit(X, y)
        expected, threads = outputs(model), blas_threads()
        MLPClassifier(5, max_iter=2, random_state=0).set_callbacks(Forking()).fit(X, y)
        assert blas_threads() == threads
    assert codes == [0, 0]
