"""HTTP in process: a request to a known host is a call of that service's `handle`."""

from __future__ import annotations

import asyncio
from functools import lru_cache
from random import Random
from urllib.parse import parse_qsl, urlsplit

from workbench.core.errors import PeerUnreachable
from workbench.core.ports import Clock, Request, Response, Service
from workbench.sim.faults import Crashed, Faults


class InProcessHttp:
    """The Http port over a table of services by base URL, such as http://seller.

    `mortal`: services may die in the middle of a request. Each request is then a task of its own,
    which ends with its service, and not with its caller.
    """

    def __init__(self, *, mortal: bool = False) -> None:
        self.services: dict[str, Service] = {}
        self.mortal = mortal
        self._inside: dict[str, dict[asyncio.Task[Response], None]] = {}

    async def send(self, request: Request) -> Response:
        base, path, query = _parted(request.url)
        service = self.services.get(base)
        if service is None:
            raise PeerUnreachable(f"nobody answers at {base}.")
        asked = Request(request.method, path, query, request.headers, request.body)
        if not self.mortal:
            return await service.handle(asked)
        return await self._as_a_task(base, service, asked)

    async def _as_a_task(self, base: str, service: Service, asked: Request) -> Response:
        task = asyncio.ensure_future(service.handle(asked))
        inside = self._inside.setdefault(base, {})
        inside[task] = None

        def ended(done: asyncio.Task[Response]) -> None:
            del inside[done]
            if not done.cancelled():
                done.exception()  # Looked at here, since the caller may be gone by then.

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
        """The service at `base` is gone, and with it every request that it was about to answer."""
        self.services.pop(base, None)
        for task in list(self._inside.get(base, ())):
            task.cancel()


@lru_cache(1_024)
def _parted(url: str) -> tuple[str, str, tuple[tuple[str, str], ...]]:
    """Service, path and query."""
    parts = urlsplit(url)
    query = tuple(parse_qsl(parts.query, keep_blank_values=True))
    return f"{parts.scheme}://{parts.netloc}", parts.path or "/", query


class ShakyHttp:
    """One client's way to the others, with the latency and the faults that were ordered.

    `dead` once that client has crashed: what it had begun may still arrive, and goes no further.
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
    ) -> None:
        self._network, self._client, self._clock = network, client, clock
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
        path = urlsplit(request.url)
        target = f"{self._client} to {path.hostname}{path.path}"
        latency_ms = self._chance.randint(*self._latency_ms) if any(self._latency_ms) else 0
        await self._wait(latency_ms + self._slow_ms.get(path.hostname or "", 0))
        await self._wait(self._faults.strike("http.delayed", target) or 0)
        if self._faults.strike("http.lost", target) is not None:
            raise PeerUnreachable(f"the request to {path.hostname} was lost.")
        if self._faults.strike("http.duplicated", target) is not None:
            await self._network.send(request)
        answer = await self._network.send(request)
        if self._faults.strike("http.cut", target) is not None:
            raise PeerUnreachable(f"the answer of {path.hostname} was lost.")
        return answer

    async def _wait(self, ms: int) -> None:
        if ms:
            await self._clock.sleep(ms / 1000)
