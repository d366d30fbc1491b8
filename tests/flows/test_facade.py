"""The Python facade against the fake gateways: one key is one payment, whichever way and however often it is asked."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import connections, transaction
from django_scopes import scope

from integrations.contracts.errors import Conflict, InvalidRequest
from integrations.models import IdempotencyRecord
from integrations.runtime import idempotency
from payments import facade
from payments.models import Operation, Payment
from tests.factories import MovableClock, make_config
from tests.flows.conftest import School
from tests.flows.test_gateways import connect, events, money, payer, shown

pytestmark = pytest.mark.django_db(transaction=True)
Until = Callable[..., Any]
BODY = {
    "amount": 150_000,
    "currency": "KES",
    "method": {"type": "redirect"},
    "provider": "pesapal",
    "customer": {"name": "Jane Wanjiku", "email": "jane@example.com"},
    "reference": {"type": "invoice", "id": "INV-0042"},
    "return_url": "https://school.example/thanks",
}


@pytest.fixture
def pages(school: School, live_server: Any) -> School:
    connect(school, live_server, "pesapal")
    return school


@pytest.fixture
def cards(school: School, live_server: Any) -> School:
    config = make_config(school.tenant, "stripe", account="school")
    url = f"{live_server.url}/hooks/{config.hook_token}/events"
    school.control("PUT", "stripe/accounts/school", json={"webhook_url": url})
    return school


def ask(school: School, key: str = "one", **more: Any) -> dict[str, Any]:
    reference = (BODY["reference"]["type"], BODY["reference"]["id"])  # type: ignore[index]
    given = {**BODY, "method": "redirect", "reference": reference, **more}
    return facade.request_payment(tenant=school.tenant, key=key, **given)  # type: ignore[arg-type]


def hold(school: School, **more: Any) -> dict[str, Any]:
    return facade.request_payment(
        tenant=school.tenant.slug, key="hold", amount=5000, currency="USD", provider="stripe", method="card",
        token="pm_card_visa", capture="manual", **more,
    )  # fmt: skip


def count(school: School) -> int:
    return len(school.payments())


def test_a_payment_from_request_to_receipt(pages: School, until: Until) -> None:
    asked = ask(pages, actor="finance")
    assert (asked["status"], asked["next_action"]["type"]) == ("requires_action", "redirect")
    payer(pages, "pesapal", asked["id"], "approve")
    done = until(
        lambda: found if (found := facade.get_payment(tenant=pages.tenant, payment=asked["id"]))["completed"] else None
    )
    assert done == shown(pages, asked["id"])
    assert facade.money_received(tenant=pages.tenant, reference=("invoice", "INV-0042")) == {"KES": 150_000}
    assert facade.receipt_pdf(tenant=pages.tenant, payment=asked["id"]).startswith(b"%PDF-")
    with scope(tenant=pages.tenant):
        assert pages.payment(asked["id"]).ledger.first().actor == "finance"  # type: ignore[union-attr]


def test_the_same_key_is_the_same_payment_by_python_and_by_http(pages: School) -> None:
    first = ask(pages)
    assert ask(pages) == first
    pages.api.credentials(**pages.api._credentials, HTTP_IDEMPOTENCY_KEY="one")
    by_http = pages.api.post("/api/v1/payments/authorize", BODY, format="json")
    assert (by_http.status_code, by_http.headers["Idempotent-Replayed"], by_http.json()) == (201, "true", first)

    pages.api.credentials(**{**pages.api._credentials, "HTTP_IDEMPOTENCY_KEY": "two"})
    second = pages.api.post("/api/v1/payments/authorize", BODY, format="json").json()
    assert second["id"] != first["id"]
    assert ask(pages, "two") == second
    assert count(pages) == 2


def test_a_key_with_another_request_is_refused_and_makes_nothing(pages: School) -> None:
    first = ask(pages)
    with pytest.raises(facade.KeyReused) as refused:
        ask(pages, amount=150_100)
    assert refused.value.attr == "key"
    with pytest.raises(facade.KeyReused):
        facade.refund(tenant=pages.tenant, key="one", payment=first["id"])
    assert [payment.pk for payment in pages.payments()] == [first["id"]]
    assert len(money(pages, "pesapal", first["id"])) == 1


def test_a_day_later_a_key_is_a_new_one(pages: School) -> None:
    first = ask(pages)
    IdempotencyRecord.unscoped.update(created=IdempotencyRecord.unscoped.get().created - timedelta(hours=24, seconds=1))
    assert ask(pages)["id"] != first["id"]


def test_a_refusal_frees_the_key(pages: School) -> None:
    with pytest.raises(InvalidRequest) as refused:
        ask(pages, customer={"name": "Jane Wanjiku"})
    assert refused.value.attr == "customer.email"
    assert (count(pages), IdempotencyRecord.unscoped.count()) == (0, 0)
    assert ask(pages)["status"] == "requires_action"


def test_a_refusal_that_the_api_stored_is_the_same_refusal_here(pages: School) -> None:
    pages.api.credentials(**pages.api._credentials, HTTP_IDEMPOTENCY_KEY="one")
    by_http = pages.api.post("/api/v1/payments/authorize", BODY | {"customer": {"name": "Jane Wanjiku"}}, format="json")
    assert by_http.status_code == 400
    with pytest.raises(InvalidRequest) as refused:
        ask(pages, customer={"name": "Jane Wanjiku"})
    error = by_http.json()["errors"][0]
    assert (refused.value.message, refused.value.attr) == (error["detail"], error["attr"])
    assert count(pages) == 0


def test_what_a_call_made_that_died_before_it_answered_is_found(
    pages: School, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Died(BaseException):
        """The process ends."""

    def die(*_args: Any) -> None:
        raise Died

    with monkeypatch.context() as patch:
        patch.setattr(idempotency, "_end", die)
        with pytest.raises(Died):
            ask(pages)
    (made,) = pages.payments()
    with pytest.raises(facade.KeyInUse) as busy:
        ask(pages)
    assert (busy.value.retryable, busy.value.retry_after) == (True, 1)
    clock.advance(61)
    assert ask(pages)["id"] == made.pk
    assert count(pages) == 1
    assert len(money(pages, "pesapal", made.pk)) == 1


def test_a_refusal_after_something_was_made_keeps_the_key_with_it(pages: School, monkeypatch: pytest.MonkeyPatch) -> None:
    start = facade.services.start_payment

    def refused_late(**given: Any) -> Payment:
        start(**given)
        raise InvalidRequest("The gateway knows no such number.", attr="method.phone")

    with monkeypatch.context() as patch:
        patch.setattr(facade.services, "start_payment", refused_late)
        with pytest.raises(InvalidRequest):
            ask(pages)
    (made,) = pages.payments()
    assert ask(pages)["id"] == made.pk
    assert count(pages) == 1


def test_a_request_on_commit_is_made_once_the_callers_own_rows_stand(pages: School) -> None:
    asked: list[dict[str, Any]] = []
    with transaction.atomic():
        transaction.on_commit(lambda: asked.append(ask(pages)))
        assert count(pages) == 0
    assert [each["status"] for each in asked] == ["requires_action"]
    assert count(pages) == 1


def test_calls_side_by_side_with_one_key_are_one_payment(pages: School) -> None:
    def call(_number: int) -> str:
        try:
            return str(ask(pages)["id"])
        except facade.KeyInUse:
            return "in use"
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as threads:
        answers = set(threads.map(call, range(16)))

    (payment,) = pages.payments()
    assert answers - {"in use"} == {payment.pk}
    assert len(money(pages, "pesapal", payment.pk)) == 1


def test_a_hold_is_captured_and_refunded_once_per_key(cards: School, until: Until) -> None:
    held = hold(cards)
    assert (held["status"], held["amount_capturable"]) == ("authorized", 5000)
    for _again in range(2):
        taken = facade.capture(tenant=cards.tenant, key="take", payment=held["id"], amount=3000, final=True)
        assert (taken["status"], taken["amount_captured"], taken["amount_voided"]) == ("succeeded", 3000, 2000)
    given = [
        facade.refund(tenant=cards.tenant, key=key, payment=held["id"], amount=1000, reason="lesson cancelled")
        for key in ("back", "back", "back again")
    ]
    assert [each["status"] for each in given] == ["succeeded"] * 3
    assert given[0] == given[1]
    assert given[2]["id"] != given[0]["id"]
    with pytest.raises(InvalidRequest) as refused:
        facade.refund(tenant=cards.tenant, key="too much", payment=held["id"], amount=1001)
    assert refused.value.attr == "amount"
    until(lambda: shown(cards, held["id"])["amount_refunded"] == 2000)
    (row,) = money(cards, "stripe", held["id"])
    assert (row["captured"], row["refunded"]) == (3000, 2000)
    with scope(tenant=cards.tenant):
        assert Operation.objects.filter(kind="refund").count() == 2
    assert events(cards).count("payment.refunded") == 2


def test_a_hold_is_released_once(cards: School) -> None:
    held = hold(cards)
    done = facade.cancel(tenant=cards.tenant, payment=held["id"])
    assert (done["status"], done["amount_voided"]) == ("cancelled", 5000)
    with pytest.raises(Conflict):
        facade.cancel(tenant=cards.tenant, payment=held["id"])
    assert [row["held"] for row in money(cards, "stripe", held["id"])] == [0]


def test_sync_asks_the_gateway_and_brings_what_was_done_there(cards: School) -> None:
    held = hold(cards)
    cards.control("PUT", "stripe/accounts/school", json={"webhook_url": ""})
    cards.control("POST", "stripe/dashboard", json={"ref": held["id"], "action": "capture", "amount": 5000})
    assert facade.sync(tenant=cards.tenant, payment=held["id"])["amount_captured"] == 5000


def test_a_declined_card_is_a_failed_payment_not_an_error(cards: School) -> None:
    declined = facade.request_payment(
        tenant=cards.tenant, key="no", amount=5000, currency="USD", provider="stripe", method="card",
        token="pm_card_chargeDeclinedInsufficientFunds",
    )  # fmt: skip
    assert (declined["status"], declined["failure"]["code"]) == ("failed", "insufficient_funds")
    with pytest.raises(Conflict):
        facade.capture(tenant=cards.tenant, key="take", payment=declined["id"])
    assert Payment.unscoped.get().amount_captured == 0
