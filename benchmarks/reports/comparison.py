"""Every experiment of the reports, in skscratch and in Keras, and a report of them.

A part is one training, or the classifiers on one encoder. Finished parts are kept in the folder, so
a comparison that was stopped goes on where it stopped, and a complete one only writes its report
again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from sklearn.preprocessing import FunctionTransformer

from benchmarks import keras_models
from benchmarks.reports import autoencoders, pictures, xor
from benchmarks.reports.gradients import largest_difference
from benchmarks.reports.listings import LISTINGS, count_lines
from benchmarks.reports.plan import PARTS, Plan, Training, plan_for
from benchmarks.reports.published import PUBLISHED
from skscratch import AutoencoderTransformer
from skscratch.core import Corruption, Network
from skscratch.datasets import Images, subsample
from skscratch.experiments import gradients, latent, page, report
from skscratch.experiments.pictures import save_pictures
from skscratch.experiments.progress import Progress, Stage, report_epochs
from skscratch.experiments.reproduce import Reproduction, check_seed, make_folder
from skscratch.experiments.store import Store, fingerprint
from skscratch.experiments.xor import make_network

SIZES = ("small", "full")
SIDES = ("ours", "keras", "best")
SEPARABLE = tuple(f"separable_{size}" for size in SIZES)
# Parameters of an autoencoder that are in its widths.
SHAPE = ("n_components", "hidden_layer_sizes")

Figures = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Encoder:
    """A trained autoencoder: its network, the layers of its encoder, and its figures."""

    network: Network = field(repr=False)
    n_layers: int
    figures: Figures = field(repr=False)

    @property
    def transformer(self) -> FunctionTransformer:
        """The encoder as a step of a pipeline."""
        return FunctionTransformer(self.network.part(0, self.n_layers))


def compare(
    images: Images,
    out: str | os.PathLike[str],
    *,
    only: Iterable[str] | None = None,
    seed: int = 0,
    n_jobs: int | None = None,
    plan: Plan | None = None,
    progress: Progress | None = None,
) -> Reproduction:
    """Run the reports' experiments here and in Keras, and write a report to the folder `out`.

    `only` names the parts to run, None all of them; "latent" trains the autoencoders that it needs.
    Finished parts in the folder are not run again, if data, plan and seed are the same.
    """
    parts = check_parts(PARTS if only is None else only)
    keras_models.import_keras()
    run = _Comparison(
        images,
        make_folder(out),
        parts,
        check_seed(seed),
        n_jobs,
        plan or plan_for(images.name),
        progress or Progress(),
    )
    return run.all()


def check_parts(names: Iterable[str]) -> tuple[str, ...]:
    """Return the parts of a comparison in their order, each once."""
    chosen = list(names)
    unknown = [name for name in chosen if name not in PARTS]
    if unknown or not chosen:
        mistake = f"Unknown: {', '.join(map(repr, unknown))}." if unknown else "None was named."
        raise ValueError(f"The parts of a comparison are {', '.join(PARTS)}. {mistake}")
    return tuple(part for part in PARTS if part in chosen)


class _Comparison:
    """One comparison: each method is one kind of part and returns its figures."""

    def __init__(
        self,
        images: Images,
        folder: Path,
        parts: tuple[str, ...],
        seed: int,
        n_jobs: int | None,
        plan: Plan,
        progress: Progress,
    ) -> None:
        self.folder, self.parts, self.seed, self.n_jobs = folder, parts, seed, n_jobs
        self.plan, self.progress = plan, progress
        n_train, n_test = map(min, plan.small, (len(images.X_train), len(images.X_test)))
        self.images = {"small": subsample(images, n_train, n_test, seed=seed), "full": images}
        self.store = Store.resume(
            folder / "parts", fingerprint(images, plan, seed), note=progress.note
        )
        self.walls: dict[str, float] = {}
        self.encoders: dict[tuple[str, str], Encoder] = {}

    def all(self) -> Reproduction:
        metrics: Figures = {
            "data": report.data_facts(self.images["full"]),
            "small": report.data_facts(self.images["small"]),
            "seed": self.seed,
            "parts": list(self.parts),
            "environment": environment_facts(),
        }
        run = {
            "gradients": self.check_gradients,
            "xor": self.solve_xor,
            "autoencoder": self.train_autoencoders,
            "latent": self.classify_all,
        }
        for part in self.parts:
            metrics[part] = run[part]()
        metrics["listings"] = listing_facts()
        metrics["rows"] = [row.row(metrics) for row in PUBLISHED if row.part in self.parts]
        metrics["total_seconds"] = sum(self.walls.values())
        self.draw(metrics)
        page.write_report(self.folder, metrics, "comparison.md.jinja", "benchmarks.reports")
        return Reproduction(self.folder, metrics)

    # Parts, each kept when it is finished.

    def keep(
        self, name: str, title: str, total: int | None, compute: Callable[[Stage], Figures]
    ) -> Figures:
        """Return the figures of a part, computed now unless they are kept."""

        def timed() -> Figures:
            started = time.perf_counter()
            with self.progress.stage(title, total) as step:
                figures = compute(step)
            return {"figures": figures, "wall": time.perf_counter() - started}

        kept = self.store.part(name, timed, title=title)
        self.walls[name] = kept["wall"]
        figures: Figures = kept["figures"]
        return figures

    def check_gradients(self) -> Figures:
        def compute(step: Stage) -> Figures:
            pairs = self.plan.pairs
            result = gradients.check_gradients(
                seed=self.seed, pairs=pairs, on_check=lambda check: step()
            )
            difference = largest_difference(self.seed)
            facts = report.gradient_facts(result)
            return {"pairs": pairs, "largest_difference": difference, **facts}

        return self.keep("gradients", "Gradient check", None, compute)

    def solve_xor(self) -> Figures:
        rate, fast = self.plan.xor_rates
        epochs, n_plain = self.plan.xor_epochs, self.plan.n_plain

        def compute(step: Stage) -> Figures:
            figures: Figures = {"rates": [rate, fast], "n_plain": n_plain, "curves": {}}
            sides = (("ours", "ours", rate), ("keras", "keras", rate), ("best", "ours", fast))
            for name, side, lr in sides:
                run = xor.run_xor_on(side, make_network(self.seed), lr, epochs)
                figures[name] = [
                    {**asdict(reading), "largest_error": reading.largest_error}
                    for reading in run.readings
                ]
                figures["stride"], figures["curves"][name] = run.stride, list(run.curve)
                step(f"{name}: loss {run.readings[-1].loss:.2e}")
            figures["plain_seconds"] = xor.plain_keras_epoch(make_network(self.seed), rate, n_plain)
            step(f"plain fit in Keras: {1e3 * figures['plain_seconds']:.1f} ms an epoch")
            return figures

        return self.keep("xor", "Exclusive or", 4, compute)

    def train_autoencoders(self) -> Figures:
        return {
            f"{shape}_{size}": {
                **asdict(training),
                "widths": self.widths(training),
                "n_train": len(self.images[size].X_train),
                "n_test": len(self.images[size].X_test),
                **{side: self.encoder(f"{shape}_{size}", side).figures for side in SIDES},
            }
            for shape, training in self.plan.shapes.items()
            for size in SIZES
        } | {run: {"best": self.encoder(run, "best").figures} for run in SEPARABLE}

    def widths(self, training: Training) -> list[int]:
        sizes = [self.images["full"].X_train.shape[1], *training.hidden_layer_sizes]
        return [*sizes, training.n_components, *sizes[::-1]]

    def encoder(self, run: str, side: str) -> Encoder:
        """Return the autoencoder of a run and a side, trained at its first use."""
        if (run, side) not in self.encoders:
            self.encoders[run, side] = self.train_or_read(run, side)
        return self.encoders[run, side]

    def train_or_read(self, run: str, side: str) -> Encoder:
        name, title = f"{run}_{side}", f"Autoencoder {run.replace('_', ', ')}: {side}"
        known = self.store.get(f"{name}.npz", Network.load)
        if known is None:
            # Figures without their network are of no use: both are made again.
            self.store.forget(f"{name}.json")
        trained: list[tuple[Network, int]] = [] if known is None else [(known[0], known[1]["n"])]

        def compute(step: Stage) -> Figures:
            train = self.train_best if side == "best" else self.train_alike
            network, n_layers, figures = train(run, side, step)
            self.store.put(f"{name}.npz", network.save, {"n": n_layers})
            trained.append((network, n_layers))
            return figures

        figures = self.keep(name, title, self.n_epochs(run, side), compute)
        return Encoder(*trained[-1], figures)

    def n_epochs(self, run: str, side: str) -> int:
        if side == "best":
            return int(self.recipe(run)["max_iter"])
        return self.plan.shapes[run.partition("_")[0]].marks[-1]

    def recipe(self, run: str) -> Mapping[str, Any]:
        if run in SEPARABLE:
            return self.plan.separable[run.partition("_")[2]]
        return self.plan.best[run]

    def data_of(self, run: str) -> Images:
        return self.images["small" if run.endswith("_small") else "full"]

    def train_alike(self, run: str, side: str, step: Stage) -> tuple[Network, int, Figures]:
        """Train as the reports did, in skscratch or in Keras."""
        training, images = self.plan.shapes[run.partition("_")[0]], self.data_of(run)
        result = autoencoders.run_training(
            side, training, images, seed=self.seed, n_jobs=self.n_jobs, on_epoch=step
        )
        figures = {
            "marks": [asdict(mark) for mark in result.marks],
            "losses": list(result.losses),
            "seconds": list(result.seconds),
        }
        return result.network, result.n_encoder, figures

    def train_best(self, run: str, side: str, step: Stage) -> tuple[Network, int, Figures]:
        """Train by the best recipe that is known, in skscratch only."""
        images, recipe = self.data_of(run), self.recipe(run)
        encoder = AutoencoderTransformer(**recipe, random_state=self.seed, n_jobs=self.n_jobs)
        report_epochs(encoder, step)
        started = time.perf_counter()
        encoder.fit(images.X_train)
        seconds = time.perf_counter() - started
        network, n_layers = without_noise(encoder)
        mark = autoencoders.read_errors(network, images, encoder.n_iter_, seconds)
        widths = [W.shape[0] for W in encoder.coefs_] + [encoder.n_features_in_]
        facts = {name: _json_value(value) for name, value in recipe.items() if name not in SHAPE}
        return network, n_layers, {"marks": [asdict(mark)], "recipe": facts, "widths": widths}

    def classify_all(self) -> Figures:
        shapes = list(self.plan.shapes)
        runs = [f"{shapes[0]}_small", *(f"{shape}_full" for shape in shapes)]
        pairs = [(run, side) for run in runs for side in SIDES]
        pairs += [(run, "best") for run in SEPARABLE]
        return {f"{run}_{side}": self.classify(run, side) for run, side in pairs}

    def classify(self, run: str, side: str) -> Figures:
        encoder, plan = self.encoder(run, side), self.plan

        def compute(step: Stage) -> Figures:
            # Keras' features are only for the table: by the two classifiers of the reports.
            all_classifiers = side != "keras"
            result = latent.run_latent(
                self.data_of(run),
                encoder.transformer,
                svm=plan.svm,
                rbf=plan.rbf,
                nystroem=plan.nystroem if all_classifiers else None,
                n_rbf=plan.n_rbf,
                seed=self.seed,
                liblinear=all_classifiers,
                on_classifier=step,
            )
            facts = report.latent_facts(result)
            accuracies = {score["name"]: score["test_accuracy"] for score in facts["scores"]}
            return {"run": run, "side": side, "test_accuracy": accuracies, **facts}

        title = f"Classifiers on {run.replace('_', ', ')}: {side}"
        return self.keep(f"latent_{run}_{side}", title, 2 if side == "keras" else 4, compute)

    def draw(self, metrics: Figures) -> None:
        networks = {}
        if "autoencoder" in metrics:
            wide = list(self.plan.shapes)[-1]
            networks = {side: self.encoder(f"{wide}_full", side).network for side in SIDES}
        drawings = pictures.all_pictures(metrics, self.images["full"], networks)
        save_pictures(drawings, self.folder, self.progress)


def without_noise(encoder: AutoencoderTransformer) -> tuple[Network, int]:
    """Return a fitted autoencoder as a network that can be kept, and its encoder's layers."""
    halves = [
        [layer for layer in half.layers if not isinstance(layer, Corruption)]
        for half in (encoder.encoder_, encoder.decoder_)
    ]
    layers = [*halves[0], *halves[1]]
    all_layers, ties = encoder.network_.layers, encoder.network_.ties
    kept = [i for i, layer in enumerate(all_layers) if not isinstance(layer, Corruption)]
    ties = {kept.index(i): kept.index(j) for i, j in ties.items()}
    network = Network(layers, encoder.n_features_in_, encoder.network_.dtype, rng=None, ties=ties)
    network.params[:] = encoder.network_.params
    return network, len(halves[0])


def environment_facts() -> Figures:
    """Describe the machine and the packages, TensorFlow and Keras included."""
    facts = report.environment_facts()
    # The distribution of TensorFlow has several names, its module has one.
    tensorflow, keras = (import_module(name) for name in ("tensorflow", "keras"))
    facts["packages"] |= {"tensorflow": tensorflow.__version__, "keras": keras.__version__}
    return facts


def listing_facts() -> list[Figures]:
    """Return the listings, and how many lines each has."""
    return [
        {
            **asdict(listing),
            "n_ours": count_lines(listing.ours),
            "n_keras": count_lines(listing.keras),
        }
        for listing in LISTINGS
    ]


def _json_value(value: Any) -> Any:
    """Return a parameter as JSON can hold it."""
    return value if isinstance(value, str | int | float | None) else str(value)
