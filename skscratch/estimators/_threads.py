"""The number of threads of a fit."""

from __future__ import annotations

import joblib

from skscratch.core.blas import single_threaded_blas
from skscratch.core.workers import MAX_SHARDS

__all__ = ["thread_count"]


def thread_count(n_jobs: int | None) -> int:
    """Return how many threads `n_jobs` means to joblib; None means as many as BLAS uses."""
    wanted = single_threaded_blas.threads_allowed() if n_jobs is None else None
    return min(MAX_SHARDS, wanted or joblib.effective_n_jobs(n_jobs))
