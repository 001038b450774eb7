"""One value of a scenario that a person can set."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenarioField:
    """One value that can be set, as a scenario file writes it.

    Every text of a field uses its one `unit`, so the first word of a number is a decimal number in
    that unit. A range is "5 to 80 ms", or "5 ms" if both ends are equal; its bounds apply to each
    end. An optional section that is absent is one field of type "section" and value "none".
    """

    path: str
    """The dotted name for `override` and `--set`, such as "buyers.0.count"."""
    type: str
    """One of amount, blocks, boolean, choice, credits, duration, fee, gas, integer, multiple,
    percent, price, probability, range, rate, section, text."""
    unit: str
    """The unit of the value; "" if it has none."""
    value: str | None
    """The current value. None for a fault that the scenario does not have: setting it adds one."""
    minimum: str | None
    maximum: str | None
    default: str | None
    choices: tuple[str, ...]
    """The allowed values; empty if any value may be written."""
    help: str
    """The meaning, for a tooltip."""

    def to_json(self) -> dict[str, Any]:
        """Return the same as plain data."""
        return {**asdict(self), "choices": list(self.choices)}
