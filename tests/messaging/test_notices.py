"""Notification rules: which fit an event, whom they tell what, once, and never at the event's cost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django_scopes import scope

from integrations.contracts.messaging import MessageState
from integrations.events import DomainEvent, emit
from integrations.messaging.models import Channel, Device, InboundMessage, Message, NotificationRule, Suppression
from integrations.messaging.rules import notices, rules
from integrations.messaging.sms.services import send_sms
from integrations.messaging.transitions import advance
from integrations.models import Alert, QueueItem, Tenant
from integrations.runtime.worker import claim, run
from tests.factories import MovableClock, make_config, make_template

pytestmark = pytest.mark.django_db
PAID: dict[str, Any] = {
    "id": "pay_1",
    "amount": 150_000,
    "currency": "KES",
    "reference": {"type": "invoice", "id": "INV-0042"},
    "customer": {"name": "Jane Wanjiku", "email": "jane@home.example"},
    "allocated": True,
    "method": {"phone": "+254•••••678"},
    "metadata": {"tell": ["0711000001", "+254711000002"], "one": 711000003},
}
TEXT = "{{ payer_name }} paid {{ amount_text }} for {{ reference.id }}: {{ event }}, {{ tenant.name }}"


@pytest.fixture
def school(tenant: Tenant) -> Iterator[Tenant]:
    make_config(tenant, "africastalking")
    make_template(tenant, name="paid", body=TEXT)
    with scope(tenant=tenant):
        yield tenant


def make_rule(tenant: Tenant, **fields: Any) -> NotificationRule:
    values = {"name": "Paid", "event_type": "payment.completed", "channel": "sms", "template_name": "paid", **fields}
    return NotificationRule.unscoped.create(tenant=tenant, **values)


def happened(tenant: Tenant, key: str = "1", **fields: Any) -> DomainEvent:
    values: dict[str, Any] = {
        "type": "payment.completed",
        "object": PAID,
        "object_type": "payment",
        "object_id": "pay_1",
        "private": {"phone": "+254712345678", "payer_name": "JANE W"},
        **fields,
    }
    return DomainEvent(tenant_id=tenant.pk, key=key, **values)


def tell(event: DomainEvent) -> list[Message]:
    """Let the rules hear of the event, run what they queued, and return the messages of rules, oldest first."""
    notices.notify(event)
    run_notices()
    return list(Message.unscoped.filter(tenant_id=event.tenant_id, key__startswith="rule:").order_by("created", "pk"))


def run_notices() -> None:
    for item in claim(50, kinds=[notices.KIND]):
        run(item)


def addresses(message: Message) -> list[str]:
    return sorted(message.recipients.values_list("address", flat=True))


def alerts(tenant: Tenant) -> list[str]:
    return list(Alert.objects.filter(tenant=tenant, kind=notices.ALERT).order_by("pk").values_list("message", flat=True))


def test_the_payer_is_told_by_template(school: Tenant) -> None:
    make_rule(school, category="news")
    (message,) = tell(happened(school))
    assert message.body == "JANE W paid KES 1,500.00 for INV-0042: payment.completed, Springfield School"
    assert addresses(message) == ["+254712345678"]
    assert (message.reference_type, message.reference_id) == ("payment", "pay_1")
    assert (message.category, message.template_name, message.created_by) == ("news", "paid", "rule Paid")
    assert alerts(school) == []


def test_the_same_fact_is_told_once(school: Tenant) -> None:
    make_rule(school)
    assert len(tell(happened(school))) == 1
    assert len(tell(happened(school))) == 1
    assert len(tell(happened(school, key="2"))) == 2


def test_a_key_of_any_length_fits() -> None:
    rule = NotificationRule(pk=7)
    keys = {notices.message_key(rule, "payment.completed", "k" * length) for length in (5, 200, 201)}
    assert len(keys) == 3
    assert max(map(len, keys)) <= 150
    assert all(key.startswith("rule:7:") for key in keys)


@pytest.mark.parametrize(
    ("event_type", "fits"),
    [("payment.completed", True), ("payment.*", True), ("*", True), ("payment.failed", False), ("payer.*", False)],
)
def test_a_rule_is_about_a_type_a_kind_or_all(school: Tenant, event_type: str, fits: bool) -> None:
    make_rule(school, event_type=event_type)
    assert len(tell(happened(school))) == fits


@pytest.mark.parametrize(
    ("conditions", "fits"),
    [
        ({}, True),
        ({"currency": "KES", "reference.type": "invoice"}, True),
        ({"currency": "UGX"}, False),
        ({"currency": "KES", "reference.type": "order"}, False),
        ({"allocated": True}, True),
        ({"allocated": 1}, False),
        ({"amount": 150_000}, True),
        ({"amount": "150000"}, False),
        ({"nothing.here": None}, True),
        ({"metadata.tell.1": "+254711000002"}, True),
    ],
)
def test_conditions_are_equalities(school: Tenant, conditions: dict[str, Any], fits: bool) -> None:
    make_rule(school, conditions=conditions)
    assert len(tell(happened(school))) == fits


@pytest.mark.parametrize(
    ("audience", "field", "expected"),
    [
        ("payer", "", ["+254712345678"]),
        ("fixed", "0722000001\n\n+254722000002\n0722000001", ["+254722000001", "+254722000002"]),
        ("field", "metadata.tell", ["+254711000001", "+254711000002"]),
        ("field", "metadata.one", ["+254711000003"]),
    ],
)
def test_audiences(school: Tenant, audience: str, field: str, expected: list[str]) -> None:
    make_rule(school, audience=audience, addresses=field)
    (message,) = tell(happened(school))
    assert addresses(message) == expected


def test_a_payer_without_an_address_is_passed_over_in_silence(school: Tenant) -> None:
    make_rule(school)
    assert tell(happened(school, private={})) == []
    assert alerts(school) == []
    assert not QueueItem.objects.filter(kind=notices.KIND).exists()


def test_the_payers_number_in_the_object_is_taken_where_no_better_one_is_known(school: Tenant) -> None:
    make_rule(school)
    (message,) = tell(happened(school, object={**PAID, "customer": {"phone": "0733000001", "name": "J"}}, private={}))
    assert addresses(message) == ["+254733000001"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"template_name": "gone"}, "There is no active SMS template 'gone'."),
        ({"audience": "field", "addresses": "metadata.nobody"}, "no address"),
        ({"audience": "fixed", "addresses": "the bursar"}, "There is nobody to write to."),
    ],
)
def test_trouble_is_an_alert_and_nothing_else(school: Tenant, changes: dict[str, Any], said: str) -> None:
    make_rule(school, **changes)
    other = make_rule(school, name="Another")
    messages = tell(happened(school))
    assert [each.created_by for each in messages][-1:] == [f"rule {other.name}"], "one rule's trouble is not another's"
    assert [said in each for each in alerts(school)] == [True]


def test_a_hole_in_the_text_is_an_alert_counted_up(school: Tenant) -> None:
    make_template(school, name="hole", body="Dear {{ parent.name }}, {{ term }}")
    make_rule(school, template_name="hole")
    for key in ("1", "2"):
        assert tell(happened(school, key=key)) == []
    (alert,) = Alert.objects.filter(tenant=school, kind=notices.ALERT)
    assert "parent.name, term" in alert.message
    assert "payment.completed pay_1" in alert.message
    assert alert.count == 2


def test_a_bad_address_among_good_ones_is_told_and_the_others_get_it(school: Tenant) -> None:
    make_rule(school, audience="fixed", addresses="0722000001\nnobody")
    (message,) = tell(happened(school))
    assert addresses(message) == ["+254722000001"]
    assert "nobody" in alerts(school)[0]


def test_without_an_account_it_is_an_alert(tenant: Tenant) -> None:
    make_template(tenant, name="paid", body=TEXT)
    make_rule(tenant)
    assert tell(happened(tenant)) == []
    assert len(alerts(tenant)) == 1


def test_what_breaks_in_a_rule_stays_in_the_rule(school: Tenant) -> None:
    """A null character can't be stored: the emitter's transaction is unharmed."""
    make_rule(school)
    notices.notify(happened(school, object={**PAID, "description": "a\0b"}))
    assert "could not be queued" in alerts(school)[0]
    assert NotificationRule.objects.count() == 1


def test_a_delay_holds_it_back_and_a_rule_switched_off_meanwhile_says_nothing(school: Tenant, clock: MovableClock) -> None:
    rule = make_rule(school, delay_minutes=60)
    assert tell(happened(school)) == []
    clock.advance(minutes=59)
    assert tell(happened(school)) == []
    clock.advance(minutes=1)
    assert len(tell(happened(school))) == 1

    notices.notify(happened(school, key="2"))
    rule.is_active = False
    rule.save()
    clock.advance(minutes=61)
    run_notices()
    assert Message.objects.filter(key__startswith="rule:").count() == 1
    assert not QueueItem.objects.filter(kind=notices.KIND, state="pending").exists()


def test_what_waits_holds_no_more_than_it_needs(school: Tenant) -> None:
    make_rule(school)
    notices.notify(happened(school, private={"phone": "+254712345678", "payer_name": "JANE W", "card": "4242424242424242"}))
    (item,) = QueueItem.objects.filter(kind=notices.KIND)
    assert set(item.payload) == {"rule", "event", "key", "object", "to", "payer_name"}
    assert "4242424242424242" not in str(item.payload)


def test_another_tenants_rules_hear_nothing(school: Tenant, other_tenant: Tenant) -> None:
    with scope(tenant=other_tenant):
        make_rule(other_tenant)
    assert tell(happened(school)) == []
    assert not QueueItem.unscoped.filter(kind=notices.KIND).exists()


def test_a_rule_tells_of_other_messages_and_never_of_its_own(school: Tenant) -> None:
    """A suppressed number fails at once: a rule about failures that told of its own messages would never end."""
    Suppression.objects.create(tenant=school, channel="sms", address="+254722000009", reason="manual")
    make_template(school, name="failed", body="To {{ to }}: {{ error.message }}")
    make_rule(school, event_type="message.*", template_name="failed", audience="fixed", addresses="0722000009")
    send_sms(tenant=school, to=["+254722000009"], message="Hello")
    for _ in range(5):
        run_notices()
    assert Message.objects.count() == 2, "the first one, and the word about it"


def test_what_goes_in_place_of_a_rules_message_is_the_rules_too(school: Tenant) -> None:
    make_rule(school)
    (first,) = tell(happened(school))
    second = send_sms(tenant=school, to=["+254712345678"], message="Again")
    third = send_sms(tenant=school, to=["+254712345678"], message="And again")
    Message.objects.filter(pk=second.pk).update(continues=first)
    Message.objects.filter(pk=third.pk).update(continues=second)
    make_rule(school, event_type="message.failed", audience="fixed", addresses="0722000001")
    for message_id in (first.pk, second.pk, third.pk):
        event = happened(school, type="message.failed", object_type="message", object_id=message_id, object={"id": message_id})
        notices.notify(event)
    assert not QueueItem.objects.filter(kind=notices.KIND, state="pending").exists()


@pytest.mark.parametrize(
    ("channel", "about", "expected"),
    [
        ("sms", {"channel": "sms", "to": "+254711000001"}, "+254711000001"),
        ("sms", {"channel": "whatsapp", "from": "+254711000002", "to": "+254700000000"}, "+254711000002"),
        ("sms", {"channel": "email", "to": "jane@home.example"}, ""),
        ("email", {"channel": "email", "to": "jane@home.example"}, "jane@home.example"),
        ("email", {"channel": "push", "to": "token"}, ""),
        ("push", {"channel": "push", "to": "token"}, ""),
    ],
)
def test_whom_a_message_is_with(school: Tenant, channel: str, about: dict[str, str], expected: str) -> None:
    event = happened(school, type="message.read", object=about, object_type="message", private={})
    assert notices._payer(channel, event) == expected


@pytest.mark.parametrize(
    ("about", "name", "text"),
    [
        ({"amount": 150_000, "currency": "KES"}, "amount_text", "KES 1,500.00"),
        ({"amount_refunded": 500, "currency": "UGX"}, "amount_refunded_text", "UGX 500"),
        ({"amount": 1, "currency": "?"}, "amount_text", None),
        ({"amount": True, "currency": "KES"}, "amount_text", None),
        ({"amount": 5, "currency": "KES", "amount_text": "own"}, "amount_text", "own"),
        ({}, "currency", "KES"),
        ({"event": "wedding"}, "event", "payment.completed"),
    ],
)
def test_values_of_a_template(about: dict[str, Any], name: str, text: str | None) -> None:
    tenant = Tenant(name="Springfield School", currency="KES")
    assert notices.values_for(about, event_type="payment.completed", tenant=tenant).get(name) == text


def test_a_rule_is_tried_out_on_an_invented_event(school: Tenant) -> None:
    rule = make_rule(school, event_type="payment.*", is_active=False)
    assert "Jane Wanjiku paid KES" in rules.preview(rule).body
    message = rules.send_test(rule=rule, to="0722000001", actor="user bursar")
    assert addresses(message) == ["+254722000001"]
    assert message.created_by == "user bursar, trying the rule Paid"
    again = rules.send_test(rule=rule, to="0722000001", actor="user bursar")
    assert again.pk != message.pk


def test_emitting_reaches_the_rules(school: Tenant) -> None:
    """As wired: nobody but the bus tells the rules."""
    make_rule(school)
    emit(happened(school))
    assert QueueItem.objects.filter(kind=notices.KIND).count() == 1


def test_a_report_of_delivery_reaches_the_rules(school: Tenant) -> None:
    make_template(school, name="arrived", body="{{ to }} got it.")
    make_rule(school, event_type="message.delivered", template_name="arrived", audience="fixed", addresses="0722000001")
    message = send_sms(tenant=school, to=["+254711000001"], message="Hello")
    recipient = message.recipients.select_related("message").get()
    advance(recipient, MessageState.DELIVERED, at=message.created, source="report")
    run_notices()
    (told,) = Message.objects.filter(key__startswith="rule:")
    assert (told.body, told.channel) == ("+254711000001 got it.", Channel.SMS)


# --- the other channels --------------------------------------------------------------------------------------------------


def test_each_gets_a_letter_of_his_own_with_no_more_kept_than_it_says(school: Tenant) -> None:
    make_config(school, "smtp")
    make_template(school, channel="email", name="paid", subject="{{ amount_text }}", body="{{ reference.id }}", html="")
    make_rule(school, channel="email", audience="fixed", addresses="a@school.example\nb@school.example\nnobody")
    (message,) = tell(happened(school))
    assert [(each.address, each.envelope) for each in message.recipients.order_by("pk")] == [
        ("a@school.example", 0), ("b@school.example", 1),
    ]  # fmt: skip
    assert message.data == {"amount_text": "KES 1,500.00", "reference": {"id": "INV-0042"}}
    assert "nobody" in alerts(school)[0]


def test_the_payer_is_mailed_and_may_unsubscribe(school: Tenant) -> None:
    make_config(school, "smtp")
    body = "{{ amount_text }}. No more of these: {{ unsubscribe_url }}"
    make_template(school, channel="email", name="paid", subject="Paid", body=body)
    rule = make_rule(school, channel="email", category="news")
    (message,) = tell(happened(school))
    assert addresses(message) == ["jane@home.example"]
    assert "KES 12,500.00" in rules.preview(rule).body


def test_a_missing_value_of_a_mail_is_an_alert(school: Tenant) -> None:
    make_config(school, "smtp")
    make_template(school, channel="email", name="paid", subject="Paid", body="{{ pupil.name }}")
    make_rule(school, channel="email")
    assert tell(happened(school)) == []
    assert "pupil.name" in alerts(school)[0]


def test_devices_of_the_customer_are_told(school: Tenant) -> None:
    make_config(school, "fcm")
    make_template(school, channel="push", name="paid", subject="Paid", body="{{ amount_text }}")
    Device.objects.create(tenant=school, token="t" * 140, platform="android", user="parent-7")
    make_rule(school, channel="push")
    (message,) = tell(happened(school, object={**PAID, "customer": {"id": "parent-7"}}))
    assert (message.channel, message.body, addresses(message)) == ("push", "KES 1,500.00", ["t" * 140])


def test_on_whatsapp_only_who_wrote_lately_can_be_told(school: Tenant) -> None:
    config = make_config(school, "whatsapp")
    make_template(school, channel="whatsapp", name="paid", body="{{ amount_text }}")
    make_rule(school, channel="whatsapp")
    assert tell(happened(school)) == []
    assert len(alerts(school)) == 1
    InboundMessage.objects.create(
        tenant=school, channel="whatsapp", provider="whatsapp", config=config, address="+254712345678", provider_ref="w1"
    )
    (message,) = tell(happened(school, key="2"))
    assert (message.body, addresses(message)) == ("KES 1,500.00", ["+254712345678"])
