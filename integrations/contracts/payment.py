"""The payment capability: DTOs and the abstract adapter. Amounts are `Money`; states keep failed, unknown and pending apart."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from integrations.contracts.adapter import Adapter, ConfigView
from integrations.contracts.errors import InvalidRequest, UnsupportedOperation
from integrations.contracts.money import Money


class PaymentState(StrEnum):
    """What a provider says of a payment. `UNKNOWN` is a state: the provider has no answer, or one we can't read."""

    REQUIRES_ACTION = "requires_action"
    PROCESSING = "processing"
    AUTHORIZED = "authorized"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    UNKNOWN = "unknown"


class MethodType(StrEnum):
    CARD = "card"
    MOBILE_MONEY = "mobile_money"
    REDIRECT = "redirect"


@dataclass(frozen=True, slots=True)
class Failure:
    """Why money did not move, in one vocabulary. `retryable`: a new attempt by the payer may work."""

    code: str
    message: str
    type: str = "api_error"
    provider_code: str = ""
    decline_code: str = ""
    retryable: bool = False


@dataclass(frozen=True, slots=True)
class PaymentFeatures:
    """The capability matrix of a gateway, checked before any call.

    `currencies` maps an ISO code to (minimum, maximum) in minor units. `polls` are the seconds after the request at which
    a pending payment is asked for (the last interval repeats), `silence` the seconds after which no callback and no answer
    means a person must look; `unknown_after` the same for a payment that the provider can't be asked about, since its answer
    to our request was lost. `validity`: a request that could not be made within so many seconds is not made any more.
    """

    operations: frozenset[str]
    methods: frozenset[MethodType]
    currencies: Mapping[str, tuple[int, int]]
    whole_major_units: frozenset[str] = frozenset()
    polls: tuple[int, ...] = (30, 60, 120, 300, 900, 3600)
    silence: int = 86_400
    unknown_after: int = 900
    validity: int = 300

    def check(self, operation: str, money: Money | None = None, method: MethodType | None = None) -> None:
        """Raise `UnsupportedOperation` or `InvalidRequest` for what the gateway can't do."""
        if operation not in self.operations:
            raise UnsupportedOperation(f"This provider does not support {operation}.")
        if method is not None and method not in self.methods:
            raise UnsupportedOperation(f"This provider does not take {method.value} payments.", attr="method.type")
        if money is None:
            return
        if money.currency not in self.currencies:
            raise InvalidRequest(f"This provider does not take {money.currency}.", attr="currency")
        low, high = self.currencies[money.currency]
        if not low <= money.minor_units <= high:
            raise InvalidRequest(
                f"Amount must be between {Money(low, money.currency)} and {Money(high, money.currency)}.", attr="amount"
            )
        if money.currency in self.whole_major_units:
            try:
                money.whole_major_units()
            except ValueError as error:
                raise InvalidRequest(str(error), attr="amount") from error


@dataclass(frozen=True, slots=True)
class PaymentRequest:
    """Ask the payer for `money`. `callback_url` is unguessable and belongs to this payment alone.

    `reference` is what the payer sees as the account (an invoice number); `idempotency_key` is ours, for gateways that
    deduplicate.
    """

    payment_id: str
    idempotency_key: str
    money: Money
    method: MethodType
    callback_url: str
    phone: str = ""
    token: str = field(default="", repr=False)
    reference: str = ""
    description: str = ""
    customer_name: str = ""
    return_url: str = ""
    capture: bool = True


@dataclass(frozen=True, slots=True)
class PaymentQuery:
    """Which payment to ask the provider about; `provider_ref` is the id it gave us."""

    payment_id: str
    provider_ref: str
    money: Money
    receipt: str = ""
    callback_url: str = ""


@dataclass(frozen=True, slots=True)
class PaymentResult:
    """What the provider says now. `money` and `receipt` only where it states them; compare before booking.

    `references` are further ids under which the provider will name this payment: (kind, id).
    """

    state: PaymentState
    provider_ref: str = ""
    receipt: str = ""
    money: Money | None = None
    failure: Failure | None = None
    next_action: Mapping[str, Any] | None = None
    references: tuple[tuple[str, str], ...] = ()
    provider_code: str = ""


@dataclass(frozen=True, slots=True)
class RefundRequest:
    """Give `money` of a succeeded payment back; `callback_url` belongs to this refund alone.

    `provider_ref` is the id that the provider gave to this refund; empty until it has accepted one.
    """

    refund_id: str
    idempotency_key: str
    payment_receipt: str
    payment_provider_ref: str
    money: Money
    callback_url: str
    reason: str = ""
    provider_ref: str = ""


ALREADY_REFUNDED = "already_refunded"
"""Failure code beside UNKNOWN: money did go back, and only a person can see by which request; asking again won't tell."""


class RefundState(StrEnum):
    PROCESSING = "processing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class RefundResult:
    """What the provider says of a refund; `receipt` is the refund's own."""

    state: RefundState
    provider_ref: str = ""
    receipt: str = ""
    failure: Failure | None = None
    references: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class ReceiptQuery:
    """Ask whether money with this receipt number really came in; the answer arrives at `callback_url` if not at once."""

    receipt: str
    callback_url: str


@dataclass(frozen=True, slots=True)
class IncomingPayment:
    """Money that a customer sent by himself (pay bill), as told or as confirmed by the provider."""

    receipt: str
    money: Money
    account_number: str
    destination: str
    payer: str = ""
    payer_name: str = ""
    occurred_at: datetime | None = None


class PaymentAdapter(Adapter):
    """A payment gateway. Every money call is made at most once: it is never repeated after `OutcomeUnknown`."""

    features: PaymentFeatures

    @classmethod
    def check(cls, request: PaymentRequest, config: ConfigView) -> None:
        """Raise `InvalidRequest` naming the field for what the gateway would refuse anyway. No network, before any row."""
        return

    @classmethod
    def shown_reference(cls, request: PaymentRequest) -> str:
        """Return what the payer will see as the account, and what a customer's own payment for the same thing may name."""
        return request.reference

    @abstractmethod
    def authorize(self, request: PaymentRequest) -> PaymentResult:
        """Start the payment. Called once per payment; may return at once with PROCESSING and be finished by a callback."""

    @abstractmethod
    def payment_status(self, query: PaymentQuery) -> PaymentResult:
        """Ask for the truth, changing nothing. An answer that says "still running" is PROCESSING, never FAILED."""

    def refund(self, request: RefundRequest) -> RefundResult:
        """Give money back. Called once per refund."""
        raise UnsupportedOperation("This provider can't refund through its API.", provider=self.config.provider)

    def refund_status(self, request: RefundRequest) -> RefundResult:
        """Ask for the truth about a refund; where only a callback can tell, start that and return PROCESSING."""
        raise UnsupportedOperation("This provider can't be asked about refunds.", provider=self.config.provider)

    def receipt_status(self, query: ReceiptQuery) -> PaymentResult:
        """Ask whether a receipt number is real; PROCESSING means the answer comes to `callback_url`."""
        raise UnsupportedOperation("This provider can't be asked about a receipt.", provider=self.config.provider)
