"""Forgetting what an exchange said, at a person's request; that it happened, when, and how it ended stays."""

from __future__ import annotations

from datetime import timedelta

from django.db import transaction
from django.utils import timezone

from integrations.contracts import clock
from integrations.contracts.errors import Conflict
from integrations.events import ExchangeErased, emit
from integrations.models import CallLog, LogStatus
from integrations.tenancy import audit

GOING_ON = timedelta(minutes=5)
"""No exchange takes longer: what is pending after that lost its process, and nothing more is written to it."""


def erase_log(*, log_id: int) -> CallLog:
    """Empty the headers and bodies of an exchange, its URL's query and what it failed of, which may quote them; of a request
    that came in, the stored request too, and what was made of its words. Erasing twice is once. Raises `CallLog.DoesNotExist`,
    and `Conflict` while the exchange is going on, the stored request still waits to be processed or what it told is being
    sent. Called inside the tenant's scope."""
    with transaction.atomic():
        row: CallLog = CallLog.objects.select_for_update().get(pk=log_id)
        if row.erased_at is not None:
            return row
        if row.status == LogStatus.PENDING and row.created > timezone.now() - GOING_ON:
            raise Conflict("The exchange is going on: try again in a few minutes.")
        row.request_headers, row.response_headers, row.request_body, row.response_body, row.error = {}, {}, "", "", ""
        row.url, row.erased_at = row.url.partition("?")[0], clock.now()
        fields = ["request_headers", "response_headers", "request_body", "response_body", "error", "url", "erased_at"]
        row.save(update_fields=fields)
        audit.record(
            tenant_id=row.tenant_id,
            action="log.erased",
            object_type="log",
            object_id=str(row.pk),
            object_name=f"{row.provider} {row.operation}",
        )
        emit(
            ExchangeErased(
                tenant_id=row.tenant_id,
                log_id=row.pk,
                direction=row.direction,
                provider=row.provider,
                operation=row.operation,
                external_reference=row.external_reference,
            )
        )
    return row
