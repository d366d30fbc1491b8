"""Connection test and webhook registration, against the simulator."""

from __future__ import annotations

import pytest

from integrations.contracts.capabilities import Environment
from integrations.contracts.errors import AuthenticationFailed, InvalidRequest
from integrations.providers.paypal.tests.hub import Hub
from integrations.providers.paypal.tests.support import adapter, answer, error

URL = "https://hub.example/hooks/0123456789abcdef/events"


def test_connection(school: Hub) -> None:
    found = school.adapter().test_connection()
    assert (found.ok, found.status, found.detail) == (True, "ok", "Client id and secret accepted; webhook registered.")
    plain = school.adapter(webhook_id=None).test_connection()
    assert plain.ok
    assert "no webhook registered yet" in plain.detail
    foreign = school.adapter(webhook_id="0AAAAAAAAAAAAAAAA").test_connection()
    assert (foreign.ok, foreign.status) == (False, "webhook_missing")


def test_connection_without_permission() -> None:
    token = answer({"access_token": "new", "expires_in": 32400})
    made, _http = adapter(token, error(403, "PERMISSION_DENIED", "NOT_AUTHORIZED"))
    made._rest._tokens.token = ""  # type: ignore[attr-defined]
    with pytest.raises(AuthenticationFailed):
        made.test_connection()


def test_registering_points_the_known_webhook_here(school: Hub) -> None:
    first = school.adapter().register_webhooks({"events": URL})
    assert first.values == {"webhook_id": school.account.values["webhook_id"]}
    again = school.adapter().register_webhooks({"events": URL})
    assert again.values == first.values
    assert "already" in again.detail
    assert [each["method"] for each in school.asked("webhook_register")] == ["PATCH"]
    (webhook,) = school.control("GET", "/state")["accounts"][0]["webhooks"]
    assert webhook == {"id": first.values["webhook_id"], "url": URL, "events": ["*"]}


def test_registering_makes_a_webhook_where_there_is_none(school: Hub) -> None:
    first = school.adapter(webhook_id=None).register_webhooks({"events": URL})
    assert first.values["webhook_id"] != school.account.values["webhook_id"]
    assert school.adapter(webhook_id=None).register_webhooks({"events": URL}).values == first.values
    sent = school.asked("webhook_register")
    assert [(each["method"], each["body"]) for each in sent] == [("POST", {"url": URL, "event_types": [{"name": "*"}]})]


def test_a_narrower_subscription_is_widened(school: Hub) -> None:
    made = school.adapter(webhook_id=None).register_webhooks({"events": URL})
    number = made.values["webhook_id"]
    store = school.running.store
    kept = store.get("paypal", "setup", f"webhook {number}")
    assert kept is not None
    store.put("paypal", "setup", f"webhook {number}", {**kept, "events": ["PAYMENT.CAPTURE.COMPLETED"]}, "webhooks school")
    school.adapter(webhook_id=None).register_webhooks({"events": URL})
    found = store.get("paypal", "setup", f"webhook {number}")
    assert found is not None
    assert found["events"] == ["*"]


@pytest.mark.parametrize("url", ["http://hub.example/hooks/x/events", "https://hub.example:8443/hooks/x/events"])
def test_addresses_that_paypal_does_not_call(school: Hub, url: str) -> None:
    made, http = adapter()
    with pytest.raises(InvalidRequest):
        made.register_webhooks({"events": url})
    assert http.sent == []
    assert made.config.environment is Environment.SANDBOX
    with pytest.raises(InvalidRequest):
        school.adapter(webhook_id=None).register_webhooks({"events": url})
