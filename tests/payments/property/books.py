"""The books of a model gateway: what it really holds, took and gave back. The hub's rows are compared with these."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from integrations.contracts.errors import ProviderError

HOLD = timedelta(days=2)
LATE = timedelta(minutes=5)
"""How long a request may be under way; gateways promise more (`arrives_within`)."""


class Crash(BaseException):
    """The process dies here: nothing that would have come after it happens."""


@dataclass(slots=True)
class Part:
    """A capture, refund or dispute; `operation_id` is the hub's, empty where it was made in the dashboard."""

    ref: str
    amount: int
    operation_id: str = ""
    state: str = "succeeded"
    withdrawn: bool = False


@dataclass(slots=True)
class Entry:
    """One payment object of the gateway. A hub's payment should never have two with money."""

    ref: str
    style: str
    payment_id: str
    asked: int
    amount: int
    """What it takes or holds in all: differs from `asked` only by a fault."""
    currency: str
    automatic: bool
    callback: str
    state: str = "waiting"
    captures: list[Part] = field(default_factory=list)
    refunds: list[Part] = field(default_factory=list)
    disputes: list[Part] = field(default_factory=list)
    released: int = 0
    expires_at: datetime | None = None
    receipt: str = ""
    taken_in: int | None = None
    """The step of the test in which money was first taken."""

    @property
    def captured(self) -> int:
        return sum(part.amount for part in self.captures)

    @property
    def refunded(self) -> int:
        return sum(part.amount for part in self.refunds if part.state == "succeeded")

    @property
    def going_back(self) -> int:
        return sum(part.amount for part in self.refunds if part.state != "failed")

    @property
    def disputed(self) -> int:
        return sum(part.amount for part in self.disputes if part.withdrawn)

    @property
    def capturable(self) -> int:
        return self.amount - self.captured - self.released if self.state == "held" else 0


@dataclass(frozen=True, slots=True)
class Notice:
    """A callback that the gateway has not made yet. `about` is `payment`, or `refund:<our id>` where it reports on that."""

    entry: Entry
    about: str = "payment"
    from_dashboard: bool = False


class Books:
    """One gateway of each style shares these books, faults and the list of callbacks."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self.now = now
        self.step = 0
        self.entries: list[Entry] = []
        self.notices: list[Notice] = []
        self.faults: dict[str, deque[str]] = defaultdict(deque)
        self.replies: dict[str, Any] = {}
        self.late: list[tuple[datetime, Callable[[], Any]]] = []
        self.meanwhile: Callable[[str], None] = lambda kind: None
        self.unasked: Counter[str] = Counter()
        """How many questions about a payment went wrong."""
        self.spoiled: set[str] = set()
        """Payments for which a wrong amount was taken."""
        self._count = 0

    def name(self, prefix: str) -> str:
        self._count += 1
        return f"{prefix}_{self._count}"

    def fault(self, operation: str) -> str:
        waiting = self.faults[operation]
        return waiting.popleft() if waiting else ""

    def of(self, payment_id: str) -> list[Entry]:
        return [entry for entry in self.entries if entry.payment_id == payment_id]

    def find(self, ref: str) -> Entry | None:
        return next((entry for entry in self.entries if entry.ref == ref), None)

    def notify(self, entry: Entry, about: str = "payment", *, from_dashboard: bool = False) -> None:
        self.notices.append(Notice(entry, about, from_dashboard))

    # --- what the hub asks for

    def open(self, **fields: Any) -> Entry:
        entry = Entry(ref=self.name("gp"), **fields)
        if entry.amount != entry.asked:
            self.spoiled.add(entry.payment_id)
        self.entries.append(entry)
        return entry

    def take(self, entry: Entry, operation_id: str = "") -> None:
        """Take or hold what the payer has agreed to."""
        entry.state = "held"
        entry.receipt = self.name("RCP")
        if entry.automatic:
            self.capture(entry, entry.amount, operation_id, final=True)
        else:
            entry.expires_at = self.now() + HOLD
            self.notify(entry)

    def capture(self, entry: Entry, amount: int, operation_id: str, *, final: bool, from_dashboard: bool = False) -> Part:
        part = Part(self.name("cap"), amount, operation_id)
        entry.captures.append(part)
        entry.taken_in = self.step if entry.taken_in is None else entry.taken_in
        if final:
            entry.released = entry.amount - entry.captured
        if entry.captured + entry.released == entry.amount:
            entry.state = "taken"
        self.notify(entry, from_dashboard=from_dashboard)
        return part

    def release(self, entry: Entry, *, lapsed: bool = False, from_dashboard: bool = False) -> None:
        if entry.state == "held":
            entry.released = entry.amount - entry.captured
        entry.state = "taken" if entry.captures else "expired" if lapsed else "cancelled"
        self.notify(entry, from_dashboard=from_dashboard)

    def refund(self, entry: Entry, amount: int, operation_id: str, *, state: str, from_dashboard: bool = False) -> Part:
        part = Part(self.name("ref"), amount, operation_id, state)
        entry.refunds.append(part)
        if state != "processing":
            self.notify(entry, self._about(entry, part), from_dashboard=from_dashboard)
        return part

    def decide_refund(self, entry: Entry, part: Part, state: str) -> None:
        part.state = state
        self.notify(entry, self._about(entry, part), from_dashboard=True)

    @staticmethod
    def _about(entry: Entry, part: Part) -> str:
        return f"refund:{part.operation_id}" if entry.style == "prompt" else "payment"

    # --- time and the payer

    def pay(self, entry: Entry) -> None:
        """The payer agrees: at a keyed gateway the hub has to complete it, elsewhere the money moves at once."""
        if entry.style == "keyed":
            entry.state = "approved"
            self.notify(entry)
        else:
            self.take(entry)

    def decline(self, entry: Entry) -> None:
        entry.state = "failed"
        self.notify(entry)

    def arrive(self, until: datetime | None = None) -> None:
        """Requests that were under way get here, those sent by `until` (all where None)."""
        due = [late for late in self.late if until is None or late[0] + LATE <= until]
        self.late = [late for late in self.late if late not in due]
        for _sent, act in due:
            with suppress(ProviderError):  # refused, and nobody hears of it
                act()

    def lapse(self) -> None:
        """End the holds whose time is up."""
        for entry in self.entries:
            if entry.state == "held" and entry.expires_at is not None and entry.expires_at <= self.now():
                self.release(entry, lapsed=True)
