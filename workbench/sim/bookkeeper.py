"""Looks at the paying wallet on the chain after every block, and holds it against the invariants.

Like the auditor it has a line of its own, and counts transfers and gas itself; of the service it
takes its word for each payout, and at the end its books, to hold them against the chain.
"""

from __future__ import annotations

from dataclasses import dataclass

from workbench.chain.abi import encode_call
from workbench.chain.rpc import Rpc
from workbench.core import payout as machine
from workbench.core.audit import PAYOUT_INVARIANTS, PaidOut, broken
from workbench.core.errors import IllegalTransition
from workbench.core.payout import ENDED, MOVING, Payout
from workbench.core.ports import LedgerBook
from workbench.services.accounts import treasury
from workbench.sim.auditor import TRANSFER, Findings
from workbench.sim.users import Tally

PAGE = 1_000


@dataclass(frozen=True, slots=True)
class _Block:
    """What the wallet did in it: receiver and amount of each transfer, and the gas in wei."""

    number: int
    hash: str
    moved: tuple[tuple[str, int], ...] = ()
    gas_wei: int = 0


@dataclass(frozen=True, slots=True)
class Purse:
    """The wallet, what it pays in, and what a credit is worth in that. `token`: None for ETH.

    `batcher`: the contract through which it may pay many at once.
    """

    address: str
    token: str | None
    units_per_credit: int
    chain_id: int
    batcher: str | None = None

    @property
    def native(self) -> str:
        return f"eip155:{self.chain_id}/native"

    @property
    def asset(self) -> str:
        return f"eip155:{self.chain_id}/erc20:{self.token}" if self.token else self.native


class Bookkeeper:
    """See the module. `tally`: what users asked for and were told."""

    def __init__(
        self, rpc: Rpc, store: LedgerBook, purse: Purse, tally: Tally, findings: Findings
    ) -> None:
        self._rpc, self._store, self._purse = rpc, store, purse
        self._tally, self._findings = tally, findings
        self._blocks: list[_Block] = []
        self._seq = 0
        self._torn: list[str] = []
        self.payouts: dict[str, Payout] = {}

    async def begin(self) -> None:
        """From the newest block on."""
        head = await self._rpc.call("eth_getBlockByNumber", "latest", False)
        self._blocks = [_Block(int(head["number"], 16), head["hash"])]

    @property
    def open(self) -> list[str]:
        """Payouts without an end, and those that were promised and that nobody knows."""
        lost = [each for each in self._tally.accepted if each not in self.payouts]
        return lost + [p.id for p in self.payouts.values() if p.state not in ENDED]

    # --- Following the chain and the journal ---

    async def after_block(self, number: int) -> None:
        """All blocks up to `number`, the newest, and then what can be asked at any time."""
        news = False
        while (last := self._blocks[-1]).hash != await self._hash(last.number):
            self._blocks.pop()
            news = True
        for each in range(self._blocks[-1].number + 1, number + 1):
            self._blocks.append(await self._read(each))
            news = news or bool(self._blocks[-1].moved)
        if await self._listen() or news:
            self.check(self._view())

    async def _hash(self, number: int) -> str | None:
        block = await self._rpc.call("eth_getBlockByNumber", hex(number), False)
        return block["hash"] if block else None

    async def _read(self, number: int) -> _Block:
        block = await self._rpc.call("eth_getBlockByNumber", hex(number), True)
        moved: list[tuple[str, int]] = []
        gas_wei = 0
        for tx in block["transactions"]:
            if tx["from"] != self._purse.address:
                continue
            receipt = await self._rpc.call("eth_getTransactionReceipt", tx["hash"])
            gas_wei += int(receipt["gasUsed"], 16) * int(receipt["effectiveGasPrice"], 16)
            value = int(tx["value"], 16)
            if self._purse.token is None and value and int(receipt["status"], 16):
                together = tx["to"] == self._purse.batcher
                moved += await self._passed_on(tx["hash"]) if together else [(tx["to"], value)]
        if self._purse.token is not None:
            moved += await self._token_moves(block["hash"])
        return _Block(number, block["hash"], tuple(moved), gas_wei)

    async def _passed_on(self, tx: str) -> list[tuple[str, int]]:
        """What the contract has paid in a transaction of ours: by its calls, not by its word."""
        options = {"tracer": "callTracer"}
        trace = await self._rpc.call("debug_traceTransaction", tx, options)
        return [
            (call["to"], int(call["value"], 16))
            for call in trace.get("calls", ())
            if "error" not in call
            and int(call.get("value") or "0x0", 16)
            and call["to"] != self._purse.address  # What was left comes back.
        ]

    async def _token_moves(self, block_hash: str) -> list[tuple[str, int]]:
        """By the token's own logs, whoever sent the transaction."""
        ours = "0x" + self._purse.address[2:].rjust(64, "0")
        query = {"blockHash": block_hash, "address": self._purse.token, "topics": [TRANSFER, ours]}
        logs = await self._rpc.call("eth_getLogs", query)
        return [("0x" + log["topics"][2][-40:], int(log["data"], 16)) for log in logs]

    async def _listen(self) -> bool:
        """The service's new facts, if there are. What cannot follow is noted; the rest goes on."""
        before = self._seq
        while True:
            async with self._store.unit() as unit:
                page = await unit.facts(after=self._seq, limit=PAGE)
            for seq, fact in page:
                self._seq = seq
                if type(fact) not in MOVING:
                    continue
                try:
                    known = self.payouts.get(fact.subject)
                    self.payouts[fact.subject] = machine.apply(known, fact)
                except IllegalTransition as why:
                    self._torn.append(why.message)
            if len(page) < PAGE:
                return self._seq > before

    # --- Looking ---

    def _view(self, **more: object) -> PaidOut:
        worth, tally = self._purse.units_per_credit, self._tally
        return PaidOut(
            moved=self._moved,
            payouts=tuple(self.payouts.values()),
            torn=tuple(self._torn),
            asked={to: (user, n * worth) for to, (user, n) in tally.asked.items()},
            earned={user: n * worth for user, n in tally.sent.items()},
            **more,  # type: ignore[arg-type]
        )

    @property
    def _moved(self) -> tuple[tuple[str, int], ...]:
        return tuple(each for block in self._blocks for each in block.moved)

    async def whole(self, *, over: bool) -> None:
        """Everything once more, at the end, the books included.

        `over`: the time is up, and whatever is open has no end in time.
        """
        await self._listen()
        async with self._store.unit() as unit:
            accounts, lines = await unit.accounts(), await unit.transfers()
        balances = {account.id: account.balance for account in accounts}
        tally = self._tally
        self.check(
            self._view(
                late=tuple(self.open) if over else (),
                ledger=balances,
                chain=await self._sums(),
                credited={u: (tally.credited.get(u, 0), most) for u, most in tally.sent.items()},
                accounts=accounts,
                lines=lines,
            )
        )

    async def _sums(self) -> dict[str, int]:
        """By the chain, under the names of the ledger's accounts."""
        purse, native = self._purse, self._purse.native
        held = int(await self._rpc.call("eth_getBalance", purse.address, "latest"), 16)
        sums = {
            treasury(purse.address, native): held,
            f"gas:{native}": sum(block.gas_wei for block in self._blocks),
            f"paid:{purse.asset}": sum(amount for _, amount in self._moved),
            f"suspense:{native}": 0,
        }
        if purse.token is not None:
            data = "0x" + encode_call("MockUSDC", "balanceOf", purse.address).hex()
            request = {"to": purse.token, "data": data}
            units = int(await self._rpc.call("eth_call", request, "latest"), 16)
            sums |= {treasury(purse.address, purse.asset): units, f"suspense:{purse.asset}": 0}
        return sums

    def check(self, view: PaidOut) -> None:
        """Hold a view against every invariant of payouts."""
        self._findings.add(broken(view, PAYOUT_INVARIANTS), self.payouts)
