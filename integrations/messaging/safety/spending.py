"""What messages cost: what is expected before, what was charged after, and the tenant's cap on both."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_UP, Decimal

from django.db import connection
from django.db.models import Case, DecimalField, F, Q, Sum, Value, When

from integrations.contracts import clock
from integrations.contracts.errors import ProviderError
from integrations.contracts.messaging import MessageState
from integrations.messaging.models import Message, Recipient, SendingPolicy
from integrations.models import Tenant

UNSENT = (MessageState.FAILED, MessageState.CANCELLED, MessageState.EXPIRED)
AMOUNT = DecimalField(max_digits=24, decimal_places=6)
MICRO = Decimal("0.000001")
UNPRICED_AT_ONCE = 100
"""Recipients of one call or list that are accepted under a cap while nobody has told any price."""
PRICES_HOLD = timedelta(days=90)
"""How long ago a charge may be for the next one to be guessed from it."""


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
    recipients: int = 0


def policy_of(tenant_id: int, channel: str) -> SendingPolicy | None:
    """Return the tenant's rules for the channel."""
    found: SendingPolicy | None = SendingPolicy.unscoped.filter(tenant_id=tenant_id, channel=channel).first()
    return found


def estimate(policy: SendingPolicy | None, *, segments: int, recipients: int) -> Estimate:
    """Return what so many messages of so many parts are expected to cost; one part for channels that count none. Where there
    is a cap and no price (rows from before a cap needed one), the price is what was last charged for a part."""
    if policy is None:
        return Estimate(None, None, "", recipients)
    price = policy.unit_cost
    if price is None and policy.spend_cap is not None:
        price = _last_charged(policy)
    if price is None:
        return Estimate(None, None, "", recipients)
    each = (price * max(1, segments)).quantize(MICRO, ROUND_UP)
    return Estimate(each, each * recipients, policy.currency, recipients)


def amount_data(amount: Decimal | None, currency: str) -> dict[str, str] | None:
    """Return an amount as the API shows it: decimal text in major units."""
    return None if amount is None else {"value": f"{amount.normalize():f}", "currency": currency}


def spent(tenant: Tenant, policy: SendingPolicy, at: datetime) -> Decimal:
    """Return what the channel has cost in the tenant's current day or month: what was charged, or else what was expected, of
    the messages accepted in it. What has failed or was called off counts only with what the provider charged all the same;
    what was charged in another currency than the policy's counts as expected."""
    since = _period_start(tenant, policy, at)
    # While a list's rows become recipients, all of them count from the start.
    preparing = Q(recipient_list__isnull=False, prepared_at__isnull=True, cancelled_at__isnull=True)
    lists = Message.unscoped.filter(
        preparing, tenant=tenant, channel=policy.channel, created__gte=since, currency=policy.currency
    )
    people = Recipient.unscoped.filter(tenant=tenant, message__channel=policy.channel, message__created__gte=since).exclude(
        message__in=Message.unscoped.filter(preparing, tenant=tenant)
    )
    expected = Case(
        When(state__in=UNSENT, then=Value(Decimal(0))),
        When(message__currency=policy.currency, then=F("message__unit_cost")),
        default=Value(Decimal(0)),
        output_field=AMOUNT,
    )
    price = Case(When(currency=policy.currency, cost__isnull=False, then=F("cost")), default=expected, output_field=AMOUNT)
    total = people.aggregate(total=Sum(price))["total"] or Decimal(0)
    listed = lists.aggregate(total=Sum(F("unit_cost") * F("expected"), output_field=AMOUNT))["total"] or Decimal(0)
    return Decimal(total) + Decimal(listed)


def left(tenant: Tenant, policy: SendingPolicy | None) -> Decimal | None:
    """Return what is left of the cap in the current period, never below nothing; None where there is no cap."""
    if policy is None or policy.spend_cap is None:
        return None
    return max(policy.spend_cap - spent(tenant, policy, clock.now()), Decimal(0))


def reserve(tenant: Tenant, policy: SendingPolicy | None, expected: Estimate) -> None:
    """Refuse what would pass the cap; raise `SpendCapReached` saying what is left. Holds a lock until the transaction ends, so
    that two calls at once can't both have the last shilling.

    Where nobody told a price and nothing has been charged yet, only what was charged counts, and that comes afterwards: no more
    than `UNPRICED_AT_ONCE` recipients are accepted at once then, so that one list can't pass a cap many times over.
    """
    if policy is None or policy.spend_cap is None:
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"spending:{tenant.pk}:{policy.channel}"])
    rest = left(tenant, policy) or Decimal(0)
    period = f"the {policy.get_spend_period_display().lower()}'s {policy.spend_cap:.2f}"
    if expected.total is None and expected.recipients > UNPRICED_AT_ONCE:
        raise SpendCapReached(
            f"There is a cap of {policy.spend_cap:.2f} {policy.currency} and no price to count with: an admin has to enter the "
            f"expected price. Until then no more than {UNPRICED_AT_ONCE} recipients are accepted at once.",
            attr="to",
        )
    if expected.total is None and rest == 0:
        raise SpendCapReached(f"Nothing of {period} {policy.currency} is left.", attr="to")
    if expected.total is not None and expected.total > rest:
        raise SpendCapReached(
            f"This would cost about {policy.currency} {expected.total:.2f}; {policy.currency} {rest:.2f} of {period} is left.",
            attr="to",
        )


def _last_charged(policy: SendingPolicy) -> Decimal | None:
    """Return what was last charged for one part (or message) on the policy's channel, in its currency."""
    charged = Recipient.unscoped.filter(
        tenant_id=policy.tenant_id,
        message__channel=policy.channel,
        message__created__gte=clock.now() - PRICES_HOLD,
        currency=policy.currency,
        cost__gt=0,
    )
    last = charged.order_by("-pk").values_list("cost", "message__segments").first()
    return None if last is None else Decimal(last[0]) / max(1, last[1])


def _period_start(tenant: Tenant, policy: SendingPolicy, at: datetime) -> datetime:
    day = at.astimezone(tenant.zone).replace(hour=0, minute=0, second=0, microsecond=0)
    return day if policy.spend_period == SendingPolicy.Period.DAY else day.replace(day=1)
