"""The benchmark of the recipes, on few images: what it writes and keeps, never the figures."""

import dataclasses
import json

import pytest

from benchmarks import autoencoder
from benchmarks.__main__ import main
from benchmarks.autoencoder import RECIPES, Recipe
from skscratch.datasets import load_digits, subsample
from skscratch.experiments import settings

TINY = {"n_components": 4, "hidden_layer_sizes": (), "max_iter": 2}


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    """Return a function that runs two tiny recipes and returns its output."""
    images = subsample(load_digits(), n_train=120, n_test=60)
    recipes = {
        "plain": Recipe("nothing tuned", (TINY,), kernel=True),
        "twice": Recipe("two phases", (TINY, {"max_iter": 1}), fine_tuning={"max_iter": 1}),
    }
    monkeypatch.setattr(autoencoder, "RECIPES", recipes)
    monkeypatch.setattr(autoencoder, "load_mnist", lambda folder: images)

    def run():
        main(["autoencoder", "--mnist-dir", "-", "--out", str(tmp_path), "--seeds", "0", "1"])
        return capsys.readouterr().out

    run.recipes, run.folder = recipes, tmp_path
    return run


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_finished_recipes_are_kept_until_they_change(run, monkeypatch):
    for name in ("against_pca", "anomalies"):
        monkeypatch.setattr(autoencoder, name, lambda *arguments: {"1": {"ours": 0.5}})
    monkeypatch.setattr(autoencoder, "memory_by_rows", lambda *arguments: {"1": 100.0})
    first = run()
    assert "finished earlier" not in first
    results = json.loads((run.folder / "autoencoder.json").read_text())
    assert [set(figures) for figures in results["recipes"]["plain"]] == 2 * [
        {"mse", "linear", "kernel"}
    ]
    assert [set(figures) for figures in results["recipes"]["twice"]] == 2 * [
        {"mse", "linear", "fine_tuned"}
    ]
    page = (run.folder / "autoencoder.md").read_text()
    assert first.endswith(page + "\n")
    assert "| plain: nothing tuned |" in page
    assert "| 60,000 | 100 MiB |" in page
    run.recipes["twice"] = dataclasses.replace(run.recipes["twice"], phases=(TINY,))
    again = run()
    assert again.count("finished earlier") == 2 + 2 + 2 + 1
    assert "twice-0: finished earlier" not in again


def test_the_recipe_without_tuning_is_the_encoder_of_the_main_job():
    assert RECIPES["defaults"].phases == (settings.MNIST.encoder,)
