"""Storing a payer for later, and removing him again: rows first, then one try in the request."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db import transaction

from integrations.contracts import clock
from integrations.contracts.capabilities import Capability
from integrations.contracts.errors import InvalidRequest, NotConfigured
from integrations.contracts.ids import is_id, new_id, new_token
from integrations.contracts.payment_features import GatewayOperation, MethodType
from integrations.models import Config, QueueItem, Tenant
from integrations.runtime import idempotency
from integrations.runtime.queue import enqueue
from integrations.runtime.resolve import find_config
from integrations.runtime.worker import claim_and_run
from integrations.secrets import seal
from payments.gateway import features_of
from payments.jobs.setup import schedule_forget
from payments.models import Operation, OperationKind, PayerMethod, SetupIntent
from payments.routing import HEAD_START
from payments.setup_references import note_setup_references, open_setup_path
from payments.setups import LIFETIME


def start_setup(
    *,
    tenant: Tenant,
    method_type: str,
    token: str = "",
    provider: str | None = None,
    customer: dict[str, Any] | None = None,
    return_url: str = "",
    metadata: dict[str, Any] | None = None,
) -> SetupIntent:
    """Create the setup and ask the gateway to store the payer.

    `token` is the gateway's own, from its form in the browser; without one the payer is sent to a page (`next_action`).
    Returns the setup as it is after one try: `processing` also where the gateway can't be reached now and the queue goes on.
    Raises `InvalidRequest`, `NotConfigured`, `UnsupportedOperation` with nothing changed; a refusal by the gateway is a failed
    setup, and is raised where it names a field of the request.
    """
    if is_id("pm", token):
        raise InvalidRequest("This payment method is stored already.", attr="method.token")
    config = find_config(tenant_id=tenant.pk, capability=Capability.PAYMENT.value, provider=provider)
    if config is None:
        what = f"payment provider {provider}" if provider else "payments"
        raise NotConfigured(f"No active config serves {what}.", provider=provider or "", attr="provider")
    features = features_of(config, config.provider_id)
    features.check(GatewayOperation.SETUP.value, None, MethodType(method_type))
    now = clock.now()
    setup = SetupIntent(
        tenant=tenant,
        config=config,
        provider=config.provider_id,
        method_type=method_type,
        customer=customer or {},
        customer_ref=_known_customer(config, str((customer or {}).get("id", ""))),
        return_url=return_url,
        metadata=metadata or {},
        not_after=now + LIFETIME,
        created=now,
        updated=now,
    )
    item = _record(setup, token, timedelta(seconds=features.validity))
    outcome = claim_and_run(item)
    setup.refresh_from_db()
    if isinstance(outcome.error, InvalidRequest) and outcome.error.attr:
        raise outcome.error
    return setup


def forget_method(*, method_id: str) -> None:
    """Take a stored method out of use for good, and have the gateway remove it: now, or by the queue. Harmless to repeat.

    Raises `PayerMethod.DoesNotExist`.
    """
    with transaction.atomic():
        method = PayerMethod.objects.select_for_update().get(pk=method_id)
        if not method.is_active:
            return
        method.is_active, method.removed_at = False, clock.now()
        method.save()
        item = schedule_forget(method)
    claim_and_run(item)


def _known_customer(config: Config, customer_id: str) -> str:
    """Return the gateway's own id of this customer, where it gave one out for an earlier stored method."""
    if not customer_id:
        return ""
    earlier = PayerMethod.objects.filter(config=config, customer_id=customer_id, is_active=True).exclude(customer_ref="")
    return earlier.order_by("-created").values_list("customer_ref", flat=True).first() or ""


@transaction.atomic
def _record(setup: SetupIntent, token: str, validity: timedelta) -> QueueItem:
    operation_id = new_id("op")
    operation = Operation(
        id=operation_id,
        tenant_id=setup.tenant_id,
        setup=setup,
        config_id=setup.config_id,
        provider=setup.provider,
        kind=OperationKind.SETUP,
        amount=0,
        idempotency_key=operation_id,
        hook_token=new_token(),
        sealed_token=seal(setup.tenant_id, token) if token else "",
        created=setup.created,
        updated=setup.created,
    )
    setup.save(force_insert=True)
    operation.save(force_insert=True)
    idempotency.attach("setup", setup.pk)
    open_setup_path(setup, token=operation.hook_token)
    note_setup_references(setup, [("setup", setup.pk)])
    return enqueue(
        tenant_id=setup.tenant_id,
        kind="payment.setup",
        payload={"setup": setup.pk},
        reference=("setup", setup.pk),
        key=setup.pk,
        due_at=clock.now() + HEAD_START,
        not_after=clock.now() + validity,
        config_id=setup.config_id,
        priority=1,
    )
