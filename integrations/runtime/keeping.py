"""How long what the core records is kept: each tenant's own word, or the installation's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction

from integrations.contracts import clock
from integrations.contracts.errors import InvalidRequest
from integrations.models import LogRetention, Tenant
from integrations.tenancy import audit

LONGEST_DAYS = 3650
FOR_GOOD = 0
SHORTEST_DAYS = {"queue_days": 7, "failed_queue_days": 7, "message_days": 32}
"""Of others a day is enough. What the queue did is asked for while an object is young, and whether a notice was sent; what a
channel has cost is the sum of the messages of up to a month."""
MAY_BE_FOR_GOOD = ("message_days",)
FIELDS = ("call_log_days", "failed_call_log_days", "queue_days", "failed_queue_days", "receipt_days", "message_days")
_SETTINGS = {
    "call_log_days": "LOG_RETENTION_DAYS",
    "failed_call_log_days": "FAILED_LOG_RETENTION_DAYS",
    "queue_days": "QUEUE_RETENTION_DAYS",
    "failed_queue_days": "FAILED_QUEUE_RETENTION_DAYS",
    "receipt_days": "RECEIPT_RETENTION_DAYS",
    "message_days": "MESSAGE_RETENTION_DAYS",
}
_PAIRS = (("call_log_days", "failed_call_log_days"), ("queue_days", "failed_queue_days"))


@dataclass(frozen=True, slots=True)
class Kept:
    """Days: the tenant's own, or the installation's; `FOR_GOOD` of messages that are never deleted. What failed is never kept
    shorter than what did not, and nothing shorter than `SHORTEST_DAYS`."""

    call_log_days: int
    failed_call_log_days: int
    queue_days: int
    failed_queue_days: int
    receipt_days: int
    message_days: int


def kept_by(policy: LogRetention | None) -> Kept:
    """Return what holds under a policy; for None what the settings say."""
    days: dict[str, int] = {}
    for name in FIELDS:
        own: int | None = getattr(policy, name, None)
        days[name] = int(getattr(settings, _SETTINGS[name])) if own is None else own
        if name not in MAY_BE_FOR_GOOD or days[name] != FOR_GOOD:
            days[name] = max(days[name], shortest(name))
    for plain, failed in _PAIRS:
        days[failed] = max(days[plain], days[failed])
    return Kept(**days)


def shortest(name: str) -> int:
    """Return how many days the rows of a field are kept at least."""
    return SHORTEST_DAYS.get(name, 1)


def kept_by_all() -> Iterator[tuple[int, Kept]]:
    """Yield (tenant id, what holds for it) for every tenant, by id: each is walked by an index that begins with the tenant."""
    policies = {policy.tenant_id: policy for policy in LogRetention.unscoped.all()}
    for tenant_id in Tenant.objects.order_by("pk").values_list("pk", flat=True):
        yield tenant_id, kept_by(policies.get(tenant_id))


def policy_of(tenant: Tenant) -> LogRetention:
    """Return the tenant's policy, one that is not stored and says nothing where there is none. Inside the tenant's scope."""
    return LogRetention.objects.first() or LogRetention(tenant=tenant)


def save_policy(*, tenant: Tenant, values: Mapping[str, int | None]) -> LogRetention:
    """Store the whole policy, in days (messages: 0 for good); None, or what is left out, means the installation's setting.
    Raises `InvalidRequest`, with nothing changed, where what failed would be kept shorter than what did not, or a number of
    days is out of range."""
    for name in FIELDS:
        days = values.get(name)
        for_good = days == FOR_GOOD and name in MAY_BE_FOR_GOOD
        if days is not None and not for_good and not shortest(name) <= days <= LONGEST_DAYS:
            more = ", or 0: for good" if name in MAY_BE_FOR_GOOD else ""
            raise InvalidRequest(f"Write a number of days from {shortest(name)} to {LONGEST_DAYS}{more}.", attr=name)
    with transaction.atomic():
        # One row of each tenant is locked, so that two who save at once do not make two.
        Tenant.objects.select_for_update(no_key=True).get(pk=tenant.pk)
        policy = policy_of(tenant)
        before = {name: getattr(policy, name) for name in FIELDS}
        for name in FIELDS:
            setattr(policy, name, values.get(name))
        kept = kept_by(policy)
        for plain, failed in _PAIRS:
            asked = getattr(policy, failed)
            if asked is not None and asked < getattr(kept, plain):
                raise InvalidRequest(
                    f"What failed can't be kept shorter than what did not: {getattr(kept, plain)} days.", attr=failed
                )
        policy.save()
        _record(policy, before, {name: getattr(policy, name) for name in FIELDS}, "log_retention.updated")
    return policy


def delete_policy(policy: LogRetention) -> None:
    """Forget the tenant's policy: what the settings say holds again."""
    with transaction.atomic():
        before = {name: getattr(policy, name) for name in FIELDS}
        _record(policy, before, dict.fromkeys(FIELDS), "log_retention.deleted")
        policy.delete()


def days_ago(days: int) -> datetime:
    """Return the moment before which something kept for so many days goes. Raises `ValueError` for what is kept for good."""
    if days <= FOR_GOOD:
        raise ValueError("what is kept for good never goes")
    return clock.now() - timedelta(days=days)


def _record(policy: LogRetention, before: Mapping[str, Any], after: Mapping[str, Any], action: str) -> None:
    if changed := audit.differences(before, after):
        audit.record(
            tenant_id=policy.tenant_id, action=action, object_type="log_retention", object_id=str(policy.pk), changes=changed
        )
