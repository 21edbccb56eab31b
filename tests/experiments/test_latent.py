import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.metrics import accuracy_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC, LinearSVC

from skscratch import AutoencoderTransformer
from skscratch.experiments import run_latent
from skscratch.experiments.latent import NYSTROEM, RBF, hardest_mistakes


@pytest.fixture(scope="module")
def encoder(images):
    return AutoencoderTransformer(6, (), batch_size=32, max_iter=50, random_state=0).fit(
        images.X_train
    )


@pytest.fixture(scope="module")
def result(images, encoder):
    return run_latent(images, encoder, svm={"C": 1.0}, rbf={"C": 10.0}, n_rbf=200)


def test_the_pipeline_leads_from_images_to_classes(result, images):
    np.testing.assert_array_equal(result.pipeline.predict(images.X_test), result.predicted)
    accuracy = accuracy_score(images.y_test, result.predicted)
    assert result.scores[0].test_accuracy == accuracy > 0.6
    assert result.report["accuracy"] == accuracy
    assert np.trace(result.confusion) == round(accuracy * 100)


def test_scikit_learns_classifiers_get_the_same_features(result, images):
    Z, Z_test = (result.pipeline[:-1].transform(X) for X in (images.X_train, images.X_test))
    np.testing.assert_allclose(Z.std(axis=0), 1, rtol=1e-4)
    linear = LinearSVC(random_state=0).fit(Z, images.y_train)
    assert result.scores[1].test_accuracy == linear.score(Z_test, images.y_test)
    assert (
        result.scores[2].test_accuracy
        <= SVC(C=10).fit(Z, images.y_train).score(Z_test, images.y_test) + 0.1
    )


def test_the_linear_svm_is_compared_on_pixels_and_principal_components(images, encoder):
    result = run_latent(images, encoder, svm={}, rbf={}, n_rbf=50, liblinear=False, references=True)
    *_, pixels, components = result.scores
    assert pixels.name == "LinearSVM on the pixels"
    assert components.name == "LinearSVM on 6 principal components"
    for score, first in ((pixels, []), (components, [PCA(6)])):
        model = make_pipeline(*first, StandardScaler(), LinearSVC(random_state=0, tol=1e-6))
        expected = model.fit(images.X_train, images.y_train).score(images.X_test, images.y_test)
        assert score.test_accuracy == pytest.approx(expected, abs=0.011)
        assert score.n_train == 300


def test_it_says_how_many_images_each_was_trained_on(result):
    assert [score.n_train for score in result.scores] == [300, 300, 200]
    assert [score.converged for score in result.scores] == [True, True, True]


def test_a_trained_svm_is_not_trained_again(result, images, encoder, monkeypatch):
    def fit(*args, **kwargs):
        raise AssertionError("trained again")

    monkeypatch.setattr(type(result.svm), "fit", fit)
    lines = []
    again = run_latent(
        images,
        encoder,
        svm=result.svm,
        svm_seconds=1.5,
        rbf={"C": 10.0},
        n_rbf=200,
        liblinear=False,
        on_classifier=lines.append,
    )
    assert again.svm is result.svm
    assert again.scores[0].seconds == 1.5
    assert [score.name for score in again.scores] == ["LinearSVM", "SVC, RBF (scikit-learn)"]
    assert lines[0].startswith("LinearSVM: test accuracy")
    np.testing.assert_array_equal(again.predicted, result.predicted)


def test_a_classifier_that_has_not_converged_is_told(images, encoder):
    result = run_latent(images, encoder, svm={"max_iter": 1}, rbf={"max_iter": 1}, n_rbf=200)
    assert [score.converged for score in result.scores] == [False, True, False]


def test_any_transformer_will_do_and_a_kernel_may_be_approximated(images):
    pca = PCA(6).fit(images.X_train)
    result = run_latent(
        images,
        FunctionTransformer(pca.transform),
        svm={"C": 1.0},
        rbf={"C": 10.0},
        n_rbf=200,
        nystroem={"n_components": 60},
        liblinear=False,
    )
    assert [score.name for score in result.scores] == ["LinearSVM", RBF, NYSTROEM]
    linear, _, approximate = (score.test_accuracy for score in result.scores)
    assert approximate > linear


def test_the_hardest_mistakes_come_first(result, images):
    wrong = hardest_mistakes(result, images, 5)
    assert len(wrong) == 5
    assert (result.predicted[wrong] != images.y_test[wrong]).all()
    confidence = result.pipeline.decision_function(images.X_test[wrong]).max(axis=1)
    assert (np.diff(confidence) <= 0).all()
