"""What a generic source's request proves and says, and the event that comes of it.

What makes a request the same is the id at `dedupe_path`, for good. A source should have one: without an id an equal body is a
repetition for a day, and then a new request. The path's free tail, the query and headers tell nothing apart.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from integrations.contracts import clock
from integrations.contracts.inbound import InboundRequest, Trust
from integrations.events import DomainEvent, OwnEventAsked, ask, emit
from integrations.secrets import open_sealed
from webhooks.inbound.generic import bodies, paths, schemes
from webhooks.inbound.locate import ENDPOINT
from webhooks.inbound.models import InboundEndpoint, Scheme

METHODS = ("POST", "PUT", "PATCH")
_TRUST = {Scheme.BASIC: Trust.TOKEN, Scheme.API_KEY: Trust.TOKEN}
_DEDUPE: Mapping[str, tuple[str, ...]] = {
    Scheme.GITHUB: ("header:X-GitHub-Delivery",),
    Scheme.SLACK: ("body:event_id",),
}
_TYPES: Mapping[str, tuple[str, ...]] = {
    Scheme.GITHUB: ("header:X-GitHub-Event",),
    Scheme.SLACK: ("body:event.type", "body:type"),
    Scheme.STANDARD: ("body:type",),
}


class Rejected(Exception):
    """The request was taken in, and no event can come of it as the source is set up now. The text is for the tenant."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A request that may be stored. `by_body`: it named no id, and is known by its body alone. `secrets`: those in use."""

    trust: Trust
    dedupe_key: str
    by_body: bool
    source_type: str
    nonce: str
    body: Mapping[str, Any]
    secrets: tuple[str, ...] = field(repr=False)


def take(endpoint: InboundEndpoint, request: InboundRequest) -> Taken:
    """Verify and read a request. Raises `BadSignature`, `Refused`, `MalformedWebhook`, `SecretUnreadable`."""
    secrets = tuple(secrets_in_use(endpoint))
    proof = schemes.check(
        endpoint.scheme,
        endpoint.options,
        secrets,
        request,
        tolerance=endpoint.tolerance,
        now=clock.now(),
    )
    body = bodies.parsed(request)
    named = _id(endpoint, request, body)
    return Taken(
        trust=_TRUST.get(Scheme(endpoint.scheme), Trust.SIGNED),
        dedupe_key=f"id:{named}" if named else f"body:{hashlib.sha256(request.body).hexdigest()}",
        by_body=not named,
        source_type=source_type(endpoint, request, body),
        nonce=proof.nonce,
        body=body,
        secrets=secrets,
    )


def secrets_in_use(endpoint: InboundEndpoint) -> list[str]:
    """Return the secrets that count now, newest first. Raises `SecretUnreadable`."""
    now = clock.now()
    return [
        each["secret"]
        for each in endpoint.secrets()
        if each["expires_at"] is None or datetime.fromisoformat(each["expires_at"]) > now
    ]


def verify_token(endpoint: InboundEndpoint) -> str:
    """Return the word that Meta's handshake must name; empty where none is set. Raises `SecretUnreadable`."""
    sealed = endpoint.sealed_verify_token
    return str(open_sealed(endpoint.tenant_id, sealed)) if sealed else ""


def credential_headers(endpoint: InboundEndpoint) -> set[str]:
    """Return the headers, in lower case, in which the source's secret itself travels: they are not stored."""
    if endpoint.scheme != Scheme.API_KEY:
        return set()
    return {str(endpoint.options.get("header") or schemes.OPTIONS[Scheme.API_KEY]["header"]).lower()}


def source_type(endpoint: InboundEndpoint, request: InboundRequest, body: Mapping[str, Any]) -> str:
    """Return what the source itself calls this kind of event; empty where it does not say."""
    where = (endpoint.type_path,) if endpoint.type_path else _TYPES.get(endpoint.scheme, ())
    return next((found for path in where if (found := paths.text_at(path, request, body))), "")


def _id(endpoint: InboundEndpoint, request: InboundRequest, body: Mapping[str, Any]) -> str:
    """Return the id by which the source names this request; empty where it does not."""
    where: tuple[str, ...] = _DEDUPE.get(endpoint.scheme, ())
    if endpoint.scheme == Scheme.STANDARD:
        where = (f"header:{endpoint.options.get('header_prefix') or 'webhook'}-id",)
    if endpoint.dedupe_path:
        where = (endpoint.dedupe_path,)
    return next((found for path in where if (found := paths.text_at(path, request, body))), "")


def report(endpoint: InboundEndpoint, request: InboundRequest, *, key: str) -> str:
    """Emit the event that the request is mapped to, in the caller's transaction; return why there is none, or nothing.
    The same `key` is the same event.

    Raises `Rejected` where the event may not be or breaks its type's schema, `Refused` and `MalformedWebhook`.
    """
    body = bodies.parsed(request)
    said = source_type(endpoint, request, body)
    target = str(endpoint.event_types.get(said) or endpoint.event_types.get("*") or "")
    if not target:
        return f"no event type is mapped to {said!r}" if said else "no event type is mapped to it"
    content = paths.mapped(endpoint.fields, request, body) if endpoint.fields else dict(body)
    refusal = ask(OwnEventAsked(tenant_id=endpoint.tenant_id, type=target, object=content))
    if refusal:
        raise Rejected(f"{target}: {refusal}")
    object_type, object_id = _about(endpoint, target, content)
    emit(
        DomainEvent(
            tenant_id=endpoint.tenant_id,
            type=target,
            object=content,
            object_type=object_type,
            object_id=object_id,
            key=key,
        )
    )
    return ""


def _about(endpoint: InboundEndpoint, target: str, content: Mapping[str, Any]) -> tuple[str, str]:
    """Name what the event is about: the tenant's own object where it has an id (so that endpoints that want order get it by
    object, and its timeline is whole), else the source."""
    named = content.get("id")
    family = target.partition(".")[0]
    if isinstance(named, str | int) and not isinstance(named, bool) and 0 < len(str(named)) <= 100 and len(family) <= 40:
        return family, str(named)
    return ENDPOINT, endpoint.pk
