"""The access token, the connection test, and the registration of webhooks."""

from __future__ import annotations

from typing import Any

import pytest

from integrations.contracts.adapter import Registration
from integrations.contracts.errors import AuthenticationFailed, InvalidRequest, ProviderError, ProviderUnavailable
from integrations.contracts.payment import PaymentState
from integrations.providers.pesapal.tests.support import (
    BEARER,
    HOOK,
    IPN_ID,
    SECRETS,
    Sent,
    adapter,
    answer,
    config,
    error,
    fixture,
    order,
    query,
    refund,
)

URL = f"{HOOK}/ipn"
TOKEN = fixture("token")["token"]
KEYS = {"consumer_key": "canary-consumer-key=", "consumer_secret": "canary-consumer-secret="}


def test_a_token_is_fetched_with_the_keys_stripped_of_blanks() -> None:
    gateway, http, tokens = adapter(answer(fixture("token")), answer(fixture("status_unpaid")), token="")
    gateway.payment_status(query())
    headers = {"Accept": "application/json", "Content-Type": "application/json"}
    assert http.sent[0] == Sent("POST", "/api/Auth/RequestToken", "token", True, KEYS, None, headers)
    assert http.sent[1].headers["Authorization"] == f"Bearer {TOKEN}"
    assert [each.expires_in for each in tokens.fetched] == [300.0]


@pytest.mark.parametrize(
    ("expiry", "seconds"),
    [
        ("2026-07-10T07:15:45.7793772Z", 3600.0),
        ("2026-07-11T07:15:45.7793772Z", 3600.0),
        ("2026-07-10T06:16:45.7793772Z", 60.0),
        ("2026-07-10T06:00:00.0000000Z", 1.0),
        ("soon", 300.0),
        (None, 300.0),
    ],
)
def test_the_expiry_date_is_obeyed(expiry: Any, seconds: float) -> None:
    gateway, _, tokens = adapter(answer(fixture("token", expiryDate=expiry)), answer(fixture("status_unpaid")), token="")
    gateway.payment_status(query())
    assert [each.expires_in for each in tokens.fetched] == [seconds]


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (answer(fixture("token_refused")), AuthenticationFailed),
        (error("consumer_key_unknown"), AuthenticationFailed),
        (error("invalid_api_request_parameters"), AuthenticationFailed),
        (answer({}, 401), AuthenticationFailed),
        (answer(b"", 400), AuthenticationFailed),
        (answer(b"<html>", 503), ProviderUnavailable),
        (answer({"status": "200"}), ProviderUnavailable),
        (answer({"token": "two words", "status": "200"}), ProviderUnavailable),
    ],
)
def test_no_token_no_call(reply: Any, kind: type[ProviderError]) -> None:
    gateway, http, _ = adapter(reply, token="")
    with pytest.raises(kind) as caught:
        gateway.refund(refund())
    assert type(caught.value) is kind
    assert [each.operation for each in http.sent] == ["token"]
    for secret in SECRETS.values():
        assert secret.strip() not in str(caught.value)


@pytest.mark.parametrize("refused", [answer({}, 401), answer(b"", 401), answer({"status": "401"}), error("invalid_token")])
def test_a_refused_token_is_renewed_once(refused: Any) -> None:
    gateway, http, tokens = adapter(refused, answer(fixture("token")), answer(fixture("order_created")))
    assert gateway.authorize(order()).state is PaymentState.REQUIRES_ACTION
    assert [each.operation for each in http.sent] == ["authorize", "token", "authorize"]
    assert tokens.rejected == ["stored-token"]
    assert http.sent[0].json == http.sent[2].json


def test_a_token_refused_twice_is_a_matter_of_the_credentials() -> None:
    gateway, http, _ = adapter(answer({}, 401), answer(fixture("token")), answer({}, 401))
    with pytest.raises(AuthenticationFailed):
        gateway.refund(refund())
    assert [each.operation for each in http.sent] == ["refund", "token", "refund"]


def test_a_secret_that_is_echoed_is_not_shown() -> None:
    gateway, _, _ = adapter(error("odd", f"bad secret {SECRETS['consumer_key']}"))
    result = gateway.authorize(order())
    assert result.failure is not None
    assert SECRETS["consumer_key"] not in result.failure.message
    assert "••••" in result.failure.message


# --- connection test


@pytest.mark.parametrize(
    ("ipn_id", "listed", "ok", "status"),
    [
        (IPN_ID, [fixture("ipn_registered")], True, "ok"),
        (IPN_ID.upper(), [fixture("ipn_registered")], True, "ok"),
        (IPN_ID, [], False, "webhooks_unknown"),
    ],
)
def test_the_connection_test_looks_for_the_notification_id(ipn_id: str, listed: list[Any], ok: bool, status: str) -> None:
    gateway, http, _ = adapter(answer(fixture("token")), answer(listed), view=config(ipn_id=ipn_id))
    result = gateway.test_connection()
    assert (result.ok, result.status) == (ok, status)
    assert [(each.operation, each.safe) for each in http.sent] == [("token", True), ("list_ipns", True)]


def test_the_connection_test_says_that_webhooks_are_missing() -> None:
    gateway, http, _ = adapter(answer(fixture("token")), view=config(ipn_id=None))
    assert "register the webhooks" in gateway.test_connection().detail
    assert [each.operation for each in http.sent] == ["token"]


# --- webhooks


def test_an_address_is_registered_once() -> None:
    gateway, http, _ = adapter(answer([]), answer(fixture("ipn_registered")))
    assert gateway.register_webhooks({"ipn": URL}) == Registration(
        "Pesapal now reports changes of payments here.", {"ipn_id": IPN_ID}
    )
    assert http.sent == [
        Sent("GET", "/api/URLSetup/GetIpnList", "list_ipns", True, None, None, BEARER),
        Sent(
            "POST",
            "/api/URLSetup/RegisterIPN",
            "register_ipn",
            True,
            {"url": URL, "ipn_notification_type": "POST"},
            None,
            BEARER,
        ),
    ]


@pytest.mark.parametrize(
    "entry",
    [
        fixture("ipn_registered", url=URL),
        {"url": URL, "created_date": "2026-07-10T06:15:46Z", "ipn_id": IPN_ID, "error": None, "status": "200"},
    ],
)
def test_an_address_that_is_there_is_used(entry: Any) -> None:
    gateway, http, _ = adapter(answer([fixture("ipn_registered"), entry]))
    assert gateway.register_webhooks({"ipn": URL}).values == {"ipn_id": IPN_ID}
    assert [each.operation for each in http.sent] == ["list_ipns"]


@pytest.mark.parametrize("changed", [{"ipn_status": 0}, {"notification_type": 0}, {"url": f"{URL}x"}, {"ipn_id": None}])
def test_an_address_that_does_not_serve_is_registered_anew(changed: dict[str, Any]) -> None:
    listed = [fixture("ipn_registered", **{"url": URL, **changed})]
    gateway, http, _ = adapter(answer(listed), answer(fixture("ipn_registered", ipn_id="new-id")))
    assert gateway.register_webhooks({"ipn": URL}).values == {"ipn_id": "new-id"}
    assert [each.operation for each in http.sent] == ["list_ipns", "register_ipn"]


@pytest.mark.parametrize(
    ("replies", "kind"),
    [
        ((answer([]), error("invalid_url", "No")), InvalidRequest),
        ((answer([]), answer({"status": "200"})), ProviderUnavailable),
        ((error("oops"),), ProviderUnavailable),
        ((answer({"status": "200"}),), ProviderUnavailable),
    ],
)
def test_a_registration_that_did_not_happen(replies: tuple[Any, ...], kind: type[ProviderError]) -> None:
    gateway, _, _ = adapter(*replies)
    with pytest.raises(kind) as caught:
        gateway.register_webhooks({"ipn": URL})
    assert type(caught.value) is kind
