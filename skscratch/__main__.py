"""The command line: ``skscratch reproduce``, or ``python -m skscratch reproduce``.

It reads the data, runs the experiments and prints the path of the report. Common errors end in a
one-line message, not a traceback.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from skscratch import __version__
from skscratch._command_line import add_run_options, run_command, run_on_images


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
        ``SystemExit`` with code 2, as usual with argparse.
    """
    return run_command("skscratch", _reproduce, _parser().parse_args(argv))


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
    add_run_options(reproduce, data="digits", folders="out")
    reproduce.add_argument(
        "--reuse",
        action="store_true",
        help="reuse trained networks and SVM in the folder, if data, seed and settings match",
    )
    return parser


def _reproduce(arguments: argparse.Namespace) -> int:
    # Imported late, so that --help and wrong arguments return at once.
    try:
        from skscratch.experiments.reproduce import reproduce
    except ModuleNotFoundError as error:
        raise ImportError(
            f"The report needs {error.name}, which is not installed: "
            "pip install 'skscratch[report]'"
        ) from error
    from skscratch.persistence import import_skops

    # Before anything is read or made: what is missing is better said at once.
    import_skops()
    return run_on_images(reproduce, arguments, reuse=arguments.reuse)


if __name__ == "__main__":
    sys.exit(main())
