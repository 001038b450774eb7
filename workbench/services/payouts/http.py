"""The payout service's HTTP side: the seed's endpoints, their pages, and `/v1/` for programs."""

from __future__ import annotations

import hashlib
import json
import re
from base64 import b64decode
from dataclasses import replace
from hmac import compare_digest
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from workbench.core.errors import (
    CrossSite,
    InputError,
    KeyNeeded,
    NotFound,
    Quarantined,
    TooManyWrongKeys,
    UnknownPayout,
    WorkbenchError,
)
from workbench.core.facts import Event
from workbench.core.ledger import Account, LedgerTransfer
from workbench.core.payout import Payout, PayoutState
from workbench.core.ports import Request, Response
from workbench.services.common.health import brief
from workbench.services.common.health_http import add_probes, condition, ready
from workbench.services.common.loop import together
from workbench.services.common.routes import (
    Routes,
    events_page,
    log,
    one,
    refuse_duplicates,
    see_other,
    wants_page,
)
from workbench.services.payouts import accounts, pages
from workbench.services.payouts.input import (
    KEY_HEADER,
    PayoutInput,
    asked,
    fields_of,
    reason_of,
    text_of,
    user_id,
)
from workbench.services.payouts.openapi import BATCH, PAGE, openapi
from workbench.services.payouts.resolve import OUTCOMES
from workbench.services.payouts.rounds import Payouts, RequestResult
from workbench.services.payouts.wait import LOOK_S, wait_of, waited
from workbench.services.payouts.webhooks import Webhooks
from workbench.services.payouts.wrong_keys import WrongKeys

HISTORY = 200
"""Payouts on a user's page, newest first."""
OPEN_TO_ALL = ("/health", "/livez", "/readyz")
LOOPBACK = ("localhost", "127.0.0.1", "::1")


class PayoutHttpService:
    """See the module. Every answer of an error is JSON; a browser gets it as a page."""

    name = "payouts"

    def __init__(self, payouts: Payouts, webhooks: Webhooks | None = None) -> None:
        self.payouts, self.webhooks, self.health = payouts, webhooks, payouts.health
        self._api_key = _digest(payouts.rules.api_key)
        self._wrong_keys = WrongKeys()
        self._routes = (
            Routes(self.health)
            .add("GET", "/", self._home)
            .add("GET", "/user/<text>", self._user)
            .add("GET", "/health", self._health)
            .add("POST", "/earn", self._earn)
            .add("POST", "/payout", self._payout)
            .add("POST", "/v1/credits", self._v1_earn)
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
            .add("GET", "/events", self._events)
            .add("GET", "/metrics", self._metrics)
        )
        add_probes(self._routes, self.health, self._readyz)

    async def check(self) -> None:
        """Raise what must be put right before anything is promised."""
        await self.payouts.check()
        if self.webhooks is not None:
            await self.webhooks.begin()

    async def wind_down(self) -> None:
        """Answer those who wait for a payout as it is now: the process is about to end."""
        self.payouts.is_ending = True
        was_waiting = self.payouts.waiting
        while self.payouts.waiting:
            await self.payouts.clock.sleep(LOOK_S / 4)
        if was_waiting:  # Their answers are made by now; the server has still to write them.
            await self.payouts.clock.sleep(LOOK_S / 4)

    async def run(self) -> None:
        """Until cancelled."""
        if self.webhooks is None:
            await self.payouts.run()
        else:
            await together(self.payouts.run(), self.webhooks.run())

    async def handle(self, request: Request) -> Response:
        try:
            self._admit(request)
        except WorkbenchError as why:
            answer = Response.json(why.status, why.to_json())
            if isinstance(why, TooManyWrongKeys):
                wait = ("Retry-After", str(why.details["retry_after_s"]))
                answer = replace(answer, headers=(*answer.headers, wait))
            if isinstance(why, KeyNeeded):
                asks = ("WWW-Authenticate", 'Basic realm="credits payouts", charset="UTF-8"')
                answer = replace(answer, headers=(*answer.headers, asks))
        else:
            answer = await self._routes.handle(request)
        if answer.status >= 400 and wants_page(request):
            page = self._problem(request, answer.status, answer.data())
            answer = _page(answer.status, page, *answer.headers)
        return answer

    def _problem(self, request: Request, status: int, told: dict[str, Any]) -> str:
        """The error as a page; of a form, with the form as it was filled in.

        A refusal is for ever under its key, so a corrected form has a new one. After an error of
        ours nobody knows what was done: the same key makes the request the same.
        """
        form = ""
        if request.method == "POST" and request.url in ("/earn", "/payout") and status != 401:
            typed = dict(parse_qsl(request.body.decode("utf-8", "replace")))
            if status < 500:
                typed["idempotency_key"] = self.payouts.new_key()
            make = pages.earn_form if request.url == "/earn" else pages.payout_form
            form = make(typed.get("idempotency_key", ""), "", typed)
        return pages.problem(status, told, _back(request), form)

    # --- Who may ask ---

    def _admit(self, request: Request) -> None:
        refuse_duplicates(request)
        if request.method == "POST":
            _refuse_cross_site(request)
        if self._api_key is None:
            _refuse_foreign_host(request)
        elif request.url not in OPEN_TO_ALL:
            self._check_key(request)

    def _check_key(self, request: Request) -> None:
        given, now = _key_given(request), self.payouts.clock.now_ms()
        self._wrong_keys.check(request.client, now)
        if not self._is_key(given):
            if given is not None:
                self._wrong_keys.note(request.client, now)
            raise KeyNeeded(
                "an API key is needed here.",
                hint="Authorization: Bearer <key>; in a browser, the key as password.",
            )

    def _is_key(self, given: str | None) -> bool:
        """In constant time: how long it takes says nothing about the key."""
        return compare_digest(_digest(given) or "", self._api_key or "")

    # --- The seed's endpoints ---

    async def _home(self, request: Request) -> Response:
        keys = self.payouts.new_key(), self.payouts.new_key()
        return _page(200, pages.home(self._facts(), *keys))

    async def _health(self, request: Request) -> Response:
        to_all = not self._may_see(request)
        return Response.json(200, {**self._facts(), **condition(self.health, to_all=to_all)})

    def _may_see(self, request: Request) -> bool:
        """Whether reasons are for this caller: who has the key; all, where none is needed."""
        if self._api_key is None:
            return True
        try:
            self._check_key(request)
        except (KeyNeeded, TooManyWrongKeys):
            return False
        return True

    def _facts(self) -> dict[str, Any]:
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
        return self._tell(request, 200, await self._do_earn(request))

    async def _do_earn(self, request: Request) -> RequestResult:
        return await self.payouts.earn(asked(fields_of(request), request.header(KEY_HEADER)))

    async def _payout(self, request: Request) -> Response:
        """As the seed has it: its clients expect the transaction's hash in the answer."""
        return await self._tell_payout(request, 200, self.payouts.rules.wait_s)

    async def _tell_payout(self, request: Request, success: int, default_s: float) -> Response:
        """What became of a request for a payout, after a wait if the client is ready for one."""
        seconds, applied = wait_of(request, default_s)
        given = await self._do_payout(request)
        if given.status < 400 and not wants_page(request):
            given = await self._after(given, seconds)
        answer = self._tell(request, success, given)
        return replace(answer, headers=(*answer.headers, *applied))

    async def _after(self, given: RequestResult, seconds: float) -> RequestResult:
        """The answer with the payout as it is by now; of a replay, beside the first answer."""
        try:
            payout = await waited(self.payouts, str(given.body["id"]), seconds, to_end=False)
        except WorkbenchError as why:  # It is accepted: that is the answer, whatever happens now.
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
        plain = asked(fields, header)
        return replace(plain, address=self.payouts.payments.receiver(text_of(fields, "address")))

    def _tell(self, request: Request, success: int, given: RequestResult) -> Response:
        """A browser's form leads to the user's page; programs get JSON. A replay is marked."""
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
            return _page(200, page)
        told = {"user_id": name, "known": is_known, "credits": account.available}
        told |= {"held": account.debits_pending}
        return Response.json(200, {**told, "payouts": views})

    # --- /v1/ ---

    async def _v1_earn(self, request: Request) -> Response:
        return self._tell(request, 201, await self._do_earn(request))

    async def _v1_payout(self, request: Request) -> Response:
        return await self._tell_payout(request, 202, 0)

    async def _v1_batch(self, request: Request) -> Response:
        """Each payout is accepted or refused by itself, under its own key."""
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
            except WorkbenchError as why:  # Those before it are accepted: they are told, too.
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
        view["history"] = [_told(fact) for fact in facts]
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

    async def _events(self, request: Request) -> Response:
        return await events_page(self.payouts.store, self.name, request)

    # --- For those who run it ---

    async def _readyz(self, request: Request) -> Response:
        async with self.payouts.store.unit() as unit:
            await unit.last_seq()  # A database that does not answer is told by its own error.
        role = "sender" if self.payouts.is_sender else "standby"
        more = {"role": role, "has_lease": self.payouts.has_lease}
        return ready(self.health, to_all=not self._may_see(request), **more)

    async def _metrics(self, request: Request) -> Response:
        async with self.payouts.store.unit() as unit:
            counted = await unit.count_payouts()
            issued, redeemed = await unit.account("issuance"), await unit.account("redeemed")
            reconciled = await unit.reconciled()
        alarms = self.health.alarms()
        lines = ["# TYPE payouts gauge"]
        lines += [f'payouts{{state="{state.value}"}} {count}' for state, count in counted.items()]
        for name, value in (
            ("credits_issued_total", issued.debits_posted if issued else 0),
            ("credits_redeemed_total", redeemed.credits_posted if redeemed else 0),
            ("credits_held", redeemed.credits_pending if redeemed else 0),
            ("payouts_signed_here_total", self.payouts.signed),
            ("payouts_waiting_for_the_chain", len(self.payouts.stuck)),
            ("reconciled_block", reconciled[0] if reconciled else 0),
            ("signer_quarantined", int(Quarantined.code in alarms)),
            ("ready", int(self.health.is_ready())),
            ("oldest_open_seconds", self.payouts.oldest_s),
        ):
            kind = "counter" if name.endswith("_total") else "gauge"
            lines += [f"# TYPE payouts_{name} {kind}", f"payouts_{name} {value}"]
        lines += self.health.metrics()
        lines += await self.webhooks.metrics() if self.webhooks else []
        text = "\n".join(lines) + "\n"
        return Response(200, text.encode(), "text/plain; version=0.0.4; charset=utf-8", (NO_STORE,))


NO_STORE = ("Cache-Control", "no-store")


def _page(status: int, html: str, *more: tuple[str, str]) -> Response:
    # With no referrer at all, browsers send `Origin: null` from our own forms.
    headers = {**dict(more), **dict((NO_STORE, ("Referrer-Policy", "same-origin")))}
    # JSON may name half a surrogate pair, which UTF-8 does not have.
    body = html.encode(errors="replace")
    return Response(status, body, "text/html; charset=utf-8", tuple(headers.items()))


def _back(request: Request) -> str:
    """The page of ours whose form this is, as browsers name it; else that of all forms."""
    try:
        path = urlsplit(request.header("Referer") or "").path
    except ValueError:
        path = ""
    return path if path.startswith("/user/") else "/"


def _wants_json(request: Request) -> bool:
    return "application/json" in (request.header("Accept") or "")


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


def _told(fact: Event) -> dict[str, Any]:
    """A line of a payout's history; of a person's decision also who decided what, and why."""
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


def _refuse_cross_site(request: Request) -> None:
    """A page of another site makes a browser of ours post. Programs send neither header."""
    site, origin = request.header("Sec-Fetch-Site"), request.header("Origin")
    foreign = site is not None and site not in ("same-origin", "none")
    if site is None and origin is not None:
        foreign = _netloc(origin) != (request.header("Host") or "")
    if foreign:
        raise CrossSite(
            "this came from a page of another site, and was not done.",
            hint="Open this service's own page; programs leave Origin and Sec-Fetch-Site away.",
        )


def _netloc(url: str) -> str | None:
    """Host and port of a URL; None where it has none, or is none."""
    try:
        return urlsplit(url).netloc or None
    except ValueError:
        return None


def _refuse_foreign_host(request: Request) -> None:
    """On loopback, a name that points here is somebody's trick to look like our own page."""
    host = request.header("Host")
    name = (_netloc(f"//{host}") or "?").rpartition("@")[2] if host else None
    name = re.sub(r":[0-9]*$", "", name).strip("[]") if name else None
    if name and name not in LOOPBACK and (request.header("Origin") or request.method == "POST"):
        raise CrossSite(f"this service is not {name[:80]}.", hint="Use http://127.0.0.1 instead.")


def _key_given(request: Request) -> str | None:
    if own := request.header("X-API-Key"):
        return own
    scheme, _, rest = (request.header("Authorization") or "").partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip()
    if scheme.lower() == "basic":
        try:
            return b64decode(rest, validate=True).decode().partition(":")[2]
        except ValueError:
            return None
    return None


def _digest(key: str | None) -> str | None:
    """Keys are compared by their digests, which are equally long."""
    return hashlib.sha256(key.encode()).hexdigest() if key else None
