"""What a payer's browser sees of a payment. Whoever has the unguessable token may look; nobody can change anything here.

Gateways send the browser to `/pay/<token>/return` and `/cancel` with values of their own in the query. Those are never read:
anybody could have typed them. What a page says is what the gateway answered when the hub asked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import wraps
from typing import Concatenate, ParamSpec
from urllib.parse import urlencode, urlsplit, urlunsplit

import structlog
from django.db.models import Q
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect, JsonResponse
from django.template.loader import render_to_string
from django.views.decorators.http import require_GET
from django_scopes import scope

from integrations.contracts import clock
from integrations.contracts.errors import ProviderError
from integrations.contracts.failures import VOCABULARY, FailureType
from integrations.contracts.money import Money
from payments.gateway import page_url
from payments.models import Payment, Status
from payments.services import sync_payment
from payments.transitions import is_held, is_open, was_called_off

logger = structlog.get_logger(__name__)

ASK_AGAIN = timedelta(seconds=5)
QUICK, SLOW = 3, 30
"""Seconds between two looks of a waiting page; slowly where a person has to decide, or nobody has for an hour."""
QUICK_FOR = timedelta(hours=1)

HEADERS = {
    "Cache-Control": "no-store",
    # The address is the key to the page, so it must not travel on to the shop or the gateway.
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
}
ENDINGS = {
    Status.FAILED: "Payment failed",
    Status.CANCELLED: "Payment cancelled",
    Status.EXPIRED: "Payment expired",
}
TONES = {"paid": "✓", "approved": "✓", "stopped": "✕"}

P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, P], HttpResponseBase]


@dataclass(frozen=True, slots=True)
class Page:
    """What stands on a page, in words. Links are empty where there is none; `refresh` is the content of the meta element."""

    tenant: str
    tone: str
    title: str
    text: str
    amount: str
    lines: tuple[tuple[str, str], ...] = ()
    pay_url: str = ""
    return_url: str = ""
    refresh: str = ""

    @property
    def mark(self) -> str:
        return TONES.get(self.tone, "…")


def _guarded(view: View[P]) -> View[P]:
    """Answer GET only, and put the headers on whatever comes out."""

    @wraps(view)
    def guarded(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        response = require_GET(view)(request, *args, **kwargs)
        for name, value in HEADERS.items():
            response[name] = value
        return response

    return guarded


@_guarded
def start(_request: HttpRequest, token: str) -> HttpResponseBase:
    """GET `/pay/<token>`: on to the gateway's page while the payer has something to do there, else how the payment stands."""
    payment = _find(token)
    if payment is None:
        return _unknown()
    target = _gateway_page(payment)
    return HttpResponseRedirect(target) if target else _answer(_page(_asked(payment)))


@_guarded
def back(_request: HttpRequest, token: str) -> HttpResponseBase:
    """GET `/pay/<token>/return`: the payer comes from the gateway's page."""
    payment = _find(token)
    return _unknown() if payment is None else _answer(_page(_asked(payment)))


@_guarded
def cancelled(_request: HttpRequest, token: str) -> HttpResponseBase:
    """GET `/pay/<token>/cancel`: the payer left the gateway's page, which decides nothing: it may still be paid there."""
    payment = _find(token)
    if payment is None:
        return _unknown()
    page = _page(_asked(payment))
    if payment.status == Status.REQUIRES_ACTION:
        text = "You came back without paying. You can go on with it, or leave it."
        page = replace(page, tone="stopped", title="Not paid yet", text=text, refresh="", return_url=_shop_url(payment))
    return _answer(page)


@_guarded
def status(_request: HttpRequest, token: str) -> HttpResponseBase:
    """GET `/pay/<token>/status`: `{"status"}` as the hub knows it; nobody is asked."""
    payment = _find(token)
    if payment is None:
        return JsonResponse({"status": None}, status=404)
    return JsonResponse({"status": payment.status})


def _find(token: str) -> Payment | None:
    return Payment.unscoped.select_related("tenant").filter(page_token=token).first()


def _asked(payment: Payment) -> Payment:
    """Ask the gateway about an open payment, unless that was done just now, and return the payment as it is then."""
    if not is_open(payment.status):
        return payment
    now = clock.now()
    with scope(tenant=payment.tenant):
        # Taken before asking: also two windows at once, and a gateway that does not answer, are asked only that often.
        due = Payment.objects.filter(Q(checked_at=None) | Q(checked_at__lte=now - ASK_AGAIN), pk=payment.pk)
        if not due.update(checked_at=now):
            return payment
        try:
            return sync_payment(payment=payment, actor="payer")
        except ProviderError as error:
            logger.info("payer_page_not_checked", payment=payment.pk, code=error.code)
            return payment


def _page(payment: Payment) -> Page:
    tenant, money = payment.tenant.name, str(Money(payment.amount, payment.currency))
    page = Page(tenant, "waiting", "Checking your payment", "", money)
    returns = _shop_url(payment)
    if is_open(payment.status):
        return _waiting(payment, page, returns)
    page = replace(page, return_url=returns, refresh=f"{QUICK};url={returns}" if returns else "")
    if payment.status == Status.SUCCEEDED:
        paid = str(Money(payment.amount_captured, payment.currency))
        lines = [("Receipt number", payment.receipt_number), ("Refunded", _refunded(payment))]
        text = f"{tenant} has received your payment. Thank you."
        return replace(page, tone="paid", title="Paid", text=text, amount=paid, lines=tuple(each for each in lines if each[1]))
    if is_held(payment.status):
        text = f"Your payment is approved. {tenant} completes it."
        return replace(page, tone="approved", title="Approved", text=text)
    if was_called_off(payment.status):
        return replace(page, tone="stopped", title=ENDINGS[Status(payment.status)], text=_reason(payment))
    return replace(page, title="Your payment is being reviewed", text=f"Please do not pay again: {tenant} is looking at it.")


def _waiting(payment: Payment, page: Page, returns: str) -> Page:
    if payment.status == Status.NEEDS_REVIEW:
        text = f"Please do not pay again: {page.tenant} is looking at it."
        return replace(page, title="Your payment is being reviewed", text=text, refresh=str(SLOW), return_url=returns)
    quick = clock.now() - payment.created < QUICK_FOR
    text = "This takes a few seconds. The page renews itself; please do not pay again."
    return replace(page, text=text, refresh=str(QUICK if quick else SLOW), pay_url=_gateway_page(payment))


def _refunded(payment: Payment) -> str:
    return str(Money(payment.amount_refunded, payment.currency)) if payment.amount_refunded else ""


def _reason(payment: Payment) -> str:
    """Return the vocabulary's text. The stored message may be the gateway's own, with numbers and names that are not public."""
    code = str((payment.failure or {}).get("code", ""))
    kind, _decision, text = VOCABULARY.get(code, (FailureType.API, None, ""))
    if kind is FailureType.CONFIGURATION:
        text = "The payment could not be processed."  # how the account is set up is no matter of the payer's
    return text or "No money was taken."


def _gateway_page(payment: Payment) -> str:
    """Return where the payer goes on, empty where there is nothing to do: not a page of ours, which would send him round."""
    if payment.status != Status.REQUIRES_ACTION:
        return ""
    url = str((payment.next_action or {}).get("url", ""))
    own = page_url(payment.page_token)
    return "" if url == own or url.startswith((f"{own}/", f"{own}?", f"{own}#")) or not _is_web(url) else url


def _shop_url(payment: Payment) -> str:
    """Return the caller's own page with `payment` and `status` appended to its query; empty where there is none to go to."""
    if not _is_web(payment.return_url):
        return ""
    parts = urlsplit(payment.return_url)
    added = urlencode({"payment": payment.pk, "status": payment.status})
    return urlunsplit(parts._replace(query=f"{parts.query}&{added}" if parts.query else added))


def _is_web(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.netloc)


def _answer(page: Page) -> HttpResponse:
    return HttpResponse(render_to_string("payments/pay.html", {"page": page}))


def _unknown() -> HttpResponse:
    return HttpResponse(render_to_string("payments/unknown.html"), status=404)
