"""What an account may be asked for: what its provider declares, and what the account has in place of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from integrations.contracts.errors import InvalidRequest
from integrations.contracts.provider import RateLimit

SLOWEST, FASTEST = 0.001, 10_000.0
MOST = {"burst": 100_000, "concurrency": 10_000, "daily": 1_000_000_000}
NAMES = ("rate", *MOST)


def clean(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return an account's own limits as they are stored; None means "as declared" and is left out. Raises `InvalidRequest`
    with attr `limits.<name>`."""
    cleaned: dict[str, Any] = {}
    for name, value in given.items():
        if name not in NAMES:
            raise InvalidRequest(f"There are these limits: {', '.join(NAMES)}.", attr=f"limits.{name}"[:100])
        if value is not None:
            cleaned[name] = _rate(value) if name == "rate" else _whole(name, value)
    return cleaned


def in_force(declared: RateLimit, own: Mapping[str, Any]) -> RateLimit:
    """Return the declared limits with the account's own in their place. With a rate of its own and no burst, as many seconds'
    worth are saved up as declared."""
    known = {name: value for name, value in own.items() if name in NAMES and value is not None}
    if "rate" in known and "burst" not in known:
        known["burst"] = max(1, round(declared.burst * known["rate"] / declared.rate))
    return replace(declared, **known)


def described(limit: RateLimit) -> dict[str, Any]:
    """Return the limits as plain data."""
    return {name: getattr(limit, name) for name in NAMES}


def _rate(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InvalidRequest("A number of calls a second.", attr="limits.rate")
    if not SLOWEST <= value <= FASTEST:
        raise InvalidRequest(f"From {SLOWEST:g} to {FASTEST:,.0f} calls a second.", attr="limits.rate")
    return float(value)


def _whole(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST[name]:
        raise InvalidRequest(f"A whole number from 1 to {MOST[name]:,}.", attr=f"limits.{name}")
    return value
