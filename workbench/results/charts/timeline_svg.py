"""The timeline as inline SVG of any width: positions are per cent, heights pixels.

Only the time axis stretches, so the same drawing works on a phone and on a wide screen. Colours
come from the page's CSS classes: `s-` and a stage for the time until it, `e-` and an outcome for
the mark at the end.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from math import ceil, floor

import numpy as np
from numpy.typing import NDArray

from workbench.core.lifecycle import STAGE, StateRow
from workbench.results.charts.html import Html, HtmlContent, el
from workbench.results.charts.theme import FIRST_FACT
from workbench.results.charts.timeline_model import (
    LABELLED_LANES,
    UNFINISHED,
    Bar,
    Lane,
    Mark,
    TimelineModel,
    seconds_text,
    short,
    spread,
)

Steps = NDArray[np.int64]
NAMES, NUMBERS = 132, 178
"""Widths of the columns beside the chart, pixels; the style sheet says the same."""
TOP, ROW, LANE, THIN, FACT_ROW, STACK, AXIS = 24, 24, 20, 6, 17, 96, 40
MOST_MARKS = 1500
FIRST, LAST = 1.0, 98.5
"""Begin and end of the axis, per cent of the width."""
CIRCLE = "M-1 0A1 1 0 0 1 1 0A1 1 0 0 1 -1 0Z"
PATHS = {
    "disc": CIRCLE,
    "triangle": "M-1.1 0L.75 -1.05V1.05Z",
    "diamond": "M0 -1.15L1.15 0L0 1.15L-1.15 0Z",
    "cross": "M-.95 -.5L-.5 -.95L0 -.45L.5 -.95L.95 -.5L.45 0L.95 .5L.5 .95L0 .45L-.5 .95"
    "L-.95 .5L-.45 0Z",
    "ring": f"{CIRCLE}M-.55 0A.55 .55 0 0 0 .55 0A.55 .55 0 0 0 -.55 0Z",
    "chevron": "M-.75 -1H-.05L.95 0L-.05 1H-.75L.25 0Z",
    "dot": "M-.4 0A.4 .4 0 0 1 .4 0A.4 .4 0 0 1 -.4 0Z",
}
"""The shapes of `lifecycle.SHAPES`, about 1 around their centre."""


@dataclass
class SvgSheet:
    """The drawing under construction: its height, elements, and the names beside the rows."""

    shown: TimelineModel
    height: float = TOP
    ink: list[HtmlContent] = field(default_factory=list)
    names: list[HtmlContent] = field(default_factory=list)
    numbers: list[HtmlContent] = field(default_factory=list)

    def x(self, ms: float) -> str:
        return f"{self.place(ms):.3f}%"

    def place(self, ms: float) -> float:
        return FIRST + (LAST - FIRST) * (ms - self.shown.first_ms) / max(self.shown.span_ms, 1)

    def name(self, text: str, y: float, class_: str = "") -> None:
        """Write a name beside the row that begins at `y`."""
        self.names.append(el("text", text, x=NAMES - 10, y=f"{y + ROW / 2 + 4:g}", class_=class_))

    def number(self, texts: tuple[str, str, str], y: float) -> None:
        """Write seconds, block and gas of the row that begins at `y`."""
        for text, x in zip(texts, (62, 112, NUMBERS - 2), strict=True):
            self.numbers.append(el("text", text, x=x, y=f"{y + ROW / 2 + 4:g}"))


def draw(shown: TimelineModel, since: str = FIRST_FACT) -> Html:
    """Return names, SVG and numbers: the three columns of the chart. `since`: label of 0."""
    sheet = SvgSheet(shown)
    if shown.expanded:
        _expanded(sheet)
    elif shown.count:
        _lanes(sheet)
        _stack(sheet)
    blocks = _blocks(sheet, sheet.height)
    if shown.marks:
        _facts(sheet)
    ink = [_axis(sheet, since), blocks, sheet.ink]
    text = f"Timeline of {shown.count} settlements over {seconds_text(shown.span_ms / 1000)}"
    tall = f"{sheet.height + AXIS:g}"
    names = el("title", text, id="chart-title"), el("desc", _describe(shown), id="chart-desc")
    label = {"role": "img", "aria_labelledby": "chart-title chart-desc"}
    columns = [
        el("svg", sheet.names, class_="names", width=NAMES, height=tall, aria_hidden="true"),
        el("svg", names, ink, class_="time", **label, width="100%", height=tall),
    ]
    if sheet.numbers:
        beside = {"class_": "numbers", "aria_hidden": "true"}
        columns.append(el("svg", sheet.numbers, **beside, width=NUMBERS, height=tall))
    return el("div", columns, class_="grid")


def _describe(shown: TimelineModel) -> str:
    """Return a description for people who cannot see the chart; the tables have the rest."""
    ends: dict[str, int] = {}
    for lane in shown.lanes:
        ends[lane.state] = ends.get(lane.state, 0) + 1
    states = ", ".join(f"{count} {state}" for state, count in ends.items())
    return f"{states or 'No settlement'}; {len(shown.marks)} facts. The tables below say the same."


# --- Lanes ----------------------------------------------------------------------------------------


def _expanded(sheet: SvgSheet) -> None:
    """Draw a row for each stage of each settlement, with its numbers."""
    for n, lane in enumerate(sheet.shown.lanes):
        sheet.height += 10 if n else 0
        sheet.name(short(lane.subject), sheet.height, "id")
        if n == 0:
            sheet.number(("seconds", "block", "gas"), sheet.height)
        sheet.height += ROW
        for k, bar in enumerate(lane.bars):
            y = sheet.height
            sheet.name("under way" if bar.stage == UNFINISHED else bar.stage, y)
            sheet.number(_numbers(lane, bar), y)
            if k:
                x = sheet.x(bar.start_ms)
                line = el("line", x1=x, x2=x, y1=y - 5, y2=y + 5, class_="thread")
                sheet.ink.append(line)
            sheet.ink.append(_bar(sheet, bar, lane, y + 5, ROW - 10, f"{n}-{k}"))
            if bar is lane.bars[-1]:
                sheet.ink.append(_ending(sheet, lane, y + ROW / 2, 5.5))
            sheet.height += ROW
        if lane.ghosts:
            sheet.name("orphaned", sheet.height, "quiet")
            sheet.ink.append([_dot(sheet, g, sheet.height + ROW / 2, 4) for g in lane.ghosts])
            sheet.height += ROW


def _numbers(lane: Lane, bar: Bar) -> tuple[str, str, str]:
    first = bar is lane.bars[0]
    return (
        "" if first else f"{bar.seconds:.3f}",
        "" if bar.block is None else f"{bar.block:,}",
        "" if bar.gas is None else f"{bar.gas:,}",
    )


def _lanes(sheet: SvgSheet) -> None:
    """Draw a lane for each settlement; above some dozens thin ones, every tenth with its name."""
    labelled = len(sheet.shown.lanes) <= LABELLED_LANES
    tall = LANE if labelled else THIN
    every = 1 if labelled else -(-20 // THIN)
    for n, lane in enumerate(sheet.shown.lanes):
        if n % every == 0:
            sheet.name(short(lane.subject), sheet.height + (tall - ROW) / 2)
        gap = 4 if labelled else 0.5
        for k, bar in enumerate(lane.bars):
            sheet.ink.append(_bar(sheet, bar, lane, sheet.height + gap, tall - 2 * gap, f"{n}-{k}"))
        radius = 5 if labelled else 2
        sheet.ink.append(_ending(sheet, lane, sheet.height + tall / 2, radius))
        sheet.ink.append(
            [_dot(sheet, g, sheet.height + tall / 2, radius * 0.7) for g in lane.ghosts]
        )
        sheet.height += tall
    sheet.height += 8


def _bar(sheet: SvgSheet, bar: Bar, lane: Lane, y: float, tall: float, key: str) -> Html | None:
    """Return the time to one stage. A bar without length is a thin line; the first stage is a
    dot."""
    if bar is lane.bars[0]:
        if not sheet.shown.expanded:
            return None  # The next bar begins there.
        title = el("title", _say(lane, bar))
        x, radius, class_ = sheet.x(bar.end_ms), min(4, tall / 2), f"m {_class(bar.stage)}"
        return el("circle", title, cx=x, cy=y + tall / 2, r=radius, class_=class_, data_k=key)
    wide = (LAST - FIRST) * (bar.end_ms - bar.start_ms) / max(sheet.shown.span_ms, 1)
    return el(
        "rect",
        el("title", _say(lane, bar)),
        x=sheet.x(bar.start_ms),
        y=f"{y:g}",
        width=f"{max(wide, 0.25):.3f}%",
        height=f"{tall:g}",
        class_=f"m {_class(bar.stage)}",
        data_k=key,
    )


def _say(lane: Lane, bar: Bar) -> str:
    """Return the text of the detail, one line each."""
    name = "under way" if bar.stage == UNFINISHED else bar.stage
    first = bar is lane.bars[0]
    lines = [
        name,
        f"at {bar.end_ms / 1000:.3f} s" if first else f"took {bar.seconds:.3f} s",
        None if bar.block is None else f"block {bar.block:,}",
        None if bar.gas is None else f"gas {bar.gas:,}",
        None if bar.tx is None else f"tx {bar.tx}",
        f"settlement {short(lane.subject)}",
    ]
    return "\n".join(line for line in lines if line)


def _ending(sheet: SvgSheet, lane: Lane, y: float, radius: float) -> Html:
    """Return the mark of the end, or of an open settlement."""
    x = sheet.x(lane.end_ms)
    return el("svg", mark(lane.end, radius), x=x, y=f"{y:g}", overflow="visible", width=1, height=1)


def mark(end: StateRow, radius: float) -> Html:
    """Return the shape of an outcome, `radius` pixels around 0, 0."""
    scale = f"scale({radius:g})"
    return el("path", d=PATHS[end.shape], transform=scale, class_=f"end e-{end.word}")


def _class(stage: str) -> str:
    return f"s-{stage}" if stage in STAGE or stage == UNFINISHED else "s-other"


# --- In flight, blocks, facts, axis ---------------------------------------------------------------


def _stack(sheet: SvgSheet) -> None:
    """Draw how many settlements are on the way to each stage, stacked."""
    sheet.height += 14
    bars = [bar for bar in sheet.shown.every_bar if bar.end_ms > bar.start_ms]
    times = np.unique([ms for bar in bars for ms in (bar.start_ms, bar.end_ms)] or [0])
    levels, below = [], np.zeros(len(times), dtype=int)
    for stage in sheet.shown.stages:
        change = np.zeros(len(times), dtype=int)
        mine = [bar for bar in bars if bar.stage == stage]
        np.add.at(change, np.searchsorted(times, [bar.start_ms for bar in mine]), 1)
        np.add.at(change, np.searchsorted(times, [bar.end_ms for bar in mine]), -1)
        levels.append((stage, below, below + np.cumsum(change)))
        below = below + np.cumsum(change)
    most = max(int(below.max()), 1)
    paths = [
        el("path", d=_steps(times, low, high, most), class_=_class(stage))
        for stage, low, high in levels
    ]
    box: dict[str, str | int | float | None] = {
        "x": f"{FIRST}%",
        "y": sheet.height,
        "width": f"{LAST - FIRST}%",
        "height": STACK,
        "viewBox": f"{sheet.shown.first_ms} 0 {max(sheet.shown.span_ms, 1)} {most}",
        "preserveAspectRatio": "none",
    }
    sheet.ink.append(el("svg", paths, **box))
    sheet.name("in flight", sheet.height + STACK - ROW, "quiet")
    sheet.name(f"{most:,} at most", sheet.height - 6, "quiet")
    sheet.height += STACK + 2


def _steps(times: Steps, low: Steps, high: Steps, most: int) -> str:
    """Return the outline of one layer: along its top to the right, along its bottom back."""
    there = "".join(f"V{most - h}H{t}" for h, t in zip(high[:-1], times[1:], strict=True))
    back = "".join(f"V{most - v}H{t}" for v, t in zip(low[-2::-1], times[-2::-1], strict=True))
    return f"M{times[0]} {most - low[0]}{there}{back}Z"


def _blocks(sheet: SvgSheet, bottom: float) -> list[HtmlContent]:
    """Return thin lines where blocks moved a settlement; narrow screens show fewer numbers."""
    places = [(number, sheet.place(ms)) for number, ms in sheet.shown.blocks]
    wide, narrow = spread(places, 4.2), {n for n, _ in spread(places, 13)}
    ink: list[HtmlContent] = []
    if wide:
        sheet.name("block", 0, "quiet small")
    for number, place in wide:
        class_ = "tick" if number in narrow else "tick wide"
        x = f"{place:.3f}%"
        ink.append(el("line", x1=x, x2=x, y1=TOP - 5, y2=f"{bottom:g}", class_="block"))
        ink.append(el("text", f"{number:,}", x=x, y=TOP - 10, class_=class_))
    return ink


def _facts(sheet: SvgSheet) -> None:
    """Draw a row for each type of fact, a dot for each fact."""
    sheet.height += 22
    marks = _merged(sheet.shown.marks)
    for name in sheet.shown.types:
        y = sheet.height + FACT_ROW / 2
        sheet.name(name, sheet.height + (FACT_ROW - ROW) / 2, "fact")
        sheet.ink.append(el("line", x1="0", x2="100%", y1=y, y2=y, class_="rule"))
        mine = sorted((m for m in marks if m[0].type == name), key=lambda m: not m[0].stands)
        sheet.ink.append([_dot(sheet, mark, y, 3, count, "ring") for mark, count in mine])
        sheet.height += FACT_ROW


def _merged(marks: tuple[Mark, ...]) -> list[tuple[Mark, int]]:
    """Return each mark with the number of facts it stands for: one, unless there are very many."""
    if len(marks) <= MOST_MARKS:
        return [(mark, 1) for mark in marks]
    groups: dict[tuple[str, bool, int], list[Mark]] = {}
    for mark in marks:
        groups.setdefault((mark.type, mark.stands, mark.at_ms), []).append(mark)
    return [(group[0], len(group)) for group in groups.values()]


def _dot(
    sheet: SvgSheet, mark: Mark, y: float, radius: float, count: int = 1, ghost: str = "hole"
) -> Html:
    """Return the dot of a fact. An orphaned one is a ring, so that a dot at its place is
    visible."""
    class_ = "m fact" if mark.stands else f"m fact ghost {ghost}"
    radius += 0 if mark.stands else 1.2
    title = el("title", _say_fact(mark, count))
    return el("circle", title, cx=sheet.x(mark.at_ms), cy=f"{y:g}", r=f"{radius:g}", class_=class_)


def _say_fact(mark: Mark, count: int) -> str:
    lines = [
        mark.type if count == 1 else f"{mark.type} × {count}",
        f"at {mark.at_ms / 1000:.3f} s" + ("" if mark.stands else ", in a block orphaned since"),
    ]
    if count == 1:
        lines.append(f"fact {mark.seq} of {mark.source}")
        lines += [] if mark.block is None else [f"block {mark.block:,}"]
        own = {"tx": mark.tx, **mark.detail} if mark.tx else mark.detail
        lines += [f"{key} {_plain(value)}" for key, value in own.items()]
    return "\n".join(lines)


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _axis(sheet: SvgSheet, since: str) -> list[HtmlContent]:
    """Return the axis: seconds in steps of 1, 2 or 5 times a power of ten."""
    y, span = sheet.height + 4, max(sheet.shown.span_ms / 1000, 0.001)
    step = next(m * 10.0**e for e in range(-3, 9) for m in (1, 2, 5) if span / (m * 10.0**e) <= 8.5)
    ink: list[HtmlContent] = [el("line", x1="0", x2="100%", y1=y, y2=y, class_="axis")]
    first, last = (round(ms / 1000 / step, 9) for ms in (sheet.shown.first_ms, sheet.shown.last_ms))
    ticks = range(ceil(first), floor(last) + 1)
    for n in ticks:
        x = sheet.x(n * step * 1000)
        class_ = "tick" if len(ticks) <= 6 or n % 2 == 0 else "tick wide"
        ink.append(el("text", f"{n * step:g}", x=x, y=y + 15, class_=class_))
        ink.append(el("line", x1=x, x2=x, y1=y, y2=y + 4, class_="axis"))
    ink.append(el("text", f"seconds since the {since}", x="50%", y=y + 32, class_="tick"))
    return ink
