"""Searching over the whole pipeline, as scikit-learn's users do.

The number of latent features and the strength of the SVM are chosen together, by cross-validation
on the training images. Everything is an ordinary estimator, so this needs no code of its own.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from skscratch import AutoencoderTransformer, LinearSVM
from skscratch.datasets import Images, subsample

N_FOLDS = 3


@dataclass(frozen=True)
class Candidate:
    """One setting of the grid, and its accuracy over the folds.

    Parameters
    ----------
    parameters : dict
        The setting.
    accuracy, deviation : float
        Mean and standard deviation over the folds.
    seconds : float
        Mean time of a fit.
    """

    parameters: dict[str, Any]
    accuracy: float
    deviation: float
    seconds: float


@dataclass(frozen=True)
class SearchResult:
    """All settings, the best first, and how the best one does on the test images.

    Parameters
    ----------
    candidates : tuple of Candidate
        All settings, the best first.
    test_accuracy : float
        Accuracy of the best, trained on all images of the search, on the test images.
    n_train : int
        Training images of the search.
    seconds : float
        Time of the whole search.
    search : sklearn.model_selection.GridSearchCV
        The search itself.
    """

    candidates: tuple[Candidate, ...]
    test_accuracy: float
    n_train: int
    seconds: float
    search: GridSearchCV = field(repr=False)

    @property
    def best(self) -> Candidate:
        """The setting with the highest accuracy."""
        return self.candidates[0]


def run_search(
    images: Images,
    grid: Mapping[str, Any],
    *,
    encoder: Mapping[str, Any],
    n_train: int,
    seed: int = 0,
    n_jobs: int | None = None,
) -> SearchResult:
    """Search over the pipeline of encoder, scaler and SVM.

    Parameters
    ----------
    images : Images
        Training and test images.
    grid : mapping
        Parameters of the pipeline, each with the values to try.
    encoder : mapping
        Further parameters of the AutoencoderTransformer.
    n_train : int
        Training images to use at most, drawn with the classes in proportion.
    seed : int, default=0
        Seed of that draw, of the folds and of the training.
    n_jobs : int or None, default=None
        Processes for the search.

    Returns
    -------
    SearchResult
        What was tried, and the best of it.

    Examples
    --------
    >>> from skscratch.datasets import load_digits
    >>> from skscratch.experiments import run_search
    >>> grid = {"svm__C": [0.1, 1.0]}
    >>> encoder = {"n_components": 8, "hidden_layer_sizes": (), "max_iter": 5}
    >>> result = run_search(load_digits(), grid, encoder=encoder, n_train=300)
    >>> len(result.candidates), result.n_train
    (2, 300)
    """
    some = subsample(images, n_train=min(n_train, len(images.X_train)), seed=seed)
    pipeline = Pipeline(
        [
            ("encoder", AutoencoderTransformer(**encoder, random_state=seed)),
            ("scaler", StandardScaler()),
            ("svm", LinearSVM(random_state=seed)),
        ]
    )
    folds = StratifiedKFold(N_FOLDS, shuffle=True, random_state=seed)
    search = GridSearchCV(pipeline, dict(grid), cv=folds, n_jobs=n_jobs)
    started = time.perf_counter()
    search.fit(some.X_train, some.y_train)
    seconds = time.perf_counter() - started
    found = search.cv_results_
    columns = ("params", "mean_test_score", "std_test_score", "mean_fit_time", "rank_test_score")
    rows = sorted(zip(*(found[name] for name in columns), strict=True), key=lambda row: row[-1])
    return SearchResult(
        tuple(
            Candidate(dict(parameters), float(mean), float(deviation), float(fit_seconds))
            for parameters, mean, deviation, fit_seconds, _ in rows
        ),
        test_accuracy=float(search.score(some.X_test, some.y_test)),
        n_train=len(some.X_train),
        seconds=seconds,
        search=search,
    )
