"""All randomness of a simulation, from one seed: named streams that do not influence each other."""

from __future__ import annotations

import hashlib
import random
from typing import Any


class SeededStreams:
    """Random streams by name. A further draw in one stream changes no other."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._streams: dict[tuple[str | int, ...], random.Random] = {}

    def stream(self, *names: str | int) -> random.Random:
        """Return the generator of these names. It depends on the seed and the names only."""
        if names not in self._streams:
            start = int.from_bytes(self._digest(*names))
            self._streams[names] = random.Random(start)  # noqa: S311 - repeatable on purpose
        return self._streams[names]

    def key(self, *names: str | int) -> str:
        """Return a private key for a simulated account, as 0x hex."""
        return "0x" + self._digest("key", *names).hex()

    @property
    def state(self) -> Any:
        """The position of each stream, for snapshots."""
        return {names: stream.getstate() for names, stream in self._streams.items()}

    @state.setter
    def state(self, state: Any) -> None:
        for names in list(self._streams):
            if names in state:
                self._streams[names].setstate(state[names])
            else:
                del self._streams[names]

    def _digest(self, *names: str | int) -> bytes:
        return hashlib.sha256("/".join(map(str, (self.seed, *names))).encode()).digest()
