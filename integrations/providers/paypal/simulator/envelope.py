"""PayPal's shapes: errors, ids, times, amounts, links (provider sheet sections 3 to 8; OpenAPI files of February 2024)."""

from __future__ import annotations

import re
import secrets
import string
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NoReturn

from integrations.contracts.money import exponent
from integrations.simulators import Refusal, SimReply
from integrations.simulators.wire import Json

ALPHABET = string.ascii_uppercase + string.digits
WHOLE = frozenset({"HUF", "JPY", "TWD"})
CURRENCIES = frozenset(
    [
        "AUD",
        "BRL",
        "CAD",
        "CNY",
        "CZK",
        "DKK",
        "EUR",
        "HKD",
        "HUF",
        "ILS",
        "INR",
        "JPY",
        "MYR",
        "MXN",
        "TWD",
        "NZD",
        "NOK",
        "PHP",
        "PLN",
        "GBP",
        "SGD",
        "SEK",
        "CHF",
        "THB",
        "USD",
    ]
)
VALUE = re.compile(r"((-?[0-9]+)|(-?([0-9]+)?[.][0-9]+))")
ERRORS = {
    400: ("INVALID_REQUEST", "Request is not well-formed, syntactically incorrect, or violates schema."),
    401: (
        "AUTHENTICATION_FAILURE",
        "Authentication failed due to missing authorization header, or invalid authentication credentials.",
    ),
    403: ("NOT_AUTHORIZED", "Authorization failed due to insufficient permissions."),
    404: ("RESOURCE_NOT_FOUND", "The specified resource does not exist."),
    409: ("RESOURCE_CONFLICT", "The server has detected a conflict while processing this request."),
    415: ("UNSUPPORTED_MEDIA_TYPE", "The server does not support the request payload's media type."),
    422: (
        "UNPROCESSABLE_ENTITY",
        "The requested action could not be performed, semantically incorrect, or failed business validation.",
    ),
    429: ("RATE_LIMIT_REACHED", "Too many requests. Blocked due to rate limiting."),
    500: ("INTERNAL_SERVER_ERROR", "An internal server error occurred."),
    503: ("SERVICE_UNAVAILABLE", "Service Unavailable."),
}


def error(status: int, issue: str = "", *, field: str = "", links: list[Json] | None = None) -> SimReply:
    """Return PayPal's error body. Texts of an issue differ from call to call and may change: none is sent."""
    name, message = ERRORS[status]
    debug_id = secrets.token_hex(7)
    body: Json = {"name": name, "message": message, "debug_id": debug_id}
    if issue:
        body["details"] = [{"issue": issue, **({"field": field, "location": "body"} if field else {})}]
    if links is not None:
        body["links"] = links
    reply = SimReply.of_json(body, status)
    reply.headers["PayPal-Debug-Id"] = debug_id
    return reply


def refuse(status: int, issue: str = "", *, field: str = "", links: list[Json] | None = None) -> NoReturn:
    """Raise the refusal that answers with the error body."""
    raise Refusal(error(status, issue, field=field, links=links))


def answer(value: Any, status: int = 200) -> SimReply:
    reply = SimReply.of_json(value, status)
    reply.headers["PayPal-Debug-Id"] = secrets.token_hex(7)
    return reply


def empty() -> SimReply:
    return SimReply(204, b"", {"PayPal-Debug-Id": secrets.token_hex(7)})


def new_id(length: int = 17) -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(length))


def time(at: float) -> str:
    """Return Internet date and time, whole seconds, `Z`."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def link(href: str, rel: str, method: str = "GET") -> Json:
    return {"href": href, "rel": rel, "method": method}


def amount(units: int, currency: str) -> Json:
    """Return a money object; `units` in the smallest unit that PayPal writes."""
    digits = 0 if currency in WHOLE else 2
    return {"currency_code": currency, "value": f"{Decimal(units).scaleb(-digits):f}"}


def units(value: Any, field: str = "/amount") -> tuple[int, str]:
    """Return (smallest units, currency) of a money object; refuse what PayPal refuses."""
    if not isinstance(value, dict) or not isinstance(value.get("value"), str) or not value.get("currency_code"):
        refuse(400, "MISSING_REQUIRED_PARAMETER", field=field)
    text, currency = value["value"], str(value["currency_code"])
    if len(text) > 32 or not VALUE.fullmatch(text):
        refuse(400, "INVALID_PARAMETER_SYNTAX", field=f"{field}/value")
    if currency not in CURRENCIES:
        refuse(422, "INVALID_CURRENCY_CODE", field=f"{field}/currency_code")
    scaled = Decimal(text).scaleb(0 if currency in WHOLE else 2)
    if scaled != scaled.to_integral_value():
        # The creation of orders lists no issue of its own for currencies without decimals.
        is_order = field.startswith("/purchase_units")
        refuse(
            422, "DECIMALS_NOT_SUPPORTED" if currency in WHOLE and not is_order else "DECIMAL_PRECISION", field=f"{field}/value"
        )
    if scaled <= 0:
        refuse(422, "CANNOT_BE_ZERO_OR_NEGATIVE", field=f"{field}/value")
    return int(scaled), currency


def minor(given: int, currency: str) -> int:
    """Return ISO 4217 minor units for what PayPal counts in."""
    factor: int = 10 ** (exponent(currency) - (0 if currency in WHOLE else 2))
    return given * factor


def from_minor(given: int, currency: str) -> int:
    """Return PayPal's smallest units for ISO minor units; ValueError where that is no whole number."""
    factor = minor(1, currency)
    if given <= 0 or given % factor:
        raise ValueError(f"amount must be a positive multiple of {factor}")
    return given // factor


def fee_of(given: int, currency: str) -> int:
    """Return what the simulated PayPal keeps: 3.49 % and 0.49 (or 40 whole units), never more than the amount."""
    fixed = 40 if currency in WHOLE else 49
    return min(given, (given * 349 + 5000) // 10000 + fixed)
