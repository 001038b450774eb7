"""The rules of a payout service, as they are set."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PayoutRules:
    """`units_per_credit`: base units of the asset; `are_units_meant`: somebody chose them.

    Limits are credits in 24 hours, None for none.
    `api_key`: needed by everybody, None on loopback. `in_flight`: most unmined transactions.
    `approve_above`: credits of one payout from which on a second person must approve.
    `oldest_s`: an open payout that waits for longer is an alarm. `wait_s`: how long the seed's
    `/payout` waits for a transaction, unless its client says otherwise.
    """

    chain_id: int
    units_per_credit: int
    are_units_meant: bool = True
    poll_s: float = 0.5
    api_key: str | None = None
    daily_user: int | None = None
    daily_address: int | None = None
    daily_wallet: int | None = None
    approve_above: int | None = None
    in_flight: int = 16
    reconcile_s: float = 60.0
    oldest_s: int = 1_800
    wait_s: float = 0.0
