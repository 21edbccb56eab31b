"""Methods that exist only for some values of the parameters."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import MethodType
from typing import Any

__all__ = ["UnavailableError", "accepts", "available_if", "check_streamed_weights", "name_of"]


class UnavailableError(AttributeError, ValueError):
    """The parameters of the estimator rule out a method; the message gives the reason.

    An AttributeError, so that `hasattr` returns False, and a ValueError about the parameters.
    """


class available_if:  # noqa: N801  a decorator, named like scikit-learn's
    """Offer a method only if `check` raises no error.

    scikit-learn's decorator of this name hides the reason; here the user sees the error itself.
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


def check_streamed_weights(estimator: Any) -> None:
    """Raise an UnavailableError if the weights of classes need all labels at once."""
    if getattr(estimator, "class_weight", None) == "balanced":
        raise UnavailableError(
            "class_weight='balanced' needs all labels at once, which partial_fit never sees. Pass "
            "the weights as a dict."
        )


def name_of(value: Any) -> str:
    """Return what identifies a scorer, as text: a function by its name."""
    name = getattr(value, "__qualname__", None)
    return repr(value) if name is None else f"{value.__module__}.{name}"


def accepts(function: Callable[..., Any], parameter: str) -> bool:
    """Return whether a callable has a parameter of this name."""
    parameters = inspect.signature(function).parameters.values()
    return any(p.name == parameter or p.kind is p.VAR_KEYWORD for p in parameters)
