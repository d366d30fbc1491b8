"""The one router. Every feature's `routes` are served below /api/v1/ (canonical, in OpenAPI) and below /api/ (the alias)."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, include, path

from integrations.configs.api import routes as config_routes
from integrations.messaging.api.messages import routes as messaging_routes
from integrations_site.platform.routes import routes as platform_routes
from payments.api import routes as payment_routes
from webhooks.outbound.endpoints.api import routes as webhook_routes

routes: list[URLPattern] = [*platform_routes, *config_routes, *messaging_routes, *payment_routes, *webhook_routes]

urlpatterns: list[URLPattern | URLResolver] = [
    path("api/v1/", include(routes)),
    path("api/", include(routes)),
]
