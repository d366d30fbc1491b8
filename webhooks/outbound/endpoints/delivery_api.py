"""What was and will be sent: of one endpoint, and of all."""

from __future__ import annotations

from django.db import transaction
from django.db.models import QuerySet
from django.urls import URLPattern, path, re_path
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from integrations.runtime.idempotency import attach, idempotent
from integrations.tenancy.pagination import Reach
from integrations.tenancy.parameters import IDEMPOTENCY_KEY
from integrations.tenancy.views import TenantAPIView, TenantGenericAPIView
from webhooks.outbound.endpoints.access import DELIVERY, ENDPOINT, SCOPE, deliveries_of, delivery_or_404, endpoint_or_404
from webhooks.outbound.endpoints.delivery_serializers import DeliveryDetail, DeliveryOutput
from webhooks.outbound.models import DeadReason, Delivery, DeliveryState
from webhooks.outbound.recovery.resending import retry_delivery
from webhooks.outbound.selectors import of_type

_TIMES: dict[str, frozenset[str] | None] = {"created_after": None, "created_before": None}
_FAILED = frozenset({DeliveryState.FAILED.value})
_FEW = frozenset({"event"})
_JOINED = frozenset({"type"})


class DeliveryFilter(filters.FilterSet):
    state = filters.ChoiceFilter(choices=DeliveryState.choices)
    type = filters.CharFilter(method="filter_type")
    event = filters.CharFilter(field_name="event_id")
    dead_reason = filters.ChoiceFilter(choices=DeadReason.choices)
    created_after = filters.IsoDateTimeFilter(field_name="created", lookup_expr="gte")
    created_before = filters.IsoDateTimeFilter(field_name="created", lookup_expr="lt")

    def filter_type(self, rows: QuerySet[Delivery], name: str, value: str) -> QuerySet[Delivery]:
        return of_type(rows, value)


class AllDeliveriesFilter(DeliveryFilter):
    endpoint = filters.CharFilter(field_name="endpoint_id")


class ActsOnDelivery(TenantAPIView):
    """Answers with the delivery that it made or sent, also to a request that is repeated under its key."""

    key_scope = SCOPE

    def replay(self, request: Request, object_type: str, object_id: str) -> Response:
        return Response(DeliveryOutput(Delivery.objects.select_related("event").get(pk=object_id)).data, status=202)


class _Deliveries(TenantGenericAPIView):
    """Of an endpoint an index has the ids, which are in the order of time; a range of time is found among the tenant's."""

    key_scope = SCOPE
    serializer_class = DeliveryOutput

    @property
    def of_one(self) -> bool:
        """Whether the list is of one endpoint: by its path, or by a filter."""
        return "endpoint_id" in self.kwargs or bool(self.request.query_params.get("endpoint"))

    @property
    def _by_id(self) -> bool:
        return self.of_one and not _TIMES.keys() & self.request.query_params.keys()

    @property
    def default_ordering(self) -> tuple[str, ...]:
        return ("-pk",) if self._by_id else ("-created", "-pk")

    @property
    def reach(self) -> Reach:
        if self._by_id:
            return Reach(served={"endpoint": None}, few=_FEW, joined=_JOINED)
        return Reach(served={**_TIMES, "state": _FAILED}, few=_FEW, joined=_JOINED)

    def listed(self) -> Response:
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(DeliveryOutput(page, many=True).data)


class DeliveriesView(_Deliveries):
    """What was and will be sent to an endpoint, newest first."""

    filterset_class = DeliveryFilter

    def get_queryset(self) -> QuerySet[Delivery]:
        if getattr(self, "swagger_fake_view", False):
            return Delivery.unscoped.none()
        return deliveries_of(self.kwargs["endpoint_id"])

    @extend_schema(responses=DeliveryOutput(many=True))
    def get(self, request: Request, endpoint_id: str) -> Response:
        return self.listed()


class AllDeliveriesView(_Deliveries):
    """What was and will be sent to all endpoints, those that were deleted included, newest first."""

    filterset_class = AllDeliveriesFilter

    def get_queryset(self) -> QuerySet[Delivery]:
        if getattr(self, "swagger_fake_view", False):
            return Delivery.unscoped.none()
        return Delivery.objects.select_related("event")

    @extend_schema(responses=DeliveryOutput(many=True))
    def get(self, request: Request) -> Response:
        return self.listed()


class DeliveryView(TenantAPIView):
    """One delivery: its body and each attempt."""

    key_scope = SCOPE

    @extend_schema(responses=DeliveryDetail)
    def get(self, request: Request, endpoint_id: str, delivery_id: str) -> Response:
        return Response(DeliveryDetail(delivery_or_404(endpoint_id, delivery_id)).data)


class DeliveryRetryView(ActsOnDelivery):
    """Sends a delivery now: a pending one early, a finished one once more. What was delivered once stays delivered."""

    @extend_schema(request=None, responses={202: DeliveryOutput}, parameters=[IDEMPOTENCY_KEY])
    @idempotent
    def post(self, request: Request, endpoint_id: str, delivery_id: str) -> Response:
        endpoint = endpoint_or_404(endpoint_id)
        delivery_or_404(endpoint_id, delivery_id)
        with transaction.atomic():
            delivery = retry_delivery(endpoint=endpoint, delivery_id=delivery_id)
            attach("delivery", delivery.pk)
        return Response(DeliveryOutput(delivery).data, status=202)


routes: list[URLPattern] = [
    re_path(rf"^webhooks/{ENDPOINT}/deliveries$", DeliveriesView.as_view()),
    re_path(rf"^webhooks/{ENDPOINT}/deliveries/{DELIVERY}$", DeliveryView.as_view()),
    re_path(rf"^webhooks/{ENDPOINT}/deliveries/{DELIVERY}/retry$", DeliveryRetryView.as_view()),
    path("integration/deliveries", AllDeliveriesView.as_view()),
]
