"""What happened (`/api/events`), what can happen (`/api/webhooks/event-types`), and trying out filters."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from django.db import transaction
from django.db.models import Count, QuerySet
from django.http import Http404
from django.urls import URLPattern, path, re_path
from django_filters import rest_framework as filters
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from integrations.contracts.errors import InvalidRequest
from integrations.runtime.idempotency import attach, idempotent
from integrations.tenancy.pagination import Reach
from integrations.tenancy.parameters import IDEMPOTENCY_KEY
from integrations.tenancy.views import TenantAPIView, TenantGenericAPIView, tenant_of
from webhooks.outbound.endpoints.delivery_serializers import DeliveryOutput
from webhooks.outbound.models import Delivery, Event, EventTypeDefinition
from webhooks.outbound.publishing import definitions
from webhooks.outbound.publishing.erasing import erase_payload
from webhooks.outbound.publishing.filters import first_failure
from webhooks.outbound.publishing.own import publish_own
from webhooks.outbound.publishing.serializers import (
    EventDetail,
    EventInput,
    EventOutput,
    EventTypeChange,
    EventTypeDetail,
    EventTypeInput,
    EventTypeOutput,
    FilterTestInput,
    FilterTestOutput,
)

SHOWN_DELIVERIES = 200


def _event(event_id: str) -> Event:
    event: Event | None = Event.objects.filter(pk=event_id).first()
    if event is None:
        raise Http404
    return event


def _counts(events: Sequence[Event]) -> dict[str, int]:
    """Return how many deliveries each event has."""
    rows = Delivery.objects.filter(event__in=[each.pk for each in events]).order_by().values("event_id")
    return dict(rows.annotate(count=Count("pk")).values_list("event_id", "count"))


def _shown(event: Event) -> Any:
    return EventOutput(event, context={"deliveries": _counts([event])}).data


class EventFilter(filters.FilterSet):
    type = filters.CharFilter()
    object_type = filters.CharFilter()
    object_id = filters.CharFilter()
    created_after = filters.IsoDateTimeFilter(field_name="created", lookup_expr="gte")
    created_before = filters.IsoDateTimeFilter(field_name="created", lookup_expr="lt")


class EventsView(TenantGenericAPIView):
    """What happened, newest first. POST says that something happened in a system of your own: whoever subscribes is told."""

    key_scope = "events"
    serializer_class = EventOutput
    filterset_class = EventFilter
    reach = Reach(served={"created_after": None, "created_before": None}, few=frozenset({"object_id"}))
    default_ordering = ("-created", "-pk")

    def get_queryset(self) -> QuerySet[Event]:
        if getattr(self, "swagger_fake_view", False):
            return Event.unscoped.none()
        return Event.objects.all()

    @extend_schema(responses=EventOutput(many=True))
    def get(self, request: Request) -> Response:
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset().defer("payload"))) or []
        return self.get_paginated_response(EventOutput(page, many=True, context={"deliveries": _counts(page)}).data)

    @extend_schema(parameters=[IDEMPOTENCY_KEY], request=EventInput, responses={201: EventOutput, 200: EventOutput})
    @idempotent
    def post(self, request: Request) -> Response:
        given = EventInput(data=request.data)
        given.is_valid(raise_exception=True)
        wanted = given.validated_data
        reference = wanted.get("reference") or {"type": "", "id": ""}
        with transaction.atomic():
            event, is_new = publish_own(
                tenant_id=tenant_of(request).pk,
                type=wanted["type"],
                data=wanted["data"],
                channels=wanted["channels"],
                object_type=reference["type"],
                object_id=reference["id"],
                key=wanted["key"],
            )
            attach("event", event.pk)
        return Response(_shown(event), status=201 if is_new else 200)

    def replay(self, request: Request, object_type: str, object_id: str) -> Response:
        return Response(_shown(_event(object_id)), status=201)


class EventView(TenantAPIView):
    """One event: its body as it is sent, and its deliveries."""

    key_scope = "events"

    @extend_schema(responses=EventDetail)
    def get(self, request: Request, event_id: str) -> Response:
        event = _event(event_id)
        owed = Delivery.objects.filter(event=event).select_related("event", "endpoint").order_by("-pk")[:SHOWN_DELIVERIES]
        body = json.loads(event.payload) if event.payload else None
        return Response({**_shown(event), "body": body, "deliveries": DeliveryOutput(owed, many=True).data})


class EventPayloadView(TenantAPIView):
    """What an event said, erased at a person's request: its body, and what receivers answered. It can't be had back."""

    key_scope = "events"

    @extend_schema(responses={204: None})
    def delete(self, request: Request, event_id: str) -> Response:
        try:
            erase_payload(event_id=event_id)
        except Event.DoesNotExist as error:
            raise Http404 from error
        return Response(status=204)


class EventTypesView(TenantAPIView):
    """What can happen: the hub's catalogue, then your own types. JSON Schema and example are of the whole body."""

    key_scope = "webhooks"

    @extend_schema(
        parameters=[OpenApiParameter("archived", bool, description="Your archived types too.")],
        responses=EventTypeOutput(many=True),
    )
    def get(self, request: Request) -> Response:
        archived = request.query_params.get("archived", "false").lower()
        if archived not in ("true", "false"):
            raise InvalidRequest("Write true or false.", attr="archived")
        return Response(definitions.catalogue(archived=archived == "true"))

    @extend_schema(parameters=[IDEMPOTENCY_KEY], request=EventTypeInput, responses={201: EventTypeDetail})
    @idempotent
    def post(self, request: Request) -> Response:
        given = EventTypeInput(data=request.data)
        given.is_valid(raise_exception=True)
        with transaction.atomic():
            definition = definitions.define_type(tenant=tenant_of(request), **given.validated_data)
            attach("event_type", definition.name)
        return Response(definitions.detail_of(definition.name), status=201)

    def replay(self, request: Request, object_type: str, object_id: str) -> Response:
        return Response(definitions.detail_of(object_id), status=201)


class EventTypeView(TenantAPIView):
    """One type. Those of the catalogue can only be read; deleting one of your own archives it."""

    key_scope = "webhooks"

    @extend_schema(responses=EventTypeDetail)
    def get(self, request: Request, type_name: str) -> Response:
        found = definitions.detail_of(type_name)
        if found is None:
            raise Http404
        return Response(found)

    @extend_schema(request=EventTypeChange, responses=EventTypeDetail)
    def put(self, request: Request, type_name: str) -> Response:
        self._own(type_name)
        given = EventTypeChange(data=request.data)
        given.is_valid(raise_exception=True)
        definitions.redefine_type(name=type_name, **given.validated_data)
        return Response(definitions.detail_of(type_name))

    @extend_schema(responses={204: None})
    def delete(self, request: Request, type_name: str) -> Response:
        self._own(type_name)
        try:
            definitions.archive_type(name=type_name)
        except EventTypeDefinition.DoesNotExist as error:
            raise Http404 from error
        return Response(status=204)

    def _own(self, name: str) -> None:
        if not EventTypeDefinition.objects.filter(name=name).exists():
            if definitions.detail_of(name) is not None:
                raise InvalidRequest("This type is of the hub's catalogue: it can't be changed.", attr="name")
            raise Http404


class FilterTestView(TenantAPIView):
    """Holds a filter against an event, a body of your own or the example of a type. Nothing is stored."""

    key_scope = "webhooks"

    @extend_schema(request=FilterTestInput, responses=FilterTestOutput)
    def post(self, request: Request) -> Response:
        given = FilterTestInput(data=request.data)
        given.is_valid(raise_exception=True)
        wanted = given.validated_data
        body = wanted["body"] if "body" in wanted else self._body(wanted)
        failing = first_failure(wanted["filter"], body)
        return Response({"matches": failing is None, "reason": failing})

    def _body(self, wanted: dict[str, Any]) -> Any:
        if "event" in wanted:
            event: Event | None = Event.objects.filter(pk=wanted["event"]).first()
            if event is None:
                raise InvalidRequest("There is no such event.", attr="event")
            if not event.payload:
                raise InvalidRequest("The payload of this event is not kept any more.", attr="event")
            return json.loads(event.payload)
        found = definitions.detail_of(wanted["type"])
        if found is None or found["example"] is None:
            raise InvalidRequest("There is no such type, or it has no example.", attr="type")
        return found["example"]


_EVENT = r"^events/(?P<event_id>evt_[0-9a-z]{26})"

routes: list[URLPattern] = [
    path("events", EventsView.as_view()),
    re_path(rf"{_EVENT}$", EventView.as_view()),
    re_path(rf"{_EVENT}/payload$", EventPayloadView.as_view()),
    path("webhooks/event-types", EventTypesView.as_view()),
    re_path(r"^webhooks/event-types/(?P<type_name>[a-z][a-z0-9_.]{1,99})$", EventTypeView.as_view()),
    path("webhooks/filters/test", FilterTestView.as_view()),
]
