"""Fits that are saved between two epochs and completed by another process."""

import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest
from scipy import sparse
from sklearn import clone
from sklearn.base import BaseEstimator
from sklearn.datasets import load_digits
from sklearn.pipeline import make_pipeline

from skscratch import AutoencoderTransformer, LinearSVM, MLPClassifier, MLPRegressor, persistence
from skscratch.core import SGD, Averaged
from skscratch.core.optimizers import Optimizer

pytest.importorskip("sklearn.callback")
pytest.importorskip("skops")

from sklearn.callback import CallbackSupportMixin, with_callbacks

from skscratch.callbacks import Checkpoint, EpochCallback, HistoryLog, resume

X, LABELS = load_digits(return_X_y=True)
X = X[:300] / 16
LABELS = LABELS[:300]
WEIGHT = 1 + np.arange(len(X)) % 3
N_EPOCHS = 6
SOLVERS = sorted(set(Optimizer.members()) - {"lbfgs"})
ENDLESS = {"max_iter": N_EPOCHS, "n_iter_no_change": 99, "random_state": 0, "batch_size": 64}


class Killed(BaseException):
    """Stands for the end of the process."""


class KillAfter(EpochCallback):
    """Ends the process, as it were, after some epochs."""

    def __init__(self, n_epochs):
        self.left = n_epochs

    def on_epoch(self, record):
        self.left -= 1
        if not self.left:
            raise Killed


class Count(EpochCallback):
    """Counts the epochs."""

    n_epochs = 0

    def on_epoch(self, record):
        self.n_epochs += 1


class Epochless(CallbackSupportMixin, BaseEstimator):
    """An estimator of someone else, with callbacks but without epochs."""

    @with_callbacks
    def fit(self, X, y):
        self._init_callback_context()
        return self


def mlp(**options):
    return MLPClassifier((20,), **(ENDLESS | options))


def autoencoder(**options):
    return AutoencoderTransformer(4, (16,), **(ENDLESS | options))


CASES = {
    **{f"solver {name}": (mlp(solver=name), {}) for name in SOLVERS},
    "averaged sgd": (mlp(solver=Averaged(SGD(momentum=0.9)), learning_rate_init=0.1), {}),
    "noise and dropout": (mlp(noise="gaussian", dropout=0.3), {}),
    "noise in several shards": (
        MLPClassifier((300,), **(ENDLESS | {"batch_size": 300}), noise="masking", n_jobs=2),
        {},
    ),
    "one_cycle": (mlp(learning_rate="one_cycle", learning_rate_init=0.01), {}),
    "plateaus": (
        mlp(solver="sgd", learning_rate="adaptive", n_iter_no_change=1, tol=10.0, max_iter=9),
        {},
    ),
    "early stopping": (mlp(early_stopping=True), {}),
    "early stopping that has stopped": (
        mlp(early_stopping=True, n_iter_no_change=1, tol=10.0, max_iter=50),
        {},
    ),
    "random state of its own": (mlp(random_state=np.random.RandomState(3)), {}),
    "validation set": (mlp(), {"X_val": X[::3], "y_val": LABELS[::3]}),
    "weights": (
        mlp(class_weight="balanced"),
        {"sample_weight": WEIGHT, "X_val": X[::3], "y_val": LABELS[::3]},
    ),
    "clipped gradients": (mlp(max_gradient_norm=0.1), {}),
    "one batch": (mlp(batch_size=300, learning_rate_init=0.01), {}),
    "float32": (mlp(), {}),
    "sparse": (mlp(), {}),
    "regressor": (MLPRegressor(hidden_layer_sizes=(20,), **ENDLESS), {}),
    "autoencoder": (autoencoder(), {}),
    "autoencoder with noise and a validation set": (
        autoencoder(noise="masking", n_jobs=2),
        {"X_val": X[::3]},
    ),
}


def arguments(name, model):
    """Return the data of a case."""
    rows = X.astype(np.float32) if name == "float32" else X
    rows = sparse.csr_matrix(rows) if name == "sparse" else rows
    if isinstance(model, AutoencoderTransformer):
        return (rows,)
    return rows, LABELS.astype(float) if isinstance(model, MLPRegressor) else LABELS


def fit(model, *data, callbacks=(), **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.set_callbacks(*callbacks).fit(*data, **options)


def assert_equal_fits(mine, its):
    """Check that two fits are the same, to the bit, and go on in the same way."""
    np.testing.assert_array_equal(mine.network_.params, its.network_.params)
    assert mine.history_ == its.history_
    for name in ("n_iter_", "t_", "loss_", "stop_reason_"):
        assert getattr(mine, name) == getattr(its, name), name
    for name in ("best_loss_", "best_validation_score_", "validation_scores_"):
        assert getattr(mine, name, None) == getattr(its, name, None), name
    states = mine._training_state, its._training_state
    for slots in zip(*(state.optimizer.slots for state in states), strict=True):
        np.testing.assert_array_equal(*slots)
    np.testing.assert_array_equal(*(state.rng.permutation(50) for state in states))
    assert not {"_running_fit", "_saved_fit", "_resumed_fit"} & vars(mine).keys()


@pytest.mark.parametrize("n_epochs", [1, 4])
@pytest.mark.parametrize("name", CASES)
def test_a_killed_fit_is_completed_with_the_same_bits(name, n_epochs, tmp_path):
    template, options = CASES[name]
    data = arguments(name, template)
    # A clone shares a generator, which each fit must find as it was.
    whole = fit(fresh(template), *data, **options)
    file, count = tmp_path / "fit.skops", Count()
    try:
        killed = fresh(template)
        fit(killed, *data, callbacks=[Checkpoint(file), KillAfter(n_epochs)], **options)
    except Killed:
        assert not hasattr(killed, "network_")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        resumed = resume(file, *data, callbacks=[count], **options)
    assert_equal_fits(resumed, whole)
    assert count.n_epochs == max(0, whole.n_iter_ - n_epochs)


def fresh(template):
    """Return a copy whose generator is in the state of the template's."""
    copied = clone(template)
    if isinstance(template.random_state, np.random.RandomState):
        copied.random_state = np.random.RandomState(3)
    return copied


def test_a_fit_that_continues_an_earlier_one_is_completed(tmp_path):
    file = tmp_path / "fit.skops"
    models = [fit(mlp(warm_start=True), X, LABELS) for _ in range(2)]
    whole = fit(models[0], X, LABELS)
    with pytest.raises(Killed):
        fit(models[1], X, LABELS, callbacks=[Checkpoint(file, every=2), KillAfter(5)])
    assert models[1].n_iter_ == N_EPOCHS
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        resumed = resume(file, X, LABELS)
    assert_equal_fits(resumed, whole)
    assert len(resumed.history_) == 2 * N_EPOCHS
    # Without other callbacks, the rest of the fit is saved too.
    assert persistence.load(file)._saved_fit.n_epochs == N_EPOCHS


SVMS = {
    "squared hinge": {},
    "hinge, averaged": {"loss": "hinge", "average": True},
    "Crammer and Singer": {"multi_class": "crammer_singer", "loss": "hinge"},
    "balanced, without intercept": {"class_weight": "balanced", "fit_intercept": False},
    "threads": {"n_jobs": 2},
}


@pytest.mark.parametrize("rows", [X, X.astype(np.float32), sparse.csr_matrix(X)])
@pytest.mark.parametrize("name", SVMS)
def test_a_linear_svm_by_mini_batches_is_completed(name, rows, tmp_path):
    def svm():
        return LinearSVM(solver="sgd", max_iter=12, tol=1e-12, random_state=0, **SVMS[name])

    file, count = tmp_path / "fit.skops", Count()
    whole = fit(svm(), rows, LABELS, sample_weight=WEIGHT)
    callbacks = [Checkpoint(file, every=3), KillAfter(8)]
    with pytest.raises(Killed):
        fit(svm(), rows, LABELS, callbacks=callbacks, sample_weight=WEIGHT)
    half = persistence.load(file)
    assert half.n_iter_ == 6
    assert half.predict(rows).shape == LABELS.shape
    with pytest.raises(ValueError, match="y is not that of the saved fit: its content differs"):
        resume(file, rows, LABELS[::-1], sample_weight=WEIGHT)
    for n_epochs in (2, 99):
        callbacks = [Checkpoint(file), count, KillAfter(n_epochs)]
        try:
            resumed = fit_without_warnings(
                resume, file, rows, LABELS, sample_weight=WEIGHT, callbacks=callbacks
            )
        except Killed:
            continue
    assert count.n_epochs == 12 - 6
    np.testing.assert_array_equal(resumed.coef_, whole.coef_)
    np.testing.assert_array_equal(resumed.intercept_, whole.intercept_)
    for attribute in ("n_iter_", "objective_", "dual_gap_"):
        assert getattr(resumed, attribute) == getattr(whole, attribute)
    assert not {"_running_fit", "_saved_fit", "_resumed_fit"} & vars(resumed).keys()


@pytest.mark.parametrize("warm_start", [False, True])
def test_a_fit_may_be_killed_and_resumed_again_and_again(warm_start, tmp_path):
    file = tmp_path / "fit.skops"
    whole, killed = (mlp(warm_start=warm_start, noise="masking") for _ in range(2))
    if warm_start:
        fit(whole, X, LABELS)
        fit(killed, X, LABELS)
    fit(whole, X, LABELS)
    with pytest.raises(Killed):
        fit(killed, X, LABELS, callbacks=[Checkpoint(file), KillAfter(2)])
    for _ in range(2):
        callbacks = [Checkpoint(file), KillAfter(1)]
        with pytest.raises(Killed):
            fit_without_warnings(resume, file, X, LABELS, callbacks=callbacks)
    assert persistence.load(file)._saved_fit.n_epochs == 4
    count = Count()
    resumed = fit_without_warnings(resume, file, X, LABELS, callbacks=count)
    assert_equal_fits(resumed, whole)
    assert count.n_epochs == N_EPOCHS - 4


def test_ctrl_c_in_a_resumed_fit_keeps_its_epochs(tmp_path):
    class Press(EpochCallback):
        def on_epoch(self, record):
            if record["epoch"] == 4:
                signal.raise_signal(signal.SIGINT)

    file = tmp_path / "fit.skops"
    with pytest.raises(Killed):
        fit(mlp(), X, LABELS, callbacks=[Checkpoint(file), KillAfter(2)])
    resumed = fit_without_warnings(resume, file, X, LABELS, callbacks=[Press()])
    assert resumed.stop_reason_ == "interrupted"
    assert resumed.n_iter_ == len(resumed.history_) == 4
    half = fit(mlp(max_iter=4), X, LABELS)
    np.testing.assert_array_equal(resumed.network_.params, half.network_.params)


def test_names_of_columns_belong_to_the_data(tmp_path):
    pandas = pytest.importorskip("pandas")
    names = [f"pixel {k}" for k in range(X.shape[1])]
    frame, file = pandas.DataFrame(X, columns=names), tmp_path / "fit.skops"
    with pytest.raises(Killed):
        fit(mlp(), frame, LABELS, callbacks=[Checkpoint(file), KillAfter(2)])
    for other in (X, frame.rename(columns={"pixel 0": "dot 0"})):
        with pytest.raises(ValueError, match="X is not that of the saved fit: its columns differs"):
            fit_without_warnings(resume, file, other, LABELS)
    resumed = fit_without_warnings(resume, file, frame, LABELS)
    assert_equal_fits(resumed, fit(mlp(), frame, LABELS))


@pytest.mark.parametrize(
    "labels",
    [
        np.datetime64("2026-01-01") + LABELS,
        LABELS % 2 == 0,
        np.eye(10, dtype=int)[LABELS],
        sparse.csr_matrix(np.eye(10, dtype=int)[LABELS]),
        np.zeros(len(X)),
    ],
    ids=["dates", "booleans", "indicators", "sparse indicators", "one class"],
)
def test_labels_of_any_kind_are_compared(labels, tmp_path):
    file = tmp_path / "fit.skops"
    with pytest.raises(Killed):
        fit(mlp(), X, labels, callbacks=[Checkpoint(file), KillAfter(2)])
    resumed = fit_without_warnings(resume, file, X, labels)
    assert_equal_fits(resumed, fit(mlp(), X, labels))


def test_the_same_sparse_rows_may_have_other_indices(tmp_path):
    rows, file = sparse.csr_matrix(X), tmp_path / "fit.skops"
    with pytest.raises(Killed):
        fit(mlp(), rows, LABELS, callbacks=[Checkpoint(file), KillAfter(2)])
    wide = rows.copy()
    wide.indices, wide.indptr = wide.indices.astype(np.int64), wide.indptr.astype(np.int64)
    assert_equal_fits(fit_without_warnings(resume, file, wide, LABELS), fit(mlp(), rows, LABELS))


@pytest.mark.parametrize("n_before", [0, N_EPOCHS])
def test_the_estimator_in_the_file_is_fitted_as_far_as_it_is(n_before, tmp_path):
    file, model = tmp_path / "fit.skops", mlp(warm_start=True)
    if n_before:
        fit(model, X, LABELS)
    with pytest.raises(Killed):
        fit(model, X, LABELS, callbacks=[Checkpoint(file), KillAfter(4)])
    half = persistence.load(file)
    assert half.t_ == (n_before + 4) * len(X)
    assert half.n_iter_ == 4
    assert half.best_loss_ == min(half.loss_curve_)
    assert half.stop_reason_ == "interrupted"


def test_saving_a_loaded_checkpoint_forgets_the_fit(tmp_path):
    file = tmp_path / "fit.skops"
    with pytest.raises(Killed):
        fit(mlp(), X, LABELS, callbacks=[Checkpoint(file), KillAfter(2)])
    # Its parameters might be changed before it is saved.
    persistence.save(persistence.load(file).set_params(alpha=3.0), file)
    with pytest.raises(ValueError, match="contains no fit to complete"):
        resume(file, X, LABELS)


@pytest.mark.parametrize("name", ["rng", "first", "n_before", "run"])
def test_a_damaged_fit_is_refused_when_the_file_is_read(name, tmp_path):
    file = tmp_path / "fit.skops"
    with pytest.raises(Killed):
        fit(mlp(), X, LABELS, callbacks=[Checkpoint(file), KillAfter(2)])
    half = persistence.load(file)
    setattr(half._saved_fit, name, "damaged")
    with pytest.raises(ValueError, match="Cannot save"):
        persistence.save_with_fit(half, file)


@pytest.mark.skipif(os.name != "posix", reason="Windows restricts symbolic links")
def test_a_symbolic_link_is_followed(tmp_path):
    (tmp_path / "far").mkdir()
    link = tmp_path / "fit.skops"
    link.symlink_to(tmp_path / "far" / "fit.skops")
    fit(mlp(), X, LABELS, callbacks=[Checkpoint(link)])
    assert link.is_symlink()
    assert persistence.load(tmp_path / "far" / "fit.skops")._saved_fit.n_epochs == N_EPOCHS


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"X": X[:200], "y": LABELS[:200], "sample_weight": WEIGHT[:200]},
            r"X is not .* its shape differs \(\(200, 64\) instead",
        ),
        (
            {"X": X.astype(np.float32)},
            r"X is not .* its dtype differs \(float32 instead of float64",
        ),
        ({"X": sparse.csr_matrix(X)}, r"its format differs \(sparse instead of dense\)"),
        ({"X": X + 1e-9}, r"X is not that of the saved fit: its content differs\."),
        ({"y": LABELS[::-1]}, r"y is not that of the saved fit: its content differs\."),
        ({"sample_weight": WEIGHT[::-1]}, r"sample_weight is not .* its content differs\."),
        ({"sample_weight": None}, r"had sample_weight, but the call has no sample_weight"),
        ({"X_val": X[:9], "y_val": LABELS[:9]}, r"had no X_val, but the call has X_val"),
    ],
)
def test_other_data_are_named(changed, message, tmp_path):
    file = tmp_path / "fit.skops"
    given = {"X": X, "y": LABELS, "sample_weight": WEIGHT}
    with pytest.raises(Killed):
        mlp().set_callbacks(Checkpoint(file), KillAfter(1)).fit(**given)
    before = file.read_bytes()
    with pytest.raises(ValueError, match=message):
        resume(file, **(given | changed))
    assert file.read_bytes() == before


def test_other_names_of_classes_are_other_targets(tmp_path):
    names = np.array(list("abcdefghij"), dtype=object)[LABELS]
    file = tmp_path / "fit.skops"
    with pytest.raises(Killed):
        mlp().set_callbacks(Checkpoint(file), KillAfter(1)).fit(X, names)
    with pytest.raises(ValueError, match="y is not that of the saved fit"):
        resume(file, X, np.where(names == "a", "b", names))
    assert fit_without_warnings(resume, file, X, names).n_iter_ == N_EPOCHS


def fit_without_warnings(function, *arguments, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*arguments, **options)


def fit_recording(model):
    """Fit, and return the model and the texts of all warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(X, LABELS)
    return model, [str(warning.message) for warning in caught]


def test_a_checkpoint_predicts_and_its_fit_begins_anew(tmp_path):
    file = tmp_path / "fit.skops"
    with pytest.raises(Killed):
        mlp().set_callbacks(Checkpoint(file), KillAfter(2)).fit(X, LABELS)
    half = persistence.load(file)
    assert half.predict(X).shape == LABELS.shape
    assert len(half.history_) == 2
    again = fit(half, X, LABELS)
    np.testing.assert_array_equal(again.network_.params, fit(mlp(), X, LABELS).network_.params)
    assert not hasattr(again, "_saved_fit")


def test_a_file_of_the_wrong_kind_is_named(tmp_path):
    file = tmp_path / "model.skops"
    persistence.save(fit(mlp(), X, LABELS), file)
    with pytest.raises(
        ValueError, match="contains no fit to complete, only a fitted MLPClassifier"
    ):
        resume(file, X, LABELS)
    file.write_bytes(b"no archive")
    with pytest.raises(ValueError, match="not an estimator saved by"):
        resume(file, X, LABELS)
    with pytest.raises(FileNotFoundError):
        resume(tmp_path / "none.skops", X, LABELS)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (mlp(solver="lbfgs"), "solver='lbfgs' cannot be saved"),
        (LinearSVM(), "in epochs with solver='sgd' only, got 'auto'"),
        (Epochless(), "needs an estimator that trains in epochs; Epochless does not"),
    ],
)
def test_what_cannot_be_saved_is_refused_at_once(model, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        model.set_callbacks(Checkpoint(tmp_path / "fit.skops")).fit(X, LABELS)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("every", [0, 1.5, True, "2"])
def test_every_is_a_number_of_epochs(every):
    with pytest.raises(ValueError, match="every must be a number of epochs"):
        Checkpoint("fit.skops", every)


@pytest.mark.parametrize("callback", [Checkpoint, HistoryLog])
def test_a_missing_folder_is_refused_before_training(callback, tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no folder"):
        mlp().set_callbacks(callback(tmp_path / "none" / "file")).fit(X, LABELS)
    with pytest.raises(IsADirectoryError, match="is a folder"):
        mlp().set_callbacks(callback(tmp_path)).fit(X, LABELS)


def test_what_a_killed_process_left_is_removed(tmp_path):
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    names = {
        f".fit.skops.{ended.pid}-0123abcd.part": os.name != "posix",
        # Other processes may be writing these.
        f".fit.skops.{os.getpid()}-0123abcd.part": True,
        ".fit.skops.1-0123abcd.part": True,
        ".fit.skops.word.part": True,
        f".other.skops.{ended.pid}-0123abcd.part": True,
    }
    for name in names:
        (tmp_path / name).write_bytes(b"half")
    fit(mlp(), X, LABELS, callbacks=[Checkpoint(tmp_path / "fit.skops")])
    assert {name: (tmp_path / name).exists() for name in names} == names


def test_a_full_disk_warns_and_training_goes_on(tmp_path, monkeypatch):
    file, real = tmp_path / "fit.skops", os.fsync
    calls = []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) > 2:
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    model, messages = fit_recording(mlp().set_callbacks(Checkpoint(file)))
    monkeypatch.undo()
    (message,) = [text for text in messages if "written" in text]
    assert re.match(r"The checkpoint of epoch 3 was not written: .*No space left on", message)
    assert model.n_iter_ == N_EPOCHS
    assert [path.name for path in tmp_path.iterdir()] == ["fit.skops"]
    resumed = fit_without_warnings(resume, file, X, LABELS)
    np.testing.assert_array_equal(resumed.network_.params, model.network_.params)


@pytest.mark.skipif(os.name != "posix" or os.getuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_refused_before_training(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError):
        mlp().set_callbacks(Checkpoint(tmp_path / "fit.skops")).fit(X, LABELS)


@pytest.mark.parametrize(
    ("error", "n_written", "ends"),
    [(MemoryError(), 0, False), (ValueError("no"), 0, True), (ValueError("no"), 2, False)],
)
def test_only_a_first_file_that_cannot_be_saved_ends_the_fit(
    error, n_written, ends, tmp_path, monkeypatch
):
    file, real, calls = tmp_path / "fit.skops", persistence.save_with_fit, []

    def fails(*arguments):
        calls.append(None)
        if len(calls) > n_written:
            raise error
        real(*arguments)

    monkeypatch.setattr(persistence, "save_with_fit", fails)
    if ends:
        with pytest.raises(ValueError, match="no"):
            fit(mlp(), X, LABELS, callbacks=[Checkpoint(file)])
        return
    model, messages = fit_recording(mlp().set_callbacks(Checkpoint(file)))
    assert model.n_iter_ == N_EPOCHS
    (message,) = [text for text in messages if "written" in text]
    assert message.startswith(f"The checkpoint of epoch {n_written + 1} was not written: ")


def test_a_line_that_was_written_in_part_is_replaced(tmp_path):
    log = tmp_path / "history.jsonl"

    class Damage(EpochCallback):
        def on_epoch(self, record):
            if record["epoch"] == 3:
                with log.open("a") as stream:
                    stream.write('{"epoch": 4, "lo')

    model = fit(mlp(), X, LABELS, callbacks=[HistoryLog(log), Damage()])
    assert [json.loads(line) for line in log.read_text().splitlines()] == model.history_


def test_a_log_never_mixes_two_fits(tmp_path, monkeypatch):
    log, real, calls = tmp_path / "history.jsonl", persistence.put, []
    log.write_text('{"epoch": 1, "loss": 999}\n\xff')

    def fails_once(*arguments):
        calls.append(None)
        if len(calls) == 1:
            raise OSError(28, "No space left on device")
        real(*arguments)

    monkeypatch.setattr(persistence, "put", fails_once)
    model, _ = fit_recording(mlp().set_callbacks(HistoryLog(log)))
    records = [json.loads(line) for line in log.read_text().splitlines()]
    assert records == model.history_[1:]


def test_a_log_is_json_even_if_training_diverges(tmp_path):
    log = tmp_path / "history.jsonl"
    model = MLPRegressor(
        hidden_layer_sizes=(5,),
        solver="sgd",
        learning_rate_init=5.0,
        early_stopping=True,
        **(ENDLESS | {"max_iter": 50}),
    )
    fit(model, X, LABELS * 100.0, callbacks=[HistoryLog(log)])
    assert model.stop_reason_ == "diverged"

    def refuse(constant):
        raise AssertionError(constant)

    lines = log.read_text().splitlines()
    records = [json.loads(line, parse_constant=refuse) for line in lines]
    assert records[-1]["loss"] is None
    assert len(records) == model.n_iter_


def test_a_record_is_read_without_the_others(monkeypatch):
    records = []

    class Keep(EpochCallback):
        def on_epoch(self, record):
            records.append(record)

    def whole_history(estimator):
        raise AssertionError("the whole history was built")

    model = mlp()
    with monkeypatch.context() as patch:
        patch.setattr(MLPClassifier, "history_", property(whole_history))
        fit(model, X, LABELS, callbacks=[Keep()])
    assert records == model.history_


def test_several_callbacks_work_together(tmp_path):
    from sklearn.callback import ProgressBar

    file, log = tmp_path / "fit.skops", tmp_path / "history.jsonl"
    with pytest.raises(Killed):
        fit(
            mlp(),
            X,
            LABELS,
            callbacks=[Checkpoint(file, every=2), HistoryLog(log), ProgressBar(), KillAfter(5)],
        )
    assert len(log.read_text().splitlines()) == 5
    # A line that the process was writing when it was killed.
    with log.open("a") as stream:
        stream.write('{"epoch": 6, "lo')
    model = fit_without_warnings(
        resume, file, X, LABELS, callbacks=[Checkpoint(file), HistoryLog(log), ProgressBar()]
    )
    records = [json.loads(line) for line in log.read_text().splitlines()]
    assert records == model.history_
    fit(mlp(), X, LABELS, callbacks=[HistoryLog(log)])
    assert len(log.read_text().splitlines()) == N_EPOCHS


def test_a_log_that_cannot_be_written_warns(tmp_path, monkeypatch):
    log = tmp_path / "history.jsonl"

    class Blocks(EpochCallback):
        def on_epoch(self, record):
            if log.is_file():
                log.unlink()
                log.mkdir()

    model, messages = fit_recording(mlp().set_callbacks(HistoryLog(log), Blocks()))
    (message,) = [text for text in messages if "written" in text]
    assert message.startswith("The record of epoch 2 was not written: ")
    assert model.n_iter_ == N_EPOCHS


def test_the_last_step_of_a_pipeline_is_saved(tmp_path):
    from sklearn.preprocessing import StandardScaler

    file = tmp_path / "fit.skops"
    whole = fit_without_warnings(make_pipeline(StandardScaler(), mlp()).fit, X, LABELS)
    pipeline = make_pipeline(StandardScaler(), mlp().set_callbacks(Checkpoint(file), KillAfter(3)))
    with pytest.raises(Killed):
        pipeline.fit(X, LABELS)
    rows = StandardScaler().fit_transform(X)
    resumed = fit_without_warnings(resume, file, rows, LABELS)
    np.testing.assert_array_equal(resumed.network_.params, whole[-1].network_.params)


LIMITED = """
import resource, sys, warnings
from sklearn.datasets import load_digits
from skscratch import MLPClassifier
from skscratch.callbacks import Checkpoint, EpochCallback
class Limit(EpochCallback):
    def on_epoch(self, record):
        if record["epoch"] == 2:
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
X, y = load_digits(return_X_y=True)
model = MLPClassifier((64,), max_iter=4, n_iter_no_change=99, random_state=0)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    model.set_callbacks(Checkpoint(sys.argv[1]), Limit()).fit(X / 16, y)
print(model.n_iter_, *[str(w.message) for w in caught if "written" in str(w.message)])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
def test_a_limit_of_the_file_size_warns_and_training_goes_on(tmp_path):
    file = tmp_path / "fit.skops"
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(file)], capture_output=True, text=True, check=True
    )
    assert re.match(r"4 The checkpoint of epoch 3 was not written: .*File too large", done.stdout)
    assert persistence.load(file)._saved_fit.n_epochs == 2
    assert [path.name for path in tmp_path.iterdir()] == ["fit.skops"]


N_KILLS, LONG = 100, 60
NIGHT = {"max_iter": LONG, "n_iter_no_change": 999, "random_state": 0, "noise": "masking"}


def train_all_night(file, digits, labels):
    fit(MLPClassifier((64,), **NIGHT), digits, labels, callbacks=[Checkpoint(file)])


@pytest.mark.slow
@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs forks")
def test_kills_at_random_moments(tmp_path):
    digits, labels = load_digits(return_X_y=True)
    digits = digits / 16
    whole = fit(MLPClassifier((64,), **NIGHT), digits, labels)
    # A child that is forked need not import anything.
    persistence.import_skops()
    fork = multiprocessing.get_context("fork")
    rng, n_saved, n_unfinished = np.random.default_rng(0), [], 0
    while len(n_saved) < N_KILLS:
        folder = tmp_path / str(len(n_saved))
        folder.mkdir(exist_ok=True)
        file = folder / "fit.skops"
        process = fork.Process(target=train_all_night, args=(file, digits, labels))
        process.start()
        time.sleep(rng.uniform(0, 2))
        if len(n_saved) % 4 == 0:
            # Writing takes a small part of the time: wait for it.
            while process.is_alive() and not any(folder.glob(".*.part")):
                pass
        assert process.is_alive()
        process.kill()
        process.join()
        n_unfinished += len(list(folder.glob(".*.part")))
        if not file.exists():
            continue
        n_saved.append(persistence.load(file)._saved_fit.n_epochs)
        count = Count()
        resumed = fit_without_warnings(resume, file, digits, labels, callbacks=[count])
        np.testing.assert_array_equal(resumed.network_.params, whole.network_.params)
        assert count.n_epochs == LONG - n_saved[-1]
    print(
        f"killed after {min(n_saved)} to {max(n_saved)} of {LONG} epochs, {n_unfinished} times "
        "while a file was written"
    )
    assert len(set(n_saved)) > 5
    assert n_unfinished > 5
