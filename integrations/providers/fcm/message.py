"""The body of a send request. Source: firebase.google.com, REST reference of `projects.messages` and "Customize a message
across platforms"; RFC 8030 for web push; read 2026-11.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from integrations.contracts.errors import InvalidRequest
from integrations.contracts.push import PushNotification

TOPIC = r"[A-Za-z0-9_.~%-]{1,900}"
INSTALLATION_ID = r"[cdef][A-Za-z0-9_-]{21}"
"""Firebase installation ids are 17 bytes whose first four bits are 0111, in base64url; registration tokens are far longer."""

LONGEST_TTL = 28 * 86_400
COLLAPSE_BYTES = 64
WEB_TOPIC = r"[A-Za-z0-9_-]{1,32}"
PAYLOAD_BYTES = 4096
TOPIC_PAYLOAD_BYTES = 2048
RESERVED_KEYS = frozenset({"from", "message_type"})
RESERVED_BEGINNINGS = ("google.", "gcm.notification.")
REF_KEY = "hub_message"
"""The member of `data` under which the app finds the hub's own id of this message."""


def check(notification: PushNotification) -> None:
    """Raise `InvalidRequest` for what Firebase would surely refuse."""
    target, topic = notification.target, notification.topic
    if (target is None) == (not topic):
        raise InvalidRequest("A notification goes to one device or to one topic.", attr="to")
    if target is not None and not re.fullmatch(r"[\x21-\x7e]{1,4096}", target.address):
        raise InvalidRequest("The device token is empty or holds characters that no token has.", attr="to")
    if topic:
        check_topic(topic)
    if notification.ttl is not None and not 0 <= notification.ttl <= LONGEST_TTL:
        raise InvalidRequest("The time to live is between 0 seconds and 28 days.", attr="ttl")
    if len(notification.collapse_key.encode()) > COLLAPSE_BYTES:
        raise InvalidRequest(f"The collapse key is longer than {COLLAPSE_BYTES} bytes.", attr="collapse_key")
    if notification.badge is not None and notification.badge < 0:
        raise InvalidRequest("The badge is a number from 0.", attr="badge")
    _check_data(notification.data)
    limit = TOPIC_PAYLOAD_BYTES if topic else PAYLOAD_BYTES
    if _payload_bytes(notification) > limit:
        raise InvalidRequest(f"Title, body and data together are longer than {limit} bytes.", attr="message")


def check_topic(topic: str) -> None:
    """Raise `InvalidRequest` for a name that no topic can have."""
    if not re.fullmatch(TOPIC, topic):
        raise InvalidRequest("A topic's name is of letters, digits and -_.~% (no /topics/ in front).", attr="topic")


def build(notification: PushNotification, *, now: datetime, android_channel: str, validate_only: bool) -> dict[str, Any]:
    """Return the JSON body. `validate_only`: Firebase checks the message and sends nothing."""
    message: dict[str, Any] = _target(notification)
    if not notification.silent:
        shown = {"title": notification.title, "body": notification.body, "image": notification.image_url}
        message["notification"] = {name: value for name, value in shown.items() if value}
    if data := _data(notification):
        message["data"] = data
    message["android"] = _android(notification, android_channel)
    message["apns"] = _apns(notification, now)
    message["webpush"] = _webpush(notification)
    return {"validate_only": True, "message": message} if validate_only else {"message": message}


def _target(notification: PushNotification) -> dict[str, Any]:
    if notification.target is None:
        return {"topic": notification.topic}
    address = notification.target.address
    return {"fid" if re.fullmatch(INSTALLATION_ID, address) else "token": address}


def _data(notification: PushNotification) -> dict[str, str]:
    data = dict(notification.data)
    if notification.link:
        data.setdefault("link", notification.link)
    ref = notification.target.ref if notification.target else notification.message_id
    return {**data, REF_KEY: ref} if ref else data


def _android(notification: PushNotification, channel: str) -> dict[str, Any]:
    found: dict[str, Any] = {"priority": "HIGH" if notification.urgent else "NORMAL"}
    if notification.ttl is not None:
        found["ttl"] = f"{notification.ttl}s"
    if notification.collapse_key:
        found["collapse_key"] = notification.collapse_key
    if not notification.silent:
        # The collapse key replaces what still waits for the device, the tag what it shows already.
        shown = {"channel_id": channel, "sound": notification.sound, "tag": notification.collapse_key}
        own: dict[str, Any] = {name: value for name, value in shown.items() if value}
        if notification.badge:
            own["notification_count"] = notification.badge
        if own:
            found["notification"] = own
    return found


def _apns(notification: PushNotification, now: datetime) -> dict[str, Any]:
    # Apple takes background pushes with priority 5 only.
    headers = {"apns-priority": "10" if notification.urgent and not notification.silent else "5"}
    if notification.silent:
        headers["apns-push-type"] = "background"
    if notification.ttl is not None:
        headers["apns-expiration"] = str(int(now.timestamp()) + notification.ttl) if notification.ttl else "0"
    if notification.collapse_key:
        headers["apns-collapse-id"] = notification.collapse_key
    aps: dict[str, Any] = {}
    if notification.silent:
        aps["content-available"] = 1
    elif notification.sound:
        aps["sound"] = notification.sound
    if notification.badge is not None:
        aps["badge"] = notification.badge
    if notification.image_url and not notification.silent:
        aps["mutable-content"] = 1  # lets the app's extension fetch the picture
    return {"headers": headers, "payload": {"aps": aps}} if aps else {"headers": headers}


def _webpush(notification: PushNotification) -> dict[str, Any]:
    headers = {"Urgency": "high" if notification.urgent else "normal"}
    if notification.ttl is not None:
        headers["TTL"] = str(notification.ttl)
    found: dict[str, Any] = {"headers": headers}
    if notification.collapse_key:
        headers["Topic"] = web_topic(notification.collapse_key)
        if not notification.silent:
            found["notification"] = {"tag": notification.collapse_key}
    if notification.link.startswith("https://"):  # Firebase refuses others here; the app finds them in `data`
        found["fcm_options"] = {"link": notification.link}
    return found


def web_topic(collapse_key: str) -> str:
    """Return the key as a web push topic (at most 32 characters of base64url): itself, or a digest where it does not fit."""
    if re.fullmatch(WEB_TOPIC, collapse_key):
        return collapse_key
    return base64.urlsafe_b64encode(hashlib.sha256(collapse_key.encode()).digest()).decode()[:32]


def _check_data(data: Mapping[str, str]) -> None:
    for key, value in data.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise InvalidRequest("Names and values in data are texts; write numbers and objects as text.", attr="data")
        if not key or key in RESERVED_KEYS or key == REF_KEY or key.startswith(RESERVED_BEGINNINGS):
            raise InvalidRequest(f"The name {key[:60]!r} can't be used in data.", attr="data")


def _payload_bytes(notification: PushNotification) -> int:
    """Return at least what Firebase counts: names and values of data, and what is shown."""
    data = sum(len(key.encode()) + len(value.encode()) for key, value in _data(notification).items())
    return data + len(notification.title.encode()) + len(notification.body.encode())
