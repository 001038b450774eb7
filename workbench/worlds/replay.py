"""Orders and faults of a run that is played again with changes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from workbench.core.errors import OrderRefused
from workbench.scenario import FAULT_SITES, Order, Scenario, order_for


def orders_again(
    scenario: Scenario,
    orders: Sequence[Order],
    *,
    until_s: float | None = None,
    without: object = None,
    with_: object = None,
) -> tuple[Order, ...]:
    """Return the orders of the next run.

    Without `until_s`: all `orders` except those that `without` names, and `with_`. With `until_s`:
    the orders that took effect before that moment, whatever `without` names, and `with_`, none of
    which may be earlier; an order of `with_` without a moment takes effect then. Raises
    OrderRefused.
    """
    dropped, sites = _split(without)
    added = [_checked(scenario, each) for each in _orders(with_)]
    until_ms = _until_ms(scenario, until_s)
    if until_ms is None:
        kept = [each for each in orders if each not in dropped and each.site not in sites]
        return (*kept, *added)
    early = [each for each in added if each.at_ms is not None and each.at_ms < until_ms]
    if early:
        raise OrderRefused(
            f"{early[0].site} is ordered at {early[0].at_s:g} s, and the run is to be the same "
            f"until {until_s:g} s.",
            hint="Order it later, or leave its moment out.",
        )
    kept = [each for each in orders if each.at_ms is not None and each.at_ms < until_ms]
    later = [each if each.at_s is not None else replace(each, at_s=until_s) for each in added]
    return (*kept, *later)


def _checked(scenario: Scenario, order: Order) -> Order:
    """Return the order with its parameter read. Raises OrderRefused if the scenario cannot carry it
    out."""
    return order_for(
        scenario,
        order.site,
        order.parameter,
        at_s=order.at_s,
        passes=order.passes,
        target=order.target,
    )


def scenario_again(scenario: Scenario, without: object, until_s: float | None) -> Scenario:
    """Return the scenario without its own faults at the sites that `without` names.

    They stop at `until_s` (rounded up to whole seconds), or never begin. They stay in the list, so
    that other faults draw the same random numbers as before.
    """
    _, sites = _split(without)
    until_ms = _until_ms(scenario, until_s)
    faults = []
    for fault in scenario.faults:
        if fault.site not in sites:
            faults.append(fault)
        elif until_ms is None or math.ceil(until_ms / 1000) <= fault.start_s:
            faults.append(replace(fault, active_ppm=0))
        else:
            faults.append(replace(fault, stop_s=min(fault.stop_s, math.ceil(until_ms / 1000))))
    return replace(scenario, faults=tuple(faults))


def _until_ms(scenario: Scenario, until_s: float | None) -> int | None:
    if until_s is None:
        return None
    if isinstance(until_s, bool) or not 0 <= until_s <= scenario.duration_s:
        raise OrderRefused(
            f"until_s is {until_s!r}, and {scenario.name} lasts from 0 to {scenario.duration_s} s."
        )
    return round(until_s * 1000)


def _split(without: object) -> tuple[list[Order], set[str]]:
    """Split into orders and names of sites."""
    dropped: list[Order] = []
    sites: set[str] = set()
    for each in _listed(without):
        if isinstance(each, Order):
            dropped.append(each)
        elif isinstance(each, str) and each in FAULT_SITES:
            sites.add(each)
        else:
            raise OrderRefused(
                f"{each!r} is neither an order of a run nor a fault site.",
                hint=f"Give run.orders, or sites: {', '.join(FAULT_SITES)}.",
            )
    return dropped, sites


def _orders(with_: object) -> list[Order]:
    found = [each for each in _listed(with_) if isinstance(each, Order)]
    if len(found) < len(_listed(with_)):
        raise OrderRefused(
            "with_ takes orders.", hint='Make one: Order("crash.facilitator", "55 s", at_s=150).'
        )
    return found


def _listed(given: object) -> list[object]:
    if given is None:
        return []
    if isinstance(given, str | Order) or not isinstance(given, Iterable):
        return [given]
    return list(given)
