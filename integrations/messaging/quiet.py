"""Quiet hours where the recipient lives: a message waits for their end, it is never dropped."""

from __future__ import annotations

from datetime import datetime, time, timedelta, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import phonenumbers
from phonenumbers import timezone as phone_zones

from integrations.messaging.models import Channel, Recipient, SendingPolicy

UNKNOWN_ZONE = "Etc/Unknown"


def earliest(policy: SendingPolicy | None, zones: tuple[tzinfo, ...], at: datetime) -> datetime:
    """Return the first moment from `at` on that lies in the quiet hours of none of the zones (of a number whose country has
    several, each may be his). The end of a quiet night is a moment on the wall clock there, whatever summer time does."""
    if policy is None or policy.quiet_from is None or policy.quiet_until is None:
        return at
    moment = at
    # Zones are at most a day apart: after a few rounds the last night of all has ended, or they leave no common hour.
    for _ in range(8):
        ends = [_end(policy.quiet_from, policy.quiet_until, zone, moment) for zone in zones]
        later = max((each for each in ends if each is not None), default=None)
        if later is None:
            return moment
        moment = later
    return moment


def zones_of(recipient: Recipient, channel: str, home: tzinfo) -> tuple[tzinfo, ...]:
    """Return where the recipient may be: his device's zone, those of his number, else the tenant's own."""
    if recipient.device is not None and recipient.device.time_zone:
        named = _zone(recipient.device.time_zone)
        return (named,) if named else (home,)
    if channel in {Channel.SMS, Channel.WHATSAPP}:
        found = tuple(zone for zone in map(_zone, _names(recipient.address)) if zone is not None)
        return found or (home,)
    return (home,)


def _end(start: time, end: time, zone: tzinfo, at: datetime) -> datetime | None:
    """Return when the quiet hours that `at` lies in are over; None where it lies in none."""
    local = at.astimezone(zone)
    clock, today = local.time().replace(tzinfo=None), local.date()
    if start < end:
        if not start <= clock < end:
            return None
        day = today
    elif clock >= start:
        day = today + timedelta(days=1)
    elif clock < end:
        day = today
    else:
        return None
    return datetime.combine(day, end, zone).astimezone(at.tzinfo)


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
    except (ZoneInfoNotFoundError, ValueError):
        return None
