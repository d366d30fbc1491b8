"""`manage.py reconcile_payments`: hold the gateways' books against the ledger."""

from __future__ import annotations

import time as system
from argparse import ArgumentParser
from collections.abc import Iterator
from datetime import date, datetime, time
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django_scopes import scope

from integrations.contracts import clock
from integrations.contracts.capabilities import Capability
from integrations.contracts.errors import ProviderError
from integrations.contracts.money import Money
from integrations.models import Config, QueueItem, QueueState, Tenant
from integrations.registry import providers_of
from integrations.runtime.worker import claim_and_run
from integrations.secrets import SecretUnreadable
from payments.models import ReconciliationLine, ReconciliationRun, RunStatus
from payments.reconciliation import DIFFERENCES, count_kinds, differences, in_words, totals, yesterday
from payments.reconciliation_steps import REFERENCE
from payments.services.reconcile import start_reconciliation

PATIENCE = 3600.0
"""Seconds for which `--wait` waits for one run, whose steps may be put off or in another process's hands."""
HEADERS = ("currency", "charged", "refunded", "disputed", "fees", "net")


class Command(BaseCommand):
    """Without `--wait` the runs are only planned, and the workers do them. Exit code 1 where a run failed, could not be started
    or found differences."""

    help = "Hold the gateways' own books against the ledger: by default yesterday's, of every active payment config."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--tenant", metavar="SLUG", help="only this tenant's configs")
        parser.add_argument("--config", type=int, metavar="ID", help="only this config, active or not")
        parser.add_argument("--provider", metavar="SLUG", help="only configs of this provider")
        parser.add_argument("--since", metavar="D", help="first day, or moment, in the tenant's time zone (ISO 8601)")
        parser.add_argument("--until", metavar="D", help="the day, or moment, before which it ends (ISO 8601)")
        parser.add_argument("--wait", action="store_true", help="do the work in this process, then print what came of it")

    def handle(self, *args: Any, **options: Any) -> None:
        configs = _configs(options)
        if not configs:
            raise CommandError("No payment config fits.")
        runs, trouble = [], 0
        for config in configs:
            since, until = _window(config.tenant, options)
            with scope(tenant=config.tenant):
                try:
                    runs.append(start_reconciliation(config=config, since=since, until=until, actor="command"))
                except (ProviderError, SecretUnreadable) as error:
                    trouble += 1
                    self.stderr.write(f"{config.tenant.slug}, config {config.pk} ({config.provider_id}): {error}")
        for run in runs:
            with scope(tenant=run.tenant):
                if options["wait"]:
                    _work_off(run)
                    run.refresh_from_db()
                trouble += self._show(run)
        if trouble:
            raise CommandError(f"{trouble} of {len(configs)} reconciliations need attention.")

    def _show(self, run: ReconciliationRun) -> bool:
        """Print the run; return whether it needs attention."""
        zone = run.tenant.zone
        window = f"{run.since.astimezone(zone):%Y-%m-%d %H:%M} to {run.until.astimezone(zone):%Y-%m-%d %H:%M %Z}"
        self.stdout.write(f"{run.tenant.slug}, config {run.config_id} ({run.provider}), {window}: run {run.pk} {run.status}")
        if run.status == RunStatus.RUNNING:
            return False
        self.stdout.write(f"  {run.detail if run.status == RunStatus.FAILED else in_words(count_kinds(run))}")
        rows = [HEADERS, *_rows(run)]
        widths = [max(len(row[number]) for row in rows) for number in range(len(HEADERS))]
        for row in rows if len(rows) > 1 else ():
            cells = [row[0].ljust(widths[0])] + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
            self.stdout.write("  " + "  ".join(cells))
        for line in differences(run).order_by("pk"):
            self.stdout.write(f"  {_one_line(line)}")
        return run.status == RunStatus.FAILED or any(kind.value in count_kinds(run) for kind in DIFFERENCES)


def _configs(options: dict[str, Any]) -> list[Config]:
    slugs = [provider.slug for provider in providers_of(Capability.PAYMENT.value)]
    found = Config.unscoped.filter(provider_id__in=slugs, tenant__is_active=True).select_related("tenant")
    if options["config"] is not None:
        found = found.filter(pk=options["config"])
    else:
        found = found.filter(is_active=True, provider__enabled=True)
    if options["tenant"]:
        if not Tenant.objects.filter(slug=options["tenant"]).exists():
            raise CommandError(f"There is no tenant {options['tenant']!r}.")
        found = found.filter(tenant__slug=options["tenant"])
    if options["provider"]:
        found = found.filter(provider_id=options["provider"])
    return list(found.order_by("tenant__slug", "pk"))


def _window(tenant: Tenant, options: dict[str, Any]) -> tuple[datetime, datetime]:
    since, until = yesterday(tenant)
    if options["since"]:
        since = _moment(tenant, "--since", options["since"])
        until = until if since < until else clock.now()
    if options["until"]:
        until = _moment(tenant, "--until", options["until"])
    return since, until


def _moment(tenant: Tenant, option: str, text: str) -> datetime:
    zone = tenant.zone
    try:
        found = datetime.combine(date.fromisoformat(text), time.min) if len(text) == 10 else datetime.fromisoformat(text)
    except ValueError as error:
        raise CommandError(f"{option}: {text!r} is no date or time; write 2026-11-20 or 2026-11-20T18:00.") from error
    return found if found.tzinfo is not None else found.replace(tzinfo=zone)


def _work_off(run: ReconciliationRun) -> None:
    """Do the run's steps as they become due; those that a worker has taken are waited for."""
    deadline = system.monotonic() + PATIENCE
    while system.monotonic() < deadline:
        steps = list(_steps(run))
        if not steps:
            return
        due = [step for step in steps if step.state == QueueState.PENDING and step.due_at <= clock.now()]
        for step in due:
            claim_and_run(step)
        if not due:
            system.sleep(0.2)


def _steps(run: ReconciliationRun) -> Iterator[QueueItem]:
    waits = QueueItem.unscoped.filter(tenant_id=run.tenant_id, reference_type=REFERENCE, reference_id=str(run.pk))
    yield from waits.filter(state__in=[QueueState.PENDING, QueueState.PROCESSING]).order_by("pk")


def _rows(run: ReconciliationRun) -> Iterator[tuple[str, ...]]:
    for each in totals(run):
        amounts = (each.charged, each.refunded, each.disputed, each.fees, each.net)
        yield (
            each.currency,
            *("-" if amount is None else f"{Money(amount, each.currency).to_decimal():,}" for amount in amounts),
        )


def _one_line(line: ReconciliationLine) -> str:
    amounts = [
        f"{where} {Money(amount, line.currency)}"
        for where, amount in (("gateway", line.gateway_amount), ("ledger", line.ledger_amount))
        if amount is not None
    ]
    about = f" {line.payment_id}" if line.payment_id else ""
    said = f"{line.kind} {line.transaction_kind} {line.provider_ref}{about}: {', '.join(amounts)}"
    return f"{said} ({line.detail})" if line.detail else said
