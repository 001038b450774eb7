"""Settlement Workbench: what a notebook imports.

`simulated()` returns a `World`: a real chain with the real contracts, and seller, facilitator,
tracker and buyer as they are served elsewhere, on virtual time. `fork(url)` returns the same on top
of another chain. `Experiment(load_scenario(file)).run()` runs a whole market.
"""

from __future__ import annotations

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

from workbench.results import player

if TYPE_CHECKING:
    from workbench.lab.panel import panel
    from workbench.lab.tracker import tracker
    from workbench.results.run import Run
    from workbench.scenario import Order
    from workbench.scenario import load as load_scenario
    from workbench.worlds.experiment import Experiment
    from workbench.worlds.factories import fork, simulated
    from workbench.worlds.session import Session
    from workbench.worlds.virtual import World
    from workbench.worlds.virtual_platform import Snapshot

__all__ = [
    "Experiment",
    "Order",
    "Run",
    "Session",
    "Snapshot",
    "World",
    "fork",
    "load_scenario",
    "panel",
    "simulated",
    "tracker",
]
# A library logs nothing unless its user asks: commands do, a notebook may.
logging.getLogger("workbench").addHandler(logging.NullHandler())

_HOME = {
    "simulated": "workbench.worlds.factories",
    "World": "workbench.worlds.virtual",
    "Run": "workbench.results.run",
}
_HOME |= {"Snapshot": "workbench.worlds.virtual_platform", "fork": "workbench.worlds.factories"}
_HOME |= {"Experiment": "workbench.worlds.experiment", "Session": "workbench.worlds.session"}
_HOME |= {"Order": "workbench.scenario"}
_HOME |= {"panel": "workbench.lab.panel", "tracker": "workbench.lab.tracker"}


player.found_by(lambda: import_module("workbench.worlds.experiment").play_again)


def __getattr__(name: str) -> Any:
    """Import a name at its first use, so that `import workbench` is fast."""
    if name == "load_scenario":
        from workbench.scenario import load

        return load
    if name not in _HOME:
        raise AttributeError(f"workbench has no {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
