"""The health of a service: one registry of checks, and the alarms that follow from it.

A check is red when a reason is older than its grace, or when its last success is older than its
maximum age, also if it never ran. So a check that cannot run raises an alarm with its name.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from workbench.core.errors import WorkbenchError
from workbench.core.ports import Clock
from workbench.services.common.checks import CHECKS, HealthCheck

log = logging.getLogger("workbench")
_NUMBER = re.compile(r"0x[0-9a-fA-F]+|[0-9]+")
SHOWN = 3
"""Most reasons of one check in its alarm."""


@dataclass(slots=True)
class CheckReason:
    text: str
    since_ms: int
    told_ms: int


@dataclass(slots=True)
class CheckState:
    """The state of one check. `last_ok_ms`: last success, or the time of registration."""

    check: HealthCheck
    max_age_s: float | None
    last_ok_ms: int
    has_run: bool = False
    is_resting: bool = False
    reasons: dict[str, CheckReason] = field(default_factory=dict)


class Health:
    """The checks of one service. `ages`: maximum ages in seconds, by name of check.

    `is_public`: True if other machines reach the service, so that reasons are hidden.
    """

    def __init__(
        self,
        clock: Clock,
        service: str,
        names: Iterable[str],
        ages: Mapping[str, float] = {},
        *,
        is_public: bool = False,
    ) -> None:
        self._clock, self.service, self.is_public = clock, service, is_public
        now = clock.now_ms()
        self._states = {
            name: CheckState(CHECKS[name], ages.get(name, CHECKS[name].max_age_s), now)
            for name in names
        }
        self.errors = Counter[str]()
        """Faults of rounds and requests since the start, by error code."""
        self.newest_block: int | None = None
        self.balances: dict[str, int] = {}
        """What was last read from the chain: the newest block, and wei by account."""

    # --- What checks report (`core.ports.Reports`) ---

    def ok(self, name: str, key: str = "") -> None:
        """Record a success. `key`: of one thing, if the check covers several. Without a key, the
        whole check has succeeded and its age is 0."""
        state = self._states[name]
        if state.reasons:
            self.clear(name, key)
        if not key:
            state.last_ok_ms, state.has_run, state.is_resting = self._clock.now_ms(), True, False

    def fails(self, name: str, reason: str, key: str = "") -> None:
        """Record a failure. `reason`: one sentence."""
        state, now = self._states[name], self._clock.now_ms()
        state.is_resting = False
        known = state.reasons.get(key)
        if known is None or _shape(known.text) != _shape(reason):
            log.warning("%s: %s: %s", self.service, name, reason)
        state.reasons[key] = CheckReason(reason, known.since_ms if known else now, now)

    def clear(self, name: str, key: str = "") -> None:
        """Drop a reason. The success of the check is unknown, so its age continues."""
        state = self._states[name]
        if state.reasons.pop(key, None) is not None and not state.reasons:
            log.warning("%s: %s: well again", self.service, name)

    def clear_all(self, name: str) -> None:
        """Drop all reasons of a check."""
        for key in list(self._states[name].reasons):
            self.clear(name, key)

    def keep(self, name: str, keys: Container[str]) -> None:
        """Drop the reasons of all other keys: their things are gone."""
        for key in list(self._states[name].reasons):
            if key not in keys:
                self.clear(name, key)

    def set(self, name: str, reason: str, key: str = "") -> None:
        """Record a failure with this reason, or a success if the reason is empty."""
        if reason:
            self.fails(name, reason, key)
        else:
            self.ok(name, key)

    def rest(self, name: str) -> None:
        """Suspend a check that another process performs: it neither ages nor fails here."""
        self.clear_all(name)
        state = self._states[name]
        state.last_ok_ms, state.is_resting = self._clock.now_ms(), True

    def count(self, why: Exception) -> None:
        """Count a fault by its code, or by its type if it is not of our error tree."""
        self.errors[why.code if isinstance(why, WorkbenchError) else type(why).__name__] += 1

    # --- What follows ---

    def alarms(self) -> dict[str, str]:
        """Return the red checks in alphabetical order, each with its reason and remedy."""
        texts = {name: self._text(self._states[name]) for name in sorted(self._states)}
        return {name: text for name, text in texts.items() if text}

    def shown(self, *, to_all: bool) -> dict[str, str]:
        """Return the alarms. `to_all`: without reasons, which name payouts, accounts and nodes."""
        alarms = self.alarms()
        return {name: CHECKS[name].meaning for name in alarms} if to_all else alarms

    def is_ready(self) -> bool:
        """Return True if nothing is red except warnings."""
        return all(CHECKS[name].is_warning for name in self.alarms())

    def report(self) -> dict[str, dict[str, Any]]:
        """Return for each check `ok`, and for periodic ones `age_s`: seconds since the last
        success, or None."""
        found: dict[str, dict[str, Any]] = {}
        for name, state in sorted(self._states.items()):
            found[name] = {"ok": not self._text(state)}
            if state.max_age_s is not None:
                found[name]["age_s"] = self._age_s(state) if state.has_run else None
        return found

    def metrics(self) -> list[str]:
        """Return the lines for Prometheus: alarms by name, faults by code."""
        prefix, alarms = self.service, self.alarms()
        lines = [f"# TYPE {prefix}_alarm gauge"]
        lines += [f'{prefix}_alarm{{name="{n}"}} {int(n in alarms)}' for n in sorted(self._states)]
        lines += [f"# TYPE {prefix}_errors_total counter"]
        lines += [
            f'{prefix}_errors_total{{code="{c}"}} {n}' for c, n in sorted(self.errors.items())
        ]
        if self.newest_block is not None:
            lines += [f"# TYPE {prefix}_newest_block gauge"]
            lines += [f"{prefix}_newest_block {self.newest_block}"]
        lines += [f"# TYPE {prefix}_balance_wei gauge"] if self.balances else []
        lines += [f'{prefix}_balance_wei{{account="{a}"}} {n}' for a, n in self.balances.items()]
        return lines

    def _age_s(self, state: CheckState) -> int:
        now = self._clock.now_ms()
        # A clock that goes back must not keep a check young.
        state.last_ok_ms = min(state.last_ok_ms, now)
        return (now - state.last_ok_ms) // 1000

    def _standing(self, state: CheckState) -> list[str]:
        """Return the reasons that are not dropped and are older than the grace."""
        now, check, found = self._clock.now_ms(), state.check, []
        for reason in state.reasons.values():
            reason.since_ms = min(reason.since_ms, now)
            stood_ms, silent_ms = now - reason.since_ms, now - reason.told_ms
            is_forgotten = check.lasts_s is not None and silent_ms >= check.lasts_s * 1000
            if check.grace_s is not None and stood_ms >= check.grace_s * 1000 and not is_forgotten:
                found.append(reason.text)
        return found

    def _text(self, state: CheckState) -> str:
        """Return the text of a red check."""
        check, reasons = state.check, self._standing(state)
        if reasons:
            return f"{_joined(reasons)} {check.remedy}"
        if state.max_age_s is None or state.is_resting:
            return ""
        age = self._age_s(state)
        if age <= state.max_age_s:
            return ""
        cause = _joined([each.text for each in state.reasons.values()])
        cause = cause or "it did not come to its end."
        return f"{check.subject} has not succeeded for {_span(age)}: {cause} {check.remedy}"


def _joined(reasons: list[str]) -> str:
    text = "; ".join(reason.rstrip(".") for reason in reasons[:SHOWN])
    more = f"; and {len(reasons) - SHOWN} more" if len(reasons) > SHOWN else ""
    return f"{text}{more}." if text else ""


def _shape(text: str) -> str:
    """Return a reason without its numbers, which change: it is logged once."""
    return _NUMBER.sub("#", text)


def _span(seconds: int) -> str:
    if seconds < 120:
        return f"{seconds} s"
    return f"{seconds // 60} minutes" if seconds < 7_200 else f"{seconds // 3_600} hours"


def brief(why: Exception) -> str:
    """Return a fault in short: our errors with message, and with hint if waiting does not help;
    foreign errors by their type, because their text may hold anything."""
    if isinstance(why, WorkbenchError):
        return why.message if why.transient else str(why)
    return f"a defect: {type(why).__name__}; its trace is in the log."
