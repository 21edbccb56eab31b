import numpy as np
import pytest
from matplotlib import pyplot

from skscratch.experiments import (
    pictures,
    run_autoencoder,
    run_latent,
    run_xor,
    settings_for,
)


@pytest.fixture(scope="module")
def autoencoder(images, tiny):
    return run_autoencoder(images, tiny.encoder, n_validation=40)


@pytest.fixture(scope="module")
def latent(images, autoencoder):
    return run_latent(images, autoencoder.encoder, svm={}, rbf={}, n_rbf=100)


def axes_of(figure):
    figure.draw_without_rendering()
    return figure.axes


def test_the_boundary_runs_between_the_four_points():
    ax, bar = axes_of(pictures.xor_boundary(run_xor(n_seeds=0)))
    assert bar.get_ylabel() == "output of the network"
    points = np.vstack([c.get_offsets() for c in ax.collections if len(c.get_offsets()) == 2])
    assert sorted(points.tolist()) == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert ax.get_aspect() == 1


def test_one_image_of_each_class_is_reconstructed(autoencoder, images):
    (ax,) = axes_of(pictures.reconstructions(autoencoder, images))
    assert ax.images[0].get_array().shape == (2 * 8 + 1, 10 * 9 - 1)
    assert ax.get_title() == "Test images of 64 pixels, each rebuilt from 4 numbers"


def test_the_confusion_matrix_is_that_of_the_svm(latent, images):
    (ax,) = axes_of(pictures.confusion(latent, images))
    np.testing.assert_array_equal(ax.images[0].get_array(), latent.confusion)
    assert [int(text.get_text()) for text in ax.texts] == latent.confusion.ravel().tolist()
    assert {text.get_color() for text in ax.texts} == {"black", "white"}


def titles(figure):
    return [ax.get_title() for ax in axes_of(figure) if ax.images]


def test_the_gallery_shows_what_was_said_and_what_is(latent, images):
    shown = titles(pictures.predictions(latent, images))
    assert len(shown) == 32
    right = np.flatnonzero(latent.predicted == images.y_test)[:16]
    assert shown[:16] == [str(label) for label in images.y_test[right]]
    for text in shown[16:]:
        said, label = text.removeprefix("says ").split(", is ")
        assert said != label


def test_without_mistakes_the_gallery_has_free_places(latent, images):
    class Perfect:
        predicted, pipeline = images.y_test, latent.pipeline

    assert len(titles(pictures.predictions(Perfect, images))) == 16


def test_no_figure_stays_open(autoencoder, latent, images):
    drawings = pictures.all_pictures(
        images, settings_for("digits"), run_xor(n_seeds=0), autoencoder, None, latent
    )
    assert len(drawings) == 7
    for draw in drawings.values():
        draw()
    assert pyplot.get_fignums() == []
