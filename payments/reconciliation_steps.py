"""The steps of a reconciliation: what is queued after what, and how a run ends."""

from __future__ import annotations

from integrations.contracts import clock
from integrations.runtime.alerts import raise_alert
from integrations.runtime.queue import enqueue
from payments.models import ReconciliationRun, RunStatus
from payments.reconciliation import DIFFERENCES, Way, count_kinds, in_words, next_to_ask

REFERENCE = "reconciliation"
ALERT = "reconciliation_difference"
FAILED_ALERT = "reconciliation_failed"
PAGE, ASK, CLOSE = "payment.reconcile_page", "payment.reconcile_ask", "payment.reconcile_close"


def begin(run: ReconciliationRun, way: Way) -> None:
    """Queue the first step, in the caller's transaction."""
    match way:
        case Way.LISTED:
            queue_page(run, 0, "")
        case Way.ASKED:
            queue_question(run, "")
        case Way.UNCHECKED:
            queue_close(run, way)


def queue_page(run: ReconciliationRun, number: int, cursor: str) -> None:
    """Queue the next page of the gateway's list; `number` counts them from 0."""
    _queue(run, PAGE, str(number), {"page": number, "cursor": cursor})


def queue_question(run: ReconciliationRun, after: str) -> None:
    """Queue the question about the payment that follows `after`; the end where there is none."""
    payment = next_to_ask(run, after)
    if payment is None:
        queue_close(run, Way.ASKED)
    else:
        _queue(run, ASK, payment.pk, {"payment": payment.pk})


def queue_close(run: ReconciliationRun, way: Way) -> None:
    """Queue the comparing of what no line has named, after which the run is completed."""
    _queue(run, CLOSE, "", {"way": way.value})


def _queue(run: ReconciliationRun, kind: str, key: str, payload: dict[str, str | int]) -> None:
    enqueue(
        tenant_id=run.tenant_id,
        kind=kind,
        payload={"run": run.pk, **payload},
        reference=(REFERENCE, str(run.pk)),
        key=f"{run.pk}:{key}",
        config_id=run.config_id,
        priority=7,
    )


def complete(run: ReconciliationRun) -> None:
    """End a locked run whose lines are all written; one alert tells of its differences."""
    counts = count_kinds(run)
    run.status, run.finished_at, run.detail = RunStatus.COMPLETED, clock.now(), in_words(counts)[:300]
    run.save(update_fields=["status", "finished_at", "detail"])
    number = sum(counts.get(kind.value, 0) for kind in DIFFERENCES)
    if number:
        raise_alert(
            tenant_id=run.tenant_id,
            kind=ALERT,
            subject=f"run {run.pk}",
            message=f"The books of {run} differ from the ledger in {number} lines: {in_words(counts, DIFFERENCES)}.",
        )


def fail(run: ReconciliationRun, reason: str) -> None:
    """End a locked run that can't go on; what it has written so far stays."""
    run.status, run.finished_at, run.detail = RunStatus.FAILED, clock.now(), reason[:300]
    run.save(update_fields=["status", "finished_at", "detail"])
    raise_alert(tenant_id=run.tenant_id, kind=FAILED_ALERT, subject=f"run {run.pk}", message=f"{run} was given up: {reason}")
