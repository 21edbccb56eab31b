import pytest

from skscratch.experiments import run_search


def test_the_whole_pipeline_is_searched(images, tiny):
    grid = {"encoder__n_components": [2, 8], "svm__C": [0.1, 1.0]}
    encoder = {"hidden_layer_sizes": (), "max_iter": 40, "batch_size": 32}
    result = run_search(images, grid, encoder=encoder, n_train=1000)
    assert result.n_train == 300
    assert len(result.candidates) == 4
    accuracies = [candidate.accuracy for candidate in result.candidates]
    assert accuracies == sorted(accuracies, reverse=True)
    assert result.best.parameters == result.search.best_params_
    assert result.best.parameters["encoder__n_components"] == 8
    assert result.test_accuracy == result.search.score(images.X_test, images.y_test) > 0.5


def test_fewer_images_may_be_used(images, tiny):
    result = run_search(images, tiny.search_grid, encoder=tiny.search_encoder, n_train=90)
    assert result.n_train == 90
    with pytest.raises(ValueError, match="n_train must be between 1 and 300"):
        run_search(images, tiny.search_grid, encoder=tiny.search_encoder, n_train=0)
