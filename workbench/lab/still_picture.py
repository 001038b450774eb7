"""A picture of lanes for notebooks that are saved before the view has drawn one."""

from __future__ import annotations

import pandas as pd

from workbench.core.lanes.model import Lanes
from workbench.core.lanes.segments import ALL_STAGES
from workbench.results import charts, frames
from workbench.results.charts.theme import nothing

MOST_LANES = 200
NOTHING = "Nothing has been run yet.\nRun this cell, then press Run."


def still_png(stages: pd.DataFrame) -> bytes:
    """Return the rows of `stages_frame` as a chart (PNG), or a hint without rows."""
    drawn = nothing("", NOTHING) if stages.empty else charts.timeline(stages)
    return charts.figure_png(drawn)


def stages_frame(lanes: Lanes) -> pd.DataFrame:
    """Return the columns of `frames.timeline_frame` for the newest 200 settlements.

    Without stages that a reorg removed.
    """
    rows = []
    there = [lane for lane in lanes if not lane.is_payout and lane.who]
    for lane in there[-MOST_LANES:]:
        before = None
        for segment in lane.segments:
            if segment.taken_back:
                continue
            at_ms = segment.from_ms
            end_ms = None if segment.to_ms in (None, at_ms) else segment.to_ms
            after_ms = 0 if before is None else at_ms - before
            rows.append(
                {
                    "subject": lane.who,
                    "stage": ALL_STAGES[segment.stage].word,
                    "start_ms": at_ms,
                    "end_ms": end_ms,
                    "took_ms": None if end_ms is None else end_ms - at_ms,
                    "seconds": after_ms / 1000,
                    "after_ms": after_ms,
                    "block": None,
                    "tx": None,
                    "gas": None,
                }
            )
            before = at_ms
    return frames.typed(rows, frames.TIMELINE_COLUMNS)
