"""What the tenant is told about its endpoints: warned, switched off, well again, dead letters.

Each of them is an alert in the console, an event to the tenant's other endpoints (never to the one that it is about) and, where
a person has to act, a mail to the tenant's admins. Called in the transaction that changes the endpoint or settles a delivery:
all of it commits with that, and the network is not touched. What can't be told never undoes what it is about.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, TypeVar, cast

import structlog
from django.conf import settings
from django.db import InterfaceError, OperationalError, transaction
from django.urls import reverse
from django_scopes import scope

from integrations.contracts import clock
from integrations.events import AdminNotice, DomainEvent, emit
from integrations.models import Alert, Tenant
from integrations.runtime.alerts import raise_alert, resolve_alert
from webhooks.outbound.delivery import deaths, digest
from webhooks.outbound.delivery.deaths import Death
from webhooks.outbound.models import Delivery, Endpoint, EndpointHealth
from webhooks.outbound.publishing.formats import iso
from webhooks.outbound.publishing.publish import OPERATIONAL

logger = structlog.get_logger(__name__)

FAILING_ALERT = "webhook_endpoint_failing"
DISABLED_ALERT = "webhook_endpoint_disabled"
DEAD_ALERT = "webhook_delivery_failed"
OBJECT_TYPE = "webhook"

Told = TypeVar("Told", bound=Callable[..., None])


def _never_in_the_way(tell: Told) -> Told:
    """Let a notice break by itself: a delivery that arrived is settled whatever becomes of the word about it."""

    @wraps(tell)
    def wrapper(endpoint: Endpoint, *args: Any, **kwargs: Any) -> None:
        try:
            with transaction.atomic(), scope(tenant=Tenant(pk=endpoint.tenant_id)):
                tell(endpoint, *args, **kwargs)
        except (OperationalError, InterfaceError):
            raise  # the database is away: what the notice is about is lost too, and is done again
        except Exception:
            logger.exception("webhook_notice_broke", endpoint=endpoint.pk, notice=tell.__name__)

    return cast(Told, wrapper)


@_never_in_the_way
def failing(endpoint: Endpoint, percent: int) -> None:
    """The endpoint has used up so much (50, 70, 90) of what it may fail before it is switched off."""
    raise_alert(
        tenant_id=endpoint.tenant_id,
        kind=FAILING_ALERT,
        subject=endpoint.pk,
        message=f"The webhook endpoint {endpoint} keeps failing: {percent} % of the way to being switched off.",
    )
    health = _health(endpoint)
    since = iso(health.failing_since) if health.failing_since else None
    last_error = _last_error(endpoint)
    key = f"{endpoint.pk}:{since or iso(clock.now())}:{percent}"
    emit(
        DomainEvent(
            tenant_id=endpoint.tenant_id,
            type="webhook.endpoint_failing",
            object={
                **_named(endpoint),
                "percent": percent,
                "failures": health.failures,
                "failing_since": since,
                "last_error": last_error,
            },
            object_type=OBJECT_TYPE,
            object_id=endpoint.pk,
            key=key,
        )
    )
    _mail(
        endpoint,
        f"Webhook endpoint {endpoint} keeps failing ({percent} %)",
        f"The webhook endpoint {endpoint} has failed {health.failures} times in a row since {since or 'a while'}"
        f" (UTC). It is {percent} % of the way to being switched off.\n\nThe last error: {last_error or 'none is known'}.\n\n"
        "Nothing is lost: what it is owed is tried again, and kept should it be switched off.",
        key=f"webhook-failing:{key}",
    )


@_never_in_the_way
def recovered(endpoint: Endpoint) -> None:
    """An endpoint that was warned about took an event again."""
    for kind in (FAILING_ALERT, DEAD_ALERT):
        resolve_alert(tenant_id=endpoint.tenant_id, kind=kind, subject=endpoint.pk)
    key = f"{endpoint.pk}:{clock.now().isoformat()}"
    emit(
        DomainEvent(
            tenant_id=endpoint.tenant_id,
            type="webhook.endpoint_recovered",
            object=_named(endpoint),
            object_type=OBJECT_TYPE,
            object_id=endpoint.pk,
            key=key,
        )
    )
    _mail(
        endpoint,
        f"Webhook endpoint {endpoint} works again",
        f"The webhook endpoint {endpoint}, which you were warned about, takes events again. What failed for good meanwhile can"
        " be sent once more from its page.",
        key=f"webhook-recovered:{key}",
    )


@_never_in_the_way
def disabled(endpoint: Endpoint, reason: str) -> None:
    """The hub switched the endpoint off."""
    raise_alert(
        tenant_id=endpoint.tenant_id,
        kind=DISABLED_ALERT,
        subject=endpoint.pk,
        message=f"The webhook endpoint {endpoint} was switched off: {reason}. What it is owed is kept.",
        level=Alert.Level.CRITICAL.value,
    )
    resolve_alert(tenant_id=endpoint.tenant_id, kind=FAILING_ALERT, subject=endpoint.pk)
    health = _health(endpoint)
    key = f"{endpoint.pk}:{(endpoint.disabled_at or clock.now()).isoformat()}"
    emit(
        DomainEvent(
            tenant_id=endpoint.tenant_id,
            type="webhook.endpoint_disabled",
            object={
                **_named(endpoint),
                "reason": reason,
                "failures": health.failures,
                "failing_since": iso(health.failing_since) if health.failing_since else None,
            },
            object_type=OBJECT_TYPE,
            object_id=endpoint.pk,
            key=key,
        )
    )
    _mail(
        endpoint,
        f"Webhook endpoint {endpoint} was switched off",
        f"The webhook endpoint {endpoint} was switched off: {reason}.\n\nWhat it is owed is kept, and so is what happens from"
        " now on. Mend the receiving system, then switch the endpoint on again: you choose whether to send what was kept.",
        key=f"webhook-disabled:{key}",
    )


@_never_in_the_way
def enabled(endpoint: Endpoint) -> None:
    """A person switched the endpoint on."""
    _settle_alerts(endpoint)
    emit(
        DomainEvent(
            tenant_id=endpoint.tenant_id,
            type="webhook.endpoint_enabled",
            object=_named(endpoint),
            object_type=OBJECT_TYPE,
            object_id=endpoint.pk,
            key=f"{endpoint.pk}:{clock.now().isoformat()}",
        )
    )


@_never_in_the_way
def forget(endpoint: Endpoint) -> None:
    """The endpoint was deleted: nothing about it needs a person any more."""
    _settle_alerts(endpoint)


@_never_in_the_way
def died(endpoint: Endpoint, dead: Sequence[Death]) -> None:
    """Deliveries to it failed for good. One that told of the webhooks themselves makes no further event: that would never
    end. The events about the others are left to the queue."""
    raise_alert(
        tenant_id=endpoint.tenant_id,
        kind=DEAD_ALERT,
        subject=endpoint.pk,
        message="An event could not be delivered to this webhook endpoint and will not be tried again by itself.",
    )
    digest.plan(endpoint.tenant_id)
    if others := [each for each in dead if not each.event_type.startswith(OPERATIONAL)]:
        deaths.plan(endpoint, others)


# --- what they have in common ---------------------------------------------------------------------------------------------


def _named(endpoint: Endpoint) -> dict[str, str]:
    """Return what names an endpoint outside: never its URL, which may hold a token."""
    return {"endpoint": endpoint.pk, "name": str(endpoint)}


def _health(endpoint: Endpoint) -> EndpointHealth:
    found = EndpointHealth.unscoped.filter(endpoint_id=endpoint.pk).first()
    return found or EndpointHealth(tenant_id=endpoint.tenant_id, endpoint_id=endpoint.pk)


def _last_error(endpoint: Endpoint) -> str:
    tried = Delivery.unscoped.filter(endpoint_id=endpoint.pk, attempts__gt=0).exclude(last_error="")
    return tried.order_by("-id").values_list("last_error", flat=True).first() or ""


def _settle_alerts(endpoint: Endpoint) -> None:
    for kind in (FAILING_ALERT, DISABLED_ALERT, DEAD_ALERT):
        resolve_alert(tenant_id=endpoint.tenant_id, kind=kind, subject=endpoint.pk)


def _mail(endpoint: Endpoint, subject: str, text: str, *, key: str) -> None:
    page = settings.PUBLIC_BASE_URL + reverse("admin:webhooks_outbound_endpoint_change", args=[endpoint.pk])
    emit(AdminNotice(tenant_id=endpoint.tenant_id, subject=subject, text=f"{text}\n\nIts page: {page}\n", key=key))
