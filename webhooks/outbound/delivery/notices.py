"""What the tenant is told about its endpoints: warned, switched off, well again, dead letters."""

from __future__ import annotations

from integrations.runtime.alerts import raise_alert, resolve_alert
from webhooks.outbound.models import DeadReason, Endpoint

FAILING_ALERT = "webhook_endpoint_failing"
DISABLED_ALERT = "webhook_endpoint_disabled"
DEAD_ALERT = "webhook_delivery_failed"


def failing(endpoint: Endpoint, percent: int) -> None:
    """The endpoint has used up so much (50, 70, 90) of what it may fail before it is switched off."""
    raise_alert(
        tenant_id=endpoint.tenant_id,
        kind=FAILING_ALERT,
        subject=endpoint.pk,
        message=f"The webhook endpoint {endpoint} keeps failing: {percent} % of the way to being switched off.",
    )


def recovered(endpoint: Endpoint) -> None:
    """An endpoint that was warned about took an event again."""
    for kind in (FAILING_ALERT, DEAD_ALERT):
        resolve_alert(tenant_id=endpoint.tenant_id, kind=kind, subject=endpoint.pk)


def disabled(endpoint: Endpoint, reason: str) -> None:
    """The hub switched the endpoint off."""
    raise_alert(
        tenant_id=endpoint.tenant_id,
        kind=DISABLED_ALERT,
        subject=endpoint.pk,
        message=f"The webhook endpoint {endpoint} was switched off: {reason}. What it is owed is kept.",
    )


def enabled(endpoint: Endpoint) -> None:
    """A person switched the endpoint on."""
    for kind in (FAILING_ALERT, DISABLED_ALERT, DEAD_ALERT):
        resolve_alert(tenant_id=endpoint.tenant_id, kind=kind, subject=endpoint.pk)


def forget(endpoint: Endpoint) -> None:
    """The endpoint was deleted: nothing about it needs a person any more."""
    enabled(endpoint)


def died(endpoint: Endpoint, delivery_id: str, event_id: str, event_type: str, reason: DeadReason, error: str) -> None:
    """A delivery failed for good."""
    raise_alert(
        tenant_id=endpoint.tenant_id,
        kind=DEAD_ALERT,
        subject=endpoint.pk,
        message="An event could not be delivered to this webhook endpoint and will not be tried again by itself.",
    )
