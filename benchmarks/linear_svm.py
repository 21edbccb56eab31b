"""`LinearSVM` and `LinearSVC`: the same objective first, then the time.

    python -m benchmarks linear_svm --mnist-dir DIR --out DIR [--only NAMES] [--repetitions N]

Every fit runs in its own process, on one thread, and the contestants take turns. The result is the
median of the ratios of neighbouring fits. A workload that is finished is kept in the output folder
and not run again with the same settings. In the end there are ``linear_svm.md``,
``linear_svm.json`` and ``linear_svm.png``.

The claims would be false if `LinearSVC` reached the same objective in the same run in less than
the stated multiple of our time.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks import protocol

ONE_THREAD = dict.fromkeys(protocol.THREAD_VARIABLES, "1")
# LIBLINEAR's default number of iterations does not reach its default tolerance for the hinge.
PATIENT: dict[str, Any] = {"max_iter": 1_000_000, "random_state": 0}
# Data, loss, LIBLINEAR's options, and the ratio to reach.
WORKLOADS: dict[str, tuple[str, str, dict[str, Any], float]] = {
    "latent": ("latent", "squared_hinge", {"dual": False}, 12),
    "pixels": ("pixels", "squared_hinge", {"dual": False}, 4),
    "hinge-latent": ("latent", "hinge", PATIENT, 10),
    "hinge-pixels": ("pixels", "hinge", PATIENT, 10),
}
WARM_UP_ROWS = 500


# ---- one fit, in its own process -----------------------------------------------------------------


def objective(X: Any, y: Any, coef: Any, intercept: Any, loss: str) -> float:
    """Return the objective at C = 1, in float64 and block by block."""
    classes = np.unique(y)
    classes = classes[1:] if len(classes) == 2 else classes
    coef, intercept = coef.astype(np.float64), intercept.astype(np.float64)
    total = 0.5 * float((coef**2).sum() + (intercept**2).sum())
    for rows in np.array_split(np.arange(len(y)), 1 + len(y) // 4096):
        signs = np.where(y[rows, None] == classes, 1.0, -1.0)
        slack = np.maximum(0.0, 1.0 - signs * (X[rows] @ coef.T + intercept))
        total += float((slack**2 if loss == "squared_hinge" else slack).sum())
    return total


def fit_once(task: dict[str, Any]) -> dict[str, Any]:
    """Fit the estimator of a task; return time, objective and memory."""
    from sklearn.svm import LinearSVC

    from skscratch import LinearSVM

    warnings.simplefilter("ignore")
    folder = Path(task["folder"])
    X, y = np.load(folder / f"{task['data']}.npy", mmap_mode="r"), np.load(folder / "labels.npy")
    rows = np.flatnonzero(y < task["classes"])[: task["rows"]]
    # Spread over the image: its first columns are the empty rim.
    step = max(1, X.shape[1] // (task["columns"] or X.shape[1]))
    X, y = np.ascontiguousarray(X[rows, ::step][:, : task["columns"]], task["dtype"]), y[rows]
    kind = {"LinearSVM": LinearSVM, "LinearSVC": LinearSVC}[task["machine"]]
    machine = kind(loss=task["loss"], **task["options"])
    kind(loss=task["loss"]).fit(X[:WARM_UP_ROWS], y[:WARM_UP_ROWS])
    began = perf_counter()
    machine.fit(X, y)
    seconds = perf_counter() - began
    return {
        "seconds": seconds,
        "objective": objective(X, y, machine.coef_, machine.intercept_, task["loss"]),
        "dual_gap": getattr(machine, "dual_gap_", None),
        "n_iter": int(np.max(machine.n_iter_)),
        "peak_mib": protocol.peak_memory(),
    }


def run(folder: Path, machine: str, data: str, loss: str, **how: Any) -> dict[str, Any]:
    """Run `fit_once` in a fresh process."""
    task = {
        "folder": str(folder),
        "machine": machine,
        "data": data,
        "loss": loss,
        "rows": how.pop("rows", None),
        "columns": how.pop("columns", None),
        "classes": how.pop("classes", 10),
        "dtype": how.pop("dtype", "float32"),
        "options": how,
    }
    command = [sys.executable, "-m", "benchmarks", "linear_svm", "--task", json.dumps(task)]
    done = subprocess.run(
        command,
        cwd=protocol.ROOT,
        env={**os.environ, **ONE_THREAD},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


# ---- measurements --------------------------------------------------------------------------------


def prepare(mnist: str | None, folder: Path) -> None:
    """Write pixels, latent features and labels, unless they are there already."""
    from sklearn.preprocessing import StandardScaler

    from skscratch import AutoencoderTransformer
    from skscratch.datasets import load_mnist

    if (folder / "labels.npy").exists():
        return
    images = load_mnist(mnist)
    encoder = AutoencoderTransformer(
        64, (512, 256, 128), tied_weights=False, max_iter=3, batch_size=256, random_state=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        latent = encoder.fit_transform(images.X_train)
    np.save(folder / "pixels.npy", images.X_train)
    np.save(folder / "latent.npy", StandardScaler().fit_transform(latent).astype(np.float32))
    np.save(folder / "labels.npy", images.y_train)


def run_workload(folder: Path, name: str, rows: int, repetitions: int) -> dict[str, Any]:
    """Let both machines take turns at one workload, at the same objective."""
    data, loss, options, goal = WORKLOADS[name]
    # A lower bound of the optimum: the best objective less its duality gap.
    exact = run(folder, "LinearSVM", data, loss, rows=rows, dtype="float64", tol=1e-7)
    bound = exact["objective"] - exact["dual_gap"]
    theirs = [run(folder, "LinearSVC", data, loss, rows=rows, **options)]
    excess = theirs[0]["objective"] / bound - 1
    # The squared hinge is solved to the default tolerance, which is the finer one.
    ours_options = {} if loss == "squared_hinge" else {"tol": max(excess, 1e-6)}
    ours = [run(folder, "LinearSVM", data, loss, rows=rows, n_jobs=1, **ours_options)]
    for _ in range(repetitions - 1):
        theirs.append(run(folder, "LinearSVC", data, loss, rows=rows, **options))
        ours.append(run(folder, "LinearSVM", data, loss, rows=rows, n_jobs=1, **ours_options))
    allowed = max(excess, 1e-6)
    reached = max(fit["objective"] for fit in ours) / bound - 1
    if reached > allowed:
        raise AssertionError(f"{name}: {reached:.1e} above the optimum, allowed {allowed:.1e}")
    ratios = [t["seconds"] / o["seconds"] for t, o in zip(theirs, ours, strict=True)]
    return {
        "rows": rows,
        "ratio": median(ratios),
        "spread": [min(ratios), max(ratios)],
        "goal": goal,
        "seconds": median(fit["seconds"] for fit in ours),
        "their_seconds": median(fit["seconds"] for fit in theirs),
        "excess": reached,
        "their_excess": excess,
        "peak_mib": max(fit["peak_mib"] for fit in ours),
        "their_peak_mib": max(fit["peak_mib"] for fit in theirs),
    }


def growth(folder: Path, rows: int, repetitions: int) -> dict[str, Any]:
    """Measure our time against rows, columns and classes, one of them at a time."""
    axes: dict[str, list[dict[str, int]]] = {
        "rows": [{"rows": rows // k} for k in (16, 8, 4, 2, 1)],
        "columns": [{"columns": k, "rows": rows // 4} for k in (98, 196, 392, 784)],
        "classes": [{"classes": k, "rows": rows // 4} for k in (2, 4, 6, 8, 10)],
    }
    found = {}
    for axis, points in axes.items():
        data = "pixels" if axis == "columns" else "latent"
        seconds = [
            median(
                run(folder, "LinearSVM", data, "squared_hinge", n_jobs=1, **point)["seconds"]
                for _ in range(repetitions)
            )
            for point in points
        ]
        sizes = [point[axis] for point in points]
        exponent = float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])
        found[axis] = {"sizes": sizes, "seconds": seconds, "exponent": exponent}
    return found


# ---- the pages -----------------------------------------------------------------------------------


def report(results: dict[str, Any]) -> str:
    """Render the results as Markdown."""
    lines = ["One thread each, C = 1. *Excess* is how far the objective is above the optimum.", ""]
    if results["workloads"]:
        lines += [
            "| workload | rows | LinearSVM | LinearSVC | ratio (spread) | goal | excess |",
            "|---|---|---|---|---|---|---|",
        ]
    for name, d in results["workloads"].items():
        lines.append(
            f"| {name} | {d['rows']:,} | {d['seconds']:.2f} s, {d['peak_mib']:.0f} MiB "
            f"| {d['their_seconds']:.2f} s, {d['their_peak_mib']:.0f} MiB "
            f"| {d['ratio']:.1f} ({d['spread'][0]:.1f} to {d['spread'][1]:.1f}) | {d['goal']} "
            f"| {d['excess']:.1e} against {d['their_excess']:.1e} |"
        )
    for axis, g in results["growth"].items():
        points = ", ".join(
            f"{n:,}: {s:.2f} s" for n, s in zip(g["sizes"], g["seconds"], strict=True)
        )
        lines += ["", f"Time grows with the {axis} to the power {g['exponent']:.2f} ({points})."]
    lines += ["", protocol.format_facts(results["facts"]) + ".", ""]
    lines.append(
        "A claim is false if LinearSVC reaches the same objective in the same run in less than the "
        "stated multiple of our time."
    )
    return "\n".join(lines) + "\n"


def draw(results: dict[str, Any], file: Path) -> None:
    """Draw time against rows, columns and classes."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(11, 3.4), layout="constrained")
    for axis, (name, g) in zip(axes, results["growth"].items(), strict=True):
        sizes, seconds = np.array(g["sizes"]), np.array(g["seconds"])
        axis.loglog(sizes, seconds, "o-", label=f"power {g['exponent']:.2f}")
        axis.loglog(sizes, seconds[-1] * sizes / sizes[-1], "--", color="gray", label="linear")
        axis.set(xlabel=name, ylabel="seconds")
        axis.set_xticks(sizes, [f"{size:,}" for size in sizes], rotation=30)
        axis.xaxis.minorticks_off()
        axis.legend()
    figure.savefig(file, dpi=120)
    plt.close(figure)


def main(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> None:
    """Run the command line."""
    parser.add_argument("--mnist-dir", help="folder with the files of MNIST")
    parser.add_argument("--out", type=Path, help="folder to write to; data are kept in it")
    parser.add_argument("--only", default="latent,pixels,hinge,growth", help="what to measure")
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--task", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.task:
        print(json.dumps(fit_once(json.loads(options.task))))
        return
    if options.out is None:
        parser.error("--out is needed")
    folder: Path = options.out
    # Imported late: the processes of the fits do not load it.
    from skscratch.experiments.store import Store

    store = Store.resume(folder, protocol.MARK, note=print)
    prepare(options.mnist_dir, folder)
    wanted = options.only.split(",")
    results: dict[str, Any] = {"facts": protocol.facts(), "workloads": {}, "growth": {}}
    for name in WORKLOADS:
        if name.partition("-")[0] in wanted or name in wanted:
            results["workloads"][name] = store.part(
                name,
                partial(run_workload, folder, name, options.rows, options.repetitions),
                settings=[options.rows, options.repetitions],
            )
            print(name, json.dumps(results["workloads"][name]), flush=True)
    if "growth" in wanted:
        results["growth"] = store.part(
            "growth",
            partial(growth, folder, options.rows, options.repetitions),
            settings=[options.rows, options.repetitions],
        )
        draw(results, folder / "linear_svm.png")
    (folder / "linear_svm.json").write_text(json.dumps(results, indent=1), encoding="utf-8")
    (folder / "linear_svm.md").write_text(report(results), encoding="utf-8")
    print(report(results))
