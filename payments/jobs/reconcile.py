"""Reads the gateway's books page by page, or payment by payment, and compares. Each step is one queue item: a kill in the
middle resumes there, since its lines, the run and the next step commit together."""

from __future__ import annotations

from dataclasses import replace

from integrations.contracts.capabilities import Capability
from integrations.contracts.errors import AuthenticationFailed, Expired, NotConfigured, NotFound, OutcomeUnknown, ProviderError
from integrations.contracts.payment import PaymentResult, PaymentState, TransactionPage, TransactionsQuery
from integrations.models import QueueItem, QueueState
from integrations.runtime.jobs import Call, LocalJob, ProviderJob
from payments.comparing import write_answer, write_lines, write_missing, write_unchecked
from payments.gateway import call_about, features_of, payment_query
from payments.models import Payment, ReconciliationRun, RunStatus
from payments.reconciliation import Way, operations_within
from payments.reconciliation_steps import ASK, CLOSE, PAGE, REFERENCE, complete, fail, queue_close, queue_page, queue_question

MOST_PAGES = 5000
CAN_NOT = "This gateway lists nothing, and tells of money that came in only by a callback."


def _run(item: QueueItem) -> ReconciliationRun:
    found: ReconciliationRun = ReconciliationRun.objects.get(pk=item.payload["run"])
    return found


def _locked(item: QueueItem) -> ReconciliationRun | None:
    """Return the run, its row locked; None where it is completed. A step that a person had retried takes a failed one up
    again."""
    run: ReconciliationRun = ReconciliationRun.objects.select_for_update().get(pk=item.payload["run"])
    if run.status == RunStatus.COMPLETED:
        return None
    if run.status == RunStatus.FAILED:
        run.status, run.finished_at, run.detail = RunStatus.RUNNING, None, ""
        run.save(update_fields=["status", "finished_at", "detail"])
    return run


def _fail(item: QueueItem, reason: str) -> None:
    run = ReconciliationRun.objects.select_for_update().get(pk=item.payload["run"])
    if run.status == RunStatus.RUNNING:
        fail(run, reason)


class ReconcilePageJob(ProviderJob):
    """Reads one page of the gateway's list."""

    kind = PAGE
    max_attempts = 8

    def prepare(self, item: QueueItem) -> Call | None:
        run = _run(item)
        if run.status == RunStatus.COMPLETED:
            return None
        return Call(
            Capability.PAYMENT,
            "transactions",
            (TransactionsQuery(run.since, run.until, item.payload["cursor"]),),
            config_id=run.config_id,
            reference=(REFERENCE, str(run.pk)),
            in_flight=True,
        )

    def succeeded(self, item: QueueItem, result: TransactionPage) -> None:
        run = _locked(item)
        if run is None:
            return
        write_lines(run, result.transactions)
        following = int(item.payload["page"]) + 1
        if not result.cursor:
            queue_close(run, Way.LISTED)
        elif result.cursor == item.payload["cursor"] or following >= MOST_PAGES:
            fail(run, "The gateway's list does not come to an end.")
        else:
            queue_page(run, following, result.cursor)

    def failed(self, item: QueueItem, error: ProviderError) -> None:
        _fail(item, error.message)

    def unknown(self, item: QueueItem, error: OutcomeUnknown) -> QueueState:
        self.failed(item, error)
        return QueueState.FAILED  # a question has no effect: a person may have it asked again


class ReconcileAskJob(ProviderJob):
    """Asks the gateway about one payment, where it has no list."""

    kind = ASK
    max_attempts = 8

    def prepare(self, item: QueueItem) -> Call | None:
        run = _run(item)
        if run.status == RunStatus.COMPLETED:
            return None
        payment = Payment.objects.get(pk=item.payload["payment"])
        call = call_about(payment, "payment_status", payment_query(payment), reference=(REFERENCE, str(run.pk)))
        return replace(call, config_id=run.config_id)

    def succeeded(self, item: QueueItem, result: PaymentResult) -> None:
        run = _locked(item)
        if run is None:
            return
        payment = Payment.objects.select_for_update().get(pk=item.payload["payment"])
        write_answer(run, payment, result)
        queue_question(run, payment.pk)

    def failed(self, item: QueueItem, error: ProviderError) -> None:
        for_all = error.retryable or isinstance(error, AuthenticationFailed | NotConfigured | Expired)
        if for_all or error.provider_code == "cancelled":
            _fail(item, error.message)
        elif isinstance(error, NotFound):
            self.succeeded(item, PaymentResult(PaymentState.ABSENT))
        else:
            self._leave_out(item, error.message)

    def unknown(self, item: QueueItem, error: OutcomeUnknown) -> QueueState:
        self._leave_out(item, error.message)
        return QueueState.COMPLETED

    @staticmethod
    def _leave_out(item: QueueItem, why: str) -> None:
        """What the gateway says of this one can't be had or read; the others are still asked for."""
        run = _locked(item)
        if run is None:
            return
        payment = item.payload["payment"]
        write_unchecked(run, list(operations_within(run).filter(payment_id=payment)), why)
        queue_question(run, payment)


class ReconcileCloseJob(LocalJob):
    """Writes down what no line of the gateway's has named, and completes the run."""

    kind = CLOSE

    def run(self, item: QueueItem) -> None:
        run = _locked(item)
        if run is None:
            return
        way = Way(item.payload["way"])
        if way is Way.UNCHECKED:
            notes = features_of(run.config, run.provider).notes or {}
            write_unchecked(run, list(operations_within(run)), notes.get("transactions", CAN_NOT))
        else:
            write_missing(run, listed=way is Way.LISTED)
        complete(run)

    def failed(self, item: QueueItem, error: Exception) -> None:
        _fail(item, str(error) or type(error).__name__)
