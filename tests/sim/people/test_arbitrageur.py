"""The arbitrageur: towards the market while it pays and the hook allows, and what that changes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench import World, simulated
from workbench.core import facts as ev
from workbench.core.ports import ReferenceRate
from workbench.evm.build.toolchain import project_root
from workbench.evm.codec.abi import encode_call
from workbench.evm.transactions.test_keys import key_of
from workbench.results.run import Run
from workbench.scenario import ArbitrageurSettings, Scenario, load
from workbench.services.otc.rates import FixedRate
from workbench.sim.people.arbitrageur import SimArbitrageur, goal
from workbench.sim.people.wallet import SimWallet
from workbench.worlds.experiment import Experiment

START = 110_000_000
EDGE_BPS, FEE_PIPS = 10, 500
prices = st.integers(10**7, 10**9)


def rate_of(e8: int, *, max_age_s: int = 86_400) -> ReferenceRate:
    return ReferenceRate(e8, 0, max_age_s, 100, FEE_PIPS)


# --- Where to ---


@given(prices, prices, prices, st.integers(0, 500), st.integers(0, 100_000))
def test_a_goal_is_on_the_way_and_pays(
    price: int, market: int, reference: int, edge_bps: int, fee_pips: int
) -> None:
    """Between the price and both the market, less the fee, and the reference; or there is none."""
    found = goal(price, market, ReferenceRate(reference, 0, 86_400, 100, fee_pips), edge_bps)
    if found is None:
        return
    assert abs(price - market) * 10_000 > edge_bps * market
    if found < price:
        assert max(market, reference) <= found
        assert market * 10**6 <= found * (10**6 - fee_pips)
    else:
        assert price < found <= min(market, reference)
        assert found * 10**6 <= market * (10**6 - fee_pips)


def test_goals_by_hand() -> None:
    """The market at 1.10, a fee of 5 bps."""
    at = rate_of(START)
    assert [None, None] == [goal(each, START, at, EDGE_BPS) for each in (START, 109_890_000)]
    assert START * 9_995 // 10_000 == goal(109_889_999, START, at, EDGE_BPS)
    assert 110_055_028 == goal(111_000_000, START, at, EDGE_BPS)
    late = rate_of(109_500_000)
    assert 109_500_000 == goal(109_000_000, START, late, EDGE_BPS), "no farther than the keeper"
    assert goal(109_500_000, START, late, EDGE_BPS) is None
    assert goal(109_499_999, START, late, EDGE_BPS) is None, "what rounding left"


# --- In a world, with a market of its own ---


@pytest.fixture
def world() -> Iterator[World]:
    """No facilitator, so no keeper: the rate is ours to set."""
    with simulated() as world:
        world.kill("facilitator")
        yield world


def transact(world: World, role: str, to: str, data: bytes) -> None:
    key = key_of(role).secret
    wallet = SimWallet(world.rpc, key, world.deployment.chain_id)
    tx = world.do(wallet.send(to, data))
    world.advance()
    assert world.do(wallet.ok(tx))


def set_rate(world: World, e8: int, max_age_s: int = 86_400) -> None:
    data = encode_call("FacilitatorHook", "setRate", e8, 100, max_age_s, FEE_PIPS)
    transact(world, "keeper", world.deployment["FacilitatorHook"], data)


def add_arbitrageur(world: World, market_e8: int, eurc: int, usdc: int, **rules: int) -> SimWallet:
    """One who owns so much, and looks before every block."""
    where, wallet = world.deployment, SimWallet(world.rpc, key_of("balancer").secret, 31337)
    for token, units in (("MockEURC", eurc), ("MockUSDC", usdc)):
        transact(world, "deployer", where[token], encode_call(token, "mint", wallet.address, units))
        approve = encode_call(token, "approve", where["PoolBalancer"], 2**256 - 1)
        transact(world, "balancer", where[token], approve)
    arbitrageur = SimArbitrageur(
        world.chain,
        wallet,
        where["PoolBalancer"],
        where.pool_key,
        FixedRate(market_e8),
        world.clock,
        ArbitrageurSettings(**{"every_s": 1, "max_eurc": 10**18, **rules}),
    )
    world.miner.before_block.append(arbitrageur.before_block)
    return wallet


def price(world: World) -> int:
    return world.do(world.chain.pool_price())


def sent(world: World, wallet: SimWallet) -> int:
    return int(world.rpc.now("eth_getTransactionCount", wallet.address, "latest"), 16)


@pytest.mark.parametrize(
    ("market", "end"), [(105_000_000, 105_052_527), (115_000_000, 114_942_500)]
)
def test_it_goes_to_the_market_once_the_keeper_has(world: World, market: int, end: int) -> None:
    """And does not try before, or again: there is nothing to be had. The fee's width is left."""
    wallet = add_arbitrageur(world, market, 10**18, 10**18)
    before = sent(world, wallet)
    world.advance(3)
    assert (abs(price(world) - START) <= 1, sent(world, wallet)) == (True, before)
    set_rate(world, market)
    world.advance(3)
    assert abs(price(world) - end) <= 1
    assert sent(world, wallet) == before + 1
    (told,) = (f for f in world.run.events if isinstance(f, ev.PoolBalanced))
    assert (told.price_after_e8, told.reference_rate_e8) == (price(world), market)
    assert (told.eurc_in > 0, told.usdc_out > 0) == ((market < START,) * 2)
    owned = {t: world.do(world.chain.balance(getattr(world.chain.addresses, t), wallet.address))
             for t in ("eurc", "usdc")}  # fmt: skip
    assert owned == {"eurc": 10**18 - told.eurc_in, "usdc": 10**18 + told.usdc_out}


def test_a_refusal_is_borne(world: World) -> None:
    """The rate is stale: the hook refuses look after look, and then it is set."""
    wallet = add_arbitrageur(world, 115_000_000, 10**18, 10**18)
    before = sent(world, wallet)
    set_rate(world, 115_000_000, max_age_s=1)
    world.skip(10)
    world.advance(4)
    assert sent(world, wallet) >= before + 3
    assert abs(price(world) - START) <= 1
    set_rate(world, 120_000_000)
    world.advance(2)
    assert abs(price(world) - 114_942_500) <= 1


@pytest.mark.parametrize(("market", "sold"), [(105_000_000, "eurc"), (115_000_000, "usdc")])
def test_no_more_than_ordered_and_owned(world: World, market: int, sold: str) -> None:
    """5 EURC or their worth a time, until 12 EURC and 12 USDC are spent; then nothing."""
    set_rate(world, market)
    wallet = add_arbitrageur(world, market, 12 * 10**6, 12 * 10**6, max_eurc=5 * 10**6)
    world.advance(6)
    moved = [f for f in world.run.events if isinstance(f, ev.PoolBalanced)]
    spent = [f.eurc_in if sold == "eurc" else -f.usdc_out for f in moved]
    assert (
        spent
        == {
            "eurc": [5 * 10**6, 5 * 10**6, 2 * 10**6],
            "usdc": [5_750_000, 5_750_000, 500_000],
        }[sold]
    )
    token = getattr(world.chain.addresses, sold)
    assert world.do(world.chain.balance(token, wallet.address)) == 0


# --- What it changes ---


def thin(**settings: str) -> Scenario:
    """Seven minutes of thin-liquidity with a pool of half the depth."""
    shorter: dict[str, str | int] = {
        "duration": "7 min",
        "market.pool": "500000 USDC",
        "buyers.0.count": 10,
        "buyers.0.arrivals.every": "30 s",
        "buyers.1.count": 2,
        "buyers.1.start": "1 min",
        "buyers.1.arrivals.every": "3 min",
        "buyers.2.start": "5 min",
    }
    changed = {name.replace("__", "."): value for name, value in settings.items()}
    return load(project_root() / "scenarios/thin-liquidity.yaml", shorter | changed)


def play(scenario: Scenario) -> Run:
    run = Experiment(scenario).run()
    assert run.finished
    assert {} == run.invariants_broken
    return run


@pytest.fixture(scope="module")
def helped() -> Run:
    return play(thin())


def test_without_it_a_thin_pool_refuses_twice_as_many(helped: Run) -> None:
    """The same buyers and the same market; only who brings the price back is missing."""
    alone = play(thin(market__arbitrageur="none"))
    moves = [fact for fact in helped.events if isinstance(fact, ev.PoolBalanced)]
    assert moves
    assert not [fact for fact in alone.events if isinstance(fact, ev.PoolBalanced)]
    assert all(
        abs(fact.price_after_e8 - fact.reference_rate_e8)
        < abs(fact.price_before_e8 - fact.reference_rate_e8)
        for fact in moves
    )
    assert helped.outcomes["executed"] > helped.outcomes["refunded"] > 0
    assert alone.outcomes["refunded"] >= 2 * helped.outcomes["refunded"]
    assert sum(helped.outcomes.values()) == sum(alone.outcomes.values()) == 15


def test_the_same_seed_the_same_trades(helped: Run) -> None:
    assert helped.trace_hash == play(thin()).trace_hash
