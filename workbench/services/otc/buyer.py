"""The buyer: answers HTTP 402 with a signed EURC budget, and follows the settlement to its end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec

from workbench.core.errors import (
    InsufficientFunds,
    PeerUnreachable,
    SellerMismatch,
    TermsMismatch,
    TransactionTimeout,
)
from workbench.core.money import EURC, USDC, Amount
from workbench.core.ports import (
    Clock,
    Http,
    ReportProgress,
    Request,
    Response,
    SettlementContracts,
    Signer,
)
from workbench.core.pricing import DEFAULT_CEILING_EURC, Price, check_ceiling, eurc_budget
from workbench.core.purchase import Purchase
from workbench.core.records import replace
from workbench.core.x402 import PAYMENT_HEADER, Payment, Terms, TransferAuthorization
from workbench.services.common import peers
from workbench.services.otc.offer_check import (
    DAY_S,
    OfferBody,
    OfferBounds,
    PaymentRequirement,
    RequestedResource,
    checked_terms,
)
from workbench.services.otc.rates import RateSource


@dataclass(frozen=True, slots=True)
class BuyerRules:
    """The rules of a buyer: slippage in basis points, ceiling in EURC base units (None: no
    ceiling), times in seconds.

    `price`, `price_tolerance_bps`, `max_deadline_s`: see `otc.offer_check.OfferBounds`. `fund_by`:
    `authorization` (ERC-3009) or `permit` (EIP-2612, one open purchase at a time).
    """

    slippage_bps: int = 100
    ceiling_eurc: int | None = DEFAULT_CEILING_EURC
    price: Price | None = None
    price_tolerance_bps: int = 100
    max_deadline_s: int = DAY_S
    fund_by: str = "authorization"
    poll_s: float = 0.5
    timeout_s: float = 900.0
    retries: int = 20


class SettlementAccepted(msgspec.Struct):
    """The seller's answer to an accepted payment."""

    settlement_id: str
    status: str = ""


class SellerStatus(msgspec.Struct):
    """The seller's view of a settlement. `eurc_spent`: base units."""

    settlement_id: str
    status: Literal["pending", "executed", "refunded", "rejected"]
    state: str
    eurc_spent: Annotated[int, msgspec.Meta(ge=0)] | None = None
    reason: str = ""


PEER = "seller"


class Buyer:
    """See the module. `seller`: the account that may be paid; None: every offer is refused."""

    def __init__(
        self,
        *,
        chain: SettlementContracts,
        signer: Signer,
        http: Http,
        clock: Clock,
        rates: RateSource,
        rules: BuyerRules,
        seller: str | None,
    ) -> None:
        self._seller = seller and seller.lower()
        self._chain, self._signer, self._http, self._clock = chain, signer, http, clock
        self._rates, self._rules = rates, rules
        self.address = signer.address

    async def buy(
        self, seller_url: str, asset_amount: int, progress: ReportProgress = lambda _: None
    ) -> Purchase:
        """Buy once, from HTTP 402 to the end of the settlement.

        Raises the error that the seller answered; OverCeiling, TermsMismatch (SellerMismatch,
        PriceRefused, DeadlineRefused) or WrongChain for an offer that must not be signed;
        PeerRefused or PeerUnreachable for an answer of no seller; TransactionTimeout after
        `timeout_s`.
        """
        payment, terms = await self.authorize(seller_url, asset_amount, progress)
        created = await self.pay(seller_url, payment)
        progress(f"settlement {created['settlement_id']} created")
        return await self.follow(seller_url, created["settlement_id"], terms, progress)

    def prepare(self) -> None:
        """Tell the RPC client that the balance will be needed at the next block."""
        self._chain.foresee_balance(self._chain.addresses.eurc, self.address, next_block=True)

    async def authorize(
        self, seller_url: str, asset_amount: int, progress: ReportProgress = lambda _: None
    ) -> tuple[Payment, Terms]:
        """Request an offer, choose the budget, and sign."""
        self._chain.foresee_balance(self._chain.addresses.eurc, self.address)
        answer = await self._get(seller_url, resource_of(asset_amount))
        if answer.status != 402:
            raise peers.refused(answer, PEER)
        offer = peers.decoded(answer, OfferBody, PEER).payment_requirement
        offered = await self._checked(offer, asset_amount)
        required = offered.required_usdc
        progress(f"HTTP 402: {Amount(required, USDC)} are required")
        rate = await self._rates.usdc_per_eurc_e8()
        budget = eurc_budget(required, rate, self._rules.slippage_bps)
        check_ceiling(budget, self._rules.ceiling_eurc)
        terms = replace(offered, buyer=self.address, max_eurc=budget)
        progress(f"signing a budget of {Amount(budget, EURC)}")
        payment = await self._sign(terms, offer.funding)
        await self._check_funds(budget)  # No other party has the signature yet.
        return payment, terms

    async def _checked(self, offer: PaymentRequirement, asset_amount: int) -> Terms:
        """Return the offered terms if they match the request. See `otc.offer_check`."""
        resource, chain, rules = resource_of(asset_amount), self._chain, self._rules
        if self._seller is None:
            raise unknown_seller()
        asked = RequestedResource(resource, chain.resource_hash(resource), asset_amount)
        bounds = OfferBounds(
            self._seller, rules.price, rules.price_tolerance_bps, rules.max_deadline_s
        )
        now = (await chain.head()).timestamp
        terms = checked_terms(offer, asked, (chain.domain, chain.addresses), bounds, now)
        if not {self._rules.fund_by, "permit"} & set(offer.funding):
            raise TermsMismatch(
                f"the offer takes no funding by {rules.fund_by} or permit.",
                hint="Do not trust this seller, or update workbench.",
            )
        return terms

    async def _check_funds(self, budget: int) -> None:
        """Raise InsufficientFunds unless the buyer holds the budget."""
        held = await self._chain.balance(self._chain.addresses.eurc, self.address)
        if held < budget:
            raise InsufficientFunds(
                f"the budget is {Amount(budget, EURC)}; {self.address} holds {Amount(held, EURC)}.",
                hint="Buy less, or get more EURC.",
            )

    async def _sign(self, terms: Terms, funding: list[str]) -> Payment:
        """Sign the terms and the right to pull the budget: ERC-3009 if the seller accepts it, else
        a permit."""
        consent = self._signer.sign_digest(self._chain.terms_digest(terms))
        payment = Payment(self.address, terms, consent)
        deadline = terms.fund_deadline
        if self._rules.fund_by in funding and self._rules.fund_by != "permit":
            # `validBefore` is exclusive in ERC-3009, and funding is allowed in the second of
            # fundDeadline.
            before = deadline + 1
            digest = await self._chain.authorization_digest(terms, 0, before)
            given = TransferAuthorization(0, before, self._signer.sign_digest(digest))
            return replace(payment, authorization=given)
        eurc = self._chain.addresses.eurc
        digest = await self._chain.permit_digest(eurc, self.address, terms.max_eurc, deadline)
        permit = self._signer.sign_permit(digest, terms.max_eurc, deadline)
        return replace(payment, permit=permit)

    async def pay(self, seller_url: str, payment: Payment) -> dict[str, Any]:
        """Send the payment, and send it again unchanged after an unknown outcome (it is
        idempotent).

        Returns the seller's answer for the settlement of this payment.
        """
        path = resource_of(payment.terms.asset_amount)
        headers = ((PAYMENT_HEADER, payment.to_header()),)
        answer = await self._get(seller_url, path, headers)
        if answer.status != 200:
            raise peers.refused(answer, PEER)
        created = peers.decoded(answer, SettlementAccepted, PEER)
        identity = "0x" + self._chain.terms_digest(payment.terms).hex()
        if created.settlement_id.lower() != identity:
            raise peers.invalid(answer, PEER, "it names another settlement than ours")
        return {"settlement_id": identity, "status": created.status}

    async def follow(
        self,
        seller_url: str,
        identity: str,
        terms: Terms,
        progress: ReportProgress = lambda _: None,
    ) -> Purchase:
        """Poll the settlement until the asset is delivered or the budget is refunded."""
        limit = self._clock.now_ms() + int(self._rules.timeout_s * 1000)
        state = ""
        while True:
            try:
                answer = await self._get(seller_url, f"/settlement/{identity}")
            except PeerUnreachable:
                if self._clock.now_ms() >= limit:
                    raise
                # The payment is signed: wait for a seller that restarts.
                await self._clock.sleep(self._rules.poll_s)
                continue
            if answer.status != 200:
                raise peers.refused(answer, PEER)
            view = peers.decoded(answer, SellerStatus, PEER)
            if view.settlement_id.lower() != identity:
                raise peers.invalid(answer, PEER, "it is about another settlement")
            # The seller has not seen the block of the settlement yet.
            if view.state not in (state, "none"):
                state = view.state
                progress(f"settlement is {state}")
            spent = view.eurc_spent or 0
            if spent > terms.max_eurc:
                raise peers.invalid(answer, PEER, "it says that more than the budget was spent")
            if view.status != "pending":
                return Purchase(
                    settlement_id=identity,
                    status=view.status,
                    asset_amount=terms.asset_amount,
                    required_usdc=terms.required_usdc,
                    max_eurc=terms.max_eurc,
                    eurc_spent=spent,
                    reason=view.reason[: peers.LONGEST],
                )
            if self._clock.now_ms() >= limit:
                raise TransactionTimeout(
                    f"settlement {identity} is still {state} after {self._rules.timeout_s:g} s.",
                    hint="Look at the tracker; after its deadline anyone may refund it.",
                )
            await self._clock.sleep(self._rules.poll_s)

    async def _get(
        self, seller_url: str, path: str, headers: tuple[tuple[str, str], ...] = ()
    ) -> Response:
        """Send a GET request, which is safe to repeat. Wait for an unreachable peer or node."""
        for attempt in range(self._rules.retries + 1):
            last = attempt == self._rules.retries
            try:
                request = Request("GET", seller_url.rstrip("/") + path, headers=headers)
                answer = await self._http.send(request)
                if answer.status < 500 or last:
                    return answer
            except PeerUnreachable:
                if last or attempt >= 2:
                    raise
            await self._clock.sleep(self._rules.poll_s)
        raise AssertionError("unreachable")


def unknown_seller() -> SellerMismatch:
    """Return the error of a buyer without a known seller: it would pay any server at the URL."""
    return SellerMismatch(
        "nobody said which seller you buy from, so none is paid.",
        hint="Name its address: --seller or SELLER_ADDRESS, or buy where `workbench up` runs.",
    )


def resource_of(asset_amount: int) -> str:
    """Return the name of the resource that is requested and paid. `resourceHash` is its hash."""
    return f"/buy-asset?amount={asset_amount}"
