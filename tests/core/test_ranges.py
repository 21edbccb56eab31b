"""Hyperparameters out of range are refused when a recipe is made."""

import pytest

from skscratch.core import (
    SGD,
    ActivityPenalty,
    Adam,
    AdamW,
    Adaptive,
    Constant,
    Contraction,
    Dense,
    Dropout,
    GaussianNoise,
    HeNormal,
    Huber,
    InverseScaling,
    KLPenalty,
    LayerNorm,
    MaskingNoise,
    OneCycle,
    PerturbedCopies,
    Pinball,
    RMSprop,
    SaltAndPepperNoise,
    TakeColumns,
    Variational,
)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Dropout(-1), r"rate of 'dropout' must be in \[0, 1\), got -1"),
        (lambda: Dropout(1.0), r"rate of 'dropout' must be in \[0, 1\), got 1.0"),
        (lambda: Dropout("a"), r"rate of 'dropout' must be a finite number in \[0, 1\), got 'a'"),
        (lambda: Dropout(True), "rate of 'dropout' must be a finite number"),
        (lambda: Dropout(float("nan")), "rate of 'dropout' must be"),
        (lambda: MaskingNoise(1.1), r"level of 'masking' must be in \[0, 1\]"),
        (lambda: SaltAndPepperNoise(-0.1), "level of 'salt_and_pepper' must be"),
        (lambda: GaussianNoise(-1), "level of 'gaussian' must be at least 0"),
        (lambda: GaussianNoise(float("inf")), "level of 'gaussian' must be at least 0"),
        (lambda: Dense(0), "width of 'dense' must be an integer of at least 1, got 0"),
        (lambda: Dense(2.5), "width of 'dense' must be an integer"),
        (lambda: TakeColumns(0), "width of 'take_columns' must be"),
        (lambda: LayerNorm(0), "epsilon of 'layer_norm' must be above 0"),
        (lambda: ActivityPenalty(-1), "l1 of 'activity_penalty' must be at least 0"),
        (lambda: KLPenalty(0.1, 1.0), r"target of 'kl_penalty' must be in \(0, 1\)"),
        (lambda: KLPenalty(-1), "strength of 'kl_penalty' must be"),
        (lambda: PerturbedCopies(0), "step of 'perturbed_copies' must be above 0"),
        (lambda: Contraction(-1), "strength of 'contraction' must be"),
        (lambda: Variational(-1), "beta of 'variational' must be"),
        (lambda: Huber(-1), "delta of 'huber' must be above 0"),
        (lambda: Pinball((2.0,)), r"quantiles of 'pinball' must be .* got \(2.0,\)"),
        (lambda: Pinball((0.9, 0.1)), "increasing numbers"),
        (lambda: Pinball(()), "quantiles of 'pinball'"),
        (lambda: Pinball(0.5), "quantiles of 'pinball'"),
        (lambda: Adam(beta_1=2), r"beta_1 of 'adam' must be in \[0, 1\), got 2"),
        (lambda: Adam(beta_2=1.0), "beta_2 of 'adam' must be"),
        (lambda: AdamW(epsilon=-1), "epsilon of 'adamw' must be"),
        (lambda: AdamW(weight_decay=-1), "weight_decay of 'adamw' must be"),
        (lambda: SGD(1.5), r"momentum of 'sgd' must be in \[0, 1\]"),
        (lambda: RMSprop(1.0), "rho of 'rmsprop' must be"),
        (lambda: Constant(-1), "initial of 'constant' must be at least 0"),
        (lambda: InverseScaling(0.1, unit=0), "unit of 'invscaling' must be above 0"),
        (lambda: InverseScaling(0.1, power=-1), "power of 'invscaling' must be"),
        (lambda: Adaptive(0.1, factor=1), "factor of 'adaptive' must be above 1"),
        (lambda: Adaptive(0.1, least=-1), "least of 'adaptive' must be"),
        (lambda: OneCycle(0.1, warm_up=2), "warm_up of 'one_cycle' must be"),
        (lambda: HeNormal(-1), "gain of 'he_normal' must be"),
    ],
)
def test_values_out_of_range_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_ends_of_a_range_are_accepted():
    assert Dropout(0).rate == 0
    assert MaskingNoise(1).level == 1
    assert SGD(1).momentum == 1
    assert Adam(0, 0, 0).epsilon == 0
    assert Pinball((0.01, 0.99)).quantiles == (0.01, 0.99)
    assert Constant(0).initial == 0
