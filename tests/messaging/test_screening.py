"""Who is not written to: the list, the wishes, and what passes over them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import IntegrityError
from django_scopes import scope

from integrations.contracts.errors import InvalidRequest
from integrations.contracts.messaging import Engagement, SuppressReason
from integrations.messaging.models import Message, MessageCategory, MessageEvent, Preference, Recipient, Suppression
from integrations.messaging.safety.categories import category_of
from integrations.messaging.safety.engagements import engage
from integrations.messaging.safety.screening import listing, normalised, prefer, release, screen, suppress
from integrations.messaging.sms.services import send_sms
from integrations.models import QueueItem, Tenant
from tests.factories import MovableClock, make_config
from tests.messaging.conftest import Account

NUMBER = "+254712345678"
JANE = "Jane.Wanjiku@example.com"


def send(tenant: Tenant, category: str = "", **more: str) -> Recipient:
    message = send_sms(tenant=tenant, to=[NUMBER], message="Karibu", category=category, **more)
    found: Recipient = message.recipients.get()
    return found


def hold(tenant: Tenant, reason: str = "manual", detail: str = "") -> Suppression | None:
    return suppress(tenant_id=tenant.pk, channel="sms", address=NUMBER, reason=reason, detail=detail, source="test")


def wish(tenant: Tenant, category: str, *, allowed: bool) -> bool:
    return prefer(tenant_id=tenant.pk, channel="sms", address=NUMBER, category=category, allowed=allowed, source="test")


def letter(tenant: Tenant, address: str = JANE, category: str = "news") -> Recipient:
    message = Message.unscoped.create(
        tenant=tenant, channel="email", provider="smtp", subject="Hi", body="Hi", category=category
    )
    return Recipient.unscoped.create(tenant=tenant, message=message, address=address, state="sent")


@pytest.mark.parametrize("category", ["", "bulk", "otp", "receipt"])
def test_nobody_on_the_list_is_written_to_whatever_it_is_about(school: Account, category: str) -> None:
    hold(school.tenant, SuppressReason.HARD_BOUNCE)
    recipient = send(school.tenant, category)
    assert (recipient.state, recipient.provider_status) == ("failed", "suppressed")
    assert recipient.detail == "on the suppression list: Hard bounce"
    assert not QueueItem.objects.exists()


def test_the_list_tells_the_detail_where_it_has_one_and_keeps_the_first_reason(school: Account) -> None:
    assert hold(school.tenant, "invalid", "UserDoesNotExist") is not None
    assert hold(school.tenant, "opt_out") is None
    assert send(school.tenant).detail == "on the suppression list: UserDoesNotExist"
    assert Suppression.objects.get().reason == "invalid"


def test_an_override_passes_the_list_and_no_wish(school: Account) -> None:
    hold(school.tenant)
    assert send(school.tenant, override_reason="the parents asked for it").state == "queued"
    wish(school.tenant, "bulk", allowed=False)
    assert send(school.tenant, "bulk", override_reason="important").provider_status == "unsubscribed"


def test_the_list_of_another_tenant_or_channel_does_not_matter(school: Account, studio: Account) -> None:
    suppress(tenant_id=school.tenant.pk, channel="whatsapp", address=NUMBER, reason="manual")
    with scope(tenant=studio.tenant):
        hold(studio.tenant)
    assert send(school.tenant).state == "queued"


@pytest.mark.parametrize(
    ("wishes", "category", "state"),
    [
        ({"bulk": False}, "bulk", "failed"),
        ({"bulk": False}, "notice", "queued"),
        ({"bulk": False}, "", "queued"),
        ({"": False}, "bulk", "failed"),
        ({"": False}, "", "failed"),
        ({"": False, "bulk": True}, "bulk", "queued"),
        ({"": False, "bulk": True}, "notice", "failed"),
        ({"": True, "bulk": False}, "bulk", "failed"),
        ({"": False}, "otp", "queued"),
        ({"otp": False}, "otp", "queued"),
        ({"alarm": False, "": False}, "alarm", "queued"),
    ],
)
def test_the_narrower_wish_counts_and_critical_ones_pass(
    school: Account, wishes: dict[str, bool], category: str, state: str
) -> None:
    MessageCategory.objects.create(tenant=school.tenant, name="alarm", is_critical=True)
    for name, allowed in wishes.items():
        wish(school.tenant, name, allowed=allowed)
    recipient = send(school.tenant, category)
    assert recipient.state == state
    if state == "failed":
        assert recipient.provider_status == "unsubscribed"
        assert recipient.detail == f"does not want {category or 'such'} messages"


def test_e_mail_addresses_are_the_same_in_any_case(school: Account) -> None:
    suppress(tenant_id=school.tenant.pk, channel="email", address="JANE.wanjiku@Example.com", reason="complaint")
    recipient = letter(school.tenant)
    Recipient.objects.update(state="queued")
    recipient.refresh_from_db()
    assert screen(recipient.message, [recipient]) == []
    assert Suppression.objects.get().address == JANE.casefold()


def test_a_released_address_is_written_to_again_and_the_history_stays(school: Account, clock: MovableClock) -> None:
    hold(school.tenant)
    row = Suppression.objects.get()
    assert release(row, by="key office", reason="new phone")
    assert (row.released_at, row.released_by, row.release_reason) == (clock.moment, "key office", "new phone")
    clock.advance(60)
    assert not release(row, by="somebody else", reason="again")
    assert Suppression.objects.get().released_by == "key office"
    assert send(school.tenant).state == "queued"
    assert hold(school.tenant) is not None
    assert Suppression.objects.count() == 2
    assert send(school.tenant).state == "failed"


def test_releasing_an_opt_out_takes_the_general_no_back_and_leaves_the_narrow_ones(school: Account) -> None:
    wish(school.tenant, "", allowed=False)
    wish(school.tenant, "bulk", allowed=False)
    hold(school.tenant, SuppressReason.OPT_OUT)
    release(Suppression.objects.get(), by="key office", reason="signed up again")
    assert send(school.tenant).state == "queued"
    assert send(school.tenant, "bulk").state == "failed"


def test_releasing_another_reason_leaves_all_wishes(school: Account) -> None:
    wish(school.tenant, "", allowed=False)
    hold(school.tenant, SuppressReason.HARD_BOUNCE)
    release(Suppression.objects.get(), by="key office", reason="mailbox repaired")
    assert send(school.tenant).provider_status == "unsubscribed"


def test_a_wish_that_arrives_late_changes_nothing(school: Account, clock: MovableClock) -> None:
    who = {"tenant_id": school.tenant.pk, "channel": "sms", "address": NUMBER, "category": "bulk", "source": "test"}
    now = clock.moment
    assert prefer(**who, allowed=False, at=now - timedelta(hours=2))
    assert prefer(**who, allowed=True, at=now - timedelta(hours=1))
    assert not prefer(**who, allowed=False, at=now - timedelta(hours=2))
    assert Preference.objects.get().allowed
    assert not prefer(**who, allowed=True)
    assert prefer(**who, allowed=False, at=now + timedelta(days=300)), "a moment to come counts as now"
    assert Preference.objects.get().updated == now


def test_an_old_bounce_that_is_reported_again_does_not_undo_a_release(school: Account, clock: MovableClock) -> None:
    who = {"tenant_id": school.tenant.pk, "channel": "sms", "address": NUMBER, "reason": "invalid"}
    said = clock.moment
    assert suppress(**who, at=said) is not None
    clock.advance(60)
    release(Suppression.objects.get(), by="key office", reason="")
    assert suppress(**who, at=said) is None
    assert suppress(**who, at=clock.advance(1)) is not None
    release(Suppression.objects.filter(released_at=None).get(), by="key office", reason="")
    assert suppress(**who) is not None, "what is said now counts now"


def test_other_violations_are_errors_and_not_a_row_that_was_there(school: Account) -> None:
    with pytest.raises((IntegrityError, ValueError)):
        suppress(tenant_id=school.tenant.pk, channel="sms", address=None, reason="manual")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("channel", "given", "kept"),
    [
        ("sms", " 0712 345 678 ", NUMBER),
        ("whatsapp", "+254712345678", NUMBER),
        ("email", " Jane.Wanjiku@Example.COM ", "jane.wanjiku@example.com"),
        ("push", " Token-With-Case ", "Token-With-Case"),
    ],
)
def test_addresses_are_kept_in_one_form(channel: str, given: str, kept: str) -> None:
    assert normalised(channel, given, country="KE") == kept


@pytest.mark.parametrize(
    ("channel", "given"), [("sms", "12"), ("sms", "jane@example.com"), ("email", NUMBER), ("push", " "), ("push", "a\0b")]
)
def test_what_is_no_address_of_the_channel_is_refused(channel: str, given: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        normalised(channel, given, country="KE")
    assert refused.value.attr == "address"


@pytest.mark.parametrize(
    ("name", "critical", "can_unsubscribe", "priority"),
    [
        ("otp", True, False, 1),
        ("receipt", True, False, 3),
        ("bulk", False, True, 8),
        ("", False, False, 5),
        ("x-y", False, True, 5),
    ],
)
def test_categories_that_nobody_described(
    school: Account, name: str, critical: bool, can_unsubscribe: bool, priority: int
) -> None:
    found = category_of(school.tenant.pk, name)
    assert (found.is_critical, found.can_unsubscribe, found.priority) == (critical, can_unsubscribe, priority)


def test_the_tenants_own_category_replaces_the_hubs_and_a_critical_one_promises_no_way_out(
    school: Account, studio: Account
) -> None:
    MessageCategory.objects.create(tenant=school.tenant, name="bulk", label="News", priority=2, is_critical=True)
    found = category_of(school.tenant.pk, "bulk")
    assert (found.label, found.priority, found.is_critical, found.can_unsubscribe) == ("News", 2, True, False)
    assert category_of(studio.tenant.pk, "bulk").priority == 8


def test_opening_and_clicking_are_kept_the_first_time(school: Account, clock: MovableClock) -> None:
    recipient, first = letter(school.tenant), clock.moment
    for kind in (Engagement.OPENED, Engagement.OPENED, Engagement.CLICKED):
        engage(recipient, kind, at=clock.moment, detail="", source="report")
        clock.advance(60)
    recipient.refresh_from_db()
    assert (recipient.opened_at, recipient.clicked_at) == (first, first + timedelta(seconds=120))
    assert list(MessageEvent.objects.values_list("engagement", flat=True)) == ["opened", "opened", "clicked"]
    assert recipient.state == "sent"


def test_unsubscribing_at_the_provider_is_about_the_category_or_else_everything(school: Account, clock: MovableClock) -> None:
    engage(letter(school.tenant), Engagement.UNSUBSCRIBED, at=clock.moment, detail="", source="report")
    assert [(row.category, row.allowed) for row in Preference.objects.all()] == [("news", False)]
    assert not Suppression.objects.exists()
    engage(letter(school.tenant, category=""), Engagement.UNSUBSCRIBED, at=clock.moment, detail="", source="report")
    held = Suppression.objects.get()
    assert (held.address, held.reason, held.source) == (JANE.casefold(), "opt_out", "smtp")


def test_an_old_unsubscription_that_is_reported_again_does_not_undo_a_release(school: Account, clock: MovableClock) -> None:
    recipient, said = letter(school.tenant, category=""), clock.moment
    engage(recipient, Engagement.UNSUBSCRIBED, at=said, detail="", source="report")
    clock.advance(3600)
    release(Suppression.objects.get(), by="key office", reason="signed up again")
    engage(recipient, Engagement.UNSUBSCRIBED, at=said, detail="", source="report")
    assert listing(school.tenant.pk, "email", JANE) is None
    engage(recipient, Engagement.UNSUBSCRIBED, at=clock.advance(60), detail="", source="report")
    assert listing(school.tenant.pk, "email", JANE) is not None


def test_subscribing_again_at_the_provider_releases_an_opt_out_and_no_bounce(school: Account, clock: MovableClock) -> None:
    recipient = letter(school.tenant, category="")
    engage(recipient, Engagement.UNSUBSCRIBED, at=clock.moment, detail="", source="report")
    engage(recipient, Engagement.RESUBSCRIBED, at=clock.advance(60), detail="", source="report")
    assert listing(school.tenant.pk, "email", JANE) is None
    suppress(tenant_id=school.tenant.pk, channel="email", address=JANE, reason=SuppressReason.HARD_BOUNCE)
    engage(recipient, Engagement.RESUBSCRIBED, at=clock.advance(60), detail="", source="report")
    assert listing(school.tenant.pk, "email", JANE) is not None


def test_a_release_is_told_to_the_e_mail_accounts_that_keep_lists(school: Account) -> None:
    keeping = make_config(school.tenant, "sendgrid", account="school")
    make_config(school.tenant, "smtp", account="school")
    suppress(tenant_id=school.tenant.pk, channel="email", address=JANE, reason="hard_bounce")
    row = Suppression.objects.get()
    release(row, by="key office", reason="")
    item = QueueItem.objects.get(kind="suppression.release")
    assert (item.config_id, item.payload) == (keeping.pk, {"suppression": row.pk, "config": keeping.pk})
    suppress(tenant_id=school.tenant.pk, channel="sms", address=NUMBER, reason="invalid")
    release(Suppression.objects.get(channel="sms"), by="key office", reason="")
    assert QueueItem.objects.filter(kind="suppression.release").count() == 1
