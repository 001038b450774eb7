"""Accounts of the ledger by name, and the transfers of a payout and of the wallet.

Credits: `issuance` creates them, users hold them, `redeemed` receives those that were paid out. For
each asset on the chain: `funding` is its source, `treasury` is the wallet, and `paid`, `gas` and
`suspense` are where it went.
"""

from __future__ import annotations

from workbench.core.ledger import Account, LedgerTransfer, TransferKind, resolved
from workbench.core.payout import Payout, PayoutOutcome, PayoutVerdict, request_digest
from workbench.core.ports import Ledger, Payments

CREDIT = "credit"
ISSUANCE, REDEEMED = "issuance", "redeemed"


def user_account(user_id: str) -> str:
    return f"user:{user_id}"


def treasury(address: str, asset: str) -> str:
    return f"treasury:{address}:{asset}"


async def open_user(unit: Ledger, user_id: str) -> Account:
    """Return the account of a user, created if it is new. It can never be overdrawn."""
    name = user_account(user_id)
    account = await unit.account(name)
    if account is None:
        await _open_credits(unit)  # The first request may come before `open_house`.
        account = Account(name, CREDIT)
        await unit.open_account(account)
    return account


async def open_house(unit: Ledger, payments: Payments) -> None:
    """Create the accounts of the service itself."""
    await _open_credits(unit)
    for asset in {payments.asset, payments.native}:
        for name in ("funding", "paid", "gas", "suspense"):
            await unit.open_account(Account(f"{name}:{asset}", asset, no_overdraft=False))
        wallet = treasury(payments.address, asset)
        await unit.open_account(Account(wallet, asset, no_overdraft=False))


async def _open_credits(unit: Ledger) -> None:
    for name in (ISSUANCE, REDEEMED):
        await unit.open_account(Account(name, CREDIT, no_overdraft=False))


async def hold(unit: Ledger, payout: Payout) -> None:
    """Hold the credits of a payout. Raises InsufficientCredits."""
    await unit.transfer(_held(payout))


def ending(
    payments: Payments, payout: Payout, verdict: PayoutVerdict, at_ms: int
) -> list[LedgerTransfer]:
    """Return the transfers that end a payout: its hold is posted or voided; payment and gas are
    booked.

    If the transaction moved something else (`verdict.moved`), `paid` receives at most the payout's
    amount and `suspense` the rest. So the treasury equals the wallet.
    """
    is_paid = verdict.outcome is PayoutOutcome.PAID
    kind = TransferKind.POST if is_paid else TransferKind.VOID
    hold_id = f"{payout.id}/{kind.value}"
    lines = [resolved(_held(payout), hold_id, kind, verdict.outcome.value, at_ms)]
    owed = payout.units if is_paid else 0
    moved = owed if verdict.moved is None else verdict.moved
    for name, amount in (("paid", min(owed, moved)), ("suspense", moved - min(owed, moved))):
        if amount:
            lines.append(_spent(payments, payout.id, payout.asset, name, amount, at_ms))
    if verdict.gas_wei:
        lines.append(_spent(payments, payout.id, payments.native, "gas", verdict.gas_wei, at_ms))
    return lines


async def correct_gas(
    unit: Ledger, payments: Payments, payout: Payout, verdict: PayoutVerdict, more: int, at_ms: int
) -> None:
    """Book the difference in gas after a reorg put a transaction into another block. `more`: wei,
    may be negative."""
    wallet, spent = treasury(payments.address, payments.native), f"gas:{payments.native}"
    if more and verdict.block:
        await unit.transfer(
            LedgerTransfer(
                id=f"{payout.id}/gas/{verdict.block.hash}",
                kind=TransferKind.POSTED,
                debit=wallet if more > 0 else spent,
                credit=spent if more > 0 else wallet,
                amount=abs(more),
                reason="gas after a reorg",
                ref=payout.id,
                at_ms=at_ms,
            )
        )


def _held(payout: Payout) -> LedgerTransfer:
    """Return the transfer that holds the credits of a payout."""
    return LedgerTransfer(
        id=payout.hold_id,
        kind=TransferKind.PENDING,
        debit=user_account(payout.user_id),
        credit=REDEEMED,
        amount=payout.credits,
        reason=f"payout {request_digest(payout)}",
        ref=payout.id,
        at_ms=payout.at_ms,
    )


async def book_cost(unit: Ledger, payments: Payments, ref: str, gas_wei: int, at_ms: int) -> None:
    """Book the gas of one of our transactions. `ref`: its purpose."""
    await unit.transfer(_spent(payments, ref, payments.native, "gas", gas_wei, at_ms))


def _spent(
    payments: Payments, ref: str, asset: str, name: str, amount: int, at_ms: int
) -> LedgerTransfer:
    """Return the transfer that books an amount out of the treasury."""
    return LedgerTransfer(
        id=f"{ref}/{name}",
        kind=TransferKind.POSTED,
        debit=treasury(payments.address, asset),
        credit=f"{name}:{asset}",
        amount=amount,
        reason=name,
        ref=ref,
        at_ms=at_ms,
    )
