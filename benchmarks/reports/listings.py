"""The code that the report shows for both libraries, and how long it is.

Each listing is a whole program except for the data, which it expects in `X` and `y`. The tests run
the listings, and the lines are counted here, so that the report shows what was counted.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Listing:
    """The same task as a program in both libraries."""

    name: str
    ours: str
    keras: str


def count_lines(code: str) -> int:
    """Count the lines of a program that are neither empty nor comments."""
    lines = (line.strip() for line in code.splitlines())
    return sum(bool(line) and not line.startswith("#") for line in lines)


XOR = Listing(
    "Exclusive or, 50,000 epochs",
    """\
from skscratch.core import Constant, Dense, Network, Objective, Sigmoid, SquaredError, Tanh, train

network = Network([Dense(4), Tanh(), Dense(1), Sigmoid()], n_in=2, rng=1)
objective = Objective(network, SquaredError())
train(objective, X, y, schedule=Constant(0.5), max_epochs=50_000)
outputs = network(X)
""",
    """\
import keras
import tensorflow as tf

network = keras.Sequential(
    [
        keras.Input((2,)),
        keras.layers.Dense(4, activation="tanh"),
        keras.layers.Dense(1, activation="sigmoid"),
    ]
)
network.compile(keras.optimizers.SGD(0.5), "mse", steps_per_execution=500)
batches = tf.data.Dataset.from_tensors((X, y)).repeat()
network.fit(batches, steps_per_epoch=500, epochs=100, shuffle=False, verbose=0)
outputs = network.predict(X, verbose=0)
""",
)

AUTOENCODER = Listing(
    "Autoencoder, its latent features, and a linear SVM on them",
    """\
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skscratch import AutoencoderTransformer, LinearSVM

autoencoder = AutoencoderTransformer(
    64, (512, 256, 128), batch_size=256, learning_rate="constant", learning_rate_init=1e-3
)
model = make_pipeline(autoencoder, StandardScaler(), LinearSVM()).fit(X, y)
rebuilt = autoencoder.reconstruct(X)
""",
    """\
import keras
from keras import layers
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

encoder = keras.Sequential(
    [
        layers.Dense(512, activation="relu"),
        layers.Dense(256, activation="relu"),
        layers.Dense(128, activation="relu"),
        layers.Dense(64),
    ]
)
decoder = keras.Sequential(
    [
        layers.Dense(128, activation="relu"),
        layers.Dense(256, activation="relu"),
        layers.Dense(512, activation="relu"),
        layers.Dense(X.shape[1], activation="sigmoid"),
    ]
)
autoencoder = keras.Sequential([keras.Input((X.shape[1],)), encoder, decoder])
autoencoder.compile(keras.optimizers.Adam(1e-3), "mse")
autoencoder.fit(X, X, batch_size=256, epochs=20, verbose=0)
latent = encoder.predict(X, verbose=0)
model = make_pipeline(StandardScaler(), LinearSVC()).fit(latent, y)
rebuilt = autoencoder.predict(X, verbose=0)
""",
)

LISTINGS = (XOR, AUTOENCODER)
