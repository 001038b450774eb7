"""Several processes share the work: until when one prepares a payout, when its turn comes again.

Unix milliseconds, 0 for neither. They are about the work, not about the payout: no fact tells them.
"""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    for name in ("taken_ms", "again_ms"):
        op.execute(f"ALTER TABLE payout ADD COLUMN {name} BIGINT NOT NULL DEFAULT 0")
    op.execute("CREATE INDEX payout_taken ON payout(taken_ms) WHERE state = 'approved'")
