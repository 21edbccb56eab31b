"""What the command lines of the package and of its benchmarks share: options, progress, errors.

The experiments are imported late, so that ``--help`` and wrong arguments answer at once.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from skscratch.datasets import Images
    from skscratch.experiments.progress import Progress
    from skscratch.experiments.reproduce import Reproduction

FAILED, INTERRUPTED = 1, 130


def run_command(
    program: str, command: Callable[[argparse.Namespace], int], arguments: argparse.Namespace
) -> int:
    """Run a command and return its exit code; common errors end in one line, not a traceback."""
    try:
        return _until_interrupted(command, arguments)
    except KeyboardInterrupt:
        print(f"\n{program}: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output has gone away. Python would complain once more when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except (OSError, ValueError, ImportError) as error:
        print(f"{program}: error: {_one_line(error)}", file=sys.stderr)
        return FAILED


def _until_interrupted(
    command: Callable[[argparse.Namespace], int], arguments: argparse.Namespace
) -> int:
    """Run a command in which Ctrl-C ends everything, where a fit would end with a warning."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "Training interrupted by user", UserWarning)
        try:
            return command(arguments)
        except UserWarning as warning:
            if "interrupted" in str(warning):
                raise KeyboardInterrupt from warning
            raise


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def add_run_options(parser: argparse.ArgumentParser, *, data: str, folders: str) -> None:
    """Add the options of a run on images: by default these `data`, and one of these `folders`."""
    parser.add_argument("--data", choices=("digits", "mnist"), default=data, help="images to use")
    parser.add_argument(
        "--mnist-dir",
        metavar="DIR",
        type=Path,
        default=argparse.SUPPRESS,
        help="folder with the MNIST files (default: the environment variable SKSCRATCH_MNIST, "
        "else a download)",
    )
    parser.add_argument(
        "--out",
        metavar="DIR",
        type=_folder,
        default=argparse.SUPPRESS,
        help=f"folder to write to (default: {folders}/digits or {folders}/mnist)",
    )
    parser.set_defaults(folders=Path(folders))
    parser.add_argument("--seed", type=_seed, default=0, metavar="N", help="seed of all draws")
    parser.add_argument(
        "--n-jobs",
        type=_n_jobs,
        metavar="N",
        default=argparse.SUPPRESS,
        help="threads and processes, -1 for all cores (default: what BLAS may use)",
    )


def run_on_images(
    run: Callable[..., Reproduction], arguments: argparse.Namespace, **options: Any
) -> int:
    """Read the images, run an experiment on them, and print where its report is."""
    images = _images(arguments)
    with _progress() as progress:
        progress.note(f"{len(images.X_train):,} + {len(images.X_test):,} images: {images.name}")
        result = run(
            images,
            getattr(arguments, "out", arguments.folders / arguments.data),
            seed=arguments.seed,
            n_jobs=getattr(arguments, "n_jobs", None),
            progress=progress,
            **options,
        )
    print(f"For a browser: {result.html}")
    print(f"Report: {result.report}")
    return 0


def _whole_number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not an integer") from None


def _seed(text: str) -> int:
    seed = _whole_number(text)
    if not 0 <= seed < 2**32:
        raise argparse.ArgumentTypeError(f"it must be from 0 to {2**32 - 1}, got {seed}")
    return seed


def _n_jobs(text: str) -> int:
    n_jobs = _whole_number(text)
    if n_jobs == 0:
        raise argparse.ArgumentTypeError("it must not be 0; use -1 for all cores")
    return n_jobs


def _folder(text: str) -> Path:
    folder = Path(text)
    for path in (folder, *folder.parents):
        if path.exists() and not path.is_dir():
            raise argparse.ArgumentTypeError(f"'{path}' is a file, not a folder")
    return folder


def _images(arguments: argparse.Namespace) -> Images:
    from skscratch.datasets import load_digits, load_mnist

    folder = getattr(arguments, "mnist_dir", None)
    if arguments.data == "mnist":
        return load_mnist(folder)
    if folder is not None:
        raise ValueError("--mnist-dir needs --data mnist.")
    return load_digits()


def _progress() -> Progress:
    """Bars on a terminal, plain lines anywhere else."""
    from rich.console import Console

    from skscratch.experiments.progress import BarProgress, PlainProgress

    # A pipe is a pipe, whatever FORCE_COLOR may say to rich.
    if sys.stdout.isatty() and not (console := Console()).is_dumb_terminal:
        return BarProgress(console)
    return PlainProgress(sys.stdout)
