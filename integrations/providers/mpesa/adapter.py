"""M-Pesa as a payment gateway: STK push and query, reversal, transaction status, C2B registration.

Source of requests and answers: Safaricom's developer portal (captured August 2026); what was observed and not documented
is marked. Callback URLs are one unguessable base per object; the last part says what the call is about (see webhook.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeVar

from integrations.contracts.adapter import Clock, ConfigView, HttpPort, Registration, TestResult, TokenPort
from integrations.contracts.capabilities import Environment
from integrations.contracts.errors import (
    AuthenticationFailed,
    Conflict,
    Declined,
    InvalidRequest,
    NotFound,
    OutcomeUnknown,
    ProviderError,
    ProviderUnavailable,
    UnsupportedOperation,
)
from integrations.contracts.money import InvalidMoney, Money
from integrations.contracts.payment import (
    PaymentQuery,
    PaymentRequest,
    PaymentResult,
    PaymentState,
    ReceiptQuery,
    RefundRequest,
    RefundResult,
    RefundState,
)
from integrations.contracts.payment_adapter import PaymentAdapter
from integrations.contracts.payment_features import (
    CurrencyRule,
    MethodType,
    PaymentFeatures,
)
from integrations.contracts.wire import Wire, WireError
from integrations.providers.mpesa import formats
from integrations.providers.mpesa.calls import Daraja
from integrations.providers.mpesa.provider import STK_CEILING, STK_MAX
from integrations.providers.mpesa.refusals import OVERLOADED_CODE
from integrations.providers.mpesa.results import stk_outcome
from integrations.providers.mpesa.webhook import (
    CONFIRMATION,
    RESULT,
    STATUS_RESULT,
    STATUS_TIMEOUT,
    STK_CALLBACK,
    TIMEOUT,
    VALIDATION,
)

R = TypeVar("R")
ACCEPTED = frozenset({"0", "00000000"})
TRANSACTION_TYPES = {"paybill": "CustomerPayBillOnline", "till": "CustomerBuyGoodsOnline"}
UNKNOWN_CHECKOUT = "ws_CO_01012020000000000700000000"
"""A CheckoutRequestID that no push ever had: asking for it checks shortcode and passkey and touches nothing."""


class MpesaPayments(PaymentAdapter):
    """One tenant's pay bill or till.

    Nothing here deduplicates: a push sent twice is two prompts (observed), so the runtime sends each once and asks later.
    A payment's truth comes by STK query without a receipt; the receipt comes by callback, confirmation or status query.
    """

    features = PaymentFeatures(
        operations=frozenset({"authorize", "sync", "refund", "partial_refund", "multiple_refund", "receipt"}),
        methods=frozenset({MethodType.MOBILE_MONEY}),
        currencies={
            "KES": CurrencyRule(100, STK_CEILING * 100, decimals=0, step=100)
        },  # a config's own limit is checked by `check`
        polls=(30, 60, 120, 300, 900),
        silence=3_600,
        validity=120,
        notes={
            "refund": "Needs an API user (initiator) of the M-Pesa portal, and the receipt of the payment.",
            "multiple_refund": "Unconfirmed: should M-Pesa call a receipt reversed already (R000001), a person must look.",
        },
    )

    def __init__(self, *, config: ConfigView, http: HttpPort, tokens: TokenPort, clock: Clock) -> None:
        super().__init__(config=config, http=http, tokens=tokens, clock=clock)
        self._daraja = Daraja(config, http, tokens)

    @classmethod
    def features_for(cls, config: ConfigView) -> PaymentFeatures:
        """See `PaymentAdapter`: an account without an initiator can't reverse."""
        able = config.get("initiator_name") and config.get("initiator_password") and config.get("certificate")
        return cls.features if able else cls.features.without("refund", "partial_refund", "multiple_refund")

    # --- payments

    @classmethod
    def check(cls, request: PaymentRequest, config: ConfigView) -> None:
        """See `PaymentAdapter`: amount (whole shillings, the config's own limit), method, phone, callback address."""
        most = int(config.get("stk_max") or STK_MAX) * 100
        limits = replace(cls.features, currencies={"KES": CurrencyRule(100, most, decimals=0, step=100)})
        limits.check("authorize", request.money, request.method)
        if not request.capture:
            raise UnsupportedOperation("M-Pesa can't hold money and take it later.", attr="capture")
        if request.off_session:
            raise UnsupportedOperation("M-Pesa can't charge a stored payer.", attr="method.token")
        formats.msisdn(request.phone)
        _callback(request.callback_url, STK_CALLBACK, config)

    @classmethod
    def check_refund(cls, request: RefundRequest, config: ConfigView) -> None:
        """See `PaymentAdapter`: a reversal names the receipt, which a success learned by query does not bring."""
        if not request.payment_receipt:
            raise Conflict("The gateway's receipt number is not known yet; it is needed to refund.", attr="payment")

    @classmethod
    def shown_reference(cls, request: PaymentRequest) -> str:
        """Return what the payer sees as the account, and what a C2B confirmation of the same payment will name."""
        return formats.account_reference(request.reference, request.payment_id)

    def authorize(self, request: PaymentRequest) -> PaymentResult:
        """Put the prompt on the payer's phone. The result is always PROCESSING: accepted means no more than that."""
        self.check(request, self.config)
        payload = {
            **self._merchant(),
            "TransactionType": TRANSACTION_TYPES[self._product],
            "Amount": _shillings(request.money),
            "PartyA": (phone := formats.msisdn(request.phone)),
            "PartyB": self.config.shortcode,
            "PhoneNumber": phone,
            "CallBackURL": self._callback(request.callback_url, STK_CALLBACK),
            "AccountReference": self.shown_reference(request),
            "TransactionDesc": formats.description(request.description),
        }
        return self._daraja.post("/mpesa/stkpush/v1/processrequest", payload, _pushed, operation="stk_push", safe=False)

    def payment_status(self, query: PaymentQuery) -> PaymentResult:
        """Ask by CheckoutRequestID. SUCCEEDED states neither amount nor receipt: M-Pesa's answer has none.

        `500.001.1001` is PROCESSING whatever its text, unless that speaks of credentials: about one poll in five gets a
        stray one for an id that is known (observed, autumn 2026). Raises `UnsupportedOperation` without `provider_ref`.
        """
        checkout = query.provider_ref
        if not checkout:
            raise UnsupportedOperation("M-Pesa can only be asked about a push whose CheckoutRequestID is known.")

        def read(wire: Wire) -> PaymentResult:
            if wire["CheckoutRequestID"].text(max_length=200) != checkout:
                raise WireError("CheckoutRequestID is another payment's")
            code = wire["ResultCode"].text(max_length=40).strip()
            state, failure = stk_outcome(code)
            return PaymentResult(state, checkout, failure=failure, provider_code=code)

        try:
            return self._ask_push(checkout, read)
        except (NotFound, ProviderUnavailable) as error:
            if error.provider_code != OVERLOADED_CODE:
                raise
            return PaymentResult(PaymentState.PROCESSING, checkout, provider_code=OVERLOADED_CODE)

    def receipt_status(self, query: ReceiptQuery) -> PaymentResult:
        """Start a transaction status query; the answer comes to `callback_url` as a `ReceiptReported`."""
        originator, conversation = self._ask_transaction({"TransactionID": _receipt(query.receipt)}, query.callback_url)
        return PaymentResult(
            PaymentState.PROCESSING,
            receipt=query.receipt,
            references=_conversation_references(originator, conversation),
        )

    # --- refunds

    def refund(self, request: RefundRequest) -> RefundResult:
        """Start a reversal. `provider_ref` is the OriginatorConversationID: under it M-Pesa can be asked later."""
        self.features.check("refund")
        payload = {
            **self._initiator(),
            "CommandID": "TransactionReversal",
            "TransactionID": _receipt(request.payment_receipt),
            "Amount": _shillings(request.money),
            "ReceiverParty": self._business,
            "RecieverIdentifierType": "11",  # the misspelling is Safaricom's
            "ResultURL": self._callback(request.callback_url, RESULT),
            "QueueTimeOutURL": self._callback(request.callback_url, TIMEOUT),
            "Remarks": formats.remarks(request.reason),
            "Occasion": "",
        }
        originator, conversation = self._daraja.post(
            "/mpesa/reversal/v1/request", payload, _accepted, operation="reversal", safe=False
        )
        return RefundResult(RefundState.PROCESSING, originator, references=_conversation_references(originator, conversation))

    def refund_status(self, request: RefundRequest) -> RefundResult:
        """Start a status query about the reversal; the answer comes to `callback_url`: `RefundReported` where it
        is definite, else a `ReceiptReported` that confirms nothing.

        The receipt of the *payment* would not do: a reversed payment still reads "Completed". Raises
        `UnsupportedOperation` where the reversal's OriginatorConversationID was never learned.
        """
        reference = request.provider_ref
        if not reference:
            raise UnsupportedOperation("M-Pesa can't be asked about a reversal whose acceptance got lost.")
        originator, conversation = self._ask_transaction({"OriginalConversationID": reference}, request.callback_url)
        return RefundResult(RefundState.PROCESSING, reference, references=_conversation_references(originator, conversation))

    # --- set-up

    def test_connection(self) -> TestResult:
        """Fetch a token, ask for a push that never was (checks shortcode and passkey), load the certificate."""
        self._daraja.renew_token()
        found = ["consumer key and secret accepted"]
        try:
            self._ask_push(UNKNOWN_CHECKOUT, lambda wire: wire["ResponseCode"].text())
            found.append("shortcode and passkey accepted")
        except NotFound:  # the password was right: it is checked before the id
            found.append("shortcode and passkey accepted")
        except AuthenticationFailed:
            raise
        except ProviderError as error:
            found.append(f"shortcode and passkey not checked ({error.message.rstrip('.')})")
        if self.config.get("initiator_name"):
            self._initiator()
            found.append("certificate loads, initiator not tried")
        else:
            found.append("no initiator: refunds and receipt checks are off")
        text = "; ".join(found)
        return TestResult(ok=True, status="ok", detail=f"{text[0].upper()}{text[1:]}.")

    def register_webhooks(self, urls: Mapping[str, str]) -> Registration:
        """Register the C2B URLs `v` (validation) and `n` (confirmation) for the shortcode.

        Raises `Conflict` where the shortcode has URLs already: in production they can only be deleted in the portal.
        """
        payload = {
            "ShortCode": self._business,
            "ResponseType": self.config.get("c2b_response_type") or "Completed",
            "ConfirmationURL": _checked_url(urls[CONFIRMATION], self.config),
            "ValidationURL": _checked_url(urls[VALIDATION], self.config),
        }
        self._daraja.post("/mpesa/c2b/v2/registerurl", payload, _require_accepted, operation="c2b_register", safe=True)
        return Registration(
            f"M-Pesa now sends payments to {self._business} here; validation only where Safaricom has switched it on."
        )

    # --- pieces

    @property
    def _product(self) -> str:
        return str(self.config.get("product") or "paybill")

    @property
    def _business(self) -> str:
        """The organisation's own shortcode: for a till its store number, which is what API users belong to."""
        return str(self.config.store_number if self._product == "till" else self.config.shortcode)

    def _merchant(self) -> dict[str, str]:
        stamp = formats.timestamp(self.clock())
        return {
            "BusinessShortCode": self._business,
            "Password": formats.password(self._business, self.config.passkey, stamp),
            "Timestamp": stamp,
        }

    def _initiator(self) -> dict[str, str]:
        name, password, certificate = (
            self.config.get(field) for field in ("initiator_name", "initiator_password", "certificate")
        )
        if not (name and password and certificate):
            raise UnsupportedOperation("This config has no initiator: M-Pesa needs one for this.")
        try:
            credential = formats.security_credential(password, certificate)
        except ValueError as error:
            raise AuthenticationFailed(f"The certificate {error}.") from None
        return {"Initiator": name, "SecurityCredential": credential}

    def _ask_push(self, checkout: str, read: Callable[[Wire], R]) -> R:
        payload = {**self._merchant(), "CheckoutRequestID": checkout}
        return self._daraja.post("/mpesa/stkpushquery/v1/query", payload, read, operation="stk_query", safe=True)

    def _ask_transaction(self, which: Mapping[str, str], callback_url: str) -> tuple[str, str]:
        payload = {
            **self._initiator(),
            "CommandID": "TransactionStatusQuery",
            **which,
            "PartyA": self._business,
            "IdentifierType": "4",
            "ResultURL": self._callback(callback_url, STATUS_RESULT),
            "QueueTimeOutURL": self._callback(callback_url, STATUS_TIMEOUT),
            "Remarks": "Status",
            "Occasion": "",
        }
        return self._daraja.post(
            "/mpesa/transactionstatus/v1/query", payload, _accepted, operation="transaction_status", safe=True
        )

    def _callback(self, base: str, purpose: str) -> str:
        return _callback(base, purpose, self.config)


def _callback(base: str, purpose: str, config: ConfigView) -> str:
    return _checked_url(f"{base.rstrip('/')}/{purpose}", config)


def _checked_url(url: str, config: ConfigView) -> str:
    """Refuse here, with a reason, what Daraja would refuse with "Invalid CallBackURL"."""
    word = formats.forbidden_word(url)
    if word:
        raise InvalidRequest(f"M-Pesa refuses callback URLs that contain {word!r}: change the hub's public address.")
    if config.environment is Environment.PRODUCTION and not url.startswith("https://"):
        raise InvalidRequest("M-Pesa calls back over https only: change the hub's public address.")
    return url


def _shillings(money: Money) -> int:
    try:
        return money.whole_major_units()
    except InvalidMoney as error:
        raise InvalidRequest(f"M-Pesa moves whole shillings: {error}.", attr="amount") from error


def _receipt(receipt: str) -> str:
    if not re.fullmatch(r"[0-9A-Za-z]{8,20}", receipt):
        raise InvalidRequest("This is no M-Pesa receipt number.", attr="receipt")
    return receipt.upper()


def _pushed(wire: Wire) -> PaymentResult:
    code = wire["ResponseCode"].text(max_length=40).strip()
    if code not in ACCEPTED:
        # "Refused" and a push id contradict each other: then nobody knows whether the phone rings.
        if wire.get("CheckoutRequestID") is None:
            raise Declined("M-Pesa did not take the payment request.", provider_code=code)
        raise OutcomeUnknown("M-Pesa's answer contradicts itself.", provider_code=code)
    checkout = _an_id(wire["CheckoutRequestID"])
    merchant = _an_id(wire["MerchantRequestID"])
    told = wire.get("CustomerMessage")
    message = told.text(max_length=500) if told else "Confirm the payment on your phone."
    return PaymentResult(
        PaymentState.PROCESSING,
        checkout,
        next_action={"type": "confirm_on_phone", "message": message},
        references=(("checkout_request", checkout), ("merchant_request", merchant)),
        provider_code=code,
    )


def _an_id(wire: Wire) -> str:
    value = wire.text(max_length=200).strip()
    if not value:
        raise WireError(f"{wire.path} is empty")
    return value


def _require_accepted(wire: Wire) -> None:
    code = wire["ResponseCode"].text(max_length=40).strip()
    if code not in ACCEPTED:
        raise Declined("M-Pesa did not accept the request.", provider_code=code)


def _accepted(wire: Wire) -> tuple[str, str]:
    """Return (OriginatorConversationID, ConversationID) of an accepted initiator request."""
    _require_accepted(wire)
    return _an_id(wire["OriginatorConversationID"]), _an_id(wire["ConversationID"])


def _conversation_references(originator: str, conversation: str) -> tuple[tuple[str, str], ...]:
    return (("conversation", conversation), ("originator_conversation", originator))
