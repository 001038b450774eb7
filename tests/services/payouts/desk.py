"""A payout service on a chain in memory, and a client of its HTTP interface."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

from tests.services.payouts.storm import DEPTH, Storm
from workbench.core.ports import Request, Response
from workbench.services.payouts.http import PayoutHttpService

TO = "0x" + "ab" * 20

CHECKSUMMED = "0xABaBaBaBABabABabAbAbABAbABabababaBaBABaB"

JSON, FORM = "application/json", "application/x-www-form-urlencoded"

BROWSER = ("Accept", "text/html,application/xhtml+xml,*/*;q=0.8")


class Desk:
    """A payout service on a chain in memory, and a caller."""

    def __init__(self, url: str = "sqlite://") -> None:
        self.storm = Storm(1, count=4, url=url)
        self.service = PayoutHttpService(self.storm.payouts)
        self.storm.loop.run_until_complete(self.storm.payouts.check())

    def rules(self, **changes: Any) -> None:
        payouts = self.storm.payouts
        payouts.rules = replace(payouts.rules, **changes)
        self.service = PayoutHttpService(payouts)

    def send(self, request: Request) -> Response:
        return self.storm.loop.run_until_complete(self.service.handle(request))

    def post(self, path: str, body: Any, *headers: tuple[str, str], kind: str = JSON) -> Response:
        if not isinstance(body, bytes):
            body = (json.dumps(body) if kind == JSON else urlencode(body)).encode()
        return self.send(
            Request("POST", path, headers=(("Content-Type", kind), *headers), body=body)
        )

    def get(self, path: str, *headers: tuple[str, str], **query: str) -> Response:
        return self.send(Request("GET", path, query=tuple(query.items()), headers=headers))

    def earn(self, credits: int = 100, user: str = "u1") -> None:
        assert self.post("/earn", {"user_id": user, "credits": credits}).status == 200

    def user(self, user: str = "u1") -> Any:
        return self.get(f"/user/{user}", ("Accept", JSON)).data()

    def settle(self) -> None:
        for _ in range(DEPTH + 4):
            self.storm.loop.run_until_complete(self.storm.payouts.tick())
            self.storm.chain.mine()
            self.storm.loop.jump(2)
        self.storm.loop.run_until_complete(self.storm.payouts.tick())


def ask(**changes: Any) -> dict[str, Any]:
    return {"user_id": "u1", "address": TO, "credits": 40, "idempotency_key": "k1", **changes}
