"""Records made by `core.records` are those that `dataclasses` would have made."""

from __future__ import annotations

import copy
import dataclasses
import inspect
from dataclasses import FrozenInstanceError, dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.core import facts as ev
from workbench.core import payout, ports, settlement, x402
from workbench.core.records import quick, replace


def plain() -> type[Any]:
    """A class of its own at each call."""

    @dataclass(frozen=True, slots=True)
    class Record:
        first: int
        second: str = "two"
        third: tuple[int, ...] = ()

        def __post_init__(self) -> None:
            if self.first < 0:
                raise ValueError("below zero")

    return Record


Plain, Quick = plain(), quick(plain())

QUICK = [
    *ev.Event.kinds.values(),
    *(
        kind
        for module in (payout, ports, settlement, x402)
        for kind in vars(module).values()
        if isinstance(kind, type) and dataclasses.is_dataclass(kind)
    ),
]

values = st.tuples(st.integers(0, 9), st.text(max_size=3), st.tuples(st.integers()))


@given(values, st.integers(0, 3), st.integers(0, 9))
def test_it_is_made_compared_and_copied_alike(
    given_values: tuple[Any, ...], count: int, other: int
) -> None:
    named = dict(zip(("first", "second", "third"), given_values, strict=True))
    first, *rest = given_values
    places = rest[:count]
    one, two = Quick(first, *places), Plain(first, *places)
    assert dataclasses.astuple(one) == dataclasses.astuple(two)
    assert hash(one) == hash(two)
    assert Quick(**named) == Quick(*given_values)
    assert type(one) is Quick
    assert copy.deepcopy(one) == one
    changed = replace(one, first=other, third=(1,))
    assert changed == dataclasses.replace(one, first=other, third=(1,))
    assert dataclasses.astuple(changed) == (other, two.second, (1,))


@pytest.mark.parametrize("kind", [Quick, Plain])
def test_it_refuses_alike(kind: type[Any]) -> None:
    record = kind(1)
    for wrong in (
        lambda: setattr(record, "first", 2),
        lambda: delattr(record, "first"),
        lambda: object.__setattr__(record, "fourth", 2),
        kind,
        lambda: kind(1, fourth=2),
        lambda: kind(-1),
        lambda: replace(record, fourth=2),
        lambda: replace(record, first=-1),
    ):
        with pytest.raises((FrozenInstanceError, TypeError, AttributeError, ValueError)) as why:
            wrong()
        assert "Open" not in str(why.value)
    assert record == kind(1)


@pytest.mark.parametrize("kind", QUICK, ids=lambda kind: kind.__name__)
def test_all_that_are_made_often_are_frozen_and_keep_their_fields(kind: type[Any]) -> None:
    """By place and by name as `dataclasses` has it, and of their own class when they are made."""
    own = dataclasses.fields(kind)
    told = [p.name for p in inspect.signature(kind).parameters.values()]
    assert told == [f.name for f in own if not f.kw_only] + [f.name for f in own if f.kw_only]
    record = kind(**{f.name: n for n, f in enumerate(own)})
    assert [getattr(record, f.name) for f in own] == list(range(len(own)))
    assert type(record) is kind
    with pytest.raises(FrozenInstanceError):
        setattr(record, own[0].name, "another")
    assert replace(record, **{own[0].name: "another"}) != record


def test_events_are_found_by_their_names() -> None:
    assert all(ev.Event.kinds[name] is getattr(ev, name) for name in ev.Event.kinds)
