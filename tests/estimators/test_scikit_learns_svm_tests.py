"""scikit-learn's own tests that use `LinearSVC`, run with `LinearSVM` in its place."""

import inspect

import pytest
import sklearn.svm
from sklearn.svm.tests import test_svm
from sklearn.tests import test_calibration, test_multiclass, test_multioutput
from sklearn.tests.test_calibration import data  # noqa: F401  a fixture

from skscratch import LinearSVM

MODULES = [test_svm, test_multiclass, test_multioutput, test_calibration]
# What cannot apply, and why.
NAMES = "expects the name of scikit-learn's class in a message"
LEFT_OUT = {
    "test_linearsvc_parameters_in_test_svm": "is about combinations with dual and the L1 penalty",
    "test_linearsvc_in_test_svm": "fits with dual and the L1 penalty",
    "test_linearsvc_verbose_in_test_svm": "is about verbose",
    "test_linear_svm_convergence_warnings_in_test_svm": "expects LIBLINEAR's own message",
    "test_multi_output_delegate_predict_proba_in_test_multioutput": NAMES,
    "test_calibration_inconsistent_prefit_n_features_in_in_test_calibration": NAMES,
    "test_calibration_default_estimator_in_test_calibration": "expects a LinearSVC inside",
}
pytestmark = pytest.mark.filterwarnings("default")


def uses_the_machine(test):
    return "LinearSVC" in inspect.getsource(test)


TESTS = {
    f"{name}_in_{module.__name__.rpartition('.')[2]}": test
    for module in MODULES
    for name, test in vars(module).items()
    if name.startswith("test_") and inspect.isfunction(test) and uses_the_machine(test)
}


@pytest.fixture(autouse=True)
def ours_in_its_place(monkeypatch):
    for module in [sklearn.svm, *MODULES]:
        monkeypatch.setattr(module, "LinearSVC", LinearSVM, raising=False)


@pytest.fixture(params=[0, 42])
def global_random_seed(request):
    return request.param


def test_what_is_left_out_is_still_there():
    assert set(LEFT_OUT) <= set(TESTS)


globals().update({name: test for name, test in TESTS.items() if name not in LEFT_OUT})
