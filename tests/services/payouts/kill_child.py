"""`workbench payouts` as a process of the kill storm, right or with a planted defect.

    KILL_STORM_PLANT=ends_at_null python -m tests.services.payouts.kill_child

The settings are those of the environment.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from workbench.core.errors import (
    RpcAnswerInvalid,
    RpcFault,
    RpcUnanswered,
    RpcUnreachable,
    WorkbenchError,
)
from workbench.core.ports import Slot
from workbench.evm.rpc.client import SEND
from workbench.evm.transactions.broadcast import signed_fields
from workbench.evm.transactions.sender import SlotSender
from workbench.services.common.loop import ServiceLoop

TRIES = 3
"""So often a transaction is sent, so that a time-out is met soon."""


def another_nonce() -> None:
    """Where the outcome of sending is not known, the payment is sent under the next nonce, too."""

    async def send_all(self: Any, slots: Sequence[Slot]) -> None:
        await right(self, slots)
        for slot in slots:
            for _ in range(TRIES):
                try:
                    await self._rpc.call(SEND, slot.attempts[-1].raw)
                except (RpcUnreachable, RpcUnanswered):
                    await send_again(self, slot)
                    break
                except RpcFault:
                    continue  # It is known already.

    async def send_again(self: Any, slot: Slot) -> None:
        with suppress(WorkbenchError):
            nonce = await self._inclusions.nonce("pending")
            fields = signed_fields(slot.attempts[-1].raw) | {"nonce": nonce}
            raw, _ = self._signer.sign_transaction(fields)
            await self._rpc.call(SEND, raw)

    right = SlotSender._broadcast
    SlotSender._broadcast = send_all  # type: ignore[method-assign]


def ends_at_null() -> None:
    """An answer that cannot be read ends the process, as a defect of a round once did."""

    def note(self: ServiceLoop, name: str, why: Exception) -> None:
        if isinstance(why, RpcAnswerInvalid):
            os._exit(1)
        right(self, name, why)

    right = ServiceLoop.note
    ServiceLoop.note = note  # type: ignore[method-assign]


PLANTS: dict[str, Callable[[], None]] = {
    "another_nonce": another_nonce,
    "ends_at_null": ends_at_null,
}

if __name__ == "__main__":
    from workbench.cli import main

    if plant := os.environ.get("KILL_STORM_PLANT", ""):
        PLANTS[plant]()
    sys.argv = ["workbench", "payouts"]
    main()
