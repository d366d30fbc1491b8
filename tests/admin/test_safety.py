"""The console's pages about who is not written to, and the rules of a channel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django_scopes import scopes_disabled

from integrations.messaging.models import Preference, SendingPolicy, Suppression
from integrations.models import Tenant
from tests.admin.conftest import page_url
from tests.admin.test_buttons import press

pytestmark = pytest.mark.django_db
Browser = Callable[[str], Client]


def add(client: Client, model: str, **fields: Any) -> Any:
    return client.post(reverse(f"admin:messaging_{model}_add"), fields)


def errors(answer: Any) -> dict[str, list[str]]:
    found: dict[str, list[str]] = answer.context["adminform"].form.errors
    return found


def test_an_address_is_entered_as_people_write_it_and_once(tenant: Tenant, browser_of: Browser) -> None:
    client = browser_of("admin")
    given = {"channel": "sms", "address": "0712 345 678", "reason": "manual", "detail": "rang"}
    assert add(client, "suppression", **given).status_code == 302
    row = Suppression.unscoped.get()
    assert (row.tenant, row.address, row.source) == (tenant, "+254712345678", "admin school-admin")
    again = add(client, "suppression", **given)
    assert errors(again) == {"address": ["This address is on the list already."]}
    bad = add(client, "suppression", **{**given, "channel": "email"})
    assert list(errors(bad)) == ["address"]
    strange = add(client, "suppression", **{**given, "address": "+254712345670", "reason": "because"})
    assert list(errors(strange)) == ["reason"]
    assert Suppression.unscoped.count() == 1


def test_an_operator_names_the_tenant(tenant: Tenant, other_tenant: Tenant, browser_of: Browser) -> None:
    client = browser_of("operator")
    given = {"channel": "sms", "address": "0712345678", "reason": "manual", "detail": ""}
    assert add(client, "suppression", tenant=tenant.pk, **given).status_code == 302
    assert add(client, "suppression", tenant=other_tenant.pk, **given).status_code == 302
    assert "tenant" in errors(add(client, "suppression", **given))
    assert Suppression.unscoped.count() == 2


def test_a_release_wants_a_reason_and_keeps_the_entry(tenant: Tenant, browser_of: Browser) -> None:
    row = Suppression.unscoped.create(tenant=tenant, address="+254712345678")
    client = browser_of("admin")
    assert client.post(page_url(row, "delete"), {"post": "yes"}).status_code == 403
    client.post(page_url(row, "press", "release"), {"reason": ""})
    row.refresh_from_db()
    assert row.released_at is None
    assert press(client, row, "release", {"reason": "new owner"}) == [("success", "+254712345678 is written to again.")]
    row.refresh_from_db()
    assert (row.released_by, row.release_reason) == ("user school-admin", "new owner")
    assert b"press/release" not in client.get(page_url(row)).content


def test_a_wish_is_entered_and_changed(tenant: Tenant, browser_of: Browser) -> None:
    client = browser_of("admin")
    given = {"channel": "email", "address": "Jane@Example.com", "category": "news", "allowed": ""}
    assert add(client, "preference", **given).status_code == 302
    row = Preference.unscoped.get()
    assert (row.address, row.allowed, row.source) == ("jane@example.com", False, "admin school-admin")
    assert add(client, "preference", **given).status_code == 200, "there is one already"
    assert client.post(page_url(row), {"allowed": "on", "address": "other@example.com"}).status_code == 302
    row.refresh_from_db()
    assert (row.address, row.allowed) == ("jane@example.com", True)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"quiet_until": ""}, "quiet_until"),
        ({"quiet_until": "20:00"}, "quiet_until"),
        ({"currency": ""}, "currency"),
        ({"currency": "shillings"}, "currency"),
        ({"channel": "fax"}, "channel"),
    ],
)
def test_a_policy_is_checked(tenant: Tenant, browser_of: Browser, changes: dict[str, str], field: str) -> None:
    given = {
        "channel": "sms", "quiet_from": "20:00", "quiet_until": "08:00", "unit_cost": "0.8", "currency": "KES",
        "spend_cap": "100", "spend_period": "month", "low_balance": "",
    }  # fmt: skip
    client = browser_of("admin")
    assert field in errors(add(client, "sendingpolicy", **{**given, **changes}))
    assert add(client, "sendingpolicy", **given).status_code == 302
    with scopes_disabled():
        assert str(SendingPolicy.objects.get().quiet_from) == "20:00:00"
    assert add(client, "sendingpolicy", **given).status_code == 200, "one for each channel"
