"""Random numbers of a fit."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from skscratch.core.functions import Array

__all__ = ["CopiedGenerators", "RandomDraws"]


class RandomDraws:
    """Random numbers drawn from `random_state` in the order of scikit-learn's MLPs.

    The same `random_state` therefore gives the same initial weights and order of rows. A generator
    is made, or copied, when the first number is drawn: that takes as long as a small step.
    """

    def __init__(self, random_state: Any) -> None:
        self._source, self._copies = random_state, False
        self._state: np.random.RandomState | None = None
        self._order = np.arange(0)

    @property
    def state(self) -> np.random.RandomState:
        """The generator."""
        if self._state is None:
            make = _copied if self._copies else check_random_state
            self._state = make(self._source)
        return self._state

    @property
    def uniform(self) -> Callable[..., Any]:
        """Draw uniformly between two bounds."""
        return self.state.uniform

    @property
    def normal(self) -> Callable[..., Any]:
        """Draw with a mean and a standard deviation."""
        return self.state.normal

    def permutation(self, n: int) -> Array:
        """Return an order of n rows: the previous one, shuffled again."""
        order = np.arange(n)
        # Shuffling one row draws nothing.
        if n > 1:
            self.state.shuffle(order)
        self._order = order if len(self._order) != n else self._order[order]
        return self._order

    def spawn(self, n: int) -> list[np.random.Generator]:
        """Return independent generators, without a draw that scikit-learn would not make."""
        seed = _copied(self.state).randint(np.iinfo(np.int32).max)
        return np.random.default_rng(seed).spawn(n)

    def copy(self) -> RandomDraws:
        """Return a copy to draw from; from then on, the original must not be drawn from.

        A generator of the caller's may still be drawn from elsewhere: it is copied at once.
        """
        copied = RandomDraws(self._source)
        copied._order = self._order
        if self._copies:
            copied._source, copied._copies = self._state or self._source, True
        elif self._state is not None or not isinstance(self._source, Integral):
            copied._state, copied._copies = _copied(self.state), True
        return copied

    def __getstate__(self) -> dict[str, Any]:
        return {"state": self.state, "_order": self._order}

    def __setstate__(self, values: dict[str, Any]) -> None:
        self.__init__(values["state"])  # type: ignore[misc]
        self._order = values["_order"]


class CopiedGenerators(Sequence[np.random.Generator]):
    """Copies of generators, each made when it is first asked for.

    Iteration gives the copies that were made, and else the originals.
    """

    def __init__(self, originals: Sequence[np.random.Generator]) -> None:
        self._current = list(originals)
        self._is_copy = [False] * len(self._current)

    def __len__(self) -> int:
        return len(self._current)

    def __iter__(self) -> Iterator[np.random.Generator]:
        return iter(self._current)

    def __getitem__(self, k: Any) -> Any:
        if not self._is_copy[k]:
            self._current[k], self._is_copy[k] = _copied_generator(self._current[k]), True
        return self._current[k]


def _copied_generator(rng: np.random.Generator) -> np.random.Generator:
    bits = rng.bit_generator
    if type(bits) is not np.random.PCG64 or type(bits.seed_seq) is not np.random.SeedSequence:
        return copy.deepcopy(rng)
    # A fourth of the time of a deep copy.
    # Generators that are spawned from the copy depend on a counter in it.
    seed: Any = bits.seed_seq
    copied = np.random.PCG64(np.random.SeedSequence(**seed.state))
    copied.state = bits.state
    return np.random.Generator(copied)


def _copied(state: np.random.RandomState) -> np.random.RandomState:
    values = state.get_state(legacy=False)
    if values["bit_generator"] != "MT19937":
        return copy.deepcopy(state)
    # A third of the time of a deep copy, which asks the system for a seed first.
    copied = np.random.RandomState(0)
    copied.set_state(values)
    return copied
