"""How often each key is used: one row a day (UTC) and route, counted up once for each request that was answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, timedelta

import structlog
from django.db import connection, transaction
from django.db.models import Sum
from django.http import HttpRequest

from integrations.contracts import clock
from integrations.models import ApiKey, ApiKeyUsage
from integrations.tenancy.route_names import route_template

logger = structlog.get_logger(__name__)

LONGEST = 400
"""Days that can be asked for; `retention` keeps as many."""
_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_UPSERT = """
    INSERT INTO integrations_apikeyusage (tenant_id, key_id, day, route, count, errors) VALUES (%s, %s, %s, %s, 1, %s)
    ON CONFLICT (key_id, day, route) DO UPDATE
    SET count = integrations_apikeyusage.count + 1, errors = integrations_apikeyusage.errors + EXCLUDED.errors
"""


@dataclass(frozen=True, slots=True)
class Line:
    """A day or a route, and how many requests were made, and answered with 400 and above."""

    name: str
    count: int
    errors: int


@dataclass(frozen=True, slots=True)
class Usage:
    """Requests of some days, today the last of them: each day, and each route that was used, the most used first."""

    total: int
    errors: int
    days: Sequence[Line]
    routes: Sequence[Line]


def count_answer(request: HttpRequest, key: ApiKey, status: int) -> None:
    """Count one answered request. What goes wrong here is logged and costs the request nothing."""
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(_UPSERT, [key.tenant_id, key.pk, today(), route_of(request), int(status >= 400)])
    except Exception:  # the answer stands already; a count that is missing must not take it back
        logger.warning("usage_not_counted", key=key.pk, exc_info=True)


def route_of(request: HttpRequest) -> str:
    """Return the request's route without its ids: `GET /api/v1/payments/{payment_id}`."""
    method = "GET" if request.method == "HEAD" else (request.method or "")
    match = request.resolver_match
    return f"{method if method in _METHODS else 'OTHER'} {route_template(match.route if match else '')}"[:160]


def usage_of(key: ApiKey, days: int) -> Usage:
    """Return the use of a key over so many days."""
    last = today()
    first = last - timedelta(days=days - 1)
    rows = ApiKeyUsage.unscoped.filter(key=key, tenant_id=key.tenant_id, day__range=(first, last)).order_by()
    per_day = {each["day"]: each for each in rows.values("day").annotate(used=Sum("count"), failed=Sum("errors"))}
    per_route = rows.values("route").annotate(used=Sum("count"), failed=Sum("errors")).order_by("-used", "route")
    lines = [_line(day, per_day.get(day)) for day in (first + timedelta(days=number) for number in range(days))]
    return Usage(
        total=sum(line.count for line in lines),
        errors=sum(line.errors for line in lines),
        days=lines,
        routes=[Line(each["route"], int(each["used"]), int(each["failed"])) for each in per_route],
    )


def _line(day: date, found: dict[str, int] | None) -> Line:
    return Line(day.isoformat(), int(found["used"]), int(found["failed"])) if found else Line(day.isoformat(), 0, 0)


def today() -> date:
    """Return the day that is counted now."""
    return clock.now().astimezone(UTC).date()
