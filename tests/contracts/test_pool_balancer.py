"""The balancer: the pool's price towards the reference, never away from it and never past it."""

from __future__ import annotations

from random import Random

import pytest
from web3.contract import Contract

from tests.contracts.harness import Party, Receipt, Reverted, reverts
from tests.contracts.test_facilitator_hook import MAX_LIMIT, MIN_LIMIT, both_sides, swap_params
from tests.contracts.vault_deployment import (
    ADMIN,
    BALANCER,
    DEEP_LIQUIDITY,
    FACILITATOR,
    LP_FEE_PIPS,
    RATE_E8,
    STRANGER,
)
from tests.contracts.vault_world import World

BELOW, ABOVE = RATE_E8 * 98 // 100, RATE_E8 * 102 // 100
PLENTY = 10**15
WAYS = pytest.mark.parametrize("eurc_in", [True, False], ids=["eurc in", "usdc in"])


def owned(world: World) -> tuple[int, int]:
    """The balancer's owner's EURC and USDC."""
    return world.balance(world.eurc, BALANCER), world.balance(world.usdc, BALANCER)


def far_limit(world: World, eurc_in: bool) -> int:
    """The price limit that limits nothing."""
    return MIN_LIMIT if eurc_in == world.eurc_is_currency0 else MAX_LIMIT


def balance_without_limit(
    world: World, eurc_in: bool, amount: int, sender: Party = BALANCER
) -> Receipt:
    args = (world.pool_key(), eurc_in, amount, far_limit(world, eurc_in))
    return world.act(world.balancer, "balance", *args, sender=sender)


# ------------------------------------------------------------------------- what it can do


@both_sides
@WAYS
def test_it_brings_the_price_to_the_reference_and_stops(world: World, eurc_in: bool) -> None:
    """The reference moved away from the pool; EURC in lowers the price, USDC in raises it."""
    rate = BELOW if eurc_in else ABOVE
    world.set_rate(rate)
    eurc, usdc = owned(world)
    before = world.price_e8()
    receipt = world.rebalance(eurc_in, PLENTY, rate)
    told = receipt.one("PoolBalanced")
    assert abs(before - RATE_E8) <= 1
    assert abs(world.price_e8() - rate) <= 1
    eurc_after, usdc_after = owned(world)
    assert (told["eurcIn"], told["usdcOut"]) == (eurc - eurc_after, usdc_after - usdc)
    assert (told["eurcIn"] > 0, told["usdcOut"] > 0) == (eurc_in, eurc_in)
    assert told == told | {
        "poolId": receipt.one("Swap")["id"],
        "balancer": world.balancer.address,
        "priceBeforeE8": before,
        "priceAfterE8": world.price_e8(),
        "referenceRateE8": rate,
    }
    assert receipt.one("Swap")["fee"] == LP_FEE_PIPS
    assert "PoolSwapChecked" not in receipt.names()
    world.assert_conserved()


@both_sides
@WAYS
def test_a_small_amount_moves_the_price_a_little(world: World, eurc_in: bool) -> None:
    """All of it goes in, and the price limit is not needed."""
    rate = BELOW if eurc_in else ABOVE
    world.set_rate(rate)
    told = balance_without_limit(world, eurc_in, 10**12).one("PoolBalanced")
    assert 10**12 == (told["eurcIn"] if eurc_in else -told["usdcOut"])
    low, high = sorted((rate, RATE_E8))
    assert low < world.price_e8() < high


@both_sides
def test_settlements_push_the_price_down_and_it_brings_it_back(world: World) -> None:
    """What no settlement can do: without a balancer the band is used up for good."""
    world.add_liquidity(2 * 10**10 - DEEP_LIQUIDITY)
    terms = [world.terms(salt=bytes([5, n]) * 16) for n in range(3)]
    for each in terms:
        world.reach(each, "Funded")
    world.swap(terms[0])
    with reverts("OutsideBand"):
        world.swap(terms[1])
    assert world.rebalance(False, PLENTY).one("PoolBalanced")["usdcOut"] < 0
    assert abs(world.price_e8() - RATE_E8) <= 1
    world.swap(terms[1])
    world.assert_conserved()


def test_an_empty_pool_moves_for_nothing(world: World) -> None:
    """Without liquidity there is a price still; even that one only towards the reference."""
    world.add_liquidity(-DEEP_LIQUIDITY)
    world.set_rate(ABOVE)
    with reverts("AwayFromReference"):
        balance_without_limit(world, False, 10**6)
    before = owned(world)
    told = world.rebalance(False, 10**6, ABOVE).one("PoolBalanced")
    assert (told["eurcIn"], told["usdcOut"], owned(world)) == (0, 0, before)
    assert abs(world.price_e8() - ABOVE) <= 1


# ----------------------------------------------------------------------- what it cannot do


@both_sides
@WAYS
@pytest.mark.parametrize("amount", [10**9, 10**12, PLENTY])
def test_never_away_from_the_reference(world: World, eurc_in: bool, amount: int) -> None:
    """Standing at the reference, or beyond it already: every amount that is felt is refused."""
    for rate in (RATE_E8, ABOVE if eurc_in else BELOW):
        world.set_rate(rate)
        before = world.price_e8(), owned(world)
        with reverts("AwayFromReference"):
            balance_without_limit(world, eurc_in, amount)
        assert before == (world.price_e8(), owned(world))


@both_sides
@WAYS
def test_never_past_the_reference(world: World, eurc_in: bool) -> None:
    """Not by one unit of the rate: the next limit but one is refused."""
    rate = BELOW if eurc_in else ABOVE
    world.set_rate(rate)
    past = rate - 2 if eurc_in else rate + 2
    with reverts("AwayFromReference") as refused:
        world.rebalance(eurc_in, PLENTY, past)
    before, after, reference = refused.value.values
    assert (abs(before - RATE_E8), reference) == (abs(world.price_e8() - RATE_E8), rate)
    assert after < rate if eurc_in else after > rate
    world.rebalance(eurc_in, PLENTY, rate)


@both_sides
def test_many_small_steps_do_not_get_past_it(world: World) -> None:
    """The price is compared in units of 10**-8; what is lost to rounding is one unit, once."""
    world.add_liquidity(10**13 - DEEP_LIQUIDITY)
    for eurc_in in (True, False):
        with reverts("AwayFromReference"):
            for _ in range(40):
                balance_without_limit(world, eurc_in, 10**4)
        assert abs(world.price_e8() - RATE_E8) <= 1


@both_sides
def test_random_swaps_only_ever_come_nearer(world: World) -> None:
    """Whatever is tried under whatever rate: refused, or the pool is no farther off than before."""
    chance, passed = Random(20), 0
    for _ in range(60):
        rate = chance.choice((BELOW, RATE_E8, ABOVE))
        world.set_rate(rate)
        off, eurc_in = world.price_e8() - rate, chance.random() < 0.5
        try:
            balance_without_limit(world, eurc_in, 10 ** chance.randint(6, 14))
        except Reverted as why:
            assert why.name == "AwayFromReference"
            continue
        passed += 1
        now = world.price_e8() - rate
        assert abs(now) <= abs(off)
        assert now == off or (now >= 0) == (off >= 0) or now == 0
    assert passed > 5
    world.assert_conserved()


def test_a_stale_rate_is_no_reference(world: World) -> None:
    world.set_rate(ABOVE, max_age_s=600)
    set_at = world.ask(world.hook, "rate")[1]
    world.at(set_at + 600)
    balance_without_limit(world, False, 10**9)
    world.at(set_at + 601)
    with reverts("StaleRate", set_at, 600):
        balance_without_limit(world, False, 10**9)


def test_only_a_holder_of_the_role(world: World) -> None:
    """The role belongs to the contract that swaps, not to who calls it; it can be taken away."""
    world.set_rate(ABOVE)
    other = world.deploy(
        "PoolBalancer", world.manager.address, world.eurc.address, BALANCER.address
    )
    world.act(world.usdc, "approve", other.address, 2**256 - 1, sender=BALANCER)
    args = (world.pool_key(), False, 10**9, far_limit(world, False))
    with reverts("NotVault", other.address):
        world.act(other, "balance", *args, sender=BALANCER)
    role = world.ask(world.hook, "BALANCER_ROLE")
    with reverts("AccessControlUnauthorizedAccount"):
        world.act(world.hook, "grantRole", role, other.address, sender=BALANCER)
    world.allow_balancer(other.address)
    world.act(other, "balance", *args, sender=BALANCER)
    world.act(world.hook, "revokeRole", role, other.address)
    with reverts("NotVault", other.address):
        world.act(other, "balance", *args, sender=BALANCER)


def test_the_owner_alone_balances(world: World) -> None:
    world.set_rate(ABOVE)
    for caller in (STRANGER, ADMIN, FACILITATOR):
        with reverts("OwnableUnauthorizedAccount", caller.address):
            balance_without_limit(world, False, 10**9, caller)
    with reverts("OnlyPoolManager"):
        world.act(world.balancer, "unlockCallback", b"", sender=BALANCER)


def test_a_first_price_is_not_a_balancers_to_choose(world: World) -> None:
    """The role swaps, and nothing else."""
    with reverts("AccessControlUnauthorizedAccount"):
        world.act(world.hook, "setRate", ABOVE, 100, 600, 0, sender=world.balancer.address)
    with reverts("NotInitializer", BALANCER.address):
        world.act(world.manager, "initialize", world.pool_key(), 2**96, sender=BALANCER)


# ------------------------------------------------------------------------------- attacks


@pytest.fixture
def router(world: World) -> Contract:
    """A free-handed contract that got the role: what the hook must hold alone."""
    router = world.deploy("FakeRouter", world.manager.address)
    for token in (world.usdc, world.eurc):
        world.act(token, "mint", router.address, 10**15)
    world.allow_balancer(router.address)
    return router


@both_sides
def test_it_says_what_goes_in(world: World, router: Contract) -> None:
    """An exact output is a settlement's, and a settlement's id does not help."""
    terms = world.terms()
    world.reach(terms, "Funded")
    for eurc_in, rate in ((True, BELOW), (False, ABOVE)):
        world.set_rate(rate)
        for data in (b"", world.id_of(terms)):
            with reverts("NotExactInput"):
                params = swap_params(world, 10**6, eurc_in)
                world.act(router, "swap", world.pool_key(), params, data)
        world.act(router, "swap", world.pool_key(), swap_params(world, -(10**6), eurc_in), b"")


@both_sides
def test_no_sandwich(world: World, router: Contract) -> None:
    """Neither first slice can be had, so the settlement pays what it would have paid."""
    terms = world.terms()
    world.reach(terms, "Funded")
    for eurc_in in (True, False):
        with reverts("AwayFromReference"):
            params = swap_params(world, -(10**12), eurc_in)
            world.act(router, "swap", world.pool_key(), params, b"")
    spent = world.swap(terms).one("SettlementSwapped")["eurcSpent"]
    assert spent == world.predicted_spend(terms.requiredUsdc)


@both_sides
def test_what_it_takes_away_is_only_a_windfall(world: World) -> None:
    """A pool dearer than the reference may be brought down before a settlement, but not below
    the reference: the buyer pays what a pool at the reference asks, and the band is whole."""
    terms = world.terms()
    world.reach(terms, "Funded")
    world.set_rate(BELOW, band_bps=10)
    world.rebalance(True, PLENTY, BELOW)
    receipt = world.swap(terms)
    checked = receipt.one("PoolSwapChecked")
    fee_and_impact = 1 + LP_FEE_PIPS / 10**6 + 1e-6
    assert checked["eurcIn"] <= terms.requiredUsdc * 10**8 / BELOW * fee_and_impact
    world.assert_conserved()


@both_sides
def test_going_back_and_forth_earns_nothing(world: World) -> None:
    """The reference moves away and returns: whoever followed it paid the fee twice."""
    eurc, usdc = owned(world)
    world.set_rate(BELOW)
    world.rebalance(True, PLENTY, BELOW)
    world.set_rate(RATE_E8)
    world.rebalance(False, PLENTY)
    eurc_after, usdc_after = owned(world)
    lost = (eurc - eurc_after) * RATE_E8 + (usdc - usdc_after) * 10**8
    assert lost > 0
    world.assert_conserved()
