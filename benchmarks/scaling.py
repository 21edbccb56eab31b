"""How the time of training falls with the number of threads.

    python -m benchmarks scaling --mnist-dir DIR --out DIR [--threads N …] [--only NAME,…]

It writes ``scaling.md`` and ``scaling.json``. Numbers of threads above that of the processors are
left out.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import linear_data, linear_svm, protocol, workloads

THREADS = (1, 2, 4, 8, 16)
NETWORK, MACHINE = "ae-wide", "pixels"


def tasks(name: str, folder: Path, threads: Sequence[int], rows: int | None) -> list[Any]:
    """Return the same work for each number of threads."""
    where = str(folder.resolve())
    if name == MACHINE:
        changes: dict[str, Any] = {} if rows is None else {"rows": rows}
        task = linear_svm.WORKLOADS[name].task(workloads.OURS, folder=where, **changes)
    else:
        task = workloads.WORKLOADS[name].task(
            name=f"scaling-{name}", folder=where, contestant=workloads.OURS, rows=rows
        )
    return [task | {"threads": n, "title": f"{n} threads"} for n in threads]


def run(
    name: str, folder: Path, threads: Sequence[int], rows: int | None, repetitions: int
) -> dict[str, Any]:
    """Let all numbers of threads take turns; return how much faster each is than one."""
    with ExitStack() as stack:
        started = [
            stack.enter_context(protocol.Contestant.start(task))
            for task in tasks(name, folder, threads, rows)
        ]
        protocol.warm_up(started)
        turns = protocol.take_turns(started, {c.name: 1 for c in started}, repetitions)
    seconds = [[turn["seconds"] for turn in turns[c.name]] for c in started]
    return {
        "threads": list(threads),
        "seconds": [median(times) for times in seconds],
        "speedup": [protocol.ratio(seconds[0], times) for times in seconds],
    }


def report(results: dict[str, Any]) -> str:
    """Render the figures as Markdown."""
    lines = [
        "| workload | threads | speed relative to one thread (95 % interval) |",
        "|---|---:|---:|",
    ]
    for name, found in results["workloads"].items():
        for n, ratio in zip(found["threads"], found["speedup"], strict=True):
            interval = f"{ratio['median']:.2f} ({ratio['least']:.2f} to {ratio['most']:.2f})"
            lines.append(f"| {name} | {n} | {interval} |")
    lines += [
        "",
        f"{results['repetitions']} turns each. {protocol.format_facts(results['facts'])}.",
    ]
    return "\n".join(lines) + "\n"


def main(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> int:
    """Run the command line."""
    parser.add_argument("--mnist-dir", help="folder with the files of MNIST")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--threads", type=int, nargs="+", default=list(THREADS))
    parser.add_argument("--repetitions", type=int, default=9)
    parser.add_argument("--rows", type=int, help="fewer rows, for a trial")
    parser.add_argument("--only", default=f"{NETWORK},{MACHINE}", help="names, with commas")
    options = parser.parse_args(arguments)
    names = options.only.split(",")
    if unknown := [name for name in names if name not in (NETWORK, MACHINE)]:
        parser.error(f"no workload is called {unknown[0]!r}; there are {NETWORK}, {MACHINE}")
    options.out.mkdir(parents=True, exist_ok=True)
    threads = [n for n in options.threads if n <= (os.cpu_count() or 1)]
    results: dict[str, Any] = {
        "facts": protocol.facts(),
        "repetitions": options.repetitions,
        "workloads": {},
    }
    for name in names:
        if name == MACHINE:
            linear_data.write(options.out, name, {"mnist-dir": options.mnist_dir})
        else:
            workloads.write_data(options.out, options.mnist_dir, ["mnist"])
        found = run(name, options.out, threads, options.rows, options.repetitions)
        results["workloads"][name] = found
        print(f"{name}: {[round(ratio['median'], 2) for ratio in found['speedup']]}", flush=True)
    return protocol.publish(options.out, "scaling", results, report(results))
