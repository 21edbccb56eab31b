"""scikit-learn's tests of its MLPs, run with ours instead."""

import pytest
from sklearn.neural_network.tests import test_mlp as theirs

from skscratch import MLPClassifier, MLPRegressor
from tests.estimators.substitution import with_ours

# Tests that use private attributes, which ours do not have.
PRIVATE = {
    "test_fit": "sets coefs_ before fitting, and calls no fit",
    "test_gradient": "calls _loss_grad_lbfgs",
    "test_learning_rate_warmstart": "reads _optimizer.learning_rate",
    "test_adaptive_learning_rate": "reads _optimizer.learning_rate",
    "test_n_iter_no_change": "reads _no_improvement_count",
    "test_n_iter_no_change_inf": "reads _no_improvement_count",
}
# Tests that expect an error where ours succeeds.
BETTER = {
    "test_early_stopping_stratified": "a class of one row stays in training, where theirs raises",
}
pytestmark = pytest.mark.filterwarnings("default")


OURS = {"MLPClassifier": MLPClassifier, "MLPRegressor": MLPRegressor}
THEIRS = {getattr(theirs, name): ours for name, ours in OURS.items()}


@pytest.fixture(autouse=True)
def replace_classes(monkeypatch):
    for name, kind in OURS.items():
        monkeypatch.setattr(theirs, name, kind)


@pytest.fixture(params=[0, 42])
def global_random_seed(request):
    return request.param


def test_the_skipped_tests_exist():
    assert set(PRIVATE | BETTER) <= set(vars(theirs))


globals().update(
    {
        name: with_ours(test, THEIRS)
        for name, test in vars(theirs).items()
        if name.startswith("test_") and name not in PRIVATE | BETTER
    }
)
