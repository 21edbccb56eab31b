import tracemalloc

import numpy as np
import pytest
import sklearn
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris, load_wine
from sklearn.decomposition import PCA
from sklearn.metrics import pairwise_distances
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skscratch import AutoencoderTransformer, MLPClassifier
from skscratch.core import Activation, Dropout, Initializer
from skscratch.images import RandomWarp

DIGITS = load_digits().data / 16


def encoder(**options):
    options = {"n_components": 8, "hidden_layer_sizes": (32,), "max_iter": 5} | options
    return AutoencoderTransformer(random_state=0, **options)


def test_halves_compose_and_share_the_parameters():
    fitted = encoder(noise="gaussian").fit(DIGITS)
    latent = fitted.transform(DIGITS)
    assert latent.shape == (1797, 8)
    np.testing.assert_array_equal(fitted.encoder_(DIGITS), latent)
    np.testing.assert_array_equal(fitted.decoder_(latent), fitted.reconstruct(DIGITS))
    np.testing.assert_array_equal(fitted.inverse_transform(latent), fitted.reconstruct(DIGITS))
    fitted.network_.params[:] = 0
    assert not fitted.encoder_(DIGITS).any()


@pytest.mark.parametrize("loss", ["squared_error", "binary_log_loss", "absolute_error", "huber"])
def test_scores_are_squared_errors_whatever_the_loss(loss):
    fitted = encoder(loss=loss).fit(DIGITS)
    expected = ((fitted.reconstruct(DIGITS) - DIGITS) ** 2).mean(axis=1)
    np.testing.assert_allclose(fitted.score_samples(DIGITS), -expected, rtol=1e-7)
    np.testing.assert_allclose(fitted.score(DIGITS), -expected.mean(), rtol=1e-7)
    np.testing.assert_allclose(fitted.reconstruction_error_, expected.mean(), rtol=1e-7)
    weight = np.arange(len(DIGITS)) % 3
    np.testing.assert_allclose(
        fitted.score(DIGITS, sample_weight=weight), -np.average(expected, weights=weight)
    )


def test_better_than_pca_with_as_many_components():
    ours = (
        -encoder(max_iter=100, learning_rate_init=5e-3, hidden_layer_sizes=(64,))
        .fit(DIGITS)
        .score(DIGITS)
    )
    pca = PCA(8).fit(DIGITS)
    linear = ((pca.inverse_transform(pca.transform(DIGITS)) - DIGITS) ** 2).mean()
    assert ours < linear


def test_without_hidden_layers_the_error_is_close_to_pcas():
    X = DIGITS - DIGITS.mean(axis=0)
    fitted = encoder(hidden_layer_sizes=(), max_iter=150, learning_rate_init=0.02).fit(X)
    pca = PCA(8).fit(X)
    linear = ((pca.inverse_transform(pca.transform(X)) - X) ** 2).mean()
    assert linear <= -fitted.score(X) * (1 + 1e-9) < 1.05 * linear


def test_the_output_activation_follows_the_range():
    assert encoder().fit(DIGITS).output_activation_ == "logistic"
    assert encoder().fit(DIGITS - 0.5).output_activation_ == "identity"
    assert encoder(output_activation="tanh").fit(DIGITS).output_activation_ == "tanh"
    reconstructed = encoder(loss="binary_log_loss").fit(DIGITS).reconstruct(DIGITS)
    assert (reconstructed > 0).all()
    assert (reconstructed < 1).all()


@pytest.mark.parametrize("activation", Activation.members())
def test_any_activation_learns(activation):
    fitted = encoder(activation=activation, max_iter=20, learning_rate_init=0.01).fit(DIGITS)
    assert fitted.loss_curve_[-1] < 0.9 * fitted.loss_curve_[0]


@pytest.mark.parametrize(
    "initializer", [n for n in Initializer.members() if n not in ("zeros", "ones")]
)
def test_any_initializer_learns(initializer):
    fitted = encoder(initializer=initializer).fit(DIGITS)
    assert fitted.loss_curve_[-1] < fitted.loss_curve_[0]


SCHEDULES = {
    solver: ["one_cycle", "cosine", "constant"] for solver in ("adam", "adamw", "rmsprop", "sgd")
}
SCHEDULES["sgd"] += ["invscaling", "adaptive"]


@pytest.mark.parametrize(
    ("solver", "schedule"), [(solver, s) for solver, names in SCHEDULES.items() for s in names]
)
def test_any_solver_learns_on_its_schedules(solver, schedule):
    rate = {"learning_rate_init": 0.5, "power_t": 0.1} if solver == "sgd" else {}
    fitted = encoder(solver=solver, learning_rate=schedule, **rate).fit(DIGITS)
    assert fitted.loss_curve_[-1] < fitted.loss_curve_[0]


@pytest.mark.parametrize(
    ("noise", "level"), [("gaussian", 0.5), ("masking", 0.5), ("salt_and_pepper", 0.4)]
)
def test_a_denoising_autoencoder_repairs_more_than_a_plain_one(noise, level):
    rng = np.random.default_rng(0)
    disturbed = {
        "gaussian": DIGITS + level * rng.normal(size=DIGITS.shape),
        "masking": DIGITS * (rng.random(DIGITS.shape) >= level),
        "salt_and_pepper": np.where(
            rng.random(DIGITS.shape) < level, rng.integers(2, size=DIGITS.shape), DIGITS
        ),
    }[noise]

    def error(**options):
        fitted = encoder(max_iter=40, learning_rate_init=5e-3, **options).fit(DIGITS)
        return ((fitted.reconstruct(disturbed) - DIGITS) ** 2).mean()

    assert error(noise=noise, noise_level=level) < 0.9 * error()


def test_sparsity_makes_latent_features_small():
    sizes = [np.abs(encoder(sparsity=s).fit(DIGITS).transform(DIGITS)).mean() for s in (0, 1.0)]
    assert sizes[1] < 0.5 * sizes[0]


def test_mean_activities_approach_their_target():
    options = {"latent_activation": "logistic", "max_iter": 60, "learning_rate_init": 0.01}
    plain = encoder(**options).fit(DIGITS).transform(DIGITS).mean(axis=0)
    sparse_one = encoder(sparsity=10.0, sparsity_target=0.1, **options).fit(DIGITS)
    means = sparse_one.transform(DIGITS).mean(axis=0)
    assert np.abs(plain - 0.1).mean() > 0.2
    np.testing.assert_allclose(means, 0.1, atol=0.03)


def test_contraction_makes_features_change_less():
    # Relative to the spread of the features, so that shrinking them is not enough.
    step = np.random.default_rng(0).normal(size=DIGITS.shape) * 0.01

    def slope(**options):
        fitted = encoder(tied_weights=True, max_iter=40, learning_rate_init=5e-3, **options)
        latent = fitted.fit(DIGITS).transform(DIGITS)
        moved = fitted.transform(DIGITS + step) - latent
        return np.sqrt((moved**2).sum() / latent.var(axis=0).sum())

    assert slope(contraction=0.1) < 0.8 * slope()


def test_samples_of_a_variational_autoencoder_resemble_the_data():
    fitted = encoder(beta=1.0, loss="binary_log_loss", max_iter=100, learning_rate_init=5e-3).fit(
        DIGITS
    )
    drawn = fitted.sample(2000, random_state=0)
    assert drawn.shape == (2000, 64)
    np.testing.assert_array_equal(drawn, fitted.sample(2000, random_state=0))
    spread = DIGITS.std()
    assert np.abs(drawn.mean(axis=0) - DIGITS.mean(axis=0)).max() < 0.25 * spread
    # A plain autoencoder decodes the same draws to rows that are further from any digit.
    plain = encoder(loss="binary_log_loss", max_iter=100, learning_rate_init=5e-3).fit(DIGITS)
    noise = np.random.default_rng(0).normal(size=(2000, 8))

    def distance(rows):
        return pairwise_distances(rows, DIGITS).min(axis=1).mean()

    assert distance(drawn) < 0.8 * distance(plain.inverse_transform(noise))


def test_beta_pulls_the_features_towards_a_standard_normal():
    options = {"loss": "binary_log_loss", "max_iter": 60, "learning_rate_init": 5e-3}
    errors, spreads = [], []
    for beta in (0.1, 1.0, 100.0):
        fitted = encoder(beta=beta, **options).fit(DIGITS)
        latent = fitted.transform(DIGITS)
        assert np.abs(latent.mean(axis=0)).max() < 0.5
        errors.append(-fitted.score(DIGITS))
        spreads.append(latent.std())
    assert errors == sorted(errors)
    assert spreads == sorted(spreads, reverse=True)
    assert spreads[-1] < 0.1


def test_only_a_variational_autoencoder_can_sample():
    assert not hasattr(encoder(), "sample")
    with pytest.raises(ValueError, match="choose beta > 0 to sample"):
        encoder().fit(DIGITS).sample()
    fitted = encoder(beta=1.0).fit(DIGITS.astype(np.float32))
    assert fitted.sample().shape == (1, 64)
    assert fitted.sample().dtype == np.float32
    with pytest.raises(ValueError, match="n_samples must be an integer of at least 1, got 0"):
        fitted.sample(0)


def test_a_custom_noise_is_undone():
    warp = RandomWarp((8, 8), rotation=10, shift=1)
    options = {"max_iter": 60, "learning_rate_init": 5e-3}
    plain, denoising = (encoder(noise=n, **options).fit(DIGITS) for n in (None, warp))
    warped = warp(DIGITS, np.random.default_rng(1))
    errors = [((e.reconstruct(warped) - DIGITS) ** 2).mean() for e in (plain, denoising)]
    assert errors[1] < 0.8 * errors[0]


def test_a_custom_noise_gets_the_rows_and_generator_of_its_shard():
    seen = []

    def noise(X, rng):
        seen.append((X.shape, rng))
        return X

    X = np.random.default_rng(0).random((256, 300)).astype(np.float32)
    wide = encoder(noise=noise, hidden_layer_sizes=(200,), batch_size=256, max_iter=2, n_jobs=2)
    wide.fit(X)
    assert {shape for shape, _ in seen} == {(128, 300)}
    assert len({id(rng) for _, rng in seen}) == 2
    options = {"hidden_layer_sizes": (200,), "batch_size": 256, "tied_weights": False}
    plain = encoder(max_iter=2, **options).fit(X)
    np.testing.assert_array_equal(plain.network_.params, wide.network_.params)


def test_an_invalid_noise_does_not_change_the_estimator():
    fitted = encoder().fit(DIGITS)
    before = dict(vars(fitted))
    fitted.noise = lambda X, rng: X[:, 1:]
    with pytest.raises(ValueError, match="must return an array of the shape it is given"):
        fitted.fit(DIGITS)
    del fitted.noise
    assert vars(fitted) == {name: value for name, value in before.items() if name != "noise"}


@pytest.mark.parametrize(("n", "epochs"), [(10, 250), (1500, 250), (2560, 150), (30_000, 20)])
def test_few_rows_are_trained_for_more_epochs(n, epochs):
    X = np.random.default_rng(0).random((n, 2))
    fitted = AutoencoderTransformer(1, (), random_state=0).fit(X)
    assert fitted.n_iter_ == epochs


@pytest.mark.parametrize(
    ("options", "tied"),
    [
        ({}, True),
        ({"decoder_layer_sizes": (128, 256)}, True),
        ({"decoder_layer_sizes": (128,)}, False),
        ({"noise": "gaussian"}, False),
        ({"noise": "gaussian", "tied_weights": True}, True),
        ({"beta": 1.0}, False),
        ({"tied_weights": False}, False),
    ],
    ids=repr,
)
def test_auto_ties_weights_if_the_options_allow_it(options, tied):
    fitted = AutoencoderTransformer(max_iter=1, random_state=0, **options).fit(DIGITS)
    assert fitted.tied_weights_ is tied
    first, *_, last = fitted.coefs_
    assert np.array_equal(first, last.T) is tied


def test_dropout_acts_in_training_only():
    fitted = encoder(dropout=0.2, hidden_layer_sizes=(30, 20)).fit(DIGITS)
    assert sum(isinstance(layer, Dropout) for layer in fitted.network_.layers) == 4
    np.testing.assert_array_equal(fitted.transform(DIGITS), fitted.transform(DIGITS))
    np.testing.assert_allclose(
        fitted.transform(DIGITS[:5]), fitted.transform(DIGITS)[:5], rtol=1e-9, atol=1e-12
    )


def test_the_loss_follows_the_range():
    assert encoder(loss="auto").fit(DIGITS).reconstruction_loss_ == "binary_log_loss"
    assert encoder(loss="auto").fit(DIGITS - 0.5).reconstruction_loss_ == "squared_error"
    free = encoder(loss="auto", output_activation="tanh").fit(DIGITS)
    assert free.reconstruction_loss_ == "squared_error"
    assert encoder(loss="huber").fit(DIGITS).reconstruction_loss_ == "huber"


def test_a_warm_start_may_change_the_noise_but_not_the_network():
    fitted = encoder(noise="masking", warm_start=True).fit(DIGITS)
    first = -fitted.score(DIGITS)
    fitted.set_params(noise=None, dropout=0.1, sparsity=1e-6).fit(DIGITS)
    assert -fitted.score(DIGITS) < first
    assert len(fitted.loss_curve_) == 10
    assert not fitted.tied_weights_
    for changed in ({"activation": "tanh"}, {"beta": 1.0}, {"tied_weights": False}):
        with pytest.raises(ValueError, match="cannot be trained further"):
            clone(fitted).fit(DIGITS).set_params(**changed).fit(DIGITS)


def test_columns_of_different_scales_give_a_warning():
    X = load_wine().data
    with pytest.warns(UserWarning, match=r"column 12 is \d+ times as large as the typical one"):
        encoder().fit(X)
    with pytest.warns(UserWarning, match="MaxAbsScaler for sparse X"):
        encoder().fit(sparse.csr_matrix(X))
    # Warnings are errors here.
    encoder().fit(StandardScaler().fit_transform(X))
    encoder().fit(np.ones((5, 3)))


def test_mixed_columns_are_learned_once_they_are_scaled():
    X = StandardScaler().fit_transform(load_wine().data)
    fitted = encoder(
        n_components=6, activation="silu", max_iter=300, batch_size=32, learning_rate_init=0.01
    ).fit(X)
    pca = PCA(6).fit(X)
    assert -fitted.score(X) < ((pca.inverse_transform(pca.transform(X)) - X) ** 2).mean()


@pytest.mark.parametrize(
    "options",
    [
        {"noise": "masking", "dropout": 0.1},
        {"beta": 1.0},
        {"contraction": 0.1},
        {"sparsity": 0.1},
    ],
    ids=str,
)
def test_an_encoder_of_any_kind_is_fine_tuned(options):
    X, y = load_digits(return_X_y=True)
    fitted = encoder(max_iter=20, learning_rate_init=5e-3, **options).fit(X / 16)
    classifier = MLPClassifier(
        (),
        pretrained=fitted.encoder_,
        learning_rate="one_cycle",
        learning_rate_init=0.01,
        max_iter=40,
        random_state=0,
    )
    classifier.fit(X / 16, y)
    assert not any(layer.only_in_training for layer in classifier.network_.layers)
    assert classifier.coefs_[0].shape == (64, 32)
    assert not np.array_equal(classifier.coefs_[0], fitted.coefs_[0])
    assert classifier.score(X / 16, y) > 0.95


def test_tied_weights_are_transposed():
    fitted = encoder(tied_weights=True, hidden_layer_sizes=(20, 12)).fit(DIGITS)
    W = fitted.coefs_
    for first, last in zip(W[:3], reversed(W[3:]), strict=True):
        np.testing.assert_array_equal(first, last.T)
    assert fitted.network_.n_weights == 64 * 20 + 20 * 12 + 12 * 8
    with pytest.raises(ValueError, match="needs a decoder that mirrors the encoder"):
        encoder(tied_weights=True, decoder_layer_sizes=(5,)).fit(DIGITS)


def test_a_validation_set_gives_a_curve_and_the_best_epoch():
    fitted = encoder(learning_rate="constant", learning_rate_init=0.05, max_iter=12)
    fitted.fit(DIGITS[:800], X_val=DIGITS[800:])
    curve = fitted.validation_loss_curve_
    assert len(curve) == 12
    np.testing.assert_allclose(-fitted.score(DIGITS[800:]), min(curve), rtol=1e-9)
    assert encoder().fit(DIGITS).validation_loss_curve_ is None
    weight = (np.arange(997) < 300).astype(float)
    weighted = encoder().fit(DIGITS[:800], X_val=DIGITS[800:], sample_weight_val=weight)
    few = encoder().fit(DIGITS[:800], X_val=DIGITS[800:1100])
    np.testing.assert_allclose(weighted.validation_loss_curve_, few.validation_loss_curve_)


def test_a_validation_set_with_other_columns_is_refused():
    fitted = encoder().fit(DIGITS)
    before = dict(vars(fitted))
    with pytest.raises(ValueError, match="X_val has 63 features, but .* is expecting 64"):
        fitted.fit(DIGITS, X_val=DIGITS[:, 1:])
    assert vars(fitted) == before


def test_a_search_works_without_labels():
    search = GridSearchCV(encoder(max_iter=20), {"n_components": [2, 16]}, cv=2).fit(DIGITS)
    assert search.best_params_ == {"n_components": 16}


def test_in_a_pipeline_with_a_scaler_and_a_classifier():
    X, y = load_iris(return_X_y=True)
    from sklearn.linear_model import LogisticRegression

    pipeline = make_pipeline(
        StandardScaler(),
        encoder(n_components=3, hidden_layer_sizes=(), max_iter=100, learning_rate_init=0.01),
        StandardScaler(),
        LogisticRegression(),
    )
    assert cross_val_score(pipeline, X, y).mean() > 0.9


def test_feature_names():
    fitted = encoder(n_components=3).fit(DIGITS)
    names = ["autoencodertransformer0", "autoencodertransformer1", "autoencodertransformer2"]
    assert list(fitted.get_feature_names_out()) == names


def test_partial_fit_never_stops_learning():
    steps = encoder(max_iter=2, learning_rate="one_cycle")
    for _ in range(6):
        steps.partial_fit(DIGITS)
    assert np.argmin(steps.loss_curve_) == 5
    assert not hasattr(encoder(early_stopping=True), "partial_fit")


def test_sparse_rows_are_scored_like_dense_ones():
    fitted = encoder().fit(sparse.csr_matrix(DIGITS))
    np.testing.assert_allclose(
        fitted.score_samples(sparse.csr_matrix(DIGITS)), fitted.score_samples(DIGITS), rtol=1e-10
    )


@pytest.mark.parametrize(
    ("options", "X", "message"),
    [
        (
            {"loss": "binary_log_loss"},
            DIGITS * 16,
            r"needs data in \[0, 1\], but X ranges from 0 to 16",
        ),
        (
            {"loss": "binary_log_loss", "output_activation": "tanh"},
            DIGITS,
            "needs output_activation='logistic' or 'auto', got 'tanh'",
        ),
        ({"noise": "masking", "noise_level": 2}, DIGITS, "it must be at most 1, got 2"),
        ({"n_components": 0}, DIGITS, "n_components"),
        ({"dropout": 1.0}, DIGITS, "dropout"),
        ({"beta": -1.0}, DIGITS, "beta"),
        ({"beta": 1.0, "latent_activation": "relu"}, DIGITS, "needs latent_activation='identity'"),
        ({"beta": 1.0, "tied_weights": True}, DIGITS, "cannot be combined with tied_weights=True"),
        (
            {"contraction": 0.1, "dropout": 0.1},
            DIGITS,
            "contraction cannot be combined with dropout",
        ),
        ({"sparsity_target": 0.1}, DIGITS, "sparsity_target needs sparsity > 0"),
        (
            {"sparsity": 0.1, "sparsity_target": 0.1},
            DIGITS,
            "choose latent_activation='logistic' or 'softmax', got 'identity'",
        ),
        ({"loss": "mse"}, DIGITS, "loss"),
        ({"noise": "rain"}, DIGITS, "noise"),
        ({"decoder_layer_sizes": (0,)}, DIGITS, "decoder_layer_sizes must be > 0"),
    ],
)
def test_bad_settings(options, X, message):
    with pytest.raises(ValueError, match=message):
        encoder(**options).fit(X)


def test_latent_features_of_the_wrong_width():
    with pytest.raises(ValueError, match="X has 7 columns, but there are 8 latent features"):
        encoder().fit(DIGITS).inverse_transform(np.ones((2, 7)))


def test_encoder_and_decoder_do_not_depend_on_parameters_set_afterwards():
    fitted = encoder(hidden_layer_sizes=(20,), loss="binary_log_loss").fit(DIGITS)
    latent, rebuilt = fitted.transform(DIGITS), fitted.reconstruct(DIGITS)
    fitted.set_params(hidden_layer_sizes=(20, 10), loss="squared_error")
    np.testing.assert_array_equal(fitted.transform(DIGITS), latent)
    np.testing.assert_array_equal(fitted.reconstruct(DIGITS), rebuilt)


# Scores


def test_a_row_out_of_range_scores_low_without_an_error():
    fitted = encoder(loss="binary_log_loss").fit(DIGITS)
    outlier = 5 * DIGITS[:1]
    assert fitted.score_samples(outlier)[0] < fitted.score_samples(DIGITS).min()
    assert fitted.score(outlier) < 0
    # As happens if a scaler was fitted without the rows of a fold.
    assert np.isfinite(fitted.score(DIGITS * 1.01))


def test_a_search_compares_losses_by_one_measure():
    def minus_squared_error(model, X, y=None):
        return -((model.reconstruct(X) - X) ** 2).mean()

    X = StandardScaler().fit_transform(load_wine().data)
    grid = [{"loss": ["huber"], "n_components": [2]}, {"loss": ["squared_error", "absolute_error"]}]
    search = GridSearchCV(encoder(max_iter=30), grid, cv=3)
    own = clone(search).fit(X).cv_results_["mean_test_score"]
    other = clone(search).set_params(scoring=minus_squared_error).fit(X)
    np.testing.assert_allclose(own, other.cv_results_["mean_test_score"], rtol=1e-12)


@pytest.mark.parametrize("method", ["score", "score_samples", "fit"])
def test_the_whole_reconstruction_is_never_in_memory(method):
    X = np.random.default_rng(0).random((20_000, 400), dtype=np.float32)
    fitted = AutoencoderTransformer(8, (16,), max_iter=1, random_state=0, n_jobs=2).fit(X[:500])
    tracemalloc.start()
    try:
        getattr(fitted, method)(X)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < X.nbytes / 2


def test_validation_respects_working_memory():
    # Wide rows, few units: most memory is taken by the blocks of rows.
    X = np.random.default_rng(0).random((1000, 20_000), dtype=np.float32)
    fitted = AutoencoderTransformer(2, (), max_iter=1, random_state=0, n_jobs=1, batch_size=20)
    peaks = []
    for memory in (4, 1024):
        tracemalloc.start()
        try:
            with sklearn.config_context(working_memory=memory):
                fitted.fit(X[:40], X_val=X)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert peaks[0] < peaks[1] / 2


# Data at the ends of [0, 1] and outside


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("options", [{"loss": "binary_log_loss"}, {"loss": "auto", "beta": 1.0}])
def test_values_outside_by_rounding_count_as_the_end(dtype, options):
    X = DIGITS.astype(dtype)
    X[3, 5], X[4, 5] = np.nextafter(dtype(1), dtype(2)), -np.finfo(dtype).eps / 16
    assert X.max() > 1
    assert X.min() < 0
    fitted = encoder(**options).fit(X, X_val=X)
    assert fitted.output_activation_ == "logistic"
    assert fitted.reconstruction_loss_ == "binary_log_loss"
    fitted.partial_fit(X)


def test_values_outside_by_more_than_rounding_are_outside():
    X = DIGITS.copy()
    X[3, 5] = 1 + 1e-9
    assert encoder(loss="auto").fit(X).output_activation_ == "identity"
    with pytest.raises(ValueError, match=r"needs data in \[0, 1\], but X ranges from 0 to 1"):
        encoder(loss="binary_log_loss").fit(X)
    with pytest.raises(ValueError, match=r"needs data in \[0, 1\], but X_val ranges from 0 to 1"):
        encoder(loss="binary_log_loss").fit(DIGITS, X_val=X)


@pytest.mark.parametrize("how", ["partial_fit", "warm start", "X_val"])
def test_an_automatic_choice_that_cannot_reach_the_data_gives_a_warning(how):
    model = encoder().fit(DIGITS)
    calls = {
        "partial_fit": lambda: model.partial_fit(8 * DIGITS),
        "warm start": lambda: model.set_params(warm_start=True).fit(8 * DIGITS),
        "X_val": lambda: model.fit(DIGITS, X_val=8 * DIGITS),
    }
    name = "X_val" if how == "X_val" else "X"
    with pytest.warns(
        UserWarning, match=f"has chosen 'logistic'.* but {name} leaves that interval"
    ):
        calls[how]()
    # There is no warning about an explicit choice, nor about one that can reach the data.
    chosen = encoder(output_activation="logistic").fit(DIGITS)
    chosen.partial_fit(8 * DIGITS)
    encoder().fit(DIGITS - 0.5).partial_fit(8 * DIGITS)


def test_sample_is_available_if_the_fitted_autoencoder_is_variational():
    plain, variational = encoder().fit(DIGITS), encoder(beta=1.0).fit(DIGITS)
    plain.set_params(beta=1.0)
    variational.set_params(beta=0.0)
    assert not hasattr(plain, "sample")
    assert variational.sample(2, random_state=0).shape == (2, 64)


def test_columns_far_from_0_give_a_warning():
    rng = np.random.default_rng(0)
    stamps = 1.7e9 + rng.normal(size=(500, 1))
    mixed = np.hstack([stamps, rng.normal(size=(500, 5))])
    with pytest.warns(UserWarning, match="very different scales: column 0"):
        encoder().fit(mixed)
    with pytest.warns(UserWarning, match=r"column \d lies \d+ standard deviations from 0"):
        encoder().fit(stamps + rng.normal(size=(500, 5)))
    # Warnings are errors here.
    encoder().fit(100 + rng.normal(size=(500, 5)))
