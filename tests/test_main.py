import importlib
import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import skscratch
from skscratch import AutoencoderTransformer, _command_line, datasets
from skscratch.__main__ import main
from skscratch.core import DivergenceError
from skscratch.experiments import Settings, page, pictures
from skscratch.experiments.progress import BarProgress, PlainProgress

# `skscratch.experiments.reproduce` is the function; this is its module.
reproduce_module = importlib.import_module("skscratch.experiments.reproduce")

TINY = Settings(
    encoder={"n_components": 4, "hidden_layer_sizes": (), "max_iter": 10},
    reconstruction=None,
    n_validation=40,
    svm={"C": 0.5},
    rbf={"C": 10.0},
    n_rbf=200,
    search_encoder={"hidden_layer_sizes": (), "max_iter": 3},
    search_grid={"svm__C": [1.0]},
    n_search=120,
    n_seeds=2,
    pairs=False,
)


@pytest.fixture
def quick(monkeypatch, tmp_path):
    """Few images, tiny settings, no pictures, and an empty folder to be in."""
    images = datasets.subsample(datasets.load_digits(), 300, 100)
    monkeypatch.setattr(datasets, "load_digits", lambda: images)
    monkeypatch.setattr(reproduce_module, "settings_for", lambda name: TINY)
    monkeypatch.setattr(pictures, "all_pictures", lambda *results: {})
    monkeypatch.setattr(page, "_embed_pictures", lambda tokens, folder: None)
    monkeypatch.delenv(datasets.MNIST_VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    return images


def fail_with(monkeypatch, error):
    def reproduce(*args, **kwargs):
        raise error

    monkeypatch.setattr(reproduce_module, "reproduce", reproduce)


# Runs that succeed.


def test_the_report_goes_to_a_folder_named_after_the_data(quick, tmp_path, capsys):
    assert main(["reproduce"]) == 0
    out, err = capsys.readouterr()
    assert (tmp_path / "out" / "digits" / "report.md").exists()
    assert out.splitlines()[-1] == f"Report: {Path('out') / 'digits' / 'report.md'}"
    assert err == ""


def test_plain_output_is_made_of_lines_without_control_characters(quick, capsys):
    main(["reproduce", "--out", "here"])
    out = capsys.readouterr().out
    lines = out.split("\n")
    assert all(character.isprintable() for line in lines for character in line)
    assert lines[0] == "300 + 100 images: digits"
    for stage in ("Gradient check", "Exclusive or", "Autoencoder", "Search over the pipeline"):
        assert f"{stage} ..." in lines
        assert any(line.startswith(f"{stage}: done in ") for line in lines)
    # Epochs are reported through callbacks, which scikit-learn has from version 1.9.
    n_reported = 5 if importlib.util.find_spec("sklearn.callback") else 0
    assert sum(line.startswith("  epoch ") for line in lines) == n_reported


def test_reuse_and_seed_are_passed_on(quick, capsys):
    assert main(["reproduce", "--seed", "3"]) == 0
    capsys.readouterr()
    assert main(["reproduce", "--seed", "3", "--reuse", "--n-jobs", "1"]) == 0
    assert "Autoencoder, trained earlier ..." in capsys.readouterr().out
    assert main(["reproduce", "--seed", "4", "--reuse"]) == 0
    out = capsys.readouterr().out
    assert "training again" in out
    assert "trained earlier" not in out


def test_mnist_is_read_from_the_folder(quick, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(datasets.sklearn.datasets, "fetch_openml", None)
    arrays = {}
    for part, X, y in (
        ("train", quick.X_train, quick.y_train),
        ("test", quick.X_test, quick.y_test),
    ):
        arrays[f"x_{part}"] = (255 * X).astype(np.uint8).reshape(-1, 8, 8)
        arrays[f"y_{part}"] = y.astype(np.uint8)
    np.savez(tmp_path / "mnist.npz", **arrays)
    assert main(["reproduce", "--data", "mnist", "--mnist-dir", str(tmp_path)]) == 0
    assert "300 + 100 images: mnist" in capsys.readouterr().out
    assert (tmp_path / "out" / "mnist" / "metrics.json").exists()


def test_the_version_is_told(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"skscratch {skscratch.__version__}\n"


def test_help_names_every_option(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["reproduce", "--help"])
    assert caught.value.code == 0
    out = capsys.readouterr().out
    for option in ("--data", "--mnist-dir", "--out", "--seed", "--n-jobs", "--reuse"):
        assert option in out


# Mistakes of a person: one line, and no traceback.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: command"),
        (["nonsense"], "invalid choice: 'nonsense'"),
        (["reproduce", "--data", "letters"], "invalid choice: 'letters'"),
        (["reproduce", "--seed", "-1"], "it must be from 0 to 4294967295, got -1"),
        (["reproduce", "--seed", "4294967296"], "it must be from 0 to 4294967295"),
        (["reproduce", "--seed", "x"], "'x' is not an integer"),
        (["reproduce", "--n-jobs", "0"], "it must not be 0"),
        (["reproduce", "--n-jobs", "1.5"], "'1.5' is not an integer"),
        (["reproduce", "--out", "file"], "'file' is a file, not a folder"),
        (["reproduce", "--out", "file/folder"], "'file' is a file, not a folder"),
        (["reproduce", "--unknown"], "unrecognized arguments: --unknown"),
    ],
)
def test_wrong_arguments_end_with_code_2(arguments, message, quick, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    out, err = capsys.readouterr()
    assert message in err.splitlines()[-1]
    assert out == ""


def refused(capsys, *arguments):
    """Run, expect a failure, and return the one line that tells of it."""
    assert main(arguments) == 1
    err = capsys.readouterr().err
    assert err.startswith("skscratch: error: ")
    assert err.count("\n") == 1
    return err


def test_a_folder_without_mnist_is_told(quick, tmp_path, capsys):
    line = refused(capsys, "reproduce", "--data", "mnist", "--mnist-dir", "nowhere")
    assert "There is no MNIST folder nowhere" in line
    line = refused(capsys, "reproduce", "--data", "mnist", "--mnist-dir", str(tmp_path))
    assert "lacks train-images-idx3-ubyte" in line
    assert not (tmp_path / "out").exists(), "nothing is left behind"


def test_that_skops_is_missing_is_told_before_anything_is_read(
    quick, monkeypatch, capsys, tmp_path
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "skops", None)
    monkeypatch.setattr(datasets, "load_digits", lambda: pytest.fail("the data were read"))
    assert "needs skops" in refused(capsys, "reproduce")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_download_is_told(quick, monkeypatch, capsys):
    def fetch_openml(*args, **kwargs):
        raise OSError("no\nnetwork")

    monkeypatch.setattr(datasets.sklearn.datasets, "fetch_openml", fetch_openml)
    line = refused(capsys, "reproduce", "--data", "mnist")
    assert "could not be downloaded" in line
    assert "--mnist-dir" in line


def test_a_mnist_folder_without_mnist_is_a_mistake(quick, capsys):
    assert "needs --data mnist" in refused(capsys, "reproduce", "--mnist-dir", "folder")


@pytest.mark.parametrize(
    "error", [PermissionError("no entry"), DivergenceError("no entry"), ImportError("no entry")]
)
def test_errors_of_a_run_are_one_line(error, quick, monkeypatch, capsys):
    fail_with(monkeypatch, error)
    assert "no entry" in refused(capsys, "reproduce")


def test_an_error_without_a_text_is_named(quick, monkeypatch, capsys):
    fail_with(monkeypatch, OSError())
    assert "OSError" in refused(capsys, "reproduce")


def test_errors_of_the_program_are_not_hidden(quick, monkeypatch):
    fail_with(monkeypatch, ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        main(["reproduce"])


def test_ctrl_c_ends_with_code_130(quick, monkeypatch, capsys):
    fail_with(monkeypatch, KeyboardInterrupt())
    assert main(["reproduce"]) == 130
    assert capsys.readouterr().err == "\nskscratch: interrupted\n"


@pytest.fixture
def sigint():
    """Let Ctrl-C raise: processes that were started in the background ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("sigint")
def test_ctrl_c_within_a_fit_ends_the_command(quick, monkeypatch, capsys):
    def pressed(estimator, *data, **options):
        from skscratch.estimators import _base

        begin = _base.begin_training

        def begin_and_press():
            interrupts = begin()
            signal.raise_signal(signal.SIGINT)
            return interrupts

        with monkeypatch.context() as patched:
            patched.setattr(_base, "begin_training", begin_and_press)
            return fit(estimator, *data, **options)

    fit = AutoencoderTransformer.fit
    monkeypatch.setattr(AutoencoderTransformer, "fit", pressed)
    assert main(["reproduce"]) == 130
    assert capsys.readouterr().err == "\nskscratch: interrupted\n"


# The same in a process of its own.


def start(*arguments, folder, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "skscratch", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env={**os.environ, "FORCE_COLOR": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        **options,
    )


@pytest.mark.usefixtures("sigint")
@pytest.mark.skipif(os.name != "posix", reason="Ctrl-C is a POSIX signal here")
def test_a_real_ctrl_c_leaves_no_traceback(tmp_path):
    process = start("reproduce", folder=tmp_path)
    lines = [process.stdout.readline(), process.stdout.readline()]
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert lines == ["1,437 + 360 images: digits\n", "Gradient check ...\n"]
    assert process.returncode == 130
    assert err.strip() == "skscratch: interrupted"
    assert "\x1b" not in out


@pytest.mark.skipif(os.name != "posix", reason="a closed pipe is an error of POSIX")
def test_a_reader_that_goes_away_is_no_traceback(tmp_path):
    process = start("reproduce", folder=tmp_path)
    process.stdout.close()
    process.wait(timeout=60)
    assert process.returncode == 1
    assert process.stderr.read() == ""
    process.stderr.close()


# Bars on a terminal, lines elsewhere.


def test_bars_are_for_terminals(monkeypatch):
    assert isinstance(_command_line._progress(), PlainProgress)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert isinstance(_command_line._progress(), BarProgress)
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(_command_line._progress(), PlainProgress)
