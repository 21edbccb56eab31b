"""Where the time of training goes: the shares of one fit of each workload, on one thread.

    python -m benchmarks shares --mnist-dir DIR --out DIR [--workload NAME …] [--rows N]

It writes ``shares.md``. The profiler's own time is included; it is little where arrays are large.
"""

from __future__ import annotations

import argparse
import cProfile
import os
import pstats
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import protocol
from benchmarks.workloads import OURS, WORKLOADS, write_data

PRODUCTS = "matrix products"
TAKING = "taking rows"
REST = "the rest"
# What a function's own time, and that of the built-in ones it calls, is spent on.
FILES = {
    "layers.py": "biases, activations",
    "activations.py": "biases, activations",
    "functions.py": "biases, activations",
    "losses.py": "loss",
    "optimizers.py": "optimizer",
}
SVM = "LinearSVM"
KINDS = [PRODUCTS, TAKING, *dict.fromkeys(FILES.values()), SVM, REST]


def kind_of(file: str, built_in: str = "") -> str:
    """Return the kind of work of a file, or of a built-in function that is called there."""
    place = Path(file)
    if "'take'" in built_in:
        return TAKING
    package = place.parts[-3:-1]
    if package == ("skscratch", "linear"):
        return SVM
    if package != ("skscratch", "core"):
        return REST
    if place.name == "layers.py" and "'dot'" in built_in:
        return PRODUCTS
    return FILES.get(place.name, REST)


def shares(task: dict[str, Any]) -> dict[str, float]:
    """Profile one epoch of a workload, or one search, and return the share of each kind of work."""
    from threadpoolctl import threadpool_limits

    from benchmarks.contestants import prepare

    train_once = prepare(task)
    profiler = cProfile.Profile()
    with warnings.catch_warnings(), threadpool_limits(1, user_api="blas"):
        warnings.simplefilter("ignore")
        train_once(1, 0)
        profiler.runcall(train_once, 1, 0)
    seconds: Counter[str] = Counter()
    entries = pstats.Stats(profiler).stats.items()  # type: ignore[attr-defined]
    for (file, _, function), (_, _, own, _, callers) in entries:
        if file != "~":
            seconds[kind_of(file)] += own
            continue
        for (caller, _, _), (_, _, own_there, _) in callers.items():
            seconds[kind_of(caller, function)] += own_there
    return {kind: seconds[kind] / seconds.total() for kind in KINDS}


def main(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> None:
    """Run the command line."""
    # As the contestants of the other benchmarks: before NumPy is imported.
    for variable in protocol.KERNEL_VARIABLES:
        os.environ.pop(variable, None)
    parser.add_argument("--mnist-dir", help="folder with the files of MNIST")
    parser.add_argument("--out", type=Path, required=True)
    # XOR's arrays are so small that the profiler would mostly measure itself.
    names = [name for name in WORKLOADS if name != "xor"]
    parser.add_argument("--workload", nargs="+", choices=names, default=names)
    parser.add_argument("--rows", type=int, help="fewer rows, for a trial")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    write_data(
        options.out, options.mnist_dir, sorted({WORKLOADS[name].data for name in options.workload})
    )
    lines = [
        f"| workload | {' | '.join(KINDS)} |",
        f"|---|{'---:|' * len(KINDS)}",
    ]
    print("\n".join(lines))
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
    lines += ["", f"{protocol.format_facts(protocol.facts())}; one thread."]
    (options.out / "shares.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(lines[-1])
