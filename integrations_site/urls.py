"""All paths of the hub. Those of features stand in `integrations_site/api.py` and `webhooks/inbound/urls.py`."""

from __future__ import annotations

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path
from drf_spectacular.views import SpectacularAPIView, SpectacularRedocView, SpectacularSwaggerView

from integrations_site import api
from integrations_site.platform import health, metrics, pages

_documents = [
    path("schema", SpectacularAPIView.as_view(), name="schema"),
    path("docs", SpectacularSwaggerView.as_view(url_name="schema"), name="docs"),
    path("redoc", SpectacularRedocView.as_view(url_name="schema", template_name="platform/redoc.html"), name="redoc"),
]

urlpatterns: list[URLPattern | URLResolver] = [
    path("", pages.home),
    path("simulator/", pages.simulator),
    path("admin/", admin.site.urls),
    path("staff/", include("integrations.messaging.staff.urls")),
    path("portal/", include("webhooks.outbound.portal.urls")),
    path("healthz/live", health.live),
    path("healthz/ready", health.ready),
    path("metrics", metrics.metrics),
    # Before the API: some providers' fixed paths begin with /api/.
    path("", include("webhooks.inbound.urls")),
    path("", include("payments.urls")),
    path("", include("integrations.messaging.pages.urls")),
    path("api/v1/", include(_documents)),
    path("api/", include(_documents)),
    *api.urlpatterns,
]

handler400 = "integrations_site.platform.pages.bad_request"
handler403 = "integrations_site.platform.pages.forbidden"
handler404 = "integrations_site.platform.pages.not_found"
handler500 = "integrations_site.platform.pages.server_error"
