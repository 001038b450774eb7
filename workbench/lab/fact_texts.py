"""Facts as lines of text, with amounts in tokens, for the details of a lane."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from workbench.core import facts as ev
from workbench.core.lanes.segments import ALL_STAGES, STAGE_OF
from workbench.core.lanes.texts import ETH, grouped, why
from workbench.core.money import EURC, USDC, YPS, Token
from workbench.scenario import FAULT_SITES

ACTS = {
    "create": "create the settlement",
    "fund": "fund it",
    "swap": "swap EURC for USDC",
    "execute": "execute it",
    "refund": "refund it",
    "pay": "pay it",
}


def _amount(units: int, token: Token) -> str:
    """Return an amount rounded down to six decimals."""
    number, symbol = grouped(units, token, 6).split()
    return f"{number.rstrip('0').rstrip('.')} {symbol}"


def _act(fact: Any) -> str:
    return ACTS.get(fact.act, str(fact.act))


def _failed(fact: ev.TransactionFailed) -> str:
    how = "was mined and reverted" if fact.tx else "was refused before it was sent"
    return f"The transaction to {_act(fact)} {how}: {why(fact.code)}"


def _fault(fact: ev.FaultInjected) -> str:
    site = FAULT_SITES.get(fact.site)
    size = f", {fact.parameter} {site.unit}" if site and site.unit else ""
    does = site.does if site and site.does != "the same" else "a service ends, and is restarted"
    return f"Fault {fact.site}: {does}{size} ({fact.target})"


def _payout(fact: ev.PayoutRequested) -> str:
    worth = f", worth {_amount(fact.units, ETH)}" if fact.asset.endswith("/native") else ""
    return f"{fact.user_id} asked for a payout of {fact.credits} credits{worth}"


_WORDS: dict[type[ev.Event], Callable[[Any], str]] = {
    ev.PaymentRequested: lambda f: (
        f"HTTP 402: {_amount(f.asset_amount, YPS)} for {_amount(f.required_usdc, USDC)}"
    ),
    ev.PaymentAuthorized: lambda f: (
        f"The buyer signed: {_amount(f.asset_amount, YPS)} for {_amount(f.required_usdc, USDC)}, "
        f"at most {_amount(f.max_eurc, EURC)}"
    ),
    ev.PaymentRejected: lambda f: f"The seller rejected the payment: {why(f.code)}",
    ev.AssetDelivered: lambda f: f"The seller delivered {_amount(f.asset_amount, YPS)}",
    ev.SettlementCreated: lambda f: (
        f"The vault created the settlement: {_amount(f.asset_amount, YPS)} for "
        f"{_amount(f.required_usdc, USDC)}"
    ),
    ev.SettlementFunded: lambda f: (
        f"The vault took {_amount(f.eurc_amount, EURC)} and {_amount(f.asset_amount, YPS)}"
    ),
    ev.SettlementSwapped: lambda f: (
        f"The vault swapped {_amount(f.eurc_spent, EURC)} for {_amount(f.usdc_received, USDC)}"
    ),
    ev.SettlementExecuted: lambda f: (
        f"The vault paid {_amount(f.usdc_to_seller, USDC)} to the seller and "
        f"{_amount(f.asset_to_buyer, YPS)} and {_amount(f.eurc_returned, EURC)} to the buyer"
    ),
    ev.SettlementRefunded: lambda f: (
        f"The vault gave {_amount(f.eurc_returned, EURC)} back to the buyer and "
        f"{_amount(f.asset_returned, YPS)} to the seller: {why(f.reason)}"
    ),
    ev.PaymentParked: lambda f: "A token refused a transfer; the amount waits in the vault",
    ev.PoolSwapChecked: lambda f: (
        f"The pool took {_amount(f.eurc_in, EURC)} for {_amount(f.usdc_out, USDC)}"
    ),
    ev.FinalityReached: lambda f: f"The swap in block {f.swap_block} has its confirmations",
    ev.TransactionSigned: lambda f: f"The {f.source} signed the transaction to {_act(f)}",
    ev.TransactionSent: lambda f: f"The {f.source} sent the transaction to {_act(f)}",
    ev.TransactionMined: lambda f: (
        f"The transaction to {_act(f)} was mined{'' if f.ok else ', and reverted'}: "
        f"{f.gas_used:,} gas"
    ),
    ev.TransactionReplaced: lambda f: f"The {f.source} replaced the transaction to {_act(f)}",
    ev.TransactionFinalized: lambda f: f"The transaction to {_act(f)} is final",
    ev.TransactionFailed: _failed,
    ev.FaultInjected: _fault,
    ev.BuyerPlanned: lambda f: f"{f.subject} is ordered: {f.kind}, {_amount(f.units, YPS)}",
    ev.BuyerServed: lambda f: (
        f"{f.subject} is done: {f.status}" if f.status else f"{f.subject} asked the price only"
    ),
    ev.BuyerGaveUp: lambda f: f"{f.subject} gave up, {why(f.code)}: {f.message}",
    ev.InvariantBroken: lambda f: f"Rule {f.invariant} is broken: {f.message}",
    ev.PayoutRequested: _payout,
    ev.PayoutHeld: lambda f: "The credits are set aside",
    ev.PayoutApproved: lambda f: f"The payout is approved by {f.by}",
    ev.PayoutBatched: lambda f: f"It is place {f.place} of a transaction with others",
    ev.PayoutSent: lambda f: f"The payout has nonce {f.nonce} and signed bytes",
    ev.PayoutPaid: lambda f: "The payout is paid, in a final block",
    ev.PayoutRefunded: lambda f: f"Nothing was paid, the credits are back: {why(f.reason)}",
    ev.PayoutCancelled: lambda f: f"The payout is cancelled, the credits are back: {why(f.reason)}",
    ev.PayoutMismatched: lambda f: f"Something else was moved than what was owed: {f.reason}",
    ev.PayoutResolved: lambda f: f"{f.by} decides that it counts as {f.outcome}: {f.why}",
    ev.SignerReleased: lambda f: f"{f.by} lets the signer go on",
    ev.PayoutOrphaned: lambda f: f"Block {f.number} of its transaction left the chain",
    ev.PayoutAnswered: lambda f: f"The request of {f.user_id} was answered with HTTP {f.status}",
}


def words(fact: ev.Event) -> str:
    """Return one line of text. A type of fact without a text is shown by its name."""
    tell = _WORDS.get(type(fact))
    return tell(fact) if tell else fact.type


def fact_line(fact: ev.Event, struck: bool, origin_ms: int) -> dict[str, Any]:
    """Return one line of the message `facts`. `struck`: its block was removed."""
    stage = STAGE_OF.get(type(fact))
    tx = fact.block.tx if fact.block else str(getattr(fact, "tx", ""))
    where = [f"block {fact.block.number}"] if fact.block else []
    where += [f"{tx[:6]}…{tx[-4:]}"] if tx else []
    return {
        "at_ms": fact.at_ms - origin_ms,
        "text": words(fact),
        "source": fact.source,
        "right": ", ".join(where),
        "struck": struck,
        "colour": "" if stage is None else ALL_STAGES[stage].colour,
    }
