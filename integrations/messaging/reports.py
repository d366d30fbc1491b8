"""Delivery reports: matched to a recipient, adopted by one whose answer got lost, or kept until the id turns up.

A report can overtake our own commit of the answer that told us its id. All who touch a number take its lock first, so a report
is either seen by the one who writes the id, or finds the id.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db import connection
from django.db.models import Q, QuerySet

from integrations.contracts import clock
from integrations.contracts.inbound import MessageReported, Trust
from integrations.contracts.messaging import Engagement, MessageState, SuppressReason
from integrations.events import Unmatched
from integrations.messaging.closing import finish_items_of
from integrations.messaging.models import Channel, Recipient, UnmatchedReport
from integrations.messaging.safety.engagements import engage
from integrations.messaging.safety.screening import suppress
from integrations.messaging.transitions import advance, note
from integrations.models import ExternalReference

REPLAY_WINDOW = timedelta(minutes=10)
WHOLE_SECONDS = timedelta(seconds=2)
ADOPTION_WINDOW = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Report:
    """What of a delivery report is applied. `at` is aware; `trusted`: it came to a path that only the provider knows. `cost`
    is decimal text in major units of `currency`."""

    state: MessageState | None
    status: str
    detail: str
    suppress: SuppressReason | None
    at: datetime
    trusted: bool
    engagement: Engagement | None = None
    cost: str = ""
    currency: str = ""

    def payload(self) -> dict[str, Any]:
        return {
            "state": self.state.value if self.state else None,
            "status": self.status,
            "detail": self.detail,
            "suppress": self.suppress.value if self.suppress else None,
            "at": self.at.isoformat(),
            "engagement": self.engagement.value if self.engagement else None,
            "cost": self.cost,
            "currency": self.currency,
        }

    @classmethod
    def of_payload(cls, payload: dict[str, Any]) -> Report:
        """Read what `payload()` wrote; only trusted reports are kept."""
        reason, engagement = payload["suppress"], payload.get("engagement")
        return cls(
            MessageState(payload["state"]) if payload["state"] else None,
            payload["status"],
            payload["detail"],
            SuppressReason(reason) if isinstance(reason, str) else None,
            datetime.fromisoformat(payload["at"]),
            trusted=True,
            engagement=Engagement(engagement) if engagement else None,
            cost=payload.get("cost", ""),
            currency=payload.get("currency", ""),
        )


def lock_addresses(tenant_id: int, addresses: Iterable[str]) -> None:
    """Hold these addresses of the tenant until the transaction ends; always taken in the same order, before row locks."""
    keys = [f"messaging:{tenant_id}:{address}" for address in sorted({each.casefold() for each in addresses})]
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(key, 0)) FROM unnest(%s::text[]) AS key", [keys])


def receive(event: MessageReported) -> None:
    """Apply a report, inside the caller's transaction. It counts only where id and number belong together and, if the path
    named a config, to that config.

    An untrusted report (fixed path, unsigned) needs a message id that only the provider and the tenant know; it moves the
    state, but suppresses no number, is adopted by nobody, and raises `events.Unmatched` where it does not fit.
    """
    lock_addresses(event.tenant_id, [event.address])
    report = Report(
        state=event.state,
        status=event.provider_status,
        detail=event.detail,
        suppress=event.suppress,
        at=event.occurred_at or clock.now(),
        trusted=event.trust is not Trust.HINT,
        engagement=event.engagement,
        cost="" if event.cost is None else f"{event.cost:f}",
        currency=event.currency,
    )
    # The note is ours and comes first: ids and addresses in a report may be whatever its sender wrote there.
    recipient = _noted(event) or (_known(event) if event.provider_ref and not _contradicted(event) else None)
    if recipient is None and report.trusted and not event.ref:
        recipient = _adopter(event)
    if recipient is not None:
        apply(recipient, report)
    elif report.trusted:
        UnmatchedReport.unscoped.create(
            tenant_id=event.tenant_id,
            config_id=event.config_id,
            provider=event.provider,
            provider_ref=event.provider_ref,
            address=event.address,
            payload=report.payload(),
        )
    else:
        raise Unmatched("An unsigned delivery report fits no message that was sent.")


def apply(recipient: Recipient, report: Report) -> None:
    """Move the (locked) recipient on as the report says, and suppress its address where a trusted report asks for it."""
    source = "report" if report.trusted else "hint"
    if timedelta() < recipient.updated - report.at < WHOLE_SECONDS:
        # Many providers tell whole seconds: the delivery would seem to come before the sending.
        report = replace(report, at=recipient.updated)
    if report.suppress and report.trusted:
        suppress(
            tenant_id=recipient.tenant_id,
            channel=recipient.message.channel,
            address=recipient.address,
            reason=report.suppress,
            detail=report.detail,
            source=recipient.message.provider,
            at=report.at,
        )
    if report.cost and report.trusted:
        recipient.cost, recipient.currency = Decimal(report.cost), report.currency
        recipient.save(update_fields=["cost", "currency"])
    if report.engagement is not None and report.trusted:
        engage(recipient, report.engagement, at=report.at, detail=report.detail, source=source)
    if report.state is None and report.engagement is not None:
        return
    if report.state is None:
        note(recipient, at=report.at, source=source, detail=f"unknown status {report.status}")
        return
    doubtful = recipient.state == MessageState.UNKNOWN
    advance(recipient, report.state, at=report.at, source=source, detail=report.detail, provider_status=report.status)
    if doubtful:
        finish_items_of(recipient)


def replay(recipient: Recipient) -> int:
    """Apply the kept reports for this (locked) recipient's provider id, oldest first; return how many there were."""
    kept = _kept(recipient, clock.now() - REPLAY_WINDOW).filter(provider_ref=recipient.provider_ref)
    reports = list(kept.order_by("id"))
    for row in reports:
        _use(row, recipient)
    return len(reports)


def replay_all(recipients: Sequence[Recipient]) -> None:
    """Do as `replay` for each of these (locked) recipients of one message, and look once."""
    if not recipients:
        return
    message = recipients[0].message
    early = (
        UnmatchedReport.unscoped.filter(
            tenant_id=message.tenant_id,
            address__in=[each.address for each in recipients],
            matched_at__isnull=True,
            created__gte=clock.now() - REPLAY_WINDOW,
        )
        .filter(_of_account("", message.provider, message.config_id))
        .values_list("address", "provider_ref")
    )
    told = set(early)
    for each in recipients if told else ():
        if (each.address, each.provider_ref) in told:
            replay(each)


def adopt(recipient: Recipient) -> bool:
    """Let a (locked) recipient whose outcome is unknown take the id of a kept report, if just one id fits."""
    kept = list(_kept(recipient, clock.now() - REPLAY_WINDOW).order_by("id"))
    refs = {row.provider_ref for row in kept}
    if len(refs) != 1 or _rivals(recipient).exists():
        return False
    take_reference(recipient, refs.pop())
    recipient.save()
    for row in kept:
        _use(row, recipient)
    return True


def adopt_where_clear(tenant_id: int, numbers: Sequence[str]) -> None:
    """Try `adopt` for those to (locked) numbers whose outcome is unknown: a rival for their report has just got his own id."""
    waiting = Recipient.unscoped.filter(tenant_id=tenant_id, address__in=numbers, state=MessageState.UNKNOWN, provider_ref="")
    for recipient in waiting.select_for_update(of=("self",)).select_related("message").order_by("id"):
        adopt(recipient)


def take_reference(recipient: Recipient, provider_ref: str) -> None:
    """Write down the provider's id (the caller saves) and let inbound paths find the tenant by it."""
    recipient.provider_ref = provider_ref
    publish_references([recipient])


def publish_references(recipients: Sequence[Recipient]) -> None:
    """Let inbound paths find the tenant by the provider's ids of these recipients."""
    ExternalReference.unscoped.bulk_create(
        [
            ExternalReference(
                tenant_id=each.tenant_id,
                provider=each.message.provider,
                kind="message",
                external_id=each.provider_ref,
                config_id=each.message.config_id,
                object_type="message",
                object_id=each.message_id,
            )
            for each in recipients
        ],
        ignore_conflicts=True,
    )


def note_of(recipient: Recipient) -> str:
    """Return the note that goes along to providers that echo one: their reports then find the recipient whatever happened to
    the answer that told us their id."""
    return f"r{recipient.pk}"


def _noted(event: MessageReported) -> Recipient | None:
    """Return the (locked) recipient whose note a trusted report brings back, with the provider's id taken over from it."""
    number = event.ref.removeprefix("r")
    if event.trust is Trust.HINT or not event.ref.startswith("r") or not number.isdecimal() or len(number) > 18:
        return None
    rows = Recipient.unscoped.filter(tenant_id=event.tenant_id, pk=int(number))
    rows = rows.filter(_of_account("message__", event.provider, event.config_id))
    found: Recipient | None = rows.select_for_update(of=("self",)).select_related("message").first()
    if found is None:
        return None
    if found.message.channel == Channel.EMAIL:
        return found  # a bounce comes from wherever the mail was forwarded to, and names what it likes: only the note is proof
    if found.address != event.address or found.provider_ref not in ("", event.provider_ref):
        return None
    if not found.provider_ref and event.provider_ref:
        take_reference(found, event.provider_ref)
        found.save()
    return found


def _contradicted(event: MessageReported) -> bool:
    """Tell whether a report brings a note of ours back that is not that of the recipient whom it names otherwise."""
    return event.ref.startswith("r") and event.ref.removeprefix("r").isdecimal()


def _known(event: MessageReported) -> Recipient | None:
    rows = Recipient.unscoped.filter(
        tenant_id=event.tenant_id,
        provider_ref=event.provider_ref,
        address__iexact=event.address,
        message__provider=event.provider,
    )
    if event.config_id is not None:
        rows = rows.filter(message__config_id=event.config_id)
    found: Recipient | None = rows.select_for_update(of=("self",)).select_related("message").order_by("id").first()
    return found


def _adopter(event: MessageReported) -> Recipient | None:
    """Return the one recipient that this report with a new id can only be about: same account and number, sent in the last
    24 hours, its answer lost, and no other message to that number on its way. Else nobody can tell, and the report is kept."""
    waiting = Recipient.unscoped.filter(
        tenant_id=event.tenant_id,
        address=event.address,
        state=MessageState.UNKNOWN,
        provider_ref="",
        updated__gte=clock.now() - ADOPTION_WINDOW,
    ).filter(_of_account("message__", event.provider, event.config_id))
    candidates = list(waiting.select_for_update(of=("self",)).select_related("message")[:2])
    if len(candidates) != 1 or _rivals(candidates[0]).exists():
        return None
    take_reference(candidates[0], event.provider_ref)
    candidates[0].save()
    return candidates[0]


def _rivals(recipient: Recipient) -> QuerySet[Recipient]:
    """Return others who might be meant by a report with a new id for this account and number."""
    now = clock.now()
    same = Recipient.unscoped.filter(
        tenant_id=recipient.tenant_id,
        address=recipient.address,
        provider_ref="",
    ).exclude(pk=recipient.pk)
    same = same.filter(_of_account("message__", recipient.message.provider, recipient.message.config_id))
    doubtful = Q(state=MessageState.UNKNOWN, updated__gte=now - ADOPTION_WINDOW)
    due = Q(message__send_at__isnull=True) | Q(message__send_at__lte=now)
    return same.filter(doubtful | (Q(state=MessageState.QUEUED) & due))


def _kept(recipient: Recipient, since: datetime) -> QuerySet[UnmatchedReport]:
    return (
        UnmatchedReport.unscoped.select_for_update()
        .filter(
            tenant_id=recipient.tenant_id,
            address=recipient.address,
            matched_at__isnull=True,
            created__gte=since,
        )
        .filter(_of_account("", recipient.message.provider, recipient.message.config_id))
    )


def _of_account(prefix: str, provider: str, config_id: int | None) -> Q:
    return Q(**{f"{prefix}provider": provider, f"{prefix}config_id": config_id})


def _use(row: UnmatchedReport, recipient: Recipient) -> None:
    kept = Report.of_payload(row.payload)
    # It came before we had written that the text was sent; the story is told in the order in which things happened.
    apply(recipient, replace(kept, at=max(kept.at, recipient.updated)))
    row.matched_at = clock.now()
    row.save()
