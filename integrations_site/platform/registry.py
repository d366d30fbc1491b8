"""`/api/integrations`: the registry in its plain form, `{provider, type, status, api_key}`, over the same Config rows.

* `type` is a capability of the provider, or `notification` (its sms, email, push or whatsapp) or `billing` (its payment). It
  is answered as it was written; a config made elsewhere shows the provider's first capability.
* `api_key` is the provider's main secret: the field of that name where its schema has one, else its first required secret.
  It is write-only; the answer says `api_key_set` and shows its end masked.
* Most providers need more than a key. Other fields go into `settings`, secrets too. What is still missing stands in `missing`,
  and until it is given the integration is `inactive`: asking for `active` then is a 400 that names what is missing. Without a
  `status`, it is active as soon as it is complete.
* `environment` is the simulator's in the demo, `production` elsewhere, unless given.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import django_filters
from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.http import Http404
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from integrations.configs import schemas, services
from integrations.configs.routing import LABEL_TYPE
from integrations.contracts.capabilities import Capability, Environment
from integrations.contracts.errors import InvalidRequest
from integrations.contracts.provider import Provider
from integrations.contracts.schema import SchemaErrors
from integrations.models import Config, ExternalReference
from integrations.registry import UnknownProvider, get_provider
from integrations.runtime.idempotency import attach, idempotent
from integrations.secrets import SecretUnreadable
from integrations.tenancy.serializers import StrictSerializer
from integrations.tenancy.views import TenantGenericAPIView, tenant_of

ALIASES = {"notification": ("sms", "email", "push", "whatsapp"), "billing": ("payment",)}
TYPES = [*(each.value for each in Capability), *ALIASES]
ACTIVE, INACTIVE = "active", "inactive"
KIND = "registry_type"


class IntegrationSerializer(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    provider = serializers.CharField()
    type = serializers.ChoiceField(choices=TYPES)
    status = serializers.ChoiceField(choices=[ACTIVE, INACTIVE])
    environment = serializers.ChoiceField(choices=[each.value for each in Environment])
    api_key_set = serializers.BooleanField()
    api_key_masked = serializers.CharField(allow_blank=True)
    settings = serializers.DictField(child=serializers.JSONField(), help_text="Plain values; secrets are never answered.")
    missing = serializers.ListField(child=serializers.CharField(), help_text="Fields that keep it from being active.")
    created = serializers.DateTimeField()
    updated = serializers.DateTimeField()


class IntegrationPatchSerializer(StrictSerializer):
    provider = serializers.CharField(max_length=50, required=False)
    type = serializers.ChoiceField(choices=TYPES, required=False)
    status = serializers.ChoiceField(choices=[ACTIVE, INACTIVE], required=False)
    environment = serializers.ChoiceField(choices=[each.value for each in Environment], required=False)
    api_key = serializers.CharField(required=False, allow_blank=True, write_only=True, trim_whitespace=True)
    settings = serializers.DictField(child=serializers.JSONField(allow_null=True), required=False)


class IntegrationWriteSerializer(IntegrationPatchSerializer):
    """For POST and PUT. Provider and environment of an existing one can't change to another account's: make a new one."""

    provider = serializers.CharField(max_length=50)
    type = serializers.ChoiceField(choices=TYPES)


class IntegrationFilter(django_filters.FilterSet):
    provider = django_filters.CharFilter(field_name="provider_id")
    type = django_filters.ChoiceFilter(choices=[(each, each) for each in TYPES], method="filter_type")
    status = django_filters.ChoiceFilter(choices=[(ACTIVE, ACTIVE), (INACTIVE, INACTIVE)], method="filter_status")

    class Meta:
        model = Config
        fields: list[str] = []

    def filter_type(self, rows: QuerySet[Config], name: str, value: str) -> QuerySet[Config]:
        slugs = {slug for category in ALIASES.get(value, (value,)) for slug in schemas.slugs_of(category)}
        return rows.filter(provider_id__in=slugs)

    def filter_status(self, rows: QuerySet[Config], name: str, value: str) -> QuerySet[Config]:
        return rows.filter(is_active=value == ACTIVE)


class IntegrationBase(TenantGenericAPIView):
    key_scope = "integrations"
    serializer_class = IntegrationSerializer
    default_ordering = ("pk",)
    orderings: ClassVar[dict[str, tuple[str, ...]]] = {"id": ("pk",), "-id": ("-pk",)}

    def get_queryset(self) -> QuerySet[Config]:
        if getattr(self, "swagger_fake_view", False):
            return Config.unscoped.none()
        return Config.objects.all()

    def config(self, config_id: int) -> Config:
        found = self.get_queryset().filter(pk=config_id).first()
        if found is None:
            raise Http404
        return found

    def answer(self, config_id: int, status: int = 200) -> Response:
        return Response(_shown([self.config(config_id)])[0], status=status)


class IntegrationListView(IntegrationBase):
    """The tenant's integrations."""

    filterset_class = IntegrationFilter

    @extend_schema(responses=IntegrationSerializer(many=True))
    def get(self, request: Request) -> Response:
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(_shown(page or []))

    @extend_schema(request=IntegrationWriteSerializer, responses={201: IntegrationSerializer})
    @idempotent
    def post(self, request: Request) -> Response:
        asked = IntegrationWriteSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        given = asked.validated_data
        provider = _provider(given["provider"])
        _check_type(provider, given["type"])
        values = _values(provider, given)
        wanted = given.get("status")
        try:
            with transaction.atomic():
                config = services.create_config(
                    tenant=tenant_of(request),
                    provider=provider.slug,
                    environment=given.get("environment") or _environment(provider),
                    values=values,
                    is_active=wanted == ACTIVE,
                )
                if wanted is None and not schemas.missing(config):
                    services.update_config(config=config, is_active=True)
                _remember_type(config, given["type"])
                attach("config", str(config.pk))
        except SchemaErrors as error:
            raise _named(provider, error) from error
        return self.answer(config.pk, status=201)

    def replay(self, request: Request, object_type: str, object_id: str) -> Response:
        return self.answer(int(object_id), status=201)


class IntegrationDetailView(IntegrationBase):
    """One integration."""

    @extend_schema(responses=IntegrationSerializer)
    def get(self, request: Request, config_id: int) -> Response:
        return self.answer(config_id)

    @extend_schema(request=IntegrationWriteSerializer, responses=IntegrationSerializer)
    def put(self, request: Request, config_id: int) -> Response:
        return self._change(request, config_id, IntegrationWriteSerializer, replace=True)

    @extend_schema(request=IntegrationPatchSerializer, responses=IntegrationSerializer)
    def patch(self, request: Request, config_id: int) -> Response:
        return self._change(request, config_id, IntegrationPatchSerializer, replace=False)

    def _change(self, request: Request, config_id: int, shape: type[IntegrationPatchSerializer], *, replace: bool) -> Response:
        config = self.config(config_id)
        asked = shape(data=request.data)
        asked.is_valid(raise_exception=True)
        given = asked.validated_data
        provider = _provider(config.provider_id)
        if given.get("provider", provider.slug) != provider.slug:
            raise InvalidRequest("The provider can't be changed: make a new integration.", attr="provider")
        if "type" in given:
            _check_type(provider, given["type"])
        # A PUT without `settings` leaves them alone: the plain form may not know that there are any.
        replaced = replace and "settings" in given
        try:
            with transaction.atomic():
                services.update_config(
                    config=config,
                    values=_values(provider, given),
                    replace=replaced,
                    environment=given.get("environment"),
                    is_active={ACTIVE: True, INACTIVE: False}.get(given.get("status", "")),
                )
                if "type" in given:
                    _remember_type(config, given["type"])
        except SchemaErrors as error:
            raise _named(provider, error) from error
        return self.answer(config_id)

    @extend_schema(
        responses={
            200: OpenApiResponse(IntegrationSerializer, description="Kept as inactive: payments, messages or work need it."),
            204: OpenApiResponse(description="Removed."),
        }
    )
    def delete(self, request: Request, config_id: int) -> Response:
        gone = services.delete_config(config=self.config(config_id))
        return Response(status=204) if gone else self.answer(config_id)


def _provider(slug: str) -> Provider:
    try:
        return get_provider(slug)
    except UnknownProvider:
        raise InvalidRequest("No such provider is installed.", attr="provider") from None


def _check_type(provider: Provider, wanted: str) -> None:
    if not set(ALIASES.get(wanted, (wanted,))) & set(provider.categories):
        raise InvalidRequest(f"This provider does: {', '.join(provider.categories)}.", attr="type")


def _environment(provider: Provider) -> str:
    wanted = Environment.SIMULATOR if settings.DEMO and provider.simulator else Environment.PRODUCTION
    able = schemas.environments(provider)
    return wanted.value if wanted.value in able else able[0]


def _key_field(provider: Provider) -> str:
    """Return the name of the schema's field that `api_key` stands for; empty where the provider needs no secret."""
    names = [field.name for field in provider.config if field.secret and field.required]
    return "api_key" if "api_key" in provider.config.secret_names else next(iter(names), "")


def _values(provider: Provider, given: dict[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = dict(given.get("settings", {}))
    if given.get("api_key"):
        name = _key_field(provider)
        if not name:
            raise InvalidRequest("This provider has no key.", attr="api_key")
        values[name] = given["api_key"]
    return values


def _named(provider: Provider, error: SchemaErrors) -> ValidationError:
    """Return the error with each field under the name that this form has for it."""
    key = _key_field(provider)
    problems: dict[str, Any] = {}
    for name, text in error.errors.items():
        if name == key:
            problems["api_key"] = [text]
        else:
            problems.setdefault("settings", {})[name] = [text]
    return ValidationError(problems)


def _remember_type(config: Config, wanted: str) -> None:
    """Keep the caller's own word for what the config is for, to answer with it."""
    mine = {"tenant_id": config.tenant_id, "object_type": LABEL_TYPE, "object_id": str(config.pk), "kind": KIND}
    ExternalReference.unscoped.update_or_create(
        **mine, defaults={"provider": config.provider_id, "external_id": wanted, "config_id": config.pk}
    )


def _shown(configs: Sequence[Config]) -> Any:
    """Return the configs in the plain form, ready for JSON."""
    words = ExternalReference.unscoped.filter(object_type=LABEL_TYPE, kind=KIND, config__in=configs)
    types = dict(words.values_list("config_id", "external_id"))
    return IntegrationSerializer([_data(config, types.get(config.pk)) for config in configs], many=True).data


def _data(config: Config, wanted: str | None) -> dict[str, Any]:
    try:
        provider: Provider | None = get_provider(config.provider_id)
    except UnknownProvider:
        provider = None
    try:
        masked, lacking = config.masked_secrets(), schemas.missing(config)
    except SecretUnreadable:
        masked, lacking = {}, {"api_key": "unreadable"}
    key = _key_field(provider) if provider else ""
    return {
        "id": config.pk,
        "provider": config.provider_id,
        "type": wanted or (provider.categories[0] if provider else ""),
        "status": ACTIVE if config.is_active else INACTIVE,
        "environment": config.environment,
        "api_key_set": key in masked,
        "api_key_masked": masked.get(key, ""),
        "settings": config.values,
        "missing": sorted("api_key" if name == key else name for name in lacking),
        "created": config.created,
        "updated": config.updated,
    }
