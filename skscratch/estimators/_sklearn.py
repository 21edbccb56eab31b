"""All that the estimators need of scikit-learn beyond its public names, in one place.

Whatever scikit-learn may rename lives here: parameter constraints, validation helpers, the fit
context, the callback tasks. No other file names anything private of it.
"""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable
from types import MethodType
from typing import Any

import joblib
import numpy as np
from scipy import sparse
from sklearn.base import _fit_context
from sklearn.callback import CallbackSupportMixin, with_callbacks
from sklearn.linear_model._base import LinearClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, Options, StrOptions
from sklearn.utils._set_output import _get_output_config
from sklearn.utils.multiclass import _check_partial_fit_first_call as is_first_partial_fit
from sklearn.utils.optimize import _check_optimize_result as check_optimize_result
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from skscratch.core.blas import single_threaded_blas
from skscratch.core.functions import Array
from skscratch.core.named import Named
from skscratch.core.training import ArrayRows, Index, Rows
from skscratch.core.workers import MOST_SHARDS

__all__ = [
    "CallbackSupportMixin",
    "FitTasks",
    "Interval",
    "LinearClassifierMixin",
    "NamesOf",
    "Options",
    "RandomDraws",
    "SparseRows",
    "StrOptions",
    "UnavailableError",
    "accepts",
    "all_or_nothing",
    "as_rows",
    "available_if",
    "check_is_fitted",
    "check_optimize_result",
    "check_rows",
    "check_weight",
    "is_first_partial_fit",
    "names_columns",
    "thread_count",
    "validate_data",
]

# What the core computes in. Images of small integers are cast batch by batch.
DTYPES = (np.float64, np.float32, np.uint8)


def all_or_nothing(method: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate `fit`: check the parameters, run callbacks, and leave no trace of a failure.

    An error restores every attribute to what it was before the call. This suffices because
    training works on copies: nothing that an attribute refers to is changed in place.
    """
    checked = _fit_context(prefer_skip_nested_validation=True)(method)
    managed = with_callbacks(checked)

    @functools.wraps(method)
    def fit(estimator: Any, *args: Any, **kwargs: Any) -> Any:
        before = dict(vars(estimator))
        try:
            return managed(estimator, *args, **kwargs)
        except BaseException:
            vars(estimator).clear()
            vars(estimator).update(before)
            raise

    return fit


class NamesOf(StrOptions):
    """The names of a family as a parameter constraint, those enrolled later included."""

    def __init__(self, family: type[Named], *others: str) -> None:
        self.family, self.others = family, set(others)
        super().__init__(self._now())

    def _now(self) -> set[str]:
        return set(self.family.members()) | self.others

    def is_satisfied_by(self, val: Any) -> bool:
        """Tell whether a value is one of the names."""
        self.options = self._now()
        return bool(super().is_satisfied_by(val))


def accepts(function: Callable[..., Any], parameter: str) -> bool:
    """Tell whether a callable takes a parameter of that name."""
    parameters = inspect.signature(function).parameters.values()
    return any(p.name == parameter or p.kind is p.VAR_KEYWORD for p in parameters)


def names_columns(estimator: Any) -> bool:
    """Tell whether `set_output` asks the estimator for tables."""
    return bool(_get_output_config("transform", estimator)["dense"] != "default")


class UnavailableError(AttributeError, ValueError):
    """A method that the present parameters rule out: it is not there, and here is why."""


class available_if:  # noqa: N801  a decorator, named like scikit-learn's
    """Offer a method only while `check` raises nothing.

    scikit-learn's own decorator hides the reason; here it is the error that the user sees.
    """

    def __init__(self, check: Callable[[Any], None]) -> None:
        self.check = check

    def __call__(self, method: Callable[..., Any]) -> Any:
        """Decorate a method."""
        return _Conditional(method, self.check)


class _Conditional:
    def __init__(self, method: Callable[..., Any], check: Callable[[Any], None]) -> None:
        self.method, self.check = method, check
        self.__doc__, self.__name__ = method.__doc__, method.__name__

    def __get__(self, estimator: Any, owner: Any = None) -> Any:
        if estimator is None:
            return self.method
        self.check(estimator)
        return MethodType(self.method, estimator)


def check_rows(
    estimator: Any, X: Any, *, reset: bool, floats_only: bool = False, **options: Any
) -> Any:
    """Validate rows for fitting (`reset`) or predicting; sparse ones become CSR."""
    dtypes = DTYPES[:2] if floats_only else DTYPES
    return validate_data(
        estimator, X, accept_sparse="csr", dtype=dtypes, order="C", reset=reset, **options
    )


def network_dtype(X: Any) -> np.dtype[Any]:
    """float32 stays float32, everything else becomes float64."""
    return np.dtype(np.float32 if X.dtype == np.float32 else np.float64)


def check_weight(sample_weight: Any, X: Any, dtype: Any) -> Array | None:
    """Validate sample weights: finite, not negative, not all zero; None stays None."""
    if sample_weight is None:
        return None
    weight = _check_sample_weight(
        sample_weight, X, dtype=dtype, ensure_non_negative=True, allow_all_zero_weights=False
    )
    return np.asarray(weight)


class RandomDraws:
    """Random numbers from scikit-learn's `random_state`, drawn in the order of its own networks.

    Initial weights and the order of the rows are therefore those of scikit-learn's MLPs.
    """

    def __init__(self, random_state: Any) -> None:
        self.state: np.random.RandomState = check_random_state(random_state)
        self.uniform, self.normal = self.state.uniform, self.state.normal
        self._order = np.arange(0)

    def permutation(self, n: int) -> Array:
        """Return an order of n rows: the last one, shuffled once more."""
        again = np.arange(n)
        self.state.shuffle(again)
        self._order = again if len(self._order) != n else self._order[again]
        return self._order

    def spawn(self, n: int) -> list[np.random.Generator]:
        """Return generators of their own, without a draw that scikit-learn would not make."""
        seed = copy.deepcopy(self.state).randint(np.iinfo(np.int32).max)
        return np.random.default_rng(seed).spawn(n)

    # The bound methods of a copied state would draw from the original.
    def __getstate__(self) -> dict[str, Any]:
        return {"state": self.state, "_order": self._order}

    def __setstate__(self, values: dict[str, Any]) -> None:
        self.__init__(values["state"])  # type: ignore[misc]
        self._order = values["_order"]


def thread_count(n_jobs: int | None) -> int:
    """How many threads to use: what joblib understands by `n_jobs`; None asks BLAS."""
    wanted = single_threaded_blas.threads_allowed() if n_jobs is None else None
    return min(MOST_SHARDS, wanted or joblib.effective_n_jobs(n_jobs))


class SparseRows:
    """The rows of a sparse matrix, made dense only as they are taken."""

    def __init__(self, matrix: Any) -> None:
        self.matrix = matrix
        self.shape: tuple[int, ...] = matrix.shape

    def take(self, rows: Index, out: Array) -> Array:
        """Return these rows as a dense array, in `out`."""
        some = self.matrix[rows]
        if some.dtype == out.dtype:
            some.toarray(out=out)
        else:
            out[...] = some.toarray()
        return out


def as_rows(X: Any) -> Rows:
    """Return validated X as rows to take from."""
    return SparseRows(X) if sparse.issparse(X) else ArrayRows(X)


class FitTasks:
    """The callbacks' view of a fit: one task, with one subtask for each iteration.

    Without callbacks it does nothing, so that fifty thousand epochs leave no fifty thousand tasks.
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
        self.root = estimator._init_callback_context(max_subtasks=max_iter)
        self.active = bool(getattr(estimator, "_skl_callbacks", []))
        self.root.call_on_fit_task_begin(estimator=estimator, **data)

    def begin(self) -> None:
        """Begin an iteration."""
        if self.active:
            self.task = self.root.subcontext(task_name=self.task_name)
            self.task.call_on_fit_task_begin(
                estimator=self.estimator, **self.data, reconstruction_attributes=self.attributes
            )

    def end(self) -> bool:
        """End the iteration; True if a callback wants to stop."""
        return self.active and bool(
            self.task.call_on_fit_task_end(
                estimator=self.estimator, **self.data, reconstruction_attributes=self.attributes
            )
        )

    def finish(self) -> None:
        """End the fit."""
        self.root.call_on_fit_task_end(
            estimator=self.estimator, **self.data, reconstruction_attributes=self.attributes
        )
        # What gives the attributes often refers back: else the data wait for the garbage collector.
        self.data, self.attributes = {}, dict
