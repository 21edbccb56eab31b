"""The commands of the benchmarks, and that the documents show the real ones."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.__main__ import COMMANDS, main

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "benchmarks" / "RESULTS.md",
]


def help_of(command, capsys):
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    return capsys.readouterr().out


def test_all_commands_are_listed(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    for command, what in COMMANDS.items():
        assert re.search(rf"^{command} +{what}$", text, re.MULTILINE)


def test_an_unknown_command_is_refused(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["contest"])
    assert caught.value.code == 2
    assert "invalid choice: 'contest'" in capsys.readouterr().err


def commands_in(text):
    """Every command of the benchmarks in a text, as a list of words."""
    markdown = re.findall(r"`python -m benchmarks\b([^`]*)`", text)
    docstring = re.findall(r"^    python -m benchmarks\b(.*(?:\n {20,}.*)*)", text, re.MULTILINE)
    for found in (*markdown, *docstring):
        if words := shlex.split(re.sub(r"[\[\]]", " ", found)):
            yield words


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_documents_show_real_commands(page, capsys):
    check(page.read_text(encoding="utf-8"), capsys)


def test_the_results_page_shows_every_command():
    text = (ROOT / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8")
    assert {words[0] for words in commands_in(text)} == set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_explains_itself(command, capsys):
    text = help_of(command, capsys)
    assert text.startswith(f"usage: python -m benchmarks {command}")
    assert {words[0] for words in commands_in(text)} == {command}
    check(text, capsys)


def check(text, capsys):
    for words in commands_in(text):
        assert words[0] in COMMANDS, words
        known = re.findall(r"^  (--[a-z-]+)", help_of(words[0], capsys), re.MULTILINE)
        for option in (word for word in words if word.startswith("--")):
            assert option in known, words


def test_the_main_module_loads_nothing_of_a_benchmark():
    code = (
        "import sys, benchmarks.__main__\n"
        "print(sorted({'numpy', 'sklearn', 'skscratch'} & set(sys.modules)))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert run.stdout.strip() == "[]"
