"""Broken rules that a scenario may plant: a checker that misses one is itself broken."""

from __future__ import annotations

from typing import Any

from eth_hash.auto import keccak

from workbench.chain.abi import hex_bytes, to_hex
from workbench.chain.rpc import Rpc
from workbench.core.events import SettlementExecuted
from workbench.core.ports import Service
from workbench.core.settlement import Step
from workbench.services.facilitator import Facilitator
from workbench.services.tracker import Tracker
from workbench.sim.hand import Hand

STRANGE_BLOCK = 10
PAY_BEFORE_FINAL = "pay_before_final"
"""Confirmations are not waited for: settings and contract, and so nothing to do here."""


class Leak:
    """`leak`: a base unit of what the vault holds goes missing, once, without any event."""

    def __init__(self, rpc: Rpc, token: str, vault: str) -> None:
        self._rpc, self._token = rpc, token
        # OpenZeppelin's ERC20 keeps balances in the mapping of slot 0.
        self._slot = to_hex(keccak(hex_bytes(vault).rjust(32, b"\0") + bytes(32)))
        self._done = False

    async def before_block(self) -> None:
        """At the first block at whose beginning the vault holds something."""
        if self._done:
            return
        word = await self._rpc.call("eth_getStorageAt", self._token, self._slot, "latest")
        held = int(word, 16)
        if held:
            less = to_hex((held - 1).to_bytes(32, "big"))
            await self._rpc.call("anvil_setStorageAt", self._token, self._slot, less)
            self._done = True


class Stranger:
    """`foreign_nonce`: somebody else signs with the facilitator's key, once."""

    def __init__(self, hand: Hand) -> None:
        self._hand, self._blocks = hand, 0

    async def before_block(self) -> None:
        """A transfer of nothing, some blocks after the beginning."""
        self._blocks += 1
        if self._blocks == STRANGE_BLOCK:
            await self._hand.send(self._hand.address)


def plant(rule: str, name: str, service: Service) -> None:
    """Break `rule` in this service, if it is the one. `name`: which service it is."""
    if rule == "lose_refund" and isinstance(service, Facilitator):
        _lose_refunds(service)
    elif rule == "forget_fact" and isinstance(service, Tracker):
        _forget_executions(service)


def _lose_refunds(facilitator: Any) -> None:
    """A refund is owed, and nobody makes it."""
    owed = facilitator._owed

    def lazy(*args: Any) -> Step:
        step: Step = owed(*args)
        return Step.WAIT if step is Step.REFUND else step

    facilitator._owed = lazy


def _forget_executions(tracker: Any) -> None:
    """The journal misses what the chain did."""
    watcher = tracker._watcher
    store_block = watcher._store_block

    async def forgetful(number: int, known: str, facts: list[Any]) -> None:
        await store_block(
            number, known, [fact for fact in facts if not isinstance(fact, SettlementExecuted)]
        )

    watcher._store_block = forgetful
