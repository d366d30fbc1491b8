"""The real adapters, the hub's client and the simulator over real sockets."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from urllib.parse import urlencode

import pytest
import requests

from integrations.contracts.errors import (
    AuthenticationFailed,
    InvalidRequest,
    NotFound,
    OutcomeUnknown,
    ProviderError,
    RateLimited,
)
from integrations.contracts.inbound import BadSignature, MessageReceived, MessageReported
from integrations.contracts.messaging import MessageState, SendQuery, SuppressReason, Target
from integrations.contracts.whatsapp import TemplateUse
from integrations.providers.twilio.simulator.rules import TEMPLATES
from integrations.providers.twilio.tests.hub import Hub

NUMBER = "+254711000123"
TEXT = "Fees received."
TEMPLATE = TemplateUse(id=next(iter(TEMPLATES)), body=("Jane", "Springfield", "KES 1,500"))


def reports(hub: Hub, count: int) -> list[MessageReported]:
    events = [hub.fact(each) for each in hub.received(count)]
    assert all(isinstance(each, MessageReported) for each in events)
    return [each for each in events if isinstance(each, MessageReported)]


# --- SMS


@pytest.mark.parametrize("label", ["school", "studio"])
def test_a_text_is_delivered_and_reported(label: str, school: Hub, studio: Hub) -> None:
    hub = school if label == "school" else studio
    (result,) = hub.sms().send(hub.text(NUMBER)).recipients
    assert (result.address, result.state) == (NUMBER, MessageState.SENT)
    assert result.provider_code == ("queued" if label == "school" else "accepted")
    expected = [("sent", MessageState.SENT), ("delivered", MessageState.DELIVERED)]
    if label == "studio":
        expected.insert(0, ("queued", MessageState.SENT))
    seen = reports(hub, len(expected))
    assert sorted((each.provider_status, each.state) for each in seen) == sorted(expected)
    assert {(each.provider_ref, each.address, each.ref, each.channel) for each in seen} == {
        (result.provider_ref, NUMBER, "ref_1", "sms")
    }
    (row,) = hub.messages()
    assert (row["to"], row["text"], row["ref"], row["state"]) == (NUMBER, TEXT, "ref_1", "delivered")


def test_a_report_signed_with_another_token_is_refused(school: Hub) -> None:
    school.sms().send(school.text(NUMBER))
    (first, *_rest) = school.received(1)
    with pytest.raises(BadSignature):
        school.webhook.verify(school.request(first), school.view(auth_token="wrong-token-000000"), by_token=True)


@pytest.mark.parametrize(
    ("tail", "expected"),
    [
        ("900", [("sent", None), ("undelivered", None)]),
        ("901", [("sent", None), ("undelivered", SuppressReason.INVALID)]),
        ("903", [("delivered", None), ("sent", None)]),
        ("904", [("sent", None), ("sent", None), ("delivered", None), ("delivered", None)]),
    ],
)
def test_magic_recipients(school: Hub, tail: str, expected: list[tuple[str, SuppressReason | None]]) -> None:
    school.sms().send(school.text(f"+254711000{tail}"))
    # Callbacks of one step are sent side by side: only the steps have an order.
    seen = reports(school, len(expected))
    assert [(each.provider_status, each.suppress) for each in seen] == expected
    keys = {school.webhook.verify(school.request(each), school.view(), by_token=True).dedupe_key for each in school.received(1)}
    assert len(keys) == 2


def test_a_recipient_of_whom_nothing_is_heard_can_be_asked_about(school: Hub) -> None:
    (result,) = school.sms().send(school.text("+254711000902")).recipients
    school.sms().send(school.text(NUMBER))
    reports(school, 2)
    found = school.sms().find(SendQuery("msg_1", Target("+254711000902"), result.provider_ref))
    assert found is not None
    assert (found.state, found.cost, found.currency) == (MessageState.DELIVERED, Decimal("0.0079"), "USD")
    assert len(school.received(2)) == 2


def test_busy_once(school: Hub) -> None:
    with pytest.raises(RateLimited) as caught:
        school.sms().send(school.text("+254711000429"))
    assert caught.value.provider_code == "20429"
    assert school.messages() == []
    (result,) = school.sms().send(school.text("+254711000429")).recipients
    assert result.state is MessageState.SENT
    assert len(school.messages()) == 1


@pytest.mark.parametrize(
    ("to", "code", "suppress"),
    [
        ("+15005550001", "21211", SuppressReason.INVALID),
        ("+15005550002", "21612", None),
        ("+15005550003", "21408", None),
        ("+15005550004", "21610", SuppressReason.OPT_OUT),
        ("+15005550009", "21614", SuppressReason.INVALID),
    ],
)
def test_twilios_own_magic_recipients(school: Hub, to: str, code: str, suppress: SuppressReason | None) -> None:
    (result,) = school.sms().send(school.text(to)).recipients
    assert (result.state, result.provider_code, result.suppress) == (MessageState.FAILED, code, suppress)
    assert school.messages() == []


@pytest.mark.parametrize(
    ("sender", "error_class", "attr"),
    [
        ("+15005550001", InvalidRequest, "from"),
        ("+15005550007", InvalidRequest, "from"),
        ("+15005550008", RateLimited, None),
        ("+15017120000", InvalidRequest, "from"),
    ],
)
def test_twilios_own_magic_senders(school: Hub, sender: str, error_class: type[ProviderError], attr: str | None) -> None:
    with pytest.raises(error_class) as caught:
        school.sms().send(school.text(NUMBER, sender=sender))
    assert caught.value.attr == attr
    assert school.messages() == []
    (result,) = school.sms().send(school.text(NUMBER, sender="+15005550006")).recipients
    assert result.state is MessageState.SENT


@pytest.mark.parametrize(
    ("fault", "error_class", "sent"),
    [
        ("error_500", OutcomeUnknown, 0),
        ("error_500_after", OutcomeUnknown, 1),
        ("drop_after_accept", OutcomeUnknown, 1),
        ("error_429", RateLimited, 0),
    ],
)
def test_faults(school: Hub, fault: str, error_class: type[ProviderError], sent: int) -> None:
    school.fault("send", fault)
    with pytest.raises(error_class) as caught:
        school.sms().send(school.text(NUMBER))
    assert type(caught.value) is error_class
    assert len(school.messages()) == sent
    found = school.sms().find(
        SendQuery("msg_1", Target(NUMBER), sent_at=datetime.fromtimestamp(school.clock.now(), UTC), text=TEXT)
    )
    assert (found.state if found else None) == (MessageState.SENT if sent else None)


def test_an_early_report_carries_our_note(school: Hub) -> None:
    school.fault("send", "early_callback")
    school.fault("send", "drop_after_accept")
    with pytest.raises(OutcomeUnknown):
        school.sms().send(school.text(NUMBER))
    (event,) = reports(school, 1)
    assert (event.state, event.ref, event.address) == (MessageState.DELIVERED, "ref_1", NUMBER)


def test_a_lost_answer_is_found_again_among_many(school: Hub) -> None:
    for number in range(3):
        school.sms().send(school.text(NUMBER, text=f"Other {number}"))
    begun = datetime.fromtimestamp(school.clock.now(), UTC)
    school.fault("send", "drop_after_accept")
    with pytest.raises(OutcomeUnknown):
        school.sms().send(school.text(NUMBER))
    found = school.sms().find(SendQuery("msg_1", Target(NUMBER), sent_at=begun, text=TEXT))
    assert found is not None
    assert found.provider_ref == next(row["id"] for row in school.messages() if row["text"] == TEXT)
    school.clock.advance(5)
    reports(school, 8)
    later = school.sms().find(SendQuery("msg_1", Target(NUMBER), sent_at=begun, text=TEXT))
    assert later is not None
    assert (later.provider_ref, later.state) == (found.provider_ref, MessageState.DELIVERED)
    assert school.sms().find(SendQuery("msg_1", Target(NUMBER), sent_at=begun - timedelta(days=1), text=TEXT)) is None


def test_wrong_credentials(school: Hub, studio: Hub) -> None:
    with pytest.raises(AuthenticationFailed):
        school.sms(auth_token="wrong-token-000000").send(school.text(NUMBER))
    with pytest.raises(AuthenticationFailed):
        studio.sms(api_key_secret="wrong-secret-00000").test_connection()
    with pytest.raises(AuthenticationFailed):
        studio.sms(auth_token="wrong-token-000000").test_connection()
    assert school.messages() == studio.messages() == []


def test_connection_and_balance(school: Hub, studio: Hub) -> None:
    assert school.sms().test_connection().detail == "Signed in to Demo school."
    key = studio.account.values["api_key_sid"]
    assert studio.whatsapp().test_connection().detail == f"Signed in to Demo studio with the API key {key}."
    before = studio.sms().balance()
    studio.sms().send(studio.text(NUMBER))
    assert (before.currency, before.amount - studio.sms().balance().amount) == ("USD", Decimal("0.0079"))


def test_no_secret_is_logged(studio: Hub) -> None:
    studio.sms().test_connection()
    said = str(studio.recorder.exchanges)
    assert "Demo studio" in said
    assert all(secret not in said for secret in studio.account.secrets.values())


def test_a_scheduled_message_is_called_back(studio: Hub) -> None:
    values, secrets = studio.account.values, studio.account.secrets
    send_at = (datetime.fromtimestamp(studio.clock.now(), UTC) + timedelta(hours=1)).isoformat()
    form = {"To": NUMBER, "MessagingServiceSid": values["messaging_service_sid"], "Body": TEXT, "SendAt": send_at}
    made = requests.post(
        f"{studio.running.url}/twilio/2010-04-01/Accounts/{values['account_sid']}/Messages.json",
        data=urlencode({**form, "ScheduleType": "fixed"}),
        headers={"Content-Type": "application/x-www-form-urlencoded"},
        auth=(values["api_key_sid"], secrets["api_key_secret"]),
        timeout=5,
    )
    assert (made.status_code, made.json()["status"]) == (201, "scheduled")
    assert studio.sms().cancel(made.json()["sid"]) is True
    assert studio.sms().cancel(made.json()["sid"]) is False
    found = studio.sms().find(SendQuery("msg_1", Target(NUMBER), made.json()["sid"]))
    assert found is not None
    assert found.state is MessageState.CANCELLED


def test_what_was_sent_at_once_cant_be_called_back(school: Hub, studio: Hub) -> None:
    (result,) = school.sms().send(school.text(NUMBER)).recipients
    assert school.sms().cancel(result.provider_ref) is False
    with pytest.raises(NotFound):
        studio.sms().cancel(result.provider_ref)
    assert school.messages()[0]["state"] == "queued"


# --- customers write


def test_stop_and_start(school: Hub) -> None:
    (result,) = school.sms().send(school.text(NUMBER)).recipients
    school.control("POST", "/report", {"id": result.provider_ref, "status": "stop"})
    (call,) = school.received(1, "inbound")
    event = school.fact(call)
    assert isinstance(event, MessageReceived)
    assert (event.channel, event.address, event.to) == ("sms", NUMBER, school.account.values["sender"])
    assert (event.text, event.opt_out, event.reply_to) == ("STOP", True, "")
    (refused,) = school.sms().send(school.text(NUMBER)).recipients
    assert (refused.provider_code, refused.suppress) == ("21610", SuppressReason.OPT_OUT)
    assert len(school.messages()) == 1
    school.control("POST", "/report", {"id": result.provider_ref, "status": "start"})
    again = school.fact(school.received(2, "inbound")[1])
    assert isinstance(again, MessageReceived)
    assert again.opt_out is False
    (taken,) = school.sms().send(school.text(NUMBER)).recipients
    assert taken.state is MessageState.SENT


def test_the_hub_that_lost_its_account_is_none(studio: Hub, school: Hub) -> None:
    """A customer of one account writes to that account alone."""
    school.control("POST", "/incoming", {"account": "studio", "from": NUMBER, "text": "Hello"})
    event = studio.fact(studio.received(1, "inbound")[0])
    assert isinstance(event, MessageReceived)
    assert (event.text, event.opt_out) == ("Hello", None)
    assert school.hooks.at("/hooks/school/inbound") == []


# --- WhatsApp


def test_a_free_text_outside_of_the_window_fails_later(school: Hub) -> None:
    result = school.whatsapp().send(school.chat(NUMBER, text="Karibu"))
    assert result.state is MessageState.SENT
    (event,) = reports(school, 1)
    assert (event.state, event.channel, event.address) == (MessageState.FAILED, "whatsapp", NUMBER)
    assert event.detail == "more than 24 hours since the customer's last message: use an approved template (63016)"
    found = school.whatsapp().find(SendQuery("msg_1", Target(NUMBER), result.provider_ref))
    assert found is not None
    assert (found.state, found.provider_code, found.retryable) == (MessageState.FAILED, "63016", False)


def test_a_template_opens_a_talk_and_the_reply_the_window(school: Hub) -> None:
    result = school.whatsapp().send(school.chat(NUMBER, template=TEMPLATE))
    assert [each.provider_status for each in reports(school, 2)] == ["sent", "delivered"]
    (row,) = school.messages()
    assert (row["text"], row["channel"], row["to"]) == (
        "Hello Jane, your balance at Springfield is KES 1,500.",
        "whatsapp",
        NUMBER,
    )
    school.control("POST", "/report", {"id": result.provider_ref, "status": "read"})
    assert reports(school, 3)[2].state is MessageState.READ
    school.control("POST", "/report", {"id": result.provider_ref, "status": "reply", "text": "Asante 😊"})
    event = school.fact(school.received(1, "inbound")[0])
    assert isinstance(event, MessageReceived)
    assert (event.channel, event.address, event.text) == ("whatsapp", NUMBER, "Asante 😊")
    assert (event.reply_to, event.name) == (result.provider_ref, "Customer")
    school.whatsapp().send(school.chat(NUMBER, text="Karibu"))
    assert [each.provider_status for each in reports(school, 5)][3:] == ["sent", "delivered"]
    school.clock.advance(24 * 3600)
    school.whatsapp().send(school.chat(NUMBER, text="Still there?"))
    assert reports(school, 6)[5].state is MessageState.FAILED


@pytest.mark.parametrize(
    ("template", "code"),
    [
        (TemplateUse(id="HX" + "f" * 32), "21655"),
        (TemplateUse(id=TEMPLATE.id, body=("Jane",)), "21656"),
        (TemplateUse(id=TEMPLATE.id), "21656"),
    ],
)
def test_a_template_that_twilio_refuses(school: Hub, template: TemplateUse, code: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        school.whatsapp().send(school.chat(NUMBER, template=template))
    assert (caught.value.attr, caught.value.provider_code) == ("template", code)
    assert school.messages() == []


def test_a_sender_that_is_not_on_whatsapp(school: Hub) -> None:
    with pytest.raises(InvalidRequest) as caught:
        school.whatsapp(whatsapp_sender="+15017120000").send(school.chat(NUMBER, template=TEMPLATE))
    assert (caught.value.attr, caught.value.provider_code) == ("from", "63007")
    assert school.messages() == []
