"""`workbench demo`: one whole settlement on a new chain, over HTTP, reconciled and kept."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from workbench.core import invariants
from workbench.core.errors import ConservationBroken, SettlementError, TransactionTimeout
from workbench.core.facts import Event
from workbench.core.ports import Http, ReportProgress, Request
from workbench.core.settlement import Settlement, SettlementState, merge
from workbench.evm.node.anvil import DEFAULT_CHAIN_ID
from workbench.results.run import Run
from workbench.services.common import peers
from workbench.settings import Settings, make_folder
from workbench.worlds.balances import audit_world, balances
from workbench.worlds.local import FIRST_USER, LocalWorld, boot_served
from workbench.worlds.rules import address_of_key

SETTLE_DOWN_S = 60.0
PAYEE = "0x" + b"payee of the demo...".hex()
"""The receiver of the demo: twenty bytes of text, so that nobody has its key."""


SHOWN_OF_PAYOUT = {"id", "state", "credits", "amount", "address", "tx", "units"}


class BackgroundWork(Protocol):
    """Work of another process during the demo, which mostly waits for blocks."""

    def warm_up(self) -> None:
        """The services run: a busy machine delays nothing from now on."""

    def begin(self, run_dir: Path) -> None:
        """The facts of the run are in this folder."""


@dataclass(frozen=True)
class DemoResult:
    """What the demo observed, and where it is kept."""

    run: Run
    run_dir: Path
    payout: dict[str, Any]

    def summary(self) -> dict[str, Any]:
        """Return the line of `demo --json`. Amounts in base units, gas in gas units, seconds of
        chain time."""
        assert self.run.purchase is not None
        stages = self.run.stages()
        told = asdict(self.run.purchase)
        reason = told.pop("reason")
        return {
            **told,
            **({"reason": reason} if reason else {}),
            "gas_total": sum(stage["gas"] or 0 for stage in stages),
            "run_dir": str(self.run_dir),
            "stages": stages,
            "payout": self.payout,
        }


def run_demo(
    asset_amount: int,
    *,
    runs: Path,
    auto_ports: bool,
    progress: ReportProgress,
    settings: Settings,
    beside: BackgroundWork | None = None,
) -> DemoResult:
    """Boot, deploy, serve, buy, reconcile, keep. `beside`: other work meanwhile.

    Raises SettlementError if it was not executed, ConservationBroken if a balance is wrong by one
    base unit, and earlier errors.
    """
    make_folder(runs, "--runs")  # A run that cannot be kept is not started.
    progress("1/5  booting a chain and deploying the contracts")
    node, deployment = boot_served(DEFAULT_CHAIN_ID, lambda text: progress(f"     {text}"))
    data = Path(tempfile.mkdtemp(prefix="workbench-demo-"))
    try:
        world = LocalWorld(node, deployment, data, settings, auto_ports=auto_ports)
        return asyncio.run(_serve_and_buy(world, asset_amount, runs, progress, beside))
    finally:
        node.stop()
        shutil.rmtree(data, ignore_errors=True)


async def _serve_and_buy(
    world: LocalWorld,
    asset_amount: int,
    runs: Path,
    progress: ReportProgress,
    beside: BackgroundWork | None,
) -> DemoResult:
    async with world:
        urls = "   ".join(f"{name} {server.url}" for name, server in world.servers.items())
        progress(f"2/5  serving: {urls}")
        if beside is not None:
            beside.warm_up()
        wiring = world.wiring
        chain = wiring.chain("demo")
        accounts = {
            "buyer": address_of_key(wiring.keys.buyer),
            "seller": address_of_key(wiring.keys.seller),
            "vault": wiring.addresses.vault,
        }
        before = await balances(chain, accounts)
        progress("3/5  buying, and paying credits out")
        payout_id = await _ask_payout(world)
        seller_url = world.servers["seller"].url
        purchase = await wiring.buyer().buy(
            seller_url, asset_amount, lambda t: progress(f"     {t}")
        )
        facts = await _final_facts(world, purchase.settlement_id)
        payout = await _follow_payout(world, payout_id)
        after = await balances(chain, accounts)
        progress("4/5  reconciling every balance")
        settlements = merge(facts)
        settlement = settlements[purchase.settlement_id]
        await audit_world(chain, tuple(settlements.values()))
        seen = tuple(invariants.ObservedBalance(*key, before[key], after[key]) for key in before)
    run = Run(tuple(facts), seen, purchase, world.deployment.chain_id)
    run_dir = _keep(run, runs, beside)
    progress(f"5/5  kept in {run_dir}")
    _judge(run, settlement, run_dir)
    return DemoResult(run, run_dir, payout)


async def _ask_payout(world: LocalWorld) -> str:
    """Let the first user request a payout twice with one key, like a client after a lost answer."""
    asked = {"user_id": FIRST_USER, "credits": 25, "address": PAYEE, "idempotency_key": "demo"}
    headers = (("Content-Type", "application/json"),)
    url, http = f"{world.servers['payouts'].url}/v1/payouts", world.wiring.http("demo")
    request = Request("POST", url, headers=headers, body=json.dumps(asked).encode())
    ids = [(await _read(http, request))["id"] for _ in range(2)]
    if ids[0] != ids[1]:
        raise SettlementError(f"one payout, asked for twice, became two: {ids}.")
    return str(ids[0])


async def _read(http: Http, request: Request) -> dict[str, Any]:
    """Return the service's answer about a payout. Raises its error."""
    answer = await http.send(request)
    if answer.status >= 400:
        raise peers.refused(answer, "payout service")
    payout = peers.decoded(answer, dict[str, Any], "payout service")
    if not SHOWN_OF_PAYOUT <= payout.keys():
        raise peers.invalid(answer, "payout service", "fields are missing")
    return payout


async def _follow_payout(world: LocalWorld, payout_id: str) -> dict[str, Any]:
    """Wait for the end of the payout, and compare it with the receiver's balance: paid exactly
    once."""
    clock, http = world.wiring.clock("demo"), world.wiring.http("demo")
    url = f"{world.servers['payouts'].url}/v1/payouts/{payout_id}"
    limit = clock.now_ms() + SETTLE_DOWN_S * 1000
    while (payout := await _read(http, Request("GET", url)))["state"] != "paid":
        if clock.now_ms() > limit:
            raise TransactionTimeout(f"payout {payout_id} is {payout['state']}.")
        await clock.sleep(world.wiring.rules.poll_s)
    balance = await world.wiring.rpc("demo").call("eth_getBalance", PAYEE, "latest")
    if int(balance, 16) != int(payout["units"]):
        raise ConservationBroken(f"{PAYEE} has {int(balance, 16)}, not {payout['units']}.")
    names = ("id", "state", "credits", "amount", "address", "tx")
    return {name: payout[name] for name in names}


async def _final_facts(world: LocalWorld, settlement_id: str) -> list[Event]:
    """Return all facts, once the tracker knows the final end: delivered, or refunded and mined."""
    clock, store = world.wiring.clock("demo"), world.stores["tracker"]
    limit = clock.now_ms() + SETTLE_DOWN_S * 1000
    while clock.now_ms() < limit:
        async with store.unit() as unit:
            facts = [fact for _, fact in await unit.facts()]
        settlement = merge(facts).get(settlement_id)
        if settlement and settlement.state in (SettlementState.DELIVERED, SettlementState.REFUNDED):
            return facts
        await clock.sleep(world.wiring.rules.poll_s)
    raise TransactionTimeout(f"the tracker did not see the end of {settlement_id}.")


def _keep(run: Run, runs: Path, beside: BackgroundWork | None) -> Path:
    """Keep the run, whatever its end."""
    run_dir = runs / f"demo-{run.name}"
    run.save_facts(run_dir)
    if beside is not None:
        beside.begin(run_dir)
    run.save_views(run_dir)
    return run_dir


def _judge(run: Run, settlement: Settlement, run_dir: Path) -> None:
    """Raise unless the settlement was executed and everything agrees."""
    if wrong := invariants.reconcile(run.balances_seen, settlement):
        raise ConservationBroken("; ".join(wrong), run_dir=str(run_dir))
    if settlement.status != "executed":
        raise SettlementError(
            f"the settlement was {settlement.status}: {settlement.reason}.", run_dir=str(run_dir)
        )
