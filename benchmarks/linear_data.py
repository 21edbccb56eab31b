"""The data of the benchmark of `LinearSVM`: MNIST, texts, random rows, and small tables.

MNIST and the texts come from folders that the command line names; all else is made here. Each data
set is written once to the output folder, where the processes of the contestants read it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

# Rows and labels.
Data = tuple[Any, Any]


def pixels(folder: str) -> Data:
    """Return the training images of MNIST."""
    from skscratch.datasets import load_mnist

    images = load_mnist(folder)
    return images.X_train, images.y_train


def latent(folder: str) -> Data:
    """Return 64 standardised features of an autoencoder, trained on MNIST for three epochs."""
    from sklearn.preprocessing import StandardScaler

    from skscratch import AutoencoderTransformer

    X, y = pixels(folder)
    encoder = AutoencoderTransformer(
        64, (512, 256, 128), tied_weights=False, max_iter=3, batch_size=256, random_state=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        features = encoder.fit_transform(X)
    return StandardScaler().fit_transform(features).astype(np.float32), y


def weighted_text(name: str, folder: str, *, test: bool = False) -> Data:
    """Return the training rows of word counts, or the test rows, as TF-IDF weights.

    The inverse document frequencies are those of the training rows. The file holds the word counts
    as a CSR matrix (``counts``, ``columns``, ``rows``, ``shape``), ``labels``, and ``n_train``, the
    number of training rows, which come first.
    """
    from scipy import sparse
    from sklearn.feature_extraction.text import TfidfTransformer

    with np.load(Path(folder) / f"{name}.npz") as arrays:
        n_train = int(arrays["n_train"])
        counts = sparse.csr_matrix(
            (arrays["counts"].astype(np.float64), arrays["columns"], arrays["rows"]),
            tuple(arrays["shape"]),
        )
        y = arrays["labels"]
    weights = TfidfTransformer(sublinear_tf=True).fit(counts[:n_train])
    rows = slice(n_train, None) if test else slice(n_train)
    X = weights.transform(counts[rows])
    X.sum_duplicates()
    return X, y[rows]


def random_text(n_rows: int, n_columns: int, n_classes: int) -> Data:
    """Return rows of 40 random words and 6 of the 40 words that belong to their class."""
    from scipy import sparse

    rng = np.random.default_rng(0)
    y = rng.integers(n_classes, size=n_rows)
    own = (y[:, None] * 997 + rng.integers(40, size=(n_rows, 6))) % n_columns
    columns = np.hstack([rng.integers(n_columns, size=(n_rows, 40)), own])
    rows = np.repeat(np.arange(n_rows), columns.shape[1])
    # Sums the words that a row has more than once.
    X = sparse.csr_matrix((np.ones(columns.size), (rows, columns.ravel())), (n_rows, n_columns))
    return X, y


def random_table(n_rows: int, n_columns: int, n_classes: int) -> Data:
    """Return normally distributed columns, of which one is larger in each class."""
    rng = np.random.default_rng(0)
    y = rng.integers(n_classes, size=n_rows)
    X = rng.normal(size=(n_rows, n_columns))
    X[np.arange(n_rows), y] += 1.5
    return X, y


def iris() -> Data:
    """Return the first two classes of iris."""
    from sklearn.datasets import load_iris

    X, y = load_iris(return_X_y=True)
    return X[y < 2], y[y < 2]


def digits() -> Data:
    """Return the small images of scikit-learn, with pixels from 0 to 1."""
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    return X / 16, y


def breast_cancer() -> Data:
    """Return a standardised table of 569 rows."""
    from sklearn.datasets import load_breast_cancer
    from sklearn.preprocessing import StandardScaler

    X, y = load_breast_cancer(return_X_y=True)
    return StandardScaler().fit_transform(X), y


MADE_HERE: dict[str, Callable[[], Data]] = {
    "sparse-5000x50000": partial(random_text, 5_000, 50_000, 20),
    "sparse-2000x1000000": partial(random_text, 2_000, 1_000_000, 3),
    "dense-1100x6000": partial(random_table, 1_100, 6_000, 2),
    "dense-3000x3000": partial(random_table, 3_000, 3_000, 2),
    "dense-200x20000": partial(random_table, 200, 20_000, 5),
    "iris": iris,
    "digits": digits,
    "breast-cancer": breast_cancer,
}
# The option of the command line that names the folder, and what reads it.
READ_FROM_FOLDERS: dict[str, tuple[str, Callable[[str], Data]]] = {
    "latent": ("mnist-dir", latent),
    "pixels": ("mnist-dir", pixels),
    "newsgroups": ("text-dir", partial(weighted_text, "newsgroups")),
    "newsgroups-test": ("text-dir", partial(weighted_text, "newsgroups", test=True)),
    "reviews": ("text-dir", partial(weighted_text, "reviews")),
}


def missing_option(folder: Path, name: str, folders: Mapping[str, str | None]) -> str | None:
    """Return the option without which a data set cannot be written, or None."""
    if name in MADE_HERE or _file(folder, name).exists():
        return None
    option, _ = READ_FROM_FOLDERS[name]
    return None if folders.get(option) else f"--{option}"


def write(folder: Path, name: str, folders: Mapping[str, str | None]) -> None:
    """Write a data set, unless it is there already."""
    file = _file(folder, name)
    if file.exists():
        return
    if name in MADE_HERE:
        X, y = MADE_HERE[name]()
    else:
        option, read = READ_FROM_FOLDERS[name]
        X, y = read(str(folders[option]))
    arrays = {"X": X}
    if not isinstance(X, np.ndarray):
        arrays = {"data": X.data, "indices": X.indices, "indptr": X.indptr, "shape": X.shape}
    file.parent.mkdir(parents=True, exist_ok=True)
    # An interrupted run must not leave half a file under the name of a whole one.
    fresh = file.with_name(f"fresh-{file.name}")
    np.savez(fresh, y=y, **arrays)
    fresh.replace(file)


def load(
    folder: Path,
    name: str,
    dtype: str | None = None,
    *,
    rows: int | None = None,
    columns: int | None = None,
    classes: int | None = None,
) -> Data:
    """Read rows and labels: all, or fewer rows, columns or classes."""
    from scipy import sparse

    with np.load(_file(folder, name)) as arrays:
        y = arrays["y"]
        if "X" in arrays:
            X = arrays["X"]
        else:
            csr = (arrays["data"], arrays["indices"], arrays["indptr"])
            X = sparse.csr_matrix(csr, tuple(arrays["shape"]))
    if classes is not None:
        chosen = np.isin(y, np.unique(y)[:classes])
        X, y = X[chosen], y[chosen]
    if rows is not None and rows < len(y):
        # Rows may be sorted by class.
        chosen = np.sort(np.random.default_rng(0).permutation(len(y))[:rows])
        X, y = X[chosen], y[chosen]
    if columns is not None:
        # Spread over the image: its first columns are the empty rim.
        X = X[:, :: max(1, X.shape[1] // columns)][:, :columns]
    if isinstance(X, np.ndarray):
        return np.ascontiguousarray(X, dtype), y
    return X.astype(dtype or X.dtype, copy=False), y


def _file(folder: Path, name: str) -> Path:
    return folder / "data" / f"{name}.npz"
