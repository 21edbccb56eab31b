"""
==================================================
Can a linear machine match an RBF machine, sooner?
==================================================

A support vector machine with an RBF kernel compares every row with its support vectors, so that its
cost grows with the square of the rows. `Nystroem` turns the kernel into a few hundred features, and
a linear machine on them needs a time that grows with the rows alone.
"""

# %%
# Digits in nine copies, moved by a pixel each way: the same task, with more rows.
from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.kernel_approximation import Nystroem
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC

from skscratch import LinearSVM

images, y = load_digits(return_X_y=True)
train, test = train_test_split(np.arange(len(y)), random_state=0, stratify=y, test_size=0.3)


def shifted(rows):
    """Return the images where they are, and moved by up to one pixel along both axes."""
    square = images[rows].reshape(-1, 8, 8) / 16
    moves = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)]
    moved = [np.roll(square, move, axis=(1, 2)) for move in moves]
    return np.concatenate(moved).reshape(-1, 64), np.tile(y[rows], len(moves))


X_train, y_train = shifted(train)
X_test, y_test = shifted(test)

# %%
# Both see the same kernel; the linear machine through 100 to 600 features of it.
gamma, C = 0.03, 10.0


def measure(model):
    """Return the accuracy, and the seconds of fitting and predicting."""
    began = perf_counter()
    model.fit(X_train, y_train)
    accuracy = model.score(X_test, y_test)
    return accuracy, perf_counter() - began


kernel_accuracy, kernel_seconds = measure(SVC(kernel="rbf", gamma=gamma, C=C))
print(f"SVC, RBF kernel: accuracy {kernel_accuracy:.3f} in {kernel_seconds:.2f} s")
sizes = [100, 200, 400, 600]
results = []
for size in sizes:
    features = Nystroem(gamma=gamma, n_components=size, random_state=0)
    results.append(measure(make_pipeline(features, LinearSVM(C=C, tol=1e-3))))
    print(f"LinearSVM on {size} features: accuracy {results[-1][0]:.3f} in {results[-1][1]:.2f} s")

# %%
# Up and to the left is better.
figure, axis = plt.subplots(figsize=(6, 4), layout="constrained")
accuracies, seconds = np.transpose(results)
axis.plot(seconds, accuracies, "o-", label="Nystroem + LinearSVM")
for size, second, accuracy in zip(sizes, seconds, accuracies, strict=True):
    axis.annotate(size, (second, accuracy), textcoords="offset points", xytext=(5, -12))
axis.plot(kernel_seconds, kernel_accuracy, "s", label='SVC(kernel="rbf")')
axis.set(xlabel="seconds to fit and predict", ylabel="test accuracy", xscale="log")
axis.legend()
plt.show()
