"""What the console's first page tells: counts that a person can act on, each only for whom may see the rows behind it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.contrib import admin
from django.db.models import Count, Q, QuerySet, Sum
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from integrations.adminbase.access import is_operator
from integrations.adminbase.render import COLOURS, money
from integrations.contracts import clock
from integrations.contracts.ids import first_id
from integrations.models import Alert, CallLog, Direction, LogStatus, QueueItem, QueueState
from integrations_site.platform.state import queue_depth, worker_count
from integrations_site.platform.webhooks import DEAD_COUNTED, deliveries
from payments.models import Payment, Status
from webhooks.outbound.delivery.schedule import MAX_AGE
from webhooks.outbound.models import Delivery, DeliveryState, Endpoint

ALERTS_SHOWN = 6


@dataclass(frozen=True, slots=True)
class Tile:
    """One number, where it leads, and a colour in unfold's names (empty: neutral)."""

    label: str
    value: str
    url: str = ""
    colour: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Overview:
    """The page's content; a part that this person may not see is empty."""

    queue: list[Tile] = field(default_factory=list)
    payments: list[Tile] = field(default_factory=list)
    calls: list[Tile] = field(default_factory=list)
    webhooks: list[Tile] = field(default_factory=list)
    system: list[Tile] = field(default_factory=list)
    alerts: list[dict[str, Any]] = field(default_factory=list)
    open_alerts: int = 0
    sees_payments: bool = False
    sees_alerts: bool = False


def overview(request: HttpRequest) -> Overview:
    """Return the counts of now and of today (since midnight in the console's time zone)."""
    today = timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0)
    alerts = _rows(Alert, request)
    still_open = alerts.filter(resolved_at__isnull=True, acknowledged_at__isnull=True) if alerts is not None else None
    return Overview(
        queue=_queue(request),
        payments=_payments(request, today),
        calls=_calls(request, today),
        webhooks=_webhooks(request),
        system=_system(request),
        alerts=[_alert(alert) for alert in still_open[:ALERTS_SHOWN]] if still_open is not None else [],
        open_alerts=still_open.count() if still_open is not None else 0,
        sees_payments=_rows(Payment, request) is not None,
        sees_alerts=still_open is not None,
    )


def _rows(model: type[Any], request: HttpRequest) -> QuerySet[Any] | None:
    """Return the rows that this person's own list page would show; None where she has no such page."""
    page = admin.site._registry[model]
    return page.get_queryset(request).order_by() if page.has_view_permission(request) else None


def _list(model: type[Any], query: str = "") -> str:
    url = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
    return f"{url}?{query}" if query else url


def _queue(request: HttpRequest) -> list[Tile]:
    rows = _rows(QueueItem, request)
    if rows is None:
        return []
    watched = (
        QueueState.PENDING,
        QueueState.PROCESSING,
        QueueState.FAILED,
        QueueState.UNKNOWN,
        QueueState.NEEDS_REVIEW,
    )
    found = dict(rows.filter(state__in=watched).values_list("state").annotate(number=Count("pk")))
    return [
        Tile(
            str(state.label).partition(" (")[0],
            f"{found.get(state.value, 0):,}",
            _list(QueueItem, f"state__exact={state.value}"),
            COLOURS.get(state.value, "") if found.get(state.value) else "",
        )
        for state in watched
    ]


def _payments(request: HttpRequest, today: datetime) -> list[Tile]:
    rows = _rows(Payment, request)
    if rows is None:
        return []
    counted = rows.filter(created__gte=today).values("status", "currency").annotate(number=Count("pk"), total=Sum("amount"))
    by_status: dict[str, list[dict[str, Any]]] = {}
    for row in counted:
        by_status.setdefault(row["status"], []).append(row)
    return [
        Tile(
            str(status.label),
            f"{sum(row['number'] for row in found):,}",
            _list(Payment, f"status__exact={status.value}"),
            COLOURS.get(status.value, ""),
            ", ".join(money(row["total"], row["currency"]) for row in sorted(found, key=lambda row: row["currency"])),
        )
        for status in Status
        if (found := by_status.get(status.value))
    ]


def _calls(request: HttpRequest, today: datetime) -> list[Tile]:
    rows = _rows(CallLog, request)
    if rows is None:
        return []
    outbound = rows.filter(created__gte=today, direction=Direction.OUTBOUND)
    found = dict(outbound.values_list("status").annotate(number=Count("pk")))
    bad = found.get(LogStatus.FAILED.value, 0), found.get(LogStatus.TIMEOUT.value, 0)
    return [
        Tile("Calls out", f"{sum(found.values()):,}", _list(CallLog, "direction__exact=outbound")),
        Tile("Failed", f"{bad[0]:,}", _list(CallLog, "status__exact=failed"), "danger" if bad[0] else ""),
        Tile("Timed out", f"{bad[1]:,}", _list(CallLog, "status__exact=timeout"), "warning" if bad[1] else ""),
    ]


def _webhooks(request: HttpRequest) -> list[Tile]:
    rows, endpoints = _rows(Delivery, request), _rows(Endpoint, request)
    if rows is None or endpoints is None:
        return []
    now = clock.now()
    due = rows.filter(state=DeliveryState.PENDING, due_at__lte=now, endpoint__is_active=True).count()
    # Over all tenants at once no index would serve: what metrics tell is counted tenant after tenant.
    dead = deliveries().counts["dead"] if is_operator(request) else rows.filter(_died_since(now - DEAD_COUNTED)).count()
    failing = endpoints.filter(is_active=True, health__failures__gt=0).count()
    off = endpoints.filter(is_active=False).exclude(disabled_reason="").count()
    return [
        Tile("Due", f"{due:,}", _list(Delivery, "state__exact=pending")),
        Tile("Dead since yesterday", f"{dead:,}", _list(Delivery, "state__exact=failed"), "danger" if dead else ""),
        Tile("Endpoints failing", f"{failing:,}", _list(Endpoint, "is_active__exact=1"), "warning" if failing else ""),
        Tile("Off by the hub", f"{off:,}", _list(Endpoint, "is_active__exact=0"), "danger" if off else ""),
    ]


def _died_since(since: datetime) -> Q:
    # Ids begin with the time of their making, and tries end after MAX_AGE: only what a person sent again later is left out.
    return Q(state=DeliveryState.FAILED, finished_at__gte=since, pk__gte=first_id("dlv", since - MAX_AGE))


def _system(request: HttpRequest) -> list[Tile]:
    workers = worker_count()
    tiles = [Tile("Workers alive", f"{workers:,}", colour="" if workers else "danger")]
    if is_operator(request):
        waits = queue_depth().overdue_seconds
        tiles.append(Tile("Longest overdue", f"{waits:,.0f} s", _list(QueueItem), "danger" if waits > 60 else ""))
    return tiles


def _alert(alert: Alert) -> dict[str, Any]:
    url = reverse("admin:integrations_alert_change", args=[alert.pk])
    return {"level": alert.level, "message": alert.message, "count": alert.count, "updated": alert.updated, "url": url}
