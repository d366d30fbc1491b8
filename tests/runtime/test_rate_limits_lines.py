"""What is held back comes back in order and spread, goes before what is newer, and says how long it waits."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.urls import reverse
from django_scopes import scope
from rest_framework.test import APIClient

from integrations.contracts.provider import RateLimit
from integrations.models import Config, ProviderGrant, QueueItem, QueueState, RateBucket, Tenant
from integrations.runtime.claims import claim
from integrations.runtime.queue import cancel_item, enqueue
from integrations.runtime.rate_limit.closing import close_ranks
from integrations.runtime.selectors import Wait, expected_wait
from integrations.runtime.worker import run
from tests.factories import MovableClock, make_user
from tests.runtime.service import SLUG, Service
from tests.runtime.support import fresh

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("standing_clock")]
Add = Callable[..., QueueItem]
ONE_A_SECOND = RateLimit(rate=1, burst=1)


def work() -> None:
    """Run what is due, in the order in which it is claimed."""
    while taken := claim(50):
        for item in taken:
            run(item)


def dues(items: list[QueueItem], clock: MovableClock) -> list[float]:
    return [(fresh(each).due_at - clock.moment).total_seconds() for each in items]


def cancel(items: list[QueueItem], tenant: Tenant) -> None:
    with scope(tenant=tenant):
        for each in items:
            cancel_item(each.pk, tenant_id=tenant.pk, by="somebody")


def done(items: list[QueueItem]) -> list[int]:
    """Return the places of those that are done."""
    return [number for number, each in enumerate(items) if fresh(each).state == QueueState.COMPLETED]


@pytest.fixture
def slow(provider: Any) -> None:
    provider(rate_limit=ONE_A_SECOND)


def line(add: Add, clock: MovableClock, count: int) -> list[QueueItem]:
    items = []
    for number in range(count):
        items.append(add(due_at=clock.moment - timedelta(milliseconds=count - number)))
    work()
    return items


@pytest.mark.usefixtures("slow")
def test_each_comes_back_at_its_own_place_and_once(add: Add, clock: MovableClock, service: Service) -> None:
    items = line(add, clock, 6)
    assert done(items) == [0]
    assert dues(items[1:], clock) == [1.0, 2.0, 3.0, 4.0, 5.0]
    for number in range(1, 6):
        clock.advance(1)
        work()
        assert done(items) == list(range(number + 1))
    assert len(service.received) == 6
    assert [len(fresh(each).errors) for each in items] == [0, 1, 1, 1, 1, 1]
    assert {fresh(each).attempts for each in items} == {1}


@pytest.mark.usefixtures("slow")
def test_what_is_newer_goes_behind_though_a_token_is_there(add: Add, clock: MovableClock) -> None:
    items = line(add, clock, 4)
    clock.advance(1)  # the second one's token; the newer one is claimed first, for it has a higher priority
    newer = add(priority=4)
    work()
    assert (done(items), dues([newer], clock)) == ([0, 1], [3.0])
    for _ in range(3):
        clock.advance(1)
        work()
    assert (done(items), done([newer])) == ([0, 1, 2, 3], [0])


@pytest.mark.usefixtures("slow")
def test_the_urgent_goes_first_and_takes_nobodys_place_for_good(add: Add, clock: MovableClock) -> None:
    items = line(add, clock, 4)
    clock.advance(1)
    urgent = add(priority=1)
    work()
    assert (done([urgent]), done(items)) == ([0], [0])
    seen = []
    for _ in range(4):
        clock.advance(1)
        work()
        seen.append(len(done(items)))
    assert seen == [2, 3, 4, 4], "one a second, and the last of them is not behind anybody newer"


@pytest.mark.usefixtures("slow")
def test_after_a_pause_they_come_spread_and_not_all_at_once(
    add: Add, clock: MovableClock, service: Service, config: Config
) -> None:
    items = line(add, clock, 4)
    clock.advance(1)
    service.will_answer(429, headers={"Retry-After": "60"})
    work()
    clock.advance(1)
    work()
    clock.advance(1)
    work()
    assert dues(items[1:], clock) == [58.0, 58.0, 59.0]
    reasons = [fresh(each).last_error for each in items[1:]]
    assert (
        reasons
        == ["slow down"] + [f"Waits for the rate limit of Sample CRM (act, account {config.pk}): it asked for a pause."] * 2
    )
    for _ in range(3):
        clock.advance(58 if done(items) == [0] else 1)
        work()
    assert done(items) == [0, 1, 2, 3]


@pytest.mark.usefixtures("slow")
def test_ranks_are_closed_where_many_have_left(add: Add, clock: MovableClock, tenant: Tenant) -> None:
    items = line(add, clock, 41)
    cancel(items[1:31], tenant)
    assert dues(items[31:33], clock) == [31.0, 32.0]
    assert close_ranks() == 10
    assert dues(items[31:], clock) == [float(number) for number in range(10)]
    assert RateBucket.objects.get(key__startswith="line|").updated_at == clock.moment + timedelta(seconds=10)
    assert close_ranks() == 0


@pytest.mark.usefixtures("slow")
def test_ranks_are_closed_of_one_account_only(
    add: Add, clock: MovableClock, tenant: Tenant, other_tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The installation's line is far too long, and items of one tenant stand in it. Another's wait for an account of its own,
    whether they name it or not."""
    monkeypatch.setenv("PROVIDER_SAMPLE_CRM_ACCOUNT", "a1")
    monkeypatch.setenv("PROVIDER_SAMPLE_CRM_API_KEY", "k" * 12)
    ProviderGrant.unscoped.create(tenant=other_tenant, provider_id=SLUG)
    for _ in range(41):
        enqueue(tenant_id=other_tenant.pk, kind="sample.call", payload={"operation": "act"})
    work()
    granted = list(QueueItem.unscoped.filter(tenant=other_tenant).order_by("due_at"))
    own = [*line(add, clock, 3), add(config_id=None), add(config_id=None)]
    work()
    before = dues(own, clock)
    assert before == [0.0 - 0.003, 1.0, 2.0, 3.0, 4.0]
    cancel(granted[1:31], other_tenant)

    assert close_ranks() == 10

    assert dues(granted[31:], clock) == [float(number) for number in range(10)]
    assert dues(own, clock) == before


@pytest.mark.usefixtures("slow")
def test_an_empty_line_holds_nobody_back(add: Add, clock: MovableClock, tenant: Tenant) -> None:
    cancel(line(add, clock, 30)[1:], tenant)
    assert close_ranks() == 0
    clock.advance(1)
    newer = add()
    work()
    assert done([newer]) == [0]


@pytest.mark.usefixtures("slow")
def test_ranks_stay_as_they_are_while_there_is_no_hole(add: Add, clock: MovableClock, config: Config) -> None:
    items = line(add, clock, 30)
    before = dues(items, clock)
    assert close_ranks() == 0
    assert dues(items, clock) == before
    Config.unscoped.filter(pk=config.pk).update(limits={"rate": 10.0, "burst": 1})
    assert close_ranks() == 29
    assert dues(items[1:3], clock) == [0.0, 0.1]


def test_a_line_before_midnight_is_not_moved_to_where_nothing_is_left(add: Add, clock: MovableClock, provider: Any) -> None:
    provider(rate_limit=RateLimit(rate=1, burst=5, daily=2))
    items = line(add, clock, 30)
    waits = dues(items[2:], clock)
    assert min(waits) > 3600
    assert waits == [waits[0] + number for number in range(28)]
    assert close_ranks() == 0


def test_calls_at_once_stand_in_line_too(add: Add, clock: MovableClock, provider: Any, config: Config) -> None:
    from integrations.runtime.rate_limit import slots

    provider(rate_limit=RateLimit(rate=1000, burst=1000, concurrency=1))
    slot = slots.take(f"sample-crm|{config.pk}", most=1, seconds=600, ahead=None)
    assert slot is not None
    items = line(add, clock, 3)
    assert dues(items, clock) == [1.0, 2.0, 3.0]
    slots.release(slot)
    newer = add()
    work()
    assert (done(items), dues([newer], clock)) == ([], [4.0])
    clock.advance(4)
    work()
    assert (done(items), done([newer])) == ([0, 1, 2], [0])


# --- how long it waits


@pytest.mark.usefixtures("slow")
def test_the_expected_wait_is_shown(add: Add, clock: MovableClock, config: Config, admin_api: APIClient, client: Any) -> None:
    items = line(add, clock, 41)
    reason = f"Waits for the rate limit of Sample CRM (act, account {config.pk})."
    last = fresh(items[-1])
    wait = expected_wait(last)
    assert wait == Wait(40, reason)
    assert wait.text == f"Waits for the rate limit of Sample CRM (act, account {config.pk}), about 40 s."
    assert admin_api.get(f"/api/v1/integrations/queue/{last.pk}").json()["expected_wait"] == {"seconds": 40, "reason": reason}
    listed = {
        row["id"]: row["expected_wait"] for row in admin_api.get("/api/v1/integrations/queue?state=pending").json()["results"]
    }
    assert listed[last.pk] == {"seconds": 40, "reason": reason}
    assert expected_wait(fresh(items[0])) is None
    assert expected_wait(add(due_at=clock.moment + timedelta(hours=1))) is None
    client.force_login(make_user("root", is_superuser=True))
    assert wait.text in client.get(reverse("admin:integrations_queueitem_change", args=[last.pk])).content.decode()
    assert wait.text in client.get(reverse("admin:integrations_queueitem_changelist")).content.decode()


@pytest.mark.parametrize(("seconds", "text"), [(1, "1 s"), (119, "119 s"), (150, "2 min"), (7000, "117 min"), (9000, "2.5 h")])
def test_a_wait_in_words(seconds: int, text: str) -> None:
    assert Wait(seconds, "Waits.").text == f"Waits, about {text}."
