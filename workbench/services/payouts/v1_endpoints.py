"""The endpoints below `/v1/`, for programs."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

from workbench.core.errors import (
    InputError,
    NotFound,
    UnknownPayout,
    WorkbenchError,
)
from workbench.core.facts import Event
from workbench.core.ledger import Account, LedgerTransfer
from workbench.core.payout import Payout, PayoutState
from workbench.core.ports import Request, Response
from workbench.services.common.routes import (
    one,
)
from workbench.services.payouts import accounts
from workbench.services.payouts.form_endpoints import FormEndpoints
from workbench.services.payouts.input import (
    fields_of,
    reason_of,
    text_of,
    user_id,
)
from workbench.services.payouts.openapi import BATCH, PAGE, openapi
from workbench.services.payouts.resolve import OUTCOMES
from workbench.services.payouts.rounds import Payouts
from workbench.services.payouts.wait import wait_of, waited
from workbench.services.payouts.webhooks import Webhooks


class V1Endpoints(FormEndpoints):
    """Answer `/v1/`. `openapi` describes it."""

    def __init__(self, payouts: Payouts, webhooks: Webhooks | None) -> None:
        super().__init__(payouts)
        self.webhooks = webhooks
        (
            self._routes.add("POST", "/v1/credits", self._v1_earn)
            .add("POST", "/v1/payouts", self._v1_payout)
            .add("POST", "/v1/payouts:batch", self._v1_batch)
            .add("GET", "/v1/payouts", self._v1_payouts)
            .add("POST", "/v1/payouts/<id>:cancel", self._v1_cancel)
            .add("POST", "/v1/payouts/<id>:approve", self._v1_approve)
            .add("POST", "/v1/payouts/<id>:refund", self._v1_refund)
            .add("POST", "/v1/payouts/<id>:resolve", self._v1_resolve)
            .add("GET", "/v1/payouts/<id>", self._v1_one)
            .add("GET", "/v1/balances/<text>", self._v1_balance)
            .add("GET", "/v1/transfers", self._v1_transfers)
            .add("GET", "/v1/reconciliation", self._v1_reconciliation)
            .add("POST", "/v1/signer:release", self._v1_release)
            .add("GET", "/v1/webhooks", self._v1_webhooks)
            .add("POST", "/v1/webhooks/<id>:resume", self._v1_resume)
            .add("GET", "/v1/openapi.json", self._v1_openapi)
        )

    async def _v1_earn(self, request: Request) -> Response:
        return self._respond(request, 201, await self._do_earn(request))

    async def _v1_payout(self, request: Request) -> Response:
        return await self._respond_payout(request, 202, 0)

    async def _v1_batch(self, request: Request) -> Response:
        """Accept or refuse each payout of a batch on its own, under its own key."""
        items = fields_of(request).get("payouts")
        if not isinstance(items, list) or not 0 < len(items) <= BATCH:
            raise InputError(f"payouts must be a list of 1 to {BATCH} payouts.")
        if not all(isinstance(item, dict) and _has_key(item) for item in items):
            raise InputError("each payout of a batch needs an idempotency_key of its own.")
        results = []
        for item in items:
            try:
                given = await self.payouts.request(self._asked_payout(item))
                results.append({"status": given.status, **given.body})
            # The payouts before it are accepted, so the answer lists every one.
            except WorkbenchError as why:
                results.append({"status": why.status, **self._routes.error_of(why)})
        return Response.json(200, {"payouts": results})

    async def _v1_payouts(self, request: Request) -> Response:
        states, who, limit = one(request, "state"), one(request, "user_id"), _limit(request)
        try:
            wanted = [PayoutState(word) for word in states.split(",")] if states else []
        except ValueError:
            known = ", ".join(state.value for state in PayoutState)
            raise InputError(f"state must be of {known}.") from None
        name = self.payouts.user_named(user_id(who)) if who is not None else None
        async with self.payouts.store.unit() as unit:
            found = await unit.payouts(*wanted, user_id=name, limit=limit)
        return Response.json(200, {"payouts": [self.payouts.view(payout) for payout in found]})

    async def _v1_one(self, request: Request, id: str) -> Response:
        seconds, applied = wait_of(request, 0)
        if seconds:
            await waited(self.payouts, id, seconds, to_end=True)
        async with self.payouts.store.unit() as unit:
            payout = await unit.payout(id)
            if payout is None:
                raise UnknownPayout(f"there is no payout {id[:80]}.")
            facts = await unit.standing(id)
            chain_id, address = self.payouts.rules.chain_id, self.payouts.payments.address
            slot = await unit.slot(chain_id, address, payout.act_key)
        view = self.payouts.view(payout)
        if slot is not None:
            view["transaction"] = {
                "nonce": slot.nonce,
                "state": slot.state.value,
                "block": slot.block.number if slot.block else None,
                "attempts": [attempt.tx for attempt in slot.attempts],
            }
        view["history"] = [_history_line(fact) for fact in facts]
        answer = Response.json(200, view)
        return replace(answer, headers=(*answer.headers, *applied))

    async def _v1_cancel(self, request: Request, id: str) -> Response:
        payout = await self.payouts.cancel(id)
        status = 200 if payout.state is PayoutState.CANCELLED else 202
        return Response.json(status, self.payouts.view(payout))

    async def _v1_approve(self, request: Request, id: str) -> Response:
        by = text_of(fields_of(request), "by")
        payout: Payout = await self.payouts.approve(id, user_id(by))
        return Response.json(200, self.payouts.view(payout))

    async def _v1_refund(self, request: Request, id: str) -> Response:
        by = text_of(fields_of(request), "by")
        return Response.json(200, self.payouts.view(await self.payouts.refund(id, user_id(by))))

    async def _v1_resolve(self, request: Request, id: str) -> Response:
        fields = fields_of(request)
        outcome = text_of(fields, "as")
        if outcome not in OUTCOMES:
            known = " or ".join(f'"{word}"' for word in OUTCOMES)
            raise InputError(f"as must be {known}.", field="as")
        by, why = user_id(text_of(fields, "by")), reason_of(fields)
        resolved = await self.payouts.resolve(id, outcome, by, why)
        return Response.json(200, self.payouts.view(resolved))

    async def _v1_balance(self, request: Request, text: str) -> Response:
        name = self.payouts.user_named(user_id(text))
        async with self.payouts.store.unit() as unit:
            account = await unit.account(accounts.user_account(name))
        is_known = account is not None
        account = account or Account(accounts.user_account(name), accounts.CREDIT)
        told = {
            "user_id": name,
            "known": is_known,
            "credits": account.available,
            "held": account.debits_pending,
            "paid": account.debits_posted,
            "earned": account.credits_posted,
        }
        return Response.json(200, told)

    async def _v1_transfers(self, request: Request) -> Response:
        after, limit = one(request, "after", "0"), _limit(request)
        if not re.fullmatch(r"[0-9]{1,15}", after, re.ASCII):
            raise InputError(f"after={after[:40]!r} is not a sequence number.")
        async with self.payouts.store.unit() as unit:
            lines = await unit.transfers(int(after), limit, one(request, "account"))
        told = [{"seq": seq, "hash": kept, **_line(transfer)} for seq, kept, transfer in lines]
        return Response.json(200, {"transfers": told})

    async def _v1_reconciliation(self, request: Request) -> Response:
        async with self.payouts.store.unit() as unit:
            known = await unit.reconciled()
        return Response.json(200, json.loads(known[1]) if known else {"block": None})

    async def _v1_release(self, request: Request) -> Response:
        fields = fields_of(request) if request.body.strip() else {}
        by = user_id(text_of(fields, "by")) if "by" in fields else "unknown"
        await self.payouts.release(by, reason_of(fields) if "why" in fields else "")
        return Response.json(200, {"released": True})

    async def _v1_webhooks(self, request: Request) -> Response:
        told = await self.webhooks.listing() if self.webhooks else []
        return Response.json(200, {"webhooks": told})

    async def _v1_resume(self, request: Request, id: str) -> Response:
        after = fields_of(request).get("after") if request.body.strip() else None
        if after is not None and not (type(after) is int and 0 <= after < 10**15):
            raise InputError("after must be the number of a fact (seq), or be left out.")
        if self.webhooks is None:
            raise NotFound("there are no webhooks.", hint="WEBHOOK_URLS names whom to tell.")
        await self.webhooks.resume(id, after)
        return await self._v1_webhooks(request)

    async def _v1_openapi(self, request: Request) -> Response:
        return Response.json(200, openapi())


def _line(transfer: LedgerTransfer) -> dict[str, Any]:
    return {
        "id": transfer.id,
        "kind": transfer.kind.value,
        "debit": transfer.debit,
        "credit": transfer.credit,
        "amount": str(transfer.amount),
        "pending_id": transfer.pending_id,
        "reason": transfer.reason,
        "ref": transfer.ref,
        "at_ms": transfer.at_ms,
    }


def _history_line(fact: Event) -> dict[str, Any]:
    """Return one line of a payout's history; for a person's decision also who, what and why."""
    said = {name: getattr(fact, name) for name in ("outcome", "by", "why") if hasattr(fact, name)}
    return {"type": fact.type, "at_ms": fact.at_ms, **said}


def _has_key(item: dict[str, Any]) -> bool:
    key = item.get("idempotency_key")
    return isinstance(key, str) and key != ""


def _limit(request: Request) -> int:
    text = one(request, "limit", str(PAGE))
    if not re.fullmatch(r"[0-9]{1,6}", text, re.ASCII) or not 0 < int(text) <= PAGE:
        raise InputError(f"limit must be from 1 to {PAGE}.")
    return int(text)
