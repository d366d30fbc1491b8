"""Stripe's answers: objects with their headers, errors by its rules (docs.stripe.com/api/errors, November 2026)."""

from __future__ import annotations

import secrets
import string
from typing import NoReturn

from integrations.simulators import Refusal, SimReply
from integrations.simulators.wire import Json

ALPHABET = string.ascii_letters + string.digits


class Executed(Exception):
    """The request was carried out and ended in this error: its idempotency key keeps it, and what was written stays."""

    def __init__(self, error: Json, status: int = 400) -> None:
        super().__init__(str(error.get("message", "")))
        self.reply = reply({"error": error}, status)


def new_id(prefix: str) -> str:
    return f"{prefix}_{''.join(secrets.choice(ALPHABET) for _ in range(24))}"


def reply(value: Json, status: int = 200) -> SimReply:
    """Return a JSON answer with the headers that every answer has; any site's script may read it, as Stripe.js must."""
    answer = SimReply.of_json(value, status)
    answer.headers |= {
        "Request-Id": new_id("req")[:18],
        "Cache-Control": "no-cache, no-store",
        "Access-Control-Allow-Origin": "*",
    }
    return answer


def invalid(message: str, code: str = "", param: str = "", **objects: object) -> Json:
    """Return an error object of type `invalid_request_error`."""
    error: Json = {"type": "invalid_request_error", "message": message, **objects}
    if code:
        error |= {"code": code, "doc_url": f"https://stripe.com/docs/error-codes/{code.replace('_', '-')}"}
    return {**error, "param": param} if param else error


def refuse(status: int, message: str, code: str = "", param: str = "", kind: str = "invalid_request_error") -> NoReturn:
    """Raise the refusal of a request that was not carried out: nothing is kept, not even under its key."""
    raise Refusal(reply({"error": {**invalid(message, code, param), "type": kind}}, status))


def missing(kind: str, ref: str, param: str) -> NoReturn:
    refuse(404, f"No such {kind}: '{ref}'", "resource_missing", param)
