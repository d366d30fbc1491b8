"""Claiming, running and settling: what each outcome of a call does to the item, its job and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from integrations.contracts.errors import AuthenticationFailed, Expired, RateLimited
from integrations.models import Alert, Attempt, AttemptState, Config, ConfigStatus, QueueItem, QueueState, Tenant
from integrations.runtime import breaker, worker
from integrations.runtime.worker import backoff, claim, claim_and_run, claim_one, run
from tests.factories import MovableClock
from tests.runtime.conftest import config_for
from tests.runtime.service import Service
from tests.runtime.support import SECRET, SampleJob, fresh, together, told

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("standing_clock")]
Add = Callable[..., QueueItem]


def alerts(tenant: Tenant) -> list[str]:
    return list(Alert.objects.filter(tenant=tenant).exclude(kind__startswith="told:").values_list("kind", flat=True))


@pytest.mark.django_db(transaction=True)
def test_two_workers_never_get_the_same_item(add: Add) -> None:
    wanted = {add().pk for _ in range(24)}

    claimed = together(8, lambda _n: [item.pk for item in claim(4)])

    flat = [pk for one in claimed for pk in one]
    assert len(flat) == len(set(flat))
    rest = [item.pk for item in claim(100)]
    assert sorted(flat + rest) == sorted(wanted)
    assert claim(100) == []


@pytest.mark.django_db(transaction=True)
def test_of_many_who_try_one_item_at_once_one_makes_the_call(add: Add, service: Service, tenant: Tenant) -> None:
    item = add()

    outcomes = together(8, lambda _n: claim_and_run(fresh(item)))

    assert service.paths == [service.paths[0]]
    assert [outcome.result for outcome in outcomes if outcome.result] == ["v"]
    assert {outcome.state for outcome in outcomes} <= {QueueState.PENDING, QueueState.PROCESSING, QueueState.COMPLETED}
    assert told(tenant.pk) == [("told:succeeded", "v")]


def test_most_urgent_and_oldest_due_come_first_and_what_is_not_due_stays(add: Add, clock: MovableClock) -> None:
    late = add(priority=1, due_at=clock.moment + timedelta(seconds=1))
    second = add(priority=5, due_at=clock.moment - timedelta(seconds=10))
    third = add(priority=5)
    first = add(priority=1)

    assert [item.pk for item in claim(10)] == [first.pk, second.pk, third.pk]
    assert claim_one(late.pk) is not None


def test_success_settles_item_attempt_and_job_together(add: Add, service: Service, tenant: Tenant) -> None:
    item = add()

    outcome = claim_and_run(item)

    assert (outcome.state, outcome.result, outcome.error) == (QueueState.COMPLETED, "v", None)
    row = fresh(item)
    assert (row.state, row.attempts, row.lease, row.lease_until) == ("completed", 1, None, None)
    assert row.finished_at is not None
    (attempt,) = Attempt.unscoped.filter(item=item)
    assert (attempt.state, attempt.operation, attempt.fence) == (AttemptState.SUCCEEDED, "act", 1)
    assert told(tenant.pk) == [("told:succeeded", "v")]


def test_a_question_leaves_no_attempt_behind(add: Add, service: Service) -> None:
    item = add("ask")
    assert claim_and_run(item).state == QueueState.COMPLETED
    assert service.paths == ["/ask?value=v"]
    assert Attempt.unscoped.count() == 0


def test_nothing_left_to_do_completes_without_a_call(add: Add, service: Service, tenant: Tenant) -> None:
    item = add("nothing")
    assert claim_and_run(item).state == QueueState.COMPLETED
    assert service.received == []
    assert told(tenant.pk) == []


def test_too_late_is_never_sent(add: Add, service: Service, tenant: Tenant, clock: MovableClock) -> None:
    item = add(not_after=clock.moment + timedelta(seconds=60))
    clock.advance(61)

    outcome = claim_and_run(item)

    assert outcome.state == QueueState.FAILED
    assert isinstance(outcome.error, Expired)
    assert service.received == []
    assert told(tenant.pk) == [("told:failed", "Expired")]
    assert alerts(tenant) == ["queue_item_failed"]


def test_up_to_its_last_moment_it_is_still_made(add: Add, service: Service, clock: MovableClock) -> None:
    item = add(not_after=clock.moment + timedelta(seconds=60))
    clock.advance(60)
    assert claim_and_run(item).state == QueueState.COMPLETED


def test_unavailable_is_put_off_then_given_up_with_one_alert(
    add: Add, service: Service, tenant: Tenant, clock: MovableClock
) -> None:
    service.will_answer(503, times=3)
    item = add("ask")
    waits = []
    for _ in range(2):
        assert claim_and_run(item).state == QueueState.PENDING
        waits.append((fresh(item).due_at - clock.moment).total_seconds())
        clock.moment = fresh(item).due_at

    assert claim_and_run(item).state == QueueState.FAILED

    assert 5.0 <= waits[0] <= 6.25
    assert 10.0 <= waits[1] <= 12.5
    row = fresh(item)
    assert (row.attempts, row.last_error) == (3, "answered 503")
    assert [entry["error"] for entry in row.errors] == ["ProviderUnavailable"] * 3
    assert [what for what, _ in told(tenant.pk)] == ["told:waiting", "told:waiting", "told:failed"]
    assert alerts(tenant) == ["queue_item_failed"]
    assert len(service.received) == 3


def test_no_try_is_planned_after_the_last_moment(add: Add, service: Service, tenant: Tenant, clock: MovableClock) -> None:
    service.will_answer(429, headers={"Retry-After": "120"})
    item = add("ask", not_after=clock.moment + timedelta(seconds=60))

    assert claim_and_run(item).state == QueueState.FAILED
    assert told(tenant.pk) == [("told:failed", "RateLimited")]


def test_the_wait_that_the_provider_names_is_kept(add: Add, service: Service, clock: MovableClock) -> None:
    service.will_answer(429, headers={"Retry-After": "77"})
    item = add()

    outcome = claim_and_run(item)

    assert isinstance(outcome.error, RateLimited)
    assert fresh(item).due_at == clock.moment + timedelta(seconds=77)
    assert fresh(item).attempts == 1
    clock.advance(76)
    assert claim(10) == []
    clock.advance(1)
    assert [run(claimed).state for claimed in claim(10)] == [QueueState.COMPLETED]
    assert [attempt.state for attempt in Attempt.unscoped.order_by("fence")] == ["failed", "succeeded"]


def test_a_wrong_request_fails_at_once_without_alarm(add: Add, service: Service, tenant: Tenant) -> None:
    service.will_answer(422)
    item = add()

    assert claim_and_run(item).state == QueueState.FAILED
    assert told(tenant.pk) == [("told:failed", "InvalidRequest")]
    assert alerts(tenant) == []
    assert Attempt.unscoped.get(item=item).state == AttemptState.FAILED


def test_refused_credentials_mark_the_config_used_and_only_that(
    add: Add, service: Service, tenant: Tenant, config: Config, other_tenant: Tenant
) -> None:
    others = [config_for(tenant, label="second"), config_for(other_tenant)]
    service.will_answer(401)
    item = add()

    outcome = claim_and_run(item)

    assert outcome.state == QueueState.FAILED
    assert isinstance(outcome.error, AuthenticationFailed)
    config.refresh_from_db(from_queryset=Config.unscoped.all())
    assert config.status == ConfigStatus.NEEDS_ATTENTION
    assert SECRET not in config.status_detail
    assert config.status_detail == "refused ••••"
    for other in others:
        other.refresh_from_db(from_queryset=Config.unscoped.all())
        assert (other.status, other.status_detail) == (ConfigStatus.UNTESTED, "")
    (alert,) = Alert.objects.filter(tenant=tenant).exclude(kind__startswith="told:")
    assert (alert.kind, alert.level, alert.count) == ("config_needs_attention", "critical", 1)
    assert SECRET not in alert.message
    assert told(tenant.pk) == [("told:failed", "AuthenticationFailed")]


def test_refused_credentials_without_a_config_named_mark_the_one_that_served(
    add: Add, service: Service, tenant: Tenant, config: Config
) -> None:
    idle = config_for(tenant, label="switched off", is_active=False)
    service.will_answer(401)

    claim_and_run(add(config_id=None))

    states = dict(Config.unscoped.filter(tenant=tenant).values_list("pk", "status"))
    assert states == {config.pk: "needs_attention", idle.pk: "untested"}


def test_unknown_is_told_once_and_never_run_again(
    add: Add, service: Service, tenant: Tenant, clock: MovableClock, job: SampleJob
) -> None:
    service.will_answer(500)
    item = add()

    assert claim_and_run(item).state == QueueState.UNKNOWN
    clock.advance(days=2)
    assert claim(10) == []
    assert worker.recover_lapsed() == 0
    assert claim_and_run(item).state == QueueState.UNKNOWN

    assert len(service.received) == 1
    assert told(tenant.pk) == [("told:unknown", "OutcomeUnknown")]
    assert Attempt.unscoped.get(item=item).state == AttemptState.UNKNOWN
    assert alerts(tenant) == []


def test_unknown_that_nobody_can_be_asked_about_calls_a_person(
    add: Add, service: Service, tenant: Tenant, job: SampleJob
) -> None:
    job.on_unknown = QueueState.NEEDS_REVIEW
    service.will_answer(500)

    assert claim_and_run(add()).state == QueueState.NEEDS_REVIEW
    assert alerts(tenant) == ["needs_review"]


def test_an_unreadable_answer_is_unknown_after_an_effect(add: Add, service: Service, tenant: Tenant) -> None:
    service.will_answer(200, b"<html>")
    assert claim_and_run(add("act")).state == QueueState.UNKNOWN
    assert told(tenant.pk) == [("told:unknown", "OutcomeUnknown")]


def test_an_unreadable_answer_to_a_question_is_asked_again(add: Add, service: Service, tenant: Tenant) -> None:
    service.will_answer(200, b"<html>")
    assert claim_and_run(add("ask")).state == QueueState.PENDING
    assert told(tenant.pk) == [("told:waiting", "ProviderUnavailable")]


def test_a_bug_before_anything_was_sent_is_tried_again(add: Add, service: Service, tenant: Tenant) -> None:
    item = add("crash")
    assert claim_and_run(item).state == QueueState.PENDING
    assert fresh(item).attempts == 1
    assert service.received == []


def test_a_bug_after_sending_is_unknown(add: Add, service: Service, tenant: Tenant) -> None:
    item = add("act_and_crash")
    assert claim_and_run(item).state == QueueState.UNKNOWN
    assert len(service.received) == 1
    assert told(tenant.pk) == [("told:unknown", "OutcomeUnknown")]


def test_a_bug_while_applying_the_answer_undoes_its_writes_and_is_unknown(add: Add, service: Service, tenant: Tenant) -> None:
    item = add(payload={"break_on": "succeeded"})

    assert claim_and_run(item).state == QueueState.UNKNOWN

    assert len(service.received) == 1
    assert told(tenant.pk) == [("told:unknown", "OutcomeUnknown")]


def test_own_rate_limit_uses_no_attempt_and_sends_nothing(
    add: Add, service: Service, provider: Any, clock: MovableClock
) -> None:
    from integrations.contracts.provider import RateLimit

    provider(rate_limit=RateLimit(rate=0.5, burst=1))
    assert claim_and_run(add()).state == QueueState.COMPLETED
    item = add()

    outcome = claim_and_run(item)

    assert (outcome.state, type(outcome.error).__name__) == (QueueState.PENDING, "Throttled")
    row = fresh(item)
    assert (row.attempts, row.due_at) == (0, clock.moment + timedelta(seconds=2))
    assert len(service.received) == 1


def test_an_open_circuit_uses_no_attempt_and_sends_nothing(
    add: Add, service: Service, config: Config, clock: MovableClock
) -> None:
    service.will_answer(503, times=breaker.MINIMUM_FAILURES)
    for _ in range(breaker.MINIMUM_FAILURES):
        claim_and_run(add("ask"))
    item = add()

    for _ in range(20):
        outcome = claim_and_run(item)
        assert (outcome.state, type(outcome.error).__name__) == (QueueState.PENDING, "CircuitOpen")

    row = fresh(item)
    assert row.attempts == 0
    assert breaker.FIRST_WAIT <= row.due_at - clock.moment <= breaker.FIRST_WAIT * (1 + breaker.SPREAD)
    assert len(service.received) == breaker.MINIMUM_FAILURES
    clock.moment = row.due_at
    assert claim_and_run(item).state == QueueState.COMPLETED


@pytest.mark.parametrize(("attempt", "base"), [(1, 5.0), (2, 10.0), (3, 20.0), (9, 1280.0), (11, 3600.0), (10_000, 3600.0)])
def test_backoff_doubles_is_capped_and_only_adds_jitter(attempt: int, base: float) -> None:
    waits = [backoff(attempt) for _ in range(200)]
    assert min(waits) >= base
    assert max(waits) <= base * 1.25
    assert len(set(waits)) > 100
