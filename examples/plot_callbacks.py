"""
========================================
How can training be watched and stopped?
========================================

scikit-learn's callbacks work on these networks: one task is one epoch. ``ScoringMonitor`` keeps a
score of every epoch, ``ProgressBar`` draws bars, and a callback of one's own is a short class.
"""

# %%
# Four methods make a callback. Where `on_fit_task_end` returns True, training stops.
import warnings

import matplotlib.pyplot as plt
from sklearn.callback import ProgressBar, ScoringMonitor
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skscratch import MLPClassifier
from skscratch.datasets import load_digits


class StopAt:
    """Stop as soon as the network is good enough on rows of one's own."""

    def __init__(self, accuracy, X, y):
        self.accuracy, self.X, self.y = accuracy, X, y
        self.reached = []

    def setup(self, estimator, context):
        """Before a fit: forget the last one."""
        self.reached.clear()

    def teardown(self, estimator, context):
        """After a fit there is nothing to do."""

    def on_fit_task_begin(self, estimator, context):
        """Before an epoch there is nothing to do."""

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
        """After an epoch; of all it could be given, it asks for the network as it stands."""
        if context.task_name != "epoch":
            return False
        self.reached.append(fitted_estimator.score(self.X, self.y))
        return self.reached[-1] >= self.accuracy


# %%
# Callbacks are set, and then `fit` is called as ever.
digits = load_digits()
monitor = ScoringMonitor(scoring="accuracy")
stop = StopAt(0.97, digits.X_test, digits.y_test)
model = MLPClassifier((32,), batch_size=64, random_state=0).set_callbacks(monitor, stop)
model.fit(digits.X_train, digits.y_train)
watched = [row["accuracy"] for row in monitor.get_logs().data if row["task_name"] == "epoch"]
print(f"stopped after {model.n_iter_} epochs: {stop.reached[-1]:.3f} on the watched rows")

# %%
# A progress bar may be set on a whole pipeline. It draws one bar for each level: the pipeline, its
# steps, the epochs.
with warnings.catch_warnings():
    # Ten epochs are enough to see a bar.
    warnings.simplefilter("ignore", ConvergenceWarning)
    pipeline = make_pipeline(StandardScaler(), MLPClassifier(max_iter=10, random_state=0))
    pipeline.set_callbacks(ProgressBar()).fit(digits.X_train, digits.y_train)

# %%
figure, axis = plt.subplots(figsize=(5.5, 3.6), layout="constrained")
epochs = range(1, model.n_iter_ + 1)
axis.plot(epochs, watched, label="training rows, by ScoringMonitor")
axis.plot(epochs, stop.reached, label="own rows, by StopAt")
axis.axhline(stop.accuracy, color="grey", ls=":", label="where to stop")
axis.set(title="Watched while it trained", xlabel="epoch", ylabel="accuracy")
axis.legend()
plt.show()
