import numpy as np

from skscratch.core import Dense, Sigmoid, Tanh
from skscratch.experiments import run_xor
from skscratch.experiments.xor import TARGET_LOSS, is_solved, make_network


def test_the_network_of_the_reports_solves_it():
    seen = []
    result = run_xor(n_seeds=4, on_seed=seen.append)
    kinds = [type(layer) for layer in result.network.layers]
    assert kinds == [Dense, Tanh, Dense, Sigmoid]
    assert result.network.widths == (2, 4, 4, 1, 1)
    assert result.solved
    assert result.n_solved == result.n_seeds == 4
    assert seen == [0, 1, 2, 3]
    np.testing.assert_allclose(result.outputs, [0, 1, 1, 0], atol=0.03)
    assert result.loss_curve[-1] < TARGET_LOSS < result.loss_curve[-2]
    assert result.n_epochs < 10_000


def test_nearly_every_seed_solves_it():
    assert run_xor(n_seeds=30).n_solved >= 29


def test_an_untrained_network_has_not_solved_it():
    assert not is_solved(make_network(0))
    result = run_xor(n_seeds=1, max_epochs=1)
    assert not result.solved
    assert result.n_solved == 0
