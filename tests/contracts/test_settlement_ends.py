"""The other ends: refund, cancel, parked payments, claim and rescue."""

from __future__ import annotations

import pytest

from tests.contracts.harness import Party, reverts, words_of
from tests.contracts.vault_deployment import (
    ADMIN,
    BUYER,
    FACILITATOR,
    FINALITY_BLOCKS,
    FUND_DEADLINE,
    GRACE_BLOCKS,
    SELLER,
    STRANGER,
    SWAP_DEADLINE,
)
from tests.contracts.vault_world import World

# -------------------------------------------------------------------------------- refund


@pytest.mark.parametrize(("status", "share"), [("Created", 0), ("Funded", 1)])
def test_the_facilitator_refunds_before_the_swap_for_its_own_reason(
    world: World, status: str, share: int
) -> None:
    terms = world.terms()
    before = world.balance(world.eurc, BUYER), world.balance(world.shares, SELLER)
    world.reach(terms, status)
    receipt = world.refund(terms, b"RATE_MOVED")
    assert receipt.one("SettlementRefunded") == {
        "settlementId": world.id_of(terms),
        "eurcReturned": share * terms.maxEurc,
        "assetReturned": share * terms.assetAmount,
        "reason": words_of("RATE_MOVED"),
    }
    assert before == (world.balance(world.eurc, BUYER), world.balance(world.shares, SELLER))
    assert world.status_of(terms) == "Refunded"
    world.assert_conserved()


@pytest.mark.parametrize(
    ("status", "deadline"), [("Created", FUND_DEADLINE), ("Funded", SWAP_DEADLINE)]
)
@pytest.mark.parametrize("caller", [BUYER, SELLER, STRANGER], ids=lambda party: str(party.name))
def test_anyone_refunds_after_the_deadline_as_expired(
    world: World, status: str, deadline: int, caller: Party
) -> None:
    """The way out when the facilitator is dead; the reason is not the caller's to choose."""
    terms = world.terms()
    world.reach(terms, status)
    world.at(deadline)
    with reverts("DeadlineNotPassed", deadline):
        world.refund(terms, sender=caller)
    receipt = world.refund(terms, b"FRAUD", sender=caller)
    assert receipt.one("SettlementRefunded")["reason"] == words_of("EXPIRED")
    world.assert_conserved()


def test_the_facilitator_keeps_its_reason_after_the_deadline(world: World) -> None:
    terms = world.terms()
    world.reach(terms, "Funded")
    world.at(SWAP_DEADLINE + 1)
    receipt = world.refund(terms, b"NO_LIQUIDITY")
    assert receipt.one("SettlementRefunded")["reason"] == words_of("NO_LIQUIDITY")


def test_a_funded_settlement_does_not_expire_with_the_fund_deadline(world: World) -> None:
    terms = world.terms()
    world.reach(terms, "Funded")
    world.at(FUND_DEADLINE + 1)
    with reverts("DeadlineNotPassed", SWAP_DEADLINE):
        world.refund(terms, sender=STRANGER)


def test_after_the_swap_there_is_only_forward(world: World) -> None:
    """Converted money is not given back; anyone may deliver it after the grace."""
    terms = world.terms()
    world.reach(terms, "Swapped")
    world.at(SWAP_DEADLINE + 1)
    for caller in (FACILITATOR, BUYER, SELLER, STRANGER):
        with reverts("BadStatus", world.id_of(terms), 3):
            world.refund(terms, sender=caller)
    world.mine(GRACE_BLOCKS)
    world.execute(terms, sender=STRANGER)
    world.assert_conserved()


def test_what_was_never_created_is_not_refunded(world: World) -> None:
    terms = world.terms()
    with reverts("BadStatus", world.id_of(terms), 0):
        world.refund(terms)


def test_a_refunded_settlement_stays_refunded(world: World) -> None:
    terms = world.terms()
    world.reach(terms, "Funded")
    world.refund(terms)
    for step in (world.create, world.fund, world.swap, world.execute, world.refund):
        with reverts("BadStatus", world.id_of(terms), 5):
            step(terms)


# -------------------------------------------------------------------------------- cancel


@pytest.mark.parametrize("caller", [BUYER, SELLER], ids=lambda party: str(party.name))
def test_a_party_cancels_what_is_not_funded(world: World, caller: Party) -> None:
    terms = world.terms()
    world.create(terms)
    receipt = world.act(world.vault, "cancel", terms.words, sender=caller)
    assert receipt.one("SettlementRefunded") == {
        "settlementId": world.id_of(terms),
        "eurcReturned": 0,
        "assetReturned": 0,
        "reason": words_of("CANCELLED"),
    }
    with reverts("BadStatus", world.id_of(terms), 5):
        world.fund(terms)


def test_only_a_party_cancels(world: World) -> None:
    terms = world.terms()
    world.create(terms)
    for caller in (FACILITATOR, ADMIN, STRANGER):
        with reverts("NotAParty", caller.address):
            world.act(world.vault, "cancel", terms.words, sender=caller)


@pytest.mark.parametrize(("status", "code"), [("None", 0), ("Funded", 2), ("Swapped", 3)])
def test_only_a_created_settlement_is_cancelled(world: World, status: str, code: int) -> None:
    terms = world.terms()
    world.reach(terms, status)
    with reverts("BadStatus", world.id_of(terms), code):
        world.act(world.vault, "cancel", terms.words, sender=BUYER)


# -------------------------------------------------------------------------------- parked


def test_a_blocked_seller_is_parked_and_the_buyer_is_paid(world: World) -> None:
    terms = world.terms()
    world.reach(terms, "Swapped")
    world.act(world.usdc, "setBlocked", SELLER.address, True)

    receipt = world.execute(terms)
    assert receipt.one("PaymentParked") == {
        "settlementId": world.id_of(terms),
        "token": world.usdc.address,
        "owner": SELLER.address,
        "amount": terms.requiredUsdc,
    }
    assert world.status_of(terms) == "Executed"
    assert world.balance(world.shares, BUYER) == terms.assetAmount
    world.assert_conserved()

    other = Party("the seller's other account")
    claimed = world.act(world.vault, "claim", world.usdc.address, other.address, sender=SELLER)
    assert claimed.one("Claimed") == {
        "token": world.usdc.address,
        "owner": SELLER.address,
        "to": other.address,
        "amount": terms.requiredUsdc,
    }
    assert world.balance(world.usdc, other) == terms.requiredUsdc
    world.assert_conserved()


def test_a_blocked_buyer_is_parked_and_the_seller_is_paid(world: World) -> None:
    terms = world.terms()
    world.reach(terms, "Swapped")
    world.act(world.eurc, "setBlocked", BUYER.address, True)
    before = world.balance(world.usdc, SELLER)
    world.execute(terms)
    change = terms.maxEurc - world.predicted_spend(terms.requiredUsdc)
    assert world.balance(world.usdc, SELLER) - before == terms.requiredUsdc
    assert world.balance(world.shares, BUYER) == terms.assetAmount
    assert world.claimable(world.eurc, BUYER) == change
    world.assert_conserved()


def test_a_refund_to_a_blocked_buyer_is_parked_until_unblocked(world: World) -> None:
    terms = world.terms()
    world.reach(terms, "Funded")
    world.act(world.eurc, "setBlocked", BUYER.address, True)
    world.refund(terms)
    assert world.balance(world.shares, SELLER) == 10**11 * 10**12
    with reverts("Blocked", BUYER.address):
        world.act(world.vault, "claim", world.eurc.address, BUYER.address, sender=BUYER)
    world.assert_conserved()
    world.act(world.eurc, "setBlocked", BUYER.address, False)
    world.act(world.vault, "claim", world.eurc.address, BUYER.address, sender=BUYER)
    assert world.claimable(world.eurc, BUYER) == 0
    world.assert_conserved()


def test_a_paused_currency_parks_everything_and_loses_nothing(world: World) -> None:
    terms = world.terms()
    world.reach(terms, "Swapped")
    world.act(world.usdc, "pause")
    world.act(world.eurc, "pause")
    receipt = world.execute(terms)
    assert receipt.names().count("PaymentParked") == 2
    world.assert_conserved()
    world.act(world.usdc, "unpause")
    world.act(world.eurc, "unpause")
    for token, owner in ((world.usdc, SELLER), (world.eurc, BUYER)):
        world.act(world.vault, "claim", token.address, owner.address, sender=owner)
    world.assert_conserved()


def test_parked_payments_of_several_settlements_add_up(world: World) -> None:
    deals = [world.terms(), world.terms(salt=b"\x01" * 32)]
    for terms in deals:
        world.reach(terms, "Swapped")
    world.act(world.usdc, "setBlocked", SELLER.address, True)
    for terms in deals:
        world.execute(terms)
    assert world.claimable(world.usdc, SELLER) == 220_000_000
    world.assert_conserved()


def test_claims_are_the_owner_s_alone_and_once(world: World) -> None:
    terms = world.terms()
    world.reach(terms, "Swapped")
    world.act(world.usdc, "setBlocked", SELLER.address, True)
    world.execute(terms)
    for caller in (STRANGER, BUYER, ADMIN, FACILITATOR):
        with reverts("NothingToClaim", world.usdc.address, caller.address):
            world.act(world.vault, "claim", world.usdc.address, caller.address, sender=caller)
    with reverts("BadParty", world.vault.address):  # it would turn into surplus
        world.act(world.vault, "claim", world.usdc.address, world.vault.address, sender=SELLER)
    world.act(world.vault, "claim", world.usdc.address, ADMIN.address, sender=SELLER)
    with reverts("NothingToClaim", world.usdc.address, SELLER.address):
        world.act(world.vault, "claim", world.usdc.address, ADMIN.address, sender=SELLER)


# -------------------------------------------------------------------------------- rescue


@pytest.mark.parametrize("status", ["Created", "Funded", "Swapped"])
def test_rescue_takes_only_what_is_nobody_s(world: World, status: str) -> None:
    terms = world.terms()
    world.reach(terms, status)
    for token in (world.usdc, world.eurc, world.shares):
        with reverts("NothingToRescue", token.address):
            world.act(world.vault, "rescue", token.address, ADMIN.address)

    world.act(world.eurc, "transfer", world.vault.address, 7, sender=BUYER)
    world.act(world.usdc, "transfer", world.vault.address, 7, sender=SELLER)
    world.act(world.shares, "transfer", world.vault.address, 7, sender=SELLER)
    world.assert_conserved(surplus=7)
    for token in (world.usdc, world.eurc, world.shares):
        receipt = world.act(world.vault, "rescue", token.address, STRANGER.address)
        expected = {"token": token.address, "to": STRANGER.address, "amount": 7}
        assert receipt.one("Rescued") == expected
    world.assert_conserved()


def test_a_parked_payment_is_no_surplus(world: World) -> None:
    terms = world.terms()
    world.reach(terms, "Swapped")
    world.act(world.usdc, "setBlocked", SELLER.address, True)
    world.execute(terms)
    with reverts("NothingToRescue", world.usdc.address):
        world.act(world.vault, "rescue", world.usdc.address, ADMIN.address)


def test_only_the_admin_rescues(world: World) -> None:
    for caller in (FACILITATOR, BUYER, STRANGER):
        with reverts("AccessControlUnauthorizedAccount"):
            world.act(world.vault, "rescue", world.usdc.address, caller.address, sender=caller)


def test_a_donation_disturbs_no_settlement(world: World) -> None:
    """Balances are compared before and after, never against escrow."""
    terms = world.terms()
    world.act(world.eurc, "transfer", world.vault.address, 7, sender=BUYER)
    world.act(world.usdc, "transfer", world.vault.address, 7, sender=SELLER)
    world.act(world.shares, "transfer", world.vault.address, 7, sender=SELLER)
    world.reach(terms, "Funded")
    world.swap(terms)
    world.mine(FINALITY_BLOCKS)
    world.execute(terms)
    world.assert_conserved(surplus=7)
