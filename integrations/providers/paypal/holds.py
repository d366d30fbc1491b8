"""Captures and voids of authorizations.

An authorization lives 29 days and PayPal honours it for 3; after that a capture may fail, and a reauthorization (a new
authorization with 3 days of its own) makes it good again between day 4 and day 29 (auth-honor page, read 2026-11).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from integrations.contracts.adapter import Clock
from integrations.contracts.errors import InvalidRequest, NotFound, ProviderError, Undecided
from integrations.contracts.payment import (
    CaptureFact,
    CaptureRequest,
    CaptureResult,
    PaymentResult,
    PaymentState,
    RefundState,
    VoidRequest,
)
from integrations.contracts.wire import Wire, WireError
from integrations.providers.paypal import codes, reading
from integrations.providers.paypal.calls import Refused, Rest, path, request_id
from integrations.providers.paypal.money import to_wire
from integrations.providers.paypal.snapshots import Snapshots

HONOUR = timedelta(days=3)


class Holds:
    """What is done with the authorizations of one account."""

    def __init__(self, rest: Rest, snapshots: Snapshots, clock: Clock, soft_descriptor: str) -> None:
        self._rest = rest
        self._snapshots = snapshots
        self._clock = clock
        self._soft_descriptor = soft_descriptor

    def capture(self, request: CaptureRequest) -> CaptureResult:
        """Take `request.money`, never more than is left of what was authorized. After the honour period authorize anew first;
        the new authorization comes back as `payment.hold_ref`."""
        if request.money.minor_units > request.capturable.minor_units:
            raise InvalidRequest(f"Only {request.capturable} can be captured.", attr="amount")
        hold = self._snapshots.authorization(request.hold_ref)
        if hold is None:
            raise NotFound("PayPal does not know this authorization.")
        if request.money.currency != hold.money.currency:
            raise InvalidRequest(f"The hold is in {hold.money.currency}.", attr="currency")
        if request.captured.minor_units + request.money.minor_units > hold.money.minor_units:
            raise InvalidRequest(f"Only {hold.money} was authorized.", attr="amount")
        renewed = self._renewed(request, hold)
        body = {
            "amount": to_wire(request.money),
            "final_capture": request.final,
            "invoice_id": request.operation_id,
            **({"soft_descriptor": self._soft_descriptor} if self._soft_descriptor else {}),
        }
        try:
            wire = self._rest.send(
                "POST",
                path("v2", "payments", "authorizations", renewed or hold.id, "capture"),
                body,
                operation="capture",
                key=request_id(request.idempotency_key, "capture"),
            )
        except Refused as refused:
            return self._with_hold(self._refused(request, refused), request, renewed)
        try:
            found = _capture_result(reading.capture(wire or Wire({})))
        except WireError as error:
            raise Undecided(f"PayPal's answer could not be read: {error}.", provider_code="unreadable") from None
        return self._with_hold(found, request, renewed)

    def status(self, request: CaptureRequest) -> CaptureResult:
        """Look for the operation among the order's captures."""
        order = self._snapshots.order(request.payment_provider_ref)
        for fact in order.captures if order else ():
            if fact.operation_id == request.operation_id:
                return _capture_result(fact)
        return CaptureResult(RefundState.UNKNOWN)

    def void(self, request: VoidRequest) -> PaymentResult:
        """Release the hold; the result is read afterwards. PayPal releases a reauthorization with the authorization that it
        came from, and refuses to void it by itself (`CANNOT_BE_VOIDED`)."""
        refused = self._void_one(request, request.hold_ref)
        if refused is not None and refused.issue == "CANNOT_BE_VOIDED":
            order = self._snapshots.order(request.payment_provider_ref)
            for each in order.holds if order else ():
                if each.id != request.hold_ref:
                    refused = self._void_one(request, each.id)
        found = self._snapshots.payment(request.payment_provider_ref, hold_ref=request.hold_ref)
        if refused is None or refused.issue in codes.READ_AGAIN:
            return found
        if refused.status in (400, 403, 404):
            raise refused.error()
        return replace(found, failure=codes.failure_of(refused.issue))

    def _void_one(self, request: VoidRequest, hold: str) -> Refused | None:
        where = path("v2", "payments", "authorizations", hold, "void")
        try:
            self._rest.send("POST", where, operation="void", key=request_id(request.idempotency_key, f"void-{hold}"))
        except Refused as refused:
            return refused
        return None

    def _renewed(self, request: CaptureRequest, hold: reading.Authorization) -> str:
        """Return the id of a new authorization, '' where none is needed or PayPal makes none (then the old one is tried)."""
        now = self._clock()
        fresh = hold.created_at is None or now < hold.created_at + HONOUR
        if fresh or hold.status != "CREATED" or not hold.open(now):
            return ""
        try:
            wire = self._rest.send(
                "POST",
                path("v2", "payments", "authorizations", hold.id, "reauthorize"),
                {"amount": to_wire(hold.money)},
                operation="reauthorize",
                # Not of this operation's key: whoever captures next must meet the same new authorization.
                key=request_id(hold.id, f"renew-{(now - hold.created_at).days // HONOUR.days}" if hold.created_at else "renew"),
            )
            return reading.authorization(wire or Wire({})).id
        except Refused:
            return ""
        except WireError as error:
            raise Undecided(f"PayPal's answer could not be read: {error}.", provider_code="unreadable") from None

    def _refused(self, request: CaptureRequest, refused: Refused) -> CaptureResult:
        if refused.issue in codes.READ_AGAIN:
            found = self.status(request)
            if found.state is not RefundState.UNKNOWN:
                return found
        if refused.status in (400, 404):
            raise refused.error() from None
        return CaptureResult(RefundState.FAILED, failure=codes.failure_of(refused.issue))

    def _with_hold(self, found: CaptureResult, request: CaptureRequest, renewed: str) -> CaptureResult:
        """Add the payment's new hold where there is one; the capture stands even if reading it fails."""
        if not renewed:
            return found
        try:
            payment = self._snapshots.payment(request.payment_provider_ref, hold_ref=renewed)
        except ProviderError:
            references = (("authorization", renewed),)
            payment = PaymentResult(PaymentState.UNKNOWN, request.payment_provider_ref, hold_ref=renewed, references=references)
        return replace(found, payment=payment, references=(*found.references, ("authorization", renewed)))


def _capture_result(fact: CaptureFact) -> CaptureResult:
    return CaptureResult(
        fact.state,
        provider_ref=fact.provider_ref,
        receipt=fact.receipt,
        money=fact.money,
        failure=fact.failure,
        references=(("capture", fact.provider_ref),),
    )
