"""What an autoencoder with 64 latent features reaches on MNIST, recipe by recipe.

    python -m benchmarks autoencoder --mnist-dir DIR --out DIR [--only NAME …] [--seeds 0 1 2]

Each recipe is trained on all 60,000 images without a label, once for each seed, and judged on the
10,000 test images. The recipes were chosen on 5,000 images held out of the training set. A finished
part is kept in the output folder and not run again. In the end there are ``autoencoder.json`` and
``autoencoder.md``. A claim made of these figures is false if another run with these seeds prints
others.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from benchmarks import protocol
from benchmarks.streaming import memory_by_rows
from skscratch import AutoencoderTransformer, LinearSVM, MLPClassifier
from skscratch.datasets import Images, load_mnist
from skscratch.experiments import settings
from skscratch.experiments.store import Store
from skscratch.images import RandomWarp

SEEDS = (0, 1, 2)
# The encoder of the main job.
DEEP = dict(settings.MNIST.encoder)
# Weights are tied by default. These were found with weights of their own in the decoder.
UNTIED = DEEP | {"tied_weights": False}
SHARP = UNTIED | {
    "activation": "elu",
    "initializer": "lecun_normal",
    "loss": "auto",
    "learning_rate_init": 3e-3,
}
SEPARABLE = UNTIED | {"loss": "auto", "learning_rate_init": 1.5e-3}
WARPED = SEPARABLE | {"noise": RandomWarp((28, 28), noise=0.3)}
FINE_TUNING = {
    "hidden_layer_sizes": (),
    "learning_rate": "one_cycle",
    "learning_rate_init": 2e-3,
    "batch_size": 128,
    "max_iter": 20,
    "label_smoothing": 0.05,
}


@dataclass(frozen=True)
class Recipe:
    """Settings of one encoder; a later phase goes on from the weights of the one before."""

    description: str
    phases: tuple[dict[str, Any], ...]
    kernel: bool = False
    fine_tuning: dict[str, Any] | None = None


RECIPES = {
    "defaults": Recipe("nothing tuned", (DEEP,)),
    "sharp": Recipe("for reconstruction, 20 epochs", (SHARP,), kernel=True),
    "sharper": Recipe("for reconstruction, 40 epochs", (SHARP | {"max_iter": 40},)),
    "shallow": Recipe(
        "784–512–64–512–784, 40 epochs",
        (
            UNTIED
            | {
                "hidden_layer_sizes": (512,),
                "initializer": "he_normal",
                "loss": "auto",
                "learning_rate_init": 3e-3,
                "max_iter": 40,
            },
        ),
    ),
    "separable": Recipe("for a linear classifier", (SEPARABLE,), fine_tuning=FINE_TUNING),
    "warped": Recipe(
        "for a linear classifier, inputs warped, 40 epochs",
        (WARPED | {"max_iter": 40},),
        fine_tuning=FINE_TUNING | {"noise": RandomWarp((28, 28)), "max_iter": 40},
    ),
    "both": Recipe(
        "20 epochs with inputs warped, then 20 as they are",
        (WARPED, {"noise": None, "learning_rate_init": 3e-3}),
    ),
}


def measure(recipe: Recipe, images: Images, seed: int) -> dict[str, float]:
    """Train one encoder, and return what it reaches on the test images."""
    encoder = AutoencoderTransformer(random_state=seed, warm_start=True)
    for phase in recipe.phases:
        encoder.set_params(**phase).fit(images.X_train)
    rebuilt = encoder.reconstruct(images.X_test)
    latent, latent_test = (encoder.transform(X) for X in (images.X_train, images.X_test))

    def accuracy(classifier: Any) -> float:
        model = make_pipeline(StandardScaler(), classifier).fit(latent, images.y_train)
        return float(model.score(latent_test, images.y_test))

    figures = {
        "mse": float(np.mean((rebuilt - images.X_test) ** 2, dtype=np.float64)),
        "linear": accuracy(LinearSVM()),
    }
    if recipe.kernel:
        figures["kernel"] = accuracy(SVC(**settings.MNIST.rbf, gamma=1 / 64))
    if recipe.fine_tuning is not None:
        classifier = MLPClassifier(
            pretrained=encoder.encoder_, random_state=seed, **recipe.fine_tuning
        )
        classifier.fit(images.X_train, images.y_train)
        figures["fine_tuned"] = float(classifier.score(images.X_test, images.y_test))
    return figures


def against_pca(seed: int) -> dict[str, dict[str, float]]:
    """Return test errors on scikit-learn's digits, ours and PCA's, by number of components."""
    X_train, X_test = train_test_split(load_digits().data / 16, random_state=seed)
    errors = {}
    for n_components in (4, 8, 16, 32):
        pca = PCA(n_components, random_state=seed).fit(X_train)
        linear = pca.inverse_transform(pca.transform(X_test))
        encoder = AutoencoderTransformer(
            n_components,
            (128,),
            activation="silu",
            initializer="he_normal",
            learning_rate_init=0.01,
            tied_weights=False,
            batch_size=32,
            max_iter=100,
            random_state=seed,
        )
        encoder.fit(X_train)
        errors[str(n_components)] = {
            "ours": -encoder.score(X_test),
            "pca": float(np.mean((linear - X_test) ** 2)),
        }
    return errors


def anomalies(images: Images, seed: int) -> dict[str, dict[str, float]]:
    """Return the areas under the ROC curve, ours and PCA's, for each digit left out of training.

    Errors are taken as they are, and relative to the mean square of the image: a thin 1 has little
    that could go wrong, whether it is known or not.
    """
    areas = {}
    size = np.mean(images.X_test**2, axis=1)
    for digit in range(10):
        known = images.X_train[images.y_train != digit]
        strange = images.y_test == digit
        encoder = AutoencoderTransformer(
            16,
            (128,),
            initializer="he_normal",
            learning_rate_init=5e-3,
            tied_weights=False,
            max_iter=5,
            random_state=seed,
        )
        ours = -encoder.fit(known).score_samples(images.X_test)
        pca = PCA(16, random_state=seed).fit(known)
        linear = pca.inverse_transform(pca.transform(images.X_test))
        theirs = np.mean((linear - images.X_test) ** 2, axis=1)
        errors = {
            "ours": ours,
            "pca": theirs,
            "ours, relative": ours / size,
            "pca, relative": theirs / size,
        }
        areas[str(digit)] = {
            name: float(roc_auc_score(strange, error)) for name, error in errors.items()
        }
    return areas


def report(results: dict[str, Any]) -> str:
    """Render all figures as Markdown."""
    lines = [
        "| recipe | test MSE | LinearSVM | SVC, RBF | fine-tuned |",
        "|---|---|---|---|---|",
    ]
    for name, runs in results["recipes"].items():
        columns = [
            _spread([run.get(figure) for run in runs], form)
            for figure, form in (
                ("mse", "{:.5f}"),
                ("linear", "{:.2%}"),
                ("kernel", "{:.2%}"),
                ("fine_tuned", "{:.2%}"),
            )
        ]
        lines.append(f"| {name}: {RECIPES[name].description} | {' | '.join(columns)} |")
    names = {"ours": "autoencoder", "pca": "PCA"}
    for title, key, name, form in (
        ("Digits: components", "pca", "test MSE", "{:.5f}"),
        ("Digit left out", "anomalies", "ROC AUC", "{:.3f}"),
    ):
        if key in results:
            runs = results[key]
            columns = list(next(iter(runs[0].values())))
            heads = [
                f"{names[who]}, {name}{' of the relative error' if relative else ''}"
                for who, _, relative in (column.partition(", ") for column in columns)
            ]
            lines += ["", f"| {title} | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
            for row in runs[0]:
                cells = [_spread([run[row][column] for run in runs], form) for column in columns]
                lines.append(f"| {row} | {' | '.join(cells)} |")
    if "memory" in results:
        lines += ["", "| rows | peak memory of one epoch by `partial_fit` |", "|---|---|"]
        for times, peak in results["memory"].items():
            lines.append(f"| {int(times) * 60_000:,} | {peak:.0f} MiB |")
    facts = protocol.format_facts(results["facts"])
    seeds = ", ".join(map(str, results["seeds"]))
    lines += ["", f"Mean over the seeds {seeds}, and the range. {facts}."]
    return "\n".join(lines) + "\n"


def _spread(values: Iterable[float | None], form: str) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    mean = form.format(statistics.fmean(known))
    if len(known) == 1:
        return mean
    return f"{mean} ({form.format(min(known))} to {form.format(max(known))})"


def main(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> None:
    """Run the command line."""
    parts = [*RECIPES, "pca", "anomalies", "memory"]
    parser.add_argument("--mnist-dir", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", nargs="+", choices=parts, default=parts)
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    options = parser.parse_args(arguments)
    images = load_mnist(options.mnist_dir)
    store = Store.resume(options.out / "autoencoder", protocol.MARK, note=print)

    def part(name: str, compute: Callable[[], Any], settings: str = "") -> Any:
        figures = store.part(name, compute, settings)
        print(f"{name}: {json.dumps(figures)}", flush=True)
        return figures

    def each_seed(name: str, compute: Callable[[int], Any], settings: str = "") -> list[Any]:
        return [part(f"{name}-{seed}", partial(compute, seed), settings) for seed in options.seeds]

    results: dict[str, Any] = {
        "seeds": options.seeds,
        "facts": protocol.facts(),
        "recipes": {
            name: each_seed(name, partial(measure, recipe, images), str(recipe))
            for name, recipe in RECIPES.items()
            if name in options.only
        },
    }
    if "pca" in options.only:
        results["pca"] = each_seed("pca", against_pca)
    if "anomalies" in options.only:
        results["anomalies"] = each_seed("anomalies", partial(anomalies, images))
    if "memory" in options.only:
        results["memory"] = part("memory", partial(memory_by_rows, images, options.out))
    (options.out / "autoencoder.json").write_text(json.dumps(results, indent=1), encoding="utf-8")
    text = report(results)
    (options.out / "autoencoder.md").write_text(text, encoding="utf-8")
    print(text)
