"""Any calls, in any order, by anybody: the invariants of contracts/README.md hold."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from random import Random

import pytest

from tests.contracts.harness import Party, Reverted
from tests.contracts.vault_deployment import (
    ADMIN,
    BUYER,
    FACILITATOR,
    FINALITY_BLOCKS,
    FUND_DEADLINE,
    SELLER,
    STATUS,
    STRANGER,
    SWAP_DEADLINE,
    Terms,
)
from tests.contracts.vault_world import World

EDGES = {
    ("None", "Created"),
    ("Created", "Funded"),
    ("Created", "Refunded"),
    ("Funded", "Swapped"),
    ("Funded", "Refunded"),
    ("Swapped", "Executed"),
}
USUAL = {
    "create": SELLER,
    "fund": FACILITATOR,
    "authorise": FACILITATOR,
    "swap": FACILITATOR,
    "execute": FACILITATOR,
    "refund": FACILITATOR,
    "cancel": BUYER,
}
OWED = {"None": "create", "Created": "fund", "Funded": "swap", "Swapped": "execute"}
# What is owed comes up often, so that sequences get somewhere, and lateness seldom.
STEPS = {"owed": 24} | dict.fromkeys(USUAL, 1)
EVENTS = {"wait": 6, "late": 1} | dict.fromkeys(
    ["block seller", "block buyer", "unblock", "claim", "donate", "rescue", "balance"], 2
)
CALLERS: list[Party | None] = [None, None, None, None, BUYER, SELLER, STRANGER, ADMIN]


@dataclass
class Run:
    """One sequence of calls, with what it has to remember between them."""

    world: World
    deals: list[Terms] = field(default_factory=list)
    statuses: dict[Terms, str] = field(default_factory=dict)
    spent: dict[Terms, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        large = {"requiredUsdc": 500_000_000_000, "maxEurc": 600_000_000_000, "assetAmount": 1}
        shapes: tuple[dict[str, int], ...] = ({}, large, {"maxEurc": 90_000_000})
        self.deals = [
            self.world.terms(salt=bytes([9, number]) * 16, **shape)
            for number, shape in enumerate(shapes)
        ]
        self.statuses = dict.fromkeys(self.deals, "None")

    def step(self, name: str, terms: Terms, caller: Party | None) -> None:
        world = self.world
        if name == "owed":
            name = OWED.get(self.statuses[terms], "execute")
        caller = caller or USUAL[name]
        if name == "create":
            world.create(terms, sender=caller)
        elif name == "fund":
            world.fund(terms, sender=caller)
        elif name == "authorise":
            world.fund_with_authorization(terms, sender=caller)
        elif name == "swap":
            receipt = world.swap(terms, sender=caller)
            self.spent[terms] = receipt.one("SettlementSwapped")["eurcSpent"]
        elif name == "execute":
            receipt = world.execute(terms, sender=caller)
            _, swap_block, _ = world.ask(world.vault, "settlements", world.id_of(terms))
            assert receipt.block >= swap_block + FINALITY_BLOCKS
        elif name == "refund":
            world.refund(terms, sender=caller)
        else:
            world.act(world.vault, "cancel", terms.words, sender=caller)

    def event(self, name: str) -> None:
        world = self.world
        if name == "wait":
            world.mine(FINALITY_BLOCKS)
        elif name == "late" and set(self.statuses.values()) != {"None"}:
            now = world.now()
            world.at(FUND_DEADLINE + 1 if now <= FUND_DEADLINE else max(now, SWAP_DEADLINE) + 1)
            world.mine()
        elif name == "donate":
            world.act(world.eurc, "transfer", world.vault.address, 3)
        elif name == "rescue":
            world.act(world.vault, "rescue", world.eurc.address, ADMIN.address)
        elif name == "claim":
            world.act(world.vault, "claim", world.usdc.address, STRANGER.address, sender=SELLER)
        elif name == "balance":
            world.rebalance(False, 10**15)
        elif "block" in name:
            world.act(world.usdc, "setBlocked", SELLER.address, name == "block seller")
            world.act(world.eurc, "setBlocked", BUYER.address, name == "block buyer")

    def check(self, whole: bool) -> None:
        for terms in self.deals:
            status = self.world.status_of(terms)
            edge = (self.statuses[terms], status)
            assert edge[0] == edge[1] or edge in EDGES
            self.statuses[terms] = status
            if STATUS.index("Swapped") <= STATUS.index(status) <= STATUS.index("Executed"):
                assert self.spent[terms] <= terms.maxEurc
        if whole:
            with contextlib.suppress(Reverted):  # first what was donated
                self.event("rescue")
            self.world.assert_conserved()


def drawn(seed: int, length: int) -> list[tuple[str, int, Party | None]]:
    """A sequence of steps and events; for events the deal and the caller mean nothing."""
    random = Random(seed)
    weights = STEPS | EVENTS
    names = random.choices(list(weights), list(weights.values()), k=length)
    return [(name, random.randrange(3), random.choice(CALLERS)) for name in names]


@pytest.mark.parametrize("seed", range(5))
def test_any_sequence_of_calls_keeps_the_invariants(world: World, seed: int) -> None:
    run = Run(world)
    for number, (name, deal, caller) in enumerate(drawn(seed, 40)):
        with contextlib.suppress(Reverted):  # refused, as most of this must be
            if name in EVENTS:
                run.event(name)
            else:
                run.step(name, run.deals[deal], caller)
        run.check(whole=number % 10 == 9)
