"""`/api/v1/integrations/messages/{id}/settle`: an admin tells what became of those of whom nobody else can."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.http import Http404
from django.urls import re_path
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from integrations.messaging import selectors, settling
from integrations.messaging.api.safety import fit_to_read
from integrations.messaging.api.serializers import MessageSerializer
from integrations.messaging.models import Message
from integrations.runtime.idempotency import attach, idempotent
from integrations.tenancy.parameters import IDEMPOTENCY_KEY
from integrations.tenancy.serializers import StrictSerializer
from integrations.tenancy.views import TenantAPIView


class SettleSerializer(StrictSerializer):
    arrived = serializers.BooleanField(
        help_text="What the recipients or the provider's own records say. false: it may be sent again, and the fallback policy "
        "goes on."
    )
    to = serializers.ListField(
        child=serializers.CharField(max_length=512),
        min_length=1,
        max_length=settling.AT_ONCE,
        required=False,
        allow_null=True,
        default=None,
        help_text="Addresses as the message shows them; left out: all whose outcome is unknown.",
    )


class SettledSerializer(serializers.Serializer[Any]):
    settled = serializers.IntegerField(help_text=f"How many recipients were decided; {settling.AT_ONCE} at most.")
    left = serializers.IntegerField(help_text="How many of the message are still unknown.")
    message = MessageSerializer()


class MessageSettleView(TenantAPIView):
    """Decide recipients whose outcome is unknown. 409 where there is none."""

    key_scope = "messages"

    @extend_schema(parameters=[IDEMPOTENCY_KEY], request=SettleSerializer, responses=SettledSerializer)
    @idempotent
    def post(self, request: Request, message_id: str) -> Response:
        message = _found(message_id)
        asked = SettleSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        given = asked.validated_data
        with transaction.atomic():
            settled = settling.settle(
                message=message,
                arrived=given["arrived"],
                by=str(getattr(request.user, "name", "")),
                recipients=None if given["to"] is None else settling.recipients_at(message, given["to"]),
            )
            attach("settled", f"{message.pk}:{settled}")
        return self._answer(request, message.pk, settled)

    def replay(self, request: Request, object_type: str, object_id: str) -> Response:
        message_id, _, settled = object_id.partition(":")
        return self._answer(request, message_id, int(settled))

    @staticmethod
    def _answer(request: Request, message_id: str, settled: int) -> Response:
        message = _found(message_id)
        data = fit_to_read(request, selectors.message_data(message))
        return Response({"settled": settled, "left": settling.unknown_of(message).count(), "message": data})


def _found(message_id: str) -> Message:
    try:
        return selectors.get_message(message_id)
    except Message.DoesNotExist:
        raise Http404 from None


routes: list[Any] = [
    re_path(r"^integrations/messages/(?P<message_id>msg_[0-9a-z]{26})/settle$", MessageSettleView.as_view()),
]
