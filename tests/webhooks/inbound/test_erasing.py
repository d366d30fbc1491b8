"""What a stored request said is erased wherever it went: the log, the event made of it, the message that somebody wrote."""

from __future__ import annotations

from urllib.parse import urlencode

import pytest
from django_scopes import scope

from integrations.contracts.errors import Conflict
from integrations.messaging.jobs.notices import NotifyJob
from integrations.messaging.models import InboundMessage, Message
from integrations.models import AuditEntry, CallLog, Config, QueueItem, Tenant
from integrations.runtime.erasing import erase_log
from tests.factories import (
    MovableClock,
    make_config,
    make_endpoint,
    make_log,
    make_notification_rule,
    make_source,
    make_template,
)
from tests.webhooks.inbound.support import body_of, path_of, plain, post, published, receipts, settle
from webhooks.inbound.erasing import ERASED, erase_receipt, is_erased
from webhooks.inbound.jobs import ProcessReceiptJob
from webhooks.inbound.models import InboundEndpoint, Receipt
from webhooks.inbound.services import reprocess
from webhooks.outbound.models import Delivery, Event

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("clock")]
SECRET = "Jane's pregnancy test"


@pytest.fixture
def source(tenant: Tenant) -> InboundEndpoint:
    made, _secret = make_source(tenant, dedupe_path="body:id", secret="x" * 32)
    return made


def take_in(source: InboundEndpoint, number: int = 1) -> Receipt:
    body = body_of({"id": f"o{number}", "item": SECRET, "phone": "+254712345678"})
    assert post(path_of(source), body, plain("x" * 32, body)).status_code == 200
    settle()
    return receipts()[-1]


def erase(receipt: Receipt) -> Receipt:
    with scope(tenant=receipt.tenant):
        return erase_receipt(receipt=receipt)


def test_the_event_made_of_a_request_is_erased_with_it(tenant: Tenant, source: InboundEndpoint) -> None:
    make_endpoint(tenant, events=["shop.*"])
    kept, gone = take_in(source, 1), take_in(source, 2)
    assert [SECRET in each.payload for each in published()] == [True, True]
    # The source may be set up otherwise by now.
    InboundEndpoint.unscoped.filter(pk=source.pk).update(event_types={"*": "order.created"})
    erase(gone)
    first, second = published()
    assert (SECRET in first.payload, first.erased_at) == (True, None)
    assert (second.payload, second.erased_at is not None, second.type) == ("", True, "shop.reported")
    assert Delivery.unscoped.get(event=second).last_error == "the payload was erased"
    actions = sorted(AuditEntry.unscoped.filter(action__endswith=".erased").values_list("action", flat=True))
    assert actions == ["event.erased", "log.erased", "receipt.erased"]
    assert SECRET not in CallLog.unscoped.get(external_reference=str(gone.pk)).request_body
    assert not is_erased(Receipt.unscoped.get(pk=kept.pk))


def test_it_goes_with_the_log_too(tenant: Tenant, source: InboundEndpoint) -> None:
    receipt = take_in(source)
    with scope(tenant=tenant):
        erase_log(log_id=CallLog.unscoped.get(external_reference=str(receipt.pk)).pk)
    assert is_erased(receipts()[0])
    assert [each.payload for each in published()] == [""]


def test_another_tenants_event_of_that_key_stays(tenant: Tenant, other_tenant: Tenant, source: InboundEndpoint) -> None:
    receipt = take_in(source)
    Event.unscoped.create(tenant=other_tenant, type="shop.reported", key=receipt.dedupe_key, payload="theirs")
    erase(receipt)
    assert Event.unscoped.get(tenant=other_tenant).payload == "theirs"


def test_while_its_event_is_being_sent_nothing_is_erased(tenant: Tenant, source: InboundEndpoint, clock: MovableClock) -> None:
    make_endpoint(tenant, events=["shop.*"])
    receipt = take_in(source)
    Delivery.unscoped.update(lease="b" * 32, lease_until=clock.moment.replace(year=2030))
    with pytest.raises(Conflict):
        erase(receipt)
    assert not is_erased(receipts()[0])
    assert bytes(receipts()[0].body)
    assert SECRET in published()[0].payload


def test_what_was_queued_to_be_processed_again_finds_nothing(source: InboundEndpoint) -> None:
    receipt = take_in(source)
    reprocess(receipt=receipt)
    erase(receipt)
    settle()
    again = receipts()[0]
    assert (again.status, again.detail, is_erased(again), bytes(again.body)) == ("processed", ERASED, True, b"")
    ProcessReceiptJob().failed(QueueItem(payload={"receipt": receipt.pk}), ValueError())
    assert (receipts()[0].status, receipts()[0].detail) == ("processed", ERASED)


def test_what_an_exchange_failed_of_goes_too(tenant: Tenant) -> None:
    row = make_log(tenant, status="failed", error=f"the provider said: {SECRET}")
    with scope(tenant=tenant):
        erase_log(log_id=row.pk)
    row.refresh_from_db()
    assert (row.error, row.status) == ("", "failed")


# --- what somebody wrote


@pytest.fixture
def config(tenant: Tenant) -> Config:
    return make_config(tenant, "africastalking", account="school")


def write(config: Config, text: str, **fields: str) -> Receipt:
    said = {"from": "+254711000001", "to": "22384", "text": text, "id": "7f3a", "date": "2026-11-20 08:00:00", **fields}
    path = f"/hooks/{config.hook_token}/inbox"
    assert post(path, urlencode(said).encode(), kind="application/x-www-form-urlencoded").status_code == 200
    settle()
    return receipts()[-1]


def test_a_message_is_erased_with_its_request_and_what_was_told_of_it(tenant: Tenant, config: Config) -> None:
    other = write(config, "Is school closed?", id="1")
    receipt = write(config, SECRET, id="2")
    assert InboundMessage.unscoped.count() == 2
    erase(receipt)
    rows = {each.provider_ref: each for each in InboundMessage.unscoped.all()}
    assert (rows["1"].text, rows["2"].text, rows["2"].address) == ("Is school closed?", "", "+254711000001")
    told = {each.object_id: each.payload for each in Event.unscoped.filter(type="message.received")}
    assert "Is school closed?" in told[rows["1"].pk]
    assert told[rows["2"].pk] == ""
    assert not is_erased(Receipt.unscoped.get(pk=other.pk))


def test_what_a_rule_is_about_to_say_of_it_is_not_said(tenant: Tenant, config: Config) -> None:
    make_template(tenant, name="told", body="{{ text }}")
    make_notification_rule(
        tenant,
        event_type="message.received",
        template_name="told",
        audience="fixed",
        addresses="+254711000009",
        delay_minutes=5,
    )
    receipt = write(config, SECRET)
    item = QueueItem.unscoped.get(kind="message.notify")
    assert SECRET in str(item.payload)
    QueueItem.unscoped.update(state="processing")
    with pytest.raises(Conflict):
        erase(receipt)
    QueueItem.unscoped.filter(pk=item.pk).update(state="pending")
    erase(receipt)
    item.refresh_from_db()
    assert SECRET not in str(item.payload)
    assert "+254711000009" not in str(item.payload)
    with scope(tenant=tenant):
        NotifyJob().run(item)
    assert not Message.unscoped.exists()


def test_a_request_that_can_no_longer_be_read_is_erased_all_the_same(tenant: Tenant, config: Config) -> None:
    receipt = write(config, SECRET)
    Receipt.unscoped.update(body=b"\xff%%%")
    assert bytes(erase(receipt).body) == b""
