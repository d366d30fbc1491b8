"""What the tenant and its customers ask of the hub: every item has an owner here who remembers what he was answered."""

from __future__ import annotations

import hashlib
import hmac
import json
import random
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import requests

from tests.chaos.hub import Hub
from tests.processes.stack import DOWN

LOST_ANSWERS = (*DOWN, requests.exceptions.ChunkedEncodingError, requests.exceptions.ContentDecodingError, ValueError)
ASK_AGAIN = {408, 409, 425, 429}
CLIENTS = 12
BULK = 200
"""Recipients in one uploaded list."""

SHARES = {"event": 0.44, "inbound": 0.30, "stock": 0.03, "sms": 0.01, "payment": 0.015}
"""Of all items; the rest are texts in bulk."""

IMPATIENT = 0.03
"""Of those who ask, who go away for good when the first answer does not come."""

TWICE = 0.05
"""Of the senders of webhooks, who send again what was taken."""

# The last three digits choose what happens at the simulated phone: see the provider's simulator.
PAYERS = {"001": 70, "002": 6, "006": 6, "007": 6, "009": 4, "010": 5, "020": 3}
TEXTS = {"679": 30, "902": 70}
AMOUNT = 150_000


@dataclass
class Item:
    """One thing that was asked for. `answer` is the JSON of the 2xx; `refused` the status of a final no."""

    kind: str
    number: int
    at: float
    patient: bool = True
    key: str = ""
    phone: str = ""
    numbers: tuple[str, ...] = ()
    answer: dict[str, Any] | None = None
    refused: int = 0
    refusal: str = ""
    tries: int = 0
    accepted_at: float = 0.0
    asked_at: float = 0.0
    sent_again: int = 0

    @property
    def accepted(self) -> bool:
        return self.answer is not None

    @property
    def size(self) -> int:
        return len(self.numbers) or 1

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.number}"


def plan(items: int, seconds: float, rng: random.Random) -> list[Item]:
    """Return so many items with the moments (seconds from the start) at which they are asked for: a third of them in bursts."""
    counts = {kind: max(1, round(items * share)) for kind, share in SHARES.items()}
    texts = max(BULK // 10, items - sum(counts.values()))
    kinds = [kind for kind, count in counts.items() for _ in range(count)]
    rng.shuffle(kinds)
    bursts = [rng.uniform(0, seconds) for _ in range(max(2, int(seconds / 20)))]
    made = []
    for number, kind in enumerate(kinds):
        at = rng.choice(bursts) if rng.random() < 1 / 3 else rng.uniform(0, seconds)
        item = Item(kind, number, at, patient=rng.random() >= IMPATIENT, key=str(uuid.UUID(int=rng.getrandbits(128))))
        if kind == "payment":
            item.phone = f"25471{number % 10_000:04d}{_drawn(PAYERS, rng)}"
        if kind == "sms":
            item.numbers = (f"+25472{number % 10_000:04d}{_drawn(TEXTS, rng)}",)
        made.append(item)
    lists = -(-texts // BULK)
    for place in range(lists):
        size = min(BULK, texts - place * BULK)
        # A block of numbers that nobody above has, nor a payer's receipt.
        numbers = tuple(f"+2547{40 + place // 5}{place % 5 * BULK + each:03d}{_drawn(TEXTS, rng)}" for each in range(size))
        key = str(uuid.UUID(int=rng.getrandbits(128)))
        made.append(Item("bulk", place, rng.uniform(0, seconds * 0.8), key=key, numbers=numbers))
    for number, payment in enumerate(each for each in made if each.kind == "payment"):
        payment.phone = f"25471{number:04d}{payment.phone[-3:]}"
    for number, text in enumerate(each for each in made if each.kind == "sms"):
        text.numbers = (f"+25472{number:04d}{text.numbers[0][-3:]}",)
    return sorted(made, key=lambda item: item.at)


def _drawn(weights: dict[str, int], rng: random.Random) -> str:
    return rng.choices(list(weights), list(weights.values()))[0]


@dataclass
class Load:
    """Asks for the items when their time has come, each until it has an answer; `end()` makes whoever still asks give up."""

    hub: Hub
    items: Sequence[Item]
    _next: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _end: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)
    began: float = 0.0
    answered: int = 0
    broken: list[str] = field(default_factory=list)

    def start(self) -> None:
        self.began = time.monotonic()
        self._threads = [threading.Thread(target=self._work, args=(turn,), daemon=True) for turn in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def running(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)

    def no_more(self) -> None:
        """Ask for nothing that has not been asked for yet."""
        with self._lock:
            self._next = max(self._next, len(self.items))

    def end(self, patience: float) -> bool:
        """Give those who still ask so many seconds; return whether all had their answer."""
        deadline = time.monotonic() + patience
        for thread in self._threads:
            thread.join(max(0.1, deadline - time.monotonic()))
        in_time = not self.running()
        self._end.set()
        for thread in self._threads:
            thread.join(100)
        return in_time

    def _work(self, turn: int) -> None:
        rng = random.Random(turn)
        with requests.Session() as session:
            session.trust_env = False
            while not self._end.is_set():
                with self._lock:
                    place, self._next = self._next, self._next + 1
                if place >= len(self.items):
                    return
                item = self.items[place]
                self._end.wait(max(0.0, self.began + item.at - time.monotonic()))
                try:
                    ASKS[item.kind](Client(self, session, item, rng))
                except Exception as error:  # noqa: BLE001 a client that breaks is a bug here, and is told at the end
                    self.broken.append(f"{item.name}: {error!r}")
                with self._lock:
                    self.answered += item.size

    @property
    def ended(self) -> bool:
        return self._end.is_set()


@dataclass
class Client:
    """Whoever asks for one item."""

    load: Load
    session: requests.Session
    item: Item
    rng: random.Random

    def ask(self, path: str, *, key: str, **options: Any) -> dict[str, Any] | None:
        """POST until there is an answer, always the same; None for a refusal, or where he gave up. The item has the rest."""
        headers = {"Authorization": f"Bearer {self.load.hub.key}", "Idempotency-Key": key}
        return self.until_answered(self.load.hub.api + path, headers=headers, **options)

    def until_answered(self, url: str, **options: Any) -> dict[str, Any] | None:
        wait = 0.2
        item = self.item
        while True:
            item.tries += 1
            item.asked_at = item.asked_at or time.time()
            answer = None
            try:
                answer = self.session.post(url, timeout=45, **options)
                if answer.ok:
                    given: dict[str, Any] = answer.json()
                    item.accepted_at = time.time()
                    return given
            except LOST_ANSWERS:
                pass
            if answer is not None and 400 <= answer.status_code < 500 and answer.status_code not in ASK_AGAIN:
                item.refused, item.refusal = answer.status_code, answer.text[:500]
                return None
            if not item.patient or self.load.ended:
                return None
            time.sleep(wait * (1 + self.rng.random()))
            wait = min(wait * 1.7, 3.0)


def _event(client: Client) -> None:
    item = client.item
    body: dict[str, Any] = {
        "type": "order.created",
        "data": {
            "id": item.name,
            "number": str(item.number),
            "total": 100 + item.number,
            "currency": "KES",
            "items": [ORDERED],
        },
    }
    if item.number % 2:
        body["key"] = item.name
    item.answer = client.ask("/api/v1/events", key=item.key, json=body)


ORDERED = {"product": "print-20x30", "quantity": 2}


def _stock(client: Client) -> None:
    item = client.item
    shelf = f"shelf-{item.number % 7}"
    body = {
        "type": "stock.changed",
        "data": {"id": item.name, "left": item.number},
        "reference": {"type": "stock", "id": shelf},
    }
    item.answer = client.ask("/api/v1/events", key=item.key, json=body)


def _inbound(client: Client) -> None:
    item, source = client.item, client.load.hub.source
    order = {"id": item.name, "number": str(item.number), "total": 100 + item.number, "currency": "KES", "items": [ORDERED]}
    content = json.dumps(order).encode()
    signature = hmac.new(source.secret.encode(), content, hashlib.sha256).hexdigest()
    headers = {"X-Signature": signature, "Content-Type": "application/json"}
    item.answer = client.until_answered(source.url, data=content, headers=headers)
    if item.accepted and client.rng.random() < TWICE:
        item.sent_again += 1
        client.until_answered(source.url, data=content, headers=headers)


def _sms(client: Client) -> None:
    item = client.item
    body = {"to": list(item.numbers), "message": "Your order is ready.", "provider": "africastalking"}
    item.answer = client.ask("/api/v1/integrations/sms/send", key=item.key, json=body)


def _bulk(client: Client) -> None:
    item = client.item
    content = "Name,Phone\n" + "".join(f"Parent {place},{number}\n" for place, number in enumerate(item.numbers))
    files = {"file": ("parents.csv", content.encode(), "text/csv")}
    uploaded = client.ask("/api/v1/integrations/recipient-lists", key=f"{item.key} list", files=files)
    if uploaded is None:
        return
    body = {"channel": "sms", "message": "School is closed on Monday.", "category": "bulk", "provider": "africastalking"}
    path = f"/api/v1/integrations/recipient-lists/{uploaded['id']}/send"
    item.answer = client.ask(path, key=item.key, json=body)


def _payment(client: Client) -> None:
    item = client.item
    body = {
        "amount": AMOUNT,
        "currency": "KES",
        "method": {"type": "mobile_money", "phone": f"+{item.phone}"},
        "reference": {"type": "invoice", "id": item.name},
        "customer": {"name": "Jane Wanjiku"},
        "description": "Term 1 fees",
    }
    item.answer = client.ask("/api/payments/authorize", key=item.key, json=body)


ASKS: dict[str, Callable[[Client], None]] = {
    "event": _event,
    "stock": _stock,
    "inbound": _inbound,
    "sms": _sms,
    "bulk": _bulk,
    "payment": _payment,
}
