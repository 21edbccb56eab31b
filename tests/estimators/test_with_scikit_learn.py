"""All estimators with scikit-learn's tools and SciPy's containers."""

import inspect

import numpy as np
import pytest
import sklearn
from scipy import sparse
from sklearn.base import clone, is_classifier
from sklearn.ensemble import (
    AdaBoostClassifier,
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
)
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, KFold, learning_curve
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from skscratch import AutoencoderTransformer, LinearSVM, MLPClassifier, MLPRegressor

# These tests train for so few epochs that they end with a ConvergenceWarning.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

# Several batches, the last one smaller.
SMALL = {"hidden_layer_sizes": (12,), "batch_size": 32, "max_iter": 4, "random_state": 0}
FOLDS = KFold(3, shuffle=True, random_state=0)
MINI_BATCHES = ["sgd", "adam", "adamw", "rmsprop"]
METHODS = ["predict", "predict_proba", "decision_function", "transform", "score_samples"]


def classifier(**options):
    return MLPClassifier(**(SMALL | options))


def regressor(**options):
    return MLPRegressor(**(SMALL | options))


def encoder(**options):
    return AutoencoderTransformer(3, **(SMALL | options))


def svm(**options):
    return LinearSVM(**({"C": 0.1, "max_iter": 20, "random_state": 0} | options))


ONE_OF_EACH = [classifier(), regressor(), encoder(), svm()]
ALL_SOLVERS = [
    *[classifier(solver=solver) for solver in [*MINI_BATCHES, "lbfgs"]],
    *[regressor(solver=solver) for solver in [*MINI_BATCHES, "lbfgs"]],
    *[encoder(solver=solver) for solver in MINI_BATCHES],
    *[svm(solver=solver) for solver in ["newton-cg", "sgd"]],
]


USUAL = {type(e): e.get_params() for e in ONE_OF_EACH}
SINGLE_AND_DOUBLE = pytest.mark.parametrize("dtype", [np.float32, np.float64])
DENSE_AND_SPARSE = pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])


def named(estimator):
    usual, own = USUAL[type(estimator)], estimator.get_params()
    special = [f"{name}={value}" for name, value in own.items() if value != usual[name]]
    return ", ".join([type(estimator).__name__, *special])


def each(estimators):
    return pytest.mark.parametrize("estimator", list(estimators), ids=named)


def data(n=150, width=6, dtype=np.float64, seed=0):
    """Return rows with about half of their entries 0, and three overlapping classes."""
    rng = np.random.default_rng(seed)
    X = np.maximum(rng.normal(size=(n, width)), 0).astype(dtype)
    scores = X[:, :3] + rng.normal(scale=0.3, size=(n, 3))
    return X, scores.argmax(axis=1)


def weights(n=150):
    return np.random.default_rng(1).uniform(0.1, 3.0, n)


def classes(estimator, y):
    return {"classes": np.unique(y)} if is_classifier(estimator) else {}


def learnt(estimator):
    """Return the result of training: the fitted attributes, and a network's parameters."""
    found = {k: v for k, v in vars(estimator).items() if k.endswith("_") and k != "network_"}
    if hasattr(estimator, "network_"):
        found["params"] = estimator.network_.params
    return found


def weight_vectors(estimator):
    return estimator.coef_ if isinstance(estimator, LinearSVM) else estimator.network_.params


def outputs(estimator, X):
    return {name: getattr(estimator, name)(X) for name in METHODS if hasattr(estimator, name)}


def assert_same_bits(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name, strict=True)


def assert_same_estimators(one, other, X):
    assert_same_bits(learnt(one), learnt(other))
    assert_same_bits(outputs(one, X), outputs(other, X))


# Curves and ensembles


@each(ONE_OF_EACH)
def test_an_incremental_learning_curve_is_that_of_partial_fit(estimator):
    X, y = data()
    sizes, train_scores, test_scores = learning_curve(
        estimator,
        X,
        y,
        cv=FOLDS,
        train_sizes=[32, 66, 100],
        exploit_incremental_learning=True,
        error_score="raise",
    )
    assert sizes.tolist() == [32, 66, 100]
    expected = np.empty((2, 3, 3))
    for fold, (train, test) in enumerate(FOLDS.split(X)):
        model = clone(estimator)
        for step, piece in enumerate(np.split(train, sizes)[:-1]):
            model.partial_fit(X[piece], y[piece], **classes(model, y))
            seen = train[: sizes[step]]
            expected[:, step, fold] = model.score(X[seen], y[seen]), model.score(X[test], y[test])
    assert np.isfinite(expected).all()
    np.testing.assert_array_equal(train_scores, expected[0])
    np.testing.assert_array_equal(test_scores, expected[1])
    assert (np.ptp(test_scores, axis=1) > 0).all()


def test_a_soft_vote_is_the_mean_of_the_probabilities():
    X, y = data()
    names = np.array(["ape", "bee", "cat"])[y]
    members = [("one", classifier(max_iter=20)), ("two", classifier(solver="lbfgs"))]
    vote = VotingClassifier(members, voting="soft").fit(X, names)
    alone = [clone(member).fit(X, names).predict_proba(X) for _, member in members]
    np.testing.assert_array_equal(vote.predict_proba(X), np.mean(alone, axis=0))
    np.testing.assert_array_equal(
        vote.predict(X), vote.classes_[np.mean(alone, axis=0).argmax(axis=1)]
    )
    assert not np.array_equal(*alone)
    assert vote.score(X, names) > np.bincount(y).max() / len(y) + 0.2


@each([classifier(max_iter=10, learning_rate_init=0.02), svm(C=10.0), svm(C=10.0, solver="sgd")])
def test_boosting_passes_its_weights_to_the_estimator(estimator):
    X, y = data()
    boosted = AdaBoostClassifier(estimator, n_estimators=3, random_state=0).fit(X, y)
    assert boosted.score(X, y) > np.bincount(y).max() / len(y) + 0.2
    assert len(boosted.estimators_) == 3
    weight = np.full(len(y), 1 / len(y))
    for k, member in enumerate(boosted.estimators_):
        by_hand = clone(member).fit(X, y, sample_weight=weight)
        np.testing.assert_allclose(
            weight_vectors(member), weight_vectors(by_hand), rtol=1e-6, atol=1e-9
        )
        if k:
            even = clone(member).fit(X, y, sample_weight=np.full(len(y), 1 / len(y)))
            assert not np.allclose(weight_vectors(member), weight_vectors(even), rtol=1e-3)
        wrong = by_hand.predict(X) != y
        error = np.average(wrong, weights=weight)
        np.testing.assert_allclose(boosted.estimator_errors_[k], error)
        weight = weight * np.exp(wrong * (np.log((1 - error) / error) + np.log(2)))
        weight /= weight.sum()


STACKS = [
    pytest.param(
        StackingClassifier(
            [("mlp", classifier()), ("svm", svm())], final_estimator=svm(C=1.0), cv=FOLDS
        ),
        {"mlp": "predict_proba", "svm": "decision_function"},
        id="svm-on-top",
    ),
    pytest.param(
        StackingClassifier(
            [("mlp", classifier()), ("svm", svm(solver="sgd"))],
            final_estimator=classifier(max_iter=10),
            cv=FOLDS,
        ),
        {"mlp": "predict_proba", "svm": "decision_function"},
        id="mlp-on-top",
    ),
    pytest.param(
        StackingRegressor(
            [("one", regressor()), ("two", regressor(loss="huber"))],
            final_estimator=regressor(max_iter=10),
            cv=FOLDS,
        ),
        {"one": "predict", "two": "predict"},
        id="regressor",
    ),
]


@pytest.mark.parametrize(("stack", "methods"), STACKS)
@pytest.mark.parametrize("routing", [False, True], ids=["plain", "routing"])
def test_a_stack_is_fitted_with_weights(stack, methods, routing):
    X, y = data()
    weight = weights()
    even = clone(stack).fit(X, y, sample_weight=np.full(len(y), weight.mean()))
    with sklearn.config_context(enable_metadata_routing=routing):
        stack = clone(stack)
        if routing:
            for _, member in stack.estimators:
                member.set_fit_request(sample_weight=True)
        stack.fit(X, y, sample_weight=weight)
    columns = []
    for name, member in stack.estimators:
        whole = clone(member).fit(X, y, sample_weight=weight)
        assert_same_estimators(stack.named_estimators_[name], whole, X)
        column = np.empty_like(getattr(whole, methods[name])(X).reshape(len(X), -1))
        for train, test in FOLDS.split(X):
            part = clone(member).fit(X[train], y[train], sample_weight=weight[train])
            column[test] = getattr(part, methods[name])(X[test]).reshape(len(test), -1)
        columns.append(column)
    top = clone(stack.final_estimator).fit(np.hstack(columns), y, sample_weight=weight)
    assert_same_estimators(stack.final_estimator_, top, np.hstack(columns))
    for one, other in zip(
        [*stack.estimators_, stack.final_estimator_],
        [*even.estimators_, even.final_estimator_],
        strict=True,
    ):
        assert not np.allclose(weight_vectors(one), weight_vectors(other))


# Weights of 1


@each(ALL_SOLVERS)
@SINGLE_AND_DOUBLE
def test_weights_of_1_equal_no_weights_to_the_bit(estimator, dtype):
    X, y = data(dtype=dtype)
    plain = clone(estimator).fit(X, y)
    weighted = clone(estimator).fit(X, y, sample_weight=np.ones(len(X)))
    assert_same_estimators(weighted, plain, X)


@each([e for e in ALL_SOLVERS if hasattr(e, "partial_fit")])
@SINGLE_AND_DOUBLE
def test_weights_of_1_equal_no_weights_in_partial_fit(estimator, dtype):
    X, y = data(dtype=dtype)
    plain, weighted = clone(estimator), clone(estimator)
    for _ in range(2):
        plain.partial_fit(X, y, **classes(estimator, y))
        weighted.partial_fit(X, y, sample_weight=np.ones(len(X)), **classes(estimator, y))
    assert_same_estimators(weighted, plain, X)


OTHER_OBJECTIVES = [
    # Wide enough for several shards.
    classifier(hidden_layer_sizes=(120, 90), batch_size=128),
    classifier(class_weight="balanced"),
    classifier(label_smoothing=0.1, dropout=0.2),
    classifier(early_stopping=True, scoring="loss"),
    regressor(loss="absolute_error"),
    regressor(loss="huber"),
    regressor(loss="pinball", quantile=[0.1, 0.5, 0.9]),
    regressor(loss="poisson", max_gradient_norm=0.5),
    encoder(sparsity=0.1, noise="masking"),
    encoder(sparsity=0.1, sparsity_target=0.2, latent_activation="logistic"),
    encoder(contraction=0.1, tied_weights=True),
    encoder(beta=0.5),
    svm(loss="hinge"),
    svm(loss="hinge", solver="sgd", average=True),
    svm(multi_class="crammer_singer"),
    svm(multi_class="crammer_singer", solver="sgd"),
    svm(class_weight="balanced"),
    svm(class_weight="balanced", solver="sgd"),
]


@each(OTHER_OBJECTIVES)
@SINGLE_AND_DOUBLE
def test_weights_of_1_equal_no_weights_for_any_objective(estimator, dtype):
    X, y = data(dtype=dtype)
    plain = clone(estimator).fit(X, y)
    weighted = clone(estimator).fit(X, y, sample_weight=np.ones(len(X)))
    assert_same_estimators(weighted, plain, X)


@each([classifier(), classifier(solver="lbfgs"), regressor(), encoder()])
@SINGLE_AND_DOUBLE
def test_validation_weights_of_1_equal_no_weights(estimator, dtype):
    (X, y), (X_val, y_val) = data(dtype=dtype), data(70, dtype=dtype, seed=1)
    held_out = {"X_val": X_val}
    if not isinstance(estimator, AutoencoderTransformer):
        held_out["y_val"] = y_val
    plain = clone(estimator).fit(X, y, **held_out)
    weighted = clone(estimator).fit(X, y, **held_out, sample_weight_val=np.ones(len(X_val)))
    assert len(plain.validation_loss_curve_) == SMALL["max_iter"]
    assert_same_estimators(weighted, plain, X)


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("kind", ["two classes", "several labels"])
@SINGLE_AND_DOUBLE
def test_weights_of_1_equal_no_weights_for_independent_outputs(solver, kind, dtype):
    X, y = data(dtype=dtype)
    y = y > 0 if kind == "two classes" else (X[:, :2] > 0.5).astype(int)
    plain = classifier(solver=solver).fit(X, y)
    weighted = classifier(solver=solver).fit(X, y, sample_weight=np.ones(len(X)))
    assert_same_estimators(weighted, plain, X)


# partial_fit


STEPWISE = [
    classifier(solver="rmsprop"),
    classifier(solver="adamw", alpha=0.1),
    classifier(solver="adam", dropout=0.2, class_weight={0: 2.0}),
    classifier(solver="sgd"),
    regressor(solver="rmsprop"),
    regressor(solver="adamw", alpha=0.1),
    regressor(solver="adam", noise="gaussian", max_gradient_norm=0.5),
    *[
        encoder(solver=solver, noise="masking", learning_rate="constant")
        for solver in [*MINI_BATCHES[:2], "rmsprop"]
    ],
    encoder(solver="adamw", alpha=0.1, noise="masking", learning_rate="constant"),
]


@each(STEPWISE)
@DENSE_AND_SPARSE
@pytest.mark.parametrize("weight", [None, weights()], ids=["unweighted", "weighted"])
def test_three_calls_of_partial_fit_are_a_fit_of_three_epochs(estimator, form, weight):
    X, y = data()
    X = form(X)
    whole = clone(estimator).set_params(max_iter=3).fit(X, y, sample_weight=weight)
    steps = clone(estimator)
    for _ in range(3):
        steps.partial_fit(X, y, sample_weight=weight, **classes(steps, y))
    np.testing.assert_array_equal(steps.network_.params, whole.network_.params, strict=True)
    assert steps.loss_curve_ == whole.loss_curve_
    assert len(whole.loss_curve_) == 3
    assert steps.t_ == whole.t_ == 3 * len(y)
    assert_same_bits(outputs(steps, X), outputs(whole, X))


# Array types


def wide_indices(X):
    """Return X with 64-bit indices, which SciPy itself uses only for very large matrices."""
    X = X.copy()
    X.indices, X.indptr = X.indices.astype(np.int64), X.indptr.astype(np.int64)
    assert X.indices.dtype == X.indptr.dtype == np.int64
    return X


SPARSE_CASES = [
    *ALL_SOLVERS,
    classifier(early_stopping=True, scoring="neg_log_loss"),
    svm(loss="hinge"),
    svm(multi_class="crammer_singer"),
]


@each(SPARSE_CASES)
@pytest.mark.parametrize("form", [sparse.csr_matrix, sparse.csr_array])
def test_64_bit_indices_give_the_bits_of_32_bit_indices(estimator, form):
    X, y = data(dtype=np.float32)
    X = form(X)
    assert X.indices.dtype == X.indptr.dtype == np.int32
    weight = weights()
    narrow = clone(estimator).fit(X, y, sample_weight=weight)
    wide = clone(estimator).fit(wide_indices(X), y, sample_weight=weight)
    assert_same_bits(learnt(wide), learnt(narrow))
    assert_same_bits(outputs(wide, wide_indices(X)), outputs(narrow, X))
    assert wide.score(wide_indices(X), y) == narrow.score(X, y)


@each(e for e in SPARSE_CASES if hasattr(e, "partial_fit"))
def test_64_bit_indices_in_partial_fit(estimator):
    X, y = data()
    X = sparse.csr_array(X)
    narrow = clone(estimator).partial_fit(X, y, **classes(estimator, y)).partial_fit(X, y)
    wide = clone(estimator).partial_fit(wide_indices(X), y, **classes(estimator, y))
    assert_same_estimators(wide.partial_fit(wide_indices(X), y), narrow, X)


def read_only(array, folder):
    array = array.copy()
    array.flags.writeable = False
    return array


def memory_mapped(array, folder):
    path = folder / f"{len(list(folder.iterdir()))}.npy"
    np.save(path, array)
    return np.load(path, mmap_mode="r")


def frozen(value, freeze, folder):
    """Return an array, or a CSR matrix over arrays, that is read-only."""
    if not sparse.issparse(value):
        return freeze(value, folder)
    value = value.copy()
    for name in ("data", "indices", "indptr"):
        setattr(value, name, freeze(getattr(value, name), folder))
        assert not getattr(value, name).flags.writeable
    return value


FROZEN_CASES = [
    classifier(),
    classifier(solver="lbfgs"),
    classifier(early_stopping=True, scoring="neg_log_loss"),
    regressor(),
    regressor(early_stopping=True),
    encoder(loss="auto", noise="salt_and_pepper"),
    svm(),
    svm(solver="sgd"),
    svm(multi_class="crammer_singer"),
]
FROZEN = pytest.mark.parametrize("freeze", [read_only, memory_mapped])


@each(FROZEN_CASES)
@FROZEN
@DENSE_AND_SPARSE
def test_read_only_data_in_fit_and_predict(estimator, freeze, form, tmp_path):
    (X, y), (X_val, y_val) = data(), data(70, seed=1)
    known = inspect.signature(estimator.fit).parameters
    plain = {"X": form(X), "y": y, "sample_weight": weights()}
    held_out = {"X_val": form(X_val), "y_val": y_val, "sample_weight_val": weights(70)}
    if not estimator.get_params().get("early_stopping"):
        plain |= {name: value for name, value in held_out.items() if name in known}
    given = {name: frozen(value, freeze, tmp_path) for name, value in plain.items()}
    expected, found = clone(estimator).fit(**plain), clone(estimator).fit(**given)
    assert_same_bits(learnt(found), learnt(expected))
    assert_same_bits(outputs(found, given["X"]), outputs(expected, plain["X"]))
    scored = ("X", "y", "sample_weight")
    assert found.score(*map(given.get, scored)) == expected.score(*map(plain.get, scored))


@each(e for e in FROZEN_CASES if hasattr(e, "partial_fit"))
@FROZEN
@DENSE_AND_SPARSE
def test_read_only_data_in_partial_fit(estimator, freeze, form, tmp_path):
    X, y = data(dtype=np.float32)
    plain = {"X": form(X), "y": y, "sample_weight": weights().astype(np.float32)}
    given = {name: frozen(value, freeze, tmp_path) for name, value in plain.items()}
    expected, found = clone(estimator), clone(estimator)
    for _ in range(2):
        expected.partial_fit(**plain, **classes(estimator, y))
        found.partial_fit(**given, **classes(estimator, y))
    assert_same_estimators(found, expected, plain["X"])


def disordered(X):
    """Return a CSR matrix with unsorted column indices and each entry split in two halves."""
    X = sparse.csr_matrix(X)
    parts = [slice(*X.indptr[k : k + 2]) for k in range(X.shape[0])]
    made = sparse.csr_matrix(X.shape, dtype=X.dtype)
    made.data = np.concatenate([np.repeat(X.data[part][::-1] / 2, 2) for part in parts])
    made.indices = np.concatenate([np.repeat(X.indices[part][::-1], 2) for part in parts])
    made.indptr = 2 * X.indptr
    np.testing.assert_array_equal(made.toarray(), X.toarray())
    return made


@each(FROZEN_CASES)
def test_unsorted_sparse_rows_give_the_same_result_and_are_not_modified(estimator):
    X, y = data()
    expected = clone(estimator).fit(sparse.csr_matrix(X), y)
    for given in (disordered(X), frozen(disordered(X), read_only, None)):
        found = clone(estimator).fit(given, y)
        np.testing.assert_allclose(weight_vectors(found), weight_vectors(expected), atol=1e-6)
        for name, value in outputs(expected, X).items():
            np.testing.assert_allclose(outputs(found, given)[name], value, atol=1e-6)
        for name in ("data", "indices", "indptr"):
            before = getattr(disordered(X), name)
            np.testing.assert_array_equal(getattr(given, name), before, strict=True)


# Several outputs by L-BFGS


@SINGLE_AND_DOUBLE
def test_lbfgs_fits_several_targets(dtype):
    X = np.random.default_rng(0).uniform(-1, 1, (200, 3)).astype(dtype)
    Y = np.c_[np.sin(2 * X[:, 0]) + X[:, 1], X[:, 1] * X[:, 2]]
    fitted = MLPRegressor(
        hidden_layer_sizes=(20,), activation="tanh", solver="lbfgs", max_iter=300, random_state=0
    )
    predicted = fitted.fit(X[:150], Y[:150]).predict(X[150:])
    assert predicted.shape == (50, 2)
    assert predicted.dtype == dtype
    unexplained = ((predicted - Y[150:]) ** 2).mean(axis=0) / Y[150:].var(axis=0)
    assert (unexplained < 0.01).all()
    assert fitted.score(X[150:], Y[150:]) > 0.99


@SINGLE_AND_DOUBLE
def test_lbfgs_fits_several_labels(dtype):
    X = np.random.default_rng(0).uniform(-1, 1, (300, 3)).astype(dtype)
    Y = np.c_[X[:, 0] > 0, X[:, 1] + X[:, 2] > 0, X[:, 0] < X[:, 1]].astype(int)
    fitted = MLPClassifier(
        hidden_layer_sizes=(20,), activation="tanh", solver="lbfgs", max_iter=300, random_state=0
    )
    probabilities = fitted.fit(X[:200], Y[:200]).predict_proba(X[200:])
    assert probabilities.shape == (100, 3)
    np.testing.assert_array_equal(fitted.predict(X[200:]), probabilities > 0.5)
    assert (fitted.predict(X[200:]) == Y[200:]).mean(axis=0).min() > 0.95
    assert len(np.unique(Y, axis=0)) > 4


def test_lbfgs_without_hidden_layers_is_ridge_regression():
    X, _ = data()
    Y = np.random.default_rng(2).normal(size=(len(X), 2)) + X[:, :2]
    fitted = MLPRegressor(
        hidden_layer_sizes=(), solver="lbfgs", alpha=3.0, tol=1e-9, max_iter=500, random_state=0
    )
    fitted.fit(X, Y, sample_weight=weights())
    ridge = Ridge(alpha=3.0).fit(X, Y, sample_weight=weights())
    np.testing.assert_allclose(fitted.coefs_[0].T, ridge.coef_, atol=5e-4)
    np.testing.assert_allclose(fitted.intercepts_[0], ridge.intercept_, atol=5e-4)


def test_lbfgs_without_hidden_layers_is_a_logistic_regression_for_each_label():
    X, _ = data()
    Y = (X[:, :3] + np.random.default_rng(2).normal(size=(len(X), 3)) > 0.5).astype(int)
    fitted = MLPClassifier((), solver="lbfgs", alpha=3.0, tol=1e-9, max_iter=500, random_state=0)
    fitted.fit(X, Y, sample_weight=weights())
    for label in range(3):
        alone = LogisticRegression(C=1 / 3.0, tol=1e-9, max_iter=500)
        alone.fit(X, Y[:, label], sample_weight=weights())
        np.testing.assert_allclose(fitted.coefs_[0][:, label], alone.coef_[0], atol=5e-4)
        np.testing.assert_allclose(fitted.intercepts_[0][label], alone.intercept_[0], atol=5e-4)


# Metadata


@each([classifier(), classifier(solver="lbfgs"), classifier(scoring="loss"), regressor()])
def test_validation_rows_are_transformed_on_their_way_through_a_pipeline(estimator):
    X, y = data(220)
    X = 10 * X + 5
    with sklearn.config_context(enable_metadata_routing=True):
        last = clone(estimator).set_fit_request(X_val=True, y_val=True)
        model = Pipeline([("scaler", StandardScaler()), ("mlp", last)], transform_input=["X_val"])
        model.fit(X[:150], y[:150], X_val=X[150:], y_val=y[150:])
    scaler = StandardScaler().fit(X[:150])
    train, held_out = scaler.transform(X[:150]), scaler.transform(X[150:])
    by_hand = clone(estimator).fit(train, y[:150], X_val=held_out, y_val=y[150:])
    assert len(by_hand.validation_scores_) == SMALL["max_iter"]
    assert_same_estimators(model[-1], by_hand, held_out)
    np.testing.assert_array_equal(model.predict(X[150:]), by_hand.predict(held_out))


@each(ONE_OF_EACH)
def test_a_search_routes_weights_to_fit_and_score(estimator):
    X, y = data()
    weight = weights()
    name = "C" if isinstance(estimator, LinearSVM) else "alpha"
    with sklearn.config_context(enable_metadata_routing=True):
        asking = clone(estimator).set_fit_request(sample_weight=True)
        asking.set_score_request(sample_weight=True)
        search = GridSearchCV(asking, {name: [0.03]}, cv=FOLDS, error_score="raise")
        search.fit(X, y, sample_weight=weight)
        score = search.score(X, y, sample_weight=weight)
    candidate = clone(estimator).set_params(**{name: 0.03})

    def scores(weight_in_fit, weight_in_score):
        return [
            clone(candidate)
            .fit(X[train], y[train], sample_weight=weight_in_fit[train])
            .score(X[test], y[test], sample_weight=weight_in_score[test])
            for train, test in FOLDS.split(X)
        ]

    expected = scores(weight, weight)
    found = [search.cv_results_[f"split{k}_test_score"][0] for k in range(3)]
    assert found == expected
    np.testing.assert_allclose(search.best_score_, np.mean(expected), rtol=1e-12)
    whole = clone(candidate).fit(X, y, sample_weight=weight)
    assert_same_estimators(search.best_estimator_, whole, X)
    assert score == whole.score(X, y, sample_weight=weight)
    assert expected != scores(weight, np.ones(len(X)))
    assert expected != scores(np.ones(len(X)), weight)


# Subclasses and caches


class Fading:
    """Give later rows more weight, by a power of their number."""

    def fit(self, X, y=None):
        return super().fit(X, y, sample_weight=np.arange(1.0, len(X) + 1) ** self.power)


class FadingClassifier(Fading, MLPClassifier):
    def __init__(self, power=1.0, *, hidden_layer_sizes=(12,), max_iter=4, random_state=None):
        super().__init__(
            hidden_layer_sizes=hidden_layer_sizes, max_iter=max_iter, random_state=random_state
        )
        self.power = power


class FadingRegressor(Fading, MLPRegressor):
    def __init__(self, power=1.0, *, hidden_layer_sizes=(12,), max_iter=4, random_state=None):
        super().__init__(
            hidden_layer_sizes=hidden_layer_sizes, max_iter=max_iter, random_state=random_state
        )
        self.power = power


class FadingEncoder(Fading, AutoencoderTransformer):
    def __init__(self, power=1.0, *, hidden_layer_sizes=(12,), max_iter=4, random_state=None):
        super().__init__(
            n_components=3,
            hidden_layer_sizes=hidden_layer_sizes,
            max_iter=max_iter,
            random_state=random_state,
        )
        self.power = power


class FadingSVM(Fading, LinearSVM):
    def __init__(self, power=1.0, *, C=1e-3, max_iter=50, random_state=None):
        super().__init__(C=C, max_iter=max_iter, random_state=random_state)
        self.power = power


OWN = {"power", "hidden_layer_sizes", "max_iter", "random_state"}
SUBCLASSES = pytest.mark.parametrize(
    ("kind", "base", "names"),
    [
        (FadingClassifier, MLPClassifier((12,), max_iter=4, random_state=0), OWN),
        (
            FadingRegressor,
            MLPRegressor(hidden_layer_sizes=(12,), max_iter=4, random_state=0),
            OWN,
        ),
        (
            FadingEncoder,
            AutoencoderTransformer(3, (12,), max_iter=4, random_state=0),
            OWN,
        ),
        (
            FadingSVM,
            LinearSVM(C=1e-3, max_iter=50, random_state=0),
            {"power", "C", "max_iter", "random_state"},
        ),
    ],
    ids=["MLPClassifier", "MLPRegressor", "AutoencoderTransformer", "LinearSVM"],
)


@SUBCLASSES
def test_a_subclass_may_add_parameters(kind, base, names):
    X, y = data()
    model = kind(power=2.0, random_state=0)
    assert set(model.get_params()) == names
    copy = clone(model)
    assert type(copy) is kind
    assert copy.get_params() == model.get_params()
    expected = clone(base).fit(X, y, sample_weight=np.arange(1.0, len(X) + 1) ** 2)
    assert_same_estimators(copy.fit(X, y), expected, X)
    copy.set_params(power=0.5, random_state=3).fit(X, y)
    expected = clone(base).set_params(random_state=3)
    expected.fit(X, y, sample_weight=np.arange(1.0, len(X) + 1) ** 0.5)
    assert_same_estimators(copy, expected, X)
    with pytest.raises(ValueError, match="max_iter"):
        copy.set_params(max_iter=0).fit(X, y)
    with pytest.raises(ValueError, match="Invalid parameter 'force'"):
        copy.set_params(force=1)


@SUBCLASSES
def test_a_search_over_a_parameter_added_by_a_subclass(kind, base, names):
    X, y = data()
    powers = [0.0, 1.0, 8.0]
    search = GridSearchCV(kind(random_state=0), {"power": powers}, cv=FOLDS, error_score="raise")
    search.fit(X, y)
    expected = [
        np.mean(
            [
                clone(base)
                .fit(X[train], y[train], sample_weight=np.arange(1.0, len(train) + 1) ** power)
                .score(X[test], y[test])
                for train, test in FOLDS.split(X)
            ]
        )
        for power in powers
    ]
    np.testing.assert_allclose(search.cv_results_["mean_test_score"], expected, rtol=1e-12)
    assert len(set(expected)) > 1
    assert type(search.best_estimator_) is kind
    assert search.best_estimator_.power == powers[int(np.argmax(expected))]


# joblib warns if the disk is slow.
@pytest.mark.filterwarnings("ignore:Persisting input arguments took:UserWarning")
def test_a_pipelines_cache_keeps_the_encoder(tmp_path, monkeypatch):
    X, y = data()
    fits = []
    fit = AutoencoderTransformer.fit

    def counted(self, *args, **options):
        fits.append(self.n_components)
        return fit(self, *args, **options)

    monkeypatch.setattr(AutoencoderTransformer, "fit", counted)

    def model(memory):
        return Pipeline([("encoder", encoder()), ("svm", svm())], memory=memory)

    plain = model(None).fit(X, y)
    first = model(str(tmp_path)).fit(X, y)
    assert fits == [3, 3]
    second = model(str(tmp_path)).set_params(svm__C=0.5).fit(X, y)
    assert fits == [3, 3]
    assert second[0] is not first[0]
    for cached in (first, second):
        assert_same_estimators(cached[0], plain[0], X)
    again = model(str(tmp_path)).fit(X, y)
    assert_same_estimators(again[1], plain[1], plain[0].transform(X))
    np.testing.assert_array_equal(again.predict(X), plain.predict(X))
    assert fits == [3, 3]
    model(str(tmp_path)).set_params(encoder__n_components=2).fit(X, y)
    assert fits == [3, 3, 2]
