"""Run a scenario to its end: boot a world, run its participants under faults, and check them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

from workbench.core import facts as ev
from workbench.core.errors import (
    AlreadyPlayed,
    IllegalTransition,
    PeerUnreachable,
    RpcUnreachable,
    StoreError,
)
from workbench.core.invariants import no_state_without_its_fact
from workbench.core.ports import Request
from workbench.core.settlement import OPEN
from workbench.evm.deploy.plan import BATCHER
from workbench.evm.node.boot import boot
from workbench.results.run import Run
from workbench.services.common import peers
from workbench.services.otc.rates import EuroPrice
from workbench.sim.checks.planted_rules import plant
from workbench.worlds.balances import TOKEN_NAMES
from workbench.worlds.conditions import SERVICES, WorldConditions
from workbench.worlds.experiment_setup import ExperimentSetup, ScenarioProgress
from workbench.worlds.factories import addresses_of, local_keys
from workbench.worlds.replay import orders_again, scenario_again
from workbench.worlds.scenario_plan import credits_of, plan_of, rules_of
from workbench.worlds.session import Session
from workbench.worlds.virtual import World

STEP_S = 10
"""Virtual seconds between two checks of the time and of Ctrl-C."""
SPARE_BLOCKS = 8
"""Blocks after the last end: first until it is confirmed, then until the tracker has the facts."""
GATHERED = ("seller", "facilitator")
"""The services whose facts about settlements the tracker gathers."""


class Experiment(ExperimentSetup):
    """One scenario with one seed. It can be run once, by `run()`, or by `start()` in the
    background.

    Raises the errors of booting a world. An error during the run becomes a fact of the run.
    `orders`: faults that a person ordered in an earlier run, to be repeated.
    """

    def run(self) -> Run:
        """Run to the end, to an `interrupt` (Ctrl-C, SIGTERM), or to a `failure`.

        Returns the facts up to that moment in every case. Raises AlreadyPlayed the second time.
        """
        self._begin_once()
        return self._run()

    def start(self, *, pace: float | None = None) -> Session:
        """Run in a thread and return at once.

        `pace`: virtual seconds per second of wall time; None: as fast as possible. Raises
        AlreadyPlayed the second time.
        """
        session = Session(self.scenario, self.seed, self.orders, pace)
        self._begin_once()
        self._gate, self._session = session.gate, session
        session.play(self._run, lambda: self.failure)
        return session

    def _begin_once(self) -> None:
        """Raise AlreadyPlayed the second time."""
        if self._is_begun:
            raise AlreadyPlayed(
                f"this experiment with {self.scenario.name} was started before.",
                hint="Make another: Experiment(scenario, seed).",
            )
        self._is_begun = True

    def _run(self) -> Run:
        """Boot the world, play the scenario, and return the run."""
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
            except Exception as why:  # noqa: BLE001 - kept in `failure`, with the run so far
                # Services retry injected faults. Only a lost node comes as far as here.
                self.failure = _lost(why) if isinstance(why, RpcUnreachable) else why
            self._do(self._send_home())
            return self._gather(finished)

    def _conditions(self) -> WorldConditions:
        """Return the conditions of the scenario's world."""
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

    def _tell_torn(self, name: str, why: IllegalTransition) -> None:
        """Record that a journal misses a fact. Its service has ended; the others continue."""
        subject = why.message.partition(":")[0]
        self._tell_broken(no_state_without_its_fact.__name__, f"the {name}: {why.message}", subject)

    def _play(self) -> None:
        """Let time pass with faults, then without, until everything has ended or the time limit is
        reached."""
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
        """Return the settlements without an end, on the chain or in a service."""
        books = [self.world.seller.book, self.world.facilitator.book]
        theirs = [each.id for book in books for each in book.open() if each.state in OPEN]
        return list(dict.fromkeys([*self.auditor.open, *theirs]))

    async def _finish(self, ended: bool) -> None:
        """Cancel the participants, wait for confirmations, and check everything once more."""
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
        """Return for each buyer who came the number of facts about its end. It must be one."""
        kinds = (ev.BuyerServed, ev.BuyerGaveUp)
        told = Counter(fact.subject for fact in self.world.events if isinstance(fact, kinds))
        return {each.plan.name: told[each.plan.name] for each in self._buyers if each.has_come}

    async def _shown(self, name: str) -> dict[str, str]:
        """Return the state of each settlement as a service answers it."""
        shown = {}
        for identity in self.auditor.settlements:
            request = Request("GET", f"http://{name}/settlement/{identity}")
            try:
                given = await self.world.http.send(request)
                answer = peers.decoded(given, dict[str, Any], name)
            except PeerUnreachable as why:
                answer = why.to_json()
            word = str(answer.get("state", answer.get("error")))
            # The contract has no word for a deadline that has passed.
            shown[identity] = self._folded(name, identity) if word == "expired" else word
        return shown

    def _folded(self, name: str, identity: str) -> str:
        settlement = getattr(self.world, name).book.get(identity)
        return settlement.contract_state if settlement else "unknown"

    async def _send_home(self) -> list[Any]:
        """Cancel buyers and market, and return what each returned or raised."""
        people = [*self._agents, *self._market]
        for each in people:
            each.cancel()
        return await asyncio.gather(*people, return_exceptions=True)

    async def _tell_balances(self) -> None:
        """Record the final balance of every account."""
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
        """Return the run with all facts."""
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
    """Return the experiment that `Run.again` plays. See there for the arguments."""
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
    """See `Run.again`. Raises the failure of the new run, or the interrupt that ended it."""
    experiment = again(run, **changes)
    played = experiment.run()
    if experiment.failure is not None:
        raise experiment.failure
    if experiment.interrupt is not None:
        raise experiment.interrupt
    return played


def _lost(why: Exception) -> RpcUnreachable:
    """Return the error of a lost node."""
    said = getattr(why, "message", str(why))  # Without its hint, which is about starting a node.
    return RpcUnreachable(
        f"the node of this run (anvil) was lost in mid-run: {said}",
        hint="What was run until then is kept; play the scenario again.",
    )


def _names(world: World) -> dict[str, str]:
    named = {name: world.accounts[name] for name in ("seller", "vault")}
    return {**named, "pool": world.deployment["PoolManager"].lower()}
