"""The figures that the five student reports published, and where ours are that belong to them.

A report that gives no figure of a kind has no row of that kind. If a report does not give all its
settings, the nearest ones of the other reports are used, and the page says so.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from skscratch.experiments.latent import RBF

Kind = Literal["scientific", "error", "percent", "seconds", "three"]
Place = tuple[str | int, ...]


@dataclass(frozen=True)
class Published:
    """One figure of one report, and the places of ours among the figures of a run.

    `keras` is what the report gives for Keras, or None; `kind` is how to write the figure; `higher`
    is whether more is better. `ours`, `best` and `rival` are the places of the figures at the
    report's settings, at our best, and of Keras; an empty tuple if there is none.
    """

    part: str
    what: str
    report: int
    figure: float
    keras: float | None
    kind: Kind
    higher: bool
    ours: Place
    best: Place
    rival: Place

    def row(self, metrics: dict[str, Any]) -> dict[str, Any]:
        """Return the figure as a row of the table, with ours and Keras', for JSON."""
        ours, best, rival = (_found(metrics, p) for p in (self.ours, self.best, self.rival))
        reached = [value for value in (ours, best) if value is not None]
        sign = 1 if self.higher else -1
        return asdict(self) | {
            "ours": ours,
            "best": best,
            "rival": rival,
            "ours_met": ours is None or sign * ours >= sign * self.figure,
            "met": max(sign * value for value in reached)
            >= max(sign * value for value in (self.figure, self.keras) if value is not None),
        }


def _found(metrics: dict[str, Any], place: Place) -> float | None:
    value: Any = metrics
    for name in place:
        value = value[name]
    return float(value) if place else None


def _xor(what: str, report: int, figure: float, reading: int, name: str) -> Published:
    ours, best, rival = (("xor", side, reading, name) for side in ("ours", "best", "keras"))
    kind: Kind = "scientific" if name == "loss" else "three"
    return Published("xor", what, report, figure, None, kind, False, ours, best, rival)


def _trained(
    what: str,
    report: int,
    figure: float,
    keras: float | None,
    run: str,
    name: str,
) -> Published:
    # A wide autoencoder is read after 20 epochs first, as in the report.
    ours, best, rival = (("autoencoder", run, side) for side in ("ours", "best", "keras"))
    return Published(
        "autoencoder",
        what,
        report,
        figure,
        keras,
        "seconds" if name == "seconds" else "error",
        False,
        (*ours, "marks", 0, name),
        (*best, "marks", 0, name),
        (*rival, "marks", 0, name),
    )


def _classified(
    what: str, report: int, figure: float, run: str, classifier: str, best: str
) -> Published:
    return Published(
        "latent",
        what,
        report,
        figure,
        None,
        "percent",
        True,
        ("latent", f"{run}_ours", "test_accuracy", classifier),
        ("latent", f"{best}_best", "test_accuracy", classifier),
        ("latent", f"{run}_keras", "test_accuracy", classifier),
    )


DIFFERENCE = "gradient check, largest difference"
LARGEST = ("gradients", "largest_difference")
PUBLISHED = (
    Published(
        "gradients", DIFFERENCE, 0, 3.96e-13, None, "scientific", False, LARGEST, LARGEST, ()
    ),
    Published(
        "gradients", DIFFERENCE, 1, 2.98e-12, None, "scientific", False, LARGEST, LARGEST, ()
    ),
    _xor("XOR, loss after 8,000 epochs", 1, 9.99e-4, 1, "loss"),
    _xor("XOR, largest error of an output after 5,000 epochs", 2, 0.046, 0, "largest_error"),
    _xor("XOR, largest error of an output after 50,000 epochs", 3, 0.013, 2, "largest_error"),
    Published(
        "xor",
        "XOR, time of 50,000 epochs",
        3,
        1.0,
        342.0,
        "seconds",
        False,
        ("xor", "ours", 2, "seconds"),
        (),
        ("xor", "keras", 2, "seconds"),
    ),
    _trained(
        "autoencoder, few images, training MSE", 0, 0.0154, 0.0053,
        "narrow_small", "train_mse",
    ),
    _trained(
        "autoencoder, few images, training time", 0, 24.8 * 60, 11.4 * 60,
        "narrow_small", "seconds",
    ),
    _trained(
        "autoencoder, wide latent layer, training MSE", 1, 0.025, None,
        "deep_full", "train_mse",
    ),
    _trained(
        "autoencoder, wide latent layer, test MSE", 1, 0.025, None,
        "deep_full", "test_mse",
    ),
    _trained(
        "autoencoder, wide latent layer, 20 epochs, training MSE", 2, 0.0227, 0.0037,
        "deep_full", "train_mse",
    ),
    _trained(
        "autoencoder, narrow latent layer, 75 epochs, training MSE", 3, 0.0226, 0.0185,
        "narrow_full", "train_mse",
    ),
    _trained(
        "autoencoder, narrow latent layer, 75 epochs, training time", 3, 137.0, 95.0,
        "narrow_full", "seconds",
    ),
    _classified(
        "linear SVM on latent features, few images, accuracy", 0, 0.883,
        "narrow_small", "LinearSVM", "separable_small",
    ),
    _classified(
        "linear SVM on latent features, accuracy", 1, 0.9537,
        "deep_full", "LinearSVM", "separable_full",
    ),
    _classified(
        "SVM on latent features, accuracy", 2, 0.9843,
        "deep_full", RBF, "deep_full",
    ),
    _classified(
        "RBF SVM on narrow latent features, accuracy", 3, 0.90,
        "narrow_full", RBF, "narrow_full",
    ),
)  # fmt: skip
