"""Initial values of weights and biases.

All but `Zeros` and `Ones` draw with a variance of ``c / fan``, so that signals neither grow nor
fade from layer to layer; they differ in ``c``, the fan they divide by, and the distribution.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Protocol

import numpy as np

from skscratch.core.functions import Array
from skscratch.core.named import Named


class RandomSource(Protocol):
    """The methods that the core needs to draw random numbers; NumPy's Generator has them."""

    @property
    def uniform(self) -> Callable[..., Any]:
        """Draw uniformly between two bounds."""

    @property
    def normal(self) -> Callable[..., Any]:
        """Draw with a mean and a standard deviation."""

    @property
    def permutation(self) -> Callable[[int], Any]:
        """Draw a permutation of ``range(n)``."""

    @property
    def spawn(self) -> Callable[[int], list[np.random.Generator]]:
        """Create independent generators."""


class Initializer(Named, family="initializer"):
    """Sets the initial values of one parameter array."""

    def fill(self, out: Array, n_in: int, n_out: int, rng: RandomSource) -> None:
        """Write initial values into `out`, a parameter of a layer of these widths."""
        raise NotImplementedError


class Zeros(Initializer, name="zeros"):
    """Every entry 0."""

    def fill(self, out: Array, n_in: int, n_out: int, rng: RandomSource) -> None:
        out.fill(0)


class Ones(Initializer, name="ones"):
    """Every entry 1."""

    def fill(self, out: Array, n_in: int, n_out: int, rng: RandomSource) -> None:
        out.fill(1)


class _Scaled(Initializer):
    """Zero mean and standard deviation ``gain * sqrt(variance(n_in, n_out))``."""

    gain: float = 1.0

    def check_init(self) -> None:
        self.check_range("gain", 0)

    uniform: ClassVar[bool] = True

    @staticmethod
    def variance(n_in: int, n_out: int) -> float:
        raise NotImplementedError

    def fill(self, out: Array, n_in: int, n_out: int, rng: RandomSource) -> None:
        deviation = self.gain * self.variance(n_in, n_out) ** 0.5
        if self.uniform:
            bound = 3**0.5 * deviation
            out[...] = rng.uniform(-bound, bound, size=out.shape)
        else:
            out[...] = rng.normal(0.0, deviation, size=out.shape)


class GlorotUniform(_Scaled, name="glorot_uniform"):
    """Variance 2 / (n_in + n_out), uniform (Glorot & Bengio, 2010, equation 16)."""

    @staticmethod
    def variance(n_in: int, n_out: int) -> float:
        return 2 / (n_in + n_out)


class GlorotNormal(GlorotUniform, name="glorot_normal"):
    """Variance 2 / (n_in + n_out), normal (Glorot & Bengio, 2010)."""

    uniform: ClassVar[bool] = False


class HeUniform(_Scaled, name="he_uniform"):
    """Variance 2 / n_in, uniform: for relu (He et al., 2015, equation 10)."""

    @staticmethod
    def variance(n_in: int, n_out: int) -> float:
        return 2 / n_in


class HeNormal(HeUniform, name="he_normal"):
    """Variance 2 / n_in, normal: for relu (He et al., 2015, equation 10)."""

    uniform: ClassVar[bool] = False


class LeCunUniform(_Scaled, name="lecun_uniform"):
    """Variance 1 / n_in, uniform (LeCun et al., 1998, equation 16)."""

    @staticmethod
    def variance(n_in: int, n_out: int) -> float:
        return 1 / n_in


class LeCunNormal(LeCunUniform, name="lecun_normal"):
    """Variance 1 / n_in, normal (LeCun et al., 1998, equation 16)."""

    uniform: ClassVar[bool] = False


class FanInUniform(_Scaled, name="fan_in_uniform"):
    """Uniform within ±1 / sqrt(n_in): variance 1 / (3 n_in), smaller than the others."""

    @staticmethod
    def variance(n_in: int, n_out: int) -> float:
        return 1 / (3 * n_in)
