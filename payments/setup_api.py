"""The API of stored payers: setups, and the methods that come of them."""

from __future__ import annotations

from typing import Any

import django_filters
from django.db.models import QuerySet
from django.http import Http404
from django.urls import path, re_path
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from integrations.contracts.payment_features import MethodType
from integrations.runtime.idempotency import idempotent
from integrations.tenancy.parameters import IDEMPOTENCY_KEY
from integrations.tenancy.serializers import StrictSerializer
from integrations.tenancy.views import TenantAPIView, TenantGenericAPIView, tenant_of
from payments.models import PayerMethod, SetupIntent, SetupStatus
from payments.serializers import CustomerSerializer, FailureSerializer
from payments.services.setup import forget_method, start_setup
from payments.setups import method_form, setup_form


class SetupMethodSerializer(StrictSerializer):
    type = serializers.ChoiceField(choices=[method.value for method in MethodType])
    token = serializers.CharField(
        required=False,
        max_length=255,
        help_text="The gateway's own token of a card, from its form in the browser. Without one the payer goes to a page.",
    )


class SetupRequestSerializer(StrictSerializer):
    """The wish to store a payer. `customer.id` is your own id of him; his methods are listed by it."""

    provider = serializers.SlugField(required=False, max_length=50)
    method = SetupMethodSerializer()
    customer = CustomerSerializer(required=False)
    return_url = serializers.URLField(required=False, max_length=500)
    metadata = serializers.DictField(child=serializers.CharField(max_length=500), required=False)

    def validate_metadata(self, value: dict[str, str]) -> dict[str, str]:
        if len(value) > 50:
            raise serializers.ValidationError("At most 50 entries.")
        return value


class StoredMethodSerializer(serializers.Serializer[PayerMethod]):
    """A stored method, to be charged by its id. What charges it at the gateway is never shown."""

    id = serializers.CharField()
    provider = serializers.CharField()
    customer = serializers.CharField(help_text="Your own id of the customer.")
    type = serializers.CharField()
    brand = serializers.CharField()
    last4 = serializers.CharField()
    expires = serializers.CharField(help_text="MM/YYYY")
    payer = serializers.CharField()
    created = serializers.DateTimeField()

    def to_representation(self, instance: PayerMethod) -> dict[str, Any]:
        return method_form(instance)


class SetupIntentSerializer(serializers.Serializer[SetupIntent]):
    """A setup as the API and events show it; `method` once it has succeeded."""

    id = serializers.CharField()
    status = serializers.ChoiceField(choices=[each.value for each in SetupStatus])
    provider = serializers.CharField()
    provider_ref = serializers.CharField()
    type = serializers.CharField()
    method = StoredMethodSerializer(allow_null=True)
    next_action = serializers.DictField(allow_null=True)
    failure = FailureSerializer(allow_null=True)
    customer = CustomerSerializer(allow_null=True)
    metadata = serializers.DictField(child=serializers.CharField())
    expires = serializers.DateTimeField(help_text="Until when the payer may act.")
    created = serializers.DateTimeField()
    updated = serializers.DateTimeField()

    def to_representation(self, instance: SetupIntent) -> dict[str, Any]:
        return setup_form(instance)


class SetupIntentView(TenantAPIView):
    key_scope = "payments"

    @extend_schema(request=SetupRequestSerializer, responses={201: SetupIntentSerializer}, parameters=[IDEMPOTENCY_KEY])
    @idempotent
    def post(self, request: Request) -> Response:
        """Store a payer's card or account for later. `requires_action`: send the payer to `next_action.url`."""
        serializer = SetupRequestSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        data = serializer.validated_data
        setup = start_setup(
            tenant=tenant_of(request),
            method_type=data["method"]["type"],
            token=data["method"].get("token", ""),
            provider=data.get("provider"),
            customer=data.get("customer"),
            return_url=data.get("return_url", ""),
            metadata=data.get("metadata"),
        )
        return Response(setup_form(setup), status=status.HTTP_201_CREATED)

    def replay(self, request: Request, object_type: str, object_id: str) -> Response:
        return Response(setup_form(SetupIntent.objects.get(pk=object_id)), status=status.HTTP_201_CREATED)


class SetupIntentDetail(TenantAPIView):
    key_scope = "payments"

    @extend_schema(responses=SetupIntentSerializer)
    def get(self, request: Request, setup_id: str) -> Response:
        """Return one setup."""
        found = SetupIntent.objects.select_related("payer_method").filter(pk=setup_id).first()
        if found is None:
            raise Http404
        return Response(setup_form(found))


class StoredMethodFilter(django_filters.FilterSet):
    customer = django_filters.CharFilter(field_name="customer_id")
    provider = django_filters.CharFilter()


class StoredMethodList(TenantGenericAPIView):
    key_scope = "payments"
    serializer_class = StoredMethodSerializer
    filterset_class = StoredMethodFilter
    default_ordering = ("-created", "-pk")

    def get_queryset(self) -> QuerySet[PayerMethod]:
        if getattr(self, "swagger_fake_view", False):
            return PayerMethod.unscoped.none()
        return PayerMethod.objects.filter(is_active=True)

    @extend_schema(responses=StoredMethodSerializer(many=True))
    def get(self, request: Request) -> Response:
        """List stored methods that may be charged, newest first."""
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response([method_form(method) for method in page or []])


class StoredMethodDetail(TenantAPIView):
    key_scope = "payments"

    @extend_schema(responses={204: None})
    def delete(self, request: Request, method_id: str) -> Response:
        """Remove a stored method: it can't be charged any more from now on, and the gateway is told to forget it."""
        try:
            forget_method(method_id=method_id)
        except PayerMethod.DoesNotExist:
            raise Http404 from None
        return Response(status=status.HTTP_204_NO_CONTENT)


routes: list[Any] = [
    path("payments/setup-intent", SetupIntentView.as_view()),
    re_path(r"^payments/setup-intent/(?P<setup_id>seti_[0-9a-z]{26})$", SetupIntentDetail.as_view()),
    path("payments/methods", StoredMethodList.as_view()),
    re_path(r"^payments/methods/(?P<method_id>pm_[0-9a-z]{26})$", StoredMethodDetail.as_view()),
]
