"""Estimators made from networks: they compute the same, and can be trained further."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.model_selection import cross_val_score

from skscratch import AutoencoderTransformer, MLPClassifier, MLPRegressor
from skscratch.core import (
    ELU,
    Activation,
    Dense,
    Dropout,
    LayerNorm,
    MaskingNoise,
    Network,
    ReLU,
    Sigmoid,
    Softmax,
    Tanh,
)

rng = np.random.default_rng(0)
X = rng.random((40, 6))
CLASSES = np.array(["ash", "elm", "oak"])[np.arange(40) % 3]
FITTED = {
    "two classes": (MLPClassifier((5,)), CLASSES == "oak"),
    "three classes": (MLPClassifier((5, 4), dropout=[0.2, 0.1], layer_norm=True), CLASSES),
    "labels": (MLPClassifier((5,)), (X[:, :3] > 0.5).astype(int)),
    "regression": (MLPRegressor(hidden_layer_sizes=(5,), activation=[ELU(0.5)]), X[:, 0]),
    "two targets": (MLPRegressor("huber", (5, 4), ["relu", "tanh"]), X[:, :2]),
    "tied": (AutoencoderTransformer(2, (5, 4)), None),
    "not tied": (AutoencoderTransformer(2, (5, 4), tied_weights=False, sparsity=0.1), None),
    "masked": (AutoencoderTransformer(2, (5,), noise=MaskingNoise(0.2)), None),
    "other loss": (AutoencoderTransformer(2, (5,), activation=ELU(0.5), loss="huber"), None),
}


def outputs(estimator):
    for name in ("predict_proba", "predict", "reconstruct"):
        if hasattr(estimator, name):
            return getattr(estimator, name)(X)
    raise AssertionError


def whole_network(estimator):
    """Return a fitted network, ending with the inverse link of its loss."""
    link = getattr(estimator, "out_activation_", None)
    if link is None:
        link = "logistic" if estimator.reconstruction_loss_ == "binary_log_loss" else "identity"
    extra = [] if link == "identity" else [Activation.named(link)]
    return estimator.network_.part(0, extra_layers=extra)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", FITTED)
def test_an_estimator_is_recovered_from_its_network(name, dtype):
    recipe, y = FITTED[name]
    model = clone(recipe).set_params(max_iter=3, random_state=0).fit(X.astype(dtype), y)
    options = {"loss": model.loss} if hasattr(recipe, "loss") else {}
    if isinstance(model, MLPClassifier) and name != "labels":
        options["classes"] = model.classes_
    before = model.network_.params.copy()
    back = type(model).from_network(whole_network(model), random_state=0, **options)
    assert_array_equal(outputs(back), outputs(model), strict=True)
    assert back.network_.ties == model.network_.ties
    described = set(back._parameters_of(model.network_)) - {"decoder_layer_sizes", "tied_weights"}
    for parameter in described:
        value, expected = getattr(back, parameter), getattr(model, parameter)
        if parameter == "activation" and not isinstance(value, list):
            value = [value] * len(back.hidden_layer_sizes)
            expected = expected if isinstance(expected, list) else [expected] * len(value)
        if parameter == "noise_level" and back.noise is None:
            continue
        if expected == "auto":
            expected = getattr(model, f"{parameter}_")
        assert value == expected, parameter
    # Training changes a copy.
    if y is not None:
        back.set_params(warm_start=True, max_iter=2).fit(X.astype(dtype), y)
    else:
        back.partial_fit(X.astype(dtype))
    assert (back.network_.params != before).any()
    assert_array_equal(model.network_.params, before)


def test_a_network_of_the_core_becomes_an_estimator_to_search_with():
    network = Network([Dense(5), Tanh(), Dropout(0.1), Dense(2), Softmax()], 6, rng=3)
    model = MLPClassifier.from_network(network, classes=["b", "a"], max_iter=5, random_state=0)
    assert model.classes_.tolist() == ["a", "b"]
    np.testing.assert_allclose(model.predict_proba(X), network(X)[:, ::-1], rtol=1e-12)
    assert model.activation == "tanh"
    assert model.dropout == 0.1
    with pytest.warns(UserWarning, match="hasn't converged yet"):
        assert len(cross_val_score(model, X, CLASSES, cv=2)) == 2


def test_ties_that_an_autoencoder_does_not_have_become_copies():
    layers = [Dense(4), Tanh(), Dense(2), Dense(4), Tanh(), Dense(6), Sigmoid()]
    network = Network(layers, 6, ties={3: 2})
    model = AutoencoderTransformer.from_network(network)
    assert model.tied_weights is False
    np.testing.assert_allclose(model.reconstruct(X), network(X), rtol=1e-12)
    with pytest.raises(ValueError, match="tied_weights=True does not fit"):
        AutoencoderTransformer.from_network(Network(layers, 6), tied_weights=True)


@pytest.mark.parametrize(
    ("estimator", "layers", "options", "message"),
    [
        (MLPClassifier, [Dense(3)], {}, "must end in Dense followed by Softmax or Sigmoid"),
        (MLPClassifier, [Dense(3), Softmax()], {"classes": [0, 1]}, "has 3 classes"),
        (MLPClassifier, [Dense(1), Sigmoid()], {"classes": [1, 1]}, "has 2 classes"),
        (MLPClassifier, [Dense(3), Sigmoid()], {"classes": [0, 1, 2]}, "have no classes"),
        (MLPClassifier, [Dense(2), Softmax()], {"alpha": -1}, "'alpha' parameter"),
        (MLPRegressor, [LayerNorm(), Dense(1)], {}, "No parameters of MLPRegressor"),
        (MLPRegressor, [Dense(1), ReLU()], {}, r"its layers are \[Dense.*, ReLU"),
        (MLPRegressor, [Dense(1)], {"loss": "poisson"}, "predictions by 'exp'"),
        (
            MLPRegressor,
            [Dense(2)],
            {"loss": "pinball", "quantile": [0.1, 0.9]},
            "predictions by 'cumulative_softplus'",
        ),
        (AutoencoderTransformer, [Dense(6)], {}, "at least two dense layers"),
        (AutoencoderTransformer, [Dense(3), Dense(7)], {}, "No parameters of Autoencoder"),
    ],
)
def test_a_network_that_an_estimator_cannot_have_is_refused(estimator, layers, options, message):
    with pytest.raises(ValueError, match=message):
        estimator.from_network(Network(layers, 6), **options)


@pytest.mark.parametrize("estimator", [MLPClassifier, MLPRegressor, AutoencoderTransformer])
def test_anything_but_a_network_is_refused(estimator):
    with pytest.raises(TypeError, match="network must be a Network or a Part"):
        estimator.from_network([Dense(2)])
    with pytest.raises(TypeError, match="unexpected keyword argument 'hiden_layer_sizes'"):
        estimator.from_network(Network([Dense(3), Dense(6), Softmax()], 6), hiden_layer_sizes=3)
