"""Documented accuracies on MNIST, tested if its folder is given."""

import os

import pytest
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from skscratch import AutoencoderTransformer, LinearSVM
from skscratch.datasets import load_mnist

pytestmark = pytest.mark.skipif(
    not os.environ.get("SKSCRATCH_MNIST"), reason="SKSCRATCH_MNIST names no folder"
)


def test_accuracy_of_a_linear_svm_on_latent_features_after_twenty_epochs():
    images = load_mnist()
    model = Pipeline(
        [
            (
                "encoder",
                AutoencoderTransformer(
                    n_components=64,
                    hidden_layer_sizes=(512, 256, 128),
                    max_iter=20,
                    random_state=0,
                ),
            ),
            ("scaler", StandardScaler()),
            ("svm", LinearSVM()),
        ]
    )
    model.fit(images.X_train, images.y_train)
    assert -model["encoder"].score(images.X_test) <= 0.0085
    assert model.score(images.X_test, images.y_test) >= 0.945
