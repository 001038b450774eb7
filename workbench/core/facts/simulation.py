"""Facts of the simulator: faults, participants, market, and broken invariants."""

from __future__ import annotations

from dataclasses import dataclass

from workbench.core.facts.base import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultInjected(Event):
    """A fault was made to happen. `source`: `simulator` (drawn by chance) or `hand` (ordered).

    The subject is the settlement it hit, or the name of the simulated buyer, where one of them is
    known. `site`: its name in scenario files. `target`: the message, service or chain it hit.
    `parameter`: in the site's own unit (see `scenario.FAULT_SITES`). `tx`: the hash of the
    transaction it hit, or "".
    """

    site: str
    target: str
    parameter: int
    tx: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultOrdered(Event):
    """A person ordered a fault while the run went on. `at_ms`: the moment from which it may fire.

    `passes`: how many of the site's next passes it hits, those alone whose target contains `target`
    ("": any). `parameter`: in the site's own unit.
    """

    site: str
    parameter: int
    passes: int
    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceRestarted(Event):
    """A service that had crashed is back, from what its store holds. `target`: its name."""

    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketMoved(Event):
    """The market's EUR/USD: USDC for one EURC, times 10**8."""

    usdc_per_eurc_e8: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BuyerPlanned(Event):
    """The scenario ordered this buyer, who comes once. The subject is the buyer's name.

    `comes_ms`: when (Unix milliseconds). `address`: the account it pays from. `units`: base units
    of the asset that it wants.
    """

    kind: str
    address: str
    comes_ms: int
    units: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BuyerServed(Event):
    """A simulated buyer has done what it came for. The subject is the buyer's name.

    `settlement_id`: what it followed to its end, and `status`, how that was: `executed`, `refunded`
    or `rejected`. Both are empty for one who only asks for the price.
    """

    kind: str
    settlement_id: str
    status: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BuyerGaveUp(Event):
    """A simulated buyer saw no end of its purchase. The subject is the buyer's name.

    `code`: the error's; `out_of_time` where the scenario ended, or was stopped, before.
    `settlement_id`: the settlement that it had authorized, or "". `address`: its account.
    """

    kind: str
    code: str
    message: str
    settlement_id: str = ""
    address: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PayoutAnswered(Event):
    """A simulated user's request for a payout came to an answer, or to none.

    The subject is the payout, or the user's name where there is none. `status`: of HTTP, 0 for no
    answer in time; `code`: the error's. `replayed`: it is the answer of an earlier request.
    """

    user_id: str
    kind: str
    status: int
    code: str
    replayed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class InvariantBroken(Event):
    """What must always hold did not. The subject is the settlement it is about, if it is one."""

    invariant: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BalanceObserved(Event):
    """An account's balance at the end of a run, in base units."""

    account: str
    token: str
    amount: int
