"""Fault sites: named places that a seed enables, and that then fire at random.

Two stages, as in FoundationDB's BUGGIFY: the seed decides which sites are enabled, so that some
runs have one kind of fault only; each pass of an enabled site draws again. A person may order
faults as well: the next passes of a site, without chance.
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
"""What a fault affected: a settlement id or the name of a buyer, and a transaction hash; "" for
none."""


def nothing() -> FaultHit:
    """Return a hit that names nothing, for faults of a block or a service."""
    return "", ""


class Crashed(BaseException):
    """A simulated process has crashed. Code of services must not catch it."""


@dataclass(frozen=True, slots=True)
class ActiveSite:
    fault: Fault
    chance: Random


@dataclass(slots=True)
class PendingOrder:
    """An order, and the number of its passes that are left."""

    order: Order
    left: int


class Faults:
    """The faults of one run. `tell` receives each fault as a fact.

    No site fires before `begin` and after `end`. `now_ms`: the world's clock (Unix ms).
    """

    def __init__(
        self,
        ordered: Iterable[Fault],
        streams: SeededStreams,
        now_ms: Callable[[], int],
        tell: Callable[[FaultInjected], None],
    ) -> None:
        self._now_ms, self._tell, self._sites = now_ms, tell, dict[str, list[ActiveSite]]()
        self._began_ms = 0
        self._ordered: dict[str, list[PendingOrder]] = {}
        self._hit_by_hand: set[str] = set()
        self.quiet = True
        for n, fault in enumerate(ordered):
            chance = streams.stream("fault", fault.site, n)
            if chance.randrange(MILLION) < fault.active_ppm:
                self._sites.setdefault(fault.site, []).append(ActiveSite(fault, chance))

    def begin(self) -> None:
        """Enable the faults; their times count from now."""
        self._began_ms, self.quiet = self._now_ms(), False

    def end(self) -> None:
        """Disable all faults, so that the system can recover."""
        self.quiet = True

    def order(self, order: Order) -> None:
        """Let the next passes of a site fire that match the order."""
        self._ordered.setdefault(order.site, []).append(PendingOrder(order, order.passes))

    def over(self, site: str) -> bool:
        """Return True if this site cannot fire again, so that its effect may end.

        The effect of an order lasts until the faults of the scenario end.
        """
        if site in self._hit_by_hand:
            return self.quiet
        last = max((each.fault.stop_s for each in self._sites.get(site, ())), default=0)
        return self.quiet or (self._now_ms() - self._began_ms) / 1000 >= last

    def may(self, *sites: str) -> bool:
        """Return True if one of these sites is enabled in this run, or has an open order."""
        return any(site in self._sites or site in self._ordered for site in sites)

    def fires(self, site: str, target: str, hit: Callable[[], FaultHit] = nothing) -> int | None:
        """Pass a site: return the parameter of the fault if it fires, else None.

        `hit`: returns what the pass is about; called only if a fault fires.
        """
        if self.quiet or not (site in self._sites or site in self._ordered):
            return None
        # Draw first, so that an order does not shift the draws of the scenario's own faults.
        drawn = self._drawn(site, self._now_ms())
        ordered = self.fires_ordered(site, target, hit)
        if ordered is not None or drawn is None:
            return ordered
        self._inject(site, target, drawn, "simulator", hit)
        return drawn

    def fires_ordered(
        self, site: str, target: str, hit: Callable[[], FaultHit] = nothing
    ) -> int | None:
        """Pass a site without chance: only orders fire."""
        order = None if self.quiet else self._next_order(site, target)
        if order is None:
            return None
        self._inject(site, target, order.number, "hand", hit)
        return order.number

    def _inject(
        self, site: str, target: str, parameter: int, source: str, hit: Callable[[], FaultHit]
    ) -> None:
        """Record the fault, and return its parameter."""
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
        """Return the drawn parameter of a pass, or None."""
        for each in self._sites.get(site, ()):
            if not each.fault.start_s <= (now_ms - self._began_ms) / 1000 < each.fault.stop_s:
                continue
            if each.chance.randrange(MILLION) < each.fault.chance_ppm:
                return each.chance.randint(each.fault.low, each.fault.high)
        return None

    def _next_order(self, site: str, target: str) -> Order | None:
        """Return the oldest order that matches this pass. Its last pass ends it."""
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
