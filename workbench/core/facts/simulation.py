"""Facts of the simulator: faults, participants, market, and broken invariants."""

from __future__ import annotations

from dataclasses import dataclass

from workbench.core.facts.base import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultInjected(Event):
    """A fault was injected. `source`: `simulator` (drawn by chance) or `hand` (ordered).

    The subject is the affected settlement or the name of the simulated buyer, if known.
    """

    site: str
    """The name of the fault in scenario files."""
    target: str
    """The affected message, service or chain."""
    parameter: int
    """In the unit of the site; see `scenario.FAULT_SITES`."""
    tx: str = ""
    """Hash of the affected transaction, if any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultOrdered(Event):
    """A person ordered a fault during the run. It may fire from `at_ms` on."""

    site: str
    parameter: int
    """In the unit of the site."""
    passes: int
    """How many of the next passes of the site it affects."""
    target: str
    """Only passes whose target contains this text count. "": all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceRestarted(Event):
    """A crashed service restarted from its database. `target`: its name."""

    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketMoved(Event):
    """The market rate changed: USDC for one EURC, times 10**8."""

    usdc_per_eurc_e8: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BuyerPlanned(Event):
    """The scenario plans this buyer, for one purchase. The subject is the buyer's name."""

    kind: str
    address: str
    """The account that it pays from."""
    comes_ms: int
    """When it begins, in Unix milliseconds."""
    units: int
    """Base units of the asset."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuyerServed(Event):
    """A simulated buyer finished. The subject is the buyer's name."""

    kind: str
    settlement_id: str
    """The settlement that it followed to its end. "": it only asked for the price."""
    status: str
    """`executed`, `refunded`, `rejected`, or ""."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuyerGaveUp(Event):
    """A simulated buyer stopped before the end of its purchase. The subject is its name."""

    kind: str
    code: str
    """Code of the error; `out_of_time` if the scenario ended or was stopped before."""
    message: str
    settlement_id: str = ""
    """The settlement that it authorized, if any."""
    address: str = ""
    """The account that it pays from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PayoutAnswered(Event):
    """A simulated user's request for a payout was answered, or timed out.

    The subject is the payout, or the user's name if there is no payout.
    """

    user_id: str
    kind: str
    status: int
    """HTTP status; 0 for no answer in time."""
    code: str
    """Code of the error, if any."""
    replayed: bool
    """True if it is the answer of an earlier request with the same idempotency key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InvariantBroken(Event):
    """An invariant does not hold. The subject is the settlement, if it concerns one."""

    invariant: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BalanceObserved(Event):
    """An account's balance at the end of a run, in base units."""

    account: str
    token: str
    amount: int
