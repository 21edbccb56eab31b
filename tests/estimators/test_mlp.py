import copy

import numpy as np
import pytest
from sklearn import neural_network
from sklearn.base import clone
from sklearn.datasets import (
    load_breast_cancer,
    load_diabetes,
    load_digits,
    load_iris,
    make_multilabel_classification,
)
from sklearn.ensemble import BaggingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import d2_pinball_score
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from skscratch import AutoencoderTransformer, MLPClassifier, MLPRegressor
from skscratch.core import ELU, LeakyReLU

QUIET = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def split(load):
    X, y = load(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
    scaler = StandardScaler().fit(X_train)
    return scaler.transform(X_train), scaler.transform(X_test), y_train, y_test


@pytest.mark.parametrize("kind", ["MLPClassifier", "MLPRegressor"])
def test_scikit_learns_parameters_come_first_with_its_defaults(kind):
    ours = {"MLPClassifier": MLPClassifier, "MLPRegressor": MLPRegressor}[kind]()
    theirs = getattr(neural_network, kind)().get_params()
    assert ours.get_params().items() >= theirs.items()


# scikit-learn 1.9.1: the parameters after ten epochs without shuffling, random_state=0, of
# MLPClassifier(hidden_layer_sizes=(2,), activation="tanh", batch_size=4, learning_rate_init=0.05).
SIX_ROWS = np.array([[0.5, -1.2], [1.5, 0.3], [-0.7, 0.8], [0.1, 0.4], [-1.1, -0.6], [0.9, 1.3]])
SIX_LABELS = np.array([0, 1, 2, 1, 0, 2])
GOLDEN = {
    "sgd": [
        *(0.36472030431207075, 0.6843842859350634, 1.499132688172404, 0.6221512325417905),
        *(0.033153093733635994, -0.05964099510163643),
        *(-0.8608992964155342, 0.8973080936668045, 1.7006018369663831),
        *(-0.6575675519790083, 0.4574341138380287, 0.6471027785839454),
        *(0.29050934064486006, -0.29638121099590103, 0.14757264209740914),
    ],
    "adam": [
        *(0.35018687917254787, 0.816412209403714, 1.1675399183756694, 0.8427808086757969),
        *(0.13399349024119986, -0.11669116464485739),
        *(-1.1040307784832737, 0.7584696954888539, 1.6754427459938006),
        *(-0.8996040395564399, 0.28363255243033525, 0.48854317219690263),
        *(0.37038728482217725, 0.228885920409987, -0.11319076849918933),
    ],
}
GOLDEN_LOSS = {"sgd": 0.6313871082031054, "adam": 0.552775161500137}


@QUIET
@pytest.mark.parametrize("solver", GOLDEN)
def test_ten_epochs_equal_scikit_learns(solver):
    options = {"activation": "tanh", "batch_size": 4, "learning_rate_init": 0.05, "max_iter": 10}
    fitted = MLPClassifier((2,), solver=solver, shuffle=False, random_state=0, **options)
    fitted.fit(SIX_ROWS, SIX_LABELS)
    parameters = [
        part.ravel()
        for pair in zip(fitted.coefs_, fitted.intercepts_, strict=True)
        for part in pair
    ]
    np.testing.assert_allclose(np.concatenate(parameters), GOLDEN[solver], rtol=1e-12)
    np.testing.assert_allclose(fitted.loss_, GOLDEN_LOSS[solver], rtol=1e-12)


SETTINGS = [
    {},
    {"batch_size": 32, "activation": "tanh", "alpha": 0.1},
    {"solver": "sgd", "learning_rate": "invscaling", "activation": "logistic"},
    {"solver": "sgd", "learning_rate": "adaptive", "learning_rate_init": 0.1},
    {"solver": "sgd", "nesterovs_momentum": False, "momentum": 0.5, "shuffle": False},
    {"solver": "lbfgs", "hidden_layer_sizes": (10, 5)},
    {"hidden_layer_sizes": (), "activation": "identity"},
    {"beta_1": 0.5, "beta_2": 0.9, "epsilon": 1e-3, "warm_start": True},
]


def assert_equal_networks(ours, theirs):
    for mine, its in zip(
        ours.coefs_ + ours.intercepts_, theirs.coefs_ + theirs.intercepts_, strict=True
    ):
        np.testing.assert_allclose(mine, its, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(ours.loss_, theirs.loss_, rtol=1e-8)
    assert ours.n_iter_ == theirs.n_iter_


@QUIET
@pytest.mark.parametrize("options", SETTINGS, ids=str)
@pytest.mark.parametrize("load", [load_iris, load_breast_cancer, load_digits])
def test_the_same_random_state_gives_the_same_classifier(load, options):
    X, _, y, _ = split(load)
    weight = np.arange(len(y)) % 3 + 0.5
    options = {"max_iter": 10, "random_state": 3} | options
    ours, theirs = MLPClassifier(**options), neural_network.MLPClassifier(**options)
    assert_equal_networks(ours.fit(X, y, weight), theirs.fit(X, y, weight))
    if options.get("warm_start"):
        assert_equal_networks(ours.fit(X, y, weight), theirs.fit(X, y, weight))
    np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-8)


@QUIET
@pytest.mark.parametrize("options", [*SETTINGS[:-2], {"loss": "poisson"}], ids=str)
def test_the_same_random_state_gives_the_same_regressor(options):
    X, _, y, _ = split(load_diabetes)
    y = y / 100
    options = {"max_iter": 10, "random_state": 3} | options
    assert_equal_networks(
        MLPRegressor(**options).fit(X, y), neural_network.MLPRegressor(**options).fit(X, y)
    )


@QUIET
def test_early_stopping_holds_out_the_same_rows():
    # Two classes; with more of them, ours is stratified and scikit-learn's is not.
    X, _, y, _ = split(load_breast_cancer)
    options = {"early_stopping": True, "n_iter_no_change": 3, "random_state": 3, "max_iter": 40}
    ours = MLPClassifier(**options).fit(X, y)
    theirs = neural_network.MLPClassifier(**options).fit(X, y)
    assert_equal_networks(ours, theirs)
    assert ours.validation_scores_ == theirs.validation_scores_
    assert ours.best_validation_score_ == theirs.best_validation_score_


@QUIET
@pytest.mark.parametrize(
    "sizes", [(60, 39, 1), (50, 1), (8, 1, 1, 1), (2, 2, 2), (1, 1, 1, 1), (2, 1), (3, 1)], ids=str
)
def test_early_stopping_stratifies_classes_that_can_be_divided(sizes):
    y = np.repeat(np.arange(len(sizes)), sizes)
    X = np.random.default_rng(0).normal(size=(len(y), 4))
    parts = []

    class Watched(MLPClassifier):
        def _split(self, data, rng):
            parts[:] = super()._split(data, rng)
            return parts

    fitted = Watched(5, early_stopping=True, max_iter=2, validation_fraction=0.3, random_state=0)
    with pytest.warns(ConvergenceWarning):
        fitted.fit(X, y)
    train, held = (np.bincount(part.y, minlength=len(sizes)) for part in parts)
    assert (train + held == sizes).all()
    assert held.sum() >= 2
    assert train.sum() >= 1
    divisible = np.array(sizes) > 1
    if sum(n for n in sizes if n > 1) >= 3:
        assert (held[divisible] >= 1).all()
        assert (train[divisible] >= 1).all()
        assert not held[~divisible].any()


def test_divergence_with_early_stopping_keeps_the_best_and_warns():
    X, y = load_iris(return_X_y=True)
    diverging = MLPRegressor(
        activation="identity",
        solver="sgd",
        learning_rate_init=1,
        early_stopping=True,
        max_iter=20,
        random_state=0,
    )
    with pytest.warns(
        ConvergenceWarning, match=r"diverged in epoch \d+.*best earlier epoch are kept"
    ):
        diverging.fit(X, y)
    assert np.isfinite(diverging.network_.params).all()
    assert np.isnan(diverging.validation_scores_[-1])


@QUIET
@pytest.mark.parametrize("early_stopping", [False, True])
def test_attributes_have_scikit_learns_values(early_stopping):
    # Two classes, so that scikit-learn's held-out rows are drawn in proportion as well.
    X, y = load_breast_cancer(return_X_y=True)
    options = {"max_iter": 9, "early_stopping": early_stopping, "random_state": 0}
    X = StandardScaler().fit_transform(X)
    ours, theirs = (
        kind(**options).fit(X, y) for kind in (MLPClassifier, neural_network.MLPClassifier)
    )
    names = {name for name in vars(theirs) if name.endswith("_") and not name.startswith("_")}
    assert {"loss_curve_", "n_iter_", "t_", "classes_", "best_loss_", "coefs_"} <= names
    for name in names:
        mine, its = getattr(ours, name), getattr(theirs, name)
        if its is None or isinstance(its, str):
            assert mine == its, name
        elif name in {"coefs_", "intercepts_"}:
            for one, other in zip(mine, its, strict=True):
                np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-9)
        else:
            np.testing.assert_allclose(mine, its, rtol=1e-6, err_msg=name)


@QUIET
def test_the_shape_of_a_network_is_described_as_in_scikit_learn():
    X, y = load_iris(return_X_y=True)
    ours, theirs = (
        kind(max_iter=5, random_state=0).fit(X, y)
        for kind in (MLPClassifier, neural_network.MLPClassifier)
    )
    assert ours.out_activation_ == theirs.out_activation_ == "softmax"
    assert ours.n_layers_ == theirs.n_layers_ == 3
    assert [W.shape for W in ours.coefs_] == [W.shape for W in theirs.coefs_]


@QUIET
def test_two_classes_and_strings():
    X, y = load_breast_cancer(return_X_y=True)
    names = np.array(["malignant", "benign"])[y]
    fitted = MLPClassifier(max_iter=30, random_state=0).fit(
        StandardScaler().fit_transform(X), names
    )
    assert fitted.out_activation_ == "logistic"
    assert fitted.n_outputs_ == 1
    assert set(fitted.predict(X)) <= set(names)
    probabilities = fitted.predict_proba(X)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    np.testing.assert_allclose(fitted.predict_log_proba(X), np.log(probabilities))


@QUIET
def test_multilabel():
    X, y = make_multilabel_classification(random_state=0)
    fitted = MLPClassifier(max_iter=200, random_state=0).fit(X, y)
    assert fitted.predict(X).shape == y.shape
    assert fitted.score(X, y) > 0.7
    probabilities = fitted.predict_proba(X)
    assert ((probabilities > 0) & (probabilities < 1)).all()
    steps = MLPClassifier(random_state=0).partial_fit(X, y, classes=np.arange(5))
    assert steps.predict(X).shape == y.shape


@QUIET
def test_several_targets():
    X, y = load_diabetes(return_X_y=True)
    Y = np.c_[y, -y]
    fitted = MLPRegressor(max_iter=20, random_state=0).fit(X, Y)
    assert fitted.predict(X).shape == Y.shape
    with pytest.raises(ValueError, match="y has 1 outputs, but the network has 2"):
        fitted.partial_fit(X, y)


def test_labels_of_the_wrong_kind():
    X, y = load_iris(return_X_y=True)
    fitted = MLPClassifier(random_state=0).partial_fit(X, y, classes=[0, 1, 2])
    with pytest.raises(ValueError, match=r"`y` has classes not in `self.classes_`"):
        fitted.partial_fit(X, y + 1)
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        MLPClassifier().partial_fit(X, y)
    warm = MLPClassifier(max_iter=1, warm_start=True, random_state=0)
    with pytest.warns(ConvergenceWarning):
        warm.fit(X, y)
    with pytest.raises(ValueError, match="warm_start can only be used where `y` has the same"):
        warm.fit(X[:100], y[:100])
    with pytest.raises(ValueError, match="Unknown label type"):
        MLPClassifier().fit(X, y + 0.5)


def test_unsupported_options_of_a_solver_are_refused():
    assert not hasattr(MLPClassifier(solver="lbfgs"), "partial_fit")
    assert not hasattr(MLPRegressor(solver="lbfgs"), "partial_fit")
    assert not hasattr(MLPRegressor(early_stopping=True), "partial_fit")
    X, y = load_iris(return_X_y=True)
    with pytest.raises(ValueError, match="^y: The loss 'poisson' requires targets from 0 to inf"):
        MLPRegressor(loss="poisson").fit(X, y - 1)


def test_a_batch_larger_than_the_data_is_clipped_with_a_warning():
    X, y = load_iris(return_X_y=True)
    with pytest.warns(UserWarning, match="clipped to the 150 rows"):
        MLPRegressor(batch_size=1000, max_iter=300, tol=1, random_state=0).fit(X, y)


@QUIET
def test_lbfgs_uses_weights_threads_and_warns():
    X, y = load_digits(return_X_y=True)
    weight = np.arange(len(X)) % 2
    options = {"solver": "lbfgs", "max_iter": 8, "hidden_layer_sizes": (64,), "random_state": 0}
    one = MLPClassifier(**options, n_jobs=1).fit(X, y, weight)
    two = MLPClassifier(**options, n_jobs=2).fit(X, y, weight)
    np.testing.assert_array_equal(one.network_.params, two.network_.params)
    half = MLPClassifier(**options).fit(X[1::2], y[1::2])
    np.testing.assert_allclose(half.network_.params, one.network_.params, atol=1e-6)
    assert one.n_iter_ == 8


def test_lbfgs_converges_without_a_warning():
    X, y = load_iris(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    fitted = MLPClassifier(solver="lbfgs", alpha=1.0, max_iter=1000, random_state=0).fit(X, y)
    assert fitted.score(X, y) > 0.97
    assert fitted.n_iter_ < 1000


def test_lbfgs_calls_callbacks_and_can_be_stopped():
    class Stop:
        n = 0

        def setup(self, estimator, context):
            pass

        def on_fit_task_begin(self, estimator, context):
            pass

        def on_fit_task_end(self, estimator, context):
            self.n += context.task_name == "lbfgs-iter"
            return self.n == 3

        def teardown(self, estimator, context):
            pass

    X, y = load_iris(return_X_y=True)
    fitted = MLPClassifier(solver="lbfgs", random_state=0).set_callbacks(Stop())
    fitted.fit(X, y)
    assert fitted.n_iter_ == 3


# Parameters that scikit-learn's MLPs do not have


def blobs(n=600, seed=0):
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < 0.1).astype(int)
    return rng.normal(size=(n, 2)) + 1.2 * y[:, None], y


@QUIET
@pytest.mark.parametrize("class_weight", ["balanced", {0: 1.0, 1: 9.0}])
def test_class_weights_find_the_rare_class(class_weight):
    X, y = blobs()
    options = {"max_iter": 60, "learning_rate_init": 0.01, "random_state": 0}
    plain = MLPClassifier(**options).fit(X, y)
    weighted = MLPClassifier(**options, class_weight=class_weight).fit(X, y)
    recall = [(m.predict(X)[y == 1] == 1).mean() for m in (plain, weighted)]
    assert recall[1] > recall[0] + 0.2


@QUIET
def test_class_weights_are_sample_weights():
    X, y = blobs()
    weight = np.arange(len(y)) % 3 + 0.5
    options = {"max_iter": 5, "random_state": 0}
    by_class = MLPClassifier(**options, class_weight={0: 1.0, 1: 4.0}).fit(X, y, weight)
    by_row = MLPClassifier(**options).fit(X, y, weight * np.where(y == 1, 4.0, 1.0))
    np.testing.assert_array_equal(by_class.network_.params, by_row.network_.params)
    balanced = MLPClassifier(**options, class_weight="balanced").fit(X, y, weight)
    shares = [len(y) / (2 * weight[y == k].sum()) for k in (0, 1)]
    by_row.fit(X, y, weight * np.array(shares)[y] * weight.sum() / len(y))
    np.testing.assert_allclose(balanced.network_.params, by_row.network_.params, rtol=1e-9)


@QUIET
def test_label_smoothing_limits_probabilities():
    X, y = load_iris(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    options = {"solver": "lbfgs", "alpha": 0.0, "max_iter": 500, "random_state": 0}
    for labels in (y, y == 0):
        sharp = MLPClassifier(**options).fit(X, labels).predict_proba(X).max()
        smooth = MLPClassifier(**options, label_smoothing=0.2).fit(X, labels).predict_proba(X)
        assert sharp > 0.99
        # With K classes the highest target is 1 - 0.2 + 0.2 / K.
        assert smooth.max() < 1 - 0.2 + 0.2 / smooth.shape[1] + 0.03


@QUIET
def test_one_activation_for_each_layer():
    X, y = load_iris(return_X_y=True)
    fitted = MLPClassifier((5, 4), activation=["silu", ELU(0.5)], max_iter=3, random_state=0)
    fitted.fit(X, y)
    names = [layer.name for layer in fitted.network_.layers]
    assert names == ["dense", "silu", "dense", "elu", "dense"]
    leaky = MLPClassifier((5, 4), activation=LeakyReLU(0.2), max_iter=3, random_state=0).fit(X, y)
    assert leaky.network_.layers[1] == leaky.network_.layers[3] == LeakyReLU(0.2)


@QUIET
@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"dropout": 0.5}, ["dense", "relu", "dropout"] * 2),
        ({"dropout": [0.5, 0.0]}, ["dense", "relu", "dropout", "dense", "relu"]),
        ({"layer_norm": True}, ["dense", "layer_norm", "relu"] * 2),
    ],
    ids=str,
)
def test_hidden_layers_are_built_in_this_order(options, names):
    X, y = load_iris(return_X_y=True)
    fitted = MLPClassifier((5, 4), max_iter=3, random_state=0, **options).fit(X, y)
    assert [layer.name for layer in fitted.network_.layers] == [*names, "dense"]
    np.testing.assert_array_equal(fitted.predict_proba(X), fitted.predict_proba(X))


@QUIET
def test_layer_norm_makes_the_scale_of_a_layer_irrelevant():
    X, y = load_iris(return_X_y=True)
    fitted = MLPClassifier((30,), layer_norm=True, max_iter=3, random_state=0).fit(X, y)
    before = fitted.predict_proba(X)
    fitted.coefs_[0][:] *= 1000
    fitted.intercepts_[0][:] *= 1000
    np.testing.assert_allclose(fitted.predict_proba(X), before, atol=1e-4)


@QUIET
def test_clipping_bounds_a_large_gradient():
    X, y = load_diabetes(return_X_y=True)
    wild = {"solver": "sgd", "activation": "identity", "learning_rate_init": 10.0}
    wild |= {"max_iter": 20, "random_state": 0}
    with pytest.raises(ValueError, match="diverged"):
        MLPRegressor(**wild).fit(X, 100 * y)
    tame = MLPRegressor(**wild, max_gradient_norm=1.0).fit(X, 100 * y)
    assert np.isfinite(tame.loss_)


def quantile_data(n=2000):
    rng = np.random.default_rng(0)
    X = rng.random((n, 1))
    return X, X.ravel() + (0.2 + X.ravel()) * rng.normal(size=n)


LEARN = {"learning_rate_init": 0.01, "learning_rate": "cosine", "max_iter": 60, "random_state": 0}


@pytest.mark.parametrize("quantile", [0.1, 0.5, 0.9])
def test_a_quantile_has_its_share_of_targets_below(quantile):
    X, y = quantile_data()
    model = MLPRegressor("pinball", (20,), quantile=quantile, **LEARN).fit(X, y)
    assert model.predict(X).shape == (2000,)
    assert abs((y <= model.predict(X)).mean() - quantile) < 0.03


def test_several_quantiles_never_cross():
    X, y = quantile_data()
    quantiles = [0.05, 0.25, 0.5, 0.75, 0.95]
    model = MLPRegressor("pinball", (20,), quantile=quantiles, **LEARN).fit(X, y)
    far_away = np.linspace(-50, 50, 999).reshape(-1, 1)
    assert (np.diff(model.predict(far_away), axis=1) >= 0).all()
    shares = (y[:, None] <= model.predict(X)).mean(axis=0)
    np.testing.assert_allclose(shares, quantiles, atol=0.04)
    assert 0 < model.score(X, y) < 1
    with pytest.raises(ValueError, match="for one target only, but y has 2 columns"):
        model.fit(X, np.c_[y, y])
    with pytest.raises(ValueError, match="an increasing list"):
        MLPRegressor("pinball", quantile=[0.9, 0.1]).fit(X, y)


@pytest.mark.parametrize("loss", ["absolute_error", "huber"])
def test_robust_losses_do_not_follow_outliers(loss):
    X, y = quantile_data()
    spoilt = np.where(np.arange(len(y)) % 10 == 0, y + 50, y)

    def error(loss):
        model = MLPRegressor(loss, (20,), **LEARN).fit(X, spoilt)
        return np.abs(model.predict(X) - X.ravel()).mean()

    assert error(loss) < 0.3 * error("squared_error")


@QUIET
@pytest.mark.parametrize("scoring", [None, "loss", "neg_log_loss", "accuracy"])
def test_an_explicit_validation_set(scoring):
    X, y = load_digits(return_X_y=True)
    options = {"max_iter": 15, "learning_rate_init": 0.01, "random_state": 0, "scoring": scoring}
    weight = np.arange(897) % 2
    fitted = MLPClassifier(**options).fit(
        X[:900], y[:900], X_val=X[900:], y_val=y[900:], sample_weight_val=weight
    )
    assert len(fitted.validation_loss_curve_) == len(fitted.loss_curve_) == fitted.n_iter_
    assert len(fitted.validation_scores_) == fitted.n_iter_
    assert fitted.best_validation_score_ == max(fitted.validation_scores_)
    if scoring in (None, "accuracy"):
        best = fitted.score(X[900:], y[900:], sample_weight=weight)
        np.testing.assert_allclose(best, fitted.best_validation_score_)
    if scoring == "loss":
        losses = [-score for score in fitted.validation_scores_]
        np.testing.assert_array_equal(losses, fitted.validation_loss_curve_)
    with pytest.raises(ValueError, match="features"):
        fitted.fit(X, y, X_val=X[:, 1:], y_val=y)
    with pytest.raises(ValueError, match=r"`y_val` has classes not in `self.classes_`"):
        fitted.fit(X[y < 9], y[y < 9], X_val=X, y_val=y)


@QUIET
def test_hidden_features():
    X, y = load_iris(return_X_y=True)
    fitted = MLPClassifier((7, 3), max_iter=3, random_state=0).fit(X, y)
    first = np.maximum(X @ fitted.coefs_[0] + fitted.intercepts_[0], 0)
    np.testing.assert_allclose(fitted.transform(X, layer=0), first)
    second = np.maximum(first @ fitted.coefs_[1] + fitted.intercepts_[1], 0)
    np.testing.assert_allclose(fitted.transform(X), second)
    assert list(fitted.get_feature_names_out()) == [f"mlpclassifier{k}" for k in range(3)]
    assert fitted.set_output(transform="pandas").transform(X).shape == (150, 3)
    with pytest.raises(ValueError, match="There are 2 hidden layers, so there is no layer 2"):
        fitted.transform(X, layer=2)
    with pytest.raises(ValueError, match="There are 0 hidden layers"):
        MLPClassifier((), max_iter=2).fit(X, y).transform(X)


@QUIET
def test_fine_tuning_starts_from_the_encoder():
    X, y = load_digits(return_X_y=True)
    X = X / 16
    encoder = AutoencoderTransformer(10, hidden_layer_sizes=(30,), random_state=0).fit(X)
    tuned = MLPClassifier((), pretrained=encoder.encoder_, learning_rate_init=1e-12, max_iter=1)
    tuned.fit(X, y)
    np.testing.assert_allclose(tuned.transform(X), encoder.transform(X), atol=1e-6)
    before = encoder.network_.params.copy()
    tuned.set_params(learning_rate_init=3e-3, max_iter=60, random_state=0).fit(X, y)
    assert tuned.score(X, y) > 0.97
    np.testing.assert_array_equal(encoder.network_.params, before)
    with pytest.raises(ValueError, match="pretrained layers take 64 features, but X has 63"):
        tuned.fit(X[:, 1:], y)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dropout": [0.1]}, "dropout must be one value for all hidden layers"),
        ({"dropout": [0.1, 1.0]}, "dropout must be at least 0 and less than 1"),
        ({"activation": ["relu"]}, "activation must be one value for all hidden layers"),
        ({"activation": ["relu", "rleu"]}, "Unknown activation 'rleu'. Did you mean 'relu'"),
        ({"scoring": "acuracy"}, "acuracy"),
        ({"label_smoothing": 1.0}, "label_smoothing"),
        ({"max_gradient_norm": 0}, "max_gradient_norm"),
        ({"pretrained": "encoder"}, "pretrained"),
    ],
    ids=str,
)
def test_bad_settings(options, message):
    X, y = load_iris(return_X_y=True)
    model = MLPClassifier((6, 5), early_stopping=True, max_iter=2, random_state=0)
    with pytest.raises(ValueError, match=message):
        model.set_params(**options).fit(X, y)
    assert not hasattr(model, "network_")


def test_class_weights_need_one_class_each():
    X, y = make_multilabel_classification(random_state=0)
    with pytest.raises(ValueError, match="needs rows of one class each"):
        MLPClassifier(class_weight={0: 2.0}).fit(X, y)
    assert not hasattr(MLPClassifier(class_weight="balanced"), "partial_fit")


# lbfgs


@QUIET
def test_lbfgs_leaves_no_row_out_for_early_stopping():
    X, y = load_iris(return_X_y=True)
    options = {"solver": "lbfgs", "max_iter": 5, "random_state": 0}
    plain = MLPClassifier(**options).fit(X, y)
    stopping = MLPClassifier(**options, early_stopping=True).fit(X, y)
    np.testing.assert_array_equal(plain.network_.params, stopping.network_.params)
    assert not hasattr(plain, "loss_curve_")


@QUIET
def test_lbfgs_keeps_the_best_of_a_validation_set():
    X, y = load_digits(return_X_y=True)
    options = {"solver": "lbfgs", "max_iter": 40, "alpha": 0.0, "random_state": 0}
    fitted = MLPClassifier(**options, scoring="loss").fit(
        X[:300], y[:300], X_val=X[300:], y_val=y[300:]
    )
    curve = fitted.validation_loss_curve_
    assert len(curve) == fitted.n_iter_
    assert fitted.validation_scores_ == [-loss for loss in curve]
    probabilities = fitted.predict_proba(X[300:])
    loss = -np.log(probabilities[np.arange(len(y) - 300), y[300:]]).mean()
    np.testing.assert_allclose(loss, min(curve), rtol=1e-6)


def test_lbfgs_needs_an_objective_without_noise():
    X, y = load_iris(return_X_y=True)
    with pytest.raises(ValueError, match="which dropout and noise rule out"):
        MLPClassifier(solver="lbfgs", dropout=0.5).fit(X, y)


def test_lbfgs_detects_divergence():
    X, y = load_iris(return_X_y=True)
    with pytest.raises(ValueError, match="non-finite parameter weights"):
        MLPClassifier(solver="lbfgs").fit(X * 1e300, y)


# Warm start


@QUIET
def test_warm_start_keeps_the_best_weights_of_both_fits():
    X, y = load_digits(return_X_y=True)
    validation = {"X_val": X[900:], "y_val": y[900:]}
    model = MLPClassifier(max_iter=30, warm_start=True, random_state=0)
    model.fit(X[:900], y[:900], **validation)
    best = model.best_validation_score_
    wild = {"solver": "sgd", "momentum": 0, "learning_rate_init": 1.0, "max_iter": 2}
    model.set_params(**wild).fit(X[:900], y[:900], **validation)
    assert model.best_validation_score_ == best
    assert model.score(X[900:], y[900:]) == pytest.approx(best)


@QUIET
def test_a_loss_is_not_compared_with_a_score():
    X, y = load_iris(return_X_y=True)
    model = MLPClassifier(max_iter=5, early_stopping=True, warm_start=True, random_state=0)
    model.fit(X, y).set_params(early_stopping=False).fit(X, y)
    assert model.best_loss_ == min(model.loss_curve_[-5:])


@QUIET
def test_class_weights_are_those_of_the_last_training():
    X, y = load_iris(return_X_y=True)
    model = MLPClassifier(class_weight={0: 2.0}, max_iter=2, warm_start=True, random_state=0)
    curves = []
    for weight in (2.0, 20.0):
        twin = MLPClassifier(max_iter=2, random_state=0, class_weight={0: weight}).fit(X, y)
        curves.append(twin.loss_curve_)
    model.fit(X, y).set_params(class_weight={0: 20.0}, warm_start=False).fit(X, y)
    assert model.loss_curve_ == curves[1] != curves[0]


@QUIET
def test_predictions_do_not_depend_on_parameters_set_afterwards():
    X, y = load_diabetes(return_X_y=True)
    model = MLPRegressor("poisson", max_iter=3, random_state=0).fit(X, y)
    before = model.predict(X)
    model.set_params(loss="squared_error")
    np.testing.assert_array_equal(model.predict(X), before)
    with pytest.raises(ValueError, match="or its loss were changed since it was fitted"):
        model.partial_fit(X, y)


@QUIET
def test_invscaling_restarts_with_warm_start_as_in_scikit_learn():
    X, y = load_iris(return_X_y=True)
    options = {"solver": "sgd", "learning_rate": "invscaling", "warm_start": True}
    options |= {"learning_rate_init": 0.1, "max_iter": 5, "random_state": 0}
    ours, theirs = MLPClassifier(**options), neural_network.MLPClassifier(**options)
    assert_equal_networks(ours.fit(X, y).fit(X, y), theirs.fit(X, y).fit(X, y))


# Validation sets and scorers


@QUIET
def test_a_validation_set_may_lack_a_class_under_warm_start():
    X, y = load_iris(return_X_y=True)
    model = MLPClassifier(warm_start=True, max_iter=3, random_state=0)
    model.fit(X, y, X_val=X[:50], y_val=y[:50])
    assert len(model.validation_scores_) == 3


def test_an_incomplete_validation_set_is_refused():
    X, y = load_iris(return_X_y=True)
    for half in ({"y_val": y}, {"sample_weight_val": np.ones(150)}):
        with pytest.raises(ValueError, match="need X_val, which is missing"):
            MLPClassifier().fit(X, y, **half)
    with pytest.raises(ValueError, match="All validation rows have weight 0|non-zero"):
        MLPClassifier().fit(X, y, X_val=X, y_val=y, sample_weight_val=np.zeros(150))
    weight = (np.arange(150) < 2).astype(float)
    with pytest.raises(ValueError, match="All validation rows have weight 0"):
        MLPClassifier(early_stopping=True, random_state=0).fit(X, y, weight)
    with pytest.raises(ValueError, match="y_val has 2 outputs, but the network has 1"):
        MLPRegressor().fit(X, y, X_val=X, y_val=np.c_[y, y])


@QUIET
def test_a_custom_scorer_need_not_accept_weights():
    X, y = load_iris(return_X_y=True)
    seen = []
    model = MLPClassifier(
        early_stopping=True,
        scoring=lambda estimator, X, y: seen.append(len(X)) or estimator.score(X, y),
        max_iter=3,
        random_state=0,
    ).fit(X, y, np.ones(150))
    assert seen == [15] * 3
    assert len(model.validation_scores_) == 3


@pytest.mark.parametrize(
    ("class_weight", "message"),
    [
        ({0: -1.0}, r"class_weight must give finite weights .* got \{0: -1.0"),
        ({0: 0.0, 1: 0.0, 2: 0.0}, "class_weight must give .* not all 0"),
        ({0: np.nan}, r"class_weight must give finite weights .* got \{0: nan"),
    ],
    ids=str,
)
def test_class_weights_out_of_range(class_weight, message):
    X, y = load_iris(return_X_y=True)
    with pytest.raises(ValueError, match=message):
        MLPClassifier(class_weight=class_weight).fit(X, y)


def test_attributes_that_an_unfitted_network_lacks():
    for model in (MLPClassifier(), MLPRegressor()):
        assert not hasattr(model, "out_activation_")
        assert not hasattr(model, "coefs_")


@QUIET
def test_only_the_last_hidden_layer_supports_data_frames():
    X, y = load_iris(return_X_y=True)
    model = MLPClassifier((5, 3), max_iter=2, random_state=0).set_output(transform="pandas")
    model.fit(X, y)
    with pytest.raises(ValueError, match="names the columns of the last hidden layer only"):
        model.transform(X, layer=0)
    assert model.set_output(transform="default").transform(X, layer=0).shape == (150, 5)
    with pytest.raises(ValueError, match="so there is no layer 'a'"):
        model.transform(X, layer="a")


@QUIET
def test_fine_tuning_drops_the_encoders_noise():
    X, y = load_digits(return_X_y=True)
    encoder = AutoencoderTransformer(
        8, hidden_layer_sizes=(20,), noise="gaussian", sparsity=0.01, max_iter=2, random_state=0
    ).fit(X / 16)
    tuned = MLPClassifier((), pretrained=encoder.encoder_, solver="lbfgs", max_iter=5)
    tuned.fit(X / 16, y)
    assert [layer.name for layer in tuned.network_.layers] == ["dense", "relu", "dense", "dense"]


# Independence of a fitted network from parameters set afterwards


@QUIET
def test_the_score_is_that_of_the_fitted_loss():
    X, y = load_diabetes(return_X_y=True)
    plain = MLPRegressor(max_iter=3, random_state=0).fit(X, y)
    expected = plain.score(X, y)
    assert plain.set_params(loss="pinball", quantile=[0.2, 0.5, 0.8]).score(X, y) == expected
    three = MLPRegressor("pinball", quantile=[0.1, 0.5, 0.9], max_iter=3, random_state=0).fit(X, y)
    expected = three.score(X, y)
    for quantile in (0.5, [0.2, 0.3]):
        assert three.set_params(quantile=quantile).score(X, y) == expected
    assert three.set_params(loss="squared_error").score(X, y) == expected
    predicted = three.predict(X)
    by_hand = [
        d2_pinball_score(y, p, alpha=q) for p, q in zip(predicted.T, (0.1, 0.5, 0.9), strict=True)
    ]
    assert expected == pytest.approx(np.mean(by_hand))


# Class weights


@QUIET
def test_absent_classes_do_not_count_in_class_weights():
    X, y = load_iris(return_X_y=True)
    model = MLPClassifier(5, class_weight={2: 5.0}, max_iter=3, random_state=0)
    pieces = clone(model).partial_fit(X, y, classes=[0, 1, 2])
    # Without class 2, no row weighs more than 1.
    twin = copy.deepcopy(pieces).set_params(class_weight=None).partial_fit(X[:100], y[:100])
    pieces.partial_fit(X[:100], y[:100])
    np.testing.assert_array_equal(pieces.network_.params, twin.network_.params)
    model.fit(X, y, sample_weight=np.where(y == 2, 0.0, 1.0))
    # One class of three is given a weight; the others weigh 1.
    named, whole = ({2: 5.0}, {0: 1.0, 1: 1.0, 2: 5.0})
    one, other = (clone(model).set_params(class_weight=w).fit(X, y) for w in (named, whole))
    np.testing.assert_array_equal(one.network_.params, other.network_.params)
    with pytest.warns(UserWarning, match=r"class_weight names none of the classes \[0, 1\]"):
        model.fit(X[:100], y[:100])


@QUIET
@pytest.mark.parametrize("class_weight", [{2: 5.0}, "balanced"])
def test_bagging_of_a_rare_class(class_weight):
    X, y = load_iris(return_X_y=True)
    base = MLPClassifier(5, class_weight=class_weight, max_iter=3)
    bag = BaggingClassifier(base, n_estimators=20, random_state=0).fit(X[:102], y[:102])
    assert np.isfinite(bag.predict_proba(X)).all()


# Change of the solver


@QUIET
def test_warm_start_continues_from_lbfgs_with_another_solver():
    X, y = load_iris(return_X_y=True)
    model = MLPClassifier(5, solver="lbfgs", max_iter=3, warm_start=True, random_state=0).fit(X, y)
    model.set_params(solver="adam").fit(X, y)
    assert len(model.loss_curve_) == 3
    model.partial_fit(X, y)
