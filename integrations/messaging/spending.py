"""What messages cost: what is expected before, what was charged after, and the tenant's cap on both."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.db import connection
from django.db.models import F, Sum
from django.db.models.functions import Coalesce

from integrations.contracts import clock
from integrations.contracts.errors import ProviderError
from integrations.contracts.messaging import MessageState
from integrations.messaging.models import Message, Recipient, SendingPolicy
from integrations.models import Tenant

UNSENT = (MessageState.FAILED, MessageState.CANCELLED, MessageState.EXPIRED)


class SpendCapReached(ProviderError):
    """The tenant's own cap on what a channel may cost in a period would be passed. Nothing was accepted."""

    code = "spend_cap_reached"
    status_code = 402


@dataclass(frozen=True, slots=True)
class Estimate:
    """The expected price of one recipient and of all, in major units of `currency`; None where nobody told a price."""

    each: Decimal | None
    total: Decimal | None
    currency: str


def policy_of(tenant_id: int, channel: str) -> SendingPolicy | None:
    """Return the tenant's rules for the channel."""
    found: SendingPolicy | None = SendingPolicy.unscoped.filter(tenant_id=tenant_id, channel=channel).first()
    return found


def estimate(policy: SendingPolicy | None, *, segments: int, recipients: int) -> Estimate:
    """Return what so many messages of so many parts are expected to cost; one part for channels that count none."""
    if policy is None or policy.unit_cost is None:
        return Estimate(None, None, "")
    each = policy.unit_cost * max(1, segments)
    return Estimate(each, each * recipients, policy.currency)


def spent(tenant: Tenant, policy: SendingPolicy, at: datetime) -> Decimal:
    """Return what the channel has cost in the tenant's current day or month: what was charged, or else what was expected."""
    own = Recipient.unscoped.filter(
        tenant=tenant,
        message__channel=policy.channel,
        message__created__gte=_period_start(tenant, policy, at),
        message__recipient_list__isnull=True,
    )
    # Of a message to a list all rows count from the start: its recipients are still being written down.
    lists = Message.unscoped.filter(
        tenant=tenant,
        channel=policy.channel,
        created__gte=_period_start(tenant, policy, at),
        recipient_list__isnull=False,
        cancelled_at__isnull=True,
        currency=policy.currency,
    )
    charged = Coalesce(F("cost"), F("message__unit_cost"))
    billed = own.exclude(state__in=UNSENT).filter(message__currency__in=["", policy.currency])
    total = billed.aggregate(total=Sum(charged))["total"] or Decimal(0)
    listed = lists.aggregate(total=Sum(F("unit_cost") * F("expected")))["total"] or Decimal(0)
    return Decimal(total) + Decimal(listed)


def reserve(tenant: Tenant, policy: SendingPolicy | None, expected: Estimate) -> None:
    """Refuse what would pass the cap; raise `SpendCapReached` saying what is left. Holds a lock until the transaction ends, so
    that two calls at once can't both have the last shilling."""
    if policy is None or policy.spend_cap is None or expected.total is None:
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"spending:{tenant.pk}:{policy.channel}"])
    left = policy.spend_cap - spent(tenant, policy, clock.now())
    if expected.total > left:
        raise SpendCapReached(
            f"This would cost about {policy.currency} {expected.total:.2f}; {policy.currency} {max(left, Decimal(0)):.2f} "
            f"of the {policy.get_spend_period_display().lower()}'s {policy.spend_cap:.2f} is left.",
            attr="to",
        )


def _period_start(tenant: Tenant, policy: SendingPolicy, at: datetime) -> datetime:
    day = at.astimezone(tenant.zone).replace(hour=0, minute=0, second=0, microsecond=0)
    return day if policy.spend_period == SendingPolicy.Period.DAY else day.replace(day=1)
