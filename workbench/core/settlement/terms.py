"""The terms of a settlement, as its SettlementCreated event tells them."""

from __future__ import annotations

from typing import Any

from workbench.core.facts import SettlementCreated
from workbench.core.x402 import Terms


def terms_of(created: SettlementCreated) -> Terms:
    """Return the terms that both parties signed, with addresses in lower case."""
    values = ((name, getattr(created, name)) for name in Terms.__dataclass_fields__)
    members: dict[str, Any] = {
        name: value.lower() if isinstance(value, str) else value for name, value in values
    }
    return Terms(**members)
