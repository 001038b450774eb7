"""The progress of a run in the background."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from workbench.core import facts as ev


@dataclass(frozen=True, slots=True)
class SessionProgress:
    """How far a session is. `state`: see `Session.state`. `phase`: booting, faults (they may
    happen), quiet (they have ended), over. `block`: number of the newest block, None before the
    first. `now_s`: virtual seconds since the scenario's start; `duration_s`: of the phase with
    faults. `wall_s`: seconds since `start()`; `left_s`: estimated seconds until `duration_s`, or
    None. `facts`, `faults`, `gave_up`, `broken`: numbers of facts, injected faults, buyers who gave
    up, and invariant breaches."""

    state: str
    phase: str
    block: int | None
    now_s: float
    duration_s: int
    wall_s: float
    left_s: float | None
    facts: int
    faults: int
    gave_up: int
    broken: int


class FactCounts:
    """Count the facts of an append-only list, each once. Called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen = 0
        self._counts = dict.fromkeys(COUNTED.values(), 0)

    def of(self, events: list[ev.Event]) -> dict[str, int]:
        """Return `faults`, `gave_up` and `broken` among the facts so far."""
        with self._lock:
            fresh = events[self._seen :]
            self._seen += len(fresh)
            for fact in fresh:
                name = COUNTED.get(type(fact))
                if name is not None:
                    self._counts[name] += 1
            return dict(self._counts)


COUNTED: dict[type[ev.Event], str] = {
    ev.FaultInjected: "faults",
    ev.BuyerGaveUp: "gave_up",
    ev.InvariantBroken: "broken",
}
"""The counted types of facts, by the name of their figure."""
