"""`LinearSVM` and `LinearSVC`: the objective first, then the time.

    python -m benchmarks linear_svm --out DIR [--mnist-dir DIR] [--text-dir DIR]
                                    [--only NAMES] [--repetitions N]

Each contestant has its own process, on one thread, and they take turns at fitting. The result is
the median of the ratios of neighbouring fits, with its 95 % bootstrap interval; a goal is reached
if the lower end of the interval is. A ratio counts only if `LinearSVM` ends at most 1e-5 above the
objective of `LinearSVC`, with a duality gap of at most `tol` times its own, and without a warning.
A workload in which this fails is reported, the others are run, and the exit code is 1.

The names are those of the workloads, ``growth``, or patterns such as ``'*-hinge'``. Workloads whose
folder is not given are skipped. A workload that is finished is kept in the output folder and not
run again with the same settings. In the end there are ``linear_svm.md``, ``linear_svm.json`` and
``linear_svm.png``.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks import linear_data, protocol
from benchmarks.ratios import draw_ratios
from benchmarks.workloads import OURS, SCIKIT_LEARN

EXCESS_ALLOWED = 1e-5
# Fits on one thread that kept more processors busy than this were not on one thread.
PROCESSORS_ALLOWED = 1.1
# The smallest difference in memory that says something about a fit.
MEMORY_GRAIN = 2 * 2**20
FALSE_IF = (
    "A claim is false if the same command, on a machine that does nothing else, gives an interval "
    "wholly below the stated ratio, an objective of LinearSVM that is more than "
    f"{EXCESS_ALLOWED:.0e} above that of LinearSVC, or a duality gap that exceeds `tol`."
)


@dataclass(frozen=True)
class Workload:
    """What both fit, and the ratio of their times to reach.

    `theirs` holds what LinearSVC needs besides `random_state=0` and `max_iter=10_000`. With more
    than one thread, LinearSVM on that many threads competes with itself on one. `n_fits` of them
    make one turn, and `pairs` fits one machine for each pair of classes.
    """

    data: str
    goal: float
    loss: str = "squared_hinge"
    penalty: str = "l2"
    dtype: str = "float64"
    n_threads: int = 1
    n_fits: int = 1
    pairs: bool = False
    theirs: dict[str, Any] = field(default_factory=dict)

    def task(self, contestant: str, **changes: Any) -> dict[str, Any]:
        """Return the work of a contestant as plain data."""
        options: dict[str, Any] = {}
        if contestant == SCIKIT_LEARN:
            options = {"random_state": 0, "max_iter": 10_000, **self.theirs}
        return {
            "kind": "linear",
            "contestant": contestant,
            "title": contestant,
            "data": self.data,
            "loss": self.loss,
            "penalty": self.penalty,
            # LIBLINEAR knows no other, and would convert in each fit.
            "dtype": self.dtype if contestant == OURS else "float64",
            "threads": 1,
            "pairs": self.pairs,
            "options": options,
            **changes,
        }


# LIBLINEAR's hinge needs many iterations there.
PATIENT = {"max_iter": 1_000_000}
# On 60,000 rows of few columns this is the faster of its two solvers, and "auto" takes it.
PRIMAL = {"dual": False}
WORKLOADS = {
    "latent": Workload("latent", 12, dtype="float32", theirs=PRIMAL),
    "pixels": Workload("pixels", 4, dtype="float32", theirs=PRIMAL),
    "latent-hinge": Workload("latent", 10, "hinge", dtype="float32", theirs=PATIENT),
    "pixels-hinge": Workload("pixels", 10, "hinge", dtype="float32", theirs=PATIENT),
    "newsgroups": Workload("newsgroups", 1),
    "newsgroups-float32": Workload("newsgroups", 1, dtype="float32"),
    "newsgroups-hinge": Workload("newsgroups", 0.4, "hinge"),
    "newsgroups-hinge-float32": Workload("newsgroups", 0.4, "hinge", dtype="float32"),
    "reviews": Workload("reviews", 1),
    "reviews-hinge": Workload("reviews", 0.3, "hinge"),
    "sparse-5000x50000": Workload("sparse-5000x50000", 0.5),
    "sparse-2000x1000000": Workload("sparse-2000x1000000", 0.3),
    "dense-1100x6000": Workload("dense-1100x6000", 1),
    "dense-1100x6000-hinge": Workload("dense-1100x6000", 0.5, "hinge"),
    "dense-3000x3000-hinge": Workload("dense-3000x3000", 0.5, "hinge"),
    "dense-200x20000-hinge": Workload("dense-200x20000", 0.5, "hinge"),
    "iris": Workload("iris", 1, n_fits=50),
    "iris-hinge": Workload("iris", 0.5, "hinge", n_fits=50),
    "digits-pairs": Workload("digits", 1, pairs=True, n_fits=3),
    "digits-pairs-hinge": Workload("digits", 0.5, "hinge", pairs=True, n_fits=3),
    "newsgroups-l1": Workload("newsgroups", 0.3, penalty="l1"),
    "digits-l1": Workload("digits", 0.3, penalty="l1"),
    "breast-cancer-l1": Workload("breast-cancer", 0.3, penalty="l1", n_fits=10),
    "newsgroups-threads": Workload("newsgroups", 1.6, n_threads=2),
    "newsgroups-float32-threads": Workload("newsgroups", 1.6, dtype="float32", n_threads=2),
    "newsgroups-hinge-threads": Workload("newsgroups", 1.6, "hinge", n_threads=2),
    "newsgroups-hinge-float32-threads": Workload(
        "newsgroups", 1.6, "hinge", dtype="float32", n_threads=2
    ),
}
# A fit of LinearSVC takes up to three minutes there, and the ratios are far above the goals.
FEWER_PAIRS = {"latent-hinge": 3, "pixels-hinge": 3}
# Our time as one thing grows.
GROWTH: dict[str, tuple[str, list[dict[str, int]]]] = {
    "rows": ("latent", [{"rows": n} for n in (3_750, 7_500, 15_000, 30_000, 60_000)]),
    "columns": ("pixels", [{"columns": n, "rows": 15_000} for n in (98, 196, 392, 784)]),
    "classes": ("latent", [{"classes": n, "rows": 15_000} for n in (2, 4, 6, 8, 10)]),
}


# ---- measurements --------------------------------------------------------------------------------


def quality_faults(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> list[str]:
    """Return why the times of these fits must not be compared."""
    faults = []
    excess = objective_excess(ours, theirs)
    # Also if it is no number.
    if not excess <= EXCESS_ALLOWED:
        faults.append(f"our objective is {excess:.1e} above theirs, allowed {EXCESS_ALLOWED:.0e}")
    return faults + _certificate_faults(ours) + _warnings("LinearSVC", theirs)


def thread_faults(one: list[dict[str, Any]], several: list[dict[str, Any]]) -> list[str]:
    """Return what is wrong with fits on several threads, which must be those on one thread."""
    digests = {fit["digest"] for fit in one + several}
    faults = ["the coefficients have other bits"] if len(digests) > 1 else []
    return faults + _certificate_faults(one + several)


def _certificate_faults(ours: list[dict[str, Any]]) -> list[str]:
    faults = []
    if not all(fit["certified"] for fit in ours):
        worst = max(fit["gap"] for fit in ours)
        faults.append(f"our duality gap is {worst:.1e} of the objective, more than tol")
    return faults + _warnings("LinearSVM", ours)


def _warnings(who: str, fits: list[dict[str, Any]]) -> list[str]:
    return [
        f"{who} warned: {text}" for text in sorted({w for fit in fits for w in fit["warnings"]})
    ]


def _processor_faults(fits: list[dict[str, Any]], n_threads: int) -> list[str]:
    used = median(fit["processors"] for fit in fits)
    allowed = PROCESSORS_ALLOWED * n_threads
    return [f"{used:.1f} processors were busy with {n_threads} threads"] if used > allowed else []


def objective_excess(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> float:
    """Return how far our highest objective is above their lowest, relative to it."""
    # Unlike max and min, NumPy's return one that is no number.
    highest = np.max([fit["objective"] for fit in ours])
    lowest = np.min([fit["objective"] for fit in theirs])
    return float(highest / lowest - 1)


def run_workload(folder: Path, name: str, rows: int | None, repetitions: int) -> dict[str, Any]:
    """Let both contestants take turns at one workload, after a fit that shows their quality."""
    workload = WORKLOADS[name]
    place = {"folder": str(folder.resolve()), "rows": rows}
    if workload.n_threads > 1:
        ours = workload.task(OURS, title="several threads", threads=workload.n_threads, **place)
        theirs = workload.task(OURS, title="one thread", **place)
    else:
        ours, theirs = (workload.task(who, **place) for who in (OURS, SCIKIT_LEARN))
    titles = ours["title"], theirs["title"]
    with ExitStack() as stack:
        contestants = [
            stack.enter_context(protocol.Contestant.start(task)) for task in (ours, theirs)
        ]
        first = protocol.warm_up(contestants)
        check(workload, *([first[title]] for title in titles))
        n_fits = dict.fromkeys(titles, workload.n_fits)
        turns = protocol.take_turns(contestants, n_fits, repetitions)
    our_turns, their_turns = (turns[title] for title in titles)
    check(workload, our_turns, their_turns)
    result = summary(workload, our_turns, their_turns)
    return result | {"turns": {"ours": our_turns, "theirs": their_turns}}


def check(workload: Workload, ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> None:
    """Raise AssertionError if the times of these fits must not be compared."""
    faults = (thread_faults if workload.n_threads > 1 else quality_faults)(ours, theirs)
    faults += _processor_faults(ours, workload.n_threads) + _processor_faults(theirs, 1)
    if faults:
        raise AssertionError("; ".join(faults))


def summary(
    workload: Workload, ours: list[dict[str, Any]], theirs: list[dict[str, Any]]
) -> dict[str, Any]:
    """Summarise the turns of both contestants."""
    our_seconds, their_seconds = ([fit["seconds"] for fit in fits] for fits in (ours, theirs))
    ratios = [a / b for a, b in zip(their_seconds, our_seconds, strict=True)]
    interval = protocol.bootstrap_interval(ratios)
    return {
        "shape": ours[0]["shape"],
        "n_classes": ours[0]["n_classes"],
        "ratio": median(ratios),
        "interval": list(interval),
        "reached": interval[0] >= workload.goal,
        "seconds": median(our_seconds) / workload.n_fits,
        "their_seconds": median(their_seconds) / workload.n_fits,
        "excess": objective_excess(ours, theirs),
        "gap": max(fit["gap"] for fit in ours),
        "extra_bytes": ours[0]["extra_bytes"],
        "allowed_bytes": ours[0]["allowed_bytes"],
    }


def growth(folder: Path, axis: str, rows: int | None, repetitions: int) -> dict[str, Any]:
    """Measure our time as the rows, the columns or the classes grow."""
    name, points = GROWTH[axis]
    sizes, seconds = [], []
    for point in points:
        if rows is not None:
            # A trial keeps the steps between the points.
            point = point | {"rows": max(1, point["rows"] * rows // 60_000)}
        task = WORKLOADS[name].task(OURS, folder=str(folder.resolve()), **point)
        with protocol.Contestant.start(task) as contestant:
            protocol.warm_up([contestant])
            times = [contestant.train_once(1)["seconds"] for _ in range(repetitions)]
        sizes.append(point[axis])
        seconds.append(median(times))
    exponent = float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])
    return {"sizes": sizes, "seconds": seconds, "exponent": exponent}


# ---- the pages -----------------------------------------------------------------------------------


def report(results: dict[str, Any]) -> str:
    """Render the results as Markdown."""
    found = {name: r for name, r in results["workloads"].items() if "failed" not in r}
    failed = {name: r["failed"] for name, r in results["workloads"].items() if "failed" in r}
    lines: list[str] = []
    against_them = {name: r for name, r in found.items() if WORKLOADS[name].n_threads == 1}
    if against_them:
        lines += [
            "| workload | size | loss | dtype | LinearSVM | LinearSVC | ratio (95 % interval) "
            "| goal | reached | excess | gap ÷ objective | extra memory (allowed) |",
            "|---|---|---|---|---:|---:|---:|---:|---|---:|---:|---:|",
        ]
    for name, result in against_them.items():
        lines.append(
            f"| {name} | {_size(WORKLOADS[name], result)} | {_loss(WORKLOADS[name])} "
            f"| {WORKLOADS[name].dtype} | {_seconds(result['seconds'])} "
            f"| {_seconds(result['their_seconds'])}{_options(WORKLOADS[name].theirs)} "
            f"| {_ratio(name, result)} | {result['excess']:.1e} | {result['gap']:.1e} "
            f"| {_memory(result)} |"
        )
    on_threads = {name: r for name, r in found.items() if name not in against_them}
    if on_threads:
        lines += [
            "",
            "| workload | size | loss | dtype | two threads | one thread "
            "| ratio (95 % interval) | goal | reached | coefficients |",
            "|---|---|---|---|---:|---:|---:|---:|---|---|",
        ]
    for name, result in on_threads.items():
        lines.append(
            f"| {name} | {_size(WORKLOADS[name], result)} | {_loss(WORKLOADS[name])} "
            f"| {WORKLOADS[name].dtype} | {_seconds(result['seconds'])} "
            f"| {_seconds(result['their_seconds'])} | {_ratio(name, result)} | the same bits |"
        )
    for axis, grown in results["growth"].items():
        points = ", ".join(
            f"{n:,}: {s:.2f} s" for n, s in zip(grown["sizes"], grown["seconds"], strict=True)
        )
        lines += [
            "",
            f"Time grows with the {axis} to the power {grown['exponent']:.2f} ({points}).",
        ]
    for name, reason in failed.items():
        lines += ["", f"**{name} failed, so that its times do not count**: {reason}."]
    for reason in results["skipped"]:
        lines += ["", f"{reason}."]
    turns = {name: len(result["turns"]["ours"]) for name, result in found.items()}
    most = max(turns.values(), default=0)
    fewer = "".join(f", {n} for {name}" for name, n in turns.items() if n < most)
    lines += [
        "",
        f"Turns of each contestant: {most or 'none'}{fewer}; a time is their "
        "median, a ratio the median of the ratios of neighbouring turns. C = 1, one thread unless "
        "the table says otherwise. LinearSVM has its default settings. LinearSVC has "
        "`random_state=0`, `max_iter=10_000`, the options listed next to its time, "
        "and float64 rows. *Excess*: how far our objective is above that of LinearSVC (negative: "
        "below), relative to it. *Gap ÷ objective*: the duality gap of LinearSVM, which bounds its "
        "distance from the optimum; its `tol` is 1e-5. *Extra memory*: the peak of a fit of "
        "LinearSVM above the memory just before it; allowed are 1.5 times the rows and 3 times "
        "the coefficients.",
        "",
        protocol.format_facts(results["facts"]) + ".",
        "",
        FALSE_IF,
    ]
    return "\n".join(lines).strip() + "\n"


def _size(workload: Workload, result: dict[str, Any]) -> str:
    n_rows, n_columns = result["shape"]
    pairs = " in pairs" if workload.pairs else ""
    return f"{n_rows:,} × {n_columns:,}, {result['n_classes']} classes{pairs}"


def _loss(workload: Workload) -> str:
    loss = workload.loss.replace("_", " ")
    return f"{loss}, l1 penalty" if workload.penalty == "l1" else loss


def _seconds(seconds: float) -> str:
    return f"{1000 * seconds:.3g} ms" if seconds < 0.1 else f"{seconds:.2f} s"


def _options(options: Mapping[str, Any]) -> str:
    texts = (f"{k}={v:_}" if type(v) is int else f"{k}={v!r}" for k, v in options.items())
    return f" (`{', '.join(texts)}`)" if options else ""


def _ratio(name: str, result: dict[str, Any]) -> str:
    """Return three cells: the ratio with its interval, the goal, and whether it is reached."""
    least, most = result["interval"]
    reached = "yes" if result["reached"] else "no"
    return f"{result['ratio']:.2f} ({least:.2f} to {most:.2f}) | {WORKLOADS[name].goal} | {reached}"


def _memory(result: dict[str, Any]) -> str:
    extra, allowed = result["extra_bytes"], result["allowed_bytes"]
    if extra is None:
        return "–"
    text = f"{extra / 2**20:.1f} MiB ({allowed / 2**20:.1f})"
    return f"{text}: too much" if extra > max(allowed, MEMORY_GRAIN) else text


def draw(results: dict[str, Any], file: Path) -> None:
    """Draw the ratios with their intervals and goals, and our time as things grow."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    n_ratios = sum("failed" not in result for result in results["workloads"].values())
    heights = [1.5 + 0.26 * n_ratios, *([3] if results["growth"] else [])]
    figure = plt.figure(figsize=(9, sum(heights)), layout="constrained")
    parts = figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    goals = {name: workload.goal for name, workload in WORKLOADS.items()}
    label = "time of LinearSVC, or of one thread, ÷ ours (95 % interval)"
    draw_ratios(results["workloads"], goals, label, parts[0].subplots())
    if results["growth"]:
        panels = parts[1].subplots(1, len(results["growth"]), squeeze=False)[0]
        for axis, (name, grown) in zip(panels, results["growth"].items(), strict=True):
            sizes, seconds = np.array(grown["sizes"]), np.array(grown["seconds"])
            axis.loglog(sizes, seconds, "o-", label=f"power {grown['exponent']:.2f}")
            axis.loglog(sizes, seconds[-1] * sizes / sizes[-1], "--", color="gray", label="linear")
            axis.set(xlabel=name, ylabel="seconds")
            axis.set_xticks(sizes, [f"{size:,}" for size in sizes], rotation=30)
            axis.xaxis.minorticks_off()
            axis.legend()
    figure.savefig(file, dpi=120)
    plt.close(figure)


# ---- the command line ----------------------------------------------------------------------------


def chosen_names(patterns: Sequence[str]) -> list[str]:
    """Return the workloads that the patterns name, and "growth"."""
    names = [*WORKLOADS, "growth"]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ValueError(f"no workload is called {pattern!r}; there are {', '.join(names)}")
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]


def measure(
    names: Sequence[str],
    folder: Path,
    folders: Mapping[str, str | None],
    rows: int | None,
    repetitions: int,
) -> dict[str, Any]:
    """Run the workloads of these names, and print each result at once."""
    # Imported late: the processes of the contestants do not load it.
    from skscratch.experiments.store import Store

    store = Store.resume(folder, protocol.MARK, note=print)
    results: dict[str, Any] = {
        "facts": protocol.facts(),
        "workloads": {},
        "growth": {},
        "skipped": [],
    }
    for name in names:
        data = [WORKLOADS[name].data] if name in WORKLOADS else ["latent", "pixels"]
        missing = [linear_data.missing_option(folder, d, folders) for d in data]
        if needed := sorted({option for option in missing if option}):
            results["skipped"].append(f"{name}: skipped, it needs {' '.join(needed)}")
            print(results["skipped"][-1], flush=True)
            continue
        for d in data:
            linear_data.write(folder, d, folders)
        if name == "growth":
            for axis, points in GROWTH.items():
                results["growth"][axis] = store.part(
                    f"growth-{axis}",
                    partial(growth, folder, axis, rows, repetitions),
                    settings=[points, rows, repetitions],
                )
            continue
        pairs = min(repetitions, FEWER_PAIRS.get(name, repetitions))
        try:
            result = store.part(
                name,
                partial(run_workload, folder, name, rows, pairs),
                settings=[asdict(WORKLOADS[name]), rows, pairs],
            )
            least, most = result["interval"]
            text = f"{result['ratio']:.2f} ({least:.2f} to {most:.2f}), goal {WORKLOADS[name].goal}"
        except (AssertionError, RuntimeError) as error:
            # A failure is not kept: the next run tries again.
            result = {"failed": str(error).strip()}
            text = f"failed: {result['failed']}"
        results["workloads"][name] = result
        print(f"{name}: {text}", flush=True)
    return results


def main(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> int:
    """Run the command line, and return the exit code."""
    parser.add_argument("--mnist-dir", help="folder with the files of MNIST")
    parser.add_argument(
        "--text-dir", help="folder with the word counts newsgroups.npz and reviews.npz"
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="folder to write to; data are kept in it"
    )
    parser.add_argument("--only", default="*", help="names, separated by commas; all by default")
    parser.add_argument("--rows", type=int, help="at most so many rows, for a trial")
    parser.add_argument(
        "--repetitions",
        type=int,
        default=9,
        help="pairs of turns, 9 by default; at most 3 where a pair takes minutes",
    )
    options = parser.parse_args(arguments)
    try:
        names = chosen_names(options.only.split(","))
    except ValueError as error:
        parser.error(str(error))
    folders = {"mnist-dir": options.mnist_dir, "text-dir": options.text_dir}
    folder: Path = options.out
    results = measure(names, folder, folders, options.rows, options.repetitions)
    draw(results, folder / "linear_svm.png")
    return protocol.publish(folder, "linear_svm", results, report(results))
