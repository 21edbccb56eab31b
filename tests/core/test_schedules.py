import math

import pytest

from skscratch.core import Adaptive, Constant, Cosine, InverseScaling, OneCycle, Schedule
from skscratch.core.schedules import Clock

SCHEDULES = pytest.mark.parametrize("name", Schedule.members())


def rates(schedule, n_steps=100):
    return [schedule.rate(Clock(step=t, n_steps=n_steps)) for t in range(n_steps + 5)]


@SCHEDULES
def test_rates_lie_between_0_and_the_initial_rate(name):
    assert all(0 <= rate <= 0.3 for rate in rates(Schedule.named(name, initial=0.3)))


@SCHEDULES
def test_the_initial_rate_scales(name):
    small = rates(Schedule.named(name, initial=0.1))
    assert [2 * r for r in small] == pytest.approx(rates(Schedule.named(name, initial=0.2)))


def test_constant():
    assert set(rates(Constant(0.3))) == {0.3}


def test_invscaling_equals_scikit_learns():
    # scikit-learn keeps the initial rate in the first epoch, then learning_rate_init / (t + 1)^p.
    schedule = InverseScaling(0.3, power=0.5)
    assert schedule.rate(Clock(samples=0)) == 0.3
    assert schedule.rate(Clock(epoch=1, samples=99)) == pytest.approx(0.03)
    assert schedule.rate(Clock(epoch=0, samples=99)) == 0.3


def test_adaptive_divides_by_five_until_it_is_tiny():
    schedule = Adaptive(1.0)
    assert schedule.rate(Clock(plateaus=2)) == pytest.approx(0.04)
    assert schedule.lowers_on_plateau(Clock(plateaus=8))
    assert not schedule.lowers_on_plateau(Clock(plateaus=9))
    assert not Constant().lowers_on_plateau(Clock())


def test_cosine_halves_in_the_middle_and_ends_at_0():
    curve = rates(Cosine(1.0))
    assert curve[0] == 1.0
    assert curve[50] == pytest.approx(0.5)
    assert curve[25] == pytest.approx((1 + math.cos(math.pi / 4)) / 2)
    assert curve[100] == curve[104] == 0.0
    assert curve == sorted(curve, reverse=True)


@pytest.mark.parametrize("n_steps", [1, 2, 3, 10, 1000])
def test_one_cycle_rises_then_falls(n_steps):
    curve = rates(OneCycle(1.0), n_steps)[:n_steps]
    top = curve.index(max(curve))
    assert curve[: top + 1] == sorted(curve[: top + 1])
    assert curve[top:] == sorted(curve[top:], reverse=True)
    assert all(rate > 0 for rate in curve)
    if n_steps >= 10:
        assert top == pytest.approx(0.1 * n_steps, abs=1)
        assert max(curve) == 1.0
