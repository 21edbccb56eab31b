"""The benchmark of speed, on few rows: what it writes, never how fast anything was."""

import json
import shutil

import pytest

from benchmarks import protocol, speed
from benchmarks.__main__ import main
from benchmarks.speed import format_ratio
from benchmarks.workloads import GROWTH, OURS, SCIKIT_LEARN, UNSHUFFLED, WORKLOADS, Workload
from skscratch.experiments import settings


@pytest.fixture
def without_frameworks(monkeypatch):
    """Let Keras and PyTorch be missing, which also makes the run short."""
    real = protocol.Contestant._ask

    def ask(self, question):
        if isinstance(question, dict) and self.name in ("Keras", "PyTorch"):
            return {"missing": f"No module named {self.name!r}"}
        return real(self, question)

    monkeypatch.setattr(protocol.Contestant, "_ask", ask)


@pytest.mark.usefixtures("without_frameworks")
def test_a_run_names_the_missing_writes_all_and_is_kept(tmp_path, monkeypatch, capsys):
    command = ["speed", "--out", str(tmp_path), "--workload", "xor", "--epochs", "20"]
    command += ["--repetitions", "1"]
    main(command)
    text = capsys.readouterr().out
    assert "| xor | Keras | not installed |" in text
    assert text.endswith((tmp_path / "speed.md").read_text() + "\n")
    assert (tmp_path / "speed.png").stat().st_size > 0
    results = json.loads((tmp_path / "speed.json").read_text())
    found = results["workloads"]["xor"]
    assert set(found["contestants"]) == {OURS, SCIKIT_LEARN, UNSHUFFLED}
    # The same initial weights, the same steps: the same loss.
    assert found["contestants"][OURS]["loss"] == pytest.approx(
        found["contestants"][SCIKIT_LEARN]["loss"], rel=1e-4
    )
    assert found["against"][SCIKIT_LEARN]["equal_quality"]

    def again(*arguments):
        raise AssertionError("what is finished is kept")

    monkeypatch.setattr(speed, "run_workload", again)
    main(command)
    assert "xor: finished earlier" in capsys.readouterr().out

    shutil.copytree(tmp_path, tmp_path / "again")
    joined = tmp_path / "joined"
    main(["speed", "--join", str(tmp_path), str(tmp_path / "again"), "--out", str(joined)])
    together = json.loads((joined / "speed.json").read_text())["workloads"]["xor"]
    assert together["against"] == found["against"]
    assert together["turns"][OURS] == 2 * found["turns"][OURS]
    assert "2 runs (growth: one), 2 turns for each contestant" in (joined / "speed.md").read_text()
    assert "| xor | Keras | not installed |" in (joined / "speed.md").read_text()


RUN = {"edition": protocol.EDITION, "facts": {}, "threads": 2, "n_runs": 1, "growth": {}}
XOR = {"task": {"epochs": 4}, "contestants": {OURS: {"version": "1"}}}


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (RUN | {"threads": 1}, "the number of threads differ: 2 and 1"),
        (RUN | {"facts": {"Python": "3"}}, "the machine and the versions differ"),
        (RUN | {"workloads": {"xor": XOR | {"task": {"epochs": 1}}}}, "the task of xor differ"),
        (
            RUN | {"workloads": {"xor": XOR | {"contestants": {OURS: {"version": "2"}}}}},
            "the contestants of xor differ",
        ),
        (RUN | {"edition": 1}, "another edition of this benchmark: run it again"),
        ([], r"speed\.json is damaged"),
        (None, r"holds no finished run: speed\.json is missing"),
    ],
)
def test_only_finished_runs_of_the_same_work_are_joined(other, message, tmp_path):
    for name, run in (("one", RUN | {"workloads": {"xor": XOR}}), ("other", other)):
        (tmp_path / name).mkdir()
        if run is not None:
            (tmp_path / name / "speed.json").write_text(json.dumps(run))
    folders = [str(tmp_path / name) for name in ("one", "other")]
    with pytest.raises(SystemExit, match=message):
        main(["speed", "--out", str(tmp_path / "both"), "--join", *folders])
    assert not (tmp_path / "both").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--join", "a", "b", "--out", "c", "--rows", "5"], "--rows has no use"),
        (["--join", "a", "a", "--out", "c"], "each named once"),
        (["--join", "a", "b", "--out", "b"], "different folders"),
    ],
)
def test_joining_says_what_makes_no_sense(arguments, message, capsys):
    with pytest.raises(SystemExit):
        main(["speed", *arguments])
    assert message in capsys.readouterr().err


def test_the_ratio_is_the_median_of_neighbours():
    # Of three ratios, each is drawn three times in 1 of 27 cases: the interval is their range.
    assert protocol.ratio([2, 9, 12], [1, 3, 2]) == {"median": 3, "least": 2, "most": 6}


def test_a_ratio_at_worse_quality_does_not_count():
    found = {
        "median": 5.0,
        "least": 4.0,
        "most": 6.0,
        "equal_quality": False,
        "our_loss": 0.3,
        "loss": 0.2,
    }
    assert format_ratio(SCIKIT_LEARN, found) == "does not count: our loss 0.3, theirs 0.2"
    assert format_ratio(SCIKIT_LEARN, found | {"equal_quality": True}) == "5.00 (4.00 to 6.00)"


def test_a_failing_contestant_says_why(tmp_path):
    task = Workload("", "classifier").task(
        name="none", contestant=OURS, folder=str(tmp_path), threads=1, rows=None
    )
    with (
        pytest.raises(RuntimeError, match=r"(?s)skscratch ended: .*mnist\.npz"),
        protocol.Contestant.start(task),
    ):
        pass


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_workload_is_the_same_for_all_and_has_goals(name):
    workload = WORKLOADS[name]
    assert workload.contestants()[0] == OURS
    assert json.loads(json.dumps(workload.task()))
    goals = [goal for goal in workload.goals.values() if goal is not None]
    assert goals
    assert min(goals) >= 1


@pytest.mark.parametrize("axis", GROWTH)
def test_what_grows_is_named_in_every_point(axis):
    name, points = GROWTH[axis]
    assert name in WORKLOADS
    assert all(axis in point for point in points)


def test_the_wide_autoencoder_is_that_of_the_main_job():
    # A literal there, because a contestant imports nothing of skscratch before it is timed.
    encoder = settings.MNIST.encoder
    half = (*encoder["hidden_layer_sizes"], encoder["n_components"])
    assert WORKLOADS["ae-wide"].widths == half + half[-2::-1]
