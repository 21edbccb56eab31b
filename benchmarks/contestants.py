"""The process of one contestant: it waits for its turn, trains, and reports its result.

The first line of standard input is the task, each further one a turn: the number of epochs, or of
fits of a linear machine, and the seed of initial weights and batches. Every answer is one line of
JSON. Only the standard library is imported before the library of the contestant, so that its import
can be timed.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.protocol import peak_memory
from benchmarks.workloads import KERAS, MATMUL_ONLY, OURS, PYTORCH, SCIKIT_LEARN, UNSHUFFLED

OF_SCIKIT_LEARN = ["sklearn.neural_network", "sklearn.svm", "sklearn.model_selection"]
MODULES = {
    OURS: ["skscratch"],
    SCIKIT_LEARN: OF_SCIKIT_LEARN,
    UNSHUFFLED: OF_SCIKIT_LEARN,
    KERAS: ["tensorflow", "keras"],
    PYTORCH: ["torch"],
    **{name: ["numpy"] for name in MATMUL_ONLY},
}
PACKAGES = {
    OURS: "skscratch",
    SCIKIT_LEARN: "sklearn",
    UNSHUFFLED: "sklearn",
    KERAS: "keras",
    PYTORCH: "torch",
}
ENDLESS = {"tol": 0.0, "n_iter_no_change": sys.maxsize}
# Adam's epsilon has another place in PyTorch's formula. This one is so small that it has no effect,
# and all take the same steps.
EPSILON = 1e-12


class Data:
    """Rows, labels and initial weights, read from the files that the parent process wrote."""

    def __init__(self, task: dict[str, Any]) -> None:
        import numpy as np

        folder = Path(task["folder"])
        with np.load(folder / f"{task['data']}.npz") as arrays:
            self.X, self.y = arrays["X"][: task["rows"]], arrays["y"][: task["rows"]]
        self._weights = f"{folder / task['name']}-weights-%d.npz"
        self._orders = f"{folder / task['name']}-orders-%d.npy"

    def layers(self, seed: int) -> list[tuple[Any, Any]]:
        """Return the initial weights and biases of each layer."""
        import numpy as np

        with np.load(self._weights % seed) as arrays:
            return [(arrays[f"W{i}"], arrays[f"b{i}"]) for i in range(len(arrays.files) // 2)]

    def orders(self, seed: int) -> Any:
        """Return the order of the rows in each of our epochs."""
        import numpy as np

        return np.load(self._orders % seed)


# Trains for some epochs from a seed, and returns the quality reached: the mean loss over the last
# epoch, as the library itself reports it.
TrainOnce = Callable[[int, int], float]
# The same as one turn: returns the seconds, and what else was measured.
Turn = Callable[[int, int], dict[str, Any]]


def estimator(task: dict[str, Any], ours: bool) -> Any:
    """Return our estimator for a task, or scikit-learn's: they share their parameters."""
    library = importlib.import_module("skscratch" if ours else "sklearn.neural_network")
    options: dict[str, Any] = ENDLESS | {
        "activation": task["activation"],
        "solver": task["solver"],
        "learning_rate_init": task["rate"],
        "batch_size": task["batch"],
        "learning_rate": "constant",
        "alpha": 0.0,
        "epsilon": EPSILON,
        "hidden_layer_sizes": task["widths"],
    }
    if task["solver"] == "sgd":
        options["momentum"] = 0.0
    if task.get("contestant") == UNSHUFFLED:
        options["shuffle"] = False
    if ours:
        options["n_jobs"] = task["threads"]
    if task["kind"] != "autoencoder":
        return library.MLPClassifier(**options)
    if not ours:
        return library.MLPRegressor(**options)
    half = len(task["widths"]) // 2
    options |= {
        "n_components": task["widths"][half],
        "hidden_layer_sizes": task["widths"][:half],
        "latent_activation": task["activation"],
        "output_activation": "logistic",
        "initializer": "glorot_uniform",
        "tied_weights": False,
    }
    return library.AutoencoderTransformer(**options)


def of_estimators(task: dict[str, Any], data: Data, ours: bool) -> TrainOnce:
    """Our estimator or scikit-learn's, whose autoencoder is a regression of X on itself."""
    machine = estimator(task, ours)
    is_autoencoder = task["kind"] == "autoencoder"
    target = data.y
    if is_autoencoder:
        target = None if ours else data.X
    # scikit-learn reports half of the mean squared error.
    factor = 2.0 if is_autoencoder and not ours else 1.0

    def train_once(epochs: int, seed: int) -> float:
        machine.set_params(max_iter=epochs, random_state=seed).fit(data.X, target)
        return factor * float(machine.loss_curve_[-1])

    return train_once


def of_keras(task: dict[str, Any], data: Data) -> TrainOnce:
    """Keras on TensorFlow: `fit` on arrays in memory."""
    import keras
    import tensorflow as tf

    from benchmarks.keras_models import compile_model, snapshot

    tf.config.threading.set_intra_op_parallelism_threads(task["threads"])
    tf.config.threading.set_inter_op_parallelism_threads(task["threads"])
    n_out = data.layers(0)[-1][0].shape[1]
    last = "softmax" if task["kind"] == "classifier" and n_out > 1 else "sigmoid"
    widths = [*task["widths"], n_out]
    model = keras.Sequential(
        [
            keras.Input((data.X.shape[1],)),
            *(keras.layers.Dense(width, task["activation"]) for width in widths[:-1]),
            keras.layers.Dense(n_out, last),
        ]
    )
    if task["kind"] == "autoencoder":
        loss, target = "mse", data.X
    else:
        loss = "sparse_categorical_crossentropy" if n_out > 1 else "binary_crossentropy"
        target = data.y
    compile_model(model, task["solver"], task["rate"], loss, epsilon=EPSILON)
    reset_optimizer = snapshot(model.optimizer.variables)

    def train_once(epochs: int, seed: int) -> float:
        keras.utils.set_random_seed(seed)
        model.set_weights([array for layer in data.layers(seed) for array in layer])
        reset_optimizer()
        history = model.fit(
            data.X,
            target,
            batch_size=task["batch"],
            epochs=epochs,
            verbose=0,
            shuffle=task["batch"] < len(data.X),
        )
        return float(history.history["loss"][-1])

    return train_once


def of_pytorch(task: dict[str, Any], data: Data) -> TrainOnce:
    """PyTorch: batches by index, the fused optimizer."""
    import torch

    torch.set_num_threads(task["threads"])
    X = torch.from_numpy(data.X)
    n_out = data.layers(0)[-1][0].shape[1]
    activations = {"relu": torch.nn.ReLU, "tanh": torch.nn.Tanh}
    loss_of: Any
    if task["kind"] == "autoencoder":
        loss_of, target = torch.nn.MSELoss(), X
    elif n_out > 1:
        loss_of = torch.nn.CrossEntropyLoss()
        target = torch.from_numpy(data.y).long()
    else:
        loss_of = torch.nn.BCEWithLogitsLoss()
        target = torch.from_numpy(data.y).float()[:, None]
    n, batch = len(X), min(task["batch"], len(data.X))

    def network(seed: int) -> Any:
        layers: list[Any] = []
        for W, b in data.layers(seed):
            layer = torch.nn.Linear(*W.shape)
            with torch.no_grad():
                layer.weight.copy_(torch.from_numpy(W.T.copy()))
                layer.bias.copy_(torch.from_numpy(b.copy()))
            layers += [layer, activations[task["activation"]]()]
        layers[-1:] = [torch.nn.Sigmoid()] if task["kind"] == "autoencoder" else []
        return torch.nn.Sequential(*layers)

    optimizers = {
        "adam": lambda ps: torch.optim.Adam(ps, task["rate"], eps=EPSILON, fused=True),
        "sgd": lambda ps: torch.optim.SGD(ps, task["rate"], fused=True),
    }

    def train_once(epochs: int, seed: int) -> float:
        model = network(seed)
        optimizer = optimizers[task["solver"]](model.parameters())
        orders = torch.from_numpy(data.orders(seed)) if batch < n else [None] * epochs
        for order in orders[:epochs]:
            total = torch.zeros(())
            for start in range(0, n, batch):
                rows = slice(None) if order is None else order[start : start + batch]
                x = X if order is None else X[rows]
                t = x if target is X else target if order is None else target[rows]
                optimizer.zero_grad()
                loss = loss_of(model(x), t)
                loss.backward()
                optimizer.step()
                total += loss.detach() * len(x)
            mean = total.item() / n
        return mean

    return train_once


def of_products(task: dict[str, Any], data: Data, split: bool) -> TrainOnce:
    """Only the matrix products of each step, into memory that was allocated before."""
    from threading import Thread

    import numpy as np
    from threadpoolctl import threadpool_limits

    parts = task["threads"] if split else 1
    rows = -(-task["batch"] // parts)
    shapes = [W.shape for W, _ in data.layers(0)]
    widths = [data.X.shape[1], *(n_out for _, n_out in shapes)]
    steps = -(-len(data.X) // task["batch"])

    def products(n_steps: int) -> None:
        y = [np.full((rows, width), 0.5, np.float32) for width in widths]
        dy = [np.full((rows, width), 0.5, np.float32) for width in widths]
        out = [np.empty((rows, width), np.float32) for width in widths]
        W = [np.full(shape, 0.5, np.float32) for shape in shapes]
        gradients = [np.empty_like(w) for w in W]
        for _ in range(n_steps):
            for i, w in enumerate(W):
                y[i].dot(w, out=out[i + 1])
            for i in reversed(range(len(W))):
                y[i].T.dot(dy[i + 1], out=gradients[i])
                if i:
                    dy[i + 1].dot(W[i].T, out=out[i])

    def train_once(epochs: int, seed: int) -> float:
        # Threads that never wait for each other: the cost of synchronising is left out.
        with threadpool_limits(1 if split else task["threads"], user_api="blas"):
            threads = [Thread(target=products, args=(epochs * steps,)) for _ in range(parts)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        return 0.0

    return train_once


def of_calls(task: dict[str, Any], data: Data, ours: bool) -> TrainOnce:
    """Call a method of a small classifier many times, each with a few rows."""
    classifier = estimator(task, ours)
    n, name = task["n_rows"], task["call"]
    X, y = data.X[:n].copy(), data.y[:n].copy()
    if name == "fit":
        classifier.set_params(max_iter=50, random_state=0)
    else:
        classifier.set_params(max_iter=10, random_state=0).fit(data.X, data.y)
    call, arguments = getattr(classifier, name), (X,) if name == "predict" else (X, y)

    def train_once(epochs: int, seed: int) -> float:
        for _ in range(epochs):
            call(*arguments)
        return 1 - float(classifier.score(data.X, data.y))

    return train_once


def of_grid(task: dict[str, Any], data: Data, ours: bool) -> TrainOnce:
    """Search a grid over the parameters of a classifier, two processes at a time."""
    from sklearn.model_selection import GridSearchCV

    classifier = estimator(task, ours).set_params(max_iter=20, random_state=0)
    if ours:
        # Each process takes its share of the threads.
        classifier.set_params(n_jobs=None)
    grid = {"alpha": [1e-4, 1e-2, 1.0], "learning_rate_init": [1e-3, 3e-3, 1e-2]}
    X, y = data.X[:2000], data.y[:2000]

    def train_once(epochs: int, seed: int) -> float:
        search = GridSearchCV(classifier, grid, cv=3, n_jobs=task["threads"]).fit(X, y)
        return 1 - float(search.best_score_)

    return train_once


def of_search(task: dict[str, Any], data: Data, ours: bool) -> TrainOnce:
    """Search a grid over encoder and machine, two processes at a time."""
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler

    options = ENDLESS | {
        "max_iter": 20,
        "random_state": 0,
        "learning_rate": "constant",
        "learning_rate_init": 5e-3,
    }
    if ours:
        from skscratch import AutoencoderTransformer, LinearSVM

        encoder: Any = AutoencoderTransformer(
            32,
            (128,),
            output_activation="identity",
            initializer="glorot_uniform",
            tied_weights=False,
            batch_size=task["batch"],
            **options,
        )
        machine: Any = LinearSVM()
    else:
        from sklearn.svm import LinearSVC

        from benchmarks.regressor_as_encoder import RegressorAsEncoder

        encoder = RegressorAsEncoder(
            n_components=32, max_iter=20, learning_rate_init=5e-3, batch_size=task["batch"]
        )
        machine = LinearSVC(random_state=0, max_iter=10_000)
    pipeline = Pipeline([("encoder", encoder), ("scaler", StandardScaler()), ("svm", machine)])
    grid = {"encoder__n_components": [16, 32, 64], "svm__C": [0.1, 1.0, 10.0]}
    wanted = int(task["rows"] or len(data.X))

    def train_once(epochs: int, seed: int) -> float:
        search = GridSearchCV(pipeline, grid, cv=3, n_jobs=task["threads"])
        search.fit(data.X[:wanted], data.y[:wanted])
        return 1 - float(search.best_score_)

    return train_once


def prepare(task: dict[str, Any]) -> TrainOnce:
    """Return the function that trains once."""
    data, who = Data(task), task["contestant"]
    if task["kind"] == "calls":
        return of_calls(task, data, ours=who == OURS)
    if task["kind"] == "search":
        search = of_grid if task["widths"] else of_search
        return search(task, data, ours=who == OURS)
    if who in (OURS, SCIKIT_LEARN, UNSHUFFLED):
        return of_estimators(task, data, ours=who == OURS)
    if who in MATMUL_ONLY:
        return of_products(task, data, split=who == MATMUL_ONLY[1])
    return (of_keras if who == KERAS else of_pytorch)(task, data)


def prepare_turn(task: dict[str, Any]) -> Turn:
    """Return the function that takes one turn."""
    if task["kind"] == "linear":
        from benchmarks.linear_fits import LinearFits

        return LinearFits(task)
    if task["kind"] == "text":
        from benchmarks.text_turns import TextTurns

        return TextTurns(task)
    train_once = prepare(task)

    def turn(epochs: int, seed: int) -> dict[str, Any]:
        began = perf_counter()
        loss = train_once(epochs, seed)
        return {"seconds": perf_counter() - began, "loss": loss}

    return turn


def main() -> None:
    """Answer the parent process until the input ends."""
    # Libraries may print: only answers go to the original standard output.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def answer(**values: Any) -> None:
        print(json.dumps(values), file=answers, flush=True)

    task = json.loads(sys.stdin.readline())
    began = perf_counter()
    try:
        modules = [importlib.import_module(name) for name in MODULES[task["contestant"]]]
    except ImportError as error:
        answer(missing=str(error))
        return
    seconds = perf_counter() - began
    warnings.simplefilter("ignore")
    package = PACKAGES.get(task["contestant"])
    version = sys.modules[package].__version__ if package else modules[0].__version__
    turn = prepare_turn(task)
    answer(import_seconds=seconds, version=version)
    for line in sys.stdin:
        result = turn(*json.loads(line))
        answer(**result, peak_mib=peak_memory())


if __name__ == "__main__":
    main()
