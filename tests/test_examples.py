"""Every example runs from top to bottom."""

import runpy
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("plot_*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plt, "show", lambda: None)
    names = runpy.run_path(str(path))
    assert plt.get_fignums(), "an example shows a picture"
    for number in plt.get_fignums():
        plt.figure(number).savefig(tmp_path / f"{number}.png")
    plt.close("all")
    assert names["__doc__"]
