"""A service's connection to the node with faults, and the mempool before the node."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from functools import partial
from random import Random
from typing import Any

from eth_hash.auto import keccak

from workbench.core.errors import RpcFault, RpcUnreachable, WorkbenchError
from workbench.core.ports import Clock
from workbench.evm.codec.abi import hex_bytes, to_hex
from workbench.evm.codec.consistency import RpcCall
from workbench.evm.codec.receipts import Inclusion
from workbench.evm.rpc.client import PendingAnswers, Rpc
from workbench.sim.faults.sites import Crashed, FaultHit, Faults

SEND = "eth_sendRawTransaction"
BLOCK_LAST = {
    "eth_call",
    "eth_estimateGas",
    "eth_getBalance",
    "eth_getCode",
    "eth_getStorageAt",
    "eth_getTransactionCount",
}
"""Reads whose last parameter is the block."""
ABOUT_TRANSACTION = {
    "eth_getTransactionReceipt",
    "eth_getTransactionByHash",
    "eth_getRawTransactionByHash",
}
"""Reads whose first parameter is a transaction hash."""


LINE_SITES = ("rpc.error", "rpc.delayed", "rpc.stale", "tx.dropped", "tx.delayed", "tx.reordered")
"""The fault sites of a connection to the node, and of the mempool."""


class Mempool:
    """Transactions that were accepted and have not reached the pool of the node: late, out of
    order, or dropped.

    `send` answers as a node does, with the transaction hash.
    """

    def __init__(self, rpc: Rpc, faults: Faults, chance: Random) -> None:
        self._rpc, self._faults, self._chance = rpc, faults, chance
        self._late: list[tuple[int, str]] = []
        self._any_order: list[str] = []
        self._blocks = 0

    async def send(self, raw: str, name: str) -> str:
        """Send a transaction to the node, or keep it here. Raises the node's error."""
        hit = partial(_hit, raw)
        if self._faults.fires("tx.dropped", name, hit) is not None:
            return _hash(raw)
        blocks = self._faults.fires("tx.delayed", name, hit)
        if blocks is not None:
            self._late.append((self._blocks + blocks, raw))
            return _hash(raw)
        if self._faults.fires("tx.reordered", name, hit) is not None:
            self._any_order.append(raw)
            return _hash(raw)
        return str(await self._rpc.call(SEND, raw))

    def put_back(self, raws: list[str], blocks: int = 0) -> None:
        """Keep transactions of removed blocks for this many blocks."""
        self._late.extend((self._blocks + blocks, raw) for raw in raws)

    @property
    def waiting(self) -> int:
        """Return the number of transactions that wait here."""
        return len(self._late) + len(self._any_order)

    @property
    def state(self) -> Any:
        """What waits here, for snapshots."""
        return self._blocks, tuple(self._late), tuple(self._any_order)

    @state.setter
    def state(self, state: Any) -> None:
        self._blocks, self._late, self._any_order = state[0], list(state[1]), list(state[2])

    async def release(self) -> None:
        """Send the due transactions to the node. Called before each block."""
        self._blocks += 1
        due = [raw for block, raw in self._late if block < self._blocks]
        self._late = [each for each in self._late if each[0] >= self._blocks]
        self._chance.shuffle(self._any_order)
        for raw in (*due, *self._any_order):
            try:
                await self._rpc.call(SEND, raw)
            except RpcFault:
                continue  # Known already, replaced, or its nonce is used: the sender notices.
        self._any_order.clear()


def _hash(raw: str) -> str:
    return to_hex(keccak(hex_bytes(raw)))


def _hit(raw: str) -> FaultHit:
    """Return the transaction of these bytes."""
    return "", _hash(raw)


def _hit_call(method: str, params: tuple[Any, ...]) -> FaultHit:
    """Return the transaction that a call is about, if any."""
    if method == SEND:
        return _hit(params[0])
    return "", params[0] if method in ABOUT_TRANSACTION else ""


class PassThrough(PendingAnswers):
    """The node's own answers, while the calling service lives."""

    def __init__(self, line: FaultyRpc, inner: PendingAnswers) -> None:
        super().__init__(lambda: line.unless_dead(inner))
        self._inner, self.begun = inner, inner.begun

    @property
    def known(self) -> bool:
        if self._inner.known:
            self.results = self._inner.results
        return self._inner.known


class FaultyRpc(Rpc):
    """One service's connection to the node.

    `dead`: True after a crash of the service; calls on their way may arrive, but nothing returns.
    """

    def __init__(
        self,
        node: Rpc,
        name: str,
        clock: Clock,
        faults: Faults,
        mempool: Mempool,
        chance: Random,
        *,
        latency_ms: int = 0,
        first_block: int = 0,
    ) -> None:
        self._node, self.name, self._clock = node, name, clock
        self._faults, self._mempool, self._chance = faults, mempool, chance
        self._latency_ms, self._first_block = latency_ms, first_block
        self.url = node.url
        self.dead = False

    async def call(self, method: str, *params: Any) -> Any:
        if self.dead:
            raise Crashed
        try:
            return await self._call_behind(method, params)
        finally:
            if self.dead:
                raise Crashed

    async def _call_behind(self, method: str, params: tuple[Any, ...]) -> Any:
        """Call the node through latency and fault sites."""
        target, hit = f"{self.name} {method}", partial(_hit_call, method, params)
        wait_ms = self._latency_ms + (self._faults.fires("rpc.delayed", target, hit) or 0)
        if wait_ms:
            await self._clock.sleep(wait_ms / 1000)
        if self._faults.fires("rpc.error", target, hit) is not None:
            if method == SEND and self._chance.random() < 0.5:
                await self._mempool.send(
                    params[0], self.name
                )  # The call arrived; only its answer is lost.
            raise RpcUnreachable("the node did not answer (an injected fault).")
        if method == SEND:
            return await self._mempool.send(params[0], self.name)
        behind = self._faults.fires("rpc.stale", target, hit)
        if behind is not None:
            return await self._as_of(behind, method, params)
        return await self._node.call(method, *params)

    async def many(self, calls: Sequence[RpcCall]) -> list[Any]:
        if self._is_smooth():
            return await self.unless_dead(self._node.many(calls))
        return await super().many(calls)

    async def simulate_all(self, requests: Sequence[dict[str, Any]]) -> list[Any]:
        if self._is_smooth():
            return await self.unless_dead(self._node.simulate_all(requests))
        return await super().simulate_all(requests)

    async def inclusions(self, txs: Sequence[str]) -> list[Inclusion | WorkbenchError | None]:
        if self._is_smooth():
            return await self.unless_dead(self._node.inclusions(txs))
        return await super().inclusions(txs)

    def ask(self, calls: Sequence[RpcCall]) -> PendingAnswers:
        if self._is_smooth():
            return PassThrough(self, self._node.ask(calls))
        return super().ask(calls)

    def prefetch(self, calls: Sequence[RpcCall]) -> None:
        if self._is_smooth():
            self._node.prefetch(calls)

    def start_simulation(self, requests: Sequence[dict[str, Any]]) -> PendingAnswers:
        if self._is_smooth():
            return PassThrough(self, self._node.start_simulation(requests))
        return super().start_simulation(requests)

    async def unless_dead(self, asking: Awaitable[list[Any]]) -> list[Any]:
        """Return the node's answers. Raises Crashed if the calling service has crashed."""
        try:
            return await asking
        finally:
            if self.dead:
                raise Crashed

    def _is_smooth(self) -> bool:
        """Return True if no fault can occur, so that a batch equals single calls."""
        if self.dead:
            raise Crashed
        return not self._latency_ms and (self._faults.quiet or not self._faults.may(*LINE_SITES))

    async def _as_of(self, behind: int, method: str, params: tuple[Any, ...]) -> Any:
        """Return the answer of a node that is `behind` blocks behind."""
        head = int(await self._node.call("eth_blockNumber"), 16)
        last = max(head - behind, min(self._first_block, head))
        if method == "eth_blockNumber":
            return hex(last)
        if method == "eth_getBlockByNumber":
            asked = last if params[0] in ("latest", "pending") else int(params[0], 16)
            if asked > last:
                return None
            return await self._node.call(method, hex(asked), *params[1:])
        if method in BLOCK_LAST and params[-1] == "latest":
            return await self._node.call(method, *params[:-1], hex(last))
        answer = await self._node.call(method, *params)
        if method == "eth_getTransactionReceipt" and answer is not None:
            return answer if int(answer["blockNumber"], 16) <= last else None
        return answer

    async def close(self) -> None:
        """The connection belongs to the world."""
