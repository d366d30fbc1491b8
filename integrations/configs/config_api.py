"""`/api/v1/integrations/...`: providers and configs. Views parse and authorise; services do."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.db import transaction
from django.http import Http404
from django.urls import URLPattern, path
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from integrations.configs import schemas, selectors, services
from integrations.configs.serializers import (
    CATEGORIES,
    ConfigCreateSerializer,
    ConfigFilter,
    ConfigPatchSerializer,
    ConfigSerializer,
    ConfigUpdateSerializer,
    OutcomeSerializer,
    PrimarySerializer,
    ProviderListSerializer,
)
from integrations.configs.views import ConfigBase, named, whole_list
from integrations.contracts.errors import InvalidRequest
from integrations.contracts.schema import SchemaErrors
from integrations.runtime.idempotency import attach, idempotent
from integrations.tenancy.views import TenantAPIView, tenant_of

DELETED = {
    200: OpenApiResponse(ConfigSerializer, description="Kept, and switched off: payments, messages or queued work need it."),
    204: OpenApiResponse(description="Removed."),
}


class ProviderListView(TenantAPIView):
    """The providers installed here."""

    key_scope = "integrations"

    @extend_schema(responses=ProviderListSerializer)
    def get(self, request: Request) -> Response:
        return whole_list(selectors.provider_list(tenant=tenant_of(request)))


class ProviderCategoryView(TenantAPIView):
    """The providers of one category."""

    key_scope = "integrations"

    @extend_schema(
        responses=ProviderListSerializer,
        parameters=[OpenApiParameter("category", str, OpenApiParameter.PATH, enum=CATEGORIES)],
    )
    def get(self, request: Request, category: str) -> Response:
        if category not in CATEGORIES:
            raise Http404
        return whole_list(selectors.provider_list(tenant=tenant_of(request), category=category))


class ConfigListView(ConfigBase):
    """The tenant's accounts at providers."""

    filterset_class: Any = ConfigFilter

    @extend_schema(responses=ConfigSerializer(many=True))
    def get(self, request: Request) -> Response:
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(self.shown(page or []))

    @extend_schema(request=ConfigCreateSerializer, responses={201: ConfigSerializer})
    @idempotent
    def post(self, request: Request) -> Response:
        asked = ConfigCreateSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        given = asked.validated_data
        if self.category is not None and given["provider"] not in schemas.slugs_of(self.category.value):
            raise InvalidRequest(f"No such {self.category.value} provider is installed.", attr="provider")
        try:
            with transaction.atomic():
                config = services.create_config(tenant=tenant_of(request), **given)
                attach("config", str(config.pk))
        except SchemaErrors as error:
            raise named(error) from error
        return self.answer(config.pk, status=201)

    def replay(self, request: Request, object_type: str, object_id: str) -> Response:
        return self.answer(int(object_id), status=201)


class ConfigDetailView(ConfigBase):
    """One account at a provider."""

    @extend_schema(responses=ConfigSerializer)
    def get(self, request: Request, **_ids: int) -> Response:
        return self.answer(self.config().pk)

    @extend_schema(request=ConfigUpdateSerializer, responses=ConfigSerializer)
    def put(self, request: Request, **_ids: int) -> Response:
        return self._change(request, ConfigUpdateSerializer, replace=True)

    @extend_schema(request=ConfigPatchSerializer, responses=ConfigSerializer)
    def patch(self, request: Request, **_ids: int) -> Response:
        return self._change(request, ConfigPatchSerializer, replace=False)

    def _change(self, request: Request, shape: type[ConfigUpdateSerializer], *, replace: bool) -> Response:
        config = self.config()
        asked = shape(data=request.data)
        asked.is_valid(raise_exception=True)
        given = dict(asked.validated_data)
        if replace:
            given = {"label": "", "is_active": True, "limits": {}, **given}
        try:
            services.update_config(config=config, replace=replace, **given)
        except SchemaErrors as error:
            raise named(error) from error
        return self.answer(config.pk)

    @extend_schema(responses=DELETED)
    def delete(self, request: Request, **_ids: int) -> Response:
        config = self.config()
        config_id = config.pk
        if services.delete_config(config=config):
            return Response(status=204)
        return self.answer(config_id)


class ConfigTestView(ConfigBase):
    """Calls the provider with the config's credentials."""

    serializer_class = OutcomeSerializer  # type: ignore[assignment]

    @extend_schema(request=None, responses=OutcomeSerializer)
    @idempotent
    def post(self, request: Request, **_ids: int) -> Response:
        return Response(asdict(services.test_config(config=self.config())))


class ConfigPrimaryView(ConfigBase):
    """Makes the config the one that serves a category when a call names none."""

    @extend_schema(request=PrimarySerializer, responses=ConfigSerializer)
    @idempotent
    def post(self, request: Request, **_ids: int) -> Response:
        config = self.config()
        asked = PrimarySerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        services.set_primary(config=config, category=asked.validated_data.get("category"))
        return self.answer(config.pk)


routes: list[URLPattern] = [
    path("integrations/providers", ProviderListView.as_view()),
    path("integrations/providers/<slug:category>", ProviderCategoryView.as_view()),
    path("integrations/configs", ConfigListView.as_view()),
    path("integrations/configs/<int:config_id>", ConfigDetailView.as_view()),
    path("integrations/configs/<int:config_id>/test", ConfigTestView.as_view()),
    path("integrations/configs/<int:config_id>/primary", ConfigPrimaryView.as_view()),
]
