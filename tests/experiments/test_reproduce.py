import dataclasses
import json
import math
import re
import sys

import numpy as np
import pytest
from matplotlib.image import imread

from skscratch import AutoencoderTransformer, LinearSVM, persistence
from skscratch.core import Network
from skscratch.experiments import latent, page, pictures, reproduce, settings_for, xor
from skscratch.experiments.settings import DIGITS, MNIST
from tests.experiments.common import Notes

PICTURES = {
    "xor_loss.png",
    "xor_boundary.png",
    "autoencoder_loss.png",
    "reconstructions.png",
    "reconstruction_loss.png",
    "reconstruction_images.png",
    "latent.png",
    "confusion.png",
    "predictions.png",
}
# Of the second autoencoder.
SECOND = {"reconstruction.skops", "reconstruction_loss.png", "reconstruction_images.png"}
MODELS = {"xor.npz", "autoencoder.skops", "reconstruction.skops", "svm.skops"}
TIMES = {"seconds", "total_seconds", "reused"}


def leaves(value, path=()):
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from leaves(inner, (*path, name))
    elif isinstance(value, list):
        for k, inner in enumerate(value):
            yield from leaves(inner, (*path, k))
    else:
        yield path, value


def figures(metrics):
    """All figures that do not depend on the clock."""
    return {path: value for path, value in leaves(metrics) if not TIMES & set(path)}


@pytest.fixture
def no_pictures(monkeypatch):
    """Pictures take longer than all else; where a test does not look at them, none are drawn."""
    monkeypatch.setattr(pictures, "all_pictures", lambda *results: {})
    monkeypatch.setattr(page, "_embed_pictures", lambda tokens, folder: None)


def test_all_files_are_written(run):
    names = {path.name for path in run.folder.iterdir()}
    assert names == {"report.md", "report.html", "metrics.json", "trained.json", *PICTURES, *MODELS}
    assert run.report.name == "report.md"


def test_the_figures_are_finite_and_the_same_in_the_file(run):
    metrics = json.loads((run.folder / "metrics.json").read_text())
    assert metrics == json.loads(json.dumps(run.metrics))
    for path, value in leaves(metrics):
        assert not isinstance(value, float) or math.isfinite(value), path
    assert metrics["gradients"]["passed"]
    assert metrics["xor"]["solved"]
    assert metrics["autoencoder"]["widths"] == [64, 4, 64]
    assert 0.3 < metrics["latent"]["scores"][0]["test_accuracy"] <= 1
    assert np.sum(metrics["latent"]["confusion"]) == 100
    assert metrics["data"] == {
        "name": "digits",
        "n_train": 300,
        "n_test": 100,
        "n_pixels": 64,
        "image_shape": [8, 8],
    }


def test_every_picture_is_shown_in_the_report_and_has_something_on_it(run):
    shown = set(re.findall(r"!\[[^\]]+\]\(([^)]+)\)", run.report.read_text()))
    assert shown == PICTURES
    for name in PICTURES:
        pixels = imread(run.folder / name)
        assert min(pixels.shape[:2]) > 200
        assert pixels.std() > 0.02, name


def test_the_page_for_a_browser_has_all_pictures_inside(run):
    text = run.html.read_text()
    assert text.count('src="data:image/png;base64,') == len(PICTURES)
    assert text.count("<img ") == len(PICTURES)
    assert "<title>Experiments on digits</title>" in text


def test_the_weights_are_those_of_the_figures(run, images):
    encoder = persistence.load(run.folder / "autoencoder.skops")
    error = np.mean((encoder.reconstruct(images.X_test) - images.X_test) ** 2)
    assert run.metrics["autoencoder"]["test_mse"] == pytest.approx(float(error), rel=1e-5)
    assert persistence.load(run.folder / "svm.skops").C == 0.5
    network = Network.load(run.folder / "xor.npz")
    assert (
        run.metrics["xor"]["outputs"]
        == network(np.array([[0, 0], [0, 1], [1, 0], [1, 1]]))[:, 0].tolist()
    )


def copy_of(run, folder):
    for path in run.folder.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


@pytest.mark.usefixtures("no_pictures")
def test_reuse_trains_nothing_and_gives_the_same_figures(run, images, tiny, tmp_path, monkeypatch):
    def forbidden(*args, **kwargs):
        raise AssertionError("trained again")

    trained = []
    fit_encoder, fit_svm = AutoencoderTransformer.fit, LinearSVM.fit

    def spy(method):
        def fit(self, X, *args, **kwargs):
            trained.append(len(X))
            return method(self, X, *args, **kwargs)

        return fit

    monkeypatch.setattr(xor, "train", forbidden)
    monkeypatch.setattr(AutoencoderTransformer, "fit", spy(fit_encoder))
    monkeypatch.setattr(LinearSVM, "fit", spy(fit_svm))
    notes = Notes()
    again = reproduce(images, copy_of(run, tmp_path), settings=tiny, reuse=True, progress=notes)
    # What is left to train: the linear SVM on the pixels, on principal components and on the second
    # autoencoder's features, and the search.
    assert [n for n in trained if n > 120] == [300, 300, 300]
    assert figures(again.metrics) == figures(run.metrics)
    assert again.metrics["autoencoder"]["seconds"] == run.metrics["autoencoder"]["seconds"]
    assert len(again.metrics["reused"]) == 4
    assert "earlier run" in again.report.read_text()
    assert notes.lines == []


@pytest.mark.usefixtures("no_pictures")
def test_without_reuse_everything_is_trained_again_to_the_same_figures(run, images, tiny, tmp_path):
    notes = Notes()
    again = reproduce(images, copy_of(run, tmp_path), settings=tiny, progress=notes, n_jobs=1)
    assert again.metrics["reused"] == []
    assert figures(again.metrics) == figures(run.metrics)
    for name in ("autoencoder.skops", "reconstruction.skops"):
        one, other = (persistence.load(folder / name) for folder in (run.folder, tmp_path))
        np.testing.assert_array_equal(one.network_.params, other.network_.params)
    one, other = (persistence.load(folder / "svm.skops") for folder in (run.folder, tmp_path))
    np.testing.assert_array_equal(one.coef_, other.coef_)
    assert notes.lines == []


@pytest.mark.usefixtures("no_pictures")
def test_reuse_for_another_seed_trains_and_says_so(run, images, tiny, tmp_path):
    notes = Notes()
    other = reproduce(
        images, copy_of(run, tmp_path), seed=1, settings=tiny, reuse=True, progress=notes
    )
    assert len(notes.lines) == 1
    assert "other data, settings or seed: training again" in notes.lines[0]
    assert other.metrics["reused"] == []
    assert figures(other.metrics) != figures(run.metrics)


@pytest.mark.usefixtures("no_pictures")
def test_a_damaged_model_is_trained_again_and_said_so(run, images, tiny, tmp_path):
    folder = copy_of(run, tmp_path)
    (folder / "autoencoder.skops").write_bytes(b"nonsense")
    notes = Notes()
    again = reproduce(images, folder, settings=tiny, reuse=True, progress=notes)
    assert len(notes.lines) == 1
    assert "autoencoder.skops cannot be used again" in notes.lines[0]
    assert len(again.metrics["reused"]) == 3
    assert figures(again.metrics) == figures(run.metrics)


@pytest.mark.usefixtures("no_pictures")
def test_an_interrupted_run_goes_on_where_it_stopped(images, tiny, tmp_path, monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(latent, "run_latent", interrupted)
        with pytest.raises(KeyboardInterrupt):
            reproduce(images, tmp_path, settings=tiny)
    assert not (tmp_path / "report.md").exists()
    resumed = reproduce(images, tmp_path, settings=tiny, reuse=True)
    assert resumed.metrics["reused"] == ["network for the exclusive or", "autoencoder"]


@pytest.mark.usefixtures("no_pictures")
def test_a_second_autoencoder_is_optional(images, tiny, tmp_path):
    plain = dataclasses.replace(tiny, reconstruction=None)
    result = reproduce(images, tmp_path / "new" / "folder", settings=plain)
    assert result.metrics["reconstruction"] is None
    names = {path.name for path in result.folder.iterdir()}
    assert not SECOND & names
    shown = set(re.findall(r"!\[[^\]]+\]\(([^)]+)\)", result.report.read_text()))
    assert shown == set(PICTURES) - SECOND


def test_a_file_in_the_way_is_refused(images, tiny, tmp_path):
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "folder"):
        with pytest.raises(NotADirectoryError, match="because there is a file"):
            reproduce(images, out, settings=tiny)


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_an_impossible_seed_is_refused(seed, images, tiny, tmp_path):
    with pytest.raises(ValueError, match="seed must be a whole number from 0"):
        reproduce(images, tmp_path, seed=seed, settings=tiny)


def test_settings_belong_to_names():
    assert settings_for("mnist") is MNIST
    assert settings_for("digits") is settings_for("other") is DIGITS


def test_that_skops_is_missing_is_told_at_once(images, tiny, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "skops", None)
    with pytest.raises(ImportError, match="needs skops"):
        reproduce(images, tmp_path / "out", settings=tiny)
    assert not (tmp_path / "out").exists()
