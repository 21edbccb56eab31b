"""Labels ↔ what a network sees, in both directions.

One object per kind of target. It is fitted once, encodes labels for training, names the loss that
belongs to its encoding, and decodes outputs back.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.preprocessing import LabelBinarizer

from skscratch.core.functions import Array
from skscratch.core.losses import BinaryLogLoss, LogLoss, Loss


class ClassTargets:
    """Class labels ↔ probabilities: binary, multi-class or multilabel."""

    def __init__(self, y: Any) -> None:
        self.binarizer = LabelBinarizer().fit(y)

    @property
    def classes(self) -> Array:
        """The known labels, sorted."""
        return self.binarizer.classes_

    @property
    def exclusive(self) -> bool:
        """Whether exactly one of three or more classes is right."""
        return bool(self.binarizer.y_type_ == "multiclass")

    @property
    def loss(self) -> Loss:
        """The loss of this encoding."""
        return LogLoss() if self.exclusive else BinaryLogLoss()

    def encode(self, y: Any, dtype: Any) -> Array:
        """Labels to 0 and 1, shape (n, n_outputs): one column where there are two classes."""
        return self.binarizer.transform(y).astype(dtype)

    def decode(self, probabilities: Array) -> Array:
        """Probabilities of shape (n, n_outputs) to labels."""
        if probabilities.shape[1] == 1:
            probabilities = probabilities.ravel()
        return self.binarizer.inverse_transform(probabilities)

    def complete(self, probabilities: Array) -> Array:
        """Add the column of the other class where there is only one."""
        if probabilities.shape[1] != 1:
            return probabilities
        return np.hstack([1 - probabilities, probabilities])


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
