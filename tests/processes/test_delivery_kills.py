"""Payment completed -> event -> three endpoints (healthy, slow, failing and then recovering), while deliverers are killed.

The promise is at least once: nothing is missing, and what comes twice was in flight when its worker died.
"""

from __future__ import annotations

import contextlib
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import psutil
import psycopg
import pytest

from integrations_site.embedded.address import REPOSITORY
from tests.processes.sinks import Copy, Sink, between
from tests.processes.stack import Stack, wait_for

pytestmark = [pytest.mark.slow]

ROUNDS = 50
PAYMENTS_IN_A_ROUND = 6
ENGINES = 2
FROM_THE_STACK = 5
"""Each so many rounds it hits a process of the hub itself, which takes seconds to come back; else an engine beside it."""
STACK_ROLES = ("delivery worker", "cluster", "delivery worker", "supervisor", "delivery worker")
ACCOUNT = "KILLED"
SETTLED_WITHIN = 150.0
SLACK = timedelta(seconds=0.5)
"""Between the moment noted for a kill and the moment the process can do nothing any more."""


class Fleet:
    """Engines on a second machine, to be killed one by one; see `tests.processes.fleet`."""

    def __init__(self, stack: Stack) -> None:
        command = [sys.executable, "-m", "tests.processes.fleet", str(ENGINES)]
        self._process = subprocess.Popen(command, env=stack.environment, cwd=REPOSITORY, stdin=subprocess.PIPE)
        wait_for(lambda: len(self.engines()) == ENGINES, "the engines")

    def engines(self) -> list[psutil.Process]:
        assert self._process.poll() is None, "the second machine broke down by itself"
        return psutil.Process(self._process.pid).children()

    def end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)


@pytest.fixture
def fleet(stack: Stack) -> Iterator[Fleet]:
    made = Fleet(stack)
    yield made
    made.end()


@pytest.fixture
def chance() -> random.Random:
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed of the moments, the delays and the victims: {seed}")
    return random.Random(seed)


@pytest.fixture
def round_number() -> list[int]:
    return [0]


@pytest.fixture
def sinks(stack: Stack, chance: random.Random, round_number: list[int]) -> Iterator[list[Sink]]:
    """The three endpoints, subscribed and ready; unsubscribed afterwards."""
    made = [
        Sink("healthy"),
        Sink("slow", delay=between(1.0, 2.0, random.Random(chance.random()))),
        Sink("failing", status=lambda: 500 if round_number[0] < ROUNDS // 3 else 200),
    ]
    ids = []
    for sink in made:
        # What a killed worker had in flight counts as such until its lease lapses: leave room beside it.
        wanted = {"name": sink.name, "url": sink.url, "events": ["payment.completed"], "max_in_flight": 32}
        answer = stack.call("POST", "/api/webhooks", json=wanted)
        assert answer.status_code == 201, answer.text
        sink.secret = answer.json()["secret"]
        ids.append(answer.json()["id"])
    yield made
    for endpoint_id in ids:
        stack.call("DELETE", f"/api/webhooks/{endpoint_id}")
    for sink in made:
        sink.close()


def prepare_paybill(stack: Stack) -> str:
    """Tell M-Pesa where to confirm payments; return the paybill's number."""
    configs = stack.call("GET", "/api/v1/integrations/configs").json()["results"]
    (config,) = [each for each in configs if each["provider"] == "mpesa"]
    answer = stack.call("POST", "/api/v1/integrations/setup/mpesa/webhooks", json={"config": config["id"]})
    assert answer.status_code == 200, answer.text
    return str(config["values"]["shortcode"])


def pay(stack: Stack, shortcode: str, number: int) -> None:
    """A customer pays by herself; the hub learns it by M-Pesa's confirmation, over the wire."""
    stack.control(
        "POST",
        "mpesa/c2b",
        json={"shortcode": shortcode, "amount": 100 + number, "msisdn": "254712345678", "bill_ref": f"{ACCOUNT}-{number}"},
    )


def victim(stack: Stack, fleet: Fleet, turn: int, chance: random.Random) -> tuple[str, psutil.Process]:
    """Return whom this round kills: mostly an engine of the second machine, in turns a process of the hub itself."""
    if turn % FROM_THE_STACK == FROM_THE_STACK - 1:
        role = STACK_ROLES[turn // FROM_THE_STACK % len(STACK_ROLES)]

        def find() -> psutil.Process | None:
            # While the family is being replaced its rows are old or not there yet.
            with contextlib.suppress(psutil.Error, psycopg.Error, AssertionError, KeyError, IndexError):
                found = stack.find(role)
                return found if found in stack.children() else None
            return None

        return role, wait_for(find, f"the {role} to be at work again", 60)
    return "engine", chance.choice(wait_for(fleet.engines, "an engine", 10))


def deliveries(stack: Stack, sink: Sink) -> dict[str, list[dict[str, Any]]]:
    """Return the tries at each event for this endpoint, oldest first; none for one that was never tried."""
    rows = stack.rows(
        "SELECT d.event_id, d.state, t.number, t.error_class, t.status_code, t.started_at, t.finished_at"
        " FROM webhooks_outbound_delivery d JOIN webhooks_outbound_endpoint e ON e.id = d.endpoint_id"
        " LEFT JOIN webhooks_outbound_deliveryattempt t ON t.delivery_id = d.id"
        " WHERE e.url = %s ORDER BY d.event_id, t.number",
        sink.url,
    )
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["event_id"], []).append(row)
    return found


def settled(stack: Stack, sinks: Sequence[Sink], payments: int) -> bool:
    for sink in sinks:
        tries = deliveries(stack, sink)
        if len(tries) < payments or any(each["state"] != "delivered" for rows in tries.values() for each in rows):
            return False
    return True


def check(tries: list[dict[str, Any]], copies: list[Copy], kills: Sequence[datetime]) -> int:
    """Hold what one sink got of one event against the hub's books; return how many copies came too often."""
    assert {each["state"] for each in tries} == {"delivered"}
    assert {each["error_class"] for each in tries} <= {"", "http_status", "lost"}, tries
    assert [each["number"] for each in tries] == list(range(1, len(tries) + 1)), "a try without a row, or two with one number"
    answered = [each["status_code"] for each in tries if each["status_code"] is not None]
    lost = [each for each in tries if each["error_class"] == "lost"]
    for each in lost:
        cut_off = [at for at in kills if each["started_at"] - SLACK <= at <= each["finished_at"]]
        assert cut_off, f"a try was lost and nobody was killed: {each}"
    # Every answer on record was given, in this order; every further copy belongs to a try whose worker was killed.
    assert answered[-1] == 200
    assert answered.count(200) == 1, "it was tried again after it had arrived"
    further = [copy.status for copy in copies]
    for status in answered:
        assert status in further, "an answer on record that nobody gave"
        further.remove(status)
    assert len(further) <= len(lost), f"{len(copies)} copies, {len(answered)} answers on record, {len(lost)} killed"
    assert len({copy.body for copy in copies}) == 1
    assert len({copy.timestamp for copy in copies}) == len({copy.signature for copy in copies}) == len(copies), (
        "each try is signed anew, with its own time"
    )
    return len(further)


# It runs for some three minutes: fifty rounds of two seconds, and then what is left.
def test_nothing_is_missing_and_only_killed_attempts_come_twice(
    stack: Stack, fleet: Fleet, sinks: list[Sink], chance: random.Random, round_number: list[int], note_time: Any
) -> None:
    shortcode = prepare_paybill(stack)
    kills: list[datetime] = []
    killed: list[str] = []
    paid = 0
    began = time.monotonic()
    for turn in range(ROUNDS):
        round_number[0] = turn
        for _ in range(PAYMENTS_IN_A_ROUND):
            pay(stack, shortcode, paid)
            paid += 1
        time.sleep(chance.uniform(0.3, 2.2))
        role, process = victim(stack, fleet, turn, chance)
        kills.append(datetime.now(UTC))
        killed.append(role)
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL)
    round_number[0] = ROUNDS
    note_time("deliveries: fifty kills", time.monotonic() - began, f"{paid} payments, {len(set(killed))} kinds of victims")
    last = time.monotonic()
    wait_for(lambda: settled(stack, sinks, paid), "all three endpoints to have everything", SETTLED_WITHIN, every=1.0)
    note_time("deliveries: settled", time.monotonic() - last, "after the last kill")

    events = stack.rows(
        "SELECT e.id FROM webhooks_outbound_event e JOIN payments_payment p ON p.id = e.object_id"
        " WHERE e.type = 'payment.completed' AND p.account_number LIKE %s",
        f"{ACCOUNT}-%",
    )
    expected = {each["id"] for each in events}
    assert len(events) == len(expected) == paid, "one event for each payment"
    twice, lost = {}, 0
    for sink in sinks:
        assert sink.problems == []
        tries, received = deliveries(stack, sink), sink.received()
        assert set(received) == set(tries) == expected, f"{sink.name}: missing or strange"
        twice[sink.name] = sum(check(tries[each], received[each], kills) for each in expected)
        lost += sum(each["error_class"] == "lost" for rows in tries.values() for each in rows)
    failed = [copy for copy in sinks[2].copies if copy.status == 500]
    assert failed, "the failing endpoint never failed: this proved nothing about retries"
    assert lost, "no kill ever hit an attempt: this proved nothing"
    assert killed.count("engine") == ROUNDS - ROUNDS // FROM_THE_STACK
    note_time(
        "deliveries: whole run", time.monotonic() - began, f"{lost} tries lost, duplicates {twice}, {len(failed)} refused"
    )

    fleet.end()
    wait_for(stack.whole, "the hub to be whole again")
