"""What the README shows is run here."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from skscratch.core import Activation, Layer

README = Path(__file__).parents[1] / "README.md"
TEXT = README.read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)


@pytest.fixture
def registries_as_before():
    before = [(family, dict(family._members)) for family in (Activation, Layer)]
    yield
    for family, members in before:
        family._members.clear()
        family._members.update(members)


@pytest.mark.usefixtures("registries_as_before")
def test_the_code_runs_from_top_to_bottom(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert len(BLOCKS) >= 4
    names = {"__name__": "readme"}
    for block in BLOCKS:
        exec(compile(block, str(README), "exec"), names)
    printed = capsys.readouterr().out
    assert "encoder__n_components" in printed
    assert names["search"].score(names["X_test"], names["y_test"]) > 0.9


def command_after(marker):
    return re.search(rf"<!-- {marker} -->\n```sh\n(.*?)\n```", TEXT, re.DOTALL).group(1)


def test_the_main_job_s_command_is_real():
    *_, last = command_after("main job").split("&&")
    words = shlex.split(last)
    assert words[0].endswith("/skscratch")
    run = subprocess.run(
        [sys.executable, "-m", "skscratch", *words[1:], "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    usage = " ".join(run.stdout.split())
    for option in re.findall(r"\[(--[a-z-]+)", TEXT):
        assert option in usage


def test_ci_runs_exactly_the_test_command():
    script = (README.parent / ".ci" / "run").read_text(encoding="utf-8")
    assert "<!-- tests -->" in script
    assert command_after("tests").endswith("python -m pytest --cov -n auto")


@pytest.mark.parametrize("name", ["figures", "keras", "autoencoder", "speed", "shares", "svm"])
def test_the_tables_of_figures_are_whole(name):
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    assert TEXT.count(begin) == TEXT.count(end) == 1
    text = TEXT.partition(begin)[2].partition(end)[0]
    tables = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert tables
    for table in tables:
        header, rule, *body = [row.strip().strip("|").split("|") for row in table.splitlines()]
        assert body
        assert {len(row) for row in (rule, *body)} == {len(header)}
        assert all(set(cell.strip()) <= {"-", ":"} for cell in rule)
        for label, *figures in body:
            assert label.strip()
            assert any(re.search(r"\d", cell) for cell in figures), label
            assert not any(re.search(r"\b(nan|inf|None)\b", cell) for cell in figures), label
