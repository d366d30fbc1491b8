"""Taking a webhook in: verify, store and queue in one short transaction, answer in the provider's own form."""

from __future__ import annotations

import fnmatch
import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import structlog
from django.db import IntegrityError, transaction
from django.db.models import F, Q
from django_scopes import scope

from integrations.contracts import clock
from integrations.contracts.errors import Conflict
from integrations.contracts.inbound import Ack, InboundRequest, Origin, Trust, ValidationAnswer, WebhookAdapter
from integrations.events import ask
from integrations.http.masking import Mask
from integrations.models import CallLog, Direction, IdempotencyRecord, LogStatus, Tenant
from integrations.registry import get_provider
from integrations.runtime.queue import enqueue
from webhooks.inbound.generic import handshakes, receiving
from webhooks.inbound.locate import Owner
from webhooks.inbound.models import InboundEndpoint, Receipt, ReceiptStatus
from webhooks.inbound.refusals import Reason, Refused

logger = structlog.get_logger(__name__)

# Credentials of the caller are for verifying only; they are not stored with the request.
STRANGE_BODY_KEPT = 16 * 1024
CREDENTIAL_HEADERS = frozenset({"cookie", "authorization", "x-api-key"})
MAX_KEY = 200
SAME_FOR = timedelta(days=1)
"""How long an equal body without an id, and a nonce, are the same request. Outlasts a source's tolerance on both sides."""


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
        mask=Mask(keys=masked_keys, secrets=secrets),
    )
    receipt = _store(arrival)
    return adapter.ack(request, _answer(owner, adapter, request, receipt))


def take_in_generic(owner: Owner, endpoint: InboundEndpoint, request: InboundRequest) -> Ack:
    """The same for a source that the tenant described itself; its handshakes are answered here too.

    Raises `Refused`, `BadSignature` or `MalformedWebhook` with nothing stored.
    """
    handshake = str(endpoint.options.get("handshake", ""))
    if handshake and (answer := handshakes.by_query(handshake, receiving.verify_token(endpoint), request)) is not None:
        return answer
    if request.method not in receiving.METHODS:
        raise Refused(Reason.METHOD)
    taken = receiving.take(endpoint, request)
    if (answer := handshakes.by_body(endpoint.scheme, taken.body)) is not None:
        return answer
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
            mask=Mask(keys=hidden, secrets=receiving.secrets_in_use(endpoint)),
        )
    )
    return Ack(body=b"{}")


def _store(arrival: Arrival) -> Receipt:
    """Return the stored request: the first one, where this is its repetition."""
    receipt = _receipt_of(arrival)
    try:
        try:
            _insert(arrival, receipt)
        except IntegrityError:
            if not _make_ready(arrival, receipt):
                raise
            _insert(arrival, receipt)
    except IntegrityError:
        same = _first_of(arrival, receipt)
        if same is None:
            raise
        Receipt.unscoped.filter(pk=same.pk).update(duplicates=F("duplicates") + 1)
        _note(same, new=False)
        return same
    _note(receipt, new=True)
    return receipt


def _receipt_of(arrival: Arrival) -> Receipt:
    owner, request = arrival.owner, arrival.request
    source_type = _storable(arrival.source_type)
    status, detail = _first_status(owner, source_type or request.purpose)
    return Receipt(
        tenant_id=owner.tenant_id,
        provider=owner.provider,
        config=owner.config,
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
        status=status,
        detail=detail,
        received_at=clock.now(),
    )


def _insert(arrival: Arrival, receipt: Receipt) -> None:
    """Store and queue all of it, or raise `IntegrityError`: then it repeats something."""
    owner = arrival.owner
    receipt.pk = None  # it may have got one in a try that was undone
    with transaction.atomic():
        receipt.save(force_insert=True)
        _use_nonce(arrival, receipt)
        if owner.tenant_id is not None:
            _log(arrival, receipt)
        if owner.tenant_id is not None and receipt.status == ReceiptStatus.RECEIVED:
            enqueue(
                tenant_id=owner.tenant_id,
                kind="webhook.process",
                payload={"receipt": receipt.pk},
                reference=_reference(owner),
                config_id=owner.config.pk if owner.config else None,
                priority=2,
            )
        if owner.endpoint is not None:  # last, so that its lock is held for the commit alone
            InboundEndpoint.unscoped.filter(pk=owner.endpoint.pk).update(
                received=F("received") + 1, last_received_at=receipt.received_at
            )


def _make_ready(arrival: Arrival, receipt: Receipt) -> bool:
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


def _note(receipt: Receipt, *, new: bool) -> None:
    logger.info("webhook_received", provider=receipt.provider, purpose=receipt.purpose, receipt=receipt.pk, new=new)


def _first_status(owner: Owner, source_type: str) -> tuple[ReceiptStatus, str]:
    if owner.tenant_id is None:
        return ReceiptStatus.UNMATCHED, "nobody here is known by what the body refers to"
    if owner.endpoint is not None and not takes(owner.endpoint.events, source_type):
        return ReceiptStatus.IGNORED, f"the endpoint does not ask for {source_type}"
    return ReceiptStatus.RECEIVED, ""


def takes(patterns: list[str], source_type: str) -> bool:
    """Tell whether a list of source types and wildcards takes this one in; an empty list takes in all."""
    return not patterns or any(fnmatch.fnmatchcase(source_type, pattern) for pattern in patterns)


def _first_of(arrival: Arrival, receipt: Receipt) -> Receipt | None:
    """Return the request that this one repeats, by what it says or by its nonce, which is used up from now on. Where only the
    nonce is left of it, return this one, which is not stored; None where it repeats nothing."""
    tenant_id = arrival.owner.tenant_id
    whose = Q(tenant__isnull=True) if tenant_id is None else Q(tenant_id=tenant_id)
    found = Receipt.unscoped.filter(whose, provider=receipt.provider, dedupe_key=receipt.dedupe_key).first()
    if arrival.nonce and tenant_id is not None:
        if found is not None:
            record = _nonce_record(arrival, found, tenant_id, used_at=receipt.received_at)
            IdempotencyRecord.unscoped.bulk_create([record], ignore_conflicts=True)
        else:
            used = IdempotencyRecord.unscoped.filter(tenant_id=tenant_id, key=_nonce_key(arrival)).first()
            if used is not None:
                found = Receipt.unscoped.filter(tenant_id=tenant_id, pk=int(used.object_id)).first() or receipt
    return found


def _use_nonce(arrival: Arrival, receipt: Receipt) -> None:
    """Use the nonce up, or raise `IntegrityError`. It is removed by those who keep idempotency keys for a day."""
    if arrival.nonce and arrival.owner.tenant_id is not None:
        record = _nonce_record(arrival, receipt, arrival.owner.tenant_id, used_at=receipt.received_at)
        record.save(force_insert=True)


def _nonce_record(arrival: Arrival, receipt: Receipt, tenant_id: int, *, used_at: datetime) -> IdempotencyRecord:
    return IdempotencyRecord(
        tenant_id=tenant_id,
        key=_nonce_key(arrival),
        route="inbound webhook",
        fingerprint=arrival.nonce[:64],
        lease_until=used_at,
        object_type="receipt",
        object_id=str(receipt.pk),
    )


def _nonce_key(arrival: Arrival) -> str:
    return f"{arrival.owner.token_object}|nonce:{arrival.nonce}"


def _key(text: str) -> str:
    """Return a dedupe key that fits its column: one that is too long or can't be stored keeps its head and gets a digest, so
    that two of them never become the same."""
    clean = _storable(text)
    if clean == text and len(text) <= MAX_KEY:
        return text
    return f"{clean[: MAX_KEY - 65]}#{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()}"


def _storable(text: str) -> str:
    """Return text without what PostgreSQL refuses (NUL, lone surrogates)."""
    return text.replace("\x00", "").encode("utf-8", "replace").decode()


def _without_credentials(arrival: Arrival) -> dict[str, str]:
    """Return the headers to keep: a provider's shared secret that travels in one (it is among its masked keys) is not."""
    hidden = arrival.hidden | CREDENTIAL_HEADERS
    return {name: _storable(value) for name, value in arrival.request.headers.items() if name not in hidden}


def _reference(owner: Owner) -> tuple[str, str]:
    kind, _, object_id = owner.token_object.partition(":")
    return kind, object_id


def _log(arrival: Arrival, receipt: Receipt) -> None:
    owner, request = arrival.owner, arrival.request
    reference_type, reference_id = _reference(owner)
    CallLog.unscoped.create(
        tenant_id=owner.tenant_id,
        direction=Direction.INBOUND,
        provider=owner.provider,
        config=owner.config,
        operation=f"webhook.{receipt.provider_event_type or request.purpose}"[:60],
        status=LogStatus.SUCCESS,
        method=request.method,
        request_headers=arrival.mask.headers(receipt.headers),
        request_body=_storable(arrival.mask.body(request.body, request.headers.get("content-type", ""))),
        status_code=200,
        reference_type=reference_type,
        reference_id=reference_id,
        external_reference=str(receipt.pk),
        request_id=str(structlog.contextvars.get_contextvars().get("request_id", ""))[:64],
        ip=request.remote_ip or None,
    )


def _answer(owner: Owner, adapter: WebhookAdapter, request: InboundRequest, receipt: Receipt) -> ValidationAnswer | None:
    """Answer what the provider wants to know at once; without an owner there is nobody to ask."""
    if owner.tenant_id is None:
        return ValidationAnswer(accepted=False, problem="destination")
    question = adapter.asks(request, origin_of(receipt))
    if question is None:
        return None
    with scope(tenant=Tenant.objects.get(pk=owner.tenant_id)):
        answer: ValidationAnswer | None = ask(question)
    return answer


def origin_of(receipt: Receipt) -> Origin:
    """Return where a stored request belongs."""
    if receipt.tenant_id is None:
        raise Conflict("This request belongs to nobody here.")
    return Origin(
        tenant_id=receipt.tenant_id,
        config_id=receipt.config_id,
        trust=Trust(receipt.trust),
        receipt_id=receipt.pk,
        token_object=receipt.token_object,
    )


def reprocess(*, receipt: Receipt) -> None:
    """Queue a stored request once more; harmless, since what it reports is applied only once."""
    if receipt.tenant_id is None:
        raise Conflict("This request belongs to nobody here.")
    enqueue(
        tenant_id=receipt.tenant_id,
        kind="webhook.process",
        payload={"receipt": receipt.pk},
        key=f"again:{receipt.pk}",
        config_id=receipt.config_id,
    )
