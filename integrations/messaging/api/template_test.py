"""`/api/v1/integrations/templates/{id}/test`: one real message made from a template, to see it arrive."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.http import Http404
from django.urls import path
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from integrations.messaging import selectors
from integrations.messaging.api.push_serializers import PushMessageSerializer
from integrations.messaging.api.serializers import DataField
from integrations.messaging.models import MessageTemplate
from integrations.messaging.trying import send_test
from integrations.runtime.idempotency import attach, idempotent
from integrations.tenancy.parameters import IDEMPOTENCY_KEY
from integrations.tenancy.permissions import require_channel
from integrations.tenancy.serializers import StrictSerializer
from integrations.tenancy.views import StaffAPIView


class TemplateTestSerializer(StrictSerializer):
    """Whom the test goes to, and the values of the template's variables."""

    to = serializers.CharField(
        max_length=512, help_text="A phone number, an e-mail address, a user with registered devices or a device's token."
    )
    data = DataField(required=False, default=dict, help_text="Values of the variables; an object within is reached by a dot.")
    provider = serializers.CharField(max_length=50, required=False, allow_null=True, default=None)

    def get_fields(self) -> dict[str, Any]:
        # `from` is a word of the language: no class attribute can have its name.
        sender = serializers.CharField(
            max_length=320,
            required=False,
            allow_blank=True,
            default="",
            help_text="The sender of an e-mail; the account's own address if left out.",
        )
        return {**super().get_fields(), "from": sender}


class TemplateTestView(StaffAPIView):
    """For those who may send on the template's channel."""

    key_scope = "messages"

    @extend_schema(parameters=[IDEMPOTENCY_KEY], request=TemplateTestSerializer, responses={202: PushMessageSerializer})
    @idempotent
    def post(self, request: Request, template_id: int) -> Response:
        """Send this very variant, switched on or not, filled in with `data`, to one address. The message refers to the template
        (`reference`); for a user with several devices there may be more messages (`also`)."""
        template = MessageTemplate.objects.select_related("tenant").filter(pk=template_id).first()
        if template is None:
            raise Http404
        require_channel(request, template.channel)
        asked = TemplateTestSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        given = asked.validated_data
        with transaction.atomic():
            message = send_test(
                template=template,
                to=given["to"],
                data=given["data"],
                sender=given["from"],
                provider=given["provider"],
                created_by=str(getattr(request.user, "name", "")),
            )
            attach("message", message.pk)
        return self._answer(message.pk)

    def replay(self, request: Request, object_type: str, object_id: str) -> Response:
        return self._answer(object_id)

    @staticmethod
    def _answer(message_id: str) -> Response:
        message = selectors.get_message(message_id)
        return Response(selectors.message_data(message) | {"also": message.content.get("also", [])}, status=202)


routes: list[Any] = [path("integrations/templates/<int:template_id>/test", TemplateTestView.as_view())]
