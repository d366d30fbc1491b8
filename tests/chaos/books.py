"""What each side wrote down: the hub's database, the receivers, the providers' simulators. Read once, when all is quiet."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter, defaultdict
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.hub import Hub

Row = dict[str, Any]
EVENT_TYPES = {"order.created": "event", "stock.changed": "stock", "order.paid": "inbound"}

_EVENTS = """
SELECT id, type, object_id, payload::jsonb -> 'data' -> 'object' ->> 'id' AS item FROM webhooks_outbound_event
WHERE type = ANY(%s) ORDER BY id
"""
_DELIVERIES = """
SELECT d.id, d.event_id, d.endpoint_id, d.order_key, d.position, d.state, d.dead_reason, d.last_error,
    (SELECT array_agg(t.error_class ORDER BY t.number) FROM webhooks_outbound_deliveryattempt t WHERE t.delivery_id = d.id)
        AS tries
FROM webhooks_outbound_delivery d
"""
_TEXTS = """
SELECT r.address, r.state, r.detail, m.id AS message, m.reference_type, m.reference_id FROM messaging_recipient r
JOIN messaging_message m ON m.id = r.message_id WHERE m.channel = 'sms'
"""
_PAYMENTS = (
    "SELECT id, reference_id, status, amount_captured, receipt, failure FROM payments_payment WHERE reference_type = 'invoice'"
)
_UNKNOWN = """
SELECT i.reference_id, i.payload, i.kind, i.state, i.last_error FROM integrations_queueitem i
WHERE i.state IN ('unknown', 'needs_review')
    OR EXISTS (SELECT 1 FROM integrations_attempt a WHERE a.item_id = i.id AND a.state = 'unknown')
"""


@dataclass
class Books:
    """Everything that was written down, by what it is looked up by."""

    events_of: dict[str, list[Row]] = field(default_factory=lambda: defaultdict(list))
    events: dict[str, Row] = field(default_factory=dict)
    deliveries: dict[tuple[str, str], Row] = field(default_factory=dict)
    texts: dict[str, list[Row]] = field(default_factory=lambda: defaultdict(list))
    at_phones: Counter[str] = field(default_factory=Counter)
    payments: dict[str, list[Row]] = field(default_factory=lambda: defaultdict(list))
    completed: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    pushes: dict[str, list[Row]] = field(default_factory=lambda: defaultdict(list))
    money: dict[str, list[Row]] = field(default_factory=lambda: defaultdict(list))
    taken: dict[str, dict[str, int]] = field(default_factory=dict)
    """By the receiver's name: how many copies of each event it took."""

    doubtful: set[str] = field(default_factory=set)
    """Payments, messages and recipients over which a call's outcome was unknown, by their ids."""


def read(hub: Hub) -> Books:
    books = Books(taken={receiver.name: receiver.taken() for receiver in hub.receivers})
    for row in hub.rows(_EVENTS, list(EVENT_TYPES)):
        books.events_of[row["item"]].append(row)
        books.events[row["id"]] = row
    books.deliveries = {(row["event_id"], row["endpoint_id"]): row for row in hub.rows(_DELIVERIES)}
    for row in hub.rows(_TEXTS):
        books.texts[row["address"]].append(row)
    for row in hub.rows(_PAYMENTS):
        books.payments[row["reference_id"]].append(row)
    for row in hub.rows("SELECT id, object_id FROM webhooks_outbound_event WHERE type = 'payment.completed'"):
        books.completed[row["object_id"]].append(row["id"])
    for row in hub.rows(_UNKNOWN):
        books.doubtful.add(str(row["reference_id"]))
        books.doubtful.update(f"recipient {each}" for each in row["payload"].get("recipients", []))
    _read_providers(hub, books)
    return books


def _read_providers(hub: Hub, books: Books) -> None:
    """The simulators' own books, whole: their control API shows the last ones only."""
    path = hub.books / "simulators" / "simulators.sqlite3"
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:

        def documents(slug: str, kind: str) -> list[tuple[str, Row]]:
            found = connection.execute("SELECT ref, data FROM documents WHERE slug = ? AND kind = ?", (slug, kind))
            return [(ref, json.loads(data)) for ref, data in found]

        books.at_phones.update(ref for ref, _data in documents("africastalking", "message"))
        for ref, data in documents("mpesa", "push"):
            books.pushes[ref].append(data)
        for ref, data in documents("mpesa", "transaction"):
            books.money[ref].append(data)


def state_of_the_house(hub: Hub) -> dict[str, Any]:
    """Return what should not be there any more, and what is there to be known: leases, alerts, states, sessions."""

    def counted(sql: str) -> dict[str, int]:
        return {" ".join(str(value) for key, value in row.items() if key != "n"): row["n"] for row in hub.rows(sql)}

    return {
        "leaks": {
            "queue items with a lease that nobody holds": _number(
                hub, "SELECT count(*) AS n FROM integrations_queueitem WHERE lease IS NOT NULL AND state <> 'processing'"
            ),
            "deliveries with a lease that nobody holds": _number(
                hub, "SELECT count(*) AS n FROM webhooks_outbound_delivery WHERE lease IS NOT NULL AND state <> 'pending'"
            ),
            "attempts still sending": _number(
                hub,
                "SELECT count(*) AS n FROM integrations_attempt a JOIN integrations_queueitem i ON i.id = a.item_id"
                " WHERE a.state = 'sending' AND i.state <> 'processing'",
            ),
            "transactions left open": _number(
                hub,
                "SELECT count(*) AS n FROM pg_stat_activity WHERE state LIKE 'idle in transaction%%'"
                " AND state_change < clock_timestamp() - interval '5 s'",
            ),
            "advisory locks held by idle sessions": _number(
                hub,
                "SELECT count(*) AS n FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid WHERE l.locktype = 'advisory'"
                " AND a.state = 'idle' AND a.state_change < clock_timestamp() - interval '60 s'",
            ),
        },
        "sessions": counted(
            "SELECT state, count(*) AS n FROM pg_stat_activity WHERE backend_type = 'client backend' GROUP BY 1"
        ),
        "queue": counted("SELECT kind, state, count(*) AS n FROM integrations_queueitem GROUP BY 1, 2 ORDER BY 1, 2"),
        "receipts": counted("SELECT status, count(*) AS n FROM webhooks_inbound_receipt GROUP BY 1"),
        "calls without an end on record": _number(
            hub, "SELECT count(*) AS n FROM integrations_calllog WHERE status = 'pending' AND direction = 'outbound'"
        ),
        "rate slots of the dead": _number(
            hub, "SELECT count(*) AS n FROM integrations_rateslot WHERE lapses_at < now() - interval '1 hour'"
        ),
        "alerts": counted(
            "SELECT kind, level, resolved_at IS NULL AS open, count(*) AS n FROM integrations_alert GROUP BY 1, 2, 3"
        ),
        "attempts": counted(
            "SELECT CASE error_class WHEN '' THEN 'well' ELSE error_class END AS how, count(*) AS n"
            " FROM webhooks_outbound_deliveryattempt GROUP BY 1"
        ),
    }


def _number(hub: Hub, sql: str) -> int:
    return int(hub.rows(sql)[0]["n"])
