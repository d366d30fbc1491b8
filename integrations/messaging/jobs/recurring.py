"""The queue's job that sends a recurring message, with its attachment fetched anew."""

from __future__ import annotations

from collections.abc import Callable

from django.db import transaction

from integrations.contracts.capabilities import Capability
from integrations.contracts.errors import OutcomeUnknown, ProviderError, ProviderUnavailable
from integrations.contracts.messaging import Media
from integrations.messaging.models import RecurringMessage
from integrations.messaging.rules.fetching import About, fetch
from integrations.messaging.rules.recurring import ALERT, KIND, solved
from integrations.messaging.rules.requesting import send_request
from integrations.models import QueueItem, QueueState
from integrations.runtime.alerts import raise_alert
from integrations.runtime.jobs import Call, EffectJob


class RecurJob(EffectJob):
    """Fetches what goes along, outside of any transaction, then accepts the message in the one that settles the item.

    To fetch is no effect and may be tried again for hours; the message has the moment's key, so that it is accepted once. It
    never goes out without its attachment: what can't be fetched is an alert.
    """

    kind = KIND
    max_attempts = 12
    """With the queue's back-off some two hours and a half: whoever makes the report may be late with it."""
    lease_seconds = 180.0

    def prepare(self, item: QueueItem) -> Call | None:
        row = _row(item)
        if row is None:
            return None
        return Call(Capability(row.channel), "recur", reference=("recurring", str(row.pk)))

    def perform(self, item: QueueItem, begin: Callable[[], None]) -> tuple[str, Media | None]:
        row = _row(item)
        if row is None or not row.attachment_url:
            return "", None
        return row.attachment_url, fetch(row.attachment_url, name=row.attachment_name, about=About(item.tenant_id, item.pk))

    def succeeded(self, item: QueueItem, result: tuple[str, Media | None]) -> None:
        """Accept the message; what it lacks is an alert. Raises where it was changed while its file was on the way: the item
        is then run again."""
        row = _row(item, locked=True)
        if row is None:
            return
        url, media = result
        if row.attachment_url != url:
            raise ProviderUnavailable("The message was changed while its attachment was being fetched.")
        try:
            with transaction.atomic():
                send_request(
                    tenant=row.tenant,
                    channel=row.channel,
                    request=row.request,
                    key=item.payload["key"],
                    created_by=f"recurring {row.name}",
                    attachments=() if media is None else (media,),
                )
        except ProviderError as error:
            _trouble(row, error)
        else:
            solved(row)

    def failed(self, item: QueueItem, error: ProviderError) -> None:
        row = _row(item, locked=True)
        if row is not None:
            _trouble(row, error)

    def unknown(self, item: QueueItem, error: OutcomeUnknown) -> QueueState:
        self.failed(item, error)
        return QueueState.COMPLETED  # nothing but a file was asked for: what is unknown of it is of no consequence

    def waiting(self, item: QueueItem, error: ProviderError) -> None:
        row = _row(item, locked=True)
        if row is not None:
            row.last_problem = f"to be tried again: {error.message}"[:300]
            row.save(update_fields=["last_problem"])


def _row(item: QueueItem, *, locked: bool = False) -> RecurringMessage | None:
    """Return the message; None where it was removed, or switched off and nobody asked for it by hand."""
    rows = RecurringMessage.unscoped.select_related("tenant").filter(tenant_id=item.tenant_id, pk=item.payload["recurring"])
    if locked:
        rows = rows.select_for_update(of=("self",))
    found: RecurringMessage | None = rows.first()
    return found if found is not None and (found.is_active or not item.payload["moment"]) else None


def _trouble(row: RecurringMessage, error: ProviderError) -> None:
    row.last_problem = error.message[:300]
    row.save(update_fields=["last_problem"])
    raise_alert(
        tenant_id=row.tenant_id,
        kind=ALERT,
        subject=f"recurring {row.pk}",
        message=f"“{row.name}” was not sent: {error.message}",
    )
