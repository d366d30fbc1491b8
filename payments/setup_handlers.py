"""What is done when a gateway reports something about a setup, in the transaction of the inbound request's processing."""

from __future__ import annotations

from integrations.contracts import clock
from integrations.contracts.inbound import SetupTouched, Trust
from integrations.events import Unmatched
from payments.models import SetupIntent
from payments.setup_references import SETUP, find_setup_id
from payments.setups import schedule_setup_question


def on_setup_touched(event: SetupTouched) -> None:
    """Something happened at the gateway to a setup of ours: it is asked, and only its answer is applied.

    Each notice has a question of its own: one that is under way already may have been answered before this happened.
    """
    setup = _touched(event)
    signed = event.trust is Trust.SIGNED and event.provider == setup.provider
    if signed and event.provider_ref and not setup.provider_ref:
        setup.provider_ref = event.provider_ref  # sooner than the answer to our own request, or instead of it
        setup.updated = clock.now()
        setup.save()
    schedule_setup_question(setup, key=f"receipt:{event.receipt_id}")


def _touched(event: SetupTouched) -> SetupIntent:
    kind, _, setup_id = event.token_object.partition(":")
    found = setup_id if kind == SETUP else ""
    for external_id in (event.setup_id, event.provider_ref):
        found = found or find_setup_id(tenant_id=event.tenant_id, provider=event.provider, external_id=external_id)
    setup = SetupIntent.objects.select_for_update().filter(pk=found).first() if found else None
    if setup is None:
        raise Unmatched(f"no setup with {event.setup_id or event.provider_ref!r}")
    return setup
