"""`/api/v1/integrations/notification-rules` and `.../recurring-messages`: for a tenant's admins."""

from __future__ import annotations

from typing import Any, TypeVar

from django.db import models, transaction
from django.db.models import QuerySet
from django.http import Http404
from django.urls import path
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from integrations.messaging.api.rules_serializers import (
    NotificationRuleSerializer,
    NotificationRuleWriteSerializer,
    RecurringFilter,
    RecurringMessageSerializer,
    RecurringMessageWriteSerializer,
    RecurringQueuedSerializer,
    RuleFilter,
)
from integrations.messaging.models import NotificationRule, RecurringMessage
from integrations.messaging.rules.recurring import save_recurring, send_now
from integrations.messaging.rules.rules import save_rule
from integrations.runtime.idempotency import attach, idempotent
from integrations.tenancy.parameters import IDEMPOTENCY_KEY
from integrations.tenancy.serializers import StrictSerializer
from integrations.tenancy.views import TenantAPIView, TenantGenericAPIView, tenant_of

Row = TypeVar("Row", bound=models.Model)
UNSET_RULE = {
    "audience": NotificationRule.Audience.PAYER.value,
    "addresses": "",
    "language": "",
    "category": "",
    "conditions": {},
    "delay_minutes": 0,
    "is_active": True,
}
UNSET_RECURRING = {
    "weekday": None,
    "day": None,
    "attachment_url": "",
    "attachment_name": "",
    "ends_at": None,
    "is_active": True,
}
"""What a PUT leaves out goes back to this."""


class RuleList(TenantGenericAPIView):
    key_scope = "messages"
    serializer_class = NotificationRuleSerializer
    filterset_class = RuleFilter
    default_ordering = ("event_type", "pk")

    def get_queryset(self) -> QuerySet[NotificationRule]:
        if getattr(self, "swagger_fake_view", False):
            return NotificationRule.unscoped.none()
        return NotificationRule.objects.all()

    @extend_schema(responses=NotificationRuleSerializer(many=True))
    def get(self, request: Request) -> Response:
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(NotificationRuleSerializer(page or [], many=True).data)

    @extend_schema(
        request=NotificationRuleWriteSerializer, responses={201: NotificationRuleSerializer}, parameters=[IDEMPOTENCY_KEY]
    )
    @idempotent
    def post(self, request: Request) -> Response:
        """Write a new rule."""
        given = _checked(NotificationRuleWriteSerializer(data=request.data))
        with transaction.atomic():
            rule = save_rule(rule=NotificationRule(tenant=tenant_of(request)), values=given)
            attach("notification_rule", str(rule.pk))
        return Response(NotificationRuleSerializer(rule).data, status=201)

    def replay(self, request: Request, object_type: str, object_id: str) -> Response:
        return Response(NotificationRuleSerializer(_found(NotificationRule, int(object_id))).data, status=201)


class RuleDetail(TenantAPIView):
    key_scope = "messages"

    @extend_schema(responses=NotificationRuleSerializer)
    def get(self, request: Request, rule_id: int) -> Response:
        return Response(NotificationRuleSerializer(_found(NotificationRule, rule_id)).data)

    @extend_schema(request=NotificationRuleWriteSerializer, responses=NotificationRuleSerializer)
    def put(self, request: Request, rule_id: int) -> Response:
        """Replace a rule; what is left out goes back to its default."""
        rule = _found(NotificationRule, rule_id)
        given = _checked(NotificationRuleWriteSerializer(data=request.data))
        return Response(NotificationRuleSerializer(save_rule(rule=rule, values={**UNSET_RULE, **given})).data)

    @extend_schema(request=NotificationRuleWriteSerializer, responses=NotificationRuleSerializer)
    def patch(self, request: Request, rule_id: int) -> Response:
        """Change what is given."""
        rule = _found(NotificationRule, rule_id)
        given = _checked(NotificationRuleWriteSerializer(data=request.data, partial=True))
        return Response(NotificationRuleSerializer(save_rule(rule=rule, values=given)).data)

    @extend_schema(responses={204: None})
    def delete(self, request: Request, rule_id: int) -> Response:
        """Remove a rule; what it has queued and not sent yet is not sent."""
        _found(NotificationRule, rule_id).delete()
        return Response(status=204)


class RecurringList(TenantGenericAPIView):
    key_scope = "messages"
    serializer_class = RecurringMessageSerializer
    filterset_class = RecurringFilter
    default_ordering = ("name", "pk")

    def get_queryset(self) -> QuerySet[RecurringMessage]:
        if getattr(self, "swagger_fake_view", False):
            return RecurringMessage.unscoped.none()
        return RecurringMessage.objects.all()

    @extend_schema(responses=RecurringMessageSerializer(many=True))
    def get(self, request: Request) -> Response:
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(RecurringMessageSerializer(page or [], many=True).data)

    @extend_schema(
        request=RecurringMessageWriteSerializer, responses={201: RecurringMessageSerializer}, parameters=[IDEMPOTENCY_KEY]
    )
    @idempotent
    def post(self, request: Request) -> Response:
        """Write a new recurring message; it is first sent at its next moment."""
        given = _checked(RecurringMessageWriteSerializer(data=request.data))
        with transaction.atomic():
            row = RecurringMessage(tenant=tenant_of(request))
            row = save_recurring(recurring=row, values=given, actor=_actor(request))
            attach("recurring_message", str(row.pk))
        return Response(RecurringMessageSerializer(row).data, status=201)

    def replay(self, request: Request, object_type: str, object_id: str) -> Response:
        return Response(RecurringMessageSerializer(_found(RecurringMessage, int(object_id))).data, status=201)


class RecurringDetail(TenantAPIView):
    key_scope = "messages"

    @extend_schema(responses=RecurringMessageSerializer)
    def get(self, request: Request, recurring_id: int) -> Response:
        return Response(RecurringMessageSerializer(_found(RecurringMessage, recurring_id)).data)

    @extend_schema(request=RecurringMessageWriteSerializer, responses=RecurringMessageSerializer)
    def put(self, request: Request, recurring_id: int) -> Response:
        """Replace it; what is left out goes back to empty. It is then due at its next moment."""
        return self._save(request, recurring_id, UNSET_RECURRING, RecurringMessageWriteSerializer(data=request.data))

    @extend_schema(request=RecurringMessageWriteSerializer, responses=RecurringMessageSerializer)
    def patch(self, request: Request, recurring_id: int) -> Response:
        """Change what is given. It is then due at its next moment."""
        return self._save(request, recurring_id, {}, RecurringMessageWriteSerializer(data=request.data, partial=True))

    @extend_schema(responses={204: None})
    def delete(self, request: Request, recurring_id: int) -> Response:
        """Remove it; messages that were sent stay."""
        _found(RecurringMessage, recurring_id).delete()
        return Response(status=204)

    def _save(self, request: Request, recurring_id: int, unset: dict[str, Any], asked: StrictSerializer) -> Response:
        with transaction.atomic():
            row = _found(RecurringMessage, recurring_id, locked=True)
            saved = save_recurring(recurring=row, values={**unset, **_checked(asked)}, actor=_actor(request))
        return Response(RecurringMessageSerializer(saved).data)


class RecurringSendNow(TenantAPIView):
    key_scope = "messages"

    @extend_schema(request=None, responses={202: RecurringQueuedSerializer}, parameters=[IDEMPOTENCY_KEY])
    @idempotent
    def post(self, request: Request, recurring_id: int) -> Response:
        """Send it once more, at once; its moments stay as they are."""
        with transaction.atomic():
            item = send_now(recurring=_found(RecurringMessage, recurring_id))
            attach("queue_item", str(item.pk))
        return self.replay(request, "queue_item", str(item.pk))

    def replay(self, request: Request, object_type: str, object_id: str) -> Response:
        return Response({"queue_item": int(object_id)}, status=202)


def _checked(serializer: StrictSerializer) -> dict[str, Any]:
    serializer.is_valid(raise_exception=True)
    return dict(serializer.validated_data)


def _found(model: type[Row], pk: int, *, locked: bool = False) -> Row:
    rows = model.objects.select_related("tenant").filter(pk=pk)  # type: ignore[attr-defined]
    found: Row | None = (rows.select_for_update(of=("self",)) if locked else rows).first()
    if found is None:
        raise Http404
    return found


def _actor(request: Request) -> str:
    return str(getattr(request.user, "name", "") or request.user)


routes: list[Any] = [
    path("integrations/notification-rules", RuleList.as_view()),
    path("integrations/notification-rules/<int:rule_id>", RuleDetail.as_view()),
    path("integrations/recurring-messages", RecurringList.as_view()),
    path("integrations/recurring-messages/<int:recurring_id>", RecurringDetail.as_view()),
    path("integrations/recurring-messages/<int:recurring_id>/send-now", RecurringSendNow.as_view()),
]
