"""The whole truth about a payment: the order, the authorization that counts, the disputes of its captures."""

from __future__ import annotations

from integrations.contracts.adapter import Clock
from integrations.contracts.errors import ProviderUnavailable
from integrations.contracts.failures import Failure
from integrations.contracts.money import Money
from integrations.contracts.payment import CaptureFact, DisputeFact, PaymentResult, PaymentState, RefundState
from integrations.contracts.wire import Wire, WireError
from integrations.providers.paypal import reading
from integrations.providers.paypal.calls import Refused, Rest, path

DISPUTES = "/v1/customer/disputes"
DISPUTES_PER_CAPTURE = 20


class Snapshots:
    """Reads only; every call is safe to repeat. Raises `ProviderError` of the kinds that `Rest.get` names."""

    def __init__(self, rest: Rest, clock: Clock) -> None:
        self._rest = rest
        self._clock = clock

    def payment(self, order_id: str, *, hold_ref: str = "", receipt: str = "") -> PaymentResult:
        """Return everything about a payment.

        PayPal drops orders that were never run (hours after they were made): EXPIRED. Where a hold or a capture is known,
        that is read instead, so that a payment which moved money never turns into an expired one.
        """
        found = self.order(order_id)
        if found is None:
            return self._without_order(order_id, hold_ref, receipt)
        hold = found.hold(hold_ref)
        if hold is None and hold_ref:
            hold = self.authorization(hold_ref)  # made by a reauthorization: the order need not list it
        return reading.result(found, self._clock(), hold=hold, disputes=self._disputes(found.captures))

    def order(self, order_id: str) -> reading.Order | None:
        """Return the order, None where PayPal has none of this id (any more)."""
        try:
            return reading.order(self._rest.get(path("v2", "checkout", "orders", order_id), operation="status"))
        except Refused as refused:
            if refused.status == 404:
                return None
            raise refused.error() from None
        except WireError as error:
            raise _unreadable(error) from None

    def authorization(self, ref: str) -> reading.Authorization | None:
        """Return the authorization, None where PayPal has none of this id."""
        try:
            wire = self._rest.get(path("v2", "payments", "authorizations", ref), operation="authorization_status")
            return reading.authorization(wire)
        except Refused as refused:
            if refused.status == 404:
                return None
            raise refused.error() from None
        except WireError as error:
            raise _unreadable(error) from None

    def capture(self, ref: str) -> CaptureFact | None:
        """Return the capture, None where PayPal has none of this id."""
        try:
            return reading.capture(self._rest.get(path("v2", "payments", "captures", ref), operation="capture_status"))
        except Refused as refused:
            if refused.status == 404:
                return None
            raise refused.error() from None
        except WireError as error:
            raise _unreadable(error) from None

    def _without_order(self, order_id: str, hold_ref: str, receipt: str) -> PaymentResult:
        taken = self.capture(receipt) if receipt else None
        if taken is not None:
            state = {RefundState.SUCCEEDED: PaymentState.SUCCEEDED, RefundState.PROCESSING: PaymentState.PROCESSING}
            return PaymentResult(
                state.get(taken.state, PaymentState.UNKNOWN),
                provider_ref=order_id,
                receipt=taken.receipt,
                disputes=self._disputes((taken,)),
                fee=taken.fee,
                hold_ref=hold_ref,
            )
        hold = self.authorization(hold_ref) if hold_ref else None
        if hold is not None:
            usable = hold.open(self._clock())
            states = {"VOIDED": PaymentState.CANCELLED, "DENIED": PaymentState.FAILED}
            left = hold.money if usable and hold.status == "CREATED" else None
            return PaymentResult(
                PaymentState.AUTHORIZED if usable else states.get(hold.status, PaymentState.UNKNOWN),
                provider_ref=order_id,
                hold_ref=hold.id,
                capturable=left if usable else Money(0, hold.money.currency),
                expires_at=hold.expires_at if usable else None,
            )
        return PaymentResult(PaymentState.EXPIRED, order_id, failure=Failure.of("payment_expired"))

    def _disputes(self, captures: tuple[CaptureFact, ...]) -> tuple[DisputeFact, ...] | None:
        """Return all disputes, None where the account may not read them (a permission of its own at PayPal)."""
        found: list[DisputeFact] = []
        try:
            for capture in captures:
                if capture.state is not RefundState.FAILED:
                    found += [self._dispute(number) for number in self._dispute_ids(capture.provider_ref)]
        except Refused:
            return None
        except WireError as error:
            raise _unreadable(error) from None
        return tuple(found)

    def _dispute_ids(self, capture: str) -> list[str]:
        query = {"disputed_transaction_id": capture, "page_size": str(DISPUTES_PER_CAPTURE)}
        wire = self._rest.get(DISPUTES, operation="disputes", query=query)
        return [each["dispute_id"].text(max_length=100) for each in (wire.get("items") or Wire([])).items()]

    def _dispute(self, number: str) -> DisputeFact:
        return reading.dispute(self._rest.get(path("v1", "customer", "disputes", number), operation="disputes"))


def _unreadable(error: WireError) -> ProviderUnavailable:
    return ProviderUnavailable(f"PayPal's answer could not be read: {error}.", provider_code="unreadable")
