"""The same training twice: once here, once in Keras.

Both sides start from the same weights and see the same rows in the same order, so that what differs
is the time, and rounding. Each side is set up as one who knows it well would: threads here, a
compiled pipeline of batches there. Only the training is timed, after a warm-up in Keras.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import joblib
import numpy as np
import numpy.typing as npt

from skscratch.core import (
    SGD,
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
from skscratch.datasets import Images, load_xor
from skscratch.experiments.autoencoder import mean_squared_error
from skscratch.experiments.plan import Training
from skscratch.keras import from_keras, to_keras

Array = npt.NDArray[Any]
OnEpoch = Callable[[str], None]

SOLVERS: dict[str, Optimizer] = {"sgd": SGD(), "adam": Adam()}


def import_keras() -> Any:
    """Import Keras with TensorFlow behind it.

    Returns
    -------
    module
        Keras.

    Raises
    ------
    ModuleNotFoundError
        If one of them is not installed.
    ValueError
        If Keras is set up to compute with something else.
    """
    try:
        import tensorflow  # noqa: F401
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"A comparison with Keras needs {error.name}, which is missing. To install it: "
            'pip install "skscratch[compare]"',
            name=error.name,
        ) from error
    import keras

    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            "The comparison is with Keras on TensorFlow. Set the environment variable "
            f"KERAS_BACKEND to tensorflow, not {keras.backend.backend()}."
        )
    return keras


@dataclass(frozen=True)
class Mark:
    """The state of a training after some epochs.

    Parameters
    ----------
    epoch : int
        How many.
    seconds : float
        Time of the training so far.
    train_mse, test_mse : float
        Mean squared errors over all images and pixels.
    """

    epoch: int
    seconds: float
    train_mse: float
    test_mse: float


@dataclass(frozen=True, eq=False)
class Trained:
    """An autoencoder after training.

    Parameters
    ----------
    network : skscratch.core.Network
        The trained network; what Keras trained, too, is kept as one of ours.
    n_encoder : int
        How many of its layers are the encoder.
    losses, seconds : tuple of float
        Training loss of each epoch, and the time until its end.
    marks : tuple of Mark
        The errors after the epochs that were asked for.
    """

    network: Network = field(repr=False)
    n_encoder: int
    losses: tuple[float, ...] = field(repr=False)
    seconds: tuple[float, ...] = field(repr=False)
    marks: tuple[Mark, ...]

    def encode(self, X: Array) -> Array:
        """Return the latent features of some images.

        Parameters
        ----------
        X : ndarray of shape (n_images, n_pixels)
            The images.

        Returns
        -------
        ndarray of shape (n_images, n_components)
            Their latent features.
        """
        return self.network.part(0, self.n_encoder)(X)


def make_autoencoder(training: Training, n_pixels: int, seed: int) -> tuple[Network, int]:
    """Build an autoencoder with fresh weights, and count the layers of its encoder.

    Parameters
    ----------
    training : Training
        Its shape.
    n_pixels : int
        Its input and output.
    seed : int
        Seed of the weights.

    Returns
    -------
    network : skscratch.core.Network
        In single precision, as Keras computes.
    n_encoder : int
        How many layers the encoder has.
    """

    def dense(width: int) -> Dense:
        return Dense(width, GlorotUniform(), Zeros())

    def hidden(widths: Sequence[int]) -> list[Layer]:
        return [layer for width in widths for layer in (dense(width), ReLU())]

    sizes = training.hidden_layer_sizes
    encoder = [*hidden(sizes), dense(training.n_components)]
    layers = [*encoder, *hidden(sizes[::-1]), dense(n_pixels), Sigmoid()]
    return Network(layers, n_pixels, np.float32, rng=seed), len(encoder)


class SkscratchTraining:
    """A training in this library, some epochs at a time.

    Parameters
    ----------
    network : skscratch.core.Network
        What to train, in place.
    training : Training
        How to train it.
    X : ndarray of shape (n_images, n_pixels)
        The training images.
    seed : int
        Seed of the order of the rows.
    n_jobs : int or None
        Number of threads; None takes all cores, as TensorFlow does.
    """

    def __init__(
        self, network: Network, training: Training, X: Array, seed: int, n_jobs: int | None
    ) -> None:
        self.network, self.training, self.X, self.seed = network, training, X, seed
        self.n_threads = joblib.effective_n_jobs(-1 if n_jobs is None else n_jobs)
        self.state: TrainingState | None = None

    def train(self, n_epochs: int, on_epoch: Callable[[float], None]) -> None:
        """Train for some more epochs.

        Parameters
        ----------
        n_epochs : int
            How many.
        on_epoch : callable
            Called with the loss of each.
        """
        run = train(
            # The loss is the mean over all pixels, as Keras has it.
            Objective(self.network, SquaredError(), scale=1 / self.network.n_out),
            self.X,
            self.X,
            optimizer=SOLVERS[self.training.solver],
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
        """Return the network as it stands.

        Returns
        -------
        skscratch.core.Network
            The network.
        """
        return self.network


class KerasTraining:
    """The same training in Keras, some epochs at a time.

    Parameters
    ----------
    network : skscratch.core.Network
        The initial weights.
    training : Training
        How to train them.
    X : ndarray of shape (n_images, n_pixels)
        The training images.
    seed : int
        Seed of the order of the rows.
    """

    def __init__(self, network: Network, training: Training, X: Array, seed: int) -> None:
        import tensorflow as tf

        self.keras, self.tf = import_keras(), tf
        self.rows, self.batch_size = tf.constant(X), min(training.batch_size, len(X))
        self.rng, self.n_epochs = np.random.default_rng(seed), 0
        self.model = to_keras(network)
        constants = {} if training.solver == "sgd" else {"epsilon": Adam().epsilon}
        kinds = {"sgd": self.keras.optimizers.SGD, "adam": self.keras.optimizers.Adam}
        self.model.compile(kinds[training.solver](training.learning_rate, **constants), "mse")
        warm_up(self.model, self._batches([np.arange(len(X))]), 1)

    @property
    def n_batches(self) -> int:
        """Number of batches in an epoch."""
        return -(-len(self.rows) // self.batch_size)

    def _batches(self, orders: list[Array]) -> Any:
        """Return the batches of some epochs, the rows of each in an order of its own.

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
        """Train for some more epochs.

        Parameters
        ----------
        n_epochs : int
            How many.
        on_epoch : callable
            Called with the loss of each.
        """
        report = self.keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: on_epoch(float(logs["loss"]))
        )
        # The orders that `train` of this library draws from the same seed.
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
        """Return what was trained, as a network of this library.

        Returns
        -------
        skscratch.core.Network
            The network.
        """
        return from_keras(self.model)


def warm_up(model: Any, batches: Any, n_steps: int) -> None:
    """Let Keras compile its training step, and put everything back as it was.

    Parameters
    ----------
    model : keras.Model
        A compiled model.
    batches : tf.data.Dataset
        What it will be trained on.
    n_steps : int
        Steps to take.
    """
    model.optimizer.build(model.trainable_variables)
    variables = [*model.trainable_variables, *model.optimizer.variables]
    before = [variable.numpy() for variable in variables]
    model.fit(batches, steps_per_epoch=n_steps, shuffle=False, verbose=0)
    for variable, value in zip(variables, before, strict=True):
        variable.assign(value)


def run_training(
    side: str,
    training: Training,
    images: Images,
    *,
    seed: int,
    n_jobs: int | None = None,
    on_epoch: OnEpoch | None = None,
) -> Trained:
    """Train an autoencoder on one of the two sides, and measure it.

    Parameters
    ----------
    side : {'ours', 'keras'}
        Where to train it.
    training : Training
        How.
    images : Images
        Training and test images.
    seed : int
        Seed of the initial weights and of the order of the rows.
    n_jobs : int or None, default=None
        Number of threads here; None takes all cores.
    on_epoch : callable, default=None
        Called with a line about each epoch.

    Returns
    -------
    Trained
        The trained autoencoder and its figures.

    Examples
    --------
    >>> from skscratch.datasets import load_digits
    >>> from skscratch.experiments.contest import run_training
    >>> from skscratch.experiments.plan import Training
    >>> training = Training((32,), 8, "adam", 1e-3, 32, (1, 2))
    >>> result = run_training("ours", training, load_digits(), seed=0)
    >>> [mark.epoch for mark in result.marks], len(result.losses)
    ([1, 2], 2)
    """
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
    """Measure an autoencoder on all images.

    Parameters
    ----------
    network : skscratch.core.Network
        The autoencoder.
    images : Images
        Training and test images.
    epoch : int
        Epochs it was trained.
    seconds : float
        How long that took.

    Returns
    -------
    Mark
        The errors.
    """
    train_mse, test_mse = (
        mean_squared_error(X, network(X)) for X in (images.X_train, images.X_test)
    )
    return Mark(epoch, seconds, train_mse, test_mse)


# The exclusive or.

# Steps that Keras runs in one call, without going back to Python; and epochs to a point of a curve.
STRIDE = 500


@dataclass(frozen=True)
class XorReading:
    """The exclusive or after some epochs.

    Parameters
    ----------
    epochs : int
        How many.
    seconds : float
        Time of the training so far.
    loss : float
        Mean squared error of the outputs.
    outputs : tuple of float
        Outputs for (0, 0), (0, 1), (1, 0) and (1, 1).
    """

    epochs: int
    seconds: float
    loss: float
    outputs: tuple[float, ...]

    @property
    def largest_error(self) -> float:
        """The largest distance of an output from its target."""
        _, y = load_xor()
        return float(np.abs(np.array(self.outputs) - y.ravel()).max())


@dataclass(frozen=True)
class XorRun:
    """A training of the exclusive or.

    Parameters
    ----------
    readings : tuple of XorReading
        What was read, in order.
    stride : int
        Epochs to a point of the curve.
    curve : tuple of float
        Mean loss of so many epochs each.
    """

    readings: tuple[XorReading, ...]
    stride: int
    curve: tuple[float, ...] = field(repr=False)


def run_xor_on(side: str, network: Network, rate: float, epochs: Sequence[int]) -> XorRun:
    """Train a network of the exclusive or by gradient descent on all four points at once.

    Parameters
    ----------
    side : {'ours', 'keras'}
        Where to train it.
    network : skscratch.core.Network
        The network. Here it is trained in place; Keras gets a copy.
    rate : float
        The learning rate.
    epochs : sequence of int
        When to read the outputs, rising.

    Returns
    -------
    XorRun
        The readings and the curve.

    Examples
    --------
    >>> from skscratch.experiments.contest import run_xor_on
    >>> from skscratch.experiments.xor import make_network
    >>> run = run_xor_on("ours", make_network(0), 0.5, (500, 1000, 5000))
    >>> run.stride, len(run.curve), run.readings[-1].largest_error < 0.03
    (500, 10, True)
    """
    stride = math.gcd(*epochs, STRIDE)
    advance, outputs = (
        _xor_here(network, rate) if side == "ours" else _xor_in_keras(network, rate, stride)
    )
    _, y = load_xor()
    readings: list[XorReading] = []
    losses: list[float] = []
    seconds, done = 0.0, 0
    for mark in epochs:
        started = time.perf_counter()
        losses += advance(mark - done)
        seconds += time.perf_counter() - started
        done, now = mark, outputs()
        loss = mean_squared_error(now, y)
        readings.append(XorReading(mark, seconds, loss, tuple(now.ravel().tolist())))
    # Keras has returned means over the stride; here there is a loss for each epoch.
    curve = np.reshape(losses, (done // stride, -1)).mean(axis=1)
    return XorRun(tuple(readings), stride, tuple(curve.tolist()))


Advance = Callable[[int], list[float]]
Outputs = Callable[[], Array]


def _xor_here(network: Network, rate: float) -> tuple[Advance, Outputs]:
    X, y = load_xor()
    objective, state = Objective(network, SquaredError()), None

    def advance(n_epochs: int) -> list[float]:
        nonlocal state
        run = train(
            objective,
            X,
            y,
            schedule=Constant(rate),
            batch_size=len(X),
            max_epochs=n_epochs,
            state=state,
        )
        state = run.state
        return run.losses

    return advance, lambda: network(X)


def _xor_in_keras(network: Network, rate: float, stride: int) -> tuple[Advance, Outputs]:
    import tensorflow as tf

    keras = import_keras()
    model = to_keras(network)
    X, y = (tf.constant(array) for array in load_xor())
    batches = tf.data.Dataset.from_tensors((X, y)).repeat()
    model.compile(keras.optimizers.SGD(rate), "mse", steps_per_execution=stride)
    warm_up(model, batches, stride)

    def advance(n_epochs: int) -> list[float]:
        history = model.fit(
            batches,
            steps_per_epoch=stride,
            epochs=n_epochs // stride,
            shuffle=False,
            verbose=0,
        )
        return list(history.history["loss"])

    return advance, lambda: model(X).numpy()


def plain_keras_epoch(network: Network, rate: float, n_epochs: int) -> float:
    """Time an epoch of the exclusive or by the plain call of ``fit`` on arrays.

    Parameters
    ----------
    network : skscratch.core.Network
        The initial weights; they are not changed.
    rate : float
        The learning rate.
    n_epochs : int
        Epochs to time.

    Returns
    -------
    float
        Seconds for one.
    """
    keras = import_keras()
    model = to_keras(network)
    X, y = load_xor()
    model.compile(keras.optimizers.SGD(rate), "mse")
    model.fit(X, y, batch_size=len(X), verbose=0)
    started = time.perf_counter()
    model.fit(X, y, batch_size=len(X), epochs=n_epochs, verbose=0)
    return (time.perf_counter() - started) / n_epochs
