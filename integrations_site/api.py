"""The one router. Every feature's `routes` are served below /api/v1/ (canonical, in OpenAPI) and below /api/ (the alias)."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, include, path

from integrations.access.api import routes as access_routes
from integrations.configs.api import routes as config_routes
from integrations.messaging.api.messages import routes as messaging_routes
from integrations_site.platform.logs import LogListView
from integrations_site.platform.routes import routes as platform_routes
from payments.api import routes as payment_routes
from webhooks.inbound.endpoints.api import routes as inbound_routes
from webhooks.outbound.endpoints.api import routes as webhook_routes
from webhooks.outbound.portal.api import routes as portal_routes
from webhooks.outbound.publishing.api import routes as event_routes
from webhooks.outbound.recovery.api import routes as recovery_routes

routes: list[URLPattern] = [
    *platform_routes,
    *access_routes,
    *config_routes,
    *messaging_routes,
    *payment_routes,
    *webhook_routes,
    *event_routes,
    *portal_routes,
    *recovery_routes,
    *inbound_routes,
    path("integration/logs", LogListView.as_view()),  # another name, beside the webhooks' own
]

urlpatterns: list[URLPattern | URLResolver] = [
    path("api/v1/", include(routes)),
    path("api/", include(routes)),
]
