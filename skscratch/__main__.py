"""The command line: ``skscratch reproduce``, or ``python -m skscratch reproduce``.

It reads the data, runs the experiments and prints where the report is. Common errors end in a
one-line message, not a traceback.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from skscratch import __version__

if TYPE_CHECKING:
    from skscratch.datasets import Images
    from skscratch.experiments.progress import Progress
    from skscratch.experiments.reproduce import Reproduction

FAILED, INTERRUPTED = 1, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str or None, default=None
        Arguments; None takes those of the process.

    Returns
    -------
    int
        Exit code: 0 for success, 1 for a failure, 130 after Ctrl-C. Wrong arguments end in
        ``SystemExit`` with code 2, as argparse does it.
    """
    arguments = _parser().parse_args(argv)
    try:
        return _until_interrupted(_reproduce, arguments)
    except KeyboardInterrupt:
        print("\nskscratch: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output has gone away. Python would complain once more when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except (OSError, ValueError, ImportError) as error:
        print(f"skscratch: error: {_one_line(error)}", file=sys.stderr)
        return FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="skscratch",
        description="Neural networks, autoencoders and linear SVMs, from scratch in NumPy.",
    )
    parser.add_argument("--version", action="version", version=f"skscratch {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    reproduce = commands.add_parser(
        "reproduce",
        help="run all experiments and write a report",
        description="Run all experiments and write a report, pictures and weights to a folder.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    reproduce.add_argument(
        "--data", choices=("digits", "mnist"), default="digits", help="images to use"
    )
    reproduce.add_argument(
        "--mnist-dir",
        metavar="DIR",
        type=Path,
        default=argparse.SUPPRESS,
        help="folder with the MNIST files (default: the environment variable SKSCRATCH_MNIST, "
        "else a download)",
    )
    reproduce.add_argument(
        "--out",
        metavar="DIR",
        type=_folder,
        default=argparse.SUPPRESS,
        help="folder to write to (default: out/digits or out/mnist, with -compared behind it for "
        "a comparison)",
    )
    reproduce.add_argument("--seed", type=_seed, default=0, metavar="N", help="seed of all draws")
    reproduce.add_argument(
        "--n-jobs",
        type=_n_jobs,
        metavar="N",
        default=argparse.SUPPRESS,
        help="threads and processes, -1 for all cores (default: what BLAS may use)",
    )
    reproduce.add_argument(
        "--reuse",
        action="store_true",
        help="use trained networks and SVM in the folder again, if data, seed and settings match",
    )
    reproduce.add_argument(
        "--compare",
        action="store_true",
        help="run the experiments of the five student reports instead, here and in Keras; what is "
        "finished is kept, so a second call goes on",
    )
    reproduce.add_argument(
        "--only",
        metavar="PARTS",
        type=_names,
        default=argparse.SUPPRESS,
        help="parts of the comparison, with commas: gradients, xor, autoencoder, latent "
        "(default: all)",
    )
    return parser


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


def _whole_number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number") from None


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


def _reproduce(arguments: argparse.Namespace) -> int:
    # Imported late: --help and wrong arguments answer at once.
    try:
        from skscratch.experiments.reproduce import reproduce
    except ModuleNotFoundError as error:
        raise ImportError(
            f"The report needs {error.name}, which is not installed: "
            "pip install 'skscratch[report]'"
        ) from error
    from skscratch.persistence import import_skops

    if arguments.compare:
        return _compare(arguments)
    if hasattr(arguments, "only"):
        raise ValueError("--only needs --compare.")
    # Before anything is read or made: what is missing is better said at once.
    import_skops()
    images = _images(arguments)
    with _progress() as progress:
        progress.note(f"{len(images.X_train):,} + {len(images.X_test):,} images: {images.name}")
        result = reproduce(
            images,
            getattr(arguments, "out", Path("out") / arguments.data),
            seed=arguments.seed,
            n_jobs=getattr(arguments, "n_jobs", None),
            reuse=arguments.reuse,
            progress=progress,
        )
    return _say_where(result)


def _compare(arguments: argparse.Namespace) -> int:
    # TensorFlow tells of its own set-up unless it is asked not to, and it reads this at its import.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from skscratch.experiments.compare import check_parts, compare
    from skscratch.experiments.contest import import_keras

    only = getattr(arguments, "only", None)
    if only is not None:
        check_parts(only)
    # Before anything is read or made: what is missing is better said at once.
    import_keras()
    images = _images(arguments)
    with _progress() as progress:
        progress.note(f"{len(images.X_train):,} + {len(images.X_test):,} images: {images.name}")
        result = compare(
            images,
            getattr(arguments, "out", Path("out") / f"{arguments.data}-compared"),
            only=only,
            seed=arguments.seed,
            n_jobs=getattr(arguments, "n_jobs", None),
            progress=progress,
        )
    return _say_where(result)


def _say_where(result: Reproduction) -> int:
    print(f"For a browser: {result.html}")
    print(f"Report: {result.report}")
    return 0


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


if __name__ == "__main__":
    sys.exit(main())
