"""The wiring: the one place where a service gets its chain, store, clock and HTTP client."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import files
from typing import Any

from workbench.core.ports import Addresses, CheckReports, Clock, Http, NodeState, Randomness
from workbench.evm.contracts.settlement import EvmChain
from workbench.evm.payments.guard import PaymentSigner
from workbench.evm.payments.wallet import EvmPayments
from workbench.evm.rpc.client import Rpc
from workbench.evm.rpc.node_state import EvmNode
from workbench.evm.transactions.quarantine import Quarantine
from workbench.evm.transactions.sender import SlotSender
from workbench.evm.transactions.signer import KeySigner
from workbench.evm.watcher import LogWatcher
from workbench.services.common.checks import SERVICES
from workbench.services.common.health import Health
from workbench.services.common.loop import FaultPolicy, ServiceLoop
from workbench.services.common.vitals import GAS_EACH, NodeChecks
from workbench.services.otc.buyer import Buyer, BuyerRules
from workbench.services.otc.facilitator import Facilitator, FacilitatorRules
from workbench.services.otc.rates import FixedPrice, FixedRate, HookRate, PriceSource, RateSource
from workbench.services.otc.seller import Seller, SellerRules
from workbench.services.otc.tracker import TrackerService
from workbench.services.payouts.http import PayoutHttpService
from workbench.services.payouts.rounds import Payouts
from workbench.services.payouts.webhooks import WebhookRules, Webhooks
from workbench.store.ledger.database import LedgerStore
from workbench.store.sql.database import SqlStore
from workbench.worlds.rules import (
    PayoutConfig,
    RoleKeys,
    WorldRules,
    address_of_key,
    buyer_rules,
    payout_rules,
)

ExtraChecks = Callable[[NodeState], Awaitable[None]] | None
STORES: dict[str, type[SqlStore]] = {"payouts": LedgerStore}
"""Services whose database holds more than journal and slots."""
GATHER = 0.2
"""Share of a poll interval for which the seller's sender gathers the intents of single purchases,
while it is busy. A single buyer does not wait."""


def store_for(name: str, url: str = "sqlite://") -> SqlStore:
    """Return the database of a service."""
    return STORES.get(name, SqlStore)(url)


@dataclass
class Wiring:
    """One chain, and the constructors of every service on it.

    `rpc`, `store`, `clock` and `http` return the adapter of a service by its name.
    """

    chain_id: int
    addresses: Addresses
    start_block: int
    keys: RoleKeys
    rules: WorldRules
    rpc: Callable[[str], Rpc]
    store: Callable[[str], SqlStore]
    clock: Callable[[str], Clock]
    http: Callable[[str], Http]
    random: Randomness
    seller_url: str
    facilitator_url: str
    on_fault: FaultPolicy
    """Whether a service continues after a fault that is not transient."""
    market: RateSource | None = None
    """EUR/USD outside the pool, which the keeper follows; None without such a market."""
    prices: PriceSource | None = None
    credits: PayoutConfig = field(default_factory=PayoutConfig)
    is_public: bool = False
    """True if other machines reach the services: reasons of alarms are hidden then."""
    payouts_url: str = ""
    """URL of the payout service, if the tracker gathers its facts."""

    def chain(self, name: str) -> EvmChain:
        return EvmChain(self.rpc(name), self.chain_id, self.addresses)

    def _sender(
        self, name: str, key: str, store: SqlStore, reports: CheckReports, gather_s: float = 0.0
    ) -> SlotSender:
        """Return the sender of a key, on the service's own store."""
        return SlotSender(
            self.rpc(name),
            KeySigner(key),
            store,
            self.clock(name),
            chain_id=self.chain_id,
            source=name,
            finality=self.rules.finality,
            gather_s=gather_s,
            reports=reports,
        )

    def _watcher(self, name: str, store: SqlStore, reports: CheckReports) -> LogWatcher:
        at = (self.addresses.vault, self.addresses.hook)
        return LogWatcher(self.rpc(name), store, self.clock(name), at, self.start_block, reports)

    def loop(self, name: str, ages: Mapping[str, float] = {}) -> ServiceLoop:
        """Return the loop of a service, with new health."""
        return loop_of(name, self.clock(name), self.on_fault, ages, is_public=self.is_public)

    def _watch_node(
        self,
        loop: ServiceLoop,
        accounts: Sequence[str] = (),
        more: ExtraChecks = None,
        gas: int | None = None,
    ) -> None:
        """Let a served service check its node before each round. A simulated service cannot be on a
        wrong chain, and the calls would be in its trace."""
        if self.on_fault is FaultPolicy.RETRY:
            loop.before = NodeChecks(
                EvmNode(self.rpc(loop.health.service)),
                loop.health,
                loop.clock,
                chain_id=self.chain_id,
                accounts=accounts,
                gas=gas,
                more=more,
            ).before_round

    def seller(self) -> Seller:
        """Return the seller."""
        store, rules, loop = self.store("seller"), self.rules, self.loop("seller")
        seller = Seller(
            chain=self.chain("seller"),
            signer=KeySigner(self.keys.seller),
            sender=self._sender(
                "seller", self.keys.seller, store, loop.health, GATHER * self.rules.poll_s
            ),
            watcher=self._watcher("seller", store, loop.health),
            store=store,
            clock=self.clock("seller"),
            loop=loop,
            http=self.http("seller"),
            random=self.random,
            facilitator_url=self.facilitator_url,
            prices=self.prices or FixedPrice(rules.price),
            rules=SellerRules(
                finality=rules.finality,
                quote_lifetime_s=rules.quote_lifetime_s,
                swap_window_s=rules.swap_window_s,
                poll_s=rules.poll_s,
                sign_permits=rules.sign_permits,
                max_open_per_buyer=rules.max_open_per_buyer,
            ),
        )

        async def more(state: NodeState) -> None:
            await seller.look_at_facilitator()

        self._watch_node(loop, [address_of_key(self.keys.seller)], more, GAS_EACH)
        return seller

    async def facilitator(self) -> Facilitator:
        """Return the facilitator. The larger of the vault's gate and the setting is its
        finality."""
        store, chain = self.store("facilitator"), self.chain("facilitator")
        finality = replace(self.rules.finality, gate=await chain.finality_gate())
        keeper, loop = self.keys.keeper, self.loop("facilitator")
        service = Facilitator(
            chain=chain,
            sender=self._sender("facilitator", self.keys.facilitator, store, loop.health),
            watcher=self._watcher("facilitator", store, loop.health),
            store=store,
            clock=self.clock("facilitator"),
            loop=loop,
            rules=FacilitatorRules(
                finality=finality,
                poll_s=self.rules.facilitator_poll_s or self.rules.poll_s,
                finality_timeout_s=self.rules.finality_timeout_s,
                keeper_every_s=self.rules.keeper_every_s,
                retries=self.rules.retries,
            ),
            market=self.market,
            keeper=self._sender("facilitator", keeper, store, loop.health) if keeper else None,
        )

        async def more(state: NodeState) -> None:
            await service.look_at_rate(state.timestamp)

        accounts = [address_of_key(key) for key in (self.keys.facilitator, keeper) if key]
        self._watch_node(loop, accounts, more, GAS_EACH)
        return service

    def tracker(self) -> TrackerService:
        """Return the tracker."""
        store, loop = self.store("tracker"), self.loop("tracker")
        self._watch_node(loop)
        return TrackerService(
            chain=self.chain("tracker"),
            watcher=self._watcher("tracker", store, loop.health),
            store=store,
            clock=self.clock("tracker"),
            loop=loop,
            http=self.http("tracker"),
            peers=self._peers(),
            finality=self.rules.finality,
            page=files("workbench.web").joinpath("static/tracker.html").read_bytes(),
            poll_s=self.rules.poll_s,
        )

    def _peers(self) -> dict[str, str]:
        peers = {"seller": self.seller_url, "facilitator": self.facilitator_url}
        return peers | ({"payouts": self.payouts_url} if self.payouts_url else {})

    def payouts(self) -> PayoutHttpService:
        """Return the payout service. It checks node and token before its first round, or in
        `check`."""
        store, key = self.store("payouts"), self.keys.payer
        assert isinstance(store, LedgerStore)
        assert key is not None
        ages = dict.fromkeys(
            ("reconciliation", "orphans"), max(600.0, 3 * self.credits.reconcile_s)
        )
        loop = self.loop("payouts", ages)
        rpc, credits_, finality = self.rpc("payouts"), self.credits, self.rules.finality
        # Also without batches: signed batches may need a higher fee.
        batcher = credits_.batcher
        signer = PaymentSigner(key, chain_id=self.chain_id, token=credits_.token, batcher=batcher)
        payments = EvmPayments(
            rpc,
            signer,
            chain_id=self.chain_id,
            token=credits_.token,
            decimals=credits_.decimals,
            finality=finality,
            batcher=batcher,
            most=credits_.batch,
            reports=loop.health,
        )
        known: dict[str, Any] = {"chain_id": self.chain_id, "source": "payouts"}
        clock = self.clock("payouts")
        nonces = Quarantine(clock, address=signer.address, **known)
        known |= {"finality": finality, "nonces": nonces, "bump_after_s": credits_.bump_after_s}
        sender = SlotSender(
            rpc, signer, store, clock, is_thrifty=True, reports=loop.health, **known
        )
        payouts = Payouts(
            store=store,
            sender=sender,
            payments=payments,
            clock=clock,
            loop=loop,
            random=self.random,
            rules=payout_rules(credits_, self.chain_id, self.rules.poll_s),
        )
        self._watch_node(loop, [signer.address], payouts.look_at_node)
        return PayoutHttpService(payouts, self.webhooks(loop) if credits_.webhook_urls else None)

    def webhooks(self, loop: ServiceLoop) -> Webhooks:
        """Return the webhooks, on the database of the payout service."""
        store, credits_ = self.store("payouts"), self.credits
        assert isinstance(store, LedgerStore)
        return Webhooks(
            store=store,
            http=self.http("payouts"),
            clock=self.clock("payouts"),
            loop=loop,
            random=self.random,
            rules=WebhookRules(credits_.webhook_urls, credits_.webhook_secrets, self.rules.poll_s),
        )

    def buyer(
        self, key: str | None = None, rules: BuyerRules | None = None, http: Http | None = None
    ) -> Buyer:
        """Return a buyer. `key`, `rules` and `http` replace those of the settings."""
        chain, own = self.chain("buyer"), self.rules.own_rate_e8
        rates = self.market or (FixedRate(own) if own is not None else HookRate(chain))
        return Buyer(
            chain=chain,
            signer=KeySigner(key or self.keys.buyer),
            http=http or self.http("buyer"),
            clock=self.clock("buyer"),
            rates=rates,
            rules=rules or buyer_rules(self.rules),
            seller=address_of_key(self.keys.seller),
        )


def loop_of(
    name: str,
    clock: Clock,
    on_fault: FaultPolicy,
    ages: Mapping[str, float] = {},
    *,
    is_public: bool = False,
) -> ServiceLoop:
    """Return the loop of a service. `ages`: maximum ages of checks in seconds that differ from the
    table."""
    health = Health(clock, name, SERVICES[name], ages, is_public=is_public)
    return ServiceLoop(clock, health, on_fault)
