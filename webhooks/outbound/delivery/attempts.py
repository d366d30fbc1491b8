"""The rows of tries, unsaved: of one that has ended, and of one whose worker never came back."""

from __future__ import annotations

from datetime import datetime, timedelta

from webhooks.outbound.delivery.sender import ErrorClass, Outcome
from webhooks.outbound.models import DeliveryAttempt


def attempt_of(outcome: Outcome) -> DeliveryAttempt:
    claimed = outcome.claimed
    return DeliveryAttempt(
        tenant_id=claimed.tenant_id,
        delivery_id=claimed.id,
        number=claimed.number,
        started_at=outcome.started_at,
        finished_at=outcome.finished_at,
        lag_ms=min(claimed.lag_ms, 2**31 - 1),
        status_code=outcome.status_code,
        duration_ms=outcome.duration_ms,
        error_class=outcome.error_class or "",
        error=outcome.error,
        request_headers=dict(outcome.request_headers),
        response_headers=dict(outcome.response_headers),
        response_head=outcome.response_head,
        address=outcome.address,
    )


def lost_attempt(
    tenant_id: int, delivery_id: str, number: int, until: datetime, lease: timedelta, now: datetime
) -> DeliveryAttempt:
    """Return the row (unsaved) of an attempt whose worker never came back; its lease ended at `until`."""
    return DeliveryAttempt(
        tenant_id=tenant_id,
        delivery_id=delivery_id,
        number=number,
        started_at=until - lease,
        finished_at=now,
        error_class=ErrorClass.LOST,
        error="the worker died or hung during this attempt; whether it arrived is not known",
    )
