"""What the process of a contestant does in its turn: fit a linear machine, and measure the fit.

Time, processors and memory are those of the fit alone. What the fit is worth is computed after
it, in float64, on the rows that `LinearSVC` is given.
"""

from __future__ import annotations

import ctypes
import gc
import hashlib
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np

from benchmarks import linear_data
from benchmarks.workloads import OURS

WARM_UP_ROWS = 500
BLOCK_ROWS = 4096


def objective(X: Any, y: Any, machine: Any) -> float:
    """Return the objective at C = 1, in float64 and block by block."""
    classes = np.unique(y)
    classes = classes[1:] if len(classes) == 2 else classes
    coef = np.asarray(machine.coef_, np.float64)
    intercept = np.asarray(machine.intercept_, np.float64)
    if machine.penalty == "l1":
        total = float(np.abs(coef).sum() + np.abs(intercept).sum())
    else:
        total = 0.5 * float((coef**2).sum() + (intercept**2).sum())
    for start in range(0, len(y), BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        signs = np.where(y[rows, None] == classes, 1.0, -1.0)
        slack = np.maximum(0.0, 1.0 - signs * (X[rows] @ coef.T + intercept))
        total += float((slack if machine.loss == "hinge" else slack**2).sum())
    return total


def problems(X: Any, y: Any, fitted: Any) -> Iterator[tuple[Any, Any, Any]]:
    """Yield rows, labels and machine of each pair of classes, or of the one machine there is."""
    if not hasattr(fitted, "estimators_"):
        yield X, y, fitted
        return
    classes = fitted.classes_
    pairs = [(a, b) for i, a in enumerate(classes) for b in classes[i + 1 :]]
    for (a, b), machine in zip(pairs, fitted.estimators_, strict=True):
        rows = (y == a) | (y == b)
        yield X[rows], (y[rows] == b).astype(int), machine


class LinearFits:
    """The fits of one contestant, on rows that it reads once."""

    def __init__(self, task: dict[str, Any]) -> None:
        self.task = task
        self.X, self.y = self._load(task["dtype"])
        self.known: dict[str, Any] = {}
        self.extra_bytes: int | None = None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            few = np.random.default_rng(0).permutation(len(self.y))[:WARM_UP_ROWS]
            self._make().fit(self.X[few], self.y[few])

    def _load(self, dtype: str) -> tuple[Any, Any]:
        limits = {name: self.task.get(name) for name in ("rows", "columns", "classes")}
        return linear_data.load(Path(self.task["folder"]), self.task["data"], dtype, **limits)

    def _make(self) -> Any:
        from sklearn.multiclass import OneVsOneClassifier
        from sklearn.svm import LinearSVC

        from skscratch import LinearSVM

        kind = LinearSVM if self.task["contestant"] == OURS else LinearSVC
        machine = kind(self.task["penalty"], loss=self.task["loss"], **self.task["options"])
        return OneVsOneClassifier(machine) if self.task["pairs"] else machine

    def __call__(self, n_fits: int, seed: int) -> dict[str, Any]:
        """Fit so many times; return the seconds of all, and what the last one is worth."""

        def fit() -> Any:
            for _ in range(n_fits):
                fitted = self._make().fit(self.X, self.y)
            return fitted

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            fitted, times, self.extra_bytes = measured(fit, self.extra_bytes)
        return {
            **times,
            "warnings": sorted({f"{w.category.__name__}: {w.message}" for w in caught}),
            "extra_bytes": self.extra_bytes,
            **self._worth(fitted),
        }

    def _worth(self, fitted: Any) -> dict[str, Any]:
        machines = [machine for _, _, machine in problems(self.X, self.y, fitted)]
        digest = hashlib.sha256()
        for machine in machines:
            digest.update(machine.coef_.tobytes())
            digest.update(machine.intercept_.tobytes())
        # Fits that give the same bits are worth the same.
        if self.known.get("digest") != digest.hexdigest():
            X, y = self._load("float64")
            # LIBLINEAR has no certificate.
            gaps = [machine for machine in machines if hasattr(machine, "dual_gap_")]
            self.known = {
                "digest": digest.hexdigest(),
                "objective": sum(objective(*problem) for problem in problems(X, y, fitted)),
                "gap": max((m.dual_gap_ / m.objective_ for m in gaps), default=None),
                "certified": all(m.dual_gap_ <= m.tol * m.objective_ for m in gaps),
                "shape": list(self.X.shape),
                "n_classes": len(fitted.classes_),
                "allowed_bytes": allowed_bytes(self.X, machines),
            }
        return self.known


def allowed_bytes(X: Any, machines: list[Any]) -> int:
    """Return how much memory a fit may need: 1.5 times the rows and 3 times the coefficients."""
    arrays = [X] if isinstance(X, np.ndarray) else [X.data, X.indices, X.indptr]
    coefficients = sum(m.coef_.nbytes + m.intercept_.nbytes for m in machines)
    return int(1.5 * sum(array.nbytes for array in arrays) + 3 * coefficients)


def measured(
    work: Callable[[], Any], extra_bytes: int | None
) -> tuple[Any, dict[str, float], int | None]:
    """Do some work; return its result, its times, and the extra memory of the first time.

    Later work may use memory that the first has left, so `extra_bytes` is kept once it is known.
    """
    memory = PeakMemory() if extra_bytes is None else None
    worked, began = process_time(), perf_counter()
    result = work()
    seconds, worked = perf_counter() - began, process_time() - worked
    if memory is not None:
        extra_bytes = memory.extra_bytes()
    return result, {"seconds": seconds, "processors": worked / seconds}, extra_bytes


class PeakMemory:
    """How far the memory of this process rises from now on. Only Linux can tell."""

    STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")

    def __init__(self) -> None:
        self.before: int | None = None
        gc.collect()
        try:
            # Else the fit could use memory that glibc has kept, and which counts already.
            ctypes.CDLL(None).malloc_trim(0)
            # 5 sets the peak to the present size.
            self.RESET.write_text("5")
            self.before = self._read("VmRSS")
        except (OSError, AttributeError, TypeError):
            return

    def _read(self, name: str) -> int:
        lines = self.STATUS.read_text().splitlines()
        (line,) = [line for line in lines if line.startswith(f"{name}:")]
        return 1024 * int(line.split()[1])

    def extra_bytes(self) -> int | None:
        """Return how much more memory there was at the peak, or None if it is unknown."""
        return None if self.before is None else self._read("VmHWM") - self.before
