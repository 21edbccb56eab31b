import pytest

from benchmarks import shares
from benchmarks.__main__ import main


def test_shares_of_a_fit_add_up(tmp_path, capsys):
    main(["shares", "--out", str(tmp_path), "--workload", "pipeline-search", "--rows", "200"])
    header, _, row, _, facts = (tmp_path / "shares.md").read_text().splitlines()
    assert "one thread" in facts
    assert header.split(" | ")[1:] == [*shares.KINDS[:-1], shares.REST + " |"]
    figures = [int(cell.strip(" %|")) for cell in row.split(" | ")[1:]]
    assert sum(figures) == pytest.approx(100, abs=len(figures))
    assert figures[shares.KINDS.index(shares.PRODUCTS)] > 0
    assert figures[shares.KINDS.index("LinearSVM")] > 0
    assert row in capsys.readouterr().out
