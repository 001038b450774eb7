"""The buyer: answers HTTP 402 with a signed EURC budget, and follows the settlement to its end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from workbench.core.errors import (
    InsufficientFunds,
    PeerRefused,
    PeerUnreachable,
    TermsMismatch,
    TransactionTimeout,
    WorkbenchError,
    WrongChain,
)
from workbench.core.money import EURC, USDC, Amount
from workbench.core.ports import Chain, Clock, Http, Request, Response, Signer
from workbench.core.pricing import check_ceiling, eurc_budget
from workbench.core.records import replace
from workbench.core.x402 import (
    PAYMENT_HEADER,
    Payment,
    Terms,
    TransferAuthorization,
    complete_terms,
)
from workbench.services.rates import RateSource


@dataclass(frozen=True, slots=True)
class BuyerRules:
    """Slippage in basis points, ceiling in EURC base units (None: none), waits in seconds.

    `fund_by`: `authorization` (ERC-3009) or `permit` (EIP-2612, one open purchase at a time).
    """

    slippage_bps: int = 100
    ceiling_eurc: int | None = None
    fund_by: str = "authorization"
    poll_s: float = 0.5
    timeout_s: float = 900.0
    retries: int = 20


@dataclass(frozen=True, slots=True)
class Purchase:
    """What became of a purchase. Amounts in base units."""

    settlement_id: str
    status: str
    asset_amount: int
    required_usdc: int
    max_eurc: int
    eurc_spent: int
    reason: str = ""


Progress = Callable[[str], None]


class Buyer:
    """See the module."""

    def __init__(
        self,
        *,
        chain: Chain,
        signer: Signer,
        http: Http,
        clock: Clock,
        rates: RateSource,
        rules: BuyerRules,
    ) -> None:
        self._chain, self._signer, self._http, self._clock = chain, signer, http, clock
        self._rates, self._rules = rates, rules
        self.address = signer.address

    async def buy(
        self, seller_url: str, asset_amount: int, progress: Progress = lambda _: None
    ) -> Purchase:
        """One purchase, from HTTP 402 to its end.

        Raises what the seller answered, OverCeiling, TermsMismatch or WrongChain for an offer one
        should not sign, TransactionTimeout when it takes longer than the rules allow.
        """
        payment, terms = await self.authorize(seller_url, asset_amount, progress)
        created = await self.pay(seller_url, payment)
        progress(f"settlement {created['settlement_id']} created")
        return await self.follow(seller_url, created["settlement_id"], terms, progress)

    def prepare(self) -> None:
        """It means to buy in the next block: its balance is looked up together with that."""
        self._chain.foresee_balance(self._chain.addresses.eurc, self.address, next_block=True)

    async def authorize(
        self, seller_url: str, asset_amount: int, progress: Progress = lambda _: None
    ) -> tuple[Payment, Terms]:
        """Ask for the price, decide on the budget, and sign."""
        self._chain.foresee_balance(self._chain.addresses.eurc, self.address)
        answer = await self._get(seller_url, f"/buy-asset?amount={asset_amount}")
        if answer.status != 402:
            raise _refusal(answer)
        offer = _data(answer).get("payment_requirement", {})
        self._check_offer(offer, asset_amount)
        required = offer["required_amount"]
        progress(f"HTTP 402: {Amount(required, USDC)} are required")
        rate = await self._rates.usdc_per_eurc_e8()
        budget = eurc_budget(required, rate, self._rules.slippage_bps)
        check_ceiling(budget, self._rules.ceiling_eurc)
        terms = complete_terms(offer["terms"], self.address, budget)
        progress(f"signing a budget of {Amount(budget, EURC)}")
        payment = await self._sign(terms, offer)
        await self._check_funds(budget)  # Nobody has the signature yet.
        return payment, terms

    def _check_offer(self, offer: dict[str, Any], asset_amount: int) -> None:
        """Never sign what was not asked for, nor for a vault that one does not know."""
        addresses, domain = self._chain.addresses, self._chain.domain
        place = (offer.get("chain_id"), str(offer.get("settlement_vault")).lower())
        if place != (domain.chain_id, domain.vault):
            raise WrongChain(
                f"the offer is for chain {place[0]} and vault {place[1]}; the settings say "
                f"{domain.chain_id} and {domain.vault}.",
                hint="Check SETTLEMENT_VAULT_ADDRESS, or do not trust this seller.",
            )
        terms = offer.get("terms") if isinstance(offer.get("terms"), dict) else {}
        assert isinstance(terms, dict)
        wanted = {
            "assetAmount": asset_amount,
            "asset": addresses.asset,
            "requiredUsdc": offer.get("required_amount"),
        }
        for name, value in wanted.items():
            if _lower(terms.get(name)) != value:
                raise TermsMismatch(f"the offer's {name} is {terms.get(name)}, not {value}.")
        if str(offer.get("settlement_token")).lower() != addresses.usdc:
            raise TermsMismatch("the offer is not priced in our USDC.")

    async def _check_funds(self, budget: int) -> None:
        held = await self._chain.balance(self._chain.addresses.eurc, self.address)
        if held < budget:
            raise InsufficientFunds(
                f"the budget is {Amount(budget, EURC)}; {self.address} holds {Amount(held, EURC)}.",
                hint="Buy less, or get more EURC.",
            )

    async def _sign(self, terms: Terms, offer: dict[str, Any]) -> Payment:
        """Consent, and the right to pull: by ERC-3009 where the seller takes it, else by permit."""
        consent = self._signer.sign_digest(self._chain.terms_digest(terms))
        payment = Payment(self.address, terms, consent)
        deadline = terms.fund_deadline
        if self._rules.fund_by in offer.get("funding", ()) and self._rules.fund_by != "permit":
            before = deadline + 1  # Exclusive in ERC-3009, while fundDeadline may still fund.
            digest = await self._chain.authorization_digest(terms, 0, before)
            given = TransferAuthorization(0, before, self._signer.sign_digest(digest))
            return replace(payment, authorization=given)
        eurc = self._chain.addresses.eurc
        digest = await self._chain.permit_digest(eurc, self.address, terms.max_eurc, deadline)
        permit = self._signer.sign_permit(digest, terms.max_eurc, deadline)
        return replace(payment, permit=permit)

    async def pay(self, seller_url: str, payment: Payment) -> dict[str, Any]:
        """Send the payment; again and unchanged where the outcome is unknown (it is idempotent)."""
        path = f"/buy-asset?amount={payment.terms.asset_amount}"
        headers = ((PAYMENT_HEADER, payment.to_header()),)
        answer = await self._get(seller_url, path, headers)
        if answer.status != 200:
            raise _refusal(answer)
        return _data(answer)

    async def follow(
        self, seller_url: str, identity: str, terms: Terms, progress: Progress = lambda _: None
    ) -> Purchase:
        """Ask for the state until the asset is here, or the money is back."""
        limit = self._clock.now_ms() + int(self._rules.timeout_s * 1000)
        state = ""
        while True:
            try:
                answer = await self._get(seller_url, f"/settlement/{identity}")
            except PeerUnreachable:
                if self._clock.now_ms() >= limit:
                    raise
                # We have signed: a seller that restarts is waited for.
                await self._clock.sleep(self._rules.poll_s)
                continue
            if answer.status != 200:
                raise _refusal(answer)
            view = _data(answer)
            if view["state"] not in (state, "none"):  # The seller has not seen its block yet.
                state = view["state"]
                progress(f"settlement is {state}")
            if view["status"] != "pending":
                return Purchase(
                    settlement_id=identity,
                    status=view["status"],
                    asset_amount=terms.asset_amount,
                    required_usdc=terms.required_usdc,
                    max_eurc=terms.max_eurc,
                    eurc_spent=view.get("eurc_spent") or 0,
                    reason=view.get("reason", ""),
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
        """GET is safe to repeat here; a peer or node that is away is waited for."""
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


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _data(answer: Response) -> dict[str, Any]:
    try:
        data = answer.data()
    except ValueError as why:
        raise PeerRefused("the seller's answer is not JSON.") from why
    if not isinstance(data, dict):
        raise PeerRefused("the seller's answer is not a JSON object.")
    return data


def _refusal(answer: Response) -> WorkbenchError:
    """What the seller answered, as the error it names."""
    data = _data(answer)
    code, message = str(data.get("error", "unknown")), str(data.get("message", ""))
    kind = WorkbenchError.kinds.get(code)
    hint = str(data.get("hint", ""))
    if kind is None:
        return PeerRefused(f"the seller answered {answer.status} {code}: {message}", hint=hint)
    return kind(message, hint=hint)
