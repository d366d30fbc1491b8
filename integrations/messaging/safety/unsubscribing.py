"""Unsubscribe links: signed, so that nobody can unsubscribe somebody else by counting, and valid for good."""

from __future__ import annotations

from django.conf import settings
from django.core import signing

from integrations.messaging.models import Recipient

SALT = "messaging.unsubscribe"
PATH = "/u/"


def unsubscribe_url(recipient: Recipient) -> str:
    """Return the public address of the recipient's unsubscribe page, which also takes one-click posts (RFC 8058)."""
    return f"{settings.PUBLIC_BASE_URL}{PATH}{signing.Signer(salt=SALT).sign(str(recipient.pk))}"


def recipient_of(token: str) -> Recipient | None:
    """Return the recipient whose link it is; None for one that we did not make, or whose message is gone."""
    try:
        number = signing.Signer(salt=SALT).unsign(token)
    except signing.BadSignature:
        return None
    if not number.isdecimal():
        return None
    rows = Recipient.unscoped.filter(pk=int(number)).select_related("message__tenant", "tenant")
    found: Recipient | None = rows.first()
    return found


def list_headers(recipient: Recipient) -> dict[str, str]:
    """Return the headers with which mail programs offer to unsubscribe (RFC 2369 and 8058)."""
    return {"List-Unsubscribe": f"<{unsubscribe_url(recipient)}>", "List-Unsubscribe-Post": "List-Unsubscribe=One-Click"}
