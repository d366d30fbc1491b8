"""Publishing: an event and what is owed for it, in the transaction of the change that caused it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import structlog
from django.db import connection, transaction
from django.db.models.fields import NOT_PROVIDED

from integrations.contracts import clock
from integrations.contracts.ids import new_id
from integrations.events import DomainEvent
from integrations.models.base import ForeignWrite, scoped_tenant_ids
from integrations.runtime.alerts import raise_alert
from integrations.runtime.statements import read_row
from webhooks.outbound.delivery.schedule import MAX_AGE, attempts_of
from webhooks.outbound.models import Delivery, DeliveryState, Endpoint, Event, Ordering, subscribes
from webhooks.outbound.publishing import formats
from webhooks.outbound.publishing.filters import Allowance, matches
from webhooks.outbound.publishing.validation import is_checked, promise_of, report_if_broken

logger = structlog.get_logger(__name__)

CHANNEL = "hub_deliveries"
SPREAD_AT_ONCE = 50
"""Deliveries made in the publisher's own transaction at most. Where more endpoints want an event a worker makes them right
after the commit: the caller's locks are not held for a thousand inserts."""

UNASKED_ALERT = "webhook_filters_not_asked"

OPERATIONAL = "webhook."
"""Types that begin so tell of the webhooks themselves; an endpoint is never told of its own troubles."""


def publish(
    *,
    tenant_id: int,
    type: str,
    object: Mapping[str, Any],
    object_type: str = "",
    object_id: str = "",
    key: str,
    channels: Sequence[str] = (),
    type_version: int = 1,
    only: Sequence[Endpoint] | None = None,
) -> Event:
    """Store the event, and what is owed to each endpoint that wants it, in the caller's transaction.

    A second call with the same tenant, type and key returns the first event and adds nothing. Workers are woken when the
    transaction commits; a rollback leaves no trace. `object` must be what JSON can hold. Endpoints that are switched off are
    owed it too, held until they are on again. `only` names the endpoints that get it, whatever they subscribe to.
    """
    _refuse_foreign_scope(tenant_id)
    event_id, created = new_id("evt"), clock.now()
    event = Event(
        id=event_id,
        tenant_id=tenant_id,
        type=type,
        type_version=type_version,
        key=key,
        channels=list(channels),
        payload=formats.standard(event_id, type, created, object),
        object_type=object_type,
        object_id=object_id,
        created=created,
        spread_at=created,
    )
    allowance = Allowance()
    wanting = list(only) if only is not None else wanted_by(event, allowance)
    if len(wanting) > SPREAD_AT_ONCE:
        # Where an order is kept nothing may come later than what is published after it: their rows are made here always.
        wanting = [each for each in wanting if each.ordering != Ordering.NONE]
        event.spread_at = None
    if not _store(event, wanting):
        stored: Event = Event.unscoped.get(tenant_id=tenant_id, type=type, key=key)
        return stored
    if allowance.unasked:
        _tell_of_unasked(event, allowance.unasked)
    return event


def _store(event: Event, wanting: Sequence[Endpoint]) -> bool:
    """Store the event and what is owed for it, and wake the engines, in one statement; tell whether it is the first of its key.
    Waits for a twin that is not committed yet."""
    event_columns, static, insert = _statement()
    owed = [new_debt(each, event) for each in wanting]
    values: list[Any] = [field.get_db_prep_save(getattr(event, field.attname), connection) for field in event_columns]
    with connection.cursor() as cursor:
        if not wanting and event.spread_at is not None:
            cursor.execute(f"{insert[0]} {_ONCE}", values)
            return bool(cursor.rowcount)
        now = event.created
        values += [event.tenant_id, event.pk, now, now + MAX_AGE, now, *static]
        values += [[new_id("dlv") for _ in wanting], [each.pk for each in wanting]]
        values += [[str(each[name]) for each in owed] for name in _OWED]
        cursor.execute(f"{insert[1]}", [*values, CHANNEL])
        return cursor.fetchone() is not None


_ONCE = "ON CONFLICT (tenant_id, type, key) DO NOTHING"
_OWED = ("state", "order_key", "attempts_allowed")
_OF_ALL = ("tenant_id", "event_id", "due_at", "expires_at", "created")


@lru_cache(maxsize=1)
def _statement() -> tuple[list[Any], list[Any], tuple[str, str]]:
    """Return the fields of an event, what all new deliveries begin with besides, and the statements: the event alone, and the
    event with its deliveries."""
    fields: list[Any] = list(Event._meta.concrete_fields)
    named = {*_OF_ALL, *_OWED, "id", "endpoint_id"}
    beginnings: dict[str, Any] = {
        str(each.column): each.get_default()
        for each in Delivery._meta.concrete_fields
        if each.column not in named and not each.null and each.db_default is NOT_PROVIDED
    }
    event = (
        f'INSERT INTO "{Event._meta.db_table}" ({", ".join(str(each.column) for each in fields)}) '  # noqa: S608 names of our own
        f"VALUES ({', '.join(['%s'] * len(fields))})"
    )
    shared = [*_OF_ALL, *beginnings]
    both = (
        f"WITH published AS ({event} {_ONCE} RETURNING 1), owed AS ("  # noqa: S608 the same
        f'INSERT INTO "{Delivery._meta.db_table}" ({", ".join([*shared, "id", "endpoint_id", *_OWED])}) '
        f"SELECT {', '.join(['%s'] * len(shared))}, id, endpoint_id, state, order_key, attempts_allowed::int "
        "FROM published, unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::text[]) "
        "AS each(id, endpoint_id, state, order_key, attempts_allowed) ON CONFLICT DO NOTHING) "
        "SELECT pg_notify(%s, '') FROM published"
    )
    return fields, list(beginnings.values()), (event, both)


def on_domain_event(event: DomainEvent) -> None:
    """Publish a fact of a feature; its `private` part stays inside. One that breaks its schema is published all the same, and
    raises an alert: what it tells of has happened."""
    promise = promise_of(event.tenant_id, event.type)
    stored = publish(
        tenant_id=event.tenant_id,
        type=event.type,
        object=event.object,
        object_type=event.object_type,
        object_id=event.object_id,
        key=event.key,
        channels=event.channels,
        type_version=promise.version,
    )
    if not is_checked(event.key):
        report_if_broken(event.tenant_id, event.type, promise, stored.payload)


def wanted_by(event: Event, allowance: Allowance | None = None) -> list[Endpoint]:
    """Return the endpoints that want this event, by type, channel and filter; those that are switched off included. They hold
    what publishing needs to know of them, and read the rest when it is asked for.

    Filters that would take too long let it through: counted in the `allowance`, without one the tenant gets an alert.
    """
    endpoints = _endpoints_of(event.tenant_id)
    given = allowance or Allowance()
    # As JSON, which is what receivers see: a filter must say the same of it now and when it is replayed. Of an event that is
    # being published it is only read where a filter asks; a stored one that can't be read is not to be spread.
    body = json.loads(event.payload) if allowance is None or any(each.filter for each in endpoints) else {}
    wanting = [each for each in endpoints if wants(each, event, body, given)]
    if allowance is None and given.unasked:
        _tell_of_unasked(event, given.unasked)
    return wanting


_READ = tuple(
    each
    for each in Endpoint._meta.concrete_fields
    if each.attname
    in {
        "id",
        "tenant_id",
        "events",
        "channels",
        "filter",
        "ordering",
        "batch_size",
        "retry_delays",
        "is_active",
    }
)
_NAMES = [each.attname for each in _READ]
_ENDPOINTS = (
    f'SELECT {", ".join(str(each.column) for each in _READ)} FROM "{Endpoint._meta.db_table}" '  # noqa: S608 names of our own
    "WHERE tenant_id = %s AND deleted_at IS NULL ORDER BY id"
)


def _endpoints_of(tenant_id: int) -> list[Endpoint]:
    with connection.cursor() as cursor:
        cursor.execute(_ENDPOINTS, [tenant_id])
        rows = cursor.fetchall()
    return [read_row(Endpoint, _READ, _NAMES, row) for row in rows]


def wants(endpoint: Endpoint, event: Event, body: Mapping[str, Any], allowance: Allowance | None = None) -> bool:
    """Tell whether an endpoint subscribes to the event's type, shares a channel with it and lets its content through."""
    if not subscribes(endpoint.events, event.type):
        return False
    if event.type.startswith(OPERATIONAL) and event.object_id == endpoint.pk:
        return False
    if endpoint.channels and not set(endpoint.channels) & set(event.channels):
        return False
    return matches(endpoint.filter, body, allowance)


def _tell_of_unasked(event: Event, count: int) -> None:
    logger.warning("event_filters_not_asked", event_id=event.pk, tenant=event.tenant_id, filters=count)
    # After the commit: the row of the alert is one for all events of the type, and no booking should wait for another's.
    transaction.on_commit(
        lambda: raise_alert(
            tenant_id=event.tenant_id,
            kind=UNASKED_ALERT,
            subject=event.type,
            message=f"An event {event.type} is so large that {count} filters were not applied in full: their endpoints get it.",
        ),
        robust=True,
    )


def owe(event: Event, endpoints: Iterable[Endpoint], **fields: Any) -> list[Delivery]:
    """Make the deliveries of an event. One that there is already (the same event and endpoint) is left as it is."""
    now = clock.now()
    deliveries = [
        Delivery(
            **{
                "tenant_id": event.tenant_id,
                "event": event,
                "endpoint": endpoint,
                **new_debt(endpoint, event),
                "due_at": now,
                "expires_at": now + MAX_AGE,
                "created": now,
                **fields,
            }
        )
        for endpoint in endpoints
    ]
    if deliveries:
        Delivery.unscoped.bulk_create(deliveries, ignore_conflicts=True)
        nudge()
    return deliveries


def new_debt(endpoint: Endpoint, event: Event) -> dict[str, Any]:
    """Return how a delivery of the event to the endpoint begins, as far as it is not the same for all endpoints."""
    return {
        "state": _first_state(endpoint),
        "order_key": order_key(endpoint, event),
        "attempts_allowed": attempts_of(endpoint.retry_delays),
    }


def _first_state(endpoint: Endpoint) -> DeliveryState:
    if not endpoint.is_active:
        return DeliveryState.HELD
    return DeliveryState.GATHERING if endpoint.batch_size > 1 else DeliveryState.PENDING


def order_key(endpoint: Endpoint, event: Event) -> str:
    """Return what a delivery shares with those that it must not overtake; empty where it may overtake all."""
    if endpoint.ordering == Ordering.NONE:
        return ""
    if endpoint.ordering == Ordering.ALL or endpoint.batch_size > 1 or not event.object_id:
        return "*"
    return f"{event.object_type}:{event.object_id}"


def nudge() -> None:
    """Wake the delivery engines once the current transaction commits."""
    with connection.cursor() as cursor:
        cursor.execute(f"NOTIFY {CHANNEL}")


def _refuse_foreign_scope(tenant_id: int) -> None:
    scoped = scoped_tenant_ids()
    if scoped and tenant_id not in scoped:
        raise ForeignWrite(f"event of tenant {tenant_id} published in the scope of {sorted(scoped)}")
