"""A run is a thing: what happened, as facts; and the tables, charts and folder made of them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from workbench.core.errors import StoreError
from workbench.core.facts import (
    BuyerPlanned,
    Event,
    InvariantBroken,
    MarketMoved,
    to_json,
)
from workbench.core.invariants import (
    INVARIANTS,
    PATHS,
    PAYOUT_INVARIANTS,
    PAYOUT_PATHS,
    ObservedBalance,
    reconcile,
    sometimes,
)
from workbench.core.invariants.journal import review
from workbench.core.purchase import Purchase
from workbench.core.settlement import merge
from workbench.results import player
from workbench.results.run_folder import FORMAT, READ, damaged, read_facts, read_json
from workbench.scenario import Order, Scenario

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Run:
    """What happened: facts, and the tables and charts that are made of nothing else.

    `purchase` is what this run is about, or None for everything in a world. `scenario` and `seed`
    are what it was made from, where it was a scenario's; `settings` what the run was told beside.
    """

    events: tuple[Event, ...] = field(repr=False)
    balances_seen: tuple[ObservedBalance, ...] = field(repr=False, default=())
    purchase: Purchase | None = None
    chain_id: int = 0
    scenario: Scenario | None = field(repr=False, default=None)
    seed: int = 0
    finished: bool = True
    """False where the run was stopped before its end."""
    orders: tuple[Order, ...] = ()
    """The faults that a person ordered while it went on, each with its moment."""
    format: int = field(repr=False, default=FORMAT)
    """Version of the folder that it was read from."""

    @property
    def settlement_id(self) -> str | None:
        """The purchase's settlement, if this run is about one purchase."""
        return self.purchase.settlement_id if self.purchase else None

    @property
    def status(self) -> str | None:
        """`executed` or `refunded`."""
        return self.purchase.status if self.purchase else None

    @property
    def facts(self) -> pd.DataFrame:
        """One row a fact, in journal order."""
        from workbench.results import frames

        return frames.events_frame(self.events)

    def settlements(self) -> pd.DataFrame:
        """One row a settlement."""
        from workbench.results import frames

        return frames.settlements_frame(self.events)

    def buyers(self) -> pd.DataFrame:
        """One row a buyer that was ordered, and what became of it. See `results.buyers`."""
        from workbench.results.buyers import buyers_frame

        return buyers_frame(self.events, self.origin_ms)

    def payouts(self) -> pd.DataFrame:
        """One row a payout of credits."""
        from workbench.results import frames

        return frames.payouts_frame(self.events)

    def timeline(self) -> pd.DataFrame:
        """One row for each stage that a settlement went through: block, transaction, gas, time."""
        from workbench.results import frames

        return frames.timeline_frame(self.events)

    def stages(self) -> list[dict[str, Any]]:
        """The purchase's stages: name, block, tx, gas, seconds since the stage before."""
        from workbench.results import frames

        return frames.stages(self.events, self.settlement_id) if self.settlement_id else []

    def balances(self) -> pd.DataFrame:
        """Balances before and after, in base units."""
        import pandas as pd

        return pd.DataFrame(self._balance_rows(), dtype=object)

    def _balance_rows(self) -> list[dict[str, Any]]:
        return [asdict(row) | {"change": row.change} for row in self.balances_seen]

    def invariants(self) -> pd.DataFrame:
        """One row an invariant: whether it holds for these facts and balances, and what does not.

        First those of `core.review`, over the facts alone; the balances of a run about one
        purchase are reconciled, too. Then, for a scenario, what its checker asked after each block.
        """
        import pandas as pd

        found = review(self.events)
        if self.purchase and self.balances_seen:
            deal = merge(self.events)[self.purchase.settlement_id]
            found["balances_reconcile"] = reconcile(self.balances_seen, deal)
        asked = [each.__name__ for each in INVARIANTS] if self.scenario else []
        if self.scenario and self.scenario.payouts:
            asked += [each.__name__ for each in PAYOUT_INVARIANTS]
        for name in asked:
            found.setdefault(name, [])
        for fact in self.events:
            if isinstance(fact, InvariantBroken):
                found.setdefault(fact.invariant, []).append(fact.message)
        rows = [
            {"invariant": name, "holds": not wrong, "problems": "; ".join(wrong)}
            for name, wrong in found.items()
        ]
        return pd.DataFrame(rows)

    def chart(self) -> RunChart:
        """The timeline as a picture."""
        from workbench.results import charts

        return RunChart(charts.timeline(self.timeline(), self.facts, **self._axis))

    def metrics(self) -> pd.DataFrame:
        """One row a figure: outcomes, latency, cost, gas, results, payouts, faults, invariants.

        See `metrics.metrics_frame`. The pool's fee is the scenario's.
        """
        from workbench.results import metrics

        fee = self.scenario.market.lp_fee_pips if self.scenario else None
        return metrics.metrics_frame(self.events, fee)

    def swaps(self) -> pd.DataFrame:
        """One row a swap in the pool: what it took, and its cost against the reference rate."""
        from workbench.results import metrics

        return metrics.swaps_frame(self.events)

    def faults(self) -> pd.DataFrame:
        """One row a fault that was injected."""
        from workbench.results import metrics

        return metrics.faults_frame(self.events)

    def lanes(self) -> RunChart:
        """The settlements as lanes, without the facts below them."""
        from workbench.results import charts

        lanes = charts.timeline(self.timeline(), self.facts, has_facts=False, **self._axis)
        return RunChart(lanes)

    def latency_chart(self) -> RunChart:
        """How long each stage took, with percentiles."""
        from workbench.results import charts

        return RunChart(charts.latency(self.timeline()))

    def outcome_chart(self) -> RunChart:
        """When buyers' purchases ended, and how, over the faults."""
        from workbench.results import charts, metrics

        ends, faults = metrics.ends_frame(self.events), self.faults()
        return RunChart(charts.outcomes(ends, faults, **self._axis))

    def price_chart(self) -> RunChart:
        """EUR/USD, the reference rate, and what was paid."""
        from workbench.results import charts, metrics

        market = metrics.market_frame(self.events)
        return RunChart(charts.prices(self.swaps(), market, **self._axis))

    @property
    def origin_ms(self) -> int:
        """0 of every chart of this run, in Unix milliseconds.

        The start of the scenario: when its buyers were ordered, or the market was first told. Else
        when the first fact was.
        """
        return next(self._starts(), min((fact.at_ms for fact in self.events), default=0))

    def _starts(self) -> Iterator[int]:
        """When the scenario started, from what tells it best; nothing where there was none."""
        for kind in (BuyerPlanned, MarketMoved):
            yield from (fact.at_ms for fact in self.events if isinstance(fact, kind))

    @property
    def _axis(self) -> dict[str, Any]:
        """What every chart over time is told, so that all have the same zero and the same words."""
        is_scenario = next(self._starts(), None) is not None
        return {"origin_ms": self.origin_ms, "since": "start" if is_scenario else "first fact"}

    @property
    def trace_hash(self) -> str:
        """SHA-256 of `events.jsonl`: equal for the same scenario and seed, wherever it runs."""
        return hashlib.sha256(self._journal().encode()).hexdigest()

    @property
    def name(self) -> str:
        """Twelve hex digits of what happened: equal facts, equal name."""
        return self.trace_hash[:12]

    @property
    def outcomes(self) -> dict[str, int]:
        """How many buyers had each outcome, adding up to all that the scenario ordered.

        Words of `lifecycle.OUTCOMES`. Without ordered buyers: settlements by status, where
        `pending` has no end yet.
        """
        from workbench.results.buyers import outcome_counts

        return outcome_counts(self.events)

    @property
    def invariants_broken(self) -> dict[str, int]:
        """How often each invariant was found broken; empty for a sound run."""
        counts: dict[str, int] = {}
        for fact in self.events:
            if isinstance(fact, InvariantBroken):
                counts[fact.invariant] = counts.get(fact.invariant, 0) + 1
        return counts

    @property
    def sometimes(self) -> dict[str, int]:
        """How often each rare path was taken; a run that never took one has not tested it."""
        credits_too = self.scenario is None or self.scenario.payouts is not None
        return sometimes(self.events, PATHS | PAYOUT_PATHS if credits_too else PATHS)

    def again(
        self, *, until_s: float | None = None, without: object = None, with_: object = None
    ) -> Run:
        """The same run up to a moment, then another future: it is played again.

        Everything that was ordered is ordered again at the same moment, so that what comes before
        the first change is equal to the byte. `without`: orders of this run, or names of fault
        sites, whose faults in the scenario do not happen either. `with_`: further orders, such as
        `Order("chain.reorg", 2, at_s=90)`. `until_s`: virtual seconds from the scenario's start
        until which nothing may differ; orders of this run from then on are not repeated.

        Raises OrderRefused for changes that make no sense, StoreError where this is not the run of
        a scenario, and what the new run fails with.
        """
        played: Run = player.play_again()(self, until_s=until_s, without=without, with_=with_)
        return played

    def _journal(self) -> str:
        return "".join(f"{to_json(fact)}\n" for fact in self.events)

    def save(self, folder: Path | str) -> Path:
        """Write the run folder: facts (JSON lines, Parquet), balances, chart (HTML, PNG)."""
        self.save_facts(folder)
        self.save_views(folder)
        return Path(folder)

    def save_facts(self, folder: Path | str) -> None:
        """What `load` reads: all there is to know."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        about: dict[str, Any] = {"format": FORMAT, "chain_id": self.chain_id}
        about |= {"purchase": asdict(self.purchase) if self.purchase else None}
        about |= {"seed": self.seed, "finished": self.finished, "trace_hash": self.trace_hash}
        about |= {"scenario": self.scenario.to_json() if self.scenario else None}
        about |= {"orders": [order.to_json() for order in self.orders]}
        (folder / "events.jsonl").write_bytes(self._journal().encode())
        (folder / "run.json").write_text(json.dumps(about, indent=1), encoding="utf-8")
        (folder / "balances.json").write_text(
            json.dumps(self._balance_rows(), indent=1), encoding="utf-8"
        )

    def save_views(self, folder: Path | str) -> None:
        """What others read: the facts as a table, the chart as picture and page."""
        from workbench.results.charts import timeline_html

        folder = Path(folder)
        self._write_parquet(folder / "events.parquet")
        meta = {"chain id": self.chain_id, "balances": self._balance_rows()}
        if self.settlement_id:
            meta["settlement"] = self.settlement_id
        title = f"Settlement {self.settlement_id[:10]}…" if self.settlement_id else ""
        page = timeline_html(self.events, title, meta, **self._axis)
        (folder / "timeline.html").write_text(page, encoding="utf-8")
        (folder / "timeline.png").write_bytes(self.chart()._repr_png_())

    def _write_parquet(self, path: Path) -> None:
        """Facts as a table; the members of each kind as JSON text, where integers are exact."""
        frame = self.facts.reset_index()
        for column in frame.columns:
            if frame[column].map(lambda value: isinstance(value, (dict, list))).any():
                frame[column] = frame[column].map(json.dumps)
        frame.to_parquet(path, index=False)

    @classmethod
    def load(cls, folder: Path | str) -> Self:
        """A run as it was saved, to the byte.

        Raises RunDamaged naming the file that is missing or not as it was saved, and StoreError
        where there is no run folder, or one of another version.
        """
        folder = Path(folder)
        about = read_json(folder / "run.json")
        version = about.get("format") if isinstance(about, dict) else None
        if not isinstance(about, dict) or version not in READ:
            raise StoreError(
                f"{folder / 'run.json'} is of format {version}; this version reads "
                f"{' and '.join(map(str, READ))}.",
                hint="Load it with the version that wrote it.",
            )
        try:
            purchase = Purchase(**about["purchase"]) if about["purchase"] else None
            scenario = Scenario.from_json(about["scenario"]) if about["scenario"] else None
            rows = [{k: v for k, v in row.items() if k != "change"}
                    for row in read_json(folder / "balances.json")]  # fmt: skip
            balances = tuple(ObservedBalance(**row) for row in rows)
            orders = tuple(Order.from_json(each) for each in about.get("orders", ()))
        except (TypeError, KeyError, AttributeError) as why:
            raise damaged(folder / "balances.json or run.json") from why
        return cls(
            read_facts(folder / "events.jsonl", str(about.get("trace_hash")), version),
            balances,
            purchase,
            about["chain_id"],
            scenario,
            about["seed"],
            about["finished"],
            orders,
            version,
        )


@dataclass(frozen=True)
class RunChart:
    """A figure that shows itself as PNG wherever it is displayed, trusted notebook or not."""

    figure: Figure = field(repr=False)

    def _repr_png_(self) -> bytes:
        from workbench.results import charts

        return charts.figure_png(self.figure)

    def save(self, path: Path | str) -> None:
        """Write the picture as PNG."""
        Path(path).write_bytes(self._repr_png_())
