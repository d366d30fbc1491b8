"""Reconciliation page by page: kills, repetitions, ids of others, and how runs are started and explained."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from django_scopes import scope

from integrations.contracts import clock as hub_clock
from integrations.contracts.errors import (
    Conflict,
    InvalidRequest,
    ProviderUnavailable,
)
from integrations.models import Alert, Config, ExternalReference, QueueItem, QueueState, Tenant
from integrations.runtime.queue import retry_item
from integrations.runtime.worker import claim_and_run, claim_one
from payments.jobs import reconcile as steps
from payments.models import Operation, Payment, ReconciliationLine, ReconciliationRun
from payments.reconciliation import totals
from payments.services import resolve_line
from payments.services.reconcile import reconcile_daily
from tests.factories import START, MovableClock, work_off
from tests.payments.fake_gateway import FakeGateway
from tests.payments.reconciling import (
    SINCE,
    UNTIL,
    connect,
    fresh,
    installed,
    lines,
    operation,
    page,
    paid,
    questions,
    reconcile,
    start,
    step,
    still_running,
    told,
)
from tests.runtime.support import together

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def gateway(monkeypatch: pytest.MonkeyPatch, clock: MovableClock) -> Iterator[type[FakeGateway]]:
    with installed(monkeypatch, lists=True) as found:
        yield found


@pytest.fixture
def config(tenant: Tenant) -> Config:
    return connect(tenant)


# --- pages, kills, repetitions --------------------------------------------------------------------------------------------


def test_pages_are_read_one_after_the_other_and_what_nobody_named_is_missing_there(config: Config) -> None:
    first, second = paid(config, "pi-1"), paid(config, "pi-2")
    refund = operation(second, "refund", "rf-2", amount=50_000)
    paid(config, "pi-3")
    run = reconcile(
        config,
        page(told("charge", "t1", "ch-pi-1", "pi-1"), cursor="next"),
        page(told("charge", "t2", "pi-2"), told("refund", "t3", refund.pk, amount=50_000), told("fee", "t4", amount=900)),
    )
    assert lines(run) == [
        ("matched", "t1", 150_000, 150_000),
        ("matched", "t2", 150_000, 150_000),
        ("matched", "t3", 50_000, 50_000),
        ("fee", "t4", 900, None),
        ("missing_there", "ch-pi-3", None, 150_000),
    ]
    assert [query.cursor for _, query in FakeGateway.asked] == ["", "next"]
    assert {(query.since, query.until) for _, query in FakeGateway.asked} == {(SINCE, UNTIL)}
    assert (run.status, run.finished_at, run.detail) == ("completed", START, "3 matched, 1 in the ledger only, 1 fee")
    with scope(tenant=config.tenant):
        (total,) = totals(run)
    assert (total.charged, total.refunded, total.fees, total.net) == (300_000, 50_000, 9_900, None)
    assert Payment.unscoped.get(pk=first.pk).fee_amount == 4500
    (alert,) = Alert.objects.filter(kind="reconciliation_difference")
    assert (alert.subject, alert.count) == (f"run {run.pk}", 1)
    assert alert.message.endswith("differ from the ledger in 1 lines: 1 in the ledger only.")


def test_a_worker_that_dies_between_two_pages_loses_and_repeats_nothing(config: Config, clock: MovableClock) -> None:
    paid(config, "pi-1")
    paid(config, "pi-2")
    FakeGateway.answers["transactions"] += [page(told("charge", "t1", "pi-1"), cursor="next")]
    run = start(config)
    claim_and_run(step(run))
    second = step(run)
    assert claim_one(second.pk) is not None  # the process that took it dies here
    clock.advance(minutes=10)
    FakeGateway.answers["transactions"] += [page(told("charge", "t2", "pi-2"))]
    work_off()
    clock.advance(minutes=10)
    work_off()
    assert (fresh(run).status, lines(run)) == (
        "completed",
        [("matched", "t1", 150_000, 150_000), ("matched", "t2", 150_000, 150_000)],
    )


def test_a_page_whose_writing_breaks_leaves_nothing_and_is_written_once(
    config: Config, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    paid(config, "pi-1")
    FakeGateway.answers["transactions"] += [page(told("charge", "t1", "pi-1"))] * 2
    run = start(config)
    with monkeypatch.context() as patch:
        patch.setattr(steps, "queue_close", lambda *args: 1 / 0)
        claim_and_run(step(run))
    assert (lines(run), fresh(run).status, Payment.unscoped.get().fee_amount) == ([], "running", None)
    assert not ExternalReference.unscoped.filter(kind="book_charge").exists()
    clock.advance(hours=1)
    work_off()
    assert (fresh(run).status, lines(run)) == ("completed", [("matched", "t1", 150_000, 150_000)])


def test_what_two_pages_have_in_common_is_written_once(config: Config) -> None:
    paid(config, "pi-1")
    paid(config, "pi-2")
    one, two = told("charge", "t1", "pi-1"), told("charge", "t2", "pi-2")
    run = reconcile(config, page(one, one, cursor="2"), page(one, two))
    assert lines(run) == [("matched", "t1", 150_000, 150_000), ("matched", "t2", 150_000, 150_000)]


def test_a_list_without_end_is_given_up(config: Config) -> None:
    FakeGateway.answers["transactions"] += [page(cursor="same")] * 2
    run = start(config)
    work_off()
    assert (fresh(run).status, fresh(run).detail) == ("failed", "The gateway's list does not come to an end.")


def test_a_gateway_that_stays_away_fails_the_run_and_a_retry_takes_it_up(config: Config, clock: MovableClock) -> None:
    paid(config, "pi-1")
    FakeGateway.answers["transactions"] += [page(told("charge", "t1", "pi-1"), cursor="next")]
    FakeGateway.answers["transactions"] += [ProviderUnavailable("Nobody there.")] * 8
    run = start(config)
    for _ in range(10):
        work_off()
        clock.advance(hours=2)
    assert (fresh(run).status, fresh(run).detail) == ("failed", "Nobody there.")
    assert lines(run) == [("matched", "t1", 150_000, 150_000)]
    assert Alert.objects.filter(kind="reconciliation_failed", subject=f"run {run.pk}").count() == 1
    given_up = QueueItem.unscoped.get(state=QueueState.FAILED)
    with scope(tenant=config.tenant):
        retry_item(given_up.pk, tenant_id=config.tenant_id, by="school-admin")
    FakeGateway.answers["transactions"] += [page(told("charge", "t9", amount=700))]
    work_off()
    assert (fresh(run).status, lines(run)[1:]) == ("completed", [("missing_here", "t9", 700, None)])


# --- whose it is ----------------------------------------------------------------------------------------------------------


def test_ids_of_another_tenants_or_accounts_payments_find_nothing(config: Config, other_tenant: Tenant) -> None:
    theirs = paid(connect(other_tenant), "pi-1")
    other_account = paid(connect(config.tenant), "pi-2")
    before = list(Payment.unscoped.order_by("pk").values())
    run = reconcile(
        config,
        page(
            told("charge", "t1", "ch-pi-1", "pi-1", payment_id=theirs.pk),
            told("charge", "t2", "ch-pi-2", "pi-2", payment_id=other_account.pk),
            told("dispute", "t3", "pi-1", payment_id=theirs.pk),
        ),
    )
    assert lines(run) == [("missing_here", each, 150_000, None) for each in ("t1", "t2", "t3")]
    assert list(ReconciliationLine.unscoped.values_list("payment", "tenant")) == [(None, config.tenant_id)] * 3
    assert list(Payment.unscoped.order_by("pk").values()) == before
    assert Operation.unscoped.filter(fee_amount__isnull=False).count() == 0
    assert questions(config.tenant) + questions(other_tenant) == []
    assert not ExternalReference.unscoped.filter(kind__startswith="book_").exists()


def test_a_refunds_own_number_is_not_taken_for_another_payments(config: Config) -> None:
    paid(config, "4711")
    refunded = paid(config, "pi-2")
    refund = operation(refunded, "refund", "4711", amount=10_000)
    run = reconcile(
        config,
        page(
            told("refund", "4711", "4711", "pi-2", amount=10_000),
            told("charge", "4711", "4711"),
            told("charge", "c2", "pi-2"),
        ),
    )
    with scope(tenant=config.tenant):
        found = run.lines.order_by("pk").values_list("kind", "payment__provider_ref", "ledger_amount")
        assert list(found) == [("matched", "pi-2", 10_000), ("matched", "4711", 150_000), ("matched", "pi-2", 150_000)]
    assert ExternalReference.unscoped.get(kind="book_refund").object_id == refund.pk


def test_a_second_charge_for_the_same_payment_is_other_money(config: Config) -> None:
    payment = paid(config, "pi-1")
    FakeGateway.answers["payment_status"] += [still_running()]
    run = reconcile(config, page(told("charge", "t1", "pi-1"), told("charge", "t2", "pi-1")))
    assert lines(run) == [("matched", "t1", 150_000, 150_000), ("missing_here", "t2", 150_000, None)]
    assert questions(config.tenant) == [payment.pk]


# --- starting -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("since", "until", "attr"),
    [
        (UNTIL, UNTIL, "since"),
        (UNTIL, SINCE, "since"),
        (SINCE, START + timedelta(seconds=1), "until"),
        (UNTIL - timedelta(days=93, seconds=1), UNTIL, "since"),
        (SINCE.replace(tzinfo=None), UNTIL, "since"),
    ],
)
def test_a_window_that_is_none_is_refused(config: Config, since: datetime, until: datetime, attr: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        start(config, since, until)
    assert refused.value.attr == attr
    assert (ReconciliationRun.unscoped.count(), QueueItem.unscoped.count()) == (0, 0)


def test_one_account_is_reconciled_once_at_a_time(config: Config) -> None:
    run = start(config)
    with pytest.raises(Conflict):
        start(config)
    assert (ReconciliationRun.unscoped.count(), QueueItem.unscoped.count()) == (1, 1)
    QueueItem.unscoped.all().delete()
    second = start(config)
    assert (fresh(run).status, fresh(second).status) == ("failed", "running")


def test_of_many_that_start_at_once_one_does(config: Config) -> None:
    outcomes = together(6, lambda number: start(config).pk)
    run = ReconciliationRun.unscoped.get()
    assert [outcome for outcome in outcomes if not isinstance(outcome, Conflict)] == [run.pk]
    assert step(run).kind == "payment.reconcile_page"


def test_ticks_that_come_at_once_start_one_run(config: Config) -> None:
    assert sorted(together(4, lambda number: reconcile_daily())) == [0, 0, 0, 1]
    assert step(ReconciliationRun.unscoped.get()).kind == "payment.reconcile_page"


def test_every_day_is_reconciled_once_and_missed_days_are_taken_in(config: Config, clock: MovableClock) -> None:
    midnight = datetime(2026, 11, 19, 21, 0, tzinfo=UTC)  # in Nairobi

    def tick() -> list[tuple[datetime, datetime]]:
        reconcile_daily()
        reconcile_daily()
        FakeGateway.answers["transactions"] += [page()] * ReconciliationRun.unscoped.filter(status="running").count()
        work_off()
        return list(ReconciliationRun.unscoped.order_by("pk").values_list("since", "until"))

    clock.moment = midnight + timedelta(hours=2, minutes=59)
    assert tick() == []
    clock.moment = midnight + timedelta(hours=3)
    day = timedelta(days=1)
    assert tick() == [(midnight - day, midnight)]
    clock.advance(hours=20)
    assert len(tick()) == 1
    clock.advance(days=3)
    assert tick()[1:] == [(midnight, midnight + 3 * day)]
    Config.unscoped.update(is_active=False)
    clock.advance(days=1)
    assert len(tick()) == 2


# --- explaining -----------------------------------------------------------------------------------------------------------


def test_the_alert_ends_with_the_last_unexplained_difference(config: Config) -> None:
    run = reconcile(config, page(told("charge", "t1"), told("charge", "t2"), told("fee", "t3")))
    first, second, fee = ReconciliationLine.unscoped.filter(run=run).order_by("pk")
    still_open: Callable[[], bool] = Alert.objects.filter(kind="reconciliation_difference", resolved_at=None).exists
    with scope(tenant=config.tenant):
        for line, reason in ((first, " "), (fee, "why not")):
            with pytest.raises((InvalidRequest, Conflict)):
                resolve_line(line=line, reason=reason, actor="user jane")
        resolve_line(line=first, reason="Paid at the counter.", actor="user jane")
        assert still_open()
        with pytest.raises(Conflict):
            resolve_line(line=first, reason="Again.", actor="user joe")
        resolve_line(line=second, reason="Another shop's.", actor="user jane")
    assert not still_open()
    first.refresh_from_db(from_queryset=ReconciliationLine.unscoped.all())
    assert (first.resolution, first.resolved_by, first.resolved_at) == ("Paid at the counter.", "user jane", hub_clock.now())
