"""The police of the pool: who may swap, for what, which way, when and at what price."""

from __future__ import annotations

from typing import Any

import pytest
from web3.contract import Contract

from tests.contracts.harness import CREATE2_DEPLOYER, mine_address, reverts
from tests.contracts.vault_deployment import (
    ADMIN,
    BAND_BPS,
    FACILITATOR,
    HOOK_FLAGS,
    LP_FEE_PIPS,
    MAX_AGE_S,
    RATE_E8,
    STRANGER,
    ZERO_ADDRESS,
)
from tests.contracts.vault_world import World

both_sides = pytest.mark.parametrize("world", ["usdc_first", "eurc_first"], indirect=True)

MIN_LIMIT, MAX_LIMIT = 4295128740, 1461446703485210103287273052203988822378723970341
LIVE_ID = b"\x77" * 32


def swap_params(world: World, amount: int, eurc_to_usdc: bool = True) -> tuple[bool, int, int]:
    """v4's SwapParams: above zero an exact output, below zero an exact input."""
    zero_for_one = eurc_to_usdc == world.eurc_is_currency0
    return (zero_for_one, amount, MIN_LIMIT if zero_for_one else MAX_LIMIT)


def play_vault(world: World) -> Contract:
    """A FakeRouter in the vault's place, with a hook and a deep pool of its own. It can then
    say to the hook whatever it likes, which the vault cannot be made to do."""
    router = world.deploy("FakeRouter", world.manager.address)
    world.contracts["hook"] = world.deploy_hook(router.address)
    world.set_rate()
    world.act(world.manager, "initialize", world.pool_key(), world.sqrt_price())
    world.add_liquidity(10**15)
    for token in (world.usdc, world.eurc):
        world.act(token, "mint", router.address, 10**12)
    world.act(router, "setLiveId", LIVE_ID)
    return router


@pytest.fixture
def fake(world: World) -> Contract:
    """The world's hook replaced by one whose vault is a puppet."""
    return play_vault(world)


# --------------------------------------------------------------------------- who may swap


def test_a_foreign_router_does_not_swap(world: World) -> None:
    """No swap around a settlement, so nobody can sandwich one (balancers: see theirs)."""
    router = world.deploy("FakeRouter", world.manager.address)
    world.act(world.eurc, "mint", router.address, 10**12)
    for amount in (1_000_000, -1_000_000):
        for direction in (True, False):
            params = swap_params(world, amount, direction)
            with reverts("NotVault", router.address):
                world.act(router, "swap", world.pool_key(), params, bytes(32), sender=STRANGER)


def test_nobody_but_the_pool_manager_calls_back(world: World) -> None:
    key, params = world.pool_key(), swap_params(world, 1)
    calls: list[tuple[str, tuple[Any, ...]]] = [
        ("beforeInitialize", (ADMIN.address, key, 2**96)),
        ("beforeSwap", (world.vault.address, key, params, bytes(32))),
        ("afterSwap", (world.vault.address, key, params, 0, bytes(32))),
    ]
    for function, args in calls:
        for caller in (STRANGER, ADMIN, FACILITATOR):
            with reverts("OnlyPoolManager"):
                world.act(world.hook, function, *args, sender=caller)


def test_callbacks_it_does_not_subscribe_to_do_nothing(world: World) -> None:
    key, liquidity = world.pool_key(), (0, 0, 0, bytes(32))
    calls: list[tuple[str, tuple[Any, ...]]] = [
        ("afterInitialize", (ADMIN.address, key, 2**96, 0)),
        ("beforeAddLiquidity", (ADMIN.address, key, liquidity, b"")),
        ("afterAddLiquidity", (ADMIN.address, key, liquidity, 0, 0, b"")),
        ("beforeRemoveLiquidity", (ADMIN.address, key, liquidity, b"")),
        ("afterRemoveLiquidity", (ADMIN.address, key, liquidity, 0, 0, b"")),
        ("beforeDonate", (ADMIN.address, key, 0, 0, b"")),
        ("afterDonate", (ADMIN.address, key, 0, 0, b"")),
    ]
    for function, args in calls:
        with reverts("HookNotImplemented"):
            world.act(world.hook, function, *args)


@both_sides
def test_the_hook_data_name_the_live_settlement(world: World, fake: Contract) -> None:
    key, params = world.pool_key(), swap_params(world, 1_000_000)
    wrong = {
        b"\x78" * 32: b"\x78" * 32,
        b"": bytes(32),
        LIVE_ID[:31]: bytes(32),
        LIVE_ID + b"\0": bytes(32),
    }
    for data, read_as in wrong.items():
        with reverts("NoLiveSettlement", read_as):
            world.act(fake, "swap", key, params, data)
    receipt = world.act(fake, "swap", key, params, LIVE_ID)
    assert receipt.one("PoolSwapChecked")["settlementId"] == LIVE_ID


@both_sides
def test_only_eurc_for_an_exact_amount_of_usdc(world: World, fake: Contract) -> None:
    for amount, eurc_to_usdc in ((1_000_000, False), (-1_000_000, True), (-1_000_000, False)):
        with reverts("WrongDirection"):
            params = swap_params(world, amount, eurc_to_usdc)
            world.act(fake, "swap", world.pool_key(), params, LIVE_ID)


# ------------------------------------------------------------------------------- the rate


def test_a_rate_is_good_for_its_time_and_not_a_second_more(world: World) -> None:
    last, late = world.terms(salt=b"\x01" * 32), world.terms(salt=b"\x02" * 32)
    for terms in (last, late):
        world.reach(terms, "Funded")
    world.set_rate(max_age_s=600)
    set_at = world.ask(world.hook, "rate")[1]
    world.at(set_at + 600)
    world.swap(last)
    with reverts("StaleRate", set_at, 600):
        world.swap(late)
    assert world.status_of(late) == "Funded"
    world.set_rate()
    world.swap(late)
    world.assert_conserved()


def test_no_rate_is_a_stale_rate(world: World) -> None:
    router = world.deploy("FakeRouter", world.manager.address)
    world.contracts["hook"] = world.deploy_hook(router.address)
    world.act(world.manager, "initialize", world.pool_key(), world.sqrt_price())
    world.act(router, "setLiveId", LIVE_ID)
    with reverts("StaleRate", 0, 0):
        world.act(router, "swap", world.pool_key(), swap_params(world, 1), LIVE_ID)


def test_the_rate_reads_as_it_was_set(world: World) -> None:
    receipt = world.set_rate(112_345_678, 50, 3_600, 3_000)
    set_at = receipt.one("RateSet")["setAt"]
    assert world.ask(world.hook, "rate") == (112_345_678, set_at, 50, 3_600, 3_000)
    assert receipt.one("RateSet") == {
        "usdcPerEurcE8": 112_345_678,
        "setAt": set_at,
        "bandBps": 50,
        "maxAgeSeconds": 3_600,
        "lpFeePips": 3_000,
    }


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"rate_e8": 10**7 - 1}, "BadRate"),
        ({"rate_e8": 10**9 + 1}, "BadRate"),
        ({"rate_e8": 1_100_000}, "BadRate"),  # six digits where eight are meant
        ({"band_bps": 5_001}, "BadBand"),
        ({"max_age_s": 0}, "BadMaxAge"),
        ({"max_age_s": 30 * 86_400 + 1}, "BadMaxAge"),
        ({"lp_fee_pips": 100_001}, "BadLpFee"),
    ],
)
def test_rates_have_bounds(world: World, change: dict[str, int], error: str) -> None:
    with reverts(error, *change.values()):
        world.set_rate(**change)


@pytest.mark.parametrize(
    "change",
    [
        {"rate_e8": 10**7},
        {"rate_e8": 10**9},
        {"band_bps": 0},
        {"band_bps": 5_000},
        {"max_age_s": 1},
        {"max_age_s": 30 * 86_400},
        {"lp_fee_pips": 0},
        {"lp_fee_pips": 100_000},
    ],
)
def test_bounds_are_within(world: World, change: dict[str, int]) -> None:
    world.set_rate(**change)


def test_only_the_rate_role_sets_the_rate(world: World) -> None:
    for caller in (FACILITATOR, STRANGER):
        with reverts("AccessControlUnauthorizedAccount"):
            args = (RATE_E8, BAND_BPS, MAX_AGE_S, LP_FEE_PIPS)
            world.act(world.hook, "setRate", *args, sender=caller)
    role = world.ask(world.hook, "RATE_ROLE")
    world.act(world.hook, "grantRole", role, STRANGER.address)
    world.act(world.hook, "setRate", RATE_E8, BAND_BPS, MAX_AGE_S, LP_FEE_PIPS, sender=STRANGER)


@pytest.mark.parametrize("fee_pips", [0, 3_000, 9_000])
@both_sides
def test_the_fee_of_the_rate_is_the_fee_of_the_swap(world: World, fee_pips: int) -> None:
    terms = world.terms()
    world.set_rate(lp_fee_pips=fee_pips)
    world.reach(terms, "Funded")
    spent = world.swap(terms).one("SettlementSwapped")["eurcSpent"]
    assert spent == world.predicted_spend(terms.requiredUsdc, fee_pips)


# ------------------------------------------------------------------------------- the band


def dearest_rate(spent: int, usdc_out: int, band_bps: int) -> int:
    """The highest reference under which this swap is still within the band."""
    return usdc_out * 10**8 * 10_000 // (spent * (10_000 - band_bps))


@pytest.mark.parametrize("band_bps", [0, 100, 2_500])
@both_sides
def test_the_band_is_exact_to_the_last_unit_of_the_rate(world: World, band_bps: int) -> None:
    """Nothing is rounded: one more 10**-8 in the reference and the swap is refused."""
    terms = world.terms()
    world.reach(terms, "Funded")
    spent = world.predicted_spend(terms.requiredUsdc)
    rate = dearest_rate(spent, terms.requiredUsdc, band_bps)

    world.set_rate(rate + 1, band_bps)
    with reverts("OutsideBand", spent, terms.requiredUsdc, rate + 1):
        world.swap(terms)
    assert world.status_of(terms) == "Funded"

    world.set_rate(rate, band_bps)
    receipt = world.swap(terms)
    assert receipt.one("PoolSwapChecked")["referenceRateE8"] == rate
    world.assert_conserved()


def test_better_than_the_reference_passes(world: World) -> None:
    """Where nobody balances, only such a swap can bring a pool that is too dear back."""
    terms = world.terms()
    world.set_rate(55_000_000)
    world.reach(terms, "Swapped")


def test_the_band_protects_the_slack_of_a_wide_budget(world: World) -> None:
    """The seed's 121 EURC for 110 USDC leave ten percent to lose; the band leaves one."""
    terms = world.terms(maxEurc=10**12)
    world.reach(terms, "Funded")
    world.set_rate(RATE_E8 * 102 // 100)
    with reverts("OutsideBand"):
        world.swap(terms)


@both_sides
def test_the_hook_tells_what_the_pool_did(world: World) -> None:
    terms = world.terms()
    world.reach(terms, "Funded")
    receipt = world.swap(terms)
    checked = receipt.one("PoolSwapChecked")
    assert checked == {
        "settlementId": world.id_of(terms),
        "poolId": receipt.one("Swap")["id"],
        "eurcIn": receipt.one("SettlementSwapped")["eurcSpent"],
        "usdcOut": terms.requiredUsdc,
        "referenceRateE8": RATE_E8,
    }
    assert receipt.one("Swap")["fee"] == LP_FEE_PIPS


# ------------------------------------------------------------------------------- the pool


def test_no_other_pool_passes_here(world: World) -> None:
    """A fake market with our hook is how others were robbed: refused at birth."""
    token = world.deploy("FeeToken")
    pair = sorted((token.address, world.usdc.address), key=str.lower)
    wrong: list[dict[str, Any]] = [
        {"currency0": pair[0], "currency1": pair[1]},
        {"currency0": ZERO_ADDRESS},
        {"fee": 500},
        {"tickSpacing": 60},
        {"tickSpacing": 1},
    ]
    for change in wrong:
        with reverts("WrongPool"):
            world.act(world.manager, "initialize", world.pool_key(**change), 2**96)


def test_only_the_admin_chooses_the_first_price(world: World) -> None:
    """v4 lets anyone initialize, and nobody could trade a spoilt price away again."""
    world.contracts["hook"] = world.deploy_hook(STRANGER.address)
    for caller in (STRANGER, FACILITATOR):
        with reverts("NotInitializer", caller.address):
            world.act(world.manager, "initialize", world.pool_key(), 2**96, sender=caller)
    world.act(world.manager, "initialize", world.pool_key(), 2**96)


def test_the_pool_opens_once(world: World) -> None:
    with reverts("PoolAlreadyInitialized"):
        world.act(world.manager, "initialize", world.pool_key(), 2**96)


@pytest.mark.parametrize("flags", [0x0000, 0x2080, 0x20C4, 0x3FFF])
def test_it_refuses_an_address_with_other_flags(world: World, flags: int) -> None:
    initcode = bytes.fromhex(
        world.initcode(
            "FacilitatorHook",
            world.manager.address,
            world.vault.address,
            world.usdc.address,
            world.eurc.address,
            ADMIN.address,
        )[2:]
    )
    salt, address = mine_address(initcode, flags)
    # The CREATE2 deployer reverts without a word, so ask the address, not the transaction.
    with reverts("", b""):
        world.send(CREATE2_DEPLOYER, "0x" + (salt + initcode).hex())
    assert world.node.rpc("eth_getCode", address, "latest") == "0x"


def test_the_address_says_what_the_permissions_say(world: World) -> None:
    permissions = world.ask(world.hook, "getHookPermissions")
    bits = sum(1 << (13 - place) for place, wanted in enumerate(permissions) if wanted)
    assert bits == HOOK_FLAGS
    assert int(world.hook.address, 16) & 0x3FFF == HOOK_FLAGS
