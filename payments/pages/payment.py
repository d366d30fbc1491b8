"""A payment in the words of its payer."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import structlog
from django.db.models import Q
from django_scopes import scope

from integrations.contracts import clock
from integrations.contracts.errors import ProviderError
from integrations.contracts.money import Money
from integrations.runtime.jobs import Call
from payments.gateway import call_about, payment_query
from payments.models import Payment, Status
from payments.pages.rendering import QUICK, SLOW, Page, reason, shop_url
from payments.pages.visit import Visit
from payments.services import sync_payment
from payments.transitions import is_held, is_open, was_called_off

logger = structlog.get_logger(__name__)

ASK_AGAIN = timedelta(seconds=5)
QUICK_FOR = timedelta(hours=1)
ENDINGS = {
    Status.FAILED: "Payment failed",
    Status.CANCELLED: "Payment cancelled",
    Status.EXPIRED: "Payment expired",
}


class PaymentVisit(Visit):
    """See `Visit`."""

    kind = "payment"
    verb = "Pay by card"

    def __init__(self, payment: Payment) -> None:
        super().__init__(pk=payment.pk, token=payment.page_token, tenant=payment.tenant)
        self.payment = payment

    @classmethod
    def find(cls, token: str) -> PaymentVisit | None:
        found = Payment.unscoped.select_related("tenant").filter(page_token=token).first()
        return cls(found) if found is not None else None

    @property
    def status(self) -> str:
        return self.payment.status

    @property
    def waits(self) -> bool:
        return self.payment.status == Status.REQUIRES_ACTION

    @property
    def next_action(self) -> dict[str, Any] | None:
        found: dict[str, Any] | None = self.payment.next_action
        return found

    @property
    def return_url(self) -> str:
        return shop_url(self.payment.return_url, payment=self.payment.pk, status=self.payment.status)

    def ask(self) -> bool:
        if not is_open(self.payment.status):
            return False
        now = clock.now()
        with scope(tenant=self.tenant):
            # Taken before asking: also two windows at once, and a gateway that does not answer, are asked only that often.
            due = Payment.objects.filter(Q(checked_at=None) | Q(checked_at__lte=now - ASK_AGAIN), pk=self.pk)
            if not due.update(checked_at=now):
                return False
            try:
                self.payment = sync_payment(payment=self.payment, actor="payer")
            except ProviderError as error:
                logger.info("payer_page_not_checked", payment=self.pk, code=error.code)
                return False
        return True

    def page(self, *, fresh: bool) -> Page:
        payment, tenant = self.payment, self.tenant.name
        page = Page(tenant, "waiting", "Checking your payment", "", str(Money(payment.amount, payment.currency)))
        if is_open(payment.status):
            return self._open(page, fresh=fresh)
        returns = self.return_url
        page = replace(page, return_url=returns, refresh=f"{QUICK};url={returns}" if returns else "")
        if payment.status == Status.SUCCEEDED:
            paid = str(Money(payment.amount_captured, payment.currency))
            lines = tuple(
                each for each in (("Receipt number", payment.receipt_number), ("Refunded", self._refunded())) if each[1]
            )
            text = f"{tenant} has received your payment. Thank you."
            return replace(page, tone="paid", title="Paid", text=text, amount=paid, lines=lines)
        if is_held(payment.status):
            return replace(page, tone="approved", title="Approved", text=f"Your payment is approved. {tenant} completes it.")
        if was_called_off(payment.status):
            private = "The payment could not be processed."
            why = reason(payment.failure, otherwise="No money was taken.", private=private)
            return replace(page, tone="stopped", title=ENDINGS[Status(payment.status)], text=why)
        text = f"Please do not pay again: {tenant} is looking at it."
        return replace(page, title="Your payment is being reviewed", text=text)

    def _open(self, page: Page, *, fresh: bool) -> Page:
        if self.payment.status == Status.NEEDS_REVIEW:
            text = f"Please do not pay again: {page.tenant} is looking at it."
            title = "Your payment is being reviewed"
            return replace(page, title=title, text=text, refresh=str(SLOW), return_url=self.return_url)
        if fresh and self.pays_here:
            # Money that is on its way would be `processing`: the gateway waits for a card.
            text = "The card was not confirmed and nothing was taken. You can try again, also with another card."
            return replace(
                page, tone="action", title="Not paid yet", text=text,
                pay_url=self.own, pay_text="Try again", return_url=self.return_url,
            )  # fmt: skip
        quick = clock.now() - self.payment.created < QUICK_FOR
        text = "This takes a few seconds. The page renews itself; please do not pay again."
        return replace(page, text=text, refresh=str(QUICK if quick else SLOW), pay_url=self.pay_url)

    def _refunded(self) -> str:
        payment = self.payment
        return str(Money(payment.amount_refunded, payment.currency)) if payment.amount_refunded else ""

    def left(self, page: Page) -> Page:
        text = "You came back without paying. You can go on with it, or leave it."
        return replace(
            page, tone="action", title="Not paid yet", text=text, refresh="", return_url=self.return_url,
            pay_url=self.pay_url, pay_text="Back to the payment page",
        )  # fmt: skip

    def form(self) -> Page:
        payment = self.payment
        lines = tuple(each for each in (("For", payment.description), ("Reference", payment.reference_id)) if each[1])
        leave = f"{self.own}/cancel" if self.return_url else ""
        amount = str(Money(payment.amount, payment.currency))
        return Page(self.tenant.name, "form", self.verb, "", amount, lines=lines, return_url=leave)

    def call_for_form(self) -> Call:
        with scope(tenant=self.tenant):
            return call_about(self.payment, "payer_page", payment_query(self.payment))
