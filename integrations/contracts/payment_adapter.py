"""What a payment gateway's adapter must do. Every money call carries our key and is made at most once for certain."""

from __future__ import annotations

from abc import abstractmethod

from integrations.contracts.adapter import Adapter, ConfigView
from integrations.contracts.errors import UnsupportedOperation
from integrations.contracts.payment import (
    CaptureRequest,
    CaptureResult,
    PayerPage,
    PaymentQuery,
    PaymentRequest,
    PaymentResult,
    ReceiptQuery,
    RefundRequest,
    RefundResult,
    SetupRequest,
    SetupResult,
    StoredMethod,
    TransactionPage,
    TransactionsQuery,
    VoidRequest,
)
from integrations.contracts.payment_features import PaymentFeatures


class PaymentAdapter(Adapter):
    """A payment gateway.

    How a call that may move money ends, for `authorize`, `complete`, `capture`, `void`, `refund` and `setup` alike:
    a result (also of a decline: state FAILED with its `Failure`); `InvalidRequest`, `Conflict` and so on where the gateway
    refused and certainly did nothing; `ProviderUnavailable` or `RateLimited` where certainly nothing was done and the same
    may be tried again; `Undecided` where it may have been done and the gateway deduplicates our key, so that the same call
    may be made again and will tell; `OutcomeUnknown` where it may have been done and must not be repeated.
    "Already captured", "already voided", "already refunded" are answered by reading the truth, never by a second effect.
    """

    features: PaymentFeatures

    @classmethod
    def features_for(cls, config: ConfigView) -> PaymentFeatures:
        """Return the capability matrix of this config: an account may lack what others have."""
        return cls.features

    @classmethod
    def check(cls, request: PaymentRequest, config: ConfigView) -> None:
        """Raise `InvalidRequest` naming the field for what the gateway would refuse anyway. No network, before any row."""
        return

    @classmethod
    def check_refund(cls, request: RefundRequest, config: ConfigView) -> None:
        """Raise `InvalidRequest`, `Conflict` or `UnsupportedOperation` for a refund that the gateway would refuse anyway."""
        return

    @classmethod
    def shown_reference(cls, request: PaymentRequest) -> str:
        """Return what the payer will see as the account, and what a customer's own payment for the same thing may name."""
        return request.reference

    @abstractmethod
    def authorize(self, request: PaymentRequest) -> PaymentResult:
        """Start the payment (hold or take the money, put a prompt on a phone, open a page)."""

    @abstractmethod
    def payment_status(self, query: PaymentQuery) -> PaymentResult:
        """Ask for the truth, changing nothing: the payment with all its captures, refunds and disputes.

        An answer that says "still running" is PROCESSING (or REQUIRES_ACTION), never FAILED. Without `provider_ref` the
        gateway is searched by our own id: ABSENT where it has nothing, `UnsupportedOperation` where it can't be searched.
        """

    def complete(self, request: PaymentRequest) -> PaymentResult:
        """Take (or hold) what the payer has APPROVED."""
        raise self._cannot("complete a payment in a second step")

    def capture(self, request: CaptureRequest) -> CaptureResult:
        """Take all or part of what is held."""
        raise self._cannot("hold money and take it later")

    def capture_status(self, request: CaptureRequest) -> CaptureResult:
        """Ask what became of a capture, changing nothing; UNKNOWN where the gateway knows nothing of it (yet)."""
        raise self._cannot("be asked about captures")

    def void(self, request: VoidRequest) -> PaymentResult:
        """Release a hold, or call off an unpaid request; the result is the payment's state after that, whatever it is."""
        raise self._cannot("call off a payment through its API")

    def refund(self, request: RefundRequest) -> RefundResult:
        """Give money back."""
        raise self._cannot("refund through its API")

    def refund_status(self, request: RefundRequest) -> RefundResult:
        """Ask for the truth about a refund; where only a callback can tell, start that and return PROCESSING."""
        raise self._cannot("be asked about refunds")

    def receipt_status(self, query: ReceiptQuery) -> PaymentResult:
        """Ask whether a receipt number is real; PROCESSING means the answer comes to `callback_url`."""
        raise self._cannot("be asked about a receipt")

    def setup(self, request: SetupRequest) -> SetupResult:
        """Begin to store a card or payer."""
        raise self._cannot("store a payer for later")

    def complete_setup(self, request: SetupRequest) -> SetupResult:
        """Store what the payer has APPROVED."""
        raise self._cannot("store a payer in a second step")

    def setup_status(self, request: SetupRequest) -> SetupResult:
        """Ask how storing stands, changing nothing."""
        raise self._cannot("be asked about stored payers")

    def forget(self, stored: StoredMethod) -> None:
        """Remove a stored card or payer at the gateway; fine where it is gone already."""
        raise self._cannot("remove a stored payer")

    def transactions(self, query: TransactionsQuery) -> TransactionPage:
        """List the gateway's own books, for reconciliation."""
        raise self._cannot("list its transactions")

    def payer_page(self, query: PaymentQuery) -> PayerPage:
        """Return what the hub's payment page needs so that the gateway's own script can take the card there."""
        raise self._cannot("take a payment on the hub's own page")

    def _cannot(self, what: str) -> UnsupportedOperation:
        return UnsupportedOperation(f"This provider can't {what}.", provider=self.config.provider)
