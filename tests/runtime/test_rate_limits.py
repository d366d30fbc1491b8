"""The limits of an account: exact, its own before the provider's, learnt from answers, counted by day and at once."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from integrations.contracts.capabilities import Capability
from integrations.contracts.errors import InvalidRequest, ProviderUnavailable, RateLimited, Throttled
from integrations.contracts.provider import RateLimit
from integrations.models import Alert, Config, ProviderGrant, RateBucket, RateSlot, Tenant
from integrations.runtime.execute import execute
from integrations.runtime.jobs import Call
from integrations.runtime.rate_limit import buckets, slots
from integrations.runtime.rate_limit.buckets import Standing
from integrations.runtime.rate_limit.limits import clean, in_force
from integrations.runtime.rate_limit.turns import SHORTEST_PAUSE
from tests.factories import MovableClock
from tests.runtime.conftest import config_for
from tests.runtime.service import SLUG, Service
from tests.runtime.support import together

pytestmark = pytest.mark.django_db
Declare = Callable[..., Any]
FREE = RateLimit(rate=1000, burst=10_000)


def make(tenant: Tenant, operation: str = "ask", **fields: Any) -> Any:
    return execute(Call(Capability.CRM, operation, ("v",), **fields), tenant_id=tenant.pk)


def held_back(tenant: Tenant, operation: str = "ask", **fields: Any) -> Throttled:
    with pytest.raises(Throttled) as caught:
        make(tenant, operation, **fields)
    return caught.value


def take(limit: RateLimit, key: str = "x|1|ask", account: str = "x|1") -> buckets.Taken:
    return buckets.take(key, account=account, limit=limit, standing=Standing.ALONE)


# --- the rate


@pytest.mark.django_db(transaction=True)
def test_threads_over_real_connections_take_no_more_than_burst_and_rate() -> None:
    limit = RateLimit(rate=40, burst=10)

    def work(_number: int) -> tuple[int, float, float]:
        taken, begun = 0, time.monotonic()
        while time.monotonic() < begun + 1:
            taken += take(limit).wait is None
        return taken, begun, time.monotonic()

    counts = together(6, work)
    elapsed = max(end for _taken, _begun, end in counts) - min(begun for _taken, begun, _end in counts)
    taken = sum(each for each, _begun, _end in counts)
    assert 11 <= taken <= 10 + 40 * elapsed + 0.1


@pytest.mark.parametrize("limit", [RateLimit(rate=1, burst=5), RateLimit(rate=1, burst=5, daily=100)])
def test_what_is_granted_costs_one_statement(clock: MovableClock, limit: RateLimit) -> None:
    for _ in range(2):  # the first one, and one that finds its row
        with CaptureQueriesContext(
            connection,
        ) as asked:
            assert take(limit).wait is None
        assert len(asked) == 1


def test_a_clock_put_back_stops_nobody_for_longer_than_the_rate_says(clock: MovableClock) -> None:
    limit = RateLimit(rate=1, burst=1)
    clock.advance(hours=1)
    assert take(limit).wait is None
    clock.advance(hours=-1)
    assert take(limit).wait == 1.0
    clock.advance(1)
    assert take(limit).wait is None
    assert take(limit).wait == 1.0


def test_a_clock_that_jumps_ahead_fills_no_more_than_the_burst(clock: MovableClock) -> None:
    limit = RateLimit(rate=1, burst=3)
    for _ in range(3):
        assert take(limit).wait is None
    clock.advance(days=400)
    assert [take(limit).wait for _ in range(4)] == [None, None, None, 1.0]


def test_without_a_clock_of_ours_the_database_tells_the_time() -> None:
    take(RateLimit(rate=1, burst=5))
    with connection.cursor() as cursor:
        cursor.execute("SELECT abs(EXTRACT(EPOCH FROM clock_timestamp() - updated_at)) < 60 FROM integrations_ratebucket")
        assert cursor.fetchone() == (True,)


def test_the_installations_account_is_one_for_all_tenants(
    tenant: Tenant, other_tenant: Tenant, provider: Declare, monkeypatch: pytest.MonkeyPatch, clock: MovableClock
) -> None:
    provider(rate_limit=RateLimit(rate=1, burst=1))
    monkeypatch.setenv("PROVIDER_SAMPLE_CRM_ACCOUNT", "a1")
    monkeypatch.setenv("PROVIDER_SAMPLE_CRM_API_KEY", "k" * 12)
    for each in (tenant, other_tenant):
        ProviderGrant.unscoped.create(tenant=each, provider_id=SLUG)
    assert make(tenant) == "v"
    assert held_back(other_tenant).retry_after == 1.0


# --- an account's own limits


def test_an_accounts_own_limits_go_before_the_providers(
    tenant: Tenant, config: Config, provider: Declare, clock: MovableClock
) -> None:
    provider(rate_limit=RateLimit(rate=1, burst=1))
    Config.unscoped.filter(pk=config.pk).update(limits={"rate": 4.0, "burst": 2})
    assert [make(tenant), make(tenant)] == ["v", "v"]
    error = held_back(tenant)
    assert error.retry_after == 0.25
    assert error.message == f"Waits for the rate limit of Sample CRM (ask, account {config.pk})."
    Config.unscoped.filter(pk=config.pk).update(limits={})
    clock.advance(0.25)
    assert held_back(tenant).retry_after == 0.75


def test_a_burst_follows_a_rate_of_its_own() -> None:
    declared = RateLimit(rate=10, burst=20, concurrency=3, daily=500)
    assert in_force(declared, {}) == declared
    assert in_force(declared, {"rate": 5.0}) == RateLimit(rate=5, burst=10, concurrency=3, daily=500)
    assert in_force(declared, {"rate": 0.1}) == RateLimit(rate=0.1, burst=1, concurrency=3, daily=500)
    assert in_force(declared, {"rate": 5.0, "burst": 1, "daily": 7}) == RateLimit(rate=5, burst=1, concurrency=3, daily=7)


@pytest.mark.parametrize(
    ("given", "attr"),
    [
        ({"rate": 0}, "limits.rate"),
        ({"rate": -1}, "limits.rate"),
        ({"rate": float("nan")}, "limits.rate"),
        ({"rate": float("inf")}, "limits.rate"),
        ({"rate": True}, "limits.rate"),
        ({"rate": "5"}, "limits.rate"),
        ({"rate": 10_001}, "limits.rate"),
        ({"burst": 0}, "limits.burst"),
        ({"burst": 1.5}, "limits.burst"),
        ({"concurrency": 0}, "limits.concurrency"),
        ({"daily": True}, "limits.daily"),
        ({"daily": 10**10}, "limits.daily"),
        ({"speed": 1}, "limits.speed"),
    ],
)
def test_bad_limits_are_named(given: dict[str, Any], attr: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        clean(given)
    assert caught.value.attr == attr


# --- what answers ask for


@pytest.mark.parametrize(
    ("status", "headers", "wait"),
    [
        (429, {"Retry-After": "30"}, 30.0),
        (429, {"X-RateLimit-Reset": "45"}, 45.0),
        (429, {}, SHORTEST_PAUSE),
        (503, {"Retry-After": "20"}, 20.0),
        (429, {"X-RateLimit-Reset": "400000"}, 86_400.0),
    ],
)
def test_everybody_stays_away_from_what_was_refused(
    tenant: Tenant,
    config: Config,
    service: Service,
    clock: MovableClock,
    status: int,
    headers: dict[str, str],
    wait: float,
) -> None:
    second = config_for(tenant, label="second")
    service.will_answer(status, headers=headers)
    with pytest.raises((RateLimited, ProviderUnavailable)) as refused:
        make(tenant, config_id=config.pk)
    assert not isinstance(refused.value, Throttled)
    error = held_back(tenant, config_id=config.pk)
    assert (error.retry_after, error.message.endswith(": it asked for a pause.")) == (wait, True)
    assert make(tenant, config_id=second.pk) == make(tenant, "act", config_id=config.pk) == "v"
    clock.advance(wait)
    assert make(tenant, config_id=config.pk) == "v"
    assert len(service.received) == 4


def test_a_refusal_that_tells_only_by_a_header_tells_its_caller_too(
    tenant: Tenant, config: Config, service: Service, clock: MovableClock
) -> None:
    service.will_answer(429, headers={"X-RateLimit-Reset": "45"})
    with pytest.raises(RateLimited) as caught:
        make(tenant)
    assert caught.value.retry_after == 45.0


def test_nothing_left_until_a_reset_is_believed(tenant: Tenant, config: Config, service: Service, clock: MovableClock) -> None:
    service.will_answer(200, {"ok": True}, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "5"})
    assert make(tenant) == "v"
    assert held_back(tenant).retry_after == 5.0


def test_a_shorter_pause_ends_no_longer_one(clock: MovableClock) -> None:
    for seconds in (60.0, 5.0):
        buckets.pause("x|1|ask", seconds=seconds, why="it asked for a pause", burst=5)
    assert take(RateLimit(rate=1, burst=5)).wait == 60.0


def test_what_a_provider_says_in_its_own_way_goes_first(
    tenant: Tenant, config: Config, service: Service, provider: Declare, clock: MovableClock
) -> None:
    provider(pause=lambda status, headers, body: float(headers["x-wait"]) if "x-wait" in headers else None)
    service.will_answer(429, headers={"Retry-After": "30", "X-Wait": "0"})
    with pytest.raises(RateLimited):
        make(tenant)
    service.will_answer(200, {"ok": True}, {"X-Wait": "7"})
    assert make(tenant) == "v"
    assert held_back(tenant).retry_after == 7.0


# --- calls at once


def test_a_place_among_the_calls_at_once_is_given_back(
    tenant: Tenant, config: Config, service: Service, provider: Declare, clock: MovableClock
) -> None:
    provider(rate_limit=RateLimit(rate=1000, burst=1000, concurrency=1))
    assert [make(tenant), make(tenant, "act")] == ["v", "v"]
    service.will_answer(503)
    with pytest.raises(ProviderUnavailable):
        make(tenant)
    with pytest.raises(RuntimeError):
        make(tenant, "crash")
    assert make(tenant) == "v"
    assert not RateSlot.objects.exists()


def test_one_that_is_taken_holds_back_others_and_lapses_with_its_caller(
    tenant: Tenant, config: Config, provider: Declare, clock: MovableClock
) -> None:
    provider(rate_limit=RateLimit(rate=1, burst=1, concurrency=2, daily=10), timeout=(5.0, 20.0))
    account = f"{SLUG}|{config.pk}"
    for _ in range(2):
        assert slots.take(account, most=2, seconds=105, ahead=None) is not None
    error = held_back(tenant)
    assert error.message == f"Waits for the rate limit of Sample CRM (ask, account {config.pk}): 2 calls at once are under way."
    assert error.retry_after == 0.5
    row = RateBucket.objects.get(key=f"{account}|ask")
    assert (row.tokens, RateBucket.objects.get(key=account).used) == (1.0, 0), "nothing is taken by what is not made"
    clock.advance(105)
    assert make(tenant) == "v"
    assert not RateSlot.objects.exists()


def test_a_call_of_many_exchanges_keeps_its_place(clock: MovableClock) -> None:
    slot = slots.take("x|1", most=1, seconds=10, ahead=None)
    assert slot is not None
    clock.advance(9)
    slots.renew(slot, seconds=10)
    clock.advance(9)
    assert slots.take("x|1", most=1, seconds=10, ahead=None) is None
    clock.advance(1)
    assert slots.take("x|1", most=1, seconds=10, ahead=None) is not None


@pytest.mark.django_db(transaction=True)
def test_no_more_at_once_than_allowed_across_threads() -> None:
    taken = together(8, lambda _number: [slots.take("x|1", most=3, seconds=60, ahead=None) for _ in range(3)])
    assert sum(each is not None for found in taken for each in found) == 3


def test_nothing_is_counted_where_there_is_no_such_limit(
    tenant: Tenant, config: Config, provider: Declare, clock: MovableClock
) -> None:
    provider(rate_limit=FREE)
    assert make(tenant) == "v"
    assert [each.key for each in RateBucket.objects.all()] == [f"{SLUG}|{config.pk}|ask"]


# --- calls a day


def test_a_days_calls_are_counted_over_all_operations_until_midnight(
    tenant: Tenant, config: Config, provider: Declare, clock: MovableClock
) -> None:
    provider(rate_limit=RateLimit(rate=1000, burst=1000, daily=3))
    clock.moment = clock.moment.replace(hour=22, minute=0, second=0, microsecond=0)
    for operation in ("ask", "act", "ask"):
        assert make(tenant, operation) == "v"
    error = held_back(tenant)
    assert error.retry_after == timedelta(hours=2).total_seconds()
    assert (
        error.message
        == f"Waits for the rate limit of Sample CRM (ask, account {config.pk}): its 3 calls of this day are used up."
    )
    clock.advance(hours=2)
    assert make(tenant) == "v"
    assert RateBucket.objects.get(key=f"{SLUG}|{config.pk}").used == 1


def test_a_day_that_is_used_up_takes_no_tokens_of_the_rate(clock: MovableClock) -> None:
    limit = RateLimit(rate=0.1, burst=3, daily=1)
    clock.moment = clock.moment.replace(hour=22, minute=0, second=0, microsecond=0)
    assert take(limit).used == 1
    refused = [take(limit) for _ in range(5)]
    assert {(each.wait, each.why) for each in refused} == {(7200.0, "its 1 calls of this day are used up")}
    assert RateBucket.objects.get(key="x|1|ask").tokens == 2.0


def test_a_person_is_told_once_near_the_end_and_once_at_it(
    tenant: Tenant, config: Config, provider: Declare, clock: MovableClock
) -> None:
    provider(rate_limit=RateLimit(rate=1000, burst=1000, daily=5))
    told = []
    for _ in range(5):
        make(tenant)
        told.append([(each.level, each.count) for each in Alert.objects.filter(kind="daily_quota", tenant=tenant)])
    assert told == [[], [], [], [("warning", 1)], [("critical", 2)]]
    held_back(tenant)
    alert = Alert.objects.get(kind="daily_quota")
    assert (alert.count, alert.subject, alert.resolved_at) == (2, f"{SLUG} {config.pk}", None)
    assert alert.message == "Sample CRM: 5 of 5 calls of this day (UTC) are made. What is left waits until midnight."
    clock.advance(days=1)
    make(tenant)
    assert Alert.objects.get(kind="daily_quota").resolved_at is not None


def test_a_clock_put_back_over_midnight_counts_on(clock: MovableClock) -> None:
    limit = RateLimit(rate=1000, burst=1000, daily=2)
    assert take(limit).used == 1
    clock.advance(days=-1)
    assert take(limit).used == 2
    assert take(limit).wait is not None
