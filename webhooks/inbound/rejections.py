"""Counting what is turned away, cheap enough for a flood: one statement each, and whoever floods is told to slow down."""

from __future__ import annotations

import math

import structlog
from django.db import DatabaseError, connection, transaction

from integrations.contracts import clock
from integrations.models import RateBucket
from integrations.tenancy.network import neighbourhood
from webhooks.inbound.locate import Owner
from webhooks.inbound.models import InboundEndpoint, Rejection
from webhooks.inbound.refusals import Refused

logger = structlog.get_logger(__name__)

STRANGERS_PER_MINUTE = 600
"""Requests of one address (of one /64 network in IPv6) that are refused, or about nobody here, before it is answered 429.
What holds is never held back: it takes nothing from this."""

UNKNOWN_PATH = "hooks"
"""Source of what was sent to paths that nobody has."""

_rows = Rejection._meta.db_table
_endpoints = InboundEndpoint._meta.db_table
# One statement: two locks held for the time of one round trip, always taken in the same order.
_COUNT = f"""
WITH counted AS (
    INSERT INTO {_rows} (tenant_id, endpoint_id, key, source, reason, day, count, last_at, last_ip, last_detail)
    VALUES (%(tenant)s, %(endpoint)s, %(key)s, %(source)s, %(reason)s, %(day)s, 1, %(now)s, %(ip)s, %(detail)s)
    ON CONFLICT (key) DO UPDATE SET count = {_rows}.count + 1, last_at = EXCLUDED.last_at,
        last_ip = EXCLUDED.last_ip, last_detail = EXCLUDED.last_detail
)
UPDATE {_endpoints} SET rejected = rejected + 1, last_rejected_at = %(now)s WHERE id = %(endpoint)s
"""  # noqa: S608 table names of our own


def count(refused: Refused, *, owner: Owner | None, source: str, ip: str) -> None:
    """Count a refusal of today by source and reason. Never fails the answer."""
    now = clock.now()
    endpoint = owner.endpoint if owner else None
    tenant_id = owner.tenant_id if owner else None
    source = (endpoint.pk if endpoint else source)[:60]
    values = {
        "tenant": tenant_id,
        "endpoint": endpoint.pk if endpoint else None,
        "key": f"{now.date()}|{tenant_id or ''}|{source}|{refused.reason}",
        "source": source,
        "reason": refused.reason.value,
        "day": now.date(),
        "now": now,
        "ip": ip or None,
        "detail": refused.detail.replace("\x00", "").encode("utf-8", "replace").decode()[:200],
    }
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(_COUNT, values)
    except DatabaseError:  # the endpoint or tenant has just gone
        logger.exception("rejection_not_counted", source=source, reason=refused.reason.value)


def seconds_to_wait(ip: str) -> int | None:
    """Note one more refused or strange request of this address; return for how long it should keep still, None: it need not."""
    whose = neighbourhood(ip)
    if not whose:
        return None
    _left, wait = RateBucket.take(f"stranger|{whose}", rate=STRANGERS_PER_MINUTE / 60, burst=STRANGERS_PER_MINUTE)
    return None if wait is None else max(1, math.ceil(wait))
