"""A run: its facts, and the tables, charts and folder that are made of them."""

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
    """A run. Tables and charts are made of its facts only.

    `purchase`: the purchase that the run is about, or None for everything in a world. `scenario`
    and `seed`: what it was made from, if it was a scenario.
    """

    events: tuple[Event, ...] = field(repr=False)
    balances_seen: tuple[ObservedBalance, ...] = field(repr=False, default=())
    purchase: Purchase | None = None
    chain_id: int = 0
    scenario: Scenario | None = field(repr=False, default=None)
    seed: int = 0
    finished: bool = True
    """False if the run was stopped before its end."""
    orders: tuple[Order, ...] = ()
    """The faults that a person ordered during the run, each with its moment."""
    format: int = field(repr=False, default=FORMAT)
    """Version of the folder that it was read from."""

    @property
    def settlement_id(self) -> str | None:
        """The settlement of the purchase, if this run is about one."""
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
        """Return one row for each settlement."""
        from workbench.results import frames

        return frames.settlements_frame(self.events)

    def buyers(self) -> pd.DataFrame:
        """Return one row for each planned buyer, with its outcome. See `results.buyers`."""
        from workbench.results.buyers import buyers_frame

        return buyers_frame(self.events, self.origin_ms)

    def payouts(self) -> pd.DataFrame:
        """Return one row for each payout."""
        from workbench.results import frames

        return frames.payouts_frame(self.events)

    def timeline(self) -> pd.DataFrame:
        """Return one row for each stage of a settlement: block, transaction, gas, time."""
        from workbench.results import frames

        return frames.timeline_frame(self.events)

    def stages(self) -> list[dict[str, Any]]:
        """Return the stages of the purchase: name, block, tx, gas, seconds since the previous
        stage."""
        from workbench.results import frames

        return frames.stages(self.events, self.settlement_id) if self.settlement_id else []

    def balances(self) -> pd.DataFrame:
        """Return balances before and after, in base units."""
        import pandas as pd

        return pd.DataFrame(self._balance_rows(), dtype=object)

    def _balance_rows(self) -> list[dict[str, Any]]:
        return [asdict(row) | {"change": row.change} for row in self.balances_seen]

    def invariants(self) -> pd.DataFrame:
        """Return one row for each invariant: whether it holds for these facts and balances, and the
        problems.

        First those over the facts alone (`invariants.journal`); for one purchase also the balances.
        Then, for a scenario, those that its checkers tested after each block.
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
        """Return the timeline as a picture."""
        from workbench.results import charts

        return RunChart(charts.timeline(self.timeline(), self.facts, **self._axis))

    def metrics(self) -> pd.DataFrame:
        """Return one row for each figure: outcomes, latency, cost, gas, results, payouts, faults,
        invariants.

        See `metrics.metrics_frame`. The pool's fee is the scenario's.
        """
        from workbench.results import metrics

        fee = self.scenario.market.lp_fee_pips if self.scenario else None
        return metrics.metrics_frame(self.events, fee)

    def swaps(self) -> pd.DataFrame:
        """Return one row for each swap: its amounts, and its cost against the reference rate."""
        from workbench.results import metrics

        return metrics.swaps_frame(self.events)

    def faults(self) -> pd.DataFrame:
        """Return one row for each injected fault."""
        from workbench.results import metrics

        return metrics.faults_frame(self.events)

    def lanes(self) -> RunChart:
        """Return the settlements as lanes, without the facts below them."""
        from workbench.results import charts

        lanes = charts.timeline(self.timeline(), self.facts, has_facts=False, **self._axis)
        return RunChart(lanes)

    def latency_chart(self) -> RunChart:
        """Return a chart of the time to each stage, with percentiles."""
        from workbench.results import charts

        return RunChart(charts.latency(self.timeline()))

    def outcome_chart(self) -> RunChart:
        """Return a chart of when and how purchases ended, over the faults."""
        from workbench.results import charts, metrics

        ends, faults = metrics.ends_frame(self.events), self.faults()
        return RunChart(charts.outcomes(ends, faults, **self._axis))

    def price_chart(self) -> RunChart:
        """Return a chart of EUR/USD, the reference rate, and the paid rates."""
        from workbench.results import charts, metrics

        market = metrics.market_frame(self.events)
        return RunChart(charts.prices(self.swaps(), market, **self._axis))

    @property
    def origin_ms(self) -> int:
        """The zero of every chart of this run, in Unix milliseconds.

        The start of the scenario (planned buyers, or the first market fact), else the first fact.
        """
        return next(self._starts(), min((fact.at_ms for fact in self.events), default=0))

    def _starts(self) -> Iterator[int]:
        """Yield candidates for the start of the scenario, best first."""
        for kind in (BuyerPlanned, MarketMoved):
            yield from (fact.at_ms for fact in self.events if isinstance(fact, kind))

    @property
    def _axis(self) -> dict[str, Any]:
        """Return zero and label of the time axis, equal for all charts."""
        is_scenario = next(self._starts(), None) is not None
        return {"origin_ms": self.origin_ms, "since": "start" if is_scenario else "first fact"}

    @property
    def trace_hash(self) -> str:
        """SHA-256 of `events.jsonl`: equal for the same scenario and seed on every machine."""
        return hashlib.sha256(self._journal().encode()).hexdigest()

    @property
    def name(self) -> str:
        """Twelve hex digits of the trace hash: equal facts, equal name."""
        return self.trace_hash[:12]

    @property
    def outcomes(self) -> dict[str, int]:
        """Number of buyers by outcome; the sum is the number of planned buyers.

        Words of `lifecycle.OUTCOMES`. Without planned buyers: settlements by status, where
        `pending` has no end yet.
        """
        from workbench.results.buyers import outcome_counts

        return outcome_counts(self.events)

    @property
    def invariants_broken(self) -> dict[str, int]:
        """Number of breaches of each invariant; empty for a sound run."""
        counts: dict[str, int] = {}
        for fact in self.events:
            if isinstance(fact, InvariantBroken):
                counts[fact.invariant] = counts.get(fact.invariant, 0) + 1
        return counts

    @property
    def sometimes(self) -> dict[str, int]:
        """Number of times each rare path was taken. A run that never took one has not tested it."""
        credits_too = self.scenario is None or self.scenario.payouts is not None
        return sometimes(self.events, PATHS | PAYOUT_PATHS if credits_too else PATHS)

    def again(
        self, *, until_s: float | None = None, without: object = None, with_: object = None
    ) -> Run:
        """Play the run again with changes: equal up to a moment, then another future.

        Earlier orders are repeated at the same moments, so that everything before the first change
        is equal to the byte. `without`: orders of this run, or names of fault sites, whose faults
        of the scenario do not happen either. `with_`: further orders, such as `Order("chain.reorg",
        2, at_s=90)`. `until_s`: virtual seconds since the scenario's start until which nothing may
        differ; later orders of this run are not repeated.

        Raises OrderRefused for invalid changes, StoreError if this is not the run of a scenario,
        and the failure of the new run.
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
        """Write what `load` reads: facts, balances and metadata."""
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
        """Write what people read: facts as a table, the chart as picture and page."""
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
        """Write the facts as a table. Members of each type are JSON text, where integers are
        exact."""
        frame = self.facts.reset_index()
        for column in frame.columns:
            if frame[column].map(lambda value: isinstance(value, (dict, list))).any():
                frame[column] = frame[column].map(json.dumps)
        frame.to_parquet(path, index=False)

    @classmethod
    def load(cls, folder: Path | str) -> Self:
        """Return a run as it was saved, to the byte.

        Raises RunDamaged with the file that is missing or changed, and StoreError without a run
        folder, or for one of another version.
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
    """A figure that a notebook shows as PNG, trusted or not."""

    figure: Figure = field(repr=False)

    def _repr_png_(self) -> bytes:
        from workbench.results import charts

        return charts.figure_png(self.figure)

    def save(self, path: Path | str) -> None:
        """Write the picture as PNG."""
        Path(path).write_bytes(self._repr_png_())
