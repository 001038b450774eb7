"""Crashes: services end just before or after a commit, and restart from their stores."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from workbench.core.errors import WorkbenchError
from workbench.core.ports import Clock
from workbench.sim.faults.sites import Crashed, Faults
from workbench.store.sql.database import SqlStore

TRY_AGAIN_S = 1.0
AT_ONCE = "at once"
"""The target of an ordered crash that did not wait for a commit."""


class Crashes:
    """Watches the commits of services. A service that is `down` can neither commit nor call.

    `gone(name)` takes effect at once; `kill(name)` cleans up; `launch(name)` restarts; `back(name)`
    is called after the restart.
    """

    def __init__(
        self,
        faults: Faults,
        clock: Clock,
        gone: Callable[[str], None],
        kill: Callable[[str], Awaitable[None]],
        launch: Callable[[str], Awaitable[None]],
        back: Callable[[str], None],
    ) -> None:
        self._faults, self._clock = faults, clock
        self._gone, self._kill, self._launch, self._back = gone, kill, launch, back
        self.down: dict[str, asyncio.Task[None]] = {}

    def arm(self, name: str, store: SqlStore) -> None:
        """Watch this service: each of its commits may now be followed or preceded by a crash."""
        store.before_commit = partial(self._pass, name, "before a commit")
        store.after_commit = partial(self._pass, name, "after a commit")

    def _pass(self, name: str, moment: str) -> None:
        """Pass a crash site at a commit; raise Crashed if it fires."""
        if name in self.down:
            raise Crashed
        seconds = self._faults.fires(f"crash.{name}", moment)
        if seconds is not None:
            self._crash(name, seconds)
            raise Crashed

    def at_once(self, name: str) -> None:
        """Crash now, as ordered: an idle service may not commit for a long time."""
        if name not in self.down:
            seconds = self._faults.fires_ordered(f"crash.{name}", AT_ONCE)
            if seconds is not None:
                self._crash(name, seconds)

    def _crash(self, name: str, seconds: int) -> None:
        self._gone(name)
        self.down[name] = asyncio.ensure_future(self._bury(name, seconds))

    async def _bury(self, name: str, seconds: int) -> None:
        """End the service, wait, and start it again."""
        await self._kill(name)
        await self._clock.sleep(seconds)
        while True:
            try:
                await self._launch(name)
            except WorkbenchError as why:
                if not why.transient:
                    raise
                await self._clock.sleep(TRY_AGAIN_S)
            else:
                del self.down[name]
                self._back(name)
                return
