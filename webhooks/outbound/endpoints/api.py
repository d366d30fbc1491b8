"""`/api/webhooks`: a tenant's endpoints."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.http import Http404
from django.urls import URLPattern, path, re_path
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from integrations.runtime.idempotency import attach, idempotent
from integrations.tenancy.parameters import IDEMPOTENCY_KEY
from integrations.tenancy.views import TenantAPIView, TenantGenericAPIView, tenant_of
from webhooks.outbound.endpoints import delivery_api, services, signing_api
from webhooks.outbound.endpoints.access import ENDPOINT, SCOPE, endpoint_or_404, opened_keys, shown_to
from webhooks.outbound.endpoints.delivery_api import ActsOnDelivery
from webhooks.outbound.endpoints.delivery_serializers import DeliveryOutput
from webhooks.outbound.endpoints.serializers import (
    DispatchInput,
    EndpointCreated,
    EndpointInput,
    EndpointOutput,
    SubscriptionInput,
)
from webhooks.outbound.models import Endpoint
from webhooks.outbound.publishing.own import check_own


class EndpointFilter(filters.FilterSet):
    is_active = filters.BooleanFilter()


class EndpointsView(TenantGenericAPIView):
    """The tenant's endpoints. Creating one answers its signing secret, this once; it is kept sealed."""

    key_scope = SCOPE
    serializer_class = EndpointOutput
    filterset_class = EndpointFilter

    def get_queryset(self) -> QuerySet[Endpoint]:
        if getattr(self, "swagger_fake_view", False):
            return Endpoint.unscoped.none()
        return Endpoint.objects.filter(deleted_at__isnull=True).select_related("health")

    @extend_schema(responses=EndpointOutput(many=True))
    def get(self, request: Request) -> Response:
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(EndpointOutput(page, many=True, context=shown_to(request)).data)

    @extend_schema(request=EndpointInput, responses={201: EndpointCreated}, parameters=[IDEMPOTENCY_KEY])
    @idempotent
    def post(self, request: Request) -> Response:
        given = EndpointInput(data=request.data)
        given.is_valid(raise_exception=True)
        with transaction.atomic():
            endpoint, secret = services.create_endpoint(tenant=tenant_of(request), **given.validated_data)
            attach("endpoint", endpoint.pk)
        return self._made(request, endpoint, secret)

    def replay(self, request: Request, object_type: str, object_id: str) -> Response:
        endpoint = endpoint_or_404(object_id)
        # The one it was made with: a repeated request learns nothing that was rotated in meanwhile.
        first = [key for key in opened_keys(endpoint) if datetime.fromisoformat(key["created"]) == endpoint.created]
        return self._made(request, endpoint, first[0]["secret"] if first else None)

    @staticmethod
    def _made(request: Request, endpoint: Endpoint, secret: str | None) -> Response:
        return Response({**EndpointOutput(endpoint, context=shown_to(request)).data, "secret": secret}, status=201)


class _ChangesEndpoint(TenantAPIView):
    key_scope = SCOPE

    def change(self, request: Request, endpoint_id: str, changes: dict[str, Any]) -> Response:
        held = changes.pop("held", "send")
        try:
            endpoint = services.update_endpoint(endpoint_id=endpoint_id, changes=changes, held=held)
        except Endpoint.DoesNotExist as error:  # deleted between the two
            raise Http404 from error
        return Response(EndpointOutput(endpoint, context=shown_to(request)).data)


class EndpointView(_ChangesEndpoint):
    """One endpoint. Switching it on with `held: discard` drops what was held while it was off; else that is sent."""

    @extend_schema(responses=EndpointOutput)
    def get(self, request: Request, endpoint_id: str) -> Response:
        return Response(EndpointOutput(endpoint_or_404(endpoint_id), context=shown_to(request)).data)

    @extend_schema(request=EndpointInput, responses=EndpointOutput)
    def put(self, request: Request, endpoint_id: str) -> Response:
        return self._change(request, endpoint_id, partial=False)

    @extend_schema(request=EndpointInput(partial=True), responses=EndpointOutput)
    def patch(self, request: Request, endpoint_id: str) -> Response:
        return self._change(request, endpoint_id, partial=True)

    def _change(self, request: Request, endpoint_id: str, *, partial: bool) -> Response:
        given = EndpointInput(data=request.data, partial=partial, context={"stored": endpoint_or_404(endpoint_id)})
        given.is_valid(raise_exception=True)
        return self.change(request, endpoint_id, dict(given.validated_data))

    @extend_schema(responses={204: None})
    def delete(self, request: Request, endpoint_id: str) -> Response:
        try:
            services.delete_endpoint(endpoint_id=endpoint_id)
        except Endpoint.DoesNotExist as error:
            raise Http404 from error
        return Response(status=204)


class EndpointEventsView(_ChangesEndpoint):
    """Replaces what an endpoint wants, and nothing else of it: types, channels, filter."""

    @extend_schema(request=SubscriptionInput, responses=EndpointOutput)
    def put(self, request: Request, endpoint_id: str) -> Response:
        endpoint_or_404(endpoint_id)
        given = SubscriptionInput(data=request.data)
        given.is_valid(raise_exception=True)
        return self.change(request, endpoint_id, dict(given.validated_data))


class EndpointTestView(ActsOnDelivery):
    """Sends a `webhook.test` event to this endpoint, the way all events go; the delivery tells what came of it."""

    @extend_schema(request=None, responses={202: DeliveryOutput}, parameters=[IDEMPOTENCY_KEY])
    @idempotent
    def post(self, request: Request, endpoint_id: str) -> Response:
        endpoint = endpoint_or_404(endpoint_id)
        with transaction.atomic():
            delivery = services.send_test(endpoint=endpoint)
            attach("delivery", delivery.pk)
        return Response(DeliveryOutput(delivery).data, status=202)


class EndpointDispatchView(ActsOnDelivery):
    """Sends an event of a type of your own to this endpoint alone, whatever it subscribes to; without a type, a test event.
    Data that break the schema of their type are refused."""

    @extend_schema(request=DispatchInput, responses={202: DeliveryOutput}, parameters=[IDEMPOTENCY_KEY])
    @idempotent
    def post(self, request: Request, endpoint_id: str) -> Response:
        endpoint = endpoint_or_404(endpoint_id)
        given = DispatchInput(data=request.data)
        given.is_valid(raise_exception=True)
        wanted = given.validated_data
        with transaction.atomic():
            if "type" in wanted:
                content = wanted.get("data", {})
                check_own(tenant_id=endpoint.tenant_id, type=wanted["type"], data=content)
                delivery = services.dispatch(endpoint=endpoint, type=wanted["type"], object=content)
            else:
                delivery = services.send_test(endpoint=endpoint)
            attach("delivery", delivery.pk)
        return Response(DeliveryOutput(delivery).data, status=202)


routes: list[URLPattern] = [
    path("webhooks", EndpointsView.as_view()),
    re_path(rf"^webhooks/{ENDPOINT}$", EndpointView.as_view()),
    re_path(rf"^webhooks/{ENDPOINT}/events$", EndpointEventsView.as_view()),
    re_path(rf"^webhooks/{ENDPOINT}/test$", EndpointTestView.as_view()),
    *delivery_api.routes,
    *signing_api.routes,
    # Other names of the same.
    path("integration/webhooks", EndpointsView.as_view()),
    re_path(rf"^integration/webhooks/{ENDPOINT}$", EndpointView.as_view()),
    re_path(rf"^integration/webhooks/{ENDPOINT}/dispatch$", EndpointDispatchView.as_view()),
]
