"""The user's data: validated, in a canonical form, and as rows to take batches from."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.utils.validation import validate_data

from skscratch.core.functions import Array
from skscratch.core.rows import canonical
from skscratch.estimators._kinds import check_numbers
from skscratch.estimators._sklearn import check_sample_weight

__all__ = [
    "check_rows",
    "check_weight",
    "content_digest",
    "network_dtype",
    "renamed",
    "with_constant",
]

# Dtypes that are kept. The core casts images of small integers batch by batch.
DTYPES = (np.float64, np.float32, np.uint8)


def check_rows(
    estimator: Any,
    X: Any,
    *,
    reset: bool,
    floats_only: bool = False,
    names: tuple[str, ...] = ("X", "y"),
    **options: Any,
) -> Any:
    """Validate rows for fitting (`reset`) or predicting; sparse ones become canonical CSR.

    `names` are the user's names of X and y.
    """
    for name, data in zip(names, (X, options.get("y")), strict=False):
        if name.startswith("X") or options.get("y_numeric"):
            check_numbers(name, data)
    dtypes = DTYPES[:2] if floats_only else DTYPES

    def about() -> str:
        """Return the name of X, or both names if the message may be about y."""
        y = options.get("y")
        array = None if y is None else np.asarray(y)
        wrong_y = array is not None and (array.ndim > 2 or array.dtype.kind == "c")
        return f"{names[0]} or {names[1]}" if wrong_y else names[0]

    # scikit-learn looks for NaN in the sum of X, which is also NaN for large values of both signs.
    with np.errstate(invalid="ignore"), renamed(*names, about=about):
        checked = validate_data(
            estimator, X, accept_sparse="csr", dtype=dtypes, order="C", reset=reset, **options
        )
    if isinstance(checked, tuple):
        return canonical(checked[0]), *checked[1:]
    return canonical(checked)


def with_constant(X: Any, constant: float) -> Any:
    """Return CSR rows with one more column, which holds a constant in each row."""
    n, width = X.shape
    size = X.nnz + n
    dtype = sparse.get_index_dtype(maxval=max(size, width), arrays=(X.indices, X.indptr))
    ends = X.indptr[1:].astype(dtype) + np.arange(1, n + 1, dtype=dtype)
    data, indices = np.empty(size, X.dtype), np.empty(size, dtype)
    given = np.ones(size, bool)
    given[ends - 1] = False
    data[ends - 1], indices[ends - 1] = constant, width
    data[given], indices[given] = X.data, X.indices
    return sparse.csr_array((data, indices, np.append(dtype(0), ends)), (n, width + 1))


def network_dtype(X: Any) -> np.dtype[Any]:
    """Return float32 for float32, and float64 for any other dtype."""
    return np.dtype(np.float32 if X.dtype == np.float32 else np.float64)


@contextmanager
def renamed(
    X: str = "X",
    y: str = "y",
    weight: str = "sample_weight",
    *,
    about: str | Callable[[], str],
) -> Iterator[None]:
    """Replace argument names in scikit-learn's error messages by those that the user wrote.

    Messages that name no argument begin with `about`, which is called, if it is a function, only
    for such a message.
    """
    try:
        yield
    except ValueError as error:
        text = str(error)
        if "inconsistent numbers of samples" in text:
            text = f"{X} and {y} must have the same number of rows. {text}"
        # Further lines may list the user's names of columns.
        first, *others = text.split("\n")
        for found, name in ((r"X", X), (r"y", y), (r"sample_weight|Sample weights", weight)):
            first = re.sub(rf"\b({found})\b", name, first)
        if not re.search(rf"\b({X}|{y}|{weight})\b", first):
            first = f"{about() if callable(about) else about}: {first}"
        raise ValueError("\n".join([first, *others])) from error


def check_weight(sample_weight: Any, X: Any, name: str = "sample_weight") -> Array | None:
    """Validate weights of rows; return them as float64, or None if all of them are 1.

    They must be finite, not negative, not all 0, and have a mean that can be divided by.
    """
    if sample_weight is None:
        return None
    # Numbers too large for float64 become infinite, which raises the error.
    with np.errstate(over="ignore"), renamed(weight=name, about=name):
        weight = np.asarray(
            check_sample_weight(
                sample_weight,
                X,
                dtype=np.float64,
                ensure_non_negative=True,
            )
        )
        if not weight.any():
            raise ValueError("Sample weights must contain at least one non-zero number.")
        total = float(weight.sum())
    if not len(weight) * np.finfo(np.float64).tiny <= total < np.inf:
        raise ValueError(
            f"{name} must have a sum that is neither infinite nor too small to divide by; the sum "
            f"of the {len(weight)} weights is {total:g}. Multiply them by a constant."
        )
    return None if (weight == 1).all() else weight


def content_digest(*data: Any) -> str:
    """Return a digest of arrays and sparse matrices: equal for equal shapes, dtypes and bytes."""
    digest = hashlib.blake2b(digest_size=16)
    for part in data:
        arrays = (part.data, part.indices, part.indptr) if sparse.issparse(part) else (part,)
        digest.update(f"{getattr(part, 'shape', None)}".encode())
        for array in arrays:
            if array is not None:
                digest.update(f"{array.dtype.str}{array.shape}".encode())
                digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
