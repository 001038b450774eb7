"""What an act costs, and whether it would be refused: asked before any slot is taken."""

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
"""The least we tip; more where the node suggests more (Polygon asks for 25 gwei)."""
TIP_AGE_MS = 60_000
GAS_HEADROOM = (13, 10)
"""Gas limit over the node's estimate: the pool may be elsewhere when it is mined."""
GAS_LIKENESS = (21, 20)
"""Gas with which the next act of a kind is tried, over what one of that kind was estimated at."""
GAS_FOR_STORAGE = 100_000
"""And for a contract's storage: a vault that others have emptied since pays for four new words."""
GAS_BESIDE = 200_000
"""Gas of a call that is simulated beside another: a transfer, and its signature."""
TRANSFER_GAS = 21_000
"""What a plain transfer to an account takes."""
MAX_FEE_WEI = 10**13
"""A unit of gas is never worth more to us than 10,000 gwei."""


@dataclass(slots=True)
class SimulationBatch:
    """Calls that the node tries: at a fee and a tip in wei, by a payer who held so much.

    By place: the gas with which each is `tried`, and what is known to be `needed`, or why not.
    `beside`: the places of those that need another call to pass as well.
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
    """See the module. `payer`: the address that sends; `source`: what it is called in errors."""

    def __init__(self, rpc: Rpc, clock: Clock, *, chain_id: int, payer: str, source: str) -> None:
        self._rpc, self._clock = rpc, clock
        self._chain_id, self._payer, self._source = chain_id, payer, source
        self._gas: dict[tuple[str, str, bytes, int], int] = {}
        self._tip: tuple[int, int] | None = None

    async def priced(self, calls: Sequence[ContractCall]) -> list[dict[str, Any] | WorkbenchError]:
        """Fees and gas of each, or why it is doomed: the simulation, before any slot is taken."""
        (asked,) = await self.ask([calls])
        return await self.judged(asked)

    async def ask(self, parts: Sequence[Sequence[ContractCall]]) -> list[SimulationBatch]:
        """Have the node try all parts; what it says of each can be `judged` when it is needed."""
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
        """The gas that each would need at the newest block, or why it would be refused.

        An estimate searches, and so executes an act many times. What one act of a kind took,
        the next of that kind is executed with, once; only what fails is estimated.
        """
        for n, call in enumerate(asked.calls):
            if not call.data:  # An account needs no more than what every transaction takes.
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
        """The node's estimate, remembered for acts of the same kind; or what its refusal means."""
        try:
            # Without a block some nodes take "pending": other people's plans, and another clock.
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
        # With the fee, the node also looks whether the signer can pay for it.
        request = {"from": self._payer, "to": call.to, "data": "0x" + call.data.hex()}
        request |= {"maxFeePerGas": hex(fee)}
        return {**request, "value": hex(call.value)} if call.value else request

    async def tip(self) -> int:
        now = self._clock.now_ms()
        if self._tip is None or now - self._tip[0] >= TIP_AGE_MS:
            tip = TIP_WEI
            with suppress(RpcFault):  # Not every node has an opinion.
                tip = max(tip, int(await self._rpc.call("eth_maxPriorityFeePerGas"), 16))
            self._tip = (now, tip)
        return self._tip[1]

    def _short(self) -> SignerShort:
        return SignerShort(
            f"the {self._source}'s account {self._payer} cannot pay for gas.",
            hint="Send it some of the chain's native currency.",
        )


def _meaning(answer: WorkbenchError) -> WorkbenchError:
    """What a contract's refusal means; a node's own is told as it is."""
    return explain_revert(hex_bytes(answer.data)) if isinstance(answer, NodeRevert) else answer


def _beside(also: PrecedingCall | None) -> dict[str, Any]:
    assert also is not None
    request = {"from": also.sender, "to": also.to, "data": "0x" + also.data.hex()}
    return {**request, "gas": hex(GAS_BESIDE)}


def _kind_of(call: ContractCall) -> tuple[str, str, bytes, int]:
    """Acts of one kind take about the same gas: the same function of the same contract."""
    return call.act, call.to, call.data[:4], call.gas


def base_fee(block: dict[str, Any]) -> int:
    """In wei; 0 where the chain has none."""
    return int(block.get("baseFeePerGas") or "0x0", 16)
