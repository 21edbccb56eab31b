"""Checks that a layer, a loss or an optimizer keeps its contract, as `check_estimator` does.

The project's own tests call them for every registered class. Call them in the tests of your own:

>>> from skscratch.core import Tanh, check_layer
>>> check_layer(Tanh())
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
from scipy import sparse

from skscratch.core.activations import Activation
from skscratch.core.functions import Array
from skscratch.core.gradcheck import gradient_check
from skscratch.core.initializers import FanInUniform
from skscratch.core.layers import Dense, Frame, Layer
from skscratch.core.losses import Loss, LossBuffers, SquaredError
from skscratch.core.named import Named
from skscratch.core.network import Network
from skscratch.core.objective import Objective
from skscratch.core.optimizers import Optimizer, OptimizerState

TOLERANCE = 1e-6
ROWS = 8


def check_layer(
    layer: Layer,
    *,
    n_in: int = 6,
    before: Sequence[Layer] = (),
    behind: Sequence[Layer] = (),
    pairs: bool = True,
) -> None:
    """Check a layer: its gradient in every position, its declarations, and that it has no state.

    Parameters
    ----------
    layer : Layer
        The layer.
    n_in : int, default=6
        Number of input columns.
    before, behind : sequence of Layer, default=()
        Layers that it needs around it, such as `PerturbedCopies` before `Contraction`. They are
        used when the gradient is checked.
    pairs : bool, default=True
        Also check the gradient next to every registered activation.

    Raises
    ------
    AssertionError
        With the fault: the position, or the buffer about which a declaration is false.

    Examples
    --------
    >>> import numpy as np
    >>> from skscratch.core import Elementwise, check_layer
    >>> class Cube(Elementwise):
    ...     def f(self, x):
    ...         return x**3
    ...
    ...     def slope(self, x, y):
    ...         return 3 * x**2
    >>> check_layer(Cube())
    """
    _check_recipe(layer)
    for dtype in (np.float64, np.float32):
        _check_declarations(layer, n_in, np.dtype(dtype))
    _check_prediction(layer, n_in)
    _check_sparse_rows(layer, n_in, list(before), list(behind))
    _check_gradients(layer, n_in, list(before), list(behind), pairs)


def check_loss(loss: Loss) -> None:
    """Check a loss: its gradient, weights, buffers, range of targets and predictions.

    Parameters
    ----------
    loss : Loss
        The loss.

    Raises
    ------
    AssertionError
        With the fault.

    Examples
    --------
    >>> from skscratch.core import Huber, check_loss
    >>> check_loss(Huber(0.5))
    """
    _check_recipe(loss)
    # A loss of quantiles has one output per quantile.
    width = len(getattr(loss, "quantiles", (1, 2, 3)))
    rng = np.random.default_rng(0)
    for dtype in (np.float64, np.float32):
        raw = rng.normal(size=(ROWS, width)).astype(dtype)
        target = _targets(loss, rng, (ROWS, width)).astype(dtype)
        _check_values(loss, raw, target)
        start = loss.baseline(target, np.arange(ROWS) % 3 + 0.5)
        _demand(
            start.shape == (width,) and start.dtype == dtype and bool(np.isfinite(start).all()),
            loss,
            "baseline lacks the shape or dtype of one raw output, or is not finite",
        )
        predicted = loss.predict(raw)
        _demand(
            predicted.shape == raw.shape and predicted.dtype == raw.dtype,
            loss,
            f"predict returns {predicted.dtype} of shape {predicted.shape} for {raw.dtype} of "
            f"shape {raw.shape}",
        )
        _demand(
            bool(np.isfinite(predicted).all()), loss, "predict returns values that are not finite"
        )
    loss.check_targets(target)
    low, high = loss.interval
    for outside in (low - 1, high + 1):
        if np.isfinite(outside):
            _demand_error(loss, np.full_like(target, outside))
    network = Network([Dense(width, bias=FanInUniform())], 4, rng=1)
    X = rng.normal(size=(ROWS, 4))
    target = _targets(loss, rng, (ROWS, width))
    for weight in (None, np.arange(ROWS) % 3):
        error = gradient_check(Objective(network, loss), X, target, weight)
        _demand(error <= TOLERANCE, loss, f"the gradient is wrong by {error:.1e}")


def check_optimizer(optimizer: Optimizer) -> None:
    """Check an optimizer: it reduces a convex function, and its vectors may be cut anywhere.

    Parameters
    ----------
    optimizer : Optimizer
        The optimizer.

    Raises
    ------
    AssertionError
        With the fault.

    Examples
    --------
    >>> from skscratch.core import Adam, check_optimizer
    >>> check_optimizer(Adam())
    """
    _check_recipe(optimizer)
    for dtype in (np.float64, np.float32):
        w = np.array([1.0, -2.0, 0.5], dtype)
        state = optimizer.start(w)
        _demand(
            all(slot.shape == w.shape and slot.dtype == w.dtype for slot in state.slots),
            optimizer,
            "start makes slots whose shape or dtype differs from that of the parameters",
        )
        for _ in range(500):
            optimizer.step(w, 2 * w, 0.01, state)
        _demand(w.dtype == dtype, optimizer, f"parameters of {np.dtype(dtype)} become {w.dtype}")
        value = float((w**2).sum())
        _demand(
            value < 0.5 * 5.25, optimizer, f"500 steps on Σ w² leave {value:.3g} of 5.25 (lr 0.01)"
        )
        _check_swap(optimizer, w, state)
        before = w.copy()
        optimizer.step(w, np.zeros_like(w), 0.0, optimizer.start(w))
        _demand(np.array_equal(w, before), optimizer, "a step of length 0 changes the parameters")
    _check_cuts(optimizer)
    if optimizer.matrices:
        _check_matrices(optimizer)


def _check_swap(optimizer: Optimizer, w: Array, state: OptimizerState) -> None:
    """Check that swapping twice changes nothing, and once only if the optimizer declares it."""
    before = [array.copy() for array in (w, *state.slots)]
    optimizer.swap(w, state)
    changed = not np.array_equal(w, before[0])
    _demand(changed <= optimizer.swaps, optimizer, "swap changes parameters, but swaps is False")
    optimizer.swap(w, state)
    _demand(_same([w, *state.slots], before), optimizer, "swapping twice changes something")


def _check_matrices(optimizer: Optimizer) -> None:
    """Check steps on wide, tall and square matrices, in poisoned scratch arrays."""
    for shape in ((3, 5), (5, 3), (4, 4)):
        for dtype in (np.float64, np.float32):
            W = np.random.default_rng(0).normal(size=shape).astype(dtype)
            before = float((W**2).sum())
            slots = [slot.reshape(shape) for slot in optimizer.start(W.ravel()).slots]
            for t in range(1, 201):
                scratch = np.full(optimizer.matrix_scratch(shape), np.nan, dtype)
                optimizer.update_matrix(W, 2 * W, slots, scratch, np.array(1e-3, dtype), t)
            finite = W.dtype == dtype and bool(np.isfinite(W).all())
            _demand(finite, optimizer, "update_matrix reads the scratch array, or changes a dtype")
            value = float((W**2).sum())
            _demand(
                value < 0.5 * before,
                optimizer,
                f"200 steps on Σ W² leave {value:.3g} of {before:.3g} (lr 0.001)",
            )


def _check_cuts(optimizer: Optimizer) -> None:
    """Compare steps on the whole vector with steps on its parts, in poisoned scratch arrays."""
    rng = np.random.default_rng(0)
    whole = rng.normal(size=20)
    parts, resumed = whole.copy(), whole.copy()
    states = [optimizer.start(whole) for _ in range(3)]
    for t in range(1, 6):
        gradient = rng.normal(size=20)
        optimizer.step(whole, gradient.copy(), 0.01, states[0])
        for place in (slice(0, 7), slice(7, 20)):
            slots = [slot[place] for slot in states[1].slots]
            scratch = np.full(len(parts[place]), np.nan)
            optimizer.update(parts[place], gradient[place].copy(), slots, scratch, 0.01, t)
        states[2] = copy.deepcopy(states[2])
        optimizer.step(resumed, gradient.copy(), 0.01, states[2])
    _demand(
        np.array_equal(whole, parts),
        optimizer,
        "steps on two parts of a vector differ from steps on the whole, or read the scratch array",
    )
    _demand(
        np.array_equal(whole, resumed),
        optimizer,
        "training resumed from a copied state gives different parameters",
    )


# All recipes.


def _demand(condition: bool, recipe: Named, fault: str) -> None:
    if not condition:
        raise AssertionError(f"{recipe!r}: {fault}.")


def _demand_error(loss: Loss, target: Array) -> None:
    try:
        loss.check_targets(target)
    except ValueError:
        return
    raise AssertionError(f"{loss!r}: check_targets accepts targets outside {loss.interval}.")


def _check_recipe(recipe: Named) -> None:
    """Check that a recipe hashes, copies and survives JSON."""
    _demand(hash(recipe) == hash(copy.copy(recipe)), recipe, "a copy has a different hash")
    if not recipe.name or _holds_function(recipe):
        return
    _demand(copy.deepcopy(recipe) == recipe, recipe, "a deep copy is not equal")
    text = json.dumps(recipe.to_dict())
    _demand(Named.from_dict(json.loads(text)) == recipe, recipe, f"not equal after JSON: {text}")


def _holds_function(recipe: Named) -> bool:
    return any(callable(value) and not isinstance(value, Named) for value in vars(recipe).values())


# Layers.


@dataclass
class _Pass:
    """One pass of rows through a single layer, in buffers made for it."""

    layer: Layer
    x: Array
    dy: Array
    params: SimpleNamespace
    in_place_forward: bool = False
    in_place_backward: bool = False
    poison_x: bool = False
    poison_y: bool = False
    wants_dx: bool = True
    train: bool = True
    grads: SimpleNamespace = field(init=False)

    def __post_init__(self) -> None:
        layer, dtype = self.layer, self.x.dtype
        rows, n_in = self.x.shape
        n, width = (layer.rows_out(rows) if self.train else rows), layer.n_out(n_in)
        x, dy = self.x.copy(), self.dy.copy()
        self.frame = Frame(
            x=x,
            y=x if self.in_place_forward else np.full((n, width), np.nan, dtype),
            dy=dy,
            dx=(dy if self.in_place_backward else np.full_like(x, np.nan))
            if self.wants_dx
            else None,
            column=np.full((n, 1), np.nan, dtype),
            ones=np.ones(n, dtype),
            zeros=np.zeros(width, dtype),
            scratch=tuple(np.full((n, width), np.nan, dtype) for _ in range(layer.n_scratch)),
            cached=tuple(np.full((n, width), np.nan, dtype) for _ in range(layer.n_cached)),
            train=self.train,
            rng=np.random.default_rng(0),
            scale=0.5,
        )
        self.grads = SimpleNamespace(
            **{name: np.full_like(value, np.nan) for name, value in vars(self.params).items()}
        )

    def forward(self) -> Array:
        self.layer.forward(self.params, self.frame)
        self.penalty = self.layer.penalty(self.frame) if self.train else 0.0
        return self.frame.y.copy()

    def backward(self) -> Array | None:
        f = self.frame
        for array in (*f.scratch, f.column):
            array.fill(np.nan)
        if self.poison_x:
            f.x.fill(np.nan)
        if self.poison_y and f.y is not f.x:
            f.y.fill(np.nan)
        self.layer.backward(self.params, self.grads, f)
        return f.dx

    def run(self) -> list[Array]:
        """Return y, dx and the gradients of the parameters."""
        y = self.forward()
        dx = self.backward()
        return [y, *([] if dx is None else [dx]), *vars(self.grads).values()]

    @property
    def draws(self) -> bool:
        """Whether the layer drew random numbers."""
        rng = self.frame.rng
        assert rng is not None
        return bool(rng.bit_generator.state != np.random.default_rng(0).bit_generator.state)


def _parameters(layer: Layer, n_in: int, dtype: np.dtype[Any]) -> SimpleNamespace:
    rng = np.random.default_rng(1)
    return SimpleNamespace(
        **{p.name: rng.normal(size=p.shape).astype(dtype) for p in layer.params(n_in)}
    )


def _check_declarations(layer: Layer, n_in: int, dtype: np.dtype[Any]) -> None:
    """Compare passes in separate buffers with passes in buffers shared as declared."""
    rng = np.random.default_rng(2)
    # Away from the kinks of common activations.
    x = rng.normal(size=(ROWS, n_in)).astype(dtype)
    x += np.copysign(0.1, x)
    dy = rng.normal(size=(layer.rows_out(ROWS), layer.n_out(n_in))).astype(dtype)
    params = _parameters(layer, n_in, dtype)

    def new_pass(**options: Any) -> _Pass:
        return _Pass(layer, x, dy, params, **options)

    with np.errstate(all="ignore"):
        plain = new_pass()
        y = plain.forward()
        _demand(
            np.array_equal(plain.frame.x, x), layer, "forward changes f.x, which may be the user's"
        )
        _demand(bool(np.isfinite(y).all()), layer, "forward does not fill f.y, or reads scratch")
        # A layer that keeps state would confuse the two passes.
        other = new_pass()
        other.frame.x[:] = -x
        other.forward()
        dx = plain.backward()
        expected = [y, dx, *vars(plain.grads).values()]
        _demand(np.array_equal(plain.frame.x, x), layer, "backward changes f.x")
        for value, name in zip(expected, ["f.y", "f.dx", *vars(params)], strict=False):
            _demand(
                value is not None and bool(np.isfinite(value).all()),
                layer,
                f"backward does not fill {name}, or reads scratch that forward filled",
            )
        _demand(
            _same(new_pass().run(), expected), layer, "two passes differ: the layer keeps state"
        )
        reads = layer.backward_reads
        if "x" not in reads:
            _demand(
                _same(new_pass(poison_x=True).run(), expected),
                layer,
                f"backward reads f.x, which backward_reads={reads!r} does not declare",
            )
        if "y" not in reads:
            _demand(
                _same(new_pass(poison_y=True).run(), expected),
                layer,
                f"backward reads f.y, which backward_reads={reads!r} does not declare",
            )
        if layer.in_place:
            _demand(
                _same(new_pass(in_place_backward=True).run(), expected),
                layer,
                "in_place=True, but backward reads f.dy after it wrote f.dx",
            )
            _demand(
                "x" in reads or _same(new_pass(in_place_forward=True).run(), expected),
                layer,
                "in_place=True, but forward reads f.x after it wrote f.y",
            )
        if vars(params):
            _demand(
                _same(new_pass(wants_dx=False).run(), [y, *vars(plain.grads).values()]),
                layer,
                "the gradients of the parameters depend on whether f.dx is None",
            )


def _same(found: list[Any], expected: list[Any]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


def _check_prediction(layer: Layer, n_in: int) -> None:
    """Compare single rows with a batch, and float32 with float64."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(ROWS, n_in))
    params = _parameters(layer, n_in, np.dtype(np.float64))

    def predict(rows: Array, params: SimpleNamespace) -> Array:
        one = _Pass(layer, rows, np.empty((0, 0)), params, wants_dx=False, train=False)
        y = one.forward()
        _demand(not one.draws, layer, "it draws random numbers in prediction")
        return y

    with np.errstate(all="ignore"):
        y = predict(x, params)
        alone = np.concatenate([predict(x[i : i + 1], params) for i in range(ROWS)])
        _demand(
            np.allclose(y, alone, rtol=1e-10, atol=1e-12),
            layer,
            "single rows are predicted differently from rows in a batch",
        )
        single = _parameters(layer, n_in, np.dtype(np.float32))
        close = np.allclose(predict(x.astype(np.float32), single), y, rtol=1e-3, atol=1e-4)
        _demand(close, layer, "float32 and float64 disagree")


def _check_sparse_rows(layer: Layer, n_in: int, before: list[Layer], behind: list[Layer]) -> None:
    """Compare sparse rows with dense ones, in a network that begins with the layer."""
    rng = np.random.default_rng(6)
    X = rng.normal(size=(ROWS, n_in)) * (rng.random((ROWS, n_in)) < 0.5)
    network = Network([*before, layer, *behind, Dense(3)], n_in, rng=7)
    target = rng.normal(size=(ROWS, 3))

    def results(X: Any) -> list[Array]:
        ws = network.workspace(
            ROWS,
            train=True,
            rng=np.random.default_rng(8),
            sparse_rows=not isinstance(X, np.ndarray),
        )
        # Twice, because gradients of sparse rows are added up.
        for _ in range(2):
            value = Objective(network, SquaredError()).value_and_grad(X, target, ws)
        return [np.array(value), ws.grad, network(X)]

    expected, found = results(X), results(sparse.csr_array(X))
    for what, a, b in zip(("loss", "gradient", "prediction"), found, expected, strict=True):
        _demand(
            np.allclose(a, b, rtol=1e-10, atol=1e-12),
            layer,
            f"as the first layer, its {what} differs between sparse and dense rows",
        )
    if not layer.sparse_rows:
        return
    dy = rng.normal(size=(ROWS, layer.n_out(n_in)))
    params = _parameters(layer, n_in, X.dtype)
    passes = [_Pass(layer, X, dy, params, wants_dx=False) for _ in range(2)]
    passes[1].frame.x = sparse.csr_array(X)
    for gradient in vars(passes[1].grads).values():
        gradient.fill(1)
    for one in passes:
        one.run()
    for name, gradient in vars(passes[0].grads).items():
        _demand(
            np.allclose(getattr(passes[1].grads, name), gradient + 1, rtol=1e-10),
            layer,
            f"backward does not add to g.{name} for sparse rows",
        )


def _check_gradients(
    layer: Layer, n_in: int, before: list[Layer], behind: list[Layer], pairs: bool
) -> None:
    """Check the gradient of small networks with the layer in every position."""
    dense = Dense(n_in, bias=FanInUniform())
    end = Dense(3, bias=FanInUniform())
    middle = [*before, layer, *behind]
    stacks = {
        "alone": middle,
        "first": [*middle, end],
        "last": [dense, *middle],
        "between Dense layers": [dense, *middle, end],
    }
    if pairs and not before and not behind:
        for name, kind in Activation.members().items():
            stacks[f"after {name}"] = [dense, kind(), layer, end]
            stacks[f"before {name}"] = [dense, layer, kind(), end]
    rng = np.random.default_rng(4)
    X = rng.normal(size=(ROWS, n_in))
    for position, layers in stacks.items():
        network = Network(layers, n_in, rng=5)
        objective = Objective(network, SquaredError(), l2=0.1)
        target = rng.normal(size=(ROWS, network.n_out))
        error = gradient_check(objective, X, target, np.arange(ROWS) % 3 + 0.5)
        _demand(error <= TOLERANCE, layer, f"{position}, the gradient is wrong by {error:.1e}")


# Losses.


def _targets(loss: Loss, rng: np.random.Generator, shape: tuple[int, int]) -> Array:
    """Draw targets of the kind that the loss accepts."""
    one_hot = np.eye(shape[1])[rng.integers(shape[1], size=shape[0])]
    kinds = {
        "real": rng.normal(size=shape),
        "share": rng.uniform(0.1, 0.9, size=shape),
        "one-hot": one_hot,
        "sign": 2 * one_hot - 1,
        "count": rng.poisson(2.0, size=shape).astype(float),
    }
    return kinds[loss.targets]


def _check_values(loss: Loss, raw: Array, target: Array) -> None:
    """Compare forms of the weights and single rows, in poisoned buffers."""
    n, width = raw.shape

    def evaluate(rows: slice, scale: Array | float) -> tuple[float, Array]:
        shape = (len(raw[rows]), width)
        grad, value, scratch = (np.full(shape, np.nan, raw.dtype) for _ in range(3))
        buffers = LossBuffers.over(grad, value, scratch, np.full((shape[0], 1), np.nan, raw.dtype))
        x, t = raw[rows].copy(), target[rows].copy()
        total = loss.value_and_grad(x, t, scale, buffers)
        unchanged = np.array_equal(x, raw[rows]) and np.array_equal(t, target[rows])
        _demand(unchanged, loss, "pointwise changes raw outputs or targets")
        return total, grad

    everything = slice(0, n)
    value, grad = evaluate(everything, 0.5)
    finite = np.isfinite(value) and bool(np.isfinite(grad).all())
    _demand(finite, loss, "pointwise does not fill b.value or b.grad, or reads scratch")
    weight = (np.arange(n) % 3).astype(raw.dtype)[:, np.newaxis]
    column_value, column_grad = evaluate(everything, weight)
    wide_value, wide_grad = evaluate(everything, np.repeat(weight, width, axis=1))
    rows = [evaluate(slice(i, i + 1), float(weight[i, 0])) for i in range(n)]
    rtol, atol = (1e-4, 1e-4) if raw.dtype == np.float32 else (1e-10, 1e-12)
    for what, other_value, other_grad in (
        ("one weight per output", wide_value, wide_grad),
        ("evaluating single rows", sum(v for v, _ in rows), np.concatenate([g for _, g in rows])),
    ):
        same = np.allclose(column_value, other_value, rtol, atol) and np.allclose(
            column_grad, other_grad, rtol, atol
        )
        _demand(same, loss, f"{what} changes the value or gradient given by one weight per row")
    of_rows = loss.of_rows(raw, target)
    _demand(
        np.allclose(0.5 * of_rows.sum(), value, rtol, atol),
        loss,
        "of_rows does not add up to value_and_grad",
    )
