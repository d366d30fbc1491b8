"""`/api/integrations/inbound-endpoints`: where webhooks come in, for provider accounts and sources of the tenant's own."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.http import Http404
from django.urls import URLPattern, path, re_path
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from integrations.contracts.errors import InvalidRequest
from integrations.models import Config
from integrations.runtime.idempotency import attach, idempotent
from integrations.tenancy import addresses
from integrations.tenancy.parameters import IDEMPOTENCY_KEY
from integrations.tenancy.views import TenantAPIView, TenantGenericAPIView, tenant_of
from webhooks.inbound.endpoints import services
from webhooks.inbound.endpoints.serializers import (
    InboundEndpointCreated,
    InboundEndpointInput,
    InboundEndpointOutput,
    RejectionOutput,
    RotateInput,
)
from webhooks.inbound.locate import ENDPOINT
from webhooks.inbound.models import InboundEndpoint, Rejection, Scheme

KEY_SCOPE = "inbound_endpoints"
NEW_PATH = "The address is new: enter it at the provider (or register webhooks again) before the old one ends."
NEW_SECRET = "Give the new secret to the sender before the old one ends."  # noqa: S105 a text about one
NEW_SOURCE = "Give the address and the secret to the sender."
WHOLE = {
    "name": "",
    "events": [],
    "allowed_ips": [],
    "is_active": True,
}
WHOLE_SOURCE = {**WHOLE, "options": {}, "tolerance": 300, "dedupe_path": "", "type_path": "", "event_types": {}, "fields": {}}
"""What PUT sets a member to that is not given."""


def _endpoints() -> QuerySet[InboundEndpoint]:
    return InboundEndpoint.objects.filter(deleted_at__isnull=True).select_related("config")


def _endpoint(endpoint_id: str) -> InboundEndpoint:
    endpoint: InboundEndpoint | None = _endpoints().filter(pk=endpoint_id).first()
    if endpoint is None:
        raise Http404
    return endpoint


def _shown(request: Request, found: Any, *, many: bool = False) -> Any:
    context = {"whole": addresses.may_see(request.user, KEY_SCOPE)}
    return InboundEndpointOutput(found, many=many, context=context).data


def _created(request: Request, endpoint: InboundEndpoint, secret: str, note: str) -> dict[str, Any]:
    return {**_shown(request, endpoint), "secret": secret or None, "note": note}


def _secret_again(request: Request, endpoint: InboundEndpoint) -> str:
    """Return the secret that we made for a request which never got its answer."""
    brought = isinstance(request.data, dict) and request.data.get("secret")
    return "" if brought or endpoint.config_id else endpoint.secrets()[0]["secret"]


class InboundEndpointFilter(filters.FilterSet):
    kind = filters.ChoiceFilter(choices=[("provider", "provider"), ("generic", "generic")], method="of_kind")
    provider = filters.CharFilter(field_name="config__provider_id")
    scheme = filters.ChoiceFilter(choices=Scheme.choices)
    is_active = filters.BooleanFilter()

    def of_kind(self, rows: QuerySet[InboundEndpoint], name: str, value: str) -> QuerySet[InboundEndpoint]:
        return rows.filter(config__isnull=value == "generic")


class InboundEndpointsView(TenantGenericAPIView):
    """The tenant's ways in. Each provider account that is called back has one by itself; generic sources are made here."""

    key_scope = KEY_SCOPE
    serializer_class = InboundEndpointOutput
    filterset_class = InboundEndpointFilter

    def get_queryset(self) -> QuerySet[InboundEndpoint]:
        if getattr(self, "swagger_fake_view", False):
            return InboundEndpoint.unscoped.none()
        return _endpoints()

    @extend_schema(responses=InboundEndpointOutput(many=True))
    def get(self, request: Request) -> Response:
        services.ensure_rows(tenants=[tenant_of(request)])
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(_shown(request, page, many=True))

    @extend_schema(request=InboundEndpointInput, responses={201: InboundEndpointCreated}, parameters=[IDEMPOTENCY_KEY])
    @idempotent
    def post(self, request: Request) -> Response:
        given = InboundEndpointInput(data=request.data)
        given.is_valid(raise_exception=True)
        settings = dict(given.validated_data)
        with transaction.atomic():
            endpoint, secret = self._make(request, settings)
            attach(ENDPOINT, endpoint.pk)
        return Response(_created(request, endpoint, secret, NEW_SOURCE), status=201)

    @staticmethod
    def _make(request: Request, settings: dict[str, Any]) -> tuple[InboundEndpoint, str]:
        config_id = settings.pop("config", None)
        if config_id is None:
            if "scheme" not in settings:
                raise InvalidRequest("Name the scheme, or a provider account.", attr="scheme")
            return services.create_source(tenant=tenant_of(request), **settings)
        config = Config.objects.filter(pk=config_id).first()
        if config is None:
            raise InvalidRequest("There is no such provider account.", attr="config")
        return services.create_for_config(config=config, **settings), ""

    def replay(self, request: Request, object_type: str, object_id: str) -> Response:
        endpoint = _endpoint(object_id)
        return Response(_created(request, endpoint, _secret_again(request, endpoint), NEW_SOURCE), status=201)


class InboundEndpointView(TenantAPIView):
    """One way in. A provider account's takes `name`, `events`, `allowed_ips` and `is_active`, and can't be deleted."""

    key_scope = KEY_SCOPE

    @extend_schema(responses=InboundEndpointOutput)
    def get(self, request: Request, inbound_endpoint_id: str) -> Response:
        return Response(_shown(request, _endpoint(inbound_endpoint_id)))

    @extend_schema(request=InboundEndpointInput, responses=InboundEndpointOutput)
    def put(self, request: Request, inbound_endpoint_id: str) -> Response:
        return self._change(request, inbound_endpoint_id, partial=False)

    @extend_schema(request=InboundEndpointInput(partial=True), responses=InboundEndpointOutput)
    def patch(self, request: Request, inbound_endpoint_id: str) -> Response:
        return self._change(request, inbound_endpoint_id, partial=True)

    def _change(self, request: Request, inbound_endpoint_id: str, *, partial: bool) -> Response:
        stored = _endpoint(inbound_endpoint_id)
        given = InboundEndpointInput(data=request.data, partial=True)
        given.is_valid(raise_exception=True)
        changes = dict(given.validated_data)
        if changes.pop("config", stored.config_id) != stored.config_id:
            raise InvalidRequest("An endpoint stays with its account.", attr="config")
        if "secret" in changes:
            raise InvalidRequest("Secrets are changed by rotating.", attr="secret")
        if not partial:
            changes = {**(WHOLE if stored.config_id else WHOLE_SOURCE), **changes}
        try:
            services.update_endpoint(endpoint_id=inbound_endpoint_id, changes=changes)
        except InboundEndpoint.DoesNotExist as error:  # deleted between the two
            raise Http404 from error
        return Response(_shown(request, _endpoint(inbound_endpoint_id)))

    @extend_schema(responses={204: None})
    def delete(self, request: Request, inbound_endpoint_id: str) -> Response:
        try:
            services.delete_endpoint(endpoint_id=inbound_endpoint_id)
        except InboundEndpoint.DoesNotExist as error:
            raise Http404 from error
        return Response(status=204)


class RotateSecretView(TenantAPIView):
    """Gives a generic source a new secret, a provider account a new path; the old one counts on for the overlap.

    A provider's new address must be entered there: nothing comes to it before."""

    key_scope = KEY_SCOPE

    @extend_schema(request=RotateInput, responses=InboundEndpointCreated, parameters=[IDEMPOTENCY_KEY])
    @idempotent
    def post(self, request: Request, inbound_endpoint_id: str) -> Response:
        stored = _endpoint(inbound_endpoint_id)
        given = RotateInput(data=request.data)
        given.is_valid(raise_exception=True)
        overlap = timedelta(seconds=given.validated_data["overlap_seconds"])
        with transaction.atomic():
            done = services.rotate(endpoint_id=stored.pk, overlap=overlap, secret=given.validated_data.get("secret", ""))
            attach(ENDPOINT, stored.pk)
        return Response(_created(request, done.endpoint, done.secret, _note(done.endpoint)))

    def replay(self, request: Request, object_type: str, object_id: str) -> Response:
        endpoint = _endpoint(object_id)
        return Response(_created(request, endpoint, _secret_again(request, endpoint), _note(endpoint)))


class RejectionsView(TenantGenericAPIView):
    """What was turned away here, by day and reason, the latest first."""

    key_scope = KEY_SCOPE
    serializer_class = RejectionOutput
    default_ordering = ("-day", "-pk")

    def get_queryset(self) -> QuerySet[Rejection]:
        if getattr(self, "swagger_fake_view", False):
            return Rejection.objects.none()
        return Rejection.objects.filter(endpoint=_endpoint(self.kwargs["inbound_endpoint_id"]))

    @extend_schema(responses=RejectionOutput(many=True))
    def get(self, request: Request, inbound_endpoint_id: str) -> Response:
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(RejectionOutput(page, many=True).data)


def _note(endpoint: InboundEndpoint) -> str:
    return NEW_PATH if endpoint.config_id else NEW_SECRET


_ENDPOINT = r"^integrations/inbound-endpoints/(?P<inbound_endpoint_id>src_[0-9a-z]{26})"

routes: list[URLPattern] = [
    path("integrations/inbound-endpoints", InboundEndpointsView.as_view()),
    re_path(rf"{_ENDPOINT}$", InboundEndpointView.as_view()),
    re_path(rf"{_ENDPOINT}/rotate-secret$", RotateSecretView.as_view()),
    re_path(rf"{_ENDPOINT}/rejections$", RejectionsView.as_view()),
]
