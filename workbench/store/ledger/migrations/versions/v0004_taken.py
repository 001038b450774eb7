"""Reservations: several processes share the payouts that are to be signed.

`taken_ms`: a process has reserved the payout until then. `again_ms`: no process takes it before.
Both are Unix milliseconds, or 0. They are about the work and not about the payout, so no fact has
them.
"""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add two columns and an index."""
    for name in ("taken_ms", "again_ms"):
        op.execute(f"ALTER TABLE payout ADD COLUMN {name} BIGINT NOT NULL DEFAULT 0")
    op.execute("CREATE INDEX payout_taken ON payout(taken_ms) WHERE state = 'approved'")
