"""
=============================================
Does an autoencoder notice what it never saw?
=============================================

It rebuilds well what is like its training data. So a large reconstruction error, a low
``score_samples``, is a sign of something else: here a digit that was left out of the training.
"""

# %%
# Train on all digits but one; then look at all of them.
import matplotlib.pyplot as plt
import numpy as np
from sklearn.metrics import RocCurveDisplay, roc_auc_score

from skscratch import AutoencoderTransformer
from skscratch.datasets import load_digits

digits = load_digits(test_fraction=0.4)
unknown = 4
known_rows = digits.X_train[digits.y_train != unknown]
model = AutoencoderTransformer(
    n_components=8,
    hidden_layer_sizes=(128,),
    learning_rate_init=5e-3,
    batch_size=32,
    max_iter=60,
    random_state=0,
).fit(known_rows)

# %%
# No label was used: the score alone tells the unknown digit from the nine others.
errors = -model.score_samples(digits.X_test)
is_unknown = digits.y_test == unknown
print(
    f"mean error: known {errors[~is_unknown].mean():.4f}, unknown {errors[is_unknown].mean():.4f}"
)
print(f"area under the ROC curve: {roc_auc_score(is_unknown, errors):.3f}")

# %%
figure = plt.figure(figsize=(11, 3.6), layout="constrained")
left, right = figure.subfigures(1, 2, width_ratios=[3, 2])
histogram, roc = left.subplots(1, 2)
bins = np.linspace(0, errors.max(), 30)
for rows, name in [(~is_unknown, "the nine others"), (is_unknown, f"the digit {unknown}")]:
    histogram.hist(errors[rows], bins, density=True, alpha=0.6, label=name)
histogram.set(title="Test images", xlabel="reconstruction error", ylabel="density")
histogram.legend()
RocCurveDisplay.from_predictions(is_unknown, errors, ax=roc, name="error")
roc.axline((0, 0), slope=1, color="grey", ls=":", label="by chance")
roc.legend(loc="lower right", fontsize=8)
roc.set(title="Found against false alarms", xlabel="share of false alarms", ylabel="share found")

worst = np.argsort(errors)[::-1][:8]
right.suptitle("The eight least like the training data")
for axis, row in zip(right.subplots(2, 4).flat, worst, strict=True):
    axis.imshow(digits.X_test[row].reshape(digits.image_shape), cmap="gray_r", vmin=0, vmax=1)
    axis.set_title(f"a {digits.y_test[row]}", fontsize=9)
    axis.set_axis_off()
plt.show()
