"""One frozen `Scenario`: what the simulator plays, read from `scenarios/*.yaml`."""

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
]
