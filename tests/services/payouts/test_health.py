"""What a payout service says of its own state, and to whom."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests.services.payouts.desk import TO, Desk, ask
from workbench.core.errors import RpcFault
from workbench.core.payout import Payout
from workbench.core.ports import NodeState
from workbench.services.common.loop import FaultPolicy
from workbench.services.payouts.http import PayoutHttpService

API_KEY = "a-long-key-0123456789"
OTHER = "0x" + "cd" * 20
GWEI = 10**9


@pytest.fixture
def desk() -> Iterator[Desk]:
    at = Desk()
    at.earn()
    yield at
    at.storm.loop.close()
    at.storm.store.close()


def pass_by(desk: Desk, seconds: int, step: int = 5) -> None:
    """Rounds and blocks, every `step` seconds."""
    payouts = desk.storm.payouts
    for _ in range(0, seconds, step):
        desk.storm.loop.run_until_complete(payouts.loop.once(payouts.tick))
        payouts.loop.clear(payouts.name)
        desk.storm.chain.mine()
        desk.storm.loop.jump(step)


def alarms(desk: Desk) -> dict[str, str]:
    told: dict[str, str] = desk.get("/readyz").data()["alarms"]
    return told


def refusing(text: str) -> Any:
    def refuse(*_: Any) -> Any:
        raise RpcFault(text)

    return refuse


def test_a_reconciliation_that_cannot_run_is_an_alarm(desk: Desk) -> None:
    """The node refuses what it needs. That was once skipped without a word, and all was green."""
    pass_by(desk, 30)
    assert (200, {}) == (desk.get("/readyz").status, alarms(desk))
    desk.storm.line.eth_getBalance = refusing("the node refused eth_getBalance: pruned.")  # type: ignore[method-assign]
    pass_by(desk, 590)
    assert {} == alarms(desk)
    pass_by(desk, 120)
    told = desk.get("/readyz")
    assert (503, ["reconciliation"]) == (told.status, list(told.data()["alarms"]))
    assert "minutes: the node refused eth_getBalance: pruned." in alarms(desk)["reconciliation"]
    assert desk.get("/health").data()["checks"]["reconciliation"]["age_s"] > 600
    del desk.storm.line.eth_getBalance
    pass_by(desk, 30)
    assert {} == alarms(desk)


def test_a_node_that_refuses_every_send_is_an_alarm(desk: Desk) -> None:
    """Lasting refusal is not waiting; and when it takes them, all is well again."""
    pass_by(desk, 10)
    desk.storm.line.eth_sendRawTransaction = refusing("policy: not from you.")  # type: ignore[method-assign]
    assert 200 == desk.post("/payout", ask()).status
    pass_by(desk, 50)
    assert {} == alarms(desk)
    pass_by(desk, 50)
    assert "not from you" in alarms(desk)["sends_refused"]
    del desk.storm.line.eth_sendRawTransaction
    desk.settle()
    assert ({}, {TO: 1}) == (alarms(desk), desk.storm.chain.paid())


def look(desk: Desk, **state: Any) -> dict[str, str]:
    """What a look at the node leads to."""
    payer = desk.storm.payouts.payments.address
    node = replace(NodeState(5, 0, GWEI, {payer: 10**18}), **state)
    work = desk.storm.payouts.look_at_node(node)
    desk.storm.loop.run_until_complete(work)
    return alarms(desk)


def test_an_open_payout_that_is_too_old_is_an_alarm(desk: Desk) -> None:
    """By OLDEST_PAYOUT_S; one that waits for a person is not counted."""
    desk.rules(oldest_s=100, approve_above=20)
    desk.post("/payout", ask(credits=21))
    desk.storm.loop.jump(200)
    assert {} == look(desk)
    desk.post("/payout", ask(credits=1, idempotency_key="k2"))
    desk.storm.loop.jump(101)
    assert "has waited for 101 s (OLDEST_PAYOUT_S is 100)" in look(desk)["oldest_payout"]
    assert "payouts_oldest_open_seconds 101" in desk.get("/metrics").body.decode()


def test_a_wallet_that_will_not_last_is_an_alarm_before_it_is_empty(desk: Desk) -> None:
    """It must hold what waits, and the gas of that and of 20 transactions more."""
    payer = desk.storm.payouts.payments.address
    desk.post("/payout", ask(credits=50))
    needed = 50 * 10**15 + 21 * 30_000 * (2 * GWEI + 2 * GWEI)
    assert {} == look(desk, balances={payer: needed})
    assert "should hold 0.05252" in look(desk, balances={payer: needed - 1})["wallet_short"]


def test_who_has_no_key_sees_names_and_words_alone(desk: Desk) -> None:
    """Payer and token mode too; no payout's id, receiver, transaction, node, nor a reason."""
    desk.rules(api_key=API_KEY)
    desk.service = PayoutHttpService(desk.storm.payouts)
    health = desk.storm.payouts.health
    health.fails("signer_quarantined", f"payout 0x{'17' * 32} to {TO} at http://10.0.0.7:8545.")
    key = ("Authorization", f"Bearer {API_KEY}")
    for path, status in (("/health", 200), ("/readyz", 503)):
        told = desk.get(path)
        assert status == told.status
        assert {"signer_quarantined": "the signer stands still"} == told.data()["alarms"]
        shown = json.dumps(told.data())
        assert not [w for w in ("1717", TO, "10.0.0.7", "8545") if w in shown]
        assert "10.0.0.7:8545" in desk.get(path, key).data()["alarms"]["signer_quarantined"]
    told = desk.get("/health").data()
    assert ("degraded", False) == (told["status"], told["token_mode"])
    assert told["payer"].lower() == desk.storm.payouts.payments.address


@pytest.mark.parametrize("part", ["call", "judge"])
def test_a_defect_of_one_payout_holds_up_no_other(desk: Desk, part: str) -> None:
    """In a served process. It is red by name and is tried again; the others are paid."""
    payouts = desk.storm.payouts
    payouts.loop.on_fault = FaultPolicy.RETRY
    real = getattr(payouts.payments, part)

    async def defective(asked: Any) -> Any:
        concerned: list[Payout] = [asked] if part == "call" else [each for each, _ in asked]
        if any(payout.address == OTHER for payout in concerned):
            raise KeyError("effectiveGasPrice")
        return await real(asked)

    setattr(payouts.payments, part, defective)
    assert 200 == desk.post("/payout", ask(credits=1, address=OTHER)).status
    for number in range(3):
        body = ask(credits=1, idempotency_key=f"other-{number}")
        assert 200 == desk.post("/payout", body).status
    desk.settle()
    states = {(each["address"].lower(), each["state"]) for each in desk.user()["payouts"]}
    assert {(TO, "paid"), (OTHER, "approved" if part == "call" else "sent")} == states
    assert payouts.health.errors["KeyError"] > 0
    delattr(payouts.payments, part)
    pass_by(desk, 60)
    desk.settle()
    assert ["paid"] * 4 == [each["state"] for each in desk.user()["payouts"]]


def test_a_defect_fails_a_simulated_run(desk: Desk) -> None:
    """There the policy is the other one."""

    async def defective(asked: Any) -> Any:
        raise KeyError("effectiveGasPrice")

    desk.storm.payouts.payments.call = defective  # type: ignore[method-assign,assignment]
    desk.post("/payout", ask())
    with pytest.raises(KeyError):
        pass_by(desk, 5)
