"""Run a benchmark: ``python -m benchmarks COMMAND``; ``COMMAND --help`` lists its options."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

COMMANDS = {
    "speed": "training compared with Keras, PyTorch and scikit-learn",
    "shares": "where the time of training goes",
    "timeline": "what each thread does in one training step",
    "scaling": "the time of training with more threads",
    "checkpoints": "time and size of a checkpoint",
    "autoencoder": "what the recipes for autoencoders reach on MNIST",
    "linear_svm": "training speed and memory of LinearSVM compared with LinearSVC",
    "text": "networks and streams on text compared with scikit-learn",
    "reports": "the experiments of five student reports, in skscratch and in Keras",
    "results": "insert measured figures into the Markdown pages",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line, and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        epilog="\n".join(f"{name:12} {text}" for name, text in COMMANDS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, metavar="...", help="its options")
    options = parser.parse_args(argv)
    # Imported late: a contestant's process, or a profile, loads only what it measures.
    module = import_module(f"benchmarks.{options.command}")
    command = argparse.ArgumentParser(
        prog=f"{parser.prog} {options.command}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    code: int = module.main(command, options.arguments) or 0
    return code


if __name__ == "__main__":
    sys.exit(main())
