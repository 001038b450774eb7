"""What all charts share: colours, fonts, panels, and equal bytes on every machine.

Drawn by Agg, without pyplot's global state. Sizes are inches, font sizes points. All text is in
DejaVu Sans, which matplotlib contains, so that the same frame gives the same bytes.
"""

from __future__ import annotations

import io
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from workbench.core.lifecycle import PALETTE

INK, QUIET = PALETTE["ink"][0], PALETTE["muted"][0]
HAIR, PAPER = "#e3e6ea", "#ffffff"
FONT: dict[str, Any] = {"family": "DejaVu Sans", "color": INK}
SOFT = FONT | {"color": QUIET}
WIDTH = 10.0
TOP = 0.95
"""Height of the head: title, and a line below it."""
FIRST_FACT = "first fact"
"""The label of the zero of a time axis, unless a run has another."""


class ChartFile(Figure):
    """A figure that a notebook shows as PNG, also if pyplot was never imported."""

    def _repr_png_(self) -> bytes:
        return figure_png(self)


def figure_png(figure: Figure, dpi: int = 150) -> bytes:
    """Return PNG bytes that depend on the figure only: no date, no version."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()


def sheet(height: float) -> ChartFile:
    """Return an empty figure of this height in inches."""
    figure = ChartFile(figsize=(WIDTH, height), dpi=150, facecolor=PAPER)
    FigureCanvasAgg(figure)
    return figure


def head(figure: Figure, title: str, note: str) -> None:
    """Write the title, and a note below it."""
    height = figure.get_figheight()
    x = 0.3 / WIDTH
    figure.text(x, 1 - 0.33 / height, title, fontsize=13, weight="bold", va="center", **FONT)
    figure.text(x, 1 - 0.58 / height, note, fontsize=8, va="center", **SOFT)


def panel(figure: Figure, top: float, tall: float, left: float = 1.55, right: float = 0.75) -> Axes:
    """Return axes of `tall` inches, `top` inches below the upper edge."""
    height = figure.get_figheight()
    box = (left / WIDTH, (height - top - tall) / height, (WIDTH - left - right) / WIDTH)
    axes = figure.add_axes((*box, tall / height), facecolor="none", label=f"{top:g}")
    for side in ("top", "left", "right"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color("#b8bfc8")
    axes.tick_params(length=0, labelsize=8, labelcolor=QUIET, labelfontfamily="DejaVu Sans")
    axes.grid(axis="x", color=HAIR, linewidth=0.6)
    axes.set_axisbelow(True)
    return axes


def limits(first_s: float, last_s: float) -> tuple[float, float]:
    """Return the ends of a time axis that shows `first_s`, `last_s` and 0."""
    first_s, last_s = min(0.0, first_s), max(0.0, last_s)
    span = max(last_s - first_s, 0.001)
    return first_s - 0.012 * span, last_s + 0.015 * span


def nothing(title: str, why: str) -> ChartFile:
    """Return a chart that says why it is empty."""
    figure = sheet(2.4)
    if title:
        figure.text(0.03, 0.86, title, fontsize=13, weight="bold", va="center", **FONT)
    figure.text(0.5, 0.45, why, fontsize=10, ha="center", va="center", linespacing=1.8, **SOFT)
    return figure
