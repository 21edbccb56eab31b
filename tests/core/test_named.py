import copy
import json
import pickle

import pytest

import skscratch.core
from skscratch.core import Activation, Elementwise, Initializer, Layer, Loss, Optimizer, Schedule
from skscratch.core.named import Named

FAMILIES = [Activation, Initializer, Loss, Optimizer, Schedule]
MEMBERS = [
    pytest.param(family, name, id=f"{family.family}-{name}")
    for family in FAMILIES
    for name in family.members()
]


@pytest.mark.parametrize(("family", "name"), MEMBERS)
def test_a_recipe_is_a_value(family, name):
    recipe = family.named(name)
    assert family.resolve(name) == recipe
    assert family.resolve(recipe) is recipe
    assert pickle.loads(pickle.dumps(recipe)) == recipe
    assert copy.deepcopy(recipe) == recipe
    assert hash(recipe) == hash(family.named(name))
    assert Named.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe
    assert type(recipe).__name__ in repr(recipe)
    # A dataclass without a docstring gets its signature instead.
    assert not type(recipe).__doc__.startswith(f"{type(recipe).__name__}(")


@pytest.mark.parametrize(("family", "name"), MEMBERS)
def test_a_recipe_cannot_be_changed(family, name):
    with pytest.raises(AttributeError):
        family.named(name).anything = 1


@pytest.mark.parametrize(("family", "name"), MEMBERS)
def test_members_of_a_family_differ(family, name):
    others = [family.named(other) for other in family.members() if other != name]
    assert family.named(name) not in others


def test_an_activation_is_a_layer_too():
    assert set(Activation.members()) < set(Layer.members())


def test_an_unknown_name_lists_the_known_and_guesses():
    with pytest.raises(ValueError, match=r"Unknown activation 'rleu'. Did you mean 'relu'\?.*tanh"):
        Activation.named("rleu")


def test_invalid_recipes_are_refused():
    with pytest.raises(TypeError, match="name of an activation or an instance of Activation"):
        Activation.resolve(3)
    with pytest.raises(ValueError, match="Not a valid description"):
        Named.from_dict({"family": "layer"})
    with pytest.raises(ValueError, match="Not a valid description"):
        Named.from_dict({"family": "layer", "name": "dense", "colour": "red"})


def test_a_name_cannot_be_registered_twice():
    with pytest.raises(ValueError, match="The activation name 'relu' is taken by"):

        class Impostor(Elementwise, name="relu"):
            pass

    with pytest.raises(ValueError, match="'relu' is taken by skscratch.core.activations.ReLU"):

        class ReLU(Elementwise, name="relu"):
            __qualname__ = "ReLU"

    assert Activation.members()["relu"] is skscratch.core.ReLU


def test_a_class_may_be_redefined_in_its_module():
    # As importlib.reload does, or a notebook cell that is run twice.
    def make():
        class Again(Elementwise, name="again"):
            pass

        return Again

    try:
        make()
        latest = make()
        assert Activation.members()["again"] is latest
    finally:
        del Activation._members["again"], Layer._members["again"]
