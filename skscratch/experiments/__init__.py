"""The experiments of the student projects that this package grew out of, as plain functions.

Each module runs one experiment and returns its figures as a frozen dataclass. `reproduce` runs all
of them in order and writes a report. Only the public interface of the package is used here, so the
modules also show how it is meant to be used.
"""

from skscratch.experiments.autoencoder import AutoencoderResult, run_autoencoder
from skscratch.experiments.gradients import GradientsResult, check_gradients
from skscratch.experiments.latent import LatentResult, run_latent
from skscratch.experiments.report import render_report
from skscratch.experiments.reproduce import Reproduction, reproduce
from skscratch.experiments.search import SearchResult, run_search
from skscratch.experiments.settings import Settings, settings_for
from skscratch.experiments.xor import XorResult, run_xor

__all__ = [
    "AutoencoderResult",
    "GradientsResult",
    "LatentResult",
    "Reproduction",
    "SearchResult",
    "Settings",
    "XorResult",
    "check_gradients",
    "render_report",
    "reproduce",
    "run_autoencoder",
    "run_latent",
    "run_search",
    "run_xor",
    "settings_for",
]
