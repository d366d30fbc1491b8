"""Quiet hours where the recipient lives: a message waits for their end, it is never dropped."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import phonenumbers
from phonenumbers import timezone as phone_zones

from integrations.messaging.models import Channel, Recipient, SendingPolicy

UNKNOWN_ZONE = "Etc/Unknown"
PATIENCE = timedelta(days=2)
"""Longer than any hour that zones have in common lets wait for itself."""


def earliest(policy: SendingPolicy | None, zones: tuple[tzinfo, ...], at: datetime) -> datetime:
    """Return the first moment from `at` (aware) on that lies in the quiet hours of none of the zones: of a number whose
    country has several, each may be his. Where they leave no hour in common (a number of half the world), the zone in the
    middle counts alone, so that the message does go out.

    A night begins and ends by the wall clock there. An hour that comes twice belongs to it both times; one that the change to
    summer time leaves out is read by the clock before the change.
    """
    if policy is None or policy.quiet_from is None or policy.quiet_until is None or not zones:
        return at
    found = _awake(policy.quiet_from, policy.quiet_until, zones, at)
    if found is None:
        eastwards = sorted(zones, key=lambda zone: at.astimezone(zone).utcoffset() or timedelta(0))
        found = _awake(policy.quiet_from, policy.quiet_until, (eastwards[len(eastwards) // 2],), at)
    return found or at


def zones_of(recipient: Recipient, channel: str, home: tzinfo) -> tuple[tzinfo, ...]:
    """Return where the recipient may be: his device's zone, those of his number, else the tenant's own."""
    if recipient.device is not None and recipient.device.time_zone:
        named = _zone(recipient.device.time_zone)
        return (named,) if named else (home,)
    if channel in {Channel.SMS, Channel.WHATSAPP}:
        found = tuple(zone for zone in map(_zone, _names(recipient.address)) if zone is not None)
        return found or (home,)
    return (home,)


def _awake(start: time, end: time, zones: tuple[tzinfo, ...], at: datetime) -> datetime | None:
    """Return the first moment from `at` on when it is night in none of the zones; None where there is no such moment."""
    moment = at
    while moment <= at + PATIENCE:
        ends = [_end(start, end, zone, moment) for zone in zones]
        later = max((each for each in ends if each is not None), default=None)
        if later is None:
            return moment
        moment = later.astimezone(at.tzinfo)
    return None


def _end(start: time, end: time, zone: tzinfo, at: datetime) -> datetime | None:
    """Return when the quiet hours that `at` lies in are over, in UTC; None where it lies in none."""
    if start == end:
        return None
    today = at.astimezone(zone).date()
    over_midnight = timedelta(days=1 if start > end else 0)
    for day in (today - timedelta(days=1), today):
        begins, ends = _instant(day, start, zone), _instant(day + over_midnight, end, zone, last=True)
        if begins <= at < ends:
            return ends
    return None


def _instant(day: date, clock: time, zone: tzinfo, *, last: bool = False) -> datetime:
    """Return when the clocks of a zone show a time: for the first time, or for the `last` one where they do so twice."""
    first, second = (datetime.combine(day, clock.replace(fold=fold), zone).astimezone(UTC) for fold in (0, 1))
    return max(first, second) if last else first


@lru_cache(maxsize=4096)
def _names(number: str) -> tuple[str, ...]:
    try:
        parsed = phonenumbers.parse(number, None)
    except phonenumbers.NumberParseException:
        return ()
    return tuple(name for name in phone_zones.time_zones_for_number(parsed) if name != UNKNOWN_ZONE)


@lru_cache(maxsize=512)
def _zone(name: str) -> tzinfo | None:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None
