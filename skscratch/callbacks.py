"""Callbacks for `set_callbacks`, which scikit-learn has from version 1.9 on."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Sequence
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
        history = getattr(fitted_estimator, "history_", None)
        return self.on_epoch(history[-1] if history else {"epoch": context.task_id + 1})

    def teardown(self, estimator: Any, context: Any) -> None:
        """End a fit.

        Parameters
        ----------
        estimator : estimator instance
            The estimator that was fitted.
        context : sklearn.callback.CallbackContext
            The task of the fit.
        """


class Checkpoint(EpochCallback):
    """Write a fit to a file every few epochs, so that `resume` can complete it.

    The file is an estimator as `skscratch.persistence.load` reads it, fitted as far as it is, with
    the state of training: optimizer, random numbers, schedule, best parameters and history. It is
    written under another name, flushed and renamed, so that there is always a complete file.
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
        If the estimator trains without epochs (solver='lbfgs', `LinearSVM`), or holds something
        that cannot be saved. It is raised when the fit begins, or at the first file.
    OSError
        If the folder does not exist or cannot be written to when the fit begins.
    ImportError
        If skops is not installed.

    Warns
    -----
    UserWarning
        If a file cannot be written later, for example because the disk is full. The last complete
        file is left as it is, and training goes on.

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
    >>> model = MLPClassifier(max_iter=20, n_iter_no_change=20, random_state=0)
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
        self.path: str | os.PathLike[str] = path
        self.every: int = every
        self._failed: bool = False

    def setup(self, estimator: Any, context: Any) -> None:
        """Begin a fit: check that the estimator can be saved, and the folder written to.

        Parameters
        ----------
        estimator : estimator instance
            The estimator that is fitted.
        context : sklearn.callback.CallbackContext
            The task of the fit.
        """
        check = getattr(estimator, "_check_saves_fits", None)
        if check is None:
            raise ValueError(
                f"Checkpoint needs an estimator that trains a network; "
                f"{type(estimator).__name__} does not."
            )
        check()
        persistence.import_skops()
        persistence.check_can_write(self.path)
        self._failed = False

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
        try:
            persistence.save(fit.snapshot(self.every), self.path)
            self._failed = False
        except OSError as error:
            if not self._failed:
                warnings.warn(
                    f"The checkpoint of epoch {n_epochs} was not written: {error}. Training goes "
                    "on; the last complete file, if there is one, is unchanged. Later failures "
                    "are reported after the next success only.",
                    stacklevel=2,
                )
            self._failed = True
        return None


def resume(
    path: str | os.PathLike[str],
    X: Any,
    y: Any = None,
    *,
    callbacks: Sequence[Any] | None = None,
    **fit_params: Any,
) -> Any:
    """Complete a fit that `Checkpoint` has saved.

    The result has the bits of an uninterrupted fit, and only the missing epochs are computed. It is
    a function because `fit` of a loaded estimator begins anew, as scikit-learn's users expect.

    Parameters
    ----------
    path : str or path-like
        The file.
    X, y : array-like
        The data of the fit.
    callbacks : sequence, optional
        Callbacks of the rest of the fit; by default a `Checkpoint` with the same path and `every`.
        Files hold no callbacks.
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
        the argument, and says whether its shape, dtype or content differs.
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
            f"{os.fspath(path)!r} holds a {type(estimator).__name__}, but no fit to complete: it "
            "was not written by Checkpoint."
        )
    if callbacks is None:
        callbacks = [Checkpoint(path, saved.every)]
    vars(estimator)[RESUMED] = saved
    return estimator.set_callbacks(*callbacks).fit(X, y, **fit_params)


class HistoryLog(EpochCallback):
    """Append the record of each epoch to a file, as one line of JSON.

    A new fit begins a new file. A fit that is resumed, or continued with ``warm_start=True``, keeps
    the lines of the epochs before its first one.

    Parameters
    ----------
    path : str or path-like
        The file; ``.jsonl`` is the usual extension.

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
    >>> model = MLPClassifier(max_iter=3, n_iter_no_change=9, random_state=0)
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
        self.path = path
        self._began = self._failed = False

    def setup(self, estimator: Any, context: Any) -> None:
        """Begin a fit: check that the file can be written.

        Parameters
        ----------
        estimator : estimator instance
            The estimator that is fitted.
        context : sklearn.callback.CallbackContext
            The task of the fit.
        """
        persistence.check_can_write(self.path)
        self._began = self._failed = False

    def on_epoch(self, record: dict[str, Any]) -> bool | None:
        """Write the record.

        Parameters
        ----------
        record : dict
            The last one of `history_`.
        """
        line = json.dumps(record) + "\n"
        path = Path(self.path)
        try:
            if not self._began:
                persistence.put(path, "".join(_lines_before(path, record["epoch"])).encode())
                self._began = True
            with path.open("a", encoding="utf-8") as stream:
                stream.write(line)
            self._failed = False
        except OSError as error:
            if not self._failed:
                warnings.warn(
                    f"The record of epoch {record['epoch']} was not written: {error}. Training "
                    "goes on. Later failures are reported after the next success only.",
                    stacklevel=2,
                )
            self._failed = True
        return None


def _lines_before(path: Path, epoch: int) -> list[str]:
    """Return the complete lines of earlier epochs."""
    if epoch == 1 or not path.exists():
        return []
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        try:
            earlier = json.loads(line)["epoch"] < epoch
        except (ValueError, KeyError, TypeError):
            break
        if not (earlier and line.endswith("\n")):
            break
        kept.append(line)
    return kept
