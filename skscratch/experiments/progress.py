"""Progress reports of a run.

On a terminal there are bars. Anywhere else there are plain lines, a few for each stage, so that a
log file has no control characters and stays short. The experiments only call a `Stage`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.progress import Progress as Bars
from rich.table import Column

from skscratch.callbacks import EpochCallback

# Lines about the epochs of one training, in a log.
LINES = 5


class Stage:
    """One stage of a run: call it after each step, with a text if there is something to report."""

    def __call__(self, text: str = "") -> None:
        """Count one more step."""


class Progress:
    """Base class; reports nothing."""

    @contextmanager
    def stage(self, title: str, total: int | None = None) -> Iterator[Stage]:
        """Enter a stage.

        Parameters
        ----------
        title : str
            What is done.
        total : int or None, default=None
            Number of steps, if it is known.

        Yields
        ------
        Stage
            To be called after each step.
        """
        yield Stage()

    def note(self, text: str) -> None:
        """Write a line between the stages.

        Parameters
        ----------
        text : str
            A line.
        """

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *exception: Any) -> None:
        """Tidy up."""


class PlainProgress(Progress):
    """Plain lines: one when a stage begins, one when it is done, and some on its way.

    Parameters
    ----------
    stream : text stream
        Where to write.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def note(self, text: str) -> None:
        """Write a line, at once: a log is read while it grows.

        Parameters
        ----------
        text : str
            The line.
        """
        print(text, file=self.stream, flush=True)

    @contextmanager
    def stage(self, title: str, total: int | None = None) -> Iterator[Stage]:
        """Announce a stage, and write how long it took.

        Parameters
        ----------
        title : str
            What is done.
        total : int or None, default=None
            Number of steps, if it is known.

        Yields
        ------
        Stage
            Writes some of the texts it is called with.
        """
        self.note(f"{title} ...")
        started = time.perf_counter()
        yield _PlainStage(self, total)
        self.note(f"{title}: done in {time.perf_counter() - started:.1f} s")


class _PlainStage(Stage):
    def __init__(self, progress: PlainProgress, total: int | None) -> None:
        self.progress, self.total, self.done = progress, total, 0

    def __call__(self, text: str = "") -> None:
        self.done += 1
        every = max(1, -(-(self.total or 1) // LINES))
        if text and (self.done % every == 0 or self.done == self.total):
            self.progress.note(f"  {text}")


class BarProgress(Progress):
    """Bars on a terminal, one for each stage.

    Parameters
    ----------
    console : rich.console.Console
        The terminal.
    """

    def __init__(self, console: Console) -> None:
        # Where the terminal is narrow, it is the text at the end that is cut.
        title = Column(no_wrap=True, overflow="ignore")
        text = Column(no_wrap=True, overflow="ellipsis", ratio=1)
        self.bars = Bars(
            SpinnerColumn(finished_text="✓"),
            TextColumn("{task.description}", markup=False, table_column=title),
            BarColumn(bar_width=20, table_column=Column(min_width=20)),
            MofNCompleteColumn(table_column=Column(min_width=7)),
            TimeElapsedColumn(table_column=Column(min_width=7)),
            TextColumn("{task.fields[text]}", markup=False, table_column=text),
            console=console,
            expand=True,
        )

    def __enter__(self) -> BarProgress:
        self.bars.start()
        return self

    def __exit__(self, *exception: Any) -> None:
        """Leave the bars in their last state."""
        self.bars.stop()

    def note(self, text: str) -> None:
        """Write a line above the bars.

        Parameters
        ----------
        text : str
            The line.
        """
        self.bars.console.print(text, markup=False, highlight=False)

    @contextmanager
    def stage(self, title: str, total: int | None = None) -> Iterator[Stage]:
        """Add a bar.

        Parameters
        ----------
        title : str
            What is done.
        total : int or None, default=None
            Number of steps, if it is known.

        Yields
        ------
        Stage
            Moves the bar.
        """
        task = self.bars.add_task(title, total=total, text="")
        yield _BarStage(self.bars, task)
        done = int(self.bars.tasks[task].completed) or 1
        self.bars.update(task, total=done, completed=done)
        self.bars.stop_task(task)


class _BarStage(Stage):
    def __init__(self, bars: Bars, task: Any) -> None:
        self.bars, self.task = bars, task

    def __call__(self, text: str = "") -> None:
        self.bars.update(self.task, advance=1, text=text)


def report_epochs(estimator: Any, stage: Stage) -> None:
    """Let an estimator report its epochs to a stage.

    Before scikit-learn 1.9 there are no callbacks: nothing is reported until the fit ends.

    Parameters
    ----------
    estimator : estimator instance
        The estimator, before it is fitted.
    stage : Stage
        The stage to report to.
    """
    with suppress(ImportError):
        estimator.set_callbacks(EpochReporter(stage))


class EpochReporter(EpochCallback):
    """Reports each epoch to a stage.

    Parameters
    ----------
    stage : Stage
        The stage to report to.
    """

    def __init__(self, stage: Stage) -> None:
        self.stage = stage

    def setup(self, estimator: Any, context: Any) -> None:
        """Note the number of epochs and the time."""
        self.total, self.started = context.max_subtasks, time.perf_counter()

    def on_epoch(self, record: dict[str, Any]) -> None:
        """Report an epoch."""
        held_out = record["validation_loss"]
        validation = "" if held_out is None else f", validation {held_out:.5f}"
        self.stage(
            f"epoch {record['epoch']} of {self.total}: loss {record['loss']:.5f}{validation}, "
            f"{time.perf_counter() - self.started:.0f} s"
        )
