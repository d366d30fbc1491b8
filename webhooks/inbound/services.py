"""Taking a webhook in: verify, store and queue in one short transaction, answer in the provider's own form."""

from __future__ import annotations

import structlog
from django.db import IntegrityError, transaction
from django.db.models import F
from django_scopes import scope

from integrations.contracts import clock
from integrations.contracts.adapter import ConfigView
from integrations.contracts.errors import Conflict
from integrations.contracts.inbound import Ack, InboundRequest, Origin, Trust, ValidationAnswer, Verified, WebhookAdapter
from integrations.events import ask
from integrations.http.masking import Mask
from integrations.models import CallLog, Direction, LogStatus, Tenant
from integrations.registry import get_provider
from integrations.runtime.queue import enqueue
from webhooks.inbound.locate import Owner
from webhooks.inbound.models import Receipt, ReceiptStatus

logger = structlog.get_logger(__name__)

# Credentials of the caller are for verifying only; they are not stored with the request.
STRANGE_BODY_KEPT = 16 * 1024
CREDENTIAL_HEADERS = frozenset({"cookie", "authorization", "x-api-key"})


def take_in(owner: Owner, adapter: WebhookAdapter, request: InboundRequest, *, by_token: bool) -> Ack:
    """Store the request once and return the acknowledgement; the same one for a duplicate.

    Raises `BadSignature` or `MalformedWebhook` with nothing stored.
    """
    view = owner.view()
    verified = adapter.verify(request, view, by_token=by_token)
    receipt, is_new = _store(owner, request, verified, view)
    logger.info("webhook_received", provider=owner.provider, purpose=request.purpose, receipt=receipt.pk, new=is_new)
    return adapter.ack(request, _answer(owner, adapter, request, receipt))


def _store(owner: Owner, request: InboundRequest, verified: Verified, view: ConfigView | None) -> tuple[Receipt, bool]:
    receipt = Receipt(
        tenant_id=owner.tenant_id,
        provider=owner.provider,
        config=owner.config,
        purpose=request.purpose,
        trust=verified.trust.value,
        token_object=owner.token_object,
        provider_event_type=verified.provider_event_type[:80],
        dedupe_key=f"{owner.token_object}|{verified.dedupe_key}"[:200],
        method=request.method,
        query=dict(request.query),
        headers=_without_credentials(owner, request),
        # What belongs to nobody here is kept to be looked at, not to fill the disk.
        body=request.body if owner.tenant_id else request.body[:STRANGE_BODY_KEPT],
        remote_ip=request.remote_ip or None,
        status=ReceiptStatus.RECEIVED if owner.tenant_id else ReceiptStatus.UNMATCHED,
        detail="" if owner.tenant_id else "nobody here is known by what the body refers to",
        received_at=clock.now(),
    )
    try:
        with transaction.atomic():
            receipt.save(force_insert=True)
            if owner.tenant_id is not None:
                _log(owner, request, verified, receipt, view)
                enqueue(
                    tenant_id=owner.tenant_id,
                    kind="webhook.process",
                    payload={"receipt": receipt.pk},
                    reference=_reference(owner),
                    config_id=owner.config.pk if owner.config else None,
                    priority=2,
                )
    except IntegrityError:
        same = Receipt.unscoped.filter(
            tenant_id=owner.tenant_id, provider=owner.provider, dedupe_key=receipt.dedupe_key
        ).first()
        if same is None:
            raise
        Receipt.unscoped.filter(pk=same.pk).update(duplicates=F("duplicates") + 1)
        return same, False
    return receipt, True


def _without_credentials(owner: Owner, request: InboundRequest) -> dict[str, str]:
    """Return the headers to keep: a provider's shared secret that travels in one (it is among its masked keys) is not."""
    masked = {key.lower().replace("_", "-") for key in get_provider(owner.provider).masked_keys} | CREDENTIAL_HEADERS
    return {name: value for name, value in request.headers.items() if name not in masked}


def _reference(owner: Owner) -> tuple[str, str]:
    kind, _, object_id = owner.token_object.partition(":")
    return kind, object_id


def _log(owner: Owner, request: InboundRequest, verified: Verified, receipt: Receipt, view: ConfigView | None) -> None:
    provider = get_provider(owner.provider)
    secrets = [str(value) for value in view.secrets.values() if value] if view else []
    mask = Mask(keys=provider.masked_keys, secrets=secrets)
    reference_type, reference_id = _reference(owner)
    CallLog.unscoped.create(
        tenant_id=owner.tenant_id,
        direction=Direction.INBOUND,
        provider=owner.provider,
        config=owner.config,
        operation=f"webhook.{verified.provider_event_type or request.purpose}"[:60],
        status=LogStatus.SUCCESS,
        method=request.method,
        request_headers=mask.headers(receipt.headers),
        request_body=mask.body(request.body, request.headers.get("content-type", "")).replace("\x00", ""),
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
