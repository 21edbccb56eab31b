"""Time and size of a checkpoint, compared with an epoch and with the parameters.

    python -m benchmarks checkpoints --out DIR [--repetitions N] [--only NAME,…]

It writes ``checkpoints.md`` and ``checkpoints.json``.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from benchmarks import protocol

# Name -> widths of the hidden layers of a classifier of 784 features.
NETWORKS: dict[str, tuple[int, ...]] = {"10 MB": (3200,), "200 MB": (6500, 6700)}
N_ROWS, N_FEATURES, N_CLASSES = 2000, 784, 10
MEGABYTE = 1e6


def run_network(folder: Path, widths: tuple[int, ...], repetitions: int) -> dict[str, Any]:
    """Fit a network with a checkpoint after each epoch; return times and sizes."""
    import numpy as np

    from skscratch import MLPClassifier
    from skscratch.callbacks import Checkpoint, EpochCallback

    class Clock(EpochCallback):
        """Notes when an epoch ends, before and after what stands between two clocks."""

        def __init__(self) -> None:
            self.times: list[float] = []

        def on_epoch(self, record: dict[str, Any]) -> None:
            self.times.append(perf_counter())

    rng = np.random.default_rng(0)
    X = rng.random((N_ROWS, N_FEATURES), dtype=np.float32)
    y = rng.integers(N_CLASSES, size=N_ROWS)
    file = folder / "checkpoint.skops"
    before, after = Clock(), Clock()
    # The first epoch allocates memory: it does not count.
    model = MLPClassifier(
        widths, max_iter=repetitions + 1, n_iter_no_change=repetitions + 1, random_state=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.set_callbacks(before, Checkpoint(file), after).fit(X, y)
    size = file.stat().st_size
    file.unlink()
    epochs = [b - a for a, b in zip(after.times, before.times[1:], strict=False)]
    writing = [b - a for a, b in zip(before.times, after.times, strict=True)][1:]
    ratios = [w / e for w, e in zip(writing, epochs, strict=True)]
    return {
        "parameters": model.network_.params.nbytes,
        "size": size,
        "epoch": median(epochs),
        "writing": median(writing),
        "ratio": median(ratios),
        "interval": protocol.bootstrap_interval(ratios),
    }


def report(results: dict[str, Any]) -> str:
    """Render the figures as Markdown."""
    lines = [
        "| network | parameters | file | file ÷ parameters | epoch | checkpoint "
        "| checkpoint ÷ epoch (95 % interval) |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, r in results["workloads"].items():
        least, most = r["interval"]
        lines.append(
            f"| {name} | {r['parameters'] / MEGABYTE:.1f} MB | {r['size'] / MEGABYTE:.1f} MB "
            f"| {r['size'] / r['parameters']:.2f} | {r['epoch']:.2f} s | {r['writing']:.2f} s "
            f"| {r['ratio']:.2f} ({least:.2f} to {most:.2f}) |"
        )
    lines += [
        "",
        f"{N_ROWS:,} rows of {N_FEATURES} features in float32, Adam, batches of 200, "
        f"{results['repetitions']} epochs; medians. A file holds the parameters and Adam's two "
        "means, and is read back before it replaces the last one. "
        f"{protocol.format_facts(results['facts'])}.",
    ]
    return "\n".join(lines) + "\n"


def main(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> int:
    """Run the command line."""
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--repetitions", type=int, default=9)
    parser.add_argument("--only", default=",".join(NETWORKS), help="names, separated by commas")
    options = parser.parse_args(arguments)
    names = options.only.split(",")
    if unknown := [name for name in names if name not in NETWORKS]:
        parser.error(f"no network is called {unknown[0]!r}; there are {', '.join(NETWORKS)}")
    options.out.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = {
        "facts": protocol.facts(),
        "repetitions": options.repetitions,
        "workloads": {},
    }
    for name in names:
        found = run_network(options.out, NETWORKS[name], options.repetitions)
        results["workloads"][name] = found
        print(f"{name}: a checkpoint takes {found['ratio']:.2f} epochs", flush=True)
    return protocol.publish(options.out, "checkpoints", results, report(results))
