"""How the storing of a payer goes on: the one state table of setups, the stored method, the event, the next question."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from integrations.contracts import clock
from integrations.contracts.failures import Failure
from integrations.contracts.payment import PaymentState, SetupResult, StoredMethod
from integrations.events import DomainEvent, emit
from integrations.models import Alert
from integrations.runtime.alerts import raise_alert
from integrations.runtime.queue import enqueue
from integrations.secrets import seal
from payments.gateway import features_of
from payments.ledger import failure_form
from payments.models import Operation, OperationStatus, PayerMethod, SetupIntent, SetupStatus
from payments.selectors import iso
from payments.setup_references import note_setup_references

S = SetupStatus
LIFETIME = timedelta(hours=24)
"""How long a payer may take; after that the setup is expired."""

_OPEN = frozenset({S.REQUIRES_ACTION, S.PROCESSING, S.UNKNOWN})
_CALLED_OFF = frozenset({S.FAILED, S.CANCELLED, S.EXPIRED})

TRANSITIONS: dict[SetupStatus, frozenset[SetupStatus]] = {
    S.REQUIRES_ACTION: _CALLED_OFF | {S.PROCESSING, S.UNKNOWN, S.SUCCEEDED},
    S.PROCESSING: _CALLED_OFF | {S.REQUIRES_ACTION, S.UNKNOWN, S.SUCCEEDED},
    S.UNKNOWN: _CALLED_OFF | {S.REQUIRES_ACTION, S.PROCESSING, S.SUCCEEDED},
    # A card that the gateway did store after all is the truth, and can be removed only when it is known here.
    S.FAILED: frozenset({S.SUCCEEDED}),
    S.CANCELLED: frozenset({S.SUCCEEDED}),
    S.EXPIRED: frozenset({S.SUCCEEDED}),
    S.SUCCEEDED: frozenset(),
}
"""Whatever is not in it does not happen."""

_TARGETS = {
    PaymentState.REQUIRES_ACTION: S.REQUIRES_ACTION,
    PaymentState.PROCESSING: S.PROCESSING,
    PaymentState.APPROVED: S.PROCESSING,
    PaymentState.SUCCEEDED: S.SUCCEEDED,
    PaymentState.FAILED: S.FAILED,
    PaymentState.CANCELLED: S.CANCELLED,
    PaymentState.EXPIRED: S.EXPIRED,
}
_OPERATION = {
    S.REQUIRES_ACTION: OperationStatus.PENDING,
    S.PROCESSING: OperationStatus.PENDING,
    S.UNKNOWN: OperationStatus.UNKNOWN,
    S.SUCCEEDED: OperationStatus.SUCCEEDED,
    S.FAILED: OperationStatus.FAILED,
    S.CANCELLED: OperationStatus.FAILED,
    S.EXPIRED: OperationStatus.FAILED,
}


def is_open(setup: SetupIntent) -> bool:
    """Tell whether the gateway's word is still awaited."""
    return S(setup.status) in _OPEN


def setup_operation(setup: SetupIntent) -> Operation:
    """Return the operation that asks the gateway to store the payer."""
    return setup.operations.get()


def apply_setup(setup_id: str, result: SetupResult) -> SetupIntent:
    """Apply the gateway's word, in the caller's transaction, and return the setup. Harmless to repeat, in any order.

    Success stores one method, however often it is told; success that names no method decides nothing. ABSENT counts only
    once our request can't be under way any more. A word on another id of the gateway's than ours is not believed.
    """
    setup = SetupIntent.objects.select_for_update().get(pk=setup_id)
    if result.provider_ref and setup.provider_ref and result.provider_ref != setup.provider_ref:
        raise_alert(
            tenant_id=setup.tenant_id,
            kind="setup_mismatch",
            subject=setup.pk,
            message=f"An answer for {result.provider_ref} came in for {setup.pk}, which is {setup.provider_ref}.",
            level=Alert.Level.WARNING.value,
        )
        return setup
    if result.state is PaymentState.ABSENT:
        if is_open(setup) and _never_arrived(setup):
            move_setup(setup, S.FAILED, failure=Failure.of("never_arrived"))
        return setup
    setup.provider_ref = setup.provider_ref or result.provider_ref
    setup.customer_ref = result.customer_ref or setup.customer_ref
    stored = result.stored if result.stored is not None and result.stored.token else None
    # The token that charges the payer is kept sealed, so it is not noted among the ids in plain text either.
    note_setup_references(setup, [pair for pair in result.references if stored is None or pair[1] != stored.token])
    target = _TARGETS.get(result.state, S.UNKNOWN)
    if target is S.SUCCEEDED and stored is None:
        target = S.UNKNOWN
    if result.next_action and target is S.REQUIRES_ACTION and is_open(setup):
        setup.next_action = dict(result.next_action)
    if target is S.SUCCEEDED and setup.payer_method_id is None and stored is not None:
        setup.payer_method = _store(setup, stored)
    if setup.status == target or not move_setup(setup, target, failure=result.failure):
        setup.updated = clock.now()
        setup.save()
    if result.state is PaymentState.APPROVED and is_open(setup):
        _schedule_completion(setup)
    return setup


def move_setup(setup: SetupIntent, target: SetupStatus, *, failure: Failure | None = None) -> bool:
    """Take a locked setup to `target` with its operation and event; False where the table forbids it."""
    if target not in TRANSITIONS[S(setup.status)]:
        return False
    setup.status, setup.failure, setup.updated = target, failure_form(failure), clock.now()
    if target is not S.REQUIRES_ACTION:
        setup.next_action = None
    setup.save()
    operation = setup_operation(setup)
    operation.status, operation.failure, operation.updated = _OPERATION[target], setup.failure, setup.updated
    if target not in _OPEN:
        operation.sealed_token = ""
    operation.save()
    if target is S.SUCCEEDED:
        _publish(setup, "payer.stored")
    elif target in _CALLED_OFF:
        _publish(setup, "payer.setup_failed")
    return True


def _never_arrived(setup: SetupIntent) -> bool:
    features = features_of(setup.config, setup.provider)
    return clock.now() > setup.created + timedelta(seconds=features.validity + features.arrives_within)


def _store(setup: SetupIntent, stored: StoredMethod) -> PayerMethod:
    method = PayerMethod(
        tenant_id=setup.tenant_id,
        config_id=setup.config_id,
        provider=setup.provider,
        customer_id=str((setup.customer or {}).get("id", "")),
        customer_ref=stored.customer_ref or setup.customer_ref,
        method_type=stored.type.value,
        brand=stored.brand[:40],
        last4=stored.last4[-4:],
        expires=stored.expires[:7],
        payer=stored.payer[:200],
        sealed_token=seal(setup.tenant_id, stored.token),
        created=clock.now(),
    )
    method.save(force_insert=True)
    return method


def _publish(setup: SetupIntent, event_type: str) -> None:
    emit(
        DomainEvent(
            tenant_id=setup.tenant_id,
            type=event_type,
            object=setup_form(setup),
            object_type="setup",
            object_id=setup.pk,
            key=f"{setup.pk}:{setup.status}",
        )
    )


def method_form(method: PayerMethod) -> dict[str, Any]:
    """Return a stored method as API and events show it; what charges it never leaves the house."""
    return {
        "id": method.pk,
        "provider": method.provider,
        "customer": method.customer_id,
        "type": method.method_type,
        "brand": method.brand,
        "last4": method.last4,
        "expires": method.expires,
        "payer": method.payer,
        "created": iso(method.created),
    }


def setup_form(setup: SetupIntent) -> dict[str, Any]:
    """Return a setup as API and events show it."""
    return {
        "id": setup.pk,
        "status": S(setup.status).value,
        "provider": setup.provider,
        "provider_ref": setup.provider_ref,
        "type": setup.method_type,
        "method": method_form(setup.payer_method) if setup.payer_method is not None else None,
        "next_action": setup.next_action,
        "failure": setup.failure,
        "customer": setup.customer or None,
        "metadata": setup.metadata,
        "expires": iso(setup.not_after),
        "created": iso(setup.created),
        "updated": iso(setup.updated),
    }


# --- what is done next


def ends_at(setup: SetupIntent) -> datetime:
    """Return when an undecided setup expires."""
    return setup.not_after or setup.created + LIFETIME


def schedule_setup_poll(setup: SetupIntent) -> None:
    """Queue the next question to the gateway about an open setup: by the gateway's own plan, the last when it expires."""
    if not is_open(setup):
        return
    steps, age = features_of(setup.config, setup.provider).polls, (clock.now() - setup.created).total_seconds()
    step = next((each for each in steps if each > age), None)
    if step is None:
        last = max(1, steps[-1])
        step = steps[-1] + (int(age - steps[-1]) // last + 1) * last
    due = min(setup.created + timedelta(seconds=step), max(ends_at(setup), clock.now()))
    _ask(setup, key=f"{setup.pk}:{int((due - setup.created).total_seconds())}", due_at=due, notice=False)


def schedule_setup_question(setup: SetupIntent, *, key: str) -> None:
    """Queue a question at once, whatever the setup's status: something was heard of it, or the payer came back."""
    _ask(setup, key=f"{setup.pk}:{key}", due_at=clock.now(), notice=True)


def _ask(setup: SetupIntent, *, key: str, due_at: datetime, notice: bool) -> None:
    enqueue(
        tenant_id=setup.tenant_id,
        kind="payment.setup_poll",
        payload={"setup": setup.pk, "notice": notice},
        reference=("setup", setup.pk),
        key=key,
        due_at=due_at,
        config_id=setup.config_id,
        priority=3 if notice else 4,
    )


def _schedule_completion(setup: SetupIntent) -> None:
    validity = timedelta(seconds=features_of(setup.config, setup.provider).validity)
    enqueue(
        tenant_id=setup.tenant_id,
        kind="payment.setup_complete",
        payload={"setup": setup.pk},
        reference=("setup", setup.pk),
        key=setup.pk,
        not_after=clock.now() + validity,
        config_id=setup.config_id,
        priority=1,
    )
