"""scikit-learn's own tests of its networks, run with ours in their place."""

import pytest
from sklearn.neural_network.tests import test_mlp as theirs

from skscratch import MLPClassifier, MLPRegressor
from tests.estimators.theirs import with_ours

# They reach into private attributes, which ours do not have.
PRIVATE = {
    "test_fit": "sets coefs_ before fitting, and calls no fit",
    "test_gradient": "calls _loss_grad_lbfgs",
    "test_learning_rate_warmstart": "reads _optimizer.learning_rate",
    "test_adaptive_learning_rate": "reads _optimizer.learning_rate",
    "test_n_iter_no_change": "reads _no_improvement_count",
    "test_n_iter_no_change_inf": "reads _no_improvement_count",
}
# They ask for an error where ours does what was wanted.
BETTER = {
    "test_early_stopping_stratified": "a class of one row stays in training, where theirs raises",
}
pytestmark = pytest.mark.filterwarnings("default")


OURS = {"MLPClassifier": MLPClassifier, "MLPRegressor": MLPRegressor}
THEIRS = {getattr(theirs, name): ours for name, ours in OURS.items()}


@pytest.fixture(autouse=True)
def ours_in_their_place(monkeypatch):
    for name, kind in OURS.items():
        monkeypatch.setattr(theirs, name, kind)


@pytest.fixture(params=[0, 42])
def global_random_seed(request):
    return request.param


def test_the_private_ones_are_still_there():
    assert set(PRIVATE | BETTER) <= set(vars(theirs))


globals().update(
    {
        name: with_ours(test, THEIRS)
        for name, test in vars(theirs).items()
        if name.startswith("test_") and name not in PRIVATE | BETTER
    }
)
