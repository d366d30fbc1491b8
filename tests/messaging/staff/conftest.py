"""People at their desks: a tenant with SMS and e-mail accounts, and a browser for each of its people."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from integrations.messaging.staff.keeping import new_id
from integrations.models import Membership, Role, Tenant, User
from tests.factories import make_config


@pytest.fixture
def office(tenant: Tenant) -> Tenant:
    """A tenant that can send both ways; nothing is sent as long as nobody works off the queue."""
    make_config(tenant, "africastalking")
    make_config(tenant, "sendgrid")
    return tenant


@pytest.fixture
def at_desk(office: Tenant) -> Callable[..., Client]:
    """`at_desk(Role.STAFF, channels=[...])`: the browser of a new member who has logged in; not of Django's staff."""

    def make(
        role: str = Role.STAFF, *, channels: Any = ("sms", "email"), name: str = "jane", tenant: Tenant = office
    ) -> Client:
        user = User.objects.create_user(username=name, password="correct-horse-battery")
        named = list(channels) if isinstance(channels, tuple) else channels
        Membership.unscoped.create(tenant=tenant, user=user, role=role, channels=named)
        client = Client(enforce_csrf_checks=False)
        client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
        return client

    return make


@pytest.fixture
def jane(at_desk: Callable[..., Client]) -> Client:
    return at_desk()


def sms(**changes: Any) -> dict[str, Any]:
    """What a browser posts from the SMS form."""
    given = {
        "id": new_id(),
        "for": "springfield-school",
        "to": "0711000001",
        "text": "School is closed tomorrow.",
        "sender": "",
        "category": "",
        "template": "",
        "when": "now",
        "send_at": "",
        "action": "send",
    }
    return {**given, **changes}


def email(**changes: Any) -> dict[str, Any]:
    """What a browser posts from the e-mail form."""
    given = {
        "id": new_id(),
        "for": "springfield-school",
        "to": "parent@example.com",
        "cc": "",
        "bcc": "",
        "subject": "Term dates",
        "html": "<div>School is <strong>closed</strong> tomorrow.</div>",
        "category": "",
        "template": "",
        "when": "now",
        "send_at": "",
        "action": "send",
    }
    return {**given, **changes}


def hidden(page: str, name: str) -> str:
    """Return the value of a hidden field as the page has it."""
    return page.split(f'name="{name}" value="')[1].split('"')[0]


def confirmed(client: Client, url: str, **changes: Any) -> Any:
    """Press the button of the page that asks once more, as it is shown now."""
    shown = client.get(url).content.decode()
    return client.post(url, {"for": hidden(shown, "for"), "said": hidden(shown, "said"), **changes})


def to_list(client: Client, url: str, **changes: Any) -> Any:
    """Press Send on the page of an uploaded list, as it is shown now."""
    shown = client.get(url).content.decode()
    given = {name: hidden(shown, name) for name in ("for", "said", "unsent")}
    return client.post(url.split("?")[0], {**given, "action": "send", **changes})
