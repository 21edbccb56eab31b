"""Change fitted attributes all at once, and read them all at once.

After an error in `fit`, an estimator has the attributes it had before. While `fit` runs in one
thread, predictions in others use the old model.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from skscratch.core.interrupts import Interrupts
from skscratch.estimators._sklearn import validated_fit

__all__ = [
    "ModelReaderMixin",
    "all_or_nothing",
    "begin_training",
    "copy_of",
    "fitted_property",
    "reads_model",
]

_INTERRUPTS: ContextVar[Interrupts] = ContextVar("interrupts")


def all_or_nothing(method: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a fit method: check the parameters, run callbacks, change the estimator at the end.

    The method works on a copy. If it raises, the estimator keeps its attributes; if it returns, all
    of them are replaced in one step, so that a prediction in another thread uses either the old
    model or the new one. A shallow copy suffices because fit methods never change in place what an
    attribute refers to.

    Ctrl-C ends `fit` with a warning and keeps the training so far; in any other method, as well as
    before training has begun, it raises KeyboardInterrupt.
    """
    validated = validated_fit(method)

    @functools.wraps(method)
    def fit(estimator: Any, *args: Any, **kwargs: Any) -> Any:
        draft = copy_of(estimator)
        before = vars(draft).copy()
        with Interrupts() as interrupts:
            token = _INTERRUPTS.set(interrupts)
            try:
                validated(draft, *args, **kwargs)
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


def begin_training() -> Interrupts:
    """Return the fit's `Interrupts`; raise if Ctrl-C was pressed before training."""
    interrupts = _INTERRUPTS.get()
    if interrupts.requested:
        interrupts.obeyed = True
        raise KeyboardInterrupt
    return interrupts


def copy_of(estimator: Any) -> Any:
    """Return a shallow copy of an estimator, of all its attributes at one moment."""
    copied = object.__new__(type(estimator))
    copied.__dict__ = vars(estimator).copy()
    return copied


def _publish(estimator: Any, before: dict[str, Any], after: dict[str, Any]) -> None:
    """Apply the changes between the two to the estimator, in one step."""
    attributes = vars(estimator).copy()
    for name in before.keys() - after.keys():
        attributes.pop(name, None)
    absent = object()
    attributes.update((k, v) for k, v in after.items() if v is not before.get(k, absent))
    estimator.__dict__ = attributes


def reads_model(method: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a method that reads fitted attributes: it sees a consistent set of them.

    `ModelReaderMixin` calls it on a copy of the estimator, so that it cannot mix two models if a
    `fit` in another thread ends meanwhile.
    """
    method.reads_model = True  # type: ignore[attr-defined]
    return method


class ModelReaderMixin:
    """Call all methods marked by `reads_model` on a copy of the estimator.

    It must be the first base class: scikit-learn wraps `transform` in a function that names the
    columns of the output and also reads the model, and the copy must be made outside of that.
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


if TYPE_CHECKING:
    fitted_property = property
else:

    class fitted_property(property):  # noqa: N801  a decorator, named like Python's
        """A property of fitted networks; before `fit` it raises an AttributeError that says so."""

        def __set_name__(self, owner: type, name: str) -> None:
            self.name = name

        def __get__(self, estimator: Any, owner: Any = None) -> Any:
            if estimator is not None and "network_" not in vars(estimator):
                kind = type(estimator).__name__
                raise AttributeError(
                    f"This {kind} is not fitted, so it has no attribute {self.name!r}. Call fit "
                    "first."
                )
            # On a copy, for the reason given in `reads_model`.
            return super().__get__(None if estimator is None else copy_of(estimator), owner)
