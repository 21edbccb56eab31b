import pytest

from skscratch.datasets import load_digits, subsample
from skscratch.experiments import Settings, reproduce

TINY = Settings(
    encoder={"n_components": 4, "hidden_layer_sizes": (), "batch_size": 32, "max_iter": 50},
    reconstruction={"initializer": "he_normal", "loss": "binary_log_loss", "max_iter": 30},
    n_validation=40,
    svm={"C": 0.5},
    rbf={"C": 10.0},
    n_rbf=200,
    search_encoder={"hidden_layer_sizes": (), "max_iter": 3},
    search_grid={"encoder__n_components": [3, 4], "svm__C": [1.0]},
    n_search=120,
    n_seeds=2,
    pairs=False,
    n_latent=50,
)


@pytest.fixture(scope="session")
def tiny():
    return TINY


@pytest.fixture(scope="session")
def images():
    return subsample(load_digits(), n_train=300, n_test=100)


@pytest.fixture(scope="session")
def run(images, tiny, tmp_path_factory):
    """One run of everything; tests must leave its folder as it is."""
    return reproduce(images, tmp_path_factory.mktemp("run"), settings=tiny)
