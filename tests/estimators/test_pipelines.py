"""The estimators inside scikit-learn: pipelines, searches, callbacks, workers."""

import numpy as np
import pytest
import sklearn
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from skscratch import AutoencoderTransformer, LinearSVM, MLPClassifier

X, Y = load_digits(return_X_y=True)
X = X / 16


def pipeline(**options):
    options = {
        "n_components": 16,
        "max_iter": 15,
        "batch_size": 32,
        "learning_rate_init": 0.01,
    } | options
    return Pipeline(
        [
            ("encoder", AutoencoderTransformer(random_state=0, **options)),
            ("scaler", StandardScaler()),
            ("svm", LinearSVM(C=0.1)),
        ]
    )


def test_encoder_scaler_and_svm():
    assert cross_val_score(pipeline(), X, Y, cv=3).min() > 0.85


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_a_search_has_the_same_scores_wherever_it_runs(backend):
    import joblib

    grid = {"encoder__n_components": [4, 16], "svm__C": [0.01, 1.0]}
    here = GridSearchCV(pipeline(max_iter=2), grid, cv=2).fit(X, Y)
    with joblib.parallel_backend(backend):
        there = GridSearchCV(pipeline(max_iter=2), grid, cv=2, n_jobs=2).fit(X, Y)
    np.testing.assert_allclose(
        here.cv_results_["mean_test_score"], there.cv_results_["mean_test_score"]
    )
    assert here.best_params_ == there.best_params_


def test_scikit_learns_callbacks_inside_a_search():
    # Not at the top: before scikit-learn 1.9 there are no callbacks.
    from sklearn.callback import ProgressBar, ScoringMonitor

    monitor = ScoringMonitor(scoring="accuracy")
    mlp = MLPClassifier(max_iter=2, learning_rate_init=0.01, random_state=0).set_callbacks(monitor)
    search = GridSearchCV(
        Pipeline([("scale", StandardScaler()), ("mlp", mlp)]), {"mlp__alpha": [0.1, 1]}, cv=2
    )
    with pytest.warns(sklearn.exceptions.ConvergenceWarning):
        search.set_callbacks(ProgressBar(max_propagation_depth=None)).fit(X, Y)
    assert search.best_score_ > 0.2
    logs = monitor.get_logs()
    logs = logs if isinstance(logs, list) else [logs]
    # A row for each epoch and one for the fit, for four fits in the search and the final one.
    names = [row["task_name"] for log in logs for row in log.data]
    assert names.count("epoch") == 5 * 2


def test_validation_data_pass_through_a_pipeline():
    with sklearn.config_context(enable_metadata_routing=True):
        encoder = AutoencoderTransformer(max_iter=3, random_state=0).set_fit_request(X_val=True)
        model = Pipeline(
            [("scaler", StandardScaler()), ("encoder", encoder)], transform_input=["X_val"]
        )
        model.fit(X[:900], X_val=X[900:])
    assert len(model[-1].validation_loss_curve_) == 3
    expected = -model[-1].score(model[0].transform(X[900:]))
    np.testing.assert_allclose(min(model[-1].validation_loss_curve_), expected, rtol=1e-9)
