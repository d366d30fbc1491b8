"""C2B in the simulated Daraja: registration, validation, confirmation, the pay form, and confirmations of STK payments."""

from __future__ import annotations

import re
import threading
from typing import Any

import pytest
import requests

from integrations.providers.mpesa.simulator.c2b import shown_msisdn
from integrations.providers.mpesa.tests.simulator.daraja import NORMAL, Daraja, assert_error
from tests.simulators.support import wait_for

ACCEPT = b'{"ResultCode":"0","ResultDesc":"Accepted","ThirdPartyTransID":"own-7"}'
REJECT = b'{"ResultCode":"C2B00012","ResultDesc":"Rejected"}'


def register(org: Daraja, version: int = 2, **changes: Any) -> requests.Response:
    body = {
        "ShortCode": org.shortcode,
        "ResponseType": "Completed",
        "ConfirmationURL": f"{org.hooks.url}/cb/abc123/c",
        "ValidationURL": f"{org.hooks.url}/cb/abc123/v",
        **changes,
    }
    return org.post(f"/mpesa/c2b/v{version}/registerurl", body)


def pay(org: Daraja, **changes: Any) -> Any:
    data = {"shortcode": org.shortcode, "amount": 1500, "msisdn": NORMAL, "bill_ref": "INV-0042", "name": "Jane Wanjiku"}
    return org.control("POST", "/mpesa/c2b", {**data, **changes})


def status(org: Daraja, receipt: str) -> str:
    found = org.running.store.get("mpesa", "c2b", receipt)
    assert found is not None
    return str(found["status"])


@pytest.mark.parametrize("version", [1, 2])
def test_registration_answers_with_the_misspelt_key(school: Daraja, version: int) -> None:
    answer = register(school, version)
    assert answer.status_code == 200
    assert list(answer.json()) == ["OriginatorCoversationID", "ResponseCode", "ResponseDescription"]
    assert (answer.json()["ResponseCode"], answer.json()["ResponseDescription"]) == ("0", "Success")
    assert register(school, version).status_code == 200


def test_production_like_registration_is_one_time(school: Daraja) -> None:
    school.control("PUT", "/mpesa/settings", {"register_once": True})
    assert register(school).status_code == 200
    second = register(school, ConfirmationURL=f"{school.hooks.url}/other")
    assert (second.status_code, second.json()["errorCode"]) == (500, "500.003.1001")
    assert school.simulator.state()["accounts"][0]["urls"]["confirmation"] == f"{school.hooks.url}/cb/abc123/c"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"ResponseType": "completed"}, "ResponseType"),
        ({"ShortCode": "600999"}, "ShortCode"),
        ({"ConfirmationURL": "http://127.0.0.1/mpesa/c"}, "ConfirmationURL"),
        ({"ValidationURL": "http://school.example/v"}, "ValidationURL"),
    ],
)
def test_registration_refusals(school: Daraja, changes: dict[str, Any], field: str) -> None:
    assert_error(register(school, **changes), 400, "400.002.02", f"Bad Request - Invalid {field}")
    assert school.simulator.state()["accounts"][0]["urls"] is None


def test_validation_then_confirmation_in_the_documented_form(school: Daraja) -> None:
    register(school)
    school.hooks.answer = (200, ACCEPT)
    started = pay(school)
    assert (started["status"], started["message"]) == ("validating", "Sent; you will get a confirmation.")
    (validation,) = school.hooks.wait(1, "/cb/abc123/v")
    expected = {
        "TransactionType": "Pay Bill",
        "TransID": started["TransID"],
        "TransTime": "20260710091526",
        "TransAmount": "1500.00",
        "BusinessShortCode": "600984",
        "BillRefNumber": "INV-0042",
        "InvoiceNumber": "",
        "OrgAccountBalance": "",
        "ThirdPartyTransID": "",
        "MSISDN": "2547 ***** 678",
        "FirstName": "JANE",
        "MiddleName": "",
        "LastName": "",
    }
    assert re.fullmatch(r"UGA[A-Z0-9]{7}", started["TransID"])
    assert (list(validation.json()), validation.json()) == (list(expected), expected)
    wait_for(lambda: status(school, started["TransID"]) == "completed")
    (confirmation,) = school.callbacks(1, "/cb/abc123/c")
    assert confirmation.json() == {**expected, "OrgAccountBalance": "51500.00", "ThirdPartyTransID": "own-7"}
    school.quiet()
    assert len(school.hooks.received) == 2


@pytest.mark.parametrize(
    ("answer", "response_type", "outcome"),
    [
        ((200, ACCEPT), "Cancelled", "completed"),
        ((200, b'{"ResultCode":0}'), "Cancelled", "completed"),
        ((200, REJECT), "Completed", "rejected"),
        ((500, b"{}"), "Completed", "completed"),
        ((500, b"{}"), "Cancelled", "rejected"),
        ((200, b"no json"), "Cancelled", "rejected"),
    ],
)
def test_the_validation_answer_decides(school: Daraja, answer: tuple[int, bytes], response_type: str, outcome: str) -> None:
    register(school, ResponseType=response_type)
    school.hooks.answer = answer
    receipt = pay(school)["TransID"]
    wait_for(lambda: status(school, receipt) != "validating")
    assert status(school, receipt) == outcome
    paid = outcome == "completed"
    if paid:
        school.callbacks(1, "/cb/abc123/c")
    school.clock.advance(60)
    school.quiet()
    assert len(school.hooks.at("/cb/abc123/c")) == paid
    assert [entry["receipt"] for entry in school.simulator.ledger.transactions()] == [receipt] * paid
    assert school.simulator.state()["accounts"][0]["balances"]["working"] == ("51500.00" if paid else "50000.00")


@pytest.mark.parametrize(("response_type", "outcome"), [("Completed", "completed"), ("Cancelled", "rejected")])
def test_a_validation_that_takes_too_long(school: Daraja, response_type: str, outcome: str) -> None:
    school.control("PUT", "/mpesa/settings", {"validation_timeout": 0.2})
    register(school, ResponseType=response_type)
    school.hooks.gate = threading.Event()
    receipt = pay(school)["TransID"]
    wait_for(lambda: status(school, receipt) == outcome)


def test_without_external_validation_only_the_confirmation_comes(school: Daraja) -> None:
    register(school, 1)
    account = school.control("PUT", "/mpesa/accounts/600984", {"validation_enabled": False})
    assert account["validation_enabled"] is False
    assert pay(school)["status"] == "completed"
    (confirmation,) = school.callbacks(1)
    assert confirmation.path == "/cb/abc123/c"
    # v1 of the registration shows the payer as a hash.
    assert confirmation.json()["MSISDN"] == shown_msisdn(NORMAL, 1)


def test_the_hash_vector() -> None:
    assert shown_msisdn("254708374149", 1) == "bbff37cea44ac0b2d964ee0dfb8d2df8513dc7ba1b36129a929fc3fbd6dd4af4"
    assert shown_msisdn("254708374149", 2) == "2547 ***** 149"


def test_simulate(school: Daraja, studio: Daraja) -> None:
    body = {"ShortCode": 600984, "CommandID": "CustomerPayBillOnline", "Amount": 100, "Msisdn": 254708374149}
    answer = school.post("/mpesa/c2b/v2/simulate", {**body, "BillRefNumber": "INV-0042"})
    assert list(answer.json()) == ["OriginatorCoversationID", "ResponseCode", "ResponseDescription"]
    assert_error(school.post("/mpesa/c2b/v2/simulate", body), 400, "400.002.02", "Bad Request - Invalid BillRefNumber")
    goods = {**body, "ShortCode": 5123456, "CommandID": "CustomerBuyGoodsOnline", "BillRefNumber": None}
    register(studio)
    assert studio.post("/mpesa/c2b/v2/simulate", goods).status_code == 200
    (validation,) = studio.hooks.wait(1, "/cb/abc123/v")
    shown = validation.json()
    assert (shown["TransactionType"], shown["BusinessShortCode"], shown["BillRefNumber"]) == ("Buy Goods", "5123456", "")
    # The names belong to the number, as in the sheet's example.
    assert shown["FirstName"] == "JANE"
    assert_error(school.post("/mpesa/c2b/v2/simulate", goods), 400, "400.002.02", "Bad Request - Invalid ShortCode")


def test_an_stk_payment_also_raises_a_confirmation_with_the_same_receipt(school: Daraja) -> None:
    register(school)
    receipt = school.paid()
    (confirmation,) = school.hooks.wait(1, "/cb/abc123/c")
    (callback,) = school.hooks.wait(1, "/cb/abc123/s")
    assert confirmation.json()["TransID"] == receipt
    assert callback.json()["Body"]["stkCallback"]["CallbackMetadata"]["Item"][1]["Value"] == receipt
    assert (confirmation.json()["BillRefNumber"], confirmation.json()["TransAmount"]) == ("INV-0042", "1500.00")
    school.quiet()
    assert school.hooks.at("/cb/abc123/v") == []


@pytest.mark.parametrize("tail", ["006", "021", "023"])
def test_a_number_with_lost_callbacks_loses_the_confirmation_too(school: Daraja, tail: str) -> None:
    register(school)
    if tail == "023":
        with pytest.raises(requests.ConnectionError):
            school.push("254700000023")
        school.clock.advance(1)
        wait_for(lambda: school.simulator.stk.pushes()[0]["receipt"])
    else:
        assert school.paid("254700000" + tail) != ""
    school.clock.advance(60)
    school.quiet()
    assert school.hooks.received == []


def test_a_wrong_amount_in_the_confirmation(school: Daraja) -> None:
    register(school)
    school.control("PUT", "/mpesa/accounts/600984", {"validation_enabled": False})
    school.control("POST", "/mpesa/faults", {"operation": "c2b_confirmation", "fault": "wrong_amount"})
    pay(school, amount=1)
    assert school.callbacks(1)[0].json()["TransAmount"] == "2.00"
    assert school.simulator.ledger.transactions()[0]["amount"] == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"shortcode": "600111"},
        {"amount": "10.50"},
        {"amount": 0},
        {"amount": 250_001},
        {"msisdn": "254200000000"},
        {"bill_ref": ""},
        {"bill_ref": "x" * 21},
        {"pin": "9999"},
    ],
)
def test_the_pay_form_refuses_nonsense(school: Daraja, changes: dict[str, Any]) -> None:
    data = {"shortcode": "600984", "amount": 1500, "msisdn": NORMAL, "bill_ref": "INV-0042", **changes}
    answer = requests.post(f"{school.running.url}/control/mpesa/c2b", json=data, timeout=5)
    assert answer.status_code == 400
    assert school.simulator.ledger.transactions() == []


def test_the_pay_form_is_on_the_phone_page_and_works_without_a_script(school: Daraja) -> None:
    page = requests.get(f"{school.running.url}/phone?number={NORMAL}", timeout=5).text
    assert 'action="/control/mpesa/c2b"' in page
    assert '<option value="600984">600984 · DEMO SCHOOL</option>' in page
    form = {"shortcode": "600984", "amount": "250", "msisdn": NORMAL, "bill_ref": "INV-1", "pin": "1234", "next": "/phone"}
    answer = requests.post(f"{school.running.url}/control/mpesa/c2b", data=form, timeout=5, allow_redirects=False)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/phone")
    assert [entry["amount"] for entry in school.simulator.ledger.transactions()] == [250]
