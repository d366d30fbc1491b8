"""20,000 texts from one uploaded file, through the real web server, workers that are killed on the way, and the simulator."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import Counter
from contextlib import closing
from typing import Any

import psutil
import pytest

from tests.processes.stack import DOWN, Stack, wait_for
from tests.processes.test_kills import gone

pytestmark = [pytest.mark.slow]

RECIPIENTS = 20_000
KILLS_AT = (15, 40, 65)
REPORTED_EVERY = 20
"""One of so many recipients gets delivery reports (two each). With reports for all the run would measure the inbox."""
LIMIT = 240.0
GROWTH = 60 * 1024 * 1024
WARM = 10
"""Looks at a process (two a second) before it counts as warm."""
API = "/api/v1/integrations"


def numbers() -> list[str]:
    """Distinct Kenyan numbers, none of them a payer's of `fee.py`. The last three digits choose an outcome at the simulator:
    902 is delivered without a report."""
    tails = ["679" if each % REPORTED_EVERY == 0 else "902" for each in range(RECIPIENTS)]
    return [f"+2547{10 + each // 1000}{each % 1000:03d}{tail}" for each, tail in enumerate(tails)]


class Watch(threading.Thread):
    """Asks for the progress all the time, and looks at the memory of the web server and the workers."""

    def __init__(self, stack: Stack, message_id: str) -> None:
        super().__init__(daemon=True)
        self._stack, self._path = stack, f"{API}/messages/{message_id}/progress"
        self._end = threading.Event()
        self.seen: list[dict[str, Any]] = []
        self.memory: dict[int, list[int]] = {}
        self.failures: list[str] = []

    def run(self) -> None:
        while not self._end.wait(0.5):
            try:
                answer = self._stack.call("GET", self._path)
            except DOWN as error:
                self.failures.append(repr(error))
                continue
            if answer.status_code != 200:
                self.failures.append(answer.text)
                continue
            self.seen.append(answer.json())
            if self.percent >= 25:
                self._weigh()

    def _weigh(self) -> None:
        try:
            web = [each.pid for each in self._stack.command("gunicorn").children()]
            workers = [*self._stack.shift_pids("queue"), *self._stack.shift_pids("delivery")]
            for pid in (*web, *workers):
                self.memory.setdefault(pid, []).append(psutil.Process(pid).memory_info().rss)
        except (psutil.Error, AssertionError):
            return  # one of them has just been killed

    @property
    def percent(self) -> int:
        return int(self.seen[-1]["percent"]) if self.seen else 0

    def stop(self) -> None:
        self._end.set()
        self.join(30)


def taken_by_the_provider(stack: Stack) -> Counter[str]:
    """How often the simulator took a text for each number, from its own books: its control API shows the last ones only."""
    books = stack.var_dir / "simulators" / "simulators.sqlite3"
    with closing(sqlite3.connect(f"file:{books}?mode=ro", uri=True)) as connection:
        rows = connection.execute("SELECT ref FROM documents WHERE slug = 'africastalking' AND kind = 'message'")
        return Counter(number for (number,) in rows)


def test_20_000_texts_from_one_file_while_workers_die(stack: Stack, note_time: Any) -> None:
    everybody = numbers()
    stack.control("PUT", "africastalking/accounts/demoschool", json={"balance": "100000"})
    content = "Name,Phone\n" + "".join(f"Parent {place},{number}\n" for place, number in enumerate(everybody))
    began = time.monotonic()
    uploaded = stack.call(
        "POST",
        f"{API}/recipient-lists",
        files={"file": ("parents.csv", content.encode(), "text/csv")},
        headers={"Idempotency-Key": "bulk-upload"},
    )
    assert uploaded.status_code == 201, uploaded.text
    note_time("bulk: upload and read", time.monotonic() - began, f"{uploaded.json()['rows']} rows")
    asked = time.monotonic()
    body = {"channel": "sms", "message": "School is closed on Monday.", "category": "bulk", "provider": "africastalking"}
    sent = stack.call(
        "POST",
        f"{API}/recipient-lists/{uploaded.json()['id']}/send",
        json=body,
        headers={"Idempotency-Key": "bulk-send"},
    )
    assert sent.status_code == 202, sent.text
    assert (sent.json()["status"], sent.json()["expected"]) == ("preparing", RECIPIENTS)
    note_time("bulk: accept", time.monotonic() - asked)
    message_id = sent.json()["id"]

    watch = Watch(stack, message_id)
    watch.start()
    for percent in KILLS_AT:
        wait_for(lambda percent=percent: watch.percent >= percent, f"{percent} %", LIMIT)
        wait_for(lambda: len(stack.shift_pids("queue")) == 2, "two shifts of the queue", 60)
        gone(stack.kill("queue worker"))
    wait_for(lambda: watch.seen[-1]["finished"], "the last one to be sent", LIMIT)
    taken = time.monotonic() - began
    watch.stop()

    assert watch.failures == []
    done = [each["done"] for each in watch.seen]
    assert done == sorted(done), "progress went back"
    assert [each["percent"] for each in watch.seen] == sorted(each["percent"] for each in watch.seen)
    # What a process has loaded after some seconds at work is what it needs; from then on it may not grow with the list.
    growth = {pid: max(weights[WARM:]) - weights[WARM] for pid, weights in watch.memory.items() if len(weights) > WARM}
    assert len(growth) >= 4, "two web workers and two that work off the queue, at least"
    assert max(growth.values()) < GROWTH, growth

    # All reports are in when nothing of the inbox waits any more.
    waiting = (
        "SELECT 1 FROM integrations_queueitem WHERE kind = 'webhook.process' AND state IN ('pending', 'processing') LIMIT 1"
    )
    wait_for(lambda: not stack.rows(waiting), "the reports to be worked off", 120)
    found = {
        row["address"]: row["state"]
        for row in stack.rows("SELECT address, state FROM messaging_recipient WHERE message_id = %s", message_id)
    }
    assert sorted(found) == sorted(everybody)
    states = Counter(found.values())
    assert set(states) <= {"sent", "delivered", "unknown"}, states
    at_phones = taken_by_the_provider(stack)
    mine = {number: at_phones[number] for number in everybody}
    assert max(mine.values()) == 1, "somebody got it twice"
    missed = [number for number, times in mine.items() if not times and found[number] != "unknown"]
    assert missed == [], "called sent, and never was"
    # What nobody knows is for a person to look at, and only what was in a call when its worker died.
    doubtful = stack.rows(
        "SELECT item.payload FROM integrations_queueitem AS item WHERE reference_id = %s AND state = 'needs_review'", message_id
    )
    in_review = {pk for row in doubtful for pk in row["payload"]["recipients"]}
    unknown = stack.rows("SELECT id FROM messaging_recipient WHERE message_id = %s AND state = 'unknown'", message_id)
    assert {row["id"] for row in unknown} <= in_review
    words = f"{RECIPIENTS / taken:.0f}/s, {dict(states)}, grown {max(growth.values()) >> 20} MB"
    note_time("bulk: 20,000 sent, three workers killed", taken, words)
    wait_for(stack.whole, "the hub to be whole again")
    assert taken < LIMIT
