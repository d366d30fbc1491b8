"""The limits of each provider account, exact across processes and machines: rate, calls at once, calls a day, and the pauses
that its provider asks for."""

from __future__ import annotations

from integrations.contracts.errors import Throttled
from integrations.models import RateBucket
from integrations.runtime.rate_limit.turns import Turn, enter

__all__ = ["Turn", "enter", "take"]


def take(key: str, *, rate: float, burst: int) -> None:
    """Take one token of `key`; raise `Throttled` saying when to come back."""
    _left, wait = RateBucket.take(key, rate=rate, burst=burst)
    if wait is not None:
        raise Throttled("Held back by the hub's rate limit of this account.", retry_after=wait)
