"""All that the estimators need of scikit-learn beyond its public names, in one place.

Whatever scikit-learn may rename lives here: parameter constraints, validation helpers, the fit
context, the callback tasks. No other file names anything private of it.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import inspect
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import MethodType
from typing import TYPE_CHECKING, Any

import joblib
import numpy as np
import sklearn
from scipy import sparse
from sklearn.base import _fit_context
from sklearn.linear_model._base import LinearClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, Options, StrOptions
from sklearn.utils._set_output import _get_output_config
from sklearn.utils.multiclass import _check_partial_fit_first_call as is_first_partial_fit
from sklearn.utils.optimize import _check_optimize_result as check_optimize_result
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from skscratch.core.blas import single_threaded_blas
from skscratch.core.functions import Array
from skscratch.core.interrupts import Interrupts
from skscratch.core.rows import ArrayRows, Index, Rows
from skscratch.core.workers import MOST_SHARDS
from skscratch.estimators._kinds import check_numbers

__all__ = [
    "CallbackSupportMixin",
    "FitTasks",
    "Interval",
    "LinearClassifierMixin",
    "ModelReaderMixin",
    "Options",
    "RandomDraws",
    "SparseRows",
    "StrOptions",
    "UnavailableError",
    "accepts",
    "all_or_nothing",
    "as_rows",
    "available_if",
    "begin_training",
    "check_is_fitted",
    "check_optimize_result",
    "check_rows",
    "check_weight",
    "content_digest",
    "copy_of",
    "fitted_property",
    "is_first_partial_fit",
    "reads_model",
    "thread_count",
    "validate_data",
    "value_range",
    "wants_dataframe",
]

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
        """Says that callbacks need a newer scikit-learn."""

        def set_callbacks(self, *callbacks: Any) -> Any:
            """Accept no callbacks, or raise an ImportError."""
            if callbacks:
                raise ImportError(
                    f"Callbacks need scikit-learn 1.9 or newer; this is {sklearn.__version__}."
                )
            return self


# What the core computes in. Images of small integers are cast batch by batch.
DTYPES = (np.float64, np.float32, np.uint8)


def all_or_nothing(method: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate `fit`: check the parameters, run callbacks, and change the estimator at the end.

    The method works on a copy. Until it has succeeded the estimator is what it was; then all its
    attributes are replaced in one step, so that a prediction in another thread is made by the old
    model or by the new one. This suffices because nothing that an attribute refers to is changed
    in place.

    Ctrl-C ends `fit` with a warning and what was learned so far; in any other method, as well as
    before training has begun, it raises KeyboardInterrupt.
    """
    checked = _fit_context(prefer_skip_nested_validation=True)(method)
    managed = with_callbacks(checked)

    @functools.wraps(method)
    def fit(estimator: Any, *args: Any, **kwargs: Any) -> Any:
        draft = copy_of(estimator)
        before = vars(draft).copy()
        with Interrupts() as interrupts:
            token = _INTERRUPTS.set(interrupts)
            try:
                managed(draft, *args, **kwargs)
            finally:
                _INTERRUPTS.reset(token)
            if interrupts.requested:
                interrupts.obeyed = True
                if method.__name__ != "fit":
                    raise KeyboardInterrupt
                warnings.warn("Training interrupted by user.", stacklevel=2)
            _publish(estimator, before, vars(draft))
        return estimator

    return fit


_INTERRUPTS: ContextVar[Interrupts] = ContextVar("interrupts")


def begin_training() -> Interrupts:
    """Return the fit's `Interrupts`; raise if Ctrl-C was pressed before anything was learned."""
    interrupts = _INTERRUPTS.get()
    if interrupts.requested:
        interrupts.obeyed = True
        raise KeyboardInterrupt
    return interrupts


def copy_of(estimator: Any) -> Any:
    """Return an estimator with the same attributes, as they are at this moment."""
    copied = object.__new__(type(estimator))
    copied.__dict__ = vars(estimator).copy()
    return copied


def _publish(estimator: Any, before: dict[str, Any], after: dict[str, Any]) -> None:
    """Give the estimator what has changed, in one step."""
    attributes = vars(estimator).copy()
    for name in before.keys() - after.keys():
        attributes.pop(name, None)
    absent = object()
    attributes.update((k, v) for k, v in after.items() if v is not before.get(k, absent))
    estimator.__dict__ = attributes


def reads_model(method: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a method that reads fitted attributes: it sees those of one moment.

    A `fit` that ends meanwhile in another thread cannot mix two models, because `ModelReaderMixin`
    lets the method work on a copy.
    """
    method.reads_model = True  # type: ignore[attr-defined]
    return method


class ModelReaderMixin:
    """Let all methods marked by `reads_model` work on a copy of the estimator.

    It has to be the first base class: scikit-learn wraps `transform` to name the columns of its
    output, which reads the model too, so the copy is made around that.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name, method in list(vars(cls).items()):
            if getattr(method, "reads_model", False):
                setattr(cls, name, _on_copy(method))


def _on_copy(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def read(estimator: Any, *args: Any, **kwargs: Any) -> Any:
        return method(copy_of(estimator), *args, **kwargs)

    return read


def accepts(function: Callable[..., Any], parameter: str) -> bool:
    """Tell whether a callable takes a parameter of that name."""
    parameters = inspect.signature(function).parameters.values()
    return any(p.name == parameter or p.kind is p.VAR_KEYWORD for p in parameters)


def wants_dataframe(estimator: Any) -> bool:
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


if TYPE_CHECKING:
    fitted_property = property
else:

    class fitted_property(property):  # noqa: N801  a decorator, named like Python's
        """A property of fitted networks; before `fit` the AttributeError says so."""

        def __set_name__(self, owner: type, name: str) -> None:
            self.name = name

        def __get__(self, estimator: Any, owner: Any = None) -> Any:
            if estimator is not None and "network_" not in vars(estimator):
                kind = type(estimator).__name__
                raise AttributeError(
                    f"This {kind} is not fitted, so it has no attribute {self.name!r}. Call fit "
                    "first."
                )
            # A fit that ends meanwhile in another thread cannot mix two networks.
            return super().__get__(None if estimator is None else copy_of(estimator), owner)


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
    estimator: Any,
    X: Any,
    *,
    reset: bool,
    floats_only: bool = False,
    names: tuple[str, ...] = ("X", "y"),
    **options: Any,
) -> Any:
    """Validate rows for fitting (`reset`) or predicting; sparse ones become canonical CSR.

    `names` are what the user calls X and y.
    """
    for name, data in zip(names, (X, options.get("y")), strict=False):
        if name.startswith("X") or options.get("y_numeric"):
            check_numbers(name, data)
    dtypes = DTYPES[:2] if floats_only else DTYPES

    def about() -> str:
        """Return X, or both where something is wrong with y that a message may mean."""
        y = options.get("y")
        array = None if y is None else np.asarray(y)
        wrong_y = array is not None and (array.ndim > 2 or array.dtype.kind == "c")
        return f"{names[0]} or {names[1]}" if wrong_y else names[0]

    # Its sum over large values of both signs, which looks for NaN, warns of the one it makes.
    with np.errstate(invalid="ignore"), renamed(*names, about=about):
        checked = validate_data(
            estimator, X, accept_sparse="csr", dtype=dtypes, order="C", reset=reset, **options
        )
    if isinstance(checked, tuple):
        return canonical(checked[0]), *checked[1:]
    return canonical(checked)


def canonical(X: Any) -> Any:
    """Return sparse rows sorted and without duplicates, as a copy if need be; others as they are.

    SciPy would sort and add up in place, in the caller's own arrays.
    """
    if not sparse.issparse(X) or X.has_canonical_format:
        return X
    X = X.copy()
    X.sum_duplicates()
    return X


def value_range(X: Any) -> tuple[float, float]:
    """Return the smallest and the largest value of rows, the zeros of sparse ones included."""
    if not sparse.issparse(X):
        return float(X.min()), float(X.max())
    ends = [float(end(X.data)) for end in (np.min, np.max) if X.nnz]
    if X.nnz < X.shape[0] * X.shape[1]:
        ends.append(0.0)
    return min(ends), max(ends)


def network_dtype(X: Any) -> np.dtype[Any]:
    """float32 stays float32, everything else becomes float64."""
    return np.dtype(np.float32 if X.dtype == np.float32 else np.float64)


@contextmanager
def renamed(
    X: str = "X",
    y: str = "y",
    weight: str = "sample_weight",
    *,
    about: str | Callable[[], str],
) -> Iterator[None]:
    """Let scikit-learn's messages name the arguments that the user wrote.

    Messages that name none begin with `about`; a function is only called for such a message.
    """
    try:
        yield
    except ValueError as error:
        text = str(error)
        if "inconsistent numbers of samples" in text:
            text = f"{X} and {y} must have the same number of rows. {text}"
        # What follows the first line is the user's own, such as names of columns.
        first, *others = text.split("\n")
        for found, name in ((r"X", X), (r"y", y), (r"sample_weight|Sample weights", weight)):
            first = re.sub(rf"\b({found})\b", name, first)
        if not re.search(rf"\b({X}|{y}|{weight})\b", first):
            first = f"{about() if callable(about) else about}: {first}"
        raise ValueError("\n".join([first, *others])) from error


def check_weight(sample_weight: Any, X: Any, name: str = "sample_weight") -> Array | None:
    """Validate weights of rows; return them as float64, or None where all weigh 1.

    They are finite, not negative, not all 0, and their mean can be computed and divided by.
    """
    if sample_weight is None:
        return None
    # Too large numbers become infinite, which is reported.
    with np.errstate(over="ignore"), renamed(weight=name, about=name):
        weight = np.asarray(
            _check_sample_weight(
                sample_weight,
                X,
                dtype=np.float64,
                ensure_non_negative=True,
            )
        )
        if not weight.any():
            raise ValueError("Sample weights must contain at least one non-zero number.")
        total = float(weight.sum())
    if not len(weight) * np.finfo(np.float64).tiny <= total < np.inf:
        raise ValueError(
            f"{name} must have a sum that is neither infinite nor too small to divide by; the sum "
            f"of the {len(weight)} weights is {total:g}. Multiply them by a constant."
        )
    return None if (weight == 1).all() else weight


def content_digest(*data: Any) -> str:
    """Return a digest of arrays and sparse matrices: equal for equal shapes, dtypes and bytes."""
    digest = hashlib.blake2b(digest_size=16)
    for part in data:
        arrays = (part.data, part.indices, part.indptr) if sparse.issparse(part) else (part,)
        digest.update(f"{getattr(part, 'shape', None)}".encode())
        for array in arrays:
            if array is not None:
                digest.update(f"{array.dtype.str}{array.shape}".encode())
                digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


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
        self.active = bool(getattr(estimator, "_skl_callbacks", []))
        if HAS_CALLBACKS:
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
        """End the iteration; True if a callback wants to stop."""
        return self.active and bool(
            self.task.call_on_fit_task_end(
                estimator=self.estimator, **self.data, reconstruction_attributes=self.attributes
            )
        )

    def finish(self) -> None:
        """End the fit."""
        if HAS_CALLBACKS:
            self.root.call_on_fit_task_end(
                estimator=self.estimator, **self.data, reconstruction_attributes=self.attributes
            )
        # What gives the attributes often refers back: else the data wait for the garbage collector.
        self.data, self.attributes = {}, dict
