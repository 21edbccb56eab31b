import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from skscratch.core import Dense, Huber, Loss, LossBuffers, Network, Pinball, Zeros
from tests.core.common import rows, target_for, weights

LOSSES = pytest.mark.parametrize("name", Loss.members())


def value_and_grad(loss, raw, target, scale=1.0):
    b = LossBuffers.over(*[np.full_like(raw, np.nan) for _ in range(3)], np.empty_like(raw[:, :1]))
    # Training ignores overflow too: exp(800) is inf and 1 / (1 + inf) is correctly 0.
    with np.errstate(over="ignore"):
        return loss.value_and_grad(raw, target, scale, b), b.grad


# raw, target, loss of each entry (mpmath 1.4.1 with 30 digits, or by hand)
GOLDEN = {
    "squared_error": ([3.0, -1.0], [1.0, -1.0], [4.0, 0.0]),
    "absolute_error": ([3.0, -1.0], [1.0, -1.5], [2.0, 0.5]),
    "huber": ([3.0, -1.0, 0.0], [1.0, -1.5, 1.0], [1.5, 0.125, 0.5]),
    "pinball": ([3.0, -1.0], [1.0, 1.0], [1.0, 1.0]),
    "binary_log_loss": (
        [-800.0, -1.2, 35.0, -800.0, 0.4, 35.0],
        [0.0, 0.0, 0.0, 1.0, 1.0, 1.0],
        [0.0, 0.2632824673380312, 35.0, 800.0, 0.5130152523999526, 6.305116760146958e-16],
    ),
    "log_loss": ([1000.0, 998.0, -5.0], [0.0, 1.0, 0.0], [0.0, 2.1269280110429727, 0.0]),
    "hinge": ([2.0, 0.5, -1.0, 1.0], [1.0, 1.0, 1.0, -1.0], [0.0, 0.5, 2.0, 2.0]),
    "squared_hinge": ([2.0, 0.5, -1.0, 1.0], [1.0, 1.0, 1.0, -1.0], [0.0, 0.25, 4.0, 4.0]),
    "multiclass_hinge": ([0.5, 0.2, 0.9], [1.0, 0.0, 0.0], [1.4, 0.0, 0.0]),
    "poisson": (
        [-1.5, 0.2, 2.0],
        [0.0, 3.0, 7.0],
        [0.22313016014842982, 0.9172396241644989, 0.010427142317843363],
    ),
}


@LOSSES
def test_values(name):
    raw, target, expected = (np.array([values]) for values in GOLDEN[name])
    loss = Loss.named(name)
    with np.errstate(over="ignore"):
        np.testing.assert_allclose(loss.of_rows(raw, target), [expected.sum()], rtol=1e-13)
    value, _ = value_and_grad(loss, raw, target)
    np.testing.assert_allclose(value, expected.sum(), rtol=1e-13)


@LOSSES
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_integer_weights_equal_repeated_rows(name, dtype):
    raw, target = rows(width=3, dtype=dtype), target_for(name, dtype=dtype)
    weight = weights(dtype=dtype)
    again = weight.astype(int)
    value, grad = value_and_grad(Loss.named(name), raw, target, weight.reshape(-1, 1))
    repeated, _ = value_and_grad(
        Loss.named(name), np.repeat(raw, again, axis=0), np.repeat(target, again, axis=0)
    )
    _, once = value_and_grad(Loss.named(name), raw, target)
    np.testing.assert_allclose(value, repeated, rtol=1e-5 if dtype == np.float32 else 1e-13)
    np.testing.assert_allclose(grad, once * weight[:, None], rtol=1e-6)
    assert grad.dtype == dtype


@LOSSES
def test_outputs_may_have_different_weights(name):
    raw, target, weight = rows(width=3), target_for(name), np.abs(rows(width=3, seed=5))
    value, grad = value_and_grad(Loss.named(name), raw, target, weight)
    _, plain = value_and_grad(Loss.named(name), raw, target)
    np.testing.assert_allclose(grad, plain * weight)
    equal, _ = value_and_grad(Loss.named(name), raw, target, np.full((7, 3), 2.0))
    np.testing.assert_allclose(equal, value_and_grad(Loss.named(name), raw, target, 2.0)[0])
    assert np.isfinite(value)


@LOSSES
def test_inputs_are_not_modified(name):
    raw, target = rows(width=3), target_for(name)
    before = raw.copy(), target.copy()
    raw.flags.writeable = target.flags.writeable = False
    value_and_grad(Loss.named(name), raw, target)
    Loss.named(name).predict(raw)
    np.testing.assert_array_equal(raw, before[0])
    np.testing.assert_array_equal(target, before[1])


@LOSSES
def test_a_loss_is_never_negative_and_zero_at_its_target(name):
    loss, target = Loss.named(name), target_for(name)
    assert (loss.of_rows(rows(width=3), target) >= 0).all()
    best = {
        "binary_log_loss": lambda t: 60.0 * (2 * t.round() - 1),
        "log_loss": lambda t: 60.0 * t,
        "multiclass_hinge": lambda t: 2.0 * t,
        "poisson": lambda t: np.log(np.maximum(t, 1e-30)),
    }.get(name, lambda t: t)
    if name == "binary_log_loss":
        target = target.round()

    np.testing.assert_allclose(loss.of_rows(best(target), target), 0, atol=1e-12)


@LOSSES
def test_predict_is_the_inverse_link(name):
    raw = rows(width=3)
    predicted = Loss.named(name).predict(raw)
    expected = {
        # Several quantiles are encoded as positive differences.
        "identity": np.cumsum(np.c_[raw[:, :1], np.log1p(np.exp(raw[:, 1:]))], axis=1)
        if name == "pinball"
        else raw,
        "logistic": 1 / (1 + np.exp(-raw)),
        "softmax": np.exp(raw) / np.exp(raw).sum(axis=1, keepdims=True),
        "exp": np.exp(raw),
    }[Loss.named(name).link]
    np.testing.assert_allclose(predicted, expected, rtol=1e-13)


@given(
    hnp.arrays(float, 4, elements=st.floats(-1e6, 1e6)),
    hnp.arrays(float, 4, elements=st.floats(-1e6, 1e6)),
    st.floats(1e-3, 1e3),
)
def test_huber_lies_between_its_branches(raw, target, delta):
    d = np.abs(raw - target)
    huber = Huber(delta).of_rows(raw.reshape(-1, 1), target.reshape(-1, 1))
    expected = np.where(d <= delta, d**2 / 2, delta * (d - delta / 2))
    np.testing.assert_allclose(huber, expected, rtol=1e-9, atol=1e-12)


# Intervals of targets


OUTSIDE = {"share": 5.0, "one-hot": -0.5, "sign": 1.5, "count": -1.0, "real": None}


@pytest.mark.parametrize("name", Loss.members())
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_targets_outside_the_interval_are_refused(name, dtype):
    loss = Loss.named(name)
    target = target_for(name, dtype=dtype)
    loss.check_targets(target)
    if OUTSIDE[loss.targets] is None:
        loss.check_targets(1e30 * target)
        return
    for bad in (OUTSIDE[loss.targets], np.nan):
        target[2, 1] = bad
        with pytest.raises(ValueError, match=f"{name!r} requires targets from .* range from"):
            loss.check_targets(target)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["binary_log_loss", "log_loss"])
def test_targets_outside_by_rounding_count_as_the_end(name, dtype):
    unit = np.finfo(dtype).eps
    for n_units, allowed in ((1, True), (8, True), (16, False)):
        for target in (1 + n_units * unit, -n_units * unit):
            array = np.array([[0.5, target]], dtype)
            low, high = float(array.min()), float(array.max())
            assert Loss.named(name).allows(low, high, array.dtype) is allowed
    # Integers have no rounding errors.
    assert Loss.named(name).allows(0, 1, np.dtype(np.uint8))


# Baselines


@LOSSES
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_baseline_is_the_best_constant(name, dtype):
    loss, target, weight = Loss.named(name), target_for(name, dtype=dtype), weights(dtype=dtype)
    start = loss.baseline(target, weight)
    assert start.dtype == dtype

    def value(raw):
        raw = np.repeat(raw[np.newaxis].astype(np.float64), len(target), axis=0)
        return float(weight @ loss.of_rows(raw, target.astype(np.float64)))

    least = value(start)
    # No class gets probability 0, which changes the value by about a millionth.
    tolerance = 1e-5
    rng = np.random.default_rng(0)
    # The losses are convex, so a local minimum is the global one.
    for size in (1e-3, 1e-1, 1.0, 10.0):
        for direction in rng.normal(size=(50, len(start))):
            assert least <= value(start + size * direction) * (1 + tolerance)


@LOSSES
def test_integer_weights_equal_repeated_rows_in_the_baseline(name):
    loss, target, weight = Loss.named(name), target_for(name), weights()
    repeated = np.repeat(target, weight.astype(int), axis=0)
    expected = loss.baseline(repeated)
    np.testing.assert_allclose(loss.baseline(target, weight), expected, rtol=1e-12, atol=1e-14)


@LOSSES
def test_the_baseline_of_whole_numbers_is_that_of_floats(name):
    target = np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0]])
    target = 2 * target - 1 if Loss.named(name).targets == "sign" else target
    expected = Loss.named(name).baseline(target)
    for dtype in (np.int8, np.int64):
        found = Loss.named(name).baseline(target.astype(dtype))
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == np.float64


def test_the_baseline_of_huber_is_not_lost_to_an_outlier():
    target = np.array([[1.0], [2.0], [3.0], [1e30]])
    start = Huber(1.0).baseline(target)
    # The clipped differences above and below are equal.
    assert np.clip(start - target, -1, 1).sum() == pytest.approx(0, abs=1e-9)


def test_the_baseline_sums_small_weights_exactly():
    target = np.arange(10.0)[:, np.newaxis]
    weight = np.full(10, 0.1, np.float32)
    assert Loss.named("absolute_error").baseline(target, weight) == 4.0


def test_the_baseline_of_several_quantiles_is_the_quantiles():
    loss = Pinball((0.1, 0.5, 0.9))
    target = np.repeat(np.random.default_rng(0).normal(size=(999, 1)), 3, axis=1)
    predicted = loss.predict(loss.baseline(target)[np.newaxis])[0]
    expected = np.quantile(target[:, 0], loss.quantiles, method="inverted_cdf")
    np.testing.assert_allclose(predicted, expected, rtol=1e-12)


@pytest.mark.parametrize("name", ["binary_log_loss", "log_loss", "poisson"])
def test_the_baseline_is_never_certain(name):
    target = np.zeros((20, 2))
    if name == "log_loss":
        target[:, 0] = 1
    assert np.abs(Loss.named(name).baseline(target)).max() < 15


def test_training_can_start_from_the_baseline():
    target = np.random.default_rng(0).poisson(3.0, size=(50, 2)).astype(float)
    loss = Loss.named("poisson")
    network = Network([Dense(2, Zeros())], n_in=3)
    network.views[0].b[:] = loss.baseline(target)
    expected = np.repeat(target.mean(axis=0)[np.newaxis], 4, axis=0)
    np.testing.assert_allclose(loss.predict(network(np.ones((4, 3)))), expected)
