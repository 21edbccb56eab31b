import numpy as np
import pytest

from skscratch.core import Initializer

N_IN, N_OUT = 300, 200
# The variance of each, from its paper.
VARIANCE = {
    "zeros": 0.0,
    "ones": 0.0,
    "glorot_uniform": 2 / (N_IN + N_OUT),
    "glorot_normal": 2 / (N_IN + N_OUT),
    "he_uniform": 2 / N_IN,
    "he_normal": 2 / N_IN,
    "lecun_uniform": 1 / N_IN,
    "lecun_normal": 1 / N_IN,
    "fan_in_uniform": 1 / (3 * N_IN),
}


@pytest.mark.parametrize("name", Initializer.members())
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_mean_and_variance(name, dtype):
    W = np.empty((N_IN, N_OUT), dtype)
    Initializer.named(name).fill(W, N_IN, N_OUT, np.random.default_rng(0))
    assert abs(W.mean() - (name == "ones")) < 4 * np.sqrt(VARIANCE[name] / W.size) + 1e-12
    np.testing.assert_allclose(W.var(), VARIANCE[name], rtol=0.03)


@pytest.mark.parametrize("name", [n for n in Initializer.members() if "uniform" in n])
def test_uniform_has_its_bounds(name):
    W = np.empty((N_IN, N_OUT))
    Initializer.named(name).fill(W, N_IN, N_OUT, np.random.default_rng(0))
    bound = np.sqrt(3 * VARIANCE[name])
    assert 0.999 * bound < np.abs(W).max() <= bound


@pytest.mark.parametrize("name", [n for n in Initializer.members() if n not in ("zeros", "ones")])
def test_gain_scales_the_bounds(name):
    W, twice = np.empty((5, 4)), np.empty((5, 4))
    Initializer.named(name).fill(W, 5, 4, np.random.default_rng(1))
    Initializer.named(name, gain=2.0).fill(twice, 5, 4, np.random.default_rng(1))
    np.testing.assert_allclose(twice, 2 * W)
