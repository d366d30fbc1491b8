"""PayPal as a payment gateway: an order that the payer approves on PayPal's page, then one capture or one authorization.

Source: checkout_orders_v2 2.13, payments_payment_v2 2.5, customer_disputes_v1 (OpenAPI files of February 2024) and
developer.paypal.com on idempotency and honour periods (read 2026-11); see README.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from integrations.contracts.adapter import Clock, ConfigView, HttpPort, Registration, TestResult, TokenPort
from integrations.contracts.errors import InvalidRequest, OutcomeUnknown, ProviderUnavailable, Undecided, UnsupportedOperation
from integrations.contracts.failures import Failure
from integrations.contracts.payment import (
    CaptureRequest,
    CaptureResult,
    PaymentQuery,
    PaymentRequest,
    PaymentResult,
    PaymentState,
    RefundRequest,
    RefundResult,
    RefundState,
    SetupRequest,
    SetupResult,
    StoredMethod,
    VoidRequest,
)
from integrations.contracts.payment_adapter import PaymentAdapter
from integrations.contracts.payment_features import MethodType, PaymentFeatures
from integrations.contracts.wire import Wire, WireError
from integrations.providers.paypal import codes, money, reading, vault
from integrations.providers.paypal.account import check_connection, register
from integrations.providers.paypal.calls import Refused, Rest, path, request_id
from integrations.providers.paypal.holds import Holds
from integrations.providers.paypal.snapshots import Snapshots

ORDERS = "/v2/checkout/orders"
NOTE_MAX = 127
VAULTED = frozenset({"setup", "off_session"})


class PaypalPayments(PaymentAdapter):
    """One tenant's PayPal account.

    Each step of an operation goes out under its own `PayPal-Request-Id` made from our key, so an answer that got lost is
    asked for again with the same call. An order can be captured or authorized once only, whatever the id.
    """

    features = PaymentFeatures(
        operations=frozenset(
            {
                "authorize",
                "capture",
                "partial_capture",
                "multiple_capture",
                "void",
                "refund",
                "partial_refund",
                "multiple_refund",
                "sync",
                "disputes",
                *VAULTED,
            }
        ),
        methods=frozenset({MethodType.REDIRECT}),
        currencies=money.RULES,
        polls=(30, 60, 120, 300, 900, 3600),
        # Three hours to come to PayPal's page, three more to approve and run (uncaptured payments page, read 2026-11).
        lapses=6 * 3600 + 900,
        notes={
            "cancel": "An order that the payer has not approved can't be called off by API: it lapses after some hours.",
            "capture": "Held for 29 days, guaranteed for 3; later the hub authorizes anew before it captures.",
            "setup": "Only for accounts that PayPal approved for its vault: switch it on in the account's settings here.",
            "transactions": "Not offered: PayPal's reporting API needs a permission of its own. Fees come with each capture.",
            "refund": "Within 180 days of the capture; PayPal keeps its fee.",
        },
    )

    def __init__(self, *, config: ConfigView, http: HttpPort, tokens: TokenPort, clock: Clock) -> None:
        super().__init__(config=config, http=http, tokens=tokens, clock=clock)
        self._rest = Rest(config, http, tokens)
        self._snapshots = Snapshots(self._rest, clock)
        self._holds = Holds(self._rest, self._snapshots, clock, str(config.get("soft_descriptor") or ""))

    @classmethod
    def features_for(cls, config: ConfigView) -> PaymentFeatures:
        """Return the matrix of this account: its country's own currency, and the vault where that is switched on."""
        found = replace(cls.features, currencies=money.rules(str(config.get("merchant_country") or "")))
        return found if config.get("vault") else found.without(*VAULTED)

    @classmethod
    def check(cls, request: PaymentRequest, config: ConfigView) -> None:
        """See `PaymentAdapter`: amount, currency, and a stored payer only where the vault is switched on."""
        features = cls.features_for(config)
        features.check("authorize", request.money, request.method)
        if request.token or request.off_session:
            features.check("off_session")
            if not request.token:
                raise InvalidRequest("A stored payer is needed to charge without the payer.", attr="method.token")
        elif not request.return_url:
            raise InvalidRequest("PayPal needs an address to which the payer comes back.", attr="return_url")

    # --- payments

    def authorize(self, request: PaymentRequest) -> PaymentResult:
        """Create the order. REQUIRES_ACTION with PayPal's page: nothing can move before the payer was there, so this may be
        repeated freely. With a stored payer the order is carried out at once, and a lost answer is `Undecided`."""
        self.check(request, self.config)
        key = request_id(request.idempotency_key, "order")
        try:
            wire = self._rest.send("POST", ORDERS, self._order(request), operation="authorize", key=key, safe=not request.token)
        except Refused as refused:
            if refused.issue in codes.BACK_TO_PAYER and not request.off_session and (page := _page(refused)):
                return PaymentResult(
                    PaymentState.REQUIRES_ACTION,
                    provider_ref=_order_of(page),
                    failure=codes.failure_of(refused.issue),
                    next_action={"type": "redirect", "url": page},
                )
            return _declined(refused)
        return self._started(wire, request)

    def payment_status(self, query: PaymentQuery) -> PaymentResult:
        """Read the order with its payments and disputes. EXPIRED for an order that PayPal has dropped unpaid.

        Without `provider_ref`: ABSENT, for an order whose id nobody learned can't be approved. With the vault switched on
        such an order may have been paid by a stored payer: then `UnsupportedOperation`, PayPal can't search orders.
        """
        if not query.provider_ref:
            if self.config.get("vault"):
                raise UnsupportedOperation("PayPal can't search orders, and this one may be a stored payer's.")
            return PaymentResult(PaymentState.ABSENT)
        return self._snapshots.payment(query.provider_ref, hold_ref=query.hold_ref, receipt=query.receipt)

    def complete(self, request: PaymentRequest) -> PaymentResult:
        """Capture or authorize what the payer approved. A source that PayPal declines is REQUIRES_ACTION again, on the same
        page; an order that was run before is read."""
        order, step = request.provider_ref, "capture" if request.capture else "authorize"
        if not order:
            raise InvalidRequest("There is no order to complete.")
        try:
            wire = self._rest.send(
                "POST",
                path("v2", "checkout", "orders", order, step),
                {},
                operation="complete",
                key=request_id(request.idempotency_key, "complete"),
            )
        except Refused as refused:
            if refused.issue in codes.BACK_TO_PAYER:
                return self._back_to_payer(order, refused)
            if refused.status == 404 or refused.issue in codes.READ_AGAIN:
                return self._read_again(order, refused)
            return replace(_declined(refused), provider_ref=order)
        return self._ran(wire, order)

    # --- captures and voids

    def capture(self, request: CaptureRequest) -> CaptureResult:
        """Take what is held; see `Holds.capture`. More than is held is refused here, though PayPal may allow it."""
        return self._holds.capture(request)

    def capture_status(self, request: CaptureRequest) -> CaptureResult:
        """Look for our operation's id among the order's captures; UNKNOWN where it is not there."""
        return self._holds.status(request)

    def void(self, request: VoidRequest) -> PaymentResult:
        """Release the hold. Raises `UnsupportedOperation` for an order without one: it can only lapse."""
        if not request.held or not request.hold_ref:
            raise UnsupportedOperation("PayPal can't call off an order by API; it lapses by itself.")
        return self._holds.void(request)

    # --- refunds

    def refund(self, request: RefundRequest) -> RefundResult:
        """Give back from one capture. The payment's id goes along as `custom_id`, the refund's as `invoice_id`."""
        capture = request.capture_ref or request.payment_receipt
        if not capture:
            raise InvalidRequest("PayPal refunds a capture, and none is known.", attr="payment")
        body = {
            "amount": money.to_wire(request.money),
            "invoice_id": request.refund_id[:NOTE_MAX],
            **({"custom_id": request.payment_id[:NOTE_MAX]} if request.payment_id else {}),
            **({"note_to_payer": note} if (note := " ".join(request.reason.split())[:255]) else {}),
        }
        try:
            wire = self._rest.send(
                "POST",
                path("v2", "payments", "captures", capture, "refund"),
                body,
                operation="refund",
                key=request_id(request.idempotency_key, "refund"),
            )
        except Refused as refused:
            if refused.issue in codes.READ_AGAIN:
                found = self.refund_status(request)
                if found.state is not RefundState.UNKNOWN:
                    return found
            if refused.status == 400:
                raise refused.error() from None
            return RefundResult(RefundState.FAILED, failure=codes.failure_of(refused.issue))
        return _refund_result(wire or Wire({}))

    def refund_status(self, request: RefundRequest) -> RefundResult:
        """Read the refund; without its id, look for ours among the order's refunds. UNKNOWN where it is not there."""
        if request.provider_ref:
            try:
                wire = self._rest.get(path("v2", "payments", "refunds", request.provider_ref), operation="refund_status")
            except Refused as refused:
                if refused.status == 404:
                    return RefundResult(RefundState.UNKNOWN, request.provider_ref)
                raise refused.error() from None
            return _refund_result(wire)
        order = self._snapshots.order(request.payment_provider_ref) if request.payment_provider_ref else None
        for fact in order.refunds if order else ():
            if fact.operation_id == request.refund_id:
                return RefundResult(
                    fact.state, fact.provider_ref, fact.receipt, fact.failure, (("refund", fact.provider_ref),), fact.money
                )
        return RefundResult(RefundState.UNKNOWN)

    # --- stored payers

    def setup(self, request: SetupRequest) -> SetupResult:
        self.features_for(self.config).check("setup")
        return vault.begin(self._rest, request, str(self.config.get("brand_name") or ""))

    def complete_setup(self, request: SetupRequest) -> SetupResult:
        self.features_for(self.config).check("setup")
        return vault.complete(self._rest, request)

    def setup_status(self, request: SetupRequest) -> SetupResult:
        return vault.status(self._rest, request)

    def forget(self, stored: StoredMethod) -> None:
        vault.forget(self._rest, stored)

    # --- set-up

    def test_connection(self) -> TestResult:
        """Fetch a token and list the app's webhooks: says which host took the credentials, and whether our webhook is there."""
        return check_connection(self._rest, self.config)

    def register_webhooks(self, urls: Mapping[str, str]) -> Registration:
        """Make the app's webhook point here; done twice it changes nothing. Returns `webhook_id` to be stored."""
        return register(self._rest, self.config, urls)

    # --- pieces

    def _order(self, request: PaymentRequest) -> dict[str, object]:
        shown = " ".join((request.description or request.reference).split())[:NOTE_MAX]
        unit = {
            "amount": money.to_wire(request.money),
            "custom_id": request.payment_id[:NOTE_MAX],
            "invoice_id": request.idempotency_key[:NOTE_MAX],
            **({"description": shown} if shown else {}),
            **({"soft_descriptor": descriptor} if (descriptor := self.config.get("soft_descriptor")) else {}),
        }
        context = {
            "return_url": request.return_url,
            "cancel_url": request.cancel_url or request.return_url,
            "user_action": "PAY_NOW",
            "shipping_preference": "NO_SHIPPING",
            **({"brand_name": brand} if (brand := self.config.get("brand_name")) else {}),
        }
        wallet: dict[str, object] = {"experience_context": context} if request.return_url else {}
        if request.token:
            wallet["vault_id"] = request.token
        return {
            "intent": "CAPTURE" if request.capture else "AUTHORIZE",
            "purchase_units": [unit],
            "payment_source": {"paypal": wallet},
        }

    def _started(self, wire: Wire | None, request: PaymentRequest) -> PaymentResult:
        try:
            found = reading.order(wire or Wire({}))
        except WireError as error:
            if not request.token:
                raise ProviderUnavailable(f"PayPal's answer could not be read: {error}.", provider_code="unreadable") from None
            raise Undecided(f"PayPal's answer could not be read: {error}.", provider_code="unreadable") from None
        result = reading.result(found, self.clock())
        if result.state is PaymentState.REQUIRES_ACTION and not found.link:
            raise ProviderUnavailable("PayPal's answer has no page for the payer.", provider_code="unreadable")
        return result

    def _ran(self, wire: Wire | None, order: str) -> PaymentResult:
        """Read the answer; where it is short or can't be read, the order itself. What ran can't run twice, so when that fails
        too the whole call may be repeated."""
        try:
            return reading.result(reading.order(wire or Wire({})), self.clock())
        except WireError:
            try:
                return self._snapshots.payment(order)
            except (ProviderUnavailable, OutcomeUnknown) as error:
                raise Undecided("PayPal's answer could not be read.", provider_code=error.provider_code) from None

    def _read_again(self, order: str, refused: Refused) -> PaymentResult:
        """Return what the order says. One that still waits to be run would be run again and refused again without end: unless
        the payer has agreed just now, the refusal stands, or (where the two contradict each other) nobody knows yet."""
        found = self._snapshots.payment(order)
        if found.state is not PaymentState.APPROVED or refused.issue == "ORDER_NOT_APPROVED":
            return found
        states = {"DUPLICATE_INVOICE_ID": PaymentState.FAILED, "ORDER_EXPIRED": PaymentState.EXPIRED}
        state = states.get(refused.issue)
        if state is None:
            raise Undecided("PayPal's answers contradict each other.", provider_code=refused.issue or str(refused.status))
        return replace(found, state=state, failure=codes.failure_of(refused.issue))

    def _back_to_payer(self, order: str, refused: Refused) -> PaymentResult:
        found = self._snapshots.payment(order)
        if found.state not in (PaymentState.REQUIRES_ACTION, PaymentState.APPROVED):
            return found
        page = _page(refused) or (found.next_action or {}).get("url", "")
        if not page:
            return replace(found, state=PaymentState.FAILED, failure=codes.failure_of(refused.issue))
        return replace(
            found,
            state=PaymentState.REQUIRES_ACTION,
            failure=codes.failure_of(refused.issue),
            next_action={"type": "redirect", "url": page},
        )


def _declined(refused: Refused) -> PaymentResult:
    """Return the result of a refusal that says no to the payment; raise for one that says the request was wrong."""
    if refused.status in (400, 404):
        raise refused.error() from None
    return PaymentResult(PaymentState.FAILED, failure=codes.failure_of(refused.issue), provider_code=refused.issue)


def _page(refused: Refused) -> str:
    links = dict(refused.links)
    return next((links[rel] for rel in (*reading.PAYER_LINKS, "redirect") if links.get(rel)), "")


def _order_of(page: str) -> str:
    return page.partition("token=")[2].partition("&")[0]


def _refund_result(wire: Wire) -> RefundResult:
    try:
        fact = reading.refund(wire)
    except WireError as error:
        raise Undecided(f"PayPal's answer could not be read: {error}.", provider_code="unreadable") from None
    if fact.state is RefundState.UNKNOWN:
        failure: Failure | None = Failure.of("unknown_result", provider_code=reading.text(wire, "status"))
    else:
        failure = fact.failure
    return RefundResult(fact.state, fact.provider_ref, fact.receipt, failure, (("refund", fact.provider_ref),), fact.money)
