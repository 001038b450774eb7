"""A `World`: a whole market in one object for notebooks, synchronous and on virtual time.

Chain, contracts, seller, facilitator, tracker and buyer are the real ones; only time is virtual. A
world has an event loop in a thread of its own, because Jupyter runs one in the main thread. Time
passes during calls, never between them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

from workbench.core.errors import (
    InvalidAmount,
    RunUnderWay,
)
from workbench.core.facts import FaultOrdered
from workbench.core.invariants import ObservedBalance
from workbench.core.money import YPS, parse_decimal
from workbench.core.ports import Request, Response
from workbench.core.settlement import Settlement, merge
from workbench.results.run import Run
from workbench.scenario import Order
from workbench.services.otc.buyer import Buyer
from workbench.worlds.balances import audit_world, balances
from workbench.worlds.conditions import SELLER_URL
from workbench.worlds.payout_client import PayoutClient
from workbench.worlds.virtual_platform import Snapshot, VirtualPlatform


class World(VirtualPlatform):
    """See the module. `workbench.simulated()` returns one. Close it, or use it in a `with`."""

    def __repr__(self) -> str:
        return f"World(chain {self.deployment.chain_id}, seed {self.seed})"

    def buy(self, amount: str | int, *, key: str | None = None) -> Run:
        """Buy once over HTTP 402, to the end of the settlement. `amount`: YPS as text ("100"), or
        base units.

        Raises the error that the seller answered, or that the buyer found in the offer.
        """
        units = parse_decimal(amount, YPS.decimals) if isinstance(amount, str) else amount
        if not isinstance(units, int) or units <= 0:
            hint = 'Shares as text, such as world.buy("1.5"), or whole base units.'
            raise InvalidAmount(f"amount {amount!r} is nothing that can be bought.", hint=hint)
        return self.do(self._buy(units, self.wiring.buyer(key) if key else self.buyer))

    def advance(self, blocks: int = 1) -> int:
        """Let time pass for this many blocks while services work. Return the new block number."""
        return self.do(self._advance(blocks))

    def skip(self, seconds: int) -> int:
        """Let time pass while no service works, as when a machine sleeps. Return the new block
        number.

        The next block follows that much later.
        """
        self._on_thread(lambda: self.loop.jump(seconds))
        return self.advance()

    def kill(self, name: str) -> None:
        """End seller, facilitator, tracker or payouts as a crash would. Only its store is left."""
        self.do(self._kill(name))

    def restart(self, name: str) -> None:
        """Start a killed service again from its store."""
        self.do(self._launch(name))

    def snapshot(self) -> Snapshot:
        """Return the whole world at this moment, to which `restore` returns.

        Buyers in the middle of a purchase, and the auditor and market of an `Experiment`, cannot be
        part of it. So it raises RunUnderWay during an experiment, which is not disturbed.

        Services restart from their stores now, as they do after a `restore`. Otherwise what they
        hold in memory only (the gas of a call, for example) would make the two continuations
        differ.
        """
        if self.occupied_by:
            raise RunUnderWay(
                f"{self.occupied_by} goes on in this world, and its buyers cannot be part of a "
                "snapshot.",
                hint="Play it again up to a moment instead: run.again(until_s=…).",
            )
        taken = self.do(self._snapshot())
        self._on_thread(self._stop)
        self._start(taken.seconds)
        return taken

    @contextmanager
    def branch(self) -> Iterator[Snapshot]:
        """Try something: after the `with` the world is as it was before."""
        here = self.snapshot()
        try:
            yield here
        finally:
            here.restore()

    def get(self, url: str, **headers: str) -> Response:
        """Send a GET request in this world's network: http://seller, http://facilitator,
        http://tracker.

        Header names have `_` for `-`: `world.get("http://seller/…", X_PAYMENT="…")`.
        """
        named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
        return self.send(Request("GET", url, headers=named))

    def send(self, request: Request) -> Response:
        """Send any request in this world's network."""
        return self.do(self.http.send(request))

    @property
    def teller(self) -> PayoutClient:
        """A client for credits and payouts, with the ledger as frames."""
        return PayoutClient(self.send, self.do, lambda: self.payouts.payouts)

    @property
    def run(self) -> Run:
        """All facts so far, as a run."""
        return Run(tuple(self.events), chain_id=self.deployment.chain_id)

    def settlement(self, settlement_id: str) -> Settlement:
        """Return one settlement, folded from all facts."""
        return merge(self.events)[settlement_id]

    def audit(self) -> None:
        """Raise ConservationBroken unless vault, puller and hook hold only what is owed."""
        self.do(self._audit())

    def balances(self) -> dict[tuple[str, str], int]:
        """Return the balances of buyer, seller and vault by (account, token), in base units."""
        return self.do(balances(self.chain, self.accounts))

    @property
    def now(self) -> int:
        """Virtual time in Unix seconds."""
        return self.clock.now_s()

    @property
    def web3(self) -> Any:
        """A web3.py client on this world's node."""
        from web3 import HTTPProvider, Web3

        return Web3(HTTPProvider(self.node.url))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def take_order(self, order: Order) -> None:
        """Let a person's order take effect now, before anything else of this moment happens.

        Needs `WorldConditions.takes_orders`. Called by the gate of the loop, in the world's thread.
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
        """Buy, wait for the confirmed end, audit, and return the run."""
        before = await balances(self.chain, self.accounts)
        purchase = await buyer.buy(SELLER_URL, units)
        await self._settle_down(purchase.settlement_id)
        after = await balances(self.chain, self.accounts)
        await self._audit()
        seen = tuple(ObservedBalance(*key, before[key], after[key]) for key in before)
        return Run(tuple(self.events), seen, purchase, self.deployment.chain_id)

    async def _settle_down(self, settlement_id: str) -> None:
        """Let blocks pass until the end of the settlement is confirmed."""
        for _ in range(self._rules.finality.depth + 5):
            await self._advance(1)

    async def _advance(self, blocks: int) -> int:
        await self.pass_time(blocks * self.conditions.chain.block_time_ms / 1000)
        return (await self.chain.head()).number

    async def _audit(self) -> None:
        settlements = merge(self.events)
        await audit_world(self.chain, tuple(settlements.values()))
