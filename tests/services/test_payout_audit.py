"""What decides where money goes is compared with what was requested, before and after."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.services.test_payouts_http import Desk, ask
from workbench.core.errors import LedgerBroken
from workbench.live import ledger_verified
from workbench.settings import Settings

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


def edit(path: Path, statement: str, *values: Any) -> None:
    with sqlite3.connect(path) as connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type='trigger'"):
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
    ],
)
def test_other_edits_are_found(kept: tuple[Desk, Path], statement: str, told: str) -> None:
    edit(kept[1], statement)
    with pytest.raises(LedgerBroken, match=told):
        verify(*kept)


def test_a_row_edited_together_with_its_facts_is_found(kept: tuple[Desk, Path]) -> None:
    """The ledger's hold carries a digest of the request, and is part of the chain of hashes."""
    edit(kept[1], "UPDATE payout SET address = ? WHERE state = 'held'", OTHER)
    receiver = ask()["address"].lower()
    edit(
        kept[1],
        "UPDATE fact SET data = replace(data, ?, ?) WHERE type = 'PayoutRequested' AND subject IN "
        "(SELECT id FROM payout WHERE state = 'held')",
        receiver,
        OTHER,
    )
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
    assert f"payout {held['id']} differs from its request in the journal in {column}" in alarm
