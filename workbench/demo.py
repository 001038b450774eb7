"""`workbench demo`: one whole settlement on a fresh chain, over real HTTP, reconciled and kept."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.chain.anvil import DEFAULT_CHAIN_ID
from workbench.core import audit
from workbench.core.errors import ConservationBroken, SettlementError, TransactionTimeout
from workbench.core.events import Event, to_json
from workbench.core.settlement import Settlement, State, merge
from workbench.local import LocalWorld, boot_served
from workbench.services.buyer import Purchase
from workbench.settings import Settings
from workbench.wiring import address_of_key, audit_world, balances

Progress = Callable[[str], None]
SETTLE_DOWN_S = 60.0


@dataclass(frozen=True)
class Outcome:
    """What the demo saw: the purchase, its stages, all facts, and balances before and after."""

    purchase: Purchase
    settlement: Settlement
    stages: list[dict[str, Any]]
    facts: list[Event]
    balances: list[audit.Balance]
    chain_id: int
    run_dir: Path

    def summary(self) -> dict[str, Any]:
        """The line of `demo --json`. Amounts in base units, gas in gas, seconds of chain time."""
        return {
            "status": self.purchase.status,
            "settlement_id": self.purchase.settlement_id,
            "asset_amount": self.purchase.asset_amount,
            "required_usdc": self.purchase.required_usdc,
            "max_eurc": self.purchase.max_eurc,
            "eurc_spent": self.purchase.eurc_spent,
            "gas_total": sum(stage["gas"] or 0 for stage in self.stages),
            "run_dir": str(self.run_dir),
            "stages": self.stages,
        }


def run_demo(
    asset_amount: int, *, runs: Path, auto_ports: bool, progress: Progress, settings: Settings
) -> Outcome:
    """Boot, deploy, serve, buy, reconcile, keep.

    Raises SettlementError when it was not executed, ConservationBroken when a balance is off by
    one base unit, and whatever stopped the way there.
    """
    progress("1/5  booting a chain and deploying the contracts")
    node, deployment = boot_served(DEFAULT_CHAIN_ID, lambda text: progress(f"     {text}"))
    data = Path(tempfile.mkdtemp(prefix="workbench-demo-"))
    try:
        world = LocalWorld(node, deployment, data, settings, auto_ports=auto_ports)
        return asyncio.run(_serve_and_buy(world, asset_amount, runs, progress))
    finally:
        node.stop()
        shutil.rmtree(data, ignore_errors=True)


async def _serve_and_buy(
    world: LocalWorld, asset_amount: int, runs: Path, progress: Progress
) -> Outcome:
    async with world:
        urls = "   ".join(f"{name} {server.url}" for name, server in world.servers.items())
        progress(f"2/5  serving: {urls}")
        wiring = world.wiring
        chain = wiring.chain("demo")
        accounts = {
            "buyer": address_of_key(wiring.keys.buyer),
            "seller": address_of_key(wiring.keys.seller),
            "vault": wiring.addresses.vault,
        }
        before = await balances(chain, accounts)
        progress("3/5  buying")
        seller_url = world.servers["seller"].url
        purchase = await wiring.buyer().buy(
            seller_url, asset_amount, lambda t: progress(f"     {t}")
        )
        facts = await _final_facts(world, purchase.settlement_id)
        after = await balances(chain, accounts)
        progress("4/5  reconciling every balance")
        settlements = merge(facts)
        settlement = settlements[purchase.settlement_id]
        await audit_world(chain, tuple(settlements.values()))
        seen = [audit.Balance(*key, before[key], after[key]) for key in before]
    return _conclude(world, purchase, settlement, facts, seen, runs, progress)


async def _final_facts(world: LocalWorld, settlement_id: str) -> list[Event]:
    """All facts, once the tracker knows the end as final: delivered, or refunded and mined."""
    clock, store = world.wiring.clock, world.stores["tracker"]
    limit = clock.now_ms() + SETTLE_DOWN_S * 1000
    while clock.now_ms() < limit:
        async with store.unit() as unit:
            facts = [fact for _, fact in await unit.facts()]
        settlement = merge(facts).get(settlement_id)
        if settlement and settlement.state in (State.DELIVERED, State.REFUNDED):
            return facts
        await clock.sleep(world.wiring.rules.poll_s)
    raise TransactionTimeout(f"the tracker did not see the end of {settlement_id}.")


def _conclude(
    world: LocalWorld,
    purchase: Purchase,
    settlement: Settlement,
    facts: list[Event],
    seen: list[audit.Balance],
    runs: Path,
    progress: Progress,
) -> Outcome:
    from workbench.frames import stages

    run_dir = keep(facts, seen, settlement, world.deployment.chain_id, runs)
    progress(f"5/5  kept in {run_dir}")
    if wrong := audit.reconcile(seen, settlement):
        raise ConservationBroken("; ".join(wrong), run_dir=str(run_dir))
    if purchase.status != "executed":
        raise SettlementError(
            f"the settlement was {purchase.status}: {purchase.reason}.", run_dir=str(run_dir)
        )
    told = stages(facts, purchase.settlement_id)
    chain_id = world.deployment.chain_id
    return Outcome(purchase, settlement, told, facts, seen, chain_id, run_dir)


def keep(
    facts: list[Event],
    seen: list[audit.Balance],
    settlement: Settlement,
    chain_id: int,
    runs: Path,
) -> Path:
    """Write the run folder; it is named after what happened."""
    from workbench.charts import timeline_html

    journal = "".join(f"{to_json(fact)}\n" for fact in facts)
    name = hashlib.sha256(journal.encode()).hexdigest()[:12]
    folder = runs / f"demo-{name}"
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {"account": b.account, "token": b.token, "before": b.before, "after": b.after}
        | {"change": b.change}
        for b in seen
    ]
    (folder / "events.jsonl").write_text(journal)
    (folder / "balances.json").write_text(json.dumps(rows, indent=1))
    title = f"Settlement {settlement.id[:10]}…"
    meta = {"chain id": chain_id, "settlement": settlement.id, "balances": rows}
    (folder / "timeline.html").write_text(timeline_html(facts, title, meta))
    return folder
