import numpy as np

from skscratch.linear.systems import solve_definite


def test_a_definite_system_that_is_numerically_singular_is_solved():
    b = np.array([1.0, 1.0], np.float32)
    A = np.array([[1.0, 1.0 + 1e-7], [1.0 + 1e-7, 1.0]], np.float32)
    assert np.isfinite(solve_definite(A, b)).all()


def test_a_semidefinite_system_is_solved_where_it_has_a_solution():
    rng = np.random.default_rng(0)
    B = rng.normal(size=(6, 2)).astype(np.float32)
    A, b = B @ B.T, B @ np.array([1.0, -2.0], np.float32)
    np.testing.assert_allclose(A @ solve_definite(A.copy(), b), b, rtol=1e-3)
