"""`Prefer: wait=N` (RFC 7240): an answer that waits for the next state of a payout.

A waiting request holds no transaction and no database connection: it polls.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from workbench.core.payout import ENDED, Payout, PayoutState
from workbench.core.ports import Request

if TYPE_CHECKING:
    from workbench.services.payouts.rounds import Payouts

MOST_S = 30
"""The longest wait in seconds. A longer request is cut to it."""
LOOK_S = 0.2
"""Poll interval in seconds."""
_WAIT = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?([0-9]{1,9})\"?\s*(?=[,;]|$)", re.IGNORECASE)


def wait_of(request: Request, default_s: float) -> tuple[float, tuple[tuple[str, str], ...]]:
    """Return the seconds to wait, and the `Preference-Applied` header if the client asked.

    A preference that is not understood is ignored (RFC 7240, section 2).
    """
    given = [value for name, value in request.headers if name.lower() == "prefer"]
    text = ", ".join(given)
    found = _WAIT.search(text)
    if found is None:
        return default_s, ()
    seconds = min(int(found[1]), MOST_S)
    return seconds, (("Preference-Applied", f"wait={seconds}"),)


def is_sent(payout: Payout) -> bool:
    """Return True if the payout has a transaction, has ended, or waits for approval."""
    return payout.state in (PayoutState.SENT, PayoutState.HELD, *ENDED)


def is_ended(payout: Payout) -> bool:
    """Return True if the payout has ended, or waits for approval."""
    return payout.state in (PayoutState.HELD, *ENDED)


async def waited(service: Payouts, payout_id: str, seconds: float, *, to_end: bool) -> Payout:
    """Return the payout once it is sent (`to_end`: once it has ended), or its state after
    `seconds`.

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
            # A clock that goes back must not extend the wait.
            if enough(payout) or service.is_ending or not 0 < left_s <= seconds:
                return payout
            await service.clock.sleep(min(LOOK_S, left_s))
    finally:
        service.waiting -= 1
