"""The parts of a simulated world: loop, clock, node, faults, and services with their stores."""

from __future__ import annotations

import asyncio
import atexit
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar
from weakref import WeakSet

from workbench.core.errors import (
    IllegalTransition,
    UnknownWorld,
    WorkbenchError,
)
from workbench.core.facts import Event, ServiceRestarted
from workbench.core.ports import Addresses, Http, Service
from workbench.evm.deploy.plan import Deployment
from workbench.evm.node.anvil import Anvil
from workbench.evm.rpc.client import Rpc
from workbench.evm.rpc.mining import MiningRpc
from workbench.services.common.loop import FaultPolicy
from workbench.services.otc.buyer import Buyer
from workbench.sim.faults.crashes import Crashes
from workbench.sim.faults.http import FaultyHttp, InProcessHttp
from workbench.sim.faults.miner import Miner
from workbench.sim.faults.rpc import LINE_SITES, FaultyRpc, Mempool
from workbench.sim.faults.sites import Crashed, Faults
from workbench.sim.rng import SeededStreams
from workbench.sim.time.garbage import seldom_searched
from workbench.sim.time.loop import SkewedClock, VirtualClock, VirtualLoop, at_once
from workbench.worlds.conditions import (
    FACILITATOR_URL,
    HTTP_SITES,
    PAYOUTS_URL,
    RANKS,
    SELLER_URL,
    WorldConditions,
)
from workbench.worlds.rules import (
    RoleKeys,
    SeededRandomness,
    WorldRules,
    address_of_key,
)
from workbench.worlds.wiring import Wiring, store_for

T = TypeVar("T")


@dataclass(frozen=True)
class Snapshot:
    """A world at one moment: chain, stores, clock and randomness together."""

    world: VirtualPlatform = field(repr=False)
    chain: str
    stores: dict[str, bytes] = field(repr=False)
    seconds: float
    chance: Any = field(repr=False)
    mempool: Any = field(repr=False)
    events: tuple[Event, ...] = field(repr=False)
    told: tuple[Event, ...] = field(repr=False)

    def restore(self) -> None:
        """Return the world to this moment. It may be called any number of times."""
        self.world._restore(self)


_OPEN: WeakSet[VirtualPlatform] = WeakSet()


@atexit.register
def _close_all() -> None:
    """A script may end without closing its worlds."""
    for world in list(_OPEN):
        world.close()


class VirtualPlatform:
    """The services of a world on virtual time, in a thread of its own."""

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
        self.streams = SeededStreams(seed)
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
        """All facts in the order in which they became known: those that the tracker gathered, and
        the simulator's own. The list is append-only, except for `restore`."""
        self._told: list[Event] = []
        self.stores["tracker"].on_recorded = self.events.extend
        self.stores["tracker"].on_restored = self._gather_again
        self.occupied_by = ""
        """What is running in this world, as text; "" if only the caller uses it."""
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._lines: dict[str, list[FaultyRpc | FaultyHttp]] = {}
        self._clocks: dict[str, SkewedClock] = {}
        self.clock = VirtualClock(VirtualLoop(), self._epoch)
        self.faults = Faults(
            self.conditions.faults,
            self.streams,
            lambda: self.clock.now_ms(),  # noqa: PLW0108 - the clock is another after a restore
            self.tell,
        )
        self.mempool = Mempool(self.rpc, self.faults, self.streams.stream("mempool"))
        self._start(0.0)
        _OPEN.add(self)

    def close(self) -> None:
        """End the services and the node."""
        _OPEN.discard(self)
        if not self.loop.is_closed():
            try:
                self._on_thread(self._stop)
            except RuntimeError:  # The interpreter ends, and the thread is gone.
                self._stop()
        self._is_closed = True
        self._thread.shutdown()
        self.node.stop()
        for store in self.stores.values():
            store.close()

    def _start(self, seconds: float) -> None:
        """Start the services from their stores. A start, a restart and a restore are the same."""
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
            random=SeededRandomness(self.streams.stream("tokens")),
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
        self.do(self._wire())

    def _miner(self, clock: VirtualClock) -> Miner:
        chance = self.streams.stream("miner")
        chain, first = self.conditions.chain, self.first_block
        miner = Miner(self.rpc, clock, chain, self.faults, self.mempool, chance, first)
        if self.faults.may("clock.skew") or self.conditions.takes_orders:
            miner.before_block.append(self._skew_clocks)
        return miner

    async def _skew_clocks(self) -> None:
        """Pass the site `clock.skew` for each service."""
        for name, clock in self._clocks.items():
            off = self.faults.fires("clock.skew", name)
            clock.skew_s = (
                0 if self.faults.over("clock.skew") else clock.skew_s if off is None else off
            )

    def _rpc(self, name: str) -> Rpc:
        """Return the node itself, or a service's own connection with faults and latency."""
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
            self.streams.stream("rpc", name),
            latency_ms=latency_ms,
            first_block=self.first_block,
        )
        self._lines.setdefault(name, []).append(line)
        return line

    def _may_fail(self, name: str, *sites: str) -> bool:
        """Return True if a service's connection must be able to have faults of these sites, or a
        crash."""
        return self.conditions.takes_orders or self.faults.may(*sites, f"crash.{name}")

    def http_of(self, name: str, whose: str = "") -> Http:
        """Return the HTTP client of a service or person. `name`: the client; `whose`: the simulated
        person."""
        latency_ms = self.conditions.chain.http_latency_ms
        faulty = self._may_fail(name, *HTTP_SITES)
        if not (any(latency_ms) or self.conditions.slow_ms or faulty):
            return self.http
        line = FaultyHttp(
            self.http,
            name,
            self.clock,
            self.faults,
            self.streams.stream("http", name),
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
        """Start a service from its store, at first and after a crash."""
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
        """Disconnect a service: from this moment it can do nothing more."""
        for line in self._lines.pop(name, ()):
            line.dead = True

    async def _kill(self, name: str) -> None:
        """Disconnect a service and cancel its task."""
        self._gone(name)
        self.http.cut(f"http://{name}")
        task = self._tasks.pop(name)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    def tell(self, fact: Event) -> None:
        """Record a fact of the simulator, behind all facts that the tracker knows by now."""
        self.events.append(fact)
        self._told.append(fact)

    def _gather_again(self) -> None:
        """The tracker's journal was replaced: list its facts again, then the simulator's own."""
        self.events[:] = [*at_once(self.journal("tracker")), *self._told]

    def _tell_restarted(self, name: str) -> None:
        now_ms = self.clock.now_ms()
        self.tell(ServiceRestarted(subject="", at_ms=now_ms, source="simulator", target=name))

    async def pass_time(self, seconds: float) -> None:
        """Let virtual time pass while all work. Raises the fault of a service that cannot
        continue."""
        await self.clock.sleep(seconds)
        await self.loop.rest()  # Miner and services may wake at this very moment.
        await self._check_tasks()

    async def begin_faults(self) -> None:
        """Enable faults. No reorg removes a block before this one."""
        self.miner.keep((await self.chain.head()).number)
        self.faults.begin()

    async def end_faults(self) -> None:
        """Disable new faults. Services that are down come back at their time."""
        self.faults.end()

    async def journal(self, name: str) -> list[Event]:
        """Return every fact of a service, in the order in which it learned them."""
        async with self.stores[name].unit() as unit:
            return [fact for _, fact in await unit.facts()]

    async def _check_tasks(self) -> None:
        """Raise the error of a service that ended, or end an inconsistent one."""
        on_torn = self.conditions.on_torn
        for name, task in [*self._tasks.items(), *self.crashes.down.items()]:
            if not task.done() or isinstance(why := task.exception(), Crashed):
                continue
            if on_torn is None or not isinstance(why, IllegalTransition):
                task.result()
            else:
                await self._kill(name)
                on_torn(name, why)

    async def _snapshot(self) -> Snapshot:
        """Return chain, stores, clock and random state of this moment."""
        chain = await self.rpc.call("evm_snapshot")
        stores = {name: store.dump() for name, store in self.stores.items()}
        now, chance = self.loop.time(), self.streams.state
        facts = tuple(self.events), tuple(self._told)
        return Snapshot(self, chain, stores, now, chance, self.mempool.state, *facts)

    def _restore(self, snapshot: Snapshot) -> None:
        """Return all of them to the snapshot, and start the services."""
        self._on_thread(self._stop)
        # A revert consumes its snapshot, so a new one is taken at the same place.
        back = [("anvil_dropAllTransactions",), ("evm_revert", snapshot.chain), ("evm_snapshot",)]
        answers = self.rpc.all_now(back)
        for answer in answers:
            if isinstance(answer, WorkbenchError):
                raise answer
        object.__setattr__(snapshot, "chain", answers[-1])
        for name, image in snapshot.stores.items():
            self.stores[name].restore(image)
        self.streams.state, self.mempool.state = snapshot.chance, snapshot.mempool
        self.events[:], self._told[:] = snapshot.events, snapshot.told
        self._start(snapshot.seconds)

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the world's own loop and thread, and wait for its result."""
        if self._is_closed:
            work.close()

        def whole() -> T:
            # Between calls the user may have used the node, by `web3` for example.
            self.rpc.invalidate()
            with seldom_searched():
                try:
                    return self.loop.run_until_complete(work)
                finally:
                    self.rpc.settle()  # No pending answers of the node are left then,
                    for store in self.stores.values():
                        store.catch_up()  # and no commits that are not written yet.

        return self._on_thread(whole)

    def _on_thread(self, work: Callable[[], T]) -> T:
        if self._is_closed:
            raise UnknownWorld("this world is closed.", hint="Make another: simulated().")
        return self._thread.submit(work).result()

    def _write_some(self) -> bool:
        """Write commits to the databases while the node works. Return False if few were left."""
        return any(store.write_some() for store in self.stores.values())

    def _stop(self) -> None:
        """Cancel every task and close the loop."""
        tasks = asyncio.all_tasks(self.loop)
        for task in tasks:
            task.cancel()
        self.loop.run_until_complete(_all_done(tasks))
        self.loop.close()


async def _all_done(tasks: Iterable[asyncio.Task[Any]]) -> None:
    await asyncio.gather(*tasks, return_exceptions=True)


def _not_crashes(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Ignore simulated crashes, which end many tasks at once."""
    if not isinstance(context.get("exception"), Crashed):
        loop.default_exception_handler(context)
