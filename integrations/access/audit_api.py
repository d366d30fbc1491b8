"""`/api/v1/integrations/audit`: who changed what."""

from __future__ import annotations

from django.db.models import QuerySet
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from integrations.access.serializers import AuditOutput
from integrations.models import AuditEntry
from integrations.tenancy.views import TenantGenericAPIView


class AuditFilter(filters.FilterSet):
    actor = filters.CharFilter(lookup_expr="icontains")
    action = filters.CharFilter(help_text="`api_key.rotated`.")
    object_type = filters.CharFilter()
    object_id = filters.CharFilter()
    created_after = filters.IsoDateTimeFilter(field_name="created", lookup_expr="gte")
    created_before = filters.IsoDateTimeFilter(field_name="created", lookup_expr="lt")


class AuditView(TenantGenericAPIView):
    """Changes to endpoints, keys, credentials, members and links, newest first. Entries are never changed."""

    key_scope = "audit"
    serializer_class = AuditOutput
    filterset_class = AuditFilter

    def get_queryset(self) -> QuerySet[AuditEntry]:
        return AuditEntry.unscoped.none() if getattr(self, "swagger_fake_view", False) else AuditEntry.objects.all()

    @extend_schema(responses=AuditOutput(many=True))
    def get(self, request: Request) -> Response:
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(AuditOutput(page, many=True).data)
