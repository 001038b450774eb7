"""Money: exact in and out of text, rounded only by name, and never of two tokens at once."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.strategies import uint256
from workbench.core.errors import InvalidAmount
from workbench.core.money import (
    EURC,
    UINT256_MAX,
    USDC,
    YPS,
    Amount,
    Token,
    format_units,
    mul_div_down,
    mul_div_up,
    parse_decimal,
    parse_units,
)

NOT_DECIMAL = (
    "", ".", "1.", ".5", "+1", "-1", "-0", "1e18", "1E6", " 1", "1 ", "1\n", "1_000", "1,5",
    "0x10", "NaN", "inf", "1.2.3", "１", "٣", "1.٣", "१", "9" * 41, "0." + "0" * 41,
)  # fmt: skip
NOT_UNITS = {
    "": "empty",
    "0": "is 0",
    "000": "is 0",
    "-1": "not a whole number",
    "+1": "not a whole number",
    "1.0": "not a whole number",
    "1e18": "not a whole number",
    " 1": "not a whole number",
    "1\n": "not a whole number",
    "1_000": "not a whole number",
    "0x10": "not a whole number",
    "１００": "not a whole number",
    "٣": "not a whole number",
    "nan": "not a whole number",
    "9" * 79: "not a whole number",
    "9" * 78: "larger than an EVM word",
    str(UINT256_MAX + 1): "larger than an EVM word",
}


@given(st.integers(), st.integers(), st.integers(1, UINT256_MAX))
@example(1, 1, 3)
@example(-1, 1, 3)
@example(UINT256_MAX, UINT256_MAX, UINT256_MAX - 1)
def test_rounding_up_is_the_ceiling_and_down_is_the_floor(a: int, b: int, divisor: int) -> None:
    """Fractions, which are exact, say the same."""
    exact = Fraction(a * b, divisor)
    assert math.ceil(exact) == mul_div_up(a, b, divisor)
    assert math.floor(exact) == mul_div_down(a, b, divisor)


@given(st.integers(0, 10**40 - 1), st.integers(0, 40))
def test_units_survive_being_written_and_read(units: int, decimals: int) -> None:
    """`parse_decimal` undoes `format_units`, whatever the token's decimals."""
    assert units == parse_decimal(format_units(units, decimals), decimals)


@given(st.integers(-UINT256_MAX, UINT256_MAX), st.integers(0, 40))
@example(1_100_000, 6)
@example(-1, 18)
@example(100, 0)
def test_written_units_are_exact_and_short(units: int, decimals: int) -> None:
    """The text means exactly `units`, and has neither trailing zeros nor a bare point."""
    text = format_units(units, decimals)
    assert Fraction(units, 10**decimals) == Fraction(text)
    assert text == text.rstrip(".")
    assert "." not in text or not text.endswith("0")


@given(st.from_regex(r"[0-9]{1,40}(\.[0-9]{1,40})?", fullmatch=True), st.integers(0, 30))
@example("1.10", 6)
@example("1.0000000", 6)
@example("1.0000001", 6)
@example("0.0", 0)
def test_a_decimal_is_read_exactly_or_refused(text: str, decimals: int) -> None:
    """What the token cannot hold is refused, never rounded."""
    if not text.isascii():
        with pytest.raises(InvalidAmount):
            parse_decimal(text, decimals)
        return
    exact = Fraction(text) * 10**decimals
    if exact.denominator == 1:
        assert exact == parse_decimal(text, decimals)
    else:
        with pytest.raises(InvalidAmount, match=f"more than {decimals} digits"):
            parse_decimal(text, decimals)


@pytest.mark.parametrize("text", NOT_DECIMAL, ids=repr)
def test_what_is_not_plain_decimal_digits_is_refused(text: str) -> None:
    """Signs, exponents, spaces and the digits of other alphabets among it."""
    with pytest.raises(InvalidAmount, match="is not a decimal number"):
        parse_decimal(text, 18)


@given(uint256.filter(bool))
@example(1)
@example(UINT256_MAX)
def test_base_units_are_read_exactly(units: int) -> None:
    """Every amount an EVM word holds, but 0."""
    assert units == parse_units(str(units))


@pytest.mark.parametrize(("text", "why"), NOT_UNITS.items(), ids=map(repr, NOT_UNITS))
def test_what_is_not_base_units_is_refused_with_the_reason(text: str, why: str) -> None:
    """Each with what is wrong with it, and with what to do."""
    with pytest.raises(InvalidAmount, match=why) as refused:
        parse_units(text)
    assert refused.value.hint


@given(st.text())
def test_any_text_is_an_amount_or_a_named_error(text: str) -> None:
    """Nothing else leaves the two parsers, and what they take are ASCII digits."""
    for read in (parse_units, lambda text: parse_decimal(text, 6)):
        try:
            value = read(text)
        except InvalidAmount as why:
            assert len(why.message) < 700
        else:
            assert value >= 0
            assert text.isascii()
            assert text.replace(".", "", 1).isdigit()


@given(st.integers(), st.integers())
def test_like_adds_to_like(a: int, b: int) -> None:
    """Sums and differences of one token are those of its units."""
    assert Amount(a + b, EURC) == Amount(a, EURC) + Amount(b, EURC)
    assert Amount(a - b, EURC) == Amount(a, EURC) - Amount(b, EURC)


@pytest.mark.parametrize("other", [USDC, YPS, Token("EURC", 18)], ids=str)
def test_unlike_does_not_add_up(other: Token) -> None:
    """Neither another symbol nor the same symbol with other decimals."""
    with pytest.raises(TypeError, match="do not add up"):
        Amount(1, EURC) + Amount(1, other)
    with pytest.raises(TypeError, match="do not add up"):
        Amount(1, EURC) - Amount(1, other)


@pytest.mark.parametrize("units", [1.0, True, "1", None, Fraction(1)], ids=repr)
def test_an_amount_is_an_integer(units: object) -> None:
    """Floats and booleans are refused where they would enter."""
    with pytest.raises(TypeError, match="an integer of base units"):
        Amount(units, EURC)  # type: ignore[arg-type]


def test_an_amount_is_written_with_its_token() -> None:
    """As people write it."""
    assert "110 USDC" == str(Amount(110_000_000, USDC))
    assert "-0.000000000000000001 YPS" == str(Amount(-1, YPS))
