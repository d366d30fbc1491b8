"""Reconciliations in the console: started, looked through, explained and downloaded."""

from __future__ import annotations

import csv
from collections.abc import Callable
from datetime import date
from io import StringIO
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.admin.utils import quote
from django.test import Client
from django.urls import reverse

from integrations.contracts import clock as hub_clock
from integrations.models import Alert, Config, QueueItem, Tenant
from integrations.runtime.alerts import raise_alert
from payments.models import ReconciliationLine, ReconciliationRun
from tests import factories
from tests.admin.conftest import World, page_url
from tests.admin.rows import make_payment, make_reconciliation
from tests.admin.test_buttons import press

pytestmark = pytest.mark.django_db
Browser = Callable[[str], Client]
LIST_URL = "/admin/payments/reconciliationrun/"
START_URL = f"{LIST_URL}reconcile-now/"


@pytest.fixture
def config(tenant: Tenant) -> Config:
    return factories.make_config(tenant, "stripe")


def line_of(tenant: Tenant, config: Config, **fields: Any) -> ReconciliationLine:
    return make_reconciliation(make_payment(tenant), config, **fields)


def more(line: ReconciliationLine, **fields: Any) -> ReconciliationLine:
    """Return another line of the same run."""
    values = {"transaction_kind": "charge", "currency": "KES", "gateway_amount": 100, **fields}
    return ReconciliationLine.unscoped.create(tenant=line.tenant, run=line.run, **values)


def days(config: Config, since: date, until: date) -> dict[str, Any]:
    return {"config": config.pk, "since": since.isoformat(), "until": until.isoformat()}


# --- starting -------------------------------------------------------------------------------------------------------------


def test_an_admin_starts_one_and_it_is_noted_who(config: Config, browser_of: Browser, clock: factories.MovableClock) -> None:
    client = browser_of("admin")
    assert START_URL in client.get(LIST_URL).content.decode()
    assert str(config) in client.get(START_URL).content.decode()
    answer = client.post(START_URL, days(config, date(2026, 11, 18), date(2026, 11, 19)))
    run = ReconciliationRun.unscoped.get()
    assert (answer.status_code, answer["Location"]) == (302, page_url(run))
    assert (run.config_id, run.status, run.actor) == (config.pk, "running", "user school-admin")
    # Nairobi is three hours ahead; the last day is included.
    assert (run.since.isoformat(), run.until.isoformat()) == ("2026-11-17T21:00:00+00:00", "2026-11-19T21:00:00+00:00")
    assert QueueItem.unscoped.get().kind == "payment.reconcile_page"
    (entry,) = LogEntry.objects.all()
    assert (entry.user.get_username(), entry.object_id) == ("school-admin", str(run.pk))
    assert client.get(page_url(run)).status_code == 200

    again = client.post(START_URL, days(config, date(2026, 11, 18), date(2026, 11, 19)))
    assert "is running already" in again.content.decode()
    assert ReconciliationRun.unscoped.count() == 1


def test_today_ends_now_and_tomorrow_is_refused(config: Config, browser_of: Browser, clock: factories.MovableClock) -> None:
    client = browser_of("admin")
    refused = client.post(START_URL, days(config, date(2026, 11, 20), date(2026, 11, 21)))
    assert "must not end in the future" in refused.content.decode()
    assert not ReconciliationRun.unscoped.exists()
    client.post(START_URL, days(config, date(2026, 11, 20), date(2026, 11, 20)))
    assert ReconciliationRun.unscoped.get().until == clock.moment


def test_nobody_starts_one_of_another_tenant_or_of_no_payment_account(
    config: Config, other_tenant: Tenant, tenant: Tenant, browser_of: Browser
) -> None:
    client = browser_of("admin")
    for other in (factories.make_config(other_tenant, "stripe"), factories.make_config(tenant, "africastalking")):
        answer = client.post(START_URL, days(other, date(2026, 11, 1), date(2026, 11, 1)))
        assert "Select a valid choice" in answer.content.decode()
    assert not ReconciliationRun.unscoped.exists()


@pytest.mark.parametrize("role", ["auditor", "staff"])
def test_who_may_only_look_starts_none(config: Config, browser_of: Browser, role: str) -> None:
    client = browser_of(role)
    assert START_URL not in client.get(LIST_URL).content.decode()
    for answer in (client.get(START_URL), client.post(START_URL, days(config, date(2026, 11, 1), date(2026, 11, 1)))):
        assert answer.status_code == 403
    assert not ReconciliationRun.unscoped.exists()


# --- the page of a run ----------------------------------------------------------------------------------------------------


def test_the_page_shows_totals_and_the_differences_first(tenant: Tenant, config: Config, browser_of: Browser) -> None:
    first = line_of(tenant, config, kind="matched", provider_ref="txn-same", ledger_amount=150_000, detail="")
    differs = more(first, kind="amount_differs", provider_ref="txn-other", gateway_amount=700, detail="Here it is KES 8.00")
    more(first, kind="fee", transaction_kind="fee", provider_ref="txn-fee", detail="monthly")
    client = browser_of("auditor")
    content = client.get(page_url(first.run)).content.decode()
    assert content.index("Here it is KES 8.00") < content.index(page_url(first)) < content.index("monthly")
    assert "KES 1,507.00" in content  # charged
    assert "KES 5.50" in content  # fees: 4.50 of the charge and 1.00 apart
    assert reverse("admin:payments_payment_change", args=[quote(first.payment_id)]) in content
    filtered = client.get(page_url(first.run), {"kind": "amount_differs"}).content.decode()
    assert page_url(differs) in filtered
    assert page_url(first) not in filtered


def test_the_page_leads_to_all_lines_of_a_kind(tenant: Tenant, config: Config, browser_of: Browser) -> None:
    first = line_of(tenant, config)
    elsewhere, fee = line_of(tenant, config), more(first, kind="fee", transaction_kind="fee")
    client = browser_of("admin")
    url = f"{reverse('admin:payments_reconciliationline_changelist')}?run__id__exact={first.run_id}&kind__exact=missing_here"
    assert url.replace("&", "&amp;") in client.get(page_url(first.run)).content.decode()
    answer = client.get(url)
    assert answer.status_code == 200
    content = answer.content.decode()
    assert page_url(first) in content
    assert page_url(elsewhere) not in content
    assert page_url(fee) not in content


def test_the_list_counts_what_is_not_explained(tenant: Tenant, config: Config, browser_of: Browser) -> None:
    first = line_of(tenant, config)
    more(first, kind="missing_there", resolved_at=hub_clock.now(), resolved_by="user jane", resolution="cash")
    more(first, kind="matched")
    row = browser_of("admin").get(reverse("admin:payments_reconciliationrun_changelist")).context["cl"].result_list[0]
    assert (row.differing, row.unexplained) == (2, 1)


# --- explaining -----------------------------------------------------------------------------------------------------------


def test_a_difference_is_explained_once_with_a_reason(world: World, browser_of: Browser) -> None:
    line, client = world.ours["payments.reconciliationline"], browser_of("admin")
    subject = f"run {line.run_id}"
    raise_alert(tenant_id=line.tenant_id, kind="reconciliation_difference", subject=subject, message="1 line differs")
    assert "This field is required" in client.post(page_url(line, "press", "resolve"), {"reason": ""}).content.decode()
    assert press(client, line, "resolve", {"reason": "A test charge."}) == [("success", "Marked as resolved.")]
    line.refresh_from_db()
    assert (line.resolution, line.resolved_by) == ("A test charge.", "user school-admin")
    assert line.resolved_at is not None
    assert Alert.objects.get(subject=subject).resolved_at is not None
    level, told = press(client, line, "resolve", {"reason": "Again."})[-1]
    assert (level, told.startswith("“Mark resolved” is not possible")) == ("warning", True)
    line.refresh_from_db()
    assert line.resolution == "A test charge."
    assert LogEntry.objects.filter(object_id=str(line.pk)).count() == 1


def test_what_matches_needs_no_explanation(tenant: Tenant, config: Config, browser_of: Browser) -> None:
    line, client = line_of(tenant, config, kind="matched"), browser_of("admin")
    assert client.get(page_url(line)).context["hub_buttons"] == []
    assert press(client, line, "resolve", {"reason": "x"})[0][0] == "warning"


@pytest.mark.parametrize("label", ["payments.reconciliationrun", "payments.reconciliationline"])
def test_nothing_is_added_changed_or_deleted_by_hand(world: World, browser_of: Browser, label: str) -> None:
    row, client = world.ours[label], browser_of("operator")
    before = list(type(row)._base_manager.order_by("pk").values())
    assert client.get(page_url(row).replace(f"/{row.pk}/change/", "/add/")).status_code == 403
    assert client.post(page_url(row), {"detail": "x", "status": "failed", "kind": "matched"}).status_code == 403
    assert client.post(page_url(row, "delete"), {"post": "yes"}).status_code == 403
    assert list(type(row)._base_manager.order_by("pk").values()) == before


# --- the file -------------------------------------------------------------------------------------------------------------


def csv_of(client: Client, run: ReconciliationRun) -> Any:
    return client.get(reverse("admin:payments_reconciliationrun_csv", args=[run.pk]))


def test_the_file_has_every_line_and_no_formula(tenant: Tenant, config: Config, browser_of: Browser) -> None:
    first = line_of(tenant, config, kind="matched", ledger_amount=150_000, detail="")
    texts = ['=HYPERLINK("https://evil.example")', "+254712345678", "-1+1", "@SUM(A1)", "\t=1", " =1", "plain, with a comma"]
    for text in texts:
        more(first, kind="missing_here", provider_ref="x", detail=text, net=-500, settlement_currency="KES")
    answer = csv_of(browser_of("auditor"), first.run)
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert answer.headers["Content-Disposition"] == f'attachment; filename="reconciliation-{first.run_id}.csv"'
    rows = list(csv.DictReader(StringIO(b"".join(answer.streaming_content).decode())))
    assert [row["detail"] for row in rows] == [*(f"'{text}" for text in texts[:-1]), "plain, with a comma", ""]
    assert rows[0]["net"] == "-500"  # a number stays one
    matched = rows[-1]
    assert (matched["kind"], matched["gateway_amount"], matched["ledger_amount"]) == ("matched", "150000", "150000")
    assert (matched["fee"], matched["payment"], matched["resolved_at"]) == ("450", first.payment_id, "")


def test_the_file_of_another_tenant_is_not_found(world: World, browser_of: Browser) -> None:
    run = world.foreign["payments.reconciliationrun"]
    assert csv_of(browser_of("admin"), run).status_code == 404
    assert csv_of(browser_of("staff"), world.ours["payments.reconciliationrun"]).status_code == 404
    assert csv_of(Client(), run).status_code == 302
    assert csv_of(browser_of("operator"), run).status_code == 200
