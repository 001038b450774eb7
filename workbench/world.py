"""The public face for notebooks: a whole market in one object, synchronous and on virtual time.

A `World` is the real chain with the real contracts, and the real seller, facilitator, tracker and
buyer; only time is virtual. It owns an event loop in a thread of its own, because Jupyter already
runs one in the main thread (agreement 1). Time passes during calls, never between them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self, TypeVar

from workbench.chain.anvil import Anvil
from workbench.chain.deploy import Deployment
from workbench.chain.rpc import CachedRpc, Rpc
from workbench.core.audit import Balance
from workbench.core.errors import InvalidAmount, WorkbenchError
from workbench.core.events import Event
from workbench.core.money import YPS, parse_decimal
from workbench.core.ports import Addresses, Request, Response, Service
from workbench.core.settlement import Settlement, merge
from workbench.run import Run
from workbench.services.buyer import Buyer
from workbench.sim.http import InProcessHttp
from workbench.sim.loop import VirtualClock, VirtualLoop
from workbench.store.sql import SqlStore
from workbench.wiring import (
    Keys,
    Rules,
    SeededRandomness,
    Wiring,
    address_of_key,
    audit_world,
    balances,
)

if TYPE_CHECKING:
    pass

T = TypeVar("T")
BLOCK_TIME_S = 1
BASE_FEE_WEI = 10**9
SELLER_URL, FACILITATOR_URL = "http://seller", "http://facilitator"
SERVICES = ("seller", "facilitator", "tracker")


@dataclass(frozen=True)
class Snapshot:
    """A world at one moment: chain, stores, clock and randomness together (agreement 9)."""

    world: World = field(repr=False)
    chain: str
    stores: dict[str, bytes] = field(repr=False)
    seconds: float
    randomness: Any = field(repr=False)

    def restore(self) -> None:
        """Take the world back here. Can be done as often as one likes."""
        self.world._restore(self)


class World:
    """See the module. Made by `workbench.simulated()`; close it, or use it in a `with`."""

    def __init__(
        self,
        node: Anvil,
        deployment: Deployment,
        addresses: Addresses,
        keys: Keys,
        rules: Rules,
        seed: int,
    ) -> None:
        self.node, self.deployment, self.seed = node, deployment, seed
        self._addresses, self._keys, self._rules = addresses, keys, rules
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="world")
        self.stores = {name: SqlStore() for name in SERVICES}
        self.random = SeededRandomness(seed)
        self.rpc = CachedRpc(node.url)
        head = self.rpc.now("eth_getBlockByNumber", "latest", False)
        self._epoch = int(head["timestamp"], 16)
        self.accounts = {
            "buyer": address_of_key(keys.buyer),
            "seller": address_of_key(keys.seller),
            "vault": addresses.vault,
        }
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._start(0.0)

    def __repr__(self) -> str:
        return f"World(chain {self.deployment.chain_id}, seed {self.seed})"

    # --- What a notebook calls ---

    def buy(self, amount: str | int, *, key: str | None = None) -> Run:
        """One purchase over HTTP 402, to its end. `amount`: YPS as text ("100"), or base units.

        Raises the error that the seller answered, or that the buyer found in the offer.
        """
        units = parse_decimal(amount, YPS.decimals) if isinstance(amount, str) else amount
        if units <= 0:
            raise InvalidAmount("amount is 0.", hint='Buy some, such as world.buy("100").')
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
        """End seller, facilitator or tracker as a crash would: only its store is left."""
        self._do(self._kill(name))

    def restart(self, name: str) -> None:
        """Start a killed service again, from its store."""
        self._do(self._launch(name))

    def snapshot(self) -> Snapshot:
        """The whole world as it is now."""
        return self._do(self._snapshot())

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
    def run(self) -> Run:
        """Everything that happened so far."""
        return Run(tuple(self._do(self._facts())), chain_id=self.deployment.chain_id)

    def settlement(self, settlement_id: str) -> Settlement:
        """One settlement, folded from all facts."""
        return merge(self._do(self._facts()))[settlement_id]

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
        if not self.loop.is_closed():
            self._on_thread(self._stop)
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
        self.clock = VirtualClock(self.loop, self._epoch)
        self.http = InProcessHttp()
        self.wiring = Wiring(
            chain_id=self.deployment.chain_id,
            addresses=self._addresses,
            start_block=self.deployment.deploy_block - 1,
            keys=self._keys,
            rules=self._rules,
            rpc=self._rpc,
            store=self.stores.__getitem__,
            clock=self.clock,
            http=self.http,
            random=self.random,
            seller_url=SELLER_URL,
            facilitator_url=FACILITATOR_URL,
        )
        self.chain = self.wiring.chain("world")
        self._do(self._wire())

    def _rpc(self, name: str) -> Rpc:
        return self.rpc

    async def _wire(self) -> None:
        self.buyer: Buyer = self.wiring.buyer()
        self._tasks = {"miner": asyncio.ensure_future(self._mine())}
        for name in SERVICES:
            await self._launch(name)

    async def _launch(self, name: str) -> None:
        """A service from what its store holds: at the start, and after a crash."""
        service: Service
        if name == "seller":
            service = self.seller = self.wiring.seller()
        elif name == "facilitator":
            service = self.facilitator = await self.wiring.facilitator()
        else:
            service = self.tracker = self.wiring.tracker()
        self.http.services[f"http://{name}"] = service
        self._tasks[name] = asyncio.ensure_future(service.run())

    async def _kill(self, name: str) -> None:
        self.http.services.pop(f"http://{name}", None)
        task = self._tasks.pop(name)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def _mine(self) -> None:
        """One block at every multiple of the block time. The base fee is held, for equal hashes."""
        while True:
            await self.clock.sleep(BLOCK_TIME_S)
            await self.mine()

    async def mine(self) -> None:
        """One block now, at the virtual time."""
        held = ("anvil_setNextBlockBaseFeePerGas", hex(BASE_FEE_WEI))
        for answer in await self.rpc.many([held, ("evm_mine", {"timestamp": self.clock.now_s()})]):
            if isinstance(answer, WorkbenchError):
                raise answer

    async def _buy(self, units: int, buyer: Buyer) -> Run:
        before = await balances(self.chain, self.accounts)
        purchase = await buyer.buy(SELLER_URL, units)
        await self._settle_down(purchase.settlement_id)
        after = await balances(self.chain, self.accounts)
        await self._audit()
        seen = tuple(Balance(*key, before[key], after[key]) for key in before)
        return Run(tuple(await self._facts()), seen, purchase, self.deployment.chain_id)

    async def _settle_down(self, settlement_id: str) -> None:
        """Until the end has its confirmations: the tracker's `final`."""
        for _ in range(self._rules.finality.depth + 5):
            await self._advance(1)

    async def _advance(self, blocks: int) -> int:
        # Equal timers fire in the order they were set: the miner's and the services' before ours.
        await self.clock.sleep(blocks * BLOCK_TIME_S)
        await self._check_tasks()
        return (await self.chain.head()).number

    async def _check_tasks(self) -> None:
        for task in self._tasks.values():
            if task.done():
                task.result()

    async def _facts(self) -> list[Event]:
        async with self.stores["tracker"].unit() as unit:
            return [fact for _, fact in await unit.facts()]

    async def _audit(self) -> None:
        settlements = merge(await self._facts())
        await audit_world(self.chain, tuple(settlements.values()))

    async def _snapshot(self) -> Snapshot:
        chain = await self.rpc.call("evm_snapshot")
        stores = {name: store.dump() for name, store in self.stores.items()}
        return Snapshot(self, chain, stores, self.loop.time(), self.random.state)

    def _restore(self, snapshot: Snapshot) -> None:
        self._on_thread(self._stop)
        self.rpc.now("anvil_dropAllTransactions")
        self.rpc.now("evm_revert", snapshot.chain)
        # A revert uses its snapshot up: the same id is taken again, so that one may come back.
        again = self.rpc.now("evm_snapshot")
        object.__setattr__(snapshot, "chain", again)
        for name, image in snapshot.stores.items():
            self.stores[name].restore(image)
        self.random.state = snapshot.randomness
        self._start(snapshot.seconds)

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        def whole() -> T:
            # Between calls anybody may have spoken to the node, by `web3` say.
            self.rpc.forget()
            return self.loop.run_until_complete(work)

        return self._on_thread(whole)

    def _on_thread(self, work: Callable[[], T]) -> T:
        return self._thread.submit(work).result()

    def _stop(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        gathered = asyncio.gather(*self._tasks.values(), return_exceptions=True)
        self.loop.run_until_complete(gathered)
        self.loop.close()
