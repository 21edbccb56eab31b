"""
======================================
Can an autoencoder make up new digits?
======================================

A variational autoencoder draws its latent features towards a standard normal distribution. So it
can be turned round: draw features from that distribution, and decode them.
"""

# %%
# A plain autoencoder leaves its features wherever reconstruction is best. Its decoder does not know
# most of what a normal distribution draws.
import matplotlib.pyplot as plt
import numpy as np
from sklearn.metrics import pairwise_distances

from skscratch import AutoencoderTransformer
from skscratch.datasets import load_digits

digits = load_digits()
settings = {
    "n_components": 8,
    "hidden_layer_sizes": (256,),
    "activation": "silu",
    "loss": "binary_log_loss",
    "learning_rate_init": 5e-3,
    "batch_size": 64,
    "max_iter": 100,
    "random_state": 0,
}
plain = AutoencoderTransformer(**settings).fit(digits.X_train)
variational = AutoencoderTransformer(**settings, beta=1.0).fit(digits.X_train)

# %%
# Its samples are about as far from the nearest training image as test images are.
drawn = np.random.default_rng(0).standard_normal((300, 8)).astype(np.float32)
pictures = {
    "test images": digits.X_test[:300],
    "variational: new digits": variational.sample(300, random_state=0),
    "plain: decoded draws": plain.inverse_transform(drawn),
}
distances = {
    name: pairwise_distances(images, digits.X_train).min(axis=1).mean()
    for name, images in pictures.items()
}
for name, distance in distances.items():
    print(f"{name}: distance to the nearest training image {distance:.2f}")

# %%
figure, axes = plt.subplots(3, 1, figsize=(6.5, 3.2), layout="constrained")
for axis, (name, images) in zip(axes, pictures.items(), strict=True):
    axis.set_title(
        f"{name} ({distances[name]:.2f} from the nearest training image)", loc="left", fontsize=9
    )
    frames = [np.pad(image.reshape(digits.image_shape), 1) for image in images[:14]]
    axis.imshow(np.hstack(frames), cmap="gray_r", vmin=0, vmax=1)
    axis.set_axis_off()
plt.show()
