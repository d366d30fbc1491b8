"""The platform's routes, relative to the API's root."""

from __future__ import annotations

from django.urls import URLPattern, path

from integrations_site.platform.health import HealthView
from integrations_site.platform.logs import LogDetailView, LogEraseView, LogListView
from integrations_site.platform.notify import NotifyView
from integrations_site.platform.queue import QueueDetailView, QueueListView, QueueRetryManyView, QueueRetryView
from integrations_site.platform.registry import IntegrationDetailView, IntegrationListView
from integrations_site.platform.retention import LogRetentionView

routes: list[URLPattern] = [
    path("health", HealthView.as_view()),
    path("hooks/notify", NotifyView.as_view()),
    path("integrations", IntegrationListView.as_view()),
    path("integrations/<int:config_id>", IntegrationDetailView.as_view()),
    path("integrations/logs", LogListView.as_view()),
    path("integrations/logs/<int:log_id>", LogDetailView.as_view()),
    path("integrations/logs/<int:log_id>/erase", LogEraseView.as_view()),
    path("integrations/retention", LogRetentionView.as_view()),
    path("integrations/queue", QueueListView.as_view()),
    path("integrations/queue/retry", QueueRetryManyView.as_view()),
    path("integrations/queue/<int:item_id>", QueueDetailView.as_view()),
    path("integrations/queue/<int:item_id>/retry", QueueRetryView.as_view()),
]
