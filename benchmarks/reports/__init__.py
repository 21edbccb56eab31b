"""The experiments of five student reports, in skscratch and in Keras.

    python -m benchmarks reports [--mnist-dir DIR] [--out DIR] [--seed N] [--n-jobs N]
                                 [--only PARTS] [--data digits|mnist]

Both libraries start from the same weights and see the same batches. Finished parts are kept in the
output folder: after Ctrl-C, the same command goes on. In the end there are ``report.html``,
``report.md``, the pictures and ``metrics.json``. It needs ``pip install ".[report,keras]"``.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

from skscratch._command_line import add_run_options, run_command, run_on_images


def main(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> int:
    """Run the command line."""
    add_run_options(parser, data="mnist", folders="out/reports")
    parser.add_argument(
        "--only",
        metavar="PARTS",
        type=lambda text: [name.strip() for name in text.split(",")],
        help="parts with commas: gradients, xor, autoencoder, latent (default: all)",
    )
    return run_command("benchmarks", _compare, parser.parse_args(arguments))


def _compare(options: argparse.Namespace) -> int:
    # TensorFlow reads this when it is imported: without it, it reports its own set-up.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from benchmarks.keras_models import import_keras
    from benchmarks.reports.comparison import check_parts, compare

    # Mistakes are reported before the images are read.
    only = None if options.only is None else check_parts(options.only)
    import_keras()
    return run_on_images(compare, options, only=only)
