"""
==================================
What happens in one training step?
==================================

Forward, loss, backward, update: four lines. Here they are written out for a classifier of
handwritten digits, with nothing but the layers, losses and optimizers of ``skscratch.core``. The
function ``train`` does the same, with threads, schedules and stopping.
"""

# %%
# Layers are recipes. The network holds the parameters, all in one vector; the objective joins it
# with a loss and a penalty on the weights.
import matplotlib.pyplot as plt
import numpy as np

from skscratch.core import Adam, Dense, LogLoss, Network, Objective, ReLU, gradient_check
from skscratch.datasets import load_digits

digits = load_digits()
targets = np.eye(10)[digits.y_train]
network = Network([Dense(64), ReLU(), Dense(10)], n_in=64, rng=0)
objective = Objective(network, LogLoss(), l2=0.01)
print(f"{network.n_params} parameters, {network.n_weights} of them weights")

# %%
# Is the gradient right? Central differences know nothing of our formulas.
small = Network([Dense(5), ReLU(), Dense(10)], n_in=64, rng=0)
rows = digits.X_train[:20].astype(np.float64)
error = gradient_check(Objective(small, LogLoss(), l2=0.01), rows, targets[:20])
print(f"largest relative error of a derivative: {error:.0e}")

# %%
# A workspace has room for the outputs and the gradients of a batch. `value_and_grad` goes forward
# through the layers, takes the loss, and goes backward; the optimizer changes the parameters.
rng = np.random.default_rng(0)
workspace = network.workspace(64, train=True, rng=rng)
optimizer = Adam()
state = optimizer.start(network.params)
losses, accuracies = [], []
for _ in range(20):
    order = rng.permutation(len(targets))
    for start in range(0, len(order), 64):
        batch = order[start : start + 64]
        x, t = digits.X_train[batch].astype(np.float64), targets[batch]
        losses.append(objective.value_and_grad(x, t, workspace))
        optimizer.step(network.params, workspace.grad, 3e-3, state)
    accuracies.append((network(digits.X_test).argmax(axis=1) == digits.y_test).mean())
print(f"test accuracy {accuracies[0]:.3f} after one epoch, {accuracies[-1]:.3f} after twenty")

# %%
# What a unit of the first layer looks for is a column of its weights: an image like the input.
figure = plt.figure(figsize=(9, 3.6), layout="constrained")
curves, pictures = figure.subfigures(1, 2)
axis = curves.subplots()
axis.semilogy(losses, lw=0.8)
axis.set(title="Training", xlabel="step", ylabel="log loss of the batch")
weights = network.views[0].W.T
largest = np.abs(weights).max()
pictures.suptitle("Weights of sixteen units")
for axis, image in zip(pictures.subplots(4, 4).flat, weights, strict=False):
    axis.imshow(image.reshape(digits.image_shape), cmap="RdBu_r", vmin=-largest, vmax=largest)
    axis.set_axis_off()
plt.show()
