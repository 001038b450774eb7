"""Tables for readers: exact amounts with units, short hashes, times of day.

For display only. Compute with the frames of `Run`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from workbench.core.money import EURC, USDC, YPS, Amount, Token, format_units
from workbench.results.charts.timeline_model import short

TOKENS: Mapping[str, Token] = {
    "asset_amount": YPS,
    "required_usdc": USDC,
    "max_eurc": EURC,
    "eurc_spent": EURC,
    "eurc_returned": EURC,
}
"""Columns of base units, with their token."""
BY_SYMBOL = {token.symbol: token for token in (USDC, EURC, YPS)}
LONG_HEX = re.compile(r"\b(?:0x)?[0-9a-fA-F]{32,}\b|0x[0-9a-fA-F]{16,}")
MOMENTS = ("at_ms", "start_ms", "end_ms", "planned_ms", "asked_ms", "ended_ms")
"""Columns of Unix milliseconds; all other columns in `_ms` are durations."""


def readable(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows as text: `110 USDC`, `0x6800…cb18`, `00:00:24.000`; missing is empty.

    A time of day is in UTC, and its column loses the `_ms`. A row's own `token` names the unit of
    `before`, `after` and `change`, and its own `unit` that of percentiles and total.
    """
    columns: dict[str, pd.Series[Any]] = {}
    for name in map(str, frame.columns):
        # As objects: integers that may be missing stay integers.
        columns[_heading(name)] = frame[name].astype(object).map(_or_empty(_writer(name)))
    for key, names in (("token", BALANCES), ("unit", FIGURES)):
        for name in names if key in frame else ():
            pairs = zip(frame[name].astype(object), frame[key], strict=True)
            columns[name] = pd.Series([_or_empty(_in(unit))(value) for value, unit in pairs],
                                      index=frame.index, dtype=object)  # fmt: skip
    return pd.DataFrame(columns, index=frame.index, dtype=object)


def _heading(name: str) -> str:
    return name.removesuffix("_ms") if name in MOMENTS else name


def _writer(name: str) -> Callable[[Any], str]:
    if name in TOKENS:
        token = TOKENS[name]
        return lambda units: amount(int(units), token)
    return _moment if name in MOMENTS else _plain


def _or_empty(write: Callable[[Any], str]) -> Callable[[Any], str]:
    def text(value: Any) -> str:
        missing = value is None or value is pd.NA or (isinstance(value, float) and value != value)
        return "" if missing else write(value)

    return text


def amount(units: int, token: Token) -> str:
    """Return the exact amount with thousands separators: `9,999,899.949962 EURC`."""
    number, symbol = str(Amount(abs(units), token)).split()
    whole, point, fraction = number.partition(".")
    return f"{'-' if units < 0 else ''}{int(whole):,}{point}{fraction} {symbol}"


def _moment(ms: Any) -> str:
    """Return the time of day in UTC, to the millisecond."""
    seconds, rest = divmod(int(ms), 1000)
    minutes, second = divmod(seconds % 86_400, 60)
    return f"{minutes // 60:02}:{minutes % 60:02}:{second:02}.{rest:03}"


def _plain(value: Any) -> str:
    if isinstance(value, str):
        return LONG_HEX.sub(lambda found: short(found[0]), value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.3f}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(inner)}" for key, inner in value.items())
    return f"{value:,}" if isinstance(value, int) else str(value)


def _in(unit: str) -> Callable[[Any], str]:
    """Return the formatter of figures of this unit."""
    if unit in BY_SYMBOL:
        return lambda units: amount(int(units), BY_SYMBOL[unit])
    return UNITS.get(unit, _plain)


UNITS: dict[str, Callable[[Any], str]] = {
    "ms": lambda ms: f"{int(ms) / 1000:,.3f} s",
    "pips": lambda pips: f"{int(pips) / 100:,.2f} bp",
    "wei": lambda wei: f"{format_units(int(wei), 18)} ETH",
    "gas": lambda gas: f"{int(gas):,} gas",
}
BALANCES = ("before", "after", "change")
FIGURES = ("p50", "p90", "p99", "total")
