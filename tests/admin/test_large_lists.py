"""Lists over large tables: nothing counted, nothing sorted, and they say how far back they looked."""

from __future__ import annotations

import warnings
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from integrations.adminbase import large
from integrations.messaging.models import Message, Recipient
from integrations.models import CallLog, Role, Tenant
from tests.factories import MovableClock, make_delivery, make_endpoint, make_inbound, make_item, make_log, make_user
from webhooks.outbound.models import Delivery

pytestmark = pytest.mark.django_db
LOGS = "/admin/integrations/calllog/"


@pytest.fixture
def boss(tenant: Tenant, client: Client) -> Client:
    client.force_login(make_user("boss", tenant=tenant, role=Role.ADMIN))
    return client


def listed(client: Client, url: str) -> tuple[list[Any], str]:
    """Return the keys of the rows on a page, and what it says of its limits."""
    answer = client.get(url)
    assert answer.status_code == 200, answer.status_code
    shown = answer.context["cl"]
    reach = shown.reach
    if reach is not None:
        assert reach.text in unescape(answer.content.decode())
    return [row.pk for row in shown.result_list], reach.text if reach is not None else ""


def test_no_more_than_the_newest_are_counted_and_listed(
    boss: Client, tenant: Tenant, monkeypatch: pytest.MonkeyPatch, clock: MovableClock
) -> None:
    monkeypatch.setattr(large, "LISTED", 3)
    rows = [make_log(tenant).pk for _ in range(2)]
    assert listed(boss, LOGS) == (rows[::-1], "")
    rows += [make_log(tenant).pk for _ in range(3)]
    with CaptureQueriesContext(connection) as queries:
        _keys, told = listed(boss, LOGS)
    assert told.startswith("The newest 3")
    counts = [each["sql"] for each in queries.captured_queries if "COUNT(" in each["sql"] and "calllog" in each["sql"]]
    assert len(counts) == 1
    assert "LIMIT 4" in counts[0]


def test_no_column_can_be_sorted_by(boss: Client, tenant: Tenant) -> None:
    rows = [make_log(tenant, duration_ms=each).pk for each in (5, 9, 1)]
    assert listed(boss, f"{LOGS}?o=7.-2")[0] == rows[::-1]


def test_a_condition_without_an_index_is_asked_of_the_newest_and_says_so(
    boss: Client, tenant: Tenant, monkeypatch: pytest.MonkeyPatch, clock: MovableClock
) -> None:
    monkeypatch.setattr(large, "LOOKED_AT", 3)
    rows = [make_log(tenant, direction="inbound" if number in (1, 4) else "outbound").pk for number in range(6)]
    for number, pk in enumerate(rows):
        CallLog.unscoped.filter(pk=pk).update(created=clock.moment + timedelta(minutes=number))
    keys, told = listed(boss, f"{LOGS}?direction__exact=inbound")
    assert (keys, told) == ([rows[4]], "Looked at the newest 3 only, back to 2026-11-20 09:03:00.")
    further = boss.get(f"{LOGS}?direction__exact=inbound").context["cl"].reach.further
    assert listed(boss, f"{LOGS}{further}")[0] == [rows[1]]
    for query in ("provider=example", "created_to_0=2026-11-20&created_to_1=09:01:00"):
        assert listed(boss, f"{LOGS}?{query}")[1] == "", "an index answers it"


def test_times_that_a_person_writes_are_of_the_consoles_zone(boss: Client, tenant: Tenant, clock: MovableClock) -> None:
    rows = [make_log(tenant).pk for _ in range(3)]
    for number, pk in enumerate(rows):
        CallLog.unscoped.filter(pk=pk).update(created=clock.moment + timedelta(minutes=number))
    since, until = "created_from_0=2026-11-20&created_from_1=09:01:00", "created_to_0=2026-11-20&created_to_1=09:01:00"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for zone, found in (("UTC", rows[:0:-1]), ("Africa/Nairobi", rows[::-1]), ("America/New_York", [])):
            with timezone.override(zone):
                assert listed(boss, f"{LOGS}?{since}")[0] == found, zone
        assert listed(boss, f"{LOGS}?{since}&{until}")[0] == [rows[1]]
        for half in ("created_from_0=2026-11-20", "created_from_0=2026-11-20&created_from_1=noon", "created_to_1=09:00:00"):
            assert listed(boss, f"{LOGS}?{half}")[0] == rows[::-1], half
        assert listed(boss, f"{LOGS}?{until}&created_from_0=soon&created_from_1=noon")[0] == rows[1::-1]


def test_deliveries_that_failed_are_listed_from_everywhere(
    boss: Client, tenant: Tenant, monkeypatch: pytest.MonkeyPatch, clock: MovableClock
) -> None:
    monkeypatch.setattr(large, "LOOKED_AT", 1)
    endpoint = make_endpoint(tenant)
    made = [make_delivery(endpoint).pk for _ in range(3)]
    Delivery.unscoped.filter(pk__in=made[:2]).update(state="failed")
    url = "/admin/webhooks_outbound/delivery/"
    assert listed(boss, f"{url}?state__exact=failed") == (made[1::-1], "")
    keys, told = listed(boss, f"{url}?state__exact=delivered")
    assert keys == []
    assert told.startswith("Looked at the newest 1 only")
    assert listed(boss, f"{url}?state__exact=failed&endpoint={endpoint.pk}")[1].startswith("Looked at the newest 1 only")


def test_whole_words_are_found_everywhere_and_parts_in_the_newest(
    boss: Client, tenant: Tenant, other_tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(large, "READ", 2)
    old = make_log(tenant, reference_id="INV-1", external_reference="ext-9", request_id="req-5", error="the odd one").pk
    rows = [make_log(tenant, error="odd too").pk for _ in range(3)]
    make_log(other_tenant, reference_id="INV-1", error="odd as well")
    for word in ("INV-1", "ext-9", "req-5", str(old), f"#{old}"):
        assert listed(boss, f"{LOGS}?q={word.replace('#', '%23')}") == ([old], ""), word
    keys, told = listed(boss, f"{LOGS}?q=odd")
    assert keys == [rows[2], rows[1]]
    assert told.startswith("Looked at the newest 2 only")
    assert listed(boss, f"{LOGS}?q=%00")[0] == [*rows[::-1], old]


def test_who_looks_further_sees_every_row(
    boss: Client, tenant: Tenant, monkeypatch: pytest.MonkeyPatch, clock: MovableClock
) -> None:
    monkeypatch.setattr(large, "LOOKED_AT", 5)
    rows = {make_log(tenant, direction="inbound").pk for _ in range(20)}
    for number, pk in enumerate(sorted(rows)):  # several within the same second
        CallLog.unscoped.filter(pk=pk).update(created=clock.moment + timedelta(milliseconds=150 * number))
    seen, query = set(), "?direction__exact=inbound"
    for _ in range(8):
        shown = boss.get(f"{LOGS}{query}").context["cl"]
        seen |= {row.pk for row in shown.result_list}
        if shown.reach is None:
            break
        query = shown.reach.further
    assert seen == rows


def test_of_many_with_a_word_the_newest_are_listed_and_it_says_so(
    boss: Client, tenant: Tenant, monkeypatch: pytest.MonkeyPatch, clock: MovableClock
) -> None:
    monkeypatch.setattr(large, "FOUND", 3)
    rows = [make_log(tenant, reference_id="INV-1").pk for _ in range(5)]
    for number, pk in enumerate(rows):
        CallLog.unscoped.filter(pk=pk).update(created=clock.moment + timedelta(minutes=number))
    make_log(tenant)
    told = "The newest 3 that have it are listed. Narrow the time to see older ones."
    assert listed(boss, f"{LOGS}?q=INV-1") == (rows[:1:-1], told)
    at = timezone.localtime(clock.moment + timedelta(minutes=1))
    older = listed(boss, f"{LOGS}?q=INV-1&created_to_0={at:%Y-%m-%d}&created_to_1={at:%H:%M:%S}")
    assert older == (rows[1::-1], "")


def test_a_word_that_most_rows_have_is_looked_for_in_the_newest(
    boss: Client, tenant: Tenant, monkeypatch: pytest.MonkeyPatch, clock: MovableClock
) -> None:
    monkeypatch.setattr(large, "LOOKED_AT", 3)
    rows = [make_log(tenant, reference_id="INV-1").pk for _ in range(5)]
    for number, pk in enumerate(rows):
        CallLog.unscoped.filter(pk=pk).update(created=clock.moment - timedelta(minutes=number))
    keys, told = listed(boss, f"{LOGS}?q=INV-1")
    assert keys == rows[:3]
    assert told.startswith("Looked at the newest 3 only")
    further = boss.get(f"{LOGS}?q=INV-1").context["cl"].reach.further
    assert listed(boss, f"{LOGS}{further}")[0] == rows[2:]


def test_whom_people_wrote_from_is_found_everywhere(boss: Client, tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large, "READ", 2)
    old = make_inbound(tenant, address="+254711000001", text="Is school closed?")
    for number in range(3):
        make_inbound(tenant, address=f"+25471100001{number}")
    page = "/admin/messaging/inboundmessage/"
    for word in ("%2B254711000001", "+254 711 000001", old.pk):
        assert listed(boss, f"{page}?q={word}") == ([old.pk], ""), word
    assert listed(boss, f"{page}?q=closed")[0] == []


def test_a_foreign_number_is_not_found(boss: Client, other_tenant: Tenant) -> None:
    theirs = make_log(other_tenant)
    assert listed(boss, f"{LOGS}?q={theirs.pk}")[0] == []


def test_an_operator_lists_all_tenants_and_one(
    client: Client, tenant: Tenant, other_tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(large, "LOOKED_AT", 1)
    client.force_login(make_user("root", is_superuser=True))
    mine, theirs = make_item(tenant, reference_id="INV-1"), make_item(other_tenant, state="failed")
    page = "/admin/integrations/queueitem/"
    assert listed(client, page)[0] == [theirs.pk, mine.pk]
    assert listed(client, f"{page}?tenant={tenant.pk}")[0] == [mine.pk]
    assert listed(client, f"{page}?q=INV-1")[0] == [mine.pk]
    _keys, told = listed(client, f"{page}?state__exact=pending")
    assert told.endswith("Choose a tenant to look further back.")
    for number in range(2):
        make_log(tenant, operation=f"asked-{number}")
    _keys, told = listed(client, f"{LOGS}?status__exact=failed")
    assert told.startswith("Looked at the newest 1 only")
    assert "Choose a tenant" not in told, "a link leads further back"


def test_messages_are_found_by_whom_they_went_to(boss: Client, tenant: Tenant) -> None:
    message = Message.unscoped.create(tenant=tenant, provider="x", reference_id="INV-7", body="Fees are due")
    Recipient.unscoped.create(tenant=tenant, message=message, address="+254712345678", provider_ref="ATX_1")
    Message.unscoped.create(tenant=tenant, provider="x", body="Something else")
    page = "/admin/messaging/message/"
    for word in ("%2B254712345678", "+254 712 345678", "ATX_1", "INV-7", message.pk, "fees+ARE"):
        assert listed(boss, f"{page}?q={word}")[0] == [message.pk], word
