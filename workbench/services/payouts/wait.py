"""`Prefer: wait=N` (RFC 7240): an answer that waits until the payout has got on.

A request that waits holds no transaction and no connection of the database: it looks now and then.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from workbench.core.payout import ENDED, Payout, PayoutState
from workbench.core.ports import Request

if TYPE_CHECKING:
    from workbench.services.payouts.rounds import Payouts

MOST_S = 30
"""The longest wait, in seconds; who asks for more waits as long."""
LOOK_S = 0.2
"""Seconds between two looks at a payout."""
_WAIT = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?([0-9]{1,9})\"?\s*(?=[,;]|$)", re.IGNORECASE)


def wait_of(request: Request, default_s: float) -> tuple[float, tuple[tuple[str, str], ...]]:
    """Seconds that the client is ready to wait, and the header that says so if it asked.

    A preference that is not understood is ignored, as RFC 7240, section 2, demands.
    """
    given = [value for name, value in request.headers if name.lower() == "prefer"]
    text = ", ".join(given)
    found = _WAIT.search(text)
    if found is None:
        return default_s, ()
    seconds = min(int(found[1]), MOST_S)
    return seconds, (("Preference-Applied", f"wait={seconds}"),)


def is_sent(payout: Payout) -> bool:
    """Whether it has a transaction, has ended, or waits for a person."""
    return payout.state in (PayoutState.SENT, PayoutState.HELD, *ENDED)


def is_ended(payout: Payout) -> bool:
    """Whether it has ended, or waits for a person."""
    return payout.state in (PayoutState.HELD, *ENDED)


async def waited(service: Payouts, payout_id: str, seconds: float, *, to_end: bool) -> Payout:
    """The payout once it is sent (`to_end`: once it has ended), or as it is after these seconds.

    Raises UnknownPayout.
    """
    enough = is_ended if to_end else is_sent
    until_ms = service.clock.now_ms() + int(seconds * 1000)
    service.waiting += 1
    try:
        while True:
            async with service.store.unit() as unit:
                payout = await service.payout(unit, payout_id)
            left_s = (until_ms - service.clock.now_ms()) / 1000
            # A clock that was set back must not make anybody wait for longer.
            if enough(payout) or service.is_ending or not 0 < left_s <= seconds:
                return payout
            await service.clock.sleep(min(LOOK_S, left_s))
    finally:
        service.waiting -= 1
