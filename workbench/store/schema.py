"""The tables of a service's database. Rows and facts of one action commit in one transaction.

Hashes and addresses are 0x hex in lower case. Amounts are never in number columns: the data of a
fact is JSON text, in which integers of any size are exact.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData()

fact = Table(
    "fact",
    metadata,
    # Facts are never deleted, so no number repeats. AUTOINCREMENT would cost 3 µs a row.
    Column("seq", Integer, primary_key=True),
    Column("id", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("block_hash", Text),
    Column("data", Text, nullable=False),
    # The subject is an input of the hash `id`. So one index serves to find a fact, and all facts of
    # a subject. A database in memory creates it late: see `SqlConnection.ensure_indices`.
    Index("fact_identity", "subject", "id", unique=True),
    Index("fact_block", "block_hash"),
)
"""The journal. `id` is `core.facts.fact_id`, `type` the event class, `data` the fact as JSON."""

authorization = Table(
    "authorization",
    metadata,
    Column("settlement_id", Text, primary_key=True),
    Column("data", Text, nullable=False),
)
"""The claims: one row for each settlement; `data` is `SettlementRequest.to_wire` as JSON."""

offer = Table(
    "offer",
    metadata,
    Column("offer", Text, primary_key=True),
    Column("settlement_id", Text, nullable=False),
)
"""One row for each claim. The primary key allows one settlement per offer, among all processes."""

slot = Table(
    "slot",
    metadata,
    Column("chain_id", BigInteger, nullable=False),
    Column("signer", Text, nullable=False),
    Column("nonce", BigInteger, nullable=False),
    Column("subject", Text, nullable=False),
    Column("act", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("sent_ms", BigInteger, nullable=False),
    Column("ok", Boolean, nullable=False),
    Column("block", Text),
    PrimaryKeyConstraint("chain_id", "signer", "nonce"),
    UniqueConstraint("chain_id", "signer", "subject", "act", "attempt"),
    Index("slot_state", "state"),
)
"""Nonce slots (`core.ports.Slot`). `block` is JSON: see `rows.block_json`."""

attempt = Table(
    "attempt",
    metadata,
    Column("tx", Text, primary_key=True),
    Column("chain_id", BigInteger, nullable=False),
    Column("signer", Text, nullable=False),
    Column("nonce", BigInteger, nullable=False),
    Column("n", Integer, nullable=False),
    Column("raw", Text, nullable=False),
    UniqueConstraint("chain_id", "signer", "nonce", "n"),
)
"""The signed transactions of each slot. `n` counts from 0; `raw` is the signed bytes as 0x hex."""

block = Table(
    "block",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("hash", Text, nullable=False),
)
"""The blocks that the watcher has read."""
