"""Learning-rate schedules: pure functions of the progress of training."""

from __future__ import annotations

import math
from dataclasses import dataclass

from skscratch.core.named import Named


@dataclass
class Clock:
    """The progress of training, which schedules depend on and which resuming restores."""

    step: int = 0
    n_steps: int = 1
    epoch: int = 0
    samples: int = 0
    plateaus: int = 0


class Schedule(Named, family="schedule"):
    """The learning rate of each step, derived from an `initial` rate."""

    initial: float = 1e-3

    def check_init(self) -> None:
        self.check_range("initial", 0)

    def rate(self, clock: Clock) -> float:
        """Return the learning rate at this point."""
        raise NotImplementedError

    def lowers_on_plateau(self, clock: Clock) -> bool:
        """Return whether a plateau lowers the rate, so that training continues."""
        return False


class Constant(Schedule, name="constant"):
    """initial."""

    def rate(self, clock: Clock) -> float:
        return self.initial


class InverseScaling(Schedule, name="invscaling"):
    """initial / (1 + s)^power, s the rows seen up to the last complete epoch, divided by `unit`.

    The first epoch has the initial rate, whatever was seen before.
    """

    power: float = 0.5
    unit: float = 1.0

    def check_init(self) -> None:
        super().check_init()
        self.check_range("power", 0)
        self.check_range("unit", 0, closed="neither")

    def rate(self, clock: Clock) -> float:
        seen = clock.samples if clock.epoch else 0
        return float(self.initial / (1 + seen / self.unit) ** self.power)


class Adaptive(Schedule, name="adaptive"):
    """initial / factor^plateaus: lowered each time the loss stops falling, until below `least`."""

    factor: float = 5.0
    least: float = 1e-6

    def check_init(self) -> None:
        super().check_init()
        self.check_range("factor", 1, closed="neither")
        self.check_range("least", 0)

    def rate(self, clock: Clock) -> float:
        return self.initial / self.factor**clock.plateaus

    def lowers_on_plateau(self, clock: Clock) -> bool:
        return self.rate(clock) > self.least


class Cosine(Schedule, name="cosine"):
    """From initial down to 0 along half a cosine (Loshchilov & Hutter, 2017, without restarts)."""

    def rate(self, clock: Clock) -> float:
        done = min(1.0, clock.step / clock.n_steps)
        return self.initial * 0.5 * (1 + math.cos(math.pi * done))


class OneCycle(Schedule, name="one_cycle"):
    """A straight rise to initial, then half a cosine down to 0 (after Smith & Topin, 2018)."""

    warm_up: float = 0.1

    def check_init(self) -> None:
        super().check_init()
        self.check_range("warm_up", 0, 1)

    def rate(self, clock: Clock) -> float:
        rise = max(1.0, self.warm_up * clock.n_steps)
        if clock.step < rise:
            return self.initial * (clock.step + 1) / (rise + 1)
        done = min(1.0, (clock.step - rise) / max(1.0, clock.n_steps - rise))
        return self.initial * 0.5 * (1 + math.cos(math.pi * done))
