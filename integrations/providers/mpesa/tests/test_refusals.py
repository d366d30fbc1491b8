"""Every error row of Daraja, for money calls and for safe ones; the access token."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from integrations.contracts.adapter import Reply
from integrations.contracts.errors import (
    AuthenticationFailed,
    Conflict,
    InvalidRequest,
    OutcomeUnknown,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
)
from integrations.contracts.payment import ReceiptQuery
from integrations.providers.mpesa.tests.support import (
    CALLBACK,
    CHECKOUT,
    SECRETS,
    adapter,
    answer,
    error,
    fixture,
    push,
)


@dataclass(frozen=True)
class Row:
    """An error answer, and what a money call and a safe call make of it."""

    reply: Reply
    money: type[ProviderError]
    safe: type[ProviderError] | None = None
    code: str = ""
    attr: str | None = None
    retry_after: float | None = None


LOCKED = "Unable to lock subscriber, a transaction is already in process for the current subscriber"
ERRORS = {
    "amount": Row(error("400.002.02", "Bad Request - Invalid Amount"), InvalidRequest, code="400.002.02", attr="amount"),
    "phone": Row(answer(fixture("error_field"), 400), InvalidRequest, code="400.002.02", attr="method.phone"),
    "url": Row(error("400.002.02", "Bad Request - Invalid CallBackURL"), InvalidRequest, code="400.002.02"),
    "shortcode": Row(error("400.002.02", "Bad Request - Invalid BusinessShortCode"), InvalidRequest, code="400.002.02"),
    "payload": Row(error("400.002.05", "Invalid Request Payload"), InvalidRequest, code="400.002.05"),
    "missing": Row(error("400.003.02", "Bad Request"), InvalidRequest, code="400.003.02"),
    "path": Row(error("404.001.01", "Resource not found"), InvalidRequest, code="404.001.01"),
    "path 2": Row(error("404.002.01", "Resource not found"), InvalidRequest, code="404.002.01"),
    "path 3": Row(error("404.003.01", "Resource not found"), InvalidRequest, code="404.003.01"),
    "header": Row(error("404.001.04", "Invalid Authentication Header"), InvalidRequest, code="404.001.04"),
    "method": Row(error("405.001", "Method Not Allowed"), InvalidRequest, code="405.001"),
    "product": Row(answer(b"Invalid API call as no apiproduct match found", 401), AuthenticationFailed, code="401"),
    "firewall": Row(answer(b"<html>denied</html>", 403), AuthenticationFailed, code="403"),
    "html 400": Row(answer(b"<html>bad</html>", 400), InvalidRequest, code="400"),
    "credentials": Row(
        error("500.001.1001", "[MerchantValidate] - Wrong credentials"), AuthenticationFailed, code="500.001.1001"
    ),
    "credentials with 200": Row(
        error("500.001.1001", "[MerchantValidate] - Wrong credentials", 200), AuthenticationFailed, code="500.001.1001"
    ),
    "merchant": Row(error("500.001.1001", "Merchant does not exist"), AuthenticationFailed, code="500.001.1001"),
    "locked": Row(error("500.001.1001", LOCKED), RateLimited, code="500.001.1001", retry_after=60.0),
    "duplicate": Row(error("500.002.1001", "Duplicate OriginatorConversationID."), Conflict, code="500.002.1001"),
    "registered": Row(error("500.003.1001", "URLs are already registered"), Conflict, code="500.003.1001"),
    "notification": Row(error("500.003.1001", "Duplicate notification info"), Conflict, code="500.003.1001"),
    "busy": Row(error("500.003.02", "System is busy"), RateLimited, code="500.003.02", retry_after=30.0),
    "quota": Row(error("500.003.03", "Quota Violation"), RateLimited, code="500.003.03", retry_after=60.0),
    "429": Row(answer(b"", 429, **{"retry-after": "17"}), RateLimited, code="429", retry_after=17.0),
    "429 without": Row(answer(b"", 429), RateLimited, code="429", retry_after=30.0),
    "internal": Row(error("500.003.1001", "Internal Server Error"), OutcomeUnknown, ProviderUnavailable, code="500.003.1001"),
    "overloaded": Row(error("500.001.1001", ""), OutcomeUnknown, ProviderUnavailable, code="500.001.1001"),
    "overloaded with 200": Row(error("500.001.1001", "", 200), OutcomeUnknown, ProviderUnavailable, code="500.001.1001"),
    "gateway": Row(answer(b"<html>Bad gateway</html>", 502), OutcomeUnknown, ProviderUnavailable, code="502"),
    "gateway timeout": Row(answer(b"", 504), OutcomeUnknown, ProviderUnavailable, code="504"),
    "redirect": Row(answer(b"", 302), OutcomeUnknown, ProviderUnavailable, code="302"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_every_error_row_of_a_money_call(name: str) -> None:
    row = ERRORS[name]
    payments, http, _ = adapter(row.reply)
    with pytest.raises(ProviderError) as caught:
        payments.authorize(push())
    found = caught.value
    assert (type(found), found.provider_code, found.attr, found.retry_after) == (row.money, row.code, row.attr, row.retry_after)
    assert len(http.sent) == 1, "a money call is never repeated for an error"


@pytest.mark.parametrize("name", ERRORS)
def test_every_error_row_of_a_safe_call(name: str) -> None:
    row = ERRORS[name]
    payments, http, _ = adapter(row.reply)
    with pytest.raises(ProviderError) as caught:
        payments.receipt_status(ReceiptQuery("UGA3K7P2QX", CALLBACK))
    assert (type(caught.value), caught.value.provider_code) == (row.safe or row.money, row.code)
    assert len(http.sent) == 1


def test_an_echoed_secret_does_not_reach_the_error_text() -> None:
    echo = f"Bad Request - {SECRETS['passkey']} {SECRETS['consumer_secret']}"
    payments, _, _ = adapter(error("400.002.05", echo))
    with pytest.raises(InvalidRequest) as caught:
        payments.authorize(push())
    assert str(caught.value) == caught.value.message == "M-Pesa refused the request: Bad Request - •••• ••••"


def test_no_answer_of_the_client_passes_through_untouched() -> None:
    lost = OutcomeUnknown("The request was sent, but no answer came back.")
    payments, http, _ = adapter(lost)
    with pytest.raises(OutcomeUnknown) as caught:
        payments.authorize(push())
    assert caught.value is lost
    assert len(http.sent) == 1


@pytest.mark.parametrize("code", ["401.002.01", "401.003.01", "404.001.03", "400.003.01"])
def test_a_refused_token_is_fetched_anew_and_the_call_made_once_more(code: str) -> None:
    payments, http, tokens = adapter(error(code, "Invalid Access Token"), answer(fixture("oauth")), answer(fixture("stk_push")))
    assert payments.authorize(push()).provider_ref == CHECKOUT
    assert [sent.operation for sent in http.sent] == ["stk_push", "oauth", "stk_push"]
    assert http.sent[0].json == http.sent[2].json
    assert http.sent[2].headers["Authorization"] == "Bearer c9SQxWWhmdVRlyh0zh8gZDTkubVF"
    assert tokens.rejected == ["stored-token"]


def test_a_token_refused_twice_is_an_authentication_failure() -> None:
    refusal = error("404.001.03", "Invalid Access Token")
    payments, http, _ = adapter(refusal, answer(fixture("oauth")), refusal)
    with pytest.raises(AuthenticationFailed) as caught:
        payments.authorize(push())
    assert caught.value.provider_code == "404.001.03"
    assert len(http.sent) == 3


def test_oauth_request() -> None:
    payments, http, tokens = adapter(answer(fixture("oauth")), answer(fixture("stk_push")), token="")
    payments.authorize(push())
    sent = http.sent[0]
    assert (sent.method, sent.url, sent.operation, sent.safe) == ("GET", "/oauth/v1/generate", "oauth", True)
    assert sent.query == {"grant_type": "client_credentials"}
    assert sent.auth == ("canary-consumer-key", "canary-consumer-secret")
    assert tokens.token == "c9SQxWWhmdVRlyh0zh8gZDTkubVF"


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (answer(b"", 400), AuthenticationFailed),
        (error("400.008.01", "Invalid Authentication passed"), AuthenticationFailed),
        (answer(b"", 401), AuthenticationFailed),
        (answer(b"", 500), ProviderUnavailable),
        (answer(b"", 302), ProviderUnavailable),
        (error("500.003.02", "System is busy"), RateLimited),
        (answer(b"", 429), RateLimited),
        (answer(b"<html>"), ProviderUnavailable),
        (answer({"access_token": "x"}), ProviderUnavailable),
        (answer({"access_token": "x", "expires_in": "soon"}), ProviderUnavailable),
        (answer({"access_token": "x\r\nEvil: 1", "expires_in": "3599"}), ProviderUnavailable),
        (answer({"access_token": "", "expires_in": "3599"}), ProviderUnavailable),
        (answer({"access_token": "x", "expires_in": 0}), ProviderUnavailable),
    ],
)
def test_without_a_token_nothing_is_sent(reply: Reply, expected: type[ProviderError]) -> None:
    payments, http, _ = adapter(reply, token="")
    with pytest.raises(ProviderError) as caught:
        payments.authorize(push())
    assert type(caught.value) is expected
    assert [sent.operation for sent in http.sent] == ["oauth"]


def test_expires_in_may_be_a_number() -> None:
    payments, _, tokens = adapter(answer({"access_token": "abc", "expires_in": 3599}), answer(fixture("stk_push")), token="")
    payments.authorize(push())
    assert tokens.token == "abc"
