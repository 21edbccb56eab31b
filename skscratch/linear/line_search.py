"""Exact line search: Newton's method on the slope, safeguarded by bisection."""

from __future__ import annotations

import numpy as np

from skscratch.linear.arrays import Array, inner, per_problem
from skscratch.linear.problems import Problems

__all__ = ["step_lengths"]

MAX_TRIALS = 40
# A step is long enough once it has reduced the slope to this share.
SLOPE_SHARE = 0.1


def step_lengths(problems: Problems, P: Array, U: Array, first_slope: Array) -> Array:
    """Return the step length of each problem along ``P``: (problems,).

    ``U`` is the change of the slacks along ``P`` and ``first_slope`` the slope of the smoothed
    objective at 0. The slope increases with the step and is piecewise linear, so that Newton's
    method finds its root in a few trials. A problem that would not descend gets 0.
    """
    W_P, P_P = inner(problems.W, P), inner(P, P)
    t = np.where(first_slope < 0.0, 1.0, 0.0)
    low, high = np.zeros_like(t), np.full_like(t, np.inf)
    live = np.flatnonzero(t)
    for _ in range(MAX_TRIALS):
        if live.size == 0:
            break
        part, u, trial = problems.take(live), U[live], t[live]
        p = part.dual_point(part.S + per_problem(trial, u.dtype) * u)
        weighted = u * part.cost
        slope = W_P[live] + trial * P_P[live] + np.vecdot(p, weighted).sum(axis=1)
        dp = part.loss.face_component(u.copy(), part.loss.face(p)) / part.width
        curvature = P_P[live] + np.vecdot(dp, weighted).sum(axis=1)
        low[live] = np.where(slope < 0.0, trial, low[live])
        high[live] = np.where(slope < 0.0, high[live], trial)
        newton = trial - slope / curvature
        middle = np.where(np.isinf(high[live]), 2.0 * trial, 0.5 * (low[live] + high[live]))
        inside = (newton > low[live]) & (newton < high[live])
        unfinished = np.abs(slope) > SLOPE_SHARE * np.abs(first_slope[live])
        t[live] = np.where(unfinished, np.where(inside, newton, middle), trial)
        live = live[unfinished]
    return t
