"""Random numbers of a fit."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from skscratch.core.functions import Array

__all__ = ["RandomDraws"]


class RandomDraws:
    """Random numbers drawn from `random_state` in the order of scikit-learn's MLPs.

    The same `random_state` therefore gives the same initial weights and order of rows.
    """

    def __init__(self, random_state: Any) -> None:
        self.state: np.random.RandomState = check_random_state(random_state)
        self.uniform, self.normal = self.state.uniform, self.state.normal
        self._order = np.arange(0)

    def permutation(self, n: int) -> Array:
        """Return an order of n rows: the previous one, shuffled again."""
        order = np.arange(n)
        self.state.shuffle(order)
        self._order = order if len(self._order) != n else self._order[order]
        return self._order

    def spawn(self, n: int) -> list[np.random.Generator]:
        """Return independent generators, without a draw that scikit-learn would not make."""
        seed = copy.deepcopy(self.state).randint(np.iinfo(np.int32).max)
        return np.random.default_rng(seed).spawn(n)

    # The bound methods of a copied state would draw from the original.
    def __getstate__(self) -> dict[str, Any]:
        return {"state": self.state, "_order": self._order}

    def __setstate__(self, values: dict[str, Any]) -> None:
        self.__init__(values["state"])  # type: ignore[misc]
        self._order = values["_order"]
