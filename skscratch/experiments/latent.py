"""Classifying the latent features: how much of the class is left in a few numbers.

The linear SVM of this package is compared with two of scikit-learn's on the same standardised
features: LinearSVC, which solves the same problem, and SVC with the RBF kernel.
Whether the features are worth having is seen against the pixels themselves and as many principal
components.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator
from sklearn.kernel_approximation import Nystroem
from sklearn.metrics import classification_report, confusion_matrix
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC

from skscratch import LinearSVM
from skscratch.datasets import Images, subsample

Array = npt.NDArray[Any]

LIBLINEAR, RBF = "LinearSVC (scikit-learn)", "SVC, RBF (scikit-learn)"
NYSTROEM = "Nystroem (scikit-learn) + LinearSVM"
PIXELS, COMPONENTS = "LinearSVM on the pixels", "LinearSVM on {} principal components"
# Training accuracy is measured on at most this many images: more would only cost time.
N_TRAIN_SCORE = 10_000


@dataclass(frozen=True)
class ClassifierScore:
    """How one classifier did.

    Parameters
    ----------
    name : str
        Name of the classifier.
    n_train : int
        Images it was trained on.
    seconds : float
        Time of the training.
    train_accuracy : float
        Accuracy on the first 10,000 of these images.
    test_accuracy : float
        Accuracy on all test images.
    converged : bool, default=True
        Whether its solver reached the end.
    """

    name: str
    n_train: int
    seconds: float
    train_accuracy: float
    test_accuracy: float
    converged: bool = True


@dataclass(frozen=True, eq=False)
class LatentResult:
    """The pipeline from image to class, all scores, and the linear SVM's in detail.

    Parameters
    ----------
    pipeline : sklearn.pipeline.Pipeline
        Encoder, scaler and linear SVM, fitted.
    scores : tuple of ClassifierScore
        All classifiers, the linear SVM first.
    predicted : ndarray of shape (n_test,)
        Predictions of the linear SVM for the test images.
    report : dict
        Precision, recall and F1 of each class, as `classification_report` gives them.
    confusion : ndarray of shape (n_classes, n_classes)
        Test images by true and predicted class.
    """

    pipeline: Pipeline = field(repr=False)
    scores: tuple[ClassifierScore, ...]
    predicted: Array = field(repr=False)
    report: dict[str, dict[str, float]] = field(repr=False)
    confusion: Array = field(repr=False)

    @property
    def svm(self) -> LinearSVM:
        """The fitted linear SVM."""
        return self.pipeline[-1]


def run_latent(
    images: Images,
    encoder: Any,
    *,
    svm: LinearSVM | Mapping[str, Any],
    svm_seconds: float | None = None,
    rbf: Mapping[str, Any],
    n_rbf: int,
    nystroem: Mapping[str, Any] | None = None,
    seed: int = 0,
    liblinear: bool = True,
    references: bool = False,
    on_classifier: Callable[[str], None] | None = None,
) -> LatentResult:
    """Train classifiers on what a trained encoder makes of the images.

    Parameters
    ----------
    images : Images
        Training and test images.
    encoder : AutoencoderTransformer or other transformer
        The fitted encoder; it is not trained any further.
    svm : LinearSVM or mapping
        A fitted linear SVM to use as it is, or the parameters of one to train.
    svm_seconds : float or None, default=None
        How long a fitted `svm` was trained.
    rbf : mapping
        Parameters of scikit-learn's SVC.
    n_rbf : int
        Training images for that SVC at most, drawn with the classes in proportion.
    nystroem : mapping or None, default=None
        Parameters of scikit-learn's Nystroem, which approximates that kernel in front of another
        LinearSVM. None leaves it out.
    seed : int, default=0
        Seed of the classifiers and of that draw.
    liblinear : bool, default=True
        Train scikit-learn's LinearSVC too.
    references : bool, default=False
        Train the linear SVM on the pixels, and on as many principal components, too.
    on_classifier : callable, default=None
        Called with a line about each classifier that is done.

    Returns
    -------
    LatentResult
        The pipeline and the scores.

    Examples
    --------
    >>> from skscratch import AutoencoderTransformer
    >>> from skscratch.datasets import load_digits
    >>> from skscratch.experiments import run_latent
    >>> images = load_digits()
    >>> encoder = AutoencoderTransformer(8, (), max_iter=20, random_state=0).fit(images.X_train)
    >>> result = run_latent(images, encoder, svm={"C": 1.0}, rbf={"C": 10.0}, n_rbf=500)
    >>> [(score.name, score.n_train) for score in result.scores]
    [('LinearSVM', 1437), ('LinearSVC (scikit-learn)', 1437), ('SVC, RBF (scikit-learn)', 500)]
    """
    features = Pipeline([("encoder", FrozenEstimator(encoder)), ("scaler", StandardScaler())])
    Z = features.fit_transform(images.X_train)
    latent = Images(
        Z,
        images.y_train,
        features.transform(images.X_test),
        images.y_test,
        (1, Z.shape[1]),
        images.name,
    )
    fewer = subsample(latent, n_train=min(n_rbf, len(Z)), seed=seed)
    own = LinearSVM(**svm, random_state=seed) if isinstance(svm, Mapping) else svm
    candidates = [
        ("LinearSVM", own, latent),
        (LIBLINEAR, LinearSVC(dual="auto", random_state=seed), latent),
        (RBF, SVC(**rbf, random_state=seed), fewer),
    ]
    if nystroem is not None:
        kernel = Nystroem(**nystroem, gamma=_gamma(Z), random_state=seed)
        approximate = Pipeline([("kernel", kernel), ("svm", LinearSVM(random_state=seed))])
        candidates.append((NYSTROEM, approximate, latent))
    if references:
        n_components = min(Z.shape[1], *images.X_train.shape)
        pca = PCA(n_components, svd_solver="covariance_eigh")
        candidates += [
            (PIXELS, make_pipeline(StandardScaler(), clone(own)), images),
            (
                COMPONENTS.format(n_components),
                make_pipeline(pca, StandardScaler(), clone(own)),
                images,
            ),
        ]
    if not liblinear:
        candidates = [candidate for candidate in candidates if candidate[0] != LIBLINEAR]
    scores = []
    for name, classifier, data in candidates:
        ready = svm_seconds if classifier is svm else None
        scores.append(_score(name, classifier, data, ready))
        if on_classifier is not None:
            on_classifier(
                f"{name}: test accuracy {scores[-1].test_accuracy:.2%}, trained on "
                f"{scores[-1].n_train:,} images in {scores[-1].seconds:.1f} s"
            )
    predicted = own.predict(latent.X_test)
    return LatentResult(
        Pipeline([*features.steps, ("svm", own)]),
        tuple(scores),
        predicted,
        classification_report(images.y_test, predicted, output_dict=True, zero_division=0.0),
        confusion_matrix(images.y_test, predicted),
    )


def _gamma(Z: Array) -> float:
    """Return what SVC's gamma="scale" is, which Nystroem does not know by name."""
    return float(1 / (Z.shape[1] * Z.var()))


def _score(
    name: str, classifier: Any, data: Images, trained_seconds: float | None
) -> ClassifierScore:
    """Train a classifier, unless it is trained already, and measure it."""
    seconds, converged = trained_seconds, True
    if seconds is None:
        started = time.perf_counter()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)
            classifier.fit(data.X_train, data.y_train)
        seconds = time.perf_counter() - started
        converged = not any(issubclass(w.category, ConvergenceWarning) for w in caught)
    return ClassifierScore(
        name,
        len(data.X_train),
        seconds,
        train_accuracy=float(
            classifier.score(data.X_train[:N_TRAIN_SCORE], data.y_train[:N_TRAIN_SCORE])
        ),
        test_accuracy=float(classifier.score(data.X_test, data.y_test)),
        converged=converged,
    )


def hardest_mistakes(result: LatentResult, images: Images, n: int) -> Array:
    """Return the test images that the linear SVM got wrong with the greatest confidence.

    Parameters
    ----------
    result : LatentResult
        What `run_latent` returned.
    images : Images
        The same images.
    n : int
        How many to return at most.

    Returns
    -------
    ndarray of int
        Rows of the test images, the most confident mistake first.
    """
    wrong = np.flatnonzero(result.predicted != images.y_test)
    if len(wrong) == 0:
        return wrong
    decision = result.pipeline.decision_function(images.X_test[wrong])
    confidence = np.abs(decision) if decision.ndim == 1 else decision.max(axis=1)
    return wrong[np.argsort(-confidence, kind="stable")[:n]]
