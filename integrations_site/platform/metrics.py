"""Prometheus: what this process counted, plus gauges read from the database at each scrape."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping

from django.conf import settings
from django.db import Error as DatabaseError
from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.http import require_safe
from django_prometheus.exports import ExportToDjangoView
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from integrations.runtime import breaker
from integrations_site.platform import state, webhooks

LOOPBACK = frozenset({"127.0.0.1", "::1"})


class HubCollector(Collector):
    """Queue and webhooks: depth, age of the oldest, live workers; `hub_database_up 0` alone where the database is away."""

    def collect(self) -> Iterator[GaugeMetricFamily]:
        try:
            depth, workers = state.queue_depth(), state.worker_count()
            owed, lately = webhooks.deliveries(), webhooks.lately()
            endpoints, inbox = webhooks.endpoints(), webhooks.inbox()
            circuits = breaker.by_provider()
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
        family = GaugeMetricFamily("hub_circuits", "Circuits of a provider by state", labels=["provider", "state"])
        for labels, number in circuits.items():
            family.add_metric(labels, number)
        yield family
        yield GaugeMetricFamily("hub_workers", "Worker processes alive on all machines", value=workers)
        yield _labelled("hub_deliveries", "Webhook deliveries by state; dead: of the last day", "state", owed.counts)
        yield _labelled(
            "hub_delivery_overdue_seconds",
            "How long the oldest due delivery has waited; throttled: where its endpoint may not be called just now",
            "throttled",
            {"no": owed.overdue_seconds, "yes": owed.throttled_seconds},
        )
        yield _labelled("hub_delivery_attempts", "Attempts of the last five minutes by result", "result", lately.results)
        yield _labelled(
            "hub_delivery_lag_seconds",
            "How late attempts of the last five minutes began, throttled ones included",
            "quantile",
            {str(quantile): value for quantile, value in lately.lag.items()},
        )
        yield _labelled(
            "hub_delivery_duration_seconds",
            "How long attempts of the last five minutes took",
            "quantile",
            {str(quantile): value for quantile, value in lately.duration.items()},
        )
        yield _labelled("hub_webhook_endpoints", "Webhook endpoints by state of their breaker", "breaker", endpoints)
        yield GaugeMetricFamily("hub_receipts_waiting", "Inbound webhooks to be worked off", value=inbox.waiting)
        yield GaugeMetricFamily("hub_rejections_today", "Inbound requests turned away today (UTC)", value=inbox.rejected_today)


def _labelled(name: str, text: str, label: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=[label])
    for value, number in values.items():
        family.add_metric([value], number)
    return family


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
