"""Dead letters by mail: each is told once, whatever happens while the mail is made."""

from __future__ import annotations

from datetime import timedelta

import pytest

from integrations.events import AdminNotice
from integrations.models import QueueItem, QueueState, Tenant
from tests.factories import MovableClock, make_delivery, make_endpoint
from webhooks.outbound.delivery import digest
from webhooks.outbound.models import Delivery, Endpoint

pytestmark = pytest.mark.django_db


@pytest.fixture
def endpoint(tenant: Tenant) -> Endpoint:
    return make_endpoint(tenant)


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The first word of each mail's subject: how many died."""
    told: list[str] = []

    def note(notice: AdminNotice) -> None:
        told.append(notice.subject.split()[0])

    monkeypatch.setattr(digest, "emit", note)
    return told


def die(endpoint: Endpoint, clock: MovableClock, reason: str = "exhausted") -> None:
    delivery = make_delivery(endpoint)
    Delivery.unscoped.filter(pk=delivery.pk).update(state="failed", dead_reason=reason, finished_at=clock())
    digest.plan(endpoint.tenant_id)


def planned() -> list[QueueItem]:
    return list(QueueItem.unscoped.filter(kind=digest.KIND).order_by("pk"))


def mail(item: QueueItem) -> None:
    digest.DigestJob().run(item)
    QueueItem.unscoped.filter(pk=item.pk).update(state=QueueState.COMPLETED)


@pytest.mark.parametrize("state", [QueueState.PENDING, QueueState.PROCESSING])
@pytest.mark.parametrize("before", [timedelta(0), timedelta(seconds=30)])
def test_a_death_while_the_mail_is_made_is_told_by_the_next(
    endpoint: Endpoint, clock: MovableClock, said: list[str], state: QueueState, before: timedelta
) -> None:
    die(endpoint, clock)
    [first] = planned()
    clock.moment = first.due_at - before
    QueueItem.unscoped.filter(pk=first.pk).update(state=state)
    if before:  # it died before the mail was made, too late for it
        die(endpoint, clock)
        mail(first)
    else:  # it dies when the mail has been made, and its worker has not come back yet
        digest.DigestJob().run(first)
        die(endpoint, clock)
    _, second = planned()
    assert second.due_at == first.due_at + digest.APART
    die(endpoint, clock)
    assert len(planned()) == 2
    clock.moment = second.due_at
    mail(second)
    assert said == ["1", "2"]


def test_after_one_that_was_given_up_the_next_comes_soon(endpoint: Endpoint, clock: MovableClock, said: list[str]) -> None:
    die(endpoint, clock)
    QueueItem.unscoped.update(state=QueueState.CANCELLED)
    clock.advance(seconds=10)
    die(endpoint, clock)
    second = planned()[1]
    assert second.due_at == clock() + digest.GATHERED
    clock.moment = second.due_at
    mail(second)
    assert said == ["2"]


def test_what_was_given_up_on_purpose_is_not_told(endpoint: Endpoint, clock: MovableClock, said: list[str]) -> None:
    die(endpoint, clock)
    die(endpoint, clock, "discarded")
    die(endpoint, clock, "deleted")
    [item] = planned()
    clock.moment = item.due_at
    mail(item)
    assert said == ["1"]
