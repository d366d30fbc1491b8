"""Pesapal as a payment gateway: a hosted page for each payment, status by query, refunds by request, cancelling.

Source: developer.pesapal.com, API 3.0, and recorded answers (fixtures/SOURCES.md), read November 2026.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from integrations.contracts.adapter import Clock, ConfigView, HttpPort, Registration, TestResult, TokenPort
from integrations.contracts.errors import (
    Conflict,
    InvalidRequest,
    NotConfigured,
    ProviderUnavailable,
    UnsupportedOperation,
)
from integrations.contracts.payment import (
    PaymentQuery,
    PaymentRequest,
    PaymentResult,
    PaymentState,
    RefundRequest,
    RefundResult,
    RefundState,
    VoidRequest,
)
from integrations.contracts.payment_adapter import PaymentAdapter
from integrations.contracts.payment_features import MethodType, PaymentFeatures
from integrations.contracts.wire import Wire, WireError
from integrations.providers.pesapal import formats, money
from integrations.providers.pesapal.calls import Answer, PesapalApi, unreadable
from integrations.providers.pesapal.codes import is_mobile_money, order_failure, refund_failure
from integrations.providers.pesapal.results import read_status, reversal_ref
from integrations.providers.pesapal.webhook import IPN

SUBMIT = "/api/Transactions/SubmitOrderRequest"
STATUS = "/api/Transactions/GetTransactionStatus"
REFUND = "/api/Transactions/RefundRequest"
CANCEL = "/api/Transactions/CancelOrder"
REGISTER_IPN = "/api/URLSetup/RegisterIPN"
LIST_IPNS = "/api/URLSetup/GetIpnList"
REJECTED = 500
DAY = 86_400


class PesapalPayments(PaymentAdapter):
    """One tenant's Pesapal account.

    An order's `id` must be new for every request, for ever, and no call finds an order by it. So each try submits an id of
    its own; an order whose link got lost can't be paid by anybody, and creating another one is harmless.
    """

    features = PaymentFeatures(
        operations=frozenset({"authorize", "sync", "cancel", "refund", "partial_refund"}),
        methods=frozenset({MethodType.REDIRECT}),
        currencies=money.rules(),
        polls=(60, 180, 600, 1800, 3600),
        silence=2 * DAY,
        unknown_after=900,
        validity=300,
        lapses=DAY,
        notes={
            "refund": (
                "One request per payment, ever. A person approves it in Pesapal's dashboard and Pesapal's finance team carries "
                "it out, which takes days; mobile money can only be refunded in full."
            ),
            "partial_refund": "Cards only.",
            "cancel": "Only while nothing was paid; the page then refuses the payer.",
            "transactions": "Pesapal has no API that lists transactions: reconcile with the dashboard's export.",
            "disputes": "A chargeback shows as a reversal of the whole payment.",
        },
    )

    def __init__(self, *, config: ConfigView, http: HttpPort, tokens: TokenPort, clock: Clock) -> None:
        super().__init__(config=config, http=http, tokens=tokens, clock=clock)
        self._api = PesapalApi(config, http, tokens, clock)

    @classmethod
    def features_for(cls, config: ConfigView) -> PaymentFeatures:
        """See `PaymentAdapter`: no refunds without the dashboard user in whose name they are requested."""
        return cls.features if config.get("refund_username") else cls.features.without("refund", "partial_refund")

    # --- payments

    @classmethod
    def check(cls, request: PaymentRequest, config: ConfigView) -> None:
        """See `PaymentAdapter`. Raises `NotConfigured` where the webhooks were never registered: an order needs their id."""
        cls.features.check("authorize", request.money, request.method)
        if not request.capture:
            raise UnsupportedOperation("Pesapal can't hold money and take it later.", attr="capture")
        if request.off_session:
            raise UnsupportedOperation("Pesapal can't charge a stored payer.", attr="method.token")
        if not (request.customer_email or request.phone):
            raise InvalidRequest("Pesapal needs the payer's e-mail address or phone number.", attr="customer.email")
        if not request.return_url:
            raise InvalidRequest("Pesapal needs an address to send the payer back to.", attr="return_url")
        if not config.get("ipn_id"):
            raise NotConfigured(
                "Pesapal needs a notification id with every payment: register the webhooks of this config first.",
                attr="ipn_id",
            )

    @classmethod
    def check_refund(cls, request: RefundRequest, config: ConfigView) -> None:
        """See `PaymentAdapter`: one request per payment, full for mobile money, not above what was paid (documentation)."""
        if not config.get("refund_username"):
            raise UnsupportedOperation(
                "Refunds need the name of a Pesapal dashboard user: fill in 'User for refunds' in this config.",
                attr="refund_username",
            )
        if not (request.payment_receipt or request.capture_ref):
            raise Conflict("Pesapal's confirmation code of this payment is not known yet; it is needed to refund.")
        if request.earlier:
            raise Conflict("Pesapal takes one refund request for each payment, ever, and this one has had it.")
        money.to_text(request.money)
        paid = request.captured
        if paid is None:
            return
        if request.money.currency != paid.currency:
            raise InvalidRequest(f"Pesapal refunds in the currency of the payment, {paid.currency}.", attr="currency")
        if request.money.minor_units > paid.minor_units:
            raise InvalidRequest(f"Pesapal refunds at most what was paid, {paid}.", attr="amount")
        if request.money != paid and is_mobile_money(request.method_name):
            raise InvalidRequest(f"Pesapal refunds mobile money in full only: {paid}.", attr="amount")

    def authorize(self, request: PaymentRequest) -> PaymentResult:
        """Create the order and return its page: REQUIRES_ACTION. A refusal (a limit, a wrong notification id) is FAILED."""
        self.check(request, self.config)
        reference = formats.merchant_reference(request.payment_id, request.attempt)
        # Harmless to repeat: nobody can pay an order whose link got lost, and the next try has an id of its own.
        answer = self._api.call("POST", SUBMIT, operation="authorize", safe=True, payload=self._order(request, reference))
        if not _has(answer.body, "order_tracking_id"):
            if answer.error is None and answer.ok:
                raise unreadable("order_tracking_id is missing", safe=True)
            return self._refused(answer)
        try:
            tracking, url = _created(answer.body, reference)
        except WireError as error:
            raise unreadable(str(error), safe=True) from error
        return PaymentResult(
            PaymentState.REQUIRES_ACTION,
            tracking,
            next_action={"type": "redirect", "url": url},
            references=(("merchant_reference", reference), ("order_tracking", tracking)),
        )

    def payment_status(self, query: PaymentQuery) -> PaymentResult:
        """Ask for the order; see `results.read_status`.

        FAILED is the word on one attempt: the payer may try again on the same page, so SUCCEEDED may follow. Without
        `provider_ref` the answer is ABSENT without asking: Pesapal can't be searched, and a page that nobody was given
        can't be paid on.
        """
        if not query.provider_ref:
            return PaymentResult(PaymentState.ABSENT)
        return self._payment(query.provider_ref, query.payment_id)

    def void(self, request: VoidRequest) -> PaymentResult:
        """Cancel an unpaid order: its page refuses the payer from then on. Where Pesapal won't, the answer is how it stands."""
        if request.held:
            raise UnsupportedOperation("Pesapal can't hold money, so there is no hold to release.")
        tracking = request.payment_provider_ref
        if not tracking:
            return PaymentResult(PaymentState.ABSENT)
        payload = {"order_tracking_id": tracking}
        # Cancelling twice is cancelling once (the second is refused), and no money moves by it.
        answer = self._api.call("POST", CANCEL, operation="void", safe=True, payload=payload)
        if answer.ok:
            return PaymentResult(PaymentState.CANCELLED, tracking)
        found = self._payment(tracking, request.payment_id)
        unpaid = found.state in (PaymentState.REQUIRES_ACTION, PaymentState.FAILED)
        if unpaid and _cancelled_before(answer):
            return PaymentResult(PaymentState.CANCELLED, tracking)
        return found

    # --- refunds

    def refund(self, request: RefundRequest) -> RefundResult:
        """Request a refund. PROCESSING means that a person at the merchant must approve it now; days may pass.

        Pesapal gives refunds no id; since there is one per payment for ever, the order's id names it. A lost answer is
        `OutcomeUnknown` and nothing is ever sent again.
        """
        self.check_refund(request, self.config)
        payload = {
            "confirmation_code": request.payment_receipt or request.capture_ref,
            "amount": money.to_text(request.money),
            "username": self.config.refund_username,
            "remarks": formats.one_line(request.reason, formats.REMARKS_LENGTH) or "Refund",
        }
        answer = self._api.call("POST", REFUND, operation="refund", safe=False, payload=payload)
        if answer.ok:
            return RefundResult(RefundState.PROCESSING, reversal_ref(request.payment_provider_ref))
        if answer.error is None and answer.status != REJECTED:
            raise unreadable(f"status is {answer.status}", safe=False)
        code = answer.error.code if answer.error else ""
        message = self._api.clean(_message(answer))
        return RefundResult(RefundState.FAILED, failure=refund_failure(code or str(answer.status), message))

    def refund_status(self, request: RefundRequest) -> RefundResult:
        """SUCCEEDED once the payment reads "reversed", the only sign that Pesapal gives; until then PROCESSING.

        UNKNOWN where the request's own answer got lost (no `provider_ref`) and nothing shows yet. That partial refunds read
        "reversed" too is unconfirmed, so a refund that stays PROCESSING for days is for a person to look up.
        """
        tracking = request.payment_provider_ref
        if not tracking:
            raise UnsupportedOperation("Pesapal can only be asked about a payment whose order tracking id is known.")
        found = self._payment(tracking, request.payment_id)
        if found.refunds:
            return RefundResult(RefundState.SUCCEEDED, reversal_ref(tracking))
        accepted = bool(request.provider_ref) and found.state is PaymentState.SUCCEEDED
        return RefundResult(RefundState.PROCESSING if accepted else RefundState.UNKNOWN, request.provider_ref)

    # --- set-up

    def test_connection(self) -> TestResult:
        """Fetch a token from this environment's host, and look whether the notification id is one of this account's."""
        self._api.renew_token()
        ipn_id = self.config.get("ipn_id")
        if not ipn_id:
            return TestResult(True, "ok", "Consumer key and secret accepted; now register the webhooks, payments need them.")
        if any(_member(entry, "ipn_id").lower() == ipn_id.lower() for entry in self._ipns()):
            return TestResult(True, "ok", "Consumer key and secret accepted, and the notification id is known.")
        return TestResult(
            False, "webhooks_unknown", "Key and secret are right, but not the notification id: register the webhooks again."
        )

    def register_webhooks(self, urls: Mapping[str, str]) -> Registration:
        """Register our URL for POST, unless this account has it already: Pesapal can neither change nor delete one."""
        url = urls[IPN]
        ipn_id = next((_member(each, "ipn_id") for each in self._ipns() if _serves(each, url)), "")
        if ipn_id:
            return Registration("Pesapal has this address already; its notification id was stored.", {"ipn_id": ipn_id})
        payload = {"url": url, "ipn_notification_type": "POST"}
        # Harmless to repeat: the next try finds the address in the list.
        answer = self._api.call("POST", REGISTER_IPN, operation="register_ipn", safe=True, payload=payload)
        if not answer.ok:
            raise InvalidRequest(
                f"Pesapal did not take the address: {_shown(answer)}.",
                provider_code=answer.error.code if answer.error else str(answer.status),
            )
        ipn_id = _member(answer.body, "ipn_id")
        if not ipn_id:
            raise unreadable("ipn_id is missing", safe=True)
        return Registration("Pesapal now reports changes of payments here.", {"ipn_id": ipn_id})

    # --- pieces

    def _order(self, request: PaymentRequest, reference: str) -> dict[str, Any]:
        first, last = formats.names(request.customer_name)
        address = {
            "email_address": request.customer_email,
            "phone_number": request.phone.removeprefix("+"),
            "country_code": request.country or self.config.get("country") or "",
            "first_name": first,
            "last_name": last,
        }
        order = {
            "id": reference,
            "currency": request.money.currency,
            "amount": money.to_number(request.money),
            "description": formats.description(request.description, request.reference),
            "callback_url": request.return_url,
            "redirect_mode": "TOP_WINDOW",
            "cancellation_url": request.cancel_url,
            "notification_id": self.config.ipn_id,
            "branch": self.config.get("branch") or "",
            "billing_address": {name: value for name, value in address.items() if value},
        }
        return {name: value for name, value in order.items() if value != ""}

    def _refused(self, answer: Answer) -> PaymentResult:
        code = answer.error.code if answer.error else str(answer.status)
        failure = order_failure(code, _message(answer))
        if failure.code == "duplicate_reference":
            raise Conflict("Pesapal has had an order with this id.", provider_code=code)
        return PaymentResult(PaymentState.FAILED, failure=failure, provider_code=code)

    def _payment(self, tracking: str, payment_id: str) -> PaymentResult:
        answer = self._api.call("GET", STATUS, operation="status", safe=True, query={"orderTrackingId": tracking})
        try:
            return read_status(answer, tracking, payment_id)
        except WireError as error:
            raise unreadable(str(error), safe=True) from error

    def _ipns(self) -> list[Wire]:
        answer = self._api.call("GET", LIST_IPNS, operation="list_ipns", safe=True)
        if answer.error is not None:
            raise ProviderUnavailable(f"Pesapal did not list its addresses: {_shown(answer)}.", provider_code=answer.error.code)
        try:
            return list(answer.body.items())
        except WireError as error:
            raise unreadable(str(error), safe=True) from error


def _created(body: Wire, reference: str) -> tuple[str, str]:
    tracking = body["order_tracking_id"].text(max_length=64).strip()
    if not formats.TRACKING_ID.fullmatch(tracking):
        raise WireError("order_tracking_id is no id")
    if _has(body, "merchant_reference") and body["merchant_reference"].text(max_length=100) != reference:
        raise WireError("merchant_reference is another order's")
    url = body["redirect_url"].text().strip()
    if not url.startswith(("https://", "http://")):
        raise WireError("redirect_url is no address")
    return tracking, url


def _has(body: Wire, name: str) -> bool:
    found = body.get(name)
    return found is not None and found.raw != ""


def _member(entry: Wire, name: str) -> str:
    found = entry.get(name)
    return str(found.raw).strip() if found is not None and isinstance(found.raw, str | int) else ""


def _serves(entry: Wire, url: str) -> bool:
    """Tell whether a registered address is ours, active, and called by POST; members that are absent don't speak against it."""
    if _member(entry, "url") != url or not _member(entry, "ipn_id"):
        return False
    active = _member(entry, "ipn_status") in ("", "1")
    return active and _member(entry, "notification_type") in ("", "1")


def _message(answer: Answer) -> str:
    told = _member(answer.body, "message")
    return told or (answer.error.message if answer.error else "")


def _shown(answer: Answer) -> str:
    return answer.error.shown.rstrip(".") if answer.error else f"status {answer.status}"


def _cancelled_before(answer: Answer) -> bool:
    """Tell whether an order was refused cancelling because it is cancelled (once per order; the wording is unconfirmed)."""
    told = _message(answer).lower()
    return "already" in told and "cancel" in told
