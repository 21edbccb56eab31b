"""The README is short, and its commands are valid."""

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_readme_is_short():
    lines = TEXT.splitlines()
    assert len(lines) < 200
    assert max(map(len, lines)) <= 120


def command_after(marker):
    return re.search(rf"<!-- {marker} -->\n```sh\n(.*?)\n```", TEXT, re.DOTALL).group(1)


def test_the_main_command_has_the_documented_options():
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
    options = (ROOT / "docs" / "reproduce.md").read_text(encoding="utf-8")
    shown = re.findall(r"\[(--[a-z-]+)", options)
    assert "--data" in shown
    for option in shown:
        assert option in usage


def test_the_documented_extras_exist():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pages = [TEXT, *(page.read_text(encoding="utf-8") for page in (ROOT / "docs").glob("*.md"))]
    named = {
        extra
        for page in pages
        for extras in re.findall(r'"\.\[([a-z,]+)\]"', page)
        for extra in extras.split(",")
    }
    assert "test" in named
    assert named <= set(project["optional-dependencies"])


def test_ci_runs_exactly_the_test_command():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "<!-- tests -->" in script
    assert command_after("tests").endswith("python -m pytest --cov -n auto")
