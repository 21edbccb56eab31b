"""Names or instances: how an estimator's parameters become recipes of the core.

A parameter such as `solver` or `loss` takes a registered name or an instance. scikit-learn's flat
words, such as `momentum`, feed the recipes whose names they always belonged to. Any other name is
looked up in its family, and an instance is used as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from skscratch.core.named import Named
from skscratch.estimators._sklearn import StrOptions

# Family and name -> field of the recipe -> parameter of the estimator.
FLAT_WORDS: Mapping[tuple[str, str], Mapping[str, str]] = {
    ("optimizer", "sgd"): {"momentum": "momentum", "nesterov": "nesterovs_momentum"},
    ("optimizer", "adam"): {"beta_1": "beta_1", "beta_2": "beta_2", "epsilon": "epsilon"},
    ("optimizer", "adamw"): {
        "beta_1": "beta_1",
        "beta_2": "beta_2",
        "epsilon": "epsilon",
        "weight_decay": "alpha",
    },
    ("optimizer", "rmsprop"): {"epsilon": "epsilon"},
    ("schedule", "invscaling"): {"power": "power_t"},
    ("loss", "huber"): {"delta": "huber_delta"},
    ("noise", "gaussian"): {"level": "noise_level"},
    ("noise", "masking"): {"level": "noise_level"},
    ("noise", "salt_and_pepper"): {"level": "noise_level"},
}


def recipe_of(estimator: Any, family: type[Named], parameter: str, **fields: Any) -> Any:
    """Return the recipe that a parameter names or holds.

    `fields` are given to every recipe that is made from a name.
    """
    value = getattr(estimator, parameter)
    if isinstance(value, family):
        return value
    words = FLAT_WORDS.get((family.family, value), {})
    known = {field: getattr(estimator, word) for field, word in words.items()}
    return family.named(value, **fields, **{field: _plain(v) for field, v in known.items()})


def _plain(value: Any) -> Any:
    """Return Python's own number for NumPy's: one of NumPy's would decide dtypes."""
    return value.item() if hasattr(value, "item") else value


class NamesOf(StrOptions):
    """A constraint: a name of a family, those registered later included, or an instance."""

    def __init__(self, family: type[Named], *others: str, without: frozenset[str] = frozenset()):
        self.family, self.others, self.without = family, set(others), without
        super().__init__(self._now())

    def _now(self) -> set[str]:
        return (set(self.family.members()) - self.without) | self.others

    def is_satisfied_by(self, val: Any) -> bool:
        """Tell whether a value is one of the names, or an instance."""
        if isinstance(val, self.family):
            return True
        self.options = self._now()
        return bool(super().is_satisfied_by(val))

    def __str__(self) -> str:
        return f"{super().__str__()} or an instance of {self.family.__name__!r}"
