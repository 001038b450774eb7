"""The words beside a lane: why it was not executed, and how much it is about."""

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
"""By code of an error, or by the reason of a refund. All others are told by their own words."""

NOT_ON_CHAIN = " before it was on chain"
"""After a deadline that passed, where the settlement was rejected."""
ASKED_ONLY = "asked the price only"


def why(code: str) -> str:
    """The plain words for an error's code or a refund's reason; "" for none."""
    return WHY.get(code, code.replace("_", " "))


def short_amount(units: int, token: Token = YPS) -> str:
    """An amount to a tenth of the token, half up, such as `283.9 YPS`; exactly below a tenth."""
    one = 10**token.decimals
    if units * 10 < one:
        return str(Amount(units, token))
    tenths = (units * 10 + one // 2) // one
    return f"{format(tenths // 10, ',')}.{tenths % 10} {token.symbol}"


def grouped(units: int, token: Token, digits: int = 2) -> str:
    """An amount to `digits` digits after the point, rounded down: `3,828.98 USDC`."""
    whole, _, fraction = format_units(units, token.decimals).partition(".")
    return f"{int(whole):,}.{fraction[:digits].ljust(digits, '0')} {token.symbol}"
