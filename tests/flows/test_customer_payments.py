"""Money that customers send by themselves (C2B): registered, validated, confirmed, matched or kept unallocated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django_scopes import scope

from payments.models import AllocationRule, Payment
from tests.factories import MovableClock, work_off
from tests.flows.conftest import School
from webhooks.inbound.models import Receipt
from webhooks.outbound.models import Event

pytestmark = pytest.mark.django_db(transaction=True)
Until = Callable[..., Any]

MSISDN = "254712345678"


@pytest.fixture(autouse=True)
def registered_urls(school: School) -> None:
    school.control("PUT", "mpesa/settings", json={"auto_delay": 0.1, "late_delay": 1.0})
    answer = school.api.post("/api/v1/integrations/setup/mpesa/webhooks", {"config": school.mpesa.pk}, format="json")
    assert answer.status_code == 200, answer.json()


def pay_bill(school: School, account: str = "INV-7", amount: int = 500) -> Any:
    return school.control(
        "POST",
        "mpesa/c2b",
        json={
            "shortcode": school.mpesa.values["shortcode"],
            "amount": amount,
            "msisdn": MSISDN,
            "bill_ref": account,
            "name": "JANE WANJIKU",
        },
    )


def event_types(school: School) -> list[str]:
    with scope(tenant=school.tenant):
        return list(Event.objects.filter(type__startswith="payment.").order_by("created", "pk").values_list("type", flat=True))


def only_payment(school: School) -> Payment | None:
    found = school.payments()
    return found[0] if len(found) == 1 and found[0].status == "succeeded" else None


def test_money_for_an_unknown_account_is_kept_unallocated_until_a_person_says(school: School, until: Until) -> None:
    pay_bill(school, "somebody")

    payment = until(lambda: only_payment(school))
    assert (payment.amount_captured, payment.origin, payment.allocated) == (50_000, "customer", False)
    assert len(payment.receipt) == 10
    listed = school.api.get("/api/v1/payments/unallocated").json()["results"]
    assert [each["id"] for each in listed] == [payment.pk]

    answer = school.api.post(
        f"/api/v1/payments/{payment.pk}/allocate", {"reference": {"type": "wallet", "id": "W-1"}}, format="json"
    )
    again = school.api.post(
        f"/api/v1/payments/{payment.pk}/allocate", {"reference": {"type": "wallet", "id": "W-2"}}, format="json"
    )

    assert answer.status_code == 200, answer.json()
    assert answer.json()["reference"] == {"type": "wallet", "id": "W-1"}
    assert again.status_code == 409
    assert school.api.get("/api/v1/payments/unallocated").json()["results"] == []
    assert event_types(school) == ["payment.completed", "payment.allocated"]


def test_money_finds_its_reference_by_rule_and_by_an_earlier_request(school: School, until: Until) -> None:
    with scope(tenant=school.tenant):
        AllocationRule.objects.create(tenant=school.tenant, pattern=r"INV-\d+", reference_type="invoice")
    pay_bill(school, "inv-7")
    payment = until(lambda: only_payment(school))
    assert (payment.reference_type, payment.reference_id, payment.allocated) == ("invoice", "inv-7", True)

    school.ask("0712345002", reference={"type": "fees", "id": "S-9"})
    until(lambda: [p for p in school.payments() if p.status == "cancelled"])
    pay_bill(school, "S-9", amount=1500)
    paid = until(lambda: [p for p in school.payments() if p.status == "succeeded" and p.account_number == "S-9"])
    assert [(p.reference_type, p.reference_id, p.allocated) for p in paid] == [("fees", "S-9", True)]


@pytest.mark.parametrize("tail", ["001", "009", "020"])
def test_one_push_reported_both_ways_is_one_payment(school: School, until: Until, tail: str) -> None:
    answer = school.ask(f"0712345{tail}")
    payment_id = answer.json()["id"]

    until(lambda: school.payment(payment_id).status == "succeeded")
    until(lambda: Receipt.unscoped.filter(purpose="n").exists())
    until(lambda: not Receipt.unscoped.filter(status="received").exclude(purpose="n").exists())

    (payment,) = school.payments()
    assert payment.receipt
    assert event_types(school) == ["payment.completed"]


def test_confirmation_makes_up_for_a_lost_callback_and_brings_the_receipt(
    school: School, until: Until, clock: MovableClock
) -> None:
    school.fault("mpesa", "stk_callback", "lose_callback")
    payment_id = school.ask("0712345001").json()["id"]
    until(lambda: Receipt.unscoped.filter(purpose="n").exists())

    def moved_on() -> bool:
        clock.advance(31)
        work_off()
        return bool(school.payment(payment_id).receipt)

    until(moved_on)

    (payment,) = school.payments()
    assert (payment.status, payment.amount_captured) == ("succeeded", 150_000)
    assert event_types(school) == ["payment.completed"]


def test_validation_refuses_what_the_school_does_not_know(school: School, until: Until) -> None:
    school.control("PUT", f"mpesa/accounts/{school.mpesa.values['shortcode']}", json={"validation_enabled": True})
    answer = school.api.patch(
        f"/api/v1/integrations/configs/{school.mpesa.pk}", {"values": {"c2b_accounts": "known"}}, format="json"
    )
    assert answer.status_code == 200, answer.json()
    with scope(tenant=school.tenant):
        AllocationRule.objects.create(tenant=school.tenant, pattern=r"INV-\d+", reference_type="invoice")

    pay_bill(school, "nobody")
    pay_bill(school, "INV-1")

    payment = until(lambda: only_payment(school))
    assert payment.account_number == "INV-1"


def confirmation(receipt: str, shortcode: str) -> dict[str, str]:
    return {
        "TransactionType": "Pay Bill",
        "TransID": receipt,
        "TransTime": "20260710091544",
        "TransAmount": "1500.00",
        "BusinessShortCode": shortcode,
        "BillRefNumber": "INV-0042",
        "InvoiceNumber": "",
        "OrgAccountBalance": "49197.00",
        "ThirdPartyTransID": "",
        "MSISDN": "2547 ***** 149",
        "FirstName": "JANE",
        "MiddleName": "",
        "LastName": "",
    }


def test_an_invented_confirmation_on_the_fixed_path_books_nothing(school: School, client: Any, until: Until) -> None:
    lie = confirmation("UGA3K7P2QX", school.mpesa.values["shortcode"])

    answer = client.post("/webhooks/mpesa/confirmation", lie, content_type="application/json")
    assert (answer.status_code, answer.json()) == (200, {"ResultCode": 0, "ResultDesc": "Success"})

    until(lambda: [p for p in school.payments() if p.status == "failed"])
    (payment,) = school.payments()
    assert (payment.amount_captured, payment.failure["code"]) == (0, "receipt_not_confirmed")
    assert len(school.seen("transaction_status")) == 1
    assert "payment.completed" not in event_types(school)


def test_a_true_confirmation_on_the_fixed_path_is_booked_after_asking(school: School, client: Any, until: Until) -> None:
    school.fault("mpesa", "c2b_confirmation", "lose_callback")
    pay_bill(school, "INV-0042", amount=1500)
    (transaction,) = until(lambda: school.control("GET", "mpesa/state")["transactions"])
    true = confirmation(transaction["receipt"], school.mpesa.values["shortcode"])

    client.post("/webhooks/mpesa/confirmation", true, content_type="application/json")

    payment = until(lambda: only_payment(school))
    assert (payment.amount_captured, payment.receipt) == (150_000, transaction["receipt"])
