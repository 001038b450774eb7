"""The seller: sells an asset over HTTP 402, and brings signed terms on chain.

`GET /buy-asset?amount=` answers 402 with an offer. With X-PAYMENT the seller checks signatures and
money (`otc.intake`), claims the settlement id in its database, hands the authorization to the
facilitator, and creates the settlement. `run` continues claims after a crash.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

from workbench.core import facts as ev
from workbench.core.errors import (
    DeadlinePassed,
    InvalidAmount,
    PeerRefused,
    PeerUnreachable,
    Reverted,
    SettlementError,
    UnknownSettlement,
    WorkbenchError,
)
from workbench.core.finality import FinalityPolicy
from workbench.core.money import parse_units
from workbench.core.ports import (
    Clock,
    Head,
    Http,
    Randomness,
    Request,
    Response,
    Sender,
    SettlementContracts,
    Signer,
    Store,
    Watcher,
)
from workbench.core.pricing import Price
from workbench.core.settlement import Settlement, SettlementState
from workbench.core.x402 import (
    PAYMENT_HEADER,
    ZERO_ADDRESS,
    Payment,
    SettlementRequest,
    Terms,
    payment_required,
    settlement_id,
)
from workbench.services.common.health_http import add_probes, condition
from workbench.services.common.loop import ServiceLoop
from workbench.services.common.routes import Routes, events_page, log, one
from workbench.services.common.settlement_index import SettlementIndex
from workbench.services.common.vitals import GLANCE_S, glance
from workbench.services.otc.facilitator_answer import check_acceptance
from workbench.services.otc.intake import MAX_OPEN_PER_BUYER, Intake
from workbench.services.otc.offers import OfferIssuer, requested
from workbench.services.otc.rates import PriceSource


@dataclass(frozen=True, slots=True)
class SellerRules:
    """The rules of a seller: how long an offer may be funded and then swapped, in seconds.

    `max_open_per_buyer`: open settlements that one buyer may have; None: no limit.
    """

    finality: FinalityPolicy
    quote_lifetime_s: int = 600
    swap_window_s: int = 600
    poll_s: float = 0.5
    create_timeout_s: float = 60.0
    sign_permits: bool = True
    max_open_per_buyer: int | None = MAX_OPEN_PER_BUYER


class Seller:
    """See the module. One instance for each seller account."""

    name = "seller"

    def __init__(
        self,
        *,
        chain: SettlementContracts,
        signer: Signer,
        sender: Sender,
        watcher: Watcher,
        store: Store,
        clock: Clock,
        loop: ServiceLoop,
        http: Http,
        random: Randomness,
        facilitator_url: str,
        rules: SellerRules,
        prices: PriceSource,
    ) -> None:
        self._chain, self._signer, self._sender, self._watcher = chain, signer, sender, watcher
        self._store, self._clock, self._http, self._random = store, clock, http, random
        self._loop, self.health = loop, loop.health
        self._facilitator_url, self._rules = facilitator_url.rstrip("/"), rules
        self._prices = prices
        self.book = SettlementIndex(store, seller=signer.address)
        self._offers = OfferIssuer(signer, chain.domain)
        self._intake = Intake(
            chain=chain,
            signer=signer,
            store=store,
            clock=clock,
            book=self.book,
            offers=self._offers,
            source=self.name,
            sign_permits=rules.sign_permits,
            max_open_per_buyer=rules.max_open_per_buyer,
        )
        self._at_work: dict[str, asyncio.Task[None]] = {}
        self._routes = (
            Routes(self.health)
            .add("GET", "/buy-asset", self._buy_asset)
            .add("GET", "/settlement/<text>", self._settlement)
            .add("GET", "/health", self._health)
            .add("GET", "/events", self._events)
        )
        add_probes(self._routes, self.health)

    async def handle(self, request: Request) -> Response:
        return await self._routes.handle(request)

    # --- GET /buy-asset ---

    async def _buy_asset(self, request: Request) -> Response:
        amount = self._amount(request)
        header = request.header(PAYMENT_HEADER)
        if request.method == "HEAD":  # HEAD is safe (RFC 9110): it neither buys nor makes an offer.
            return Response(402, headers=(("Cache-Control", "no-store"),))
        if header is None:
            return await self._offer(amount)
        payment = Payment.from_header(header)
        return await self._sell(amount, payment)

    def _amount(self, request: Request) -> int:
        text = one(request, "amount")
        if text is None:
            raise InvalidAmount(
                "amount is missing.",
                hint="Ask for /buy-asset?amount=100000000000000000000 (100 YPS).",
            )
        return parse_units(text)

    async def _offer(self, amount: int) -> Response:
        head = await self._chain.head()
        await self._intake.check_inventory(amount)
        draft = self._terms(amount, head, await self._prices.price())
        at_ms = self._clock.now_ms()
        terms = self._offers.sealed(draft, at_ms, self._random.token())
        if self._offers.worth_noting(at_ms):
            async with self._store.unit() as unit:
                await unit.record(requested(terms, at_ms, self.name))
        domain, usdc, show = self._chain.domain, self._chain.addresses.usdc, self._chain.checksum
        offer = payment_required(terms, domain, usdc, _resource(amount), show)
        return Response.json(402, offer)

    def _terms(self, amount: int, head: Head, price: Price) -> Terms:
        fund_deadline = head.timestamp + self._rules.quote_lifetime_s
        return Terms(
            buyer=ZERO_ADDRESS,
            seller=self._signer.address,
            asset=self._chain.addresses.asset,
            asset_amount=amount,
            required_usdc=price.required_usdc(amount),
            max_eurc=0,
            fund_deadline=fund_deadline,
            swap_deadline=fund_deadline + self._rules.swap_window_s,
            resource_hash=self._chain.resource_hash(_resource(amount)),
            salt="",
        )

    async def _sell(self, amount: int, payment: Payment) -> Response:
        terms = payment.terms
        digest = self._chain.terms_digest(terms)
        identity = "0x" + digest.hex()
        async with self._store.unit() as unit:
            claimed = await unit.authorization(identity)
        # The digest covers all terms, so this is the same payment again.
        if claimed is None:
            await self._intake.admit(amount, payment, digest)
        await self._bring_on_chain(identity)
        answer = {
            "settlement_id": identity,
            "status": "created",
            "message": "Settlement created successfully",
            "required_usdc": terms.required_usdc,
            "max_eurc": terms.max_eurc,
            "asset_amount": terms.asset_amount,
            "status_url": f"/settlement/{identity}",
        }
        return Response.json(200, answer)

    # --- Bringing a claim on chain ---

    async def _bring_on_chain(self, identity: str) -> None:
        """Bring a claim on chain. Concurrent callers share one task and its outcome."""
        task = self._at_work.get(identity)
        if task is None:
            task = asyncio.ensure_future(self._work(identity))
            self._at_work[identity] = task
            task.add_done_callback(lambda _: self._at_work.pop(identity, None))
        # A client that disconnects must not cancel the work for the others.
        await asyncio.shield(task)

    async def _work(self, identity: str) -> None:
        """Hand over a claim and create its settlement, or reject it."""
        await self.book.refresh()
        settlement = self.book.get(identity)
        if settlement is not None and settlement.state is SettlementState.REJECTED:
            raise PeerRefused(f"this payment was rejected: {settlement.reason}.")
        if settlement is None or settlement.state is not SettlementState.AUTHORIZED:
            return
        async with self._store.unit() as unit:
            claimed = await unit.authorization(identity)
        assert claimed is not None, "an authorised settlement has its claim"
        attempt = settlement.reverted.count("create") + 1
        try:
            await self._hand_over(claimed)
            terms, signed = claimed.terms, claimed.payment.terms_signature
            call = self._chain.create_settlement(terms, signed, claimed.seller_signature)
            call = self._chain.if_paid(call, claimed.payment)
            await self._sender.submit(identity, call, attempt)
            await self._sender.mined(identity, "create", attempt, self._rules.create_timeout_s)
        except WorkbenchError as why:
            if why.transient:
                await self._end_late(claimed)
                raise
            cause = await self._cause(claimed.payment, why)
            await self._reject(identity, cause)
            raise cause from why

    async def _end_late(self, claimed: SettlementRequest) -> None:
        """Reject a claim whose offer has ended, so that its stock is free. Raises DeadlinePassed
        then.

        Its transaction would revert.
        """
        head, deadline = await self._chain.head(), claimed.terms.fund_deadline
        if head.timestamp > deadline:
            why = DeadlinePassed(
                f"the offer ended at {deadline}, before it was on chain.",
                hint="Ask for a new offer.",
            )
            await self._reject(claimed.settlement_id, why)
            raise why

    async def _cause(self, payment: Payment, why: WorkbenchError) -> WorkbenchError:
        """Return the cause of a contract's refusal: a token has errors of its own."""
        if not isinstance(why, SettlementError | Reverted):
            return why
        return await self._chain.payment_refusal(payment) or why

    async def _hand_over(self, claimed: SettlementRequest) -> None:
        domain = self._chain.domain
        requirements = {"chain_id": domain.chain_id, "settlement_vault": domain.vault}
        body = json.dumps({**claimed.to_wire(), "requirements": requirements}).encode()
        headers = (("Content-Type", "application/json"),)
        url = f"{self._facilitator_url}/settle"
        answer = await self._http.send(Request("POST", url, headers=headers, body=body))
        check_acceptance(answer, claimed.settlement_id)

    async def _reject(self, identity: str, why: WorkbenchError) -> None:
        fact = ev.PaymentRejected(
            subject=identity,
            at_ms=self._clock.now_ms(),
            source=self.name,
            code=why.details.get("facilitator", {}).get("error", why.code),
            message=str(why),
        )
        async with self._store.unit() as unit:
            await unit.record(fact)

    # --- What others may ask ---

    async def _settlement(self, request: Request, text: str) -> Response:
        identity = settlement_id(text)
        await self.book.refresh()
        settlement = self.book.get(identity)
        if settlement is None:
            raise UnknownSettlement(f"no settlement {identity} is known to this seller.")
        head = await self._chain.head()
        return Response.json(200, self.view(settlement, head))

    def view(self, settlement: Settlement, head: Head) -> dict[str, Any]:
        """Return the seed's fields, then ours. `final`: the last block has its confirmations."""
        ended = settlement.entered[-1].block
        done = settlement.status != "pending" and ended is not None
        final = (
            done and ended is not None and self._rules.finality.reached(ended.number, head.number)
        )
        view: dict[str, Any] = {
            "settlement_id": settlement.id,
            "client": self._chain.checksum(settlement.buyer),
            "asset_amount": settlement.asset_amount,
            "required_usdc": settlement.required_usdc,
            "max_eurc": settlement.max_eurc,
            "status": settlement.status,
            "state": settlement.contract_word(head.timestamp),
            "final": final,
            "seller": self._chain.checksum(settlement.seller),
            "eurc_spent": settlement.eurc_spent,
        }
        if settlement.reason:
            view["reason"] = settlement.reason
        return view

    async def _health(self, request: Request) -> Response:
        head = await glance(self._chain.head())
        addresses, show = self._chain.addresses, self._chain.checksum
        held = self._chain.balance(addresses.asset, self._signer.address)
        health = {
            **condition(self.health, to_all=self.health.is_public),
            "service": self.name,
            "seller": show(self._signer.address),
            "chain_id": self._chain.domain.chain_id,
            "block": head and head.number,
            "asset_token": show(addresses.asset),
            "settlement_token": show(addresses.usdc),
            "settlement_vault": show(addresses.vault),
            "price_per_unit_usdc": (await self._prices.price()).usdc_per_asset,
            "inventory": await glance(held),
        }
        return Response.json(200, health)

    async def _events(self, request: Request) -> Response:
        return await events_page(self._store, self.name, request)

    # --- The seller's own work ---

    async def look_at_facilitator(self) -> None:
        """Report whether the facilitator answers. Without it a purchase ends at its offer."""
        url = f"{self._facilitator_url}/livez"
        try:
            async with asyncio.timeout(GLANCE_S):
                answer = await self._http.send(Request("GET", url))
        except PeerUnreachable as why:
            self.health.fails("facilitator", why.message)
            return
        except TimeoutError:
            told = f"the facilitator at {self._facilitator_url} did not answer in {GLANCE_S:g} s."
            self.health.fails("facilitator", told)
            return
        said = f"the facilitator answered {answer.status}." if answer.status >= 500 else ""
        self.health.set("facilitator", said)

    async def run(self) -> None:
        """Run rounds until cancelled: continue claims, record deliveries."""
        await self._loop.rounds(self.name, self.tick, self._rules.poll_s)

    async def tick(self) -> None:
        """One round: read the logs, continue claims, record deliveries, track transactions."""
        await self._watcher.poll()
        await self.book.refresh()
        head = await self._chain.head()
        for settlement in self.book.of(SettlementState.AUTHORIZED):
            if settlement.id not in self._at_work:
                with self._loop.part(settlement.id):
                    await self._go_on(settlement.id)
        with self._loop.part("deliveries"):
            await self._note_deliveries(head)
        await self._sender.pump()

    async def _go_on(self, identity: str) -> None:
        try:
            await self._bring_on_chain(identity)
        except WorkbenchError as why:
            log.warning("seller: %s: %s", identity, why)

    async def _note_deliveries(self, head: Head) -> None:
        """Record AssetDelivered for our settlements whose execution has all its confirmations."""
        facts = []
        for settlement in self.book.of(SettlementState.EXECUTED):
            executed = settlement.block_of(SettlementState.EXECUTED)
            if executed is None or settlement.seller != self._signer.address:
                continue
            if self._rules.finality.reached(executed.number, head.number):
                fact = ev.AssetDelivered(
                    subject=settlement.id,
                    at_ms=head.timestamp * 1000,
                    source=self.name,
                    block=executed,
                    buyer=settlement.buyer,
                    asset_amount=settlement.asset_amount,
                )
                facts.append(fact)
        if facts:
            async with self._store.unit() as unit:
                await unit.record_all(facts)


def _resource(amount: int) -> str:
    return f"/buy-asset?amount={amount}"
