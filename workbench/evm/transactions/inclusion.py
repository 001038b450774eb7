"""What the chain shows of a slot's transactions: receipts, blocks, nonces, revert reasons."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from workbench.core import facts as ev
from workbench.core.confirmed_readings import ConfirmedReadings
from workbench.core.errors import Reverted, RpcFault, RpcUnanswered, WorkbenchError
from workbench.core.finality import FinalityPolicy
from workbench.core.ports import Clock, Slot
from workbench.evm.codec.abi import hex_bytes
from workbench.evm.codec.receipts import Inclusion, inclusion_of, require_within
from workbench.evm.codec.reverts import explain_revert
from workbench.evm.rpc.client import BLOCK, BLOCK_RECEIPTS, MANY_IN_BLOCK, NodeRevert, Rpc
from workbench.evm.transactions.simulation import base_fee

RECENT = 16
"""Number of newest blocks that are read whole, if many of our transactions were mined."""
SEARCH_MS = 600_000
"""Time after which a used nonce counts as lost without proof, if the node has dropped the state to
search."""


@dataclass(slots=True)
class NonceView:
    """The chain as one pump reads it. What many slots need is read once.

    `blocks`: hash and Unix milliseconds by number; None for a block that does not exist.
    """

    head: int
    hash: str
    base_fee: int
    blocks: dict[int, tuple[str, int] | None] = field(default_factory=dict)
    is_inconsistent: bool = False
    """True if the answers contradict each other: reading the same block again may show more."""
    nonce: int | None = None


class InclusionReader:
    """See the module. `address`: the signer's. `is_thrifty`: reads whole blocks; see `news`."""

    def __init__(
        self,
        rpc: Rpc,
        clock: Clock,
        *,
        address: str,
        finality: FinalityPolicy,
        is_thrifty: bool = False,
    ) -> None:
        self._rpc, self._clock, self._finality = rpc, clock, finality
        self._address, self._is_thrifty = address, is_thrifty
        self._mined: dict[str, Inclusion] = {}
        self._head = -1
        self._unproven: dict[int, int] = {}
        self._takers = ConfirmedReadings()

    async def look(self) -> NonceView:
        """Return the newest block."""
        block = await self._rpc.call("eth_getBlockByNumber", "latest", False)
        return NonceView(int(block["number"], 16), block["hash"], base_fee(block))

    async def nonce(self, tag: str) -> int:
        """Return the number of the signer's transactions up to the block `tag`."""
        return int(await self._rpc.call("eth_getTransactionCount", self._address, tag), 16)

    async def news(self, slots: Sequence[Slot], view: NonceView) -> list[Inclusion | None]:
        """Return `landings`, with few calls: nothing is mined above the nonce of the chain.

        A transaction that was mined in a block of the chain is still there.
        """
        if not self._is_thrifty:
            return await self.landings(slots)
        if view.nonce is None:
            view.nonce = await self.nonce("latest")
        open_ = {a.tx: a.raw for slot in slots for a in slot.attempts}
        self._mined = {tx: mined for tx, mined in self._mined.items() if tx in open_}
        for number in sorted({mined.block.number for mined in self._mined.values()}):
            await self.block_at(number, view)
        asked = []
        for slot in slots:
            mined = next((self._mined[a.tx] for a in slot.attempts if a.tx in self._mined), None)
            if mined and await self.time_of(mined, view) is not None:
                continue
            for attempt in slot.attempts:  # That block is gone.
                self._mined.pop(attempt.tx, None)
            if slot.block or slot.nonce < view.nonce:
                asked.append(slot)
        blocks = range(max(self._head + 1, view.head + 1 - RECENT), view.head + 1)
        self._head = view.head
        if blocks and len(asked) >= MANY_IN_BLOCK * len(blocks):
            for number in blocks:
                self._mined |= await self._landed_in(number, open_)
            asked = [slot for slot in asked if not any(a.tx in self._mined for a in slot.attempts)]
        for landing in await self.landings(asked):
            if landing is not None:
                self._mined[landing.tx] = landing
        found: list[Inclusion | None] = []
        for slot in slots:
            own = (self._mined.get(attempt.tx) for attempt in reversed(slot.attempts))
            found.append(next((mined for mined in own if mined), None))
        return found

    async def _landed_in(self, number: int, open_: dict[str, str]) -> dict[str, Inclusion]:
        """Return the inclusions of these slots in a block, by transaction; empty if the node
        cannot."""
        try:
            told = await self._rpc.call(BLOCK_RECEIPTS, hex(number))
        except RpcFault:
            return {}
        ours = (receipt for receipt in told or () if receipt["transactionHash"] in open_)
        return {each["transactionHash"]: _landing(inclusion_of(each), open_) for each in ours}

    async def landings(self, slots: Sequence[Slot]) -> list[Inclusion | None]:
        """Return for each slot the inclusion of its newest included attempt, or None."""
        asked = {each.tx: each.raw for slot in slots for each in reversed(slot.attempts)}
        answers = iter(await self._rpc.inclusions(list(asked)))
        found: list[Inclusion | None] = []
        for slot in slots:
            told: list[Inclusion] = []
            for answer in (next(answers) for _ in slot.attempts):
                if isinstance(answer, WorkbenchError):
                    raise answer
                told += [_landing(answer, asked)] if answer is not None else []
            found.append(told[0] if told else None)
        return found

    async def time_of(self, landing: Inclusion, view: NonceView) -> int | None:
        """Return the Unix milliseconds of its block, or None if the chain has another block
        there."""
        seen = await self.block_at(landing.block.number, view)
        return seen[1] if seen and seen[0] == landing.block.hash else None

    async def block_at(self, number: int, view: NonceView) -> tuple[str, int] | None:
        """Return hash and time of the block at a height, or None. Read once per view."""
        if number not in view.blocks:
            block = await self._rpc.call("eth_getBlockByNumber", hex(number), False)
            seen = (block["hash"], int(block["timestamp"], 16) * 1000) if block else None
            view.blocks[number] = seen
        return view.blocks[number]

    async def hashes(self, numbers: Iterable[int]) -> dict[int, str]:
        """Return the hashes of the chain's blocks at these heights. Missing heights are left
        out."""
        asked = sorted(set(numbers))
        blocks = await self._rpc.many([(BLOCK, hex(number), False) for number in asked])
        for block in blocks:
            if isinstance(block, WorkbenchError):
                raise block
        return {n: block["hash"] for n, block in zip(asked, blocks, strict=True) if block}

    async def is_taken(self, slot: Slot, view: NonceView) -> bool:
        """Return True if a foreign transaction with our nonce is final.

        A missing receipt proves nothing, because the node may lag. The foreign transaction proves
        it, read twice. If its block is too old to be searched, a waiting time decides.
        """
        final = view.head - self._finality.depth
        if final < 0 or await self.nonce(hex(final)) <= slot.nonce:
            self._unproven.pop(slot.nonce, None)
            return False
        try:
            taker = await self._taker(slot.nonce, final)
        except RpcUnanswered:
            raise
        except RpcFault:
            since = self._unproven.setdefault(slot.nonce, self._clock.now_ms())
            return self._clock.now_ms() - since >= SEARCH_MS
        if taker in (None, *(attempt.tx for attempt in slot.attempts)):
            self._takers.forget(slot.nonce)
            return False
        return self._takers.confirms(slot.nonce, taker, self._clock.now_ms())

    async def _taker(self, nonce: int, final: int) -> str | None:
        """Return our account's transaction with that nonce, in a block not above `final`."""
        high, step = final, 1
        while (low := max(high - step, -1)) >= 0 and await self.nonce(hex(low)) > nonce:
            high, step = low, 2 * step
        while high - low > 1:
            middle = (low + high) // 2
            if await self.nonce(hex(middle)) > nonce:
                high = middle
            else:
                low = middle
        block = await self._rpc.call("eth_getBlockByNumber", hex(high), True)
        for each in block["transactions"] if block else ():
            if each["from"].lower() == self._address and int(each["nonce"], 16) == nonce:
                return str(each["hash"])
        return None

    async def why_reverted(self, block: ev.BlockRef) -> WorkbenchError:
        """Return the error of a reverted transaction, simulated on the state before its block.

        With the time and number of the block, if the node can override them: deadlines and gates
        depend on them.
        """
        sent = await self._rpc.call("eth_getTransactionByHash", block.tx)
        own = await self._rpc.call("eth_getBlockByNumber", hex(block.number), False)
        if sent is not None:
            request = {key: sent[key] for key in ("from", "to", "gas", "value")}
            asked = ({**request, "data": sent["input"]}, hex(block.number - 1))
            as_of = {"number": own["number"], "time": own["timestamp"]} if own else {}
            ways: tuple[tuple[dict[str, Any], ...], ...] = (({}, as_of), ())
            for overrides in ways:
                try:
                    await self._rpc.call("eth_call", *asked, *overrides)
                except NodeRevert as why:
                    return explain_revert(hex_bytes(why.data))
                except RpcUnanswered:
                    raise
                except RpcFault:
                    # No overrides on this node; or the state is gone; or a reorg happens at this
                    # moment.
                    continue
                break
        return Reverted("the transaction reverted; before the others of its block it would not.")


def _landing(landing: Inclusion, raws: dict[str, str]) -> Inclusion:
    """Return an inclusion of these signed bytes. Raises RpcAnswerInvalid if it cannot be theirs."""
    require_within(raws[landing.tx], landing.gas_used, landing.gas_price)
    return landing
