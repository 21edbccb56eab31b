"""Mish in the three forms that a custom activation can have."""

import numpy as np

from skscratch.core import Activation, Elementwise


def mish(x):
    """x tanh(log(1 + exp(x))) (Misra, 2019)."""
    return x * np.tanh(np.logaddexp(0, x))


def mish_slope(x):
    t = np.tanh(np.logaddexp(0, x))
    return t + x * (1 - t**2) / (1 + np.exp(-x))


class PureMish(Elementwise):
    def f(self, x):
        return mish(x)

    def slope(self, x, y):
        return mish_slope(x)


class UndeclaredMish(Activation):
    def forward(self, p, f):
        f.y[:] = mish(f.x)

    def backward(self, p, g, f):
        np.multiply(f.dy, mish_slope(f.x), out=f.dx)


class DeclaredMish(UndeclaredMish, backward_reads="x"):
    pass
