"""The timeline as one HTML page that opens offline, from a file.

Style and script are inside, and a content security policy names both by hash: nothing else runs or
loads. The tables contain all that the drawing shows.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from importlib import resources
from typing import Any

import pandas as pd

from workbench.core.facts import Event
from workbench.core.lifecycle import OUTCOMES, PALETTE, STAGES
from workbench.core.money import EURC, USDC, YPS, Token, format_units
from workbench.results.charts.html import Html, HtmlContent, el, raw
from workbench.results.charts.theme import FIRST_FACT
from workbench.results.charts.timeline_model import (
    UNFINISHED,
    Lane,
    TimelineModel,
    picture,
    short,
    title_of,
)
from workbench.results.charts.timeline_svg import draw, mark
from workbench.results.frames import distinct, events_frame, settlements_frame, timeline_frame

TOKENS = {token.symbol: token for token in (USDC, EURC, YPS, Token("ETH", 18))}
MOST_FACTS = 400
"""Up to this many facts are listed; more are in the journal's file only."""


def timeline_html(
    facts: Iterable[Event],
    title: str = "",
    meta: Mapping[str, Any] | None = None,
    *,
    origin_ms: int | None = None,
    since: str = FIRST_FACT,
) -> str:
    """Return one self-contained page: chart, stages, balances and facts.

    `origin_ms`: the time that counts as 0, Unix milliseconds (default: the earliest fact). `since`:
    its label.

    `meta` is shown below the title. Its `balances`, if any, become a table: rows of {account,
    token, before, after, change}, amounts in base units (int) or as text.
    """
    told = distinct(facts)
    deals, events = settlements_frame(told), events_frame(told)
    shown = picture(timeline_frame(told), events, origin_ms)
    meta = dict(meta or {})
    balances = meta.pop("balances", None) or []
    heading = title or title_of(shown)
    body: list[HtmlContent] = [
        el("h1", heading),
        _meta(meta),
        _chart(shown, since),
        _stages(shown, deals) if shown.expanded else _settlements(deals),
        _balances(balances),
        _facts(shown),
        el("footer", el("p", "Drawn by Settlement Workbench from the facts. Nothing is loaded.")),
    ]
    return _document(heading, body)


def _document(heading: str, body: list[HtmlContent]) -> str:
    style, script = (
        resources.files("workbench.results.charts").joinpath(name).read_text("utf-8")
        for name in ("page.css", "page.js")
    )
    style = colours_css() + style
    policy = (
        f"default-src 'none'; style-src {_digest(style)}; script-src {_digest(script)}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", http_equiv="Content-Security-Policy", content=policy),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="color-scheme", content="light dark"),
        el("title", heading),
        el("link", rel="icon", href="data:,"),
        el("style", raw(style)),
    )
    tip = el("div", id="tip", role="status", aria_live="polite", hidden="hidden")
    page = el("html", head, el("body", body, tip, el("script", raw(script))), lang="en")
    return f"<!doctype html>\n{page}\n"


def colours_css() -> str:
    """Return the table of states as CSS: `--created` and all other keys of the palette.

    Classes: `s-` and a stage, `e-` and an outcome.
    """
    light, dark = ("".join(f"--{key}: {pair[n]}; " for key, pair in PALETTE.items())
                   for n in (0, 1))  # fmt: skip
    rules = [f".s-{look.word} {{ fill: var(--{look.colour}); }}" for look in STAGES]
    rules += [f".e-{look.word} {{ fill: var(--{look.colour}); }}" for look in OUTCOMES]
    grounds = f":root {{ {light}}}\n@media (prefers-color-scheme: dark) {{ :root {{ {dark}}} }}\n"
    return grounds + "\n".join(rules) + "\n"


def _digest(text: str) -> str:
    """Return the hash of an inline text for the content security policy."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


# --- Parts ----------------------------------------------------------------------------------------


def _meta(meta: Mapping[str, Any]) -> Html | None:
    rows = [
        el("div", el("dt", str(name).replace("_", " ")), el("dd", _text(value)))
        for name, value in meta.items()
    ]
    return el("dl", rows, class_="meta") if rows else None


def _chart(shown: TimelineModel, since: str) -> Html:
    if not shown.count and not shown.marks:
        command = el("code", "workbench buy 100000000000000000000")
        return el("div", "No settlement yet. ", command, " starts one.", class_="empty")
    says = "Each bar is the time it took to reach its stage. "
    if len(shown.lanes) < shown.count:
        says += f"Drawn are the slowest {len(shown.lanes):,} of {shown.count:,}. "
    if any(lane.ghosts for lane in shown.lanes):
        says += "Hollow dots are facts of blocks that the chain took back. "
    hint = "Point at a bar or a dot for its details, or use the arrow keys."
    legend = None if shown.expanded else _legend(shown)
    return el(
        "figure",
        legend,
        draw(shown, since),
        el("figcaption", says, el("span", hint, class_="hint")),
        tabindex=0,
        role="group",
        aria_label="Timeline. Arrow keys read it bar by bar.",
    )


def _legend(shown: TimelineModel) -> Html:
    """Return the legend: colours of stages, shapes of outcomes."""
    items = [
        el("li", _square(stage), "under way" if stage == UNFINISHED else stage)
        for stage in shown.coloured
    ]
    for end in shown.ends:
        shape = el("svg", mark(end, 5), viewBox="-6 -6 12 12", aria_hidden="true")
        items.append(el("li", shape, end.text))
    return el("ul", items, class_="legend")


def _square(stage: str) -> Html:
    inner = el("rect", width=12, height=12, class_=f"s-{stage}")
    return el("svg", inner, class_="swatch", width=12, height=12, aria_hidden="true")


def _stages(shown: TimelineModel, deals: pd.DataFrame) -> Html | None:
    """Return a table of stages for each settlement: the content of the chart as text."""
    if not shown.lanes:
        return None
    rows_by_id = {row["id"]: row for row in deals.to_dict("records")}
    parts: list[HtmlContent] = [el("h2", "Stages")]
    for n, lane in enumerate(shown.lanes):
        parts.append(el("h3", el("span", lane.subject, class_="hash")))
        parts.append(el("p", _sentence(lane, rows_by_id[lane.subject]), class_="quiet"))
        rows = [
            el(
                "tr",
                el("th", _square(bar.stage), bar.stage, scope="row"),
                _number("" if k == 0 else f"{bar.seconds:.3f}"),
                _number("" if bar.block is None else f"{bar.block:,}"),
                _number("" if bar.gas is None else f"{bar.gas:,}"),
                el("td", "" if bar.tx is None else _hash(bar.tx)),
                data_k=f"{n}-{k}",
            )
            for k, bar in enumerate(lane.bars)
            if bar.stage != UNFINISHED
        ]
        names = ("stage", "seconds", "block", "gas", "tx")
        parts.append(_table(names, rows, numeric=names[1:4], label=f"Stages of {lane.subject}"))
    return el("section", parts)


def _sentence(lane: Lane, deal: dict[Any, Any]) -> str:
    """`100 YPS for 110 USDC, 100.3 EURC spent; delivered in 8.000 s, gas 778,531.`"""
    text = f"{_amount(deal['asset_amount'], 'YPS')} for {_amount(deal['required_usdc'], 'USDC')}"
    if deal["eurc_spent"] is not None:
        text += f", {_amount(deal['eurc_spent'], 'EURC')} spent"
    took = f"{(lane.end_ms - lane.start_ms) / 1000:.3f} s"
    under_way = lane.bars[-1].stage == UNFINISHED
    text += f"; {lane.state}, {took} so far" if under_way else f"; {lane.state} in {took}"
    if deal["reason"]:
        text += f" ({deal['reason'].replace('_', ' ')})"
    if not pd.isna(deal["gas_total"]):
        text += f"; gas {deal['gas_total']:,}"
    return text + "."


def _settlements(deals: pd.DataFrame) -> Html:
    """Return one row for each settlement, if there are too many for separate tables."""
    rows = [
        el(
            "tr",
            el("th", _hash(deal["id"]), scope="row"),
            el("td", deal["state"]),
            _number(_amount(deal["asset_amount"], "YPS")),
            _number(_amount(deal["required_usdc"], "USDC")),
            _number("" if deal["eurc_spent"] is None else _amount(deal["eurc_spent"], "EURC")),
            _number("" if pd.isna(deal["seconds_total"]) else f"{deal['seconds_total']:.3f}"),
            _number("" if pd.isna(deal["gas_total"]) else f"{deal['gas_total']:,}"),
            el("td", deal["reason"].replace("_", " ")),
        )
        for deal in deals.to_dict("records")
    ]
    names = ("settlement", "state", "asset", "price", "spent", "seconds", "gas", "reason")
    return el("section", el("h2", "Settlements"), _table(names, rows, names[2:7], "Settlements"))


def _balances(balances: Iterable[Mapping[str, Any]]) -> Html | None:
    rows = []
    for row in balances:
        token = str(row.get("token", ""))
        cells = [
            _number(_units(row.get(name), token, sign=name == "change"))
            for name in ("before", "after", "change")
        ]
        account = el("th", str(row.get("account", "")), scope="row")
        rows.append(el("tr", account, el("td", token), *cells))
    if not rows:
        return None
    names = ("account", "token", "before", "after", "change")
    return el("section", el("h2", "Balances"), _table(names, rows, names[2:], "Balances"))


def _facts(shown: TimelineModel) -> Html | None:
    """Return the facts, folded."""
    if not shown.marks:
        return None
    rows = [
        el(
            "tr",
            _number(str(mark.seq)),
            _number(f"{mark.at_ms / 1000:.3f}"),
            el("td", mark.type, None if mark.stands else " (orphaned)"),
            el("td", mark.source),
            _number("" if mark.block is None else f"{mark.block:,}"),
            el("td", json.dumps(mark.detail, default=str), class_="hash"),
        )
        for mark in shown.marks[:MOST_FACTS]
    ]
    names = ("seq", "seconds", "type", "source", "block", "detail")
    count = f"{len(shown.marks):,} facts"
    if len(shown.marks) > MOST_FACTS:
        count += f", the first {MOST_FACTS}"
    table = _table(names, rows, ("seq", "seconds", "block"), "Facts")
    return el("details", el("summary", count), table)


# --- Small words ----------------------------------------------------------------------------------


def _table(
    names: Iterable[str], rows: list[Html], numeric: Iterable[str] = (), label: str = ""
) -> Html:
    heads = [el("th", n, scope="col", class_="num" if n in numeric else None) for n in names]
    table = el("table", el("thead", el("tr", heads)), el("tbody", rows))
    return el("div", table, class_="scroll", tabindex=0, role="region", aria_label=label)


def _number(text: str) -> Html:
    return el("td", text, class_="num")


def _hash(text: str) -> Html:
    return el("span", short(text), class_="hash", title=text)


def _amount(units: int, symbol: str) -> str:
    return f"{_units(units, symbol)} {symbol}"


def _units(value: Any, symbol: str, sign: bool = False) -> str:
    """Return base units as exact decimal text; text is left as it is."""
    if type(value) is not int:
        return _text(value)
    decimals = TOKENS[symbol].decimals if symbol in TOKENS else 0
    whole, _, fraction = format_units(abs(value), decimals).partition(".")
    text = f"{int(whole):,}" + (f".{fraction}" if fraction else "")
    return ("−" if value < 0 else "+" if sign and value > 0 else "") + text


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, default=str)
