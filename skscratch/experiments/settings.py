"""What the experiments use for which images, in one place.

The digits settings run in seconds, the MNIST settings in minutes, on two cores. Anything that fits
neither name gets the digits settings, which are harmless for images of any size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from skscratch.images import RandomWarp


@dataclass(frozen=True)
class Settings:
    """The choices of one run.

    Parameters
    ----------
    encoder : mapping
        Parameters of the AutoencoderTransformer, chosen for features that can be classified.
    reconstruction : mapping or None
        What a second one does otherwise, which is chosen for a small reconstruction error. None
        trains no second one.
    n_validation : int
        Training images held out from the autoencoder, to choose its best epoch.
    svm : mapping
        Parameters of the LinearSVM.
    rbf : mapping
        Parameters of scikit-learn's SVC with the RBF kernel.
    n_rbf : int
        Training images for that SVC at most: its time grows with their square.
    search_encoder : mapping
        Parameters of the AutoencoderTransformer in the search, besides those searched over.
    search_grid : mapping
        Values to search over.
    n_search : int
        Training images for the search at most.
    n_seeds : int, default=100
        Networks to count for the exclusive or.
    pairs : bool, default=True
        Whether the gradient check covers pairs of layers.
    n_latent : int, default=2000
        Test images in the picture of the latent space at most.
    """

    encoder: Mapping[str, Any]
    reconstruction: Mapping[str, Any] | None
    n_validation: int
    svm: Mapping[str, Any]
    rbf: Mapping[str, Any]
    n_rbf: int
    search_encoder: Mapping[str, Any]
    search_grid: Mapping[str, Any]
    n_search: int
    n_seeds: int = 100
    pairs: bool = True
    n_latent: int = field(default=2000)


DIGITS = Settings(
    # Few images: small rotations and shifts make more of them, and noise keeps the network from
    # learning them by heart.
    encoder={
        "n_components": 16,
        "hidden_layer_sizes": (256, 128),
        "noise": RandomWarp((8, 8), rotation=5.0, shift=0.5, noise=0.3),
        "max_iter": 250,
    },
    reconstruction={"noise": None, "learning_rate_init": 4e-3},
    n_validation=144,
    svm={"C": 1.0},
    rbf={"C": 10.0},
    n_rbf=20_000,
    search_encoder={"hidden_layer_sizes": (128,), "batch_size": 32, "max_iter": 30},
    search_grid={"encoder__n_components": [8, 16, 32], "svm__C": [0.1, 1.0, 10.0]},
    n_search=2000,
)

MNIST = Settings(
    encoder={
        "n_components": 64,
        "hidden_layer_sizes": (512, 256, 128),
        "max_iter": 20,
    },
    # Large initial weights and steps, and a loss that punishes grey where black or white was meant.
    reconstruction={
        "initializer": "he_normal",
        "learning_rate_init": 4e-3,
        "loss": "binary_log_loss",
        "tied_weights": False,
        "max_iter": 16,
    },
    n_validation=5000,
    svm={"C": 1.0},
    rbf={"C": 10.0},
    n_rbf=60_000,
    search_encoder={"hidden_layer_sizes": (256,), "max_iter": 20},
    search_grid={"encoder__n_components": [32, 64], "svm__C": [0.1, 1.0]},
    n_search=3000,
)

SETTINGS = {"digits": DIGITS, "mnist": MNIST}


def settings_for(name: str) -> Settings:
    """Return the settings for images of that name.

    Parameters
    ----------
    name : str
        The name of an `Images` object.

    Returns
    -------
    Settings
        Those of the name, or the digits' for a name that is not known.

    Examples
    --------
    >>> from skscratch.experiments import settings_for
    >>> settings_for("mnist").encoder["n_components"]
    64
    """
    return SETTINGS.get(name, DIGITS)
