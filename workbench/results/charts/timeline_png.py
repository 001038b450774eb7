"""The timeline as a matplotlib figure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import ScaledTranslation, blended_transform_factory

from workbench.core.lifecycle import STAGE, StateRow, colour
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
    limits,
    nothing,
    panel,
    sheet,
)
from workbench.results.charts.timeline_model import (
    LABELLED_LANES,
    UNFINISHED,
    Bar,
    Lane,
    TimelineModel,
    picture,
    seconds_text,
    short,
    spread,
    title_of,
)

LEFT, BOTTOM, GAP = 1.55, 0.55, 0.34
RIGHT_EXPANDED, RIGHT_LANES = 3.2, 0.75
ROW, STACK = 0.21, 1.25
_EDGE = WIDTH - RIGHT_EXPANDED
COLUMNS = {
    "seconds": (_EDGE + 0.75, "right"),
    "block": (_EDGE + 1.3, "right"),
    "gas": (_EDGE + 1.95, "right"),
    "transaction": (_EDGE + 2.1, "left"),
}
"""The columns of numbers beside an expanded lane: inches from the left, alignment."""
MARKERS = {
    "disc": "o",
    "triangle": "<",
    "diamond": "D",
    "cross": "X",
    "ring": "o",
    "chevron": ">",
    "dot": ".",
}
"""The shapes of `lifecycle.SHAPES` in matplotlib. A ring is hollow."""
EMPTY = "No settlement yet.\nworkbench buy 100000000000000000000  starts one."


def timeline(
    frame: pd.DataFrame,
    facts_frame: pd.DataFrame | None = None,
    *,
    origin_ms: int | None = None,
    since: str = FIRST_FACT,
    has_facts: bool = True,
    title: str = "",
) -> Figure:
    """Return swimlanes of settlements, from `frames.timeline_frame`; facts below, from
    `events_frame`.

    `origin_ms`: the time that counts as 0, Unix milliseconds (default: the earliest). `since`: its
    label. `has_facts=False` draws no facts below the lanes; those of orphaned blocks are still
    marked on them.

    A bar ends when its stage is reached. A few settlements get a row for each stage, with seconds,
    block, gas and transaction; many get a lane each over a stack of how many are in flight; above
    some hundreds the slowest lanes are drawn and the stack counts all.
    """
    if facts_frame is not None and not has_facts:
        facts_frame = facts_frame[~facts_frame["stands"]]
    shown = picture(frame, facts_frame, origin_ms)
    if not has_facts:
        shown = replace(shown, marks=())
    if not shown.count and not shown.marks:
        return nothing(title, EMPTY)
    heights = _heights(shown)
    height = TOP + sum(heights.values()) + GAP * (len(heights) - 1) + BOTTOM
    figure = sheet(height)
    panels = _panels(figure, shown, heights, since)
    if "lanes" in panels:
        draw = _draw_expanded if shown.expanded else _draw_lanes
        draw(panels["lanes"], shown)
        _draw_blocks(panels["lanes"], shown)
    if "stack" in panels:
        _draw_stack(panels["stack"], shown)
    if "facts" in panels:
        _draw_facts(panels["facts"], shown)
    _head(figure, shown, title, height)
    return figure


# --- The sheet ------------------------------------------------------------------------------------


def _heights(shown: TimelineModel) -> dict[str, float]:
    """Return the panels from the top, with their heights."""
    heights = {}
    if shown.expanded and shown.count:
        rows = sum(len(lane.bars) + 1 for lane in shown.lanes) - 1
        heights["lanes"] = rows * ROW + 0.1
    elif shown.count:
        per_lane = 0.2 if len(shown.lanes) <= LABELLED_LANES else 0.032
        stack = STACK if len(shown.lanes) == shown.count else 2 * STACK
        heights |= {"lanes": max(2.0, len(shown.lanes) * per_lane), "stack": stack}
    if shown.marks:
        heights["facts"] = len(shown.types) * 0.155 + 0.05
    return heights


def _panels(
    figure: Figure, shown: TimelineModel, heights: dict[str, float], since: str
) -> dict[str, Axes]:
    """Return axes over the same seconds; only the lowest has labels."""
    right = RIGHT_EXPANDED if shown.expanded else RIGHT_LANES
    panels: dict[str, Axes] = {}
    top = TOP
    for name, tall in heights.items():
        axes = panel(figure, top, tall, LEFT, right)
        panels[name] = axes
        top += tall + GAP
        axes.set_xlim(*limits(shown.first_ms / 1000, shown.last_ms / 1000))
        axes.tick_params(axis="x", labelbottom=False)
    axes.tick_params(axis="x", labelbottom=True)
    axes.set_xlabel(f"seconds since the {since}", fontsize=8, fontdict=SOFT)
    return panels


def _head(figure: Figure, shown: TimelineModel, title: str, height: float) -> None:
    """Draw title, explanation, and the legend if the rows do not name the stages."""
    x = 0.3 / WIDTH
    heading = title or title_of(shown)
    figure.text(x, 1 - 0.33 / height, heading, fontsize=13, weight="bold", va="center", **FONT)
    if shown.expanded:
        note = "Each bar is the time it took to reach that stage."
        if any(lane.ghosts for lane in shown.lanes):
            note += "  Hollow: facts of a block that was orphaned."
        figure.text(x, 1 - 0.58 / height, note, fontsize=8, va="center", **FONT | {"color": QUIET})
        return
    handles: list[Any] = [
        Patch(label=stage.replace(UNFINISHED, "under way"), **_ink(stage))
        for stage in shown.coloured
    ]
    handles += [_end_mark(end, end.text) for end in shown.ends]
    if any(lane.ghosts for lane in shown.lanes):
        ring: dict[str, Any] = {"marker": "o", "markerfacecolor": PAPER, "markeredgecolor": INK}
        handles.append(Line2D([], [], linestyle="none", markersize=4, label="orphaned", **ring))
    figure.legend(
        handles=handles,
        loc="center left",
        bbox_to_anchor=(x, 1 - 0.6 / height),
        ncols=len(handles),
        frameon=False,
        borderaxespad=0,
        borderpad=0,
        handlelength=1.0,
        handleheight=0.8,
        handletextpad=0.45,
        columnspacing=1.2,
        prop={"family": "DejaVu Sans", "size": 7.5},
        labelcolor=INK,
    )
    if len(shown.lanes) < shown.count:
        note = f"the slowest {len(shown.lanes):,} of {shown.count:,}"
        figure.text(1 - x, 1 - 0.33 / height, note, fontsize=8, ha="right", va="center", **FONT)


# --- Panels ---------------------------------------------------------------------------------------


def _draw_expanded(axes: Axes, shown: TimelineModel) -> None:
    """Draw a row for each stage, with its numbers in columns at the right."""
    y = 0
    for lane in shown.lanes:
        _write(axes, 0.3, y, short(lane.subject), color=INK, weight="bold")
        took = f"{(lane.end_ms - lane.start_ms) / 1000:.3f} s"
        text = f"{took} so far" if lane.bars[-1].stage == UNFINISHED else f"{lane.state} in {took}"
        _write(axes, LEFT + 0.02, y, text, bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 2})
        if y == 0:
            for name, (x, align) in COLUMNS.items():
                _write(axes, x, y, name, ha=align)
        for bar in lane.bars:
            y += 1
            _draw_row(axes, y, lane, bar, shown.span_ms)
        if lane.ghosts:
            y += 1
            _write(axes, LEFT - 0.12, y, "orphaned", ha="right")
            places = [ghost.at_ms / 1000 for ghost in lane.ghosts]
            _ghosts(axes, places, [y] * len(places), size=4.5)
            lost = sorted({ghost.block for ghost in lane.ghosts if ghost.block is not None})
            x, align = COLUMNS["block"]
            _write(axes, x, y, ", ".join(f"{number:,}" for number in lost), ha=align)
        y += 2
    axes.set_ylim(y - 1.3, -0.5)
    axes.set_yticks([])


def _draw_row(axes: Axes, y: int, lane: Lane, bar: Bar, span_ms: int) -> None:
    """Draw one stage: its name, its bar, its numbers."""
    unfinished = bar.stage == UNFINISHED
    name = "under way" if unfinished else bar.stage
    _write(axes, LEFT - 0.12, y, name, ha="right", color=QUIET if unfinished else INK)
    start, end = bar.start_ms / 1000, bar.end_ms / 1000
    if bar is lane.bars[0]:
        axes.plot([end], [y], "o", markersize=4, color=colour(bar.stage), clip_on=False)
    else:
        axes.plot([start, start], [y - 1, y], color="#c6ccd4", linewidth=0.7, zorder=1)
        least = span_ms / 1000 / 300
        axes.barh(y, max(end - start, least), left=start, height=0.62, **_ink(bar.stage))
    if bar is lane.bars[-1]:
        axes.add_line(_end_mark(lane.end, "_end", at=[(end, y)]))
    numbers = {
        "seconds": "" if bar is lane.bars[0] else f"{bar.seconds:.3f}",
        "block": "" if bar.block is None else f"{bar.block:,}",
        "gas": "" if bar.gas is None else f"{bar.gas:,}",
        "transaction": "" if bar.tx is None else short(bar.tx),
    }
    for column, text in numbers.items():
        x, align = COLUMNS[column]
        _write(axes, x, y, text, ha=align)


def _draw_lanes(axes: Axes, shown: TimelineModel) -> None:
    """Draw a lane for each settlement, in the order of their beginning."""
    labelled = len(shown.lanes) <= LABELLED_LANES
    half = 0.31 if labelled else 0.5
    for stage in shown.stages:
        corners = [
            [(x0, y - half), (x1, y - half), (x1, y + half), (x0, y + half)]
            for y, lane in enumerate(shown.lanes)
            for bar in lane.bars
            if bar.stage == stage and bar.end_ms > bar.start_ms
            for x0, x1 in [(bar.start_ms / 1000, bar.end_ms / 1000)]
        ]
        style = {**_ink(stage), "linewidth": 0.0} if stage != UNFINISHED else _ink(stage)
        axes.add_collection(PolyCollection(corners, antialiased=labelled, label=stage, **style))
    for end in shown.ends:
        ends = [(n.end_ms / 1000, y) for y, n in enumerate(shown.lanes) if n.end is end]
        size = 5.5 if labelled else 2.4
        axes.add_line(_end_mark(end, f"_{end.word}", at=ends, size=size))
    places = [(g.at_ms / 1000, y) for y, lane in enumerate(shown.lanes) for g in lane.ghosts]
    size = 3.4 if labelled else 1.8
    _ghosts(axes, [x for x, _ in places], [y for _, y in places], size)
    axes.set_ylim(len(shown.lanes) - 0.3, -0.7)
    every = 1 if labelled else max(1, len(shown.lanes) // 20)
    ticks = range(0, len(shown.lanes), every)
    axes.set_yticks(list(ticks), [short(shown.lanes[n].subject) for n in ticks])
    if labelled:
        for y, lane in enumerate(shown.lanes):
            took = seconds_text((lane.end_ms - lane.start_ms) / 1000)
            _write(axes, WIDTH - 0.3, y, took, ha="right", size=7.5)


def _draw_blocks(axes: Axes, shown: TimelineModel) -> None:
    """Draw a thin line where a block moved a settlement, with its number if there is room."""
    if not shown.blocks:
        return
    above = axes.get_xaxis_transform()
    inch = shown.span_ms / 1000 / (axes.get_position().width * WIDTH)
    axes.grid(visible=False, axis="x")
    lift = above + ScaledTranslation(0, 0.06, axes.figure.dpi_scale_trans)
    style = FONT | {"color": QUIET, "fontsize": 7}
    for number, seconds in spread([(n, ms / 1000) for n, ms in shown.blocks], 0.42 * inch):
        axes.axvline(seconds, color="#cfd5dc", linewidth=0.6, zorder=0.5)
        axes.text(seconds, 1.0, f"{number:,}", transform=lift, ha="center", **style)
    place = axes.transAxes + ScaledTranslation(-0.12, 0.06, axes.figure.dpi_scale_trans)
    axes.text(0, 1.0, "block", transform=place, ha="right", **style)


def _draw_stack(axes: Axes, shown: TimelineModel) -> None:
    """Draw how many settlements are on the way to each stage, stacked."""
    bars = [bar for bar in shown.every_bar if bar.end_ms > bar.start_ms]
    times = np.unique([ms for bar in bars for ms in (bar.start_ms, bar.end_ms)] or [0])
    below = np.zeros(len(times))
    for stage in shown.stages:
        change = np.zeros(len(times))
        mine = [bar for bar in bars if bar.stage == stage]
        np.add.at(change, np.searchsorted(times, [bar.start_ms for bar in mine]), 1)
        np.add.at(change, np.searchsorted(times, [bar.end_ms for bar in mine]), -1)
        level = below + np.cumsum(change)
        axes.fill_between(
            times / 1000, below, level, step="post", **{**_ink(stage), "linewidth": 0.0}
        )
        below = level
    axes.set_ylim(0, max(1.0, below.max()) * 1.08)
    axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    axes.grid(axis="y", color=HAIR, linewidth=0.6)
    axes.set_ylabel("in flight", fontsize=8, fontdict=FONT | {"color": QUIET})


def _draw_facts(axes: Axes, shown: TimelineModel) -> None:
    """Draw a row for each type of fact, a dot for each fact; hollow if orphaned."""
    rows = {name: y for y, name in enumerate(shown.types)}
    standing = [mark for mark in shown.marks if mark.stands]
    lost = [mark for mark in shown.marks if not mark.stands]
    axes.plot(
        [mark.at_ms / 1000 for mark in standing],
        [rows[mark.type] for mark in standing],
        linestyle="none",
        marker="o",
        markersize=3.4,
        markeredgewidth=0,
        color="#44505e",
        alpha=max(0.25, min(0.9, 30 / (1 + shown.count))),
    )
    places = [(mark.at_ms / 1000, rows[mark.type]) for mark in lost]
    _ghosts(axes, [x for x, _ in places], [y for _, y in places], size=3.4)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_yticks(list(rows.values()), list(rows), fontsize=7)
    axes.grid(axis="y", color="#f1f3f5", linewidth=0.6)
    counts = Counter(mark.type for mark in shown.marks)
    x = COLUMNS["seconds"][0] if shown.expanded else WIDTH - 0.3
    _write(axes, x, -1.1, "facts", ha="right", size=7)
    for name, y in rows.items():
        _write(axes, x, y, f"{counts[name]:,}", ha="right", size=7)


# --- Ink ------------------------------------------------------------------------------------------


def _ink(stage: str) -> dict[str, Any]:
    """Return the filling of a stage's area. An unfinished one is hatched and pale."""
    if stage == UNFINISHED:
        return {"facecolor": "#f4f5f7", "edgecolor": "#c3c9d1", "hatch": "////", "linewidth": 0.4}
    return {"facecolor": colour(stage) if stage in STAGE else QUIET, "edgecolor": "none"}


def _write(axes: Axes, x: float, y: float, text: str, **style: Any) -> None:
    """Write text at `x` inches from the left edge, at the height of row `y`."""
    place = blended_transform_factory(axes.figure.dpi_scale_trans, axes.transData)
    size, color = style.pop("size", 8), style.pop("color", QUIET)
    style = FONT | {"color": color, "va": "center_baseline", "fontsize": size} | style
    axes.text(x, y, text, transform=place, **style)


def _ghosts(axes: Axes, xs: list[float], ys: list[int], size: float) -> None:
    """Draw hollow dots: facts of blocks that left the chain."""
    axes.plot(
        xs,
        ys,
        linestyle="none",
        marker="o",
        markersize=size,
        markerfacecolor=PAPER,
        markeredgecolor=INK,
        markeredgewidth=0.8,
        zorder=4,
    )


def _end_mark(
    end: StateRow, label: str, at: Sequence[tuple[float, float]] = (), size: float = 5.5
) -> Line2D:
    """Return the shape of an outcome at each (seconds, row) of `at`."""
    tone, is_hollow = colour(end.word), end.shape == "ring"
    return Line2D(
        [x for x, _ in at],
        [y for _, y in at],
        linestyle="none",
        marker=MARKERS[end.shape],
        markersize=size,
        markeredgewidth=0.7,
        markerfacecolor=PAPER if is_hollow else tone,
        markeredgecolor=tone if is_hollow else PAPER,
        label=label,
        zorder=5,
        clip_on=False,
    )
