import dataclasses
import json
import math
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from benchmarks import keras_models
from benchmarks.__main__ import main
from benchmarks.reports import autoencoders, comparison, pictures, xor
from benchmarks.reports.autoencoders import SkscratchTraining, make_autoencoder, run_training
from benchmarks.reports.comparison import SEPARABLE, check_parts, compare, without_noise
from benchmarks.reports.gradients import largest_difference
from benchmarks.reports.listings import LISTINGS, count_lines
from benchmarks.reports.plan import DIGITS, MNIST, Plan, Training, plan_for
from benchmarks.reports.published import PUBLISHED
from benchmarks.reports.xor import plain_keras_epoch, run_xor_on
from skscratch import datasets
from skscratch.core import Dense, Network, Sigmoid, Tanh
from skscratch.datasets import load_digits, subsample
from skscratch.experiments import page, report
from skscratch.experiments.latent import LIBLINEAR, NYSTROEM, RBF
from skscratch.experiments.xor import make_network
from skscratch.images import RandomWarp
from tests.experiments.common import Notes

# Keras gives NumPy 2 an array that does not know the argument `copy` yet.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SHARP = {"n_components": 4, "hidden_layer_sizes": (), "loss": "auto", "max_iter": 2}
TINY = Plan(
    shapes={
        "narrow": Training((6,), 3, "sgd", 0.5, 32, (2,)),
        "deep": Training((12, 8), 4, "adam", 1e-3, 64, (1, 3)),
    },
    best=dict.fromkeys(("narrow_small", "narrow_full", "deep_small", "deep_full"), SHARP),
    separable=dict.fromkeys(("small", "full"), SHARP | {"noise": RandomWarp((8, 8), noise=0.1)}),
    small=(60, 40),
    svm={"C": 1.0},
    rbf={"C": 10.0},
    nystroem={"n_components": 20},
    n_rbf=100,
    xor_epochs=(10, 20, 40),
    n_plain=2,
    pairs=False,
)


@pytest.fixture(scope="module")
def images():
    return subsample(load_digits(), n_train=150, n_test=80)


def stand_in(patch):
    """Let skscratch do Keras' part as well, so that a comparison needs no TensorFlow."""
    patch.setattr(keras_models, "import_keras", lambda: None)
    patch.setattr(autoencoders, "run_training", lambda side, *a, **k: run_training("ours", *a, **k))
    patch.setattr(xor, "run_xor_on", lambda side, *a: run_xor_on("ours", *a))
    patch.setattr(xor, "plain_keras_epoch", lambda *args: 0.01)
    patch.setattr(comparison, "environment_facts", report.environment_facts)


@pytest.fixture
def keras_stand_in(monkeypatch):
    stand_in(monkeypatch)


@pytest.fixture(scope="module")
def compared(images, tmp_path_factory):
    """One whole comparison, but for Keras; tests must leave its folder as it is."""
    with pytest.MonkeyPatch.context() as patch:
        stand_in(patch)
        return compare(images, tmp_path_factory.mktemp("compared"), plan=TINY)


@pytest.fixture
def no_pictures(monkeypatch):
    monkeypatch.setattr(pictures, "all_pictures", lambda *results: {})
    monkeypatch.setattr(page, "_embed_pictures", lambda tokens, folder: None)


# Both libraries do the same.


@pytest.mark.parametrize("shape", TINY.shapes)
def test_both_libraries_train_the_same_autoencoder(shape, images):
    pytest.importorskip("tensorflow")
    seen = []
    ours, theirs = (
        run_training(side, TINY.shapes[shape], images, seed=3, on_epoch=seen.append)
        for side in ("ours", "keras")
    )
    np.testing.assert_allclose(ours.losses, theirs.losses, rtol=1e-4)
    assert len(seen) == 2 * len(ours.losses) == 2 * len(ours.seconds)
    for mine, other in zip(ours.marks, theirs.marks, strict=True):
        assert mine.epoch == other.epoch
        assert mine.test_mse == pytest.approx(other.test_mse, rel=1e-4)
    Z, Z_keras = (trained.encode(images.X_test) for trained in (ours, theirs))
    assert Z.shape == (80, TINY.shapes[shape].n_components)
    np.testing.assert_allclose(Z, Z_keras, rtol=0, atol=1e-3)


def test_both_libraries_learn_the_same_exclusive_or():
    pytest.importorskip("tensorflow")
    ours, theirs = (
        run_xor_on(side, make_network(0), 0.5, (10, 20, 40)) for side in ("ours", "keras")
    )
    assert ours.stride == theirs.stride == 10
    np.testing.assert_allclose(ours.curve, theirs.curve, rtol=1e-6)
    for mine, other in zip(ours.readings, theirs.readings, strict=True):
        np.testing.assert_allclose(mine.outputs, other.outputs, rtol=1e-6)
    assert plain_keras_epoch(make_network(0), 0.5, 1) > 0


def test_a_training_is_read_at_its_marks():
    training = Training((32,), 8, "adam", 1e-3, 32, (1, 2))
    result = run_training("ours", training, load_digits(), seed=0)
    assert [mark.epoch for mark in result.marks] == [1, 2]
    assert len(result.losses) == 2


def test_the_exclusive_or_is_learned():
    run = run_xor_on("ours", make_network(0), 0.5, (500, 1000, 5000))
    assert (run.stride, len(run.curve)) == (500, 10)
    assert run.readings[-1].largest_error < 0.03


def test_training_in_steps_is_one_training(images):
    networks = [make_autoencoder(TINY.shapes["deep"], 64, 0)[0] for _ in range(2)]
    whole, steps = (
        SkscratchTraining(n, TINY.shapes["deep"], images.X_train, 0, 1) for n in networks
    )
    whole.train(3, lambda loss: None)
    for n_epochs in (1, 2):
        steps.train(n_epochs, lambda loss: None)
    np.testing.assert_array_equal(networks[0].params, networks[1].params)


def test_the_largest_difference_separates_right_gradients_from_wrong_ones(monkeypatch):
    right = largest_difference()
    assert right < 1e-11

    def backward(self, p, g, f):
        f.dx[...] = 1.01 * f.dy * (1 - f.y * f.y)

    monkeypatch.setattr(Tanh, "backward", backward)
    assert largest_difference() > 1e-5


def test_noise_is_left_out_of_what_is_kept(images):
    from skscratch import AutoencoderTransformer

    encoder = AutoencoderTransformer(**TINY.separable["full"], random_state=0).fit(images.X_train)
    network, n_layers = without_noise(encoder)
    rebuilt = encoder.reconstruct(images.X_test)
    np.testing.assert_allclose(network(images.X_test), rebuilt, atol=1e-6)
    latent = encoder.transform(images.X_test)
    np.testing.assert_allclose(network.part(0, n_layers)(images.X_test), latent, atol=1e-6)


# The whole comparison.


def test_every_part_has_its_figures(compared):
    metrics = json.loads((compared.folder / "metrics.json").read_text())
    assert metrics == json.loads(json.dumps(compared.metrics))
    assert metrics["parts"] == ["gradients", "xor", "autoencoder", "latent"]
    assert metrics["gradients"]["largest_difference"] < 1e-11
    assert [reading["epochs"] for reading in metrics["xor"]["keras"]] == [10, 20, 40]
    assert set(metrics["autoencoder"]) == {*TINY.best, *SEPARABLE}
    deep = metrics["autoencoder"]["deep_full"]
    assert deep["widths"] == [64, 12, 8, 4, 8, 12, 64]
    assert deep["ours"]["losses"] == pytest.approx(deep["keras"]["losses"], rel=1e-4)
    assert [mark["epoch"] for mark in deep["keras"]["marks"]] == [1, 3]
    assert deep["best"]["recipe"] == {"loss": "auto", "max_iter": 2}
    assert len(metrics["latent"]) == 11
    names = set(metrics["latent"]["deep_full_ours"]["test_accuracy"])
    assert names == {"LinearSVM", LIBLINEAR, RBF, NYSTROEM}
    assert np.sum(metrics["latent"]["deep_full_best"]["confusion"]) == 80
    assert len(metrics["rows"]) == len(PUBLISHED)
    assert math.isfinite(metrics["total_seconds"])


def test_every_figure_of_the_table_stands_on_the_page(compared):
    text = compared.report.read_text()
    table = text.partition("## At a glance")[2].partition("\n## ")[0]
    lines = [line for line in table.splitlines() if line.startswith("| ") and "---" not in line][1:]
    assert len(lines) == len(PUBLISHED)
    for line, row in zip(lines, compared.metrics["rows"], strict=True):
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        assert cells[:2] == [row["what"], str(row["report"])]
        for cell, name in zip(cells[2:], ("figure", "keras", "ours", "best", "rival"), strict=True):
            assert (cell == "–") == (row[name] is None)
            if row["kind"] == "error" and row[name] is not None:
                assert float(cell) == pytest.approx(row[name], abs=1e-5)


def test_tables_are_whole(compared):
    text = compared.report.read_text()
    for table in re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE):
        assert len({row.count("|") for row in table.splitlines()}) == 1, table


class Resources(HTMLParser):
    """Collects whatever a page would fetch from elsewhere."""

    def __init__(self, text):
        super().__init__()
        self.sources, self.tags, self.names = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            if name == "id":
                self.names.append(value)
            if name in {"src", "href"}:
                self.sources.append(value)


def test_the_page_for_a_browser_needs_no_other_file(compared):
    text = compared.html.read_text()
    read = Resources(text)
    pictures = {path.name for path in compared.folder.glob("*.png")}
    embedded = [source for source in read.sources if source.startswith("data:image/png;base64,")]
    assert len(embedded) == len(pictures) == 11
    inside = {f"#{name}" for name in read.names}
    assert set(read.sources) - set(embedded) == inside
    assert not {"script", "link", "iframe"} & set(read.tags)
    assert "url(" not in text
    assert "@import" not in text
    for listing in LISTINGS:
        assert listing.name in text


def test_both_pages_have_the_same_tables(compared):
    rows = re.findall(r"^\|(?!---)", compared.report.read_text(), flags=re.MULTILINE)
    assert Resources(compared.html.read_text()).tags.count("tr") == len(rows)


@pytest.mark.usefixtures("no_pictures", "keras_stand_in")
def test_finished_parts_are_not_run_again(compared, images, tmp_path, monkeypatch):
    for path in compared.folder.rglob("parts/*"):
        (tmp_path / "parts").mkdir(exist_ok=True)
        (tmp_path / "parts" / path.name).write_bytes(path.read_bytes())

    def forbidden(*args, **kwargs):
        raise AssertionError("run again")

    notes = Notes()
    with monkeypatch.context() as patched:
        patched.setattr(autoencoders, "run_training", forbidden)
        patched.setattr(xor, "run_xor_on", forbidden)
        again = compare(images, tmp_path, plan=TINY, progress=notes)
    assert again.metrics == compared.metrics
    assert all(line.endswith("finished earlier") for line in notes.lines)

    (tmp_path / "parts" / "deep_full_ours.npz").write_bytes(b"nonsense")
    notes.lines.clear()
    mended = compare(images, tmp_path, plan=TINY, progress=notes)
    assert any("deep_full_ours.npz cannot be used again" in line for line in notes.lines)
    (deep, before) = (run.metrics["autoencoder"]["deep_full"] for run in (mended, compared))
    assert deep["ours"]["losses"] == before["ours"]["losses"]


@pytest.mark.usefixtures("no_pictures", "keras_stand_in")
def test_a_stopped_comparison_goes_on(images, tmp_path, monkeypatch):
    stand_in = autoencoders.run_training

    def interrupted(side, *args, **kwargs):
        if side == "keras":
            raise KeyboardInterrupt
        return stand_in(side, *args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(autoencoders, "run_training", interrupted)
        with pytest.raises(KeyboardInterrupt):
            compare(images, tmp_path, only=["autoencoder"], plan=TINY)
    assert not (tmp_path / "report.md").exists()
    kept = {path.name for path in (tmp_path / "parts").iterdir()}
    assert "narrow_small_ours.npz" in kept
    notes = Notes()
    result = compare(images, tmp_path, only=["autoencoder"], plan=TINY, progress=notes)
    assert notes.lines == ["Autoencoder narrow, small: ours: finished earlier"]
    assert result.metrics["parts"] == ["autoencoder"]
    text = result.report.read_text()
    assert "some of the parts only: autoencoder." in text
    assert "\n## Exclusive or" not in text
    assert {row["part"] for row in result.metrics["rows"]} == {"autoencoder"}


@pytest.mark.usefixtures("no_pictures")
def test_a_part_with_keras_itself(images, tmp_path):
    pytest.importorskip("tensorflow")
    result = compare(images, tmp_path, only=["xor"], plan=TINY)
    ours, theirs = (result.metrics["xor"][side] for side in ("ours", "keras"))
    assert [r["loss"] for r in theirs] == pytest.approx([r["loss"] for r in ours], rel=1e-6)
    assert result.metrics["xor"]["plain_seconds"] > 0
    assert {"tensorflow", "keras"} < set(result.metrics["environment"]["packages"])
    assert "| tensorflow |" in result.report.read_text()


# What is refused.


def test_parts_are_run_in_their_order_and_once():
    assert check_parts(["latent", "xor", "xor"]) == ("xor", "latent")
    with pytest.raises(ValueError, match=r"gradients, xor, autoencoder, latent\. Unknown: 'svm'"):
        check_parts(["xor", "svm"])
    with pytest.raises(ValueError, match="None was named"):
        check_parts([])


def test_without_tensorflow_it_says_what_to_install(images, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "\.\[keras\]"'):
        compare(images, tmp_path / "new", plan=TINY)
    assert not (tmp_path / "new").exists()


def test_another_backend_of_keras_is_refused(monkeypatch):
    pytest.importorskip("tensorflow")
    keras = pytest.importorskip("keras")
    monkeypatch.setattr(keras.backend, "backend", lambda: "numpy")
    with pytest.raises(ValueError, match="KERAS_BACKEND to tensorflow, not numpy"):
        keras_models.import_keras()


# The command line.


def test_the_report_goes_to_a_folder_named_after_the_data(images, tmp_path, monkeypatch, capsys):
    pytest.importorskip("tensorflow")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets, "load_digits", lambda: images)
    monkeypatch.setattr(comparison, "plan_for", lambda name: TINY)
    command = ["reports", "--data", "digits", "--only", "gradients"]
    assert main([*command, "--n-jobs", "1"]) == 0
    folder = Path("out") / "reports" / "digits"
    *_, browser, text = capsys.readouterr().out.splitlines()
    assert browser == f"For a browser: {folder / 'report.html'}"
    assert text == f"Report: {folder / 'report.md'}"
    assert (tmp_path / folder / "report.html").exists()
    assert main(command) == 0
    assert "Gradient check: finished earlier" in capsys.readouterr().out


def refused(capsys, *arguments):
    """Run, expect a failure, and return its one-line message."""
    assert main(["reports", *arguments]) == 1
    err = capsys.readouterr().err
    assert err.startswith("benchmarks: error: ")
    assert err.count("\n") == 1
    return err


def test_the_command_without_tensorflow_says_what_to_install(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    monkeypatch.setattr(datasets, "load_mnist", lambda folder: pytest.fail("the data were read"))
    assert 'needs tensorflow, which is missing. To install it: pip install ".[keras]"' in refused(
        capsys
    )
    assert list(tmp_path.iterdir()) == [], "nothing is left behind"


def test_unknown_parts_are_refused(capsys):
    line = refused(capsys, "--only", "xor,svm")
    assert "gradients, xor, autoencoder, latent. Unknown: 'svm'" in line


@pytest.mark.usefixtures("keras_stand_in")
def test_a_mnist_folder_for_other_images_is_refused(capsys):
    line = refused(capsys, "--data", "digits", "--mnist-dir", "folder")
    assert "--mnist-dir needs --data mnist" in line


# What the page says.


def test_plans_belong_to_names():
    assert plan_for("mnist") is MNIST
    assert MNIST.shapes["deep"].n_components == 64
    assert plan_for("digits") is plan_for("other") is DIGITS
    for plan in (DIGITS, MNIST):
        assert set(plan.best) == {f"{shape}_{size}" for shape in plan.shapes
                                  for size in ("small", "full")}  # fmt: skip


@pytest.mark.parametrize(
    ("ours", "best", "met", "ours_met"),
    [(0.01, 0.003, True, True), (0.03, 0.003, True, False), (0.03, 0.004, False, False)],
)
def test_a_figure_is_met_where_it_passes_the_report_and_its_keras(ours, best, met, ours_met):
    (row,) = (row for row in PUBLISHED if row.report == 2 and row.part == "autoencoder")
    marks = {side: {"marks": [{"train_mse": value}]}
             for side, value in (("ours", ours), ("best", best), ("keras", 0.01))}  # fmt: skip
    shown = row.row({"autoencoder": {"deep_full": marks}})
    assert (shown["met"], shown["ours_met"]) == (met, ours_met)


def test_higher_is_better_where_it_is():
    (row,) = (row for row in PUBLISHED if row.report == 2 and row.part == "latent")
    for accuracy, met in ((0.98, False), (0.985, True)):
        of = {"test_accuracy": {RBF: accuracy}}
        names = ("deep_full_ours", "deep_full_best", "deep_full_keras")
        assert row.row({"latent": dict.fromkeys(names, of)})["met"] is met


@pytest.mark.parametrize("listing", LISTINGS, ids=lambda listing: listing.name)
@pytest.mark.parametrize("side", ["ours", "keras"])
def test_the_listings_run(listing, side, images):
    if side == "keras":
        pytest.importorskip("tensorflow")
    xor = "Exclusive" in listing.name
    X, y = (
        (np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]]), np.array([[0.0], [1], [1], [0]]))
        if xor
        else (images.X_train, images.y_train)
    )
    # Fewer epochs: that they run is what is tested, not what they learn.
    code = getattr(listing, side).replace("50_000", "500").replace("epochs=100", "epochs=1")
    names = {"X": X, "y": y}
    exec(compile(code, listing.name, "exec"), names)
    assert names["outputs" if xor else "rebuilt"].shape == (y if xor else X).shape


def test_lines_are_counted_without_comments_and_gaps():
    assert count_lines("import keras\n\n# why\nx = 1  # what\n") == 2
    assert count_lines("x = 1\n\n# a comment\ny = 2\n") == 2
    for listing in LISTINGS:
        assert count_lines(listing.ours) < count_lines(listing.keras)


def test_the_network_of_a_shape_is_that_of_the_reports():
    network, n_encoder = make_autoencoder(MNIST.shapes["narrow"], 784, 0)
    dense = [layer.width for layer in network.layers if isinstance(layer, Dense)]
    assert dense == [128, 64, 32, 64, 128, 784]
    assert network.part(0, n_encoder).n_out == 32
    assert dataclasses.astuple(MNIST.shapes["narrow"])[2:] == ("sgd", 0.5, 32, (75,))
    assert isinstance(network.layers[-1], Sigmoid)
    assert isinstance(Network([Dense(2), Tanh()], 2).layers[1], Tanh)
