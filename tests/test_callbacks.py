import numpy as np
import pytest
from sklearn.datasets import load_iris

from skscratch import AutoencoderTransformer, LinearSVM, MLPClassifier, MLPRegressor
from skscratch.callbacks import EpochCallback

X, y = load_iris(return_X_y=True)
NETWORKS = [
    MLPClassifier((5,), max_iter=6, random_state=0),
    MLPClassifier((5,), solver="lbfgs", max_iter=6, random_state=0),
    MLPRegressor(hidden_layer_sizes=(5,), max_iter=6, random_state=0),
    AutoencoderTransformer(2, (5,), max_iter=6, random_state=0),
]
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


class Recorder(EpochCallback):
    def __init__(self, stop_at=None):
        self.records, self.stop_at = [], stop_at

    def on_epoch(self, record):
        self.records.append(record)
        return record["epoch"] == self.stop_at


@pytest.mark.parametrize("estimator", NETWORKS, ids=repr)
def test_each_epoch_gives_its_record(estimator):
    recorder = Recorder()
    estimator.set_callbacks(recorder).fit(X, y)
    assert len(recorder.records) == 6
    assert recorder.records == estimator.history_


@pytest.mark.parametrize("estimator", NETWORKS, ids=repr)
def test_true_ends_training(estimator):
    estimator.set_callbacks(Recorder(stop_at=3)).fit(X, y)
    assert estimator.n_iter_ == 3
    assert estimator.stop_reason_ == "callback"


def test_a_validation_loss_is_in_the_record():
    recorder = Recorder()
    model = MLPClassifier((5,), max_iter=4, random_state=0).set_callbacks(recorder)
    model.fit(X, y, X_val=X, y_val=y)
    losses = [record["validation_loss"] for record in recorder.records]
    np.testing.assert_array_equal(losses, model.validation_loss_curve_)


def test_an_estimator_without_history_gives_the_number():
    recorder = Recorder(stop_at=2)
    model = LinearSVM(solver="sgd", random_state=0).set_callbacks(recorder).fit(X, y)
    assert recorder.records == [{"epoch": 1}, {"epoch": 2}]
    assert model.n_iter_ == 2
