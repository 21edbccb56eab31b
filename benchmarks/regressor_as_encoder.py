"""What people do who need an autoencoder and have scikit-learn alone."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.neural_network import MLPRegressor


class RegressorAsEncoder(TransformerMixin, BaseEstimator):
    """`MLPRegressor` of X on itself; `transform` passes rows through its first layers by hand."""

    def __init__(
        self,
        n_components: int = 32,
        max_iter: int = 20,
        learning_rate_init: float = 5e-3,
        batch_size: int = 200,
    ) -> None:
        self.n_components = n_components
        self.max_iter = max_iter
        self.learning_rate_init = learning_rate_init
        self.batch_size = batch_size

    def fit(self, X: Any, y: Any = None) -> Self:
        """Train the whole autoencoder."""
        self.regressor_ = MLPRegressor(
            hidden_layer_sizes=(128, self.n_components, 128),
            alpha=0.0,
            max_iter=self.max_iter,
            learning_rate_init=self.learning_rate_init,
            batch_size=self.batch_size,
            tol=0.0,
            n_iter_no_change=self.max_iter + 1,
            random_state=0,
        ).fit(X, X)
        return self

    def transform(self, X: Any) -> Any:
        """Return the narrowest layer's outputs."""
        W, b = self.regressor_.coefs_, self.regressor_.intercepts_
        return np.maximum(X @ W[0] + b[0], 0) @ W[1] + b[1]
