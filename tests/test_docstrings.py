"""Everything public is documented in numpydoc style, with the actual parameters and defaults."""

import inspect

import pytest
from numpydoc.docscrape import NumpyDocString
from numpydoc.validate import validate

import skscratch
import skscratch.callbacks
import skscratch.core
import skscratch.datasets
import skscratch.display
import skscratch.images
import skscratch.keras
import skscratch.persistence

# numpydoc's checks that are not applied:
NOT_APPLIED = {
    "GL01",  # the summary may begin in the first line
    "SA01",  # not everything needs a "See also"
    "SA04",
    "EX01",  # the example of a class shows its methods
    "ES01",  # a good summary needs no extended one
    "GL08",  # missing docstrings are tested below
    "YD01",
    "RT02",
}
ESTIMATORS = [
    "skscratch.AutoencoderTransformer",
    "skscratch.LinearSVM",
    "skscratch.MLPClassifier",
    "skscratch.MLPRegressor",
]
OWN_METHODS = [
    f"{path}.{name}"
    for path in ESTIMATORS
    for name, member in vars(getattr(skscratch, path.rpartition(".")[2])).items()
    if not name.startswith("_")
    and (callable(member) or hasattr(member, "method"))
    and not isinstance(member, property)
]
FUNCTIONS = [
    "skscratch.core.gradient_check",
    "skscratch.core.minimise_lbfgs",
    "skscratch.core.train",
    *(f"skscratch.callbacks.{name}" for name in skscratch.callbacks.__all__),
    *(f"skscratch.datasets.{name}" for name in skscratch.datasets.__all__),
    *(f"skscratch.display.{name}" for name in skscratch.display.__all__),
    *(f"skscratch.images.{name}" for name in skscratch.images.__all__),
    *(f"skscratch.keras.{name}" for name in skscratch.keras.__all__),
    *(f"skscratch.persistence.{name}" for name in skscratch.persistence.__all__),
]


@pytest.mark.parametrize("path", [*ESTIMATORS, *OWN_METHODS, *FUNCTIONS])
def test_numpydoc_validation_passes(path):
    found = validate(path)
    errors = [f"{code}: {text}" for code, text in found["errors"] if code not in NOT_APPLIED]
    assert found["docstring"]
    assert not errors


@pytest.mark.parametrize("path", ESTIMATORS)
def test_documented_defaults_are_the_actual_ones(path):
    kind = getattr(skscratch, path.rpartition(".")[2])
    for name, parameter in inspect.signature(kind).parameters.items():
        default = parameter.default
        shown = f"'{default}'" if isinstance(default, str) else None
        documented = inspect.getdoc(kind)
        line = next(
            row
            for row in documented.replace("\\\n", "").splitlines()
            if " : " in row and name in row.partition(" : ")[0].split(", ")
        )
        after = line.partition("default=")[2]
        assert after, line
        if shown is not None:
            assert after.startswith(shown), line
        elif not isinstance(default, tuple):
            assert str(default) in after or float(default) in _numbers(after), line


def _numbers(text):
    for word in text.replace(",", " ").split():
        try:
            yield float(word)
        except ValueError:
            continue


@pytest.mark.parametrize("path", ["skscratch.core", "skscratch"])
def test_every_public_name_has_a_docstring(path):
    module = {"skscratch.core": skscratch.core, "skscratch": skscratch}[path]
    for name in module.__all__:
        member = getattr(module, name)
        if not isinstance(member, str):
            assert member.__doc__, name


def test_classifier_and_regressor_describe_shared_parameters_in_the_same_words():
    def entries(kind):
        parsed = NumpyDocString(inspect.getdoc(kind))
        return {name: (of, text) for name, of, text in parsed["Parameters"]}

    ours, theirs = entries(skscratch.MLPClassifier), entries(skscratch.MLPRegressor)
    shared = ours.keys() & theirs.keys()
    assert len(shared) > 25
    differing = {name for name in shared if ours[name] != theirs[name]}
    assert not differing - {"early_stopping", "scoring"}
