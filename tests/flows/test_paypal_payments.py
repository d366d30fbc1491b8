"""PayPal through the API: approved on its page, held, captured in parts, released, refunded, disputed, stored for later."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import requests

from integrations.models import Config
from tests.factories import make_config
from tests.flows.conftest import School
from tests.flows.test_gateways import events, money, shown

pytestmark = pytest.mark.django_db(transaction=True)
Until = Callable[..., Any]


def connect(school: School, live_server: Any, account: str = "school", **values: Any) -> Config:
    config = make_config(school.tenant, "paypal", values, account=account)
    answer = school.api.post("/api/v1/integrations/setup/paypal/webhooks", {"config": config.pk}, format="json")
    assert answer.status_code in (200, 201), answer.json()
    config.refresh_from_db()
    return config


@pytest.fixture
def paypal(school: School, live_server: Any) -> School:
    connect(school, live_server)
    return school


def ask(school: School, **more: Any) -> Any:
    body = {
        "amount": 5000,
        "currency": "USD",
        "provider": "paypal",
        "method": {"type": "redirect"},
        "reference": {"type": "order", "id": "ORD-7"},
        "return_url": "https://studio.example/thanks",
    }
    answer = school.api.post("/api/v1/payments/authorize", body | more, format="json")
    assert answer.status_code == 201, answer.json()
    return answer.json()


def post(school: School, path: str, **body: Any) -> Any:
    return school.api.post(f"/api/v1/payments/{path}", body, format="json")


def payer(school: School, payment_id: str, action: str = "approve") -> None:
    school.control("POST", "paypal/payer", json={"ref": payment_id, "action": action})


def dashboard(school: School, payment_id: str, action: str, **more: Any) -> None:
    school.control("POST", "paypal/dashboard", json={"ref": payment_id, "action": action, **more})


def becomes(school: School, until: Until, payment_id: str, status: str) -> Any:
    return until(lambda: found if (found := shown(school, payment_id))["status"] == status else None)


def test_approved_on_paypals_page_and_taken(paypal: School, until: Until) -> None:
    payment = ask(paypal)
    assert (payment["status"], payment["next_action"]["type"]) == ("requires_action", "redirect"), payment
    payer(paypal, payment["id"])

    done = becomes(paypal, until, payment["id"], "succeeded")

    assert (done["amount_captured"], done["fee"]["currency"]) == (5000, "USD")
    assert done["receipt_number"]
    (row,) = money(paypal, "paypal", payment["id"])
    assert (row["captured"], row["held"]) == (5000, 0)
    assert events(paypal) == ["payment.completed"]


@pytest.mark.parametrize("fault", ["refuse", "drop_after_accept", "error_500_after"])
def test_taking_it_twice_is_impossible_though_the_answer_is_lost(paypal: School, until: Until, fault: str, clock: Any) -> None:
    payment = ask(paypal)
    paypal.fault("paypal", "complete", fault)
    payer(paypal, payment["id"])

    def taken() -> Any:
        clock.advance(30)
        found = shown(paypal, payment["id"])
        return found if found["status"] == "succeeded" else None

    assert until(taken)["amount_captured"] == 5000
    assert [row["captured"] for row in money(paypal, "paypal", payment["id"])] == [5000]
    assert events(paypal) == ["payment.completed"]


def test_held_captured_in_parts_and_refunded_by_capture(paypal: School, until: Until) -> None:
    payment = ask(paypal, capture="manual")
    payer(paypal, payment["id"])
    held = becomes(paypal, until, payment["id"], "authorized")
    assert (held["amount_capturable"], held["amount_captured"]) == (5000, 0)
    assert held["expires"]

    first = post(paypal, "capture", payment=payment["id"], amount=2000)
    assert (first.status_code, first.json()["status"]) == (201, "partially_captured"), first.json()
    assert first.json()["amount_capturable"] == 3000
    second = post(paypal, "capture", payment=payment["id"], amount=1000, final=True)
    assert (second.json()["status"], second.json()["amount_captured"], second.json()["amount_voided"]) == (
        "succeeded",
        3000,
        2000,
    ), second.json()
    assert post(paypal, "capture", payment=payment["id"], amount=1).status_code == 409

    refund = post(paypal, "refund", payment=payment["id"], amount=2500)
    assert refund.status_code == 201, refund.json()
    until(lambda: shown(paypal, payment["id"])["amount_refunded"] == 2500)
    (row,) = money(paypal, "paypal", payment["id"])
    assert (row["captured"], row["refunded"], row["held"]) == (3000, 2500, 0)
    assert [each["amount"] for each in shown(paypal, payment["id"])["refunds"]] == [2000, 500]


def test_a_hold_is_released(paypal: School, until: Until) -> None:
    payment = ask(paypal, capture="manual")
    payer(paypal, payment["id"])
    becomes(paypal, until, payment["id"], "authorized")

    answer = post(paypal, f"{payment['id']}/cancel")

    assert (answer.status_code, answer.json()["status"], answer.json()["amount_voided"]) == (200, "cancelled", 5000)
    assert [row["held"] for row in money(paypal, "paypal", payment["id"])] == [0]


def test_what_happens_in_paypals_dashboard_is_recorded(paypal: School, until: Until) -> None:
    payment = ask(paypal, capture="manual")
    payer(paypal, payment["id"])
    becomes(paypal, until, payment["id"], "authorized")

    dashboard(paypal, payment["id"], "capture", amount=5000)
    becomes(paypal, until, payment["id"], "succeeded")
    dashboard(paypal, payment["id"], "refund", amount=1200)
    refunded = until(lambda: found if (found := shown(paypal, payment["id"]))["amount_refunded"] == 1200 else None)
    assert [each["origin"] for each in refunded["refunds"]] == ["gateway"]

    dashboard(paypal, payment["id"], "dispute", amount=3800)
    disputed = until(lambda: found if (found := shown(paypal, payment["id"]))["disputes"] else None)
    assert disputed["amount_disputed"] == 3800
    assert post(paypal, "refund", payment=payment["id"], amount=1).status_code == 409
    dashboard(paypal, payment["id"], "dispute_won")
    until(lambda: shown(paypal, payment["id"])["amount_disputed"] == 0)


def test_a_payer_who_leaves_the_page_has_not_paid_and_may_come_back(paypal: School, until: Until) -> None:
    payment = ask(paypal)
    payer(paypal, payment["id"], "cancel")
    assert becomes(paypal, until, payment["id"], "requires_action")["amount_captured"] == 0
    payer(paypal, payment["id"])
    becomes(paypal, until, payment["id"], "succeeded")


def test_a_forged_event_is_refused_and_changes_nothing(paypal: School, until: Until, live_server: Any) -> None:
    payment = ask(paypal)
    config = Config.unscoped.get(tenant=paypal.tenant, provider_id="paypal")
    forged = {"id": "WH-1", "event_type": "PAYMENT.CAPTURE.COMPLETED", "resource": {"custom_id": payment["id"]}}
    answer = requests.post(f"{live_server.url}/hooks/{config.hook_token}/events", json=forged, timeout=10)
    assert answer.status_code == 401
    assert becomes(paypal, until, payment["id"], "requires_action")["amount_captured"] == 0


def test_a_stored_payer_is_charged_later_without_being_there(
    school: School, until: Until, live_server: Any, clock: Any
) -> None:
    connect(school, live_server, "studio", vault=True)
    answer = school.api.post(
        "/api/v1/payments/setup-intent",
        {"provider": "paypal", "method": {"type": "redirect"}, "customer": {"id": "c-1", "name": "Jane"}},
        format="json",
    )
    assert answer.status_code == 201, answer.json()
    setup = answer.json()
    payer(school, setup["provider_ref"])

    def kept() -> Any:
        clock.advance(30)  # PayPal reports no approval of a setup: the hub asks
        found = school.api.get(f"/api/v1/payments/setup-intent/{setup['id']}").json()
        return found if found["status"] == "succeeded" else None

    stored = until(kept)

    payment = ask(school, method={"type": "redirect", "token": stored["method"]["id"]})

    assert becomes(school, until, payment["id"], "succeeded")["amount_captured"] == 5000
    assert [row["captured"] for row in money(school, "paypal", payment["id"])] == [5000]
