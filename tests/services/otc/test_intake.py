"""A seller looks before it reserves stock or spends gas, and counts only what is its own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.hypothesis_profile import examples
from tests.payments import AMOUNT, SELLER, follow, offer, pay, payment
from tests.services.otc.test_failures import give_away, transact
from tests.services.otc.test_funding import authorised
from workbench import World
from workbench.core import facts as ev
from workbench.core.ports import Request, Response
from workbench.core.records import replace
from workbench.core.settlement import OPEN, SettlementState
from workbench.core.x402 import Terms, complete_terms
from workbench.evm.codec import abi
from workbench.evm.transactions.signer import KeySigner
from workbench.evm.transactions.test_keys import key_of
from workbench.services.common.settlement_index import SettlementIndex
from workbench.services.otc.intake import MAX_OPEN_PER_BUYER
from workbench.sim.people.buyers import CANCEL_STRUCT
from workbench.store.sql.database import SqlStore

SPENT = (ev.TransactionSigned, ev.SettlementCreated)


@contextmanager
def nothing_happens(world: World, *, claimed: bool = False) -> Iterator[None]:
    """No gas, nothing on chain; and, unless it is `claimed`, no reservation."""
    before, facts = world.balances(), len(world.run.events)
    yield
    world.advance(3)
    told = world.run.events[facts:]
    assert not [fact for fact in told if isinstance(fact, SPENT)]
    assert claimed or not [fact for fact in told if isinstance(fact, ev.PaymentAuthorized)]
    assert before == world.balances()


def refused(answer: Response, status: int, code: str) -> dict[str, Any]:
    """A named refusal with a hint."""
    assert (status, code) == (answer.status, answer.data()["error"]), answer.data()
    assert answer.data()["hint"]
    return dict(answer.data())


@pytest.mark.parametrize("funding", ["authorization", "permit"])
def test_a_key_without_a_cent_buys_nothing(world: World, funding: str) -> None:
    """However often: the next honest buyer gets what it asks for."""
    with nothing_happens(world):
        for n in range(3):
            buyer = world.wiring.buyer(f"0x{n + 1:064x}")
            buyer._rules = replace(buyer._rules, fund_by=funding)
            terms = complete_terms(offer(world)["terms"], buyer.address, 101_000_000)
            signed = world.do(buyer._sign(terms, [funding]))
            refused(pay(world, signed.to_wire()), 409, "insufficient_funds")
    assert "executed" == world.buy("100").status


def cancel(world: World, content: dict[str, Any]) -> None:
    """The buyer takes its authorization back, on chain."""
    key, eurc = key_of("buyer"), world.chain.addresses.eurc
    terms = _terms(content)
    nonce = world.chain.terms_digest(terms)
    digest = world.do(
        world.chain.token_digest(eurc, CANCEL_STRUCT, ["address", "bytes32"], [terms.buyer, nonce])
    )
    signed = bytes.fromhex(KeySigner(key.secret).sign_digest(digest)[2:])
    parts = (signed[64], signed[:32], signed[32:64])
    data = abi.encode_call("MockEURC", "cancelAuthorization", terms.buyer, nonce, *parts)
    transact(world, "buyer", world.deployment["MockEURC"], data)


def _terms(content: dict[str, Any]) -> Any:
    return Terms.from_wire(content["terms"])


def test_a_cancelled_authorization_costs_no_gas_and_no_stock(world: World) -> None:
    """Only the token knows it: the simulation says so, and the claim ends at once."""
    content = authorised(world, offer(world))
    cancel(world, content)
    with nothing_happens(world, claimed=True):
        refused(pay(world, content), 409, "authorization_used")
        assert SettlementState.REJECTED is world.do(_only(world)).state
        assert 0 == reserved(world)
    assert "executed" == world.buy("100").status


def reserved(world: World) -> int:
    """Base units of stock that wait for their settlement's creation."""
    world.do(world.seller.book.refresh())
    return world.seller.book.assets(world.chain.addresses.asset, SettlementState.AUTHORIZED)


async def _only(world: World) -> Any:
    await world.seller.book.refresh()
    (settlement,) = world.seller.book.settlements.values()
    return settlement


@pytest.mark.parametrize("fund_by", [authorised, payment])
@pytest.mark.parametrize("how", ["pause", "setBlocked"])
def test_a_token_that_would_refuse_is_asked_first(world: World, how: str, fund_by: Any) -> None:
    """A paused token, a blocked buyer: named, before the seller's transaction."""
    content = fund_by(world, offer(world))
    arguments = () if how == "pause" else (key_of("buyer").address.lower(), True)
    data = abi.encode_call("MockEURC", how, *arguments)
    transact(world, "deployer", world.deployment["MockEURC"], data)
    with nothing_happens(world, claimed=True):
        refused(pay(world, content), 409, "token_refused")


def test_one_buyer_has_no_more_than_the_limit_open(world: World) -> None:
    """Of many at once; others may buy meanwhile, and it again when one of its own has ended."""
    limit = MAX_OPEN_PER_BUYER
    contents = [authorised(world, offer(world)) for _ in range(limit + 2)]
    answers = world.do(_send_all(world, contents))
    assert [200] * limit + [429] * 2 == sorted(each.status for each in answers)
    late = [(n, each) for n, each in enumerate(answers) if each.status == 429]
    for _, each in late:
        told = refused(each, 429, "too_many_open")
        assert (limit, limit) == (told["open"], told["limit"])
    assert limit == len({f.subject for f in _claims(world)})
    other = key_of("spare1")
    mint = abi.encode_call("MockEURC", "mint", other.address.lower(), 10**9)
    transact(world, "deployer", world.deployment["MockEURC"], mint)
    assert 200 == pay(world, payment(world, offer(world), key=other.secret)).status
    for each in answers:
        if each.status == 200:
            follow(world, each.data()["settlement_id"])
    assert 200 == pay(world, contents[late[0][0]]).status


def _claims(world: World) -> list[ev.Event]:
    world.advance()
    return [fact for fact in world.run.events if isinstance(fact, ev.PaymentAuthorized)]


def test_payments_cannot_all_lean_on_one_balance(world: World) -> None:
    """At once, before any is funded: together they may promise what is there."""
    give_away(world, "buyer", "MockEURC")
    mint = abi.encode_call("MockEURC", "mint", key_of("buyer").address.lower(), 202_000_000)
    transact(world, "deployer", world.deployment["MockEURC"], mint)
    contents = [authorised(world, offer(world)) for _ in range(4)]
    before = world.do(_send_all(world, contents))
    assert [200, 200, 409, 409] == sorted(each.status for each in before)
    codes = {each.data()["error"] for each in before if each.status == 409}
    assert {"insufficient_funds"} == codes
    for each in before:
        if each.status == 200:
            assert "executed" == follow(world, each.data()["settlement_id"])["status"]


async def _send_all(world: World, contents: list[Any]) -> list[Response]:
    from tests.payments import header

    url = f"{SELLER}/buy-asset?amount={AMOUNT}"
    asked = [Request("GET", url, headers=(("X-PAYMENT", header(each)),)) for each in contents]
    return list(await asyncio.gather(*(world.http.send(each) for each in asked)))


class Facilitator:
    """A peer that answers `/settle` as a test likes, and all else as it is."""

    def __init__(self, world: World, answer: Response) -> None:
        self._real, self.answer, self.asked = world.seller._http, answer, 0

    async def send(self, request: Request) -> Response:
        if not request.url.endswith("/settle"):
            return await self._real.send(request)
        self.asked += 1
        return self.answer


@pytest.mark.parametrize(
    ("answer", "code", "ends"),
    [
        (Response.json(200, {"accepted": False}), "peer_answer_invalid", True),
        (Response.json(200, {}), "peer_answer_invalid", True),
        (Response.json(403, {"error": "no", "message": "never"}), "peer_refused", True),
        (Response(200, b"<html>welcome</html>"), "peer_unreadable", False),
        (Response(503, b""), "peer_unreachable", False),
    ],
)
def test_what_is_no_acceptance_puts_nothing_on_chain(
    world: World, answer: Response, code: str, ends: bool
) -> None:
    """The buyer gets the error. A final answer frees the stock at once, others with the offer."""
    world.seller._http = Facilitator(world, answer)
    with nothing_happens(world, claimed=True):
        refused_ = pay(world, authorised(world, offer(world)))
        assert (502, code) == (refused_.status, refused_.data()["error"])
        assert (0 if ends else AMOUNT) == reserved(world)
        if not ends:
            world.skip(world.seller._rules.quote_lifetime_s + 1)
            world.advance(2)
            assert 0 == reserved(world)
            assert "deadline_passed" == world.do(_only(world)).reason


def test_a_facilitator_that_comes_to_its_senses(world: World) -> None:
    """A proxy's page was no refusal: the claim goes on by itself."""
    line = Facilitator(world, Response(200, b"<html>welcome</html>"))
    real, world.seller._http = world.seller._http, line
    assert 502 == pay(world, authorised(world, offer(world))).status
    world.seller._http = real
    identity = world.do(_only(world)).id
    assert "executed" == follow(world, identity)["status"]


def test_the_facilitator_refuses_a_buyer_without_money(world: World) -> None:
    """It pays gas too, and a seller may be anybody."""
    told: list[Response] = []
    real = world.seller._http

    class Late:
        """The money leaves between the seller's look and the facilitator's."""

        async def send(self, request: Request) -> Response:
            eurc, owner = world.deployment["MockEURC"], key_of("buyer").address
            held = await world.chain.balance(world.chain.addresses.eurc, owner.lower())
            data = abi.encode_call("MockUSDC", "transfer", key_of("spare2").address.lower(), held)
            call = {"from": owner, "to": eurc, "data": "0x" + data.hex(), "gas": hex(200_000)}
            await world.rpc.call("eth_sendTransaction", call)
            await world.rpc.call("evm_mine")
            told.append(await real.send(request))
            return told[-1]

    world.seller._http = Late()
    with pytest.raises(AssertionError), nothing_happens(world, claimed=True):  # The balance left.
        pay(world, authorised(world, offer(world)))
    assert (409, "insufficient_funds") == (told[0].status, told[0].data()["error"])
    assert not [f for f in world.run.events if isinstance(f, ev.SettlementCreated)]


# --- Only one's own ---

PARTIES = ["0x" + f"{n:02x}" * 20 for n in (1, 2)]
ASSETS = ["0x" + f"{n:02x}" * 20 for n in (7, 8)]
LIVES: list[list[type[ev.Event]]] = [
    [ev.PaymentAuthorized, ev.PaymentRejected],
    [ev.PaymentAuthorized, ev.SettlementCreated, ev.SettlementFunded, ev.SettlementSwapped],
    [ev.SettlementCreated, ev.SettlementFunded, ev.SettlementRefunded],
    [ev.SettlementCreated, ev.SettlementRefunded],
]


def fact(kind: type[ev.Event], n: int, asset: str, seller: str, buyer: str) -> ev.Event:
    """One fact of settlement `n`, with whatever else its kind has."""
    from dataclasses import fields

    of: dict[str, Any] = {"asset": asset, "seller": seller, "buyer": buyer, "asset_amount": n + 1}
    of |= {
        "subject": f"0x{n:064x}",
        "source": "test",
        "at_ms": n,
        "salt": f"s{n}",
        "quote": f"s{n}",
    }
    of |= {"max_eurc": 10 * (n + 1)}
    block = ev.BlockRef(n, f"0xb{n}", f"0xt{n}", 0) if kind.contract else None
    plain = {"str": "", "int": 0, "bool": True}
    named = {f.name: of.get(f.name, plain.get(str(f.type))) for f in fields(kind)}
    return kind(**{**named, "block": block})


@examples(60)
@given(st.data())
def test_another_seller_s_settlements_count_for_nothing(data: Any) -> None:
    """Two sellers on one vault, two assets: each book tells what a look at all of them tells."""
    told: list[ev.Event] = []
    for n in range(data.draw(st.integers(1, 8))):
        life = data.draw(st.sampled_from(LIVES))
        asset, seller = (data.draw(st.sampled_from(each)) for each in (ASSETS, PARTIES))
        known = (asset, seller, data.draw(st.sampled_from(PARTIES)))
        upto = data.draw(st.integers(1, len(life)))
        told += [fact(kind, n, *known) for kind in life[:upto]]
    store = SqlStore()

    async def play() -> None:
        books = {seller: SettlementIndex(store, seller=seller) for seller in PARTIES}
        for each in told:
            async with store.unit() as unit:
                await unit.record(each)
            for seller, book in books.items():
                await book.refresh()
                _check(book, seller)

    asyncio.run(play())
    store.close()


def _check(book: SettlementIndex, seller: str) -> None:
    own = [each for each in book.settlements.values() if each.seller == seller]
    for asset in ASSETS:
        for state in SettlementState:
            expected = sum(s.asset_amount for s in own if (s.asset, s.state) == (asset, state))
            assert expected == book.assets(asset, state)
    for buyer in PARTIES:
        expected_open = {s.id for s in own if s.buyer == buyer and s.state in OPEN}
        assert expected_open == {s.id for s in book.open_of(buyer)}
    assert all(each.id == book.sold(each.quote) for each in own)


def test_stock_is_not_locked_by_another_seller(world: World) -> None:
    """Its open settlements are on our vault, and none of ours."""
    asset = world.chain.addresses.asset
    held = next(
        n for (who, token), n in world.balances().items() if (who, token) == ("seller", "YPS")
    )
    theirs = fact(ev.SettlementCreated, 10**24, asset, PARTIES[0], PARTIES[1])

    async def told() -> None:
        async with world.stores["seller"].unit() as unit:
            await unit.record(theirs)

    world.do(told())
    answer = world.get(f"{SELLER}/buy-asset?amount={held}")
    assert 402 == answer.status, json.dumps(answer.data())
