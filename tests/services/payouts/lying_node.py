"""A proxy before a node that loses, delays, limits, mixes up and changes answers. Real sockets."""

from __future__ import annotations

import json
import random
import socket
import threading
import time
from collections import Counter

from tests.evm.gateway import PlainHandler, _Server, forwarded
from tests.evm.mutated import FORM, QUESTION, UNTRUE, mutate_body

WAYS = (
    "request_lost", "answer_lost", "late", "limited", "null", "changed", "untrue", "half", "mixed",
)  # fmt: skip
READ_TWICE = ("eth_getBalance", "eth_getTransactionCount", "eth_getTransactionReceipt")
"""What may also be wrong in its content alone: every conclusion from it needs two readings."""


class Liar(_Server):
    """`rate`: how many of the answers are not the node's. `told`: how often each way was taken."""

    def __init__(self, node_url: str, chance: random.Random, rate: float = 0.0) -> None:
        self.rate, self.told = rate, Counter[str]()
        self._chance, self._lock, self._before = chance, threading.Lock(), b"{}"
        liar = self

        class Handler(PlainHandler):
            def do_POST(self) -> None:
                raw = self.read_body()
                try:
                    liar._answer(self, node_url, raw)
                except OSError:
                    self.close_connection = True  # The process was killed, or the node is gone.

        super().__init__(Handler, socket.AF_INET)
        self._server.handle_error = lambda *_: None

    def _draw(self) -> tuple[str, random.Random]:
        with self._lock:
            way = self._chance.choice(WAYS) if self._chance.random() < self.rate else "true"
            self.told[way] += 1
            return way, random.Random(self._chance.random())

    def _answer(self, handler: PlainHandler, node_url: str, raw: bytes) -> None:
        (way, chance), method = self._draw(), json.loads(raw)["method"]
        if way == "request_lost":
            handler.close_connection = True
            return
        if way == "limited":
            handler.say(429, {"Retry-After": "0"}, b"slow down")
            return
        said = forwarded(node_url, raw)
        true, self._before, before = said, said, self._before
        if way == "late":
            time.sleep(chance.uniform(0.02, 0.3))
        elif way == "null":
            said = json.dumps(
                {"jsonrpc": "2.0", "id": json.loads(raw)["id"], "result": None}
            ).encode()
        elif way == "changed":
            said = mutate_body(true, method, chance, (FORM, QUESTION))
        elif way == "untrue" and method in READ_TWICE:
            said = mutate_body(true, method, chance, (UNTRUE,))
        elif way == "mixed":
            said = before
        if way in ("half", "answer_lost"):
            handler.close_connection = True
            if way == "half":
                handler.send_response(200)
                handler.send_header("Content-Length", str(len(true)))
                handler.end_headers()
                handler.wfile.write(true[: len(true) // 2])
            return
        handler.say(200, {}, said)
