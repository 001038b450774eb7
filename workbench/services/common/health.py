"""What a service knows of its own state: one registry of checks, and the alarms that follow.

A prompt check is red as soon as it is told a reason. A check with a maximum age is red when its
last success is older than that, whatever the reason, also where it never ran. So a check that
cannot run is an alarm with its name, never silence.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from workbench.core.errors import WorkbenchError
from workbench.core.ports import Clock
from workbench.services.common.checks import CHECKS, Check

log = logging.getLogger("workbench")

SHOWN = 3
"""At most this many reasons of one check are named in its alarm."""


@dataclass(slots=True)
class _State:
    """One check at work. `last_ok_ms`: last success, or when the check was registered."""

    check: Check
    max_age_s: float | None
    last_ok_ms: int
    failed_ms: int = 0
    has_run: bool = False
    is_resting: bool = False
    reasons: dict[str, str] = field(default_factory=dict)


class Health:
    """The checks of one service. `ages`: maximum ages in seconds, by name of periodic checks."""

    def __init__(
        self, clock: Clock, service: str, names: Iterable[str], ages: Mapping[str, float] = {}
    ) -> None:
        self._clock, self.service = clock, service
        now = clock.now_ms()
        self._states = {
            name: _State(CHECKS[name], ages.get(name, CHECKS[name].max_age_s), now)
            for name in names
        }
        self.errors = Counter[str]()
        """Faults of rounds and requests by error code, since the start."""

    # --- What checks report ---

    def ok(self, name: str, key: str = "") -> None:
        """The check has succeeded. `key`: for that one thing, where it looks at several; the
        success of the whole check, which sets its age to 0, has none."""
        state = self._states[name]
        if state.reasons and state.reasons.pop(key, None) is not None:
            log.warning("%s: %s: well again", self.service, name)
        if not key:
            state.last_ok_ms, state.has_run, state.is_resting = self._clock.now_ms(), True, False

    def fails(self, name: str, reason: str, key: str = "") -> None:
        """The check has failed, or could not run, because of `reason` (one sentence)."""
        state = self._states[name]
        state.failed_ms, state.is_resting = self._clock.now_ms(), False
        if state.reasons.get(key) != reason:
            log.warning("%s: %s: %s", self.service, name, reason)
            state.reasons[key] = reason

    def clear(self, name: str, key: str = "") -> None:
        """The reason is gone; whether the check succeeds is not known, so its age goes on."""
        self._states[name].reasons.pop(key, None)

    def set(self, name: str, reason: str, key: str = "") -> None:
        """`fails` with this reason; `ok` where it is empty."""
        if reason:
            self.fails(name, reason, key)
        else:
            self.ok(name, key)

    def rest(self, name: str) -> None:
        """Another process does this check: here it neither ages nor fails."""
        state = self._states[name]
        state.reasons.clear()
        state.last_ok_ms, state.is_resting = self._clock.now_ms(), True

    def count(self, why: Exception) -> None:
        """Count a fault by its code; one that is not of our tree by the name of its type."""
        self.errors[why.code if isinstance(why, WorkbenchError) else type(why).__name__] += 1

    # --- What follows ---

    def watches(self, name: str) -> bool:
        """Whether this service has a check of that name."""
        return name in self._states

    def failing(self, name: str) -> bool:
        """Whether a check is red."""
        return bool(self._text(self._states[name]))

    def alarms(self) -> dict[str, str]:
        """The red checks in alphabetical order, each with its reason and what to do."""
        texts = {name: self._text(self._states[name]) for name in sorted(self._states)}
        return {name: text for name, text in texts.items() if text}

    def is_ready(self) -> bool:
        """Whether nothing is red but warnings."""
        return all(CHECKS[name].is_warning for name in self.alarms())

    def report(self) -> dict[str, dict[str, Any]]:
        """Each check: `ok`, and `age_s` since its last success (None if it never ran)."""
        return {
            name: {
                "ok": not self._text(state),
                "age_s": self._age_s(state) if state.has_run else None,
            }
            for name, state in sorted(self._states.items())
        }

    def _age_s(self, state: _State) -> int:
        now = self._clock.now_ms()
        # A clock that was set back must not keep a check young for ever.
        state.last_ok_ms = min(state.last_ok_ms, now)
        return (now - state.last_ok_ms) // 1000

    def _text(self, state: _State) -> str:
        reason = "; ".join(list(state.reasons.values())[:SHOWN])
        more = len(state.reasons) - SHOWN
        reason += f"; and {more} more" if more > 0 else ""
        check, now = state.check, self._clock.now_ms()
        if check.lasts_s is not None and not 0 <= now - state.failed_ms < check.lasts_s * 1000:
            return ""
        if reason and check.is_prompt:
            return f"{reason} {check.remedy}"
        if state.max_age_s is None or state.is_resting:
            return ""
        age = self._age_s(state)
        if age <= state.max_age_s:
            return ""
        cause = reason or "it did not come to its end."
        return f"{check.subject} has not succeeded for {_span(age)}: {cause} {check.remedy}"


def _span(seconds: int) -> str:
    if seconds < 120:
        return f"{seconds} s"
    return f"{seconds // 60} minutes" if seconds < 7_200 else f"{seconds // 3_600} hours"


def brief(why: Exception) -> str:
    """A fault in one sentence: ours by its message; a foreign one by its type, as its text may
    hold anything."""
    if isinstance(why, WorkbenchError):
        return why.message
    return f"a defect: {type(why).__name__}; its trace is in the log."
