"""Swap: deadlines, budget, liquidity, and tokens that take a fee."""

from __future__ import annotations

from tests.contracts.harness import reverts
from tests.contracts.vault_deployment import ADMIN, FACILITATOR, SWAP_DEADLINE
from tests.contracts.vault_helpers import both_sides
from tests.contracts.vault_world import World


def test_the_swap_includes_its_last_second(world: World) -> None:
    last, late = world.terms(salt=b"\x01" * 32), world.terms(salt=b"\x02" * 32)
    world.reach(last, "Funded")
    world.reach(late, "Funded")
    world.at(SWAP_DEADLINE)
    world.swap(last)
    with reverts("DeadlinePassed", SWAP_DEADLINE):
        world.swap(late)


@both_sides
def test_a_budget_one_cent_short_is_over_budget(world: World) -> None:
    spent = world.predicted_spend(110_000_000)
    enough, short = world.terms(maxEurc=spent), world.terms(maxEurc=spent - 1)
    world.reach(short, "Funded")
    with reverts("OverBudget", spent, spent - 1):
        world.swap(short)
    assert world.status_of(short) == "Funded"
    world.assert_conserved()
    world.reach(enough, "Swapped")


@both_sides
def test_an_empty_pool_is_a_partial_fill(world: World) -> None:
    terms = world.terms()
    world.reach(terms, "Funded")
    world.add_liquidity(-(10**15))
    with reverts("PartialFill", 0, terms.requiredUsdc):
        world.swap(terms)
    assert world.status_of(terms) == "Funded"
    world.refund(terms, b"NO_LIQUIDITY")
    world.assert_conserved()


@both_sides
def test_a_thin_pool_is_a_partial_fill_at_a_price_within_the_band(world: World) -> None:
    """All liquidity sits in twenty ticks round the price: what there is is cheap, and too
    little. The price limit stops the walk through the empty ticks beyond it."""
    terms = world.terms(requiredUsdc=110_000_000_000, maxEurc=121_000_000_000)
    world.reach(terms, "Funded")
    world.add_liquidity(-(10**15))
    middle = 950 if world.eurc_is_currency0 else -960
    world.add_liquidity(10**12, (middle - 10, middle + 20))
    with reverts("PartialFill") as failure:
        world.swap(terms)
    got, wanted = failure.value.values
    assert 0 < got < wanted == terms.requiredUsdc
    assert failure.value.receipt.gas < 300_000
    assert world.status_of(terms) == "Funded"


@both_sides
def test_a_swap_too_large_for_the_pool_fails_whole(world: World) -> None:
    """Deep slippage inside constant liquidity is for the band to refuse."""
    terms = world.terms(requiredUsdc=110_000_000, maxEurc=10**9)
    world.reach(terms, "Funded")
    world.add_liquidity(-(10**15))
    world.add_liquidity(10**9)
    with reverts("OutsideBand"):
        world.swap(terms)
    world.refund(terms)
    world.assert_conserved()


@both_sides
def test_the_price_limit_does_not_stand_in_the_way_of_the_budget(world: World) -> None:
    """The last dollar may cost far more than the average, if the average is within budget:
    here the price doubles on the way, and the whole costs 1.4 times the first dollar's price."""
    terms = world.terms(requiredUsdc=300_000_000, maxEurc=395_000_000)
    world.reach(terms, "Funded")
    world.set_rate(band_bps=5_000)
    world.add_liquidity(-(10**15))
    world.add_liquidity(10**9)
    predicted = world.predicted_spend(terms.requiredUsdc, liquidity=10**9)
    spent = world.swap(terms).one("SettlementSwapped")["eurcSpent"]
    assert 0 <= spent - predicted < 10  # v4 rounds up at every word of ticks on the way
    assert 1.39 < spent / (300_000_000 / 1.1) < 1.41


def test_several_swaps_in_one_transaction_do_not_mix(world: World) -> None:
    """The live id is transient storage, which outlives a call: the vault clears it itself."""
    robot = world.deploy("Wallet1271", FACILITATOR.address)
    role = world.ask(world.vault, "FACILITATOR_ROLE")
    world.act(world.vault, "grantRole", role, robot.address)
    deals = [world.terms(salt=bytes([number]) * 32) for number in (1, 2)]
    for terms in deals:
        world.reach(terms, "Funded")
    encode = world.vault.encode_abi
    calls = [encode("executeSwap", args=[terms.words]) for terms in deals]
    questions = [encode("isSwapping", args=[world.id_of(terms)]) for terms in deals]

    batch = [calls[0], questions[0], calls[1], questions[0], questions[1]]
    answers = robot.functions.actAll(world.vault.address, batch).call({"from": FACILITATOR.address})
    assert [int.from_bytes(answers[place], "big") for place in (1, 3, 4)] == [0, 0, 0]
    receipt = world.act(robot, "actAll", world.vault.address, batch, sender=FACILITATOR)
    assert receipt.names().count("SettlementSwapped") == 2
    world.assert_conserved()


def test_dollars_that_do_not_arrive_in_full_undo_the_swap(world: World) -> None:
    """A settlement currency that begins to take a fee is refused before it is owed on."""
    token = world.deploy("FeeToken")
    while token.address.lower() > world.eurc.address.lower():
        token = world.deploy("FeeToken")
    world.act(token, "mint", ADMIN.address, 10**17)
    world.act(token, "approve", world.seeder.address, 10**17)
    world.contracts["usdc"] = token
    world.replace_vault(world.deploy_vault())
    terms = world.terms()
    world.reach(terms, "Funded")
    world.act(token, "setDifference", -1)
    with reverts("FeeOnTransfer", token.address, 109_999_999, 110_000_000):
        world.swap(terms)
    world.act(token, "setDifference", 0)
    world.swap(terms)
    world.assert_conserved()
