"""Whatever a peer answers, as JSON or as any bytes: a typed value, or an error of our own tree."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.payments import SELLER, offer
from workbench import World
from workbench.core import facts as ev
from workbench.core.errors import PeerAnswerInvalid, PeerRefused, PeerUnreadable, WorkbenchError
from workbench.core.facts import to_dict
from workbench.core.ports import Request, Response
from workbench.core.x402 import ZERO_ADDRESS, complete_terms
from workbench.services.common import peers
from workbench.services.common.routes import EventPage
from workbench.services.otc.facilitator_answer import check_acceptance

IDENTITY = "0x" + "ab" * 32
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
NAMES = st.sampled_from(
    "error message hint payment_requirement terms settlement_id accepted status state eurc_spent "
    "events next last seq type chain_id".split()
)
VALUES = st.recursive(
    SCALARS, lambda some: st.lists(some, max_size=3) | st.dictionaries(NAMES, some, max_size=6)
)
BODIES = st.one_of(
    st.binary(max_size=200),
    VALUES.map(lambda value: json.dumps(value).encode()),
    st.sampled_from([b"[" * 100_000, b"9" * 5_000, b'{"a":1,"a":2}', b"\xff\xfe{}", b""]),
)
STATUSES = st.sampled_from([100, 200, 201, 204, 301, 400, 402, 404, 409, 429, 500, 502, 599])
ANSWERS = st.builds(Response, STATUSES, BODIES)


class Says:
    """An Http that gives every request the same answer, and no time passes."""

    def __init__(self, answer: Response) -> None:
        self.answer, self.sent = answer, list[Request]()

    async def send(self, request: Request) -> Response:
        self.sent.append(request)
        return self.answer


class Still:
    """A Clock that advances one minute at each reading, so that every wait ends."""

    def __init__(self) -> None:
        self._now_ms = 0

    def now_ms(self) -> int:
        self._now_ms += 60_000
        return self._now_ms

    async def sleep(self, seconds: float) -> None:
        """No time passes here."""


@given(ANSWERS)
def test_only_an_acceptance_is_one(answer: Response) -> None:
    """Of the facilitator: no status and no body but the acceptance itself passes."""
    with pytest.raises(WorkbenchError):
        check_acceptance(answer, IDENTITY)


GOOD = {"settlement_id": IDENTITY, "accepted": True, "status": "pending"}
FINAL: list[Any] = [
    {**GOOD, "accepted": False},
    {**GOOD, "accepted": "true"},
    {**GOOD, "accepted": 1},
    {**GOOD, "settlement_id": "0x" + "cd" * 32},
    {**GOOD, "settlement_id": None},
    {"accepted": True},
    {"settlement_id": IDENTITY},
    [GOOD],
    None,
]


def test_the_acceptance_itself() -> None:
    """With any 2xx, other fields, and an id in capitals."""
    check_acceptance(Response.json(200, GOOD), IDENTITY)
    shouted = {**GOOD, "settlement_id": IDENTITY.upper().replace("0X", "0x"), "more": [1]}
    check_acceptance(Response(202, json.dumps(shouted).encode()), IDENTITY)


@pytest.mark.parametrize("body", FINAL, ids=str)
def test_json_that_is_no_acceptance_is_final(body: Any) -> None:
    """The facilitator itself has spoken: asking again would hear the same."""
    with pytest.raises(PeerRefused) as caught:
        check_acceptance(Response.json(200, body), IDENTITY)
    assert not caught.value.transient
    assert len(str(caught.value)) < 800


@pytest.mark.parametrize(
    "answer",
    [
        Response(200, b"<html>hello</html>"),
        Response(200, b""),
        Response(302, b""),
        Response(429, b"slow down"),
        Response(502, b"<html>bad gateway</html>"),
    ],
)
def test_what_a_proxy_says_may_pass(answer: Response) -> None:
    """No word of the facilitator's: the claim is tried again until its offer ends."""
    with pytest.raises(WorkbenchError) as caught:
        check_acceptance(answer, IDENTITY)
    assert caught.value.transient


@given(ANSWERS)
def test_any_answer_of_a_seller_is_a_purchase_or_an_error(
    shared_world: World, answer: Response
) -> None:
    """The buyer asks, pays and follows: only errors of our tree."""
    buyer = shared_world.wiring.buyer(http=Says(answer))
    buyer._clock, buyer._rules = Still(), shared_world.buyer._rules
    requirement = {**_offer(shared_world)}
    terms = complete_terms(requirement["terms"], buyer.address, 1)
    payment = shared_world.do(buyer._sign(terms, ["authorization"]))

    async def all_of_it() -> None:
        for step in (
            buyer.authorize(SELLER, 10**20),
            buyer.pay(SELLER, payment),
            buyer.follow(SELLER, IDENTITY, terms),
        ):
            with pytest.raises(WorkbenchError):
                await step

    shared_world.do(all_of_it())


_OFFER: dict[str, Any] = {}


def _offer(world: World) -> dict[str, Any]:
    if not _OFFER:
        _OFFER.update(offer(world))
    return _OFFER


@given(ANSWERS)
def test_any_answer_of_a_peer_leaves_the_tracker_at_work(answer: Response) -> None:
    """`EventPage.of` reads a page, or raises an error of our tree."""
    try:
        page = EventPage.of(answer, "seller", 0)
    except WorkbenchError:
        return
    assert page.next >= 0


FACT = ev.AssetDelivered(
    subject=IDENTITY,
    at_ms=1,
    source="seller",
    buyer=ZERO_ADDRESS,
    asset_amount=2**255,
    block=ev.BlockRef(1, "0x1", "0x2", 3),
)


def page_of(*facts: dict[str, Any], upto: int = 9, last: int = 9) -> Response:
    """What a seller's `/events` would answer."""
    body = {"events": [{"seq": n + 1, **fact} for n, fact in enumerate(facts)]}
    return Response(200, json.dumps({**body, "next": upto, "last": last}).encode())


def test_a_page_is_read() -> None:
    """Bytes to the very fact."""
    assert [(1, FACT)] == list(EventPage.of(page_of(to_dict(FACT)), "seller", 0).facts)


CHANGES: list[dict[str, Any]] = [
    {"source": "facilitator"},
    {"at_ms": "1"},
    {"asset_amount": None},
    {"asset_amount": 1.5},
    {"type": "Nothing"},
    {"type": 3},
    {"block": {"number": "1", "hash": "", "tx": "", "log_index": 0}},
    {"block": 7},
    {"seq": "1"},
    {"seq": -1},
    {"more": 1},
]


@pytest.mark.parametrize("changes", CHANGES, ids=str)
def test_a_fact_that_is_no_fact_of_the_peer_is_refused(changes: dict[str, Any]) -> None:
    """Types, kinds and emitters: a peer's journal is not ours to believe."""
    with pytest.raises(PeerAnswerInvalid):
        EventPage.of(page_of({**to_dict(FACT), **changes}), "seller", 0)


def test_a_peer_tells_nothing_of_the_chain_and_takes_nothing_back() -> None:
    """Blocks and their logs are the watcher's to tell."""
    orphaned = ev.BlockOrphaned(subject="0x1", at_ms=1, source="seller", block=None, number=1)
    with pytest.raises(PeerAnswerInvalid):
        EventPage.of(page_of(to_dict(orphaned)), "seller", 0)


@pytest.mark.parametrize(("upto", "last"), [(5, 9), (3, 9)])
def test_a_page_that_leads_nowhere_ends_the_asking(upto: int, last: int) -> None:
    """`next` that stays, or goes back, would be asked for ever."""
    with pytest.raises(PeerAnswerInvalid):
        EventPage.of(page_of(upto=upto, last=last), "seller", 5)


@pytest.mark.parametrize("code", sorted(WorkbenchError.kinds))
def test_any_code_of_ours_comes_back_as_its_error(code: str) -> None:
    """Also of kinds whose making takes other words than a message and a hint."""
    answer = Response.json(409, {"error": code, "message": "no", "hint": "why"})
    told = peers.refused(answer, "seller")
    assert told.code in (code, "peer_refused")
    assert "no" in told.message


def test_an_answer_is_repeated_only_in_part() -> None:
    """A megabyte of somebody's page does not land in a message or a log."""
    told = peers.refused(Response(400, b"x" * 1_000_000), "seller")
    assert isinstance(told, PeerUnreadable)
    assert len(str(told)) < 500
    long = peers.refused(
        Response.json(400, {"error": "y" * 10**6, "message": "z" * 10**6}), "seller"
    )
    assert len(str(long)) < 1_000


def test_the_tracker_goes_on_past_a_peer_that_lies(world: World) -> None:
    """Its facts are not taken; the others' are, and the health says which peer it is."""
    real = world.tracker._http

    class Lies:
        async def send(self, request: Request) -> Response:
            if request.url.startswith("http://seller/events"):
                return Response(200, b'{"events": [{"seq": 1}], "next": 1, "last": 1}')
            return await real.send(request)

    world.tracker._http = Lies()
    world.advance(2)
    reasons = world.tracker.health._states["peers"].reasons
    assert ["seller"] == [name for name in reasons if name]
