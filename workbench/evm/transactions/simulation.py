"""Simulation of calls before a slot is taken: their gas, or the reason of a refusal."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from workbench.core.errors import (
    RpcFault,
    RpcUnanswered,
    RpcUnreachable,
    SignerShort,
    WorkbenchError,
)
from workbench.core.ports import Clock, ContractCall, PrecedingCall
from workbench.evm.codec.abi import hex_bytes
from workbench.evm.codec.reverts import explain_revert
from workbench.evm.rpc.client import NodeRevert, PendingAnswers, Rpc

TIP_WEI = 10**9
"""The lowest tip. A node may suggest more (Polygon asks for 25 gwei)."""
TIP_AGE_MS = 60_000
GAS_HEADROOM = (13, 10)
"""Gas limit relative to the node's estimate: the pool may have moved when it is mined."""
GAS_LIKENESS = (21, 20)
"""Gas of the next simulation of a kind, relative to the last estimate of that kind."""
GAS_FOR_STORAGE = 100_000
"""Extra gas for storage: a vault that others have emptied meanwhile pays for four new words."""
GAS_BESIDE = 200_000
"""Gas of a call that is simulated beside another: a transfer, and its signature."""
TRANSFER_GAS = 21_000
"""Gas of a plain transfer to an account."""
MAX_FEE_WEI = 10**13
"""The highest fee for one unit of gas: 10,000 gwei."""


@dataclass(slots=True)
class SimulationBatch:
    """Calls to simulate: at a fee and a tip in wei, by a payer with this balance.

    By position: the gas with which each is `tried`, and the gas `needed` if known, or the error.
    `beside`: positions of calls that need another call to pass.
    """

    calls: Sequence[ContractCall]
    fee: int
    tip: int
    held: int
    tried: dict[int, int] = field(default_factory=dict)
    needed: dict[int, int | WorkbenchError] = field(default_factory=dict)
    beside: list[int] = field(default_factory=list)
    answers: PendingAnswers | None = None


class Simulation:
    """See the module. `payer`: the sending address. `source`: its name in errors."""

    def __init__(self, rpc: Rpc, clock: Clock, *, chain_id: int, payer: str, source: str) -> None:
        self._rpc, self._clock = rpc, clock
        self._chain_id, self._payer, self._source = chain_id, payer, source
        self._gas: dict[tuple[str, str, bytes, int], int] = {}
        self._tip: tuple[int, int] | None = None

    async def priced(self, calls: Sequence[ContractCall]) -> list[dict[str, Any] | WorkbenchError]:
        """Return fees and gas of each call, or its error."""
        (asked,) = await self.ask([calls])
        return await self.judged(asked)

    async def ask(self, parts: Sequence[Sequence[ContractCall]]) -> list[SimulationBatch]:
        """Start the simulation of all parts. `judged` returns the result of each."""
        tip = await self.tip()
        block = await self._rpc.call("eth_getBlockByNumber", "latest", False)
        fee = min(2 * base_fee(block) + tip, MAX_FEE_WEI)
        held = int(await self._rpc.call("eth_getBalance", self._payer, "latest"), 16)
        return [
            await self._simulated(SimulationBatch(calls, fee, min(tip, fee), held))
            for calls in parts
        ]

    async def judged(self, asked: SimulationBatch) -> list[dict[str, Any] | WorkbenchError]:
        """See `priced`. Raises RpcUnreachable or RpcUnanswered."""
        priced: list[dict[str, Any] | WorkbenchError] = []
        for call, needed in zip(asked.calls, await self._needed(asked), strict=True):
            if isinstance(needed, WorkbenchError):
                priced.append(needed)
                continue
            gas = needed * GAS_HEADROOM[0] // GAS_HEADROOM[1]
            gas += GAS_FOR_STORAGE if call.data else 0
            gas = max(gas, call.gas)
            if asked.held < call.value + gas * asked.fee:
                priced.append(self._short())
                continue
            fields = {"chainId": self._chain_id, "type": 2, "to": hex_bytes(call.to)}
            fields |= {"data": call.data, "value": call.value, "gas": gas}
            fields |= {"maxFeePerGas": asked.fee, "maxPriorityFeePerGas": asked.tip}
            priced.append(fields)
        return priced

    async def _simulated(self, asked: SimulationBatch) -> SimulationBatch:
        """Return the gas that each call needs at the newest block, or its error.

        An estimate executes a call many times. So a call is first executed once with the gas of the
        last one of its kind; only a failure is estimated.
        """
        for n, call in enumerate(asked.calls):
            if not call.data:  # A transfer to an account needs the base gas of a transaction.
                asked.tried[n] = TRANSFER_GAS
            elif _kind_of(call) in self._gas:
                asked.tried[n] = self._gas[_kind_of(call)]
            else:
                asked.needed[n] = await self._estimated(call, asked.fee)
        requests = [
            {**self._request(asked.calls[n], asked.fee), "gas": hex(gas)}
            for n, gas in asked.tried.items()
        ]
        asked.beside = [n for n, call in enumerate(asked.calls) if call.also is not None]
        requests += [_beside(asked.calls[n].also) for n in asked.beside]
        asked.answers = self._rpc.start_simulation(requests) if requests else None
        return asked

    async def _needed(self, asked: SimulationBatch) -> list[int | WorkbenchError]:
        """Return the gas of each call, estimated if its simulation failed, or its error."""
        answers = await asked.answers if asked.answers else []
        first = len(asked.tried)
        for (n, gas), answer in zip(asked.tried.items(), answers[:first], strict=True):
            if isinstance(answer, RpcUnreachable | RpcUnanswered):
                raise answer
            refused = isinstance(answer, WorkbenchError)
            asked.needed[n] = await self._estimated(asked.calls[n], asked.fee) if refused else gas
        for n, answer in zip(asked.beside, answers[first:], strict=True):
            if isinstance(answer, RpcUnreachable | RpcUnanswered):
                raise answer
            if isinstance(answer, WorkbenchError) and isinstance(asked.needed[n], int):
                asked.needed[n] = _meaning(answer)
        return [asked.needed[n] for n in range(len(asked.calls))]

    async def _estimated(self, call: ContractCall, fee: int) -> int | WorkbenchError:
        """Return the node's estimate, cached for calls of the same kind, or the meaning of its
        refusal."""
        try:
            # Without a block some nodes use "pending": foreign transactions, and another time.
            request = self._request(call, fee)
            gas = int(await self._rpc.call("eth_estimateGas", request, "latest"), 16)
        except NodeRevert as why:
            return explain_revert(hex_bytes(why.data))
        except RpcUnanswered:
            raise
        except RpcFault as why:
            text = why.message.lower()
            if "insufficient funds" in text or "gas required exceeds allowance" in text:
                return self._short()
            return why
        if call.data:
            kind, least = _kind_of(call), gas * GAS_LIKENESS[0] // GAS_LIKENESS[1]
            self._gas[kind] = max(least, self._gas.get(kind, 0))
        return gas

    def _request(self, call: ContractCall, fee: int) -> dict[str, Any]:
        # With the fee, the node also checks that the signer can pay for it.
        request = {"from": self._payer, "to": call.to, "data": "0x" + call.data.hex()}
        request |= {"maxFeePerGas": hex(fee)}
        return {**request, "value": hex(call.value)} if call.value else request

    async def tip(self) -> int:
        """Return the node's suggested priority fee in wei, at least TIP_WEI."""
        now = self._clock.now_ms()
        if self._tip is None or now - self._tip[0] >= TIP_AGE_MS:
            tip = TIP_WEI
            with suppress(RpcFault):  # Not every node has this method.
                tip = max(tip, int(await self._rpc.call("eth_maxPriorityFeePerGas"), 16))
            self._tip = (now, tip)
        return self._tip[1]

    def _short(self) -> SignerShort:
        return SignerShort(
            f"the {self._source}'s account {self._payer} cannot pay for gas.",
            hint="Send it some of the chain's native currency.",
        )


def _meaning(answer: WorkbenchError) -> WorkbenchError:
    """Return the meaning of a contract's refusal. Errors of the node are returned unchanged."""
    return explain_revert(hex_bytes(answer.data)) if isinstance(answer, NodeRevert) else answer


def _beside(also: PrecedingCall | None) -> dict[str, Any]:
    assert also is not None
    request = {"from": also.sender, "to": also.to, "data": "0x" + also.data.hex()}
    return {**request, "gas": hex(GAS_BESIDE)}


def _kind_of(call: ContractCall) -> tuple[str, str, bytes, int]:
    """Return the kind of a call. Calls of one function of a contract take about the same gas."""
    return call.act, call.to, call.data[:4], call.gas


def base_fee(block: dict[str, Any]) -> int:
    """Return the base fee in wei; 0 if the chain has none."""
    return int(block.get("baseFeePerGas") or "0x0", 16)
