"""Numbers with a unit: "2 s", "1 %", "3 blocks". Exact, in integers of a base unit."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction

from workbench.core.money import format_units

_DIGITS = 9
"""Most digits after the point."""
NUMBER = rf"-?[0-9]{{1,24}}(?:\.[0-9]{{1,{_DIGITS}}})?"
_QUANTITY = re.compile(rf"({NUMBER})(?: ?([A-Za-z%]+(?: per [a-z]+)?))?", re.ASCII)


class InvalidValue(Exception):
    """The problem of a value, as the second half of a sentence.

    `advised`: True if it already says what to write.
    """

    def __init__(self, told: str, advised: bool = False) -> None:
        super().__init__(told)
        self.advised = advised


@dataclass(frozen=True, slots=True)
class Measure:
    """Numbers with a unit. `units`: value of one of each in the base unit. `type`: see
    `ValueKind`."""

    noun: str
    units: Mapping[str, Fraction]
    show: Callable[[int], str]
    type: str

    def number(self, text: str) -> tuple[Fraction, str]:
        """Return the number and its unit ("" without one)."""
        found = _QUANTITY.fullmatch(text)
        if not found:
            raise InvalidValue(f"is not {self.noun}")
        unit = found[2] or ""
        if unit and unit not in self.units:
            raise InvalidValue(f'has the unit "{unit}", and not one of {", ".join(self.units)}')
        return Fraction(found[1]), unit

    def value(self, number: Fraction, unit: str) -> int:
        """Return the value in base units, exactly."""
        if not unit:
            raise InvalidValue("has no unit")
        value = number * self.units[unit]
        if value.denominator != 1:
            raise InvalidValue(f"is finer than {self.show(1)}")
        return value.numerator

    def read(self, text: str) -> int:
        return self.value(*self.number(text))

    def fits(self, value: int, unit: str) -> bool:
        """Return True if `value` in `unit` has few enough digits to be written."""
        return self._scaled(value, unit).denominator == 1

    def write(self, value: int, unit: str) -> str:
        """Return the text of `value` in `unit`, in which it must fit."""
        scaled = self._scaled(value, unit)
        assert scaled.denominator == 1, f"{value} does not fit in {unit}"
        # The singular of "blocks" and "credits".
        one = unit[:-1] if value == self.units[unit] and unit[:-1] in self.units else unit
        return f"{format_units(scaled.numerator, _DIGITS)} {one}"

    def _scaled(self, value: int, unit: str) -> Fraction:
        return Fraction(value * 10**_DIGITS) / self.units[unit]

    def best_unit(self, values: Iterable[int], bounds: Iterable[int]) -> str:
        """Return the largest unit in which all `values` are whole and all `bounds` fit.

        Zeros do not count; if there is nothing else, the base unit. Percentages are always in
        percent.
        """
        first = next(iter(self.units))
        if first.startswith("%"):
            return first
        told, limits = [value for value in values if value], tuple(bounds)
        # Of "block" and "blocks" the latter.
        by_factor = {factor: unit for unit, factor in self.units.items() if factor >= 1}
        base, *larger = (by_factor[factor] for factor in sorted(by_factor))
        for unit in reversed(larger if told else []):
            whole = all(value % self.units[unit] == 0 for value in told)
            if whole and all(self.fits(bound, unit) for bound in limits):
                return unit
        return base

    @property
    def pattern(self) -> str:
        units = "|".join(re.escape(unit) for unit in self.units)
        return rf"{NUMBER} ?(?:{units})"


def _largest(units: Mapping[str, Fraction]) -> Callable[[int], str]:
    """Return a formatter in the largest unit in which a value is whole."""
    falling = sorted(units.items(), key=lambda item: -item[1])
    least = min(factor for factor in units.values() if factor >= 1)

    def show(value: int) -> str:
        for unit, factor in falling:
            if factor >= 1 and value % factor == 0 and (value or factor == least):
                return f"{value // int(factor)} {unit}"
        raise AssertionError("one unit is the base unit")

    return show


def _measure(noun: str, units: Mapping[str, int | Fraction], type: str) -> Measure:
    exact = {unit: Fraction(factor) for unit, factor in units.items()}
    return Measure(noun, exact, _largest(exact), type)


def _counted(one: str) -> Measure:
    many = f"{one}s"
    units = {one: Fraction(1), many: Fraction(1)}
    return Measure(
        f"a number of {many}",
        units,
        lambda value: f"{value} {one if value == 1 else many}",
        many,
    )


def _share(
    noun: str, digits: int, per: str = "", bps: bool = True, type: str = "percent"
) -> Measure:
    """Return a percentage whose base unit is 10**-digits of a percent."""
    units = {f"%{per}": Fraction(10**digits)}
    if bps:
        units[f"bps{per}"] = Fraction(10**digits, 100)
    return Measure(noun, units, lambda value: f"{format_units(value, digits)} %{per}", type)


_SECONDS = {"s": 1, "min": 60, "h": 3_600, "d": 86_400}
SECONDS = _measure("a duration", {"ms": Fraction(1, 1_000), **_SECONDS}, "duration")
MILLISECONDS = _measure(
    "a duration",
    {"ms": 1, **{unit: 1_000 * factor for unit, factor in _SECONDS.items()}},
    "duration",
)
BLOCKS = _counted("block")
CREDITS = _counted("credit")
WEI = _measure("a fee", {"wei": 1, "gwei": 10**9}, "fee")
GAS = _measure("an amount of gas", {"gas": 1, "Mgas": 10**6}, "gas")
TIMES = _measure("a multiple", {"x": 1}, "multiple")
PERCENT = _share("a percentage", 0, bps=False)
BPS = _share("a percentage", 2)
PIPS = _share("a percentage", 4)
CHANCE = _share("a probability", 4, bps=False, type="probability")
BPS_PER_DAY = _share("a percentage per day", 2, " per day")
BPS_PER_YEAR = _share("a percentage per year", 2, " per year")
