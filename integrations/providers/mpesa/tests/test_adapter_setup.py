"""Initiator calls, registration and the connection test against scripted answers."""

from __future__ import annotations

from typing import Any

import pytest

from integrations.contracts.errors import (
    AuthenticationFailed,
    BadReply,
    Conflict,
    Declined,
    InvalidRequest,
    ProviderUnavailable,
    UnsupportedOperation,
)
from integrations.contracts.money import Money
from integrations.contracts.payment import (
    PaymentResult,
    PaymentState,
    ReceiptQuery,
    RefundResult,
    RefundState,
)
from integrations.providers.mpesa.tests.support import (
    CALLBACK,
    CONVERSATION_REFERENCES,
    ORIGINATOR,
    adapter,
    answer,
    config,
    credential_of,
    error,
    fixture,
    reversal,
)


def test_reversal_sends_exactly_this() -> None:
    payments, http, _ = adapter(answer(fixture("initiator_accepted")))
    assert payments.refund(reversal()) == RefundResult(RefundState.PROCESSING, ORIGINATOR, references=CONVERSATION_REFERENCES)
    (sent,) = http.sent
    assert (sent.url, sent.operation, sent.safe) == ("/mpesa/reversal/v1/request", "reversal", False)
    assert credential_of(sent.json) == b"Canary#2026"
    assert sent.json == {
        "Initiator": "testapi",
        "CommandID": "TransactionReversal",
        "TransactionID": "UGA3K7P2QX",
        "Amount": 1500,
        "ReceiverParty": "174379",
        "RecieverIdentifierType": "11",
        "ResultURL": f"{CALLBACK}/r",
        "QueueTimeOutURL": f"{CALLBACK}/t",
        "Remarks": "Paid twice",
        "Occasion": "",
    }


def test_receipt_status_sends_exactly_this() -> None:
    payments, http, _ = adapter(answer(fixture("initiator_accepted")))
    assert payments.receipt_status(ReceiptQuery("UGA3K7P2QX", CALLBACK)) == PaymentResult(
        PaymentState.PROCESSING, receipt="UGA3K7P2QX", references=CONVERSATION_REFERENCES
    )
    (sent,) = http.sent
    assert (sent.url, sent.operation, sent.safe) == ("/mpesa/transactionstatus/v1/query", "transaction_status", True)
    assert credential_of(sent.json) == b"Canary#2026"
    assert sent.json == {
        "Initiator": "testapi",
        "CommandID": "TransactionStatusQuery",
        "TransactionID": "UGA3K7P2QX",
        "PartyA": "174379",
        "IdentifierType": "4",
        "ResultURL": f"{CALLBACK}/s",
        "QueueTimeOutURL": f"{CALLBACK}/u",
        "Remarks": "Status",
        "Occasion": "",
    }


def test_refund_status_asks_by_the_reversals_own_id() -> None:
    payments, http, _ = adapter(answer(fixture("initiator_accepted")))
    result = payments.refund_status(reversal(provider_ref="600997-1"))
    assert result == RefundResult(RefundState.PROCESSING, "600997-1", references=CONVERSATION_REFERENCES)
    (sent,) = http.sent
    assert (sent.operation, sent.safe) == ("transaction_status", True)
    assert (sent.json["OriginalConversationID"], "TransactionID" in sent.json) == ("600997-1", False)
    assert (sent.json["ResultURL"], sent.json["QueueTimeOutURL"]) == (f"{CALLBACK}/s", f"{CALLBACK}/u")


def test_a_reversal_whose_acceptance_got_lost_cannot_be_asked_for() -> None:
    payments, http, _ = adapter()
    with pytest.raises(UnsupportedOperation):
        payments.refund_status(reversal())
    assert http.sent == []


@pytest.mark.parametrize("receipt", ["", "SHORT", "UGA3K7P2QX; DROP", "UGA3K7P2QX" * 3])
def test_what_is_no_receipt_is_not_asked_for(receipt: str) -> None:
    payments, http, _ = adapter()
    with pytest.raises(InvalidRequest):
        payments.receipt_status(ReceiptQuery(receipt, CALLBACK))
    with pytest.raises(InvalidRequest):
        payments.refund(reversal(payment_receipt=receipt))
    assert http.sent == []


def test_part_of_a_shilling_is_not_refunded() -> None:
    payments, http, _ = adapter()
    with pytest.raises(InvalidRequest) as caught:
        payments.refund(reversal(money=Money(150_050, "KES")))
    assert caught.value.attr == "amount"
    assert http.sent == []


def test_without_an_initiator_nothing_is_sent() -> None:
    payments, http, _ = adapter(view=config(initiator=False))
    for call in (
        lambda: payments.refund(reversal()),
        lambda: payments.receipt_status(ReceiptQuery("UGA3K7P2QX", CALLBACK)),
    ):
        with pytest.raises(UnsupportedOperation):
            call()
    assert http.sent == []


@pytest.mark.parametrize("missing", ["OriginatorConversationID", "ConversationID", "ResponseCode"])
def test_an_acceptance_nobody_can_read(missing: str) -> None:
    body = {key: value for key, value in fixture("initiator_accepted").items() if key != missing}
    payments, _, _ = adapter(answer(body), answer(body))
    with pytest.raises(BadReply):
        payments.refund(reversal())
    with pytest.raises(ProviderUnavailable):
        payments.receipt_status(ReceiptQuery("UGA3K7P2QX", CALLBACK))


def test_a_reversal_that_is_not_accepted_is_declined() -> None:
    payments, _, _ = adapter(answer({**fixture("initiator_accepted"), "ResponseCode": "21"}))
    with pytest.raises(Declined) as caught:
        payments.refund(reversal())
    assert caught.value.provider_code == "21"


@pytest.mark.parametrize("code", ["0", "00000000", 0])
def test_registration_sends_exactly_this(code: Any) -> None:
    payments, http, _ = adapter(answer({**fixture("c2b_register"), "ResponseCode": code}))
    registration = payments.register_webhooks({"v": f"{CALLBACK}/v", "n": f"{CALLBACK}/n"})
    assert (registration.values, registration.secrets) == ({}, {})
    said = "M-Pesa now sends payments to 174379 here; validation only where Safaricom has switched it on."
    assert registration.detail == said
    (sent,) = http.sent
    assert (sent.url, sent.operation, sent.safe) == ("/mpesa/c2b/v2/registerurl", "c2b_register", True)
    assert sent.json == {
        "ShortCode": "174379",
        "ResponseType": "Completed",
        "ConfirmationURL": f"{CALLBACK}/n",
        "ValidationURL": f"{CALLBACK}/v",
    }


def test_registering_twice_is_a_conflict() -> None:
    payments, _, _ = adapter(error("500.003.1001", "Duplicate notification info"))
    with pytest.raises(Conflict):
        payments.register_webhooks({"v": f"{CALLBACK}/v", "n": f"{CALLBACK}/n"})


def test_a_forbidden_address_is_named_before_it_is_registered() -> None:
    payments, http, _ = adapter()
    with pytest.raises(InvalidRequest, match="'safaricom'"):
        payments.register_webhooks({"v": "https://x.example/safaricom/v", "n": f"{CALLBACK}/n"})
    assert http.sent == []


def test_connection_test_always_fetches_a_token() -> None:
    payments, http, tokens = adapter(
        answer(fixture("oauth")), error("500.001.1001", "The transaction does not Exist"), token="stored-token"
    )
    result = payments.test_connection()
    assert [sent.operation for sent in http.sent] == ["oauth", "stk_query"]
    assert tokens.token == "c9SQxWWhmdVRlyh0zh8gZDTkubVF"
    assert (result.ok, result.status) == (True, "ok")
    assert result.detail == (
        "Consumer key and secret accepted; shortcode and passkey accepted; certificate loads, initiator not tried."
    )


def test_connection_test_without_a_stored_token_fetches_once() -> None:
    payments, http, _ = adapter(answer(fixture("oauth")), answer(b"", 502), token="", view=config(initiator=False))
    result = payments.test_connection()
    assert [sent.operation for sent in http.sent] == ["oauth", "stk_query"]
    assert result.detail == (
        "Consumer key and secret accepted; shortcode and passkey not checked (M-Pesa could not answer (HTTP 502)); "
        "no initiator: refunds and receipt checks are off."
    )


def test_connection_test_finds_a_wrong_passkey() -> None:
    payments, _, _ = adapter(
        answer(fixture("oauth")), error("500.001.1001", "[MerchantValidate] - Wrong credentials"), token=""
    )
    with pytest.raises(AuthenticationFailed, match="shortcode and passkey"):
        payments.test_connection()


def test_connection_test_finds_wrong_keys() -> None:
    payments, _, _ = adapter(answer(b"", 400))
    with pytest.raises(AuthenticationFailed, match="consumer key or secret"):
        payments.test_connection()


def test_connection_test_finds_a_certificate_that_does_not_load() -> None:
    payments, _, _ = adapter(
        answer(fixture("oauth")), error("500.001.1001", "The transaction does not Exist"), view=config(certificate="rubbish")
    )
    with pytest.raises(AuthenticationFailed, match="certificate"):
        payments.test_connection()
