"""Layers: frozen recipes of two functions, without any array of their own.

A layer sees three things. ``p`` holds its parameters by name (``p.W``, ``p.b``), ``g`` their
gradients, and the frame ``f`` the rows it works on: ``x`` in, ``y`` out, ``dy`` in, ``dx`` out.
All of them belong to somebody else (the network, the workspace), so one layer can serve many
networks and many threads.

What a layer says of itself lets the workspace share buffers without ever destroying what somebody
still reads: `reads` names what its backward reads, `in_place` allows ``y`` to be ``x``'s memory.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import ClassVar

import numpy as np

from skscratch.core.functions import Array
from skscratch.core.initializers import GlorotUniform, Initializer, Ones, Zeros
from skscratch.core.named import Named


@dataclass(frozen=True)
class Param:
    """What a layer wants to own: the network gives it memory, the initializer its first values."""

    name: str
    shape: tuple[int, ...]
    initializer: Initializer
    penalised: bool


@dataclass(eq=False, slots=True)
class Frame:
    """What one layer needs for one block of rows. `dx` is None where nobody asks for it."""

    x: Array
    y: Array
    dy: Array
    dx: Array | None
    column: Array
    ones: Array
    scratch: tuple[Array, ...]
    kept: tuple[Array, ...]
    train: bool
    rng: np.random.Generator | None
    scale: Array | float = 1.0


class Layer(Named, family="layer"):
    """One step of a network.

    `n_scratch` arrays of the output's shape may be overwritten by other layers at any time;
    `n_kept` arrays keep what forward wrote there until backward has run.
    """

    reads: ClassVar[str] = ""
    in_place: ClassVar[bool] = False
    n_scratch: ClassVar[int] = 0
    n_kept: ClassVar[int] = 0
    adds_penalty: ClassVar[bool] = False
    only_in_training: ClassVar[bool] = False

    def n_out(self, n_in: int) -> int:
        """Width of the output for a width of the input."""
        return n_in

    def params(self, n_in: int) -> tuple[Param, ...]:
        """Parameters for that width of the input."""
        return ()

    def forward(self, p: SimpleNamespace, f: Frame) -> None:
        """Fill ``f.y`` from ``f.x``."""
        raise NotImplementedError

    def backward(self, p: SimpleNamespace, g: SimpleNamespace, f: Frame) -> None:
        """Fill every ``g.*``, and ``f.dx`` where it is not None, from ``f.dy``."""
        raise NotImplementedError

    def penalty(self, f: Frame) -> float:
        """Return what the layer adds to the loss, each row weighted by ``f.scale``."""
        return 0.0


class Dense(Layer, name="dense"):
    """y = x W + b;  dW = xᵀ dy,  db = Σ rows of dy,  dx = dy Wᵀ."""

    width: int
    weights: Initializer = field(default_factory=GlorotUniform)
    bias: Initializer | None = field(default_factory=Zeros)

    reads: ClassVar[str] = "x"

    def n_out(self, n_in: int) -> int:
        return self.width

    def params(self, n_in: int) -> tuple[Param, ...]:
        W = Param("W", (n_in, self.width), self.weights, penalised=True)
        if self.bias is None:
            return (W,)
        return W, Param("b", (self.width,), self.bias, penalised=False)

    def forward(self, p: SimpleNamespace, f: Frame) -> None:
        np.dot(f.x, p.W, out=f.y)
        if self.bias is not None:
            np.add(f.y, p.b, out=f.y)

    def backward(self, p: SimpleNamespace, g: SimpleNamespace, f: Frame) -> None:
        np.dot(f.x.T, f.dy, out=g.W)
        if self.bias is not None:
            np.dot(f.ones, f.dy, out=g.b)
        if f.dx is not None:
            np.dot(f.dy, p.W.T, out=f.dx)


class AppendConstant(Layer, name="append_constant"):
    """y = [x, value]: a bias that is penalised like any weight (LIBLINEAR's intercept)."""

    value: float = 1.0

    def n_out(self, n_in: int) -> int:
        return n_in + 1

    def forward(self, p: SimpleNamespace, f: Frame) -> None:
        f.y[:, :-1] = f.x
        f.y[:, -1] = self.value

    def backward(self, p: SimpleNamespace, g: SimpleNamespace, f: Frame) -> None:
        if f.dx is not None:
            f.dx[...] = f.dy[:, :-1]


class LayerNorm(Layer, name="layer_norm"):
    """y = gamma x̂ + beta,  x̂ = (x - mean) / √(variance + epsilon) within each row (Ba, 2016).

    dx = (dx̂ - mean(dx̂) - x̂ mean(dx̂ x̂)) / √(variance + epsilon),  dx̂ = gamma dy.
    """

    epsilon: float = 1e-5

    in_place: ClassVar[bool] = True
    n_scratch: ClassVar[int] = 1
    n_kept: ClassVar[int] = 2

    def params(self, n_in: int) -> tuple[Param, ...]:
        return (
            Param("gamma", (n_in,), Ones(), penalised=False),
            Param("beta", (n_in,), Zeros(), penalised=False),
        )

    def forward(self, p: SimpleNamespace, f: Frame) -> None:
        normed, inverse = f.kept[0], f.kept[1][:, :1]
        _row_means(f.x, out=f.column)
        np.subtract(f.x, f.column, out=normed)
        np.multiply(normed, normed, out=f.scratch[0])
        _row_means(f.scratch[0], out=inverse)
        inverse += self.epsilon
        np.sqrt(inverse, out=inverse)
        np.reciprocal(inverse, out=inverse)
        normed *= inverse
        np.multiply(normed, p.gamma, out=f.y)
        f.y += p.beta

    def backward(self, p: SimpleNamespace, g: SimpleNamespace, f: Frame) -> None:
        normed, inverse, (product,) = f.kept[0], f.kept[1][:, :1], f.scratch
        np.dot(f.ones, f.dy, out=g.beta)
        np.multiply(f.dy, normed, out=product)
        np.dot(f.ones, product, out=g.gamma)
        if f.dx is None:
            return
        product *= p.gamma
        _row_means(product, out=f.column)
        # From here on x̂ itself is not needed any more.
        normed *= f.column
        np.multiply(f.dy, p.gamma, out=f.dx)
        _row_means(f.dx, out=f.column)
        f.dx -= f.column
        f.dx -= normed
        f.dx *= inverse


def _row_means(x: Array, out: Array) -> None:
    np.add.reduce(x, axis=1, keepdims=True, out=out)
    out *= 1 / x.shape[1]


class ActivityPenalty(Layer, name="activity_penalty"):
    """y = x, and l1 · Σ|x| is added to the loss: few units active at a time (Ng, 2011)."""

    l1: float = 1e-3

    reads: ClassVar[str] = "y"
    in_place: ClassVar[bool] = True
    n_scratch: ClassVar[int] = 1
    adds_penalty: ClassVar[bool] = True
    only_in_training: ClassVar[bool] = True

    def forward(self, p: SimpleNamespace, f: Frame) -> None:
        if f.y is not f.x:
            np.copyto(f.y, f.x)

    def penalty(self, f: Frame) -> float:
        (size,) = f.scratch
        np.abs(f.y, out=size)
        size *= f.scale
        return self.l1 * float(np.add.reduce(size, axis=None))

    def backward(self, p: SimpleNamespace, g: SimpleNamespace, f: Frame) -> None:
        if f.dx is not None:
            (slope,) = f.scratch
            np.sign(f.y, out=slope)
            slope *= f.scale
            slope *= self.l1
            np.add(f.dy, slope, out=f.dx)


class _Noise(Layer):
    """A layer that changes what passes in training and nothing in prediction."""

    in_place: ClassVar[bool] = True
    only_in_training: ClassVar[bool] = True

    def forward(self, p: SimpleNamespace, f: Frame) -> None:
        if f.train:
            self.disturb(f)
        elif f.y is not f.x:
            np.copyto(f.y, f.x)

    def disturb(self, f: Frame) -> None:
        raise NotImplementedError

    def backward(self, p: SimpleNamespace, g: SimpleNamespace, f: Frame) -> None:
        if f.dx is not None and f.dx is not f.dy:
            np.copyto(f.dx, f.dy)


def _random(f: Frame, out: Array) -> Array:
    assert f.rng is not None, "a workspace for training needs a random generator"
    f.rng.random(out=out, dtype=out.dtype)
    return out


class Dropout(_Noise, name="dropout"):
    """y = x · mask / (1 - rate), each entry dropped with probability `rate` (Srivastava, 2014)."""

    rate: float = 0.5

    n_kept: ClassVar[int] = 1

    def disturb(self, f: Frame) -> None:
        (mask,) = f.kept
        np.greater_equal(_random(f, mask), self.rate, out=mask)
        mask *= 1 / (1 - self.rate)
        np.multiply(f.x, mask, out=f.y)

    def backward(self, p: SimpleNamespace, g: SimpleNamespace, f: Frame) -> None:
        if f.dx is not None:
            np.multiply(f.dy, f.kept[0], out=f.dx)


class MaskingNoise(_Noise, name="masking"):
    """y = x with a share `level` of the entries set to 0 (Vincent et al., 2010, section 3.3)."""

    level: float = 0.25

    n_kept: ClassVar[int] = 1

    def disturb(self, f: Frame) -> None:
        (mask,) = f.kept
        np.greater_equal(_random(f, mask), self.level, out=mask)
        np.multiply(f.x, mask, out=f.y)

    def backward(self, p: SimpleNamespace, g: SimpleNamespace, f: Frame) -> None:
        if f.dx is not None:
            np.multiply(f.dy, f.kept[0], out=f.dx)


class GaussianNoise(_Noise, name="gaussian"):
    """y = x + level · N(0, 1) (Vincent et al., 2010, section 3.3)."""

    level: float = 0.3

    n_scratch: ClassVar[int] = 1

    def disturb(self, f: Frame) -> None:
        (noise,) = f.scratch
        assert f.rng is not None, "a workspace for training needs a random generator"
        f.rng.standard_normal(out=noise, dtype=noise.dtype)
        noise *= self.level
        np.add(f.x, noise, out=f.y)


class SaltAndPepperNoise(_Noise, name="salt_and_pepper"):
    """y = x with a share `level` of the entries set to `low` or `high`, by a fair coin."""

    level: float = 0.1
    low: float = 0.0
    high: float = 1.0

    n_scratch: ClassVar[int] = 1
    n_kept: ClassVar[int] = 1

    def disturb(self, f: Frame) -> None:
        (mask,), (extreme,) = f.kept, f.scratch
        # One draw decides both: below level/2 pepper, below level salt, else untouched.
        draw = _random(f, mask)
        np.greater_equal(draw, self.level / 2, out=extreme)
        extreme *= self.high - self.low
        extreme += self.low
        np.greater_equal(draw, self.level, out=mask)
        np.multiply(f.x, mask, out=f.y)
        np.subtract(1, mask, out=mask)
        extreme *= mask
        f.y += extreme
        np.subtract(1, mask, out=mask)

    def backward(self, p: SimpleNamespace, g: SimpleNamespace, f: Frame) -> None:
        if f.dx is not None:
            np.multiply(f.dy, f.kept[0], out=f.dx)
