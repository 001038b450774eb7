"""Checks of the node before a round: is it the same chain, and is it healthy?

The chain id is read before every round, because answers of another chain must not be used. The rest
is read every `LOOK_S` seconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from workbench.core.errors import WorkbenchError, WrongChain
from workbench.core.money import format_units
from workbench.core.ports import Clock, Node, NodeState
from workbench.services.common.health import Health

T = TypeVar("T")
GLANCE_S = 2.0
LOOK_S = 15.0
STALLED_S = 600
"""Age of the newest block in seconds at which the chain counts as stalled."""
TRANSACTIONS = 20
"""Number of transactions for which an account must hold gas."""
GAS_EACH = 600_000
"""Most gas of one transaction of a settlement."""
TIP_WEI = 2 * 10**9


class NodeChecks:
    """Checks of one service's node. `accounts`: the senders. `gas`: most gas of one transaction;
    None if `more`, the service's own checks, compares the balances."""

    def __init__(
        self,
        node: Node,
        health: Health,
        clock: Clock,
        *,
        chain_id: int,
        accounts: Sequence[str] = (),
        gas: int | None = None,
        more: Callable[[NodeState], Awaitable[None]] | None = None,
    ) -> None:
        self._node, self._health, self._clock = node, health, clock
        self._chain_id, self._accounts, self._gas, self._more = chain_id, accounts, gas, more
        self._next = DueTimer(LOOK_S)

    async def before_round(self) -> None:
        """Raises WrongChain, RpcUnreachable or RpcFault: then the round must not run."""
        chain_id = await self._node.chain_id()
        if chain_id != self._chain_id:
            raise WrongChain(
                f"the node is on chain {chain_id}, the settings say {self._chain_id}.",
                hint="Correct CHAIN_ID or the RPC URL.",
            )
        if self._next.is_due(self._clock.now_ms()):
            await self._look()

    async def _look(self) -> None:
        """Read block and balances, and report what is wrong."""
        state = await self._node.state(self._accounts)
        self._health.newest_block = state.number
        self._health.balances.update(state.balances)
        self._look_at_block(state)
        for account in self._accounts if self._gas is not None else ():
            needed = reserve_wei(state.base_fee or 0, TRANSACTIONS, self._gas or 0)
            self._health.set("wallet_short", shortfall(account, state, needed), account)
        if self._more is not None:
            await self._more(state)

    def _look_at_block(self, state: NodeState) -> None:
        """Report a stalled chain."""
        age = self._clock.now_ms() // 1000 - state.timestamp
        is_old = age > STALLED_S
        told = f"the newest block, {state.number}, is {age // 60} minutes old by our clock."
        self._health.set("chain_stalled", told if is_old else "")
        if self._accounts:
            told = f"block {state.number} has no base fee (EIP-1559), so nothing can be sent."
            self._health.set("no_eip1559", told if state.base_fee is None else "")


class DueTimer:
    """A timer that is due at first, and then every `every_s` seconds, also if the clock goes
    back."""

    def __init__(self, every_s: float) -> None:
        self._every_ms = int(every_s * 1000)
        self._last_ms: int | None = None

    def is_due(self, now_ms: int) -> bool:
        """Return True if the time has come; the next period starts then."""
        last = self._last_ms
        if last is not None and last <= now_ms < last + self._every_ms:
            return False
        self._last_ms = now_ms
        return True


def reserve_wei(base_fee: int, transactions: int, gas: int) -> int:
    """Return the cost of this many transactions in wei, at twice the base fee."""
    return transactions * gas * (2 * base_fee + TIP_WEI)


def shortfall(account: str, state: NodeState, needed: int) -> str:
    """Return a sentence if an account holds less than `needed` wei, else ""."""
    held = state.balances[account]
    if held >= needed:
        return ""
    return (
        f"{account} holds {format_units(held, 18)} of the native currency, and should hold "
        f"{format_units(needed, 18)}."
    )


async def glance(work: Awaitable[T]) -> T | None:
    """Return the result of a chain call, or None if it fails: /health answers anyway."""
    try:
        async with asyncio.timeout(GLANCE_S):
            return await work
    except (WorkbenchError, TimeoutError):
        return None
