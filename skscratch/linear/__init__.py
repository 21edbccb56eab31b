"""Solvers for linear support vector machines, independent of the networks and of scikit-learn."""

from skscratch.linear.l1 import solve_l1
from skscratch.linear.losses import CrammerSinger, DualHinge, DualSquaredHinge, LinearLoss
from skscratch.linear.problems import NotFiniteError
from skscratch.linear.solver import LinearSolution, solve

__all__ = [
    "CrammerSinger",
    "DualHinge",
    "DualSquaredHinge",
    "LinearLoss",
    "LinearSolution",
    "NotFiniteError",
    "solve",
    "solve_l1",
]
