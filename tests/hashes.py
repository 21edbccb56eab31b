"""Compare the bits of fitted parameters between two commits: ``python -m tests.hashes COMMIT``.

Some twenty configurations are fitted on bundled data, once by the code of an earlier commit, in a
temporary worktree, and once by the current code. The table has the SHA-256 of the fitted parameters
of both. Nothing is stored: bits depend on the machine, so both are computed in one run.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]


def configurations() -> dict[str, Callable[[], Any]]:
    """Return functions by name that fit one estimator each, with public parameters only."""
    from sklearn.datasets import load_diabetes, load_digits

    from skscratch import AutoencoderTransformer, LinearSVM, MLPClassifier, MLPRegressor

    X, y = load_digits(return_X_y=True)
    X = X / 16
    D, t = load_diabetes(return_X_y=True)
    weight = np.arange(len(X)) % 3 + 0.5
    deep = {"hidden_layer_sizes": (400, 300), "max_iter": 3, "random_state": 0}
    small = {"hidden_layer_sizes": (20,), "max_iter": 5, "random_state": 0}

    def classifier(rows: Any = X, weight: Any = None, **options: Any) -> Any:
        return MLPClassifier(**(small | options)).fit(rows, y, weight)

    def encoder(rows: Any = X, weight: Any = None, **options: Any) -> Any:
        return AutoencoderTransformer(8, **(small | options)).fit(rows, sample_weight=weight)

    def regressor(**options: Any) -> Any:
        return MLPRegressor(**(small | options)).fit(D, t / 100)

    def svm(rows: Any = X, weight: Any = None, **options: Any) -> Any:
        return LinearSVM(random_state=0, **options).fit(rows, y, weight)

    def warm() -> Any:
        model = MLPClassifier(**small, warm_start=True).fit(X, y)
        return model.fit(X, y)

    def stream(model: Any) -> Any:
        for start in range(0, 1500, 100):
            rows = slice(start, start + 100)
            model.partial_fit(X[rows], y[rows], classes=np.arange(10))
        return model

    single = X.astype(np.float32)
    return {
        "classifier": classifier,
        "classifier, float32, large, 1 thread": lambda: classifier(single, n_jobs=1, **deep),
        "classifier, float32, large, 2 threads": lambda: classifier(single, n_jobs=2, **deep),
        "classifier, sgd, weights": lambda: classifier(solver="sgd", weight=weight),
        "classifier, lbfgs, weights": lambda: classifier(solver="lbfgs", weight=weight),
        "classifier, adamw": lambda: classifier(solver="adamw", alpha=0.01),
        "classifier, early stopping": lambda: classifier(early_stopping=True, max_iter=15),
        "classifier, dropout, layer norm": lambda: classifier(dropout=0.2, layer_norm=True),
        "classifier, clipped gradients": lambda: classifier(max_gradient_norm=0.1),
        "classifier, warm start": warm,
        "classifier, partial_fit": lambda: stream(MLPClassifier(**small)),
        "regressor": regressor,
        "regressor, huber, cosine": lambda: regressor(loss="huber", learning_rate="cosine"),
        "regressor, lbfgs, poisson": lambda: regressor(solver="lbfgs", loss="poisson"),
        "encoder": encoder,
        "encoder, float32, large": lambda: encoder(single, n_jobs=2, **deep),
        "encoder, weights": lambda: encoder(weight=weight),
        "encoder, noise": lambda: encoder(noise="gaussian", solver="rmsprop"),
        "encoder, contraction": lambda: encoder(contraction=0.1, activation="silu"),
        "encoder, variational": lambda: encoder(beta=1.0, loss="auto"),
        "encoder, sparsity target": lambda: encoder(
            latent_activation="logistic", sparsity=0.1, sparsity_target=0.1
        ),
        "svm": svm,
        "svm, hinge, float32": lambda: svm(single, loss="hinge"),
        "svm, weights": lambda: svm(weight=weight),
        "svm, crammer_singer": lambda: svm(multi_class="crammer_singer"),
        "svm, sgd": lambda: svm(solver="sgd"),
        "svm, partial_fit": lambda: stream(LinearSVM(solver="sgd", random_state=0)),
    }


def digest(model: Any) -> str:
    """Return the SHA-256 of the fitted parameters."""
    arrays = [model.coef_, model.intercept_] if hasattr(model, "coef_") else model.coefs_
    if hasattr(model, "intercepts_"):
        arrays = [*arrays, *model.intercepts_]
    content = hashlib.sha256()
    for array in arrays:
        content.update(f"{array.dtype} {array.shape}".encode())
        content.update(np.ascontiguousarray(array).tobytes())
    return content.hexdigest()


def print_digests() -> None:
    """Compute the digests with the code that this process imports; print them as JSON."""
    warnings.simplefilter("ignore")
    print(json.dumps({name: digest(fit()) for name, fit in configurations().items()}))


def digests_of(folder: Path) -> dict[str, str]:
    """Compute the digests in a process that imports the code of a folder."""
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    command = [sys.executable, __file__, "--print"]
    run = subprocess.run(command, env=environment, cwd=folder, stdout=subprocess.PIPE, check=True)
    digests: dict[str, str] = json.loads(run.stdout)
    return digests


def main() -> int:
    """Print the table; the exit status is the number of configurations that differ."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("commit", nargs="?", default="HEAD", help="the earlier commit")
    parser.add_argument("--print", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.print:
        print_digests()
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        worktree = Path(temporary) / "earlier"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "-q", "--detach", worktree, options.commit], check=True)
        try:
            before = digests_of(worktree)
        finally:
            subprocess.run([*git, "remove", "--force", worktree], check=True)
    now = digests_of(ROOT)
    print(f"| configuration | {options.commit} | now | |\n|---|---|---|---|")
    for name, value in now.items():
        same = "same" if value == before.get(name) else "DIFFERENT"
        print(f"| {name} | {before.get(name, '')[:16]} | {value[:16]} | {same} |")
    n_different = sum(before.get(name) != value for name, value in now.items())
    print(f"{n_different} of {len(now)} differ")
    return n_different


if __name__ == "__main__":
    sys.exit(main())
