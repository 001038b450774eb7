"""Faults that a person orders: the sites, and the parameter of each."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any, NoReturn

from workbench.core.errors import OrderRefused
from workbench.scenario.kinds import closest
from workbench.scenario.measures import InvalidValue, Measure
from workbench.scenario.model import FAULT_SITES, FaultSite
from workbench.scenario.reading import shown
from workbench.scenario.table import MEASURES

_INTEGER = re.compile(r"-?[0-9]{1,24}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultField:
    """One site where a fault may be ordered.

    `does`: the effect. `each`: what one pass of the site is ("commit"). `unit`: of the parameter,
    "" without one. `least`, `most` and `default`: texts in that unit ("30 s"), or "" without a
    parameter.
    """

    name: str
    does: str
    each: str
    unit: str
    least: str
    most: str
    default: str

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


def fault_fields() -> list[FaultField]:
    """Return every site, in the order of FAULT_SITES."""
    return [
        FaultField(
            name=name,
            does=site.does,
            each=site.each,
            unit=site.unit,
            least=_words(site, site.least),
            most=_words(site, site.most),
            default=_words(site, site.high),
        )
        for name, site in FAULT_SITES.items()
    ]


def read_parameter(site: str, value: str | int | None = None) -> int:
    """Return the parameter of an ordered fault, in the unit of its site.

    "55 s", "55" and 55 are equal at a site in seconds, and None or "" is the site's own `high`. At
    a site without a parameter only None, "" and 0 are valid, and the result is 0. Raises
    OrderRefused with the bounds, or with all sites if there is no such site.
    """
    if site not in FAULT_SITES:
        near, known = closest(site, tuple(FAULT_SITES)), ", ".join(FAULT_SITES)
        _refuse(
            site, "is no site of faults" + (f"{near} All are {known}." if "?" in near else near)
        )
    place = FAULT_SITES[site]
    said = "" if value is None else _as_text(value)
    if not place.unit and said not in ("", "0"):
        _refuse(site, f"takes no parameter; leave {shown(said)} away.")
    if not place.unit or not said:
        return place.high
    try:
        number = _read(MEASURES[place.unit], value)
    except InvalidValue as why:
        example = _words(place, place.high)
        _refuse(site, f'{shown(said)} {why}; write such as "{example}", {_bounds(place)}.')
    if not place.least <= number <= place.most:
        _refuse(site, f"{shown(said)} is out of bounds, {_bounds(place)}.")
    return number


def _read(measure: Measure, value: Any) -> int:
    """Return the value in the base unit of `measure`. Raises InvalidValue."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    text = _as_text(value)
    return int(text) if _INTEGER.fullmatch(text) else measure.read(text)


def _as_text(value: Any) -> str:
    """Return the input as text, also if Python refuses to print a number."""
    huge = isinstance(value, int) and value.bit_length() > 1_000
    return "a huge number" if huge else str(value).strip()


def _words(site: FaultSite, value: int) -> str:
    return MEASURES[site.unit].write(value, site.unit) if site.unit else ""


def _bounds(site: FaultSite) -> str:
    return f"{_words(site, site.least)} to {_words(site, site.most)}"


def _refuse(site: str, told: str) -> NoReturn:
    name = site if site in FAULT_SITES else shown(site)
    raise OrderRefused(f"{name} {told}", sites=list(FAULT_SITES))
