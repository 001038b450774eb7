"""Broken rules that a scenario may plant: a checker that misses one is itself broken."""

from __future__ import annotations

from typing import Any

from workbench.core.events import SettlementExecuted
from workbench.core.ports import Service
from workbench.core.settlement import Step
from workbench.services.facilitator import Facilitator
from workbench.services.tracker import Tracker

PAY_BEFORE_FINAL = "pay_before_final"
"""Confirmations are not waited for: settings and contract, and so nothing to do here."""


def plant(rule: str, name: str, service: Service) -> None:
    """Break `rule` in this service, if it is the one. `name`: which service it is."""
    if rule == "lose_refund" and isinstance(service, Facilitator):
        _lose_refunds(service)
    elif rule == "forget_slot" and isinstance(service, Facilitator):
        _forget_slots(service)
    elif rule == "forget_fact" and isinstance(service, Tracker):
        _forget_executions(service)


def _lose_refunds(facilitator: Any) -> None:
    """A refund is owed, and nobody makes it."""
    owed = facilitator._owed

    def lazy(*args: Any) -> Step:
        step: Step = owed(*args)
        return Step.WAIT if step is Step.REFUND else step

    facilitator._owed = lazy


def _forget_slots(facilitator: Any) -> None:
    """Swaps are signed and sent without having been stored."""
    sender = facilitator._sender
    submit = sender.submit

    async def careless(subject: str, call: Any, attempt: int = 1) -> str:
        if call.act != "swap":
            return str(await submit(subject, call, attempt))
        fields = await sender._priced(call)
        nonce = await sender._nonce("pending")
        raw, _ = sender._signer.sign_transaction({**fields, "nonce": nonce})
        return str(await sender._rpc.call("eth_sendRawTransaction", raw))

    sender.submit = careless


def _forget_executions(tracker: Any) -> None:
    """The journal misses what the chain did."""
    watcher = tracker._watcher
    store_block = watcher._store_block

    async def forgetful(number: int, known: str, facts: list[Any]) -> None:
        await store_block(
            number, known, [fact for fact in facts if not isinstance(fact, SettlementExecuted)]
        )

    watcher._store_block = forgetful
