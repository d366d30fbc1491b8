"""`/api/v1/integrations/setup/...`: the set-up wizard as endpoints, for a page or for a program."""

from __future__ import annotations

from dataclasses import asdict

from django.db import transaction
from django.http import Http404
from django.urls import URLPattern, path
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from integrations.configs import selectors, services, wizard
from integrations.configs.features import matrix
from integrations.configs.setup_serializers import (
    CredentialsSerializer,
    SetupSerializer,
    StepOutcomeSerializer,
    StepSerializer,
)
from integrations.configs.views import find_provider, named
from integrations.contracts.errors import InvalidRequest
from integrations.contracts.provider import Provider
from integrations.contracts.schema import SchemaErrors
from integrations.models import Config, Tenant
from integrations.runtime.idempotency import attach, idempotent
from integrations.tenancy import addresses
from integrations.tenancy.views import TenantAPIView, tenant_of

PROVIDER = OpenApiParameter("provider", str, OpenApiParameter.PATH)
NOTES = {
    wizard.Method.API: "The step `webhooks` registers these at the provider.",
    wizard.Method.MANUAL: "Paste these into the provider's dashboard.",
    wizard.Method.NONE: "",
}
UNSAVED = "The URLs exist once the config is saved: the step `credentials` does that."


class SetupView(TenantAPIView):
    """What a person needs to set a provider up: requirements, fields, URLs to paste, and how far the config is."""

    key_scope = "integrations"

    @extend_schema(
        responses=SetupSerializer,
        parameters=[
            PROVIDER,
            OpenApiParameter("config", int, description="Which config; without it, your primary config of the provider."),
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
        whole = addresses.may_see(request.user, self.key_scope)
        purposes = [
            {**each, "url": each["url"] and addresses.shown(each["url"], whole=whole)}
            for each in wizard.purposes(declared, config)
        ]
        method, progress = wizard.webhook_method(declared), wizard.progress(declared, config)
        note = UNSAVED if config is None and method is not wizard.Method.NONE else NOTES[method]
        return Response(
            {
                "provider": shown[provider],
                "config": config.pk if config is not None else None,
                "steps": list(wizard.STEPS),
                "progress": [asdict(each) for each in progress],
                "next": wizard.next_step(progress),
                "urls": {each.purpose: {"url": addresses.shown(each.url, whole=whole), "what": each.what} for each in own},
                "webhooks": {"method": method, "purposes": purposes, "note": note},
                "fixed_urls": [asdict(each) for each in services.fixed_urls(declared)],
                "features": matrix(declared, config),
            }
        )


class CredentialsView(TenantAPIView):
    """Stores the credentials of a new config (201) or of one that there is (200), switched on once nothing is missing."""

    key_scope = "integrations"

    @extend_schema(
        request=CredentialsSerializer,
        responses={200: StepOutcomeSerializer, 201: StepOutcomeSerializer},
        parameters=[PROVIDER],
    )
    @idempotent
    def post(self, request: Request, provider: str) -> Response:
        declared = find_provider(provider)
        asked = CredentialsSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        given = dict(asked.validated_data)
        config = _own(declared, given.pop("config")) if "config" in given else None
        try:
            with transaction.atomic():
                stored = wizard.save_credentials(tenant=tenant_of(request), provider=declared, config=config, **given)
                if config is None:
                    attach("config", str(stored.pk))
        except SchemaErrors as error:
            raise named(error) from error
        return Response(asdict(wizard.credentials_outcome(stored)), status=201 if config is None else 200)

    def replay(self, request: Request, object_type: str, object_id: str) -> Response:
        config = Config.objects.filter(pk=int(object_id)).first()
        if config is None:
            raise Http404
        return Response(asdict(wizard.credentials_outcome(config)), status=201)


class SetupStepView(TenantAPIView):
    """Does one step: `activate` switches the config on, `test` calls the provider, `webhooks` registers our URLs there,
    `primary` sends new calls to it, `test-transaction` answers the request that tries a payment (none is made here)."""

    key_scope = "integrations"
    steps = tuple(step for step in wizard.STEPS if step != wizard.CREDENTIALS)

    @extend_schema(
        request=StepSerializer,
        responses=StepOutcomeSerializer,
        parameters=[PROVIDER, OpenApiParameter("step", str, OpenApiParameter.PATH, enum=list(steps))],
    )
    @idempotent
    def post(self, request: Request, provider: str, step: str) -> Response:
        declared = find_provider(provider)
        if step not in self.steps:
            raise Http404
        asked = StepSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        try:
            outcome = wizard.run_step(step, config=_own(declared, asked.validated_data["config"]))
        except SchemaErrors as error:
            raise named(error) from error
        return Response(asdict(outcome))


def _own(provider: Provider, config_id: int) -> Config:
    """Return the tenant's config of this provider; raise `InvalidRequest` (attr `config`)."""
    found = Config.objects.filter(pk=config_id, provider_id=provider.slug).first() if 0 < config_id < 2**63 else None
    if found is None:
        raise InvalidRequest("You have no such config of this provider.", attr="config")
    return found


def _config_asked_for(request: Request, provider: Provider, tenant: Tenant) -> Config | None:
    asked = request.query_params.get("config", "")
    if not asked:
        return selectors.config_for_setup(tenant=tenant, provider=provider.slug)
    return _own(provider, int(asked) if asked.isdecimal() and len(asked) < 19 else 0)


routes: list[URLPattern] = [
    path("integrations/setup/<slug:provider>", SetupView.as_view()),
    path("integrations/setup/<slug:provider>/credentials", CredentialsView.as_view()),
    path("integrations/setup/<slug:provider>/<slug:step>", SetupStepView.as_view()),
]
