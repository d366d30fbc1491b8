"""The main job and every way in which M-Pesa can spoil it: over real sockets, through the public API."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django_scopes import scope

from integrations.messaging.models import Message
from integrations.models import Alert, QueueItem
from payments.models import Payment
from tests.factories import MovableClock, work_off
from tests.flows.conftest import School
from webhooks.inbound.models import Receipt
from webhooks.outbound.models import Event

pytestmark = pytest.mark.django_db(transaction=True)

NORMAL = "0712345678"
MSISDN = "254712345678"
Until = Callable[..., Any]


@pytest.fixture(autouse=True)
def quick_simulator(school: School) -> None:
    school.control("PUT", "mpesa/settings", json={"auto_delay": 0.1, "late_delay": 1.0})


def number(tail: str) -> str:
    return f"0712345{tail}"


def events(school: School) -> list[str]:
    with scope(tenant=school.tenant):
        return list(Event.objects.filter(type__startswith="payment.").order_by("created", "pk").values_list("type", flat=True))


def test_a_fee_is_asked_for_confirmed_receipted_and_reported(school: School, until: Until) -> None:
    answer = school.ask(NORMAL)

    assert answer.status_code == 201, answer.json()
    body = answer.json()
    assert body["status"] == "processing"
    assert body["next_action"]["type"] == "confirm_on_phone"
    assert body["provider_ref"].startswith("ws_CO_")

    school.enter_pin(MSISDN)
    payment = until(lambda: school.payment(body["id"]) if school.payment(body["id"]).status == "succeeded" else None)
    until(lambda: school.inbox("+254712345678"))
    until(school.sink)
    until(lambda: any(entry.kind == "sms" and entry.status == "delivered" for entry in school.timeline(payment.pk)))

    assert (payment.amount_captured, payment.amount_refunded, payment.currency) == (150_000, 0, "KES")
    assert len(payment.receipt) == 10
    assert payment.receipt_number.endswith("-000001")
    (text,) = school.inbox("+254712345678")
    assert payment.receipt in text["text"]
    assert "1,500.00" in text["text"]
    assert "INV-0042" in text["text"]
    (received,) = [event for event in school.sink() if event["body"]["type"] == "payment.completed"]
    assert received["verified"] is True
    assert received["body"]["data"]["object"]["id"] == payment.pk
    assert received["body"]["data"]["object"]["amount"] == 150_000
    assert "254712345678" not in str(received["body"])
    kinds = {entry.kind for entry in school.timeline(payment.pk)}
    assert {"ledger", "call", "webhook", "sms", "delivery"} <= kinds
    assert len(school.seen("stk_push")) == 1
    page = school.api.get(f"/api/v1/payments/{payment.pk}/receipt")
    pdf = school.api.get(f"/api/v1/payments/{payment.pk}/receipt", HTTP_ACCEPT="application/pdf")
    assert (page.status_code, page["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert payment.receipt_number in page.content.decode()
    assert (pdf.status_code, pdf["Content-Type"], pdf.content[:5]) == (200, "application/pdf", b"%PDF-")


# number's tail -> (final status, failure code or None)
OUTCOMES = {
    "001": ("succeeded", None),
    "002": ("cancelled", "cancelled_by_payer"),
    "003": ("failed", "insufficient_funds"),
    "004": ("failed", "wrong_pin"),
    "005": ("expired", "payer_unreachable"),
    "007": ("succeeded", None),
    "008": ("conflicted", None),
    "009": ("succeeded", None),
    "010": ("succeeded", None),
    "014": ("failed", "payer_locked"),
    "015": ("failed", "provider_busy"),
    "016": ("failed", "provider_error"),
    "017": ("expired", "payment_expired"),
    "018": ("failed", "prompt_not_sent"),
    "019": ("failed", "prompt_not_sent"),
    "020": ("succeeded", None),
}


@pytest.mark.parametrize("tail", sorted(OUTCOMES))
def test_each_outcome_ends_in_its_state_with_one_event_and_one_push(school: School, until: Until, tail: str) -> None:
    status, failure = OUTCOMES[tail]

    answer = school.ask(number(tail))
    assert answer.status_code == 201, answer.json()
    payment_id = answer.json()["id"]
    payment = until(lambda: found if (found := school.payment(payment_id)).status == status else None)
    until(lambda: not QueueItem.unscoped.filter(kind="webhook.process", state="pending").exists())

    assert (payment.failure or {}).get("code") == failure
    assert payment.amount_captured == (150_000 if status == "succeeded" else 0)
    expected = {"succeeded": "payment.completed", "conflicted": "payment.conflicted"}.get(status, "payment.failed")
    assert events(school) == [expected]
    assert len(school.seen("stk_push")) == 1
    assert len(school.payments()) == 1


@pytest.mark.parametrize(("tail", "status"), [("006", "succeeded"), ("021", "succeeded"), ("024", "cancelled")])
def test_a_lost_callback_is_made_up_for_by_asking(
    school: School, until: Until, clock: MovableClock, tail: str, status: str
) -> None:
    payment_id = school.ask(number(tail)).json()["id"]
    assert school.payment(payment_id).status == "processing"

    def asked_again() -> Payment | None:
        clock.advance(61)
        work_off()
        found = school.payment(payment_id)
        return found if found.status == status else None

    payment = until(asked_again)

    assert payment.receipt == ""
    assert len(school.seen("stk_query")) >= 1
    assert len(school.seen("stk_push")) == 1
    assert events(school) == ["payment.completed" if status == "succeeded" else "payment.failed"]


def test_a_push_whose_answer_was_lost_is_not_sent_again_and_ends_paid(school: School, until: Until) -> None:
    school.fault("mpesa", "stk_push", "drop_after_accept")

    body = school.ask(NORMAL).json()
    assert body["status"] == "unknown"
    assert body["provider_ref"] == ""

    school.enter_pin(MSISDN)
    payment = until(lambda: found if (found := school.payment(body["id"])).status == "succeeded" else None)
    assert payment.provider_ref.startswith("ws_CO_")
    assert len(school.seen("stk_push")) == 1
    assert events(school) == ["payment.completed"]


def test_an_unknown_push_without_any_callback_goes_to_a_person(school: School, clock: MovableClock) -> None:
    payment_id = school.ask(number("023")).json()["id"]
    assert school.payment(payment_id).status == "unknown"

    clock.advance(901)
    work_off()

    assert school.payment(payment_id).status == "needs_review"
    assert Alert.objects.filter(tenant=school.tenant, kind="payment_needs_review", subject=payment_id).count() == 1
    assert len(school.seen("stk_push")) == 1


@pytest.mark.parametrize("fault", ["error_429", "refuse"])
def test_a_push_that_was_certainly_not_accepted_is_tried_again_within_its_time(
    school: School, clock: MovableClock, fault: str
) -> None:
    school.fault("mpesa", "oauth", fault)

    body = school.ask(NORMAL).json()
    assert body["status"] == "processing"
    assert school.seen("stk_push") == []

    clock.advance(65)
    work_off()

    assert len(school.seen("stk_push")) == 1
    assert len(school.prompts(MSISDN)) == 1


@pytest.mark.parametrize("tail", ["011", "012", "013"])
def test_a_push_that_is_refused_again_and_again_fails_when_its_time_is_over(
    school: School, clock: MovableClock, tail: str
) -> None:
    payment_id = school.ask(number(tail)).json()["id"]
    assert school.payment(payment_id).status == "processing"

    for _ in range(6):
        clock.advance(30)
        work_off()

    payment = school.payment(payment_id)
    assert payment.status == "failed"
    assert payment.failure["code"] in {"provider_rate_limited", "provider_unavailable", "expired"}
    assert school.prompts("254712345" + tail) == []
    assert events(school) == ["payment.failed"]
    assert Alert.objects.filter(tenant=school.tenant, kind="queue_item_failed").count() == 1


def test_a_result_that_nobody_documented_is_unknown_until_a_person_looks(
    school: School, until: Until, clock: MovableClock
) -> None:
    payment_id = school.ask(number("022")).json()["id"]
    until(lambda: school.payment(payment_id).status == "unknown")

    for _ in range(8):
        clock.advance(minutes=20)
        work_off()

    payment = school.payment(payment_id)
    assert (payment.status, payment.amount_captured) == ("needs_review", 0)
    assert events(school) == ["payment.needs_review"]


@pytest.mark.parametrize(
    ("operation", "fault", "more"),
    [
        ("stk_push", "delay", {"seconds": 0.5}),
        ("stk_callback", "duplicate_callback", {}),
        ("stk_callback", "delay_callback", {"seconds": 1.0}),
        ("stk_callback", "early_callback", {}),
    ],
)
def test_a_fault_of_the_control_page_changes_nothing_in_the_end(
    school: School, until: Until, operation: str, fault: str, more: dict[str, Any]
) -> None:
    school.fault("mpesa", operation, fault, **more)

    payment_id = school.ask(number("001")).json()["id"]
    payment = until(lambda: found if (found := school.payment(payment_id)).status == "succeeded" else None)
    until(lambda: not QueueItem.unscoped.filter(kind="webhook.process", state="pending").exists())

    assert payment.amount_captured == 150_000
    assert events(school) == ["payment.completed"]
    assert (len(school.payments()), len(school.seen("stk_push"))) == (1, 1)


def test_a_wrong_amount_set_on_the_control_page_is_a_conflict(school: School, until: Until) -> None:
    school.fault("mpesa", "stk_callback", "wrong_amount")

    payment_id = school.ask(number("001")).json()["id"]
    payment = until(lambda: found if (found := school.payment(payment_id)).status == "conflicted" else None)

    assert (payment.amount_captured, payment.reported_amount) == (0, 149_900)
    assert events(school) == ["payment.conflicted"]


def test_no_prompt_long_after_the_click(school: School, clock: MovableClock) -> None:
    school.fault("mpesa", "oauth", "error_500", times=-1)
    payment_id = school.ask(NORMAL).json()["id"]
    school.control("DELETE", "mpesa/faults")

    clock.advance(hours=8)
    work_off()

    payment = school.payment(payment_id)
    assert (payment.status, payment.failure["code"]) == ("failed", "expired")
    assert school.prompts(MSISDN) == []


@pytest.mark.parametrize("fault", ["error_500"])
def test_a_server_error_after_the_push_is_unknown_and_never_repeated(school: School, clock: MovableClock, fault: str) -> None:
    school.fault("mpesa", "stk_push", fault)

    payment_id = school.ask(NORMAL).json()["id"]
    assert school.payment(payment_id).status == "unknown"
    clock.advance(60)
    work_off()

    assert len(school.seen("stk_push")) <= 1
    assert school.payment(payment_id).status == "unknown"


def test_a_callback_for_an_unknown_request_changes_nothing(school: School, client: Any) -> None:
    body = {
        "Body": {
            "stkCallback": {
                "MerchantRequestID": "1-2-3",
                "CheckoutRequestID": "ws_CO_01012026000000000700000001",
                "ResultCode": 1032,
                "ResultDesc": "Request cancelled by user",
            }
        }
    }

    answer = client.post("/webhooks/mpesa/callback", body, content_type="application/json")
    unknown_path = client.post("/hooks/" + "ab" * 20 + "/c", body, content_type="application/json")
    work_off()

    assert answer.status_code == 200
    assert answer.json() == {"ResultCode": 0, "ResultDesc": "Success"}
    assert unknown_path.status_code == 404
    (receipt,) = Receipt.unscoped.all()
    assert (receipt.tenant_id, receipt.status) == (None, "unmatched")
    assert Payment.unscoped.count() == 0


def test_an_unsigned_success_is_only_a_hint(school: School, client: Any) -> None:
    asked = school.ask(NORMAL).json()
    lie = {
        "Body": {
            "stkCallback": {
                "MerchantRequestID": "1-2-3",
                "CheckoutRequestID": asked["provider_ref"],
                "ResultCode": 0,
                "ResultDesc": "The service request is processed successfully.",
                "CallbackMetadata": {
                    "Item": [
                        {"Name": "Amount", "Value": 1500.0},
                        {"Name": "MpesaReceiptNumber", "Value": "UGA3K7P2QX"},
                        {"Name": "TransactionDate", "Value": 20260710091544},
                        {"Name": "PhoneNumber", "Value": 254712345678},
                    ]
                },
            }
        }
    }

    assert client.post("/webhooks/mpesa/callback", lie, content_type="application/json").status_code == 200
    work_off()

    payment = school.payment(asked["id"])
    assert (payment.status, payment.receipt, payment.amount_captured) == ("processing", "", 0)
    assert len(school.seen("stk_query")) == 1
    assert events(school) == []


def test_refused_input_names_the_field_and_changes_nothing(school: School) -> None:
    for body, attr in [
        ({"amount": 150_050}, "amount"),
        ({"amount": 0}, "amount"),
        ({"amount": 25_000_100}, "amount"),
        ({"currency": "USD"}, "currency"),
        ({"method": {"type": "mobile_money", "phone": "12"}}, "method.phone"),
        ({"method": {"type": "card", "token": "tok"}}, "method.type"),
        ({"method": {"type": "card"}}, "method.token"),
        ({"provider": "nobody"}, "provider"),
        ({"surprise": 1}, "surprise"),
    ]:
        answer = school.ask(NORMAL, **body)
        assert answer.status_code in (400, 422), (body, answer.json())
        assert attr in [error["attr"] for error in answer.json()["errors"]], (body, answer.json())
    assert Payment.unscoped.count() == 0
    assert school.seen("stk_push") == []
    assert Message.unscoped.count() == 0
