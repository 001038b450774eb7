"""Two equal readings, some time apart, and nothing less, conclude a loss."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from workbench.core.confirmed_readings import AGAIN_MS, ConfirmedReadings


@given(st.lists(st.tuples(st.integers(0, 10_000), st.sampled_from("abc")), max_size=30))
def test_a_reading_is_confirmed_by_an_equal_one_that_is_late_enough(
    steps: list[tuple[int, str]],
) -> None:
    """Against the history itself: the run of equal readings that ends now is old enough."""
    readings, now, history = ConfirmedReadings(), 0, list[tuple[int, str]]()
    for wait, said in steps:
        now += wait
        history.append((now, said))
        begin = len(history)
        while begin and history[begin - 1][1] == said:
            begin -= 1
        assert readings.confirms("x", said, now) == (now - history[begin][0] >= AGAIN_MS)


def test_what_is_forgotten_or_of_a_clock_set_back_begins_anew() -> None:
    readings = ConfirmedReadings()
    assert not readings.confirms("x", 1, 0)
    assert readings.first("x") == 1
    readings.forget("x")
    assert readings.first("x") is None
    assert not readings.confirms("x", 1, AGAIN_MS)
    assert not readings.confirms("x", 1, 0), "the clock was set back"
    assert not readings.confirms("y", 1, AGAIN_MS), "another name"
    assert readings.confirms("x", 1, AGAIN_MS)
