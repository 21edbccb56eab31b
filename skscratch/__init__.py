"""Neural networks, autoencoders and linear SVMs for scikit-learn, from scratch in NumPy."""

from skscratch._version import __version__
from skscratch.estimators.autoencoder import AutoencoderTransformer
from skscratch.estimators.linear_svm import LinearSVM
from skscratch.estimators.mlp_classifier import MLPClassifier
from skscratch.estimators.mlp_regressor import MLPRegressor

__all__ = ["AutoencoderTransformer", "LinearSVM", "MLPClassifier", "MLPRegressor", "__version__"]
