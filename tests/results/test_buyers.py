"""One row a buyer, and outcomes that add up to all who were ordered."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.facts import GENESIS_MS, Story, address, happy, one_of_each, pending, refunded, rejected
from tests.sim.scenarios import small
from workbench import Run
from workbench.core import facts as ev
from workbench.core.lifecycle import OUTCOME
from workbench.results.buyers import buyers_frame, ends_frame, outcome_counts
from workbench.results.metrics import metrics_frame, nested
from workbench.worlds.experiment import Experiment
from workbench.worlds.experiment_setup import ScenarioProgress

BY_US: dict[str, Any] = {"source": "simulator", "kind": "honest"}


def planned(n: object, comes_ms: int = 0) -> ev.BuyerPlanned:
    """The buyer whose settlement `tests.facts` tells under the same seed."""
    return ev.BuyerPlanned(subject=f"buyer-{n}", at_ms=GENESIS_MS, address=address("buyer", n),
                           comes_ms=GENESIS_MS + comes_ms, units=10**20 + 1, **BY_US)  # fmt: skip


def gave_up(n: object, code: str, settlement_id: str = "") -> ev.BuyerGaveUp:
    return ev.BuyerGaveUp(subject=f"buyer-{n}", at_ms=GENESIS_MS + 9_000, code=code, message="no.",
                          settlement_id=settlement_id, address=address("buyer", n),
                          **BY_US)  # fmt: skip


def served(n: object, settlement_id: str = "", status: str = "") -> ev.BuyerServed:
    return ev.BuyerServed(subject=f"buyer-{n}", at_ms=GENESIS_MS + 9_000, status=status,
                          settlement_id=settlement_id, **BY_US)  # fmt: skip


def rows(facts: list[ev.Event], **options: Any) -> dict[str, dict[str, Any]]:
    """By name."""
    frame = buyers_frame(facts, GENESIS_MS, **options).astype(object)
    return {row["name"]: {str(k): v for k, v in row.items()} for row in frame.to_dict("records")}


MARKET: list[ev.Event] = [
    *(planned(n, comes_ms=1_000 * n) for n in range(9)),
    *happy(0), *refunded(1), *rejected(2), *pending(3), *happy(4),
    gave_up(3, "out_of_time", Story(3).id), gave_up(4, "transaction_timeout"),
    gave_up(5, "insufficient_funds"), served(6), gave_up(7, "out_of_time"),
    served(0, Story(0).id, "executed"),
]  # fmt: skip
"""A buyer of every kind of end. Number 8 has told nothing."""
ENDS = ["executed", "refunded", "rejected", "open", "executed", "gave_up", "asked_only", "gave_up"]


def test_each_ordered_buyer_has_one_row_and_one_outcome() -> None:
    """Also who gave up, who only asked, and who has not come; in the order of coming."""
    frame = buyers_frame(MARKET, GENESIS_MS)
    assert [f"buyer-{n}" for n in range(9)] == list(frame.name)
    assert [*ENDS, "not_come"] == list(frame.outcome)
    assert set(frame.outcome) == set(OUTCOME), "every outcome occurs"
    assert [1_000 * n for n in range(9)] == list(frame.comes_ms)
    assert [GENESIS_MS + 1_000 * n for n in range(9)] == list(frame.planned_ms)
    assert [True] * 8 + [False] == list(frame.came)
    assert {10**20 + 1} == set(frame.units)


def test_what_a_row_says_of_the_end() -> None:
    """The settlement's own end, its reason, and how long it took; Unix ms for the moment."""
    found = rows(MARKET)
    done = found["buyer-0"]
    assert (done["settlement_id"], done["code"], done["took_ms"]) == (Story(0).id, "", 8_000)
    assert GENESIS_MS + 8_000 == done["ended_ms"]
    back = found["buyer-1"]
    assert ("insufficient_output", "the pool holds too little USDC.") == (
        back["code"],
        back["message"],
    )
    assert "the seller's allowance" in found["buyer-2"]["message"]
    assert found["buyer-3"]["ended_ms"] is None
    assert ("insufficient_funds", "", "no.") == tuple(
        found["buyer-5"][name] for name in ("code", "settlement_id", "message")
    )
    assert found["buyer-5"]["ended_ms"] == GENESIS_MS + 9_000
    assert found["buyer-8"]["ended_ms"] is None


def test_the_settlements_end_counts_before_what_its_buyer_saw() -> None:
    """It gave up waiting, and was served all the same: executed, and why it gave up is kept."""
    row = rows(MARKET)["buyer-4"]
    assert ("executed", "transaction_timeout", Story(4).id) == (
        row["outcome"],
        row["code"],
        row["settlement_id"],
    )


def test_a_block_that_was_orphaned_does_not_count() -> None:
    """The execution is taken back: the buyer is open again."""
    facts = [planned(0), *happy(0)]
    block = next(f.block for f in facts if isinstance(f, ev.SettlementExecuted))
    assert block is not None
    lost = ev.BlockOrphaned(subject=block.hash, number=block.number, at_ms=1, source="watcher")
    assert {"executed": 1} == outcome_counts(facts)
    assert {"open": 1} == outcome_counts([*facts, lost])


def test_while_the_run_goes_on_who_is_due_is_open() -> None:
    """Number 8 comes after eight seconds."""
    for now_ms, outcome in ((7_999, "not_come"), (8_000, "open")):
        assert outcome == rows(MARKET, now_ms=GENESIS_MS + now_ms)["buyer-8"]["outcome"]


def test_outcomes_and_ends_add_up() -> None:
    """Counts to all ordered; ends to those that have one, each with its moment."""
    counts = outcome_counts(MARKET)
    assert {"executed": 2, "refunded": 1, "rejected": 1, "gave_up": 2, "asked_only": 1,
            "open": 1, "not_come": 1} == counts  # fmt: skip
    assert list(counts) == list(OUTCOME), "in the order of the table"
    told = nested(metrics_frame(MARKET))["outcome"]
    assert counts == {name: row["count"] for name, row in told.items()}
    assert counts == Run(tuple(MARKET)).outcomes
    ends = ends_frame(MARKET)
    assert sum(n for word, n in counts.items() if OUTCOME[word].is_end) == len(ends)
    assert "int64" == str(ends.at_ms.dtype)


def test_runs_of_format_2_know_the_buyers_who_told_an_end() -> None:
    """They have no plan, and who gave up did not say of which settlement."""
    facts = [replace(f, address="") if isinstance(f, ev.BuyerGaveUp) else f for f in MARKET]
    old = [f for f in facts if not isinstance(f, ev.BuyerPlanned)]
    frame = buyers_frame(old, GENESIS_MS)
    assert {f"buyer-{n}" for n in (0, 3, 4, 5, 6, 7)} == set(frame.name)
    assert frame.comes_ms.isna().all()
    assert {"executed": 2, "refunded": 1, "rejected": 1, "pending": 1} == outcome_counts(old)


def test_without_simulated_buyers_a_row_is_a_settlement() -> None:
    facts = [*happy(0), *pending(1)]
    frame = buyers_frame(facts, GENESIS_MS)
    assert ["executed", "open"] == list(frame.outcome)
    assert [address("buyer", 0), address("buyer", 1)] == list(frame.address)
    assert [Story(0).id] == list(ends_frame(facts).subject)


@pytest.mark.parametrize("facts", [[], one_of_each(), MARKET, happy()])
def test_columns_keep_their_types(facts: list[ev.Event]) -> None:
    """Whatever the facts are: integers never turn to float."""
    frame = buyers_frame(facts, GENESIS_MS)
    assert list(buyers_frame([], 0).dtypes) == list(frame.dtypes)
    assert set(frame.outcome) <= set(OUTCOME)


# --- A market -------------------------------------------------------------------------------------

BUYERS = [
    {"count": 3, "arrivals": {"model": "even", "every": "20 s"},
     "size": {"model": "fixed", "amount": "50 YPS"}},
    {"count": 2, "wallet": "56 EURC",
     "size": {"model": "uniform", "low": "50 YPS", "high": "500 YPS"}},
    {"count": 1, "kind": "walks"}, {"count": 1, "kind": "tampers"}, {"count": 1, "kind": "stale"},
    {"count": 1, "start": "100 s"},
]  # fmt: skip
"""Some whose wallets are too small, and some who never mean to pay. The last one comes late."""


def test_every_buyer_of_a_market_is_counted() -> None:
    """Nobody who gave up is lost from a table or a chart."""
    run = Experiment(small(buyers=BUYERS)).run()
    frame = run.buyers()
    assert 9 == len(frame) == frame.name.nunique()
    assert list(frame.planned_ms) == sorted(frame.planned_ms)
    assert {"executed", "gave_up", "asked_only"} <= set(frame.outcome)
    assert {"insufficient_funds", "terms_mismatch"} <= set(frame.code)
    assert frame.came.all()
    assert 9 == sum(run.outcomes.values())
    assert {} == run.invariants_broken
    told = nested(run.metrics())["outcome"]
    assert run.outcomes == {name: row["count"] for name, row in told.items()}
    above = run.outcome_chart().figure.axes[0]
    assert 9 == sum(bar.get_height() for bars in above.containers for bar in bars)
    deals = run.settlements().set_index("id")
    known = frame[frame.settlement_id != ""].set_index("settlement_id")
    assert set(deals.index) == set(known.index)
    assert (deals.buyer.loc[known.index] == known.address).all()


def test_who_gives_up_names_its_settlement_and_its_account() -> None:
    """So that both can be found without guessing."""
    slow = [{"count": 1, "patience": "8 s"}]
    run = Experiment(small(buyers=slow, chain__finality="2 blocks", seller__delay="1 s",
                           **{"faults.http.cut": "0 %"})).run()  # fmt: skip
    (row,) = run.buyers().to_dict("records")
    (fact,) = (f for f in run.events if isinstance(f, ev.BuyerGaveUp))
    assert ("executed", "transaction_timeout") == (row["outcome"], fact.code)
    assert (row["settlement_id"], row["address"]) == (fact.settlement_id, fact.address)


def test_who_comes_after_the_stop_has_not_come() -> None:
    """A run that was stopped after a minute lists the last planned buyer."""

    def stop(progress: ScenarioProgress) -> None:
        if progress.now_s >= 60:
            raise KeyboardInterrupt

    run = Experiment(small(buyers=BUYERS), progress=stop).run()
    assert not run.finished
    last = run.buyers().iloc[-1]
    assert ("not_come", False) == (last.outcome, last.came)
    assert 9 == sum(run.outcomes.values())
    assert 1 == run.outcomes["not_come"]
