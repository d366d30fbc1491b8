"""The API's limit per key or person, shared by all processes through the hub's token buckets in PostgreSQL."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from integrations.models import RateBucket
from integrations.tenancy.authentication import Principal


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
