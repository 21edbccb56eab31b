import subprocess
import sys

import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.figure import Figure
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError

from skscratch import AutoencoderTransformer, LinearSVM, MLPClassifier, MLPRegressor
from skscratch.datasets import load_digits
from skscratch.display import (
    COLOURS,
    MARKERS,
    LatentSpaceDisplay,
    LossCurveDisplay,
    ReconstructionDisplay,
)


@pytest.fixture(scope="module")
def images():
    return load_digits()


@pytest.fixture(scope="module")
def encoder(images):
    encoder = AutoencoderTransformer(5, (), max_iter=4, random_state=0)
    return encoder.fit(images.X_train[:300], X_val=images.X_train[300:400])


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    pyplot.close("all")


@pytest.fixture
def ax():
    return Figure().subplots()


def test_importing_the_module_does_not_import_matplotlib():
    code = "import sys, skscratch.display; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


# Loss curves.


def test_loss_curves_are_drawn_and_kept(encoder, ax):
    display = LossCurveDisplay.from_estimator(encoder, ax=ax)
    assert display.ax_ is ax
    assert display.figure_ is ax.figure
    np.testing.assert_array_equal(display.line_.get_xdata(), [1, 2, 3, 4])
    np.testing.assert_array_equal(display.line_.get_ydata(), encoder.loss_curve_)
    np.testing.assert_array_equal(
        display.validation_line_.get_ydata(), encoder.validation_loss_curve_
    )
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["training", "validation"]
    assert ax.get_title() == "Loss of AutoencoderTransformer"
    assert ax.get_yscale() == "linear"


def test_without_validation_there_is_one_curve(images, ax):
    encoder = AutoencoderTransformer(2, (), max_iter=2, random_state=0).fit(images.X_train[:50])
    display = LossCurveDisplay.from_estimator(encoder, ax=ax)
    assert display.validation_line_ is None
    assert len(ax.lines) == 1


def test_the_loss_can_be_on_a_logarithmic_scale(encoder, ax):
    LossCurveDisplay.from_estimator(encoder, ax=ax, log_scale=True, name="mine", color="black")
    assert ax.get_yscale() == "log"
    assert ax.get_title() == "Loss of mine"
    assert {line.get_color() for line in ax.lines} == {"black"}


def test_a_single_epoch_is_a_visible_point(ax):
    assert LossCurveDisplay([0.5]).plot(ax).line_.get_marker() == "o"
    assert LossCurveDisplay([0.5, 0.4]).plot(ax).line_.get_marker() == "None"


def test_plotting_again_draws_the_same_elsewhere(encoder):
    display = LossCurveDisplay.from_estimator(encoder)
    first = display.ax_
    display.plot()
    assert display.ax_ is not first
    assert len(display.ax_.lines) == len(first.lines) == 2


def test_mlps_have_loss_curves_too(images, ax):
    X, y = images.X_train[:100], images.y_train[:100]
    model = MLPRegressor(
        hidden_layer_sizes=5, max_iter=9, tol=1e9, n_iter_no_change=2, random_state=0
    )
    display = LossCurveDisplay.from_estimator(model.fit(X, y), ax=ax)
    assert len(display.line_.get_ydata()) == model.n_iter_ > 1


def test_an_estimator_without_a_loss_curve_is_refused(images, ax):
    X, y = images.X_train[:100], images.y_train[:100]
    lbfgs = MLPClassifier(5, solver="lbfgs", tol=1.0, random_state=0).fit(X, y)
    for model in (LinearSVM().fit(X, y), lbfgs, PCA(2).fit(X)):
        with pytest.raises(ValueError, match=f"{type(model).__name__} has no loss curve"):
            LossCurveDisplay.from_estimator(model, ax=ax)


@pytest.mark.parametrize("display", [LossCurveDisplay, ReconstructionDisplay, LatentSpaceDisplay])
def test_an_estimator_that_is_not_fitted_is_refused(display, images, ax):
    data = () if display is LossCurveDisplay else (images.X_test,)
    with pytest.raises(NotFittedError):
        display.from_estimator(AutoencoderTransformer(), *data, ax=ax)


# Reconstructions.


def test_originals_are_drawn_above_their_reconstructions(encoder, images, ax):
    display = ReconstructionDisplay.from_estimator(encoder, images.X_test, n_images=3, ax=ax)
    picture = display.image_.get_array()
    assert display.ax_ is ax
    assert display.figure_ is ax.figure
    assert picture.shape == (17, 26)
    rebuilt = encoder.reconstruct(images.X_test[:3])
    for k in range(3):
        columns = slice(9 * k, 9 * k + 8)
        np.testing.assert_array_equal(picture[:8, columns], images.X_test[k].reshape(8, 8))
        np.testing.assert_allclose(picture[9:, columns], rebuilt[k].reshape(8, 8), rtol=1e-6)
    assert np.ma.getmaskarray(picture)[8].all()
    assert ax.get_ylim() == (16.5, -0.5), "the first row of pixels is at the top"


def test_all_rows_are_drawn_if_there_are_few(encoder, images):
    display = ReconstructionDisplay.from_estimator(encoder, images.X_test[:2])
    assert len(display.originals) == 2
    ax = display.ax_
    assert display.plot().ax_ is not ax


def test_images_need_not_be_square(images, ax):
    pca = PCA(3).fit(images.X_train)
    display = ReconstructionDisplay.from_estimator(
        pca, images.X_test, n_images=1, image_shape=(4, 16), ax=ax, cmap="viridis"
    )
    assert display.image_.get_array().shape == (9, 16)
    assert display.image_.get_cmap().name == "viridis"


def test_an_image_shape_that_cannot_be_guessed_is_required(images, ax):
    pca = PCA(3).fit(images.X_train[:, :50])
    with pytest.raises(ValueError, match="50 pixels, which do not form a square"):
        ReconstructionDisplay.from_estimator(pca, images.X_test[:, :50], ax=ax)


@pytest.mark.parametrize("shape", [(8, 9), (64,), (-8, -8), (2, 2, 16)])
def test_a_wrong_shape_is_refused(shape, encoder, images, ax):
    with pytest.raises(ValueError, match="product is 64"):
        ReconstructionDisplay.from_estimator(encoder, images.X_test, image_shape=shape, ax=ax)


def test_an_estimator_without_reconstruct_is_refused(images, ax):
    with pytest.raises(TypeError, match="LinearSVM cannot reconstruct"):
        ReconstructionDisplay.from_estimator(LinearSVM(), images.X_test, ax=ax)
    with pytest.raises(TypeError, match="LinearSVM has no latent space"):
        LatentSpaceDisplay.from_estimator(LinearSVM(), images.X_test, ax=ax)


def test_zero_images_are_refused(encoder, images, ax):
    with pytest.raises(ValueError, match="n_images must be at least 1"):
        ReconstructionDisplay.from_estimator(encoder, images.X_test, n_images=0, ax=ax)
    for X in (images.X_test[0], images.X_test[:0]):
        with pytest.raises(ValueError, match="at least one image"):
            ReconstructionDisplay.from_estimator(encoder, X, ax=ax)


# The latent space.


def test_more_than_two_features_are_projected_and_labelled_as_components(encoder, images, ax):
    display = LatentSpaceDisplay.from_estimator(encoder, images.X_test, images.y_test, ax=ax)
    latent = encoder.transform(images.X_test).astype(np.float64)
    expected = PCA(2, svd_solver="full").fit(latent)
    np.testing.assert_allclose(display.coordinates, expected.transform(latent), atol=1e-9)
    first, second = expected.explained_variance_ratio_
    assert ax.get_xlabel() == f"principal component 1 ({first:.0%} of the latent variance)"
    assert ax.get_ylabel() == f"principal component 2 ({second:.0%})"
    assert display.explained_variance_ratio == pytest.approx((first, second))


def test_each_class_has_its_points_and_a_legend_entry(encoder, images, ax):
    y = images.y_test
    display = LatentSpaceDisplay.from_estimator(encoder, images.X_test, y, ax=ax)
    assert [len(points.get_offsets()) for points in display.points_] == np.bincount(y).tolist()
    assert [text.get_text() for text in display.legend_.get_texts()] == [str(k) for k in range(10)]
    assert display.colorbar_ is None
    assert display.ax_ is ax
    assert display.figure_ is ax.figure


def test_two_features_are_drawn_as_they_are(images, ax):
    pca = PCA(2).fit(images.X_train)
    display = LatentSpaceDisplay.from_estimator(pca, images.X_test, ax=ax)
    np.testing.assert_array_equal(display.coordinates, pca.transform(images.X_test))
    assert ax.get_xlabel() == "latent feature 1"
    assert display.explained_variance_ratio is None
    assert len(display.points_) == 1
    assert display.legend_ is None


def test_labels_may_be_strings_and_numbers_get_a_colour_bar(images):
    pca = PCA(2).fit(images.X_train)
    names = np.where(images.y_test > 4, "large", "small")
    display = LatentSpaceDisplay.from_estimator(pca, images.X_test, names)
    assert [text.get_text() for text in display.legend_.get_texts()] == ["large", "small"]
    numbers = images.X_test.sum(axis=1)
    display = LatentSpaceDisplay.from_estimator(pca, images.X_test, numbers)
    assert display.legend_ is None
    np.testing.assert_array_equal(display.points_[0].get_array(), numbers)
    assert display.colorbar_.ax.get_ylabel() == "y"


def test_classes_differ_in_more_than_colour():
    looks = {(COLOURS[k % len(COLOURS)], MARKERS[k % len(MARKERS)]) for k in range(110)}
    assert len(looks) == 110
    assert len(set(COLOURS)) == len(COLOURS)


def test_constant_latent_features_are_drawn_without_explained_variance(images, ax):
    encoder = AutoencoderTransformer(3, (), initializer="zeros", max_iter=1, random_state=0)
    encoder.fit(images.X_train[:20])
    encoder.network_.params[:] = 0
    LatentSpaceDisplay.from_estimator(encoder, images.X_test, ax=ax)
    assert "0%" in ax.get_xlabel()


def test_a_single_latent_feature_or_row_is_refused(images, encoder, ax):
    one = PCA(1).fit(images.X_train)
    with pytest.raises(ValueError, match="at least 2 latent features"):
        LatentSpaceDisplay.from_estimator(one, images.X_test, ax=ax)
    with pytest.raises(ValueError, match="at least 2 rows"):
        LatentSpaceDisplay.from_estimator(encoder, images.X_test[:1], ax=ax)


def test_each_row_needs_one_label(encoder, images, ax):
    with pytest.raises(ValueError, match="one label for each of the 360 rows"):
        LatentSpaceDisplay.from_estimator(encoder, images.X_test, images.y_test[:-1], ax=ax)


def test_a_missing_matplotlib_is_reported_with_how_to_install_it():
    for module, code, extra in (
        ("matplotlib", "from skscratch.display import _axes; _axes(None)", "plot"),
        ("jinja2", "from skscratch.__main__ import main; sys.exit(main(['reproduce']))", "report"),
    ):
        hide = f"import sys; sys.modules[{module!r}] = None; "
        run = subprocess.run(
            [sys.executable, "-c", hide + code], capture_output=True, text=True, check=False
        )
        assert run.returncode == 1
        assert f"{module}, which is not installed: pip install 'skscratch[{extra}]'" in run.stderr
