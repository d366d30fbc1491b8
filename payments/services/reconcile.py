"""Starting reconciliations, by hand or every day, and explaining the differences that they find."""

from __future__ import annotations

from datetime import datetime, timedelta

import structlog
from django.db import transaction
from django_scopes import scope

from integrations.contracts import clock
from integrations.contracts.capabilities import Capability
from integrations.contracts.errors import Conflict, InvalidRequest, ProviderError
from integrations.models import Config, QueueItem, QueueState
from integrations.registry import providers_of
from integrations.runtime.alerts import raise_alert, resolve_alert
from integrations.secrets import SecretUnreadable
from payments.gateway import features_of
from payments.models import ReconciliationLine, ReconciliationRun, RunStatus
from payments.reconciliation import differences, way_of, yesterday
from payments.reconciliation_steps import ALERT, FAILED_ALERT, REFERENCE, begin, fail

LONGEST_WINDOW = timedelta(days=93)
LONGEST_GAP = timedelta(days=31)
"""How far back the daily run reaches for days on which none was completed."""
FIRST_HOUR = 3
"""From when on, by the tenant's clocks, yesterday is reconciled: by then what happened at its end has been heard of."""
DAILY = "schedule"

logger = structlog.get_logger(__name__)


def start_reconciliation(*, config: Config, since: datetime, until: datetime, actor: str) -> ReconciliationRun:
    """Begin to hold the gateway's books from `since` to before `until` against the ledger; the queue does the work.

    Both are cut to whole seconds, which is how gateways tell time. Raises `InvalidRequest` for a window that is none, ends in
    the future or is longer than 93 days, and `Conflict` while another reconciliation of the same config runs.
    """
    if config.provider_id not in {provider.slug for provider in providers_of(Capability.PAYMENT.value)}:
        raise InvalidRequest("This config is not of a payment provider.", attr="config")
    if since.tzinfo is None or until.tzinfo is None:
        raise InvalidRequest("Say in which time zone.", attr="since")
    since, until = since.replace(microsecond=0), until.replace(microsecond=0)
    if since >= until:
        raise InvalidRequest("The window must begin before it ends.", attr="since")
    if until > clock.now():
        raise InvalidRequest("The window must not end in the future.", attr="until")
    if until - since > LONGEST_WINDOW:
        raise InvalidRequest(f"At most {LONGEST_WINDOW.days} days at once.", attr="since")
    way = way_of(features_of(config, config.provider_id))
    with transaction.atomic():
        _lock(config)
        for running in ReconciliationRun.objects.filter(
            tenant_id=config.tenant_id, config=config, status=RunStatus.RUNNING
        ).select_for_update():
            if _has_work(running):
                raise Conflict("A reconciliation of this config is running already.", attr="config")
            fail(running, "Its work was lost from the queue.")
        run = ReconciliationRun(
            tenant_id=config.tenant_id,
            config=config,
            provider=config.provider_id,
            since=since,
            until=until,
            actor=actor[:100],
            started_at=clock.now(),
        )
        run.save(force_insert=True)
        begin(run, way)
    return run


def _lock(config: Config) -> None:
    # Not the key itself: steps that are under way write rows that refer to the config.
    Config.unscoped.select_for_update(no_key=True).get(pk=config.pk, tenant_id=config.tenant_id)


def _has_work(run: ReconciliationRun) -> bool:
    waits = QueueItem.unscoped.filter(tenant_id=run.tenant_id, reference_type=REFERENCE, reference_id=str(run.pk))
    return bool(waits.filter(state__in=[QueueState.PENDING, QueueState.PROCESSING]).exists())


def reconcile_daily() -> int:
    """Start yesterday's reconciliation of every active payment config that has had none today; return how many.

    A tick: harmless to run twice, or late. Days on which no daily run was completed are taken in.
    """
    slugs = [provider.slug for provider in providers_of(Capability.PAYMENT.value)]
    configs = Config.unscoped.filter(
        is_active=True, provider_id__in=slugs, provider__enabled=True, tenant__is_active=True
    ).select_related("tenant")
    started = 0
    for config in configs.order_by("pk"):
        with scope(tenant=config.tenant):
            try:
                started += _start_daily(config)
            except Conflict:
                continue  # one that a person has started still runs; the next tick comes again
            except (ProviderError, SecretUnreadable) as error:
                logger.warning("reconciliation_not_started", config=config.pk, error=str(error))
                told = f"The daily reconciliation could not be started: {error}"
                raise_alert(tenant_id=config.tenant_id, kind=FAILED_ALERT, subject=f"config {config.pk}", message=told)
    return started


def _start_daily(config: Config) -> bool:
    since, until = yesterday(config.tenant)
    if clock.now().astimezone(config.tenant.zone).hour < FIRST_HOUR:
        return False
    with transaction.atomic():
        _lock(config)
        daily = ReconciliationRun.objects.filter(tenant_id=config.tenant_id, config=config, actor=DAILY)
        if daily.filter(until__gte=until).exists():
            return False
        last = daily.filter(status=RunStatus.COMPLETED).order_by("-until").first()
        if last is not None and last.until < since:
            since = max(last.until, until - LONGEST_GAP)
        start_reconciliation(config=config, since=since, until=until, actor=DAILY)
    return True


def resolve_line(*, line: ReconciliationLine, reason: str, actor: str) -> ReconciliationLine:
    """Write down why a difference is all right; the run's alert ends with its last unexplained one.

    Raises `InvalidRequest` without a reason, `Conflict` for a line that does not differ or is explained already.
    """
    if not reason.strip():
        raise InvalidRequest("Say why.", attr="reason")
    with transaction.atomic():
        run = ReconciliationRun.objects.select_for_update().get(pk=line.run_id, tenant_id=line.tenant_id)
        locked: ReconciliationLine = ReconciliationLine.objects.select_for_update().get(pk=line.pk, run=run)
        if not differences(run).filter(pk=locked.pk).exists():
            raise Conflict("This line does not differ.")
        if locked.resolved_at is not None:
            raise Conflict(f"Explained already by {locked.resolved_by}.")
        locked.resolved_at, locked.resolved_by = clock.now(), actor[:100]
        locked.resolution = reason.strip()[:300]
        locked.save(update_fields=["resolved_at", "resolved_by", "resolution"])
        if not differences(run).filter(resolved_at__isnull=True).exists():
            resolve_alert(tenant_id=run.tenant_id, kind=ALERT, subject=f"run {run.pk}")
    return locked
