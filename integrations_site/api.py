"""The one router. Every feature's `routes` are served below /api/v1/ (canonical, in OpenAPI) and below /api/ (the alias)."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

from django.urls import URLPattern, URLResolver, include, path

# TEMPORARY while features are being written side by side.
MODULES = [
    "integrations_site.platform.routes",
    "integrations.configs.api",
    "integrations.messaging.api",
    "payments.api",
    "webhooks.outbound.api",
]


def _exists(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False


routes: list[URLPattern] = [route for name in MODULES if _exists(name) for route in getattr(import_module(name), "routes", [])]

urlpatterns: list[URLPattern | URLResolver] = [
    path("api/v1/", include(routes)),
    path("api/", include(routes)),
]
