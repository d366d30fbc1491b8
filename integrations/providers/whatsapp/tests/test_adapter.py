from __future__ import annotations

import json
from typing import Any

import pytest

from integrations.contracts.errors import (
    AuthenticationFailed,
    BadReply,
    InvalidRequest,
    OutcomeUnknown,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
    UnsupportedOperation,
)
from integrations.contracts.messaging import Media, MessageState, RecipientResult, SendQuery, SuppressReason, Target
from integrations.contracts.whatsapp import TemplateUse
from integrations.providers.whatsapp.codes import PROBLEMS
from integrations.providers.whatsapp.simulator.answers import multipart
from integrations.providers.whatsapp.tests.support import (
    NUMBER_ID,
    TO,
    TOKEN,
    WAMID,
    RecordingHttp,
    fixture,
    make_adapter,
    message,
)

HEADERS = {"Authorization": f"Bearer {TOKEN}"}
PDF = Media("fees.pdf", "application/pdf", content=b"%PDF-1.7 \r\n--x\x00\r\n")
LINKED = Media("photo.jpg", "image/jpeg", url="https://shop.example/p.jpg")


def sent_body(http: RecordingHttp) -> Any:
    return http.calls[-1]["json"]


def test_a_text_is_the_documented_request(http: RecordingHttp) -> None:
    http.answer(fixture("send__accepted.json"))
    result = make_adapter(http).send(message())
    assert http.calls == [
        {
            "method": "POST",
            "url": f"/v25.0/{NUMBER_ID}/messages",
            "operation": "send",
            "safe": False,
            "json": {
                "messaging_product": "whatsapp",
                "recipient_type": "individual",
                "to": TO,
                "type": "text",
                "text": {"body": "Fees received. Asante.", "preview_url": False},
                "biz_opaque_callback_data": "m7_c42",
            },
            "headers": HEADERS,
        }
    ]
    assert result == RecipientResult(TO, MessageState.SENT, provider_ref=WAMID)


def test_a_template_with_header_body_and_button(http: RecordingHttp) -> None:
    http.answer(fixture("send__accepted.json"))
    use = TemplateUse("order_shipped", "en_US", header=("Jane",), body=("Jane", "1042"), buttons={1: "b", 0: "1042"})
    make_adapter(http).send(message(text="", template=use))
    assert sent_body(http)["type"] == "template"
    assert sent_body(http)["template"] == {
        "name": "order_shipped",
        "language": {"code": "en_US"},
        "components": [
            {"type": "header", "parameters": [{"type": "text", "text": "Jane"}]},
            {"type": "body", "parameters": [{"type": "text", "text": "Jane"}, {"type": "text", "text": "1042"}]},
            {"type": "button", "sub_type": "url", "index": "0", "parameters": [{"type": "text", "text": "1042"}]},
            {"type": "button", "sub_type": "url", "index": "1", "parameters": [{"type": "text", "text": "b"}]},
        ],
    }


def test_a_template_without_parameters_has_no_components(http: RecordingHttp) -> None:
    http.answer(fixture("send__accepted.json"))
    make_adapter(http).send(message(text="", template=TemplateUse("hello_world", "en_US")))
    assert sent_body(http)["template"] == {"name": "hello_world", "language": {"code": "en_US"}}


def test_a_header_file_is_uploaded_first(http: RecordingHttp) -> None:
    http.answer({"id": "4490709327384033"})
    http.answer(fixture("send__accepted.json"))
    make_adapter(http).send(message(text="", template=TemplateUse("report_card", "en", body=("Jane",), header_media=PDF)))
    upload, send = http.calls
    assert (upload["url"], upload["operation"], upload["safe"]) == (f"/v25.0/{NUMBER_ID}/media", "media", True)
    fields = multipart(upload["headers"]["Content-Type"], upload["body"])
    assert fields == {
        "messaging_product": ("", "", b"whatsapp"),
        "type": ("", "", b"application/pdf"),
        "file": ("fees.pdf", "application/pdf", PDF.content),
    }
    assert send["json"]["template"]["components"][0] == {
        "type": "header",
        "parameters": [{"type": "document", "document": {"id": "4490709327384033", "filename": "fees.pdf"}}],
    }


def test_a_linked_picture_with_a_caption_in_reply(http: RecordingHttp) -> None:
    http.answer(fixture("send__accepted.json"))
    make_adapter(http).send(message(text="Look", media=LINKED, reply_to="wamid.x", ref=""))
    assert sent_body(http) == {
        "messaging_product": "whatsapp",
        "recipient_type": "individual",
        "to": TO,
        "context": {"message_id": "wamid.x"},
        "type": "image",
        "image": {"link": "https://shop.example/p.jpg", "caption": "Look"},
    }


@pytest.mark.parametrize(
    ("content_type", "kind"),
    [
        ("image/png", "image"),
        ("image/webp", "sticker"),
        ("image/gif", "document"),
        ("video/mp4", "video"),
        ("video/quicktime", "document"),
        ("audio/ogg; codecs=opus", "audio"),
        ("text/plain", "document"),
    ],
)
def test_how_files_are_shown(http: RecordingHttp, content_type: str, kind: str) -> None:
    http.answer(fixture("send__accepted.json"))
    make_adapter(http).send(message(text="", media=Media("", content_type, url="https://shop.example/f")))
    assert (sent_body(http)["type"], sent_body(http)[kind]) == (kind, {"link": "https://shop.example/f"})


@pytest.mark.parametrize(
    ("changes", "attr"),
    [
        ({"to": "254711000001"}, "to"),
        ({"to": "+0711000001"}, "to"),
        ({"to": ""}, "to"),
        ({"text": " "}, "message"),
        ({"text": "x" * 4097}, "message"),
        ({"sender": "400000000000099"}, "from"),
        ({"template": TemplateUse("a", "en")}, "template"),
        ({"text": "", "template": TemplateUse("", "en", id="HX1")}, "template"),
        ({"text": "", "template": TemplateUse("order_shipped", "")}, "template"),
        ({"text": "", "template": TemplateUse("../x", "en")}, "template"),
        ({"text": "", "template": TemplateUse("a", "en", header=("x",), header_media=LINKED)}, "template"),
        ({"text": "", "template": TemplateUse("a", "en", buttons={10: "x"})}, "template"),
        ({"text": "", "template": TemplateUse("a", "en", header_media=Media("a.ogg", "audio/ogg", content=b"x"))}, "template"),
        ({"text": "", "media": Media("a", "image/png")}, "media"),
        ({"text": "", "media": Media("a", "image/png", content=b"x", url="https://x.example/")}, "media"),
        ({"text": "", "media": Media("a", "image/png", url="file:///etc/passwd")}, "media"),
        ({"text": "", "media": Media("a", "image/png", content=b"x" * (5 * 1024 * 1024 + 1))}, "media"),
        ({"text": "x", "media": Media("a", "audio/ogg", content=b"x")}, "message"),
        ({"text": "x" * 1025, "media": LINKED}, "message"),
    ],
)
def test_what_is_refused_before_any_call(http: RecordingHttp, changes: dict[str, Any], attr: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        make_adapter(http).send(message(**changes))
    assert (caught.value.attr, http.calls) == (attr, [])


@pytest.mark.parametrize("status", ["accepted", "held_for_quality_assessment", "paused", "something_new"])
def test_what_is_held_is_said(http: RecordingHttp, status: str) -> None:
    http.answer({"messages": [{"id": "wamid.1", "message_status": status}]})
    result = make_adapter(http).send(message(text="", template=TemplateUse("hello_world", "en_US")))
    assert (result.state, result.provider_ref) == (MessageState.SENT, "wamid.1")
    assert (result.provider_code, bool(result.detail)) == ((status, True) if status[:4] in ("held", "paus") else ("", False))


@pytest.mark.parametrize(
    ("code", "retryable", "retry_after", "suppress"),
    [
        (131026, False, None, None),
        (131047, False, None, None),
        (131049, False, None, None),
        (131050, False, None, SuppressReason.OPT_OUT),
        (130472, False, None, None),
        (130497, False, None, None),
        (131021, False, None, None),
        (131056, True, 6.0, None),
        (131052, True, None, None),
        (131053, True, None, None),
    ],
)
@pytest.mark.parametrize("status", [400, 500])
def test_refusals_of_the_recipient(
    http: RecordingHttp, code: int, retryable: bool, retry_after: float | None, suppress: SuppressReason | None, status: int
) -> None:
    http.fail(code, status)
    assert make_adapter(http).send(message()) == RecipientResult(
        TO,
        MessageState.FAILED,
        provider_code=str(code),
        detail=PROBLEMS[code].detail,
        retryable=retryable,
        retry_after=retry_after,
        suppress=suppress,
    )


def test_the_documented_pair_rate_refusal(http: RecordingHttp) -> None:
    http.answer(fixture("error__pair_rate.json"), status=400)
    result = make_adapter(http).send(message())
    assert (result.state, result.provider_code, result.retryable, result.retry_after) == (
        MessageState.FAILED,
        "131056",
        True,
        6.0,
    )


@pytest.mark.parametrize(
    ("code", "status", "error_class", "attr"),
    [
        (0, 401, AuthenticationFailed, None),
        (190, 401, AuthenticationFailed, None),
        (3, 500, AuthenticationFailed, None),
        (10, 403, AuthenticationFailed, None),
        (200, 403, AuthenticationFailed, None),
        (299, 403, AuthenticationFailed, None),
        (131005, 403, AuthenticationFailed, None),
        (131031, 403, AuthenticationFailed, None),
        (368, 403, AuthenticationFailed, None),
        (131042, 400, AuthenticationFailed, None),
        (133010, 400, AuthenticationFailed, None),
        (4, 429, RateLimited, None),
        (80007, 400, RateLimited, None),
        (130429, 429, RateLimited, None),
        (131048, 400, RateLimited, None),
        (2, 503, ProviderUnavailable, None),
        (131000, 500, ProviderUnavailable, None),
        (131016, 500, ProviderUnavailable, None),
        (1, 400, ProviderUnavailable, None),
        (1, 500, OutcomeUnknown, None),
        (999_999, 500, OutcomeUnknown, None),
        (999_999, 418, InvalidRequest, "message"),
        (100, 400, InvalidRequest, "message"),
        (131008, 400, InvalidRequest, "message"),
        (131009, 400, InvalidRequest, "message"),
        (131051, 400, InvalidRequest, "message"),
        (132000, 400, InvalidRequest, "template"),
        (132001, 404, InvalidRequest, "template"),
        (132005, 400, InvalidRequest, "template"),
        (132007, 400, InvalidRequest, "template"),
        (132012, 400, InvalidRequest, "template"),
        (132015, 400, InvalidRequest, "template"),
        (132016, 400, InvalidRequest, "template"),
    ],
)
def test_refusals_of_the_request(
    http: RecordingHttp, code: int, status: int, error_class: type[ProviderError], attr: str | None
) -> None:
    http.fail(code, status)
    with pytest.raises(error_class) as caught:
        make_adapter(http).send(message())
    assert (type(caught.value), caught.value.provider_code, caught.value.attr) == (error_class, str(code), attr)


def test_every_code_of_the_sheet_is_tried_above() -> None:
    tried = {0, 190, 3, 10, 131005, 131031, 368, 131042, 133010, 4, 80007, 130429, 131048, 2, 131000, 131016, 1, 100, 131008}
    tried |= {131009, 131051, 132000, 132001, 132005, 132007, 132012, 132015, 132016, 131026, 131047, 131049, 131050, 130472}
    assert set(PROBLEMS) == tried | {130497, 131021, 131056, 131052, 131053, 102, 104}


@pytest.mark.parametrize(
    ("body", "status", "error_class"),
    [
        (b"<html>", 502, OutcomeUnknown),
        (b"", 504, OutcomeUnknown),
        (b"", 302, OutcomeUnknown),
        (b'{"error":{"code":"x"}}', 500, OutcomeUnknown),
        (b"[]", 401, AuthenticationFailed),
        (b"", 429, RateLimited),
        (b"", 400, InvalidRequest),
        (b"{}", 200, BadReply),
        (b'{"messages":[]}', 200, BadReply),
        (b'{"messages":[{"id":""}]}', 200, BadReply),
        (b"nothing", 200, BadReply),
    ],
)
def test_answers_of_no_known_shape(http: RecordingHttp, body: bytes, status: int, error_class: type[ProviderError]) -> None:
    http.answer(body, status)
    with pytest.raises(error_class) as caught:
        make_adapter(http).send(message())
    assert type(caught.value) is error_class


@pytest.mark.parametrize(("header", "wait"), [({}, 2.0), ({"retry-after": "17"}, 17.0), ({"retry-after": "soon"}, 2.0)])
def test_how_long_to_wait(http: RecordingHttp, header: dict[str, str], wait: float) -> None:
    http.fail(130429, 429, header)
    with pytest.raises(RateLimited) as caught:
        make_adapter(http).send(message())
    assert caught.value.retry_after == wait


@pytest.mark.parametrize(
    ("name", "status", "error_class"),
    [
        ("error__expired_token.json", 401, AuthenticationFailed),
        ("error__permission.json", 403, AuthenticationFailed),
        ("error__account_rate.json", 429, RateLimited),
    ],
)
def test_metas_own_examples_of_errors(http: RecordingHttp, name: str, status: int, error_class: type[ProviderError]) -> None:
    http.answer(fixture(name), status)
    with pytest.raises(error_class) as caught:
        make_adapter(http).send(message())
    assert json.loads(fixture(name))["error"]["message"] in caught.value.message


def test_no_secret_is_in_an_error(http: RecordingHttp) -> None:
    http.fail(100, text=f"Malformed access token {TOKEN}\nsecond line")
    with pytest.raises(InvalidRequest) as caught:
        make_adapter(http).send(message())
    assert caught.value.message == "A parameter is wrong (Meta: Malformed access token •••• second line)"


@pytest.mark.parametrize(
    ("code", "status", "error_class"),
    [
        (131053, 400, ProviderUnavailable),
        (1, 500, ProviderUnavailable),
        (999_999, 500, ProviderUnavailable),
        (100, 400, InvalidRequest),
    ],
)
def test_a_failed_upload_sends_nothing(http: RecordingHttp, code: int, status: int, error_class: type[ProviderError]) -> None:
    http.fail(code, status)
    with pytest.raises(error_class) as caught:
        make_adapter(http).send(message(text="", media=PDF))
    assert type(caught.value) is error_class
    assert [call["operation"] for call in http.calls] == ["media"]


def test_an_upload_without_an_id_sends_nothing(http: RecordingHttp) -> None:
    http.answer({})
    with pytest.raises(ProviderUnavailable):
        make_adapter(http).send(message(text="", media=PDF))
    assert len(http.calls) == 1


def test_a_message_cant_be_looked_up(http: RecordingHttp) -> None:
    with pytest.raises(UnsupportedOperation):
        make_adapter(http).find(SendQuery("msg_1", Target(TO)))
    with pytest.raises(UnsupportedOperation):
        make_adapter(http).balance()
    assert http.calls == []


def test_mark_read_is_the_documented_request(http: RecordingHttp) -> None:
    http.answer({"success": True})
    make_adapter(http).mark_read("wamid.theirs")
    (call,) = http.calls
    assert (call["method"], call["url"]) == ("POST", f"/v25.0/{NUMBER_ID}/messages")
    assert call["json"] == {"messaging_product": "whatsapp", "status": "read", "message_id": "wamid.theirs"}
