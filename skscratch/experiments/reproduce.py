"""All experiments in order, and a folder with everything that came of them."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from skscratch import persistence
from skscratch.core import Network
from skscratch.datasets import Images
from skscratch.experiments import (
    autoencoder,
    gradients,
    latent,
    page,
    pictures,
    report,
    search,
    xor,
)
from skscratch.experiments.progress import Progress
from skscratch.experiments.settings import Settings, settings_for
from skscratch.experiments.store import Store, fingerprint

XOR, ENCODER, RECONSTRUCTION, SVM = (
    "xor.npz",
    "autoencoder.skops",
    "reconstruction.skops",
    "svm.skops",
)


@dataclass(frozen=True)
class Reproduction:
    """Where the report is, and its figures."""

    folder: Path
    metrics: dict[str, Any] = field(repr=False)

    @property
    def report(self) -> Path:
        """The page to read."""
        return self.folder / page.REPORT

    @property
    def html(self) -> Path:
        """The same page as one file for a browser."""
        return self.folder / page.PAGE


def reproduce(
    images: Images,
    out: str | os.PathLike[str],
    *,
    seed: int = 0,
    n_jobs: int | None = None,
    reuse: bool = False,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> Reproduction:
    """Run all experiments and write report, figures, pictures and trained weights to a folder.

    Parameters
    ----------
    images : Images
        Training and test images.
    out : str or path-like
        The folder; it is made if need be. Files from an earlier run are replaced.
    seed : int, default=0
        Seed of everything that is drawn.
    n_jobs : int or None, default=None
        Threads for training, and processes for the search, as scikit-learn understands it. The
        figures are the same for any number.
    reuse : bool, default=False
        Use the trained networks and the SVM in `out` again, if they were trained with the same
        data, seed and settings. Whatever is missing is trained.
    settings : Settings or None, default=None
        The choices of the run; None takes those that belong to the name of the images.
    progress : Progress or None, default=None
        Progress reporter, or None.

    Returns
    -------
    Reproduction
        The folder and the figures.

    Raises
    ------
    NotADirectoryError
        If `out` is a file.
    ValueError
        If `seed` is negative.
    ImportError
        If skops is not installed, which writes the trained estimators.
    """
    # At once, and not when the first model is trained.
    persistence.import_skops()
    run = _Run(
        images,
        make_folder(out),
        check_seed(seed),
        n_jobs,
        settings or settings_for(images.name),
        progress or Progress(),
        reuse,
    )
    return run.all()


def make_folder(out: str | os.PathLike[str]) -> Path:
    """Make a folder, unless it is there.

    Parameters
    ----------
    out : str or path-like
        The folder.

    Returns
    -------
    pathlib.Path
        The same.

    Raises
    ------
    NotADirectoryError
        If there is a file of that name, or one on the way to it.
    """
    folder = Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise NotADirectoryError(f"{folder} cannot be a folder, because there is a file.") from None
    return folder


def check_seed(seed: int) -> int:
    """Return a seed that all generators accept.

    Parameters
    ----------
    seed : int
        The seed.

    Returns
    -------
    int
        The same.

    Raises
    ------
    ValueError
        If it is negative, or does not fit into 32 bits.
    """
    if not 0 <= seed < 2**32:
        raise ValueError(f"The seed must be a whole number from 0 to {2**32 - 1}, got {seed}.")
    return seed


class _Run:
    """One run: each method is one stage and returns that stage's result."""

    def __init__(
        self,
        images: Images,
        folder: Path,
        seed: int,
        n_jobs: int | None,
        settings: Settings,
        progress: Progress,
        reuse: bool,
    ) -> None:
        self.images, self.folder, self.seed, self.n_jobs = images, folder, seed, n_jobs
        self.settings, self.progress = settings, progress
        mark = fingerprint(images, settings, seed)
        self.store = Store(folder, mark, reuse=reuse, note=progress.note)
        self.reused: list[str] = []

    def all(self) -> Reproduction:
        started = time.perf_counter()
        gradients_result = self.check_gradients()
        xor_result = self.solve_xor()
        autoencoder_result = self.train_autoencoder("Autoencoder", ENCODER, self.settings.encoder)
        latent_result = self.classify(autoencoder_result)
        reconstruction_result, reconstruction_facts = self.train_reconstruction()
        search_result = self.search_pipeline()
        self.draw(xor_result, autoencoder_result, reconstruction_result, latent_result)
        metrics = {
            "data": report.data_facts(self.images),
            "seed": self.seed,
            "environment": report.environment_facts(),
            "reused": self.reused,
            "gradients": {
                "pairs": self.settings.pairs,
                **report.gradient_facts(gradients_result),
            },
            "xor": report.xor_facts(xor_result),
            "autoencoder": report.autoencoder_facts(autoencoder_result),
            "latent": report.latent_facts(latent_result),
            "reconstruction": reconstruction_facts,
            "search": report.search_facts(search_result, self.settings),
            "total_seconds": time.perf_counter() - started,
        }
        page.write_report(self.folder, metrics, report.TEMPLATE)
        return Reproduction(self.folder, metrics)

    def check_gradients(self) -> gradients.GradientsResult:
        with self.progress.stage("Gradient check") as step:
            return gradients.check_gradients(
                seed=self.seed, pairs=self.settings.pairs, on_check=lambda check: step()
            )

    def solve_xor(self) -> xor.XorResult:
        with self.progress.stage("Exclusive or", self.settings.n_seeds) as step:
            known = self.store.get(XOR, Network.load)
            if known is not None:
                network, facts = known
                self.reused.append("network for the exclusive or")
                return xor.summarise(
                    network,
                    tuple(facts["loss_curve"]),
                    facts["seconds"],
                    facts["n_solved"],
                    facts["n_seeds"],
                )
            result = xor.run_xor(
                seed=self.seed, n_seeds=self.settings.n_seeds, on_seed=lambda seed: step()
            )
            facts = {
                "loss_curve": list(result.loss_curve),
                "seconds": result.seconds,
                "n_solved": result.n_solved,
                "n_seeds": result.n_seeds,
            }
            self.store.put(XOR, result.network.save, facts)
            return result

    def train_autoencoder(
        self, title: str, file: str, parameters: Mapping[str, Any]
    ) -> autoencoder.AutoencoderResult:
        n_validation = self.settings.n_validation
        known = self.store.get(file, persistence.load)
        if known is not None:
            encoder, facts = known
            self.reused.append(title.lower())
            with self.progress.stage(f"{title}, trained earlier"):
                return autoencoder.summarise(
                    encoder, self.images, n_validation=n_validation, seconds=facts["seconds"]
                )
        with self.progress.stage(title, parameters.get("max_iter")) as step:
            result = autoencoder.run_autoencoder(
                self.images,
                parameters,
                n_validation=n_validation,
                seed=self.seed,
                n_jobs=self.n_jobs,
                on_epoch=step,
            )
            facts = {"seconds": result.seconds}
            self.store.put(file, lambda path: persistence.save(result.encoder, path), facts)
            return result

    def classify(self, trained: autoencoder.AutoencoderResult) -> latent.LatentResult:
        svm, facts = self.store.get(SVM, persistence.load) or (self.settings.svm, {})
        with self.progress.stage("Classifiers on latent features", 5) as step:
            result = latent.run_latent(
                self.images,
                trained.encoder,
                svm=svm,
                svm_seconds=facts.get("seconds"),
                rbf=self.settings.rbf,
                n_rbf=self.settings.n_rbf,
                seed=self.seed,
                references=True,
                on_classifier=step,
            )
        if result.svm is svm:
            self.reused.append("linear SVM")
        else:
            facts = {"seconds": result.scores[0].seconds}
            self.store.put(SVM, lambda path: persistence.save(result.svm, path), facts)
        return result

    def train_reconstruction(
        self,
    ) -> tuple[autoencoder.AutoencoderResult | None, dict[str, Any] | None]:
        """Train the second autoencoder, if there is to be one, and classify its features."""
        if self.settings.reconstruction is None:
            return None, None
        parameters = {**self.settings.encoder, **self.settings.reconstruction}
        trained = self.train_autoencoder(
            "Autoencoder for reconstruction", RECONSTRUCTION, parameters
        )
        with self.progress.stage("Classifiers on its features", 2) as step:
            result = latent.run_latent(
                self.images,
                trained.encoder,
                svm=self.settings.svm,
                rbf=self.settings.rbf,
                n_rbf=self.settings.n_rbf,
                seed=self.seed,
                liblinear=False,
                on_classifier=step,
            )
        scores = report.score_facts(result)
        return trained, {**report.autoencoder_facts(trained), "scores": scores}

    def search_pipeline(self) -> search.SearchResult:
        with self.progress.stage("Search over the pipeline"):
            return search.run_search(
                self.images,
                self.settings.search_grid,
                encoder=self.settings.search_encoder,
                n_train=self.settings.n_search,
                seed=self.seed,
                n_jobs=self.n_jobs,
            )

    def draw(
        self,
        xor_result: xor.XorResult,
        autoencoder_result: autoencoder.AutoencoderResult,
        reconstruction_result: autoencoder.AutoencoderResult | None,
        latent_result: latent.LatentResult,
    ) -> None:
        drawings = pictures.all_pictures(
            self.images,
            self.settings,
            xor_result,
            autoencoder_result,
            reconstruction_result,
            latent_result,
        )
        pictures.save_pictures(drawings, self.folder, self.progress)
