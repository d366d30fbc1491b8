"""The rate limit of each provider account, exact across processes and machines."""

from __future__ import annotations

from integrations.contracts.errors import Throttled
from integrations.models import RateBucket


def take(key: str, *, rate: float, burst: int) -> None:
    """Take one token of `key`; raise `Throttled` saying when to come back."""
    _left, wait = RateBucket.take(key, rate=rate, burst=burst)
    if wait is not None:
        raise Throttled("Held back by the hub's rate limit of this account.", retry_after=wait)
