"""
========================================
How is an activation of one's own added?
========================================

By one small class. Its name enrolls it, so that the gradient check and the estimators find it. The
example is the sine: it repeats itself, and so do the data.
"""

# %%
# The simplest way is a function and its derivative.
import matplotlib.pyplot as plt
import numpy as np

from skscratch import MLPRegressor
from skscratch.core import Dense, Elementwise, Network, Objective, SquaredError, gradient_check


class Sine(Elementwise, name="sine"):
    """y = sin x, with the derivative cos x."""

    def f(self, x):
        """Return the outputs."""
        return np.sin(x)

    def slope(self, x, y):
        """Return the derivative."""
        return np.cos(x)


# %%
# Is the derivative right?
rng = np.random.default_rng(0)
network = Network([Dense(4), Sine(), Dense(2)], n_in=3)
rows = rng.normal(size=(7, 3))
error = gradient_check(Objective(network, SquaredError()), rows, rows[:, :2])
print(f"largest relative error of a derivative: {error:.0e}")

# %%
# The new name works wherever an activation is named. Both networks have the same shape, settings
# and data; the data end at 6.
x = np.sort(rng.uniform(-6, 6, size=(300, 1)), axis=0)
y = np.sin(x[:, 0]) + rng.normal(scale=0.1, size=len(x))
models = {
    name: MLPRegressor(
        hidden_layer_sizes=(32,),
        activation=name,
        solver="lbfgs",
        alpha=0.01,
        max_iter=5000,
        tol=1e-3,
        random_state=0,
    ).fit(x, y)
    for name in ["sine", "relu"]
}
beyond = np.linspace(6, 9, 100)[:, None]
for name, model in models.items():
    error = np.abs(model.predict(beyond) - np.sin(beyond[:, 0])).mean()
    print(f"{name}: R² {model.score(x, y):.3f}, mean error from 6 to 9 {error:.2f}")

# %%
figure, axis = plt.subplots(figsize=(8, 3.4), layout="constrained")
axis.plot(x, y, ".", color="grey", ms=4, label="data")
line = np.linspace(-9, 9, 600)[:, None]
for (name, model), style in zip(models.items(), ["-", "--"], strict=True):
    axis.plot(line, model.predict(line), style, label=f"activation {name!r}")
axis.axvspan(6, 9, color="grey", alpha=0.15, lw=0)
axis.axvspan(-9, -6, color="grey", alpha=0.15, lw=0, label="beyond the data")
axis.set(title="A noisy sine, and 32 hidden units", xlabel="x", ylabel="y", ylim=(-2.5, 2.5))
axis.legend(loc="upper center", ncols=4, fontsize=8)
plt.show()
