"""What Firebase's refusals mean. Sources: firebase.google.com, "FCM error codes" and `ErrorCode` of the REST reference;
google.rpc error details; answers shown in issues of the admin SDKs (fixtures/SOURCES.md); read 2026-11.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

from integrations.contracts.adapter import Reply
from integrations.contracts.wire import WireError

FCM_ERROR = "google.firebase.fcm.v1.FcmError"
APNS_ERROR = "google.firebase.fcm.v1.ApnsError"
BAD_REQUEST = "google.rpc.BadRequest"
ERROR_INFO = "google.rpc.ErrorInfo"

TARGET_FIELDS = frozenset({"message.token", "message.fid"})
LONGEST_WAIT = 3600.0
TEXT_LIMIT = 300

# Which field of the hub's request the refused one came from; the first that fits, by how the path begins.
FIELDS = (
    ("message.data", "data"),
    ("message.topic", "topic"),
    ("message.condition", "topic"),
    ("message.android.ttl", "ttl"),
    ("message.android.collapse_key", "collapse_key"),
    ("message.webpush.fcm_options.link", "link"),
    ("message.notification.image", "image_url"),
    ("message.token", "to"),
    ("message.fid", "to"),
)


@dataclass(frozen=True, slots=True)
class Problem:
    """A refusal's parts; empty where the body has none. `code` is FCM's own, `status` Google's general one, `fields` are the
    paths of refused fields, `reason` Google's machine-readable ground, `apns` Apple's."""

    http_status: int
    status: str = ""
    code: str = ""
    message: str = ""
    fields: tuple[str, ...] = ()
    reason: str = ""
    apns: str = ""

    @property
    def shown_code(self) -> str:
        return self.code or self.reason or self.status or str(self.http_status)

    @property
    def attr(self) -> str:
        """Return the field of the hub's request that this is about: `message` where it is not known more exactly."""
        first = _snake(self.fields[0]) if self.fields else ""
        return next((attr for begin, attr in FIELDS if first.startswith(begin)), "message")

    @property
    def blames_token(self) -> bool:
        """Tell whether an INVALID_ARGUMENT is about the device's token alone.

        FCM says INVALID_ARGUMENT for a malformed token and for a bad payload alike, and sometimes with its own error detail
        for both ("message is too big"). Only a named field or its sentence about tokens convicts the token: a device that is
        kept by mistake costs one refusal, one that is deleted by mistake is lost.
        """
        if self.code != "INVALID_ARGUMENT" or self.apns:
            return False
        if self.fields:
            return {_snake(each) for each in self.fields} <= TARGET_FIELDS
        return re.search(r"registration token|installation id", self.message, re.IGNORECASE) is not None


def read_problem(reply: Reply) -> Problem:
    """Return what a refusal says; never raises, whatever the body is."""
    try:
        error = reply.json().get("error")
    except WireError:
        error = None
    if error is None or not isinstance(error.raw, dict):
        return Problem(reply.status)
    told: dict[str, Any] = error.raw
    details = told.get("details")
    found: dict[str, dict[str, Any]] = {}
    for detail in details if isinstance(details, list) else []:
        if isinstance(detail, dict):
            found.setdefault(str(detail.get("@type", "")).removeprefix("type.googleapis.com/"), detail)
    violations = found.get(BAD_REQUEST, {}).get("fieldViolations")
    return Problem(
        http_status=reply.status,
        status=_word(told.get("status")),
        code=_word(found.get(FCM_ERROR, {}).get("errorCode")),
        message=one_line(str(told.get("message") or ""), TEXT_LIMIT),
        fields=tuple(
            str(each.get("field") or "message")[:200]
            for each in (violations if isinstance(violations, list) else [])
            if isinstance(each, dict)
        ),
        reason=_word(found.get(ERROR_INFO, {}).get("reason")),
        apns=_word(found.get(APNS_ERROR, {}).get("reason")),
    )


def wait_of(reply: Reply, now: datetime) -> float | None:
    """Return the seconds of `Retry-After` (a number or a date, at most an hour), None where it says nothing readable."""
    value = reply.headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d{1,9}", value):
        return min(float(value), LONGEST_WAIT)
    try:
        until = parsedate_to_datetime(value)
    except ValueError:
        return None
    if until.tzinfo is None:
        return None
    return min(max((until - now).total_seconds(), 0.0), LONGEST_WAIT)


def one_line(text: str, limit: int) -> str:
    """Return the text on one line, cut."""
    return " ".join(text.split())[:limit]


def _word(value: Any) -> str:
    return value if isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9_.-]{1,60}", value) else ""


def _snake(path: str) -> str:
    return re.sub(r"(?<=[a-z0-9])([A-Z])", lambda found: "_" + found[1].lower(), path)
