import numpy as np

from skscratch.linear.systems import solve_definite


def test_a_definite_system_that_is_numerically_singular_is_solved():
    b = np.array([1.0, 1.0], np.float32)
    A = np.array([[1.0, 1.0 + 1e-7], [1.0 + 1e-7, 1.0]], np.float32)
    assert np.isfinite(solve_definite(A, b)).all()
