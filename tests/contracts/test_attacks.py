"""Hostile tokens, short gas, reentrancy: what must not move, does not."""

from __future__ import annotations

import pytest
from web3.contract import Contract

from tests.contracts.harness import Reverted, reverts
from tests.contracts.vault_deployment import (
    ADMIN,
    BUYER,
    FACILITATOR,
    FINALITY_BLOCKS,
    GRACE_BLOCKS,
    NO_PERMIT,
    SELLER,
    STRANGER,
    Terms,
)
from tests.contracts.vault_world import World

MODES = {"Honest": 0, "ReturnFalse": 1, "BurnGas": 2, "LongRevert": 3, "Reenter": 4}


def hostile(world: World) -> tuple[Contract, Terms]:
    """A hostile asset that the admin has let in, and a deal over it that is not yet created."""
    token = world.deploy("HostileToken")
    world.act(world.vault, "setAsset", token.address, True)
    world.act(token, "mint", SELLER.address, 10**6)
    world.act(token, "approve", world.puller.address, 10**6, sender=SELLER)
    return token, world.terms(asset=token.address, assetAmount=1_000)


def bring(world: World, terms: Terms, status: str) -> None:
    world.create(terms)
    world.fund(terms, seller_permit=NO_PERMIT)
    if status == "Swapped":
        world.swap(terms)
        world.mine(FINALITY_BLOCKS)


# ------------------------------------------------------------------------ hostile assets


@pytest.mark.parametrize("mode", ["ReturnFalse", "BurnGas", "LongRevert"])
def test_a_hostile_asset_does_not_keep_the_seller_from_its_money(world: World, mode: str) -> None:
    token, terms = hostile(world)
    bring(world, terms, "Swapped")
    world.act(token, "setMode", MODES[mode], ADMIN.address, bytes(4))
    before = world.balance(world.usdc, SELLER)

    receipt = world.execute(terms, gas=500_000)
    assert world.balance(world.usdc, SELLER) - before == terms.requiredUsdc
    assert receipt.one("PaymentParked")["token"] == token.address
    world.assert_conserved(token)

    world.act(token, "setMode", MODES["Honest"], ADMIN.address, bytes(4))
    world.act(world.vault, "claim", token.address, BUYER.address, sender=BUYER)
    assert world.balance(token, BUYER) == terms.assetAmount
    world.assert_conserved(token)


@pytest.mark.parametrize("mode", ["ReturnFalse", "BurnGas", "LongRevert"])
def test_a_hostile_asset_does_not_keep_the_buyer_from_its_refund(world: World, mode: str) -> None:
    token, terms = hostile(world)
    before = world.balance(world.eurc, BUYER)
    bring(world, terms, "Funded")
    world.act(token, "setMode", MODES[mode], ADMIN.address, bytes(4))
    world.refund(terms)
    assert world.balance(world.eurc, BUYER) == before
    assert world.claimable(token, SELLER) == terms.assetAmount
    world.assert_conserved(token)


REENTRIES = [
    "createSettlement",
    "fund",
    "fundWithAuthorization",
    "executeSwap",
    "executeSettlement",
    "refund",
    "cancel",
    "claim",
    "rescue",
]


@pytest.mark.parametrize("moment", ["funding", "delivery"])
@pytest.mark.parametrize("function", REENTRIES)
def test_no_function_is_entered_twice(world: World, function: str, moment: str) -> None:
    """The asset calls back in the middle of its own transfer, with every role it could want."""
    token, terms = hostile(world)
    for role in ("FACILITATOR_ROLE", "DEFAULT_ADMIN_ROLE"):
        world.act(world.vault, "grantRole", world.ask(world.vault, role), token.address)
    selector = world.selector(world.vault, function)
    reenter = (MODES["Reenter"], world.vault.address, selector)

    if moment == "funding":
        world.act(token, "setMode", *reenter)
        bring(world, terms, "Funded")
    else:
        bring(world, terms, "Swapped")
        world.act(token, "setMode", *reenter)
        world.execute(terms)
        assert world.balance(token, BUYER) == terms.assetAmount
    answer = world.errors.decode(world.ask(token, "answer"))
    assert answer == ("ReentrancyGuardReentrantCall", ())
    assert world.ask(token, "gotThrough") is False
    world.assert_conserved(token)


@pytest.mark.parametrize(
    ("function", "error"), [("pushTransfer", "OnlySelf"), ("unlockCallback", "OnlyPoolManager")]
)
def test_what_is_not_guarded_against_reentry_is_closed(
    world: World, function: str, error: str
) -> None:
    token, terms = hostile(world)
    bring(world, terms, "Swapped")
    selector = world.selector(world.vault, function)
    world.act(token, "setMode", MODES["Reenter"], world.vault.address, selector)
    world.execute(terms)
    assert world.errors.decode(world.ask(token, "answer")) == (error, ())
    world.assert_conserved(token)


# ------------------------------------------------------------------------------ short gas


def test_nobody_parks_a_payment_by_sending_too_little_gas(world: World) -> None:
    """Whatever the gas limit, a settlement is delivered in full or not executed at all."""
    terms = world.terms()
    world.reach(terms, "Swapped")
    world.mine(GRACE_BLOCKS)
    snapshot = world.node.rpc("evm_snapshot")
    outcomes = []
    for gas in range(60_000, 300_000, 6_000):
        try:
            receipt = world.execute(terms, sender=STRANGER, gas=gas)
        except Reverted as error:
            outcomes.append(error.name)
            assert world.status_of(terms) == "Swapped"
            continue
        outcomes.append("Executed")
        assert "PaymentParked" not in receipt.names()
        world.node.rpc("evm_revert", snapshot)
        snapshot = world.node.rpc("evm_snapshot")
    assert {"NotEnoughGas", "Executed"} <= set(outcomes)
    assert outcomes == sorted(outcomes, key=outcomes.index), "once enough, always enough"


# -------------------------------------------------------------------------- other attacks


def test_the_facilitator_has_no_way_to_the_money(world: World) -> None:
    """Whatever it does with a funded settlement, both parties come out as the terms say."""
    terms = world.terms()
    world.reach(terms, "Funded")
    holdings = [world.balance(token, FACILITATOR) for token in (world.usdc, world.eurc)]
    with reverts("AccessControlUnauthorizedAccount"):
        world.act(
            world.vault, "rescue", world.eurc.address, FACILITATOR.address, sender=FACILITATOR
        )
    with reverts("NothingToClaim"):
        world.act(world.vault, "claim", world.eurc.address, FACILITATOR.address, sender=FACILITATOR)
    altered = terms.altered(requiredUsdc=1)
    with reverts("BadStatus", world.id_of(altered), 0):
        world.swap(altered)
    redirected = terms.altered(seller=FACILITATOR.address)
    with reverts("BadStatus", world.id_of(redirected), 0):
        world.swap(redirected)
    assert holdings == [world.balance(token, FACILITATOR) for token in (world.usdc, world.eurc)]


def test_one_settlement_is_not_paid_from_another_s_escrow(world: World) -> None:
    """A budget that does not suffice fails, though the vault holds more EURC than that."""
    rich, poor = world.terms(maxEurc=10**10), world.terms(maxEurc=90_000_000)
    for terms in (rich, poor):
        world.reach(terms, "Funded")
    with reverts("OverBudget"):
        world.swap(poor)
    world.refund(poor)
    world.swap(rich)
    world.mine(FINALITY_BLOCKS)
    world.execute(rich)
    world.assert_conserved()
    assert world.balance(world.eurc, world.vault) == 0


def test_a_pool_manager_that_was_not_asked_gets_nothing(world: World) -> None:
    """`unlockCallback` from a second, genuine pool manager is a stranger's call."""
    other = world.deploy("PoolManager", ADMIN.address)
    with reverts("OnlyPoolManager"):
        world.act(world.vault, "unlockCallback", bytes(96), sender=other.address)


def test_the_currency_failing_in_the_swap_leaves_the_settlement_funded(world: World) -> None:
    terms = world.terms()
    world.reach(terms, "Funded")
    for token in (world.usdc, world.eurc):
        world.act(token, "setBlocked", world.manager.address, True)
        with reverts("Blocked", world.manager.address):
            world.swap(terms)
        world.act(token, "setBlocked", world.manager.address, False)
        assert world.status_of(terms) == "Funded"
    world.swap(terms)
    world.assert_conserved()
