"""Callbacks for `set_callbacks`, which scikit-learn has from version 1.9 on."""

from __future__ import annotations

import json
import math
import os
import warnings
from collections.abc import Callable
from numbers import Integral
from pathlib import Path
from typing import Any

from skscratch import persistence
from skscratch.estimators._checkpoint import RESUMED, RUNNING, SAVED

__all__ = ["Checkpoint", "EpochCallback", "HistoryLog", "resume"]


class EpochCallback:
    """Base class of callbacks that act on the record of each epoch.

    A subclass defines `on_epoch`. The other methods are those of scikit-learn's callback protocol;
    they do nothing unless a subclass defines them too.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skscratch import MLPClassifier
    >>> from skscratch.callbacks import EpochCallback
    >>> class StopAtLoss(EpochCallback):
    ...     def on_epoch(self, record):
    ...         return record["loss"] < 0.5
    >>> model = MLPClassifier(random_state=0)
    >>> _ = model.set_callbacks(StopAtLoss()).fit(*load_iris(return_X_y=True))
    >>> model.loss_ < 0.5 < model.loss_curve_[-2]
    True
    >>> model.stop_reason_
    'callback'
    """

    def on_epoch(self, record: dict[str, Any]) -> bool | None:
        """Act on an epoch (an iteration, with solver='lbfgs').

        Parameters
        ----------
        record : dict
            The last one of the estimator's `history_`. An estimator without `history_`, such as
            `LinearSVM`, gives the number of the `epoch` only.

        Returns
        -------
        bool or None
            Whether to end training.
        """

    def setup(self, estimator: Any, context: Any) -> None:
        """Begin a fit.

        Parameters
        ----------
        estimator : estimator instance
            The estimator that is fitted.
        context : sklearn.callback.CallbackContext
            The task of the fit.
        """

    def on_fit_task_begin(self, estimator: Any, context: Any) -> None:
        """Begin a task: the whole fit, or one epoch.

        Parameters
        ----------
        estimator : estimator instance
            The estimator that is fitted.
        context : sklearn.callback.CallbackContext
            The task.
        """

    def on_fit_task_end(
        self, estimator: Any, context: Any, *, fitted_estimator: Any = None
    ) -> bool | None:
        """End a task, and call `on_epoch` if it is an epoch.

        Parameters
        ----------
        estimator : estimator instance
            The estimator that is fitted.
        context : sklearn.callback.CallbackContext
            The task.
        fitted_estimator : estimator instance
            The estimator after the task.

        Returns
        -------
        bool or None
            Whether to end training.
        """
        if context.parent is None:
            return None
        last_record = getattr(fitted_estimator, "_last_record", None)
        return self.on_epoch(last_record() if last_record else {"epoch": context.task_id + 1})

    def teardown(self, estimator: Any, context: Any) -> None:
        """End a fit.

        Parameters
        ----------
        estimator : estimator instance
            The estimator that was fitted.
        context : sklearn.callback.CallbackContext
            The task of the fit.
        """


class _FileCallback(EpochCallback):
    """A callback that writes a file; training goes on if it cannot."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path: str | os.PathLike[str] = path
        self._failed = False

    def setup(self, estimator: Any, context: Any) -> None:
        """Begin a fit: check that the file can be written.

        Parameters
        ----------
        estimator : estimator instance
            The estimator that is fitted.
        context : sklearn.callback.CallbackContext
            The task of the fit.
        """
        self._begin(estimator)
        persistence.check_can_write(self.path)
        self._failed = False

    def _begin(self, estimator: Any) -> None:
        """Check the estimator, and forget the last fit."""

    def _try(self, what: str, write: Callable[[], None], *expected: type[Exception]) -> bool:
        """Write, or warn once until a write succeeds; return whether it has succeeded."""
        try:
            write()
        except expected as error:
            if not self._failed:
                warnings.warn(
                    f"{what} was not written: {error or type(error).__name__}. Training goes on. "
                    "Further failures are not reported until a write succeeds.",
                    stacklevel=3,
                )
            self._failed = True
            return False
        self._failed = False
        return True


class Checkpoint(_FileCallback):
    """Write a fit to a file every few epochs, so that `resume` can complete it.

    The file is an estimator as `skscratch.persistence.load` reads it, fitted as far as it is, with
    the state of training: optimizer, random numbers, schedule, best parameters and history. It is
    written under another name, flushed and renamed, so that there is always a complete file.
    A path belongs to a single fit, so that searches and cross-validation cannot use a `Checkpoint`.
    `partial_fit` writes nothing, because its caller decides what comes next.

    Parameters
    ----------
    path : str or path-like
        The file; ``.skops`` is the usual extension. An existing file is replaced.
    every : int, default=1
        Write after every so many epochs.

    Raises
    ------
    ValueError
        If the estimator trains without epochs (solver='lbfgs', and `LinearSVM` unless by 'sgd'), or
        holds something that cannot be saved. It is raised when the fit begins, or at the first
        file.
    OSError
        If the folder does not exist or cannot be written to when the fit begins.
    ImportError
        If skops is not installed.

    Warns
    -----
    UserWarning
        If a file cannot be written later, for example because the disk or the memory is full. The
        last complete file is left as it is, and training goes on.

    See Also
    --------
    resume : Complete a fit.
    HistoryLog : Write the records of the epochs.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from sklearn.datasets import load_iris
    >>> from skscratch import MLPClassifier
    >>> from skscratch.callbacks import Checkpoint, resume
    >>> X, y = load_iris(return_X_y=True)
    >>> model = MLPClassifier(
    ...     max_iter=20, n_iter_no_change=20, learning_rate="one_cycle", random_state=0
    ... )
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder) / "fit.skops"
    ...     model = model.set_callbacks(Checkpoint(file, every=15)).fit(X, y)
    ...     resumed = resume(file, X, y)
    >>> bool((resumed.predict_proba(X) == model.predict_proba(X)).all())
    True
    """

    #: The fit keeps what has to be saved.
    needs_training_state = True

    def __init__(self, path: str | os.PathLike[str], every: int = 1) -> None:
        if not isinstance(every, Integral) or isinstance(every, bool) or every < 1:
            raise ValueError(f"every must be a number of epochs, at least 1; got {every!r}.")
        super().__init__(path)
        self.every: int = every
        self._has_written: bool = False

    def _begin(self, estimator: Any) -> None:
        check = getattr(estimator, "_check_saves_fits", None)
        if check is None:
            raise ValueError(
                f"Checkpoint needs an estimator that trains in epochs; "
                f"{type(estimator).__name__} does not."
            )
        check()
        persistence.import_skops()
        self._has_written = False

    def on_fit_task_end(
        self, estimator: Any, context: Any, *, fitted_estimator: Any = None
    ) -> bool | None:
        """Write the file after an epoch, if it is due.

        Parameters
        ----------
        estimator : estimator instance
            The estimator that is fitted.
        context : sklearn.callback.CallbackContext
            The task.
        fitted_estimator : estimator instance
            Not used: the state of training is not in it.
        """
        fit = vars(estimator).get(RUNNING)
        if context.parent is None or fit is None:
            return None
        n_epochs = fit.run.n_epochs
        if n_epochs % self.every:
            return None

        def write() -> None:
            persistence.save_with_fit(fit.snapshot(self.every), self.path)

        # What cannot be saved is an error in the first file, and hardly one to lose a night for.
        expected = (OSError, MemoryError, *((ValueError,) if self._has_written else ()))
        if self._try(f"The checkpoint of epoch {n_epochs}", write, *expected):
            self._has_written = True
        return None


def resume(
    path: str | os.PathLike[str],
    X: Any,
    y: Any = None,
    *,
    callbacks: Any = None,
    **fit_params: Any,
) -> Any:
    """Complete a fit that `Checkpoint` has saved.

    The result has the bits of an uninterrupted fit, and only the missing epochs are computed.
    Calling `fit` on a loaded estimator starts from scratch instead, as everywhere in scikit-learn.

    Parameters
    ----------
    path : str or path-like
        The file.
    X, y : array-like
        The data of the fit.
    callbacks : callback or sequence of callbacks, optional
        Callbacks of the rest of the fit, which a file does not hold; by default a `Checkpoint` with
        the same path and `every`. With an empty list, nothing is written.
    **fit_params : dict
        Other arguments of the fit, such as `sample_weight` or `X_val`.

    Returns
    -------
    estimator
        The fitted estimator.

    Raises
    ------
    ValueError
        If the file holds no unfinished fit, or the data are not those of the fit: the message names
        the argument, and says which of format, shape, dtype, names and content differs.
    OSError
        If the file cannot be read.

    See Also
    --------
    Checkpoint : Save a fit.

    Examples
    --------
    See `Checkpoint`.
    """
    estimator = persistence.load(path)
    saved = vars(estimator).pop(SAVED, None)
    if saved is None:
        raise ValueError(
            f"{os.fspath(path)!r} contains no fit to complete, only a fitted "
            f"{type(estimator).__name__}: it was not written by Checkpoint."
        )
    if callbacks is None:
        callbacks = [Checkpoint(path, saved.every)]
    elif not isinstance(callbacks, list | tuple):
        callbacks = [callbacks]
    vars(estimator)[RESUMED] = saved
    return estimator.set_callbacks(*callbacks).fit(X, y, **fit_params)


class HistoryLog(_FileCallback):
    """Append the record of each epoch to a file, as one line of JSON.

    A new fit begins a new file. A fit that is resumed, or continued with ``warm_start=True``, keeps
    the lines of the epochs before its first one. Numbers that are not finite become null.

    Parameters
    ----------
    path : str or path-like
        The file; ``.jsonl`` is the usual extension.

    Raises
    ------
    OSError
        If the folder does not exist or cannot be written to when the fit begins.

    Warns
    -----
    UserWarning
        If a line cannot be written; training goes on.

    Examples
    --------
    >>> import json, tempfile
    >>> from pathlib import Path
    >>> from sklearn.datasets import load_iris
    >>> from skscratch import MLPClassifier
    >>> from skscratch.callbacks import HistoryLog
    >>> model = MLPClassifier(
    ...     max_iter=3, n_iter_no_change=9, learning_rate="one_cycle", random_state=0
    ... )
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder) / "history.jsonl"
    ...     _ = model.set_callbacks(HistoryLog(file)).fit(*load_iris(return_X_y=True))
    ...     records = [json.loads(line) for line in file.read_text().splitlines()]
    >>> [record["epoch"] for record in records]
    [1, 2, 3]
    >>> records == model.history_
    True
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(path)
        #: Length of the complete lines; None before the first line of a fit.
        self._length: int | None = None
        self._first_epoch: int | None = None

    def _begin(self, estimator: Any) -> None:
        self._length = self._first_epoch = None

    def on_epoch(self, record: dict[str, Any]) -> bool | None:
        """Write the record.

        Parameters
        ----------
        record : dict
            The last one of `history_`.
        """
        finite = {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in record.items()
        }
        line = (json.dumps(finite, allow_nan=False) + "\n").encode()
        path, epoch = Path(self.path), record["epoch"]
        self._first_epoch = first = self._first_epoch or epoch

        def write() -> None:
            if self._length is None:
                kept = _lines_before(path, first)
                persistence.put(path, kept)
                self._length = len(kept)
            with path.open("r+b") as stream:
                # An earlier line may have been written in part.
                stream.truncate(self._length)
                stream.seek(self._length)
                stream.write(line)
            self._length += len(line)

        self._try(f"The record of epoch {epoch}", write, OSError)
        return None


def _lines_before(path: Path, epoch: int) -> bytes:
    """Return the complete lines of earlier epochs."""
    kept = b""
    if epoch == 1 or not path.exists():
        return kept
    for line in path.read_bytes().splitlines(keepends=True):
        try:
            earlier = json.loads(line)["epoch"] < epoch
        except (ValueError, KeyError, TypeError):
            break
        if not (earlier and line.endswith(b"\n")):
            break
        kept += line
    return kept
