"""What a comparison with Keras runs, for which images.

Every autoencoder of the reports is trained on few images and on all. The recipes called best are
those that were found to reconstruct best, and to be separated best by a linear classifier.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from skscratch.images import RandomWarp

PARTS = ("gradients", "xor", "autoencoder", "latent")


@dataclass(frozen=True)
class Training:
    """The training of an autoencoder as the reports describe it: the same in both libraries.

    Parameters
    ----------
    hidden_layer_sizes : tuple of int
        Widths of the encoder's hidden layers, with ReLU behind each; the decoder mirrors them.
    n_components : int
        Width of the latent layer, which is linear.
    solver : {'sgd', 'adam'}
        The optimizer; 'sgd' has no momentum.
    learning_rate : float
        Its constant learning rate.
    batch_size : int
        Rows in a batch.
    marks : tuple of int
        Epochs after which the errors are read; the last one is the end.
    """

    hidden_layer_sizes: tuple[int, ...]
    n_components: int
    solver: str
    learning_rate: float
    batch_size: int
    marks: tuple[int, ...]


@dataclass(frozen=True)
class Plan:
    """The choices of a comparison.

    Parameters
    ----------
    shapes : mapping
        Name -> Training, of the reports' autoencoders.
    best : mapping
        Name of a shape and of a size, as in "deep_full" -> parameters of the
        AutoencoderTransformer with as many latent features that rebuilds images best.
    separable : mapping
        "small" and "full" -> parameters of the one whose features a linear classifier separates
        best.
    small : tuple of (int, int)
        Training and test images of the small runs.
    svm, rbf, nystroem : mapping
        Parameters of LinearSVM, SVC and Nystroem.
    n_rbf : int
        Training images for the SVC at most.
    xor_epochs : tuple of int, default=(5000, 8000, 50000)
        Epochs after which the exclusive or is read.
    xor_rates : tuple of (float, float), default=(0.5, 4.0)
        Its learning rates: as in the reports, and at our best.
    n_plain : int, default=100
        Epochs of the exclusive or for timing a plain ``fit`` in Keras.
    pairs : bool, default=True
        Whether the gradient check covers pairs of layers.
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

TOLD_APART = {
    "n_components": 16,
    "hidden_layer_sizes": (48, 32, 24),
    "noise": RandomWarp((8, 8), rotation=5.0, shift=0.5, noise=0.1),
    "batch_size": 32,
    "max_iter": 40,
}

DIGITS = Plan(
    shapes={
        "narrow": Training((32, 16), 8, "sgd", 0.5, 32, (75,)),
        "deep": Training((48, 32, 24), 16, "adam", 1e-3, 256, (20, 40)),
    },
    best={
        "narrow_small": SHARP | NARROW | {"batch_size": 32, "max_iter": 75},
        "narrow_full": SHARP | NARROW | {"batch_size": 32, "max_iter": 75},
        "deep_small": SHARP | DEEP | {"batch_size": 32, "max_iter": 40},
        "deep_full": SHARP | DEEP | {"batch_size": 32, "max_iter": 20},
    },
    separable={"small": TOLD_APART, "full": TOLD_APART},
    small=(500, 100),
    svm={"C": 1.0},
    rbf={"C": 10.0},
    nystroem={"n_components": 200},
    n_rbf=20_000,
)

WIDE = {"n_components": 32, "hidden_layer_sizes": (512, 256)}
DEEPER = {"n_components": 64, "hidden_layer_sizes": (512, 256, 128)}

MNIST = Plan(
    shapes={
        "narrow": Training((128, 64), 32, "sgd", 0.5, 32, (75,)),
        "deep": Training((512, 256, 128), 64, "adam", 1e-3, 256, (20, 40)),
    },
    best={
        "narrow_small": SHARP | WIDE | {"batch_size": 64, "max_iter": 75},
        "narrow_full": SHARP | WIDE | {"max_iter": 20},
        "deep_small": SHARP | DEEPER | {"batch_size": 64, "max_iter": 40},
        "deep_full": SHARP | DEEPER | {"max_iter": 20},
    },
    separable={
        "small": {
            "n_components": 32,
            "hidden_layer_sizes": (128, 64),
            "noise": RandomWarp((28, 28), noise=0.3),
            "batch_size": 32,
            "max_iter": 75,
        },
        "full": {
            "n_components": 64,
            "hidden_layer_sizes": (512, 256, 128),
            "noise": RandomWarp((28, 28), noise=0.3),
            "max_iter": 20,
        },
    },
    small=(5_000, 1_000),
    svm={"C": 1.0},
    # With more room for kernel rows the solver is faster; the solution is the same.
    rbf={"C": 10.0, "cache_size": 1_000},
    nystroem={"n_components": 1_000},
    n_rbf=60_000,
)

PLANS = {"digits": DIGITS, "mnist": MNIST}


def plan_for(name: str) -> Plan:
    """Return the plan for images of that name.

    Parameters
    ----------
    name : str
        The name of an `Images` object.

    Returns
    -------
    Plan
        That of the name, or the digits' for a name that is not known.

    Examples
    --------
    >>> from skscratch.experiments import plan_for
    >>> plan_for("mnist").shapes["deep"].n_components
    64
    """
    return PLANS.get(name, DIGITS)
