"""A page in words, its HTML, and the headers that every answer to a payer carries."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import wraps
from typing import Any, Concatenate, ParamSpec
from urllib.parse import urlencode, urlsplit, urlunsplit

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.template.loader import render_to_string
from django.views.decorators.http import require_GET

from integrations.contracts.failures import VOCABULARY, FailureType

QUICK, SLOW = 3, 30
"""Seconds between two looks of a waiting page; slowly where a person has to decide, or nobody has for an hour."""

CSP = "Content-Security-Policy"
POLICY = {
    "default-src": "'none'",
    "style-src": "'unsafe-inline'",
    "img-src": "data:",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
}
HEADERS = {
    "Cache-Control": "no-store",
    # The address is the key to the page, so it must not travel on to the shop or the gateway.
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex",
    CSP: "; ".join(f"{name} {value}" for name, value in POLICY.items()),
}
TONES = {"paid": "✓", "approved": "✓", "stopped": "✕", "action": "!"}
ORIGIN = re.compile(r"https?://(\*\.)?[A-Za-z0-9.-]+(:\d{1,5})?|http://\[[0-9a-f:]+\](:\d{1,5})?")

P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, P], HttpResponseBase]


@dataclass(frozen=True, slots=True)
class Page:
    """What stands on a page, in words. Links are empty where there is none; `refresh` is the content of the meta element."""

    tenant: str
    tone: str
    title: str
    text: str
    amount: str = ""
    lines: tuple[tuple[str, str], ...] = ()
    pay_url: str = ""
    pay_text: str = "Back to the payment page"
    return_url: str = ""
    refresh: str = ""

    @property
    def mark(self) -> str:
        return TONES.get(self.tone, "…")


def guarded(view: View[P]) -> View[P]:
    """Answer GET only, and put the headers on whatever comes out that has none of its own."""

    @wraps(view)
    def guarded(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        response = require_GET(view)(request, *args, **kwargs)
        for name, value in HEADERS.items():
            if name not in response.headers:
                response[name] = value
        return response

    return guarded


def answer(page: Page, *, status: int = 200) -> HttpResponse:
    """Return the page as HTML."""
    return HttpResponse(render_to_string("payments/pay.html", {"page": page}), status=status)


def unknown() -> HttpResponse:
    return HttpResponse(render_to_string("payments/unknown.html"), status=404)


def with_script(page: Page, context: dict[str, Any], *, sources: Iterable[str], nonce: str) -> HttpResponse:
    """Return a page that runs a gateway's script: its policy allows `sources` and what carries `nonce`, nothing else.

    `context` goes to the gateway's template, named by `fragment` in it. Raises ValueError for a source that is no origin.
    """
    allowed = " ".join(sources)
    for source in allowed.split():
        if not ORIGIN.fullmatch(source):
            raise ValueError(f"not an origin: {source!r}")
    opened = {"script-src": f"'nonce-{nonce}' {allowed}", "frame-src": allowed, "connect-src": allowed}
    policy = POLICY | {name: value.strip() for name, value in opened.items() if value.strip()}
    response = HttpResponse(render_to_string("payments/card.html", {**context, "page": page, "nonce": nonce}))
    response[CSP] = "; ".join(f"{name} {value}" for name, value in policy.items())
    return response


def is_web(url: str) -> bool:
    """Tell whether a browser may be sent there."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.netloc)


def shop_url(url: str, **added: str) -> str:
    """Return the caller's own page with `added` appended to its query; empty where there is none to go to."""
    if not is_web(url):
        return ""
    parts, query = urlsplit(url), urlencode(added)
    return urlunsplit(parts._replace(query=f"{parts.query}&{query}" if parts.query else query))


def reason(failure: dict[str, Any] | None, *, otherwise: str, private: str) -> str:
    """Return the vocabulary's text. The stored message may be the gateway's own, with numbers and names that are not public.

    `private` stands for what is wrong with the tenant's account: that is no matter of the payer's.
    """
    kind, _decision, text = VOCABULARY.get(str((failure or {}).get("code", "")), (FailureType.API, None, ""))
    return private if kind is FailureType.CONFIGURATION else text or otherwise
