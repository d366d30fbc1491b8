"""How counts fade, what one process remembers, and how its memory is bounded."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from integrations.models import BreakerState
from integrations.runtime.breaker import circuit
from integrations.runtime.breaker.memory import MOST_KNOWN, WORTH_WRITING, Memory
from tests.factories import START


def row(**fields: Any) -> BreakerState:
    return BreakerState(**{"key": "x|host", "provider": "x", "host": "host", "window_started_at": START, **fields})


def at(seconds: float) -> Any:
    return START + timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("seconds", "expected", "started"),
    [
        (0, (40, 7), 0),
        (29.9, (40, 7), 0),
        (30, (20, 3), 30),
        (59.9, (20, 3), 30),
        (60, (0, 0), 60),
        (86_400, (0, 0), 86_400),
        (-5, (40, 7), -5),
    ],
)
def test_counts_fade_by_halves(seconds: float, expected: tuple[int, int], started: float) -> None:
    found = row(successes=40, failures=7)
    circuit.fade(found, at(seconds))
    assert (found.successes, found.failures) == expected
    assert found.window_started_at == at(started)


def test_a_clock_that_was_put_back_does_not_keep_counts_for_ever() -> None:
    found = row(failures=4)
    circuit.fade(found, at(-3600))
    circuit.fade(found, at(-3600 + 60))
    assert found.failures == 0


@pytest.mark.parametrize("before", [150, 10_000])
def test_where_calls_are_many_an_outage_is_seen_after_as_many_as_the_counts_hold(before: int) -> None:
    found = row()
    for _ in range(before):
        circuit.count(found, START, successes=1, failures=0)
    failed = 0
    while not circuit.is_failing(found):
        circuit.count(found, START, successes=0, failures=1)
        failed += 1
    assert 50 < failed <= circuit.MOST_COUNTED


@pytest.mark.parametrize(
    ("successes", "failures", "expected"),
    [(0, 4, False), (0, 5, True), (5, 5, True), (6, 5, False), (100, 99, False), (90, 90, True)],
)
def test_half_of_the_calls_and_at_least_five_are_reason_enough(successes: int, failures: int, expected: bool) -> None:
    assert circuit.is_failing(row(successes=successes, failures=failures)) is expected


@pytest.mark.parametrize(
    ("forced", "until", "seconds", "expected"),
    [
        ("", None, 0, "half_open"),
        ("open", None, 86_400, "held_open"),
        ("open", 60, 59, "held_open"),
        ("open", 60, 60, "half_open"),
        ("closed", 60, 0, "held_closed"),
    ],
)
def test_how_it_stands(forced: str, until: float | None, seconds: float, expected: str) -> None:
    found = row(state="half_open", forced=forced, forced_until=at(until) if until is not None else None)
    assert circuit.shown(found, at(seconds)) == expected


# --- what one process remembers


def test_that_calls_pass_is_remembered_for_a_second() -> None:
    memory = Memory()
    assert memory.passes("k", START) is False
    memory.saw_closed("k", START, troubled=False)
    assert [memory.passes("k", at(seconds)) for seconds in (0, 0.9, 1, -0.1)] == [True, True, False, False]
    memory.take("k", at(0.1))
    assert memory.passes("k", at(0.2)) is False, "whoever wrote looks again"


def test_successes_are_gathered_until_it_is_worth_a_write() -> None:
    memory = Memory()
    written = [memory.succeeded("k", at(number * 0.01)) for number in range(3 * WORTH_WRITING)]
    assert [each for each in written if each] == [WORTH_WRITING]
    assert memory.succeeded("k", at(1.5)) == 2 * WORTH_WRITING + 1


def test_where_something_fails_each_second_is_written() -> None:
    memory = Memory()
    memory.saw_closed("k", START, troubled=True)
    assert [memory.succeeded("k", at(seconds)) for seconds in (0, 0.5, 1.1, 1.2, 2.2)] == [1, 0, 2, 0, 2]


def test_old_successes_say_nothing_of_now() -> None:
    memory = Memory()
    for _ in range(8):
        memory.succeeded("k", START)
    assert memory.take("k", at(31)) == 4
    for _ in range(8):
        memory.succeeded("k", at(40))
    assert memory.take("k", at(140)) == 0


def test_memory_is_bounded() -> None:
    memory = Memory()
    for number in range(MOST_KNOWN + 50):
        memory.saw_closed(f"k{number}", START, troubled=False)
    assert len(memory) == MOST_KNOWN
    assert (memory.passes("k0", START), memory.passes(f"k{MOST_KNOWN + 49}", START)) == (False, True)
    for _ in range(1000):
        memory.succeeded("busy", START)
    assert memory.take("busy", START) <= circuit.MOST_COUNTED
