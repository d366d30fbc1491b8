"""What the buttons and list actions do: through the services, refused where the state forbids it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin import helpers
from django.contrib.messages import get_messages
from django.test import Client

from integrations.contracts import clock
from integrations.models import Alert, Attempt, BreakerState, Membership, PrimaryConfig, QueueItem, QueueState, Role
from integrations.runtime import jobs
from integrations.simulators import running_simulators
from payments.models import LedgerEntry, Payment
from tests import factories
from tests.admin.conftest import World, list_url, page_url
from tests.admin.rows import make_payment
from webhooks.outbound.models import Delivery, Endpoint

pytestmark = pytest.mark.django_db
Browser = Callable[[str], Client]


class SampleJob(jobs.LocalJob):
    kind = "sample"

    def run(self, item: QueueItem) -> None:
        return


@pytest.fixture(autouse=True)
def sample_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(jobs._jobs, "sample", SampleJob())


def press(client: Client, row: Any, button: str, data: dict[str, str] | None = None) -> list[tuple[str, str]]:
    """Press the button and return what the person was told."""
    answer = client.post(page_url(row, "press", button), data or {})
    assert answer.status_code == 302, answer.content.decode()[:300]
    assert answer["Location"] == page_url(row)
    return [(message.level_tag, str(message)) for message in get_messages(answer.wsgi_request)]


def run_action(client: Client, label: str, action: str, rows: list[Any]) -> list[tuple[str, str]]:
    answer = client.post(list_url(label), {"action": action, helpers.ACTION_CHECKBOX_NAME: [row.pk for row in rows]})
    assert answer.status_code == 302
    return [(message.level_tag, str(message)) for message in get_messages(answer.wsgi_request)]


# --- the queue ------------------------------------------------------------------------------------------------------------


def test_retry_makes_a_failed_item_pending(world: World, browser_of: Browser) -> None:
    item = world.ours["integrations.queueitem"]
    assert press(browser_of("admin"), item, "retry") == [("success", "It is pending again and will run at once.")]
    item.refresh_from_db()
    assert (item.state, item.attempts) == (QueueState.PENDING, 0)
    assert item.errors[-1]["detail"] == "retried by school-admin"


def test_cancel_ends_a_pending_item(world: World, browser_of: Browser) -> None:
    item = factories.make_item(world.school, due_at=clock.now() + timedelta(hours=1))
    assert press(browser_of("admin"), item, "cancel") == [("success", "Cancelled.")]
    item.refresh_from_db()
    assert item.state == QueueState.CANCELLED


@pytest.mark.parametrize("state", [QueueState.PROCESSING, QueueState.COMPLETED, QueueState.UNKNOWN, QueueState.NEEDS_REVIEW])
@pytest.mark.parametrize("button", ["retry", "cancel"])
def test_what_the_state_forbids_changes_nothing(state: str, button: str, world: World, browser_of: Browser) -> None:
    item = factories.make_item(world.school, state=state, attempts=1)
    [(level, _text)] = press(browser_of("admin"), item, button)
    assert level == "warning"
    item.refresh_from_db()
    assert (item.state, item.attempts, item.errors) == (state, 1, [])


def test_refusal_of_the_service_is_shown(world: World, browser_of: Browser) -> None:
    item = world.ours["integrations.queueitem"]
    Attempt.unscoped.filter(item=item).update(state="unknown")
    told = press(browser_of("admin"), item, "retry")
    assert told == [("error", "This call may have been carried out already; it is not repeated.")]
    item.refresh_from_db()
    assert item.state == QueueState.FAILED


def test_bulk_retry_does_what_it_can(world: World, browser_of: Browser) -> None:
    failed = [factories.make_item(world.school, state=QueueState.FAILED) for _ in range(2)]
    running = factories.make_item(world.school, state=QueueState.PROCESSING)
    foreign = world.foreign["integrations.queueitem"]
    told = run_action(browser_of("admin"), "integrations.queueitem", "retry_selected", [*failed, running, foreign])
    assert sorted(level for level, _ in told) == ["error", "success"]
    assert ("success", "2 items retried.") in told
    states = [QueueItem.unscoped.get(pk=row.pk).state for row in (*failed, running, foreign)]
    assert states == [QueueState.PENDING, QueueState.PENDING, QueueState.PROCESSING, QueueState.FAILED]


def test_auditor_of_one_tenant_and_admin_of_another(world: World, browser_of: Browser) -> None:
    client = browser_of("admin")
    user = Membership.unscoped.get(user__username="school-admin").user
    Membership.unscoped.create(tenant=world.studio, user=user, role=Role.AUDITOR)
    ours, foreign = world.ours["integrations.queueitem"], world.foreign["integrations.queueitem"]
    assert client.get(page_url(foreign)).status_code == 200
    told = run_action(client, "integrations.queueitem", "retry_selected", [ours, foreign])
    assert ("success", "1 item retried.") in told
    assert QueueItem.unscoped.get(pk=ours.pk).state == QueueState.PENDING
    assert QueueItem.unscoped.get(pk=foreign.pk).state == QueueState.FAILED
    assert client.post(page_url(foreign, "press", "retry")).status_code == 403


def test_buttons_need_post_and_csrf(world: World, browser_of: Browser) -> None:
    item = world.ours["integrations.queueitem"]
    client = browser_of("admin")
    assert client.get(page_url(item, "press", "retry")).status_code == 405
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = client.cookies
    assert strict.post(page_url(item, "press", "retry")).status_code == 403
    assert client.post(page_url(item, "press", "nonesuch")).status_code == 404
    item.refresh_from_db()
    assert item.state == QueueState.FAILED


def test_error_history_is_a_table(world: World, browser_of: Browser) -> None:
    item = world.ours["integrations.queueitem"]
    QueueItem.unscoped.filter(pk=item.pk).update(
        errors=[{"at": "2026-11-20T09:00:00+00:00", "attempt": 1, "error": "X", "detail": "<script>alert(1)</script>"}]
    )
    content = browser_of("admin").get(page_url(item)).content.decode()
    assert "2026-11-20 09:00:00" in content
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in content
    assert "<script>alert(1)" not in content


# --- configs --------------------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_connection_test_calls_the_provider(
    simulators: running_simulators, registered: None, tenant: Any, browser_of: Browser
) -> None:
    config = factories.make_config(tenant, "africastalking")
    client = browser_of("admin")
    [(level, text)] = press(client, config, "test")
    assert (level, text.startswith("It works: ")) == ("success", True)
    config.refresh_from_db()
    assert (config.status, config.tested_at is not None) == ("ok", True)


@pytest.mark.django_db(transaction=True)
def test_connection_test_shows_a_refusal(
    simulators: running_simulators, registered: None, tenant: Any, browser_of: Browser
) -> None:
    config = factories.make_config(tenant, "africastalking", {"api_key": "wrong-key-wrong-key"})
    [(level, text)] = press(browser_of("admin"), config, "test")
    assert level == "error"
    assert "wrong-key" not in text
    config.refresh_from_db()
    assert config.status == "needs_attention"


def test_make_primary(world: World, browser_of: Browser) -> None:
    second = factories.make_config(world.school, "africastalking", label="second")
    told = press(browser_of("admin"), second, "primary")
    assert told == [("success", "It is primary for sms now.")]
    primaries = PrimaryConfig.unscoped.filter(tenant=world.school).values_list("category", "config_id")
    assert list(primaries) == [("sms", second.pk)]


def test_callback_urls_are_on_the_page(world: World, browser_of: Browser) -> None:
    config = world.ours["integrations.config"]
    content = browser_of("admin").get(page_url(config)).content.decode()
    assert f"/hooks/{config.hook_token}/dlr" in content


# --- alerts, breakers, endpoints, deliveries ------------------------------------------------------------------------------


def test_alert_is_acknowledged(world: World, browser_of: Browser) -> None:
    alert = world.ours["integrations.alert"]
    client = browser_of("admin")
    assert press(client, alert, "acknowledge") == [("success", "Acknowledged.")]
    alert.refresh_from_db()
    assert alert.acknowledged_at is not None
    assert Alert.objects.get(pk=world.foreign["integrations.alert"].pk).acknowledged_at is None


def test_operator_closes_a_circuit(world: World, browser_of: Browser) -> None:
    now = clock.now()
    row = BreakerState.objects.create(
        key="x|host", provider="x", host="host", state="open", window_started_at=now, failures=9, retry_at=now
    )
    assert press(browser_of("operator"), row, "reset") == [("success", "The circuit is closed: calls go through again.")]
    row.refresh_from_db()
    assert (row.state, row.failures, row.retry_at) == ("closed", 0, None)


def test_delivery_is_sent_again_and_a_test_event_made(world: World, browser_of: Browser) -> None:
    client, delivery = browser_of("admin"), world.ours["webhooks_outbound.delivery"]
    [(level, _)] = press(client, delivery, "retry")
    assert level == "success"
    delivery.refresh_from_db()
    assert (delivery.state, delivery.attempts_allowed) == ("pending", 13)
    endpoint = world.ours["webhooks_outbound.endpoint"]
    press(client, endpoint, "test")
    assert Delivery.unscoped.filter(endpoint=endpoint, event__type="webhook.test").count() == 1
    assert Delivery.unscoped.filter(endpoint=world.foreign["webhooks_outbound.endpoint"]).count() == 1


def test_deleted_endpoint_is_gone_and_its_deliveries_stay(world: World, browser_of: Browser) -> None:
    client, endpoint = browser_of("admin"), world.ours["webhooks_outbound.endpoint"]
    assert client.post(page_url(endpoint, "delete"), {"post": "yes"}).status_code == 302
    stored = Endpoint.unscoped.get(pk=endpoint.pk)
    assert (stored.deleted_at is not None, stored.is_active) == (True, False)
    assert page_url(endpoint) not in client.get(list_url("webhooks_outbound.endpoint")).content.decode()
    assert client.get(page_url(world.ours["webhooks_outbound.delivery"])).status_code == 200


def test_stored_request_is_processed_again(world: World, browser_of: Browser) -> None:
    receipt = world.ours["webhooks_inbound.receipt"]
    press(browser_of("admin"), receipt, "reprocess")
    assert QueueItem.unscoped.filter(kind="webhook.process", payload={"receipt": receipt.pk}).count() == 1


# --- payments -------------------------------------------------------------------------------------------------------------


def test_unallocated_money_is_allocated(world: World, browser_of: Browser) -> None:
    payment = make_payment(world.school, allocated=False, reference_type="", reference_id="", origin="customer")
    client = browser_of("admin")
    form = client.get(page_url(payment, "press", "allocate"))
    assert (form.status_code, form.context["title"]) == (200, "Allocate")
    empty = client.post(page_url(payment, "press", "allocate"), {"reference_type": "invoice", "reference_id": ""})
    assert (empty.status_code, list(empty.context["form"].errors)) == (200, ["reference_id"])
    payment.refresh_from_db()
    assert payment.allocated is False
    told = press(client, payment, "allocate", {"reference_type": "invoice", "reference_id": "INV-7"})
    assert told == [("success", "Allocated to invoice INV-7.")]
    payment.refresh_from_db()
    assert (payment.allocated, payment.reference_id) == (True, "INV-7")
    assert LedgerEntry.unscoped.filter(payment=payment).last().actor == "user school-admin"


def test_payment_under_review_is_decided_with_grounds(world: World, browser_of: Browser) -> None:
    payment = make_payment(world.school, status="needs_review", receipt="", receipt_number="", completed_at=None)
    client = browser_of("admin")
    told = press(client, payment, "decide", {"paid": "yes", "receipt": "UGA3K7P2QX", "note": "statement of 20 November"})
    assert told == [("success", "Decided: the payment is succeeded.")]
    payment.refresh_from_db()
    assert (payment.status, payment.receipt) == ("succeeded", "UGA3K7P2QX")
    assert client.get(page_url(payment, "press", "decide")).status_code == 302


def test_receipt_that_belongs_to_another_payment_is_said_in_the_form(world: World, browser_of: Browser) -> None:
    other = make_payment(world.school)
    payment = make_payment(world.school, status="needs_review", receipt="", receipt_number="")
    given = {"paid": "yes", "receipt": other.receipt, "note": "statement"}
    answer = browser_of("admin").post(page_url(payment, "press", "decide"), given)
    assert answer.context["form"].errors == {"receipt": ["This receipt belongs to another payment."]}
    assert Payment.unscoped.get(pk=payment.pk).status == "needs_review"


def test_staff_can_not_press_payment_buttons(world: World, browser_of: Browser) -> None:
    payment = make_payment(world.school, allocated=False)
    answer = browser_of("staff").post(page_url(payment, "press", "allocate"), {"reference_type": "a", "reference_id": "b"})
    assert answer.status_code == 403
    assert Payment.unscoped.get(pk=payment.pk).allocated is False


def test_payment_page_tells_the_story(world: World, browser_of: Browser) -> None:
    payment = world.ours["payments.payment"]
    content = browser_of("staff").get(page_url(payment)).content.decode()
    for text in ("KES 1,500.00", "Jane Wanjiku", "payment asked for", payment.receipt):
        assert text in content
    for page in ("integrations/calllog", "webhooks_outbound", "webhooks_inbound"):
        assert f"/admin/{page}" not in content  # nothing that staff would be refused
    pdf = browser_of("auditor").get(page_url(payment, "receipt_pdf"))
    assert (pdf.status_code, pdf["Content-Type"], pdf.content[:5]) == (200, "application/pdf", b"%PDF-")


def test_foreign_receipt_is_not_found(world: World, browser_of: Browser) -> None:
    client = browser_of("admin")
    for page in ("receipt_html", "receipt_pdf"):
        assert client.get(page_url(world.foreign["payments.payment"], page)).status_code == 404
        assert client.get(page_url(make_payment(world.school, status="failed"), page)).status_code == 404
