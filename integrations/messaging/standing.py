"""Whether a message may go on: what was said of it, and of the messages in whose place it is sent."""

from __future__ import annotations

from dataclasses import dataclass

from integrations.messaging.models import Message

LONGEST_CHAIN = 20


@dataclass(frozen=True, slots=True)
class Standing:
    """`cancelled` or `paused`: by a word on the message itself, or on one that it was sent in place of."""

    cancelled: bool
    paused: bool


def standing_of(message: Message) -> Standing:
    """Return what holds for the message now, read anew: somebody may have spoken since it was loaded."""
    cancelled = paused = False
    number: str | None = message.pk
    for _ in range(LONGEST_CHAIN):
        rows = Message.unscoped.filter(pk=number, tenant_id=message.tenant_id)
        found = rows.values_list("cancelled_at", "paused_at", "step", "continues_id").first()
        if found is None:
            break
        cancelled, paused = cancelled or found[0] is not None, paused or found[1] is not None
        # One that was sent again by a person stands for itself; one that goes another way is the same message still.
        if not found[2] or found[3] is None:
            break
        number = found[3]
    return Standing(cancelled, paused)


def family_of(message: Message) -> list[Message]:
    """Return the message and those that go another way in its place, itself first."""
    found = [message]
    ids = {message.pk}
    for _ in range(LONGEST_CHAIN):
        rows = Message.unscoped.filter(tenant_id=message.tenant_id, continues_id__in=ids, step__gt=0).exclude(pk__in=ids)
        more = list(rows.select_related("tenant"))
        if not more:
            break
        found += more
        ids |= {each.pk for each in more}
    return found
