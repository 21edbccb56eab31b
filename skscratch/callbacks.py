"""Callbacks for `set_callbacks`, which scikit-learn has from version 1.9 on."""

from __future__ import annotations

from typing import Any

__all__ = ["EpochCallback"]


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
