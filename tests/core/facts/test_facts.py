"""Facts: in and out of JSON without loss, and standing exactly while their block stands."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.facts import one_of_each, reorged
from tests.hypothesis_profile import examples
from tests.strategies import facts, facts_of
from workbench.core import facts as ev
from workbench.core.errors import StoreError

KINDS = sorted(ev.Event.kinds.values(), key=lambda kind: kind.__name__)
IN_DESIGN = """
PaymentRequested PaymentAuthorized PaymentRejected AssetDelivered
SettlementCreated SettlementFunded SettlementSwapped SettlementExecuted SettlementRefunded
FinalityReached
TransactionSigned TransactionSent TransactionMined TransactionReplaced TransactionFinalized
TransactionFailed SignerQuarantined
BlockOrphaned
""".split()


def test_the_vocabulary_is_there() -> None:
    """Every fact of the OTC flow is a class, known by its name."""
    assert set(IN_DESIGN) <= set(ev.Event.kinds)
    assert all(name == kind.__name__ for name, kind in ev.Event.kinds.items())


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_fact_is_frozen_and_its_fields_are_plain(kind: type[ev.Event]) -> None:
    """Integers, text and booleans only: no float can enter a journal."""
    own = {f.name: f.type for f in fields(kind) if f.name != "block"}
    assert set(own.values()) <= {"int", "str", "bool"}
    fact = next(each for each in one_of_each() if type(each) is kind)
    with pytest.raises(FrozenInstanceError):
        fact.subject = ""  # type: ignore[misc]


@examples(8)
@given(st.data())
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_json_loses_nothing(kind: type[ev.Event], data: st.DataObject) -> None:
    """Any text and integers of any size come back equal, from one line that is always the same."""
    fact = data.draw(facts_of(kind))
    line = ev.to_json(fact)
    assert fact == ev.from_json(line)
    assert line == ev.to_json(ev.from_json(line))
    assert "\n" not in line
    assert ev.to_dict(fact) == json.loads(line)
    assert [kind.__name__, "type"] == [ev.to_dict(fact)["type"], next(iter(ev.to_dict(fact)))]


@given(facts, facts)
def test_an_id_is_the_content(one: ev.Event, other: ev.Event) -> None:
    """Equal facts have equal ids, others others, and a block that came back gives new ones."""
    assert (one == other) == (ev.fact_id(one) == ev.fact_id(other))
    assert ev.fact_id(one) == ev.fact_id(replace(one))
    assert 3 == len({ev.fact_id(one, times) for times in range(3)})


@given(facts, st.integers(0, 2**64))
def test_every_field_counts_for_the_id(fact: ev.Event, later_ms: int) -> None:
    """The same thing at another time is another fact."""
    later = replace(fact, at_ms=fact.at_ms + 1 + later_ms)
    assert ev.fact_id(fact) != ev.fact_id(later)


@given(facts)
def test_a_line_is_written_once_and_belongs_to_one_fact(fact: ev.Event) -> None:
    """Read again it is the same line; a changed copy has one of its own."""
    line = ev.to_json(fact)
    assert ev.to_json(fact) is line
    again = ev.from_line(line)
    assert again == fact
    assert ev.to_json(again) is line
    assert ev.fact_id(again) == ev.fact_id(fact) != ev.fact_id(fact, 1)
    later = replace(fact, at_ms=fact.at_ms + 1)
    assert ev.from_json(ev.to_json(later)) == later


def good() -> dict[str, Any]:
    """A fact as a dictionary, to be spoilt."""
    fact = next(f for f in reorged() if isinstance(f, ev.SettlementSwapped))
    return json.loads(ev.to_json(fact))  # type: ignore[no-any-return]


BLOCK = good()["block"]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"type": "SettlementForgotten"}, "unknown type"),
        ({"type": "Event"}, "unknown type"),
        ({"type": ""}, "unknown type"),
        ({"type": None}, "unknown type"),
        ({"type": []}, "unknown type"),
        ({"type": {}}, "unknown type"),
        ({"eurc_spend": 1}, "eurc_spend"),
        ({"kinds": {}}, "kinds"),
        ({"block": []}, "block"),
        ({"block": {}}, "block"),
        ({"block": "0x"}, "block"),
        ({"block": {**BLOCK, "number": ...}}, "block"),
        ({"block": {**BLOCK, "miner": "0x"}}, "block"),
    ],
    ids=repr,
)
def test_a_fact_that_this_version_does_not_know_is_refused(
    change: dict[str, Any], why: str
) -> None:
    """An unknown type, an unknown field or a malformed block is named, and nothing is guessed."""
    spoilt = good() | change
    if isinstance(spoilt["block"], dict):
        spoilt["block"] = {k: v for k, v in spoilt["block"].items() if v is not ...}
    with pytest.raises(StoreError, match=why):
        ev.from_dict(spoilt)


@pytest.mark.parametrize("name", sorted(good()))
def test_a_fact_that_lacks_a_field_is_refused(name: str) -> None:
    """Whichever it is."""
    spoilt = good()
    del spoilt[name]
    with pytest.raises(StoreError, match="unknown type" if name == "type" else name):
        ev.from_dict(spoilt)


def test_reading_leaves_the_dictionary_as_it_was() -> None:
    """The caller may still want it."""
    data = good()
    ev.from_dict(data)
    assert good() == data


# --- What still stands ---

HASHES = ("0xaa", "0xbb", "0xcc")
histories = st.lists(
    st.tuples(st.sampled_from(["fact", "orphaned"]), st.sampled_from((*HASHES, ""))), max_size=14
)


def told(history: list[tuple[str, str]]) -> list[ev.Event]:
    """Numbered facts in blocks of these hashes ("": off chain), and orphanings of them."""
    result: list[ev.Event] = []
    for n, (what, at) in enumerate(history):
        if what == "orphaned" and at:
            result.append(ev.BlockOrphaned(subject=at, at_ms=n, source="watcher", number=7))
        else:
            block = ev.BlockRef(7, at, "0x11", 0) if at else None
            sent = ev.TransactionSent(
                subject=f"s{n % 3}", at_ms=n, source="t", block=block, act="swap", tx="0x11"
            )
            result.append(sent)
    return result


def stands(n: int, events: list[ev.Event]) -> bool:
    """The definition, word for word: no orphaning of its block was recorded after it."""
    block = events[n].block
    return block is None or not any(
        isinstance(later, ev.BlockOrphaned) and later.subject == block.hash
        for later in events[n + 1 :]
    )


@given(histories)
def test_a_fact_stands_until_its_block_is_orphaned(history: list[tuple[str, str]]) -> None:
    """Also where a block comes back: what is recorded after the orphaning counts anew."""
    events = told(history)
    expected = [event for n, event in enumerate(events) if stands(n, events)]
    assert expected == ev.canonical(events)
    assert expected == ev.canonical(expected), "what stands goes on standing"


def test_a_block_that_returns_brings_its_facts_back() -> None:
    """Seen, orphaned, seen again: it counts once."""
    events = told([("fact", "0xaa"), ("orphaned", "0xaa"), ("fact", "0xaa"), ("fact", "0xbb")])
    assert [1, 2, 3] == [event.at_ms for event in ev.canonical(events)]
    events += told([("orphaned", "0xaa")])
    assert [1, 3, 0] == [event.at_ms for event in ev.canonical(events)]


def test_of_two_swaps_the_later_stands() -> None:
    """A whole life with a reorg in it."""
    facts = reorged()
    swaps = [f for f in facts if isinstance(f, ev.SettlementSwapped)]
    standing = [f for f in ev.canonical(facts) if isinstance(f, ev.SettlementSwapped)]
    assert 2 == len(swaps)
    assert swaps[1:] == standing
