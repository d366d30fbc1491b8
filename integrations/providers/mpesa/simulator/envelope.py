"""Daraja's answers and ids, in the shapes that were documented or observed (provider sheet, sections 2 to 11, 2026-11)."""

from __future__ import annotations

import secrets
import string
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, NoReturn

from integrations.simulators import Refusal, SimReply
from integrations.simulators.wire import Json

NAIROBI = timezone(timedelta(hours=3), "EAT")
JSON_TYPE = "application/json;charset=UTF-8"
SUCCESS = "The service request is processed successfully."
PLACEHOLDER_TAIL = "0000000"
TEXTS = {
    "0": SUCCESS,
    "1": "The balance is insufficient for the transaction.",
    "3": "Declined due to limit rule: greater than the maximum transaction amount.",
    "8": "Declined due to limit rule: would exceed the maximum balance.",
    "17": "System internal error.",
    "26": "System busy. The service request is rejected.",
    "1001": "Unable to lock subscriber, a transaction is already in process for the current subscriber.",
    "1019": "Transaction has expired.",
    "1025": "An error occurred while sending a push request.",
    "1032": "Request cancelled by user",
    "1037": "DS timeout user cannot be reached",
    "2001": "The initiator information is invalid.",
    "2040": "The receiver is not a registered customer.",
    "4999": "The transaction is still under processing",
    "8006": "The security credential is locked.",
    "9999": "Error occurred while sending the push request.",
    "R000001": "The transaction has already been reversed.",
    "R000002": "The OriginalTransactionID is invalid.",
}


def reply(value: Any, status: int = 200) -> SimReply:
    return SimReply.of_json(value, status, JSON_TYPE)


def error(code: str, message: str) -> SimReply:
    """Return the synchronous error envelope; the HTTP status is the code's first part."""
    request_id = f"{secrets.randbelow(90000) + 10000}-{secrets.randbelow(9_000_000) + 1_000_000}-1"
    return reply({"requestId": request_id, "errorCode": code, "errorMessage": message}, int(code.split(".")[0]))


def refuse(code: str, message: str) -> NoReturn:
    """Raise the refusal that answers with the error envelope."""
    raise Refusal(error(code, message))


def invalid(field: str) -> NoReturn:
    """Raise the refusal for a field that is missing or wrong."""
    refuse("400.002.02", f"Bad Request - Invalid {field}")


def text_of(code: str) -> str:
    """Return the wording for a result code; callers must not branch on it."""
    return TEXTS.get(code, "An unexpected result.")


def local(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC).astimezone(NAIROBI)


def stamp(at: float) -> str:
    """Return `YYYYMMDDHHmmss` in Nairobi time."""
    return local(at).strftime("%Y%m%d%H%M%S")


def day_letters(at: float) -> str:
    """Return how a receipt of that day begins: year from A=2006, month from A, day 1-9 then A=10."""
    day = local(at)
    return (
        string.ascii_uppercase[(day.year - 2006) % 26]
        + string.ascii_uppercase[day.month - 1]
        + ("0123456789" + string.ascii_uppercase)[day.day]
    )


def new_receipt(at: float) -> str:
    """Return 10 upper-case alphanumerics, the last seven random."""
    alphabet = string.ascii_uppercase + string.digits
    return day_letters(at) + "".join(secrets.choice(alphabet) for _ in range(7))


def placeholder(at: float) -> str:
    """Return what stands for the transaction id where there is none."""
    return day_letters(at) + PLACEHOLDER_TAIL


def new_checkout_id(at: float, msisdn: str) -> str:
    return f"ws_CO_{local(at).strftime('%d%m%Y%H%M%S')}{secrets.randbelow(900) + 100}{msisdn[-9:]}"


def new_request_id() -> str:
    """Return a MerchantRequestID or OriginatorConversationID of the newer shape, 4-4-4-16 characters."""
    digits = secrets.token_hex(14)
    return f"{digits[:4]}-{digits[4:8]}-{digits[8:12]}-{digits[12:]}"


def new_conversation_id(at: float) -> str:
    return f"AG_{local(at).strftime('%Y%m%d')}_{secrets.token_hex(10)}"


def key_values(pairs: list[tuple[str, Any]]) -> list[Json]:
    """Return Daraja's `Key`/`Value` list; a None value leaves `Value` out, as some real items do."""
    return [{"Key": key} if value is None else {"Key": key, "Value": value} for key, value in pairs]
