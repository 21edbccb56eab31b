"""Gradient check: whether backward computes what forward promises.

Every layer, activation and loss is checked against finite differences, and so is every pair of
layers, because a layer that is right alone can still destroy what its neighbour reads. The lists
come from the registries, so a layer that a user adds is checked as well.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from skscratch.core import (
    Activation,
    Contraction,
    Corruption,
    Dense,
    FanInUniform,
    Layer,
    Loss,
    Network,
    Objective,
    PerturbedCopies,
    SiLU,
    SquaredError,
    TakeColumns,
    Variational,
    gradient_check,
)

# The width is even, so that a variational layer can halve it.
N_ROWS, N_IN, WIDTH, N_OUT = 5, 2, 4, 2
# A wrong gradient is off by a thousandth at least, a right one by a few billionths at most.
TOLERANCE = 1e-8

Array = npt.NDArray[np.float64]


def dense(width: int) -> Dense:
    """Return a layer with random biases, as a check needs.

    With biases of 0, a row of zeros would put relu exactly on its kink, where it has no slope.

    Parameters
    ----------
    width : int
        Number of units.

    Returns
    -------
    skscratch.core.Dense
        The layer.
    """
    return Dense(width, bias=FanInUniform())


def _disturbed(x: Array, rng: np.random.Generator) -> Array:
    return x * rng.uniform(0.5, 1.5, size=x.shape)


# Layers that are right in certain places only, and a place for each. The function of a corruption
# has no derivative: it stands before all parameters, where none is asked for.
PLACED: dict[str, tuple[Layer, ...]] = {
    "contraction": (dense(WIDTH), PerturbedCopies(), SiLU(), Contraction()),
    "corruption": (Corruption(_disturbed), dense(WIDTH), SiLU()),
    "take_columns": (dense(WIDTH), SiLU(), TakeColumns(2)),
    "perturbed_copies": (PerturbedCopies(), dense(WIDTH), SiLU(), Contraction()),
    "variational": (dense(WIDTH), SiLU(), Variational(), SiLU()),
}


@dataclass(frozen=True)
class GradientCheck:
    """One check: what was checked, and the largest relative error of a derivative.

    Parameters
    ----------
    kind : {'layer', 'activation', 'loss', 'pair'}
        Kind of what was checked.
    name : str
        Its name; two names for a pair.
    weighted : bool
        Whether the rows had weights.
    error : float
        The largest relative error.
    """

    kind: str
    name: str
    weighted: bool
    error: float


@dataclass(frozen=True)
class GradientsResult:
    """All checks, and how long they took.

    Parameters
    ----------
    checks : tuple of GradientCheck
        The checks in order.
    seconds : float
        Time of all of them.
    """

    checks: tuple[GradientCheck, ...]
    seconds: float

    @property
    def largest(self) -> float:
        """The largest error of all."""
        return max(check.error for check in self.checks)

    @property
    def passed(self) -> bool:
        """Whether every gradient is right."""
        return self.largest < TOLERANCE


def check_gradients(
    *,
    seed: int = 0,
    pairs: bool = True,
    on_check: Callable[[GradientCheck], None] | None = None,
) -> GradientsResult:
    """Check every activation, layer and loss, with and without row weights, and pairs of layers.

    Parameters
    ----------
    seed : int, default=0
        Seed of the rows, the weights and the noise.
    pairs : bool, default=True
        Check each layer behind each other layer too.
    on_check : callable, default=None
        Called with each check as soon as it is done.

    Returns
    -------
    GradientsResult
        The checks in order.

    Examples
    --------
    >>> from skscratch.experiments import check_gradients
    >>> result = check_gradients(pairs=False)
    >>> result.passed
    True
    """
    started = time.perf_counter()
    checks = []
    for kind, name, weighted, layers, loss in _cases(pairs):
        error = _check(layers, loss, seed, weighted=weighted)
        checks.append(GradientCheck(kind, name, weighted, error))
        if on_check is not None:
            on_check(checks[-1])
    return GradientsResult(tuple(checks), time.perf_counter() - started)


def _cases(pairs: bool) -> Iterator[tuple[str, str, bool, list[Layer], Loss]]:
    """Yield kind, name, whether rows have weights, the layers but the last, and the loss."""
    layers = {name: _layer(name) for name in Layer.members() if name not in PLACED}
    for weighted in (False, True):
        for name, layer in layers.items():
            kind = "activation" if name in Activation.members() else "layer"
            yield kind, name, weighted, [dense(WIDTH), layer], SquaredError()
        for name, placed in PLACED.items():
            yield "layer", name, weighted, list(placed), SquaredError()
        for name in Loss.members():
            yield "loss", name, weighted, [dense(WIDTH), layers["tanh"]], Loss.named(name)
        if pairs:
            for first, one in layers.items():
                for second, other in layers.items():
                    pair = [dense(WIDTH), one, other]
                    yield "pair", f"{first}, {second}", weighted, pair, SquaredError()


def _layer(name: str) -> Layer:
    return dense(WIDTH) if name == Dense.name else Layer.named(name)


def _check(layers: list[Layer], loss: Loss, seed: int, *, weighted: bool) -> float:
    rng = np.random.default_rng(seed)
    network = Network([*layers, dense(N_OUT)], n_in=N_IN, rng=rng)
    X = rng.normal(size=(N_ROWS, N_IN))
    target = _targets(loss, rng)
    weight = rng.uniform(0.5, 2.0, size=N_ROWS) if weighted else None
    return gradient_check(Objective(network, loss, l2=0.1), X, target, weight, seed=seed)


def _targets(loss: Loss, rng: np.random.Generator) -> Array:
    """Draw targets of the kind that the loss is meant for."""
    shape = (N_ROWS, N_OUT)
    kinds = {
        "real": rng.normal(size=shape),
        "share": rng.uniform(size=shape),
        "one-hot": np.eye(N_OUT)[rng.integers(N_OUT, size=N_ROWS)],
        "sign": rng.choice([-1.0, 1.0], size=shape),
        "count": rng.poisson(2.0, size=shape).astype(np.float64),
    }
    return kinds[loss.targets]
