"""The endpoints of the seed (`/`, `/user`, `/earn`, `/payout`), as pages and as JSON."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from workbench.core.errors import (
    WorkbenchError,
)
from workbench.core.ledger import Account
from workbench.core.ports import Request, Response
from workbench.services.common.health import brief
from workbench.services.common.routes import (
    Routes,
    log,
    see_other,
    wants_page,
)
from workbench.services.payouts import accounts, pages
from workbench.services.payouts.input import (
    KEY_HEADER,
    PayoutInput,
    fields_of,
    payout_input,
    text_of,
    user_id,
)
from workbench.services.payouts.requests import RequestResult
from workbench.services.payouts.rounds import Payouts
from workbench.services.payouts.wait import wait_of, waited

HISTORY = 200
"""Payouts on a user's page, newest first."""
NO_STORE = ("Cache-Control", "no-store")


class FormEndpoints:
    """Answer the endpoints that people and programs share."""

    name = "payouts"

    def __init__(self, payouts: Payouts) -> None:
        self.payouts, self.health = payouts, payouts.health
        self._routes = (
            Routes(self.health)
            .add("GET", "/", self._home)
            .add("GET", "/user/<text>", self._user)
            .add("POST", "/earn", self._earn)
            .add("POST", "/payout", self._payout)
        )

    async def _home(self, request: Request) -> Response:
        keys = self.payouts.new_key(), self.payouts.new_key()
        return page_response(200, pages.home(self._facts(), *keys))

    def _facts(self) -> dict[str, Any]:
        """Return the description of the service for pages and `/health`."""
        payouts, payments = self.payouts, self.payouts.payments
        return {
            "service": self.name,
            "payer": payments.checksum(payments.address),
            "chain_id": payouts.rules.chain_id,
            "token_mode": payments.token is not None,
            "token": payments.checksum(payments.token) if payments.token else None,
            "symbol": payments.symbol,
            "decimals": payments.decimals,
            "units_per_credit": str(payouts.rules.units_per_credit),
            "one_credit": payouts.worth(1),
            "alarms": self.health.shown(to_all=False),
        }

    async def _earn(self, request: Request) -> Response:
        return self._respond(request, 200, await self._do_earn(request))

    async def _do_earn(self, request: Request) -> RequestResult:
        return await self.payouts.earn(payout_input(fields_of(request), request.header(KEY_HEADER)))

    async def _payout(self, request: Request) -> Response:
        """Answer the seed's `/payout`, whose clients expect the transaction hash in the answer."""
        return await self._respond_payout(request, 200, self.payouts.rules.wait_s)

    async def _respond_payout(self, request: Request, success: int, default_s: float) -> Response:
        """Request a payout and answer, after a wait if the client asks for one."""
        seconds, applied = wait_of(request, default_s)
        given = await self._do_payout(request)
        if given.status < 400 and not wants_page(request):
            given = await self._after(given, seconds)
        answer = self._respond(request, success, given)
        return replace(answer, headers=(*answer.headers, *applied))

    async def _after(self, given: RequestResult, seconds: float) -> RequestResult:
        """Return the answer with the present state of the payout; for a replay, beside the first
        answer."""
        try:
            payout = await waited(self.payouts, str(given.body["id"]), seconds, to_end=False)
        # The payout is accepted. That is the answer, whatever fails now.
        except WorkbenchError as why:
            log.warning("payouts: the state of %s is not known: %s", given.body["id"], why)
            return given
        except Exception as why:  # noqa: BLE001 - so, too, for a defect: it must not be asked again
            log.exception("payouts: the state of %s is not known", given.body["id"])
            self.health.count(why)
            self.health.fails("requests", brief(why))
            return given
        now = self.payouts.view(payout)
        body = {**given.body, "now": now} if given.is_replay else {**given.body, **now}
        return replace(given, body=body)

    async def _do_payout(self, request: Request) -> RequestResult:
        return await self.payouts.request(
            self._asked_payout(fields_of(request), request.header(KEY_HEADER))
        )

    def _asked_payout(self, fields: dict[str, Any], header: str | None = None) -> PayoutInput:
        plain = payout_input(fields, header)
        return replace(plain, address=self.payouts.payments.receiver(text_of(fields, "address")))

    def _respond(self, request: Request, success: int, given: RequestResult) -> Response:
        """Redirect a browser's form to the user's page; answer programs with JSON. Mark a
        replay."""
        status = given.status if given.status >= 400 else success
        if status < 400 and wants_page(request):
            return see_other("user", str(given.body["user_id"]))
        body = {**given.body, **({"replayed": True} if given.is_replay else {})}
        answer = Response.json(status, body)
        marks = [(KEY_HEADER, str(given.body["idempotency_key"]))]
        if given.is_replay:
            marks.append(("Idempotency-Replayed", "true"))
        return replace(answer, headers=(*answer.headers, *marks))

    async def _user(self, request: Request, text: str) -> Response:
        """Answer `/user/<name>`: balance and history."""
        name = self.payouts.user_named(user_id(text))
        async with self.payouts.store.unit() as unit:
            account = await unit.account(accounts.user_account(name))
            history = await unit.payouts(user_id=name, limit=HISTORY)
        is_known = account is not None
        account = account or Account(accounts.user_account(name), accounts.CREDIT)
        views = [self.payouts.view(payout) for payout in history]
        if not _wants_json(request):
            keys = self.payouts.new_key(), self.payouts.new_key()
            facts = self._facts()
            page = pages.user(facts, name, account if is_known else None, views, *keys)
            return page_response(200, page)
        told = {"user_id": name, "known": is_known, "credits": account.available}
        told |= {"held": account.debits_pending}
        return Response.json(200, {**told, "payouts": views})


def page_response(status: int, html: str, *more: tuple[str, str]) -> Response:
    """Return a page that is not cached."""
    # Without a referrer, browsers would send `Origin: null` from our own forms.
    headers = {**dict(more), **dict((NO_STORE, ("Referrer-Policy", "same-origin")))}
    # JSON may contain half of a surrogate pair, which UTF-8 cannot encode.
    body = html.encode(errors="replace")
    return Response(status, body, "text/html; charset=utf-8", tuple(headers.items()))


def _wants_json(request: Request) -> bool:
    return "application/json" in (request.header("Accept") or "")
