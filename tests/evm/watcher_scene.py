"""A chain with a watcher and its store, for the tests of the watcher."""

from __future__ import annotations

from eth_hash.auto import keccak

from tests.evm.faulty import Ground, at_once
from workbench.core.facts import (
    BlockOrphaned,
    Event,
    SettlementFunded,
    canonical,
)
from workbench.evm.rpc.client import Rpc
from workbench.evm.transactions.test_keys import key_of
from workbench.evm.watcher import LogWatcher
from workbench.store.sql.database import SqlStore

OURS = "0x" + "a1" * 20

FOREIGN = "0x" + "f0" * 20

EMITTER = "0x6040360380604060003760203560003582600" + "0a200"
"""Logs its calldata: two words as topics, the rest as data."""

FUNDED = keccak(b"SettlementFunded(bytes32,uint256,uint256)")


class Scene(Ground):
    """A chain with two contracts that log their input, ours and a foreign one."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed=seed)
        for at in (OURS, FOREIGN):
            self.node.call("anvil_setCode", at, EMITTER)
        self.told = 0
        self.watcher = self.fresh_watcher()

    def fresh_watcher(
        self, store: SqlStore | None = None, rpc: Rpc | None = None, start: int = 0
    ) -> LogWatcher:
        """A new process, on the scene's store unless told otherwise."""
        made = LogWatcher(rpc or self.rpc, store or self.store, self.clock, [OURS], start)
        self.watcher = made if store is None else self.watcher
        return made

    def poll(self, watcher: LogWatcher | None = None) -> None:
        self.run((watcher or self.watcher).poll())

    def tell(self, count: int = 1, at: str = OURS, topic: bytes = FUNDED) -> None:
        """Pending transactions that log SettlementFunded, each of another settlement."""
        for _ in range(count):
            self.told += 1
            words = [self.told.to_bytes(32, "big"), (5).to_bytes(32, "big"), b"\0" * 32]
            call = {"from": key_of("deployer").address, "to": at, "gas": hex(100_000)}
            call |= {"maxFeePerGas": hex(10**12), "maxPriorityFeePerGas": "0x1"}
            self.node.call(
                "eth_sendTransaction", call | {"data": "0x" + (topic + b"".join(words)).hex()}
            )

    def block_with_logs(self, count: int = 1) -> str:
        self.tell(count)
        self.mine()
        return self.head_hash()

    def standing(self, store: SqlStore | None = None) -> list[Event]:
        """The chain facts that stand, in the order of the chain."""
        facts = [
            f for f in canonical(facts_of(store or self.store)) if isinstance(f, SettlementFunded)
        ]
        return sorted(facts, key=lambda f: (f.block.number, f.block.log_index))  # type: ignore[union-attr]

    def truth(self) -> list[Event]:
        """What a watcher that begins now finds on the chain, one block after the other."""
        store = SqlStore()
        self.poll(self.fresh_watcher(store, self.direct))
        found = self.standing(store)
        assert found == facts_of(store)
        store.close()
        return found


def facts_of(store: SqlStore) -> list[Event]:
    async def read() -> list[Event]:
        async with store.unit() as unit:
            return [fact for _, fact in await unit.facts()]

    return at_once(read())


def orphans(store: SqlStore) -> list[str]:
    return [fact.subject for fact in facts_of(store) if isinstance(fact, BlockOrphaned)]
