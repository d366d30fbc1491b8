"""The queue as a tenant sees it: what waits, what failed and why; retry and cancel."""

from __future__ import annotations

from typing import Any, ClassVar

import django_filters
from django.db.models import QuerySet
from django.http import Http404
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from integrations.contracts.errors import Conflict, InvalidRequest
from integrations.models import QueueItem, QueueState, Tenant
from integrations.runtime.admission import QueueFull, admit
from integrations.runtime.claims import URGENT
from integrations.runtime.idempotency import idempotent
from integrations.runtime.queue import cancel_item, retry_item
from integrations.runtime.selectors import expected_wait
from integrations.tenancy.authentication import Principal
from integrations.tenancy.pagination import Reach
from integrations.tenancy.serializers import StrictSerializer
from integrations.tenancy.views import TenantGenericAPIView, tenant_of
from integrations_site.platform.logs import ObjectReferenceSerializer

MOST_AT_ONCE = 500
TROUBLED = frozenset({QueueState.FAILED, QueueState.CANCELLED, QueueState.UNKNOWN, QueueState.NEEDS_REVIEW})
OPEN = frozenset({QueueState.PENDING.value, QueueState.PROCESSING.value})
RETRYABLE = [QueueState.FAILED.value, QueueState.CANCELLED.value]


class QueueErrorSerializer(serializers.Serializer[Any]):
    at = serializers.DateTimeField()
    attempt = serializers.IntegerField()
    error = serializers.CharField(help_text="The error's class.")
    detail = serializers.CharField(allow_blank=True)


class WaitSerializer(serializers.Serializer[Any]):
    seconds = serializers.IntegerField(help_text="Expected, to the next try.")
    reason = serializers.CharField()


class QueueItemSerializer(serializers.Serializer[QueueItem]):
    id = serializers.IntegerField()
    kind = serializers.CharField()
    state = serializers.ChoiceField(choices=QueueState.choices)
    config = serializers.IntegerField(source="config_id", allow_null=True)
    reference = serializers.SerializerMethodField()
    priority = serializers.IntegerField()
    attempts = serializers.IntegerField()
    max_attempts = serializers.IntegerField()
    due_at = serializers.DateTimeField()
    not_after = serializers.DateTimeField(allow_null=True)
    last_error = serializers.CharField(allow_blank=True)
    expected_wait = serializers.SerializerMethodField(help_text="Where it was put off: for how long, and why.")
    created = serializers.DateTimeField()
    finished_at = serializers.DateTimeField(allow_null=True)

    @extend_schema_field(ObjectReferenceSerializer(allow_null=True))
    def get_reference(self, item: QueueItem) -> dict[str, str] | None:
        return {"type": item.reference_type, "id": item.reference_id} if item.reference_type else None

    @extend_schema_field(WaitSerializer(allow_null=True))
    def get_expected_wait(self, item: QueueItem) -> dict[str, Any] | None:
        wait = expected_wait(item)
        return None if wait is None else {"seconds": wait.seconds, "reason": wait.reason}


class QueueItemDetailSerializer(QueueItemSerializer):
    payload = serializers.DictField(child=serializers.JSONField())
    errors = QueueErrorSerializer(many=True)


class QueueFilter(django_filters.FilterSet):
    state = django_filters.MultipleChoiceFilter(choices=QueueState.choices)
    kind = django_filters.CharFilter()
    config = django_filters.NumberFilter(field_name="config_id")
    reference = django_filters.CharFilter(field_name="reference_id")
    reference_type = django_filters.CharFilter()
    created_after = django_filters.IsoDateTimeFilter(field_name="created", lookup_expr="gte")
    created_before = django_filters.IsoDateTimeFilter(field_name="created", lookup_expr="lt")

    class Meta:
        model = QueueItem
        fields: list[str] = []


class RetryManySerializer(StrictSerializer):
    """At least one member besides `state`, or `all`: so that an empty body never retries everything."""

    state = serializers.ChoiceField(choices=RETRYABLE, default=QueueState.FAILED.value)
    kind = serializers.CharField(max_length=50, required=False)
    ids = serializers.ListField(child=serializers.IntegerField(), required=False, max_length=MOST_AT_ONCE)
    created_after = serializers.DateTimeField(required=False)
    created_before = serializers.DateTimeField(required=False)
    all = serializers.BooleanField(default=False, help_text="Every item of this state.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if not attrs["all"] and not attrs.keys() & {"kind", "ids", "created_after", "created_before"}:
            raise serializers.ValidationError({"all": ["Name a filter, or say all."]})
        return attrs


class RefusedSerializer(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    detail = serializers.CharField()


class RetriedSerializer(serializers.Serializer[Any]):
    retried = serializers.ListField(child=serializers.IntegerField())
    refused = RefusedSerializer(many=True)
    more = serializers.BooleanField(help_text=f"More than {MOST_AT_ONCE} matched, or the queue is full: ask again.")


class QueueBase(TenantGenericAPIView):
    key_scope = "queue"
    default_ordering = ("-created", "-pk")
    orderings: ClassVar[dict[str, tuple[str, ...]]] = {
        "id": ("created", "pk"),
        "-id": ("-created", "-pk"),
        "due_at": ("due_at", "pk"),
        "-due_at": ("-due_at", "-pk"),
    }

    def get_queryset(self) -> QuerySet[QueueItem]:
        if getattr(self, "swagger_fake_view", False):
            return QueueItem.unscoped.none()
        return QueueItem.objects.all()

    def item(self, item_id: int) -> QueueItem:
        found = self.get_queryset().filter(pk=item_id).first()
        if found is None:
            raise Http404
        return found


class QueueListView(QueueBase):
    """Work that waits, runs or has ended, newest first."""

    filterset_class = QueueFilter
    serializer_class = QueueItemSerializer
    _reach = Reach(served={"created_after": None, "created_before": None, "state": TROUBLED}, few=frozenset({"reference"}))

    @property
    def reach(self) -> Reach | None:
        return None if self._by_due_time() else self._reach

    def _by_due_time(self) -> bool:
        return self.request.query_params.get("ordering", "").lstrip("-") == "due_at"

    @extend_schema(responses=QueueItemSerializer(many=True))
    def get(self, request: Request) -> Response:
        states = request.query_params.getlist("state")
        if self._by_due_time() and not (states and OPEN.issuperset(states)):
            # No index has the due times of what has ended, and nothing is due of it.
            raise InvalidRequest("Only what is open has a due time: add state=pending or state=processing.", attr="ordering")
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(QueueItemSerializer(page, many=True).data)


class QueueDetailView(QueueBase):
    """One item with its error history."""

    serializer_class = QueueItemDetailSerializer

    @extend_schema(responses=QueueItemDetailSerializer)
    def get(self, request: Request, item_id: int) -> Response:
        return Response(QueueItemDetailSerializer(self.item(item_id)).data)

    @extend_schema(responses=QueueItemDetailSerializer)
    def delete(self, request: Request, item_id: int) -> Response:
        """Cancel a pending item; 409 where it runs or has ended."""
        item = cancel_item(self.item(item_id).pk, tenant_id=tenant_of(request).pk, by=actor(request))
        return Response(QueueItemDetailSerializer(item).data)


class QueueRetryView(QueueBase):
    """Makes a failed or cancelled item pending again; 409 where its call may have been carried out already."""

    serializer_class = QueueItemDetailSerializer

    @extend_schema(request=None, responses=QueueItemDetailSerializer)
    @idempotent
    def post(self, request: Request, item_id: int) -> Response:
        item = retry_item(self.item(item_id).pk, tenant_id=tenant_of(request).pk, by=actor(request))
        return Response(QueueItemDetailSerializer(item).data)


class QueueRetryManyView(QueueBase):
    """Retries every matching item that may be retried; says which may not, and why. While the tenant's queue is full only what
    is urgent (priority 1 and 2: money, one-time codes) is retried and the rest is left, with `more`; 429 where nothing that
    matches is urgent."""

    serializer_class = RetriedSerializer

    @extend_schema(request=RetryManySerializer, responses=RetriedSerializer, filters=False)
    @idempotent
    def post(self, request: Request) -> Response:
        asked = RetryManySerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        given = asked.validated_data
        rows = self.get_queryset().filter(state=given["state"])
        conditions = {"kind": "kind", "ids": "pk__in", "created_after": "created__gte", "created_before": "created__lt"}
        for name, lookup in conditions.items():
            if name in given:
                rows = rows.filter(**{lookup: given[name]})
        rows, left = _let_in(rows, tenant_of(request))
        chosen = list(rows.order_by("pk").values_list("pk", flat=True)[: MOST_AT_ONCE + 1])
        retried: list[int] = []
        refused: list[dict[str, Any]] = []
        for item_id in chosen[:MOST_AT_ONCE]:
            try:
                retry_item(item_id, tenant_id=tenant_of(request).pk, by=actor(request))
                retried.append(item_id)
            except Conflict as error:
                refused.append({"id": item_id, "detail": error.message})
        return Response({"retried": retried, "refused": refused, "more": left or len(chosen) > MOST_AT_ONCE})


def _let_in(rows: QuerySet[QueueItem], tenant: Tenant) -> tuple[QuerySet[QueueItem], bool]:
    """Return those of the failed items that may wait beside what waits already, and whether others are left out. Raises
    `QueueFull` where none may."""
    try:
        admit(tenant)
    except QueueFull:
        urgent = rows.filter(priority__lte=URGENT)
        left = rows.filter(priority__gt=URGENT).exists()
        if left and not urgent.exists():
            raise
        return urgent, left
    return rows, False


def actor(request: Request) -> str:
    """Return who asks, for the item's history."""
    principal = request.user
    return principal.name if isinstance(principal, Principal) else "somebody"
