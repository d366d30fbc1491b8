from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from integrations.contracts.capabilities import Capability, Environment
from integrations.contracts.email import Envelope, ListedAddress
from integrations.contracts.errors import (
    AuthenticationFailed,
    InvalidRequest,
    NotFound,
    OutcomeUnknown,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
    UnsupportedOperation,
)
from integrations.contracts.messaging import Balance, MessageState, RecipientResult, SendQuery, SuppressReason
from integrations.contracts.schema import SchemaErrors
from integrations.providers.sendgrid.adapter import SendGridEmail
from integrations.providers.sendgrid.provider import PROVIDER
from integrations.providers.sendgrid.tests.conftest import (
    API_KEY,
    JANE,
    JOHN,
    NOW,
    ZOE,
    RecordingHttp,
    envelope,
    fixture,
    make_adapter,
    message,
    view,
)

KEY = json.loads(fixture("signature__vector.json"))["public_key"]


def test_accepted_is_sent_with_the_id_that_reports_begin_with(http: RecordingHttp) -> None:
    http.accept("Qk7")
    result = make_adapter(http).send(message(envelope(JANE), envelope(JOHN)))
    assert result.provider_ref == "Qk7"
    assert result.recipients == (
        RecipientResult("jane@example.net", MessageState.SENT, "Qk7"),
        RecipientResult("john@example.net", MessageState.SENT, "Qk7"),
    )


@pytest.mark.parametrize(
    ("status", "error_class"),
    [
        (400, InvalidRequest),
        (401, AuthenticationFailed),
        (403, AuthenticationFailed),
        (404, NotFound),
        (405, UnsupportedOperation),
        (413, InvalidRequest),
        (415, InvalidRequest),
        (429, RateLimited),
        (302, OutcomeUnknown),
        (500, OutcomeUnknown),
        (502, OutcomeUnknown),
        (503, OutcomeUnknown),
        (504, OutcomeUnknown),
    ],
)
@pytest.mark.parametrize("body", [b'{"errors":[{"message":"no","field":null}]}', b"<html>", b'{"errors":7}'])
def test_http_errors_of_a_send(http: RecordingHttp, status: int, error_class: type[ProviderError], body: bytes) -> None:
    http.answer(body, status)
    with pytest.raises(ProviderError) as caught:
        make_adapter(http).send(message())
    assert (type(caught.value), caught.value.provider_code) == (error_class, str(status))
    assert len(http.calls) == 1


@pytest.mark.parametrize(
    ("status", "error_class"),
    [(401, AuthenticationFailed), (429, RateLimited), (500, ProviderUnavailable), (503, ProviderUnavailable)],
)
def test_http_errors_of_a_harmless_question(http: RecordingHttp, status: int, error_class: type[ProviderError]) -> None:
    http.answer(b"", status)
    with pytest.raises(ProviderError) as caught:
        make_adapter(http).balance()
    assert type(caught.value) is error_class


@pytest.mark.parametrize(
    ("field", "attr"),
    [
        ("personalizations.0.to.0.email", "to"),
        ("personalizations.0.custom_args", "to"),
        ("personalizations.0.subject", "subject"),
        ("from.email", "from"),
        ("content.0.value", "message"),
        ("template_id", "template"),
        ("attachments.0.content", "attachments"),
        ("reply_to", "reply_to"),
        ("send_at", None),
        ("null", None),
        (None, None),
    ],
)
def test_a_refusal_names_what_is_wrong(http: RecordingHttp, field: str | None, attr: str | None) -> None:
    http.refuse(400, ("Not good.", field))
    with pytest.raises(InvalidRequest) as caught:
        make_adapter(http).send(message())
    shown = f"Not good. ({field})" if field not in (None, "null") else "Not good."
    assert (caught.value.attr, caught.value.message) == (attr, shown)


def test_an_unverified_sender_is_the_messages_fault_not_the_keys(http: RecordingHttp) -> None:
    http.refuse(403, ("The from address does not match a verified Sender Identity.", "from"))
    with pytest.raises(InvalidRequest) as caught:
        make_adapter(http).send(message())
    assert caught.value.attr == "from"


def test_used_up_credits_come_back(http: RecordingHttp) -> None:
    http.refuse(401, ("Maximum credits exceeded", None))
    with pytest.raises(RateLimited) as caught:
        make_adapter(http).send(message())
    assert caught.value.retry_after == 900.0


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"x_ratelimit_reset": str(int(NOW.timestamp()) + 17)}, 17.0),
        ({"x_ratelimit_reset": str(int(NOW.timestamp()) - 5)}, 1.0),
        ({"x_ratelimit_reset": str(int(NOW.timestamp()) + 90_000)}, 3600.0),
        ({"x_ratelimit_reset": "soon"}, None),
        ({"retry_after": "9", "x_ratelimit_reset": str(int(NOW.timestamp()) + 17)}, 9.0),
        ({}, None),
    ],
)
def test_the_wait_that_sendgrid_asks_for(http: RecordingHttp, headers: dict[str, str], wait: float | None) -> None:
    http.refuse(429, ("too many requests", None), **headers)
    with pytest.raises(RateLimited) as caught:
        make_adapter(http).send(message())
    assert caught.value.retry_after == wait


def test_an_echoed_key_is_not_shown(http: RecordingHttp) -> None:
    http.refuse(401, (f"bad key {API_KEY}", None))
    with pytest.raises(AuthenticationFailed) as caught:
        make_adapter(http).test_connection()
    assert caught.value.message == "bad key ••••"


def test_a_bad_address_beside_good_ones_fails_alone(http: RecordingHttp) -> None:
    http.answer(fixture("error__bad_address.json"), 400)
    result = make_adapter(http).send(message(envelope(JANE), envelope(JOHN)))
    assert result.provider_ref == ""
    assert result.recipients == (
        RecipientResult(
            "jane@example.net", MessageState.FAILED, provider_code="400", detail="Does not contain a valid address."
        ),
        RecipientResult(
            "john@example.net", MessageState.FAILED, provider_code="400", detail="not sent beside a bad one", retryable=True
        ),
    )


@pytest.mark.parametrize(
    ("field", "failed"),
    [
        ("personalizations.1.cc.0.email", ["zoe@example.net"]),
        ("personalizations.1.to", ["john@example.net", "zoe@example.net"]),
        ("personalizations.1.subject", ["john@example.net", "zoe@example.net"]),
        ("personalizations.1.cc.9.email", ["john@example.net", "zoe@example.net"]),
    ],
)
def test_whom_a_refusal_names(http: RecordingHttp, field: str, failed: list[str]) -> None:
    http.refuse(400, ("No.", field))
    result = make_adapter(http).send(message(envelope(JANE), Envelope(to=(JOHN,), cc=(ZOE,))))
    assert [each.address for each in result.recipients if not each.retryable] == failed
    assert {each.state for each in result.recipients} == {MessageState.FAILED}


@pytest.mark.parametrize("field", ["personalizations.7.to.0.email", "personalizations", "subject", None])
def test_a_refusal_that_names_nobody_is_of_the_whole(http: RecordingHttp, field: str | None) -> None:
    http.refuse(400, ("No.", "personalizations.0.to.0.email"), ("No.", field))
    with pytest.raises(InvalidRequest):
        make_adapter(http).send(message(envelope(JANE), envelope(JOHN)))


# --- envelopes that say different texts: a request each


def differing() -> Any:
    return message(envelope(JANE, text="Dear Jane"), envelope(JOHN, text="Dear John"), envelope(ZOE, text="Dear Jane"))


def test_envelopes_share_a_request_only_where_they_say_the_same(http: RecordingHttp) -> None:
    http.accept("A")
    http.accept("B")
    result = make_adapter(http).send(differing())
    assert [[p["to"][0]["email"] for p in call["json"]["personalizations"]] for call in http.calls] == [
        ["jane@example.net", "zoe@example.net"],
        ["john@example.net"],
    ]
    assert [call["json"]["content"][0]["value"] for call in http.calls] == ["Dear Jane", "Dear John"]
    assert [(each.address, each.provider_ref) for each in result.recipients] == [
        ("jane@example.net", "A"),
        ("john@example.net", "B"),
        ("zoe@example.net", "A"),
    ]


@pytest.mark.parametrize(
    ("error", "state", "retryable", "wait"),
    [
        (OutcomeUnknown("cut"), "unknown", False, None),
        (ProviderUnavailable("down"), "failed", True, None),
        (RateLimited("slow", retry_after=9.0), "failed", True, 9.0),
        (AuthenticationFailed("key"), "failed", True, None),
        (InvalidRequest("bad"), "failed", False, None),
    ],
)
def test_a_later_request_that_fails_spoils_only_its_own(
    http: RecordingHttp, error: ProviderError, state: str, retryable: bool, wait: float | None
) -> None:
    http.accept("A")
    http.replies.append(error)
    result = make_adapter(http).send(differing())
    jane, john, zoe = result.recipients
    assert (jane.state, zoe.state) == (MessageState.SENT, MessageState.SENT)
    assert (john.state, john.retryable, john.retry_after) == (state, retryable, wait)


def test_after_a_lost_answer_nothing_more_is_sent(http: RecordingHttp) -> None:
    http.replies.append(OutcomeUnknown("cut"))
    result = make_adapter(http).send(differing())
    assert [(each.state, each.retryable) for each in result.recipients] == [
        ("unknown", False),
        ("failed", True),
        ("unknown", False),
    ]
    assert len(http.calls) == 1


@pytest.mark.parametrize("error", [ProviderUnavailable("down"), RateLimited("slow"), AuthenticationFailed("key")])
def test_where_nothing_was_sent_the_error_is_the_calls(http: RecordingHttp, error: ProviderError) -> None:
    http.replies.append(error)
    with pytest.raises(type(error)):
        make_adapter(http).send(differing())
    assert len(http.calls) == 1


def test_where_every_request_is_refused_the_error_is_the_calls(http: RecordingHttp) -> None:
    http.replies += [InvalidRequest("first", attr="from"), InvalidRequest("second", attr="from")]
    with pytest.raises(InvalidRequest) as caught:
        make_adapter(http).send(differing())
    assert caught.value.message == "first"
    assert len(http.calls) == 2


# --- questions


def test_connection_test(http: RecordingHttp) -> None:
    http.answer(fixture("scopes.json"))
    result = make_adapter(http, view(subuser="school-1")).test_connection()
    assert (result.ok, result.status) == (True, "ok")
    assert result.detail == "Signed in with key canary4f7d2b90c1e8abcd for school-1. It may send mail (3 scopes)."
    assert [(call["method"], call["url"], call["safe"]) for call in http.calls] == [("GET", "/v3/scopes", True)]


def test_connection_test_of_the_sandbox_says_so(http: RecordingHttp) -> None:
    http.answer(fixture("scopes.json"))
    assert make_adapter(http, view(Environment.SANDBOX)).test_connection().detail.endswith("checked and not delivered.")


def test_a_key_that_may_not_send_is_found_out(http: RecordingHttp) -> None:
    http.answer(b'{"scopes":["alerts.read"]}')
    result = make_adapter(http, view(api_key="other")).test_connection()
    assert (result.ok, result.status) == (False, "scope_missing")
    assert result.detail == "Signed in. The key may not send: it lacks Mail Send."


def test_a_refused_key(http: RecordingHttp) -> None:
    http.answer(fixture("error__unauthorized.json"), 401)
    with pytest.raises(AuthenticationFailed) as caught:
        make_adapter(http).test_connection()
    assert caught.value.message == "authorization required"


def test_balance(http: RecordingHttp) -> None:
    http.answer(fixture("credits.json"))
    assert make_adapter(http).balance() == Balance(Decimal(200), "", "e-mails")


@pytest.mark.parametrize("body", [b"", b"{}", b'{"remain":"lots"}'])
def test_an_unreadable_balance_may_be_asked_for_again(http: RecordingHttp, body: bytes) -> None:
    http.answer(body)
    with pytest.raises(ProviderUnavailable):
        make_adapter(http).balance()


def test_the_suppression_lists_follow_each_other(http: RecordingHttp) -> None:
    for body in (fixture("bounces.json"), b"[]", b"[]", fixture("unsubscribes.json")):
        http.answer(body)
    cursor, found = "", []
    for _ in range(4):
        page, cursor = make_adapter(http).suppressed(cursor)
        found.append(page)
    assert cursor == ""
    assert [(call["url"], call["query"]["offset"]) for call in http.calls] == [
        ("/v3/suppression/bounces", "0"),
        ("/v3/suppression/invalid_emails", "0"),
        ("/v3/suppression/spam_reports", "0"),
        ("/v3/suppression/unsubscribes", "0"),
    ]
    (bounced,) = found[0]
    assert (bounced.address, bounced.reason) == ("bounce1@test.com", SuppressReason.HARD_BOUNCE)
    assert bounced.since == datetime(2015, 9, 30, 22, 12, 5, tzinfo=UTC)
    assert bounced.detail.startswith("550 5.1.1 The email account")
    assert found[3][0] == ListedAddress(
        "user1@example.com", SuppressReason.OPT_OUT, datetime(2015, 9, 30, 22, 12, 21, tzinfo=UTC)
    )


def test_a_full_page_has_another_one_of_the_same_list(http: RecordingHttp) -> None:
    http.answer(json.dumps([{"created": 1, "email": f"p{n}@example.net"} for n in range(500)]).encode())
    page, cursor = make_adapter(http).suppressed("spam_reports:500")
    assert (len(page), cursor) == (500, "spam_reports:1000")
    assert http.calls[0]["query"] == {"limit": "500", "offset": "500"}


@pytest.mark.parametrize("cursor", ["blocks:0", "bounces", "bounces:-1", "bounces:x", "../x:0"])
def test_a_foreign_cursor_is_refused(http: RecordingHttp, cursor: str) -> None:
    with pytest.raises(InvalidRequest):
        make_adapter(http).suppressed(cursor)
    assert http.calls == []


@pytest.mark.parametrize("body", [b"{}", b'[{"created":1}]', b'[{"email":"a@b","created":"x"}]'])
def test_an_unreadable_list_may_be_asked_for_again(http: RecordingHttp, body: bytes) -> None:
    http.answer(body)
    with pytest.raises(ProviderUnavailable):
        make_adapter(http).suppressed()


def test_unsuppress_takes_the_address_off_every_list(http: RecordingHttp) -> None:
    for status in (204, 404, 204, 204):
        http.answer(status=status)
    make_adapter(http).unsuppress("a/b+c@example.net")
    assert [(call["method"], call["url"]) for call in http.calls] == [
        ("DELETE", "/v3/suppression/bounces/a%2Fb%2Bc%40example.net"),
        ("DELETE", "/v3/suppression/invalid_emails/a%2Fb%2Bc%40example.net"),
        ("DELETE", "/v3/suppression/spam_reports/a%2Fb%2Bc%40example.net"),
        ("DELETE", "/v3/asm/suppressions/global/a%2Fb%2Bc%40example.net"),
    ]


def test_unsuppress_reports_a_refusal(http: RecordingHttp) -> None:
    http.refuse(403, ("access forbidden", None))
    with pytest.raises(AuthenticationFailed):
        make_adapter(http).unsuppress("a@example.net")


def test_sendgrid_cant_be_asked_about_a_message(http: RecordingHttp) -> None:
    with pytest.raises(UnsupportedOperation):
        make_adapter(http).find(SendQuery("msg_1", JANE))


# --- the declaration


def test_declaration() -> None:
    assert PROVIDER.adapter_class(Capability.EMAIL) is SendGridEmail
    assert PROVIDER.config.secret_names == {"api_key"}
    assert not PROVIDER.is_global
    assert PROVIDER.config.clean({"api_key": API_KEY}) == ({"region": "global"}, {"api_key": API_KEY})


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"api_key": ""}, "api_key"),
        ({"region": "mars"}, "region"),
        ({"subuser": "a\nb"}, "subuser"),
        ({"webhook_public_key": KEY[:-4]}, "webhook_public_key"),
    ],
)
def test_a_bad_config_names_its_field(changes: dict[str, Any], name: str) -> None:
    with pytest.raises(SchemaErrors) as caught:
        PROVIDER.config.clean({"api_key": API_KEY, **changes})
    assert list(caught.value.errors) == [name]
