"""One frozen `Scenario`: what the simulator plays, read from `scenarios/*.yaml`."""

from workbench.scenario.files import assignments, load, override, parse, survey, to_yaml, words
from workbench.scenario.model import (
    FAULT_SITES,
    KINDS,
    PLANTS,
    Arbitrageur,
    Arrivals,
    BuyerGroup,
    Chain,
    FacilitatorSide,
    Fault,
    Market,
    Path,
    Scenario,
    SellerSide,
    Site,
    Size,
)
from workbench.scenario.schema import schema_json, schema_text

__all__ = [
    "FAULT_SITES",
    "KINDS",
    "PLANTS",
    "Arbitrageur",
    "Arrivals",
    "BuyerGroup",
    "Chain",
    "FacilitatorSide",
    "Fault",
    "Market",
    "Path",
    "Scenario",
    "SellerSide",
    "Site",
    "Size",
    "assignments",
    "load",
    "override",
    "parse",
    "schema_json",
    "schema_text",
    "survey",
    "to_yaml",
    "words",
]
