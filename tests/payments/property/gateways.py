"""Adapters of a model gateway in three styles, over in-memory books.

`keyed` knows our keys and answers them again (and needs `complete` after an approval), `searchable` deduplicates nothing and
can be searched by our id, `prompt` can't be searched and tells the money's receipt by callback alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

from integrations.contracts.adapter import TestResult
from integrations.contracts.capabilities import Capability, Environment
from integrations.contracts.errors import (
    Conflict,
    InvalidRequest,
    NotFound,
    OutcomeUnknown,
    ProviderUnavailable,
    RateLimited,
    Undecided,
    UnsupportedOperation,
)
from integrations.contracts.failures import Failure
from integrations.contracts.money import Money
from integrations.contracts.payment import (
    CaptureFact,
    CaptureRequest,
    CaptureResult,
    DisputeFact,
    DisputeState,
    PaymentQuery,
    PaymentRequest,
    PaymentResult,
    PaymentState,
    RefundFact,
    RefundRequest,
    RefundResult,
    RefundState,
    VoidRequest,
)
from integrations.contracts.payment_adapter import PaymentAdapter
from integrations.contracts.payment_features import CurrencyRule, GatewayOperation, MethodType, PaymentFeatures
from integrations.contracts.provider import Provider, RateLimit
from integrations.contracts.schema import ConfigSchema, Secret
from tests.payments.property.books import Books, Crash, Entry, Part

T = TypeVar("T")
KES = {"KES": CurrencyRule(minimum=100, maximum=10**9, decimals=2)}
_G = GatewayOperation
_STATES = {
    "waiting": PaymentState.REQUIRES_ACTION,
    "approved": PaymentState.APPROVED,
    "held": PaymentState.AUTHORIZED,
    "taken": PaymentState.SUCCEEDED,
    "failed": PaymentState.FAILED,
    "cancelled": PaymentState.CANCELLED,
    "expired": PaymentState.EXPIRED,
}
DECLINED = Failure.of("declined")
BROKEN = Failure.of("processing_error")
MEANWHILE = ("early_notice", "hang", "hang_and_retry", "cancel_meanwhile", "crash_settling", "crash_settled")


class ModelGateway(PaymentAdapter):
    """What the styles share: faults around an effect, and the snapshot of an entry."""

    style: ClassVar[str]
    books: ClassVar[Books]
    lost: ClassVar[type[OutcomeUnknown]] = OutcomeUnknown

    def test_connection(self) -> TestResult:
        return TestResult(ok=True, status="ok", detail="there")

    def _effect(self, operation: str, key: str, act: Callable[[str], T]) -> T:
        """Make a call with an effect, with the next fault written down for it."""
        kind = self.books.fault(operation)
        if kind == "crash_before":
            raise Crash(operation)
        if kind == "unreachable":
            raise ProviderUnavailable("No connection.")
        self.http._before_effect()  # type: ignore[attr-defined]  # what the client does before the first byte
        if kind == "crash_marked":
            raise Crash(operation)
        if kind == "busy":
            raise RateLimited("Too many requests.", retry_after=20)
        if kind == "refused":
            raise InvalidRequest("The gateway finds this invalid.")
        if kind == "lost_before":
            raise self.lost("No answer.")
        if kind == "late":
            self.books.late.append((self.books.now(), lambda: self._once(key, lambda: act(""))))
            raise self.lost("No answer.")
        result = self._once(key, lambda: act(kind))
        if kind == "crash_after":
            raise Crash(operation)
        if kind == "lost_after":
            raise self.lost("No answer.")
        if kind in MEANWHILE:
            self.books.meanwhile(kind)
        return result

    def _once(self, key: str, act: Callable[[], T]) -> T:
        return act()

    def _ask(self, operation: str, payment_id: str) -> None:
        if self.books.fault(operation):
            self.books.unasked[payment_id] += 1
            raise ProviderUnavailable("No answer to the question.")

    def _entry(self, ref: str) -> Entry:
        entry = self.books.find(ref)
        if entry is None:
            raise NotFound("No such payment.")
        return entry

    def _snapshot(self, entry: Entry) -> PaymentResult:
        def money(amount: int) -> Money:
            return Money(amount, entry.currency)

        return PaymentResult(
            _STATES[entry.state],
            entry.ref,
            receipt=entry.receipt if entry.captures else "",
            money=money(entry.amount),
            failure=DECLINED if entry.state == "failed" else None,
            next_action={"type": "redirect", "url": "https://pay.example/x"} if entry.state == "waiting" else None,
            captures=tuple(
                CaptureFact(part.ref, money(part.amount), RefundState.SUCCEEDED, part.operation_id) for part in entry.captures
            ),
            refunds=tuple(
                RefundFact(part.ref, money(part.amount), RefundState(part.state), part.operation_id) for part in entry.refunds
            ),
            disputes=tuple(
                DisputeFact(part.ref, money(part.amount), DisputeState(part.state), withdrawn=part.withdrawn)
                for part in entry.disputes
            ),
            capturable=money(entry.capturable),
            expires_at=entry.expires_at,
        )

    def _open(self, request: PaymentRequest, kind: str, **fields: Any) -> Entry:
        asked = request.money.minor_units
        return self.books.open(
            style=self.style,
            payment_id=request.payment_id,
            asked=asked,
            amount=asked - 100 if kind == "wrong_amount" else asked,
            currency=request.money.currency,
            automatic=request.capture,
            callback=request.callback_url,
            **fields,
        )


class SearchableGateway(ModelGateway):
    """Deduplicates nothing, can be searched; captures several times; no way to call off what nobody has paid."""

    style = "searchable"
    features = PaymentFeatures(
        operations=frozenset(set(_G) - {_G.CANCEL, _G.SETUP, _G.OFF_SESSION, _G.TRANSACTIONS, _G.RECEIPT}),
        methods=frozenset({MethodType.CARD, MethodType.REDIRECT}),
        currencies=KES,
        polls=(60, 600, 3600),
        silence=6 * 3600,
        lapses=4 * 3600,
    )

    def authorize(self, request: PaymentRequest) -> PaymentResult:
        def act(kind: str) -> PaymentResult:
            entry = self._open(request, kind)
            if kind == "broken":
                entry.state = "failed"
                return PaymentResult(PaymentState.FAILED, entry.ref, failure=BROKEN)
            if kind == "declined":
                self.books.decline(entry)
            elif request.method is MethodType.CARD:
                self.books.take(entry)
            return self._snapshot(entry)

        return self._effect("authorize", request.idempotency_key, act)

    def payment_status(self, query: PaymentQuery) -> PaymentResult:
        self._ask("payment_status", query.payment_id)
        if query.provider_ref:
            return self._snapshot(self._entry(query.provider_ref))
        found = self.books.of(query.payment_id)
        return self._snapshot(found[0]) if found else PaymentResult(PaymentState.ABSENT)

    def capture(self, request: CaptureRequest) -> CaptureResult:
        def act(kind: str) -> CaptureResult:
            entry = self._entry(request.payment_provider_ref)
            if entry.capturable < request.money.minor_units:
                raise Conflict("Nothing like that is held.")
            if kind == "declined":
                return CaptureResult(RefundState.FAILED, failure=DECLINED)
            amount = request.money.minor_units - (100 if kind == "wrong_amount" else 0)
            if kind == "wrong_amount":
                self.books.spoiled.add(entry.payment_id)
            part = self.books.capture(entry, amount, request.operation_id, final=request.final)
            return self._captured(entry, part)

        return self._effect("capture", request.idempotency_key, act)

    def _captured(self, entry: Entry, part: Part) -> CaptureResult:
        return CaptureResult(
            RefundState.SUCCEEDED, part.ref, money=Money(part.amount, entry.currency), payment=self._snapshot(entry)
        )

    def capture_status(self, request: CaptureRequest) -> CaptureResult:
        self._ask("capture_status", request.payment_id)
        entry = self._entry(request.payment_provider_ref)
        for part in entry.captures:
            if part.operation_id == request.operation_id:
                return self._captured(entry, part)
        return CaptureResult(RefundState.UNKNOWN, payment=self._snapshot(entry))

    def void(self, request: VoidRequest) -> PaymentResult:
        def act(kind: str) -> PaymentResult:
            entry = self._entry(request.payment_provider_ref)
            if entry.state == ("held" if request.held else "waiting"):
                self.books.release(entry)
            return self._snapshot(entry)

        return self._effect("void", request.idempotency_key, act)

    def refund(self, request: RefundRequest) -> RefundResult:
        def act(kind: str) -> RefundResult:
            entry = self._entry(request.payment_provider_ref)
            amount = request.money.minor_units
            if amount > entry.captured - entry.going_back - entry.disputed:
                raise Conflict("More than is left.")
            if kind == "declined":
                return RefundResult(RefundState.FAILED, failure=Failure.of("refund_declined"))
            state = "processing" if kind == "pending" else "succeeded"
            return self._refunded(self.books.refund(entry, amount, request.refund_id, state=state))

        return self._effect("refund", request.idempotency_key, act)

    def _refunded(self, part: Part) -> RefundResult:
        return RefundResult(RefundState(part.state), part.ref, references=(("refund", part.ref),))

    def refund_status(self, request: RefundRequest) -> RefundResult:
        self._ask("refund_status", request.payment_id)
        for part in self._entry(request.payment_provider_ref).refunds:
            if part.operation_id == request.refund_id:
                return self._refunded(part)
        return RefundResult(RefundState.UNKNOWN)


class KeyedGateway(SearchableGateway):
    """Answers a key that it knows with what it answered the first time; the payer's approval has to be completed."""

    style = "keyed"
    lost = Undecided
    features = PaymentFeatures(
        operations=frozenset(set(_G) - {_G.SETUP, _G.OFF_SESSION, _G.TRANSACTIONS, _G.RECEIPT}),
        methods=frozenset({MethodType.CARD, MethodType.REDIRECT}),
        currencies=KES,
        polls=(60, 600, 3600),
        silence=6 * 3600,
        lapses=4 * 3600,
    )

    def _once(self, key: str, act: Callable[[], T]) -> T:
        if key not in self.books.replies:
            self.books.replies[key] = act()
        found: T = self.books.replies[key]
        return found

    def complete(self, request: PaymentRequest) -> PaymentResult:
        def act(kind: str) -> PaymentResult:
            entry = self._entry(request.provider_ref)
            if entry.state == "approved" and kind == "declined":
                self.books.decline(entry)
            elif entry.state == "approved":
                self.books.take(entry)
            return self._snapshot(entry)

        return self._effect("complete", request.idempotency_key, act)

    def void(self, request: VoidRequest) -> PaymentResult:
        def act(kind: str) -> PaymentResult:
            entry = self._entry(request.payment_provider_ref)
            if entry.state in (("held",) if request.held else ("waiting", "approved")):
                self.books.release(entry)
            return self._snapshot(entry)

        return self._effect("void", request.idempotency_key, act)


class PromptGateway(ModelGateway):
    """Puts a prompt on a phone; a lost answer can't be searched for; only a callback states amount and receipt."""

    style = "prompt"
    features = PaymentFeatures(
        operations=frozenset({_G.AUTHORIZE, _G.REFUND, _G.PARTIAL_REFUND, _G.MULTIPLE_REFUND, _G.SYNC}),
        methods=frozenset({MethodType.MOBILE_MONEY}),
        currencies=KES,
        polls=(30, 60, 300, 900),
        silence=3_600,
        validity=120,
    )

    @classmethod
    def check_refund(cls, request: RefundRequest, config: Any) -> None:
        if not request.payment_receipt:
            raise Conflict("Without the receipt number nothing can be given back.")

    def authorize(self, request: PaymentRequest) -> PaymentResult:
        def act(kind: str) -> PaymentResult:
            entry = self._open(request, kind)
            if kind == "declined":
                entry.state = "failed"
                return PaymentResult(PaymentState.FAILED, entry.ref, failure=DECLINED)
            return PaymentResult(PaymentState.PROCESSING, entry.ref, references=(("push", f"push-{entry.ref}"),))

        return self._effect("authorize", request.idempotency_key, act)

    def payment_status(self, query: PaymentQuery) -> PaymentResult:
        self._ask("payment_status", query.payment_id)
        if not query.provider_ref:
            raise UnsupportedOperation("Can't be asked without its id.")
        entry = self._entry(query.provider_ref)
        state = PaymentState.PROCESSING if entry.state == "waiting" else _STATES[entry.state]
        return PaymentResult(state, entry.ref, failure=DECLINED if entry.state == "failed" else None)

    def refund(self, request: RefundRequest) -> RefundResult:
        def act(kind: str) -> RefundResult:
            entry = next(each for each in self.books.entries if each.receipt == request.payment_receipt)
            if request.money.minor_units > entry.captured - entry.going_back:
                raise Conflict("More than is left.")
            part = self.books.refund(entry, request.money.minor_units, request.refund_id, state="processing")
            return RefundResult(RefundState.PROCESSING, part.ref, references=(("reversal", part.ref),))

        return self._effect("refund", request.idempotency_key, act)

    def refund_status(self, request: RefundRequest) -> RefundResult:
        self._ask("refund_status", request.payment_id)
        if not request.provider_ref:
            raise UnsupportedOperation("Can't be asked without its id.")
        for entry in self.books.of(request.payment_id):
            for part in entry.refunds:
                if part.operation_id == request.refund_id and part.state != "processing":
                    self.books.notify(entry, f"refund:{part.operation_id}")
        return RefundResult(RefundState.PROCESSING, request.provider_ref)


GATEWAYS = {gateway.style: gateway for gateway in (KeyedGateway, SearchableGateway, PromptGateway)}


def slug_of(style: str) -> str:
    return f"model-{style}"


def model_providers() -> dict[str, Provider]:
    """Return the declarations of the three, by slug."""
    return {
        slug_of(style): Provider(
            slug=slug_of(style),
            name=f"Model {style}",
            docs_url="https://pay.example/docs",
            package="tests.payments.property",
            config=ConfigSchema(Secret(name="api_key")),
            adapters={Capability.PAYMENT: f"gateways:{gateway.__name__}"},
            base_urls={Environment.PRODUCTION: "http://127.0.0.1:9"},
            rate_limit=RateLimit(rate=1000, burst=10_000),
        )
        for style, gateway in GATEWAYS.items()
    }
