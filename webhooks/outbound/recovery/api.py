"""`/api/webhooks`: dead letters, replays, and how long all of it is kept."""

from __future__ import annotations

from dataclasses import asdict
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
from integrations.tenancy.pagination import Reach
from integrations.tenancy.parameters import IDEMPOTENCY_KEY
from integrations.tenancy.views import TenantAPIView, TenantGenericAPIView, tenant_of
from webhooks.outbound import retention
from webhooks.outbound.endpoints.access import ENDPOINT, REPLAY, SCOPE, endpoint_or_404
from webhooks.outbound.endpoints.delivery_serializers import DeliveryOutput
from webhooks.outbound.models import DeadReason, Delivery, DeliveryState, Endpoint, Replay, ReplayState
from webhooks.outbound.recovery import dead_letters, replays
from webhooks.outbound.recovery.serializers import (
    DiscardOutput,
    RedriveOutput,
    ReplayCountOutput,
    ReplayInput,
    ReplayOutput,
    RetentionInput,
    RetentionOutput,
    SelectionInput,
)
from webhooks.outbound.selectors import of_type


class DeadLetterFilter(filters.FilterSet):
    endpoint = filters.CharFilter(field_name="endpoint_id")
    type = filters.CharFilter(method="filter_type")
    event = filters.CharFilter(field_name="event_id")
    reason = filters.ChoiceFilter(field_name="dead_reason", choices=DeadReason.choices)
    created_after = filters.IsoDateTimeFilter(field_name="created", lookup_expr="gte")
    created_before = filters.IsoDateTimeFilter(field_name="created", lookup_expr="lt")
    died_after = filters.IsoDateTimeFilter(field_name="finished_at", lookup_expr="gte")
    died_before = filters.IsoDateTimeFilter(field_name="finished_at", lookup_expr="lt")

    def filter_type(self, rows: QuerySet[Delivery], name: str, value: str) -> QuerySet[Delivery]:
        return of_type(rows, value)


class DeadLettersView(TenantGenericAPIView):
    """Deliveries that failed for good, newest first, and why. What a person discarded is listed by `reason=discarded` only."""

    key_scope = SCOPE
    serializer_class = DeliveryOutput
    filterset_class = DeadLetterFilter
    reach = Reach(few=frozenset({"event"}), joined=frozenset({"type"}))

    def get_queryset(self) -> QuerySet[Delivery]:
        if getattr(self, "swagger_fake_view", False):
            return Delivery.unscoped.none()
        found = Delivery.objects.filter(state=DeliveryState.FAILED).select_related("event")
        return found if self.request.query_params.get("reason") else found.exclude(dead_reason=DeadReason.DISCARDED)

    @extend_schema(responses=DeliveryOutput(many=True))
    def get(self, request: Request) -> Response:
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(DeliveryOutput(page, many=True).data)


def _selected(request: Request) -> dict[str, Any]:
    given = SelectionInput(data=request.data)
    given.is_valid(raise_exception=True)
    return dict(given.validated_data)


def _handled(handled: dead_letters.Handled, name: str, status: int) -> Response:
    refused = [{"id": each, "reason": reason} for each, reason in handled.refused.items()]
    return Response({name: handled.done, "refused": refused, "more": handled.more}, status=status)


class RedriveView(TenantAPIView):
    """Sends dead letters again, at most 500 a call, the oldest first. A repeated request does no harm: what is on its way is no
    dead letter any more."""

    key_scope = SCOPE

    @extend_schema(request=SelectionInput, responses={202: RedriveOutput}, parameters=[IDEMPOTENCY_KEY])
    @idempotent
    def post(self, request: Request) -> Response:
        asked = _selected(request)
        if "ids" in asked:
            return _handled(dead_letters.redrive(ids=asked["ids"]), "queued", 202)
        return _handled(dead_letters.redrive_found(dead_letters.find(**asked)), "queued", 202)


class DiscardView(TenantAPIView):
    """Sets dead letters aside, at most 500 a call, the oldest first: they leave the list, and no alarm counts them. Named by
    its id, a delivery that still waits is given up too."""

    key_scope = SCOPE

    @extend_schema(request=SelectionInput, responses={200: DiscardOutput}, parameters=[IDEMPOTENCY_KEY])
    @idempotent
    def post(self, request: Request) -> Response:
        asked = _selected(request)
        if "ids" in asked:
            return _handled(dead_letters.discard(ids=asked["ids"]), "discarded", 200)
        return _handled(dead_letters.discard_found(dead_letters.find(**asked)), "discarded", 200)


class ReplayStartView(TenantAPIView):
    """Sends the events of a window to this endpoint again, in the background: those that failed, those that it was never owed
    (`missing`), or `all`. With `dry_run` they are counted."""

    key_scope = SCOPE

    @extend_schema(request=ReplayInput, responses={200: ReplayCountOutput, 202: ReplayOutput}, parameters=[IDEMPOTENCY_KEY])
    @idempotent
    def post(self, request: Request, endpoint_id: str) -> Response:
        endpoint = endpoint_or_404(endpoint_id)
        given = ReplayInput(data=request.data)
        given.is_valid(raise_exception=True)
        asked = dict(given.validated_data)
        asked["mode"] = asked.pop("status")
        if asked.pop("dry_run"):
            return Response(asdict(replays.count_replay(endpoint=endpoint, **asked)))
        with transaction.atomic():
            try:
                replay = replays.start_replay(endpoint=endpoint, requested_by=getattr(request.user, "name", ""), **asked)
            except Endpoint.DoesNotExist as error:  # deleted between the two
                raise Http404 from error
            attach("replay", replay.pk)
        return Response(ReplayOutput(replay).data, status=202)

    def replay(self, request: Request, object_type: str, object_id: str) -> Response:
        return Response(ReplayOutput(Replay.objects.get(pk=object_id)).data, status=202)


class ReplayFilter(filters.FilterSet):
    state = filters.ChoiceFilter(choices=ReplayState.choices)


class ReplaysView(TenantGenericAPIView):
    """The replays of an endpoint, newest first."""

    key_scope = SCOPE
    serializer_class = ReplayOutput
    filterset_class = ReplayFilter

    def get_queryset(self) -> QuerySet[Replay]:
        if getattr(self, "swagger_fake_view", False):
            return Replay.unscoped.none()
        return Replay.objects.filter(endpoint=endpoint_or_404(self.kwargs["endpoint_id"]))

    @extend_schema(responses=ReplayOutput(many=True))
    def get(self, request: Request, endpoint_id: str) -> Response:
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(ReplayOutput(page, many=True).data)


class ReplayView(TenantAPIView):
    """One replay: how far it is. DELETE ends it; what it queued so far is sent."""

    key_scope = SCOPE

    @extend_schema(responses=ReplayOutput)
    def get(self, request: Request, endpoint_id: str, replay_id: str) -> Response:
        found = Replay.objects.filter(pk=replay_id, endpoint=endpoint_or_404(endpoint_id)).first()
        if found is None:
            raise Http404
        return Response(ReplayOutput(found).data)

    @extend_schema(responses={200: ReplayOutput})
    def delete(self, request: Request, endpoint_id: str, replay_id: str) -> Response:
        try:
            replay = replays.cancel_replay(endpoint=endpoint_or_404(endpoint_id), replay_id=replay_id)
        except Replay.DoesNotExist as error:
            raise Http404 from error
        return Response(ReplayOutput(replay).data)


class RetentionView(TenantAPIView):
    """How long the tenant's events are kept, in days, and how many dead letters a day are too many."""

    key_scope = SCOPE

    @extend_schema(responses=RetentionOutput)
    def get(self, request: Request) -> Response:
        return self._shown(retention.policy_of(tenant_of(request)))

    @extend_schema(request=RetentionInput, responses=RetentionOutput)
    def put(self, request: Request) -> Response:
        given = RetentionInput(data=request.data)
        given.is_valid(raise_exception=True)
        return self._shown(retention.save_policy(tenant=tenant_of(request), values=given.validated_data))

    @staticmethod
    def _shown(policy: Any) -> Response:
        own = {name: getattr(policy, name) for name in retention.FIELDS}
        return Response({**own, "effective": asdict(retention.kept_by(policy))})


routes: list[URLPattern] = [
    path("webhooks/dead-letters", DeadLettersView.as_view()),
    path("webhooks/dead-letters/redrive", RedriveView.as_view()),
    path("webhooks/dead-letters/discard", DiscardView.as_view()),
    path("webhooks/retention", RetentionView.as_view()),
    re_path(rf"^webhooks/{ENDPOINT}/replay$", ReplayStartView.as_view()),
    re_path(rf"^webhooks/{ENDPOINT}/replays$", ReplaysView.as_view()),
    re_path(rf"^webhooks/{ENDPOINT}/replays/{REPLAY}$", ReplayView.as_view()),
]
