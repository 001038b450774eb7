"""A node that can be made unreliable, and what a test of the chain layer needs around it.

`FaultyRpc` loses requests, loses answers, lags, and lets a test act (crash, reorg) before or
after any call. `Ground` is a fresh chain with one signer, a store and virtual time.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from tests.evm.mutated import mutate
from workbench.core.errors import RpcFault, RpcUnreachable
from workbench.core.facts import Event
from workbench.core.finality import FinalityPolicy
from workbench.core.ports import ContractCall, Slot, SlotState
from workbench.evm.codec import jsonrpc
from workbench.evm.node.anvil import GENESIS_TIME, Anvil
from workbench.evm.rpc.blocking import BlockingRpc
from workbench.evm.rpc.client import Rpc
from workbench.evm.transactions.sender import SlotSender
from workbench.evm.transactions.signer import KeySigner
from workbench.evm.transactions.test_keys import key_of
from workbench.sim.time.loop import VirtualClock, VirtualLoop
from workbench.store.sql.database import SqlStore

T = TypeVar("T")
SEND = "eth_sendRawTransaction"
RECEIPT = "eth_getTransactionReceipt"
OTHER = key_of("spare1").address.lower()
GWEI = 10**9


class Killed(BaseException):
    """The process is gone. Nothing catches this on the way out."""


class FaultyRpc(Rpc):
    """The Rpc port in front of a real node.

    `lose_requests` and `lose_answers`: so many of the next calls of a method. `rate_*`: the same by
    chance, drawn from `chance`; `lag`: the most blocks an answer may be behind; `answers`: what a
    method says about a first parameter, whatever is true. `before` and `after` see every call;
    what they raise goes to the caller. `knows_overrides`: of blocks, in eth_call.
    `rate_changed`: the share of answers that are changed (see `mutated`) and then decoded.
    """

    def __init__(self, node: BlockingRpc, chance: random.Random | None = None) -> None:
        self.node, self.url = node, node.url
        self.chance = chance or random.Random(0)
        self.calls: Counter[str] = Counter()
        self.lose_requests: Counter[str] = Counter()
        self.lose_answers: Counter[str] = Counter()
        self.rate_request = self.rate_answer = self.rate_changed = 0.0
        self.changed: Counter[str] = Counter()
        self.lag = 0
        self.knows_overrides = True
        self.answers: dict[tuple[str, str], Any] = {}
        self.before: Callable[[str], None] = lambda method: None
        self.after: Callable[[str], None] = lambda method: None

    async def call(self, method: str, *params: Any) -> Any:
        await asyncio.sleep(0)  # As any socket would: others may run now.
        self.calls[method] += 1
        self.before(method)
        if self._takes(self.lose_requests, method) or self.chance.random() < self.rate_request:
            raise RpcUnreachable("the request was lost (test).")
        answer = self._ask(method, params)
        if self.rate_changed and self.chance.random() < self.rate_changed:
            self.changed[method] += 1
            answer = jsonrpc.typed((method, *params), mutate(method, answer, self.chance))
        self.after(method)
        if self._takes(self.lose_answers, method) or self.chance.random() < self.rate_answer:
            raise RpcUnreachable("the answer was lost (test).")
        await asyncio.sleep(0)
        return answer

    async def close(self) -> None:
        """Nothing of its own is open."""

    @staticmethod
    def _takes(left: Counter[str], method: str) -> bool:
        left[method] -= 1
        return left[method] >= 0

    def _ask(self, method: str, params: tuple[Any, ...]) -> Any:
        asked = (method, str(params[0]) if params else "")
        if asked in self.answers:
            return self.answers[asked]
        if method == "eth_call" and len(params) > 2 and not self.knows_overrides:
            raise RpcFault("too many arguments, want at most 2 (test).")
        behind = self.chance.randint(0, self.lag)
        if not behind:
            return self.node.now(method, *params)
        head = max(0, int(self.node.now("eth_blockNumber"), 16) - behind)
        if method == "eth_blockNumber":
            return hex(head)
        params = tuple(hex(head) if each == "latest" else each for each in params)
        numbers = [int(each, 16) for each in params if isinstance(each, str) and len(each) < 12]
        if any(number > head for number in numbers):
            if method == "eth_getBlockByNumber":
                return None
            raise RpcFault("the block is not here yet (test).")
        answer = self.node.now(method, *params)
        if method == RECEIPT and answer and int(answer["blockNumber"], 16) > head:
            return None
        return answer


class Ground:
    """A fresh chain, one signer with a sender on it, a store, and a clock that jumps."""

    def __init__(self, *, confirmations: int = 2, seed: int = 0) -> None:
        self.node = Anvil()
        self.direct = BlockingRpc(self.node.url)
        self.rpc = FaultyRpc(self.direct, random.Random(seed))
        self.node.call("anvil_setBlockTimestampInterval", 1)
        self.loop = VirtualLoop()
        self.clock = VirtualClock(self.loop, GENESIS_TIME)
        self.store = SqlStore()
        self.key = key_of("payer")
        self.address = self.key.address.lower()
        self.confirmations = confirmations
        self._reorgs = 0
        self.sender = self.fresh_sender()

    def close(self) -> None:
        self.loop.close()
        self.store.close()
        self.node.stop()

    def fresh_sender(self, gather_s: float = 0.0) -> SlotSender:
        """A new process on the same store."""
        self.sender = SlotSender(
            self.rpc,
            KeySigner(self.key.secret),
            self.store,
            self.clock,
            chain_id=self.node.chain_id,
            source="payer",
            finality=FinalityPolicy(self.confirmations),
            gather_s=gather_s,
        )
        return self.sender

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    def wait(self, seconds: float) -> None:
        self.loop.jump(seconds)

    def submit(self, number: int, attempt: int = 1) -> str:
        return self.run(self.sender.submit(subject(number), pay(number), attempt))

    def pump(self) -> None:
        self.run(self.sender.pump())

    def mine(self, count: int = 1, base_fee: int | None = None) -> None:
        for _ in range(count):
            if base_fee is not None:
                self.node.call("anvil_setNextBlockBaseFeePerGas", hex(base_fee))
            self.node.mine()

    def reorg(self, depth: int) -> None:
        """The newest blocks give way to as many others; their transactions are dropped."""
        old = self.head_hash()
        self.node.call("anvil_rollback", depth)
        self._reorgs += 1
        self.mine(depth, base_fee=2 * GWEI + self._reorgs)
        assert self.head_hash() != old

    def head(self) -> int:
        return int(self.node.call("eth_blockNumber"), 16)

    def head_hash(self) -> str:
        return str(self.node.call("eth_getBlockByNumber", "latest", False)["hash"])

    def steal_nonce(self, nonce: int, mine: bool = True) -> str:
        """Another program with our key uses a nonce."""
        fields = {"chainId": self.node.chain_id, "type": 2, "to": bytes.fromhex(OTHER[2:])}
        fields |= {"value": 7, "data": b"", "gas": 21_000, "nonce": nonce}
        fields |= {"maxFeePerGas": 50 * GWEI, "maxPriorityFeePerGas": 20 * GWEI}
        raw, tx = KeySigner(self.key.secret).sign_transaction(fields)
        self.node.call(SEND, raw)
        if mine:
            self.mine()
        return tx

    # --- What is true on the chain, and in the store ---

    def paid(self) -> Counter[int]:
        """How often each payment (by its number) is on the chain, and that nonces have no gap."""
        found: Counter[int] = Counter()
        nonces = []
        for number in range(1, self.head() + 1):
            block = self.node.call("eth_getBlockByNumber", hex(number), True)
            for each in block["transactions"]:
                if each["from"] == self.address:
                    nonces.append(int(each["nonce"], 16))
                    found[int(each["value"], 16) - 1000] += 1
        assert nonces == list(range(len(nonces)))
        return found

    def slots(self, *states: SlotState) -> list[Slot]:
        async def read() -> list[Slot]:
            async with self.store.unit() as unit:
                wanted = states or tuple(SlotState)
                return list(await unit.slots(self.node.chain_id, self.address, *wanted))

        return at_once(read())

    def slot(self, number: int, attempt: int = 1) -> Slot:
        key = (subject(number), "pay", attempt)
        return next(s for s in self.slots() if (s.subject, s.act, s.attempt) == key)

    def facts(self, kind: type[Event] = Event) -> list[Any]:
        async def read() -> list[Any]:
            async with self.store.unit() as unit:
                return [fact for _, fact in await unit.facts() if isinstance(fact, kind)]

        return at_once(read())


def at_once(reading: Coroutine[Any, Any, T]) -> T:
    """What a coroutine returns that never waits, as those of SQLite; also within a running loop."""
    try:
        reading.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    raise AssertionError("it waited")


def subject(number: int) -> str:
    return f"payment-{number}"


def pay(number: int) -> ContractCall:
    """A transfer whose value tells which payment it is."""
    return ContractCall("pay", OTHER, b"", 1000 + number)
