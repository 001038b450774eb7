"""One offer, one settlement: another payment for it is 409 and leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.hypothesis_profile import examples
from tests.payments import AMOUNT, SELLER, follow, header, offer, pay, payment
from tests.services.otc.test_failures import give_away
from tests.store.sql.stores import authorization
from tests.strategies import authorizations
from workbench import World
from workbench.core import facts as ev
from workbench.core.ports import Request, Response
from workbench.core.x402 import SettlementRequest
from workbench.evm.transactions.test_keys import key_of
from workbench.store.sql.database import SqlStore, sqlite_url

ABOUT_ONE = (ev.PaymentAuthorized, ev.SettlementCreated)


def settlements(world: World) -> set[str]:
    """Every settlement that any fact is about."""
    return {fact.subject for fact in world.run.events if isinstance(fact, ABOUT_ONE)}


def named(answer: Response) -> str:
    """The settlement that a refusal names as the first one."""
    assert (409, "offer_taken") == (answer.status, answer.data()["error"]), answer.data()
    told = answer.data()
    assert told["settlement_id"] in told["message"]
    assert "new offer" in told["hint"]
    return str(told["settlement_id"])


def test_another_payment_for_an_offer_is_refused_and_names_the_first(world: World) -> None:
    """One unit more of budget, or another buyer: it exists nowhere. The same one goes on."""
    requirement = offer(world)
    first = payment(world, requirement)
    paid = pay(world, first)
    assert 200 == paid.status
    identity = paid.data()["settlement_id"]
    assert identity == named(pay(world, payment(world, requirement, max_eurc=101_000_001)))
    stranger = key_of("spare1").secret
    assert identity == named(pay(world, payment(world, requirement, key=stranger)))
    assert paid.data() == pay(world, first).data()
    assert "executed" == follow(world, identity)["status"]
    assert identity == named(pay(world, payment(world, requirement, max_eurc=101_000_002)))
    assert {identity} == settlements(world)


def test_two_payments_at_once_become_one_settlement(world: World) -> None:
    """The first one is sold; the other gets an error that names it."""
    requirement = offer(world)
    both = [payment(world, requirement, max_eurc=101_000_000 + n) for n in range(3)]
    requests = [
        Request(
            "GET", f"{SELLER}/buy-asset?amount={AMOUNT}", headers=(("X-PAYMENT", header(each)),)
        )
        for each in both
    ]

    async def together() -> list[Response]:
        return list(await asyncio.gather(*(world.http.send(each) for each in requests)))

    answers = world.do(together())
    (sold,) = [each.data()["settlement_id"] for each in answers if each.status == 200]
    assert {sold} == {named(each) for each in answers if each.status != 200}
    world.advance(2)
    assert {sold} == settlements(world)


def test_after_a_refund_a_new_offer_is_needed(world: World) -> None:
    """What ended badly does not sell again: its buyer may have been told that it failed."""
    requirement = offer(world, 1)  # One base unit is outside the band, so it is refunded.
    paid = pay(world, payment(world, requirement, max_eurc=2), 1)
    identity = paid.data()["settlement_id"]
    assert "refunded" == follow(world, identity)["status"]
    again = pay(world, payment(world, requirement, max_eurc=3), 1)
    assert identity == named(again)
    assert "refunded" in again.data()["message"]
    assert {identity} == settlements(world)


def test_a_seller_without_its_database_knows_what_the_chain_has_of_its_offers(world: World) -> None:
    """Of a new database the watcher tells; the row is not the only memory."""
    requirement = offer(world)
    identity = pay(world, payment(world, requirement)).data()["settlement_id"]
    world.advance(2)
    world.kill("seller")
    world.stores["seller"] = SqlStore()
    world.restart("seller")
    world.advance(2)
    assert identity == named(pay(world, payment(world, requirement, max_eurc=101_000_009)))


def test_the_facilitator_brings_an_offer_to_its_end_once(world: World) -> None:
    """Also where a seller signs twice under one salt."""
    requirement = offer(world)
    identity = pay(world, payment(world, requirement)).data()["settlement_id"]
    other = payment(world, requirement, max_eurc=101_000_001)

    async def handed() -> Response:
        async with world.stores["seller"].unit() as unit:
            first = await unit.authorization(identity)
        assert first is not None
        terms = replace(first.terms, max_eurc=101_000_001)
        digest = world.chain.terms_digest(terms)
        wire = {
            "settlement_id": "0x" + digest.hex(),
            "payload": other,
            "seller_signature": world.seller._signer.sign_digest(digest),
        }
        body = json.dumps(wire).encode()
        return await world.http.send(Request("POST", "http://facilitator/settle", body=body))

    assert identity == named(world.do(handed()))


def test_a_buyer_whose_money_left_may_not_keep_the_offer(world: World) -> None:
    """A payment that was refused before its claim does not take the offer: nothing is sold yet."""
    requirement = offer(world)
    give_away(world, "buyer", "MockEURC")
    assert 409 == pay(world, payment(world, requirement)).status
    assert not settlements(world)


# --- The store ---


def sibling(claimed: SettlementRequest, by: int) -> SettlementRequest:
    """Another settlement of the same offer."""
    terms = replace(claimed.terms, max_eurc=claimed.terms.max_eurc ^ by)
    identity = f"0x{int(claimed.settlement_id, 16) ^ by:064x}"
    return replace(claimed, settlement_id=identity, payment=replace(claimed.payment, terms=terms))


@examples(20)
@given(st.lists(authorizations, min_size=1, max_size=3), st.data())
def test_a_store_never_claims_an_offer_twice(claims: list[SettlementRequest], data: Any) -> None:
    """In memory, and in a file that two processes have open; whatever the order."""
    many = [each if not by else sibling(each, by) for each in claims for by in range(3)]
    tried = data.draw(st.lists(st.sampled_from(many), max_size=12))

    async def play(stores: list[SqlStore]) -> None:
        first: dict[str, str] = {}
        for n, each in enumerate(tried):
            async with stores[n % len(stores)].unit() as unit:
                won = await unit.authorize(each)
                assert won == (each.offer not in first)
                first.setdefault(each.offer, each.settlement_id)
                assert first[each.offer] == await unit.sold(each.offer)
        for store in stores:
            async with store.unit() as unit:
                for each in many:
                    assert first.get(each.offer) == await unit.sold(each.offer)

    memory = SqlStore()
    asyncio.run(play([memory]))
    restored = SqlStore()
    restored.restore(memory.dump())

    async def same() -> None:
        for each in many:
            async with memory.unit() as unit, restored.unit() as other:
                assert await unit.sold(each.offer) == await other.sold(each.offer)

    asyncio.run(same())
    memory.close()
    restored.close()


def test_two_processes_and_an_older_database(tmp_path: Path) -> None:
    """What another process claimed is seen at once; claims of before offers had rows count too."""
    claimed, url = authorization(), sqlite_url(tmp_path / "seller.db")

    async def claims(store: SqlStore, expected: dict[int, bool]) -> None:
        for by, won in expected.items():
            async with store.unit() as unit:
                assert won == await unit.authorize(sibling(claimed, by) if by else claimed)
                assert claimed.settlement_id == await unit.sold(claimed.offer)

    one, two = SqlStore(url), SqlStore(url)
    asyncio.run(claims(one, {0: True, 1: False}))
    asyncio.run(claims(two, {0: False, 1: False, 2: False}))
    one.cursor.execute("DELETE FROM offer")
    one.close()
    two.close()
    older = SqlStore(url)
    asyncio.run(claims(older, {1: False, 0: False}))
    older.close()
