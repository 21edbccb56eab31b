"""The benchmark on text, on few rows: what it writes and keeps, never how fast it was."""

import json

import pytest

from benchmarks import protocol, text
from benchmarks.__main__ import main
from benchmarks.workloads import OURS, SCIKIT_LEARN


@pytest.fixture(autouse=True)
def without_rests(monkeypatch):
    """Let turns follow each other at once: nothing here depends on time."""
    monkeypatch.setattr(protocol, "REST_SECONDS", 0)


def run(folder, texts, *arguments):
    command = ["text", "--out", str(folder), "--text-dir", str(texts), "--repetitions", "1"]
    code = main([*command, *arguments])
    return code, json.loads((folder / "text.json").read_text())


def test_a_run_writes_all_and_what_is_finished_is_kept(texts, tmp_path, monkeypatch, capsys):
    # A few rows say little about the accuracy.
    monkeypatch.setitem(text.WORKLOADS, "stream", text.Workload("stream", "stream", 0.5, 1.0, 4))
    monkeypatch.setattr(text, "PROCESSORS_ALLOWED", 2.0)
    code, results = run(tmp_path, texts)
    assert code == 0, results
    assert set(results["workloads"]) == set(text.WORKLOADS)
    for name, result in results["workloads"].items():
        assert result["shape"] == [60, 200]
        assert result["extra_bytes"] is None or result["extra_bytes"] >= 0
        if name != "stream":
            assert result["worse"] <= 1e-6
            assert result["rival"] == SCIKIT_LEARN
    assert results["workloads"]["stream"]["rival"].startswith("SGDClassifier")
    page = (tmp_path / "text.md").read_text()
    assert "| network, 3 epochs | scikit-learn |" in page
    assert capsys.readouterr().out.endswith(page + "\n")
    assert (tmp_path / "text.png").stat().st_size > 0

    monkeypatch.setattr(text, "run_workload", lambda *arguments: pytest.fail("run again"))
    run(tmp_path, texts)
    assert capsys.readouterr().out.count("finished earlier") == len(text.WORKLOADS)


def turn(**changes):
    usual = {"seconds": 1.0, "processors": 1.0, "quality": 0.5, "extra_bytes": 10}
    return {**usual, "shape": [3, 4], "weight_bytes": 5, **changes}


@pytest.mark.parametrize(
    ("name", "ours", "theirs", "fault"),
    [
        ("network-fit", {"quality": 0.5 * (1 + 2e-6)}, {}, "quality"),
        ("network-fit", {"quality": float("nan")}, {}, "quality"),
        ("network-fit", {}, {"processors": 1.9}, "processors"),
        ("stream", {"quality": 0.48}, {}, "quality"),
    ],
)
def test_times_count_only_at_equal_quality(name, ours, theirs, fault):
    workload = text.WORKLOADS[name]
    assert text.summary(workload, {OURS: [turn()], "theirs": [turn()]})["ratio"] == 1.0
    with pytest.raises(AssertionError, match=fault):
        text.summary(workload, {OURS: [turn(**ours)], "theirs": [turn(**theirs)]})


def test_a_stream_competes_with_the_more_accurate_one():
    turns = {
        OURS: [turn(seconds=2.0)],
        "quick": [turn(seconds=1.0, quality=0.4)],
        "accurate": [turn(seconds=3.0, quality=0.505)],
    }
    result = text.summary(text.WORKLOADS["stream"], turns)
    assert result["rival"] == "accurate"
    assert result["ratio"] == 1.5
    assert result["allowed_bytes"] == 20


def test_an_unknown_workload_is_named(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["text", "--out", str(tmp_path), "--text-dir", str(tmp_path), "--only", "networks"])
    assert "'networks'" in capsys.readouterr().err
