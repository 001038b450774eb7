"""What decides where money goes is compared with what was requested, before and after."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.services.payouts.desk import Desk, ask
from workbench.core.errors import LedgerBroken, WorkbenchError
from workbench.core.facts import fact_id, from_json, to_json
from workbench.core.payout import PayoutState
from workbench.settings import Settings
from workbench.worlds.remote import ledger_verified

OTHER = "0x" + "66" * 20
EDITS: dict[str, Any] = {
    "user_id": "u2",
    "key": "other",
    "address": OTHER,
    "credits": 39,
    "units": f"{1:036d}",
    "asset": "eip155:1/native",
    "state": "cancelled",
    "at_ms": 1,
    "tx": "0x" + "66" * 32,
    "reason": "edited",
    "batch": "0x01",
    "place": 7,
}


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[tuple[Desk, Path]]:
    """A desk whose database is a file: one payout is paid, one waits for approval."""
    path = tmp_path / "app.db"
    desk = Desk(f"sqlite:///{path}")
    desk.rules(approve_above=40)
    desk.earn()
    desk.post("/payout", ask())
    desk.settle()
    desk.post("/payout", ask(credits=41, idempotency_key="held"))
    yield desk, path
    desk.storm.loop.close()
    desk.storm.store.close()


def edit(path: Path, statement: str, *values: Any, keep_rules: bool = False) -> None:
    with sqlite3.connect(path) as connection:
        rules = connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
        for (name,) in [] if keep_rules else rules.fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        assert connection.execute(statement, values).rowcount > 0


def verify(desk: Desk, path: Path) -> None:
    settings = Settings.load(environ={"DB_PATH": str(path)}, folder=path.parent, world={})
    desk.storm.loop.run_until_complete(ledger_verified(settings))


def test_what_was_written_is_proved(kept: tuple[Desk, Path]) -> None:
    verify(*kept)


@pytest.mark.parametrize("state", ["paid", "held"])
@pytest.mark.parametrize("column", EDITS)
def test_an_edited_row_is_found(kept: tuple[Desk, Path], column: str, state: str) -> None:
    edit(kept[1], f"UPDATE payout SET {column} = ? WHERE state = ?", EDITS[column], state)
    with pytest.raises(LedgerBroken, match=rf"payout 0x\w+: {column} is not what"):
        verify(*kept)


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("DELETE FROM payout WHERE state = 'held'", "in the journal and not in its table"),
        (
            "DELETE FROM fact WHERE type LIKE 'Payout%' AND subject IN "
            "(SELECT id FROM payout WHERE state = 'held')",
            "in its table and not in the journal",
        ),
        ("DELETE FROM answer WHERE key = 'k1'", "its idempotency key does not answer with it"),
        ("UPDATE attempt SET raw = raw || '00'", "stored bytes of transaction"),
        ("UPDATE answer SET fingerprint = 'x' WHERE key = 'k1'", "its idempotency key does not"),
        ("DELETE FROM answer WHERE scope = 'earn'", "its key does not answer with it"),
        ("DELETE FROM fact WHERE type = 'CreditsEarned'", "and the journal does not"),
        ("UPDATE slot SET subject = '0x01'", "nonce 0 is not its own"),
        ("UPDATE slot SET nonce = nonce + 5", "nonce 0 is not its own"),
        ("UPDATE payout SET state = 'odd' WHERE state = 'held'", "state or its units cannot"),
        ("UPDATE fact SET data = '{' WHERE type = 'PayoutHeld'", "cannot be read"),
        ("UPDATE fact SET type = 'Odd' WHERE type = 'PayoutHeld'", "is not what was written"),
        (
            "UPDATE fact SET data = replace(data, 'rules', 'bob') WHERE type = 'PayoutApproved'",
            "is not what was written",
        ),
    ],
)
def test_other_edits_are_found(kept: tuple[Desk, Path], statement: str, told: str) -> None:
    edit(kept[1], statement)
    with pytest.raises(WorkbenchError, match=told):
        verify(*kept)


VALUES = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=80),
    st.integers(-(2**63), 2**63 - 1),
    st.binary(max_size=20),
    st.floats(allow_nan=False),
    st.none(),
    st.sampled_from([*(state.value for state in PayoutState), OTHER, f"{7:036d}"]),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(column=st.sampled_from(sorted(EDITS)), value=VALUES, state=st.sampled_from(["paid", "held"]))
def test_any_edit_of_any_column_is_found(
    kept: tuple[Desk, Path], column: str, value: Any, state: str
) -> None:
    """Whatever the database itself lets stand there."""
    desk, path = kept
    copy = path.with_name("copy.db")
    with sqlite3.connect(path) as source, sqlite3.connect(copy) as target:
        source.backup(target)
    with sqlite3.connect(copy) as connection:
        read = f"SELECT {column} FROM payout WHERE id = ?"
        ids = "SELECT id FROM payout WHERE state = ?"
        (own,) = connection.execute(ids, [state]).fetchone()
        before = connection.execute(read, [own]).fetchone()
        changing = f"UPDATE payout SET {column} = ? WHERE id = ?"
        with suppress(sqlite3.IntegrityError):
            connection.execute(changing, [value, own])
        is_changed = connection.execute(read, [own]).fetchone() != before
    if is_changed:
        with pytest.raises(WorkbenchError, match=f"payout {own}: .*{column}"):
            verify(desk, copy)


def test_a_row_edited_together_with_its_facts_is_found(kept: tuple[Desk, Path]) -> None:
    """The ledger's hold carries a digest of the request, and is part of the chain of hashes."""
    edit(kept[1], "UPDATE payout SET address = ? WHERE state = 'held'", OTHER)
    receiver = ask()["address"].lower()
    with sqlite3.connect(kept[1]) as connection:
        (old, line) = connection.execute(
            "SELECT id, data FROM fact WHERE type = 'PayoutRequested' AND subject IN "
            "(SELECT id FROM payout WHERE state = 'held')"
        ).fetchone()
        fact = from_json(line.replace(receiver, OTHER))
        changed = (to_json(fact), fact_id(fact), old)
        connection.execute("UPDATE fact SET data = ?, id = ? WHERE id = ?", changed)
    with pytest.raises(LedgerBroken, match="hold is of another request"):
        verify(*kept)


@pytest.mark.parametrize("column", ["address", "units", "credits", "asset", "user_id", "key"])
def test_an_edited_payout_is_not_signed(kept: tuple[Desk, Path], column: str) -> None:
    """It is held, edited, and approved by a person: nothing is paid, and the signer stops."""
    desk, path = kept
    before = desk.storm.chain.paid()
    value = f"{2:036d}" if column == "units" else EDITS[column]
    edit(path, f"UPDATE payout SET {column} = ? WHERE state = 'held'", value)
    (held,) = desk.get("/v1/payouts", state="held").data()["payouts"]
    assert desk.post(f"/v1/payouts/{held['id']}:approve", {"by": "bob"}).status == 200
    desk.settle()
    assert desk.storm.chain.paid() == before
    alarm = desk.get("/readyz").data()["alarms"]["signer_quarantined"]
    assert f"payout {held['id']} differs from the journal in {column}" in alarm


@pytest.mark.parametrize("was", ["held", "cancelled"])
def test_a_state_that_was_edited_is_not_believed(kept: tuple[Desk, Path], was: str) -> None:
    """Neither is the second person passed by, nor what was taken back paid."""
    desk, path = kept
    (held,) = desk.get("/v1/payouts", state="held").data()["payouts"]
    if was == "cancelled":
        assert desk.post(f"/v1/payouts/{held['id']}:cancel", {}).data()["state"] == was
    before = desk.storm.chain.paid()
    edit(path, "UPDATE payout SET state = 'approved' WHERE state = ?", was)
    desk.settle()
    assert desk.storm.chain.paid() == before
    alarm = desk.get("/readyz").data()["alarms"]["payout_altered"]
    assert f"payout {held['id']} differs from the journal in state" in alarm


def test_after_a_release_an_edited_payout_stops_nobody(kept: tuple[Desk, Path]) -> None:
    """A person has seen it. It is never signed, and has two ways out: its row, or :cancel."""
    desk, path = kept
    (held,) = desk.get("/v1/payouts", state="held").data()["payouts"]
    edit(path, f"UPDATE payout SET address = '{OTHER}' WHERE state = 'held'", keep_rules=True)
    desk.post(f"/v1/payouts/{held['id']}:approve", {"by": "bob"})
    desk.settle()
    assert desk.post("/v1/signer:release", {"by": "bob", "why": "an edit"}).status == 200
    second = desk.post("/payout", ask(credits=5, idempotency_key="second")).data()["id"]
    for _ in range(3):  # Each is longer than until it is tried again.
        desk.settle()
    assert desk.get(f"/v1/payouts/{second}").data()["state"] == "paid"
    assert set(desk.get("/readyz").data()["alarms"]) == {"payout_altered"}
    assert desk.get(f"/v1/payouts/{held['id']}").data()["state"] == "approved"
    right = ask()["address"].lower(), held["id"]
    edit(path, "UPDATE payout SET address = ? WHERE id = ?", *right, keep_rules=True)
    for _ in range(3):
        desk.settle()
    assert desk.get(f"/v1/payouts/{held['id']}").data()["state"] == "paid"
    assert desk.get("/readyz").data()["alarms"] == {}
