"""Faults on order: named sites that are switched on per seed, and then fire at random.

Two stages, as FoundationDB's BUGGIFY has them: a seed decides which sites are on at all, so that
some runs are hit by one kind of fault alone; each pass of a site that is on then draws again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random

from workbench.core.events import FaultInjected
from workbench.scenario import Fault
from workbench.sim.dice import Dice

MILLION = 1_000_000


class Crashed(BaseException):
    """A simulated process is gone. Nothing catches this on the way out of a service."""


@dataclass(frozen=True, slots=True)
class _Site:
    fault: Fault
    chance: Random


class Faults:
    """The faults of one run. `tell` takes each as the fact that it is.

    Nothing fires before `begin` and after `end`. `now_ms` is the world's clock (Unix ms).
    """

    def __init__(
        self,
        ordered: Iterable[Fault],
        dice: Dice,
        now_ms: Callable[[], int],
        tell: Callable[[FaultInjected], None],
    ) -> None:
        self._now_ms, self._tell, self._sites = now_ms, tell, dict[str, list[_Site]]()
        self._began_ms = 0
        self.quiet = True
        for n, fault in enumerate(ordered):
            chance = dice.stream("fault", fault.site, n)
            if chance.randrange(MILLION) < fault.active_ppm:
                self._sites.setdefault(fault.site, []).append(_Site(fault, chance))

    def begin(self) -> None:
        """From now on faults fire, and their times count."""
        self._began_ms, self.quiet = self._now_ms(), False

    def end(self) -> None:
        """No fault any more: what is broken may heal."""
        self.quiet = True

    def over(self, site: str) -> bool:
        """Whether this site cannot fire any more: what it left behind may heal."""
        last = max((each.fault.stop_s for each in self._sites.get(site, ())), default=0)
        return self.quiet or (self._now_ms() - self._began_ms) / 1000 >= last

    def may(self, *sites: str) -> bool:
        """Whether any of these sites is on at all in this run."""
        return any(site in self._sites for site in sites)

    def strike(self, site: str, target: str, subject: str = "") -> int | None:
        """One pass of a site: the fault's parameter where it fires, else None."""
        if self.quiet or site not in self._sites:
            return None
        now = self._now_ms()
        for each in self._sites[site]:
            if not each.fault.start_s <= (now - self._began_ms) / 1000 < each.fault.stop_s:
                continue
            if each.chance.randrange(MILLION) < each.fault.chance_ppm:
                parameter = each.chance.randint(each.fault.low, each.fault.high)
                self._tell(
                    FaultInjected(
                        subject=subject,
                        at_ms=now,
                        source="simulator",
                        site=site,
                        target=target,
                        parameter=parameter,
                    )
                )
                return parameter
        return None
