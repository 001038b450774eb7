"""Faults that a person orders during a run."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Self

from workbench.core.errors import OrderRefused
from workbench.scenario.fault_orders import read_parameter
from workbench.scenario.model import Scenario

MOST_PASSES = 1_000_000


@dataclass(frozen=True, slots=True)
class Order:
    """The next `passes` passes of a fault site fire, whatever their chance.

    `parameter`: an integer in the site's own unit (`FAULT_SITES`), or text such as "55 s"; None for
    the site's largest usual value. `at_s`: virtual seconds since the scenario's start, to the
    millisecond, at which it takes effect; None: at once. `target`: only passes whose target
    contains this text ("": any). The orders of a run have an integer, and the moment at which they
    took effect.
    """

    site: str
    parameter: int | str | None = None
    at_s: float | None = None
    passes: int = 1
    target: str = ""

    @property
    def at_ms(self) -> int | None:
        """`at_s` in whole virtual milliseconds."""
        return None if self.at_s is None else round(self.at_s * 1000)

    @property
    def number(self) -> int:
        """The parameter in the site's own unit. Raises OrderRefused if it cannot be read."""
        return read_parameter(self.site, self.parameter)

    def to_json(self) -> dict[str, Any]:
        """Return plain data, as in a run folder."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """Return the order of `to_json` data. Raises TypeError for anything else."""
        return cls(**data)


def order_for(
    scenario: Scenario,
    site: str,
    parameter: int | str | None = None,
    *,
    at_s: float | None = None,
    passes: int = 1,
    target: str | None = None,
) -> Order:
    """Return an order that this scenario can carry out.

    `parameter`: an integer in the site's unit, or text such as "55 s"; None for the site's largest
    usual value. `at_s`: virtual seconds since the scenario's start; None: at once. Raises
    OrderRefused with what can be ordered.
    """
    number = read_parameter(site, parameter)
    _require_possible(scenario, site)
    if isinstance(passes, bool) or not isinstance(passes, int) or not 1 <= passes <= MOST_PASSES:
        raise OrderRefused(f"passes is {passes!r}, and not a whole number from 1 to {MOST_PASSES}.")
    _require_moment(scenario, at_s)
    return Order(site, number, at_s, passes, target or "")


def _require_possible(scenario: Scenario, site: str) -> None:
    if site == "crash.payouts" and scenario.payouts is None:
        raise OrderRefused(
            f"{scenario.name} has no payout service that could crash.",
            hint="Order a crash of seller, facilitator or tracker, or give the scenario payouts.",
        )
    if site == "chain.reorg" and not scenario.has_state_roots:
        raise OrderRefused(
            f"the blocks of {scenario.name} have no state root, so the node cannot replace them.",
            hint='Play it with chain.state_root="computed".',
        )


def _require_moment(scenario: Scenario, at_s: float | None) -> None:
    if at_s is None:
        return
    is_number = isinstance(at_s, int | float) and not isinstance(at_s, bool)
    if not is_number or not math.isfinite(at_s) or not 0 <= at_s < scenario.duration_s:
        raise OrderRefused(
            f"at_s is {at_s!r}, and faults of {scenario.name} happen from 0 to "
            f"{scenario.duration_s} s.",
            hint="Give virtual seconds from the scenario's start, or leave it out for at once.",
        )
