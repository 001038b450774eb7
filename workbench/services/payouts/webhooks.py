"""Webhooks of the payout service: subscribers receive its facts, at least once, in order.

The journal is the outbox. The position of a subscriber moves only after a 2xx answer. A crash
before that repeats the message under the same id. Each subscriber has its own pace and delays
neither payouts nor other subscribers.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

from workbench.core.errors import NotFound, PeerUnreachable, PeerUntrusted
from workbench.core.ports import Clock, Http, Ledger, LedgerStorePort, Randomness, Request, Response
from workbench.core.webhooks import WAIT_MOST_S, WebhookDelivery, WebhookMessage, message, wait_ms
from workbench.services.common.loop import ServiceLoop, together
from workbench.services.common.routes import log

TIMEOUT_S = 15.0
PAGE = 200
"""Most messages to one subscriber in one round."""
COUNTED = 10_000
"""The backlog of a subscriber is counted up to this number only."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One subscriber. Path and query of its URL may contain a password, so they are never shown."""

    url: str = field(repr=False)

    @property
    def id(self) -> str:
        """Return the id in the database and in messages."""
        return hashlib.sha256(self.url.encode()).hexdigest()[:16]

    @property
    def place(self) -> str:
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"


@dataclass(frozen=True, slots=True)
class WebhookRules:
    """`urls`: of the subscribers. `secrets`: each message is signed with all of them."""

    urls: tuple[str, ...] = field(default=(), repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)
    poll_s: float = 0.5


@dataclass(frozen=True, slots=True)
class DeliveryFailure:
    said: str
    is_gone: bool = False
    wait_ms: int = 0


class Webhooks:
    """See the module."""

    def __init__(
        self,
        *,
        store: LedgerStorePort,
        http: Http,
        clock: Clock,
        loop: ServiceLoop,
        random: Randomness,
        rules: WebhookRules,
    ) -> None:
        self._store, self._http, self._clock, self._loop = store, http, clock, loop
        self._random, self._rules = random, rules
        self.endpoints = tuple(Endpoint(url) for url in rules.urls)
        self._idle: dict[Endpoint, tuple[object, WebhookDelivery]] = {}
        """For each subscriber without backlog: the store's version at that time, and its position.
        """

    # --- Telling ---

    async def begin(self) -> None:
        """Register new subscribers at the end of the journal, before anything else happens."""
        async with self._store.unit() as unit:
            for endpoint in self.endpoints:
                await self._known(unit, endpoint)

    async def run(self) -> None:
        """Deliver until cancelled."""
        await together(*(self._follow(endpoint) for endpoint in self.endpoints))

    async def _follow(self, endpoint: Endpoint) -> None:
        async def tick() -> None:
            await self.tick(endpoint)

        await self._loop.rounds(f"webhook {endpoint.id}", tick, self._rules.poll_s)

    async def tick(self, endpoint: Endpoint) -> None:
        """Deliver the next messages to a subscriber, until it has all or fails."""
        version, now = self._store.version(), self._clock.now_ms()
        known, at = self._idle.get(endpoint, (None, None))
        if version == known and at is not None and not (at.failures and at.is_due(now)):
            return
        async with self._store.unit() as unit:
            at = await self._known(unit, endpoint)
            is_due = at.is_due(now)
            page = await _page(unit, at.upto) if is_due else []
        if not page:
            self._idle[endpoint] = (version, at)
        for seq, told in page:
            if not self._store.lease():
                return  # Another process delivers; this one stands by.
            failure = await self._post(endpoint, told)
            after = self._failed(at, failure) if failure else WebhookDelivery(endpoint.id, seq)
            async with self._store.unit() as unit:
                if await unit.delivery(endpoint.id) != at:
                    return  # A person or another process moved the position meanwhile.
                await unit.put_delivery(after)
            self._log(endpoint, at, after)
            if failure:
                return
            at = after

    async def _known(self, unit: Ledger, endpoint: Endpoint) -> WebhookDelivery:
        """Return the position of a subscriber. A new one starts at the end of the journal."""
        at = await unit.delivery(endpoint.id)
        if at is None:
            at = WebhookDelivery(endpoint.id, await unit.last_seq())
            await unit.put_delivery(at)
        return at

    async def _post(self, endpoint: Endpoint, told: WebhookMessage) -> DeliveryFailure | None:
        """Send one message. Return None after a 2xx answer; the content of the answer is
        ignored."""
        headers = told.headers(self._rules.secrets, self._clock.now_ms() // 1000)
        request = Request("POST", endpoint.url, headers=headers, body=told.body)
        try:
            async with asyncio.timeout(TIMEOUT_S):
                answer = await self._http.send(request)
        except TimeoutError:
            return DeliveryFailure(f"no answer within {TIMEOUT_S:.0f} s")
        except PeerUntrusted as why:
            return DeliveryFailure(f"its certificate is not trusted: {why.details['reason']}")
        except PeerUnreachable as why:  # Its text may contain the whole URL.
            return DeliveryFailure(f"unreachable ({type(why.__cause__ or why).__name__})")
        if 200 <= answer.status < 300:
            return None
        if answer.status == 410:
            return DeliveryFailure("answered 410: it is not to be told anything more", is_gone=True)
        moved = ": redirects are not followed" if 300 <= answer.status < 400 else ""
        return DeliveryFailure(f"answered {answer.status}{moved}", wait_ms=_retry_after_ms(answer))

    def _failed(self, at: WebhookDelivery, failure: DeliveryFailure) -> WebhookDelivery:
        """Return the delivery state after a failed attempt."""
        now, failures = self._clock.now_ms(), at.failures + 1
        chance = int(self._random.token(), 16) / 2**256
        return replace(
            at,
            failures=failures,
            since_ms=min(at.since_ms, now) if at.failures else now,
            next_ms=now + max(wait_ms(failures, chance), failure.wait_ms),
            is_gone=failure.is_gone,
            said=failure.said,
        )

    def _log(self, endpoint: Endpoint, before: WebhookDelivery, after: WebhookDelivery) -> None:
        """Log a change of the delivery state, not each attempt."""
        where = f"webhook {endpoint.id} ({endpoint.place})"
        if after.is_gone or (after.failures and not before.failures):
            log.warning("%s: %s", where, after.said)
        elif before.failures and not after.failures:
            log.warning("%s: goes on", where)

    # --- Showing, and going on ---

    async def listing(self) -> list[dict[str, Any]]:
        """Return every subscriber with its position and its last failure."""
        now, found = self._clock.now_ms(), []
        async with self._store.unit() as unit:
            for endpoint in self.endpoints:
                at = await unit.delivery(endpoint.id)
                at = at or WebhookDelivery(endpoint.id, await unit.last_seq())
                shown: dict[str, Any] = {
                    "id": endpoint.id,
                    "place": endpoint.place,
                    "state": at.state(now),
                    "told": at.upto,
                    "waiting": await unit.count_to_tell(at.upto, COUNTED),
                    "failures": at.failures,
                }
                if at.failures:
                    shown |= {"since_ms": at.since_ms, "next_ms": at.next_ms, "reason": at.said}
                found.append(shown)
        return found

    async def resume(self, endpoint_id: str, after: int | None) -> None:
        """Let a subscriber continue at once; with `after`, from the fact behind this number."""
        if endpoint_id not in [endpoint.id for endpoint in self.endpoints]:
            raise NotFound(f"there is no webhook {endpoint_id[:80]}.")
        async with self._store.unit() as unit:
            at = await unit.delivery(endpoint_id)
            last = await unit.last_seq()
            upto = (at.upto if at else last) if after is None else min(after, last)
            await unit.put_delivery(WebhookDelivery(endpoint_id, upto))

    async def metrics(self) -> list[str]:
        """Return the lines for Prometheus."""
        shown = await self.listing()
        lines = []
        for name, value in (
            ("waiting", lambda each: each["waiting"]),
            ("failures", lambda each: each["failures"]),
            ("gone", lambda each: int(each["state"] == "gone")),
        ):
            lines += [f"# TYPE payouts_webhook_{name} gauge"] if shown else []
            lines += [f'payouts_webhook_{name}{{id="{e["id"]}"}} {value(e)}' for e in shown]
        return lines


async def _page(unit: Ledger, after: int) -> list[tuple[int, WebhookMessage]]:
    facts = await unit.to_tell(after, PAGE)
    return [(seq, message(seq, fact, await unit.payout(fact.subject))) for seq, fact in facts]


def _retry_after_ms(answer: Response) -> int:
    """Return the Retry-After of an answer in milliseconds, at most the longest wait."""
    text = next((v for k, v in answer.headers if k.lower() == "retry-after"), "")
    is_number = text.isascii() and text.isdigit() and len(text) <= 9
    return 1000 * min(int(text), WAIT_MOST_S) if is_number else 0
