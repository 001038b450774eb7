"""The tables of one service's database (agreement 2: act, rows and fact commit together).

Hashes and addresses are 0x hex in lower case. Amounts never stand in number columns: a fact's data
is JSON text, where integers of any size are exact.
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
    # Facts are never deleted, so that SQLite's next number needs no AUTOINCREMENT: 3 µs a row.
    Column("seq", Integer, primary_key=True),
    Column("id", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("block_hash", Text),
    Column("data", Text, nullable=False),
    # The subject is part of what an id is the hash of: one index for a fact's identity and for all
    # facts about a subject. (Not at first in memory: see `SqlStore.with_indices`.)
    Index("fact_identity", "subject", "id", unique=True),
    Index("fact_block", "block_hash"),
)

authorization = Table(
    "authorization",
    metadata,
    Column("settlement_id", Text, primary_key=True),
    Column("data", Text, nullable=False),
)

offer = Table(
    "offer",
    metadata,
    Column("offer", Text, primary_key=True),
    Column("settlement_id", Text, nullable=False),
)
"""One row for each claim: an offer has one settlement, whichever process claims it."""

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

block = Table(
    "block",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("hash", Text, nullable=False),
)
