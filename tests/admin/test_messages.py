"""The console's list of messages: what it shows, and that its cost does not grow with the recipients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils.html import strip_tags

from integrations.contracts.messaging import MessageState
from integrations.messaging.models import Message, Recipient
from integrations.models import Tenant
from tests.admin.conftest import list_url, page_url

pytestmark = pytest.mark.django_db
Browser = Callable[[str], Client]


def make(tenant: Tenant, body: str, **states: int) -> Message:
    message: Message = Message.unscoped.create(tenant=tenant, provider="africastalking", body=body)
    whose = [state for state, count in states.items() for _ in range(count)]
    for number, state in enumerate(whose):
        Recipient.unscoped.create(tenant=tenant, message=message, state=state, address=f"+2547000000{number:02d}")
    return message


def rows(answer: Any) -> dict[str, str]:
    """Return {text of the message: all that its line shows}."""
    admin, shown = answer.context["cl"].model_admin, answer.context["cl"].result_list
    return {each.body: f"{strip_tags(admin.status(each)).strip()}: {admin.recipient_count(each)}" for each in shown}


def test_each_line_tells_how_many_are_where(tenant: Tenant, other_tenant: Tenant, browser_of: Browser) -> None:
    make(tenant, "a", delivered=2, failed=1)
    make(tenant, "bb", queued=1, sent=1)
    make(tenant, "ccc")
    make(other_tenant, "dddd", failed=3)
    answer = browser_of("admin").get(list_url("messaging.message"))
    assert rows(answer) == {"a": "partial: 2 delivered, 1 failed", "bb": "queued: 1 queued, 1 sent", "ccc": "failed: "}
    assert "2 delivered, 1 failed" in answer.content.decode()
    everybodys = browser_of("operator").get(list_url("messaging.message"))
    assert rows(everybodys)["dddd"] == "failed: 3 failed"


def test_a_messages_own_page_tells_its_status(tenant: Tenant, browser_of: Browser) -> None:
    message = make(tenant, "a", delivered=1, failed=1)
    answer = browser_of("admin").get(page_url(message))
    assert answer.status_code == 200
    assert "partial" in answer.content.decode()


def test_the_list_loads_no_recipients_and_asks_once_for_all_messages(tenant: Tenant, browser_of: Browser) -> None:
    client = browser_of("admin")
    make(tenant, "a", delivered=1)

    def queries() -> list[str]:
        with CaptureQueriesContext(
            connection,
        ) as caught:
            assert client.get(list_url("messaging.message")).status_code == 200
        return [each["sql"] for each in caught]

    queries()  # what is kept from one page to the next
    few = queries()
    for number in range(5):
        make(tenant, f"{number} more", **{state.value: 3 for state in (MessageState.SENT, MessageState.DELIVERED)})
    many = queries()
    assert len(many) == len(few)
    about = [sql for sql in many if 'FROM "messaging_recipient"' in sql]
    assert len(about) == 1
    assert "GROUP BY" in about[0]
