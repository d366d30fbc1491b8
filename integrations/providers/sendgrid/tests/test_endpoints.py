"""Registering the hub's URL as a signed Event Webhook."""

from __future__ import annotations

import json
from typing import Any

import pytest

from integrations.contracts.errors import InvalidRequest, ProviderUnavailable
from integrations.providers.sendgrid.tests.conftest import RecordingHttp, fixture, make_adapter, view

KEY = json.loads(fixture("signature__vector.json"))["public_key"]
HOOK = "https://hub.example/hooks/" + "ab" * 20 + "/events"
FLAGS = (
    "processed", "deferred", "delivered", "bounce", "dropped", "spam_report", "unsubscribe", "group_unsubscribe",
    "group_resubscribe", "open", "click",
)  # fmt: skip


def hook(ref: str = "w1", **changes: Any) -> dict[str, Any]:
    return {"id": ref, "url": HOOK, "enabled": True, **dict.fromkeys(FLAGS, True), **changes}


def listed(*hooks: dict[str, Any]) -> bytes:
    return json.dumps({"max_allowed": 5, "webhooks": list(hooks)}).encode()


def signed(key: str = KEY) -> bytes:
    return json.dumps({"id": "w1", "public_key": key}).encode()


def test_registering_makes_a_signed_webhook(http: RecordingHttp) -> None:
    http.answer(fixture("webhooks__none.json"))
    http.answer(json.dumps(hook()).encode(), 201)
    http.answer(signed(""))
    http.answer(signed())
    result = make_adapter(http).register_webhooks({"events": HOOK})
    assert (result.values, result.secrets) == ({"webhook_id": "w1", "webhook_public_key": KEY}, {})
    assert [(call["method"], call["url"], call.get("json")) for call in http.calls] == [
        ("GET", "/v3/user/webhooks/event/settings/all", None),
        (
            "POST",
            "/v3/user/webhooks/event/settings",
            {"enabled": True, "url": HOOK, **dict.fromkeys(FLAGS, True), "friendly_name": "Integrations Hub"},
        ),
        ("GET", "/v3/user/webhooks/event/settings/signed/w1", None),
        ("PATCH", "/v3/user/webhooks/event/settings/signed/w1", {"enabled": True}),
    ]


def test_registering_twice_changes_nothing(http: RecordingHttp) -> None:
    http.answer(listed(hook("w0", url="https://other.example"), hook()))
    http.answer(signed())
    result = make_adapter(http).register_webhooks({"events": HOOK})
    assert result.values == {"webhook_id": "w1", "webhook_public_key": KEY}
    assert [call["method"] for call in http.calls] == ["GET", "GET"]


@pytest.mark.parametrize("changes", [{"url": "https://old.example/hooks/events"}, {"enabled": False}, {"open": False}])
def test_the_webhook_of_before_is_brought_up_to_date(http: RecordingHttp, changes: dict[str, Any]) -> None:
    http.answer(listed(hook(**changes)))
    http.answer(json.dumps(hook()).encode())
    http.answer(signed())
    result = make_adapter(http, view(webhook_id="w1")).register_webhooks({"events": HOOK})
    assert result.detail == "Webhook w1 was brought up to date."
    assert (http.calls[1]["method"], http.calls[1]["url"]) == ("PATCH", "/v3/user/webhooks/event/settings/w1")
    assert http.calls[1]["json"] == {"enabled": True, "url": HOOK, **dict.fromkeys(FLAGS, True)}


def test_no_more_webhooks_allowed(http: RecordingHttp) -> None:
    http.answer(listed())
    http.refuse(400, ("You have reached the maximum number of webhooks per your current billing plan.", None))
    with pytest.raises(InvalidRequest) as caught:
        make_adapter(http).register_webhooks({"events": HOOK})
    assert caught.value.message.startswith("You have reached the maximum")


@pytest.mark.parametrize("key", ["123publickeyabc", "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE"])
def test_a_key_that_is_none_is_not_stored(http: RecordingHttp, key: str) -> None:
    http.answer(listed(hook()))
    http.answer(signed(key))
    with pytest.raises(ProviderUnavailable):
        make_adapter(http).register_webhooks({"events": HOOK})


def test_there_must_be_a_url(http: RecordingHttp) -> None:
    with pytest.raises(InvalidRequest):
        make_adapter(http).register_webhooks({})
    assert http.calls == []
