"""`POST /api/hooks/notify`: say something to somebody over any channel, simulated unless told otherwise, logged always."""

from __future__ import annotations

import json
from typing import Any

from django.db import transaction
from django.http import Http404
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from integrations.contracts.errors import UnsupportedOperation
from integrations.http.guard import BlockedAddress, check_url
from integrations.messaging.sms.numbers import normalise_all
from integrations.messaging.sms.services import send_sms
from integrations.models import CallLog, Direction, LogStatus, Tenant
from integrations.runtime.idempotency import attach, idempotent
from integrations.tenancy.serializers import StrictSerializer
from integrations.tenancy.views import StaffAPIView, tenant_of
from integrations_site.platform.queue import actor

CHANNELS = ["email", "sms", "webhook", "push", "whatsapp"]
SENT = frozenset({"sms"})
"""Channels that the hub can really send over; the others come with their features."""

PROVIDER = "hub"
MESSAGE = "message"


class NotifySerializer(StrictSerializer):
    channel = serializers.ChoiceField(choices=CHANNELS)
    to = serializers.CharField(max_length=2000, help_text="Number, address, URL or device token, as the channel wants it.")
    subject = serializers.CharField(max_length=200, required=False, allow_blank=True)
    message = serializers.CharField(max_length=10_000)
    simulate = serializers.BooleanField(default=True, help_text="false sends for real.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        channel, to = attrs["channel"], attrs["to"]
        if channel == "email":
            if not _is_email(to):
                _refuse("Not an e-mail address.")
        elif channel == "webhook":
            try:
                check_url(to)
            except BlockedAddress as error:
                _refuse(f"The address is not allowed: {error}")
        return attrs


def _is_email(text: str) -> bool:
    try:
        serializers.EmailField(max_length=254).run_validation(text)
    except serializers.ValidationError:
        return False
    return True


def _refuse(text: str) -> None:
    raise serializers.ValidationError({"to": [text]})


class NotifiedSerializer(serializers.Serializer[Any]):
    id = serializers.IntegerField(help_text="The log row's id: see `/api/v1/integrations/logs/{id}`.")
    log_id = serializers.IntegerField(help_text="The same.")
    status = serializers.ChoiceField(choices=["simulated", "queued"])
    channel = serializers.ChoiceField(choices=CHANNELS)
    to = serializers.CharField()
    simulated = serializers.BooleanField()
    message_id = serializers.CharField(allow_null=True, help_text="What to follow a real message by.")


class NotifyView(StaffAPIView):
    """A notification over one channel. Simulated by default: then nothing leaves the hub, and the log says what would have."""

    key_scope = "messages"

    @extend_schema(request=NotifySerializer, responses={200: NotifiedSerializer, 202: NotifiedSerializer})
    @idempotent
    def post(self, request: Request) -> Response:
        asked = NotifySerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        given = asked.validated_data
        tenant = tenant_of(request)
        if given["channel"] in ("sms", "whatsapp"):
            given["to"] = normalise_all([given["to"]], country=tenant.country)[0]
        if not given["simulate"] and given["channel"] not in SENT:
            raise UnsupportedOperation(f"The hub can't send by {given['channel']} yet; simulate works.", attr="channel")
        with transaction.atomic():
            reference = ""
            if not given["simulate"]:
                reference = send_sms(tenant=tenant, to=[given["to"]], message=given["message"], created_by=actor(request)).pk
            row = _log(tenant, given, reference)
            attach("log", str(row.pk))
        return _answer(row)

    def replay(self, request: Request, object_type: str, object_id: str) -> Response:
        row = CallLog.objects.filter(pk=int(object_id)).first()
        if row is None:
            raise Http404
        return _answer(row)


def _log(tenant: Tenant, given: dict[str, Any], message_id: str) -> CallLog:
    shown = {name: given[name] for name in ("channel", "to", "subject", "message") if name in given}
    return CallLog.unscoped.create(
        tenant=tenant,
        direction=Direction.OUTBOUND,
        provider=PROVIDER,
        operation="notify.queued" if message_id else "notify.simulated",
        status=LogStatus.SUCCESS,
        request_body=json.dumps(shown, ensure_ascii=False),
        reference_type=MESSAGE if message_id else "",
        reference_id=message_id,
    )


def _answer(row: CallLog) -> Response:
    said = json.loads(row.request_body)
    simulated = row.operation == "notify.simulated"
    return Response(
        {
            "id": row.pk,
            "log_id": row.pk,
            "status": "simulated" if simulated else "queued",
            "channel": said["channel"],
            "to": said["to"],
            "simulated": simulated,
            "message_id": row.reference_id or None,
        },
        status=200 if simulated else 202,
    )
