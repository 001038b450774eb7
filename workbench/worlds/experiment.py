"""A scenario played to its end: one world, its people, its faults, and who checks them all."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from workbench.core import facts as ev
from workbench.core.errors import (
    AlreadyPlayed,
    IllegalTransition,
    PeerUnreachable,
    RpcUnreachable,
    StoreError,
    WorkbenchError,
)
from workbench.core.finality import FinalityPolicy
from workbench.core.invariants import no_state_without_its_fact
from workbench.core.ports import Addresses, Request
from workbench.core.settlement import OPEN
from workbench.evm.codec.abi import encode_call
from workbench.evm.deploy.plan import BATCHER, DeploymentPlan
from workbench.evm.node.boot import boot
from workbench.evm.transactions.signer import KeySigner
from workbench.evm.transactions.test_keys import key_of
from workbench.results.run import Run
from workbench.scenario import ArbitrageurSettings, Order, Scenario
from workbench.services.common import peers
from workbench.services.otc.buyer import BuyerRules
from workbench.services.otc.offer_check import DAY_S
from workbench.services.otc.rates import EuroPrice
from workbench.sim.checks.auditor import Auditor, InvariantFindings
from workbench.sim.checks.bookkeeper import PayoutChecker, WalletSpec
from workbench.sim.checks.planted_rules import PAY_BEFORE_FINAL, ForeignSigner, VaultLeak, plant
from workbench.sim.people.arbitrageur import SimArbitrageur
from workbench.sim.people.buyers import BuyerPlan, SimBuyer, visits
from workbench.sim.people.liquidity_provider import SimLiquidityProvider
from workbench.sim.people.market import MarketRate, SimMarket
from workbench.sim.people.subscriber import SECRET as SUBSCRIBER_SECRET
from workbench.sim.people.subscriber import URL as SUBSCRIBER_URL
from workbench.sim.people.subscriber import SimSubscriber
from workbench.sim.people.users import HALF_CLOSED, SimUser, UserPlan, UserTally, errands
from workbench.sim.people.wallet import ANY_FEE_WEI, SimWallet
from workbench.sim.rng import SeededStreams
from workbench.store.ledger.database import LedgerStore
from workbench.worlds.factories import addresses_of, local_keys
from workbench.worlds.gate import RunGate
from workbench.worlds.replay import orders_again, scenario_again
from workbench.worlds.session import Session
from workbench.worlds.virtual import PAYOUTS_URL, SELLER_URL, SERVICES, World, WorldConditions
from workbench.worlds.wiring import TOKEN_NAMES, PayoutConfig, WorldRules

T = TypeVar("T")
GAS_MONEY_WEI = 10**18
DEEP_POCKETS = 10**18
"""What the arbitrageur has of EURC and of USDC: a million million, more than any market needs."""
MAX_UINT256 = 2**256 - 1
YPS_PER_USDC = 10**12
"""Base units of YPS for one of USDC, in a pool without yield."""
UNITS_PER_CREDIT = {"eth": 10**15, "erc20": 10**16, "eip3009": 10**4}
"""A credit is 0.001 ETH, 0.01 YPS or 0.01 USDC."""
RECONCILE_S = 10.0
PER_BLOCK = 200
"""How many buyers are given their money in one block."""
STEP_S = 10
"""Virtual seconds between two looks at the time, and at Ctrl-C."""
SPARE_BLOCKS = 8
"""After the last end, until its confirmations are there; and then until they are gathered."""
GATHERED = ("seller", "facilitator")
"""The services about settlements, whose facts the tracker gathers."""


@dataclass(frozen=True)
class ScenarioProgress:
    """How far a run is: virtual seconds, settlements seen and ended."""

    now_s: int
    duration_s: int
    settlements: int
    ended: int


class Experiment:
    """One scenario with one seed. `run()` plays it, or `start()` in the background; once.

    Raises the errors of booting a world. What goes wrong inside is a fact of the run.
    `orders`: faults that a person ordered in an earlier run, to be repeated in this one.
    """

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
        self._dice = SeededStreams(self.seed)
        market = scenario.market
        self._path = SimMarket(market.path, market.step_s, self._dice.stream("market"))
        self._rate = MarketRate(self._path)
        self.failure: Exception | None = None
        self.interrupt: KeyboardInterrupt | None = None
        self.bookkeeper: PayoutChecker | None = None
        self._buyers: list[SimBuyer] = []
        self._agents: list[asyncio.Task[None]] = []
        self._market: list[asyncio.Task[None]] = []
        self._block_s = scenario.chain.block_time_ms / 1000

    def run(self) -> Run:
        """To the end, to an `interrupt` (Ctrl-C, SIGTERM), or to a `failure`.

        What was run is in the Run in any case. Raises AlreadyPlayed the second time.
        """
        self._begin_once()
        return self._run()

    def start(self, *, pace: float | None = None) -> Session:
        """Play it in a thread of its own, and return at once.

        `pace`: virtual seconds for each second of wall time; None: as fast as possible.
        Raises AlreadyPlayed the second time.
        """
        session = Session(self.scenario, self.seed, self.orders, pace)
        self._begin_once()
        self._gate, self._session = session.gate, session
        session.play(self._run, lambda: self.failure)
        return session

    def _begin_once(self) -> None:
        if self._is_begun:
            raise AlreadyPlayed(
                f"this experiment with {self.scenario.name} was started before.",
                hint="Make another: Experiment(scenario, seed).",
            )
        self._is_begun = True

    def _run(self) -> Run:
        scenario = self.scenario
        node, deployment = boot(plan=plan_of(scenario), state_root=scenario.has_state_roots)
        self._addresses = addresses_of(deployment.addresses)
        self._batcher = deployment.addresses.get(BATCHER, "").lower() or None
        with World(
            node,
            deployment,
            self._addresses,
            local_keys(),
            rules_of(self.scenario),
            self.seed,
            self._conditions(),
        ) as self.world:
            finished = False
            self.world.occupied_by = f"an experiment with {scenario.name}"
            self.world.loop.gate = self._gate
            try:
                if self._session is not None:
                    self._session.boots(self.world)
                self._do(self._begin())
                self._play()
                finished = True
            except KeyboardInterrupt as why:
                self.interrupt = why
            except Exception as why:  # noqa: BLE001 - what it was is told; what was run, too
                # Services wait out what is injected: only a lost node comes as far as here.
                self.failure = _lost(why) if isinstance(why, RpcUnreachable) else why
            self._do(self._send_home())
            return self._gather(finished)

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return self.world.do(work)

    def _conditions(self) -> WorldConditions:
        scenario, seller = self.scenario, self.scenario.seller
        euro = EuroPrice(seller.price, self._path.rate_e8, self._rate)
        here = [name for name in SERVICES if name != "payouts" or scenario.payouts]
        return WorldConditions(
            chain=scenario.chain,
            faults=scenario.faults,
            slow_ms={"seller": seller.delay_ms} if seller.delay_ms else {},
            market=self._rate,
            prices=euro if seller.price_follows_market else None,
            on_launch=partial(plant, scenario.plant),
            on_torn=self._tell_torn,
            services=tuple(here),
            credits=credits_of(scenario, self._addresses, self._batcher),
            takes_orders=self._gate is not None,
        )

    # --- Before ---

    async def _begin(self) -> None:
        """Everybody has what they own, and then the clock of the scenario starts."""
        world, scenario = self.world, self.scenario
        chain = scenario.chain
        await world.rpc.call("evm_setBlockGasLimit", hex(chain.block_gas_limit))
        self._deployer = self._rich_hand("deployer")
        came = [
            visit
            for n, group in enumerate(scenario.buyers)
            for visit in visits(n, group, self._dice.stream("visits", n))
        ]
        agents = [self._agent(visit) for visit in sorted(came, key=lambda each: each.at_ms)]
        self._buyers = agents
        await self._give_money(agents)
        provider = SimLiquidityProvider(
            world.chain,
            self._deployer,
            world.deployment["LiquiditySeeder"],
            world.deployment.pool_key,
            world.faults,
            self._dice.stream("provider"),
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
        """Every buyer that the scenario ordered, in the order of coming: also who never comes."""
        for agent in self._buyers:
            visit, known = agent.visit, self._by_us()
            known |= {"subject": visit.name, "kind": visit.group.kind, "units": visit.units}
            known |= {"address": agent.buyer.address, "comes_ms": known["at_ms"] + visit.at_ms}
            self.world.tell(ev.BuyerPlanned(**known))

    def _rich_hand(self, role: str) -> SimWallet:
        """One whom no base fee stops: it acts inside the miner, which must not end."""
        world = self.world
        return SimWallet(world.rpc, key_of(role).secret, world.deployment.chain_id, ANY_FEE_WEI)

    async def _add_arbitrageur(self, rules: ArbitrageurSettings) -> None:
        """With money for both directions; from now on it looks at the pool before blocks."""
        world = self.world
        at, balancer = world.chain.addresses, world.deployment["PoolBalancer"]
        hand = self._rich_hand("balancer")
        mint = encode_call("MockEURC", "mint", hand.address, DEEP_POCKETS)
        approve = encode_call("MockEURC", "approve", balancer, MAX_UINT256)
        minted = [await self._deployer.send(token, mint) for token in (at.eurc, at.usdc)]
        allowed = [await hand.send(token, approve) for token in (at.eurc, at.usdc)]
        await self._mined(minted + allowed)
        key, clock = world.deployment.pool_key, world.clock
        arbitrageur = SimArbitrageur(world.chain, hand, balancer, key, self._rate, clock, rules)
        world.miner.before_block.append(arbitrageur.before_block)

    def _plant_around(self) -> None:
        """Broken rules that no service breaks, but the world around them."""
        world, rule = self.world, self.scenario.plant
        at = world.chain.addresses
        if rule == "leak":
            world.miner.before_block.append(VaultLeak(world.rpc, at.eurc, at.vault).before_block)
        elif rule == "foreign_nonce":
            key = key_of("facilitator").secret
            hand = SimWallet(world.rpc, key, world.deployment.chain_id)
            world.miner.before_block.append(ForeignSigner(hand).before_block)

    def _agent(self, visit: BuyerPlan) -> SimBuyer:
        world, group, seller = self.world, visit.group, self.scenario.seller
        key = self._dice.key(visit.name)
        rules = BuyerRules(
            slippage_bps=group.slippage_bps,
            ceiling_eurc=None,  # A scenario says what its buyers have, and what they buy.
            max_deadline_s=max(DAY_S, seller.quote_lifetime_s + seller.swap_window_s),
            fund_by=group.fund_by,
            poll_s=seller.poll_ms / 1000,
            timeout_s=group.patience_s,
        )
        return SimBuyer(
            visit=visit,
            buyer=world.wiring.buyer(key, rules, world.http_of("buyer", visit.name)),
            signer=KeySigner(key),
            hand=SimWallet(world.rpc, key, world.deployment.chain_id),
            chain=world.chain,
            clock=world.clock,
            seller_url=SELLER_URL,
            quote_lifetime_s=seller.quote_lifetime_s,
            tell=world.tell,
        )

    async def _give_money(self, agents: list[SimBuyer]) -> None:
        """EURC for everyone, gas money for those who will send transactions of their own."""
        eurc = self.world.chain.addresses.eurc
        waiting: list[str] = []
        for n, agent in enumerate(agents):
            group, address = agent.visit.group, agent.buyer.address
            data = encode_call("MockEURC", "mint", address, group.wallet_eurc)
            waiting.append(await self._deployer.send(eurc, data))
            if group.kind in ("drains", "revokes"):
                waiting.append(await self._deployer.send(address, value=GAS_MONEY_WEI))
            if n % PER_BLOCK == PER_BLOCK - 1 or n == len(agents) - 1:
                await self._mined(waiting)
                waiting.clear()

    async def _open_counter(self, findings: InvariantFindings) -> list[SimUser]:
        """The users of the payout service, a wallet that can pay all they ask, and who checks it.

        Nobody, where the scenario has no payouts.
        """
        world, side = self.world, self.scenario.payouts
        if side is None:
            return []
        came = [
            errand
            for n, group in enumerate(side.users)
            for errand in errands(n, group, self._dice.stream("users", n))
        ]
        credits_ = world.conditions.credits
        assert credits_.units_per_credit is not None
        address = key_of("payer").address.lower()
        chain_id = world.deployment.chain_id
        known = (credits_.token, credits_.units_per_credit, chain_id, self._batcher)
        purse = WalletSpec(address, *known)
        await self._fill(purse, sum(n for errand in came for _, n in errand.earns))
        for errand in came:
            if errand.group.kind == "refuses":
                for n in range(len(errand.asks)):
                    await world.rpc.call("anvil_setCode", errand.receiver(n), HALF_CLOSED)
        tally, subscriber = UserTally(), SimSubscriber(world.clock)
        world.http.services[SUBSCRIBER_URL] = subscriber
        store = world.stores["payouts"]
        assert isinstance(store, LedgerStore)
        self.bookkeeper = PayoutChecker(world.rpc, store, purse, tally, subscriber, findings)
        return [self._user(errand, tally) for errand in came]

    def _user(self, errand: UserPlan, tally: UserTally) -> SimUser:
        world = self.world
        http = world.wiring.http(errand.name)
        return SimUser(errand, http, world.clock, PAYOUTS_URL, tally, world.tell)

    async def _fill(self, purse: WalletSpec, credits_: int) -> None:
        """All that can be earned, and gas money, by transactions like everybody's."""
        at, hand = self.world.chain.addresses, self._deployer
        units = credits_ * purse.units_per_credit
        gas = GAS_MONEY_WEI if purse.token else GAS_MONEY_WEI + units
        sent = [await hand.send(purse.address, value=gas)]
        if purse.token == at.usdc:
            mint = encode_call("MockUSDC", "mint", purse.address, units)
            sent.append(await hand.send(at.usdc, mint))
        elif purse.token == at.asset:
            cost = -(-units // YPS_PER_USDC)
            mint = encode_call("MockUSDC", "mint", hand.address, cost)
            sent.append(await hand.send(at.usdc, mint))
            allow = encode_call("MockUSDC", "approve", at.asset, cost)
            sent.append(await hand.send(at.usdc, allow))
            into = encode_call("YieldPoolShare", "deposit", cost, purse.address)
            sent.append(await hand.send(at.asset, into))
        await self._mined(sent)

    async def _mined(self, transactions: list[str]) -> None:
        for _ in range(PER_BLOCK):
            await self.world.pass_time(self._block_s)
            if all([await self._deployer.ok(tx) for tx in transactions]):
                return
        raise WorkbenchError(
            "everybody's money does not fit into blocks this small.",
            hint="Raise chain.block_gas_limit.",
        )

    def _auditor(self, agents: list[SimBuyer], findings: InvariantFindings) -> Auditor:
        world = self.world
        roles = ["seller", "facilitator", "keeper", *(["payer"] if self.bookkeeper else [])]
        signers = [key_of(role).address.lower() for role in roles]
        accounts = [signers[0], *(agent.buyer.address for agent in agents)]
        finality = self.scenario.chain.finality_blocks
        pool = world.deployment["PoolManager"]
        return Auditor(world.chain, pool, accounts, signers, self._knows, finality, findings)

    async def _knows(self, tx: str) -> bool:
        for name in self.world.services:
            async with self.world.stores[name].unit() as unit:
                if await unit.knows(tx):
                    return True
        return False

    # --- Meanwhile ---

    async def _move_market(self) -> None:
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

    def _tell_torn(self, name: str, why: IllegalTransition) -> None:
        """A journal that misses a fact: its service can go on no more, and everybody else does."""
        subject = why.message.partition(":")[0]
        self._tell_broken(no_state_without_its_fact.__name__, f"the {name}: {why.message}", subject)

    def _by_us(self) -> dict[str, Any]:
        return {"subject": "", "at_ms": self.world.clock.now_ms(), "source": "simulator"}

    def _play(self) -> None:
        """The safety phase with its faults, then quiet until everything has ended, or should."""
        world, scenario = self.world, self.scenario
        start = world.now
        if self._session is not None:
            self._session.begins(world)
        while world.now - start < scenario.duration_s:
            self._do(world.pass_time(STEP_S))
            self._report(world.now - start)
        self._do(world.end_faults())
        if self._session is not None:
            self._session.quiets()
        limit = scenario.duration_s + scenario.settle_s
        while not (ended := self._do(self._all_ended())) and world.now - start < limit:
            self._do(world.pass_time(STEP_S))
            self._report(world.now - start)
        self._do(self._finish(ended))

    def _report(self, now_s: int) -> None:
        settlements = self.auditor.settlements
        ended = len(settlements) - len(self.auditor.open)
        self._progress(ScenarioProgress(now_s, self.scenario.duration_s, len(settlements), ended))

    async def _all_ended(self) -> bool:
        books = self.bookkeeper
        paying = books is not None and (bool(books.open) or not books.is_told)
        still = self._open() or paying
        return not still and all(agent.done() for agent in self._agents)

    def _open(self) -> list[str]:
        """Settlements without an end, on the chain or in the eyes of a service."""
        books = [self.world.seller.book, self.world.facilitator.book]
        theirs = [each.id for book in books for each in book.open() if each.state in OPEN]
        return list(dict.fromkeys([*self.auditor.open, *theirs]))

    # --- After ---

    async def _finish(self, ended: bool) -> None:
        chain = self.scenario.chain
        for result in await self._send_home():
            if isinstance(result, AssertionError):
                self._tell_broken("agents", str(result), "")
            elif isinstance(result, Exception):
                raise result
        late = [] if ended else self._open()
        await self.world.pass_time((chain.finality_blocks + SPARE_BLOCKS) * self._block_s)
        own = [f for name in GATHERED for f in await self.world.journal(name) if f.source == name]
        await self.world.pass_time(SPARE_BLOCKS * self._block_s)
        journal = await self.world.journal("tracker")
        known = {ev.to_json(fact) for fact in journal}
        lost = [f"{f.type} of {f.subject}" for f in own if ev.to_json(f) not in known]
        await self.auditor.whole(
            journal,
            views={name: await self._shown(name) for name in (*GATHERED, "tracker")},
            late=tuple(late),
            untold=tuple(lost),
            ends_of=self._ends_of_buyers(),
        )
        if self.bookkeeper is not None:
            await self.bookkeeper.whole(over=not ended)
        await self._tell_balances()

    def _ends_of_buyers(self) -> dict[str, int]:
        """How often the journal says of each buyer who came what became of it."""
        kinds = (ev.BuyerServed, ev.BuyerGaveUp)
        told = Counter(fact.subject for fact in self.world.events if isinstance(fact, kinds))
        return {each.visit.name: told[each.visit.name] for each in self._buyers if each.has_come}

    async def _shown(self, name: str) -> dict[str, str]:
        """What a service tells anybody who asks it about the settlements of this run."""
        shown = {}
        for identity in self.auditor.settlements:
            request = Request("GET", f"http://{name}/settlement/{identity}")
            try:
                given = await self.world.http.send(request)
                answer = peers.decoded(given, dict[str, Any], name)
            except PeerUnreachable as why:
                answer = why.to_json()
            word = str(answer.get("state", answer.get("error")))
            # The contract has no word of its own for a deadline that has passed.
            shown[identity] = self._folded(name, identity) if word == "expired" else word
        return shown

    def _folded(self, name: str, identity: str) -> str:
        settlement = getattr(self.world, name).book.get(identity)
        return settlement.contract_state if settlement else "unknown"

    async def _send_home(self) -> list[Any]:
        """Nobody buys any more, and the market stands; what became of each, cancelled ones too."""
        people = [*self._agents, *self._market]
        for each in people:
            each.cancel()
        return await asyncio.gather(*people, return_exceptions=True)

    async def _tell_balances(self) -> None:
        world = self.world
        head = await world.chain.head()
        block = ev.BlockRef(head.number, head.hash, "", -1)
        names = _names(world)
        accounts = {each: each for each in self.auditor.accounts if each != names["pool"]} | names
        for account, address in accounts.items():
            for symbol, token in TOKEN_NAMES.items():
                units = await world.chain.balance(getattr(world.chain.addresses, token), address)
                known = {**self._by_us(), "block": block}
                fact = ev.BalanceObserved(**known, account=account, token=symbol, amount=units)
                world.tell(fact)

    def _gather(self, finished: bool) -> Run:
        return Run(
            tuple(self.world.events),
            chain_id=self.world.deployment.chain_id,
            scenario=self.scenario,
            seed=self.seed,
            finished=finished,
            orders=tuple(self._gate.taken) if self._gate else (),
        )


def again(
    run: Run,
    *,
    until_s: float | None = None,
    without: object = None,
    with_: object = None,
    progress: Callable[[ScenarioProgress], None] = lambda _: None,
) -> Experiment:
    """The experiment that `Run.again` plays; see there."""
    scenario = run.scenario
    if scenario is None:
        raise StoreError(
            "this is not the run of a scenario, so there is nothing to play again.",
            hint="Runs of an Experiment, or of `workbench run`, can be played again.",
        )
    orders = orders_again(scenario, run.orders, until_s=until_s, without=without, with_=with_)
    muted = scenario_again(scenario, without, until_s)
    return Experiment(muted, run.seed, progress, orders)


def play_again(run: Run, **changes: Any) -> Run:
    """`Run.again`. Raises what the run failed with, or the interrupt that ended it."""
    experiment = again(run, **changes)
    played = experiment.run()
    if experiment.failure is not None:
        raise experiment.failure
    if experiment.interrupt is not None:
        raise experiment.interrupt
    return played


def _lost(why: Exception) -> RpcUnreachable:
    said = getattr(why, "message", str(why))  # Without its hint: to start a chain is none here.
    return RpcUnreachable(
        f"the node of this run (anvil) was lost in mid-run: {said}",
        hint="What was run until then is kept; play the scenario again.",
    )


def _names(world: World) -> dict[str, str]:
    named = {name: world.accounts[name] for name in ("seller", "vault")}
    return {**named, "pool": world.deployment["PoolManager"].lower()}


def plan_of(scenario: Scenario) -> DeploymentPlan:
    """The contracts that a scenario needs. A planted early payment needs a vault without a gate."""
    market = scenario.market
    gate = 0 if scenario.plant == PAY_BEFORE_FINAL else scenario.chain.finality_blocks
    return DeploymentPlan(
        finality_blocks=gate,
        rate_e8=market.path.points[0][1] if market.path.points else market.path.start_e8,
        band_bps=market.band_bps,
        rate_max_age_s=market.rate_max_age_s,
        lp_fee_pips=market.lp_fee_pips,
        pool_usdc=market.pool_usdc,
        seller_yps=scenario.seller.inventory_units,
        payout_batcher=scenario.payouts is not None and scenario.payouts.batch > 1,
    )


def credits_of(
    scenario: Scenario, addresses: Addresses, batcher: str | None = None
) -> PayoutConfig:
    """What the payout service is told. `batcher`: where the world has one."""
    asset = scenario.payouts.asset if scenario.payouts else "eth"
    token = {"erc20": addresses.asset, "eip3009": addresses.usdc}.get(asset)
    return PayoutConfig(
        token,
        None,
        UNITS_PER_CREDIT[asset],
        reconcile_s=RECONCILE_S,
        webhook_urls=(SUBSCRIBER_URL,) if scenario.payouts else (),
        webhook_secrets=(SUBSCRIBER_SECRET,),
        batcher=batcher,
        batch=scenario.payouts.batch if scenario.payouts else 1,
    )


def rules_of(scenario: Scenario) -> WorldRules:
    """What the services are told."""
    early = scenario.plant == PAY_BEFORE_FINAL
    return WorldRules(
        price=scenario.seller.price,
        finality=FinalityPolicy(0 if early else scenario.chain.finality_blocks),
        quote_lifetime_s=scenario.seller.quote_lifetime_s,
        swap_window_s=scenario.seller.swap_window_s,
        finality_timeout_s=scenario.facilitator.finality_timeout_s,
        poll_s=scenario.seller.poll_ms / 1000,
        facilitator_poll_s=scenario.facilitator.poll_ms / 1000,
        keeper_every_s=scenario.market.keeper_every_s,
        retries=scenario.facilitator.retries,
    )
