"""The main path: create, fund, swap, execute, and what each step refuses."""

from __future__ import annotations

from collections.abc import Callable

from tests.contracts.harness import Receipt, reverts
from tests.contracts.vault_deployment import BUYER, FINALITY_BLOCKS, SELLER
from tests.contracts.vault_helpers import both_sides
from tests.contracts.vault_world import World


@both_sides
def test_a_settlement_moves_exactly_what_the_terms_say(world: World) -> None:
    terms = world.terms()
    before = {
        (token.address, owner): world.balance(token, owner)
        for token in (world.usdc, world.eurc, world.shares)
        for owner in (BUYER, SELLER, world.manager)
    }

    for step in (world.create, world.fund, world.swap):
        receipt = step(terms)
        world.assert_conserved()
    spent = world.predicted_spend(terms.requiredUsdc)
    assert spent == receipt.one("SettlementSwapped")["eurcSpent"]
    world.mine(FINALITY_BLOCKS - 1)
    world.execute(terms, world.block_hash(receipt.block))
    world.assert_conserved()

    moved = {
        (world.eurc.address, BUYER): -spent,
        (world.eurc.address, world.manager): spent,
        (world.usdc.address, world.manager): -terms.requiredUsdc,
        (world.usdc.address, SELLER): terms.requiredUsdc,
        (world.shares.address, SELLER): -terms.assetAmount,
        (world.shares.address, BUYER): terms.assetAmount,
    }
    tokens = {token.address: token for token in (world.usdc, world.eurc, world.shares)}
    for (address, owner), balance in before.items():
        change = world.balance(tokens[address], owner) - balance
        assert moved.get((address, owner), 0) == change


def test_every_step_says_what_it_did_once(world: World) -> None:
    terms = world.terms()
    settlement_id = world.id_of(terms)
    spent = world.predicted_spend(terms.requiredUsdc)

    created = world.create(terms)
    assert created.names() == ["SettlementCreated"]
    assert created.one("SettlementCreated") == {
        "settlementId": settlement_id,
        "buyer": BUYER.address,
        "seller": SELLER.address,
        "terms": (
            BUYER.address.lower(),
            SELLER.address.lower(),
            terms.asset.lower(),
            *terms.words[3:],
        ),
    }

    funded = world.fund(terms)
    pulled = [event for event in funded.events if event.name == "Pulled"]
    assert [event.emitter for event in pulled] == [world.puller.address] * 2
    assert [event.args for event in pulled] == [
        {
            "settlementId": settlement_id,
            "token": world.eurc.address,
            "owner": BUYER.address,
            "amount": terms.maxEurc,
        },
        {
            "settlementId": settlement_id,
            "token": world.shares.address,
            "owner": SELLER.address,
            "amount": terms.assetAmount,
        },
    ]
    assert funded.one("SettlementFunded") == {
        "settlementId": settlement_id,
        "eurcAmount": terms.maxEurc,
        "assetAmount": terms.assetAmount,
    }

    swapped = world.swap(terms)
    assert swapped.one("SettlementSwapped") == {
        "settlementId": settlement_id,
        "eurcSpent": spent,
        "usdcReceived": terms.requiredUsdc,
    }
    state = world.ask(world.vault, "settlements", settlement_id)
    assert state == [3, swapped.block, spent]

    world.mine(FINALITY_BLOCKS - 1)
    executed = world.execute(terms)
    assert executed.one("SettlementExecuted") == {
        "settlementId": settlement_id,
        "assetToBuyer": terms.assetAmount,
        "usdcToSeller": terms.requiredUsdc,
        "eurcReturned": terms.maxEurc - spent,
    }


def test_a_budget_spent_to_the_last_cent_returns_nothing(world: World) -> None:
    spent = world.predicted_spend(110_000_000)
    terms = world.terms(maxEurc=spent)
    world.reach(terms, "Swapped")
    executed = world.execute(terms)
    assert executed.one("SettlementExecuted")["eurcReturned"] == 0
    assert executed.names().count("Transfer") == 2
    world.assert_conserved()


def test_steps_cannot_be_taken_twice_or_out_of_order(world: World) -> None:
    """I5, I6: every step from every status; only the one that is owed goes through."""
    terms = world.terms()
    settlement_id = world.id_of(terms)
    consent = world.sign_terms(terms, BUYER)
    steps: dict[str, Callable[[], Receipt]] = {
        "None": lambda: world.create(terms, buyer_signature=consent),
        "Created": lambda: world.fund(terms),
        "Funded": lambda: world.swap(terms),
        "Swapped": lambda: world.execute(terms),
    }
    codes = {"None": 0, "Created": 1, "Funded": 2, "Swapped": 3, "Executed": 4}

    def all_but(allowed: str) -> None:
        for needed, step in steps.items():
            if needed != allowed:
                with reverts("BadStatus", settlement_id, codes[allowed]):
                    step()

    for status in steps:
        all_but(status)
        if status == "Swapped":
            world.mine(FINALITY_BLOCKS)
        steps[status]()
    all_but("Executed")
    with reverts("BadStatus", settlement_id, codes["Executed"]):
        world.refund(terms)
    world.assert_conserved()
