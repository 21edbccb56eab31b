"""
=================================================
What does a pretrained encoder save a classifier?
=================================================

Labels are dear, images are not. An autoencoder learns from all images without a label; a classifier
then starts from its encoder instead of random weights, and trains it on with the few labels there
are. Beside it stands the same network from scratch.
"""

# %%
# Noise on the input keeps the encoder from copying pixels.
import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split

from skscratch import AutoencoderTransformer, MLPClassifier
from skscratch.datasets import load_digits

# Every classifier trains for the same number of epochs, and says that it could go on.
warnings.simplefilter("ignore", ConvergenceWarning)
digits = load_digits()
encoder = AutoencoderTransformer(
    n_components=64,
    hidden_layer_sizes=(128,),
    latent_activation="relu",
    noise="gaussian",
    noise_level=0.6,
    learning_rate_init=3e-3,
    batch_size=32,
    max_iter=100,
    random_state=0,
).fit(digits.X_train)

# %%
# `pretrained` puts trained layers before a classifier's own. The accuracy after each epoch is that
# on the test images, which only watch.
settings = {"max_iter": 30, "n_iter_no_change": 30, "learning_rate_init": 3e-3, "batch_size": 16}
kinds = {
    "from scratch": {"hidden_layer_sizes": (128, 64)},
    "fine-tuned": {"hidden_layer_sizes": (), "pretrained": encoder.encoder_},
}
draws = range(5)
figure, axes = plt.subplots(1, 3, figsize=(10, 3.6), sharey=True, layout="constrained")
for axis, n_labels in zip(axes, [20, 80, 320], strict=True):
    for name, kind in kinds.items():
        curves = []
        for seed in draws:
            X, _, y, _ = train_test_split(
                digits.X_train,
                digits.y_train,
                train_size=n_labels,
                stratify=digits.y_train,
                random_state=seed,
            )
            model = MLPClassifier(**kind, **settings, random_state=seed)
            model.fit(X, y, X_val=digits.X_test, y_val=digits.y_test)
            curves.append(model.validation_scores_)
        mean = np.mean(curves, axis=0)
        print(f"{n_labels:3} labels, {name}: {mean[4]:.3f} after 5 epochs, {mean[-1]:.3f} after 30")
        epochs = range(1, len(mean) + 1)
        axis.plot(epochs, mean, label=name)
        axis.fill_between(epochs, np.min(curves, axis=0), np.max(curves, axis=0), alpha=0.2)
    axis.set(title=f"{n_labels} labelled images", xlabel="epoch")
axes[0].set_ylabel("test accuracy, mean and range of five")
axes[-1].legend(loc="lower right")

# %%
# The encoder saves epochs more than it adds accuracy: with few labels it is ahead after five
# epochs, and in the end by a little.
plt.show()
