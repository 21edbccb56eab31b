import numpy as np
import pytest

from skscratch.core import ELU, Activation, LeakyReLU
from tests.core.common import network

X = np.array([[-30.0, -2.5, -0.3, 0.7, 4.0]])
# mpmath 1.4.1, 30 digits, from the formulas of the papers.
EXPECTED = {
    "identity": [-30.0, -2.5, -0.3, 0.7, 4.0],
    "logistic": [
        9.357622968839299e-14,
        0.07585818002124355,
        0.425557483188341,
        0.668187772168166,
        0.9820137900379085,
    ],
    "tanh": [
        -1.0,
        -0.9866142981514303,
        -0.2913126124515909,
        0.6043677771171635,
        0.999329299739067,
    ],
    "relu": [0.0, 0.0, 0.0, 0.7, 4.0],
    "leaky_relu": [-0.3, -0.025, -0.003, 0.7, 4.0],
    "elu": [-0.9999999999999064, -0.9179150013761012, -0.2591817793182821, 0.7, 4.0],
    "gelu": [
        0.0,
        -0.015084266089998582,
        -0.11462907645724076,
        0.5305701347051167,
        3.9999297540518075,
    ],
    "silu": [
        -2.8072868906517896e-12,
        -0.18964545005310887,
        -0.1276672449565023,
        0.46773144051771626,
        3.928055160151634,
    ],
    "softplus": [
        9.357622968839737e-14,
        0.07888973429254963,
        0.5543552444685271,
        1.103186048885458,
        4.0181499279178094,
    ],
    "softmax": [
        1.6292599604793963e-15,
        0.0014291856175361669,
        0.012898419491460998,
        0.03506153931948039,
        0.9506108555715208,
    ],
}


@pytest.mark.parametrize("name", Activation.members())
def test_values(name):
    y = network(Activation.named(name))(X)
    np.testing.assert_allclose(y[0], EXPECTED[name], rtol=1e-13, atol=1e-16)


@pytest.mark.parametrize("name", Activation.members())
def test_float32_is_float32_and_close(name):
    y = network(Activation.named(name), dtype=np.float32)(X)
    assert y.dtype == np.float32
    np.testing.assert_allclose(y[0], EXPECTED[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", Activation.members())
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_extreme_inputs_give_finite_outputs(name, dtype):
    largest = float(np.sqrt(np.finfo(dtype).max)) / 10
    if name == "gelu":
        largest **= 0.5  # x³ must not overflow
    extremes = np.array([[-largest, -1000.0, 0.0, 1000.0, largest]], dtype)
    assert np.isfinite(network(Activation.named(name), dtype=dtype)(extremes)).all()


@pytest.mark.parametrize("name", ["leaky_relu", "elu"])
def test_the_hyperparameter_has_an_effect(name):
    field = {"leaky_relu": "slope", "elu": "alpha"}[name]
    y = network(Activation.named(name, **{field: 0.5}))(X)
    assert not np.allclose(y, EXPECTED[name])


@pytest.mark.parametrize("slope", [-0.1, 1.1, np.nan])
def test_invalid_negative_slopes_are_refused(slope):
    with pytest.raises(ValueError, match=r"slope of 'leaky_relu' must be in \[0, 1\]"):
        LeakyReLU(slope)


def test_a_negative_alpha_of_elu_is_refused():
    with pytest.raises(ValueError, match="alpha of 'elu' must be at least 0"):
        ELU(-0.5)
