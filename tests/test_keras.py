"""Networks and Keras models agree after conversion in both directions, and in training."""

import dataclasses
import functools
import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from skscratch import AutoencoderTransformer, LinearSVM, MLPClassifier, MLPRegressor
from skscratch.core import (
    ELU,
    GELU,
    SGD,
    AbsoluteError,
    ActivityPenalty,
    Adam,
    AdamW,
    Averaged,
    BinaryLogLoss,
    Constant,
    Dense,
    Dropout,
    GaussianNoise,
    Hinge,
    Huber,
    Identity,
    Layer,
    LayerNorm,
    LeakyReLU,
    LogLoss,
    Loss,
    MulticlassHinge,
    Muon,
    Network,
    Objective,
    Optimizer,
    Pinball,
    Poisson,
    RMSprop,
    Sigmoid,
    Softmax,
    SquaredError,
    SquaredHinge,
    TakeColumns,
    Tanh,
    train,
)
from skscratch.keras import COUNTERPARTS, from_keras, to_keras

tf = pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")

pytestmark = [
    # Training for an epoch or two gives a ConvergenceWarning.
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    # Keras passes NumPy 2 an array type without the argument `copy`.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

OURS = {
    name: kind
    for name, kind in Layer.members().items()
    if kind.__module__.startswith("skscratch.core")
}
CARRIED = {name: kind for name, kind in OURS.items() if kind in (*COUNTERPARTS, GELU)}
# Hyperparameters other than the defaults, so that a lost one is noticed.
OTHER_VALUES = {
    LeakyReLU: {"slope": 0.3},
    ELU: {"alpha": 0.7},
    LayerNorm: {"epsilon": 0.1},
    Dropout: {"rate": 0.3},
    GaussianNoise: {"level": 0.2},
    ActivityPenalty: {"l1": 0.05},
    Dense: {"width": 5},
}
X = np.random.default_rng(0).normal(size=(60, 6))
X_UNIT = np.random.default_rng(1).uniform(size=(60, 6))


def layer_of(kind):
    return kind(**OTHER_VALUES.get(kind, {}))


def some_network(*layers, dtype="float64"):
    """Return a network with all parameters different from their usual initial values."""
    network = Network(layers, 6, dtype)
    network.params[:] = np.random.default_rng(2).normal(scale=0.5, size=network.n_params)
    return network


def sequential(*layers, shape=(6,), **kwargs):
    return keras.Sequential([keras.Input(shape, **kwargs), *layers])


def assert_same(network, model, rows=X, tolerance=1e-6):
    expected = model(rows.astype(model.inputs[0].dtype)).numpy()
    assert_allclose(network(rows.reshape(len(rows), -1)), expected, rtol=0, atol=tolerance)


# Conversion of networks


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CARRIED)
def test_a_network_and_its_model_predict_the_same(name, dtype):
    network = some_network(Dense(4), layer_of(CARRIED[name]), Dense(3), dtype=dtype)
    model = to_keras(network)
    assert model.inputs[0].dtype == dtype
    assert_same(network, model)
    back = from_keras(model)
    assert back.dtype == dtype
    assert back(X).tolist() == network(X).tolist()
    kept = [layer for layer in network.layers if layer != Identity()]
    assert [type(layer) for layer in back.layers] == [type(layer) for layer in kept]
    without_weights = [layer for layer in back.layers if not isinstance(layer, Dense)]
    assert without_weights == [layer for layer in kept if not isinstance(layer, Dense)]


def test_a_dense_layer_without_bias_is_converted_without_bias():
    network = some_network(Dense(3, bias=None), Tanh())
    back = from_keras(to_keras(network))
    assert back.layers[0].bias is None
    assert_array_equal(back.params, network.params)


def test_take_columns_is_converted():
    network = some_network(Dense(5), TakeColumns(2), Dense(3))
    assert_same(network, to_keras(network))


@pytest.mark.parametrize("name", sorted(set(OURS) - {*CARRIED, TakeColumns.name}))
def test_a_layer_without_counterpart_is_refused_and_named(name):
    layer = OURS[name]()
    network = Network([Dense(6), layer, Dense(2)], 6)
    with pytest.raises(ValueError, match=f"counterpart of {type(layer).__name__}.*Accepted are"):
        to_keras(network)
    if layer.for_inference(6) != layer:
        assert_same(network, to_keras(network, for_training=False))


def test_a_saved_model_can_be_loaded_and_converted(tmp_path):
    network = some_network(Dense(4), GELU(), Dense(3), Softmax())
    to_keras(network).save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert_array_equal(from_keras(loaded).params, network.params)
    assert_same(network, loaded)


def test_layers_that_act_only_in_training_can_be_left_out():
    network = some_network(GaussianNoise(), Dense(4), Dropout(), Dense(2), ActivityPenalty())
    assert [type(layer).__name__ for layer in to_keras(network, for_training=False).layers] == [
        "InputLayer",
        "Dense",
        "Dense",
    ]


def test_tied_weights_of_a_network_become_copies():
    network = Network([Dense(4), Tanh(), Dense(6)], 6, ties={2: 0})
    with pytest.warns(UserWarning, match="Layers with tied weights get a copy each"):
        to_keras(network)
    assert_same(network, to_keras(network, for_training=False))
    assert_same(network.part(2), to_keras(network.part(2)), rows=X[:, :4])


# Conversion of estimators.

Y_CLASSES = np.array(["ash", "elm", "oak"])[np.arange(60) % 3]
Y_LABELS = (X[:, :3] > 0).astype(int)
Y_COUNTS = np.arange(60) % 5

ESTIMATORS = {
    "two classes": (MLPClassifier((5,)), X, Y_CLASSES == "oak"),
    "three classes": (MLPClassifier((5, 4), dropout=[0.2, 0.1]), X, Y_CLASSES),
    "labels": (MLPClassifier((5,), activation="gelu"), X, Y_LABELS),
    "no hidden layer": (MLPClassifier(()), X, Y_CLASSES),
    "float32": (MLPClassifier((5,), layer_norm=True), X.astype(np.float32), Y_CLASSES),
    "noise": (MLPClassifier((5,), noise="gaussian", noise_level=0.1), X, Y_CLASSES),
    "regression": (MLPRegressor(hidden_layer_sizes=(5,), activation=[ELU(0.5)]), X, X[:, 0]),
    "two targets": (
        MLPRegressor(hidden_layer_sizes=(5, 4), activation=["relu", "tanh"]),
        X,
        X[:, :2],
    ),
    "huber": (MLPRegressor(hidden_layer_sizes=(5,), loss="huber"), X, X[:, 0]),
    "one quantile": (
        MLPRegressor(hidden_layer_sizes=(5,), loss="pinball", quantile=0.3),
        X,
        X[:, 0],
    ),
    "autoencoder": (AutoencoderTransformer(2, (5, 4), activation="silu"), X, None),
    "images": (
        AutoencoderTransformer(
            2, (5,), latent_activation="tanh", loss="binary_log_loss", noise="gaussian"
        ),
        X_UNIT,
        None,
    ),
    "sparse": (AutoencoderTransformer(3, (), sparsity=0.1, decoder_layer_sizes=(4,)), X, None),
    "dropout": (AutoencoderTransformer(3, (5,), dropout=0.2, activation="tanh"), X, None),
}


@functools.cache
def fitted(name):
    estimator, rows, y = ESTIMATORS[name]
    if isinstance(estimator, AutoencoderTransformer):
        estimator = clone(estimator).set_params(tied_weights=False)
    return clone(estimator).set_params(max_iter=20, random_state=0).fit(rows, y)


def predictions(estimator, rows=X):
    if isinstance(estimator, AutoencoderTransformer):
        return estimator.reconstruct(rows)
    if isinstance(estimator, MLPRegressor):
        return estimator.predict(rows).reshape(len(rows), -1)
    shares = estimator.predict_proba(rows)
    return shares[:, 1:] if estimator.n_outputs_ == 1 else shares


@pytest.mark.parametrize("name", ESTIMATORS)
def test_an_estimator_and_its_model_predict_the_same(name):
    estimator = fitted(name)
    model = to_keras(estimator)
    rows = X.astype(estimator.network_.dtype)
    assert_allclose(model(rows).numpy(), predictions(estimator, rows), rtol=0, atol=1e-6)
    unfitted = clone(estimator)
    if name == "autoencoder":
        # The loss is not part of the model; the rest is inferred from it.
        unfitted = AutoencoderTransformer()
    classes = getattr(estimator, "classes_", None)
    back = from_keras(model, unfitted, None if name == "labels" else classes)
    assert back is not unfitted
    assert_allclose(predictions(back, rows), predictions(estimator, rows), rtol=0, atol=1e-12)
    assert back.network_.widths[-1] == estimator.network_.widths[-1]
    if classes is not None:
        assert_array_equal(back.predict(rows), estimator.predict(rows))


@pytest.mark.parametrize(
    "name", ["three classes", "noise", "two targets", "autoencoder", "images", "sparse", "dropout"]
)
def test_the_architecture_is_inferred_from_the_model(name):
    estimator = fitted(name)
    plain = type(estimator)(**({"loss": estimator.loss} if name == "images" else {}))
    back = from_keras(to_keras(estimator), plain)
    shaping = {"hidden_layer_sizes", "activation", "n_components", "noise", "dropout", "sparsity"}
    for parameter in shaping & set(estimator.get_params()):
        assert getattr(back, parameter) == getattr(estimator, parameter), parameter


@pytest.mark.parametrize("name", ["two classes", "labels", "regression", "autoencoder"])
def test_an_estimator_from_keras_can_be_trained_further(name):
    back = from_keras(to_keras(fitted(name)), clone(fitted(name)))
    before = predictions(back)
    y = {"two classes": np.arange(60) % 2, "labels": Y_LABELS, "regression": X[:, 0]}.get(name)
    back.partial_fit(X, y)
    assert back.n_iter_ == 1
    assert np.abs(predictions(back) - before).max() > 0
    back.set_params(warm_start=True, max_iter=2).fit(X, y)
    assert len(back.loss_curve_) == 3


def test_encoder_and_decoder_are_available_as_keras_models():
    estimator = fitted("autoencoder")
    model = to_keras(estimator)
    latent = estimator.transform(X)
    assert_allclose(model.get_layer("encoder")(X).numpy(), latent, rtol=0, atol=1e-6)
    decoded = model.get_layer("decoder")(latent).numpy()
    assert_allclose(decoded, estimator.inverse_transform(latent), rtol=0, atol=1e-6)
    assert_same(estimator.encoder_, to_keras(estimator.encoder_))
    tuned = MLPClassifier((), pretrained=from_keras(model.get_layer("encoder")), max_iter=1)
    assert tuned.fit(X, Y_CLASSES).network_.widths[:2] == (6, 5)


def test_a_poisson_model_ends_with_an_exponential():
    estimator = MLPRegressor(hidden_layer_sizes=(5,), loss="poisson").fit(X, Y_COUNTS)
    assert_allclose(to_keras(estimator)(X).numpy()[:, 0], estimator.predict(X), rtol=1e-6)


def test_pretrained_layers_are_converted_like_any_other():
    estimator = MLPClassifier((4,), activation="tanh", pretrained=some_network(Dense(5), Tanh()))
    estimator.set_params(max_iter=2).fit(X, Y_CLASSES)
    back = from_keras(to_keras(estimator), estimator, estimator.classes_)
    assert back.hidden_layer_sizes == (5, 4)
    assert back.pretrained is None
    assert_allclose(back.predict_proba(X), estimator.predict_proba(X), rtol=0, atol=1e-12)


def test_a_variational_encoder_returns_its_means_in_keras():
    estimator = AutoencoderTransformer(2, (5,), beta=0.1, max_iter=3).fit(X_UNIT)
    with pytest.raises(ValueError, match="counterpart of Variational.*for_training=False"):
        to_keras(estimator)
    model = to_keras(estimator, for_training=False)
    assert_allclose(model(X).numpy(), estimator.reconstruct(X), rtol=0, atol=1e-6)
    tuned = MLPClassifier((4,), pretrained=estimator.encoder_, max_iter=2).fit(X, Y_CLASSES)
    assert_allclose(to_keras(tuned)(X).numpy(), tuned.predict_proba(X), rtol=0, atol=1e-6)


def test_tied_and_masked_autoencoders_are_converted_for_prediction():
    estimator = AutoencoderTransformer(2, (4,), tied_weights=True, noise="masking").fit(X_UNIT)
    with (
        pytest.warns(UserWarning, match="Layers with tied weights get a copy each"),
        pytest.raises(ValueError, match="Keras has no counterpart of MaskingNoise"),
    ):
        to_keras(estimator)
    model = to_keras(estimator, for_training=False)
    assert_allclose(model(X).numpy(), estimator.reconstruct(X), rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match="tied_weights=True"):
        from_keras(model, AutoencoderTransformer(tied_weights=True))


def test_tied_weights_become_copies():
    estimator = AutoencoderTransformer(2, (4,), max_iter=2).fit(X_UNIT)
    assert estimator.tied_weights_
    with pytest.warns(UserWarning, match="Layers with tied weights get a copy each"):
        model = to_keras(estimator)
    assert_allclose(model(X).numpy(), estimator.reconstruct(X), rtol=0, atol=1e-6)
    back = from_keras(model, AutoencoderTransformer())
    assert back.tied_weights is False
    assert_allclose(back.reconstruct(X), estimator.reconstruct(X), rtol=0, atol=1e-12)
    # An encoder without its decoder shares no weights.
    to_keras(estimator.encoder_)


def test_several_quantiles_are_refused():
    estimator = MLPRegressor(hidden_layer_sizes=(5,), loss="pinball", quantile=[0.1, 0.9]).fit(
        X, X[:, 0]
    )
    with pytest.raises(ValueError, match=r"cumulative_softplus"):
        to_keras(estimator)
    with pytest.raises(ValueError, match=r"cumulative_softplus"):
        from_keras(to_keras(estimator.network_), clone(estimator))


def test_anything_but_a_network_is_refused():
    with pytest.raises(TypeError, match="MLPClassifier"):
        to_keras(LinearSVM())
    with pytest.raises(NotFittedError):
        to_keras(MLPClassifier())
    with pytest.raises(TypeError, match=r"keras\.Model"):
        from_keras(MLPClassifier())
    with pytest.raises(TypeError, match="MLPClassifier"):
        from_keras(sequential(keras.layers.Dense(2)), LinearSVM())


@pytest.mark.parametrize("missing", ["keras", "tensorflow"])
def test_a_missing_keras_is_reported_with_how_to_install_it(missing, monkeypatch):
    for name in list(sys.modules):
        if name.partition(".")[0] == "keras":
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ModuleNotFoundError, match=rf"{missing} is missing.*skscratch\[keras\]"):
        to_keras(Network([Dense(2)], 6))


# Models created in Keras.


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "elu", "silu", "softmax", "linear"])
def test_activations_given_by_name_in_a_keras_layer(name):
    model = sequential(keras.layers.Dense(4, activation=name), keras.layers.Dense(3))
    assert_same(from_keras(model), model)


def test_layers_of_activations():
    layers = keras.layers
    model = sequential(
        layers.Dense(4),
        layers.ReLU(),
        layers.LayerNormalization(),
        layers.LeakyReLU(),
        layers.Dense(4),
        layers.ReLU(negative_slope=0.1),
        layers.Dense(4),
        layers.Softmax(),
    )
    assert_same(from_keras(model), model)


def test_models_inside_a_model_and_a_flattened_image():
    encoder = sequential(
        keras.layers.Flatten(), keras.layers.Dense(3, activation="tanh"), shape=(2, 3)
    )
    decoder = sequential(keras.layers.Dense(6, activation="sigmoid"), shape=(3,))
    images = X_UNIT.reshape(60, 2, 3)
    model = keras.Sequential([encoder, decoder])
    model(images)
    assert_same(from_keras(model), model, rows=images)
    inputs = keras.Input((2, 3))
    functional = keras.Model(inputs, decoder(encoder(inputs)))
    assert_same(from_keras(functional), functional, rows=images)
    estimator = from_keras(functional, AutoencoderTransformer())
    assert estimator.n_components == 3
    assert estimator.output_activation == "logistic"


@pytest.mark.parametrize(
    ("n_out", "activation"), [(1, "sigmoid"), (2, "softmax"), (3, "softmax"), (4, "softmax")]
)
def test_labels_may_be_in_any_order(n_out, activation):
    model = sequential(keras.layers.Dense(n_out, activation=activation))
    names = np.array(["oak", "ash", "yew", "elm"])[: max(2, n_out)]
    classifier = from_keras(model, MLPClassifier(), classes=names)
    assert classifier.classes_.tolist() == sorted(names)
    shares = model(X.astype(np.float32)).numpy()
    if n_out == 1:
        shares = np.hstack([1 - shares, shares])
    rows = X.astype(np.float32)
    assert_allclose(classifier.predict_proba(rows), shares[:, np.argsort(names)], atol=1e-6)
    assert_array_equal(classifier.predict(rows), names[shares.argmax(axis=1)])


@pytest.mark.parametrize(
    ("classes", "layer", "message"),
    [
        (None, {"units": 3}, "A classifier's network must end in"),
        (["a", "b"], {"units": 3, "activation": "softmax"}, "has 3 classes"),
        (["a", "a"], {"units": 1, "activation": "sigmoid"}, "has 2 classes"),
        (["a", "b", "c"], {"units": 3, "activation": "sigmoid"}, "have no classes"),
    ],
)
def test_labels_that_do_not_match_the_model_are_refused(classes, layer, message):
    with pytest.raises(ValueError, match=message):
        from_keras(sequential(keras.layers.Dense(**layer)), MLPClassifier(), classes)


def test_an_estimator_that_does_not_support_the_layers_is_refused():
    layers = keras.layers
    normed = sequential(layers.LayerNormalization(), layers.Dense(3), layers.Dense(2))
    with pytest.raises(ValueError, match="No parameters of MLPRegressor"):
        from_keras(normed, MLPRegressor())
    with pytest.raises(ValueError, match="No parameters of MLPRegressor"):
        from_keras(sequential(layers.Dense(3, activation="tanh")), MLPRegressor())
    wider = sequential(layers.Dense(3), layers.Dense(7))
    with pytest.raises(ValueError, match="No parameters of AutoencoderTransformer"):
        from_keras(wider, AutoencoderTransformer())
    with pytest.raises(ValueError, match="at least two dense layers"):
        from_keras(sequential(layers.Dense(6)), AutoencoderTransformer())


def branched():
    inputs = keras.Input((6,))
    return keras.Model(inputs, keras.layers.Add()([inputs, keras.layers.Dense(6)(inputs)]))


def repeated():
    inputs, dense = keras.Input((6,)), keras.layers.Dense(6)
    return keras.Model(inputs, dense(dense(inputs)))


def two_headed():
    inputs = keras.Input((6,))
    return keras.Model(inputs, [keras.layers.Dense(2)(inputs), keras.layers.Dense(3)(inputs)])


def own_code():
    class Own(keras.Model):
        def call(self, x):
            return x

    return Own()


REFUSED = {
    "has no counterpart here.*Accepted are": branched,
    "applies its layer .* more than once": repeated,
    "has 1 inputs and 2 outputs": two_headed,
    "computes with custom code": own_code,
    "is not built": lambda: keras.Sequential([keras.layers.Dense(2)]),
    "a BatchNormalization, has no": lambda: sequential(keras.layers.BatchNormalization()),
    "a Softmax, has no": lambda: sequential(
        keras.layers.Flatten(), keras.layers.Softmax(axis=0), shape=(2, 3)
    ),
    "a LayerNormalization, has no": lambda: sequential(
        keras.layers.LayerNormalization(scale=False)
    ),
    "a ReLU, has no": lambda: sequential(keras.layers.ReLU(max_value=6)),
    "a LeakyReLU, has no": lambda: sequential(keras.layers.LeakyReLU(negative_slope=2.0)),
    "a Dropout, has no": lambda: sequential(keras.layers.Dropout(0.5, noise_shape=(1, 6))),
    "a ActivityRegularization, has no": lambda: sequential(
        keras.layers.ActivityRegularization(l2=0.1)
    ),
    "'gelu' .* the tanh form": lambda: sequential(keras.layers.Dense(2, activation="gelu")),
    "'exponential' of layer": lambda: sequential(keras.layers.Activation("exponential")),
    "computes in float16": lambda: sequential(keras.layers.Dense(2, dtype="float16")),
    "computes in float32 and float64": lambda: sequential(
        keras.layers.Dense(2, dtype="float32"), keras.layers.Dense(2, dtype="float64")
    ),
    "input has shape": lambda: sequential(keras.layers.Dense(2), shape=(3, 2)),
}


@pytest.mark.parametrize("message", REFUSED)
def test_a_model_without_counterpart_is_refused(message):
    with pytest.raises(ValueError, match=message):
        from_keras(REFUSED[message]())


def test_a_model_without_layers_is_the_identity():
    inputs = keras.Input((6,))
    assert_same(from_keras(keras.Model(inputs, inputs)), keras.Model(inputs, inputs))


# Parity: the same losses, gradients and steps.

ROWS, STEPS = 32, 200
rng = np.random.default_rng(3)
TARGETS = {
    "real": rng.normal(size=(ROWS, 3)),
    "share": rng.uniform(size=(ROWS, 3)),
    "one-hot": np.eye(3)[rng.integers(3, size=ROWS)],
    "sign": rng.choice([-1.0, 1.0], size=(ROWS, 3)),
    "count": rng.poisson(2.0, size=(ROWS, 3)).astype(float),
}


def multiclass_hinge(t, r):
    # Keras' loss uses 0 as the largest other score if all of them are negative.
    return tf.reduce_mean(tf.reduce_max(r + 1 - t, axis=1) - tf.reduce_sum(t * r, axis=1))


def pinball(t, r):
    return tf.reduce_mean(tf.maximum(0.3 * (t - r), -0.7 * (t - r)))


def poisson(t, r):
    # Half the deviance has terms of the target alone, which Keras' loss omits.
    return tf.reduce_mean(tf.math.xlogy(t, t) - t * r - t + tf.exp(r))


# Our loss, Keras' loss of targets and raw outputs, and whether it is a mean over the outputs.
LOSSES = {
    "squared_error": (SquaredError(), keras.losses.MeanSquaredError(), True),
    "absolute_error": (AbsoluteError(), keras.losses.MeanAbsoluteError(), True),
    "huber": (Huber(0.7), keras.losses.Huber(0.7), True),
    "binary_log_loss": (BinaryLogLoss(), keras.losses.BinaryCrossentropy(from_logits=True), True),
    "log_loss": (LogLoss(), keras.losses.CategoricalCrossentropy(from_logits=True), False),
    "hinge": (Hinge(), keras.losses.Hinge(), True),
    "squared_hinge": (SquaredHinge(), keras.losses.SquaredHinge(), True),
    "multiclass_hinge": (MulticlassHinge(), multiclass_hinge, False),
    "pinball": (Pinball((0.3,)), pinball, True),
    "poisson": (Poisson(), poisson, True),
}


def keras_optimizer(optimizer, lr):
    """Return Keras' optimizer with the same constants."""
    constants = {
        field.name: getattr(optimizer, field.name) for field in dataclasses.fields(optimizer)
    }
    if isinstance(optimizer, RMSprop):
        # Keras divides by sqrt(v + epsilon), we by sqrt(v) + epsilon: about the same if v is 0 or
        # much larger.
        constants["epsilon"] **= 2
    theirs = getattr(keras.optimizers, type(optimizer).__name__)(lr, **constants)
    if isinstance(optimizer, AdamW):
        # Biases do not decay here, but they do in Keras by default.
        theirs.exclude_from_weight_decay(var_names=["bias"])
    return theirs


OPTIMIZERS = {
    "sgd": (SGD(), 0.1),
    "momentum": (SGD(0.9), 0.02),
    "nesterov": (SGD(0.9, nesterov=True), 0.02),
    "rmsprop": (RMSprop(0.95, 1e-8), 0.002),
    "adam": (Adam(0.85, 0.99, 1e-7), 0.005),
    "adamw": (AdamW(0.9, 0.999, 1e-7, weight_decay=0.02), 0.005),
}


def objective_of(name, *layers):
    loss, _, mean = LOSSES[name]
    network = Network(layers, 6, "float32", rng=4)
    return Objective(network, loss, scale=1 / network.n_out if mean else 1.0)


def gradient_of(model, loss, rows, target):
    with tf.GradientTape() as tape:
        value = loss(target, model(rows, training=True))
        value = value + sum(model.losses)
    return float(value), tape.gradient(value, model.trainable_variables)


def check_gradient(objective, loss, target):
    rows, target = X[:ROWS].astype(np.float32), target.astype(np.float32)
    network, model = objective.network, to_keras(objective.network)
    ws = network.workspace(ROWS, train=True)
    value = objective.value_and_grad(rows, target, ws)
    their_value, their_gradient = gradient_of(model, loss, rows, target)
    assert_allclose(value, their_value, rtol=1e-5)
    mine = [array for view in ws.grad_views for array in vars(view).values()]
    for array, theirs in zip(mine, their_gradient, strict=True):
        size = max(np.abs(array).max(), np.finfo(np.float32).tiny)
        assert np.abs(array - theirs.numpy()).max() / size < 1e-5


def test_every_loss_and_optimizer_is_compared():
    assert set(LOSSES) == set(Loss.members())
    compared = {type(optimizer) for optimizer, _ in OPTIMIZERS.values()}
    # Elsewhere, Averaged is compared with a mean by hand, and Muon with Keras matrix by matrix: it
    # leaves out another layer there.
    assert compared == set(Optimizer.members().values()) - {Averaged, Muon}


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_of_losses_agree_with_gradient_tape(name):
    objective = objective_of(name, Dense(8), Tanh(), Dense(3))
    _, loss, _ = LOSSES[name]
    check_gradient(objective, loss, TARGETS[objective.loss.targets])


@pytest.mark.parametrize(
    "name", [name for name, kind in CARRIED.items() if kind not in (Dropout, GaussianNoise)]
)
def test_gradients_of_layers_agree_with_gradient_tape(name):
    layer = layer_of(CARRIED[name])
    objective = objective_of("squared_error", Dense(8), layer, Dense(4), layer, Dense(3))
    check_gradient(objective, LOSSES["squared_error"][1], TARGETS["real"])


@pytest.mark.parametrize("loss_name", ["squared_error", "binary_log_loss", "log_loss"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_two_hundred_steps_have_the_same_losses(name, loss_name):
    objective = objective_of(loss_name, Dense(16), Tanh(), Dense(8), Sigmoid(), Dense(3))
    optimizer, lr = OPTIMIZERS[name]
    loss, target = LOSSES[loss_name][1], TARGETS[objective.loss.targets]
    model, theirs = to_keras(objective.network), keras_optimizer(optimizer, lr)
    theirs.build(model.trainable_variables)

    @tf.function
    def step(rows, target):
        with tf.GradientTape() as tape:
            value = loss(target, model(rows, training=True))
        theirs.apply(tape.gradient(value, model.trainable_variables))
        return value

    draw = np.random.default_rng(5)
    state, losses, their_losses = None, [], []
    for _ in range(STEPS):
        chosen = draw.integers(ROWS, size=16)
        rows, some = X[chosen].astype(np.float32), target[chosen].astype(np.float32)
        run = train(
            objective,
            rows,
            some,
            optimizer=optimizer,
            schedule=Constant(lr),
            max_epochs=1,
            rng=0,
            state=state,
        )
        state = run.state
        losses += run.losses
        their_losses.append(float(step(rows, some)))
    assert losses[-1] < losses[0]
    assert_allclose(losses, their_losses, rtol=1e-4)
