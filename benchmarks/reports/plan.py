"""What the comparison with the student reports runs, for which images.

Every autoencoder of the reports is trained on few images and on all. The recipes called best
reconstruct best, those called separable are separated best by a linear classifier.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from skscratch.experiments import settings
from skscratch.images import RandomWarp

PARTS = ("gradients", "xor", "autoencoder", "latent")


@dataclass(frozen=True)
class Training:
    """The training of an autoencoder as the reports describe it: the same in both libraries.

    A ReLU is behind each hidden layer, the latent layer is linear, and the decoder mirrors the
    encoder. The solver "sgd" has no momentum. The errors are read after the epochs in `marks`, of
    which the last is the end.
    """

    hidden_layer_sizes: tuple[int, ...]
    n_components: int
    solver: str
    learning_rate: float
    batch_size: int
    marks: tuple[int, ...]

    @property
    def shape(self) -> dict[str, Any]:
        """The parameters of an AutoencoderTransformer of the same widths."""
        return {
            "n_components": self.n_components,
            "hidden_layer_sizes": self.hidden_layer_sizes,
        }


@dataclass(frozen=True)
class Plan:
    """The choices of a comparison.

    The keys of `best` name a shape and a size, as in "deep_full", those of `separable` a size. Both
    have parameters of the AutoencoderTransformer as values. `small` are the training and test
    images of the small runs; `svm`, `rbf` and `nystroem` the parameters of LinearSVM, SVC and
    Nystroem; `n_rbf` the training images for the SVC at most. The exclusive or is read after
    `xor_epochs`; its learning rates are that of the reports, and our best. `n_plain` are its epochs
    for timing a plain ``fit`` in Keras. `pairs`: whether the gradient check covers pairs of layers.
    """

    shapes: Mapping[str, Training]
    best: Mapping[str, Mapping[str, Any]]
    separable: Mapping[str, Mapping[str, Any]]
    small: tuple[int, int]
    svm: Mapping[str, Any]
    rbf: Mapping[str, Any]
    nystroem: Mapping[str, Any]
    n_rbf: int
    xor_epochs: tuple[int, ...] = (5_000, 8_000, 50_000)
    xor_rates: tuple[float, float] = (0.5, 4.0)
    n_plain: int = 100
    pairs: bool = True


SHARP = {
    "activation": "silu",
    "initializer": "lecun_normal",
    "loss": "auto",
    "learning_rate_init": 4e-3,
    "tied_weights": False,
}

NARROW = {"n_components": 8, "hidden_layer_sizes": (128,)}
DEEP = {"n_components": 16, "hidden_layer_sizes": (128,)}

DIGITS_SHAPES = {
    "narrow": Training((32, 16), 8, "sgd", 0.5, 32, (75,)),
    "deep": Training((48, 32, 24), 16, "adam", 1e-3, 256, (20, 40)),
}
SEPARABLE = DIGITS_SHAPES["deep"].shape | {
    "noise": RandomWarp((8, 8), rotation=5.0, shift=0.5, noise=0.1),
    "batch_size": 32,
    "max_iter": 40,
}

DIGITS = Plan(
    shapes=DIGITS_SHAPES,
    best={
        "narrow_small": SHARP | NARROW | {"batch_size": 32, "max_iter": 75},
        "narrow_full": SHARP | NARROW | {"batch_size": 32, "max_iter": 75},
        "deep_small": SHARP | DEEP | {"batch_size": 32, "max_iter": 40},
        "deep_full": SHARP | DEEP | {"batch_size": 32, "max_iter": 20},
    },
    separable={"small": SEPARABLE, "full": SEPARABLE},
    small=(500, 100),
    svm=settings.DIGITS.svm,
    rbf=settings.DIGITS.rbf,
    nystroem={"n_components": 200},
    n_rbf=settings.DIGITS.n_rbf,
)

WIDE = {"n_components": 32, "hidden_layer_sizes": (512, 256)}
MNIST_SHAPES = {
    "narrow": Training((128, 64), 32, "sgd", 0.5, 32, (75,)),
    "deep": Training(
        settings.MNIST.encoder["hidden_layer_sizes"],
        settings.MNIST.encoder["n_components"],
        "adam",
        1e-3,
        256,
        (20, 40),
    ),
}
DEEPER = MNIST_SHAPES["deep"].shape

MNIST = Plan(
    shapes=MNIST_SHAPES,
    best={
        "narrow_small": SHARP | WIDE | {"batch_size": 64, "max_iter": 75},
        "narrow_full": SHARP | WIDE | {"max_iter": 20},
        "deep_small": SHARP | DEEPER | {"batch_size": 64, "max_iter": 40},
        "deep_full": SHARP | DEEPER | {"max_iter": 20},
    },
    separable={
        "small": MNIST_SHAPES["narrow"].shape
        | {
            "noise": RandomWarp((28, 28), noise=0.3),
            "batch_size": 32,
            "max_iter": 75,
        },
        "full": DEEPER | {"noise": RandomWarp((28, 28), noise=0.3), "max_iter": 20},
    },
    small=(5_000, 1_000),
    svm=settings.MNIST.svm,
    # With more room for kernel rows the solver is faster; the solution is the same.
    rbf={**settings.MNIST.rbf, "cache_size": 1_000},
    nystroem={"n_components": 1_000},
    n_rbf=settings.MNIST.n_rbf,
)

PLANS = {"digits": DIGITS, "mnist": MNIST}


def plan_for(name: str) -> Plan:
    """Return the plan for images of that name, or the digits' for any other."""
    return PLANS.get(name, DIGITS)
