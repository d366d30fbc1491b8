"""`/api/v1/integrations/inbound-messages`: what people wrote, and answers to them."""

from __future__ import annotations

import re
from typing import Any

import django_filters
from django.db import transaction
from django.db.models import QuerySet
from django.http import Http404, HttpResponse
from django.urls import path, re_path
from django.utils.http import content_disposition_header
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from integrations.messaging import inbound, selectors
from integrations.messaging.api.serializers import MessageSerializer
from integrations.messaging.models import Channel, InboundMessage
from integrations.messaging.whatsapp.whatsapps import MAX_TEXT
from integrations.runtime.idempotency import attach, idempotent
from integrations.tenancy.pagination import Reach
from integrations.tenancy.parameters import IDEMPOTENCY_KEY
from integrations.tenancy.permissions import require_channel
from integrations.tenancy.serializers import StrictSerializer
from integrations.tenancy.views import StaffAPIView, StaffGenericAPIView

CONTENT_TYPE = re.compile(r"[a-zA-Z0-9.+-]{1,60}/[a-zA-Z0-9.+-]{1,80}")


class InboundMediaSerializer(serializers.Serializer[Any]):
    index = serializers.IntegerField(help_text="Its place: fetch it at inbound-messages/{id}/media/{index}.")
    type = serializers.CharField(allow_blank=True)


class InboundMessageSerializer(serializers.Serializer[Any]):
    id = serializers.CharField()
    channel = serializers.ChoiceField(choices=Channel.values)
    provider = serializers.CharField()
    config = serializers.IntegerField(allow_null=True)
    provider_ref = serializers.CharField(allow_blank=True)
    to = serializers.CharField(allow_blank=True, help_text="Which of your numbers or mailboxes it was sent to.")
    name = serializers.CharField(allow_blank=True, help_text="What the sender calls himself.")
    text = serializers.CharField(allow_blank=True)
    media = InboundMediaSerializer(many=True)
    opted = serializers.ChoiceField(choices=["out", "in"], allow_null=True, help_text="What it did to his wishes.")
    trusted = serializers.BooleanField(help_text="False: unsigned; anybody may have written it, and it changed no list.")
    reply_to = serializers.CharField(allow_blank=True, help_text="The provider's id of your message that it answers.")
    received_at = serializers.DateTimeField()

    def get_fields(self) -> dict[str, Any]:
        # A word of the language: it can't be declared above.
        return {**super().get_fields(), "from": serializers.CharField(help_text="The sender's address.")}


class InboundReplySerializer(StrictSerializer):
    text = serializers.CharField(max_length=MAX_TEXT, trim_whitespace=False)


class InboundFilter(django_filters.FilterSet):
    channel = django_filters.ChoiceFilter(choices=Channel.choices)
    provider = django_filters.CharFilter()
    to = django_filters.CharFilter(method="filter_address")
    opted = django_filters.ChoiceFilter(choices=[("out", "Out"), ("in", "In")])
    received_after = django_filters.IsoDateTimeFilter(field_name="received_at", lookup_expr="gte")
    received_before = django_filters.IsoDateTimeFilter(field_name="received_at", lookup_expr="lt")

    class Meta:
        model = InboundMessage
        fields: list[str] = []

    def filter_address(self, rows: QuerySet[InboundMessage], name: str, value: str) -> QuerySet[InboundMessage]:
        # An unescaped `+` in a query string arrives as a space.
        bare = value.strip()
        found = rows.filter(**{f"{name}__in": [bare, f"+{bare.lstrip('+')}"]})
        # The index of addresses has the channel before them.
        return found.filter(channel__in=Channel.values) if name == "address" else found


InboundFilter.base_filters["from"] = django_filters.CharFilter(field_name="address", method="filter_address")


class InboundMessageListView(StaffGenericAPIView):
    """What people wrote to the tenant on all channels, newest first."""

    key_scope = "messages"
    serializer_class = InboundMessageSerializer
    filterset_class = InboundFilter
    reach = Reach(served={"received_after": None, "received_before": None}, few=frozenset({"from"}))
    default_ordering = ("-received_at", "-id")
    orderings = {"received_at": ("received_at", "id"), "-received_at": ("-received_at", "-id")}

    def get_queryset(self) -> QuerySet[InboundMessage]:
        if getattr(self, "swagger_fake_view", False):
            return InboundMessage.unscoped.none()
        return InboundMessage.objects.all()

    @extend_schema(responses=InboundMessageSerializer(many=True))
    def get(self, request: Request) -> Response:
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response([inbound.public_object(each) for each in page or []])


class InboundMessageDetailView(StaffAPIView):
    """One message that somebody wrote."""

    key_scope = "messages"

    @extend_schema(responses=InboundMessageSerializer)
    def get(self, request: Request, inbound_id: str) -> Response:
        return Response(inbound.public_object(_found(inbound_id)))


class InboundReplyView(StaffAPIView):
    """Answer, on the channel and the account on which it came."""

    key_scope = "messages"

    @extend_schema(parameters=[IDEMPOTENCY_KEY], request=InboundReplySerializer, responses={202: MessageSerializer})
    @idempotent
    def post(self, request: Request, inbound_id: str) -> Response:
        """Accept an answer; it is sent by the workers. On WhatsApp after 24 hours: 409 `outside_window`."""
        row = _found(inbound_id)
        require_channel(request, row.channel)
        asked = InboundReplySerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        with transaction.atomic():
            message = inbound.reply(
                row=row, text=asked.validated_data["text"], created_by=str(getattr(request.user, "name", ""))
            )
            attach("message", message.pk)
        return self._answer(message.pk)

    def replay(self, request: Request, object_type: str, object_id: str) -> Response:
        return self._answer(object_id)

    def _answer(self, message_id: str) -> Response:
        return Response(selectors.message_data(selectors.get_message(message_id)), status=202)


class InboundMediaView(StaffAPIView):
    """A file that came with a message, fetched from the provider now: it is not kept here."""

    key_scope = "messages"

    def perform_content_negotiation(self, request: Request, force: bool = False) -> Any:
        # The answer is the file, whatever the caller said he understands.
        return super().perform_content_negotiation(request, force=True)

    @extend_schema(responses={(200, "application/octet-stream"): OpenApiTypes.BINARY})
    def get(self, request: Request, inbound_id: str, index: str) -> HttpResponse:
        row = _found(inbound_id)
        found = inbound.fetch_file(row, int(index))
        safe = found.content_type if CONTENT_TYPE.fullmatch(found.content_type) else "application/octet-stream"
        answer = HttpResponse(found.content, content_type=safe)
        # A stranger sent it: it is never shown as a page of ours.
        answer["Content-Disposition"] = content_disposition_header(True, found.filename or f"{row.pk}-{index}")
        answer["Content-Security-Policy"] = "sandbox; default-src 'none'"
        answer["X-Content-Type-Options"] = "nosniff"
        answer["Cache-Control"] = "private, no-store"
        return answer


def _found(inbound_id: str) -> InboundMessage:
    row: InboundMessage | None = InboundMessage.objects.select_related("tenant").filter(pk=inbound_id).first()
    if row is None:
        raise Http404
    return row


INBOUND_ID = r"(?P<inbound_id>inm_[0-9a-z]{26})"
routes: list[Any] = [
    path("integrations/inbound-messages", InboundMessageListView.as_view()),
    re_path(rf"^integrations/inbound-messages/{INBOUND_ID}$", InboundMessageDetailView.as_view()),
    re_path(rf"^integrations/inbound-messages/{INBOUND_ID}/reply$", InboundReplyView.as_view()),
    re_path(rf"^integrations/inbound-messages/{INBOUND_ID}/media/(?P<index>[0-9]{{1,3}})$", InboundMediaView.as_view()),
]
