"""Faults fire when and as often as ordered, and each is recorded; random streams are separate."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from workbench.core.facts import FaultInjected
from workbench.scenario import Fault
from workbench.sim.faults.sites import Faults
from workbench.sim.rng import SeededStreams

SITE = "http.lost"


class Scene:
    """Faults on a clock that is moved by hand."""

    def __init__(self, *ordered: Fault, seed: int = 1) -> None:
        self.now_ms = 1_000_000
        self.told: list[FaultInjected] = []
        self.faults = Faults(ordered, SeededStreams(seed), lambda: self.now_ms, self.told.append)

    def strikes(self, passes: int, site: str = SITE) -> list[int]:
        struck = (self.faults.fires(site, "test") for _ in range(passes))
        return [parameter for parameter in struck if parameter is not None]


def test_only_between_begin_and_end() -> None:
    scene = Scene(Fault(site=SITE, chance_ppm=1_000_000, stop_s=60))
    assert [] == scene.strikes(5)
    scene.faults.begin()
    assert 5 == len(scene.strikes(5))
    scene.faults.end()
    assert [] == scene.strikes(5)


def test_only_in_its_own_time() -> None:
    """Seconds from the beginning, the last excluded."""
    scene = Scene(Fault(site=SITE, chance_ppm=1_000_000, start_s=10, stop_s=20))
    scene.faults.begin()
    counts = []
    for _ in range(4):
        counts.append(len(scene.strikes(1)))
        scene.now_ms += 9_000
    assert [0, 0, 1, 0] == counts


def test_what_a_fault_left_behind_may_heal_once_its_time_is_over() -> None:
    scene = Scene(Fault(site=SITE, chance_ppm=1, start_s=10, stop_s=20))
    scene.faults.begin()
    over = []
    for _ in range(4):
        over.append(scene.faults.over(SITE))
        scene.now_ms += 9_000
    assert [False, False, False, True] == over
    assert scene.faults.over("clock.skew"), "what was never ordered has no time"


def test_each_is_told_as_it_was() -> None:
    scene = Scene(Fault(site="rpc.stale", chance_ppm=500_000, low=1, high=3, stop_s=60))
    scene.faults.begin()
    struck = scene.strikes(100, "rpc.stale")
    assert 30 < len(struck) < 70
    assert struck == [fact.parameter for fact in scene.told]
    assert {1, 2, 3} == set(struck)
    assert {("rpc.stale", "test", 1_000_000)} == {(f.site, f.target, f.at_ms) for f in scene.told}


def test_a_seed_decides_which_sites_are_on() -> None:
    half = Fault(site=SITE, chance_ppm=1_000_000, active_ppm=500_000, stop_s=60)
    on = [seed for seed in range(100) if Scene(half, seed=seed).faults.may(SITE)]
    assert 30 < len(on) < 70
    assert not Scene(half, seed=on[0]).faults.may("crash.seller")


@given(st.integers(0, 2**40), st.integers(0, 50))
def test_streams_do_not_shift_each_other(seed: int, draws: int) -> None:
    """However much is drawn from one, the other gives the same; and state can be put back."""
    streams, other = SeededStreams(seed), SeededStreams(seed)
    for _ in range(draws):
        streams.stream("faults", 1).random()
    assert other.stream("arrivals").random() == streams.stream("arrivals").random()
    state = streams.state
    drawn = [streams.stream("arrivals").random() for _ in range(3)]
    streams.state = state
    assert drawn == [streams.stream("arrivals").random() for _ in range(3)]
    assert streams.key("a") == other.key("a") != streams.key("b")
