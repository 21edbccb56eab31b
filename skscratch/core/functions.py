"""Overflow-safe functions that both a layer and a loss need. All write into the caller's array."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

# NumPy handles a 0-d array in half the time of a Python number, which matters for tiny arrays.
ONE, HALF = ({kind: np.array(value, kind) for kind in "fd"} for value in (1.0, 0.5))


def logistic(x: Array, out: Array) -> None:
    """1 / (1 + exp(-x)). If exp overflows to inf, the result is 0, as it should be."""
    one = ONE[out.dtype.char]
    np.negative(x, out=out)
    np.exp(out, out=out)
    out += one
    # Twice as fast as NumPy's reciprocal, with the same bits.
    np.divide(one, out, out=out)


def positive(x: Array, out: Array, scratch: Array) -> None:
    """max(x, 0) = (x + |x|) / 2; `scratch` is |x| afterwards. `out` may be `x`."""
    # NumPy's maximum with a Python number is many times slower.
    np.abs(x, out=scratch)
    np.add(x, scratch, out=out)
    out *= HALF[out.dtype.char]


def softplus(x: Array, out: Array, scratch: Array) -> None:
    """log(1 + exp(x)) = max(x, 0) + log(1 + exp(-|x|)). `out` may be `x`."""
    positive(x, out, scratch)
    np.negative(scratch, out=scratch)
    np.exp(scratch, out=scratch)
    np.log1p(scratch, out=scratch)
    out += scratch


def softmax(x: Array, out: Array, column: Array) -> None:
    """exp(x) / sum(exp(x)) in each row, shifted by the row's maximum. `out` may be `x`."""
    np.maximum.reduce(x, axis=1, keepdims=True, out=column)
    np.subtract(x, column, out=out)
    np.exp(out, out=out)
    np.add.reduce(out, axis=1, keepdims=True, out=column)
    out /= column
