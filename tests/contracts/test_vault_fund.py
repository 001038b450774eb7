"""Fund: authorizations, permits, and tokens that do not arrive in full."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contracts.harness import GENESIS_TIME, reverts
from tests.contracts.vault_deployment import (
    ADMIN,
    BUYER,
    FACILITATOR,
    FOREVER,
    FUND_DEADLINE,
    NO_PERMIT,
    SELLER,
    STRANGER,
)
from tests.contracts.vault_world import World


def test_only_the_facilitator_funds_and_swaps(world: World) -> None:
    terms = world.terms()
    world.reach(terms, "Created")
    for caller in (BUYER, SELLER, ADMIN, STRANGER):
        with reverts("AccessControlUnauthorizedAccount"):
            world.fund(terms, sender=caller)
        with reverts("AccessControlUnauthorizedAccount"):
            world.fund_with_authorization(terms, sender=caller)
    world.fund(terms)
    for caller in (BUYER, SELLER, ADMIN, STRANGER):
        with reverts("AccessControlUnauthorizedAccount"):
            world.swap(terms, sender=caller)


def test_funding_includes_its_last_second(world: World) -> None:
    last, late = world.terms(salt=b"\x01" * 32), world.terms(salt=b"\x02" * 32)
    world.create(last)
    world.create(late)
    world.at(FUND_DEADLINE)
    world.fund(last)
    with reverts("DeadlinePassed", FUND_DEADLINE):
        world.fund(late)
    with reverts("DeadlinePassed", FUND_DEADLINE):
        world.fund_with_authorization(late)
    world.assert_conserved()


def test_what_does_not_arrive_in_full_is_not_escrow(world: World) -> None:
    """A fee would be paid out of another settlement's escrow, a bonus would be nobody's."""
    token = world.deploy("FeeToken")
    world.act(world.vault, "setAsset", token.address, True)
    world.act(token, "mint", SELLER.address, 10**20)
    world.act(token, "approve", world.puller.address, 10**20, sender=SELLER)
    terms = world.terms(asset=token.address, assetAmount=1_000)
    world.create(terms)

    world.act(token, "setDifference", -1)
    with reverts("FeeOnTransfer", token.address, 999, 1_000):
        world.fund(terms, seller_permit=NO_PERMIT)
    world.act(token, "setDifference", 1)
    with reverts("UnexpectedBalance", token.address, 1_001, 1_000):
        world.fund(terms, seller_permit=NO_PERMIT)
    assert world.status_of(terms) == "Created"
    world.act(token, "setDifference", 0)
    world.fund(terms, seller_permit=NO_PERMIT)
    world.assert_conserved(token)


def test_two_open_quotes_are_funded_by_authorisation_in_either_order(world: World) -> None:
    """ERC-3009 nonces are the settlement ids, so quotes do not wait for each other."""
    first, second = world.terms(), world.terms(salt=b"\x01" * 32)
    signatures = {terms: world.authorise(terms) for terms in (first, second)}
    for terms in (first, second):
        world.create(terms)
    snapshot = world.node.rpc("evm_snapshot")
    for order in ((first, second), (second, first)):
        for terms in order:
            receipt = world.fund_with_authorization(terms, signatures[terms])
            used = receipt.one("AuthorizationUsed")
            assert used == {"authorizer": BUYER.address, "nonce": world.id_of(terms)}
            world.assert_conserved()
        world.node.rpc("evm_revert", snapshot)
        snapshot = world.node.rpc("evm_snapshot")


def test_two_open_quotes_by_permit_only_go_in_the_order_of_nonces(world: World) -> None:
    """What ERC-3009 is for: the second permit fails while the first is not used."""
    first, second = world.terms(), world.terms(salt=b"\x01" * 32)
    early = world.permit(world.eurc, BUYER, first.maxEurc, nonce=0)
    late = world.permit(world.eurc, BUYER, second.maxEurc, nonce=1)
    for terms in (first, second):
        world.create(terms)
    with reverts("AllowanceTooLow", world.eurc.address, BUYER.address, 0, second.maxEurc):
        world.fund(second, buyer_permit=late)
    world.fund(first, buyer_permit=early)
    world.fund(second, buyer_permit=late)
    world.assert_conserved()


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"value": 121_000_001}, "ERC3009InvalidSignature"),
        ({"to": ADMIN.address}, "ERC3009InvalidSignature"),
        ({"nonce": bytes(32)}, "ERC3009InvalidSignature"),
        ({"validBefore": FOREVER + 1}, "ERC3009InvalidSignature"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_an_authorisation_for_anything_else_does_not_fund(
    world: World, change: dict[str, Any], error: str
) -> None:
    terms = world.terms()
    world.create(terms)
    with reverts(error):
        world.fund_with_authorization(terms, world.authorise(terms, **change))


def test_an_authorisation_by_someone_else_does_not_fund(world: World) -> None:
    terms = world.terms()
    world.create(terms)
    with reverts("ERC3009InvalidSignature"):
        world.fund_with_authorization(terms, world.authorise(terms, STRANGER))


def test_an_authorisation_has_its_time(world: World) -> None:
    terms = world.terms()
    world.create(terms)
    permit = world.permit(world.shares, SELLER, terms.assetAmount)
    for after, before in ((FOREVER, 2 * FOREVER), (0, GENESIS_TIME)):
        signature = world.authorise(terms, validAfter=after, validBefore=before)
        with reverts("ERC3009InvalidAuthorizationTime", after, before):
            world.act(
                world.vault,
                "fundWithAuthorization",
                terms.words,
                after,
                before,
                signature,
                permit,
                sender=FACILITATOR,
            )


def test_a_cancelled_authorisation_does_not_fund(world: World) -> None:
    """The buyer's way out of a quote that is still open: the nonce is the id."""
    terms = world.terms()
    world.create(terms)
    world.cancel_authorization(terms)
    with reverts("ERC3009UsedAuthorization", BUYER.address, world.id_of(terms)):
        world.fund_with_authorization(terms)
    world.refund(terms)
    world.assert_conserved()


def test_nobody_can_spend_the_authorisation_ahead_of_the_vault(world: World) -> None:
    """It is a *receive* authorisation: only the payee may use it."""
    terms = world.terms()
    world.create(terms)
    signature = world.authorise(terms)
    with reverts("ERC20InvalidReceiver", world.vault.address):
        world.receive_with_authorization(terms, signature, sender=STRANGER)


def test_a_contract_wallet_funds_by_authorisation(world: World) -> None:
    wallet = world.deploy("Wallet1271", BUYER.address)
    world.act(world.eurc, "mint", wallet.address, 10**9)
    terms = world.terms(buyer=wallet.address)
    world.create(terms)
    world.fund_with_authorization(terms)
    world.assert_conserved()
    assert world.balance(world.eurc, wallet) == 10**9 - terms.maxEurc
