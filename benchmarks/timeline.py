"""A timeline of one training step, thread by thread.

    python -m benchmarks timeline --mnist-dir DIR --out DIR [--workload NAME …] [--threads N]

It writes ``timeline.md`` and, for each workload, a picture of a step of median length. The clocks
around each call take about a microsecond.
"""

from __future__ import annotations

import argparse
import os
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any
from unittest import mock

from benchmarks import protocol
from benchmarks.workloads import OURS, WORKLOADS, write_data

# What a thread does in a step.
TAKING, FORWARD, BACKWARD, LOSS, UPDATE = "taking rows", "forward", "backward", "loss", "update"
KINDS = [TAKING, FORWARD, LOSS, BACKWARD, UPDATE]
STEP = "step"
CALLING_THREAD = 0
# The first steps still allocate memory.
WARM_UP = 50


@dataclass(frozen=True)
class Event:
    """Something that a thread did, between two times in seconds."""

    thread: int
    kind: str
    begin: float
    end: float


class Recorder:
    """Records what the threads do while the core's functions are replaced by timed ones."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._threads: dict[int, int] = {}

    def timed(self, kind: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that does the same and records its time."""

        def call(*arguments: Any) -> Any:
            begin = perf_counter()
            result = function(*arguments)
            end = perf_counter()
            number = self._threads.setdefault(threading.get_ident(), len(self._threads))
            self.events.append(Event(number, kind, begin, end))
            return result

        return call

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Replace the functions of a step by timed ones."""
        from skscratch.core import evaluate, network, objective, update

        plan = network.Workspace._plan

        def timed_plan(ws: Any, frames: Any) -> Any:
            steps = plan(ws, frames)
            for name in ("forward", "backward"):
                calls = [(self.timed(name, f), *others) for f, *others in getattr(steps, name)]
                setattr(steps, name, calls)
            return steps

        replaced: list[tuple[Any, str, str]] = [
            (evaluate._Shard, "_take", TAKING),
            (objective.Objective, "_loss", LOSS),
            (update.Step, "_sum_and_update", UPDATE),
        ]
        # The calling thread is the first one that is seen.
        self._threads[threading.get_ident()] = CALLING_THREAD
        with ExitStack() as stack:
            stack.enter_context(mock.patch.object(network.Workspace, "_plan", timed_plan))
            begin_step = self._begin_step(evaluate.Evaluator.__call__)
            stack.enter_context(mock.patch.object(evaluate.Evaluator, "__call__", begin_step))
            for owner, name, kind in replaced:
                function = self.timed(kind, getattr(owner, name))
                stack.enter_context(mock.patch.object(owner, name, function))
            yield

    def _begin_step(self, evaluate: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            now = perf_counter()
            self.events.append(Event(CALLING_THREAD, STEP, now, now))
            return evaluate(*arguments)

        return call

    def steps(self) -> list[list[Event]]:
        """Return the events of each step, from its beginning."""
        begins = [event.begin for event in self.events if event.kind == STEP]
        events = sorted(self.events, key=lambda event: event.begin)
        found: list[list[Event]] = [[] for _ in begins]
        k = -1
        for event in events:
            if event.kind == STEP:
                k += 1
            elif k >= 0:
                shifted = Event(
                    event.thread, event.kind, event.begin - begins[k], event.end - begins[k]
                )
                found[k].append(shifted)
        lengths = [after - before for before, after in pairwise(begins)]
        return [
            [*step, Event(CALLING_THREAD, STEP, 0.0, length)]
            for step, length in zip(found, lengths, strict=False)
        ][WARM_UP:]


def record(task: dict[str, Any]) -> list[list[Event]]:
    """Train for two epochs, and return the events of each step of the second one."""
    from benchmarks.contestants import prepare

    recorder = Recorder()
    train_once = prepare(task)
    with warnings.catch_warnings(), recorder.recording():
        warnings.simplefilter("ignore")
        train_once(2, 0)
    return recorder.steps()


def report(name: str, steps: list[list[Event]]) -> str:
    """Render what the threads of a workload do, and for how long, as Markdown."""
    length = median(step[-1].end for step in steps)
    threads = sorted({event.thread for step in steps for event in step})
    lines = [
        f"**{name}**: {length * 1e6:,.0f} µs a step, in the median of {len(steps):,} steps.",
        "",
        "| " + " | ".join(["thread", *KINDS, "other work, waiting"]) + " |",
        "|" + "---|" * (len(KINDS) + 2),
    ]
    for thread in threads:
        of_kind = {
            kind: median(
                sum(e.end - e.begin for e in step if e.thread == thread and e.kind == kind)
                for step in steps
            )
            for kind in KINDS
        }
        rest = length - sum(of_kind.values())
        cells = [f"{seconds * 1e6:,.0f} µs" for seconds in (*of_kind.values(), rest)]
        lines.append("| " + " | ".join([str(thread + 1), *cells]) + " |")
    return "\n".join([*lines, ""])


def draw(name: str, steps: list[list[Event]], file: Path) -> None:
    """Draw the step whose length is the median."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    step = sorted(steps, key=lambda events: events[-1].end)[len(steps) // 2]
    figure, ax = plt.subplots(figsize=(9, 2.4))
    for k, kind in enumerate(KINDS):
        events = [event for event in step if event.kind == kind]
        ax.barh(
            [event.thread + 1 for event in events],
            [1e6 * (event.end - event.begin) for event in events],
            left=[1e6 * event.begin for event in events],
            height=0.7,
            color=f"C{k}",
            edgecolor="white",
            linewidth=0.5,
            label=kind,
        )
    n_threads = 1 + max(event.thread for event in step)
    ax.set(title=f"{name}: one step", xlabel="microseconds", ylabel="thread")
    ax.set_xlim(0, 1e6 * step[-1].end)
    ax.set_yticks(range(1, n_threads + 1))
    ax.invert_yaxis()
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    figure.tight_layout()
    figure.savefig(file, dpi=120)
    plt.close(figure)


def main(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> None:
    """Run the command line."""
    # As the contestants of the other benchmarks: before NumPy is imported.
    for variable in protocol.KERNEL_VARIABLES:
        os.environ.pop(variable, None)
    names = [name for name, workload in WORKLOADS.items() if workload.product_goal]
    parser.add_argument("--mnist-dir", help="folder with the files of MNIST")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--workload", nargs="+", choices=names, default=names)
    parser.add_argument("--rows", type=int, help="fewer rows, for a trial")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    data = sorted({WORKLOADS[name].data for name in options.workload})
    write_data(options.out, options.mnist_dir, data)
    pages = []
    for name in options.workload:
        task = WORKLOADS[name].task(
            name=name,
            folder=str(options.out.resolve()),
            contestant=OURS,
            threads=options.threads,
            rows=options.rows,
        )
        steps = record(task)
        pages.append(report(name, steps))
        draw(name, steps, options.out / f"timeline-{name}.png")
        print(pages[-1], flush=True)
    (options.out / "timeline.md").write_text("\n".join(pages), encoding="utf-8")
