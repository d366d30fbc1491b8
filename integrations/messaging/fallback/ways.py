"""The ways that a tenant's fallback policy leaves for a message: which steps, and for which of its recipients."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from integrations.contracts import clock
from integrations.contracts.messaging import SuppressReason
from integrations.messaging.models import Channel, FallbackPolicy, FallbackStep, Message, Recipient, Suppression
from integrations.messaging.safety.screening import fold

ELSEWHERE_ONLY = frozenset(
    {
        SuppressReason.INVALID.value,
        SuppressReason.HARD_BOUNCE.value,
        SuppressReason.DEAD_TOKEN.value,
        SuppressReason.BLOCKED.value,
    }
)
"""Why an address is not written to that say nothing of its owner's wishes: he may be reached on another channel."""
NOWHERE = frozenset({"unsubscribed", "missing_data"})
"""Our own words for a failure that no other way would mend, or that its recipient asked for."""
PHONES = frozenset({Channel.SMS.value, Channel.WHATSAPP.value})


@dataclass(frozen=True, slots=True)
class Ways:
    """What is left for `chain[0]`: `chain` are the messages that it took the place of, the first one last. `steps` come after
    the one that the message itself is."""

    policy: FallbackPolicy
    chain: tuple[Message, ...]
    steps: tuple[FallbackStep, ...]

    def for_each(self, recipients: Sequence[Recipient]) -> dict[int, list[FallbackStep]]:
        """Return {recipient: his steps, in order} of those who have one."""
        message = self.chain[0]
        listed = _listed(message, recipients)
        found: dict[int, list[FallbackStep]] = {}
        for each in recipients:
            reason = listed.get(fold(message.channel, each.address))
            if _is_over(each) or (reason is not None and reason not in ELSEWHERE_ONLY):
                continue
            mine = [step for step in self.steps if self._leads(step, each, elsewhere_only=reason is not None)]
            if mine:
                found[each.pk] = mine
        return found

    def _leads(self, step: FallbackStep, recipient: Recipient, *, elsewhere_only: bool) -> bool:
        message = self.chain[0]
        if step.provider and any((step.channel, step.provider) == (each.channel, each.provider) for each in self.chain):
            return False
        if step.channel == message.channel:
            # A device's token means something to its own push service alone.
            return not elsewhere_only and step.channel != Channel.PUSH
        return bool(address_on(step.channel, message, recipient))


def ways_of(message: Message) -> Ways | None:
    """Return what is left for a message; None where there is nothing: no policy, no step, cancelled, or too late."""
    chain = [message]
    while chain[-1].step and chain[-1].continues is not None:
        chain.append(chain[-1].continues)
    root = chain[-1]
    if any(each.cancelled_at is not None for each in chain):
        return None
    if root.expires_at is not None and root.expires_at <= clock.now():
        return None
    policy = policy_for(root)
    if policy is None:
        return None
    steps = FallbackStep.unscoped.filter(policy=policy, number__gt=message.step).order_by("number")
    left = tuple(steps)
    return Ways(policy, tuple(chain), left) if left else None


def policy_for(message: Message) -> FallbackPolicy | None:
    """Return the policy of the message's own category, else the channel's; one that is switched off still comes first."""
    rows = FallbackPolicy.unscoped.filter(
        tenant_id=message.tenant_id, channel=message.channel, category__in={"", message.category}
    )
    found: FallbackPolicy | None = rows.order_by("-category").first()
    return found if found is not None and found.is_active else None


def address_on(channel: str, message: Message, recipient: Recipient) -> str:
    """Return the recipient's address on another channel as the sender gave it (push: the user); empty where nobody knows.
    A phone number is its owner's on WhatsApp too, and the other way round."""
    given = str(recipient.alternatives.get(channel) or "")
    if given or message.channel not in PHONES or channel not in PHONES:
        return given
    return recipient.address if recipient.address.startswith("+") else ""


def _is_over(recipient: Recipient) -> bool:
    return recipient.provider_status in NOWHERE or (recipient.given_up and recipient.provider_status == "cancelled")


def _listed(message: Message, recipients: Iterable[Recipient]) -> dict[str, str]:
    rows = Suppression.unscoped.filter(
        tenant_id=message.tenant_id,
        channel=message.channel,
        address__in={fold(message.channel, each.address) for each in recipients},
        released_at__isnull=True,
    )
    return dict(rows.values_list("address", "reason"))
