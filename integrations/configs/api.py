"""`/api/v1/integrations/...`: providers, configs, set-up. Views parse and authorise; services do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, ClassVar

from django.db import transaction
from django.db.models import QuerySet
from django.http import Http404
from django.urls import URLPattern, path
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from integrations.configs import selectors, services
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
    SetupSerializer,
    StepSerializer,
)
from integrations.contracts.errors import InvalidRequest
from integrations.contracts.provider import Provider
from integrations.contracts.schema import SchemaErrors
from integrations.models import Config, Tenant
from integrations.registry import UnknownProvider, get_provider
from integrations.runtime.idempotency import attach, idempotent
from integrations.tenancy.views import TenantAPIView, TenantGenericAPIView, tenant_of

DELETED = {
    200: OpenApiResponse(ConfigSerializer, description="Kept, and switched off: payments, messages or queued work need it."),
    204: OpenApiResponse(description="Removed."),
}


def named(error: SchemaErrors, prefix: str = "values") -> ValidationError:
    """Return the error with the path of each field as the caller wrote it."""
    return ValidationError({prefix: {name: [text] for name, text in error.errors.items()}})


class ProviderListView(TenantAPIView):
    """The providers installed here."""

    key_scope = "integrations"

    @extend_schema(responses=ProviderListSerializer)
    def get(self, request: Request) -> Response:
        return _whole_list(selectors.provider_list(tenant=tenant_of(request)))


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
        return _whole_list(selectors.provider_list(tenant=tenant_of(request), category=category))


class ConfigBase(TenantGenericAPIView):
    key_scope = "integrations"
    serializer_class = ConfigSerializer
    default_ordering = ("pk",)
    orderings: ClassVar[dict[str, tuple[str, ...]]] = {"id": ("pk",), "-id": ("-pk",), "updated": ("updated", "pk")}

    def get_queryset(self) -> QuerySet[Config]:
        if getattr(self, "swagger_fake_view", False):
            return Config.unscoped.none()
        return Config.objects.all()

    def answer(self, config_id: int, status: int = 200) -> Response:
        return Response(shown([find_config(config_id)])[0], status=status)


class ConfigListView(ConfigBase):
    """The tenant's accounts at providers."""

    filterset_class = ConfigFilter

    @extend_schema(responses=ConfigSerializer(many=True))
    def get(self, request: Request) -> Response:
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(shown(page or []))

    @extend_schema(request=ConfigCreateSerializer, responses={201: ConfigSerializer})
    @idempotent
    def post(self, request: Request) -> Response:
        asked = ConfigCreateSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        try:
            with transaction.atomic():
                config = services.create_config(tenant=tenant_of(request), **asked.validated_data)
                attach("config", str(config.pk))
        except SchemaErrors as error:
            raise named(error) from error
        return self.answer(config.pk, status=201)

    def replay(self, request: Request, object_type: str, object_id: str) -> Response:
        return self.answer(int(object_id), status=201)


class ConfigDetailView(ConfigBase):
    """One account at a provider."""

    @extend_schema(responses=ConfigSerializer)
    def get(self, request: Request, config_id: int) -> Response:
        return self.answer(config_id)

    @extend_schema(request=ConfigUpdateSerializer, responses=ConfigSerializer)
    def put(self, request: Request, config_id: int) -> Response:
        return self._change(request, config_id, ConfigUpdateSerializer, replace=True)

    @extend_schema(request=ConfigPatchSerializer, responses=ConfigSerializer)
    def patch(self, request: Request, config_id: int) -> Response:
        return self._change(request, config_id, ConfigPatchSerializer, replace=False)

    def _change(self, request: Request, config_id: int, shape: type[ConfigUpdateSerializer], *, replace: bool) -> Response:
        config = find_config(config_id)
        asked = shape(data=request.data)
        asked.is_valid(raise_exception=True)
        given = dict(asked.validated_data)
        if replace:
            given = {"label": "", "is_active": True, **given}
        try:
            services.update_config(config=config, replace=replace, **given)
        except SchemaErrors as error:
            raise named(error) from error
        return self.answer(config_id)

    @extend_schema(responses=DELETED)
    def delete(self, request: Request, config_id: int) -> Response:
        if services.delete_config(config=find_config(config_id)):
            return Response(status=204)
        return self.answer(config_id)


class ConfigTestView(TenantAPIView):
    """Calls the provider with the config's credentials."""

    key_scope = "integrations"

    @extend_schema(request=None, responses=OutcomeSerializer)
    @idempotent
    def post(self, request: Request, config_id: int) -> Response:
        return Response(asdict(services.test_config(config=find_config(config_id))))


class ConfigPrimaryView(ConfigBase):
    """Makes the config the one that serves a category when a call names none."""

    @extend_schema(request=PrimarySerializer, responses=ConfigSerializer)
    @idempotent
    def post(self, request: Request, config_id: int) -> Response:
        config = find_config(config_id)
        asked = PrimarySerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        services.set_primary(config=config, category=asked.validated_data.get("category"))
        return self.answer(config_id)


class SetupView(TenantAPIView):
    """What a person needs to set a provider up: requirements, fields, URLs to paste."""

    key_scope = "integrations"

    @extend_schema(
        responses=SetupSerializer,
        parameters=[
            OpenApiParameter("provider", str, OpenApiParameter.PATH),
            OpenApiParameter("config", int, description="Whose URLs; without it, your primary config of the provider."),
        ],
    )
    def get(self, request: Request, provider: str) -> Response:
        declared = find_provider(provider)
        tenant = tenant_of(request)
        config = _config_asked_for(request, declared, tenant)
        shown = {each["slug"]: each for each in selectors.provider_list(tenant=tenant)}
        if provider not in shown:
            raise Http404
        own = services.callback_urls(config) if config is not None else []
        return Response(
            {
                "provider": shown[provider],
                "config": config.pk if config is not None else None,
                "steps": list(STEPS),
                "urls": {each.purpose: {"url": each.url, "what": each.what} for each in own},
                "fixed_urls": [asdict(each) for each in services.fixed_urls(declared)],
            }
        )


STEPS = {"test": services.test_config, "webhooks": services.register_webhooks}


class SetupStepView(TenantAPIView):
    """Does one step: `test` calls the provider, `webhooks` registers our URLs there."""

    key_scope = "integrations"

    @extend_schema(
        request=StepSerializer,
        responses=OutcomeSerializer,
        parameters=[
            OpenApiParameter("provider", str, OpenApiParameter.PATH),
            OpenApiParameter("step", str, OpenApiParameter.PATH, enum=list(STEPS)),
        ],
    )
    @idempotent
    def post(self, request: Request, provider: str, step: str) -> Response:
        declared = find_provider(provider)
        if step not in STEPS:
            raise Http404
        asked = StepSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        config = Config.objects.filter(pk=asked.validated_data["config"], provider_id=declared.slug).first()
        if config is None:
            raise InvalidRequest("You have no such config of this provider.", attr="config")
        return Response(asdict(STEPS[step](config=config)))


def shown(configs: Sequence[Config]) -> Any:
    """Return the configs in the declared shape, ready for JSON."""
    return ConfigSerializer(selectors.configs_data(configs), many=True).data


def find_config(config_id: int) -> Config:
    """Return the config of the active scope's tenant; raise `Http404`."""
    config = Config.objects.filter(pk=config_id).first()
    if config is None:
        raise Http404
    return config


def find_provider(slug: str) -> Provider:
    try:
        return get_provider(slug)
    except UnknownProvider:
        raise Http404 from None


def _config_asked_for(request: Request, provider: Provider, tenant: Tenant) -> Config | None:
    asked = request.query_params.get("config", "")
    if not asked:
        return selectors.config_for_setup(tenant=tenant, provider=provider.slug)
    found = (
        Config.objects.filter(pk=int(asked), provider_id=provider.slug).first()
        if asked.isdecimal() and len(asked) < 19
        else None
    )
    if found is None:
        raise InvalidRequest("You have no such config of this provider.", attr="config")
    return found


def _whole_list(rows: list[dict[str, Any]]) -> Response:
    """The shape of every list; these are short enough to come whole."""
    return Response({"next": None, "previous": None, "results": rows})


routes: list[URLPattern] = [
    path("integrations/providers", ProviderListView.as_view()),
    path("integrations/providers/<slug:category>", ProviderCategoryView.as_view()),
    path("integrations/configs", ConfigListView.as_view()),
    path("integrations/configs/<int:config_id>", ConfigDetailView.as_view()),
    path("integrations/configs/<int:config_id>/test", ConfigTestView.as_view()),
    path("integrations/configs/<int:config_id>/primary", ConfigPrimaryView.as_view()),
    path("integrations/setup/<slug:provider>", SetupView.as_view()),
    path("integrations/setup/<slug:provider>/<slug:step>", SetupStepView.as_view()),
]
