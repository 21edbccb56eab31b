"""Where the time of our training goes: the shares of one fit of each workload, on one thread.

    python -m benchmarks.shares --mnist-dir DIR --out DIR [--workload NAME …] [--rows N]

It writes ``shares.md``. The profiler's own time counts in, which is little where arrays are large.
"""

from __future__ import annotations

import argparse
import cProfile
import os
import pstats
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

PRODUCTS = "matrix products"
REST = "the rest"
# By the name of the function, else by the file that it stands in.
FUNCTIONS = {
    "<method 'dot' of 'numpy.ndarray' objects>": PRODUCTS,
    "<method 'take' of 'numpy.ndarray' objects>": "taking rows",
    "<built-in method numpy._core._multiarray_umath.take>": "taking rows",
}
FILES = {
    "layers.py": "biases, activations",
    "activations.py": "biases, activations",
    "functions.py": "biases, activations",
    "losses.py": "loss",
    "optimizers.py": "optimizer",
    "linear.py": "LinearSVM",
    "linear_algebra.py": "LinearSVM",
    "linear_losses.py": "LinearSVM",
}
KINDS = [*dict.fromkeys([*FUNCTIONS.values(), *FILES.values()]), REST]


def kind_of(file: str, function: str) -> str:
    """Say what a function's own time is spent on."""
    return FUNCTIONS.get(function) or FILES.get(Path(file).name, REST)


def shares(task: dict[str, Any]) -> dict[str, float]:
    """Profile one epoch of a workload, or one search, and return the share of each kind of work."""
    from threadpoolctl import threadpool_limits

    from benchmarks.contestants import prepare

    turn = prepare(task)
    profiler = cProfile.Profile()
    with warnings.catch_warnings(), threadpool_limits(1, user_api="blas"):
        warnings.simplefilter("ignore")
        turn(1, 0)
        profiler.runcall(turn, 1, 0)
    seconds: Counter[str] = Counter()
    for (file, _, function), (_, _, own, _, _) in pstats.Stats(profiler).stats.items():  # type: ignore[attr-defined]
        seconds[kind_of(file, function)] += own
    return {kind: seconds[kind] / seconds.total() for kind in KINDS}


def main() -> None:
    """Run the command line."""
    from benchmarks.__main__ import write_data
    from benchmarks.workloads import OURS, WORKLOADS

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mnist-dir", help="folder with the files of MNIST")
    parser.add_argument("--out", type=Path, required=True)
    # XOR's arrays are so small that the profiler would mostly measure itself.
    names = [name for name in WORKLOADS if name != "xor"]
    parser.add_argument("--workload", nargs="+", choices=names, default=names)
    parser.add_argument("--rows", type=int, help="fewer rows, for a trial")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    write_data(
        options.out, options.mnist_dir, sorted({WORKLOADS[name].data for name in options.workload})
    )
    lines = [
        f"| workload | {' | '.join(KINDS)} |",
        f"|---|{'---:|' * len(KINDS)}",
    ]
    for name in options.workload:
        task = WORKLOADS[name].task(
            name=name,
            folder=os.fspath(options.out.resolve()),
            rows=options.rows,
            threads=1,
            contestant=OURS,
        )
        found = shares(task)
        lines.append(f"| {name} | {' | '.join(f'{found[kind]:.0%}' for kind in KINDS)} |")
        print(lines[-1], flush=True)
    text = "\n".join(lines) + "\n"
    (options.out / "shares.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
