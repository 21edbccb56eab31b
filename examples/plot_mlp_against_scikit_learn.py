"""
=========================================
Is it the same network as scikit-learn's?
=========================================

Change the import line, keep the rest: for the same settings and the same ``random_state`` the
curves lie on each other. What differs is the time, and what can be added.
"""

# %%
# Two data sets that come with scikit-learn, each split once.
import time
import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn import neural_network
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from skscratch import MLPClassifier

# Both stop at max_iter, and both say so; here that is meant.
warnings.simplefilter("ignore", ConvergenceWarning)
settings = {"hidden_layer_sizes": (100,), "max_iter": 20, "tol": 0.0, "random_state": 0}


def fit(kind, X, y):
    """Return the fitted model, and the shorter of two times."""
    times = []
    for _ in range(2):
        started = time.perf_counter()
        model = kind(**settings).fit(X, y)
        times.append(time.perf_counter() - started)
    return model, min(times)


# %%
# Score, time and loss curves, side by side.
figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
for axis, load in zip(axes, [load_digits, load_breast_cancer], strict=True):
    X, y = load(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0, stratify=y)
    scaler = StandardScaler().fit(X_train)
    X_train, X_test = scaler.transform(X_train), scaler.transform(X_test)
    theirs, their_time = fit(neural_network.MLPClassifier, X_train, y_train)
    ours, our_time = fit(MLPClassifier, X_train, y_train)
    difference = max(
        np.abs(mine - its).max() for mine, its in zip(ours.coefs_, theirs.coefs_, strict=True)
    )
    print(
        f"{load.__name__}: test accuracy {ours.score(X_test, y_test):.3f} and "
        f"{theirs.score(X_test, y_test):.3f}, largest difference of a weight {difference:.0e}, "
        f"time {our_time / their_time:.2f} of scikit-learn's"
    )
    axis.semilogy(theirs.loss_curve_, lw=4, alpha=0.4, label="scikit-learn")
    axis.semilogy(ours.loss_curve_, "--", label="skscratch")
    axis.set(title=load.__name__.removeprefix("load_"), xlabel="epoch", ylabel="log loss")
    axis.legend()

# %%
# What scikit-learn's network has not: a validation set of one's own, and dropout.
X_fit, X_val, y_fit, y_val = train_test_split(X_train, y_train, random_state=0, stratify=y_train)
model = MLPClassifier(**settings, dropout=0.3).fit(X_fit, y_fit, X_val=X_val, y_val=y_val)
axes[1].semilogy(model.validation_loss_curve_, ":", label="skscratch, dropout, validation")
axes[1].legend()
plt.show()
