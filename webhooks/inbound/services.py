"""Taking a webhook in: verify, store and queue in one short transaction, answer in the provider's own form."""

from __future__ import annotations

from base64 import b64encode
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import structlog
from django.db import IntegrityError
from django.db.models import F, Q
from django_scopes import scope

from integrations.contracts import clock
from integrations.contracts.errors import Conflict
from integrations.contracts.inbound import Ack, InboundRequest, Origin, Trust, ValidationAnswer, WebhookAdapter
from integrations.events import ask
from integrations.http.masking import Mask
from integrations.models import IdempotencyRecord, Tenant
from integrations.registry import get_provider
from integrations.runtime import jobs
from integrations.runtime.queue import enqueue
from webhooks.inbound import afterwards, storing
from webhooks.inbound.arrivals import Arrival, Draft, draft_of, storable
from webhooks.inbound.erasing import is_erased
from webhooks.inbound.generic import handshakes, receiving
from webhooks.inbound.known import Stale
from webhooks.inbound.locate import Owner
from webhooks.inbound.models import InboundEndpoint, Receipt, ReceiptStatus
from webhooks.inbound.refusals import Reason, Refused

PROCESS = "webhook.process"
"""The job that works off a stored request (`jobs.py`)."""
PRIORITY = 2
SAME_FOR = timedelta(days=1)
"""How long an equal body without an id, and a nonce, are the same request. Outlasts a source's tolerance on both sides."""


def take_in(owner: Owner, adapter: WebhookAdapter, request: InboundRequest, *, by_token: bool) -> Ack:
    """Store the request once and return the acknowledgement; the same one for a duplicate.

    Raises `BadSignature` or `MalformedWebhook` with nothing stored.
    """
    view = owner.view()
    verified = adapter.verify(request, view, by_token=by_token)
    masked_keys = get_provider(owner.provider).masked_keys
    secrets = [str(value) for value in view.secrets.values() if value] if view else []
    arrival = Arrival(
        owner,
        request,
        verified.trust,
        verified.dedupe_key,
        verified.provider_event_type,
        hidden=frozenset(key.lower().replace("_", "-") for key in masked_keys),
        mask=_mask(frozenset(masked_keys), tuple(secrets)),
    )
    receipt = _store(arrival)
    return adapter.ack(request, _answer(owner, adapter, request, receipt))


def take_in_generic(owner: Owner, endpoint: InboundEndpoint, request: InboundRequest) -> Ack:
    """The same for a source that the tenant described itself; its handshakes are answered here too.

    Raises `Refused`, `BadSignature` or `MalformedWebhook` with nothing stored.
    """
    handshake = str(endpoint.options.get("handshake", ""))
    if handshake and (answer := handshakes.by_query(handshake, receiving.verify_token(endpoint), request)) is not None:
        return _confirmed(owner, answer)
    if request.method not in receiving.METHODS:
        raise Refused(Reason.METHOD)
    taken = receiving.take(endpoint, request)
    if (answer := handshakes.by_body(endpoint.scheme, taken.body)) is not None:
        return _confirmed(owner, answer)
    hidden = frozenset(receiving.credential_headers(endpoint))
    _store(
        Arrival(
            owner,
            request,
            taken.trust,
            taken.dedupe_key,
            taken.source_type,
            nonce=taken.nonce,
            by_body=taken.by_body,
            hidden=hidden,
            mask=_mask(hidden, taken.secrets),
        )
    )
    return Ack(body=b"{}")


def _confirmed(owner: Owner, answer: Ack) -> Ack:
    """Return an answer with which nothing is stored, unless its owner is only remembered (see `known.py`)."""
    if owner.remembered:
        raise Stale
    return answer


@lru_cache(maxsize=500)
def _mask(keys: frozenset[str], secrets: tuple[str, ...]) -> Mask:
    """Return what hides them; that it is made takes longer than what it does."""
    return Mask(keys=keys, secrets=secrets)


def _store(arrival: Arrival) -> Receipt | Draft:
    """Return the stored request: the first one, where this is its repetition. Raises `Stale`, see `known.py`."""
    receipt = draft_of(arrival)
    for _ in range(3):
        failure: IntegrityError | None = None
        try:
            if _insert(arrival, receipt):
                _note(receipt, new=True)
                return receipt
        except IntegrityError as error:  # its nonce was used up, or what it belongs to has just gone
            failure = error
        if _make_ready(arrival, receipt):
            continue
        same = _first_of(arrival, receipt)
        if same is not None:
            Receipt.unscoped.filter(pk=same.pk).update(duplicates=F("duplicates") + 1)
            _note(same, new=False)
            return same
        if failure is not None:
            raise failure
        # The first one was removed by its age just now: there is room for this one.
    raise Conflict("This request could not be stored beside others of its kind.")


def _insert(arrival: Arrival, receipt: Draft) -> bool:
    """Store and queue all of it, or return False: then something like it is stored. Raises `IntegrityError` where its nonce
    was used up, `Stale` where the owner was remembered and is no longer what it was."""
    owner, queued = arrival.owner, receipt.status == ReceiptStatus.RECEIVED
    known, endpoint = owner.tenant_id is not None, owner.endpoint
    shape = storing.Shape(
        logged=known,
        queued=known and queued,
        counted=known and endpoint is not None,
        nonce=known and bool(arrival.nonce),
        config_confirmed=owner.remembered and owner.config is not None,
        source_confirmed=owner.remembered and owner.config is None,
    )
    try:
        stored = storing.store(shape, _values(arrival, receipt))
    except IntegrityError as error:
        raise (Stale() if owner.remembered else error) from error
    if not stored.known:
        raise Stale
    if stored.receipt is None:
        return False
    receipt.pk = stored.receipt
    if shape.counted and not stored.counted and endpoint is not None:
        afterwards.count(endpoint.pk, receipt.received_at)
    if shape.queued:
        afterwards.wake_workers()
    return True


def _values(arrival: Arrival, receipt: Draft) -> dict[str, Any]:
    """Return what the statement may ask for."""
    owner, request = arrival.owner, arrival.request
    reference_type, reference_id = _reference(owner)
    return {
        "tenant": owner.tenant_id,
        "config": receipt.config_id,
        "provider": receipt.provider,
        "purpose": receipt.purpose,
        "trust": receipt.trust,
        "token_object": receipt.token_object,
        "source_type": receipt.provider_event_type,
        "dedupe_key": receipt.dedupe_key,
        "method": receipt.method,
        "query": receipt.query,
        "headers": receipt.headers,
        "body": b64encode(receipt.body).decode(),
        "ip": receipt.remote_ip,
        "status": receipt.status,
        "detail": receipt.detail,
        "now": receipt.received_at.isoformat(),
        "created": clock.now().isoformat(),
        "endpoint": owner.endpoint.pk if owner.endpoint is not None else None,
        "read_as": owner.read_as[0],
        "way_in_read_as": owner.read_as[1],
        "nonce": arrival.nonce[:64],
        "nonce_key": _nonce_key(arrival),
        "operation": f"webhook.{receipt.provider_event_type or request.purpose}"[:60],
        "shown_headers": arrival.mask.headers(receipt.headers),
        "shown_body": storable(arrival.mask.body(request.body, request.headers.get("content-type", ""))),
        "request_id": str(structlog.contextvars.get_contextvars().get("request_id", ""))[:64],
        "reference_type": reference_type,
        "reference_id": reference_id,
        "job": PROCESS,
        "max_attempts": jobs.get(PROCESS).max_attempts,
        "priority": PRIORITY,
    }


def _make_ready(arrival: Arrival, receipt: Draft) -> bool:
    """Tell whether what stands in the request's way counts no more, and it may be stored as a new one.

    An equal body of more than a day before leaves its key to the first; the new one's has the date too. Two that begin more
    than a day apart never have the same date, and what came within the last day began today or yesterday.
    """
    tenant_id, before, ready = arrival.owner.tenant_id, receipt.received_at - SAME_FOR, False
    if tenant_id is None:
        return False
    if arrival.nonce:  # used up long ago, and not yet removed
        used = IdempotencyRecord.unscoped.filter(tenant_id=tenant_id, key=_nonce_key(arrival), lease_until__lt=before)
        ready = bool(used.delete()[0])
    if arrival.by_body:
        plain, today = receipt.dedupe_key, receipt.received_at.astimezone(UTC).date()
        dated = [f"{plain}#{day.isoformat()}" for day in (today, today - timedelta(days=1))]
        stored = Receipt.unscoped.filter(tenant_id=tenant_id, provider=receipt.provider)
        last = stored.filter(dedupe_key__in=[plain, *dated]).order_by("-received_at").first()
        if last is not None and last.received_at >= before:
            receipt.dedupe_key = last.dedupe_key
            return False
        if last is not None:
            receipt.dedupe_key, ready = dated[0], True
    return ready


def _note(receipt: Receipt | Draft, *, new: bool) -> None:
    """Have the request's own log line tell which receipt it became."""
    said = {"provider": receipt.provider, "purpose": receipt.purpose, "receipt": receipt.pk, "new": new}
    structlog.contextvars.bind_contextvars(**said)


def _first_of(arrival: Arrival, receipt: Draft) -> Receipt | Draft | None:
    """Return the request that this one repeats, by what it says or by its nonce, which is used up from now on. Where only the
    nonce is left of it, return this one, which is not stored; None where it repeats nothing."""
    tenant_id = arrival.owner.tenant_id
    whose = Q(tenant__isnull=True) if tenant_id is None else Q(tenant_id=tenant_id)
    stored = Receipt.unscoped.filter(whose, provider=receipt.provider, dedupe_key=receipt.dedupe_key)
    found: Receipt | Draft | None = stored.first()
    if arrival.nonce and tenant_id is not None:
        if found is not None:
            record = _nonce_record(arrival, found, tenant_id, used_at=receipt.received_at)
            IdempotencyRecord.unscoped.bulk_create([record], ignore_conflicts=True)
        else:
            used = IdempotencyRecord.unscoped.filter(tenant_id=tenant_id, key=_nonce_key(arrival)).first()
            if used is not None:
                found = Receipt.unscoped.filter(tenant_id=tenant_id, pk=int(used.object_id)).first() or receipt
    return found


def _nonce_record(arrival: Arrival, receipt: Receipt | Draft, tenant_id: int, *, used_at: datetime) -> IdempotencyRecord:
    return IdempotencyRecord(
        tenant_id=tenant_id,
        key=_nonce_key(arrival),
        route=storing.NONCE_ROUTE,
        fingerprint=arrival.nonce[:64],
        lease_until=used_at,
        object_type="receipt",
        object_id=str(receipt.pk),
    )


def _nonce_key(arrival: Arrival) -> str:
    return f"{arrival.owner.token_object}|nonce:{arrival.nonce}"


def _reference(owner: Owner) -> tuple[str, str]:
    kind, _, object_id = owner.token_object.partition(":")
    return kind, object_id


def _answer(
    owner: Owner, adapter: WebhookAdapter, request: InboundRequest, receipt: Receipt | Draft
) -> ValidationAnswer | None:
    """Answer what the provider wants to know at once; without an owner there is nobody to ask."""
    if owner.tenant_id is None:
        return ValidationAnswer(accepted=False, problem="destination")
    question = adapter.asks(request, origin_of(receipt))
    if question is None:
        return None
    with scope(tenant=Tenant.objects.get(pk=owner.tenant_id)):
        answer: ValidationAnswer | None = ask(question)
    return answer


def origin_of(receipt: Receipt | Draft) -> Origin:
    """Return where a stored request belongs."""
    if receipt.tenant_id is None or receipt.pk is None:
        raise Conflict("This request belongs to nobody here.")
    return Origin(
        tenant_id=receipt.tenant_id,
        config_id=receipt.config_id,
        trust=Trust(receipt.trust),
        receipt_id=receipt.pk,
        token_object=receipt.token_object,
    )


def reprocess(*, receipt: Receipt) -> None:
    """Queue a stored request once more; harmless, since what it reports is applied only once. Raises `Conflict` where there is
    nothing to process, or nobody to process it for."""
    if receipt.tenant_id is None:
        raise Conflict("This request belongs to nobody here.")
    if is_erased(receipt):
        raise Conflict("What this request said was erased.")
    enqueue(
        tenant_id=receipt.tenant_id,
        kind=PROCESS,
        payload={"receipt": receipt.pk},
        key=f"again:{receipt.pk}",
        config_id=receipt.config_id,
    )
