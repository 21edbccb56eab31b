"""Predictions in some threads while another one fits the same estimator."""

import sys
import threading
import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits

from skscratch import AutoencoderTransformer, LinearSVM, MLPClassifier, MLPRegressor
from skscratch.estimators._state import copy_of

X, y = load_digits(return_X_y=True)
X, y = X[:300] / 16, y[:300]
SPOILED = np.where(np.arange(X.size).reshape(X.shape) == 777, np.nan, X)
# Consecutive fits differ in the number of outputs, widths, link or columns to name.
FITS = {
    "classifier": (
        MLPClassifier(max_iter=2, random_state=0),
        [({"hidden_layer_sizes": (7,)}, y), ({"hidden_layer_sizes": (5, 3)}, y > 4)],
        ["predict", "predict_proba", "transform"],
    ),
    "regressor": (
        MLPRegressor(max_iter=2, hidden_layer_sizes=5, random_state=0),
        [({"loss": "poisson"}, y), ({"loss": "squared_error"}, np.c_[y, -y])],
        ["predict", "transform"],
    ),
    "quantiles": (
        MLPRegressor("pinball", 5, max_iter=2, random_state=0),
        [({"quantile": [0.2, 0.5, 0.8]}, y), ({"quantile": 0.5}, y)],
        ["predict", "score"],
    ),
    "autoencoder": (
        AutoencoderTransformer(max_iter=2, random_state=0),
        [
            ({"n_components": 3, "hidden_layer_sizes": (6,), "loss": "squared_error"}, None),
            ({"n_components": 5, "hidden_layer_sizes": (), "loss": "binary_log_loss"}, None),
        ],
        ["transform", "reconstruct", "score_samples"],
    ),
    "svm": (LinearSVM(random_state=0), [({}, y), ({}, y > 4)], ["predict", "decision_function"]),
}


def predictions(model, methods):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # `score` needs a target that suits the models of both fits.
        results = [
            getattr(model, m)(X, y) if m == "score" else getattr(model, m)(X) for m in methods
        ]
    return [(tuple(getattr(r, "columns", ())), np.asarray(r).tobytes()) for r in results]


def known_predictions(model, fits, methods, incremental):
    """Return the predictions of all models that the test will fit, for each method."""
    twin, known = clone(model), [set() for _ in methods]
    for options, target in fits:
        train_on(twin.set_params(**options), target, incremental)
        for prediction, of_method in zip(predictions(twin, methods), known, strict=True):
            of_method.add(prediction)
    return known


class Predicting:
    """A context in which four threads predict and record every invalid prediction."""

    def __init__(self, model, methods, known):
        self.model, self.methods, self.known = model, methods, known
        self.stop, self.faults, self.n_predictions = threading.Event(), [], [0] * 4
        self.threads = [threading.Thread(target=self.predict, args=(k,)) for k in range(4)]

    def predict(self, thread):
        while not self.stop.is_set():
            try:
                for method, prediction, known in zip(
                    self.methods, predictions(self.model, self.methods), self.known, strict=True
                ):
                    if prediction not in known:
                        self.faults.append(f"{method}: a mixture")
            except Exception as error:  # noqa: BLE001  any error is a fault
                self.faults.append(repr(error))
            self.n_predictions[thread] += 1

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *exception):
        self.stop.set()
        for thread in self.threads:
            thread.join()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", FITS)
@pytest.mark.parametrize("incremental", [False, True], ids=["fit", "partial_fit"])
def test_every_prediction_is_that_of_one_model(name, incremental):
    model, fits, methods = FITS[name]
    model = clone(model)
    if "transform" in methods:
        model.set_output(transform="pandas")
    fits = fits[:1] * 50 if incremental else fits * 25
    known = known_predictions(model, fits, methods, incremental)
    train_on(model.set_params(**fits[0][0]), fits[0][1], incremental)
    with Predicting(model, methods, known) as predicting:
        for options, target in fits[1:]:
            with pytest.raises(ValueError, match="NaN"):
                train_on(model, target, incremental, SPOILED)
            train_on(model.set_params(**options), target, incremental)
    assert not predicting.faults
    assert min(predicting.n_predictions) > 0


def train_on(model, target, incremental, rows=X):
    if not incremental:
        model.fit(rows, target)
    elif isinstance(model, MLPClassifier | LinearSVM):
        model.partial_fit(rows, target, classes=np.unique(target))
    else:
        model.partial_fit(rows, target)


@pytest.mark.parametrize("kind", [MLPClassifier, LinearSVM])
def test_all_attributes_change_at_once(kind):
    names = [f"attribute_{k}_" for k in range(300)]

    class Watched(kind):
        n_fits = 0

        def _check_data(self, *data, **how):
            Watched.n_fits += 1
            vars(self).update(dict.fromkeys(names, self.n_fits))
            return super()._check_data(*data, **how)

    model, seen, stop = Watched(max_iter=1), [], threading.Event()

    def look():
        while not stop.is_set():
            now = copy_of(model)
            seen.append({getattr(now, name) for name in names})

    interval = sys.getswitchinterval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X, y)
        thread = threading.Thread(target=look)
        thread.start()
        try:
            sys.setswitchinterval(1e-6)
            for _ in range(40):
                model.fit(X[:20], y[:20])
        finally:
            sys.setswitchinterval(interval)
            stop.set()
            thread.join()
    assert {len(fits) for fits in seen} == {1}
    # How many depends on the machine's load.
    assert len(set.union(*seen)) > 3
