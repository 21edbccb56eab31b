"""The workloads: their data, the contestants in each, and the ratios to reach.

A contestant imports this module before its own library, so that only the standard library is used.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

OURS, KERAS, PYTORCH, SCIKIT_LEARN = "skscratch", "Keras", "PyTorch", "scikit-learn"
# scikit-learn shuffles the rows also if all of them are one batch, unless shuffle=False.
UNSHUFFLED = "scikit-learn, shuffle=False"
# Only the matrix products of a step: the whole batch with threads inside BLAS, or its rows split
# over Python threads. No step is faster than the faster of the two.
MATMUL_ONLY = ("products, BLAS threads", "products, split rows")


@dataclass(frozen=True)
class Workload:
    """The same work for all contestants: data, architecture, optimizer and its constants, epochs.

    `short` is the number of epochs of contestants that would need minutes for `epochs`; their time
    counts by the epoch, and their loss is compared with ours after as many. A goal of None: the
    contestant is there for comparison only. `product_goal` is that of a step's time relative to its
    matrix products. If the work is calls, `epochs` is their number, `call` a method and `n_rows`
    the rows it is given.
    """

    description: str
    kind: str
    data: str = "mnist"
    widths: tuple[int, ...] = ()
    activation: str = "relu"
    solver: str = "adam"
    rate: float = 1e-3
    batch: int = 200
    epochs: int = 2
    short: dict[str, int] = field(default_factory=dict)
    goals: dict[str, float | None] = field(default_factory=dict)
    product_goal: float | None = None
    matmul_only: bool = True
    call: str = ""
    n_rows: int = 0

    def contestants(self) -> list[str]:
        """Return the names of the contestants, ours first."""
        return [OURS, *self.goals, *(MATMUL_ONLY if self.matmul_only else ())]

    def epochs_of(self, contestant: str) -> int:
        """Return how many epochs a contestant trains in one turn."""
        return self.short.get(contestant, self.epochs)

    def task(self, **changes: Any) -> dict[str, Any]:
        """Return the work as plain data."""
        return asdict(self) | changes


WORKLOADS = {
    "ae-wide": Workload(
        "autoencoder 784–512–256–128–64–128–256–512–784, Adam, batch 256",
        "autoencoder",
        widths=(512, 256, 128, 64, 128, 256, 512),
        batch=256,
        epochs=3,
        goals={KERAS: 1.5, PYTORCH: 1.1},
        product_goal=1.2,
    ),
    "ae-narrow": Workload(
        "autoencoder 784–128–64–32–64–128–784, Adam, batch 32",
        "autoencoder",
        widths=(128, 64, 32, 64, 128),
        batch=32,
        goals={KERAS: 1.6, PYTORCH: 1.4, SCIKIT_LEARN: 2.2},
        product_goal=2.2,
    ),
    "mlp": Workload(
        "classifier 784–100–10, Adam, batch 200",
        "classifier",
        widths=(100,),
        epochs=4,
        goals={KERAS: 1.5, PYTORCH: 1.4, SCIKIT_LEARN: 2},
        product_goal=1.7,
    ),
    "table-1": Workload(
        "classifier 20–100–10 on a table of 10,000 rows, Adam, batch 200",
        "classifier",
        data="table",
        widths=(100,),
        epochs=20,
        goals={PYTORCH: 4, SCIKIT_LEARN: 4},
        product_goal=2.5,
    ),
    "table-3": Workload(
        "classifier 20–256–256–256–10 on a table of 10,000 rows, Adam, batch 200",
        "classifier",
        data="table",
        widths=(256, 256, 256),
        epochs=6,
        goals={PYTORCH: 1.3, SCIKIT_LEARN: 2.2},
        product_goal=1.6,
    ),
    "xor": Workload(
        "classifier 2–4–1, tanh, gradient descent, all four rows at once",
        "classifier",
        data="xor",
        widths=(4,),
        activation="tanh",
        solver="sgd",
        rate=0.5,
        batch=4,
        epochs=50_000,
        short={KERAS: 500},
        goals={KERAS: 300, PYTORCH: 10, SCIKIT_LEARN: 10, UNSHUFFLED: None},
        matmul_only=False,
    ),
    "pipeline-search": Workload(
        "GridSearchCV over encoder and linear SVM on 1,797 digits, two processes",
        "search",
        data="digits",
        epochs=1,
        goals={SCIKIT_LEARN: 3},
        matmul_only=False,
    ),
    "search": Workload(
        "GridSearchCV over alpha and learning_rate_init of a classifier 20–100–10, 2,000 rows, two "
        "processes",
        "search",
        data="table",
        widths=(100,),
        epochs=1,
        goals={SCIKIT_LEARN: 2},
        matmul_only=False,
    ),
    **{
        f"{call}-{n}": Workload(
            f"classifier 64–50–10: {call} of {n} rows",
            "calls",
            data="digits",
            widths=(50,),
            epochs=500,
            call=call,
            n_rows=n,
            goals={SCIKIT_LEARN: 1},
            matmul_only=False,
        )
        for call, sizes in {"predict": (1, 10, 100), "partial_fit": (1, 20)}.items()
        for n in sizes
    },
    "fit-iris": Workload(
        "classifier 4–100–3: fit of 150 rows, 50 epochs",
        "calls",
        data="iris",
        widths=(100,),
        epochs=10,
        call="fit",
        n_rows=150,
        goals={SCIKIT_LEARN: 1},
        matmul_only=False,
    ),
}
# Our time as one thing grows; all else is as in the workload.
GROWTH: dict[str, tuple[str, list[dict[str, Any]]]] = {
    "rows": ("ae-wide", [{"rows": n} for n in (3_750, 7_500, 15_000, 30_000)]),
    "widths": (
        "mlp",
        [{"widths": (n,), "rows": 15_000} for n in (64, 128, 256, 512, 1024)],
    ),
    "batch": ("ae-wide", [{"batch": n, "rows": 15_000} for n in (32, 64, 128, 256, 512, 1024)]),
    "threads": ("ae-wide", [{"threads": n, "rows": 15_000} for n in (1, 2)]),
}


def write_data(folder: Path, mnist: str | None, names: list[str]) -> None:
    """Write the rows and labels that the workloads need, unless they are there."""
    import numpy as np
    from sklearn.datasets import load_digits, load_iris, make_classification

    from skscratch.datasets import load_mnist

    def write(name: str, X: Any, y: Any) -> None:
        np.savez(folder / f"{name}.npz", X=np.asarray(X, np.float32), y=y)

    for name in names:
        if (folder / f"{name}.npz").exists():
            continue
        if name == "xor":
            write(name, [[0, 0], [0, 1], [1, 0], [1, 1]], np.array([0, 1, 1, 0]))
        elif name == "digits":
            X, y = load_digits(return_X_y=True)
            write(name, X / 16, y)
        elif name == "iris":
            write(name, *load_iris(return_X_y=True))
        elif name == "table":
            X, y = make_classification(
                10_000, 20, n_informative=12, n_classes=10, class_sep=1.5, random_state=0
            )
            write(name, X, y)
        else:
            images = load_mnist(mnist)
            write(name, images.X_train, images.y_train)
