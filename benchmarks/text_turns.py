"""Turns on text: a network is trained or predicts, or a linear machine learns from a stream."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import linear_data
from benchmarks.linear_fits import measured
from benchmarks.workloads import OURS

NETWORK = {"hidden_layer_sizes": (50,), "batch_size": 200}
WARM_UP_ROWS = 200
# Batches of a stream, and the orders of the rows that the turns go through.
BATCHES, ORDERS = 20, 3

# The work of a turn, and what its result is worth: a loss, or an accuracy.
Turn = tuple[Callable[[], Any], Callable[[Any], float]]


class TextTurns:
    """The turns of one contestant, on texts that it reads once."""

    def __init__(self, task: dict[str, Any]) -> None:
        self.task = task
        folder, rows = Path(task["folder"]), task["rows"]
        self.X, self.y = linear_data.load(folder, "newsgroups", rows=rows)
        self.X_test, self.y_test = linear_data.load(folder, "newsgroups-test", rows=rows)
        self.classes = np.unique(self.y)
        self.extra_bytes: int | None = None
        warnings.simplefilter("ignore")
        few = np.random.default_rng(0).permutation(len(self.y))[:WARM_UP_ROWS]
        if task["measure"] == "stream":
            self._machine(0).partial_fit(self.X[few], self.y[few], classes=self.classes)
        else:
            self._network(0).fit(self.X[few], self.y[few])
        if task["measure"] == "predict":
            self.fitted = self._network(0).fit(self.X, self.y)

    def _network(self, seed: int) -> Any:
        ours = self.task["contestant"] == OURS
        library = importlib.import_module("skscratch" if ours else "sklearn.neural_network")
        return library.MLPClassifier(**NETWORK, random_state=seed, **self.task["options"])

    def _machine(self, seed: int) -> Any:
        from sklearn.linear_model import SGDClassifier

        from skscratch import LinearSVM

        kind = LinearSVM if self.task["contestant"] == OURS else SGDClassifier
        return kind(random_state=seed, **self.task["options"])

    def __call__(self, epochs: int, seed: int) -> dict[str, Any]:
        """Take one turn; return the seconds, the memory of the first turn, and the quality."""
        turns: dict[str, Callable[[int], Turn]] = {
            "fit": self._fit,
            "predict": self._predict,
            "stream": self._stream,
        }
        work, worth = turns[self.task["measure"]](seed)
        result, times, self.extra_bytes = measured(work, self.extra_bytes)
        return {
            **times,
            "quality": float(worth(result)),
            "extra_bytes": self.extra_bytes,
            "shape": list(self.X.shape),
            "weight_bytes": getattr(result, "coef_", np.empty(0)).nbytes,
        }

    def _fit(self, seed: int) -> Turn:
        return lambda: self._network(seed).fit(self.X, self.y), lambda network: network.loss_

    def _predict(self, seed: int) -> Turn:
        def certainty(P: Any) -> float:
            return -np.log(P.max(axis=1)).mean()

        return lambda: self.fitted.predict_proba(self.X_test), certainty

    def _stream(self, seed: int) -> Turn:
        order = np.random.default_rng(seed % ORDERS).permutation(len(self.y))
        batches = [(self.X[rows], self.y[rows]) for rows in np.array_split(order, BATCHES)]

        def learn() -> Any:
            machine = self._machine(seed % ORDERS)
            for X, y in batches:
                machine.partial_fit(X, y, classes=self.classes)
            return machine

        return learn, lambda machine: machine.score(self.X_test, self.y_test)
