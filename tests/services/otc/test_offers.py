"""Offers prove themselves: a flood of 402 answers leaves a trickle, and breaks no purchase."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.payments import AMOUNT, SELLER, follow, offer, pay, payment
from tests.strategies import hexes, terms, uint256
from workbench import World
from workbench.core.errors import TermsMismatch
from workbench.core.facts import PaymentRequested
from workbench.core.ports import Request
from workbench.core.x402 import Domain, Terms
from workbench.evm.transactions.signer import KeySigner
from workbench.evm.transactions.test_keys import key_of
from workbench.services.otc.offers import (
    MINUTE_MS,
    NOTED_PER_MINUTE,
    OFFERED,
    OfferIssuer,
    requested,
)

DOMAIN = Domain(31337, "0x" + "ab" * 20)
SIGNER = KeySigner(key_of("seller").secret)
FLOOD = 10_000


class Once:
    """An RPC that asks the node each thing once: nothing happens on the chain during a flood."""

    def __init__(self, real: Any) -> None:
        self._real, self.url = real, real.url
        self._told: dict[str, Any] = {}

    async def call(self, method: str, *params: Any) -> Any:
        key = f"{method} {params}"
        if key not in self._told:
            self._told[key] = await self._real.call(method, *params)
        return self._told[key]

    async def close(self) -> None:
        """Nothing to close."""


def ask(world: World, times: int) -> None:
    """So many 402 answers, and nobody pays."""
    chain: Any = world.seller._chain
    chain.rpc = Once(world.rpc)
    request = Request("GET", f"{SELLER}/buy-asset?amount={AMOUNT}")

    async def all_of_them() -> None:
        for _ in range(times // 100):
            answers = await asyncio.gather(*(world.http.send(request) for _ in range(100)))
            assert {402} == {answer.status for answer in answers}

    world.do(all_of_them())
    chain.rpc = world.rpc


def recorded(world: World) -> list[PaymentRequested]:
    async def facts() -> list[PaymentRequested]:
        async with world.stores["seller"].unit() as unit:
            return [f for _, f in await unit.facts() if isinstance(f, PaymentRequested)]

    return world.do(facts())


@pytest.mark.slow
def test_a_flood_of_402_leaves_a_trickle(world: World) -> None:
    """Ten thousand leave sixty facts; the honest buyer among them is served, and seen."""
    ask(world, FLOOD // 2)
    asked_ms = world.clock.now_ms()
    honest = offer(world)
    ask(world, FLOOD // 2)
    assert NOTED_PER_MINUTE == len(recorded(world))
    assert honest["terms"]["salt"] not in {fact.subject for fact in recorded(world)}
    # The seller is not even the same any more.
    world.advance(2)
    world.kill("seller")
    world.restart("seller")
    answer = pay(world, payment(world, honest))
    assert 200 == answer.status, answer.data()
    assert "executed" == follow(world, answer.data()["settlement_id"])["status"]
    world.advance(2)
    assert NOTED_PER_MINUTE + 1 == len(recorded(world))
    stages = world.run.timeline()
    assert ["requested", "authorized"] == list(stages.stage[:2])
    assert asked_ms == stages.start_ms[0]


def test_a_quote_that_nobody_took_is_seen(world: World) -> None:
    """One of a few is recorded at once; and again only once, when it is paid."""
    asked = offer(world)
    assert [asked["terms"]["salt"]] == [fact.subject for fact in recorded(world)]
    assert 200 == pay(world, payment(world, asked)).status
    assert 1 == len(recorded(world))


@pytest.mark.parametrize("field", ["requiredUsdc", "fundDeadline", "assetAmount", "salt"])
def test_an_unrecorded_offer_cannot_be_altered(world: World, field: str) -> None:
    """Nor made up: the buyer signs better terms than were offered."""
    ask(world, 100)
    asked = offer(world)
    better: dict[str, Any] = {
        "requiredUsdc": 1,
        "fundDeadline": 2**40,
        "assetAmount": 2 * AMOUNT,
        "salt": "0x" + "11" * 32,
    }
    sent = payment(world, asked, terms=lambda t: t.__setitem__(field, better[field]))
    answer = pay(world, sent)
    assert (400, "terms_mismatch") == (answer.status, answer.data()["error"])


def test_an_unrecorded_offer_is_for_its_own_amount(world: World) -> None:
    """Whole terms, sent with another request."""
    ask(world, 100)
    answer = pay(world, payment(world, offer(world)), AMOUNT + 1)
    assert (400, ["amount"]) == (answer.status, answer.data()["fields"])


@given(terms, st.integers(0, 2**48 - 1), hexes(32))
def test_what_was_offered_is_recognised(given: Terms, at_ms: int, token: str) -> None:
    """By any seller of the same key and chain; the buyer's own terms are free."""
    sealed = OfferIssuer(SIGNER, DOMAIN).sealed(given, at_ms, token)
    answered = replace(sealed, buyer="0x" + "cd" * 20, max_eurc=7)
    assert at_ms == OfferIssuer(SIGNER, DOMAIN).made_at_ms(answered)
    fact = requested(answered, at_ms, "seller")
    assert (sealed.salt, *(getattr(given, name) for name in OFFERED)) == (
        fact.subject,
        *(getattr(fact, name) for name in OFFERED),
    )


@given(terms, hexes(32), st.sampled_from([*OFFERED, "salt"]), uint256, hexes(20), hexes(32))
def test_what_was_not_offered_is_not(
    given: Terms, token: str, name: str, number: int, address: str, word: str
) -> None:
    """Any other value of any member that is ours; another key; another chain."""
    sealed = OfferIssuer(SIGNER, DOMAIN).sealed(given, 1, token)
    old = getattr(sealed, name)
    new: Any = number if isinstance(old, int) else address if len(old) == 42 else word
    others = [(OfferIssuer(SIGNER, replace(DOMAIN, chain_id=1)), sealed)]
    others += [(OfferIssuer(KeySigner(key_of("buyer").secret), DOMAIN), sealed)]
    if new != old:
        others.append((OfferIssuer(SIGNER, DOMAIN), replace(sealed, **{name: new})))
    for offers, answered in others:
        with pytest.raises(TermsMismatch):
            offers.made_at_ms(answered)


def test_what_is_worth_noting_is_counted_by_the_minute() -> None:
    """So many in each, whatever was before."""
    offers = OfferIssuer(SIGNER, DOMAIN)
    for minute in (5, 6, 90):
        noted = [offers.worth_noting(minute * MINUTE_MS + n) for n in range(200)]
        assert [True] * NOTED_PER_MINUTE + [False] * (200 - NOTED_PER_MINUTE) == noted
