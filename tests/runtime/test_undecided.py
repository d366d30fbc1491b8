"""A call whose answer was lost at a provider that knows it by its key: made again, and never called failed without proof."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from integrations.models import Alert, Attempt, Config, ConfigStatus, QueueItem, QueueState, Tenant
from integrations.models import Provider as ProviderRow
from integrations.runtime.worker import claim_and_run
from tests.factories import MovableClock
from tests.runtime.service import SLUG, Service
from tests.runtime.support import fresh, told

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("standing_clock")]
Add = Callable[..., QueueItem]


def states(item: QueueItem) -> list[str]:
    return list(Attempt.unscoped.filter(item=item).order_by("fence").values_list("state", flat=True))


def lost(add: Add, service: Service, **fields: object) -> QueueItem:
    """Return an item whose first answer was lost, put off to be made again."""
    service.will_answer(500)
    item = add("act_with_key", **fields)
    assert claim_and_run(item).state == QueueState.PENDING
    assert states(item) == ["unknown"]
    return fresh(item)


def test_it_is_made_again_and_then_known(add: Add, service: Service, tenant: Tenant) -> None:
    item = lost(add, service)

    assert claim_and_run(item).state == QueueState.COMPLETED

    assert [body for *_rest, body in service.received] == [b'{"value":"v","key":"k1"}'] * 2
    assert states(item) == ["unknown", "succeeded"]
    assert told(tenant.pk) == [("told:waiting", "Undecided"), ("told:succeeded", "v")]


def test_a_clear_refusal_of_the_repetition_is_believed(add: Add, service: Service, tenant: Tenant) -> None:
    item = lost(add, service)
    service.will_answer(422)

    assert claim_and_run(item).state == QueueState.FAILED

    assert told(tenant.pk)[1:] == [("told:failed", "InvalidRequest")]


def test_attempts_used_up_without_an_answer_are_unknown_not_failed(add: Add, service: Service, tenant: Tenant) -> None:
    item = lost(add, service)
    service.will_answer(503, times=2)

    assert claim_and_run(item).state == QueueState.PENDING
    assert claim_and_run(fresh(item)).state == QueueState.UNKNOWN

    assert told(tenant.pk)[-1] == ("told:unknown", "OutcomeUnknown")


def test_never_answered_at_all_is_unknown(add: Add, service: Service, tenant: Tenant) -> None:
    item = lost(add, service)
    service.will_answer(500, times=2)

    assert claim_and_run(item).state == QueueState.PENDING
    assert claim_and_run(fresh(item)).state == QueueState.UNKNOWN

    assert states(item) == ["unknown"] * 3
    assert told(tenant.pk)[-1] == ("told:unknown", "Undecided")


def test_too_late_for_the_repetition_is_unknown_not_expired(
    add: Add, service: Service, tenant: Tenant, clock: MovableClock
) -> None:
    item = lost(add, service, not_after=clock.moment + timedelta(seconds=60))
    clock.advance(61)

    assert claim_and_run(item).state == QueueState.UNKNOWN

    assert len(service.received) == 1
    assert told(tenant.pk)[-1] == ("told:unknown", "OutcomeUnknown")


def test_refused_credentials_prove_nothing_about_the_first_try_and_are_reported(
    add: Add, service: Service, tenant: Tenant, config: Config
) -> None:
    item = lost(add, service)
    service.will_answer(401)

    assert claim_and_run(item).state == QueueState.UNKNOWN

    config.refresh_from_db()
    assert config.status == ConfigStatus.NEEDS_ATTENTION
    assert Alert.objects.filter(tenant=tenant, kind="config_needs_attention").count() == 1
    assert told(tenant.pk)[-1] == ("told:unknown", "OutcomeUnknown")


def test_an_account_that_serves_no_more_proves_nothing_either(add: Add, service: Service, tenant: Tenant) -> None:
    item = lost(add, service)
    ProviderRow.objects.filter(pk=SLUG).update(enabled=False)

    assert claim_and_run(item).state == QueueState.UNKNOWN

    assert told(tenant.pk)[-1] == ("told:unknown", "OutcomeUnknown")


def test_a_job_with_another_way_may_not_leave_for_it(add: Add, service: Service, tenant: Tenant) -> None:
    item = lost(add, service, payload={"gives_up": True})
    assert fresh(item).state == QueueState.PENDING

    service.will_answer(503)
    assert claim_and_run(fresh(item)).state == QueueState.PENDING
    assert told(tenant.pk)[-1] == ("told:waiting", "ProviderUnavailable")


def test_a_job_with_another_way_leaves_where_certainly_nothing_was_done(add: Add, service: Service, tenant: Tenant) -> None:
    service.will_answer(503)
    item = add("act_with_key", payload={"gives_up": True})

    assert claim_and_run(item).state == QueueState.FAILED

    assert told(tenant.pk) == [("told:failed", "ProviderUnavailable")]


def test_what_was_begun_ends_at_an_account_that_was_switched_off(add: Add, service: Service, config: Config) -> None:
    Config.unscoped.filter(pk=config.pk).update(is_active=False)

    assert claim_and_run(add("act")).state == QueueState.FAILED
    assert service.received == []
    assert claim_and_run(add("act", payload={"in_flight": True})).state == QueueState.COMPLETED
    assert len(service.received) == 1
