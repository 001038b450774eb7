"""The age of the transaction that the chain waits for, and the slots whose fee is at the cap.

Only the lowest unmined nonce can be too cheap: those above wait for it. Age counts from when this
process first saw it waiting, and only while the chain makes blocks.
"""

from __future__ import annotations

from collections.abc import Sequence

from workbench.core.ports import Clock, Slot, SlotState
from workbench.evm.transactions.inclusion import NonceView


class FeeBumps:
    """See the module. `bump_after_s`: age at which a fee is raised whatever the base fee; None:
    never."""

    def __init__(self, clock: Clock, bump_after_s: float | None) -> None:
        self._clock = clock
        self._after_ms = None if bump_after_s is None else int(bump_after_s * 1000)
        self._since: dict[str, tuple[int, int]] = {}
        self._capped: dict[int, str] = {}

    def keep(self, slots: Sequence[Slot]) -> None:
        """Forget all slots except these, which are open."""
        newest = {slot.attempts[-1].tx for slot in slots if slot.block is None}
        nonces = {slot.nonce for slot in slots if slot.block is None}
        self._since = {tx: since for tx, since in self._since.items() if tx in newest}
        self._capped = {nonce: told for nonce, told in self._capped.items() if nonce in nonces}

    def is_overdue(self, slot: Slot, view: NonceView) -> bool:
        """Return True if the fee should be raised now. Called each time the slot is seen
        waiting."""
        if self._after_ms is None or slot.state is not SlotState.SENT or view.nonce != slot.nonce:
            return False
        now = self._clock.now_ms()
        since_ms, head = self._since.setdefault(slot.attempts[-1].tx, (now, view.head))
        return now - since_ms >= self._after_ms and view.head > head

    def cap(self, slot: Slot) -> None:
        """Record that the fee of a slot cannot be raised any more."""
        self._capped[slot.nonce] = (
            f"the {slot.act} transaction of {slot.subject} (nonce {slot.nonce}) waits, and its fee "
            f"is as high as it may get after {len(slot.attempts)} attempts"
        )

    def capped(self) -> list[str]:
        """Return the waiting slots whose fee cannot be raised, by nonce."""
        return [self._capped[nonce] for nonce in sorted(self._capped)]
