"""The gateways' books against ours, at the simulators: what matches, what was never told, what nobody here knows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django_scopes import scope

from integrations.contracts import clock as hub_clock
from integrations.contracts.clock import stopped_at
from integrations.models import Alert, Config, QueueItem, Tenant
from payments.models import LedgerEntry, Operation, Payment, ReconciliationLine, ReconciliationRun
from payments.reconciliation import totals
from payments.services import start_reconciliation
from tests.factories import make_config, work_off
from tests.flows.conftest import School
from tests.flows.test_gateways import ask, money, payer, shown
from tests.flows.test_process_card_payment import ask as ask_card

pytestmark = pytest.mark.django_db(transaction=True)
Until = Callable[..., Any]
HOOKS = {"stripe": "events", "pesapal": "ipn", "flutterwave": "events", "paypal": "events"}
CURRENCY = {"stripe": "USD", "pesapal": "KES", "flutterwave": "KES", "paypal": "USD"}
each_gateway = pytest.mark.parametrize("gateway", sorted(HOOKS))
each_listed = pytest.mark.parametrize("gateway", ["flutterwave", "stripe"])
each_asked = pytest.mark.parametrize("gateway", ["paypal", "pesapal"])


def connect(school: School, live_server: Any, gateway: str, *, heard: bool = True) -> Config:
    config = make_config(school.tenant, gateway, account="school")
    hear(school, live_server, config, heard=heard)
    return config


def hear(school: School, live_server: Any, config: Config, *, heard: bool) -> None:
    """Let the gateway's webhooks reach the hub, or lead them to nowhere."""
    gateway = config.provider_id
    url = f"{live_server.url}/hooks/{config.hook_token}/{HOOKS[gateway]}" if heard else f"{school.simulator_url}/sink/lost"
    school.control("PUT", f"{gateway}/accounts/school", json={"webhook_url": url})


def paid(school: School, until: Until, gateway: str) -> str:
    if gateway == "stripe":
        payment_id = ask_card(school).json()["id"]
    else:
        answer = ask(school, gateway, amount=5000, currency=CURRENCY[gateway])
        assert answer.status_code == 201, answer.json()
        payment_id = answer.json()["id"]
        payer(school, gateway, payment_id, "approve")
    until(lambda: shown(school, payment_id)["status"] == "succeeded")
    return str(payment_id)


def yesterday_to_soon(seconds: int = 5) -> dict[str, datetime]:
    """Return a window that ends a little after now, since gateways tell time in whole seconds."""
    until = hub_clock.now() + timedelta(seconds=seconds)
    return {"since": until - timedelta(days=1), "until": until}


def reconcile(school: School, config: Config, seconds: int = 5) -> ReconciliationRun:
    """Reconcile the last day until so many seconds from now, with the questions that it plans; return the completed run."""
    window = yesterday_to_soon(seconds)
    with scope(tenant=school.tenant), stopped_at(window["until"]):
        run = start_reconciliation(config=config, **window, actor="test")
    return finish(run)


def finish(run: ReconciliationRun) -> ReconciliationRun:
    with stopped_at(max(run.until, hub_clock.now()) + timedelta(seconds=5)):
        work_off()
    run.refresh_from_db(from_queryset=ReconciliationRun.unscoped.all())
    assert run.status == "completed", run.detail
    return run


def lines(run: ReconciliationRun) -> list[tuple[str, str, int | None, int | None]]:
    rows = ReconciliationLine.unscoped.filter(run=run).order_by("transaction_kind", "pk")
    return [(row.kind, row.transaction_kind, row.gateway_amount, row.ledger_amount) for row in rows]


def row_of(school: School, gateway: str, payment_id: str) -> dict[str, Any]:
    """Return what the gateway itself has of this payment."""
    (row,) = money(school, gateway, payment_id)
    return row


def refund_at_the_gateway(school: School, gateway: str, payment_id: str) -> None:
    school.control("POST", f"{gateway}/dashboard", json={"ref": payment_id, "action": "refund", "amount": 5000})
    if row_of(school, gateway, payment_id)["refunded"] == 0:
        school.control("POST", f"{gateway}/dashboard", json={"ref": payment_id, "action": "settle_refund"})


def alerts(school: School) -> list[tuple[str, str]]:
    found = Alert.objects.filter(tenant=school.tenant, kind__startswith="reconciliation", resolved_at__isnull=True)
    return list(found.values_list("kind", "message"))


@pytest.mark.parametrize(
    ("gateway", "fee", "net"),
    [("flutterwave", 145, 4855), ("stripe", 175, 4825), ("paypal", 224, None), ("pesapal", None, None)],
)
def test_what_both_have_matches_with_the_gateways_fee(
    school: School, until: Until, live_server: Any, gateway: str, fee: int | None, net: int | None
) -> None:
    config = connect(school, live_server, gateway)
    payment_id = paid(school, until, gateway)
    with scope(tenant=school.tenant):
        Payment.objects.filter(pk=payment_id).update(fee_amount=None, fee_currency="")
        Operation.objects.filter(payment=payment_id).update(fee_amount=None, fee_currency="")
        ledger = LedgerEntry.objects.count()

    run = reconcile(school, config)

    assert lines(run) == [("matched", "charge", 5000, 5000)]
    assert (run.detail, alerts(school)) == ("1 matched", [])
    with scope(tenant=school.tenant):
        line = run.lines.get()
        assert (line.payment_id, line.fee, line.net) == (payment_id, fee, net)
        (total,) = totals(run)
        expected = (CURRENCY[gateway], 5000, 0, 0, fee or 0, net)
        assert (total.currency, total.charged, total.refunded, total.disputed, total.fees, total.net) == expected
        payment = Payment.objects.get(pk=payment_id)
        noted = CURRENCY[gateway] if fee is not None else ""
        assert (payment.fee_amount, payment.fee_currency, payment.amount_captured) == (fee, noted, 5000)
        assert payment.operations.get().fee_amount == fee
        assert LedgerEntry.objects.count() == ledger


@each_gateway
def test_a_refund_that_nobody_told_us_of_is_found_and_booked(
    school: School, until: Until, live_server: Any, gateway: str
) -> None:
    config = connect(school, live_server, gateway)
    payment_id = paid(school, until, gateway)
    hear(school, live_server, config, heard=False)
    refund_at_the_gateway(school, gateway, payment_id)
    assert shown(school, payment_id)["amount_refunded"] == 0

    run = reconcile(school, config)

    assert lines(run) == [("matched", "charge", 5000, 5000), ("missing_here", "refund", 5000, None)]
    ((kind, message),) = alerts(school)
    assert kind == "reconciliation_difference"
    assert message.endswith("differ from the ledger in 1 lines: 1 at the gateway only.")
    with scope(tenant=school.tenant):
        line = run.lines.get(kind="missing_here")
        assert (line.payment_id, line.detail.endswith("; the gateway is asked")) == (payment_id, True)
    (refund,) = shown(school, payment_id)["refunds"]
    assert (refund["origin"], refund["status"], refund["amount"]) == ("gateway", "succeeded", 5000)

    again = reconcile(school, config, seconds=60)
    assert lines(again) == [("matched", "charge", 5000, 5000), ("matched", "refund", 5000, 5000)]


@each_gateway
def test_money_of_a_payment_that_is_called_off_here_differs_and_is_booked(
    school: School, until: Until, live_server: Any, gateway: str
) -> None:
    config = connect(school, live_server, gateway)
    payment_id = paid(school, until, gateway)
    with scope(tenant=school.tenant):
        # As if the gateway's word had never come, and the hub had given the payment up.
        values = {"amount_captured": 0, "amount_authorized": 0, "completed_at": None, "receipt_number": ""}
        Payment.objects.filter(pk=payment_id).update(status="expired", **values)
        Operation.objects.filter(payment=payment_id).update(status="failed")

    run = reconcile(school, config)

    assert lines(run) == [("status_differs", "charge", 5000, 5000)]
    assert [kind for kind, _ in alerts(school)] == ["reconciliation_difference"]
    done = shown(school, payment_id)
    assert (done["status"], done["amount_captured"]) == ("succeeded", 5000)


@each_listed
def test_a_charge_that_nobody_here_knows_is_missing_here(
    school: School, until: Until, live_server: Any, gateway: str, other_tenant: Tenant
) -> None:
    config = connect(school, live_server, gateway)
    payment_id = paid(school, until, gateway)
    # Another tenant's hub shares the account: its payments stand in the same books.
    foreign = make_config(other_tenant, gateway, account="school")

    window = yesterday_to_soon()
    with scope(tenant=other_tenant), stopped_at(window["until"]):
        run = start_reconciliation(config=foreign, **window, actor="test")
    finish(run)

    assert lines(run) == [("missing_here", "charge", 5000, None)]
    line = ReconciliationLine.unscoped.get(run=run)
    assert (line.payment_id, line.tenant_id, line.detail) == (None, other_tenant.pk, "No payment here has any of its ids")
    assert QueueItem.unscoped.filter(tenant=other_tenant, kind="payment.confirm").count() == 0
    assert lines(reconcile(school, config)) == [("matched", "charge", 5000, 5000)]
    assert shown(school, payment_id)["status"] == "succeeded"


def test_disputes_and_captures_of_a_hold_match_too(school: School, until: Until, live_server: Any) -> None:
    config = connect(school, live_server, "stripe")
    held = ask_card(school, capture="manual").json()["id"]
    answer = school.api.post("/api/v1/payments/capture", {"payment": held, "amount": 3000}, format="json")
    assert answer.status_code == 201, answer.json()
    disputed = paid(school, until, "stripe")
    school.control("POST", "stripe/dashboard", json={"ref": disputed, "action": "dispute"})
    until(lambda: shown(school, disputed)["disputes"])

    run = reconcile(school, config)

    assert lines(run) == [
        ("matched", "charge", 5000, 5000),
        ("matched", "charge", 3000, 3000),
        ("matched", "dispute", 5000, 5000),
    ]
    with scope(tenant=school.tenant):
        assert sorted(run.lines.values_list("payment_id", flat=True)) == sorted([held, disputed, disputed])
        (total,) = totals(run)
        assert (total.charged, total.disputed, total.fees) == (8000, 5000, 175 + 117 + 1500)


def test_a_gateway_that_tells_by_callback_only_is_not_checked(school: School, until: Until) -> None:
    payment_id = school.ask("+254712345678").json()["id"]
    school.enter_pin("254712345678")
    until(lambda: shown(school, payment_id)["status"] == "succeeded")
    asked = len(school.control("GET", "mpesa/requests"))

    run = reconcile(school, school.mpesa)

    assert lines(run) == [("unchecked", "charge", None, 150_000)]
    with scope(tenant=school.tenant):
        line = run.lines.get()
        assert (line.payment_id, line.provider_ref) == (payment_id, Payment.objects.get(pk=payment_id).provider_ref)
        assert line.detail == "This gateway lists nothing, and tells of money that came in only by a callback."
    assert alerts(school) == []
    assert len(school.control("GET", "mpesa/requests")) == asked


@each_asked
def test_one_that_the_gateway_does_not_know_any_more_is_missing_there(
    school: School, until: Until, live_server: Any, gateway: str
) -> None:
    config = connect(school, live_server, gateway)
    payment_id = paid(school, until, gateway)
    with scope(tenant=school.tenant):
        # Ids that the gateway never gave: it answers that it has nothing of the kind.
        Payment.objects.filter(pk=payment_id).update(provider_ref="5O190127TN364715T", receipt="3C679366HH908993F")
    run = reconcile(school, config)
    kinds = {"paypal": "missing_there", "pesapal": "unchecked"}  # Pesapal's word for it may as well mean "unpaid"
    assert lines(run) == [(kinds[gateway], "charge", None, 5000)]
    assert shown(school, payment_id)["amount_captured"] == 5000


def command(*arguments: str) -> tuple[str, int]:
    """Run the command; return what it printed and its exit code."""
    out = StringIO()
    try:
        call_command("reconcile_payments", *arguments, stdout=out, stderr=out)
    except CommandError as error:
        return f"{out.getvalue()}{error}\n", error.returncode
    return out.getvalue(), 0


def test_the_command_prints_what_came_of_it(school: School, until: Until, live_server: Any) -> None:
    config = connect(school, live_server, "stripe")
    payment_id = paid(school, until, "stripe")
    hear(school, live_server, config, heard=False)
    soon = yesterday_to_soon()
    window = ("--since", soon["since"].isoformat(), "--until", soon["until"].isoformat(), "--provider", "stripe")
    with stopped_at(soon["until"]):
        printed, code = command(*window, "--wait")
    assert code == 0, printed
    shown_lines = printed.splitlines()
    assert shown_lines[0].startswith(f"springfield-school, config {config.pk} (stripe), ")
    assert shown_lines[0].endswith(" completed")
    assert shown_lines[1:] == [
        "  1 matched",
        "  currency  charged  refunded  disputed  fees    net",
        "  USD         50.00      0.00      0.00  1.75  48.25",
    ]

    refund_at_the_gateway(school, "stripe", payment_id)
    later = yesterday_to_soon()
    with stopped_at(later["until"]):
        printed, code = command(*window[:2], "--until", later["until"].isoformat(), "--config", str(config.pk), "--wait")
    assert code == 1
    assert "  1 matched, 1 at the gateway only" in printed.splitlines()
    (difference,) = [line for line in printed.splitlines() if "missing_here" in line]
    assert f" {payment_id}: gateway USD 50.00 (" in difference
    assert printed.splitlines()[-1] == "1 of 1 reconciliations need attention."


def test_the_command_only_plans_unless_told_to_wait(school: School, until: Until, live_server: Any) -> None:
    connect(school, live_server, "stripe")
    printed, code = command("--provider", "stripe", "--tenant", "springfield-school")
    assert (code, printed.splitlines()[0].endswith(" running")) == (0, True)
    run = ReconciliationRun.unscoped.get()
    assert (run.status, run.actor, run.until - run.since) == ("running", "command", timedelta(days=1))
    printed, code = command("--provider", "stripe")
    assert (code, "is running already" in printed, ReconciliationRun.unscoped.count()) == (1, True, 1)
    finish(run)
    assert command("--tenant", "nobody")[1] == 1
    assert command("--since", "yesterday")[1] == 1
    assert ReconciliationRun.unscoped.count() == 1
