"""Tables for readers: exact amounts with their units, short hashes, times of day.

For display alone. What is computed with comes from `Run`'s own frames.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from workbench.charts.picture import short
from workbench.core.money import EURC, USDC, YPS, Amount, Token

TOKENS: Mapping[str, Token] = {
    "asset_amount": YPS,
    "required_usdc": USDC,
    "max_eurc": EURC,
    "eurc_spent": EURC,
    "eurc_returned": EURC,
}
"""Columns of base units, and of which token."""
BY_SYMBOL = {token.symbol: token for token in (USDC, EURC, YPS)}
MOMENTS = ("at_ms", "start_ms", "end_ms")
"""Columns of Unix milliseconds; all others in `_ms` are durations."""


def readable(frame: pd.DataFrame) -> pd.DataFrame:
    """The same rows as text: `110 USDC`, `0x6800…cb18`, `00:00:24.000`; missing is empty.

    A time of day is in UTC, and its column loses the `_ms`; a row's own `token` names the unit of
    `before`, `after` and `change`.
    """
    columns: dict[str, pd.Series[Any]] = {}
    for name in map(str, frame.columns):
        # As objects: integers that may be missing stay integers.
        columns[_heading(name)] = frame[name].astype(object).map(_or_empty(_writer(name)))
    if "token" in frame:
        for name in ("before", "after", "change"):
            columns[name] = frame.apply(_of_row(name), axis=1)
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
    """The exact amount with thousands apart: `9,999,899.949962 EURC`."""
    number, symbol = str(Amount(abs(units), token)).split()
    whole, point, fraction = number.partition(".")
    return f"{'-' if units < 0 else ''}{int(whole):,}{point}{fraction} {symbol}"


def _moment(ms: Any) -> str:
    """The time of day in UTC, to the millisecond."""
    seconds, rest = divmod(int(ms), 1000)
    minutes, second = divmod(seconds % 86_400, 60)
    return f"{minutes // 60:02}:{minutes % 60:02}:{second:02}.{rest:03}"


def _plain(value: Any) -> str:
    if isinstance(value, str):
        return short(value) if value.startswith("0x") else value
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.3f}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(inner)}" for key, inner in value.items())
    return f"{value:,}" if isinstance(value, int) else str(value)


def _of_row(name: str) -> Callable[[Any], str]:
    def write(row: Any) -> str:
        token = BY_SYMBOL.get(row["token"])
        return amount(int(row[name]), token) if token else _plain(row[name])

    return write
