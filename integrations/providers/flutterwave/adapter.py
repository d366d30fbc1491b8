"""Flutterwave v3 as a payment gateway: the hosted page, M-Pesa prompts, refunds.

Sources: developer.flutterwave.com (v3) and the official SDKs, read 2026-11; see README.md. v3 has no idempotency key. Our
`tx_ref` is the payment's id at Flutterwave (`provider_ref`); one tx_ref can collect several transactions, whose ids are the
captures' ids. Whatever a browser or a webhook says, only verify's answer counts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from integrations.contracts.adapter import Clock, ConfigView, HttpPort, TestResult, TokenPort
from integrations.contracts.errors import Conflict, Declined, InvalidRequest, NotFound, UnsupportedOperation
from integrations.contracts.failures import Failure
from integrations.contracts.money import Money
from integrations.contracts.payment import (
    PaymentQuery,
    PaymentRequest,
    PaymentResult,
    PaymentState,
    RefundRequest,
    RefundResult,
    RefundState,
    TransactionPage,
    TransactionsQuery,
)
from integrations.contracts.payment_adapter import PaymentAdapter
from integrations.contracts.payment_features import MethodType, PaymentFeatures
from integrations.contracts.wire import Wire, WireError
from integrations.providers.flutterwave import bodies, books, money, references
from integrations.providers.flutterwave.calls import Flutterwave, readable
from integrations.providers.flutterwave.codes import FAILED, failure_of, refund_failure_of
from integrations.providers.flutterwave.reading import Transaction, read_refund, read_transaction

SESSION_MARGIN = timedelta(minutes=15)
"""A payment begun in a session's last minute may still end well; and the page may have been asked for a second time."""

LAPSES = timedelta(minutes=bodies.SESSION_MINUTES) + SESSION_MARGIN
PROMPT_UNSEEN = timedelta(minutes=15)
"""For so long after a charge was accepted, "no transaction was found" only means that verify does not have it yet."""

CLOCK_SKEW = timedelta(minutes=5)


class FlutterwavePayments(PaymentAdapter):
    """One tenant's Flutterwave account.

    REDIRECT opens the hosted page: asking twice makes two links to one tx_ref, of which only one reaches the payer, so it is
    repeated freely. MOBILE_MONEY puts an M-Pesa prompt on a phone (KES only) and is never repeated after a lost answer.
    """

    features = PaymentFeatures(
        operations=frozenset(
            {"authorize", "sync", "refund", "partial_refund", "multiple_refund", "transactions"},
        ),
        methods=frozenset({MethodType.REDIRECT, MethodType.MOBILE_MONEY}),
        currencies=money.CURRENCIES,
        polls=(30, 60, 120, 300, 900, 3600),  # the provider's own advice for M-Pesa, then hourly
        silence=86_400,
        validity=300,
        lapses=int(LAPSES.total_seconds()),
        arrives_within=900,
        notes={
            "authorize": "Needs the payer's e-mail address. M-Pesa prompts in whole KES only.",
            "refund": "Taken from the available balance.",
            "capture": "Not through v3's hosted page and M-Pesa: money is taken at once.",
            "setup": "Not offered: it would need card tokens, and card numbers and tokens never enter the hub.",
        },
    )

    def __init__(self, *, config: ConfigView, http: HttpPort, tokens: TokenPort, clock: Clock) -> None:
        super().__init__(config=config, http=http, tokens=tokens, clock=clock)
        self._api = Flutterwave(config, http)

    # --- payments

    @classmethod
    def check(cls, request: PaymentRequest, config: ConfigView) -> None:
        """See `PaymentAdapter`: amount and currency, e-mail, phone (prompts), return address (hosted page)."""
        cls.features.check("authorize", request.money, request.method)
        if not request.capture:
            raise UnsupportedOperation("This provider can't hold money and take it later.", attr="capture")
        if request.off_session:
            raise UnsupportedOperation("This provider can't charge a stored payer.", attr="method.token")
        bodies.check_email(request.customer_email)
        if request.method is MethodType.MOBILE_MONEY:
            money.whole_shillings(request.money)
            bodies.msisdn(request.phone)
        else:
            bodies.check_return(request.return_url)

    def authorize(self, request: PaymentRequest) -> PaymentResult:
        """Open a hosted page (REQUIRES_ACTION with its link) or put a prompt on the payer's phone (PROCESSING)."""
        self.check(request, self.config)
        return self._prompt(request) if request.method is MethodType.MOBILE_MONEY else self._page(request)

    def _page(self, request: PaymentRequest) -> PaymentResult:
        reference = references.tx_ref(request.payment_id, 1)  # the same for every try: nothing moves without the payer
        payload = bodies.page(request, reference)

        def read(envelope: Wire) -> str:
            link = envelope["data"]["link"].text(max_length=2000)
            if urlsplit(link).scheme not in ("http", "https"):
                raise WireError("data.link is no web address")
            return link

        try:
            link = self._api.post("/payments", payload, read, operation="authorize", safe=True)
        except Declined as error:
            return _failed(reference, error)
        return PaymentResult(
            PaymentState.REQUIRES_ACTION,
            reference,
            next_action={"type": "redirect", "url": link},
            expires_at=self.clock() + timedelta(minutes=bodies.SESSION_MINUTES),
        )

    def _prompt(self, request: PaymentRequest) -> PaymentResult:
        reference = references.tx_ref(request.payment_id, request.attempt)
        payload = bodies.prompt(request, reference)

        def read(envelope: Wire) -> PaymentResult:
            data = envelope["data"]
            if data["tx_ref"].text(max_length=200) != reference:
                raise WireError("data.tx_ref is another payment's")
            number = str(data["id"].integer())
            # `processor_response` says "Successful" as soon as the prompt is out; and "successful" is believed of verify only.
            failed = data["status"].text(max_length=100).strip().lower() == FAILED
            told = data.get("processor_response")
            return PaymentResult(
                PaymentState.FAILED if failed else PaymentState.PROCESSING,
                reference,
                references=(("transaction", number),),
                failure=failure_of(told.text() if told else "", otherwise="declined") if failed else None,
            )

        try:
            return self._api.post("/charges?type=mpesa", payload, read, operation="authorize", safe=False)
        except Declined as error:
            return _failed(reference, error)

    def payment_status(self, query: PaymentQuery) -> PaymentResult:
        """Verify by every reference this payment may have, with all transactions and refunds under them.

        No transaction: of a hosted page that is REQUIRES_ACTION until its session is over, of a prompt ABSENT (PROCESSING at
        first, where the charge was accepted). Failed tries on a page are not the end: the payer may try again there.
        """
        direct = query.method is MethodType.MOBILE_MONEY
        attempts = query.attempts if direct else 1
        found: list[Transaction] = []
        for reference in references.all_tx_refs(query.payment_id, attempts, query.provider_ref):
            found += self._transactions_of(reference)
        found.sort(key=lambda each: int(each.id))
        if not found:
            return self._nothing(query, direct=direct)
        paid = [each for each in found if each.successful]
        if any(each.amount.currency != query.money.currency for each in paid):
            return _other_currency(query, found, paid)
        if paid:
            return self._paid(query, found, paid)
        newest = found[-1]
        result = PaymentResult(
            PaymentState.PROCESSING,
            newest.tx_ref,
            money=newest.amount,
            references=_ids(found),
            captures=(),
            refunds=(),
            provider_code=newest.processor_response[:100],
            payer=newest.payer,
            method_name=newest.payment_type,
            method_detail=newest.detail,
        )
        if not all(each.failed for each in found):
            return result
        ends = self._session_end(query)
        if direct or (ends is not None and self.clock() >= ends + SESSION_MARGIN):
            failure = failure_of(newest.processor_response, otherwise="declined")
            return replace(result, state=PaymentState.FAILED, failure=failure)
        return replace(result, state=PaymentState.REQUIRES_ACTION, expires_at=ends)

    def _transactions_of(self, reference: str) -> list[Transaction]:
        """Return every transaction under a tx_ref, oldest first; each that brought money as verify gives it."""

        def verified(envelope: Wire) -> Transaction:
            found = read_transaction(envelope["data"])
            if found.tx_ref != reference:
                raise WireError("data.tx_ref is another payment's")
            return found

        try:
            newest = self._api.get(
                "/transactions/verify_by_reference", verified, operation="status", query={"tx_ref": reference}
            )
        except NotFound:
            return []
        found = {newest.id: newest}

        def listed(data: Wire) -> Transaction | None:
            # Whether the list heeds `tx_ref` is known from the SDK alone, so it is looked at here.
            named = data.get("tx_ref")
            return read_transaction(data) if named is not None and named.text() == reference else None

        for page, _more in self._api.pages("/transactions", {"tx_ref": reference}, listed, operation="status"):
            for other in page:
                if other is not None and other.id not in found:
                    path = f"/transactions/{other.id}/verify"
                    paid = other.successful
                    found[other.id] = self._api.get(path, verified, operation="status") if paid else other
            if None in page:
                break  # the filter is not heeded: reading the whole account would not end
        return list(found.values())

    def _nothing(self, query: PaymentQuery, *, direct: bool) -> PaymentResult:
        none = PaymentResult(PaymentState.ABSENT, query.provider_ref, captures=(), refunds=())
        if not query.provider_ref:
            return none  # the answer to our request was lost: no link was handed out, or no prompt is known
        if direct:
            fresh = query.asked_at is not None and self.clock() < query.asked_at + PROMPT_UNSEEN
            return replace(none, state=PaymentState.PROCESSING) if fresh else none
        ends = self._session_end(query)
        if ends is not None and self.clock() >= ends + SESSION_MARGIN:
            return replace(none, state=PaymentState.EXPIRED, failure=Failure.of("payment_expired"))
        return replace(none, state=PaymentState.REQUIRES_ACTION, expires_at=ends)

    @staticmethod
    def _session_end(query: PaymentQuery) -> datetime | None:
        return query.asked_at + timedelta(minutes=bodies.SESSION_MINUTES) if query.asked_at else None

    def _paid(self, query: PaymentQuery, found: Sequence[Transaction], paid: Sequence[Transaction]) -> PaymentResult:
        first = paid[0]
        fees = [each.fee for each in paid]
        known = [fee.minor_units for fee in fees if fee is not None]
        refunds = books.refunds_of(self._api, paid)
        with readable():
            facts = None if refunds is None else tuple(each.fact(query.money.currency) for each in refunds)
        return PaymentResult(
            PaymentState.SUCCEEDED,
            first.tx_ref,
            receipt=first.flw_ref,
            money=first.amount,
            references=_ids(found),
            captures=tuple(each.fact() for each in paid),
            refunds=facts,
            capturable=Money(0, query.money.currency),
            fee=Money(sum(known), query.money.currency) if len(known) == len(paid) else None,
            payer=first.payer,
            method_name=first.payment_type,
            method_detail=first.detail,
        )

    # --- refunds

    @classmethod
    def check_refund(cls, request: RefundRequest, config: ConfigView) -> None:
        """See `PaymentAdapter`: a currency and an amount that can be written down exactly."""
        cls.features.check_step(request.money)
        money.number_amount(request.money)

    def refund(self, request: RefundRequest) -> RefundResult:
        """Give money of one transaction back; not deduplicated. Our id goes into the comment, by which it is found again."""
        self.check_refund(request, self.config)
        number = self._transaction_id(request)
        payload = {
            "amount": money.number_amount(request.money),
            "comments": references.comment(request.refund_id, request.reason),
        }

        def read(envelope: Wire) -> RefundResult:
            made = read_refund(envelope["data"])
            if made.transaction != number:
                raise WireError("data.tx_id is another transaction's")
            return made.result(request.money.currency)

        try:
            return self._api.post(f"/transactions/{number}/refund", payload, read, operation="refund", safe=False)
        except Declined as error:
            return RefundResult(RefundState.FAILED, failure=refund_failure_of(error.provider_code))

    def refund_status(self, request: RefundRequest) -> RefundResult:
        """Ask by the refund's id; without one, look for our id in the comments of the transaction's refunds, else UNKNOWN."""
        currency = request.money.currency
        if request.provider_ref:
            path = f"/refunds/{_digits(request.provider_ref)}"
            try:
                return self._api.get(path, lambda said: read_refund(said["data"]).result(currency), operation="status")
            except NotFound:
                return RefundResult(RefundState.UNKNOWN, request.provider_ref)
        number = self._transaction_id(request)
        since = request.asked_at - CLOCK_SKEW if request.asked_at else None
        try:
            for each in books.all_refunds(self._api, since.date() if since else None, {number}):
                late_enough = since is None or each.created_at is None or each.created_at >= since
                if late_enough and references.refund_id(each.comment) == request.refund_id:
                    with readable():
                        found = each.result(currency)
                    if found.money == request.money:
                        return found
        except books.TooManyPages:
            pass  # not found in what can be read in one go: not known
        return RefundResult(RefundState.UNKNOWN)

    def _transaction_id(self, request: RefundRequest) -> str:
        """Return the transaction that a refund is taken from; asks for it where only the tx_ref is known."""
        if request.capture_ref:
            return _digits(request.capture_ref)
        paid = [each for each in self._transactions_of(request.payment_provider_ref) if each.successful]
        if len(paid) != 1:
            raise Conflict("It is not known which of the gateway's transactions this refund belongs to.", attr="payment")
        return paid[0].id

    # --- books and set-up

    def transactions(self, query: TransactionsQuery) -> TransactionPage:
        """List successful transactions, then refunds that did not fail; see `books`."""
        return books.transactions(self._api, query)

    def test_connection(self) -> TestResult:
        """Ask for today's transactions: proof that the key is right and may read them."""
        today = self.clock().date().isoformat()
        self._api.get(
            "/transactions", lambda said: said["data"], operation="test", query={"from": today, "to": today, "page": "1"}
        )
        hooks = "secret hash set" if self.config.get("secret_hash") else "no secret hash yet, so webhooks are refused"
        return TestResult(ok=True, status="ok", detail=f"Secret key accepted; {hooks}.")


def _failed(reference: str, error: Declined) -> PaymentResult:
    """A definite no to our request itself: nothing was begun."""
    failure = failure_of(error.provider_code)
    return PaymentResult(PaymentState.FAILED, reference, failure=failure, provider_code=error.provider_code)


def _other_currency(query: PaymentQuery, found: Sequence[Transaction], paid: Sequence[Transaction]) -> PaymentResult:
    """Money came under our reference in a currency that nobody asked for: not this payment's success, a person must look."""
    other = next(each for each in paid if each.amount.currency != query.money.currency)
    return PaymentResult(
        PaymentState.UNKNOWN,
        other.tx_ref,
        money=other.amount,
        references=_ids(found),
        provider_code="currency_mismatch",
        failure=Failure.of("unknown_result", provider_code="currency_mismatch"),
    )


def _ids(found: Sequence[Transaction]) -> tuple[tuple[str, str], ...]:
    return tuple(("transaction", each.id) for each in found)


def _digits(value: str) -> str:
    if not re.fullmatch(r"\d{1,20}", value):
        raise InvalidRequest("This is no id of a Flutterwave transaction or refund.", attr="payment")
    return value
