"""
======================================
Which classifier suits text, and when?
======================================

Texts become sparse rows of thousands of columns. Linear models and a network learn from them all at
once, or piece by piece with `partial_fit`.
"""

# %%
# Texts of common words, and of a few words of their topic's own.
import warnings
from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import HashingVectorizer, TfidfVectorizer
from sklearn.linear_model import SGDClassifier
from sklearn.svm import LinearSVC

from skscratch import LinearSVM, MLPClassifier

rng = np.random.default_rng(0)
topics = rng.integers(8, size=3000)


def text(topic):
    """Return thirty common words, and four of the topic's."""
    common = rng.zipf(1.3, size=30) % 20_000
    own = rng.integers(200, size=4)
    return " ".join([f"word{k}" for k in common] + [f"topic{topic}of{k}" for k in own])


texts = np.array([text(topic) for topic in topics])
train, test = np.split(np.arange(3000), [2000])

# %%
# All at once. The network stops after ten epochs, before it has converged.
vectorizer = TfidfVectorizer(sublinear_tf=True).fit(texts[train])
X_train, X_test = vectorizer.transform(texts[train]), vectorizer.transform(texts[test])
batch_models = {
    "LinearSVM": LinearSVM(),
    "LinearSVC": LinearSVC(),
    "MLPClassifier": MLPClassifier((20,), max_iter=10, learning_rate_init=0.01, random_state=0),
}
results = {}
for name, model in batch_models.items():
    began = perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X_train, topics[train])
    results[name] = perf_counter() - began, model.score(X_test, topics[test])

# %%
# As a stream of ten pieces, each of which is seen once.
hashing = HashingVectorizer(n_features=2**16, alternate_sign=False)
pieces = [(hashing.transform(texts[rows]), topics[rows]) for rows in np.array_split(train, 10)]
curves = {}
for model in (LinearSVM(random_state=0), SGDClassifier(random_state=0)):
    name, seconds, curve = f"{type(model).__name__}, stream", 0.0, []
    for X, y in pieces:
        began = perf_counter()
        model.partial_fit(X, y, classes=np.arange(8))
        seconds += perf_counter() - began
        curve.append(model.score(hashing.transform(texts[test]), topics[test]))
    results[name], curves[name] = (seconds, curve[-1]), curve
for name, (seconds, accuracy) in results.items():
    print(f"{name:22s} accuracy {accuracy:.3f} in {seconds:.2f} s")

# %%
# Left: accuracy against training time. Right: accuracy as the stream goes on.
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained", sharey=True)
for name, (seconds, accuracy) in results.items():
    left.plot(seconds, accuracy, "o", label=name)
left.set(xlabel="seconds to fit", ylabel="test accuracy", xscale="log")
left.legend()
for name, curve in curves.items():
    right.plot(np.arange(1, 11) * 200, curve, label=name)
right.set(xlabel="texts seen")
right.legend()
plt.show()
