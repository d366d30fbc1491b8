"""Waiting until the hub owes nothing any more. What is only to come later is brought near by turning all clocks forward."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import psycopg

from tests.chaos.hub import Hub

FARTHEST = 3 * 3600.0
"""Seconds that the clocks are turned on at most: a payment that nobody can tell about waits an hour for its callback."""

SPARE = 1.0

_QUEUE = """
SELECT count(*) FILTER (WHERE state = 'processing') AS running, count(*) FILTER (WHERE state = 'pending') AS waiting,
    min(due_at) FILTER (WHERE state = 'pending') AS next
FROM integrations_queueitem WHERE state IN ('pending', 'processing')
"""
_DELIVERIES = """
SELECT count(*) FILTER (WHERE lease IS NOT NULL) AS running, count(*) AS waiting, min(due_at) AS next
FROM webhooks_outbound_delivery WHERE state IN ('pending', 'gathering', 'held')
"""
_LISTS = """
SELECT count(*) AS running, 0 AS waiting, NULL::timestamptz AS next FROM messaging_message
WHERE recipient_list_id IS NOT NULL AND prepared_at IS NULL AND cancelled_at IS NULL
"""
_EVENTS = """
SELECT count(*) AS running, 0 AS waiting, NULL::timestamptz AS next FROM webhooks_outbound_event WHERE spread_at IS NULL
"""

LOOKS = {"queue": _QUEUE, "deliveries": _DELIVERIES, "lists": _LISTS, "events": _EVENTS}


@dataclass
class Settled:
    """How the waiting ended. `turned` is how far the clocks were turned (seconds)."""

    quiet: bool = False
    seconds: float = 0.0
    turned: float = 0.0
    turns: int = 0
    left: dict[str, Any] = field(default_factory=dict)


def settle(hub: Hub, *, limit: float, farthest: float = FARTHEST) -> Settled:
    """Wait at most `limit` seconds until nothing is running or waiting, but what is due later than `farthest` from now."""
    began = time.monotonic()
    found = Settled()
    calm = 0
    while time.monotonic() - began < limit:
        time.sleep(0.5)
        try:
            found.left = {name: hub.rows(sql)[0] for name, sql in LOOKS.items()}
        except psycopg.Error:
            calm = 0
            continue
        if any(each["running"] for each in found.left.values()):
            calm = 0
            continue
        due = min((each["next"] for each in found.left.values() if each["next"] is not None), default=None)
        ahead = 0.0 if due is None else _seconds_to(due) - found.turned
        if due is not None and ahead <= 0:
            calm = 0  # somebody should be at it just now
        elif due is None or found.turned + ahead > farthest:
            calm += 1
            if calm >= 4:
                found.quiet = True
                break
        else:
            # Only when nothing runs: a lease that lapses under its living owner is another test.
            found.turned += ahead + SPARE
            found.turns += 1
            hub.clock.turn("all", found.turned)
            time.sleep(0.5)
    found.seconds = round(time.monotonic() - began, 1)
    found.left = {name: {key: str(value) for key, value in each.items()} for name, each in found.left.items()}
    return found


def _seconds_to(moment: datetime) -> float:
    return moment.timestamp() - time.time()
