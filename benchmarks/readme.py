"""Carry the figures of a run of the main job into the README.

Use it as ``python -m benchmarks.readme out/mnist/metrics.json``. It replaces what stands between
the two marks in README.md, and nothing else.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- figures: begin -->\n", "<!-- figures: end -->"
README = Path(__file__).parents[1] / "README.md"


def table(metrics: dict[str, Any]) -> str:
    """Render the figures of a run as a Markdown table."""
    data, encoder, latent = metrics["data"], metrics["autoencoder"], metrics["latent"]
    rows = [
        ("gradient check, largest relative error", f"{metrics['gradients']['largest']:.1e}"),
        (
            f"XOR, seeds of {metrics['xor']['n_seeds']} that learn all four points",
            f"{metrics['xor']['n_solved']}",
        ),
        *_encoder_rows(encoder, latent["scores"]),
    ]
    if metrics.get("faithful"):
        faithful = metrics["faithful"]
        rows += _encoder_rows(faithful, faithful["scores"])
    rows += [
        (f"PCA with {encoder['n_components']} components, test MSE",
         f"{encoder['pca_test_mse']:.5f}"),
        ("the whole job", _minutes(metrics["total_seconds"])),
    ]  # fmt: skip
    facts = metrics["environment"]
    lines = [
        f"| {data['name'].upper() if data['name'] == 'mnist' else data['name']}: "
        f"{data['n_train']:,} + {data['n_test']:,} images, seed {metrics['seed']} | |",
        "|---|---|",
        *(f"| {name} | {figure} |" for name, figure in rows),
    ]
    machine = (
        f"Python {facts['python']}, NumPy {facts['packages']['numpy']}, scikit-learn "
        f"{facts['packages']['scikit-learn']}, {facts['platform']}, {facts['cpu_count']} "
        "processors of a shared machine: the time is no measurement."
    )
    return "\n".join(lines) + f"\n\n{machine}\n"


def _encoder_rows(encoder: dict[str, Any], scores: list[dict[str, Any]]) -> list[tuple[str, str]]:
    widths = "–".join(map(str, encoder["widths"]))
    choices = f"{encoder['initializer']}, {encoder['loss_name']}, {encoder['n_epochs']} epochs"
    return [
        (f"autoencoder {widths}, {choices}: test MSE", f"{encoder['test_mse']:.5f}"),
        *(
            (
                f"… {score['name']} on its latent features, test accuracy",
                f"{100 * score['test_accuracy']:.2f} %",
            )
            for score in scores
        ),
    ]


def _minutes(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("metrics", type=Path, help="metrics.json of a run of the main job")
    metrics = json.loads(parser.parse_args().metrics.read_text(encoding="utf-8"))
    before, _, rest = README.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    README.write_text(before + BEGIN + table(metrics) + END + after, encoding="utf-8")


if __name__ == "__main__":
    main()
