"""Base classes of the API's views: they authenticate, enter the tenant's scope, and leave it when the answer is made."""

from __future__ import annotations

import math
from contextlib import ExitStack
from typing import Any

import structlog
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django_scopes import scope
from rest_framework import generics
from rest_framework.exceptions import APIException
from rest_framework.request import Request
from rest_framework.views import APIView

from integrations.models import ApiKey, Tenant
from integrations.tenancy.audit import Actor, acting
from integrations.tenancy.authentication import Principal
from integrations.tenancy.network import address_of
from integrations.tenancy.permissions import IsTenantAdmin, IsTenantStaff
from integrations.tenancy.throttles import note_refused
from integrations.tenancy.usage import count_answer


class TenantScopeMixin:
    """Runs the handler within the scope of the request's tenant; `request.tenant` and `request.principal` are set. What the
    handler's services write into the audit is this principal's doing; a key's request is counted once it is answered.

    `key_scope` is the resource that an API key's scopes must name (`payments` -> `payments:read`, `payments:write`).
    `current_key_only`: a key's value from before its rotation, good for its grace, writes nothing here. It may be the reason
    why the key was rotated: it must not shut its owner out, nor outlive the grace by what it makes.
    """

    key_scope: str = ""
    current_key_only: bool = False
    permission_classes: Any = [IsTenantAdmin]

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        with ExitStack() as stack:
            self._scopes = stack
            try:
                response: HttpResponseBase = super().dispatch(request, *args, **kwargs)  # type: ignore[misc]
            except Exception:
                _count(request, 500)
                raise
            _count(request, response.status_code)
            limit, left, wait = getattr(request, "rate_limit", (0, 0, None))
            if limit:
                response["RateLimit-Limit"] = str(limit)
                response["RateLimit-Remaining"] = str(max(0, left))
                response["RateLimit-Reset"] = str(math.ceil(wait if wait is not None else (limit - left) * 60 / limit))
            return response

    def perform_authentication(self, request: Request) -> None:
        """See DRF. Limits come before permissions: what is refused counts as well, the credential itself included."""
        try:
            super().perform_authentication(request)  # type: ignore[misc]
        except APIException:
            note_refused(request._request)
            raise
        super().check_throttles(request)  # type: ignore[misc]

    def check_throttles(self, request: Request) -> None:
        """Nothing is left to do: see `perform_authentication`."""

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)  # type: ignore[misc]
        principal = request.user
        if isinstance(principal, Principal) and principal.tenant is not None:
            request.tenant = principal.tenant  # type: ignore[attr-defined]
            request.principal = principal  # type: ignore[attr-defined]
            self._scopes.enter_context(scope(tenant=principal.tenant))
            self._scopes.enter_context(acting(Actor(principal.name, address_of(request._request))))
            structlog.contextvars.bind_contextvars(tenant=principal.tenant.slug, principal=principal.name)


def _count(request: HttpRequest, status: int) -> None:
    key: ApiKey | None = getattr(request, "api_key", None)
    if key is not None:
        count_answer(request, key, status)


class TenantAPIView(TenantScopeMixin, APIView):
    """A view of one tenant, for its admins (auditors read)."""


class TenantGenericAPIView(TenantScopeMixin, generics.GenericAPIView[Any]):
    """The same over a queryset. Take querysets in `get_queryset`: at import time there is no scope."""


class StaffAPIView(TenantAPIView):
    """A view that staff may use too."""

    permission_classes = [IsTenantStaff]


class StaffGenericAPIView(TenantGenericAPIView):
    """A queryset view that staff may use too."""

    permission_classes = [IsTenantStaff]


def tenant_of(request: Request) -> Tenant:
    """Return the request's tenant; only for use inside a view whose permission has passed."""
    tenant: Tenant = request.tenant  # type: ignore[attr-defined]
    return tenant
