"""The simulated Daraja, held against documented and observed bodies: OAuth, errors, STK push, query and callback."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from integrations.providers.mpesa.simulator import MpesaSimulator
from integrations.providers.mpesa.simulator.rules import acceptable_url, stk_password
from integrations.providers.mpesa.tests.simulator.daraja import NORMAL, Daraja, assert_error
from tests.simulators.support import wait_for

SUCCESS = "The service request is processed successfully."


# --- the published password vectors


def test_password_vectors() -> None:
    passkey = "bfb279f9aa9bdbcf158e97dd71a467cd2e0c893059b10f78e6b72ada1ed2c919"
    published = (
        "MTc0Mzc5YmZiMjc5ZjlhYTliZGJjZjE1OGU5N2RkNzFhNDY3Y2QyZTBjODkzMDU5YjEwZjc4ZTZiNzJhZGExZWQyYzkxOTIwMjQwMzMwMTIwNzEx"
    )
    assert stk_password("174379", passkey, "20240330120711") == published
    assert stk_password("174379", passkey, "20160216165627") == published[:-16] + "MTYwMjE2MTY1NjI3"


# --- accounts and OAuth


def test_demo_accounts_are_the_same_for_every_reader_of_the_folder(tmp_path: Path) -> None:
    first, second = MpesaSimulator.demo_accounts(tmp_path), MpesaSimulator.demo_accounts(tmp_path)
    assert first == second
    assert MpesaSimulator.demo_accounts(tmp_path / "other") != first
    assert [(each.label, each.values["shortcode"], each.values["product"]) for each in first] == [
        ("school", "600984", "paybill"),
        ("studio", "5123456", "till"),
    ]
    assert "store_number" not in first[0].values
    assert first[1].values["store_number"] == "600426"
    assert {frozenset(each.secrets) for each in first} == {
        frozenset({"consumer_key", "consumer_secret", "passkey", "initiator_password"})
    }
    assert first[0].values["certificate"].startswith("-----BEGIN CERTIFICATE-----\n")
    assert first[0].secrets["passkey"] not in repr(first[0])


def test_a_token_has_28_characters_and_a_lifetime_as_string(school: Daraja) -> None:
    answer = school.authenticate()
    assert (answer.status_code, list(answer.json())) == (200, ["access_token", "expires_in"])
    assert re.fullmatch(r"[A-Za-z0-9]{28}", answer.json()["access_token"])
    assert answer.json()["expires_in"] == "3599"


def test_oauth_refusals(school: Daraja) -> None:
    assert_error(school.authenticate(key="wrong"), 400, "400.008.01", "Invalid Authentication passed")
    assert_error(school.authenticate(grant="password"), 400, "400.008.02", "Invalid grant type passed")


@pytest.mark.parametrize("end", ["expired", "revoked", "unknown"])
@pytest.mark.parametrize("code", ["404.001.03", "401.002.01"])
def test_a_dead_token_is_refused_and_nothing_is_pushed(school: Daraja, end: str, code: str) -> None:
    school.control("PUT", "/mpesa/settings", {"token_error": code})
    school.token = school.authenticate().json()["access_token"]
    if end == "expired":
        school.clock.advance(3599)
    elif end == "revoked":
        assert school.control("POST", "/mpesa/tokens/revoke") == {"revoked": 1}
    else:
        school.token = "x" * 28
    message = "Invalid Access Token" if code.startswith("404") else "Error Occurred - Invalid Access Token"
    assert_error(school.push(), int(code[:3]), code, message)
    assert school.simulator.stk.pushes() == []


def test_paths_methods_and_headers(school: Daraja) -> None:
    url = f"{school.running.url}/mpesa/mpesa/stkpush/v1/processrequest"
    assert_error(requests.post(f"{url}x", json={}, timeout=5), 404, "404.001.01", "Resource not found")
    assert_error(requests.get(url, timeout=5), 405, "405.001", "Method Not Allowed")
    assert_error(requests.post(url, json={}, timeout=5), 404, "404.001.04", "Invalid Authentication Header")
    bearer = {"Authorization": f"Bearer {school.authenticate().json()['access_token']}"}
    untyped = requests.post(url, data=b"{}", headers=bearer, timeout=5)
    assert_error(untyped, 400, "400.002.02", "Bad Request - Invalid Content-Type")
    broken = requests.post(url, data=b"{", headers={**bearer, "Content-Type": "application/json"}, timeout=5)
    assert_error(broken, 400, "400.002.05", "Invalid Request Payload")


# --- STK push


def test_an_accepted_push(school: Daraja) -> None:
    answer = school.push()
    body = answer.json()
    assert answer.status_code == 200
    assert re.fullmatch(r"[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{16}", body.pop("MerchantRequestID"))
    assert re.fullmatch(r"ws_CO_10072026091526\d{3}712345678", body.pop("CheckoutRequestID"))
    assert body == {
        "ResponseCode": "0",
        "ResponseDescription": "Success. Request accepted for processing",
        "CustomerMessage": "Success. Request accepted for processing",
    }
    (prompt,) = school.control("GET", f"/phone/prompts?msisdn={NORMAL}")
    shown = {key: prompt[key] for key in ("merchant", "account", "amount", "currency", "status", "msisdn")}
    assert shown == {
        "merchant": "DEMO SCHOOL", "account": "INV-0042", "amount": 1500, "currency": "KES", "status": "waiting",
        "msisdn": NORMAL,
    }  # fmt: skip


def test_two_identical_pushes_are_two_prompts(school: Daraja) -> None:
    first, second = school.push().json(), school.push().json()
    assert first["CheckoutRequestID"] != second["CheckoutRequestID"]
    assert len(school.control("GET", "/phone/prompts")) == 2


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"Amount": 0}, "Amount"),
        ({"Amount": 250_001}, "Amount"),
        ({"Amount": 10.5}, "Amount"),
        ({"Amount": "10.00"}, "Amount"),
        ({"Amount": True}, "Amount"),
        ({"PhoneNumber": "0712345678"}, "PhoneNumber"),
        ({"PhoneNumber": "254212345678"}, "PhoneNumber"),
        ({"PartyA": "+254712345678"}, "PartyA"),
        ({"PartyB": "600999"}, "PartyB"),
        ({"BusinessShortCode": "abc"}, "BusinessShortCode"),
        ({"Timestamp": "20261310091526"}, "Timestamp"),
        ({"Timestamp": "2026071009152"}, "Timestamp"),
        ({"TransactionType": "CustomerBuyGoodsOnline"}, "TransactionType"),
        ({"TransactionType": None}, "TransactionType"),
        ({"AccountReference": "INV-000000042"}, "AccountReference"),
        ({"AccountReference": ""}, "AccountReference"),
        ({"CallBackURL": "http://example.com/cb"}, "CallBackURL"),
        ({"CallBackURL": None}, "CallBackURL"),
    ],
)
def test_invalid_fields_are_named_and_nothing_is_pushed(school: Daraja, changes: dict[str, Any], field: str) -> None:
    assert_error(school.push(**changes), 400, "400.002.02", f"Bad Request - Invalid {field}")
    assert school.simulator.stk.pushes() == []


@pytest.mark.parametrize("word", ["mpesa", "M-Pesa", "SAFARICOM", "exe", "exec", "cmd", "sql", "Query"])
def test_forbidden_words_in_urls(school: Daraja, word: str) -> None:
    answer = school.push(CallBackURL=f"https://school.example/hooks/x{word}y/s")
    assert_error(answer, 400, "400.002.02", "Bad Request - Invalid CallBackURL")


@pytest.mark.parametrize(
    ("url", "fits"),
    [
        ("https://school.example/cb/0af3/s", True),
        ("http://127.0.0.1:8000/cb/0af3/s", True),
        ("http://[::1]:8000/cb", True),
        ("http://localhost/cb", True),
        ("http://127.0.0.1.example/cb", False),
        ("http://10.0.0.1/cb", False),
        ("https://user@school.example/cb", False),
        ("https://school.example:x/cb", False),
        ("ftp://school.example/cb", False),
        ("school.example/cb", False),
        (7, False),
    ],
)
def test_callback_url_rules(url: Any, fits: bool) -> None:
    assert acceptable_url(url) is fits


def test_wrong_password_and_foreign_short_codes(school: Daraja, studio: Daraja) -> None:
    wrong = school.push(Password=school.password("20260710091527"))
    assert_error(wrong, 500, "500.001.1001", "[MerchantValidate] - Wrong credentials")
    assert_error(school.push(BusinessShortCode="600111"), 500, "500.001.1001", "Merchant does not exist")
    studio.token = school.authenticate().json()["access_token"]
    assert_error(studio.push(), 500, "500.001.1001", "Merchant does not exist")
    assert school.simulator.stk.pushes() == []


def test_a_till_pushes_with_its_store_number(studio: Daraja) -> None:
    assert studio.push().status_code == 200
    assert_error(studio.push(PartyB="600426"), 400, "400.002.02", "Bad Request - Invalid PartyB")
    assert_error(studio.push(BusinessShortCode="5123456"), 500, "500.001.1001", "Merchant does not exist")
    assert studio.simulator.stk.prompts()[0].merchant == "DEMO STUDIO"


# --- outcomes


def answer(school: Daraja, checkout: str, action: str, pin: str = "") -> Any:
    return school.control("POST", f"/phone/prompts/{checkout}", {"action": action, "pin": pin})


def test_paid_by_pin_the_callback_has_the_documented_form(school: Daraja) -> None:
    accepted = school.push().json()
    answer(school, accepted["CheckoutRequestID"], "pin", "1234")
    (callback,) = school.callbacks(1)
    assert callback.path == "/cb/abc123/s"
    assert callback.headers["content-type"] == "application/json;charset=UTF-8"
    assert callback.headers["businessshortcode"] == "600984"
    body = callback.json()
    receipt = body["Body"]["stkCallback"]["CallbackMetadata"]["Item"][1]["Value"]
    assert re.fullmatch(r"UGA[A-Z0-9]{7}", receipt)
    assert body == {
        "Body": {
            "stkCallback": {
                "MerchantRequestID": accepted["MerchantRequestID"],
                "CheckoutRequestID": accepted["CheckoutRequestID"],
                "ResultCode": 0,
                "ResultDesc": SUCCESS,
                "CallbackMetadata": {
                    "Item": [
                        {"Name": "Amount", "Value": 1500.0},
                        {"Name": "MpesaReceiptNumber", "Value": receipt},
                        {"Name": "Balance"},
                        {"Name": "TransactionDate", "Value": 20260710091526},
                        {"Name": "PhoneNumber", "Value": 254712345678},
                    ]
                },
            }
        }
    }
    assert b'"Value": 1500.0}' in callback.body
    school.quiet()
    school.clock.advance(1000)
    school.quiet()
    assert len(school.hooks.received) == 1
    assert school.simulator.state()["accounts"][0]["balances"]["working"] == "51500.00"


@pytest.mark.parametrize(
    ("action", "pin", "code", "text"),
    [
        ("cancel", "", 1032, "Request cancelled by user"),
        ("timeout", "", 1037, "DS timeout user cannot be reached"),
        ("pin", "4321", 2001, "The initiator information is invalid."),
        ("pin", "", 2001, "The initiator information is invalid."),
    ],
)
def test_failures_have_no_metadata_and_move_no_money(school: Daraja, action: str, pin: str, code: int, text: str) -> None:
    accepted = school.push().json()
    answer(school, accepted["CheckoutRequestID"], action, pin)
    (callback,) = school.callbacks(1)
    assert callback.json() == {
        "Body": {
            "stkCallback": {
                "MerchantRequestID": accepted["MerchantRequestID"],
                "CheckoutRequestID": accepted["CheckoutRequestID"],
                "ResultCode": code,
                "ResultDesc": text,
            }
        }
    }
    assert school.simulator.ledger.transactions() == []
    assert school.simulator.state()["accounts"][0]["balances"]["working"] == "50000.00"


def test_nobody_answers_for_60_seconds(school: Daraja) -> None:
    checkout = school.push().json()["CheckoutRequestID"]
    school.clock.advance(59)
    assert school.query(checkout).json()["ResultCode"] == "4999"
    assert school.hooks.received == []
    school.clock.advance(1)
    wait_for(lambda: school.simulator.stk.pushes()[0]["result"])
    (callback,) = school.callbacks(1)
    assert callback.json()["Body"]["stkCallback"]["ResultCode"] == 1037
    late = requests.post(
        f"{school.running.url}/control/phone/prompts/{checkout}", json={"action": "pin", "pin": "1234"}, timeout=5
    )
    assert (late.status_code, late.json()) == (400, {"error": "this prompt was answered already"})
    assert school.simulator.ledger.transactions() == []


def test_the_query_while_pending_and_after(school: Daraja, studio: Daraja) -> None:
    accepted = school.push().json()
    expected = {
        "ResponseCode": "0",
        "ResponseDescription": "The service request has been accepted successsfully",
        "MerchantRequestID": accepted["MerchantRequestID"],
        "CheckoutRequestID": accepted["CheckoutRequestID"],
    }
    checkout = accepted["CheckoutRequestID"]
    pending = {"ResultCode": "4999", "ResultDesc": "The transaction is still under processing"}
    assert school.query(checkout).json() == {**expected, **pending}
    answer(school, checkout, "cancel")
    assert school.query(checkout).json() == {**expected, "ResultCode": "1032", "ResultDesc": "Request cancelled by user"}
    assert_error(school.query("ws_CO_none"), 500, "500.001.1001", "The transaction does not Exist")
    assert_error(studio.query(checkout), 500, "500.001.1001", "The transaction does not Exist")
    wrong = school.query(checkout, Password="x")
    assert_error(wrong, 500, "500.001.1001", "[MerchantValidate] - Wrong credentials")


def test_200_parallel_answers_to_one_prompt_pay_once(school: Daraja) -> None:
    checkout = school.push().json()["CheckoutRequestID"]
    url = f"{school.running.url}/control/phone/prompts/{checkout}"

    def pay(_: int) -> int:
        return requests.post(url, json={"action": "pin", "pin": "1234"}, timeout=30).status_code

    with ThreadPoolExecutor(200) as pool:
        found = sorted(pool.map(pay, range(200)))
    assert found == [200] + [400] * 199
    assert len(school.simulator.ledger.transactions()) == 1


def test_a_waiting_prompt_is_found_among_many(school: Daraja) -> None:
    checkout = school.push().json()["CheckoutRequestID"]
    for _ in range(250):
        school.push("254799999999")
    assert [each["id"] for each in school.control("GET", f"/phone/prompts?msisdn={NORMAL}")] == [checkout]
