"""Run scikit-learn's tests with our classes instead of its own."""

import types

import pytest


def uses(test, kind):
    """Return whether a test uses a class in its code, parameters or default arguments."""
    codes, names = [test.__code__], set()
    while codes:
        code = codes.pop()
        names |= set(code.co_names)
        codes += [const for const in code.co_consts if isinstance(const, types.CodeType)]
    values = [mark.args[1] for mark in parametrizations(test)] + [test.__defaults__ or ()]
    return kind.__name__ in names or any(kind in flat(value) for value in values)


def parametrizations(test):
    return [mark for mark in getattr(test, "pytestmark", []) if mark.name == "parametrize"]


def flat(value):
    if isinstance(value, list | tuple):
        return [item for part in value for item in flat(part)]
    return [value] if isinstance(value, type) else []


def replaced(value, ours):
    """Replace classes by ours in a value, also inside lists and tuples."""
    if isinstance(value, list | tuple) and type(value) in (list, tuple):
        return type(value)(replaced(item, ours) for item in value)
    return ours.get(value, value) if isinstance(value, type) else value


def with_ours(test, ours):
    """Return a copy of a test with our classes in its parameters and default arguments.

    These two were bound when its module was imported; a fixture replaces the module's globals.
    """
    defaults = replaced(test.__defaults__ or (), ours)
    twin = types.FunctionType(
        test.__code__, test.__globals__, test.__name__, defaults, test.__closure__
    )
    twin.__doc__, twin.pytestmark = test.__doc__, []
    for mark in getattr(test, "pytestmark", []):
        if mark.name == "parametrize":
            names, values, *_ = mark.args
            pytest.mark.parametrize(names, replaced(list(values), ours), **mark.kwargs)(twin)
        else:
            twin.pytestmark.append(mark)
    return twin
