"""scikit-learn's own tests of its networks, run with ours in their place."""

import functools

import pytest
from sklearn.neural_network.tests import test_mlp as theirs

from skscratch import MLPClassifier, MLPRegressor

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


@pytest.fixture(autouse=True)
def ours_in_their_place(monkeypatch):
    for name, kind in OURS.items():
        monkeypatch.setattr(theirs, name, kind)


@pytest.fixture(params=[0, 42])
def global_random_seed(request):
    return request.param


def test_the_private_ones_are_still_there():
    assert set(PRIVATE | BETTER) <= set(vars(theirs))


def ours_for(value):
    return OURS.get(getattr(value, "__name__", None), value)


def with_ours(test):
    """Put ours in the place of theirs where a test is parametrized with the classes, too."""

    @functools.wraps(test)
    def twin(*args, **kwargs):
        return test(*args, **kwargs)

    twin.pytestmark = []
    for mark in getattr(test, "pytestmark", []):
        if mark.name == "parametrize":
            names, values = mark.args
            pytest.mark.parametrize(names, [ours_for(value) for value in values])(twin)
        else:
            twin.pytestmark.append(mark)
    return twin


globals().update(
    {
        name: with_ours(test)
        for name, test in vars(theirs).items()
        if name.startswith("test_") and name not in PRIVATE | BETTER
    }
)
