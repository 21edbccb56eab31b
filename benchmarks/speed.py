"""Training compared with Keras, PyTorch and scikit-learn, in turn and at equal quality.

    python -m benchmarks speed --mnist-dir DIR --out DIR
                               [--workload NAME …] [--repetitions N] [--rows N]
    python -m benchmarks speed --join DIR DIR … --out DIR

A workload that is finished is kept in the output folder and not run again with the same settings.
In the end there are ``speed.md``, ``speed.json`` and ``speed.png``. The second form makes them from
the ratios of several runs together.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np

from benchmarks import protocol
from benchmarks.contestants import estimator
from benchmarks.workloads import GROWTH, MATMUL_ONLY, OURS, WORKLOADS, Workload, write_data
from skscratch.experiments.store import Store

TOLERANCE = 0.02
FALSE_IF = (
    "A claim is false if the same command, on a machine that does nothing else, gives an interval "
    "wholly below the stated ratio."
)


def write_initial_state(folder: Path, name: str, task: dict[str, Any], seed: int) -> None:
    """Write our initial weights and batches, which the other contestants use if they can."""
    machine = estimator(task | {"rate": 1e-30}, ours=True)
    machine.set_params(max_iter=1, random_state=seed)
    with np.load(folder / f"{task['data']}.npz") as arrays:
        X, y = arrays["X"][: task["rows"]], arrays["y"][: task["rows"]]
    first = slice(500)
    # All rows are one batch here, so that no order of rows is drawn yet.
    machine.set_params(batch_size=len(X[first]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        machine.fit(X[first], y[first])
    if task["batch"] < len(X):
        draws = machine._training_state.rng
        orders = [draws.permutation(len(X)).astype(np.int32) for _ in range(task["epochs"])]
        np.save(folder / f"{name}-orders-{seed}.npy", orders)
    weights = {f"W{i}": W for i, W in enumerate(machine.coefs_)}
    biases = {f"b{i}": b for i, b in enumerate(machine.intercepts_)}
    np.savez(folder / f"{name}-weights-{seed}.npz", **weights, **biases)


def run_workload(
    folder: Path, name: str, settings: dict[str, Any], repetitions: int
) -> dict[str, Any]:
    """Let all contestants take turns at one workload, and compare them with us."""
    workload = WORKLOADS[name]
    task = workload.task(name=name, folder=str(folder.resolve()), **settings)
    if workload.kind in ("classifier", "autoencoder"):
        for seed in range(repetitions):
            write_initial_state(folder, name, task, seed)
    with ExitStack() as stack:
        started = [
            stack.enter_context(protocol.Contestant.start(task | {"contestant": who}))
            for who in workload.contestants()
        ]
        missing = {c.name: c.facts["missing"] for c in started if "missing" in c.facts}
        present = [c for c in started if c.name not in missing]
        epochs = {c.name: min(workload.epochs_of(c.name), task["epochs"]) for c in present}
        protocol.warm_up(present)
        turns = protocol.take_turns(present, epochs, repetitions)
        # Those that train for fewer epochs are compared with us after as many.
        losses = {
            n: [present[0].train_once(n, seed)["loss"] for seed in range(repetitions)]
            for n in set(epochs.values()) - {epochs[OURS]}
        }
    losses[epochs[OURS]] = [t["loss"] for t in turns[OURS]]
    return {"missing": missing, "turns": turns, "epochs": epochs} | _summary(
        workload,
        {c.name: c.facts for c in present},
        turns,
        epochs,
        {
            c.name: mean(losses[epochs[c.name]])
            for c in present
            if c.name not in (OURS, *MATMUL_ONLY)
        },
    )


def _summary(
    workload: Workload,
    facts: dict[str, dict[str, Any]],
    turns: dict[str, list[dict[str, Any]]],
    epochs: dict[str, int],
    our_losses: dict[str, float],
) -> dict[str, Any]:
    """Summarise the turns of each contestant, and compare the others with us."""
    return {
        "contestants": {
            who: facts[who]
            | {
                "epoch_seconds": median(t["seconds"] for t in turns[who]) / epochs[who],
                "loss": mean(t["loss"] for t in turns[who]),
                "peak_mib": max(t["peak_mib"] for t in turns[who]),
            }
            for who in turns
        },
        "against": {
            who: _compared(workload, who, turns, epochs, our_losses.get(who))
            for who in turns
            if who != OURS
        },
    }


def _compared(
    workload: Workload,
    who: str,
    turns: dict[str, list[dict[str, Any]]],
    epochs: dict[str, int],
    our_loss: float | None,
) -> dict[str, Any]:
    theirs, ours = ([t["seconds"] / epochs[n] for t in turns[n]] for n in (who, OURS))
    if our_loss is None:
        return protocol.ratio(ours, theirs)
    # In a search and of calls the figure is a share of errors, else a loss.
    loss = mean(t["loss"] for t in turns[who])
    is_error = workload.kind in ("search", "calls")
    allowed = loss + TOLERANCE if is_error else loss * (1 + TOLERANCE)
    return protocol.ratio(theirs, ours) | {
        "goal": workload.goals[who],
        "our_loss": our_loss,
        "loss": loss,
        "equal_quality": our_loss <= allowed,
    }


def join(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Join runs of the same work, as if all turns had been taken in one."""
    _refuse_unless_equal("the machine and the versions", [run["facts"] for run in runs])
    _refuse_unless_equal("the number of threads", [run["threads"] for run in runs])
    workloads = {}
    for name, workload in WORKLOADS.items():
        found = [run["workloads"][name] for run in runs if name in run["workloads"]]
        if not found:
            continue
        _refuse_unless_equal(f"the task of {name}", [run["task"] for run in found])
        _refuse_unless_equal(
            f"the contestants of {name}",
            [{who: c["version"] for who, c in run["contestants"].items()} for run in found],
        )
        first = found[0]
        turns = {who: [t for run in found for t in run["turns"][who]] for who in first["turns"]}
        facts = {
            who: c
            | {"import_seconds": median(run["contestants"][who]["import_seconds"] for run in found)}
            for who, c in first["contestants"].items()
        }
        our_losses = {
            who: mean(run["against"][who]["our_loss"] for run in found)
            for who in turns
            if who not in (OURS, *MATMUL_ONLY)
        }
        workloads[name] = {key: first[key] for key in ("task", "missing", "epochs")} | {
            "turns": turns,
            **_summary(workload, facts, turns, first["epochs"], our_losses),
        }
    grown = [run["growth"] for run in runs if run["growth"]]
    return {
        "edition": protocol.EDITION,
        "facts": runs[0]["facts"],
        "threads": runs[0]["threads"],
        "n_runs": sum(run["n_runs"] for run in runs),
        "workloads": workloads,
        # Only the points of one run have taken turns with each other.
        "growth": grown[0] if grown else {},
    }


def _refuse_unless_equal(what: str, values: list[Any]) -> None:
    for value in values[1:]:
        if value != values[0]:
            raise SystemExit(
                f"Only runs of the same work on the same machine can be joined, but {what} differ: "
                f"{values[0]} and {value}."
            )


def growth(folder: Path, axis: str, settings: dict[str, Any], repetitions: int) -> dict[str, Any]:
    """Measure our time for an epoch as one thing grows; the points take turns."""
    name, points = GROWTH[axis]
    base = WORKLOADS[name].task(
        name=f"growth-{axis}", folder=str(folder.resolve()), contestant=OURS, **settings
    )
    most = settings["rows"]
    seconds: list[list[float]] = [[] for _ in points]
    for _ in range(repetitions):
        for k, point in enumerate(points):
            rows = point.get("rows", most)
            task = base | point | {"rows": rows if most is None else min(rows, most)}
            with protocol.Contestant.start(task) as contestant:
                contestant.train_once(1)
                seconds[k].append(contestant.train_once(1)["seconds"])
    return {
        "sizes": [np.prod(point[axis]).item() for point in points],
        "seconds": [median(times) for times in seconds],
        "least": [min(times) for times in seconds],
        "most": [max(times) for times in seconds],
    }


# ---- the pages -----------------------------------------------------------------------------------


def format_ratio(who: str, found: dict[str, Any]) -> str:
    """Return the result of one comparison in words."""
    ratio = f"{found['median']:.2f} ({found['least']:.2f} to {found['most']:.2f})"
    if who in MATMUL_ONLY:
        return ratio
    if not found["equal_quality"]:
        return f"does not count: our loss {found['our_loss']:.4g}, theirs {found['loss']:.4g}"
    return ratio


def _reached(found: dict[str, Any]) -> str:
    """Return whether the interval lies above the goal."""
    if found["goal"] is None:
        return "–"
    return "yes" if found["equal_quality"] and found["least"] >= found["goal"] else "no"


def report(results: dict[str, Any]) -> str:
    """Render all figures as Markdown."""
    lines = [
        "| workload | against | speed ratio (95 % interval) | goal | reached "
        "| loss, ours and theirs |",
        "|---|---|---|---|---|---|",
    ]
    for name, found in results["workloads"].items():
        for who, against in found["against"].items():
            if who not in MATMUL_ONLY:
                lines.append(
                    f"| {name} | {who} {found['contestants'][who]['version']} "
                    f"| {format_ratio(who, against)} | {against['goal'] or '–'} "
                    f"| {_reached(against)} "
                    f"| {against['our_loss']:.4g}, {against['loss']:.4g} |"
                )
        lines += [f"| {name} | {who} | not installed | | | |" for who in found["missing"]]
    lines += [
        "",
        "| workload | step ÷ its matrix products (95 % interval) | goal "
        "| share of the step in them |",
        "|---|---|---|---|",
    ]
    for name, found in results["workloads"].items():
        products = [found["against"][who] for who in MATMUL_ONLY if who in found["against"]]
        if products:
            fastest = max(products, key=lambda against: against["median"])
            ratio, share = format_ratio(MATMUL_ONLY[0], fastest), 1 / fastest["median"]
            goal = WORKLOADS[name].product_goal
            lines.append(f"| {name} | {ratio} | {goal} | {share:.0%} |")
    lines += ["", "| workload | contestant | import | peak memory |", "|---|---|---|---|"]
    for name, found in results["workloads"].items():
        lines += [
            f"| {name} | {who} | {c['import_seconds']:.1f} s | {c['peak_mib']:.0f} MiB |"
            for who, c in found["contestants"].items()
            if who not in MATMUL_ONLY
        ]
    for axis, found in results["growth"].items():
        points = zip(found["sizes"], found["seconds"], strict=True)
        first = found["seconds"][0]
        times = ", ".join(f"{size:,}: {seconds / first:.2f}" for size, seconds in points)
        lines += ["", f"An epoch against {axis}, the first as 1: {times}."]
    facts = protocol.format_facts(results["facts"])
    turns = sorted({len(found["turns"][OURS]) for found in results["workloads"].values()})
    runs = "One run"
    if results["n_runs"] > 1:
        runs = f"{results['n_runs']} runs (growth: one)"
    lines += [
        "",
        f"{runs}, {' or '.join(map(str, turns))} turns for each contestant; the figure is the "
        f"median of the ratios of neighbouring turns. {facts}; {results['threads']} threads. "
        f"{FALSE_IF}",
    ]
    return "\n".join(lines) + "\n"


def draw(results: dict[str, Any], file: Path) -> None:
    """Draw the ratios, and our time for an epoch as things grow."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(
        1, 1 + len(results["growth"]), figsize=(5 + 3 * len(results["growth"]), 4), squeeze=False
    )
    bars = [
        (f"{name}: {who}", against)
        for name, found in results["workloads"].items()
        for who, against in found["against"].items()
        if who not in MATMUL_ONLY
    ]
    for k, (label, against) in enumerate(reversed(bars)):
        middle = against["median"]
        axes[0, 0].barh(label, middle, color="C0" if against["equal_quality"] else "lightgray")
        axes[0, 0].plot([against["least"], against["most"]], [k, k], color="black")
        if against["goal"]:
            axes[0, 0].plot([against["goal"]] * 2, [k - 0.4, k + 0.4], color="C3")
    axes[0, 0].set(xscale="log", xlabel="times as fast (red: the goal)")
    for ax, (axis, found) in zip(axes[0, 1:], results["growth"].items(), strict=True):
        ax.fill_between(found["sizes"], found["least"], found["most"], alpha=0.3)
        ax.loglog(found["sizes"], found["seconds"], "o-")
        ax.set(xlabel=axis, ylabel="seconds for an epoch")
        ax.set_xticks(found["sizes"], [f"{size:,}" for size in found["sizes"]], rotation=30)
        ax.xaxis.minorticks_off()
    figure.tight_layout()
    figure.savefig(file, dpi=120)
    plt.close(figure)


def main(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> None:
    """Run the command line."""
    parser.add_argument("--mnist-dir", help="folder with the files of MNIST")
    parser.add_argument(
        "--join", type=Path, nargs="+", metavar="DIR", help="finished runs to put together"
    )
    parser.add_argument("--out", type=Path, required=True)
    names = [*WORKLOADS, "growth"]
    parser.add_argument("--workload", nargs="+", choices=names, default=names)
    parser.add_argument("--repetitions", type=int, default=9)
    parser.add_argument("--rows", type=int, help="fewer rows, for a trial")
    parser.add_argument("--epochs", type=int, help="at most so many epochs, for a trial")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args(arguments)
    if not options.join:
        write(measure(options), options.out)
        return
    useless = [
        f"--{name.replace('_', '-')}"
        for name, value in vars(options).items()
        if name not in ("join", "out") and value != parser.get_default(name)
    ]
    if useless:
        parser.error(f"--join only puts finished runs together: {', '.join(useless)} has no use")
    folders = [folder.resolve() for folder in options.join]
    if len({*folders, options.out.resolve()}) <= len(folders):
        parser.error("--join and --out need different folders, each named once")
    write(join([_read(folder) for folder in folders]), options.out)


def _read(folder: Path) -> Any:
    file = folder / "speed.json"
    if not file.exists():
        raise SystemExit(f"{folder} holds no finished run: speed.json is missing.")
    try:
        results = json.loads(file.read_text(encoding="utf-8"))
        edition = results.get("edition")
    except (ValueError, AttributeError) as error:
        raise SystemExit(f"{file} is damaged: {error}.") from error
    if edition != protocol.EDITION:
        raise SystemExit(f"{file} is of another edition of this benchmark: run it again.")
    return results


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Run what the options ask for, and print each result at once."""
    store = Store.resume(options.out, protocol.MARK, note=print)
    chosen = [name for name in WORKLOADS if name in options.workload]
    data = {WORKLOADS[name].data for name in chosen}
    if "growth" in options.workload:
        data.add("mnist")
    write_data(options.out, options.mnist_dir, sorted(data))
    settings = {"rows": options.rows, "threads": options.threads}
    results: dict[str, Any] = {
        "edition": protocol.EDITION,
        "facts": protocol.facts(),
        "threads": options.threads,
        "n_runs": 1,
        "workloads": {},
        "growth": {},
    }
    for name in chosen:
        changes = dict(settings)
        if options.epochs is not None:
            changes["epochs"] = min(options.epochs, WORKLOADS[name].epochs)
        task = WORKLOADS[name].task(**changes)
        found = store.part(
            name,
            partial(run_workload, options.out, name, changes, options.repetitions),
            settings=[task, options.repetitions],
        )
        # As JSON returns it, without tuples, to be compared with that of another run.
        results["workloads"][name] = found | {"task": json.loads(json.dumps(task))}
        for who, against in found["against"].items():
            print(f"{name}, {who}: {format_ratio(who, against)}", flush=True)
    for axis in GROWTH if "growth" in options.workload else ():
        results["growth"][axis] = store.part(
            f"growth-{axis}",
            partial(growth, options.out, axis, settings, options.repetitions),
            settings=[GROWTH[axis], settings, options.repetitions],
        )
    return results


def write(results: dict[str, Any], folder: Path) -> None:
    """Write raw figures, table and plot."""
    folder.mkdir(parents=True, exist_ok=True)
    text = report(results)
    (folder / "speed.md").write_text(text, encoding="utf-8")
    draw(results, folder / "speed.png")
    # Last, because it marks the run as finished.
    (folder / "speed.json").write_text(json.dumps(results, indent=1), encoding="utf-8")
    print(text)
