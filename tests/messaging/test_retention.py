"""What is kept for a time only goes after it, and nothing else."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from integrations.contracts.ids import new_token
from integrations.messaging.models import (
    Attachment,
    Message,
    Recipient,
    RecipientList,
    RecipientListPart,
    UnmatchedReport,
)
from integrations.messaging.safety import retention
from integrations.models import Tenant
from tests.factories import MovableClock
from webhooks.inbound import retention as receipts
from webhooks.inbound.models import Receipt

pytestmark = pytest.mark.django_db
OLD, YOUNG = timedelta(days=31), timedelta(days=29)


def test_reports_that_fitted_nothing_go_after_thirty_days(
    tenant: Tenant, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("integrations.runtime.retention.BATCH", 2)
    for ref, age in [(f"old-{number}", OLD) for number in range(5)] + [("young", YOUNG)]:
        UnmatchedReport.unscoped.create(
            tenant=tenant, provider="x", provider_ref=ref, address="+1", payload={}, created=clock.moment - age
        )
    assert retention.purge()["unmatched_reports"] == 5
    assert UnmatchedReport.unscoped.get().provider_ref == "young"
    assert retention.purge()["unmatched_reports"] == 0


def make(tenant: Tenant, created: datetime, *people: tuple[str, datetime], **fields: Any) -> Attachment:
    message = Message.unscoped.create(tenant=tenant, channel="email", provider="smtp", created=created, **fields)
    for number, (state, updated) in enumerate(people):
        Recipient.unscoped.create(
            tenant=tenant,
            message=message,
            address=f"{number}@example.com",
            state=state,
            updated=updated,
            given_up=state == "failed",
        )
    return Attachment.unscoped.create(
        tenant=tenant, message=message, filename="bill.pdf", content_type="application/pdf", size=3, content=b"pdf"
    )


def left() -> set[int]:
    return {row.pk for row in Attachment.unscoped.exclude(content=b"")}


def test_attachments_are_emptied_thirty_days_after_the_last_recipients_end(
    tenant: Tenant, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH", 2)
    old, young = clock.moment - OLD, clock.moment - YOUNG
    ended = [make(tenant, old, ("delivered", old), ("bounced", old)) for _ in range(4)]
    nobody = make(tenant, old)
    kept = {
        make(tenant, old, ("delivered", old), ("queued", old)).pk,
        make(tenant, old, ("unknown", old)).pk,
        make(tenant, old, ("delivered", old), ("delivered", young)).pk,
        make(tenant, young, ("delivered", young)).pk,
        make(tenant, old, recipient_list=RecipientList.unscoped.create(tenant=tenant)).pk,
    }
    by_address = Attachment.unscoped.create(
        tenant=tenant, message=nobody.message, filename="a.pdf", content_type="application/pdf", url="https://x.example/a.pdf"
    )
    assert retention.purge()["attachments"] == 5
    assert left() == kept
    emptied = Attachment.unscoped.get(pk=ended[0].pk)
    assert (emptied.filename, emptied.size, bytes(emptied.content)) == ("bill.pdf", 3, b"")
    assert Attachment.unscoped.get(pk=by_address.pk).url
    assert retention.purge()["attachments"] == 0


def test_whose_attachment_is_gone_cannot_be_sent_to_again(tenant: Tenant, clock: MovableClock) -> None:
    old = clock.moment - OLD
    gone, there = make(tenant, old, ("failed", old)), make(tenant, old, ("failed", clock.moment))
    retention.purge()
    assert not Recipient.unscoped.get(message=gone.message).given_up
    assert Recipient.unscoped.get(message=there.message).given_up


def test_the_rows_of_lists_go_thirty_days_after_the_last_message_to_them(tenant: Tenant, clock: MovableClock) -> None:
    old, young = clock.moment - OLD, clock.moment - YOUNG

    def part(made: datetime, **message: Any) -> int:
        rows = RecipientList.unscoped.create(tenant=tenant, created=made, rows=1)
        if message:
            Message.unscoped.create(tenant=tenant, provider="x", recipient_list=rows, **message)
        return RecipientListPart.unscoped.create(
            tenant=tenant, recipient_list=rows, number=0, first_row=2, rows=[["+254712345678"]]
        ).pk

    part(old)
    part(old, created=old, prepared_at=old)
    part(old, created=old, cancelled_at=old)
    kept = {part(young), part(old, created=young, prepared_at=young), part(old, created=old)}
    assert retention.purge()["list_parts"] == 3
    assert set(RecipientListPart.unscoped.values_list("pk", flat=True)) == kept
    assert RecipientList.unscoped.count() == 6, "that there was a list stays known"


def test_webhook_requests_go_after_their_days_but_never_one_that_waits(
    tenant: Tenant, clock: MovableClock, settings: Any
) -> None:
    settings.RECEIPT_RETENTION_DAYS = 30

    def receipt(status: str, age: timedelta, *, whose: Tenant | None = tenant) -> int:
        return Receipt.unscoped.create(
            tenant=whose, provider="x", purpose="c", trust="token", dedupe_key=new_token(), method="POST", body=b"{}",
            status=status, received_at=clock.moment - age,
        ).pk  # fmt: skip

    for status in ("processed", "unmatched", "ignored"):
        receipt(status, OLD)
    receipt("unmatched", OLD, whose=None)
    # What could not be processed is looked for as long as a call that failed.
    for whose in (tenant, None):
        receipt("failed", timedelta(days=181), whose=whose)
    kept = {receipt("received", OLD), receipt("processed", YOUNG), receipt("unmatched", YOUNG, whose=None)}
    kept |= {receipt("failed", timedelta(days=179), whose=whose) for whose in (tenant, None)}
    assert receipts.purge() == {"receipts": 6, "rejections": 0}
    assert set(Receipt.unscoped.values_list("pk", flat=True)) == kept
    assert receipts.purge() == {"receipts": 0, "rejections": 0}
