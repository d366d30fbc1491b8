"""One payment from the request to its last refund, with what the hub would remember of it between the calls."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import count
from typing import TYPE_CHECKING, Any

from integrations.contracts.ids import new_id, new_token
from integrations.contracts.money import Money
from integrations.contracts.payment import (
    CaptureRequest,
    CaptureResult,
    DisputeFact,
    PaymentQuery,
    PaymentRequest,
    PaymentResult,
    PaymentState,
    RefundRequest,
    RefundResult,
    RefundState,
    VoidRequest,
)
from integrations.contracts.payment_features import MethodType

if TYPE_CHECKING:
    from tests.contracts.payments.bench import Bench

AMOUNT = 100_000
RETURN, CANCEL, PAGE = "https://hub.example/pay/return", "https://hub.example/pay/cancel", "https://hub.example/pay/page"
_numbers = count(600)
MONEY = ("asked", "held", "captured", "refunded", "disputed")


def new_phone() -> str:
    """Return a Kenyan mobile number that no other payment has, none of the simulators' magic ones (which end in 0..)."""
    number = next(_numbers)
    return f"2547{number // 400:05d}{600 + number % 400:03d}"


@dataclass(frozen=True)
class Truth:
    """What is known of a payment, amounts in minor units; None where the gateway can't tell."""

    state: PaymentState
    asked: Money | None
    captures: tuple[int, ...] | None
    refunds: tuple[int | None, ...] | None
    capturable: int | None
    disputes: tuple[DisputeFact, ...] | None
    receipt: str
    refund_ids: tuple[str, ...] = ()
    capture_ids: tuple[str, ...] = ()

    @classmethod
    def of(cls, said: PaymentResult) -> Truth:
        captures, refunds = said.captures, said.refunds
        done = RefundState.SUCCEEDED
        taken = [each.money.minor_units for each in captures or () if each.state is done]
        back = [each.money.minor_units if each.money else None for each in refunds or () if each.state is done]
        return cls(
            said.state,
            said.money,
            None if captures is None else tuple(sorted(taken)),
            None if refunds is None else tuple(back),
            said.capturable.minor_units if said.capturable is not None else None,
            said.disputes,
            said.receipt,
            tuple(each.operation_id for each in refunds or ()),
            tuple(each.operation_id for each in captures or ()),
        )


@dataclass
class Flow:
    """`token` is the payment's own callback path; `known` what the gateway said last."""

    bench: Bench
    request: PaymentRequest
    token: str
    asked_at: datetime
    known: PaymentResult | None = None
    refunds: list[RefundRequest] = field(default_factory=list)

    @classmethod
    def of(cls, bench: Bench, method: MethodType | None = None, *, minor: int = AMOUNT, **changed: Any) -> Flow:
        """Return a payment that nothing was asked for yet."""
        driver, token = bench.driver, new_token()
        chosen = method or driver.main
        given: dict[str, Any] = {
            "payment_id": new_id("pay"),
            "idempotency_key": new_id("op"),
            "money": Money(minor, driver.currency),
            "method": chosen,
            "callback_url": f"{bench.hooks.url}/hooks/{token}",
            "phone": new_phone(),
            "token": driver.card_token if chosen is MethodType.CARD else "",
            "reference": "INV-0042",
            "description": "School fees",
            "customer_name": "Jane Doe",
            "customer_email": "jane@example.com",
            "country": "KE",
            "return_url": RETURN,
            "cancel_url": CANCEL,
            "page_url": PAGE,
        }
        return cls(bench, PaymentRequest(**{**given, **changed}), token, bench.now())

    @property
    def id(self) -> str:
        return self.request.payment_id

    @property
    def currency(self) -> str:
        return self.request.money.currency

    def money(self, minor: int) -> Money:
        return Money(minor, self.currency)

    # --- steps

    def start(self) -> PaymentResult:
        self.known = self.bench.adapter().authorize(self.request)
        return self.known

    def finish(self) -> PaymentResult:
        """Ask how it stands, and take (or hold) what the payer has approved."""
        found = self.ask()
        if found.state is PaymentState.APPROVED:
            found = self.bench.adapter().complete(self.completion())
        self.known = found
        return found

    def completion(self) -> PaymentRequest:
        return replace(self.request, provider_ref=self.ref, idempotency_key=f"{self.request.idempotency_key}-complete")

    def paid(self) -> Flow:
        """Take it to where the payer has paid, or (asked so) the money is held."""
        self.start()
        self.bench.driver.pay(self)
        self.finish()
        return self

    @property
    def ref(self) -> str:
        return self.known.provider_ref if self.known is not None else ""

    @property
    def hold_ref(self) -> str:
        return (self.known.hold_ref if self.known is not None else "") or self.ref

    def query(self, **changed: Any) -> PaymentQuery:
        given: dict[str, Any] = {
            "payment_id": self.id,
            "provider_ref": self.ref,
            "money": self.request.money,
            "method": self.request.method,
            "asked_at": self.asked_at,
            "hold_ref": self.known.hold_ref if self.known is not None else "",
            "capture": self.request.capture,
        }
        return PaymentQuery(**{**given, **changed})

    def ask(self) -> PaymentResult:
        return self.bench.adapter().payment_status(self.query())

    def truth(self) -> Truth:
        return self.bench.driver.truth(self)

    def capture(self, minor: int, *, final: bool = True, key: str = "", captured: int = 0) -> CaptureResult:
        return self.bench.adapter().capture(self.capture_request(minor, final=final, key=key, captured=captured))

    def capture_request(self, minor: int, *, final: bool = True, key: str = "", captured: int = 0) -> CaptureRequest:
        operation = key or new_id("op")
        return CaptureRequest(
            operation_id=operation,
            idempotency_key=operation,
            payment_id=self.id,
            payment_provider_ref=self.ref,
            hold_ref=self.hold_ref,
            money=self.money(minor),
            capturable=self.money(self.request.money.minor_units - captured),
            captured=self.money(captured),
            final=final,
        )

    def void_request(self, *, held: bool, key: str = "") -> VoidRequest:
        operation = key or new_id("op")
        return VoidRequest(operation, operation, self.id, self.ref, self.hold_ref, held)

    def void(self, *, held: bool, key: str = "") -> PaymentResult:
        return self.bench.adapter().void(self.void_request(held=held, key=key))

    def refund_request(self, minor: int, **changed: Any) -> RefundRequest:
        """Return the request for a refund out of the payment's first capture, as the hub makes it."""
        truth = self.truth()
        facts = (self.known.captures if self.known is not None else None) or ()
        refund = new_id("re")
        given: dict[str, Any] = {
            "refund_id": refund,
            "idempotency_key": refund,
            "payment_receipt": truth.receipt,
            "payment_provider_ref": self.ref,
            "money": self.money(minor),
            "callback_url": f"{self.bench.hooks.url}/hooks/{new_token()}",
            "reason": "Paid twice",
            "payment_id": self.id,
            "capture_ref": facts[0].provider_ref if facts else "",
            "captured": facts[0].money if facts else self.request.money,
            "earlier": len(self.refunds),
            "method_name": self.known.method_name if self.known is not None else "",
            "requested_by": "test",
            "asked_at": self.bench.now(),
        }
        return RefundRequest(**{**given, **changed})

    def refund(self, minor: int) -> tuple[RefundRequest, RefundResult]:
        """Give money back and wait until it went; return what was asked and what the gateway says of it in the end."""
        request = self.refund_request(minor)
        first = self.bench.adapter().refund(request)
        assert first.state in (RefundState.SUCCEEDED, RefundState.PROCESSING), first
        assert first.provider_ref
        asked = replace(request, provider_ref=first.provider_ref)
        self.refunds.append(asked)
        return asked, self.bench.driver.refunded(self, asked, first)

    # --- the gateway's own books

    def rows(self) -> list[dict[str, Any]]:
        return self.bench.driver.rows(self)

    def total(self) -> dict[str, int]:
        """Return the sums over all that the gateway has of this payment."""
        return {name: sum(row[name] for row in self.rows()) for name in MONEY}

    def check(
        self,
        state: PaymentState,
        *,
        captures: tuple[int, ...] = (),
        refunds: tuple[int, ...] = (),
        held: int = 0,
        disputed: int = 0,
    ) -> Truth:
        """The gateway's word and its own books say exactly this, and they agree. Returns the gateway's word."""
        asked = self.request.money.minor_units
        (row,) = self.rows()
        books = {"asked": asked, "held": held, "captured": sum(captures), "refunded": sum(refunds), "disputed": disputed}
        assert ({name: row[name] for name in MONEY}, row["currency"]) == (books, self.currency)
        truth = self.truth()
        assert truth.state is state
        if captures or held:
            assert truth.asked == self.request.money
        assert (truth.captures or ()) == tuple(sorted(captures))
        if held:
            assert truth.capturable == held
        else:
            assert truth.capturable in (0, None)
        told = truth.refunds or ()
        # A gateway that tells of a refund without its amount says "all that was left".
        assert sorted(each for each in told if each is not None) == sorted(refunds) or (len(told), told) == (1, (None,))
        assert bool(told) is bool(refunds)
        if sum(captures):
            assert truth.captures is not None, "captured money is told with its captures"
            assert truth.receipt or state is PaymentState.AUTHORIZED
        return truth
