"""Carry figures into the README, so that none is typed by hand.

``python -m benchmarks.readme figures out/mnist/metrics.json`` takes those of a run of the main
job, ``python -m benchmarks.readme keras out/mnist-compared/metrics.json`` those of a comparison;
``python -m benchmarks.readme NAME FILE.md`` takes the table that a benchmark has written. What
stands between the marks of that name in README.md is replaced, and nothing else.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from skscratch.experiments.page import FILTERS

README = Path(__file__).parents[1] / "README.md"


def table(metrics: dict[str, Any]) -> str:
    """Render the figures of a run as a Markdown table."""
    if "rows" in metrics:
        return comparison(metrics)
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


def comparison(metrics: dict[str, Any]) -> str:
    """Render what a comparison shows at a glance."""
    figure = FILTERS["figure"]
    lines = [
        "| | report | its figure | its Keras | here, its settings | here, best settings "
        "| Keras here |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for row in metrics["rows"]:
        cells = [figure(row[k], row["kind"]) for k in ("figure", "keras", "ours", "best", "rival")]
        lines.append(f"| {row['what']} | {row['report']} | {' | '.join(cells)} |")
    facts = metrics["environment"]
    versions = ", ".join(f"{name} {version}" for name, version in facts["packages"].items())
    return "\n".join(lines) + (
        f"\n\nThe whole comparison took {_minutes(metrics['total_seconds'])} on "
        f"{facts['cpu_count']} processors ({facts['platform']}). Python {facts['python']}, "
        f"{versions}.\n"
    )


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


def carry(name: str, text: str) -> None:
    """Replace what stands between the marks of that name in the README."""
    begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->"
    readme = README.read_text(encoding="utf-8")
    if begin not in readme or end not in readme:
        raise SystemExit(f"README.md has no marks {begin.strip()} and {end}.")
    before, _, rest = readme.partition(begin)
    _, _, after = rest.partition(end)
    README.write_text(before + begin + text.strip() + "\n" + end + after, encoding="utf-8")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", help="name of the marks, such as figures")
    parser.add_argument("file", type=Path, help="metrics.json of the main job, or a Markdown file")
    options = parser.parse_args()
    text = options.file.read_text(encoding="utf-8")
    carry(options.name, table(json.loads(text)) if options.file.suffix == ".json" else text)


if __name__ == "__main__":
    main()
