"""Registering the hub's URL as a signed Event Webhook. Its public key is what the reports are verified with."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from integrations.contracts.adapter import ConfigView, Registration
from integrations.contracts.errors import InvalidRequest
from integrations.contracts.wire import Wire, WireError
from integrations.providers.sendgrid.calls import Calls
from integrations.providers.sendgrid.provider import P256_KEY
from integrations.providers.sendgrid.webhook import EVENTS

SETTINGS = "/v3/user/webhooks/event/settings"
OPERATION = "webhooks"
FRIENDLY_NAME = "Integrations Hub"
WANTED = (
    "processed", "deferred", "delivered", "bounce", "dropped", "spam_report", "unsubscribe", "group_unsubscribe",
    "group_resubscribe", "open", "click",
)  # fmt: skip


def register(calls: Calls, config: ConfigView, urls: Mapping[str, str]) -> Registration:
    """Have SendGrid post all its events to `urls["events"]`, signed. The webhook with this URL, else the one that was
    registered before, is kept and brought up to date; its key stays. Raises `ProviderError`."""
    url = urls.get(EVENTS)
    if not url:
        raise InvalidRequest("There is no URL to register.", provider=config.provider, attr=EVENTS)
    try:
        return _register(calls, str(config.get("webhook_id") or ""), url)
    except WireError as error:
        # Nothing is lost: the next try finds what this one made.
        raise calls.unreadable(error) from None


def _register(calls: Calls, stored: str, url: str) -> Registration:
    found = [each.raw for each in calls.read(f"{SETTINGS}/all", operation=OPERATION)["webhooks"].items()]
    # With no webhook at all the list holds one empty object.
    known = [each for each in found if isinstance(each, dict) and each.get("id")]
    kept = next((each for each in known if each.get("url") == url), None)
    if kept is None and stored:
        kept = next((each for each in known if each["id"] == stored), None)
    wanted: dict[str, Any] = {"enabled": True, "url": url, **dict.fromkeys(WANTED, True)}
    if kept is None:
        reply = calls.change("POST", SETTINGS, operation=OPERATION, json={**wanted, "friendly_name": FRIENDLY_NAME})
        ref = reply.json()["id"].text(max_length=64)
        said = f"SendGrid now posts its events to this URL (webhook {ref})."
    else:
        ref = Wire(kept)["id"].text(max_length=64)
        said = f"SendGrid posts its events to this URL already (webhook {ref})."
        if any(kept.get(name) != value for name, value in wanted.items()):
            calls.change("PATCH", f"{SETTINGS}/{ref}", operation=OPERATION, json=wanted)
            said = f"Webhook {ref} was brought up to date."
    return Registration(said, values={"webhook_id": ref, "webhook_public_key": _key(calls, ref)})


def _key(calls: Calls, ref: str) -> str:
    """Return the webhook's public key; signing is switched on where it is not. Whether switching it on again would change the
    key is unconfirmed, so it is looked at first."""
    path = f"{SETTINGS}/signed/{ref}"
    shown = calls.read(path, operation=OPERATION).get("public_key")
    key = shown.text(max_length=500) if shown is not None else ""
    if not key:
        reply = calls.change("PATCH", path, operation=OPERATION, json={"enabled": True})
        key = reply.json()["public_key"].text(max_length=500)
    if not re.fullmatch(P256_KEY, key):
        raise WireError("public_key is no P-256 key")
    return key
