"""Pages of retention policies: what the installation keeps stands there, in plain words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from integrations.models import LogRetention, Membership, Role, Tenant
from tests import factories
from tests.admin.conftest import list_url, page_url
from webhooks.outbound.models import RetentionPolicy

pytestmark = pytest.mark.django_db
Browser = Callable[[str], Client]
PAGES: dict[str, tuple[type[Any], dict[str, tuple[str, str]]]] = {
    "integrations.logretention": (
        LogRetention,
        {
            "call_log_days": ("Calls", "90 days"),
            "failed_call_log_days": ("Calls that failed", "180 days"),
            "queue_days": ("Queue: what was done", "30 days"),
            "failed_queue_days": ("Queue: what failed", "180 days"),
            "receipt_days": ("Webhooks received", "77 days"),
            "message_days": ("Messages", "for good"),
        },
    ),
    "webhooks_outbound.retentionpolicy": (
        RetentionPolicy,
        {
            "payload_days": ("Payloads and answers", "30 days"),
            "log_days": ("Events and deliveries", "90 days"),
            "failed_days": ("What failed", "180 days"),
            "dead_letter_alarm": ("Dead letters for an alert", "100 a day"),
        },
    ),
}
LABELS = pytest.mark.parametrize("label", PAGES)


@pytest.fixture(autouse=True)
def _installation(settings: Any) -> None:
    settings.RECEIPT_RETENTION_DAYS = 77


@LABELS
@pytest.mark.parametrize("role", ["operator", "admin"])
def test_empty_fields_show_what_the_installation_keeps(label: str, role: str, browser_of: Browser) -> None:
    client = browser_of(role)
    page = client.get(list_url(label) + "add/")
    fields = page.context["adminform"].form.fields
    shown = {name: (field.label, field.widget.attrs["placeholder"]) for name, field in fields.items() if name != "tenant"}
    assert shown == PAGES[label][1]
    text = client.get(list_url(label)).content.decode()
    for name, (words, days) in PAGES[label][1].items():
        assert f'{words} <strong class="font-semibold">{days}</strong>' in text, name


@LABELS
def test_the_list_shows_the_tenants_own_word(label: str, tenant: Tenant, browser_of: Browser) -> None:
    model, terms = PAGES[label]
    name = next(iter(terms))
    model.unscoped.create(tenant=tenant, **{name: 1234})
    text = browser_of("admin").get(list_url(label)).content.decode()
    assert "1,234 days" in text
    for words, _days in terms.values():
        assert words in text


def test_the_page_says_what_holds_and_why(tenant: Tenant, browser_of: Browser) -> None:
    row = LogRetention.unscoped.create(tenant=tenant, call_log_days=300, message_days=0)
    panel = dict(browser_of("admin").get(page_url(row)).context["hub_panels"])["What holds"]
    cells = [line.split("</tr>")[0] for line in panel.split("<tr>")[2:]]
    for line, words in zip(
        cells,
        (
            ("Calls", "300 days", "the tenant"),
            ("Calls that failed", "300 days", "the others"),
            ("Queue: what was done", "30 days", "the installation"),
            ("Queue: what failed", "180 days", "the installation"),
            ("Webhooks received", "77 days", "the installation"),
            ("Messages", "for good", "the tenant"),
        ),
        strict=True,
    ):
        assert all(f">{word}<" in line for word in words), line


@LABELS
def test_an_auditor_reads_what_holds_and_changes_nothing(label: str, tenant: Tenant, browser_of: Browser) -> None:
    model, terms = PAGES[label]
    row = model.unscoped.create(tenant=tenant)
    client = browser_of("auditor")
    page = client.get(page_url(row))
    text = page.content.decode()
    assert page.status_code == 200
    assert all(words in text and days in text for words, days in terms.values())
    assert client.post(page_url(row), {next(iter(terms)): "5"}).status_code == 403
    assert client.get(list_url(label) + "add/").status_code == 403


def test_an_auditor_of_two_tenants_sees_whose_it_is_once(tenant: Tenant, other_tenant: Tenant, client: Client) -> None:
    user = factories.make_user("inspector", tenant=tenant, role=Role.AUDITOR)
    Membership.unscoped.create(tenant=other_tenant, user=user, role=Role.AUDITOR)
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    row = LogRetention.unscoped.create(tenant=tenant)
    form = client.get(page_url(row)).context["adminform"]
    assert [field for fieldset in form for line in fieldset for field in line.fields] == ["tenant"]
