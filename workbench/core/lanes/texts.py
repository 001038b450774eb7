"""The texts beside a lane: why it was not executed, and its amount."""

from __future__ import annotations

from workbench.core.money import YPS, Amount, Token, format_units

ETH = Token("ETH", 18)

WHY: dict[str, str] = {
    "expired": "deadline passed",
    "deadline_passed": "deadline passed",
    "terms_mismatch": "signed other terms",
    "insufficient_funds": "buyer had no EURC left",
    "insufficient_allowance": "allowance too small",
    "insufficient_inventory": "seller had too little YPS",
    "insufficient_output": "pool had too little USDC",
    "over_budget": "price above the buyer's limit",
    "budget_too_small": "signed for too little EURC",
    "over_ceiling": "price above the buyer's limit",
    "outside_band": "rate outside the band",
    "stale_rate": "reference rate too old",
    "token_refused": "token refused the transfer",
    "bad_signature": "signature was wrong",
    "reverted": "contract refused the transfer",
    "transaction_timeout": "not mined in time",
    "signer_out_of_gas": "signer could not pay for gas",
    "peer_unreachable": "seller did not answer",
    "peer_refused": "seller refused the payment",
    "rpc_unreachable": "node did not answer",
    "out_of_time": "run ended before",
}
"""Text by error code, or by the reason of a refund. Other codes are shown as they are."""

NOT_ON_CHAIN = " before it was on chain"
"""Appended to a passed deadline if the settlement was rejected."""
ASKED_ONLY = "asked the price only"


def why(code: str) -> str:
    """Return the text for an error code or a refund reason; "" for none."""
    return WHY.get(code, code.replace("_", " "))


def short_amount(units: int, token: Token = YPS) -> str:
    """Return an amount rounded to a tenth of the token, such as `283.9 YPS`; exact below a
    tenth."""
    one = 10**token.decimals
    if units * 10 < one:
        return str(Amount(units, token))
    tenths = (units * 10 + one // 2) // one
    return f"{format(tenths // 10, ',')}.{tenths % 10} {token.symbol}"


def grouped(units: int, token: Token, digits: int = 2) -> str:
    """Return an amount with `digits` decimals, rounded down: `3,828.98 USDC`."""
    whole, _, fraction = format_units(units, token.decimals).partition(".")
    return f"{int(whole):,}.{fraction[:digits].ljust(digits, '0')} {token.symbol}"
