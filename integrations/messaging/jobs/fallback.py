"""The queue's jobs that take another way: for those who failed, and for those of whom no receipt came in time."""

from __future__ import annotations

from datetime import timedelta

from integrations.contracts import clock
from integrations.contracts.messaging import MessageState
from integrations.messaging.fallback.continuing import go_on
from integrations.messaging.fallback.fallback import FAILURES, GO_ON_KIND, RECEIPTS_KIND
from integrations.messaging.fallback.ways import policy_for, ways_of
from integrations.messaging.models import Message, Recipient
from integrations.messaging.standing import standing_of
from integrations.models import QueueItem, QueueState
from integrations.runtime.jobs import LocalJob
from integrations.runtime.queue import enqueue

TOGETHER = 1000
"""The most recipients that go on in one run."""
PAUSE_LOOK = timedelta(minutes=15)
"""When the job looks again at a message that is paused."""


class GoOnJob(LocalJob):
    """Takes the next way for recipients who have failed. Run twice, or two at once, it finds them gone already."""

    kind = GO_ON_KIND
    lease_seconds = 180.0

    def run(self, item: QueueItem) -> None:
        message = _locked(item)
        if standing_of(message).paused:
            _look_again(item)
            return
        numbers = set(item.payload["recipients"]) | _gathered(item)
        go_on(message, _waiting(message, numbers, FAILURES))


class ReceiptsJob(LocalJob):
    """Takes the next way for recipients whose message the provider took some minutes ago, and nothing was heard since. The
    message stays `sent`: it may still arrive."""

    kind = RECEIPTS_KIND
    lease_seconds = 180.0

    def run(self, item: QueueItem) -> None:
        message = _locked(item)
        if standing_of(message).paused:
            _look_again(item)
            return
        ways = ways_of(message)
        policy = policy_for(ways.chain[-1]) if ways is not None else None
        if policy is None or policy.after_minutes is None:
            return
        silent = _waiting(message, set(item.payload["recipients"]), {MessageState.SENT.value})
        minutes = "1 minute" if policy.after_minutes == 1 else f"{policy.after_minutes} minutes"
        go_on(message, [each for each in silent if each.opened_at is None], why=f"no receipt in {minutes}")


def _locked(item: QueueItem) -> Message:
    """Return the message, held against other runs for it; no key of it changes, so that others may refer to it."""
    rows = Message.unscoped.filter(tenant_id=item.tenant_id).select_for_update(no_key=True, of=("self",))
    found: Message = rows.select_related("tenant").get(pk=item.payload["message"])
    return found


def _waiting(message: Message, numbers: set[int], states: set[str] | frozenset[str]) -> list[Recipient]:
    """Return those (locked) who are in such a state and have not gone on already."""
    rows = Recipient.unscoped.filter(message=message, pk__in=numbers, state__in=states, continued_by__isnull=True)
    return list(rows.select_for_update(of=("self",)).order_by("id"))


def _gathered(item: QueueItem) -> set[int]:
    """Take over what other items of this message wait with: failures that came one by one go on together. Those that are
    claimed already wait for the message, which is ours, and then find nobody left."""
    others = QueueItem.unscoped.filter(
        tenant_id=item.tenant_id, kind=item.kind, reference_type="message", reference_id=item.reference_id
    ).exclude(pk=item.pk)
    found: set[int] = set()
    for payload in others.filter(state=QueueState.PROCESSING).values_list("payload", flat=True)[:TOGETHER]:
        found |= set(payload["recipients"])
    for other in others.filter(state=QueueState.PENDING).select_for_update(skip_locked=True).order_by("id"):
        if len(found) >= TOGETHER:
            break
        found |= set(other.payload["recipients"])
        other.state, other.finished_at = QueueState.COMPLETED, clock.now()
        other.save(update_fields=["state", "finished_at"])
    return found


def _look_again(item: QueueItem) -> None:
    enqueue(
        tenant_id=item.tenant_id,
        kind=item.kind,
        payload=item.payload,
        reference=(item.reference_type, item.reference_id),
        due_at=clock.now() + PAUSE_LOOK,
        priority=item.priority,
    )
