"""A body with several facts: each is taken on its own, and one that fits nothing here costs the others nothing."""

from __future__ import annotations

from typing import Any

import pytest
from django_scopes import scope

from integrations.contracts import clock
from integrations.contracts.inbound import MessageReported, Trust
from integrations.contracts.messaging import MessageState
from integrations.messaging.models import Recipient
from integrations.models import QueueItem, Tenant
from integrations.registry import webhook_adapters
from integrations.runtime.queue import enqueue
from integrations.runtime.worker import claim_and_run
from tests.factories import make_config, make_message
from webhooks.inbound.models import Receipt

pytestmark = pytest.mark.django_db(transaction=True)
SLUG = "africastalking"


def told(tenant: Tenant, config_id: int, recipient: Recipient | None) -> MessageReported:
    """A report from the unsigned path: it must fit, or it is refused."""
    return MessageReported(
        provider=SLUG,
        tenant_id=tenant.pk,
        config_id=config_id,
        trust=Trust.HINT,
        receipt_id=1,
        provider_ref=recipient.provider_ref if recipient else "ATXid_nobody",
        address=recipient.address if recipient else "+254711999999",
        state=MessageState.DELIVERED,
        provider_status="Success",
    )


def process(tenant: Tenant, facts: list[Any], monkeypatch: pytest.MonkeyPatch) -> Receipt:
    monkeypatch.setattr(webhook_adapters()[SLUG], "parse", lambda _request, _origin: facts)
    receipt = Receipt.unscoped.create(
        tenant=tenant, provider=SLUG, purpose="dlr", trust="hint", dedupe_key="one", method="POST", headers={}, body=b"x",
        status="received", received_at=clock.now(),
    )  # fmt: skip
    item: QueueItem = enqueue(tenant_id=tenant.pk, kind="webhook.process", payload={"receipt": receipt.pk})
    assert claim_and_run(item).state == "completed"
    receipt.refresh_from_db()
    return receipt


@pytest.fixture
def recipients(tenant: Tenant) -> list[Recipient]:
    config = make_config(tenant, SLUG)
    with scope(tenant=tenant):
        found = []
        for number in range(2):
            message = make_message(tenant, to=[f"+25471100010{number}"], config_id=config.pk)
            message.recipients.update(state="sent", provider_ref=f"ATXid_{number}")
            found.append(message.recipients.select_related("message").get())
        return found


@pytest.mark.parametrize("place", [0, 1, 2])
def test_one_that_fits_nothing_leaves_the_others_alone(
    tenant: Tenant, recipients: list[Recipient], place: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    config_id = recipients[0].message.config_id
    assert config_id is not None
    facts = [told(tenant, config_id, each) for each in recipients]
    facts.insert(place, told(tenant, config_id, None))
    receipt = process(tenant, facts, monkeypatch)
    assert (receipt.status, receipt.detail.startswith("1 of 3 facts fit nothing here: ")) == ("processed", True)
    states = Recipient.unscoped.filter(pk__in=[each.pk for each in recipients]).values_list("state", flat=True)
    assert list(states) == ["delivered", "delivered"]


def test_nothing_that_fits_is_unmatched(tenant: Tenant, recipients: list[Recipient], monkeypatch: pytest.MonkeyPatch) -> None:
    config_id = recipients[0].message.config_id
    assert config_id is not None
    receipt = process(tenant, [told(tenant, config_id, None)], monkeypatch)
    assert receipt.status == "unmatched"
    assert receipt.detail
