"""Payouts that are signed in one transaction: their batch, and their place in it.

A payout joins a batch once; after that, batch and place never change.
"""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"

MOVES = "OLD.batch <> '' AND (NEW.batch <> OLD.batch OR NEW.place <> OLD.place)"
JOINS = """NEW.batch <> '' AND OLD.batch = ''
    AND EXISTS (SELECT 1 FROM slot WHERE slot.subject = NEW.batch)"""
RULES = {
    "a payout stays in its batch": MOVES,
    "no payout joins a batch that is signed": JOINS,
}


def upgrade() -> None:
    """Add two columns, an index that allows each place once, and the rules."""
    op.execute("ALTER TABLE payout ADD COLUMN batch TEXT NOT NULL DEFAULT ''")
    op.execute("ALTER TABLE payout ADD COLUMN place INTEGER NOT NULL DEFAULT 0")
    op.execute("CREATE UNIQUE INDEX payout_batch ON payout(batch, place) WHERE batch <> ''")
    rules = _sqlite() if op.get_bind().dialect.name == "sqlite" else _postgres()
    for statement in rules:
        op.execute(statement.replace(":", "\\:"))


def _sqlite() -> list[str]:
    checks = " ".join(f"SELECT RAISE(ABORT, '{why}') WHERE {when};" for why, when in RULES.items())
    return [f"CREATE TRIGGER payout_together BEFORE UPDATE ON payout BEGIN {checks} END"]


def _postgres() -> list[str]:
    checks = " ".join(
        f"IF {when} THEN RAISE EXCEPTION '{why}' USING ERRCODE = 'check_violation'; END IF;"
        for why, when in RULES.items()
    )
    return [
        f"""CREATE FUNCTION payout_together() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN {checks} RETURN NEW; END $$""",
        """CREATE TRIGGER payout_together BEFORE UPDATE ON payout
            FOR EACH ROW EXECUTE FUNCTION payout_together()""",
    ]
