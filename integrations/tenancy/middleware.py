"""Scope of browser pages: a person sees the rows of her tenants, an operator those of all. What she changes there is hers in
the audit."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django_scopes import scope, scopes_disabled

from integrations.models import Membership
from integrations.tenancy.audit import Actor, acting
from integrations.tenancy.network import address_of


class SessionScopeMiddleware:
    """Enters the scope for everything but the API and the webhooks, which find their tenant by themselves."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        own_scope = request.path.startswith(("/api/", "/hooks/", "/webhooks/", "/healthz/", "/metrics"))
        if own_scope or not request.user.is_authenticated:
            return self._get_response(request)
        with acting(Actor(request.user.get_username(), address_of(request))):
            return self._scoped(request)

    def _scoped(self, request: HttpRequest) -> HttpResponse:
        if request.user.is_superuser:
            with scopes_disabled():
                return self._rendered(request)
        memberships = Membership.unscoped.filter(user=request.user, is_active=True, tenant__is_active=True)
        tenants = [membership.tenant for membership in memberships.select_related("tenant")]
        with scope(tenant=tenants):
            return self._rendered(request)

    def _rendered(self, request: HttpRequest) -> HttpResponse:
        """Render lazily built pages while the scope is still there."""
        response = self._get_response(request)
        render = getattr(response, "render", None)
        if callable(render) and not getattr(response, "is_rendered", True):
            response = render()
        return response
