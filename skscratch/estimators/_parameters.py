"""The parameters that all network estimators share, and how they become recipes of the core.

A parameter such as `solver` or `loss` takes a registered name or an instance. Flat parameters, such
as scikit-learn's `momentum`, set fields of the recipes listed in `FLAT_PARAMETERS`. Any other name
is looked up in its family, and an instance is used as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np

from skscratch.core.layers import Noise
from skscratch.core.named import Named
from skscratch.core.optimizers import SGD, Averaged, Optimizer
from skscratch.core.schedules import Schedule
from skscratch.estimators._sklearn import Interval, Options, StrOptions

# Family and name -> field of the recipe -> parameter of the estimator.
FLAT_PARAMETERS: Mapping[tuple[str, str], Mapping[str, str]] = {
    ("optimizer", "sgd"): {"momentum": "momentum", "nesterov": "nesterovs_momentum"},
    ("optimizer", "adam"): {"beta_1": "beta_1", "beta_2": "beta_2", "epsilon": "epsilon"},
    ("optimizer", "adamw"): {
        "beta_1": "beta_1",
        "beta_2": "beta_2",
        "epsilon": "epsilon",
        "weight_decay": "alpha",
    },
    ("optimizer", "muon"): {"weight_decay": "alpha"},
    ("optimizer", "rmsprop"): {"epsilon": "epsilon"},
    ("schedule", "invscaling"): {"power": "power_t"},
    ("loss", "huber"): {"delta": "huber_delta"},
    ("noise", "gaussian"): {"level": "noise_level"},
    ("noise", "masking"): {"level": "noise_level"},
    ("noise", "salt_and_pepper"): {"level": "noise_level"},
}


def recipe_of(estimator: Any, family: type[Named], parameter: str, **fields: Any) -> Any:
    """Return the recipe that a parameter names or holds.

    `fields` are passed to every recipe that is made from a name.
    """
    value = getattr(estimator, parameter)
    if isinstance(value, family):
        return value
    parameters = FLAT_PARAMETERS.get((family.family, value), {})
    flat = {field: _plain(getattr(estimator, name)) for field, name in parameters.items()}
    return family.named(value, **fields, **flat)


def is_sgd(optimizer: Any) -> bool:
    """Return whether an optimizer is SGD, or averages it: scikit-learn's schedules are for SGD."""
    if isinstance(optimizer, Averaged):
        return is_sgd(optimizer.optimizer)
    return isinstance(optimizer, SGD)


def _plain(value: Any) -> Any:
    """Return a Python number for a NumPy one, which would determine dtypes."""
    return value.item() if hasattr(value, "item") else value


class RegisteredNames(StrOptions):
    """A constraint: an instance, or a name of the family, including names registered later."""

    def __init__(self, family: type[Named], *others: str, without: frozenset[str] = frozenset()):
        self.family, self.others, self.without = family, set(others), without
        super().__init__(self._accepted())

    def _accepted(self) -> set[str]:
        return (set(self.family.members()) - self.without) | self.others

    def is_satisfied_by(self, val: Any) -> bool:
        """Return whether a value is one of the names, or an instance."""
        if isinstance(val, self.family):
            return True
        self.options = self._accepted()
        return bool(super().is_satisfied_by(val))

    def __str__(self) -> str:
        return f"{super().__str__()} or an instance of {self.family.__name__!r}"


@dataclass(eq=False, repr=False, kw_only=True)
class TrainingParameters:
    """Parameters of training, with scikit-learn's defaults.

    A dataclass generates the constructor of each estimator, so a parameter and its default are
    declared once. An estimator redeclares a parameter if its default differs.
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "solver": [RegisteredNames(Optimizer)],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "learning_rate": [RegisteredNames(Schedule)],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "power_t": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
        "tol": [Interval(Real, 0, None, closed="left")],
        "verbose": ["verbose"],
        "warm_start": ["boolean"],
        "momentum": [Interval(Real, 0, 1, closed="both")],
        "nesterovs_momentum": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "beta_1": [Interval(Real, 0, 1, closed="left")],
        "beta_2": [Interval(Real, 0, 1, closed="left")],
        "epsilon": [Interval(Real, 0, None, closed="neither")],
        "n_iter_no_change": [
            Interval(Integral, 1, None, closed="left"),
            Options(Real, {np.inf}),
        ],
        # 'corruption' is chosen by passing its function.
        "noise": [RegisteredNames(Noise, without=frozenset({"corruption"})), callable, None],
        "noise_level": [Interval(Real, 0, None, closed="left")],
        "n_jobs": [Integral, None],
    }

    solver: Any = "adam"
    alpha: Any = 0.0001
    batch_size: Any = "auto"
    learning_rate: Any = "constant"
    learning_rate_init: Any = 0.001
    power_t: Any = 0.5
    max_iter: Any = 200
    shuffle: Any = True
    random_state: Any = None
    tol: Any = 1e-4
    verbose: Any = False
    warm_start: Any = False
    momentum: Any = 0.9
    nesterovs_momentum: Any = True
    early_stopping: Any = False
    validation_fraction: Any = 0.1
    beta_1: Any = 0.9
    beta_2: Any = 0.999
    epsilon: Any = 1e-8
    n_iter_no_change: Any = 10
    noise: Any = None
    noise_level: Any = 0.3
    n_jobs: Any = None
