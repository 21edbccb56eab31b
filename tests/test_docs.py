"""The Python code of the README and of the pages in docs/ runs, and their links are valid."""

import importlib.util
import re
import sys
import types
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [README, *DOCS, ROOT / "benchmarks" / "RESULTS.md"]


def python_blocks(page):
    text = page.read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


@pytest.fixture
def run_page(tmp_path, monkeypatch, registries_as_before):
    """Return a function that runs a page as a separate module, so that classes can be pickled."""
    monkeypatch.chdir(tmp_path)

    def run(page):
        module = types.ModuleType(f"page_{page.stem}")
        monkeypatch.setitem(sys.modules, module.__name__, module)
        for block in python_blocks(page):
            code = compile(block, str(page), "exec", dont_inherit=True)
            exec(code, vars(module))
        return vars(module)

    return run


def test_the_readme_runs_from_top_to_bottom(run_page, capsys):
    names = run_page(README)
    assert "encoder__n_components" in capsys.readouterr().out
    assert names["search"].score(names["X_test"], names["y_test"]) > 0.9


# scikit-learn's checks train for few epochs on purpose, and use unusual data.
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.DataConversionWarning")
@pytest.mark.filterwarnings("ignore:Got `batch_size` less than 1:UserWarning")
@pytest.mark.filterwarnings("ignore:X (has|does not have valid) feature names:UserWarning")
# Keras passes NumPy 2 an array type without the argument `copy`.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.stem)
def test_a_page_runs_from_top_to_bottom(page, run_page):
    if page.stem == "keras" and importlib.util.find_spec("tensorflow") is None:
        pytest.skip("needs TensorFlow")
    run_page(page)


def test_every_kind_of_component_is_explained_and_checked():
    code = "\n".join(python_blocks(ROOT / "docs" / "custom_components.md"))
    for check in ("check_layer", "check_loss", "check_optimizer", "check_estimator"):
        assert re.search(rf"^{check}\(", code, re.MULTILINE), check


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_point_to_existing_files_and_headings(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if target.startswith("https://"):
            continue
        path, _, heading = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        if heading:
            titles = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            anchors = [re.sub(r"[^\w\- ]", "", t.lower()).replace(" ", "-") for t in titles]
            assert heading in anchors, target


def test_every_page_is_listed():
    for listing in (README, ROOT / "docs" / "index.md"):
        text = listing.read_text(encoding="utf-8")
        for page in DOCS:
            if page.stem != "index":
                assert f"{page.name})" in text, (listing.name, page.name)
