"""The HTTP interface of the payout service: access rules, routes, probes and metrics."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from workbench.core.errors import (
    KeyNeeded,
    Quarantined,
    TooManyWrongKeys,
    WorkbenchError,
)
from workbench.core.ports import Request, Response
from workbench.services.common.health_http import add_probes, condition, ready
from workbench.services.common.loop import together
from workbench.services.common.routes import (
    events_page,
    wants_page,
)
from workbench.services.payouts import pages
from workbench.services.payouts.access import AccessRules
from workbench.services.payouts.form_endpoints import NO_STORE, page_response
from workbench.services.payouts.rounds import Payouts
from workbench.services.payouts.v1_endpoints import V1Endpoints
from workbench.services.payouts.wait import LOOK_S
from workbench.services.payouts.webhooks import Webhooks


class PayoutHttpService(V1Endpoints):
    """Serve the payout service. An error is answered in JSON, or as a page in a browser."""

    def __init__(self, payouts: Payouts, webhooks: Webhooks | None = None) -> None:
        super().__init__(payouts, webhooks)
        self._access = AccessRules(payouts.rules.api_key, payouts.clock)
        (
            self._routes.add("GET", "/health", self._health)
            .add("GET", "/events", self._events)
            .add("GET", "/metrics", self._metrics)
        )
        add_probes(self._routes, self.health, self._readyz)

    async def check(self) -> None:
        """Check settings, node and database before requests are served. Raises the first error."""
        await self.payouts.check()
        if self.webhooks is not None:
            await self.webhooks.begin()

    async def wind_down(self) -> None:
        """Answer the requests that wait for a payout, because the process is about to end."""
        self.payouts.is_ending = True
        was_waiting = self.payouts.waiting
        while self.payouts.waiting:
            await self.payouts.clock.sleep(LOOK_S / 4)
        if was_waiting:  # Their answers exist now; the server still has to write them.
            await self.payouts.clock.sleep(LOOK_S / 4)

    async def run(self) -> None:
        """Run payouts and webhooks until cancelled."""
        if self.webhooks is None:
            await self.payouts.run()
        else:
            await together(self.payouts.run(), self.webhooks.run())

    async def handle(self, request: Request) -> Response:
        """Answer a request: access rules first, then the route; errors as pages for browsers."""
        try:
            self._access.admit(request)
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
            answer = page_response(answer.status, page, *answer.headers)
        return answer

    def _problem(self, request: Request, status: int, told: dict[str, Any]) -> str:
        """Return an error as a page, with the form as it was filled in.

        A refusal is stored under its key, so a corrected form gets a new key. After an internal
        error the outcome is unknown, so the form keeps its key.
        """
        form = ""
        if request.method == "POST" and request.url in ("/earn", "/payout") and status != 401:
            typed = dict(parse_qsl(request.body.decode("utf-8", "replace")))
            if status < 500:
                typed["idempotency_key"] = self.payouts.new_key()
            make = pages.earn_form if request.url == "/earn" else pages.payout_form
            form = make(typed.get("idempotency_key", ""), "", typed)
        return pages.problem(status, told, _back(request), form)

    async def _health(self, request: Request) -> Response:
        to_all = not self._access.may_see(request)
        return Response.json(200, {**self._facts(), **condition(self.health, to_all=to_all)})

    async def _events(self, request: Request) -> Response:
        return await events_page(self.payouts.store, self.name, request)

    async def _readyz(self, request: Request) -> Response:
        async with self.payouts.store.unit() as unit:
            await unit.last_seq()  # Raises if the database does not answer.
        role = "sender" if self.payouts.is_sender else "standby"
        more = {"role": role, "has_lease": self.payouts.has_lease}
        return ready(self.health, to_all=not self._access.may_see(request), **more)

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


def _back(request: Request) -> str:
    """Return the path of our page that sent the form, from the Referer header; else the home
    page."""
    try:
        path = urlsplit(request.header("Referer") or "").path
    except ValueError:
        path = ""
    return path if path.startswith("/user/") else "/"
