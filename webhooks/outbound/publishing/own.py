"""Events that a tenant's own systems hand in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.db import transaction

from integrations.contracts.errors import InvalidRequest
from integrations.contracts.ids import new_id
from integrations.events import DomainEvent, OwnEventAsked, emit
from webhooks.outbound.event_types import BY_NAME, is_reserved, is_type_name
from webhooks.outbound.models import Event
from webhooks.outbound.publishing import locks
from webhooks.outbound.publishing.formats import dump
from webhooks.outbound.publishing.validation import (
    MAX_DATA_BYTES,
    MAX_DATA_LEVELS,
    checked,
    flaw_of,
    problem_with,
    promise_of,
)


def check_own(*, tenant_id: int, type: str, data: Any = None) -> None:
    """Raise `InvalidRequest` (attr `type`, `data` or a place within `data`) unless a tenant's own system may say that this
    happened; without `data` unless it may at all. A type that nobody has defined is taken, and not validated. Needs no scope.
    """
    if not is_type_name(type):
        raise InvalidRequest("Write a dotted name in lower case, such as order.created.", attr="type")
    if is_reserved(type) or (type in BY_NAME and not BY_NAME[type].publishable):
        raise InvalidRequest("Only the hub itself says that this happened.", attr="type")
    promise = promise_of(tenant_id, type)
    if promise.archived:
        raise InvalidRequest("This type of yours is archived: define it again to bring it back.", attr="type")
    if data is None:
        return
    if not isinstance(data, dict):
        raise InvalidRequest("This must be a JSON object.", attr="data")
    if flaw := flaw_of(data, MAX_DATA_LEVELS):
        raise InvalidRequest(f"This {flaw}.", attr="data")
    if len(dump(data)) > MAX_DATA_BYTES:
        raise InvalidRequest(f"This is larger than {MAX_DATA_BYTES // 1024} kB.", attr="data")
    if problem := problem_with(promise, data):
        raise InvalidRequest(f"This {problem.message}, as the schema of {type} has it.", attr=problem.at("data"))


def publish_own(
    *,
    tenant_id: int,
    type: str,
    data: Mapping[str, Any],
    channels: Sequence[str] = (),
    object_type: str = "",
    object_id: str = "",
    key: str = "",
) -> tuple[Event, bool]:
    """Tell everybody in the hub, and whoever subscribes, that this happened; return the event, and whether it is a new one.

    With a `key` the tenant says it once for good: a second event of the same type and key is the first one, whatever its data.
    Raises `InvalidRequest` as `check_own` does, with nothing stored. Called inside the tenant's scope.
    """
    check_own(tenant_id=tenant_id, type=type, data=data)
    with transaction.atomic():
        if key:
            # Not for the event, which is unique by itself: for those who hear of it, and must hear of it once.
            locks.wait_for(f"{tenant_id}|{type}|{key}")
            if (stored := _stored(tenant_id, type, key)) is not None:
                return stored, False
        fact = DomainEvent(
            tenant_id=tenant_id,
            type=type,
            object=data,
            object_type=object_type,
            object_id=object_id,
            key=key or new_id("own"),
            channels=tuple(channels),
        )
        with checked(fact.key):
            emit(fact)
        event = _stored(tenant_id, type, fact.key)
        assert event is not None  # noqa: S101 outbound webhooks listen to the bus: wiring.py
        return event, True


def answer_own_event(asked: OwnEventAsked) -> str:
    """Tell why an event may not be said to have happened; empty where it may."""
    try:
        check_own(tenant_id=asked.tenant_id, type=asked.type, data=None if asked.object is None else dict(asked.object))
    except InvalidRequest as error:
        return f"{error.attr}: {error.message}" if asked.object is not None else error.message
    return ""


def _stored(tenant_id: int, type: str, key: str) -> Event | None:
    found: Event | None = Event.unscoped.filter(tenant_id=tenant_id, type=type, key=key).first()
    return found
