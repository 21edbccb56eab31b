"""scikit-learn's tests that use `LinearSVC`, run with `LinearSVM` instead."""

import functools
import inspect

import pytest
import sklearn.svm
from sklearn.svm import LinearSVC
from sklearn.svm.tests import test_svm
from sklearn.tests import test_calibration, test_multiclass, test_multioutput
from sklearn.tests.test_calibration import data  # noqa: F401  a fixture

from skscratch import LinearSVM
from tests.estimators.substitution import uses, with_ours

MODULES = [test_svm, test_multiclass, test_multioutput, test_calibration]
# Tests that do not apply, with the reason.
NAMES = "expects the name of scikit-learn's class in a message"
LEFT_OUT = {
    "test_linear_svm_convergence_warnings_in_test_svm": "expects LIBLINEAR's own message",
    "test_multi_output_delegate_predict_proba_in_test_multioutput": NAMES,
    "test_calibration_inconsistent_prefit_n_features_in_in_test_calibration": NAMES,
    "test_calibration_default_estimator_in_test_calibration": "expects a LinearSVC inside",
}
# Tests that raise before LinearSVM is fitted.
WITHOUT_FIT = {
    f"test_{name}_in_test_multiclass"
    for name in (
        "ovr_exceptions",
        "ovo_exceptions",
        "ovo_one_class",
        "ovo_float_y",
        "ecoc_exceptions",
        "ecoc_float_y",
    )
}
pytestmark = pytest.mark.filterwarnings("default")


TESTS = {
    f"{name}_in_{module.__name__.rpartition('.')[2]}": test
    for module in MODULES
    for name, test in vars(module).items()
    if name.startswith("test_") and inspect.isfunction(test) and uses(test, LinearSVC)
}


@pytest.fixture(autouse=True)
def replace_class(monkeypatch, request):
    """Replace LinearSVC by LinearSVM, and check that it was fitted."""
    n_fits, fit = 0, LinearSVM.fit

    @functools.wraps(fit)
    def counted(*args, **kwargs):
        nonlocal n_fits
        n_fits += 1
        return fit(*args, **kwargs)

    for module in [sklearn.svm, *MODULES]:
        monkeypatch.setattr(module, "LinearSVC", LinearSVM, raising=False)
    monkeypatch.setattr(LinearSVM, "fit", counted)
    yield
    name = request.function.__name__
    known = {test.__name__ for name, test in TESTS.items() if name not in WITHOUT_FIT}
    if name in known and "LinearSVR" not in request.node.name:
        assert n_fits > 0, "LinearSVM was never fitted"


@pytest.fixture(params=[0, 42])
def global_random_seed(request):
    return request.param


def test_the_skipped_tests_exist():
    assert set(LEFT_OUT) | WITHOUT_FIT <= set(TESTS)


globals().update(
    {
        name: with_ours(test, {LinearSVC: LinearSVM})
        for name, test in TESTS.items()
        if name not in LEFT_OUT
    }
)
