"""Networks own the parameters, workspaces the memory to compute in.

A `Network` is a list of layer recipes and one flat parameter vector: weights first, then biases,
so that a penalty on the weights is one slice and an optimizer is a few lines on one vector. Every
``W`` and ``b`` is a reshaped view into it.

A `Workspace` is the memory of one worker for one block of rows. A fitted network can be used from
many threads at once, because each opens its own workspace.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import numpy as np
from scipy import sparse

from skscratch.core.blas import single_threaded_blas
from skscratch.core.functions import Array
from skscratch.core.initializers import RandomSource
from skscratch.core.layers import Dense, Frame, Layer, Role
from skscratch.core.named import Named
from skscratch.core.rows import Index, Rows, as_rows, is_sparse

FILE_FORMAT = "skscratch network 1"
PREDICT_ROWS = 512


class Stack:
    """Layers bound to their parameters, from an input width to an output width."""

    dtype: np.dtype[Any]
    views: list[SimpleNamespace]
    #: Layer -> earlier layer whose transposed weights it uses.
    ties: dict[int, int]

    def __init__(self, layers: Sequence[Layer], n_in: int) -> None:
        self.layers = tuple(layers)
        widths = [n_in]
        for layer in self.layers:
            widths.append(layer.n_out(widths[-1]))
        #: Widths between the layers, the input's first and the output's last.
        self.widths = tuple(widths)
        self.n_in, self.n_out = widths[0], widths[-1]
        #: Whether a batch must not be cut, because a layer's penalty needs all of its rows.
        self.whole_batch = any(layer.whole_batch for layer in self.layers)
        acting = (i for i, layer in enumerate(self.layers) if not layer.only_in_training)
        #: The layer that prediction begins with: those before it pass rows on unchanged.
        self.first_in_prediction = next(acting, 0)

    def takes_sparse(self, *, train: bool) -> bool:
        """Return whether sparse rows stay sparse, because the first layer declares `sparse_rows`.

        Rows are otherwise made dense, block by block.
        """
        return self.layers[0 if train else self.first_in_prediction].sparse_rows

    def forward(self, x: Any, ws: Workspace) -> Array:
        """Pass rows through all layers; the result belongs to the workspace.

        The rows are an array, or as `Workspace.take` returns them.
        """
        steps = ws.steps(x.shape[0])
        steps.first_frame.x = x
        for forward, p, f in steps.forward:
            forward(p, f)
        return steps.last_frame.y

    def __call__(self, X: Any) -> Array:
        """Compute the outputs of rows X, shape (n, n_in), as a new array of shape (n, n_out).

        X is an array or a sparse matrix.
        """
        rows = as_rows(X if sparse.issparse(X) else np.asarray(X, dtype=self.dtype))
        if len(rows.shape) != 2 or rows.shape[1] != self.n_in:
            raise ValueError(f"Expected an array of shape (n, {self.n_in}), got {rows.shape}.")
        n = rows.shape[0]
        out = np.empty((n, self.n_out), dtype=self.dtype)
        ws = Workspace(self, min(PREDICT_ROWS, max(1, n)), sparse_rows=is_sparse(rows))
        # exp overflows to inf where a saturated activation is exactly 0 or 1: not an error.
        with np.errstate(over="ignore"), single_threaded_blas:
            for start in range(0, n, PREDICT_ROWS):
                block = slice(start, min(start + PREDICT_ROWS, n))
                out[block] = self.forward(ws.take(rows, block, block.stop - start), ws)
        return out

    def __repr__(self) -> str:
        layers = ", ".join(map(repr, self.layers))
        return f"{type(self).__name__}([{layers}], n_in={self.n_in}, dtype={self.dtype})"


class Network(Stack):
    """Layers and their parameters, in one flat vector.

    `ties` maps the index of a dense layer to the index of an earlier one whose transposed ``W`` it
    uses as its own; the flat vector then holds that weight once.

    >>> from skscratch.core import Dense, Network, Sigmoid, Tanh
    >>> network = Network([Dense(4), Tanh(), Dense(1), Sigmoid()], n_in=2)
    >>> network.params.shape, network.n_weights
    ((17,), 12)
    """

    params: Array

    def __init__(
        self,
        layers: Sequence[Layer],
        n_in: int,
        dtype: Any = np.float64,
        *,
        rng: RandomSource | int | None = 0,
        ties: Mapping[int, int] | None = None,
    ) -> None:
        if not layers:
            raise ValueError("A network needs at least one layer.")
        for layer in layers:
            if not isinstance(layer, Layer):
                raise TypeError(f"Expected layers, got {layer!r}.")
        super().__init__(layers, int(n_in))
        self.dtype = np.dtype(dtype)
        if self.dtype not in (np.float32, np.float64):
            raise ValueError(f"dtype must be float32 or float64, got {self.dtype}.")
        self.ties = dict(ties or {})
        self._lay_out()
        self._bind(np.zeros(self.n_params, self.dtype))
        if rng is not None:
            self.initialize(np.random.default_rng(rng) if isinstance(rng, int) else rng)

    def _lay_out(self) -> None:
        """Give each parameter its place in the vector: equal roles together, penalised first."""
        entries = []
        output = -1
        for i, (layer, n_in) in enumerate(zip(self.layers, self.widths, strict=False)):
            for param in layer.params(n_in):
                output = i if param.matrix else output
                if i in self.ties and param.name == "W":
                    self._check_tie(i, param.shape)
                else:
                    entries.append((i, param))
        self._places: list[tuple[int, str, slice, tuple[int, ...]]] = []
        #: Slices, shapes and roles of the weight matrices of all layers but the output layer.
        self.hidden_matrices: list[tuple[slice, tuple[int, ...], Role]] = []
        #: Slices of the vector, each with a single role.
        self.roles: list[tuple[slice, Role]] = []
        self.n_weights = start = 0
        roles = dict.fromkeys(param.role for _, param in entries)
        for role in sorted(roles, key=lambda role: not role.penalised):
            first = start
            for i, param in entries:
                if param.role == role:
                    stop = start + int(np.prod(param.shape))
                    place = slice(start, stop)
                    self._places.append((i, param.name, place, param.shape))
                    if param.matrix and i != output:
                        self.hidden_matrices.append((place, param.shape, role))
                    start = stop
            self.roles.append((slice(first, start), role))
            if role.penalised:
                self.n_weights = start
        self.n_params = start

    def _check_tie(self, i: int, shape: tuple[int, ...]) -> None:
        j = self.ties[i]
        partner = {p.name: p.shape for p in self.layers[j].params(self.widths[j])}
        if j >= i or partner.get("W") != shape[::-1]:
            raise ValueError(
                f"Layer {i} cannot share the weights of layer {j}: layer {j} must come first, with "
                f"weights of shape {shape[::-1]}; it has weights of shape {partner.get('W')}."
            )

    def _bind(self, params: Array) -> None:
        # Called only once, because parts and workspaces keep the views that are made here.
        self.params = params
        self.views = self.views_of(params)
        for i, j in self.ties.items():
            self.views[i].W = self.views[j].W.T

    def views_of(self, flat: Array) -> list[SimpleNamespace]:
        """Return views of a flat vector in this network's layout, a namespace for each layer."""
        views = [SimpleNamespace() for _ in self.layers]
        for i, name, place, shape in self._places:
            setattr(views[i], name, flat[place].reshape(shape))
        return views

    def initialize(self, rng: RandomSource) -> None:
        """Draw all parameters, layer by layer, each with its own initializer."""
        widths = self.widths
        recipes = {
            (i, p.name): p.initializer
            for i, layer in enumerate(self.layers)
            for p in layer.params(widths[i])
        }
        for i, name, place, shape in sorted(self._places, key=lambda entry: entry[0]):
            recipes[i, name].fill(self.params[place].reshape(shape), widths[i], widths[i + 1], rng)

    @property
    def weights(self) -> Array:
        """The part of the parameter vector that a penalty applies to (a view)."""
        return self.params[: self.n_weights]

    def workspace(
        self,
        rows: int,
        *,
        train: bool = False,
        rng: np.random.Generator | None = None,
        sparse_rows: bool = False,
    ) -> Workspace:
        """Open a workspace for up to `rows` rows at a time, which may be sparse."""
        return Workspace(self, rows, train=train, rng=rng, sparse_rows=sparse_rows)

    def backward(self, ws: Workspace) -> None:
        """Compute gradients from the last frame's ``dy``, in the workspace's own vector."""
        for gradient in ws.start_at_zero:
            gradient.fill(0)
        for backward, p, g, f in ws.steps(ws.rows_in_use).backward:
            backward(p, g, f)
        for i, j in ws.tied_gradients:
            ws.grad_views[j].W += ws.grad_views[i].W.T

    def part(self, start: int, stop: int | None = None, extra_layers: Sequence[Layer] = ()) -> Part:
        """Return layers `start` to `stop` as a network that shares these parameters."""
        return Part(self, start, len(self.layers) if stop is None else stop, extra_layers)

    def copy(self) -> Network:
        """Return a network with the same layers and its own copy of the parameters."""
        copied = Network(self.layers, self.n_in, self.dtype, rng=None, ties=self.ties)
        copied.params[:] = self.params
        return copied

    # Copied or pickled views would no longer refer to the vector: keep only recipes and vector.
    def __getstate__(self) -> dict[str, Any]:
        return {
            "layers": self.layers,
            "n_in": self.n_in,
            "dtype": self.dtype.str,
            "ties": self.ties,
            "params": self.params,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__init__(state["layers"], state["n_in"])
        self.ties = state["ties"]
        self.dtype = np.dtype(state["dtype"])
        self._lay_out()
        self._bind(state["params"])

    def to_dict(self) -> dict[str, Any]:
        """Describe the architecture as plain data that JSON can hold."""
        return {
            "format": FILE_FORMAT,
            "layers": [layer.to_dict() for layer in self.layers],
            "n_in": self.n_in,
            "dtype": self.dtype.name,
            "ties": {str(i): j for i, j in self.ties.items()},
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any], params: Array) -> Self:
        """Build a network from the output of `to_dict` and a parameter vector, which is copied."""
        if not isinstance(data, dict) or data.get("format") != FILE_FORMAT:
            raise ValueError(f"This does not describe a network ({FILE_FORMAT!r}).")
        try:
            layers = [Named.from_dict(layer) for layer in data["layers"]]
            ties = {int(i): j for i, j in data["ties"].items()}
            network = cls(layers, data["n_in"], data["dtype"], rng=None, ties=ties)
        except (KeyError, TypeError, AttributeError, IndexError) as error:
            raise ValueError(f"The description of the network is damaged: {error!r}.") from error
        if params.dtype != network.dtype or params.shape != network.params.shape:
            raise ValueError(
                f"The network has {network.n_params} parameters of type {network.dtype}, "
                f"the file {params.shape} of type {params.dtype}."
            )
        network.params[:] = params
        return network

    def save(self, file: str | os.PathLike[str]) -> None:
        """Write architecture and parameters to `file`, as ``.npz`` without pickle."""
        description = np.array(json.dumps(self.to_dict()))
        # An open file keeps NumPy from adding ".npz" to the name that the caller chose.
        with Path(file).open("wb") as stream:
            np.savez(stream, network=description, params=self.params)

    @classmethod
    def load(cls, file: str | os.PathLike[str]) -> Self:
        """Read a network that `save` wrote; any other file raises a ValueError that names it."""
        # Read in full first, so that an OSError always comes from the disk: zipfile also raises one
        # if a damaged offset points before the beginning of a file.
        content = io.BytesIO(Path(file).read_bytes())
        try:
            with np.load(content, allow_pickle=False) as arrays:
                description = json.loads(str(arrays["network"]))
                return cls.from_dict(description, arrays["params"])
        # A damaged or foreign archive can make zipfile, NumPy or json raise anything.
        except Exception as error:
            raise ValueError(
                f"{os.fspath(file)!r} is not a network saved by Network.save: {error}"
            ) from error


class Part(Stack):
    """Some consecutive layers of a network, sharing its parameters.

    `extra_layers` without parameters follow the network's own, such as a loss's inverse link: a
    decoder that is trained on raw outputs then returns values like the data's.
    """

    def __init__(
        self, network: Network, start: int, stop: int, extra_layers: Sequence[Layer] = ()
    ) -> None:
        self.network, self.start, self.stop = network, start, stop
        self.extra_layers = tuple(extra_layers)
        super().__init__(network.layers[start:stop] + self.extra_layers, network.widths[start])
        self.dtype = network.dtype
        self.views = network.views[start:stop] + [SimpleNamespace() for _ in self.extra_layers]
        inside = range(start, stop)
        self.ties = {
            i - start: j - start for i, j in network.ties.items() if i in inside and j in inside
        }

    # A part is pickled with its network, and still shares its parameters in the same pickle.
    def __reduce__(self) -> tuple[Any, ...]:
        return Part, (self.network, self.start, self.stop, self.extra_layers)


class Steps:
    """The list of calls that passes a given number of rows through a network.

    It is prepared once, so that a tiny network spends its time in NumPy and not in look-ups.
    """

    __slots__ = ("backward", "first_frame", "forward", "frames", "last_frame")

    def __init__(
        self,
        frames: list[Frame],
        forward: list[tuple[Any, SimpleNamespace, Frame]],
        backward: list[tuple[Any, SimpleNamespace, SimpleNamespace, Frame]],
    ) -> None:
        self.frames, self.forward, self.backward = frames, forward, backward
        self.first_frame, self.last_frame = frames[0], frames[-1]


class Workspace:
    """The memory of one worker for blocks of up to `rows` rows, allocated once for dense rows.

    With ``train=True`` it also holds the gradients: of the outputs layer by layer, and of the
    parameters as one flat vector `grad` in the network's layout.

    With ``sparse_rows=True`` it is for sparse rows: `take` returns them sparse if the first layer
    accepts that, and otherwise dense.

    Two workspaces of the same kind that are never used at the same time may share all but `grad`:
    the second one is made with ``share=`` the first one.
    """

    def __init__(
        self,
        stack: Stack,
        rows: int,
        *,
        train: bool = False,
        rng: np.random.Generator | None = None,
        share: Workspace | None = None,
        sparse_rows: bool = False,
    ) -> None:
        self.stack, self.rows, self.train, self.rng = stack, rows, train, rng
        #: Whether the first layer is given sparse rows.
        self.sparse = sparse_rows and stack.takes_sparse(train=train)
        self._first = 0 if train else stack.first_in_prediction
        #: Layers that add a penalty to the loss.
        self.penalised_layers = [i for i, la in enumerate(stack.layers) if la.adds_penalty]
        #: An objective's buffers for each number of rows.
        self.loss_buffers: dict[Any, Any] = {}
        self._steps: dict[int, Steps] = {}
        self._pool: dict[Any, Array] = {} if share is None else share._pool
        self.rows_in_use = 0
        self.trained_layers: range = range(0)
        #: Gradients that backward adds to, because the rows are sparse.
        self.start_at_zero: list[Array] = []
        #: Pairs of tied layers, of which the first one's gradient is added to the second one's.
        self.tied_gradients: list[tuple[int, int]] = []
        if train:
            self._prepare_gradients()

    def _prepare_gradients(self) -> None:
        network = self.stack
        assert isinstance(network, Network), "only a whole network can be trained"
        self.grad = np.zeros_like(network.params)
        self.grad_views = network.views_of(self.grad)
        of_first_layer = dict(vars(self.grad_views[0])) if self.sparse else {}
        for i, j in network.ties.items():
            if self._adds_to_gradient_of(i):
                self.grad_views[i].W = of_first_layer.pop("W")
            else:
                self.grad_views[i].W = np.zeros(network.views[i].W.shape, network.dtype)
                self.tied_gradients.append((i, j))
        self.start_at_zero = list(of_first_layer.values())
        # Layers before the first parameters need no gradient.
        with_params = [i for i, view in enumerate(network.views) if vars(view)]
        first = min(with_params, default=len(network.layers))
        self.trained_layers = range(first, len(network.layers))

    def _adds_to_gradient_of(self, i: int) -> bool:
        """Return whether the sparse first layer can add its gradient to that of a tied layer i.

        Its own has few rows, so that this saves a gradient of the size of the weights.
        """
        ties = self.stack.ties
        return (
            self.sparse
            and ties.get(i) == 0
            and list(ties.values()).count(0) == 1
            and type(self.stack.layers[i]).backward is Dense.backward
        )

    def take(self, rows: Rows, chosen: Index, n: int) -> Any:
        """Return n of the rows, in the form that the first layer is given."""
        if self.sparse:
            assert is_sparse(rows)
            return rows.take_sparse(chosen, self.stack.dtype)
        return rows.take(chosen, self.buffer("rows", n, self.stack.n_in))

    def use_rng(self, rng: np.random.Generator | None) -> None:
        """Make all layers draw from this generator from now on."""
        self.rng = rng
        for steps in self._steps.values():
            for frame in steps.frames:
                frame.rng = rng

    def steps(self, rows: int) -> Steps:
        """Return the calls of all layers for exactly this number of rows."""
        steps = self._steps.get(rows)
        if steps is None:
            steps = self._steps[rows] = self._plan(self._lay_out(rows))
        self.rows_in_use = rows
        return steps

    def frames(self, rows: int) -> list[Frame]:
        """Return the frames of the layers for exactly this number of rows.

        In prediction, layers that pass on the caller's rows unchanged have none.
        """
        return self.steps(rows).frames

    def _plan(self, frames: list[Frame]) -> Steps:
        layers, views, first = self.stack.layers, self.stack.views, self._first
        forward = zip(layers[first:], views[first:], frames, strict=True)
        return Steps(
            frames,
            [(layer.forward, p, f) for layer, p, f in forward],
            [
                (self._backward(i), views[i], self.grad_views[i], frames[i])
                for i in reversed(self.trained_layers)
            ],
        )

    def _backward(self, i: int) -> Any:
        layer = self.stack.layers[i]
        if self._adds_to_gradient_of(i):
            assert isinstance(layer, Dense)
            return layer.backward_transposed
        return layer.backward

    def buffer(self, key: Any, rows: int, width: int, max_rows: int | None = None) -> Array:
        """Return the first `rows` rows of the array kept under `key`, made on first use.

        It is made for `max_rows` rows, by default those of the workspace.
        """
        view = self._pool.get((key, rows))
        if view is None:
            max_rows = self.rows if max_rows is None else max_rows
            whole = self._pool.get((key, max_rows))
            if whole is None:
                whole = self._pool[key, max_rows] = np.empty((max_rows, width), self.stack.dtype)
            view = self._pool[key, rows] = whole if rows == max_rows else whole[:rows]
        return view

    def _heights(self, rows: int) -> list[int]:
        """Return the numbers of rows between the layers, like `widths` for the columns."""
        heights = [rows]
        for layer in self.stack.layers:
            heights.append(layer.rows_out(heights[-1]) if self.train else rows)
        return heights

    def _lay_out(self, rows: int) -> list[Frame]:
        if rows > self.rows:
            raise ValueError(f"This workspace holds {self.rows} rows, not {rows}.")
        stack, widths = self.stack, self.stack.widths
        heights, max_heights = self._heights(rows), self._heights(self.rows)
        ones, zeros = np.ones(max(heights), stack.dtype), np.zeros(max(widths), stack.dtype)
        empty = np.empty((rows, 0), stack.dtype)
        frames: list[Frame] = []
        x = empty
        for i, layer in enumerate(stack.layers[self._first :], self._first):
            width, n, n_max = widths[i + 1], heights[i + 1], max_heights[i + 1]
            y = x if self._may_overwrite(i) else self.buffer(("y", i), n, width, n_max)
            frames.append(
                Frame(
                    x=x,
                    y=y,
                    dy=empty,
                    dx=None,
                    column=self.buffer(("column", n_max), n, 1, n_max),
                    ones=ones[:n],
                    zeros=zeros[:width],
                    scratch=tuple(
                        self.buffer(("scratch", k, width, n_max), n, width, n_max)
                        for k in range(layer.n_scratch)
                    ),
                    cached=tuple(
                        self.buffer(("cached", i, k), n, width, n_max)
                        for k in range(layer.n_cached)
                    ),
                    train=self.train,
                    rng=self.rng,
                )
            )
            x = y
        if self.train:
            self._lay_out_gradients(frames, heights, max_heights)
        return frames

    def _may_overwrite(self, i: int) -> bool:
        """Return whether layer i may overwrite its input with its output.

        The caller's rows are never overwritten, nor in training an array that backward still reads.
        """
        layer, before = self.stack.layers[i], self.stack.layers[i - 1]
        if i == self._first or not layer.in_place:
            return False
        read_later = "x" in layer.backward_reads or "y" in before.backward_reads
        return not (self.train and read_later)

    def _lay_out_gradients(
        self, frames: list[Frame], heights: Sequence[int], max_heights: Sequence[int]
    ) -> None:
        widths = self.stack.widths
        dy = self.buffer(("dy", len(frames)), heights[-1], widths[-1], max_heights[-1])
        # A loss writes its gradient there, whether or not a layer needs it.
        frames[-1].dy = dy
        for i in reversed(self.trained_layers):
            frame, layer = frames[i], self.stack.layers[i]
            frame.dy = dy
            if i > self.trained_layers.start:
                if not layer.in_place:
                    dy = self.buffer(("dy", i), heights[i], widths[i], max_heights[i])
                frame.dx = dy
