from dataclasses import replace

import numpy as np
import pytest

from skscratch.experiments import run_autoencoder
from skscratch.experiments.autoencoder import mean_squared_error


@pytest.fixture(scope="module")
def result(images, tiny):
    return run_autoencoder(images, tiny.encoder, n_validation=40)


def test_errors_are_those_of_the_reconstructions(result, images):
    rebuilt = result.encoder.reconstruct(images.X_test).astype(np.float64)
    assert result.test_mse == pytest.approx(np.mean((rebuilt - images.X_test) ** 2), rel=1e-5)
    assert result.train_mse < 0.08
    assert result.pca_test_mse < result.test_mse, "after so few steps"


def test_a_part_is_held_out_and_the_test_images_play_no_part(result, images, tiny):
    assert (result.n_train, result.n_validation) == (260, 40)
    assert len(result.encoder.validation_loss_curve_) == 50
    other = run_autoencoder(
        replace(images, X_test=images.X_test[::-1]), tiny.encoder, n_validation=40
    )
    np.testing.assert_array_equal(other.encoder.network_.params, result.encoder.network_.params)


def test_the_seed_decides(images, tiny):
    other = run_autoencoder(images, tiny.encoder, n_validation=40, seed=1)
    again = run_autoencoder(images, tiny.encoder, n_validation=40, seed=1, n_jobs=2)
    np.testing.assert_array_equal(other.encoder.network_.params, again.encoder.network_.params)


def test_too_many_held_out_images_are_refused(images, tiny):
    with pytest.raises(ValueError, match="test_size"):
        run_autoencoder(images, tiny.encoder, n_validation=301)


def test_the_error_is_added_up_in_double_precision():
    zeros = np.zeros((1000, 1000), np.float32)
    assert mean_squared_error(zeros, zeros + np.float32(0.1)) == pytest.approx(0.01, rel=1e-6)
