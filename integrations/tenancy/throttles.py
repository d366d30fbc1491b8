"""The API's limit per key or person, shared by all processes through the hub's token buckets in PostgreSQL."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest
from rest_framework.exceptions import Throttled
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from integrations.models import RateBucket
from integrations.tenancy.authentication import Principal
from integrations.tenancy.network import address_of, neighbourhood

REFUSED_PER_MINUTE = 120
"""Requests of one address (of one /64 network in IPv6) with a credential that is refused, before it is answered 429 instead.
Who has a good one is never held back by it."""


def note_refused(request: HttpRequest) -> None:
    """Count a refused credential; raise `Throttled` where its sender should keep still."""
    whose = neighbourhood(address_of(request))
    if whose:
        _left, wait = RateBucket.take(f"refused|{whose}", rate=REFUSED_PER_MINUTE / 60, burst=REFUSED_PER_MINUTE)
        if wait is not None:
            raise Throttled(wait)


class KeyThrottle(BaseThrottle):
    """A key's own `rate_per_minute`, `API_RATE_PER_MINUTE` for other keys and for each person; anonymous callers are not
    counted here."""

    _wait: float | None = None

    def allow_request(self, request: Request, view: Any) -> bool:
        principal = request.user
        if not isinstance(principal, Principal):
            return True
        limit = principal.rate or int(settings.API_RATE_PER_MINUTE)
        left, self._wait = RateBucket.take(f"api|{principal.pk}", rate=limit / 60, burst=limit)
        request._request.rate_limit = (limit, int(left), self._wait)  # type: ignore[attr-defined]
        return self._wait is None

    def wait(self) -> float | None:
        return self._wait
