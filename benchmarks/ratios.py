"""A picture of ratios of times."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def draw_ratios(
    results: Mapping[str, Any], goals: Mapping[str, float], label: str, axis: Any
) -> None:
    """Draw the ratio of each workload with its interval and its goal."""
    from matplotlib.lines import Line2D
    from matplotlib.ticker import LogLocator, NullLocator

    # From the top to the bottom as in the table.
    found = [(name, r) for name, r in results.items() if "failed" not in r][::-1]
    for k, (name, result) in enumerate(found):
        color = "C0" if result["reached"] else "C1"
        axis.plot(result["interval"], [k, k], color=color, linewidth=2)
        axis.plot(result["ratio"], k, "o", color=color)
        axis.plot([goals[name]] * 2, [k - 0.4, k + 0.4], color="black")
    axis.axvline(1, color="lightgray", zorder=0)
    axis.set_yticks(range(len(found)), [name for name, _ in found])
    axis.set(xscale="log", xlabel=label)
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter("{x:g}")
    axis.xaxis.set_minor_locator(NullLocator())
    axis.legend(
        handles=[
            Line2D([], [], color="C0", marker="o", label="goal reached"),
            Line2D([], [], color="C1", marker="o", label="goal not reached"),
            Line2D([], [], color="black", label="goal"),
        ],
        ncols=3,
        loc="lower center",
        bbox_to_anchor=(0.5, 1),
        frameon=False,
    )
