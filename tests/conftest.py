import importlib.util
import os

import pytest

# scikit-learn runs its array API checks only if this is set before SciPy is imported.
os.environ.setdefault("SCIPY_ARRAY_API", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

from hypothesis import settings

from skscratch.core import Activation, Initializer, Layer, Loss, Noise, Optimizer, Schedule

# The same examples in every run, so that failures are reproducible. New examples are drawn by
# ``pytest --hypothesis-profile=search``.
settings.register_profile("repeatable", derandomize=True)
settings.register_profile("search", derandomize=False)
settings.load_profile("repeatable")


# What the docstring examples of a module need that may be missing.
NEEDED = {
    "callbacks.py": ("sklearn.callback", "scikit-learn 1.9"),
    "keras.py": ("tensorflow", "TensorFlow"),
}


def pytest_collection_modifyitems(items):
    """Skip the docstring examples whose requirements are missing."""
    for item in items:
        if item.path.parent.name == "skscratch" and item.path.name in NEEDED:
            module, name = NEEDED[item.path.name]
            if importlib.util.find_spec(module) is None:
                item.add_marker(pytest.mark.skip(f"needs {name}"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """Skip tests that need callbacks if scikit-learn has none: before version 1.9."""
    try:
        return (yield)
    except ImportError as error:
        if importlib.util.find_spec("sklearn.callback") is None and "allback" in str(error):
            pytest.skip(str(error))
        raise


@pytest.fixture
def registries_as_before():
    """Unregister the classes that a test registers: others are parametrized over the registries."""
    families = (Activation, Initializer, Layer, Loss, Noise, Optimizer, Schedule)
    before = [(family, dict(family._members)) for family in families]
    yield
    for family, members in before:
        family._members.clear()
        family._members.update(members)
