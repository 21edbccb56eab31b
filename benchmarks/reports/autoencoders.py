"""The same training of an autoencoder twice: in skscratch and in Keras.

Both start from the same weights and see the same rows in the same order, so that only the time and
the rounding differ. Each is set up by the rules of its library: threads in skscratch, a compiled
pipeline of batches in Keras. Only the training is timed, in Keras after a warm-up.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import joblib
import numpy as np
import numpy.typing as npt

from benchmarks.keras_models import compile_model, import_keras, snapshot
from benchmarks.reports.plan import Training
from skscratch.core import (
    Adam,
    Constant,
    Dense,
    GlorotUniform,
    Layer,
    Network,
    Objective,
    Optimizer,
    ReLU,
    Sigmoid,
    SquaredError,
    TrainingState,
    Zeros,
    train,
)
from skscratch.datasets import Images
from skscratch.experiments.autoencoder import mean_squared_error
from skscratch.keras import from_keras, to_keras

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Mark:
    """The state of a training after some epochs: its time so far, and errors over all pixels."""

    epoch: int
    seconds: float
    train_mse: float
    test_mse: float


@dataclass(frozen=True, eq=False)
class Trained:
    """An autoencoder after training, as a network of skscratch whichever library trained it."""

    network: Network = field(repr=False)
    n_encoder: int  # layers
    losses: tuple[float, ...] = field(repr=False)  # of each epoch
    seconds: tuple[float, ...] = field(repr=False)  # until the end of each epoch
    marks: tuple[Mark, ...]

    def encode(self, X: Array) -> Array:
        """Return the latent features of some images."""
        return self.network.part(0, self.n_encoder)(X)


def make_autoencoder(training: Training, n_pixels: int, seed: int) -> tuple[Network, int]:
    """Build an autoencoder in single precision, and count the layers of its encoder."""

    def dense(width: int) -> Dense:
        return Dense(width, GlorotUniform(), Zeros())

    def hidden(widths: Sequence[int]) -> list[Layer]:
        return [layer for width in widths for layer in (dense(width), ReLU())]

    sizes = training.hidden_layer_sizes
    encoder = [*hidden(sizes), dense(training.n_components)]
    layers = [*encoder, *hidden(sizes[::-1]), dense(n_pixels), Sigmoid()]
    return Network(layers, n_pixels, np.float32, rng=seed), len(encoder)


class SkscratchTraining:
    """A training in skscratch, some epochs at a time; it changes the network in place."""

    def __init__(
        self, network: Network, training: Training, X: Array, seed: int, n_jobs: int | None
    ) -> None:
        self.network, self.training, self.X, self.seed = network, training, X, seed
        # By default all cores, as TensorFlow does.
        self.n_threads = joblib.effective_n_jobs(-1 if n_jobs is None else n_jobs)
        self.state: TrainingState | None = None

    def train(self, n_epochs: int, on_epoch: Callable[[float], None]) -> None:
        """Train for some more epochs, and call `on_epoch` with the loss of each."""
        run = train(
            # The loss is the mean over all pixels, as in Keras.
            Objective(self.network, SquaredError(), scale=1 / self.network.n_out),
            self.X,
            self.X,
            optimizer=Optimizer.named(self.training.solver),
            schedule=Constant(self.training.learning_rate),
            batch_size=self.training.batch_size,
            max_epochs=n_epochs,
            rng=self.seed,
            n_threads=self.n_threads,
            on_epoch=lambda run: on_epoch(run.losses[-1]),
            state=self.state,
        )
        self.state = run.state

    def trained(self) -> Network:
        """Return the network in its current state."""
        return self.network


class KerasTraining:
    """The same training in Keras, some epochs at a time, from the weights of the network."""

    def __init__(self, network: Network, training: Training, X: Array, seed: int) -> None:
        import tensorflow as tf

        self.keras, self.tf = import_keras(), tf
        self.rows, self.batch_size = tf.constant(X), min(training.batch_size, len(X))
        self.rng = np.random.default_rng(seed)
        self.model = to_keras(network)
        rate, epsilon = training.learning_rate, Adam().epsilon
        compile_model(self.model, training.solver, rate, "mse", epsilon=epsilon)
        warm_up(self.model, self._batches([np.arange(len(X))]), 1)

    @property
    def n_batches(self) -> int:
        """Number of batches in an epoch."""
        return -(-len(self.rows) // self.batch_size)

    def _batches(self, orders: list[Array]) -> Any:
        """Return the batches of some epochs, given the order of the rows in each.

        TensorFlow gathers them while it trains: the fastest way that was found.
        """
        tf = self.tf
        stacked = tf.constant(np.stack(orders))

        def batch(k: Any) -> tuple[Any, Any]:
            order = stacked[k // self.n_batches]
            begin = k % self.n_batches * self.batch_size
            rows = tf.gather(self.rows, order[begin : begin + self.batch_size])
            return rows, rows

        numbers = tf.data.Dataset.range(len(orders) * self.n_batches)
        return numbers.map(batch, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)

    def train(self, n_epochs: int, on_epoch: Callable[[float], None]) -> None:
        """Train for some more epochs, and call `on_epoch` with the loss of each."""
        report = self.keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: on_epoch(float(logs["loss"]))
        )
        # The orders that `train` of skscratch draws from the same seed.
        orders = [self.rng.permutation(len(self.rows)) for _ in range(n_epochs)]
        self.model.fit(
            self._batches(orders),
            steps_per_epoch=self.n_batches,
            epochs=n_epochs,
            shuffle=False,
            callbacks=[report],
            verbose=0,
        )

    def trained(self) -> Network:
        """Return the model in its current state, as a network of skscratch."""
        return from_keras(self.model)


def warm_up(model: Any, batches: Any, n_steps: int) -> None:
    """Let Keras compile its training step, and undo the steps that this takes."""
    restore = snapshot([*model.trainable_variables, *model.optimizer.variables])
    model.fit(batches, steps_per_epoch=n_steps, shuffle=False, verbose=0)
    restore()


def run_training(
    side: str,
    training: Training,
    images: Images,
    *,
    seed: int,
    n_jobs: int | None = None,
    on_epoch: Callable[[str], None] | None = None,
) -> Trained:
    """Train an autoencoder in skscratch ("ours") or in Keras ("keras"), and measure it."""
    X = images.X_train
    network, n_encoder = make_autoencoder(training, X.shape[1], seed)
    trainer = (
        SkscratchTraining(network, training, X, seed, n_jobs)
        if side == "ours"
        else KerasTraining(network, training, X, seed)
    )
    losses: list[float] = []
    seconds: list[float] = []
    marks: list[Mark] = []
    for mark in training.marks:
        before = seconds[-1] if seconds else 0.0
        started = time.perf_counter()

        def after(loss: float, started: float = started, before: float = before) -> None:
            losses.append(loss)
            seconds.append(before + time.perf_counter() - started)
            if on_epoch is not None:
                on_epoch(
                    f"epoch {len(losses)} of {training.marks[-1]}: loss {loss:.5f}, "
                    f"{seconds[-1]:.0f} s"
                )

        trainer.train(mark - len(losses), after)
        marks.append(read_errors(trainer.trained(), images, mark, seconds[-1]))
    return Trained(trainer.trained(), n_encoder, tuple(losses), tuple(seconds), tuple(marks))


def read_errors(network: Network, images: Images, epoch: int, seconds: float) -> Mark:
    """Measure an autoencoder on all images."""
    train_mse, test_mse = (
        mean_squared_error(X, network(X)) for X in (images.X_train, images.X_test)
    )
    return Mark(epoch, seconds, train_mse, test_mse)
