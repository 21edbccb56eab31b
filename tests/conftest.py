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


def pytest_collection_modifyitems(items):
    """Skip the docstring examples that need Keras if it is not installed."""
    if importlib.util.find_spec("tensorflow") is None:
        for item in items:
            if item.path.parts[-2:] == ("skscratch", "keras.py"):
                item.add_marker(pytest.mark.skip("needs TensorFlow"))


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
