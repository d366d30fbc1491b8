"""The payment capability: requests to a gateway and what it says. Amounts are `Money`; failed, unknown, pending stay apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from integrations.contracts.failures import Failure
from integrations.contracts.money import Money
from integrations.contracts.payment_features import MethodType


class PaymentState(StrEnum):
    """What a provider says of a payment. `UNKNOWN` is a state: the provider has no answer, or one we can't read.

    APPROVED: the payer has agreed, and nothing moves until `PaymentAdapter.complete` is called. ABSENT: the provider has no
    such payment; conclusive only once our request can't be under way any more.
    """

    REQUIRES_ACTION = "requires_action"
    PROCESSING = "processing"
    APPROVED = "approved"
    AUTHORIZED = "authorized"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    UNKNOWN = "unknown"
    ABSENT = "absent"


class RefundState(StrEnum):
    PROCESSING = "processing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    UNKNOWN = "unknown"


class DisputeState(StrEnum):
    """`INQUIRY`: a question, no money moved. The three last are final; `CLOSED` is an inquiry that came to nothing."""

    INQUIRY = "inquiry"
    NEEDS_RESPONSE = "needs_response"
    UNDER_REVIEW = "under_review"
    WON = "won"
    LOST = "lost"
    CLOSED = "closed"


# --- what a gateway is asked


@dataclass(frozen=True, slots=True)
class PaymentRequest:
    """Ask the payer for `money`. `callback_url` is unguessable and belongs to this payment alone.

    `reference` is what the payer sees as the account (an invoice number); `idempotency_key` is ours and the same for every
    try of this operation, for gateways that deduplicate. `attempt` counts the tries from 1, for gateways that refuse an id
    they have seen. `token` is the gateway's: of a card typed into its own form, or of a stored method (then with
    `customer_ref`, and `off_session` where the payer is not there). `return_url` is the hub's page to which the payer's
    browser comes back, `cancel_url` the same after giving up; `page_url` is the hub's own payment page, for a gateway whose
    payers pay there. `capture` False: only hold the money.
    """

    payment_id: str
    idempotency_key: str
    money: Money
    method: MethodType
    callback_url: str
    phone: str = ""
    token: str = field(default="", repr=False)
    customer_ref: str = ""
    off_session: bool = False
    reference: str = ""
    description: str = ""
    customer_name: str = ""
    customer_email: str = ""
    country: str = ""
    return_url: str = ""
    cancel_url: str = ""
    page_url: str = ""
    capture: bool = True
    attempt: int = 1
    provider_ref: str = ""
    """Empty for `authorize`; for `complete` the id that the payer approved."""


@dataclass(frozen=True, slots=True)
class PaymentQuery:
    """Which payment to ask about; `provider_ref` is the id the gateway gave us, empty where its answer was lost.

    `asked_at` is when we first asked for the payment, `attempts` how often; `hold_ref` see `PaymentResult`.
    """

    payment_id: str
    provider_ref: str
    money: Money
    receipt: str = ""
    callback_url: str = ""
    method: MethodType = MethodType.MOBILE_MONEY
    asked_at: datetime | None = None
    attempts: int = 1
    hold_ref: str = ""
    capture: bool = True


@dataclass(frozen=True, slots=True)
class CaptureRequest:
    """Take `money` of what is held. `capturable` is all that is left to take; `final`: release the rest.

    `operation_id` is ours: leave it with the gateway where it keeps such a note, so that the capture is recognised later.
    `captured` is what was taken before.
    """

    operation_id: str
    idempotency_key: str
    payment_id: str
    payment_provider_ref: str
    hold_ref: str
    money: Money
    capturable: Money
    captured: Money
    final: bool = True


@dataclass(frozen=True, slots=True)
class VoidRequest:
    """Release the hold (`held`), or call off a request that the payer has not paid. `abandoned`: nobody came in time."""

    operation_id: str
    idempotency_key: str
    payment_id: str
    payment_provider_ref: str
    hold_ref: str
    held: bool
    abandoned: bool = False


@dataclass(frozen=True, slots=True)
class RefundRequest:
    """Give `money` of a payment back; `callback_url` belongs to this refund alone.

    `capture_ref` is the gateway's id of the capture it is taken from (where captures have ids), `captured` what that capture
    (or, without captures of its own, the payment) brought in. `earlier` counts this payment's earlier refunds that did not
    fail; `method_name` is the gateway's word for how the payer paid. `provider_ref` is the id that the gateway gave to this
    refund; empty until it has accepted one.
    """

    refund_id: str
    idempotency_key: str
    payment_receipt: str
    payment_provider_ref: str
    money: Money
    callback_url: str
    reason: str = ""
    provider_ref: str = ""
    payment_id: str = ""
    capture_ref: str = ""
    captured: Money | None = None
    earlier: int = 0
    method_name: str = ""
    requested_by: str = ""
    asked_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ReceiptQuery:
    """Ask whether money with this receipt number really came in; the answer arrives at `callback_url` if not at once."""

    receipt: str
    callback_url: str


@dataclass(frozen=True, slots=True)
class SetupRequest:
    """Store a payer's card or account for later. `customer_ref` is the gateway's customer, where there is one already.

    `provider_ref` is empty for `setup`, the gateway's id of it for `setup_status` and `complete_setup`.
    """

    setup_id: str
    idempotency_key: str
    method: MethodType
    token: str = field(default="", repr=False)
    customer_id: str = ""
    customer_ref: str = ""
    customer_name: str = ""
    customer_email: str = ""
    return_url: str = ""
    cancel_url: str = ""
    page_url: str = ""
    provider_ref: str = ""
    asked_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class TransactionsQuery:
    """List what happened at the gateway from `since` to before `until`; `cursor` as the page before gave it."""

    since: datetime
    until: datetime
    cursor: str = ""


# --- what a gateway says


@dataclass(frozen=True, slots=True)
class CaptureFact:
    """One capture as the gateway has it now. `operation_id` is ours, where the gateway kept it; `fee` is what it kept."""

    provider_ref: str
    money: Money
    state: RefundState
    operation_id: str = ""
    receipt: str = ""
    fee: Money | None = None
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class RefundFact:
    """One refund as the gateway has it now, whoever made it. `money` None: all that was left of the payment."""

    provider_ref: str
    money: Money | None
    state: RefundState
    operation_id: str = ""
    receipt: str = ""
    reason: str = ""
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class DisputeFact:
    """A dispute as the gateway has it now. `withdrawn`: the money is gone from the tenant's account (for now or for good)."""

    provider_ref: str
    money: Money
    state: DisputeState
    reason: str = ""
    withdrawn: bool = False
    respond_by: datetime | None = None


@dataclass(frozen=True, slots=True)
class StoredMethod:
    """A card or payer that the gateway keeps. `token` charges it; `brand`, `last4`, `expires` (MM/YYYY) are for people."""

    token: str = field(repr=False)
    customer_ref: str = ""
    type: MethodType = MethodType.CARD
    brand: str = ""
    last4: str = ""
    expires: str = ""
    payer: str = ""


@dataclass(frozen=True, slots=True)
class PaymentResult:
    """What the provider says now. `money`, `receipt`, `fee` only where it states them; `money` is what it was asked to take or
    to hold in all, and is compared before anything is booked.

    `hold_ref` is the id of the hold where that is not `provider_ref`. `references` are further ids under which the provider
    will name this payment: (kind, id). `captures`, `refunds`, `disputes` are None where the provider was not asked for them
    or can't tell; else they are all that there are. `capturable` is what may still be taken. `expires_at`: when a hold lapses,
    or a request that waits for the payer. `method_name` is the provider's word for how the payer paid, `method_detail` what
    people may see of it (`Visa •••• 4242`).
    """

    state: PaymentState
    provider_ref: str = ""
    receipt: str = ""
    money: Money | None = None
    failure: Failure | None = None
    next_action: Mapping[str, Any] | None = None
    references: tuple[tuple[str, str], ...] = ()
    provider_code: str = ""
    hold_ref: str = ""
    captures: tuple[CaptureFact, ...] | None = None
    refunds: tuple[RefundFact, ...] | None = None
    disputes: tuple[DisputeFact, ...] | None = None
    capturable: Money | None = None
    expires_at: datetime | None = None
    fee: Money | None = None
    payer: str = ""
    method_name: str = ""
    method_detail: str = ""


ALREADY_REFUNDED = "already_refunded"
"""Failure code beside UNKNOWN: money did go back, and only a person can see by which request; asking again won't tell."""


@dataclass(frozen=True, slots=True)
class CaptureResult:
    """What came of a capture. FAILED only where the gateway said no; `payment`: its whole word on the payment, where it gave
    one."""

    state: RefundState
    provider_ref: str = ""
    receipt: str = ""
    money: Money | None = None
    failure: Failure | None = None
    references: tuple[tuple[str, str], ...] = ()
    payment: PaymentResult | None = None


@dataclass(frozen=True, slots=True)
class RefundResult:
    """What the provider says of a refund; `receipt` is the refund's own. `money` as the provider states it."""

    state: RefundState
    provider_ref: str = ""
    receipt: str = ""
    failure: Failure | None = None
    references: tuple[tuple[str, str], ...] = ()
    money: Money | None = None


@dataclass(frozen=True, slots=True)
class SetupResult:
    """What came of storing a method; `stored` once SUCCEEDED. APPROVED: call `complete_setup`."""

    state: PaymentState
    provider_ref: str = ""
    customer_ref: str = ""
    stored: StoredMethod | None = None
    failure: Failure | None = None
    next_action: Mapping[str, Any] | None = None
    references: tuple[tuple[str, str], ...] = ()


class TransactionKind(StrEnum):
    CHARGE = "charge"
    REFUND = "refund"
    DISPUTE = "dispute"
    FEE = "fee"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class GatewayTransaction:
    """One line of the gateway's own books. `money` is gross and positive for charges, refunds and disputes alike.

    `refs` are the ids by which our payment or operation may be found, best first; `payment_id` is ours where the gateway has
    it. `fee` and `net` in the settlement currency, `net` signed.
    """

    kind: TransactionKind
    provider_ref: str
    money: Money
    occurred_at: datetime
    refs: tuple[str, ...] = ()
    payment_id: str = ""
    fee: Money | None = None
    net: Money | None = None
    description: str = ""


@dataclass(frozen=True, slots=True)
class TransactionPage:
    """Some lines, and the cursor for more; empty when that was all."""

    transactions: tuple[GatewayTransaction, ...]
    cursor: str = ""


@dataclass(frozen=True, slots=True)
class PayerPage:
    """What the hub's own payment page needs where the gateway's script takes the card there (never the hub).

    `template` is rendered with `context`; `sources` are the origins that the page's content security policy must allow for
    scripts, frames and connections. Short-lived and for this payer alone: not stored, not logged.
    """

    template: str
    context: Mapping[str, Any] = field(repr=False)
    sources: tuple[str, ...] = ()


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
