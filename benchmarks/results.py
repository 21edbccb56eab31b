"""Insert measured figures into the Markdown pages, so that none is typed by hand.

    python -m benchmarks results figures out/mnist/metrics.json
    python -m benchmarks results keras out/reports/mnist/metrics.json
    python -m benchmarks results NAME FILE.md
    python -m benchmarks results

The first two take the figures of the main job and of the comparison with Keras, the third the
tables that a benchmark has written. Each replaces the text between the markers of that name in
benchmarks/RESULTS.md. Every call, also one without arguments, then rewrites what is derived: the
best figures in README.md, from benchmarks/RESULTS.md, and the settings in docs/autoencoder.md, from
`RECIPES` in benchmarks/autoencoder.py.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.autoencoder import RECIPES
from skscratch.experiments.page import FILTERS

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "RESULTS.md"
README = ROOT / "README.md"
SETTINGS = ROOT / "docs" / "autoencoder.md"

Row = dict[str, str]


def main_job(metrics: Mapping[str, Any]) -> str:
    """Render the figures of the main job as a Markdown table."""
    data, encoder, latent = metrics["data"], metrics["autoencoder"], metrics["latent"]
    rows = [
        ("gradient check, largest relative error", f"{metrics['gradients']['largest']:.1e}"),
        (
            f"XOR, seeds of {metrics['xor']['n_seeds']} that learn all four points",
            f"{metrics['xor']['n_solved']}",
        ),
        *_encoder_rows(encoder, latent["scores"]),
    ]
    if metrics.get("reconstruction"):
        second = metrics["reconstruction"]
        rows += _encoder_rows(second, second["scores"])
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
        "processors. Timings are not comparable: the machine was shared."
    )
    return "\n".join(lines) + f"\n\n{machine}\n"


def comparison(metrics: Mapping[str, Any]) -> str:
    """Render the main figures of a comparison with Keras as a Markdown table."""
    figure = FILTERS["figure"]
    lines = [
        "| | report | reported | reported for Keras | skscratch, report's settings "
        "| skscratch, best settings | Keras, report's settings |",
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


def _encoder_rows(encoder: Mapping[str, Any], scores: Iterable[Any]) -> list[tuple[str, str]]:
    widths = "–".join(map(str, encoder["widths"]))
    choices = f"{encoder['initializer']}, {encoder['loss_name']}, {encoder['n_epochs']} epochs"
    return [
        (f"autoencoder {widths}, {choices}: test MSE", f"{encoder['test_mse']:.5f}"),
        *(
            (
                f"… {_on_features(score['name'])}, test accuracy",
                f"{100 * score['test_accuracy']:.2f} %",
            )
            for score in scores
        ),
    ]


def _on_features(classifier: str) -> str:
    """Name a classifier and its features: without a name of features, they are the latent ones."""
    return classifier if " on " in classifier else f"{classifier} on its latent features"


def _minutes(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"


def stored_tables(name: str) -> list[list[Row]]:
    """Return the tables between the markers of that name: for each row, cells by heading."""
    _, text, _ = _parts(RESULTS, name)
    tables = []
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        header, _, *body = [
            [cell.strip() for cell in line.strip().removeprefix("|").removesuffix("|").split("|")]
            for line in table.splitlines()
        ]
        tables.append([dict(zip(header, cells, strict=True)) for cells in body])
    return tables


def best_figures() -> str:
    """Render the best of the stored figures as a Markdown table."""
    main = _two_columns(stored_tables("figures")[0])
    recipes = stored_tables("autoencoder")[0]
    speed = stored_tables("speed")[0]
    svm = stored_tables("svm")[0] + stored_tables("svm-mnist")[0]

    def svm_ratios(*data: str) -> list[str]:
        return [
            cell
            for row in svm
            if any(name in row["workload"] for name in data) and "l1" not in row["workload"]
            for heading, cell in row.items()
            if heading.startswith("ratio")
        ]

    def recipe(title: str, column: str, pick: Callable[..., Any] = max) -> tuple[str, str]:
        measured = [row for row in recipes if re.match(r"\d", row[column])]
        row = pick(measured, key=lambda row: _number(row[column]))
        name, _, _ = row["recipe"].partition(":")
        return f"{title} (recipe `{name}`)", row[column]

    def faster(than: str) -> tuple[str, str]:
        ratios = [
            row["speed ratio (95 % interval)"]
            for row in speed
            if row["against"].startswith(than) and row["workload"].startswith(("ae", "mlp"))
        ]
        return f"network training: speed relative to {than}", _range(ratios)

    pca = next(label for label in main if label.startswith("PCA"))
    components = re.search(r"\d+", pca)[0]  # type: ignore[index]
    # A run may have been without some of them.
    svm_speed = {
        "60,000 dense rows": svm_ratios("latent", "pixels"),
        "text in 20 classes (newsgroups)": svm_ratios("newsgroups"),
        "short texts in two classes (reviews)": svm_ratios("reviews"),
    }
    rows = [
        recipe("reconstruction from 64 latent features, test MSE", "test MSE", min),
        (f"reconstruction from {components} principal components, test MSE", main[pca]),
        recipe("LinearSVM on latent features learned without labels, test accuracy", "LinearSVM"),
        recipe("SVC (RBF) on latent features learned without labels, test accuracy", "SVC, RBF"),
        recipe("classifier fine-tuned from an encoder, test accuracy", "fine-tuned"),
        *map(faster, ("Keras", "PyTorch", "scikit-learn")),
        *(
            (f"LinearSVM on {data}: speed relative to LinearSVC", _range(ratios))
            for data, ratios in svm_speed.items()
            if ratios
        ),
        ("gradient check: largest relative error",
         main["gradient check, largest relative error"]),
    ]  # fmt: skip
    return "\n".join(
        ["| | figure |", "|---|---|", *(f"| {label} | {figure} |" for label, figure in rows)]
    )


def _two_columns(table: list[Row]) -> dict[str, str]:
    labels, figures = zip(*(row.values() for row in table), strict=True)
    return dict(zip(labels, figures, strict=True))


def _number(cell: str) -> float:
    return float(re.match(r"[\d.]+", cell)[0])  # type: ignore[index]


def _range(cells: Iterable[str]) -> str:
    """Return the smallest and the largest of the figures that count, as they are written."""
    numbers = [cell.partition(" ")[0] for cell in cells if re.match(r"\d", cell)]
    return f"{min(numbers, key=float)} to {max(numbers, key=float)}"


def settings() -> str:
    """Render the settings of all recipes as Python code."""
    lines = [
        "```python",
        "from skscratch import AutoencoderTransformer",
        "from skscratch.images import RandomWarp",
    ]
    for name, recipe in RECIPES.items():
        first, *later = recipe.phases
        if later:
            first = first | {"warm_start": True}
        lines += [
            "",
            f"# {name}: {recipe.description}",
            *_call(name, "AutoencoderTransformer", first),
        ]
        for phase in later:
            lines += [f"# After the first fit, {name}.set_params(**{name}_second) and fit again."]
            lines += _call(f"{name}_second", "dict", phase)
        if recipe.fine_tuning is not None:
            lines += [f"# MLPClassifier(pretrained={name}.encoder_, **{name}_fine_tuning)"]
            lines += _call(f"{name}_fine_tuning", "dict", recipe.fine_tuning)
    return "\n".join([*lines, "```"])


def _call(target: str, function: str, arguments: Mapping[str, Any]) -> list[str]:
    pairs = [f"{name}={_literal(value)}" for name, value in arguments.items()]
    return [f"{target} = {function}(", *(f"    {pair}," for pair in pairs), ")"]


def _literal(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else repr(value)


def _parts(file: Path, name: str) -> tuple[str, str, str]:
    """Split a file into what is before, between and behind the markers of that name."""
    begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->"
    text = file.read_text(encoding="utf-8")
    if text.count(begin) != 1 or text.count(end) != 1:
        raise SystemExit(f"{file.name} has no markers {begin.strip()} and {end}.")
    before, _, rest = text.partition(begin)
    between, _, behind = rest.partition(end)
    return before + begin, between, end + behind


def insert_table(file: Path, name: str, text: str) -> None:
    """Replace the text between the markers of that name."""
    before, _, behind = _parts(file, name)
    file.write_text(before + text.strip() + "\n" + behind, encoding="utf-8")


def insert_rows(file: Path, name: str, text: str) -> None:
    """Replace the rows of tables between the markers that `text` has too, by their first cells.

    For a benchmark of which only some parts were run again.
    """
    before, between, behind = _parts(file, name)
    rows = {_first_cell(line): line for line in text.splitlines() if line.startswith("| ")}
    lines = between.splitlines()
    known = {_first_cell(line) for line in lines}
    if unknown := rows.keys() - known:
        raise SystemExit(f"{file.name} has no rows {sorted(unknown)} between the markers {name}.")
    merged = [rows.get(_first_cell(line), line) for line in lines]
    file.write_text(before + "\n".join(merged) + "\n" + behind, encoding="utf-8")


def _first_cell(line: str) -> str:
    return line.split("|")[1].strip() if line.startswith("| ") else ""


def main(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> None:
    """Run the command line."""
    parser.add_argument("name", nargs="?", help="name of the markers, such as figures")
    parser.add_argument("file", nargs="?", type=Path, help="metrics.json, or a Markdown file")
    parser.add_argument(
        "--rows", action="store_true", help="replace the rows that the file has, keep the others"
    )
    options = parser.parse_args(arguments)
    if options.name is not None:
        if options.file is None:
            parser.error("name a file too: metrics.json, or a Markdown file")
        text = options.file.read_text(encoding="utf-8")
        if options.file.suffix == ".json":
            metrics = json.loads(text)
            text = comparison(metrics) if "rows" in metrics else main_job(metrics)
        insert = insert_rows if options.rows else insert_table
        insert(RESULTS, options.name, text)
    insert_table(README, "best figures", best_figures())
    insert_table(SETTINGS, "settings", settings())
