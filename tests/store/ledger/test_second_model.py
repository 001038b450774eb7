"""The ledger agrees with a second model: three dictionaries and a count."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from tests.store.ledger.ledgers import line, within
from workbench.core.errors import InsufficientCredits, LedgerRefused
from workbench.core.ledger import Account, LedgerTransfer, TransferKind, check, resolved
from workbench.store.ledger.database import LedgerStore
from workbench.store.ledger.unit import LedgerUnit


class Ledgers(RuleBasedStateMachine):
    """Any transfers in any order: the database has the sums of these dictionaries."""

    def __init__(self) -> None:
        super().__init__()
        self.store = LedgerStore()
        self.free: dict[str, int] = {}
        """Available credits of each user."""
        self.held: dict[str, int] = {}
        """Credits of each user in open holds."""
        self.open: dict[str, LedgerTransfer] = {}
        """The open holds, by id."""
        self.count = 0
        """The number of transfers."""

    users = Bundle("users")
    holds = Bundle("holds")
    amounts = st.integers(1, 50) | st.integers(1, 10**24)

    @initialize()
    def begin(self) -> None:
        async def work(unit: LedgerUnit) -> None:
            for name in ("issuance", "redeemed"):
                await unit.open_account(Account(name, "credit", no_overdraft=False))

        within(self.store, work)

    @rule(target=users, name=st.sampled_from(["a", "b", "c"]))
    def arrive(self, name: str) -> str:
        within(self.store, lambda unit: unit.open_account(Account(name, "credit")))
        self.free.setdefault(name, 0)
        self.held.setdefault(name, 0)
        return name

    def _add(self, transfer: LedgerTransfer) -> bool:
        try:
            within(self.store, lambda unit: unit.transfer(transfer))
        except (InsufficientCredits, LedgerRefused):
            return False
        self.count += 1
        return True

    def _line(
        self, debit: str, credit: str, amount: int, kind: TransferKind = TransferKind.POSTED
    ) -> LedgerTransfer:
        return line(f"t{self.count}", debit, credit, amount, kind)

    @rule(user=users, amount=amounts)
    def earn(self, user: str, amount: int) -> None:
        assert self._add(self._line("issuance", user, amount))
        self.free[user] += amount

    @rule(one=users, other=users, amount=amounts)
    def give(self, one: str, other: str, amount: int) -> None:
        fits = one != other and self.free[one] >= amount
        assert fits == self._add(self._line(one, other, amount))
        if fits:
            self.free[one] -= amount
            self.free[other] += amount

    @rule(target=holds, user=users, amount=amounts)
    def hold(self, user: str, amount: int) -> LedgerTransfer:
        held = self._line(user, "redeemed", amount, TransferKind.PENDING)
        fits = self.free[user] >= amount
        assert fits == self._add(held)
        if fits:
            self.free[user] -= amount
            self.held[user] += amount
            self.open[held.id] = held
        return held

    @rule(
        held=holds,
        kind=st.sampled_from([TransferKind.POST, TransferKind.VOID]),
        off=st.sampled_from([0, 0, 1]),
    )
    def end(self, held: LedgerTransfer, kind: TransferKind, off: int) -> None:
        ended = resolved(held, f"t{self.count}", kind, "test", 2)
        fits = held == self.open.get(held.id) and not off
        assert fits == self._add(replace(ended, amount=ended.amount + off))
        if not fits:
            return
        self.held[held.debit] -= held.amount
        del self.open[held.id]
        if kind is TransferKind.VOID:
            self.free[held.debit] += held.amount

    @invariant()
    def the_database_has_the_same_sums(self) -> None:
        async def work(unit: LedgerUnit) -> tuple[dict[str, tuple[int, int]], int]:
            found = {a.id: (a.available, a.debits_pending) for a in await unit.accounts()}
            return found, check(await unit.accounts(), await unit.transfers())[0]

        found, lines = within(self.store, work)
        assert self.count == lines
        for name in self.free:
            assert (self.free[name], self.held[name]) == found[name]

    def teardown(self) -> None:
        self.store.close()


TestLedgers = Ledgers.TestCase
TestLedgers.settings = settings(max_examples=15, stateful_step_count=25, deadline=None)
