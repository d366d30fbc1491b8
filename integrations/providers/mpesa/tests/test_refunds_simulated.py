"""Receipt checks, and reversals over real sockets against the simulated Daraja; what the log may show."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from integrations.contracts.errors import (
    OutcomeUnknown,
    UnsupportedOperation,
)
from integrations.contracts.inbound import (
    ReceiptReported,
    RefundReported,
)
from integrations.contracts.payment import (
    PaymentState,
    ReceiptQuery,
    RefundState,
)
from integrations.http.client import HttpClient, SilentRecorder
from integrations.http.masking import Mask
from integrations.providers.mpesa.adapter import MpesaPayments
from integrations.providers.mpesa.provider import PROVIDER
from integrations.providers.mpesa.tests.hub import START, Hub
from integrations.providers.mpesa.tests.support import KES_1500, push, reversal


def test_a_receipt_is_confirmed_with_its_amount(school: Hub, studio: Hub) -> None:
    for hub in (school, studio):
        receipt = hub.paid().receipt
        asked = hub.adapter().receipt_status(ReceiptQuery(receipt, hub.base))
        assert (asked.state, asked.receipt) == (PaymentState.PROCESSING, receipt)
        (event,) = hub.events("s", "receipt:pay_1")
        assert isinstance(event, ReceiptReported)
        assert (event.receipt, event.confirmed, event.money) == (receipt, True, KES_1500)


def test_another_shortcodes_receipt_and_an_invented_one_are_refuted(school: Hub, studio: Hub) -> None:
    school.adapter().receipt_status(ReceiptQuery(studio.paid().receipt, school.base))
    school.adapter().receipt_status(ReceiptQuery("ZZZ0000001", school.base))
    for event in school.events("s", "receipt:pay_1", count=2):
        assert isinstance(event, ReceiptReported)
        assert (event.confirmed, event.money) == (False, None)


def test_a_reversal_gives_the_money_back_once(school: Hub, studio: Hub) -> None:
    for hub in (school, studio):
        receipt = hub.paid().receipt
        request = reversal(payment_receipt=receipt, callback_url=hub.base)
        accepted = hub.adapter().refund(request)
        assert accepted.state is RefundState.PROCESSING
        (done,) = hub.events("r", "refund:re_1")
        assert isinstance(done, RefundReported)
        assert (done.state, done.provider_ref, done.failure) == (RefundState.SUCCEEDED, accepted.provider_ref, None)
        assert len(done.receipt) == 10
        hub.adapter().refund(request)
        again = hub.events("r", "refund:re_1", count=2)[1]
        assert isinstance(again, RefundReported)
        assert (again.state, again.failure and again.failure.code) == (RefundState.UNKNOWN, "already_refunded")
        hub.adapter().receipt_status(ReceiptQuery(done.receipt, hub.base))
        (of_reversal,) = hub.events("s", "receipt:pay_1")
        assert isinstance(of_reversal, ReceiptReported)
        assert of_reversal.confirmed is False, "a reversal's receipt must not pass for money that came in"


@pytest.mark.parametrize(
    ("tail", "purpose", "state"),
    [("032", "t", RefundState.UNKNOWN), ("033", "", None), ("031", "r", RefundState.FAILED)],
)
def test_what_became_of_a_reversal_can_be_asked(school: Hub, tail: str, purpose: str, state: RefundState | None) -> None:
    receipt = school.paid(f"254712345{tail}").receipt
    accepted = school.adapter().refund(reversal(payment_receipt=receipt, callback_url=school.base))
    if purpose:
        (told,) = school.events(purpose, "refund:re_1")
        assert isinstance(told, RefundReported)
        assert told.state is state
    asked = school.adapter().refund_status(
        reversal(payment_receipt=receipt, callback_url=school.base, provider_ref=accepted.provider_ref)
    )
    assert (asked.state, asked.provider_ref) == (RefundState.PROCESSING, accepted.provider_ref)
    (event,) = school.events("s", "refund:re_1")
    assert isinstance(event, RefundReported)
    assert event.state is (RefundState.FAILED if tail == "031" else RefundState.SUCCEEDED)
    assert (event.provider_ref, event.token_object) == ("", "refund:re_1")
    assert school.asked("reversal") == 1


def test_a_reversal_whose_answer_got_lost_is_told_by_its_callback(school: Hub) -> None:
    receipt = school.paid("254712345035").receipt
    request = reversal(payment_receipt=receipt, callback_url=school.base)
    with pytest.raises(OutcomeUnknown):
        school.adapter().refund(request)
    (event,) = school.events("r", "refund:re_1")
    assert isinstance(event, RefundReported)
    assert event.state is RefundState.SUCCEEDED
    with pytest.raises(UnsupportedOperation):
        school.adapter().refund_status(request)
    assert school.asked("reversal") == 1


def test_a_wrong_initiator_is_told_by_the_result(school: Hub) -> None:
    receipt = school.paid().receipt
    adapter = school.adapter(initiator_password="Wrong#1")
    adapter.refund(reversal(payment_receipt=receipt, callback_url=school.base))
    (event,) = school.events("r", "refund:re_1")
    assert isinstance(event, RefundReported)
    assert (event.state, event.failure and event.failure.code) == (RefundState.FAILED, "credentials_refused")


def test_a_locked_initiator_is_no_news_of_the_refund(school: Hub) -> None:
    receipt = school.paid().receipt
    accepted = school.adapter().refund(reversal(payment_receipt=receipt, callback_url=school.base))
    school.control("PUT", f"/mpesa/accounts/{school.account.values['shortcode']}", {"credential_locked": True})
    school.adapter().refund_status(
        reversal(payment_receipt=receipt, callback_url=school.base, provider_ref=accepted.provider_ref)
    )
    (event,) = school.events("s", "refund:re_1")
    assert isinstance(event, ReceiptReported)
    assert (event.confirmed, event.token_object) == (None, "refund:re_1")
    assert "locked" in event.detail


def test_the_client_masks_what_the_adapter_sends(school: Hub) -> None:
    """The declaration's masked keys hide the derived secrets too: password, credential, token."""
    seen: list[str] = []

    class Keeping(SilentRecorder):
        def finished(self, exchange: Any) -> None:
            seen.append(f"{exchange.url} {exchange.request_headers} {exchange.request_body} {exchange.response_body}")

    view = school.view()
    mask = Mask(keys=PROVIDER.masked_keys, secrets=[str(value) for value in view.secrets.values()])
    http = HttpClient(provider="mpesa", base_url=view.base_url, mask=mask, recorder=Keeping(), timeout=(5, 5))
    clock = lambda: datetime.fromtimestamp(START, UTC)  # noqa: E731 a clock
    adapter = MpesaPayments(config=view, http=http, tokens=school.tokens, clock=clock)
    adapter.authorize(push(phone="254712345678", callback_url=school.base))
    adapter.receipt_status(ReceiptQuery("UGA3K7P2QX", school.base))
    everything = "\n".join(seen)
    secrets = [*view.secrets.values(), school.tokens.token, adapter._merchant()["Password"]]
    assert len(seen) == 3
    assert [secret for secret in secrets if str(secret) in everything] == []
    assert "SecurityCredential" in everything
    assert everything.count("••••") >= 5
