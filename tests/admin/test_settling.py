"""Recipients of whom nobody can tell, decided by a person on the message's page."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client
from django_scopes import scope

from integrations.messaging.models import Message, Recipient
from integrations.models import Alert, QueueItem, QueueState, Tenant
from integrations.runtime.alerts import raise_alert
from tests import factories
from tests.admin.conftest import World, page_url
from tests.admin.test_buttons import press

pytestmark = pytest.mark.django_db
Browser = Callable[[str], Client]
LABEL = "Decide unknown recipients"
FIRST, SECOND = "+254711000123", "+254711000124"


def doubtful(tenant: Tenant) -> Message:
    """Return a message whose answer was lost; its item is in review."""
    with scope(tenant=tenant):
        message = factories.make_message(tenant, to=[FIRST, SECOND])
        Recipient.objects.filter(message=message).update(state="unknown")
        item = QueueItem.objects.get(reference_id=message.pk)
        item.state = QueueState.NEEDS_REVIEW
        item.save()
        raise_alert(tenant_id=tenant.pk, kind="needs_review", subject=f"sms.send #{item.pk}", message="Look.")
    return message


def states(message: Message) -> list[str]:
    return list(Recipient.unscoped.filter(message=message).order_by("id").values_list("state", flat=True))


def test_unknown_recipients_are_decided_on_the_messages_page(browser_of: Browser, world: World) -> None:
    message, client = doubtful(world.school), browser_of("admin")
    item = QueueItem.unscoped.get(reference_id=message.pk)
    # Whoever comes from the item in review finds the way.
    assert page_url(message) in client.get(page_url(item)).content.decode()
    assert LABEL in client.get(page_url(message)).content.decode()
    form = client.get(page_url(message, "press", "settle")).content.decode()
    assert "It did not arrive" in form

    wrong = client.post(page_url(message, "press", "settle"), {"arrived": "no", "to": "+254711000999"})
    assert "No recipients of this message: +254711000999." in wrong.content.decode()
    assert client.post(page_url(message, "press", "settle"), {"to": FIRST}).status_code == 200, "nothing is chosen for her"
    assert states(message) == ["unknown", "unknown"]

    told = press(client, message, "settle", {"arrived": "no", "to": f"{FIRST}\r\n"})
    assert told == [("success", "Decided for 1 recipient: did not arrive; 1 still unknown.")]
    assert press(client, message, "settle", {"arrived": "yes"})[-1] == ("success", "Decided for 1 recipient: arrived.")
    assert states(message) == ["failed", "sent"]
    assert Recipient.unscoped.get(message=message, address=FIRST).detail == "user school-admin: did not arrive"
    item.refresh_from_db()
    assert item.state == QueueState.COMPLETED
    assert not Alert.objects.filter(subject=f"sms.send #{item.pk}", resolved_at__isnull=True).exists()

    assert LABEL not in client.get(page_url(message)).content.decode()
    level, _ = press(client, message, "settle", {"arrived": "no"})[-1]
    assert (level, states(message)) == ("warning", ["failed", "sent"])


@pytest.mark.parametrize("role", ["staff", "auditor"])
def test_it_is_for_admins(browser_of: Browser, world: World, role: str) -> None:
    message, client = doubtful(world.school), browser_of(role)
    assert LABEL not in client.get(page_url(message)).content.decode()
    assert client.post(page_url(message, "press", "settle"), {"arrived": "yes"}).status_code == 403
    assert states(message) == ["unknown", "unknown"]


def test_another_tenants_message_is_not_there(browser_of: Browser, world: World) -> None:
    message = doubtful(world.studio)
    browser_of("admin").post(page_url(message, "press", "settle"), {"arrived": "yes"})
    assert states(message) == ["unknown", "unknown"]
