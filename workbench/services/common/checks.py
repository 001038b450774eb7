"""Every check of the four services: what it looks at, how old it may be, and what to do."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Check:
    """`subject` begins the text of an alarm about its age, `remedy` ends each: what to do.

    `max_age_s`: seconds since the last success after which it is red; None: age does not matter.
    `is_prompt`: any reason makes it red at once; else a reason is only told once it is too old.
    `is_warning`: an alarm that leaves /readyz at 200. `lasts_s`: a reason is forgotten after this
    time, since nothing tells that it is gone.
    """

    name: str
    subject: str
    remedy: str
    max_age_s: float | None = None
    is_prompt: bool = True
    is_warning: bool = False
    lasts_s: float | None = None


_LIST = (
    Check("chain", "reading the chain", "Check the node and the RPC URL."),
    Check("store", "the database", "Check the database's disk, locks and connection."),
    Check(
        "rounds",
        "a round of the service",
        "It is tried again. A defect's trace is in the log: report it.",
        max_age_s=600,
    ),
    Check(
        "requests",
        "answering requests",
        "It was answered with 500. The trace is in the log: report it.",
        is_warning=True,
        lasts_s=600,
    ),
)
CHECKS = {check.name: check for check in _LIST}
_ALL = ("chain", "store", "rounds", "requests")
SERVICES = {
    "seller": _ALL,
    "facilitator": _ALL,
    "tracker": _ALL,
    "payouts": _ALL,
}
"""The checks of each service."""
