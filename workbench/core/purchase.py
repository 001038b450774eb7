"""The outcome of one purchase, as its buyer sees it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Purchase:
    """The outcome of a purchase. Amounts in base units."""

    settlement_id: str
    status: str
    asset_amount: int
    required_usdc: int
    max_eurc: int
    eurc_spent: int
    reason: str = ""
