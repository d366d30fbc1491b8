"""Sending one delivery again, by a person's wish."""

from __future__ import annotations

from django.db import transaction

from integrations.contracts import clock
from integrations.contracts.errors import Conflict
from webhooks.outbound.delivery.schedule import MAX_AGE
from webhooks.outbound.endpoints.services import require_on
from webhooks.outbound.models import Delivery, DeliveryState, Endpoint
from webhooks.outbound.publishing.publish import nudge

FINISHED = (DeliveryState.FAILED, DeliveryState.DELIVERED)


def retry_delivery(*, endpoint: Endpoint, delivery_id: str) -> Delivery:
    """Send a delivery now, inside the tenant's scope. The rules:

    - one that waits for its next automatic try is tried now in its place; if it fails, the schedule goes on from there;
    - one that gathers for a batch goes alone, now;
    - one that failed or was delivered gets one more try, with the next attempt number; what was delivered once stays
      `delivered` even if this try fails.

    Raises `Delivery.DoesNotExist`, and `Conflict` while it is in flight or in a batch that is owed, while its endpoint is off,
    or when its payload was erased.
    """
    with transaction.atomic():
        delivery: Delivery = Delivery.objects.select_for_update().get(pk=delivery_id, endpoint=endpoint)
        require_on(endpoint)
        if delivery.in_flight():
            raise Conflict("This delivery is being sent right now.")
        if delivery.state == DeliveryState.BATCHED:
            raise Conflict("This delivery goes out within a batch: send that one.")
        if delivery.event.erased_at is not None:
            raise Conflict("The payload of this event was erased.")
        now = clock.now()
        if delivery.state in FINISHED:
            delivery.attempts_allowed = delivery.attempts + 1
            delivery.carrier = None
        delivery.state, delivery.due_at, delivery.finished_at, delivery.dead_reason = DeliveryState.PENDING, now, None, ""
        delivery.expires_at = now + MAX_AGE
        delivery.save(
            update_fields=["state", "due_at", "finished_at", "attempts_allowed", "dead_reason", "expires_at", "carrier"]
        )
        nudge()
    return delivery
