"""The rules of a measurement: processes that take turns, and ratios of times with their spread.

No absolute time is a result: the machines are shared and noisy. The result is the median of the
ratios of neighbouring turns, with its 95 % bootstrap interval. The processes that are
measured import this module: it imports only the standard library at the top.
"""

from __future__ import annotations

import json
import os
import platform
import random
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from time import sleep
from typing import IO, Any, Self

ROOT = Path(__file__).parents[1]
THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
# Threads of some libraries go on spinning for a while after their turn.
REST_SECONDS = 0.5
# Raised if what is measured, or how, or its files change: earlier results do not count then.
EDITION = 5
MARK = f"benchmarks, edition {EDITION}"
# These may hold NumPy to the kernels of an older processor. Without them every library chooses
# those of the processor at hand.
KERNEL_VARIABLES = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")


class Contestant:
    """A process that trains when it is its turn, and waits otherwise."""

    def __init__(self, task: dict[str, Any], process: subprocess.Popen[str], log: IO[str]) -> None:
        # A library that competes with itself needs two titles.
        self.name: str = task.get("title", task["contestant"])
        self.process, self.log = process, log
        self.facts = self._ask(task)

    @classmethod
    @contextmanager
    def start(cls, task: dict[str, Any]) -> Iterator[Self]:
        """Start a contestant, which ends with the context."""
        # A search starts further processes, and joblib divides the threads among them.
        limited = () if task["kind"] == "search" else THREAD_VARIABLES
        environment = {
            **{name: value for name, value in os.environ.items() if name not in KERNEL_VARIABLES},
            **dict.fromkeys(limited, str(task["threads"])),
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "CUDA_VISIBLE_DEVICES": "",
        }
        with (
            tempfile.TemporaryFile("w+", encoding="utf-8") as log,
            subprocess.Popen(
                [sys.executable, "-m", "benchmarks.contestants"],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            ) as process,
        ):
            yield cls(task, process, log)

    def _ask(self, question: Any) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            print(json.dumps(question), file=self.process.stdin, flush=True)
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            self.process.wait()
            self.log.seek(0)
            raise RuntimeError(f"{self.name} ended: {self.log.read()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def train_once(self, epochs: int, seed: int = 0) -> dict[str, Any]:
        """Take one turn of some epochs, or fits; return seconds and what else was measured."""
        sleep(REST_SECONDS)
        return self._ask([epochs, seed])


def warm_up(contestants: list[Contestant]) -> dict[str, dict[str, Any]]:
    """Let each train for one epoch, or fit once, before any turn counts."""
    return {contestant.name: contestant.train_once(1) for contestant in contestants}


def take_turns(
    contestants: list[Contestant], epochs: dict[str, int], repetitions: int
) -> dict[str, list[dict[str, Any]]]:
    """Train in turn, A B B A A B …, so that none is always first; every round has its seed."""
    turns: dict[str, list[dict[str, Any]]] = {c.name: [] for c in contestants}
    for seed in range(repetitions):
        for contestant in contestants if seed % 2 == 0 else reversed(contestants):
            turns[contestant.name].append(contestant.train_once(epochs[contestant.name], seed))
    return turns


def ratio(numerators: list[float], denominators: list[float]) -> dict[str, float]:
    """Return the median of the ratios of neighbours, and its 95 % bootstrap interval."""
    ratios = [a / b for a, b in zip(numerators, denominators, strict=True)]
    least, most = bootstrap_interval(ratios)
    return {"median": median(ratios), "least": least, "most": most}


def bootstrap_interval(values: list[float], draws: int = 10_000) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of the median, always the same for the same values."""
    generator = random.Random(0)
    medians = sorted(median(generator.choices(values, k=len(values))) for _ in range(draws))
    outside = draws // 40
    return medians[outside], medians[-1 - outside]


def publish(folder: Path, name: str, results: dict[str, Any], page: str) -> int:
    """Write the results of workloads and print their page; return the exit code."""
    (folder / f"{name}.json").write_text(json.dumps(results, indent=1), encoding="utf-8")
    (folder / f"{name}.md").write_text(page, encoding="utf-8")
    print(page)
    return int(any("failed" in result for result in results["workloads"].values()))


def peak_memory() -> float:
    """Return the peak memory of this process in MiB."""
    file = Path("/proc/self/status")
    if file.exists():
        # getrusage would count what the parent process had when it started this process.
        (line,) = [line for line in file.read_text().splitlines() if line.startswith("VmHWM")]
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def facts() -> dict[str, Any]:
    """Return the machine and the versions of a measurement."""
    import numpy as np
    import scipy
    import sklearn

    return {
        "Python": platform.python_version(),
        "NumPy": np.__version__,
        "SciPy": scipy.__version__,
        "scikit-learn": sklearn.__version__,
        "system": f"{platform.system()} on {platform.machine()}",
        "processor": _processor(),
        "processors": os.cpu_count(),
        "BLAS kernel": _kernel(),
    }


def format_facts(facts: dict[str, Any]) -> str:
    """Return the facts as one line of text."""
    return ", ".join(f"{name} {value}" for name, value in facts.items())


def _kernel() -> str:
    """Return what BLAS chooses in a process of a contestant."""
    code = (
        "import numpy, threadpoolctl\n"
        "info = threadpoolctl.threadpool_info()\n"
        "print(*{library.get('architecture', 'unknown') for library in info})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={name: value for name, value in os.environ.items() if name not in KERNEL_VARIABLES},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip() or "unknown"


def _processor() -> str:
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
