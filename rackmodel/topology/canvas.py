"""What pictures of machines share: colours, axes, rectangles.

In:  places on matplotlib axes.
Out: patches on them.
Left out: what is drawn (`draw`, `draw_fabric`).
"""

from __future__ import annotations

from typing import Any, TypeAlias

from rackmodel.annotations import Axes

Box: TypeAlias = tuple[float, float, float, float]  # left, bottom, width, height
COLOURS = {
    "accelerator": "#3a8f4d",
    "cpu": "#3b6fb6",
    "switch": "#c9772b",
    "tray": "#e8efe6",
    "shelf": "#d9d4e3",
    "host": "#dbe5f2",
    "network": "#f3e3d3",
    "domain": "#e8efe6",
    "nic": "#9aa5b1",
    "leaf": "#e0a458",
    "spine": "#c9772b",
    "core": "#9c4f2f",
    "ocs": "#7a6aa8",
}


def axes(width: float, height: float) -> Axes:
    """Return axes on a figure of their own. [inches]"""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained").subplots()


def rectangle(ax: Axes, box: Box, *, rounded: bool = False, **style: Any) -> None:
    """Draw a box; rounded, its corners."""
    from matplotlib.patches import FancyBboxPatch, Rectangle

    x, y, width, height = box
    if rounded:
        ax.add_patch(FancyBboxPatch((x, y), width, height, boxstyle="round,pad=0.02", **style))
    else:
        ax.add_patch(Rectangle((x, y), width, height, **style))
