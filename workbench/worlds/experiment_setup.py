"""The beginning of an experiment: every participant exists, has its money, and starts to act."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from workbench.core import facts as ev
from workbench.core.errors import (
    WorkbenchError,
)
from workbench.core.ports import Addresses
from workbench.evm.codec.abi import encode_call
from workbench.evm.transactions.signer import KeySigner
from workbench.evm.transactions.test_keys import key_of
from workbench.scenario import ArbitrageurSettings, Order, Scenario
from workbench.services.otc.buyer import BuyerRules
from workbench.services.otc.offer_check import DAY_S
from workbench.sim.checks.auditor import Auditor, InvariantFindings
from workbench.sim.checks.bookkeeper import PayoutChecker, WalletSpec
from workbench.sim.checks.planted_rules import ForeignSigner, VaultLeak
from workbench.sim.people.arbitrageur import SimArbitrageur
from workbench.sim.people.buyers import BuyerPlan, SimBuyer, buyer_plans
from workbench.sim.people.liquidity_provider import SimLiquidityProvider
from workbench.sim.people.market import MarketRate, SimMarket
from workbench.sim.people.subscriber import URL as SUBSCRIBER_URL
from workbench.sim.people.subscriber import SimSubscriber
from workbench.sim.people.users import HALF_CLOSED, SimUser, UserPlan, UserTally, user_plans
from workbench.sim.people.wallet import ANY_FEE_WEI, SimWallet
from workbench.sim.rng import SeededStreams
from workbench.store.ledger.database import LedgerStore
from workbench.worlds.conditions import PAYOUTS_URL, SELLER_URL
from workbench.worlds.gate import RunGate
from workbench.worlds.session import Session
from workbench.worlds.virtual import World

T = TypeVar("T")
GAS_MONEY_WEI = 10**18
"""Native currency for an account that sends transactions of its own."""
DEEP_POCKETS = 10**18
"""EURC and USDC of the arbitrageur in base units: 10**12 of each, more than any market needs."""
MAX_UINT256 = 2**256 - 1
YPS_PER_USDC = 10**12
"""Base units of YPS for one base unit of USDC, in a pool without yield."""
PER_BLOCK = 200
"""Number of buyers that receive their money in one block."""


@dataclass(frozen=True)
class ScenarioProgress:
    """How far a run is, in virtual seconds, with the settlements seen and ended."""

    now_s: int
    duration_s: int
    settlements: int
    ended: int


class ExperimentSetup:
    """The state of an experiment, and the coroutines that prepare it."""

    world: World
    auditor: Auditor
    _addresses: Addresses
    _batcher: str | None

    def __init__(
        self,
        scenario: Scenario,
        seed: int | None = None,
        progress: Callable[[ScenarioProgress], None] = lambda _: None,
        orders: Iterable[Order] = (),
    ) -> None:
        self.orders = tuple(orders)
        self._gate: RunGate | None = RunGate(self.orders) if self.orders else None
        self._session: Session | None = None
        self._is_begun = False
        self.scenario = scenario
        self.seed = scenario.seed if seed is None else seed
        self._progress = progress
        self._streams = SeededStreams(self.seed)
        market = scenario.market
        self._path = SimMarket(market.path, market.step_s, self._streams.stream("market"))
        self._rate = MarketRate(self._path)
        self.failure: Exception | None = None
        self.interrupt: KeyboardInterrupt | None = None
        self.bookkeeper: PayoutChecker | None = None
        self._buyers: list[SimBuyer] = []
        self._agents: list[asyncio.Task[None]] = []
        self._market: list[asyncio.Task[None]] = []
        self._block_s = scenario.chain.block_time_ms / 1000

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return self.world.do(work)

    async def _begin(self) -> None:
        """Create every participant with its money, then start the clock of the scenario."""
        world, scenario = self.world, self.scenario
        chain = scenario.chain
        await world.rpc.call("evm_setBlockGasLimit", hex(chain.block_gas_limit))
        self._deployer = self._operator_wallet("deployer")
        came = [
            plan
            for n, group in enumerate(scenario.buyers)
            for plan in buyer_plans(n, group, self._streams.stream("visits", n))
        ]
        agents = [self._agent(plan) for plan in sorted(came, key=lambda each: each.at_ms)]
        self._buyers = agents
        await self._give_money(agents)
        provider = SimLiquidityProvider(
            world.chain,
            self._deployer,
            world.deployment["LiquiditySeeder"],
            world.deployment.pool_key,
            world.faults,
            self._streams.stream("provider"),
        )
        if scenario.market.arbitrageur is not None:
            await self._add_arbitrageur(scenario.market.arbitrageur)
        findings = InvariantFindings(self._tell_broken)
        users = await self._open_counter(findings)
        self.auditor = self._auditor(agents, findings)
        await self.auditor.begin()
        await world.begin_faults()
        if self._gate is not None:
            self._gate.begin(world)
        world.miner.before_block.append(provider.before_block)
        world.miner.after_block.append(self.auditor.after_block)
        if self.bookkeeper is not None:
            await self.bookkeeper.begin()
            world.miner.after_block.append(self.bookkeeper.after_block)
        self._plant_around()
        self._tell_buyers()
        self._tell_market()
        self._market = [asyncio.ensure_future(self._move_market())]
        acting = [*(agent.run() for agent in agents), *(user.run() for user in users)]
        self._agents = [asyncio.ensure_future(each) for each in acting]

    def _tell_buyers(self) -> None:
        """Record every planned buyer, in the order of arrival."""
        for agent in self._buyers:
            plan, known = agent.plan, self._by_us()
            known |= {"subject": plan.name, "kind": plan.group.kind, "units": plan.units}
            known |= {"address": agent.buyer.address, "comes_ms": known["at_ms"] + plan.at_ms}
            self.world.tell(ev.BuyerPlanned(**known))

    def _operator_wallet(self, role: str) -> SimWallet:
        """Return a wallet that pays any base fee: it acts inside the miner, which must not fail."""
        world = self.world
        return SimWallet(world.rpc, key_of(role).secret, world.deployment.chain_id, ANY_FEE_WEI)

    async def _add_arbitrageur(self, rules: ArbitrageurSettings) -> None:
        """Fund the arbitrageur for both directions. It acts before each block from now on."""
        world = self.world
        at, balancer = world.chain.addresses, world.deployment["PoolBalancer"]
        wallet = self._operator_wallet("balancer")
        mint = encode_call("MockEURC", "mint", wallet.address, DEEP_POCKETS)
        approve = encode_call("MockEURC", "approve", balancer, MAX_UINT256)
        minted = [await self._deployer.send(token, mint) for token in (at.eurc, at.usdc)]
        allowed = [await wallet.send(token, approve) for token in (at.eurc, at.usdc)]
        await self._mined(minted + allowed)
        key, clock = world.deployment.pool_key, world.clock
        arbitrageur = SimArbitrageur(world.chain, wallet, balancer, key, self._rate, clock, rules)
        world.miner.before_block.append(arbitrageur.before_block)

    def _plant_around(self) -> None:
        """Add the planted faults that act around the services: a leak in the vault, a foreign
        signer."""
        world, rule = self.world, self.scenario.plant
        at = world.chain.addresses
        if rule == "leak":
            world.miner.before_block.append(VaultLeak(world.rpc, at.eurc, at.vault).before_block)
        elif rule == "foreign_nonce":
            key = key_of("facilitator").secret
            wallet = SimWallet(world.rpc, key, world.deployment.chain_id)
            world.miner.before_block.append(ForeignSigner(wallet).before_block)

    def _agent(self, plan: BuyerPlan) -> SimBuyer:
        """Return the simulated buyer of a plan."""
        world, group, seller = self.world, plan.group, self.scenario.seller
        key = self._streams.key(plan.name)
        rules = BuyerRules(
            slippage_bps=group.slippage_bps,
            ceiling_eurc=None,  # The scenario limits what its buyers have and buy.
            max_deadline_s=max(DAY_S, seller.quote_lifetime_s + seller.swap_window_s),
            fund_by=group.fund_by,
            poll_s=seller.poll_ms / 1000,
            timeout_s=group.patience_s,
        )
        return SimBuyer(
            plan=plan,
            buyer=world.wiring.buyer(key, rules, world.http_of("buyer", plan.name)),
            signer=KeySigner(key),
            wallet=SimWallet(world.rpc, key, world.deployment.chain_id),
            chain=world.chain,
            clock=world.clock,
            seller_url=SELLER_URL,
            quote_lifetime_s=seller.quote_lifetime_s,
            tell=world.tell,
        )

    async def _give_money(self, agents: list[SimBuyer]) -> None:
        """Send EURC to every buyer, and native currency to those who send transactions."""
        eurc = self.world.chain.addresses.eurc
        waiting: list[str] = []
        for n, agent in enumerate(agents):
            group, address = agent.plan.group, agent.buyer.address
            data = encode_call("MockEURC", "mint", address, group.wallet_eurc)
            waiting.append(await self._deployer.send(eurc, data))
            if group.kind in ("drains", "revokes"):
                waiting.append(await self._deployer.send(address, value=GAS_MONEY_WEI))
            if n % PER_BLOCK == PER_BLOCK - 1 or n == len(agents) - 1:
                await self._mined(waiting)
                waiting.clear()

    async def _open_counter(self, findings: InvariantFindings) -> list[SimUser]:
        """Create the users of payouts, fund the paying wallet, and return the users.

        Returns nobody if the scenario has no payouts.
        """
        world, side = self.world, self.scenario.payouts
        if side is None:
            return []
        came = [
            plan
            for n, group in enumerate(side.users)
            for plan in user_plans(n, group, self._streams.stream("users", n))
        ]
        credits_ = world.conditions.credits
        assert credits_.units_per_credit is not None
        address = key_of("payer").address.lower()
        chain_id = world.deployment.chain_id
        known = (credits_.token, credits_.units_per_credit, chain_id, self._batcher)
        wallet_spec = WalletSpec(address, *known)
        await self._fill(wallet_spec, sum(n for plan in came for _, n in plan.earns))
        for plan in came:
            if plan.group.kind == "refuses":
                for n in range(len(plan.asks)):
                    await world.rpc.call("anvil_setCode", plan.receiver(n), HALF_CLOSED)
        tally, subscriber = UserTally(), SimSubscriber(world.clock)
        world.http.services[SUBSCRIBER_URL] = subscriber
        store = world.stores["payouts"]
        assert isinstance(store, LedgerStore)
        self.bookkeeper = PayoutChecker(world.rpc, store, wallet_spec, tally, subscriber, findings)
        return [self._user(plan, tally) for plan in came]

    def _user(self, plan: UserPlan, tally: UserTally) -> SimUser:
        world = self.world
        http = world.wiring.http(plan.name)
        return SimUser(plan, http, world.clock, PAYOUTS_URL, tally, world.tell)

    async def _fill(self, wallet_spec: WalletSpec, credits_: int) -> None:
        """Send the paying wallet all that users can earn, and native currency for gas."""
        at, wallet = self.world.chain.addresses, self._deployer
        units = credits_ * wallet_spec.units_per_credit
        gas = GAS_MONEY_WEI if wallet_spec.token else GAS_MONEY_WEI + units
        sent = [await wallet.send(wallet_spec.address, value=gas)]
        if wallet_spec.token == at.usdc:
            mint = encode_call("MockUSDC", "mint", wallet_spec.address, units)
            sent.append(await wallet.send(at.usdc, mint))
        elif wallet_spec.token == at.asset:
            cost = -(-units // YPS_PER_USDC)
            mint = encode_call("MockUSDC", "mint", wallet.address, cost)
            sent.append(await wallet.send(at.usdc, mint))
            allow = encode_call("MockUSDC", "approve", at.asset, cost)
            sent.append(await wallet.send(at.usdc, allow))
            into = encode_call("YieldPoolShare", "deposit", cost, wallet_spec.address)
            sent.append(await wallet.send(at.asset, into))
        await self._mined(sent)

    async def _mined(self, transactions: list[str]) -> None:
        """Let blocks pass until all transactions are mined."""
        for _ in range(PER_BLOCK):
            await self.world.pass_time(self._block_s)
            if all([await self._deployer.ok(tx) for tx in transactions]):
                return
        raise WorkbenchError(
            "everybody's money does not fit into blocks this small.",
            hint="Raise chain.block_gas_limit.",
        )

    def _auditor(self, agents: list[SimBuyer], findings: InvariantFindings) -> Auditor:
        """Return the auditor of this world."""
        world = self.world
        roles = ["seller", "facilitator", "keeper", *(["payer"] if self.bookkeeper else [])]
        signers = [key_of(role).address.lower() for role in roles]
        accounts = [signers[0], *(agent.buyer.address for agent in agents)]
        finality = self.scenario.chain.finality_blocks
        pool = world.deployment["PoolManager"]
        return Auditor(world.chain, pool, accounts, signers, self._knows, finality, findings)

    async def _knows(self, tx: str) -> bool:
        """Return True if a service's store has the transaction."""
        for name in self.world.services:
            async with self.world.stores[name].unit() as unit:
                if await unit.knows(tx):
                    return True
        return False

    async def _move_market(self) -> None:
        """Move the market step by step, until cancelled."""
        while True:
            await self.world.clock.sleep(self.scenario.market.step_s)
            before = self._path.rate_e8
            if self._path.step() != before:
                self._tell_market()

    def _tell_market(self) -> None:
        rate = self._path.rate_e8
        self.world.tell(ev.MarketMoved(**self._by_us(), usdc_per_eurc_e8=rate))

    def _tell_broken(self, invariant: str, message: str, subject: str) -> None:
        told = self._by_us() | {"subject": subject}
        self.world.tell(ev.InvariantBroken(**told, invariant=invariant, message=message))

    def _by_us(self) -> dict[str, Any]:
        return {"subject": "", "at_ms": self.world.clock.now_ms(), "source": "simulator"}
