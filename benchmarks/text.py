"""Networks and streams on the newsgroups: the quality first, then the time, against scikit-learn.

    python -m benchmarks text --out DIR --text-dir DIR [--only NAMES] [--repetitions N]

Each contestant has its own process, on one thread, and they take turns. The result is the median of
the ratios of neighbouring turns, with its 95 % bootstrap interval; a goal is reached if the lower
end of the interval is. A ratio counts only at equal quality: networks must reach the same loss, and
a machine that learns from a stream at most one point of accuracy less than the better of
`SGDClassifier(loss="hinge")` and `SGDClassifier(loss="squared_hinge")`, which is its competitor. A
workload in which this fails is reported, the others are run, and the exit code is 1.

In the end there are ``text.md``, ``text.json`` and ``text.png``. A workload that is finished is
kept in the output folder and not run again with the same settings.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from statistics import mean, median
from typing import Any

from benchmarks import linear_data, protocol
from benchmarks.linear_svm import PROCESSORS_ALLOWED
from benchmarks.ratios import draw_ratios
from benchmarks.workloads import OURS, SCIKIT_LEARN

FALSE_IF = (
    "A claim is false if the same command, on a machine that does nothing else, gives an interval "
    "wholly below the stated ratio, or a quality that is not equal."
)
Turns = dict[str, list[dict[str, Any]]]


@dataclass(frozen=True)
class Workload:
    """What all do, how much worse our quality may be, and the ratio of times to reach.

    ``worse`` is relative for a loss and absolute for an accuracy. The extra memory of a turn may be
    ``memory`` times theirs, or, of a stream, times the weights.
    """

    title: str
    measure: str
    goal: float
    worse: float
    memory: float
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def is_stream(self) -> bool:
        """Whether accuracies are compared."""
        return self.measure == "stream"


EPOCHS = {"max_iter": 3}
WORKLOADS = {
    "network-fit": Workload("network, 3 epochs", "fit", 1, 1e-6, 1.3, EPOCHS),
    "network-lbfgs": Workload(
        "network, 3 iterations of L-BFGS", "fit", 0.8, 1e-6, 1.3, {**EPOCHS, "solver": "lbfgs"}
    ),
    "network-predict": Workload("network, probabilities", "predict", 0.8, 1e-6, 1.3, EPOCHS),
    "stream": Workload("linear machine, 20 batches", "stream", 0.5, 0.01, 4),
}


def run_workload(folder: Path, name: str, rows: int | None, repetitions: int) -> dict[str, Any]:
    """Let all contestants take turns at one workload."""
    workload = WORKLOADS[name]
    rivals: dict[str, dict[str, Any]] = {SCIKIT_LEARN: {}}
    if workload.is_stream:
        rivals = {f"SGDClassifier, {loss}": {"loss": loss} for loss in ("hinge", "squared_hinge")}
    tasks = [
        {
            "kind": "text",
            "contestant": OURS if title == OURS else SCIKIT_LEARN,
            "title": title,
            "measure": workload.measure,
            "options": {**workload.options, **options},
            "threads": 1,
            "folder": str(folder.resolve()),
            "rows": rows,
        }
        for title, options in {OURS: {}, **rivals}.items()
    ]
    with ExitStack() as stack:
        contestants = [stack.enter_context(protocol.Contestant.start(task)) for task in tasks]
        protocol.warm_up(contestants)
        turns = protocol.take_turns(contestants, dict.fromkeys([OURS, *rivals], 1), repetitions)
    return summary(workload, turns)


def summary(workload: Workload, turns: Turns) -> dict[str, Any]:
    """Summarise the turns; raise AssertionError if their times must not be compared."""
    quality = {title: mean(turn["quality"] for turn in taken) for title, taken in turns.items()}
    rivals = [title for title in turns if title != OURS]
    best = max if workload.is_stream else min
    rival = best(rivals, key=quality.__getitem__)
    if workload.is_stream:
        worse = quality[rival] - quality[OURS]
    else:
        # From the same start, in the same order: each turn must end alike.
        pairs = zip(turns[OURS], turns[rival], strict=True)
        worse = max(abs(ours["quality"] / theirs["quality"] - 1) for ours, theirs in pairs)
    faults = []
    if not worse <= workload.worse:
        faults.append(f"the quality differs by {worse:.1e}, allowed {workload.worse:.0e}")
    for title, taken in turns.items():
        processors = median(turn["processors"] for turn in taken)
        if processors > PROCESSORS_ALLOWED:
            faults.append(f"{title} kept {processors:.2f} processors busy")
    if faults:
        raise AssertionError("; ".join(faults))
    seconds = {title: [turn["seconds"] for turn in turns[title]] for title in (OURS, rival)}
    ratios = [a / b for a, b in zip(seconds[rival], seconds[OURS], strict=True)]
    interval = protocol.bootstrap_interval(ratios)
    first = turns[OURS][0]
    basis = first["weight_bytes"] if workload.is_stream else turns[rival][0]["extra_bytes"]
    return {
        "rival": rival,
        "shape": first["shape"],
        "ratio": median(ratios),
        "interval": list(interval),
        "reached": interval[0] >= workload.goal,
        "seconds": {title: median(values) for title, values in seconds.items()},
        "quality": [quality[OURS], quality[rival]],
        "worse": worse,
        "extra_bytes": first["extra_bytes"],
        "allowed_bytes": None if basis is None else workload.memory * basis,
        "turns": turns,
    }


def report(results: dict[str, Any]) -> str:
    """Render the results as Markdown."""
    lines = [
        "| workload | against | skscratch | its time | ratio (95 % interval) | goal | reached "
        "| quality, ours and theirs | extra memory (allowed) |",
        "|---|---|---:|---:|---:|---:|---|---|---:|",
    ]
    found = {name: r for name, r in results["workloads"].items() if "failed" not in r}
    for name, result in found.items():
        workload, (least, most) = WORKLOADS[name], result["interval"]
        kind, form = ("accuracy", ".4f") if workload.is_stream else ("loss", ".8f")
        ours, theirs = result["quality"]
        memory = "–"
        if result["extra_bytes"] is not None:
            extra, allowed = result["extra_bytes"] / 2**20, result["allowed_bytes"] / 2**20
            memory = f"{extra:.0f} MiB ({allowed:.0f})" + (": too much" if extra > allowed else "")
        lines.append(
            f"| {workload.title} | {result['rival']} | {result['seconds'][OURS]:.3f} s "
            f"| {result['seconds'][result['rival']]:.3f} s "
            f"| {result['ratio']:.2f} ({least:.2f} to {most:.2f}) | {workload.goal} "
            f"| {'yes' if result['reached'] else 'no'} "
            f"| {kind} {ours:{form}}, {theirs:{form}} | {memory} |"
        )
    for name, result in results["workloads"].items():
        if "failed" in result:
            lines += ["", f"**{name} failed, so that its times do not count**: {result['failed']}."]
    n_turns = max((len(result["turns"][OURS]) for result in found.values()), default=0)
    shape = " × ".join(f"{n:,}" for n in next((r["shape"] for r in found.values()), []))
    lines += [
        "",
        f"{shape} TF-IDF weights in float64, one thread. The network has one hidden layer of 50 "
        "and batches of 200 rows; both start from the same weights and see the rows in the same "
        f"order. Turns of each contestant: {n_turns}; a time is their median, a ratio the median "
        "of the ratios of neighbouring turns. *Quality*: the mean over the turns; the accuracy is "
        "that on the test rows. *Extra memory*: the peak of the first turn above the memory just "
        "before it; allowed are 1.3 times theirs, and 4 times the weights for a stream.",
        "",
        protocol.format_facts(results["facts"]) + ".",
        "",
        FALSE_IF,
    ]
    return "\n".join(lines) + "\n"


def draw(results: dict[str, Any], file: Path) -> None:
    """Draw the ratios with their intervals and goals."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(8, 2.8), layout="constrained")
    goals = {name: workload.goal for name, workload in WORKLOADS.items()}
    label = "time of scikit-learn ÷ ours (95 % interval)"
    draw_ratios(results["workloads"], goals, label, axis)
    figure.savefig(file, dpi=120)
    plt.close(figure)


def main(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> int:
    """Run the command line, and return the exit code."""
    parser.add_argument("--text-dir", required=True, help="folder with newsgroups.npz")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--only", default=",".join(WORKLOADS), help="names, separated by commas")
    parser.add_argument("--rows", type=int, help="at most so many rows, for a trial")
    parser.add_argument("--repetitions", type=int, default=9, help="rounds of turns, 9 by default")
    options = parser.parse_args(arguments)
    names = options.only.split(",")
    if unknown := [name for name in names if name not in WORKLOADS]:
        parser.error(f"no workload is called {unknown[0]!r}; there are {', '.join(WORKLOADS)}")
    # Imported late: the processes of the contestants do not load it.
    from skscratch.experiments.store import Store

    folder: Path = options.out
    store = Store.resume(folder, protocol.MARK, note=print)
    for data in ("newsgroups", "newsgroups-test"):
        linear_data.write(folder, data, {"text-dir": options.text_dir})
    results: dict[str, Any] = {"facts": protocol.facts(), "workloads": {}}
    for name in names:
        try:
            result = store.part(
                name,
                partial(run_workload, folder, name, options.rows, options.repetitions),
                settings=[asdict(WORKLOADS[name]), options.rows, options.repetitions],
            )
        except (AssertionError, RuntimeError) as error:
            # A failure is not kept: the next run tries again.
            result = {"failed": str(error).strip()}
        results["workloads"][name] = result
    draw(results, folder / "text.png")
    return protocol.publish(folder, "text", results, report(results))
