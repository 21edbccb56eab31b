"""
====================================
How wide should the latent layer be?
====================================

Nobody knows beforehand. The encoder is one step of a pipeline, so a grid search can ask for its
width together with the penalty of the classifier behind it.
"""

# %%
# Every combination is fitted on two thirds of the rows, three times over. Encoder and classifier
# never see the rows they are judged by.
import matplotlib.pyplot as plt
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from skscratch import AutoencoderTransformer, LinearSVM
from skscratch.datasets import load_digits

digits = load_digits()
pipeline = Pipeline(
    [
        ("encoder", AutoencoderTransformer(max_iter=15, batch_size=64, random_state=0)),
        ("scaler", StandardScaler()),
        ("svm", LinearSVM()),
    ]
)
grid = {"encoder__n_components": [4, 8, 16, 32], "svm__C": [0.01, 0.1, 1.0]}
search = GridSearchCV(pipeline, grid, cv=3).fit(digits.X_train, digits.y_train)
print(f"best: {search.best_params_}, accuracy {search.best_score_:.3f} in cross-validation")
print(f"on the test images: {search.score(digits.X_test, digits.y_test):.3f}")

# %%
# The width matters more than the penalty.
figure, axis = plt.subplots(figsize=(5.5, 3.6), layout="constrained")
results = search.cv_results_
shape = tuple(len(values) for values in grid.values())
scores = results["mean_test_score"].reshape(shape)
spread = results["std_test_score"].reshape(shape)
for k, (C, marker) in enumerate(zip(grid["svm__C"], "os^", strict=True)):
    axis.errorbar(
        grid["encoder__n_components"],
        scores[:, k],
        spread[:, k],
        marker=marker,
        capsize=3,
        label=f"C = {C}",
    )
axis.set_xscale("log", base=2)
axis.set_xticks(grid["encoder__n_components"], grid["encoder__n_components"])
axis.set(
    title="Twelve pipelines", xlabel="latent features", ylabel="accuracy, mean and deviation of 3"
)
axis.legend(title="linear SVM")
plt.show()
