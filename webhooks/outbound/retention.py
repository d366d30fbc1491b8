"""How long events are kept: payloads and answers go first, then the log of what was sent, last what failed.

What is still owed to an endpoint is never touched, whatever its age. A payload that is no longer kept is empty, like one that
was erased; but only of the latter `Event.erased_at` tells when. Deliveries without a payload can't be sent again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import Count, Exists, OuterRef, Q, QuerySet
from django_scopes import scope

from integrations.contracts import clock
from integrations.contracts.errors import InvalidRequest
from integrations.models import Tenant
from integrations.runtime.alerts import raise_alert
from integrations.runtime.retention import Chore, Span, batches, delete_in_batches, run, tenants_in_turns
from integrations.tenancy import audit
from webhooks.outbound.delivery import digest, notices
from webhooks.outbound.endpoints.services import bury
from webhooks.outbound.models import (
    DeadReason,
    Delivery,
    DeliveryAttempt,
    DeliveryState,
    Endpoint,
    Event,
    PortalLink,
    Replay,
    ReplayState,
    RetentionPolicy,
)
from webhooks.outbound.publishing import sweeping

logger = structlog.get_logger(__name__)

LINKS_KEPT = timedelta(days=7)
"""After a portal link has expired."""
BATCH = 500
FIELDS = ("payload_days", "log_days", "failed_days", "dead_letter_alarm")
_OWED = (DeliveryState.PENDING, DeliveryState.GATHERING, DeliveryState.HELD, DeliveryState.BATCHED)


@dataclass(frozen=True, slots=True)
class Kept:
    """Days, and the number of dead letters above which an alert is raised: the tenant's own, or the installation's."""

    payload_days: int
    log_days: int
    failed_days: int
    dead_letter_alarm: int


def kept_by(policy: RetentionPolicy | None) -> Kept:
    """Return what holds under a policy; for None what the settings say."""
    values = {name: getattr(policy, name, None) for name in FIELDS}
    defaults = {name: getattr(settings, f"WEBHOOK_{name.upper()}") for name in FIELDS}
    return Kept(**{name: defaults[name] if value is None else value for name, value in values.items()})


def policy_of(tenant: Tenant) -> RetentionPolicy:
    """Return the tenant's policy, one that is not stored and says nothing where there is none. Inside the tenant's scope."""
    return RetentionPolicy.objects.first() or RetentionPolicy(tenant=tenant)


def save_policy(*, tenant: Tenant, values: Mapping[str, Any]) -> RetentionPolicy:
    """Store the whole policy; None, or what is left out, means the installation's setting. Raises `InvalidRequest` where
    something would be kept longer than what it is part of."""
    with transaction.atomic():
        # One row of each tenant is locked, so that two who save at once do not make two.
        Tenant.objects.select_for_update(no_key=True).get(pk=tenant.pk)
        policy = policy_of(tenant)
        before = {name: getattr(policy, name) for name in FIELDS}
        for name in FIELDS:
            setattr(policy, name, values.get(name))
        kept = kept_by(policy)
        if kept.payload_days > kept.log_days:
            raise InvalidRequest(f"Payloads can't outlive the log, which is kept {kept.log_days} days.", attr="payload_days")
        if kept.log_days > kept.failed_days:
            raise InvalidRequest(f"What failed is kept {kept.failed_days} days; the log can't outlive it.", attr="log_days")
        policy.updated = clock.now()
        policy.save()
        if changed := audit.differences(before, {name: getattr(policy, name) for name in FIELDS}):
            audit.record(
                tenant_id=tenant.pk,
                action="retention.updated",
                object_type="webhook_retention",
                object_id=str(policy.pk),
                changes=changed,
            )
    return policy


def go_on() -> dict[str, int]:
    """The same as `purge`, but for what the daily run alone looks through every delivery for. Called hourly by a schedule, and
    again while something is left."""
    return purge(thoroughly=False)


def purge(*, thoroughly: bool = True) -> dict[str, int]:
    """Let go of what is older than each tenant's policy says; return how many of each. Called daily by a schedule; in small
    batches and for a bounded time, after which `go_on` does; several at once are harmless.

    Payloads, headers and answers are blanked after `payload_days`; events with their deliveries and attempts are deleted after
    `log_days`. Where a delivery failed, both wait until `failed_days` after it did: until then it can be sent again. The
    payload does not wait for what was discarded, or for an endpoint that was deleted. What an endpoint that is off was owed for
    `failed_days` is dead.
    """
    span = Span()
    # First of all: what an endpoint that is on is owed is sent, not given up.
    tidied = sweeping.tidy(thoroughly=thoroughly)
    logger.info("tidied_webhooks", **tidied)
    policies = {policy.tenant_id: policy for policy in RetentionPolicy.unscoped.all()}
    everyone = list(Tenant.objects.order_by("pk").values_list("pk", flat=True))
    now = clock.now()

    def each(work: Callable[[Q, _Before, Span], int]) -> Chore:
        # Tenant after tenant: the indexes by time begin with it, so that one who keeps much costs the others nothing.
        def one(tenant_id: int, part: Span) -> int:
            return work(Q(tenant_id=tenant_id), _Before.of(kept_by(policies.get(tenant_id)), now), part)

        return lambda whole: tenants_in_turns(everyone, one, whole)

    chores: dict[str, Chore] = {
        "held": each(lambda whose, before, part: _end_held(whose, before.failed, part)),
        "payloads": each(lambda whose, before, part: _blank(whose, before.payload, before.failed, part)),
        "events": each(lambda whose, before, part: _delete(whose, before.log, before.failed, part)),
        "replays": each(lambda whose, before, part: delete_in_batches(_replays(whose, before.log), span=part)),
        "portal_links": lambda part: delete_in_batches(PortalLink.unscoped.filter(expires_at__lt=now - LINKS_KEPT), span=part),
    }
    # Only the hourly run is followed by itself, so that there is one at a time; the daily one leaves the rest to it.
    again = None if thoroughly else "webhooks.outbound.retention.go_on"
    return run("purged_webhooks", chores, schedule=again, span=span)


@dataclass(frozen=True, slots=True)
class _Before:
    """The moments before which a tenant's things go."""

    payload: datetime
    log: datetime
    failed: datetime

    @classmethod
    def of(cls, kept: Kept, now: datetime) -> _Before:
        return cls(*(now - timedelta(days=days) for days in (kept.payload_days, kept.log_days, kept.failed_days)))


def _replays(whose: Q, before: datetime) -> QuerySet[Replay]:
    return Replay.unscoped.filter(whose, created__lt=before).exclude(state=ReplayState.RUNNING)


def _end_held(whose: Q, before: datetime, span: Span) -> int:
    """The endpoint has been off for longer than anybody keeps what failed: nobody waits for it."""
    total = 0
    given_up: Counter[str] = Counter()
    while True:
        with transaction.atomic():
            # By way of the endpoints that are off, whose deliveries an index finds; of one that is on nothing is held for long.
            off = Endpoint.unscoped.filter(whose, is_active=False).order_by().values("pk")
            old = Delivery.unscoped.filter(endpoint__in=off, state=DeliveryState.HELD, created__lt=before)
            ids = list(old.order_by("pk").select_for_update(skip_locked=True).values_list("pk", flat=True)[:BATCH])
            if not ids:
                return total
            given_up += _still_to_arrive(ids)
            bury(Delivery.unscoped.filter(pk__in=ids), DeadReason.TOO_OLD, "held for too long: its endpoint was off")
            _tell(given_up)
        total += len(ids)
        if span.is_over():
            span.leave_off()
            return total


def _still_to_arrive(ids: list[str]) -> Counter[str]:
    """Count by endpoint what dies with these deliveries: themselves, and what goes out with them."""
    dying = Delivery.unscoped.filter(Q(pk__in=ids) | Q(carrier_id__in=ids, state=DeliveryState.BATCHED))
    dying = dying.filter(delivered_at__isnull=True).order_by()
    return Counter(dict(dying.values_list("endpoint_id").annotate(count=Count("pk"))))


def _tell(given_up: Mapping[str, int]) -> None:
    """One alert for each endpoint, however many there are; of more than a batch the last word has the whole count."""
    for endpoint in Endpoint.unscoped.filter(pk__in=list(given_up), deleted_at__isnull=True).order_by("pk"):
        with scope(tenant=Tenant(pk=endpoint.tenant_id)):
            raise_alert(
                tenant_id=endpoint.tenant_id,
                kind=notices.DEAD_ALERT,
                subject=endpoint.pk,
                message=f"The webhook endpoint {endpoint} has been off for too long: {given_up[endpoint.pk]:,} of the events"
                " kept for it were given up.",
            )
            digest.plan(endpoint.tenant_id)


def _owed_of_event() -> Exists:
    mine = Delivery.unscoped.filter(event=OuterRef("pk"))
    return Exists(mine.filter(Q(state__in=_OWED) | Q(lease_until__gt=clock.now())))


def _old(whose: Q, before: datetime) -> QuerySet[Event]:
    """Events of which nothing is owed; those whose deliveries are still to be made are owed to somebody."""
    return Event.unscoped.filter(~_owed_of_event(), whose, created__lt=before, spread_at__isnull=False)


def _blank(whose: Q, before: datetime, failed_before: datetime, span: Span) -> int:
    total = 0
    full = _old(whose, before).exclude(payload="").filter(~_failed_since(failed_before, still_wanted=True))
    for ids in batches(full, by="created", size=BATCH, span=span):
        with transaction.atomic():
            still = _locked(full, ids)  # but for those that are being sent again this moment: tomorrow, then
            Event.unscoped.filter(pk__in=still).update(payload="")
            DeliveryAttempt.unscoped.filter(delivery__event_id__in=still).update(
                request_headers={}, response_headers={}, response_head=""
            )
        total += len(still)
    return total


def _failed_since(moment: datetime, *, still_wanted: bool = False) -> Exists:
    """Whether a delivery of the event failed that late."""
    failed = Delivery.unscoped.filter(event=OuterRef("pk"), state=DeliveryState.FAILED)
    if still_wanted:
        failed = failed.filter(endpoint__deleted_at__isnull=True).exclude(
            dead_reason__in=[DeadReason.DISCARDED, DeadReason.DELETED]
        )
    # What failed before it was written down when is as old as its making.
    return Exists(failed.filter(Q(finished_at__gte=moment) | Q(finished_at__isnull=True, created__gte=moment)))


def _delete(whose: Q, before: datetime, failed_before: datetime, span: Span) -> int:
    total = 0
    gone = _old(whose, before).filter(~_failed_since(failed_before))
    for ids in batches(gone, by="created", size=BATCH, span=span):
        with transaction.atomic():
            still = _locked(gone, ids)
            Event.unscoped.filter(pk__in=still).delete()
        total += len(still)
    return total


def _locked(old: QuerySet[Event], ids: list[str]) -> list[str]:
    """Lock these events, then their deliveries, and return those that are still to go: who sends one again locks it too."""
    events = Event.unscoped.select_for_update(skip_locked=True).filter(pk__in=ids).order_by("pk")
    mine = list(events.values_list("pk", flat=True))
    list(Delivery.unscoped.select_for_update().filter(event_id__in=mine).order_by("pk").values_list("pk", flat=True))
    return list(old.filter(pk__in=mine).values_list("pk", flat=True))
