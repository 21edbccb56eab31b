"""Measured figures get into the Markdown pages by a script, and settings too."""

import re

import pytest

from benchmarks import results
from benchmarks.__main__ import main
from benchmarks.autoencoder import RECIPES

NAMES = ["figures", "keras", "autoencoder", "speed", "shares", "svm", "svm-mnist", "text"]
METRICS = {
    "data": {"name": "mnist", "n_train": 60000, "n_test": 10000},
    "seed": 0,
    "gradients": {"largest": 5.2e-10},
    "xor": {"n_seeds": 100, "n_solved": 99},
    "autoencoder": {
        "widths": [784, 64, 784],
        "initializer": "he normal",
        "loss_name": "squared error",
        "n_epochs": 20,
        "test_mse": 0.0071234,
        "n_components": 64,
        "pca_test_mse": 0.009054,
    },
    "latent": {"scores": [{"name": "LinearSVM", "test_accuracy": 0.95749}]},
    "total_seconds": 233.4,
    "environment": {
        "python": "3.11.7",
        "packages": {"numpy": "2.4.6", "scikit-learn": "1.9.1"},
        "platform": "Linux on x86_64",
        "cpu_count": 2,
    },
}


@pytest.fixture
def pages(tmp_path, monkeypatch):
    """Let the script write to copies of the pages, and return their folder."""
    for name in ("RESULTS", "README", "SETTINGS"):
        page = getattr(results, name)
        copy = tmp_path / f"{name}.md"
        copy.write_text(page.read_text(encoding="utf-8"), encoding="utf-8")
        monkeypatch.setattr(results, name, copy)
    return tmp_path


def run(*arguments):
    main(["results", *map(str, arguments)])


@pytest.mark.parametrize("name", NAMES)
def test_a_stored_table_is_complete(name):
    tables = results.stored_tables(name)
    assert tables
    for table in tables:
        assert table
        for row in table:
            label, *figures = row.values()
            assert label
            assert any(re.search(r"\d", cell) for cell in figures), label
            assert not any(re.search(r"\b(nan|inf|None)\b", cell) for cell in figures), label


def test_the_readme_shows_the_best_of_the_stored_figures():
    _, shown, _ = results._parts(results.README, "best figures")
    assert shown.strip() == results.best_figures()
    accuracies = {
        row["recipe"]: float(row["LinearSVM"].partition("%")[0])
        for row in results.stored_tables("autoencoder")[0]
    }
    best = max(accuracies, key=accuracies.get)
    row = next(line for line in shown.splitlines() if line.startswith("| LinearSVM on latent"))
    assert f"`{best.partition(':')[0]}`" in row
    assert f"{accuracies[best]:.2f}%" in row


def test_the_pages_show_the_settings_whose_figures_they_print():
    _, shown, _ = results._parts(results.SETTINGS, "settings")
    assert shown.strip() == results.settings()
    names = {}
    exec(shown.replace("```python", "").replace("```", ""), names)
    for name, recipe in RECIPES.items():
        first, *later = recipe.phases
        shown_settings = names[name].get_params()
        expected = type(names[name])(**first, warm_start=bool(later)).get_params()
        assert shown_settings == expected
        for phase in later:
            assert names[f"{name}_second"] == phase
        assert names.get(f"{name}_fine_tuning") == recipe.fine_tuning
    measured = [row["recipe"].partition(":")[0] for row in results.stored_tables("autoencoder")[0]]
    assert measured == list(RECIPES)


def test_new_figures_replace_the_old_ones_and_nothing_else(pages):
    before = results.RESULTS.read_text(encoding="utf-8")
    metrics = pages / "metrics.json"
    metrics.write_text(results.json.dumps(METRICS), encoding="utf-8")
    run("figures", metrics)
    after = results.RESULTS.read_text(encoding="utf-8")
    begin, end = "<!-- figures: begin -->", "<!-- figures: end -->"
    assert after.partition(begin)[0] == before.partition(begin)[0]
    assert after.partition(end)[2] == before.partition(end)[2]
    table = results._two_columns(results.stored_tables("figures")[0])
    assert table == {
        "gradient check, largest relative error": "5.2e-10",
        "XOR, seeds of 100 that learn all four points": "99",
        "autoencoder 784–64–784, he normal, squared error, 20 epochs: test MSE": "0.00712",
        "… LinearSVM on its latent features, test accuracy": "95.75 %",
        "PCA with 64 components, test MSE": "0.00905",
        "the whole job": "3 min 53 s",
    }


def test_the_readme_follows_when_a_benchmark_is_inserted(pages):
    benchmark = pages / "autoencoder.md"
    benchmark.write_text(
        "| recipe | test MSE | LinearSVM | SVC, RBF | fine-tuned |\n|---|---|---|---|---|\n"
        "| poor: a | 0.00500 (0.00400 to 0.00600) | 91.00% | – | 99.00% |\n"
        "| good: b | 0.00100 (0.00090 to 0.00110) | 90.00% | 98.00% | – |\n",
        encoding="utf-8",
    )
    run("autoencoder", benchmark)
    readme = results.README.read_text(encoding="utf-8")
    assert "test MSE (recipe `good`) | 0.00100 (0.00090 to 0.00110) |" in readme
    assert "test accuracy (recipe `poor`) | 91.00% |" in readme


def test_the_readme_says_on_which_data_the_svm_has_which_speed(pages):
    benchmark = pages / "linear_svm.md"
    ratios = {"latent": "90.10", "pixels-hinge": "9.90", "newsgroups": "1.10"}
    ratios |= {"newsgroups-hinge": "0.45", "newsgroups-l1": "0.30", "iris": "0.10"}
    benchmark.write_text(
        "| workload | ratio (95 % interval) | goal |\n|---|---|---|\n"
        + "".join(f"| {name} | {ratio} (0.1 to 99) | 1 |\n" for name, ratio in ratios.items()),
        encoding="utf-8",
    )
    run("svm", benchmark)
    readme = results.README.read_text(encoding="utf-8")
    assert (
        "| LinearSVM on 60,000 dense rows: speed relative to LinearSVC | 9.90 to 90.10 |" in readme
    )
    assert "| LinearSVM on text in 20 classes (newsgroups): speed relative to LinearSVC " in readme
    assert "| 0.45 to 1.10 |" in readme
    assert "reviews" not in readme


def test_a_comparison_is_a_table_of_its_rows():
    kinds = {"what": "XOR", "report": 1, "kind": "percent"}
    figures = {"figure": 0.9, "keras": None, "ours": 0.95, "best": 0.97, "rival": 0.95}
    text = results.comparison(METRICS | {"rows": [kinds | figures]})
    header, rule, row, *_ = text.splitlines()
    assert header.count("|") == rule.count("|") == row.count("|")
    assert row.startswith("| XOR | 1 |")
    assert "97" in row
    assert "The whole comparison took 3 min 53 s on 2 processors" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["nothing", "figures.md"], "has no markers <!-- nothing: begin -->"), (["figures"], "2")],
)
def test_mistakes_change_nothing(arguments, message, pages, monkeypatch):
    (pages / "figures.md").write_text("| a |\n", encoding="utf-8")
    monkeypatch.chdir(pages)
    before = results.RESULTS.read_text(encoding="utf-8")
    with pytest.raises(SystemExit, match=message):
        run(*arguments)
    assert results.RESULTS.read_text(encoding="utf-8") == before


def test_rows_are_replaced_by_their_first_cells(tmp_path):
    file = tmp_path / "RESULTS.md"
    table = "| a | b |\n|---|---|\n| one | 1 |\n| two | 2 |\n\nMeasured there.\n"
    file.write_text(f"<!-- t: begin -->\n{table}<!-- t: end -->\n", encoding="utf-8")
    results.insert_rows(file, "t", "| a | b |\n|---|---|\n| two | 22 |\n\nMeasured here.")
    expected = table.replace("| 2 |", "| 22 |")
    assert file.read_text(encoding="utf-8") == f"<!-- t: begin -->\n{expected}<!-- t: end -->\n"
    with pytest.raises(SystemExit, match="no rows"):
        results.insert_rows(file, "t", "| three | 3 |")
