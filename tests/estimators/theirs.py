"""scikit-learn's own tests, with our classes in the place of theirs."""

import types

import pytest


def uses(test, kind):
    """Whether a test names a class in its code, its parameters or its default arguments."""
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
    """Put our classes in a value, in lists and tuples too."""
    if isinstance(value, list | tuple) and type(value) in (list, tuple):
        return type(value)(replaced(item, ours) for item in value)
    return ours.get(value, value) if isinstance(value, type) else value


def with_ours(test, ours):
    """Copy a test whose parameters and default arguments hold our classes.

    A module's globals are put in place by a fixture; these two were bound when it was imported.
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
