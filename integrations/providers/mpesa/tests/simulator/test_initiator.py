"""B2C, transaction status, reversal and balance of the simulated Daraja: acknowledgement, result, timeout, refusals."""

from __future__ import annotations

import re
from typing import Any

import pytest
import requests

from integrations.providers.mpesa.tests.simulator.daraja import NORMAL, Daraja, assert_error

SUCCESS = "The service request is processed successfully."
REFERENCE = {
    "ReferenceItem": {
        "Key": "QueueTimeoutURL",
        "Value": "https://internalsandbox.safaricom.co.ke/mpesa/b2cresults/v1/submit",
    }
}
RESULT, TIMEOUT = "/cb/abc123/r", "/cb/abc123/t"


def b2c(org: Daraja, own_id: str | None = "600984_hub_7f3a", version: int = 3, **changes: Any) -> requests.Response:
    body = org.initiator_body(
        OriginatorConversationID=own_id, InitiatorName=org.account.values["initiator_name"], Initiator=None,
        CommandID="BusinessPayment", Amount=500, PartyA=org.shortcode, PartyB=NORMAL, Occassion="",
    )  # fmt: skip
    return org.post(f"/mpesa/b2c/v{version}/paymentrequest", {**body, **changes})


def reverse(org: Daraja, receipt: str, amount: int = 1500, **changes: Any) -> requests.Response:
    body = org.initiator_body(
        CommandID="TransactionReversal", TransactionID=receipt, Amount=amount, ReceiverParty=org.shortcode,
        RecieverIdentifierType="11", Occasion="",
    )  # fmt: skip
    return org.post("/mpesa/reversal/v1/request", {**body, **changes})


def ask(org: Daraja, **changes: Any) -> requests.Response:
    body = org.initiator_body(
        CommandID="TransactionStatusQuery", PartyA=org.shortcode, IdentifierType="4", Occasion="", **changes
    )
    return org.post("/mpesa/transactionstatus/v1/query", body)


def balance(org: Daraja, **changes: Any) -> requests.Response:
    body = org.initiator_body(CommandID="AccountBalance", PartyA=org.shortcode, IdentifierType="4")
    return org.post("/mpesa/accountbalance/v1/query", {**body, **changes})


def result(org: Daraja, path: str = RESULT) -> Any:
    """Return the newest result, when it has come."""
    count = len(org.hooks.at(path)) + 1
    return org.callbacks(count, path)[-1].json()["Result"]


def keyed(found: Any) -> list[tuple[str, Any]]:
    return [(item["Key"], item.get("Value")) for item in found["ResultParameters"]["ResultParameter"]]


def balances(org: Daraja) -> dict[str, str]:
    return dict(org.simulator.state()["accounts"][0]["balances"])


def test_b2c_acknowledgement_and_result(school: Daraja) -> None:
    answer = b2c(school)
    ack = answer.json()
    conversation = ack["ConversationID"]
    assert re.fullmatch(r"AG_20260710_[0-9a-f]{20}", conversation)
    assert (answer.status_code, ack) == (
        200,
        {
            "OriginatorConversationID": "600984_hub_7f3a",
            "ConversationID": conversation,
            "ResponseCode": "0",
            "ResponseDescription": "Accept the service request successfully.",
        },
    )
    found = result(school)
    receipt = found["TransactionID"]
    assert re.fullmatch(r"UGA[A-Z0-9]{7}", receipt)
    assert found == {
        "ResultType": 0,
        "ResultCode": 0,
        "ResultDesc": SUCCESS,
        "OriginatorConversationID": "600984_hub_7f3a",
        "ConversationID": conversation,
        "TransactionID": receipt,
        "ResultParameters": {
            "ResultParameter": [
                {"Key": "TransactionAmount", "Value": 500},
                {"Key": "TransactionReceipt", "Value": receipt},
                {"Key": "ReceiverPartyPublicName", "Value": "254712345678 - GRACE WANJIKU"},
                {"Key": "TransactionCompletedDateTime", "Value": "10.07.2026 09:15:26"},
                {"Key": "B2CUtilityAccountAvailableFunds", "Value": 49500.0},
                {"Key": "B2CWorkingAccountAvailableFunds", "Value": 50000.0},
                {"Key": "B2CRecipientIsRegisteredCustomer", "Value": "Y"},
                {"Key": "B2CChargesPaidAccountAvailableFunds", "Value": 0.0},
            ]
        },
        "ReferenceData": REFERENCE,
    }


def test_a_used_conversation_id_pays_once(school: Daraja) -> None:
    b2c(school)
    assert_error(b2c(school), 500, "500.002.1001", "Duplicate OriginatorConversationID.")
    assert balances(school)["utility"] == "49500.00"
    # v1 has no such id and so pays again.
    assert b2c(school, None, 1).status_code == 200
    assert b2c(school, None, 1).status_code == 200
    assert balances(school)["utility"] == "48500.00"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"Amount": 9}, "Amount"),
        ({"Amount": 250_001}, "Amount"),
        ({"PartyB": "0712345678"}, "PartyB"),
        ({"PartyA": "600999"}, "PartyA"),
        ({"CommandID": "Gift"}, "CommandID"),
        ({"Remarks": "x"}, "Remarks"),
        ({"Occassion": "x" * 101}, "Occassion"),
        ({"OriginatorConversationID": ""}, "OriginatorConversationID"),
        ({"SecurityCredential": ""}, "SecurityCredential"),
        ({"ResultURL": "https://hub.example/mpesa/r"}, "ResultURL"),
        ({"QueueTimeOutURL": ""}, "QueueTimeOutURL"),
    ],
)
def test_b2c_refusals_leave_no_trace(school: Daraja, changes: dict[str, Any], field: str) -> None:
    assert_error(b2c(school, **changes), 400, "400.002.02", f"Bad Request - Invalid {field}")
    assert balances(school)["utility"] == "50000.00"
    assert b2c(school).status_code == 200


@pytest.mark.parametrize("wrong", ["password", "other key", "no base64", "initiator"])
def test_a_wrong_credential_is_result_2001(school: Daraja, wrong: str) -> None:
    changes: dict[str, Any] = {
        "password": {"SecurityCredential": school.credential("Wrong#1")},
        "other key": {"SecurityCredential": "QUJD" * 86},
        "no base64": {"SecurityCredential": "*"},
        "initiator": {"InitiatorName": "testapi"},
    }[wrong]
    ack = b2c(school, **changes).json()
    assert result(school) == {
        "ResultType": 0,
        "ResultCode": 2001,
        "ResultDesc": "The initiator information is invalid.",
        "OriginatorConversationID": "600984_hub_7f3a",
        "ConversationID": ack["ConversationID"],
        "TransactionID": "UGA0000000",
        "ReferenceData": REFERENCE,
    }
    assert balances(school)["utility"] == "50000.00"


def test_a_locked_credential(school: Daraja) -> None:
    school.control("PUT", "/mpesa/accounts/600984", {"credential_locked": True})
    balance(school)
    assert result(school)["ResultCode"] == 8006


@pytest.mark.parametrize(("tail", "code"), [("003", 1), ("015", 26), ("040", 2040), ("041", 8)])
def test_b2c_outcomes_by_number(school: Daraja, tail: str, code: int) -> None:
    b2c(school, PartyB="254700000" + tail)
    found = result(school)
    assert (found["ResultCode"], found["TransactionID"], "ResultParameters" in found) == (code, "UGA0000000", False)
    assert balances(school)["utility"] == "50000.00"


def test_b2c_from_an_empty_account(school: Daraja) -> None:
    school.control("PUT", "/mpesa/accounts/600984", {"utility": 49_999})
    b2c(school)
    assert result(school)["ResultCode"] == 1
    assert balances(school)["utility"] == "499.99"


def test_b2c_lost_twice_dropped_and_timed_out(school: Daraja) -> None:
    b2c(school, "id-1", PartyB="254700000006")
    b2c(school, "id-2", PartyB="254700000007")
    with pytest.raises(requests.ConnectionError):
        b2c(school, "id-3", PartyB="254700000010")
    ack = b2c(school, "id-4", PartyB="254700000042").json()
    found = [each.json()["Result"]["OriginatorConversationID"] for each in school.callbacks(3, RESULT)]
    (timed_out,) = school.hooks.wait(1, TIMEOUT)
    school.quiet()
    assert sorted(found) == ["id-2", "id-2", "id-3"]
    assert len(school.hooks.received) == 4
    assert timed_out.json()["Result"] == {
        "ResultType": 0,
        "ResultCode": 1037,
        "ResultDesc": "The service request timed out in the queue.",
        "OriginatorConversationID": "id-4",
        "ConversationID": ack["ConversationID"],
        "TransactionID": "UGA0000000",
        "ReferenceData": REFERENCE,
    }
    # All four were paid nevertheless; a status query tells.
    assert balances(school)["utility"] == "48000.00"
    ask(school, OriginalConversationID="id-4")
    assert ("TransactionStatus", "Completed") in keyed(result(school))


# --- reversal


def test_a_reversal_gives_the_money_back_once(school: Daraja) -> None:
    receipt = school.paid()
    assert balances(school)["working"] == "51500.00"
    reverse(school, receipt)
    found = result(school)
    assert (found["ResultCode"], found["ResultDesc"]) == ("0", SUCCESS)
    assert re.fullmatch(r"UGA[A-Z0-9]{7}", found["TransactionID"])
    assert found["TransactionID"] != receipt
    assert keyed(found) == [
        ("DebitAccountBalance", "Working Account|KES|50000.00|50000.00|0.00|0.00"),
        ("Amount", 1500),
        ("TransCompletedTime", 20260710091546),
        ("OriginalTransactionID", receipt),
        ("Charge", 0),
        ("CreditPartyPublicName", "254712345678 - GRACE WANJIKU"),
        ("DebitPartyPublicName", "600984 - DEMO SCHOOL"),
    ]
    reverse(school, receipt)
    again = result(school)
    assert (again["ResultCode"], again["TransactionID"]) == ("R000001", "UGA0000000")
    assert balances(school)["working"] == "50000.00"


def test_reversals_that_cannot_be(school: Daraja, studio: Daraja) -> None:
    receipt = school.paid()
    b2c(school)
    paid_out = result(school)["TransactionID"]
    for org, original, amount, code in (
        (school, "UGA1234567", 1500, "R000002"),
        (school, paid_out, 500, "R000002"),
        (studio, receipt, 1500, "R000002"),
        (school, receipt, 1501, "3"),
    ):
        assert reverse(org, original, amount).status_code == 200
        assert result(org)["ResultCode"] == code
    school.control("PUT", "/mpesa/accounts/600984", {"working": 100})
    reverse(school, receipt)
    assert result(school)["ResultCode"] == "1"
    assert (balances(school)["working"], school.simulator.ledger.transaction(receipt)) == (
        "1.00",
        {**(school.simulator.ledger.transaction(receipt) or {}), "reversed_by": ""},
    )


@pytest.mark.parametrize("field", ["RecieverIdentifierType", "Remarks", "TransactionID", "CommandID", "ReceiverParty"])
def test_reversal_refusals(school: Daraja, field: str) -> None:
    receipt = school.paid()
    changes: dict[str, Any] = {field: "" if field == "TransactionID" else "4"}
    answer = reverse(school, receipt, **changes)
    assert_error(answer, 400, "400.002.02", f"Bad Request - Invalid {field}")
    assert balances(school)["working"] == "51500.00"


@pytest.mark.parametrize(
    ("tail", "results", "timeouts", "left"),
    [
        ("031", ["1"], 0, "51500.00"),
        ("032", [], 1, "50000.00"),
        ("033", [], 0, "50000.00"),
        ("034", ["0", "0"], 0, "50000.00"),
        ("035", ["0"], 0, "50000.00"),
    ],
)
def test_reversal_outcomes_by_number(school: Daraja, tail: str, results: list[str], timeouts: int, left: str) -> None:
    receipt = school.paid("254700000" + tail)
    if tail == "035":
        with pytest.raises(requests.ConnectionError):
            reverse(school, receipt)
    else:
        assert reverse(school, receipt).status_code == 200
    school.clock.advance(1)
    found = [each.json()["Result"]["ResultCode"] for each in school.hooks.wait(len(results), RESULT)] if results else []
    school.quiet()
    assert found == results
    assert (len(school.hooks.at(RESULT)), len(school.hooks.at(TIMEOUT))) == (len(results), timeouts)
    assert balances(school)["working"] == left


def test_queue_timeout_and_early_result_by_control(school: Daraja) -> None:
    receipt = school.paid()
    school.control("POST", "/mpesa/faults", {"operation": "account_balance", "fault": "queue_timeout"})
    balance(school)
    assert result(school, TIMEOUT)["ResultCode"] == 1037
    school.control("POST", "/mpesa/faults", {"operation": "reversal", "fault": "early_callback"})
    ack = reverse(school, receipt).json()
    (early,) = school.hooks.at(RESULT)
    assert early.json()["Result"]["ConversationID"] == ack["ConversationID"]


# --- status and balance


def test_status_of_a_payment_by_receipt_and_by_the_push_ids(school: Daraja) -> None:
    receipt = school.paid()
    push = school.simulator.stk.pushes()[0]
    ask(school, TransactionID=receipt)
    found = result(school)
    assert (found["ResultCode"], found["TransactionID"]) == (0, "UGA0000000")
    assert found["ReferenceData"] == {"ReferenceItem": {"Key": "Occasion"}}
    expected = [
        ("DebitPartyName", "254712345678 - GRACE WANJIKU"),
        ("DebitPartyName", "600984 - DEMO SCHOOL"),
        ("CreditPartyName", "600984 - DEMO SCHOOL"),
        ("OriginatorConversationID", push["merchant_id"]),
        ("ConversationID", push["checkout"]),
        ("InitiatedTime", "20260710091526"),
        ("FinalisedTime", "20260710091526"),
        ("DebitAccountType", "MMF Account For Customer"),
        ("DebitPartyCharges", None),
        ("TransactionReason", None),
        ("ReasonType", "Pay Bill Online"),
        ("TransactionStatus", "Completed"),
        ("ReceiptNo", receipt),
        ("Amount", "1500"),
    ]
    assert keyed(found) == expected
    assert {"Key": "TransactionReason"} in found["ResultParameters"]["ResultParameter"]
    for conversation in (push["merchant_id"], push["checkout"]):
        ask(school, OriginalConversationID=conversation)
        assert keyed(result(school)) == expected


@pytest.mark.parametrize(("action", "state"), [(None, "Pending Authorized"), ("cancel", "Cancelled"), ("timeout", "Expired")])
def test_status_of_a_push_that_is_not_paid(school: Daraja, action: str | None, state: str) -> None:
    push = school.push().json()
    if action:
        school.control("POST", f"/phone/prompts/{push['CheckoutRequestID']}", {"action": action})
    ask(school, OriginalConversationID=push["MerchantRequestID"])
    found = dict(keyed(result(school)))
    assert (found["TransactionStatus"], "ReceiptNo" in found) == (state, False)


def test_status_of_what_does_not_exist_or_is_another_s(school: Daraja, studio: Daraja) -> None:
    receipt = school.paid()
    for org, field, value in (
        (school, "TransactionID", "UGA1234567"),
        (school, "OriginalConversationID", "none"),
        (studio, "TransactionID", receipt),
        (studio, "OriginalConversationID", school.simulator.stk.pushes()[0]["checkout"]),
    ):
        ask(org, **{field: value})
        assert result(org)["ResultCode"] == "R000002"
    assert_error(ask(school), 400, "400.002.02", "Bad Request - Invalid TransactionID")


def test_status_of_a_reversal_that_failed(school: Daraja) -> None:
    ack = reverse(school, "UGA1234567").json()
    result(school)
    ask(school, OriginalConversationID=ack["OriginatorConversationID"])
    assert dict(keyed(result(school)))["TransactionStatus"] == "Declined"


def test_balance(school: Daraja) -> None:
    school.paid()
    school.control("PUT", "/mpesa/accounts/600984", {"charges": -1540})
    balance(school)
    assert keyed(result(school)) == [
        (
            "AccountBalance",
            "Working Account|KES|51500.00|51500.00|0.00|0.00&Utility Account|KES|50000.00|50000.00|0.00|0.00"
            "&Charges Paid Account|KES|-15.40|-15.40|0.00|0.00",
        ),
        ("BOCompletedTime", 20260710091546),
    ]
