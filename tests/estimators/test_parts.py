"""Parts by name and as instances, built-in and custom, in every network estimator."""

from typing import ClassVar

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_digits
from sklearn.model_selection import GridSearchCV

from skscratch import AutoencoderTransformer, MLPClassifier, MLPRegressor
from skscratch.core import (
    SGD,
    Activation,
    Adam,
    AdamW,
    Constant,
    Cosine,
    Elementwise,
    GaussianNoise,
    HeNormal,
    Huber,
    Initializer,
    InverseScaling,
    Layer,
    Loss,
    MaskingNoise,
    Noise,
    OneCycle,
    Optimizer,
    Pinball,
    RMSprop,
    Schedule,
    SquaredError,
    Tanh,
    check_loss,
    check_optimizer,
)
from tests.mish import DeclaredMish, PureMish, UndeclaredMish, mish

X, LABELS = load_digits(return_X_y=True)
X, LABELS = X[:200] / 16, LABELS[:200]
D, T = load_diabetes(return_X_y=True)
D, T = D[:200], T[:200] / 100
SMALL = {"hidden_layer_sizes": (8,), "max_iter": 3, "random_state": 0}


class Lion(Optimizer):
    """w ← w - lr sign(β₁ m + (1 - β₁) g);  m ← β₂ m + (1 - β₂) g (Chen et al., 2023)."""

    beta_1: float = 0.9
    beta_2: float = 0.99

    n_slots: ClassVar[int] = 1

    def update(self, w, g, slots, scratch, lr, t):
        (m,) = slots
        np.multiply(m, self.beta_1, out=scratch)
        scratch += (1 - self.beta_1) * g
        np.sign(scratch, out=scratch)
        scratch *= lr
        w -= scratch
        m *= self.beta_2
        m += (1 - self.beta_2) * g


class LogCosh(Loss):
    """log cosh(p - t)."""

    def pointwise(self, raw, target, b):
        np.subtract(raw, target, out=b.value)
        np.tanh(b.value, out=b.grad)
        np.abs(b.value, out=b.value)
        b.value += np.log1p(np.exp(-2 * b.value)) - np.log(2).astype(raw.dtype)


class Softsign(Elementwise):
    def f(self, x):
        return x / (1 + np.abs(x))

    def slope(self, x, y):
        return (1 - np.abs(y)) ** 2


class Small(Initializer):
    def fill(self, out, n_in, n_out, rng):
        out[:] = rng.uniform(-0.01, 0.01, out.shape)


class Halving(Schedule):
    def rate(self, clock):
        return self.initial / 2**clock.epoch


KINDS = {
    "lion": Lion,
    "log_cosh": LogCosh,
    "softsign": Softsign,
    "small": Small,
    "halving": Halving,
}


@pytest.fixture(scope="module", autouse=True)
def _names():
    """Register the parts only for these tests: others are parametrized over the registries."""
    named = {name: type(kind.__name__, (kind,), {}, name=name) for name, kind in KINDS.items()}
    yield
    for name, kind in named.items():
        for family in kind._families():
            del family._members[name]


def classifier(**options):
    return MLPClassifier(**(SMALL | options)).fit(X, LABELS)


def regressor(**options):
    return MLPRegressor(**(SMALL | options)).fit(D, T)


def encoder(**options):
    return AutoencoderTransformer(3, **(SMALL | options)).fit(X)


ALL = pytest.mark.parametrize("fit", [classifier, regressor, encoder])
TO_THE_END = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
pytestmark = TO_THE_END


def test_the_custom_parts_pass_the_checks():
    check_optimizer(Lion())
    check_loss(LogCosh())


@ALL
@pytest.mark.parametrize(
    ("name", "instance"),
    [
        ({"solver": "adam", "beta_1": 0.8}, {"solver": Adam(0.8)}),
        ({"solver": "sgd", "momentum": 0.5}, {"solver": SGD(0.5, True)}),
        ({"solver": "rmsprop"}, {"solver": RMSprop(epsilon=1e-8)}),
        ({"solver": "adamw", "alpha": 0.01}, {"solver": AdamW(0.9, 0.999, 1e-8, 0.01)}),
        ({"learning_rate": "cosine"}, {"learning_rate": "cosine"}),
        (
            {"learning_rate": "cosine", "learning_rate_init": 0.01},
            {"learning_rate": Cosine(0.01)},
        ),
        (
            {"learning_rate": "one_cycle", "learning_rate_init": 0.01},
            {"learning_rate": OneCycle(0.01)},
        ),
        (
            {"learning_rate": "invscaling", "learning_rate_init": 0.1, "solver": "sgd"},
            {"learning_rate": InverseScaling(0.1), "solver": "sgd"},
        ),
        ({"activation": "tanh"}, {"activation": Tanh()}),
        ({"noise": "gaussian", "noise_level": 0.1}, {"noise": GaussianNoise(0.1)}),
        ({"noise": "masking", "noise_level": 0.2}, {"noise": MaskingNoise(0.2)}),
    ],
)
def test_a_name_with_flat_parameters_equals_the_instance(fit, name, instance):
    assert_array_equal(fit(**name).network_.params, fit(**instance).network_.params)


def test_losses_and_initializers_too():
    for name, instance in (
        ({"loss": "huber", "huber_delta": 0.3}, {"loss": Huber(0.3)}),
        ({"loss": "pinball", "quantile": 0.3}, {"loss": Pinball((0.3,))}),
        ({"loss": "squared_error"}, {"loss": SquaredError()}),
    ):
        assert_array_equal(regressor(**name).network_.params, regressor(**instance).network_.params)
    for name, instance in (
        ({"loss": "huber"}, {"loss": Huber()}),
        ({"initializer": "he_normal"}, {"initializer": HeNormal()}),
        ({"latent_activation": "tanh"}, {"latent_activation": Tanh()}),
    ):
        assert_array_equal(encoder(**name).network_.params, encoder(**instance).network_.params)


@ALL
@pytest.mark.parametrize(
    ("parameter", "name", "recipe"),
    [
        ("solver", "lion", Lion()),
        ("activation", "softsign", Softsign()),
        ("learning_rate", "halving", Halving(1e-3)),
    ],
)
def test_custom_parts(fit, parameter, name, recipe):
    by_instance = fit(**{"learning_rate_init": 1e-3, parameter: recipe})
    by_name = fit(**{"learning_rate_init": 1e-3, parameter: name})
    assert_array_equal(by_name.network_.params, by_instance.network_.params)
    assert not np.array_equal(
        by_instance.network_.params, fit(learning_rate_init=1e-3).network_.params
    )
    # Warm start keeps it, and so do clones.
    again = clone(by_instance).set_params(warm_start=True)
    data = (X,) if isinstance(again, AutoencoderTransformer) else (X, LABELS)
    data = (D, T) if isinstance(again, MLPRegressor) else data
    before = again.fit(*data).network_.params.copy()
    assert_array_equal(before, by_instance.network_.params)
    assert not np.array_equal(again.fit(*data).network_.params, before)


@pytest.mark.parametrize("loss", ["log_cosh", LogCosh()])
def test_a_custom_loss(loss):
    fitted = regressor(loss=loss, max_iter=200, learning_rate_init=0.01)
    assert fitted.score(D, T) > 0.3
    features = encoder(loss=loss, initializer="small").transform(X)
    assert features.shape == (200, 3)


def test_a_search_over_parts():
    grid = {"solver": ["adam", Lion(), SGD(0.9)], "activation": ["relu", Softsign()]}
    search = GridSearchCV(MLPClassifier(**SMALL), grid, cv=2).fit(X, LABELS)
    assert len(search.cv_results_["params"]) == 6


def test_a_loss_with_a_link_applies_it_once():
    fitted = encoder(loss="binary_log_loss")
    assert fitted.output_activation_ == "logistic"
    latent = fitted.transform(X)
    assert fitted.inverse_transform(latent).min() > 0
    with pytest.raises(ValueError, match="by 'exp', which is not an activation"):
        encoder(loss="poisson")
    with pytest.raises(ValueError, match=r"needs data in \[0, 1\], but X ranges from"):
        AutoencoderTransformer(loss="binary_log_loss", output_activation="auto").fit(
            X + 0j.real - 1
        )


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (MLPClassifier, {"solver": "lions"}, "The 'solver' parameter of MLPClassifier must be"),
        (MLPClassifier, {"solver": Tanh()}, "an instance of 'Optimizer'"),
        (MLPRegressor, {"loss": "hinge"}, "The 'loss' parameter of MLPRegressor must be"),
        (MLPRegressor, {"loss": 3}, "The 'loss' parameter"),
        (AutoencoderTransformer, {"noise": "corruption"}, "The 'noise' parameter"),
        (AutoencoderTransformer, {"noise": Tanh()}, "The 'noise' parameter"),
        (AutoencoderTransformer, {"learning_rate": Adam()}, "The 'learning_rate' parameter"),
        (AutoencoderTransformer, {"initializer": "heh"}, "The 'initializer' parameter"),
    ],
)
def test_invalid_parts_are_refused(kind, options, message):
    with pytest.raises(ValueError, match=message):
        kind(**options).fit(X, LABELS)


def test_constant_schedules_of_both_kinds():
    a = classifier(learning_rate=Constant(0.01))
    b = classifier(learning_rate_init=0.01)
    assert_array_equal(a.network_.params, b.network_.params)


def test_families_accept_layers():
    assert issubclass(Noise, Layer)
    assert issubclass(Activation, Layer)


@pytest.mark.parametrize("kind", [PureMish, UndeclaredMish, DeclaredMish])
def test_an_activation_in_every_form_predicts_as_its_formula(kind):
    def through(rows, model, n_layers, last):
        for k, (W, b) in enumerate(zip(model.coefs_, model.intercepts_, strict=True)):
            rows = rows @ W + b
            if k < n_layers - 1:
                rows = mish(rows)
            if k == n_layers - 1:
                return last(rows)
        raise AssertionError("fewer layers than expected")

    options = {"activation": kind(), "hidden_layer_sizes": (8, 6)}
    np.testing.assert_allclose(
        regressor(**options).predict(D),
        through(D, regressor(**options), 3, lambda raw: raw.ravel()),
        rtol=1e-10,
    )
    probabilities = through(
        X,
        classifier(**options),
        3,
        lambda raw: np.exp(raw) / np.exp(raw).sum(axis=1, keepdims=True),
    )
    np.testing.assert_allclose(classifier(**options).predict_proba(X), probabilities, rtol=1e-9)
    latent = through(X, encoder(**options), 3, lambda raw: raw)
    np.testing.assert_allclose(encoder(**options).transform(X), latent, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("fit", [classifier, regressor, encoder])
def test_all_forms_of_an_activation_train_to_the_same_network(fit):
    params = [fit(activation=kind()).network_.params for kind in (PureMish, UndeclaredMish)]
    np.testing.assert_allclose(*params, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(params[1], fit(activation=DeclaredMish()).network_.params)
