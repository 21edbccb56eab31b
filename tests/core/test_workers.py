import itertools
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skscratch.core import Dense, Tanh
from skscratch.core.network import PREDICT_ROWS
from skscratch.core.rows import ArrayRows
from skscratch.core.workers import (
    MAX_SHARDS,
    MIN_SHARD_ROWS,
    SMALL_WORK,
    Workers,
    predict,
    shards,
)
from tests.core.common import network, rows


@given(st.integers(1, 10**6), st.integers(1, 10**8))
def test_shards_cover_the_batch_in_order(n_rows, n_params):
    cut = shards(n_rows, n_params)
    assert 1 <= len(cut) <= MAX_SHARDS
    assert cut[0].start == 0
    assert cut[-1].stop == n_rows
    assert all(a.stop == b.start for a, b in itertools.pairwise(cut))
    assert all(s.stop > s.start for s in cut)
    if n_rows * n_params < SMALL_WORK:
        assert len(cut) == 1
    assert cut == shards(n_rows, n_params, n_rows * n_params)


@given(st.integers(1, 10**6), st.integers(1, 10**8), st.floats(0, 1e14))
def test_no_shard_has_less_work_than_a_gradient_is_worth(n_rows, n_params, work):
    cut = shards(n_rows, n_params, work)
    assert len(cut) == 1 or work / len(cut) >= MIN_SHARD_ROWS * n_params
    assert (cut[0].start, cut[-1].stop) == (0, n_rows)
    assert all(s.stop > s.start for s in cut)


@pytest.mark.parametrize("n_threads", [1, 2, 3])
@pytest.mark.parametrize("n_jobs", [0, 1, 2, 7])
def test_every_job_runs_once_and_on_its_thread(n_threads, n_jobs):
    done, who = [0] * n_jobs, [None] * n_jobs

    def job(k):
        done[k] += 1
        who[k] = threading.get_ident()

    with Workers(n_threads) as workers:
        for _ in range(5):
            workers.run([lambda k=k: job(k) for k in range(n_jobs)])
    assert done == [5] * n_jobs
    assert len(set(who)) == min(n_threads, n_jobs)
    if n_jobs:
        assert who[0] == threading.get_ident()


def fail():
    raise RuntimeError("from a job")


def nothing():
    pass


@pytest.mark.parametrize("jobs", [[fail, nothing], [nothing, fail]], ids=["caller", "helper"])
def test_an_error_in_a_job_reaches_the_caller_and_the_pool_survives(jobs):
    with Workers(2) as workers:
        with pytest.raises(RuntimeError, match="from a job"):
            workers.run(jobs)
        workers.run([nothing, nothing])


def test_threads_end_with_the_pool():
    before = set(threading.enumerate())
    with Workers(4) as workers:
        workers.run([nothing] * 4)
        opened = set(threading.enumerate()) - before
        assert len(opened) == 3
    for thread in opened:
        thread.join(timeout=60)
        assert not thread.is_alive()


def test_numpy_error_state_reaches_the_threads():
    def overflow():
        np.exp(np.array([1000.0]))

    with np.errstate(over="raise"), Workers(2) as workers, pytest.raises(FloatingPointError):
        workers.run([nothing, overflow])


@pytest.mark.parametrize("n", [1, PREDICT_ROWS, 3 * PREDICT_ROWS + 5])
def test_prediction_has_the_same_bits_for_any_number_of_threads(n):
    net, X = network(Dense(40), Tanh(), Dense(3)), rows(n)
    results = []
    for n_threads in (1, 2, 5):
        out = np.full((n, 3), np.nan)
        predict(
            net,
            ArrayRows(X),
            lambda block, y, out=out: np.copyto(out[block], y),
            n_threads,
        )
        results.append(out)
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])
    np.testing.assert_array_equal(results[0], net(X))


@pytest.mark.parametrize("n_threads", [2, 4])
def test_a_job_runs_ahead_and_the_next_run_waits_for_it(n_threads):
    began, may_end, done = threading.Event(), threading.Event(), []

    def ahead():
        began.set()
        may_end.wait()
        done.append(threading.current_thread())

    with Workers(n_threads) as workers:
        workers.run_ahead(ahead)
        assert began.wait(10)
        assert done == []
        threading.Timer(0.05, may_end.set).start()
        workers.run([lambda: done.append(None)])
        assert done[0] not in (threading.main_thread(), None)
        assert done[1:] == [None]


def test_a_job_ahead_is_waited_for_by_the_next_one_and_by_the_end():
    done = []
    with Workers(2) as workers:
        for k in range(5):
            workers.run_ahead(lambda k=k: done.append(k))
    assert done == list(range(5))


def test_an_error_ahead_is_raised_by_the_next_run():
    def fails():
        raise KeyError("ahead")

    with Workers(2) as workers:
        workers.run_ahead(fails)
        with pytest.raises(KeyError, match="ahead"):
            workers.run([lambda: None])
        workers.run([lambda: None])
