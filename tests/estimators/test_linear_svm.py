import copy
import pickle
import tracemalloc
import warnings
from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import (
    load_breast_cancer,
    load_digits,
    load_iris,
    load_wine,
)
from sklearn.ensemble import BaggingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_selection import SelectFromModel
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sklearn.utils.estimator_checks import parametrize_with_checks

from skscratch import LinearSVM
from skscratch.estimators.linear_svm import _ScaledSGD
from skscratch.persistence import load as load_model
from skscratch.persistence import save

LOADERS = [load_iris, load_breast_cancer, load_wine, load_digits]


def scaled(load):
    X, y = load(return_X_y=True)
    return StandardScaler().fit_transform(X), y


def objective(model, X, y, C, loss="squared_hinge", multi_class="ovr", cost=None):
    """The objective of LinearSVC, computed independently of the package."""
    scores = X @ model.coef_.T + model.intercept_
    if multi_class == "crammer_singer" and len(model.classes_) == 2:
        # Instead of two opposite weight vectors, LinearSVC returns their difference.
        halves = 0.25 * ((model.coef_**2).sum() + (model.intercept_**2).sum())
        return halves + C * np.maximum(0, 1 - np.where(y == 1, 1, -1) * scores[:, 0]).sum()
    weights = 0.5 * ((model.coef_**2).sum() + (model.intercept_**2).sum())
    if multi_class == "crammer_singer":
        at_target = scores[np.arange(len(y)), y]
        margins = scores + (np.arange(scores.shape[1]) != y[:, None])
        return weights + C * (margins.max(axis=1) - at_target).sum()
    labels = y == 1 if scores.shape[1] == 1 else y
    classes = [True] if scores.shape[1] == 1 else range(scores.shape[1])
    signs = np.where(labels[:, None] == np.array(list(classes)), 1, -1)
    slack = np.maximum(0, 1 - signs * scores)
    slack = slack**2 if loss == "squared_hinge" else slack
    cost = np.ones_like(slack) if cost is None else cost
    return weights + C * (cost * slack).sum()


@pytest.mark.parametrize("load", LOADERS)
@pytest.mark.parametrize(
    ("loss", "multi_class"),
    [("squared_hinge", "ovr"), ("hinge", "ovr"), ("hinge", "crammer_singer")],
)
@pytest.mark.parametrize("C", [0.01, 1.0])
def test_the_objective_of_liblinear(load, loss, multi_class, C):
    X, y = scaled(load)
    options = {"loss": loss, "multi_class": multi_class, "C": C}
    ours = LinearSVM(**options, tol=1e-6).fit(X, y)
    theirs = LinearSVC(**options, dual="auto", tol=1e-6, max_iter=20_000, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        theirs.fit(X, y)
    reached = objective(ours, X, y, C, loss, multi_class)
    np.testing.assert_allclose(ours.objective_, reached, rtol=1e-9)
    # At least as good as LIBLINEAR, and optimal up to the gap.
    assert reached <= objective(theirs, X, y, C, loss, multi_class) * (1 + 2e-6)
    assert 0 <= ours.dual_gap_ <= 1.1e-6 * ours.objective_
    assert ours.coef_.shape == theirs.coef_.shape
    assert ours.intercept_.shape == theirs.intercept_.shape


@pytest.mark.parametrize(
    "options", [{"fit_intercept": False}, {"intercept_scaling": 10.0}], ids=str
)
def test_the_intercept_of_liblinear(options):
    X, y = scaled(load_iris)
    ours = LinearSVM(**options).fit(X, y)
    theirs = LinearSVC(**options, dual=False, tol=1e-10).fit(X, y)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-4)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, atol=1e-4)


@pytest.mark.parametrize("class_weight", ["balanced", {0: 5.0}, {0: 2.0, 1: 0.1}], ids=str)
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("multi_class", ["ovr", "crammer_singer"])
def test_class_weights_are_those_of_liblinear(class_weight, n_classes, multi_class):
    X, y = scaled(load_wine)
    X, y = X[y < n_classes], y[y < n_classes]
    options = {"class_weight": class_weight, "multi_class": multi_class, "C": 0.1}
    weight = np.arange(len(y)) % 3 + 0.5
    ours = LinearSVM(**options, tol=1e-8).fit(X, y, weight)
    theirs = LinearSVC(**options, tol=1e-8, max_iter=100_000, random_state=0).fit(X, y, weight)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-3)


def test_float32_is_preserved_and_accurate():
    X, y = scaled(load_digits)
    double = LinearSVM(C=0.1).fit(X, y)
    single = LinearSVM(C=0.1).fit(X.astype(np.float32), y)
    assert single.coef_.dtype == single.intercept_.dtype == np.float32
    assert double.coef_.dtype == np.float64
    np.testing.assert_allclose(single.objective_, double.objective_, rtol=1e-5)
    assert single.decision_function(X.astype(np.float32)).dtype == np.float32


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("solver", ["newton-cg", "sgd"])
def test_sparse_rows_give_the_result_of_dense_ones(solver):
    X, y = load_digits(return_X_y=True)
    X = X / 16
    options = {"solver": solver, "random_state": 0, "tol": 1e-3, "max_iter": 20}
    dense = LinearSVM(**options).fit(X, y)
    for form in (sparse.csr_matrix, sparse.csr_array, sparse.csc_matrix):
        other = LinearSVM(**options).fit(form(X), y)
        np.testing.assert_allclose(other.coef_, dense.coef_, atol=1e-5)
        np.testing.assert_array_equal(other.predict(form(X)), dense.predict(X))


def test_strings_and_two_classes():
    X, y = scaled(load_breast_cancer)
    names = np.array(["malignant", "benign"])[y]
    fitted = LinearSVM().fit(X, names)
    assert fitted.coef_.shape == (1, 30)
    assert fitted.decision_function(X).shape == (569,)
    assert fitted.score(X, names) > 0.98


def test_probabilities_by_calibration():
    X, y = scaled(load_iris)
    calibrated = CalibratedClassifierCV(LinearSVM()).fit(X, y)
    assert calibrated.predict_proba(X).shape == (150, 3)


def test_warm_start_takes_fewer_iterations():
    X, y = scaled(load_digits)
    cold = LinearSVM(C=0.1, loss="hinge").fit(X, y)
    warm = LinearSVM(C=0.09, loss="hinge", warm_start=True).fit(X, y)
    again = warm.set_params(C=0.1).fit(X, y)
    np.testing.assert_allclose(again.objective_, cold.objective_, rtol=1e-4)
    other = LinearSVM(warm_start=True).fit(X, y)
    other.fit(X[:, :20], y)
    assert other.coef_.shape == (10, 20)


def test_too_few_iterations_warn_with_the_gap_and_an_explanation():
    X, y = scaled(load_digits)
    with pytest.warns(ConvergenceWarning, match="with a duality gap of .*StandardScaler"):
        fitted = LinearSVM(max_iter=1, C=100.0, loss="hinge").fit(X, y)
    assert fitted.n_iter_ == 1
    best = LinearSVM(C=100.0, loss="hinge").fit(X, y)
    assert fitted.objective_ - best.objective_ <= fitted.dual_gap_


# SGD and partial_fit


@pytest.mark.parametrize("loss", ["hinge", "squared_hinge"])
@pytest.mark.parametrize("multi_class", ["ovr", "crammer_singer"])
def test_sgd_comes_near_the_optimum(loss, multi_class):
    X, y = scaled(load_iris)
    options = {"loss": loss, "multi_class": multi_class, "C": 0.1}
    best = LinearSVM(**options).fit(X, y)
    near = LinearSVM(**options, solver="sgd", random_state=0, tol=1e-6).fit(X, y)
    assert best.objective_ * (1 - 1e-9) <= near.objective_ < 1.02 * best.objective_
    assert near.dual_gap_ >= near.objective_ - best.objective_
    again = LinearSVM(**options, solver="sgd", random_state=0, tol=1e-6).fit(X, y)
    np.testing.assert_array_equal(near.coef_, again.coef_)


def test_partial_fit_on_batches():
    X, y = scaled(load_digits)
    model = LinearSVM(solver="sgd", random_state=0)
    order = np.random.default_rng(0).permutation(len(y))
    for _ in range(5):
        for piece in np.array_split(order, 6):
            model.partial_fit(X[piece], y[piece], classes=np.arange(10))
    assert model.score(X, y) > 0.93
    assert not hasattr(LinearSVM(solver="newton-cg"), "partial_fit")
    with pytest.raises(ValueError, match=r"labels \[12\], which are not among the classes"):
        model.partial_fit(X[:2], [1, 12])
    with pytest.raises(ValueError, match="needs all labels at once"):
        clone(model).set_params(class_weight="balanced").partial_fit(X, y, classes=np.arange(10))
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        clone(model).partial_fit(X, y)


class Recorder:
    def __init__(self, stop_after=99):
        self.iterations, self.stop_after = [], stop_after

    def setup(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None, X=None, y=None):
        if context.task_name != "fit":
            self.iterations.append(fitted_estimator.score(X, y))
        return len(self.iterations) >= self.stop_after

    def teardown(self, estimator, context):
        pass


@pytest.mark.parametrize("solver", ["newton-cg", "sgd"])
def test_callbacks_see_every_iteration_and_can_stop(solver):
    X, y = scaled(load_digits)
    recorder = Recorder(stop_after=2)
    fitted = LinearSVM(solver=solver, loss="hinge", random_state=0).set_callbacks(recorder)
    fitted.fit(X, y)
    assert len(recorder.iterations) == 2
    assert fitted.n_iter_ <= 2


# Errors


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda X, y: (np.where(X[3, 3] == X, np.nan, X), y), "contains NaN"),
        (lambda X, y: (np.where(X[3, 3] == X, np.inf, X), y), "infinity"),
        (lambda X, y: (X, np.zeros(len(y), int)), r"only one class: \[0\]"),
        (lambda X, y: (X, y + 0.5), "Unknown label type"),
        (lambda X, y: (X, y[1:]), "inconsistent numbers of samples"),
        (lambda X, y: (X * 1e300, y), "too large"),
    ],
    ids=["nan", "infinity", "one class", "real labels", "lengths", "huge"],
)
def test_invalid_data_is_refused_and_changes_nothing(spoil, message):
    X, y = scaled(load_iris)
    fitted = LinearSVM().fit(X, y)
    before = dict(vars(fitted))
    with pytest.raises(ValueError, match=message):
        fitted.fit(*spoil(X, y))
    assert vars(fitted) == before


@pytest.mark.parametrize("options", [{}, {"loss": "hinge"}, {"multi_class": "crammer_singer"}])
@pytest.mark.parametrize("solver", ["newton-cg", "sgd"])
def test_one_class_suffices_once_rows_of_weight_0_are_dropped(options, solver):
    # As in a bootstrap sample, which is given as a vector of weights.
    X, y = scaled(load_iris)
    weight = (y == 1).astype(float)
    fitted = LinearSVM(solver=solver, random_state=0, **options).fit(X, y, sample_weight=weight)
    assert fitted.classes_.tolist() == [0, 1, 2]
    assert (fitted.predict(X[y == 1]) == 1).all()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("C", 0),
        ("C", -1.0),
        ("loss", "log"),
        ("penalty", "elasticnet"),
        ("dual", "maybe"),
        ("verbose", "loud"),
        ("solver", "lbfgs"),
        ("multi_class", "ovo"),
        ("tol", 0),
        ("max_iter", 0),
        ("intercept_scaling", 0),
        ("class_weight", "even"),
    ],
)
def test_bad_parameters(name, value):
    X, y = scaled(load_iris)
    with pytest.raises(ValueError, match=name):
        LinearSVM(**{name: value}).fit(X, y)


def test_constant_columns_and_unusual_rows():
    X, y = scaled(load_iris)
    odd = np.c_[X, np.zeros(len(X)), np.full(len(X), 7.0)]
    odd[::10] = 0
    fitted = LinearSVM().fit(odd, y)
    assert np.isfinite(fitted.coef_).all()
    assert not fitted.coef_[:, 4].any()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({}, {"loss": "hinge"}),
        ({}, {"C": 0.1}),
        ({}, {"penalty": "l1"}),
        ({}, {"solver": "sgd"}),
        ({}, {"multi_class": "crammer_singer"}),
        ({}, {"class_weight": {0: 3.0}}),
        ({}, {"fit_intercept": False}),
        ({}, {"intercept_scaling": 5.0}),
        ({"solver": "sgd"}, {"solver": "sgd", "average": True}),
        ({"solver": "sgd"}, {"solver": "sgd", "tol": 0.5}),
        ({"solver": "sgd", "random_state": 0}, {"solver": "sgd", "random_state": 1}),
        ({"solver": "sgd"}, {"solver": "sgd", "max_iter": 3}),
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_every_parameter_changes_something(one, other):
    X, y = scaled(load_iris)
    a, b = (LinearSVM(**({"random_state": 0} | options)).fit(X, y) for options in (one, other))
    assert not np.array_equal(a.coef_, b.coef_) or a.n_iter_ != b.n_iter_


def test_fit_and_partial_fit_keep_separate_states():
    X, y = scaled(load_iris)
    model = LinearSVM(solver="sgd", random_state=0).partial_fit(X, y, classes=[0, 1, 2])
    model.fit(X, y)
    assert np.isfinite(model.dual_gap_)
    model.partial_fit(X, y)
    # The certificate belonged to the fit.
    assert not hasattr(model, "dual_gap_")
    assert not hasattr(model, "objective_")
    with pytest.raises(ValueError, match="classes must name at least two classes"):
        LinearSVM(solver="sgd").partial_fit(X[:50], y[:50], classes=[0])


def test_class_weights_out_of_range():
    X, y = scaled(load_iris)
    with pytest.raises(ValueError, match="class_weight"):
        LinearSVM(class_weight={0: -1.0}).fit(X, y)


def test_crammer_singer_continues_only_with_the_same_number_of_weight_vectors():
    X, y = scaled(load_breast_cancer)
    model = LinearSVM(solver="sgd", random_state=0).partial_fit(X, y, classes=[0, 1])
    model.set_params(fit_intercept=False)
    with pytest.raises(
        ValueError, match="fit_intercept, multi_class and average must stay the same"
    ):
        model.partial_fit(X, y)
    X, y = scaled(load_iris)
    model = LinearSVM(random_state=0).fit(X[y < 2], y[y < 2])
    model.classes_ = np.array([0, 1, 2])
    with pytest.raises(ValueError, match=r"coef_ must have the shape \(3, 4\)"):
        model.partial_fit(X, y)


def test_auto_is_newton_in_fit_and_sgd_in_partial_fit():
    X, y = scaled(load_iris)
    auto, newton = LinearSVM().fit(X, y), LinearSVM(solver="newton-cg").fit(X, y)
    np.testing.assert_array_equal(auto.coef_, newton.coef_)
    pieces = LinearSVM(random_state=0).partial_fit(X, y, classes=[0, 1, 2])
    sgd = LinearSVM(solver="sgd", random_state=0).partial_fit(X, y, classes=[0, 1, 2])
    np.testing.assert_array_equal(pieces.coef_, sgd.coef_)


@pytest.mark.parametrize("solver", ["newton-cg", "sgd"])
def test_the_number_of_threads_changes_no_bit(solver):
    X, y = scaled(load_digits)
    one, two = (
        LinearSVM(solver=solver, n_jobs=n_jobs, random_state=0, tol=0.1).fit(X, y)
        for n_jobs in (1, 2)
    )
    np.testing.assert_array_equal(one.coef_, two.coef_)


def test_many_threads_at_once_give_the_results_of_one():
    X, y = scaled(load_digits)
    settings = [{"C": C, "loss": loss} for C in (0.01, 0.1) for loss in ("hinge", "squared_hinge")]
    alone = [LinearSVM(**options).fit(X, y) for options in settings]

    def work(options):
        model = LinearSVM(**options).fit(X, y)
        return model.coef_, model.decision_function(X)

    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(work, settings))
    for model, (coef, scores) in zip(alone, together, strict=True):
        np.testing.assert_array_equal(coef, model.coef_)
        np.testing.assert_array_equal(scores, model.decision_function(X))


def test_each_parameter_may_have_a_different_rate():
    optimizer = _ScaledSGD()
    w, velocity, scratch = np.ones(3), np.zeros(3), np.empty(3)
    rate = np.array([1.0, 1.0, 0.5])
    for t in range(1, 101):
        optimizer.update(w, 2 * w, (velocity, rate), scratch, 1.0, t)
    # The gradient of w² at the rate 1 leads from 1 to -1 and back, at 0.5 to the minimum.
    np.testing.assert_array_equal(w, [1, 1, 0])


@pytest.mark.parametrize("average", [False, True])
def test_a_stream_of_changing_dtype_keeps_its_rates(average):
    X, y = scaled(load_iris)
    options = {"average": average, "intercept_scaling": 3.3, "random_state": 0}
    same, changing = LinearSVM(**options), LinearSVM(**options)
    for k in range(6):
        same.partial_fit(X, y, classes=[0, 1, 2])
        changing.partial_fit(X.astype([np.float64, np.float32][k % 2]), y, classes=[0, 1, 2])
    assert changing._state.step == same._state.step > 6
    np.testing.assert_allclose(changing.coef_, same.coef_, rtol=1e-3, atol=1e-5)


def test_average_cannot_change_within_a_stream():
    X, y = scaled(load_iris)
    model = LinearSVM(random_state=0).partial_fit(X, y, classes=[0, 1, 2])
    with pytest.raises(ValueError, match="average"):
        model.set_params(average=True).partial_fit(X, y)
    assert np.isfinite(model.set_params(average=False).partial_fit(X, y).coef_).all()


def test_a_problem_of_little_weight_learns_as_fast_as_the_others():
    X, y = scaled(load_iris)
    weights = {0: 100.0}
    options = {"loss": "squared_hinge", "C": 0.1, "class_weight": weights, "random_state": 0}
    best = LinearSVM(**options).fit(X, y)
    near = LinearSVM(**options, solver="sgd", tol=1e-6).fit(X, y)
    # The second problem has a hundredth of the first one's weight.
    light = LinearSVM(C=0.1, random_state=0).fit(X, y)
    np.testing.assert_allclose(best.coef_[1], light.coef_[1], atol=1e-5)
    distance = np.linalg.norm(near.coef_[1] - light.coef_[1])
    assert distance < 0.25 * np.linalg.norm(light.coef_[1])


@pytest.mark.parametrize("huge", [1e300, -1e300])
def test_one_huge_value_is_refused_with_advice(huge):
    X, y = scaled(load_iris)
    X[3, 2] = huge
    for options in ({}, {"loss": "hinge"}, {"multi_class": "crammer_singer"}):
        with pytest.raises(ValueError, match="too large for float64. Scale the columns"):
            LinearSVM(**options).fit(X, y)


def test_a_column_of_nan_is_refused():
    X, y = scaled(load_iris)
    X[:, 2] = np.nan
    with pytest.raises(ValueError, match="contains NaN"):
        LinearSVM().fit(X, y)


def test_single_precision_is_never_copied_into_double():
    X = np.random.default_rng(0).normal(size=(20_000, 100)).astype(np.float32)
    y = (X[:, 0] > 0).astype(int)
    LinearSVM().fit(X[:100], y[:100])
    tracemalloc.start()
    LinearSVM(C=0.01, n_jobs=1).fit(X, y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * X.nbytes


# partial_fit, and assigned weights


def streamed(n_calls=5, **options):
    X, y = scaled(load_iris)
    model = LinearSVM(random_state=0, **options)
    for _ in range(n_calls):
        model.partial_fit(X, y, classes=[0, 1, 2])
    return model


KINDS = pytest.mark.parametrize(
    "options",
    [{}, {"average": True}, {"loss": "hinge"}, {"multi_class": "crammer_singer"}],
    ids=str,
)


@KINDS
def test_a_refused_batch_does_not_change_the_state(options):
    X, y = scaled(load_iris)
    model, twin = streamed(**options), streamed(**options)
    bad = X.copy()
    bad[7] = 1e200
    with pytest.raises(ValueError, match="not finite"), np.errstate(all="ignore"):
        model.partial_fit(bad, y)
    np.testing.assert_array_equal(model.coef_, twin.coef_)
    for _ in range(3):
        model.partial_fit(X, y)
        twin.partial_fit(X, y)
    np.testing.assert_array_equal(model.coef_, twin.coef_)
    np.testing.assert_array_equal(model.intercept_, twin.intercept_)


@KINDS
def test_a_shallow_copy_is_independent(options):
    X, y = scaled(load_iris)
    model, twin = streamed(**options), streamed(**options)
    copy.copy(model).partial_fit(X[::-1], y[::-1])
    model.partial_fit(X, y)
    twin.partial_fit(X, y)
    np.testing.assert_array_equal(model.coef_, twin.coef_)


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
def test_partial_fit_continues_from_a_memory_map_without_changing_the_file(mode, tmp_path):
    X, y = scaled(load_iris)
    joblib.dump(streamed(), tmp_path / "model")
    before = (tmp_path / "model").read_bytes()
    model = joblib.load(tmp_path / "model", mmap_mode=mode).partial_fit(X, y)
    np.testing.assert_array_equal(model.coef_, streamed(6).coef_)
    assert (tmp_path / "model").read_bytes() == before


@pytest.mark.parametrize("intercept_scaling", [1.0, 3.0])
@KINDS
def test_partial_fit_continues_from_assigned_weights(options, intercept_scaling):
    X, y = scaled(load_iris)
    good = LinearSVM().fit(X, y)
    model = streamed(1, intercept_scaling=intercept_scaling, **options)
    before = model.coef_
    model.coef_, model.intercept_ = good.coef_, good.intercept_
    kept = good.coef_.copy()
    model.partial_fit(X, y)
    np.testing.assert_array_equal(good.coef_, kept)
    near, far = (np.abs(model.coef_ - coef).max() for coef in (kept, before))
    assert near < 0.7 * far
    # The same in place.
    other = streamed(3, **options)
    other.coef_[0] = 0
    changed = other.coef_.copy()
    twin = streamed(3, **options)
    twin.coef_ = changed
    np.testing.assert_array_equal(other.partial_fit(X, y).coef_, twin.partial_fit(X, y).coef_)


@pytest.mark.parametrize("intercept_scaling", [1.0, 3.3])
def test_the_mean_begins_anew_at_assigned_weights(intercept_scaling):
    X, y = scaled(load_iris)
    good = LinearSVM().fit(X, y)
    model = streamed(20, average=True, intercept_scaling=intercept_scaling)
    n_steps = model._state.step // 20
    assert model._state.step == 20 * n_steps
    model.coef_ = good.coef_.copy()
    model.partial_fit(X, y)
    # A mean over all steps would hardly differ from the good weights.
    assert model._state.step == n_steps
    again = copy.deepcopy(model).partial_fit(X, y)
    assert again._state.step == 2 * n_steps


@pytest.mark.parametrize("multi_class", ["ovr", "crammer_singer"])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_mean_goes_on_from_call_to_call(multi_class, n_classes, dtype):
    X, y = scaled(load_iris)
    # A feature that never occurs has a weight of 0.
    X = np.hstack([X, np.zeros((150, 1))])[y < n_classes].astype(dtype)
    y = y[y < n_classes]
    model = LinearSVM(multi_class=multi_class, average=True, random_state=0)
    steps = []
    for _ in range(3):
        model.partial_fit(X, y, classes=np.arange(n_classes))
        steps.append(model._state.step)
    assert steps == [steps[0], 2 * steps[0], 3 * steps[0]]


@pytest.mark.parametrize("options", [{}, {"intercept_scaling": 3.0}, {"fit_intercept": False}])
def test_assigning_equal_weights_does_not_restart_partial_fit(options):
    X, y = scaled(load_iris)
    model, twin = streamed(**options), streamed(**options)
    model.coef_, model.intercept_ = model.coef_.copy(), model.intercept_.copy()
    np.testing.assert_array_equal(model.partial_fit(X, y).coef_, twin.partial_fit(X, y).coef_)


@pytest.mark.parametrize("name", ["coef_", "intercept_"])
def test_assigned_weights_of_another_shape_are_refused(name):
    X, y = scaled(load_iris)
    model = streamed()
    setattr(model, name, np.zeros(7))
    with pytest.raises(ValueError, match=f"{name} must have the shape"):
        model.partial_fit(X, y)


@pytest.mark.parametrize("convert", [np.ndarray.tolist, np.ndarray.copy], ids=["list", "array"])
def test_assigned_weights_may_be_lists(convert):
    X, y = scaled(load_iris)
    model, twin = streamed(), streamed()
    model.coef_, model.intercept_ = convert(model.coef_), convert(model.intercept_)
    np.testing.assert_array_equal(model.partial_fit(X, y).coef_, twin.partial_fit(X, y).coef_)
    whole, real = streamed(), streamed()
    whole.coef_, real.coef_ = [[1] * 4] * 3, np.ones((3, 4))
    np.testing.assert_array_equal(whole.partial_fit(X, y).coef_, real.partial_fit(X, y).coef_)


@pytest.mark.parametrize("name", ["coef_", "intercept_"])
def test_assigned_weights_that_are_not_finite_are_refused(name):
    X, y = scaled(load_iris)
    model = streamed()
    array = getattr(model, name).copy()
    array[1] = np.nan
    setattr(model, name, array)
    with pytest.raises(ValueError, match=f"{name} must be finite to be trained further"):
        model.partial_fit(X, y)


@KINDS
def test_a_piece_without_weight_changes_nothing(options):
    X, y = scaled(load_iris)
    X, y = X[y < 2], y[y < 2]
    model = LinearSVM(random_state=0, class_weight={0: 0.0}, **options)
    model.partial_fit(X[y == 0], y[y == 0], classes=[0, 1])
    np.testing.assert_array_equal(model.coef_, np.zeros((1, 4)))
    np.testing.assert_array_equal(model.intercept_, [0])
    twin = clone(model)
    for each in (model, twin):
        each.partial_fit(X, y, classes=[0, 1])
    np.testing.assert_array_equal(model.coef_, twin.coef_)
    model.partial_fit(X[y == 0], y[y == 0])
    np.testing.assert_array_equal(model.coef_, twin.coef_)
    np.testing.assert_array_equal(model.partial_fit(X, y).coef_, twin.partial_fit(X, y).coef_)


def test_partial_fit_learns_as_well_as_fit():
    for load in LOADERS:
        X, y = scaled(load)
        stream = LinearSVM(random_state=0)
        for _ in range(60):
            stream.partial_fit(X, y, classes=np.unique(y))
        assert stream.score(X, y) >= LinearSVM().fit(X, y).score(X, y) - 0.02


# Classes without rows, weights out of range


@pytest.mark.parametrize("solver", ["newton-cg", "sgd"])
def test_absent_classes_do_not_count_in_class_weights(solver):
    X, y = scaled(load_iris)
    model = LinearSVM(solver=solver, class_weight={2: 5.0}, random_state=0)
    weight = np.where(y == 2, 0.0, 1.0)
    assert np.isfinite(model.fit(X, y, sample_weight=weight).coef_).all()
    balanced = clone(model).set_params(class_weight="balanced").fit(X, y, sample_weight=weight)
    # The two remaining classes have equally many rows.
    plain = clone(model).set_params(class_weight=None).fit(X, y, sample_weight=weight)
    np.testing.assert_allclose(balanced.coef_, plain.coef_, atol=1e-3)
    with pytest.warns(UserWarning, match=r"class_weight names none of the classes \[0, 1\]"):
        model.fit(X[:100], y[:100])


def test_bagging_of_a_rare_class():
    X, y = load_iris(return_X_y=True)
    bag = BaggingClassifier(LinearSVM(), n_estimators=30, random_state=0).fit(X[:53], y[:53])
    assert bag.score(X[:53], y[:53]) > 0.9


@pytest.mark.parametrize("options", [{}, {"C": 1e10}, {"class_weight": {0: 1e20}}], ids=str)
def test_costs_that_the_dtype_cannot_hold_are_refused(options):
    X, y = scaled(load_iris)
    weight = np.full(150, 1e39 if not options else 1e30)
    with pytest.raises(ValueError, match="C times sample_weight times class_weight is"):
        LinearSVM(**options).fit(X.astype(np.float32), y, sample_weight=weight)


def test_weights_that_exclude_all_rows_are_refused():
    X, y = scaled(load_breast_cancer)
    with pytest.raises(ValueError, match="sample_weight times class_weight is 0 in all rows"):
        LinearSVM(class_weight={0: 0.0}).fit(X, y, sample_weight=(y == 0).astype(float))


def test_rows_too_large_for_the_coefficients_are_refused():
    X, y = scaled(load_iris)
    fitted = LinearSVM().fit(X.astype(np.float32), y)
    for method in (fitted.predict, fitted.decision_function):
        with pytest.raises(ValueError, match="X holds values too large for coefficients"):
            method(np.full((2, 4), 3e38, np.float32))


@pytest.mark.parametrize(
    "rows",
    [
        np.datetime64("2024-01-01") + np.arange(600).reshape(150, 4),
        np.arange(600).reshape(150, 4).astype(str),
    ],
    ids=["dates", "text"],
)
def test_non_numeric_rows_are_refused(rows):
    X, y = scaled(load_iris)
    with pytest.raises(ValueError, match="^X must hold numbers"):
        LinearSVM().fit(rows, y)
    with pytest.raises(ValueError, match="^X must hold numbers"):
        LinearSVM().fit(X, y).predict(rows)


@KINDS
def test_batches_may_differ_in_dtype(options):
    X, y = scaled(load_iris)
    for one, other in ((np.float32, np.float64), (np.float64, np.float32), (np.uint8, np.float32)):
        model = LinearSVM(random_state=0, **options)
        model.partial_fit((8 * X).astype(one), y, classes=[0, 1, 2])
        model.partial_fit((8 * X).astype(other), y)
        assert np.isfinite(model.coef_).all()


def test_class_weights_of_one_change_neither_solution_nor_number_of_epochs():
    X, y = load_digits(return_X_y=True)
    X = X / 16
    plain = LinearSVM(solver="sgd", random_state=0).fit(X, y)
    weighted = LinearSVM(
        solver="sgd", class_weight=dict.fromkeys(range(10), 1.0), random_state=0
    ).fit(X, y)
    assert weighted.n_iter_ == plain.n_iter_
    np.testing.assert_allclose(weighted.coef_, plain.coef_, rtol=0, atol=1e-3)


@pytest.mark.parametrize("factor", [1 / 8, 8.0])
def test_scaling_x_equals_scaling_c_and_does_not_change_the_steps_of_sgd(factor):
    X, y = load_digits(return_X_y=True)
    X, y = X / 16, y % 3
    options = {"solver": "sgd", "fit_intercept": False, "random_state": 0}
    plain = LinearSVM(**options).fit(X, y)
    scaled = LinearSVM(C=1 / factor**2, **options).fit(X * factor, y)
    # Powers of two are exact.
    assert scaled.n_iter_ == plain.n_iter_
    np.testing.assert_array_equal(scaled.coef_ * factor, plain.coef_)


# The penalty l1


@parametrize_with_checks([LinearSVM(penalty="l1")])
def test_the_checks_of_scikit_learn_with_the_penalty_l1(estimator, check):
    check(estimator)


@pytest.mark.parametrize("load", LOADERS)
def test_the_zeros_of_liblinear(load):
    X, y = scaled(load)
    ours = LinearSVM(penalty="l1", C=0.05).fit(X, y)
    theirs = LinearSVC(penalty="l1", C=0.05, dual=False, tol=1e-8, max_iter=100_000).fit(X, y)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-5)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, atol=1e-5)
    # Where the gradient is almost 1, rounding decides.
    signs = np.where(y[:, None] == ours.classes_[-len(ours.coef_) :], 1, -1)
    slack = np.maximum(0, 1 - signs * (X @ ours.coef_.T + ours.intercept_))
    gradient = 2 * 0.05 * (signs * slack).T @ X
    clear = np.abs(np.abs(gradient) - 1) > 1e-4
    clear |= ours.coef_ != 0
    np.testing.assert_array_equal((ours.coef_ == 0)[clear], (theirs.coef_ == 0)[clear])
    assert (ours.coef_ == 0).any()
    assert ours.dual_gap_ <= ours.tol * ours.objective_


@pytest.mark.parametrize(
    "options",
    [
        {"fit_intercept": False},
        {"intercept_scaling": 10.0},
        {"class_weight": "balanced"},
        {"class_weight": {0: 5.0, 1: 0.1}},
    ],
    ids=str,
)
@pytest.mark.parametrize("load", [load_wine, load_breast_cancer])
def test_options_with_the_penalty_l1_are_those_of_liblinear(load, options):
    X, y = scaled(load)
    weight = np.arange(len(y)) % 3 + 0.5
    options = {"penalty": "l1", "C": 0.1, **options}
    ours = LinearSVM(**options).fit(X, y, weight)
    theirs = LinearSVC(**options, dual=False, tol=1e-8, max_iter=100_000).fit(X, y, weight)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-5)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, atol=1e-5)


def test_weights_count_as_repetitions_with_the_penalty_l1():
    X, y = scaled(load_wine)
    weight = np.random.default_rng(0).integers(0, 4, len(y))
    model = LinearSVM(penalty="l1", C=0.1)
    weighted = clone(model).fit(X, y, sample_weight=weight)
    repeated = clone(model).fit(np.repeat(X, weight, axis=0), np.repeat(y, weight))
    np.testing.assert_allclose(weighted.coef_, repeated.coef_, atol=1e-7)
    np.testing.assert_array_equal(weighted.coef_ == 0, repeated.coef_ == 0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sparse_rows_select_the_same_features(dtype):
    X, y = load_digits(return_X_y=True)
    X = (X / 16).astype(dtype)
    dense = LinearSVM(penalty="l1", C=0.1).fit(X, y)
    rows = LinearSVM(penalty="l1", C=0.1).fit(sparse.csr_array(X), y)
    assert dense.coef_.dtype == rows.coef_.dtype == dtype
    np.testing.assert_allclose(rows.coef_, dense.coef_, atol=1e-6)
    np.testing.assert_array_equal(rows.coef_ == 0, dense.coef_ == 0)
    assert rows.dual_gap_ <= rows.tol * rows.objective_


def test_more_threads_change_no_bit_with_the_penalty_l1():
    X, y = scaled(load_digits)
    for rows in (X, sparse.csr_array(X)):
        one, two = (LinearSVM(penalty="l1", C=0.1, n_jobs=n_jobs).fit(rows, y) for n_jobs in (1, 2))
        np.testing.assert_array_equal(one.coef_, two.coef_)
        assert one.dual_gap_ == two.dual_gap_


def test_features_are_selected_by_the_penalty_l1():
    X, y = scaled(load_breast_cancer)
    selector = SelectFromModel(LinearSVM(penalty="l1", C=0.01)).fit(X, y)
    kept = selector.estimator_.coef_[0] != 0
    np.testing.assert_array_equal(selector.get_support(), kept)
    assert selector.transform(X).shape == (len(X), kept.sum())
    assert 0 < kept.sum() < 15


def test_a_warm_start_with_the_penalty_l1_ends_at_the_same_solution_sooner():
    X, y = scaled(load_digits)
    cold = LinearSVM(penalty="l1", C=0.1).fit(X, y)
    warm = LinearSVM(penalty="l1", C=0.09, warm_start=True).fit(X, y).set_params(C=0.1).fit(X, y)
    assert warm.n_iter_ < cold.n_iter_
    np.testing.assert_allclose(warm.coef_, cold.coef_, atol=1e-6)


def test_too_few_iterations_with_the_penalty_l1_give_a_valid_gap():
    X, y = scaled(load_digits)
    best = LinearSVM(penalty="l1").fit(X, y)
    for max_iter in (1, 3, 6):
        with pytest.warns(ConvergenceWarning, match="with a duality gap of"):
            fitted = LinearSVM(penalty="l1", max_iter=max_iter).fit(X, y)
        assert fitted.n_iter_ == max_iter
        assert 0 < fitted.objective_ - best.objective_ <= fitted.dual_gap_


# Combinations, dual and verbose


@pytest.mark.parametrize("penalty", ["l1", "l2"])
@pytest.mark.parametrize("loss", ["hinge", "squared_hinge"])
@pytest.mark.parametrize("dual", [True, False, "auto"])
@pytest.mark.parametrize("n_rows", [3, 150])
def test_combinations_are_rejected_in_the_words_of_scikit_learn(penalty, loss, dual, n_rows):
    X, y = scaled(load_iris)
    X, y = X[:: 150 // n_rows], y[:: 150 // n_rows]
    options = {"penalty": penalty, "loss": loss, "dual": dual}
    try:
        LinearSVC(**options, max_iter=10_000).fit(X, y)
    except ValueError as error:
        with pytest.raises(ValueError, match="^Unsupported set of arguments") as caught:
            LinearSVM(**options).fit(X, y)
        assert str(caught.value) == str(error)
    else:
        fitted = LinearSVM(**options).fit(X, y)
        other = LinearSVM(penalty=penalty, loss=loss).fit(X, y)
        np.testing.assert_array_equal(fitted.coef_, other.coef_)


def test_the_joint_problem_ignores_penalty_loss_and_dual():
    X, y = scaled(load_iris)
    plain = LinearSVM(multi_class="crammer_singer").fit(X, y)
    for options in ({"penalty": "l1"}, {"loss": "hinge", "dual": False}):
        other = LinearSVM(multi_class="crammer_singer", **options).fit(X, y)
        np.testing.assert_array_equal(other.coef_, plain.coef_)


def test_stochastic_gradients_refuse_the_penalty_l1():
    X, y = scaled(load_iris)
    with pytest.raises(ValueError, match="accepts only penalty='l2', got penalty='l1'"):
        LinearSVM(penalty="l1", solver="sgd").fit(X, y)
    model = LinearSVM(penalty="l1")
    assert not hasattr(model, "partial_fit")
    with pytest.raises(ValueError, match="accepts only penalty='l2', got penalty='l1'"):
        model.partial_fit(X, y, classes=[0, 1, 2])


@pytest.mark.parametrize("options", [{}, {"loss": "hinge"}, {"penalty": "l1"}, {"solver": "sgd"}])
def test_verbose_prints_a_line_for_each_iteration(options, capsys):
    X, y = scaled(load_iris)
    quiet = LinearSVM(C=0.1, random_state=0, **options).fit(X, y)
    assert capsys.readouterr().out == ""
    loud = LinearSVM(C=0.1, random_state=0, verbose=1, **options).fit(X, y)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == loud.n_iter_ + 1
    assert lines[0].startswith("epoch 1: " if "solver" in options else "iteration 1: objective")
    assert lines[-1].startswith(f"LinearSVM ended after {loud.n_iter_} ")
    assert f"objective {loud.objective_:.6g}" in lines[-1]
    np.testing.assert_array_equal(quiet.coef_, loud.coef_)


# Sparse coefficients


@pytest.mark.parametrize("load", [load_wine, load_breast_cancer])
def test_sparse_coefficients_predict_the_same(load, tmp_path):
    X, y = scaled(load)
    model = LinearSVM(penalty="l1", C=0.1).fit(X, y)
    dense = copy.deepcopy(model)
    assert sparse.issparse(model.sparsify().coef_)
    save(model, tmp_path / "model")
    for other in (model, pickle.loads(pickle.dumps(model)), load_model(tmp_path / "model")):
        assert sparse.issparse(other.coef_)
        for rows in (X, sparse.csr_array(X)):
            np.testing.assert_allclose(
                other.decision_function(rows), dense.decision_function(rows), atol=1e-12
            )
            np.testing.assert_array_equal(other.predict(rows), dense.predict(rows))
    assert isinstance(clone(model).fit(X, y).coef_, np.ndarray)
    np.testing.assert_array_equal(model.densify().coef_, dense.coef_)


@pytest.mark.parametrize("options", [{}, {"penalty": "l1"}, {"multi_class": "crammer_singer"}])
@pytest.mark.parametrize("load", [load_wine, load_breast_cancer])
def test_a_warm_start_from_sparse_coefficients(load, options):
    X, y = scaled(load)
    model = LinearSVM(C=0.1, warm_start=True, **options).fit(X, y)
    twin = copy.deepcopy(model)
    again, expected = model.sparsify().fit(X, y), twin.fit(X, y)
    assert isinstance(again.coef_, np.ndarray)
    np.testing.assert_array_equal(again.coef_, expected.coef_)


def test_partial_fit_continues_from_sparse_coefficients():
    X, y = scaled(load_iris)
    model, twin = streamed(), streamed()
    model.sparsify().partial_fit(X, y)
    np.testing.assert_array_equal(model.coef_, twin.partial_fit(X, y).coef_)
