"""scikit-learn's checks: those of `check_estimator`, and others that it does not run."""

import functools
from dataclasses import dataclass

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone, is_classifier
from sklearn.utils import estimator_checks as checks
from sklearn.utils.estimator_checks import parametrize_with_checks

from skscratch import AutoencoderTransformer, LinearSVM, MLPClassifier, MLPRegressor
from skscratch.estimators._base import FitData


def only_single(tags):
    tags.transformer_tags.preserves_dtype = ["float32"]
    return tags


class SinglePrecisionMLPClassifier(MLPClassifier):
    """Converts data to float32, because the checks only use float64."""

    def _check_data(self, X, y, sample_weight, **how):
        data = super()._check_data(X, y, sample_weight, **how)
        columns = (data.weight, data.encoded)
        weight, encoded = (None if c is None else c.astype(np.float32) for c in columns)
        return FitData(data.X.astype(np.float32), data.y, weight, encoded)

    def __sklearn_tags__(self):
        return only_single(super().__sklearn_tags__())


class SinglePrecisionAutoencoder(AutoencoderTransformer):
    """Converts data to float32, because the checks only use float64."""

    def _check_data(self, X, y, sample_weight, **how):
        data = super()._check_data(X, y, sample_weight, **how)
        weight = None if data.weight is None else data.weight.astype(np.float32)
        return FitData(data.X.astype(np.float32), None, weight, None)

    def __sklearn_tags__(self):
        return only_single(super().__sklearn_tags__())


class SparseAutoencoder(AutoencoderTransformer):
    """Converts data to sparse matrices, because most checks only use dense arrays."""

    def _check_data(self, X, y, sample_weight, **how):
        data = super()._check_data(X, y, sample_weight, **how)
        return FitData(sparse.csr_matrix(data.X), None, data.weight, None)


@dataclass(frozen=True)
class Halved:
    """A custom noise. The name of a function would differ between the processes of a test run."""

    factor: float

    def __call__(self, X, rng):
        return X * rng.choice([self.factor, 1.0], size=(len(X), 1))


DEFAULTS = [AutoencoderTransformer(), LinearSVM(), MLPClassifier(), MLPRegressor()]
OTHERS = [
    AutoencoderTransformer(loss="huber", activation="elu", max_iter=3),
    AutoencoderTransformer(noise="gaussian", sparsity=0.1, max_iter=3),
    AutoencoderTransformer(
        latent_activation="logistic", sparsity=1.0, sparsity_target=0.1, max_iter=3
    ),
    AutoencoderTransformer(contraction=0.1, alpha=1e-3, max_iter=3),
    AutoencoderTransformer(beta=1.0, max_iter=3),
    AutoencoderTransformer(noise=Halved(0.5), dropout=0.1, loss="auto", max_iter=3),
    SinglePrecisionAutoencoder(max_iter=3),
    SparseAutoencoder(max_iter=3),
    AutoencoderTransformer(hidden_layer_sizes=(), tied_weights=True, solver="sgd", max_iter=3),
    AutoencoderTransformer(early_stopping=True, activation="tanh", max_iter=5),
    MLPClassifier(solver="lbfgs", activation="tanh"),
    MLPClassifier(solver="sgd", learning_rate="adaptive", learning_rate_init=0.1),
    SinglePrecisionMLPClassifier(),
    MLPClassifier(dropout=0.1),
    MLPClassifier(layer_norm=True, activation=["silu"]),
    MLPClassifier(class_weight="balanced"),
    MLPClassifier(early_stopping=True),
    MLPClassifier(solver="adamw", label_smoothing=0.1, max_gradient_norm=1.0),
    MLPRegressor(solver="lbfgs", hidden_layer_sizes=20),
    MLPRegressor(loss="huber", layer_norm=True),
    MLPRegressor(loss="pinball", learning_rate="cosine", dropout=0.1),
    MLPRegressor(early_stopping=True),
    LinearSVM(warm_start=True, C=0.1),
    LinearSVM(multi_class="crammer_singer"),
    LinearSVM(class_weight="balanced"),
    LinearSVM(loss="hinge"),
    LinearSVM(loss="hinge", C=10.0, class_weight="balanced"),
    LinearSVM(C=100.0, intercept_scaling=10.0),
    LinearSVM(fit_intercept=False),
]
FURTHER_CHECKS = [
    checks.check_dataframe_column_names_consistency,
    checks.check_inplace_ensure_writeable,
    checks.check_param_validation,
    checks.check_set_output_transform,
]
FOR_TRANSFORMERS = [
    checks.check_global_output_transform_pandas,
    checks.check_global_set_output_transform_polars,
    checks.check_set_output_transform_pandas,
    checks.check_set_output_transform_polars,
    checks.check_transformer_get_feature_names_out,
    checks.check_transformer_get_feature_names_out_pandas,
]

# Most checks train for so few epochs that they end with a ConvergenceWarning.
pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:Got `batch_size` less than 1:UserWarning"),
    # scikit-learn's checks fit data frames and transform arrays, or the other way round;
    pytest.mark.filterwarnings("ignore:X (has|does not have valid) feature names:UserWarning"),
    # they pass columns instead of vectors, and warn when they skip.
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.DataConversionWarning"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning"),
]


@parametrize_with_checks(DEFAULTS)
def test_defaults(estimator, check):
    check(estimator)


EQUIVALENCE = [
    "check_sample_weight_equivalence_on_dense_data",
    "check_sample_weight_equivalence_on_sparse_data",
]


def expected_failures(estimator):
    """Return the checks that a configuration cannot pass, with reasons; the defaults pass all."""
    random = ("noise", "dropout", "contraction", "beta")
    if any(getattr(estimator, name, None) for name in random):
        reason = "each row draws its own noise, so repeated rows are no heavier row"
        return dict.fromkeys(EQUIVALENCE, reason)
    if not getattr(estimator, "fit_intercept", True):
        reason = "no half-plane through the origin holds 87 % of those rows"
        return {"check_class_weight_classifiers": reason}
    if getattr(estimator, "early_stopping", False):
        reason = "the held-out rows are drawn by number, not by weight"
        few = "five rows are held out, and the first epoch that has them right is kept"
        return dict.fromkeys(EQUIVALENCE, reason) | {"check_class_weight_classifiers": few}
    return {}


@parametrize_with_checks(OTHERS, expected_failed_checks=expected_failures)
def test_other_configurations(estimator, check, monkeypatch):
    if isinstance(estimator, SinglePrecisionMLPClassifier | SinglePrecisionAutoencoder):
        # After hundreds of steps, float32 is not accurate to seven digits.
        loose = functools.partial(checks.assert_allclose_dense_sparse, rtol=1e-3, atol=5e-3)
        monkeypatch.setattr(checks, "assert_allclose_dense_sparse", loose)
    check(estimator)


@pytest.mark.parametrize("estimator", DEFAULTS, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("check", FURTHER_CHECKS, ids=lambda c: c.__name__)
def test_further_checks(estimator, check):
    check(type(estimator).__name__, clone(estimator))


@pytest.mark.parametrize("check", FOR_TRANSFORMERS, ids=lambda c: c.__name__)
def test_further_checks_for_transformers(check):
    check("AutoencoderTransformer", AutoencoderTransformer(max_iter=2))


def test_no_tag_relaxes_the_checks():
    for estimator in DEFAULTS:
        tags = estimator.__sklearn_tags__()
        assert not tags.non_deterministic
        assert not tags.no_validation
        if is_classifier(estimator):
            assert not tags.classifier_tags.poor_score
        if tags.regressor_tags is not None:
            assert not tags.regressor_tags.poor_score
