"""Optimizers: recipes on flat vectors.

An optimizer is independent of layers, schedules and stopping. It changes a slice of the parameter
vector, given the same slice of the gradient and of the vectors it keeps (`slots`). Everything is
element-wise, so a slice may be cut into blocks anywhere without changing a bit. An optimizer may
declare that it updates hidden weight matrices as a whole instead.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from skscratch.core.functions import Array
from skscratch.core.named import Named

# A moment that no longer receives a gradient decays to denormal numbers, which are some fifty times
# slower. Below TINY it cannot matter; 0.9**128 is 1e-6, so nothing gets from TINY into the denormal
# range (1e-38 in float32) between two flushes.
TINY = 1e-28
FLUSH_EVERY = 128

# Entries that are swapped at a time.
SWAP_BLOCK = 1 << 12

# A number, or a 0-d array, which NumPy multiplies faster than a Python float.
Rate = Array | float


@dataclass
class OptimizerState:
    """An optimizer, the number of steps it has taken, and its parameter-sized vectors."""

    optimizer: Optimizer
    t: int
    slots: tuple[Array, ...]
    scratch: Array | None = field(default=None, repr=False)
    #: Checksum of the parameters used for prediction, if they are not those of the last step.
    checksum: int | None = None

    def converted(self, before: Array, params: Array) -> OptimizerState:
        """Return the state to resume with once `before` was converted to `params`' dtype."""
        slots = tuple(slot.astype(params.dtype) for slot in self.slots)
        known = self.checksum is not None and self.checksum == checksum_of(before)
        checksum = checksum_of(params) if known else self.checksum
        return OptimizerState(self.optimizer, self.t, slots, checksum=checksum)


def checksum_of(params: Array) -> int:
    """Return a number that tells parameters apart, which an optimizer with `swaps` relies on."""
    return zlib.crc32(params.data)


class Optimizer(Named, family="optimizer"):
    """A rule that turns a gradient into a change of the parameters."""

    n_slots: ClassVar[int] = 0
    #: Whether `swap` does anything.
    swaps: ClassVar[bool] = False

    def slots_used(self) -> int:
        """Return how many vectors the optimizer keeps with these hyperparameters."""
        return self.n_slots

    @property
    def decays_weights(self) -> bool:
        """Whether the optimizer decays the weights itself, instead of an L2 penalty."""
        return False

    @property
    def matrices(self) -> bool:
        """Whether `update_matrix` changes the weight matrices of all layers but the last one."""
        return False

    def matrix_scratch(self, shape: tuple[int, ...]) -> int:
        """Return how many numbers `update_matrix` needs room for."""
        return 0

    def update_matrix(
        self, W: Array, G: Array, slots: Sequence[Array], scratch: Array, lr: Rate, t: int
    ) -> None:
        """Take step number `t` on a weight matrix of shape (n_in, n_out). `G` may be overwritten.

        `slots` have the shape of W, `scratch` is a vector of as many numbers as asked for.
        """
        raise NotImplementedError

    def for_role(self, penalised: bool) -> Optimizer:
        """Return the optimizer of penalised parameters, or of the others.

        Both keep the same vectors.
        """
        return self

    def start(self, params: Array) -> OptimizerState:
        """Return the initial state for training `params`."""
        slots = tuple(np.zeros_like(params) for _ in range(self.slots_used()))
        return OptimizerState(self, 0, slots)

    def swap(self, params: Array, state: OptimizerState) -> None:
        """Swap the parameters that steps start from and those to predict with.

        Training does so before and after each epoch. Most optimizers use the same for both.
        """

    def check_state(self, state: OptimizerState, params: Array) -> None:
        """Raise a ValueError if `state` does not belong to this optimizer and these parameters."""
        if not self.keeps_the_same(state.optimizer):
            raise ValueError(
                f"The state to resume from was made by {state.optimizer!r}, whose vectors differ "
                f"from those of {self!r}. Choose the same optimizer, or state=None."
            )
        if any(slot.shape != params.shape or slot.dtype != params.dtype for slot in state.slots):
            raise ValueError(
                f"The state to resume from belongs to other parameters: this network has "
                f"{len(params)} of type {params.dtype}."
            )

    def keeps_the_same(self, other: Optimizer) -> bool:
        """Return whether this optimizer can continue with the vectors of another one."""
        return type(other) is type(self) and other.slots_used() == self.slots_used()

    def step(self, params: Array, grads: Array, lr: Rate, state: OptimizerState) -> None:
        """Change all of `params` in place; `grads` is overwritten."""
        if state.scratch is None:
            state.scratch = np.empty_like(params)
        state.t += 1
        self.update(params, grads, state.slots, state.scratch, lr, state.t)

    def update(
        self, w: Array, g: Array, slots: Sequence[Array], scratch: Array, lr: Rate, t: int
    ) -> None:
        """Take step number `t` on one block of parameters. `g` and `scratch` may be overwritten.

        `lr` may be an array whose value changes with the next step: do not keep it.
        """
        raise NotImplementedError

    def flush(self, slots: Sequence[Array], scratch: Array, t: int) -> None:
        """Every `FLUSH_EVERY` steps, set entries that are about to become denormal to 0."""
        if t % FLUSH_EVERY == 0:
            for slot in slots:
                np.abs(slot, out=scratch)
                np.greater(scratch, TINY, out=scratch)
                slot *= scratch


class SGD(Optimizer, name="sgd"):
    """v ← μ v - lr g;  w ← w + v, or w ← w + μ v - lr g (Nesterov; Sutskever et al., 2013)."""

    momentum: float = 0.0
    nesterov: bool = False

    n_slots: ClassVar[int] = 1

    def check_init(self) -> None:
        self.check_range("momentum", 0, 1)

    def slots_used(self) -> int:
        return self.n_slots if self.momentum else 0

    def update(
        self, w: Array, g: Array, slots: Sequence[Array], scratch: Array, lr: Rate, t: int
    ) -> None:
        g *= lr
        if not self.momentum:
            w -= g
            return
        (v,) = slots
        v *= self.momentum
        v -= g
        if self.nesterov:
            np.multiply(v, self.momentum, out=scratch)
            w += scratch
            w -= g
        else:
            w += v
        self.flush(slots, scratch, t)


class RMSprop(Optimizer, name="rmsprop"):
    """v ← ρ v + (1 - ρ) g²;  w ← w - lr g / (√v + ε) (Tieleman & Hinton, 2012)."""

    rho: float = 0.9
    epsilon: float = 1e-7

    n_slots: ClassVar[int] = 1

    def check_init(self) -> None:
        self.check_range("rho", 0, 1, closed="left")
        self.check_range("epsilon", 0)

    def update(
        self, w: Array, g: Array, slots: Sequence[Array], scratch: Array, lr: Rate, t: int
    ) -> None:
        (v,) = slots
        v *= self.rho
        np.multiply(g, g, out=scratch)
        scratch *= 1 - self.rho
        v += scratch
        np.sqrt(v, out=scratch)
        scratch += self.epsilon
        g /= scratch
        g *= lr
        w -= g
        self.flush(slots, scratch, t)


class Adam(Optimizer, name="adam"):
    """m ← β₁ m + g;  v ← β₂ v + g²;  w ← w - lr' m / (√v + ε').

    These are the moments of Kingma & Ba (2015) without the factors 1 - β₁ and 1 - β₂. Moving them
    to lr' = lr (1 - β₁) / (1 - β₁ᵗ) √((1 - β₂ᵗ) / (1 - β₂)) and ε' = ε / √(1 - β₂) saves two passes
    over the parameters (the efficient form of section 2).
    """

    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8

    n_slots: ClassVar[int] = 2

    def check_init(self) -> None:
        self.check_range("beta_1", 0, 1, closed="left")
        self.check_range("beta_2", 0, 1, closed="left")
        self.check_range("epsilon", 0)

    def update(
        self, w: Array, g: Array, slots: Sequence[Array], scratch: Array, lr: Rate, t: int
    ) -> None:
        m, v = slots
        m *= self.beta_1
        m += g
        v *= self.beta_2
        g *= g
        v += g
        np.sqrt(v, out=scratch)
        scratch += self.epsilon / (1 - self.beta_2) ** 0.5
        np.divide(m, scratch, out=scratch)
        of_mean = (1 - self.beta_1) / (1 - self.beta_1**t)
        of_square = (1 - self.beta_2**t) / (1 - self.beta_2)
        scratch *= lr * of_mean * of_square**0.5
        w -= scratch
        self.flush(slots, scratch, t)


class AdamW(Adam, name="adamw"):
    """Adam, and w ← w - lr · decay · w for weights, not for biases (Loshchilov & Hutter, 2019)."""

    weight_decay: float = 0.004

    def check_init(self) -> None:
        super().check_init()
        self.check_range("weight_decay", 0)

    @property
    def decays_weights(self) -> bool:
        return True

    def for_role(self, penalised: bool) -> Optimizer:
        return self if penalised else Adam(self.beta_1, self.beta_2, self.epsilon)

    def update(
        self, w: Array, g: Array, slots: Sequence[Array], scratch: Array, lr: Rate, t: int
    ) -> None:
        w *= 1 - lr * self.weight_decay
        super().update(w, g, slots, scratch, lr, t)


class Muon(AdamW, name="muon"):
    """Orthogonal steps for hidden weight matrices, AdamW for all else (Jordan et al., 2024).

    M ← μ M + G;  O = orthogonalise(G + μ M);  W ← (1 - lr' decay) W - lr' √max(1, n_out / n_in) O,
    in which lr' = `rate` · lr, because all entries of such a step together are of about one size.
    """

    momentum: float = 0.95
    rate: float = 20.0

    def check_init(self) -> None:
        super().check_init()
        self.check_range("momentum", 0, 1, closed="left")
        self.check_range("rate", 0, closed="neither")

    @property
    def matrices(self) -> bool:
        return True

    def matrix_scratch(self, shape: tuple[int, ...]) -> int:
        # Two matrices of this shape, and two products of its shorter side.
        return 2 * math.prod(shape) + 2 * min(shape) ** 2

    def update_matrix(
        self, W: Array, G: Array, slots: Sequence[Array], scratch: Array, lr: Rate, t: int
    ) -> None:
        M = slots[0]
        M *= self.momentum
        M += G
        step, rest = scratch[: W.size].reshape(W.shape), scratch[W.size :]
        np.multiply(M, self.momentum, out=step)
        step += G
        orthogonalise(step, rest)
        n_in, n_out = W.shape
        W *= 1 - lr * self.rate * self.weight_decay
        step *= lr * (self.rate * max(1.0, n_out / n_in) ** 0.5)
        W -= step
        self.flush([M], step, t)


# The polynomial a x + b x³ + c x⁵ brings singular values in (0, 1] close to 1 in few iterations
# (Jordan et al., 2024).
NEWTON_SCHULZ = 3.4445, -4.7750, 2.0315
NEWTON_SCHULZ_STEPS = 5


def orthogonalise(X: Array, scratch: Array) -> None:
    """Bring the singular values of X close to 1, in place, by Newton and Schulz's iteration.

    `scratch` is a vector of `X.size` and twice the square of the shorter side.
    """
    a, b, c = NEWTON_SCHULZ
    n = min(X.shape)
    product = scratch[: X.size].reshape(X.shape)
    gram = scratch[X.size : X.size + n * n].reshape(n, n)
    square = scratch[X.size + n * n : X.size + 2 * n * n].reshape(n, n)
    wide = X.shape[0] == n
    flat = X.reshape(-1)
    X *= 1 / (math.sqrt(float(flat.dot(flat))) + 1e-7)
    for _ in range(NEWTON_SCHULZ_STEPS):
        left, right = (X, X.T) if wide else (X.T, X)
        np.dot(left, right, out=gram)
        np.dot(gram, gram, out=square)
        square *= c
        gram *= b
        gram += square
        left, right = (gram, X) if wide else (X, gram)
        np.dot(left, right, out=product)
        X *= a
        X += product


class Averaged(Optimizer, name="averaged"):
    """Another optimizer; predictions use the mean of the parameters over its steps.

    m ← m + (w - m) (1 + p) / (t + p) with p = `power`: 0 gives the plain mean (Polyak & Juditsky,
    1992), a larger power gives late steps more weight, so that the start of training is forgotten
    (Shamir & Zhang, 2013).
    """

    optimizer: Optimizer = Adam()
    power: float = 0.0

    swaps: ClassVar[bool] = True

    def check_init(self) -> None:
        self.check_range("power", 0)
        if not isinstance(self.optimizer, Optimizer):
            raise ValueError(
                f"optimizer of 'averaged' must be an Optimizer, got {self.optimizer!r}."
            )
        if self.optimizer.swaps:
            raise ValueError(f"'averaged' cannot average {self.optimizer!r}, which does so itself.")

    @property
    def decays_weights(self) -> bool:
        return self.optimizer.decays_weights

    @property
    def matrices(self) -> bool:
        return self.optimizer.matrices

    def slots_used(self) -> int:
        return self.optimizer.slots_used() + 1

    def matrix_scratch(self, shape: tuple[int, ...]) -> int:
        return max(self.optimizer.matrix_scratch(shape), math.prod(shape))

    def for_role(self, penalised: bool) -> Optimizer:
        return Averaged(self.optimizer.for_role(penalised), self.power)

    def start(self, params: Array) -> OptimizerState:
        slots = self.optimizer.start(params).slots
        return OptimizerState(self, 0, (*slots, params.copy()))

    def keeps_the_same(self, other: Optimizer) -> bool:
        return isinstance(other, Averaged) and self.optimizer.keeps_the_same(other.optimizer)

    def swap(self, params: Array, state: OptimizerState) -> None:
        _swap(params, state.slots[-1])

    def update(
        self, w: Array, g: Array, slots: Sequence[Array], scratch: Array, lr: Rate, t: int
    ) -> None:
        *kept, mean = slots
        self.optimizer.update(w, g, kept, scratch, lr, t)
        self._add_to_mean(w, mean, scratch, t)

    def update_matrix(
        self, W: Array, G: Array, slots: Sequence[Array], scratch: Array, lr: Rate, t: int
    ) -> None:
        *kept, mean = slots
        self.optimizer.update_matrix(W, G, kept, scratch, lr, t)
        self._add_to_mean(W, mean, scratch[: W.size].reshape(W.shape), t)

    def _add_to_mean(self, w: Array, mean: Array, scratch: Array, t: int) -> None:
        np.subtract(w, mean, out=scratch)
        scratch *= (1 + self.power) / (t + self.power)
        mean += scratch


def _swap(a: Array, b: Array) -> None:
    """Swap the values of two vectors, block by block, without copying a whole one."""
    for start in range(0, len(a), SWAP_BLOCK):
        place = slice(start, start + SWAP_BLOCK)
        before = a[place].copy()
        a[place] = b[place]
        b[place] = before
