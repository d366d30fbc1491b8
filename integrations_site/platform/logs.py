"""The log of every exchange with the outside: list, filters, detail. Masked when it was written."""

from __future__ import annotations

from typing import Any, ClassVar

import django_filters
from django.db import transaction
from django.db.models import Q, QuerySet
from django.http import Http404
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from integrations.models import CallLog, Direction, LogStatus
from integrations.runtime.erasing import erase_log
from integrations.runtime.idempotency import attach, idempotent
from integrations.tenancy.pagination import Reach
from integrations.tenancy.parameters import IDEMPOTENCY_KEY
from integrations.tenancy.views import TenantGenericAPIView

TEXTS = ("operation", "url", "error", "request_body", "response_body", "reference_id", "external_reference")


class ObjectReferenceSerializer(serializers.Serializer[Any]):
    type = serializers.CharField()
    id = serializers.CharField()


class LogSerializer(serializers.Serializer[CallLog]):
    id = serializers.IntegerField()
    created = serializers.DateTimeField()
    direction = serializers.ChoiceField(choices=Direction.choices)
    provider = serializers.CharField()
    config = serializers.IntegerField(source="config_id", allow_null=True)
    operation = serializers.CharField()
    status = serializers.ChoiceField(choices=LogStatus.choices)
    method = serializers.CharField(allow_blank=True)
    url = serializers.CharField(allow_blank=True)
    status_code = serializers.IntegerField(allow_null=True)
    duration_ms = serializers.IntegerField(allow_null=True)
    error = serializers.CharField(allow_blank=True)
    reference = serializers.SerializerMethodField()
    external_reference = serializers.CharField(allow_blank=True)
    request_id = serializers.CharField(allow_blank=True)

    @extend_schema_field(ObjectReferenceSerializer(allow_null=True))
    def get_reference(self, row: CallLog) -> dict[str, str] | None:
        return {"type": row.reference_type, "id": row.reference_id} if row.reference_type else None


class LogDetailSerializer(LogSerializer):
    request_headers = serializers.DictField(child=serializers.CharField())
    request_body = serializers.CharField(allow_blank=True)
    response_headers = serializers.DictField(child=serializers.CharField())
    response_body = serializers.CharField(allow_blank=True)
    ip = serializers.CharField(allow_null=True)
    queue_item = serializers.IntegerField(source="item_id", allow_null=True)
    erased_at = serializers.DateTimeField(allow_null=True, help_text="When its headers and bodies were erased on request.")


class LogFilter(django_filters.FilterSet):
    """`reference` is our object's id, `q` looks into operation, URL, error and both bodies: a thousand exchanges a page, so
    that a page may be empty and yet have a next one. Ids have filters of their own, which look everywhere at once."""

    provider = django_filters.CharFilter()
    config = django_filters.NumberFilter(field_name="config_id")
    direction = django_filters.ChoiceFilter(choices=Direction.choices)
    operation = django_filters.CharFilter()
    status = django_filters.ChoiceFilter(choices=LogStatus.choices)
    status_code = django_filters.NumberFilter()
    reference = django_filters.CharFilter(field_name="reference_id")
    reference_type = django_filters.CharFilter()
    external_reference = django_filters.CharFilter()
    request_id = django_filters.CharFilter()
    created_after = django_filters.IsoDateTimeFilter(field_name="created", lookup_expr="gte")
    created_before = django_filters.IsoDateTimeFilter(field_name="created", lookup_expr="lt")
    q = django_filters.CharFilter(method="search", label="Text")

    class Meta:
        model = CallLog
        fields: list[str] = []

    def search(self, rows: QuerySet[CallLog], name: str, value: str) -> QuerySet[CallLog]:
        found = Q()
        for column in TEXTS:
            found |= Q(**{f"{column}__icontains": value})
        return rows.filter(found)


class LogBase(TenantGenericAPIView):
    key_scope = "logs"
    default_ordering = ("-created", "-pk")
    orderings: ClassVar[dict[str, tuple[str, ...]]] = {"id": ("created", "pk"), "-id": ("-created", "-pk")}

    def get_queryset(self) -> QuerySet[CallLog]:
        if getattr(self, "swagger_fake_view", False):
            return CallLog.unscoped.none()
        return CallLog.objects.all()


class LogListView(LogBase):
    """Exchanges with providers, in and out, newest first."""

    filterset_class = LogFilter
    serializer_class = LogSerializer
    reach = Reach(
        served={
            "provider": None,
            "created_after": None,
            "created_before": None,
            "status": frozenset({LogStatus.FAILED, LogStatus.TIMEOUT}),
        },
        few=frozenset({"reference", "external_reference", "request_id"}),
        read=frozenset({"q"}),
    )

    @extend_schema(responses=LogSerializer(many=True))
    def get(self, request: Request) -> Response:
        # The bodies may be long and are not shown in the list.
        long = ("request_headers", "request_body", "response_headers", "response_body")
        rows = self.filter_queryset(self.get_queryset().defer(*long))
        page = self.paginate_queryset(rows)
        return self.get_paginated_response(LogSerializer(page, many=True).data)


class LogDetailView(LogBase):
    """One exchange with its masked headers and bodies."""

    serializer_class = LogDetailSerializer

    @extend_schema(responses=LogDetailSerializer)
    def get(self, request: Request, log_id: int) -> Response:
        row = self.get_queryset().filter(pk=log_id).first()
        if row is None:
            raise Http404
        return Response(LogDetailSerializer(row).data)


class LogEraseView(LogBase):
    """Erases what an exchange said, at a person's request: headers, bodies, the URL's query and the error; of a request that
    came in the stored request too, with the event or the message that was made of its words. That it happened stays. It can't
    be had back. 409 while it goes on, waits to be processed, or what was made of it is being sent."""

    serializer_class = LogDetailSerializer

    @extend_schema(request=None, responses=LogDetailSerializer, parameters=[IDEMPOTENCY_KEY])
    @idempotent
    def post(self, request: Request, log_id: int) -> Response:
        with transaction.atomic():
            try:
                row = erase_log(log_id=log_id)
            except CallLog.DoesNotExist as error:
                raise Http404 from error
            attach("log", str(log_id))
        return Response(LogDetailSerializer(row).data)

    def replay(self, request: Request, object_type: str, object_id: str) -> Response:
        return Response(LogDetailSerializer(self.get_queryset().get(pk=object_id)).data)
