"""
===================================
Can an autoencoder clean a picture?
===================================

A denoising autoencoder sees disturbed images in training, but is asked for the clean ones. So it
learns what digits look like, and can take noise off images that it has never seen.
"""

# %%
# Noise is drawn anew for every batch; in prediction there is none, so it is added by hand here.
import matplotlib.pyplot as plt
import numpy as np

from skscratch import AutoencoderTransformer
from skscratch.datasets import load_digits

digits = load_digits()
rng = np.random.default_rng(0)
level = 0.4
noisy = (digits.X_test + rng.normal(scale=level, size=digits.X_test.shape)).astype(np.float32)
settings = {
    "n_components": 32,
    "hidden_layer_sizes": (256,),
    "learning_rate_init": 3e-3,
    "batch_size": 64,
    "max_iter": 40,
    "random_state": 0,
}
models = {
    "trained on clean images": AutoencoderTransformer(**settings),
    "trained on noise": AutoencoderTransformer(**settings, noise="gaussian", noise_level=level),
}

# %%
# Without noise in training, the network rebuilds much of the noise as well.
cleaned = {"noisy": np.clip(noisy, 0, 1)}
for name, model in models.items():
    cleaned[name] = model.fit(digits.X_train).reconstruct(noisy)
errors = {name: np.square(images - digits.X_test).mean() for name, images in cleaned.items()}
for name, error in errors.items():
    print(f"{name}: mean squared error {error:.4f}")

# %%
rows = {"original": digits.X_test, **cleaned}
figure, axes = plt.subplots(len(rows), 1, figsize=(6.5, 3.6), layout="constrained")
for axis, (name, images) in zip(axes, rows.items(), strict=True):
    error = f", mean squared error {errors[name]:.3f}" if name in errors else ""
    axis.set_title(f"{name}{error}", loc="left", fontsize=9)
    pictures = [np.pad(image.reshape(digits.image_shape), 1) for image in images[:12]]
    axis.imshow(np.hstack(pictures), cmap="gray_r", vmin=0, vmax=1)
    axis.set_axis_off()
plt.show()
