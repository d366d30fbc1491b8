"""Who is not chased, what is over, and what is in the way."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import pytest
from django_scopes import scope

from integrations.contracts.errors import ProviderUnavailable
from integrations.contracts.messaging import MessageState
from integrations.messaging.fallback import fallback
from integrations.messaging.jobs.sending import SendJob
from integrations.messaging.models import (
    Channel,
    Message,
    Preference,
    SendingPolicy,
    Suppression,
)
from integrations.models import Alert, QueueItem, Tenant
from integrations.runtime.queue import cancel_item
from tests.factories import MovableClock, make_config, make_fallback_policy
from tests.messaging.fallback_support import (
    FAILED,
    NUMBER,
    PARENT,
    after,
    go_on,
    move,
    send,
    story,
    to,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def school(tenant: Tenant, clock: MovableClock) -> Iterator[Tenant]:
    """A tenant with two SMS accounts, the first one primary, and one for e-mail; its scope is active."""
    make_config(tenant, "africastalking")
    make_config(tenant, "twilio")
    make_config(tenant, "smtp")
    with scope(tenant=tenant):
        yield tenant


@pytest.mark.parametrize("state", [s for s in MessageState if s not in (FAILED, MessageState.BOUNCED, MessageState.QUEUED)])
def test_nothing_but_a_certain_failure_goes_on(school: Tenant, state: MessageState) -> None:
    make_fallback_policy(school, "sms:twilio", "email")
    first = send(school, to(email=PARENT))
    move(first, state)
    go_on()
    assert not QueueItem.objects.filter(kind=fallback.GO_ON_KIND).exists()
    assert after(first) == []


@pytest.mark.parametrize(
    ("reason", "channels"),
    [
        ("opt_out", []),
        ("complaint", []),
        ("manual", []),
        ("invalid", ["email"]),
        ("hard_bounce", ["email"]),
        ("blocked", ["email"]),
    ],
)
def test_who_is_on_the_list_is_not_chased(school: Tenant, reason: str, channels: list[str]) -> None:
    make_fallback_policy(school, "sms:twilio", "email")
    Suppression.objects.create(tenant=school, channel="sms", address=NUMBER, reason=reason)
    first = send(school, to(email=PARENT))
    assert first.recipients.get().state == FAILED
    go_on()
    assert [each.channel for each in after(first)] == channels


def test_who_wants_no_such_messages_is_not_chased(school: Tenant) -> None:
    make_fallback_policy(school, "sms:twilio", "email")
    Preference.objects.create(tenant=school, channel="sms", address=NUMBER, category="news", allowed=False)
    first = send(school, to(email=PARENT), category="news")
    go_on()
    assert (first.recipients.get().provider_status, after(first)) == ("unsubscribed", [])


def test_the_next_channels_own_list_is_kept(school: Tenant) -> None:
    make_fallback_policy(school, "email", "sms:twilio")
    Suppression.objects.create(tenant=school, channel="email", address=PARENT, reason="opt_out")
    first = send(school, to(email=PARENT))
    move(first)
    go_on()
    (second,) = after(first)
    assert (second.recipients.get().state, after(second)) == ("failed", [])


def test_what_a_person_cancelled_is_over(school: Tenant) -> None:
    make_fallback_policy(school, "sms:twilio")
    first = send(school)
    cancel_item(QueueItem.objects.get(kind="sms.send").pk, tenant_id=school.pk, by="clerk")
    go_on()
    assert (first.recipients.get().state, after(first)) == ("failed", [])


@pytest.mark.parametrize("field", ["cancelled_at", "expires_at"])
def test_what_was_cancelled_or_is_too_late_is_over(school: Tenant, clock: MovableClock, field: str) -> None:
    make_fallback_policy(school, "sms:twilio", "email")
    first = send(school, to(email=PARENT))
    move(first)
    Message.objects.update(**{field: clock()})
    go_on()
    assert after(first) == []


def test_a_paused_message_goes_on_when_it_is_resumed(school: Tenant, clock: MovableClock) -> None:
    make_fallback_policy(school, "sms:twilio")
    first = send(school)
    move(first)
    Message.objects.update(paused_at=clock())
    go_on()
    assert after(first) == []
    Message.objects.update(paused_at=None)
    go_on(wait=20 * 60)
    assert len(after(first)) == 1


def test_what_has_gone_on_is_not_sent_again_by_retrying_its_item(school: Tenant) -> None:
    make_fallback_policy(school, "sms:twilio")
    first = send(school)
    item = QueueItem.objects.get(kind="sms.send")
    SendJob(Channel.SMS).failed(item, ProviderUnavailable("nobody there"))
    assert first.recipients.get().given_up
    go_on()
    assert SendJob(Channel.SMS).prepare(item) is None
    assert (first.recipients.get().state, len(after(first))) == ("failed", 1)


def test_what_is_being_retried_does_not_go_on(school: Tenant) -> None:
    make_fallback_policy(school, "sms:twilio")
    first = send(school)
    item = QueueItem.objects.get(kind="sms.send")
    SendJob(Channel.SMS).failed(item, ProviderUnavailable("nobody there"))
    assert SendJob(Channel.SMS).prepare(item) is not None
    go_on()
    assert (first.recipients.get().state, after(first)) == ("queued", [])


# --- what is in the way ----------------------------------------------------------------------------------------------


def test_a_step_that_refuses_is_passed_over(school: Tenant) -> None:
    make_fallback_policy(school, "sms:twilio", "email")
    first = send(school, to(email=PARENT))
    costs = {"unit_cost": Decimal(1), "currency": "KES", "spend_cap": Decimal(0)}
    SendingPolicy.objects.create(tenant=school, channel="sms", **costs)
    move(first)
    go_on()
    assert [(each.channel, each.step) for each in after(first)] == [("email", 2)]
    assert not Alert.objects.filter(tenant=school).exists()


def test_where_all_refuse_it_is_said(school: Tenant) -> None:
    make_fallback_policy(school, "whatsapp", "push")
    first = send(school, to(push="u-1"))
    move(first)
    go_on()
    (alert,) = Alert.objects.filter(tenant=school, kind="fallback_failed")
    assert (alert.subject, "1. WhatsApp" in alert.message) == (first.pk, True)
    assert story(first.recipients.get())[0].startswith("no other way: 1. WhatsApp")
    assert after(first) == []


def test_the_same_account_is_no_other_way(school: Tenant) -> None:
    make_fallback_policy(school, "sms", "sms:africastalking")
    first = send(school)
    move(first)
    go_on()
    assert (after(first), Alert.objects.filter(tenant=school).count()) == ([], 0)


def test_a_bug_here_breaks_no_transition(school: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    make_fallback_policy(school, "sms:twilio")

    def broken(message: Message) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(fallback, "ways_of", broken)
    first = send(school)
    move(first)
    assert first.recipients.get().state == FAILED
    assert Alert.objects.get(tenant=school).kind == "fallback_failed"


def test_another_tenants_policy_is_none(school: Tenant, other_tenant: Tenant) -> None:
    with scope(tenant=other_tenant):
        make_fallback_policy(other_tenant, "sms:twilio")
    first = send(school)
    move(first)
    go_on()
    assert after(first) == []
