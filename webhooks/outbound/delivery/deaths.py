"""Telling the tenant's other endpoints of dead letters: thousands may die at once, so this is the queue's work and not done
where they are settled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from django.db import InterfaceError, OperationalError, transaction

from integrations.events import DomainEvent, emit
from integrations.models import QueueItem
from integrations.runtime.jobs import LocalJob
from integrations.runtime.queue import enqueue
from webhooks.outbound.models import DeadReason, Delivery, Endpoint, Event

logger = structlog.get_logger(__name__)

KIND = "webhook.deaths"
AT_ONCE = 200
"""Deaths that one queue item tells of: each makes an event, and deliveries of it."""


@dataclass(frozen=True, slots=True)
class Death:
    """A delivery that failed for good, in the transaction that says so."""

    endpoint_id: str
    delivery_id: str
    event_id: str
    reason: DeadReason
    error: str
    event_type: str = ""


def plan(endpoint: Endpoint, deaths: Sequence[Death]) -> None:
    """Queue the events about deaths of one endpoint, in the caller's transaction."""
    # A delivery may die more than once, each time that a person sends it again.
    numbers = dict(Delivery.unscoped.filter(pk__in=[each.delivery_id for each in deaths]).values_list("pk", "attempts"))
    told = [[each.delivery_id, each.event_id, numbers.get(each.delivery_id), each.reason.value, each.error] for each in deaths]
    for first in range(0, len(told), AT_ONCE):
        enqueue(
            tenant_id=endpoint.tenant_id,
            kind=KIND,
            payload={"endpoint": endpoint.pk, "deaths": told[first : first + AT_ONCE]},
            reference=("webhook", endpoint.pk),
        )


class DeathsJob(LocalJob):
    """Emits one `webhook.delivery_dead` for each death. Done twice it is the same events."""

    kind = KIND

    def run(self, item: QueueItem) -> None:
        endpoint = Endpoint.unscoped.get(pk=item.payload["endpoint"], tenant_id=item.tenant_id)
        deaths: list[list[Any]] = item.payload["deaths"]
        types = dict(Event.unscoped.filter(pk__in=[each[1] for each in deaths]).values_list("pk", "type"))
        for delivery_id, event_id, number, reason, error in deaths:
            object = {
                # Never its URL, which may hold a token.
                "endpoint": endpoint.pk,
                "name": str(endpoint),
                "delivery": delivery_id,
                "event": event_id,
                "event_type": types.get(event_id, ""),
                "reason": reason,
                "error": error,
            }
            event = DomainEvent(
                tenant_id=item.tenant_id,
                type="webhook.delivery_dead",
                object=object,
                object_type="webhook",
                object_id=endpoint.pk,
                key=f"{delivery_id}:{number}",
            )
            _emit(event)


def _emit(event: DomainEvent) -> None:
    try:
        with transaction.atomic():
            emit(event)
    except (OperationalError, InterfaceError):
        raise  # the database is away: all of it is done again
    except Exception:
        logger.exception("webhook_notice_broke", endpoint=event.object_id, notice="died")  # one must not silence the others
