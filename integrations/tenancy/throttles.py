"""The API's limit per key or person, shared by all processes through the hub's token buckets in PostgreSQL."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from integrations.models import RateBucket
from integrations.tenancy.authentication import Principal


class KeyThrottle(BaseThrottle):
    """`API_RATE_PER_MINUTE` requests a minute for each key or person; anonymous callers are not counted here."""

    _wait: float | None = None

    def allow_request(self, request: Request, view: Any) -> bool:
        principal = request.user
        if not isinstance(principal, Principal):
            return True
        limit = int(settings.API_RATE_PER_MINUTE)
        left, self._wait = RateBucket.take(f"api|{principal.pk}", rate=limit / 60, burst=limit)
        request._request.rate_limit = (limit, int(left), self._wait)  # type: ignore[attr-defined]
        return self._wait is None

    def wait(self) -> float | None:
        return self._wait
