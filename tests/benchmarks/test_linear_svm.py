"""The benchmark of LinearSVM, on few rows: what it writes and keeps, never how fast it was."""

import json

import numpy as np
import pytest
from sklearn.datasets import load_digits

from benchmarks import linear_svm
from benchmarks.__main__ import main


@pytest.fixture
def folder(tmp_path):
    """A folder of small data sets, which use pixels as latent features as well."""
    X, y = load_digits(return_X_y=True)
    for name in ("pixels", "latent"):
        np.save(tmp_path / f"{name}.npy", (X / 16).astype(np.float32))
    np.save(tmp_path / "labels.npy", y)
    return tmp_path


def test_both_reach_the_same_objective_and_a_finished_workload_is_kept(folder, monkeypatch, capsys):
    command = ["linear_svm", "--out", str(folder), "--only", "latent", "--rows", "600"]
    command += ["--repetitions", "1"]
    main(command)
    found = json.loads((folder / "linear_svm.json").read_text())["workloads"]["latent"]
    assert found["excess"] <= max(found["their_excess"], 1e-6)
    page = (folder / "linear_svm.md").read_text()
    assert "| latent | 600 |" in page
    assert capsys.readouterr().out.endswith(page + "\n")

    monkeypatch.setattr(linear_svm, "run_workload", lambda *arguments: pytest.fail("run again"))
    main(command)
    assert "latent: finished earlier" in capsys.readouterr().out


def test_a_failing_fit_says_why(folder):
    with pytest.raises(RuntimeError, match=r"nothing\.npy"):
        linear_svm.run(folder, "LinearSVM", "nothing", "hinge")


def test_the_memory_of_the_parent_process_is_not_counted(folder):
    held = np.ones(40_000_000)  # 305 MiB
    assert linear_svm.run(folder, "LinearSVM", "pixels", "hinge", rows=100)["peak_mib"] < 300
    assert held[-1] == 1
