"""Faults on order: named sites that are switched on per seed, and then fire at random.

Two stages, as FoundationDB's BUGGIFY has them: a seed decides which sites are on at all, so that
some runs are hit by one kind of fault alone; each pass of a site that is on then draws again.
A person may order faults beside those: the next passes of a site, without chance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random

from workbench.core.facts import FaultInjected
from workbench.scenario import Fault
from workbench.scenario.orders import Order
from workbench.sim.rng import SeededStreams

MILLION = 1_000_000


FaultHit = tuple[str, str]
"""What a fault hit: a settlement's id or a buyer's name, and a transaction's hash; "" if none."""


def nothing() -> FaultHit:
    """A fault that hit nothing in particular: a block, a service."""
    return "", ""


class Crashed(BaseException):
    """A simulated process is gone. Nothing catches this on the way out of a service."""


@dataclass(frozen=True, slots=True)
class ActiveSite:
    fault: Fault
    chance: Random


@dataclass(slots=True)
class PendingOrder:
    """An order and how many of its passes are left."""

    order: Order
    left: int


class Faults:
    """The faults of one run. `tell` takes each as the fact that it is.

    Nothing fires before `begin` and after `end`. `now_ms` is the world's clock (Unix ms).
    """

    def __init__(
        self,
        ordered: Iterable[Fault],
        dice: SeededStreams,
        now_ms: Callable[[], int],
        tell: Callable[[FaultInjected], None],
    ) -> None:
        self._now_ms, self._tell, self._sites = now_ms, tell, dict[str, list[ActiveSite]]()
        self._began_ms = 0
        self._ordered: dict[str, list[PendingOrder]] = {}
        self._hit_by_hand: set[str] = set()
        self.quiet = True
        for n, fault in enumerate(ordered):
            chance = dice.stream("fault", fault.site, n)
            if chance.randrange(MILLION) < fault.active_ppm:
                self._sites.setdefault(fault.site, []).append(ActiveSite(fault, chance))

    def begin(self) -> None:
        """From now on faults fire, and their times count."""
        self._began_ms, self.quiet = self._now_ms(), False

    def end(self) -> None:
        """No fault any more: what is broken may heal."""
        self.quiet = True

    def order(self, order: Order) -> None:
        """From now on the next passes of this site fire, those alone that fit the order."""
        self._ordered.setdefault(order.site, []).append(PendingOrder(order, order.passes))

    def over(self, site: str) -> bool:
        """Whether this site cannot fire any more: what it left behind may heal.

        What a person ordered lasts until the scenario's faults end.
        """
        if site in self._hit_by_hand:
            return self.quiet
        last = max((each.fault.stop_s for each in self._sites.get(site, ())), default=0)
        return self.quiet or (self._now_ms() - self._began_ms) / 1000 >= last

    def may(self, *sites: str) -> bool:
        """Whether any of these sites is on in this run, or has an order that has not fired."""
        return any(site in self._sites or site in self._ordered for site in sites)

    def strike(self, site: str, target: str, hit: Callable[[], FaultHit] = nothing) -> int | None:
        """One pass of a site: the fault's parameter where it fires, else None.

        `hit`: what the pass is about; asked only where a fault fires.
        """
        if self.quiet or not (site in self._sites or site in self._ordered):
            return None
        # Chance is drawn first, so that an order shifts no draw of the scenario's own faults.
        drawn = self._drawn(site, self._now_ms())
        ordered = self.strike_ordered(site, target, hit)
        if ordered is not None or drawn is None:
            return ordered
        self._inject(site, target, drawn, "simulator", hit)
        return drawn

    def strike_ordered(
        self, site: str, target: str, hit: Callable[[], FaultHit] = nothing
    ) -> int | None:
        """The same without chance: only what a person ordered."""
        order = None if self.quiet else self._next_order(site, target)
        if order is None:
            return None
        self._inject(site, target, order.number, "hand", hit)
        return order.number

    def _inject(
        self, site: str, target: str, parameter: int, source: str, hit: Callable[[], FaultHit]
    ) -> None:
        subject, tx = hit()
        self._tell(
            FaultInjected(
                subject=subject,
                at_ms=self._now_ms(),
                source=source,
                site=site,
                target=target,
                parameter=parameter,
                tx=tx,
            )
        )

    def _drawn(self, site: str, now_ms: int) -> int | None:
        for each in self._sites.get(site, ()):
            if not each.fault.start_s <= (now_ms - self._began_ms) / 1000 < each.fault.stop_s:
                continue
            if each.chance.randrange(MILLION) < each.fault.chance_ppm:
                return each.chance.randint(each.fault.low, each.fault.high)
        return None

    def _next_order(self, site: str, target: str) -> Order | None:
        """The oldest order that fits this pass. Its last pass ends it."""
        waiting = self._ordered.get(site, [])
        for each in waiting:
            if each.order.target in target:
                each.left -= 1
                if not each.left:
                    waiting.remove(each)
                if not waiting:
                    del self._ordered[site]
                self._hit_by_hand.add(site)
                return each.order
        return None
