"""What an answer says about when to call again.

`Retry-After` (RFC 9110, 10.2.3: seconds or a date); `RateLimit`, `RateLimit-Remaining` and `RateLimit-Reset` (IETF drafts
draft-ietf-httpapi-ratelimit-headers, up to 07 and from 08 on); the `X-RateLimit-...` that came before them, whose reset is a
moment (seconds or milliseconds since 1970) with some vendors and a span with others; `...-Reset-After`; `...-Ms`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

LONGEST = 86_400.0
_NUMBER = re.compile(r"\d{1,15}(?:\.\d{1,9})?")
_FAMILIES = ("ratelimit", "x-ratelimit", "x-rate-limit")
_MILLISECONDS = ("retry-after-ms", "x-ms-retry-after-ms")


def wait_asked(status: int, headers: Mapping[str, str], now: datetime) -> float | None:
    """Return for how many seconds nobody is to call again, None where the answer asks for nothing. Header names in any case.

    A refusal (429, 503) asks by whatever it carries; any other answer only by saying that nothing remains until a reset.
    """
    told = {name.lower(): value.strip() for name, value in headers.items()}
    if status in (429, 503):
        asked = _retry_after(told, now)
        if asked is None and (status == 429 or _is_used_up(told)):
            asked = _reset(told, now)
    else:
        asked = _reset(told, now) if _is_used_up(told) else None
    return None if asked is None or asked <= 0 else min(asked, LONGEST)


def _retry_after(told: Mapping[str, str], now: datetime) -> float | None:
    for name in _MILLISECONDS:
        if (milliseconds := _number(told.get(name))) is not None:
            return milliseconds / 1000
    value = told.get("retry-after", "")
    seconds = _number(value)
    return _date(value, now) if seconds is None else seconds


def _reset(told: Mapping[str, str], now: datetime) -> float | None:
    for family in _FAMILIES:
        if (after := _number(told.get(f"{family}-reset-after"))) is not None:
            return after
        if (milliseconds := _number(told.get(f"{family}-reset-ms"))) is not None:
            return _moment_or_span(milliseconds / 1000, now)
        if (reset := _number(told.get(f"{family}-reset"))) is not None:
            # A moment in milliseconds is told from one in seconds, and a moment from a span, by its size alone.
            return _moment_or_span(reset / 1000 if reset >= 1e11 else reset, now)
    used_up = [span for remaining, span in _policies(told.get("ratelimit", "")) if remaining == 0 and span is not None]
    return max(used_up, default=None)


def _is_used_up(told: Mapping[str, str]) -> bool:
    if any(_number(told.get(f"{family}-remaining")) == 0 for family in _FAMILIES):
        return True
    return any(remaining == 0 for remaining, _span in _policies(told.get("ratelimit", "")))


def _policies(value: str) -> list[tuple[float | None, float | None]]:
    """Return (remaining, seconds to the reset) of each policy: `"default";r=0;t=30` or `limit=9, remaining=0, reset=30`."""
    if "remaining=" in value:
        return [(_parameter(value, "remaining"), _parameter(value, "reset"))]
    return [(_parameter(each, "r"), _parameter(each, "t")) for each in value.split(",") if ";" in each]


def _parameter(value: str, name: str) -> float | None:
    found = re.search(rf"(?:^|[;,\s]){name}\s*=\s*([^;,\s]+)", value)
    return _number(found[1]) if found else None


def _moment_or_span(value: float, now: datetime) -> float:
    return value - now.timestamp() if value >= 1e8 else value


def _number(value: str | None) -> float | None:
    text = (value or "").strip().strip('"')
    return float(text) if _NUMBER.fullmatch(text) else None


def _date(value: str, now: datetime) -> float | None:
    try:
        moment = parsedate_to_datetime(value)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - now).total_seconds()
