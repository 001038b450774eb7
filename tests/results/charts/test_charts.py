"""Figures and the page: every fact is there, the same bytes every time, nothing from outside."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text

from tests import facts as made
from tests.browser import CHROMIUM, MISSING, Browser
from workbench.core import facts as ev
from workbench.core.lifecycle import OUTCOME, OUTCOMES, PALETTE, SHAPES, STAGES, colour
from workbench.results import charts, metrics
from workbench.results.charts.timeline_model import (
    MOST_LANES,
    SLOWEST,
    UNFINISHED,
    picture,
    seconds_text,
)
from workbench.results.charts.timeline_png import MARKERS
from workbench.results.charts.timeline_svg import PATHS
from workbench.results.frames import events_frame, timeline_frame

THREE = [
    *made.reorged(),
    *made.refunded(1, made.GENESIS_MS + 500),
    *made.pending(2, made.GENESIS_MS + 2500),
]
BALANCES = [
    {"account": "buyer", "token": "EURC", "before": 10**10, "after": 9_899_698_496}
    | {"change": -100_301_504},
    {"account": "buyer", "token": "YPS", "before": 0, "after": 10**20 + 1, "change": 10**20 + 1},
    {"account": "<b>vault</b>", "token": "USDC", "before": "0", "after": "0", "change": "0"},
]


@pytest.fixture
def unheard_of() -> Iterator[type[ev.Event]]:
    """A class somebody adds to core/events.py later."""

    @dataclass(frozen=True, slots=True, kw_only=True)
    class MoonRisen(ev.Event):
        phase: int = 3

    yield MoonRisen
    del ev.Event.kinds["MoonRisen"]


def draw(facts: list[ev.Event]) -> Figure:
    return charts.timeline(timeline_frame(facts), events_frame(facts))


def words(figure: Figure) -> set[str]:
    """All text of a figure."""
    return {artist.get_text() for artist in figure.findobj() if isinstance(artist, Text)}


class Reader(HTMLParser):
    """Elements with their attributes, and the text outside of style and script."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._open = tag
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def handle_data(self, data: str) -> None:
        if self._open not in ("style", "script"):
            self.text += data + "\n"


# --- The figure -----------------------------------------------------------------------------------


def test_every_kind_of_fact_is_a_mark(unheard_of: type[ev.Event]) -> None:
    """Also one that was added a moment ago."""
    facts = made.one_of_each()
    assert isinstance(facts[-1], unheard_of)
    assert set(ev.Event.kinds) <= words(draw(facts))
    page = charts.timeline_html(facts)
    for kind in ev.Event.kinds:
        assert f">{kind}\n" in page, "a mark has a title that begins with the fact's type"


def test_bars_are_labelled_with_their_numbers() -> None:
    figure = draw(made.happy())
    assert {
        "requested",
        "authorized",
        "swapped",
        "248,305",
        "41",
        "2.000",
        "delivered in 8.000 s",
    } <= (words(figure))


@pytest.mark.parametrize("count", [1, 5, 6, 200, MOST_LANES + 1])
def test_any_number_of_settlements_fits(count: int) -> None:
    """The sheet stays one sheet; every settlement is counted, in lanes or in the stack."""
    facts = made.journal(count, gap_ms=150)
    figure = draw(facts)
    assert figure.get_figwidth() == 10
    assert figure.get_figheight() < 16
    shown = picture(timeline_frame(facts), events_frame(facts))
    assert shown.count == count
    assert len(shown.lanes) == (count if count <= MOST_LANES else SLOWEST)
    assert charts.figure_png(figure, dpi=40).startswith(b"\x89PNG")


def test_no_settlement_gives_a_friendly_figure() -> None:
    empty = charts.timeline(timeline_frame([]), events_frame([]))
    assert any("No settlement yet" in text for text in words(empty))
    assert charts.figure_png(empty)
    assert "No settlement yet" in charts.timeline_html([])


@pytest.mark.parametrize("facts", [made.happy(), THREE, made.journal(12)])
def test_the_same_facts_give_the_same_bytes(facts: list[ev.Event]) -> None:
    once, again = charts.figure_png(draw(facts)), charts.figure_png(draw(facts))
    assert once == again
    assert not re.search(rb"tEXt|tIME|zTXt|iTXt|eXIf", once), "neither date nor version inside"
    assert charts.timeline_html(facts) == charts.timeline_html(facts)


def test_a_notebook_shows_it_as_png() -> None:
    """A cloned notebook is untrusted, and then PNG is all that Jupyter shows."""
    figure: Any = draw(made.happy())
    assert figure._repr_png_() == charts.figure_png(figure)
    assert " at 0x" not in repr(figure), "the same text in every run"


def test_orphaned_facts_are_ghosts_and_no_bars() -> None:
    shown = picture(timeline_frame(made.reorged()), events_frame(made.reorged()))
    (lane,) = shown.lanes
    assert [bar.stage for bar in lane.bars].count("swapped") == 1
    assert {"SettlementSwapped", "TransactionMined"} <= {ghost.type for ghost in lane.ghosts}
    assert "orphaned" in words(draw(made.reorged()))
    assert "ghost" in charts.timeline_html(made.reorged())


def test_bars_leave_no_gap_and_add_up() -> None:
    """From the first fact of a settlement to its last, one bar begins where the other ends."""
    for lane in picture(timeline_frame(made.journal(30))).lanes:
        for before, after in zip(lane.bars, lane.bars[1:], strict=False):
            assert before.end_ms == after.start_ms
        assert sum(bar.end_ms - bar.start_ms for bar in lane.bars) == lane.end_ms - lane.start_ms


def test_what_is_under_way_is_open_to_the_last_fact() -> None:
    facts = made.pending() + made.happy(1, made.GENESIS_MS + 3000)
    pending = picture(timeline_frame(facts), events_frame(facts)).lanes[0]
    assert (pending.bars[-1].stage, pending.bars[-1].end_ms) == (UNFINISHED, 11_000)


def test_every_state_has_its_colour_in_every_drawing() -> None:
    """The page's style is made from the table, on a light and on a dark ground."""
    style = charts.timeline_html([])
    for stage in STAGES:
        assert f".s-{stage.word} {{ fill: var(--{stage.colour}); }}" in style
    for outcome in OUTCOMES:
        assert f".e-{outcome.word} {{ fill: var(--{outcome.colour}); }}" in style
    for key, (light, dark) in PALETTE.items():
        assert f"--{key}: {light};" in style
        assert f"--{key}: {dark};" in style
    assert set(MARKERS) == set(PATHS) == set(SHAPES)


def test_executed_has_one_colour() -> None:
    """The bar of the time to it, the mark at the end, and the bar that counts it."""
    facts = made.journal(8)
    lanes, outcomes = draw(facts), of_many(facts)["outcomes"]
    green = to_rgba(colour("executed"))
    (bars,) = (c for c in lanes.findobj(PolyCollection) if c.get_label() == "executed")
    assert np.array_equal(np.array(bars.get_facecolor()), np.array([green]))
    marks = [m for m in lanes.findobj(Line2D) if m.get_label() in ("executed", "_executed")]
    assert {to_rgba(mark.get_markerfacecolor()) for mark in marks} == {green}
    counted = [*outcomes.axes[0].containers[0]]
    assert {each.get_facecolor() for each in counted} == {green}


# --- The page -------------------------------------------------------------------------------------


def test_the_page_tells_everything_as_text() -> None:
    """Stages, balances and facts are tables: the drawing's alternative."""
    page = Reader(
        charts.timeline_html(made.happy(), "A run", {"chain": 31337, "balances": BALANCES})
    )
    for word in ("A run", "31337", "248,305", "+100.000000000000000001", "−100.301504", "10,000"):
        assert word in page.text
    for column in ("stage", "seconds", "block", "gas", "tx", "account", "before", "after"):
        assert f"\n{column}\n" in page.text
    drawing = next(attrs for tag, attrs in page.elements if attrs.get("role") == "img")
    ids = str(drawing["aria-labelledby"]).split()
    assert [tag for tag, attrs in page.elements if attrs.get("id") in ids] == ["title", "desc"]


def test_nothing_is_loaded_from_outside() -> None:
    page = charts.timeline_html(THREE, meta={"seller": "http://example.org/", "balances": BALANCES})
    for tag, attributes in Reader(page).elements:
        assert tag not in ("img", "iframe", "object", "embed", "base")
        for name in ("src", "href", "action", "xlink:href", "style", "onclick", "onload"):
            assert attributes.get(name) in (None, "data:,")
    style = re.search(r"<style>(.*?)</style>", page, re.S)
    assert style is not None
    assert not re.search(r"url\(|@import", style[1])
    assert "default-src &#x27;none&#x27;" in page


def test_everything_is_escaped() -> None:
    evil = '<script>alert("1")</script>&amp;'
    facts = made.refunded(reason=evil)
    row: dict[str, Any] = dict.fromkeys(("account", "token", "before", "after", "change"), evil)
    page = charts.timeline_html(facts, evil, {evil: evil, "balances": [row]})
    assert page.count("<script") == 1, "our own"
    assert page.count("&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&amp;amp;") >= 8


def test_the_page_is_one_file_of_sensible_size() -> None:
    assert len(charts.timeline_html(made.happy())) < 60_000
    assert len(charts.timeline_html(made.journal(200, 300))) < 2_000_000


@pytest.mark.skipif(CHROMIUM is None, reason=MISSING)
def test_the_page_in_a_browser(tmp_path: Path) -> None:
    """Opens from a file, fits a phone, shows details by mouse and by keyboard, asks nobody."""
    path = tmp_path / "timeline.html"
    path.write_text(charts.timeline_html(THREE, meta={"balances": BALANCES}), encoding="utf-8")
    with Browser(width=360, height=740, dark=True) as page:
        page.goto(path.as_uri())
        assert page.overflow() == 0
        page.resize(1280, 800)
        bar = "document.querySelectorAll('rect.m')[3].getBoundingClientRect()"
        page.mouse("mouseMoved", *page.eval(f"[{bar}.x + 9, {bar}.y + 5]"))
        swap = "swapped\ntook 3.000 s\nblock 45\ngas 248,305\ntx 0x"
        assert page.eval("document.getElementById('tip').innerText").startswith(swap)
        page.eval("document.querySelector('figure').focus()")
        page.key("Home")
        assert page.eval("document.getElementById('tip').innerText").startswith("requested\n")
        page.key("ArrowRight")
        assert page.eval("document.getElementById('tip').innerText").startswith("authorized\n")
        page.key("Escape")
        assert page.eval("document.getElementById('tip').hidden")
        assert page.errors == []
        assert {url.split(":")[0] for url in page.requests} <= {"file", "data"}


# --- Many settlements -----------------------------------------------------------------------------


def of_many(facts: list[ev.Event]) -> dict[str, Figure]:
    """Each chart of a run, by its name."""
    ends, faults = metrics.ends_frame(facts), metrics.faults_frame(facts)
    swaps, market = metrics.swaps_frame(facts), metrics.market_frame(facts)
    return {
        "latency": charts.latency(timeline_frame(facts)),
        "outcomes": charts.outcomes(ends, faults),
        "prices": charts.prices(swaps, market),
    }


def fault(site: str, at_ms: int) -> ev.Event:
    return ev.FaultInjected(
        subject="", at_ms=at_ms, source="simulator", site=site, target="x", parameter=0
    )


def moved(rate_e8: int, at_ms: int) -> ev.Event:
    return ev.MarketMoved(subject="", at_ms=at_ms, source="simulator", usdc_per_eurc_e8=rate_e8)


@pytest.mark.parametrize("count", [0, 1, 2, 60, 300])
def test_charts_of_any_number(count: int) -> None:
    """With and without faults and a market; each gives a PNG."""
    facts = made.journal(count)
    around = [fault("http.cut", made.GENESIS_MS + 5), moved(111_000_000, made.GENESIS_MS)]
    for figure in (*of_many(facts).values(), *of_many([*around, *facts]).values()):
        png = charts.figure_png(figure)
        assert png.startswith(b"\x89PNG")
        assert len(png) < 400_000


def test_charts_of_many_give_the_same_bytes() -> None:
    """No date, no chance."""
    facts = [*made.journal(30), fault("http.cut", made.GENESIS_MS + 5)]
    for name, figure in of_many(facts).items():
        assert charts.figure_png(figure) == charts.figure_png(of_many(facts)[name]), name


def test_charts_of_many_say_what_they_count() -> None:
    """Stages with their percentiles, outcomes and faults with their numbers."""
    facts = made.journal(30)
    frame, ends = timeline_frame(facts), metrics.ends_frame(facts)
    figures = of_many([*facts, fault("chain.reorg", made.GENESIS_MS + 5)])
    times = metrics.stage_times(frame)
    assert set(times) | {"count", "p50", "p90", "p99"} <= words(figures["latency"])
    shown = {seconds_text(metrics.percentile(v, 90) / 1000) for v in times.values()}
    assert shown <= words(figures["latency"])
    counts = ends.outcome.value_counts()
    shown = {f"{OUTCOME[str(name)].text}  {n}" for name, n in counts.items()}
    assert shown <= words(figures["outcomes"])
    assert {"chain.reorg", "1"} <= words(figures["outcomes"])
    assert {"reference", "paid"} <= words(figures["prices"])
    assert "market" not in words(figures["prices"]), "nobody said where the market was"


def test_every_end_and_every_swap_is_drawn() -> None:
    """Bars add up to the settlements that ended; a dot for each swap, and one for its cost."""
    facts = made.journal(40)
    figures = of_many(facts)
    (above,) = figures["outcomes"].axes
    heights = [p.get_height() for c in above.containers for p in c]
    assert len(metrics.ends_frame(facts)) == sum(heights)
    swaps = metrics.swaps_frame(facts)
    rates, costs = figures["prices"].axes
    dots = [line for line in rates.get_lines() if line.get_marker() == "o"]
    assert [len(swaps)] == [len(line.get_xdata()) for line in dots]  # type: ignore[arg-type]
    assert len(swaps) == len(costs.get_lines()[0].get_xdata())  # type: ignore[arg-type]


def test_every_outcome_is_told_apart_without_its_colour() -> None:
    """Rejected and gave up are both of ink: one is filled, the other hatched."""
    rows = [{"name": "", "subject": "", "outcome": o.word, "at_ms": 5_000} for o in OUTCOMES]
    figure = charts.outcomes(pd.DataFrame(rows), metrics.faults_frame([]), origin_ms=0)
    bars = [(look, next(iter(c))) for look, c in zip(OUTCOMES, figure.axes[0].containers,
                                                    strict=True)]  # fmt: skip
    ended = [(bar.get_facecolor(), bar.get_hatch()) for look, bar in bars if look.is_end]
    assert len(ended) == len(set(ended))
    assert {f"{look.text}  1" for look in OUTCOMES} <= words(figure)


# --- One origin -----------------------------------------------------------------------------------


def test_the_origin_is_given_or_the_earliest_fact() -> None:
    """What a slow clock dated before the origin is left of 0, and still on the sheet."""
    facts = made.happy()
    frame, events = timeline_frame(facts), events_frame(facts)
    early = charts.timeline(frame, events, origin_ms=made.GENESIS_MS - 4_000, since="start")
    late = charts.timeline(frame, events, origin_ms=made.GENESIS_MS + 4_000)
    for figure, first, last in ((draw(facts), 0.0, 8.0), (early, 0.0, 12.0), (late, -4.0, 4.0)):
        left, right = figure.axes[0].get_xlim()
        assert first - 0.5 < left <= first
        assert last <= right < last + 0.5
    assert "seconds since the start" in words(early)
    assert "seconds since the first fact" in words(draw(facts))
    ends, faults = metrics.ends_frame(facts), metrics.faults_frame([])
    ended = charts.outcomes(ends, faults, origin_ms=made.GENESIS_MS + 60_000)
    assert 1 == sum(bar.get_height() for bars in ended.axes[0].containers for bar in bars)
    assert ended.axes[0].get_xlim()[0] < -52.0, "it ended 52 seconds before the origin"
    page = charts.timeline_html(facts, origin_ms=made.GENESIS_MS + 4_000, since="start")
    assert "at -4.000 s" in page
    assert ">seconds since the start<" in page


def test_lanes_without_facts_still_mark_what_was_orphaned() -> None:
    """The same ghosts as on the timeline with its facts."""
    facts = made.journal(12)
    frame, events = timeline_frame(facts), events_frame(facts)
    lanes = charts.timeline(frame, events, has_facts=False)
    assert "orphaned" in words(lanes)
    assert "orphaned" in words(draw(facts))
    assert "SettlementSwapped" in words(draw(facts))
    assert "SettlementSwapped" not in words(lanes)
