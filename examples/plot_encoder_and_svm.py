"""
======================================
Are latent features worth classifying?
======================================

An autoencoder learns sixteen features of handwritten digits without seeing a label. A linear
support vector machine then classifies them, beside the sixteen best linear features.
"""

# %%
# Digits are scaled to [0, 1], so the decoder ends in a logistic function by itself.
import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skscratch import AutoencoderTransformer, LinearSVM

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X / 16, y, random_state=0, stratify=y)

# %%
# Both encoders go into the same pipeline.
encoders = {
    "PCA": PCA(16, random_state=0),
    "autoencoder": AutoencoderTransformer(
        16,
        activation="silu",
        initializer="he_normal",
        learning_rate_init=0.01,
        batch_size=32,
        max_iter=100,
        random_state=0,
    ),
}
models = {
    name: make_pipeline(encoder, StandardScaler(), LinearSVM(C=0.1)).fit(X_train, y_train)
    for name, encoder in encoders.items()
}
for name, model in models.items():
    encoder = model[0]
    rebuilt = encoder.inverse_transform(encoder.transform(X_test))
    error = ((rebuilt - X_test) ** 2).mean()
    print(f"{name}: error {error:.4f}, accuracy {model.score(X_test, y_test):.3f}")

# %%
# Originals, and what sixteen numbers keep of them.
figure, axes = plt.subplots(3, 8, figsize=(8, 3.4), layout="constrained")
rows = {"original": X_test[:8]}
for name, model in models.items():
    rows[name] = model[0].inverse_transform(model[0].transform(X_test[:8]))
for line, (name, images) in zip(axes, rows.items(), strict=True):
    line[0].set_title(name, loc="left", fontsize=9)
    for axis, image in zip(line, images, strict=True):
        axis.imshow(image.reshape(8, 8), cmap="gray_r", vmin=0, vmax=1)
        axis.set_axis_off()
plt.show()
