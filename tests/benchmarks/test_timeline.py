"""The benchmarks of steps, threads and checkpoints, on few rows: what they write, not how fast."""

import json

import numpy as np
import pytest

from benchmarks import timeline
from benchmarks.__main__ import main
from benchmarks.workloads import WORKLOADS, write_data


def test_a_timeline_shows_what_each_thread_does(tmp_path, capsys):
    main(["timeline", "--out", str(tmp_path), "--workload", "table-3", "--rows", "8000"])
    text = (tmp_path / "timeline.md").read_text()
    assert text.startswith("**table-3**: ")
    rows = [line for line in text.splitlines() if line.startswith(("| 1 |", "| 2 |"))]
    assert len(rows) == 2
    assert " µs a step" in capsys.readouterr().out
    assert (tmp_path / "timeline-table-3.png").stat().st_size > 0


def test_the_events_of_a_step_lie_in_it_and_do_not_overlap(tmp_path):
    write_data(tmp_path, None, ["table"])
    task = WORKLOADS["table-1"].task(
        name="table-1", folder=str(tmp_path), contestant="skscratch", threads=1, rows=8000
    )
    steps = timeline.record(task)
    # Two epochs of 40 steps, less the first ones and the last one, whose end is unknown.
    assert len(steps) == 2 * 40 - 1 - timeline.WARM_UP
    for *events, whole in steps:
        assert {event.kind for event in events} == set(timeline.KINDS)
        ends = 0.0
        for event in events:
            assert event.begin >= ends
            ends = event.end
        assert ends <= whole.end


def test_scaling_compares_numbers_of_threads(tmp_path):
    rng = np.random.default_rng(0)
    X, y = rng.random((600, 784), dtype=np.float32), rng.integers(10, size=600)
    (tmp_path / "data").mkdir()
    for file in ("mnist.npz", "data/pixels.npz"):
        np.savez(tmp_path / file, X=X, y=y)
    command = ["scaling", "--out", str(tmp_path), "--threads", "1", "2", "99999"]
    main([*command, "--repetitions", "1"])
    found = json.loads((tmp_path / "scaling.json").read_text())["workloads"]
    assert set(found) == {"ae-wide", "pixels"}
    for result in found.values():
        assert max(result["threads"]) < 99999
        assert result["speedup"][0]["median"] == 1
    assert "| pixels | 1 | 1.00 (1.00 to 1.00) |" in (tmp_path / "scaling.md").read_text()


def test_scaling_names_an_unknown_workload(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["scaling", "--out", str(tmp_path), "--only", "mlp"])
    assert "no workload is called 'mlp'" in capsys.readouterr().err
