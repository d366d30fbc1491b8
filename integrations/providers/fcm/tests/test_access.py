"""The signed assertion and the access token."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from integrations.contracts.capabilities import Environment
from integrations.contracts.errors import AuthenticationFailed, ProviderError, ProviderUnavailable, RateLimited
from integrations.providers.fcm.account import read_account
from integrations.providers.fcm.calls import sign_assertion
from integrations.providers.fcm.tests.support import (
    EMAIL,
    NOW,
    MemoryTokens,
    RecordingHttp,
    fixture,
    key_file,
    make_adapter,
    notification,
    private_key,
    view,
)

GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
TOKEN = "ya29.c.b0Aaekm1K-canary-of-a-token"


def decoded(part: str) -> Any:
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def test_the_assertion_is_as_google_documents_it_and_verifies() -> None:
    header, claims, signature = sign_assertion(read_account(key_file()), NOW).split(".")
    assert decoded(header) == {"alg": "RS256", "typ": "JWT", "kid": "3f9c0a7be1d24586a0f1b2c3d4e5f60718293a4b"}
    assert decoded(claims) == {
        "iss": EMAIL,
        "scope": "https://www.googleapis.com/auth/firebase.messaging",
        "aud": "https://oauth2.googleapis.com/token",
        "iat": 1795250600,
        "exp": 1795254200,
    }
    assert "=" not in header + claims + signature
    raw = base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4))
    private_key().public_key().verify(raw, f"{header}.{claims}".encode(), padding.PKCS1v15(), hashes.SHA256())


def test_a_token_is_fetched_for_the_assertion_and_used(http: RecordingHttp) -> None:
    tokens = MemoryTokens()
    http.answer(fixture("token.json"))
    http.answer(fixture("sent.json"))
    make_adapter(http, tokens=tokens).send(notification())
    token, send = http.calls
    assertion = token["form"].pop("assertion")
    assert token == {
        "method": "POST",
        "url": "https://oauth2.googleapis.com/token",
        "operation": "token",
        "safe": True,
        "form": {"grant_type": GRANT},
        "headers": {"Accept": "application/json"},
    }
    assert assertion == sign_assertion(read_account(key_file()), NOW)
    assert send["headers"]["Authorization"] == f"Bearer {TOKEN}"
    assert tokens.lives == [3419.0], "three minutes before its end, and the store takes one more off"


@pytest.mark.parametrize("environment", [Environment.PRODUCTION, Environment.SANDBOX])
def test_the_uploaded_token_uri_is_never_called(http: RecordingHttp, environment: Environment) -> None:
    http.answer(fixture("token.json"))
    http.answer(fixture("sent.json"))
    config = view(environment, service_account=key_file(token_uri="https://evil.example/token"))
    make_adapter(http, config, MemoryTokens()).send(notification())
    assert [call["url"] for call in http.calls] == [
        "https://oauth2.googleapis.com/token",
        "/v1/projects/shop-prod/messages:send",
    ]


@pytest.mark.parametrize(("told", "life"), [(3599, 3419.0), (999_999, 3420.0), (60, 1.0), ("300", 120.0)])
def test_how_long_a_token_is_kept(http: RecordingHttp, told: Any, life: float) -> None:
    tokens = MemoryTokens()
    http.answer(json.dumps({"access_token": "t", "expires_in": told, "token_type": "Bearer"}).encode())
    http.answer(fixture("sent.json"))
    make_adapter(http, tokens=tokens).send(notification())
    assert tokens.lives == [life]


@pytest.mark.parametrize(
    ("status", "body", "error_class", "code"),
    [
        (400, fixture("token_refused.json"), AuthenticationFailed, "invalid_grant"),
        (401, b'{"error":"invalid_client"}', AuthenticationFailed, "invalid_client"),
        (403, b'{"error":{"code":403,"message":"x"}}', AuthenticationFailed, "403"),
        (400, b'{"error":"server_error"}', ProviderUnavailable, "server_error"),
        (400, b"", AuthenticationFailed, "400"),
        (429, b"", RateLimited, "429"),
        (500, b"", ProviderUnavailable, "500"),
        (503, b"<html>", ProviderUnavailable, "503"),
        (302, b"", ProviderUnavailable, "302"),
        (404, b"", ProviderUnavailable, "404"),
    ],
)
def test_no_token_no_message(
    http: RecordingHttp, status: int, body: bytes, error_class: type[ProviderError], code: str
) -> None:
    tokens = MemoryTokens()
    http.answer(body, status)
    with pytest.raises(ProviderError) as caught:
        make_adapter(http, tokens=tokens).send(notification())
    assert (type(caught.value), caught.value.provider_code) == (error_class, code)
    assert [call["operation"] for call in http.calls] == ["token"]
    assert tokens.held == ""


def test_googles_reason_is_shown(http: RecordingHttp) -> None:
    http.answer(fixture("token_refused.json"), 400)
    with pytest.raises(AuthenticationFailed) as caught:
        make_adapter(http, tokens=MemoryTokens()).send(notification())
    assert caught.value.message == "Google refused the service account: Invalid JWT Signature."


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"expires_in":3599}',
        b'{"access_token":"t"}',
        b'{"access_token":"t","expires_in":"soon"}',
        b'{"access_token":"a\\r\\nb","expires_in":3599}',
        b'{"access_token":"","expires_in":3599}',
    ],
)
def test_an_unreadable_token_may_be_fetched_again(http: RecordingHttp, body: bytes) -> None:
    http.answer(body)
    with pytest.raises(ProviderUnavailable):
        make_adapter(http, tokens=MemoryTokens()).send(notification())
    assert len(http.calls) == 1


def test_a_refused_token_is_dropped_and_the_call_made_once_more(http: RecordingHttp) -> None:
    tokens = MemoryTokens("stale")
    http.answer(fixture("error__unauthenticated.json"), 401)
    http.answer(fixture("token.json"))
    http.answer(fixture("sent.json"))
    assert make_adapter(http, tokens=tokens).send(notification()).state == "sent"
    assert [call["operation"] for call in http.calls] == ["send", "token", "send"]
    assert [call["headers"].get("Authorization") for call in http.calls] == ["Bearer stale", None, f"Bearer {TOKEN}"]
    assert http.calls[0]["json"] == http.calls[2]["json"]
    assert tokens.fetched == 1


def test_a_token_that_is_refused_twice_is_not_tried_a_third_time(http: RecordingHttp) -> None:
    http.answer(fixture("error__unauthenticated.json"), 401)
    http.answer(fixture("token.json"))
    http.answer(b"", 401)
    with pytest.raises(AuthenticationFailed):
        make_adapter(http, tokens=MemoryTokens("stale")).send(notification())
    assert len(http.calls) == 3


@pytest.mark.parametrize("text", ["not json", key_file(type="authorized_user"), key_file(private_key="x")])
def test_a_stored_key_file_that_is_damaged_is_the_config_s_fault(http: RecordingHttp, text: str) -> None:
    with pytest.raises(AuthenticationFailed) as caught:
        make_adapter(http, view(service_account=text), MemoryTokens()).send(notification())
    assert text not in caught.value.message
    assert http.calls == []
