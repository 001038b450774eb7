"""Money is integers in base units. Rounding is named, and floats are refused.

`Token` and `Amount` carry a unit, so that EURC cannot be added to USDC by mistake.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from workbench.core.errors import InvalidAmount

UINT256_MAX = 2**256 - 1
_DECIMAL = re.compile(r"([0-9]{1,40})(?:\.([0-9]{1,40}))?", re.ASCII)
_INTEGER = re.compile(r"[0-9]{1,78}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Token:
    """An ERC-20 token: symbol and number of decimals."""

    symbol: str
    decimals: int


USDC = Token("USDC", 6)
EURC = Token("EURC", 6)
YPS = Token("YPS", 18)


@dataclass(frozen=True, slots=True, order=False)
class Amount:
    """`units` base units of `token`. Only amounts of one token can be added."""

    units: int
    token: Token

    def __post_init__(self) -> None:
        if type(self.units) is not int:
            raise TypeError(f"an amount is an integer of base units, not {self.units!r}")

    def _same(self, other: Amount) -> Amount:
        if other.token != self.token:
            raise TypeError(f"{self.token.symbol} and {other.token.symbol} do not add up")
        return other

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.units + self._same(other).units, self.token)

    def __sub__(self, other: Amount) -> Amount:
        return Amount(self.units - self._same(other).units, self.token)

    def __str__(self) -> str:
        return f"{format_units(self.units, self.token.decimals)} {self.token.symbol}"


def mul_div_up(a: int, b: int, divisor: int) -> int:
    """Return ceil(a × b / divisor), exactly."""
    return -(-a * b // divisor)


def mul_div_down(a: int, b: int, divisor: int) -> int:
    """Return floor(a × b / divisor), exactly."""
    return a * b // divisor


def parse_decimal(text: str, decimals: int) -> int:
    """Return base units: `"1.10"` with 6 decimals is 1_100_000.

    Raises InvalidAmount for anything but plain decimal digits, and for more digits than the token
    has.
    """
    match = _DECIMAL.fullmatch(text)
    if not match:
        raise InvalidAmount(f"{text[:80]!r} is not a decimal number like 1.10")
    whole, fraction = match[1], (match[2] or "")
    if len(fraction) > decimals and fraction[decimals:].strip("0"):
        raise InvalidAmount(f"{text[:80]} has more than {decimals} digits after the point")
    return int(whole + fraction[:decimals].ljust(decimals, "0"))


def format_units(units: int, decimals: int) -> str:
    """Return the exact decimal text of `units`, without trailing zeros: 1_100_000 at 6 is `1.1`."""
    sign, digits = ("-" if units < 0 else ""), str(abs(units)).rjust(decimals + 1, "0")
    whole, fraction = (digits[:-decimals], digits[-decimals:]) if decimals else (digits, "")
    fraction = fraction.rstrip("0")
    return f"{sign}{whole}.{fraction}" if fraction else f"{sign}{whole}"


def parse_units(text: str) -> int:
    """Return base units from untrusted text: ASCII digits only, 1 to 2^256 - 1.

    Raises InvalidAmount with the problem: empty, sign, fraction, exponent, zero, too large.
    """
    if not text:
        raise InvalidAmount(
            "amount is empty.", hint="Give the amount in base units, such as 100000000000000000000."
        )
    if not _INTEGER.fullmatch(text):
        raise InvalidAmount(
            f"amount {text[:80]!r} is not a whole number of base units.",
            hint="Digits only: no sign, point, exponent or spaces, at most 78 digits.",
        )
    value = int(text)
    if value == 0:
        raise InvalidAmount("amount is 0.", hint="Ask for at least 1 base unit.")
    if value > UINT256_MAX:
        raise InvalidAmount("amount is larger than an EVM word holds.", hint="At most 2^256 - 1.")
    return value
