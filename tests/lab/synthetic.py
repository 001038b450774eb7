"""Lanes and marks as a run would tell them: a storm of 35 buyers, and N lanes for load.

A lane is written as its stages with their seconds, `a4 c4 f4 s8 F4 x8` for authorized, created,
funded, swapped, final, executed; `q` is requested, and `~` behind a number: taken back by a reorg.
"""

from __future__ import annotations

import math
import random
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from workbench.core.lifecycle import OUTCOMES, PALETTE, PAYOUT_STAGES, STAGES, StateRow

LETTERS = {
    "q": "requested",
    "a": "authorized",
    "c": "created",
    "f": "funded",
    "s": "swapped",
    "F": "final",
    "x": "executed",
}
STAGE_AT = {look.word: n for n, look in enumerate(STAGES)}
OUTCOME_AT = {look.word: n for n, look in enumerate(OUTCOMES)}
LAST_STAGE = {"executed": "delivered", "refunded": "refunded", "rejected": "rejected"}
NAN = math.nan
MARKET, REFERENCE, SWAP, REORG, FEE, DOWN, UP, LOST, LATE = range(9)
BLOCK, TRANSACTION = 12, 13
Mark = tuple[int, float, float, float]


@dataclass
class Lane:
    """One buyer: when they ask, what they go through, and what becomes of them. Times in ms."""

    name: str
    amount: str
    start: float
    stages: list[tuple[str, float, bool]]
    outcome: str = "executed"
    note: str = ""
    lost: list[float] = field(default_factory=list)

    @property
    def end(self) -> float:
        return self.start + sum(took for _, took, _ in self.stages)

    @property
    def who(self) -> str:
        return f"0x{int(self.name) * 0x5813ED44A7:064x}" if self.stages else ""

    def numbers(self, lane: int, now: float) -> list[float]:
        """This lane as of `now`, as the protocol tells it."""
        if self.start > now:
            return [lane, OUTCOME_AT["not_come"], self.start, NAN, NAN, NAN, 0, 0]
        ended, at, segs = self.end <= now, self.start, []
        for word, took, struck in self.stages:
            if at > now:
                break
            to = at + took
            known = to if to <= now else NAN
            segs.append([STAGE_AT[word], at, known, 1 if struck and to <= now else 0])
            at = to
        if ended and self.stages and self.outcome in LAST_STAGE:
            segs.append([STAGE_AT[LAST_STAGE[self.outcome]], self.end, NAN, 0])
        delivered = self.end if ended and self.outcome == "executed" else NAN
        outcome = OUTCOME_AT[self.outcome if ended else "open"]
        lost = [each for each in self.lost if each <= now]
        head = [lane, outcome, self.start, self.start, self.end if ended else NAN, delivered]
        return [*head, len(segs), *(n for seg in segs for n in seg), len(lost), *lost]


def stages_of(text: str) -> list[tuple[str, float, bool]]:
    words = text.split()
    return [(LETTERS[w[0]], float(w[1:].rstrip("~")) * 1000, w.endswith("~")) for w in words]


PLAIN = "a4 c4 f4 s8 F4 x8"
# Arrival in s, amount in YPS, stages, outcome, why it was not executed.
STORM: tuple[tuple[float, float, str, str, str], ...] = (
    (7, 147.8, "a1 c5 f4 s9 F4 x6", "executed", ""),
    (8, 147.8, "a4 c4 f4 s9 F4 x7", "executed", ""),
    (13, 100, "", "asked_only", "asked the price only"),
    (22, 472.7, "q1 a2 c4 f4 s8 F4 x8", "executed", ""),
    (22.5, 100, "", "gave_up", "signed other terms"),
    (25, 347.5, "a3 c4 f4 s9 F4 x7", "executed", ""),
    (32, 100, "q41 c3", "refunded", "deadline passed"),
    (32, 100, "q41 c3", "refunded", "deadline passed"),
    (36, 159.5, "c4 f4 s9 F4 x7", "executed", ""),
    (37, 145.8, "a3 c4 f4 s9 F4 x7", "executed", ""),
    (57, 161.9, "a3 c4 f4 s8 x4 x2~ x2", "executed", ""),
    (73.5, 283.9, "c3 f4 f3~ f12 s8 F5 F7~ x8", "executed", ""),
    (79, 421.8, "c2~ c14 f4 s8 F8 x8", "executed", ""),
    (82, 454.5, "a10 c4 f4 s8 F8 x8", "executed", ""),
    (87, 475.3, "a5 c4 f4 s8 F8 x8", "executed", ""),
    (93, 31.2, "a3 c4 f4 s4~ s4 F4 x8", "executed", ""),
    (98, 100, "a2 c16", "refunded", "buyer had no EURC left"),
    (101, 63.4, "a2 a5~ c8~ c4~ f4 s8 F4 x2~ x8", "executed", ""),
    (129, 49.3, "a3 c4 c2~ f10 s60 x8", "executed", ""),
    (129, 100, "", "gave_up", "signed other terms"),
    (132, 118.5, "a4 a8~ c4 f4 s56 x8", "executed", ""),
    (146, 324.3, "a2 c4 f56 s8 F4 x8", "executed", ""),
    (149, 12.6, "a3 c56", "refunded", "deadline passed"),
    (166, 261.4, "a43", "rejected", "deadline passed before it was on chain"),
    (189, 281.3, "a19 c8 f4 s8 F12 x8", "executed", ""),
    (189, 273.8, "a19 c8 f4 s8 F12 x8", "executed", ""),
    (199, 100, "", "asked_only", "asked the price only"),
    (204, 79.5, "a4 c8 f4 s8 F12 x8", "executed", ""),
    (206.5, 344.2, "a1.5 c8 f4 s8 F12 x8", "executed", ""),
    (215, 447.0, "a1 c4 f4 s4~ s4 F4 x12", "executed", ""),
    (234, 192.6, "a2 c4 f4 s8 F4 x8", "executed", ""),
    (256, 20.1, "c8 f4 s8 F4 F8~ x8", "executed", ""),
    (258, 100, "a1 c8", "refunded", "its transaction reverted"),
    (268, 385.3, "a4 c4 f4 s3~ s5 F4 x8", "executed", ""),
    (331, 100, "a1 c14", "refunded", "buyer had no EURC left"),
)
REORGS = ((76, 1), (84, 2), (112, 2), (140, 1), (212, 1), (232, 2), (284, 1))
AWAY = (153, 208)
RATES = ((0, 1.1004), (10, 1.0957), (90, 1.0913), (248, 1.0938), (270, 1.0913), (350, 1.0869))
REFERENCES = ((0, 1.1004), (20, 1.0957), (136, 1.0913))
SWAPS = (16, 20, 32, 36, 44, 48, 68, 96, 100, 104, 124, 148, 152, 208, 220, 224, 244, 268, 280)


def rate_at(rates: Iterable[tuple[float, float]], at: float) -> float:
    return [rate for since, rate in rates if since <= at][-1]


def storm_lanes(seed: int = 6) -> list[Lane]:
    """The 35 buyers of the picture; messages lost by chance, the same for a seed."""
    chance, lanes = random.Random(seed), []
    for n, (start, amount, text, outcome, note) in enumerate(STORM):
        stages = stages_of(text)
        # One that only asked is over at its 402.
        lane = Lane(str(n + 1), f"{amount:.1f} YPS", start * 1000, stages, outcome, note)
        span = lane.end - lane.start
        lost = chance.choice((0, 0, 1, 1, 2)) if stages else 0
        lane.lost = sorted(lane.start + chance.random() * span for _ in range(lost))
        lanes.append(lane)
    return lanes


def storm_marks(seed: int = 6, until_s: int = 372) -> list[Mark]:
    """Rates, swaps, reorgs, fees, an outage, messages lost and late, in the order of time."""
    chance = random.Random(seed)
    marks: list[Mark] = [(MARKET, at * 1000.0, rate * 1e8, 0) for at, rate in RATES]
    marks += [(REFERENCE, at * 1000.0, rate * 1e8, 0) for at, rate in REFERENCES]
    paid = [(at, max(rate_at(RATES, at), rate_at(REFERENCES, at - 8))) for at in SWAPS if at > 8]
    marks += [(SWAP, at * 1000.0, rate * 1e8, 0) for at, rate in paid]
    marks += [(REORG, at * 1000.0, depth, 0) for at, depth in REORGS]
    marks += [(FEE, 172_000.0, 5, 0), (FEE, 336_000.0, 7, 0)]
    marks += [(DOWN, AWAY[0] * 1000.0, 1, 0), (UP, AWAY[1] * 1000.0, 1, 0)]
    marks += [(BLOCK, 4000.0 * n, 29 + n, 0) for n in range(until_s // 4)]
    for kind, count in ((LOST, 61), (LATE, 94), (TRANSACTION, 17)):
        marks += [(kind, chance.uniform(5, 290) * 1000, 0, 0) for _ in range(count)]
    return sorted(marks, key=lambda mark: (mark[1], mark[0]))


def load_lanes(count: int, seed: int = 7, gap_ms: float = 60) -> list[Lane]:
    """Many buyers, one every `gap_ms`, each with a life of its own."""
    chance, lanes = random.Random(seed), []
    kinds = ("executed",) * 16 + ("refunded", "rejected", "gave_up", "asked_only")
    whys = {"refunded": "deadline passed", "rejected": "deadline passed", "gave_up": "gave up"}
    for n in range(count):
        outcome = chance.choice(kinds)
        text = {"executed": PLAIN, "refunded": "a4 c30", "rejected": "a20"}.get(outcome, "")
        stages = [(w, took * chance.uniform(0.4, 2.5), s) for w, took, s in stages_of(text)]
        amount = f"{chance.uniform(10, 500):.1f} YPS"
        lanes.append(Lane(str(n + 1), amount, n * gap_ms, stages, outcome, whys.get(outcome, "")))
    return lanes


# --- As messages ---


def look_of(look: StateRow) -> dict[str, Any]:
    names = ("word", "label", "colour", "shape", "is_end")
    return {name: getattr(look, name) for name in names}


def setup(**changes: Any) -> dict[str, Any]:
    return {
        "kind": "setup",
        "stages": [look_of(look) for look in (*STAGES, *PAYOUT_STAGES)],
        "first_payout_stage": len(STAGES),
        "outcomes": [look_of(look) for look in OUTCOMES],
        "palette": {key: list(pair) for key, pair in PALETTE.items()},
        "title": "What happens to 35 purchases when the facilitator dies?",
        "subtitle": "storm-facilitator.yaml, seed 6",
        "about": "35 buyers in 6 min.",
        "duration_ms": 360_000,
        "block_ms": 4_000,
        "band_bps": 100,
        "services": ["seller", "facilitator", "tracker", "payouts"],
        "buyers": 35,
        "commands": [],
    } | changes


def state(word: str, now_ms: float, **changes: Any) -> dict[str, Any]:
    words = {"live": "Running", "empty": "Not started", "loading": "Booting"}
    return {
        "kind": "state",
        "state": word,
        "word": words.get(word, word.capitalize()),
        "pace": "12 × real time, 11 s left" if word == "live" else "",
        "now_ms": now_ms,
        "block": None if word in ("empty", "loading") else 28 + int(now_ms // 4000),
        "trace": "a3d2d4f7c933" if word == "done" else "",
        "progress": None,
        "progress_text": "",
        "empty": None,
        "error": None,
        "rules": {"broken": 0, "asked": 21, "undone": 0},
        "money": [
            ["To the seller", "3,828.98 USDC"],
            ["Back to buyers", "36.51 EURC"],
            ["Gas, p50 each", "499,342 gas"],
        ],
        "repeat": "workbench replay runs/storm-facilitator-6",
    } | changes


def lanes_message(
    lanes: list[Lane], now: float, *, only: Iterable[int] | None = None, reset: bool = True
) -> tuple[dict[str, Any], bytes]:
    """All lanes as of `now`, or only some of them."""
    chosen = range(len(lanes)) if only is None else only
    data, names = array("d"), []
    for n in chosen:
        lane = lanes[n]
        data.extend(lane.numbers(n, now))
        names.append([n, lane.name, lane.amount, lane.note, lane.who, 0])
    message = {"kind": "lanes", "reset": reset, "names": names, "lanes": len(lanes)}
    return message, data.tobytes()


def marks_message(
    marks: list[Mark], now: float, *, since: float = -1, reset: bool = True
) -> tuple[dict[str, Any], bytes]:
    rows = array("d", (n for mark in marks if since < mark[1] <= now for n in mark))
    return {"kind": "marks", "reset": reset}, rows.tobytes()


def snapshot(
    word: str = "done", now: float = 372_000, **changes: Any
) -> Iterator[tuple[dict[str, Any], bytes | None]]:
    """The storm as of `now`, as the answer to `hello`."""
    yield setup(**changes), None
    yield lanes_message(storm_lanes(), now)
    yield marks_message(storm_marks(), now)
    yield state(word, now), None


def facts(lane: int) -> dict[str, Any]:
    """An answer to `open`: five facts, of which one was taken back."""
    texts = ["402 offered", "Payment authorized", "Created", "Funded", "Swapped"]
    lines = [
        {
            "at_ms": 7000 + 4000 * n,
            "text": text,
            "source": ("msg", "msg", "tx", "log", "log")[n],
            "right": f"block {30 + n}" if n > 1 else "",
            "struck": n == 3,
            "colour": ("requested", "authorized", "created", "funded", "swapped")[n],
        }
        for n, text in enumerate(texts)
    ]
    title = f"Buyer {lane + 1}"
    return {"kind": "facts", "lane": lane, "title": title, "lines": lines, "more": "more facts"}
