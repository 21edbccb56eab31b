"""
=============================================
What does a hidden layer do for exclusive or?
=============================================

No straight line separates the two classes of XOR. A hidden layer of four units bends the plane
until one does. The network is put together from layers, and trained by plain gradient descent.
"""

# %%
# Four points are all the data. The network is a list of layers and the width of its input.
import matplotlib.pyplot as plt
import numpy as np

from skscratch.core import Constant, Dense, Network, Objective, Sigmoid, SquaredError, Tanh, train
from skscratch.datasets import load_xor

X, y = load_xor()
network = Network([Dense(4), Tanh(), Dense(1), Sigmoid()], n_in=2, rng=1)

# %%
# One batch holds all four points, so every epoch is one step.
run = train(Objective(network, SquaredError()), X, y, schedule=Constant(0.5), max_epochs=5000)
for point, output, target in zip(X, network(X).ravel(), y.ravel(), strict=True):
    print(f"{point} → {output:.3f}, should be {target:.0f}")
print(f"loss {run.losses[0]:.3f} at first, {run.losses[-1]:.1e} after {run.n_epochs} steps")

# %%
# Between the points the output is nobody's target: it shows where the network draws the line.
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
left.semilogy(run.losses)
left.set(title="Training", xlabel="step", ylabel="mean squared error")
side = np.linspace(-0.3, 1.3, 161)
grid = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
outputs = network(grid).reshape(len(side), len(side))
colours = right.contourf(side, side, outputs, levels=np.linspace(0, 1, 11), cmap="RdBu_r")
right.contour(side, side, outputs, levels=[0.5], colors="black")
for label, marker in [(0, "o"), (1, "s")]:
    points = X[y.ravel() == label]
    right.scatter(*points.T, marker=marker, s=80, c="white", edgecolors="black", label=f"{label}")
right.set(title="Output, with the boundary at ½", xlabel="first input", ylabel="second input")
right.legend(title="XOR", loc="center")
figure.colorbar(colours, ax=right)
plt.show()
