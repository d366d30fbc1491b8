"""What goes wrong, and when: a plan that a seed decides, and the hands that carry it out."""

from __future__ import annotations

import contextlib
import random
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

import psutil
import psycopg

from integrations_site.embedded import EmbeddedError
from tests.chaos.hub import Hub, SmallDisk
from tests.processes.stack import DOWN, wait_for

KILLS = (
    "web worker",
    "web master",
    "queue worker",
    "delivery worker",
    "second engine",
    "cluster",
    "supervisor",
    "sentinel",
    "monitor",
    "pusher",
    "guardian",
    "idle worker",
    "simulators",
)
PROVIDER_FAULTS = (
    ("mpesa", "stk_push", "delay", {"seconds": 2, "times": 3}),
    ("mpesa", "stk_push", "error_500", {"times": 2}),
    ("mpesa", "stk_push", "error_429", {"times": 2, "retry_after": 2}),
    ("mpesa", "stk_push", "drop_after_accept", {"times": 2}),
    ("mpesa", "stk_push", "error_500_after", {"times": 2}),
    ("mpesa", "stk_callback", "lose_callback", {"times": 2}),
    ("mpesa", "stk_callback", "duplicate_callback", {"times": 3}),
    ("mpesa", "stk_callback", "delay_callback", {"times": 3, "seconds": 5}),
    ("africastalking", "sms_send", "delay", {"seconds": 3, "times": 2}),
    ("africastalking", "sms_send", "error_500", {"times": 2}),
    ("africastalking", "sms_send", "error_429", {"times": 3, "retry_after": 2}),
    ("africastalking", "sms_send", "drop_after_accept", {"times": 2}),
    ("africastalking", "delivery_report", "duplicate_callback", {"times": 10}),
)
SHORTEST, LONGEST = 1.5, 8.0
"""Seconds between two faults."""

FIND_WITHIN = 15.0
"""A process that is to be killed may just be starting anew; after so many seconds the fault is passed over, and said so."""


@dataclass(frozen=True)
class Fault:
    """One card of the plan. `number` is its own seed, for what it chooses when it is played."""

    kind: str
    what: str
    number: int
    pause: float
    more: dict[str, Any] = field(default_factory=dict)


@dataclass
class Played:
    """What became of a fault. `at` is seconds from the start, `when` the moment (UTC)."""

    at: float
    when: str
    kind: str
    what: str
    note: str
    done: bool


def _cards(rng: random.Random, *, with_disk: bool) -> list[tuple[str, str, dict[str, Any]]]:
    cards: list[tuple[str, str, dict[str, Any]]] = [("kill", role, {}) for role in KILLS]
    cards += [("kill", "second engine", {}), ("kill", "delivery worker", {}), ("kill", "web worker", {})]
    cards += [("database", "kill", {}), ("database", "restart", {})]
    cards += [("database", "terminate", {"share": rng.choice([0.2, 0.5, 1.0])}) for _ in range(3)]
    cards += [("cut", "receivers", {"share": 0.5}), ("cut", "providers", {"share": 1.0})]
    cards += [("half", "receivers", {"times": rng.randint(2, 12)}), ("half", "providers", {"times": rng.randint(1, 3)})]
    cards += [("refuse", rng.choice(["receivers", "providers"]), {"seconds": rng.uniform(2, 5)})]
    faults = [*PROVIDER_FAULTS]
    rng.shuffle(faults)
    cards += [("provider", f"{slug} {operation} {fault}", more) for slug, operation, fault, more in faults[:6]]
    jumps = [(rng.choice(["all", "web", "worker", "second"]), rng.choice([-1, 1]) * rng.uniform(5, 120)) for _ in range(3)]
    cards += [("clock", role, {"seconds": round(seconds, 1), "hold": rng.uniform(4, 15)}) for role, seconds in jumps]
    cards += [("receiver", "status", {"status": status, "seconds": rng.uniform(3, 8)}) for status in (500, 429)]
    cards += [("receiver", "hang", {"delay": rng.uniform(2, 6), "seconds": rng.uniform(3, 6)})]
    if with_disk:
        cards += [("disk", "full", {"seconds": rng.uniform(4, 8)})]
    rng.shuffle(cards)
    return cards


def plan(rng: random.Random, *, decks: int = 12, with_disk: bool = True) -> list[Fault]:
    """Return an endless-looking row of faults: shuffled decks, in each of which every kind stands at least once."""
    return [
        Fault(kind, what, rng.getrandbits(32), round(rng.uniform(SHORTEST, LONGEST), 2), more)
        for _ in range(decks)
        for kind, what, more in _cards(rng, with_disk=with_disk)
    ]


def small_plan(rng: random.Random) -> list[Fault]:
    """Return two kills, one restart of the database and two kinds of cuts: enough to see that all of this works."""
    cards: Sequence[tuple[str, str, dict[str, Any]]] = (
        # First: a request that dies in the web server keeps its key to itself for a minute, and its client waits so long.
        ("kill", "web worker", {}),
        ("half", "receivers", {"times": 4}),
        ("kill", "delivery worker", {}),
        ("cut", "receivers", {"share": 1.0}),
        ("database", "restart", {}),
    )
    return [Fault(kind, what, rng.getrandbits(32), 2.5, more) for kind, what, more in cards]


class Saboteur(threading.Thread):
    """Plays the plan from its first card until `finish()`, or its end."""

    def __init__(self, hub: Hub, faults: Sequence[Fault], disk: SmallDisk | None) -> None:
        super().__init__(name="saboteur", daemon=True)
        self._hub, self._faults, self._disk = hub, faults, disk
        self._end = threading.Event()
        self._undo: list[tuple[float, Callable[[], object]]] = []
        self._began = time.monotonic()
        self.played: list[Played] = []
        self._how: dict[str, Callable[[Fault, random.Random], str]] = {
            "kill": self._kill,
            "database": self._database,
            "cut": self._cut,
            "half": self._half,
            "refuse": self._refuse,
            "provider": self._provider,
            "clock": self._clock,
            "receiver": self._receiver,
            "disk": self._full_disk,
        }

    def run(self) -> None:
        for fault in self._faults:
            if self._wait(fault.pause):
                return
            at, when = time.monotonic() - self._began, datetime.now(UTC).isoformat(timespec="milliseconds")
            try:
                note, done = self._how[fault.kind](fault, random.Random(fault.number)), True
            except (AssertionError, psutil.Error, psycopg.Error, EmbeddedError, OSError, *DOWN) as error:
                note, done = f"passed over: {type(error).__name__} {error}"[:200], False
            self.played.append(Played(round(at, 1), when, fault.kind, fault.what, note, done))

    def finish(self) -> None:
        """Play no more, and put right whatever is still turned, filled, broken or refusing."""
        self._end.set()
        self.join(60)
        for _due, undo in self._undo:
            undo()
        self._undo = []
        self._hub.clock.turn("all", 0.0)
        if self._disk is not None:
            self._disk.free()
        for receiver in self._hub.receivers:
            receiver.recover()
        self._hub.providers.calm()
        for slug in ("mpesa", "africastalking"):
            self._hub.control("DELETE", f"{slug}/faults")

    def report(self) -> list[dict[str, Any]]:
        return [asdict(each) for each in self.played]

    def _wait(self, seconds: float) -> bool:
        """Wait, and undo what is to last no longer; return whether all is over."""
        until = time.monotonic() + seconds
        while not self._end.wait(min(0.1, max(0.0, until - time.monotonic()))):
            now = time.monotonic()
            for due in [each for each in self._undo if each[0] <= now]:
                self._undo.remove(due)
                due[1]()
            if now >= until:
                return False
        return True

    def _later(self, seconds: float, undo: Callable[[], object]) -> None:
        self._undo.append((time.monotonic() + seconds, undo))

    # --- the hands

    def _kill(self, fault: Fault, rng: random.Random) -> str:
        def find() -> psutil.Process | None:
            # While the family is being replaced its rows are old or not there yet.
            with contextlib.suppress(psutil.Error, psycopg.Error, AssertionError, KeyError, IndexError, StopIteration):
                if fault.what == "second engine":
                    return rng.choice(self._hub.second_engines())
                found = self._hub.find(fault.what)
                return found if found in self._hub.children() else None
            return None

        process = wait_for(find, f"the {fault.what}", FIND_WITHIN)
        process.send_signal(signal.SIGKILL)
        return f"kill -9 {process.pid}"

    def _database(self, fault: Fault, rng: random.Random) -> str:
        if fault.what == "terminate":
            found = self._hub.rows(
                "SELECT count(pg_terminate_backend(pid)) AS n FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
                " AND backend_type = 'client backend' AND random() < %s",
                fault.more["share"],
            )
            return f"{found[0]['n']} connections ended"
        if fault.what == "kill":
            pid = self._hub.database.status().pid
            assert pid is not None, "it is down already"
            psutil.Process(pid).send_signal(signal.SIGKILL)
            return f"kill -9 {pid}"
        self._hub.database.stop()
        return "stopped in order; the manager starts it again"

    def _cut(self, fault: Fault, rng: random.Random) -> str:
        share = fault.more["share"]
        if fault.what == "providers":
            return f"{self._hub.providers.cut(share, rng)} connections"
        return f"{sum(each.proxy.cut(share, rng) for each in self._hub.receivers)} connections"

    def _half(self, fault: Fault, rng: random.Random) -> str:
        if fault.what == "providers":
            self._hub.providers.cut_in_the_middle(fault.more["times"])
            return f"{fault.more['times']} times, to or from a provider"
        receiver = rng.choice(self._hub.receivers)
        receiver.proxy.cut_in_the_middle(fault.more["times"])
        return f"{fault.more['times']} times, at {receiver.name}"

    def _refuse(self, fault: Fault, rng: random.Random) -> str:
        proxy = self._hub.providers if fault.what == "providers" else rng.choice(self._hub.receivers).proxy
        proxy.refuse(fault.more["seconds"])
        return f"for {fault.more['seconds']:.1f} s"

    def _provider(self, fault: Fault, _rng: random.Random) -> str:
        slug, operation, name = fault.what.split()
        self._hub.fault(slug, operation, name, **fault.more)
        return str(fault.more)

    def _clock(self, fault: Fault, _rng: random.Random) -> str:
        seconds, hold = fault.more["seconds"], fault.more["hold"]
        self._hub.clock.turn(fault.what, seconds)
        self._later(hold, lambda: self._hub.clock.turn(fault.what, 0.0))
        return f"{seconds:+.0f} s for {hold:.0f} s"

    def _receiver(self, fault: Fault, rng: random.Random) -> str:
        receiver = rng.choice(self._hub.receivers)
        receiver.behave(fault.more.get("status", 0), fault.more.get("delay", 0.0))
        self._later(fault.more["seconds"], receiver.behave)
        how = fault.more.get("status") or f"answers after {fault.more['delay']:.1f} s"
        return f"{receiver.name}: {how} for {fault.more['seconds']:.0f} s"

    def _full_disk(self, fault: Fault, _rng: random.Random) -> str:
        assert self._disk is not None
        taken = self._disk.fill()
        self._wait(fault.more["seconds"])
        self._disk.free()
        return f"{taken >> 20} MB taken for {fault.more['seconds']:.0f} s"
