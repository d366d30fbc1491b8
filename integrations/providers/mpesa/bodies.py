"""The bodies that M-Pesa posts to us, checked and typed. Every reader raises `WireError` for a wrong shape.

Source: developer portal (captured August 2026); oddities (items in any order, Balance without a value, numbers as strings,
one item instead of a list) were observed or reported, see fixtures/SOURCES.md. What nobody needs is not looked at, so that
a new oddity in it costs nothing.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass, field
from datetime import datetime

from integrations.contracts.money import InvalidMoney, Money
from integrations.contracts.wire import Wire, WireError
from integrations.providers.mpesa.formats import parse_time
from integrations.providers.mpesa.results import PAID

MAX_ITEMS = 200
STATUS_KEYS = frozenset({"TransactionStatus", "ReceiptNo", "Amount", "CreditPartyName", "DebitPartyName", "ReasonType"})
REVERSAL_KEYS = frozenset({"OriginalTransactionID", "TransCompletedTime"})
BALANCE_KEYS = frozenset({"AccountBalance", "BOCompletedTime"})
_KNOWN = STATUS_KEYS | REVERSAL_KEYS | BALANCE_KEYS


@dataclass(frozen=True, slots=True)
class StkCallback:
    """The outcome of a push. `money`, `receipt`, `payer` and `occurred_at` only where it was paid, and only if stated."""

    checkout: str
    merchant: str
    code: str
    money: Money | None = None
    receipt: str = ""
    payer: str = ""
    occurred_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class CustomerPayment:
    """A C2B validation or confirmation. `payer` is E.164 where plain, else masked or hashed; names may be empty."""

    receipt: str
    money: Money
    shortcode: str
    account: str
    payer: str
    payer_name: str
    occurred_at: datetime | None


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of an initiator request. `parameters` keeps duplicates, and only the keys that mean something to us."""

    code: str
    originator: str
    conversation: str
    transaction: str = ""
    parameters: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def first(self, key: str) -> str:
        return next(iter(self.parameters.get(key, ())), "")


def digest(body: StkCallback | CustomerPayment | Result) -> str:
    """Return 32 hex characters that are equal for two bodies saying the same, whatever their order and spelling."""
    told = json.dumps(astuple(body), default=str, sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()[:32]


def read_stk(body: Wire) -> StkCallback:
    told = body["Body"]["stkCallback"]
    # In callbacks the code is a number, but SFC_IC0003 was seen there too: compared as text.
    code = _id(told["ResultCode"])
    checkout, merchant = _id(told["CheckoutRequestID"]), _id(told["MerchantRequestID"])
    if code != PAID:
        return StkCallback(checkout, merchant, code)
    items = _named(
        told.get("CallbackMetadata"), "Item", "Name", {"Amount", "MpesaReceiptNumber", "TransactionDate", "PhoneNumber"}
    )
    values = {name: found[0] for name, found in items.items()}
    return StkCallback(
        checkout=checkout,
        merchant=merchant,
        code=code,
        money=_money(values["Amount"]) if "Amount" in values else None,
        receipt=_receipt(values["MpesaReceiptNumber"]) if "MpesaReceiptNumber" in values else "",
        payer=_payer(_whole(values["PhoneNumber"])) if "PhoneNumber" in values else "",
        occurred_at=parse_time(_whole(values["TransactionDate"])) if "TransactionDate" in values else None,
    )


def read_customer_payment(body: Wire) -> CustomerPayment:
    names = (_optional(body, key, 100) for key in ("FirstName", "MiddleName", "LastName"))
    return CustomerPayment(
        receipt=_receipt(body["TransID"]),
        money=_money(body["TransAmount"]),
        shortcode=_id(body["BusinessShortCode"]),
        account=_optional(body, "BillRefNumber", 100),
        payer=_payer(_optional(body, "MSISDN", 200)),
        payer_name=" ".join(name for name in names if name),
        occurred_at=parse_time(_optional(body, "TransTime", 40)),
    )


def read_result(body: Wire) -> Result:
    told = body["Result"]
    found = _named(told.get("ResultParameters"), "ResultParameter", "Key", _KNOWN)
    transaction = _optional(told, "TransactionID", 40)
    return Result(
        code=_id(told["ResultCode"]),
        originator=_optional(told, "OriginatorConversationID", 200),
        conversation=_id(told["ConversationID"]),
        # Failures carry a placeholder that ends in seven zeros.
        transaction="" if re.fullmatch(r"[A-Z0-9]{3}0{7}", transaction) else transaction,
        parameters={name: tuple(_text(value, 4000) for value in values) for name, values in found.items()},
    )


def read_timeout(body: Wire) -> Result:
    """Read a queue timeout. That it has the result's envelope is unconfirmed: any object will do, its URL says enough."""
    if not isinstance(body.raw, dict):
        raise WireError("body is not an object")
    return read_result(body) if body.get("Result") else Result(code="", originator="", conversation="")


def amount_of(text: str) -> Money | None:
    """Return the Amount of a status answer; None where it is not stated or no amount."""
    try:
        return _money(Wire(text, "Amount"))
    except WireError:
        return None


def _named(holder: Wire | None, member: str, name: str, wanted: frozenset[str] | set[str]) -> dict[str, list[Wire]]:
    """Return the values of the wanted names in a list of {name, Value}; an item without a value is as if it were absent."""
    found: dict[str, list[Wire]] = {}
    for item in _items(holder.get(member) if holder else None):
        key = _text(item[name], 200)
        value = item.get("Value")
        if key in wanted and value is not None and value.raw != "":
            found.setdefault(key, []).append(value)
    return found


def _items(wire: Wire | None) -> Iterator[Wire]:
    if wire is None:
        return
    if isinstance(wire.raw, dict):  # one item may come without its list
        yield wire
        return
    if isinstance(wire.raw, list) and len(wire.raw) > MAX_ITEMS:
        raise WireError(f"{wire.path} has too many entries")
    yield from wire.items()


def _text(wire: Wire, max_length: int) -> str:
    text = wire.text(max_length=max_length)
    if re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]", text):
        raise WireError(f"{wire.path} holds characters that are no text")
    return text.strip()


def _optional(body: Wire, key: str, max_length: int) -> str:
    found = body.get(key)
    return _text(found, max_length) if found else ""


def _id(wire: Wire) -> str:
    text = _text(wire, 200)
    if not text:
        raise WireError(f"{wire.path} is empty")
    return text


def _whole(wire: Wire) -> str:
    """Return digits; a number may come as 254708374149 or 254708374149.0."""
    return _text(wire, 40).removesuffix(".0")


def _payer(text: str) -> str:
    """Return a plain number in E.164 (`+2547...`); a masked or hashed one stays as it is."""
    return f"+{text}" if re.fullmatch(r"254[17]\d{8}", text, re.ASCII) else text


def _receipt(wire: Wire) -> str:
    text = _text(wire, 40).upper()
    if not re.fullmatch(r"[0-9A-Z]{6,20}", text):
        raise WireError(f"{wire.path} is no receipt number")
    return text


def _money(wire: Wire) -> Money:
    text = _text(wire, 40)
    if not re.fullmatch(r"\d{1,12}(\.\d{1,6})?", text, re.ASCII):
        raise WireError(f"{wire.path} is not an amount")
    try:
        money = Money.from_decimal(text, "KES")
    except InvalidMoney:
        raise WireError(f"{wire.path} is not an amount") from None
    if money.minor_units == 0:
        raise WireError(f"{wire.path} is zero")
    return money
