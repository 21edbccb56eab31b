from concurrent.futures import ThreadPoolExecutor

import numpy as np
from threadpoolctl import threadpool_limits

from skscratch.core import Dense, Tanh
from skscratch.core.blas import SingleThreadedBLAS
from tests.core.common import network, rows


def test_nested_blas_limits_are_counted_and_lifted():
    blas = SingleThreadedBLAS()
    with threadpool_limits(2, user_api="blas"):
        assert blas.threads_allowed() == 2
        with blas:
            with blas:
                assert blas.threads_allowed() == 1
            # The end of the inner context must not lift the limit of the outer one.
            assert blas.threads_allowed() == 1
        assert blas.threads_allowed() == 2


def test_any_thread_can_open_the_limit_and_any_other_close_it():
    blas = SingleThreadedBLAS()

    def in_another_thread(function):
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(function).result()

    with threadpool_limits(2, user_api="blas"):
        with blas:
            assert in_another_thread(blas.threads_allowed) == 1
        in_another_thread(blas.__enter__)
        assert blas.threads_allowed() == 1
        blas.__exit__(None, None, None)
        assert blas.threads_allowed() == 2
        blas.__enter__()
        in_another_thread(lambda: blas.__exit__(None, None, None))
        assert blas.threads_allowed() == 2


def test_the_number_of_blas_threads_does_not_change_a_bit_of_a_network_s_outputs():
    net, X = network(Dense(300), Tanh(), Dense(8), n_in=200), rows(700, 200)
    results = []
    for limit in (1, 2):
        with threadpool_limits(limit, user_api="blas"):
            results.append(net(X))
    np.testing.assert_array_equal(*results)
