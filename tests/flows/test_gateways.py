"""Payments at gateways with a page of their own: asked for, paid there, reported back, refunded; and on to the next one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django_scopes import scope

from integrations.models import Config
from payments.models import Payment, RoutingRule, RoutingStep
from tests.factories import make_config, work_off
from tests.flows.conftest import School
from webhooks.outbound.models import Event

pytestmark = pytest.mark.django_db(transaction=True)
Until = Callable[..., Any]
GATEWAYS = {"pesapal": "ipn", "flutterwave": "events"}
each_gateway = pytest.mark.parametrize("gateway", sorted(GATEWAYS))


def connect(school: School, live_server: Any, gateway: str) -> Config:
    config = make_config(school.tenant, gateway, account="school")
    url = f"{live_server.url}/hooks/{config.hook_token}/{GATEWAYS[gateway]}"
    school.control("PUT", f"{gateway}/accounts/school", json={"webhook_url": url})
    return config


def ask(school: School, gateway: str | None, **more: Any) -> Any:
    body = {
        "amount": 150_000,
        "currency": "KES",
        "method": {"type": "redirect"},
        "reference": {"type": "invoice", "id": "INV-0042"},
        "customer": {"name": "Jane Wanjiku", "email": "jane@example.com"},
        "return_url": "https://school.example/thanks",
        **({"provider": gateway} if gateway else {}),
    }
    return school.api.post("/api/v1/payments/authorize", body | more, format="json")


def shown(school: School, payment_id: str) -> Any:
    return school.api.get(f"/api/v1/payments/{payment_id}").json()


def payer(school: School, gateway: str, payment_id: str, action: str) -> None:
    school.control("POST", f"{gateway}/payer", json={"ref": payment_id, "action": action})


def paid(school: School, until: Until, gateway: str) -> Any:
    payment_id = ask(school, gateway).json()["id"]
    payer(school, gateway, payment_id, "approve")
    return until(lambda: found if (found := shown(school, payment_id))["status"] == "succeeded" else None)


def money(school: School, gateway: str, payment_id: str) -> list[dict[str, Any]]:
    """Return what the gateway itself has of this payment."""
    rows = school.control("GET", f"{gateway}/money")["payments"]
    return [row for row in rows if row["payment_id"] == payment_id]


def events(school: School) -> list[str]:
    with scope(tenant=school.tenant):
        return sorted(Event.objects.filter(type__startswith="payment.").values_list("type", flat=True))


@each_gateway
def test_a_payment_on_the_gateways_page_is_paid_once(school: School, until: Until, live_server: Any, gateway: str) -> None:
    connect(school, live_server, gateway)
    answer = ask(school, gateway)
    assert answer.status_code == 201, answer.json()
    body = answer.json()
    assert (body["status"], body["next_action"]["type"], body["provider"]) == ("requires_action", "redirect", gateway)
    assert body["next_action"]["url"].startswith(f"{school.simulator_url}/")

    payer(school, gateway, body["id"], "approve")
    done = until(lambda: found if (found := shown(school, body["id"]))["status"] == "succeeded" else None)

    assert (done["amount_captured"], done["amount_refunded"], done["next_action"]) == (150_000, 0, None)
    assert done["receipt_number"]
    assert done["provider_receipt"]
    (row,) = money(school, gateway, body["id"])
    assert (row["captured"], row["refunded"], row["currency"]) == (150_000, 0, "KES")
    assert events(school) == ["payment.completed"]


@each_gateway
def test_a_paid_payment_is_refunded_and_no_more_than_that(school: School, until: Until, live_server: Any, gateway: str) -> None:
    connect(school, live_server, gateway)
    payment = paid(school, until, gateway)
    answer = school.api.post("/api/v1/payments/refund", {"payment": payment["id"], "reason": "paid twice"}, format="json")
    assert answer.status_code == 201, answer.json()
    if answer.json()["status"] == "pending":
        school.control("POST", f"{gateway}/dashboard", json={"ref": payment["id"], "action": "settle_refund"})
    until(lambda: shown(school, payment["id"])["amount_refunded"] == 150_000)
    again = school.api.post("/api/v1/payments/refund", {"payment": payment["id"]}, format="json")
    assert again.status_code == 409
    assert [row["refunded"] for row in money(school, gateway, payment["id"])] == [150_000]
    assert len(shown(school, payment["id"])["refunds"]) == 1


@each_gateway
def test_a_refund_made_in_the_gateways_dashboard_is_recorded(
    school: School, until: Until, live_server: Any, gateway: str
) -> None:
    connect(school, live_server, gateway)
    payment = paid(school, until, gateway)
    school.control("POST", f"{gateway}/dashboard", json={"ref": payment["id"], "action": "refund", "amount": 150_000})
    if money(school, gateway, payment["id"])[0]["refunded"] == 0:
        school.control("POST", f"{gateway}/dashboard", json={"ref": payment["id"], "action": "settle_refund"})
    work_off()
    school.api.post(f"/api/v1/payments/{payment['id']}/sync")
    (refund,) = until(lambda: shown(school, payment["id"])["refunds"])
    assert (refund["origin"], refund["status"], refund["amount"]) == ("gateway", "succeeded", 150_000)
    assert shown(school, payment["id"])["amount_refunded"] == 150_000


@each_gateway
def test_an_amount_other_than_asked_for_is_conflicted_never_paid(
    school: School, until: Until, live_server: Any, gateway: str
) -> None:
    connect(school, live_server, gateway)
    payment_id = ask(school, gateway).json()["id"]
    school.fault(gateway, "status", "wrong_amount", times=-1)
    payer(school, gateway, payment_id, "approve")
    found = until(lambda: each if (each := shown(school, payment_id))["status"] == "conflicted" else None)
    assert (found["amount_captured"], found["reported"]["amount"] == 150_000) == (0, False)
    assert events(school) == ["payment.conflicted"]


@each_gateway
def test_two_requests_with_one_key_are_one_payment(school: School, until: Until, live_server: Any, gateway: str) -> None:
    connect(school, live_server, gateway)
    school.api.credentials(**school.api._credentials, HTTP_IDEMPOTENCY_KEY="one")
    first, second = ask(school, gateway), ask(school, gateway)
    assert (first.json()["id"], second.headers["Idempotent-Replayed"]) == (second.json()["id"], "true")
    assert len(money(school, gateway, first.json()["id"])) == 1


def route(school: School, *configs: Config) -> None:
    with scope(tenant=school.tenant):
        rule = RoutingRule.objects.create(tenant=school.tenant, name="pages", method_type="redirect", currency="KES")
        for position, config in enumerate(configs):
            RoutingStep.objects.create(tenant=school.tenant, rule=rule, config=config, position=position)


def test_the_next_gateway_is_asked_where_the_first_one_certainly_did_nothing(
    school: School, until: Until, live_server: Any
) -> None:
    route(school, connect(school, live_server, "pesapal"), connect(school, live_server, "flutterwave"))
    school.fault("pesapal", "authorize", "refuse", times=-1)
    body = ask(school, None).json()
    assert (body["status"], body["provider"]) == ("requires_action", "flutterwave")
    payer(school, "flutterwave", body["id"], "approve")
    until(lambda: shown(school, body["id"])["status"] == "succeeded")
    assert money(school, "pesapal", body["id"]) == []
    with scope(tenant=school.tenant):
        kinds = Payment.objects.get(pk=body["id"]).operations.order_by("created", "pk").values_list("provider", "status")
        assert list(kinds) == [("pesapal", "failed"), ("flutterwave", "succeeded")]


def test_a_decided_gateway_stays_with_its_payment_when_the_primary_changes(
    school: School, until: Until, live_server: Any
) -> None:
    first, second = connect(school, live_server, "pesapal"), connect(school, live_server, "flutterwave")
    school.api.post(f"/api/v1/integrations/configs/{first.pk}/primary", {"category": "payment"}, format="json")
    body = ask(school, None).json()
    assert body["provider"] == "pesapal"
    answer = school.api.post(f"/api/v1/integrations/configs/{second.pk}/primary", {"category": "payment"}, format="json")
    assert answer.status_code == 200, answer.json()
    payer(school, "pesapal", body["id"], "approve")
    done = until(lambda: found if (found := shown(school, body["id"]))["status"] == "succeeded" else None)
    assert done["provider"] == "pesapal"
    assert ask(school, None).json()["provider"] == "flutterwave"


@each_gateway
def test_an_account_that_is_removed_takes_no_new_payment_and_ends_the_old_one(
    school: School, until: Until, live_server: Any, gateway: str
) -> None:
    config = connect(school, live_server, gateway)
    payment_id = ask(school, gateway).json()["id"]
    assert school.api.delete(f"/api/v1/integrations/configs/{config.pk}").status_code in (200, 204)
    assert not Config.unscoped.get(pk=config.pk).is_active
    refused = ask(school, gateway)
    assert (refused.status_code, refused.json()["errors"][0]["attr"]) == (422, "provider"), refused.json()

    payer(school, gateway, payment_id, "approve")
    until(lambda: shown(school, payment_id)["status"] == "succeeded")
    answer = school.api.post("/api/v1/payments/refund", {"payment": payment_id}, format="json")
    assert answer.status_code == 201, answer.json()
    assert sum(row["captured"] for row in money(school, gateway, payment_id)) == 150_000


def test_an_unpaid_page_is_called_off_where_the_gateway_can(school: School, until: Until, live_server: Any) -> None:
    connect(school, live_server, "pesapal")
    payment_id = ask(school, "pesapal").json()["id"]
    answer = school.api.post(f"/api/v1/payments/{payment_id}/cancel")
    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled"), answer.json()
    again = school.api.post(f"/api/v1/payments/{payment_id}/cancel")
    assert again.status_code == 409


def test_what_a_gateway_can_not_do_is_said_and_changes_nothing(school: School, live_server: Any) -> None:
    connect(school, live_server, "flutterwave")
    payment_id = ask(school, "flutterwave").json()["id"]
    held = ask(school, "flutterwave", capture="manual")
    off = school.api.post(f"/api/v1/payments/{payment_id}/cancel")
    for answer in (held, off):
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["code"] == "unsupported_operation"
    taken = school.api.post("/api/v1/payments/capture", {"payment": payment_id}, format="json")
    assert taken.status_code == 409
    assert shown(school, payment_id)["status"] == "requires_action"
