"""Stripe as a payment gateway: PaymentIntents, refunds, SetupIntents, disputes, balance transactions.

Source of requests and answers: docs.stripe.com/api at version 2023-10-16 (provider sheet, November 2026). Every POST carries
our idempotency key, which Stripe honours for 24 hours, so a lost answer is `Undecided`: the same call tells.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from integrations.contracts.adapter import Clock, ConfigView, HttpPort, Registration, TestResult, TokenPort
from integrations.contracts.capabilities import Environment
from integrations.contracts.errors import Conflict, InvalidRequest, UnsupportedOperation
from integrations.contracts.failures import Failure
from integrations.contracts.payment import (
    CaptureRequest,
    CaptureResult,
    PayerPage,
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
    TransactionPage,
    TransactionsQuery,
    VoidRequest,
)
from integrations.contracts.payment_adapter import PaymentAdapter
from integrations.contracts.payment_features import MethodType, PaymentFeatures
from integrations.providers.stripe import codes, endpoints, lines, params, setups
from integrations.providers.stripe.calls import Calls, Refused
from integrations.providers.stripe.money import rules
from integrations.providers.stripe.reading import (
    OPEN_STATES,
    OPERATION_ID,
    PAYMENT_ID,
    Reader,
    id_of,
)

INTENTS = "/v1/payment_intents"
EXPAND = ["latest_charge.balance_transaction"]
SEARCH_BEFORE, SEARCH_AFTER = timedelta(minutes=10), timedelta(hours=2)
"""How far around our request a payment is searched whose id got lost: clocks differ, queues take time."""
STRIPE_JS = "https://js.stripe.com/v3/"
STRIPE_SOURCES = ("https://js.stripe.com", "https://*.js.stripe.com", "https://hooks.stripe.com", "https://api.stripe.com")
"""docs.stripe.com/security/guide, "Content security policy" (November 2026)."""


class StripePayments(PaymentAdapter):
    """One tenant's Stripe account (or, with `connected_account`, one account of a platform)."""

    features = PaymentFeatures(
        operations=frozenset(
            {
                "authorize", "capture", "partial_capture", "multiple_capture", "void", "cancel", "refund", "partial_refund",
                "multiple_refund", "setup", "off_session", "sync", "transactions", "disputes",
            }
        ),
        methods=frozenset({MethodType.CARD, MethodType.REDIRECT}),
        currencies=rules(),
        # An unpaid PaymentIntent waits for ever: who has not come after a day does not come.
        lapses=86_400,
        notes={
            "multiple_capture": "Only where Stripe has enabled card multicapture for the account.",
            "capture": "A card hold lapses after about 7 days; the exact time is in the payment's `expires`.",
        },
    )  # fmt: skip

    def __init__(self, *, config: ConfigView, http: HttpPort, tokens: TokenPort, clock: Clock) -> None:
        super().__init__(config=config, http=http, tokens=tokens, clock=clock)
        self._calls = Calls(config, http)
        self._reader = Reader(str(config.get("ugx_decimals") or ""))

    @classmethod
    def features_for(cls, config: ConfigView) -> PaymentFeatures:
        """See `PaymentAdapter`: UGX and several captures only where the config says so, the hub's page only with its key."""
        found = replace(cls.features, currencies=rules(str(config.get("ugx_decimals") or "")))
        if not config.get("publishable_key"):
            found = replace(found, methods=found.methods - {MethodType.REDIRECT})
        return found if config.get("multicapture") else found.without("multiple_capture")

    @classmethod
    def check(cls, request: PaymentRequest, config: ConfigView) -> None:
        """See `PaymentAdapter`: currency, amount, method and the form of the token."""
        cls.features_for(config).check("authorize", request.money, request.method)
        if request.method is MethodType.CARD:
            params.payment_method(request.token)
        if request.off_session and not request.customer_ref:
            raise InvalidRequest("A payment without the payer needs a stored card and its customer.", attr="customer")

    @classmethod
    def check_refund(cls, request: RefundRequest, config: ConfigView) -> None:
        """See `PaymentAdapter`: an amount that Stripe can't express. What is left to refund, it knows better."""
        cls.features_for(config).check_step(request.money)

    # --- payments

    def authorize(self, request: PaymentRequest) -> PaymentResult:
        """Create and confirm a PaymentIntent; for REDIRECT create it alone: the payer confirms it on the hub's page."""
        self.check(request, self.config)
        sent = params.payment_intent(request, self.config)
        by_page = request.method is MethodType.REDIRECT
        try:
            # Without a payment method nothing can move until the payer acts: then a repetition is harmless anyway.
            raw = self._calls.post(
                INTENTS, operation="authorize", key=request.idempotency_key, safe=by_page, expand=EXPAND, **sent
            )
        except Refused as refused:
            return self._declined(refused, request.method)
        result = self._reader.payment(raw, method=request.method)
        if result.state is PaymentState.REQUIRES_ACTION and result.next_action is None and request.page_url:
            return replace(result, next_action={"type": "redirect", "url": request.page_url})
        return result

    def payment_status(self, query: PaymentQuery) -> PaymentResult:
        """Ask for the PaymentIntent, its refunds and disputes. Without `provider_ref` those created around `asked_at` are
        searched for our payment's id."""
        with _refusals():
            raw = self._intent(query.provider_ref) if query.provider_ref else self._search(query)
            if raw is None:
                return PaymentResult(PaymentState.ABSENT)
            return self._snapshot(raw, query.method)

    def capture(self, request: CaptureRequest) -> CaptureResult:
        """Take `money`; the rest of the hold is released unless the account has multicapture and this is not the last."""
        path = f"{INTENTS}/{params.ref(request.payment_provider_ref, 'pi')}/capture"
        if not request.final and request.money != request.capturable:
            self.features_for(self.config).check("multiple_capture")  # else Stripe would release the rest
        sent = params.capture(request, self.config)
        try:
            raw = self._calls.post(path, operation="capture", key=request.idempotency_key, expand=EXPAND, **sent)
        except Refused as refused:
            if refused.status == 402:
                return CaptureResult(RefundState.FAILED, failure=codes.failure_of(refused.error))
            return self._not_captured(request, refused)
        return self._captured(request, raw) or CaptureResult(RefundState.UNKNOWN)

    def capture_status(self, request: CaptureRequest) -> CaptureResult:
        """Look for the note that the capture leaves in the payment's metadata."""
        with _refusals():
            raw = self._intent(request.payment_provider_ref)
            return self._captured(request, raw) or CaptureResult(
                RefundState.UNKNOWN, payment=self._reader.payment(raw, method=None)
            )

    def void(self, request: VoidRequest) -> PaymentResult:
        """Cancel the PaymentIntent; where it can't be cancelled (any more) the truth is read instead."""
        ref = params.ref(request.payment_provider_ref, "pi")
        reason = "abandoned" if request.abandoned else "requested_by_customer"
        with _refusals():
            try:
                raw = self._calls.post(
                    f"{INTENTS}/{ref}/cancel", operation="void", key=request.idempotency_key, cancellation_reason=reason
                )
            except Refused as refused:
                if refused.code != "payment_intent_unexpected_state":
                    raise
            else:
                if raw.get("status") == "canceled":
                    return self._reader.payment(raw, method=None)
            return self._snapshot(self._intent(ref), None)

    # --- refunds

    def refund(self, request: RefundRequest) -> RefundResult:
        """Give money back, with our refund's id in the metadata."""
        self.check_refund(request, self.config)
        sent = params.refund(request, self.config)
        try:
            raw = self._calls.post("/v1/refunds", operation="refund", key=request.idempotency_key, **sent)
        except Refused as refused:
            # Whatever the reason: if an earlier try of ours got through (its key forgotten by now), that is the answer.
            with _refusals():
                done = self._find_refund(request)
            if done is not None:
                return done
            if codes.known(refused.error):
                return RefundResult(RefundState.FAILED, failure=codes.failure_of(refused.error))
            if refused.error.get("param") == "amount":
                return RefundResult(RefundState.FAILED, failure=Failure.of("refund_declined", provider_code="amount"))
            raise refused.as_error() from refused
        return self._refunded(raw)

    def refund_status(self, request: RefundRequest) -> RefundResult:
        """Ask for the refund; UNKNOWN where Stripe has none with our id."""
        with _refusals():
            if request.provider_ref:
                path = f"/v1/refunds/{params.ref(request.provider_ref, 're')}"
                return self._refunded(self._calls.get(path, operation="refund_status"))
            return self._find_refund(request) or RefundResult(RefundState.UNKNOWN)

    # --- stored cards, the page, the books, set-up: see the modules of these names

    def setup(self, request: SetupRequest) -> SetupResult:
        """Create a SetupIntent (and a customer where there is none); the card is stored once it succeeds."""
        with _refusals():
            return setups.begin(self._calls, request)

    def setup_status(self, request: SetupRequest) -> SetupResult:
        with _refusals():
            return setups.status(self._calls, request, self.clock())

    def forget(self, stored: StoredMethod) -> None:
        """Detach the card from its customer: then nobody can charge it any more."""
        with _refusals():
            setups.forget(self._calls, stored)

    def transactions(self, query: TransactionsQuery) -> TransactionPage:
        """List balance transactions, newest first; the cursor is the last one's id."""
        with _refusals():
            return lines.page(self._calls, self._reader, query)

    def payer_page(self, query: PaymentQuery) -> PayerPage:
        """Return the fragment that mounts Stripe's form. The including page gives it `return_url`.

        Also for a SetupIntent's id (`seti_...`) in `provider_ref`. Raises `Conflict` once there is nothing to pay any more.
        """
        key = self.config.get("publishable_key")
        if not key:
            raise UnsupportedOperation("This config has no publishable key: Stripe's form needs one.", attr="publishable_key")
        is_setup = query.provider_ref.startswith("seti_")
        with _refusals():
            raw = setups.read(self._calls, query.provider_ref) if is_setup else self._intent(query.provider_ref)
        if raw.get("status") not in OPEN_STATES or not isinstance(raw.get("client_secret"), str):
            raise Conflict("This does not wait for the payer any more.", provider_code=str(raw.get("status")))
        simulated = self.config.environment is Environment.SIMULATOR
        base = urlsplit(self.config.base_url)
        return PayerPage(
            template="stripe/pay.html",
            context={
                "script_url": f"{self.config.base_url}/js/v3/" if simulated else STRIPE_JS,
                "stripe": {
                    "publishable_key": key,
                    "client_secret": raw["client_secret"],
                    "account": self.config.get("connected_account") or "",
                    "kind": "setup" if is_setup else "payment",
                },
            },
            sources=(f"{base.scheme}://{base.netloc}",) if simulated else STRIPE_SOURCES,
        )

    def test_connection(self) -> TestResult:
        """Read account and balance: proof of the key, and of the mode that it belongs to."""
        with _refusals():
            account = self._calls.get("/v1/account", operation="test")
            balance = self._calls.get("/v1/balance", operation="test")
        live = balance.get("livemode") is True
        if live is not (self.config.environment is Environment.PRODUCTION):
            found = "live" if live else "test"
            return TestResult(ok=False, status="wrong_mode", detail=f"This is a {found} key: it does not fit the environment.")
        can = "can" if account.get("charges_enabled") is True else "can't yet"
        return TestResult(ok=True, status="ok", detail=f"Account {str(account.get('id'))[:60]}: it {can} take payments.")

    def register_webhooks(self, urls: Mapping[str, str]) -> Registration:
        """Create or update this config's endpoint; see `endpoints`."""
        with _refusals():
            return endpoints.register(self._calls, self.config, urls)

    # --- pieces

    def _intent(self, ref: str) -> dict[str, Any]:
        return self._calls.get(f"{INTENTS}/{params.ref(ref, 'pi')}", operation="status", expand=EXPAND)

    def _search(self, query: PaymentQuery) -> dict[str, Any] | None:
        """Return the payment that carries our id; of several (none should be) one that moved money."""
        asked = query.asked_at or self.clock()
        window = {"gte": _unix(asked - SEARCH_BEFORE), "lte": _unix(asked + SEARCH_AFTER)}
        # Not `/search`: that index lags behind, and what is missing there may exist (docs.stripe.com/search).
        found = [
            each
            for each in self._calls.listed(INTENTS, operation="search", pages=50, created=window)
            if isinstance(each.get("metadata"), dict) and each["metadata"].get(PAYMENT_ID) == query.payment_id
        ]
        if not found:
            return None
        moved = [each for each in found if each.get("status") in ("succeeded", "requires_capture")]
        return self._intent(id_of((moved or found)[0]))

    def _snapshot(self, raw: dict[str, Any], method: MethodType | None) -> PaymentResult:
        """Return the whole truth: a payment that never had a charge has no refunds and no disputes either."""
        refunds: list[dict[str, Any]] = []
        disputes: list[dict[str, Any]] = []
        charge = raw.get("latest_charge")
        if charge is not None and raw.get("id"):
            ref = str(raw["id"])
            refunds = list(self._calls.listed("/v1/refunds", operation="refund_status", payment_intent=ref))
            if not isinstance(charge, dict) or charge.get("disputed"):
                disputes = list(self._calls.listed("/v1/disputes", operation="dispute_status", payment_intent=ref))
        return self._reader.payment(raw, method=method, refunds=refunds, disputes=disputes)

    def _declined(self, refused: Refused, method: MethodType) -> PaymentResult:
        if not codes.known(refused.error):
            raise refused.as_error() from refused
        failure = codes.failure_of(refused.error)
        intent = refused.error.get("payment_intent")
        if not isinstance(intent, dict) or "id" not in intent:
            return PaymentResult(PaymentState.FAILED, failure=failure, provider_code=failure.provider_code)
        found = self._reader.payment(intent, method=method)
        # The refusal is the newest word on it, whatever the object beside it says.
        return replace(found, state=PaymentState.FAILED, failure=failure, next_action=None, receipt="")

    def _captured(self, request: CaptureRequest, raw: Mapping[str, Any]) -> CaptureResult | None:
        """Return our capture as it stands in the payment, None where it is not there."""
        payment = self._reader.payment(raw, method=None)
        for fact in payment.captures or ():
            if fact.operation_id == request.operation_id:
                return CaptureResult(
                    RefundState.SUCCEEDED,
                    fact.provider_ref,
                    fact.receipt,
                    fact.money,
                    references=payment.references,
                    payment=payment,
                )
        return None

    def _not_captured(self, request: CaptureRequest, refused: Refused) -> CaptureResult:
        """Stripe refused: say so, unless an earlier try of this very capture is what stands in the way."""
        if not codes.known(refused.error):
            raise refused.as_error() from refused
        with _refusals():
            raw = self._intent(request.payment_provider_ref)
        done = self._captured(request, raw)
        if done is not None:
            return done
        failure = codes.failure_of(refused.error)
        return CaptureResult(RefundState.FAILED, failure=failure, payment=self._reader.payment(raw, method=None))

    def _refunded(self, raw: Mapping[str, Any]) -> RefundResult:
        fact = self._reader.refund(raw)
        return RefundResult(
            fact.state, fact.provider_ref, fact.receipt, fact.failure,
            references=(("refund", fact.provider_ref),), money=fact.money,
        )  # fmt: skip

    def _find_refund(self, request: RefundRequest) -> RefundResult | None:
        ref = params.ref(request.payment_provider_ref, "pi")
        for each in self._calls.listed("/v1/refunds", operation="refund_status", payment_intent=ref):
            metadata = each.get("metadata")
            if isinstance(metadata, dict) and metadata.get(OPERATION_ID) == request.refund_id:
                return self._refunded(each)
        return None


@contextmanager
def _refusals() -> Iterator[None]:
    """Turn a refusal that is no answer about a payment into the hub's error."""
    try:
        yield
    except Refused as refused:
        raise refused.as_error() from refused


def _unix(at: datetime) -> int:
    return int(at.astimezone(UTC).timestamp())
