"""Conversion between labels and a network's targets.

One object per kind of target. It is fitted once, encodes labels for training, provides the loss of
its encoding, and decodes outputs.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils.class_weight import compute_class_weight, compute_sample_weight
from sklearn.utils.multiclass import (
    check_classification_targets,
    type_of_target,
    unique_labels,
)
from sklearn.utils.validation import column_or_1d

from skscratch.core.functions import Array
from skscratch.core.losses import BinaryLogLoss, LogLoss, Loss
from skscratch.estimators._data import check_weight, renamed


def check_labels(y: Any, name: str = "y") -> None:
    """Raise a ValueError unless `y` holds labels: one column of classes, or columns of 0 and 1."""
    # What `type_of_target` would find at once, were it not as slow as a small fit.
    if isinstance(y, np.ndarray) and y.ndim == 1 and y.dtype.kind in "biuU" and len(y):
        return
    with renamed(y=name, about=name):
        kind = type_of_target(y)
        if kind in ("binary", "multiclass", "multilabel-indicator"):
            return
        check_classification_targets(y)
    if kind == "multiclass-multioutput":
        raise ValueError(
            f"{name} has several columns of classes. Accepted are one column of classes, or "
            "columns of 0 and 1 for labels that may occur together. scikit-learn's "
            "MultiOutputClassifier fits a classifier for each column."
        )


class ClassTargets:
    """Class labels ↔ probabilities: binary, multi-class or multilabel."""

    def __init__(self, y: Any) -> None:
        self.binarizer = LabelBinarizer().fit(y)

    @property
    def classes(self) -> Array:
        """The known labels, sorted."""
        return self.binarizer.classes_

    @property
    def is_multilabel(self) -> bool:
        """Whether several labels may occur together."""
        return str(self.binarizer.y_type_).startswith("multilabel")

    @property
    def exclusive(self) -> bool:
        """Whether exactly one of three or more classes is correct."""
        return bool(self.binarizer.y_type_ == "multiclass")

    @property
    def loss(self) -> Loss:
        """The loss of this encoding."""
        return LogLoss() if self.exclusive else BinaryLogLoss()

    def encode(self, y: Any, dtype: Any) -> Array:
        """Labels to 0 and 1, shape (n, n_outputs): one column if there are two classes."""
        if self.is_multilabel or y.ndim > 1:
            return self.binarizer.transform(y).astype(dtype)
        # `LabelBinarizer` would check the labels again, which takes longer than a small step.
        index = np.searchsorted(self.classes, y)[:, None]
        return (index == np.arange(len(self.classes)) if self.exclusive else index).astype(dtype)

    def decode(self, probabilities: Array) -> Array:
        """Probabilities of shape (n, n_outputs) to labels."""
        if self.is_multilabel:
            return self.binarizer.inverse_transform(probabilities)
        index = probabilities.argmax(axis=1) if self.exclusive else probabilities[:, 0] > 0.5
        return self.classes.take(index, mode="clip")

    def complete(self, probabilities: Array) -> Array:
        """Add the column of the other class if there is only one column."""
        if probabilities.shape[1] != 1:
            return probabilities
        return np.hstack([1 - probabilities, probabilities])


class ClassTargetsMixin:
    """The labels of a classifier: their encoding, the weights of classes, and stratification.

    It reads the parameters `class_weight` and `warm_start`, and sets `classes_`.
    """

    classes_: Array
    class_weight: Any
    warm_start: Any
    # None until the labels of a fit are known.
    _targets: ClassTargets | None = None

    def _label_targets(self) -> ClassTargets:
        assert self._targets is not None
        return self._targets

    def _reset_labels(self) -> None:
        self._targets = None

    def _set_labels(self, y: Any) -> None:
        """Set the classes."""
        self._targets = ClassTargets(y)
        self.classes_ = self._targets.classes

    def _check_labels(self, y: Any, name: str, *, training: bool) -> Any:
        """Return labels of an accepted shape, all of them known."""
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        check_labels(y, name)
        if self._targets is None:
            self._set_labels(y)
            return y
        classes = unique_labels(y) if self._targets.is_multilabel or y.ndim > 1 else np.unique(y)
        if training and self.warm_start and set(classes) != set(self.classes_):
            raise ValueError(
                "warm_start can only be used where `y` has the same classes as in the previous "
                f"call to fit. Previously got {self.classes_}, `y` has {classes}"
            )
        if len(np.setdiff1d(classes, self.classes_, assume_unique=True)):
            raise ValueError(
                f"`{name}` has classes not in `self.classes_`. "
                f"`self.classes_` has {self.classes_}. '{name}' has {classes}."
            )
        return y

    def _weigh_classes(
        self, y: Any, weight: Array | None, X: Any, *, training: bool
    ) -> Array | None:
        """Multiply the rows' weights by those of their classes."""
        if self.class_weight is None:
            return weight
        if y.ndim != 1:
            if self.class_weight != "balanced":
                raise ValueError(
                    "A dict as class_weight needs rows of one class each, but y is a label "
                    "indicator matrix. Use 'balanced' or sample_weight."
                )
            of_row = compute_sample_weight("balanced", y)
        else:
            if training:
                self._weight_of_class = class_weights(self.class_weight, self.classes_, y, weight)
            of_row = self._weight_of_class[np.searchsorted(self.classes_, y)]
        product = of_row if weight is None else weight * of_row
        return check_weight(product, X, "sample_weight times class_weight")

    def _strata(self, y: Any) -> Any:
        """Return the labels by which a split is stratified, or None."""
        if y.ndim != 1:
            return None
        # Two classes as booleans, which is how scikit-learn's messages name them.
        return y if len(self.classes_) > 2 else (y == self.classes_[-1])[:, None]


class SignTargets:
    """Class labels ↔ the signs of scores: +1 for the class, -1 for the rest."""

    def __init__(self, y: Any) -> None:
        self.classes: Array = np.unique(y)

    def index(self, y: Any) -> Array:
        """Position of each label among the classes."""
        return np.searchsorted(self.classes, y)

    def encode_index(self, index: Array, dtype: Any) -> Array:
        """Positions to signs, shape (n, n_classes), or one column for two classes."""
        if len(self.classes) == 2:
            return np.where(index == 1, 1, -1).astype(dtype).reshape(-1, 1)
        return 2 * self.one_hot(index, dtype) - 1

    def one_hot(self, index: Array, dtype: Any) -> Array:
        """Positions to 0 and 1, shape (n, n_classes)."""
        return (index[:, None] == np.arange(len(self.classes))).astype(dtype)


def class_weights(class_weight: Any, classes: Array, y: Array, weight: Array | None) -> Array:
    """Return the weight of each class, shape (n_classes,).

    Classes missing from a dict have weight 1. 'balanced' counts the rows with a weight above 0; a
    class without any has weight 1, which has no effect.
    """
    weights = np.ones(len(classes))
    if class_weight == "balanced":
        counted = slice(None) if weight is None else weight > 0
        present = np.unique(y[counted])
        weights[np.searchsorted(classes, present)] = compute_class_weight(
            "balanced",
            classes=present,
            y=y[counted],
            sample_weight=None if weight is None else weight[counted],
        )
    elif class_weight is not None:
        weights[:] = [class_weight.get(label, 1.0) for label in classes.tolist()]
        if class_weight and not set(class_weight) & set(classes.tolist()):
            warnings.warn(
                f"class_weight names none of the classes {classes.tolist()}, so it has no effect; "
                f"it names {list(class_weight)}.",
                stacklevel=2,
            )
    if not np.isfinite(weights).all() or weights.min() < 0 or not weights.any():
        raise ValueError(
            "class_weight must give finite weights of 0 or more, not all 0; got "
            f"{dict(zip(classes.tolist(), weights.tolist(), strict=True))}."
        )
    return weights
