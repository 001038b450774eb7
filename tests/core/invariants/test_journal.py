"""The rules of a journal are silent about sound lives, and name what was planted for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.facts import digest, happy, journal, refunded, rejected
from workbench.core import facts as ev
from workbench.core.invariants.journal import RULES, review

Life = list[ev.Event]


def test_sound_lives_are_silent() -> None:
    """Executed, refunded, rejected, and reorged; told once or by two journals."""
    told = [*journal(40), *rejected("r"), *refunded("e")]
    expected: dict[str, list[str]] = {rule.__name__: [] for rule in RULES}
    assert expected == review(told)
    assert expected == review([*happy(), *happy()])


def change(kind: type[ev.Event], **fields: Any) -> Callable[[Life], Life]:
    """The same life, with other members in the facts of one kind."""
    return lambda life: [replace(f, **fields) if isinstance(f, kind) else f for f in life]


def again(kind: type[ev.Event], life: Life) -> Life:
    """One of its facts once more, in another transaction."""
    (last,) = [f for f in life if isinstance(f, kind)]
    assert last.block is not None
    return [*life, replace(last, block=replace(last.block, tx=digest("again")))]


def twice_funded(life: Life) -> Life:
    mined = next(f for f in life if isinstance(f, ev.TransactionMined) and f.act == "fund")
    return [*life, replace(mined, tx=digest("again"))]


def both_ends(life: Life) -> Life:
    return [*life, *(f for f in refunded() if isinstance(f, ev.SettlementRefunded))]


PLANTED: list[tuple[str, Life, Callable[[Life], Life]]] = [
    ("nobody_over_budget", happy(), change(ev.SettlementSwapped, eurc_spent=101_000_001)),
    ("swapped_for_the_price", happy(), change(ev.SettlementSwapped, usdc_received=1)),
    ("one_end", happy(), lambda life: again(ev.SettlementExecuted, life)),
    ("one_end", happy(), both_ends),
    ("executed_in_full", happy(), change(ev.SettlementExecuted, usdc_to_seller=109_999_999)),
    ("executed_in_full", happy(), change(ev.SettlementExecuted, eurc_returned=0)),
    ("executed_in_full", happy(), lambda life: [f for f in life if f.type != "SettlementSwapped"]),
    ("refunded_in_full", refunded(), change(ev.SettlementRefunded, eurc_returned=1)),
    ("refunded_in_full", refunded(), change(ev.SettlementRefunded, asset_returned=0)),
    ("each_act_once", happy(), twice_funded),
]


@pytest.mark.parametrize(("rule", "life", "plant"), PLANTED, ids=[name for name, _, _ in PLANTED])
def test_a_planted_breach_is_named(rule: str, life: Life, plant: Callable[[Life], Life]) -> None:
    """By the rule, and the settlement."""
    found = review(plant(list(life)))
    assert found[rule], found
    assert life[1].subject in found[rule][0]
    assert set(found) == {each.__name__ for each in RULES}


def test_every_rule_has_a_breach_planted() -> None:
    """A rule that catches nothing keeps nothing."""
    assert {rule.__name__ for rule in RULES} == {name for name, _, _ in PLANTED}
