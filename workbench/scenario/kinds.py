"""The words of a scenario file: how each kind of value is written, read, and shown again.

A `Kind` is one way of writing: "2 s", "1 %", "5000000 EURC". Reading is exact, in integers; what
cannot be said exactly, or has no unit, is `Wrong`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from fractions import Fraction
from typing import Any

from workbench.core.errors import WorkbenchError
from workbench.core.money import Token, format_units, parse_decimal, parse_units
from workbench.core.pricing import Price, parse_rate
from workbench.scenario.tree import WORD, Scalar

NONE = "none"
"""How a file says that there is no such thing."""
_NUMBER = r"-?[0-9]{1,24}(?:\.[0-9]{1,9})?"
_QUANTITY = re.compile(rf"({_NUMBER})(?: ?([A-Za-z%]+(?: per [a-z]+)?))?", re.ASCII)
_INTEGER = re.compile(r"0|[1-9][0-9]{0,24}", re.ASCII)


class Wrong(Exception):
    """What is wrong with a word, as the second half of a sentence about it.

    `advised`: it says already what to write.
    """

    def __init__(self, told: str, advised: bool = False) -> None:
        super().__init__(told)
        self.advised = advised


@dataclass(frozen=True, slots=True)
class Kind:
    """One way of writing. `show` is the inverse of `read`; `schema` says it to an editor."""

    example: str
    read: Callable[[Scalar], Any]
    show: Callable[[Any], str | int | bool]
    schema: dict[str, Any] = field(default_factory=dict)


def closest(name: str, known: Sequence[str]) -> str:
    """`; did you mean "x"?`, or all that is known where nothing is near."""
    near = get_close_matches(name[:80], known, 1)
    return f'; did you mean "{near[0]}"?' if near else f"; known are {', '.join(known)}."


def _text(node: Scalar) -> str:
    """The word of a kind that is a text to YAML, quoted or not."""
    if node.tag == "null":
        raise Wrong("has no value")
    if node.tag == "bool" and node.text.lower() not in ("true", "false"):
        raise Wrong(f"means {str(node.text.lower() in ('yes', 'on', 'y')).lower()} to YAML")
    return node.text


def _bounds(value: Any, low: Any, high: Any, show: Callable[[Any], Any]) -> None:
    if not low <= value <= high:
        raise Wrong(f"is out of bounds, {show(low)} to {show(high)}")


# --- Numbers with a unit ---


@dataclass(frozen=True, slots=True)
class Measure:
    """Numbers with a unit. `units`: what one of each is in the base unit."""

    noun: str
    units: Mapping[str, Fraction]
    show: Callable[[int], str]

    def number(self, text: str) -> tuple[Fraction, str]:
        """The number, and its unit ("" where there is none)."""
        found = _QUANTITY.fullmatch(text)
        if not found:
            raise Wrong(f"is not {self.noun}")
        unit = found[2] or ""
        if unit and unit not in self.units:
            raise Wrong(f'has the unit "{unit}", and not one of {", ".join(self.units)}')
        return Fraction(found[1]), unit

    def value(self, number: Fraction, unit: str) -> int:
        """In base units, exactly."""
        if not unit:
            raise Wrong("has no unit")
        value = number * self.units[unit]
        if value.denominator != 1:
            raise Wrong(f"is finer than {self.show(1)}")
        return value.numerator

    def read(self, text: str) -> int:
        return self.value(*self.number(text))

    @property
    def pattern(self) -> str:
        units = "|".join(re.escape(unit) for unit in self.units)
        return rf"{_NUMBER} ?(?:{units})"


def _largest(units: Mapping[str, Fraction]) -> Callable[[int], str]:
    """Shows a value in the largest unit in which it is whole."""
    falling = sorted(units.items(), key=lambda item: -item[1])
    least = min(factor for factor in units.values() if factor >= 1)

    def show(value: int) -> str:
        for unit, factor in falling:
            if factor >= 1 and value % factor == 0 and (value or factor == least):
                return f"{value // int(factor)} {unit}"
        raise AssertionError("one unit is the base unit")

    return show


def _measure(noun: str, units: Mapping[str, int | Fraction]) -> Measure:
    exact = {unit: Fraction(factor) for unit, factor in units.items()}
    return Measure(noun, exact, _largest(exact))


def _share(noun: str, digits: int, per: str = "", bps: bool = True) -> Measure:
    """A percentage whose base unit is 10**-digits of a percent."""
    units = {f"%{per}": Fraction(10**digits)}
    if bps:
        units[f"bps{per}"] = Fraction(10**digits, 100)
    return Measure(noun, units, lambda value: f"{format_units(value, digits)} %{per}")


_SECONDS = {"s": 1, "min": 60, "h": 3_600, "d": 86_400}
SECONDS = _measure("a duration", {"ms": Fraction(1, 1_000), **_SECONDS})
MILLISECONDS = _measure(
    "a duration", {"ms": 1, **{unit: 1_000 * factor for unit, factor in _SECONDS.items()}}
)
BLOCKS = Measure(
    "a number of blocks",
    {"block": Fraction(1), "blocks": Fraction(1)},
    lambda value: f"{value} block{'' if value == 1 else 's'}",
)
CREDITS = Measure(
    "a number of credits",
    {"credit": Fraction(1), "credits": Fraction(1)},
    lambda value: f"{value} credit{'' if value == 1 else 's'}",
)
WEI = _measure("a fee", {"wei": 1, "gwei": 10**9})
GAS = _measure("an amount of gas", {"gas": 1, "Mgas": 10**6})
TIMES = _measure("a multiple", {"x": 1})
PERCENT = _share("a percentage", 0, bps=False)
BPS = _share("a percentage", 2)
PIPS = _share("a percentage", 4)
CHANCE = _share("a probability", 4, bps=False)
BPS_PER_DAY = _share("a percentage per day", 2, " per day")
BPS_PER_YEAR = _share("a percentage per year", 2, " per year")


def quantity(measure: Measure, low: int, high: int, example: str) -> Kind:
    """One number with its unit, from `low` to `high` base units."""

    def read(node: Scalar) -> int:
        value = measure.read(_text(node))
        _bounds(value, low, high, measure.show)
        return value

    schema = {"type": "string", "pattern": f"^{measure.pattern}$"}
    return Kind(example, read, measure.show, schema)


def whole_seconds_ms(low_s: int, high_s: int, example: str) -> Kind:
    """Milliseconds, but whole seconds: the EVM's time has no smaller unit."""
    inner = quantity(MILLISECONDS, 1_000 * low_s, 1_000 * high_s, example)

    def read(node: Scalar) -> int:
        value = int(inner.read(node))
        if value % 1_000:
            raise Wrong("is no whole number of seconds, which is all that a block's time can say")
        return value

    return Kind(example, read, inner.show, inner.schema)


def span(measure: Measure, low: int, high: int, example: str) -> Kind:
    """From one number to another: `1 to 3 blocks`, `20 ms to 2 s`, or just `2 blocks`."""

    def read(node: Scalar) -> tuple[int, int]:
        first, dash, second = _text(node).partition(" to ")
        start, unit = measure.number(first)
        end, end_unit = measure.number(second) if dash else (start, unit)
        values = measure.value(start, unit or end_unit), measure.value(end, end_unit)
        if values[0] > values[1]:
            raise Wrong("ends below its beginning")
        for value in values:
            _bounds(value, low, high, measure.show)
        return values

    def show(values: tuple[int, int]) -> str:
        first, second = map(measure.show, values)
        return first if first == second else f"{first} to {second}"

    one, units = measure.pattern, "|".join(re.escape(unit) for unit in measure.units)
    pattern = f"^(?:{_NUMBER}(?: ?(?:{units}))? to )?{one}$"
    return Kind(example, read, show, {"type": "string", "pattern": pattern})


# --- Money: quoted ---


def _quoted(node: Scalar) -> str:
    if node.tag in ("int", "float"):
        raise Wrong(
            "is not in quotes: YAML makes a number of it, which may lose digits or change base"
        )
    return _text(node)


def _told(read: Callable[[str], Any], text: str) -> Any:
    """What the core reads from a text; its errors as ours."""
    try:
        return read(text)
    except WorkbenchError as why:
        raise Wrong(f"is refused ({why.message.rstrip('.')})") from None


def amount(token: Token, high: int, example: str) -> Kind:
    """`"5000000 EURC"`: whole tokens. `"5000000"`: base units, as in the API."""

    def read(node: Scalar) -> int:
        text = _quoted(node)
        number, _, symbol = text.partition(" ")
        if not symbol:
            value = int(_told(parse_units, number))
        elif symbol != token.symbol:
            raise Wrong(f'is in "{symbol[:20]}", and {token.symbol} is asked for')
        else:
            value = int(_told(lambda text: parse_decimal(text, token.decimals), number))
        _bounds(value, 1, high, show)
        return value

    def show(value: int) -> str:
        return f"{format_units(value, token.decimals)} {token.symbol}"

    pattern = rf"^(?:[0-9]+|[0-9]+(?:\.[0-9]+)? {token.symbol})$"
    return Kind(example, read, show, {"type": "string", "pattern": pattern})


def both(kind: Kind) -> Kind:
    """One value for the least and the most at once."""

    def read(node: Scalar) -> tuple[Any, Any]:
        value = kind.read(node)
        return value, value

    return Kind(kind.example, read, lambda values: kind.show(values[0]), kind.schema)


_DECIMAL_SCHEMA = {"type": "string", "pattern": r"^[0-9]+(?:\.[0-9]+)?$"}


def rate(low_e8: int, high_e8: int, example: str) -> Kind:
    """`"1.10"`: USDC for one EURC."""

    def read(node: Scalar) -> int:
        value = int(_told(parse_rate, _quoted(node)))
        _bounds(value, low_e8, high_e8, show)
        return value

    def show(value: int) -> str:
        return format_units(value, 8)

    return Kind(example, read, show, _DECIMAL_SCHEMA)


def price(high: int, example: str) -> Kind:
    """`"1.10"`: USDC for one whole asset."""

    def show(value: Price) -> str:
        return format_units(value.usdc_per_asset, 6)

    def read(node: Scalar) -> Price:
        value: Price = _told(Price.parse, _quoted(node))
        if value.usdc_per_asset > high:
            raise Wrong(f"is above {format_units(high, 6)}")
        return value

    return Kind(example, read, show, _DECIMAL_SCHEMA)


# --- Plain words ---


def integer(low: int, high: int, example: str) -> Kind:
    """A count: digits, not in quotes."""

    def read(node: Scalar) -> int:
        text = _text(node)
        if not _INTEGER.fullmatch(text):
            raise Wrong("is not a whole number")
        if node.tag not in ("int", WORD):
            raise Wrong("is in quotes, and so a text")
        _bounds(int(text), low, high, str)
        return int(text)

    return Kind(example, read, int, {"type": "integer", "minimum": low, "maximum": high})


def _read_boolean(node: Scalar) -> bool:
    if node.text not in ("true", "false") or node.tag not in ("bool", WORD):
        raise Wrong("is neither true nor false")
    return node.text == "true"


BOOLEAN = Kind("true", _read_boolean, bool, {"type": "boolean"})


def choice(words: Sequence[str], example: str, empty: bool = False) -> Kind:
    """One of a few words; with `empty`, `none` stands for the empty text."""
    known = (*words, NONE) if empty else tuple(words)

    def read(node: Scalar) -> str:
        text = _text(node)
        if text not in known:
            raise Wrong(f"is not known{closest(text, known)}", advised=True)
        return "" if text == NONE else text

    def show(value: str) -> str:
        return value or NONE

    return Kind(example, read, show, {"enum": list(known)})


def text(most: int, example: str) -> Kind:
    """Words for people."""

    def read(node: Scalar) -> str:
        value = _text(node).strip()
        if node.tag not in ("str", WORD):
            raise Wrong("is no text to YAML; put it in quotes")
        if not value:
            raise Wrong("is empty")
        if len(value) > most:
            raise Wrong(f"is longer than {most} characters")
        return value

    return Kind(example, read, str, {"type": "string", "minLength": 1, "maxLength": most})
