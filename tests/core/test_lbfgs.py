import math

import numpy as np
import pytest

from skscratch.core import (
    LBFGS,
    Dense,
    DivergenceError,
    GaussianNoise,
    Network,
    Objective,
    SquaredError,
    Tanh,
    minimise_lbfgs,
)
from skscratch.core.interrupts import Interrupts
from skscratch.core.rows import ArrayRows

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(60, 4)), RNG.normal(size=(60, 2))


def linear(l2=0.0, rng=0):
    return Objective(Network([Dense(2)], 4, rng=rng), SquaredError(), l2=l2)


def curved(rng=0):
    network = Network([Dense(8), Tanh(), Dense(2)], 4, rng=rng)
    return Objective(network, SquaredError(), l2=0.01)


def test_a_linear_network_reaches_the_closed_form():
    objective = linear(l2=3.0)
    run = minimise_lbfgs(objective, X, Y, LBFGS(tol=1e-10))
    assert run.stopped == "converged"
    # The derivative of Σ ‖x W + b - y‖² + 1.5 ‖W‖², with centred columns, is 0.
    A, B = X - X.mean(axis=0), Y - Y.mean(axis=0)
    W = np.linalg.solve(A.T @ A + 1.5 * np.eye(4), A.T @ B)
    np.testing.assert_allclose(objective.network.views[0].W, W, atol=1e-6)
    b = Y.mean(axis=0) - X.mean(axis=0) @ W
    np.testing.assert_allclose(objective.network.views[0].b, b, atol=1e-6)


def test_there_is_one_record_for_each_iteration_and_the_losses_fall():
    objective, seen = curved(), []
    run = minimise_lbfgs(
        objective, X, Y, LBFGS(tol=0.0), max_epochs=12, on_epoch=lambda r: seen.append(r.n_epochs)
    )
    assert run.stopped is None
    assert seen == list(range(1, 13))
    assert len(run.losses) == len(run.rates) == len(run.norms) == 12
    assert (np.diff(run.losses) < 0).all()
    ws = objective.network.workspace(60, train=True)
    assert math.isclose(objective.value_and_grad(X, Y, ws), run.losses[-1], rel_tol=1e-12)


@pytest.mark.parametrize("n_threads", [2, 3])
def test_the_number_of_threads_does_not_change_a_bit(n_threads):
    one, several = curved(), curved()
    minimise_lbfgs(one, X, Y, max_epochs=10)
    minimise_lbfgs(several, X, Y, max_epochs=10, n_threads=n_threads)
    np.testing.assert_array_equal(one.network.params, several.network.params)


def test_integer_weights_equal_repeated_rows():
    weight = RNG.integers(0, 4, size=60)
    weighted, repeated = curved(), curved()
    minimise_lbfgs(weighted, X, Y, LBFGS(tol=0.0), max_epochs=8, weight=weight.astype(float))
    rows = np.repeat(np.arange(60), weight)
    minimise_lbfgs(repeated, X[rows], Y[rows], LBFGS(tol=0.0), max_epochs=8)
    np.testing.assert_allclose(weighted.network.params, repeated.network.params, rtol=1e-6)


def test_reasons_to_stop():
    assert minimise_lbfgs(curved(), X, Y, LBFGS(max_evaluations=4)).stopped == "max_evaluations"
    assert minimise_lbfgs(curved(), X, Y, max_epochs=2).stopped is None
    run = minimise_lbfgs(curved(), X, Y, on_epoch=lambda r: r.n_epochs == 3)
    assert (run.stopped, run.n_epochs) == ("on_epoch", 3)


def test_max_epochs_is_the_reason_if_both_limits_are_reached():
    run = minimise_lbfgs(curved(), X, Y, LBFGS(tol=0.0, max_evaluations=4), max_epochs=3)
    assert (run.stopped, run.n_epochs) == (None, 3)


def test_no_epochs_and_no_weight_change_nothing():
    objective = curved()
    before = objective.network.params.copy()
    assert minimise_lbfgs(objective, X, Y, max_epochs=0).losses == []
    run = minimise_lbfgs(objective, X, Y, weight=np.zeros(60))
    assert run.stopped == "converged"
    np.testing.assert_array_equal(objective.network.params, before)


@pytest.mark.parametrize("place", ["validate", "before_epoch", "on_epoch"])
def test_a_stop_iteration_is_an_error_like_any_other(place):
    def fail(*arguments):
        raise StopIteration("from the caller")

    with pytest.raises(StopIteration, match="from the caller"):
        minimise_lbfgs(curved(), X, Y, **{place: fail})


def test_the_rows_are_taken_once():
    class Counted(ArrayRows):
        n_taken = 0

        def take(self, rows, out):
            Counted.n_taken += 1
            return super().take(rows, out)

    run = minimise_lbfgs(curved(), Counted(X), Y, max_epochs=8)
    assert run.n_epochs == 8
    assert Counted.n_taken == 1


def test_at_the_optimum_the_evaluation_counts_as_an_iteration():
    objective = linear()
    minimise_lbfgs(objective, X, Y, LBFGS(tol=1e-12))
    before = objective.network.params.copy()
    run = minimise_lbfgs(objective, X, Y, LBFGS(tol=1e-3))
    assert (run.stopped, run.n_epochs) == ("converged", 1)
    assert math.isfinite(run.losses[0])
    np.testing.assert_array_equal(objective.network.params, before)


def test_the_parameters_of_the_best_score_are_kept():
    objective, scores, kept = curved(), iter([1.0, 5.0, 2.0, 3.0]), []

    def validate():
        kept.append(objective.network.params.copy())
        return next(scores)

    run = minimise_lbfgs(
        objective, X, Y, LBFGS(tol=0.0), max_epochs=4, validate=validate, keep_best=True
    )
    assert run.scores == [1.0, 5.0, 2.0, 3.0]
    np.testing.assert_array_equal(objective.network.params, kept[1])


def test_ctrl_c_keeps_the_parameters_of_the_last_complete_iteration():
    whole, stopped = curved(), curved()
    interrupts = Interrupts()

    def press(run):
        interrupts.requested = run.n_epochs == 5

    minimise_lbfgs(whole, X, Y, max_epochs=5)
    run = minimise_lbfgs(stopped, X, Y, on_epoch=press, interrupts=interrupts)
    assert (run.stopped, run.n_epochs) == ("interrupted", 5)
    np.testing.assert_array_equal(stopped.network.params, whole.network.params)
    pressed_at_once = Interrupts()
    pressed_at_once.requested = True
    run = minimise_lbfgs(whole, X, Y, interrupts=pressed_at_once)
    assert (run.stopped, run.losses) == ("interrupted", [])
    np.testing.assert_array_equal(stopped.network.params, whole.network.params)


def test_values_that_are_not_finite_raise():
    with pytest.raises(DivergenceError, match="not finite"):
        minimise_lbfgs(linear(), X * 1e200, Y)


def test_a_layer_that_draws_random_numbers_is_refused():
    network = Network([GaussianNoise(), Dense(2)], 4, rng=0)
    with pytest.raises(ValueError, match="random"):
        minimise_lbfgs(Objective(network, SquaredError()), X, Y)
