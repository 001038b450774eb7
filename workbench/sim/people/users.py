"""Users who earn credits and request payouts, honest and hostile.

All use the HTTP interface, and repeat unanswered requests under the same key. What they were
promised is counted in a `UserTally`, which the service never sees.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from eth_hash.auto import keccak

from workbench.core import facts as ev
from workbench.core.errors import KeyReused, PeerRefused, PeerUnreachable, WorkbenchError
from workbench.core.payout import ENDED
from workbench.core.ports import Clock, Http, Request
from workbench.evm.codec.abi import to_hex
from workbench.scenario import EarningPattern, UserGroup
from workbench.services.common import peers
from workbench.services.payouts.input import KEY_HEADER
from workbench.sim.people.buyers import COPIES, TRY_AGAIN_S, arrivals

HALF_CLOSED = "0x436001161560" + "0b575f5ffd5b00"
"""A contract that refuses payments in blocks with odd numbers: NUMBER AND 1, REVERT unless 0."""
NO_ANSWER = 0
LOOK_S = 5.0
"""Poll interval of a user, in virtual seconds."""


@dataclass(frozen=True, slots=True)
class UserPlan:
    """One user: arrival (ms from the start), earnings and requests.

    `earns`, `asks`: milliseconds from the arrival, and credits.
    """

    name: str
    at_ms: int
    group: UserGroup
    earns: tuple[tuple[int, int], ...]
    asks: tuple[tuple[int, int], ...]

    def receiver(self, number: int, other: str = "") -> str:
        """Return an address that belongs to one payout only."""
        return to_hex(keccak(f"{self.name}/{number}{other}".encode())[-20:])


def user_plans(number: int, group: UserGroup, chance: Random) -> list[UserPlan]:
    """Return the users of one group. `number`: of the group, so that streams differ."""
    times = arrivals(group.arrivals, group.count, chance)
    return [
        UserPlan(
            f"user-{number}-{n}",
            1000 * group.start_s + at_ms,
            group,
            _drawn(group.earns, chance),
            _drawn(group.asks, chance),
        )
        for n, at_ms in enumerate(times)
    ]


def _drawn(pattern: EarningPattern, chance: Random) -> tuple[tuple[int, int], ...]:
    times = arrivals(pattern.arrivals, pattern.times, chance)
    low, high = pattern.low_credits, pattern.high_credits
    return tuple((at_ms, chance.randint(low, high)) for at_ms in times)


@dataclass
class UserTally:
    """What users requested and what they were answered, in credits.

    `asked`: user and credits by receiver. `sent`: earnings that the service may have booked;
    `credited`: earnings that it confirmed. `accepted`: payouts that it promised.
    """

    asked: dict[str, tuple[str, int]] = field(default_factory=dict)
    sent: dict[str, int] = field(default_factory=dict)
    credited: dict[str, int] = field(default_factory=dict)
    accepted: dict[str, None] = field(default_factory=dict)


@dataclass
class SimUser:
    """A user at work, with an HTTP client for `url`."""

    plan: UserPlan
    http: Http
    clock: Clock
    url: str
    tally: UserTally
    tell: Callable[[ev.Event], None]
    limit_ms: int = field(default=0, init=False)

    async def run(self) -> None:
        """Wait for the time, earn, request payouts, and follow each to its end."""
        await self.clock.sleep(self.plan.at_ms / 1000)
        self.limit_ms = self.clock.now_ms() + 1000 * self.plan.group.patience_s
        began = asyncio.Event()
        await asyncio.gather(self._earn(began), self._ask(began))

    async def _earn(self, began: asyncio.Event) -> None:
        """Earn credits at the planned times."""
        start = self.clock.now_ms()
        for n, (at_ms, credits_) in enumerate(self.plan.earns):
            await self._until(start + at_ms)
            me = self.plan.name
            self.tally.sent[me] = self.tally.sent.get(me, 0) + credits_
            try:
                await self.post("/earn", f"{me}/earn/{n}", credits=credits_)
            except WorkbenchError:
                continue  # The outcome is unknown.
            finally:
                began.set()
            self.tally.credited[me] = self.tally.credited.get(me, 0) + credits_

    async def _ask(self, began: asyncio.Event) -> None:
        """Request payouts at the planned times."""
        await began.wait()
        start = self.clock.now_ms()
        followed = []
        for n, (at_ms, credits_) in enumerate(self.plan.asks):
            await self._until(start + at_ms)
            try:
                free = int((await self.get(f"/v1/balances/{self.plan.name}"))["credits"])
            except WorkbenchError:
                continue
            if free:
                asking = KINDS[self.plan.group.kind](self, n, min(free, credits_), free)
                followed.append(asyncio.ensure_future(asking))
        try:
            await asyncio.gather(*followed)
        finally:
            for each in followed:
                each.cancel()

    async def _until(self, at_ms: int) -> None:
        await self.clock.sleep(max(0, at_ms - self.clock.now_ms()) / 1000)

    # --- Asking for a payout, and waiting for its end ---

    async def ask(self, number: int, credits_: int, other: str = "") -> str | None:
        """Request a payout to a new receiver. Return its id, or None if it is refused."""
        key = f"{self.plan.name}/payout/{number}{other}"
        receiver = self.plan.receiver(number, other)
        self.tally.asked[receiver] = (self.plan.name, credits_)
        return await self.request(key, receiver, credits_)

    async def request(self, key: str, receiver: str, credits_: int) -> str | None:
        """Request a payout with a key and a receiver that may have been used before."""
        try:
            answer = await self.post("/payout", key, credits=credits_, address=receiver)
        except WorkbenchError as why:
            status = NO_ANSWER if why.transient else why.status
            self._answered(self.plan.name, status, code=why.code)
            return None
        identity = str(answer["id"])
        self._answered(identity, 200, replayed=bool(answer.get("replayed")))
        self.tally.accepted[identity] = None
        return identity

    def _answered(
        self, subject: str, status: int, code: str = "", *, replayed: bool = False
    ) -> None:
        """Record the answer to a request."""
        self.tell(
            ev.PayoutAnswered(
                subject=subject,
                at_ms=self.clock.now_ms(),
                source="simulator",
                user_id=self.plan.name,
                kind=self.plan.group.kind,
                status=status,
                code=code,
                replayed=replayed,
            )
        )

    async def follow(self, identity: str | None) -> None:
        """Poll a payout until it has ended, or the time is over."""
        ended = {state.value for state in ENDED}
        while identity is not None and self.clock.now_ms() < self.limit_ms:
            try:
                if (await self.get(f"/v1/payouts/{identity}"))["state"] in ended:
                    return
            except WorkbenchError:
                return
            await self.clock.sleep(LOOK_S)

    # --- HTTP ---

    async def get(self, path: str) -> dict[str, Any]:
        """GET with retries. Raises the error of the answer, or the last transient one."""
        return await self._patiently(Request("GET", f"{self.url}{path}"))

    async def post(self, path: str, key: str, **fields: Any) -> dict[str, Any]:
        """POST with retries, which the key makes repeatable."""
        body = json.dumps({"user_id": self.plan.name, **fields}).encode()
        headers = (("Content-Type", "application/json"), (KEY_HEADER, key))
        return await self._patiently(Request("POST", f"{self.url}{path}", (), headers, body))

    async def _patiently(self, request: Request) -> dict[str, Any]:
        """Repeat a request while its error is transient and time is left."""
        while True:
            try:
                return await self._once(request)
            except WorkbenchError as why:
                if not why.transient or self.clock.now_ms() >= self.limit_ms:
                    raise
            await self.clock.sleep(TRY_AGAIN_S)

    async def _once(self, request: Request) -> dict[str, Any]:
        """Send a request once. Raises the error of the answer."""
        answer = await self.http.send(request)
        data = peers.decoded(answer, dict[str, Any], "payout service")
        if answer.status < 400:
            return data
        kind = WorkbenchError.kinds.get(str(data.get("error")))
        message = f"{answer.status} {data.get('error')}: {data.get('message')}"
        if kind is not None:
            raise kind(message)
        raise PeerUnreachable(message) if answer.status >= 500 else PeerRefused(message)


# --- Kinds: what they do about their payout `n` of `size` credits, having `free` in all ---------


async def _honest(user: SimUser, n: int, size: int, free: int) -> None:
    await user.follow(await user.ask(n, size))


async def _doubles(user: SimUser, n: int, size: int, free: int) -> None:
    """Request the same payout twice under one key."""
    answers = await asyncio.gather(*(user.ask(n, size) for _ in range(COPIES)))
    known = {identity for identity in answers if identity is not None}
    assert len(known) <= 1, "one key became two payouts"
    for identity in known:
        await user.follow(identity)
        again = await user.ask(n, size)
        assert again in (identity, None), "an old key became a new payout"


async def _overspends(user: SimUser, n: int, size: int, free: int) -> None:
    both = await asyncio.gather(user.ask(n, free), user.ask(n, free, "/again"))
    for identity in both:
        await user.follow(identity)


async def _changes(user: SimUser, n: int, size: int, free: int) -> None:
    """Repeat a key with a changed request, which must be refused."""
    identity = await user.ask(n, size)
    if identity is None:
        return
    key, other = f"{user.plan.name}/payout/{n}", user.plan.receiver(n, "/other")
    try:
        await user.post("/payout", key, credits=size, address=other)
    except KeyReused:
        pass
    except WorkbenchError as why:
        assert why.transient, f"a used key was answered with {why.code}"
    else:
        raise AssertionError("one key was good for two requests")
    await user.follow(identity)


KINDS = {
    "honest": _honest,
    "doubles": _doubles,
    "overspends": _overspends,
    "changes": _changes,
    "refuses": _honest,  # Their receivers refuse the payments; see HALF_CLOSED.
}
"""The behaviour of users, by `scenario.USER_KINDS`."""
