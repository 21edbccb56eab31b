from benchmarks.streaming import memory_by_rows
from skscratch.datasets import load_digits


def test_ten_times_the_rows_take_hardly_more_memory(tmp_path):
    few, many = memory_by_rows(load_digits(), tmp_path).values()
    assert many < 1.2 * few
    assert list(tmp_path.iterdir()) == []
