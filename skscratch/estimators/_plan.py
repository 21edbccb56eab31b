"""The plan that an estimator derives from its parameters and data before training.

An `Architecture` is the function to learn, a `Training` the way to learn it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from skscratch.core.functions import Array
from skscratch.core.layers import Layer
from skscratch.core.lbfgs import LBFGS
from skscratch.core.losses import Loss
from skscratch.core.network import Network
from skscratch.core.objective import Objective
from skscratch.core.optimizers import Optimizer
from skscratch.core.schedules import Constant, Cosine, OneCycle, Schedule
from skscratch.core.training import Patience

# Schedules that reach 0 at a known end of training.
FINITE_SCHEDULES = Cosine | OneCycle
NO_SCHEDULE = Constant(0.0)


@dataclass(frozen=True, eq=False)
class Architecture:
    """A network and its loss. If two are equal, a network trained as one can continue as the other.

    Parameters
    ----------
    layers : sequence of Layer
        The layers. Those that act only in training, such as noise, do not affect equality.
    loss : Loss
        The loss of a row, summed over its outputs.
    scale : float, default=1.0
        A constant factor on the loss.
    ties : mapping of int to int, default={}
        Layer -> earlier layer whose transposed weights it uses.
    initial : mapping of int to mapping, default={}
        Layer -> name -> initial values, if they are not drawn.
    """

    layers: Sequence[Layer]
    loss: Loss
    scale: float = 1.0
    ties: Mapping[int, int] = field(default_factory=dict)
    initial: Mapping[int, Mapping[str, Array]] = field(default_factory=dict)

    def network(self, n_in: int, dtype: Any, rng: Any) -> Network:
        """Build the network; `rng` None leaves its parameters at 0."""
        network = Network(self.layers, n_in, dtype, rng=rng, ties=self.ties)
        for place, values in self.initial.items():
            for name, value in values.items():
                getattr(network.views[place], name)[...] = value
        return network

    def objective(self, network: Network, l2: float = 0.0) -> Objective:
        """Return the function that training such a network minimises."""
        return Objective(network, self.loss, l2=l2, scale=self.scale)

    def _in_prediction(self) -> tuple[Any, ...]:
        """Return the layers, ties and loss that affect predictions."""
        kept = [i for i, layer in enumerate(self.layers) if not layer.only_in_training]
        place = {i: k for k, i in enumerate(kept)}
        ties = {place[i]: place[j] for i, j in self.ties.items()}
        return [self.layers[i] for i in kept], ties, self.loss

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Architecture) and self._in_prediction() == other._in_prediction()

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True)
class Training:
    """How a network is trained.

    Parameters
    ----------
    optimizer : Optimizer or LBFGS
        How a gradient changes the parameters.
    max_epochs : int
        Passes over the rows, or iterations of L-BFGS.
    schedule : Schedule, default=Constant(0.0)
        The learning rate over time. L-BFGS has none.
    batch_size : int, default=0
        Rows in a batch. L-BFGS always uses all.
    patience : Patience or None, default=None
        When to stop early.
    l2 : float, default=0.0
        Strength of the L2 penalty on the weights.
    max_norm : float or None, default=None
        Clip gradients to this norm.
    monitor : str, callable or None, default='loss'
        Score of the validation set.
    """

    optimizer: Optimizer | LBFGS
    max_epochs: int
    schedule: Schedule = NO_SCHEDULE
    batch_size: int = 0
    patience: Patience | None = None
    l2: float = 0.0
    max_norm: float | None = None
    monitor: Any = "loss"

    def of_one_call(self) -> Training:
        """Return the plan for one call of `partial_fit`: a single epoch.

        The number of calls is unknown, so a finite schedule, which would end learning too early,
        becomes constant.
        """
        schedule = self.schedule
        if isinstance(schedule, FINITE_SCHEDULES):
            schedule = Constant(schedule.initial)
        return replace(self, max_epochs=1, schedule=schedule)
