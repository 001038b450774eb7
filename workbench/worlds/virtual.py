"""The public face for notebooks: a whole market in one object, synchronous and on virtual time.

A `World` is the real chain with the real contracts, and the real seller, facilitator, tracker and
buyer; only time is virtual. It owns an event loop in a thread of its own, because Jupyter already
runs one in the main thread (agreement 1). Time passes during calls, never between them.
"""

from __future__ import annotations

import asyncio
import atexit
from collections.abc import Callable, Coroutine, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar
from weakref import WeakSet

from workbench.core.errors import (
    IllegalTransition,
    InvalidAmount,
    RunUnderWay,
    UnknownWorld,
    WorkbenchError,
)
from workbench.core.facts import Event, FaultOrdered, ServiceRestarted
from workbench.core.invariants import ObservedBalance
from workbench.core.money import YPS, parse_decimal
from workbench.core.ports import Addresses, Http, Request, Response, Service
from workbench.core.settlement import Settlement, merge
from workbench.evm.deploy.plan import Deployment
from workbench.evm.node.anvil import Anvil
from workbench.evm.rpc.client import Rpc
from workbench.evm.rpc.mining import MiningRpc
from workbench.results.run import Run
from workbench.scenario import FAULT_SITES, ChainSettings, Fault, Order
from workbench.services.common.loop import FaultPolicy
from workbench.services.otc.buyer import Buyer
from workbench.services.otc.rates import PriceSource, RateSource
from workbench.sim.faults.crashes import Crashes
from workbench.sim.faults.http import FaultyHttp, InProcessHttp
from workbench.sim.faults.miner import Miner
from workbench.sim.faults.rpc import LINE_SITES, FaultyRpc, Mempool
from workbench.sim.faults.sites import Crashed, Faults
from workbench.sim.rng import SeededStreams
from workbench.sim.time.garbage import seldom_searched
from workbench.sim.time.loop import SkewedClock, VirtualClock, VirtualLoop, at_once
from workbench.worlds.payout_client import PayoutClient
from workbench.worlds.wiring import (
    PayoutConfig,
    RoleKeys,
    SeededRandomness,
    Wiring,
    WorldRules,
    address_of_key,
    audit_world,
    balances,
    store_for,
)

T = TypeVar("T")
SELLER_URL, FACILITATOR_URL = "http://seller", "http://facilitator"
PAYOUTS_URL = "http://payouts"
SERVICES = ("seller", "facilitator", "tracker", "payouts")
RANKS = {"miner": 0, "facilitator": 1, "seller": 2, "payouts": 3, "tracker": 4}
"""Who comes first of those who wake at the same moment: the chain; then whoever has most to ask
of the node, so that the others work while it does."""
HTTP_SITES = [site for site in FAULT_SITES if site.startswith("http.")]
RPC_SITES = [site for site in FAULT_SITES if site.startswith(("rpc.", "tx."))]


@dataclass(frozen=True)
class WorldConditions:
    """How it is to live in a world: the chain's pace and fees, latencies, faults, the market.

    `slow_ms`: how long a host takes to answer. `market`: EUR/USD outside the pool; the keeper and
    the buyers look there. `on_launch` gets each service, by name, before it starts; `on_torn` one
    whose journal has facts that cannot follow each other, once it is ended (None: it is raised).
    `takes_orders`: any fault may be ordered while time passes (see `World.take_order`).
    """

    chain: ChainSettings = field(default_factory=ChainSettings)
    faults: tuple[Fault, ...] = ()
    slow_ms: dict[str, int] = field(default_factory=dict)
    market: RateSource | None = None
    prices: PriceSource | None = None
    on_launch: Callable[[str, Service], None] = lambda name, service: None
    on_torn: Callable[[str, IllegalTransition], None] | None = None
    services: tuple[str, ...] = SERVICES
    credits: PayoutConfig = field(default_factory=PayoutConfig)
    takes_orders: bool = False


@dataclass(frozen=True)
class Snapshot:
    """A world at one moment: chain, stores, clock and randomness together (agreement 9)."""

    world: World = field(repr=False)
    chain: str
    stores: dict[str, bytes] = field(repr=False)
    seconds: float
    chance: Any = field(repr=False)
    mempool: Any = field(repr=False)
    events: tuple[Event, ...] = field(repr=False)
    told: tuple[Event, ...] = field(repr=False)

    def restore(self) -> None:
        """Take the world back here. Can be done as often as one likes."""
        self.world._restore(self)


_OPEN: WeakSet[World] = WeakSet()


@atexit.register
def _close_all() -> None:
    """A script may end without closing its worlds."""
    for world in list(_OPEN):
        world.close()


class World:
    """See the module. Made by `workbench.simulated()`; close it, or use it in a `with`."""

    def __init__(
        self,
        node: Anvil,
        deployment: Deployment,
        addresses: Addresses,
        keys: RoleKeys,
        rules: WorldRules,
        seed: int,
        conditions: WorldConditions | None = None,
    ) -> None:
        self.node, self.deployment, self.seed = node, deployment, seed
        self.conditions = conditions or WorldConditions()
        self._addresses, self._keys, self._rules = addresses, keys, rules
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="world")
        self._is_closed = False
        self.services = self.conditions.services
        self.stores = {name: store_for(name) for name in self.services}
        self.dice = SeededStreams(seed)
        self.rpc = MiningRpc(node.url)
        self.rpc.idle_work = self._write_some
        head = self.rpc.now("eth_getBlockByNumber", "latest", False)
        self._epoch, self.first_block = int(head["timestamp"], 16), int(head["number"], 16)
        self.accounts = {
            "buyer": address_of_key(keys.buyer),
            "seller": address_of_key(keys.seller),
            "vault": addresses.vault,
        }
        self.events: list[Event] = []
        """Everything that happened, in the order in which it became known: what the tracker has
        gathered, and the simulator's own facts. It only grows, except by a `restore`."""
        self._told: list[Event] = []
        self.stores["tracker"].on_recorded = self.events.extend
        self.stores["tracker"].on_restored = self._gather_again
        self.occupied_by = ""
        """What plays in this world, in words; "" if it is the caller's alone."""
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._lines: dict[str, list[FaultyRpc | FaultyHttp]] = {}
        self._clocks: dict[str, SkewedClock] = {}
        self.clock = VirtualClock(VirtualLoop(), self._epoch)
        self.faults = Faults(
            self.conditions.faults,
            self.dice,
            lambda: self.clock.now_ms(),  # noqa: PLW0108 - the clock is another after a restore
            self.tell,
        )
        self.mempool = Mempool(self.rpc, self.faults, self.dice.stream("mempool"))
        self._start(0.0)
        _OPEN.add(self)

    def __repr__(self) -> str:
        return f"World(chain {self.deployment.chain_id}, seed {self.seed})"

    # --- What a notebook calls ---

    def buy(self, amount: str | int, *, key: str | None = None) -> Run:
        """One purchase over HTTP 402, to its end. `amount`: YPS as text ("100"), or base units.

        Raises the error that the seller answered, or that the buyer found in the offer.
        """
        units = parse_decimal(amount, YPS.decimals) if isinstance(amount, str) else amount
        if not isinstance(units, int) or units <= 0:
            hint = 'Shares as text, such as world.buy("1.5"), or whole base units.'
            raise InvalidAmount(f"amount {amount!r} is nothing that can be bought.", hint=hint)
        return self._do(self._buy(units, self.wiring.buyer(key) if key else self.buyer))

    def advance(self, blocks: int = 1) -> int:
        """Let time pass for this many blocks, services at work; the new block number."""
        return self._do(self._advance(blocks))

    def skip(self, seconds: int) -> int:
        """Let time pass with nobody at work, as when a machine sleeps; the new block number.

        The chain's next block follows that much later, and the services find out.
        """
        self._on_thread(lambda: self.loop.jump(seconds))
        return self.advance()

    def kill(self, name: str) -> None:
        """End seller, facilitator, tracker or payouts as a crash would: only its store is left."""
        self._do(self._kill(name))

    def restart(self, name: str) -> None:
        """Start a killed service again, from its store."""
        self._do(self._launch(name))

    def snapshot(self) -> Snapshot:
        """The whole world as it is now, and what every return to it will find.

        Buyers who are at it, and the auditor and market of an `Experiment`, cannot be part of it.
        So it raises RunUnderWay during an experiment, which goes on undisturbed.

        Services start anew from their stores, as they will after a `restore`: what they had only
        in mind (how much gas an act took, say) would else make the two go on differently.
        """
        if self.occupied_by:
            raise RunUnderWay(
                f"{self.occupied_by} goes on in this world, and its buyers cannot be part of a "
                "snapshot.",
                hint="Play it again up to a moment instead: run.again(until_s=…).",
            )
        taken = self._do(self._snapshot())
        self._on_thread(self._stop)
        self._start(taken.seconds)
        return taken

    @contextmanager
    def branch(self) -> Iterator[Snapshot]:
        """Try something out: after the `with` the world is where it was."""
        here = self.snapshot()
        try:
            yield here
        finally:
            here.restore()

    def get(self, url: str, **headers: str) -> Response:
        """One GET in this world's network: http://seller, http://facilitator, http://tracker.

        Header names with `_` for `-`: `world.get("http://seller/…", X_PAYMENT="…")`.
        """
        named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
        return self.send(Request("GET", url, headers=named))

    def send(self, request: Request) -> Response:
        """Any request in this world's network."""
        return self._do(self.http.send(request))

    @property
    def teller(self) -> PayoutClient:
        """Credits and payouts: earn, pay, and the ledger as frames."""
        return PayoutClient(self.send, self._do, lambda: self.payouts.payouts)

    @property
    def run(self) -> Run:
        """Everything that happened so far."""
        return Run(tuple(self.events), chain_id=self.deployment.chain_id)

    def settlement(self, settlement_id: str) -> Settlement:
        """One settlement, folded from all facts."""
        return merge(self.events)[settlement_id]

    def audit(self) -> None:
        """Raise ConservationBroken unless vault, puller and hook hold only what is owed."""
        self._do(self._audit())

    def balances(self) -> dict[tuple[str, str], int]:
        """Balances of buyer, seller and vault by (account, token), in base units."""
        return self._do(balances(self.chain, self.accounts))

    @property
    def now(self) -> int:
        """Virtual time in Unix seconds."""
        return self.clock.now_s()

    @property
    def web3(self) -> Any:
        """A web3.py client on this world's node, for whatever is missing here."""
        from web3 import HTTPProvider, Web3

        return Web3(HTTPProvider(self.node.url))

    def close(self) -> None:
        """End the services and the node."""
        _OPEN.discard(self)
        if not self.loop.is_closed():
            try:
                self._on_thread(self._stop)
            except RuntimeError:  # The interpreter ends, and the thread has gone before.
                self._stop()
        self._is_closed = True
        self._thread.shutdown()
        self.node.stop()
        for store in self.stores.values():
            store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- How it works ---

    def _start(self, seconds: float) -> None:
        """Services from what their stores hold: a start, a restart and a restore are one thing."""
        self.loop = VirtualLoop(seconds)
        self.loop.set_exception_handler(_not_crashes)
        self.clock = VirtualClock(self.loop, self._epoch)
        ranked = {name: VirtualClock(self.loop, self._epoch, rank) for name, rank in RANKS.items()}
        self._clocks = {name: SkewedClock(ranked[name]) for name in self.services}
        mortal = [name for name in self.services if self.faults.may(f"crash.{name}")]
        orders = self.conditions.takes_orders
        self.http = InProcessHttp(mortal=bool(mortal), may_become_mortal=orders)
        self.wiring = Wiring(
            chain_id=self.deployment.chain_id,
            addresses=self._addresses,
            start_block=self.deployment.deploy_block - 1,
            keys=self._keys,
            rules=self._rules,
            rpc=self._rpc,
            store=self.stores.__getitem__,
            clock=lambda name: self._clocks.get(name, self.clock),
            http=self.http_of,
            random=SeededRandomness(self.dice.stream("tokens")),
            seller_url=SELLER_URL,
            facilitator_url=FACILITATOR_URL,
            on_fault=FaultPolicy.RAISE,
            market=self.conditions.market,
            prices=self.conditions.prices,
            payouts_url=PAYOUTS_URL if "payouts" in self.services else "",
            credits=self.conditions.credits,
        )
        self.chain = self.wiring.chain("world")
        self.miner = self._miner(ranked["miner"])
        self.crashes = Crashes(
            self.faults, self.clock, self._gone, self._kill, self._launch, self._tell_restarted
        )
        for name in self.services if orders else mortal:
            self.crashes.arm(name, self.stores[name])
        self._do(self._wire())

    def _miner(self, clock: VirtualClock) -> Miner:
        chance = self.dice.stream("miner")
        chain, first = self.conditions.chain, self.first_block
        miner = Miner(self.rpc, clock, chain, self.faults, self.mempool, chance, first)
        if self.faults.may("clock.skew") or self.conditions.takes_orders:
            miner.before_block.append(self._skew_clocks)
        return miner

    async def _skew_clocks(self) -> None:
        for name, clock in self._clocks.items():
            off = self.faults.strike("clock.skew", name)
            clock.skew_s = (
                0 if self.faults.over("clock.skew") else clock.skew_s if off is None else off
            )

    def _rpc(self, name: str) -> Rpc:
        """The node itself, or a service's own shaky line to it."""
        latency_ms = self.conditions.chain.rpc_latency_ms
        shaky = latency_ms or self._may_fail(name, *LINE_SITES)
        if name == "world" or not shaky:
            return self.rpc
        line = FaultyRpc(
            self.rpc,
            name,
            self.clock,
            self.faults,
            self.mempool,
            self.dice.stream("rpc", name),
            latency_ms=latency_ms,
            first_block=self.first_block,
        )
        self._lines.setdefault(name, []).append(line)
        return line

    def _may_fail(self, name: str, *sites: str) -> bool:
        """Whether a service's line must be one on which these sites, or a crash, may be."""
        return self.conditions.takes_orders or self.faults.may(*sites, f"crash.{name}")

    def http_of(self, name: str, whose: str = "") -> Http:
        """A way to the services. `name`: who uses it; `whose`: which simulated person, if one."""
        latency_ms = self.conditions.chain.http_latency_ms
        faulty = self._may_fail(name, *HTTP_SITES)
        if not (any(latency_ms) or self.conditions.slow_ms or faulty):
            return self.http
        line = FaultyHttp(
            self.http,
            name,
            self.clock,
            self.faults,
            self.dice.stream("http", name),
            latency_ms,
            self.conditions.slow_ms,
            whose,
        )
        self._lines.setdefault(name, []).append(line)
        return line

    async def _wire(self) -> None:
        self.buyer: Buyer = self.wiring.buyer()
        self._tasks = {"miner": asyncio.ensure_future(self.miner.run())}
        for name in self.services:
            await self._launch(name)

    async def _launch(self, name: str) -> None:
        """A service from what its store holds: at the start, and after a crash."""
        service: Service
        if name == "seller":
            service = self.seller = self.wiring.seller()
        elif name == "facilitator":
            service = self.facilitator = await self.wiring.facilitator()
        elif name == "payouts":
            service = self.payouts = self.wiring.payouts()
        else:
            service = self.tracker = self.wiring.tracker()
        self.conditions.on_launch(name, service)
        self.http.services[f"http://{name}"] = service
        self._tasks[name] = asyncio.ensure_future(service.run())

    def _gone(self, name: str) -> None:
        """From this moment on the service can do nothing more."""
        for line in self._lines.pop(name, ()):
            line.dead = True

    async def _kill(self, name: str) -> None:
        self._gone(name)
        self.http.cut(f"http://{name}")
        task = self._tasks.pop(name)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    def tell(self, fact: Event) -> None:
        """A fact of the simulator's own. It stands behind all that the tracker knows by now."""
        self.events.append(fact)
        self._told.append(fact)

    def _gather_again(self) -> None:
        """The tracker's journal was replaced; the simulator's own facts stand behind it."""
        self.events[:] = [*at_once(self.journal("tracker")), *self._told]

    def _tell_restarted(self, name: str) -> None:
        now_ms = self.clock.now_ms()
        self.tell(ServiceRestarted(subject="", at_ms=now_ms, source="simulator", target=name))

    def take_order(self, order: Order) -> None:
        """A person's order takes effect now, before anything else of this moment happens.

        Needs `WorldConditions.takes_orders`. Called by the loop's gate, in the world's thread.
        """
        assert self.conditions.takes_orders, "this world has no lines on which an order could act"
        self.tell(
            FaultOrdered(
                subject="",
                at_ms=self.clock.now_ms(),
                source="hand",
                site=order.site,
                parameter=order.number,
                passes=order.passes,
                target=order.target,
            )
        )
        self.faults.order(order)
        kind, _, name = order.site.partition(".")
        if kind == "crash":
            self.http.mortal = True
            self.crashes.at_once(name)

    async def _buy(self, units: int, buyer: Buyer) -> Run:
        before = await balances(self.chain, self.accounts)
        purchase = await buyer.buy(SELLER_URL, units)
        await self._settle_down(purchase.settlement_id)
        after = await balances(self.chain, self.accounts)
        await self._audit()
        seen = tuple(ObservedBalance(*key, before[key], after[key]) for key in before)
        return Run(tuple(self.events), seen, purchase, self.deployment.chain_id)

    async def _settle_down(self, settlement_id: str) -> None:
        """Until the end has its confirmations: the tracker's `final`."""
        for _ in range(self._rules.finality.depth + 5):
            await self._advance(1)

    async def _advance(self, blocks: int) -> int:
        await self.pass_time(blocks * self.conditions.chain.block_time_ms / 1000)
        return (await self.chain.head()).number

    # --- For whoever plays a scenario, inside the loop (see `do`) ---

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Run this in the world's own loop and thread, and wait for it."""
        return self._do(work)

    async def pass_time(self, seconds: float) -> None:
        """Virtual seconds, everybody at work. Raises what a service could not go on after."""
        await self.clock.sleep(seconds)
        await self.loop.rest()  # The miner and the services may have woken at this very moment.
        await self._check_tasks()

    async def begin_faults(self) -> None:
        """From now on faults fire; nothing before this block is ever taken back."""
        self.miner.keep((await self.chain.head()).number)
        self.faults.begin()

    async def end_faults(self) -> None:
        """No new faults; services that are down come back as they were to."""
        self.faults.end()

    async def journal(self, name: str) -> list[Event]:
        """Every fact of a service, in the order in which it came to know them."""
        async with self.stores[name].unit() as unit:
            return [fact for _, fact in await unit.facts()]

    async def _check_tasks(self) -> None:
        on_torn = self.conditions.on_torn
        for name, task in [*self._tasks.items(), *self.crashes.down.items()]:
            if not task.done() or isinstance(why := task.exception(), Crashed):
                continue
            if on_torn is None or not isinstance(why, IllegalTransition):
                task.result()
            else:
                await self._kill(name)
                on_torn(name, why)

    async def _facts(self) -> list[Event]:
        """Everything that happened so far."""
        return list(self.events)

    async def _audit(self) -> None:
        settlements = merge(self.events)
        await audit_world(self.chain, tuple(settlements.values()))

    async def _snapshot(self) -> Snapshot:
        chain = await self.rpc.call("evm_snapshot")
        stores = {name: store.dump() for name, store in self.stores.items()}
        now, chance = self.loop.time(), self.dice.state
        facts = tuple(self.events), tuple(self._told)
        return Snapshot(self, chain, stores, now, chance, self.mempool.state, *facts)

    def _restore(self, snapshot: Snapshot) -> None:
        self._on_thread(self._stop)
        # A revert uses its snapshot up: the same id is taken again, so that one may come back.
        back = [("anvil_dropAllTransactions",), ("evm_revert", snapshot.chain), ("evm_snapshot",)]
        answers = self.rpc.all_now(back)
        for answer in answers:
            if isinstance(answer, WorkbenchError):
                raise answer
        object.__setattr__(snapshot, "chain", answers[-1])
        for name, image in snapshot.stores.items():
            self.stores[name].restore(image)
        self.dice.state, self.mempool.state = snapshot.chance, snapshot.mempool
        self.events[:], self._told[:] = snapshot.events, snapshot.told
        self._start(snapshot.seconds)

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        if self._is_closed:
            work.close()

        def whole() -> T:
            # Between calls anybody may have spoken to the node, by `web3` say.
            self.rpc.invalidate()
            with seldom_searched():
                try:
                    return self.loop.run_until_complete(work)
                finally:
                    self.rpc.settle()  # Nor does the node owe us anything then,
                    for store in self.stores.values():
                        store.catch_up()  # or we the databases.

        return self._on_thread(whole)

    def _on_thread(self, work: Callable[[], T]) -> T:
        if self._is_closed:
            raise UnknownWorld("this world is closed.", hint="Make another: simulated().")
        return self._thread.submit(work).result()

    def _write_some(self) -> bool:
        """What services have committed, while the node works; False if that is little."""
        return any(store.write_some() for store in self.stores.values())

    def _stop(self) -> None:
        tasks = asyncio.all_tasks(self.loop)
        for task in tasks:
            task.cancel()
        self.loop.run_until_complete(_all_done(tasks))
        self.loop.close()


async def _all_done(tasks: Iterable[asyncio.Task[Any]]) -> None:
    await asyncio.gather(*tasks, return_exceptions=True)


def _not_crashes(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """A simulated crash ends many tasks at once; nobody has to look at each of them."""
    if not isinstance(context.get("exception"), Crashed):
        loop.default_exception_handler(context)
