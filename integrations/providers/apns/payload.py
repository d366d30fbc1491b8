"""The body and headers of one notification (developer.apple.com, "Generating a remote notification", 2026-11)."""

from __future__ import annotations

import json
import re
import uuid
from datetime import datetime
from typing import Any

from integrations.contracts.errors import InvalidRequest, UnsupportedOperation
from integrations.contracts.push import PushNotification

PAYLOAD_LIMIT = 4096
COLLAPSE_LIMIT = 64
TOKEN_LIMIT = 400
REF_KEY = "hub_message"
"""Our note on this recipient: the app's backend may bring it back to say that the notification was shown or opened."""
# Names our apns-ids: the same note gives the same id, on every machine.
ID_NAMESPACE = uuid.UUID("5b4d4f3e-7f0c-5d0e-9a53-1c0a3d6f2b71")


def device_token(notification: PushNotification) -> str:
    """Return the device's token as Apple wants it in the path; raise `UnsupportedOperation` for a topic's notification and
    `InvalidRequest` (attr `to`) for what can't be a token."""
    if notification.target is None or notification.topic:
        raise UnsupportedOperation("Apple's service sends to devices; it has no topics to follow.", attr="topic")
    token = notification.target.address.strip().lower()
    # Of variable length, says Apple: so only what it is written with is checked.
    if len(token) > TOKEN_LIMIT or not re.fullmatch(r"([0-9a-f]{2}){8,}", token):
        raise InvalidRequest("A device token is written in hexadecimal digits.", attr="to")
    return token


def apns_id(notification: PushNotification) -> str:
    """Return the notification's id at Apple: it follows from our note on this recipient and try, else from the message."""
    target = notification.target
    name = (target.ref or f"{notification.message_id} {target.address.strip().lower()}") if target else notification.message_id
    return str(uuid.uuid5(ID_NAMESPACE, name))


def body(notification: PushNotification) -> bytes:
    """Return the JSON body; raise `InvalidRequest` where it breaks a limit or `data` would replace Apple's own part."""
    for taken in ("aps", REF_KEY):
        if taken in notification.data:
            raise InvalidRequest(f"`{taken}` is a name that data can't have.", attr="data")
    aps: dict[str, Any] = {}
    alert = {name: text for name, text in (("title", notification.title), ("body", notification.body)) if text}
    if alert:
        aps["alert"] = alert
    if notification.sound:
        aps["sound"] = notification.sound
    if notification.badge is not None:
        aps["badge"] = notification.badge
    if notification.image_url and alert:
        aps["mutable-content"] = 1  # lets the app's service extension fetch the picture
    if not aps:
        aps["content-available"] = 1
    ref = notification.target.ref if notification.target else ""
    given = ((REF_KEY, ref), ("image_url", notification.image_url), ("link", notification.link))
    own = {name: text for name, text in given if text}
    encoded = json.dumps({**notification.data, **own, "aps": aps}, ensure_ascii=False, separators=(",", ":")).encode()
    if len(encoded) > PAYLOAD_LIMIT:
        raise InvalidRequest(
            f"The notification is too large: {len(encoded)} bytes, Apple takes {PAYLOAD_LIMIT}.", attr="message"
        )
    return encoded


def headers(notification: PushNotification, *, bundle_id: str, now: datetime) -> dict[str, str]:
    """Return Apple's headers, all but the authorization; raise `InvalidRequest` (attr `collapse_key` or `ttl`)."""
    # A badge or a sound is seen or heard: "background" is for what nobody notices, and Apple lets it have neither.
    background = notification.silent and not notification.sound and notification.badge is None
    found = {
        "apns-id": apns_id(notification),
        "apns-topic": notification.app or bundle_id,
        "apns-push-type": "background" if background else "alert",
        "apns-priority": "10" if notification.urgent and not background else "5",
    }
    if notification.ttl is not None:
        if notification.ttl < 0:
            raise InvalidRequest("A lifetime is not negative.", attr="ttl")
        # 0 means: try once, store nothing. Another value is a moment, not a span.
        found["apns-expiration"] = str(int(now.timestamp()) + notification.ttl) if notification.ttl else "0"
    if notification.collapse_key:
        if len(notification.collapse_key.encode()) > COLLAPSE_LIMIT or not notification.collapse_key.isascii():
            raise InvalidRequest(f"A collapse key has at most {COLLAPSE_LIMIT} plain characters.", attr="collapse_key")
        found["apns-collapse-id"] = notification.collapse_key
    return found
