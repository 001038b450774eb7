"""Charts of a run with many buyers: times, outcomes and prices.

Each takes frames, and the time that counts as 0 (Unix milliseconds; default: the earliest), so that
several charts of one run have one axis. `since`: the label of that time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from workbench.core.lifecycle import OUTCOMES, StateRow, colour
from workbench.results.charts.theme import (
    FIRST_FACT,
    FONT,
    HAIR,
    INK,
    PAPER,
    QUIET,
    SOFT,
    TOP,
    WIDTH,
    head,
    limits,
    nothing,
    panel,
    sheet,
)
from workbench.results.charts.timeline_model import seconds_text
from workbench.results.metrics import PERCENTILES, WHOLE, percentile, stage_times

ROW, GAP, FOOT = 0.34, 0.42, 0.55
BINS = 60
LONG_S = 60
"""Above this many seconds the axis is logarithmic, so that short and long times can be read."""
GOLDEN = 0.618034
NO_SETTLEMENT = "No settlement has come that far."
NO_END = "No purchase has ended."
NO_SWAP = "No settlement has come as far as its swap."
DONE = "executed"
"""The stage whose colour the time from 402 to execution has."""
SWAP = colour("swapped")


def latency(timeline: pd.DataFrame, *, title: str = "") -> Figure:
    """Return a chart of the time to each stage, from `frames.timeline_frame`: dots and percentiles.

    The bar runs from the median to the 90th percentile, the line to the 99th.
    """
    title = title or "How long each stage took"
    times = stage_times(timeline)
    if not times:
        return nothing(title, NO_SETTLEMENT)
    tall = len(times) * ROW + 0.1
    figure = sheet(TOP + 0.15 + tall + FOOT)
    head(figure, title, "A dot for each settlement; the bar runs from the median to the 90th "
         "percentile, the line on to the 99th.")  # fmt: skip
    axes = panel(figure, TOP + 0.15, tall, right=3.1)
    longest = max(max(values) for values in times.values()) / 1000
    if longest > LONG_S:
        axes.set_xscale("symlog", linthresh=1)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.set_xlim(-0.012 * min(longest, 10), longest * 1.08 + 0.01)
    for y, (stage, values) in enumerate(times.items()):
        _draw_times(axes, y, stage, values)
    axes.set_yticks(range(len(times)), list(times), fontsize=8)
    axes.set_ylim(len(times) - 0.4, -0.7)
    _columns(axes, times)
    axes.set_xlabel("seconds", fontsize=8, fontdict=SOFT)
    return figure


def _draw_times(axes: Axes, y: int, stage: str, values: Sequence[int]) -> None:
    """Draw the times to one stage."""
    tone = colour(DONE if stage == WHOLE else stage)
    p50, p90, p99 = (percentile(values, p) / 1000 for p in PERCENTILES)
    # Spread by rule, not at random: the same frame gives the same bytes.
    heights = [y + ((n * GOLDEN) % 1 - 0.5) * 0.5 for n in range(len(values))]
    alpha = max(0.18, min(0.7, 25 / len(values)))
    axes.plot([p50, p99], [y, y], color=tone, linewidth=1.2, zorder=2, solid_capstyle="butt")
    axes.plot([p50, p90], [y, y], color=tone, linewidth=7, zorder=2, solid_capstyle="butt")
    seconds = [value / 1000 for value in values]
    axes.plot(seconds, heights, "o", markersize=2.6, markeredgewidth=0, color=INK, alpha=alpha,
              zorder=3)  # fmt: skip
    axes.plot([p50], [y], "|", markersize=13, markeredgewidth=2, color=INK, zorder=4)


def _columns(axes: Axes, times: dict[str, list[int]]) -> None:
    """Write count and percentiles at the right."""
    place = axes.get_yaxis_transform()
    inch = 1 / (axes.get_position().width * WIDTH)
    names = ["count", *(f"p{p}" for p in PERCENTILES)]
    for n, name in enumerate(names):
        x = 1 + (0.55 + 0.75 * n) * inch
        axes.text(x, -0.95, name, transform=place, ha="right", fontsize=7.5, **SOFT)
        for y, values in enumerate(times.values()):
            text = str(len(values))
            if n:
                text = seconds_text(percentile(values, PERCENTILES[n - 1]) / 1000)
            style = SOFT | {"va": "center_baseline", "fontsize": 8}
            axes.text(x, y, text, transform=place, ha="right", **style)


def outcomes(
    ends: pd.DataFrame,
    faults: pd.DataFrame,
    *,
    origin_ms: int | None = None,
    since: str = FIRST_FACT,
    title: str = "",
) -> Figure:
    """Return a chart of when and how purchases ended, over the injected faults.

    From `metrics.ends_frame` and `metrics.faults_frame`.
    """
    title = title or "How purchases ended, and which faults were injected"
    if not len(ends) and not len(faults):
        return nothing(title, NO_END)
    origin = _origin(origin_ms, ends, faults)
    sites = sorted(set(faults.site))
    rows = max(len(sites), 1) * 0.19 + 0.05
    figure = sheet(TOP + 0.15 + 1.7 + (GAP + rows if sites else 0) + FOOT)
    note = "Buyers by the time at which their purchase ended"
    head(figure, title, f"{note}; below, a mark for each fault." if sites else f"{note}.")
    above = panel(figure, TOP + 0.15, 1.7, right=1.2)
    times = [(int(ms) - origin) / 1000 for ms in (*ends.at_ms, *faults.at_ms)]
    first, last = min(0.0, *times), max(1.0, *times)
    _draw_ends(above, ends, origin, (first, last))
    lowest = above
    if sites:
        above.tick_params(axis="x", labelbottom=False)
        lowest = panel(figure, TOP + 0.15 + 1.7 + GAP, rows, right=1.2)
        _draw_faults(lowest, faults, sites, origin)
    for axes in (above, lowest):
        axes.set_xlim(*limits(first, last))
    lowest.set_xlabel(f"seconds since the {since}", fontsize=8, fontdict=SOFT)
    return figure


def _draw_ends(axes: Axes, ends: pd.DataFrame, origin: int, between: tuple[float, float]) -> None:
    """Draw the ended purchases over time, stacked by outcome."""
    edges = np.linspace(*between, BINS + 1)
    below = np.zeros(BINS)
    handles: list[Any] = []
    for look in OUTCOMES:
        seconds = (ends[ends.outcome == look.word].at_ms.to_numpy() - origin) / 1000
        if not len(seconds):
            continue
        counts, _ = np.histogram(seconds, edges)
        style, some = _fill(look), counts > 0
        width = (edges[1] - edges[0]) * 0.86
        axes.bar(edges[:-1][some], counts[some], width, below[some], align="edge", **style)
        below = below + counts
        handles.append(Patch(label=f"{look.text}  {len(seconds):,}", **style))
    axes.set_ylim(0, max(1.0, below.max()) * 1.08)
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.grid(axis="y", color=HAIR, linewidth=0.6)
    axes.set_ylabel("ended", fontsize=8, fontdict=SOFT)
    _legend(axes, handles)


def _fill(look: StateRow) -> dict[str, Any]:
    """Return the filling of an outcome's bar. Two outcomes may share a colour, but not a
    filling."""
    tone = colour(look.word)
    fillings: dict[str, dict[str, Any]] = {
        "ring": {"facecolor": PAPER, "edgecolor": tone, "linewidth": 0.8},
        "cross": {"facecolor": PAPER, "edgecolor": tone, "linewidth": 0.5, "hatch": "xxxxxx"},
    }
    return fillings.get(look.shape, {"facecolor": tone, "edgecolor": "none"})


def _draw_faults(axes: Axes, faults: pd.DataFrame, sites: list[str], origin: int) -> None:
    """Draw a row of marks for each fault site."""
    place = axes.get_yaxis_transform()
    for y, site in enumerate(sites):
        at = (faults[faults.site == site].at_ms.to_numpy() - origin) / 1000
        axes.plot(at, [y] * len(at), "|", markersize=7, markeredgewidth=1, alpha=0.75,
                  color=INK)  # fmt: skip
        axes.text(1.02, y, f"{len(at):,}", transform=place, va="center_baseline", fontsize=7.5,
                  **SOFT)  # fmt: skip
    axes.set_yticks(range(len(sites)), sites, fontsize=7.5)
    axes.set_ylim(len(sites) - 0.4, -0.6)
    axes.grid(axis="y", color="#f1f3f5", linewidth=0.6)


def prices(
    swaps: pd.DataFrame,
    market: pd.DataFrame,
    *,
    origin_ms: int | None = None,
    since: str = FIRST_FACT,
    title: str = "",
) -> Figure:
    """Return a chart of EUR/USD outside, the reference rate, and the rate of each swap.

    From `metrics.swaps_frame` and `metrics.market_frame`. Below: the buyer's cost against the
    reference rate, in basis points.
    """
    title = title or "EUR/USD, and what was paid"
    if not len(swaps):
        return nothing(title, NO_SWAP)
    origin = _origin(origin_ms, swaps, market)
    figure = sheet(TOP + 0.15 + 2.4 + GAP + 1.1 + FOOT)
    head(figure, title, "USDC for one EURC; a dot for each swap, its line runs from the reference "
         "rate. Below: cost against that rate.")  # fmt: skip
    above = panel(figure, TOP + 0.15, 2.4, right=1.2)
    lower = panel(figure, TOP + 0.15 + 2.4 + GAP, 1.1, right=1.2)
    at = (swaps.at_ms.to_numpy() - origin) / 1000
    times = [*at, *((market.at_ms.to_numpy() - origin) / 1000)]
    first, last = min(0.0, *times), max(1.0, *times)
    _draw_rates(above, swaps, market, at, origin, last)
    bps = swaps.cost_pips.astype("float64") / 100
    lower.plot(at, bps, "o", markersize=3.6, markeredgewidth=0, color=SWAP, alpha=0.85)
    lower.axhline(0, color="#b8bfc8", linewidth=0.8)
    lower.set_ylim(min(0.0, bps.min()) * 1.1 - 0.1, max(bps.max(), 1.0) * 1.12)
    lower.set_ylabel("basis points", fontsize=8, fontdict=SOFT)
    lower.set_xlabel(f"seconds since the {since}", fontsize=8, fontdict=SOFT)
    for axes in (above, lower):
        axes.set_xlim(*limits(first, last))
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.grid(axis="y", color=HAIR, linewidth=0.6)
    above.tick_params(axis="x", labelbottom=False)
    return figure


def _draw_rates(
    axes: Axes, swaps: pd.DataFrame, market: pd.DataFrame, at: Any, origin: int, last: float
) -> None:
    """Draw market, reference rate and paid rates."""
    paid = swaps.rate_e8.astype("float64") / 1e8
    mid = swaps.reference_rate_e8.astype("float64") / 1e8
    handles: list[Any] = []
    if len(market):
        times = [*((market.at_ms.to_numpy() - origin) / 1000), last]
        rates = [*(market.rate_e8.astype("float64") / 1e8)]
        axes.step(times, [*rates, rates[-1]], where="post", color=QUIET, linewidth=1.2)
        handles.append(Line2D([], [], color=QUIET, linewidth=1.2, label="market"))
    axes.vlines(at, mid, paid, color=SWAP, linewidth=0.8, alpha=0.6)
    axes.plot(at, mid, "_", markersize=6, markeredgewidth=1.3, color=INK)
    axes.plot(at, paid, "o", markersize=4.2, markerfacecolor=SWAP,
              markeredgecolor=PAPER, markeredgewidth=0.5)  # fmt: skip
    handles += [
        Line2D([], [], linestyle="none", marker="_", color=INK, label="reference"),
        Line2D([], [], linestyle="none", marker="o", color=SWAP, markersize=4.2, label="paid"),
    ]
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:.4f}"))
    axes.set_ylabel("USDC / EURC", fontsize=8, fontdict=SOFT)
    _legend(axes, handles)


def _origin(given: int | None, *framed: pd.DataFrame) -> int:
    if given is not None:
        return given
    return int(min(frame.at_ms.min() for frame in framed if len(frame)))


def _legend(axes: Axes, handles: list[Any]) -> None:
    """Put the legend beside the panel, at its top."""
    axes.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(1.005, 1.02),
        frameon=False,
        borderaxespad=0,
        handlelength=1.0,
        handleheight=0.8,
        handletextpad=0.5,
        prop={"family": FONT["family"], "size": 7.5},
        labelcolor=INK,
    )
