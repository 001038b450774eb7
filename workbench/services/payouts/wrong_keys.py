"""Wrong API keys: each is logged, and an address that sends many is blocked for a time."""

from __future__ import annotations

import logging

from workbench.core.errors import TooManyWrongKeys

log = logging.getLogger("workbench")

MOST, WITHIN_MS = 10, 60_000
"""Most wrong keys from one address within this time."""
ADDRESSES = 1_000
"""Most addresses that are remembered."""


class WrongKeys:
    """The times of wrong keys, by client address."""

    def __init__(self) -> None:
        self._times: dict[str, list[int]] = {}

    def check(self, client: str, now_ms: int) -> None:
        """Raise TooManyWrongKeys if this address has sent too many. Called before a key is
        compared."""
        recent = self._recent(client, now_ms)
        if len(recent) >= MOST:
            wait_s = max(1, (recent[0] + WITHIN_MS - now_ms + 999) // 1000)
            raise TooManyWrongKeys(
                f"{len(recent)} wrong API keys came from this address within a minute.",
                hint=f"Wait {wait_s} s, and send the right key.",
                retry_after_s=wait_s,
            )

    def note(self, client: str, now_ms: int) -> None:
        """Remember a wrong key. The key itself is not logged: it may be nearly right."""
        recent = [*self._recent(client, now_ms), now_ms]
        self._times.pop(client, None)
        self._times[client] = recent
        log.warning("payouts: wrong API key from %s, %d in a minute", client or "?", len(recent))
        while len(self._times) > ADDRESSES:
            del self._times[next(iter(self._times))]

    def _recent(self, client: str, now_ms: int) -> list[int]:
        times = self._times.get(client, ())
        return [at for at in times if 0 <= now_ms - at < WITHIN_MS]
