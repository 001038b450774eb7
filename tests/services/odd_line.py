"""The chain in memory behind a node whose answers are changed: as JSON, decoded by the codec."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

from tests.evm.mutated import FORM, QUESTION, UNTRUE, mutate_body
from tests.services.fake_chain import FakeChain, Line
from workbench.evm.codec import jsonrpc

CONTENT = (
    "eth_getBalance",
    "eth_getTransactionCount",
    "eth_getTransactionReceipt",
    "eth_blockNumber",
)
"""What may be wrong in its content alone, in a form that is right."""
Change = Callable[[Any], Any]


class Oddities:
    """What is wrong with the answers of one chain's node. `changed`: how often, by method.

    `script`: by method, changes of its next answers, one after the other; an empty list changes
    nothing. `rate`: how many of all answers are changed at random.
    """

    def __init__(self, seed: int = 0) -> None:
        self.rate, self.chance = 0.0, random.Random(seed)
        self.script: dict[str, list[Change]] = {}
        self.changed: Counter[str] = Counter()

    def body(self, method: str, answer: Any) -> bytes | None:
        """Another answer than the node's, None where it is the node's."""
        waiting = self.script.get(method)
        if waiting:
            self.changed[method] += 1
            return envelope(waiting.pop(0)(json.loads(json.dumps(answer))))
        if self.chance.random() >= self.rate:
            return None
        families = (FORM, QUESTION, UNTRUE) if method in CONTENT else (FORM, QUESTION)
        self.changed[method] += 1
        return mutate_body(envelope(answer), method, self.chance, families)


def envelope(answer: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 1, "result": answer}).encode()


class OddLine(Line):
    """`odd`: of the chain's node. Changed answers pass the codec: what it lets pass is real."""

    def __init__(self, chain: FakeChain, chance: random.Random, bad: float = 0.0) -> None:
        super().__init__(chain, chance, bad)
        if not hasattr(chain, "odd"):
            chain.odd = Oddities()  # type: ignore[attr-defined]
        self.odd: Oddities = chain.odd  # type: ignore[attr-defined]

    async def call(self, method: str, *params: Any) -> Any:
        answer = await super().call(method, *params)
        body = self.odd.body(method, answer)
        return answer if body is None else jsonrpc.answer("node", 1, (method, *params), body)
