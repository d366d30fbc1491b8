"""`/api/apikeys`: the keys of a tenant's systems, what they may and how much they are used."""

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

from integrations.access.audit_api import AuditView
from integrations.access.serializers import (
    KeyCreated,
    KeyInput,
    KeyOutput,
    KeyPatch,
    KeyRotation,
    ScopeOutput,
    UsageOutput,
    UsageQuery,
)
from integrations.models import ApiKey, Role
from integrations.runtime.idempotency import attach, idempotent
from integrations.tenancy import keys
from integrations.tenancy.authentication import Principal
from integrations.tenancy.parameters import IDEMPOTENCY_KEY
from integrations.tenancy.scopes import EVERYTHING, Grant, resources
from integrations.tenancy.usage import usage_of
from integrations.tenancy.views import TenantAPIView, TenantGenericAPIView, tenant_of

NO_STORE = {"Cache-Control": "no-store"}


class KeyFilter(filters.FilterSet):
    state = filters.ChoiceFilter(choices=[(each, each) for each in keys.STATES], method="of_state")
    role = filters.ChoiceFilter(choices=Role.choices)
    name = filters.CharFilter(lookup_expr="icontains")

    def of_state(self, queryset: QuerySet[ApiKey], _name: str, value: str) -> QuerySet[ApiKey]:
        return keys.in_state(queryset, value)


def _key(key_id: str) -> ApiKey:
    key: ApiKey | None = ApiKey.objects.filter(pk=key_id).first()
    if key is None:
        raise Http404
    return key


def _grant(request: Request) -> Grant:
    principal = request.user
    assert isinstance(principal, Principal)  # noqa: S101 the permission has looked
    return principal.grant


def _shown(key: ApiKey, value: str, status: int = 200) -> Response:
    return Response({**KeyOutput(key).data, "key": value}, status=status, headers=NO_STORE)


class KeysView(TenantGenericAPIView):
    """The tenant's API keys. Making one answers the key, this once; nobody can make a key that may more than he himself."""

    key_scope = "apikeys"
    current_key_only = True
    serializer_class = KeyOutput
    filterset_class = KeyFilter

    def get_queryset(self) -> QuerySet[ApiKey]:
        return ApiKey.unscoped.none() if getattr(self, "swagger_fake_view", False) else ApiKey.objects.all()

    @extend_schema(responses=KeyOutput(many=True))
    def get(self, request: Request) -> Response:
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(KeyOutput(page, many=True).data)

    @extend_schema(request=KeyInput, responses={201: KeyCreated}, parameters=[IDEMPOTENCY_KEY])
    @idempotent
    def post(self, request: Request) -> Response:
        given = KeyInput(data=request.data)
        given.is_valid(raise_exception=True)
        with transaction.atomic():
            key, value = keys.issue_key(tenant=tenant_of(request), grant=_grant(request), values=given.validated_data)
            attach("api_key", key.pk)
        return _shown(key, value, status=201)

    def replay(self, request: Request, object_type: str, object_id: str) -> Response:
        key = _key(object_id)
        return _shown(key, keys.reissue(key), status=201)


class KeyView(TenantAPIView):
    """One key. Deleting it shuts it out at once; its history stays."""

    key_scope = "apikeys"
    current_key_only = True

    @extend_schema(responses=KeyOutput)
    def get(self, request: Request, key_id: str) -> Response:
        return Response(KeyOutput(_key(key_id)).data)

    @extend_schema(request=KeyPatch(partial=True), responses=KeyOutput)
    def patch(self, request: Request, key_id: str) -> Response:
        key = _key(key_id)
        given = KeyPatch(data=request.data, partial=True)
        given.is_valid(raise_exception=True)
        return Response(KeyOutput(keys.change_key(key=key, grant=_grant(request), changes=given.validated_data)).data)

    @extend_schema(responses={204: None})
    def delete(self, request: Request, key_id: str) -> Response:
        keys.revoke_key(key=_key(key_id))
        return Response(status=204)


class KeyRotateView(TenantAPIView):
    """Gives a key a new value, answered this once; the one before works on for `grace_seconds`. A second rotation meanwhile
    ends the oldest."""

    key_scope = "apikeys"
    current_key_only = True

    @extend_schema(request=KeyRotation, responses=KeyCreated, parameters=[IDEMPOTENCY_KEY])
    @idempotent
    def put(self, request: Request, key_id: str) -> Response:
        key = _key(key_id)
        given = KeyRotation(data=request.data)
        given.is_valid(raise_exception=True)
        grace = timedelta(seconds=given.validated_data["grace_seconds"])
        with transaction.atomic():
            key, value = keys.rotate_key(key=key, grant=_grant(request), grace=grace)
            attach("api_key", key.pk)
        return _shown(key, value)

    def replay(self, request: Request, object_type: str, object_id: str) -> Response:
        key = _key(object_id)
        return _shown(key, keys.reissue(key))


class KeyUsageView(TenantAPIView):
    """How often a key was used, by day and by route."""

    key_scope = "apikeys"

    @extend_schema(parameters=[UsageQuery], responses=UsageOutput)
    def get(self, request: Request, key_id: str) -> Response:
        key = _key(key_id)
        asked = UsageQuery(data=request.query_params.dict())
        asked.is_valid(raise_exception=True)
        return Response(UsageOutput(usage_of(key, asked.validated_data["days"])).data)


class ScopesView(TenantAPIView):
    """Every scope that a key can have, with the routes that it opens."""

    key_scope = "apikeys"

    @extend_schema(responses=ScopeOutput(many=True))
    def get(self, request: Request) -> Response:
        found: list[dict[str, Any]] = []
        for each in resources():
            opens = {"": sorted((*each.read, *each.write)), ":read": each.read, ":write": each.write}
            found += [{"scope": f"{each.name}{end}", "routes": list(routes)} for end, routes in opens.items()]
        every = sorted({route for each in found for route in each["routes"]})
        return Response([{"scope": EVERYTHING, "routes": every}, *found])


_KEY = r"^apikeys/(?P<key_id>key_[0-9a-z]{26})"

routes: list[URLPattern] = [
    path("apikeys", KeysView.as_view()),
    path("apikeys/scopes", ScopesView.as_view()),
    re_path(rf"{_KEY}$", KeyView.as_view()),
    re_path(rf"{_KEY}/rotate$", KeyRotateView.as_view()),
    re_path(rf"{_KEY}/usage$", KeyUsageView.as_view()),
    path("integrations/audit", AuditView.as_view()),
]
