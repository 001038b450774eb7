"""The only contract that holds allowances, and how little it does with them."""

from __future__ import annotations

import pytest

from tests.contracts.harness import reverts
from tests.contracts.vault_deployment import ADMIN, BUYER, FACILITATOR, NO_PERMIT, SELLER, STRANGER
from tests.contracts.vault_world import World


def test_only_the_vault_pulls(world: World) -> None:
    world.act(world.eurc, "approve", world.puller.address, 10**9, sender=BUYER)
    for caller in (STRANGER, FACILITATOR, ADMIN, SELLER, BUYER):
        with reverts("OnlyVault"):
            args = (bytes(32), world.eurc.address, BUYER.address, 1, NO_PERMIT)
            world.act(world.puller, "pull", *args, sender=caller)


def test_it_knows_its_vault(world: World) -> None:
    assert world.ask(world.puller, "vault") == world.vault.address


def test_an_allowance_does_without_a_permit(world: World) -> None:
    terms = world.terms()
    world.create(terms)
    world.act(world.eurc, "approve", world.puller.address, terms.maxEurc, sender=BUYER)
    world.act(world.shares, "approve", world.puller.address, terms.assetAmount, sender=SELLER)
    receipt = world.fund(terms, NO_PERMIT, NO_PERMIT)
    assert "PermitSkipped" not in receipt.names()
    world.assert_conserved()


def test_a_permit_that_someone_else_submitted_first_has_done_its_work(world: World) -> None:
    """The front-runner only spends its own gas: the allowance is there."""
    terms = world.terms()
    world.create(terms)
    permits = {
        world.eurc.address: world.permit(world.eurc, BUYER, terms.maxEurc),
        world.shares.address: world.permit(world.shares, SELLER, terms.assetAmount),
    }
    for token, owner in ((world.eurc, BUYER), (world.shares, SELLER)):
        args = (owner.address, world.puller.address, *permits[token.address])
        world.act(token, "permit", *args, sender=STRANGER)

    receipt = world.fund(terms, permits[world.eurc.address], permits[world.shares.address])
    skipped = [event.args for event in receipt.events if event.name == "PermitSkipped"]
    assert [(each["token"], each["owner"]) for each in skipped] == [
        (world.eurc.address, BUYER.address),
        (world.shares.address, SELLER.address),
    ]
    for each in skipped:
        assert each["settlementId"] == world.id_of(terms)
        assert world.errors.decode(each["reason"])[0] == "ERC2612InvalidSigner"
    world.assert_conserved()


def test_a_bad_permit_without_an_allowance_funds_nothing(world: World) -> None:
    terms = world.terms()
    world.create(terms)
    bad = [
        world.permit(world.eurc, STRANGER, terms.maxEurc),
        world.permit(world.eurc, BUYER, terms.maxEurc, deadline=1),
        world.permit(world.eurc, BUYER, terms.maxEurc, nonce=5),
        NO_PERMIT,
    ]
    for permit in bad:
        with reverts("AllowanceTooLow", world.eurc.address, BUYER.address, 0, terms.maxEurc):
            world.fund(terms, permit)
    small = world.permit(world.eurc, BUYER, terms.maxEurc - 1)
    with reverts(
        "AllowanceTooLow", world.eurc.address, BUYER.address, terms.maxEurc - 1, terms.maxEurc
    ):
        world.fund(terms, small)
    assert world.status_of(terms) == "Created"


def test_both_legs_are_pulled_or_neither(world: World) -> None:
    terms = world.terms()
    world.create(terms)
    needed = terms.assetAmount
    with reverts("AllowanceTooLow", world.shares.address, SELLER.address, 0, needed):
        world.fund(terms, seller_permit=NO_PERMIT)
    assert world.escrowed(world.eurc) == 0
    world.assert_conserved()


@pytest.mark.parametrize("leg", ["buyer", "seller"])
def test_an_owner_without_the_tokens_is_named(world: World, leg: str) -> None:
    terms = world.terms()
    world.create(terms)
    token, owner, needed = (
        (world.eurc, BUYER, terms.maxEurc)
        if leg == "buyer"
        else (world.shares, SELLER, terms.assetAmount)
    )
    balance = world.balance(token, owner)
    world.act(token, "transfer", ADMIN.address, balance - needed + 1, sender=owner)
    with reverts("BalanceTooLow", token.address, owner.address, needed - 1, needed):
        world.fund(terms)


def test_a_blocked_owner_is_not_pulled_from(world: World) -> None:
    terms = world.terms()
    world.create(terms)
    world.act(world.eurc, "setBlocked", BUYER.address, True)
    with reverts("Blocked", BUYER.address):
        world.fund(terms)
    with reverts("Blocked", BUYER.address):
        world.fund_with_authorization(terms)


def test_a_larger_permit_is_not_drawn_beyond_the_terms(world: World) -> None:
    """What is left of the allowance serves only terms that the owner signs as well."""
    terms = world.terms()
    world.create(terms)
    before = world.balance(world.eurc, BUYER)
    world.fund(terms, buyer_permit=world.permit(world.eurc, BUYER, 10**12))
    assert before - world.balance(world.eurc, BUYER) == terms.maxEurc
    other = terms.altered(salt=b"\x01" * 32)
    with reverts("BadBuyerSignature"):
        world.create(other, buyer_signature=world.sign_terms(terms, BUYER))
