"""From results to figures in JSON, of which alone the page of a run is rendered."""

from __future__ import annotations

import math
import os
import platform
import sys
from collections.abc import Iterable
from importlib import metadata
from typing import Any

from skscratch import __version__
from skscratch.datasets import Images
from skscratch.experiments.autoencoder import AutoencoderResult
from skscratch.experiments.gradients import TOLERANCE, GradientCheck, GradientsResult
from skscratch.experiments.latent import LatentResult
from skscratch.experiments.page import render_markdown
from skscratch.experiments.search import SearchResult
from skscratch.experiments.settings import Settings
from skscratch.experiments.xor import LEARNING_RATE, MAX_EPOCHS, TARGET_LOSS, XorResult

TEMPLATE = "report.md.jinja"
PACKAGES = ("numpy", "scipy", "scikit-learn", "matplotlib")


def render_report(metrics: dict[str, Any]) -> str:
    """Render the figures of a run as a Markdown page.

    Parameters
    ----------
    metrics : dict
        What ``metrics.json`` holds.

    Returns
    -------
    str
        The page.

    Raises
    ------
    jinja2.UndefinedError
        If a figure is missing.
    """
    return render_markdown(TEMPLATE, metrics)


def environment_facts() -> dict[str, Any]:
    """Describe the machine and the packages.

    Returns
    -------
    dict
        Versions, platform and number of processors.
    """
    return {
        "skscratch": __version__,
        "python": platform.python_version(),
        "packages": {name: metadata.version(name) for name in PACKAGES},
        "platform": f"{platform.system()} on {platform.machine() or sys.platform}",
        "cpu_count": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else (os.cpu_count() or 1),
    }


def data_facts(images: Images) -> dict[str, Any]:
    """Describe the images.

    Parameters
    ----------
    images : Images
        Training and test images.

    Returns
    -------
    dict
        Name and numbers.
    """
    return {
        "name": images.name,
        "n_train": len(images.X_train),
        "n_test": len(images.X_test),
        "n_pixels": images.X_train.shape[1],
        "image_shape": list(images.image_shape),
    }


def gradient_facts(result: GradientsResult) -> dict[str, Any]:
    """Summarise the gradient check: the largest error of each kind, and of each layer and loss.

    Parameters
    ----------
    result : GradientsResult
        All checks.

    Returns
    -------
    dict
        Figures for JSON.
    """
    kinds = dict.fromkeys(check.kind for check in result.checks)
    single = [check for check in result.checks if check.kind != "pair"]
    members = dict.fromkeys((check.kind, check.name) for check in single)
    return {
        "n_checks": len(result.checks),
        "largest": result.largest,
        "tolerance": TOLERANCE,
        "passed": result.passed,
        "seconds": result.seconds,
        "kinds": [_worst(c for c in result.checks if c.kind == kind) for kind in kinds],
        "members": [_worst(c for c in single if (c.kind, c.name) == member) for member in members],
    }


def _worst(checks: Iterable[GradientCheck]) -> dict[str, Any]:
    some = list(checks)
    worst = max(some, key=lambda check: check.error)
    return {"kind": worst.kind, "name": worst.name, "n": len(some), "error": worst.error}


def xor_facts(result: XorResult) -> dict[str, Any]:
    """Summarise the exclusive or.

    Parameters
    ----------
    result : XorResult
        What was trained.

    Returns
    -------
    dict
        Figures for JSON.
    """
    return {
        "learning_rate": LEARNING_RATE,
        "max_epochs": MAX_EPOCHS,
        "target_loss": TARGET_LOSS,
        "n_epochs": result.n_epochs,
        "loss": result.loss_curve[-1],
        "outputs": list(result.outputs),
        "solved": result.solved,
        "n_solved": result.n_solved,
        "n_seeds": result.n_seeds,
        "seconds": result.seconds,
    }


def autoencoder_facts(result: AutoencoderResult) -> dict[str, Any]:
    """Summarise the autoencoder.

    Parameters
    ----------
    result : AutoencoderResult
        What was trained.

    Returns
    -------
    dict
        Figures for JSON.
    """
    encoder = result.encoder
    widths = [W.shape[0] for W in encoder.coefs_] + [encoder.n_features_in_]
    return {
        "widths": widths,
        "n_components": encoder.n_components,
        "n_parameters": encoder.network_.n_params,
        "loss_name": encoder.loss.replace("_", " "),
        "initializer": encoder.initializer.replace("_", " "),
        "learning_rate_init": encoder.learning_rate_init,
        "noise": "none" if encoder.noise is None else str(encoder.noise),
        "tied_weights": "yes" if encoder.tied_weights_ else "no",
        "n_train": result.n_train,
        "n_validation": result.n_validation,
        "n_epochs": encoder.n_iter_,
        "loss": encoder.loss_curve_[-1],
        "validation_loss": min(encoder.validation_loss_curve_ or [math.nan]),
        "train_mse": result.train_mse,
        "test_mse": result.test_mse,
        "pca_test_mse": result.pca_test_mse,
        "seconds": result.seconds,
    }


def score_facts(result: LatentResult) -> list[dict[str, Any]]:
    """List the scores of all classifiers.

    Parameters
    ----------
    result : LatentResult
        What was trained.

    Returns
    -------
    list of dict
        Figures for JSON.
    """
    return [vars(score) for score in result.scores]


def latent_facts(result: LatentResult) -> dict[str, Any]:
    """Summarise the classifiers, and the linear SVM in detail.

    Parameters
    ----------
    result : LatentResult
        What was trained.

    Returns
    -------
    dict
        Figures for JSON.
    """
    averages = ("accuracy", "macro avg", "weighted avg")
    classes = [name for name in result.report if name not in averages]
    return {
        "C": result.svm.C,
        "scores": score_facts(result),
        "classes": [
            {
                "name": name,
                "precision": result.report[name]["precision"],
                "recall": result.report[name]["recall"],
                "f1": result.report[name]["f1-score"],
                "n": int(result.report[name]["support"]),
            }
            for name in classes
        ],
        "confusion": result.confusion.tolist(),
        "n_mistakes": int(result.confusion.sum() - result.confusion.trace()),
        "dual_gap": float(result.svm.dual_gap_),
        "objective": float(result.svm.objective_),
    }


def search_facts(result: SearchResult, settings: Settings) -> dict[str, Any]:
    """Summarise the search.

    Parameters
    ----------
    result : SearchResult
        What was tried.
    settings : Settings
        The choices of the run.

    Returns
    -------
    dict
        Figures for JSON.
    """
    return {
        "names": list(settings.search_grid),
        "n_train": result.n_train,
        "n_folds": result.search.n_splits_,
        "candidates": [
            {
                "values": list(candidate.parameters.values()),
                "accuracy": candidate.accuracy,
                "deviation": candidate.deviation,
                "seconds": candidate.seconds,
            }
            for candidate in result.candidates
        ],
        "best": result.best.parameters,
        "test_accuracy": result.test_accuracy,
        "seconds": result.seconds,
    }
