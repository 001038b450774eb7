"""EUR/USD from a CSV file: whole seconds (of any origin) and USDC for one EURC."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from workbench.core.errors import WorkbenchError
from workbench.core.money import format_units
from workbench.core.pricing import parse_rate
from workbench.scenario.table import MAX_RATE_E8, MIN_RATE_E8
from workbench.scenario.tree import ScenarioProblem, SourcePosition

MAX_BYTES = 16_000_000
GAP_STEPS = 10
"""A gap is longer than this many steps of the market."""
_SECONDS = re.compile(r"[0-9]{1,12}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Series:
    """`points`: (seconds from the first line, rate e8), with the position of each in its file."""

    points: tuple[tuple[int, int], ...]
    spots: tuple[SourcePosition, ...]


def held(points: tuple[tuple[int, int], ...], where: str) -> Series:
    """Return a series of known points, without their file."""
    return Series(
        points, tuple(SourcePosition(f"{where}: point {n}") for n, _ in enumerate(points, 1))
    )


def read_series(path: Path) -> tuple[Series, list[ScenarioProblem]]:
    """Return the points of a file, and the problems of its lines.

    A first line of names is skipped, as are empty lines and comments (#).
    """
    where, nothing = path.as_posix(), Series((), ())
    try:
        if not path.is_file():
            return nothing, [SourcePosition(where).problem("", "there is no such file.")]
        if path.stat().st_size > MAX_BYTES:
            return nothing, [
                SourcePosition(where).problem("", f"is larger than {MAX_BYTES:,} bytes.")
            ]
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError):  # ValueError: not UTF-8, or a null character in the name.
        return nothing, [SourcePosition(where).problem("", "cannot be read as UTF-8 text.")]
    points: list[tuple[int, int]] = []
    spots: list[SourcePosition] = []
    problems: list[ScenarioProblem] = []
    begun = False
    for number, line in enumerate(lines, 1):
        row, spot = line.strip(), SourcePosition(where, number)
        if not row or row.startswith("#"):
            continue
        header, begun = not begun and row[0].isalpha(), True
        if header:
            continue
        try:
            seconds, rate_e8 = _row(row)
        except ValueError as why:
            problems.append(spot.problem("", f'"{row[:60]}" {why}; write such as "60,1.1042".'))
            continue
        points.append((seconds, rate_e8))
        spots.append(spot)
    if not points and not problems:
        problems.append(SourcePosition(where).problem("", "holds no rate."))
    origin = points[0][0] if points else 0
    moved = tuple((seconds - origin, rate_e8) for seconds, rate_e8 in points)
    return Series(moved, tuple(spots)), problems


def _row(row: str) -> tuple[int, int]:
    cells = [cell.strip() for cell in row.split(",")]
    if len(cells) != 2:
        raise ValueError(f"has {len(cells)} columns, and not two")
    if not _SECONDS.fullmatch(cells[0]):
        raise ValueError("does not begin with whole seconds")
    try:
        rate_e8 = parse_rate(cells[1])
    except WorkbenchError:
        raise ValueError("has no decimal rate of at most 8 digits after the point") from None
    if not MIN_RATE_E8 <= rate_e8 <= MAX_RATE_E8:
        low, high = format_units(MIN_RATE_E8, 8), format_units(MAX_RATE_E8, 8)
        raise ValueError(f"has a rate out of bounds, {low} to {high}")
    return int(cells[0]), rate_e8


def series_problems(series: Series, step_s: int, gaps: str, needed_s: int) -> list[ScenarioProblem]:
    """Return the problems: times that do not rise, gaps, and an end before `needed_s`."""
    problems = []
    points = series.points
    for (before, _), (now, _), spot in zip(points, points[1:], series.spots[1:], strict=False):
        wait = now - before
        if wait <= 0:
            problems.append(spot.problem("", f"its time is not after that before ({wait} s)."))
        elif wait > GAP_STEPS * step_s and gaps == "refuse":
            told = f"a gap of {wait} s, more than {GAP_STEPS} steps × {step_s} s"
            problems.append(
                spot.problem("", f"{told}; mend it, or write `gaps: hold` in market.path.")
            )
    if points and points[-1][0] < needed_s:
        told = f"ends after {points[-1][0]} s, and the scenario lasts {needed_s} s."
        problems.append(series.spots[-1].problem("", told))
    return problems
