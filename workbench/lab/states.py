"""The description and the present state of a source of lanes."""

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
    """A text instead of lanes, or below them: a title and one or two sentences."""

    title: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSetup:
    """The constant description of a source.

    `duration_ms`: the planned span; `block_ms`: time between blocks; `buyers`: number of planned
    buyers; 0 if unknown. `band_bps`: the band of the reference rate, if known. `rules`: number of
    invariants (None: unknown).
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
    """The state of a source.

    `state`: one of `STATES`; `word`: its label. `now_ms`: the right edge, milliseconds since the
    origin. `trace`: the run's name, once it has one. `progress`: 0 to 1, if known.
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
    """Return the description of a run with this scenario and seed."""
    title = re.split(r"(?<=[.?!])\s", scenario.about.strip(), maxsplit=1)[0].rstrip(".")
    here = SERVICES if scenario.payouts else SERVICES[:-1]
    rules = len(RULES) + len(INVARIANTS) + (len(PAYOUT_INVARIANTS) if scenario.payouts else 0)
    # Both lists have an invariant of this name.
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
    """Return the text of an error and its hint."""
    if isinstance(why, WorkbenchError):
        return SourceText(sentence(why.message), why.hint)
    return SourceText(f"{type(why).__name__}: {why}", "")


def sentence(text: str) -> str:
    """Return a text with a capital letter, unless it begins with a file, a site or a setting."""
    return text[:1].upper() + text[1:] if re.match(r"[a-z]+ ", text) else text
