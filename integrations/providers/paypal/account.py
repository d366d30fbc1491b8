"""The connection test, and the registration of the app's webhook."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from integrations.contracts.adapter import ConfigView, Registration, TestResult
from integrations.contracts.capabilities import Environment
from integrations.contracts.errors import BadReply, InvalidRequest, ProviderUnavailable
from integrations.contracts.wire import Wire, WireError
from integrations.providers.paypal.calls import Refused, Rest, path
from integrations.providers.paypal.reading import text
from integrations.providers.paypal.webhook import EVENTS, SUBSCRIBED

WEBHOOKS = "/v1/notifications/webhooks"


def check_connection(rest: Rest, config: ConfigView) -> TestResult:
    """See `PaypalPayments.test_connection`."""
    rest.check_credentials()
    found = ["client id and secret accepted"]
    try:
        known = {text(each, "id") for each in _webhooks(rest)}
    except Refused as refused:
        raise refused.error() from None
    if not config.get("webhook_id"):
        found.append("no webhook registered yet: payments are found by asking only")
    elif config.webhook_id in known:
        found.append("webhook registered")
    else:
        return TestResult(ok=False, status="webhook_missing", detail="PayPal does not know this webhook id: register it anew.")
    said = "; ".join(found)
    return TestResult(ok=True, status="ok", detail=f"{said[0].upper()}{said[1:]}.")


def register(rest: Rest, config: ConfigView, urls: Mapping[str, str]) -> Registration:
    """See `PaypalPayments.register_webhooks`."""
    url = urls[EVENTS]
    parts = urlsplit(url)
    if config.environment is not Environment.SIMULATOR and (parts.scheme != "https" or parts.port not in (None, 443)):
        raise InvalidRequest("PayPal calls back over https on port 443 only: change the hub's public address.")
    try:
        found = _webhooks(rest)
        mine = next((each for each in found if text(each, "url") == url), None) or next(
            (each for each in found if config.get("webhook_id") and text(each, "id") == config.webhook_id), None
        )
        if mine is None:
            body = {"url": url, "event_types": _event_types()}
            made = rest.send("POST", WEBHOOKS, body, operation="webhook_register", safe=True)
            return _registered(text(made, "id"), "PayPal now sends its events here.")
        number = text(mine, "id")
        if changes := _changes(mine, url):
            rest.send(
                "PATCH", path("v1", "notifications", "webhooks", number), changes, operation="webhook_register", safe=True
            )
            return _registered(number, "PayPal's webhook was brought up to date.")
    except Refused as refused:
        raise refused.error() from None
    return _registered(number, "PayPal sends its events here already.")


def _registered(number: str, detail: str) -> Registration:
    if not number:
        raise BadReply("PayPal did not name the webhook.", provider_code="unreadable")
    return Registration(detail, values={"webhook_id": number})


def _event_types() -> list[dict[str, str]]:
    return [{"name": SUBSCRIBED}]


def _changes(webhook: Wire, url: str) -> list[dict[str, Any]]:
    changes: list[dict[str, Any]] = []
    names = {text(each, "name") for each in (webhook.get("event_types") or Wire([])).items()}
    if text(webhook, "url") != url:
        changes.append({"op": "replace", "path": "/url", "value": url})
    if SUBSCRIBED not in names:
        changes.append({"op": "replace", "path": "/event_types", "value": _event_types()})
    return changes


def _webhooks(rest: Rest) -> list[Wire]:
    wire = rest.get(WEBHOOKS, operation="webhooks")
    try:
        return list((wire.get("webhooks") or Wire([])).items())
    except WireError as error:
        raise ProviderUnavailable(f"PayPal's answer could not be read: {error}.", provider_code="unreadable") from None
