"""Inbound webhooks: what a provider's webhook class must do, and the typed events that come out of it."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any
from urllib.parse import parse_qsl

from integrations.contracts.adapter import ConfigView
from integrations.contracts.failures import Failure
from integrations.contracts.messaging import Engagement, MessageState, SuppressReason
from integrations.contracts.money import Money
from integrations.contracts.payment import IncomingPayment, PaymentState, RefundState
from integrations.contracts.wire import Wire


class Trust(StrEnum):
    """How far an inbound body may be believed.

    SIGNED: the provider's signature holds. TOKEN: it came to an unguessable path that only the provider was told.
    HINT: anybody could have sent it; the provider is asked before anything is booked.
    """

    SIGNED = "signed"
    TOKEN = "token"  # noqa: S105 a level of trust, not a password
    HINT = "hint"


class BadSignature(Exception):
    """The request does not come from the provider: 401, nothing is stored but the count."""


class MalformedWebhook(Exception):
    """The body has not the documented shape: 400 with this text, nothing changes."""


@dataclass(frozen=True, slots=True)
class InboundRequest:
    """A webhook call as received. `purpose` is the path's last part as the provider declared it (`c`, `dlr`, ...).

    `url` is the whole public address that was called, with its query as sent, for providers that sign it; built from the
    hub's own public address, never from the caller's `Host`.
    """

    method: str
    purpose: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    remote_ip: str = ""
    url: str = ""

    def json(self) -> Wire:
        import json

        try:
            return Wire(json.loads(self.body))
        except (ValueError, RecursionError):
            raise MalformedWebhook("body is not JSON") from None

    def form(self) -> dict[str, str]:
        try:
            return dict(parse_qsl(self.body.decode("utf-8"), keep_blank_values=True, max_num_fields=200))
        except (UnicodeDecodeError, ValueError):
            raise MalformedWebhook("body is not a form") from None

    def digest(self) -> str:
        """Return a stable key for "the very same body to the very same purpose"."""
        return hashlib.sha256(self.purpose.encode() + b"\0" + self.body).hexdigest()


@dataclass(frozen=True, slots=True)
class FixedPath:
    """A path below `/webhooks/` (or another absolute one) that is the same for all tenants."""

    path: str
    purpose: str
    methods: tuple[str, ...] = ("POST",)


@dataclass(frozen=True, slots=True)
class Locator:
    """An id in the body by which the tenant can be found in the external references."""

    kind: str
    external_id: str


@dataclass(frozen=True, slots=True)
class Verified:
    """A request that may be stored. `dedupe_key` is equal for two deliveries of the same fact."""

    trust: Trust
    dedupe_key: str
    provider_event_type: str


@dataclass(frozen=True, slots=True)
class Ack:
    """The answer in the provider's own form."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class InboundEvent:
    """A fact that a provider reported, normalised. Filled in by the runtime: who it is about."""

    provider: str
    tenant_id: int
    config_id: int | None
    trust: Trust
    receipt_id: int
    provider_event_type: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentReported(InboundEvent):
    """A payment that we asked for has a new state. `token_object` is the payment whose own callback path was called."""

    provider_ref: str
    state: PaymentState
    money: Money | None = None
    receipt: str = ""
    payer: str = ""
    failure: Failure | None = None
    occurred_at: datetime | None = None
    token_object: str = ""
    references: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentTouched(InboundEvent):
    """Something happened to a payment at the gateway: the gateway is asked, whatever the body claims, and its answer booked.

    The payment is found by `token_object`, by our own `payment_id` where the body carries it, or by any of `refs` (ids that
    the gateway gave out, best first). `provider_ref` is the payment's own id there, adopted only from a SIGNED body.
    """

    refs: tuple[str, ...] = ()
    provider_ref: str = ""
    payment_id: str = ""
    token_object: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetupTouched(InboundEvent):
    """Something happened to a setup (the storing of a card or payer) at the gateway: the gateway is asked."""

    provider_ref: str = ""
    setup_id: str = ""
    token_object: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MoneyReceived(InboundEvent):
    """A customer paid by himself."""

    payment: IncomingPayment


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundReported(InboundEvent):
    """A refund that we asked for has a new state; `money` where the provider names the amount."""

    provider_ref: str
    state: RefundState
    receipt: str = ""
    failure: Failure | None = None
    money: Money | None = None
    token_object: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptReported(InboundEvent):
    """The provider's own answer to a question about a receipt number: confirmed, refuted or still unknown."""

    receipt: str
    confirmed: bool | None
    money: Money | None = None
    detail: str = ""
    token_object: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageReported(InboundEvent):
    """A delivery report. `state` None: no state of ours (an `engagement`, or a status that we do not know, kept raw).

    `ref` is our own note (`Target.ref`), where the provider echoes it; `provider_ref` may be the start of the id that it gave
    us, ended by a dot. `channel` where the provider serves several and the report names it.
    """

    provider_ref: str
    address: str
    state: MessageState | None
    provider_status: str
    detail: str = ""
    suppress: SuppressReason | None = None
    engagement: Engagement | None = None
    ref: str = ""
    channel: str = ""
    cost: Decimal | None = None
    currency: str = ""
    occurred_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageReceived(InboundEvent):
    """Somebody wrote to the tenant. `address` is his, `to` the tenant's number or mailbox there.

    `opt_out` True or False: the provider itself read the text as "stop" or "start"; None: it has not said. `media` holds
    (content type, the provider's id or address of the file).
    """

    channel: str
    provider_ref: str
    address: str
    to: str
    text: str = ""
    name: str = ""
    media: tuple[tuple[str, str], ...] = ()
    opt_out: bool | None = None
    reply_to: str = ""
    occurred_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationAsked(InboundEvent):
    """The provider asks, before taking it, whether a customer's payment is welcome. Answered in the request."""

    payment: IncomingPayment


@dataclass(frozen=True, slots=True)
class ValidationAnswer:
    """`accepted`, else `problem`: one of `account`, `amount`, `payer`, `destination`, `other`."""

    accepted: bool
    problem: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a stored request belongs, as the intake found it; `token_object` is the object that the path's token names."""

    tenant_id: int
    config_id: int | None
    trust: Trust
    receipt_id: int
    token_object: str = ""
    common: Mapping[str, Any] = field(default_factory=dict)

    def fields(self, provider: str, provider_event_type: str = "") -> dict[str, Any]:
        """Return the keyword arguments that every `InboundEvent` shares."""
        return {
            "provider": provider,
            "tenant_id": self.tenant_id,
            "config_id": self.config_id,
            "trust": self.trust,
            "receipt_id": self.receipt_id,
            "provider_event_type": provider_event_type,
        }


class WebhookAdapter(ABC):
    """A provider's inbound side. Pure: no database, no network; the same for every tenant."""

    provider: str
    fixed_paths: Sequence[FixedPath] = ()
    purposes: frozenset[str] = frozenset()
    """Every purpose that may follow a token in `/hooks/<token>/<purpose>`."""

    config_purposes: Mapping[str, str] = {}
    """Purpose -> what it is for; these are the URLs a tenant pastes or registers once per config."""

    def locate(self, request: InboundRequest) -> Sequence[Locator]:
        """Return the ids in a fixed path's body that may name the tenant, best first. Raises `MalformedWebhook`."""
        return ()

    @abstractmethod
    def verify(self, request: InboundRequest, config: ConfigView | None, *, by_token: bool) -> Verified:
        """Check signature and shape on the raw body; raise `BadSignature` or `MalformedWebhook`."""

    @abstractmethod
    def parse(self, request: InboundRequest, origin: Origin) -> Sequence[InboundEvent]:
        """Return the facts in the body; an event type that we do not know gives none. Raises `MalformedWebhook`."""

    def challenge(self, request: InboundRequest, config: ConfigView | None) -> Ack | None:
        """Return the answer to a provider's question whether this URL is ours (asked when it is set up); None where this is no
        such question. Nothing is stored. Raises `BadSignature` for a wrong one."""
        return None

    def asks(self, request: InboundRequest, origin: Origin) -> ValidationAsked | None:
        """Return the question where this request wants its answer at once."""
        return None

    def ack(self, request: InboundRequest, answer: ValidationAnswer | None = None) -> Ack:
        """Return the acknowledgement in the provider's form; the same for a duplicate."""
        return Ack(body=b"{}")
