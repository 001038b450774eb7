"""The progress of each webhook subscriber: see `core.webhooks.WebhookDelivery`."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create one table. It is not part of the ledger: its rows change, and may be deleted."""
    op.execute(
        """CREATE TABLE delivery (
            endpoint TEXT PRIMARY KEY, upto BIGINT NOT NULL CHECK(upto >= 0),
            failures INTEGER NOT NULL, since_ms BIGINT NOT NULL, next_ms BIGINT NOT NULL,
            is_gone INTEGER NOT NULL CHECK(is_gone IN (0, 1)), said TEXT NOT NULL)"""
    )
