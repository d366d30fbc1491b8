"""How long the tenant keeps what the core records: calls, queue, requests that came in, messages."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from integrations.models import LogRetention
from integrations.runtime import keeping
from integrations.tenancy.serializers import StrictSerializer
from integrations.tenancy.views import TenantAPIView, tenant_of


def _days(about: str, *, writable: bool, least: int = 1) -> Any:
    bounds: dict[str, Any] = {"min_value": least, "max_value": keeping.LONGEST_DAYS, "default": None} if writable else {}
    return serializers.IntegerField(allow_null=True, help_text=about, **bounds)


class LogRetentionInput(StrictSerializer):
    """The whole policy; null, or left out: the installation's setting."""

    call_log_days = _days("Calls to and from providers.", writable=True)
    failed_call_log_days = _days("Those that failed.", writable=True)
    queue_days = _days("Work that was done or cancelled, since then; 7 or more.", writable=True, least=7)
    failed_queue_days = _days("Work that failed, since then; 7 or more.", writable=True, least=7)
    receipt_days = _days(
        "Webhook requests as they came in (of those that failed at least as long as failed calls).", writable=True
    )
    message_days = _days("Messages, sent and received: 0 for good, else 32 or more.", writable=True, least=0)


class LogRetentionDays(serializers.Serializer[Any]):
    call_log_days = serializers.IntegerField()
    failed_call_log_days = serializers.IntegerField()
    queue_days = serializers.IntegerField()
    failed_queue_days = serializers.IntegerField()
    receipt_days = serializers.IntegerField()
    message_days = serializers.IntegerField()


class LogRetentionOutput(serializers.Serializer[Any]):
    """What the tenant has set (null: nothing), and in `effective` what holds."""

    call_log_days = _days("Calls to and from providers.", writable=False)
    failed_call_log_days = _days("Those that failed.", writable=False)
    queue_days = _days("Work that was done or cancelled, since then.", writable=False)
    failed_queue_days = _days("Work that failed, since then.", writable=False)
    receipt_days = _days(
        "Webhook requests as they came in (of those that failed at least as long as failed calls).", writable=False
    )
    message_days = _days("Messages, sent and received; 0: for good.", writable=False)
    effective = LogRetentionDays()


class LogRetentionView(TenantAPIView):
    """How many days the tenant keeps what the core records; what waits, runs or needs a person is never deleted."""

    key_scope = "retention"

    @extend_schema(responses=LogRetentionOutput)
    def get(self, request: Request) -> Response:
        return self._shown(keeping.policy_of(tenant_of(request)))

    @extend_schema(request=LogRetentionInput, responses=LogRetentionOutput)
    def put(self, request: Request) -> Response:
        given = LogRetentionInput(data=request.data)
        given.is_valid(raise_exception=True)
        return self._shown(keeping.save_policy(tenant=tenant_of(request), values=given.validated_data))

    @staticmethod
    def _shown(policy: LogRetention) -> Response:
        own = {name: getattr(policy, name) for name in keeping.FIELDS}
        return Response({**own, "effective": asdict(keeping.kept_by(policy))})
