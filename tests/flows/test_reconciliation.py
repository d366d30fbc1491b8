"""The gateways' books against ours, at the simulators: what matches, what was never told, what nobody here knows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django_scopes import scope

from integrations.contracts import clock
from integrations.models import Config
from payments.models import Payment, ReconciliationLine, ReconciliationRun
from payments.reconciliation import totals
from payments.services import start_reconciliation
from tests.factories import make_config, work_off
from tests.flows.conftest import School
from tests.flows.test_gateways import ask, payer, shown
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


def reconcile(school: School, config: Config) -> ReconciliationRun:
    """Reconcile the last day to now, and return the completed run; planned questions are not asked yet."""
    with scope(tenant=school.tenant):
        now = clock.now()
        run = start_reconciliation(config=config, since=now - timedelta(days=1), until=now, actor="test")
    work_off()
    with scope(tenant=school.tenant):
        run.refresh_from_db()
    assert run.status == "completed", run.detail
    return run


def lines(run: ReconciliationRun) -> list[tuple[str, str, int | None, int | None]]:
    rows = ReconciliationLine.unscoped.filter(run=run).order_by("transaction_kind", "pk")
    return [(row.kind, row.transaction_kind, row.gateway_amount, row.ledger_amount) for row in rows]


def refund_at_the_gateway(school: School, gateway: str, payment_id: str) -> None:
    school.control("POST", f"{gateway}/dashboard", json={"ref": payment_id, "action": "refund", "amount": 5000})
    row = next(row for row in school.control("GET", f"{gateway}/money")["payments"] if row["payment_id"] == payment_id)
    if row["refunded"] == 0:
        school.control("POST", f"{gateway}/dashboard", json={"ref": payment_id, "action": "settle_refund"})


@each_gateway
def test_what_both_have_matches_with_the_gateways_fee(school: School, until: Until, live_server: Any, gateway: str) -> None:
    config = connect(school, live_server, gateway)
    payment_id = paid(school, until, gateway)
    run = reconcile(school, config)
    assert lines(run) == [("matched", "charge", 5000, 5000)]
    with scope(tenant=school.tenant):
        print(list(run.lines.values()))
        print(totals(run))
        print(Payment.objects.get(pk=payment_id).fee_amount)


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
    until(lambda: shown(school, payment_id)["amount_refunded"] == 5000)
