"""What a source of lanes says of itself: what it is about, and how it stands now."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from workbench.core.errors import WorkbenchError
from workbench.core.invariants import INVARIANTS, PAYOUT_INVARIANTS
from workbench.core.invariants.journal import RULES
from workbench.scenario import FAULT_SITES, Scenario

SERVICES = ("seller", "facilitator", "tracker", "payouts")
SITES = tuple(FAULT_SITES)
STATES = ("empty", "loading", "live", "paused", "done", "stopped", "broken")
OVER = frozenset({"done", "stopped"})
NO_RUN = "No run yet"
NO_RUN_TEXT = (
    "Show a running scenario, a finished run, its folder, or the address of a served tracker."
)
BOOTING = "Booting the chain"
BOOTING_TEXT = "The node starts, and the contracts are deployed."


@dataclass(frozen=True, slots=True)
class SourceText:
    """What is shown instead of lanes, or below them: a title and a sentence or two."""

    title: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSetup:
    """What does not change while a source is shown.

    `duration_ms`: the planned span, `block_ms`: time between blocks, `buyers`: how many are
    ordered; 0 where unknown. `band_bps`: the reference rate's band, if known. `rules`: how many
    rules are asked (None: unknown).
    """

    title: str = "Settlements"
    subtitle: str = ""
    about: str = ""
    duration_ms: int = 0
    block_ms: int = 0
    band_bps: int | None = None
    services: tuple[str, ...] = SERVICES
    buyers: int = 0
    rules: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceState:
    """How a source stands.

    `state`: one of `STATES`, `word`: how people call it. `now_ms`: the right edge, milliseconds
    since the origin. `trace`: the run's name, once it has one. `progress`: 0 to 1, where known.
    """

    state: str = "empty"
    word: str = "Not started"
    pace: str = ""
    now_ms: int = 0
    block: int | None = None
    trace: str = ""
    progress: float | None = None
    progress_text: str = ""
    empty: SourceText | None = None
    error: SourceText | None = None
    repeat: str = field(default="")


def setup_of(scenario: Scenario, seed: int) -> SourceSetup:
    """What a scenario and its seed say of a run."""
    title = re.split(r"(?<=[.?!])\s", scenario.about.strip(), maxsplit=1)[0].rstrip(".")
    here = SERVICES if scenario.payouts else SERVICES[:-1]
    rules = len(RULES) + len(INVARIANTS) + (len(PAYOUT_INVARIANTS) if scenario.payouts else 0)
    # Both lists have a rule of this name, and it is asked twice.
    names = {rule.__name__ for rule in RULES} & {rule.__name__ for rule in INVARIANTS}
    return SourceSetup(
        title=title or scenario.name,
        subtitle=f"{scenario.name}.yaml, seed {seed}",
        about=scenario.about,
        duration_ms=1_000 * scenario.duration_s,
        block_ms=scenario.chain.block_time_ms,
        band_bps=scenario.market.band_bps,
        services=here,
        buyers=sum(group.count for group in scenario.buyers),
        rules=rules - len(names),
    )


def text_of(why: BaseException) -> SourceText:
    """The sentence of an error, and what to do about it."""
    if isinstance(why, WorkbenchError):
        return SourceText(sentence(why.message), why.hint)
    return SourceText(f"{type(why).__name__}: {why}", "")


def sentence(text: str) -> str:
    """With a capital letter, unless it begins with the name of a file, a site or a setting."""
    return text[:1].upper() + text[1:] if re.match(r"[a-z]+ ", text) else text
