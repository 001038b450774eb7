"""The rules of a payout service."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PayoutRules:
    """Rules and limits. A limit of None does not exist."""

    chain_id: int
    units_per_credit: int
    """Base units of the asset for one credit."""
    are_units_meant: bool = True
    """True if a person chose `units_per_credit`; False for the default, which is made for wei."""
    poll_s: float = 0.5
    """Time between two rounds, in seconds."""
    api_key: str | None = None
    """The key of all clients. None: only on loopback."""
    daily_user: int | None = None
    """Most credits of one user in 24 hours."""
    daily_address: int | None = None
    """Most credits to one address in 24 hours."""
    daily_wallet: int | None = None
    """Most credits of all users in 24 hours."""
    approve_above: int | None = None
    """Credits of one payout above which a second person must approve."""
    in_flight: int = 16
    """Most unmined transactions."""
    reconcile_s: float = 60.0
    """Time between two reconciliations, in seconds."""
    oldest_s: int = 1_800
    """Age of an open payout that raises an alarm, in seconds."""
    wait_s: float = 0.0
    """How long the seed's `/payout` waits for a transaction, in seconds, by default."""
