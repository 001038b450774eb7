"""A second model: the balances that follow from the vault's events by arithmetic alone.

It has no states, folds or services, so it does not share their errors.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from workbench.core import facts as ev

Holding = tuple[str, str]
"""An account's address and a token: `eurc`, `usdc` or `asset`."""


class Prediction:
    """Changes of balances since the start, in base units, by account and token.

    `ends`: the terminal events of each settlement, in order; at most one is correct. `swapped`,
    `executed`: the blocks of these events.
    """

    def __init__(self, vault: str, pool: str, tokens: dict[str, str]) -> None:
        self._vault, self._pool = vault, pool
        self._tokens = {address: name for name, address in tokens.items()}
        self.change: defaultdict[Holding, int] = defaultdict(int)
        self.parties: dict[str, tuple[str, str]] = {}
        self.ends: defaultdict[str, list[str]] = defaultdict(list)
        self.swapped: dict[str, int] = {}
        self.executed: dict[str, int] = {}

    def take(self, events: Iterable[ev.Event]) -> set[Holding]:
        """Apply these events in the order of the chain. Return the holdings that changed."""
        touched: set[Holding] = set()
        for event in events:
            for holding, units in self._moves(event):
                self.change[holding] += units
                touched.add(holding)
            self._note(event)
        return touched

    def moved(self, token: str, sender: str, to: str, units: int) -> set[Holding]:
        """Apply a plain transfer between accounts that belongs to no settlement."""
        self.change[sender, token] -= units
        self.change[to, token] += units
        return {(sender, token), (to, token)}

    def _moves(self, event: ev.Event) -> list[tuple[Holding, int]]:
        """Return the changes of balances that an event of the vault causes."""
        buyer, seller = self.parties.get(event.subject, ("", ""))
        match event:
            case ev.SettlementCreated():
                self.parties[event.subject] = (event.buyer.lower(), event.seller.lower())
                return []
            case ev.SettlementFunded():
                given, brought = event.eurc_amount, event.asset_amount
                return [*self._pay("eurc", buyer, self._vault, given),
                        *self._pay("asset", seller, self._vault, brought)]  # fmt: skip
            case ev.SettlementSwapped():
                given, brought = event.eurc_spent, event.usdc_received
                return [*self._pay("eurc", self._vault, self._pool, given),
                        *self._pay("usdc", self._pool, self._vault, brought)]  # fmt: skip
            case ev.SettlementExecuted():
                return [*self._pay("asset", self._vault, buyer, event.asset_to_buyer),
                        *self._pay("usdc", self._vault, seller, event.usdc_to_seller),
                        *self._pay("eurc", self._vault, buyer, event.eurc_returned)]  # fmt: skip
            case ev.SettlementRefunded():
                return [*self._pay("eurc", self._vault, buyer, event.eurc_returned),
                        *self._pay("asset", self._vault, seller, event.asset_returned)]  # fmt: skip
            case ev.PaymentParked():
                token = self._tokens[event.token.lower()]
                return self._pay(token, event.owner.lower(), self._vault, event.amount)
        return []

    @staticmethod
    def _pay(token: str, sender: str, to: str, units: int) -> list[tuple[Holding, int]]:
        return [((sender, token), -units), ((to, token), units)]

    def _note(self, event: ev.Event) -> None:
        """Remember ends, swaps and executions."""
        number = event.block.number if event.block else 0
        if isinstance(event, ev.SettlementSwapped):
            self.swapped[event.subject] = number
        elif isinstance(event, (ev.SettlementExecuted, ev.SettlementRefunded)):
            self.ends[event.subject].append(event.type)
            if isinstance(event, ev.SettlementExecuted):
                self.executed[event.subject] = number
