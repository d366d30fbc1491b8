"""Flutterwave's answers and checks of what it is sent: envelope, error texts, amounts, time stamps (sheet sections 2, 11)."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, NoReturn

from integrations.contracts.money import exponent
from integrations.simulators import Refusal, SimReply, SimRequest
from integrations.simulators.wire import Json

BROKEN = "An error occurred. Please contact support"
CARD, M_PESA = ["card", "mpesa"]
"""Flutterwave's words for ways to pay."""

CURRENCIES = frozenset({"KES", "UGX", "TZS", "NGN", "GHS", "RWF", "ZMW", "XAF", "XOF", "USD"})


def success(message: str, data: Any, meta: Json | None = None) -> SimReply:
    body = {"status": "success", "message": message, "data": data}
    return SimReply.of_json(body | ({"meta": meta} if meta is not None else {}))


def error(status: int, message: str) -> SimReply:
    return SimReply.of_json({"status": "error", "message": message, "data": None}, status)


def refuse(message: str, status: int = 400) -> NoReturn:
    """Raise the refusal that answers with the error envelope."""
    raise Refusal(error(status, message))


def stamp(at: float) -> str:
    """Return `2026-07-10T09:15:16.000Z`."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def day(at: float) -> str:
    return stamp(at)[:10]


def number(minor: int, currency: str) -> int | float:
    """Return minor units as the JSON number in major units that Flutterwave writes."""
    units = Decimal(minor).scaleb(-exponent(currency))
    return int(units) if units == units.to_integral_value() else float(units)


def body(request: SimRequest, known: frozenset[str]) -> Json:
    """Return the JSON object sent; refuses another media type and members that the API does not know."""
    if request.content_type != "application/json":
        refuse("Content-Type must be application/json")
    try:
        data = request.json()
    except ValueError:
        refuse("Unexpected token in JSON")
    strange = sorted(set(data) - known)
    if strange:
        refuse(f'"{strange[0]}" is not allowed')
    return data


def text(data: Json, name: str, *, most: int, required: bool = True) -> str:
    value = data.get(name)
    if value in (None, "") and not required:
        return ""
    if value in (None, ""):
        refuse(f"{name} is required")
    if not isinstance(value, str) or len(value) > most:
        refuse(f"{name} is invalid")
    return value


def email(data: Json, name: str = "email") -> str:
    value = text(data, name, most=100)
    return value if re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", value) else refuse(f"{name} is invalid")


def amount(data: Json, currency: str, *, as_text: bool = False) -> int:
    """Return `amount` in minor units: a number, or with `as_text` a numeric text too; refuses what the currency has not."""
    value = data.get("amount")
    if value is None:
        refuse("amount is required")
    if isinstance(value, bool) or not isinstance(value, (str, int, float) if as_text else (int, float)):
        refuse("amount must be a number")
    try:
        scaled = Decimal(str(value)).scaleb(exponent(currency))
    except InvalidOperation:
        refuse("amount must be a number")
    if not scaled.is_finite() or scaled <= 0 or scaled != scaled.to_integral_value():
        refuse("amount is invalid")
    return int(scaled)


def currency_of(data: Json) -> str:
    """Return `currency`, NGN where it was forgotten, as the real API does."""
    value = data.get("currency") or "NGN"
    if value not in CURRENCIES:
        refuse(f"{value} is currently not supported for this account")
    return str(value)


def meta(data: Json) -> Json | None:
    value = data.get("meta")
    if value is None:
        return None
    if not isinstance(value, dict) or not all(re.fullmatch(r"[A-Za-z0-9_]*", key) for key in value):
        refuse("meta is invalid")
    return value
