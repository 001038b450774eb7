"""A client of a world's payout service for notebooks: earn, pay, and the ledger as frames."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from workbench.core.errors import PeerRefused
from workbench.core.ports import Request, Response
from workbench.results.frames import typed
from workbench.services.common import peers

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")
ACCOUNTS = {
    "account": "string",
    "ledger": "string",
    "posted": "object",
    "held": "object",
    "available": "object",
}
LINES = {
    "seq": "Int64",
    "kind": "string",
    "debit": "string",
    "credit": "string",
    "amount": "object",
    "reason": "string",
}
PAYOUTS = {
    "key": "string",
    "user": "string",
    "credits": "Int64",
    "amount": "string",
    "state": "string",
    "reason": "string",
}


class PayoutClient:
    """Call the payout service over HTTP. Raises PeerRefused with the service's message."""

    def __init__(
        self,
        send: Callable[[Request], Response],
        do: Callable[[Coroutine[Any, Any, Any]], Any],
        service: Callable[[], Any],
    ) -> None:
        self._send, self._do, self._service = send, do, service

    def earn(self, user: str, credits_: int, key: str | None = None) -> dict[str, Any]:
        """Credit a user."""
        return self._post("/v1/credits", user_id=user, credits=credits_, idempotency_key=key)

    def pay(self, user: str, address: str, credits_: int, key: str | None = None) -> dict[str, Any]:
        """Request a payout. It is paid as time passes."""
        asked = {"user_id": user, "address": address, "credits": credits_}
        return self._post("/v1/payouts", **asked, idempotency_key=key)

    def cancel(self, payout_id: str) -> dict[str, Any]:
        """Cancel a payout, if it is not too late."""
        return self._post(f"/v1/payouts/{payout_id}:cancel", why="notebook")

    def balance(self, user: str) -> dict[str, Any]:
        """Return the user's credits: earned, held, paid, free."""
        told: dict[str, Any] = self._get(f"/v1/balances/{user}")
        return told

    def payout(self, payout_id: str) -> dict[str, Any]:
        """Return one payout with its transaction and history."""
        told: dict[str, Any] = self._get(f"/v1/payouts/{payout_id}")
        return told

    def payouts(self) -> pd.DataFrame:
        """Return all payouts, oldest first."""
        rows = [
            {
                "key": each["idempotency_key"],
                "user": each["user_id"],
                "credits": each["credits"],
                "amount": each["amount"],
                "state": each["state"],
                "reason": each.get("reason", ""),
            }
            for each in self._get("/v1/payouts")["payouts"]
        ]
        return typed(rows, PAYOUTS)

    def transfers(self) -> pd.DataFrame:
        """Return the lines of the ledger. Amounts are integers of any size."""
        lines = self._get("/v1/transfers")["transfers"]
        return typed([{**line, "amount": int(line["amount"])} for line in lines], LINES)

    def accounts(self) -> pd.DataFrame:
        """Return the sums of every account: credits minus debits, held, and free."""

        async def read() -> list[dict[str, Any]]:
            async with self._service().store.unit() as unit:
                return [
                    {
                        "account": account.id,
                        "ledger": account.ledger,
                        "posted": account.balance,
                        "held": account.debits_pending,
                        "available": account.available,
                    }
                    for account in await unit.accounts()
                ]

        return typed(self._do(read()), ACCOUNTS)

    def reconcile(self) -> dict[str, Any]:
        """Reconcile ledger and chain at the final block."""
        report: dict[str, Any] = self._do(self._service().reconciler.conclude()).to_json()
        return report

    def _get(self, path: str) -> Any:
        return self._read(self._send(Request("GET", f"http://payouts{path}")))

    def _post(self, path: str, **fields: Any) -> dict[str, Any]:
        told = {name: value for name, value in fields.items() if value is not None}
        headers, body = (("Content-Type", "application/json"),), json.dumps(told).encode()
        request = Request("POST", f"http://payouts{path}", headers=headers, body=body)
        answer: dict[str, Any] = self._read(self._send(request))
        return answer

    def _read(self, answer: Response) -> Any:
        kind: Any = dict[str, Any] | list[Any]
        told: Any = peers.decoded(answer, kind, "payout service")
        if answer.status >= 400:
            refused = peers.error_body(answer)
            raise PeerRefused(refused.message, hint=refused.hint, payouts=told)
        return told
