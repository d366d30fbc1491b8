"""`/api/v1/integrations/sms/...` and `/api/v1/integrations/messages`: views parse, authorise and hand on."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.http import Http404
from django.urls import path, re_path
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from integrations.contracts.messaging import Balance
from integrations.contracts.money import InvalidMoney, Money, exponent
from integrations.messaging import selectors
from integrations.messaging.api.email import routes as email_routes
from integrations.messaging.api.fallback import routes as fallback_routes
from integrations.messaging.api.inbound import routes as inbound_routes
from integrations.messaging.api.lists import routes as bulk_routes
from integrations.messaging.api.push import routes as push_routes
from integrations.messaging.api.rules import routes as rules_routes
from integrations.messaging.api.safety import allowed_category, fit_to_read, is_urgent, override_reason
from integrations.messaging.api.safety import routes as safety_routes
from integrations.messaging.api.serializers import (
    BalanceSerializer,
    MessageDetailSerializer,
    MessageFilter,
    MessageSerializer,
    SmsPreviewResultSerializer,
    SmsPreviewSerializer,
    SmsSendSerializer,
)
from integrations.messaging.api.settling import routes as settling_routes
from integrations.messaging.api.template_test import routes as template_test_routes
from integrations.messaging.api.templates import routes as template_routes
from integrations.messaging.api.whatsapp import routes as whatsapp_routes
from integrations.messaging.drafts import Destination
from integrations.messaging.models import Channel, Message
from integrations.messaging.safety import spending
from integrations.messaging.sms import services
from integrations.messaging.sms.numbers import normalise_all
from integrations.messaging.sms.segments import count_segments
from integrations.messaging.templates import fill_in, find_template
from integrations.runtime.admission import admitted
from integrations.runtime.idempotency import attach, idempotent
from integrations.tenancy.pagination import Reach
from integrations.tenancy.parameters import IDEMPOTENCY_KEY
from integrations.tenancy.views import StaffAPIView, StaffGenericAPIView, tenant_of


class SmsSendView(StaffAPIView):
    """Accept a text; it is sent by the workers."""

    key_scope = "messages"
    send_channel = "sms"

    @extend_schema(parameters=[IDEMPOTENCY_KEY], request=SmsSendSerializer, responses={202: MessageSerializer})
    @idempotent
    @admitted(is_urgent)
    def post(self, request: Request) -> Response:
        asked = SmsSendSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        given = asked.validated_data
        reference = given["reference"] or {"type": "", "id": ""}
        with transaction.atomic():
            message = services.send_sms(
                tenant=tenant_of(request),
                to=given["to"],
                message=_text(request, given),
                template_name=given["template"],
                language=given["language"],
                data=given["data"],
                sender=given["sender"],
                provider=given["provider"],
                config_id=given["config"],
                reference=(reference["type"], reference["id"]),
                category=allowed_category(request, given["category"]),
                send_at=given["send_at"],
                expires_at=given["expires_at"],
                override_reason=override_reason(request, given),
                created_by=str(getattr(request.user, "name", "")),
            )
            attach("message", message.pk)
        return self._answer(message.pk)

    def replay(self, request: Request, object_type: str, object_id: str) -> Response:
        return self._answer(object_id)

    def _answer(self, message_id: str) -> Response:
        return Response(selectors.message_data(selectors.get_message(message_id)), status=202)


class SmsPreviewView(StaffAPIView):
    """Tell encoding and number of parts before anything is sent."""

    key_scope = "messages"

    @extend_schema(request=SmsPreviewSerializer, responses=SmsPreviewResultSerializer)
    def post(self, request: Request) -> Response:
        asked = SmsPreviewSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        given = asked.validated_data
        recipients = len(normalise_all(given["to"], country=tenant_of(request).country)) if given["to"] else 0
        counted = count_segments(_text(request, given))
        policy = spending.policy_of(tenant_of(request).pk, Channel.SMS)
        cost = spending.estimate(policy, segments=counted.count, recipients=recipients)
        return Response(
            {
                "encoding": counted.encoding,
                "units": counted.units,
                "segments": counted.count,
                "remaining": counted.remaining,
                "unusual": list(counted.unusual),
                "recipients": recipients,
                "total_segments": counted.count * recipients,
                "cost": spending.amount_data(cost.total, cost.currency),
                "cap_left": spending.amount_data(spending.left(tenant_of(request), policy), policy.currency if policy else ""),
            }
        )


class SmsBalanceView(StaffAPIView):
    """Ask the provider what is left in the account."""

    key_scope = "messages"

    @extend_schema(
        parameters=[
            OpenApiParameter("provider", str, description="Which account to ask; the one that serves SMS if left out.")
        ],
        responses=BalanceSerializer,
    )
    def get(self, request: Request) -> Response:
        provider, balance = services.get_balance(
            tenant=tenant_of(request), provider=request.query_params.get("provider") or None
        )
        return Response(
            {
                "provider": provider,
                "amount": _minor_units(balance),
                "currency": balance.currency,
                "value": f"{balance.amount:f}",
            }
        )


class SmsDetailView(StaffAPIView):
    """One text with its recipients."""

    key_scope = "messages"

    @extend_schema(responses=MessageSerializer)
    def get(self, request: Request, message_id: str) -> Response:
        return Response(fit_to_read(request, selectors.message_data(_found(message_id, channel=Channel.SMS.value))))


class MessageListView(StaffGenericAPIView):
    """The tenant's messages of all channels, newest first."""

    key_scope = "messages"
    serializer_class = MessageSerializer
    filterset_class = MessageFilter
    reach = Reach(
        served={"created_after": None, "created_before": None},
        few=frozenset({"reference_id", "to"}),
        joined=frozenset({"status"}),
    )
    default_ordering = ("-created", "-id")
    orderings = {"created": ("created", "id"), "-created": ("-created", "-id")}

    def get_queryset(self) -> QuerySet[Message]:
        if getattr(self, "swagger_fake_view", False):
            return Message.unscoped.none()
        return selectors.list_messages()

    @extend_schema(responses=MessageSerializer(many=True))
    def get(self, request: Request) -> Response:
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response([fit_to_read(request, each) for each in selectors.messages_data(page or [])])


class MessageDetailView(StaffAPIView):
    """One message with what happened to each recipient."""

    key_scope = "messages"

    @extend_schema(responses=MessageDetailSerializer)
    def get(self, request: Request, message_id: str) -> Response:
        return Response(fit_to_read(request, selectors.message_data(_found(message_id), with_events=True)))


def _found(message_id: str, **conditions: Any) -> Message:
    try:
        return selectors.get_message(message_id, **conditions)
    except Message.DoesNotExist:
        raise Http404 from None


def _text(request: Request, given: dict[str, Any]) -> str:
    """Return the text to send: as given, or the template's with its variables filled in; where recipients have values of
    their own, with its variables as they are."""
    if not given["template"]:
        return str(given["message"])
    if any(isinstance(each, Destination) and (each.data or each.name) for each in given["to"] or ()):
        return find_template(
            tenant=tenant_of(request), channel=Channel.SMS, name=given["template"], language=given["language"]
        ).body
    return fill_in(
        tenant=tenant_of(request),
        channel=Channel.SMS,
        name=given["template"],
        language=given["language"],
        data=given["data"],
    ).body


def _minor_units(balance: Balance) -> int | None:
    """Return the balance in whole minor units, rounded down; None where the provider named no currency."""
    try:
        return Money(int(balance.amount.scaleb(exponent(balance.currency)) // 1), balance.currency).minor_units
    except InvalidMoney:
        return None


MESSAGE_ID = r"(?P<message_id>msg_[0-9a-z]{26})"
routes: list[Any] = [
    *template_routes,
    *template_test_routes,
    *bulk_routes,
    *email_routes,
    *push_routes,
    *whatsapp_routes,
    *inbound_routes,
    *rules_routes,
    *fallback_routes,
    *safety_routes,
    *settling_routes,
    path("integrations/sms/send", SmsSendView.as_view()),
    path("integrations/sms/preview", SmsPreviewView.as_view()),
    path("integrations/sms/balance", SmsBalanceView.as_view()),
    re_path(rf"^integrations/sms/{MESSAGE_ID}$", SmsDetailView.as_view()),
    path("integrations/messages", MessageListView.as_view()),
    re_path(rf"^integrations/messages/{MESSAGE_ID}$", MessageDetailView.as_view()),
]
