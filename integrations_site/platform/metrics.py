"""Prometheus: what this process counted, plus gauges read from the database at each scrape."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

from django.conf import settings
from django.db import Error as DatabaseError
from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.http import require_safe
from django_prometheus.exports import ExportToDjangoView
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from integrations_site.platform import state

LOOPBACK = frozenset({"127.0.0.1", "::1"})


class HubCollector(Collector):
    """Queue depth, age of the oldest due item, live workers; `hub_database_up 0` alone where the database is away."""

    def collect(self) -> Iterator[GaugeMetricFamily]:
        try:
            depth, workers = state.queue_depth(), state.worker_count()
        except DatabaseError:
            yield GaugeMetricFamily("hub_database_up", "Whether the database answers", value=0)
            return
        yield GaugeMetricFamily("hub_database_up", "Whether the database answers", value=1)
        items = GaugeMetricFamily("hub_queue_items", "Queue items by state", labels=["state"])
        for name, number in depth.counts.items():
            items.add_metric([name], number)
        yield items
        yield GaugeMetricFamily(
            "hub_queue_overdue_seconds", "How long the oldest due queue item has waited", value=depth.overdue_seconds
        )
        yield GaugeMetricFamily("hub_workers", "Worker processes alive on all machines", value=workers)


@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """For a scraper on this machine, or one with METRICS_TOKEN as bearer; nobody else learns that it is here (404)."""
    if not _may_read(request):
        raise Http404
    own = CollectorRegistry()
    own.register(HubCollector())
    counted = ExportToDjangoView(request)
    counted.content = counted.content + generate_latest(own)
    return counted


def _may_read(request: HttpRequest) -> bool:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    expected = settings.METRICS_TOKEN
    if expected and scheme.lower() == "bearer" and secrets.compare_digest(token.strip().encode(), expected.encode()):
        return True
    # Behind a proxy on this machine everybody seems to come from here.
    proxied = settings.TRUSTED_PROXY_HOPS > 0 or "X-Forwarded-For" in request.headers or "Forwarded" in request.headers
    return not proxied and request.META.get("REMOTE_ADDR", "") in LOOPBACK
