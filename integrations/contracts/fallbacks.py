"""What becomes of a call that its provider can't take now: each capability names it, tests hold it, the console shows it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from integrations.contracts.capabilities import Capability


class Way(StrEnum):
    """What is done in place of a call that an open circuit refuses."""

    NEXT_PROVIDER = "next_provider"
    OTHER_CHANNEL = "other_channel"
    QUEUE = "queue"
    ERROR = "error"


WORDS = {
    Way.NEXT_PROVIDER: "the next provider",
    Way.OTHER_CHANNEL: "another channel",
    Way.QUEUE: "queued until the provider is back",
    Way.ERROR: "an error that says when to ask again (503, `Retry-After`)",
}


@dataclass(frozen=True, slots=True)
class Fallback:
    """The ways of one capability, the first that is open to the tenant first.

    `changing`: for calls with an effect, of which none is made twice, and none where its outcome is unknown. `asking`: for
    calls that only ask. `chosen_by`: where a tenant says which next provider or channel; empty where there is none to choose.
    """

    capability: Capability
    changing: tuple[Way, ...]
    asking: tuple[Way, ...] = (Way.ERROR,)
    chosen_by: str = ""


_POLICIES = "fallback policies of the channel"

FALLBACKS = {
    each.capability: each
    for each in (
        # Queued for as long as the payment is valid, then failed: nobody is asked at midnight for yesterday's click.
        Fallback(Capability.PAYMENT, (Way.NEXT_PROVIDER, Way.QUEUE, Way.ERROR), chosen_by="routing rules"),
        Fallback(Capability.SMS, (Way.NEXT_PROVIDER, Way.OTHER_CHANNEL, Way.QUEUE), chosen_by=_POLICIES),
        Fallback(Capability.EMAIL, (Way.NEXT_PROVIDER, Way.OTHER_CHANNEL, Way.QUEUE), chosen_by=_POLICIES),
        # A device's token means something to its own push service alone, and tells no other address of its owner.
        Fallback(Capability.PUSH, (Way.QUEUE,)),
        Fallback(Capability.WHATSAPP, (Way.NEXT_PROVIDER, Way.OTHER_CHANNEL, Way.QUEUE), chosen_by=_POLICIES),
        # What is stored, ordered or written at one service is of no use at another.
        Fallback(Capability.STORAGE, (Way.QUEUE,)),
        Fallback(Capability.LMS, (Way.QUEUE,)),
        Fallback(Capability.LAB, (Way.QUEUE,)),
        Fallback(Capability.COMMERCE, (Way.QUEUE,)),
        Fallback(Capability.CALENDAR, (Way.QUEUE,)),
        Fallback(Capability.CRM, (Way.QUEUE,)),
    )
}


def in_words(ways: tuple[Way, ...]) -> str:
    """Return `the next provider; else queued until the provider is back`."""
    return "; else ".join(WORDS[way] for way in ways)
