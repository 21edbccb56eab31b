"""The private names of scikit-learn that the estimators need, and all that depends on its version.

If scikit-learn renames something private, only this file changes: parameter constraints, the fit
context, the callback tasks and a few helpers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sklearn
from sklearn.base import _fit_context
from sklearn.linear_model._base import LinearClassifierMixin, SparseCoefMixin
from sklearn.utils._param_validation import Interval, Options, StrOptions
from sklearn.utils._set_output import _get_output_config
from sklearn.utils.multiclass import _check_partial_fit_first_call as is_first_partial_fit
from sklearn.utils.validation import _check_sample_weight as check_sample_weight

__all__ = [
    "CALLBACKS",
    "CALLBACK_PREFIXES",
    "OUTPUT_CONFIG",
    "CallbackSupportMixin",
    "FitTasks",
    "Interval",
    "LinearClassifierMixin",
    "Options",
    "SparseCoefMixin",
    "StrOptions",
    "check_sample_weight",
    "is_first_partial_fit",
    "validated_fit",
    "wants_dataframe",
]

# Attributes of an estimator: its callbacks, and the container requested by `set_output`.
CALLBACKS = "_skl_callbacks"
# How the attributes begin that it has while it is fitted with callbacks.
CALLBACK_PREFIXES = ("_skl_callbacks", "_callback", "_parent_callback")
OUTPUT_CONFIG = "_sklearn_output_config"

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks

    HAS_CALLBACKS = True
except ModuleNotFoundError:
    # Before scikit-learn 1.9.
    HAS_CALLBACKS = False

    def with_callbacks(method: Callable[..., Any]) -> Callable[..., Any]:
        """Return a fit method as it is."""
        return method

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Replacement that states which version of scikit-learn callbacks need."""

        def set_callbacks(self, *callbacks: Any) -> Any:
            """Accept no callbacks, or raise an ImportError."""
            if callbacks:
                raise ImportError(
                    f"Callbacks need scikit-learn 1.9 or newer; this is {sklearn.__version__}."
                )
            return self


def validated_fit(method: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a fit method: check the parameters before it and run callbacks around it."""
    return with_callbacks(_fit_context(prefer_skip_nested_validation=True)(method))


def wants_dataframe(estimator: Any) -> bool:
    """Return whether `set_output` asks the estimator for data frames."""
    return bool(_get_output_config("transform", estimator)["dense"] != "default")


class FitTasks:
    """The callbacks' view of a fit: one task, with one subtask for each iteration.

    Without callbacks there are no tasks: thousands of epochs would leave thousands of them.
    """

    def __init__(
        self,
        estimator: Any,
        max_iter: int,
        task_name: str,
        data: dict[str, Any],
        attributes: Callable[[], dict[str, Any]],
    ) -> None:
        self.estimator, self.task_name, self.data = estimator, task_name, data
        self.attributes = attributes
        self.active = bool(getattr(estimator, CALLBACKS, []))
        if self.active:
            self.root = estimator._init_callback_context(max_subtasks=max_iter)
            self.root.call_on_fit_task_begin(estimator=estimator, **data)

    def begin(self) -> None:
        """Begin an iteration."""
        if self.active:
            self.task = self.root.subcontext(task_name=self.task_name)
            self.task.call_on_fit_task_begin(
                estimator=self.estimator, **self.data, reconstruction_attributes=self.attributes
            )

    def end(self) -> bool:
        """End the iteration; return True if a callback asks to stop."""
        return self.active and bool(
            self.task.call_on_fit_task_end(
                estimator=self.estimator, **self.data, reconstruction_attributes=self.attributes
            )
        )

    def finish(self) -> None:
        """End the fit."""
        if self.active:
            self.root.call_on_fit_task_end(
                estimator=self.estimator, **self.data, reconstruction_attributes=self.attributes
            )

    def release(self) -> None:
        """Break the reference cycle through `attributes`, so that the data are freed at once."""
        self.data, self.attributes = {}, dict
