"""Any calls, in any order, by anybody: the invariants of contracts/README.md hold."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.contracts.harness import Party, Reverted
from tests.contracts.vault_world import (
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
    World,
)

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
# The main path is named often, so that sequences get somewhere.
STEPS = st.tuples(
    st.sampled_from(["create", "fund", "swap", "execute"] * 3 + ["authorise", "refund", "cancel"]),
    st.integers(0, 2),
    st.sampled_from([None, None, None, None, BUYER, SELLER, STRANGER, ADMIN]),
)
EVENTS = st.sampled_from(
    ["wait", "wait", "block seller", "block buyer", "unblock", "claim", "donate", "rescue", "late"]
)


@dataclass
class Run:
    """One sequence of calls, with what it has to remember between them."""

    world: World
    deals: list[Terms] = field(default_factory=list)
    statuses: dict[Terms, str] = field(default_factory=dict)
    spent: dict[Terms, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shapes: tuple[dict[str, int], ...] = (
            {},
            {"maxEurc": 90_000_000},
            {"requiredUsdc": 7, "maxEurc": 8},
        )
        self.deals = [
            self.world.terms(salt=bytes([9, number]) * 16, **shape)
            for number, shape in enumerate(shapes)
        ]
        self.statuses = dict.fromkeys(self.deals, "None")

    def step(self, name: str, terms: Terms, caller: Party) -> None:
        world = self.world
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
        elif name == "late":
            now = world.now()
            world.at(FUND_DEADLINE + 1 if now <= FUND_DEADLINE else max(now, SWAP_DEADLINE) + 1)
            world.mine()
        elif name == "donate":
            world.act(world.eurc, "transfer", world.vault.address, 3)
        elif name == "rescue":
            world.act(world.vault, "rescue", world.eurc.address, ADMIN.address)
        elif name == "claim":
            world.act(world.vault, "claim", world.usdc.address, STRANGER.address, sender=SELLER)
        else:
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
            surplus = self.world.balance(self.world.eurc, self.world.vault) - self.world.escrowed(
                self.world.eurc
            )
            assert surplus >= 0
            if surplus:
                self.world.act(
                    self.world.vault, "rescue", self.world.eurc.address, STRANGER.address
                )
            self.world.assert_conserved()


@settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(STEPS | EVENTS, min_size=10, max_size=30))
def test_any_sequence_of_calls_keeps_the_invariants(
    world: World, sequence: list[tuple[str, int, Party | None] | str]
) -> None:
    snapshot = world.node.rpc("evm_snapshot")
    world.deals.clear()
    run = Run(world)
    try:
        for number, item in enumerate(sequence):
            try:
                if isinstance(item, str):
                    run.event(item)
                else:
                    name, deal, caller = item
                    run.step(name, run.deals[deal], caller or USUAL[name])
            except Reverted:
                pass  # refused, as most of this must be
            run.check(whole=number % 6 == 5)
        run.check(whole=True)
    finally:
        world.node.rpc("evm_revert", snapshot)
