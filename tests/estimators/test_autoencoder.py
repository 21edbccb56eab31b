import numpy as np
import pytest
from scipy import sparse
from sklearn.datasets import load_digits, load_iris
from sklearn.decomposition import PCA
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skscratch import AutoencoderTransformer
from skscratch.core import Activation, Initializer

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
def test_scores_are_the_mean_loss(loss):
    fitted = encoder(loss=loss).fit(DIGITS)
    p, t = fitted.reconstruct(DIGITS), DIGITS
    d = np.abs(p - t)
    expected = {
        "squared_error": d**2,
        "absolute_error": d,
        "huber": d**2 / 2,
        "binary_log_loss": -t * np.log(p) - (1 - t) * np.log(1 - p),
    }[loss].mean(axis=1)
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


def test_without_hidden_layers_it_nears_pca():
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


@pytest.mark.parametrize("solver", ["adam", "adamw", "rmsprop", "sgd"])
@pytest.mark.parametrize("schedule", ["one_cycle", "cosine", "constant", "invscaling", "adaptive"])
def test_any_solver_learns_on_any_schedule(solver, schedule):
    rate = {"learning_rate_init": 0.5, "power_t": 0.1} if solver == "sgd" else {}
    fitted = encoder(solver=solver, learning_rate=schedule, **rate).fit(DIGITS)
    assert fitted.loss_curve_[-1] < fitted.loss_curve_[0]


@pytest.mark.parametrize(
    ("noise", "level"), [("gaussian", 0.5), ("masking", 0.5), ("salt_and_pepper", 0.4)]
)
def test_denoising_repairs_what_a_plain_one_does_not(noise, level):
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
    sizes = [np.abs(encoder(sparsity=s).fit(DIGITS).transform(DIGITS)).mean() for s in (0, 0.01)]
    assert sizes[1] < 0.5 * sizes[0]


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
    with pytest.raises(ValueError, match="X has 63 features, but .* is expecting 64"):
        fitted.fit(DIGITS, X_val=DIGITS[:, 1:])
    assert vars(fitted) == before


def test_a_search_works_without_labels():
    search = GridSearchCV(encoder(max_iter=20), {"n_components": [2, 16]}, cv=2).fit(DIGITS)
    assert search.best_params_ == {"n_components": 16}


def test_next_to_a_scaler_and_a_classifier():
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
    np.testing.assert_array_equal(
        fitted.score_samples(sparse.csr_matrix(DIGITS)), fitted.score_samples(DIGITS)
    )


@pytest.mark.parametrize(
    ("options", "X", "message"),
    [
        (
            {"loss": "binary_log_loss"},
            DIGITS * 16,
            r"needs data in \[0, 1\], but X runs from 0 to 16",
        ),
        (
            {"loss": "binary_log_loss", "output_activation": "tanh"},
            DIGITS,
            "needs output_activation='logistic' or 'auto', got 'tanh'",
        ),
        ({"noise": "masking", "noise_level": 2}, DIGITS, "it must be at most 1, got 2"),
        ({"n_components": 0}, DIGITS, "n_components"),
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


def test_halves_do_not_move_with_parameters_set_afterwards():
    fitted = encoder(hidden_layer_sizes=(20,), loss="binary_log_loss").fit(DIGITS)
    latent, rebuilt = fitted.transform(DIGITS), fitted.reconstruct(DIGITS)
    fitted.set_params(hidden_layer_sizes=(20, 10), loss="squared_error")
    np.testing.assert_array_equal(fitted.transform(DIGITS), latent)
    np.testing.assert_array_equal(fitted.reconstruct(DIGITS), rebuilt)
