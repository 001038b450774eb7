"""Facts of ordered buyers, faults and payouts for tests of lanes, and ways to look at lanes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tests import facts
from tests.facts import GENESIS_MS, Story, address, digest
from workbench.core import facts as ev
from workbench.core.lanes.model import Lanes
from workbench.core.lanes.rows import LaneState
from workbench.core.lanes.segments import ALL_STAGES

SECOND = 1_000


def lanes_of(*told: ev.Event | Iterable[ev.Event]) -> Lanes:
    """A model that knows these facts, added at once."""
    lanes = Lanes()
    for each in told:
        lanes.add([each] if isinstance(each, ev.Event) else each)
    return lanes


def planned(seed: object, comes_s: int, kind: str = "honest") -> ev.BuyerPlanned:
    """The order of the buyer of `Story(seed)`."""
    return ev.BuyerPlanned(
        subject=f"buyer-{seed}",
        at_ms=GENESIS_MS,
        source="simulator",
        kind=kind,
        address=address("buyer", seed),
        comes_ms=GENESIS_MS + comes_s * SECOND,
        units=facts.ASSET_AMOUNT,
    )


def gave_up(seed: object, at_s: int, code: str, settlement_id: str = "") -> ev.BuyerGaveUp:
    return ev.BuyerGaveUp(
        subject=f"buyer-{seed}",
        at_ms=GENESIS_MS + at_s * SECOND,
        source="simulator",
        kind="honest",
        code=code,
        message="as it was.",
        settlement_id=settlement_id,
        address=address("buyer", seed),
    )


def served(seed: object, at_s: int, settlement_id: str = "", status: str = "") -> ev.BuyerServed:
    return ev.BuyerServed(
        subject=f"buyer-{seed}",
        at_ms=GENESIS_MS + at_s * SECOND,
        source="simulator",
        kind="honest" if status else "walks",
        settlement_id=settlement_id,
        status=status,
    )


def fault(site: str, at_s: int, subject: str = "", **more: Any) -> ev.FaultInjected:
    given: dict[str, Any] = {"source": "simulator", "target": "seller", "parameter": 7, **more}
    at_ms = GENESIS_MS + at_s * SECOND
    return ev.FaultInjected(subject=subject, at_ms=at_ms, site=site, **given)


def payout(n: int, at_ms: int = GENESIS_MS) -> list[ev.Event]:
    """A payout of 0.02 ETH, from the request to the payment."""
    shared: dict[str, Any] = {"subject": digest("payout", n), "source": "payouts"}
    tx = digest("tx", "payout", n)
    block = ev.BlockRef(60, digest("block", 60, 0), tx, -1)
    return [
        ev.PayoutRequested(
            **shared, at_ms=at_ms, user_id="user-1", key="k", address=address("user"), credits=20,
            units=2 * 10**16, asset="eip155:31337/native",
        ),
        ev.PayoutHeld(**shared, at_ms=at_ms, hold="h"),
        ev.PayoutApproved(**shared, at_ms=at_ms + 100, by="rules"),
        ev.PayoutSent(**shared, at_ms=at_ms + 900, signer=address("payer"), nonce=n, tx=tx),
        ev.PayoutPaid(
            **shared, at_ms=at_ms + 5_000, block=block, tx=tx, units=2 * 10**16, gas_wei=1
        ),
    ]  # fmt: skip


def stages(lane: LaneState) -> list[str]:
    """Words of the segments; `*` behind what was taken back."""
    return [f"{ALL_STAGES[s.stage].word}{'*' * s.taken_back}" for s in lane.segments]


def model(lanes: Lanes) -> tuple[Any, ...]:
    """All that a reader can ask of it."""
    told = [lanes.facts_of(number) for number in range(len(lanes))]
    return (
        list(lanes), told, lanes.marks.rows, lanes.marks.broken, lanes.marks.finished(),
        lanes.outcomes(), lanes.origin_ms, lanes.block, lanes.last_ms, lanes.count,
    )  # fmt: skip


def mixture() -> list[ev.Event]:
    """All that happens: orders, reorgs, faults, payouts, a broken rule, buyers without a link."""
    told: list[ev.Event] = [
        ev.MarketMoved(
            subject="", at_ms=GENESIS_MS, source="simulator", usdc_per_eurc_e8=110_000_000
        ),
        *(planned(n, 10 - n) for n in range(6)),
        planned("later", 900),
        planned("walks", 3, "walks"),
        served("walks", 4),
        *facts.journal(6),
        *facts.reorged(8, GENESIS_MS + 900),
        gave_up(7, 20, "terms_mismatch"),
        planned(7, 1),
        gave_up(4, 90, "out_of_time", Story(4).id),
        fault("http.lost", 2, "buyer-1"),
        fault("tx.dropped", 2, tx=Story(2).block("fund").tx),
        fault("crash.facilitator", 5, source="hand"),
        fault("chain.reorg", 6),
        ev.InvariantBroken(
            subject="", at_ms=GENESIS_MS + 1, source="simulator", invariant="x", message="y"
        ),
        *payout(1),
        *payout(2, GENESIS_MS + 800),
    ]  # fmt: skip
    return told
