import copy
import io
import itertools
import json
import os
import pickle
import subprocess
import sys
import textwrap
import zipfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import sklearn
import skops
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import sparse, special
from sklearn import config_context
from sklearn.base import BaseEstimator, clone
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_iris
from sklearn.ensemble import StackingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.feature_selection import SelectKBest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.metrics import f1_score, get_scorer_names, make_scorer
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, StandardScaler
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils.validation import check_is_fitted

from skscratch import (
    AutoencoderTransformer,
    LinearSVM,
    MLPClassifier,
    MLPRegressor,
    __version__,
    persistence,
)
from skscratch.core import (
    SGD,
    AdamW,
    Cosine,
    Dense,
    GaussianNoise,
    Network,
    Sigmoid,
    SiLU,
    Tanh,
)
from skscratch.core.blas import single_threaded_blas
from skscratch.images import RandomWarp
from skscratch.persistence import load, save

X, y = load_iris(return_X_y=True)
X = X / X.max(axis=0)
NAMES = np.array(["setosa", "versicolor", "virginica"], dtype=object)[y]
LABELS = np.column_stack([y == 0, y != 1]).astype(int)
# No epoch improves by so much, so all networks stop early.
EPOCHS = {"max_iter": 9, "tol": 1e9, "n_iter_no_change": 1, "random_state": 0}
SVM_SGD = {"max_iter": 500, "tol": 1e-2, "random_state": 0}

CASES = {
    "classifier": (MLPClassifier(4, solver="lbfgs", tol=1.0, random_state=0), y),
    "classifier, two classes": (MLPClassifier(4, **EPOCHS), y == 1),
    "classifier, one class": (MLPClassifier(4, **EPOCHS), np.zeros(len(y))),
    "classifier, texts": (MLPClassifier((4, 3), early_stopping=True, **EPOCHS), NAMES),
    "classifier, fixed texts": (MLPClassifier([4], **EPOCHS), NAMES.astype(str)),
    "classifier, multilabel": (MLPClassifier(np.array([4, 3]), **EPOCHS), LABELS),
    "classifier, sparse": (MLPClassifier(4, **EPOCHS), sparse.csr_matrix(LABELS)),
    "classifier, rmsprop": (
        MLPClassifier(4, solver="rmsprop", dropout=0.1, layer_norm=True, **EPOCHS),
        y,
    ),
    "classifier, instances": (
        MLPClassifier(
            4,
            SiLU(),
            solver=AdamW(weight_decay=0.1),
            learning_rate=Cosine(0.01),
            noise=GaussianNoise(0.1),
            **EPOCHS,
        ),
        y,
    ),
    "regressor": (MLPRegressor(hidden_layer_sizes=4, solver="sgd", **EPOCHS), X[:, 0]),
    "regressor, two outputs": (MLPRegressor("poisson", 4, **EPOCHS), X[:, :2]),
    "regressor, quantiles": (MLPRegressor("pinball", 4, quantile=[0.1, 0.9], **EPOCHS), X[:, 0]),
    "autoencoder": (AutoencoderTransformer(2, 5, max_iter=3, random_state=0), None),
    "autoencoder, all options": (
        AutoencoderTransformer(
            2,
            (5, 4),
            activation="silu",
            loss="binary_log_loss",
            noise="gaussian",
            sparsity=1e-3,
            tied_weights=True,
            solver="adamw",
            n_iter_no_change=np.inf,
            max_iter=3,
            random_state=0,
        ),
        None,
    ),
    "autoencoder, variational": (
        AutoencoderTransformer(2, 5, beta=0.5, dropout=0.1, max_iter=1, random_state=0),
        None,
    ),
    "autoencoder, contractive and sparse": (
        AutoencoderTransformer(
            2,
            5,
            contraction=0.1,
            latent_activation="logistic",
            sparsity=0.1,
            sparsity_target=0.2,
            loss="auto",
            max_iter=1,
            random_state=0,
        ),
        None,
    ),
    "autoencoder, warped images": (
        AutoencoderTransformer(2, 5, noise=RandomWarp((2, 2)), max_iter=1, random_state=0),
        None,
    ),
    "autoencoder, no hidden layer": (AutoencoderTransformer(2, (), max_iter=1), None),
    "svm": (LinearSVM(), y),
    "svm, two classes": (LinearSVM("l2", "hinge", class_weight={False: 2.0}), y == 1),
    "svm, texts": (LinearSVM(multi_class="crammer_singer", class_weight="balanced"), NAMES),
    "svm, sgd": (LinearSVM(solver="sgd", **SVM_SGD), y),
}
METHODS = (
    "predict",
    "predict_proba",
    "decision_function",
    "transform",
    "reconstruct",
    "score_samples",
)


def fitted(case, rows=X):
    estimator, target = CASES[case]
    return clone(estimator).fit(rows, target)


def assert_same(one, other):
    """Check that two results have the same bits and dtype."""
    if sparse.issparse(one):
        one, other = one.toarray(), other.toarray()
    np.testing.assert_array_equal(one, other)
    assert np.asarray(one).dtype == np.asarray(other).dtype


def assert_predicts_the_same(estimator, loaded, rows=X):
    asked = [name for name in METHODS if hasattr(estimator, name)]
    assert asked
    for name in asked:
        assert_same(getattr(estimator, name)(rows), getattr(loaded, name)(rows))


@pytest.fixture
def file(tmp_path):
    return tmp_path / "model.skops"


def round_trip(estimator, file):
    save(estimator, file)
    return load(file)


# Round trips


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("case", CASES)
def test_predictions_have_the_same_bits(case, dtype, file):
    rows = X.astype(dtype)
    estimator = fitted(case, rows)
    assert_predicts_the_same(estimator, round_trip(estimator, file), rows)


@pytest.mark.parametrize("case", CASES)
def test_parameters_are_restored_with_their_types(case, file):
    estimator = CASES[case][0]
    before, after = estimator.get_params(), round_trip(estimator, file).get_params()
    assert before.keys() == after.keys()
    for name, value in before.items():
        assert type(after[name]) is type(value), name
        np.testing.assert_array_equal(after[name], value)


@pytest.mark.parametrize("case", CASES)
def test_an_unfitted_estimator_stays_unfitted(case, file):
    loaded = round_trip(clone(CASES[case][0]), file)
    with pytest.raises(NotFittedError):
        check_is_fitted(loaded)


@pytest.mark.parametrize("case", CASES)
def test_fitted_attributes_are_restored(case, file):
    estimator = fitted(case)
    loaded = round_trip(estimator, file)
    assert vars(estimator).keys() == vars(loaded).keys()
    for name in vars(estimator):
        before, after = getattr(estimator, name), getattr(loaded, name)
        assert type(before) is type(after), name
        if name.endswith("_") and name != "network_":
            np.testing.assert_array_equal(after, before)


@pytest.mark.parametrize("case", CASES)
def test_saving_does_not_change_the_estimator(case, file):
    estimator = fitted(case)
    before = pickle.dumps(copy.deepcopy(estimator))
    save(estimator, file)
    assert pickle.dumps(copy.deepcopy(estimator)) == before


@pytest.mark.parametrize("case", CASES)
def test_a_loaded_estimator_can_be_fitted_again(case, file):
    estimator, target = CASES[case]
    loaded = round_trip(fitted(case), file)
    if estimator.random_state is not None or isinstance(estimator, LinearSVM):
        assert_predicts_the_same(clone(estimator).fit(X, target), loaded.fit(X, target))


@pytest.mark.parametrize("case", CASES)
def test_a_loaded_estimator_can_be_saved_again(case, file):
    estimator = fitted(case)
    assert_predicts_the_same(estimator, round_trip(round_trip(estimator, file), file))


def test_a_saved_autoencoder_still_has_two_halves_of_one_network(file):
    loaded = round_trip(fitted("autoencoder"), file)
    loaded.network_.params[:] = 0
    assert not loaded.transform(X).any()
    assert np.shares_memory(loaded.encoder_.views[0].W, loaded.network_.params)


@pytest.mark.parametrize("case", [case for case in CASES if not case.startswith("svm")])
def test_weights_are_views_of_the_loaded_parameters(case, file):
    network = round_trip(fitted(case), file).network_
    arrays = [array for view in network.views for array in vars(view).values()]
    assert arrays
    assert all(np.shares_memory(array, network.params) for array in arrays)


def test_a_file_holds_the_parameters_and_adams_moments_once(file):
    encoder = AutoencoderTransformer(20, 300, max_iter=1, random_state=0).fit(np.tile(X, 25))
    save(encoder, file)
    # The parameters, and the two moments of Adam.
    assert file.stat().st_size < 3 * encoder.network_.params.nbytes + 20_000


def test_a_long_curve_takes_little_space(file):
    svm = LinearSVM()
    save(svm, file)
    before = file.stat().st_size
    svm.curve_ = np.random.default_rng(0).random(1000).tolist()
    loaded = round_trip(svm, file)
    assert loaded.curve_ == svm.curve_
    assert type(loaded.curve_) is list
    assert {type(value) for value in loaded.curve_} == {float}
    assert file.stat().st_size - before < 1000 * 9


# Training that continues from a file takes the same steps.

WARM = {
    "classifier, adam": (MLPClassifier(4, max_iter=3, random_state=0), y),
    "classifier, sgd": (
        MLPClassifier(4, solver="sgd", learning_rate="adaptive", max_iter=3, random_state=0),
        y,
    ),
    "classifier, rmsprop": (MLPClassifier(4, solver="rmsprop", max_iter=3, random_state=0), NAMES),
    "classifier, adamw": (
        MLPClassifier(4, solver="adamw", dropout=0.2, max_iter=3, random_state=0),
        y,
    ),
    "classifier, instances": (
        MLPClassifier(4, solver=SGD(0.5), learning_rate=Cosine(0.1), max_iter=3, random_state=0),
        y,
    ),
    "classifier, lbfgs": (MLPClassifier(4, solver="lbfgs", max_iter=3, random_state=0), y),
    "classifier, early stopping": (
        MLPClassifier(4, early_stopping=True, max_iter=3, random_state=0),
        y,
    ),
    "classifier, generator": (
        MLPClassifier(4, max_iter=3, random_state=np.random.RandomState(7)),
        y,
    ),
    "regressor, invscaling": (
        MLPRegressor(
            "huber", 4, solver="sgd", learning_rate="invscaling", max_iter=3, random_state=0
        ),
        X[:, 0],
    ),
    "autoencoder, noise": (
        AutoencoderTransformer(2, 5, noise="masking", max_iter=3, random_state=0),
        None,
    ),
    "autoencoder, warped images": (
        AutoencoderTransformer(2, 5, noise=RandomWarp((2, 2)), max_iter=3, random_state=0),
        None,
    ),
    "autoencoder, variational": (
        AutoencoderTransformer(2, 5, beta=0.5, max_iter=3, random_state=0),
        None,
    ),
    "svm, newton-cg": (LinearSVM(max_iter=1), y),
    "svm, sgd": (LinearSVM(solver="sgd", max_iter=3, random_state=0), y),
}
STREAMS = [case for case in WARM if "lbfgs" not in case and case.partition(", ")[2] != "newton-cg"]
HALVES = (slice(0, None, 2), slice(1, None, 2))


def copies(case, **parameters):
    """Return a fresh copy of an estimator; parameters may be random generators."""
    estimator, target = WARM[case]
    estimator = copy.deepcopy(estimator).set_params(**parameters)
    return estimator, target


def assert_same_numbers(one, other):
    assert vars(one).keys() == vars(other).keys()
    for name in ("network_", "coef_", "intercept_", "loss_curve_", "validation_scores_", "t_"):
        if hasattr(one, name):
            before, after = getattr(one, name), getattr(other, name)
            if name == "network_":
                before, after = before.params, after.params
            np.testing.assert_array_equal(after, before, err_msg=name)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("case", WARM)
def test_a_warm_start_from_a_file_has_the_same_bits(case, dtype, file):
    rows = X.astype(dtype)
    estimator, target = copies(case, warm_start=True)
    estimator.fit(rows, target)
    loaded = round_trip(estimator, file)
    before = copy.deepcopy(loaded)
    for _ in range(2):
        estimator.fit(rows, target)
        loaded.fit(rows, target)
        assert_same_numbers(estimator, loaded)
    if "newton" not in case:
        with pytest.raises(AssertionError):
            assert_same_numbers(before, loaded)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("begun_by", ["fit", "partial_fit"])
@pytest.mark.parametrize("case", STREAMS)
def test_partial_fit_continues_from_a_file_with_the_same_bits(case, begun_by, file):
    estimator, target = copies(case, **({} if "svm" in case else {"early_stopping": False}))

    def more(model, half):
        labels = [] if target is None else [target[half]]
        if isinstance(model, MLPClassifier | LinearSVM):
            model.partial_fit(X[half], *labels, classes=np.unique(target))
        else:
            model.partial_fit(X[half], *labels)

    if begun_by == "fit":
        estimator.fit(X, target)
    for half in HALVES:
        more(estimator, half)
    loaded = round_trip(estimator, file)
    for half in HALVES * 2:
        more(estimator, half)
        more(loaded, half)
        assert_same_numbers(estimator, loaded)
        loaded = round_trip(loaded, file)


# Pipelines, and scikit-learn's metadata


def test_a_pipeline_is_restored(file):
    pipeline = make_pipeline(
        StandardScaler(),
        FunctionTransformer(np.tanh),
        AutoencoderTransformer(2, 5, max_iter=3, random_state=0),
        LinearSVM(),
    )
    pipeline.fit(X, NAMES)
    loaded = round_trip(pipeline, file)
    assert_predicts_the_same(pipeline, loaded)
    assert repr(loaded) == repr(pipeline)


@pytest.mark.parametrize(
    "scoring",
    [None, "accuracy", "neg_log_loss", ["accuracy", "f1_macro"], {"mine": "f1_macro"}],
    ids=str,
)
def test_a_search_is_restored(scoring, file):
    pandas = pytest.importorskip("pandas")
    search = GridSearchCV(
        make_pipeline(MinMaxScaler(), MLPClassifier(3, max_iter=20, random_state=0)),
        {"mlpclassifier__activation": ["tanh", "relu"], "mlpclassifier__alpha": [0.0, 1e-4]},
        scoring=scoring,
        refit="mine"
        if isinstance(scoring, dict)
        else (scoring or ["accuracy"])[0]
        if isinstance(scoring, list)
        else True,
        cv=StratifiedKFold(2, shuffle=True, random_state=0),
    )
    with pytest.warns(Warning, match="converged"):
        search.fit(X, NAMES)
    loaded = round_trip(search, file)
    assert_predicts_the_same(search, loaded)
    assert loaded.best_params_ == search.best_params_
    assert loaded.score(X, NAMES) == search.score(X, NAMES)
    tables = [pandas.DataFrame(model.cv_results_) for model in (search, loaded)]
    pandas.testing.assert_frame_equal(*tables)
    np.testing.assert_array_equal(
        *[model.cv_results_["param_mlpclassifier__alpha"].mask for model in (search, loaded)]
    )


@pytest.mark.parametrize("ufunc", [np.log1p, special.eval_legendre], ids=["NumPy", "SciPy"])
def test_a_ufunc_is_restored(ufunc, file):
    assert round_trip(FunctionTransformer(ufunc), file).func is ufunc


def test_column_transformer_text_pipeline_and_stack_are_restored(file):
    # The imputer keeps a dtype.
    columns = make_column_transformer((SimpleImputer(), [0, 1]), remainder="passthrough")
    stack = StackingClassifier(
        [("svm", make_pipeline(columns, LinearSVM())), ("mlp", CASES["classifier"][0])],
        LogisticRegression(),
        cv=3,
    ).fit(X, y)
    assert_predicts_the_same(stack, round_trip(stack, file))
    words = make_pipeline(TfidfVectorizer(), LinearSVM()).fit(["a red cat", "a blue dog"], [0, 1])
    loaded = round_trip(words, file)
    assert_predicts_the_same(words, loaded, ["red dog", "blue cat", "blue"])


def test_sparse_coefficients_are_restored(file):
    model = SGDClassifier(random_state=0).fit(X, y).sparsify()
    loaded = round_trip(model, file)
    assert type(loaded.coef_) is type(model.coef_)
    assert_predicts_the_same(model, loaded)


def test_an_object_shared_by_two_steps_is_shared_after_loading(file):
    encoder = fitted("autoencoder")
    model = MLPClassifier(4, pretrained=encoder.encoder_, max_iter=3, tol=1e9, random_state=0)
    pipeline = make_pipeline(encoder, model)
    loaded = round_trip(pipeline, file)
    network = loaded[0].network_
    assert loaded[1].pretrained.network is network
    network.params[:] = 0
    assert not loaded[1].pretrained(X).any()
    with pytest.warns(Warning, match="converged"):
        model.set_params(n_iter_no_change=9).fit(X, y)
    assert_predicts_the_same(model, round_trip(model, file))


def test_a_random_generator_given_as_a_parameter_is_the_one_in_use_after_loading(file):
    estimator = MLPClassifier(4, **{**EPOCHS, "random_state": np.random.RandomState(3)}).fit(X, y)
    loaded = round_trip(estimator, file)
    assert_same_numbers(estimator.fit(X, y), loaded.fit(X, y))


def test_column_names_output_container_and_routing_are_restored(file):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=["a", "b", "c", "d"])
    with config_context(enable_metadata_routing=True):
        encoder = AutoencoderTransformer(2, (), max_iter=1, random_state=0)
        encoder.set_fit_request(X_val=True, sample_weight="weight").set_output(transform="pandas")
        encoder.fit(frame)
        loaded = round_trip(encoder, file)
        before, after = (e.get_metadata_routing() for e in (encoder, loaded))
        assert repr(after) == repr(before)
        assert after.fit.owner == "AutoencoderTransformer"
        assert after.fit.requests["X_val"] is True
        assert after.fit.requests["sample_weight"] == "weight"
        assert clone(loaded).get_metadata_routing().fit.requests == after.fit.requests
    assert loaded.feature_names_in_.tolist() == ["a", "b", "c", "d"]
    pandas.testing.assert_frame_equal(loaded.transform(frame), encoder.transform(frame))


def test_metadata_requests_do_not_include_their_owner(file):
    with config_context(enable_metadata_routing=True):
        svm = LinearSVM().fit(np.tile(X, 1000), y)
        save(clone(svm.set_fit_request(sample_weight=True)), file)
    assert file.stat().st_size < svm.coef_.nbytes / 10


def test_an_output_container_does_not_make_an_estimator_fitted(file):
    pytest.importorskip("pandas")
    loaded = round_trip(AutoencoderTransformer().set_output(transform="pandas"), file)
    with pytest.raises(NotFittedError):
        check_is_fitted(loaded)
    assert hasattr(loaded.fit_transform(X), "columns")


def test_an_output_container_that_is_not_installed_does_not_prevent_loading(file, monkeypatch):
    encoder = fitted("autoencoder")
    save(encoder.set_output(transform="polars"), file)
    monkeypatch.setitem(sys.modules, "polars", None)
    loaded = load(file)
    with pytest.raises(ImportError):
        loaded.transform(X)
    assert_predicts_the_same(
        encoder.set_output(transform="default"), loaded.set_output(transform="default")
    )


def test_a_network_for_rows_far_from_zero_is_restored(file):
    regressor = fitted("regressor, two outputs")
    # The row of zeros, by which files are tried out, would overflow.
    regressor.intercepts_[-1] = [1e4, 1e4]
    with pytest.raises(ValueError, match="too large"):
        regressor.predict(np.zeros((1, 4)))
    np.testing.assert_array_equal(
        round_trip(regressor, file).network_.params, regressor.network_.params
    )


def test_callbacks_are_not_saved_but_stay_on_the_estimator(file):
    class Nothing:
        def setup(self, estimator, context): ...
        def on_fit_task_begin(self, estimator, context): ...
        def on_fit_task_end(self, estimator, context): ...
        def teardown(self, estimator, context): ...

        def __deepcopy__(self, memo):
            raise AssertionError("a callback was copied")

    estimator = clone(CASES["autoencoder"][0]).set_callbacks(Nothing()).fit(X)
    for model in (estimator, make_pipeline(estimator)):
        loaded = round_trip(model, file)
        inner = loaded[0] if model is not estimator else loaded
        assert not hasattr(inner, "_skl_callbacks")
    assert len(estimator._skl_callbacks) == 1


def test_saving_takes_a_consistent_snapshot(file, monkeypatch):
    svm = LinearSVM(class_weight={0: 2.0})
    find = persistence._stand_in

    def fitted_meanwhile(part):
        svm.C = 99.0
        return find(part)

    monkeypatch.setattr(persistence, "_stand_in", fitted_meanwhile)
    assert round_trip(svm, file).C == 1.0
    assert svm.C == 99.0


def test_the_name_of_the_file_is_kept(tmp_path):
    save(LinearSVM(), tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    save(LinearSVM(C=2.0), str(tmp_path / "model"))
    assert load(str(tmp_path / "model")).C == 2.0


TEXTS = st.text(max_size=5)
PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | TEXTS
    | st.sampled_from([np.float32(0.1), np.int8(3), np.str_("x"), np.bool_(True)]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(
            TEXTS | st.integers() | st.booleans() | st.none() | st.tuples(st.integers(), TEXTS),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=PLAIN)
def test_any_plain_attribute_is_restored(value, file):
    svm = LinearSVM()
    svm.note_ = value
    assert same(round_trip(svm, file).note_, value)


def same(one, other):
    if type(one) is not type(other):
        return False
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return same(list(one.items()), list(other.items()))
    return one == other


# Values that cannot be saved raise a ValueError that names them, and no file is written.


class Heir(LinearSVM):
    pass


class Unregistered(SGD):
    pass


class Awkward:
    def __getattr__(self, name):
        raise RuntimeError("no")


def local_part():
    class Local(Sigmoid, name="local to a function"):
        pass

    del Sigmoid.members()["local to a function"]
    return Local()


UNSAVABLE = {
    "function": len,
    "lambda": lambda rows, rng: rows,
    "function of ours": save,
    "function of scikit-learn": f1_score,
    "class": Heir,
    "unregistered part": Unregistered(),
    "object": object(),
    "object that raises": Awkward(),
    "complex": 1j,
    "open file": sys.stdout,
    "module": np,
    "array of functions": np.array([len]),
    "array of records with objects": np.zeros(1, dtype=[("x", object)]),
    "deep inside": {"a": [(1, {"b": len})]},
    "generator": (i for i in range(3)),
    "method": LinearSVM().get_params,
    "scorer": make_scorer(f1_score, average="macro"),
    "tree": DecisionTreeClassifier().fit(X, y).tree_,
}


@pytest.mark.parametrize("name", UNSAVABLE)
def test_attributes_that_cannot_be_saved_are_named(name, tmp_path):
    svm = fitted("svm")
    svm.mine_ = UNSAVABLE[name]
    for model in (svm, make_pipeline(StandardScaler(), svm)):
        with pytest.raises(ValueError, match="Cannot save 'mine_' of LinearSVM: .*"):
            save(model, tmp_path / "model.skops")
    assert not list(tmp_path.iterdir())


def test_an_object_that_contains_itself_is_refused(file):
    svm = LinearSVM()
    svm.mine_ = [1]
    svm.mine_.append(svm.mine_)
    with pytest.raises(ValueError, match="Cannot save 'mine_' of LinearSVM"):
        save(svm, file)


@pytest.mark.parametrize(
    ("estimator", "what"),
    [
        (Heir(), "a Heir: .*test_persistence.Heir"),
        (DecisionTreeClassifier().fit(X, y), "'tree_' of DecisionTreeClassifier"),
        (SelectKBest(), "'score_func' of SelectKBest: .*f_classif"),
        (MLPClassifier(scoring=make_scorer(f1_score)), "'scoring' of MLPClassifier"),
        (AutoencoderTransformer(noise=UNSAVABLE["lambda"]), "'noise' of AutoencoderTransformer"),
        (LinearSVM(C=-1.0), "a LinearSVM: .*'C' parameter"),
    ],
    # Not the repr of a function, which contains an address.
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_the_parameter_that_cannot_be_saved_is_named(estimator, what, file):
    for model in (estimator, make_pipeline(StandardScaler(), estimator)):
        with pytest.raises(ValueError, match=f"Cannot save {what}"):
            save(model, file)
        assert not file.exists()


@pytest.mark.parametrize("value", [3, None, {}, LinearSVM, [LinearSVM()]])
def test_only_estimators_are_saved(value, file):
    with pytest.raises(ValueError, match="not an estimator"):
        save(value, file)
    assert not file.exists()


def test_a_custom_noise_is_refused_and_not_needed(file):
    encoder = AutoencoderTransformer(2, 5, noise=lambda rows, rng: rows, max_iter=1).fit(X)
    with pytest.raises(ValueError, match="'noise' of AutoencoderTransformer"):
        save(encoder, file)
    assert not file.exists()
    save(encoder.set_params(noise=None), file)
    assert_predicts_the_same(encoder, load(file))


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    file = tmp_path / "model.skops"
    save(LinearSVM(C=3.0), file)

    def replace(self, target):
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(OSError, match="disk full"):
        save(LinearSVM(C=4.0), file)
    assert list(tmp_path.iterdir()) == [file]
    assert load(file).C == 3.0


def test_a_folder_that_does_not_exist_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        save(LinearSVM(), tmp_path / "nowhere" / "model.skops")
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "model.skops")


def test_a_missing_skops_is_reported_with_how_to_install_it(file, monkeypatch):
    save(LinearSVM(), file)
    monkeypatch.setitem(sys.modules, "skops", None)
    for call in (lambda: save(LinearSVM(), file), lambda: load(file)):
        with pytest.raises(ImportError, match=r"needs skops.*pip install 'skscratch\[io\]'"):
            call()


# Versions.


def test_a_file_of_another_version_gives_a_warning_that_names_both(file):
    svm = fitted("svm")
    save(svm, file)
    change(file, {"skscratch.json": json.dumps({"skscratch": "0.0.9", "scikit-learn": "1.8.2"})})
    with pytest.warns(UserWarning, match="was saved by") as caught:
        loaded = load(file)
    (message,) = [str(warning.message) for warning in caught]
    for part in ("model.skops", "0.0.9", "1.8.2", __version__, sklearn.__version__):
        assert part in message
    assert caught[0].filename == __file__
    assert_predicts_the_same(svm, loaded)


def test_the_version_is_reported_even_if_the_file_cannot_be_read(file):
    save(LinearSVM(), file)
    versions = json.dumps({"skscratch": "9.9", "scikit-learn": sklearn.__version__})
    change(file, {"skscratch.json": versions, "schema.json": "{}"})
    with pytest.warns(UserWarning, match="9.9"), refused(file):
        load(file)


@pytest.mark.parametrize("versions", ["", "[]", "{}", '{"skscratch": "0.1.0"}', "null"])
def test_a_file_without_versions_is_refused(versions, file):
    save(LinearSVM(), file)
    change(file, {"skscratch.json": versions})
    with refused(file):
        load(file)
    change(file, {}, without="skscratch.json")
    with refused(file):
        load(file)


# Classes that a file may name.


def in_another_process(code, folder):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *sys.path])}
    code = textwrap.dedent(code)
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


PARTS = {
    "Activation": ("core.Sigmoid", ""),
    "Simple": ("core.Elementwise", ""),
    "Layer": ("core.Dense", "3"),
    "Loss": ("core.SquaredError", ""),
    "Optimizer": ("core.SGD", ""),
    "Schedule": ("core.Constant", ""),
    "Initializer": ("core.Zeros", ""),
}


def test_custom_parts_are_trusted_if_they_are_registered(tmp_path):
    bodies = {
        "Simple": "\n    def f(self, x): return np.tanh(x)"
        "\n    def slope(self, x, y): return 1 - y * y\n"
    }
    lines = ["import numpy as np", "from skscratch import core"]
    for name, (base, _) in PARTS.items():
        lines.append(f"class {name}({base}, name='my {name}'): {bodies.get(name, 'pass')}")
    (tmp_path / "my_parts.py").write_text("\n".join(lines))
    made = ", ".join(f"my_parts.{name}({arguments})" for name, (_, arguments) in PARTS.items())
    in_another_process(
        f"""
        import my_parts
        from sklearn.datasets import load_iris
        from skscratch import LinearSVM, MLPClassifier
        from skscratch.persistence import load, save
        X, y = load_iris(return_X_y=True)
        model = MLPClassifier(4, my_parts.Simple(), solver="lbfgs", tol=1, random_state=0)
        save(model.fit(X, y), "model.skops")
        loaded = load("model.skops")
        assert (loaded.predict_proba(X) == model.predict_proba(X)).all()
        for part in [{made}]:
            svm = LinearSVM()
            svm.part_ = part
            save(svm, f"{{type(part).__name__}}.skops")
            loaded = load(f"{{type(part).__name__}}.skops")
            assert loaded.part_ == part and type(loaded.part_) is type(part)
        """,
        tmp_path,
    )
    for name in PARTS:
        with pytest.raises(ValueError, match=rf"{name}.skops.*my_parts\.{name}"):
            load(tmp_path / f"{name}.skops")
    with refused(tmp_path) as caught:
        load(tmp_path / "model.skops")
    assert "my_parts.Simple" in str(caught.value)


def test_a_part_that_cannot_be_imported_is_refused_when_saving(tmp_path):
    in_another_process(
        """
        import pytest
        from skscratch import LinearSVM
        from skscratch.core import SGD
        from skscratch.persistence import save

        def load():
            class save(SGD, name="local"):
                pass
            return save()

        svm = LinearSVM()
        svm.part_ = load()
        with pytest.raises(ValueError, match="'part_' of LinearSVM.*__main__.save"):
            save(svm, "model.skops")
        """,
        tmp_path,
    )
    assert not list(tmp_path.iterdir())


def test_only_classes_are_trusted_and_their_names_can_be_imported():
    trusted = persistence._trusted()
    for name in trusted:
        module, _, kind = name.rpartition(".")
        assert isinstance(getattr(sys.modules[module], kind), type), name
    for splitter in ("KFold", "StratifiedGroupKFold", "TimeSeriesSplit", "PredefinedSplit"):
        assert f"sklearn.model_selection._split.{splitter}" in trusted
    for unregistered in ("Named", "Layer", "Loss"):
        assert not any(name.endswith(f".{unregistered}") for name in trusted)


@pytest.mark.parametrize("name", get_scorer_names())
def test_a_named_scorer_is_restored(name, file):
    scorer = sklearn.metrics.get_scorer(name)
    svm = LinearSVM()
    svm.scorer_ = scorer
    assert vars(round_trip(svm, file).scorer_) == vars(scorer)


# Invalid files raise a ValueError that names the file, and no code is executed.


def refused(file):
    return pytest.raises(ValueError, match=r"model\.skops' is not an estimator saved by")


def members(file):
    with zipfile.ZipFile(file) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def change(file, changed, without=None):
    """Write the archive again with other contents, checksums included."""
    contents = {**members(file), **changed}
    contents.pop(without, None)
    file.write_bytes(zipped(contents))


def zipped(contents):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return stream.getvalue()


def schema_of(file):
    return json.loads(members(file)["schema.json"])


def attributes_of(schema):
    return schema["content"]["content"]


def nodes(value):
    """Yield all descriptions of objects within a schema."""
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value:
        if isinstance(inner, dict | list):
            yield from nodes(inner)


def the_node(schema, loader):
    return next(node for node in nodes(schema) if node.get("__loader__") == loader)


DANGEROUS = {
    "os.system",
    "os.exec",
    "os.fork",
    "os.posix_spawn",
    "subprocess.Popen",
    "pickle.find_class",
    "shutil.rmtree",
    "os.remove",
    "os.mkdir",
}
WATCHED = None


def watch(event, arguments):
    if WATCHED is not None:
        written = event == "open" and set(str(arguments[1])) & set("wax+")
        if written or event in DANGEROUS:
            WATCHED.append((event, arguments))


# An audit hook cannot be removed, so all tests share one.
sys.addaudithook(watch)


@pytest.fixture
def no_side_effects(monkeypatch):
    """Fail if anything is executed, unpickled or written during the test."""
    # Where threadpoolctl is old, it runs ldconfig when it first looks for BLAS.
    single_threaded_blas.threads_allowed()
    events = []
    monkeypatch.setattr(sys.modules[__name__], "WATCHED", events)
    yield
    monkeypatch.setattr(sys.modules[__name__], "WATCHED", None)
    assert events == []


def test_the_audit_hook_detects_execution_unpickling_and_writing(tmp_path, monkeypatch):
    events = []
    monkeypatch.setattr(sys.modules[__name__], "WATCHED", events)
    os.system(f"touch {tmp_path / 'made'}")
    pickle.loads(pickle.dumps(LinearSVM))
    (tmp_path / "made").write_text("")
    assert {event for event, _ in events} == {"os.system", "pickle.find_class", "open"}


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("a-folder-that-unpickling-would-make",)


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"PK\x03\x04", pickle.dumps(Bomb()), b"\x93NUMPY\x01\x00"]
)
def test_foreign_files_are_refused(content, file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file.write_bytes(content)
    with refused(file):
        load(file)
    assert list(tmp_path.iterdir()) == [file]


def test_pickles_inside_an_archive_are_not_opened(file, no_side_effects):
    svm = fitted("svm")
    svm.objects_ = np.array(["a", "b"], dtype=object)
    contents = {}
    with zipfile.ZipFile(io.BytesIO(persistence._write(svm))) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    pickled = io.BytesIO()
    np.save(pickled, np.array([Bomb()], dtype=object), allow_pickle=True)
    arrays = [name for name in contents if name.endswith(".npy")]
    assert arrays
    for victim in arrays:
        with pytest.raises(ValueError, match="pickle"):
            persistence._read(zipped({**contents, victim: pickled.getvalue()}))


def test_other_archives_are_refused(file):
    with file.open("wb") as stream:
        np.savez(stream, params=np.zeros(3))
    with refused(file):
        load(file)
    fitted("autoencoder").network_.save(file)
    with refused(file):
        load(file)
    # The format of earlier versions, before skops.
    description = b'{"format": "skscratch estimator 1", "version": "0.1.0", "class": "LinearSVM"}'
    with file.open("wb") as stream:
        np.savez(stream, skscratch=np.frombuffer(description, dtype=np.uint8))
    with refused(file):
        load(file)


def test_a_plain_skops_file_is_refused(file):
    skops.io.dump(LinearSVM(), file)
    with refused(file):
        load(file)


def test_anything_but_an_estimator_is_refused(file):
    file.write_bytes(persistence._write({"a": 3}))
    with refused(file) as caught:
        load(file)
    assert "It contains a dict" in str(caught.value)


def test_bombs_are_refused_before_they_are_unpacked(file, monkeypatch):
    save(fitted("svm"), file)
    contents = members(file)
    monkeypatch.setattr(persistence, "LARGEST_SCHEMA", 1 << 20)
    for victim in contents:
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as archive:
            for name, content in contents.items():
                if name == victim:
                    archive.writestr(name, bytes(1 << 21), zipfile.ZIP_DEFLATED)
                else:
                    archive.writestr(name, content)
        file.write_bytes(stream.getvalue())
        with refused(file) as caught:
            load(file)
        assert f"{victim!r} is compressed" in str(caught.value)


@pytest.mark.parametrize("value", ["not json", "[]", "3", "[" * 100_000, '{"format": 1}', "null"])
def test_an_invalid_description_is_refused(value, file):
    save(fitted("svm"), file)
    change(file, {"schema.json": value})
    with refused(file):
        load(file)


# Calling one of these would create a file "made".
CONSTRUCTORS = {
    "os.system": ["touch made"],
    "posix.system": ["touch made"],
    "subprocess.Popen": [["touch", "made"]],
    "builtins.eval": ["open('made', 'w')"],
    "builtins.open": ["made", "w"],
    "numpy.save": ["made", [1.0]],
    "numpy.memmap": ["made", "uint8", "w+", 0, [1]],
    "sklearn.datasets._svmlight_format_io.dump_svmlight_file": [[[1.0]], [1], "made"],
    "sklearn.metrics._classification.f1_score": [[0, 1], [0, 1]],
    "skscratch.persistence.save": [None, "made"],
    "skscratch.core.blas.single_threaded_blas": [],
    "skscratch.core.network.Network": [[], 4],
    "skscratch.core.layers.Dense": [3],
    "skscratch.estimators._targets.ClassTargets": [[0, 1]],
    "skscratch.estimators.linear_svm.LinearSVM": ["l2"],
    "sklearn.linear_model._logistic.LogisticRegression": [],
    "sklearn.model_selection._split.KFold": [3],
    "scipy.sparse._csr.csr_matrix": [[[1.0]]],
    "functools.partial": [None],
}


# skops treats two objects with the same id as one.
UNUSED_IDS = itertools.count(1 << 62)


def described(value):
    """Return the description that skops writes for plain data."""
    kind = type(value).__name__
    common = {"__class__": kind, "__module__": "builtins", "__id__": next(UNUSED_IDS)}
    if isinstance(value, list | tuple):
        content = [described(item) for item in value]
        return {**common, "__loader__": f"{kind.title()}Node", "content": content}
    if isinstance(value, dict):
        content = {key: described(item) for key, item in value.items()}
        kinds = described([])
        kinds["content"] = [named("TypeNode", "builtins.str") for _ in value]
        return {**common, "__loader__": "DictNode", "content": content, "key_types": kinds}
    return {**common, "__loader__": "JsonNode", "content": json.dumps(value), "is_json": True}


def named(loader, name, **more):
    module, _, kind = name.rpartition(".")
    return {"__class__": kind, "__module__": module, "__loader__": loader, **more}


def keyed_by(kind):
    node = described({"made": 1})
    node["key_types"]["content"] = [kind]
    return node


# Before NumPy 2.2, functions do not name their module, and skops looks for one.
SIN = f"{pickle.whichmodule(np.sin, 'sin')}.sin"
HOSTILE = {
    "reduced": lambda name, args: named(
        "ConstructorFromReduceNode", name, content=described(tuple(args))
    ),
    "list": lambda name, args: named("ListNode", name, content=[*map(described, args)]),
    "set": lambda name, args: named("SetNode", name, content=[*map(described, args)]),
    "tuple": lambda name, args: named("TupleNode", name, content=[*map(described, args)]),
    "dict": lambda name, args: {**described({}), **named("DictNode", name)},
    "type of a key": lambda name, args: keyed_by(named("TypeNode", name)),
    "function of a key": lambda name, args: keyed_by(named("FunctionNode", name)),
    "type": lambda name, args: named("TypeNode", name),
    "function": lambda name, args: named("FunctionNode", name),
    "old function": lambda name, args: named(
        "FunctionNode",
        SIN,
        content=dict(zip(("module_path", "function"), name.rsplit(".", 1), strict=True)),
    ),
    "partial": lambda name, args: named(
        "PartialNode",
        "functools.partial",
        content={
            "func": named("FunctionNode", name),
            "args": described(tuple(args)),
            "kwds": described({}),
            "namespace": described({}),
        },
    ),
    "method": lambda name, args: named(
        "MethodNode",
        name.rpartition(".")[0],
        content={"func": name.rpartition(".")[2], "obj": named("ObjectNode", name)},
    ),
    "operator": lambda name, args: named(
        "OperatorFuncNode", "operator.methodcaller", attrs=described(tuple(args))
    ),
    "array": lambda name, args: named(
        "NdArrayNode", name, type="json", content=[*map(described, args)], shape=described((1,))
    ),
    "array in a file": lambda name, args: named(
        "NdArrayNode", name, type="numpy", file="array.npy"
    ),
    "random state": lambda name, args: named("RandomStateNode", name, content=described({})),
    "random generator": lambda name, args: named(
        "RandomGeneratorNode",
        name,
        content={
            "bit_generator": described({"bit_generator": "PCG64"}),
            "seed_seq": described({}),
        },
    ),
    "seed": lambda name, args: named(
        "RandomGeneratorNode",
        "numpy.random._generator.Generator",
        content={
            "bit_generator": described({"bit_generator": name.rpartition(".")[2]}),
            "seed_seq": described({}),
        },
    ),
    "loss": lambda name, args: named(
        "LossNode",
        name,
        __reduce__={"args": described(tuple(args))},
        content=described({}),
    ),
    "factory": lambda name, args: named(
        "DefaultDictNode",
        "collections.defaultdict",
        content={"main": described({}), "default_factory": named("TypeNode", name)},
    ),
    "object": lambda name, args: named("ObjectNode", name, content=described({})),
    "stand-in": lambda name, args: named(
        "ConstructorFromReduceNode",
        "skscratch.persistence._NamedScorer",
        content=described((name,)),
    ),
}
# The only valid description of these.
RIGHT = {
    ("object", "skscratch.core.layers.Dense"),
    ("object", "skscratch.estimators._targets.ClassTargets"),
    ("object", "skscratch.estimators.linear_svm.LinearSVM"),
    ("object", "sklearn.linear_model._logistic.LogisticRegression"),
    ("object", "sklearn.model_selection._split.KFold"),
}


@pytest.mark.parametrize(
    ("loader", "name"),
    [(loader, name) for loader in HOSTILE for name in CONSTRUCTORS if (loader, name) not in RIGHT],
)
def test_a_file_that_names_a_function_is_refused(
    loader, name, file, tmp_path, monkeypatch, no_side_effects
):
    monkeypatch.chdir(tmp_path)
    contents, schema = plain_file()
    contents["array.npy"] = rewritten(np.zeros(2))
    attributes_of(schema)["note_"] = HOSTILE[loader](name, CONSTRUCTORS[name])
    # Newer protocols ignore the name of an old function.
    for protocol in (0,) if loader == "old function" else (0, 1, 2):
        schema["protocol"] = protocol
        hostile = zipped({**contents, "schema.json": json.dumps(schema)})
        monkeypatch.setattr(Path, "read_bytes", lambda path, hostile=hostile: hostile)
        with refused(file):
            load(file)
    assert list(tmp_path.iterdir()) == []


@cache
def saved_note():
    svm = LinearSVM()
    svm.note_ = "a text"
    return persistence._write(svm)


def plain_file():
    """Return the members and the schema of a file with an attribute `note_`."""
    with zipfile.ZipFile(io.BytesIO(saved_note())) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    return contents, json.loads(contents["schema.json"])


@pytest.mark.parametrize(
    "value", ["text", 3, [1, "a"], (1, (2,)), {"a": [None]}, np.sin, LogisticRegression(C=2)]
)
def test_the_components_of_the_hostile_files_are_harmless_alone(value, file):
    contents, schema = plain_file()
    if value is np.sin:
        node = named("FunctionNode", SIN)
    elif isinstance(value, BaseEstimator):
        name = "sklearn.linear_model._logistic.LogisticRegression"
        node = named("ObjectNode", name, content=described(value.get_params()))
    else:
        node = described(value)
    attributes_of(schema)["note_"] = node
    file.write_bytes(zipped({**contents, "schema.json": json.dumps(schema)}))
    assert repr(load(file).note_) == repr(value)


# The loaded objects are checked


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("C", -1.0),
        ("C", "1"),
        ("penalty", "l3"),
        ("solver", None),
        ("max_iter", 0),
        ("predict", 1),
        ("fit", 1),
        ("_validate_params", 1),
        ("__sklearn_tags__", 1),
        ("n_features_in_", 5),
        ("n_features_in_", -1),
        ("n_features_in_", None),
        ("n_features_in_", 1 << 50),
        ("coef_", "text"),
        ("coef_", [[1.0, 2.0, 3.0, 4.0]]),
        ("intercept_", [1.0, 2.0]),
        ("intercept_", [[1.0], [2.0], [3.0]]),
        ("classes_", [0, 1]),
        ("classes_", 3),
    ],
)
def test_invalid_parameters_and_attributes_are_refused(name, value, file):
    save(fitted("svm"), file)
    schema = schema_of(file)
    attributes_of(schema)[name] = described(value)
    kinds = attributes_of(schema)
    schema["content"]["key_types"]["content"] = [named("TypeNode", "builtins.str") for _ in kinds]
    change(file, {"schema.json": json.dumps(schema)})
    with refused(file):
        load(file)


@pytest.mark.parametrize("name", ["C", "penalty", "coef_", "classes_"])
def test_a_missing_attribute_is_refused(name, file):
    save(fitted("svm"), file)
    schema = schema_of(file)
    del attributes_of(schema)[name]
    schema["content"]["key_types"]["content"].pop()
    change(file, {"schema.json": json.dumps(schema)})
    with refused(file):
        load(file)


def rewritten(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


@pytest.mark.parametrize("case", ["classifier", "regressor", "autoencoder, all options"])
def test_parameters_of_another_network_are_refused(case, file):
    estimator = fitted(case)
    save(estimator, file)
    params = estimator.network_.params
    (name,) = [
        name
        for name, content in members(file).items()
        if name.endswith(".npy") and content == rewritten(params)
    ][:1]
    for other in (
        params[:-1],
        np.append(params, 0.0),
        params.astype(np.float32),
        params.astype(params.dtype.newbyteorder()),
        params.reshape(1, -1),
        params.astype(complex),
    ):
        change(file, {name: rewritten(other)})
        with refused(file):
            load(file)
    change(file, {name: rewritten(params + 1)})
    np.testing.assert_array_equal(load(file).network_.params, params + 1)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("width", 6),
        ("width", 0),
        ("width", "4"),
        ("width", 1 << 40),
        ("n_in", 3),
        ("n_in", -4),
        ("n_in", 4.5),
        ("n_in", 1 << 62),
        ("dtype", "<f4"),
        ("dtype", ">f8"),
        ("dtype", "O"),
        ("layers", []),
        ("ties", {"1": 0}),
    ],
)
def test_a_network_that_was_tampered_with_is_refused(name, value, file):
    save(fitted("autoencoder"), file)
    schema = schema_of(file)
    place = next(node for node in nodes(schema) if name in node)
    place[name] = described(value)
    change(file, {"schema.json": json.dumps(schema)})
    with refused(file):
        load(file)


def test_a_recipe_that_was_tampered_with_is_refused(file):
    save(fitted("autoencoder, all options"), file)
    schema = schema_of(file)
    # The estimator also has a parameter of this name.
    places = [node for node in nodes(schema) if "beta_1" in node and "loss" not in node]
    assert places
    for place in places:
        place["beta_1"] = described(2.0)
    change(file, {"schema.json": json.dumps(schema)})
    with refused(file):
        load(file)


@pytest.mark.parametrize("place", [-1, 625, 2**31 - 1])
def test_a_random_state_that_would_read_behind_its_memory_is_refused(place, file):
    estimator = MLPClassifier(4, **{**EPOCHS, "random_state": np.random.RandomState(3)}).fit(X, y)
    save(estimator, file)
    schema = schema_of(file)
    next(node for node in nodes(schema) if "pos" in node)["pos"] = described(place)
    change(file, {"schema.json": json.dumps(schema)})
    with refused(file):
        load(file)


@pytest.mark.parametrize("place", [-3, 5, 2**31 - 1])
def test_a_generator_that_would_read_behind_its_memory_is_refused(place, file):
    svm = LinearSVM()
    svm.generator_ = np.random.Generator(np.random.Philox(3))
    assert round_trip(svm, file).generator_.random() == svm.generator_.random()
    schema = schema_of(file)
    next(node for node in nodes(schema) if "buffer_pos" in node)["buffer_pos"] = described(place)
    change(file, {"schema.json": json.dumps(schema)})
    with refused(file):
        load(file)


@pytest.mark.parametrize("form", ["csr_matrix", "csc_array", "bsr_matrix", "coo_array"])
def test_a_sparse_matrix_that_would_read_behind_its_memory_is_refused(form, file):
    svm = LinearSVM()
    svm.matrix_ = getattr(sparse, form)(np.eye(4))
    loaded = round_trip(svm, file).matrix_
    assert type(loaded) is type(svm.matrix_)
    np.testing.assert_array_equal(loaded.toarray(), np.eye(4))
    (name,) = [name for name in members(file) if name.endswith(".npz")]
    with np.load(io.BytesIO(members(file)[name])) as arrays:
        arrays = dict(arrays)
    victim = "row" if form.startswith("coo") else "indices"
    arrays[victim][-1] = 10_000_000
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    change(file, {name: stream.getvalue()})
    with refused(file):
        load(file)


def test_a_part_of_a_network_that_was_tampered_with_is_refused(file):
    encoder = fitted("autoencoder").encoder_
    save(MLPClassifier(4, pretrained=encoder), file)
    schema = schema_of(file)
    arguments = next(
        node["content"]["content"] for node in nodes(schema) if node.get("__class__") == "Part"
    )
    dense = named(
        "ObjectNode",
        "skscratch.core.layers.Dense",
        content=described({"width": 3, "weights": None, "bias": None}),
    )
    behind = {**described(()), "content": [dense]}
    nonsense = [(1, -1), (1, 2.5), (2, 100), (2, 0.5), (0, None), (3, [1])]
    for place, node in [*((k, described(value)) for k, value in nonsense), (3, behind)]:
        before = arguments[place]
        arguments[place] = node
        change(file, {"schema.json": json.dumps(schema)})
        with refused(file):
            load(file)
        arguments[place] = before
    change(file, {"schema.json": json.dumps(schema)})
    assert load(file).pretrained.stop == encoder.stop


def test_an_array_that_claims_to_be_enormous_is_refused(file):
    svm = fitted("svm")
    save(svm, file)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f8", "fortran_order": False, "shape": (2**40, 2**10)}
    )
    contents = members(file)
    for name in [name for name in contents if name.endswith(".npy")]:
        change(file, {**contents, name: header.getvalue()})
        with refused(file):
            load(file)


# Random mutations of bytes and of archive members

FEW, MANY = 60, 1000
FUZZED = ("classifier, texts", "regressor", "autoencoder, all options", "svm, sgd", "pipeline")
STRANGE = [
    *("null", "true", "-1", "0", "3", "1e999", "NaN", "1" + "0" * 30, "[]", "{}", '""', '"x"'),
    *("[[1, 2], [3]]", '"os.system"', '{"a": 1}', "0.5", "1e-320", "not json", ""),
]
TYPES = [
    *("os", "system", "posix", "builtins", "eval", "dict", "list", "int", "numpy", "ndarray"),
    *("sklearn.utils", "check_random_state", "sklearn.metrics._classification", "f1_score"),
    *("skscratch.persistence", "save", "load", "_Floats", "_Pairs", "_NamedScorer"),
    *("skscratch.core.network", "Network", "Part", "skscratch.core.layers", "Dense"),
    *("ObjectNode", "ListNode", "TupleNode", "DictNode", "JsonNode", "NdArrayNode", "SetNode"),
    *("FunctionNode", "TypeNode", "ConstructorFromReduceNode", "RandomStateNode", "SliceNode"),
    *("RandomGeneratorNode", "CachedNode", "MethodNode", "PartialNode", "LossNode", "TreeNode"),
    *("BytesNode", "DTypeNode", "SparseMatrixNode", "MaskedArrayNode", "DefaultDictNode"),
]


@pytest.fixture(scope="module")
def originals():
    """Return the files that `save` writes, by case."""
    pipeline = make_pipeline(
        StandardScaler(), fitted("autoencoder, warped images"), fitted("svm, two classes")
    )
    pipeline[-1].matrix_ = sparse.csr_matrix(np.eye(3))
    pipeline[-1].scorer_ = sklearn.metrics.get_scorer("accuracy")
    pipeline[-1].generator_ = np.random.RandomState(3)
    models = {case: pipeline if case == "pipeline" else fitted(case) for case in FUZZED}
    return {case: persistence._write(model) for case, model in models.items()}


def other_bytes(whole, rng):
    """Change some bytes, or drop, add or move a stretch of them."""
    whole = bytearray(whole)
    kind = rng.integers(6)
    place = int(rng.integers(len(whole)))
    length = int(rng.integers(1, 65))
    if kind == 0:
        del whole[place:]
    elif kind == 1:
        del whole[place : place + length]
    elif kind == 2:
        whole[place:place] = rng.bytes(length)
    elif kind == 3:
        elsewhere = int(rng.integers(len(whole)))
        whole[place : place + length] = whole[elsewhere : elsewhere + length]
    else:
        # The directory at the end of the file is small compared with the arrays.
        for _ in range(length if kind == 4 else 1):
            place = int(rng.integers(len(whole) if rng.integers(2) else 600)) + 1
            whole[-min(place, len(whole))] = int(rng.integers(256))
    return bytes(whole)


def places(value):
    """Return all pairs of a container and a key within a schema."""
    for key, inner in list(value.items()) if isinstance(value, dict) else list(enumerate(value)):
        yield value, key
        if isinstance(inner, dict | list):
            yield from places(inner)


def pick(values, rng):
    return values[int(rng.integers(len(values)))]


def other_schema(schema, rng):
    """Change a value, a key, a type name or a whole object."""
    everywhere = list(places(schema))
    kind = pick(["value", "key", "type", "object", "missing", "id"], rng)
    if kind == "type":
        chosen = [(c, k) for c, k in everywhere if k in ("__class__", "__module__", "__loader__")]
        container, key = pick(chosen, rng)
        same = [c[k] for c, k in chosen if k == key]
        container[key] = pick(TYPES if rng.integers(2) else same, rng)
    elif kind == "value":
        container, key = pick([(c, k) for c, k in everywhere if k == "content"], rng)
        if isinstance(container[key], str):
            container[key] = pick(STRANGE, rng)
        else:
            container[key] = json.loads(pick([text for text in STRANGE[:-2] if text], rng))
    elif kind == "id":
        chosen = [(c, k) for c, k in everywhere if k in ("__id__", "file")]
        container, key = pick(chosen, rng)
        container[key] = pick([c[k] for c, k in chosen if k == key], rng)
    else:
        container, key = pick(everywhere, rng)
        if kind == "object":
            container[key] = copy.deepcopy(pick([c[k] for c, k in everywhere], rng))
        elif kind == "missing" or not isinstance(container, dict):
            del container[key]
        else:
            container[pick(["x", "", "__class__", "predict", "C", "0", "shape"], rng)] = (
                container.pop(key)
            )


def other_array(content, rng):
    """Change the header of an array, or its shape, or its numbers."""
    array = np.load(io.BytesIO(content))
    kind = rng.integers(4)
    if kind == 0:
        length = 10 + int.from_bytes(content[8:10], "little")
        header = bytearray(content[:length])
        for _ in range(int(rng.integers(1, 4))):
            header[int(rng.integers(length))] = int(rng.integers(256))
        return bytes(header) + content[length:]
    if kind == 1:
        shape = [(), (0,), (1, -1), (-1, 1), (-1, 1, 1)]
        array = array.reshape(pick(shape[2:], rng)) if rng.integers(2) else array.ravel()[:-1]
    elif kind == 2:
        dtype = pick(["<f4", "<f8", ">f8", "<i8", "?", "U3", "S3", "<c16", "<M8[s]", "V4"], rng)
        array = np.zeros(array.shape, dtype)
    elif array.dtype.kind in "fiu":
        strange = [np.nan, np.inf, -1, 0, 1e300] if array.dtype.kind == "f" else [0, 1, 100]
        array = np.full_like(array, pick(strange, rng))
    return rewritten(array)


def other_content(whole, rng):
    """Change something before it is zipped, so that all checksums are valid."""
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    name = pick(sorted(contents), rng)
    kind = pick(["schema"] * 5 + ["array"] * 3 + ["missing", "swapped"], rng)
    if kind == "schema":
        schema = json.loads(contents["schema.json"])
        for _ in range(int(rng.integers(1, 3))):
            other_schema(schema, rng)
        contents["schema.json"] = json.dumps(schema).encode()
    elif kind == "array":
        name = pick([name for name in contents if name.endswith(".npy")], rng)
        contents[name] = other_array(contents[name], rng)
    elif kind == "missing":
        del contents[name]
    else:
        other = pick(sorted(contents), rng)
        contents[name], contents[other] = contents[other], contents[name]
    return zipped(contents)


def check_validity(estimator):
    """Check that a loaded estimator has valid parameters and consistent networks."""
    assert isinstance(estimator, BaseEstimator)
    harmless = RandomWarp | Network | type | np.ufunc | type(sklearn.metrics.get_scorer("accuracy"))
    for part in persistence._parts(estimator):
        if isinstance(part, BaseEstimator):
            part._validate_params()
            assert all(not callable(v) or isinstance(v, harmless) for v in vars(part).values())
        if isinstance(part, Network):
            Network.from_dict(part.to_dict(), part.params)
            views = [array for view in part.views for array in vars(view).values()]
            assert all(np.shares_memory(array, part.params) for array in views)
            with np.errstate(all="ignore"):
                assert part(np.zeros((2, part.n_in))).shape == (2, part.n_out)


def fuzz(mutate, originals, read, check, file, n):
    """Mutate and read files; return how many were refused and how many were read."""
    outcomes = {"refused": 0, "read": 0}
    for seed in range(n):
        rng = np.random.default_rng(seed)
        file.write_bytes(mutate(originals[pick(sorted(originals), rng)], rng))
        try:
            value = read(file)
        except ValueError as error:
            assert str(file) in str(error), seed
            outcomes["refused"] += 1
        else:
            check(value)
            outcomes["read"] += 1
    print(mutate.__name__, outcomes)
    return outcomes


COUNTS = [FEW, pytest.param(MANY, marks=pytest.mark.slow)]


@pytest.mark.filterwarnings("ignore:.*was saved by:UserWarning")
@pytest.mark.parametrize("n", COUNTS)
@pytest.mark.parametrize("mutate", [other_bytes, other_content])
def test_mutated_files_are_refused_or_valid(mutate, n, originals, tmp_path, monkeypatch):
    file = tmp_path / "model.skops"
    events = []

    def read(path):
        monkeypatch.setattr(sys.modules[__name__], "WATCHED", events)
        try:
            return load(path)
        finally:
            monkeypatch.setattr(sys.modules[__name__], "WATCHED", None)

    outcomes = fuzz(mutate, originals, read, check_validity, file, n)
    assert events == []
    assert outcomes["refused"] > n / 3
    if mutate is other_content:
        assert outcomes["read"] > n / 20


def other_npz(whole, rng):
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    kind = pick(["description"] * 5 + ["array"] * 3 + ["missing", "swapped"], rng)
    if kind == "description":
        described = json.loads(str(np.load(io.BytesIO(contents["network.npy"]))))
        container, key = pick(list(places(described)), rng)
        if rng.integers(3):
            text = pick([text for text in STRANGE if text not in ("", "not json")], rng)
            container[key] = json.loads(text)
        elif isinstance(container, dict) and rng.integers(2):
            container["x"] = container.pop(key)
        else:
            del container[key]
        contents["network.npy"] = rewritten(np.array(json.dumps(described)))
    elif kind == "array":
        name = pick(sorted(contents), rng)
        contents[name] = other_array(contents[name], rng)
    elif kind == "missing":
        del contents[pick(sorted(contents), rng)]
    else:
        contents = dict(zip(contents, reversed(contents.values()), strict=True))
    return zipped(contents)


def check_network(network):
    again = Network.from_dict(network.to_dict(), network.params)
    assert again.to_dict() == network.to_dict()
    assert network(np.zeros((2, network.n_in))).shape == (2, network.n_out)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("n", COUNTS)
@pytest.mark.parametrize("mutate", [other_bytes, other_npz])
def test_mutated_networks_are_refused_or_valid(mutate, n, tmp_path):
    file = tmp_path / "network.npz"
    networks = {
        "small": Network([Dense(3), Tanh(), Dense(1), Sigmoid()], n_in=2),
        "tied": fitted("autoencoder, all options").network_,
    }
    originals = {}
    for name, network in networks.items():
        network.save(file)
        originals[name] = file.read_bytes()
    outcomes = fuzz(mutate, originals, Network.load, check_network, file, n)
    assert outcomes["refused"] > n / 3


def test_a_damaged_directory_is_refused_or_changes_nothing(file):
    save(fitted("svm"), file)
    whole = file.read_bytes()
    for place in range(whole.index(b"PK\x01\x02"), len(whole)):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            loaded = load(file)
        except ValueError as error:
            assert "model.skops" in str(error)
        else:
            check_validity(loaded)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.99, 0.999])
def test_truncated_files_are_refused(share, originals, file):
    for whole in originals.values():
        file.write_bytes(whole[: int(share * len(whole))])
        with refused(file):
            load(file)
