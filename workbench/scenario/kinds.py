"""The words of a scenario file: how each kind of value is written, read, and shown again.

A `ValueKind` is one way of writing: "2 s", "1 %", "5000000 EURC". Reading is exact, in integers. A
value that is not exact, or has no unit, is `InvalidValue`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any

from workbench.core.errors import WorkbenchError
from workbench.core.money import Token, format_units, parse_decimal, parse_units
from workbench.core.pricing import Price, parse_rate
from workbench.scenario.measures import MILLISECONDS, NUMBER, InvalidValue, Measure
from workbench.scenario.tree import WORD, TreeScalar

NONE = "none"
"""How a file says that there is no such thing."""
_INTEGER = re.compile(r"0|[1-9][0-9]{0,24}", re.ASCII)


@dataclass(frozen=True, slots=True)
class ValueKind:
    """One way of writing. `show` is the inverse of `read`; `schema` says it to an editor.

    `type`: one word for a form ("duration", "amount"). `low` and `high`: the least and the largest
    value, as `read` returns them; None where a kind has none. `choices`: all its words, where they
    are few. `measure`: of numbers with a unit that can be chosen; `unit`: the fixed unit of others.
    """

    example: str
    read: Callable[[TreeScalar], Any]
    show: Callable[[Any], str | int | bool]
    schema: dict[str, Any] = field(default_factory=dict)
    type: str = "text"
    low: Any = None
    high: Any = None
    choices: tuple[str, ...] = ()
    measure: Measure | None = None
    unit: str = ""


def closest(name: str, known: Sequence[str]) -> str:
    """`; did you mean "x"?`, or all that is known where nothing is near."""
    near = get_close_matches(name[:80], known, 1)
    return f'; did you mean "{near[0]}"?' if near else f"; known are {', '.join(known)}."


def _text(node: TreeScalar) -> str:
    """The word of a kind that is a text to YAML, quoted or not."""
    if node.tag == "null":
        raise InvalidValue("has no value")
    if node.tag == "bool" and node.text.lower() not in ("true", "false"):
        raise InvalidValue(f"means {str(node.text.lower() in ('yes', 'on', 'y')).lower()} to YAML")
    return node.text


def _bounds(value: Any, low: Any, high: Any, show: Callable[[Any], Any]) -> None:
    if not low <= value <= high:
        raise InvalidValue(f"is out of bounds, {show(low)} to {show(high)}")


# --- Numbers with a unit ---


def quantity(measure: Measure, low: int, high: int, example: str) -> ValueKind:
    """One number with its unit, from `low` to `high` base units."""

    def read(node: TreeScalar) -> int:
        value = measure.read(_text(node))
        _bounds(value, low, high, measure.show)
        return value

    schema = {"type": "string", "pattern": f"^{measure.pattern}$"}
    return ValueKind(example, read, measure.show, schema, measure.type, low, high, measure=measure)


def whole_seconds_ms(low_s: int, high_s: int, example: str) -> ValueKind:
    """Milliseconds, but whole seconds: the EVM's time has no smaller unit."""
    inner = quantity(MILLISECONDS, 1_000 * low_s, 1_000 * high_s, example)

    def read(node: TreeScalar) -> int:
        value = int(inner.read(node))
        if value % 1_000:
            raise InvalidValue(
                "is no whole number of seconds, which is all that a block's time can say"
            )
        return value

    return replace(inner, read=read)


def span(measure: Measure, low: int, high: int, example: str) -> ValueKind:
    """From one number to another: `1 to 3 blocks`, `20 ms to 2 s`, or just `2 blocks`."""

    def read(node: TreeScalar) -> tuple[int, int]:
        first, dash, second = _text(node).partition(" to ")
        start, unit = measure.number(first)
        end, end_unit = measure.number(second) if dash else (start, unit)
        values = measure.value(start, unit or end_unit), measure.value(end, end_unit)
        if values[0] > values[1]:
            raise InvalidValue("ends below its beginning")
        for value in values:
            _bounds(value, low, high, measure.show)
        return values

    def show(values: tuple[int, int]) -> str:
        first, second = map(measure.show, values)
        return first if first == second else f"{first} to {second}"

    one, units = measure.pattern, "|".join(re.escape(unit) for unit in measure.units)
    pattern = f"^(?:{NUMBER}(?: ?(?:{units}))? to )?{one}$"
    schema = {"type": "string", "pattern": pattern}
    return ValueKind(
        example, read, show, schema, "range", (low, low), (high, high), measure=measure
    )


# --- Money: quoted ---


def _quoted(node: TreeScalar) -> str:
    if node.tag in ("int", "float"):
        raise InvalidValue(
            "is not in quotes: YAML makes a number of it, which may lose digits or change base"
        )
    return _text(node)


def _read_value(read: Callable[[str], Any], text: str) -> Any:
    """What the core reads from a text; its errors as ours."""
    try:
        return read(text)
    except WorkbenchError as why:
        raise InvalidValue(f"is refused ({why.message.rstrip('.')})") from None


def amount(token: Token, high: int, example: str) -> ValueKind:
    """`"5000000 EURC"`: whole tokens. `"5000000"`: base units, as in the API."""

    def read(node: TreeScalar) -> int:
        text = _quoted(node)
        number, _, symbol = text.partition(" ")
        if not symbol:
            value = int(_read_value(parse_units, number))
        elif symbol != token.symbol:
            raise InvalidValue(f'is in "{symbol[:20]}", and {token.symbol} is asked for')
        else:
            value = int(_read_value(lambda text: parse_decimal(text, token.decimals), number))
        _bounds(value, 1, high, show)
        return value

    def show(value: int) -> str:
        return f"{format_units(value, token.decimals)} {token.symbol}"

    pattern = rf"^(?:[0-9]+|[0-9]+(?:\.[0-9]+)? {token.symbol})$"
    schema = {"type": "string", "pattern": pattern}
    return ValueKind(example, read, show, schema, "amount", 1, high, unit=token.symbol)


def both(kind: ValueKind) -> ValueKind:
    """One value for the least and the most at once."""

    def read(node: TreeScalar) -> tuple[Any, Any]:
        value = kind.read(node)
        return value, value

    low, high = (kind.low, kind.low), (kind.high, kind.high)
    return replace(kind, read=read, show=lambda values: kind.show(values[0]), low=low, high=high)


_DECIMAL_SCHEMA = {"type": "string", "pattern": r"^[0-9]+(?:\.[0-9]+)?$"}


def rate(low_e8: int, high_e8: int, example: str) -> ValueKind:
    """`"1.10"`: USDC for one EURC."""

    def read(node: TreeScalar) -> int:
        value = int(_read_value(parse_rate, _quoted(node)))
        _bounds(value, low_e8, high_e8, show)
        return value

    def show(value: int) -> str:
        return format_units(value, 8)

    return ValueKind(example, read, show, _DECIMAL_SCHEMA, "rate", low_e8, high_e8)


def price(high: int, example: str) -> ValueKind:
    """`"1.10"`: USDC for one whole asset."""

    def show(value: Price) -> str:
        return format_units(value.usdc_per_asset, 6)

    def read(node: TreeScalar) -> Price:
        value: Price = _read_value(Price.parse, _quoted(node))
        if value.usdc_per_asset > high:
            raise InvalidValue(f"is above {format_units(high, 6)}")
        return value

    return ValueKind(example, read, show, _DECIMAL_SCHEMA, "price", Price(1), Price(high))


# --- Plain words ---


def integer(low: int, high: int, example: str) -> ValueKind:
    """A count: digits, not in quotes."""

    def read(node: TreeScalar) -> int:
        text = _text(node)
        if not _INTEGER.fullmatch(text):
            raise InvalidValue("is not a whole number")
        if node.tag not in ("int", WORD):
            raise InvalidValue("is in quotes, and so a text")
        _bounds(int(text), low, high, str)
        return int(text)

    schema = {"type": "integer", "minimum": low, "maximum": high}
    return ValueKind(example, read, int, schema, "integer", low, high)


def _read_boolean(node: TreeScalar) -> bool:
    if node.text not in ("true", "false") or node.tag not in ("bool", WORD):
        raise InvalidValue("is neither true nor false")
    return node.text == "true"


BOOLEAN = ValueKind("true", _read_boolean, bool, {"type": "boolean"}, "boolean")


def choice(words: Sequence[str], example: str, empty: bool = False) -> ValueKind:
    """One of a few words; with `empty`, `none` stands for the empty text."""
    known = (*words, NONE) if empty else tuple(words)

    def read(node: TreeScalar) -> str:
        text = _text(node)
        if text not in known:
            raise InvalidValue(f"is not known{closest(text, known)}", advised=True)
        return "" if text == NONE else text

    def show(value: str) -> str:
        return value or NONE

    return ValueKind(example, read, show, {"enum": list(known)}, "choice", choices=known)


def text(most: int, example: str) -> ValueKind:
    """Words for people."""

    def read(node: TreeScalar) -> str:
        value = _text(node).strip()
        if node.tag not in ("str", WORD):
            raise InvalidValue("is no text to YAML; put it in quotes")
        if not value:
            raise InvalidValue("is empty")
        if len(value) > most:
            raise InvalidValue(f"is longer than {most} characters")
        return value

    return ValueKind(example, read, str, {"type": "string", "minLength": 1, "maxLength": most})
