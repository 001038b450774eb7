"""The webhook subscriber of a simulated world, which records what it receives."""

from __future__ import annotations

import base64

from workbench.core.errors import BadSignature
from workbench.core.ports import Clock, Request, Response
from workbench.core.webhooks import DAY_S, ID, PREFIX, verify

URL = "http://subscriber"
SECRET = PREFIX + base64.b64encode(b"everybody knows this one").decode()


class SimSubscriber:
    """A foreign service. `heard`: the bytes of each message id, in the order of first receipt.

    `wrong`: messages that must not have been sent.
    """

    name = "subscriber"

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.heard: dict[str, bytes] = {}
        self.wrong: list[str] = []

    async def run(self) -> None:
        """Nothing to do: it only answers."""

    async def handle(self, request: Request) -> Response:
        told = request.header(ID) or ""
        try:
            # Clocks may differ by an hour here. That is no fault of the signature.
            verify(SECRET, dict(request.headers), request.body, self._clock.now_ms() / 1000, DAY_S)
        except BadSignature as why:
            self.wrong.append(f"{told}: {why.message}")
            return Response(400)
        if self.heard.setdefault(told, request.body) != request.body:
            self.wrong.append(f"{told} came with other bytes")
        return Response(204)
