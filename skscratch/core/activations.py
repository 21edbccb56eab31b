"""Activations: layers without parameters, one short class each.

To add one, write its class here, or in any module that is imported: two pure functions in a
subclass of `Elementwise` or, for speed, a forward and a backward that write into buffers. The
gradient check, the tests of all activations and the estimators' ``activation="..."`` find it by
its name.
"""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import ClassVar

import numpy as np

from skscratch.core.functions import Array, logistic, softmax, softplus
from skscratch.core.layers import Frame, Layer


class Activation(Layer, family="activation"):
    """A layer, usually without parameters, whose output has the shape of its input.

    Its backward is called only if ``dx`` is needed: layers before the first parameters get no
    gradient.
    """


class Elementwise(Activation):
    """An activation defined by two pure functions: ``f(x)`` and its derivative ``slope(x, y)``.

    The simplest form: always correct, but slower than a layer that works in the given buffers.

    >>> class Sine(Elementwise):
    ...     def f(self, x):
    ...         return np.sin(x)
    ...
    ...     def slope(self, x, y):
    ...         return np.cos(x)
    """

    def f(self, x: Array) -> Array:
        """Return y for x, entry by entry, as a new array."""
        raise NotImplementedError

    def slope(self, x: Array, y: Array) -> Array:
        """Return dy/dx, entry by entry."""
        raise NotImplementedError

    def forward(self, p: SimpleNamespace, f: Frame) -> None:
        np.copyto(f.y, self.f(f.x), casting="same_kind")

    def backward(self, p: SimpleNamespace, g: SimpleNamespace, f: Frame) -> None:
        np.multiply(f.dy, self.slope(f.x, f.y), out=f.dx, casting="same_kind")


class Identity(Activation, name="identity", backward_reads="", in_place=True):
    """y = x;  dx = dy."""

    def forward(self, p: SimpleNamespace, f: Frame) -> None:
        if f.y is not f.x:
            np.copyto(f.y, f.x)

    def backward(self, p: SimpleNamespace, g: SimpleNamespace, f: Frame) -> None:
        if f.dx is not None and f.dx is not f.dy:
            np.copyto(f.dx, f.dy)


class Sigmoid(Activation, name="logistic", backward_reads="y", in_place=True, scratch=1):
    """y = 1 / (1 + exp(-x));  dx = (y - y²) dy."""

    def forward(self, p: SimpleNamespace, f: Frame) -> None:
        logistic(f.x, out=f.y)

    def backward(self, p: SimpleNamespace, g: SimpleNamespace, f: Frame) -> None:
        (slope,) = f.scratch
        np.multiply(f.y, f.y, out=slope)
        np.subtract(f.y, slope, out=slope)
        np.multiply(f.dy, slope, out=f.dx)


class Tanh(Activation, name="tanh", backward_reads="y", in_place=True, scratch=1):
    """y = tanh x;  dx = dy - y² dy."""

    def forward(self, p: SimpleNamespace, f: Frame) -> None:
        np.tanh(f.x, out=f.y)

    def backward(self, p: SimpleNamespace, g: SimpleNamespace, f: Frame) -> None:
        (slope,) = f.scratch
        # Python numbers as operands would double the time of a tiny network.
        np.multiply(f.y, f.y, out=slope)
        np.multiply(f.dy, slope, out=slope)
        np.subtract(f.dy, slope, out=f.dx)


class ReLU(Activation, name="relu", backward_reads="y", in_place=True, scratch=1):
    """y = max(x, 0);  dx = dy where y > 0, else 0."""

    def forward(self, p: SimpleNamespace, f: Frame) -> None:
        # With a Python number as operand, NumPy's maximum is forty times slower.
        np.maximum(f.x, f.zeros, out=f.y)

    def backward(self, p: SimpleNamespace, g: SimpleNamespace, f: Frame) -> None:
        (slope,) = f.scratch
        np.greater(f.y, 0, out=slope)
        np.multiply(f.dy, slope, out=f.dx)


class Softmax(Activation, name="softmax", backward_reads="y", in_place=True, scratch=1):
    """y = exp(x - max x) / Σ exp(x - max x) in each row;  dx = y (dy - Σ y dy)."""

    def forward(self, p: SimpleNamespace, f: Frame) -> None:
        softmax(f.x, out=f.y, column=f.column)

    def backward(self, p: SimpleNamespace, g: SimpleNamespace, f: Frame) -> None:
        (product,) = f.scratch
        np.multiply(f.y, f.dy, out=product)
        np.add.reduce(product, axis=1, keepdims=True, out=f.column)
        np.subtract(f.dy, f.column, out=product)
        np.multiply(product, f.y, out=f.dx)


class LeakyReLU(Activation, name="leaky_relu", backward_reads="y", in_place=True, scratch=1):
    """y = max(x, slope x);  dx = dy where y > 0, else slope dy (Maas et al., 2013)."""

    slope: float = 0.01

    def check_init(self) -> None:
        # Outside this range, max(x, slope x) bends the other way, or y and x differ in sign.
        self.check_range("slope", 0, 1)

    def forward(self, p: SimpleNamespace, f: Frame) -> None:
        (small,) = f.scratch
        np.multiply(f.x, self.slope, out=small)
        np.maximum(f.x, small, out=f.y)

    def backward(self, p: SimpleNamespace, g: SimpleNamespace, f: Frame) -> None:
        (slope,) = f.scratch
        np.greater(f.y, 0, out=slope)
        slope *= 1 - self.slope
        slope += self.slope
        np.multiply(f.dy, slope, out=f.dx)


class ELU(Activation, name="elu", backward_reads="y", in_place=True, scratch=2):
    """y = x where x > 0, else alpha (exp(x) - 1);  dx = dy, else (y + alpha) dy (Clevert, 2016)."""

    alpha: float = 1.0

    def check_init(self) -> None:
        # Below 0, y and x would differ in sign.
        self.check_range("alpha", 0)

    def forward(self, p: SimpleNamespace, f: Frame) -> None:
        curve = f.scratch[0]
        np.minimum(f.x, f.zeros, out=curve)
        np.expm1(curve, out=curve)
        curve *= self.alpha
        np.maximum(f.x, f.zeros, out=f.y)
        f.y += curve

    def backward(self, p: SimpleNamespace, g: SimpleNamespace, f: Frame) -> None:
        slope, positive = f.scratch
        np.minimum(f.y, f.zeros, out=slope)
        slope += self.alpha
        if self.alpha != 1:
            np.greater(f.y, 0, out=positive)
            positive *= 1 - self.alpha
            slope += positive
        np.multiply(f.dy, slope, out=f.dx)


class GELU(Activation, name="gelu", backward_reads="x", scratch=2, cached=1):
    """y = x (1 + tanh u) / 2, u = √(2/π) (x + 0.044715 x³) (Hendrycks & Gimpel, 2016, section 2).

    dx = (1 + t) (1 + x u' (1 - t)) / 2 dy, with t = tanh u and u' = √(2/π) (1 + 0.134145 x²).
    """

    _scale: ClassVar[float] = (2 / math.pi) ** 0.5
    _cubic: ClassVar[float] = 0.044715

    def forward(self, p: SimpleNamespace, f: Frame) -> None:
        (t,) = f.cached
        np.multiply(f.x, f.x, out=t)
        t *= self._scale * self._cubic
        t += self._scale
        t *= f.x
        np.tanh(t, out=t)
        np.add(t, 1, out=f.y)
        f.y *= 0.5
        f.y *= f.x

    def backward(self, p: SimpleNamespace, g: SimpleNamespace, f: Frame) -> None:
        (t,), (slope, factor) = f.cached, f.scratch
        np.multiply(f.x, f.x, out=slope)
        slope *= 3 * self._scale * self._cubic
        slope += self._scale
        slope *= f.x
        np.subtract(1, t, out=factor)
        slope *= factor
        slope += 1
        np.add(t, 1, out=factor)
        slope *= factor
        slope *= 0.5
        np.multiply(f.dy, slope, out=f.dx)


class SiLU(Activation, name="silu", backward_reads="x", scratch=1, cached=1):
    """y = x s, s = 1 / (1 + exp(-x));  dx = s (1 + x (1 - s)) dy (Elfwing et al., 2018)."""

    def forward(self, p: SimpleNamespace, f: Frame) -> None:
        (s,) = f.cached
        logistic(f.x, out=s)
        np.multiply(f.x, s, out=f.y)

    def backward(self, p: SimpleNamespace, g: SimpleNamespace, f: Frame) -> None:
        (s,), (slope,) = f.cached, f.scratch
        np.subtract(1, s, out=slope)
        slope *= f.x
        slope += 1
        slope *= s
        np.multiply(f.dy, slope, out=f.dx)


class Softplus(Activation, name="softplus", backward_reads="y", in_place=True, scratch=1):
    """y = log(1 + exp(x));  dx = (1 - exp(-y)) dy, which is dy / (1 + exp(-x)) (Dugas, 2001)."""

    def forward(self, p: SimpleNamespace, f: Frame) -> None:
        softplus(f.x, out=f.y, scratch=f.scratch[0])

    def backward(self, p: SimpleNamespace, g: SimpleNamespace, f: Frame) -> None:
        (slope,) = f.scratch
        np.negative(f.y, out=slope)
        np.expm1(slope, out=slope)
        np.negative(slope, out=slope)
        np.multiply(f.dy, slope, out=f.dx)
