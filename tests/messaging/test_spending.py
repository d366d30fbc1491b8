"""What messages cost, and the tenant's cap on it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from threading import Barrier, Thread
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import connections, transaction
from django_scopes import scope

from integrations.messaging.drafts import Draft
from integrations.messaging.models import Message, Recipient, RecipientList, SendingPolicy
from integrations.messaging.safety import spending
from integrations.messaging.safety.screening import suppress
from integrations.messaging.safety.spending import SpendCapReached
from integrations.messaging.sending import accept
from integrations.messaging.sms.services import send_sms
from integrations.models import Role, Tenant
from tests.factories import MovableClock
from tests.messaging.conftest import Account
from tests.messaging.test_api import BASE, client
from tests.messaging.test_api import send as post

D = Decimal
NUMBERS = [f"+2547120000{number:02}" for number in range(20)]
pytestmark = pytest.mark.usefixtures("clock")  # caps are by day or month: no test may run across the end of one


def policy(account: Account, **changes: Any) -> SendingPolicy:
    given = {"unit_cost": D("0.8"), "currency": "KES", "spend_cap": D("4.00"), "spend_period": "month", **changes}
    return SendingPolicy.unscoped.create(tenant=account.tenant, channel="sms", **given)


def send(account: Account, *, count: int = 1, text: str = "Karibu") -> Message:
    return send_sms(tenant=account.tenant, to=NUMBERS[:count], message=text)


def spent(account: Account, at: datetime) -> Decimal:
    return spending.spent(account.tenant, SendingPolicy.unscoped.get(tenant=account.tenant), at)


def test_without_a_policy_or_a_cap_everything_is_accepted(school: Account) -> None:
    assert send(school, count=20).unit_cost is None
    policy(school, spend_cap=None)
    message = send(school, count=20)
    assert (message.unit_cost, message.currency) == (D("0.8"), "KES")


def test_parts_and_recipients_are_multiplied_and_the_cap_is_not_passed(school: Account, clock: MovableClock) -> None:
    policy(school)
    send(school, count=2, text="a" * 161)
    assert spent(school, clock.moment) == D("3.2")
    with pytest.raises(SpendCapReached) as refused:
        send(school, count=2)
    assert refused.value.message == "This would cost about KES 1.60; KES 0.80 of the month's 4.00 is left."
    assert Message.objects.count() == 1
    send(school)
    assert spent(school, clock.moment) == D("4.0")
    with pytest.raises(SpendCapReached):
        send(school)


def test_what_failed_or_was_called_off_does_not_count_unless_it_was_charged(school: Account, clock: MovableClock) -> None:
    policy(school)
    send(school, count=5)
    for state, count in {"failed": D("3.2"), "cancelled": D("2.4"), "expired": D("1.6")}.items():
        Recipient.objects.filter(pk=Recipient.objects.filter(state="queued").first().pk).update(state=state)
        assert spent(school, clock.moment) == count
    Recipient.objects.filter(state="failed").update(cost=D("0.5"), currency="KES")
    assert spent(school, clock.moment) == D("2.1")
    for state in ("unknown", "sent", "bounced", "complained", "delivered"):
        Recipient.objects.filter(pk=Recipient.objects.order_by("-pk").first().pk).update(state=state)
        assert spent(school, clock.moment) == D("2.1"), state


def test_a_suppressed_recipient_costs_nothing(school: Account, clock: MovableClock) -> None:
    policy(school)
    spending_before = spent(school, clock.moment)
    suppress(tenant_id=school.tenant.pk, channel="sms", address=NUMBERS[0], reason="manual")
    send(school)
    assert spent(school, clock.moment) == spending_before == 0


def test_what_was_charged_replaces_what_was_expected(school: Account, clock: MovableClock) -> None:
    policy(school)
    send(school, count=5)
    Recipient.objects.filter(address=NUMBERS[0]).update(cost=D("0.123456"), currency="KES")
    assert spent(school, clock.moment) == D("3.323456")
    Recipient.objects.filter(address=NUMBERS[0]).update(cost=D(0), currency="KES")
    assert spent(school, clock.moment) == D("3.2")


def test_other_currencies_are_left_out(school: Account, clock: MovableClock) -> None:
    rule = policy(school)
    send(school, count=2)
    Recipient.objects.filter(address=NUMBERS[0]).update(cost=D(700), currency="UGX")
    assert spent(school, clock.moment) == D("1.6"), "charged in another currency: as expected"
    rule.currency = "UGX"
    rule.save()
    assert spent(school, clock.moment) == D(700), "expected in shillings of another country: only what was charged in these"


def test_a_charge_counts_where_no_price_was_told(school: Account, clock: MovableClock) -> None:
    policy(school, unit_cost=None, spend_cap=D(1))
    send(school, count=2)
    assert spent(school, clock.moment) == 0
    Recipient.objects.update(cost=D("0.6"), currency="UGX")
    send(school)
    assert list(Message.objects.values_list("unit_cost", flat=True)) == [None, None]
    Recipient.objects.update(cost=D("0.6"), currency="KES")
    with pytest.raises(SpendCapReached, match=r"This would cost about KES 0\.60; KES 0\.00 of the month's 1\.00 is left"):
        send(school)


def test_a_list_does_not_pass_a_cap_that_has_no_price(school: Account, clock: MovableClock) -> None:
    """Such rows are from before a cap needed a price: nobody could tell what the list would cost."""
    policy(school, unit_cost=None, spend_cap=D(1))
    many = [f"+25471200{number:04}" for number in range(spending.UNPRICED_AT_ONCE + 1)]
    rows = RecipientList.objects.create(tenant=school.tenant, rows=3000)
    with pytest.raises(SpendCapReached, match="no price to count with: an admin has to enter the expected price"):
        accept(tenant=school.tenant, draft=Draft(channel="sms", body="Karibu"), recipient_list=rows, expected=3000)
    with pytest.raises(SpendCapReached):
        send_sms(tenant=school.tenant, to=many, message="Karibu")
    assert not Message.objects.exists()
    send_sms(tenant=school.tenant, to=many[1:], message="Karibu")


def test_where_a_cap_has_no_price_the_last_charge_tells_it(school: Account, studio: Account, clock: MovableClock) -> None:
    rule = policy(school, unit_cost=None, spend_cap=D(12))
    for text, cost in (("a" * 161, D("3.2")), ("Karibu", None), ("Karibu", D(0))):
        message = send(school, text=text)
        message.recipients.update(cost=cost, currency="KES", state="sent")
    with scope(tenant=studio.tenant):
        theirs = Message.objects.create(tenant=studio.tenant, channel="sms", provider="africastalking")
        theirs.recipients.create(tenant=studio.tenant, address=NUMBERS[0], cost=D(99), currency="KES")
    mail = Message.unscoped.create(tenant=school.tenant, channel="email", provider="smtp")
    mail.recipients.create(tenant=school.tenant, address="jane@x.ke", cost=D(99), currency="KES")
    found = spending.estimate(rule, segments=2, recipients=3)
    assert (found.each, found.total, found.currency) == (D("3.2"), D("9.6"), "KES"), "1.6 for each part"
    assert send(school, count=4).unit_cost == D("1.6")
    with pytest.raises(SpendCapReached, match=r"KES 0\.80 of the month's 12\.00 is left"):
        send(school)
    clock.advance(days=91)
    assert spending.estimate(rule, segments=1, recipients=1).total is None, "prices change"
    rule.spend_cap = None
    assert spending.estimate(rule, segments=1, recipients=1).total is None


def test_a_cap_needs_a_price(school: Account) -> None:
    with pytest.raises(ValidationError) as refused:
        SendingPolicy(tenant=school.tenant, channel="sms", spend_cap=D(1), currency="KES").full_clean()
    assert list(refused.value.message_dict) == ["unit_cost"]
    SendingPolicy(tenant=school.tenant, channel="sms", spend_cap=D(1), unit_cost=D("0.8"), currency="KES").full_clean()


def test_channels_and_tenants_have_caps_of_their_own(school: Account, studio: Account, clock: MovableClock) -> None:
    policy(school)
    with scope(tenant=studio.tenant):
        policy(studio)
        send(studio, count=5)
    Message.unscoped.create(
        tenant=school.tenant, channel="email", provider="smtp", unit_cost=D(50), currency="KES"
    ).recipients.create(tenant=school.tenant, address="jane@example.com")
    assert spent(school, clock.moment) == 0
    assert send(school, count=5).unit_cost == D("0.8")


def listed(account: Account, **changes: Any) -> Message:
    rows = RecipientList.objects.create(tenant=account.tenant, rows=4)
    given = {"unit_cost": D("0.8"), "currency": "KES", "expected": 4, "recipient_list": rows, **changes}
    return Message.unscoped.create(tenant=account.tenant, provider="africastalking", body="Karibu", **given)


def test_a_list_counts_whole_from_the_start_and_each_row_once(school: Account, clock: MovableClock) -> None:
    policy(school, spend_cap=D(10))
    message = listed(school)
    assert spent(school, clock.moment) == D("3.2")
    for number in NUMBERS[:2]:
        Recipient.unscoped.create(tenant=school.tenant, message=message, address=number)
    assert spent(school, clock.moment) == D("3.2"), "while its rows are read, its recipients are not counted again"
    for number in NUMBERS[2:4]:
        Recipient.unscoped.create(tenant=school.tenant, message=message, address=number)
    Message.objects.update(prepared_at=clock.moment)
    assert spent(school, clock.moment) == D("3.2")
    Recipient.objects.filter(address=NUMBERS[0]).update(state="failed")
    Recipient.objects.filter(address=NUMBERS[1]).update(state="sent", cost=D("0.3"), currency="KES")
    assert spent(school, clock.moment) == D("1.9")


def test_of_a_list_that_was_called_off_what_went_out_counts(school: Account, clock: MovableClock) -> None:
    policy(school, spend_cap=D(10))
    message = listed(school)
    Recipient.unscoped.create(tenant=school.tenant, message=message, address=NUMBERS[0], state="sent")
    Recipient.unscoped.create(tenant=school.tenant, message=message, address=NUMBERS[1], state="cancelled")
    Message.objects.update(cancelled_at=clock.moment)
    assert spent(school, clock.moment) == D("0.8")


@pytest.mark.parametrize(
    ("period", "last", "first"),
    [
        # In Nairobi a day begins at 21:00 UTC, a month on the evening before.
        ("day", datetime(2026, 11, 20, 20, 59, 59, tzinfo=UTC), datetime(2026, 11, 20, 21, 0, tzinfo=UTC)),
        ("month", datetime(2026, 11, 30, 20, 59, 59, tzinfo=UTC), datetime(2026, 11, 30, 21, 0, tzinfo=UTC)),
        ("month", datetime(2026, 12, 31, 20, 59, 59, tzinfo=UTC), datetime(2026, 12, 31, 21, 0, tzinfo=UTC)),
    ],
)
def test_a_period_begins_where_the_tenant_is(
    school: Account, clock: MovableClock, period: str, last: datetime, first: datetime
) -> None:
    policy(school, spend_period=period)
    clock.moment = last
    send(school, count=5)
    with pytest.raises(SpendCapReached):
        send(school)
    clock.moment = first
    assert spent(school, clock.moment) == 0
    send(school, count=5)


def test_a_day_when_the_clocks_change_begins_at_its_own_midnight(school: Account, clock: MovableClock) -> None:
    Tenant.objects.filter(pk=school.tenant.pk).update(time_zone="Europe/Berlin")
    school.tenant.refresh_from_db()
    policy(school, spend_period="day")
    clock.moment = datetime(2026, 3, 28, 22, 59, tzinfo=UTC)
    send(school, count=5)
    clock.moment = datetime(2026, 3, 29, 21, 59, tzinfo=UTC)  # 23:59 on the next day, an hour shorter
    assert spent(school, clock.moment) == 0
    clock.moment = datetime(2026, 3, 28, 23, 0, tzinfo=UTC)
    assert spent(school, clock.moment) == 0


def test_a_scheduled_message_counts_when_it_was_accepted(school: Account, clock: MovableClock) -> None:
    policy(school)
    later = clock.moment + timedelta(days=40)
    send_sms(tenant=school.tenant, to=NUMBERS[:5], message="Karibu", send_at=later)
    with pytest.raises(SpendCapReached):
        send(school)
    clock.moment = later
    assert spent(school, clock.moment) == 0


def test_the_api_says_what_is_left_and_refuses_with_402(school: Account) -> None:
    api = client(school)
    policy(school)
    preview = api.post(f"{BASE}/sms/preview", {"message": "a" * 161, "to": NUMBERS[:2]}, format="json").json()
    assert preview["cost"] == {"value": "3.2", "currency": "KES"}
    assert preview["cap_left"] == {"value": "4", "currency": "KES"}
    assert post(api, {"to": NUMBERS[:5], "message": "Karibu"}).status_code == 202
    answer = post(api, {"to": NUMBERS[:1], "message": "Karibu"}, **{"Idempotency-Key": "k"})
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (402, "spend_cap_reached")
    assert api.post(f"{BASE}/sms/preview", {"message": "x"}, format="json").json()["cap_left"]["value"] == "0"


def test_staff_can_neither_override_the_list_nor_send_too_late(school: Account, clock: MovableClock) -> None:
    body = {"to": NUMBERS[:1], "message": "Karibu", "override_suppression": "urgent"}
    refused = post(client(school), body)
    assert refused.status_code == 403
    assert not Message.objects.exists()
    allowed = post(client(school, Role.ADMIN), {**body, "expires_at": "2026-11-20T12:00:00Z"})
    assert (allowed.status_code, allowed.json()["expires_at"]) == (202, "2026-11-20T12:00:00Z")
    assert Message.objects.get().override_reason == "urgent"
    late = post(client(school), {"to": NUMBERS[:1], "message": "Karibu", "expires_at": "2026-11-20T08:00:00Z"})
    assert (late.status_code, late.json()["errors"][0]["attr"]) == (400, "expires_at")


@pytest.mark.django_db(transaction=True)
def test_two_at_once_cannot_both_have_the_last_shilling(school: Account) -> None:
    """Ten threads, each a transaction of its own, want 2 x 0.8 of 4.00 each: two of them get it."""
    policy(school)
    start, outcomes = Barrier(10), []

    def one(number: int) -> None:
        try:
            start.wait(10)
            with scope(tenant=school.tenant), transaction.atomic():
                send_sms(tenant=school.tenant, to=NUMBERS[number * 2 : number * 2 + 2], message="Karibu")
            outcomes.append("sent")
        except SpendCapReached:
            outcomes.append("refused")
        finally:
            connections.close_all()

    threads = [Thread(target=one, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(outcomes) == ["refused"] * 8 + ["sent"] * 2
    assert Recipient.unscoped.count() == 4
