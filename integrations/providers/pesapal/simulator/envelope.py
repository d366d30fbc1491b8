"""Pesapal's answers and times, in the shapes that were documented or recorded (provider sheet, November 2026)."""

from __future__ import annotations

import secrets
import string
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, NoReturn
from uuid import uuid4

from integrations.simulators import Refusal, SimReply

NAIROBI = timezone(timedelta(hours=3), "EAT")
JSON_TYPE = "application/json; charset=utf-8"
NO_ERROR = {"error_type": None, "code": None, "message": None}


def reply(value: Any, status: int = 200) -> SimReply:
    return SimReply.of_json(value, status, JSON_TYPE)


def error_of(code: str, message: str = "", kind: str = "api_error") -> dict[str, str]:
    """Return the recorded error object (`error_type`, where the documentation writes `type`)."""
    return {"error_type": kind, "code": code, "message": message}


def refuse(code: str, message: str = "", kind: str = "api_error", members: Mapping[str, Any] | None = None) -> NoReturn:
    """Raise the refusal that answers HTTP 200 with an error object and body status 500."""
    raise Refusal(reply({**(members or {}), "error": error_of(code, message, kind), "status": "500"}))


def plain(message: str, *, ok: bool) -> SimReply:
    """Return the short answer of refunds and cancellations."""
    return reply({"status": "200" if ok else "500", "message": message})


def utc_time(at: float) -> str:
    """Return `2026-07-10T06:20:45.7793772Z`: seven fractional digits."""
    moment = datetime.fromtimestamp(at, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond:06d}2Z"


def nairobi_time(at: float) -> str:
    """Return `2026-07-10T09:16:46.39`: Nairobi's time, without saying so; zeros at the end are left out."""
    moment = datetime.fromtimestamp(at, UTC).astimezone(NAIROBI)
    fraction = f".{moment.microsecond // 1000:03d}".rstrip("0").rstrip(".")
    return f"{moment:%Y-%m-%dT%H:%M:%S}{fraction}"


def new_guid() -> str:
    return str(uuid4())


def new_confirmation() -> str:
    """Return 10 upper-case alphanumerics, like an M-Pesa receipt."""
    return "".join(secrets.choice(string.ascii_uppercase + string.digits) for _ in range(10))


def new_token() -> str:
    """Return an opaque token in the form of a JWT."""
    return f"eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.{secrets.token_urlsafe(40)}.{secrets.token_urlsafe(32)}"
