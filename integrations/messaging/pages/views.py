"""The unsubscribe page: shown by GET, acted on by POST, by the page's own buttons or by a mail program (RFC 8058)."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.template.loader import render_to_string
from django.views.decorators.csrf import csrf_exempt
from django_scopes import scope

from integrations.messaging.models import Recipient
from integrations.messaging.pages.standing import standing_of
from integrations.messaging.safety.engagements import decide
from integrations.messaging.safety.unsubscribing import recipient_of

HEADERS = {
    "Cache-Control": "no-store",
    # The address is the key to the page.
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'none'"
    ),
}
ACTIONS = {
    "stop": (False, False),
    "stop-all": (False, True),
    "undo": (True, False),
    "undo-all": (True, True),
}
"""What a button says -> (wanted, everything)."""


@csrf_exempt  # the token in the address proves more than a cookie could, and mail programs have no cookies
def unsubscribe(request: HttpRequest, token: str) -> HttpResponse:
    """GET `/u/<token>` shows how it stands. POST changes it: `action` is one of `ACTIONS`; `List-Unsubscribe=One-Click` stops
    the message's category, or everything where it has none. Doing a thing twice is doing it once; 404 for a bad token."""
    response = _answer(request, token)
    for name, value in HEADERS.items():
        response[name] = value
    return response


def _answer(request: HttpRequest, token: str) -> HttpResponse:
    if request.method not in ("GET", "HEAD", "POST"):
        return HttpResponseNotAllowed(["GET", "HEAD", "POST"])
    recipient = recipient_of(token)
    if recipient is None:
        return HttpResponse(render_to_string("messaging/unsubscribe_unknown.html"), status=404)
    # A person who is logged in to another tenant's console may have got the mail.
    with scope(tenant=recipient.tenant):
        if request.method == "POST":
            return _act(request, recipient)
        return _page(recipient)


def _act(request: HttpRequest, recipient: Recipient) -> HttpResponse:
    if request.POST.get("List-Unsubscribe") == "One-Click":
        decide(recipient, wanted=False, everything=False, how="one-click")
        return _page(recipient)
    asked = ACTIONS.get(request.POST.get("action", ""))
    if asked is None:
        return _page(recipient, status=400)
    wanted, everything = asked
    decide(recipient, wanted=wanted, everything=everything, how="unsubscribe page")
    return _page(recipient)


def _page(recipient: Recipient, *, status: int = 200) -> HttpResponse:
    context = {"page": standing_of(recipient)}
    return HttpResponse(render_to_string("messaging/unsubscribe.html", context), status=status)
