"""The circuit breaker around calls: when it opens, whom it lets through, what a call that goes well costs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from integrations.contracts.capabilities import Environment
from integrations.contracts.errors import CircuitOpen, InvalidRequest, ProviderUnavailable, RateLimited, Throttled
from integrations.contracts.provider import RateLimit
from integrations.models import BreakerState, Config, Tenant
from integrations.runtime import breaker
from integrations.runtime.breaker import passing
from integrations.runtime.breaker.memory import Memory
from integrations.runtime.recorder import best_effort
from tests.factories import MovableClock
from tests.runtime.breaking import SURELY, break_circuit, fail, make, refused, view_of
from tests.runtime.conftest import config_for
from tests.runtime.service import Service
from tests.runtime.support import together

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("standing_clock")]
Declare = Callable[..., Any]
AWAY = ProviderUnavailable("answered 503")


def test_it_opens_after_failures_and_says_how_long(
    tenant: Tenant, config: Config, service: Service, clock: MovableClock
) -> None:
    break_circuit(tenant, service)
    clock.advance(5)
    assert 10.0 <= refused(tenant) <= 10.0 + 15.0 * breaker.SPREAD
    assert len(service.received) == breaker.MINIMUM_FAILURES


def test_one_failure_less_leaves_it_closed(tenant: Tenant, config: Config, service: Service) -> None:
    fail(tenant, service, breaker.MINIMUM_FAILURES - 1)
    assert make(tenant) == "v"


def test_failures_far_apart_leave_it_closed(tenant: Tenant, config: Config, service: Service, clock: MovableClock) -> None:
    for _ in range(20):
        fail(tenant, service)
        clock.advance(20)


def test_failures_on_both_sides_of_an_edge_open_it(
    tenant: Tenant, config: Config, service: Service, clock: MovableClock
) -> None:
    fail(tenant, service)
    clock.advance(29)
    fail(tenant, service, 3)
    clock.advance(2)
    fail(tenant, service, 3)
    refused(tenant)


def test_failures_among_more_successes_leave_it_closed(
    tenant: Tenant, config: Config, service: Service, clock: MovableClock
) -> None:
    for _ in range(10):
        assert [make(tenant), make(tenant)] == ["v", "v"]
        fail(tenant, service)
        clock.advance(2)
    assert BreakerState.objects.get().state == "closed"


@pytest.mark.parametrize("status", [401, 422, 429])
def test_what_the_provider_refuses_is_no_failure_of_the_provider(
    tenant: Tenant, config: Config, service: Service, status: int, clock: MovableClock
) -> None:
    service.will_answer(status, times=20)
    for _ in range(20):
        with pytest.raises(Exception, match=r"refused|wrong value|slow down"):
            make(tenant)
        clock.advance(1)  # after a 429 nobody calls for a while
    assert make(tenant) == "v"
    assert not BreakerState.objects.exclude(state="closed").exists()


# --- the probe


@pytest.mark.django_db(transaction=True)
def test_half_open_lets_exactly_one_probe_through(
    tenant: Tenant, config: Config, service: Service, clock: MovableClock
) -> None:
    break_circuit(tenant, service)
    clock.advance(SURELY)
    view = view_of(config.pk, service.url)

    results = together(12, lambda _n: breaker.check(view))

    assert [isinstance(each, breaker.Passage) and each.probe is not None for each in results].count(True) == 1
    waits = [each.retry_after for each in results if isinstance(each, CircuitOpen)]
    assert waits == [5.0] * 11, "they look again soon: the probe may be back at any moment"
    assert BreakerState.objects.get().state == "half_open"


def test_a_good_probe_closes_it(tenant: Tenant, config: Config, service: Service, clock: MovableClock) -> None:
    break_circuit(tenant, service)
    clock.advance(SURELY)
    assert [make(tenant) for _ in range(3)] == ["v"] * 3
    row = BreakerState.objects.get()
    assert (row.state, row.openings, row.failures, row.retry_at) == ("closed", 0, 0, None)


def test_a_bad_probe_opens_it_for_twice_as_long_up_to_a_limit(
    tenant: Tenant, config: Config, service: Service, clock: MovableClock
) -> None:
    break_circuit(tenant, service)
    opened = clock.moment
    waits = []
    for _ in range(7):
        waits.append(refused(tenant))
        clock.advance(waits[-1])
        fail(tenant, service)
    for wait, least in zip(waits, [15.0, 30.0, 60.0, 120.0, 240.0, 300.0, 300.0], strict=True):
        assert least <= wait <= least * (1 + breaker.SPREAD)
    assert len({round(wait % 1, 4) for wait in waits}) > 1, "jitter keeps circuits from being probed in step"
    assert BreakerState.objects.get().opened_at == opened


def test_a_probe_that_is_never_heard_of_again_is_followed_by_another(
    tenant: Tenant, config: Config, service: Service, clock: MovableClock
) -> None:
    break_circuit(tenant, service)
    clock.advance(SURELY)
    with pytest.raises(RuntimeError):
        make(tenant, "crash")  # the probe's process had a bug: nothing was recorded
    refused(tenant)
    clock.advance(breaker.PROBE_SPAN.total_seconds())
    assert make(tenant) == "v"
    assert BreakerState.objects.get().state == "closed"


def test_a_probe_held_back_by_our_own_limit_does_not_use_up_the_probe(
    tenant: Tenant, config: Config, service: Service, provider: Declare, clock: MovableClock
) -> None:
    provider(rate_limit=RateLimit(rate=0.04, burst=breaker.MINIMUM_FAILURES))
    break_circuit(tenant, service)
    clock.advance(SURELY)
    with pytest.raises(Throttled):
        make(tenant)
    clock.advance(7)
    assert make(tenant) == "v"


@pytest.mark.parametrize(
    ("error", "state"),
    [(InvalidRequest("no number"), "half_open"), (RateLimited("slow down"), "closed"), (AWAY, "open"), (None, "closed")],
    ids=["says nothing", "answered", "away", "well"],
)
def test_what_a_probe_proves(error: Any, state: str, clock: MovableClock) -> None:
    view = view_of()
    for _ in range(breaker.MINIMUM_FAILURES):
        breaker.check(view).record(AWAY)
    clock.advance(SURELY)
    breaker.check(view).record(error)
    assert BreakerState.objects.get().state == state
    if state == "half_open":
        assert breaker.check(view).probe is not None, "the next one is the probe at once"


@pytest.mark.parametrize("error", [None, AWAY])
def test_a_call_that_began_before_it_opened_moves_nothing(error: Any, clock: MovableClock) -> None:
    view = view_of()
    early = breaker.check(view)
    for _ in range(breaker.MINIMUM_FAILURES):
        breaker.check(view).record(AWAY)
    row = BreakerState.objects.get()
    early.record(error)
    clock.advance(SURELY)
    probe = breaker.check(view)
    early.record(error)
    now = BreakerState.objects.get()
    assert (now.state, now.failures, now.openings, now.retry_at) == ("half_open", row.failures, 1, probe.probe)


# --- whose it is


def test_a_provider_host_breaks_for_all_its_tenants_and_a_simulator_for_its_config_alone(
    tenant: Tenant, other_tenant: Tenant, config: Config, service: Service
) -> None:
    config_for(other_tenant)
    break_circuit(tenant, service)
    refused(other_tenant)
    views = [view_of(number, "http://127.0.0.1:9/x", Environment.SIMULATOR) for number in (1, 2)]
    assert breaker.key_of(views[0]) != breaker.key_of(views[1])


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("https://moodle.school.example/api", "moodle.school.example"),
        ("https://me:secret@school.example:8443", "school.example:8443"),
        ("mail.school.example:2525", "mail.school.example:2525"),
    ],
)
def test_a_host_of_the_tenants_own_breaks_alone(address: str, host: str) -> None:
    key, shown = breaker.key_of(view_of(7, own=address))
    assert (key, shown) == (f"sample-crm|{host}|7", host)
    assert breaker.check(view_of(7, own=address)).tenant_id == 1
    assert breaker.check(view_of(7)).tenant_id is None


def test_a_long_host_name_fits(tenant: Tenant) -> None:
    view = view_of(7, own=f"https://{'a' * 240}.example", tenant_id=tenant.pk)
    for _ in range(breaker.MINIMUM_FAILURES):
        breaker.check(view).record(AWAY)
    assert BreakerState.objects.get().state == "open"


# --- what it costs, and that counts are exact


def statements(work: Callable[[], Any]) -> list[str]:
    with CaptureQueriesContext(connection) as captured:
        work()
    return [each["sql"] for each in captured if "breakerstate" in each["sql"]]


def test_a_call_that_goes_well_looks_once_a_second_and_writes_nothing(
    tenant: Tenant, config: Config, service: Service, clock: MovableClock
) -> None:
    assert [each.split()[0] for each in statements(lambda: make(tenant))] == ["SELECT", "INSERT"], "the first call ever"
    assert statements(lambda: [make(tenant) for _ in range(10)]) == []
    clock.advance(1)
    assert [each.split()[0] for each in statements(lambda: [make(tenant) for _ in range(5)])] == ["SELECT"]
    row = BreakerState.objects.get()
    assert (row.state, row.successes, row.failures) == ("closed", 0, 0)


def test_many_that_go_well_write_once_a_second(clock: MovableClock) -> None:
    view = view_of()

    def busy() -> None:
        for _ in range(150):
            breaker.check(view).record(None)

    found = statements(busy)
    assert len([each for each in found if each.startswith("UPDATE")]) == 1
    clock.advance(1)
    breaker.check(view).record(None)
    assert BreakerState.objects.get().successes == 151


def test_a_failure_takes_the_successes_along(tenant: Tenant, config: Config, service: Service) -> None:
    assert [make(tenant) for _ in range(6)] == ["v"] * 6
    fail(tenant, service)
    row = BreakerState.objects.get()
    assert (row.successes, row.failures, row.last_error) == (6, 1, "ProviderUnavailable: answered 503")


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Any]], None]:
    """`elsewhere(work)`: do it as another process, which remembers nothing of what this one does."""
    memory = Memory()

    def run(work: Callable[[], Any]) -> None:
        with monkeypatch.context() as other:
            other.setattr(passing, "MEMORY", memory)
            work()

    return run


def test_an_opening_elsewhere_is_seen_within_a_second(
    tenant: Tenant, config: Config, service: Service, clock: MovableClock, elsewhere: Any
) -> None:
    assert make(tenant) == "v"
    elsewhere(lambda: break_circuit(tenant, service))
    assert make(tenant) == "v"
    clock.advance(1)
    refused(tenant)


def test_successes_elsewhere_count_against_failures_here(
    tenant: Tenant, config: Config, service: Service, clock: MovableClock, elsewhere: Any
) -> None:
    elsewhere(lambda: [make(tenant) for _ in range(20)])
    fail(tenant, service, 8)
    clock.advance(1)
    elsewhere(lambda: [make(tenant) for _ in range(2)])
    row = BreakerState.objects.get()
    assert (row.state, row.failures, row.successes) == ("closed", 8, 21), "where something fails each second is written"


@pytest.mark.django_db(transaction=True)
def test_concurrent_ends_are_all_counted(clock: MovableClock) -> None:
    view = view_of()

    def end(number: int) -> None:
        passage = breaker.check(view)
        for _ in range(4):
            passage.record(None)
            passage.record(AWAY if number == 0 else None)

    assert together(8, end) == [None] * 8
    breaker.check(view).record(AWAY)  # takes along what was gathered
    row = BreakerState.objects.get()
    assert (row.successes, row.failures, row.state) == (60, 5, "closed")


@pytest.mark.django_db(transaction=True)
def test_concurrent_failures_open_it_once(clock: MovableClock) -> None:
    view = view_of()
    passages = [breaker.check(view) for _ in range(12)]
    together(12, lambda number: passages[number].record(AWAY))
    row = BreakerState.objects.get()
    assert (row.state, row.failures, row.openings) == ("open", breaker.MINIMUM_FAILURES, 1)


@pytest.mark.django_db(transaction=True)
def test_what_could_not_be_written_is_written_the_next_time(monkeypatch: pytest.MonkeyPatch, clock: MovableClock) -> None:
    view = view_of()
    breaker.check(view).record(None)
    passage = breaker.check(view)
    connection.ensure_connection()
    connection.connection.close()  # as a server that was restarted
    best_effort(lambda: passage.record(AWAY), "not told")
    row = BreakerState.objects.get()
    assert (row.successes, row.failures) == (1, 1)
