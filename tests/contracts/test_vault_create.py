"""Create: signatures, ids, amounts, deadlines and listed assets."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contracts.harness import Party, reverts
from tests.contracts.vault_deployment import (
    ADMIN,
    BUYER,
    FACILITATOR,
    FINALITY_BLOCKS,
    FUND_DEADLINE,
    NO_PERMIT,
    SELLER,
    STRANGER,
    SWAP_DEADLINE,
    ZERO_ADDRESS,
)
from tests.contracts.vault_world import World


def test_the_id_is_the_digest_that_wallets_sign(world: World) -> None:
    """An independent EIP-712 encoder agrees with the vault, or no signature would fit."""
    world.create(world.terms(), buyer_signature=world.sign_terms(world.terms(), BUYER))
    assert world.status_of(world.terms()) == "Created"


ALTERED = {
    "buyer": Party("another buyer").address,
    "seller": Party("another seller").address,
    "assetAmount": 1,
    "requiredUsdc": 110_000_001,
    "maxEurc": 121_000_001,
    "fundDeadline": FUND_DEADLINE + 1,
    "swapDeadline": SWAP_DEADLINE + 1,
    "resourceHash": b"\x12" * 32,
    "salt": b"\x23" * 32,
}


@pytest.mark.parametrize("member", [*ALTERED, "asset"])
def test_consent_covers_every_member(world: World, member: str) -> None:
    """Terms altered in one member are another id, and the buyer's signature does not fit."""
    value = ALTERED.get(member)
    if member == "asset":
        value = world.deploy("FeeToken").address
        world.act(world.vault, "setAsset", value, True)
    terms, altered = world.terms(), world.terms(**{member: value})
    assert world.id_of(terms) != world.id_of(altered)
    caller = Party("another seller") if member == "seller" else SELLER
    with reverts("BadBuyerSignature"):
        world.create(altered, sender=caller, buyer_signature=world.sign_terms(terms, BUYER))
    assert world.status_of(altered) == "None"


@pytest.mark.parametrize(
    "domain",
    [
        {"verifyingContract": ADMIN.address},
        {"chainId": 1},
        {"name": "Settlement Vault"},
        {"version": "2"},
    ],
    ids=lambda domain: next(iter(domain)),
)
def test_consent_does_not_travel_to_another_vault_or_chain(
    world: World, domain: dict[str, Any]
) -> None:
    terms = world.terms()
    with reverts("BadBuyerSignature"):
        world.create(terms, buyer_signature=world.sign_terms(terms, BUYER, **domain))
    with reverts("BadSellerSignature"):
        world.create(
            terms, sender=STRANGER, seller_signature=world.sign_terms(terms, SELLER, **domain)
        )


def test_another_vault_has_other_ids(world: World) -> None:
    other = world.deploy_vault()
    world.act(other, "setHook", world.hook.address)
    world.act(other, "setAsset", world.shares.address, True)
    terms = world.terms()
    assert world.ask(other, "settlementId", terms.words) != world.id_of(terms)
    with reverts("BadBuyerSignature"):
        world.act(
            other,
            "createSettlement",
            terms.words,
            world.sign_terms(terms, BUYER),
            b"",
            sender=SELLER,
        )


def test_anyone_may_bring_both_signatures(world: World) -> None:
    terms = world.terms()
    world.create(terms, sender=STRANGER, seller_signature=world.sign_terms(terms, SELLER))
    assert world.status_of(terms) == "Created"


def test_nobody_creates_without_the_seller(world: World) -> None:
    terms = world.terms()
    for caller in (STRANGER, BUYER, FACILITATOR, ADMIN):
        for signature in (b"", b"\0" * 65, world.sign_terms(terms, BUYER)):
            with reverts("BadSellerSignature"):
                world.create(terms, sender=caller, seller_signature=signature)


@pytest.mark.parametrize("signature", [b"", b"\0" * 65, b"\x01" * 64, b"\x01" * 66])
def test_nobody_creates_without_the_buyer(world: World, signature: bytes) -> None:
    with reverts("BadBuyerSignature"):
        world.create(world.terms(), buyer_signature=signature)


def test_the_other_half_of_a_signature_is_no_second_signature(world: World) -> None:
    """(r, n - s) also solves the equation; OpenZeppelin refuses the high half."""
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    terms = world.terms()
    low = world.sign_terms(terms, BUYER)
    flipped_s = (order - int.from_bytes(low[32:64], "big")).to_bytes(32, "big")
    high = low[:32] + flipped_s + bytes([55 - low[64]])
    with reverts("BadBuyerSignature"):
        world.create(terms, buyer_signature=high)


def test_a_contract_wallet_buys_by_erc_1271(world: World) -> None:
    wallet = world.deploy("Wallet1271", BUYER.address)
    world.act(world.eurc, "mint", wallet.address, 10**9)
    approve = world.eurc.encode_abi("approve", args=[world.puller.address, 10**9])
    world.act(wallet, "act", world.eurc.address, approve, sender=BUYER)
    terms = world.terms(buyer=wallet.address)

    with reverts("BadBuyerSignature"):
        world.create(terms, buyer_signature=world.sign_terms(terms, STRANGER))
    world.create(terms)
    world.fund(terms, buyer_permit=NO_PERMIT)
    world.swap(terms)
    world.mine(FINALITY_BLOCKS)
    world.execute(terms)
    assert world.balance(world.shares, wallet) == terms.assetAmount
    world.assert_conserved()


def test_a_contract_wallet_sells_by_erc_1271(world: World) -> None:
    wallet = world.deploy("Wallet1271", SELLER.address)
    terms = world.terms(seller=wallet.address)
    signed = world.sign_terms(terms, SELLER)
    world.create(terms, sender=FACILITATOR, seller_signature=signed)
    assert world.status_of(terms) == "Created"


@pytest.mark.parametrize("amount", ["assetAmount", "requiredUsdc", "maxEurc"])
def test_amounts_are_not_zero(world: World, amount: str) -> None:
    with reverts("ZeroAmount"):
        world.create(world.terms(**{amount: 0}))


@pytest.mark.parametrize("amount", ["requiredUsdc", "maxEurc"])
def test_currency_amounts_are_below_two_to_the_96(world: World, amount: str) -> None:
    world.create(world.terms(**{amount: 2**96 - 1}))
    with reverts("AmountTooLarge", 2**96):
        world.create(world.terms(**{amount: 2**96}))


def test_parties_are_outsiders_and_two(world: World) -> None:
    insiders = [
        ZERO_ADDRESS,
        *(c.address for c in (world.vault, world.puller, world.manager, world.hook)),
    ]
    for address in insiders:
        for role in ("buyer", "seller"):
            with reverts("BadParty", address):
                world.create(world.terms(**{role: address}))
    with reverts("BadParty", SELLER.address):
        world.create(world.terms(buyer=SELLER.address))


def test_deadlines_are_in_order_and_include_their_last_second(world: World) -> None:
    with reverts("BadDeadlines"):
        world.create(world.terms(fundDeadline=SWAP_DEADLINE + 1))
    world.create(world.terms(fundDeadline=SWAP_DEADLINE))

    last, late = world.terms(salt=b"\x01" * 32), world.terms(salt=b"\x02" * 32)
    world.at(FUND_DEADLINE)
    world.create(last)
    world.at(FUND_DEADLINE + 1)
    with reverts("DeadlinePassed", FUND_DEADLINE):
        world.create(late)


def test_only_listed_assets_are_sold(world: World) -> None:
    token = world.deploy("FeeToken")
    terms = world.terms(asset=token.address)
    with reverts("AssetNotAllowed", token.address):
        world.create(terms)
    world.act(world.vault, "setAsset", token.address, True)
    world.create(terms)
    world.act(world.vault, "setAsset", token.address, False)
    with reverts("AssetNotAllowed", token.address):
        world.create(terms.altered(salt=b"\x01" * 32))
