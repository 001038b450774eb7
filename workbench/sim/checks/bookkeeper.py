"""The checker of payouts: reads the paying wallet after every block and checks all invariants.

It counts transfers and gas itself. It reads the payouts of the service, and at the end its ledger,
and compares both with the chain. After a block it checks the receivers with news, and at the end
all of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

from workbench.core import payout as machine
from workbench.core.errors import IllegalTransition
from workbench.core.facts import fact_id
from workbench.core.invariants import PAYOUT_INVARIANTS, PayoutView, broken
from workbench.core.payout import ENDED, MOVING, Payout
from workbench.core.ports import LedgerStorePort
from workbench.core.webhooks import DELIVERED
from workbench.evm.codec.abi import encode_call
from workbench.evm.rpc.client import Rpc
from workbench.services.payouts.accounts import treasury
from workbench.sim.checks.auditor import TRANSFER, InvariantFindings
from workbench.sim.people.subscriber import SimSubscriber
from workbench.sim.people.users import UserTally

PAGE = 1_000


@dataclass(frozen=True, slots=True)
class WalletBlock:
    """One block: receiver and amount of each transfer of the wallet, and its gas in wei."""

    number: int
    hash: str
    moved: tuple[tuple[str, int], ...] = ()
    gas_wei: int = 0


@dataclass(frozen=True, slots=True)
class WalletSpec:
    """The paying wallet, its asset, and the value of a credit. `token`: None for ETH.

    `batcher`: address of the contract that pays batches, or None.
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


class PayoutChecker:
    """See the module. `tally`: what users requested and were answered. `subscriber`: what it
    received."""

    def __init__(
        self,
        rpc: Rpc,
        store: LedgerStorePort,
        wallet_spec: WalletSpec,
        tally: UserTally,
        subscriber: SimSubscriber,
        findings: InvariantFindings,
    ) -> None:
        self._rpc, self._store, self._wallet_spec = rpc, store, wallet_spec
        self._tally, self._subscriber, self._findings = tally, subscriber, findings
        self._to_tell: list[str] = []
        self._blocks: list[WalletBlock] = []
        self._seq = 0
        self._torn: list[str] = []
        self._paid: dict[str, list[int]] = {}
        self._got: Counter[str] = Counter()
        self._due: dict[str, dict[str, None]] = {}
        self.payouts: dict[str, Payout] = {}

    async def begin(self) -> None:
        """Start at the newest block."""
        head = await self._rpc.call("eth_getBlockByNumber", "latest", False)
        self._blocks = [WalletBlock(int(head["number"], 16), head["hash"])]

    @property
    def open(self) -> list[str]:
        """Return payouts without an end, and accepted payouts that the service does not know."""
        lost = [each for each in self._tally.accepted if each not in self.payouts]
        return lost + [p.id for p in self.payouts.values() if p.state not in ENDED]

    @property
    def is_told(self) -> bool:
        """True if the subscriber has received all facts."""
        return self._to_tell == list(self._subscriber.heard)

    # --- Following the chain and the journal ---

    async def after_block(self, number: int) -> None:
        """Read all blocks up to `number`, the newest, then check what must always hold."""
        news: dict[str, None] = {}
        while (last := self._blocks[-1]).hash != await self._hash(last.number):
            self._blocks.pop()
            for receiver, amount in reversed(last.moved):
                self._paid[receiver].pop()
                self._got[self._user(receiver)] -= amount
                news[receiver] = None
        for each in range(self._blocks[-1].number + 1, number + 1):
            self._blocks.append(await self._read(each))
            for receiver, amount in self._blocks[-1].moved:
                self._paid.setdefault(receiver, []).append(amount)
                self._got[self._user(receiver)] += amount
                news[receiver] = None
        news.update(await self._listen())
        if news:
            self.check(self._view(news))

    def _user(self, receiver: str) -> str:
        """Return the user who requested a payout to this receiver."""
        return self._tally.asked.get(receiver, ("", 0))[0]

    async def _hash(self, number: int) -> str | None:
        block = await self._rpc.call("eth_getBlockByNumber", hex(number), False)
        return block["hash"] if block else None

    async def _read(self, number: int) -> WalletBlock:
        """Return what the wallet did in one block."""
        block = await self._rpc.call("eth_getBlockByNumber", hex(number), True)
        moved: list[tuple[str, int]] = []
        gas_wei = 0
        for tx in block["transactions"]:
            if tx["from"] != self._wallet_spec.address:
                continue
            receipt = await self._rpc.call("eth_getTransactionReceipt", tx["hash"])
            gas_wei += int(receipt["gasUsed"], 16) * int(receipt["effectiveGasPrice"], 16)
            value = int(tx["value"], 16)
            if self._wallet_spec.token is None and value and int(receipt["status"], 16):
                together = tx["to"] == self._wallet_spec.batcher
                moved += await self._passed_on(tx["hash"]) if together else [(tx["to"], value)]
        if self._wallet_spec.token is not None:
            moved += await self._token_moves(block["hash"])
        return WalletBlock(number, block["hash"], tuple(moved), gas_wei)

    async def _passed_on(self, tx: str) -> list[tuple[str, int]]:
        """Return what the contract paid in one of our transactions, from the trace of its calls."""
        options = {"tracer": "callTracer"}
        trace = await self._rpc.call("debug_traceTransaction", tx, options)
        return [
            (call["to"], int(call["value"], 16))
            for call in trace.get("calls", ())
            if "error" not in call
            and int(call.get("value") or "0x0", 16)
            and call["to"] != self._wallet_spec.address  # Without the remainder that comes back.
        ]

    async def _token_moves(self, block_hash: str) -> list[tuple[str, int]]:
        """Return the transfers of the wallet from the token's logs, whoever sent the
        transaction."""
        ours = "0x" + self._wallet_spec.address[2:].rjust(64, "0")
        query = {
            "blockHash": block_hash,
            "address": self._wallet_spec.token,
            "topics": [TRANSFER, ours],
        }
        logs = await self._rpc.call("eth_getLogs", query)
        return [("0x" + log["topics"][2][-40:], int(log["data"], 16)) for log in logs]

    async def _listen(self) -> dict[str, None]:
        """Return the receivers with new facts. Record facts that cannot follow."""
        news: dict[str, None] = {}
        while True:
            async with self._store.unit() as unit:
                page = await unit.facts(after=self._seq, limit=PAGE)
            for seq, fact in page:
                self._seq = seq
                if fact.type in DELIVERED:
                    self._to_tell.append(fact_id(fact))
                if type(fact) not in MOVING:
                    continue
                try:
                    known = self.payouts.get(fact.subject)
                    payout = self.payouts[fact.subject] = machine.apply(known, fact)
                except IllegalTransition as why:
                    self._torn.append(why.message)
                    news[""] = None
                else:
                    self._due.setdefault(payout.address, {})[payout.id] = None
                    news[payout.address] = None
            if len(page) < PAGE:
                return news

    # --- Looking ---

    def _view(self, receivers: Iterable[str]) -> PayoutView:
        """Return the view of these receivers."""
        worth, tally = self._wallet_spec.units_per_credit, self._tally
        known = {to: tally.asked[to] for to in receivers if to in tally.asked}
        users = dict.fromkeys(user for user, _ in known.values())
        return PayoutView(
            moved=tuple((to, amount) for to in receivers for amount in self._paid.get(to, ())),
            payouts=tuple(self.payouts[id_] for to in receivers for id_ in self._due.get(to, ())),
            torn=tuple(self._torn),
            asked={to: (user, n * worth) for to, (user, n) in known.items()},
            earned={user: tally.sent.get(user, 0) * worth for user in users},
            got={user: self._got[user] for user in users},
        )

    def _whole_view(self) -> PayoutView:
        """Return the view of all receivers, read again from the blocks."""
        worth, tally = self._wallet_spec.units_per_credit, self._tally
        moved = tuple(each for block in self._blocks for each in block.moved)
        got: Counter[str] = Counter()
        for receiver, amount in moved:
            got[self._user(receiver)] += amount
        del got[""]  # Unknown receivers: each is reported by itself.
        return PayoutView(
            moved=moved,
            payouts=tuple(self.payouts.values()),
            torn=tuple(self._torn),
            asked={to: (user, n * worth) for to, (user, n) in tally.asked.items()},
            earned={user: n * worth for user, n in tally.sent.items()},
            got=dict(got),
        )

    async def whole(self, *, over: bool) -> None:
        """Check everything once more at the end, with the ledger.

        `over`: True after the time limit; then no payout may be open.
        """
        await self._listen()
        async with self._store.unit() as unit:
            accounts, lines = await unit.accounts(), await unit.transfers()
        balances = {account.id: account.balance for account in accounts}
        tally, view = self._tally, self._whole_view()
        self.check(
            replace(
                view,
                late=tuple(self.open) if over else (),
                ledger=balances,
                chain=await self._sums(sum(amount for _, amount in view.moved)),
                credited={u: (tally.credited.get(u, 0), most) for u, most in tally.sent.items()},
                accounts=accounts,
                lines=lines,
                facts=self._to_tell,
                heard=list(self._subscriber.heard),
                wrong=tuple(self._subscriber.wrong),
            )
        )

    async def _sums(self, paid: int) -> dict[str, int]:
        """Return the sums on the chain, under the names of the ledger's accounts."""
        wallet_spec, native = self._wallet_spec, self._wallet_spec.native
        held = int(await self._rpc.call("eth_getBalance", wallet_spec.address, "latest"), 16)
        sums = {
            treasury(wallet_spec.address, native): held,
            f"gas:{native}": sum(block.gas_wei for block in self._blocks),
            f"paid:{wallet_spec.asset}": paid,
            f"suspense:{native}": 0,
        }
        if wallet_spec.token is not None:
            data = "0x" + encode_call("MockUSDC", "balanceOf", wallet_spec.address).hex()
            request = {"to": wallet_spec.token, "data": data}
            units = int(await self._rpc.call("eth_call", request, "latest"), 16)
            sums |= {
                treasury(wallet_spec.address, wallet_spec.asset): units,
                f"suspense:{wallet_spec.asset}": 0,
            }
        return sums

    def check(self, view: PayoutView) -> None:
        """Check every invariant of payouts on a view."""
        self._findings.add(broken(view, PAYOUT_INVARIANTS), self.payouts)
