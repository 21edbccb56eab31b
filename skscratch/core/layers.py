"""Layers: frozen recipes that hold functions and no arrays.

A layer is given three things. ``p`` holds its parameters by name (``p.W``, ``p.b``), ``g`` their
gradients, and the frame ``f`` the rows it works on: ``x`` in, ``y`` out, ``dy`` in, ``dx`` out.
All of them belong to the network or the workspace, so one layer can serve many networks and many
threads.

A layer declares by class keywords what its backward reads and whether it may work in place. The
workspace shares buffers where the declarations allow it. A layer that declares nothing is correct,
only slower; `check_layer` finds false declarations.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from numbers import Integral
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np

from skscratch.core.functions import Array
from skscratch.core.initializers import GlorotUniform, Initializer, Ones, Zeros
from skscratch.core.named import Named
from skscratch.core.rows import add_transposed_product

NEEDS_RNG = (
    "This layer draws random numbers, which this call does not provide: create the workspace with "
    "rng=..., or train by mini-batches."
)
# Mean activities are kept this far from 0 and 1, where the divergence is infinite.
MEAN_FLOOR = 1e-6


@dataclass(frozen=True)
class Role:
    """How parameters are treated in training.

    `penalised` parameters count in an L2 penalty and decay with AdamW; `rate` multiplies their
    learning rate, and 0 freezes them.
    """

    penalised: bool = True
    rate: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.rate < math.inf:
            raise ValueError(f"rate of a role must be at least 0, got {self.rate!r}.")


WEIGHTS, BIASES = Role(), Role(penalised=False)


@dataclass(frozen=True)
class Param:
    """A parameter of a layer; the network provides the memory, the initializer the values.

    `matrix` declares a linear map of shape (n_in, n_out). An optimizer of whole matrices may then
    update it, unless the layer is the output layer.
    """

    name: str
    shape: tuple[int, ...]
    initializer: Initializer
    role: Role = WEIGHTS
    matrix: bool = False


@dataclass(eq=False, slots=True)
class Frame:
    """The arrays of one layer for one block of rows. `dx` is None if it is not needed.

    `column` has one entry per row and may be overwritten; `ones` holds a 1 per row, `zeros` a 0
    per column of the output. `x` is a CSR array if the layer declares `sparse_rows` and the rows
    are sparse.
    """

    x: Array
    y: Array
    dy: Array
    dx: Array | None
    column: Array
    ones: Array
    zeros: Array
    scratch: tuple[Array, ...]
    cached: tuple[Array, ...]
    train: bool
    rng: np.random.Generator | None
    scale: Array | float = 1.0

    @property
    def generator(self) -> np.random.Generator:
        """The source of random numbers; a ValueError if the workspace has none."""
        if self.rng is None:
            raise ValueError(NEEDS_RNG)
        return self.rng


class Layer(Named, family="layer"):
    """One step of a network.

    Declared by class keywords, ``class Mish(Layer, name="mish", backward_reads="x", scratch=1)``:

    - `backward_reads`: which of ``f.x`` and ``f.y`` backward reads: "", "x", "y" or "xy" (default).
      What is not listed may be overwritten before backward is called.
    - `in_place`: whether ``f.y`` may share the memory of ``f.x``, and ``f.dx`` that of ``f.dy``;
      the layer must then read nothing that it has overwritten. False by default.
    - `scratch`: number of arrays ``f.scratch`` of the output's shape. Other layers may overwrite
      them between calls.
    - `cached`: number of such arrays ``f.cached`` that keep their content from forward to backward.
    - `only_in_training`: whether the layer passes its rows on unchanged in prediction.
    - `whole_batch`: whether its penalty needs all rows of a batch at once. Batches are then not cut
      into shards for several threads.
    - `sparse_rows`: whether the layer also works on sparse rows if it is the first: ``f.x`` is then
      a CSR array, ``f.dx`` is None, and backward must add to every ``g.*``, which is 0 or the
      gradient of a tied layer. By default (False), the layer is given dense rows, block by block.

    A subclass inherits them, except `backward_reads`, `in_place` and `sparse_rows` if it overrides
    forward or backward.
    """

    backward_reads: ClassVar[str] = "xy"
    in_place: ClassVar[bool] = False
    n_scratch: ClassVar[int] = 0
    n_cached: ClassVar[int] = 0
    only_in_training: ClassVar[bool] = False
    whole_batch: ClassVar[bool] = False
    sparse_rows: ClassVar[bool] = False

    def __init_subclass__(
        cls,
        *,
        backward_reads: str | None = None,
        in_place: bool | None = None,
        scratch: int | None = None,
        cached: int | None = None,
        only_in_training: bool | None = None,
        whole_batch: bool | None = None,
        sparse_rows: bool | None = None,
        **keywords: Any,
    ) -> None:
        if backward_reads not in (None, "", "x", "y", "xy"):
            raise TypeError(
                f"{cls.__name__}: backward_reads must be '', 'x', 'y' or 'xy', got "
                f"{backward_reads!r}."
            )
        declared = {
            "backward_reads": backward_reads,
            "in_place": in_place,
            "n_scratch": scratch,
            "n_cached": cached,
            "only_in_training": only_in_training,
            "whole_batch": whole_batch,
            "sparse_rows": sparse_rows,
        }
        for name in declared:
            if name in vars(cls):
                raise TypeError(
                    f"{cls.__name__}: {name!r} is declared by a class keyword: "
                    f"class {cls.__name__}({cls.__bases__[0].__name__}, "
                    f"{name.removeprefix('n_')}=...)."
                )
        # A base's declarations about its functions need not hold for others that override them.
        if {"forward", "backward"} & vars(cls).keys():
            cls.backward_reads, cls.in_place = Layer.backward_reads, Layer.in_place
            cls.sparse_rows = Layer.sparse_rows
        for name, value in declared.items():
            if value is not None:
                setattr(cls, name, value)
        # Checked before the class is registered.
        complete = cls.forward is not Layer.forward and cls.backward is not Layer.backward
        if "name" in keywords and not complete:
            raise TypeError(f"{cls.__name__}: a named layer must define forward and backward.")
        super().__init_subclass__(**keywords)

    @property
    def adds_penalty(self) -> bool:
        """Whether the layer adds to the loss."""
        return type(self).penalty is not Layer.penalty

    def n_out(self, n_in: int) -> int:
        """Return the output width for an input width."""
        return n_in

    def rows_out(self, rows: int) -> int:
        """Return the number of output rows, in training, for a number of input rows."""
        return rows

    def params(self, n_in: int) -> tuple[Param, ...]:
        """Return the parameters for an input width."""
        return ()

    def forward(self, p: SimpleNamespace, f: Frame) -> None:
        """Fill ``f.y`` from ``f.x``."""
        raise NotImplementedError

    def backward(self, p: SimpleNamespace, g: SimpleNamespace, f: Frame) -> None:
        """Fill every ``g.*``, and ``f.dx`` unless it is None, from ``f.dy``."""
        raise NotImplementedError

    def penalty(self, f: Frame) -> float:
        """Return what the layer adds to the loss, each row weighted by ``f.scale``."""
        return 0.0

    def for_inference(self, n_in: int) -> Layer | None:
        """Return the layer's equivalent in prediction; None if it then does nothing."""
        return None if self.only_in_training else self


class Dense(Layer, name="dense", backward_reads="x", sparse_rows=True):
    """y = x W + b;  dW = xᵀ dy,  db = Σ rows of dy,  dx = dy Wᵀ."""

    width: int
    weights: Initializer = field(default_factory=GlorotUniform)
    bias: Initializer | None = field(default_factory=Zeros)

    def check_init(self) -> None:
        _check_width(self)

    def n_out(self, n_in: int) -> int:
        return self.width

    def params(self, n_in: int) -> tuple[Param, ...]:
        W = Param("W", (n_in, self.width), self.weights, matrix=True)
        if self.bias is None:
            return (W,)
        return W, Param("b", (self.width,), self.bias, BIASES)

    def forward(self, p: SimpleNamespace, f: Frame) -> None:
        if isinstance(f.x, np.ndarray):
            f.x.dot(p.W, out=f.y)
        else:
            f.y[...] = f.x @ p.W
        if self.bias is not None:
            np.add(f.y, p.b, out=f.y)

    def backward(self, p: SimpleNamespace, g: SimpleNamespace, f: Frame) -> None:
        if not isinstance(f.x, np.ndarray):
            self._add_sparse(g, f)
            return
        f.x.T.dot(f.dy, out=g.W)
        if self.bias is not None:
            f.ones.dot(f.dy, out=g.b)
        if f.dx is not None:
            f.dy.dot(p.W.T, out=f.dx)

    def backward_transposed(self, p: SimpleNamespace, g: SimpleNamespace, f: Frame) -> None:
        """Do as backward, for weights that are the transposed ``g.W`` of another layer."""
        f.dy.T.dot(f.x, out=g.W)
        if self.bias is not None:
            f.ones.dot(f.dy, out=g.b)
        if f.dx is not None:
            f.dy.dot(p.W.T, out=f.dx)

    def _add_sparse(self, g: SimpleNamespace, f: Frame) -> None:
        add_transposed_product(f.x, f.dy, g.W)
        if self.bias is not None:
            g.b += f.ones.dot(f.dy)


def _check_width(layer: Any) -> None:
    if not isinstance(layer.width, Integral) or isinstance(layer.width, bool) or layer.width < 1:
        raise ValueError(
            f"width of {layer.name!r} must be an integer of at least 1, got {layer.width!r}."
        )


class AppendConstant(Layer, name="append_constant", backward_reads=""):
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


class TakeColumns(Layer, name="take_columns", backward_reads=""):
    """y = the first `width` columns of x."""

    width: int = 1

    def check_init(self) -> None:
        _check_width(self)

    def n_out(self, n_in: int) -> int:
        return self.width

    def forward(self, p: SimpleNamespace, f: Frame) -> None:
        f.y[...] = f.x[:, : self.width]

    def backward(self, p: SimpleNamespace, g: SimpleNamespace, f: Frame) -> None:
        if f.dx is not None:
            f.dx[:, : self.width] = f.dy
            f.dx[:, self.width :] = 0


class LayerNorm(Layer, name="layer_norm", backward_reads="", in_place=True, scratch=1, cached=2):
    """y = gamma x̂ + beta,  x̂ = (x - mean) / √(variance + epsilon) within each row (Ba, 2016).

    dx = (dx̂ - mean(dx̂) - x̂ mean(dx̂ x̂)) / √(variance + epsilon),  dx̂ = gamma dy.
    """

    epsilon: float = 1e-5

    def check_init(self) -> None:
        self.check_range("epsilon", 0, closed="neither")

    def params(self, n_in: int) -> tuple[Param, ...]:
        return (
            Param("gamma", (n_in,), Ones(), BIASES),
            Param("beta", (n_in,), Zeros(), BIASES),
        )

    def forward(self, p: SimpleNamespace, f: Frame) -> None:
        normed, inverse = f.cached[0], f.cached[1][:, :1]
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
        normed, inverse, (product,) = f.cached[0], f.cached[1][:, :1], f.scratch
        f.ones.dot(f.dy, out=g.beta)
        np.multiply(f.dy, normed, out=product)
        f.ones.dot(product, out=g.gamma)
        if f.dx is None:
            return
        product *= p.gamma
        _row_means(product, out=f.column)
        # From here on, x̂ itself is no longer needed.
        normed *= f.column
        np.multiply(f.dy, p.gamma, out=f.dx)
        _row_means(f.dx, out=f.column)
        f.dx -= f.column
        f.dx -= normed
        f.dx *= inverse


def _row_means(x: Array, out: Array) -> None:
    np.add.reduce(x, axis=1, keepdims=True, out=out)
    out *= 1 / x.shape[1]


class _Penalty(Layer, backward_reads="y", in_place=True, scratch=1, only_in_training=True):
    """A layer that passes its rows on unchanged and adds a function of them to the loss."""

    def forward(self, p: SimpleNamespace, f: Frame) -> None:
        if f.y is not f.x:
            np.copyto(f.y, f.x)

    def backward(self, p: SimpleNamespace, g: SimpleNamespace, f: Frame) -> None:
        if f.dx is not None:
            np.add(f.dy, self.slope(f), out=f.dx)

    def slope(self, f: Frame) -> Array:
        """Return the derivative of the penalty, in the scratch array."""
        raise NotImplementedError


class ActivityPenalty(_Penalty, name="activity_penalty"):
    """y = x, and l1 · Σ|x| is added to the loss, so that few units are active (Ng, 2011)."""

    l1: float = 1e-3

    def check_init(self) -> None:
        self.check_range("l1", 0)

    def penalty(self, f: Frame) -> float:
        (size,) = f.scratch
        np.abs(f.y, out=size)
        size *= f.scale
        return self.l1 * float(np.add.reduce(size, axis=None))

    def slope(self, f: Frame) -> Array:
        (slope,) = f.scratch
        np.sign(f.y, out=slope)
        slope *= f.scale
        slope *= self.l1
        return slope


class KLPenalty(_Penalty, name="kl_penalty", whole_batch=True):
    """y = x, and strength · Σ KL(target ‖ mean activity) over the units is added (Ng, 2011).

    KL(t ‖ a) = t log(t / a) + (1 - t) log((1 - t) / (1 - a)) for activities in (0, 1), such as a
    logistic layer's; a mean outside has gradient 0. The mean is taken over the batch.
    """

    strength: float = 1e-2
    target: float = 0.05

    def check_init(self) -> None:
        self.check_range("strength", 0)
        self.check_range("target", 0, 1, closed="neither")

    def penalty(self, f: Frame) -> float:
        weight, mean = self._activity(f)
        t, a = self.target, np.clip(mean, MEAN_FLOOR, 1 - MEAN_FLOOR)
        divergence = t * np.log(t / a) + (1 - t) * np.log((1 - t) / (1 - a))
        return self.strength * weight * float(divergence.sum())

    def slope(self, f: Frame) -> Array:
        _, a = self._activity(f)
        inside = (a > MEAN_FLOOR) & (a < 1 - MEAN_FLOOR)
        a = np.where(inside, a, 0.5)
        of_unit = self.strength * ((1 - self.target) / (1 - a) - self.target / a)
        of_unit[~inside] = 0
        (slope,) = f.scratch
        np.multiply(f.scale, of_unit, out=slope)
        return slope

    def _activity(self, f: Frame) -> tuple[float, Array]:
        """Return the total weight of the rows, and the weighted mean of each unit."""
        (scaled,) = f.scratch
        np.multiply(f.y, f.scale, out=scaled)
        rows = len(f.y)
        weight = float(np.sum(f.scale)) if isinstance(f.scale, np.ndarray) else f.scale * rows
        # If all weights are 0, so is the penalty.
        return weight, f.ones.dot(scaled) * (1 / weight if weight else 0.0)


class PerturbedCopies(Layer, name="perturbed_copies", backward_reads="", only_in_training=True):
    """In training, y is all rows followed by a perturbed copy of each: x + step · N(0, 1).

    A later `Contraction` layer compares rows and copies and drops the copies. No layer in between
    may add a penalty.
    """

    step: float = 1e-2

    def check_init(self) -> None:
        self.check_range("step", 0, closed="neither")

    def rows_out(self, rows: int) -> int:
        return 2 * rows

    def forward(self, p: SimpleNamespace, f: Frame) -> None:
        n = len(f.x)
        np.copyto(f.y[:n], f.x)
        if f.train:
            copies = f.y[n:]
            f.generator.standard_normal(out=copies, dtype=copies.dtype)
            copies *= self.step
            copies += f.x

    def backward(self, p: SimpleNamespace, g: SimpleNamespace, f: Frame) -> None:
        if f.dx is not None:
            n = len(f.dx)
            np.add(f.dy[:n], f.dy[n:], out=f.dx)


class Contraction(
    Layer, name="contraction", backward_reads="", scratch=1, cached=1, only_in_training=True
):
    """y = x without the copies; strength · Σ ‖x - copy‖² / step² is added to the loss.

    Its expectation is ‖J‖², the squared Frobenius norm of the Jacobian of the layers between
    `PerturbedCopies` and this one, up to terms in step²: the penalty of contractive autoencoders
    (Rifai et al., 2011), for any depth, without a second derivative.
    """

    strength: float = 1e-2
    step: float = 1e-2

    def check_init(self) -> None:
        self.check_range("strength", 0)
        self.check_range("step", 0, closed="neither")

    def rows_out(self, rows: int) -> int:
        return rows // 2

    def forward(self, p: SimpleNamespace, f: Frame) -> None:
        n = len(f.y)
        np.copyto(f.y, f.x[:n])
        if f.train:
            (slope,) = f.cached
            np.subtract(f.x[n:], f.y, out=slope)
            slope *= 1 / self.step

    def penalty(self, f: Frame) -> float:
        (slope,), (size,) = f.cached, f.scratch
        np.multiply(slope, slope, out=size)
        size *= f.scale
        return self.strength * float(np.add.reduce(size, axis=None))

    def backward(self, p: SimpleNamespace, g: SimpleNamespace, f: Frame) -> None:
        if f.dx is not None:
            n, (slope,) = len(f.dy), f.cached
            slope *= f.scale
            slope *= 2 * self.strength / self.step
            np.copyto(f.dx[n:], slope)
            np.subtract(f.dy, slope, out=f.dx[:n])


class Variational(Layer, name="variational", backward_reads="x", scratch=1, cached=1):
    """y = mean + exp(log variance / 2) · N(0, 1), where x is [mean, log variance] side by side.

    beta · Σ KL(N(mean, variance) ‖ N(0, 1)) is added to the loss (Kingma & Welling, 2014; Higgins
    et al., 2017), with KL = ½ (mean² + variance - log variance - 1). In prediction y is the mean.
    """

    beta: float = 1.0

    def check_init(self) -> None:
        self.check_range("beta", 0)

    def n_out(self, n_in: int) -> int:
        if n_in % 2:
            raise ValueError(f"A variational layer needs an even input width, got {n_in}.")
        return n_in // 2

    def forward(self, p: SimpleNamespace, f: Frame) -> None:
        mean, log_variance = self._halves(f.x)
        if not f.train:
            np.copyto(f.y, mean)
            return
        (noise,), (deviation,) = f.cached, f.scratch
        f.generator.standard_normal(out=noise, dtype=noise.dtype)
        np.multiply(log_variance, 0.5, out=deviation)
        np.exp(deviation, out=deviation)
        noise *= deviation
        np.add(mean, noise, out=f.y)

    def penalty(self, f: Frame) -> float:
        mean, log_variance = self._halves(f.x)
        (divergence,) = f.scratch
        np.exp(log_variance, out=divergence)
        divergence -= log_variance
        divergence -= 1
        divergence *= f.scale
        of_variance = float(np.add.reduce(divergence, axis=None))
        np.multiply(mean, mean, out=divergence)
        divergence *= f.scale
        return self.beta / 2 * (of_variance + float(np.add.reduce(divergence, axis=None)))

    def backward(self, p: SimpleNamespace, g: SimpleNamespace, f: Frame) -> None:
        if f.dx is None:
            return
        mean, log_variance = self._halves(f.x)
        d_mean, d_log_variance = self._halves(f.dx)
        (noise,), (slope,) = f.cached, f.scratch
        np.exp(log_variance, out=slope)
        slope -= 1
        slope *= f.scale
        slope *= self.beta / 2
        noise *= f.dy
        noise *= 0.5
        np.add(noise, slope, out=d_log_variance)
        np.multiply(mean, f.scale, out=slope)
        slope *= self.beta
        np.add(f.dy, slope, out=d_mean)

    def for_inference(self, n_in: int) -> Layer:
        return TakeColumns(n_in // 2)

    def _halves(self, x: Array) -> tuple[Array, Array]:
        width = x.shape[1] // 2
        return x[:, :width], x[:, width:]


class Noise(Layer, family="noise", backward_reads="", in_place=True, only_in_training=True):
    """A layer that changes its rows in training and passes them on unchanged in prediction.

    A subclass defines `add_noise`, and backward unless the derivative is 1.
    """

    def forward(self, p: SimpleNamespace, f: Frame) -> None:
        if f.train:
            self.add_noise(f)
        elif f.y is not f.x:
            np.copyto(f.y, f.x)

    def add_noise(self, f: Frame) -> None:
        """Fill ``f.y`` from ``f.x``, drawing random numbers from ``f.generator``."""
        raise NotImplementedError

    def backward(self, p: SimpleNamespace, g: SimpleNamespace, f: Frame) -> None:
        if f.dx is not None and f.dx is not f.dy:
            np.copyto(f.dx, f.dy)


def _random(f: Frame, out: Array) -> Array:
    f.generator.random(out=out, dtype=out.dtype)
    return out


class Dropout(Noise, name="dropout", backward_reads="", in_place=True, cached=1):
    """y = x · mask / (1 - rate), each entry dropped with probability `rate` (Srivastava, 2014)."""

    rate: float = 0.5

    def check_init(self) -> None:
        self.check_range("rate", 0, 1, closed="left")

    def add_noise(self, f: Frame) -> None:
        (mask,) = f.cached
        np.greater_equal(_random(f, mask), self.rate, out=mask)
        mask *= 1 / (1 - self.rate)
        np.multiply(f.x, mask, out=f.y)

    def backward(self, p: SimpleNamespace, g: SimpleNamespace, f: Frame) -> None:
        if f.dx is not None:
            np.multiply(f.dy, f.cached[0], out=f.dx)


class MaskingNoise(Noise, name="masking", backward_reads="", in_place=True, cached=1):
    """y = x with a fraction `level` of the entries set to 0 (Vincent et al., 2010, section 3.3)."""

    level: float = 0.25

    def check_init(self) -> None:
        self.check_range("level", 0, 1)

    def add_noise(self, f: Frame) -> None:
        (mask,) = f.cached
        np.greater_equal(_random(f, mask), self.level, out=mask)
        np.multiply(f.x, mask, out=f.y)

    def backward(self, p: SimpleNamespace, g: SimpleNamespace, f: Frame) -> None:
        if f.dx is not None:
            np.multiply(f.dy, f.cached[0], out=f.dx)


class GaussianNoise(Noise, name="gaussian", scratch=1):
    """y = x + level · N(0, 1) (Vincent et al., 2010, section 3.3)."""

    level: float = 0.3

    def check_init(self) -> None:
        self.check_range("level", 0)

    def add_noise(self, f: Frame) -> None:
        (noise,) = f.scratch
        f.generator.standard_normal(out=noise, dtype=noise.dtype)
        noise *= self.level
        np.add(f.x, noise, out=f.y)


class SaltAndPepperNoise(
    Noise, name="salt_and_pepper", backward_reads="", in_place=True, scratch=1, cached=1
):
    """y = x with a fraction `level` of the entries set to `low` or `high`, equally likely."""

    level: float = 0.1
    low: float = 0.0
    high: float = 1.0

    def check_init(self) -> None:
        self.check_range("level", 0, 1)

    def add_noise(self, f: Frame) -> None:
        (mask,), (extreme,) = f.cached, f.scratch
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
            np.multiply(f.dy, f.cached[0], out=f.dx)


class Corruption(Noise, name="corruption", backward_reads="", in_place=True):
    """y = function(x, rng), for noise specific to the user's domain, such as warped images.

    The function is called with a block of rows and a generator, possibly in several threads at
    once, and returns an array of the same shape. It is not part of the layer's description: a saved
    and loaded network predicts the same but cannot be trained. As the function's derivative is
    unknown, the layer must precede all layers with parameters.
    """

    function: Callable[[Array, np.random.Generator], Array] | None = None

    def add_noise(self, f: Frame) -> None:
        if self.function is None:
            raise ValueError("The function of a corruption layer is not saved with a network.")
        corrupted = np.asarray(self.function(f.x, f.generator))
        if corrupted.shape != f.x.shape:
            raise ValueError(
                f"The noise function must return an array of the shape it is given, {f.x.shape}; "
                f"it returned {corrupted.shape}."
            )
        np.copyto(f.y, corrupted, casting="same_kind")

    def backward(self, p: SimpleNamespace, g: SimpleNamespace, f: Frame) -> None:
        if f.dx is not None:
            raise ValueError("A corruption layer must precede all layers with parameters.")

    def to_dict(self) -> dict[str, Any]:
        return {**super().to_dict(), "function": None}
