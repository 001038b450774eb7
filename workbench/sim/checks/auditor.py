"""The auditor: reads the chain after every block and checks all invariants.

It reads without faults, on its own connection without a cache. It shares decoder and transition
table with the services. It folds the logs itself, and predicts balances with a second model.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from workbench.core import facts as ev
from workbench.core.errors import IllegalTransition, WorkbenchError
from workbench.core.invariants import INVARIANTS, TOKENS, SettlementView, broken
from workbench.core.invariants.prediction import Holding, Prediction
from workbench.core.lifecycle import CONTRACT_WORDS
from workbench.core.settlement import OPEN, Settlement, SettlementState, fold_into, merge
from workbench.evm.codec.abi import encode_call, hex_bytes, to_hex
from workbench.evm.codec.events import decode_log
from workbench.evm.contracts.settlement import ERC20, EvmChain
from workbench.evm.rpc.blocking import BlockingRpc

TRANSFER = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
"""keccak of Transfer(address,address,uint256), ERC-20."""
"""The contract's states by number."""
HashableKey = TypeVar("HashableKey", bound=Hashable)
HOLDERS = ("vault", "puller", "hook")
VAULT = "SettlementVault"
AuditCall = tuple[Any, ...]
"""A contract read: contract, address, function and arguments. The answer is one integer."""
MOST_TOLD = 100
"""Most facts of one broken invariant. Further breaches are only counted."""


@dataclass(frozen=True, slots=True)
class AuditedBlock:
    number: int
    hash: str
    events: tuple[ev.Event, ...] = ()
    transfers: tuple[tuple[str, str, str, int], ...] = ()
    ours: tuple[str, ...] = ()
    """Transactions that our services signed."""


class InvariantFindings:
    """Record each breach as a fact, once for each problem. `broken`: number of breaches."""

    def __init__(self, tell: Callable[[str, str, str], None]) -> None:
        self._tell = tell
        self._known: dict[str, set[str]] = {}
        self.broken: dict[str, int] = {}

    def add(self, found: dict[str, list[str]], subjects: Iterable[str]) -> None:
        """Record the problems, by invariant. A problem that names one of `subjects` is about it."""
        for name, problems in found.items():
            self.broken[name] = self.broken.get(name, 0) + len(problems)
            known = self._known.setdefault(name, set())
            for problem in problems:
                if problem not in known and len(known) < MOST_TOLD:
                    known.add(problem)
                    subject = next((each for each in subjects if each in problem), "")
                    self._tell(name, problem, subject)


class Auditor:
    """The auditor of a run. `accounts`: their balances are predicted, besides those of the vault
    and of `pool` (the v4 PoolManager). `knows(tx)`: True if a store has the transaction.

    `signers`: the services' accounts. `finality`: the confirmations of the scenario.
    """

    def __init__(
        self,
        chain: EvmChain,
        pool: str,
        accounts: Iterable[str],
        signers: Iterable[str],
        knows: Callable[[str], Awaitable[bool]],
        finality: int,
        findings: InvariantFindings,
    ) -> None:
        self._rpc, self._addresses = BlockingRpc(chain.rpc.url), chain.addresses
        self._vault, self._pool = chain.addresses.vault, pool.lower()
        self._tokens = {name: getattr(chain.addresses, name) for name in TOKENS}
        self.accounts = sorted({*accounts, self._vault, self._pool})
        self._signers = frozenset(signers)
        self._knows, self._finality, self._findings = knows, finality, findings
        self._blocks: list[AuditedBlock] = []
        self._start: dict[Holding, int] = {}
        self._supply: dict[str, int] = {}
        self.blocks_checked = 0
        self._forget()

    def _forget(self) -> None:
        self.model = Prediction(self._vault, self._pool, self._tokens)
        self.settlements: dict[str, Settlement] = {}
        self._open: dict[str, None] = {}
        self._torn: list[str] = []
        self._parked_for: dict[tuple[str, str], None] = {}

    async def begin(self) -> None:
        """Start at the newest block. The present balances are the start of the prediction."""
        head = await self._rpc.call("eth_getBlockByNumber", "latest", False)
        self._blocks = [AuditedBlock(int(head["number"], 16), head["hash"])]
        tokens = self._tokens
        self._supply = await self._numbers(
            {name: (ERC20, token, "totalSupply") for name, token in tokens.items()}
        )
        everybodys = [(account, name) for account in self.accounts for name in tokens]
        self._start = await self._numbers({each: self._balance(*each) for each in everybodys})

    # --- Following the chain ---

    async def after_block(self, number: int) -> None:
        """Read all blocks up to `number`, the newest, then check every invariant."""
        await self._rewind()
        touched: set[Holding] = set()
        about: dict[str, None] = {}
        unknown: list[str] = []
        for each in range(self._blocks[-1].number + 1, number + 1):
            block = await self._read(each)
            self._blocks.append(block)
            touched |= self._learn(block)
            about.update((event.subject, None) for event in block.events)
            unknown += await self._unknown(block)
        view = await self._view(about, touched)
        self.check(replace(view, unknown=tuple(unknown)))
        self.blocks_checked += 1

    async def _rewind(self) -> None:
        """Forget the blocks that a reorg removed, by folding the others again."""
        kept = len(self._blocks)
        while (block := self._blocks[kept - 1]).hash != await self._hash(block.number):
            kept -= 1
        if kept < len(self._blocks):
            del self._blocks[kept:]
            self._forget()
            for block in self._blocks:
                self._learn(block)

    async def _hash(self, number: int) -> str | None:
        block = await self._rpc.call("eth_getBlockByNumber", hex(number), False)
        return block["hash"] if block else None

    async def _unknown(self, block: AuditedBlock) -> list[str]:
        return [tx for tx in block.ours if not await self._knows(tx)]

    async def _read(self, number: int) -> AuditedBlock:
        """Return one block with its logs and our transactions."""
        raw = await self._rpc.call("eth_getBlockByNumber", hex(number), True)
        logs = await self._rpc.call("eth_getLogs", {"blockHash": raw["hash"]})
        at_ms = int(raw["timestamp"], 16) * 1000
        events = [decode_log(log, at_ms) for log in logs if log["address"] == self._vault]
        transfers = [moved for log in logs if (moved := self._transfer(log)) is not None]
        ours = [tx["hash"] for tx in raw["transactions"] if tx["from"] in self._signers]
        found = tuple(event for event in events if event is not None)
        return AuditedBlock(number, raw["hash"], found, tuple(transfers), tuple(ours))

    def _transfer(self, log: dict[str, Any]) -> tuple[str, str, str, int] | None:
        """Return a transfer between the accounts. Those of the vault follow from its own events."""
        names = {address: name for name, address in self._tokens.items()}
        if log["topics"][:1] != [TRANSFER] or log["address"] not in names:
            return None
        sender, to = ("0x" + topic[-40:] for topic in log["topics"][1:3])
        if self._vault in (sender, to) or self._addresses.puller in (sender, to):
            return None
        return names[log["address"]], sender, to, int(log["data"], 16)

    def _learn(self, block: AuditedBlock) -> set[Holding]:
        """Fold the logs of a block. Return the holdings that changed."""
        touched = self.model.take(block.events)
        for moved in block.transfers:
            touched |= self.model.moved(*moved)
        for event in block.events:
            if isinstance(event, ev.PaymentParked):
                (name,) = [n for n, at in self._tokens.items() if at == event.token.lower()]
                self._parked_for[name, event.owner.lower()] = None
            try:
                fold_into(self.settlements, [event])
            except IllegalTransition as why:
                self._torn.append(why.message)
            if event.subject in self.settlements:
                self._open.pop(event.subject, None)
                if self.settlements[event.subject].state in OPEN:
                    self._open[event.subject] = None
        return touched

    # --- Looking ---

    async def _view(self, about: Iterable[str], touched: set[Holding]) -> SettlementView:
        """Return the view for the invariants."""
        known = [identity for identity in about if identity in self.settlements]
        looked_at = dict.fromkeys([*self._open, *known])
        watched = [each for each in sorted(touched) if each in self._start]
        told = await self._numbers(self._reads(known, watched))
        held = {who: {name: told[who, name] for name in TOKENS} for who in HOLDERS}
        parked = dict.fromkeys(TOKENS, 0)
        for name, owner in self._parked_for:
            parked[name] += told["parked", name, owner]
        return SettlementView(
            settlements=tuple(self.settlements[identity] for identity in looked_at),
            held=held,
            escrowed={name: told["escrowed", name] for name in TOKENS},
            parked=parked,
            balances={each: told[each] for each in watched},
            predicted={each: self._start[each] + self.model.change[each] for each in watched},
            ends={identity: tuple(self.model.ends[identity]) for identity in known},
            waited=self._waited(known),
            finality=self._finality,
            words={identity: CONTRACT_WORDS[told[identity]] for identity in known},
            views={"auditor": {each: self.settlements[each].contract_state for each in known}},
            torn=tuple(self._torn),
            supply={name: (self._supply[name], told["supply", name]) for name in TOKENS},
        )

    def _reads(self, known: Iterable[str], watched: Iterable[Holding]) -> dict[Hashable, AuditCall]:
        """Return all contract reads of a view, so that one batch can answer them."""
        asked: dict[Hashable, AuditCall] = {}
        for name, token in self._tokens.items():
            for who in HOLDERS:
                asked[who, name] = self._balance(getattr(self._addresses, who), name)
            asked["escrowed", name] = (VAULT, self._vault, "escrowed", token)
            asked["supply", name] = (ERC20, token, "totalSupply")
        for name, owner in self._parked_for:
            claim = (self._tokens[name], owner)
            asked["parked", name, owner] = (VAULT, self._vault, "claimable", *claim)
        asked |= {each: self._balance(*each) for each in watched}
        return asked | {each: (VAULT, self._vault, "statusOf", hex_bytes(each)) for each in known}

    def _balance(self, account: str, name: str) -> AuditCall:
        return ERC20, self._tokens[name], "balanceOf", account

    async def _numbers(self, asked: Mapping[HashableKey, AuditCall]) -> dict[HashableKey, int]:
        """Return the answer of each read at the newest block."""
        requests = [
            {"to": at, "data": to_hex(encode_call(contract, function, *arguments))}
            for contract, at, function, *arguments in asked.values()
        ]
        answers = await self._rpc.many([("eth_call", each, "latest") for each in requests])
        for answer in answers:
            if isinstance(answer, WorkbenchError):
                raise answer
        return {key: int(answer, 16) for key, answer in zip(asked, answers, strict=True)}

    def _waited(self, identities: Sequence[str]) -> dict[str, int]:
        done, swapped = self.model.executed, self.model.swapped
        return {each: done[each] - swapped[each] for each in identities if each in done}

    @property
    def open(self) -> list[str]:
        """Return the settlements on the chain without an end."""
        return list(self._open)

    async def whole(self, journal: Sequence[ev.Event], **found: Any) -> None:
        """Check everything once more at the end, with the journal.

        `found`: further fields of the view, such as `views` of the services and `late`.
        """
        everyone = {(account, name) for account in self.accounts for name in TOKENS}
        view = await self._view(list(self.settlements), everyone)
        unknown = [tx for block in self._blocks for tx in await self._unknown(block)]
        told = {id_: each.contract_state for id_, each in merge(journal, inconsistent={}).items()}
        confirmed = self._confirmed(journal)
        self.check(replace(view, unknown=tuple(unknown), told=told, confirmed=confirmed, **found))
        await self._rpc.close()

    def _confirmed(self, journal: Iterable[ev.Event]) -> dict[str, int | None]:
        """Return the confirmations that were counted before execution, by settlement."""
        counted: dict[tuple[str, str], int] = {}
        for fact in journal:
            if isinstance(fact, ev.FinalityReached) and fact.block is not None:
                counted[fact.subject, fact.block.hash] = fact.head - fact.swap_block
        swaps = {
            each: self.settlements[each].block_of(SettlementState.SWAPPED)
            for each in self.model.executed
        }
        return {each: counted.get((each, at.hash)) if at else None for each, at in swaps.items()}

    def check(self, view: SettlementView) -> None:
        """Check every invariant on a view."""
        self._findings.add(broken(view, INVARIANTS), self.settlements)
