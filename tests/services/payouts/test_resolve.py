"""A payout that was paid wrongly has a way out, and what a person released stays released."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any
from unittest.mock import ANY

import pytest
from sqlalchemy import text

from tests.services.payouts.conftest import desk
from tests.services.payouts.desk import Desk, ask
from tests.services.payouts.test_tokens import UNITS, Till, act, call, sign_and_drop, unkind
from workbench import World
from workbench.core.errors import PayoutEnded
from workbench.core.facts import PayoutMismatched, PayoutResolved, SignerReleased
from workbench.core.payout import Payout, PayoutState
from workbench.services.payouts.reconciler import _unexplained

__all__ = ["desk"]
BY = {"by": "bob", "why": "the token's fee was switched on"}


def mismatched(world: World) -> tuple[Till, str]:
    """A payout whose token moves one unit less than was simulated; the token is kind again."""
    till = unkind(world, "FeeToken")
    payout = till.ask()
    sign_and_drop(world, till, payout)
    act(world, till.token, call("setDifference(int256)", -1))
    world.advance(14)
    act(world, till.token, call("setDifference(int256)", 0))
    assert {"signer_quarantined", "payout_mismatched"} <= set(till.alarms())
    return till, payout


@pytest.mark.parametrize("outcome", ["paid", "refunded"])
def test_a_mismatched_payout_is_resolved_and_the_others_go_on(world: World, outcome: str) -> None:
    till, payout = mismatched(world)
    held = till.balance()
    assert 0 < held != 5 * UNITS
    resolved = till.post(f"/v1/payouts/{payout}:resolve", **{"as": outcome, **BY})
    assert (outcome, resolved["state"]) == (resolved["state"], outcome)
    again = till.post(f"/v1/payouts/{payout}:resolve", **{"as": outcome, **BY})
    assert again == resolved
    other = {"paid": "refunded", "refunded": "paid"}[outcome]
    refused = till.post(f"/v1/payouts/{payout}:resolve", **{"as": other, **BY})
    assert refused["error"] == "payout_ended"
    told = till.see(payout)
    decided = told["history"][-2]
    assert decided == {"type": "PayoutResolved", "at_ms": ANY, "outcome": outcome, **BY}
    credits = till.world.get("http://payouts/v1/balances/u").data()["credits"]
    assert credits == {"paid": 0, "refunded": 5}[outcome]

    assert till.post("/v1/signer:release", **BY) == {"released": True}
    second = till.ask(key="second")
    world.advance(150)  # Longer than two reconciliations take to come.
    assert {} == till.alarms()
    assert till.see(second)["state"] == "paid"
    assert till.balance() == held + 5 * UNITS
    report = world.do(world.payouts.payouts.reconciler.run())
    assert (report.is_right, report.strange, report.chain) == (True, (), report.ledger)


def test_a_release_holds_until_something_new_is_found(world: World) -> None:
    """Also after a restart, and while the payout is not resolved yet."""
    till, payout = mismatched(world)
    till.post("/v1/signer:release", **BY)
    till.restart()
    second = till.ask(key="second")
    world.advance(20)
    assert set(till.alarms()) <= {"payout_mismatched", "reconciliation"}
    assert "payout_mismatched" in till.alarms()
    assert (till.see(payout)["state"], till.see(second)["state"]) == ("sent", "paid")

    async def released() -> list[Any]:
        async with world.stores["payouts"].unit() as unit:
            return [fact for _, fact in await unit.facts() if isinstance(fact, SignerReleased)]

    (fact,) = world.do(released())
    assert (fact.by, fact.why) == (BY["by"], BY["why"])
    assert "something else" in fact.reason


def test_one_reading_is_not_resolved(world: World) -> None:
    """What is decided on must have been read twice by the service, and be read so once more."""
    till, payout = mismatched(world)

    async def unread() -> None:
        async with world.stores["payouts"].unit() as unit:
            unit._do(lambda dialect: text("DELETE FROM fact WHERE type = 'PayoutMismatched'"))

    world.do(unread())
    refused = till.post(f"/v1/payouts/{payout}:resolve", **{"as": "paid", **BY})
    assert refused["error"] == "payout_ended"
    assert "a second one must confirm it" in refused["message"]


def test_two_who_decide_at_once(world: World) -> None:
    """The same decision is one; of two decisions the first stands."""
    till, payout = mismatched(world)
    resolve = world.payouts.payouts.resolve

    async def both(*outcomes: str) -> list[Any]:
        works = [resolve(payout, outcome, "bob", "looked") for outcome in outcomes]
        return await asyncio.gather(*works, return_exceptions=True)

    first, second, third = world.do(both("paid", "paid", "refunded"))
    assert first == second
    assert isinstance(third, PayoutEnded)
    facts = [fact["type"] for fact in till.see(payout)["history"]]
    assert facts.count("PayoutResolved") == 1


class Read:
    """What reconciliation reads of payouts of one transaction."""

    def __init__(self, *payouts: tuple[PayoutState, int, int | None]) -> None:
        self.rows = [
            (Payout(f"{n}", state, units=units, tx="0x01"), moved)
            for n, (state, units, moved) in enumerate(payouts)
        ]

    async def payouts(self, *states: PayoutState, tx: str) -> list[Payout]:
        return [row for row, _ in self.rows if row.state in states and row.tx == tx]

    async def standing(self, payout_id: str) -> list[Any]:
        moved = self.rows[int(payout_id)][1]
        known: dict[str, Any] = {"subject": payout_id, "at_ms": 1}
        if moved is None:
            return []
        return [
            PayoutMismatched(**known, source="payouts", tx="0x01", reason="", moved=moved),
            PayoutResolved(**known, source="payouts", outcome="paid", by="bob", why="looked"),
        ]


@pytest.mark.parametrize(
    ("payouts", "out", "came", "strange"),
    [
        ([(PayoutState.PAID, 5, None)], [5], 0, []),
        ([(PayoutState.PAID, 5, None)], [5, 5], 0, ["5"]),
        ([(PayoutState.PAID, 5, 4)], [4], 0, []),
        ([(PayoutState.REFUNDED, 5, 4)], [5], 1, []),
        ([(PayoutState.REFUNDED, 5, 4)], [4, 7], 0, ["4", "7"]),
        ([(PayoutState.PAID, 5, None), (PayoutState.REFUNDED, 5, 4)], [5, 4], 0, []),
        ([(PayoutState.PAID, 5, None), (PayoutState.PAID, 5, 0)], [5, 5], 0, ["5"]),
    ],
)
def test_a_resolved_payout_explains_what_it_moved_and_no_more(
    payouts: Any, out: list[int], came: int, strange: list[str]
) -> None:
    unit: Any = Read(*payouts)
    found = asyncio.run(_unexplained(unit, "0x01", Counter(out), came))
    assert [each.split()[0] for each in found] == strange


def test_what_the_service_decides_is_not_resolved(desk: Desk) -> None:
    desk.earn()
    payout = desk.post("/payout", ask()).data()["id"]
    path = f"/v1/payouts/{payout}:resolve"
    for fields, error in (
        ({"as": "lost", **BY}, "invalid_request"),
        ({"as": "paid", "by": "bob"}, "invalid_request"),
        ({"as": "paid", "by": "bob", "why": "two\nlines"}, "invalid_request"),
        ({"as": "paid", "by": "bob", "why": "x" * 501}, "invalid_request"),
        ({"as": "paid", **BY}, "payout_ended"),
    ):
        assert desk.post(path, fields).data()["error"] == error
    desk.storm.loop.run_until_complete(desk.storm.payouts.tick())
    refused = desk.post(path, {"as": "paid", **BY})
    assert refused.status == 409
    assert "decides this payout by itself" in refused.data()["message"]
    desk.settle()
    assert desk.post(path, {"as": "paid", **BY}).data()["error"] == "payout_ended"
    assert desk.post("/v1/payouts/none:resolve", {"as": "paid", **BY}).status == 404


@pytest.mark.parametrize("outcome", ["paid", "refunded"])
def test_a_payout_that_lost_its_nonce_is_resolved(desk: Desk, outcome: str) -> None:
    """Its nonce went to a foreign transaction, which may have paid it: a person knows."""
    desk.earn()
    payout = desk.post("/payout", ask()).data()["id"]
    desk.storm.loop.run_until_complete(desk.storm.payouts.tick())
    desk.storm.chain.foreign(0)
    desk.settle()
    resolved = desk.post(f"/v1/payouts/{payout}:resolve", {"as": outcome, **BY}).data()
    assert resolved["state"] == outcome
    assert desk.user()["credits"] == {"paid": 60, "refunded": 100}[outcome]
