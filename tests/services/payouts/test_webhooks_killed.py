"""kill -9 of the real process while it tells a real receiver: every fact arrives, in order.

The commits of payouts and those that move the subscriber's place come in any order; each life ends
at another one, just before and just after it in turn.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from standardwebhooks.webhooks import Webhook

from tests.services.payouts import test_killed as killed
from tests.services.payouts.test_killed import PATIENCE_S, Process, is_over
from tests.services.payouts.webhook_receivers import SECRET, listening
from workbench.core.facts import fact_id
from workbench.core.webhooks import DELIVERED
from workbench.evm.node.anvil import Anvil
from workbench.store.ledger.database import LedgerStore

node, database = killed.node, killed.database
STEPS = (1, 2, 4, 7, 0)
"""The commit at which each life ends; the last one goes on."""


class Ear(BaseHTTPRequestHandler):
    """Takes what an outside implementation verifies; every fifth time its answer is lost."""

    got: list[tuple[str, bytes]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        Webhook(SECRET).verify(body, dict(self.headers.items()))
        self.got.append((self.headers["webhook-id"], body))
        if len(self.got) % 5 == 0:
            self.close_connection = True
            return
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def ear() -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    """Its URL, and what it got: ids and bodies."""
    with listening(Ear) as (place, got):
        yield f"http://{place}/hook", got


def journal(url: str) -> list[str]:
    """The ids of all facts that are to be told, in order."""

    async def read() -> list[str]:
        store = LedgerStore(url)
        async with store.unit() as unit:
            facts = await unit.facts()
        store.close()
        return [fact_id(fact) for _, fact in facts if fact.type in DELIVERED]

    return asyncio.run(read())


@pytest.mark.slow
def test_killed_while_it_tells(
    node: Anvil, tmp_path: Path, database: dict[str, str], ear: tuple[str, list[tuple[str, bytes]]]
) -> None:
    """All arrive, each at first in its order; repetitions are the same bytes under the same id."""
    place, got = ear
    on_file = "DB_PATH" in database
    hooks = {"WEBHOOK_URLS": place, "WEBHOOK_SECRET": SECRET}
    process = Process(node, tmp_path, database | hooks, "spare2" if on_file else "spare3")
    url = f"sqlite:///{database['DB_PATH']}" if on_file else database["DATABASE_URL"]
    try:
        process.start()  # It is known before anything happens.
        while not process.ask("/v1/webhooks"):
            assert not process.is_dead()
        process.end()
        for life, step in enumerate(STEPS):
            process.start("before" if on_file == bool(life % 2) else "after", step)
            limit = time.monotonic() + PATIENCE_S
            process.ask("/earn", {"user_id": "u", "credits": 1_000, "idempotency_key": "e"})
            while not process.is_dead() and not is_over(process, life):
                assert time.monotonic() < limit, process.told()
            if step:
                process.end()
        limit = time.monotonic() + PATIENCE_S
        while process.ask("/v1/webhooks")["webhooks"][0]["waiting"]:
            assert time.monotonic() < limit, process.ask("/v1/webhooks")
    finally:
        process.end()
    first = dict(got)
    assert all(first[each] == body for each, body in got)
    assert journal(url) == list(first)
    assert len(got) > len(first), "some came twice"
