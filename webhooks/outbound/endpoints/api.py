"""`/api/webhooks`: a tenant's endpoints, what was sent to them, and the catalogue of event types."""

from __future__ import annotations

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
from integrations.tenancy.views import TenantAPIView, TenantGenericAPIView, tenant_of
from webhooks.outbound.endpoints import services
from webhooks.outbound.endpoints.serializers import (
    DeliveryDetail,
    DeliveryOutput,
    EndpointCreated,
    EndpointInput,
    EndpointOutput,
    EventTypeOutput,
)
from webhooks.outbound.event_types import CATALOGUE
from webhooks.outbound.models import Delivery, DeliveryState, Endpoint
from webhooks.outbound.recovery.resending import retry_delivery


def _endpoint(endpoint_id: str) -> Endpoint:
    endpoint: Endpoint | None = Endpoint.objects.filter(pk=endpoint_id, deleted_at__isnull=True).first()
    if endpoint is None:
        raise Http404
    return endpoint


def _deliveries(endpoint_id: str) -> QuerySet[Delivery]:
    return Delivery.objects.filter(endpoint=_endpoint(endpoint_id)).select_related("event")


def _delivery(endpoint_id: str, delivery_id: str) -> Delivery:
    delivery: Delivery | None = _deliveries(endpoint_id).filter(pk=delivery_id).first()
    if delivery is None:
        raise Http404
    return delivery


class DeliveryFilter(filters.FilterSet):
    state = filters.ChoiceFilter(choices=DeliveryState.choices)
    type = filters.CharFilter(field_name="event__type")
    event = filters.CharFilter(field_name="event_id")
    created_after = filters.IsoDateTimeFilter(field_name="created", lookup_expr="gte")
    created_before = filters.IsoDateTimeFilter(field_name="created", lookup_expr="lt")


class EndpointsView(TenantGenericAPIView):
    """The tenant's endpoints. Creating one answers its signing secret, this once; it is kept sealed."""

    key_scope = "webhooks"
    serializer_class = EndpointOutput
    filter_backends: list[Any] = []

    def get_queryset(self) -> QuerySet[Endpoint]:
        return Endpoint.objects.filter(deleted_at__isnull=True)

    @extend_schema(responses=EndpointOutput(many=True))
    def get(self, request: Request) -> Response:
        page = self.paginate_queryset(self.get_queryset())
        return self.get_paginated_response(EndpointOutput(page, many=True).data)

    @extend_schema(request=EndpointInput, responses={201: EndpointCreated})
    @idempotent
    def post(self, request: Request) -> Response:
        given = EndpointInput(data=request.data)
        given.is_valid(raise_exception=True)
        with transaction.atomic():
            endpoint, secret = services.create_endpoint(tenant=tenant_of(request), **given.validated_data)
            attach("endpoint", endpoint.pk)
        return Response({**EndpointOutput(endpoint).data, "secret": secret}, status=201)

    def replay(self, request: Request, object_type: str, object_id: str) -> Response:
        endpoint = _endpoint(object_id)
        return Response({**EndpointOutput(endpoint).data, "secret": endpoint.signing_keys()[0]["secret"]}, status=201)


class EndpointView(TenantAPIView):
    """One endpoint."""

    key_scope = "webhooks"

    @extend_schema(responses=EndpointOutput)
    def get(self, request: Request, endpoint_id: str) -> Response:
        return Response(EndpointOutput(_endpoint(endpoint_id)).data)

    @extend_schema(request=EndpointInput, responses=EndpointOutput)
    def put(self, request: Request, endpoint_id: str) -> Response:
        return self._change(request, endpoint_id, partial=False)

    @extend_schema(request=EndpointInput(partial=True), responses=EndpointOutput)
    def patch(self, request: Request, endpoint_id: str) -> Response:
        return self._change(request, endpoint_id, partial=True)

    def _change(self, request: Request, endpoint_id: str, *, partial: bool) -> Response:
        given = EndpointInput(data=request.data, partial=partial, context={"stored": _endpoint(endpoint_id)})
        given.is_valid(raise_exception=True)
        try:
            endpoint = services.update_endpoint(endpoint_id=endpoint_id, changes=given.validated_data)
        except Endpoint.DoesNotExist as error:  # deleted between the two
            raise Http404 from error
        return Response(EndpointOutput(endpoint).data)

    @extend_schema(responses={204: None})
    def delete(self, request: Request, endpoint_id: str) -> Response:
        try:
            services.delete_endpoint(endpoint_id=endpoint_id)
        except Endpoint.DoesNotExist as error:
            raise Http404 from error
        return Response(status=204)


class _ActsOnDelivery(TenantAPIView):
    key_scope = "webhooks"

    def replay(self, request: Request, object_type: str, object_id: str) -> Response:
        return Response(DeliveryOutput(Delivery.objects.select_related("event").get(pk=object_id)).data, status=202)


class EndpointTestView(_ActsOnDelivery):
    """Sends a `webhook.test` event to this endpoint, the way all events go; the delivery tells what came of it."""

    @extend_schema(request=None, responses={202: DeliveryOutput})
    @idempotent
    def post(self, request: Request, endpoint_id: str) -> Response:
        endpoint = _endpoint(endpoint_id)
        with transaction.atomic():
            delivery = services.send_test(endpoint=endpoint)
            attach("delivery", delivery.pk)
        return Response(DeliveryOutput(delivery).data, status=202)


class DeliveriesView(TenantGenericAPIView):
    """What was and will be sent to an endpoint, newest first."""

    key_scope = "webhooks"
    serializer_class = DeliveryOutput
    filterset_class = DeliveryFilter

    def get_queryset(self) -> QuerySet[Delivery]:
        if getattr(self, "swagger_fake_view", False):
            return Delivery.unscoped.none()
        return _deliveries(self.kwargs["endpoint_id"])

    @extend_schema(responses=DeliveryOutput(many=True))
    def get(self, request: Request, endpoint_id: str) -> Response:
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(DeliveryOutput(page, many=True).data)


class DeliveryView(TenantAPIView):
    """One delivery: its body and each attempt."""

    key_scope = "webhooks"

    @extend_schema(responses=DeliveryDetail)
    def get(self, request: Request, endpoint_id: str, delivery_id: str) -> Response:
        return Response(DeliveryDetail(_delivery(endpoint_id, delivery_id)).data)


class DeliveryRetryView(_ActsOnDelivery):
    """Sends a delivery now: a pending one early, a finished one once more."""

    @extend_schema(request=None, responses={202: DeliveryOutput})
    @idempotent
    def post(self, request: Request, endpoint_id: str, delivery_id: str) -> Response:
        endpoint = _endpoint(endpoint_id)
        _delivery(endpoint_id, delivery_id)
        with transaction.atomic():
            delivery = retry_delivery(endpoint=endpoint, delivery_id=delivery_id)
            attach("delivery", delivery.pk)
        return Response(DeliveryOutput(delivery).data, status=202)


class EventTypesView(TenantAPIView):
    """The catalogue: JSON Schema and example of each event's body."""

    key_scope = "webhooks"

    @extend_schema(responses=EventTypeOutput(many=True))
    def get(self, request: Request) -> Response:
        return Response([event_type.document() for event_type in CATALOGUE])


_ENDPOINT = r"^webhooks/(?P<endpoint_id>we_[0-9a-z]{26})"
_DELIVERY = _ENDPOINT + r"/deliveries/(?P<delivery_id>dlv_[0-9a-z]{26})"

routes: list[URLPattern] = [
    path("webhooks", EndpointsView.as_view()),
    path("webhooks/event-types", EventTypesView.as_view()),
    re_path(rf"{_ENDPOINT}$", EndpointView.as_view()),
    re_path(rf"{_ENDPOINT}/test$", EndpointTestView.as_view()),
    re_path(rf"{_ENDPOINT}/deliveries$", DeliveriesView.as_view()),
    re_path(rf"{_DELIVERY}$", DeliveryView.as_view()),
    re_path(rf"{_DELIVERY}/retry$", DeliveryRetryView.as_view()),
]
