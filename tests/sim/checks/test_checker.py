"""The checker is checked: rules are broken one at a time, each where nobody planned for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.sim.scenarios import small
from workbench.core import facts as ev
from workbench.core.errors import StoreError
from workbench.core.finality import FinalityPolicy
from workbench.core.invariants.prediction import Prediction
from workbench.evm.codec.abi import encode_call
from workbench.evm.rpc.mining import MiningRpc
from workbench.evm.watcher import LogWatcher
from workbench.scenario import Scenario
from workbench.services.otc.facilitator import Facilitator
from workbench.services.otc.seller import Seller
from workbench.services.otc.tracker import TrackerService
from workbench.sim.checks.auditor import MOST_TOLD, Auditor, InvariantFindings
from workbench.sim.checks.planted_rules import VaultLeak
from workbench.sim.faults.crashes import Crashes
from workbench.sim.people.buyers import SimBuyer
from workbench.sim.people.market import SimMarket
from workbench.store.sql.exclusive_unit import ExclusiveUnit
from workbench.store.sql.unit import SqlUnit
from workbench.worlds import experiment, scenario_plan
from workbench.worlds.experiment import Experiment

Break = Callable[[pytest.MonkeyPatch], None]
DEEP = {"market__pool": "2000000 USDC"}


def execute_a_block_too_early(patch: pytest.MonkeyPatch) -> None:
    """In the very block at which the vault's own gate opens, when it was asked one before."""
    told, made = scenario_plan.rules_of, scenario_plan.plan_of

    def rules(scenario: Scenario) -> Any:
        return replace(told(scenario), finality=FinalityPolicy(scenario.chain.finality_blocks - 1))

    patch.setattr(experiment, "rules_of", rules)
    patch.setattr(experiment, "plan_of", lambda s: replace(made(s), finality_blocks=0))


def forget_what_a_peer_said(patch: pytest.MonkeyPatch) -> None:
    record_all = SqlUnit.record_all

    async def forgetful(self: SqlUnit, facts: Any) -> None:
        await record_all(self, [f for f in facts if not isinstance(f, ev.AssetDelivered)])

    gather = TrackerService._gather

    async def gathering(self: TrackerService, name: str, url: str) -> None:
        with pytest.MonkeyPatch.context() as meanwhile:
            meanwhile.setattr(SqlUnit, "record_all", forgetful)
            await gather(self, name, url)

    patch.setattr(TrackerService, "_gather", gathering)


def show_another_state(patch: pytest.MonkeyPatch) -> None:
    view = Seller.view
    patch.setattr(Seller, "view", lambda self, s, head: view(self, s, head) | {"state": "funded"})


def never_bring_it_on_chain(patch: pytest.MonkeyPatch) -> None:
    async def idle(self: Seller, identity: str) -> None:
        return

    patch.setattr(Seller, "_bring_on_chain", idle)


def predict_a_payment_twice(patch: pytest.MonkeyPatch) -> None:
    moves = Prediction._moves

    def twice(self: Prediction, event: ev.Event) -> Any:
        return moves(self, event) * (1 + isinstance(event, ev.SettlementExecuted))

    patch.setattr(Prediction, "_moves", twice)


def end_twice(patch: pytest.MonkeyPatch) -> None:
    read = Auditor._read

    async def stuttering(self: Auditor, number: int) -> Any:
        block = await read(self, number)
        again = [e for e in block.events if isinstance(e, ev.SettlementExecuted)]
        return replace(block, events=(*block.events, *again))

    patch.setattr(Auditor, "_read", stuttering)


def lose_a_row(patch: pytest.MonkeyPatch) -> None:
    """Once it was mined, and so was looked up already."""
    move_slots = ExclusiveUnit.move_slots

    async def losing(self: ExclusiveUnit, moves: Any) -> list[bool]:
        moved = await move_slots(self, moves)
        for _, after in moves:
            if after.act == "swap" and after.block is not None:
                self._store.cursor.execute("DELETE FROM attempt WHERE nonce = ?", (after.nonce,))
        return moved

    patch.setattr(ExclusiveUnit, "move_slots", losing)


def mint_for_a_stranger(patch: pytest.MonkeyPatch) -> None:
    around = Experiment._plant_around

    def minting(self: Experiment) -> None:
        around(self)
        data = encode_call("MockEURC", "mint", "0x" + "aa" * 20, 1)
        done: list[str] = []

        async def once() -> None:
            if not done:
                done.append(await self._deployer.send(self.world.chain.addresses.usdc, data))

        self.world.miner.before_block.append(once)

    patch.setattr(Experiment, "_plant_around", minting)


def rob_the_pool(patch: pytest.MonkeyPatch) -> None:
    around = Experiment._plant_around

    def robbing(self: Experiment) -> None:
        around(self)
        at = self.world.deployment["PoolManager"]
        leak = VaultLeak(self.world.rpc, self.world.chain.addresses.usdc, at)
        self.world.miner.before_block.append(leak.before_block)

    patch.setattr(Experiment, "_plant_around", robbing)


def leave_without_a_word(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SimBuyer, "give_up", lambda self, code, message: None)
    never_bring_it_on_chain(patch)


def say_goodbye_twice(patch: pytest.MonkeyPatch) -> None:
    follow = SimBuyer.follow

    async def talking(self: SimBuyer, identity: str, terms: Any) -> Any:
        self.give_up("state_moved", "no, wait.")
        return await follow(self, identity, terms)

    patch.setattr(SimBuyer, "follow", talking)


def miss_a_step(of: type[Any]) -> Break:
    """A service's own journal has no SettlementFunded, which all that comes then follows."""

    def breach(patch: pytest.MonkeyPatch) -> None:
        store_block = LogWatcher._store_block

        async def forgetful(self: LogWatcher, number: int, known: str, facts: Any) -> None:
            if self._store is of.journal:
                facts = [fact for fact in facts if not isinstance(fact, ev.SettlementFunded)]
            await store_block(self, number, known, facts)

        init = of.__init__

        def made(self: Any, **ports: Any) -> None:
            init(self, **ports)
            of.journal = ports["store"]

        patch.setattr(of, "journal", None, raising=False)
        patch.setattr(of, "__init__", made)
        patch.setattr(LogWatcher, "_store_block", forgetful)

    breach.__name__ = f"miss_a_step_as_{of.__name__}"
    return breach


FOUND: list[tuple[Break, str]] = [
    (execute_a_block_too_early, "confirmed_before_execution"),
    (forget_what_a_peer_said, "no_fact_is_lost"),
    (show_another_state, "services_agree_with_the_contract"),
    (never_bring_it_on_chain, "an_end_in_time"),
    (predict_a_payment_twice, "balances_as_predicted"),
    (end_twice, "one_end_at_most"),
    (end_twice, "settlements_follow_their_table"),
    (lose_a_row, "nothing_sent_that_was_not_stored"),
    (mint_for_a_stranger, "nothing_comes_from_nowhere"),
    (rob_the_pool, "balances_as_predicted"),
    (miss_a_step(Seller), "no_state_without_its_fact"),
    (miss_a_step(TrackerService), "no_state_without_its_fact"),
    (leave_without_a_word, "every_buyer_has_an_end"),
    (say_goodbye_twice, "every_buyer_has_an_end"),
]


@pytest.mark.parametrize(("breach", "invariant"), FOUND, ids=[f"{b.__name__}" for b, _ in FOUND])
def test_whatever_is_broken_is_found(
    breach: Break, invariant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    breach(monkeypatch)
    playing = Experiment(small(**DEEP, **{"buyers.0.count": "2", "duration": "1 min"}))
    run = playing.run()
    assert playing.failure is None
    assert run.finished
    assert invariant in run.invariants_broken


TOTAL_SUPPLY = "0x18160ddd"


def test_the_checker_asks_the_node_and_not_the_memory_of_the_services(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever the line that all others share would say."""
    now, asked = MiningRpc.now, []

    def lying(self: MiningRpc, method: str, *params: Any) -> Any:
        if method == "eth_call" and params[0]["data"] == TOTAL_SUPPLY:
            asked.append(params)
            return hex(len(asked))
        return now(self, method, *params)

    monkeypatch.setattr(MiningRpc, "now", lying)
    playing = Experiment(small(**DEEP, **{"buyers.0.count": "1", "duration": "10 s"}))
    run = playing.run()
    assert {} == run.invariants_broken
    assert [] == asked
    assert playing.auditor.blocks_checked > 10


def test_one_invariant_that_breaks_always_hides_no_other() -> None:
    told: list[str] = []
    findings = InvariantFindings(lambda name, problem, subject: told.append(name))
    for n in range(2 * MOST_TOLD):
        findings.add({"loud": [f"problem {n}"]}, ())
    findings.add({"rare": ["another"]}, ())
    assert told == ["loud"] * MOST_TOLD + ["rare"]
    assert {"loud": 2 * MOST_TOLD, "rare": 1} == findings.broken


# --- A failure in the world is reported, and the run so far is kept ---


def a_service(patch: pytest.MonkeyPatch) -> None:
    async def confirm(self: Facilitator, head: Any) -> None:
        if self.book.settlements:
            raise KeyError("a mistake of ours")

    patch.setattr(Facilitator, "_confirm", confirm)


def the_checker(patch: pytest.MonkeyPatch) -> None:
    view = Auditor._view

    async def failing(self: Auditor, *known: Any) -> Any:
        if self.settlements:
            raise KeyError("a mistake of ours")
        return await view(self, *known)

    patch.setattr(Auditor, "_view", failing)


def the_market(patch: pytest.MonkeyPatch) -> None:
    def step(self: SimMarket) -> int:
        raise KeyError("a mistake of ours")

    patch.setattr(SimMarket, "step", step)


@pytest.mark.parametrize("death", [a_service, the_checker, the_market])
def test_a_mistake_of_ours_ends_the_run_and_loses_nothing(
    death: Break, monkeypatch: pytest.MonkeyPatch
) -> None:
    death(monkeypatch)
    playing = Experiment(small(**DEEP))
    run = playing.run()
    assert isinstance(playing.failure, KeyError)
    assert not run.finished
    assert any(isinstance(fact, ev.SettlementCreated) for fact in run.events)


def test_a_service_that_cannot_come_back_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    bury = Crashes._bury

    async def burying(self: Crashes, name: str, seconds: int) -> None:
        async def gone(_: str) -> None:
            raise StoreError("its database is gone.")

        self._launch = gone
        await bury(self, name, seconds)

    monkeypatch.setattr(Crashes, "_bury", burying)
    playing = Experiment(small(**DEEP, **{"faults.crash.seller": "20 %"}))
    run = playing.run()
    assert isinstance(playing.failure, StoreError)
    assert not run.finished
