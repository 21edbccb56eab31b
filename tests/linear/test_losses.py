"""The dual sets of the linear losses: projections, faces, tangents."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skscratch.linear import CrammerSinger, DualHinge


@pytest.mark.parametrize("n_classes", [1, 2, 5])
def test_simplex_projection(n_classes):
    V = np.random.default_rng(7).normal(size=(1, n_classes, 200)) * 3
    p = CrammerSinger(np.zeros(200, int), n_classes).project(V.copy())
    assert_allclose(p.sum(axis=1), 1.0)
    assert p.min() >= 0.0
    # The optimality condition: V - p is largest, and constant, on the support.
    rest = V - p
    shift = rest.max(axis=1, keepdims=True)
    assert_allclose(np.where(p > 0, rest - shift, 0.0), 0.0, atol=1e-12)


def test_tangents_span_the_faces():
    rng = np.random.default_rng(10)
    p = CrammerSinger(np.zeros(50, int), 4).project(rng.normal(size=(1, 4, 50)))
    signs_of_rows = DualHinge(np.where(rng.random((1, 50)) < 0.5, -1.0, 1.0))
    for loss, point in ((CrammerSinger(np.zeros(50, int), 4), p), (signs_of_rows, p[:, :1])):
        face = loss.face(point)
        Q, rows = loss.tangents(face)
        U = rng.normal(size=point.shape)
        projected = np.zeros_like(U[0].T)
        np.add.at(projected, rows, Q * np.sum(Q * U[0].T[rows], axis=1)[:, None])
        assert_allclose(projected, loss.face_component(U, face)[0].T, atol=1e-12)
