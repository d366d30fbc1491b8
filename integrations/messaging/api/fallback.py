"""`/api/v1/integrations/fallback-policies`: how a tenant's messages go on where the first way fails; for its admins."""

from __future__ import annotations

from typing import Any

import django_filters
from django.db import transaction
from django.db.models import QuerySet
from django.http import Http404
from django.urls import path
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from integrations.messaging.fallback.policies import MAX_STEPS, save_policy
from integrations.messaging.models import Channel, FallbackPolicy, FallbackStep
from integrations.runtime.idempotency import attach, idempotent
from integrations.tenancy.parameters import IDEMPOTENCY_KEY
from integrations.tenancy.serializers import StrictSerializer
from integrations.tenancy.views import TenantAPIView, TenantGenericAPIView, tenant_of


class StepWriteSerializer(StrictSerializer):
    channel = serializers.ChoiceField(choices=Channel.choices)
    provider = serializers.CharField(
        max_length=50, required=False, allow_blank=True, default="", help_text="Empty: the primary account of the channel."
    )


class PolicyWriteSerializer(StrictSerializer):
    """The steps are tried in the order given."""

    name = serializers.CharField(max_length=60)
    channel = serializers.ChoiceField(choices=Channel.choices)
    category = serializers.CharField(
        max_length=30, required=False, allow_blank=True, default="", help_text="Empty: for all without a policy of their own."
    )
    after_minutes = serializers.IntegerField(
        min_value=1,
        max_value=7 * 24 * 60,
        required=False,
        allow_null=True,
        default=None,
        help_text="Also go on where no receipt came in this time; null: only on certain failure.",
    )
    tries = serializers.IntegerField(min_value=1, max_value=8, required=False, default=2, help_text="At one provider.")
    is_active = serializers.BooleanField(required=False, default=True)
    steps = serializers.ListField(child=StepWriteSerializer(), min_length=1, max_length=MAX_STEPS)


class StepSerializer(serializers.ModelSerializer[FallbackStep]):
    class Meta:
        model = FallbackStep
        fields = ("channel", "provider")
        read_only_fields = fields


class PolicySerializer(serializers.ModelSerializer[FallbackPolicy]):
    steps = StepSerializer(many=True)

    class Meta:
        model = FallbackPolicy
        fields = ("id", "name", "channel", "category", "after_minutes", "tries", "is_active", "steps")
        read_only_fields = fields


class PolicyFilter(django_filters.FilterSet):
    channel = django_filters.ChoiceFilter(choices=Channel.choices)
    category = django_filters.CharFilter()
    is_active = django_filters.BooleanFilter()


class PolicyList(TenantGenericAPIView):
    key_scope = "messages"
    serializer_class = PolicySerializer
    filterset_class = PolicyFilter
    default_ordering = ("channel", "category", "pk")

    def get_queryset(self) -> QuerySet[FallbackPolicy]:
        if getattr(self, "swagger_fake_view", False):
            return FallbackPolicy.unscoped.none()
        return FallbackPolicy.objects.prefetch_related("steps")

    @extend_schema(responses=PolicySerializer(many=True))
    def get(self, request: Request) -> Response:
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(PolicySerializer(page or [], many=True).data)

    @extend_schema(request=PolicyWriteSerializer, responses={201: PolicySerializer}, parameters=[IDEMPOTENCY_KEY])
    @idempotent
    def post(self, request: Request) -> Response:
        """Write a new policy."""
        with transaction.atomic():
            policy = _save(FallbackPolicy(tenant=tenant_of(request)), request)
            attach("fallback_policy", str(policy.pk))
        return Response(PolicySerializer(policy).data, status=201)

    def replay(self, request: Request, object_type: str, object_id: str) -> Response:
        return Response(PolicySerializer(_found(int(object_id))).data, status=201)


class PolicyDetail(TenantAPIView):
    key_scope = "messages"

    @extend_schema(responses=PolicySerializer)
    def get(self, request: Request, policy_id: int) -> Response:
        return Response(PolicySerializer(_found(policy_id)).data)

    @extend_schema(request=PolicyWriteSerializer, responses=PolicySerializer)
    def put(self, request: Request, policy_id: int) -> Response:
        """Replace a policy and its steps; what is left out goes back to what it is in a new one."""
        return Response(PolicySerializer(_save(_found(policy_id), request)).data)

    @extend_schema(responses={204: None})
    def delete(self, request: Request, policy_id: int) -> Response:
        """Remove a policy; what has gone on already stays."""
        _found(policy_id).delete()
        return Response(status=204)


def _save(policy: FallbackPolicy, request: Request) -> FallbackPolicy:
    asked = PolicyWriteSerializer(data=request.data)
    asked.is_valid(raise_exception=True)
    given = asked.validated_data
    steps = [(step["channel"], step["provider"]) for step in given["steps"]]
    return save_policy(policy=policy, values=given, steps=steps)


def _found(policy_id: int) -> FallbackPolicy:
    policy: FallbackPolicy | None = FallbackPolicy.objects.filter(pk=policy_id).first()
    if policy is None:
        raise Http404
    return policy


routes: list[Any] = [
    path("integrations/fallback-policies", PolicyList.as_view()),
    path("integrations/fallback-policies/<int:policy_id>", PolicyDetail.as_view()),
]
