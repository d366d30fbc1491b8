"""M-Pesa's callbacks: the outcome of pushes, payments that customers make by themselves, results of initiator requests.

They carry no signature and no credential (developer portal, August 2026). So the hub hands out paths that nobody can guess;
what comes to a fixed path is a hint, to be confirmed by asking. Purposes, the last part of a path, are single letters:
Daraja refuses URLs with words such as `query`. Delivery is once: neither a 500 nor a dead receiver brought a second try
within 44 minutes (observed, autumn 2026).
"""

from __future__ import annotations

import ipaddress
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from integrations.contracts.adapter import ConfigView
from integrations.contracts.capabilities import Environment
from integrations.contracts.failures import Failure
from integrations.contracts.inbound import (
    Ack,
    BadSignature,
    FixedPath,
    InboundEvent,
    InboundRequest,
    Locator,
    MalformedWebhook,
    MoneyReceived,
    Origin,
    PaymentReported,
    ReceiptReported,
    RefundReported,
    Trust,
    ValidationAnswer,
    ValidationAsked,
    Verified,
    WebhookAdapter,
)
from integrations.contracts.money import Money
from integrations.contracts.payment import (
    IncomingPayment,
    RefundState,
)
from integrations.contracts.wire import Wire, WireError
from integrations.providers.mpesa import bodies
from integrations.providers.mpesa.provider import split_networks
from integrations.providers.mpesa.results import (
    PAID,
    initiator_failure,
    refund_outcome,
    stk_outcome,
    transaction_completed,
)

STK_CALLBACK = "c"
RESULT = "r"
STATUS_RESULT = "s"
"""The answer to a transaction status query: apart from `r`, so that a failed question is not taken for a failed refund."""
TIMEOUT = "t"
STATUS_TIMEOUT = "u"
"""A transaction status query timed out in the queue: nothing was learned, nothing else happened."""

VALIDATION = "v"
CONFIRMATION = "n"

EVENT_TYPES = {
    STK_CALLBACK: "stk_callback",
    RESULT: "result",
    STATUS_RESULT: "transaction_status",
    TIMEOUT: "queue_timeout",
    STATUS_TIMEOUT: "transaction_status_timeout",
    VALIDATION: "c2b_validation",
    CONFIRMATION: "c2b_confirmation",
}

SAFARICOM_ADDRESSES = (
    "196.201.214.200", "196.201.214.206", "196.201.214.207", "196.201.214.208", "196.201.213.114", "196.201.213.44",
    "196.201.212.127", "196.201.212.128", "196.201.212.129", "196.201.212.132", "196.201.212.136", "196.201.212.138",
    "196.201.212.74", "196.201.212.69",
)  # fmt: skip
"""Where callbacks come from by about ten public projects (2026); the lists differ, which is why the default is to log."""

LOOPBACK = ("127.0.0.0/8", "::1/128")

REJECTIONS = {"payer": "C2B00011", "account": "C2B00012", "amount": "C2B00013", "destination": "C2B00015"}
OTHER_REJECTION = "C2B00016"

UNKNOWN_RECEIPT = "R000002"

log = logging.getLogger(__name__)

Body = bodies.StkCallback | bodies.CustomerPayment | bodies.Result

_READERS: Mapping[str, Callable[[Wire], Body]] = {
    STK_CALLBACK: bodies.read_stk,
    RESULT: bodies.read_result,
    STATUS_RESULT: bodies.read_result,
    TIMEOUT: bodies.read_timeout,
    STATUS_TIMEOUT: bodies.read_timeout,
    VALIDATION: bodies.read_customer_payment,
    CONFIRMATION: bodies.read_customer_payment,
}


class MpesaWebhook(WebhookAdapter):
    """The inbound side. What a body means follows from the path's purpose, then from its shape."""

    provider = "mpesa"
    fixed_paths = (
        FixedPath("/webhooks/mpesa/callback", STK_CALLBACK),
        FixedPath("/webhooks/mpesa/validation", VALIDATION),
        FixedPath("/webhooks/mpesa/confirmation", CONFIRMATION),
        FixedPath("/webhooks/mpesa/result", RESULT),
        FixedPath("/webhooks/mpesa/timeout", TIMEOUT),
    )
    purposes = frozenset(EVENT_TYPES)
    config_purposes = {
        VALIDATION: "C2B validation: M-Pesa asks whether a customer's payment is welcome (once Safaricom has enabled it)",
        CONFIRMATION: "C2B confirmation: M-Pesa tells of a customer's payment",
    }

    def locate(self, request: InboundRequest) -> Sequence[Locator]:
        body = _read(request)
        match body:
            case bodies.StkCallback():
                return (Locator("checkout_request", body.checkout), Locator("merchant_request", body.merchant))
            case bodies.CustomerPayment():
                # A till may be named by its own number or by its store's.
                return (Locator("shortcode", body.shortcode), Locator("store_number", body.shortcode))
            case bodies.Result():
                ids = (("conversation", body.conversation), ("originator_conversation", body.originator))
                return tuple(Locator(kind, value) for kind, value in ids if value)

    def verify(self, request: InboundRequest, config: ConfigView | None, *, by_token: bool) -> Verified:
        """See `WebhookAdapter`. Without a signature the shape is all there is to check, and the address if asked to.

        The dedupe key covers all that matters in the body: a second body that says something else is not swallowed by the
        first. It also covers the trust: a guess on a fixed path can't swallow the real thing on the secret one.
        """
        body = _read(request)
        if config is not None:
            _check_address(request, config)
        trust = Trust.TOKEN if by_token else Trust.HINT
        match body:
            case bodies.StkCallback():
                named = f"stk:{body.checkout[:60]}:{body.code[:20]}"
            case bodies.CustomerPayment():
                named = f"{'c2b' if request.purpose == CONFIRMATION else 'ask'}:{body.receipt}"
            case bodies.Result():
                named = f"{EVENT_TYPES[request.purpose]}:{body.conversation[:60]}"
        return Verified(trust, f"{named}:{trust.value}:{bodies.digest(body)}", EVENT_TYPES[request.purpose])

    def parse(self, request: InboundRequest, origin: Origin) -> Sequence[InboundEvent]:
        body = _read(request)
        match body:
            case bodies.StkCallback():
                return (_payment_reported(body, origin),)
            case bodies.CustomerPayment():
                if request.purpose == VALIDATION:
                    return ()  # a question, answered in the request; the money has not moved
                common = origin.fields(self.provider, EVENT_TYPES[CONFIRMATION])
                return (MoneyReceived(**common, payment=_incoming(body)),)
            case bodies.Result():
                event = _result_reported(request.purpose, body, origin)
                return (event,) if event else ()

    def asks(self, request: InboundRequest, origin: Origin) -> ValidationAsked | None:
        if request.purpose != VALIDATION:
            return None
        body = _read(request)
        if not isinstance(body, bodies.CustomerPayment):
            raise MalformedWebhook("body is no validation request")
        return ValidationAsked(**origin.fields(self.provider, EVENT_TYPES[VALIDATION]), payment=_incoming(body))

    def ack(self, request: InboundRequest, answer: ValidationAnswer | None = None) -> Ack:
        """Return the documented answer. A validation that nobody decided is accepted, as M-Pesa itself would by default."""
        if request.purpose == VALIDATION:
            if answer is None or answer.accepted:
                return _json({"ResultCode": "0", "ResultDesc": "Accepted"})
            return _json({"ResultCode": REJECTIONS.get(answer.problem, OTHER_REJECTION), "ResultDesc": "Rejected"})
        if request.purpose in (STK_CALLBACK, CONFIRMATION):
            return _json({"ResultCode": 0, "ResultDesc": "Success"})
        return _json({"ResultCode": 0, "ResultDesc": "Accepted"})


def _json(value: Mapping[str, object]) -> Ack:
    return Ack(body=json.dumps(value, separators=(",", ":")).encode())


@contextmanager
def _malformed() -> Iterator[None]:
    try:
        yield
    except WireError as error:
        raise MalformedWebhook(str(error)) from None


def _read(request: InboundRequest) -> Body:
    reader = _READERS.get(request.purpose)
    if reader is None:
        raise MalformedWebhook("nothing is sent to this path")
    with _malformed():
        return reader(request.json())


def _check_address(request: InboundRequest, config: ConfigView) -> None:
    """Compare the caller with the list; `remote_ip` is what the hub's own proxy setting made of it."""
    mode = config.get("callback_ip_check") or "log"
    if mode == "off":
        return
    default = LOOPBACK if config.environment is Environment.SIMULATOR else SAFARICOM_ADDRESSES
    if _is_listed(request.remote_ip, split_networks(config.get("callback_ips") or "") or default):
        return
    if mode == "enforce":
        raise BadSignature("the caller's address is not on this config's list")
    log.warning("callback from an address that is not listed: %s, config %s", request.remote_ip or "unknown", config.id)


def _is_listed(address: str, networks: Sequence[str]) -> bool:
    try:
        caller = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(caller, ipaddress.IPv6Address) and caller.ipv4_mapped:
        caller = caller.ipv4_mapped
    return any(caller in ipaddress.ip_network(network, strict=False) for network in networks)


def _incoming(body: bodies.CustomerPayment) -> IncomingPayment:
    return IncomingPayment(
        receipt=body.receipt,
        money=body.money,
        account_number=body.account,
        destination=body.shortcode,
        payer=body.payer,
        payer_name=body.payer_name,
        occurred_at=body.occurred_at,
    )


def _payment_reported(body: bodies.StkCallback, origin: Origin) -> PaymentReported:
    state, failure = stk_outcome(body.code)
    return PaymentReported(
        **origin.fields("mpesa", EVENT_TYPES[STK_CALLBACK]),
        provider_ref=body.checkout,
        state=state,
        money=body.money,
        receipt=body.receipt,
        payer=body.payer,
        failure=failure,
        occurred_at=body.occurred_at,
        token_object=origin.token_object,
        references=(("checkout_request", body.checkout), ("merchant_request", body.merchant)),
    )


def _result_reported(purpose: str, body: bodies.Result, origin: Origin) -> InboundEvent | None:
    """Return what a result says; None for a balance, which changes nothing here (it can be read in the stored body).

    A failure has no parameters: then the path's purpose and the object behind its token tell what it is about.
    """
    kind = origin.token_object.partition(":")[0]
    if purpose == STATUS_TIMEOUT:
        return _receipt_reported(purpose, origin, None, "M-Pesa's queue timed out before it answered.")
    if purpose == TIMEOUT:
        return _timed_out(kind, body, origin)
    if purpose == STATUS_RESULT or "TransactionStatus" in body.parameters:
        return _refund_status(body, origin) if kind == "refund" else _receipt_status(body, origin)
    if "AccountBalance" in body.parameters:
        return None
    if kind == "refund" or (not kind and (body.code != PAID or "OriginalTransactionID" in body.parameters)):
        state, failure = refund_outcome(body.code)
        receipt = body.transaction if state is RefundState.SUCCEEDED else ""
        money = bodies.amount_of(body.first("Amount")) if receipt else None
        return _refund_reported(RESULT, origin, state, failure, receipt, body.originator, money)
    return None


def _timed_out(kind: str, body: bodies.Result, origin: Origin) -> InboundEvent | None:
    """A queue timeout says that nobody knows: the reversal may still be carried out."""
    if kind != "refund" and (kind or not body.conversation):
        return None
    text = "M-Pesa's queue timed out: it may still happen."
    failure = Failure.of("queue_timeout", text, provider_code=body.code)
    return _refund_reported(TIMEOUT, origin, RefundState.UNKNOWN, failure, "", body.originator)


def _refund_status(body: bodies.Result, origin: Origin) -> InboundEvent:
    """The answer to a question about a reversal. Where that is indefinite, or the question itself failed, it says nothing
    about the reversal and must not look like news of it: the hub would ask again at once, for ever."""
    if body.code != PAID:
        return _receipt_reported(STATUS_RESULT, origin, None, initiator_failure(body.code).message)
    status = body.first("TransactionStatus")
    completed = transaction_completed(status)
    if completed is None:
        return _receipt_reported(STATUS_RESULT, origin, None, status[:200] or "M-Pesa's answer states no status.")
    # The ids in this body are the question's, not the reversal's: the token alone says which refund it is.
    if completed:
        return _refund_reported(STATUS_RESULT, origin, RefundState.SUCCEEDED, None, body.first("ReceiptNo"))
    failure = Failure.of("refund_declined", f"M-Pesa says: {status[:60]}.", provider_code=status[:60])
    return _refund_reported(STATUS_RESULT, origin, RefundState.FAILED, failure)


def _refund_reported(
    purpose: str,
    origin: Origin,
    state: RefundState,
    failure: Failure | None,
    receipt: str = "",
    provider_ref: str = "",
    money: Money | None = None,
) -> RefundReported:
    return RefundReported(
        **origin.fields("mpesa", EVENT_TYPES[purpose]),
        provider_ref=provider_ref,
        state=state,
        receipt=receipt,
        failure=failure,
        money=money,
        token_object=origin.token_object,
    )


def _receipt_status(body: bodies.Result, origin: Origin) -> ReceiptReported:
    """The answer to "did this money come in?": yes, no, or (None) no answer."""
    if body.code == UNKNOWN_RECEIPT:
        return _receipt_reported(STATUS_RESULT, origin, False, "M-Pesa does not know this receipt.")
    if body.code != PAID:
        return _receipt_reported(STATUS_RESULT, origin, None, initiator_failure(body.code).message)
    receipt, status = body.first("ReceiptNo").upper(), body.first("TransactionStatus")
    confirmed = transaction_completed(status)
    if confirmed and _went_out(body):
        return _receipt_reported(STATUS_RESULT, origin, False, "This money was paid out, it did not come in.", receipt)
    money = bodies.amount_of(body.first("Amount"))
    if confirmed and (money is None or not receipt):
        return _receipt_reported(STATUS_RESULT, origin, None, "M-Pesa's answer states no amount or receipt.", receipt)
    return _receipt_reported(STATUS_RESULT, origin, confirmed, status[:200], receipt, money)


def _receipt_reported(
    purpose: str,
    origin: Origin,
    confirmed: bool | None,
    detail: str,
    receipt: str = "",
    money: Money | None = None,
) -> ReceiptReported:
    return ReceiptReported(
        **origin.fields("mpesa", EVENT_TYPES[purpose]),
        receipt=receipt,
        confirmed=confirmed,
        money=money,
        detail=detail,
        token_object=origin.token_object,
    )


def _went_out(body: bodies.Result) -> bool:
    """Tell whether the credited party is a phone: the receipt of a payout or reversal must not pass for one of income."""
    credited = body.first("CreditPartyName").partition(" ")[0]
    return len(credited) == 12 and credited.isdigit() and credited.startswith("254")
