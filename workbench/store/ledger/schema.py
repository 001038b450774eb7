"""The tables of the payout service, beside those of `store.schema`.

Alembic creates them, with their constraints and triggers: see `migrations`. Here are the columns
that statements name. Times are Unix milliseconds.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer, MetaData, Numeric, Table, Text, func

DIGITS = 36
"""Digits of an amount. It is text of this length in SQLite, and NUMERIC in PostgreSQL."""
UNITS = Text().with_variant(Numeric(DIGITS, 0), "postgresql")
"""The type of an amount in atomic units of its asset."""

metadata = MetaData()

account = Table(
    "account",
    metadata,
    Column("id", Text, primary_key=True),
    Column("ledger", Text),
    Column("no_overdraft", Integer),
    Column("debits_pending", UNITS),
    Column("debits_posted", UNITS),
    Column("credits_pending", UNITS),
    Column("credits_posted", UNITS),
)
"""The accounts and their sums (`core.ledger.Account`). Triggers update the sums."""

transfer = Table(
    "transfer",
    metadata,
    Column("seq", BigInteger, primary_key=True),
    Column("id", Text),
    Column("kind", Text),
    Column("debit", Text),
    Column("credit", Text),
    Column("amount", UNITS),
    Column("pending_id", Text),
    Column("reason", Text),
    Column("ref", Text),
    Column("at_ms", BigInteger),
    Column("previous", Text),
    Column("hash", Text),
)
"""The immutable transfers (`core.ledger.LedgerTransfer`) and their hash chain."""
TRANSFER = tuple(column.name for column in transfer.columns)

payout = Table(
    "payout",
    metadata,
    Column("id", Text, primary_key=True),
    Column("user_id", Text),
    Column("key", Text),
    Column("address", Text),
    Column("credits", BigInteger),
    Column("units", UNITS),
    Column("asset", Text),
    Column("state", Text),
    Column("at_ms", BigInteger),
    Column("tx", Text),
    Column("reason", Text),
    Column("batch", Text),
    Column("place", Integer),
    Column("taken_ms", BigInteger),
    Column("again_ms", BigInteger),
)
"""The payouts (`core.payout.Payout`), and until when a process has reserved each."""
PAYOUT = payout.columns[:-2]
"""The columns of the record; `taken_ms` and `again_ms` are about the work on it."""
SUBJECT = func.coalesce(func.nullif(payout.c.batch, ""), payout.c.id)
"""The subject of the nonce slot that pays a payout: see `core.payout.Payout.act_key`."""

answer = Table(
    "answer",
    metadata,
    Column("scope", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("fingerprint", Text),
    Column("status", Integer),
    Column("body", Text),
    Column("at_ms", BigInteger),
)
"""The permanent answers to idempotency keys (`core.ports.IdempotentAnswer`)."""

signer = Table(
    "signer",
    metadata,
    Column("chain_id", BigInteger, primary_key=True),
    Column("address", Text, primary_key=True),
    Column("first_nonce", BigInteger),
    Column("quarantine", Text),
)
"""The signers (`core.ports.SignerState`)."""

reconciliation = Table(
    "reconciliation",
    metadata,
    Column("block", BigInteger, primary_key=True),
    Column("at_ms", BigInteger),
    Column("data", Text),
)
"""The results of reconciliations with the chain, as JSON, by block number."""

delivery = Table(
    "delivery",
    metadata,
    Column("endpoint", Text, primary_key=True),
    Column("upto", BigInteger),
    Column("failures", Integer),
    Column("since_ms", BigInteger),
    Column("next_ms", BigInteger),
    Column("is_gone", Integer),
    Column("said", Text),
)
"""The progress of each webhook subscriber (`core.webhooks.WebhookDelivery`)."""
