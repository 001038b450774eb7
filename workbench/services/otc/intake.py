"""The checks of a seller before it claims a payment, so before stock is reserved or gas is spent.

The order is by cost. Offer and signatures need no chain. Then, for one payment at a time, stock,
the buyer's balance and its open settlements are counted, and the claim is stored. Creation and
transfer are simulated before the claim goes on chain (`SettlementContracts.if_paid`); a refusal
there ends the claim at once.
"""

from __future__ import annotations

import asyncio

from workbench.core import facts as ev
from workbench.core.errors import (
    BadSignature,
    DeadlinePassed,
    InsufficientFunds,
    InsufficientInventory,
    OfferTaken,
    TermsMismatch,
    TooManyOpen,
)
from workbench.core.money import EURC, UINT256_MAX, YPS, Amount
from workbench.core.ports import Clock, SettlementContracts, Signer, Store
from workbench.core.pricing import check_budget
from workbench.core.settlement import Settlement, SettlementState
from workbench.core.x402 import (
    NO_PERMIT,
    Payment,
    Permit,
    SettlementRequest,
    Terms,
    TransferAuthorization,
    offer_key,
)
from workbench.services.common.settlement_index import SettlementIndex
from workbench.services.otc.offers import OFFERED, OfferIssuer, requested

UNFUNDED = (SettlementState.AUTHORIZED, SettlementState.CREATED)
"""States in which stock and budget are promised, but still with their owners."""
ON_CHAIN_UNFUNDED = (0, 1)
"""The vault's numbers of the states none and created."""
MAX_OPEN_PER_BUYER = 5
"""Default for the open settlements that one buyer may have with a seller."""


class Intake:
    """See the module. One instance for each seller account. `source`: the source of its facts."""

    def __init__(
        self,
        *,
        chain: SettlementContracts,
        signer: Signer,
        store: Store,
        clock: Clock,
        book: SettlementIndex,
        offers: OfferIssuer,
        source: str,
        sign_permits: bool,
        max_open_per_buyer: int | None,
    ) -> None:
        self._chain, self._signer, self._store, self._clock = chain, signer, store, clock
        self._book, self._offers, self._source = book, offers, source
        self._sign_permits, self._max_open = sign_permits, max_open_per_buyer
        self._claiming = asyncio.Lock()

    async def admit(self, amount: int, payment: Payment, digest: bytes) -> None:
        """Claim the payment, or raise the reason of a refusal. A payment that was claimed stays
        claimed."""
        terms, identity = payment.terms, "0x" + digest.hex()
        offer = await self._check_offer(amount, terms)
        await self._check_free(terms, identity)
        await self._check_time(terms)
        await self._check_consent(payment, digest)
        await self._check_funding(payment)
        permit = await self._permit(terms)
        async with self._claiming:  # Counts and claim belong together: one payment at a time.
            await self._book.refresh()
            if self._book.get(identity) is None:
                await self.check_inventory(amount)
                await self._check_buyer(terms)
            signed = self._signer.sign_digest(digest)
            claimed = SettlementRequest(identity, payment, signed, permit)
            await self._claim(claimed, offer)

    # --- The offer ---

    async def _check_offer(self, amount: int, terms: Terms) -> ev.PaymentRequested:
        """Return the offer of these terms. They must equal an offer of ours for this resource."""
        try:
            made_at_ms = self._offers.made_at_ms(terms)
            offer, altered = requested(terms, made_at_ms, self._source), list[str]()
        except TermsMismatch:  # If the offer was recorded, the error can name the altered field.
            async with self._store.unit() as unit:
                known = await unit.standing(terms.salt)
            noted = next((fact for fact in known if isinstance(fact, ev.PaymentRequested)), None)
            if noted is None:
                raise
            offer = noted
            altered = [name for name in OFFERED if getattr(terms, name) != getattr(offer, name)]
        if offer.asset_amount != amount:
            altered.append("amount")
        if altered:
            raise TermsMismatch(
                f"the signed terms differ from the offer in {', '.join(altered)}.",
                hint="Sign the offered terms as they are; add only buyer and maxEurc.",
                fields=altered,
            )
        return offer

    async def _check_free(self, terms: Terms, identity: str) -> None:
        """Raise if the offer has a settlement already. An offer has one settlement, also after a
        refund."""
        async with self._store.unit() as unit:
            first = await unit.sold(offer_key(terms))
        await self._book.refresh()
        first = first or self._book.sold(terms.salt)
        if first is not None and first != identity:
            raise self._taken(first)

    def _taken(self, first: str) -> OfferTaken:
        """Return the error of an offer that was sold before."""
        known, text = self._book.get(first), f"this offer was sold as settlement {first}"
        if known is not None and known.status in ("refunded", "rejected"):
            text, hint = f"{text}, which was {known.status}.", "Ask for a new offer."
        else:
            text, hint = f"{text}.", f"Follow /settlement/{first}; buy again with a new offer."
        return OfferTaken(text, hint=hint, settlement_id=first)

    async def _check_time(self, terms: Terms) -> None:
        """Raise DeadlinePassed if the terms can no longer be funded in time."""
        head = await self._chain.head()
        if head.timestamp > terms.fund_deadline:
            raise DeadlinePassed(
                f"the offer ended at {terms.fund_deadline}; the chain's time is {head.timestamp}.",
                hint="Ask for a new offer.",
            )

    # --- Consent, and the money behind it ---

    async def _check_consent(self, payment: Payment, digest: bytes) -> None:
        """Raise BadSignature unless the buyer signed the terms, BudgetTooSmall for its budget."""
        terms = payment.terms
        if not await self._chain.valid_signature(terms.buyer, digest, payment.terms_signature):
            raise BadSignature(
                "terms_signature is not the client's signature of these terms for chain "
                f"{self._chain.domain.chain_id} and vault {self._chain.domain.vault}.",
                hint="Sign the EIP-712 terms with the domain of the offer and the client's key.",
            )
        rate = await self._chain.rate()
        check_budget(terms.max_eurc, terms.required_usdc, rate.usdc_per_eurc_e8)

    async def _check_funding(self, payment: Payment) -> None:
        """Check the buyer's balance and the right to pull it.

        What only the token knows (pause, blocklist, cancelled authorization) is simulated later.
        """
        terms = payment.terms
        if payment.authorization is not None:
            await self._check_authorization(terms, payment.authorization)
        elif payment.permit is not None:
            await self._check_permit(terms, payment.permit)

    async def _check_authorization(self, terms: Terms, given: TransferAuthorization) -> None:
        """Raise unless the ERC-3009 authorization can fund these terms."""
        head = await self._chain.head()
        if given.valid_after >= head.timestamp or given.valid_before <= terms.fund_deadline:
            raise BadSignature(
                "the authorization is not valid from now until the offer ends.",
                hint="Sign validAfter 0, and validBefore above fundDeadline.",
            )
        digest = await self._chain.authorization_digest(
            terms, given.valid_after, given.valid_before
        )
        if not await self._chain.valid_signature(terms.buyer, digest, given.signature):
            raise BadSignature(
                "authorization is not the client's ERC-3009 signature of its budget to the vault.",
                hint="ReceiveWithAuthorization of maxEurc to the vault; the nonce is the "
                "settlement id, the EIP-712 digest of the terms.",
            )

    async def _check_permit(self, terms: Terms, permit: Permit) -> None:
        """Raise unless the permit, or an allowance, can fund these terms."""
        eurc = self._chain.addresses.eurc
        if await self._chain.allowance(eurc, terms.buyer) >= terms.max_eurc:
            return
        if permit.value < terms.max_eurc or permit.deadline < terms.fund_deadline:
            raise BadSignature(
                "the permit covers less than maxEurc, or ends before the offer does.",
                hint="Sign a permit for PermitPuller over maxEurc until fundDeadline or later.",
            )
        permitted = await self._chain.permit_digest(
            eurc, terms.buyer, permit.value, permit.deadline
        )
        joined = f"{permit.r}{permit.s[2:]}{permit.v:02x}"
        if not await self._chain.valid_signature(terms.buyer, permitted, joined):
            raise BadSignature(
                "permit is not the client's EIP-2612 signature for PermitPuller.",
                hint=f"Spender {self._chain.addresses.puller}, token {eurc}, the next nonce.",
            )

    # --- What is promised already ---

    async def check_inventory(self, amount: int) -> None:
        """Raise InsufficientInventory if our stock minus unfunded sales is below `amount`."""
        await self._book.refresh()
        seller, asset = self._signer.address, self._chain.addresses.asset
        # Read the sales first: stock that leaves meanwhile is then counted twice, not missed.
        owed = self._book.assets(asset, *UNFUNDED)
        held = await self._chain.balance(asset, seller)
        if amount <= held - owed:
            return
        head = await self._chain.head()
        ours = (
            s
            for s in self._book.of(SettlementState.CREATED)
            if (s.seller, s.asset) == (seller, asset)
        )
        owed -= sum(each.asset_amount for each in ours if _is_expired(each, head.timestamp))
        if amount > held - owed:
            raise InsufficientInventory(
                f"{Amount(amount, YPS)} is more than the {Amount(max(0, held - owed), YPS)} "
                "that can be sold now.",
                hint="Ask for less.",
                available=max(0, held - owed),
            )

    async def _check_buyer(self, terms: Terms) -> None:
        """Check the number of the buyer's open settlements, and its balance for all of them
        together."""
        known = self._book.open_of(terms.buyer)
        if not known and await self._covers(terms, []):
            return  # The usual case.
        now = (await self._chain.head()).timestamp
        known = [each for each in known if not _is_expired(each, now)]
        limit = self._max_open
        if limit is not None and len(known) >= limit:
            raise TooManyOpen(
                f"{terms.buyer} has {len(known)} open settlements, and {limit} are allowed.",
                hint="Wait until one of them has ended.",
                open=len(known),
                limit=limit,
            )
        unfunded = [each for each in known if each.state in UNFUNDED]
        if await self._covers(terms, unfunded):
            return
        # Our view may be old: the balance no longer contains what the vault has pulled.
        codes = [await self._chain.status(each.id) for each in unfunded]
        pairs = zip(unfunded, codes, strict=True)
        unfunded = [each for each, code in pairs if code in ON_CHAIN_UNFUNDED]
        if not await self._covers(terms, unfunded):
            promised = sum(each.max_eurc for each in unfunded)
            beside = f" beside {Amount(promised, EURC)} for its others" if promised else ""
            raise InsufficientFunds(
                f"{terms.buyer} does not hold its budget, {Amount(terms.max_eurc, EURC)}{beside}.",
                hint="The buyer needs its whole EURC budget, for all its open purchases together.",
                promised_eurc=promised,
            )

    async def _covers(self, terms: Terms, unfunded: list[Settlement]) -> bool:
        promised = sum(each.max_eurc for each in unfunded)
        held = await self._chain.balance(self._chain.addresses.eurc, terms.buyer)
        return held >= promised + terms.max_eurc

    # --- The claim ---

    async def _permit(self, terms: Terms) -> Permit:
        """Return a permit, if PermitPuller has no sufficient allowance.

        It allows everything: only the vault can use it, for terms that we signed. A permit of the
        exact amount would be overwritten by the permit of the next sale.
        """
        owner = self._signer.address
        allowed = await self._chain.allowance(terms.asset, owner)
        if allowed >= terms.asset_amount or not self._sign_permits:
            return NO_PERMIT
        digest = await self._chain.permit_digest(
            terms.asset, owner, UINT256_MAX, terms.fund_deadline
        )
        return self._signer.sign_permit(digest, UINT256_MAX, terms.fund_deadline)

    async def _claim(self, claimed: SettlementRequest, offer: ev.PaymentRequested) -> None:
        """Store row, offer and facts together. The database decides between concurrent claims."""
        terms, identity = claimed.terms, claimed.settlement_id
        fact = ev.PaymentAuthorized(
            subject=identity,
            at_ms=self._clock.now_ms(),
            source=self._source,
            quote=terms.salt,
            buyer=terms.buyer,
            seller=terms.seller,
            asset=terms.asset,
            asset_amount=terms.asset_amount,
            required_usdc=terms.required_usdc,
            max_eurc=terms.max_eurc,
        )
        async with self._store.unit() as unit:
            if await unit.authorize(claimed):
                await unit.record(offer)
                await unit.record(fact)
                return
            first = await unit.sold(claimed.offer)
        if first is not None and first != identity:
            raise self._taken(first)


def _is_expired(settlement: Settlement, now: int) -> bool:
    """Return True for a created settlement that is too late to fund. `now`: chain time, Unix
    seconds."""
    return settlement.state is SettlementState.CREATED and now > settlement.fund_deadline
