"""Registering the hub's URL for a domain's webhooks, and fetching the key with which they are signed."""

from __future__ import annotations

from collections.abc import Mapping

from integrations.contracts.adapter import Registration
from integrations.contracts.errors import AuthenticationFailed, Conflict, InvalidRequest
from integrations.contracts.wire import Wire, WireError
from integrations.providers.mailgun.calls import Calls
from integrations.providers.mailgun.codes import URLS_PER_TYPE, WEBHOOK_TYPES
from integrations.providers.mailgun.webhook import EVENTS

KEY_PATH = "/v5/accounts/http_signing_key"


def register(calls: Calls, domain: str, urls: Mapping[str, str]) -> Registration:
    """Make Mailgun call `urls["events"]` for each type; URLs of others stay. The signing key is stored where the key may
    read it. Raises `Conflict` where a type has all the URLs it can have, before anything is changed."""
    url = urls.get(EVENTS)
    if not url:
        raise InvalidRequest("There is no URL to register.", attr=EVENTS)
    path = f"/v3/domains/{domain}/webhooks"
    known = _known(calls, calls.get(path, operation="webhooks"))
    missing = [kind for kind in WEBHOOK_TYPES if url not in known.get(kind, [])]
    full = [kind for kind in missing if len(known.get(kind, [])) >= URLS_PER_TYPE]
    if full:
        raise Conflict(f"Mailgun calls {URLS_PER_TYPE} URLs already for: {', '.join(full)}. Remove one there.")
    for kind in missing:
        others = known.get(kind, [])
        if others:
            calls.write("PUT", f"{path}/{kind}", [("url", each) for each in (*others, url)], operation="webhooks")
        else:
            calls.write("POST", path, [("id", kind), ("url", url)], operation="webhooks")
    said = f"Mailgun now calls this URL for {len(missing)} types of events." if missing else "Mailgun calls this URL already."
    key = _signing_key(calls)
    if not key:
        return Registration(f"{said} This API key may not read the HTTP webhook signing key: paste it into the config.")
    return Registration(f"{said} The signing key is stored.", secrets={"webhook_signing_key": key})


def _known(calls: Calls, answer: Wire) -> dict[str, list[str]]:
    """Return the URLs by type; a type without any is null or absent."""
    try:
        webhooks = answer["webhooks"]
        found = {}
        for kind in WEBHOOK_TYPES:
            entry = webhooks.get(kind)
            urls = entry.get("urls") if entry is not None else None
            found[kind] = [each.text() for each in urls.items()] if urls is not None else []
        return found
    except WireError as error:
        raise calls.unreadable(error, sending=False) from None


def _signing_key(calls: Calls) -> str:
    try:
        key = calls.get(KEY_PATH, operation="signing_key").get("http_signing_key")
        return key.text(max_length=200) if key is not None else ""
    except (AuthenticationFailed, InvalidRequest):
        # A key of a single domain, or of a role that may not see it.
        return ""
    except WireError as error:
        raise calls.unreadable(error, sending=False) from None
