"""The facilitator: pulls both legs into the vault, swaps, waits for finality, executes.

It stores an authorization before it answers. Each round asks `next_step` for every open settlement
and submits the transaction that is due. Every act has a key, so that it is executed once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from logging import INFO, WARNING
from typing import Any

from workbench.core import facts as ev
from workbench.core.errors import (
    BadSignature,
    DeadlinePassed,
    InsufficientFunds,
    InvalidPayment,
    OfferTaken,
    TermsMismatch,
    UnknownSettlement,
    WorkbenchError,
    WrongChain,
)
from workbench.core.finality import FinalityPolicy
from workbench.core.ports import (
    Clock,
    ContractCall,
    Head,
    Request,
    Response,
    Sender,
    SettlementContracts,
    Store,
    TransactionIntent,
    Watcher,
)
from workbench.core.settlement import (
    RETRIES,
    Settlement,
    SettlementState,
    SettlementStep,
    StateEntry,
    next_step,
    refund_reason,
    terms_of,
)
from workbench.core.x402 import SettlementRequest, Terms, settlement_id
from workbench.services.common.health_http import add_probes, condition
from workbench.services.common.loop import ServiceLoop
from workbench.services.common.routes import Routes, events_page, log
from workbench.services.common.settlement_index import SettlementIndex
from workbench.services.common.vitals import glance
from workbench.services.otc.rates import RateSource

ACTS = (SettlementStep.FUND, SettlementStep.SWAP, SettlementStep.EXECUTE, SettlementStep.REFUND)
"""The steps that are transactions."""


@dataclass(frozen=True, slots=True)
class FacilitatorRules:
    """The rules of a facilitator."""

    finality: FinalityPolicy
    poll_s: float = 0.5
    """Time between two rounds, in seconds."""
    finality_timeout_s: int = 600
    """Age of a swap without finality at which an alarm is raised, in seconds."""
    keeper_every_s: int = 60
    """Shortest time between two rates that follow the market, in seconds."""
    retries: int = RETRIES
    """Number of retries of a mined revert; then the settlement is refunded."""


class Facilitator:
    """See the module.

    `keeper`: the sender that refreshes the reference rate; None if another process does.
    `market`: the source of EUR/USD for the keeper; None: the rate is refreshed unchanged.
    """

    name = "facilitator"

    def __init__(
        self,
        *,
        chain: SettlementContracts,
        sender: Sender,
        watcher: Watcher,
        store: Store,
        clock: Clock,
        loop: ServiceLoop,
        rules: FacilitatorRules,
        keeper: Sender | None = None,
        market: RateSource | None = None,
    ) -> None:
        self._chain, self._sender, self._watcher = chain, sender, watcher
        self._store, self._clock, self._rules = store, clock, rules
        self._loop, self.health = loop, loop.health
        self._keeper, self._market = keeper, market
        self.book = SettlementIndex(store)
        self._claims = 0
        self._looked: tuple[str, int, int] | None = None
        self._told: dict[tuple[str, str], tuple[str, StateEntry | None]] = {}
        self._routes = (
            Routes(self.health)
            .add("POST", "/settle", self._settle)
            .add("GET", "/settlement/<text>", self._settlement)
            .add("GET", "/health", self._health)
            .add("GET", "/events", self._events)
        )
        add_probes(self._routes, self.health)

    async def handle(self, request: Request) -> Response:
        return await self._routes.handle(request)

    # --- POST /settle ---

    async def _settle(self, request: Request) -> Response:
        data = request.json()
        asked = SettlementRequest.from_wire(data)
        self._check_place(data.get("requirements"))
        async with self._store.unit() as unit:
            known = await unit.authorization(asked.settlement_id)
        if known is None:
            await self._check(asked)
            await self._claim(asked)
        told = {"settlement_id": asked.settlement_id, "accepted": True, "status": "pending"}
        return Response.json(200, told)

    async def _claim(self, asked: SettlementRequest) -> None:
        """Store the request. An offer has one settlement, whatever its seller signs."""
        async with self._store.unit() as unit:
            self._claims += await unit.authorize(asked)
            first = await unit.sold(asked.offer)
        if first is not None and first != asked.settlement_id:
            raise OfferTaken(
                f"this offer was handed over as settlement {first}.",
                hint="Let the seller make a new offer.",
                settlement_id=first,
            )

    def _check_place(self, requirements: Any) -> None:
        if requirements is None:
            return
        if not isinstance(requirements, dict):
            raise InvalidPayment("requirements is not a JSON object.")
        domain = self._chain.domain
        chain_id, vault = requirements.get("chain_id"), requirements.get("settlement_vault")
        if chain_id != domain.chain_id or str(vault).lower() != domain.vault:
            raise WrongChain(
                f"this facilitator serves chain {domain.chain_id} and vault {domain.vault}.",
                hint="Check CHAIN_ID and SETTLEMENT_VAULT_ADDRESS of the seller.",
            )

    async def _check(self, asked: SettlementRequest) -> None:
        """Check both signatures and the balances they promise, before any gas is spent."""
        terms = asked.terms
        digest = self._chain.terms_digest(terms)
        if "0x" + digest.hex() != asked.settlement_id:
            raise TermsMismatch("settlement_id is not the digest of these terms on our vault.")
        parties = (
            (terms.buyer, asked.payment.terms_signature, "buyer"),
            (terms.seller, asked.seller_signature, "seller"),
        )
        for party, signed, role in parties:
            if not await self._chain.valid_signature(party, digest, signed):
                raise BadSignature(f"the {role}'s signature does not fit the terms.")
        head = await self._chain.head()
        if head.timestamp > terms.fund_deadline:
            raise DeadlinePassed(f"the terms ended at {terms.fund_deadline}.")
        legs = (
            (self._chain.addresses.eurc, terms.buyer, terms.max_eurc, "the buyer"),
            (terms.asset, terms.seller, terms.asset_amount, "the seller"),
        )
        for token, owner, amount, role in legs:
            if await self._chain.balance(token, owner) < amount:
                raise InsufficientFunds(
                    f"{role} does not hold what it promises.",
                    hint="The buyer needs its whole EURC budget, the seller the asset.",
                )

    # --- What others may ask ---

    async def _settlement(self, request: Request, text: str) -> Response:
        identity = settlement_id(text)
        await self.book.refresh()
        settlement = self.book.get(identity)
        async with self._store.unit() as unit:
            known = await unit.authorization(identity)
        if settlement is None and known is None:
            raise UnknownSettlement(f"no settlement {identity} is known to this facilitator.")
        head = await self._chain.head()
        view: dict[str, Any] = {
            "settlement_id": identity,
            "status": settlement.status if settlement else "pending",
            "state": settlement.contract_word(head.timestamp) if settlement else "none",
            "authorized": known is not None,
        }
        if settlement and settlement.reason:
            view["reason"] = settlement.reason
        return Response.json(200, view)

    async def _health(self, request: Request) -> Response:
        head, rate = await glance(self._chain.head()), await glance(self._chain.rate())
        health = {
            **condition(self.health, to_all=self.health.is_public),
            "service": self.name,
            "facilitator": self._sender.address,
            "chain_id": self._chain.domain.chain_id,
            "block": head and head.number,
            "finality_confirmations": self._rules.finality.depth,
            "rate_usdc_per_eurc_e8": rate and rate.usdc_per_eurc_e8,
            "rate_stale": rate.stale(head.timestamp) if rate and head else None,
            "open": len(self.book.open()),
        }
        return Response.json(200, health)

    async def _events(self, request: Request) -> Response:
        return await events_page(self._store, self.name, request)

    # --- The facilitator's own work ---

    async def run(self) -> None:
        """Run rounds until cancelled. An unreachable node is waited for."""
        await self._loop.rounds(self.name, self.tick, self._rules.poll_s)

    async def tick(self) -> None:
        """One round: read the logs, submit what is due, track transactions, refresh the rate."""
        await self._watcher.poll()
        await self.book.refresh()
        head = await self._chain.head()
        looked = (head.hash, self.book.folds, self._claims)
        if looked != self._looked:  # Else every step was submitted or refused.
            for settlement in self.book.open():
                self._watch_for_delay(settlement, head)
            waiting = {settlement.id for settlement in self.book.of(SettlementState.SWAPPED)}
            self.health.keep("finality", waiting)
            await self._confirm(head)
            await self._act(head)
            self._looked = None if self._loop.failed else looked
        self.health.ok("finality")
        with self._loop.part("transactions"):
            await self._sender.pump()
        if self._keeper is not None:
            with self._loop.part("rate"):
                await self._keep_rate(self._keeper, head)

    async def _confirm(self, head: Head) -> None:
        """Record FinalityReached: enough confirmations, and the same block hash read again."""
        facts = []
        for settlement in self.book.of(SettlementState.SWAPPED):
            swapped = settlement.block_of(SettlementState.SWAPPED)
            if swapped is None or self._owed(settlement, head, None) is not SettlementStep.CONFIRM:
                continue
            is_there = False
            with self._loop.part(settlement.id):
                is_there = await self._chain.block_hash(swapped.number) == swapped.hash
            if not is_there:
                continue  # Orphaned meanwhile: the watcher records it.
            fact = ev.FinalityReached(
                subject=settlement.id,
                at_ms=head.timestamp * 1000,
                source=self.name,
                block=swapped,
                swap_block=swapped.number,
                head=head.number,
            )
            facts.append(fact)
        if facts:
            async with self._store.unit() as unit:
                await unit.record_all(facts)
            await self.book.refresh()

    async def _act(self, head: Head) -> None:
        """Submit all that is due. A refusal of the simulation becomes a fact, once per reason."""
        owed: list[tuple[Settlement, TransactionIntent]] = []
        waiting = self.book.of(
            SettlementState.CREATED, SettlementState.FUNDED, SettlementState.FINAL
        )
        async with self._store.unit() as unit:
            claims = [await unit.authorization(settlement.id) for settlement in waiting]
        for settlement, held in zip(waiting, claims, strict=True):
            with self._loop.part(settlement.id):
                step = self._owed(settlement, head, held)
                if step in ACTS:
                    terms = held.terms if held else await self._terms_on_chain(settlement.id)
                    call = self._call(step, settlement, terms, held)
                    attempt = settlement.reverted.count(call.act) + 1
                    owed.append((settlement, TransactionIntent(settlement.id, call, attempt)))
        answers = await self._sender.submit_many([act for _, act in owed]) if owed else []
        for (settlement, act), answer in zip(owed, answers, strict=True):
            if isinstance(answer, WorkbenchError):
                if answer.code == "rpc_unreachable":
                    raise answer
                since = settlement.entered[-1]
                await self._note_refusal(settlement.id, act.call.act, answer, since)

    def _owed(
        self, settlement: Settlement, head: Head, held: SettlementRequest | None
    ) -> SettlementStep:
        return next_step(
            settlement,
            head=head.number,
            now=head.timestamp,
            finality=self._rules.finality,
            authorized=held is not None,
            retries=self._rules.retries,
        )

    def _call(
        self,
        step: SettlementStep,
        settlement: Settlement,
        terms: Terms,
        held: SettlementRequest | None,
    ) -> ContractCall:
        match step:
            case SettlementStep.FUND if held and held.payment.authorization:
                given = held.payment.authorization
                return self._chain.fund_with_authorization(terms, given, held.seller_permit)
            case SettlementStep.FUND if held and held.payment.permit:
                return self._chain.fund(terms, held.payment.permit, held.seller_permit)
            case SettlementStep.SWAP:
                return self._chain.execute_swap(terms)
            case SettlementStep.EXECUTE:
                swapped = settlement.block_of(SettlementState.SWAPPED)
                return self._chain.execute_settlement(terms, swapped.hash if swapped else "")
            case SettlementStep.REFUND:
                reason = refund_reason(settlement, self._rules.retries)
                return self._chain.refund(terms, reason)
        raise AssertionError(f"{step} has no call")

    async def _note_refusal(
        self, identity: str, act: str, why: WorkbenchError, since: StateEntry | None = None
    ) -> None:
        """Record a refused step once for each reason, and again after a reorg (`since` is new)."""
        if self._told.get((identity, act)) == (why.code, since):
            return
        self._told[identity, act] = (why.code, since)
        log.log(INFO if why.transient else WARNING, "facilitator: %s of %s: %s", act, identity, why)
        fact = ev.TransactionFailed(
            subject=identity,
            at_ms=self._clock.now_ms(),
            source=self.name,
            act=act,
            tx="",
            code=why.code,
            message=str(why),
            transient=why.transient,
        )
        async with self._store.unit() as unit:
            await unit.record(fact)

    def _watch_for_delay(self, settlement: Settlement, head: Head) -> None:
        """Raise an alarm for a swap that does not become final. It is never refunded."""
        waiting = settlement.state is SettlementState.SWAPPED
        since = settlement.entered[-1].at_ms // 1000
        limit = self._rules.finality_timeout_s
        if waiting and head.timestamp - since > limit:
            self.health.fails(
                "finality",
                f"Finality timeout: the swap of {settlement.id} has waited longer than {limit} s "
                f"for {self._rules.finality.depth} confirmations.",
                settlement.id,
            )

    async def _terms_on_chain(self, identity: str) -> Terms:
        """Return the terms of a settlement that was never handed over, from its event."""
        async with self._store.unit() as unit:
            facts = await unit.standing(identity)
        return terms_of(next(fact for fact in facts if isinstance(fact, ev.SettlementCreated)))

    async def look_at_rate(self, now_s: int) -> None:
        """Report if the reference rate is too old for swaps. `now_s`: Unix seconds."""
        rate = await self._chain.rate()
        told = f"the reference rate is {now_s - rate.set_at} s old, and holds for {rate.max_age_s}."
        self.health.set("rate_stale", told if rate.stale(now_s) else "")

    async def _keep_rate(self, keeper: Sender, head: Head) -> None:
        """Refresh the reference rate at half its lifetime, or when the market has moved."""
        await keeper.pump()
        rate = await self._chain.rate()
        now_e8 = await self._market.usdc_per_eurc_e8() if self._market else rate.usdc_per_eurc_e8
        moved = now_e8 != rate.usdc_per_eurc_e8
        lasts_s = self._rules.keeper_every_s if moved else rate.max_age_s // 2
        if head.timestamp < rate.set_at + lasts_s:
            return
        call = self._chain.set_rate(replace(rate, usdc_per_eurc_e8=now_e8, set_at=head.timestamp))
        # The subject names the rate that is replaced, so each rate is refreshed once.
        subject = f"rate:{rate.set_at}"
        async with self._store.unit() as unit:
            told = await unit.standing(subject)
        failed = [f for f in told if isinstance(f, ev.TransactionFailed) and f.tx]
        try:
            await keeper.submit(subject, call, len(failed) + 1)
        except WorkbenchError as why:
            if why.code == "rpc_unreachable":
                raise
            await self._note_refusal(subject, call.act, why)
