"""
=============================================
What does an autoencoder keep that PCA loses?
=============================================

PCA is the best that straight lines can do. An autoencoder with hidden layers may bend them. Both
squeeze handwritten digits into 4, 8, 16 and 32 numbers, and rebuild images they have never seen.
"""

# %%
import matplotlib.pyplot as plt
import numpy as np
from sklearn.decomposition import PCA

from skscratch import AutoencoderTransformer
from skscratch.datasets import load_digits

digits = load_digits()
settings = {
    "hidden_layer_sizes": (128,),
    "activation": "silu",
    "initializer": "he_normal",
    "learning_rate_init": 0.01,
    "batch_size": 32,
    "max_iter": 60,
    "random_state": 0,
}

# %%
# The same error for both: the mean squared difference of a pixel, on the test images.
sizes = [4, 8, 16, 32]
errors = {"PCA": [], "autoencoder": []}
for size in sizes:
    models = {"PCA": PCA(size), "autoencoder": AutoencoderTransformer(size, **settings)}
    for name, model in models.items():
        model.fit(digits.X_train)
        rebuilt = model.inverse_transform(model.transform(digits.X_test))
        errors[name].append(np.square(rebuilt - digits.X_test).mean())
    if size == 8:
        eight = models
for size, *pair in zip(sizes, *errors.values(), strict=True):
    print(f"{size:2} numbers: PCA {pair[0]:.4f}, autoencoder {pair[1]:.4f}")

# %%
# The eight numbers of the autoencoder are enough to read most digits; PCA's leave them blurred.
figure = plt.figure(figsize=(10, 3.8), layout="constrained")
left, right = figure.subfigures(1, 2, width_ratios=[2, 3])
axis = left.subplots()
for (name, curve), marker in zip(errors.items(), "os", strict=True):
    axis.loglog(sizes, curve, marker=marker, label=name)
axis.set(title="Test images", xlabel="latent features", ylabel="mean squared error")
axis.set_xticks(sizes, sizes)
ticks = [0.002, 0.005, 0.01, 0.02, 0.04]
axis.set_yticks(ticks, ticks)
axis.minorticks_off()
axis.legend()

shown = digits.X_test[:8]
rows = {"original": shown}
rows |= {name: model.inverse_transform(model.transform(shown)) for name, model in eight.items()}
right.suptitle("Rebuilt from eight numbers")
for line, (name, images) in zip(right.subplots(3, 8), rows.items(), strict=True):
    line[0].set_title(name, loc="left", fontsize=9)
    for axis, image in zip(line, images, strict=True):
        axis.imshow(image.reshape(digits.image_shape), cmap="gray_r", vmin=0, vmax=1)
        axis.set_axis_off()
plt.show()
