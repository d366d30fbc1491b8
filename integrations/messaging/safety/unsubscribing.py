"""Unsubscribe links: nobody can make one, so that nobody unsubscribes somebody else by counting, and they are valid for good.

A link says itself whom it is for: his message goes when its time has come, and he can say no all the same. It is sealed, since
letters are passed on, and the same each time it is made, so that a message sent again is the same message.
"""

from __future__ import annotations

import base64
import json
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings
from django.core import signing

from integrations.messaging.models import Message, Recipient
from integrations.models import Tenant

SALT = "messaging.unsubscribe"
PATH = "/u/"


def unsubscribe_url(recipient: Recipient) -> str:
    """Return the public address of the recipient's unsubscribe page, which also takes one-click posts (RFC 8058)."""
    message = recipient.message
    says = [recipient.pk, recipient.tenant_id, message.channel, recipient.address, message.category]
    text = json.dumps(says, separators=(",", ":"), ensure_ascii=False).encode()
    sealed = _cipher(settings.SECRET_KEY).encrypt(text, None)
    return f"{settings.PUBLIC_BASE_URL}{PATH}{base64.urlsafe_b64encode(sealed).decode().rstrip('=')}"


def recipient_of(token: str) -> Recipient | None:
    """Return the recipient whose link it is; one that is not stored (it has no `pk`), with his address, channel and category,
    where the message is gone. None for a link that we did not make, whose tenant is gone, or, of those made before links
    said whom they are for (`<number>:<signature>`), whose message is."""
    if ":" in token:
        return _stored(_number(token))
    says = _opened(token)
    if says is None:
        return None
    number, tenant_id, channel, address, category = says
    stored = _stored(number)
    if stored is not None:
        return stored
    tenant = Tenant.objects.filter(pk=tenant_id).first()
    if tenant is None:
        return None
    return Recipient(tenant=tenant, message=Message(tenant=tenant, channel=channel, category=category), address=address)


def _number(token: str) -> int | None:
    try:
        number = signing.Signer(salt=SALT).unsign(token)
    except signing.BadSignature:
        return None
    return int(number) if number.isdecimal() else None


def _stored(number: int | None) -> Recipient | None:
    if number is None:
        return None
    rows = Recipient.unscoped.filter(pk=number).select_related("message__tenant", "tenant")
    found: Recipient | None = rows.first()
    return found


def _opened(token: str) -> tuple[int, int, str, str, str] | None:
    try:
        sealed = base64.b64decode(f"{token}{'=' * (-len(token) % 4)}", altchars=b"-_", validate=True)
    except ValueError:
        return None
    for secret in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS):
        try:
            number, tenant_id, channel, address, category = json.loads(_cipher(secret).decrypt(sealed, None))
        except (InvalidTag, ValueError):
            continue
        return number, tenant_id, channel, address, category
    return None


@lru_cache(maxsize=8)
def _cipher(secret: str) -> AESSIV:
    # From the key that signs, not from the keyring: keys leave that one once all rows are sealed anew, and a link can't be.
    key = HKDF(algorithm=SHA256(), length=64, salt=None, info=SALT.encode()).derive(secret.encode())
    return AESSIV(key)


def list_headers(recipient: Recipient) -> dict[str, str]:
    """Return the headers with which mail programs offer to unsubscribe (RFC 2369 and 8058)."""
    return {"List-Unsubscribe": f"<{unsubscribe_url(recipient)}>", "List-Unsubscribe-Post": "List-Unsubscribe=One-Click"}
