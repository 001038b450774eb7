# ruff: noqa: S608 - the SQL is built only from constants of this module
"""Accounts, transfers, payouts, idempotency keys and signers; the rules of double entry in SQL.

Amounts are whole numbers below 10^36. PostgreSQL has NUMERIC(36, 0). SQLite has no such type: there
an amount is text of 36 digits, so texts have the order of their numbers. Sums are computed from two
halves of 18 digits, which fit SQLite's integers. The database enforces the rules without any
program, and no program can break them.
"""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None

HALF = 10**18
SQLITE_AMOUNT = "TEXT NOT NULL CHECK(length({0}) = 36 AND {0} NOT GLOB '*[^0-9]*')"
POSTGRES_AMOUNT = "NUMERIC(36, 0) NOT NULL CHECK({0} >= 0)"
SUMS = ("debits_pending", "debits_posted", "credits_pending", "credits_posted")
CHANGES = {
    "pending": {"pending": "+", "post": "-", "void": "-"},
    "posted": {"posted": "+", "post": "+"},
}
"""Whether each kind of transfer adds to (+) or takes from (-) the pending and the posted sum."""


def _halves(text: str) -> tuple[str, str]:
    """Return the upper and the lower 18 digits of an amount, as SQL integers."""
    high, low = f"substr({text}, 1, 18)", f"substr({text}, 19, 18)"
    return f"CAST({high} AS INTEGER)", f"CAST({low} AS INTEGER)"


def _added(a: str, b: str) -> str:
    """Return SQL for a + b as 36 digits. An overflow has more digits, which the columns refuse."""
    (ah, al), (bh, bl) = _halves(a), _halves(b)
    low = f"({al} + {bl})"
    return f"printf('%018d%018d', {ah} + {bh} + {low} / {HALF}, {low} % {HALF})"


def _taken(a: str, b: str) -> str:
    """Return SQL for a - b as 36 digits. If b is larger it has a sign, which the columns refuse."""
    (ah, al), (bh, bl) = _halves(a), _halves(b)
    borrow = f"({al} < {bl})"
    return f"printf('%018d%018d', {ah} - {bh} - {borrow}, {al} - {bl} + {borrow} * {HALF})"


def _sums(side: str, amount: str, *, sqlite: bool) -> str:
    """Return the SET clause by which a new transfer changes the two sums of one side."""
    parts = []
    for part, kinds in CHANGES.items():
        column = f"{side}_{part}"
        whens = []
        for kind, sign in kinds.items():
            plain = f"{column} {sign} {amount}"
            text = _added(column, amount) if sign == "+" else _taken(column, amount)
            whens.append(f"WHEN '{kind}' THEN {text if sqlite else plain}")
        parts.append(f"{column} = CASE NEW.kind {' '.join(whens)} ELSE {column} END")
    return ", ".join(parts)


def upgrade() -> None:
    """Create all tables, indices and rules."""
    sqlite = op.get_bind().dialect.name == "sqlite"
    for statement in (*_tables(sqlite), *(_sqlite_rules() if sqlite else _postgres_rules())):
        op.execute(statement.replace(":", "\\:"))


def _tables(sqlite: bool) -> list[str]:
    amount = (SQLITE_AMOUNT if sqlite else POSTGRES_AMOUNT).format
    zero = f"DEFAULT {'0' * 36!r}" if sqlite else "DEFAULT 0"
    sums = ", ".join(f"{name} {amount(name)} {zero}" for name in SUMS)
    spent = _added("debits_pending", "debits_posted") if sqlite else "debits_pending+debits_posted"
    some = f"amount > {'0' * 36!r}" if sqlite else "amount > 0"
    return [
        f"""CREATE TABLE account (
            id TEXT PRIMARY KEY, ledger TEXT NOT NULL,
            no_overdraft INTEGER NOT NULL CHECK(no_overdraft IN (0, 1)), {sums},
            CONSTRAINT account_overdraft CHECK(no_overdraft = 0 OR {spent} <= credits_posted))""",
        f"""CREATE TABLE transfer (
            seq {"INTEGER" if sqlite else "BIGINT"} PRIMARY KEY, id TEXT NOT NULL UNIQUE,
            kind TEXT NOT NULL CHECK(kind IN ('posted', 'pending', 'post', 'void')),
            debit TEXT NOT NULL REFERENCES account(id), credit TEXT NOT NULL REFERENCES account(id),
            amount {amount("amount")}, pending_id TEXT UNIQUE REFERENCES transfer(id),
            reason TEXT NOT NULL, ref TEXT NOT NULL, at_ms BIGINT NOT NULL,
            previous TEXT NOT NULL UNIQUE, hash TEXT NOT NULL UNIQUE,
            CHECK({some}), CHECK(debit <> credit),
            CHECK((kind IN ('post', 'void')) = (pending_id IS NOT NULL)))""",
        "CREATE INDEX transfer_debit ON transfer(debit)",
        "CREATE INDEX transfer_credit ON transfer(credit)",
        f"""CREATE TABLE payout (
            id TEXT PRIMARY KEY, user_id TEXT NOT NULL, key TEXT NOT NULL, address TEXT NOT NULL,
            credits BIGINT NOT NULL CHECK(credits > 0), units {amount("units")},
            asset TEXT NOT NULL, state TEXT NOT NULL, at_ms BIGINT NOT NULL,
            tx TEXT NOT NULL, reason TEXT NOT NULL)""",
        "CREATE INDEX payout_state ON payout(state, at_ms, id)",
        "CREATE INDEX payout_user ON payout(user_id, at_ms)",
        "CREATE INDEX payout_address ON payout(address, at_ms)",
        "CREATE INDEX payout_time ON payout(at_ms)",
        "CREATE INDEX payout_tx ON payout(tx)",
        """CREATE TABLE answer (
            scope TEXT NOT NULL, key TEXT NOT NULL, fingerprint TEXT NOT NULL,
            status INTEGER NOT NULL, body TEXT NOT NULL, at_ms BIGINT NOT NULL,
            PRIMARY KEY(scope, key))""",
        """CREATE TABLE signer (
            chain_id BIGINT NOT NULL, address TEXT NOT NULL, first_nonce BIGINT NOT NULL,
            quarantine TEXT NOT NULL, PRIMARY KEY(chain_id, address))""",
        """CREATE TABLE reconciliation (
            block BIGINT PRIMARY KEY, at_ms BIGINT NOT NULL, data TEXT NOT NULL)""",
    ]


REFUSALS = {
    "accounts that exist": "(SELECT count(*) FROM account WHERE id IN (NEW.debit, NEW.credit)) < 2",
    "two accounts of one ledger": """(SELECT ledger FROM account WHERE id = NEW.debit)
        {differs} (SELECT ledger FROM account WHERE id = NEW.credit)""",
    "the hold it ends": """NEW.pending_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM transfer p
        WHERE p.id = NEW.pending_id AND p.kind = 'pending' AND p.debit = NEW.debit
        AND p.credit = NEW.credit AND p.amount = NEW.amount)""",
    "a hold that is open": """EXISTS (SELECT 1 FROM transfer p WHERE p.pending_id =
        NEW.pending_id)""",
    "an id of its own": "EXISTS (SELECT 1 FROM transfer p WHERE p.id = NEW.id)",
    "the next number": "NEW.seq {differs} (SELECT coalesce(max(seq), 0) + 1 FROM transfer)",
    "the hash before": """NEW.previous {differs} coalesce(
        (SELECT hash FROM transfer ORDER BY seq DESC LIMIT 1), '"""
    + "0" * 64
    + "')",
}
"""What a transfer must have, and the condition that it does not."""
KEPT = ("transfer", "answer")
"""Tables whose rows never change. Accounts and payouts change; all four are never deleted."""


def _sqlite_rules() -> list[str]:
    checks = " ".join(
        f"SELECT RAISE(ABORT, 'a transfer needs {what}') WHERE {when.format(differs='IS NOT')};"
        for what, when in REFUSALS.items()
    )
    debit, credit = (_sums(side, "NEW.amount", sqlite=True) for side in ("debits", "credits"))
    rules = [
        f"CREATE TRIGGER transfer_check BEFORE INSERT ON transfer BEGIN {checks} END",
        f"""CREATE TRIGGER transfer_apply AFTER INSERT ON transfer BEGIN
            UPDATE account SET {debit} WHERE id = NEW.debit;
            UPDATE account SET {credit} WHERE id = NEW.credit; END""",
        """CREATE TRIGGER account_names BEFORE UPDATE OF id, ledger, no_overdraft ON account
            BEGIN SELECT RAISE(ABORT, 'an account is not renamed'); END""",
    ]
    for table in (*KEPT, "account", "payout"):
        rules.append(_sqlite_refusal(table, "DELETE", f"a row of {table} is not deleted"))
    # INSERT OR REPLACE deletes the old row without a DELETE trigger.
    for table, same in {
        "account": "id = NEW.id",
        "payout": "id = NEW.id",
        "answer": "scope = NEW.scope AND key = NEW.key",
    }.items():
        rules.append(
            f"""CREATE TRIGGER {table}_once BEFORE INSERT ON {table}
                WHEN EXISTS (SELECT 1 FROM {table} WHERE {same})
                BEGIN SELECT RAISE(ABORT, 'a row of {table} is not replaced'); END"""
        )
    return rules + [
        _sqlite_refusal(table, "UPDATE", f"a row of {table} is not changed") for table in KEPT
    ]


def _sqlite_refusal(table: str, act: str, why: str) -> str:
    return f"""CREATE TRIGGER {table}_no_{act.lower()} BEFORE {act} ON {table}
        BEGIN SELECT RAISE(ABORT, '{why}'); END"""


def _postgres_rules() -> list[str]:
    checks = " ".join(
        f"IF {when.format(differs='IS DISTINCT FROM')} THEN "
        f"RAISE EXCEPTION 'a transfer needs {what}' USING ERRCODE = 'check_violation'; END IF;"
        for what, when in REFUSALS.items()
    )
    debit, credit = (_sums(side, "NEW.amount", sqlite=False) for side in ("debits", "credits"))
    rules = [
        f"""CREATE FUNCTION transfer_check() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN {checks} RETURN NEW; END $$""",
        f"""CREATE FUNCTION transfer_apply() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN UPDATE account SET {debit} WHERE id = NEW.debit;
            UPDATE account SET {credit} WHERE id = NEW.credit; RETURN NEW; END $$""",
        """CREATE FUNCTION kept() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN RAISE EXCEPTION 'a row of % is neither changed nor deleted', TG_TABLE_NAME
            USING ERRCODE = 'check_violation'; END $$""",
        """CREATE TRIGGER transfer_check BEFORE INSERT ON transfer
            FOR EACH ROW EXECUTE FUNCTION transfer_check()""",
        """CREATE TRIGGER transfer_apply AFTER INSERT ON transfer
            FOR EACH ROW EXECUTE FUNCTION transfer_apply()""",
        """CREATE TRIGGER account_names BEFORE UPDATE OF id, ledger, no_overdraft ON account
            FOR EACH ROW EXECUTE FUNCTION kept()""",
    ]
    for table in (*KEPT, "account", "payout"):
        acts = "UPDATE OR DELETE" if table in KEPT else "DELETE"
        rules += [
            f"""CREATE TRIGGER {table}_kept BEFORE {acts} ON {table}
                FOR EACH ROW EXECUTE FUNCTION kept()""",
            f"""CREATE TRIGGER {table}_whole BEFORE TRUNCATE ON {table}
                FOR EACH STATEMENT EXECUTE FUNCTION kept()""",
        ]
    return rules
