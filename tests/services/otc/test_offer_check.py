"""The buyer believes no field of an offer: what is not as asked is refused before it signs."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.hypothesis_profile import examples
from tests.payments import AMOUNT, SELLER, offer
from workbench import World
from workbench.core.errors import (
    DeadlineRefused,
    OverCeiling,
    PriceRefused,
    SellerMismatch,
    TermsMismatch,
    WorkbenchError,
    WrongChain,
)
from workbench.core.ports import Request, Response
from workbench.core.pricing import Price
from workbench.core.records import replace
from workbench.core.x402 import Payment
from workbench.evm.transactions.signer import KeySigner
from workbench.evm.transactions.test_keys import key_of
from workbench.services.otc.buyer import Buyer, resource_of
from workbench.web.client import SocketHttp
from workbench.web.server import Server

MALLORY = key_of("spare2").address
DAY = 86_400
RESOURCE = resource_of(AMOUNT)


class Alters:
    """A buyer's Http: the seller's own answers, but each 402 with another offer in it."""

    def __init__(self, body: Any) -> None:
        self.body = body
        self.paid = 0

    async def send(self, request: Request) -> Response:
        self.paid += request.header("X-PAYMENT") is not None
        return Response(402, json.dumps(self.body).encode())


class Counts:
    """A signer that counts what it signs."""

    def __init__(self, key: str) -> None:
        self._real = KeySigner(key)
        self.address, self.signed = self._real.address, 0

    def sign_digest(self, digest: bytes) -> str:
        self.signed += 1
        return self._real.sign_digest(digest)

    def sign_permit(self, *what: Any) -> Any:
        self.signed += 1
        return self._real.sign_permit(*what)


def buyer_of(world: World, body: Any, **rules: Any) -> tuple[Buyer, Alters, Counts]:
    """Our buyer before a seller that answers with this body, its line and its signer."""
    line, signer = Alters(body), Counts(key_of("buyer").secret)
    buyer = world.wiring.buyer(http=line)
    buyer._signer = signer  # type: ignore[assignment]
    buyer._rules = replace(buyer._rules, retries=0, **rules)
    return buyer, line, signer


def body_of(world: World) -> dict[str, Any]:
    """A good 402."""
    answer = world.get(f"{SELLER}{RESOURCE}").data()
    return dict(json.loads(json.dumps(answer)))


Change = Callable[[dict[str, Any], dict[str, Any]], None]
"""Alters the requirement and its terms."""


def both(name: str, term: str, value: Any) -> Change:
    """A seller that is at least consistent."""

    def change(requirement: dict[str, Any], terms: dict[str, Any]) -> None:
        terms[term] = value(terms[term]) if callable(value) else value
        requirement[name] = terms[term]

    return change


HOSTILE: dict[str, tuple[Change, type[WorkbenchError], str]] = {
    "price times 1000": (
        both("required_amount", "requiredUsdc", lambda n: n * 1000), OverCeiling, "price",
    ),
    "price of 0": (both("required_amount", "requiredUsdc", 0), PriceRefused, "price"),
    "fund deadline in ten years": (
        both("payment_deadline", "fundDeadline", lambda n: n + 3650 * DAY),
        DeadlineRefused, "deadline",
    ),
    "swap deadline in ten years": (
        both("-", "swapDeadline", lambda n: n + 3650 * DAY), DeadlineRefused, "deadline",
    ),
    "both in ten years": (
        lambda r, t: t.update(fundDeadline=t["fundDeadline"] + 3650 * DAY, swapDeadline=2**60),
        DeadlineRefused, "deadline",
    ),
    "a deadline that has passed": (
        both("payment_deadline", "fundDeadline", 1), DeadlineRefused, "deadline",
    ),
    "another payee": (both("seller", "seller", MALLORY), SellerMismatch, "seller"),
    "another payee in the terms alone": (both("-", "seller", MALLORY), SellerMismatch, "seller"),
    "another resource": (both("-", "resourceHash", "0x" + "ab" * 32), TermsMismatch, "resource"),
    "another resource in words": (
        lambda r, t: r.update(resource="/buy-asset?amount=1"), TermsMismatch, "resource",
    ),
    "less of the asset": (both("asset_amount", "assetAmount", 1), TermsMismatch, "resource"),
    "another asset": (both("asset_token", "asset", MALLORY), TermsMismatch, "resource"),
    "another token to pay": (
        lambda r, t: r.update(settlement_token=MALLORY), TermsMismatch, "settlement_token",
    ),
    "another vault": (lambda r, t: r.update(settlement_vault=MALLORY), WrongChain, "vault"),
    "another chain": (lambda r, t: r.update(chain_id=1), WrongChain, "chain"),
    "another domain": (
        lambda r, t: r["domain"].update(verifyingContract=MALLORY), TermsMismatch, "domain",
    ),
    "other types": (lambda r, t: r["types"]["Settlement"].pop(), TermsMismatch, "types"),
    "no salt": (lambda r, t: t.pop("salt"), TermsMismatch, "salt"),
    "a short salt": (lambda r, t: t.update(salt="0x12"), TermsMismatch, "salt"),
    "no way of funding that we know": (
        lambda r, t: r.update(funding=["exact"]), TermsMismatch, "funding",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_what_was_not_asked_for_is_not_signed(world: World, name: str) -> None:
    """Each refusal is one sentence that names what is wrong, with a hint; nothing is sent."""
    change, kind, word = HOSTILE[name]
    body = body_of(world)
    change(body["payment_requirement"], body["payment_requirement"]["terms"])
    buyer, line, signer = buyer_of(world, body)
    with pytest.raises(kind) as caught:
        world.do(buyer.buy(SELLER, AMOUNT))
    assert word in caught.value.message
    assert caught.value.hint
    assert caught.value.message.count(". ") == 0
    assert (0, 0) == (line.paid, signer.signed)


def test_a_price_that_is_known_is_held_against_the_offer(world: World) -> None:
    """× 1000 for one unit is far below any ceiling; the tolerance is to the base unit."""
    body = world.get(f"{SELLER}{resource_of(10**18)}").data()
    good = dict(json.loads(json.dumps(body)))

    def asks(usdc: int, **rules: Any) -> Any:
        altered = copy.deepcopy(good)
        altered["payment_requirement"]["required_amount"] = usdc
        altered["payment_requirement"]["terms"]["requiredUsdc"] = usdc
        buyer, _, signer = buyer_of(world, altered, price=Price.parse("1.10"), **rules)
        return world.do(_outcome(buyer.authorize(SELLER, 10**18))), signer.signed

    for usdc in (1_100_000_000, 1_111_001):
        why, signed = asks(usdc)
        assert isinstance(why, PriceRefused)
        assert "price" in why.message
        assert 0 == signed
    for usdc, rules in ((1_111_000, {}), (1_100_000, {"price_tolerance_bps": 0}), (1, {})):
        told, signed = asks(usdc, **rules)
        assert isinstance(told, tuple), told
        assert 2 == signed


async def _outcome(work: Any) -> Any:
    try:
        return await work
    except WorkbenchError as why:
        return why


def test_without_a_known_seller_nothing_is_signed(world: World) -> None:
    """Whoever answers at the URL would be paid."""
    buyer, line, signer = buyer_of(world, body_of(world))
    buyer._seller = None
    with pytest.raises(SellerMismatch, match="which seller") as caught:
        world.do(buyer.buy(SELLER, AMOUNT))
    assert "SELLER_ADDRESS" in caught.value.hint
    assert (0, 0) == (line.paid, signer.signed)


# --- Any change of any field ---

ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-1, 2**256),
    st.text(max_size=12),
    st.sampled_from(
        [MALLORY, MALLORY.lower(), "0x" + "cd" * 32, 2**64, 2**96, [], {}, "1", 10**15]
    ),
    st.integers(1, 10**12).map(str),
)


@examples(150)
@given(st.data())
def test_any_change_of_an_offer_is_refused_or_harmless(shared_world: World, data: Any) -> None:
    """What is signed in spite of it is still what was asked for, within the bounds."""
    world = shared_world
    body = data.draw(st.just(_good(world)).map(copy.deepcopy))
    requirement = body["payment_requirement"]
    for _ in range(data.draw(st.integers(1, 2))):
        where = data.draw(
            st.sampled_from([requirement, requirement["terms"], requirement["domain"]])
        )
        if not where:
            continue
        name = data.draw(st.sampled_from(sorted(where)))
        if data.draw(st.booleans()) and name not in ("terms", "domain"):
            del where[name]
        elif name not in ("terms", "domain"):
            where[name] = data.draw(ODD)
    expected = Price.parse("1.10")
    buyer, line, signer = buyer_of(world, body, price=expected)
    told = world.do(_outcome(buyer.authorize(SELLER, AMOUNT)))
    assert 0 == line.paid
    if isinstance(told, WorkbenchError):
        assert 0 == signer.signed
        return
    payment: Payment = told[0]
    terms, now = payment.terms, world.do(world.chain.head()).timestamp
    addresses = world.chain.addresses
    assert (terms.buyer, terms.seller) == (signer.address, world.accounts["seller"])
    assert (terms.asset, terms.asset_amount) == (addresses.asset, AMOUNT)
    assert world.chain.resource_hash(RESOURCE) == terms.resource_hash
    assert 0 < terms.required_usdc <= expected.required_usdc(AMOUNT) * 101 // 100
    assert 0 < terms.max_eurc <= 102_010_000 + 1
    assert now < terms.fund_deadline <= terms.swap_deadline <= now + DAY


_GOOD: dict[str, Any] = {}


def _good(world: World) -> dict[str, Any]:
    if not _GOOD:
        _GOOD.update(body_of(world))
    return _GOOD


def test_the_offer_itself_is_signed(world: World) -> None:
    """Else the property above would say nothing."""
    buyer, _, signer = buyer_of(world, body_of(world), price=Price.parse("1.10"))
    payment, terms = world.do(buyer.authorize(SELLER, AMOUNT))
    assert (2, terms) == (signer.signed, payment.terms)
    assert offer(world)["terms"].keys() == terms.to_wire().keys() - {"buyer", "maxEurc"}


# --- Over real HTTP ---


class HostileSeller:
    """Serves altered offers, and counts the payments that reach it."""

    name = "hostile"

    def __init__(self, bodies: dict[str, Any]) -> None:
        self.bodies, self.paid, self.asked = bodies, 0, 0

    async def handle(self, request: Request) -> Response:
        self.paid += request.header("X-PAYMENT") is not None
        self.asked += 1
        return Response(402, json.dumps(self.bodies["now"]).encode())


def test_no_signature_reaches_a_hostile_seller_over_http(world: World) -> None:
    """The real client on a real socket: not one X-PAYMENT header leaves."""
    bodies = {}
    for name, (change, _, _) in HOSTILE.items():
        body = body_of(world)
        change(body["payment_requirement"], body["payment_requirement"]["terms"])
        bodies[name] = body
    buyer, _, _ = buyer_of(world, {})
    chain = buyer._chain

    class Known:
        """Of the chain, what was read before: the world's loop is another one."""

        addresses, domain = chain.addresses, chain.domain
        resource_hash = staticmethod(chain.resource_hash)
        terms_digest = staticmethod(chain.terms_digest)

        def __init__(self) -> None:
            self._head = world.do(chain.head())

        async def head(self) -> Any:
            return self._head

        def foresee_balance(self, *_: Any, **__: Any) -> None:
            """Nothing is looked up."""

    class Rate:
        async def usdc_per_eurc_e8(self) -> int:
            return 110_000_000

    buyer._chain, buyer._rates = Known(), Rate()  # type: ignore[assignment]

    async def play() -> HostileSeller:
        hostile, http = HostileSeller({}), SocketHttp()
        server = Server(hostile, host="127.0.0.1", port=0, name="hostile", setting="-")
        buyer._http = http
        try:
            for name, body in bodies.items():
                hostile.bodies["now"] = body
                with pytest.raises(HOSTILE[name][1]):
                    await buyer.buy(server.url, AMOUNT)
        finally:
            await http.close()
            await server.close()
        return hostile

    hostile = asyncio.run(play())
    assert (len(bodies), 0) == (hostile.asked, hostile.paid)
