"""HTTP in process: a request to a known host calls the `handle` of that service."""

from __future__ import annotations

import asyncio
import re
from functools import lru_cache, partial
from random import Random
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from workbench.core.errors import PeerUnreachable
from workbench.core.ports import Clock, Request, Response, Service
from workbench.sim.faults.sites import Crashed, FaultHit, Faults

ABOUT = re.compile(r"/(?:settlement|payout)/(0x[0-9a-f]{64})")
ABOUT_BODY = re.compile(r'"settlement_id": ?"(0x[0-9a-f]{64})"')
"""Finds the settlement or payout in the body of a message."""


class InProcessHttp:
    """The Http port over a table of services by base URL, such as http://seller.

    `mortal`: services may crash during a request. Each request is then a task that ends with its
    service and not with its caller. `may_become_mortal`: a crash may still be ordered; open
    requests then end with their service as well.
    """

    def __init__(self, *, mortal: bool = False, may_become_mortal: bool = False) -> None:
        self.services: dict[str, Service] = {}
        self.mortal, self._may_become_mortal = mortal, may_become_mortal
        self._inside: dict[str, dict[asyncio.Task[Response], None]] = {}
        self._callers: dict[str, dict[asyncio.Task[Any], None]] = {}
        self._broken: set[tuple[str, asyncio.Task[Any]]] = set()

    async def send(self, request: Request) -> Response:
        base, path, query = _parted(request.url)
        service = self.services.get(base)
        if service is None:
            raise PeerUnreachable(f"nobody answers at {base}.")
        asked = Request(request.method, path, query, request.headers, request.body)
        if self.mortal:
            return await self._as_a_task(base, service, asked)
        if self._may_become_mortal:
            return await self._in_the_caller(base, service, asked)
        return await service.handle(asked)

    async def _in_the_caller(self, base: str, service: Service, asked: Request) -> Response:
        """Handle the request in the caller's task, in the same order of events as without later
        crashes."""
        task = asyncio.current_task()
        assert task is not None
        callers = self._callers.setdefault(base, {})
        is_inner = task in callers
        callers[task] = None
        try:
            return await service.handle(asked)
        except Crashed as why:
            raise PeerUnreachable(f"{base} broke the connection.") from why
        except asyncio.CancelledError:
            if (base, task) not in self._broken:
                raise
            task.uncancel()
            raise PeerUnreachable(f"{base} broke the connection.") from None
        finally:
            self._broken.discard((base, task))
            if not is_inner:
                del callers[task]

    async def _as_a_task(self, base: str, service: Service, asked: Request) -> Response:
        """Handle the request in a task that ends with its service."""
        task = asyncio.ensure_future(service.handle(asked))
        inside = self._inside.setdefault(base, {})
        inside[task] = None

        def ended(done: asyncio.Task[Response]) -> None:
            del inside[done]
            if not done.cancelled():
                done.exception()  # Read here, because the caller may be gone later.

        task.add_done_callback(ended)
        try:
            return await asyncio.shield(task)
        except Crashed as why:
            raise PeerUnreachable(f"{base} broke the connection.") from why
        except asyncio.CancelledError:
            ours = asyncio.current_task()
            if task.cancelled() and not (ours and ours.cancelling()):
                raise PeerUnreachable(f"{base} broke the connection.") from None
            raise

    def cut(self, base: str) -> None:
        """Remove the service at `base`, and end the requests that it was answering."""
        self.services.pop(base, None)
        for task in list(self._inside.get(base, ())):
            task.cancel()
        for caller in list(self._callers.get(base, ())):
            self._broken.add((base, caller))
            caller.cancel()


@lru_cache(1_024)
def _parted(url: str) -> tuple[str, str, tuple[tuple[str, str], ...]]:
    """Return base URL, path and query."""
    parts = urlsplit(url)
    query = tuple(parse_qsl(parts.query, keep_blank_values=True))
    return f"{parts.scheme}://{parts.netloc}", parts.path or "/", query


class FaultyHttp:
    """The HTTP client of one participant, with latency and faults.

    `dead`: True after a crash of the client; requests on their way may arrive, but nothing returns.
    `whose`: name of the simulated person, or "".
    """

    def __init__(
        self,
        network: InProcessHttp,
        client: str,
        clock: Clock,
        faults: Faults,
        chance: Random,
        latency_ms: tuple[int, int] = (0, 0),
        slow_ms: dict[str, int] | None = None,
        whose: str = "",
    ) -> None:
        self._network, self._client, self._clock = network, client, clock
        self._whose = whose
        self._faults, self._chance, self._latency_ms = faults, chance, latency_ms
        self._slow_ms = slow_ms or {}
        self.dead = False

    async def send(self, request: Request) -> Response:
        try:
            return await self._sent(request)
        finally:
            if self.dead:
                raise Crashed

    async def _sent(self, request: Request) -> Response:
        """Send the request through latency and fault sites."""
        path = urlsplit(request.url)
        target = f"{self._client} to {path.hostname}{path.path}"
        latency_ms = self._chance.randint(*self._latency_ms) if any(self._latency_ms) else 0
        await self._wait(latency_ms + self._slow_ms.get(path.hostname or "", 0))
        hit = partial(self._hit, request)
        await self._wait(self._faults.fires("http.delayed", target, hit) or 0)
        if self._faults.fires("http.lost", target, hit) is not None:
            raise PeerUnreachable(f"the request to {path.hostname} was lost.")
        if self._faults.fires("http.duplicated", target, hit) is not None:
            await self._network.send(request)
        answer = await self._network.send(request)
        if self._faults.fires("http.cut", target, hit) is not None:
            raise PeerUnreachable(f"the answer of {path.hostname} was lost.")
        return answer

    def _hit(self, request: Request) -> FaultHit:
        """Return the settlement or payout of a message, or the person who sends it."""
        found = ABOUT.search(request.url) or ABOUT_BODY.search(
            request.body.decode("utf-8", "replace")
        )
        return (found[1] if found else self._whose), ""

    async def _wait(self, ms: int) -> None:
        if ms:
            await self._clock.sleep(ms / 1000)
