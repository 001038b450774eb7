"""A chain in memory that is as bad as chains get: for volume, where a real node is too slow.

It knows nonces, fees, a pool with replacement rules, blocks, receipts, reorgs above the finality
depth, and one wallet whose payments it counts: plain transfers, and those of a PayoutBatcher that
takes each id once (or, for a test, has no memory). `Line` is one process's connection to it:
requests and answers get lost, nodes lag, and a test may let the process die at any call.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from eth_abi.abi import encode

from workbench.core.errors import RpcFault, RpcUnreachable
from workbench.evm.codec.abi import to_hex
from workbench.evm.payments import batch
from workbench.evm.rpc.client import Rpc
from workbench.evm.transactions.broadcast import signed_fields

GWEI = 10**9
CAPACITY = 12
POOL = 64
BATCHER, BATCHER_CODE = "0x" + "ba" * 20, "0xba7c4e"


@dataclass
class Block:
    number: int
    hash: str
    base_fee: int
    txs: list[tuple[str, bool]] = field(default_factory=list)
    """Transactions, and whether each succeeded."""
    came: dict[str, list[tuple[batch.BatchItem, str]]] = field(default_factory=dict)
    """Of each batch: its payments, and the topic of the event that tells what came of it."""


class FakeChain:
    """`bad`: receivers that refuse always (True) or half the time (False)."""

    def __init__(self, chance: random.Random, payer: str, depth: int, funds: int) -> None:
        self.chance, self.payer, self.depth, self.funds = chance, payer, depth, funds
        self.bad: dict[str, bool] = {}
        self.sent: dict[str, dict[str, Any]] = {}
        self.pool: dict[int, str] = {}
        self.strange: set[str] = set()
        self.blocks = [Block(0, self._hash(), GWEI)]
        self.final = 0
        self.spike = 0
        self.never = 0
        self.remembers = True
        self.least_tip = 0

    def _hash(self) -> str:
        return f"0x{self.chance.getrandbits(256):064x}"

    @property
    def head(self) -> int:
        return len(self.blocks) - 1

    # --- What happens on it ---

    def mine(self) -> None:
        """One block of what the pool has, in the order of nonces, if fees allow."""
        base = GWEI * (40 if self.spike > 0 else 1)
        self.spike -= 1
        block = Block(self.head + 1, self._hash(), base)
        nonce = self.count(self.head)
        while nonce in self.pool and len(block.txs) < CAPACITY:
            tx = self.pool[nonce]
            fields = self.sent[tx]
            tip = min(fields["maxPriorityFeePerGas"], fields["maxFeePerGas"] - base)
            if fields["maxFeePerGas"] < base or tip < self.least_tip:
                break
            del self.pool[nonce]
            if self.sent[tx]["to"] == BATCHER:
                block.came[tx] = self._batch(tx, block)
            block.txs.append((tx, tx in block.came or self._succeeds(self.sent[tx]["to"])))
            nonce += 1
        self.blocks.append(block)
        self.final = max(self.final, self.head - self.depth)

    def _succeeds(self, receiver: str) -> bool:
        always = self.bad.get(receiver)
        return always is None or (not always and self.chance.random() < 0.5)

    def _batch(self, tx: str, block: Block) -> list[tuple[batch.BatchItem, str]]:
        asked = batch.read({**self.sent[tx], "to": bytes.fromhex(BATCHER[2:])})
        assert asked is not None
        here = (each for came in block.came.values() for each in came)
        known = self.remembered(self.head) | {item.id for item, how in here if how == batch.PAID}
        found = []
        for item in asked.items:
            how = batch.PAID if self._succeeds(item.to) else batch.FAILED
            if self.remembers and item.id in known:
                how = batch.SKIPPED
            known |= {item.id} if how == batch.PAID else set()
            found.append((item, how))
        return found

    def remembered(self, upto: int) -> set[bytes]:
        """The ids that the batcher has paid."""
        blocks = self.blocks[: upto + 1]
        came = (each for block in blocks for some in block.came.values() for each in some)
        return {item.id for item, how in came if how == batch.PAID}

    def reorg(self, deep: int) -> None:
        """The newest blocks are gone; most of their transactions are in the pool again."""
        deep = min(deep, self.head - self.final)
        gone = self.blocks[len(self.blocks) - deep :] if deep > 0 else []
        del self.blocks[len(self.blocks) - len(gone) :]
        for block in gone:
            for tx, _ in block.txs:
                if self.chance.random() < 0.7:
                    self.pool.setdefault(self.sent[tx]["nonce"], tx)
        for _ in gone:
            self.mine()

    def forget(self, deep: int, *, pooled: bool) -> None:
        """A reorg that finality did not allow for: so many blocks give way to as many others."""
        gone = self.blocks[len(self.blocks) - deep :]
        del self.blocks[len(self.blocks) - deep :]
        self.pool.clear()
        if pooled:
            self.pool = {self.sent[tx]["nonce"]: tx for block in gone for tx, _ in block.txs}
        for _ in gone:
            self.mine()

    def evict(self) -> None:
        """The pool forgets one."""
        if self.pool:
            del self.pool[self.chance.choice(sorted(self.pool))]

    def foreign(self, nonce: int) -> None:
        """Another program with the same key uses a nonce, and pays well."""
        tx = self._hash()
        fields = {"nonce": nonce, "to": "0x" + "ee" * 20, "value": 1, "maxFeePerGas": 10**12}
        self.sent[tx] = {**fields, "maxPriorityFeePerGas": 10**12}
        self.pool[nonce] = tx
        self.strange.add(tx)

    def is_foreign_next(self) -> bool:
        """Whether one of those is what the next block begins with."""
        return self.pool.get(self.count(self.head)) in self.strange

    def foreign_cost(self) -> int:
        """What the mined ones of those took out of the wallet."""
        return sum(
            self.sent[tx]["value"] * ok + 21_000 * block.base_fee
            for block in self.blocks
            for tx, ok in block.txs
            if tx in self.strange
        )

    def accept(self, raw: str) -> str:
        """Take a transaction into the pool, by the rules of real ones."""
        fields = decoded(raw)
        nonce, tx = fields["nonce"], fields["hash"]
        if nonce < self.count(self.head):
            raise RpcFault("nonce too low")
        if nonce >= self.count(self.head) + POOL:
            raise RpcFault("too many queued")
        old = self.pool.get(nonce)
        if old == tx:
            raise RpcFault("already known")
        if old is not None:
            least = [self.sent[old][n] * 11 // 10 for n in FEES]
            if any(fields[n] < low for n, low in zip(FEES, least, strict=True)):
                raise RpcFault("replacement transaction underpriced")
        self.sent[tx] = fields
        self.pool[nonce] = tx
        return str(tx)

    # --- What is true ---

    def count(self, upto: int) -> int:
        return sum(len(block.txs) for block in self.blocks[: upto + 1])

    def balance(self, upto: int) -> int:
        spent: int = sum(
            sum(amount for _, amount in self._moved(block, tx, ok)) + 21_000 * block.base_fee
            for block in self.blocks[: upto + 1]
            for tx, ok in block.txs
        )
        return self.funds - spent

    def _moved(self, block: Block, tx: str, ok: bool) -> list[tuple[str, int]]:
        """Receiver and amount of what a transaction has paid."""
        if tx in block.came:
            return [(item.to, item.amount) for item, how in block.came[tx] if how == batch.PAID]
        sent = self.sent[tx]
        return [(sent["to"], sent["value"])] if ok and sent["value"] else []

    def paid(self) -> Counter[str]:
        """How often each receiver was paid, in all blocks."""
        return Counter(
            receiver
            for block in self.blocks
            for tx, ok in block.txs
            for receiver, _ in self._moved(block, tx, ok)
        )

    def logs(self, tx: str, block: Block) -> list[dict[str, Any]]:
        """What the batcher tells."""
        told = []
        for item, how in block.came.get(tx, ()):
            payer, to = ("0x" + who[2:].rjust(64, "0") for who in (self.payer, item.to))
            topics, kinds = [how, payer, to_hex(item.id)], ["address", "uint256"]
            values: list[Any] = ["0x" + "00" * 20, item.amount]
            if how != batch.SKIPPED:
                topics.append(to)
            if how == batch.FAILED:
                kinds, values = [*kinds, "bytes"], [*values, b""]
            data = to_hex(encode(kinds, values)) if how != batch.SKIPPED else "0x"
            told.append({"address": BATCHER, "topics": topics, "data": data})
        return told

    def where(self, tx: str, upto: int) -> tuple[Block, bool] | None:
        for block in reversed(self.blocks[: upto + 1]):
            for each, ok in block.txs:
                if each == tx:
                    return block, ok
        return None


FEES = ("maxFeePerGas", "maxPriorityFeePerGas")
_DECODED: dict[str, dict[str, Any]] = {}


def forget() -> None:
    """What was decoded until now; whoever plays many chains has no end of that."""
    _DECODED.clear()


def decoded(raw: str) -> dict[str, Any]:
    """A signed transaction's fields, its hash, and its receiver as text."""
    if raw not in _DECODED:
        from eth_hash.auto import keccak

        fields = signed_fields(raw)
        named = {
            "to": "0x" + fields["to"].hex(),
            "hash": "0x" + keccak(bytes.fromhex(raw[2:])).hex(),
        }
        _DECODED[raw] = {**fields, **named}
    return _DECODED[raw]


class Line(Rpc):
    """A connection to a `FakeChain`; the rates are those of each call."""

    url = "fake://"

    def __init__(self, chain: FakeChain, chance: random.Random, bad: float = 0.0) -> None:
        self.chain, self.chance, self.bad = chain, chance, bad
        self.before: Callable[[], None] = lambda: None

    async def close(self) -> None:
        """Nothing is open."""

    async def call(self, method: str, *params: Any) -> Any:
        self.before()
        if self.bad and self.chance.random() < self.bad:
            raise RpcUnreachable("the request was lost (test).")
        answer = getattr(self, method)(*params)
        if self.bad and self.chance.random() < self.bad:
            raise RpcUnreachable("the answer was lost (test).")
        self.before()
        return answer

    def _head(self) -> int:
        lag = self.chance.randint(1, 3) if self.chance.random() < 2 * self.bad else 0
        return max(0, self.chain.head - lag)

    def _number(self, tag: str) -> int:
        return self._head() if tag in ("latest", "pending") else int(tag, 16)

    def _known(self, tag: str) -> int:
        """The state of a block that is not there is an error, as real nodes have it."""
        number = self._number(tag)
        if number > self.chain.head:
            raise RpcFault(f"block {number} is not known")
        return number

    # --- JSON-RPC, by its own names ---

    def eth_chainId(self) -> str:
        return hex(31337)

    def eth_blockNumber(self) -> str:
        return hex(self._head())

    def eth_getCode(self, address: str, _: str) -> str:
        return BATCHER_CODE if address == BATCHER else "0x"

    def eth_maxPriorityFeePerGas(self) -> str:
        return hex(GWEI)

    def eth_call(self, request: dict[str, Any], tag: str) -> str:
        """What a batch would do: a receiver that never takes anything is found out now and then."""
        if request["to"].lower() != BATCHER:
            return "0x"
        data = bytes.fromhex(request["data"][2:])
        asked = batch.read({"to": bytes.fromhex(BATCHER[2:]), "data": data, "value": 0})
        assert asked is not None
        known, found = self.chain.remembered(self._number(tag)), []
        for item in asked.items:
            refuses = self.chain.bad.get(item.to) and self.chance.random() < 0.5
            found.append(2 if item.id in known else batch.WOULD_FAIL if refuses else 0)
        return to_hex(encode(["uint8[]"], [found]))

    def eth_estimateGas(self, *_: Any) -> str:
        return hex(21_000)

    def eth_getBlockByNumber(self, tag: str, full: bool) -> Any:
        number = self._number(tag)
        if number > self.chain.head:
            return None
        block = self.chain.blocks[number]
        whole = {"number": hex(number), "hash": block.hash, "baseFeePerGas": hex(block.base_fee)}
        whole |= {"gasLimit": hex(30_000_000), "gasUsed": hex(21_000 * len(block.txs))}
        whole["parentHash"] = self.chain.blocks[number - 1].hash if number else "0x" + "0" * 64
        txs = [self._transaction(tx) if full else tx for tx, _ in block.txs]
        return {**whole, "timestamp": hex(1_767_225_600 + number), "transactions": txs}

    def _transaction(self, tx: str) -> dict[str, Any]:
        sent = self.chain.sent[tx]
        numbers = {"nonce": hex(sent["nonce"]), "value": hex(sent["value"]), "gas": hex(21_000)}
        return {"hash": tx, "from": self.chain.payer, "to": sent["to"], "input": "0x", **numbers}

    def eth_getTransactionCount(self, _: str, tag: str) -> str:
        return hex(self.chain.count(self._known(tag)))

    def eth_getBalance(self, _: str, tag: str) -> str:
        return hex(self.chain.balance(self._known(tag)))

    def eth_sendRawTransaction(self, raw: str) -> str:
        return self.chain.accept(raw)

    def eth_getTransactionByHash(self, _: str) -> None:
        return None

    def eth_getBlockReceipts(self, tag: str) -> Any:
        number = self._number(tag)
        if number > self.chain.head:
            return None
        txs = self.chain.blocks[number].txs
        return [self.eth_getTransactionReceipt(tx, number) for tx, _ in txs]

    def eth_getTransactionReceipt(self, tx: str, upto: int | None = None) -> Any:
        found = self.chain.where(tx, self._head() if upto is None else upto)
        if found is None:
            return None
        block, ok = found
        return {
            "transactionHash": tx,
            "blockNumber": hex(block.number),
            "blockHash": block.hash,
            "status": hex(ok),
            "gasUsed": hex(21_000),
            "effectiveGasPrice": hex(block.base_fee),
            "logs": self.chain.logs(tx, block),
        }
