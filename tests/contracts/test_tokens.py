"""The mock currencies, the yield share and the liquidity seeder."""

from __future__ import annotations

import pytest
from web3.contract import Contract

from tests.contracts.harness import reverts
from tests.contracts.vault_deployment import (
    ADMIN,
    BUYER,
    DEEP_LIQUIDITY,
    FOREVER,
    FULL_RANGE,
    RECEIVE_KINDS,
    SELLER,
    STRANGER,
    TICK_SPACING,
)
from tests.contracts.vault_world import World

# --------------------------------------------------------------------------------- fiat


@pytest.fixture(params=["usdc", "eurc"])
def fiat(world: World, request: pytest.FixtureRequest) -> Contract:
    return world.contracts[request.param]


def test_fiat_introduces_itself(world: World) -> None:
    for token, name, symbol in (
        (world.usdc, "Mock USDC", "mUSDC"),
        (world.eurc, "Mock EURC", "mEURC"),
    ):
        told = [world.ask(token, word) for word in ("name", "symbol", "decimals")]
        assert told == [name, symbol, 6]
        assert world.domain(token) == {
            "name": name,
            "version": "1",
            "chainId": 31337,
            "verifyingContract": token.address,
        }


def test_each_role_of_fiat_is_needed(world: World, fiat: Contract) -> None:
    for function, args in (
        ("mint", (STRANGER.address, 1)),
        ("setBlocked", (BUYER.address, True)),
        ("pause", ()),
        ("unpause", ()),
    ):
        with reverts("AccessControlUnauthorizedAccount"):
            world.act(fiat, function, *args, sender=STRANGER)


def test_a_blocked_account_neither_sends_nor_receives(world: World, fiat: Contract) -> None:
    world.act(fiat, "mint", STRANGER.address, 10)
    receipt = world.act(fiat, "setBlocked", STRANGER.address, True)
    expected = {"account": STRANGER.address, "isBlocked": True}
    assert receipt.one("BlockedSet") == expected
    with reverts("Blocked", STRANGER.address):
        world.act(fiat, "transfer", ADMIN.address, 1, sender=STRANGER)
    with reverts("Blocked", STRANGER.address):
        world.act(fiat, "transfer", STRANGER.address, 1)
    with reverts("Blocked", STRANGER.address):
        world.act(fiat, "mint", STRANGER.address, 1)
    world.act(fiat, "setBlocked", STRANGER.address, False)
    world.act(fiat, "transfer", ADMIN.address, 1, sender=STRANGER)


def test_a_pause_stops_every_movement(world: World, fiat: Contract) -> None:
    world.act(fiat, "pause")
    with reverts("EnforcedPause"):
        world.act(fiat, "transfer", STRANGER.address, 1)
    with reverts("EnforcedPause"):
        world.act(fiat, "mint", STRANGER.address, 1)
    world.act(fiat, "unpause")
    world.act(fiat, "transfer", STRANGER.address, 1)


def test_an_authorisation_works_in_both_forms_and_once(world: World) -> None:
    """(v, r, s) and bytes spend the same nonce. The payee is a plain account here."""
    terms = world.terms()
    vault = world.vault.address  # impersonated: the payee must call
    signature = world.authorise(terms)
    world.receive_with_authorization(terms, signature, sender=vault)
    assert world.ask(world.eurc, "authorizationState", BUYER.address, world.id_of(terms))
    words = (BUYER.address, vault, terms.maxEurc, 0, FOREVER, world.id_of(terms))
    parts = (signature[64], signature[:32], signature[32:64])
    overload = f"receiveWithAuthorization({RECEIVE_KINDS},uint8,bytes32,bytes32)"
    for _ in range(2):
        with reverts("ERC3009UsedAuthorization"):
            world.receive_with_authorization(terms, signature, sender=vault)
        with reverts("ERC3009UsedAuthorization"):
            world.act(world.eurc, overload, *words, *parts, sender=vault)


# ------------------------------------------------------------------------------- shares


def test_shares_have_eighteen_decimals_and_start_at_par(world: World) -> None:
    told = [world.ask(world.shares, word) for word in ("name", "symbol", "decimals", "asset")]
    assert told == ["Yield Pool Share", "YPS", 18, world.usdc.address]
    assert world.ask(world.shares, "convertToAssets", 10**18) == 10**6


def test_a_donation_is_yield(world: World) -> None:
    """Ten percent more USDC make a share worth 1.10, rounded down for the holder."""
    world.act(world.usdc, "transfer", world.shares.address, 10**10)
    assert world.ask(world.shares, "convertToAssets", 10**18) == 1_099_999


def test_the_first_depositor_is_not_robbed(world: World) -> None:
    """The inflation attack: one unit deposited, a fortune donated, and the victim still
    gets its money back to a millionth, while the attacker has lost the fortune."""
    shares = world.deploy("YieldPoolShare", world.usdc.address)
    world.act(world.usdc, "mint", STRANGER.address, 10**12)
    for party in (STRANGER, SELLER):
        world.act(world.usdc, "approve", shares.address, 10**12, sender=party)
    world.act(shares, "deposit", 1, STRANGER.address, sender=STRANGER)
    world.act(world.usdc, "transfer", shares.address, 10**12 - 1, sender=STRANGER)
    world.act(shares, "deposit", 10**11, SELLER.address, sender=SELLER)

    def worth(owner: str) -> int:
        return int(world.ask(shares, "convertToAssets", world.ask(shares, "balanceOf", owner)))

    assert worth(SELLER.address) >= 10**11 - 10**5
    assert worth(STRANGER.address) <= 10**12 // 2 + 10**5


# ------------------------------------------------------------------------------- seeder


def test_only_the_owner_seeds(world: World) -> None:
    with reverts("OwnableUnauthorizedAccount", STRANGER.address):
        args = (world.pool_key(), *FULL_RANGE, 1)
        world.act(world.seeder, "modify", *args, sender=STRANGER)
    with reverts("OnlyPoolManager"):
        world.act(world.seeder, "unlockCallback", b"")


@pytest.mark.parametrize("world", ["usdc_first", "eurc_first"], indirect=True)
def test_liquidity_comes_back_with_the_fees(world: World) -> None:
    """A provider can always leave; what one swap paid in fees stays in the pool for it."""
    terms = world.terms()
    tokens = (world.usdc, world.eurc)
    pool_before = [world.balance(token, world.manager) for token in tokens]
    owner_before = [world.balance(token, ADMIN) for token in tokens]
    world.reach(terms, "Swapped")
    spent = world.predicted_spend(terms.requiredUsdc)
    world.add_liquidity(-DEEP_LIQUIDITY)

    returned = [world.balance(t, ADMIN) - b for t, b in zip(tokens, owner_before, strict=True)]
    expected = [pool_before[0] - terms.requiredUsdc, pool_before[1] + spent]
    # v4 rounds each deposit, withdrawal and fee in the pool's favour, by a unit each.
    for got, wanted in zip(returned, expected, strict=True):
        assert wanted - 3 <= got <= wanted
    world.assert_conserved()


def test_fees_alone_are_collected_with_no_change_of_liquidity(world: World) -> None:
    terms = world.terms()
    world.reach(terms, "Swapped")
    before = world.balance(world.eurc, ADMIN)
    world.add_liquidity(0)
    fee = world.predicted_spend(terms.requiredUsdc) - world.predicted_spend(terms.requiredUsdc, 0)
    assert fee - 1 <= world.balance(world.eurc, ADMIN) - before <= fee


def test_ranges_are_multiples_of_the_spacing(world: World) -> None:
    with reverts("TickMisaligned"):
        world.add_liquidity(1, (0, TICK_SPACING + 1))
