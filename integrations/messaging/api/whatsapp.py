"""`/api/v1/integrations/whatsapp/...`: views parse, authorise and hand on."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.db import transaction
from django.http import Http404
from django.urls import path, re_path
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from integrations.messaging import selectors
from integrations.messaging.api.safety import allowed_category, fit_to_read, is_urgent, override_reason
from integrations.messaging.api.serializers import MessageSerializer
from integrations.messaging.api.whatsapp_serializers import WhatsAppSendSerializer, WhatsAppTemplateListSerializer
from integrations.messaging.models import Channel, Message
from integrations.messaging.whatsapp import whatsapps
from integrations.runtime.admission import admitted
from integrations.runtime.idempotency import attach, idempotent
from integrations.tenancy.parameters import IDEMPOTENCY_KEY
from integrations.tenancy.serializers import StrictSerializer
from integrations.tenancy.views import StaffAPIView, tenant_of


class WhatsAppSendView(StaffAPIView):
    """Accept a WhatsApp message; it is sent by the workers."""

    key_scope = "messages"
    send_channel = "whatsapp"

    @extend_schema(parameters=[IDEMPOTENCY_KEY], request=WhatsAppSendSerializer, responses={202: MessageSerializer})
    @idempotent
    @admitted(is_urgent)
    def post(self, request: Request) -> Response:
        """Accept a message. Where no recipient has an open window for what needs one: 409 `outside_window`."""
        asked = WhatsAppSendSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        given = asked.validated_data
        reference = given["reference"] or {"type": "", "id": ""}
        with transaction.atomic():
            message = whatsapps.send_whatsapp(
                tenant=tenant_of(request),
                to=given["to"],
                words=asked.words(),
                reply_to=given["reply_to"],
                provider=given["provider"],
                config_id=given["config"],
                reference=(reference["type"], reference["id"]),
                category=allowed_category(request, given["category"]),
                send_at=given["send_at"],
                expires_at=given["expires_at"],
                fallback=given["fallback"],
                override_reason=override_reason(request, given),
                created_by=str(getattr(request.user, "name", "")),
            )
            attach("message", message.pk)
        return self._answer(message.pk)

    def replay(self, request: Request, object_type: str, object_id: str) -> Response:
        return self._answer(object_id)

    def _answer(self, message_id: str) -> Response:
        return Response(selectors.message_data(selectors.get_message(message_id)), status=202)


class WhatsAppDetailView(StaffAPIView):
    """One WhatsApp message with its recipients."""

    key_scope = "messages"

    @extend_schema(responses=MessageSerializer)
    def get(self, request: Request, whatsapp_id: str) -> Response:
        try:
            message = selectors.get_message(whatsapp_id, channel=Channel.WHATSAPP.value)
        except Message.DoesNotExist:
            raise Http404 from None
        return Response(fit_to_read(request, selectors.message_data(message)))


class _Account(StrictSerializer):
    provider = serializers.CharField(max_length=50, required=False, allow_blank=True, default="")
    config = serializers.IntegerField(required=False, default=None, min_value=1, max_value=2**62)


class WhatsAppTemplatesView(StaffAPIView):
    """The account's templates, as the provider has them now."""

    key_scope = "messages"

    @extend_schema(
        parameters=[
            OpenApiParameter("provider", str, description="Which account to ask; the one that serves WhatsApp if left out."),
            OpenApiParameter("config", int, description="The same by the config's id."),
        ],
        responses=WhatsAppTemplateListSerializer,
    )
    def get(self, request: Request) -> Response:
        asked = _Account(data=request.query_params.dict())
        asked.is_valid(raise_exception=True)
        provider, found = whatsapps.list_templates(
            tenant=tenant_of(request),
            provider=asked.validated_data["provider"] or None,
            config_id=asked.validated_data["config"],
        )
        return Response({"provider": provider, "templates": [asdict(each) for each in found]})


WHATSAPP_ID = r"(?P<whatsapp_id>msg_[0-9a-z]{26})"
routes: list[Any] = [
    path("integrations/whatsapp/send", WhatsAppSendView.as_view()),
    path("integrations/whatsapp/templates", WhatsAppTemplatesView.as_view()),
    re_path(rf"^integrations/whatsapp/{WHATSAPP_ID}$", WhatsAppDetailView.as_view()),
]
