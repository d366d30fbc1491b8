"""Quiet hours: nights over midnight, in several zones, and on the days when the clocks change."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest

from integrations.messaging.jobs.holding import Held
from integrations.messaging.models import Device, MessageCategory, Recipient, SendingPolicy
from integrations.messaging.safety.quiet import earliest, zones_of
from integrations.messaging.sms.services import send_sms
from integrations.models import QueueItem
from integrations.runtime import jobs
from tests.factories import MovableClock
from tests.messaging.conftest import Account

NAIROBI, BERLIN, NEW_YORK = ZoneInfo("Africa/Nairobi"), ZoneInfo("Europe/Berlin"), ZoneInfo("America/New_York")
LOS_ANGELES = ZoneInfo("America/Los_Angeles")


def policy(start: str = "20:00", end: str = "08:00") -> SendingPolicy:
    return SendingPolicy(channel="sms", quiet_from=time.fromisoformat(start), quiet_until=time.fromisoformat(end))


def local(text: str, zone: ZoneInfo) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=zone)


@pytest.mark.parametrize(
    ("rule", "at", "until"),
    [
        (("20:00", "08:00"), "2026-11-20 19:59:59", None),
        (("20:00", "08:00"), "2026-11-20 20:00", "2026-11-21 08:00"),
        (("20:00", "08:00"), "2026-11-20 23:59", "2026-11-21 08:00"),
        (("20:00", "08:00"), "2026-11-21 00:00", "2026-11-21 08:00"),
        (("20:00", "08:00"), "2026-11-21 07:59:59", "2026-11-21 08:00"),
        (("20:00", "08:00"), "2026-11-21 08:00", None),
        (("12:00", "14:00"), "2026-11-20 13:00", "2026-11-20 14:00"),
        (("12:00", "14:00"), "2026-11-20 14:00", None),
        (("00:00", "06:30"), "2026-11-20 00:00", "2026-11-20 06:30"),
        (("22:00", "00:00"), "2026-11-20 23:00", "2026-11-21 00:00"),
        (("22:00", "00:00"), "2026-11-21 00:00", None),
        (("00:00", "23:59"), "2026-11-20 10:00", "2026-11-20 23:59"),
        (("00:00", "23:59"), "2026-11-20 23:59:30", None),
        (("08:00", "08:00"), "2026-11-20 03:00", None),
        (("20:00", "08:00"), "2026-12-31 23:00", "2027-01-01 08:00"),
    ],
)
def test_a_night_ends_on_the_clock_there(rule: tuple[str, str], at: str, until: str | None) -> None:
    moment = local(at, NAIROBI).astimezone(UTC)
    expected = local(until, NAIROBI) if until else moment
    assert earliest(policy(*rule), (NAIROBI,), moment) == expected


def test_without_a_policy_or_hours_there_is_nothing_to_wait_for() -> None:
    moment = local("2026-11-20 23:00", NAIROBI)
    assert earliest(None, (NAIROBI,), moment) == moment
    assert earliest(SendingPolicy(channel="sms"), (NAIROBI,), moment) == moment
    assert earliest(policy(), (), moment) == moment


@pytest.mark.parametrize(
    ("zone", "at", "until", "hours"),
    [
        # Forward: the night is an hour shorter; back: an hour longer.
        (BERLIN, "2026-03-28 20:00", "2026-03-29 08:00", 11),
        (BERLIN, "2026-10-24 20:00", "2026-10-25 08:00", 13),
        (NEW_YORK, "2026-03-07 20:00", "2026-03-08 08:00", 11),
        (NEW_YORK, "2026-10-31 20:00", "2026-11-01 08:00", 13),
    ],
)
def test_nights_when_the_clocks_change(zone: ZoneInfo, at: str, until: str, hours: int) -> None:
    moment = local(at, zone).astimezone(UTC)
    found = earliest(policy(), (zone,), moment)
    assert found == local(until, zone).astimezone(UTC)
    assert found - moment == timedelta(hours=hours)


def test_an_end_that_is_left_out_is_read_by_the_clock_before() -> None:
    # In Berlin 02:30 does not exist on 29 March 2026: the clocks go from 02:00 to 03:00 at 01:00 UTC.
    before = datetime(2026, 3, 29, 0, 30, tzinfo=UTC)
    end = datetime(2026, 3, 29, 1, 30, tzinfo=UTC)
    rule = policy("22:00", "02:30")
    assert earliest(rule, (BERLIN,), before) == end
    assert earliest(rule, (BERLIN,), end) == end
    assert earliest(rule, (BERLIN,), datetime(2026, 3, 29, 1, 10, tzinfo=UTC)) == end


def test_an_hour_that_comes_twice_is_night_both_times() -> None:
    # In Berlin 02:00 to 03:00 comes twice on 25 October 2026: from 00:00 UTC and from 01:00 UTC.
    end = datetime(2026, 10, 25, 1, 30, tzinfo=UTC)
    rule = policy("22:00", "02:30")
    for minutes in (0, 20, 40, 60, 80, 89):
        moment = datetime(2026, 10, 25, 0, 0, tzinfo=UTC) + timedelta(minutes=minutes)
        assert earliest(rule, (BERLIN,), moment) == end, moment
    assert earliest(rule, (BERLIN,), end) == end


def test_a_start_in_the_hour_that_comes_twice_counts_from_the_first_time() -> None:
    rule, end = policy("02:30", "05:00"), datetime(2026, 10, 25, 4, 0, tzinfo=UTC)
    for minutes in (30, 59, 60, 80, 100):
        moment = datetime(2026, 10, 25, 0, 0, tzinfo=UTC) + timedelta(minutes=minutes)
        assert earliest(rule, (BERLIN,), moment) == end, moment
    assert earliest(rule, (BERLIN,), datetime(2026, 10, 25, 0, 29, tzinfo=UTC)) == datetime(2026, 10, 25, 0, 29, tzinfo=UTC)


@pytest.mark.parametrize("zone", [NAIROBI, BERLIN, NEW_YORK, ZoneInfo("Australia/Lord_Howe"), ZoneInfo("Asia/Kathmandu")])
@pytest.mark.parametrize("rule", [("20:00", "08:00"), ("22:00", "02:30"), ("01:30", "02:30"), ("12:00", "13:00")])
def test_no_answer_is_in_the_past_or_in_the_night(zone: ZoneInfo, rule: tuple[str, str]) -> None:
    hours = policy(*rule)
    for start in (datetime(2026, 3, 28, tzinfo=UTC), datetime(2026, 10, 24, tzinfo=UTC), datetime(2026, 4, 4, tzinfo=UTC)):
        for step in range(0, 60 * 60, 17):
            moment = start + timedelta(minutes=step)
            found = earliest(hours, (zone,), moment)
            assert moment <= found <= moment + timedelta(hours=14)
            assert earliest(hours, (zone,), found) == found


def test_all_zones_of_a_number_are_awake() -> None:
    """At 08:00 in New York it is 05:00 in Los Angeles: both are awake from 11:00 New York time on."""
    moment = local("2026-11-20 21:00", NEW_YORK)
    assert earliest(policy(), (NEW_YORK, LOS_ANGELES), moment) == local("2026-11-21 08:00", LOS_ANGELES)
    noon = local("2026-11-21 12:00", NEW_YORK)
    assert earliest(policy(), (NEW_YORK, LOS_ANGELES), noon) == noon


def test_zones_without_a_common_hour_let_the_message_out_all_the_same() -> None:
    zones = (ZoneInfo("Pacific/Guam"), NEW_YORK, ZoneInfo("Pacific/Honolulu"))
    moment = local("2026-11-20 21:00", NEW_YORK)
    found = earliest(policy("18:00", "10:00"), zones, moment)
    assert found == local("2026-11-21 10:00", NEW_YORK)
    assert earliest(policy("18:00", "10:00"), zones, found) == found


@pytest.mark.parametrize(
    ("channel", "address", "names"),
    [
        ("sms", "+254712345678", ["Africa/Nairobi"]),
        ("whatsapp", "+12125550100", ["America/New_York"]),
        ("sms", "not a number", ["UTC"]),
        ("email", "jane@example.com", ["UTC"]),
    ],
)
def test_where_a_recipient_may_be(channel: str, address: str, names: list[str]) -> None:
    found = zones_of(Recipient(address=address), channel, ZoneInfo("UTC"))
    assert [str(each) for each in found] == names


def test_a_number_of_a_country_with_many_zones_has_them_all() -> None:
    assert len(zones_of(Recipient(address="+18005550100"), "sms", NAIROBI)) > 10


@pytest.mark.parametrize(("name", "expected"), [("Europe/Berlin", "Europe/Berlin"), ("America", "UTC"), ("../etc", "UTC")])
def test_a_devices_own_zone_counts_where_it_is_one(name: str, expected: str) -> None:
    recipient = Recipient(address="token", device=Device(token="token", time_zone=name))
    assert [str(each) for each in zones_of(recipient, "push", ZoneInfo("UTC"))] == [expected]


def test_a_message_of_the_night_waits_for_the_morning_and_a_critical_one_does_not(school: Account, clock: MovableClock) -> None:
    SendingPolicy.objects.create(tenant=school.tenant, channel="sms", quiet_from=time(20), quiet_until=time(8))
    MessageCategory.objects.create(tenant=school.tenant, name="alarm", is_critical=True)
    clock.moment = local("2026-11-20 21:30", NAIROBI).astimezone(UTC)
    morning = local("2026-11-21 08:00", NAIROBI)
    due = {}
    for category in ("bulk", "", "otp", "receipt", "alarm"):
        message = send_sms(tenant=school.tenant, to=["+254712345678"], message="Karibu", category=category)
        due[category] = QueueItem.objects.get(reference_id=message.pk).due_at
    assert due == {"bulk": morning, "": morning, **dict.fromkeys(("otp", "receipt", "alarm"), clock.moment)}


def test_what_comes_due_at_night_all_the_same_is_held(school: Account, clock: MovableClock) -> None:
    """The workers were away until the evening: the message waits once more."""
    clock.moment = local("2026-11-20 19:00", NAIROBI).astimezone(UTC)
    message = send_sms(tenant=school.tenant, to=["+254712345678"], message="Karibu", category="bulk")
    SendingPolicy.objects.create(tenant=school.tenant, channel="sms", quiet_from=time(20), quiet_until=time(8))
    clock.advance(hours=2)
    with pytest.raises(Held) as held:
        jobs.get("sms.send").prepare(QueueItem.objects.get(reference_id=message.pk))
    assert held.value.retry_after == timedelta(hours=11).total_seconds()
