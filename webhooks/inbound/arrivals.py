"""A verified request on its way into the inbox, and what is kept of it."""

from __future__ import annotations

import fnmatch
import hashlib
from dataclasses import dataclass, field
from datetime import datetime

from integrations.contracts import clock
from integrations.contracts.inbound import InboundRequest, Trust
from integrations.http.masking import Mask
from webhooks.inbound.locate import Owner
from webhooks.inbound.models import ReceiptStatus

# Credentials of the caller are for verifying only; they are not stored with the request.
STRANGE_BODY_KEPT = 16 * 1024
CREDENTIAL_HEADERS = frozenset({"cookie", "authorization", "x-api-key"})
MAX_KEY = 200


@dataclass(frozen=True, slots=True)
class Arrival:
    """A verified request on its way into the inbox. `nonce` is good for one effect, whatever the dedupe key says. `by_body`:
    the dedupe key is that of a body without an id, and counts for `SAME_FOR`."""

    owner: Owner
    request: InboundRequest
    trust: Trust
    dedupe_key: str
    source_type: str
    nonce: str = ""
    by_body: bool = False
    hidden: frozenset[str] = field(default=frozenset())
    mask: Mask = field(default_factory=Mask)


@dataclass(slots=True)
class Draft:
    """A receipt that is not stored yet: what a statement needs of it (see `Receipt`), without all that a model brings along."""

    tenant_id: int | None
    provider: str
    config_id: int | None
    purpose: str
    trust: str
    token_object: str
    provider_event_type: str
    dedupe_key: str
    method: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    remote_ip: str | None
    status: str
    detail: str
    received_at: datetime
    pk: int | None = None


def draft_of(arrival: Arrival) -> Draft:
    owner, request = arrival.owner, arrival.request
    source_type = storable(arrival.source_type)
    status, detail = _first_status(owner, source_type or request.purpose)
    return Draft(
        tenant_id=owner.tenant_id,
        provider=owner.provider,
        config_id=owner.config.pk if owner.config is not None else None,
        purpose=request.purpose,
        trust=arrival.trust.value,
        token_object=owner.token_object,
        provider_event_type=source_type[:80],
        dedupe_key=_key(f"{owner.token_object}|{arrival.dedupe_key}"),
        method=request.method,
        query=dict(request.query),
        headers=_without_credentials(arrival),
        # What belongs to nobody here is kept to be looked at, not to fill the disk.
        body=request.body if owner.tenant_id else request.body[:STRANGE_BODY_KEPT],
        remote_ip=request.remote_ip or None,
        status=status.value,
        detail=detail,
        received_at=clock.now(),
    )


def _first_status(owner: Owner, source_type: str) -> tuple[ReceiptStatus, str]:
    if owner.tenant_id is None:
        return ReceiptStatus.UNMATCHED, "nobody here is known by what the body refers to"
    if owner.endpoint is not None and not takes(owner.endpoint.events, source_type):
        return ReceiptStatus.IGNORED, f"the endpoint does not ask for {source_type}"
    return ReceiptStatus.RECEIVED, ""


def takes(patterns: list[str], source_type: str) -> bool:
    """Tell whether a list of source types and wildcards takes this one in; an empty list takes in all."""
    return not patterns or any(fnmatch.fnmatchcase(source_type, pattern) for pattern in patterns)


def _key(text: str) -> str:
    """Return a dedupe key that fits its column: one that is too long or can't be stored keeps its head and gets a digest, so
    that two of them never become the same."""
    clean = storable(text)
    if clean == text and len(text) <= MAX_KEY:
        return text
    return f"{clean[: MAX_KEY - 65]}#{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()}"


def storable(text: str) -> str:
    """Return text without what PostgreSQL refuses (NUL, lone surrogates)."""
    if text.isascii() and "\x00" not in text:  # nearly all of it is
        return text
    return text.replace("\x00", "").encode("utf-8", "replace").decode()


def _without_credentials(arrival: Arrival) -> dict[str, str]:
    """Return the headers to keep: a provider's shared secret that travels in one (it is among its masked keys) is not."""
    hidden = arrival.hidden | CREDENTIAL_HEADERS
    return {name: storable(value) for name, value in arrival.request.headers.items() if name not in hidden}
