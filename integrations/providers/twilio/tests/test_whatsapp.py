"""What the WhatsApp adapter sends: prefixes, templates, media."""

from __future__ import annotations

from typing import Any

import pytest

from integrations.contracts.errors import InvalidRequest, RateLimited, UnsupportedOperation
from integrations.contracts.messaging import Media, MessageState, SendQuery, Target
from integrations.contracts.whatsapp import TemplateUse, WhatsAppMessage
from integrations.providers.twilio.tests.support import (
    HOOK,
    MESSAGES,
    NOW,
    NUMBER,
    SERVICE,
    SID,
    RecordingHttp,
    fixture,
    message,
    view,
    whatsapp,
)

TEMPLATE = "HX" + "0" * 31 + "1"
TO, FROM = ("To", f"whatsapp:{NUMBER}"), ("From", "whatsapp:+14155238886")


def chat(**changes: Any) -> WhatsAppMessage:
    return WhatsAppMessage(**{"message_id": "msg_1", "target": Target(NUMBER, "ref_1"), **changes})


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"text": "Karibu"}, [TO, FROM, ("Body", "Karibu")]),
        (
            {"text": "Karibu", "callback_url": HOOK},
            [TO, FROM, ("Body", "Karibu"), ("StatusCallback", f"{HOOK}/status?ref=ref_1#rc=3&rp=all")],
        ),
        ({"text": "Karibu", "reply_to": SID}, [TO, FROM, ("Body", "Karibu")]),
        ({"text": "Karibu", "sender": "+15017122661"}, [TO, ("From", "whatsapp:+15017122661"), ("Body", "Karibu")]),
        ({"text": "Karibu", "sender": "whatsapp:+15017122661"}, [TO, ("From", "whatsapp:+15017122661"), ("Body", "Karibu")]),
        ({"text": "Karibu", "sender": SERVICE}, [TO, ("MessagingServiceSid", SERVICE), ("Body", "Karibu")]),
        ({"template": TemplateUse(id=TEMPLATE)}, [TO, FROM, ("ContentSid", TEMPLATE)]),
        (
            {"template": TemplateUse(id=TEMPLATE, body=("Jané", 'KES "1,500"'))},
            [TO, FROM, ("ContentSid", TEMPLATE), ("ContentVariables", '{"1": "Jané", "2": "KES \\"1,500\\""}')],
        ),
        (
            {"media": Media("a.pdf", "application/pdf", url="https://school.example/a.pdf"), "text": "Report"},
            [TO, FROM, ("Body", "Report"), ("MediaUrl", "https://school.example/a.pdf")],
        ),
        (
            {"media": Media("a.pdf", "application/pdf", url="https://school.example/a.pdf")},
            [TO, FROM, ("MediaUrl", "https://school.example/a.pdf")],
        ),
    ],
)
def test_the_form(http: RecordingHttp, changes: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    http.answer(message(to=f"whatsapp:{NUMBER}"))
    result = whatsapp(http).send(chat(**changes))
    (call,) = http.calls
    assert (call["method"], call["url"], call["safe"], call["form"]) == ("POST", MESSAGES, False, expected)
    assert (result.address, result.state, result.provider_ref) == (NUMBER, MessageState.SENT, SID)


def test_without_a_number_of_its_own_the_messaging_service_sends(http: RecordingHttp) -> None:
    http.answer(fixture("message__accepted.json"))
    whatsapp(http, view(whatsapp_sender="", messaging_service_sid=SERVICE)).send(chat(text="Karibu"))
    assert http.calls[0]["form"][1] == ("MessagingServiceSid", SERVICE)


@pytest.mark.parametrize(
    ("changes", "attr"),
    [
        ({"text": "x", "target": Target("whatsapp:+254711000001")}, "to"),
        ({}, "message"),
        ({"text": "  "}, "message"),
        ({"text": "x" * 1601}, "message"),
        ({"media": Media("a.pdf", "application/pdf", content=b"%PDF")}, "media"),
        ({"template": TemplateUse(name="balance", language="en")}, "template"),
        ({"template": TemplateUse(id=TEMPLATE), "text": "x"}, "template"),
        ({"template": TemplateUse(id=TEMPLATE, header=("x",))}, "template"),
        ({"template": TemplateUse(id=TEMPLATE, buttons={0: "x"})}, "template"),
        ({"template": TemplateUse(id=TEMPLATE, header_media=Media("a", "image/png"))}, "template"),
    ],
)
def test_what_is_refused_before_a_call(http: RecordingHttp, changes: dict[str, Any], attr: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        whatsapp(http).send(chat(**changes))
    assert caught.value.attr == attr
    assert http.calls == []


def test_a_config_for_sms_alone_has_no_sender_for_whatsapp(http: RecordingHttp) -> None:
    with pytest.raises(InvalidRequest) as caught:
        whatsapp(http, view(whatsapp_sender="")).send(chat(text="x"))
    assert caught.value.attr == "from"


def test_outside_of_the_window_whether_refused_or_failed_at_once(http: RecordingHttp) -> None:
    http.answer({"code": 63016, "message": "Outside messaging window", "status": 400}, 400)
    http.answer(message(status="failed", error_code=63016))
    for _ in range(2):
        result = whatsapp(http).send(chat(text="x"))
        assert (result.state, result.provider_code) == (MessageState.FAILED, "63016")
        assert result.detail == "more than 24 hours since the customer's last message: use an approved template (63016)"
        assert (result.retryable, result.suppress) == (False, None)


@pytest.mark.parametrize(("code", "attr"), [(63007, "from"), (21655, "template"), (21656, "template"), (21910, "from")])
def test_a_refused_request(http: RecordingHttp, code: int, attr: str) -> None:
    http.answer({"code": code, "message": "No.", "status": 400}, 400)
    with pytest.raises(InvalidRequest) as caught:
        whatsapp(http).send(chat(text="x"))
    assert (caught.value.attr, caught.value.provider_code) == (attr, str(code))


def test_whatsapps_own_rate(http: RecordingHttp) -> None:
    http.answer({"code": 63018, "message": "Rate", "status": 400}, 400)
    with pytest.raises(RateLimited) as caught:
        whatsapp(http).send(chat(text="x"))
    assert caught.value.retry_after == 60.0


def test_a_lost_message_is_searched_under_its_prefix(http: RecordingHttp) -> None:
    http.answer({"messages": [message(to=NUMBER, body="x"), message(to=f"whatsapp:{NUMBER}", body="x", status="read")]}, 200)
    http.answer({"messages": []}, 200)
    found = whatsapp(http).find(SendQuery("msg_1", Target(NUMBER), sent_at=NOW, text="x"))
    assert http.calls[0]["query"]["To"] == f"whatsapp:{NUMBER}"
    assert found is not None
    assert (found.address, found.state, found.provider_ref) == (NUMBER, MessageState.READ, SID)


def test_what_this_api_has_not(http: RecordingHttp) -> None:
    with pytest.raises(UnsupportedOperation):
        whatsapp(http).templates()
    with pytest.raises(UnsupportedOperation):
        whatsapp(http).mark_read(SID)
    assert http.calls == []
